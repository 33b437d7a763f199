"""A fault of ours in one entry: it is noted, nobody new is let in, and nothing crash-loops. P8."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import trio

from journal.events import Decision, Entry
from journal.observations import EnergyFlowReported, StationStarted, StopButtonPressed
from journal.projections import evses, readings
from journal.projections.station_health import RuleFailed
from journal.state import apply_entries, apply_entry
from station.core import decide
from station.core import desired as wanted_module
from station.core.context import Context
from station.core.desired import FAILED_RETRY_MS
from station.core.evse_status import OUT_OF_ORDER_MS
from station.simulation.evse_double import SimulatedEv
from station.simulation.faulty_csms import ALICE as ALICES_UID
from station.simulation.world import SimulatedWorld, run_simulation
from tests.durability.damage.worlds import FAST_RETRIES, SecurityEventWatcher
from tests.support.story import (
    BOB,
    ONLINE,
    Station,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    charging_stopped,
    connector_statuses,
    event_triggers,
    given,
    in_transaction,
    of_kind,
    presented,
    time_passed,
)


def failing_rule(ctx: Context) -> Iterator[Decision]:
    """Fails for whoever presses the stop button of EVSE 2."""
    if isinstance(ctx.entry.event, StopButtonPressed) and ctx.entry.event.evse_id == 2:
        raise KeyError("poison")
    yield from ()


@pytest.fixture
def install_failing_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "RULES", (failing_rule, *decide.RULES))


def station_with_fault(*steps: object) -> Station:
    station = given(*steps)  # type: ignore[arg-type]
    station.checks.expect_no_failures = False
    return station


def test_a_rule_that_fails_is_an_entry_and_the_other_rules_go_on(
    install_failing_rule: None,
) -> None:
    station = station_with_fault(ONLINE, in_transaction(1))
    said = station.when(StopButtonPressed(2))
    [failed] = of_kind(said, RuleFailed)
    assert failed == RuleFailed("test_faults_of_ours.poisonous", "KeyError")
    assert connector_statuses(said) == [(2, "Faulted")]


def test_nobody_new_is_let_in_and_what_runs_goes_on(install_failing_rule: None) -> None:
    station = station_with_fault(ONLINE, in_transaction(1))
    station.with_csms(accept_everything, StopButtonPressed(2))
    assert station.desired.evses[0].energy_allowed
    assert station.desired.evses[1].display_text == "Out of order"
    said = station.with_csms(accept_everything, presented(BOB, evse_id=2), cable_plugged(2))
    assert event_triggers(said) == []
    station.with_csms(accept_everything, StopButtonPressed(1))
    assert not station.desired.evses[0].energy_allowed
    said = station.with_csms(accept_everything, charging_stopped(1))
    assert event_triggers(said)[-1][0] == "Ended"


def test_after_a_rest_without_another_fault_it_is_trusted_again(install_failing_rule: None) -> None:
    station = station_with_fault(ONLINE)
    station.with_csms(accept_everything, StopButtonPressed(2))
    said = station.with_csms(accept_everything, time_passed(seconds=OUT_OF_ORDER_MS / 1000 + 1))
    assert {(1, "Available"), (2, "Available")} <= set(connector_statuses(said))
    said = station.with_csms(accept_everything, cable_plugged(2), presented(BOB, evse_id=2))
    assert event_triggers(said)[0][0] == "Started"


def test_a_rule_that_fails_at_a_deadline_does_not_ring_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(ctx: Context) -> Iterator[Decision]:
        raise ZeroDivisionError
        yield

    station = station_with_fault(ONLINE, in_transaction(1))
    monkeypatch.setattr(decide, "RULES", (fails,))
    before = len(station.entries)
    station.when(time_passed(seconds=600))
    deadlines = 600_000 // FAILED_RETRY_MS + 2
    assert len(station.entries) - before <= 2 * deadlines


def test_an_entry_that_a_projection_cannot_take_in_changes_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = evses.Evses.apply

    def after_of(self: evses.Evses, entry: Entry) -> evses.Evses:
        assert not (isinstance(entry.event, EnergyFlowReported) and entry.event.evse_id == 2), (
            "poison"
        )
        return before(self, entry)

    station = given(ONLINE)
    monkeypatch.setattr(evses.Evses, "apply", after_of)
    seq = station.entries[-1].seq + 1
    entry = Entry(seq, station.at, station.uptime_ms, EnergyFlowReported(2, "charging"))
    state = apply_entry(station.state, entry)
    assert state.evses is station.state.evses
    [stumble] = state.health.projection_failures
    assert (stumble.seq, stumble.projection, stumble.exception) == (
        seq,
        "Hardware",
        "AssertionError",
    )
    assert apply_entries(station.state, [entry]) == state, "and replay gives the same"


def test_a_fault_at_a_start_is_remembered_although_a_start_forgets_the_ones_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(self: evses.Evses, entry: Entry) -> evses.Evses:
        raise LookupError

    station = given(ONLINE)
    monkeypatch.setattr(evses.Evses, "apply", fails)
    started = StationStarted("boot", "1", "development", "CS001", (), None, None)
    entry = Entry(station.entries[-1].seq + 1, station.at, station.uptime_ms, started)
    state = apply_entry(station.state, entry)
    assert [one.seq for one in state.health.projection_failures] == [entry.seq]
    assert state.health.failed_rule == "Hardware"
    assert apply_entries(station.state, [entry]) == state, "and replay gives the same"


def test_a_level_that_cannot_be_told_is_the_one_that_harms_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(ctx: Context, evse_id: int) -> str:
        raise AttributeError("nothing")

    station = station_with_fault(ONLINE, in_transaction(1))
    assert station.desired.evses[0].energy_allowed
    monkeypatch.setattr(wanted_module, "display_text", fails)
    station.when(cable_unplugged(2))
    level = station.desired
    assert level.failure == "AttributeError: nothing"
    assert [(one.energy_allowed, one.display_text) for one in level.evses] == [
        (False, "Out of order")
    ] * 2
    assert level.link.candidates, "the CSMS is still answered"


def test_a_poisonous_observation_does_not_end_the_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, install_failing_rule: None
) -> None:
    world: SimulatedWorld

    async def script() -> None:
        world.schedule_session(1, ALICES_UID, SimulatedEv(energy_needed_wh=Decimal(9_000)), 60)
        await trio.sleep(30)
        for _ in range(5):
            world.press_stop_button(2)
            await trio.sleep(1)
        await trio.sleep(60)
        assert world.process_starts == 1
        life = world.process
        assert life is not None
        failed = [one for one in life.store.iter_entries() if isinstance(one.event, RuleFailed)]
        assert len(failed) == 5
        [account] = world.csms.double.ledger.transactions.values()
        assert account.is_complete
        assert account.find_complaints() == []

    async def main() -> None:
        nonlocal world
        world = SimulatedWorld(
            tmp_path, seed=4, observer=SecurityEventWatcher(), variables=FAST_RETRIES
        )
        await world.run(script)

    run_simulation(main, 4)


def test_a_poisonous_entry_in_the_journal_does_not_stop_the_next_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = readings.Readings.apply
    world: SimulatedWorld

    def after_of(self: readings.Readings, entry: Entry) -> readings.Readings:
        assert entry.seq != 12, "poison"
        return before(self, entry)

    async def script() -> None:
        world.schedule_session(1, ALICES_UID, SimulatedEv(energy_needed_wh=Decimal(9_000)), 60)
        await trio.sleep(30)
        assert world.process is not None
        monkeypatch.setattr(readings.Readings, "apply", after_of)
        world.process.kill()
        await trio.sleep(120)
        assert world.process_starts == 2
        [account] = world.csms.double.ledger.transactions.values()
        assert account.is_complete

    async def main() -> None:
        nonlocal world
        world = SimulatedWorld(
            tmp_path, seed=5, observer=SecurityEventWatcher(), variables=FAST_RETRIES
        )
        await world.run(script)

    run_simulation(main, 5)
