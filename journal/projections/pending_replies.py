"""CALLRESULTs and CALLERRORs that are not sent yet on this connection."""

from __future__ import annotations

import msgspec

from journal.events import Decision, Entry
from journal.observations import FrameSent, LinkClosed, LinkOpened, StationStarted
from journal.projections.base import Projection


class CallResultQueued(Decision, frozen=True):
    """A CALL of the CSMS was answered with a CALLRESULT."""

    message_id: str
    action: str
    payload: msgspec.Raw


class CallErrorQueued(Decision, frozen=True):
    """A CALL of the CSMS was answered with a CALLERROR. Part 4 §4.2.3, §4.3."""

    message_id: str
    error_code: str
    error_description: str


class PendingReply(msgspec.Struct, frozen=True):
    """A CALLRESULT, or a CALLERROR if `error_code` is set."""

    seq: int
    message_id: str
    payload: msgspec.Raw = msgspec.Raw(b"{}")
    error_code: str = ""
    error_description: str = ""


class PendingReplies(Projection, frozen=True):
    """A reply belongs to the connection of its CALL; the end of the connection discards it."""

    HANDLES = (CallResultQueued, CallErrorQueued, FrameSent, LinkOpened, LinkClosed, StationStarted)

    pending: tuple[PendingReply, ...] = ()

    def apply(self, entry: Entry) -> PendingReplies:
        match entry.event:
            case FrameSent(message_id=message_id):
                return (
                    PendingReplies(_without_first_reply(self.pending, message_id))
                    if self.pending
                    else self
                )
            case CallResultQueued(message_id=message_id, payload=payload):
                reply = PendingReply(entry.seq, message_id, payload)
                return PendingReplies((*self.pending, reply))
            case CallErrorQueued() as error:
                reply = PendingReply(
                    entry.seq,
                    error.message_id,
                    error_code=error.error_code,
                    error_description=error.error_description,
                )
                return PendingReplies((*self.pending, reply))
            case LinkOpened() | LinkClosed() | StationStarted() if self.pending:
                return PendingReplies()
            case _:
                return self


def _without_first_reply(
    pending: tuple[PendingReply, ...], message_id: str
) -> tuple[PendingReply, ...]:
    for place, reply in enumerate(pending):
        if reply.message_id == message_id:
            return pending[:place] + pending[place + 1 :]
    return pending
