"""Speed and memory of reading, replaying and verifying a long journal."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from journal.state import PROJECTIONS, State, apply_entries, encode_state
from journal.storage.reader import Reader
from journal.storage.snapshots import PartialSnapshot, Snapshot
from station.runtime.loop.startup import event_registry
from station.runtime.loop.state_snapshot import complete_snapshot
from station.simulation.world import JOURNAL_ID
from tests.bench import journals
from tests.bench.measures import Row, Size, cpu_time_of, median_ratio, run_command

PAIRED_ENTRIES: Final = 200_000  # of each pair; the whole journal is measured by the commands
READ_SQL: Final = "SELECT kind, version, body FROM entry WHERE seq <= ? ORDER BY seq"
RSS_MIB: Final = 40
# Projections whose code changes in an update, and the replay's part of a replay of all of them:
# one with seldom entries, two with many.
UPDATES: Final = {("modem",): 0.25, ("outbox",): 0.5, ("energy_ledger",): 0.6}


def measure_rows(directory: Path, size: Size) -> Iterator[Row]:
    """The rows about reading."""
    path = directory / "long" / "journal.db"
    began = time.perf_counter()
    journals.write_journal(path.parent, size.entries)
    rate = size.entries / (time.perf_counter() - began)
    file_bytes = path.stat().st_size
    details = f"{rate:.0f}/s written; {file_bytes / size.entries:.0f} B each"
    yield Row(f"a journal of {size.entries} entries", file_bytes / 2**20, "MiB", details=details)
    yield _measure_replay(path, min(PAIRED_ENTRIES, size.entries), size)
    yield from _measure_update(path, min(PAIRED_ENTRIES, size.entries), size)
    for command in (["replay", "--state"], ["replay"], ["verify"]):
        arguments = [sys.executable, "-m", "station", command[0], str(path), *command[1:]]
        ended = run_command(arguments)
        assert ended.exit_code == 0, arguments
        name = f"station {' '.join(command)}, {size.entries} entries"
        yield Row(f"{name}: per second", size.entries / ended.cpu_s, "entries")
        yield Row(f"{name}: peak RSS", ended.peak_mib, "MiB")


def _measure_replay(path: Path, last: int, size: Size) -> Row:
    with Reader.open(path, event_registry()) as reader:
        decoders = event_registry().decoders

        def decode_all() -> None:
            for kind, version, body in reader.connection.execute(READ_SQL, (last,)):
                decoders[kind, version](body)

        def replay_all() -> None:
            apply_entries(State(JOURNAL_ID), reader.iter_entries(1, last))

        decode_s, replay_s = [], []
        for _ in range(size.rounds):
            decode_s.append(cpu_time_of(decode_all))
            replay_s.append(cpu_time_of(replay_all))
    rates = [last / statistics.median(each) for each in (replay_s, decode_s)]
    details = "{:.0f}/s; read and decode {:.0f}/s".format(*rates)
    return Row(
        "replay: decode and apply", median_ratio(decode_s, replay_s), "x decode", 0.8, ">=", details
    )


def _measure_update(path: Path, last: int, size: Size) -> Iterator[Row]:
    """The start after an update in which the code of these projections has changed."""
    with Reader.open(path, event_registry()) as reader:

        def replay_all() -> State:
            return apply_entries(State(JOURNAL_ID), reader.iter_entries(1, last))

        state, digest = replay_all(), reader.digest_at(last)
        assert digest is not None
        body = memoryview(encode_state(state))
        for changed, limit in UPDATES.items():
            valid = frozenset(PROJECTIONS) - set(changed)
            snapshot = PartialSnapshot(last, digest, body, valid)
            assert complete_snapshot(reader, snapshot) == Snapshot(last, state)
            all_s, changed_s = [], []
            for _ in range(size.rounds):
                all_s.append(cpu_time_of(replay_all))
                changed_s.append(cpu_time_of(partial(complete_snapshot, reader, snapshot)))
            name = f"replay after an update of {', '.join(changed)}"
            ratio = median_ratio(changed_s, all_s)
            details = f"{statistics.median(changed_s):.2f} s for {last} entries"
            yield Row(name, ratio, "x whole", limit, details=details)
