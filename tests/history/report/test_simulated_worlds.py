"""Does a report say what the simulation knows to be true?

`Day` is a world whose whole course is written down here, so that minutes can be compared; the
seeds are worlds with faults, of which the ledger of the CSMS knows what was sold.
`REPORT_SEEDS=500 pytest tests/history/report/test_simulated_worlds.py` tries more of them.
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
from station.history.report.clock_corrections import datetime_to_ms
from station.history.report.collect import ReportData
from station.history.report.page import render_page
from station.ocpp.messages import decode_request
from station.simulation.event_queue import START_TIME
from station.simulation.evse_double import SimulatedEv
from station.simulation.faulty_csms import ALICE, BOB
from station.simulation.run_plan import PlanRun
from station.simulation.seeds import make_plan
from station.simulation.world import SimulatedWorld, run_simulation, shared_memory_directory
from tests.history.report.fixtures_report import PageChecker, report_facts_at

MINUTE: Final = 60
START: Final = datetime_to_ms(START_TIME)
SEEDS: Final = int(os.environ.get("REPORT_SEEDS", "8"))
SLACK_S: Final = 45  # connecting again, and what a dead program had not journaled yet


class TimedFault(NamedTuple):
    """A fault, from when to when (seconds)."""

    event: DeviceFaulted
    begins: int
    ends: int


def timed_fault(
    evse_id: int, device: str, fault: str, begins: int, ends: int, **more: bool
) -> TimedFault:
    blocks = more.get("blocks", True)
    event = DeviceFaulted(evse_id, device, fault, blocks, stopped_reason="Other")
    return TimedFault(event, begins * MINUTE, ends * MINUTE)


FAULTS: Final = (
    timed_fault(0, "mains", "lost", 60, 80),
    timed_fault(1, "contactor", "welded", 100, 110),
    timed_fault(1, "contactor", "welded", 120, 125),
    timed_fault(2, "ev", "emergency_stop", 130, 133),
    timed_fault(2, "module", "fault", 140, 170, blocks=False),
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


class SimulatedDay:
    """Six hours with everything in it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.world: SimulatedWorld
        self.cars_wh: dict[int, Decimal] = {}

    async def main(self) -> None:
        """Needs trio's loop."""
        world = self.world = SimulatedWorld(self._directory, seed=1, variables=VARIABLES)
        await world.run(self._run_schedule)

    async def _run_schedule(self) -> None:
        world, after = self.world, self.world.event_queue.run_after
        world.csms.double.heartbeat_interval_s = HEARTBEAT_S
        before = {evse_id: bay.energy_wh for evse_id, bay in world.evses.items()}
        for one in FAULTS:
            after(one.begins, partial(self._set_fault, one.event, True))
            after(one.ends, partial(self._set_fault, one.event, False))
        for evse_id, who, minute, stays in SESSIONS:
            ev = SimulatedEv(energy_needed_wh=Decimal(90_000), power_w=60_000)
            after(
                minute * MINUTE, partial(world.schedule_session, evse_id, who, ev, stays * MINUTE)
            )
        after(LINK_DOWN[0], partial(world.network.switch_mode, "down"))
        after(LINK_DOWN[1], partial(world.network.switch_mode, "up"))
        after(CLOSED[0], partial(self._change_availability, "Inoperative"))
        after(CLOSED[1], partial(self._change_availability, "Operative"))
        after(HOST_DOWN[0], self._kill_station)
        for at, step_s in CLOCK_STEPS:
            after(at, partial(world.clock.step_wall_clock, step_s))
        await trio.sleep(ENDS)
        self.cars_wh = {one: bay.energy_wh - before[one] for one, bay in world.evses.items()}

    def _set_fault(self, event: DeviceFaulted, begins: bool) -> None:
        act: Callable[[DeviceFaulted], None]
        act = self.world.device_faults.add_fault if begins else self.world.device_faults.clear_fault
        act(event)
        for bay in self.world.evses.values():
            bay.on_change()

    def _change_availability(self, status: str) -> None:
        payload = {"operationalStatus": status, "evse": {"id": 1}}
        self.world.csms.send_request(
            decode_request("ChangeAvailability", json.dumps(payload).encode())
        )

    def _kill_station(self) -> None:
        assert self.world.process is not None
        self.world.restart_gap_s, self.world.host_reboot_pending = HOST_DOWN[1] - HOST_DOWN[0], True
        self.world.process.kill()


