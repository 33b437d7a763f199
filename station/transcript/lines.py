"""What does an entry mean, as a line for people?

`>` marks what was seen, the rest was decided. IdTokens show as their references; `named` puts the
values in. The sentences stand in `station.transcript`, a row for each kind of event.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from journal.events import Entry, Event, Observation
from station.transcript.decisions import DECISION_SENTENCES
from station.transcript.observations import OBSERVATION_SENTENCES
from station.transcript.phrases import Sentence, escape_control_characters, truncate_text

STATION_SOURCE: Final = "station"
SENTENCES: Final[dict[str, tuple[str, Sentence]]] = {
    **OBSERVATION_SENTENCES,
    **{kind: (STATION_SOURCE, sentence) for kind, sentence in DECISION_SENTENCES.items()},
}

_ID_TOKEN_REFERENCE = re.compile(r"#[0-9a-f]{16}")


def format_entry(entry: Entry) -> str:
    """Time, number, who spoke and what it meant. One line, without control characters."""
    who, sentence = describe_event(entry.event)
    mark = ">" if isinstance(entry.event, Observation) else " "
    time = entry.at.strftime("%H:%M:%S.") + f"{entry.at.microsecond // 1000:03}"
    return f"{time} {entry.seq:>7} {mark} {who:<9} {sentence}"


def describe_event(event: Event) -> tuple[str, str]:
    """Who spoke, and what it meant."""
    who, sentence = SENTENCES.get(type(event).__name__, (STATION_SOURCE, _describe_by_fields))
    return who, escape_control_characters(sentence(event))


def reveal_id_tokens(text: str, find_value: Callable[[str], str | None]) -> str:
    """The text with the value of every reference that still has one."""

    def value(found: re.Match[str]) -> str:
        known = find_value(found[0])
        return found[0] if known is None else escape_control_characters(known)

    return _ID_TOKEN_REFERENCE.sub(value, text)


def _describe_by_fields(event: Event) -> str:
    """A kind without a sentence of its own: its fields, as far as a line has room."""
    fields = ", ".join(f"{name} {getattr(event, name)}" for name in event.__struct_fields__)
    return truncate_text(f"{type(event).__name__}: {fields}")
