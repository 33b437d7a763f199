"""Whoever is forgotten is forgotten in the journals that were set aside, and all else stays."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from journal.aside import Left, forget_aside, set_aside_beside
from journal.log import frames_of, lost_commits
from journal.reader import JournalFailed, Reader
from journal.retention import without_older
from journal.salvage import Salvage
from journal.sectors import SECTOR_BYTES
from journal.store import StoreSettings
from journal.tokens import CUSTOMER_DATA
from journal.verify import verify
from tests.journal.kinds import KINDS, TokenShown, entry, opened

SEED = 20_261_123
ALICE, BOB, PIN = "04A224b2C3D4E5", "04A224B2C3D4E6", "1234"
REPORT = "Transaction 5f0c at EVSE 1. " * 18  # 504 characters, as long as a part of a report is
LONG = StoreSettings(grow_bytes=1 << 20, checkpoint_pages=10_000)
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
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as a crash leaves it: some commits in the file, most in the log."""
    path = tmp_path_factory.mktemp("crashed") / "journal.db"
    kept = tmp_path_factory.mktemp("kept")
    with opened(path, LONG) as store:
        for seq in range(1, 200):
            token = store.refer(*SHOWN[(seq // 20 - 1) % len(SHOWN)])
            store.append([entry(seq, TokenShown(token) if seq % 20 == 0 else None)])
            if seq == 70:
                store.checkpoint()
        for ending in ("", "-wal"):
            shutil.copy(f"{path}{ending}", kept)
    return kept


@pytest.fixture
def aside(crashed: Path, tmp_path: Path) -> Path:
    """It was set aside; the file is named."""
    directory = tmp_path / "journal.damaged-1"
    shutil.copytree(crashed, directory)
    return directory / "journal.db"


def ref_of(aside: Path, type: str, value: str) -> str:
    with Reader.open(aside, KINDS) as reader:
        token = reader.token(type, value)
    assert token is not None
    return token.ref


def found_in(aside: Path, *values: str) -> list[str]:
    """Which values stand in any of its files, however they are spelled."""
    files = [file.read_bytes().lower() for file in aside.parent.iterdir()]
    return [one for one in values if any(one.lower().encode() in text for text in files)]


def rows(aside: Path) -> list[object]:
    with Reader.open(aside, KINDS) as reader:
        return [*reader.rows()]


@pytest.mark.parametrize("by", ["reference", "value", "another reference"])
def test_a_person_is_gone_and_everything_else_is_there(
    aside: Path, tmp_path: Path, by: str
) -> None:
    journal = tmp_path / "journal.db"
    ref = ref_of(aside, "ISO14443", ALICE)
    before, seen = rows(aside), frames_of(Path(f"{aside}-wal").read_bytes())
    meant = {
        "reference": ({ref}, set[str]()),
        "value": (set[str](), {ALICE.upper()}),
        "another reference": ({"#0123456789abcdef"}, {ALICE}),
    }[by]
    count, left = forget_aside(journal, *meant)
    assert left == []
    assert count > 1, "the page was in the log many times"
    assert found_in(aside, ALICE, BOB, REPORT, "1" + PIN, PIN + "5") == [BOB, REPORT, PIN + "5"]
    assert rows(aside) == before
    assert list(map(len, frames_of(Path(f"{aside}-wal").read_bytes()))) == list(map(len, seen))
    assert lost_commits(aside) is None
    with Reader.open(aside, KINDS) as reader:
        assert reader.value_of(ref) is None
        assert reader.token("ISO14443", ALICE) is None
    with Salvage(aside) as salvage:
        [erased] = [row for row in salvage.tokens if row.ref == ref]
    assert not any(erased.salt), "the salt would let somebody try every number there is"
    assert forget_aside(journal, *meant) == (0, [])


def test_short_values_take_nothing_else_with_them(aside: Path, tmp_path: Path) -> None:
    before = rows(aside)
    count, _ = forget_aside(tmp_path / "journal.db", {ref_of(aside, "KeyCode", PIN)})
    assert count
    with Reader.open(aside, KINDS) as reader:
        known = {shown for shown in SHOWN if reader.token(*shown) is not None}
        values = {reader.value_of(ref_of(aside, *shown)) for shown in known}
    assert known == {*SHOWN} - {("KeyCode", PIN)}, "somebody else has the same number"
    assert values == {value for _, value in known}
    assert rows(aside) == before


def test_a_long_text_is_erased(aside: Path, tmp_path: Path) -> None:
    count, left = forget_aside(tmp_path / "journal.db", {ref_of(aside, CUSTOMER_DATA, REPORT)})
    assert (count > 0, left) == (True, [])
    assert found_in(aside, "EVSE 1", ALICE) == [ALICE]


def test_what_verify_says_of_it_is_what_it_said(aside: Path, tmp_path: Path) -> None:
    """But for the index, which SQLite now finds out of order."""
    connection = sqlite3.connect(aside)
    connection.execute("DROP TRIGGER entry_not_updated")
    connection.execute("UPDATE entry SET body = '{}' WHERE seq = 77")
    connection.commit()
    connection.close()
    before = list(verify(aside))
    forget_aside(tmp_path / "journal.db", (), {ALICE})
    after = [one for one in verify(aside) if "sqlite_autoindex_id_token_2" not in one.text]
    assert after == before
    assert len(before) > 1


def test_whatever_was_damaged_the_value_is_gone_or_its_file_is_named(
    crashed: Path, tmp_path: Path
) -> None:
    dice = random.Random(SEED)
    print("seed", SEED)
    directory = tmp_path / "journal.damaged-1"
    named = 0
    for _ in range(30):
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(crashed, directory)
        aside = directory / "journal.db"
        file = dice.choice([aside, Path(f"{aside}-wal")])
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
        hidden = list(map(len, frames_of(Path(f"{aside}-wal").read_bytes())))
        lost, before = lost_commits(aside), readable(aside)
        _, left = forget_aside(tmp_path / "journal.db", (), {ALICE})
        assert bool(left) == bool(found_in(aside, ALICE))
        assert list(map(len, frames_of(Path(f"{aside}-wal").read_bytes()))) == hidden
        assert (lost_commits(aside), readable(aside)) == (lost, before)
        named += bool(left)
    assert named < 4


def readable(aside: Path) -> list[object]:
    try:
        with Reader.open(aside, KINDS) as reader:
            return list(reader.rows(damaged=lambda _: None))
    except JournalFailed as failure:
        return [str(failure)]


def test_a_value_in_a_row_that_is_damaged_is_named(aside: Path, tmp_path: Path) -> None:
    data = aside.read_bytes()
    at = data.index(ALICE.encode())
    aside.write_bytes(data[: at - 30] + bytes(20) + data[at - 10 :])
    _, [left] = forget_aside(tmp_path / "journal.db", (), {ALICE})
    assert left == Left(aside, "still holds the value, in a row that is damaged")


def test_what_can_be_read_of_a_file_with_a_bad_sector_is_erased_and_the_file_named(
    aside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref, pread = ref_of(aside, "ISO14443", ALICE), os.pread
    log = Path(f"{aside}-wal")
    before = {file: file.read_bytes() for file in (aside, log)}
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
    count, left = forget_aside(tmp_path / "journal.db", {ref})
    monkeypatch.undo()
    assert count
    assert left == [
        Left(file, "cannot be read as a whole: Input/output error") for file in (aside, log)
    ]
    for file, text in before.items():
        now, span = file.read_bytes(), slice(first := bad[file.stat().st_ino], first + SECTOR_BYTES)
        assert now[span] == text[span], "what cannot be read is left alone"
        assert ALICE.lower().encode() not in (now[: span.start] + now[span.stop :]).lower()


def test_what_was_set_aside_goes_when_it_is_old(tmp_path: Path) -> None:
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
        gone = without_older(journal, now - timedelta(days=90))
        kept = {one.name for one in set_aside_beside(journal)}
        assert kept == {"journal.damaged-2", "journal.damaged-3"}
    assert gone == []
    assert journal.exists()
