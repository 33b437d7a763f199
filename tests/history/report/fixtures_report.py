"""Helpers: a report of a story, and a checker of its HTML."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

from journal.events import Entry
from journal.storage.reader import Reader
from station.history.export.export import TimeRange
from station.history.report.collect import ReportData, collect_report_data
from station.runtime.loop.startup import event_registry
from tests.commands.fixtures_journals import write_journal

VOID_TAGS = frozenset({"meta", "br"})  # of HTML; SVG closes its own
REFERENCE_ATTRIBUTES = frozenset(
    {"src", "href", "srcset", "data", "action", "background", "poster", "xlink:href"}
)


def report_facts_of(
    entries: Iterable[Entry],
    directory: Path,
    since: datetime | None = None,
    until: datetime | None = None,
) -> ReportData:
    """Report data of a journal with these entries."""
    path = directory / "journal.db"
    if not path.exists():
        write_journal(path, entries)
    return report_facts_at(path, since, until)


def report_facts_at(
    path: Path, since: datetime | None = None, until: datetime | None = None
) -> ReportData:
    """Report data of a journal."""
    with Reader.open(path, event_registry()) as reader:
        span = TimeRange(since, until)
        return collect_report_data(
            reader, event_registry(), span, on_progress=lambda done, of: None
        )


class PageChecker(HTMLParser):
    """Finds unclosed elements and external or active content of a page.

    Attributes:
        text: the visible text.
        complaints: one line per defect.
        tags: number of elements by tag.
    """

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.complaints: list[str] = []
        self.tags: dict[str, int] = {}
        self._open: list[str] = []
        self.feed(page)
        self.close()
        self.complaints += [f"<{tag}> is never closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID_TAGS:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            self.complaints.append(f"<{tag}> has an attribute twice")
        for name, value in attrs:
            if name in REFERENCE_ATTRIBUTES and not (value or "").startswith("#"):
                self.complaints.append(f"<{tag}> refers to {value}")
            if name.startswith("on") or name == "style":
                self.complaints.append(f"<{tag}> has {name}")
        if tag in ("script", "iframe", "object", "embed", "link", "img", "base", "form"):
            self.complaints.append(f"<{tag}> has no place here")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.complaints.append(f"</{tag}> closes what is not open at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.text += data
