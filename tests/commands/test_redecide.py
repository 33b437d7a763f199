"""`station verify --redecide` finds what this release would decide differently."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from journal.events import Entry
from journal.projections.transactions import TransactionStopOrdered
from station.profiles import PROFILE_DIRECTORY
from tests.commands.fixtures_journals import StationCommand, delete_entry, write_journal
from tests.support.story import (
    ALICE,
    BOOTED,
    CONFIGURED,
    IDLE,
    LINK_OPENED,
    Station,
    cable_unplugged,
    charging_stopped,
    given,
    in_transaction,
    meter_read,
    presented,
    station_restarted,
    variable_preset,
)

ONE_EVSE = replace(BOOTED, evses=((1, (1,)),))


@pytest.fixture
def session() -> Station:
    return given(
        variable_preset("SampledDataCtrlr.TxUpdatedInterval", "20"),
        CONFIGURED,
        BOOTED,
        IDLE,
        LINK_OPENED,
        in_transaction(1, ALICE),
        station_restarted(),
        LINK_OPENED,
        meter_read(1, "1900"),
        charging_stopped(1),
        cable_unplugged(1),
    )


def with_other_decision(entries: list[Entry]) -> tuple[list[Entry], Entry, Entry]:
    """The entries of a release that stops the transaction for another reason."""
    place, old = next(
        (place, entry)
        for place, entry in enumerate(entries)
        if isinstance(entry.event, TransactionStopOrdered)
    )
    assert isinstance(old.event, TransactionStopOrdered)
    other = replace(old, event=replace(old.event, stopped_reason="Other"))
    return [*entries[:place], other, *entries[place + 1 :]], old, other


def test_this_release_decides_its_own_journal_the_same_way(
    run_station: StationCommand, tmp_path: Path, session: Station
) -> None:
    result = run_station(
        "verify", "--redecide", write_journal(tmp_path / "journal.db", session.entries)
    )
    assert (result.exit_code, result.stderr) == (0, "")
    assert len(result.lines) == 2
    assert result.lines[1].endswith("this release would decide everything the same way.")
    assert "\x1b" not in result.stdout


def test_what_would_be_otherwise_is_one_line_that_names_the_entry(
    run_station: StationCommand, tmp_path: Path, session: Station
) -> None:
    session.when(presented(ALICE, evse_id=1))
    entries, old, _ = with_other_decision(session.entries)
    path = write_journal(tmp_path / "journal.db", entries)
    assert run_station("verify", path).exit_code == 0  # the chain is intact
    result = run_station("verify", "--redecide", path)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0].startswith(f"entry {old.cause}: ")
    assert f"entry {old.seq} differently" in result.stderr.splitlines()[0]
    assert 'stopped_reason: "Other" -> ' in result.stderr.splitlines()[0]
    assert "would decide all" not in result.stdout


def test_without_redecide_nothing_is_judged(
    run_station: StationCommand, tmp_path: Path, session: Station
) -> None:
    entries, _, _ = with_other_decision(session.entries)
    result = run_station("verify", write_journal(tmp_path / "journal.db", entries))
    assert (result.exit_code, len(result.lines)) == (0, 1)


def test_an_unknown_profile_is_requested(run_station: StationCommand, tmp_path: Path) -> None:
    story = given(CONFIGURED, replace(BOOTED, product_profile="ours"), IDLE, LINK_OPENED)
    path = write_journal(tmp_path / "journal.db", story.entries)
    result = run_station("verify", "--redecide", path)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "ours" in result.stderr
    assert "--profile" in result.stderr


def test_a_profile_of_the_integrator_is_given_as_a_file(
    run_station: StationCommand, tmp_path: Path
) -> None:
    story = given(CONFIGURED, replace(BOOTED, product_profile="ours"), IDLE, LINK_OPENED)
    path = write_journal(tmp_path / "journal.db", story.entries)
    file = tmp_path / "ours.toml"
    file.write_text(f'inherits = "{PROFILE_DIRECTORY / "development.toml"}"\nname = "ours"\n')
    result = run_station("verify", "--redecide", "--profile", file, path)
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_profile_with_other_evses_is_not_the_station_s(
    run_station: StationCommand, tmp_path: Path
) -> None:
    path = write_journal(tmp_path / "journal.db", given(CONFIGURED, ONE_EVSE).entries)
    result = run_station("verify", "--redecide", path)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "EVSEs" in result.stderr


def test_after_a_missing_entry_nothing_is_decided(
    run_station: StationCommand, tmp_path: Path, session: Station
) -> None:
    path = delete_entry(write_journal(tmp_path / "journal.db", session.entries), 40)
    result = run_station("verify", "--redecide", path)
    assert result.exit_code == 1
    assert "nothing from here on is decided again" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_empty_journal_is_reported_once(run_station: StationCommand, tmp_path: Path) -> None:
    result = run_station("verify", "--redecide", write_journal(tmp_path / "journal.db", []))
    assert (result.exit_code, result.stderr, result.stdout) == (1, "no entries\n", "")


@pytest.mark.parametrize(
    "arguments", [["--profile", "development"], ["--redecide", "--profile", "unknown"]]
)
def test_invalid_arguments_are_a_usage_error(
    run_station: StationCommand, journal: Path, arguments: list[str]
) -> None:
    result = run_station("verify", journal, *arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


def test_reading_changes_nothing(run_station: StationCommand, journal: Path) -> None:
    before = journal.read_bytes()
    assert run_station("verify", "--redecide", journal).exit_code == 0
    assert journal.read_bytes() == before
