"""Archived entries are read, verified and reported missing like entries in the file."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from journal.codec import Registry
from journal.events import Event
from journal.format import segments
from journal.format.hash_chain import entry_digest, origin_digest
from journal.format.segments import find_segments
from journal.maintenance import retention
from journal.maintenance.rebuild import rebuild
from journal.maintenance.retention import RetentionLimits, archive_oldest_entries
from journal.maintenance.verify import verify
from journal.storage import atomic_file
from journal.storage.errors import JournalDamaged, JournalFailed
from journal.storage.reader import EntryDamage, Reader
from journal.storage.store import Store
from tests.journal.kinds import (
    JOURNAL_ID,
    REGISTRY,
    SMALL_JOURNAL,
    START,
    FrameHeard,
    MeterRead,
    TokenShown,
    archive_until,
    copy_journal,
    make_entries,
    make_entry,
    open_writable,
    run_hidden_statements,
)

LAST = 3000
ARCHIVED = 2500
SEED = 20_261_122


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Entries 1 to 2500 in three segments, the rest in the file."""
    path = tmp_path_factory.mktemp("archived") / "journal.db"
    with open_writable(path) as store:
        store.append(list(make_entries(1, LAST)))
        for last in (1000, 2000, ARCHIVED):
            moved = archive_until(store, path, last)
            assert moved is not None
            assert moved.segment.last_seq == last
    return path