def journal_in(directory: Path) -> Path:
    """Of the life that ended last."""
    return max(directory.glob("*/journal.db"), key=lambda path: int(path.parent.name))


@pytest.fixture
def fast_directory() -> Iterator[Path]:
    """A directory where files are fast: nothing in it survives a power cut."""
    with TemporaryDirectory(dir=shared_memory_directory(), prefix="report-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def reported_day() -> tuple[SimulatedDay, ReportData]:
    with TemporaryDirectory(dir=shared_memory_directory(), prefix="report-") as directory:
        lived = SimulatedDay(Path(directory))
        run_simulation(lived.main, seed=1)
        lived.world.open_final_journal().close()
        return lived, report_facts_at(journal_in(Path(directory)))


# --- A day ---------------------------------------------------------------------------------------


def ms_to_s(ms: int) -> float:
    return ms / 1000


def blocked_time_s(evse_id: int) -> int:
    """How long faults kept an EVSE from charging."""
    return sum(one.ends - one.begins for one in FAULTS
               if one.event.blocks_charging and one.event.evse_id in (0, evse_id))  # fmt: skip


def test_minutes_of_outage_are_those_of_the_course(
    reported_day: tuple[SimulatedDay, ReportData],
) -> None:
    _, facts = reported_day
    for evse_id, one in facts.uptimes.items():
        assert abs(ms_to_s(one.ms_by_state["faulted"]) - blocked_time_s(evse_id)) < 1
        for state, (begins, ends), which in (
            ("offline", LINK_DOWN, (1, 2)), ("out_of_service", CLOSED, (1,)),
            ("not_running", HOST_DOWN, (1, 2)),
        ):  # fmt: skip
            expected = ends - begins if evse_id in which else 0
            found = ms_to_s(one.ms_by_state[state])  # type: ignore[index]
            assert 0 <= found - expected < SLACK_S, (evse_id, state, found)
        known = blocked_time_s(evse_id) + LINK_DOWN[1] - LINK_DOWN[0] + HOST_DOWN[1] - HOST_DOWN[0]
        known += (CLOSED[1] - CLOSED[0]) * (evse_id == 1)
        assert 0 <= ms_to_s(one.total.outage_ms) - known < 2 * SLACK_S
        assert abs(ms_to_s(one.total.whole_ms) - ENDS) < SLACK_S


def test_excluded_minutes_are_those_of_the_mains_and_of_the_car(
    reported_day: tuple[SimulatedDay, ReportData],
) -> None:
    _, facts = reported_day
    mains, car = 20 * MINUTE, 3 * MINUTE
    assert ms_to_s(facts.uptimes[1].total.excluded_ms) == mains
    assert ms_to_s(facts.uptimes[2].total.excluded_ms) == mains + car
    for one in facts.uptimes.values():
        listed = list(one.excluded_outages)
        assert sum(outage.duration_ms for outage in listed) == one.total.excluded_ms
        assert all(outage.causes and outage.ended_seq for outage in listed), "each is proven"
    claimable = ms_to_s(facts.uptimes[1].total.claimable_ms)
    maintained = CLOSED[1] - CLOSED[0] + HOST_DOWN[1] - HOST_DOWN[0]
    assert 0 <= claimable - maintained < 2 * SLACK_S


def test_faults_are_those_of_the_course_at_their_times(
    reported_day: tuple[SimulatedDay, ReportData],
) -> None:
    _, facts = reported_day
    kinds = {(one.evse_id, one.device, one.fault): one for one in facts.fault_statistics}
    assert set(kinds) == {(one.event.evse_id, one.event.device, one.event.fault) for one in FAULTS}
    for key, kind in kinds.items():
        known = [one for one in FAULTS
                 if (one.event.evse_id, one.event.device, one.event.fault) == key]  # fmt: skip
        assert kind.count == len(known)
        assert abs(ms_to_s(kind.total_ms) - sum(one.ends - one.begins for one in known)) < 1
        for seen, one in zip(kind.recent, known, strict=True):
            assert abs(ms_to_s(seen.began_ms - START) - one.begins) < 1
    welded = kinds[1, "contactor", "welded"].mean_between_ms(facts.duration_ms)
    assert welded is not None
    assert abs(ms_to_s(welded) - (ENDS - 15 * MINUTE) / 2) < SLACK_S


def test_sessions_and_energy_are_those_of_the_cars_and_of_the_csms(
    reported_day: tuple[SimulatedDay, ReportData],
) -> None:
    lived, facts = reported_day
    accounts = lived.world.csms.double.ledger.transactions
    told = {one.record.transaction_id: one for one in facts.sessions}
    assert set(told) == set(accounts)
    assert len(told) == len(SESSIONS)
    for name, one in told.items():
        assert one.energy_wh == accounts[name].energy_wh
    assert facts.sessions.energy_wh == sum(lived.cars_wh.values())


def test_moments_are_true_though_the_clock_was_not(
    reported_day: tuple[SimulatedDay, ReportData],
) -> None:
    _, facts = reported_day
    assert [one.step_ms for one in facts.clock_changes if one.source == "host"] == [
        pytest.approx(step_s * 1000, abs=5) for _, step_s in CLOCK_STEPS
    ]
    last = max(facts.sessions, key=lambda one: one.record.started_at)
    begun = ms_to_s(datetime_to_ms(last.record.started_at) - START)
    assert 0 <= begun - SESSIONS[-1][2] * MINUTE < 15
    assert abs(ms_to_s(facts.until_ms - START) - ENDS) < SLACK_S


def test_the_starts_are_those_of_the_lives(reported_day: tuple[SimulatedDay, ReportData]) -> None:
    lived, facts = reported_day
    assert facts.starts_count == lived.world.process_starts == 2
    assert facts.starts[-1].cause == "the host lost its power supply or was rebooted"
    assert facts.starts[-1].gap_ms is not None
    assert 0 <= ms_to_s(facts.starts[-1].gap_ms) - (HOST_DOWN[1] - HOST_DOWN[0]) < SLACK_S


def test_the_page_of_the_day_is_sound(reported_day: tuple[SimulatedDay, ReportData]) -> None:
    _, facts = reported_day
    assert PageChecker(render_page(facts)).complaints == []


# --- Worlds with faults --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_world_with_faults_is_told_as_the_csms_heard_of_it(
    seed: int, fast_directory: Path
) -> None:
    print("seed", seed)
    trial = PlanRun(make_plan(seed), fast_directory)
    run_simulation(trial.run_world, seed)
    trial.world.open_final_journal().close()
    facts = report_facts_at(journal_in(fast_directory))
    accounts = trial.world.csms.double.ledger.transactions
    told = {one.record.transaction_id: one for one in facts.sessions}
    assert set(told) == set(accounts)
    for name, one in told.items():
        assert one.has_ended
        if accounts[name].energy_wh is not None:
            assert one.energy_wh == accounts[name].energy_wh, name
    assert facts.problems == []
    assert 1 <= facts.starts_count <= trial.world.process_starts, (
        "some died before their first commit"
    )
    assert not facts.unconfirmed_calls
    for account in facts.uptimes.values():
        total = account.total
        assert (
            sum(account.ms_by_state.values()) == total.whole_ms == facts.until_ms - facts.since_ms
        )
        assert 0 <= total.excluded_ms + total.claimable_ms <= total.outage_ms <= total.whole_ms
        listed = [*account.excluded_outages, *account.counted_outages]
        assert sum(outage.duration_ms for outage in listed) == total.outage_ms
    made = render_page(facts)
    assert PageChecker(made).complaints == []
    assert render_page(report_facts_at(journal_in(fast_directory))) == made
