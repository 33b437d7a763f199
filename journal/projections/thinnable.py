"""Which waiting messages could be given up, if room for the journal runs out? (E12.FR.04)

Samples of transactions: TransactionEvent(Updated) that tells nothing but readings, so that the
next one says as much, only later. One that was looked at once is not looked at again.
"""

from __future__ import annotations

from itertools import takewhile

from journal.events import Decision, Entry
from journal.immutable import Backlog
from journal.projections.base import Projection
from journal.projections.outbox import CallAttempted, CallQueued

PERIODIC_TRIGGER_REASONS = frozenset({"MeterValuePeriodic", "MeterValueClock"})


class TransactionUpdatesThinned(Decision, frozen=True):
    """Every second spare message up to a call was given up; the others stay. E12.FR.05."""

    last_call_seq: int  # the last call that was looked at


class Thinnable(Projection, frozen=True):
    """None of these was ever attempted, or looked at."""

    HANDLES = (CallQueued, CallAttempted, TransactionUpdatesThinned)

    waiting: Backlog = Backlog()  # of transactionIds

    def apply(self, entry: Entry) -> Thinnable:
        match entry.event:
            case CallQueued(transaction_event=mark) if mark is not None:
                if mark.trigger_reason in PERIODIC_TRIGGER_REASONS and not mark.includes:
                    return Thinnable(self.waiting.with_number(entry.seq, mark.transaction_id))
                return self
            case CallAttempted(call_seq=call):
                waiting = self.waiting.without_number(call)
                return self if waiting is self.waiting else Thinnable(waiting)
            case TransactionUpdatesThinned(last_call_seq=to):
                waiting = self.waiting
                for call in takewhile(lambda one: one <= to, self.waiting):
                    waiting = waiting.without_number(call)
                return Thinnable(waiting)
            case _:
                return self
