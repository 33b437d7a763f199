"""Every change of a journal is found and located."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from journal.format.hash_chain import entry_digest
from journal.maintenance.verify import Problem, parse_witnessed_head, verify
from journal.storage.reader import Reader
from tests.journal.kinds import (
    REGISTRY,
    FrameHeard,
    LidOpened,
    TokenShown,
    archive_until,
    copy_journal,
    make_entries,
    make_entry,
    open_writable,
    write_journal,
)

SEED = 20261122
LAST = 60
TABLES = ("entry", "meta", "id_token", "anchor")


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed journal with readings, frames, tokens and causes."""
    path = tmp_path_factory.mktemp("whole") / "journal.db"
    with open_writable(path) as store:
        for seq, made in enumerate(make_entries(1, LAST), 1):
            if seq % 7 == 0:
                token = store.reference_for("ISO14443", f"04A224{seq:02X}")
                store.append([make_entry(seq, TokenShown(token))])
            elif seq % 11 == 0:
                store.append([make_entry(seq, LidOpened(seq, "ünlocked"))])
            else:
                store.append([made])
        archive_until(store, path, 5)
    return path


@pytest.fixture
def damaged_copy(journal: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return copy_journal(tmp_path, journal)


def verify_complaints(path: Path, **more: Any) -> list[str]:
    return [str(each) for each in verify(path, **more)]


def run_hidden_statements(path: Path, *statements: str, guarded: bool = False) -> None:
    """Change the tables as a forger with a tool would, leaving no trace in the schema."""
    connection = sqlite3.connect(path)
    guards = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
    ).fetchall()
    if not guarded:
        for name, _ in guards:
            connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    if not guarded:
        for _, sql in guards:
            connection.execute(sql)
    connection.commit()
    connection.close()


def table_contents(path: Path) -> dict[str, list[Any]]:
    """All rows of all tables that count, with the type of each value."""
    with Reader.open(path, REGISTRY) as reader:
        return {
            table: [
                [(type(value), value) for value in row]
                for row in reader.connection.execute(f"SELECT * FROM {table} ORDER BY rowid")
            ]
            for table in TABLES
        }


def test_a_whole_journal_has_no_problem(journal: Path) -> None:
    assert verify_complaints(journal) == []


def test_a_journal_in_use_has_no_problem(tmp_path: Path) -> None:
    with open_writable(tmp_path / "journal.db") as store:
        store.append(list(make_entries(1, 600)))
        assert verify_complaints(tmp_path / "journal.db") == []


def test_a_journal_without_entries_is_reported(tmp_path: Path) -> None:
    open_writable(tmp_path / "journal.db").close()
    assert verify_complaints(tmp_path / "journal.db") == ["no entries"]
    (tmp_path / "empty.db").touch()
    assert verify_complaints(tmp_path / "empty.db") == ["no entries"]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE entry SET body = '{}' WHERE seq = 20", "entry 20: does not match its digest"),
        (
            "UPDATE entry SET digest = zeroblob(32) WHERE seq = 20",
            "entry 20: does not match its digest",
        ),
        ("DELETE FROM entry WHERE seq = 20", "entry 20: missing"),
        ("DELETE FROM entry WHERE seq BETWEEN 20 AND 22", "entry 20: missing (to 22)"),
        ("DELETE FROM entry WHERE seq = 6", "entry 6: missing"),
        (
            "INSERT INTO entry SELECT 61, at, uptime_ms, kind, version, cause, body, digest"
            " FROM entry WHERE seq = 60",
            "entry 61: does not match its digest",
        ),
        ("UPDATE entry SET seq = 99 WHERE seq = 60", "entry 60: missing (to 98)"),
        ("UPDATE entry SET cause = 1 WHERE seq = 20", "entry 20: does not match its digest"),
        ("UPDATE anchor SET digest = zeroblob(32)", "anchor: is not the end of the archive"),
        ("UPDATE anchor SET seq = 4", "anchor: is not the end of the archive"),
        ("UPDATE anchor SET seq = 9", "entry 6: the segment with entry 6 is missing (to 9)"),
        (
            "UPDATE anchor SET origin = zeroblob(32)",
            "anchor: was changed, or belongs to another journal",
        ),
        (
            "INSERT INTO anchor VALUES (3, zeroblob(32), zeroblob(32))",
            "anchor: was changed, or belongs to another journal",
        ),
        ("DELETE FROM anchor", "anchor: missing, but the entries begin with 6"),
        ("UPDATE meta SET journal_id = 'x'", "meta: the journal's id is missing or was changed"),
        ("UPDATE meta SET format = 2", "meta: format 2; this release reads 1"),
        ("DELETE FROM meta", "meta: the journal's id is missing or was changed"),
        ("CREATE TABLE more (x)", "table more of more is not the station's"),
        ("DELETE FROM id_token WHERE value LIKE '04A2240E'", None),
    ],
)
def test_a_change_of_a_table_is_found(damaged_copy: Path, statement: Any, expected: Any) -> None:
    run_hidden_statements(damaged_copy, statement)
    assert verify_complaints(damaged_copy)[:1] == ([expected] if expected else [])


