"""Unreadable sectors: everything else is read and delivered, and an EV is charged. P5."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from journal.events import Entry
from journal.format.segments import find_segments
from journal.observations import StopButtonPressed
from journal.storage.errors import JournalDamaged
from journal.storage.reader import Reader
from journal.storage.store import Store
from station.runtime.loop.startup import Startup, event_registry
from station.simulation.world import JOURNAL_FILE, JOURNAL_ID
from tests.durability.damage.bad_sectors import (
    LIST_ENV_VAR,
    SECTOR_BYTES,
    is_available,
    mark_unreadable,
    prepare_environment,
)
from tests.durability.damage.test_archived import SETTINGS, archive_settled
from tests.durability.damage.test_damage import copy_original, root_page_of
from tests.durability.damage.worlds import Original, make_original

SEED = 20261123
BEGAN = datetime(2026, 11, 23, tzinfo=UTC)
SAMPLE = 6  # for each journal

pytestmark = pytest.mark.skipif(not is_available(), reason="no compiler")

Ended = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def original_journal(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return make_original(tmp_path_factory.mktemp("made"), checkpointed=True)


@pytest.fixture(scope="module")
def bad_sector_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return prepare_environment(tmp_path_factory.mktemp("library"))


@pytest.fixture(autouse=True)
def enable_bad_sectors(
    bad_sector_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Processes started by the test can have unreadable sectors."""
    for name, value in bad_sector_environment.items():
        monkeypatch.setenv(name, value)
    yield
    Path(bad_sector_environment[LIST_ENV_VAR]).write_text("")


@pytest.fixture
def settled_journal(original_journal: Original, tmp_path: Path) -> Path:
    """A directory with the database file only: checkpointed, without a snapshot."""
    directory = copy_original(original_journal, tmp_path / "settled")
    Startup(directory, SETTINGS).close()
    return directory


