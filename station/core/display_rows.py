"""A `StationDisplay` on a text display with few rows.

The first rows have one EVSE each: its number, headline and, as far as they fit, its amounts. They
are never covered. The rows below are the text area, in which slides follow one another:

* our texts: the answer to a card that no EVSE shows, else help, cost and tariff of each EVSE;
* the messages of the CSMS. Without a message in front, both take turns (NormalCycle, O01.FR.12).
  Messages in front (AlwaysFront, InFront) have the area to themselves (O01.FR.13 to 15); while an
  EV driver has to do something, its first row says what.

Slides begin with the first when the texts are new. A display with no row left for the text area
shows headlines and help in turn.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

from station.core.display import EvseDisplay, StationDisplay
from station.core.display_situation import ShownMessage

SLIDE_MS: Final = 4_000  # how long a slide is shown: two rows are read in about 3 s
# Situations in which an EV driver has to know what to do.
ATTENTION_MOODS: Final = frozenset({"act", "wait", "done", "fault"})

Slide = tuple[str, ...]


def compose_rows(
    display: StationDisplay, columns: int, rows: int, elapsed_ms: int
) -> tuple[str, ...]:
    """The text of each row, at most `rows` of them and none longer than `columns`.

    Args:
        elapsed_ms: how long these texts have been shown (`StationDisplay.shown_situations`).
    """
    number = elapsed_ms // SLIDE_MS
    if not display.evses:
        return _choose(_slides((display.headline, display.help), columns, rows), number)
    headlines = tuple(_headline_row(evse, columns) for evse in display.evses)
    free_rows = rows - len(headlines)
    if free_rows >= 1:
        return (*headlines, *_text_area(display, columns, free_rows, number))
    helps = tuple(row for slide in _evse_slides(display, columns, 1) for row in slide)
    turns = [headlines[start : start + rows] for start in range(0, len(headlines), rows)]
    return _choose([*turns, *_group(helps, rows)], number)


def _headline_row(evse: EvseDisplay, columns: int) -> str:
    """Number, headline, and as many amounts as fit, the most important first."""
    row = f"{evse.evse_id}  {evse.headline}"[:columns]
    for amount in evse.amount_texts:
        longer = f"{row}  {amount}"
        if len(longer) > columns:
            break
        row = longer
    return row


def _text_area(display: StationDisplay, columns: int, rows: int, number: int) -> Slide:
    messages = _unique_messages(display)
    front = [message for message in messages if message.priority != "NormalCycle"]
    if not front:
        slides = _own_slides(display, columns, rows)
        for message in messages:
            slides += _slides((message.content,), columns, rows)
        return _choose(slides, number)
    attention = list(_attention_lines(display, columns)) if rows > 1 else []
    first_row = _choose([(line,) for line in attention], number)
    slides = []
    for message in front:
        slides += _slides((message.content,), columns, rows - len(first_row))
    return (*first_row, *_choose(slides, number))


def _unique_messages(display: StationDisplay) -> list[ShownMessage]:
    by_id = {message.id: message for evse in display.evses for message in evse.messages}
    return list(by_id.values())


def _own_slides(display: StationDisplay, columns: int, rows: int) -> list[Slide]:
    if _has_own_notice(display):
        return _slides((display.notice_headline, display.notice_help), columns, rows)
    texts = {_texts_of(evse) for evse in display.evses}
    if len(texts) == 1:
        return [slide for text in texts.pop() for slide in _slides((text,), columns, rows)]
    return _evse_slides(display, columns, rows)


def _has_own_notice(display: StationDisplay) -> bool:
    """Whether there is an answer to a card that no EVSE shows."""
    headlines = {evse.headline for evse in display.evses}
    return bool(display.notice_headline) and display.notice_headline not in headlines


def _attention_lines(display: StationDisplay, columns: int) -> Iterator[str]:
    """What an EV driver has to know now, in lines of one row."""
    if _has_own_notice(display):
        yield from textwrap.wrap(f"{display.notice_headline}. {display.notice_help}", columns)
    for evse in display.evses:
        if evse.mood in ATTENTION_MOODS:
            yield from _numbered_lines(evse, (evse.help,), columns)


def _texts_of(evse: EvseDisplay) -> tuple[str, ...]:
    """Our texts for an EVSE that are not empty."""
    return tuple(filter(None, (evse.help, evse.cost, evse.tariff)))


def _evse_slides(display: StationDisplay, columns: int, rows: int) -> list[Slide]:
    """The texts of each EVSE: side by side on rows of their own, or one EVSE after the other."""
    lines = [list(_numbered_lines(evse, _texts_of(evse), columns)) for evse in display.evses]
    if rows < len(lines):
        return _group([line for of_evse in lines for line in of_evse], rows)
    count = max(len(of_evse) for of_evse in lines)
    return [
        tuple(of_evse[number % len(of_evse)] for of_evse in lines if of_evse)
        for number in range(count)
    ]


def _numbered_lines(evse: EvseDisplay, texts: Iterable[str], columns: int) -> Iterator[str]:
    prefix = f"{evse.evse_id}: "
    for text in texts:
        for line in textwrap.wrap(text, max(1, columns - len(prefix))):
            yield f"{prefix}{line}"[:columns]


def _slides(texts: Iterable[str], columns: int, rows: int) -> list[Slide]:
    """Texts as slides; each text begins on a row of its own."""
    return _group([line for text in texts for line in textwrap.wrap(text, columns)], rows)


def _group(lines: Iterable[str], rows: int) -> list[Slide]:
    lines = tuple(lines)
    return [lines[start : start + rows] for start in range(0, len(lines), rows)]


def _choose(slides: list[Slide], number: int) -> Slide:
    """The slide whose turn it is; an empty one if there are none."""
    return slides[number % len(slides)] if slides else ()
