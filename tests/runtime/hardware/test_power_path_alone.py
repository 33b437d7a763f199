"""Does a power path keep to its rules where the emulated devices are too kind to test them?

The path and its parts without a world: reports go in by hand, drivers are there and never run.
"""

from __future__ import annotations

from decimal import Decimal

import pytest
import trio
from trio.testing import MockClock

from drivers.ports import (
    ChargeStatus,
    DeviceReport,
    GroupOutput,
    InsulationReading,
    PilotState,
    PowerFunction,
    PowerRequest,
    SeccHeartbeat,
    SeccState,
    SessionFinished,
)
from drivers.wiring import OutputA
from station.core.desired import DesiredEvse, DesiredState
from station.runtime.hardware.contactors import OPEN_TIMEOUT_S, Contactors
from station.runtime.hardware.control_loop import _desired_evse
from station.runtime.hardware.fault_registry import StopMode
from station.runtime.hardware.inputs import EvseInputs
from station.runtime.hardware.insulation_check import InsulationSelfTest
from station.runtime.hardware.power_path import Phase, PowerPath
from tests.runtime.hardware.fakes import FakePowerDevices, hardware_settings

ENERGY = DesiredEvse(1, energy_allowed=True, suspended=False, transaction_id=None, display_text="")
NOTHING = _desired_evse(DesiredState(), 1, shutting_down=False)
GOOD, TESTING, FAILED = (
    InsulationReading(
        resistance_ohm=10_000_000, alarm=alarm, self_test_running=testing, earth_lost=False
    )
    for alarm, testing in ((0, False), (0, True), (2, False))
)
TRANSFER = PowerRequest(
    PowerFunction.POWER_TRANSFER, Decimal(400), Decimal(200), True, lower_voltage=False
)


class PowerPathBench:
    """One path; `say` reports, `go` lets time pass with the path at work."""

    def __init__(self) -> None:
        settings = hardware_settings()
        self.devices = FakePowerDevices()
        self.now = 100.0
        self.ev_stopped = 0
        self.senses = EvseInputs(1)
        devices = self.devices.as_power_devices()
        self.path = PowerPath(self.senses, devices, settings, self._on_ev_stopped, self.now)
        self.request: DesiredEvse | None = ENERGY
        self.stop = StopMode.NONE
        self.path.output.current_limit_a, self.path.output.voltage_range_v = (
            Decimal(400),
            (150, 1000),
        )

    def _on_ev_stopped(self) -> None:
        self.ev_stopped += 1

    def report(self, *reports: DeviceReport) -> None:
        for report in reports:
            self.senses.apply_report(report, self.now, 100_000)
            self.path.on_report(report, self.now)
            self._run_path()

    def advance(self, seconds: float, *, feedback: bool | None = None, amperes: int = 0) -> None:
        """Let time pass; the contactors follow their coil unless `feedback` says otherwise."""
        for _ in range(round(seconds / 0.05)):
            self.now += 0.05
            closed = self.path.coil_on if feedback is None else feedback
            self.senses.apply_contactor_feedback(closed)
            self.senses.apply_report(GroupOutput(1, 0, amperes * 1000), self.now, 0)
            self._run_path()

    def _run_path(self) -> None:
        self.path.run_step(self.request, self.stop, self.stop is not StopMode.NONE, True, self.now)

    def is_output_on(self, output: OutputA) -> bool:
        return output in self.devices.io.outputs_on

    def start_charging(self) -> None:
        """Bring the path to power transfer."""
        self.report(PilotState("B", 1000), GOOD)
        self.report(TESTING, GOOD, SeccHeartbeat(SeccState.NEGOTIATING_CONNECTION))
        self.report(SeccHeartbeat(SeccState.CHARGING), TRANSFER, ChargeStatus(started=True))
        self.advance(0.3)
        assert self.path.phase is Phase.SESSION
        assert self.path.is_transferring
        assert self.is_output_on(OutputA.CONTACTORS)
        assert self.devices.secc.enabled


@pytest.fixture
async def power_path_bench(autojump_clock: MockClock) -> PowerPathBench:
    await trio.lowlevel.checkpoint()
    return PowerPathBench()


async def test_contactors_wait_for_the_current_to_go_but_not_for_ever(
    power_path_bench: PowerPathBench,
) -> None:
    power_path_bench.start_charging()
    power_path_bench.stop = StopMode.EMERGENCY
    power_path_bench.advance(OPEN_TIMEOUT_S - 0.1, amperes=200)
    assert power_path_bench.is_output_on(OutputA.CONTACTORS)
    power_path_bench.advance(0.2, amperes=200)
    assert not power_path_bench.is_output_on(OutputA.CONTACTORS)


