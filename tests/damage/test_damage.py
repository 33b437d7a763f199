"""A damaged journal: the damage is found, the rest is delivered, and the station charges. P5."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from journal.observations import CableReported, DamageFound
from journal.projections.outbox import CallAttempted
from journal.store import ASIDE_MAX, Reader, rebuild
from journal.verify import verify
from station.cli import ended
from station.runtime.memory import Memory, registry
from station.simulation.world import FILE
from tests.damage.sweep import LOG, PAGE_BYTES, broken, damages, mistreat, swapping
from tests.damage.worlds import GROWN, NAMES, Original, after, charged, original

SEED = 20261122
SAMPLE = 8


@pytest.fixture(scope="module", params=["file", "log"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Original:
    """A journal of sessions, most of it in its file or in its log."""
    return original(tmp_path_factory.mktemp("made"), checkpointed=request.param == "file")


@pytest.fixture(scope="module")
def in_file(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return original(tmp_path_factory.mktemp("made"), checkpointed=True)


def copied(made: Original, place: Path) -> Path:
    place.mkdir()
    for name in NAMES:
        if (made.directory / name).exists():
            shutil.copyfile(made.directory / name, place / name)
    return place


def without_page(place: Path, number: int) -> None:
    """The file alone, with a page that holds nothing but zeros."""
    with closing(sqlite3.connect(place / FILE)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (place / LOG).unlink(missing_ok=True)
    (place / "journal.lock").unlink(missing_ok=True)
    data = bytearray((place / FILE).read_bytes())
    data[(number - 1) * PAGE_BYTES : number * PAGE_BYTES] = bytes(PAGE_BYTES)
    (place / FILE).write_bytes(data)


def root_of(place: Path, name: str) -> int:
    with closing(sqlite3.connect(place / FILE)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        return int(connection.execute(query, (name,)).fetchone()[0])


def test_damage_without_end_stops_no_station(made: Original, tmp_path: Path) -> None:
    print(f"seed {SEED}")
    for damage in islice(damages(made, SEED), SAMPLE):
        assert broken(made, damage, tmp_path) == [], damage[0]


@pytest.mark.parametrize("name", ["sqlite_schema", "meta", "entry", "anchor", "id_token"])
def test_a_journal_without_the_root_of_a_table_loses_nothing(
    in_file: Original, tmp_path: Path, name: str
) -> None:
    place = copied(in_file, tmp_path / "damaged")
    without_page(place, 1 if name == "sqlite_schema" else root_of(place, name))
    aftermath = after(place)
    assert aftermath.complaints
    assert charged(aftermath)
    assert not len(aftermath.state.outbox)
    for _, transaction_id, seq_no in in_file.waits:
        assert seq_no in aftermath.accounts[transaction_id]


def test_what_was_rebuilt_is_as_it_was_and_the_old_file_is_kept(
    in_file: Original, tmp_path: Path
) -> None:
    place = copied(in_file, tmp_path / "damaged")
    without_page(place, root_of(place, "entry"))
    before = (place / FILE).read_bytes()
    rebuilt = rebuild(place / FILE, "7f0c5b0e-6b5e-4d53-9c3a-0a2c6ad1c9f1")
    assert (rebuilt.last, rebuilt.gaps, rebuilt.named) == (in_file.head, [], True)
    assert (rebuilt.aside / FILE).read_bytes() == before
    assert list(verify(place / FILE)) == []
    with Reader.open(place / FILE, registry()) as reader:
        assert list(reader.entries()) == in_file.entries


def test_only_the_newest_damaged_files_are_kept(in_file: Original, tmp_path: Path) -> None:
    place = copied(in_file, tmp_path / "damaged")
    for number in range(ASIDE_MAX + 2):
        aside = rebuild(place / FILE, "7f0c5b0e-6b5e-4d53-9c3a-0a2c6ad1c9f1").aside
        (aside / "number").write_text(str(number))
    kept = {int((one / "number").read_text()) for one in place.glob("journal.damaged-*")}
    assert kept == set(range(2, ASIDE_MAX + 2))


def test_a_power_cut_while_rebuilding_leaves_one_whole_journal(
    in_file: Original, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = copied(in_file, tmp_path / "damaged")
    without_page(place, root_of(place, "entry"))

    def cut(self: Path, target: Path) -> Path:
        if self.suffix == ".rebuilt":
            raise KeyboardInterrupt
        return replace(self, target)

    replace = Path.replace
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", cut)
        with pytest.raises(KeyboardInterrupt):
            rebuild(place / FILE, "7f0c5b0e-6b5e-4d53-9c3a-0a2c6ad1c9f1")
    assert not (place / FILE).exists()
    aftermath = after(place)
    assert charged(aftermath)
    assert aftermath.new[0].seq > in_file.head
    assert "TamperDetectionActivated" in aftermath.told


def test_what_a_power_cut_left_half_made_is_taken_away(in_file: Original, tmp_path: Path) -> None:
    """It holds personal values, and nobody would forget them there."""
    place = copied(in_file, tmp_path / "damaged")
    left = [place / f"journal.rebuilding{ending}" for ending in ("", "-wal", "-shm")]
    for file in left:
        file.write_bytes((place / FILE).read_bytes())
    Memory(place, GROWN).close()
    assert not any(file.exists() for file in left)


def test_a_lost_tail_is_told_and_its_numbers_give_other_names(
    in_file: Original, tmp_path: Path
) -> None:
    place = copied(in_file, tmp_path / "damaged")
    (place / LOG).write_bytes((place / LOG).read_bytes()[:9000])
    aftermath = after(place)
    assert "TamperDetectionActivated" in aftermath.told
    assert aftermath.state.condition.era
    [found] = [one.event for one in aftermath.new if isinstance(one.event, DamageFound)]
    assert "commits it held are lost" in found.why
    assert found.aside == "journal.damaged-1"


def test_a_rotten_snapshot_is_ignored(in_file: Original, tmp_path: Path) -> None:
    place = copied(in_file, tmp_path / "damaged")
    (place / "snapshot").write_bytes(b"rotten" * 100)
    aftermath = after(place)
    assert charged(aftermath)
    assert aftermath.state.condition.damages == ()


def test_an_attempt_that_was_moved_behind_its_delivery_holds_nothing_up(
    in_file: Original, tmp_path: Path
) -> None:
    """Found by `python -m tests.damage --seed 5`: a settled call was sent for ever."""
    later = [one.seq for one in in_file.entries if isinstance(one.event, CableReported)][-1]
    place = copied(in_file, tmp_path / "damaged")
    attempts = [
        one.seq
        for one in in_file.entries
        if isinstance(one.event, CallAttempted) and one.event.lane == "transaction"
    ]
    mistreat(swapping(attempts[0], later), place)
    aftermath = after(place)
    assert not len(aftermath.state.outbox)


def test_readers_say_what_is_missing_and_go_on(
    in_file: Original, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = copied(in_file, tmp_path / "damaged")
    with closing(sqlite3.connect(place / FILE)) as connection:
        connection.execute("DROP TRIGGER entry_not_deleted")
        connection.execute("DELETE FROM entry WHERE seq = 100")
        connection.commit()
    journal = str(place / FILE)
    said = {}
    for verb in (["replay", journal], ["why", journal, "150"], ["export", journal, "events"]):
        assert ended(verb) == 1, verb
        said[verb[0]] = capsys.readouterr()
    assert "100" in said["replay"].out
    assert all(f"{seq}" in said["replay"].out for seq in (99, 101, in_file.head))
    assert "100" in said["why"].err + said["why"].out
    assert "entry 100" in said["export"].err
    assert len(said["export"].out.splitlines()) >= in_file.head - 1
