"""Control loop of the devices: a round every 0.1 s, and at once when something changes.

While no EVSE can get power (`PowerPath.is_idle`), every other regular round is left out.

A round, in this order:

1. find faults in all inputs and update the fault registry (protections first, so that the power
   paths never act on a fault later than in the round that sees it);
2. divide the power among the EVSEs; for each EVSE: run a step of its power path, report changes as
   observations;
3. set what belongs to no EVSE: mains contactor, fan, reader, watchdogs, display.

A round never waits: it reads the newest reports and the desired state, and sets levels. Drivers
run beside it in `DriverSupervisor` and outlive it: at the end the power paths are stopped while the
drivers still run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec
import trio

from drivers.alarm import Alarm
from drivers.awake_clock import AwakeClock
from drivers.beat import next_beat
from drivers.ports import (
    DeviceReady,
    DeviceReport,
    DigitalInputs,
    GroupOutput,
    GroupSilent,
    MeterReading,
    ModuleLimits,
    ModuleSilent,
    ModuleState,
    OrderRefused,
    TokenPresented,
)
from journal.events import Observation
from journal.observations import EvStoppedCharging, MeterRead, StopButtonPressed
from station.config.hardware import HardwareSettings
from station.core.desired import DesiredEvse, DesiredState
from station.core.display import LiveReading
from station.profiles.profile import Evse
from station.runtime.hardware.assembly import StationDrivers
from station.runtime.hardware.contactors import DigitalOutput
from station.runtime.hardware.display_output import DisplayOutput
from station.runtime.hardware.driver_supervisor import DriverSupervisor
from station.runtime.hardware.fault_registry import FaultRegistry, FaultStatus
from station.runtime.hardware.inputs import EvseInputs, StationInputs
from station.runtime.hardware.lasting_derating import LastingDerating
from station.runtime.hardware.lasting_limiters import LastingLimiters
from station.runtime.hardware.limit_contact import LimitContact
from station.runtime.hardware.power_budget import EvseBudget, PowerBudget
from station.runtime.hardware.power_limits import HardwareLimit, hardware_limit, voltage_range_v
from station.runtime.hardware.power_output import DEFAULT_MODULE_C, PowerDevices
from station.runtime.hardware.power_path import Phase, PowerPath, no_energy
from station.runtime.hardware.protections import Protections
from station.runtime.hardware.reporter import Reporter
from station.runtime.recent_maximum import RecentMaximum
from station.runtime.watched_value import WatchedValue

log = logging.getLogger("station.hardware")

TICK_S: Final = 0.1
LATE_S: Final = 0.05  # a round later than this was delayed by this process
CATCH_UP_TURNS: Final = 3  # turns of the loop in which all waiting reports are read
SHUTDOWN_TIMEOUT_S: Final = 3.0  # until contactors are open and the last register is reported


class TimedReading(NamedTuple):
    """A reading of a meter, and the uptime when it was reported."""

    reading: MeterRead | None  # None: none that may be used
    uptime_ms: int


class ControlStatus(msgspec.Struct, frozen=True):
    """What people ask for, as of the last regular round; another thread may read it.

    Attributes:
        live_readings: what is measured, by EVSE id.
        active_faults: in the order in which they were reported.
        power_budgets: what each EVSE may give, and what limits it, by EVSE id.
        device_values: values of variables that devices other than meters measure, by variable.
        round_lag_s: how late a round ended at most in the last minute.
    """

    live_readings: dict[int, LiveReading] = msgspec.field(default_factory=dict)
    active_faults: tuple[FaultStatus, ...] = ()
    power_budgets: dict[int, EvseBudget] = msgspec.field(default_factory=dict)
    device_values: dict[str, str] = msgspec.field(default_factory=dict)
    round_lag_s: float = 0.0


class ControlLoop:
    """One run of the devices; every output is off before and after.

    Attributes:
        status: replaced by each regular round.
        latest_readings: by EVSE id; replaced before anything is reported that may need them.
    """

    def __init__(
        self,
        settings: HardwareSettings,
        devices: StationDrivers,
        evses: Sequence[Evse],
        *,
        station_power_max_w: int,
        observe: Callable[[Observation], None],
        cable_report_counts: Mapping[int, int],
        on_token_presented: Callable[[TokenPresented], None],
        on_ev_token: Callable[[int, str], None],
        reading_interval_s: float,
        desired_state: WatchedValue[DesiredState],
        uptime_ms: Callable[[], int],
        lasting_limiters: LastingLimiters,
        limit_contact: LimitContact | None = None,
        lasting_derating: LastingDerating | None = None,
    ) -> None:
        """As `Hardware`, and:

        Args:
            devices: the drivers, not yet running.
            station_power_max_w: of all EVSEs together.
            cable_report_counts: by EVSE, how many CableReported were observed so far.
            on_token_presented: takes a card that was presented.
            on_ev_token: takes an EVSE and the EVCCID of its EV.
            lasting_limiters: takes the budgets of each round.
        """
        self._settings = settings
        self._devices = devices
        self._take_observation = observe
        self._cable_report_counts = cable_report_counts
        self._on_token_presented = on_token_presented
        self._desired_state = desired_state
        self._uptime_ms = uptime_ms
        self._lasting_limiters = lasting_limiters
        self._limit_contact = limit_contact
        self._lasting_derating = lasting_derating
        self._display = (
            None if devices.display is None else DisplayOutput(devices.display, uptime_ms)
        )
        self._power_max_w = {evse.id: evse.power_max_w for evse in evses}
        self._connector_ids = {evse.id: evse.connectors[0].id for evse in evses}
        self._wiring = devices.wiring
        self._ac_enable = self._find_station_output("ac_enable")
        self._cabinet_fan = self._find_station_output("cabinet_fan")
        self._clock = AwakeClock()
        now = self._clock.now()
        self._station_inputs = StationInputs()
        self._power_paths = {evse: self._build_power_path(evse, now) for evse in self._power_max_w}
        self._reporters = {
            evse_id: self._build_reporter(evse_id, reading_interval_s, on_ev_token)
            for evse_id in self._power_paths
        }
        faults = FaultRegistry(self._observe, self._has_session, in_field=settings.in_field)
        self.fault_registry = faults
        self._protections = Protections(
            self._station_inputs, self._power_paths, settings, self._wiring, faults, now
        )
        self._power_budget = PowerBudget(station_power_max_w, self._limit_hardware)
        self._released_seq = _last_release_seq(desired_state.value)  # a new latch is not meant
        self._pressed_evse_ids: set[int] = set()
        self._is_idle = self._shutting_down = False
        self._round_due_at = trio.current_time()
        self._wake = Alarm()
        self._awaits_change = False  # of the desired state: a round follows at once
        self.round_lag = RecentMaximum()  # how late rounds ended, s; a loop that is held shows here
        self.status = ControlStatus()
        self.latest_readings: dict[int, TimedReading] = {}
        self._read_at_ms: dict[int, int] = {}
        self._driver_supervisor = DriverSupervisor(
            devices.drivers_by_name(), self._station_inputs.lost_devices, self._on_report
        )

    def _find_station_output(self, key: str) -> DigitalOutput | None:
        """An output that belongs to no EVSE; None: it is not wired."""
        channel = self._wiring.outputs[key].get(0)
        return DigitalOutput.at_channel(self._devices.io_modules, channel)

    def _build_power_path(self, evse_id: int, now: float) -> PowerPath:
        devices = self._devices
        coil = self._wiring.outputs["contactors"][evse_id]
        bleeder = self._wiring.outputs["bleeder"].get(evse_id)
        power_devices = PowerDevices(
            secc=devices.seccs[evse_id],
            power_modules=devices.power_modules,
            coil=DigitalOutput(devices.io_modules[coil.module], coil.number),
            bleeder=DigitalOutput.at_channel(devices.io_modules, bleeder),
            insulation_monitor=devices.insulation_monitors[evse_id],
            meter=devices.meters[evse_id],
        )
        ev_stopped = partial(self._observe, EvStoppedCharging(evse_id))
        return PowerPath(EvseInputs(evse_id), power_devices, self._settings, ev_stopped, now)

    def _build_reporter(
        self, evse_id: int, reading_interval_s: float, on_ev_token: Callable[[int, str], None]
    ) -> Reporter:
        path = self._power_paths[evse_id]
        return Reporter(
            path.inputs,
            path,
            self._connector_ids[evse_id],
            self._observe,
            reading_interval_s,
            self._settings.meter.silent_s,
            on_ev_token,
        )

    def _has_session(self, evse_id: int) -> bool:
        paths = self._power_paths.values() if evse_id == 0 else (self._power_paths[evse_id],)
        return any(path.has_session for path in paths)

    def _observe(self, observation: Observation) -> None:
        self._publish_readings()  # what follows from the observation may ask for them
        self._take_observation(observation)

    def _publish_readings(self) -> None:
        now = self._clock.now()
        for evse_id, read_at_ms in self._read_at_ms.items():
            reading = self._reporters[evse_id].latest_reading(now)
            self.latest_readings[evse_id] = TimedReading(reading, read_at_ms)

    def _publish_status(self, now: float) -> None:
        self._publish_readings()
        self.status = ControlStatus(
            live_readings=self._live_readings(now),
            active_faults=tuple(self.fault_registry.active_faults(now)),
            power_budgets=dict(self._power_budget.by_evse),
            device_values=dict(self._device_values()),
            round_lag_s=self.round_lag.read(trio.current_time()),
        )

    # --- Tasks -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until cancelled.

        Drivers outlive the power paths: whatever ends this, power goes off in the regular order.
        An exception of this loop is raised after that.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._driver_supervisor.run)
            try:
                with self._desired_state.call_on_change(self._on_desired_change):
                    await self._run_rounds()
            finally:
                try:
                    await self._shut_down()
                finally:
                    self._driver_supervisor.stop()
        if self._driver_supervisor.crash is not None:
            raise self._driver_supervisor.crash

    async def _run_rounds(self) -> None:
        self._round_due_at = trio.current_time()
        left_out = False
        while not self._driver_supervisor.crashed.is_set():
            due = self._round_due_at
            await self._read_waiting_reports()
            left_out = self._is_idle and not left_out
            if left_out:
                self._clock.now()  # between two readings it counts 0.1 s at most
            else:
                self._run_round(repeat=True)
            self.round_lag.add(trio.current_time() - due, due)
            self._round_due_at = max(next_beat(due, TICK_S), trio.current_time())
            self._awaits_change = True
            if await self._wake.wait_until(self._round_due_at):
                self._awaits_change = False
                self._run_round()
                await self._wake.wait_until(self._round_due_at)

    def _on_desired_change(self) -> None:
        if self._awaits_change:
            self._wake.ring()

    async def _read_waiting_reports(self) -> None:
        """After a pause of this process, read what devices sent before they are judged."""
        if self._is_late:
            for _ in range(CATCH_UP_TURNS):
                await trio.lowlevel.checkpoint()

    @property
    def _is_late(self) -> bool:
        return trio.current_time() - self._round_due_at > LATE_S

    async def _shut_down(self) -> None:
        """Stop all sessions while the drivers still run, and report the last registers."""
        self._shutting_down = True
        for path in self._power_paths.values():
            path.emergency_stop(self._clock.now())
        with trio.move_on_after(SHUTDOWN_TIMEOUT_S, shield=True):
            self._run_round()
            while any(path.is_powered for path in self._power_paths.values()) or any(
                reporter.has_unreported_opening for reporter in self._reporters.values()
            ):
                self._round_due_at = trio.current_time() + TICK_S / 2
                await trio.sleep_until(self._round_due_at)
                await self._read_waiting_reports()
                self._run_round()

    # --- Reports ---------------------------------------------------------------------------------

    def _on_report(self, name: str, report: DeviceReport) -> None:
        """Handle a report of a driver; run a round at once if the report requires one.

        Not if a round is late: it follows as soon as the other waiting reports are read.
        """
        kind, _, number = name.partition(" ")
        try:
            if self._dispatch_report(kind, int(number or 0), report) and not self._is_late:
                self._run_round()
        except Exception:
            self._wake.ring()  # the loop ends
            raise

    def _dispatch_report(self, device_kind: str, number: int, report: DeviceReport) -> bool:
        """Apply a report to the EVSE or the station; whether it requires a round at once."""
        now = self._clock.now()
        match report:
            case DeviceReady(identity=identity, condition=condition):
                name = f"{device_kind} {number or ''}".rstrip()
                log.info("%s: %s", name, ", ".join(filter(None, (identity, condition))))
                if device_kind == "insulation":
                    self._power_paths[number].self_test.on_monitor_restart()
                return False
            case TokenPresented():
                self._on_token_presented(report)
                return False
            case DigitalInputs():
                return self._on_digital_inputs(number, report, now)
            case GroupOutput(group=group) if group in self._power_paths:
                path = self._power_paths[group]
                changed = path.inputs.apply_report(report, now, 0)
                return path.is_powered and (changed or path.output.may_be_excessive)
            case ModuleState() | ModuleLimits() | ModuleSilent():
                self._station_inputs.apply_module_report(report)
                self._station_inputs.module_count = self._devices.power_modules.module_count
                return False
            case GroupOutput() | GroupSilent():
                return True  # the age of the last output has the same meaning
            case OrderRefused():
                log.warning("modules: %s", report)
                return False
        return self._on_evse_report(number, report, now)

    def _on_evse_report(self, evse_id: int, report: DeviceReport, now: float) -> bool:
        path = self._power_paths[evse_id]
        alarm_ohm = self._settings.insulation.alarm_kohm * 1000
        urgent = path.inputs.apply_report(report, now, alarm_ohm)
        path.on_report(report, now)
        if isinstance(report, MeterReading):
            self._read_at_ms[evse_id] = self._uptime_ms()
            self._publish_readings()
        return urgent and not isinstance(report, MeterReading)

    def _on_digital_inputs(self, io_module: int, report: DigitalInputs, now: float) -> bool:
        urgent = self._station_inputs.apply_digital_inputs(io_module, report, now)
        for evse_id, output in self._wiring.outputs["contactors"].items():
            if output.module == io_module:
                feedback = self._power_paths[evse_id].inputs.feedback
                channel = self._wiring.inputs["contactors_closed"][evse_id]
                urgent |= feedback.apply_reading(report, channel.number, output.number)
        self._on_stop_buttons()
        return urgent

    def _on_stop_buttons(self) -> None:
        pressed = {
            evse_id
            for evse_id, channel in self._wiring.inputs["stop_button"].items()
            if self._station_inputs.input_level(channel)
        }
        for evse_id in sorted(pressed - self._pressed_evse_ids):
            self._observe(StopButtonPressed(evse_id))
        self._pressed_evse_ids = pressed

    # --- A round ---------------------------------------------------------------------------------

    def _run_round(self, *, repeat: bool = False) -> None:
        """Find faults, set every level, report changes.

        Args:
            repeat: also repeat the modules' orders and update the display; in regular rounds.
        """
        now, real_now = self._clock.now(), trio.current_time()
        if not self._settings.in_field:
            self.fault_registry.release_faults(visible_only=True)
        self._release_faults(self._desired_state.value)
        self.fault_registry.update_faults(self._protections.find_faults(now), now)
        desired_state = self._desired_state.value
        if self._limit_contact is not None:
            closed = self._station_inputs.input_level(self._limit_contact.channel)
            self._limit_contact.update(closed, now)
        self._power_budget.update(self._power_paths, desired_state, now)
        if self._lasting_derating is not None:
            for evse_id, limit in self._power_budget.hardware_limits.items():
                self._lasting_derating.update(evse_id, limit, now)
        for evse_id, path in self._power_paths.items():
            budget = self._power_budget.by_evse[evse_id] if path.may_transfer else None
            self._lasting_limiters.update(evse_id, budget, now)
            path.run_step(
                _desired_evse(
                    desired_state, evse_id, self._shutting_down, self._cable_report_counts[evse_id]
                ),
                self.fault_registry.stop_mode(evse_id),
                self.fault_registry.blocks_charging(evse_id),
                self._protections.is_ready(evse_id),
                now,
                real_now,
            )
            if repeat:
                path.output.repeat_module_order()
            self._reporters[evse_id].report_changes(now, autocharge=desired_state.autocharge)
        self._set_station_outputs(desired_state)
        if repeat:
            if self._display is not None:
                self._display.update(desired_state.display, self._live_readings, self._clock.now())
            self._publish_status(now)

    def _release_faults(self, desired_state: DesiredState) -> None:
        """Act on the releases that were recorded since the last round."""
        for release in desired_state.fault_releases:
            if release.seq > self._released_seq:
                self.fault_registry.release_faults(
                    release.device, release.evse_id, release.fault or None
                )
        self._released_seq = max(self._released_seq, _last_release_seq(desired_state))

    def _limit_hardware(self, evse_id: int) -> HardwareLimit:
        """What the hardware of an EVSE allows; also set what its controller is sent of it."""
        path = self._power_paths[evse_id]
        usable = self._protections.usable_modules(evse_id)
        limits, states = self._station_inputs.module_limits, self._station_inputs.module_states
        modules = [limits[address] for address in usable if address in limits]
        group = self._settings.modules.groups[evse_id - 1]
        path.output.module_temperature_c = max(
            (states[address].temperature_c for address in group if address in states),
            default=DEFAULT_MODULE_C,
        )
        path.output.voltage_range_v = voltage_range_v(modules)
        return hardware_limit(
            path.inputs,
            modules,
            module_count=len(group),
            power_max_w=self._power_max_w[evse_id],
            settings=self._settings.secc,
            cooling_works=not self.fault_registry.has_fault("cooling/fault", 0),
        )

    def _live_readings(self, now: float) -> dict[int, LiveReading]:
        return {evse_id: each.live_reading(now) for evse_id, each in self._reporters.items()}

    def _device_values(self) -> Iterator[tuple[str, str]]:
        """Values of sources other than meters, by variable of the device model."""
        for evse_id, path in self._power_paths.items():
            inputs, connector_id = path.inputs, self._connector_ids[evse_id]
            if inputs.cable_c is not None:
                place = f"TemperatureSensor[cable]@{evse_id}/{connector_id}"
                yield f"{place}.Temperature", str(inputs.cable_c)
            if inputs.pilot is not None:
                yield f"CPPWMController@{evse_id}.State", inputs.pilot
            if inputs.insulation is not None and inputs.insulation.resistance_ohm is not None:
                impedance = inputs.insulation.resistance_ohm
                yield f"GroundIsolationProtection@{evse_id}.Impedance", str(impedance)
            states = self._station_inputs.module_states
            hottest_c = max(
                (
                    states[address].temperature_c
                    for address in self._settings.modules.groups[evse_id - 1]
                    if address in states
                ),
                default=None,
            )
            if hottest_c is not None:
                yield f"AcDcConverter@{evse_id}.Temperature", str(hottest_c)

    def _set_station_outputs(self, desired_state: DesiredState) -> None:
        """What belongs to no EVSE: mains contactor, fan, reader, watchdogs, speed of polling."""
        emergency = self.fault_registry.has_fault("emergency_stop/pressed", 0)
        welded = any(
            self.fault_registry.has_fault("contactor/welded", evse_id)
            for evse_id in self._power_paths
        )
        busy = any(path.phase is not Phase.IDLE for path in self._power_paths.values())
        if self._ac_enable is not None:
            self._ac_enable.set(not (emergency or welded or self._shutting_down))
        if self._cabinet_fan is not None:
            self._cabinet_fan.set(busy)
        if self._devices.reader is not None:
            self._devices.reader.enabled = desired_state.reader_enabled
        idle = not any(path.is_powered or path.has_session for path in self._power_paths.values())
        for number, report in self._station_inputs.digital_inputs.items():
            if report.watchdog_fired and idle:
                self._devices.io_modules[number].clear_watchdog()
        self._set_poll_speed()

    def _set_poll_speed(self) -> None:
        """Poll the devices that all EVSEs share slower while no EVSE can get power."""
        self._is_idle = all(path.is_idle for path in self._power_paths.values())
        self._devices.power_modules.idle = self._is_idle
        for module in self._devices.io_modules.values():
            module.idle = self._is_idle


def _last_release_seq(desired_state: DesiredState) -> int:
    return max((release.seq for release in desired_state.fault_releases), default=0)


def _desired_evse(
    desired_state: DesiredState, evse_id: int, shutting_down: bool, cable_report_count: int = 0
) -> DesiredEvse | None:
    """Desired state of an EVSE; without energy before the first decision and while shutting down.

    During a slow commit the desired state may still belong to the EV that was plugged in before
    this one. So it may allow energy only if it includes all `cable_report_count` reports of the
    cable: None until it does. It may withdraw energy in any case.
    """
    for evse in () if shutting_down else desired_state.evses:
        if evse.evse_id == evse_id:
            up_to_date = evse.cable_report_count in (None, cable_report_count)
            return evse if up_to_date or not evse.energy_allowed else None
    return no_energy(evse_id)
