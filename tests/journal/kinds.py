"""A small journal of its own: events, a registry and a clock for the tests of the ground."""

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

from journal.codec import Registry
from journal.events import Entry, Event, IdToken
from journal.maintenance.retention import ArchiveResult, RetentionLimits, archive_oldest_entries
from journal.storage.connection import StoreSettings
from journal.storage.store import Store

JOURNAL_ID = "5f0c7c6e-3d0b-4b0e-9a51-0d6f1c2b3a49"
START = datetime(2026, 11, 22, 17, 25, 8, 123000, tzinfo=UTC)
SMALL_JOURNAL = StoreSettings(checkpoint_pages=16, grow_bytes=64 << 10)


class MeterRead(Event, frozen=True):
    """A reading."""

    evse_id: int
    energy_wh: Decimal


class FrameHeard(Event, frozen=True):
    """An OCPP frame, whatever it says."""

    payload: dict[str, Any]


class TokenShown(Event, frozen=True):
    """A person at the reader."""

    id_token: IdToken


class LidOpened(Event, frozen=True):
    """A kind with a past: version 1 said `open_s`, version 2 `open_ms`, version 3 adds who."""

    VERSION: ClassVar[int] = 3

    open_ms: int
    who: str | None


def lid_opened_1_to_2(body: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds, as everywhere else."""
    return {"open_ms": int(body["open_s"] * 1000)}


def lid_opened_2_to_3(body: dict[str, Any]) -> dict[str, Any]:
    """Nobody asked, before version 3."""
    return body | {"who": None}


UPCASTERS = {("LidOpened", 1): lid_opened_1_to_2, ("LidOpened", 2): lid_opened_2_to_3}
REGISTRY = Registry([MeterRead, FrameHeard, TokenShown, LidOpened], UPCASTERS)


def fixed_entropy() -> Callable[[int], bytes]:
    """Entropy that is the same in every run."""
    throws = count()
    return lambda size: sha256(f"throw {next(throws)}".encode()).digest()[:size]


def make_entry(seq: int, event: Event | None = None, cause: int | None = None) -> Entry:
    """Entry `seq`, a second after the one before it."""
    event = event or MeterRead(1 + seq % 2, Decimal(f"{seq}.600"))
    return Entry(seq, START + timedelta(seconds=seq), 1000 * seq, event, cause)


def make_entries(first: int, last: int) -> Iterator[Entry]:
    """Readings `first` to `last`; every third was decided because of the one before."""
    for seq in range(first, last + 1):
        yield make_entry(seq, cause=None if seq % 3 else seq - 1)


def open_writable(path: Path, settings: StoreSettings = SMALL_JOURNAL) -> Store:
    """The journal at `path`, for writing."""
    return Store.open(
        path, REGISTRY, journal_id_if_new=JOURNAL_ID, settings=settings, entropy=fixed_entropy()
    )


def archive_until(store: Store, path: Path, last: int, **more: Any) -> ArchiveResult | None:
    """Move what may go of entries up to `last`, one segment."""
    limits = RetentionLimits(last + 1, (), START + timedelta(days=999))
    return archive_oldest_entries(store, path, limits, **({"only_if_worthwhile": False} | more))


def run_hidden_statements(path: Path, *statements: str) -> None:
    """What somebody with a tool would do, and hide."""
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
    """A copy of a closed journal, with its archive."""
    for one in journal.parent.glob(f"{journal.stem}.*.gz"):
        shutil.copy(one, directory)
    return Path(shutil.copy(journal, directory / journal.name))


def write_journal(path: Path, last: int) -> Path:
    """A closed journal of `last` readings."""
    with open_writable(path) as store:
        store.append(list(make_entries(1, last)))
    return path
