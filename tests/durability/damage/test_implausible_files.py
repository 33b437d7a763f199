"""Broken files that would take all memory, or never end: they are refused or ignored. P8."""

from __future__ import annotations

import gzip
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from journal.format import segments
from journal.format.segments import find_segments
from journal.maintenance.rebuild import rebuild
from journal.maintenance.verify import verify
from journal.storage.errors import JournalDamaged, JournalFailed
from journal.storage.reader import Reader
from journal.storage.snapshots import SnapshotFile, SnapshotIgnored
from tests.journal.kinds import (
    JOURNAL_ID,
    REGISTRY,
    archive_until,
    make_entries,
    open_writable,
    run_hidden_statements,
    write_journal,
)

MEMORY_MAX = 160 << 20  # bytes of address space that reading may add
LAST = 600  # the entries of the journal; the first ones are archived


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A closed journal with one segment."""
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        store.append(list(make_entries(1, LAST)))
        archive_until(store, path, 400)
    return path


@pytest.fixture
def segment(journal: Path) -> Path:
    (segment,) = find_segments(journal, JOURNAL_ID)
    return segment.path


def run_limited(path: Path, script: str) -> str:
    """What a script prints that may use little memory and time; `path` is its `sys.argv[1]`."""
    script = f"""
import resource, sys
from pathlib import Path
from journal.maintenance.rebuild import rebuild
from journal.maintenance.verify import verify
from journal.storage.reader import Reader
from tests.journal.kinds import REGISTRY, open_writable
path = Path(sys.argv[1])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {MEMORY_MAX}, -1))
{script}
"""
    result = subprocess.run(
        [sys.executable, "-c", script, path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("text", [b"\n", b"\0"])
def test_a_block_that_unpacks_to_gigabytes_is_damaged(
    segment: Path, journal: Path, text: bytes
) -> None:
    first_line = gzip.decompress(segment.read_bytes()).split(b"\n", 1)[0]
    packed = gzip.compress(first_line + b"\n" + text * (300 << 20), 9)[10:]
    segment.write_bytes(segments._MEMBER_HEADER + packed)
    complaint = run_limited(journal, "print(*verify(path), sep='\\n')")
    assert complaint.startswith("entry 1: entries from 1 on are damaged")


def test_many_blocks_of_plausible_size_are_not_unpacked_for_ever(
    segment: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_TEXT_BYTES_MAX", 1 << 20)
    member = segment.read_bytes()
    noise = gzip.compress(bytes(400 << 10), 9)[10:]
    segment.write_bytes(5 * (segments._MEMBER_HEADER + noise) + member)
    assert next(iter(verify(journal))).seq == 1


def test_a_huge_segment_with_a_hole_is_damaged(segment: Path, journal: Path) -> None:
    os.truncate(segment, 6 << 30)
    complaint = run_limited(journal, "print(*verify(path), sep='\\n')")
    assert complaint == f"entry 1: entries from 1 on are damaged in {segment.name} (to 400)\n"


@pytest.mark.parametrize("suffix", ["-wal", ""])
def test_a_huge_file_with_a_hole_is_opened(journal: Path, suffix: str) -> None:
    with Path(f"{journal}{suffix}").open("ab") as file:
        file.truncate(6 << 30)
    assert run_limited(journal, "print(open_writable(path).head.seq)") == f"{LAST}\n"


def test_a_log_with_a_huge_hole_is_salvaged(journal: Path) -> None:
    Path(f"{journal}-wal").touch()
    os.truncate(f"{journal}-wal", 6 << 30)
    assert run_limited(journal, "print(rebuild(path, '').last_seq)") == f"{LAST}\n"


def test_a_row_longer_than_a_station_writes_is_damage(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "journal.db", 5)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER entry_not_updated")
        connection.execute("UPDATE entry SET body = hex(zeroblob(20000000)) WHERE seq = 3")
        connection.commit()
    damages: list[int] = []
    with Reader.open(path, REGISTRY) as reader:
        entries = reader.iter_entries(on_damage=lambda damage: damages.append(damage.seq))
        assert [entry.seq for entry in entries] == [1, 2, 4, 5]
    assert damages == [3]
    assert rebuild(path, "").missing_ranges == [(3, 3)]


# --- Files that are no files ---------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".db", ".db-wal", ".lock", ".rebuilt"])
def test_a_fifo_beside_the_journal_does_not_hold_the_writer(journal: Path, suffix: str) -> None:
    name = journal.with_suffix(suffix)
    name.unlink(missing_ok=True)
    os.mkfifo(name)
    with pytest.raises(JournalFailed, match=r"[Nn]ot a regular file"):
        rebuild(journal, "") if suffix == ".rebuilt" else open_writable(journal)


def test_a_fifo_as_a_log_does_not_hold_readers(journal: Path) -> None:
    os.mkfifo(f"{journal}-wal")
    with pytest.raises(JournalFailed, match="not a regular file"):
        Reader.open(journal, REGISTRY)
    assert "not a regular file" in next(iter(verify(journal))).text


def test_a_fifo_in_the_place_of_a_segment_is_a_missing_segment(
    segment: Path, journal: Path
) -> None:
    segment.unlink()
    os.mkfifo(segment)
    assert str(next(iter(verify(journal)))).startswith(
        "entry 1: the segment with entry 1 is missing"
    )
    with open_writable(journal) as store:
        assert store.head.seq == LAST


def open_snapshot(path: Path) -> SnapshotFile[bytes]:
    return SnapshotFile(path, b"f" * 32, lambda state: state, bytes)


def test_a_fifo_in_the_place_of_a_snapshot_does_not_hold_the_start_or_the_stop(
    tmp_path: Path,
) -> None:
    path = tmp_path / "snapshot"
    os.mkfifo(path)
    os.mkfifo(tmp_path / "snapshot.new")
    snapshots = open_snapshot(path)
    assert snapshots.load(lambda _: b"") == SnapshotIgnored("it cannot be read: Not a regular file")
    with pytest.raises(OSError, match="No such device"):
        snapshots.save(1, b"digest", b"state")
    snapshots.save(1, b"digest", b"state")  # the failed attempt removed the FIFO
    assert path.is_file()


def test_a_huge_snapshot_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    path.touch()
    os.truncate(path, 3 << 30)
    ignored = open_snapshot(path).load(lambda _: b"")
    assert ignored == SnapshotIgnored("it cannot be read: more than 67108864 bytes")


# --- Tables that are no tables -------------------------------------------------------------------

ENDLESS = "WITH RECURSIVE n(seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n)"


def replace_table(path: Path, name: str, sql: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"DROP TABLE {name}")
        connection.execute(sql)
        connection.commit()


@pytest.mark.parametrize(
    ("name", "sql"),
    [
        ("entry", f"CREATE VIEW entry AS {ENDLESS} SELECT seq, 1 AS digest FROM n"),
        ("anchor", f"CREATE VIEW Anchor AS {ENDLESS} SELECT max(seq) AS seq, 1 AS digest FROM n"),
        (
            "meta",
            f"CREATE VIEW meta AS {ENDLESS} SELECT 1 AS format, max(seq) AS journal_id FROM n",
        ),
        ("id_token", f"CREATE VIEW id_token AS {ENDLESS} SELECT max(seq) AS ref FROM n"),
        (
            "_sqlite_migrations",
            f"CREATE VIEW _sqlite_migrations AS {ENDLESS} SELECT seq AS name FROM n",
        ),
        ("entry", "CREATE VIRTUAL TABLE entry USING fts5(seq, digest)"),
        (
            "entry",
            "CREATE TABLE entry (seq INTEGER PRIMARY KEY, body AS (hex(zeroblob(9999999))))",
        ),
    ],
)
def test_a_view_in_the_place_of_a_table_is_damage(tmp_path: Path, name: str, sql: str) -> None:
    path = write_journal(tmp_path / "journal.db", 5)
    replace_table(path, name, sql)
    with pytest.raises(JournalDamaged, match="is no table"):
        Reader.open(path, REGISTRY)
    with pytest.raises(JournalDamaged, match="is no table"):
        open_writable(path)
    assert "is no table" in next(iter(verify(path))).text
    rebuild(path, JOURNAL_ID)
    with open_writable(path):
        assert list(verify(path)) == [] or name == "entry"


def test_an_anchor_whose_digest_is_text_does_not_stop_archiving(journal: Path) -> None:
    run_hidden_statements(
        journal,
        "DROP TABLE anchor",
        "CREATE TABLE anchor (seq INTEGER PRIMARY KEY, digest, origin)",
        "INSERT INTO anchor VALUES (400, 'text', 'text')",
    )
    with Reader.open(journal, REGISTRY) as reader:
        assert reader.archived_position() == (400, b"")
    with open_writable(journal) as store:
        assert archive_until(store, journal, 450) is not None
        assert [entry.seq for entry in store.iter_entries()] == list(range(1, LAST + 1))
