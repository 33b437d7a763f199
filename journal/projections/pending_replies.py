"""Which answers do we owe the CSMS on this connection?"""

from __future__ import annotations

import msgspec

from journal.events import Decision, Entry
from journal.observations import FrameSent, LinkClosed, LinkOpened, StationStarted
from journal.projections.base import Projection


class CallResultQueued(Decision, frozen=True):
    """A CALLRESULT shall go out."""

    message_id: str
    action: str
    payload: msgspec.Raw


class CallErrorQueued(Decision, frozen=True):
    """A CALLERROR shall go out. Part 4 §4.2.3, §4.3."""

    message_id: str
    error_code: str
    error_description: str


class PendingReply(msgspec.Struct, frozen=True):
    """An answer on its way: a result, or an error where `code` is set."""

    seq: int
    message_id: str
    payload: msgspec.Raw = msgspec.Raw(b"{}")
    error_code: str = ""
    error_description: str = ""


class PendingReplies(Projection, frozen=True):
    """An answer belongs to the connection that asked: with it, it is gone."""

    HANDLES = (CallResultQueued, CallErrorQueued, FrameSent, LinkOpened, LinkClosed, StationStarted)

    pending: tuple[PendingReply, ...] = ()

    def apply(self, entry: Entry) -> PendingReplies:
        match entry.event:
            case FrameSent(message_id=sent):
                return (
                    PendingReplies(_without_first_reply(self.pending, sent))
                    if self.pending
                    else self
                )
            case CallResultQueued(message_id=asked, payload=payload):
                return PendingReplies((*self.pending, PendingReply(entry.seq, asked, payload)))
            case CallErrorQueued(message_id=asked, error_code=code, error_description=description):
                reply = PendingReply(
                    entry.seq, asked, error_code=code, error_description=description
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
