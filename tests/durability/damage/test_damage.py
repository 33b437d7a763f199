"""A damaged journal: the damage is reported, intact entries delivered, an EV charged. P5."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from journal.maintenance.rebuild import QUARANTINES_MAX, rebuild
from journal.maintenance.verify import verify
from journal.observations import CableReported, JournalDamageFound
from journal.projections.outbox import CallAttempted
from journal.storage.reader import Reader
from station.cli import run_cli
from station.runtime.loop.startup import Startup, event_registry
from station.simulation.world import JOURNAL_FILE
from tests.durability.damage.sweep import (
    LOG,
    PAGE_BYTES,
    find_violations,
    generate_damages,
    run_hidden_statements,
    swap_statements,
)
from tests.durability.damage.worlds import (
    NAMES,
    STORE_SETTINGS,
    Original,
    has_charged,
    make_original,
    run_on_damaged,
)

SEED = 20261122
SAMPLE = 8


@pytest.fixture(scope="module", params=["file", "log"])
def original_journal(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Original:
    """The original journal, with most entries in its file or in its log."""
    return make_original(tmp_path_factory.mktemp("made"), checkpointed=request.param == "file")


@pytest.fixture(scope="module")
def checkpointed_journal(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return make_original(tmp_path_factory.mktemp("made"), checkpointed=True)


def copy_original(original_journal: Original, directory: Path) -> Path:
    directory.mkdir()
    for name in NAMES:
        if (original_journal.directory / name).exists():
            shutil.copyfile(original_journal.directory / name, directory / name)
    return directory


def zero_page(directory: Path, number: int) -> None:
    """Leave only the database file, and fill one of its pages with zeros."""
    with closing(sqlite3.connect(directory / JOURNAL_FILE)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (directory / LOG).unlink(missing_ok=True)
    (directory / "journal.lock").unlink(missing_ok=True)
    data = bytearray((directory / JOURNAL_FILE).read_bytes())
    data[(number - 1) * PAGE_BYTES : number * PAGE_BYTES] = bytes(PAGE_BYTES)
    (directory / JOURNAL_FILE).write_bytes(data)


def root_page_of(directory: Path, name: str) -> int:
    with closing(sqlite3.connect(directory / JOURNAL_FILE)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        return int(connection.execute(query, (name,)).fetchone()[0])


def test_no_damage_stops_the_station(original_journal: Original, tmp_path: Path) -> None:
    print(f"seed {SEED}")
    for damage in islice(generate_damages(original_journal, SEED), SAMPLE):
        assert find_violations(original_journal, damage, tmp_path) == [], damage[0]


@pytest.mark.parametrize("name", ["sqlite_schema", "meta", "entry", "anchor", "id_token"])
def test_a_journal_without_the_root_of_a_table_loses_nothing(
    checkpointed_journal: Original, tmp_path: Path, name: str
) -> None:
    directory = copy_original(checkpointed_journal, tmp_path / "damaged")
    zero_page(directory, 1 if name == "sqlite_schema" else root_page_of(directory, name))
    aftermath = run_on_damaged(directory)
    assert aftermath.complaints
    assert has_charged(aftermath)
    assert not len(aftermath.state.outbox)
    for _, transaction_id, seq_no in checkpointed_journal.undelivered:
        assert seq_no in aftermath.seq_nos_by_transaction[transaction_id]


def test_a_rebuilt_journal_equals_the_original_and_the_damaged_file_is_kept(
    checkpointed_journal: Original, tmp_path: Path
) -> None:
    directory = copy_original(checkpointed_journal, tmp_path / "damaged")
    zero_page(directory, root_page_of(directory, "entry"))
    before = (directory / JOURNAL_FILE).read_bytes()
    rebuilt = rebuild(directory / JOURNAL_FILE, "7f0c5b0e-6b5e-4d53-9c3a-0a2c6ad1c9f1")
    assert (rebuilt.last_seq, rebuilt.missing_ranges, rebuilt.id_recovered) == (
        checkpointed_journal.head,
        [],
        True,
    )
    assert (rebuilt.quarantine / JOURNAL_FILE).read_bytes() == before
    assert list(verify(directory / JOURNAL_FILE)) == []
    with Reader.open(directory / JOURNAL_FILE, event_registry()) as reader:
        assert list(reader.iter_entries()) == checkpointed_journal.entries


def test_only_the_newest_damaged_files_are_kept(
    checkpointed_journal: Original, tmp_path: Path
) -> None:
    directory = copy_original(checkpointed_journal, tmp_path / "damaged")
    for number in range(QUARANTINES_MAX + 2):
        quarantine = rebuild(
            directory / JOURNAL_FILE, "7f0c5b0e-6b5e-4d53-9c3a-0a2c6ad1c9f1"
        ).quarantine
        (quarantine / "number").write_text(str(number))
    kept = {int((path / "number").read_text()) for path in directory.glob("journal.damaged-*")}
    assert kept == set(range(2, QUARANTINES_MAX + 2))


def test_a_power_cut_while_rebuilding_leaves_one_complete_journal(
    checkpointed_journal: Original, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = copy_original(checkpointed_journal, tmp_path / "damaged")
    zero_page(directory, root_page_of(directory, "entry"))

    def cut(self: Path, target: Path) -> Path:
        if self.suffix == ".rebuilt":
            raise KeyboardInterrupt
        return replace(self, target)

    replace = Path.replace
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", cut)
        with pytest.raises(KeyboardInterrupt):
            rebuild(directory / JOURNAL_FILE, "7f0c5b0e-6b5e-4d53-9c3a-0a2c6ad1c9f1")
    assert not (directory / JOURNAL_FILE).exists()
    aftermath = run_on_damaged(directory)
    assert has_charged(aftermath)
    assert aftermath.new_entries[0].seq > checkpointed_journal.head
    assert "TamperDetectionActivated" in aftermath.reported_security_events


def test_an_incomplete_rebuild_is_deleted_at_the_next_start(
    checkpointed_journal: Original, tmp_path: Path
) -> None:
    """It has personal data, which no erasure would find there."""
    directory = copy_original(checkpointed_journal, tmp_path / "damaged")
    leftovers = [directory / f"journal.rebuilding{ending}" for ending in ("", "-wal", "-shm")]
    for file in leftovers:
        file.write_bytes((directory / JOURNAL_FILE).read_bytes())
    Startup(directory, STORE_SETTINGS).close()
    assert not any(file.exists() for file in leftovers)


def test_a_lost_tail_is_reported_and_new_ids_do_not_repeat_lost_ones(
    checkpointed_journal: Original, tmp_path: Path
) -> None:
    directory = copy_original(checkpointed_journal, tmp_path / "damaged")
    (directory / LOG).write_bytes((directory / LOG).read_bytes()[:9000])
    aftermath = run_on_damaged(directory)
    assert "TamperDetectionActivated" in aftermath.reported_security_events
    assert aftermath.state.health.id_namespace
    [damage] = [
        entry.event
        for entry in aftermath.new_entries
        if isinstance(entry.event, JournalDamageFound)
    ]
    assert "commits in it are lost" in damage.reason
    assert damage.quarantine_directory == "journal.damaged-1"


def test_a_damaged_snapshot_is_ignored(checkpointed_journal: Original, tmp_path: Path) -> None:
    directory = copy_original(checkpointed_journal, tmp_path / "damaged")
    (directory / "snapshot").write_bytes(b"broken" * 100)
    aftermath = run_on_damaged(directory)
    assert has_charged(aftermath)
    assert aftermath.state.health.journal_damages == ()


def test_an_attempt_moved_after_its_delivery_blocks_nothing(
    checkpointed_journal: Original, tmp_path: Path
) -> None:
    """Found by `python -m tests.durability.damage --seed 5`: a delivered call was sent forever."""
    later = [
        entry.seq
        for entry in checkpointed_journal.entries
        if isinstance(entry.event, CableReported)
    ][-1]
    directory = copy_original(checkpointed_journal, tmp_path / "damaged")
    attempts = [
        entry.seq
        for entry in checkpointed_journal.entries
        if isinstance(entry.event, CallAttempted) and entry.event.lane == "transaction"
    ]
    run_hidden_statements(swap_statements(attempts[0], later), directory)
    aftermath = run_on_damaged(directory)
    assert not len(aftermath.state.outbox)


def test_commands_report_a_missing_entry_and_continue(
    checkpointed_journal: Original, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = copy_original(checkpointed_journal, tmp_path / "damaged")
    with closing(sqlite3.connect(directory / JOURNAL_FILE)) as connection:
        connection.execute("DROP TRIGGER entry_not_deleted")
        connection.execute("DELETE FROM entry WHERE seq = 100")
        connection.commit()
    journal = str(directory / JOURNAL_FILE)
    outputs = {}
    for verb in (["replay", journal], ["why", journal, "150"], ["export", journal, "events"]):
        assert run_cli(verb) == 1, verb
        outputs[verb[0]] = capsys.readouterr()
    assert "100" in outputs["replay"].out
    assert all(f"{seq}" in outputs["replay"].out for seq in (99, 101, checkpointed_journal.head))
    assert "100" in outputs["why"].err + outputs["why"].out
    assert "entry 100" in outputs["export"].err
    assert len(outputs["export"].out.splitlines()) >= checkpointed_journal.head - 1
