"""A damaged journal can be archived, and all commands report the same damage afterwards. P5."""

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
SAMPLE = 14  # has damages of each kind
SETTINGS = StoreSettings(grow_bytes=0)
LONG_AFTER = datetime(2099, 1, 1, tzinfo=UTC)
KEPT_ENTRIES = 40  # not archived

OutputCollector = Callable[[Path], list[object]]


@pytest.fixture(scope="module", params=["file", "log"])
def original_journal(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Original:
    """The original journal, with most entries in its file or in its log."""
    return make_original(tmp_path_factory.mktemp("made"), checkpointed=request.param == "file")


@pytest.fixture
def command_outputs(capsys: pytest.CaptureFixture[str]) -> OutputCollector:
    """Exit code and output of each command that reads a journal."""

    def run_commands(journal: Path) -> list[object]:
        outputs: list[object] = []
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
            outputs.append((verb, code, *capsys.readouterr()))
        return outputs

    return run_commands


def test_a_damaged_journal_reports_the_same_after_archiving(
    original_journal: Original, tmp_path: Path, command_outputs: OutputCollector
) -> None:
    """If a start or the archiving rebuilds the journal, the outputs after that are compared."""
    print(f"seed {SEED}")
    undamaged = 0
    for damage in islice(generate_damages(original_journal, SEED), SAMPLE):
        directory = damaged_copy(original_journal, damage, tmp_path / "damaged")
        journal = directory / JOURNAL_FILE
        start_on_damaged(directory, "")
        before = command_outputs(journal)
        try:
            archive_settled(directory)
        except JournalDamaged as damaged:
            start_on_damaged(directory, str(damaged))
            before = command_outputs(journal)
            archive_settled(directory)
        assert command_outputs(journal) == before, damage[0]
        undamaged += before[0][1] == 0  # type: ignore[index]
    assert undamaged < SAMPLE


def damaged_copy(original_journal: Original, damage: Damage, directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name in NAMES:
        if (original_journal.directory / name).exists():
            shutil.copyfile(original_journal.directory / name, directory / name)
    damage[1](directory)
    return directory


def start_on_damaged(directory: Path, damage: str) -> list[JournalDamageFound]:
    """Start on a damaged journal, which rebuilds what is unusable."""
    startup = Startup(directory, SETTINGS, damage_reason=damage)
    startup.close()
    return startup.damage_found


def archive_settled(directory: Path) -> None:
    """Archive all entries but the last."""
    startup = Startup(directory, SETTINGS)
    try:
        head = startup.store.head.seq
        limits = RetentionLimits(head - KEPT_ENTRIES, (), LONG_AFTER)
        while archive_oldest_entries(
            startup.store,
            directory / JOURNAL_FILE,
            limits,
            only_if_worthwhile=False,
            segment_entries=60,
        ):
            pass
        rows = startup.store.reader.iter_rows(startup.store.reader.archived_position()[0] + 1)
        assert all(row.seq >= head - KEPT_ENTRIES for row in rows)
        assert (
            head < 100 or len(find_segments(directory / JOURNAL_FILE, startup.store.journal_id)) > 1
        )
    finally:
        startup.close()
