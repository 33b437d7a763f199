"""State of each EVSE for the report, and the causes of its outages.

US 23 CFR 680.116 (b) counts a charging port as up while it is online and available for use, or in
use. The state of an EVSE is the first of these that holds:

    none            the station has no such EVSE (yet)
    not_running     no program runs: from the last entry of a run to the start of the next
    faulted         status Faulted: a fault blocks charging, or a rule failed
    charging        a transaction is open, and energy flows
    suspended       a transaction is open, and no energy flows
    out_of_service  status Unavailable, or a reset waits: new EV drivers are refused
    offline         no link to the CSMS, or the CSMS has not accepted the station
    occupied        status Occupied: an EV is plugged in
    reserved        status Reserved: kept for an EV driver
    available       status Available

The status is that of `station.core.evse_status`, through `EvseStatusTracker`; it is not computed
here. Offline comes after the status, because an EVSE out of service would not be available with a
link either. A waiting reset is no cause of a status (the station still reports Available), but it
refuses new EV drivers, so the report counts it.

`faulted`, `out_of_service`, `offline` and `not_running` are outages. An `OutageCause` is what keeps
the EVSE from being used, with the entry that shows it; its `ExclusionGround` determines whether the
rule excludes the outage from the count. An outage can have several causes.
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
    StorageReported,
)
from journal.projections.availability import AvailabilityChanged, AvailabilityScheduled
from journal.projections.firmware import (
    FirmwareStatusChanged,
    FirmwareUpdateOrdered,
    FirmwareWaitingForTransactions,
)
from journal.projections.lifecycle import ResetOrdered, RestartOrdered
from journal.projections.registration import RegistrationAnswered
from station.history.evse_statuses import EvseStatusTracker

EvseState = Literal[
    "none",
    "available",
    "occupied",
    "reserved",
    "suspended",
    "charging",
    "offline",
    "out_of_service",
    "not_running",
    "faulted",
]
OUTAGE_STATES: Final[frozenset[EvseState]] = frozenset(
    {"offline", "out_of_service", "not_running", "faulted"}
)

_STATE_BY_STATUS: Final[dict[str, EvseState]] = {"Occupied": "occupied", "Reserved": "reserved"}
INSTALL_STATUSES: Final = ("Installing", "InstallRebooting")

# A fault reported this soon after a start is the continuation of the one before the start.
FAULT_RESUME_MAX_MS: Final = 60_000


class ExclusionGround(NamedTuple):
    """A reason for which the rule excludes an outage."""

    name: str
    is_proven: bool = False  # by the journal; else an operator may have other evidence
    covers_consequences: bool = False  # a cause that begins during it is its consequence


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
    ("mains", "under_voltage"): UTILITY_CLAIMABLE,  # quality of the supply, not an interruption
    ("mains", "over_voltage"): UTILITY_CLAIMABLE,
    ("ev", "emergency_stop"): VEHICLE,
    ("ev", "session_aborted"): VEHICLE_CLAIMABLE,  # the EV gave no reason: not proven
    ("ev", "no_precharge"): VEHICLE_CLAIMABLE,  # or the modules were too slow
    ("pilot", "error"): VEHICLE_CLAIMABLE,  # or the cable of the station
    ("dispenser", "tilted"): VANDALISM_CLAIMABLE,
    ("door", "open"): VANDALISM_CLAIMABLE,
    ("dispenser_door", "open"): VANDALISM_CLAIMABLE,
}


class OutageCause(NamedTuple):
    """Why an EVSE cannot be used."""

    seq: int  # entry that shows it
    text: str
    ground: ExclusionGround | None = None


class ActiveFault(NamedTuple):
    """A fault that has not ended."""

    seq: int
    began_ms: int  # corrected time
    event: DeviceFaulted


FaultKey = tuple[int, str, str]


class FaultPeriod(NamedTuple):
    """A fault with its end; without an end, one that is still active.

    A fault that is reported again after a restart gets a second, longer period.
    """

    fault: ActiveFault
    ended_ms: int | None = None  # corrected time
    ended_seq: int | None = None


class EvseConditions:
    """States and outage causes of all EVSEs after the entries applied so far."""

    def __init__(self) -> None:
        self.evse_ids: tuple[int, ...] = ()
        self.active_faults: dict[FaultKey, ActiveFault] = {}
        self.is_online = False
        self.down_cause: OutageCause | None = None  # only between two runs
        self.may_have_changed = False  # by the last entry
        self._statuses = EvseStatusTracker()
        self._offline_cause = OutageCause(0, "")
        self._not_accepted_cause: OutageCause | None = None  # not accepted by the CSMS
        self._flow_by_evse: dict[int, str] = {}
        self._inoperative_causes: dict[tuple[int, int], OutageCause] = {}
        self._restart_cause: OutageCause | None = None  # a reset or a restart is ordered
        self._disk_full_cause: OutageCause | None = None
        self._failed_rule_cause: OutageCause | None = None
        self._rule_failed_ms: int | None = None  # uptime of the failure of that cause
        self._stop_reason = ""  # of a program that was asked to end
        self._firmware_order: FirmwareUpdateOrdered | None = None
        self._firmware_order_seq = 0
        self._firmware_seq = 0  # entry since which the running update has its status; 0: none
        self._is_installing = False
        self._faults_before_start: dict[FaultKey, ActiveFault] = {}
        self._started_ms = 0  # corrected time
        self._boot_id = ""

    # --- State and causes ------------------------------------------------------------------------

    def evse_state(self, evse_id: int) -> EvseState:
        """The state of an EVSE after the last entry."""
        if evse_id not in self.evse_ids:
            return "none"
        if self.down_cause:
            return "not_running"
        status = self._statuses.status_on_evse(evse_id)
        if status == "Faulted":
            return "faulted"
        if self.has_transaction(evse_id):
            return "charging" if self._flow_by_evse.get(evse_id) == "charging" else "suspended"
        if status == "Unavailable" or self._restart_cause:
            return "out_of_service"
        if not self.is_online or self._not_accepted_cause:
            return "offline"
        return _STATE_BY_STATUS.get(status, "available")

    def has_transaction(self, evse_id: int) -> bool:
        """Whether a transaction is open on an EVSE."""
        return self._statuses.state.transactions.on_evse(evse_id) is not None

    def outage_causes(self, evse_id: int) -> tuple[OutageCause, ...]:
        """Every cause for which an EVSE cannot be used, oldest first."""
        if evse_id not in self.evse_ids:
            return ()
        causes = [_fault_cause(fault) for key, fault in self.active_faults.items()
                  if fault.event.blocks_charging and key[0] in (0, evse_id)]  # fmt: skip
        if self.down_cause:
            causes.append(self.down_cause)
        if not self.has_transaction(evse_id):
            causes += self._unavailable_causes(evse_id)
            if not self.is_online:
                causes.append(self._offline_cause)
            elif self._not_accepted_cause:
                causes.append(self._not_accepted_cause)
        return tuple(sorted(causes, key=lambda cause: cause.seq))

    def _unavailable_causes(self, evse_id: int) -> Iterator[OutageCause]:
        """Causes of the status Unavailable, and of Faulted by a failed rule."""
        status = self._statuses.status_on_evse(evse_id)
        if status == "Unavailable":
            yield from self._inoperative_causes_on(evse_id)
            if self._disk_full_cause:
                yield self._disk_full_cause
            if self._firmware_seq and self._statuses.is_closed_for_firmware(evse_id):
                yield self._installation_cause()
        if status == "Faulted" and self._failed_rule_cause:
            yield self._failed_rule_cause
        if self._restart_cause:
            yield self._restart_cause

    def _inoperative_causes_on(self, evse_id: int) -> Iterator[OutageCause]:
        for part, cause in self._inoperative_causes.items():
            if part[0] in (0, evse_id):
                yield cause

    # --- Changes ---------------------------------------------------------------------------------

    def explain_downtime(self, entry: Entry, started: StationStarted) -> OutageCause:
        """Why no program ran before this start. Call it before the start is applied."""
        if not self._boot_id:
            return OutageCause(entry.seq, "first start")
        if self._restart_cause:
            ground = MAINTENANCE_CLAIMABLE if "OnIdle" in self._restart_cause.text else None
            return OutageCause(entry.seq, f"restarted: {self._restart_cause.text}", ground)
        if started.boot_id != self._boot_id:
            return OutageCause(
                entry.seq, "the host lost its power supply or was rebooted", UTILITY_CLAIMABLE
            )
        if self._stop_reason:
            return OutageCause(
                entry.seq, f"the program ended: {self._stop_reason}", MAINTENANCE_CLAIMABLE
            )
        return OutageCause(entry.seq, "the program ended unexpectedly")

    def apply(self, entry: Entry, moment_ms: int) -> tuple[FaultPeriod, ...]:
        """Apply an entry; the faults that end with it. Entries come in order.

        Sets `may_have_changed`: whether a state or a cause may be different now.
        """
        handler = HANDLERS.get(type(entry.event))
        self.may_have_changed = self._statuses.apply(entry) or handler is not None
        self._update_failed_rule(entry)
        return (handler(self, entry, moment_ms) or ()) if handler else ()

    def _update_failed_rule(self, entry: Entry) -> None:
        health = self._statuses.state.health
        if health.rule_failed_ms != self._rule_failed_ms:
            self._rule_failed_ms = health.rule_failed_ms
            text = f"rule {health.failed_rule} failed"
            is_failed = health.rule_failed_ms is not None
            self._failed_rule_cause = OutageCause(entry.seq, text) if is_failed else None

    def _on_station_started(self, entry: Entry, moment_ms: int) -> tuple[FaultPeriod, ...]:
        """A start ends every fault: the devices report their faults again."""
        start = entry.event
        assert isinstance(start, StationStarted)
        self.evse_ids = tuple(sorted(evse_id for evse_id, _ in start.evses if evse_id))
        self._boot_id, self._started_ms = start.boot_id, moment_ms
        self._faults_before_start, self.active_faults = self.active_faults, {}
        self.is_online, self._offline_cause = False, OutageCause(entry.seq, "no link to the CSMS")
        self._not_accepted_cause = OutageCause(entry.seq, "not accepted by the CSMS yet")
        self._flow_by_evse = {}
        self._restart_cause, self._stop_reason = None, ""
        return tuple(
            FaultPeriod(fault, moment_ms, entry.seq) for fault in self._faults_before_start.values()
        )

    def _on_device_faulted(self, entry: Entry, moment_ms: int) -> None:
        event = entry.event
        assert isinstance(event, DeviceFaulted)
        key = (event.evse_id, event.device, event.fault)
        earlier = self.active_faults.get(key)
        if earlier is None and moment_ms - self._started_ms <= FAULT_RESUME_MAX_MS:
            earlier = self._faults_before_start.pop(key, None)
        seq, began_ms = (earlier.seq, earlier.began_ms) if earlier else (entry.seq, moment_ms)
        self.active_faults[key] = ActiveFault(seq, began_ms, event)

    def _on_device_recovered(self, entry: Entry, moment_ms: int) -> tuple[FaultPeriod, ...]:
        event = entry.event
        assert isinstance(event, DeviceRecovered)
        fault = self.active_faults.pop((event.evse_id, event.device, event.fault), None)
        return (FaultPeriod(fault, moment_ms, entry.seq),) if fault else ()

    def _on_link_opened(self, entry: Entry, moment_ms: int) -> None:
        self.is_online = True

    def _on_link_closed(self, entry: Entry, moment_ms: int) -> None:
        if self.is_online:
            self.is_online = False
            self._offline_cause = OutageCause(entry.seq, "no link to the CSMS")

    def _on_registration_answered(self, entry: Entry, moment_ms: int) -> None:
        event = entry.event
        assert isinstance(event, RegistrationAnswered)
        accepted = event.status == "Accepted"
        text = f"registration status {event.status}"
        self._not_accepted_cause = None if accepted else OutageCause(entry.seq, text)

    def _on_cable_reported(self, entry: Entry, moment_ms: int) -> None:
        event = entry.event
        assert isinstance(event, CableReported)
        if not event.plugged_in:
            self._flow_by_evse.pop(event.evse_id, None)

    def _on_flow_reported(self, entry: Entry, moment_ms: int) -> None:
        event = entry.event
        assert isinstance(event, EnergyFlowReported)
        self._flow_by_evse[event.evse_id] = event.flow

    def _on_availability_changed(self, entry: Entry, moment_ms: int) -> None:
        event = entry.event
        assert isinstance(event, AvailabilityChanged | AvailabilityScheduled)
        part = (event.evse_id, event.connector_id)
        self._inoperative_causes.pop(part, None)
        if not event.operative:
            text = "set to Inoperative by the CSMS"
            self._inoperative_causes[part] = OutageCause(entry.seq, text, MAINTENANCE_CLAIMABLE)

    def _on_storage_reported(self, entry: Entry, moment_ms: int) -> None:
        event = entry.event
        assert isinstance(event, StorageReported)
        if event.level != "full":
            self._disk_full_cause = None
        elif self._disk_full_cause is None:
            self._disk_full_cause = OutageCause(entry.seq, "the disk is full")

    def _on_restart_ordered(self, entry: Entry, moment_ms: int) -> None:
        event = entry.event
        if isinstance(event, ResetOrdered):
            self._restart_cause = OutageCause(
                entry.seq, f"Reset {event.reset_type} requested by the CSMS"
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
        update = self._statuses.state.firmware.running_update
        installs = update is not None and update.status in INSTALL_STATUSES
        if not (installs and self._is_installing):  # the first entry of an installation is kept
            self._firmware_seq = entry.seq if update else 0
        self._is_installing = installs

    def _installation_cause(self) -> OutageCause:
        """A firmware update; one ordered for a time is scheduled maintenance, by its order."""
        update = self._firmware_order
        if update is None or update.install_at is None:
            return OutageCause(self._firmware_seq, "firmware update", MAINTENANCE_CLAIMABLE)
        text = (
            f"firmware update, ordered by entry {self._firmware_order_seq} for {update.install_at}"
        )
        return OutageCause(self._firmware_seq, text, MAINTENANCE)


def _fault_cause(fault: ActiveFault) -> OutageCause:
    event = fault.event
    location = "" if event.evse_id else ", whole station"
    ground = FAULT_GROUNDS.get((event.device, event.fault))
    return OutageCause(fault.seq, f"{event.device} {event.fault}{location}", ground)


Handler = Callable[[EvseConditions, Entry, int], tuple[FaultPeriod, ...] | None]

HANDLERS: Final[dict[type[Event], Handler]] = {
    StationStarted: EvseConditions._on_station_started,
    StationStopping: EvseConditions._on_station_stopping,
    StorageReported: EvseConditions._on_storage_reported,
    LinkOpened: EvseConditions._on_link_opened,
    LinkClosed: EvseConditions._on_link_closed,
    RegistrationAnswered: EvseConditions._on_registration_answered,
    DeviceFaulted: EvseConditions._on_device_faulted,
    DeviceRecovered: EvseConditions._on_device_recovered,
    CableReported: EvseConditions._on_cable_reported,
    EnergyFlowReported: EvseConditions._on_flow_reported,
    AvailabilityChanged: EvseConditions._on_availability_changed,
    AvailabilityScheduled: EvseConditions._on_availability_changed,
    ResetOrdered: EvseConditions._on_restart_ordered,
    RestartOrdered: EvseConditions._on_restart_ordered,
    FirmwareUpdateOrdered: EvseConditions._on_firmware_event,
    FirmwareStatusChanged: EvseConditions._on_firmware_event,
    FirmwareWaitingForTransactions: EvseConditions._on_firmware_event,
}
