"""A damaged journal: the damage is found, the rest is delivered, and the station charges. P5."""

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
    """A journal of sessions, most of it in its file or in its log."""
    return make_original(tmp_path_factory.mktemp("made"), checkpointed=request.param == "file")


@pytest.fixture(scope="module")
def checkpointed_journal(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return make_original(tmp_path_factory.mktemp("made"), checkpointed=True)


def copy_original(original_journal: Original, place: Path) -> Path:
    place.mkdir()
    for name in NAMES:
        if (original_journal.directory / name).exists():
            shutil.copyfile(original_journal.directory / name, place / name)
    return place


def zero_page(place: Path, number: int) -> None:
    """The file alone, with a page that holds nothing but zeros."""
    with closing(sqlite3.connect(place / JOURNAL_FILE)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (place / LOG).unlink(missing_ok=True)
    (place / "journal.storage.lock").unlink(missing_ok=True)
    data = bytearray((place / JOURNAL_FILE).read_bytes())
    data[(number - 1) * PAGE_BYTES : number * PAGE_BYTES] = bytes(PAGE_BYTES)
    (place / JOURNAL_FILE).write_bytes(data)


def root_page_of(place: Path, name: str) -> int:
    with closing(sqlite3.connect(place / JOURNAL_FILE)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        return int(connection.execute(query, (name,)).fetchone()[0])


def test_damage_without_end_stops_no_station(original_journal: Original, tmp_path: Path) -> None:
    print(f"seed {SEED}")
    for damage in islice(generate_damages(original_journal, SEED), SAMPLE):
        assert find_violations(original_journal, damage, tmp_path) == [], damage[0]


@pytest.mark.parametrize("name", ["sqlite_schema", "meta", "entry", "anchor", "id_token"])
def test_a_journal_without_the_root_of_a_table_loses_nothing(
    checkpointed_journal: Original, tmp_path: Path, name: str
) -> None:
    place = copy_original(checkpointed_journal, tmp_path / "damaged")
    zero_page(place, 1 if name == "sqlite_schema" else root_page_of(place, name))
    aftermath = run_on_damaged(place)
    assert aftermath.complaints
    assert has_charged(aftermath)
    assert not len(aftermath.state.outbox)
    for _, transaction_id, seq_no in checkpointed_journal.undelivered:
        assert seq_no in aftermath.seq_nos_by_transaction[transaction_id]


def test_what_was_rebuilt_is_as_it_was_and_the_old_file_is_kept(
    checkpointed_journal: Original, tmp_path: Path
) -> None:
    place = copy_original(checkpointed_journal, tmp_path / "damaged")
    zero_page(place, root_page_of(place, "entry"))
    before = (place / JOURNAL_FILE).read_bytes()
    rebuilt = rebuild(place / JOURNAL_FILE, "7f0c5b0e-6b5e-4d53-9c3a-0a2c6ad1c9f1")
    assert (rebuilt.last_seq, rebuilt.missing_ranges, rebuilt.id_recovered) == (
        checkpointed_journal.head,
        [],
        True,
    )
    assert (rebuilt.quarantine / JOURNAL_FILE).read_bytes() == before
    assert list(verify(place / JOURNAL_FILE)) == []
    with Reader.open(place / JOURNAL_FILE, event_registry()) as reader:
        assert list(reader.iter_entries()) == checkpointed_journal.entries


def test_only_the_newest_damaged_files_are_kept(
    checkpointed_journal: Original, tmp_path: Path
) -> None:
    place = copy_original(checkpointed_journal, tmp_path / "damaged")
    for number in range(QUARANTINES_MAX + 2):
        aside = rebuild(place / JOURNAL_FILE, "7f0c5b0e-6b5e-4d53-9c3a-0a2c6ad1c9f1").quarantine
        (aside / "number").write_text(str(number))
    kept = {int((one / "number").read_text()) for one in place.glob("journal.damaged-*")}
    assert kept == set(range(2, QUARANTINES_MAX + 2))


def test_a_power_cut_while_rebuilding_leaves_one_whole_journal(
    checkpointed_journal: Original, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = copy_original(checkpointed_journal, tmp_path / "damaged")
    zero_page(place, root_page_of(place, "entry"))

    def cut(self: Path, target: Path) -> Path:
        if self.suffix == ".rebuilt":
            raise KeyboardInterrupt
        return replace(self, target)

    replace = Path.replace
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", cut)
        with pytest.raises(KeyboardInterrupt):
            rebuild(place / JOURNAL_FILE, "7f0c5b0e-6b5e-4d53-9c3a-0a2c6ad1c9f1")
    assert not (place / JOURNAL_FILE).exists()
    aftermath = run_on_damaged(place)
    assert has_charged(aftermath)
    assert aftermath.new_entries[0].seq > checkpointed_journal.head
    assert "TamperDetectionActivated" in aftermath.reported_security_events


def test_what_a_power_cut_left_half_made_is_taken_away(
    checkpointed_journal: Original, tmp_path: Path
) -> None:
    """It holds personal values, and nobody would forget them there."""
    place = copy_original(checkpointed_journal, tmp_path / "damaged")
    left = [place / f"journal.rebuilding{ending}" for ending in ("", "-wal", "-shm")]
    for file in left:
        file.write_bytes((place / JOURNAL_FILE).read_bytes())
    Startup(place, STORE_SETTINGS).close()
    assert not any(file.exists() for file in left)


def test_a_lost_tail_is_told_and_its_numbers_give_other_names(
    checkpointed_journal: Original, tmp_path: Path
) -> None:
    place = copy_original(checkpointed_journal, tmp_path / "damaged")
    (place / LOG).write_bytes((place / LOG).read_bytes()[:9000])
    aftermath = run_on_damaged(place)
    assert "TamperDetectionActivated" in aftermath.reported_security_events
    assert aftermath.state.health.id_namespace
    [found] = [
        one.event for one in aftermath.new_entries if isinstance(one.event, JournalDamageFound)
    ]
    assert "commits it held are lost" in found.reason
    assert found.quarantine_directory == "journal.damaged-1"


def test_a_rotten_snapshot_is_ignored(checkpointed_journal: Original, tmp_path: Path) -> None:
    place = copy_original(checkpointed_journal, tmp_path / "damaged")
    (place / "snapshot").write_bytes(b"rotten" * 100)
    aftermath = run_on_damaged(place)
    assert has_charged(aftermath)
    assert aftermath.state.health.journal_damages == ()


def test_an_attempt_that_was_moved_behind_its_delivery_holds_nothing_up(
    checkpointed_journal: Original, tmp_path: Path
) -> None:
    """Found by `python -m tests.durability.damage --seed 5`: a settled call was sent for ever."""
    later = [
        one.seq for one in checkpointed_journal.entries if isinstance(one.event, CableReported)
    ][-1]
    place = copy_original(checkpointed_journal, tmp_path / "damaged")
    attempts = [
        one.seq
        for one in checkpointed_journal.entries
        if isinstance(one.event, CallAttempted) and one.event.lane == "transaction"
    ]
    run_hidden_statements(swap_statements(attempts[0], later), place)
    aftermath = run_on_damaged(place)
    assert not len(aftermath.state.outbox)


def test_readers_say_what_is_missing_and_go_on(
    checkpointed_journal: Original, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = copy_original(checkpointed_journal, tmp_path / "damaged")
    with closing(sqlite3.connect(place / JOURNAL_FILE)) as connection:
        connection.execute("DROP TRIGGER entry_not_deleted")
        connection.execute("DELETE FROM entry WHERE seq = 100")
        connection.commit()
    journal = str(place / JOURNAL_FILE)
    said = {}
    for verb in (["replay", journal], ["why", journal, "150"], ["export", journal, "events"]):
        assert run_cli(verb) == 1, verb
        said[verb[0]] = capsys.readouterr()
    assert "100" in said["replay"].out
    assert all(f"{seq}" in said["replay"].out for seq in (99, 101, checkpointed_journal.head))
    assert "100" in said["why"].err + said["why"].out
    assert "entry 100" in said["export"].err
    assert len(said["export"].out.splitlines()) >= checkpointed_journal.head - 1
