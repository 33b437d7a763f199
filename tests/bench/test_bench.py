"""The functions of the bench measure what they report. `make bench` measures the goals."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

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
from tests.bench import exchange, journals, many, measures, protection, waiting
from tests.bench.__main__ import main
from tests.bench.exchange import ExchangeGroup
from tests.bench.measures import Row, Size, percentile_of, run_command

ENTRIES = 6_000


def test_a_journal_of_repeated_hours_verifies_and_ends_idle(tmp_path: Path) -> None:
    template = journals.simulated_template()
    hours = 1 + (ENTRIES - len(template.opening)) // len(template.hour)
    entries = len(template.opening) + hours * len(template.hour)
    path = journals.write_journal(tmp_path, entries)
    with Reader.open(path, event_registry()) as reader:
        state = State(JOURNAL_ID)
        for entry in reader.iter_entries():
            state = apply_entry(state, entry)
    assert entry.seq == entries
    assert not len(state.outbox), "every call is delivered"
    assert not state.outbox.id_token_by_call
    assert not state.transactions.open
    assert not state.authorizations.active
    assert not state.pending_replies.pending
    assert list(verify(path)) == []


def test_a_goal_is_a_minimum_or_a_maximum() -> None:
    assert Row("few", 2.0, "x", 2.0).is_met
    assert not Row("few", 2.1, "x", 2.0).is_met
    assert Row("many", 2.1, "x", 2.0, ">=").is_met
    assert not Row("many", 1.9, "x", 2.0, ">=").is_met
    assert Row("no goal", 99, "x").is_met
    assert "MISSED" in str(Row("few", 2.1, "x", 2.0))


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile_of(range(1, 101), 0.99) == 99
    assert percentile_of([7.0], 0.5) == 7.0


def test_the_peak_of_a_command_is_its_own() -> None:
    mebibytes = 60
    program = f"import time; data = b'x' * ({mebibytes} << 20); time.sleep(0.3)"
    large = run_command([sys.executable, "-c", program])
    empty = run_command([sys.executable, "-c", "import time; time.sleep(0.3)"])
    assert large.exit_code == empty.exit_code == 0
    assert mebibytes < large.peak_mib - empty.peak_mib + 1 < mebibytes + 10


def test_a_goal_that_was_not_measured_is_missed() -> None:
    assert not Row("not measured", float("nan"), "x", 2.0).is_met
    assert not Row("not measured", float("nan"), "x", 2.0, ">=").is_met


@pytest.mark.parametrize("program", [many.OUR_PROGRAM, many.PEER_PROGRAM])
def test_stations_and_peers_exchange_the_same_messages(program: str) -> None:
    stations, rounds = 2, 3
    crowd = many.run_crowd(program, stations, rounds)
    assert crowd.frames == stations * rounds * exchange.FRAMES_PER_ROUND
    assert crowd.busy_s > 0
    assert crowd.kib > 10_000, "a Python and two stations"


def test_an_exchange_fails_on_a_refusal_or_an_unexpected_frame() -> None:
    frames: list[str] = []
    ends: list[str] = []
    exchanges = ExchangeGroup()
    exchange = exchanges.add_exchange(frames.append, lambda: datetime.now(UTC))
    exchange.on_frame('[2,"a","StatusNotification",{}]')
    assert json.loads(frames.pop()) == [3, "a", {}]
    exchanges.start_rounds(1, lambda: ends.append("finished"))
    assert json.loads(frames.pop())[:3] == [2, "1", "GetVariables"]
    with pytest.raises(AssertionError, match="while"):
        exchange.on_frame('[2,"b","StatusNotification",{}]')
    with pytest.raises(AssertionError, match="Rejected"):
        exchange.on_frame('[3,"1",{"status":"Rejected"}]')
    with pytest.raises(AssertionError, match="response to 2, not 1"):
        exchange.on_frame('[3,"2",{"status":"Accepted"}]')
    assert not ends


async def test_many_tasks_share_commits_and_each_waits_for_its_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, times = 8, 3
    commits: list[int] = []
    with closing(Startup(tmp_path, StoreSettings())) as startup:
        append = startup.store.append

        def counting_append(entries: Sequence[Entry]) -> None:
            commits.append(len(entries))
            append(entries)

        monkeypatch.setattr(startup.store, "append", counting_append)
        recorder = Recorder(load_product(), startup.store, startup.state, HostClock())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(recorder.run)
            await wait_all_tasks_blocked()
            rate = await waiting.observation_rate(recorder, count(1), tasks, times)
            nursery.cancel_scope.cancel()
        events = [entry.event for entry in startup.store.iter_entries()]
    assert [event.energy_wh.scaleb(1) for event in events if isinstance(event, MeterRead)] == [
        *range(1, tasks * times + 1)
    ]
    assert len(commits) == times
    assert rate > 0


def test_a_quick_run_prints_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.bench.__main__.QUICK", Size(entries=2_000, rounds=1, repetitions=5))
    assert (
        main(["--quick", "--directory", str(tmp_path), "--only", "disk", "--only", "history"]) == 0
    )
    table = capsys.readouterr().out
    assert "durable append p99, in a thread" in table
    assert "replay: decode and apply" in table
    assert "station verify, 2000 entries" in table
    assert not list(tmp_path.iterdir()), "the directory is empty again"
    assert measures.FULL.rounds >= 5


def test_a_protection_is_as_fast_beside_a_flood_a_slow_disk_and_an_export() -> None:
    """As a ratio to the quiet run; the I/O module's cycle of 100 ms adds to both."""
    size = Size(entries=2_000, rounds=1, repetitions=60)
    with TemporaryDirectory(prefix="bench-") as directory:  # short, for the control socket
        rows = list(protection.measure_rows(Path(directory), size))
    quiet, *disturbed = (row for row in rows if row.name.startswith("emergency stop to output off"))
    assert len(disturbed) == 4  # without an EV, and the three disturbances
    for row in disturbed:
        assert row.figure <= 3 * quiet.figure + 200, (str(quiet), str(row))
    quiet_hold, *holds = (row for row in rows if row.name.startswith("longest step"))
    for row in holds:  # of processor time; a list of 4,000 idTokens took 150 ms
        assert row.figure <= 8 * quiet_hold.figure + 40, (str(quiet_hold), str(row))
