"""Waiting messages that may be dropped when space for the journal runs out. E12.FR.04.

These are TransactionEvents (Updated) that contain only periodic readings, so that the next one
carries the same registers, later. Each thinning drops every second of them; a message that was kept
once is not considered again.
"""

from __future__ import annotations

from itertools import takewhile

from journal.events import Decision, Entry
from journal.immutable import Backlog
from journal.projections.base import Projection
from journal.projections.outbox import CallAttempted, CallQueued

PERIODIC_TRIGGER_REASONS = frozenset({"MeterValuePeriodic", "MeterValueClock"})


class TransactionUpdatesThinned(Decision, frozen=True):
    """Every second waiting sample up to a call was dropped; the others stay. E12.FR.05."""

    last_call_seq: int  # the last call that was considered


class Thinnable(Projection, frozen=True):
    """Calls that were neither attempted nor considered before."""

    HANDLES = (CallQueued, CallAttempted, TransactionUpdatesThinned)

    waiting: Backlog = Backlog()  # calls by transactionId

    def apply(self, entry: Entry) -> Thinnable:
        match entry.event:
            case CallQueued(transaction_event=summary) if summary is not None:
                if summary.trigger_reason in PERIODIC_TRIGGER_REASONS and not summary.includes:
                    return Thinnable(self.waiting.with_number(entry.seq, summary.transaction_id))
                return self
            case CallAttempted(call_seq=call):
                waiting = self.waiting.without_number(call)
                return self if waiting is self.waiting else Thinnable(waiting)
            case TransactionUpdatesThinned(last_call_seq=last):
                waiting = self.waiting
                for call in takewhile(lambda call: call <= last, self.waiting):
                    waiting = waiting.without_number(call)
                return Thinnable(waiting)
            case _:
                return self
