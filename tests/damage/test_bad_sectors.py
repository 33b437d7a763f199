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

from journal.observations import StopPressed
from journal.segments import segments_beside
from journal.store import JournalDamaged, Reader, Store
from journal.terms import Entry
from station.runtime.memory import Memory, registry
from station.simulation.world import FILE, JOURNAL_ID
from tests.damage.bad_sectors import LISTED_IN, SECTOR_BYTES, can_be_had, environment, spoil
from tests.damage.test_archived import SETTINGS, settled_moves
from tests.damage.test_damage import copied, root_of
from tests.damage.worlds import Original, original

SEED = 20261123
BEGAN = datetime(2026, 11, 23, tzinfo=UTC)
SAMPLE = 6  # of each journal

pytestmark = pytest.mark.skipif(not can_be_had(), reason="no compiler")

Ended = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return original(tmp_path_factory.mktemp("made"), checkpointed=True)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return environment(tmp_path_factory.mktemp("library"))


@pytest.fixture(autouse=True)
def bad(library: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every process that is started has them."""
    for name, value in library.items():
        monkeypatch.setenv(name, value)
    yield
    Path(library[LISTED_IN]).write_text("")


@pytest.fixture
def settled(made: Original, tmp_path: Path) -> Path:
    """A directory with the file alone, and what no snapshot stands behind."""
    place = copied(made, tmp_path / "settled")
    Memory(place, SETTINGS).close()
    return place


def station(verb: str, place: Path, *arguments: str) -> Ended:
    command = [sys.executable, "-m", "station", verb, str(place / FILE), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode >= 0, f"{verb} was killed by a signal"
    assert "Traceback" not in ended.stderr
    return ended


def elsewhere(what: Callable[[Path], list[str]], place: Path) -> list[str]:
    """The same by a process of its own."""
    program = (
        f"import sys, pathlib; from tests.damage.test_bad_sectors import {what.__name__} as what;"
        "print(*what(pathlib.Path(sys.argv[1])), sep='\\n', end='')"
    )
    ended = subprocess.run([sys.executable, "-c", program, place], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def _lives(place: Path, damage: str = "") -> list[str]:
    memory = Memory(place, SETTINGS, damage=damage)
    memory.snapshot(memory.store.head, memory.state)
    memory.close()
    return [one.why for one in memory.found]


def _archives(place: Path) -> list[str]:
    try:
        settled_moves(place)
    except JournalDamaged as damage:
        found = _lives(place, str(damage))
        settled_moves(place)
        return found
    return []


def _moves_log(place: Path) -> list[str]:
    memory = Memory(place, SETTINGS)
    head = memory.store.head
    assert head.at is not None
    memory.store.append(
        [Entry(head.seq + 1 + n, head.at, head.uptime_ms, StopPressed(1)) for n in range(100)]
    )
    spoil(place / f"{FILE}-wal", 2)
    with pytest.raises(JournalDamaged) as damage:
        memory.store.checkpoint()
    memory.close()
    return _lives(place, str(damage.value))


def lives(place: Path) -> list[str]:
    """A start and an end of a station; what it found."""
    return elsewhere(_lives, place)


def archives(place: Path) -> list[str]:
    """A station's archive takes what it can get; what it found."""
    return elsewhere(_archives, place)


def page_of(place: Path, seq: int) -> tuple[int, list[int]]:
    """The page that an entry lies on, and whatever entries lie there."""
    with Reader.open(place / FILE, registry()) as reader:
        bodies = {row.seq: row.digest for row in reader.rows()}
    content = (place / FILE).read_bytes()
    page = content.index(bodies[seq]) // SECTOR_BYTES
    image = content[page * SECTOR_BYTES : (page + 1) * SECTOR_BYTES]
    return page + 1, [one for one, digest in bodies.items() if digest in image]


def test_bad_sectors_without_end_stop_no_station() -> None:
    print(f"seed {SEED}")
    command = ["tests.damage", "--sectors", "--damages", str(SAMPLE), "--seed", str(SEED)]
    ended = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, f"{2 * SAMPLE} damages, 0 broken\n")


def test_entries_on_a_bad_sector_are_told_and_all_others_read(
    settled: Path, made: Original, tmp_path: Path
) -> None:
    page, lost = page_of(settled, 150)
    assert 150 in lost
    assert len(lost) < 30
    spoil(settled / FILE, page)
    verified = station("verify", settled)
    assert verified.returncode == 1
    assert f"entry {lost[0]}: " in verified.stderr.splitlines()[0]
    assert f"(to {lost[-1]})" in verified.stderr.splitlines()[0]
    for verb, *more in (["replay"], ["export", "events"], ["why", f"{lost[-1] + 1}"]):
        ended = station(verb, settled, *more)
        assert ended.returncode == 1, verb
        assert f"{lost[0]}" in ended.stdout + ended.stderr, verb
    assert len(station("export", settled, "events").stdout.splitlines()) > made.head - len(lost)
    report = tmp_path / "report.html"
    station("report", settled, "--out", str(report))
    assert f"{lost[0]}" in report.read_text()
    why = station("why", settled, "150")
    assert (why.returncode, f"the first is {lost[0]}" in why.stderr) == (1, True)
    assert lives(settled) == [f"entries {lost[0]} to {lost[-1]}: database disk image is malformed"]
    assert lives(settled) == [], "a snapshot stands behind it now"


