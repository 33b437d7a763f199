"""Which answers do we owe the CSMS on this connection?"""

from __future__ import annotations

import msgspec

from journal.observations import FrameSent, LinkClosed, LinkOpened, StationStarted
from journal.projections.base import Projection
from journal.terms import Decision, Entry


class CallAnswered(Decision, frozen=True):
    """A CALLRESULT shall go out."""

    message_id: str
    action: str
    payload: msgspec.Raw


class CallRefused(Decision, frozen=True):
    """A CALLERROR shall go out. Part 4 §4.2.3, §4.3."""

    message_id: str
    code: str
    description: str


class Reply(msgspec.Struct, frozen=True):
    """An answer on its way: a result, or an error where `code` is set."""

    seq: int
    message_id: str
    payload: msgspec.Raw = msgspec.Raw(b"{}")
    code: str = ""
    description: str = ""


class Replies(Projection, frozen=True):
    """An answer belongs to the connection that asked: with it, it is gone."""

    HEARS = (CallAnswered, CallRefused, FrameSent, LinkOpened, LinkClosed, StationStarted)

    owed: tuple[Reply, ...] = ()

    def after(self, entry: Entry) -> Replies:
        match entry.event:
            case FrameSent(message_id=sent):
                return Replies(_without_first(self.owed, sent)) if self.owed else self
            case CallAnswered(message_id=asked, payload=payload):
                return Replies((*self.owed, Reply(entry.seq, asked, payload)))
            case CallRefused(message_id=asked, code=code, description=description):
                reply = Reply(entry.seq, asked, code=code, description=description)
                return Replies((*self.owed, reply))
            case LinkOpened() | LinkClosed() | StationStarted() if self.owed:
                return Replies()
            case _:
                return self


def _without_first(owed: tuple[Reply, ...], message_id: str) -> tuple[Reply, ...]:
    for place, reply in enumerate(owed):
        if reply.message_id == message_id:
            return owed[:place] + owed[place + 1 :]
    return owed
