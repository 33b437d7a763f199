"""Protections: find every fault in the newest reports of the devices.

A value that is unknown, stale or contradictory is a fault. Each function yields the findings of one
device or wire; `FaultRegistry` decides whether they are new. Rules and consequences are in
`fault_registry.FAULT_RULES`.

* A device is stale when its last report is older than the limit of its table, or when it has not
  reported within `STARTUP_TIMEOUT_S` of the start.
* When the controller aborts a session, `_check_aborted_session` waits `ABORT_CAUSE_WAIT_S` for a
  device that reports the cause (low insulation, an unplugged EV, another fault); otherwise the
  cause is derived from the state in which the session was.
* The emergency stop of a controller for `EMERGENCY_ECHO_S` after ours is its response to ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from drivers.ports import MAINS_FAULTS, SeccState
from drivers.wiring import StationWiring
from station.config.hardware import HardwareSettings
from station.runtime.hardware.fault_registry import FAULT_RULES, FaultRegistry, Finding
from station.runtime.hardware.inputs import EvseInputs, StationInputs, is_older
from station.runtime.hardware.power_path import ABORT_CAUSE_WAIT_S, Phase, PowerPath

STARTUP_TIMEOUT_S: Final = 8.0  # from the start to the first report of a device
EMERGENCY_HOLD_S: Final = 0.5  # an emergency is repeated every 100 ms while it lasts
EMERGENCY_ECHO_S: Final = 2.0  # a controller repeats our own emergency stop for this time
IO_RESET_SHOWN_S: Final = 1.0  # a lost supply of an I/O module is a fault for this time
SENSOR_RANGE_C: Final = (-40, 200)  # readings of a working contact sensor, exclusive
MAINS_FAULT_MODULES_MIN: Final = 2  # with this many modules affected, the mains is the cause
CABLE_CHECK_FAILURES_MAX, STUCK_OPEN_MAX = 3, 2
PREWARNING, DEVICE_ERROR, ALARM = 1, 2, 5  # of the insulation monitor

FAULT_INPUTS: Final = (
    ("emergency_stop_loop_closed", "emergency_stop/pressed"),
    ("door_closed", "door/open"),
    ("mains_breaker_on", "breaker/tripped"),
    ("power_cabinet_ready", "mains/lost"),
    ("cable_and_tilt_good", "dispenser/tilted"),
    ("dispenser_door_closed", "dispenser_door/open"),
    ("cooling_flow_good", "cooling/fault"),
)
"""Inputs of the station, by key of the wiring, and the fault while one is 0."""


class Protections:
    """Finds faults in the inputs of the station and of all EVSEs.

    Args:
        station_inputs: of the whole station.
        power_paths: by EVSE id, with the inputs of each.
        settings: the limits.
        wiring: of the I/O modules.
        fault_registry: the active faults.
        started_at: when the devices were started.
    """

    def __init__(
        self,
        station_inputs: StationInputs,
        power_paths: dict[int, PowerPath],
        settings: HardwareSettings,
        wiring: StationWiring,
        fault_registry: FaultRegistry,
        started_at: float,
    ) -> None:
        self._station_inputs = station_inputs
        self._power_paths = power_paths
        self._settings = settings
        self._fault_registry = fault_registry
        self._started_at = started_at
        self._fault_inputs = tuple(
            (wiring.inputs[key][0], name) for key, name in FAULT_INPUTS if wiring.inputs[key]
        )
        self._surge_arrester = wiring.inputs["surge_arrester_good"].get(0)
        self._holster_locks = wiring.inputs["holster_locked"]
        self._evses_by_io_module = {
            module: wiring.evses_of_module(module) for module in range(1, wiring.module_count + 1)
        }
        self._io_modules_of_evse = {evse: wiring.modules_of_evse(evse) for evse in power_paths}
        self._overheated_evse_ids: set[int] = set()
        self._meter_good_at = dict.fromkeys(power_paths, started_at)

    def is_ready(self, evse_id: int) -> bool:
        """Whether every device that a session needs has reported."""
        inputs = self._power_paths[evse_id].inputs
        report_times = (
            inputs.heartbeat_at,
            inputs.insulation_at,
            inputs.meter_at,
            inputs.output_at,
            *map(self._station_inputs.digital_inputs_at.get, self._io_modules_of_evse[evse_id]),
        )
        return None not in report_times and inputs.pilot is not None

    def find_faults(self, now: float) -> Iterator[Finding]:
        """All faults in this round."""
        yield from self._check_wires()
        yield from self._check_mains()
        yield from self._check_io_modules(now)
        yield from self._check_module_count()
        for name in ("reader", "display"):
            if name in self._station_inputs.lost_devices:
                info = self._station_inputs.lost_devices[name]
                yield Finding(FAULT_RULES[f"{name}/lost"], 0, info)
        for evse_id, path in self._power_paths.items():
            yield from self._check_controller(path, now)
            yield from self._check_aborted_session(path, now)
            yield from self._check_insulation(path, now)
            yield from self._check_modules(evse_id, path.inputs, now)
            yield from self._check_output(path, now)
            yield from self._check_cable_temperature(path.inputs)
            yield from self._check_meter(path, now)
            yield from self._check_idle_wires(evse_id)

    def _is_stale(self, at: float | None, seconds: float, now: float) -> bool:
        """Whether a report is older than `seconds`, or missing after `STARTUP_TIMEOUT_S`."""
        return is_older(at, seconds if at is not None else STARTUP_TIMEOUT_S, now, self._started_at)

    # --- Whole station ---------------------------------------------------------------------------

    def _check_wires(self) -> Iterator[Finding]:
        for channel, name in self._fault_inputs:
            if self._station_inputs.input_level(channel) is False:
                yield Finding(FAULT_RULES[name], 0)

    def _check_module_count(self) -> Iterator[Finding]:
        groups = self._settings.modules.groups
        expected = sum(len(groups[evse_id - 1]) for evse_id in self._power_paths)
        if self._station_inputs.module_count not in (None, expected):
            info = f"{self._station_inputs.module_count} modules instead of {expected}"
            yield Finding(FAULT_RULES["module/wrong_count"], 0, info)

    def _check_mains(self) -> Iterator[Finding]:
        """A fault of the mains is reported by several modules."""
        faults_by_module = [
            state.faults & MAINS_FAULTS
            for address, state in self._station_inputs.module_states.items()
            if state.faults & MAINS_FAULTS and address not in self._station_inputs.silent_modules
        ]
        if len(faults_by_module) < MAINS_FAULT_MODULES_MIN:
            return
        faults = frozenset[str]().union(*faults_by_module)
        info = ", ".join(sorted(faults))
        if {"ac_phase_missing", "ac_under_voltage"} <= faults:
            yield Finding(FAULT_RULES["mains/lost"], 0, info)
        else:
            for name in sorted(faults):
                yield Finding(FAULT_RULES[f"mains/{name.removeprefix('ac_')}"], 0, info)

    def _check_io_modules(self, now: float) -> Iterator[Finding]:
        """A fault of a module stops the EVSEs it serves: `StationWiring.evses_of_module`."""
        for number, evse_ids in self._evses_by_io_module.items():
            for name, info in self._io_module_faults(number, now):
                for evse_id in evse_ids:
                    yield Finding(FAULT_RULES[name], evse_id, info)

    def _io_module_faults(self, number: int, now: float) -> Iterator[tuple[str, str]]:
        """Faults of an I/O module, each with what it reports about it."""
        lost = self._station_inputs.lost_devices.get(f"io {number}", "")
        limit_s = self._settings.io.stale_ms / 1000
        if lost or self._is_stale(self._station_inputs.digital_inputs_at.get(number), limit_s, now):
            yield "io/lost", lost or f"I/O module {number} is silent"
        report = self._station_inputs.digital_inputs.get(number)
        if report is not None and report.watchdog_fired:
            yield "io/watchdog", f"of I/O module {number}"
        reset_at = self._station_inputs.io_reset_at.get(number)
        if reset_at is not None and now - reset_at < IO_RESET_SHOWN_S:
            yield "io/reset", f"I/O module {number} lost its supply"

    def _check_idle_wires(self, evse_id: int) -> Iterator[Finding]:
        """Faults that let a session end regularly; per EVSE, because each has its own session."""
        if self._station_inputs.input_level(self._surge_arrester) is False:
            yield Finding(FAULT_RULES["arrester/dead"], evse_id)
        if self._station_inputs.input_level(self._holster_locks.get(evse_id)):
            yield Finding(FAULT_RULES["lock/stuck"], evse_id, "holster locked, ordered open")

    # --- Charge controller -----------------------------------------------------------------------

    def _check_controller(self, path: PowerPath, now: float) -> Iterator[Finding]:
        inputs, evse_id = path.inputs, path.inputs.evse_id
        if self._is_stale(inputs.heartbeat_at, self._settings.secc.heartbeat_ms / 1000, now):
            lost = self._station_inputs.lost_devices.get(f"secc {evse_id}", "")
            yield Finding(FAULT_RULES["secc/silent"], evse_id, lost)
            return
        if inputs.secc_state is SeccState.UNKNOWN:
            yield Finding(FAULT_RULES["secc/unknown_values"], evse_id)
        if inputs.pilot_error:
            yield Finding(FAULT_RULES["pilot/error"], evse_id, "pilot reads E or F")
        if _is_recent(inputs.ev_emergency_at, now):
            yield Finding(FAULT_RULES["ev/emergency_stop"], evse_id, "EV emergency stop")
        if _is_recent(inputs.secc_emergency_at, now) and self._is_controller_stop(path, now):
            yield Finding(FAULT_RULES["secc/emergency_stop"], evse_id)

    def _is_controller_stop(self, path: PowerPath, now: float) -> bool:
        """Whether an emergency stop is the controller's own, not its response to ours."""
        if self._fault_registry.has_fault("secc/emergency_stop", path.inputs.evse_id):
            return True
        return path.phase is Phase.IDLE and now - path.idle_since > EMERGENCY_ECHO_S

    def _check_aborted_session(self, path: PowerPath, now: float) -> Iterator[Finding]:
        """Cause of a session that the controller aborted, unless another device reports it."""
        aborted, inputs = path.aborted_session, path.inputs
        if path.is_precharge_overdue(now):
            yield Finding(
                FAULT_RULES["ev/no_precharge"], inputs.evse_id, "voltage not accepted in time"
            )
        if aborted is None:
            return
        if (
            inputs.low_insulation_polls
            or inputs.pilot == "A"
            or self._fault_registry.blocks_charging(inputs.evse_id)
        ):
            path.aborted_session = None
            if inputs.low_insulation_polls:
                yield self._low_insulation(path)
        elif now - aborted.at > ABORT_CAUSE_WAIT_S:
            path.aborted_session = None
            yield _abort_cause(path, aborted.state, aborted.emergency)

    # --- Insulation ------------------------------------------------------------------------------

    def _check_insulation(self, path: PowerPath, now: float) -> Iterator[Finding]:
        inputs, evse_id = path.inputs, path.inputs.evse_id
        lost = self._station_inputs.lost_devices.get(f"insulation {evse_id}", "")
        if lost or self._is_stale(inputs.insulation_at, self._settings.insulation.stale_s, now):
            yield Finding(FAULT_RULES["insulation/lost"], evse_id, lost)
            return
        if path.self_test.last_failed:
            latched = path.self_test.failure_count >= CABLE_CHECK_FAILURES_MAX
            yield Finding(FAULT_RULES["insulation/self_test"], evse_id, latched=latched)
        reading = inputs.insulation
        if reading is None or reading.self_test_running or path.self_test.last_failed:
            return
        if reading.earth_lost:
            yield Finding(FAULT_RULES["insulation/earth_lost"], evse_id)
        elif reading.alarm == DEVICE_ERROR or reading.resistance_ohm is None:
            yield Finding(FAULT_RULES["insulation/device_error"], evse_id)
        elif inputs.low_insulation_polls > 1 or (
            inputs.low_insulation_polls and reading.alarm == ALARM
        ):
            yield self._low_insulation(path)
        elif reading.alarm == ALARM:
            yield Finding(FAULT_RULES["insulation/alarm"], evse_id, latched=path.is_transferring)
        elif reading.alarm == PREWARNING:
            yield Finding(
                FAULT_RULES["insulation/warning"], evse_id, f"{reading.resistance_ohm} ohm"
            )

    def _low_insulation(self, path: PowerPath) -> Finding:
        reading = path.inputs.insulation
        info = f"{reading.resistance_ohm} ohm" if reading else ""
        evse_id = path.inputs.evse_id
        latched = path.is_transferring or self._fault_registry.has_fault("insulation/low", evse_id)
        return Finding(FAULT_RULES["insulation/low"], evse_id, info, latched=latched)

    # --- Power modules and output ----------------------------------------------------------------

    def _check_modules(self, evse_id: int, inputs: EvseInputs, now: float) -> Iterator[Finding]:
        stale_s = self._settings.modules.stale_s
        if self._is_stale(inputs.output_at, stale_s, now):
            others = [path.inputs for other, path in self._power_paths.items() if other != evse_id]
            others_fresh = any(
                not self._is_stale(other.output_at, stale_s / 2, now) for other in others
            )
            name = "module/all_dead" if others_fresh else "can/lost"
            lost = self._station_inputs.lost_devices.get("modules", "")
            yield Finding(FAULT_RULES[name], evse_id, lost)
        addresses = self._settings.modules.groups[evse_id - 1]
        mains = any(True for _ in self._check_mains())
        if self._station_inputs.module_states and not mains and not self.usable_modules(evse_id):
            yield Finding(FAULT_RULES["module/none_left"], evse_id)
        silent = [
            address for address in addresses if address in self._station_inputs.silent_modules
        ]
        if silent:
            yield Finding(FAULT_RULES["module/silent"], evse_id, f"modules {silent}")
        for name, affected in sorted(self._modules_by_fault(addresses).items()):
            yield Finding(FAULT_RULES[name], evse_id, f"modules {affected}")

    def usable_modules(self, evse_id: int) -> list[int]:
        """Addresses of the modules that can give power to an EVSE; a silent one may still do so."""
        station = self._station_inputs
        return [
            address
            for address in self._settings.modules.groups[evse_id - 1]
            if not (address in station.module_states and station.module_states[address].faults)
            and not (address in station.silent_modules and station.silent_modules[address].lost)
        ]

    def _modules_by_fault(self, addresses: tuple[int, ...]) -> dict[str, list[int]]:
        """Addresses of modules by the fault that they report."""
        addresses_by_fault: dict[str, list[int]] = {}
        for address in addresses:
            state = self._station_inputs.module_states.get(address)
            if state is None or address in self._station_inputs.silent_modules:
                continue
            own = state.faults - MAINS_FAULTS
            conditions = {
                "module/over_temperature": "over_temperature" in own,
                "module/fault": bool(own - {"over_temperature"}),
                "module/derating": "derating" in state.states,
                "module/warning": bool(state.warnings),
                "cabinet/hot": state.temperature_c >= self._settings.modules.hot_c,
            }
            for name, is_true in conditions.items():
                if is_true:
                    addresses_by_fault.setdefault(name, []).append(address)
        return addresses_by_fault

    def _check_output(self, path: PowerPath, now: float) -> Iterator[Finding]:
        inputs, evse_id = path.inputs, path.inputs.evse_id
        measured = f"{inputs.output_v} V, {inputs.output_a} A"
        contactor_fault = path.contactor_fault()
        if contactor_fault == "welded":
            yield Finding(FAULT_RULES["contactor/welded"], evse_id)
        elif contactor_fault == "stuck_open":
            if path.phase is Phase.SESSION:
                path.stuck_open_count += not self._fault_registry.has_fault(
                    "contactor/stuck_open", evse_id
                )
            latched = path.stuck_open_count >= STUCK_OPEN_MAX
            yield Finding(FAULT_RULES["contactor/stuck_open"], evse_id, latched=latched)
        if path.output.has_over_voltage:
            yield Finding(FAULT_RULES["output/over_voltage"], evse_id, measured)
        if path.output.has_over_current:
            yield Finding(FAULT_RULES["output/over_current"], evse_id, measured)
        fresh = not self._is_stale(inputs.output_at, self._settings.modules.stale_s, now)
        if fresh and path.has_residual_voltage(now):
            yield Finding(FAULT_RULES["output/keeps_voltage"], evse_id, measured)

    def _check_cable_temperature(self, inputs: EvseInputs) -> Iterator[Finding]:
        cable_c, evse_id, limits = inputs.cable_c, inputs.evse_id, self._settings.secc
        if cable_c is None:
            return
        info = f"{cable_c} degC"
        if not SENSOR_RANGE_C[0] < cable_c < SENSOR_RANGE_C[1]:
            yield Finding(FAULT_RULES["cable/sensor_broken"], evse_id, info)
            return
        if cable_c >= limits.cable_stop_c:
            self._overheated_evse_ids.add(evse_id)
        elif cable_c < limits.cable_restart_c:
            self._overheated_evse_ids.discard(evse_id)
        if evse_id in self._overheated_evse_ids:
            yield Finding(FAULT_RULES["cable/over_temperature"], evse_id, info)
        elif cable_c >= limits.cable_derate_c:
            yield Finding(FAULT_RULES["cable/hot"], evse_id, info)

    # --- Meter -----------------------------------------------------------------------------------

    def _check_meter(self, path: PowerPath, now: float) -> Iterator[Finding]:
        """A session may continue without the meter for `lost_s`; none may start without it."""
        inputs, evse_id, limits = path.inputs, path.inputs.evse_id, self._settings.meter
        silent = self._is_stale(inputs.meter_at, limits.silent_s, now)
        broken = inputs.meter is not None and inputs.meter.broken_wire
        if not silent and not broken:
            self._meter_good_at[evse_id] = now
            return
        rule = FAULT_RULES["meter/silent" if silent else "meter/broken_wire"]
        overdue = now - self._meter_good_at[evse_id] > limits.lost_s
        info = self._station_inputs.lost_devices.get(f"meter {evse_id}", "")
        yield Finding(rule, evse_id, info, blocks_charging=overdue or not path.has_session)


def _is_recent(at: float | None, now: float) -> bool:
    return at is not None and now - at < EMERGENCY_HOLD_S


def _abort_cause(path: PowerPath, state: SeccState, emergency: bool) -> Finding:
    """Cause of an abort, derived from the state of the session."""
    evse_id = path.inputs.evse_id
    if emergency:
        return Finding(FAULT_RULES["secc/emergency_stop"], evse_id)
    if state is SeccState.INSULATION_TEST:
        path.cable_check_failures += 1
        latched = path.cable_check_failures >= CABLE_CHECK_FAILURES_MAX
        return Finding(FAULT_RULES["insulation/cable_check"], evse_id, latched=latched)
    if state is SeccState.PRECHARGE:
        return Finding(
            FAULT_RULES["ev/no_precharge"], evse_id, "the EV ended the session in precharge"
        )
    return Finding(FAULT_RULES["ev/session_aborted"], evse_id, f"in state {state.name}")