def run_station(verb: str, directory: Path, *arguments: str) -> Ended:
    command = [sys.executable, "-m", "station", verb, str(directory / JOURNAL_FILE), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode >= 0, f"{verb} was killed by a signal"
    assert "Traceback" not in ended.stderr
    return ended


def run_in_process(function: Callable[[Path], list[str]], directory: Path) -> list[str]:
    """Run a function of this module in a process of its own."""
    program = (
        "import sys, pathlib;"
        f"from {__name__} import {function.__name__} as function;"
        "print(*function(pathlib.Path(sys.argv[1])), sep='\\n', end='')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, directory], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def _start_and_stop(directory: Path, damage: str = "") -> list[str]:
    startup = Startup(directory, SETTINGS, damage_reason=damage)
    startup.save_snapshot(startup.store.head, startup.state)
    startup.close()
    return [damage_found.reason for damage_found in startup.damage_found]


def _archive_available(directory: Path) -> list[str]:
    try:
        archive_settled(directory)
    except JournalDamaged as damage:
        reasons = _start_and_stop(directory, str(damage))
        archive_settled(directory)
        return reasons
    return []


def _checkpoint_bad_log(directory: Path) -> list[str]:
    startup = Startup(directory, SETTINGS)
    head = startup.store.head
    assert head.at is not None
    startup.store.append(
        [Entry(head.seq + 1 + n, head.at, head.uptime_ms, StopButtonPressed(1)) for n in range(100)]
    )
    mark_unreadable(directory / f"{JOURNAL_FILE}-wal", 2)
    with pytest.raises(JournalDamaged) as damage:
        startup.store.checkpoint()
    startup.close()
    return _start_and_stop(directory, str(damage.value))


def start_and_stop(directory: Path) -> list[str]:
    """Start and stop a station; returns the damages found."""
    return run_in_process(_start_and_stop, directory)


def archive_available(directory: Path) -> list[str]:
    """Archive whatever is readable; returns the damages found."""
    return run_in_process(_archive_available, directory)


def page_with_entry(directory: Path, seq: int) -> tuple[int, list[int]]:
    """The page with an entry, and all entries on that page."""
    with Reader.open(directory / JOURNAL_FILE, event_registry()) as reader:
        bodies = {row.seq: row.digest for row in reader.iter_rows()}
    content = (directory / JOURNAL_FILE).read_bytes()
    page = content.index(bodies[seq]) // SECTOR_BYTES
    image = content[page * SECTOR_BYTES : (page + 1) * SECTOR_BYTES]
    return page + 1, [other_seq for other_seq, digest in bodies.items() if digest in image]


def test_no_unreadable_sectors_stop_the_station() -> None:
    print(f"seed {SEED}")
    command = [
        "tests.durability.damage",
        "--sectors",
        "--damages",
        str(SAMPLE),
        "--seed",
        str(SEED),
    ]
    ended = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, f"{2 * SAMPLE} damages, 0 violations\n")


def test_entries_on_a_bad_sector_are_reported_and_all_others_read(
    settled_journal: Path, original_journal: Original, tmp_path: Path
) -> None:
    page, lost = page_with_entry(settled_journal, 150)
    assert 150 in lost
    assert len(lost) < 30
    mark_unreadable(settled_journal / JOURNAL_FILE, page)
    verified = run_station("verify", settled_journal)
    assert verified.returncode == 1
    assert f"entry {lost[0]}: " in verified.stderr.splitlines()[0]
    assert f"(to {lost[-1]})" in verified.stderr.splitlines()[0]
    for verb, *more in (["replay"], ["export", "events"], ["why", f"{lost[-1] + 1}"]):
        ended = run_station(verb, settled_journal, *more)
        assert ended.returncode == 1, verb
        assert f"{lost[0]}" in ended.stdout + ended.stderr, verb
    assert len(
        run_station("export", settled_journal, "events").stdout.splitlines()
    ) > original_journal.head - len(lost)
    report = tmp_path / "report.html"
    run_station("report", settled_journal, "--out", str(report))
    assert f"{lost[0]}" in report.read_text()
    why = run_station("why", settled_journal, "150")
    assert (why.returncode, f"the first is {lost[0]}" in why.stderr) == (1, True)
    reasons = [f"entries {lost[0]} to {lost[-1]}: database disk image is malformed"]
    assert start_and_stop(settled_journal) == reasons
    assert start_and_stop(settled_journal) == reasons, "stopped before it was recorded"


@pytest.mark.parametrize("name", ["sqlite_schema", "meta", "entry"])
def test_an_unreadable_root_page_is_rebuilt_once(settled_journal: Path, name: str) -> None:
    before = entries_of(settled_journal)
    root = 1 if name == "sqlite_schema" else root_page_of(settled_journal, name)
    mark_unreadable(settled_journal / JOURNAL_FILE, root)
    assert run_station("verify", settled_journal).returncode == 1
    [damage] = start_and_stop(settled_journal)
    assert f"; rebuilt up to entry {before[-1]}, kept in journal.damaged-1" in damage
    assert entries_of(settled_journal) == before
    assert start_and_stop(settled_journal) == []
    unnamed = ["entry 1: does not match its digest"] if name == "meta" else []
    assert run_station("verify", settled_journal).stderr.splitlines() == unnamed
    assert (settled_journal / "journal.damaged-1" / JOURNAL_FILE).stat().st_ino in bad_files()


def entries_of(directory: Path, options: str = "") -> list[int]:
    with closing(
        sqlite3.connect(f"file:{directory / JOURNAL_FILE}?{options}", uri=True)
    ) as connection:
        return [seq for (seq,) in connection.execute("SELECT seq FROM entry ORDER BY seq")]


def bad_files() -> set[int]:
    """The inode numbers of files with bad sectors."""
    return {
        int(line.split()[0]) for line in Path(os.environ[LIST_ENV_VAR]).read_text().splitlines()
    }


def test_entries_on_a_bad_sector_do_not_stop_archiving(settled_journal: Path) -> None:
    page, lost = page_with_entry(settled_journal, 150)
    mark_unreadable(settled_journal / JOURNAL_FILE, page)
    [damage, gap] = archive_available(settled_journal)
    assert f"entry {lost[0]} is to be archived: database disk image is malformed; rebuilt" in damage
    assert gap == f"entries {lost[0]} to {lost[-1]}: missing"
    assert archive_available(settled_journal) == []
    assert entries_of(settled_journal)[0] > lost[-1]
    [complaint] = run_station("verify", settled_journal).stderr.splitlines()
    assert complaint == f"entry {lost[0]}: missing (to {lost[-1]})"


def test_a_bad_sector_of_the_log_loses_its_commits_at_most(
    original_journal: Original, tmp_path: Path
) -> None:
    log = make_original(tmp_path / "log")
    directory = copy_original(log, tmp_path / "damaged")
    frames = (directory / f"{JOURNAL_FILE}-wal").read_bytes().rstrip(b"\0")
    mark_unreadable(directory / f"{JOURNAL_FILE}-wal", len(frames) // SECTOR_BYTES // 2)
    verified = run_station("verify", directory)
    assert verified.returncode == 1
    assert verified.stderr.endswith("cannot be read. The station's next start saves the rest.\n")
    [damage, *_] = start_and_stop(directory)
    assert "; rebuilt up to entry " in damage
    assert entries_of(directory)[-1] > log.head / 2
    assert start_and_stop(directory) == []


def test_a_log_that_becomes_unreadable_during_operation_is_rebuilt(
    settled_journal: Path,
) -> None:
    before = entries_of(settled_journal)
    [damage, *_] = run_in_process(_checkpoint_bad_log, settled_journal)
    assert "; rebuilt up to entry " in damage
    assert entries_of(settled_journal)[: len(before)] == before
    assert start_and_stop(settled_journal) == []


def test_a_new_journal_with_an_unreadable_log_header_keeps_all_entries(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with Store.open(path, event_registry(), journal_id_if_new=JOURNAL_ID) as store:
        for seq in range(1, 51):
            store.append([Entry(seq, BEGAN, seq, StopButtonPressed(1))])
        directory = tmp_path / "crashed"
        directory.mkdir()
        for ending in ("", "-wal"):
            shutil.copy(f"{path}{ending}", directory)
    mark_unreadable(directory / f"{JOURNAL_FILE}-wal", 1)
    assert entries_of(directory, "immutable=1") == [], "all of them are in the log"
    [damage] = start_and_stop(directory)
    assert "; rebuilt up to entry 50, kept in " in damage
    assert entries_of(directory) == list(range(1, 51))


def test_a_bad_sector_of_a_segment_loses_one_block(
    settled_journal: Path, original_journal: Original
) -> None:
    archive_settled(settled_journal)
    with Reader.open(settled_journal / JOURNAL_FILE, event_registry()) as reader:
        first, second, *_ = find_segments(settled_journal / JOURNAL_FILE, reader.journal_id)
    mark_unreadable(second.path, 1)
    complaint = f"entry {second.first_seq}: entries from {second.first_seq} on are damaged in"
    verified = run_station("verify", settled_journal)
    assert verified.returncode == 1
    assert complaint in verified.stderr
    replayed = run_station("replay", settled_journal)
    assert replayed.returncode == 1
    assert f" {first.last_seq} " in replayed.stdout
    assert f" {original_journal.head} " in replayed.stdout
    exported = run_station("export", settled_journal, "events")
    assert exported.returncode == 1
    assert len(exported.stdout.splitlines()) > original_journal.head / 2
    assert "are damaged in" in start_and_stop(settled_journal)[0]


def test_a_bad_sector_of_the_snapshot_causes_a_replay(
    original_journal: Original, tmp_path: Path
) -> None:
    directory = copy_original(original_journal, tmp_path / "damaged")
    start_and_stop(directory)
    mark_unreadable(directory / "snapshot", 1)
    assert start_and_stop(directory) == []


def test_a_bad_sector_of_the_lock_file_is_ignored(settled_journal: Path) -> None:
    mark_unreadable(settled_journal / "journal.lock", 1)
    assert start_and_stop(settled_journal) == []


def test_a_file_that_is_entirely_unreadable_is_reported_as_a_disk_fault(
    settled_journal: Path,
) -> None:
    pages = (settled_journal / JOURNAL_FILE).stat().st_size // SECTOR_BYTES
    mark_unreadable(settled_journal / JOURNAL_FILE, *range(1, pages + 1))
    with pytest.raises(AssertionError, match=r"Input/output error\. Check its disk"):
        start_and_stop(settled_journal)
    assert not list(settled_journal.glob("journal.damaged-*"))
    assert run_station("verify", settled_journal).returncode == 1
    Path(os.environ[LIST_ENV_VAR]).write_text("")  # as if a loose cable were fixed
    assert start_and_stop(settled_journal) == []
