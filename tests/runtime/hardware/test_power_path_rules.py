"""Rules of a power path that the emulated devices do not put to the test, with fakes.

The test reports by hand what the devices would report, and moves the clock.
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
from station.core.desired import DesiredEvse, DesiredState
from station.runtime.hardware.contactors import OPEN_TIMEOUT_S
from station.runtime.hardware.control_loop import _desired_evse
from station.runtime.hardware.fault_registry import StopMode
from station.runtime.hardware.inputs import EvseInputs
from station.runtime.hardware.insulation_check import InsulationSelfTest
from station.runtime.hardware.power_path import Phase, PowerPath
from tests.runtime.hardware.fakes import (
    BLEEDER,
    COIL,
    FEEDBACK,
    FakePowerDevices,
    contactor_reading,
    hardware_settings,
)

ENERGY = DesiredEvse(1, energy_allowed=True, suspended=False, transaction_id=None)
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
    """One power path: `report` applies reports, `advance` lets time pass."""

    def __init__(self) -> None:
        settings = hardware_settings()
        self.devices = FakePowerDevices()
        self.now = 100.0
        self.paused_s = 0.0  # time in which the process did not run
        self.ev_stopped = 0
        self.inputs = EvseInputs(1)
        devices = self.devices.as_power_devices()
        self.path = PowerPath(self.inputs, devices, settings, self._on_ev_stopped, self.now)
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
            self.inputs.apply_report(report, self.now, 100_000)
            self.path.on_report(report, self.now)
            self._run_path()

    def advance(self, seconds: float, *, feedback: bool | None = None, amperes: int = 0) -> None:
        """Let time pass; the contactors follow their coil unless `feedback` is given."""
        for _ in range(round(seconds / 0.05)):
            self.now += 0.05
            closed = self.path.coil_on if feedback is None else feedback
            reading = contactor_reading(closed, self.path.coil_on, self.now)
            self.inputs.feedback.apply_reading(reading, FEEDBACK, COIL)
            self.inputs.apply_report(GroupOutput(1, 0, amperes * 1000), self.now, 0)
            self._run_path()

    def _run_path(self) -> None:
        self.path.run_step(
            self.request,
            self.stop,
            self.stop is not StopMode.NONE,
            True,
            self.now,
            real_now=self.now + self.paused_s,
        )

    def is_output_on(self, output: int) -> bool:
        return output in self.devices.io.outputs_on

    def start_charging(self) -> None:
        """Bring the path to power transfer."""
        self.report(PilotState("B", 1000), GOOD)
        self.report(TESTING, GOOD, SeccHeartbeat(SeccState.NEGOTIATING_CONNECTION))
        self.report(SeccHeartbeat(SeccState.CHARGING), TRANSFER, ChargeStatus(started=True))
        self.advance(0.3)
        assert self.path.phase is Phase.SESSION
        assert self.path.is_transferring
        assert self.is_output_on(COIL)
        assert self.devices.secc.enabled


@pytest.fixture
async def bench(autojump_clock: MockClock) -> PowerPathBench:
    await trio.lowlevel.checkpoint()
    return PowerPathBench()


async def test_contactors_wait_for_the_current_to_stop_for_a_limited_time(
    bench: PowerPathBench,
) -> None:
    bench.start_charging()
    bench.stop = StopMode.EMERGENCY
    bench.advance(OPEN_TIMEOUT_S - 0.1, amperes=200)
    assert bench.is_output_on(COIL)
    bench.advance(0.2, amperes=200)
    assert not bench.is_output_on(COIL)


async def test_contactors_open_on_a_measurement_after_the_modules_went_off(
    bench: PowerPathBench,
) -> None:
    bench.start_charging()
    bench.advance(0.1, amperes=0)  # measured before the modules went off
    bench.stop = StopMode.EMERGENCY
    bench._run_path()
    assert bench.is_output_on(COIL)
    bench.advance(0.15, amperes=2)
    assert not bench.is_output_on(COIL)


async def test_contactors_that_a_driver_opened_are_not_closed_while_stopping(
    bench: PowerPathBench,
) -> None:
    bench.start_charging()
    bench.devices.io.set_output(COIL, False)  # as after a reset of the module
    bench.stop = StopMode.EMERGENCY
    bench.advance(0.2, amperes=200)
    assert bench.path.coil_on
    assert not bench.is_output_on(COIL)


async def test_a_charge_that_ends_by_unplugging_is_not_ended_by_the_ev(
    bench: PowerPathBench,
) -> None:
    bench.start_charging()
    bench.report(ChargeStatus(started=False))
    bench.advance(0.1)
    bench.report(PilotState("A", 1000))
    bench.advance(2)
    assert bench.ev_stopped == 0


async def test_a_charge_that_ends_with_the_ev_plugged_is_ended_by_the_ev_once(
    bench: PowerPathBench,
) -> None:
    bench.start_charging()
    bench.report(ChargeStatus(started=False))
    bench.advance(0.3)
    bench.report(SessionFinished(aborted=False))
    bench.advance(2)
    assert bench.ev_stopped == 1


async def test_a_stop_by_the_station_is_never_reported_as_the_evs(bench: PowerPathBench) -> None:
    bench.start_charging()
    bench.request = NOTHING
    bench.advance(0.1)
    bench.report(ChargeStatus(started=False), SessionFinished(aborted=False))
    bench.advance(2)
    assert bench.ev_stopped == 0
    assert bench.path.phase is Phase.IDLE


async def test_the_controller_is_enabled_only_after_a_self_test(
    bench: PowerPathBench,
) -> None:
    bench.report(PilotState("B", 1000), GOOD)
    bench.report(GOOD, GOOD)  # before the test began
    assert not bench.devices.secc.enabled
    bench.report(TESTING)
    assert not bench.devices.secc.enabled
    bench.report(GOOD)
    assert bench.devices.secc.enabled


async def test_a_failed_self_test_enables_nothing_and_is_tried_again(
    bench: PowerPathBench,
) -> None:
    bench.report(PilotState("B", 1000), GOOD)
    bench.report(TESTING, FAILED)
    assert bench.path.self_test.last_failed
    bench.advance(1.2)
    assert not bench.devices.secc.enabled
    bench.report(TESTING, GOOD)
    assert bench.devices.secc.enabled
    assert not bench.path.self_test.last_failed


async def test_precharge_may_take_seven_seconds(bench: PowerPathBench) -> None:
    bench.start_charging()
    precharge = PowerRequest(PowerFunction.PRECHARGE, Decimal(390), Decimal(2), True, False)
    bench.report(SeccHeartbeat(SeccState.PRECHARGE), precharge)
    bench.advance(6.9)
    assert not bench.path.is_precharge_overdue(bench.now)
    bench.advance(0.2)
    assert bench.path.is_precharge_overdue(bench.now)


async def test_modules_are_off_below_their_lowest_voltage(bench: PowerPathBench) -> None:
    bench.start_charging()
    assert bench.devices.power_modules.orders[1] == (400_000, 200_000, True)
    low = PowerRequest(PowerFunction.POWER_TRANSFER, Decimal(149), Decimal(200), True, False)
    bench.report(low)
    assert bench.devices.power_modules.orders[1] == (0, 0, False)


async def test_modules_stay_off_until_the_feedback_shows_closed_contactors(
    bench: PowerPathBench,
) -> None:
    bench.report(PilotState("B", 1000), GOOD, TESTING, GOOD)
    bench.report(SeccHeartbeat(SeccState.CHARGING), TRANSFER)
    bench.advance(0.3, feedback=False)
    assert bench.is_output_on(COIL)
    assert 1 not in bench.devices.power_modules.orders
    bench.advance(0.1)
    assert bench.devices.power_modules.orders[1][2]


@pytest.mark.parametrize(
    ("closed", "state", "bleeds"),
    [
        (True, SeccState.INSULATION_TEST, True),  # the EV's own contactors are still open
        (True, SeccState.ENDING_CHARGE, False),  # the battery may be connected
        (True, SeccState.CHARGING, False),
        (False, SeccState.WELDING_DETECTION, True),
    ],
)
async def test_the_bleeder_is_off_while_a_battery_may_be_connected(
    bench: PowerPathBench, closed: bool, state: SeccState, bleeds: bool
) -> None:
    bench.start_charging()
    lower = PowerRequest(PowerFunction.STANDBY, Decimal(0), Decimal(0), closed, lower_voltage=True)
    bench.report(SeccHeartbeat(state), lower)
    bench.advance(0.3)
    assert bench.is_output_on(BLEEDER) is bleeds


async def test_a_passed_self_test_is_valid_for_ten_minutes(bench: PowerPathBench) -> None:
    test = InsulationSelfTest(bench.devices.insulation_monitor, now=0.0)
    test.start_if_due(needed=True, idle=True, now=0.0)
    test.on_insulation_report(TESTING, 1.0)
    test.on_insulation_report(GOOD, 2.0)
    test.start_if_due(needed=True, idle=True, now=601.0)
    assert test.has_passed
    test.start_if_due(needed=True, idle=False, now=700.0)
    assert test.has_passed  # a session continues
    test.start_if_due(needed=True, idle=True, now=700.0)
    assert not test.has_passed


async def test_one_transaction_has_one_session(bench: PowerPathBench) -> None:
    bench.request = DesiredEvse(1, energy_allowed=True, suspended=False, transaction_id="a")
    bench.start_charging()
    bench.stop = StopMode.EMERGENCY
    bench.advance(2)
    bench.stop = StopMode.NONE
    bench.advance(5)
    phases = [bench.path.phase]
    bench.request = DesiredEvse(1, energy_allowed=True, suspended=False, transaction_id="b")
    bench.advance(0.1)
    assert [*phases, bench.path.phase] == [Phase.IDLE, Phase.SESSION]


async def test_a_session_continues_while_the_desired_state_does_not_include_the_plug(
    bench: PowerPathBench,
) -> None:
    bench.report(GOOD)
    bench.request = None  # the cable was reported, the commit is not done
    bench.report(
        PilotState("B", 1000), TESTING, GOOD, SeccHeartbeat(SeccState.NEGOTIATING_CONNECTION)
    )
    bench.report(SeccHeartbeat(SeccState.CHARGING), TRANSFER)
    bench.advance(0.3)
    assert bench.path.phase is Phase.SESSION
    assert not bench.is_output_on(COIL)
    bench.request = ENERGY
    bench.advance(0.1)
    assert bench.is_output_on(COIL)


async def test_no_session_starts_while_the_desired_state_is_outdated(
    bench: PowerPathBench,
) -> None:
    bench.request = NOTHING
    bench.report(GOOD)
    bench.request = None
    bench.report(PilotState("B", 1000), TESTING, GOOD)
    bench.advance(0.3)
    assert bench.path.phase is Phase.IDLE


async def test_a_charge_continues_while_the_desired_state_is_outdated(
    bench: PowerPathBench,
) -> None:
    bench.start_charging()
    bench.request = None
    bench.advance(0.3)
    assert bench.path.is_transferring
    assert bench.is_output_on(COIL)
