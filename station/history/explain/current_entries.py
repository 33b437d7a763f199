"""The entries that made the present state: which fault, cable, authorization, order is in effect.

A state contains values; `CurrentEntries` contains the number of the entry that set each of them, as
far as a reason needs it. Only numbers are kept, and those that are no longer in effect are removed.

A reason names facts (`station.core.reasons`); FACTS finds the entries of each. Which fact decided
is recorded with the decision, so no order of causes is repeated here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from journal.events import Entry, Event
from journal.observations import (
    CableReported,
    DeviceFaulted,
    DeviceRecovered,
    EnergyFlowReported,
    ErasureRequested,
    LinkClosed,
    LinkOpened,
    StationStarted,
    StorageReported,
)
from journal.projections.auth_cache import AuthCacheCleared, AuthCacheEntryExpired, AuthCacheUpdated
from journal.projections.authorizations import (
    AuthorizationBoundToEvse,
    AuthorizationEnded,
    AuthorizationGranted,
)
from journal.projections.availability import AvailabilityChanged, AvailabilityScheduled
from journal.projections.customer_requests import CustomerDataCleared
from journal.projections.firmware import (
    FINAL_STATUSES,
    FirmwareStatusChanged,
    FirmwareUpdateOrdered,
    FirmwareWaitingForTransactions,
)
from journal.projections.lifecycle import ResetOrdered, RestartOrdered
from journal.projections.local_list import LocalListChanged, LocalListReplaced
from journal.projections.outbox import CallQueued, TransactionEventSummary
from journal.projections.registration import RegistrationAnswered
from journal.projections.reservations import (
    ReservationEnded,
    ReservationMade,
    ReservationUsed,
)
from journal.projections.station_health import RuleFailed
from journal.projections.transactions import (
    TransactionAuthorized,
    TransactionStarted,
    TransactionStopOrdered,
)
from station.core.evse_status import OUT_OF_ORDER_MS

StationPart = tuple[int, int]  # (evse_id, connector_id); 0: all of it


class OpenTransaction:
    """Entries of an open transaction; 0: none."""

    def __init__(self, started_seq: int, evse_id: int, authorization_seq: int) -> None:
        self.started_seq = started_seq
        self.evse_id = evse_id
        self.authorization_seq = authorization_seq  # AuthorizationGranted it has, or had
        self.authorized_seq = 0  # TransactionAuthorized, if it started without an authorization
        self.authorization_ended_seq = 0
        self.authorization_end: AuthorizationEnded | None = None
        self.stopping_seq = 0

    def authorize(self, seq: int, authorization_seq: int) -> None:
        """It gets an authorization by the entry `seq`."""
        self.authorization_seq, self.authorized_seq = authorization_seq, seq
        self.authorization_ended_seq, self.authorization_end = 0, None


class CurrentEntries:
    """Numbers of the entries that are in effect; 0: none."""

    def __init__(self) -> None:
        self.started_seq = 0  # StationStarted of this run
        self.reset_seq = 0
        self.restart_seq = 0
        self.firmware_seq = 0  # latest entry of a running update
        self.disk_low_seq = 0
        self.disk_full_seq = 0
        self.rule_failed_seq = 0
        self.rule_failed_uptime_ms = 0
        self.offline_seq = 0  # since which there is no link
        self.registration_seq = 0
        self.cache_seqs: dict[str, int] = {}  # reference of an idToken -> its AuthCacheUpdated
        self.list_seqs: dict[str, int] = {}  # reference of an idToken -> its LocalListChanged
        self.last_expired = "", 0  # reference and entry of the last AuthCacheEntryExpired
        self.cable_seqs: dict[int, int] = {}  # evse_id -> last CableReported
        self.flow_seqs: dict[int, int] = {}  # evse_id -> last EnergyFlowReported
        self.charging_seqs: dict[int, int] = {}  # evse_id -> entry since which energy flows
        self.authorization_seqs: dict[int, int] = {}  # evse_id -> AuthorizationGranted
        self.faults: dict[tuple[int, str, str], tuple[int, DeviceFaulted]] = {}
        self.unavailable_seqs: dict[StationPart, int] = {}  # parts set to Inoperative
        # reservation id -> entry that made it, and the EVSE it names or 0
        self.reservations: dict[int, tuple[int, int]] = {}
        self.scheduled_seqs: dict[StationPart, int] = {}  # changes that wait for a transaction
        self.open_transactions: dict[str, OpenTransaction] = {}

    def apply(self, entry: Entry) -> None:
        """Apply an entry. Entries come in order."""
        if self.rule_failed_seq and entry.uptime_ms - self.rule_failed_uptime_ms >= OUT_OF_ORDER_MS:
            self.rule_failed_seq = 0
        match entry.event:
            case StationStarted():
                self.started_seq = self.offline_seq = entry.seq
                self.reset_seq = self.restart_seq = self.rule_failed_seq = 0
                self.charging_seqs.clear()
                self.faults.clear()  # the devices report their faults again
            case LinkOpened():
                self.offline_seq = 0
            case LinkClosed():
                self.offline_seq = entry.seq
            case RegistrationAnswered():
                self.registration_seq = entry.seq
            case ResetOrdered():
                self.reset_seq = entry.seq
            case RestartOrdered():
                self.restart_seq = entry.seq
            case FirmwareStatusChanged(status=status) if status in FINAL_STATUSES:
                self.firmware_seq = 0
            case (
                FirmwareUpdateOrdered() | FirmwareStatusChanged() | FirmwareWaitingForTransactions()
            ):
                self.firmware_seq = entry.seq
            case StorageReported(level=level):
                self.disk_low_seq = 0 if level == "enough" else entry.seq
                self.disk_full_seq = entry.seq if level == "full" else 0
            case RuleFailed():
                self.rule_failed_seq, self.rule_failed_uptime_ms = entry.seq, entry.uptime_ms
            case CableReported(evse_id=evse_id):
                self.cable_seqs[evse_id] = entry.seq
                self.charging_seqs.pop(evse_id, None)
            case EnergyFlowReported(evse_id=evse_id, flow=flow):
                self.flow_seqs[evse_id] = entry.seq
                self.charging_seqs.pop(evse_id, None)
                if flow == "charging":
                    self.charging_seqs[evse_id] = entry.seq
            case DeviceFaulted(evse_id=evse_id, device=device, fault=fault) as event:
                self.faults[evse_id, device, fault] = entry.seq, event
            case DeviceRecovered(evse_id=evse_id, device=device, fault=fault):
                self.faults.pop((evse_id, device, fault), None)
            case AvailabilityScheduled(evse_id=evse_id, connector_id=connector_id):
                self.scheduled_seqs[evse_id, connector_id] = entry.seq
            case AvailabilityChanged() as change:
                part = (change.evse_id, change.connector_id)
                self.scheduled_seqs.pop(part, None)
                self.unavailable_seqs.pop(part, None)
                if not change.operative:
                    self.unavailable_seqs[part] = entry.seq
            case ReservationMade(reservation_id=reservation_id, evse_id=evse_id):
                self.reservations[reservation_id] = entry.seq, evse_id
            case (
                ReservationUsed(reservation_id=reservation_id)
                | ReservationEnded(reservation_id=reservation_id)
            ):
                self.reservations.pop(reservation_id, None)
            case _:
                self._apply_cache(entry)
                self._apply_local_list(entry)
                self._apply_transaction(entry)

    def _apply_cache(self, entry: Entry) -> None:
        match entry.event:
            case AuthCacheUpdated(id_token=id_token, evicted_refs=evicted):
                self._drop_cached(evicted)
                self.cache_seqs[id_token.ref] = entry.seq
            case AuthCacheEntryExpired(ref=ref):
                self.cache_seqs.pop(ref, None)
                self.last_expired = ref, entry.seq
            case AuthCacheCleared():
                self.cache_seqs.clear()
            case CustomerDataCleared(refs=refs) | ErasureRequested(refs=refs):
                self._drop_cached(refs)
            case _:
                pass

    def _apply_local_list(self, entry: Entry) -> None:
        match entry.event:
            case LocalListReplaced(id_tokens=id_tokens):
                self.list_seqs = {each.id_token.ref: entry.seq for each in id_tokens}
            case LocalListChanged(updated=updated, removed_refs=removed):
                for ref in removed:
                    self.list_seqs.pop(ref, None)
                self.list_seqs |= {each.id_token.ref: entry.seq for each in updated}
            case _:
                pass

    def _drop_cached(self, refs: tuple[str, ...]) -> None:
        for ref in refs:
            self.cache_seqs.pop(ref, None)

    def _apply_transaction(self, entry: Entry) -> None:
        match entry.event:
            case AuthorizationGranted(evse_id=int(evse_id)):
                self.authorization_seqs[evse_id] = entry.seq
            case AuthorizationBoundToEvse(authorization_seq=authorization_seq, evse_id=evse_id):
                self.authorization_seqs[evse_id] = authorization_seq
                for transaction in self.open_transactions.values():
                    if transaction.authorization_seq == authorization_seq:
                        transaction.evse_id = evse_id
            case AuthorizationEnded() as end:
                self._end_authorization(entry, end)
            case TransactionStarted() as start:
                self.open_transactions[start.transaction_id] = OpenTransaction(
                    entry.seq, start.evse_id, start.authorization_seq
                )
            case TransactionAuthorized() as authorized:
                if running := self.open_transactions.get(authorized.transaction_id):
                    running.authorize(entry.seq, authorized.authorization_seq)
            case TransactionStopOrdered(transaction_id=transaction_id):
                if stopping := self.open_transactions.get(transaction_id):
                    stopping.stopping_seq = entry.seq
            case CallQueued(transaction_event=summary) if (
                summary is not None and summary.event_type == "Ended"
            ):
                self.open_transactions.pop(summary.transaction_id, None)
                self.authorization_seqs.pop(summary.evse_id, None)
            case _:
                pass

    def _end_authorization(self, entry: Entry, end: AuthorizationEnded) -> None:
        ended_seq = end.authorization_seq
        self.authorization_seqs = {
            evse_id: seq for evse_id, seq in self.authorization_seqs.items() if seq != ended_seq
        }
        for transaction in self.open_transactions.values():
            if ended_seq in (transaction.authorization_seq, transaction.authorized_seq):
                transaction.authorization_ended_seq = entry.seq
                transaction.authorization_end = end

    # --- Questions -------------------------------------------------------------------------------

    def on_evse(self, evse_id: int | None) -> OpenTransaction | None:
        """The open transaction on an EVSE."""
        for transaction in self.open_transactions.values():
            if transaction.evse_id == evse_id:
                return transaction
        return None

    def transaction_id_on_evse(self, evse_id: int) -> str | None:
        """The id of the open transaction on an EVSE."""
        for transaction_id, transaction in self.open_transactions.items():
            if transaction.evse_id == evse_id:
                return transaction_id
        return None

    def entries_of_fact(self, fact: str, event: Event) -> Iterator[int]:
        """The entries that make a fact true for the subject of an event, the oldest first.

        Args:
            fact: a name of `Reason.facts`, a key of FACTS.
            event: of the EVSE, connector, transaction, authorization or idToken in its fields.
        """
        if isinstance(event, CallQueued):
            subject: Any = event.transaction_event or event.connector_status
        else:
            subject = event
        for seq in FACTS[fact](self, _subject_of(self, subject)):
            if seq:
                yield seq


class _Subject(NamedTuple):
    """The EVSE, connector and transaction that an event names."""

    event: Any  # the event, or the report in a CallQueued
    evse_id: int | None
    connector_id: int | None
    transaction: OpenTransaction | None


def _subject_of(current: CurrentEntries, event: Any) -> _Subject:
    transaction = current.open_transactions.get(getattr(event, "transaction_id", ""))
    evse_id = transaction.evse_id if transaction else getattr(event, "evse_id", None)
    return _Subject(event, evse_id, getattr(event, "connector_id", None), transaction)


def _blocking_faults(current: CurrentEntries, subject: _Subject) -> Iterator[int]:
    for seq, fault in current.faults.values():
        if fault.blocks_charging and fault.evse_id in (0, subject.evse_id):
            yield seq


def _inoperative_parts(current: CurrentEntries, subject: _Subject) -> Iterator[int]:
    """Changes to Inoperative of the part, or of one that contains it; without a connector of any
    connector.
    """
    for part, seq in (*current.unavailable_seqs.items(), *current.scheduled_seqs.items()):
        if part[0] in (0, subject.evse_id) and (
            subject.connector_id is None or part[1] in (0, subject.connector_id)
        ):
            yield seq


def _reservations_of_evse(current: CurrentEntries, subject: _Subject) -> Iterator[int]:
    for seq, evse_id in current.reservations.values():
        if evse_id and evse_id == subject.evse_id:
            yield seq


def _reservations_of_any_evse(current: CurrentEntries, subject: _Subject) -> Iterator[int]:
    for seq, evse_id in current.reservations.values():
        if not evse_id:
            yield seq


def _reservation(current: CurrentEntries, subject: _Subject) -> Iterator[int]:
    yield current.reservations.get(subject.event.reservation_id, (0, 0))[0]


def _open_transaction(current: CurrentEntries, subject: _Subject) -> Iterator[int]:
    transaction = current.on_evse(subject.evse_id)
    yield transaction.started_seq if transaction else 0


def _authorization_end(current: CurrentEntries, subject: _Subject) -> Iterator[int]:
    """The end of the authorization; for a TransactionEvent only if it reports that end."""
    transaction = subject.transaction
    if transaction is None or transaction.authorization_end is None:
        return
    if (
        not isinstance(subject.event, TransactionEventSummary)
        or subject.event.trigger_reason == transaction.authorization_end.trigger_reason
    ):
        yield transaction.authorization_ended_seq


def _authorization(current: CurrentEntries, subject: _Subject) -> Iterator[int]:
    yield subject.event.authorization_seq


def _cache_entry(current: CurrentEntries, subject: _Subject) -> Iterator[int]:
    """The entry that cached the idToken, or that just removed it as expired."""
    ref = subject.event.id_token.ref
    expired_ref, expired_seq = current.last_expired
    yield current.cache_seqs.get(ref) or (expired_seq if expired_ref == ref else 0)


def _list_entry(current: CurrentEntries, subject: _Subject) -> Iterator[int]:
    """The entry that put the idToken into the Local Authorization List, or changed it there."""
    yield current.list_seqs.get(subject.event.id_token.ref, 0)


def _transaction_entry(attribute: str) -> FactFinder:
    """Finds an entry of the open transaction."""

    def find(current: CurrentEntries, subject: _Subject) -> Iterator[int]:
        yield getattr(subject.transaction, attribute, 0)

    return find


def _transaction_authorized(current: CurrentEntries, subject: _Subject) -> Iterator[int]:
    if subject.transaction is not None:
        yield subject.transaction.authorized_seq or subject.transaction.authorization_seq


def _entry_in_effect(attribute: str) -> FactFinder:
    """Finds an entry that concerns the whole station."""

    def find(current: CurrentEntries, subject: _Subject) -> Iterator[int]:
        yield getattr(current, attribute)

    return find


def _entry_of_evse(attribute: str) -> FactFinder:
    """Finds an entry of the EVSE."""

    def find(current: CurrentEntries, subject: _Subject) -> Iterator[int]:
        yield getattr(current, attribute).get(subject.evse_id, 0)

    return find


FactFinder = Callable[[CurrentEntries, _Subject], Iterator[int]]

# Names that `Reason.facts` can contain; the first ten are those of `ConnectorFacts`.
FACTS: Final[dict[str, FactFinder]] = {
    "has_blocking_fault": _blocking_faults,
    "is_reserved": _reservations_of_evse,
    "is_kept_free": _reservations_of_any_evse,
    "has_transaction": _open_transaction,
    "is_out_of_service": _inoperative_parts,
    "is_restart_ordered": _entry_in_effect("restart_seq"),
    "is_out_of_order": _entry_in_effect("rule_failed_seq"),
    "is_storage_full": _entry_in_effect("disk_full_seq"),
    "is_closed_for_firmware": _entry_in_effect("firmware_seq"),
    "is_plugged_in": _entry_of_evse("cable_seqs"),
    "authorization": _authorization,
    "authorization_at_evse": _entry_of_evse("authorization_seqs"),
    "authorization_ended": _authorization_end,
    "authorizations": lambda current, subject: iter(current.authorization_seqs.values()),
    "cable": _entry_of_evse("cable_seqs"),
    "cache_entry": _cache_entry,
    "list_entry": _list_entry,
    "change_scheduled": lambda current, subject: iter(
        (current.scheduled_seqs.get((subject.event.evse_id, subject.event.connector_id), 0),)
    ),
    "charging": _entry_of_evse("charging_seqs"),
    "disk_low": _entry_in_effect("disk_low_seq"),
    "firmware": _entry_in_effect("firmware_seq"),
    "flow": _entry_of_evse("flow_seqs"),
    "offline": _entry_in_effect("offline_seq"),
    "program_started": _entry_in_effect("started_seq"),
    "registration": _entry_in_effect("registration_seq"),
    "reservation": _reservation,
    "reset_ordered": _entry_in_effect("reset_seq"),
    "transaction_authorized": _transaction_authorized,
    "transaction_started": _transaction_entry("started_seq"),
    "transaction_stopped": _transaction_entry("stopping_seq"),
}
