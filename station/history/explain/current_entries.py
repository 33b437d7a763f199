"""Which entries made things as they stand?

A state tells how things are; this tells by which entry each of them became so, as far as anybody
asks why. Only the numbers of entries are kept, and what is over is forgotten.
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
from station.core.evse_status import OUT_OF_ORDER_MS

StationPart = tuple[int, int]  # (evse_id, connector_id); 0: all of it


class OpenTransaction:
    """An open transaction."""

    def __init__(self, started_seq: int, evse_id: int, granted_seq: int) -> None:
        self.started_seq = started_seq
        self.evse_id = evse_id
        self.granted_seq = granted_seq  # entry that granted the right to charge; 0: nobody has one
        self.authorized_seq = 0  # entry that gave the right to a transaction that ran already
        self.authorization_ended_seq = 0
        self.authorization_end: AuthorizationEnded | None = None
        self.stopping_seq = 0


class CurrentEntries:
    """Numbers of the entries behind everything that is true at a point of the journal."""

    def __init__(self) -> None:
        self.started_seq = 0  # of the program
        self.reset_seq = 0
        self.restart_seq = 0
        self.firmware_seq = 0  # last word on an update
        self.disk_low_seq = 0  # since then there is little room on the disk
        self.disk_full_seq = 0  # since then the disk takes only ends of what runs
        self.rule_failed_seq = 0  # since then the judgement is not trusted with anybody new
        self.rule_failed_uptime_ms = 0  # uptime at which it failed
        self.offline_seq = 0  # since then nobody can be asked; 0: there is a link
        self.registration_seq = 0  # last word of the CSMS on whether it accepts the station
        self.cache_seqs: dict[str, int] = {}  # reference of a token -> last word of the CSMS on it
        self.last_expired = "", 0  # the token that was forgotten last, and when
        self.cable_seqs: dict[int, int] = {}
        self.flow_seqs: dict[int, int] = {}
        self.charging_seqs: dict[int, int] = {}  # where energy flows: since which entry
        self.authorization_seqs: dict[
            int, int
        ] = {}  # evse_id -> entry that granted the right to charge
        self.faults: dict[tuple[int, str, str], tuple[int, DeviceFaulted]] = {}
        self.unavailable_seqs: dict[StationPart, int] = {}  # parts out of service
        self.scheduled_seqs: dict[
            StationPart, int
        ] = {}  # changes that wait for a transaction to end
        self.open_transactions: dict[str, OpenTransaction] = {}

    def apply(self, entry: Entry) -> None:
        """Take the entry in. Entries come in order."""
        if self.rule_failed_seq and entry.uptime_ms - self.rule_failed_uptime_ms >= OUT_OF_ORDER_MS:
            self.rule_failed_seq = 0
        match entry.event:
            case StationStarted():
                self.started_seq = self.offline_seq = entry.seq
                self.reset_seq = self.restart_seq = self.rule_failed_seq = 0
                self.charging_seqs.clear()
                self.faults.clear()  # levels of the devices: they are reported anew
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
            case AvailabilityScheduled(evse_id=evse_id, connector_id=connector):
                self.scheduled_seqs[evse_id, connector] = entry.seq
            case AvailabilityChanged(evse_id=evse_id, connector_id=connector, operative=operative):
                self.scheduled_seqs.pop((evse_id, connector), None)
                self.unavailable_seqs.pop((evse_id, connector), None)
                if not operative:
                    self.unavailable_seqs[evse_id, connector] = entry.seq
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
            case AuthorizationBoundToEvse(authorization_seq=granted, evse_id=evse_id):
                self.authorization_seqs[evse_id] = granted
                for one in self.open_transactions.values():
                    if one.granted_seq == granted:
                        one.evse_id = evse_id
            case AuthorizationEnded(authorization_seq=granted) as end:
                self.authorization_seqs = {
                    evse: seq for evse, seq in self.authorization_seqs.items() if seq != granted
                }
                for one in self.open_transactions.values():
                    if granted in (one.granted_seq, one.authorized_seq):
                        one.authorization_ended_seq, one.authorization_end = entry.seq, end
            case TransactionStarted(
                transaction_id=name, evse_id=evse_id, authorization_seq=granted
            ):
                self.open_transactions[name] = OpenTransaction(entry.seq, evse_id, granted)
            case TransactionAuthorized(transaction_id=name, authorization_seq=granted):
                if known := self.open_transactions.get(name):
                    known.granted_seq, known.authorized_seq, known.authorization_ended_seq = (
                        granted,
                        entry.seq,
                        0,
                    )
                    known.authorization_end = None
            case TransactionStopOrdered(transaction_id=name):
                if known := self.open_transactions.get(name):
                    known.stopping_seq = entry.seq
            case CallQueued(transaction_event=mark) if (
                mark is not None and mark.event_type == "Ended"
            ):
                self.open_transactions.pop(mark.transaction_id, None)
                self.authorization_seqs.pop(mark.evse_id, None)
            case _:
                pass

    def find_cache_entry(self, ref: str) -> int:
        """What the cache has of a token, or that it was forgotten just now; 0: nothing."""
        forgotten, seq = self.last_expired
        return self.cache_seqs.get(ref) or (seq if forgotten == ref else 0)

    def on_evse(self, evse_id: int) -> OpenTransaction | None:
        """The transaction that is open on an EVSE."""
        return next(
            (one for one in self.open_transactions.values() if one.evse_id == evse_id), None
        )

    def transaction_id_on_evse(self, evse_id: int) -> str | None:
        """The id of that transaction."""
        for name, one in self.open_transactions.items():
            if one.evse_id == evse_id:
                return name
        return None

    def blocking_faults(self, evse_id: int) -> Iterator[tuple[int, DeviceFaulted]]:
        """The faults for which an EVSE may not charge, the first to come first."""
        for seq, fault in self.faults.values():
            if fault.blocks_charging and fault.evse_id in (0, evse_id):
                yield seq, fault

    def unavailable_causes(self, evse_id: int, connector_id: int) -> Iterator[int]:
        """What took the connector, or what it belongs to, out of service; else why the station
        keeps it from new people, in the order in which it asks itself."""
        parts = {(0, 0), (evse_id, 0), (evse_id, connector_id)}
        ordered = [seq for part, seq in (*self.unavailable_seqs.items(), *self.scheduled_seqs.items())
                   if part in parts]  # fmt: skip
        unfit = (
            self.restart_seq,
            self.disk_full_seq,
            self.firmware_seq,
            self.reset_seq,
            self.rule_failed_seq,
        )
        yield from ordered or [seq for seq in unfit if seq][:1]

    def faulted_causes(self, evse_id: int) -> Iterator[int]:
        """What makes an EVSE Faulted: faults of devices, else one of the judgement."""
        faults = [seq for seq, _ in self.blocking_faults(evse_id)]
        yield from faults or [self.rule_failed_seq]

    def blocking_entries(self, evse_id: int | None) -> Iterator[int]:
        """Why nobody new may begin at an EVSE; None: at any of them."""
        if evse_id is None:
            yield from self.authorization_seqs.values()
            return
        found = [
            *(seq for seq, _ in self.blocking_faults(evse_id)),
            *(seq for part, seq in (*self.unavailable_seqs.items(), *self.scheduled_seqs.items())
              if part[0] in (0, evse_id)),
            *(seq for seq in (self.disk_full_seq, self.restart_seq, self.reset_seq, self.rule_failed_seq) if seq),
            self.authorization_seqs.get(evse_id, 0),
            running.started_seq if (running := self.on_evse(evse_id)) else 0,
        ]  # fmt: skip
        yield from found if any(found) else [self.firmware_seq]
