"""Does a report say what the simulation knows to be true?

`Day` is a world whose whole course is written down here, so that minutes can be compared; the
seeds are worlds with faults, of which the ledger of the CSMS knows what was sold.
`REPORT_SEEDS=500 pytest tests/history/test_report_worlds.py` tries more of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import pytest
import trio

from journal.observations import DeviceFaulted
from station.history.report.gathering import Facts
from station.history.report.page import page
from station.history.report.times import ms_of
from station.messages import decode_request
from station.simulation.agenda import NOON
from station.simulation.cars import Ev
from station.simulation.counterpart import ALICE, BOB
from station.simulation.plans import planned
from station.simulation.trial import Trial
from station.simulation.world import World, shared_memory, simulate
from tests.history.reports import Browser, facts_at

MINUTE: Final = 60
START: Final = ms_of(NOON)
SEEDS: Final = int(os.environ.get("REPORT_SEEDS", "8"))
SLACK_S: Final = 45  # connecting again, and what a dead program had not journaled yet


class Wrong(NamedTuple):
    """A fault, from when to when (seconds)."""

    event: DeviceFaulted
    begins: int
    ends: int


def wrong(evse_id: int, device: str, fault: str, begins: int, ends: int, **more: bool) -> Wrong:
    blocks = more.get("blocks", True)
    event = DeviceFaulted(evse_id, device, fault, blocks, stopped_reason="Other")
    return Wrong(event, begins * MINUTE, ends * MINUTE)


FAULTS: Final = (
    wrong(0, "mains", "lost", 60, 80),
    wrong(1, "contactor", "welded", 100, 110),
    wrong(1, "contactor", "welded", 120, 125),
    wrong(2, "ev", "emergency_stop", 130, 133),
    wrong(2, "module", "fault", 140, 170, blocks=False),
)
SESSIONS: Final = ((1, ALICE, 5, 20), (2, BOB, 10, 40), (1, BOB, 190, 20), (2, ALICE, 330, 25))
LINK_DOWN: Final = (220 * MINUTE, 232 * MINUTE)
CLOSED: Final = (240 * MINUTE, 255 * MINUTE)  # EVSE 1
HOST_DOWN: Final = (270 * MINUTE, 278 * MINUTE)
CLOCK_STEPS: Final = ((300 * MINUTE, 7_200.0), (310 * MINUTE, -86_400.0 * 400))
ENDS: Final = 360 * MINUTE
HEARTBEAT_S: Final = 30
VARIABLES: Final = {
    "OCPPCommCtrlr.RetryBackOffWaitMinimum": "1",
    "OCPPCommCtrlr.RetryBackOffRepeatTimes": "0",
    "OCPPCommCtrlr.RetryBackOffRandomRange": "0",
}


class Day:
    """Six hours with everything in it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.world: World
        self.cars_wh: dict[int, Decimal] = {}

    async def main(self) -> None:
        """Needs trio's loop."""
        world = self.world = World(self._directory, seed=1, variables=VARIABLES)
        await world.run(self._course)

    async def _course(self) -> None:
        world, after = self.world, self.world.agenda.after
        world.csms.double.heartbeat_s = HEARTBEAT_S
        before = {evse_id: bay.energy_wh for evse_id, bay in world.bays.items()}
        for one in FAULTS:
            after(one.begins, partial(self._trouble, one.event, True))
            after(one.ends, partial(self._trouble, one.event, False))
        for evse_id, who, minute, stays in SESSIONS:
            ev = Ev(needs_wh=Decimal(90_000), power_w=60_000)
            after(minute * MINUTE, partial(world.session, evse_id, who, ev, stays * MINUTE))
        after(LINK_DOWN[0], partial(world.lines.switch, "down"))
        after(LINK_DOWN[1], partial(world.lines.switch, "up"))
        after(CLOSED[0], partial(self._changes, "Inoperative"))
        after(CLOSED[1], partial(self._changes, "Operative"))
        after(HOST_DOWN[0], self._dies)
        for at, step_s in CLOCK_STEPS:
            after(at, partial(world.clock.step, step_s))
        await trio.sleep(ENDS)
        self.cars_wh = {one: bay.energy_wh - before[one] for one, bay in world.bays.items()}

    def _trouble(self, event: DeviceFaulted, begins: bool) -> None:
        act: Callable[[DeviceFaulted], None]
        act = self.world.trouble.begins if begins else self.world.trouble.ends
        act(event)
        for bay in self.world.bays.values():
            bay.changed()

    def _changes(self, status: str) -> None:
        payload = {"operationalStatus": status, "evse": {"id": 1}}
        self.world.csms.ask(decode_request("ChangeAvailability", json.dumps(payload).encode()))

    def _dies(self) -> None:
        assert self.world.life is not None
        self.world.gap_s, self.world.host_dies = HOST_DOWN[1] - HOST_DOWN[0], True
        self.world.life.die()


