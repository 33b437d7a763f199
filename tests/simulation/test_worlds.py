"""Does the station keep its promises in worlds with faults, and would the simulation notice?

A fair sample of seeds here; `make simulate SEEDS=10000 SEED0=0` for more. Another sample:
SIMULATION_SEED0=5000 pytest tests/simulation/test_worlds.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from journal.events import Entry
from journal.projections.outbox import CallQueued, Outbox
from journal.state import State, apply_entry
from station.core import outbox_rules
from station.core.blocks import e_transaction_events, e_transactions
from station.core.context import Context
from station.core.desired import compute_desired_state
from station.simulation.__main__ import format_failure, main
from station.simulation.event_queue import INITIAL_UPTIME_MS, START_TIME
from station.simulation.fault_plan import EVENT_ACTIONS
from station.simulation.run_plan import run_plan
from station.simulation.seeds import ARGUMENT_MAKERS, RELATED_EVENTS, make_plan
from station.simulation.station_process import ObservedRecorder

SEED0 = int(os.environ.get("SIMULATION_SEED0", "0"))
SAMPLE = 40


@pytest.mark.parametrize("seed", range(SEED0, SEED0 + SAMPLE))
def test_a_world_with_faults_breaks_no_promise(seed: int) -> None:
    verdict = run_plan(make_plan(seed))
    assert not verdict.violation, format_failure(seed, verdict)


def test_the_same_seed_gives_the_same_journal_byte_for_byte_p4() -> None:
    first, second = run_plan(make_plan(7)), run_plan(make_plan(7))
    assert first.head == second.head
    assert first.head


def test_another_process_with_other_hashes_gives_the_same_journal_p4() -> None:
    told = "import logging; logging.disable()\nfrom station.simulation.run_plan import run_plan\n"
    told += "from station.simulation.seeds import make_plan\nprint(run_plan(make_plan(7)).head)"
    environment = os.environ | {"PYTHONHASHSEED": "1234"}
    done = subprocess.run(
        [sys.executable, "-c", told], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == run_plan(make_plan(7)).head


def test_the_sample_meets_everything_that_can_happen() -> None:
    assert set(EVENT_ACTIONS) == {*ARGUMENT_MAKERS, "start_session", "fill_disk"}
    assert {kind for theme in RELATED_EVENTS for kind in theme} <= set(ARGUMENT_MAKERS)
    assert {one.kind for seed in range(200) for one in make_plan(seed).events} == set(EVENT_ACTIONS)


# --- Broken on purpose ---------------------------------------------------------------------------

SimulationFault = Callable[[pytest.MonkeyPatch], None]


def publish_before_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The level is published before its entries are on the disk."""
    write = ObservedRecorder._store_entries

    async def early(self: ObservedRecorder, entries: list[Entry]) -> None:
        state: State = self.state
        for entry in entries:
            state = apply_entry(state, entry)
        self._cache_payloads(entries)
        self.desired_state.set(compute_desired_state(self.product, state, entries[-1]))
        await write(self, entries)

    monkeypatch.setattr(ObservedRecorder, "_store_entries", early)


def count_seq_no_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """seqNo comes from a counter in memory instead of the journal."""
    counters: dict[str, int] = {}
    event = e_transaction_events.build_transaction_event

    def counted(ctx: Context, transaction: Any, event_type: str, *rest: Any, **more: Any) -> Any:
        name = transaction.transaction_id
        seq_no = counters.get(name, 0)
        counters[name] = seq_no + 1
        return event(ctx, replace(transaction, next_seq_no=seq_no), event_type, *rest, **more)

    monkeypatch.setattr(e_transactions, "build_transaction_event", counted)


def retry_by_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause between two attempts is measured by the wall clock."""
    monkeypatch.setattr(outbox_rules, "_due_transaction_call", _first_call_by_wall_clock)


def _first_call_by_wall_clock(ctx: Context) -> int | None:
    outbox = ctx.state.outbox
    if outbox.retry_ms is not None:
        due_ms = outbox.retry_ms + START_TIME.timestamp() * 1000 - INITIAL_UPTIME_MS
        if ctx.now.timestamp() * 1000 < due_ms:
            return None
    return outbox.next_transaction_call


def lose_queued_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Now and then a message is not queued, and nobody is told."""
    queued = Outbox._on_call_queued

    def lossy(self: Outbox, call: int, one: CallQueued) -> Outbox:
        if one.lane == "transaction" and call % 7 == 0:
            return self
        return queued(self, call, one)

    monkeypatch.setattr(Outbox, "_on_call_queued", lossy)


def ignore_late_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the attempt under way may be answered."""
    named = Outbox.find_by_message_id

    def current(self: Outbox, message_id: str) -> tuple[int, bool] | None:
        found = named(self, message_id)
        return found if found and found[1] else None

    monkeypatch.setattr(Outbox, "find_by_message_id", current)


# How the station is broken, the promise that shows it, and within how many seeds from 0 on.
VARIANTS: tuple[tuple[SimulationFault, str, int], ...] = (
    (publish_before_commit, "P3", 30),
    (count_seq_no_in_memory, "P2", 30),
    (retry_by_wall_clock, "P6", 60),  # the deadline comes, by uptime, and nothing follows from it
    (lose_queued_calls, "P2", 30),
    (ignore_late_responses, "P2", 100),
)


@pytest.mark.parametrize(
    ("broken", "promise", "within"), VARIANTS, ids=[one.__name__ for one, _, _ in VARIANTS]
)
def test_a_station_broken_on_purpose_is_found(
    broken: SimulationFault, promise: str, within: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    for seed in range(within):
        found = run_plan(make_plan(seed)).violation
        if found:
            break
    assert found.startswith(promise), f"seed {seed}: {found or 'not found'}"


def test_the_first_seed_that_fails_is_told_with_its_story(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lose_queued_calls(monkeypatch)
    assert main(["--seeds", "20"]) == 1
    told = capsys.readouterr().out
    assert "TransactionEvent" in told, "no transcript"
    assert "broke a promise. P2" in told.splitlines()[-1]


def test_seeds_that_keep_their_promises_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "2"]) == 0
    assert capsys.readouterr().out.startswith("2 seeds kept every promise")