@pytest.fixture
def damaged_copy(journal: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return copy_journal(tmp_path, journal)


def verify_complaints(path: Path) -> list[str]:
    return [str(each) for each in verify(path)]


def read_entries(
    path: Path, first: int = 1, last: int | None = None
) -> tuple[list[int], list[EntryDamage]]:
    """The numbers that can be read, and the damage reported of the others."""
    damages: list[EntryDamage] = []
    with Reader.open(path, REGISTRY) as reader:
        return [
            each.seq for each in reader.iter_entries(first, last, on_damage=damages.append)
        ], damages


# --- Reading -------------------------------------------------------------------------------------


def test_an_archived_journal_reads_like_one_that_is_not_archived(journal: Path) -> None:
    with Reader.open(journal, REGISTRY) as reader:
        assert reader.archived_position()[0] == ARCHIVED
        assert reader.position_before_first() == (0, origin_digest(JOURNAL_ID))
        assert list(reader.iter_entries()) == list(make_entries(1, LAST))
        assert list(reader.iter_entries(990, 1010)) == list(make_entries(990, 1010))
        assert list(reader.iter_entries(2499, 2503)) == list(make_entries(2499, 2503))
        digest = origin_digest(JOURNAL_ID)
        for row in reader.iter_rows():
            digest = entry_digest(digest, *row[:-1])
            assert row.digest == digest
        assert row.seq == LAST
        for seq in (1, 512, 513, 1000, 1001, 2500, 2501, LAST):
            assert reader.read_entry(seq) == make_entry(seq, cause=None if seq % 3 else seq - 1)
            row = next(reader.iter_rows(seq, seq))
            assert reader.digest_at(seq) == row.digest
        for seq in (0, LAST + 1):
            assert reader.digest_at(seq) is None
            with pytest.raises(LookupError):
                reader.read_entry(seq)
    assert verify_complaints(journal) == []


def test_a_search_includes_the_archive(journal: Path) -> None:
    with Reader.open(journal, REGISTRY) as reader:
        assert reader.find_seqs(count_max=3, before_seq=2502) == [2499, 2500, 2501]
        assert reader.find_seqs(count_max=2, latest=START + timedelta(seconds=1000)) == [999, 1000]
        assert reader.find_seqs(count_max=9, oldest=START + timedelta(seconds=2998)) == [
            2998,
            2999,
            3000,
        ]
        assert reader.find_seqs(count_max=9, containing='"energy_wh":77.600') == [77]
        assert reader.find_seqs(count_max=9, kinds=("FrameHeard",)) == []
        assert reader.find_seqs(count_max=LAST) == list(range(1, LAST + 1))


def test_a_reader_misses_no_entry_that_is_archived_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        store.append(list(make_entries(1, LAST)))
        with Reader.open(path, REGISTRY) as reader:
            ahead = reader.iter_entries()
            seen = [next(ahead).seq for _ in range(300)]
            assert archive_until(store, path, 2900)
            seen += [each.seq for each in ahead]
    assert seen == list(range(1, LAST + 1))


def test_zcat_shows_the_entries_of_a_segment(journal: Path) -> None:
    first = find_segments(journal, JOURNAL_ID)[0]
    assert first.path.name == "journal.5f0c7c6e.000000000001-000000001000.gz"
    lines = list(map(json.loads, gzip.decompress(first.path.read_bytes()).splitlines()))
    links = [line for line in lines if isinstance(line, dict)]
    rows = [line for line in lines if isinstance(line, list)]
    assert [link["seq"] for link in links] == [0, 512]
    assert {link["journal"] for link in links} == {JOURNAL_ID}
    assert [row[0] for row in rows] == list(range(1, 1001))


def test_a_body_with_line_breaks_and_any_character_is_archived_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    texts = ["\n\r\u2028\0", "a\tb", "\U0001f50c", "x" * 400_000, "\x1f\x8b\x08\x10"]
    written = [make_entry(seq, FrameHeard({"text": text})) for seq, text in enumerate(texts, 1)]
    with open_writable(path) as store:
        store.append([*written, make_entry(len(texts) + 1)])
        assert archive_until(store, path, len(texts))
        assert list(store.iter_entries(1, len(texts))) == written
    assert verify_complaints(path) == []


# --- Archiving -----------------------------------------------------------------------------------


def test_only_old_and_settled_entries_are_archived(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        store.append(list(make_entries(1, 100)))
        needed = RetentionLimits(40, (), START + timedelta(days=1))
        assert archive_oldest_entries(store, path, needed, only_if_worthwhile=True) is None, (
            "too few for a segment"
        )
        aged = RetentionLimits(40, (), START + timedelta(seconds=31))
        moved = archive_oldest_entries(store, path, aged, only_if_worthwhile=False)
        assert moved
        assert (moved.segment.first_seq, moved.segment.last_seq) == (1, 30)
        moved = archive_oldest_entries(store, path, needed, only_if_worthwhile=False)
        assert moved
        assert (moved.segment.first_seq, moved.segment.last_seq) == (31, 39)
        assert archive_oldest_entries(store, path, needed, only_if_worthwhile=False) is None
        assert store.reader.archived_position()[0] == 39
        store.append([make_entry(101)])
    assert verify_complaints(path) == []


def test_a_segment_has_at_most_the_given_number_of_entries(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        store.append(list(make_entries(1, 100)))
        for first in (1, 21, 41, 61):
            moved = archive_until(store, path, 90, segment_entries=20, only_if_worthwhile=True)
            assert moved
            assert (moved.segment.first_seq, moved.entry_count) == (first, 20)
        moved = archive_until(store, path, 90, segment_entries=20, only_if_worthwhile=True)
        assert moved
        assert moved.entry_count == 10
        assert archive_until(store, path, 95, segment_entries=20, only_if_worthwhile=True) is None
    assert verify_complaints(path) == []


def test_entries_of_a_wrong_clock_do_not_delay_or_advance_the_others(tmp_path: Path) -> None:
    """The clock is ahead in entries 20 to 29 and not set (1970) in 60 to 69."""
    path = tmp_path / "journal.db"

    def clock_error(seq: int) -> timedelta:
        ahead, unset = 20 <= seq < 30, 60 <= seq < 70
        return timedelta(days=18_000 if ahead else -20_000 if unset else 0)

    with open_writable(path) as store:
        for entry in make_entries(1, 100):
            at = entry.at + clock_error(entry.seq)
            store.append([type(entry)(entry.seq, at, entry.uptime_ms, entry.event, entry.cause)])
        limits = RetentionLimits(100, (), START + timedelta(seconds=41))
        moved = archive_oldest_entries(store, path, limits, only_if_worthwhile=False)
        assert moved
        assert moved.segment.last_seq == 40
        assert archive_oldest_entries(store, path, limits, only_if_worthwhile=False) is None


class TransactionStarted(Event, frozen=True):
    """Like the station's event: only its kind and the id in its body count."""

    transaction_id: str


def test_an_undelivered_transaction_is_not_archived(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    kinds = Registry([MeterRead, TransactionStarted])
    begins = {20: "delivered", 40: "waiting", 60: "another"}
    with Store.open(path, kinds, journal_id_if_new=JOURNAL_ID, settings=SMALL_JOURNAL) as store:
        for seq in range(1, 101):
            name = begins.get(seq)
            store.append([make_entry(seq, TransactionStarted(name) if name else None)])
        limits = RetentionLimits(90, ("waiting", "another"), START + timedelta(days=1))
        moved = archive_oldest_entries(store, path, limits, only_if_worthwhile=False)
        assert moved
        assert moved.segment.last_seq == 39
        moved = archive_oldest_entries(
            store, path, limits._replace(unsent_transaction_ids=()), only_if_worthwhile=False
        )
        assert moved
        assert moved.segment.last_seq == 89


def test_archived_entries_leave_the_file_and_it_does_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    sizes = []
    with open_writable(path) as store:
        for first in range(1, 20_000, 1000):
            store.append(list(make_entries(first, first + 999)))
            if first > 1000:
                assert archive_until(store, path, first - 1)
            store.checkpoint()
            sizes.append(path.stat().st_size)
        live = store.reader.connection.execute("SELECT count(*) FROM entry").fetchone()
    assert live == (1000,)
    assert sizes[-1] <= sizes[4] + 4 * 4096
    assert (
        sum(segment.path.stat().st_size for segment in find_segments(path, JOURNAL_ID))
        < 19_000 * 20
    )
    assert verify_complaints(path) == []


# --- Damaged before archiving ---------------------------------------------------------------------


def everything_read(path: Path) -> list[object]:
    """Everything that a reader and `verify` report of a journal."""
    damages: list[EntryDamage] = []
    with Reader.open(path, REGISTRY) as reader:
        items: list[object] = [*reader.iter_rows(), *reader.iter_entries(on_damage=damages.append)]
        for seq in (1, 10, 40, 77, 78, 90, 512, 513, 700, 1000, 1500, 1900, 2500, LAST, LAST + 1):
            try:
                items += [reader.digest_at(seq), reader.read_entry(seq)]
            except (LookupError, JournalFailed) as error:
                items.append(str(error))
        for query in ({"containing": "1.6"}, {"kinds": ("MeterRead",)}, {"before_seq": 1100}):
            items.append(reader.find_seqs(count_max=2000, **query))
    return [*items, *damages, *verify(path)]


REMOVED = "DELETE FROM entry WHERE seq "
DAMAGES = {
    "removed": [f"{REMOVED} = 77"],
    "the first removed": [f"{REMOVED} < 5"],
    "more removed than a segment holds": [f"{REMOVED} BETWEEN 400 AND 1900"],
    "removed where a commit, a block and a segment end": [
        f"{REMOVED} IN (40, 512, 513, 1000, 1024)"
    ],
    "every other removed": [f"{REMOVED} % 2 = 1 AND seq < 300"],
    "the last to be archived removed": [f"{REMOVED} = 2500"],
    "body replaced": ["UPDATE entry SET body = '{}' WHERE seq IN (1, 77, 512, 513, 2500)"],
    "changed well": ["UPDATE entry SET body = replace(body, '77.600', '77.601') WHERE seq % 7 = 0"],
    "digest changed": [
        "UPDATE entry SET digest = zeroblob(32) WHERE seq IN (1, 77, 512, 1000, 2500)"
    ],
    "time changed": [
        "UPDATE entry SET at = '9999-11-22T17:25:08.123Z' WHERE seq = 1",
        "UPDATE entry SET at = 'long ago' WHERE seq = 77",
        "UPDATE entry SET at = '' WHERE seq = 78",
    ],
    "other columns changed": [
        "UPDATE entry SET kind = 'no kind', version = -7, cause = 9999, uptime_ms = -5"
        " WHERE seq IN (77, 512)"
    ],
    "swapped": [
        "UPDATE entry SET seq = -1 WHERE seq = 512",
        "UPDATE entry SET seq = 512 WHERE seq = 700",
        "UPDATE entry SET seq = 700 WHERE seq = -1",
    ],
    "once more": [
        "INSERT OR REPLACE INTO entry SELECT 90, at, uptime_ms, kind, version, cause, body, digest"
        " FROM entry WHERE seq = 80"
    ],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_entries_are_archived_and_reported_as_before(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        store.append(list(make_entries(1, LAST)))
    run_hidden_statements(path, *DAMAGES[damage])
    before = everything_read(path)
    with open_writable(path) as store:
        while archive_until(store, path, ARCHIVED, segment_entries=1000):
            assert everything_read(path) == before
        assert store.reader.archived_position()[0] in (ARCHIVED, ARCHIVED - 1)
        assert next(store.reader.connection.execute("SELECT min(seq) FROM entry")) > (ARCHIVED,)
    assert everything_read(path) == before


def test_damage_of_a_segment_is_reported_besides_earlier_damage(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        store.append(list(make_entries(1, LAST)))
    run_hidden_statements(path, f"{REMOVED} = 10", "UPDATE entry SET body = '{}' WHERE seq = 1030")
    with open_writable(path) as store:
        assert archive_until(store, path, ARCHIVED)
    [segment] = find_segments(path, JOURNAL_ID)

    def more(lines: list[str]) -> list[str]:
        return [line.replace(":700.600", ":700.601") for line in lines]

    rewrite_block(segment.path, more, block=1)
    assert verify_complaints(path) == [
        "entry 10: missing",
        "entry 700: does not match its digest",
        "entry 1030: does not match its digest",
    ]
    assert segment.last_digest(JOURNAL_ID) is None


def test_unreadable_entries_require_a_rebuild_before_archiving(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        store.append(list(make_entries(1, LAST)))
    content = path.read_bytes()
    at = content.index(b'"energy_wh":77.600')
    path.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    with open_writable(path) as store:
        assert archive_until(store, path, 70)
        with pytest.raises(JournalDamaged, match="entry 77 is to be archived"):
            archive_until(store, path, ARCHIVED)
        assert store.reader.archived_position()[0] == 70
    assert rebuild(path, "c1a5bd24-98a5-4f2e-8f5d-3b8a5f1c2d3e").missing_ranges == [(77, 77)]
    before = everything_read(path)
    with open_writable(path) as store:
        assert archive_until(store, path, ARCHIVED)
    assert everything_read(path) == before
    assert verify_complaints(path) == ["entry 77: missing"]


@pytest.mark.parametrize("anchor", [None, 600, 1700])
def test_a_damaged_anchor_loses_no_entry(tmp_path: Path, anchor: int | None) -> None:
    """The anchor is missing, or has a number before or after the last archived entry."""
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        store.append(list(make_entries(1, LAST)))
        assert archive_until(store, path, 1000)
    run_hidden_statements(
        path, "DELETE FROM anchor" if anchor is None else f"UPDATE anchor SET seq = {anchor}"
    )
    with open_writable(path) as store:
        assert archive_until(store, path, ARCHIVED)
        assert list(store.iter_entries()) == list(make_entries(1, LAST))
    assert verify_complaints(path) == []


def test_a_rebuilt_file_gets_its_anchor_from_the_archive(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        store.append(list(make_entries(1, LAST)))
        assert archive_until(store, path, 1000)
        anchor = store.reader.archived_position()
    for damage in ("DELETE FROM anchor", "UPDATE anchor SET seq = 1700"):
        run_hidden_statements(path, damage)
        rebuilt = rebuild(path, "c1a5bd24-98a5-4f2e-8f5d-3b8a5f1c2d3e")
        assert (rebuilt.last_seq, rebuilt.missing_ranges) == (LAST, [])
        with Reader.open(path, REGISTRY) as reader:
            assert reader.archived_position() == anchor
        assert verify_complaints(path) == []
        assert read_entries(path) == (list(range(1, LAST + 1)), [])


# --- Interrupted ---------------------------------------------------------------------------------


class PowerCutError(Exception):
    pass


def archived_until_cut(
    store: Store, path: Path, last: int, commits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power fails after this many of the commits that remove entries."""
    retire, done = store.drop_archived, list[int]()

    def cut(last: int) -> int:
        if len(done) == commits:
            raise PowerCutError
        done.append(last)
        return retire(last)

    monkeypatch.setattr(store, "drop_archived", cut)
    with pytest.raises(PowerCutError):
        archive_until(store, path, last)


@pytest.mark.parametrize("retired", [0, 1, 2])
def test_interrupted_archiving_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retired: int
) -> None:
    """Interrupted after the segment has its name and this many commits removed entries."""
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        store.append(list(make_entries(1, LAST)))
        archived_until_cut(store, path, 2000, retired, monkeypatch)
    assert verify_complaints(path) == []
    assert read_entries(path) == (list(range(1, LAST + 1)), [])
    with open_writable(path) as store:
        assert store.reader.archived_position()[0] == retired * retention.ENTRIES_PER_COMMIT
        moved = archive_until(store, path, 2500)
        assert moved
        assert moved.segment.last_seq == 2000
        assert moved.text_bytes == 0
        assert archive_until(store, path, 2500)
    assert [segment.last_seq for segment in find_segments(path, JOURNAL_ID)] == [2000, 2500]
    assert verify_complaints(path) == []


@pytest.mark.parametrize("retired", [1, 3])
@pytest.mark.parametrize(
    "damage",
    [
        "removed where a commit, a block and a segment end",
        "more removed than a segment holds",
        "digest changed",
    ],
)
def test_interrupted_archiving_of_a_damaged_journal_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, retired: int
) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        store.append(list(make_entries(1, LAST)))
    run_hidden_statements(path, *DAMAGES[damage])
    before = everything_read(path)
    with open_writable(path) as store:
        archived_until_cut(store, path, ARCHIVED, retired, monkeypatch)
    assert everything_read(path) == before
    with open_writable(path) as store:
        moved = archive_until(store, path, ARCHIVED)
        assert moved
        assert moved.text_bytes == 0
        assert archive_until(store, path, ARCHIVED) is None
    assert len(find_segments(path, JOURNAL_ID)) == 1
    assert everything_read(path) == before


def test_a_segment_that_differs_from_the_file_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        store.append(list(make_entries(1, LAST)))
        left = segments.segment_path(path, JOURNAL_ID, 1, 700)
        left.write_bytes(b"torn")
        assert verify_complaints(path) == []
        assert archive_until(store, path, 1000)
        assert not left.exists()
        left = segments.segment_path(
            path, JOURNAL_ID, 900, 1400
        )  # a stray segment across the end of the archive
        left.write_bytes(b"torn")
        assert archive_until(store, path, 2000)
    assert read_entries(path, 1001) == (list(range(1001, LAST + 1)), [])


def test_an_unfinished_segment_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    left = tmp_path / "journal.5f0c7c6e.000000000001-000000000700.gz.new"
    others = tmp_path / "journal.0b8c7f4e.000000000001-000000000700.gz.new"
    for file in (left, others):
        file.write_bytes(b"torn")
    with open_writable(path) as store:
        store.append(list(make_entries(1, 100)))
        assert archive_until(store, path, 90)
    assert not left.exists()
    assert others.exists()
    assert verify_complaints(path) == []


def test_no_entry_leaves_the_file_unless_the_segment_reads_back_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    write = atomic_file.write_atomically

    def rotting(to: Path, blocks: object) -> None:
        write(to, blocks)  # type: ignore[arg-type]
        content = bytearray(to.read_bytes())
        content[len(content) // 2] ^= 1
        to.write_bytes(content)

    monkeypatch.setattr(retention, "write_atomically", rotting)
    with open_writable(path) as store:
        store.append(list(make_entries(1, LAST)))
        with pytest.raises(JournalFailed, match="not as it was written"):
            archive_until(store, path, 2000)
        assert store.reader.archived_position()[0] == 0
        monkeypatch.undo()
        assert archive_until(store, path, 2000)
    assert verify_complaints(path) == []


# --- Damage --------------------------------------------------------------------------------------


def flip_bit(path: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def test_a_missing_segment_is_located_and_the_rest_is_read(damaged_copy: Path) -> None:
    find_segments(damaged_copy, JOURNAL_ID)[1].path.unlink()
    assert verify_complaints(damaged_copy) == [
        "entry 1001: the segment with entry 1001 is missing (to 2000)"
    ]
    numbers, damages = read_entries(damaged_copy)
    assert numbers == [*range(1, 1001), *range(2001, LAST + 1)]
    assert [damage.seq for damage in damages] == [1001]
    with Reader.open(damaged_copy, REGISTRY) as reader:
        with pytest.raises(JournalFailed, match="entry 1001 is missing"):
            list(reader.iter_entries())
        with pytest.raises(JournalFailed, match="entry 1500: the segment"):
            reader.read_entry(1500)
        assert reader.position_before_first()[0] == 0


@pytest.mark.parametrize("kept", [0, 1])
def test_a_journal_without_its_first_segments_begins_later(damaged_copy: Path, kept: int) -> None:
    with Reader.open(damaged_copy, REGISTRY) as reader:
        begin = ARCHIVED if kept == 0 else 2000
        before = reader.digest_at(begin)
    for segment in find_segments(damaged_copy, JOURNAL_ID)[: 3 - kept]:
        segment.path.unlink()
    assert read_entries(damaged_copy) == (list(range(begin + 1, LAST + 1)), [])
    with Reader.open(damaged_copy, REGISTRY) as reader:
        assert reader.position_before_first() == (begin, before)
    assert verify_complaints(damaged_copy) == [
        f"entry 1: the segment with entry 1 is missing (to {begin})"
    ]


def test_a_flipped_bit_in_a_segment_is_located_and_costs_a_block(
    journal: Path, tmp_path: Path
) -> None:
    dice = random.Random(SEED)
    print("seed", SEED)
    whole = list(range(1, LAST + 1))
    for _ in range(60):
        path = copy_journal(tmp_path, journal)
        chosen = dice.choice(find_segments(path, JOURNAL_ID))
        flip_bit(chosen.path, dice)
        numbers, damages = read_entries(path)
        problems = list(verify(path))
        if numbers == whole:
            continue  # a bit of the gzip header without a meaning
        lost = sorted(set(whole) - set(numbers))
        assert len(lost) <= segments.BLOCK_ENTRIES
        assert chosen.first_seq <= lost[0]
        assert lost[-1] <= chosen.last_seq
        assert [damage.seq for damage in damages] == [lost[0]]
        assert [problem.seq for problem in problems] == [lost[0]], problems
    assert len(lost) > 400


def test_a_segment_cut_anywhere_is_located(journal: Path, tmp_path: Path) -> None:
    dice = random.Random(SEED)
    print("seed", SEED)
    for _ in range(30):
        path = copy_journal(tmp_path, journal)
        chosen = dice.choice(find_segments(path, JOURNAL_ID))
        content = chosen.path.read_bytes()
        chosen.path.write_bytes(content[: dice.randrange(len(content))])
        [complaint] = verify(path)
        assert complaint.seq is not None
        assert chosen.first_seq <= complaint.seq <= chosen.last_seq
        numbers, _ = read_entries(path)
        assert set(range(ARCHIVED + 1, LAST + 1)) <= set(numbers)
        assert complaint.seq not in numbers


def rewrite_block(path: Path, change: Callable[[list[str]], list[str]], *, block: int) -> None:
    """Unpack a segment, change one of its blocks and pack it correctly."""
    members = path.read_bytes().split(segments._MEMBER_HEADER)[1:]
    link, *lines = gzip.decompress(segments._MEMBER_HEADER + members[block]).decode().splitlines()
    changed = segments._pack_member(
        segments._link_decoder.decode(link), [line.encode() for line in change(lines)]
    )
    parts = [segments._MEMBER_HEADER + member for member in members]
    parts[block] = changed
    path.write_bytes(b"".join(parts))


@pytest.mark.parametrize("block", [0, 1])
def test_a_changed_entry_in_a_segment_is_located(damaged_copy: Path, block: int) -> None:
    seq = 2101 if block == 0 else 2513 - 13
    path = find_segments(damaged_copy, JOURNAL_ID)[2].path
    if block:
        path, seq = find_segments(damaged_copy, JOURNAL_ID)[0].path, 700

    def more(lines: list[str]) -> list[str]:
        return [line.replace(f":{seq}.600", f":{seq}.601") for line in lines]

    rewrite_block(path, more, block=block)
    assert verify_complaints(damaged_copy) == [f"entry {seq}: does not match its digest"]


def test_entries_removed_from_a_segment_are_reported_missing(damaged_copy: Path) -> None:
    rewrite_block(
        find_segments(damaged_copy, JOURNAL_ID)[0].path, lambda lines: lines[:-12], block=0
    )
    assert verify_complaints(damaged_copy) == [
        "entry 501: entries from 501 on are damaged in "
        "journal.5f0c7c6e.000000000001-000000001000.gz (to 512)"
    ]


def test_a_boot_of_the_host_in_a_missing_segment_is_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    rebooted = [
        msgspec.structs.replace(each, uptime_ms=each.seq) if each.seq > 1500 else each
        for each in make_entries(1, LAST)
    ]
    assert rebooted[2000].cause == 2000, "in the segment that will be missing"
    with open_writable(path) as store:
        store.append(rebooted)
        for last in (1000, 2000, ARCHIVED):
            archive_until(store, path, last)
    find_segments(path, JOURNAL_ID)[1].path.unlink()
    assert verify_complaints(path) == [
        "entry 1001: the segment with entry 1001 is missing (to 2000)"
    ]


def test_a_segment_of_another_journal_is_ignored(damaged_copy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    path = other / "journal.db"
    path.write_bytes(damaged_copy.read_bytes())
    connection = sqlite3.connect(path)
    connection.execute("DROP TRIGGER meta_not_updated")
    connection.execute("UPDATE meta SET journal_id = 'c1a5bd24-98a5-4f2e-8f5d-3b8a5f1c2d3e'")
    connection.commit()
    connection.close()
    for segment in find_segments(damaged_copy, JOURNAL_ID):
        shutil.copy(segment.path, other)
    assert read_entries(path) == (list(range(ARCHIVED + 1, LAST + 1)), [])
    for segment in find_segments(damaged_copy, JOURNAL_ID):
        shutil.copy(segment.path, other / segment.path.name.replace("5f0c7c6e", "c1a5bd24"))
    numbers, damages = read_entries(path)
    assert numbers == list(range(ARCHIVED + 1, LAST + 1))
    assert [damage.seq for damage in damages] == [1, 1001, 2001]


def test_no_segment_contains_a_personal_value(tmp_path: Path) -> None:
    """The value of a presented token is in the side table, never in an entry."""
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        token = store.reference_for("ISO14443", "04A224B2C3D4E5")
        store.append([make_entry(1, TokenShown(token)), make_entry(2, MeterRead(1, Decimal(7)))])
        assert archive_until(store, path, 1)
        assert store.erase(token.ref)
        [segment] = find_segments(path, JOURNAL_ID)
        assert token.ref in gzip.decompress(segment.path.read_bytes()).decode()
    for file in tmp_path.iterdir():
        assert b"04A224B2C3D4E5" not in file.read_bytes()
    assert verify_complaints(path) == []
