"""Entries are committed in order, durably, and read again."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from journal.codec import Registry, UnknownKind
from journal.format.hash_chain import entry_digest, origin_digest
from journal.maintenance.verify import verify
from journal.storage import connection
from journal.storage import store as store_module
from journal.storage.connection import StoreSettings
from journal.storage.errors import JournalFailed
from journal.storage.quarantine import quarantine_journal
from journal.storage.reader import EntryDamage, Head, Reader
from journal.storage.store import Store
from tests.journal.kinds import (
    JOURNAL_ID,
    REGISTRY,
    SMALL_JOURNAL,
    START,
    LidOpened,
    MeterRead,
    make_entries,
    make_entry,
    open_writable,
    write_journal,
)


def test_appended_entries_are_read_after_a_restart(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "journal.db", 600)
    with open_writable(path) as store:
        assert list(store.iter_entries()) == list(make_entries(1, 600))
        assert store.journal_id == JOURNAL_ID
        assert store.head[:1] + store.head[2:] == (600, make_entry(600).at, 600_000)


def test_a_journal_keeps_its_first_id(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "journal.db", 1)
    with Store.open(path, REGISTRY, journal_id_if_new="another") as store:
        assert store.journal_id == JOURNAL_ID


def test_an_empty_journal_has_a_head_before_the_first_entry(tmp_path: Path) -> None:
    with open_writable(tmp_path / "journal.db") as store:
        assert store.head == Head(0, origin_digest(JOURNAL_ID), None, 0)
        assert list(store.iter_entries()) == []
        store.append([])
        assert store.head.seq == 0


def test_each_digest_covers_the_digest_of_the_row_before(tmp_path: Path) -> None:
    digest = origin_digest(JOURNAL_ID)
    with open_writable(tmp_path / "journal.db") as store:
        store.append(list(make_entries(1, 3)))
        store.append([make_entry(4)])
        for row in store.reader.iter_rows():
            digest = entry_digest(digest, *row[:-1])
            assert row.digest == digest == store.reader.digest_at(row.seq)
        assert store.head.digest == digest


def test_a_commit_is_all_or_nothing(tmp_path: Path) -> None:
    class Stranger(MeterRead, frozen=True):
        pass

    with open_writable(tmp_path / "journal.db") as store:
        store.append([make_entry(1)])
        before = store.head
        with pytest.raises(UnknownKind):
            store.append([make_entry(2), make_entry(3, Stranger(1, START))])  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="entry 4 does not follow entry 2"):
            store.append([make_entry(2), make_entry(4)])
        assert store.head == before
        assert [each.seq for each in store.iter_entries()] == [1]
        store.append([make_entry(2)])


def test_a_failed_commit_leaves_nothing_and_the_next_one_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        other = sqlite3.connect(path)
        other.execute(
            "CREATE TRIGGER no_third BEFORE INSERT ON entry WHEN new.seq = 3 "
            "BEGIN SELECT raise(ABORT, 'not now'); END"
        )
        with pytest.raises(JournalFailed, match="not now"):
            store.append(list(make_entries(1, 3)))
        assert store.head.seq == 0
        assert list(store.iter_entries()) == []
        other.execute("DROP TRIGGER no_third")
        other.close()
        store.append(list(make_entries(1, 3)))
        assert [each.seq for each in store.iter_entries()] == [1, 2, 3]


def test_an_entry_is_read_by_its_number(tmp_path: Path) -> None:
    with open_writable(tmp_path / "journal.db") as store:
        store.append(list(make_entries(1, 20)))
        assert store.read_entry(17) == make_entry(17)
        with pytest.raises(LookupError, match="no entry 21"):
            store.read_entry(21)


def test_a_range_of_entries_is_read(tmp_path: Path) -> None:
    with open_writable(tmp_path / "journal.db") as store:
        store.append(list(make_entries(1, 700)))
        assert [each.seq for each in store.iter_entries(255, 513)] == list(range(255, 514))
        assert [each.seq for each in store.reader.iter_rows(699)] == [699, 700]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET body = '{}' WHERE seq = 2",
        "DELETE FROM entry WHERE seq = 2",
        "INSERT OR REPLACE INTO entry SELECT * FROM entry WHERE seq = 2",
        "INSERT INTO entry SELECT 5, at, 1, kind, version, cause, body, digest FROM entry",
        "UPDATE meta SET journal_id = 'x'",
        "DELETE FROM meta",
        "INSERT INTO meta VALUES (1, 'x')",
        "UPDATE id_token SET value = 'x'",
    ],
)
def test_the_file_refuses_everything_but_appending(tmp_path: Path, statement: Any) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        store.reference_for("ISO14443", "04A224B2")
        store.append(list(make_entries(1, 3)))
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ({}, [7, 8, 9, 10]),
        ({"before_seq": 9}, [5, 6, 7, 8]),
        ({"latest": START + timedelta(seconds=3)}, [1, 2, 3]),
        ({"oldest": START + timedelta(seconds=9)}, [9, 10]),
        ({"oldest": START + timedelta(seconds=11)}, []),
        ({"kinds": ("MeterRead",)}, [7, 8, 9, 10]),
        ({"kinds": ("FrameHeard", "TokenShown")}, []),
        ({"containing": '"evse_id":1'}, [4, 6, 8, 10]),
        ({"containing": "7.600", "kinds": ("MeterRead", "FrameHeard")}, [7]),
        ({"containing": "%"}, []),
    ],
)
def test_the_newest_matching_entries_are_found(
    tmp_path: Path, asked: dict[str, Any], numbers: list[int]
) -> None:
    with Reader.open(write_journal(tmp_path / "journal.db", 10), REGISTRY) as reader:
        assert reader.find_seqs(count_max=4, **asked) == numbers


def test_a_commit_is_in_the_file_or_its_log_and_readable_at_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store, Reader.open(path, REGISTRY) as reader:
        for seq in range(1, 50):
            store.append([make_entry(seq)])
            assert reader.read_head() == store.head


def test_a_value_that_two_threads_refer_to_has_one_reference(tmp_path: Path) -> None:
    """A thread filters a long frame while the loop reads a card."""
    is_waiting, is_done = threading.Event(), threading.Event()

    def draw_salt(size: int) -> bytes:
        is_waiting.set()
        is_done.wait(0.2)
        return os.urandom(size)

    refs: list[str] = []
    with Store.open(
        tmp_path / "journal.db", REGISTRY, journal_id_if_new=JOURNAL_ID, entropy=draw_salt
    ) as store:

        def refer() -> None:
            refs.append(store.reference_for("ISO14443", "04A224B2").ref)
            is_done.set()

        first = threading.Thread(target=refer)
        first.start()
        assert is_waiting.wait(30)
        refer()
        first.join()
        store.append(list(make_entries(1, 1)))
        assert store.reference_for("ISO14443", "04a224b2").ref == refs[0]
        assert store.value_of(refs[0]) == "04A224B2"
    assert refs[0] == refs[1]


def test_a_slow_reader_does_not_hold_the_writer_or_its_log(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "journal.db", 1000)
    with open_writable(path) as store, Reader.open(path, REGISTRY) as reader:
        slow = reader.iter_entries()
        next(slow)
        for seq in range(1001, 1300):
            store.append([make_entry(seq)])
            if store.is_checkpoint_due:
                assert store.checkpoint()
        assert [each.seq for each in slow] == list(range(2, 1300))
        assert Path(f"{path}-wal").stat().st_size == SMALL_JOURNAL.grow_bytes


def test_the_log_is_grown_in_advance_and_kept(tmp_path: Path) -> None:
    log = tmp_path / "journal.db-wal"
    with open_writable(tmp_path / "journal.db") as store:
        assert log.stat().st_size >= SMALL_JOURNAL.grow_bytes
        store.append(list(make_entries(1, 2000)))  # more than the log was grown to
        assert log.stat().st_size > SMALL_JOURNAL.grow_bytes
        assert store.is_checkpoint_due
        assert store.checkpoint()
        assert not store.is_checkpoint_due
        store.append([make_entry(2001)])
        assert log.stat().st_size == SMALL_JOURNAL.grow_bytes
        before = log.read_bytes()
        store.append([make_entry(2002)])
        assert log.stat().st_size == SMALL_JOURNAL.grow_bytes
        assert log.read_bytes() != before


def test_a_checkpoint_runs_beside_commits(tmp_path: Path) -> None:
    done = threading.Event()
    with open_writable(tmp_path / "journal.db") as store:

        def move() -> None:
            while not done.is_set():
                store.checkpoint()

        mover = threading.Thread(target=move)
        mover.start()
        try:
            for seq in range(1, 400):
                store.append([make_entry(seq)])
        finally:
            done.set()
            mover.join()
        assert list(store.iter_entries()) == list(entries_alone(399))


def entries_alone(last: int) -> Iterator[object]:
    return (make_entry(seq) for seq in range(1, last + 1))


def test_a_second_writer_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with (
        open_writable(tmp_path / "journal.db"),
        pytest.raises(JournalFailed, match=rf"\(pid {os.getpid()}\) writes this journal"),
    ):
        open_writable(tmp_path / "journal.db")
    open_writable(tmp_path / "journal.db").close()


def test_an_up_to_date_journal_opens_without_importing_sqlite_utils(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "journal.db", 1)
    code = (
        "import sys; from pathlib import Path; from tests.journal.kinds import open_writable;"
        f"open_writable(Path({str(path)!r})).close(); assert 'sqlite_utils' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_journal_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "journal.db", 1)
    connection = sqlite3.connect(path)
    connection.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) "
        "VALUES ('journal', '9999_time_travel', '')"
    )
    connection.commit()
    connection.close()
    with pytest.raises(JournalFailed, match="a newer release wrote this journal"):
        open_writable(path)


def test_a_new_file_without_an_id_gets_one_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    open_writable(path).close()
    connection = sqlite3.connect(path)
    connection.execute("DROP TRIGGER meta_not_deleted")
    connection.execute("DELETE FROM meta")
    connection.commit()
    connection.close()
    with open_writable(path) as store:
        assert store.journal_id == JOURNAL_ID


def test_without_powersafe_overwrite_commits_are_padded(tmp_path: Path) -> None:
    frames = {}
    for safe in (True, False):
        path = tmp_path / f"{safe}.db"
        with open_writable(path, StoreSettings(grow_bytes=0, powersafe_overwrite=safe)) as store:
            store.append([make_entry(1)])
            before = frames_in_log(path)
            store.append([make_entry(2)])
            frames[safe] = frames_in_log(path) - before
    assert frames[True] == 1
    assert frames[False] > 1


@pytest.mark.parametrize("safe", [True, False])
def test_growing_the_log_writes_whole_sectors_after_the_last_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, safe: bool
) -> None:
    """A disk without powersafe overwrite may harm bytes in the sector that is written."""
    with open_writable(
        tmp_path / "was.db", StoreSettings(grow_bytes=0, powersafe_overwrite=safe)
    ) as was:
        was.append(list(make_entries(1, 20)))
        for ending in ("", "-wal"):  # as a killed process leaves them
            shutil.copyfile(f"{tmp_path}/was.db{ending}", f"{tmp_path}/journal.db{ending}")
    log = tmp_path / "journal.db-wal"
    held = log.read_bytes()
    assert len(held) % 4096, "the log ends within a sector"
    writes: list[tuple[int, int]] = []

    def pwrite(file: int, data: bytes, at: int, write: Callable[..., int] = os.pwrite) -> int:
        if len(data) == 4096:  # the other write is the lock's
            writes.append((at, len(data)))
        return write(file, data, at)

    monkeypatch.setattr(os, "pwrite", pwrite)
    settings = StoreSettings(grow_bytes=len(held) + 50_001, powersafe_overwrite=safe)
    with (
        Reader.open(tmp_path / "journal.db", REGISTRY),  # or opening would restart the log
        open_writable(tmp_path / "journal.db", settings) as store,
    ):
        assert writes
        assert all(at % 4096 == 0 and at >= len(held) for at, _ in writes)
        assert log.stat().st_size % 4096 == 0
        assert log.stat().st_size >= settings.grow_bytes
        assert log.read_bytes()[: len(held)] == held
        assert store.head.seq == 20
        store.append([make_entry(21)])


def frames_in_log(path: Path) -> int:
    """The number of frames; padding repeats a commit's last one up to the sector's end."""
    return (Path(f"{path}-wal").stat().st_size - 32) // (4096 + 24)


def test_a_full_disk_is_reported_in_one_line_and_commits_succeed_after_it(tmp_path: Path) -> None:
    with open_writable(tmp_path / "journal.db", StoreSettings(grow_bytes=0)) as store:
        store.append([make_entry(1)])
        before = store.head
        with file_size_limit(Path(f"{tmp_path}/journal.db-wal").stat().st_size + 4096):
            with pytest.raises(JournalFailed) as failed:
                store.append(list(make_entries(2, 300)))
            assert store.head == before
        assert str(failed.value).count("\n") == 0
        assert "journal.db" in str(failed.value)
        store.append(list(make_entries(2, 300)))
        assert store.head.seq == 300


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file grows beyond `size` bytes: a full disk for a program that runs as root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_is_no_journal_is_reported_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"not a journal, but long enough to be looked at" * 100)
    for attempt in (lambda: open_writable(path), lambda: Reader.open(path, REGISTRY)):
        with pytest.raises(JournalFailed, match="not a database"):
            attempt()
    with pytest.raises(JournalFailed, match="no such file"):
        Reader.open(tmp_path / "nothing.db", REGISTRY)


def test_a_failed_open_releases_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"x" * 8192)
    with pytest.raises(JournalFailed):
        open_writable(path)
    path.unlink()
    open_writable(path).close()


def test_a_copy_with_only_its_log_beside_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        store.append(list(make_entries(1, 300)))
        copied = copy_journal(path, tmp_path / "copy")
    with Reader.open(copied, REGISTRY) as reader:
        assert list(reader.iter_entries()) == list(make_entries(1, 300))


@pytest.mark.parametrize("with_log", [True, False])
def test_a_copy_in_a_read_only_directory_is_read(with_log: Any) -> None:
    with TemporaryDirectory() as home:  # pytest's directories are closed to other users
        path = Path(home) / "journal.db"
        with open_writable(path) as store:
            store.append(list(make_entries(1, 300)))
            copied = copy_journal(path, Path(home) / "open")
        if not with_log:
            copied = copy_journal(path, Path(home) / "closed")
        before = {file.name: file.read_bytes() for file in copied.parent.iterdir()}
        assert (f"{path.name}-wal" in before) == with_log
        assert list(verify(path)) == []  # reading must not need our source files
        with read_only_directory(copied.parent), Reader.open(copied, REGISTRY) as reader:
            assert list(reader.iter_entries()) == list(make_entries(1, 300))
            assert list(verify(copied)) == []
        assert {file.name: file.read_bytes() for file in copied.parent.iterdir()} == before


def copy_journal(path: Path, directory: Path) -> Path:
    """Copy the file, and its log if there is one."""
    directory.mkdir()
    for name in (path.name, f"{path.name}-wal"):
        if (path.parent / name).exists():
            shutil.copy(path.parent / name, directory / name)
    return directory / path.name


@contextmanager
def read_only_directory(directory: Path) -> Iterator[None]:
    """Make the directory read-only; root, who may write anywhere, becomes another user."""
    directory.parent.chmod(0o755)
    directory.chmod(0o555)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)
        directory.chmod(0o755)


def test_an_entry_of_a_newer_release_is_reported_and_skipped_or_ends_the_reading(
    tmp_path: Path,
) -> None:
    path = write_journal(tmp_path / "journal.db", 2)
    with open_writable(path) as store:
        store.append([make_entry(3, LidOpened(1, None)), make_entry(4)])
    older = Registry([MeterRead])
    damages: list[EntryDamage] = []
    with Reader.open(path, older) as reader:
        assert [each.seq for each in reader.iter_entries(on_damage=damages.append)] == [1, 2, 4]
        assert [each.seq for each in damages] == [3]
        assert "this release has no kind of event LidOpened" in damages[0].reason
        with pytest.raises(
            JournalFailed, match="entry 3: this release has no kind of event LidOpened"
        ):
            list(reader.iter_entries())
        with pytest.raises(
            JournalFailed, match="entry 3: this release has no kind of event LidOpened"
        ):
            reader.read_entry(3)


def test_entries_outside_a_damaged_page_stay_readable(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "journal.db", 3000)
    content = bytearray(path.read_bytes())
    page = content.index(b'"energy_wh":1500.600') // 4096
    content[page * 4096 : (page + 1) * 4096] = bytes(4096)
    path.write_bytes(content)
    damages: list[EntryDamage] = []
    with Reader.open(path, REGISTRY) as reader:
        read = [each.seq for each in reader.iter_entries(on_damage=damages.append)]
        lost = [each.seq for each in damages]
    assert sorted(read + lost) == list(range(1, 3001))
    assert 1500 in lost
    assert len(lost) < 64
    with open_writable(path) as store:  # and it continues after them
        store.append([make_entry(3001)])


def test_a_search_skips_a_damaged_page(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "journal.db", 3000)
    content = bytearray(path.read_bytes())
    page = content.index(b'"energy_wh":1500.600') // 4096
    content[page * 4096 : (page + 1) * 4096] = bytes(4096)
    path.write_bytes(content)
    with Reader.open(path, REGISTRY) as reader:
        assert reader.find_seqs(count_max=10_000, containing="1.600")[:3] == [1, 11, 21]
        assert 1500 not in reader.find_seqs(count_max=10_000)
        assert reader.find_seqs(count_max=2, before_seq=2999, kinds=("MeterRead",)) == [2997, 2998]
        assert reader.find_seqs(count_max=9, latest=START + timedelta(seconds=2)) == [1, 2]
        assert reader.find_seqs(count_max=9, kinds=("FrameHeard",)) == []


def test_reading_ends_at_a_damaged_head(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "journal.db", 3000)
    content = bytearray(path.read_bytes())
    page = content.index(b'"energy_wh":3000.600') // 4096
    content[page * 4096 : (page + 1) * 4096] = bytes(4096)
    path.write_bytes(content)
    damages: list[EntryDamage] = []
    with Reader.open(path, REGISTRY) as reader:
        read = [each.seq for each in reader.iter_entries(on_damage=damages.append)]
    assert read == list(range(1, read[-1] + 1))
    assert 2900 < read[-1] < 3000
    with pytest.raises(JournalFailed, match="malformed"):
        open_writable(path)


def test_commits_hidden_by_a_damaged_log_are_reported_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        store.checkpoint()
        for seq in range(1, 11):
            store.append([make_entry(seq)])
        copied = copy_journal(path, tmp_path / "copy")
    log = Path(f"{copied}-wal")
    data = bytearray(log.read_bytes())
    data[32 + 4 * 4120 + 4000] ^= 4  # in the fifth commit
    log.write_bytes(data)
    with open_writable(copied) as store:
        assert store.lost_commits == "6 commits after damaged frame 5 of the log"
        assert store.head.seq == 4
        store.append([make_entry(5)])
    assert (tmp_path / "copy" / "journal.damaged-1" / "journal.db-wal").read_bytes() == data
    with open_writable(copied) as store:
        assert store.lost_commits is None


@pytest.mark.parametrize(
    "damage", ["at = 'x'", "at = CAST(x'ff' AS TEXT)", "body = CAST(x'ff' AS TEXT)", "digest = x''"]
)
def test_a_changed_last_entry_does_not_stop_the_station(tmp_path: Path, damage: str) -> None:
    path = write_journal(tmp_path / "journal.db", 9)
    connection = sqlite3.connect(path)
    guard = "SELECT sql FROM sqlite_schema WHERE name = 'entry_not_updated'"
    [(sql,)] = connection.execute(guard).fetchall()
    connection.execute("DROP TRIGGER entry_not_updated")
    connection.execute(f"UPDATE entry SET {damage} WHERE seq = 9")
    connection.execute(sql)
    connection.commit()
    connection.close()
    with open_writable(path) as store:
        store.append([make_entry(10)])
        store.append([make_entry(11)])
        damages: list[EntryDamage] = []
        read = [each.seq for each in store.reader.iter_entries(on_damage=damages.append)]
        assert sorted(read + [each.seq for each in damages]) == list(range(1, 12))
    assert {each.seq for each in verify(path)} <= {9, 10}
    assert next(verify(path)).seq == 9


def test_a_journal_that_cannot_be_opened_is_set_aside_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    for number in (1, 2):
        write_journal(path, 3000)
        data = bytearray(path.read_bytes())
        page = data.index(b'"energy_wh":3000.600') // 4096
        data[page * 4096 : (page + 1) * 4096] = bytes(4096)
        path.write_bytes(data)
        Path(f"{path}-wal").write_bytes(b"log")
        with pytest.raises(JournalFailed):
            open_writable(path)
        quarantined = quarantine_journal(path)
        assert quarantined == tmp_path / f"journal.damaged-{number}" / "journal.db"
        assert quarantined.read_bytes() == data
        assert not list(tmp_path.glob("journal.db*"))
        damages: list[EntryDamage] = []
        with Reader.open(quarantined, REGISTRY) as reader:
            assert len(list(reader.iter_entries(on_damage=damages.append))) > 2900


def test_dropped_entries_leave_an_anchor_for_the_chain(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "journal.db", 10)
    with open_writable(path) as store:
        digest = store.reader.digest_at(7)
        store.drop_archived(4)
        store.drop_archived(7)
        assert store.reader.position_before_first() == (7, digest)
        assert [each.seq for each in store.iter_entries()] == [8, 9, 10]
        store.append([make_entry(11)])
        assert store.drop_archived(3) == 0
        assert store.reader.position_before_first() == (7, digest)
        assert store.drop_archived(11) == 4
        assert store.reader.read_head() == Head(11, store.head.digest, None, 0)
        store.append([make_entry(12)])
    with open_writable(path) as store:
        assert store.head.seq == 12
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="never removed"):
        connection.execute("DELETE FROM entry")
    connection.close()


def test_a_commit_waits_for_the_write_lock_of_another_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 20)
    path = tmp_path / "journal.db"
    with (
        open_writable(path) as store,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        commit = threading.Thread(target=store.append, args=([make_entry(1)],))
        commit.start()
        commit.join(timeout=0.2)
        assert commit.is_alive()
        assert list(store.iter_entries()) == []  # reading does not wait
        other.execute("ROLLBACK")
        commit.join(timeout=10)
        assert store.head.seq == 1
    assert [record.getMessage().split("; ")[0] for record in caplog.records] == [
        "journal: another program holds the write lock",
        "journal: the write lock is free again",
    ]


def test_a_write_lock_that_is_never_released_fails_the_commit_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 1)
    monkeypatch.setattr(store_module, "LOCK_ATTEMPTS_MAX", 3)
    path = tmp_path / "journal.db"
    with (
        open_writable(path) as store,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalFailed, match="Close the other program"):
            store.append([make_entry(1)])
        other.execute("ROLLBACK")
        store.append([make_entry(1)])
        assert store.head.seq == 1


def test_a_store_of_one_thread_has_one_connection(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    settings = StoreSettings(is_one_thread=True)
    with Store.open(path, REGISTRY, journal_id_if_new=JOURNAL_ID, settings=settings) as store:
        id_token = store.reference_for("ISO14443", "04A2")
        store.append([make_entry(seq) for seq in (1, 2, 3)])
        assert [entry.seq for entry in store.iter_entries()] == [1, 2, 3]
        assert store.value_of(id_token.ref) == "04A2"
        assert store.checkpoint()
        assert store.erase(id_token.ref)
        store.append([make_entry(4)])
        assert store.read_entry(4) == make_entry(4)
        assert open_file_count(path) == 1
    assert open_file_count(path) == 0


def open_file_count(path: Path) -> int:
    """How often this process has a file open."""
    links = Path("/proc/self/fd").iterdir()
    return sum(link.resolve() == path for link in links)
