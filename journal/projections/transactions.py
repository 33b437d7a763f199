"""Open transactions: what each has reported to the CSMS and what it still has to report. Block E.

A transaction is open from `TransactionStarted` until its TransactionEvent(Ended) is queued. The
`…_reported` fields record which facts a TransactionEvent has carried; a fact that was not reported
goes into the next one. A start of the program marks open transactions as interrupted; rules then
continue or end them.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from journal.events import Decision, Entry, IdToken
from journal.observations import CableReported, EnergyFlowReported, MeterRead, StationStarted
from journal.projections.authorizations import AuthorizationBoundToEvse, AuthorizationEnded
from journal.projections.base import Projection
from journal.projections.outbox import CallQueued, TransactionEventSummary

# Samples in one TransactionEvent(Ended); of more, every second between the ends goes. E06.FR.13
KEPT_SAMPLES_MAX = 200


class Sample(msgspec.Struct, frozen=True):
    """A reading taken for TransactionEvent(Ended)."""

    context: str  # ReadingContextEnumType
    at_unix_ms: int  # wall clock, milliseconds since 1970
    meter_read: MeterRead


class TransactionStarted(Decision, frozen=True, kw_only=True):
    """A transaction started."""

    VERSION = 2

    transaction_id: str  # unique for ever. E01.FR.08
    evse_id: int  # 0: authorized, but not plugged in yet. E01.FR.17
    trigger_reason: str
    authorization_seq: int = 0  # authorization that started it; 0: started by the cable
    id_token: IdToken | None = None
    group_id_token: IdToken | None = None
    remote_start_id: int | None = None
    because: str = ""  # code of the reason; empty: its release recorded none


class TransactionAuthorized(Decision, frozen=True, kw_only=True):
    """A running transaction was authorized. E02.FR.20."""

    transaction_id: str
    authorization_seq: int
    id_token: IdToken
    group_id_token: IdToken | None = None
    remote_start_id: int | None = None


class TransactionStopOrdered(Decision, frozen=True, kw_only=True):
    """The transaction is to end; it ends as soon as no energy flows. E06."""

    VERSION = 2

    transaction_id: str
    trigger_reason: str  # TriggerReasonEnumType
    stopped_reason: str  # ReasonEnumType
    stopped_by_id_token: IdToken | None = None
    because: str = ""  # code of the reason; empty: its release recorded none


class TransactionSampleKept(Decision, frozen=True):
    """A reading was kept for TransactionEvent(Ended). J02, SampledDataCtrlr.TxEndedInterval."""

    transaction_id: str
    sample: Sample


class GroupIdTokenReceived(Decision, frozen=True):
    """The CSMS sent the group of the token that authorized the transaction. C09.FR.12."""

    transaction_id: str
    group_id_token: IdToken


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """An open transaction."""

    transaction_id: str
    evse_id: int  # 0: not plugged in yet
    started_seq: int
    authorization_seq: int  # latest authorization, active or ended; 0: none
    begin_values_reported: bool = False  # Transaction.Begin values. E02.FR.09, E02.FR.21
    started_at_unix_ms: int  # wall clock, milliseconds since 1970
    next_seq_no: int = 0  # seqNo of its next TransactionEvent. E01.FR.07
    charging_state: str | None = None  # as last reported
    evse_reported: bool = False  # E01.FR.16
    id_token: IdToken | None = None  # token that authorized it
    group_id_token: IdToken | None = None
    id_token_reported: bool = False  # E03.FR.01
    remote_start_id: int | None = None
    remote_start_reported: bool = False
    authorization_end: AuthorizationEnded | None = None
    authorization_end_reported: bool = False
    stop_order: TransactionStopOrdered | None = None
    stop_ordered_ms: int = 0
    last_sample_ms: int = 0  # uptime of the last periodic sample, or of its start
    last_kept_sample_ms: int = 0  # uptime of the last sample kept for Ended
    charging_ms: int = 0  # time with energy flow, until `charging_since_ms`
    charging_since_ms: int | None = None
    energy_flowed: bool = False  # since its start, or since an interruption
    kept_samples: tuple[Sample, ...] = ()
    last_aligned_at_unix_ms: int  # wall clock of the last clock-aligned sample, or of its start
    interrupted_seq: int = 0  # latest StationStarted while it was open; 0: never interrupted


class EndedTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """The last transaction that ended at an EVSE, for the EV driver who is still there."""

    transaction_id: str
    evse_id: int
    ended_seq: int  # entry that queued its last TransactionEvent
    ended_ms: int  # uptime of that entry
    charging_ms: int  # time with energy flow
    id_token: IdToken | None = None
    stopped_reason: str = "Local"  # ReasonEnumType


class Transactions(Projection, frozen=True):
    """At most one transaction is open on an EVSE at any time. E01.FR.14."""

    HANDLES = (
        TransactionStarted, TransactionAuthorized, TransactionStopOrdered, TransactionSampleKept,
        GroupIdTokenReceived, CallQueued, AuthorizationBoundToEvse, AuthorizationEnded,
        CableReported, EnergyFlowReported, StationStarted,
    )  # fmt: skip

    open: tuple[Transaction, ...] = ()
    last_ends: tuple[tuple[int, int], ...] = ()  # (evse_id, entry that queued the last Ended)
    charging_evse_ids: tuple[int, ...] = ()  # EVSEs with energy flow: it may start one. E01.FR.06
    ended: tuple[EndedTransaction, ...] = ()  # one for each EVSE

    def apply(self, entry: Entry) -> Transactions:
        match entry.event:
            case CallQueued(transaction_event=summary):
                return self if summary is None else self._on_transaction_event(entry, summary)
            case TransactionStarted() as start:
                charging = start.evse_id in self.charging_evse_ids
                return replace(self, open=(*self.open, _new_transaction(entry, start, charging)))
            case AuthorizationEnded(authorization_seq=seq) as end:
                return self._update_by_authorization(
                    seq, authorization_end=end, authorization_end_reported=False
                )
            case AuthorizationBoundToEvse(authorization_seq=seq, evse_id=evse_id):
                return self._update_by_authorization(seq, evse_id=evse_id)
            case EnergyFlowReported(evse_id=evse_id, flow=flow):
                charging = flow == "charging"
                transactions = self._set_charging(evse_id, charging)
                return transactions._count_charging_time(entry, evse_id, charging)
            case CableReported(evse_id=evse_id, plugged_in=False):
                return self._set_charging(evse_id, False)
            case TransactionStopOrdered() as stop:
                return self._update_by_id(
                    stop.transaction_id, stop_order=stop, stop_ordered_ms=entry.uptime_ms
                )
            case TransactionAuthorized() as grant:
                return self._on_transaction_authorized(grant)
            case GroupIdTokenReceived(transaction_id=transaction_id, group_id_token=group):
                return self._update_by_id(transaction_id, group_id_token=group)
            case TransactionSampleKept(transaction_id=transaction_id, sample=sample):
                return self._keep_sample(entry, transaction_id, sample)
            case StationStarted(last_entry_uptime_ms=last_ms) if (
                self.open or self.charging_evse_ids or self.ended
            ):
                interrupted = tuple(
                    _interrupt_transaction(entry, each, last_ms) for each in self.open
                )
                return replace(self, open=interrupted, charging_evse_ids=(), ended=())
            case _:
                return self

    def on_evse(self, evse_id: int) -> Transaction | None:
        for transaction in self.open:
            if transaction.evse_id == evse_id:
                return transaction
        return None

    def last_end_seq(self, evse_id: int) -> int:
        """The entry that queued the last TransactionEvent(Ended) of an EVSE; 0 before the first."""
        return next((seq for evse, seq in self.last_ends if evse == evse_id), 0)

    def last_ended(self, evse_id: int) -> EndedTransaction | None:
        """The last transaction that ended at an EVSE."""
        return next((each for each in self.ended if each.evse_id == evse_id), None)

    def by_id(self, transaction_id: str) -> Transaction | None:
        for transaction in self.open:
            if transaction.transaction_id == transaction_id:
                return transaction
        return None

    def _on_transaction_event(self, entry: Entry, summary: TransactionEventSummary) -> Transactions:
        if summary.event_type == "Ended":
            return self._on_ended(entry, summary)
        before = self.by_id(summary.transaction_id)
        if before is None:
            return self
        sampled = summary.trigger_reason == "MeterValuePeriodic"
        included = summary.includes
        return self._update_by_id(
            before.transaction_id,
            next_seq_no=summary.seq_no + 1,
            charging_state=summary.charging_state or before.charging_state,
            evse_reported=before.evse_reported or "evse" in included,
            id_token_reported=before.id_token_reported or "id_token" in included,
            begin_values_reported=before.begin_values_reported or "begin_values" in included,
            remote_start_reported=before.remote_start_reported or "remote_start_id" in included,
            authorization_end_reported=before.authorization_end_reported
            or "authorization_end" in included,
            last_sample_ms=entry.uptime_ms if sampled else before.last_sample_ms,
        )

    def _on_ended(self, entry: Entry, summary: TransactionEventSummary) -> Transactions:
        left = tuple(each for each in self.open if each.transaction_id != summary.transaction_id)
        others = tuple(end for end in self.last_ends if end[0] != summary.evse_id)
        return replace(
            self,
            open=left,
            last_ends=(*others, (summary.evse_id, entry.seq)),
            ended=self._with_ended(entry, summary),
        )

    def _with_ended(
        self, entry: Entry, summary: TransactionEventSummary
    ) -> tuple[EndedTransaction, ...]:
        transaction = self.by_id(summary.transaction_id)
        if transaction is None or not summary.evse_id:
            return self.ended
        stop = transaction.stop_order
        ended = EndedTransaction(
            transaction_id=summary.transaction_id,
            evse_id=summary.evse_id,
            ended_seq=entry.seq,
            ended_ms=entry.uptime_ms,
            charging_ms=total_charging_ms(transaction, entry.uptime_ms),
            id_token=transaction.id_token,
            stopped_reason=stop.stopped_reason if stop else "Local",
        )
        return (*(each for each in self.ended if each.evse_id != summary.evse_id), ended)

    def _on_transaction_authorized(self, grant: TransactionAuthorized) -> Transactions:
        return self._update_by_id(
            grant.transaction_id,
            authorization_seq=grant.authorization_seq,
            id_token=grant.id_token,
            group_id_token=grant.group_id_token,
            id_token_reported=False,
            remote_start_id=grant.remote_start_id,
            remote_start_reported=False,
            authorization_end=None,
            authorization_end_reported=False,
        )

    def _set_charging(self, evse_id: int, charging: bool) -> Transactions:
        if charging == (evse_id in self.charging_evse_ids):
            return self
        others = tuple(other for other in self.charging_evse_ids if other != evse_id)
        return replace(self, charging_evse_ids=(*others, evse_id) if charging else others)

    def _count_charging_time(self, entry: Entry, evse_id: int, charging: bool) -> Transactions:
        transaction = self.on_evse(evse_id)
        if transaction is None or charging == (transaction.charging_since_ms is not None):
            return self
        if charging:
            return self._update_on_evse(
                evse_id, charging_since_ms=entry.uptime_ms, energy_flowed=True
            )
        return self._update_on_evse(
            evse_id,
            charging_ms=total_charging_ms(transaction, entry.uptime_ms),
            charging_since_ms=None,
        )

    def _keep_sample(self, entry: Entry, transaction_id: str, sample: Sample) -> Transactions:
        transaction = self.by_id(transaction_id)
        if transaction is None:
            return self
        kept = (*transaction.kept_samples, sample)
        if len(kept) > KEPT_SAMPLES_MAX:
            kept = (kept[0], *kept[1:-1][1::2], kept[-1])
        if sample.context == "Sample.Clock":
            return self._update_by_id(
                transaction_id, kept_samples=kept, last_aligned_at_unix_ms=unix_ms(entry)
            )
        return self._update_by_id(
            transaction_id, kept_samples=kept, last_kept_sample_ms=entry.uptime_ms
        )

    def _update_by_authorization(self, authorization_seq: int, **changes: object) -> Transactions:
        """Change the transaction with this authorization. Unauthorized ones have 0, never given."""
        for transaction in self.open:
            if transaction.authorization_seq == authorization_seq:
                return self._update_by_id(transaction.transaction_id, **changes)
        return self

    def _update_on_evse(self, evse_id: int, **changes: object) -> Transactions:
        return replace(
            self,
            open=tuple(
                replace(each, **changes) if each.evse_id == evse_id else each for each in self.open
            ),
        )

    def _update_by_id(self, transaction_id: str, **changes: object) -> Transactions:
        return replace(
            self,
            open=tuple(
                replace(each, **changes) if each.transaction_id == transaction_id else each
                for each in self.open
            ),
        )


def total_charging_ms(transaction: Transaction, uptime_ms: int) -> int:
    """Total time with energy flow, in ms."""
    since = transaction.charging_since_ms
    return transaction.charging_ms + (0 if since is None else max(0, uptime_ms - since))


def unix_ms(entry: Entry) -> int:
    """Milliseconds since 1970 on the wall clock."""
    return round(entry.at.timestamp() * 1000)


def _new_transaction(entry: Entry, start: TransactionStarted, charging: bool) -> Transaction:
    """`charging`: energy flows already; its time counts from this entry."""
    return Transaction(
        transaction_id=start.transaction_id,
        evse_id=start.evse_id,
        started_seq=entry.seq,
        authorization_seq=start.authorization_seq,
        started_at_unix_ms=unix_ms(entry),
        last_aligned_at_unix_ms=unix_ms(entry),
        id_token=start.id_token,
        group_id_token=start.group_id_token,
        remote_start_id=start.remote_start_id,
        last_sample_ms=entry.uptime_ms,
        last_kept_sample_ms=entry.uptime_ms,
        charging_since_ms=entry.uptime_ms if charging else None,
        energy_flowed=charging,
    )


def _interrupt_transaction(
    entry: Entry, transaction: Transaction, last_entry_uptime_ms: int | None
) -> Transaction:
    """Energy flow ended with the previous run. Uptimes of another boot have no meaning here."""
    return replace(
        transaction,
        interrupted_seq=entry.seq,
        charging_ms=transaction.charging_ms
        if last_entry_uptime_ms is None
        else total_charging_ms(transaction, last_entry_uptime_ms),
        charging_since_ms=None,
        energy_flowed=False,
        last_sample_ms=entry.uptime_ms,
        last_kept_sample_ms=entry.uptime_ms,
        stop_ordered_ms=entry.uptime_ms,
    )
