"""What does the station's body do, ten times a second and whenever something happens?

A round: what is wrong, what shall each power path do, what is worth writing down. A round never
waits; it looks at what the devices said and at what is wanted, and sets levels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import trio

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
from drivers.wiring import InputA, InputB, OutputA
from journal.events import Observation
from journal.observations import EvStoppedCharging, MeterRead, StopButtonPressed
from station.config.hardware import HardwareSettings
from station.core.desired import DesiredEvse, DesiredState
from station.profiles.profile import Evse
from station.runtime.hardware.assembly import StationDrivers
from station.runtime.hardware.driver_supervisor import DriverSupervisor
from station.runtime.hardware.fault_registry import FaultRegistry
from station.runtime.hardware.inputs import (
    DISPENSER_IO,
    STATION_IO,
    TICK_S,
    AwakeClock,
    EvseInputs,
    StationInputs,
)
from station.runtime.hardware.power_limits import current_limit_a, voltage_range_v
from station.runtime.hardware.power_path import Phase, PowerDevices, PowerPath, no_energy
from station.runtime.hardware.protections import Protections
from station.runtime.hardware.reporter import Reporter
from station.runtime.watched_value import WatchedValue

log = logging.getLogger("station.hardware")

SHUTDOWN_TIMEOUT_S: Final = 3.0  # for contactors open and the last register told, on the way out
DEFAULT_MODULE_C: Final = 25  # what the controller is told before a module spoke
STOP_BUTTONS: Final = {1: InputB.EVSE_1_STOP_BUTTON, 2: InputB.EVSE_2_STOP_BUTTON}


class ControlLoop:
    """One run of the devices, from all off to all off."""

    def __init__(
        self,
        settings: HardwareSettings,
        devices: StationDrivers,
        evses: Sequence[Evse],
        *,
        observe: Callable[[Observation], None],
        cable_report_counts: Mapping[int, int],
        on_token_presented: Callable[[TokenPresented], None],
        reading_interval_s: float,
        desired_state: WatchedValue[DesiredState],
    ) -> None:
        """As `Evses`; `present` takes a card that is shown, `cables` are reports so far."""
        self._settings = settings
        self._devices = devices
        self._observe = observe
        self._cable_report_counts = cable_report_counts
        self._on_token_presented = on_token_presented
        self._desired_state = desired_state
        self._power_max_w = {evse.id: evse.power_max_w for evse in evses}
        self._clock = AwakeClock()
        now = self._clock.now()
        self._station_inputs = StationInputs()
        self._power_paths = {evse: self._build_power_path(evse, now) for evse in self._power_max_w}
        self._reporters = {
            evse.id: Reporter(
                self._power_paths[evse.id].inputs,
                self._power_paths[evse.id],
                evse.connectors[0].id,
                self._observe,
                reading_interval_s,
            )
            for evse in evses
        }
        self.fault_registry = FaultRegistry(
            self._observe, self._has_session, in_field=settings.in_field
        )
        self._protections = Protections(
            self._station_inputs, self._power_paths, self._settings, self.fault_registry, now
        )
        self._pressed_evse_ids: set[int] = set()
        self._shutting_down = False
        self._driver_supervisor = DriverSupervisor(
            devices.drivers_by_name(), self._station_inputs.lost_devices, self._on_report
        )

    def _build_power_path(self, evse_id: int, now: float) -> PowerPath:
        devices = self._devices
        hands = PowerDevices(
            secc=devices.seccs[evse_id],
            power_modules=devices.power_modules,
            io=devices.io_modules[evse_id],
            insulation_monitor=devices.insulation_monitors[evse_id],
            meter=devices.meters[evse_id],
        )
        ev_stopped = partial(self._observe, EvStoppedCharging(evse_id))
        return PowerPath(EvseInputs(evse_id), hands, self._settings, ev_stopped, now)

    def _has_session(self, evse_id: int) -> bool:
        paths = self._power_paths.values() if evse_id == 0 else (self._power_paths[evse_id],)
        return any(path.has_session for path in paths)

    def latest_reading(self, evse_id: int) -> MeterRead | None:
        return self._reporters[evse_id].latest_reading(self._clock.now())

    # --- the tasks -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until cancelled. Drivers outlive the power paths: whatever ends this, power goes
        off in good order. What is no DeviceFault is raised then."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._driver_supervisor.run)
            try:
                await self._run_rounds()
            finally:
                try:
                    await self._shut_down()
                finally:
                    self._driver_supervisor.stop()
        if self._driver_supervisor.crash is not None:
            raise self._driver_supervisor.crash

    async def _run_rounds(self) -> None:
        due = trio.current_time()
        while not self._driver_supervisor.crashed.is_set():
            self._clock.tick()
            self._run_round(repeat=True)
            due = max(due + TICK_S, trio.current_time())
            seen = self._desired_state.value
            with trio.move_on_at(due):
                await self._desired_state.wait_changed(seen)
                self._run_round()
                await self._driver_supervisor.crashed.wait()

    async def _shut_down(self) -> None:
        """Stop what runs while the drivers still live, and tell the last registers."""
        self._shutting_down = True
        for path in self._power_paths.values():
            path.emergency_stop(self._clock.now())
        with trio.move_on_after(SHUTDOWN_TIMEOUT_S, shield=True):
            self._run_round()
            while any(path.is_powered for path in self._power_paths.values()) or any(
                teller.has_unreported_opening for teller in self._reporters.values()
            ):
                await trio.sleep(TICK_S / 2)
                self._clock.tick()
                self._run_round()

    # --- hearing ---------------------------------------------------------------------------------

    def _on_report(self, name: str, report: DeviceReport) -> None:
        """Take a report of a driver; go a round at once if it calls for one."""
        kind, _, number = name.partition(" ")
        if self._dispatch_report(kind, int(number or 0), report):
            self._run_round()

    def _dispatch_report(self, device_kind: str, number: int, report: DeviceReport) -> bool:
        """Bring a report to whom it concerns; whether it calls for a round at once."""
        now = self._clock.now()
        match report:
            case DeviceReady(identity=identity):
                log.info("%s %s: %s", device_kind, number or "", identity)
                if device_kind == "insulation":
                    self._power_paths[number].self_test.on_monitor_restart()
                return False
            case TokenPresented():
                self._on_token_presented(report)
                return False
            case DigitalInputs():
                return self._on_digital_inputs(number, report, now)
            case GroupOutput(group=group) if group in self._power_paths:
                self._power_paths[group].inputs.apply_report(report, now, 0)
                return self._power_paths[group].is_powered
            case ModuleState() | ModuleLimits() | ModuleSilent():
                self._station_inputs.apply_module_report(report)
                self._station_inputs.module_count = self._devices.power_modules.module_count
                return False
            case GroupOutput() | GroupSilent():
                return True  # the age of its output says the same
            case OrderRefused():
                log.warning("modules: %s", report)
                return False
        return self._on_evse_report(number, report, now)

    def _on_evse_report(self, evse_id: int, report: DeviceReport, now: float) -> bool:
        path = self._power_paths[evse_id]
        alarm_ohm = self._settings.insulation.alarm_kohm * 1000
        urgent = path.inputs.apply_report(report, now, alarm_ohm)
        path.on_report(report, now)
        return urgent and not isinstance(report, MeterReading)

    def _on_digital_inputs(self, io_module: int, report: DigitalInputs, now: float) -> bool:
        changed = self._station_inputs.apply_digital_inputs(io_module, report, now)
        feedback = {STATION_IO: InputA.CONTACTORS_CLOSED, DISPENSER_IO: InputB.CONTACTORS_CLOSED}
        if io_module in self._power_paths:
            closed = bool(report.bits >> feedback[io_module] & 1)
            self._power_paths[io_module].inputs.apply_contactor_feedback(closed)
        if io_module == DISPENSER_IO:
            self._on_stop_buttons(report)
        return changed or any(path.coil_on for path in self._power_paths.values())

    def _on_stop_buttons(self, report: DigitalInputs) -> None:
        pressed = {
            evse_id
            for evse_id, wire in STOP_BUTTONS.items()
            if evse_id in self._power_paths and report.bits >> wire & 1
        }
        for evse_id in sorted(pressed - self._pressed_evse_ids):
            self._observe(StopButtonPressed(evse_id))
        self._pressed_evse_ids = pressed

    # --- a round ---------------------------------------------------------------------------------

    def _run_round(self, *, repeat: bool = False) -> None:
        """Look at everything, set every level, tell what is new."""
        now = self._clock.now()
        if not self._settings.in_field:
            self.fault_registry.release_faults(visible_only=True)
        self.fault_registry.update_faults(self._protections.find_faults(now), now)
        wanted = self._desired_state.value
        for evse_id, path in self._power_paths.items():
            self._set_limits(evse_id, path)
            path.run_step(
                _desired_evse(
                    wanted, evse_id, self._shutting_down, self._cable_report_counts[evse_id]
                ),
                self.fault_registry.stop_mode(evse_id),
                self.fault_registry.blocks_charging(evse_id),
                self._protections.is_ready(evse_id),
                now,
            )
            if repeat:
                path.repeat_module_order()
            self._reporters[evse_id].report_changes(now)
        self._set_station_outputs(wanted)
        if repeat:
            self._update_display(wanted)

    def _set_limits(self, evse_id: int, path: PowerPath) -> None:
        usable = self._protections.usable_modules(evse_id)
        modules = [
            self._station_inputs.module_limits[one]
            for one in usable
            if one in self._station_inputs.module_limits
        ]
        states = self._station_inputs.module_states
        group = [states[one] for one in self._settings.modules.groups[evse_id - 1] if one in states]
        path.module_temperature_c = max(
            (state.temperature_c for state in group), default=DEFAULT_MODULE_C
        )
        path.voltage_range_v = voltage_range_v(modules)
        path.current_limit_a = current_limit_a(
            path.inputs,
            modules,
            power_max_w=self._power_max_w[evse_id],
            settings=self._settings.secc,
            cooling_works=not self.fault_registry.has_fault("cooling/fault", 0),
        )

    def _update_display(self, desired_state: DesiredState) -> None:
        """One row per EVSE: the judgement's words and, while it charges, what the meter says."""
        if self._devices.display is not None:
            self._devices.display.lines = tuple(
                f"{evse.evse_id}  {evse.display_text}{self._reporters[evse.evse_id].display_figures}"
                for evse in desired_state.evses
                if evse.evse_id in self._reporters
            )

    def _set_station_outputs(self, desired_state: DesiredState) -> None:
        """What no EVSE decides alone: mains contactor, fan, reader, watchdogs."""
        emergency = self.fault_registry.has_fault("emergency_stop/pressed", 0)
        welded = any(
            self.fault_registry.has_fault("contactor/welded", evse_id)
            for evse_id in self._power_paths
        )
        busy = any(path.phase is not Phase.IDLE for path in self._power_paths.values())
        cabinet = self._devices.io_modules[STATION_IO]
        cabinet.set_output(OutputA.AC_ENABLE, not (emergency or welded or self._shutting_down))
        cabinet.set_output(OutputA.CABINET_FAN, busy)
        if self._devices.reader is not None:
            self._devices.reader.enabled = desired_state.reader_enabled
        idle = not any(path.is_powered or path.has_session for path in self._power_paths.values())
        for number, report in self._station_inputs.digital_inputs.items():
            if report.watchdog_fired and idle:
                self._devices.io_modules[number].clear_watchdog()


def _desired_evse(
    desired_state: DesiredState, evse_id: int, shutting_down: bool, cable_report_count: int = 0
) -> DesiredEvse | None:
    """What the judgement wants of an EVSE; nothing before it has spoken and on the way out.

    Behind a slow commit it may still speak of the EV that was there before this one: `cables`
    are the reports of the cable so far, and it has to know them all to give energy: None until it
    does. To take energy away it need not.
    """
    for evse in () if shutting_down else desired_state.evses:
        if evse.evse_id == evse_id:
            knows = evse.cable_report_count in (None, cable_report_count)
            return evse if knows or not evse.energy_allowed else None
    return no_energy(evse_id)
