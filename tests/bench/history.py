"""Speed and memory of reading, replaying and verifying a long journal."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from journal.state import State, apply_entries
from journal.storage.reader import Reader
from station.runtime.loop.startup import event_registry
from station.simulation.world import JOURNAL_ID
from tests.bench import journals
from tests.bench.measures import Row, Size, cpu_time_of, median_ratio, run_command

PAIRED_ENTRIES: Final = 200_000  # of each pair; the whole journal is measured by the commands
READ_SQL: Final = "SELECT kind, version, body FROM entry WHERE seq <= ? ORDER BY seq"
RSS_MIB: Final = 40


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
