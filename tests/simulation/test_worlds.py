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

from journal.projections.outbox import CallQueued, Outbox
from journal.state import State, evolve
from journal.terms import Entry
from station import delivery
from station.blocks import e_transactions
from station.case import Case
from station.simulation.__main__ import failure, main
from station.simulation.agenda import NOON, UP_SINCE_MS
from station.simulation.life import WatchedScribe
from station.simulation.plans import MAKERS, THEMES, planned
from station.simulation.storm import HAPPENINGS
from station.simulation.trial import tried
from station.wanted import wanted

SEED0 = int(os.environ.get("SIMULATION_SEED0", "0"))
SAMPLE = 40


@pytest.mark.parametrize("seed", range(SEED0, SEED0 + SAMPLE))
def test_a_world_with_faults_breaks_no_promise(seed: int) -> None:
    verdict = tried(planned(seed))
    assert not verdict.broken, failure(seed, verdict)


def test_the_same_seed_gives_the_same_journal_byte_for_byte_p4() -> None:
    first, second = tried(planned(7)), tried(planned(7))
    assert first.head == second.head
    assert first.head


def test_another_process_with_other_hashes_gives_the_same_journal_p4() -> None:
    told = "import logging; logging.disable()\nfrom station.simulation.trial import tried\n"
    told += "from station.simulation.plans import planned\nprint(tried(planned(7)).head)"
    environment = os.environ | {"PYTHONHASHSEED": "1234"}
    done = subprocess.run(
        [sys.executable, "-c", told], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == tried(planned(7)).head


def test_the_sample_meets_everything_that_can_happen() -> None:
    assert set(HAPPENINGS) == {*MAKERS, "session", "disk_fills"}
    assert {kind for theme in THEMES for kind in theme} <= set(MAKERS)
    assert {one.what for seed in range(200) for one in planned(seed).happenings} == set(HAPPENINGS)


# --- Broken on purpose ---------------------------------------------------------------------------

Break = Callable[[pytest.MonkeyPatch], None]


def effect_before_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The level is published before its entries are on the disk."""
    write = WatchedScribe._append

    async def early(self: WatchedScribe, entries: list[Entry]) -> None:
        state: State = self.state
        for entry in entries:
            state = evolve(state, entry)
        self._remember_payloads(entries)
        self.wanted.set(wanted(self.product, state, entries[-1]))
        await write(self, entries)

    monkeypatch.setattr(WatchedScribe, "_append", early)


def seq_no_beside_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """seqNo comes from a counter in memory instead of the journal."""
    counters: dict[str, int] = {}
    event = e_transactions.event

    def counted(case: Case, transaction: Any, event_type: str, *rest: Any, **more: Any) -> Any:
        name = transaction.transaction_id
        seq_no = counters.get(name, 0)
        counters[name] = seq_no + 1
        return event(case, replace(transaction, next_seq_no=seq_no), event_type, *rest, **more)

    monkeypatch.setattr(e_transactions, "event", counted)


def wall_clock_gating(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause between two attempts is measured by the wall clock."""
    monkeypatch.setattr(delivery, "_first_transaction_call", _by_the_wall)


def _by_the_wall(case: Case) -> int | None:
    outbox = case.state.outbox
    if outbox.retry_ms is not None:
        due_ms = outbox.retry_ms + NOON.timestamp() * 1000 - UP_SINCE_MS
        if case.now.timestamp() * 1000 < due_ms:
            return None
    return outbox.first


def queue_that_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Now and then a message is not queued, and nobody is told."""
    queued = Outbox._queued

    def lossy(self: Outbox, call: int, one: CallQueued) -> Outbox:
        if one.lane == "transaction" and call % 7 == 0:
            return self
        return queued(self, call, one)

    monkeypatch.setattr(Outbox, "_queued", lossy)


def late_answers_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the attempt under way may be answered."""
    named = Outbox.named

    def current(self: Outbox, message_id: str) -> tuple[int, bool] | None:
        found = named(self, message_id)
        return found if found and found[1] else None

    monkeypatch.setattr(Outbox, "named", current)


# How the station is broken, the promise that shows it, and within how many seeds from 0 on.
VARIANTS: tuple[tuple[Break, str, int], ...] = (
    (effect_before_commit, "P3", 30),
    (seq_no_beside_the_commit, "P2", 30),
    (wall_clock_gating, "P6", 60),  # the deadline comes, by uptime, and nothing follows from it
    (queue_that_loses, "P2", 30),
    (late_answers_ignored, "P2", 100),
)


@pytest.mark.parametrize(
    ("broken", "promise", "within"), VARIANTS, ids=[one.__name__ for one, _, _ in VARIANTS]
)
def test_a_station_broken_on_purpose_is_found(
    broken: Break, promise: str, within: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    for seed in range(within):
        found = tried(planned(seed)).broken
        if found:
            break
    assert found.startswith(promise), f"seed {seed}: {found or 'not found'}"


def test_the_first_seed_that_fails_is_told_with_its_story(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    queue_that_loses(monkeypatch)
    assert main(["--seeds", "20"]) == 1
    told = capsys.readouterr().out
    assert "TransactionEvent" in told, "no transcript"
    assert "broke a promise. P2" in told.splitlines()[-1]


def test_seeds_that_keep_their_promises_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "2"]) == 0
    assert capsys.readouterr().out.startswith("2 seeds kept every promise")
