"""A scribe on a journal of its own, under a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from journal.observations import CableReported, ContactorReported, StationStarted
from journal.state import State
from journal.store import Store
from journal.terms import Observation
from station.case import Product
from station.devicemodel import DeviceModel
from station.profiles import load
from station.runtime.memory import registry
from station.runtime.scribe import Scribe

JOURNAL_ID = "0b8c7f4e-98a5-4f2e-8f5d-3b8a5f1c2d3e"
PROFILE = load("development")
PRODUCT = Product(PROFILE, DeviceModel(PROFILE))
STARTED = StationStarted(
    "boot-1", "test", "development", "CS001", ((1, (1,)), (2, (1,))), None, None
)
IDLE: tuple[Observation, ...] = tuple(
    report
    for evse_id in (1, 2)
    for report in (CableReported(evse_id, 1, False), ContactorReported(evse_id, False))
)


class HandClock:
    """Stands still until somebody moves it."""

    def __init__(self) -> None:
        self.ms = 1_000
        self.wall = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def uptime_ms(self) -> int:
        return self.ms

    def utc(self) -> datetime:
        return self.wall

    def move(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)
        self.wall += timedelta(seconds=seconds)


@contextmanager
def a_scribe(directory: Path, **options: Any) -> Iterator[tuple[Scribe, Store, HandClock]]:
    clock = HandClock()
    with Store.open(directory / "journal.db", registry(), journal_id_if_new=JOURNAL_ID) as store:
        state = State(store.journal_id)
        yield Scribe(PRODUCT, store, state, clock, **options), store, clock