async def test_contactors_open_on_a_measurement_after_the_modules_went_off(
    power_path_bench: PowerPathBench,
) -> None:
    power_path_bench.start_charging()
    power_path_bench.advance(0.1, amperes=0)  # measured before: says nothing of then
    power_path_bench.stop = StopMode.EMERGENCY
    power_path_bench._run_path()
    assert power_path_bench.is_output_on(OutputA.CONTACTORS)
    power_path_bench.advance(0.15, amperes=2)
    assert not power_path_bench.is_output_on(OutputA.CONTACTORS)


async def test_a_driver_that_opened_by_itself_is_not_closed_on_the_way_out(
    power_path_bench: PowerPathBench,
) -> None:
    power_path_bench.start_charging()
    power_path_bench.devices.io.set_output(
        OutputA.CONTACTORS, False
    )  # as after a reset of the module
    power_path_bench.stop = StopMode.EMERGENCY
    power_path_bench.advance(0.2, amperes=200)
    assert power_path_bench.path.coil_on
    assert not power_path_bench.is_output_on(OutputA.CONTACTORS)


async def test_a_charge_that_ends_because_the_ev_is_gone_is_not_ended_by_the_ev(
    power_path_bench: PowerPathBench,
) -> None:
    power_path_bench.start_charging()
    power_path_bench.report(ChargeStatus(started=False))
    power_path_bench.advance(0.1)
    power_path_bench.report(PilotState("A", 1000))
    power_path_bench.advance(2)
    assert power_path_bench.ev_stopped == 0


async def test_a_charge_that_ends_with_the_ev_there_is_ended_by_the_ev_once(
    power_path_bench: PowerPathBench,
) -> None:
    power_path_bench.start_charging()
    power_path_bench.report(ChargeStatus(started=False))
    power_path_bench.advance(0.3)
    power_path_bench.report(SessionFinished(aborted=False))
    power_path_bench.advance(2)
    assert power_path_bench.ev_stopped == 1


async def test_a_stop_of_ours_is_never_told_as_the_evs(power_path_bench: PowerPathBench) -> None:
    power_path_bench.start_charging()
    power_path_bench.request = NOTHING
    power_path_bench.advance(0.1)
    power_path_bench.report(ChargeStatus(started=False), SessionFinished(aborted=False))
    power_path_bench.advance(2)
    assert power_path_bench.ev_stopped == 0
    assert power_path_bench.path.phase is Phase.IDLE


async def test_the_controller_is_enabled_only_after_a_self_test(
    power_path_bench: PowerPathBench,
) -> None:
    power_path_bench.report(PilotState("B", 1000), GOOD)
    power_path_bench.report(GOOD, GOOD)  # said before the test began
    assert not power_path_bench.devices.secc.enabled
    power_path_bench.report(TESTING)
    assert not power_path_bench.devices.secc.enabled
    power_path_bench.report(GOOD)
    assert power_path_bench.devices.secc.enabled


async def test_a_failed_self_test_enables_nothing_and_is_tried_again(
    power_path_bench: PowerPathBench,
) -> None:
    power_path_bench.report(PilotState("B", 1000), GOOD)
    power_path_bench.report(TESTING, FAILED)
    assert power_path_bench.path.self_test.last_failed
    power_path_bench.advance(1.2)
    assert not power_path_bench.devices.secc.enabled
    power_path_bench.report(TESTING, GOOD)
    assert power_path_bench.devices.secc.enabled
    assert not power_path_bench.path.self_test.last_failed


async def test_precharge_has_seven_seconds(power_path_bench: PowerPathBench) -> None:
    power_path_bench.start_charging()
    precharge = PowerRequest(PowerFunction.PRECHARGE, Decimal(390), Decimal(2), True, False)
    power_path_bench.report(SeccHeartbeat(SeccState.PRECHARGE), precharge)
    power_path_bench.advance(6.9)
    assert not power_path_bench.path.is_precharge_overdue(power_path_bench.now)
    power_path_bench.advance(0.2)
    assert power_path_bench.path.is_precharge_overdue(power_path_bench.now)


async def test_less_than_the_modules_can_give_is_off(power_path_bench: PowerPathBench) -> None:
    power_path_bench.start_charging()
    assert power_path_bench.devices.power_modules.orders[1] == (400_000, 200_000, True)
    low = PowerRequest(PowerFunction.POWER_TRANSFER, Decimal(149), Decimal(200), True, False)
    power_path_bench.report(low)
    assert power_path_bench.devices.power_modules.orders[1] == (0, 0, False)


async def test_modules_stay_off_until_the_contactors_say_they_are_closed(
    power_path_bench: PowerPathBench,
) -> None:
    power_path_bench.report(PilotState("B", 1000), GOOD, TESTING, GOOD)
    power_path_bench.report(SeccHeartbeat(SeccState.CHARGING), TRANSFER)
    power_path_bench.advance(0.3, feedback=False)
    assert power_path_bench.is_output_on(OutputA.CONTACTORS)
    assert 1 not in power_path_bench.devices.power_modules.orders
    power_path_bench.advance(0.1)
    assert power_path_bench.devices.power_modules.orders[1][2]


