"""Sectors that cannot be read: all else is told and delivered, and the station charges. P5."""

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
SAMPLE = 6  # of each journal

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
    """Every process that is started has them."""
    for name, value in bad_sector_environment.items():
        monkeypatch.setenv(name, value)
    yield
    Path(bad_sector_environment[LIST_ENV_VAR]).write_text("")


@pytest.fixture
def settled_journal(original_journal: Original, tmp_path: Path) -> Path:
    """A directory with the file alone, and what no snapshot stands behind."""
    place = copy_original(original_journal, tmp_path / "settled")
    Startup(place, SETTINGS).close()
    return place


def run_station(verb: str, place: Path, *arguments: str) -> Ended:
    command = [sys.executable, "-m", "station", verb, str(place / JOURNAL_FILE), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode >= 0, f"{verb} was killed by a signal"
    assert "Traceback" not in ended.stderr
    return ended


def run_in_process(function: Callable[[Path], list[str]], place: Path) -> list[str]:
    """The same by a process of its own."""
    program = (
        f"import sys, pathlib; from tests.durability.damage.test_bad_sectors import {function.__name__} as what;"
        "print(*what(pathlib.Path(sys.argv[1])), sep='\\n', end='')"
    )
    ended = subprocess.run([sys.executable, "-c", program, place], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def _start_and_stop(place: Path, damage: str = "") -> list[str]:
    memory = Startup(place, SETTINGS, damage_reason=damage)
    memory.save_snapshot(memory.store.head, memory.state)
    memory.close()
    return [one.reason for one in memory.damage_found]


def _archive_available(place: Path) -> list[str]:
    try:
        archive_settled(place)
    except JournalDamaged as damage:
        found = _start_and_stop(place, str(damage))
        archive_settled(place)
        return found
    return []


def _checkpoint_bad_log(place: Path) -> list[str]:
    memory = Startup(place, SETTINGS)
    head = memory.store.head
    assert head.at is not None
    memory.store.append(
        [Entry(head.seq + 1 + n, head.at, head.uptime_ms, StopButtonPressed(1)) for n in range(100)]
    )
    mark_unreadable(place / f"{JOURNAL_FILE}-wal", 2)
    with pytest.raises(JournalDamaged) as damage:
        memory.store.checkpoint()
    memory.close()
    return _start_and_stop(place, str(damage.value))


def start_and_stop(place: Path) -> list[str]:
    """A start and an end of a station; what it found."""
    return run_in_process(_start_and_stop, place)


def archive_available(place: Path) -> list[str]:
    """A station's archive takes what it can get; what it found."""
    return run_in_process(_archive_available, place)


def page_with_entry(place: Path, seq: int) -> tuple[int, list[int]]:
    """The page that an entry lies on, and whatever entries lie there."""
    with Reader.open(place / JOURNAL_FILE, event_registry()) as reader:
        bodies = {row.seq: row.digest for row in reader.iter_rows()}
    content = (place / JOURNAL_FILE).read_bytes()
    page = content.index(bodies[seq]) // SECTOR_BYTES
    image = content[page * SECTOR_BYTES : (page + 1) * SECTOR_BYTES]
    return page + 1, [one for one, digest in bodies.items() if digest in image]


def test_bad_sectors_without_end_stop_no_station() -> None:
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
    assert (ended.returncode, ended.stdout) == (0, f"{2 * SAMPLE} damages, 0 broken\n")


def test_entries_on_a_bad_sector_are_told_and_all_others_read(
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
    assert start_and_stop(settled_journal) == [
        f"entries {lost[0]} to {lost[-1]}: database disk image is malformed"
    ]
    assert start_and_stop(settled_journal) == [], "a snapshot stands behind it now"


@pytest.mark.parametrize("name", ["sqlite_schema", "meta", "entry"])
def test_what_leads_to_entries_on_a_bad_sector_is_made_anew_once(
    settled_journal: Path, name: str
) -> None:
    before = entries_of(settled_journal)
    root = 1 if name == "sqlite_schema" else root_page_of(settled_journal, name)
    mark_unreadable(settled_journal / JOURNAL_FILE, root)
    assert run_station("verify", settled_journal).returncode == 1
    [found] = start_and_stop(settled_journal)
    assert f"; rebuilt up to entry {before[-1]}, kept in journal.damaged-1" in found
    assert entries_of(settled_journal) == before
    assert start_and_stop(settled_journal) == []
    unnamed = ["entry 1: does not match its digest"] if name == "meta" else []
    assert run_station("verify", settled_journal).stderr.splitlines() == unnamed
    assert (settled_journal / "journal.damaged-1" / JOURNAL_FILE).stat().st_ino in bad_files()


def entries_of(place: Path, options: str = "") -> list[int]:
    with closing(sqlite3.connect(f"file:{place / JOURNAL_FILE}?{options}", uri=True)) as connection:
        return [seq for (seq,) in connection.execute("SELECT seq FROM entry ORDER BY seq")]


def bad_files() -> set[int]:
    """The inodes of files with bad sectors."""
    return {
        int(line.split()[0]) for line in Path(os.environ[LIST_ENV_VAR]).read_text().splitlines()
    }


def test_entries_on_a_bad_sector_hold_up_no_archive(settled_journal: Path) -> None:
    page, lost = page_with_entry(settled_journal, 150)
    mark_unreadable(settled_journal / JOURNAL_FILE, page)
    [found, gap] = archive_available(settled_journal)
    assert f"entry {lost[0]} is to be archived: database disk image is malformed; rebuilt" in found
    assert gap == f"entries {lost[0]} to {lost[-1]}: missing"
    assert archive_available(settled_journal) == []
    assert entries_of(settled_journal)[0] > lost[-1]
    [told] = run_station("verify", settled_journal).stderr.splitlines()
    assert told == f"entry {lost[0]}: missing (to {lost[-1]})"


def test_a_bad_sector_of_the_log_costs_its_commits_at_most(
    original_journal: Original, tmp_path: Path
) -> None:
    log = make_original(tmp_path / "log")
    place = copy_original(log, tmp_path / "damaged")
    frames = (place / f"{JOURNAL_FILE}-wal").read_bytes().rstrip(b"\0")
    mark_unreadable(place / f"{JOURNAL_FILE}-wal", len(frames) // SECTOR_BYTES // 2)
    verified = run_station("verify", place)
    assert verified.returncode == 1
    assert verified.stderr.endswith("cannot be read. The station's next start saves the rest.\n")
    [found, *_] = start_and_stop(place)
    assert "; rebuilt up to entry " in found
    assert entries_of(place)[-1] > log.head / 2
    assert start_and_stop(place) == []


def test_a_log_that_goes_bad_under_a_station_is_made_anew_with_the_file(
    settled_journal: Path,
) -> None:
    before = entries_of(settled_journal)
    [found, *_] = run_in_process(_checkpoint_bad_log, settled_journal)
    assert "; rebuilt up to entry " in found
    assert entries_of(settled_journal)[: len(before)] == before
    assert start_and_stop(settled_journal) == []


def test_a_young_journal_with_a_bad_begin_of_its_log_keeps_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with Store.open(path, event_registry(), journal_id_if_new=JOURNAL_ID) as store:
        for seq in range(1, 51):
            store.append([Entry(seq, BEGAN, seq, StopButtonPressed(1))])
        place = tmp_path / "crashed"
        place.mkdir()
        for ending in ("", "-wal"):
            shutil.copy(f"{path}{ending}", place)
    mark_unreadable(place / f"{JOURNAL_FILE}-wal", 1)
    assert entries_of(place, "immutable=1") == [], "all of them are in the log"
    [found] = start_and_stop(place)
    assert "; rebuilt up to entry 50, kept in " in found
    assert entries_of(place) == list(range(1, 51))


def test_a_bad_sector_of_a_segment_costs_a_block(
    settled_journal: Path, original_journal: Original
) -> None:
    archive_settled(settled_journal)
    with Reader.open(settled_journal / JOURNAL_FILE, event_registry()) as reader:
        first, second, *_ = find_segments(settled_journal / JOURNAL_FILE, reader.journal_id)
    mark_unreadable(second.path, 1)
    told = f"entry {second.first_seq}: entries from {second.first_seq} on are damaged in"
    verified = run_station("verify", settled_journal)
    assert verified.returncode == 1
    assert told in verified.stderr
    replayed = run_station("replay", settled_journal)
    assert replayed.returncode == 1
    assert f" {first.last_seq} " in replayed.stdout
    assert f" {original_journal.head} " in replayed.stdout
    exported = run_station("export", settled_journal, "events")
    assert exported.returncode == 1
    assert len(exported.stdout.splitlines()) > original_journal.head / 2
    assert "are damaged in" in start_and_stop(settled_journal)[0]


def test_a_bad_sector_of_the_snapshot_is_a_replay(
    original_journal: Original, tmp_path: Path
) -> None:
    place = copy_original(original_journal, tmp_path / "damaged")
    start_and_stop(place)
    mark_unreadable(place / "snapshot", 1)
    assert start_and_stop(place) == []


def test_a_bad_sector_of_the_lock_is_nothing(settled_journal: Path) -> None:
    mark_unreadable(settled_journal / "journal.storage.lock", 1)
    assert start_and_stop(settled_journal) == []


def test_a_file_of_which_nothing_can_be_read_is_the_disks_fault(settled_journal: Path) -> None:
    pages = (settled_journal / JOURNAL_FILE).stat().st_size // SECTOR_BYTES
    mark_unreadable(settled_journal / JOURNAL_FILE, *range(1, pages + 1))
    with pytest.raises(AssertionError, match=r"Input/output error\. Check its disk"):
        start_and_stop(settled_journal)
    assert not list(settled_journal.glob("journal.damaged-*"))
    assert run_station("verify", settled_journal).returncode == 1
    Path(os.environ[LIST_ENV_VAR]).write_text("")  # a disk that was loose
    assert start_and_stop(settled_journal) == []
