"""Does a power path keep to its rules where the emulated devices are too kind to test them?

The path and its parts without a world: reports go in by hand, drivers are there and never run.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from drivers.io.wiring import OutputA
from drivers.ports import (
    ChargeStatus,
    GroupOutput,
    Insulation,
    PilotState,
    PowerFunction,
    PowerRequest,
    Report,
    SeccHeartbeat,
    SeccState,
    SessionFinished,
)
from station.runtime.body import _wish
from station.runtime.contactors import OPEN_ANYWAY_S, Contactors
from station.runtime.device_settings import Devices, emulated
from station.runtime.faults import Stop
from station.runtime.power_path import Hands, Phase, PowerPath
from station.runtime.self_test import SelfTest
from station.runtime.senses import EvseSenses
from station.wanted import Wanted, WantedEvse

ENERGY = WantedEvse(1, energy=True, suspended=False, transaction_id=None, words="")
NOTHING = _wish(Wanted(), 1, leaving=False)
GOOD, TESTING, FAILED = (
    Insulation(resistance_ohm=10_000_000, alarm=alarm, testing=testing, earth_lost=False)
    for alarm, testing in ((0, False), (0, True), (2, False))
)
TRANSFER = PowerRequest(
    PowerFunction.POWER_TRANSFER, Decimal(400), Decimal(200), True, lower_voltage=False
)


class Alone:
    """One path; `say` reports, `go` lets time pass with the path at work."""

    def __init__(self) -> None:
        settings = emulated(Path("nowhere"))
        devices = Devices(settings, (1, 2))
        self.devices = devices
        self.now = 100.0
        self.ev_stopped = 0
        self.senses = EvseSenses(1)
        hands = Hands(
            devices.seccs[1], devices.modules, devices.io[1], devices.monitors[1], devices.meters[1]
        )
        self.path = PowerPath(self.senses, hands, settings, self._stopped, self.now)
        self.wish: WantedEvse | None = ENERGY
        self.stop = Stop.NONE
        self.path.limit_a, self.path.range_v = Decimal(400), (150, 1000)

    def _stopped(self) -> None:
        self.ev_stopped += 1

    def say(self, *reports: Report) -> None:
        for report in reports:
            self.senses.hear(report, self.now, 100_000)
            self.path.hear(report, self.now)
            self._act()

    def go(self, seconds: float, *, feedback: bool | None = None, amperes: int = 0) -> None:
        """Let time pass; the contactors follow their coil unless `feedback` says otherwise."""
        for _ in range(round(seconds / 0.05)):
            self.now += 0.05
            closed = self.path.coil if feedback is None else feedback
            self.senses.hear_contactors(closed)
            self.senses.hear(GroupOutput(1, 0, amperes * 1000), self.now, 0)
            self._act()

    def _act(self) -> None:
        self.path.act(self.wish, self.stop, self.stop is not Stop.NONE, True, self.now)

    def output(self, which: OutputA) -> bool:
        return bool(self.devices.io[1].outputs >> which & 1)

    def charge(self) -> None:
        """Bring the path to power transfer."""
        self.say(PilotState("B", 1000), GOOD)
        self.say(TESTING, GOOD, SeccHeartbeat(SeccState.NEGOTIATING_CONNECTION))
        self.say(SeccHeartbeat(SeccState.CHARGING), TRANSFER, ChargeStatus(started=True))
        self.go(0.3)
        assert self.path.phase is Phase.SESSION
        assert self.path.transferring
        assert self.output(OutputA.CONTACTORS)
        assert self.devices.seccs[1].enabled


@pytest.fixture
async def alone(autojump_clock: MockClock) -> Alone:
    await trio.lowlevel.checkpoint()
    return Alone()


async def test_contactors_wait_for_the_current_to_go_but_not_for_ever(alone: Alone) -> None:
    alone.charge()
    alone.stop = Stop.EMERGENCY
    alone.go(OPEN_ANYWAY_S - 0.1, amperes=200)
    assert alone.output(OutputA.CONTACTORS)
    alone.go(0.2, amperes=200)
    assert not alone.output(OutputA.CONTACTORS)


async def test_contactors_open_on_a_measurement_after_the_modules_went_off(alone: Alone) -> None:
    alone.charge()
    alone.go(0.1, amperes=0)  # measured before: says nothing of then
    alone.stop = Stop.EMERGENCY
    alone._act()
    assert alone.output(OutputA.CONTACTORS)
    alone.go(0.15, amperes=2)
    assert not alone.output(OutputA.CONTACTORS)


async def test_a_driver_that_opened_by_itself_is_not_closed_on_the_way_out(alone: Alone) -> None:
    alone.charge()
    alone.devices.io[1].switch(OutputA.CONTACTORS, False)  # as after a reset of the module
    alone.stop = Stop.EMERGENCY
    alone.go(0.2, amperes=200)
    assert alone.path.coil
    assert not alone.output(OutputA.CONTACTORS)


async def test_a_charge_that_ends_because_the_ev_is_gone_is_not_ended_by_the_ev(
    alone: Alone,
) -> None:
    alone.charge()
    alone.say(ChargeStatus(started=False))
    alone.go(0.1)
    alone.say(PilotState("A", 1000))
    alone.go(2)
    assert alone.ev_stopped == 0


async def test_a_charge_that_ends_with_the_ev_there_is_ended_by_the_ev_once(alone: Alone) -> None:
    alone.charge()
    alone.say(ChargeStatus(started=False))
    alone.go(0.3)
    alone.say(SessionFinished(rushed=False))
    alone.go(2)
    assert alone.ev_stopped == 1


async def test_a_stop_of_ours_is_never_told_as_the_evs(alone: Alone) -> None:
    alone.charge()
    alone.wish = NOTHING
    alone.go(0.1)
    alone.say(ChargeStatus(started=False), SessionFinished(rushed=False))
    alone.go(2)
    assert alone.ev_stopped == 0
    assert alone.path.phase is Phase.IDLE


async def test_the_controller_is_enabled_only_after_a_self_test(alone: Alone) -> None:
    alone.say(PilotState("B", 1000), GOOD)
    alone.say(GOOD, GOOD)  # said before the test began
    assert not alone.devices.seccs[1].enabled
    alone.say(TESTING)
    assert not alone.devices.seccs[1].enabled
    alone.say(GOOD)
    assert alone.devices.seccs[1].enabled


async def test_a_failed_self_test_enables_nothing_and_is_tried_again(alone: Alone) -> None:
    alone.say(PilotState("B", 1000), GOOD)
    alone.say(TESTING, FAILED)
    assert alone.path.self_test.failed
    alone.go(1.2)
    assert not alone.devices.seccs[1].enabled
    alone.say(TESTING, GOOD)
    assert alone.devices.seccs[1].enabled
    assert not alone.path.self_test.failed


async def test_precharge_has_seven_seconds(alone: Alone) -> None:
    alone.charge()
    precharge = PowerRequest(PowerFunction.PRECHARGE, Decimal(390), Decimal(2), True, False)
    alone.say(SeccHeartbeat(SeccState.PRECHARGE), precharge)
    alone.go(6.9)
    assert not alone.path.precharge_overdue(alone.now)
    alone.go(0.2)
    assert alone.path.precharge_overdue(alone.now)


async def test_less_than_the_modules_can_give_is_off(alone: Alone) -> None:
    alone.charge()
    assert alone.path._given == (400_000, 200_000, True)
    low = PowerRequest(PowerFunction.POWER_TRANSFER, Decimal(149), Decimal(200), True, False)
    alone.say(low)
    assert alone.path._given == (0, 0, False)


async def test_modules_stay_off_until_the_contactors_say_they_are_closed(alone: Alone) -> None:
    alone.say(PilotState("B", 1000), GOOD, TESTING, GOOD)
    alone.say(SeccHeartbeat(SeccState.CHARGING), TRANSFER)
    alone.go(0.3, feedback=False)
    assert alone.output(OutputA.CONTACTORS)
    assert alone.path._given == (0, 0, False)
    alone.go(0.1)
    assert alone.path._given[2]


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
    alone: Alone, closed: bool, state: SeccState, bleeds: bool
) -> None:
    alone.charge()
    lower = PowerRequest(PowerFunction.STANDBY, Decimal(0), Decimal(0), closed, lower_voltage=True)
    alone.say(SeccHeartbeat(state), lower)
    alone.go(0.3)
    assert alone.output(OutputA.BLEEDER) is bleeds


async def test_feedback_is_judged_by_time_and_by_readings(alone: Alone) -> None:
    contactors = Contactors(alone.senses, alone.devices.io[1], feedback_s=0.2)
    contactors.set(True, 0.0, 0.0)
    alone.senses.hear_contactors(False)
    contactors.set(True, 0.0, 0.0)
    assert contactors.trouble(10.0) is None  # long, but read once only
    for _ in range(3):
        alone.senses.hear_contactors(False)
    contactors.set(True, 0.0, 0.1)
    assert contactors.trouble(0.1) is None  # often, but not long
    assert contactors.trouble(0.2) == "stuck_open"
    alone.senses.hear_contactors(True)
    contactors.set(True, 0.0, 0.3)
    assert contactors.trouble(0.3) is None


async def test_a_passed_self_test_counts_for_ten_minutes(alone: Alone) -> None:
    test = SelfTest(alone.devices.monitors[1], now=0.0)
    test.see_to(needed=True, idle=True, now=0.0)
    test.hear(TESTING, 1.0)
    test.hear(GOOD, 2.0)
    test.see_to(needed=True, idle=True, now=601.0)
    assert test.passed
    test.see_to(needed=True, idle=False, now=700.0)
    assert test.passed  # a session goes on
    test.see_to(needed=True, idle=True, now=700.0)
    assert not test.passed


async def test_one_transaction_is_good_for_one_session(alone: Alone) -> None:
    alone.wish = WantedEvse(1, energy=True, suspended=False, transaction_id="a", words="")
    alone.charge()
    alone.stop = Stop.EMERGENCY
    alone.go(2)
    alone.stop = Stop.NONE
    alone.go(5)
    phases = [alone.path.phase]
    alone.wish = WantedEvse(1, energy=True, suspended=False, transaction_id="b", words="")
    alone.go(0.1)
    assert [*phases, alone.path.phase] == [Phase.IDLE, Phase.SESSION]


async def test_a_session_outlives_a_judgement_that_has_not_seen_the_plug_yet(
    alone: Alone,
) -> None:
    alone.say(GOOD)
    alone.wish = None  # the cable was reported, the commit is under way
    alone.say(PilotState("B", 1000), TESTING, GOOD, SeccHeartbeat(SeccState.NEGOTIATING_CONNECTION))
    alone.say(SeccHeartbeat(SeccState.CHARGING), TRANSFER)
    alone.go(0.3)
    assert alone.path.phase is Phase.SESSION
    assert not alone.output(OutputA.CONTACTORS)
    alone.wish = ENERGY
    alone.go(0.1)
    assert alone.output(OutputA.CONTACTORS)


async def test_nothing_begins_while_the_judgement_is_behind(alone: Alone) -> None:
    alone.wish = NOTHING
    alone.say(GOOD)
    alone.wish = None
    alone.say(PilotState("B", 1000), TESTING, GOOD)
    alone.go(0.3)
    assert alone.path.phase is Phase.IDLE


async def test_a_charge_goes_on_while_the_judgement_is_behind(alone: Alone) -> None:
    alone.charge()
    alone.wish = None
    alone.go(0.3)
    assert alone.path.transferring
    assert alone.output(OutputA.CONTACTORS)