@pytest.mark.parametrize(
    ("closed", "state", "bleeds"),
    [
        (True, SeccState.INSULATION_TEST, True),  # the EV's own contactors are open yet
        (True, SeccState.ENDING_CHARGE, False),  # the battery may hang on it
        (True, SeccState.CHARGING, False),
        (False, SeccState.WELDING_DETECTION, True),
    ],
)
async def test_nothing_bleeds_while_a_battery_may_be_connected(
    power_path_bench: PowerPathBench, closed: bool, state: SeccState, bleeds: bool
) -> None:
    power_path_bench.start_charging()
    lower = PowerRequest(PowerFunction.STANDBY, Decimal(0), Decimal(0), closed, lower_voltage=True)
    power_path_bench.report(SeccHeartbeat(state), lower)
    power_path_bench.advance(0.3)
    assert power_path_bench.is_output_on(OutputA.BLEEDER) is bleeds


async def test_feedback_is_judged_by_time_and_by_readings(power_path_bench: PowerPathBench) -> None:
    contactors = Contactors(power_path_bench.senses, power_path_bench.devices.io, feedback_s=0.2)
    contactors.update_coil(True, 0.0, 0.0)
    power_path_bench.senses.apply_contactor_feedback(False)
    contactors.update_coil(True, 0.0, 0.0)
    assert contactors.feedback_fault(10.0) is None  # long, but read once only
    for _ in range(3):
        power_path_bench.senses.apply_contactor_feedback(False)
    contactors.update_coil(True, 0.0, 0.1)
    assert contactors.feedback_fault(0.1) is None  # often, but not long
    assert contactors.feedback_fault(0.2) == "stuck_open"
    power_path_bench.senses.apply_contactor_feedback(True)
    contactors.update_coil(True, 0.0, 0.3)
    assert contactors.feedback_fault(0.3) is None


async def test_a_passed_self_test_counts_for_ten_minutes(power_path_bench: PowerPathBench) -> None:
    test = InsulationSelfTest(power_path_bench.devices.insulation_monitor, now=0.0)
    test.start_if_due(needed=True, idle=True, now=0.0)
    test.on_insulation_report(TESTING, 1.0)
    test.on_insulation_report(GOOD, 2.0)
    test.start_if_due(needed=True, idle=True, now=601.0)
    assert test.has_passed
    test.start_if_due(needed=True, idle=False, now=700.0)
    assert test.has_passed  # a session goes on
    test.start_if_due(needed=True, idle=True, now=700.0)
    assert not test.has_passed


async def test_one_transaction_is_good_for_one_session(power_path_bench: PowerPathBench) -> None:
    power_path_bench.request = DesiredEvse(
        1, energy_allowed=True, suspended=False, transaction_id="a", display_text=""
    )
    power_path_bench.start_charging()
    power_path_bench.stop = StopMode.EMERGENCY
    power_path_bench.advance(2)
    power_path_bench.stop = StopMode.NONE
    power_path_bench.advance(5)
    phases = [power_path_bench.path.phase]
    power_path_bench.request = DesiredEvse(
        1, energy_allowed=True, suspended=False, transaction_id="b", display_text=""
    )
    power_path_bench.advance(0.1)
    assert [*phases, power_path_bench.path.phase] == [Phase.IDLE, Phase.SESSION]


async def test_a_session_outlives_a_judgement_that_has_not_seen_the_plug_yet(
    power_path_bench: PowerPathBench,
) -> None:
    power_path_bench.report(GOOD)
    power_path_bench.request = None  # the cable was reported, the commit is under way
    power_path_bench.report(
        PilotState("B", 1000), TESTING, GOOD, SeccHeartbeat(SeccState.NEGOTIATING_CONNECTION)
    )
    power_path_bench.report(SeccHeartbeat(SeccState.CHARGING), TRANSFER)
    power_path_bench.advance(0.3)
    assert power_path_bench.path.phase is Phase.SESSION
    assert not power_path_bench.is_output_on(OutputA.CONTACTORS)
    power_path_bench.request = ENERGY
    power_path_bench.advance(0.1)
    assert power_path_bench.is_output_on(OutputA.CONTACTORS)


async def test_nothing_begins_while_the_judgement_is_behind(
    power_path_bench: PowerPathBench,
) -> None:
    power_path_bench.request = NOTHING
    power_path_bench.report(GOOD)
    power_path_bench.request = None
    power_path_bench.report(PilotState("B", 1000), TESTING, GOOD)
    power_path_bench.advance(0.3)
    assert power_path_bench.path.phase is Phase.IDLE


async def test_a_charge_goes_on_while_the_judgement_is_behind(
    power_path_bench: PowerPathBench,
) -> None:
    power_path_bench.start_charging()
    power_path_bench.request = None
    power_path_bench.advance(0.3)
    assert power_path_bench.path.is_transferring
    assert power_path_bench.is_output_on(OutputA.CONTACTORS)
