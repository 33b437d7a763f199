"""How many durable entries a second are there, where somebody waits for each of them?

The journal alone is asked by one caller; the scribe, which judges every observation before the
commit and publishes the level after it, by one task and by many.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from itertools import count, islice
from pathlib import Path
from typing import Final

import trio

from journal.observations import MeterRead
from journal.state import State, evolve
from journal.store import Store, StoreSettings
from journal.terms import Entry
from station.runtime.clock import HostClock
from station.runtime.memory import Memory
from station.runtime.scribe import Scribe
from station.runtime.writer import Writer
from station.simulation.world import JOURNAL_ID, product
from tests.bench import journals
from tests.bench.measures import Row, Size, ratio
from tests.bench.peers import Peer

TASKS: Final = 64
PEERS_SAVE: Final = 100  # events in one
SAVES_PART: Final = 4  # so many times fewer of those that hold many
TENTHS: Final = 100_000_000  # of a Wh: a register higher than the journal knows
VOLTS: Final = Decimal("400.1")
AMPERES: Final = Decimal("125.0")


def rows(
    directory: Path, store: Store, source: Iterator[Entry], size: Size, peer: Peer
) -> list[Row]:
    """Entries per second beside events per second of `eventsourcing`, in turn."""
    journals.written(directory, len(journals.template().first))
    with (
        closing(Memory(directory, StoreSettings())) as memory,
        Writer(memory.store.write) as writer,
    ):
        scribe = Scribe(product(), memory.store, memory.state, HostClock(), writer=writer)
        return trio.run(_rows, Rates(store, source), scribe, memory.store, directory, size, peer)


class Rates:
    """The journal alone: encode, chain, commit, fold; nothing is judged."""

    def __init__(self, store: Store, source: Iterator[Entry]) -> None:
        self._store, self._source = store, source
        self._state = State(JOURNAL_ID)

    def appended(self, commits: int, entries: int) -> float:
        """Entries per second, so many in a commit."""
        began = time.perf_counter()
        for _ in range(commits):
            batch = list(islice(self._source, entries))
            self._store.append(batch)
            for entry in batch:
                self._state = evolve(self._state, entry)
            if self._store.checkpoint_due:
                self._store.checkpoint()
        return commits * entries / (time.perf_counter() - began)


async def _rows(
    alone: Rates, scribe: Scribe, store: Store, directory: Path, size: Size, peer: Peer
) -> list[Row]:
    times, saves = size.times, max(10, size.times // SAVES_PART)
    tenths = count(TENTHS)
    found: list[tuple[float, ...]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scribe.run)
        nursery.start_soon(_checkpoints, scribe, store)
        for turn in range(size.rounds):
            found.append(
                (
                    alone.appended(times, 1),
                    await observed(scribe, tenths, 1, times),
                    peer.number("events.py", directory / f"peer-1-{turn}.db", times, 1),
                    alone.appended(saves, TASKS),
                    await observed(scribe, tenths, TASKS, saves),
                    peer.number("events.py", directory / f"peer-{turn}.db", saves, PEERS_SAVE),
                )
            )
        nursery.cancel_scope.cancel()
    append, one, event, group, many, save = zip(*found, strict=True)
    return [
        _row("single durable events, the journal alone", append, event, 2.5),
        _row("the same, each judged by the scribe", one, event),
        _row(f"{TASKS} tasks wait, each for its entry, by the scribe", many, save, 3),
        _row(f"{TASKS} entries in a commit, the journal alone", group, save),
    ]


def unmeasured(why: str) -> Iterator[Row]:
    """The goals of which nothing is known."""
    yield Row("single durable events", float("nan"), "x es", 2.5, ">=", why)
    yield Row(f"{TASKS} tasks wait, each for its entry", float("nan"), "x es", 3, ">=", why)


async def observed(scribe: Scribe, tenths: Iterator[int], tasks: int, times: int) -> float:
    """Readings per second, where each task says a reading and waits until it is on the disk.

    `tenths` are registers in tenths of a Wh, each higher than the one before.
    """
    before = scribe.head.seq

    async def one() -> None:
        for _ in range(times):
            energy_wh = Decimal(next(tenths)).scaleb(-1)
            scribe.observe(MeterRead(1, energy_wh, voltage_v=VOLTS, current_a=AMPERES))
            while not _durable(scribe, energy_wh):
                await scribe.committed.wait()

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(one)
    took_s = time.perf_counter() - began
    assert scribe.head.seq - before >= tasks * times, "a reading is not in the journal"
    return tasks * times / took_s


def _durable(scribe: Scribe, energy_wh: Decimal) -> bool:
    """Whether this reading is in a commit: the register only grows, and no reading overtakes."""
    known = scribe.state.readings.of(1)
    return known is not None and known.read.energy_wh >= energy_wh


async def _checkpoints(scribe: Scribe, store: Store) -> None:
    """Beside the commits, as in service."""
    while True:
        await scribe.committed.wait()
        if store.checkpoint_due:
            await trio.to_thread.run_sync(store.checkpoint)


def _row(
    what: str, ours: Sequence[float], peers: Sequence[float], limit: float | None = None
) -> Row:
    beside = f"{statistics.median(ours):.0f}/s; eventsourcing {statistics.median(peers):.0f}/s"
    return Row(what, ratio(ours, peers), "x es", limit, ">=", beside)
