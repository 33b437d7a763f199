"""Which entries made things as they stand?

A state tells how things are; this tells by which entry each of them became so, as far as anybody
asks why. Only the numbers of entries are kept, and what is over is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator

from journal.observations import (
    CableReported,
    DeviceFaulted,
    DeviceRecovered,
    FlowReported,
    ForgettingOrdered,
    LinkClosed,
    LinkOpened,
    StationStarted,
    StorageReported,
)
from journal.projections.auth_cache import CacheCleared, CacheExpired, CacheUpdated
from journal.projections.authorizations import (
    AuthorizationBound,
    AuthorizationEnded,
    AuthorizationGranted,
)
from journal.projections.availability import AvailabilityChanged, AvailabilityScheduled
from journal.projections.condition import JudgementFailed
from journal.projections.customers import CustomerCleared
from journal.projections.firmware import (
    ENDS,
    FirmwareAdvanced,
    FirmwareOrdered,
    TransactionsAwaited,
)
from journal.projections.lifecycle import ResetOrdered, RestartOrdered
from journal.projections.outbox import CallQueued
from journal.projections.registration import RegistrationAnswered
from journal.projections.transactions import (
    TransactionAuthorized,
    TransactionStarted,
    TransactionStopping,
)
from journal.terms import Entry
from station.blocks.standing import REST_MS

Part = tuple[int, int]  # (evse_id, connector_id); 0: all of it


class Running:
    """An open transaction."""

    def __init__(self, started: int, evse_id: int, granted: int) -> None:
        self.started = started
        self.evse_id = evse_id
        self.granted = granted  # entry that granted the right to charge; 0: nobody has one
        self.authorized = 0  # entry that gave the right to a transaction that ran already
        self.right_ended = 0
        self.end: AuthorizationEnded | None = None
        self.stopping = 0


class Standing:
    """Numbers of the entries behind everything that is true at a point of the journal."""

    def __init__(self) -> None:
        self.started = 0  # of the program
        self.reset = 0
        self.restart = 0
        self.firmware = 0  # last word on an update
        self.short = 0  # since then there is little room on the disk
        self.full = 0  # since then the disk takes only ends of what runs
        self.failed = 0  # since then the judgement is not trusted with anybody new
        self.failed_ms = 0  # uptime at which it failed
        self.offline = 0  # since then nobody can be asked; 0: there is a link
        self.registered = 0  # last word of the CSMS on whether it accepts the station
        self.cached: dict[str, int] = {}  # reference of a token -> last word of the CSMS on it
        self.expired = "", 0  # the token that was forgotten last, and when
        self.cables: dict[int, int] = {}
        self.flows: dict[int, int] = {}
        self.flowing: dict[int, int] = {}  # where energy flows: since which entry
        self.rights: dict[int, int] = {}  # evse_id -> entry that granted the right to charge
        self.faults: dict[tuple[int, str, str], tuple[int, DeviceFaulted]] = {}
        self.closed: dict[Part, int] = {}  # parts out of service
        self.closing: dict[Part, int] = {}  # changes that wait for a transaction to end
        self.running: dict[str, Running] = {}

    def hears(self, entry: Entry) -> None:
        """Take the entry in. Entries come in order."""
        if self.failed and entry.uptime_ms - self.failed_ms >= REST_MS:
            self.failed = 0
        match entry.event:
            case StationStarted():
                self.started = self.offline = entry.seq
                self.reset = self.restart = self.failed = 0
                self.flowing.clear()
                self.faults.clear()  # levels of the devices: they are reported anew
            case LinkOpened():
                self.offline = 0
            case LinkClosed():
                self.offline = entry.seq
            case RegistrationAnswered():
                self.registered = entry.seq
            case ResetOrdered():
                self.reset = entry.seq
            case RestartOrdered():
                self.restart = entry.seq
            case FirmwareAdvanced(status=status) if status in ENDS:
                self.firmware = 0
            case FirmwareOrdered() | FirmwareAdvanced() | TransactionsAwaited():
                self.firmware = entry.seq
            case StorageReported(level=level):
                self.short = 0 if level == "enough" else entry.seq
                self.full = entry.seq if level == "full" else 0
            case JudgementFailed():
                self.failed, self.failed_ms = entry.seq, entry.uptime_ms
            case CableReported(evse_id=evse_id):
                self.cables[evse_id] = entry.seq
                self.flowing.pop(evse_id, None)
            case FlowReported(evse_id=evse_id, flow=flow):
                self.flows[evse_id] = entry.seq
                self.flowing.pop(evse_id, None)
                if flow == "charging":
                    self.flowing[evse_id] = entry.seq
            case DeviceFaulted(evse_id=evse_id, device=device, fault=fault) as event:
                self.faults[evse_id, device, fault] = entry.seq, event
            case DeviceRecovered(evse_id=evse_id, device=device, fault=fault):
                self.faults.pop((evse_id, device, fault), None)
            case AvailabilityScheduled(evse_id=evse_id, connector_id=connector):
                self.closing[evse_id, connector] = entry.seq
            case AvailabilityChanged(evse_id=evse_id, connector_id=connector, operative=operative):
                self.closing.pop((evse_id, connector), None)
                self.closed.pop((evse_id, connector), None)
                if not operative:
                    self.closed[evse_id, connector] = entry.seq
            case _:
                self._remembers(entry)
                self._session(entry)

    def _remembers(self, entry: Entry) -> None:
        match entry.event:
            case CacheUpdated(id_token=id_token, evicted=evicted):
                self._forgets(evicted)
                self.cached[id_token.ref] = entry.seq
            case CacheExpired(ref=ref):
                self.cached.pop(ref, None)
                self.expired = ref, entry.seq
            case CacheCleared():
                self.cached.clear()
            case CustomerCleared(refs=refs) | ForgettingOrdered(refs=refs):
                self._forgets(refs)
            case _:
                pass

    def _forgets(self, refs: tuple[str, ...]) -> None:
        for ref in refs:
            self.cached.pop(ref, None)

    def _session(self, entry: Entry) -> None:
        match entry.event:
            case AuthorizationGranted(evse_id=int(evse_id)):
                self.rights[evse_id] = entry.seq
            case AuthorizationBound(granted_seq=granted, evse_id=evse_id):
                self.rights[evse_id] = granted
                for one in self.running.values():
                    if one.granted == granted:
                        one.evse_id = evse_id
            case AuthorizationEnded(granted_seq=granted) as end:
                self.rights = {evse: seq for evse, seq in self.rights.items() if seq != granted}
                for one in self.running.values():
                    if granted in (one.granted, one.authorized):
                        one.right_ended, one.end = entry.seq, end
            case TransactionStarted(transaction_id=name, evse_id=evse_id, granted_seq=granted):
                self.running[name] = Running(entry.seq, evse_id, granted)
            case TransactionAuthorized(transaction_id=name, granted_seq=granted):
                if known := self.running.get(name):
                    known.granted, known.authorized, known.right_ended = granted, entry.seq, 0
                    known.end = None
            case TransactionStopping(transaction_id=name):
                if known := self.running.get(name):
                    known.stopping = entry.seq
            case CallQueued(transaction=mark) if mark is not None and mark.event_type == "Ended":
                self.running.pop(mark.transaction_id, None)
                self.rights.pop(mark.evse_id, None)
            case _:
                pass

    def known(self, ref: str) -> int:
        """What the cache has of a token, or that it was forgotten just now; 0: nothing."""
        forgotten, seq = self.expired
        return self.cached.get(ref) or (seq if forgotten == ref else 0)

    def at(self, evse_id: int) -> Running | None:
        """The transaction that is open on an EVSE."""
        return next((one for one in self.running.values() if one.evse_id == evse_id), None)

    def transaction_at(self, evse_id: int) -> str | None:
        """The id of that transaction."""
        for name, one in self.running.items():
            if one.evse_id == evse_id:
                return name
        return None

    def blocking(self, evse_id: int) -> Iterator[tuple[int, DeviceFaulted]]:
        """The faults for which an EVSE may not charge, the first to come first."""
        for seq, fault in self.faults.values():
            if fault.blocks and fault.evse_id in (0, evse_id):
                yield seq, fault

    def out_of_service(self, evse_id: int, connector_id: int) -> Iterator[int]:
        """What took the connector, or what it belongs to, out of service; else why the station
        keeps it from new people, in the order in which it asks itself."""
        parts = {(0, 0), (evse_id, 0), (evse_id, connector_id)}
        ordered = [seq for part, seq in (*self.closed.items(), *self.closing.items())
                   if part in parts]  # fmt: skip
        unfit = (self.restart, self.full, self.firmware, self.reset, self.failed)
        yield from ordered or [seq for seq in unfit if seq][:1]

    def out_of_order(self, evse_id: int) -> Iterator[int]:
        """What makes an EVSE Faulted: faults of devices, else one of the judgement."""
        faults = [seq for seq, _ in self.blocking(evse_id)]
        yield from faults or [self.failed]

    def obstacles(self, evse_id: int | None) -> Iterator[int]:
        """Why nobody new may begin at an EVSE; None: at any of them."""
        if evse_id is None:
            yield from self.rights.values()
            return
        found = [
            *(seq for seq, _ in self.blocking(evse_id)),
            *(seq for part, seq in (*self.closed.items(), *self.closing.items())
              if part[0] in (0, evse_id)),
            *(seq for seq in (self.full, self.restart, self.reset, self.failed) if seq),
            self.rights.get(evse_id, 0),
            running.started if (running := self.at(evse_id)) else 0,
        ]  # fmt: skip
        yield from found if any(found) else [self.firmware]
