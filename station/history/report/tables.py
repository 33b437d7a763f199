"""Tables of the report page, and entry numbers that open what `station why` answers.

Cells are HTML; every text from the journal passes through `escape_text`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from station.history.explain.explanation import Explanation
from station.history.explain.lines import format_section
from station.history.report.collect import ReportData
from station.history.report.formatting import (
    escape_text,
    format_seq,
)

Cells = Iterable[str]
NUMBER_CLASS: Final = "n"  # column of numbers
NOWRAP_CLASS: Final = "w"  # column without line breaks


def render_table(
    columns: Iterable[tuple[str, str]],
    rows: Iterable[Cells],
    *,
    caption: str = "",
    foot: Cells | None = None,
) -> str:
    """A table. A column is a title and a CSS class; cells are HTML.

    On a narrow screen the cells of a row are below each other with their titles, so that none is
    outside of the screen.
    """
    columns = tuple(columns)
    titles = [title for title, _ in columns]
    kinds = [f' class="{kind}"' if kind else "" for _, kind in columns]
    head = "".join(f"<th{kind}>{title}</th>" for kind, title in zip(kinds, titles, strict=True))
    labels = [
        f'{kind} data-title="{title}"' if title else kind
        for kind, title in zip(kinds, titles, strict=True)
    ]
    body = "".join(f"<tr>{_render_cells(row, labels)}</tr>" for row in rows)
    footer = f"<tfoot><tr>{_render_cells(foot, labels)}</tr></tfoot>" if foot else ""
    header = f"<caption>{caption}</caption>" if caption else ""
    return (
        f'<div class="scroll stacked"><table>{header}'
        f"<thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody>{footer}</table></div>"
    )


class DetailsRenderer:
    """Renders entry numbers of a section; those with details open what `station why` answers."""

    def __init__(self, report_data: ReportData) -> None:
        self._explanations = report_data.explanations

    def render(self, seq: int) -> str:
        """The number, with its details if there are any."""
        explanation = self._explanations.get(seq)
        if explanation is None:
            return format_seq(seq)
        return (
            f'<details class="why"><summary class="seq">{seq}</summary>'
            f"<div>{''.join(_explanation_lines(explanation))}</div></details>"
        )


def _explanation_lines(explanation: Explanation) -> Iterator[str]:
    yield f"<b>{_shorten_line(explanation.heading)}</b>"
    for answer in explanation.answers[:EXPLANATION_LINES_MAX]:
        yield f"<p>{_shorten_line(answer)}</p>"
    for section in explanation.sections:
        lines = [line for _, line in islice(format_section(section), EXPLANATION_LINES_MAX)]
        left_out = len(section.entries) + len(section.lines) > len(lines)
        more = "\n  …: <i>station why</i> has all" if left_out else ""
        yield f"<h4>{escape_text(section.title)}</h4>"
        shortened = "\n".join(map(_shorten_line, lines))
        yield f"<pre>{shortened}{more}</pre>"


def _shorten_line(line: str) -> str:
    cut = line if len(line) <= LINE_CHARACTERS_MAX else f"{line[:LINE_CHARACTERS_MAX]}…"
    return escape_text(cut)


def _render_cells(row: Cells, kinds: list[str]) -> str:
    return "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True))


EXPLANATION_LINES_MAX: Final = 16  # of answers, and of each section of an explanation
LINE_CHARACTERS_MAX: Final = 300


def render_paragraph(message: str) -> str:
    return f'<p class="lead">{message}</p>'


def newest_caption(noun: str, count: int, listed_count: int) -> str:
    return f"The newest {listed_count} of {count:,} {noun}s." if count > listed_count else ""