def test_swapped_entries_are_located(damaged_copy: Path) -> None:
    run_hidden_statements(
        damaged_copy,
        "UPDATE entry SET seq = -1 WHERE seq = 20",
        "UPDATE entry SET seq = 20 WHERE seq = 30",
        "UPDATE entry SET seq = 30 WHERE seq = -1",
    )
    assert [each.seq for each in verify(damaged_copy)] == [20, 21, 30, 31]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DROP TRIGGER entry_not_deleted", "trigger entry_not_deleted of entry is missing"),
        (
            "CREATE TRIGGER entry_quiet BEFORE INSERT ON entry BEGIN SELECT raise(IGNORE); END",
            "trigger entry_quiet of entry is not the station's",
        ),
    ],
)
def test_missing_and_foreign_triggers_are_found(
    damaged_copy: Path, statement: Any, expected: Any
) -> None:
    run_hidden_statements(damaged_copy, statement, guarded=True)
    assert verify_complaints(damaged_copy) == [expected]


def test_an_altered_trigger_is_found(damaged_copy: Path) -> None:
    run_hidden_statements(damaged_copy, "DROP TRIGGER entry_not_updated", guarded=True)
    run_hidden_statements(
        damaged_copy,
        "CREATE TRIGGER entry_not_updated BEFORE UPDATE ON entry BEGIN SELECT 1; END",
        guarded=True,
    )
    assert verify_complaints(damaged_copy) == ["trigger entry_not_updated of entry was altered"]


@pytest.mark.parametrize("column", ["value", "folded", "type", "salt", "ref"])
def test_a_changed_value_is_located_at_the_first_entry_with_its_reference(
    damaged_copy: Path, column: Any
) -> None:
    other = "x'00'" if column == "salt" else "'x'"
    run_hidden_statements(
        damaged_copy, f"UPDATE id_token SET {column} = {other} WHERE value = '04A2240E'"
    )
    [complaint] = verify(damaged_copy)
    assert complaint.seq == 14
    assert "the value does not match its reference" in complaint.text


def test_an_erased_value_is_no_problem(damaged_copy: Path) -> None:
    with open_writable(damaged_copy) as store:
        assert store.erase(store.reference_for("ISO14443", "04A2240E").ref)
    assert verify_complaints(damaged_copy) == []


def test_a_cut_tail_is_found_with_a_witnessed_head_only(damaged_copy: Path) -> None:
    with Reader.open(damaged_copy, REGISTRY) as reader:
        head = reader.read_head()
    run_hidden_statements(damaged_copy, "DELETE FROM entry WHERE seq > 50")
    assert verify_complaints(damaged_copy) == []
    assert verify_complaints(damaged_copy, head=(head.seq, head.digest)) == [
        "entry 51: missing: entry 60 was recorded outside"
    ]


def test_a_witnessed_head_is_compared_at_any_entry(damaged_copy: Path) -> None:
    with Reader.open(damaged_copy, REGISTRY) as reader:
        seen = {row.seq: row.digest for row in reader.iter_rows()}
        anchor = reader.archived_position()
    assert verify_complaints(damaged_copy, head=(60, seen[60])) == []
    assert verify_complaints(damaged_copy, head=(30, seen[30])) == []
    assert verify_complaints(damaged_copy, head=anchor) == []
    assert verify_complaints(damaged_copy, head=(30, seen[31])) == [
        "entry 30: is not the entry that was recorded outside"
    ]
    assert verify_complaints(damaged_copy, head=(2, seen[2])) == []
    for archived_seq in (2, 5):
        assert verify_complaints(damaged_copy, head=(archived_seq, seen[31])) == [
            f"entry {archived_seq}: is not the entry that was recorded outside"
        ]


def test_a_head_is_parsed_as_number_and_digest() -> None:
    assert parse_witnessed_head("48112:" + "0a" * 32) == (48112, b"\n" * 32)
    for wrong in ("48112", "x:00", "1:0a", "1:" + "zz" * 32, ""):
        with pytest.raises(ValueError, match="SEQ:DIGEST"):
            parse_witnessed_head(wrong)


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("at", "yesterday", "has no readable time or kind"),
        ("kind", "Two words", "has no readable time or kind"),
        ("cause", 60, "has entry 60 as its cause"),
        ("cause", 0, "has entry 0 as its cause"),
        ("uptime_ms", -1, "uptime -1 ms is before its cause's 59000 ms"),
        ("version", 0, "uptime 60000 ms, version 0"),
    ],
)
def test_an_implausible_entry_is_found_although_its_digest_matches(
    damaged_copy: Path, column: Any, value: Any, expected: Any
) -> None:
    forge_last_entry(damaged_copy, lambda row: row | {column: value})
    assert verify_complaints(damaged_copy) == [f"entry 60: {expected}"]


