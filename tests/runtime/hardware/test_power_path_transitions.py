"""Transition table of the power path, with fakes of the devices."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from drivers.ports import (
    ChargeStatus,
    DeviceReport,
    GroupOutput,
    InsulationReading,
    PilotState,
    PowerFunction,
    PowerRequest,
    SeccEmergency,
    SeccHeartbeat,
    SeccState,
    SessionFinished,
)
from station.core.desired import DesiredEvse
from station.runtime.hardware.fault_registry import StopMode
from station.runtime.hardware.inputs import EvseInputs
from station.runtime.hardware.power_path import (
    EMERGENCY_TIMEOUT_S,
    RESTART_GAP_S,
    SAFE_V,
    TRANSITIONS,
    Phase,
    PowerPath,
    no_energy,
)
from tests.runtime.hardware.fakes import FakePowerDevices, hardware_settings

ENERGY = DesiredEvse(1, energy_allowed=True, suspended=False, transaction_id="a")
NEXT_PHASES = {
    Phase.IDLE: {Phase.SESSION},
    Phase.SESSION: {Phase.STOPPING, Phase.EMERGENCY, Phase.ENDED},
    Phase.STOPPING: {Phase.EMERGENCY, Phase.ENDED},
    Phase.EMERGENCY: {Phase.ENDED},
    Phase.ENDED: {Phase.IDLE},
}
TRANSFER = PowerRequest(
    PowerFunction.POWER_TRANSFER, Decimal(400), Decimal(200), True, lower_voltage=False
)
STOP_S = hardware_settings().secc.stop_s


class Bench:
    """A power path on fakes, with a clock that only the test moves."""

    def __init__(self) -> None:
        self.devices = FakePowerDevices()
        self.inputs = EvseInputs(1)
        self.now = 100.0
        self.desired: DesiredEvse | None = ENERGY
        self.stop = StopMode.NONE
        self.blocked, self.ready = False, True
        self.path = PowerPath(
            self.inputs,
            self.devices.as_power_devices(),
            hardware_settings(),
            lambda: None,
            self.now,
        )
        self.path.output.current_limit_a = self.path.output.hardware_limit_a = Decimal(400)
        self.path.output.voltage_range_v = (150, 1000)

    def step(self, seconds: float = 0.0) -> Phase:
        self.now += seconds
        self.path.run_step(
            self.desired, self.stop, self.blocked, self.ready, self.now, real_now=self.now
        )
        return self.path.phase

    def report(self, *reports: DeviceReport) -> Phase:
        for report in reports:
            self.inputs.apply_report(report, self.now, 100_000)
            self.path.on_report(report, self.now)
        return self.path.phase

    def close_contactors(self, closed: bool = True) -> None:
        self.inputs.feedback.closed = closed

    # --- Ways into each phase --------------------------------------------------------------------

    def idle(self) -> None:
        pass

    def session(self) -> None:
        assert self.step() is Phase.SESSION

    def joined_session(self) -> None:
        self.session()
        self.report(PilotState("B", 1000), SeccHeartbeat(SeccState.NEGOTIATING_CONNECTION))
        self.step()
        assert self.path.has_session

    def powered_session(self) -> None:
        self.joined_session()
        self.report(InsulationReading(10_000_000, 0, False, False), TRANSFER)
        self.step()
        self.close_contactors()
        self.step()
        assert self.path.is_powered

    def stopping(self) -> None:
        self.joined_session()
        self.desired = no_energy(1)
        assert self.step() is Phase.STOPPING

    def powered_stopping(self) -> None:
        self.powered_session()
        self.desired = no_energy(1)
        assert self.step() is Phase.STOPPING

    def emergency(self) -> None:
        self.powered_session()
        self.stop = StopMode.EMERGENCY
        assert self.step() is Phase.EMERGENCY

    def ended(self) -> None:
        self.stopping()
        self.report(SessionFinished(aborted=False))
        assert self.step() is Phase.ENDED


def test_the_table_has_the_transitions_of_the_picture() -> None:
    table = {phase: {row.target for row in rows} for phase, rows in TRANSITIONS.items()}
    assert table == NEXT_PHASES
    assert all(row.reason for rows in TRANSITIONS.values() for row in rows)


def test_the_more_urgent_transition_is_checked_first() -> None:
    urgency = [Phase.EMERGENCY, Phase.ENDED, Phase.STOPPING]
    for phase in (Phase.SESSION, Phase.STOPPING):
        targets = [row.target for row in TRANSITIONS[phase]]
        assert targets.index(Phase.EMERGENCY) == 0
        last_emergency = max(i for i, target in enumerate(targets) if target is Phase.EMERGENCY)
        assert all(target in urgency[1:] for target in targets[last_emergency + 1 :])


def cut(bench: Bench) -> None:
    bench.stop = StopMode.EMERGENCY


def stop_normally(bench: Bench) -> None:
    bench.stop = StopMode.NORMAL


def withdraw_energy(bench: Bench) -> None:
    bench.desired = no_energy(1)


def unplug(bench: Bench) -> None:
    bench.report(PilotState("A", 1000))


def finish(bench: Bench) -> None:
    bench.report(SessionFinished(aborted=False))


def exceed_stop_time(bench: Bench) -> None:
    bench.now += STOP_S + 0.01


def open_contactors(bench: Bench) -> None:
    bench.path.output.contactors.coil_on = False
    bench.close_contactors(False)


def exceed_emergency_time(bench: Bench) -> None:
    bench.now += EMERGENCY_TIMEOUT_S + 0.01


def wait_restart_gap(bench: Bench) -> None:
    bench.now += RESTART_GAP_S + 0.01


def nothing(bench: Bench) -> None:
    pass


@pytest.mark.parametrize(
    ("start", "event", "phase"),
    [
        (Bench.idle, nothing, Phase.SESSION),
        (Bench.idle, withdraw_energy, Phase.IDLE),
        (Bench.session, nothing, Phase.SESSION),
        (Bench.session, cut, Phase.EMERGENCY),
        (Bench.session, unplug, Phase.SESSION),  # no EV has joined
        (Bench.session, stop_normally, Phase.ENDED),
        (Bench.session, withdraw_energy, Phase.ENDED),
        (Bench.joined_session, cut, Phase.EMERGENCY),
        (Bench.joined_session, unplug, Phase.ENDED),
        (Bench.powered_session, unplug, Phase.EMERGENCY),
        (Bench.joined_session, stop_normally, Phase.STOPPING),
        (Bench.joined_session, withdraw_energy, Phase.STOPPING),
        (Bench.stopping, nothing, Phase.STOPPING),
        (Bench.stopping, cut, Phase.EMERGENCY),
        (Bench.stopping, exceed_stop_time, Phase.EMERGENCY),
        (Bench.stopping, unplug, Phase.ENDED),
        (Bench.powered_stopping, unplug, Phase.EMERGENCY),
        (Bench.stopping, finish, Phase.ENDED),
        (Bench.emergency, nothing, Phase.EMERGENCY),
        (Bench.emergency, open_contactors, Phase.ENDED),
        (Bench.emergency, exceed_emergency_time, Phase.ENDED),  # welded contactors
        (Bench.ended, nothing, Phase.ENDED),
        (Bench.ended, wait_restart_gap, Phase.IDLE),
    ],
    ids=lambda part: getattr(part, "__name__", str(part)),
)
def test_a_step_takes_the_transition_of_the_table(
    start: Callable[[Bench], None], event: Callable[[Bench], None], phase: Phase
) -> None:
    bench = Bench()
    start(bench)
    event(bench)
    assert bench.step() is phase


@pytest.mark.parametrize(
    ("report", "phase"),
    [
        (ChargeStatus(started=False), Phase.STOPPING),
        (SessionFinished(aborted=False), Phase.STOPPING),
        (SessionFinished(aborted=True), Phase.EMERGENCY),
        (SeccEmergency(by_ev=False), Phase.EMERGENCY),
        (SeccEmergency(by_ev=True), Phase.SESSION),  # a fault of its own, by the protections
    ],
)
def test_a_report_of_the_controller_stops_a_joined_session_at_once(
    report: DeviceReport, phase: Phase
) -> None:
    bench = Bench()
    bench.joined_session()
    assert bench.report(report) is phase


@pytest.mark.parametrize(
    "report", [ChargeStatus(started=False), SessionFinished(aborted=True), SeccEmergency(False)]
)
def test_a_report_of_the_controller_before_an_ev_joined_stops_nothing(report: DeviceReport) -> None:
    bench = Bench()
    bench.session()
    assert bench.report(report) is Phase.SESSION


@pytest.mark.parametrize("reason", ["blocked", "not ready", "outdated"])
def test_no_session_starts_while_something_forbids_it(reason: str) -> None:
    bench = Bench()
    bench.blocked = True
    assert bench.step() is Phase.IDLE  # the path now has a desired state with energy
    bench.blocked, bench.ready = reason == "blocked", reason != "not ready"
    bench.desired = None if reason == "outdated" else ENERGY
    assert bench.step() is Phase.IDLE


def test_an_emergency_wins_over_every_other_stop() -> None:
    bench = Bench()
    bench.stopping()
    for event in (cut, unplug, finish, exceed_stop_time):
        event(bench)
    assert bench.step() is Phase.EMERGENCY


def test_an_emergency_cuts_modules_and_controller_in_the_step_that_enters_it() -> None:
    bench = Bench()
    bench.emergency()
    assert bench.devices.power_modules.orders[1] == (0, 0, False)
    assert not bench.devices.secc.enabled
    assert bench.devices.secc.urgent_statuses > 0


def test_the_regular_stop_presses_the_stop_button_once() -> None:
    bench = Bench()
    bench.stopping()
    bench.step(0.1)
    assert bench.devices.secc.stop_button_presses == 1


def test_the_end_waits_for_a_low_output() -> None:
    bench = Bench()
    bench.ended()
    bench.report(GroupOutput(1, (SAFE_V + 1) * 1000, 0))
    assert bench.step(RESTART_GAP_S + 0.1) is Phase.ENDED
    bench.report(GroupOutput(1, SAFE_V * 1000, 0))
    assert bench.step() is Phase.IDLE


def test_a_request_withdrawn_before_an_ev_joined_may_start_again() -> None:
    bench = Bench()
    bench.session()
    bench.desired = no_energy(1)
    bench.step()
    bench.step(RESTART_GAP_S + 0.1)
    bench.desired = ENERGY
    assert bench.step() is Phase.SESSION


def test_a_request_stopped_by_a_fault_starts_no_second_session() -> None:
    bench = Bench()
    bench.session()
    bench.stop = StopMode.NORMAL
    bench.step()
    bench.stop = StopMode.NONE
    assert bench.step(RESTART_GAP_S + 0.1) is Phase.IDLE
    assert bench.step() is Phase.IDLE


@pytest.mark.parametrize("start", [Bench.session, Bench.powered_stopping, Bench.ended])
def test_the_end_of_the_program_is_an_emergency_stop(start: Callable[[Bench], None]) -> None:
    bench = Bench()
    start(bench)
    bench.path.emergency_stop(bench.now)
    assert bench.path.phase is Phase.EMERGENCY


def test_the_end_of_the_program_changes_nothing_when_idle_and_unpowered() -> None:
    bench = Bench()
    bench.path.emergency_stop(bench.now)
    assert bench.path.phase is Phase.IDLE
