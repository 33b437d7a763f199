"""`station export`: exact values, the same bytes each time, verifiable."""

from __future__ import annotations

import csv
import errno
import io
import json
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pyarrow import parquet

from journal.format.hash_chain import entry_digest, origin_digest
from journal.maintenance.retention import RetentionLimits, archive_oldest_entries
from journal.observations import ClockStepped
from journal.projections.outbox import CallAttempted
from journal.projections.transactions import TransactionStarted
from station.commands import export as command
from station.history.export.manifest import _count_rows, find_manifests, verify_export
from station.history.export.table import Columns, TableRow
from station.history.export.tables import TABLE_COLUMNS, MessagesTable
from station.history.export.transaction_rows import TransactionRecords
from station.history.export.writers import TextWriter, encode_csv_row, encode_json_line
from station.ocpp.messages import format_timestamp
from tests.commands.fixtures_journals import (
    StationCommand,
    open_writable,
    own_keys,
    write_journal,
)
from tests.support.story import (
    ALICE,
    BOB,
    BOOTED,
    CONFIGURED,
    IDLE,
    JOURNAL_ID,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Station,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    called,
    charging_started,
    charging_stopped,
    device_faulted,
    device_recovered,
    error_received,
    given,
    in_sequence,
    in_transaction,
    meter_read,
    presented,
    result_received_for,
    station_restarted,
    time_passed,
    variable_preset,
)

TABLES = list(TABLE_COLUMNS)
README = Path(__file__).parents[2] / "station" / "history" / "README.md"


def add_session(run_station: Station, start: str, stop: str, *, minutes: int = 10) -> None:
    """One more transaction at EVSE 1, confirmed."""
    run_station.with_csms(
        accept_everything,
        meter_read(1, start),
        cable_plugged(1),
        presented(ALICE, evse_id=1),
        charging_started(1),
        *[time_passed(seconds=60)] * minutes,  # with responses of the CSMS in between
        meter_read(1, stop),
        presented(ALICE, evse_id=1),
        charging_stopped(1),
        cable_unplugged(1),
    )


@pytest.fixture
def history() -> Station:
    """Three transactions in little more than an hour, the last one offline."""
    station = given(ONLINE)
    add_session(station, "1000", "2935.600")
    add_session(station, "2935.600", "2935.603")
    station.when(LINK_LOST)
    add_session(station, "2935.603", "12000.1")
    return station


@pytest.fixture
def journal_path(history: Station, tmp_path: Path) -> Path:
    return write_journal(tmp_path / "journal.db", history.entries)


def export_rows(
    run_station: StationCommand,
    journal_path: Path,
    out: Path,
    table: str = "transactions",
    *more: str,
) -> list[dict[str, str]]:
    """The rows of a CSV export."""
    result = run_station("export", journal_path, table, "--out", out, *more)
    assert (result.exit_code, result.stderr) == (0, "")
    return rows_of((out / f"{table}.csv").read_text())


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def manifest_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    return found


def files_of(out: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*") if file.is_file()
    }


# --- Rows ----------------------------------------------------------------------------------------


def test_a_transaction_is_one_row_with_exact_registers(
    run_station: StationCommand, journal_path: Path, tmp_path: Path, history: Station
) -> None:
    rows = export_rows(run_station, journal_path, tmp_path / "out")
    assert [row["start_wh"] for row in rows] == ["1000", "2935.600", "2935.603"]
    assert [row["stop_wh"] for row in rows] == ["2935.600", "2935.603", "12000.1"]
    assert [row["energy_wh"] for row in rows] == ["1935.600", "0.003", "9064.497"]
    first, last = rows[0], rows[-1]
    started = [entry for entry in history.entries if isinstance(entry.event, TransactionStarted)]
    assert first["first_seq"] == str(started[0].seq)
    assert (first["evse_id"], first["connector_id"]) == ("1", "1")
    assert (first["id_token_type"], first["id_token"]) == ("ISO14443", ALICE.ref)
    assert first["started_time_quality"] == "synchronized"
    assert first["duration_ms"] == "600000"
    assert (first["stopped_reason"], first["stopped_trigger_reason"]) == ("Local", "StopAuthorized")
    assert (first["seq_no_first"], first["seq_no_missing"]) == ("0", "0")
    assert first["delivered_count"] == first["message_count"] == str(int(first["seq_no_last"]) + 1)
    assert first["ended_message_id"]
    assert (last["delivered_count"], last["ended_message_id"], last["ended_response_seq"]) == (
        "0",
        "",
        "",
    )


