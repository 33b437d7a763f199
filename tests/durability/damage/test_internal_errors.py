"""A failing rule or projection is recorded, no new session starts, nothing crash-loops. P8."""

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
from station.core import desired as desired_module
from station.core.context import Context
from station.core.desired import FAILED_RETRY_MS
from station.core.evse_status import OUT_OF_ORDER_MS
from station.simulation.evse_double import SimulatedEv
from station.simulation.faulty_csms import ALICE as ALICE_UID
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
    shown_at,
    time_passed,
)


def failing_rule(ctx: Context) -> Iterator[Decision]:
    """A rule that fails when the stop button of EVSE 2 is pressed."""
    if isinstance(ctx.entry.event, StopButtonPressed) and ctx.entry.event.evse_id == 2:
        raise KeyError("injected")
    yield from ()


@pytest.fixture
def install_failing_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "RULES", (failing_rule, *decide.RULES))


def station_with_fault(*steps: object) -> Station:
    station = given(*steps)  # type: ignore[arg-type]
    station.checks.expect_no_failures = False
    return station


def test_a_failed_rule_is_an_entry_and_the_other_rules_run(
    install_failing_rule: None,
) -> None:
    station = station_with_fault(ONLINE, in_transaction(1))
    decisions = station.when(StopButtonPressed(2))
    [failed] = of_kind(decisions, RuleFailed)
    assert failed == RuleFailed("test_internal_errors.failing_rule", "KeyError")
    assert connector_statuses(decisions) == [(2, "Faulted")]


def test_no_session_starts_and_running_ones_continue(install_failing_rule: None) -> None:
    station = station_with_fault(ONLINE, in_transaction(1))
    station.with_csms(accept_everything, StopButtonPressed(2))
    assert station.desired.evses[0].energy_allowed
    assert shown_at(station, 2).headline == "Out of order"
    decisions = station.with_csms(accept_everything, presented(BOB, evse_id=2), cable_plugged(2))
    assert event_triggers(decisions) == []
    station.with_csms(accept_everything, StopButtonPressed(1))
    assert not station.desired.evses[0].energy_allowed
    decisions = station.with_csms(accept_everything, charging_stopped(1))
    assert event_triggers(decisions)[-1][0] == "Ended"


def test_the_station_is_available_again_after_a_time_without_failures(
    install_failing_rule: None,
) -> None:
    station = station_with_fault(ONLINE)
    station.with_csms(accept_everything, StopButtonPressed(2))
    decisions = station.with_csms(
        accept_everything, time_passed(seconds=OUT_OF_ORDER_MS / 1000 + 1)
    )
    assert {(1, "Available"), (2, "Available")} <= set(connector_statuses(decisions))
    decisions = station.with_csms(accept_everything, cable_plugged(2), presented(BOB, evse_id=2))
    assert event_triggers(decisions)[0][0] == "Started"


def test_a_rule_that_fails_at_a_deadline_is_not_retried_without_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(ctx: Context) -> Iterator[Decision]:
        raise ZeroDivisionError
        yield

    station = station_with_fault(ONLINE, in_transaction(1))
    monkeypatch.setattr(decide, "RULES", (failing,))
    before = len(station.entries)
    station.when(time_passed(seconds=600))
    deadlines = 600_000 // FAILED_RETRY_MS + 2
    assert len(station.entries) - before <= 2 * deadlines


def test_a_projection_that_fails_keeps_its_state_and_the_others_apply_the_entry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = evses.Evses.apply

    def apply_or_fail(self: evses.Evses, entry: Entry) -> evses.Evses:
        assert not (isinstance(entry.event, EnergyFlowReported) and entry.event.evse_id == 2), (
            "injected"
        )
        return original(self, entry)

    station = given(ONLINE)
    monkeypatch.setattr(evses.Evses, "apply", apply_or_fail)
    seq = station.entries[-1].seq + 1
    entry = Entry(seq, station.at, station.uptime_ms, EnergyFlowReported(2, "charging"))
    state = apply_entry(station.state, entry)
    assert state.evses is station.state.evses
    [failure] = state.health.projection_failures
    assert (failure.seq, failure.projection, failure.exception) == (
        seq,
        "Evses",
        "AssertionError",
    )
    assert apply_entries(station.state, [entry]) == state, "replay must give the same"


def test_a_failure_at_a_start_is_kept_although_a_start_clears_earlier_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(self: evses.Evses, entry: Entry) -> evses.Evses:
        raise LookupError

    station = given(ONLINE)
    monkeypatch.setattr(evses.Evses, "apply", fails)
    started = StationStarted("boot", "1", "development", "CS001", (), None, None)
    entry = Entry(station.entries[-1].seq + 1, station.at, station.uptime_ms, started)
    state = apply_entry(station.state, entry)
    assert [failure.seq for failure in state.health.projection_failures] == [entry.seq]
    assert state.health.failed_rule == "Evses"
    assert apply_entries(station.state, [entry]) == state, "replay must give the same"


def test_a_desired_state_that_cannot_be_computed_disables_charging(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(ctx: Context) -> Decimal:
        raise AttributeError("nothing")

    station = station_with_fault(ONLINE, in_transaction(1))
    assert station.desired.evses[0].energy_allowed
    monkeypatch.setattr(desired_module, "_station_power_w", fails)
    station.when(cable_unplugged(2))
    desired = station.desired
    assert desired.failure == "AttributeError: nothing"
    assert [evse.energy_allowed for evse in desired.evses] == [False] * 2
    assert [shown_at(station, evse_id).headline for evse_id in (1, 2)] == ["Out of order"] * 2
    assert desired.link.candidates, "the CSMS must still be answered"


def test_an_observation_that_makes_a_rule_fail_does_not_end_the_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, install_failing_rule: None
) -> None:
    world: SimulatedWorld

    async def script() -> None:
        world.schedule_session(1, ALICE_UID, SimulatedEv(energy_needed_wh=Decimal(9_000)), 60)
        await trio.sleep(30)
        for _ in range(5):
            world.press_stop_button(2)
            await trio.sleep(1)
        await trio.sleep(60)
        assert world.process_starts == 1
        process = world.process
        assert process is not None
        failed = [
            entry for entry in process.store.iter_entries() if isinstance(entry.event, RuleFailed)
        ]
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


def test_an_entry_that_makes_a_projection_fail_does_not_stop_the_next_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    original = readings.Readings.apply
    world: SimulatedWorld

    def apply_or_fail(self: readings.Readings, entry: Entry) -> readings.Readings:
        assert entry.seq != 12, "injected"
        return original(self, entry)

    async def script() -> None:
        world.schedule_session(1, ALICE_UID, SimulatedEv(energy_needed_wh=Decimal(9_000)), 60)
        await trio.sleep(30)
        assert world.process is not None
        monkeypatch.setattr(readings.Readings, "apply", apply_or_fail)
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
