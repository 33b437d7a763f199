"""How fast is a long journal read, replayed and verified, and in how much memory?"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from journal.reader import Reader
from journal.state import State, folded
from station.runtime.memory import registry
from station.simulation.world import JOURNAL_ID
from tests.bench import journals
from tests.bench.measures import Row, Size, ratio, run, worked_s

PAIRED: Final = 200_000  # entries of each pair; the whole is measured once, by the commands
READ: Final = "SELECT kind, version, body FROM entry WHERE seq <= ? ORDER BY seq"
RSS_MIB: Final = 40


def rows(directory: Path, size: Size) -> Iterator[Row]:
    """The rows about reading."""
    path = directory / "long" / "journal.db"
    began = time.perf_counter()
    journals.written(path.parent, size.entries)
    rate = size.entries / (time.perf_counter() - began)
    file_bytes = path.stat().st_size
    beside = f"{rate:.0f}/s written; {file_bytes / size.entries:.0f} B each"
    yield Row("a journal of so many entries", file_bytes / 2**20, "MiB", beside=beside)
    yield _replay(path, min(PAIRED, size.entries), size)
    for command in (["replay", "--state"], ["replay"], ["verify"]):
        arguments = [sys.executable, "-m", "station", command[0], str(path), *command[1:]]
        ended = run(arguments)
        assert ended.exit_code == 0, arguments
        what = f"station {' '.join(command)}, {size.entries} entries"
        yield Row(f"{what}: per second", size.entries / ended.worked_s, "entries")
        yield Row(f"{what}: peak RSS", ended.peak_mib, "MiB")


def _replay(path: Path, last: int, size: Size) -> Row:
    with Reader.open(path, registry()) as reader:
        reader_of = registry().readers

        def decoded() -> None:
            for kind, version, body in reader.connection.execute(READ, (last,)):
                reader_of[kind, version](body)

        def replayed() -> None:
            folded(State(JOURNAL_ID), reader.entries(1, last))

        alone, whole = [], []
        for _ in range(size.rounds):
            alone.append(worked_s(decoded))
            whole.append(worked_s(replayed))
    rates = [last / statistics.median(each) for each in (whole, alone)]
    beside = "{:.0f}/s; read and decode {:.0f}/s".format(*rates)
    return Row("replay and fold", ratio(alone, whole), "x decode", 0.8, ">=", beside)
