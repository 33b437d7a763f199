"""Redecide: no deviations for this release, and every changed decision is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from journal.events import Decision, Entry, Observation
from journal.observations import DeadlineReached, MeterRead, StationStarted, VariablePreset
from journal.projections.outbox import CallQueued
from journal.projections.transactions import TransactionStopOrdered
from journal.state import State, apply_entry
from station.core import decide as decide_module
from station.core.context import Context, Product
from station.core.decide import decide
from station.history.regression import redecide
from station.history.regression.redecide import Deviation, redecide_entries
from station.runtime.loop.startup import event_registry
from station.simulation.run_plan import PlanRun
from station.simulation.seeds import make_plan
from station.simulation.world import run_simulation
from tests.stories import STORIES, play_story
from tests.support.story import (
    ALICE,
    BOOTED,
    CONFIGURED,
    IDLE,
    JOURNAL_ID,
    LINK_OPENED,
    NOON,
    ONLINE,
    Station,
    accept_everything,
    cable_unplugged,
    charging_stopped,
    frame_received,
    given,
    in_transaction,
    load_product,
    meter_read,
    presented,
    station_restarted,
    time_passed,
    variable_preset,
)

# Differs between the two product profiles.
ASKED = frame_received(
    '[2,"m-1","GetVariables",{"getVariableData":[{"component":{"name":"CustomizationCtrlr"},'
    '"variable":{"name":"CustomImplementationEnabled","instance":"ocpp-station.journal"}}]}]'
)


def find_differences(
    entries: list[Entry],
    product_for: Callable[[str], Product] = load_product,
    journal_id: str = JOURNAL_ID,
) -> list[Deviation]:
    def product_of(seq: int, start: StationStarted) -> Product:
        return product_for(start.product_profile)

    return list(redecide_entries(journal_id, entries, event_registry(), product_of))


@pytest.fixture(scope="module")
def session() -> list[Entry]:
    """Presets, a transaction across a power cut, and its end."""
    station = given(
        variable_preset("SampledDataCtrlr.TxUpdatedInterval", "20"),
        ONLINE,
        in_transaction(1, ALICE),
        time_passed(seconds=25),
        station_restarted(boot_id="boot-2", gap_s=60),
        IDLE,
        in_transaction(1, ALICE),
        LINK_OPENED,
        time_passed(seconds=25),
        presented(ALICE, evse_id=1),
        charging_stopped(1),
        cable_unplugged(1),
        meter_read(1, "1900"),
        time_passed(seconds=5),
    )
    return station.entries


@pytest.mark.parametrize("name", STORIES)
def test_a_story_of_this_release_has_no_deviations(name: str) -> None:
    assert find_differences(play_story(name).entries) == []


def test_restarts_and_presets_have_no_deviations(session: list[Entry]) -> None:
    assert sum(isinstance(item.event, StationStarted) for item in session) == 2
    assert find_differences(session) == []


@pytest.mark.parametrize("seed", range(6))
def test_a_simulated_world_has_no_deviations(seed: int, tmp_path: Path) -> None:
    """With kills at any moment, lost commits, clock steps and lost links."""
    plan = make_plan(seed)
    trial = PlanRun(plan, tmp_path)
    run_simulation(trial.run_world, plan.seed)
    with trial.world.open_final_journal() as store:
        entries = list(store.reader.iter_entries())
        assert trial.world.process_starts > 0
        assert find_differences(entries, journal_id=store.journal_id) == []


@pytest.mark.parametrize("rule", range(len(decide_module.RULES)))
def test_a_missing_rule_deviates_at_each_of_its_decisions(
    session: list[Entry], rule: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a rule, exactly the observations with decisions of the rule deviate."""
    decided: set[int] = set()
    left_out = decide_module.RULES[rule]

    def watched(ctx: Context) -> Iterator[Decision]:
        for item in left_out(ctx):
            decided.add(ctx.entry.seq)
            yield item

    rules = [*decide_module.RULES[:rule], watched, *decide_module.RULES[rule + 1 :]]
    monkeypatch.setattr(decide_module, "RULES", tuple(rules))
    assert find_differences(session) == []
    monkeypatch.setattr(
        decide_module, "RULES", (*decide_module.RULES[:rule], *decide_module.RULES[rule + 1 :])
    )
    assert {deviation.seq for deviation in find_differences(session)} == decided


