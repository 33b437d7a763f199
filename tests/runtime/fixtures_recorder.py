"""A recorder with a journal of its own and a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from journal.events import Observation
from journal.observations import CableReported, ContactorReported, StationStarted
from journal.state import State
from journal.storage.store import Store
from station.core.context import Product
from station.core.device_model.model import DeviceModel
from station.profiles import load_profile
from station.runtime.loop.commit_thread import CommitThread, WriteRows
from station.runtime.loop.recorder import Recorder
from station.runtime.loop.startup import event_registry

JOURNAL_ID = "0b8c7f4e-98a5-4f2e-8f5d-3b8a5f1c2d3e"
PROFILE = load_profile("development")
PRODUCT = Product(PROFILE, DeviceModel(PROFILE))
STATION_STARTED = StationStarted(
    "boot-1", "test", "development", "CS001", ((1, (1,)), (2, (1,))), None, None
)
IDLE_REPORTS: tuple[Observation, ...] = tuple(
    report
    for evse_id in (1, 2)
    for report in (CableReported(evse_id, 1, False), ContactorReported(evse_id, False))
)


class ManualClock:
    """A clock that moves only by `advance`."""

    def __init__(self) -> None:
        self.now_ms = 1_000
        self.now_utc = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def uptime_ms(self) -> int:
        return self.now_ms

    def utc(self) -> datetime:
        return self.now_utc

    def advance(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)
        self.now_utc += timedelta(seconds=seconds)


@contextmanager
def open_recorder(
    directory: Path, *, make_writer: Callable[[Store], WriteRows] | None = None, **options: Any
) -> Iterator[tuple[Recorder, Store, ManualClock]]:
    """A recorder; with `make_writer` its commits are written in a thread by what it returns."""
    clock = ManualClock()
    with (
        Store.open(
            directory / "journal.db", event_registry(), journal_id_if_new=JOURNAL_ID
        ) as store,
        CommitThread(make_writer(store)) if make_writer else nullcontext() as commit_thread,
    ):
        recorder = Recorder(
            PRODUCT, store, State(store.journal_id), clock, commit_thread=commit_thread, **options
        )
        yield recorder, store, clock
