"""One line of the transcript per journal entry.

    12:00:00.000      33 > EV driver presents ISO14443/#alice at EVSE 1
    12:00:00.000      40   station   authorizes ISO14443/#alice at EVSE 1: accepted by the CSMS

Time (UTC), entry number, `>` for an observation (a decision has none), source, sentence. IdTokens
appear as their references; `reveal_id_tokens` replaces references by values. The sentences are in
`decisions` and `observations`: one row per kind of event.
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
    """The line of an entry, without control characters."""
    source, sentence = describe_event(entry.event)
    mark = ">" if isinstance(entry.event, Observation) else " "
    time = entry.at.strftime("%H:%M:%S.") + f"{entry.at.microsecond // 1000:03}"
    return f"{time} {entry.seq:>7} {mark} {source:<9} {sentence}"


def describe_event(event: Event) -> tuple[str, str]:
    """The source of an event and its sentence."""
    source, sentence = SENTENCES.get(type(event).__name__, (STATION_SOURCE, _describe_by_fields))
    return source, escape_control_characters(sentence(event))


def reveal_id_tokens(text: str, find_value: Callable[[str], str | None]) -> str:
    """Replace the references of values that are still stored."""

    def value_of(reference: re.Match[str]) -> str:
        value = find_value(reference[0])
        return reference[0] if value is None else escape_control_characters(value)

    return _ID_TOKEN_REFERENCE.sub(value_of, text)


def _describe_by_fields(event: Event) -> str:
    """Kind and fields, for a kind that has no sentence; cut to the length of a line."""
    fields = ", ".join(f"{name} {getattr(event, name)}" for name in event.__struct_fields__)
    return truncate_text(f"{type(event).__name__}: {fields}")
