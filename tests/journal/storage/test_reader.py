"""Readers do not delay the station that writes the journal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from journal.maintenance.verify import verify
from journal.storage.errors import JournalFailed
from journal.storage.reader import _ENTRIES_QUERY, Reader
from tests.journal.kinds import (
    REGISTRY,
    SMALL_JOURNAL,
    LidOpened,
    archive_until,
    make_entries,
    make_entry,
    open_writable,
    run_hidden_statements,
)

REPEATED_READER = """
import sys
from pathlib import Path
from journal.storage.reader import _ENTRIES_QUERY, Reader
from tests.journal.kinds import REGISTRY

print("reading", flush=True)
while True:
    with Reader.open(Path(sys.argv[1]), REGISTRY) as reader:
        for _ in reader.iter_entries():
            pass
        reader.find_seqs(count_max=5, containing="nothing like it")
"""
OPEN_READER = """
import sqlite3, sys, time

journal = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, isolation_level=None)
journal.execute("BEGIN")
journal.execute("SELECT count(*) FROM entry").fetchone()
print("reading", flush=True)
time.sleep(3600)
"""
ROUNDS, APPENDS = 6, 40


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture(
    params=[REPEATED_READER, OPEN_READER], ids=["reads_all_the_time", "holds_one_state"]
)
def concurrent_reader(
    request: pytest.FixtureRequest, path: Path
) -> Iterator[subprocess.Popen[str]]:
    """Another process that reads 5,000 entries repeatedly, or keeps a transaction open."""
    with open_writable(path) as store:
        store.append(list(make_entries(1, 5000)))
    with subprocess.Popen(
        [sys.executable, "-c", request.param, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        yield process
        os.kill(process.pid, signal.SIGKILL)


def test_a_commit_takes_no_longer_beside_a_reader(
    path: Path, concurrent_reader: subprocess.Popen[str]
) -> None:
    """In every other round the reader is stopped: both share the load of the machine."""
    took_ms: dict[bool, list[float]] = {True: [], False: []}
    with open_writable(path) as store:
        for turn in range(2 * ROUNDS):
            reads = turn % 2 == 0
            os.kill(concurrent_reader.pid, signal.SIGCONT if reads else signal.SIGSTOP)
            for _ in range(APPENDS):
                head = store.head.seq
                made = list(make_entries(head + 1, head + 3))
                began = time.perf_counter()
                store.append(made)
                took_ms[reads].append(1000 * (time.perf_counter() - began))
        os.kill(concurrent_reader.pid, signal.SIGCONT)
        assert store.head.seq == 5000 + 2 * ROUNDS * APPENDS * 3
    beside_ms, alone_ms = median(took_ms[True]), median(took_ms[False])
    print(f"median {beside_ms:.2f} ms beside a reader, {alone_ms:.2f} ms alone")
    assert beside_ms < 3 * alone_ms + 2


def test_entries_leave_the_file_beside_a_reader(
    path: Path, concurrent_reader: subprocess.Popen[str]
) -> None:
    """The reader gets them from the archive, or as they were when it began."""
    with open_writable(path) as store:
        for last in range(500, 5000, 500):
            assert archive_until(store, path, last)
            store.append(list(make_entries(store.head.seq + 1, store.head.seq + 10)))
        assert concurrent_reader.poll() is None, "the reader failed"
    assert list(verify(path)) == []


def test_a_slow_reader_keeps_the_log_as_short_as_it_was_p6(path: Path) -> None:
    """The reader stops in the middle of the entries and holds no lock."""
    log = path.with_name("journal.db-wal")
    with open_writable(path) as store:
        store.append(list(make_entries(1, 1000)))
        store.checkpoint()
        with Reader.open(path, REGISTRY) as reader:
            slow = reader.iter_entries()
            next(slow)
            for _ in range(500):
                store.append(list(make_entries(store.head.seq + 1, store.head.seq + 10)))
                if store.is_checkpoint_due:
                    assert store.checkpoint()
            assert log.stat().st_size <= SMALL_JOURNAL.grow_bytes + (1 << 20)
            assert sum(1 for _ in slow) == 5999


def test_a_reader_with_an_open_transaction_makes_the_log_grow_until_it_ends_p6(path: Path) -> None:
    """Not our reader but a tool in a transaction. Commits continue, and are moved when it ends."""
    log = path.with_name("journal.db-wal")
    with open_writable(path) as store, Reader.open(path, REGISTRY) as reader:
        store.append(list(make_entries(1, 100)))
        reader.connection.execute("BEGIN")
        reader.connection.execute("SELECT max(seq) FROM entry").fetchone()
        for _ in range(100):
            store.append(list(make_entries(store.head.seq + 1, store.head.seq + 10)))
        assert not store.checkpoint(), "all of it was moved, although a reader uses the old state"
        grown = log.stat().st_size
        assert grown > 4 * SMALL_JOURNAL.grow_bytes
        reader.connection.execute("COMMIT")
        assert store.checkpoint()
        for _ in range(5):
            store.append(list(make_entries(store.head.seq + 1, store.head.seq + 10)))
        assert log.stat().st_size <= grown
    assert not log.exists()


LIDS = [1, 2, 300, 450, 600]  # entries of the kind LidOpened


def write_lids(path: Path, archived: int) -> None:
    """A journal of 600 entries; those up to `archived` are in a segment."""
    lid = LidOpened(20, None)
    with open_writable(path) as store:
        store.append([make_entry(seq, lid if seq in LIDS else None) for seq in range(1, 601)])
        if archived:
            assert archive_until(store, path, archived)


@pytest.mark.parametrize("archived", [0, 400, 600])
def test_entries_of_some_kinds_are_read_in_order(path: Path, archived: int) -> None:
    write_lids(path, archived)
    with Reader.open(path, REGISTRY) as reader:
        assert [entry.seq for entry in reader.iter_entries_of({"LidOpened"}, 600)] == LIDS
        assert [entry.seq for entry in reader.iter_entries_of({"LidOpened"}, 599)] == LIDS[:-1]
        assert [*reader.iter_entries_of({"FrameHeard"}, 600)] == []
        both = reader.iter_entries_of({"LidOpened", "MeterRead"}, 600)
        assert list(both) == list(reader.iter_entries(1, 600))


@pytest.mark.parametrize("archived", [0, 400])
@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("DELETE FROM entry WHERE seq = 590", "missing"),
        ("DELETE FROM entry WHERE seq >= 599", "missing"),
        ("UPDATE entry SET kind = 'Unknown' WHERE seq = 590", "unknown kind"),
        ("UPDATE entry SET body = '' WHERE seq = 600", "does not decode"),
    ],
)
def test_entries_of_some_kinds_are_not_read_where_any_entry_is_missing_or_unknown(
    path: Path, archived: int, statement: str, reason: str
) -> None:
    write_lids(path, archived)
    run_hidden_statements(path, statement)
    with Reader.open(path, REGISTRY) as reader, pytest.raises(JournalFailed, match=reason):
        list(reader.iter_entries_of({"LidOpened"}, 600))


@pytest.mark.parametrize("archived", [400, 600])
def test_entries_of_some_kinds_are_not_read_where_a_segment_is_missing(
    path: Path, archived: int
) -> None:
    write_lids(path, archived)
    [segment] = path.parent.glob("*.gz")
    segment.unlink()
    with Reader.open(path, REGISTRY) as reader, pytest.raises(JournalFailed):
        list(reader.iter_entries_of({"LidOpened"}, 600))


def test_a_number_that_occurs_twice_does_not_replace_a_missing_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a segment that was altered."""
    with open_writable(path) as store:
        store.append(list(make_entries(1, 3)))
    with Reader.open(path, REGISTRY) as reader:
        [rows] = reader._read_batches(_ENTRIES_QUERY, 1, 3, None)
        monkeypatch.setattr(reader, "_read_batches", lambda *_: [[rows[0], rows[0], rows[2]]])
        with pytest.raises(JournalFailed, match="entry 1"):
            list(reader.iter_entries_of({"MeterRead"}, 3))
