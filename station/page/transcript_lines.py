"""Lines of the transcript with what they can be filtered by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from journal.codec import format_time
from journal.events import Entry, Observation
from journal.observations import FrameReceived, FrameSent
from journal.projections.outbox import CallAttempted
from journal.projections.pending_replies import CallErrorQueued, CallResultQueued
from station.history.subjects import WHOLE_STATION_ID, SubjectTracker
from station.transcript.lines import describe_event

WARM_UP_ENTRIES: Final = 300  # read before the first line, for the references it may have


class TranscriptLine(msgspec.Struct, frozen=True):
    """An entry as the page shows it.

    Attributes:
        direction: "in" or "out" for a frame, else empty.
        evse_ids: 0: every EVSE.
        cause: the observation that a decision was made for.
    """

    seq: int
    at: str
    source: str
    kind: str
    text: str
    is_observation: bool = True
    direction: str = ""
    evse_ids: tuple[int, ...] = ()
    transaction_ids: tuple[str, ...] = ()
    cause: int | None = None


class LineFilter(msgspec.Struct, frozen=True):
    """A criterion per field; a line must match every field that is not empty."""

    evse_id: int | None = None
    transaction: str = ""  # beginning of a transactionId
    kind: str = ""
    source: str = ""
    direction: str = ""
    text: str = ""

    def matches(self, line: TranscriptLine) -> bool:
        """Whether a line is shown."""
        return (
            (
                self.evse_id is None
                or self.evse_id in line.evse_ids
                or WHOLE_STATION_ID in line.evse_ids
            )
            and self.kind in ("", line.kind)
            and self.source in ("", line.source)
            and self.direction in ("", line.direction)
            and (not self.text or self.text.casefold() in line.text.casefold())
            and (
                not self.transaction
                or any(each.startswith(self.transaction) for each in line.transaction_ids)
            )
        )


class LineBuilder:
    """Makes lines of entries that are given in order."""

    def __init__(self) -> None:
        self._subjects = SubjectTracker()

    def build(self, entry: Entry) -> TranscriptLine:
        """The line of the next entry."""
        event = entry.event
        source, text = describe_event(event)
        subject = self._subjects.find_subject(entry)
        return TranscriptLine(
            seq=entry.seq,
            at=format_time(entry.at),
            source=source,
            kind=type(event).__name__,
            text=text,
            is_observation=isinstance(event, Observation),
            direction=_direction_of(event),
            evse_ids=tuple(sorted(subject.evse_ids)),
            transaction_ids=tuple(sorted(subject.transaction_ids)),
            cause=entry.cause,
        )


def _direction_of(event: Any) -> str:
    if isinstance(event, FrameReceived):
        return "in"
    outgoing = (CallAttempted, CallResultQueued, CallErrorQueued, FrameSent)
    return "out" if isinstance(event, outgoing) else ""


def damaged_line(seq: int, reason: str) -> TranscriptLine:
    """The line of an entry that cannot be read."""
    return TranscriptLine(seq, "", "journal", "Unreadable", f"cannot be read: {reason}")


def build_lines(entries: Iterator[Entry], first_seq: int) -> Iterator[TranscriptLine]:
    """The lines from `first_seq` on; earlier entries are read for the references to them."""
    builder = LineBuilder()
    for entry in entries:
        line = builder.build(entry)
        if entry.seq >= first_seq:
            yield line
