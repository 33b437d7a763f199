"""Which transactions are open, and what does each still owe the CSMS?"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from journal.events import Decision, Entry, IdToken
from journal.observations import CableReported, EnergyFlowReported, MeterRead, StationStarted
from journal.projections.authorizations import AuthorizationBoundToEvse, AuthorizationEnded
from journal.projections.base import Projection
from journal.projections.outbox import CallQueued, TransactionEventSummary

KEPT_SAMPLES_MAX = (
    200  # samples one TransactionEvent(Ended) carries; thinned from the middle. E06.FR.13
)


class Sample(msgspec.Struct, frozen=True):
    """A reading and why it was taken (ReadingContextEnumType)."""

    context: str
    at_unix_ms: int  # wall clock, milliseconds since 1970
    meter_read: MeterRead


class TransactionStarted(Decision, frozen=True, kw_only=True):
    """A transaction begins. Its id is unique for all time. E01.FR.08."""

    transaction_id: str
    evse_id: int  # 0: whoever was authorised has not plugged in yet. E01.FR.17
    trigger_reason: str
    authorization_seq: int = 0  # the right to charge that began it; 0: the cable did
    id_token: IdToken | None = None
    group_id_token: IdToken | None = None
    remote_start_id: int | None = None


class TransactionAuthorized(Decision, frozen=True, kw_only=True):
    """Someone may charge in a transaction that already runs. E02.FR.20."""

    transaction_id: str
    authorization_seq: int
    id_token: IdToken
    group_id_token: IdToken | None = None
    remote_start_id: int | None = None


class TransactionStopOrdered(Decision, frozen=True, kw_only=True):
    """The transaction shall end; it does as soon as no energy flows any more. E06."""

    transaction_id: str
    trigger_reason: str
    stopped_reason: str
    stopped_by_id_token: IdToken | None = None


class TransactionSampleKept(Decision, frozen=True):
    """A reading taken for TransactionEvent(Ended). J02, SampledDataCtrlr.TxEndedInterval."""

    transaction_id: str
    sample: Sample


class GroupIdTokenReceived(Decision, frozen=True):
    """The CSMS told the group of the token that authorised the transaction. C09.FR.12."""

    transaction_id: str
    group_id_token: IdToken


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """An open transaction. `next_seq_no` counts its events from 0. E01.FR.07."""

    transaction_id: str
    evse_id: int  # 0: not known yet
    started_seq: int
    authorization_seq: int  # the right to charge it has, or had
    begin_values_reported: bool = False  # Transaction.Begin values told. E02.FR.09, E02.FR.21
    started_at_unix_ms: int  # wall clock, milliseconds since 1970
    next_seq_no: int = 0
    charging_state: str | None = None  # as last told
    evse_reported: bool = False  # E01.FR.16
    id_token: IdToken | None = None  # who authorised it
    group_id_token: IdToken | None = None
    id_token_reported: bool = False  # E03.FR.01
    remote_start_id: int | None = None
    remote_start_reported: bool = False
    authorization_end: AuthorizationEnded | None = None
    authorization_end_reported: bool = False
    stop_order: TransactionStopOrdered | None = None
    stop_ordered_ms: int = 0
    last_sample_ms: int = 0  # uptime of the last periodic sample, or of the start
    last_kept_sample_ms: int = 0  # uptime of the last sample kept for the end
    charging_ms: int = 0
    charging_since_ms: int | None = None
    energy_flowed: bool = False  # since it began, or since an interruption
    kept_samples: tuple[Sample, ...] = ()
    last_aligned_at_unix_ms: (
        int  # wall clock at the last clock-aligned sample kept, or at the start
    )
    interrupted_seq: int = 0  # StationStarted that found it open; 0: never interrupted


class Transactions(Projection, frozen=True):
    """At most one transaction is open on an EVSE at any time. E01.FR.14."""

    HANDLES = (
        TransactionStarted, TransactionAuthorized, TransactionStopOrdered, TransactionSampleKept, GroupIdTokenReceived,
        CallQueued, AuthorizationBoundToEvse, AuthorizationEnded, CableReported, EnergyFlowReported,
        StationStarted,
    )  # fmt: skip

    open: tuple[Transaction, ...] = ()
    last_ends: tuple[tuple[int, int], ...] = ()  # (evse_id, entry that told its last end)
    charging_evse_ids: tuple[
        int, ...
    ] = ()  # EVSEs that give energy: one may begin by it. E01.FR.06

    def apply(self, entry: Entry) -> Transactions:
        match entry.event:
            case CallQueued(transaction_event=mark):
                return self if mark is None else self._on_transaction_event(entry, mark)
            case TransactionStarted() as start:
                flows = start.evse_id in self.charging_evse_ids
                return replace(self, open=(*self.open, _new_transaction(entry, start, flows)))
            case AuthorizationEnded(authorization_seq=seq) as end:
                return self._update_by_authorization(
                    seq, authorization_end=end, authorization_end_reported=False
                )
            case AuthorizationBoundToEvse(authorization_seq=seq, evse_id=evse_id):
                return self._update_by_authorization(seq, evse_id=evse_id)
            case EnergyFlowReported(evse_id=evse_id, flow=flow):
                flows = flow == "charging"
                return self._set_charging(evse_id, flows)._count_charging_time(
                    entry, evse_id, flows
                )
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
                self.open or self.charging_evse_ids
            ):
                still = tuple(_interrupt_transaction(entry, one, last_ms) for one in self.open)
                return replace(self, open=still, charging_evse_ids=())
            case _:
                return self

    def on_evse(self, evse_id: int) -> Transaction | None:
        for one in self.open:
            if one.evse_id == evse_id:
                return one
        return None

    def last_end_seq(self, evse_id: int) -> int:
        """The entry that told the end of the last transaction here; 0 before the first."""
        return next((seq for evse, seq in self.last_ends if evse == evse_id), 0)

    def by_id(self, transaction_id: str) -> Transaction | None:
        for one in self.open:
            if one.transaction_id == transaction_id:
                return one
        return None

    def _on_transaction_event(self, entry: Entry, summary: TransactionEventSummary) -> Transactions:
        if summary.event_type == "Ended":
            others = tuple(one for one in self.last_ends if one[0] != summary.evse_id)
            return replace(
                self,
                open=tuple(
                    one for one in self.open if one.transaction_id != summary.transaction_id
                ),
                last_ends=(*others, (summary.evse_id, entry.seq)),
            )
        one = self.by_id(summary.transaction_id)
        if one is None:
            return self
        sampled = summary.trigger_reason == "MeterValuePeriodic"
        return self._update_by_id(
            one.transaction_id,
            next_seq_no=summary.seq_no + 1,
            charging_state=summary.charging_state or one.charging_state,
            evse_reported=one.evse_reported or "evse" in summary.includes,
            id_token_reported=one.id_token_reported or "id_token" in summary.includes,
            begin_values_reported=one.begin_values_reported or "begin_values" in summary.includes,
            remote_start_reported=one.remote_start_reported
            or "remote_start_id" in summary.includes,
            authorization_end_reported=one.authorization_end_reported
            or "authorization_end" in summary.includes,
            last_sample_ms=entry.uptime_ms if sampled else one.last_sample_ms,
        )

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
        others = tuple(one for one in self.charging_evse_ids if one != evse_id)
        return replace(self, charging_evse_ids=(*others, evse_id) if charging else others)

    def _count_charging_time(self, entry: Entry, evse_id: int, charging: bool) -> Transactions:
        one = self.on_evse(evse_id)
        if one is None or charging == (one.charging_since_ms is not None):
            return self
        if charging:
            return self._update_on_evse(
                evse_id, charging_since_ms=entry.uptime_ms, energy_flowed=True
            )
        return self._update_on_evse(
            evse_id, charging_ms=total_charging_ms(one, entry.uptime_ms), charging_since_ms=None
        )

    def _keep_sample(self, entry: Entry, transaction_id: str, sample: Sample) -> Transactions:
        one = self.by_id(transaction_id)
        if one is None:
            return self
        kept = (*one.kept_samples, sample)
        if len(kept) > KEPT_SAMPLES_MAX:
            kept = (kept[0], *kept[1:-1][1::2], kept[-1])  # every other, never the ends
        if sample.context == "Sample.Clock":
            return self._update_by_id(
                transaction_id, kept_samples=kept, last_aligned_at_unix_ms=unix_ms(entry)
            )
        return self._update_by_id(
            transaction_id, kept_samples=kept, last_kept_sample_ms=entry.uptime_ms
        )

    def _update_by_authorization(self, authorization_seq: int, **changes: object) -> Transactions:
        """Change what has the right to charge `seq`. An open cable has none: seq 0 never comes."""
        for one in self.open:
            if one.authorization_seq == authorization_seq:
                return self._update_by_id(one.transaction_id, **changes)
        return self

    def _update_on_evse(self, evse_id: int, **changes: object) -> Transactions:
        return replace(
            self,
            open=tuple(
                replace(one, **changes) if one.evse_id == evse_id else one for one in self.open
            ),
        )

    def _update_by_id(self, transaction_id: str, **changes: object) -> Transactions:
        return replace(
            self,
            open=tuple(
                replace(one, **changes) if one.transaction_id == transaction_id else one
                for one in self.open
            ),
        )


def total_charging_ms(transaction: Transaction, uptime_ms: int) -> int:
    """How long energy has flowed, in total."""
    since = transaction.charging_since_ms
    return transaction.charging_ms + (0 if since is None else max(0, uptime_ms - since))


def unix_ms(entry: Entry) -> int:
    """Milliseconds since 1970 on the wall clock."""
    return round(entry.at.timestamp() * 1000)


def _new_transaction(entry: Entry, start: TransactionStarted, charging: bool) -> Transaction:
    """`flows`: energy does already, and is counted from now on."""
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
    """Energy stopped when the program did; uptimes of another boot mean nothing any more."""
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
