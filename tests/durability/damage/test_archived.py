"""A damaged journal is archived all the same, and tells of its damage what it told before. P5."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest

from journal.format.segments import find_segments
from journal.maintenance.retention import RetentionLimits, archive_oldest_entries
from journal.observations import JournalDamageFound
from journal.storage.connection import StoreSettings
from journal.storage.errors import JournalDamaged
from station.cli import run_cli
from station.runtime.loop.startup import Startup
from station.simulation.world import JOURNAL_FILE
from tests.durability.damage.sweep import Damage, generate_damages
from tests.durability.damage.worlds import NAMES, Original, make_original

SEED = 20261123
SAMPLE = 14  # some of each kind
SETTINGS = StoreSettings(grow_bytes=0)
LONG_AFTER = datetime(2099, 1, 1, tzinfo=UTC)
KEPT_ENTRIES = 40  # entries at the end

OutputCollector = Callable[[Path], list[object]]


@pytest.fixture(scope="module", params=["file", "log"])
def original_journal(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Original:
    """A journal of sessions, most of it in its file or in its log."""
    return make_original(tmp_path_factory.mktemp("made"), checkpointed=request.param == "file")


@pytest.fixture
def command_outputs(capsys: pytest.CaptureFixture[str]) -> OutputCollector:
    """Exit code and words of each command that reads."""

    def say(journal: Path) -> list[object]:
        words: list[object] = []
        for verb, *more in (
            ("verify",),
            ("verify", "--redecide"),
            ("replay",),
            ("why", "150"),
            ("export", "events"),
            ("export", "messages"),
            ("export", "transactions"),
        ):
            capsys.readouterr()
            code = run_cli([verb, str(journal), *more])
            words.append((verb, code, *capsys.readouterr()))
        return words

    return say


def test_damage_is_archived_and_told_as_before(
    original_journal: Original, tmp_path: Path, command_outputs: OutputCollector
) -> None:
    """What a start or the archive had to make anew is compared as it was then."""
    print(f"seed {SEED}")
    whole = 0
    for damage in islice(generate_damages(original_journal, SEED), SAMPLE):
        place = damaged_copy(original_journal, damage, tmp_path / "damaged")
        journal = place / JOURNAL_FILE
        start_on_damaged(place, "")
        before = command_outputs(journal)
        try:
            archive_settled(place)
        except JournalDamaged as found:
            start_on_damaged(place, str(found))
            before = command_outputs(journal)
            archive_settled(place)
        assert command_outputs(journal) == before, damage[0]
        whole += before[0][1] == 0  # type: ignore[index]
    assert whole < SAMPLE


def damaged_copy(original_journal: Original, damage: Damage, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name in NAMES:
        if (original_journal.directory / name).exists():
            shutil.copyfile(original_journal.directory / name, place / name)
    damage[1](place)
    return place


def start_on_damaged(place: Path, damage: str) -> list[JournalDamageFound]:
    """A start: what cannot be used is made anew."""
    memory = Startup(place, SETTINGS, damage_reason=damage)
    memory.close()
    return memory.damage_found


def archive_settled(place: Path) -> None:
    """All but the last entries go to the archive."""
    memory = Startup(place, SETTINGS)
    try:
        head = memory.store.head.seq
        limits = RetentionLimits(head - KEPT_ENTRIES, (), LONG_AFTER)
        while archive_oldest_entries(
            memory.store, place / JOURNAL_FILE, limits, only_if_worthwhile=False, segment_entries=60
        ):
            pass
        left = memory.store.reader.iter_rows(memory.store.reader.archived_position()[0] + 1)
        assert all(row.seq >= head - KEPT_ENTRIES for row in left)
        assert head < 100 or len(find_segments(place / JOURNAL_FILE, memory.store.journal_id)) > 1
    finally:
        memory.close()
