"""Does the bench measure what it says? Whether the goals are met `make bench` shows."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from journal.events import Entry
from journal.maintenance.verify import verify
from journal.observations import MeterRead
from journal.state import State, apply_entry
from journal.storage.connection import StoreSettings
from journal.storage.reader import Reader
from station.runtime.clock import HostClock
from station.runtime.loop.recorder import Recorder
from station.runtime.loop.startup import Startup, event_registry
from station.simulation.world import JOURNAL_ID, load_product
from tests.bench import journals, many, measures, talk, waiting
from tests.bench.__main__ import main
from tests.bench.measures import Row, Size, percentile_of, run_command
from tests.bench.talk import TalkGroup

ENTRIES = 6_000


def test_a_journal_made_of_hours_is_a_history_that_holds(tmp_path: Path) -> None:
    template = journals.simulated_template()
    hours = 1 + (ENTRIES - len(template.opening)) // len(template.hour)
    entries = len(template.opening) + hours * len(template.hour)
    path = journals.write_journal(tmp_path, entries)
    with Reader.open(path, event_registry()) as reader:
        state = State(JOURNAL_ID)
        for entry in reader.iter_entries():
            state = apply_entry(state, entry)
    assert entry.seq == entries
    assert not len(state.outbox), "what was told is told"
    assert not state.outbox.id_token_by_call
    assert not state.transactions.open
    assert not state.authorizations.active
    assert not state.pending_replies.pending
    assert list(verify(path)) == []


def test_a_goal_is_met_or_missed_in_its_sense() -> None:
    assert Row("few", 2.0, "x", 2.0).is_met
    assert not Row("few", 2.1, "x", 2.0).is_met
    assert Row("many", 2.1, "x", 2.0, ">=").is_met
    assert not Row("many", 1.9, "x", 2.0, ">=").is_met
    assert Row("told", 99, "x").is_met
    assert "MISSED" in str(Row("few", 2.1, "x", 2.0))


def test_a_percentile_is_a_value_that_came() -> None:
    assert percentile_of(range(1, 101), 0.99) == 99
    assert percentile_of([7.0], 0.5) == 7.0


def test_the_peak_of_a_command_is_its_own() -> None:
    mebibytes = 60
    some = f"import time; held = b'x' * ({mebibytes} << 20); time.sleep(0.3)"
    held = run_command([sys.executable, "-c", some])
    empty = run_command([sys.executable, "-c", "import time; time.sleep(0.3)"])
    assert held.exit_code == empty.exit_code == 0
    assert mebibytes < held.peak_mib - empty.peak_mib + 1 < mebibytes + 10


def test_a_goal_of_which_nothing_is_known_is_missed() -> None:
    assert not Row("not measured", float("nan"), "x", 2.0).is_met
    assert not Row("not measured", float("nan"), "x", 2.0, ">=").is_met


@pytest.mark.parametrize("program", [many.OUR_PROGRAM, many.PEER_PROGRAM])
def test_stations_and_peers_are_talked_to_in_the_same_words(program: str) -> None:
    stations, turns = 2, 3
    found = many.run_crowd(program, stations, turns)
    assert found.frames == stations * turns * talk.FRAMES_PER_TALK
    assert found.worked_s > 0
    assert found.kib > 10_000, "a Python and two stations"


def test_a_talk_ends_with_whoever_refuses_or_talks_of_something_else() -> None:
    said: list[str] = []
    ends: list[str] = []
    everybody = TalkGroup()
    one = everybody.add_talk(said.append, lambda: datetime.now(UTC))
    one.on_frame('[2,"a","StatusNotification",{}]')
    assert json.loads(said.pop()) == [3, "a", {}]
    everybody.start_rounds(1, lambda: ends.append("over"))
    assert json.loads(said.pop())[:3] == [2, "1", "GetVariables"]
    with pytest.raises(AssertionError, match="while"):
        one.on_frame('[2,"b","StatusNotification",{}]')
    with pytest.raises(AssertionError, match="Rejected"):
        one.on_frame('[3,"1",{"status":"Rejected"}]')
    with pytest.raises(AssertionError, match="something else"):
        one.on_frame('[3,"2",{"status":"Accepted"}]')
    assert not ends


async def test_many_tasks_share_commits_and_each_waits_for_its_own_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, times = 8, 3
    commits: list[int] = []
    with closing(Startup(tmp_path, StoreSettings())) as memory:
        append = memory.store.append

        def counted(entries: Sequence[Entry]) -> None:
            commits.append(len(entries))
            append(entries)

        monkeypatch.setattr(memory.store, "append", counted)
        scribe = Recorder(load_product(), memory.store, memory.state, HostClock())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scribe.run)
            await wait_all_tasks_blocked()
            rate = await waiting.observation_rate(scribe, count(1), tasks, times)
            nursery.cancel_scope.cancel()
        events = [entry.event for entry in memory.store.iter_entries()]
    assert [one.energy_wh.scaleb(1) for one in events if isinstance(one, MeterRead)] == [
        *range(1, tasks * times + 1)
    ]
    assert len(commits) == times
    assert rate > 0


def test_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.bench.__main__.QUICK", Size(entries=2_000, rounds=1, repetitions=5))
    assert (
        main(["--quick", "--directory", str(tmp_path), "--only", "disk", "--only", "history"]) == 0
    )
    told = capsys.readouterr().out
    assert "durable append p99, by a thread" in told
    assert "replay and fold" in told
    assert "station verify, 2000 entries" in told
    assert not list(tmp_path.iterdir()), "nothing is left"
    assert measures.FULL.rounds >= 5
