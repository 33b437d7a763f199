"""A damaged journal is archived all the same, and tells of its damage what it told before. P5."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest

from journal.observations import DamageFound
from journal.retention import Limits, archive
from journal.segments import segments_beside
from journal.store import JournalDamaged, StoreSettings
from station.cli import ended
from station.runtime.memory import Memory
from station.simulation.world import FILE
from tests.damage.sweep import Damage, damages
from tests.damage.worlds import NAMES, Original, original

SEED = 20261123
SAMPLE = 14  # some of each kind
SETTINGS = StoreSettings(grow_bytes=0)
LONG_AFTER = datetime(2099, 1, 1, tzinfo=UTC)
STAYS = 40  # entries at the end

Say = Callable[[Path], list[object]]


@pytest.fixture(scope="module", params=["file", "log"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Original:
    """A journal of sessions, most of it in its file or in its log."""
    return original(tmp_path_factory.mktemp("made"), checkpointed=request.param == "file")


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Say:
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
            code = ended([verb, str(journal), *more])
            words.append((verb, code, *capsys.readouterr()))
        return words

    return say


def test_damage_is_archived_and_told_as_before(made: Original, tmp_path: Path, said: Say) -> None:
    """What a start or the archive had to make anew is compared as it was then."""
    print(f"seed {SEED}")
    whole = 0
    for damage in islice(damages(made, SEED), SAMPLE):
        place = harmed(made, damage, tmp_path / "damaged")
        journal = place / FILE
        with_gaps(place, "")
        before = said(journal)
        try:
            settled_moves(place)
        except JournalDamaged as found:
            with_gaps(place, str(found))
            before = said(journal)
            settled_moves(place)
        assert said(journal) == before, damage[0]
        whole += before[0][1] == 0  # type: ignore[index]
    assert whole < SAMPLE


def harmed(made: Original, damage: Damage, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name in NAMES:
        if (made.directory / name).exists():
            shutil.copyfile(made.directory / name, place / name)
    damage[1](place)
    return place


def with_gaps(place: Path, damage: str) -> list[DamageFound]:
    """A start: what cannot be used is made anew."""
    memory = Memory(place, SETTINGS, damage=damage)
    memory.close()
    return memory.found


def settled_moves(place: Path) -> None:
    """All but the last entries go to the archive."""
    memory = Memory(place, SETTINGS)
    try:
        head = memory.store.head.seq
        limits = Limits(head - STAYS, (), LONG_AFTER)
        while archive(memory.store, place / FILE, limits, worth=False, entries=60):
            pass
        left = memory.store.reader.rows(memory.store.reader.archived()[0] + 1)
        assert all(row.seq >= head - STAYS for row in left)
        assert head < 100 or len(segments_beside(place / FILE, memory.store.journal_id)) > 1
    finally:
        memory.close()