def last_decision_index(entries: list[Entry], kind: type) -> int:
    """Index of the last decision of a kind."""
    return max(place for place, entry in enumerate(entries) if type(entry.event) is kind)


def test_a_changed_decision_is_reported_with_its_observation(
    session: list[Entry],
) -> None:
    place = last_decision_index(session, TransactionStopOrdered)
    old = session[place]
    assert isinstance(old.event, TransactionStopOrdered)
    other = replace(old, event=replace(old.event, stopped_reason="Other"))
    deviations = find_differences([*session[:place], other, *session[place + 1 :]])
    assert deviations[0].seq == old.cause
    assert f"entry {old.seq}" in deviations[0].reason
    assert 'stopped_reason: "Other" -> "Local"' in deviations[0].reason


def test_payloads_are_compared_byte_for_byte(session: list[Entry]) -> None:
    """1500 is not 1500.0."""
    place, old = next(
        (place, item)
        for place, item in enumerate(session)
        if isinstance(item.event, CallQueued) and b'"seqNo":1,' in bytes(item.event.payload)
    )
    assert isinstance(old.event, CallQueued)
    payload = bytes(old.event.payload).replace(b'"seqNo":1,', b'"seqNo":1.0,')
    other = replace(old, event=replace(old.event, payload=msgspec.Raw(payload)))
    assert [
        deviation.seq
        for deviation in find_differences([*session[:place], other, *session[place + 1 :]])
    ] == [old.cause]


def renumber_entries(entries: list[Entry]) -> list[Entry]:
    """The entries with consecutive numbers, as after one decision more or less."""
    numbers = {entry.seq: number for number, entry in enumerate(entries, start=1)}
    return [
        replace(entry, seq=numbers[entry.seq], cause=entry.cause and numbers.get(entry.cause))
        for entry in entries
    ]


def test_a_decision_that_this_release_does_not_make_is_reported(session: list[Entry]) -> None:
    station = given(ONLINE)
    last = station.entries[-1]
    extra = Entry(last.seq + 1, last.at, last.uptime_ms, TransactionStopOrdered(
        transaction_id="t-1", trigger_reason="Other", stopped_reason="Other"
    ), cause=last.cause or last.seq)  # fmt: skip
    [deviation] = find_differences([*station.entries, extra])
    assert (deviation.seq, "would not decide entry" in deviation.reason) == (extra.cause, True)


def test_a_decision_that_only_this_release_makes_is_reported() -> None:
    """At the end of a journal, so that no later entry is affected."""
    station = given(ONLINE, in_transaction(1, ALICE))
    last = max(place for place, entry in enumerate(station.entries) if entry.cause)
    entries = station.entries[:last]
    deviations = find_differences(entries)
    assert [item.seq for item in deviations] == [station.entries[last].cause]
    assert "would also decide" in deviations[0].reason


def test_only_the_first_difference_of_an_observation_is_reported(session: list[Entry]) -> None:
    heard = next(item for item in session if isinstance(item.event, StationStarted))
    undecided = renumber_entries([item for item in session if item.cause != heard.seq])
    deviations = find_differences(undecided)
    assert [item.seq for item in deviations].count(heard.seq) == 1


