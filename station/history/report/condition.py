"""In what state is each EVSE, and what keeps it from being used?

The rule for public funding (US 23 CFR 680.116 (b)) calls a port up while it is online and available
for use, or in use. A `Cause` is what makes it not so, with the entry that shows it; its `Ground`
says whether the rule lets an outage out of the count for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

from journal.observations import (
    CableReported,
    DeviceFaulted,
    DeviceRecovered,
    FlowReported,
    LinkClosed,
    LinkOpened,
    StationStarted,
    StationStopping,
)
from journal.projections.authorizations import AuthorizationBound
from journal.projections.availability import AvailabilityChanged
from journal.projections.firmware import FirmwareAdvanced, FirmwareOrdered
from journal.projections.lifecycle import ResetOrdered, RestartOrdered
from journal.projections.outbox import CallQueued
from journal.projections.registration import RegistrationAnswered
from journal.projections.transactions import TransactionStarted
from journal.terms import Entry, Event

State = Literal[
    "none", "available", "occupied", "waiting", "charging", "offline", "closed", "down", "faulted"
]
OUTAGES: Final[frozenset[State]] = frozenset({"offline", "closed", "down", "faulted"})

CARRIED_MS: Final = 60_000  # a fault told again so soon after a start is the one from before it
INSTALLING: Final = frozenset({"Installing", "InstallRebooting"})  # L01.FR.07: nobody may begin


class Ground(NamedTuple):
    """A reason for which the rule excludes an outage.

    `proven`: the journal shows it; otherwise an operator may be able to. `covers`: what begins
    while it lasts is its consequence, so that the port would otherwise have been operational.
    """

    name: str
    proven: bool = False
    covers: bool = False


UTILITY: Final = Ground("electric utility service interruption", proven=True, covers=True)
UTILITY_IF_SHOWN: Final = Ground("electric utility service interruption", covers=True)
VEHICLE: Final = Ground("fault of the vehicle", proven=True)
VEHICLE_IF_SHOWN: Final = Ground("fault of the vehicle")
MAINTENANCE: Final = Ground("scheduled maintenance", proven=True, covers=True)
MAINTENANCE_IF_SHOWN: Final = Ground("scheduled maintenance", covers=True)
VANDALISM_IF_SHOWN: Final = Ground("vandalism")

FAULT_GROUNDS: Final[dict[tuple[str, str], Ground]] = {
    ("mains", "lost"): UTILITY,
    ("mains", "phase_missing"): UTILITY,
    ("mains", "under_voltage"): UTILITY_IF_SHOWN,  # the quality of the supply, no interruption
    ("mains", "over_voltage"): UTILITY_IF_SHOWN,
    ("ev", "emergency_stop"): VEHICLE,
    ("ev", "session_aborted"): VEHICLE_IF_SHOWN,  # nobody else said why: no proof
    ("ev", "no_precharge"): VEHICLE_IF_SHOWN,  # or our modules were too slow
    ("pilot", "error"): VEHICLE_IF_SHOWN,  # or our cable
    ("dispenser", "tilted"): VANDALISM_IF_SHOWN,
    ("door", "open"): VANDALISM_IF_SHOWN,
    ("dispenser_door", "open"): VANDALISM_IF_SHOWN,
}


class Cause(NamedTuple):
    """What keeps an EVSE from being used. `seq`: the entry that shows it."""

    seq: int
    text: str
    ground: Ground | None = None


class Fault(NamedTuple):
    """A fault that lasts."""

    seq: int
    began: int  # moment
    event: DeviceFaulted


FaultKey = tuple[int, str, str]


class Span(NamedTuple):
    """A fault that is over, or not yet. One that goes on after a restart comes again, longer."""

    fault: Fault
    ended: int | None = None  # moment
    ended_seq: int | None = None


class Condition:
    """What is true at a point of the journal. `hears` entries in order."""

    def __init__(self) -> None:
        self.evse_ids: tuple[int, ...] = ()
        self.faults: dict[FaultKey, Fault] = {}
        self.online = False
        self.running: dict[str, int] = {}  # open transaction -> its EVSE; 0: not known yet
        self.down: Cause | None = None  # only between two runs
        self._offline = Cause(0, "")
        self._refused: Cause | None = None  # no word of acceptance yet
        self._flows: dict[int, str] = {}
        self._plugged: dict[int, bool] = {}
        self._closed: dict[tuple[int, int], Cause] = {}
        self._told: dict[int, Cause] = {}  # told Unavailable to the CSMS
        self._connectors: dict[int, tuple[int, ...]] = {}
        self._granted: dict[int, str] = {}  # entry that granted -> transaction
        self._ending: Cause | None = None  # a reset or a restart is ordered
        self._stopping = ""  # the program was asked to end
        self._update: FirmwareOrdered | None = None
        self._ordered = 0  # entry of it
        self._installing: Cause | None = None
        self._carried: dict[FaultKey, Fault] = {}
        self._started = 0  # moment
        self._boot_id = ""

    # --- What is so ------------------------------------------------------------------------------

    def state(self, evse_id: int) -> State:
        """The one word for an EVSE, the worst that is true of it; none: there is none such."""
        if evse_id not in self._connectors:
            return "none"
        if self.down:
            return "down"
        if any(one.event.blocks and key[0] in (0, evse_id) for key, one in self.faults.items()):
            return "faulted"
        if evse_id in self.running.values():
            return "charging" if self._flows.get(evse_id) == "charging" else "waiting"
        if any(self._closings(evse_id)):
            return "closed"
        if not self.online or self._refused:
            return "offline"
        return "occupied" if self._plugged.get(evse_id) else "available"

    def causes(self, evse_id: int) -> tuple[Cause, ...]:
        """Everything for which it cannot be used, oldest first."""
        if evse_id not in self._connectors:
            return ()
        found = [_cause(one) for key, one in self.faults.items()
                 if one.event.blocks and key[0] in (0, evse_id)]  # fmt: skip
        if self.down:
            found.append(self.down)
        if evse_id not in self.running.values():
            found += self._closings(evse_id)
            if not self.online:
                found.append(self._offline)
            elif self._refused:
                found.append(self._refused)
        return tuple(sorted(found, key=lambda one: one.seq))

    def _closings(self, evse_id: int) -> Iterator[Cause]:
        known = [self._closed[part] for part in ((0, 0), (evse_id, 0)) if part in self._closed]
        connectors = [self._closed.get((evse_id, one)) for one in self._connectors[evse_id]]
        if connectors and all(connectors):
            known += [one for one in connectors if one]
        known += [one for one in (self._ending, self._installing) if one]
        if not known and evse_id in self._told:
            known = [self._told[evse_id]]
        yield from known

    # --- What changes it -------------------------------------------------------------------------

    def began(self, entry: Entry, start: StationStarted) -> Cause:
        """Why nobody was there before this start. Ask before it is heard."""
        if not self._boot_id:
            return Cause(entry.seq, "first start")
        if self._ending:
            ground = MAINTENANCE_IF_SHOWN if "OnIdle" in self._ending.text else None
            return Cause(entry.seq, f"restarted: {self._ending.text}", ground)
        if start.boot_id != self._boot_id:
            return Cause(entry.seq, "the host lost its supply or was rebooted", UTILITY_IF_SHOWN)
        if self._stopping:
            return Cause(entry.seq, f"the program ended: {self._stopping}", MAINTENANCE_IF_SHOWN)
        return Cause(entry.seq, "the program broke off")

    def hears(self, entry: Entry, moment: int) -> tuple[Span, ...]:
        """Take an entry in; the faults that are over with it."""
        handler = HANDLERS.get(type(entry.event))
        return (handler(self, entry, moment) or ()) if handler else ()

    def _start(self, entry: Entry, moment: int) -> tuple[Span, ...]:
        """Faults are levels of the devices: after a start they are reported anew."""
        start = entry.event
        assert isinstance(start, StationStarted)
        self.evse_ids = tuple(sorted(evse_id for evse_id, _ in start.evses if evse_id))
        self._connectors = dict(start.evses)
        self._boot_id, self._started = start.boot_id, moment
        self._carried, self.faults = self.faults, {}
        self.online, self._offline = False, Cause(entry.seq, "no link to the CSMS")
        self._refused = Cause(entry.seq, "the CSMS has not accepted the station yet")
        self._flows, self._plugged, self._told = {}, {}, {}
        self._ending, self._stopping = None, ""
        return tuple(Span(one, moment, entry.seq) for one in self._carried.values())

    def _fault(self, entry: Entry, moment: int) -> None:
        event = entry.event
        assert isinstance(event, DeviceFaulted)
        key = (event.evse_id, event.device, event.fault)
        known = self.faults.get(key)
        if known is None and moment - self._started <= CARRIED_MS:
            known = self._carried.pop(key, None)
        self.faults[key] = Fault(known.seq, known.began, event) if known else Fault(
            entry.seq, moment, event
        )  # fmt: skip

    def _recovered(self, entry: Entry, moment: int) -> tuple[Span, ...]:
        event = entry.event
        assert isinstance(event, DeviceRecovered)
        fault = self.faults.pop((event.evse_id, event.device, event.fault), None)
        return (Span(fault, moment, entry.seq),) if fault else ()

    def _link_opened(self, entry: Entry, moment: int) -> None:
        self.online = True

    def _link_closed(self, entry: Entry, moment: int) -> None:
        if self.online:
            self.online, self._offline = False, Cause(entry.seq, "no link to the CSMS")

    def _registered(self, entry: Entry, moment: int) -> None:
        event = entry.event
        assert isinstance(event, RegistrationAnswered)
        accepted = event.status == "Accepted"
        text = f"the CSMS answers {event.status}"
        self._refused = None if accepted else Cause(entry.seq, text)

    def _cable(self, entry: Entry, moment: int) -> None:
        event = entry.event
        assert isinstance(event, CableReported)
        self._plugged[event.evse_id] = event.plugged
        if not event.plugged:
            self._flows.pop(event.evse_id, None)

    def _flow(self, entry: Entry, moment: int) -> None:
        event = entry.event
        assert isinstance(event, FlowReported)
        self._flows[event.evse_id] = event.flow

    def _availability(self, entry: Entry, moment: int) -> None:
        event = entry.event
        assert isinstance(event, AvailabilityChanged)
        part = (event.evse_id, event.connector_id)
        self._closed.pop(part, None)
        if not event.operative:
            text = "taken out of service by the CSMS"
            self._closed[part] = Cause(entry.seq, text, MAINTENANCE_IF_SHOWN)

    def _begins(self, entry: Entry, moment: int) -> None:
        event = entry.event
        assert isinstance(event, TransactionStarted)
        self.running[event.transaction_id] = event.evse_id
        if not event.evse_id:
            self._granted[event.granted_seq] = event.transaction_id

    def _bound(self, entry: Entry, moment: int) -> None:
        event = entry.event
        assert isinstance(event, AuthorizationBound)
        name = self._granted.pop(event.granted_seq, None)
        if name in self.running:
            self.running[name] = event.evse_id

    def _queued(self, entry: Entry, moment: int) -> None:
        event = entry.event
        assert isinstance(event, CallQueued)
        if event.transaction is not None and event.transaction.event_type == "Ended":
            self.running.pop(event.transaction.transaction_id, None)
        if event.status is not None:
            mark = event.status
            self._told.pop(mark.evse_id, None)
            if mark.status == "Unavailable":
                self._told[mark.evse_id] = Cause(entry.seq, "told the CSMS: Unavailable")

    def _ordered_restart(self, entry: Entry, moment: int) -> None:
        event = entry.event
        if isinstance(event, ResetOrdered):
            self._ending = Cause(entry.seq, f"reset {event.kind} ordered by the CSMS")
        elif isinstance(event, RestartOrdered) and self._ending is None:
            self._ending = Cause(entry.seq, f"restart for {event.boot_reason}")

    def _stops(self, entry: Entry, moment: int) -> None:
        event = entry.event
        assert isinstance(event, StationStopping)
        self._stopping = event.reason

    def _firmware(self, entry: Entry, moment: int) -> None:
        event = entry.event
        if isinstance(event, FirmwareOrdered):
            self._update, self._ordered = event, entry.seq
        elif isinstance(event, FirmwareAdvanced):
            if event.status not in INSTALLING:
                self._installing = None
            elif self._installing is None:
                self._installing = self._installation(entry.seq)

    def _installation(self, seq: int) -> Cause:
        """Scheduled is what was ordered for a time to come; the order is the proof."""
        update = self._update
        if update is None or update.install_at is None:
            return Cause(seq, "firmware is installed", MAINTENANCE_IF_SHOWN)
        text = f"firmware is installed, ordered by entry {self._ordered} for {update.install_at}"
        return Cause(seq, text, MAINTENANCE)


def _cause(fault: Fault) -> Cause:
    event = fault.event
    where = "" if event.evse_id else ", whole station"
    ground = FAULT_GROUNDS.get((event.device, event.fault))
    return Cause(fault.seq, f"{event.device} {event.fault}{where}", ground)


Handler = Callable[[Condition, Entry, int], tuple[Span, ...] | None]

HANDLERS: Final[dict[type[Event], Handler]] = {
    StationStarted: Condition._start,
    StationStopping: Condition._stops,
    LinkOpened: Condition._link_opened,
    LinkClosed: Condition._link_closed,
    RegistrationAnswered: Condition._registered,
    DeviceFaulted: Condition._fault,
    DeviceRecovered: Condition._recovered,
    CableReported: Condition._cable,
    FlowReported: Condition._flow,
    AvailabilityChanged: Condition._availability,
    TransactionStarted: Condition._begins,
    AuthorizationBound: Condition._bound,
    CallQueued: Condition._queued,
    ResetOrdered: Condition._ordered_restart,
    RestartOrdered: Condition._ordered_restart,
    FirmwareOrdered: Condition._firmware,
    FirmwareAdvanced: Condition._firmware,
}
