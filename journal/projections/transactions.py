"""Which transactions are open, and what does each still owe the CSMS?"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from journal.observations import CableReported, FlowReported, MeterRead, StationStarted
from journal.projections.authorizations import AuthorizationBound, AuthorizationEnded
from journal.projections.base import Projection
from journal.projections.outbox import CallQueued, TransactionMark
from journal.terms import Decision, Entry, IdToken

KEPT_MAX = 200  # samples one TransactionEvent(Ended) carries; thinned from the middle. E06.FR.13


class Sample(msgspec.Struct, frozen=True):
    """A reading and why it was taken (ReadingContextEnumType)."""

    context: str
    at_ms: int  # wall clock, milliseconds since 1970
    read: MeterRead


class TransactionStarted(Decision, frozen=True, kw_only=True):
    """A transaction begins. Its id is unique for all time. E01.FR.08."""

    transaction_id: str
    evse_id: int  # 0: whoever was authorised has not plugged in yet. E01.FR.17
    trigger_reason: str
    granted_seq: int = 0  # the right to charge that began it; 0: the cable did
    id_token: IdToken | None = None
    group: IdToken | None = None
    remote_start_id: int | None = None


class TransactionAuthorized(Decision, frozen=True, kw_only=True):
    """Someone may charge in a transaction that already runs. E02.FR.20."""

    transaction_id: str
    granted_seq: int
    id_token: IdToken
    group: IdToken | None = None
    remote_start_id: int | None = None


class TransactionStopping(Decision, frozen=True, kw_only=True):
    """The transaction shall end; it does as soon as no energy flows any more. E06."""

    transaction_id: str
    trigger_reason: str
    stopped_reason: str
    id_token: IdToken | None = None


class SampleKept(Decision, frozen=True):
    """A reading taken for TransactionEvent(Ended). J02, SampledDataCtrlr.TxEndedInterval."""

    transaction_id: str
    sample: Sample


class GroupLearned(Decision, frozen=True):
    """The CSMS told the group of the token that authorised the transaction. C09.FR.12."""

    transaction_id: str
    group: IdToken


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """An open transaction. `next_seq_no` counts its events from 0. E01.FR.07."""

    transaction_id: str
    evse_id: int  # 0: not known yet
    started_seq: int
    granted_seq: int  # the right to charge it has, or had
    begin_told: bool = False  # Transaction.Begin values told. E02.FR.09, E02.FR.21
    started_at_ms: int  # wall clock, milliseconds since 1970
    next_seq_no: int = 0
    charging_state: str | None = None  # as last told
    evse_told: bool = False  # E01.FR.16
    id_token: IdToken | None = None  # who authorised it
    group: IdToken | None = None
    id_token_told: bool = False  # E03.FR.01
    remote_start_id: int | None = None
    remote_start_told: bool = False
    authorization_end: AuthorizationEnded | None = None
    authorization_end_told: bool = False
    stopping: TransactionStopping | None = None
    stopping_ms: int = 0
    sampled_ms: int = 0  # uptime of the last periodic sample, or of the start
    kept_ms: int = 0  # uptime of the last sample kept for the end
    charging_ms: int = 0
    charging_since_ms: int | None = None
    energy_flowed: bool = False  # since it began, or since an interruption
    kept: tuple[Sample, ...] = ()
    clock_kept_ms: int  # wall clock at the last clock-aligned sample kept, or at the start
    interrupted_seq: int = 0  # StationStarted that found it open; 0: never interrupted


class Transactions(Projection, frozen=True):
    """At most one transaction is open on an EVSE at any time. E01.FR.14."""

    HEARS = (
        TransactionStarted, TransactionAuthorized, TransactionStopping, SampleKept, GroupLearned,
        CallQueued, AuthorizationBound, AuthorizationEnded, CableReported, FlowReported,
        StationStarted,
    )  # fmt: skip

    open: tuple[Transaction, ...] = ()
    ended: tuple[tuple[int, int], ...] = ()  # (evse_id, entry that told its last end)
    flowing: tuple[int, ...] = ()  # EVSEs that give energy: one may begin by it. E01.FR.06

    def after(self, entry: Entry) -> Transactions:
        match entry.event:
            case CallQueued(transaction=mark):
                return self if mark is None else self._told(entry, mark)
            case TransactionStarted() as start:
                flows = start.evse_id in self.flowing
                return replace(self, open=(*self.open, _started(entry, start, flows)))
            case AuthorizationEnded(granted_seq=seq) as end:
                return self._granted(seq, authorization_end=end, authorization_end_told=False)
            case AuthorizationBound(granted_seq=seq, evse_id=evse_id):
                return self._granted(seq, evse_id=evse_id)
            case FlowReported(evse_id=evse_id, flow=flow):
                flows = flow == "charging"
                return self._flowing(evse_id, flows)._flowed(entry, evse_id, flows)
            case CableReported(evse_id=evse_id, plugged=False):
                return self._flowing(evse_id, False)
            case TransactionStopping() as stop:
                return self._changed(
                    stop.transaction_id, stopping=stop, stopping_ms=entry.uptime_ms
                )
            case TransactionAuthorized() as grant:
                return self._authorized(grant)
            case GroupLearned(transaction_id=transaction_id, group=group):
                return self._changed(transaction_id, group=group)
            case SampleKept(transaction_id=transaction_id, sample=sample):
                return self._kept(entry, transaction_id, sample)
            case StationStarted(last_uptime_ms=last_ms) if self.open or self.flowing:
                still = tuple(_interrupted(entry, one, last_ms) for one in self.open)
                return replace(self, open=still, flowing=())
            case _:
                return self

    def at(self, evse_id: int) -> Transaction | None:
        for one in self.open:
            if one.evse_id == evse_id:
                return one
        return None

    def last_end(self, evse_id: int) -> int:
        """The entry that told the end of the last transaction here; 0 before the first."""
        return next((seq for evse, seq in self.ended if evse == evse_id), 0)

    def of(self, transaction_id: str) -> Transaction | None:
        for one in self.open:
            if one.transaction_id == transaction_id:
                return one
        return None

    def _told(self, entry: Entry, mark: TransactionMark) -> Transactions:
        if mark.event_type == "Ended":
            others = tuple(one for one in self.ended if one[0] != mark.evse_id)
            return replace(
                self,
                open=tuple(one for one in self.open if one.transaction_id != mark.transaction_id),
                ended=(*others, (mark.evse_id, entry.seq)),
            )
        one = self.of(mark.transaction_id)
        if one is None:
            return self
        sampled = mark.trigger_reason == "MeterValuePeriodic"
        return self._changed(
            one.transaction_id,
            next_seq_no=mark.seq_no + 1,
            charging_state=mark.charging_state or one.charging_state,
            evse_told=one.evse_told or "evse" in mark.tells,
            id_token_told=one.id_token_told or "id_token" in mark.tells,
            begin_told=one.begin_told or "begin" in mark.tells,
            remote_start_told=one.remote_start_told or "remote_start" in mark.tells,
            authorization_end_told=one.authorization_end_told or "end" in mark.tells,
            sampled_ms=entry.uptime_ms if sampled else one.sampled_ms,
        )

    def _authorized(self, grant: TransactionAuthorized) -> Transactions:
        return self._changed(
            grant.transaction_id,
            granted_seq=grant.granted_seq,
            id_token=grant.id_token,
            group=grant.group,
            id_token_told=False,
            remote_start_id=grant.remote_start_id,
            remote_start_told=False,
            authorization_end=None,
            authorization_end_told=False,
        )

    def _flowing(self, evse_id: int, flows: bool) -> Transactions:
        if flows == (evse_id in self.flowing):
            return self
        others = tuple(one for one in self.flowing if one != evse_id)
        return replace(self, flowing=(*others, evse_id) if flows else others)

    def _flowed(self, entry: Entry, evse_id: int, charging: bool) -> Transactions:
        one = self.at(evse_id)
        if one is None or charging == (one.charging_since_ms is not None):
            return self
        if charging:
            return self._at(evse_id, charging_since_ms=entry.uptime_ms, energy_flowed=True)
        return self._at(
            evse_id, charging_ms=charged_ms(one, entry.uptime_ms), charging_since_ms=None
        )

    def _kept(self, entry: Entry, transaction_id: str, sample: Sample) -> Transactions:
        one = self.of(transaction_id)
        if one is None:
            return self
        kept = (*one.kept, sample)
        if len(kept) > KEPT_MAX:
            kept = (kept[0], *kept[1:-1][1::2], kept[-1])  # every other, never the ends
        if sample.context == "Sample.Clock":
            return self._changed(transaction_id, kept=kept, clock_kept_ms=wall_ms(entry))
        return self._changed(transaction_id, kept=kept, kept_ms=entry.uptime_ms)

    def _granted(self, seq: int, **changes: object) -> Transactions:
        """Change what has the right to charge `seq`. An open cable has none: seq 0 never comes."""
        for one in self.open:
            if one.granted_seq == seq:
                return self._changed(one.transaction_id, **changes)
        return self

    def _at(self, evse_id: int, **changes: object) -> Transactions:
        return replace(
            self,
            open=tuple(
                replace(one, **changes) if one.evse_id == evse_id else one for one in self.open
            ),
        )

    def _changed(self, transaction_id: str, **changes: object) -> Transactions:
        return replace(
            self,
            open=tuple(
                replace(one, **changes) if one.transaction_id == transaction_id else one
                for one in self.open
            ),
        )


def charged_ms(transaction: Transaction, uptime_ms: int) -> int:
    """How long energy has flowed, in total."""
    since = transaction.charging_since_ms
    return transaction.charging_ms + (0 if since is None else max(0, uptime_ms - since))


def wall_ms(entry: Entry) -> int:
    """Milliseconds since 1970 on the wall clock."""
    return round(entry.at.timestamp() * 1000)


def _started(entry: Entry, start: TransactionStarted, flows: bool) -> Transaction:
    """`flows`: energy does already, and is counted from now on."""
    return Transaction(
        transaction_id=start.transaction_id,
        evse_id=start.evse_id,
        started_seq=entry.seq,
        granted_seq=start.granted_seq,
        started_at_ms=wall_ms(entry),
        clock_kept_ms=wall_ms(entry),
        id_token=start.id_token,
        group=start.group,
        remote_start_id=start.remote_start_id,
        sampled_ms=entry.uptime_ms,
        kept_ms=entry.uptime_ms,
        charging_since_ms=entry.uptime_ms if flows else None,
        energy_flowed=flows,
    )


def _interrupted(entry: Entry, one: Transaction, last_ms: int | None) -> Transaction:
    """Energy stopped when the program did; uptimes of another boot mean nothing any more."""
    return replace(
        one,
        interrupted_seq=entry.seq,
        charging_ms=one.charging_ms if last_ms is None else charged_ms(one, last_ms),
        charging_since_ms=None,
        energy_flowed=False,
        sampled_ms=entry.uptime_ms,
        kept_ms=entry.uptime_ms,
        stopping_ms=entry.uptime_ms,
    )
