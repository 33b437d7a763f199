"""What does a durable entry cost: time, and bytes written?"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import trio

from journal.store import Store
from journal.terms import Entry
from station.runtime.memory import registry
from station.simulation.world import JOURNAL_ID
from tests.bench.journals import hours, template
from tests.bench.measures import Row, Size, percentile, ratio
from tests.bench.peers import Peer

PAGE: Final = os.urandom(4096)
RAW_PAGES: Final = 1024
GROUP: Final = 64  # tasks that wait for their entry
PEERS_GROUP: Final = 100  # events in one save


class Raw:
    """The machine's own limit: overwrite 4 KiB, and wait until they are on the disk."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT)
        for page in range(RAW_PAGES):
            os.pwrite(self._file, PAGE, page * len(PAGE))
        os.fsync(self._file)
        self._page = 0

    def once(self) -> None:
        self._page = (self._page + 1) % RAW_PAGES
        os.pwrite(self._file, PAGE, self._page * len(PAGE))
        os.fdatasync(self._file)


def rows(directory: Path, size: Size, peer: Peer | None) -> Iterator[Row]:
    """The rows about appending. Without the peer, those that compare with it are left out."""
    with Store.open(directory / "journal.db", registry(), journal_id_if_new=JOURNAL_ID) as store:
        template()  # it needs a loop of its own
        source = hours()
        raw = Raw(directory / "raw")
        yield from trio.run(_latencies, store, source, raw, size)
        if peer is not None:
            yield from _rates(directory, store, source, size, peer)
        yield from _bytes(store, source, size)


async def _latencies(store: Store, source: Iterator[Entry], raw: Raw, size: Size) -> list[Row]:
    """Raw and ours in turn, so that both meet the same disk."""
    inline: list[list[float]] = []
    handed: list[list[float]] = []
    alone: list[list[float]] = []
    for _ in range(size.rounds):
        for each in (inline, handed, alone):
            each.append([])
        for _ in range(size.times):
            alone[-1].append(_timed(raw.once))
            inline[-1].append(_timed(lambda: store.append([next(source)])))
            entry = next(source)
            began = time.perf_counter()
            await trio.to_thread.run_sync(store.append, [entry])
            handed[-1].append(time.perf_counter() - began)
            if store.checkpoint_due:
                await trio.to_thread.run_sync(store.checkpoint)
    found = []
    for what, ours in (("in the loop", inline), ("by a thread, as in service", handed)):
        for part, limit in ((0.5, 2.0), (0.99, 2.5)):
            mine = [percentile(one, part) for one in ours]
            limits = [percentile(one, part) for one in alone]
            found.append(
                Row(
                    f"durable append p{part * 100:.0f}, {what}",
                    ratio(mine, limits),
                    "x raw",
                    limit,
                    beside=f"{_us(mine)} us; raw {_us(limits)} us",
                )
            )
    return found


def _us(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1e6:.0f}"


def _timed(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _rates(
    directory: Path, store: Store, source: Iterator[Entry], size: Size, peer: Peer
) -> Iterator[Row]:
    """Entries per second beside events per second."""
    pairs = (
        ("single durable events", 1, 1, 2.5),
        (f"group commit, {GROUP} tasks wait", GROUP, PEERS_GROUP, 3.0),
    )
    for what, ours, theirs, limit in pairs:
        mine, peers = [], []
        for number in range(size.rounds):
            commits = max(10, size.times // ours)
            began = time.perf_counter()
            for _ in range(commits):
                store.append(list(islice(source, ours)))
                if store.checkpoint_due:
                    store.checkpoint()
            mine.append(commits * ours / (time.perf_counter() - began))
            file = directory / f"peer-{ours}-{number}.db"
            saves = max(10, size.times // theirs)
            peers.append(peer.number("events.py", file, saves, theirs))
        yield Row(
            what,
            ratio(mine, peers),
            "x es",
            limit,
            ">=",
            f"{statistics.median(mine):.0f}/s; eventsourcing {statistics.median(peers):.0f}/s",
        )


def _bytes(store: Store, source: Iterator[Entry], size: Size) -> Iterator[Row]:
    """Written to the device, the log's and the file's, per entry."""
    for group, limit in ((1, 11), (10, 3), (100, 2)):
        before = _written_bytes()
        commits = max(10, size.times * 2 // group)
        for _ in range(commits):
            store.append(list(islice(source, group)))
            if store.checkpoint_due:
                store.checkpoint()
        store.checkpoint()
        kib = (_written_bytes() - before) / (commits * group) / 1024
        yield Row(f"written per entry, {group} in a commit", kib, "KiB", limit)


def _written_bytes() -> int:
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise OSError("the kernel does not tell write_bytes")
