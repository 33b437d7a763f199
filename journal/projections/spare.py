"""Which waiting messages could be given up, if room for the journal runs out? (E12.FR.04)

Samples of transactions: TransactionEvent(Updated) that tells nothing but readings, so that the
next one says as much, only later. One that was looked at once is not looked at again.
"""

from __future__ import annotations

from itertools import takewhile

from journal.persistent import Backlog
from journal.projections.base import Projection
from journal.projections.outbox import CallAttempted, CallQueued
from journal.terms import Decision, Entry

PERIODIC = frozenset({"MeterValuePeriodic", "MeterValueClock"})


class UpdatesThinned(Decision, frozen=True):
    """Every second spare message up to a call was given up; the others stay. E12.FR.05."""

    to: int  # the last call that was looked at


class Spare(Projection, frozen=True):
    """None of these was ever attempted, or looked at."""

    HEARS = (CallQueued, CallAttempted, UpdatesThinned)

    waiting: Backlog = Backlog()  # of transactionIds

    def after(self, entry: Entry) -> Spare:
        match entry.event:
            case CallQueued(transaction=mark) if mark is not None:
                if mark.trigger_reason in PERIODIC and not mark.tells:
                    return Spare(self.waiting.having(entry.seq, mark.transaction_id))
                return self
            case CallAttempted(call=call):
                waiting = self.waiting.without(call)
                return self if waiting is self.waiting else Spare(waiting)
            case UpdatesThinned(to=to):
                waiting = self.waiting
                for call in takewhile(lambda one: one <= to, self.waiting):
                    waiting = waiting.without(call)
                return Spare(waiting)
            case _:
                return self