def test_the_state_follows_the_decisions_of_the_journal() -> None:
    """A missing decision deviates; later decisions follow from the recorded state."""
    station = given(ONLINE)
    with_rights = station.state
    before = list(station.entries)
    station.with_csms(accept_everything, presented(ALICE, evse_id=1))
    heard = station.entries[len(before)]
    silent = Entry(heard.seq, heard.at, heard.uptime_ms, heard.event)
    later = Entry(silent.seq + 1, heard.at, heard.uptime_ms, MeterRead(1, Decimal("1000")))
    state = apply_entry(with_rights, silent)
    decided, _ = decide(load_product(), state, later)
    assert [decision.seq for decision in find_differences([*before, silent, *decided])] == [
        heard.seq
    ]


@pytest.mark.parametrize("gone", [1, 7, 40])
def test_nothing_is_decided_again_after_a_missing_entry(session: list[Entry], gone: int) -> None:
    deviations = find_differences([item for item in session if item.seq != gone])
    assert deviations[-1].seq == gone
    assert "nothing from here on" in deviations[-1].reason
    assert all(item.seq <= gone for item in deviations)


def test_a_decision_before_any_observation_is_reported(session: list[Entry]) -> None:
    lost = next(item for item in session if item.cause is not None)
    [deviation, *_] = find_differences([replace(lost, seq=1), *session[1:]])
    assert deviation == Deviation(1, "is a decision without an observation")


def test_an_observation_before_any_start_is_reported() -> None:
    entry = Entry(1, NOON, 1, MeterRead(1, Decimal(1)))
    [deviation] = find_differences([entry])
    assert (deviation.seq, "before any start" in deviation.reason) == (1, True)


def test_each_run_is_decided_with_its_own_product() -> None:
    """The profile changed between two runs; presets belong to the run that they come before."""
    entries = run_program("development", [], [variable_preset("x", "1"), CONFIGURED, BOOTED, ASKED])
    again = replace(
        BOOTED, product_profile="evs-flash-300", boot_id="boot-2", last_entry_at=NOON.isoformat()
    )
    moved = replace(CONFIGURED, url="ws://other/ocpp")
    entries = run_program("evs-flash-300", entries, [moved, again, ASKED])
    assert find_differences(entries) == []
    for name in ("development", "evs-flash-300"):
        assert find_differences(entries, product_for=lambda _, only=name: load_product(only))  # type: ignore[misc]


def run_program(profile: str, before: list[Entry], heard: list[Observation]) -> list[Entry]:
    """The entries before, with those of another run."""
    entries, state = list(before), State(JOURNAL_ID)
    for entry in before:
        state = apply_entry(state, entry)
    for observation in heard:
        made, state = decide(
            load_product(profile), state, Entry(len(entries) + 1, NOON, 60_000, observation)
        )
        entries += made
    return entries


def test_presets_are_decided_with_the_product_of_the_run_after_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[type, str]] = []

    def watched(of: Product, state: State, entry: Entry) -> tuple[list[Entry], State]:
        seen.append((type(entry.event), of.profile.name))
        return decide(of, state, entry)

    monkeypatch.setattr(redecide, "decide", watched)
    entries = run_program(
        "development", [], [variable_preset("x", "1"), BOOTED, DeadlineReached(1)]
    )
    again = replace(BOOTED, product_profile="evs-flash-300")
    entries = run_program("evs-flash-300", entries, [CONFIGURED, again])
    assert find_differences(entries) == []
    assert seen == [
        (VariablePreset, "development"),
        (StationStarted, "development"),
        (DeadlineReached, "development"),
        (type(CONFIGURED), "evs-flash-300"),
        (StationStarted, "evs-flash-300"),
    ]


def test_the_product_is_looked_up_once_per_run() -> None:
    asked: list[int] = []

    def product_of(seq: int, start: StationStarted) -> Product:
        asked.append(seq)
        return load_product(start.product_profile)

    station: Station = given(ONLINE, station_restarted(), LINK_OPENED)
    starts = [entry.seq for entry in station.entries if isinstance(entry.event, StationStarted)]
    assert list(redecide_entries(JOURNAL_ID, station.entries, event_registry(), product_of)) == []
    assert asked == starts