def journal_in(directory: Path) -> Path:
    """Of the life that ended last."""
    return max(directory.glob("*/journal.db"), key=lambda path: int(path.parent.name))


@pytest.fixture
def quick() -> Iterator[Path]:
    """A directory where files are fast: nothing in it survives a power cut."""
    with TemporaryDirectory(dir=shared_memory(), prefix="report-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def day() -> tuple[Day, Facts]:
    with TemporaryDirectory(dir=shared_memory(), prefix="report-") as directory:
        lived = Day(Path(directory))
        simulate(lived.main, seed=1)
        lived.world.ended().close()
        return lived, facts_at(journal_in(Path(directory)))


# --- A day ---------------------------------------------------------------------------------------


def seconds(ms: int) -> float:
    return ms / 1000


def blocked_s(evse_id: int) -> int:
    """How long faults kept an EVSE from charging."""
    return sum(one.ends - one.begins for one in FAULTS
               if one.event.blocks and one.event.evse_id in (0, evse_id))  # fmt: skip


def test_minutes_of_outage_are_those_of_the_course(day: tuple[Day, Facts]) -> None:
    _, facts = day
    for evse_id, one in facts.uptimes.items():
        assert abs(seconds(one.states["faulted"]) - blocked_s(evse_id)) < 1
        for state, (begins, ends), which in (
            ("offline", LINK_DOWN, (1, 2)), ("closed", CLOSED, (1,)), ("down", HOST_DOWN, (1, 2)),
        ):  # fmt: skip
            expected = ends - begins if evse_id in which else 0
            found = seconds(one.states[state])  # type: ignore[index]
            assert 0 <= found - expected < SLACK_S, (evse_id, state, found)
        known = blocked_s(evse_id) + LINK_DOWN[1] - LINK_DOWN[0] + HOST_DOWN[1] - HOST_DOWN[0]
        known += (CLOSED[1] - CLOSED[0]) * (evse_id == 1)
        assert 0 <= seconds(one.total.outage) - known < 2 * SLACK_S
        assert abs(seconds(one.total.whole) - ENDS) < SLACK_S


def test_excluded_minutes_are_those_of_the_mains_and_of_the_car(day: tuple[Day, Facts]) -> None:
    _, facts = day
    mains, car = 20 * MINUTE, 3 * MINUTE
    assert seconds(facts.uptimes[1].total.excluded) == mains
    assert seconds(facts.uptimes[2].total.excluded) == mains + car
    for one in facts.uptimes.values():
        listed = list(one.excluded)
        assert sum(outage.ms for outage in listed) == one.total.excluded
        assert all(outage.causes and outage.ended_seq for outage in listed), "each is proven"
    claimable = seconds(facts.uptimes[1].total.claimable)
    maintained = CLOSED[1] - CLOSED[0] + HOST_DOWN[1] - HOST_DOWN[0]
    assert 0 <= claimable - maintained < 2 * SLACK_S


def test_faults_are_those_of_the_course_at_their_times(day: tuple[Day, Facts]) -> None:
    _, facts = day
    kinds = {(one.evse_id, one.device, one.fault): one for one in facts.troubles}
    assert set(kinds) == {(one.event.evse_id, one.event.device, one.event.fault) for one in FAULTS}
    for key, kind in kinds.items():
        known = [one for one in FAULTS
                 if (one.event.evse_id, one.event.device, one.event.fault) == key]  # fmt: skip
        assert kind.count == len(known)
        assert abs(seconds(kind.total_ms) - sum(one.ends - one.begins for one in known)) < 1
        for seen, one in zip(kind.recent, known, strict=True):
            assert abs(seconds(seen.began - START) - one.begins) < 1
    welded = kinds[1, "contactor", "welded"].between_ms(facts.whole_ms)
    assert welded is not None
    assert abs(seconds(welded) - (ENDS - 15 * MINUTE) / 2) < SLACK_S


def test_sessions_and_energy_are_those_of_the_cars_and_of_the_csms(day: tuple[Day, Facts]) -> None:
    lived, facts = day
    accounts = lived.world.csms.double.ledger.accounts
    told = {one.session.transaction_id: one for one in facts.visits}
    assert set(told) == set(accounts)
    assert len(told) == len(SESSIONS)
    for name, one in told.items():
        assert one.energy_wh == accounts[name].energy_wh
    assert facts.visits.energy_wh == sum(lived.cars_wh.values())


def test_moments_are_true_though_the_clock_was_not(day: tuple[Day, Facts]) -> None:
    _, facts = day
    assert [one.step_ms for one in facts.clock if one.source == "the host's"] == [
        pytest.approx(step_s * 1000, abs=5) for _, step_s in CLOCK_STEPS
    ]
    last = max(facts.visits, key=lambda one: one.session.started_at)
    begun = seconds(ms_of(last.session.started_at) - START)
    assert 0 <= begun - SESSIONS[-1][2] * MINUTE < 15
    assert abs(seconds(facts.until - START) - ENDS) < SLACK_S


def test_the_starts_are_those_of_the_lives(day: tuple[Day, Facts]) -> None:
    lived, facts = day
    assert facts.starts_count == lived.world.lives == 2
    assert facts.starts[-1].why == "the host lost its supply or was rebooted"
    assert facts.starts[-1].gap_ms is not None
    assert 0 <= seconds(facts.starts[-1].gap_ms) - (HOST_DOWN[1] - HOST_DOWN[0]) < SLACK_S


def test_the_page_of_the_day_is_sound(day: tuple[Day, Facts]) -> None:
    _, facts = day
    assert Browser(page(facts)).complaints == []


# --- Worlds with faults --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_world_with_faults_is_told_as_the_csms_heard_of_it(seed: int, quick: Path) -> None:
    print("seed", seed)
    trial = Trial(planned(seed), quick)
    simulate(trial.main, seed)
    trial.world.ended().close()
    facts = facts_at(journal_in(quick))
    accounts = trial.world.csms.double.ledger.accounts
    told = {one.session.transaction_id: one for one in facts.visits}
    assert set(told) == set(accounts)
    for name, one in told.items():
        assert one.over
        if accounts[name].energy_wh is not None:
            assert one.energy_wh == accounts[name].energy_wh, name
    assert facts.complaints == []
    assert 1 <= facts.starts_count <= trial.world.lives, "some died before their first commit"
    assert not facts.unconfirmed
    for account in facts.uptimes.values():
        total = account.total
        assert sum(account.states.values()) == total.whole == facts.until - facts.since
        assert 0 <= total.excluded + total.claimable <= total.outage <= total.whole
        listed = [*account.excluded, *account.counted]
        assert sum(one.ms for one in listed) == total.outage
    made = page(facts)
    assert Browser(made).complaints == []
    assert page(facts_at(journal_in(quick))) == made
