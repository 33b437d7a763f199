"""Values are erased in journals that were set quarantined, and everything else stays."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from journal.format.id_tokens import CUSTOMER_DATA
from journal.format.sectors import SECTOR_BYTES
from journal.format.wal import find_lost_commits, split_frames
from journal.maintenance.erase_quarantined import UnerasedFile, erase_in_quarantines
from journal.maintenance.retention import remove_older_quarantines
from journal.maintenance.salvage import Salvage
from journal.maintenance.verify import verify
from journal.storage.connection import StoreSettings
from journal.storage.errors import JournalFailed
from journal.storage.quarantine import find_quarantines
from journal.storage.reader import Reader
from tests.journal.kinds import REGISTRY, TokenShown, make_entry, open_writable

SEED = 20_261_123
ALICE, BOB, PIN = "04A224b2C3D4E5", "04A224B2C3D4E6", "1234"
REPORT = "Transaction 5f0c at EVSE 1. " * 18  # 504 characters, as in a part of a report
LARGE_LOG = StoreSettings(grow_bytes=1 << 20, checkpoint_pages=10_000)
SHOWN = (
    ("ISO14443", ALICE),
    ("KeyCode", PIN),
    ("ISO14443", BOB),
    ("KeyCode", PIN + "5"),
    ("KeyCode", "0" + PIN),
    ("Central", PIN),
    (CUSTOMER_DATA, REPORT),
)


@pytest.fixture(scope="module")
def crashed_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as a crash leaves it: some commits in the file, most in the log."""
    path = tmp_path_factory.mktemp("crashed") / "journal.db"
    kept = tmp_path_factory.mktemp("kept")
    with open_writable(path, LARGE_LOG) as store:
        for seq in range(1, 200):
            token = store.reference_for(*SHOWN[(seq // 20 - 1) % len(SHOWN)])
            store.append([make_entry(seq, TokenShown(token) if seq % 20 == 0 else None)])
            if seq == 70:
                store.checkpoint()
        for ending in ("", "-wal"):
            shutil.copy(f"{path}{ending}", kept)
    return kept


@pytest.fixture
def quarantined_journal(crashed_directory: Path, tmp_path: Path) -> Path:
    """The crashed journal, set aside; the path of its file."""
    directory = tmp_path / "journal.damaged-1"
    shutil.copytree(crashed_directory, directory)
    return directory / "journal.db"


def reference_of(quarantined_journal: Path, type: str, value: str) -> str:
    with Reader.open(quarantined_journal, REGISTRY) as reader:
        token = reader.find_reference(type, value)
    assert token is not None
    return token.ref


def values_found(quarantined_journal: Path, *values: str) -> list[str]:
    """The values that occur in any of its files, in upper or lower case."""
    files = [file.read_bytes().lower() for file in quarantined_journal.parent.iterdir()]
    return [value for value in values if any(value.lower().encode() in text for text in files)]


def all_rows(quarantined_journal: Path) -> list[object]:
    with Reader.open(quarantined_journal, REGISTRY) as reader:
        return [*reader.iter_rows()]


@pytest.mark.parametrize("by", ["reference", "value", "another reference"])
def test_a_value_is_erased_and_everything_else_stays(
    quarantined_journal: Path, tmp_path: Path, by: str
) -> None:
    journal = tmp_path / "journal.db"
    ref = reference_of(quarantined_journal, "ISO14443", ALICE)
    before, seen = (
        all_rows(quarantined_journal),
        split_frames(Path(f"{quarantined_journal}-wal").read_bytes()),
    )
    meant = {
        "reference": ({ref}, set[str]()),
        "value": (set[str](), {ALICE.upper()}),
        "another reference": ({"#0123456789abcdef"}, {ALICE}),
    }[by]
    count, left = erase_in_quarantines(journal, *meant)
    assert left == []
    assert count > 1, "the page was in the log many times"
    assert values_found(quarantined_journal, ALICE, BOB, REPORT, "1" + PIN, PIN + "5") == [
        BOB,
        REPORT,
        PIN + "5",
    ]
    assert all_rows(quarantined_journal) == before
    assert list(map(len, split_frames(Path(f"{quarantined_journal}-wal").read_bytes()))) == list(
        map(len, seen)
    )
    assert find_lost_commits(quarantined_journal) is None
    with Reader.open(quarantined_journal, REGISTRY) as reader:
        assert reader.value_of(ref) is None
        assert reader.find_reference("ISO14443", ALICE) is None
    with Salvage(quarantined_journal) as salvage:
        [erased] = [row for row in salvage.tokens if row.ref == ref]
    assert not any(erased.salt), "with the salt every possible number could be tried"
    assert erase_in_quarantines(journal, *meant) == (0, [])


def test_erasing_a_short_value_changes_no_other(quarantined_journal: Path, tmp_path: Path) -> None:
    before = all_rows(quarantined_journal)
    count, _ = erase_in_quarantines(
        tmp_path / "journal.db", {reference_of(quarantined_journal, "KeyCode", PIN)}
    )
    assert count
    with Reader.open(quarantined_journal, REGISTRY) as reader:
        known = {shown for shown in SHOWN if reader.find_reference(*shown) is not None}
        values = {reader.value_of(reference_of(quarantined_journal, *shown)) for shown in known}
    assert known == {*SHOWN} - {("KeyCode", PIN)}, "another type has the same number"
    assert values == {value for _, value in known}
    assert all_rows(quarantined_journal) == before


def test_a_long_text_is_erased(quarantined_journal: Path, tmp_path: Path) -> None:
    count, left = erase_in_quarantines(
        tmp_path / "journal.db", {reference_of(quarantined_journal, CUSTOMER_DATA, REPORT)}
    )
    assert (count > 0, left) == (True, [])
    assert values_found(quarantined_journal, "EVSE 1", ALICE) == [ALICE]


def test_verify_reports_the_same_after_erasing(quarantined_journal: Path, tmp_path: Path) -> None:
    """Except for the index, which SQLite now finds out of order."""
    connection = sqlite3.connect(quarantined_journal)
    connection.execute("DROP TRIGGER entry_not_updated")
    connection.execute("UPDATE entry SET body = '{}' WHERE seq = 77")
    connection.commit()
    connection.close()
    before = list(verify(quarantined_journal))
    erase_in_quarantines(tmp_path / "journal.db", (), {ALICE})
    after = [
        problem
        for problem in verify(quarantined_journal)
        if "sqlite_autoindex_id_token_2" not in problem.text
    ]
    assert after == before
    assert len(before) > 1


def test_after_any_damage_a_value_is_erased_or_its_file_is_named(
    crashed_directory: Path, tmp_path: Path
) -> None:
    dice = random.Random(SEED)
    print("seed", SEED)
    directory = tmp_path / "journal.damaged-1"
    named = 0
    for _ in range(30):
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(crashed_directory, directory)
        quarantined = directory / "journal.db"
        file = dice.choice([quarantined, Path(f"{quarantined}-wal")])
        data = bytearray(file.read_bytes())
        at = dice.randrange(len(data))
        match dice.randrange(3):
            case 0:
                data[at] ^= 1 << dice.randrange(8)
            case 1:
                data[at : at + 4096] = dice.randbytes(len(data[at : at + 4096]))
            case 2:
                del data[at:]
        file.write_bytes(data)
        hidden = list(map(len, split_frames(Path(f"{quarantined}-wal").read_bytes())))
        lost, before = find_lost_commits(quarantined), readable_rows(quarantined)
        _, left = erase_in_quarantines(tmp_path / "journal.db", (), {ALICE})
        assert bool(left) == bool(values_found(quarantined, ALICE))
        assert list(map(len, split_frames(Path(f"{quarantined}-wal").read_bytes()))) == hidden
        assert (find_lost_commits(quarantined), readable_rows(quarantined)) == (lost, before)
        named += bool(left)
    assert named < 4


def readable_rows(quarantined_journal: Path) -> list[object]:
    try:
        with Reader.open(quarantined_journal, REGISTRY) as reader:
            return list(reader.iter_rows(on_damage=lambda _: None))
    except JournalFailed as failure:
        return [str(failure)]


def test_a_value_in_a_row_that_is_damaged_is_named(
    quarantined_journal: Path, tmp_path: Path
) -> None:
    data = quarantined_journal.read_bytes()
    at = data.index(ALICE.encode())
    quarantined_journal.write_bytes(data[: at - 30] + bytes(20) + data[at - 10 :])
    _, [left] = erase_in_quarantines(tmp_path / "journal.db", (), {ALICE})
    assert left == UnerasedFile(quarantined_journal, "contains the value, in a row that is damaged")


def test_with_a_bad_sector_the_readable_values_are_erased_and_the_file_is_named(
    quarantined_journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref, pread = reference_of(quarantined_journal, "ISO14443", ALICE), os.pread
    log = Path(f"{quarantined_journal}-wal")
    before = {file: file.read_bytes() for file in (quarantined_journal, log)}
    bad = {
        file.stat().st_ino: text.rindex(BOB.encode()) // SECTOR_BYTES * SECTOR_BYTES
        for file, text in before.items()
    }

    def read(file: int, size: int, at: int) -> bytes:
        first = bad.get(os.fstat(file).st_ino, -SECTOR_BYTES)
        if at < first + SECTOR_BYTES and first < at + size:
            raise OSError(5, "Input/output error")
        return pread(file, size, at)

    monkeypatch.setattr(os, "pread", read)
    count, left = erase_in_quarantines(tmp_path / "journal.db", {ref})
    monkeypatch.undo()
    assert count
    assert left == [
        UnerasedFile(file, "cannot be read as a whole: Input/output error")
        for file in (quarantined_journal, log)
    ]
    for file, text in before.items():
        now, span = file.read_bytes(), slice(first := bad[file.stat().st_ino], first + SECTOR_BYTES)
        assert now[span] == text[span], "what cannot be read is left alone"
        assert ALICE.lower().encode() not in (now[: span.start] + now[span.stop :]).lower()


def test_an_old_quarantine_is_removed(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    for number, days in ((1, 91), (2, 89), (3, 20_000)):
        directory = tmp_path / f"journal.damaged-{number}"
        directory.mkdir()
        (directory / "journal.db").write_bytes(b"")
        at = (now - timedelta(days=days)).timestamp()
        os.utime(directory, (at, at))
    (tmp_path / "journal.db").write_bytes(b"")
    journal = tmp_path / "journal.db"
    for _ in range(2):  # the third was set aside before the clock was set
        removed = remove_older_quarantines(journal, now - timedelta(days=90))
        kept = {directory.name for directory in find_quarantines(journal)}
        assert kept == {"journal.damaged-2", "journal.damaged-3"}
    assert removed == []
    assert journal.exists()
