"""Does `station verify --redecide` find what this release would decide otherwise?"""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from journal.projections.transactions import TransactionStopping
from journal.terms import Entry
from station.profiles import HERE
from tests.commands.journals import Command, without, written
from tests.story import (
    ALICE,
    BOOTED,
    CONFIGURED,
    IDLE,
    LINK_OPENED,
    Station,
    discharged,
    given,
    in_transaction,
    presented,
    preset,
    read,
    restarted,
    unplugged,
)

ONE_EVSE = replace(BOOTED, evses=((1, (1,)),))


@pytest.fixture
def session() -> Station:
    return given(
        preset("SampledDataCtrlr.TxUpdatedInterval", "20"),
        CONFIGURED,
        BOOTED,
        IDLE,
        LINK_OPENED,
        in_transaction(1, ALICE),
        restarted(),
        LINK_OPENED,
        read(1, "1900"),
        discharged(1),
        unplugged(1),
    )


def told_otherwise(entries: list[Entry]) -> tuple[list[Entry], Entry, Entry]:
    """The entries as a release would have written them that stops for another reason."""
    place, old = next(
        (place, one)
        for place, one in enumerate(entries)
        if isinstance(one.event, TransactionStopping)
    )
    assert isinstance(old.event, TransactionStopping)
    other = replace(old, event=replace(old.event, stopped_reason="Other"))
    return [*entries[:place], other, *entries[place + 1 :]], old, other


def test_a_journal_of_this_release_is_judged_the_same_again(
    station: Command, tmp_path: Path, session: Station
) -> None:
    told = station("verify", "--redecide", written(tmp_path / "journal.db", session.entries))
    assert (told.code, told.err) == (0, "")
    assert len(told.lines) == 2
    assert told.lines[1].endswith("this release would decide all of it as it was decided.")
    assert "\x1b" not in told.out


def test_what_would_be_otherwise_is_one_line_that_names_the_entry(
    station: Command, tmp_path: Path, session: Station
) -> None:
    session.when(presented(ALICE, evse_id=1))
    entries, old, _ = told_otherwise(session.entries)
    path = written(tmp_path / "journal.db", entries)
    assert station("verify", path).code == 0  # nobody tampered with it
    told = station("verify", "--redecide", path)
    assert told.code == 1
    assert told.err.splitlines()[0].startswith(f"entry {old.cause}: ")
    assert f"entry {old.seq} otherwise" in told.err.splitlines()[0]
    assert 'stopped_reason: "Other" -> ' in told.err.splitlines()[0]
    assert "would decide all" not in told.out


def test_without_redecide_nothing_is_judged(
    station: Command, tmp_path: Path, session: Station
) -> None:
    entries, _, _ = told_otherwise(session.entries)
    told = station("verify", written(tmp_path / "journal.db", entries))
    assert (told.code, len(told.lines)) == (0, 1)


def test_a_profile_that_is_not_here_is_asked_for(station: Command, tmp_path: Path) -> None:
    story = given(CONFIGURED, replace(BOOTED, profile="ours"), IDLE, LINK_OPENED)
    path = written(tmp_path / "journal.db", story.entries)
    told = station("verify", "--redecide", path)
    assert (told.code, told.err.count("\n")) == (1, 1)
    assert "ours" in told.err
    assert "--profile" in told.err


def test_a_profile_of_the_integrator_is_given_as_a_file(station: Command, tmp_path: Path) -> None:
    story = given(CONFIGURED, replace(BOOTED, profile="ours"), IDLE, LINK_OPENED)
    path = written(tmp_path / "journal.db", story.entries)
    file = tmp_path / "ours.toml"
    file.write_text(f'inherits = "{HERE / "development.toml"}"\nname = "ours"\n')
    told = station("verify", "--redecide", "--profile", file, path)
    assert (told.code, told.err) == (0, "")


def test_a_profile_with_other_evses_is_not_the_station_s(station: Command, tmp_path: Path) -> None:
    path = written(tmp_path / "journal.db", given(CONFIGURED, ONE_EVSE).entries)
    told = station("verify", "--redecide", path)
    assert (told.code, told.err.count("\n")) == (1, 1)
    assert "EVSEs" in told.err


def test_behind_a_missing_entry_nothing_is_judged(
    station: Command, tmp_path: Path, session: Station
) -> None:
    path = without(written(tmp_path / "journal.db", session.entries), 40)
    told = station("verify", "--redecide", path)
    assert told.code == 1
    assert "nothing from here on is judged again" in told.err
    assert "Traceback" not in told.err


def test_an_empty_journal_is_told_once(station: Command, tmp_path: Path) -> None:
    told = station("verify", "--redecide", written(tmp_path / "journal.db", []))
    assert (told.code, told.err, told.out) == (1, "no entries\n", "")


@pytest.mark.parametrize(
    "arguments", [["--profile", "development"], ["--redecide", "--profile", "nobody"]]
)
def test_what_cannot_be_meant_is_a_usage_error(
    station: Command, journal: Path, arguments: list[str]
) -> None:
    told = station("verify", journal, *arguments)
    assert (told.code, told.err.count("\n")) == (2, 1)


def test_reading_changes_nothing(station: Command, journal: Path) -> None:
    before = journal.read_bytes()
    assert station("verify", "--redecide", journal).code == 0
    assert journal.read_bytes() == before
