"""A `StationDisplay` on a text display with few rows.

The first rows have one EVSE each: its number, headline and, as far as they fit, its amounts. The
rows below are the text area. What it shows, the first that applies:

1. The answer to a card that no EVSE shows, for example "No place is free".
2. One row of help for each EVSE; where all have the same help, that text on all rows.

A text that is longer than its rows is shown in pages, one after the other, beginning with the first
when it is new. A display with no row left for the text area shows headlines and help in turn.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Final

from station.core.display import EvseDisplay, StationDisplay

PAGE_MS: Final = 4_000  # how long a page is shown: two rows are read in about 3 s


def compose_rows(
    display: StationDisplay, columns: int, rows: int, elapsed_ms: int
) -> tuple[str, ...]:
    """The text of each row, at most `rows` of them and none longer than `columns`.

    Args:
        elapsed_ms: how long these texts have been shown (`StationDisplay.shown_situations`).
    """
    page = elapsed_ms // PAGE_MS
    headlines = [_headline_row(evse, columns) for evse in display.evses]
    if not headlines:
        return _fit_page((display.headline, display.help), columns, rows, page)
    free_rows = rows - len(headlines)
    if free_rows < 1:
        return tuple(_take_turns(display, headlines, columns, page)[:rows])
    return (*headlines, *_text_area(display, columns, free_rows, page))


def _headline_row(evse: EvseDisplay, columns: int) -> str:
    """Number, headline, and as many amounts as fit, the most important first."""
    row = f"{evse.evse_id}  {evse.headline}"[:columns]
    for amount in evse.amount_texts:
        longer = f"{row}  {amount}"
        if len(longer) > columns:
            break
        row = longer
    return row


def _take_turns(
    display: StationDisplay, headlines: Sequence[str], columns: int, page: int
) -> list[str]:
    """Headlines and help in turn, for a display without a text area."""
    if page % 2 == 0:
        return list(headlines)
    return [_numbered_help(evse, columns, page // 2) for evse in display.evses]


def _text_area(display: StationDisplay, columns: int, rows: int, page: int) -> tuple[str, ...]:
    if display.notice_headline and not _is_shown_at_an_evse(display):
        return _fit_page((display.notice_headline, display.notice_help), columns, rows, page)
    helps = {evse.help for evse in display.evses}
    if len(helps) == 1:
        return _fit_page(tuple(helps), columns, rows, page)
    if rows >= len(display.evses):
        return tuple(_numbered_help(evse, columns, page) for evse in display.evses)
    turn, page = page % len(display.evses), page // len(display.evses)
    return (_numbered_help(display.evses[turn], columns, page),)


def _is_shown_at_an_evse(display: StationDisplay) -> bool:
    return any(evse.headline == display.notice_headline for evse in display.evses)


def _numbered_help(evse: EvseDisplay, columns: int, page: int) -> str:
    """One row of the help of an EVSE: the page whose turn it is."""
    prefix = f"{evse.evse_id}: "
    pages = textwrap.wrap(evse.help, max(1, columns - len(prefix))) or [""]
    return f"{prefix}{pages[page % len(pages)]}"[:columns]


def _fit_page(texts: Sequence[str], columns: int, rows: int, page: int) -> tuple[str, ...]:
    """The rows of the page whose turn it is, of texts that begin on a row of their own."""
    lines = [line for text in texts for line in textwrap.wrap(text, columns)]
    pages = [lines[start : start + rows] for start in range(0, len(lines), rows)] or [[]]
    return tuple(pages[page % len(pages)])