def test_a_decision_before_its_cause_is_found_although_its_digest_matches(
    damaged_copy: Path,
) -> None:
    forge_last_entry(damaged_copy, lambda row: row | {"uptime_ms": 58_999, "cause": 59})
    assert verify_complaints(damaged_copy) == [
        "entry 60: uptime 58999 ms is before its cause's 59000 ms"
    ]


def forge_last_entry(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change the last entry, with the digest that it then has."""
    with Reader.open(path, REGISTRY) as reader:
        before, last = reader.iter_rows(59)
    row = change(last._asdict())
    row["digest"] = entry_digest(before.digest, *list(row.values())[:-1])
    values = ", ".join(
        f"x'{value.hex()}'" if column == "digest" else repr(value) for column, value in row.items()
    )
    run_hidden_statements(
        path,
        f"UPDATE entry SET ({', '.join(row)}) = ({values.replace('None', 'NULL')}) WHERE seq = 60",
    )


def test_a_destroyed_page_is_located_and_the_rest_still_checked(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "journal.db", 3000)
    data = bytearray(path.read_bytes())
    page = data.index(b'"energy_wh":1500.600') // 4096
    lost = sorted(
        int(number) for number in re.findall(rb'"energy_wh":(\d+)\.600', data[page * 4096 :][:4096])
    )
    data[page * 4096 : (page + 1) * 4096] = random.Random(SEED).randbytes(4096)
    data[data.index(b'"energy_wh":2999.600') + 13] ^= 1
    path.write_bytes(data)
    problems = list(verify(path))
    assert [problem.seq for problem in problems[:2]] == [lost[0], 2999]
    assert f"(to {lost[-1]})" in problems[0].text
    assert len(lost) > 10


def test_a_destroyed_head_is_located(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "journal.db", 3000)
    data = bytearray(path.read_bytes())
    page = data.index(b'"energy_wh":3000.600') // 4096
    data[page * 4096 : (page + 1) * 4096] = bytes(4096)
    path.write_bytes(data)
    first = next(verify(path))
    assert first.seq is not None
    assert 2900 < first.seq <= 3000
    assert "nothing after it can be read" in first.text


@pytest.mark.parametrize("size", [1, 100, 4095, 5000])
def test_a_file_cut_short_is_unreadable_in_one_line(damaged_copy: Path, size: Any) -> None:
    damaged_copy.write_bytes(damaged_copy.read_bytes()[:size])
    problems = verify_complaints(damaged_copy)
    assert problems
    assert not [line for line in problems if "\n" in line]


def test_a_missing_file_is_reported_in_one_line(tmp_path: Path) -> None:
    assert verify_complaints(tmp_path / "journal.db") == [
        f"{tmp_path}/journal.db: no such file. Name the journal, as in DATA/journal.db."
    ]


# The second seed found a bit of the journal's id without a check once entries were archived.
@pytest.mark.parametrize("seed", [SEED, 20262124])
def test_a_flipped_bit_is_found_or_changes_nothing(
    journal: Path, tmp_path: Path, seed: Any
) -> None:
    dice = random.Random(seed)
    print("seed", seed)
    data = journal.read_bytes()
    original = table_contents(journal)
    path = copy_journal(tmp_path, journal)
    silent = 0
    for _ in range(500):
        position, mask = dice.randrange(len(data)), 1 << dice.randrange(8)
        flipped = bytearray(data)
        flipped[position] ^= mask
        path.write_bytes(flipped)
        problems = list(verify(path))
        assert all(isinstance(each, Problem) and "\n" not in str(each) for each in problems)
        if not problems:
            silent += 1
            assert table_contents(path) == original, f"byte {position} ^ {mask}"
        for leftover in tmp_path.glob("journal.db-*"):
            leftover.unlink()
    assert silent < 500


def test_a_number_changed_within_a_page_is_located_and_reading_ends(
    journal: Path, tmp_path: Path
) -> None:
    data, path = journal.read_bytes(), copy_journal(tmp_path, journal)
    body = data.index(b'{"evse_id":2,"energy_wh":59.600}')
    places = [place for place in range(body - 80, body) if data[place] == 59]
    assert places  # the row's number precedes its columns
    for place in places:
        for other in (7, 60, 228):
            path.write_bytes(data[:place] + bytes([other]) + data[place + 1 :])
            seqs = [problem.seq for problem in verify(path) if problem.seq]
            assert seqs[0] in range(6, 61)


def test_a_changed_folded_value_in_the_side_table_is_found(damaged_copy: Path) -> None:
    run_hidden_statements(
        damaged_copy, "UPDATE id_token SET value = '04a2240e' WHERE value = '04A2240E'"
    )
    assert [each.seq for each in verify(damaged_copy)] == [14]


def test_a_flipped_bit_in_the_body_of_an_entry_is_located(journal: Path, tmp_path: Path) -> None:
    data, path = journal.read_bytes(), copy_journal(tmp_path, journal)
    for seq in (6, 30, 59):
        needle = f'{{"evse_id":{1 + seq % 2},"energy_wh":{seq}.600}}'.encode()
        for offset in range(0, len(needle), 3):
            flipped = bytearray(data)
            flipped[data.index(needle) + offset] ^= 1 << offset % 8
            path.write_bytes(flipped)
            assert next(verify(path)).seq == seq


def journal_with_log(tmp_path: Path, commits: int) -> tuple[Path, Path]:
    """A copy of a running journal: everything but the schema is in the log."""
    path = tmp_path / "journal.db"
    home = tmp_path / "copy"
    home.mkdir()
    with open_writable(path) as store:
        store.checkpoint()
        for seq in range(1, commits + 1):
            store.append([make_entry(seq, FrameHeard({"n": seq}))])
        for file in (path, Path(f"{path}-wal")):
            shutil.copy(file, home)
    return home / path.name, home / f"{path.name}-wal"


def test_commits_hidden_by_a_damaged_log_are_found(tmp_path: Path) -> None:
    path, log = journal_with_log(tmp_path, 10)
    whole = log.read_bytes()
    for frame, expected in ((0, 1), (4, 5), (8, 9)):
        data = bytearray(whole)
        data[32 + frame * 4120 + 24 + 4000] ^= 4
        log.write_bytes(data)
        for shm in path.parent.glob("*-shm"):
            shm.unlink()
        [*_, problem] = verify(path)
        assert problem.seq == expected or "no entries" in str(problem)
        assert f"after damaged frame {frame + 1} of the log" in str(problem)


def test_the_commit_in_progress_at_a_power_cut_is_no_problem(tmp_path: Path) -> None:
    path, log = journal_with_log(tmp_path, 10)
    data = bytearray(log.read_bytes())
    data[32 + 9 * 4120 + 24 + 4000] ^= 4
    log.write_bytes(data)
    assert verify_complaints(path) == []
    with Reader.open(path, REGISTRY) as reader:
        assert reader.read_head().seq == 9


@pytest.mark.parametrize("size", [512, 4096])
@pytest.mark.parametrize("noise", [b"\0", b"\xff", b"rot?"])
@pytest.mark.parametrize(
    ("sector", "expected"), [(0, "the header"), (3, "7 commits after"), (7, "3 commits after")]
)
def test_a_changed_sector_of_the_log_is_found(
    tmp_path: Path, sector: int, expected: str, noise: bytes, size: int
) -> None:
    path, log = journal_with_log(tmp_path, 10)
    data = bytearray(log.read_bytes())
    data[sector * 4096 : sector * 4096 + size] = noise * (size // len(noise))
    log.write_bytes(data)
    assert f"missing: {expected}" in verify_complaints(path)[-1]


def test_a_log_without_its_header_is_found(tmp_path: Path) -> None:
    path, log = journal_with_log(tmp_path, 10)
    data = bytearray(log.read_bytes())
    data[20] ^= 4
    log.write_bytes(data)
    assert "entry 1: missing: the header of the log is damaged" in verify_complaints(path)[-1]


def test_a_log_without_header_whose_content_is_in_the_file_is_no_problem(tmp_path: Path) -> None:
    path, log = journal_with_log(tmp_path, 10)
    whole = log.read_bytes()
    sqlite3.connect(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    log.write_bytes(bytes(32) + whole[32:])
    assert verify_complaints(path) == []


@pytest.mark.parametrize("number", [1, 2])
def test_an_index_of_the_side_table_that_differs_from_it_is_reported(
    tmp_path: Path, number: int
) -> None:
    """A reference, or type and value, is searched in an index: another row would be found."""
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        ref = store.reference_for("ISO14443", "04A224B2").ref
        store.append(list(make_entries(1, 5)))
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        name = f"sqlite_autoindex_id_token_{number}"
        (root,) = connection.execute(query, (name,)).fetchone()
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    data = bytearray(path.read_bytes())
    key = data.index({1: ref, 2: "04a224b2"}[number].encode(), (root - 1) * page_bytes)
    assert key < root * page_bytes
    data[key + 7] ^= 1
    path.write_bytes(data)
    (complaint,) = verify_complaints(path)
    assert "missing from index" in complaint
