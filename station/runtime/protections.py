"""What is wrong right now, by everything the devices say?

Unknown, stale or contradictory is wrong. Every function gives the findings of one question; the
ledger decides whether they are news. Rows and what follows from them are in `faults.ROWS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from drivers.io.wiring import InputA, InputB
from drivers.ports import SeccState
from drivers.wire.infypower import MAINS_FAULTS
from station.runtime.device_settings import HardwareSettings
from station.runtime.faults import ROWS, Finding, Ledger
from station.runtime.power_path import EXPLAINED_S, Phase, PowerPath
from station.runtime.senses import DISPENSER, STATION, EvseSenses, StationSenses, older

START_S: Final = 8.0  # what a device may take to speak for the first time
HEARD_S: Final = 0.5  # an emergency is repeated every 100 ms while it holds
ECHO_S: Final = 2.0  # so long a controller repeats the emergency stop that we made ourselves
RESET_S: Final = 1.0  # a lost supply of an I/O module shows for so long
SENSOR_C: Final = (-40, 200)  # what a contact sensor that works may read, exclusive
MAINS_MODULES: Final = 2  # so many modules with the same complaint: it is the mains
IN_A_ROW_CABLE_CHECK, IN_A_ROW_STUCK = 3, 2
PREWARNING, DEVICE_ERROR, ALARM = 1, 2, 5  # of the insulation monitor

WIRES_A: Final = (
    (InputA.EMERGENCY_STOP_LOOP_CLOSED, "emergency_stop/pressed"),
    (InputA.DOOR_CLOSED, "door/open"),
    (InputA.MAINS_BREAKER_ON, "breaker/tripped"),
    (InputA.POWER_CABINET_READY, "mains/lost"),
)
WIRES_B: Final = (
    (InputB.CABLE_AND_TILT_GOOD, "dispenser/tilted"),
    (InputB.DISPENSER_DOOR_CLOSED, "dispenser_door/open"),
    (InputB.COOLING_FLOW_GOOD, "cooling/fault"),
)


class Protections:
    """Looks at everything; holds nothing but where to look.

    Args:
        station: what belongs to no EVSE.
        paths: the power paths by EVSE id; their senses are looked at too.
        settings: the limits.
        ledger: asked whether something is wrong already.
        since: when the devices were started.
    """

    def __init__(
        self,
        station: StationSenses,
        paths: dict[int, PowerPath],
        settings: HardwareSettings,
        ledger: Ledger,
        since: float,
    ) -> None:
        self._station = station
        self._paths = paths
        self._settings = settings
        self._ledger = ledger
        self._since = since
        self._cable_tripped: set[int] = set()
        self._meter_good_at = dict.fromkeys(paths, since)

    def ready(self, evse_id: int) -> bool:
        """Whether every device that a session needs has spoken."""
        senses = self._paths[evse_id].senses
        known = (senses.heartbeat_at, senses.insulation_at, senses.meter_at, senses.output_at)
        inputs = self._station.inputs_at
        return None not in known and {STATION, evse_id} <= set(inputs) and senses.pilot is not None

    def findings(self, now: float) -> Iterator[Finding]:
        """Everything that is wrong."""
        yield from self._wires()
        yield from self._mains()
        yield from self._io_modules(now)
        expected = sum(map(len, self._settings.modules.groups))
        if self._station.counted not in (None, expected):
            info = f"{self._station.counted} modules instead of {expected}"
            yield Finding(ROWS["module/wrong_count"], 0, info)
        for name in ("reader", "display"):
            if name in self._station.lost:
                yield Finding(ROWS[f"{name}/lost"], 0, self._station.lost[name])
        for evse_id, path in self._paths.items():
            yield from self._controller(path, now)
            yield from self._broken_off(path, now)
            yield from self._insulation(path, now)
            yield from self._modules(evse_id, path.senses, now)
            yield from self._output(path, now)
            yield from self._cable(path.senses)
            yield from self._meter(path, now)
            yield from self._idle_wires(evse_id)

    def _stale(self, at: float | None, seconds: float, now: float) -> bool:
        """Older than `seconds`, or never heard although there was time."""
        return older(at, seconds if at is not None else START_S, now, self._since)

    # --- the whole station -----------------------------------------------------------------------

    def _wires(self) -> Iterator[Finding]:
        for wire, name in (*WIRES_A, *WIRES_B):
            if self._station.wire(wire) is False:
                yield Finding(ROWS[name], 0)

    def _mains(self) -> Iterator[Finding]:
        """A feed that fails shows in several modules."""
        complaints = [
            state.faults & MAINS_FAULTS
            for address, state in self._station.modules.items()
            if state.faults & MAINS_FAULTS and address not in self._station.silent
        ]
        if len(complaints) < MAINS_MODULES:
            return
        said = frozenset[str]().union(*complaints)
        info = ", ".join(sorted(said))
        if {"ac_phase_missing", "ac_under_voltage"} <= said:
            yield Finding(ROWS["mains/lost"], 0, info)
        else:
            for name in sorted(said):
                yield Finding(ROWS[f"mains/{name.removeprefix('ac_')}"], 0, info)

    def _io_modules(self, now: float) -> Iterator[Finding]:
        """Module 1 carries the emergency stop and the doors: without it nothing may run."""
        for number in (STATION, DISPENSER):
            where = 0 if number == STATION else number
            if where not in (0, *self._paths):
                continue
            lost = self._station.lost.get(f"io {number}", "")
            limit_s = self._settings.io.stale_ms / 1000
            if lost or self._stale(self._station.inputs_at.get(number), limit_s, now):
                yield Finding(ROWS["io/lost"], where, lost or f"I/O module {number} is silent")
            report = self._station.inputs.get(number)
            if report is not None and report.watchdog_fired:
                yield Finding(ROWS["io/watchdog"], where, f"of I/O module {number}")
            reset_at = self._station.reset_at.get(number)
            if reset_at is not None and now - reset_at < RESET_S:
                yield Finding(ROWS["io/reset"], where, f"I/O module {number} lost its supply")

    def _idle_wires(self, evse_id: int) -> Iterator[Finding]:
        """What lets a session end in peace; said for each EVSE, for each has its own session."""
        if self._station.wire(InputA.SURGE_ARRESTER_GOOD) is False:
            yield Finding(ROWS["arrester/dead"], evse_id)
        lock = InputA.HOLSTER_LOCKED if evse_id == STATION else InputB.HOLSTER_LOCKED
        if self._station.wire(lock):
            yield Finding(ROWS["lock/stuck"], evse_id, "holster locked though told to be open")

    # --- charge controller -----------------------------------------------------------------------

    def _controller(self, path: PowerPath, now: float) -> Iterator[Finding]:
        senses, evse_id = path.senses, path.senses.evse_id
        if self._stale(senses.heartbeat_at, self._settings.secc.heartbeat_ms / 1000, now):
            lost = self._station.lost.get(f"secc {evse_id}", "")
            yield Finding(ROWS["secc/silent"], evse_id, lost)
            return
        if senses.state is SeccState.UNKNOWN:
            yield Finding(ROWS["secc/unknown_values"], evse_id)
        if senses.pilot_wrong:
            yield Finding(ROWS["pilot/error"], evse_id, "pilot reads E or F")
        if _heard(senses.ev_emergency_at, now):
            yield Finding(ROWS["ev/emergency_stop"], evse_id, "EV emergency stop")
        if _heard(senses.secc_emergency_at, now) and self._its_own(path, now):
            yield Finding(ROWS["secc/emergency_stop"], evse_id)

    def _its_own(self, path: PowerPath, now: float) -> bool:
        """Whether an emergency stop is the controller's, not its answer to ours."""
        if self._ledger.has("secc/emergency_stop", path.senses.evse_id):
            return True
        return path.phase is Phase.IDLE and now - path.idle_since > ECHO_S

    def _broken_off(self, path: PowerPath, now: float) -> Iterator[Finding]:
        """The controller ended a session: somebody else says why, or it is said here."""
        broken, senses = path.broken, path.senses
        if path.precharge_overdue(now):
            yield Finding(ROWS["ev/no_precharge"], senses.evse_id, "voltage not taken in time")
        if broken is None:
            return
        if senses.low_polls or senses.pilot == "A" or self._ledger.blocking(senses.evse_id):
            path.broken = None
            if senses.low_polls:
                yield self._low(path)
        elif now - broken.at > EXPLAINED_S:
            path.broken = None
            yield _cause(path, broken.state, broken.emergency)

    # --- insulation ------------------------------------------------------------------------------

    def _insulation(self, path: PowerPath, now: float) -> Iterator[Finding]:
        senses, evse_id = path.senses, path.senses.evse_id
        lost = self._station.lost.get(f"insulation {evse_id}", "")
        if lost or self._stale(senses.insulation_at, self._settings.insulation.stale_s, now):
            yield Finding(ROWS["insulation/lost"], evse_id, lost)
            return
        if path.self_test.failed:
            latched = path.self_test.failures >= IN_A_ROW_CABLE_CHECK
            yield Finding(ROWS["insulation/self_test"], evse_id, latched=latched)
        said = senses.insulation
        if said is None or said.testing or path.self_test.failed:
            return
        if said.earth_lost:
            yield Finding(ROWS["insulation/earth_lost"], evse_id)
        elif said.alarm == DEVICE_ERROR or said.resistance_ohm is None:
            yield Finding(ROWS["insulation/device_error"], evse_id)
        elif senses.low_polls > 1 or (senses.low_polls and said.alarm == ALARM):
            yield self._low(path)
        elif said.alarm == ALARM:
            yield Finding(ROWS["insulation/alarm"], evse_id, latched=path.transferring)
        elif said.alarm == PREWARNING:
            yield Finding(ROWS["insulation/warning"], evse_id, f"{said.resistance_ohm} ohm")

    def _low(self, path: PowerPath) -> Finding:
        said = path.senses.insulation
        info = f"{said.resistance_ohm} ohm" if said else ""
        evse_id = path.senses.evse_id
        latched = path.transferring or self._ledger.has("insulation/low", evse_id)
        return Finding(ROWS["insulation/low"], evse_id, info, latched=latched)

    # --- power modules and output ----------------------------------------------------------------

    def _modules(self, evse_id: int, senses: EvseSenses, now: float) -> Iterator[Finding]:
        stale_s = self._settings.modules.stale_s
        if self._stale(senses.output_at, stale_s, now):
            others = [path.senses for other, path in self._paths.items() if other != evse_id]
            alone = any(not self._stale(other.output_at, stale_s / 2, now) for other in others)
            lost = self._station.lost.get("modules", "")
            yield Finding(ROWS["module/all_dead" if alone else "can/lost"], evse_id, lost)
        addresses = self._settings.modules.groups[evse_id - 1]
        mains = any(True for _ in self._mains())
        if self._station.modules and not mains and not self.usable(evse_id):
            yield Finding(ROWS["module/none_left"], evse_id)
        silent = [address for address in addresses if address in self._station.silent]
        if silent:
            yield Finding(ROWS["module/silent"], evse_id, f"modules {silent}")
        for name, where in sorted(self._complaints(addresses).items()):
            yield Finding(ROWS[name], evse_id, f"modules {where}")

    def usable(self, evse_id: int) -> list[int]:
        """Addresses of the modules that can give power to an EVSE; a silent one may."""
        station = self._station
        return [
            address
            for address in self._settings.modules.groups[evse_id - 1]
            if not (address in station.modules and station.modules[address].faults)
            and not (address in station.silent and station.silent[address].gone)
        ]

    def _complaints(self, addresses: tuple[int, ...]) -> dict[str, list[int]]:
        """What single modules say, by row."""
        found: dict[str, list[int]] = {}
        for address in addresses:
            state = self._station.modules.get(address)
            if state is None or address in self._station.silent:
                continue
            own = state.faults - MAINS_FAULTS
            hot = state.temperature_c >= self._settings.modules.hot_c
            says = {
                "module/over_temperature": "over_temperature" in own,
                "module/fault": bool(own - {"over_temperature"}),
                "module/derating": "derating" in state.states,
                "module/warning": bool(state.warnings),
                "cabinet/hot": hot,
            }
            for name, true in says.items():
                if true:
                    found.setdefault(name, []).append(address)
        return found

    def _output(self, path: PowerPath, now: float) -> Iterator[Finding]:
        senses, evse_id = path.senses, path.senses.evse_id
        measured = f"{senses.output_v} V, {senses.output_a} A"
        trouble = path.contactor_trouble(now)
        if trouble == "welded":
            yield Finding(ROWS["contactor/welded"], evse_id)
        elif trouble == "stuck_open":
            if path.phase is Phase.SESSION:
                path.stuck_opens += not self._ledger.has("contactor/stuck_open", evse_id)
            latched = path.stuck_opens >= IN_A_ROW_STUCK
            yield Finding(ROWS["contactor/stuck_open"], evse_id, latched=latched)
        if path.over_voltage(now):
            yield Finding(ROWS["output/over_voltage"], evse_id, measured)
        if path.over_current(now):
            yield Finding(ROWS["output/over_current"], evse_id, measured)
        fresh = not self._stale(senses.output_at, self._settings.modules.stale_s, now)
        if fresh and path.keeps_voltage(now):
            yield Finding(ROWS["output/keeps_voltage"], evse_id, measured)

    def _cable(self, senses: EvseSenses) -> Iterator[Finding]:
        hottest, evse_id, limits = senses.cable_c, senses.evse_id, self._settings.secc
        if hottest is None:
            return
        info = f"{hottest} degC"
        if not SENSOR_C[0] < hottest < SENSOR_C[1]:
            yield Finding(ROWS["cable/sensor_broken"], evse_id, info)
            return
        if hottest >= limits.cable_stop_c:
            self._cable_tripped.add(evse_id)
        elif hottest < limits.cable_restart_c:
            self._cable_tripped.discard(evse_id)
        if evse_id in self._cable_tripped:
            yield Finding(ROWS["cable/over_temperature"], evse_id, info)
        elif hottest >= limits.cable_derate_c:
            yield Finding(ROWS["cable/hot"], evse_id, info)

    # --- meter -----------------------------------------------------------------------------------

    def _meter(self, path: PowerPath, now: float) -> Iterator[Finding]:
        """A session goes on without the meter for a while; none begins without."""
        senses, evse_id, limits = path.senses, path.senses.evse_id, self._settings.meter
        silent = self._stale(senses.meter_at, limits.silent_s, now)
        broken = senses.meter is not None and senses.meter.broken_wire
        if not silent and not broken:
            self._meter_good_at[evse_id] = now
            return
        row = ROWS["meter/silent" if silent else "meter/broken_wire"]
        overdue = now - self._meter_good_at[evse_id] > limits.lost_s
        info = self._station.lost.get(f"meter {evse_id}", "")
        yield Finding(row, evse_id, info, blocks=overdue or not path.in_session)


def _heard(at: float | None, now: float) -> bool:
    return at is not None and now - at < HEARD_S


def _cause(path: PowerPath, state: SeccState, emergency: bool) -> Finding:
    """Why a controller broke off, from where the session stood."""
    evse_id = path.senses.evse_id
    if emergency:
        return Finding(ROWS["secc/emergency_stop"], evse_id)
    if state is SeccState.INSULATION_TEST:
        path.cable_check_failures += 1
        latched = path.cable_check_failures >= IN_A_ROW_CABLE_CHECK
        return Finding(ROWS["insulation/cable_check"], evse_id, latched=latched)
    if state is SeccState.PRECHARGE:
        return Finding(ROWS["ev/no_precharge"], evse_id, "the EV gave up in precharge")
    return Finding(ROWS["ev/session_aborted"], evse_id, f"in state {state.name}")
