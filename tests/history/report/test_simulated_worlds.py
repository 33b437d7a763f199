"""Reports of simulated worlds, compared with what the simulation knows.

`SimulatedDay` has a fixed schedule, so minutes can be compared. The seeds are worlds with random
faults; the CSMS's ledger has their transactions and energies.
`REPORT_SEEDS=500 pytest tests/history/report/test_simulated_worlds.py` runs more of them.
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
    """A fault with begin and end in seconds."""

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
    """Six hours with sessions, faults, a lost link, a host reboot and clock steps."""

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
        for fault in FAULTS:
            after(fault.begins, partial(self._set_fault, fault.event, True))
            after(fault.ends, partial(self._set_fault, fault.event, False))
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
        self.cars_wh = {item: bay.energy_wh - before[item] for item, bay in world.evses.items()}

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
    """The journal of the last station process."""
    return max(directory.glob("*/journal.db"), key=lambda path: int(path.parent.name))


@pytest.fixture
def fast_directory() -> Iterator[Path]:
    """A directory in memory."""
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
    """How long faults blocked charging on an EVSE."""
    return sum(fault.ends - fault.begins for fault in FAULTS
               if fault.event.blocks_charging and fault.event.evse_id in (0, evse_id))  # fmt: skip


def test_outage_minutes_equal_those_of_the_schedule(
    reported_day: tuple[SimulatedDay, ReportData],
) -> None:
    _, facts = reported_day
    for evse_id, uptime in facts.uptimes.items():
        assert abs(ms_to_s(uptime.ms_by_state["faulted"]) - blocked_time_s(evse_id)) < 1
        for state, (begins, ends), which in (
            ("offline", LINK_DOWN, (1, 2)), ("out_of_service", CLOSED, (1,)),
            ("not_running", HOST_DOWN, (1, 2)),
        ):  # fmt: skip
            expected = ends - begins if evse_id in which else 0
            actual = ms_to_s(uptime.ms_by_state[state])  # type: ignore[index]
            assert abs(actual - expected) < SLACK_S, (evse_id, state, actual)
        known = blocked_time_s(evse_id) + LINK_DOWN[1] - LINK_DOWN[0] + HOST_DOWN[1] - HOST_DOWN[0]
        known += (CLOSED[1] - CLOSED[0]) * (evse_id == 1)
        assert abs(ms_to_s(uptime.total.outage_ms) - known) < 2 * SLACK_S
        assert abs(ms_to_s(uptime.total.whole_ms) - ENDS) < SLACK_S


def test_excluded_minutes_equal_those_of_mains_and_vehicle_faults(
    reported_day: tuple[SimulatedDay, ReportData],
) -> None:
    _, facts = reported_day
    mains, car = 20 * MINUTE, 3 * MINUTE
    assert ms_to_s(facts.uptimes[1].total.excluded_ms) == mains
    assert ms_to_s(facts.uptimes[2].total.excluded_ms) == mains + car
    for uptime in facts.uptimes.values():
        listed = list(uptime.excluded_outages)
        assert sum(outage.duration_ms for outage in listed) == uptime.total.excluded_ms
        assert all(outage.causes and outage.ended_seq for outage in listed), (
            "every excluded outage has evidence"
        )
    claimable = ms_to_s(facts.uptimes[1].total.claimable_ms)
    maintained = CLOSED[1] - CLOSED[0] + HOST_DOWN[1] - HOST_DOWN[0]
    assert 0 <= claimable - maintained < 2 * SLACK_S


def test_faults_equal_those_of_the_schedule_with_their_times(
    reported_day: tuple[SimulatedDay, ReportData],
) -> None:
    _, facts = reported_day
    kinds = {(kind.evse_id, kind.device, kind.fault): kind for kind in facts.fault_statistics}
    assert set(kinds) == {
        (fault.event.evse_id, fault.event.device, fault.event.fault) for fault in FAULTS
    }
    for key, kind in kinds.items():
        known = [
            fault
            for fault in FAULTS
            if (fault.event.evse_id, fault.event.device, fault.event.fault) == key
        ]
        assert kind.count == len(known)
        assert abs(ms_to_s(kind.total_ms) - sum(fault.ends - fault.begins for fault in known)) < 1
        for occurrence, fault in zip(kind.recent, known, strict=True):
            assert abs(ms_to_s(occurrence.began_ms - START) - fault.begins) < 1
    welded = kinds[1, "contactor", "welded"].mean_between_ms(facts.duration_ms)
    assert welded is not None
    assert abs(ms_to_s(welded) - (ENDS - 15 * MINUTE) / 2) < SLACK_S


def test_sessions_and_energies_equal_those_of_the_evs_and_the_csms(
    reported_day: tuple[SimulatedDay, ReportData],
) -> None:
    lived, facts = reported_day
    accounts = lived.world.csms.double.ledger.transactions
    sessions_by_id = {session.record.transaction_id: session for session in facts.sessions}
    assert set(sessions_by_id) == set(accounts)
    assert len(sessions_by_id) == len(SESSIONS)
    for transaction_id, session in sessions_by_id.items():
        assert session.energy_wh == accounts[transaction_id].energy_wh
    assert facts.sessions.energy_wh == sum(lived.cars_wh.values())


def test_corrected_times_are_right_with_a_wrong_clock(
    reported_day: tuple[SimulatedDay, ReportData],
) -> None:
    _, facts = reported_day
    assert [change.step_ms for change in facts.clock_changes if change.source == "host"] == [
        pytest.approx(step_s * 1000, abs=5) for _, step_s in CLOCK_STEPS
    ]
    last = max(facts.sessions, key=lambda item: item.record.started_at)
    begun = ms_to_s(datetime_to_ms(last.record.started_at) - START)
    assert 0 <= begun - SESSIONS[-1][2] * MINUTE < 15
    assert abs(ms_to_s(facts.until_ms - START) - ENDS) < SLACK_S


def test_starts_equal_those_of_the_station_processes(
    reported_day: tuple[SimulatedDay, ReportData],
) -> None:
    lived, facts = reported_day
    assert facts.starts_count == lived.world.process_starts == 2
    assert facts.starts[-1].cause == "the host lost its power supply or was rebooted"
    assert facts.starts[-1].gap_ms is not None
    assert 0 <= ms_to_s(facts.starts[-1].gap_ms) - (HOST_DOWN[1] - HOST_DOWN[0]) < SLACK_S


def test_the_page_of_the_day_is_well_formed(reported_day: tuple[SimulatedDay, ReportData]) -> None:
    _, facts = reported_day
    assert PageChecker(render_page(facts)).complaints == []


# --- Worlds with faults --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_report_of_a_world_with_faults_equals_the_ledger_of_the_csms(
    seed: int, fast_directory: Path
) -> None:
    print("seed", seed)
    trial = PlanRun(make_plan(seed), fast_directory)
    run_simulation(trial.run_world, seed)
    trial.world.open_final_journal().close()
    facts = report_facts_at(journal_in(fast_directory))
    accounts = trial.world.csms.double.ledger.transactions
    sessions_by_id = {session.record.transaction_id: session for session in facts.sessions}
    assert set(sessions_by_id) == set(accounts)
    for transaction_id, session in sessions_by_id.items():
        assert session.has_ended
        if accounts[transaction_id].energy_wh is not None:
            assert session.energy_wh == accounts[transaction_id].energy_wh, transaction_id
    assert facts.problems == []
    assert 1 <= facts.starts_count <= trial.world.process_starts, (
        "some processes were killed before their first commit"
    )
    assert not facts.unconfirmed_calls
    for uptime in facts.uptimes.values():
        total = uptime.total
        assert sum(uptime.ms_by_state.values()) == total.whole_ms == facts.until_ms - facts.since_ms
        assert 0 <= total.excluded_ms + total.claimable_ms <= total.outage_ms <= total.whole_ms
        listed = [*uptime.excluded_outages, *uptime.counted_outages]
        assert sum(outage.duration_ms for outage in listed) == total.outage_ms
    made = render_page(facts)
    assert PageChecker(made).complaints == []
    assert render_page(report_facts_at(journal_in(fast_directory))) == made
