"""`station why` prints the chain of causes of an entry or a transaction."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from journal.observations import ClockStepped, StationStarted
from journal.projections.transactions import TransactionStarted
from tests.commands.fixtures_journals import StationCommand, open_writable, write_journal
from tests.support.story import (
    ALICE,
    IDLE,
    LINK_OPENED,
    ONLINE,
    Station,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    charging_started,
    charging_stopped,
    given,
    in_transaction,
    meter_read,
    presented,
    station_restarted,
)


@pytest.fixture
def transaction_id(story: Station) -> str:
    [started] = [
        entry.event for entry in story.entries if isinstance(entry.event, TransactionStarted)
    ]
    return started.transaction_id


def test_an_entry_has_its_causes(
    run_station: StationCommand, journal: Path, story: Station
) -> None:
    [started] = [entry for entry in story.entries if isinstance(entry.event, TransactionStarted)]
    result = run_station("why", journal, str(started.seq))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.lines[0].startswith(f"Entry {started.seq}: station starts transaction")
    assert result.lines[1] == (
        "Because the CSMS accepted the IdToken (C01.FR.02): TxStartPoint PowerPathClosed was "
        "reached (E01.FR.05)."
    )
    [subject] = [line for line in result.lines if line.startswith("*")]
    assert subject.endswith(f", {started.cause}, {started.seq - 2} [E01.FR.05]")
    assert any("EV driver presents" in line for line in result.lines)
    assert "2026-03-01 UTC" in result.stdout
    assert "\x1b" not in result.stdout


def test_a_transaction_is_named_by_a_prefix(
    run_station: StationCommand, journal: Path, transaction_id: str
) -> None:
    whole = run_station("why", journal, transaction_id)
    assert whole.exit_code == 0
    assert whole.lines[0].startswith(f"Transaction {transaction_id} at EVSE 1")
    assert "Messages to the CSMS" in whole.stdout
    assert run_station("why", journal.parent, transaction_id[:6].upper()) == whole


def test_restarts_and_clock_steps_are_listed_with_the_transaction(
    run_station: StationCommand, tmp_path: Path
) -> None:
    station = given(
        ONLINE, station_restarted(gap_s=5), LINK_OPENED, IDLE, cable_plugged(1),
        presented(ALICE, evse_id=1), charging_started(1), station_restarted(gap_s=7), LINK_OPENED,
        cable_plugged(1), meter_read(1, "1500"), charging_stopped(1),
    )  # fmt: skip
    station.host_at -= timedelta(hours=2)
    station.with_csms(
        accept_everything, ClockStepped(-7_200_000), presented(ALICE, evse_id=1),
        charging_stopped(1), cable_unplugged(1), station_restarted(), ClockStepped(999),
    )  # fmt: skip
    started = next(
        entry.event for entry in station.entries if isinstance(entry.event, TransactionStarted)
    )
    restart = [entry.seq for entry in station.entries if isinstance(entry.event, StationStarted)][2]
    [moved, _] = [entry.seq for entry in station.entries if isinstance(entry.event, ClockStepped)]
    account = run_station(
        "why", write_journal(tmp_path / "journal.db", station.entries), started.transaction_id
    )
    assert account.exit_code == 0
    assert f"The program restarted while it was open: entry {restart}." in account.lines
    assert f"The clock was corrected while it was open: entry {moved}." in account.lines
    changed = account.stdout.partition("Changes")[2].partition("End")[0]
    assert f" {restart} > station   starts, last entry at" in changed
    assert f" {moved} > clock " in changed
    assert account.stdout.count("station   starts, ") == 1


def test_values_are_shown_only_with_the_option(run_station: StationCommand, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        token = store.reference_for("ISO14443", "04A224B2")
        station = given(ONLINE, cable_plugged(1), presented(token, evse_id=1))
        store.append(station.entries)
    [begun] = [
        entry.seq for entry in station.entries if isinstance(entry.event, TransactionStarted)
    ]
    references, values = (
        run_station("why", path, str(begun)),
        run_station("why", path, str(begun), "--values"),
    )
    assert "04A224B2" not in references.stdout
    assert token.ref in references.stdout
    assert "04A224B2" in values.stdout


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("0", "no entry 0; the journal has entries 1 to"),
        ("99999", "no entry 99999"),
        ("zebra", "no transaction 'zebra'"),
        ("", "no transaction ''"),
    ],
)
def test_an_unknown_subject_is_one_line(
    run_station: StationCommand, journal: Path, what: str, message: str
) -> None:
    result = run_station("why", journal, what)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert message in result.stderr


@pytest.fixture
def journal_of_thirty(tmp_path: Path) -> Path:
    """Thirty transactions; the ids of four begin with d, that of one with 8058."""
    station = given(ONLINE)
    for _ in range(30):
        station.with_csms(
            accept_everything, in_transaction(1), cable_unplugged(1), charging_stopped(1)
        )
    return write_journal(tmp_path / "journal.db", station.entries)


def test_an_ambiguous_prefix_lists_the_transactions(
    run_station: StationCommand, journal_of_thirty: Path
) -> None:
    result = run_station("why", journal_of_thirty, "d")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "4 transactions begin with 'd': dabf" in result.stderr


def test_digits_name_an_entry_before_a_transaction(
    run_station: StationCommand, journal_of_thirty: Path
) -> None:
    assert run_station("why", journal_of_thirty, "805").lines[0].startswith("Entry 805:")
    assert run_station("why", journal_of_thirty, "8058").lines[0].startswith("Transaction 8058")


def test_an_empty_journal_is_exit_code_1(run_station: StationCommand, tmp_path: Path) -> None:
    result = run_station("why", write_journal(tmp_path / "journal.db", []), "1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no entries yet" in result.stderr


def test_damage_is_reported_and_the_rest_of_the_chain_is_printed(
    run_station: StationCommand, journal: Path, transaction_id: str
) -> None:
    with sqlite3.connect(journal) as db:
        db.execute("DROP TRIGGER entry_not_updated")
        db.execute("UPDATE entry SET body = '{' WHERE kind = 'AuthorizationGranted'")
    db.close()
    result = run_station("why", journal, transaction_id)
    assert result.exit_code == 1
    assert "! archived, missing or unreadable" in result.stdout
    assert "1 entries are missing or unreadable" in result.stderr