@pytest.mark.parametrize("name", ["sqlite_schema", "meta", "entry"])
def test_what_leads_to_entries_on_a_bad_sector_is_made_anew_once(settled: Path, name: str) -> None:
    before = entries_of(settled)
    root = 1 if name == "sqlite_schema" else root_of(settled, name)
    spoil(settled / FILE, root)
    assert station("verify", settled).returncode == 1
    [found] = lives(settled)
    assert f"; rebuilt up to entry {before[-1]}, kept in journal.damaged-1" in found
    assert entries_of(settled) == before
    assert lives(settled) == []
    unnamed = ["entry 1: does not match its digest"] if name == "meta" else []
    assert station("verify", settled).stderr.splitlines() == unnamed
    assert (settled / "journal.damaged-1" / FILE).stat().st_ino in bad_files()


def entries_of(place: Path, options: str = "") -> list[int]:
    with closing(sqlite3.connect(f"file:{place / FILE}?{options}", uri=True)) as connection:
        return [seq for (seq,) in connection.execute("SELECT seq FROM entry ORDER BY seq")]


def bad_files() -> set[int]:
    """The inodes of files with bad sectors."""
    return {int(line.split()[0]) for line in Path(os.environ[LISTED_IN]).read_text().splitlines()}


def test_entries_on_a_bad_sector_hold_up_no_archive(settled: Path) -> None:
    page, lost = page_of(settled, 150)
    spoil(settled / FILE, page)
    [found, gap] = archives(settled)
    assert f"entry {lost[0]} is to be archived: database disk image is malformed; rebuilt" in found
    assert gap == f"entries {lost[0]} to {lost[-1]}: missing"
    assert archives(settled) == []
    assert entries_of(settled)[0] > lost[-1]
    [told] = station("verify", settled).stderr.splitlines()
    assert told == f"entry {lost[0]}: missing (to {lost[-1]})"


def test_a_bad_sector_of_the_log_costs_its_commits_at_most(made: Original, tmp_path: Path) -> None:
    log = original(tmp_path / "log")
    place = copied(log, tmp_path / "damaged")
    frames = (place / f"{FILE}-wal").read_bytes().rstrip(b"\0")
    spoil(place / f"{FILE}-wal", len(frames) // SECTOR_BYTES // 2)
    verified = station("verify", place)
    assert verified.returncode == 1
    assert verified.stderr.endswith("cannot be read. The station's next start saves the rest.\n")
    [found, *_] = lives(place)
    assert "; rebuilt up to entry " in found
    assert entries_of(place)[-1] > log.head / 2
    assert lives(place) == []


def test_a_log_that_goes_bad_under_a_station_is_made_anew_with_the_file(settled: Path) -> None:
    before = entries_of(settled)
    [found, *_] = elsewhere(_moves_log, settled)
    assert "; rebuilt up to entry " in found
    assert entries_of(settled)[: len(before)] == before
    assert lives(settled) == []


def test_a_young_journal_with_a_bad_begin_of_its_log_keeps_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with Store.open(path, registry(), journal_id_if_new=JOURNAL_ID) as store:
        for seq in range(1, 51):
            store.append([Entry(seq, BEGAN, seq, StopPressed(1))])
        place = tmp_path / "crashed"
        place.mkdir()
        for ending in ("", "-wal"):
            shutil.copy(f"{path}{ending}", place)
    spoil(place / f"{FILE}-wal", 1)
    assert entries_of(place, "immutable=1") == [], "all of them are in the log"
    [found] = lives(place)
    assert "; rebuilt up to entry 50, kept in " in found
    assert entries_of(place) == list(range(1, 51))


def test_a_bad_sector_of_a_segment_costs_a_block(settled: Path, made: Original) -> None:
    settled_moves(settled)
    with Reader.open(settled / FILE, registry()) as reader:
        first, second, *_ = segments_beside(settled / FILE, reader.journal_id)
    spoil(second.path, 1)
    told = f"entry {second.first}: entries from {second.first} on are damaged in"
    verified = station("verify", settled)
    assert verified.returncode == 1
    assert told in verified.stderr
    replayed = station("replay", settled)
    assert replayed.returncode == 1
    assert f" {first.last} " in replayed.stdout
    assert f" {made.head} " in replayed.stdout
    exported = station("export", settled, "events")
    assert exported.returncode == 1
    assert len(exported.stdout.splitlines()) > made.head / 2
    assert "are damaged in" in lives(settled)[0]


def test_a_bad_sector_of_the_snapshot_is_a_replay(made: Original, tmp_path: Path) -> None:
    place = copied(made, tmp_path / "damaged")
    lives(place)
    spoil(place / "snapshot", 1)
    assert lives(place) == []


def test_a_bad_sector_of_the_lock_is_nothing(settled: Path) -> None:
    spoil(settled / "journal.lock", 1)
    assert lives(settled) == []


def test_a_file_of_which_nothing_can_be_read_is_the_disks_fault(settled: Path) -> None:
    pages = (settled / FILE).stat().st_size // SECTOR_BYTES
    spoil(settled / FILE, *range(1, pages + 1))
    with pytest.raises(AssertionError, match=r"Input/output error\. Check its disk"):
        lives(settled)
    assert not list(settled.glob("journal.damaged-*"))
    assert station("verify", settled).returncode == 1
    Path(os.environ[LISTED_IN]).write_text("")  # a disk that was loose
    assert lives(settled) == []
