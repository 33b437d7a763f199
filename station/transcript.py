"""What does an entry mean, as a line for people?

`>` marks what was seen, the rest was decided. IdTokens show as their references; `named` puts the
values in. The sentences stand in `station.sentences`, a row for each kind of event.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from journal.terms import Entry, Event, Observation
from station.sentences.decided import DECIDED
from station.sentences.seen import SEEN
from station.sentences.words import Sentence, cut, printable

STATION: Final = "station"
SENTENCES: Final[dict[str, tuple[str, Sentence]]] = {
    **SEEN,
    **{kind: (STATION, sentence) for kind, sentence in DECIDED.items()},
}

_REFERENCE = re.compile(r"#[0-9a-f]{16}")


def line(entry: Entry) -> str:
    """Time, number, who spoke and what it meant. One line, without control characters."""
    who, sentence = meaning(entry.event)
    mark = ">" if isinstance(entry.event, Observation) else " "
    time = entry.at.strftime("%H:%M:%S.") + f"{entry.at.microsecond // 1000:03}"
    return f"{time} {entry.seq:>7} {mark} {who:<9} {sentence}"


def meaning(event: Event) -> tuple[str, str]:
    """Who spoke, and what it meant."""
    who, sentence = SENTENCES.get(type(event).__name__, (STATION, _unworded))
    return who, printable(sentence(event))


def named(text: str, value_of: Callable[[str], str | None]) -> str:
    """The text with the value of every reference that still has one."""

    def value(found: re.Match[str]) -> str:
        known = value_of(found[0])
        return found[0] if known is None else printable(known)

    return _REFERENCE.sub(value, text)


def _unworded(event: Event) -> str:
    """A kind without a sentence of its own: its fields, as far as a line has room."""
    fields = ", ".join(f"{name} {getattr(event, name)}" for name in event.__struct_fields__)
    return cut(f"{type(event).__name__}: {fields}")
