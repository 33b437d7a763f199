"""Energy of no transaction in exports, reports, `why` and `verify`. P11."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from pathlib import Path

import pytest

from journal.observations import MeterRead
from journal.projections.energy_ledger import EnergyUnaccounted, MeterAccount
from tests.commands.fixtures_journals import StationCommand, delete_entry, write_journal
from tests.support.story import (
    ALICE,
    BOB,
    LINK_OPENED,
    ONLINE,
    Station,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    contactor_reported,
    flow_reported,
    given,
    in_transaction,
    meter_read,
    meter_silent,
    presented,
    station_restarted,
    time_passed,
)


def story_with_gaps() -> Station:
    """EVSE 1: 3000 Wh billed, then 884 Wh, 16 Wh and a fall of 4000 Wh outside, then 50 Wh billed.

    The meter is silent at the end of the first transaction; 16 Wh are counted while the program is
    off; then the meter is replaced.
    """
    station = given(ONLINE, in_transaction(1), time_passed(seconds=30), meter_read(1, "4000"))
    station.with_csms(
        accept_everything,
        meter_silent(1),
        time_passed(seconds=60),
        presented(ALICE, evse_id=1),
        flow_reported(1, "none"),
        contactor_reported(1, closed=False),
        time_passed(seconds=60),
        cable_unplugged(1),
        meter_read(1, "4884"),
        station_restarted(gap_s=60),
        meter_read(1, "4900"),
        cable_unplugged(1),
        contactor_reported(1, closed=False),
        meter_read(1, "900"),
        LINK_OPENED,
        time_passed(seconds=60),
    )
    station.with_csms(accept_everything, in_transaction(1, BOB), time_passed(seconds=30))
    station.with_csms(
        accept_everything,
        meter_read(1, "950"),
        presented(BOB, evse_id=1),
        flow_reported(1, "none"),
        contactor_reported(1, closed=False),
        cable_unplugged(1),
        cable_plugged(1),
    )
    return station


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return write_journal(tmp_path / "journal.db", story_with_gaps().entries)


def exported(run_station: StationCommand, journal: Path, table: str) -> list[dict[str, str]]:
    out = journal.with_name(table)
    assert run_station("export", journal, table, "--out", out).exit_code == 0
    text = (out / f"{table}.csv").read_text()
    return list(csv.DictReader(io.StringIO(text)))


def test_what_is_billed_and_what_is_listed_is_what_the_meter_counted_p11(
    run_station: StationCommand, journal: Path
) -> None:
    transactions = exported(run_station, journal, "transactions")
    unaccounted = exported(run_station, journal, "unaccounted")
    energies = [Decimal(row["energy_wh"]) for row in (*transactions, *unaccounted)]
    assert energies == [3000, 50, 884, 16, -4000]
    assert sum(energies) == 950 - 1000
    assert [row["reason"] for row in unaccounted] == [
        "meter_silent", "program_not_running", "register_fell",
    ]  # fmt: skip
    assert unaccounted[0]["transaction_id"] == transactions[0]["transaction_id"]


def test_a_transaction_states_when_its_stop_register_was_read_p11(
    run_station: StationCommand, journal: Path
) -> None:
    silent, normal = exported(run_station, journal, "transactions")
    assert silent["stop_read_at"] == "2026-03-01T12:00:30.000Z"
    assert silent["ended_at"] == "2026-03-01T12:02:00.000Z"
    assert normal["stop_read_at"] == normal["ended_at"]


def test_another_meter_within_a_transaction_is_not_billed_p11(
    run_station: StationCommand, tmp_path: Path
) -> None:
    station = given(ONLINE, in_transaction(1), time_passed(seconds=30), meter_read(1, "3000"))
    station.with_csms(
        accept_everything,
        meter_read(1, "7"),
        meter_read(1, "107"),
        presented(ALICE, evse_id=1),
        flow_reported(1, "none"),
        contactor_reported(1, closed=False),
    )
    journal = write_journal(tmp_path / "journal.db", station.entries)
    [row] = exported(run_station, journal, "transactions")
    assert (row["start_wh"], row["stop_wh"]) == ("1000", "107")
    assert (row["excluded_wh"], row["energy_wh"]) == ("-2993", "2100")
    assert run_station("verify", journal).exit_code == 0


def test_the_page_lists_energy_outside_transactions_with_its_entries_p11(
    run_station: StationCommand, journal: Path
) -> None:
    page = run_station("report", journal, "--out", "-").stdout
    assert "900 Wh outside transactions" in page
    assert "3,050 Wh billed by the registers" in page
    [row] = exported(run_station, journal, "unaccounted")[:1]
    assert "Energy outside transactions</h3>" in page
    assert all(number in page for number in (row["from_seq"], row["to_seq"], row["seq"]))


def test_why_gives_the_reason_and_both_readings_p11(
    run_station: StationCommand, journal: Path
) -> None:
    [row] = exported(run_station, journal, "unaccounted")[:1]
    answer = run_station("why", journal, row["seq"]).stdout
    assert "the meter did not respond when the transaction before ended" in answer
    assert "meter at 4000 Wh" in answer
    assert "meter at 4884 Wh" in answer
    ended = run_station("why", journal, row["transaction_id"]).stdout
    assert "884 Wh" in ended


def test_verify_complains_of_energy_that_is_not_listed_p11(
    run_station: StationCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(MeterAccount, "find_gap", lambda account: None)
        station = story_with_gaps()
    assert not any(isinstance(entry.event, EnergyUnaccounted) for entry in station.entries)
    journal = write_journal(tmp_path / "journal.db", station.entries)
    result = run_station("verify", journal)
    assert result.exit_code == 1
    assert "EVSE 1: -3100 Wh before this entry belong to no transaction" in result.stderr


def test_verify_has_no_complaint_where_all_is_listed_p11(
    run_station: StationCommand, journal: Path
) -> None:
    result = run_station("verify", journal)
    assert (result.exit_code, result.stderr) == (0, "")


def test_entries_that_are_missing_are_no_energy_p11(
    run_station: StationCommand, tmp_path: Path
) -> None:
    entries = story_with_gaps().entries
    missing = next(entry.seq for entry in entries if isinstance(entry.event, MeterRead)) + 40
    journal = write_journal(tmp_path / "journal.db", entries)
    delete_entry(journal, missing)
    result = run_station("verify", journal)
    assert result.exit_code == 1
    assert "belong to no transaction" not in result.stderr
