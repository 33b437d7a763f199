"""Durable entries a second, with a caller that waits for each of them.

The journal alone has one caller. The recorder, which decides on every observation before the commit
and publishes the desired state after it, has one task and then many.
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

from journal.events import Entry
from journal.observations import MeterRead
from journal.state import State, apply_entry
from journal.storage.connection import StoreSettings
from journal.storage.store import Store
from station.runtime.clock import HostClock
from station.runtime.loop.commit_thread import CommitThread
from station.runtime.loop.recorder import Recorder
from station.runtime.loop.startup import Startup
from station.simulation.world import JOURNAL_ID, load_product
from tests.bench import journals
from tests.bench.measures import Row, Size, median_ratio
from tests.bench.peers import Peer

TASKS: Final = 64
PEER_BATCH: Final = 100  # events in a save
BATCH_DIVISOR: Final = 4  # commits with many entries are fewer by this factor
FIRST_REGISTER_TENTHS: Final = 100_000_000  # of a Wh: higher than any register in the journal
VOLTS: Final = Decimal("400.1")
AMPERES: Final = Decimal("125.0")


def measure_rows(
    directory: Path, store: Store, source: Iterator[Entry], size: Size, peer: Peer
) -> list[Row]:
    """Entries per second and events per second of `eventsourcing`, in turn."""
    journals.write_journal(directory, len(journals.simulated_template().opening))
    with (
        closing(Startup(directory, StoreSettings())) as startup,
        CommitThread(startup.store.write_rows) as writer,
    ):
        recorder = Recorder(
            load_product(), startup.store, startup.state, HostClock(), commit_thread=writer
        )
        return trio.run(
            _measure_rows,
            JournalRates(store, source),
            recorder,
            startup.store,
            directory,
            size,
            peer,
        )


class JournalRates:
    """The journal alone: encode, chain, commit, apply; no decisions."""

    def __init__(self, store: Store, source: Iterator[Entry]) -> None:
        self._store, self._source = store, source
        self._state = State(JOURNAL_ID)

    def append_rate(self, commits: int, entries: int) -> float:
        """Entries per second, with this number in a commit."""
        began = time.perf_counter()
        for _ in range(commits):
            batch = list(islice(self._source, entries))
            self._store.append(batch)
            for entry in batch:
                self._state = apply_entry(self._state, entry)
            if self._store.is_checkpoint_due:
                self._store.checkpoint()
        return commits * entries / (time.perf_counter() - began)


async def _measure_rows(
    alone: JournalRates, recorder: Recorder, store: Store, directory: Path, size: Size, peer: Peer
) -> list[Row]:
    times, saves = size.repetitions, max(10, size.repetitions // BATCH_DIVISOR)
    tenths = count(FIRST_REGISTER_TENTHS)
    rates: list[tuple[float, ...]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recorder.run)
        nursery.start_soon(_run_checkpoints, recorder, store)
        for round_number in range(size.rounds):
            rates.append(
                (
                    alone.append_rate(times, 1),
                    await observation_rate(recorder, tenths, 1, times),
                    peer.run_program(
                        "events.py", directory / f"peer-1-{round_number}.db", times, 1
                    ),
                    alone.append_rate(saves, TASKS),
                    await observation_rate(recorder, tenths, TASKS, saves),
                    peer.run_program(
                        "events.py", directory / f"peer-{round_number}.db", saves, PEER_BATCH
                    ),
                )
            )
        nursery.cancel_scope.cancel()
    append, single, event, group, many, save = zip(*rates, strict=True)
    return [
        _rate_row("single durable events, the journal alone", append, event, 2.5),
        _rate_row("the same, each decided by the recorder", single, event),
        _rate_row(f"{TASKS} tasks wait, each for its entry, by the recorder", many, save, 3),
        _rate_row(f"{TASKS} entries in a commit, the journal alone", group, save),
    ]


def unmeasured_rows(reason: str) -> Iterator[Row]:
    """The rows that cannot be measured; they count as missed."""
    yield Row("single durable events", float("nan"), "x es", 2.5, ">=", reason)
    yield Row(f"{TASKS} tasks wait, each for its entry", float("nan"), "x es", 3, ">=", reason)


async def observation_rate(
    recorder: Recorder, tenths: Iterator[int], tasks: int, times: int
) -> float:
    """Readings per second, where each task reports a reading and waits until it is on the disk.

    `tenths` are registers in tenths of a Wh, each higher than the one before.
    """
    before = recorder.head.seq

    async def report_readings() -> None:
        for _ in range(times):
            energy_wh = Decimal(next(tenths)).scaleb(-1)
            recorder.observe(MeterRead(1, energy_wh, voltage_v=VOLTS, current_a=AMPERES))
            while not _is_durable(recorder, energy_wh):
                await recorder.committed.wait()

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(report_readings)
    elapsed_s = time.perf_counter() - began
    assert recorder.head.seq - before >= tasks * times, "a reading is not in the journal"
    return tasks * times / elapsed_s


def _is_durable(recorder: Recorder, energy_wh: Decimal) -> bool:
    """Whether this reading is committed. The register only grows, and readings keep their order."""
    reading = recorder.state.readings.on_evse(1)
    return reading is not None and reading.meter_read.energy_wh >= energy_wh


async def _run_checkpoints(recorder: Recorder, store: Store) -> None:
    """Checkpoint during the commits, as in service."""
    while True:
        await recorder.committed.wait()
        if store.is_checkpoint_due:
            await trio.to_thread.run_sync(store.checkpoint)


def _rate_row(
    row_name: str, ours: Sequence[float], peers: Sequence[float], limit: float | None = None
) -> Row:
    details = f"{statistics.median(ours):.0f}/s; eventsourcing {statistics.median(peers):.0f}/s"
    return Row(row_name, median_ratio(ours, peers), "x es", limit, ">=", details)
