"""Lines of an explanation, as `station why` prints them and the report shows them."""

from __future__ import annotations

from collections.abc import Iterator

from station.history.explain.explanation import ChainEntry, Section
from station.transcript.lines import format_entry


def format_section(section: Section) -> Iterator[tuple[ChainEntry | None, str]]:
    """The lines of a section, each with the entry it is about; None: a day, or a text."""
    day = None
    for chain_entry in section.entries:
        if chain_entry.entry and chain_entry.entry.at.date() != day:
            day = chain_entry.entry.at.date()
            yield None, f"  {day:%Y-%m-%d} UTC"
        yield chain_entry, format_chain_entry(chain_entry)
    for text in section.lines:
        yield None, f"  {text}"


def format_chain_entry(chain_entry: ChainEntry) -> str:
    """A line of the transcript, then the entries it follows from and the requirement."""
    mark = "*" if chain_entry.is_subject else " "
    if chain_entry.entry is None:
        return f"{mark} {chain_entry.seq:>20} ! archived, missing or unreadable"
    return f"{mark} {format_entry(chain_entry.entry)}{''.join(_cause_suffixes(chain_entry))}"


def _cause_suffixes(chain_entry: ChainEntry) -> Iterator[str]:
    if chain_entry.direct_causes:
        yield f" <- {', '.join(map(str, chain_entry.direct_causes))}"
    if chain_entry.reason and chain_entry.reason.requirement:
        yield f" [{chain_entry.reason.requirement}]"
