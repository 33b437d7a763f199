"""A fault of ours in one entry: it is noted, nobody new is let in, and nothing crash-loops. P8."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import trio

from journal.observations import FlowReported, StationStarted, StopPressed
from journal.projections import hardware, readings
from journal.projections.condition import JudgementFailed
from journal.state import evolve, folded
from journal.terms import Decision, Entry
from station import decide
from station import wanted as wanted_module
from station.blocks.standing import REST_MS
from station.case import Case
from station.simulation.cars import Ev
from station.simulation.counterpart import ALICE as ALICES_UID
from station.simulation.world import World, simulate
from station.wanted import FAILED_WAKE_MS
from tests.damage.worlds import QUICK, Ear
from tests.story import (
    BOB,
    ONLINE,
    Station,
    accepting,
    after,
    discharged,
    given,
    in_transaction,
    of_kind,
    plugged,
    presented,
    statuses,
    told,
    unplugged,
)


def poisonous(case: Case) -> Iterator[Decision]:
    """Fails for whoever presses the stop button of EVSE 2."""
    if isinstance(case.entry.event, StopPressed) and case.entry.event.evse_id == 2:
        raise KeyError("poison")
    yield from ()


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "RULES", (poisonous, *decide.RULES))


def faulty(*steps: object) -> Station:
    station = given(*steps)  # type: ignore[arg-type]
    station.checks.faultless = False
    return station


def test_a_rule_that_fails_is_an_entry_and_the_other_rules_go_on(poison: None) -> None:
    station = faulty(ONLINE, in_transaction(1))
    said = station.when(StopPressed(2))
    [failed] = of_kind(said, JudgementFailed)
    assert failed == JudgementFailed("test_faults_of_ours.poisonous", "KeyError")
    assert statuses(said) == [(2, "Faulted")]


def test_nobody_new_is_let_in_and_what_runs_goes_on(poison: None) -> None:
    station = faulty(ONLINE, in_transaction(1))
    station.with_csms(accepting, StopPressed(2))
    assert station.level.evses[0].energy
    assert station.level.evses[1].words == "Out of order"
    said = station.with_csms(accepting, presented(BOB, evse_id=2), plugged(2))
    assert told(said) == []
    station.with_csms(accepting, StopPressed(1))
    assert not station.level.evses[0].energy
    said = station.with_csms(accepting, discharged(1))
    assert told(said)[-1][0] == "Ended"


def test_after_a_rest_without_another_fault_it_is_trusted_again(poison: None) -> None:
    station = faulty(ONLINE)
    station.with_csms(accepting, StopPressed(2))
    said = station.with_csms(accepting, after(seconds=REST_MS / 1000 + 1))
    assert {(1, "Available"), (2, "Available")} <= set(statuses(said))
    said = station.with_csms(accepting, plugged(2), presented(BOB, evse_id=2))
    assert told(said)[0][0] == "Started"


def test_a_rule_that_fails_at_a_deadline_does_not_ring_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(case: Case) -> Iterator[Decision]:
        raise ZeroDivisionError
        yield

    station = faulty(ONLINE, in_transaction(1))
    monkeypatch.setattr(decide, "RULES", (fails,))
    before = len(station.entries)
    station.when(after(seconds=600))
    deadlines = 600_000 // FAILED_WAKE_MS + 2
    assert len(station.entries) - before <= 2 * deadlines


def test_an_entry_that_a_projection_cannot_take_in_changes_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = hardware.Hardware.after

    def after_of(self: hardware.Hardware, entry: Entry) -> hardware.Hardware:
        assert not (isinstance(entry.event, FlowReported) and entry.event.evse_id == 2), "poison"
        return before(self, entry)

    station = given(ONLINE)
    monkeypatch.setattr(hardware.Hardware, "after", after_of)
    seq = station.entries[-1].seq + 1
    entry = Entry(seq, station.at, station.uptime_ms, FlowReported(2, "charging"))
    state = evolve(station.state, entry)
    assert state.hardware is station.state.hardware
    [stumble] = state.condition.stumbles
    assert (stumble.seq, stumble.projection, stumble.fault) == (seq, "Hardware", "AssertionError")
    assert folded(station.state, [entry]) == state, "and replay gives the same"


def test_a_fault_at_a_start_is_remembered_although_a_start_forgets_the_ones_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(self: hardware.Hardware, entry: Entry) -> hardware.Hardware:
        raise LookupError

    station = given(ONLINE)
    monkeypatch.setattr(hardware.Hardware, "after", fails)
    started = StationStarted("boot", "1", "development", "CS001", (), None, None)
    entry = Entry(station.entries[-1].seq + 1, station.at, station.uptime_ms, started)
    state = evolve(station.state, entry)
    assert [one.seq for one in state.condition.stumbles] == [entry.seq]
    assert state.condition.failed == "Hardware"
    assert folded(station.state, [entry]) == state, "and replay gives the same"


def test_a_level_that_cannot_be_told_is_the_one_that_harms_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(case: Case, evse_id: int) -> str:
        raise AttributeError("nothing")

    station = faulty(ONLINE, in_transaction(1))
    assert station.level.evses[0].energy
    monkeypatch.setattr(wanted_module, "_words", fails)
    station.when(unplugged(2))
    level = station.level
    assert level.failed == "AttributeError: nothing"
    assert [(one.energy, one.words) for one in level.evses] == [(False, "Out of order")] * 2
    assert level.link.candidates, "the CSMS is still answered"


def test_a_poisonous_observation_does_not_end_the_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, poison: None
) -> None:
    world: World

    async def script() -> None:
        world.session(1, ALICES_UID, Ev(needs_wh=Decimal(9_000)), 60)
        await trio.sleep(30)
        for _ in range(5):
            world.stop_button(2)
            await trio.sleep(1)
        await trio.sleep(60)
        assert world.lives == 1
        life = world.life
        assert life is not None
        failed = [one for one in life.store.entries() if isinstance(one.event, JudgementFailed)]
        assert len(failed) == 5
        [account] = world.csms.double.ledger.accounts.values()
        assert account.closed
        assert account.complaints() == []

    async def main() -> None:
        nonlocal world
        world = World(tmp_path, seed=4, watcher=Ear(), variables=QUICK)
        await world.run(script)

    simulate(main, 4)


def test_a_poisonous_entry_in_the_journal_does_not_stop_the_next_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = readings.Readings.after
    world: World

    def after_of(self: readings.Readings, entry: Entry) -> readings.Readings:
        assert entry.seq != 12, "poison"
        return before(self, entry)

    async def script() -> None:
        world.session(1, ALICES_UID, Ev(needs_wh=Decimal(9_000)), 60)
        await trio.sleep(30)
        assert world.life is not None
        monkeypatch.setattr(readings.Readings, "after", after_of)
        world.life.die()
        await trio.sleep(120)
        assert world.lives == 2
        [account] = world.csms.double.ledger.accounts.values()
        assert account.closed

    async def main() -> None:
        nonlocal world
        world = World(tmp_path, seed=5, watcher=Ear(), variables=QUICK)
        await world.run(script)

    simulate(main, 5)
