"""The entries that made the present state: which fault, cable, authorization, order is in effect.

A state contains values; `CurrentEntries` contains the number of the entry that set each of them, as
far as a reason needs it. Only numbers are kept, and those that are no longer in effect are removed.

`entries_of_fact` has the entries of each fact of the status table (`station.core.evse_status`):
order and meaning of the causes of a status are the core's, not repeated here.
"""

from __future__ import annotations

from collections.abc import Iterator

from journal.events import Entry
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
from journal.projections.outbox import CallQueued
from journal.projections.registration import RegistrationAnswered
from journal.projections.station_health import RuleFailed
from journal.projections.transactions import (
    TransactionAuthorized,
    TransactionStarted,
    TransactionStopOrdered,
)
from station.core.evse_status import OUT_OF_ORDER_MS, STATUS_CAUSES

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
        self.last_expired = "", 0  # reference and entry of the last AuthCacheEntryExpired
        self.cable_seqs: dict[int, int] = {}  # evse_id -> last CableReported
        self.flow_seqs: dict[int, int] = {}  # evse_id -> last EnergyFlowReported
        self.charging_seqs: dict[int, int] = {}  # evse_id -> entry since which energy flows
        self.authorization_seqs: dict[int, int] = {}  # evse_id -> AuthorizationGranted
        self.faults: dict[tuple[int, str, str], tuple[int, DeviceFaulted]] = {}
        self.unavailable_seqs: dict[StationPart, int] = {}  # parts set to Inoperative
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
            case _:
                self._apply_cache(entry)
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

    def find_cache_entry(self, ref: str) -> int:
        """The entry that cached an idToken, or that just removed it as expired; 0: neither."""
        expired_ref, seq = self.last_expired
        return self.cache_seqs.get(ref) or (seq if expired_ref == ref else 0)

    def on_evse(self, evse_id: int) -> OpenTransaction | None:
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

    def blocking_faults(self, evse_id: int) -> Iterator[tuple[int, DeviceFaulted]]:
        """The faults that block charging on an EVSE, the oldest first."""
        for seq, fault in self.faults.values():
            if fault.blocks_charging and fault.evse_id in (0, evse_id):
                yield seq, fault

    def entries_of_fact(
        self, fact: str, evse_id: int, connector_id: int | None = None
    ) -> tuple[int, ...]:
        """Entries that make a fact of the status table true; empty: the fact does not hold.

        Args:
            fact: a field of `ConnectorFacts`.
            connector_id: None: any connector of the EVSE.
        """
        transaction = self.on_evse(evse_id)
        seqs = {
            "has_blocking_fault": [seq for seq, _ in self.blocking_faults(evse_id)],
            "has_transaction": [transaction.started_seq if transaction else 0],
            "is_out_of_service": list(self._inoperative_seqs(evse_id, connector_id)),
            "is_restart_ordered": [self.restart_seq],
            "is_out_of_order": [self.rule_failed_seq],
            "is_storage_full": [self.disk_full_seq],
            "is_closed_for_firmware": [self.firmware_seq],
            "is_plugged_in": [self.cable_seqs.get(evse_id, 0)],
        }
        return tuple(seq for seq in seqs[fact] if seq)

    def _inoperative_seqs(self, evse_id: int, connector_id: int | None) -> Iterator[int]:
        for part, seq in (*self.unavailable_seqs.items(), *self.scheduled_seqs.items()):
            if part[0] in (0, evse_id) and (connector_id is None or part[1] in (0, connector_id)):
                yield seq

    def status_causes(self, status: str, evse_id: int, connector_id: int) -> tuple[int, ...]:
        """Entries of the first fact of the status table that leads to this status."""
        for cause in STATUS_CAUSES:
            if cause.status == status and (
                seqs := self.entries_of_fact(cause.fact, evse_id, connector_id)
            ):
                return seqs
        # A reset that waits is no cause of a status; older releases had it as one.
        return (self.reset_seq,) if status == "Unavailable" else ()

    def blocking_entries(self, evse_id: int | None) -> Iterator[int]:
        """Entries because of which an EVSE accepts no new EV driver; None: at every EVSE."""
        if evse_id is None:
            yield from self.authorization_seqs.values()
            return
        seqs = [
            seq
            for cause in STATUS_CAUSES
            if cause.fact not in ("is_plugged_in", "is_closed_for_firmware")
            for seq in self.entries_of_fact(cause.fact, evse_id)
        ]
        seqs += [self.reset_seq, self.authorization_seqs.get(evse_id, 0)]
        # A running update is a reason only if there is no other: it may not keep drivers away.
        yield from seqs if any(seqs) else [self.firmware_seq]
