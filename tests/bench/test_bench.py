"""Does the bench measure what it says? Whether the goals are met `make bench` shows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from journal.reader import Reader
from journal.state import State, evolve
from journal.verify import verify
from station.runtime.memory import registry
from station.simulation.world import JOURNAL_ID
from tests.bench import journals, measures
from tests.bench.__main__ import main
from tests.bench.measures import Row, Size, percentile, run

ENTRIES = 6_000


def test_a_journal_made_of_hours_is_a_history_that_holds(tmp_path: Path) -> None:
    template = journals.template()
    hours = 1 + (ENTRIES - len(template.first)) // len(template.hour)
    entries = len(template.first) + hours * len(template.hour)
    path = journals.written(tmp_path, entries)
    with Reader.open(path, registry()) as reader:
        state = State(JOURNAL_ID)
        for entry in reader.entries():
            state = evolve(state, entry)
    assert entry.seq == entries
    assert not len(state.outbox), "what was told is told"
    assert not state.outbox.judges
    assert not state.transactions.open
    assert not state.authorizations.held
    assert not state.replies.owed
    assert list(verify(path)) == []


def test_a_goal_is_met_or_missed_in_its_sense() -> None:
    assert Row("few", 2.0, "x", 2.0).met
    assert not Row("few", 2.1, "x", 2.0).met
    assert Row("many", 2.1, "x", 2.0, ">=").met
    assert not Row("many", 1.9, "x", 2.0, ">=").met
    assert Row("told", 99, "x").met
    assert "MISSED" in str(Row("few", 2.1, "x", 2.0))


def test_a_percentile_is_a_value_that_came() -> None:
    assert percentile(range(1, 101), 0.99) == 99
    assert percentile([7.0], 0.5) == 7.0


def test_the_peak_of_a_command_is_its_own() -> None:
    mebibytes = 60
    some = f"import time; held = b'x' * ({mebibytes} << 20); time.sleep(0.3)"
    held = run([sys.executable, "-c", some])
    empty = run([sys.executable, "-c", "import time; time.sleep(0.3)"])
    assert held.exit_code == empty.exit_code == 0
    assert mebibytes < held.peak_mib - empty.peak_mib + 1 < mebibytes + 10


def test_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.bench.__main__.QUICK", Size(entries=2_000, rounds=1, times=5))
    assert (
        main(["--quick", "--directory", str(tmp_path), "--only", "disk", "--only", "history"]) == 0
    )
    told = capsys.readouterr().out
    assert "durable append p99, by a thread" in told
    assert "replay and fold" in told
    assert "station verify, 2000 entries" in told
    assert not list(tmp_path.iterdir()), "nothing is left"
    assert measures.FULL.rounds >= 5
