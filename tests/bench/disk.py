"""Cost of a durable entry: time, and bytes written."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import trio

from journal.events import Entry
from journal.storage.store import Store
from station.runtime.loop.commit_thread import CommitThread
from station.runtime.loop.startup import event_registry
from station.simulation.world import JOURNAL_ID
from tests.bench import waiting
from tests.bench.journals import endless_entries, simulated_template
from tests.bench.measures import Row, Size, median_ratio, percentile_of
from tests.bench.peers import Peer

PAGE: Final = os.urandom(4096)
RAW_PAGES: Final = 1024
KB: Final = 1000


class RawDisk:
    """The limit of the machine: overwrite 4 KiB and wait until they are on the disk."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT)
        for page in range(RAW_PAGES):
            os.pwrite(self._file, PAGE, page * len(PAGE))
        os.fsync(self._file)
        self._page = 0

    def write_page(self) -> None:
        self._page = (self._page + 1) % RAW_PAGES
        os.pwrite(self._file, PAGE, self._page * len(PAGE))
        os.fdatasync(self._file)


def measure_rows(directory: Path, size: Size, peer: Peer | None) -> Iterator[Row]:
    """The rows about appending."""
    with Store.open(
        directory / "journal.db", event_registry(), journal_id_if_new=JOURNAL_ID
    ) as store:
        simulated_template()  # it needs a loop of its own
        source = endless_entries()
        raw = RawDisk(directory / "raw")
        with CommitThread(store.write_rows) as writer:
            yield from trio.run(_append_latencies, store, writer, source, raw, size)
        if peer is None:
            yield from waiting.unmeasured_rows("no eventsourcing: `make bench` installs it")
        else:
            yield from waiting.measure_rows(directory / "recorder", store, source, size, peer)
        yield from _bytes_per_entry(store, source, size)


async def _append_latencies(
    store: Store, writer: CommitThread, source: Iterator[Entry], raw: RawDisk, size: Size
) -> list[Row]:
    """Raw and ours in turn, so that both see the same disk."""
    inline: list[list[float]] = []
    in_thread: list[list[float]] = []
    raw_s: list[list[float]] = []
    for _ in range(size.rounds):
        for each in (inline, in_thread, raw_s):
            each.append([])
        for _ in range(size.repetitions):
            raw_s[-1].append(_time_call(raw.write_page))
            inline[-1].append(_time_call(partial(store.append, [next(source)])))
            entry = next(source)
            began = time.perf_counter()
            await writer.write_and_wait(store.chain_rows([entry]))
            in_thread[-1].append(time.perf_counter() - began)
            if store.is_checkpoint_due:
                await trio.to_thread.run_sync(store.checkpoint)
    rows = []
    for name, ours in (("in the loop", inline), ("in a thread, as in service", in_thread)):
        for part, limit in ((0.5, 2.0), (0.99, 2.5)):
            mine = [percentile_of(seconds, part) for seconds in ours]
            limits = [percentile_of(seconds, part) for seconds in raw_s]
            rows.append(
                Row(
                    f"durable append p{part * 100:.0f}, {name}",
                    median_ratio(mine, limits),
                    "x raw",
                    limit,
                    details=f"{_format_us(mine)} us; raw {_format_us(limits)} us",
                )
            )
    return rows


def _format_us(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1e6:.0f}"


def _time_call(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _bytes_per_entry(store: Store, source: Iterator[Entry], size: Size) -> Iterator[Row]:
    """Bytes written to the device per entry, for the log and the database file."""
    commits = size.repetitions * 2  # so that there are many checkpoints, not only the last
    for group, limit in ((1, 11), (10, 3), (100, 2)):
        store.checkpoint()
        before = _device_bytes_written()
        for _ in range(commits):
            store.append(list(islice(source, group)))
            if store.is_checkpoint_due:
                store.checkpoint()
        store.checkpoint()
        written = _device_bytes_written() - before
        each = written / (commits * group) / KB if written else math.nan  # on tmpfs the count is 0
        yield Row(f"written per entry, {group} in a commit", each, "KB", limit)


def _device_bytes_written() -> int:
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise OSError("/proc/self/io has no write_bytes")