def test_totals_reconcile_to_the_last_decimal(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    rows = export_rows(run_station, journal_path, tmp_path / "out")
    totals = manifest_of(tmp_path / "out")["totals"]
    assert totals["energy_wh"] == "11000.100"
    assert Decimal(totals["energy_wh"]) == sum(Decimal(row["energy_wh"]) for row in rows)
    assert totals["rows"] == "3"
    assert int(totals["message_count"]) == sum(int(row["message_count"]) for row in rows)


def test_adjacent_ranges_contain_everything_once(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    moment, parts = "2026-03-01T12:15Z", []
    for what in ("transactions", "meter-values", "messages", "events"):
        whole = export_rows(run_station, journal_path, tmp_path / what, what)
        before = export_rows(
            run_station, journal_path, tmp_path / f"{what}-1", what, "--to", moment
        )
        since = export_rows(
            run_station, journal_path, tmp_path / f"{what}-2", what, "--from", moment
        )
        assert before
        assert since
        key = "seq" if "seq" in whole[0] else "transaction_id"
        assert [row[key] for row in before + since] == [row[key] for row in whole]
        parts.append((before, since))
    (first, second), *_ = parts
    totals = manifest_of(tmp_path / "transactions")["totals"]["energy_wh"]
    assert sum(Decimal(row["energy_wh"]) for row in first + second) == Decimal(totals)


@pytest.mark.parametrize("format", ["csv", "jsonl"])
@pytest.mark.parametrize("what", TABLES)
def test_the_same_range_gives_the_same_bytes_though_the_journal_has_grown(
    run_station: StationCommand,
    journal_path: Path,
    history: Station,
    tmp_path: Path,
    what: str,
    format: str,
) -> None:
    arguments = (
        "export",
        journal_path,
        what,
        "--format",
        format,
        "--to",
        "2026-03-01T12:25Z",
        "--out",
    )
    assert run_station(*arguments, tmp_path / "one").exit_code == 0
    known = len(history.entries)
    history.when(LINK_OPENED)
    add_session(history, "12000.1", "12000.2")
    with open_writable(journal_path) as store:
        store.append(history.entries[known:])
    assert run_station(*arguments, tmp_path / "two").exit_code == 0
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_a_range_before_the_first_entry_is_an_empty_table(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    assert (
        export_rows(run_station, journal_path, tmp_path / "out", "events", "--to", "1999-01-01")
        == []
    )
    assert run_station("verify", tmp_path / "out", *own_keys(tmp_path / "out")).exit_code == 0


def test_an_open_transaction_is_exported_only_without_to(
    run_station: StationCommand, tmp_path: Path
) -> None:
    path = write_journal(
        tmp_path / "journal.db", given(ONLINE, meter_read(1, "5"), in_transaction(1)).entries
    )
    [row] = export_rows(run_station, path, tmp_path / "now")
    assert (row["start_wh"], row["stop_wh"], row["energy_wh"], row["ended_at"]) == ("5", "", "", "")
    assert (
        export_rows(run_station, path, tmp_path / "until", "transactions", "--to", "2027-01-01")
        == []
    )


def test_a_transaction_has_its_gaps_and_clock_changes(
    run_station: StationCommand, tmp_path: Path
) -> None:
    station = given(ONLINE, meter_read(1, "10"), in_transaction(1))
    station.with_csms(accept_everything, station_restarted(gap_s=90), cable_plugged(1), LINK_OPENED)
    station.with_csms(
        accept_everything, meter_read(1, "11"), charging_started(1), time_passed(seconds=30)
    )
    station.host_at += timedelta(hours=1)
    station.when(ClockStepped(3_600_000))
    station.with_csms(
        accept_everything, meter_read(1, "12.50"), presented(ALICE, evse_id=1), charging_stopped(1)
    )
    path = write_journal(tmp_path / "journal.db", station.entries)
    [row] = export_rows(run_station, path, tmp_path / "out")
    assert (row["restart_count"], row["restart_gap_ms"]) == ("1", "90000")
    assert row["clock_change_count"] == "1"
    assert row["clock_change_ms"] == "3600000"
    assert row["duration_ms"] == "120000"  # without the clock step
    assert row["energy_wh"] == "2.50"
    assert row["ended_time_quality"] == "synchronized"  # after the step the CSMS was asked at once


def test_a_parked_message_shows_in_its_transaction(
    run_station: StationCommand, tmp_path: Path
) -> None:
    once = variable_preset("OCPPCommCtrlr.MessageAttempts[TransactionEvent]", "1")
    station = given(
        once, ONLINE, meter_read(1, "1000"), cable_plugged(1), presented(ALICE, evse_id=1)
    )
    station.when(charging_started(1), error_received())
    station.with_csms(
        accept_everything, presented(ALICE, evse_id=1), charging_stopped(1), cable_unplugged(1)
    )
    path = write_journal(tmp_path / "journal.db", station.entries)
    [row] = export_rows(run_station, path, tmp_path / "out")
    assert (row["parked_count"], int(row["delivered_count"])) == (
        "1",
        int(row["message_count"]) - 1,
    )


def test_a_person_who_came_before_the_cable_e01_fr_03(
    run_station: StationCommand, tmp_path: Path
) -> None:
    early = variable_preset("TxCtrlr.TxStartPoint", "Authorized")
    station = given(early, ONLINE, meter_read(2, "77.0"), presented(BOB))
    station.with_csms(accept_everything, cable_plugged(2), charging_started(2), meter_read(2, "78"))
    station.with_csms(accept_everything, presented(BOB), charging_stopped(2), cable_unplugged(2))
    path = write_journal(tmp_path / "journal.db", station.entries)
    [row] = export_rows(run_station, path, tmp_path / "out")
    assert (row["evse_id"], row["connector_id"]) == ("2", "1")
    assert (row["start_wh"], row["energy_wh"]) == ("77.0", "1.0")


def test_every_frame_is_a_message(
    run_station: StationCommand, journal_path: Path, tmp_path: Path, history: Station
) -> None:
    rows = export_rows(run_station, journal_path, tmp_path / "out", "messages")
    calls = [row for row in rows if (row["direction"], row["frame_type"]) == ("out", "CALL")]
    attempts = [entry for entry in history.entries if isinstance(entry.event, CallAttempted)]
    assert [row["seq"] for row in calls] == [str(entry.seq) for entry in attempts]
    answered = {row["message_id"]: row for row in rows if row["direction"] == "in"}
    assert sum(row["message_id"] in answered for row in calls) > 10
    for row in calls:
        assert answered.get(row["message_id"], row)["action"] == row["action"]
        json.loads(row["payload"])
    events = [row for row in calls if row["action"] == "TransactionEvent"]
    assert all(json.loads(row["payload"])["seqNo"] == int(row["seq_no"]) for row in events)


def test_a_payload_that_is_not_cached_is_read_again(
    run_station: StationCommand, journal_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = export_rows(run_station, journal_path, tmp_path / "one", "messages")
    monkeypatch.setattr("station.history.export.tables.CACHED_CALLS_MAX", 0)
    assert export_rows(run_station, journal_path, tmp_path / "two", "messages") == rows


def test_readings_have_their_transaction(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    rows = export_rows(run_station, journal_path, tmp_path / "out", "meter-values")
    inside = [row for row in rows if row["transaction_id"]]
    assert "2935.600" in [row["energy_wh"] for row in inside]
    assert {row["evse_id"] for row in inside} == {"1"}


def test_the_chain_can_be_checked_from_the_events_table(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    digest = origin_digest(JOURNAL_ID)
    for row in export_rows(run_station, journal_path, tmp_path / "out", "events"):
        cause = int(row["cause_seq"]) if row["cause_seq"] else None
        digest = entry_digest(
            digest, int(row["seq"]), row["at"], int(row["uptime_ms"]), row["kind"],
            int(row["version"]), cause, row["body"],
        )  # fmt: skip
        assert digest.hex() == row["digest"]
    assert manifest_of(tmp_path / "out")["last_digest"] == digest.hex()


def test_jsonl_keeps_the_zeros(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    result = run_station(
        "export", journal_path, "transactions", "--format", "jsonl", "--out", tmp_path / "out"
    )
    assert result.exit_code == 0
    first = (tmp_path / "out" / "transactions.jsonl").read_text().splitlines()[0]
    assert '"stop_wh":2935.600,' in first


def test_values_are_exported_only_with_the_option(
    run_station: StationCommand, tmp_path: Path
) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        token = store.reference_for("ISO14443", "04A224B2")
        store.append(given(ONLINE, cable_plugged(1), presented(token, evse_id=1)).entries)
    for what in ("transactions", "messages", "events"):
        references = run_station("export", path, what)
        values = run_station("export", path, what, "--values")
        assert "04A224B2" not in references.stdout
        assert token.ref in references.stdout
        assert "04A224B2" in values.stdout


def test_completed_rows_are_released(history: Station, tmp_path: Path) -> None:
    sessions = TransactionRecords()
    history.with_csms(accept_everything, LINK_OPENED)
    rows = [one for entry in history.entries for one in sessions.apply(entry, "")]
    assert len(rows) == 3
    assert not sessions._records
    assert not sessions._record_by_call
    messages = MessagesTable(str, lambda seq: None)
    with open_writable(tmp_path / "journal.db") as store:
        store.append(history.entries)
        for entry, row in zip(history.entries, store.reader.iter_rows(), strict=True):
            list(messages.apply(entry, row))
    assert not messages._info_by_message_id
    assert not messages._message_ids_by_call


# --- States and faults ---------------------------------------------------------------------------


def state_rows(
    run_station: StationCommand, journal_path: Path, out: Path, *more: str
) -> list[dict[str, str]]:
    return export_rows(run_station, journal_path, out, "states", *more)


def state_periods(rows: list[dict[str, str]], evse_id: int) -> list[tuple[str, str, str]]:
    """Status, day and time of the begin, in order."""
    return [(row["state"], row["started_at"][8:19], row["duration_ms"])
            for row in rows if row["evse_id"] == str(evse_id)]  # fmt: skip


@pytest.fixture
def troubled_journal(tmp_path: Path) -> Path:
    """A transaction, a fault, a power cut over midnight, and a part out of service."""
    station = given(ONLINE, time_passed(seconds=600))
    station.with_csms(
        accept_everything, in_transaction(1), time_passed(seconds=300), device_faulted(1)
    )
    station.with_csms(
        accept_everything,
        charging_stopped(1),
        cable_unplugged(1),
        time_passed(seconds=60),
        device_recovered(1),
    )
    station.with_csms(
        accept_everything, device_faulted(0, "cabinet", "door"), time_passed(seconds=30)
    )
    station.with_csms(
        accept_everything, station_restarted(boot_id="boot-2", gap_s=13 * 3600), LINK_OPENED
    )
    station.with_csms(accept_everything, time_passed(seconds=10))
    closing = called("ChangeAvailability", evse={"id": 2}, operationalStatus="Inoperative")
    station.with_csms(
        accept_everything, closing, time_passed(seconds=20), device_faulted(2, "meter", "silent")
    )
    station.with_csms(accept_everything, time_passed(seconds=5))
    return write_journal(tmp_path / "journal.db", station.entries)


def test_status_periods_of_each_evse(
    run_station: StationCommand, troubled_journal: Path, tmp_path: Path
) -> None:
    rows = state_rows(run_station, troubled_journal, tmp_path / "out")
    assert state_periods(rows, 1) == [
        ("Available", "01T12:00:00", "600000"),
        ("Occupied", "01T12:10:00", "300000"),
        ("Faulted", "01T12:15:00", "60000"),
        ("Faulted", "01T12:16:00", "30000"),
        ("NotRunning", "01T12:16:30", "42210000"),
        ("NotRunning", "02T00:00:00", "4590000"),
        ("Available", "02T01:16:30", "35000"),
    ]
    assert state_periods(rows, 2) == [
        ("Available", "01T12:00:00", "960000"),
        ("Faulted", "01T12:16:00", "30000"),
        ("NotRunning", "01T12:16:30", "42210000"),
        ("NotRunning", "02T00:00:00", "4590000"),
        ("Available", "02T01:16:30", "10000"),
        ("Unavailable", "02T01:16:40", "20000"),
        ("Faulted", "02T01:17:00", "5000"),
    ]
    totals = manifest_of(tmp_path / "out")["totals"]
    assert int(totals["duration_ms"]) == sum(int(row["duration_ms"]) for row in rows)


def test_states_of_adjacent_days_are_exported_once(
    run_station: StationCommand, troubled_journal: Path, tmp_path: Path
) -> None:
    whole = state_rows(run_station, troubled_journal, tmp_path / "whole")
    after_midnight = state_rows(
        run_station, troubled_journal, tmp_path / "two", "--from", "2026-03-02"
    )
    assert after_midnight == [row for row in whole if row["started_at"] >= "2026-03-02"]
    before = state_rows(run_station, troubled_journal, tmp_path / "one", "--to", "2026-03-02")
    assert before == [row for row in whole if row["started_at"] < "2026-03-01T12:16:30"]


def test_a_clock_that_is_moved_adds_and_takes_no_time(
    run_station: StationCommand, tmp_path: Path
) -> None:
    station = given(ONLINE, time_passed(seconds=100))
    station.host_at += timedelta(days=400)
    station.when(ClockStepped(400 * 86_400_000))
    station.with_csms(accept_everything, time_passed(seconds=50))
    station.host_at -= timedelta(days=900)
    station.when(ClockStepped(-900 * 86_400_000))
    station.with_csms(accept_everything, time_passed(seconds=25))
    path = write_journal(tmp_path / "journal.db", station.entries)
    rows = state_rows(run_station, path, tmp_path / "out")
    assert [row["duration_ms"] for row in rows if row["evse_id"] == "1"] == [
        "100000",
        "50000",
        "25000",
    ]


def test_a_correction_by_the_csms_adds_and_takes_no_time(
    run_station: StationCommand, tmp_path: Path
) -> None:
    station = given(ONLINE, time_passed(seconds=100))
    station.host_at -= timedelta(days=70)
    station.when(ClockStepped(-70 * 86_400_000))
    station.with_csms(accept_everything, time_passed(seconds=60))
    later = format_timestamp(station.host_at + timedelta(days=70))
    station.when(called("TriggerMessage", requestedMessage="Heartbeat"))
    station.when(result_received_for("Heartbeat", currentTime=later), time_passed(seconds=40))
    path = write_journal(tmp_path / "journal.db", station.entries)
    rows = state_rows(run_station, path, tmp_path / "out")
    assert [row["duration_ms"] for row in rows if row["evse_id"] == "2"] == [
        "100000",
        "60000",
        "40000",
    ]
    assert [row["ended_time_quality"] for row in rows if row["evse_id"] == "2"] == [
        "synchronized",
        "not synchronized",
        "synchronized",
    ]


def test_each_fault_has_its_duration_by_uptime(
    run_station: StationCommand, troubled_journal: Path, tmp_path: Path
) -> None:
    rows = export_rows(run_station, troubled_journal, tmp_path / "out", "faults")
    rows_told = [
        (row["evse_id"], row["device"], row["fault"], row["blocks_charging"], row["end_reason"],
         row["duration_ms"]) for row in rows
    ]  # fmt: skip
    assert rows_told == [
        ("1", "contactor", "welded", "true", "recovered", "60000"),
        ("0", "cabinet", "door", "true", "restart", "30000"),
        ("2", "meter", "silent", "true", "", ""),
    ]
    assert [row["ended_at"] for row in rows][-1] == ""
    until = export_rows(
        run_station, troubled_journal, tmp_path / "until", "faults", "--to", "2027-01-01"
    )
    assert until == rows[:2]  # an active fault belongs to no range yet


# --- Where it goes -------------------------------------------------------------------------------


def test_without_out_the_rows_go_to_stdout(journal_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "station", "export", str(journal_path), "transactions"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(rows_of(result.stdout)) == 3
    assert result.stderr == ""


def test_a_file_has_its_manifest_beside_it(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine" / "tx.csv"
    assert run_station("export", journal_path, "transactions", "--out", out).exit_code == 0
    assert {file.name for file in out.parent.iterdir()} == {
        "tx.csv",
        "tx.csv.manifest.json",
        "tx.csv.manifest.json.sig",
    }
    assert run_station("verify", out, *own_keys(out)).exit_code == 0
    assert run_station("verify", f"{out}.manifest.json", *own_keys(out)).exit_code == 0
    assert run_station("export", journal_path, "transactions", "--out", out).exit_code == 2


def test_the_key_is_the_stations_and_stays(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    export_rows(run_station, journal_path, tmp_path / "one")
    key = journal_path.parent / "keys" / "export.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    export_rows(run_station, journal_path, tmp_path / "two", "events")
    assert key.read_bytes() == before
    keys = {manifest_of(tmp_path / name)["public_key"] for name in ("one", "two")}
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("typed", "code", "message"),
    [
        (("transactions", "--from", "yesterday"), 2, "is not a time"),
        (("events", "--from", "2026-03-02", "--to", "2026-03-01"), 2, "--from is not before --to"),
        (("transactions", "--format", "parquet"), 2, "Give --out"),
        (("transactions", "--format", "jsonl", "--out", "x.csv"), 2, "Give --format csv"),
        (("transactions", "--out", "."), 2, "not empty"),
        (("nonsense",), 2, "Invalid value"),
    ],
)
def test_invalid_arguments_are_one_line(
    run_station: StationCommand,
    journal_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    typed: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(journal_path.parent)
    result = run_station("export", journal_path, *typed)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (code, "", 1)
    assert message in result.stderr


def test_parquet_that_is_not_installed_is_one_line(
    run_station: StationCommand, journal_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    out = tmp_path / "out"
    result = run_station("export", journal_path, "events", "--format", "parquet", "--out", out)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "ocpp-station[parquet]" in result.stderr
    assert not out.exists()


def test_a_key_that_is_none_is_one_line(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    key.write_text("no key")
    result = run_station("export", journal_path, "events", "--out", tmp_path / "out", "--key", key)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "not a private key" in result.stderr


def test_an_empty_journal_is_exit_code_1(run_station: StationCommand, tmp_path: Path) -> None:
    result = run_station("export", write_journal(tmp_path / "journal.db", []), "events")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no entries yet" in result.stderr


# --- Whether it can be trusted -------------------------------------------------------------------


def change_file(out: Path) -> None:
    data = out / "transactions.csv"
    data.write_bytes(data.read_bytes().replace(b"2935.600", b"2934.600"))


def shorten_file(out: Path) -> None:
    data = out / "transactions.csv"
    data.write_bytes(data.read_bytes()[:-1])


def rewrite_manifest(out: Path) -> None:
    """Make the manifest fit a changed file."""
    change_file(out)
    data, manifest = (out / "transactions.csv").read_bytes(), manifest_of(out)
    manifest["files"][0]["sha256"] = sha256(data).hexdigest()
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change_file, "changed; its SHA-256"),
        (shorten_file, "bytes, not"),
        (rewrite_manifest, "invalid signature"),
        (lambda out: (out / "transactions.csv").unlink(), "missing"),
        (lambda out: (out / "manifest.json.sig").unlink(), "the manifest is not signed"),
        (lambda out: (out / "manifest.json.sig").write_bytes(b""), "invalid signature"),
        (lambda out: (out / "manifest.json").write_text("{"), "not a readable manifest"),
        (lambda out: (out / "more.csv").touch(), "not in the manifest"),
    ],
)
def test_a_changed_export_is_found(
    run_station: StationCommand, journal_path: Path, tmp_path: Path, damage: Any, message: str
) -> None:
    out = tmp_path / "out"
    export_rows(run_station, journal_path, out)
    keys = own_keys(out)
    whole = run_station("verify", out, *keys)
    assert (whole.exit_code, whole.stderr) == (0, "")
    assert "3 rows of transactions of CS001" in whole.stdout
    damage(out)
    verified = run_station("verify", out, *keys)
    assert (verified.exit_code, verified.stdout) == (1, "")
    assert message in verified.stderr


def export_complaints(manifest: Path, key: str | None = None) -> str:
    """The complaints about an export."""
    return "\n".join(verify_export(manifest, fingerprints=[key] if key else ()))


def sampled_offsets(length: int, most: int) -> range:
    """A number of offsets of a file, or all of them."""
    return range(0, length, -(-length // most))


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_any_byte_of_any_file_that_is_changed_is_located(
    run_station: StationCommand, journal_path: Path, tmp_path: Path, format: str
) -> None:
    out = tmp_path / "out"
    assert (
        run_station(
            "export", journal_path, "transactions", "--format", format, "--out", out
        ).exit_code
        == 0
    )
    [manifest] = find_manifests(out)
    assert export_complaints(manifest) == ""
    for file in [file for file in out.rglob("*") if file.is_file()]:
        was = file.read_bytes()
        blamed = manifest if file.name.startswith(manifest.name) else file
        for place in sampled_offsets(len(was), 700):
            file.write_bytes(was[:place] + bytes([was[place] ^ 1 << place % 8]) + was[place + 1 :])
            assert str(blamed) in export_complaints(manifest), f"byte {place} of {file}"
        file.write_bytes(was)
    assert export_complaints(manifest) == ""


@pytest.mark.parametrize("what", TABLES)
def test_any_row_that_is_taken_out_is_noticed(
    run_station: StationCommand, journal_path: Path, tmp_path: Path, what: str
) -> None:
    out = tmp_path / "out"
    export_rows(run_station, journal_path, out, what)
    file = out / f"{what}.csv"
    rows = file.read_bytes().splitlines(keepends=True)
    for row in sampled_offsets(len(rows), 50):
        file.write_bytes(b"".join(rows[:row] + rows[row + 1 :]))
        assert f"{file}: " in export_complaints(out / "manifest.json"), f"row {row}"


def test_another_signature_is_found_by_the_key(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    """A forger changes a row, makes the manifest fit, and signs it with a key of their own."""
    out = tmp_path / "out"
    export_rows(run_station, journal_path, out)
    output = run_station("verify", out).stdout.split()
    key = output[output.index("key") + 1]
    rewrite_manifest(out)
    forger = Ed25519PrivateKey.generate()
    manifest = manifest_of(out) | {"public_key": forger.public_key().public_bytes_raw().hex()}
    text = json.dumps(manifest).encode()
    (out / "manifest.json").write_bytes(text)
    (out / "manifest.json.sig").write_bytes(forger.sign(text))
    unvouched = run_station("verify", out)
    assert unvouched.exit_code == 1
    assert "its signer is not vouched for" in unvouched.stdout
    assert "intact" not in unvouched.stdout
    assert "sign it again with a key of their own" in unvouched.stderr
    verified = run_station("verify", out, "--key", key)
    assert (verified.exit_code, verified.stdout) == (1, "")
    assert "not with the given key" in verified.stderr


def sign_manifest(out: Path, changes: dict[str, Any]) -> None:
    """Change fields of a manifest and sign it with a new key."""
    key = Ed25519PrivateKey.generate()
    manifest = manifest_of(out) | {"public_key": key.public_key().public_bytes_raw().hex()}
    text = json.dumps(manifest | changes).encode()
    (out / "manifest.json").write_bytes(text)
    (out / "manifest.json.sig").write_bytes(key.sign(text))


ROW_OF_FILE = {"bytes": 1, "rows": 3, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": "transactions\x1b[2K\rout: intact."}, "not a readable manifest"),
        ({"table": "zz\n"}, "not a readable manifest"),
        ({"from": "zz"}, "not a readable manifest"),
        ({"last_digest": "zz"}, "not a readable manifest"),
        ({"last_digest": ""}, "not a readable manifest"),
        ({"public_key": "zz" * 32}, "not a readable manifest"),
        ({"journal_id": "\x9b2K"}, "not a readable manifest"),
        ({"totals": {"rows": "many"}}, "not a readable manifest"),
        ({"totals": {"rows": "4"}}, "another number of rows"),
        ({"files": [ROW_OF_FILE | {"path": "a", "rows": 10**40}]}, "not a readable manifest"),
        ({"files": [ROW_OF_FILE | {"path": "a", "rows": -3}]}, "not a readable manifest"),
        ({"files": [ROW_OF_FILE | {"path": "a\0b"}]}, "a\\x00b: "),
        ({"files": [ROW_OF_FILE | {"path": "a" * 5_000}]}, "…: cannot be read: File name too long"),
        ({"files": [ROW_OF_FILE | {"path": "\x1b[2K\rintact"}]}, "\\x1b[2K\\rintact: missing"),
        ({"format": "\x1b[2K"}, "\\x1b[2K"),
    ],
)
def test_a_forged_manifest_is_refused_and_controls_no_terminal(
    run_station: StationCommand,
    journal_path: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    message: str,
) -> None:
    out = tmp_path / "out"
    export_rows(run_station, journal_path, out)
    sign_manifest(out, changes)
    verified = run_station("verify", out)
    assert (verified.exit_code, verified.stdout) == (1, "")
    assert message in verified.stderr
    assert all(line.isprintable() for line in verified.stderr.split("\n"))


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\\t=1"),
        ("\r=1", "'\\r=1"),
        ("＝1", "'＝1"),
        ("-12.50", "-12.50"),
        ("+7", "+7"),
        ("a=b", "a=b"),
        ("\x1b[2J\x7f\x9b\u202e", "\\x1b[2J\\x7f\\x9b\\u202e"),
    ],
)
def test_a_text_in_csv_is_no_formula_and_controls_no_terminal(text: str, cell: str) -> None:
    columns: Columns = (("description", "text"), ("body", "text"), ("energy_wh", "decimal"))
    row = TableRow(datetime(2026, 3, 1, tzinfo=UTC), (text, '{"a":"\x7f"}', Decimal("-1.50")))
    [values] = csv.reader(io.StringIO(encode_csv_row(columns, row).decode()))
    assert values == [cell, '{"a":"\x7f"}', "-1.50"]


def test_a_text_in_json_lines_controls_no_terminal_and_is_exact() -> None:
    text = "=1\x1b[2J\x7f\x9b\u202e\U000e0001é"
    row = TableRow(datetime(2026, 3, 1, tzinfo=UTC), (text,))
    line = encode_json_line((("description", "text"),), row).decode()
    assert line.removesuffix("\n").isprintable()
    assert json.loads(line) == {"description": text}


def test_rows_are_counted_not_believed(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    for format in ("csv", "jsonl"):
        out = tmp_path / format
        assert run_station(
            "export", journal_path, "events", "--format", format, "--out", out
        ).exit_code == 0  # fmt: skip
        assert run_station("verify", out, *own_keys(out)).exit_code == 0
        [file] = manifest_of(out)["files"]
        rows = file["rows"] + 1
        sign_manifest(out, {"files": [file | {"rows": rows}], "totals": {"rows": str(rows)}})
        verified = run_station("verify", out)
        assert verified.exit_code == 1
        assert f"{rows - 1} rows, not {rows}" in verified.stderr


def test_a_line_feed_in_a_cell_is_no_row(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(b'a,b\n"1\n2","say ""x\n"""\n3,4\n')
    with file.open("rb") as data:
        assert _count_rows(data, ".csv") == 2


def test_the_name_of_a_station_is_no_part_of_the_verdict(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_rows(run_station, journal_path, out)
    sign_manifest(out, {"station": "CS001, signed by key 1\x1b[2K\u202e"})
    verified = run_station("verify", out, *own_keys(out))
    assert "of station 'CS001, signed by key 1\\x1b[2K\\u202e', signed by" in verified.stdout
    assert len(verified.lines) == 1


def test_a_path_that_is_too_long_is_one_line(run_station: StationCommand) -> None:
    for verb in ("verify", "replay", "report"):
        result = run_station(verb, "a" * 5_000)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert "File name too long" in result.stderr


def test_a_signature_of_another_export_does_not_fit(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    export_rows(run_station, journal_path, tmp_path / "one")
    export_rows(run_station, journal_path, tmp_path / "two", "events")
    signature = (tmp_path / "two" / "manifest.json.sig").read_bytes()
    (tmp_path / "one" / "manifest.json.sig").write_bytes(signature)
    verified = run_station("verify", tmp_path / "one")
    assert verified.exit_code == 1
    assert "invalid signature" in verified.stderr


def test_an_export_is_held_against_a_key_and_a_head_from_outside(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_rows(run_station, journal_path, out)
    output = run_station("verify", out).stdout.split()
    key, head = output[output.index("key") + 1], output[-1]
    assert run_station("verify", journal_path).stdout.split()[-1] == head
    assert run_station("verify", out, "--key", key.upper(), "--head", head).exit_code == 0
    assert "not with the given key" in run_station("verify", out, "--key", "0" * 64).stderr
    assert run_station("verify", out, "--head", f"1:{'0' * 64}").exit_code == 1
    assert run_station("verify", out, "--key", "short").exit_code == 2
    assert run_station("verify", journal_path, "--key", key).exit_code == 2


def test_the_signature_is_ed25519_over_the_manifests_bytes(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_rows(run_station, journal_path, out)
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(manifest_of(out)["public_key"]))
    public.verify((out / "manifest.json.sig").read_bytes(), (out / "manifest.json").read_bytes())


def test_an_export_of_a_damaged_journal_is_marked(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    with sqlite3.connect(journal_path) as db:
        db.execute("DROP TRIGGER entry_not_updated")
        db.execute("UPDATE entry SET uptime_ms = uptime_ms + 1 WHERE seq = 7")
        db.execute("UPDATE entry SET body = '{' WHERE seq = 9")
    db.close()
    out = tmp_path / "out"
    result = run_station("export", journal_path, "transactions", "--out", out)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[0].startswith("entry 7: changed")
    assert any(line.startswith("entry 9: ") for line in lines)
    assert manifest_of(out)["complete"] is False
    assert len(rows_of((out / "transactions.csv").read_text())) == 3
    assert run_station("verify", out).exit_code == 1
    assert result.stderr.endswith("damaged; the manifest records it. Run `station verify`.\n")
    assert "damaged; rows may be missing." in run_station("export", journal_path, "faults").stderr


def test_an_export_whose_last_digest_is_unreadable_is_still_a_manifest(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    with sqlite3.connect(journal_path) as db:
        db.execute("DROP TRIGGER entry_not_updated")
        (definition,) = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'entry'").fetchone()
        db.execute("PRAGMA writable_schema = ON")
        db.execute(
            "UPDATE sqlite_schema SET sql = ? WHERE name = 'entry'",
            (definition.replace(" STRICT", ""),),
        )
    db.close()
    with sqlite3.connect(journal_path) as db:
        db.execute("UPDATE entry SET digest = 'x' WHERE seq = (SELECT max(seq) FROM entry)")
    db.close()
    out = tmp_path / "out"
    assert run_station("export", journal_path, "events", "--out", out).exit_code == 1
    assert manifest_of(out)["last_digest"] == ""
    verified = run_station("verify", out, *own_keys(out))
    assert "as it was signed, but the journal was damaged" in verified.stderr


def test_a_removed_entry_is_named(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    with sqlite3.connect(journal_path) as db:
        db.execute("DROP TRIGGER entry_not_deleted")
        db.execute("DELETE FROM entry WHERE seq = 8")
    db.close()
    result = run_station("export", journal_path, "events", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.startswith("entry 8: missing")


def test_unreadable_ranges_are_reported_with_both_ends(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    with sqlite3.connect(journal_path) as db:
        db.execute("DROP TRIGGER entry_not_deleted")
        db.execute("DROP TRIGGER entry_not_updated")
        db.execute("DELETE FROM entry WHERE seq BETWEEN 20 AND 29")
        db.execute("UPDATE entry SET body = CAST(x'ff' AS TEXT) WHERE seq IN (23, 30, 31, 32, 40)")
    db.close()
    result = run_station("export", journal_path, "events", "--out", tmp_path / "out")
    assert result.exit_code == 1
    complaints = [line.partition(": ")[::2] for line in result.stderr.splitlines()[:-1]]
    places = [name for name, _ in complaints]
    assert places == ["entry 20", "entry 30", "entry 40"]
    assert complaints[0][1] == "missing (to 29)"
    assert complaints[1][1].endswith(" (to 32)")


def test_a_damaged_segment_is_reported_once_with_both_ends(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    with open_writable(journal_path) as store:
        limits = RetentionLimits(store.head.seq, (), datetime(9999, 1, 1, tzinfo=UTC))
        moved = archive_oldest_entries(store, journal_path, limits, only_if_worthwhile=False)
    assert moved
    segment = moved.segment.path
    segment.write_bytes(segment.read_bytes()[:1000])
    result = run_station("export", journal_path, "events", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0].endswith(f"(to {moved.segment.last_seq})")
    assert len(result.stderr.splitlines()) == 2


def test_an_impossible_directory_for_an_export_is_one_line(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    result = run_station("export", journal_path, "events", "--out", tmp_path / "file" / "out")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "Nothing was exported" in result.stderr


class FailingWriter(TextWriter):
    """Fails after the first row: a full disk, or Ctrl-C."""

    error: BaseException = OSError(errno.ENOSPC, "No space left on device")

    def write(self, table_row: TableRow) -> None:
        super().write(table_row)
        raise self.error


@pytest.mark.parametrize("error", [FailingWriter.error, KeyboardInterrupt()])
@pytest.mark.parametrize("name", ["out", "out/tx.csv"])
def test_an_interrupted_export_leaves_nothing(
    run_station: StationCommand,
    journal_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    name: str,
) -> None:
    monkeypatch.setattr(command, "TextWriter", FailingWriter)
    monkeypatch.setattr(FailingWriter, "error", error)
    result = run_station("export", journal_path, "transactions", "--out", tmp_path / name)
    assert result.exit_code == (1 if isinstance(error, OSError) else 130)
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    assert (
        run_station("export", journal_path, "transactions", "--out", tmp_path / name).exit_code == 0
    )


def test_a_killed_export_leaves_a_partial_directory_only(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    monkey = subprocess.run(
        [sys.executable, "-c", KILLED, journal_path, tmp_path / "tx.csv"],
        capture_output=True,
        check=False,
    )
    assert monkey.returncode == -signal.SIGKILL
    assert [file.name for file in tmp_path.glob("*tx*")] == [".tx.csv.partial"]
    result = run_station("export", journal_path, "transactions", "--out", tmp_path / "tx.csv")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "was killed or is still running. Remove it" in result.stderr


KILLED = """
import os, signal, sys
from station import cli
from station.commands import export
export.write_manifest = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
cli.run_cli(["export", sys.argv[1], "transactions", "--out", sys.argv[2]])
"""


def test_a_new_key_is_marked(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    first = run_station("export", journal_path, "faults", "--out", tmp_path / "one", "--key", key)
    assert first.stdout.endswith(f" (new key, in {key})\n")
    assert "new" not in run_station(
        "export", journal_path, "faults", "--out", tmp_path / "two", "--key", key
    ).stdout.removeprefix(str(tmp_path))


def test_any_file_of_an_export_names_it(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text"
    export_rows(run_station, journal_path, text)
    alone = tmp_path / "alone.csv"
    run_station("export", journal_path, "transactions", "--out", alone)
    tree = export_parquet(run_station, journal_path, tmp_path / "tree", "transactions")
    files = [*text.iterdir(), *tmp_path.glob("alone.csv*"), *tree.rglob("*.*")]
    for file in files:
        verified = run_station("verify", file, *own_keys(file))
        assert (verified.exit_code, verified.stderr) == (0, ""), file
        assert "rows of transactions" in verified.stdout
    (text / "transactions.csv").write_text("")
    assert run_station("verify", text / "transactions.csv").exit_code == 1


def test_an_export_without_a_manifest_is_exit_code_1(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_rows(run_station, journal_path, out)
    for file in out.glob("manifest*"):
        file.unlink()
    for name in (out, out / "transactions.csv"):
        verified = run_station("verify", name)
        assert (verified.exit_code, verified.stdout) == (1, "")
        assert verified.stderr == (
            f"{name}: no manifest. An export that was interrupted has none.\n"
        )
    (out / "transactions.csv").unlink()
    assert run_station("verify", out).exit_code == 2


def test_an_export_that_begins_later_names_its_first_entry(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    export_rows(run_station, journal_path, tmp_path / "all")
    assert "of entries" not in run_station("verify", tmp_path / "all").stdout
    with open_writable(journal_path) as store:
        limits = RetentionLimits(store.head.seq, (), datetime(9999, 1, 1, tzinfo=UTC))
        archive_oldest_entries(store, journal_path, limits, only_if_worthwhile=False)
    for segment in journal_path.parent.glob("*.gz"):
        segment.unlink()
    out = tmp_path / "rest"
    export_rows(run_station, journal_path, out)
    first = manifest_of(out)["first_seq"]
    assert first > 1
    assert f" of entries from {first} on, signed" in run_station("verify", out).stdout


# --- Parquet -------------------------------------------------------------------------------------

DAY = Path("station=CS001") / "day=2026-03-01"


def export_parquet(
    run_station: StationCommand, journal_path: Path, out: Path, table: str, *more: str
) -> Path:
    """The directory of a Parquet export."""
    result = run_station("export", journal_path, table, "--format", "parquet", "--out", out, *more)
    assert (result.exit_code, result.stderr) == (0, "")
    return out


@pytest.mark.parametrize("what", TABLES)
def test_the_same_range_gives_the_same_parquet_though_the_journal_has_grown(
    run_station: StationCommand, journal_path: Path, history: Station, tmp_path: Path, what: str
) -> None:
    until = ("--to", "2026-03-01T12:25Z")
    before = export_parquet(run_station, journal_path, tmp_path / "one", what, *until)
    known = len(history.entries)
    history.when(LINK_OPENED)
    add_session(history, "12000.1", "12000.2")
    with open_writable(journal_path) as store:
        store.append(history.entries[known:])
    after = export_parquet(run_station, journal_path, tmp_path / "two", what, *until)
    assert files_of(before) == files_of(after)


def test_parquet_is_by_station_and_day_and_keeps_every_digit(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    out = export_parquet(run_station, journal_path, tmp_path / "out", "transactions")
    assert sorted(files_of(out)) == [
        "station=CS001/_manifest.json",
        "station=CS001/_manifest.json.sig",
        "station=CS001/day=2026-03-01/transactions-0001.parquet",
    ]
    rows = parquet.ParquetFile(out / DAY / "transactions-0001.parquet").read().to_pylist()
    assert [row["energy_wh"] for row in rows] == [
        Decimal("1935.600"),
        Decimal("0.003"),
        Decimal("9064.497"),
    ]
    assert run_station("verify", out, *own_keys(out)).exit_code == 0
    assert run_station("verify", out / "station=CS001", *own_keys(out)).exit_code == 0


@pytest.mark.parametrize("what", TABLES)
def test_the_columns_of_parquet_are_those_of_the_readme(
    run_station: StationCommand, journal_path: Path, tmp_path: Path, what: str
) -> None:
    out = tmp_path / "out.parquet"
    assert (
        run_station("export", journal_path, what, "--format", "parquet", "--out", out).exit_code
        == 0
    )
    types = {"text": "string", "int": "int64", "decimal": "decimal128(38, 9)",
             "time": "timestamp[ms, tz=UTC]"}  # fmt: skip
    columns = [(field.name, str(field.type)) for field in parquet.read_schema(out)]
    assert columns == [(name, types[kind]) for name, kind in TABLE_COLUMNS[what]]
    assert columns == documented_columns(what, types)


def documented_columns(table: str, types: dict[str, str]) -> list[tuple[str, str]]:
    """The columns as the README lists them: `name` of text, `name:kind` of others."""
    readme = README.read_text(encoding="utf-8")
    [text] = re.findall(rf"^\| `{table}` \| (`.*`) \|$", readme, re.MULTILINE)
    pairs = [name.partition(":") for name in re.findall(r"`([a-z_:]+)`", text)]
    return [(name, types[kind or "text"]) for name, _, kind in pairs]


def test_a_data_directory_with_exports_is_still_a_journal(
    run_station: StationCommand, journal_path: Path
) -> None:
    export_parquet(run_station, journal_path, journal_path.parent / "lake", "transactions")
    assert "entries, the last is" in run_station("verify", journal_path.parent).stdout
    assert "rows of transactions" in run_station("verify", journal_path.parent / "lake").stdout


def make_other_journal(journal_path: Path, identity: str) -> Path:
    """The journal of another station."""
    start = msgspec.structs.replace(BOOTED, identity=identity)
    station = given(in_sequence(CONFIGURED, start, IDLE, LINK_OPENED))
    add_session(station, "1", "2")
    journal_path.mkdir()
    return write_journal(journal_path / "journal.db", station.entries)


def test_stations_share_a_tree_and_each_has_a_manifest(
    run_station: StationCommand, journal_path: Path, tmp_path: Path
) -> None:
    tree = export_parquet(run_station, journal_path, tmp_path / "tree", "transactions")
    odd = make_other_journal(tmp_path / "other", "A*1=2|3")
    export_parquet(run_station, odd, tree, "transactions")
    assert sorted(file.name for file in tree.iterdir()) == [
        "station=A%2A1%3D2%7C3",
        "station=CS001",
    ]
    verified = run_station("verify", tree, *own_keys(tree))
    assert (verified.exit_code, verified.stderr, len(verified.lines)) == (0, "", 2)
    assert run_station("verify", tree, *own_keys(tree)[:2]).exit_code == 1
    assert run_station("verify", tree, "--head", f"1:{'0' * 64}").exit_code == 2
    result = run_station(
        "export", journal_path, "transactions", "--format", "parquet", "--out", tree
    )
    assert result.exit_code == 2
    assert "station=CS001: exists and is not empty" in result.stderr


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda tree: (tree / "station=CS001").rename(tree / "station=CS002"), "must be named"),
        (lambda tree: (tree / "more.parquet").touch(), "more.parquet: in no export"),
        (
            lambda tree: shutil.copytree(tree / DAY, tree / "station=CS9" / "day=2026-03-01"),
            "in no export",
        ),
        (lambda tree: (tree / DAY).rename(tree / DAY.parent / "day=2026-03-02"), "missing"),
        (lambda tree: (tree / DAY / "more.parquet").touch(), "not in the manifest"),
    ],
)
def test_a_changed_tree_is_found(
    run_station: StationCommand, journal_path: Path, tmp_path: Path, damage: Any, message: str
) -> None:
    tree = export_parquet(run_station, journal_path, tmp_path / "tree", "transactions")
    damage(tree)
    verified = run_station("verify", tree)
    assert (verified.exit_code, verified.stdout) == (1, "")
    assert message in verified.stderr
