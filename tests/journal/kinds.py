"""A small journal for tests: events, a registry, entries and a clock."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from journal.codec import Registry
from journal.events import Entry, Event, IdToken
from journal.maintenance.retention import ArchiveResult, RetentionLimits, archive_oldest_entries
from journal.storage.connection import StoreSettings
from journal.storage.store import Store
from journal.upcasters import Body

JOURNAL_ID = "5f0c7c6e-3d0b-4b0e-9a51-0d6f1c2b3a49"
START = datetime(2026, 11, 22, 17, 25, 8, 123000, tzinfo=UTC)
SMALL_JOURNAL = StoreSettings(checkpoint_pages=16, grow_bytes=64 << 10)


class MeterRead(Event, frozen=True):
    """A reading."""

    evse_id: int
    energy_wh: Decimal


class FrameHeard(Event, frozen=True):
    """An OCPP frame."""

    payload: dict[str, Any]


class TokenShown(Event, frozen=True):
    """A presented token."""

    id_token: IdToken


class LidOpened(Event, frozen=True):
    """A kind with older versions: 1 had `open_s`, 2 `open_ms`, 3 adds `opened_by`."""

    VERSION: ClassVar[int] = 3

    open_ms: int
    opened_by: str | None


def lid_opened_1_to_2(body: Body) -> Body:
    """Milliseconds, as everywhere else."""
    open_ms = int(msgspec.json.decode(body["open_s"]) * 1000)
    return {"open_ms": msgspec.Raw(msgspec.json.encode(open_ms))}


def lid_opened_2_to_3(body: Body) -> Body:
    """Not recorded before version 3."""
    return body | {"opened_by": msgspec.Raw(b"null")}


UPCASTERS = {("LidOpened", 1): lid_opened_1_to_2, ("LidOpened", 2): lid_opened_2_to_3}
REGISTRY = Registry([MeterRead, FrameHeard, TokenShown, LidOpened], UPCASTERS)


def fixed_entropy() -> Callable[[int], bytes]:
    """Entropy that is the same in every run."""
    calls = count()
    return lambda size: sha256(f"call {next(calls)}".encode()).digest()[:size]


def make_entry(seq: int, event: Event | None = None, cause: int | None = None) -> Entry:
    """Entry `seq`, a second after the one before it."""
    event = event or MeterRead(1 + seq % 2, Decimal(f"{seq}.600"))
    return Entry(seq, START + timedelta(seconds=seq), 1000 * seq, event, cause)


def make_entries(first: int, last: int) -> Iterator[Entry]:
    """Readings `first` to `last`; every third has the one before as its cause."""
    for seq in range(first, last + 1):
        yield make_entry(seq, cause=None if seq % 3 else seq - 1)


def open_writable(path: Path, settings: StoreSettings = SMALL_JOURNAL) -> Store:
    """Open the journal at `path` for writing."""
    return Store.open(
        path, REGISTRY, journal_id_if_new=JOURNAL_ID, settings=settings, entropy=fixed_entropy()
    )


def archive_until(store: Store, path: Path, last: int, **more: Any) -> ArchiveResult | None:
    """Archive one segment of entries up to `last`."""
    limits = RetentionLimits(last + 1, (), START + timedelta(days=999))
    return archive_oldest_entries(store, path, limits, **({"only_if_worthwhile": False} | more))


def run_hidden_statements(path: Path, *statements: str) -> None:
    """Change the tables as a forger with a tool would, restoring the triggers."""
    connection = sqlite3.connect(path)
    guards = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
    for name, guard in guards.fetchall():
        connection.execute(f"DROP TRIGGER {name}")
        statements = (*statements, guard)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def copy_journal(directory: Path, journal: Path) -> Path:
    """Copy a closed journal with its archive."""
    for segment in journal.parent.glob(f"{journal.stem}.*.gz"):
        shutil.copy(segment, directory)
    return Path(shutil.copy(journal, directory / journal.name))


def write_journal(path: Path, last: int) -> Path:
    """Write and close a journal of `last` readings."""
    with open_writable(path) as store:
        store.append(list(make_entries(1, last)))
    return path
