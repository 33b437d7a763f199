"""Since when each EVSE is ready to deliver energy to its transaction: authorized and plugged in.

That is the moment PowerPathClosed of Part 2 §2.6; a Relative charging profile starts there
(K01.FR.42). It stays until the transaction ends, also while energy flow is interrupted.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from journal.events import Entry
from journal.observations import CableReported, ClockStepped
from journal.projections.authorizations import AuthorizationBoundToEvse
from journal.projections.base import Projection
from journal.projections.clock import ClockCorrected
from journal.projections.outbox import CallQueued
from journal.projections.transactions import TransactionAuthorized, TransactionStarted, unix_ms


class ReadyEvse(msgspec.Struct, frozen=True):
    """An open transaction, as far as readiness depends on it."""

    transaction_id: str
    evse_id: int  # 0: authorized, but not plugged in yet
    authorization_seq: int  # 0: not authorized yet
    ready_unix_ms: int | None = None  # wall clock; follows corrections of the clock; None: not yet


class ReadyEvses(Projection, frozen=True):
    HANDLES = (
        CallQueued, TransactionStarted, TransactionAuthorized, AuthorizationBoundToEvse,
        CableReported, ClockCorrected, ClockStepped,
    )  # fmt: skip

    transactions: tuple[ReadyEvse, ...] = ()
    plugged_evse_ids: tuple[int, ...] = ()

    def apply(self, entry: Entry) -> ReadyEvses:
        match entry.event:
            case CallQueued(transaction_event=summary):
                if summary is None or summary.event_type != "Ended":
                    return self
                return self._without(summary.transaction_id)
            case CableReported(evse_id=evse_id, plugged_in=plugged_in):
                return self._on_cable(entry, evse_id, plugged_in)
            case TransactionStarted() as start:
                new = ReadyEvse(start.transaction_id, start.evse_id, start.authorization_seq)
                return self._changed(entry, (*self.transactions, new))
            case TransactionAuthorized(transaction_id=transaction_id, authorization_seq=seq):
                return self._changed(
                    entry,
                    tuple(
                        replace(each, authorization_seq=seq)
                        if each.transaction_id == transaction_id
                        else each
                        for each in self.transactions
                    ),
                )
            case AuthorizationBoundToEvse(authorization_seq=seq, evse_id=evse_id):
                return self._changed(
                    entry,
                    tuple(
                        replace(each, evse_id=evse_id) if each.authorization_seq == seq else each
                        for each in self.transactions
                    ),
                )
            case ClockCorrected(step_ms=step_ms) | ClockStepped(step_ms=step_ms):
                return self._step_clock(step_ms)
            case _:
                return self

    def since_unix_ms(self, evse_id: int) -> int | None:
        """When the EVSE became ready for its transaction; None: it is not ready."""
        return next(
            (each.ready_unix_ms for each in self.transactions if each.evse_id == evse_id), None
        )

    def _without(self, transaction_id: str) -> ReadyEvses:
        left = tuple(each for each in self.transactions if each.transaction_id != transaction_id)
        return self if len(left) == len(self.transactions) else replace(self, transactions=left)

    def _on_cable(self, entry: Entry, evse_id: int, plugged_in: bool) -> ReadyEvses:
        if plugged_in == (evse_id in self.plugged_evse_ids):
            return self
        others = tuple(each for each in self.plugged_evse_ids if each != evse_id)
        plugged = tuple(sorted((*others, evse_id))) if plugged_in else others
        return replace(self, plugged_evse_ids=plugged)._changed(entry, self.transactions)

    def _changed(self, entry: Entry, transactions: tuple[ReadyEvse, ...]) -> ReadyEvses:
        """With these transactions; those that are ready for the first time are so since now."""
        return replace(
            self,
            transactions=tuple(
                replace(each, ready_unix_ms=unix_ms(entry)) if self._gets_ready(each) else each
                for each in transactions
            ),
        )

    def _gets_ready(self, transaction: ReadyEvse) -> bool:
        return (
            transaction.ready_unix_ms is None
            and transaction.authorization_seq != 0
            and transaction.evse_id in self.plugged_evse_ids
        )

    def _step_clock(self, step_ms: int) -> ReadyEvses:
        if not any(each.ready_unix_ms is not None for each in self.transactions):
            return self
        return replace(
            self,
            transactions=tuple(
                each
                if each.ready_unix_ms is None
                else replace(each, ready_unix_ms=each.ready_unix_ms + step_ms)
                for each in self.transactions
            ),
        )
