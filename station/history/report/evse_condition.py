"""In what state is each EVSE, and what keeps it from being used?

The rule for public funding (US 23 CFR 680.116 (b)) calls a port up while it is online and available
for use, or in use. A `Cause` is what makes it not so, with the entry that shows it; its `ExclusionGround`
says whether the rule lets an outage out of the count for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

from journal.events import Entry, Event
from journal.observations import (
    CableReported,
    DeviceFaulted,
    DeviceRecovered,
    EnergyFlowReported,
    LinkClosed,
    LinkOpened,
    StationStarted,
    StationStopping,
)
from journal.projections.authorizations import AuthorizationBoundToEvse
from journal.projections.availability import AvailabilityChanged
from journal.projections.firmware import FirmwareStatusChanged, FirmwareUpdateOrdered
from journal.projections.lifecycle import ResetOrdered, RestartOrdered
from journal.projections.outbox import CallQueued
from journal.projections.registration import RegistrationAnswered
from journal.projections.transactions import TransactionStarted

EvseState = Literal[
    "none", "available", "occupied", "waiting", "charging", "offline", "closed", "down", "faulted"
]
OUTAGE_STATES: Final[frozenset[EvseState]] = frozenset({"offline", "closed", "down", "faulted"})

FAULT_RESUME_MAX_MS: Final = (
    60_000  # a fault told again so soon after a start is the one from before it
)
INSTALL_STATUSES: Final = frozenset(
    {"Installing", "InstallRebooting"}
)  # L01.FR.07: nobody may begin


class ExclusionGround(NamedTuple):
    """A reason for which the rule excludes an outage.

    `proven`: the journal shows it; otherwise an operator may be able to. `covers`: what begins
    while it lasts is its consequence, so that the port would otherwise have been operational.
    """

    name: str
    is_proven: bool = False
    covers_consequences: bool = False


UTILITY: Final = ExclusionGround(
    "electric utility service interruption", is_proven=True, covers_consequences=True
)
UTILITY_CLAIMABLE: Final = ExclusionGround(
    "electric utility service interruption", covers_consequences=True
)
VEHICLE: Final = ExclusionGround("fault of the vehicle", is_proven=True)
VEHICLE_CLAIMABLE: Final = ExclusionGround("fault of the vehicle")
MAINTENANCE: Final = ExclusionGround(
    "scheduled maintenance", is_proven=True, covers_consequences=True
)
MAINTENANCE_CLAIMABLE: Final = ExclusionGround("scheduled maintenance", covers_consequences=True)
VANDALISM_CLAIMABLE: Final = ExclusionGround("vandalism")

FAULT_GROUNDS: Final[dict[tuple[str, str], ExclusionGround]] = {
    ("mains", "lost"): UTILITY,
    ("mains", "phase_missing"): UTILITY,
    ("mains", "under_voltage"): UTILITY_CLAIMABLE,  # the quality of the supply, no interruption
    ("mains", "over_voltage"): UTILITY_CLAIMABLE,
    ("ev", "emergency_stop"): VEHICLE,
    ("ev", "session_aborted"): VEHICLE_CLAIMABLE,  # nobody else said why: no proof
    ("ev", "no_precharge"): VEHICLE_CLAIMABLE,  # or our modules were too slow
    ("pilot", "error"): VEHICLE_CLAIMABLE,  # or our cable
    ("dispenser", "tilted"): VANDALISM_CLAIMABLE,
    ("door", "open"): VANDALISM_CLAIMABLE,
    ("dispenser_door", "open"): VANDALISM_CLAIMABLE,
}


class OutageCause(NamedTuple):
    """What keeps an EVSE from being used. `seq`: the entry that shows it."""

    seq: int
    text: str
    ground: ExclusionGround | None = None


class ActiveFault(NamedTuple):
    """A fault that lasts."""

    seq: int
    began_ms: int  # moment
    event: DeviceFaulted


FaultKey = tuple[int, str, str]


class FaultPeriod(NamedTuple):
    """A fault that is over, or not yet. One that goes on after a restart comes again, longer."""

    fault: ActiveFault
    ended_ms: int | None = None  # moment
    ended_seq: int | None = None


class EvseConditions:
    """What is true at a point of the journal. `hears` entries in order."""

    def __init__(self) -> None:
        self.evse_ids: tuple[int, ...] = ()
        self.active_faults: dict[FaultKey, ActiveFault] = {}
        self.is_online = False
        self.open_transactions: dict[
            str, int
        ] = {}  # open transaction -> its EVSE; 0: not known yet
        self.down_cause: OutageCause | None = None  # only between two runs
        self._offline_cause = OutageCause(0, "")
        self._not_accepted_cause: OutageCause | None = None  # no word of acceptance yet
        self._flow_by_evse: dict[int, str] = {}
        self._plugged_by_evse: dict[int, bool] = {}
        self._inoperative_parts: dict[tuple[int, int], OutageCause] = {}
        self._reported_unavailable: dict[int, OutageCause] = {}  # told Unavailable to the CSMS
        self._connectors_by_evse: dict[int, tuple[int, ...]] = {}
        self._transaction_by_granted_seq: dict[int, str] = {}  # entry that granted -> transaction
        self._restart_cause: OutageCause | None = None  # a reset or a restart is ordered
        self._stop_reason = ""  # the program was asked to end
        self._firmware_order: FirmwareUpdateOrdered | None = None
        self._firmware_order_seq = 0  # entry of it
        self._install_cause: OutageCause | None = None
        self._faults_before_start: dict[FaultKey, ActiveFault] = {}
        self._started_ms = 0  # moment
        self._boot_id = ""

    # --- What is so ------------------------------------------------------------------------------

    def evse_state(self, evse_id: int) -> EvseState:
        """The one word for an EVSE, the worst that is true of it; none: there is none such."""
        if evse_id not in self._connectors_by_evse:
            return "none"
        if self.down_cause:
            return "down"
        if any(
            one.event.blocks_charging and key[0] in (0, evse_id)
            for key, one in self.active_faults.items()
        ):
            return "faulted"
        if evse_id in self.open_transactions.values():
            return "charging" if self._flow_by_evse.get(evse_id) == "charging" else "waiting"
        if any(self._unavailable_causes(evse_id)):
            return "closed"
        if not self.is_online or self._not_accepted_cause:
            return "offline"
        return "occupied" if self._plugged_by_evse.get(evse_id) else "available"

    def outage_causes(self, evse_id: int) -> tuple[OutageCause, ...]:
        """Everything for which it cannot be used, oldest first."""
        if evse_id not in self._connectors_by_evse:
            return ()
        found = [_fault_cause(one) for key, one in self.active_faults.items()
                 if one.event.blocks_charging and key[0] in (0, evse_id)]  # fmt: skip
        if self.down_cause:
            found.append(self.down_cause)
        if evse_id not in self.open_transactions.values():
            found += self._unavailable_causes(evse_id)
            if not self.is_online:
                found.append(self._offline_cause)
            elif self._not_accepted_cause:
                found.append(self._not_accepted_cause)
        return tuple(sorted(found, key=lambda one: one.seq))

    def _unavailable_causes(self, evse_id: int) -> Iterator[OutageCause]:
        known = [
            self._inoperative_parts[part]
            for part in ((0, 0), (evse_id, 0))
            if part in self._inoperative_parts
        ]
        connectors = [
            self._inoperative_parts.get((evse_id, one)) for one in self._connectors_by_evse[evse_id]
        ]
        if connectors and all(connectors):
            known += [one for one in connectors if one]
        known += [one for one in (self._restart_cause, self._install_cause) if one]
        if not known and evse_id in self._reported_unavailable:
            known = [self._reported_unavailable[evse_id]]
        yield from known

    # --- What changes it -------------------------------------------------------------------------

    def explain_downtime(self, entry: Entry, started: StationStarted) -> OutageCause:
        """Why nobody was there before this start. Ask before it is heard."""
        if not self._boot_id:
            return OutageCause(entry.seq, "first start")
        if self._restart_cause:
            ground = MAINTENANCE_CLAIMABLE if "OnIdle" in self._restart_cause.text else None
            return OutageCause(entry.seq, f"restarted: {self._restart_cause.text}", ground)
        if started.boot_id != self._boot_id:
            return OutageCause(
                entry.seq, "the host lost its supply or was rebooted", UTILITY_CLAIMABLE
            )
        if self._stop_reason:
            return OutageCause(
                entry.seq, f"the program ended: {self._stop_reason}", MAINTENANCE_CLAIMABLE
            )
        return OutageCause(entry.seq, "the program broke off")

    def apply(self, entry: Entry, moment_ms: int) -> tuple[FaultPeriod, ...]:
        """Take an entry in; the faults that are over with it."""
        handler = HANDLERS.get(type(entry.event))
        return (handler(self, entry, moment_ms) or ()) if handler else ()

    def _on_station_started(self, entry: Entry, moment_ms: int) -> tuple[FaultPeriod, ...]:
        """Faults are levels of the devices: after a start they are reported anew."""
        start = entry.event
        assert isinstance(start, StationStarted)
        self.evse_ids = tuple(sorted(evse_id for evse_id, _ in start.evses if evse_id))
        self._connectors_by_evse = dict(start.evses)
        self._boot_id, self._started_ms = start.boot_id, moment_ms
        self._faults_before_start, self.active_faults = self.active_faults, {}
        self.is_online, self._offline_cause = False, OutageCause(entry.seq, "no link to the CSMS")
        self._not_accepted_cause = OutageCause(
            entry.seq, "the CSMS has not accepted the station yet"
        )
        self._flow_by_evse, self._plugged_by_evse, self._reported_unavailable = {}, {}, {}
        self._restart_cause, self._stop_reason = None, ""
        return tuple(
            FaultPeriod(one, moment_ms, entry.seq) for one in self._faults_before_start.values()
        )

    def _on_device_faulted(self, entry: Entry, moment_ms: int) -> None:
        event = entry.event
        assert isinstance(event, DeviceFaulted)
        key = (event.evse_id, event.device, event.fault)
        known = self.active_faults.get(key)
        if known is None and moment_ms - self._started_ms <= FAULT_RESUME_MAX_MS:
            known = self._faults_before_start.pop(key, None)
        self.active_faults[key] = ActiveFault(known.seq, known.began_ms, event) if known else ActiveFault(
            entry.seq, moment_ms, event
        )  # fmt: skip

    def _on_device_recovered(self, entry: Entry, moment_ms: int) -> tuple[FaultPeriod, ...]:
        event = entry.event
        assert isinstance(event, DeviceRecovered)
        fault = self.active_faults.pop((event.evse_id, event.device, event.fault), None)
        return (FaultPeriod(fault, moment_ms, entry.seq),) if fault else ()

    def _on_link_opened(self, entry: Entry, moment_ms: int) -> None:
        self.is_online = True

    def _on_link_closed(self, entry: Entry, moment_ms: int) -> None:
        if self.is_online:
            self.is_online, self._offline_cause = (
                False,
                OutageCause(entry.seq, "no link to the CSMS"),
            )

    def _on_registration_answered(self, entry: Entry, moment_ms: int) -> None:
        event = entry.event
        assert isinstance(event, RegistrationAnswered)
        accepted = event.status == "Accepted"
        text = f"the CSMS answers {event.status}"
        self._not_accepted_cause = None if accepted else OutageCause(entry.seq, text)

    def _on_cable_reported(self, entry: Entry, moment_ms: int) -> None:
        event = entry.event
        assert isinstance(event, CableReported)
        self._plugged_by_evse[event.evse_id] = event.plugged_in
        if not event.plugged_in:
            self._flow_by_evse.pop(event.evse_id, None)

    def _on_flow_reported(self, entry: Entry, moment_ms: int) -> None:
        event = entry.event
        assert isinstance(event, EnergyFlowReported)
        self._flow_by_evse[event.evse_id] = event.flow

    def _on_availability_changed(self, entry: Entry, moment_ms: int) -> None:
        event = entry.event
        assert isinstance(event, AvailabilityChanged)
        part = (event.evse_id, event.connector_id)
        self._inoperative_parts.pop(part, None)
        if not event.operative:
            text = "taken out of service by the CSMS"
            self._inoperative_parts[part] = OutageCause(entry.seq, text, MAINTENANCE_CLAIMABLE)

    def _on_transaction_started(self, entry: Entry, moment_ms: int) -> None:
        event = entry.event
        assert isinstance(event, TransactionStarted)
        self.open_transactions[event.transaction_id] = event.evse_id
        if not event.evse_id:
            self._transaction_by_granted_seq[event.authorization_seq] = event.transaction_id

    def _on_authorization_bound(self, entry: Entry, moment_ms: int) -> None:
        event = entry.event
        assert isinstance(event, AuthorizationBoundToEvse)
        name = self._transaction_by_granted_seq.pop(event.authorization_seq, None)
        if name in self.open_transactions:
            self.open_transactions[name] = event.evse_id

    def _on_call_queued(self, entry: Entry, moment_ms: int) -> None:
        event = entry.event
        assert isinstance(event, CallQueued)
        if event.transaction_event is not None and event.transaction_event.event_type == "Ended":
            self.open_transactions.pop(event.transaction_event.transaction_id, None)
        if event.connector_status is not None:
            mark = event.connector_status
            self._reported_unavailable.pop(mark.evse_id, None)
            if mark.status == "Unavailable":
                self._reported_unavailable[mark.evse_id] = OutageCause(
                    entry.seq, "told the CSMS: Unavailable"
                )

    def _on_restart_ordered(self, entry: Entry, moment_ms: int) -> None:
        event = entry.event
        if isinstance(event, ResetOrdered):
            self._restart_cause = OutageCause(
                entry.seq, f"reset {event.reset_type} ordered by the CSMS"
            )
        elif isinstance(event, RestartOrdered) and self._restart_cause is None:
            self._restart_cause = OutageCause(entry.seq, f"restart for {event.boot_reason}")

    def _on_station_stopping(self, entry: Entry, moment_ms: int) -> None:
        event = entry.event
        assert isinstance(event, StationStopping)
        self._stop_reason = event.reason

    def _on_firmware_event(self, entry: Entry, moment_ms: int) -> None:
        event = entry.event
        if isinstance(event, FirmwareUpdateOrdered):
            self._firmware_order, self._firmware_order_seq = event, entry.seq
        elif isinstance(event, FirmwareStatusChanged):
            if event.status not in INSTALL_STATUSES:
                self._install_cause = None
            elif self._install_cause is None:
                self._install_cause = self._installation_cause(entry.seq)

    def _installation_cause(self, seq: int) -> OutageCause:
        """Scheduled is what was ordered for a time to come; the order is the proof."""
        update = self._firmware_order
        if update is None or update.install_at is None:
            return OutageCause(seq, "firmware is installed", MAINTENANCE_CLAIMABLE)
        text = f"firmware is installed, ordered by entry {self._firmware_order_seq} for {update.install_at}"
        return OutageCause(seq, text, MAINTENANCE)


def _fault_cause(fault: ActiveFault) -> OutageCause:
    event = fault.event
    where = "" if event.evse_id else ", whole station"
    ground = FAULT_GROUNDS.get((event.device, event.fault))
    return OutageCause(fault.seq, f"{event.device} {event.fault}{where}", ground)


Handler = Callable[[EvseConditions, Entry, int], tuple[FaultPeriod, ...] | None]

HANDLERS: Final[dict[type[Event], Handler]] = {
    StationStarted: EvseConditions._on_station_started,
    StationStopping: EvseConditions._on_station_stopping,
    LinkOpened: EvseConditions._on_link_opened,
    LinkClosed: EvseConditions._on_link_closed,
    RegistrationAnswered: EvseConditions._on_registration_answered,
    DeviceFaulted: EvseConditions._on_device_faulted,
    DeviceRecovered: EvseConditions._on_device_recovered,
    CableReported: EvseConditions._on_cable_reported,
    EnergyFlowReported: EvseConditions._on_flow_reported,
    AvailabilityChanged: EvseConditions._on_availability_changed,
    TransactionStarted: EvseConditions._on_transaction_started,
    AuthorizationBoundToEvse: EvseConditions._on_authorization_bound,
    CallQueued: EvseConditions._on_call_queued,
    ResetOrdered: EvseConditions._on_restart_ordered,
    RestartOrdered: EvseConditions._on_restart_ordered,
    FirmwareUpdateOrdered: EvseConditions._on_firmware_event,
    FirmwareStatusChanged: EvseConditions._on_firmware_event,
}
