"""Does `station export` tell the history exactly, the same each time, and provably?"""

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

from journal.chain import digest_of, origin
from journal.observations import ClockStepped
from journal.projections.outbox import CallAttempted
from journal.projections.transactions import TransactionStarted
from journal.retention import Limits, archive
from station.commands import export as command
from station.history.manifest import complaints, manifests_at
from station.history.rows import Line
from station.history.sessions import Sessions
from station.history.tables import COLUMNS, Messages
from station.history.writers import TextWriter
from station.messages import timestamp
from tests.commands.journals import Command, opened, written
from tests.story import (
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
    accepting,
    after,
    answers,
    called,
    charging,
    discharged,
    errs,
    faulted,
    given,
    in_transaction,
    plugged,
    presented,
    preset,
    read,
    recovered,
    restarted,
    several,
    unplugged,
)

TABLES = list(COLUMNS)


def session(station: Station, start: str, stop: str, *, minutes: int = 10) -> None:
    """One more transaction at EVSE 1, confirmed."""
    station.with_csms(
        accepting,
        read(1, start),
        plugged(1),
        presented(ALICE, evse_id=1),
        charging(1),
        *[after(seconds=60)] * minutes,  # the CSMS answers in between
        read(1, stop),
        presented(ALICE, evse_id=1),
        discharged(1),
        unplugged(1),
    )


@pytest.fixture
def history() -> Station:
    """Three transactions over an hour and a bit, the last one offline."""
    station = given(ONLINE)
    session(station, "1000", "2935.600")
    session(station, "2935.600", "2935.603")
    station.when(LINK_LOST)
    session(station, "2935.603", "12000.1")
    return station


@pytest.fixture
def path(history: Station, tmp_path: Path) -> Path:
    return written(tmp_path / "journal.db", history.entries)


def exported(
    station: Command, path: Path, out: Path, what: str = "transactions", *more: str
) -> list[dict[str, str]]:
    """The rows of a CSV export."""
    ran = station("export", path, what, "--out", out, *more)
    assert (ran.code, ran.err) == (0, "")
    return rows_of((out / f"{what}.csv").read_text())


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def manifest_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    return found


def files_of(out: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*") if file.is_file()
    }


# --- What it tells -------------------------------------------------------------------------------


def test_a_transaction_is_one_row_with_exact_registers(
    station: Command, path: Path, tmp_path: Path, history: Station
) -> None:
    rows = exported(station, path, tmp_path / "out")
    assert [row["start_wh"] for row in rows] == ["1000", "2935.600", "2935.603"]
    assert [row["stop_wh"] for row in rows] == ["2935.600", "2935.603", "12000.1"]
    assert [row["energy_wh"] for row in rows] == ["1935.600", "0.003", "9064.497"]
    first, last = rows[0], rows[-1]
    started = [one for one in history.entries if isinstance(one.event, TransactionStarted)]
    assert first["entry_first"] == str(started[0].seq)
    assert (first["evse_id"], first["connector_id"]) == ("1", "1")
    assert (first["id_token_type"], first["id_token"]) == ("ISO14443", ALICE.ref)
    assert first["started_time_quality"] == "synchronised"
    assert first["duration_ms"] == "600000"
    assert (first["stopped_reason"], first["stopped_trigger"]) == ("Local", "StopAuthorized")
    assert (first["seq_no_first"], first["seq_no_missing"]) == ("0", "0")
    assert first["delivered"] == first["messages"] == str(int(first["seq_no_last"]) + 1)
    assert first["ended_message_id"]
    assert (last["delivered"], last["ended_message_id"], last["ended_answer_entry"]) == (
        "0",
        "",
        "",
    )


def test_totals_reconcile_to_the_last_decimal(station: Command, path: Path, tmp_path: Path) -> None:
    rows = exported(station, path, tmp_path / "out")
    totals = manifest_of(tmp_path / "out")["totals"]
    assert totals["energy_wh"] == "11000.100"
    assert Decimal(totals["energy_wh"]) == sum(Decimal(row["energy_wh"]) for row in rows)
    assert totals["rows"] == "3"
    assert int(totals["messages"]) == sum(int(row["messages"]) for row in rows)


def test_ranges_that_meet_tell_everything_once(
    station: Command, path: Path, tmp_path: Path
) -> None:
    moment, parts = "2026-03-01T12:15Z", []
    for what in ("transactions", "meter-values", "messages", "events"):
        whole = exported(station, path, tmp_path / what, what)
        before = exported(station, path, tmp_path / f"{what}-1", what, "--to", moment)
        since = exported(station, path, tmp_path / f"{what}-2", what, "--from", moment)
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
    station: Command, path: Path, history: Station, tmp_path: Path, what: str, format: str
) -> None:
    asked = ("export", path, what, "--format", format, "--to", "2026-03-01T12:25Z", "--out")
    assert station(*asked, tmp_path / "one").code == 0
    known = len(history.entries)
    history.when(LINK_OPENED)
    session(history, "12000.1", "12000.2")
    with opened(path) as store:
        store.append(history.entries[known:])
    assert station(*asked, tmp_path / "two").code == 0
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_a_range_before_everything_is_an_empty_table(
    station: Command, path: Path, tmp_path: Path
) -> None:
    assert exported(station, path, tmp_path / "out", "events", "--to", "1999-01-01") == []
    assert station("verify", tmp_path / "out").code == 0


def test_an_open_transaction_is_told_only_where_the_journal_ends(
    station: Command, tmp_path: Path
) -> None:
    path = written(tmp_path / "journal.db", given(ONLINE, read(1, "5"), in_transaction(1)).entries)
    [row] = exported(station, path, tmp_path / "now")
    assert (row["start_wh"], row["stop_wh"], row["energy_wh"], row["ended_at"]) == ("5", "", "", "")
    assert exported(station, path, tmp_path / "until", "transactions", "--to", "2027-01-01") == []


def test_a_transaction_tells_its_gaps_and_clock_changes(station: Command, tmp_path: Path) -> None:
    told = given(ONLINE, read(1, "10"), in_transaction(1))
    told.with_csms(accepting, restarted(gap_s=90), plugged(1), LINK_OPENED)
    told.with_csms(accepting, read(1, "11"), charging(1), after(seconds=30))
    told.host_at += timedelta(hours=1)
    told.when(ClockStepped(3_600_000))
    told.with_csms(accepting, read(1, "12.50"), presented(ALICE, evse_id=1), discharged(1))
    path = written(tmp_path / "journal.db", told.entries)
    [row] = exported(station, path, tmp_path / "out")
    assert (row["interruptions"], row["interrupted_ms"]) == ("1", "90000")
    assert row["clock_changes"] == "1"
    assert row["clock_change_ms"] == "3600000"
    assert row["duration_ms"] == "120000"  # what an honest watch would have shown
    assert row["energy_wh"] == "2.50"
    assert row["ended_time_quality"] == "not synchronised"


def test_a_parked_message_shows_in_its_transaction(station: Command, tmp_path: Path) -> None:
    once = preset("OCPPCommCtrlr.MessageAttempts[TransactionEvent]", "1")
    told = given(once, ONLINE, read(1, "1000"), plugged(1), presented(ALICE, evse_id=1))
    told.when(charging(1), errs())
    told.with_csms(accepting, presented(ALICE, evse_id=1), discharged(1), unplugged(1))
    path = written(tmp_path / "journal.db", told.entries)
    [row] = exported(station, path, tmp_path / "out")
    assert (row["parked"], int(row["delivered"])) == ("1", int(row["messages"]) - 1)


def test_a_person_who_came_before_the_cable_e01_fr_03(station: Command, tmp_path: Path) -> None:
    early = preset("TxCtrlr.TxStartPoint", "Authorized")
    told = given(early, ONLINE, read(2, "77.0"), presented(BOB))
    told.with_csms(accepting, plugged(2), charging(2), read(2, "78"))
    told.with_csms(accepting, presented(BOB), discharged(2), unplugged(2))
    path = written(tmp_path / "journal.db", told.entries)
    [row] = exported(station, path, tmp_path / "out")
    assert (row["evse_id"], row["connector_id"]) == ("2", "1")
    assert (row["start_wh"], row["energy_wh"]) == ("77.0", "1.0")


def test_every_frame_is_a_message(
    station: Command, path: Path, tmp_path: Path, history: Station
) -> None:
    rows = exported(station, path, tmp_path / "out", "messages")
    calls = [row for row in rows if (row["direction"], row["type"]) == ("out", "CALL")]
    attempts = [one for one in history.entries if isinstance(one.event, CallAttempted)]
    assert [row["seq"] for row in calls] == [str(one.seq) for one in attempts]
    answered = {row["message_id"]: row for row in rows if row["direction"] == "in"}
    assert sum(row["message_id"] in answered for row in calls) > 10
    for row in calls:
        assert answered.get(row["message_id"], row)["action"] == row["action"]
        json.loads(row["payload"])
    events = [row for row in calls if row["action"] == "TransactionEvent"]
    assert all(json.loads(row["payload"])["seqNo"] == int(row["seq_no"]) for row in events)


def test_a_payload_that_is_not_at_hand_is_read_again(
    station: Command, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = exported(station, path, tmp_path / "one", "messages")
    monkeypatch.setattr("station.history.tables.QUEUED_MAX", 0)
    assert exported(station, path, tmp_path / "two", "messages") == rows


def test_readings_know_their_transaction(station: Command, path: Path, tmp_path: Path) -> None:
    rows = exported(station, path, tmp_path / "out", "meter-values")
    inside = [row for row in rows if row["transaction_id"]]
    assert "2935.600" in [row["energy_wh"] for row in inside]
    assert {row["evse_id"] for row in inside} == {"1"}


def test_a_stranger_can_check_the_chain_of_the_events(
    station: Command, path: Path, tmp_path: Path
) -> None:
    digest = origin(JOURNAL_ID)
    for row in exported(station, path, tmp_path / "out", "events"):
        cause = int(row["cause"]) if row["cause"] else None
        digest = digest_of(
            digest, int(row["seq"]), row["at"], int(row["uptime_ms"]), row["kind"],
            int(row["version"]), cause, row["body"],
        )  # fmt: skip
        assert digest.hex() == row["digest"]
    assert manifest_of(tmp_path / "out")["last_digest"] == digest.hex()


def test_jsonl_keeps_the_zeros(station: Command, path: Path, tmp_path: Path) -> None:
    ran = station("export", path, "transactions", "--format", "jsonl", "--out", tmp_path / "out")
    assert ran.code == 0
    first = (tmp_path / "out" / "transactions.jsonl").read_text().splitlines()[0]
    assert '"stop_wh":2935.600,' in first


def test_values_are_told_only_when_asked_for(station: Command, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with opened(path) as store:
        token = store.refer("ISO14443", "04A224B2")
        store.append(given(ONLINE, plugged(1), presented(token, evse_id=1)).entries)
    for what in ("transactions", "messages", "events"):
        hidden = station("export", path, what)
        shown = station("export", path, what, "--values")
        assert "04A224B2" not in hidden.out
        assert token.ref in hidden.out
        assert "04A224B2" in shown.out


def test_what_is_complete_is_forgotten(history: Station, tmp_path: Path) -> None:
    sessions = Sessions()
    history.with_csms(accepting, LINK_OPENED)
    told = [one for entry in history.entries for one in sessions.hears(entry, "")]
    assert len(told) == 3
    assert not sessions._kept
    assert not sessions._owner
    messages = Messages(str, lambda seq: None)
    with opened(tmp_path / "journal.db") as store:
        store.append(history.entries)
        for entry, row in zip(history.entries, store.reader.rows(), strict=True):
            list(messages.hears(entry, row))
    assert not messages._known
    assert not messages._names


# --- States and faults ---------------------------------------------------------------------------


def state_rows(station: Command, path: Path, out: Path, *more: str) -> list[dict[str, str]]:
    return exported(station, path, out, "states", *more)


def stood(rows: list[dict[str, str]], evse_id: int) -> list[tuple[str, str, str]]:
    """State, day and time of the begin, in order."""
    return [(row["state"], row["from_at"][8:19], row["duration_ms"])
            for row in rows if row["evse_id"] == str(evse_id)]  # fmt: skip


@pytest.fixture
def troubled(tmp_path: Path) -> Path:
    """A transaction, a fault, a power cut over midnight, and a part out of service."""
    told = given(ONLINE, after(seconds=600))
    told.with_csms(accepting, in_transaction(1), after(seconds=300), faulted(1))
    told.with_csms(accepting, discharged(1), unplugged(1), after(seconds=60), recovered(1))
    told.with_csms(accepting, faulted(0, "cabinet", "door"), after(seconds=30))
    told.with_csms(accepting, restarted(boot_id="boot-2", gap_s=13 * 3600), LINK_OPENED)
    told.with_csms(accepting, after(seconds=10))
    closing = called("ChangeAvailability", evse={"id": 2}, operationalStatus="Inoperative")
    told.with_csms(accepting, closing, after(seconds=20), faulted(2, "meter", "silent"))
    told.with_csms(accepting, after(seconds=5))
    return written(tmp_path / "journal.db", told.entries)


def test_how_each_evse_stood_and_for_how_long(
    station: Command, troubled: Path, tmp_path: Path
) -> None:
    rows = state_rows(station, troubled, tmp_path / "out")
    assert stood(rows, 1) == [
        ("Available", "01T12:00:00", "600000"),
        ("Occupied", "01T12:10:00", "300000"),
        ("Faulted", "01T12:15:00", "60000"),
        ("Faulted", "01T12:16:00", "30000"),
        ("Off", "01T12:16:30", "42210000"),
        ("Off", "02T00:00:00", "4590000"),
        ("Available", "02T01:16:30", "35000"),
    ]
    assert stood(rows, 2) == [
        ("Available", "01T12:00:00", "960000"),
        ("Faulted", "01T12:16:00", "30000"),
        ("Off", "01T12:16:30", "42210000"),
        ("Off", "02T00:00:00", "4590000"),
        ("Available", "02T01:16:30", "10000"),
        ("Unavailable", "02T01:16:40", "20000"),
        ("Faulted", "02T01:17:00", "5000"),
    ]
    totals = manifest_of(tmp_path / "out")["totals"]
    assert int(totals["duration_ms"]) == sum(int(row["duration_ms"]) for row in rows)


def test_states_of_days_that_meet_are_told_once(
    station: Command, troubled: Path, tmp_path: Path
) -> None:
    whole = state_rows(station, troubled, tmp_path / "whole")
    after_midnight = state_rows(station, troubled, tmp_path / "two", "--from", "2026-03-02")
    assert after_midnight == [row for row in whole if row["from_at"] >= "2026-03-02"]
    before = state_rows(station, troubled, tmp_path / "one", "--to", "2026-03-02")
    assert before == [row for row in whole if row["from_at"] < "2026-03-01T12:16:30"]


def test_a_clock_that_is_moved_adds_and_takes_no_time(station: Command, tmp_path: Path) -> None:
    told = given(ONLINE, after(seconds=100))
    told.host_at += timedelta(days=400)
    told.when(ClockStepped(400 * 86_400_000))
    told.with_csms(accepting, after(seconds=50))
    told.host_at -= timedelta(days=900)
    told.when(ClockStepped(-900 * 86_400_000))
    told.with_csms(accepting, after(seconds=25))
    path = written(tmp_path / "journal.db", told.entries)
    rows = state_rows(station, path, tmp_path / "out")
    assert [row["duration_ms"] for row in rows if row["evse_id"] == "1"] == [
        "100000",
        "50000",
        "25000",
    ]


def test_a_correction_by_the_csms_adds_and_takes_no_time(station: Command, tmp_path: Path) -> None:
    told = given(ONLINE, after(seconds=100))
    told.host_at -= timedelta(days=70)
    told.when(ClockStepped(-70 * 86_400_000))
    told.with_csms(accepting, after(seconds=60))
    later = timestamp(told.host_at + timedelta(days=70))
    told.when(called("TriggerMessage", requestedMessage="Heartbeat"))
    told.when(answers("Heartbeat", currentTime=later), after(seconds=40))
    path = written(tmp_path / "journal.db", told.entries)
    rows = state_rows(station, path, tmp_path / "out")
    assert [row["duration_ms"] for row in rows if row["evse_id"] == "2"] == [
        "100000",
        "60000",
        "40000",
    ]
    assert [row["time_quality"] for row in rows if row["evse_id"] == "2"] == [
        "synchronised",
        "not synchronised",
        "synchronised",
    ]


def test_each_fault_tells_how_long_it_lasted_by_uptime(
    station: Command, troubled: Path, tmp_path: Path
) -> None:
    rows = exported(station, troubled, tmp_path / "out", "faults")
    told = [
        (row["evse_id"], row["device"], row["fault"], row["blocks"], row["ended"],
         row["duration_ms"]) for row in rows
    ]  # fmt: skip
    assert told == [
        ("1", "contactor", "welded", "true", "recovered", "60000"),
        ("0", "cabinet", "door", "true", "restart", "30000"),
        ("2", "meter", "silent", "true", "", ""),
    ]
    assert [row["ended_at"] for row in rows][-1] == ""
    until = exported(station, troubled, tmp_path / "until", "faults", "--to", "2027-01-01")
    assert until == rows[:2]  # what is not over belongs to no range yet


# --- Where it goes -------------------------------------------------------------------------------


def test_without_out_the_rows_go_to_stdout(path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "station", "export", str(path), "transactions"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(rows_of(ran.stdout)) == 3
    assert ran.stderr == ""


def test_a_file_has_its_manifest_beside_it(station: Command, path: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine" / "tx.csv"
    assert station("export", path, "transactions", "--out", out).code == 0
    assert {file.name for file in out.parent.iterdir()} == {
        "tx.csv",
        "tx.csv.manifest.json",
        "tx.csv.manifest.json.sig",
    }
    assert station("verify", out).code == 0
    assert station("verify", f"{out}.manifest.json").code == 0
    assert station("export", path, "transactions", "--out", out).code == 2


def test_the_key_is_the_stations_and_stays(station: Command, path: Path, tmp_path: Path) -> None:
    exported(station, path, tmp_path / "one")
    key = path.parent / "keys" / "export.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    exported(station, path, tmp_path / "two", "events")
    assert key.read_bytes() == before
    keys = {manifest_of(tmp_path / name)["public_key"] for name in ("one", "two")}
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (("transactions", "--from", "yesterday"), 2, "no time as"),
        (("events", "--from", "2026-03-02", "--to", "2026-03-01"), 2, "--from is not before --to"),
        (("transactions", "--format", "parquet"), 2, "name --out"),
        (("transactions", "--format", "jsonl", "--out", "x.csv"), 2, "Name --format csv"),
        (("transactions", "--out", "."), 2, "not empty"),
        (("nonsense",), 2, "Invalid value"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    station: Command,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    typed: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(path.parent)
    ran = station("export", path, *typed)
    assert (ran.code, ran.out, ran.err.count("\n")) == (code, "", 1)
    assert said in ran.err


def test_parquet_that_is_not_installed_is_one_line(
    station: Command, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    out = tmp_path / "out"
    ran = station("export", path, "events", "--format", "parquet", "--out", out)
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "ocpp-station[parquet]" in ran.err
    assert not out.exists()


def test_a_key_that_is_none_is_one_line(station: Command, path: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("no key")
    ran = station("export", path, "events", "--out", tmp_path / "out", "--key", key)
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "no private key" in ran.err


def test_an_empty_journal_has_nothing_to_tell(station: Command, tmp_path: Path) -> None:
    ran = station("export", written(tmp_path / "journal.db", []), "events")
    assert (ran.code, ran.out) == (1, "")
    assert "no entries yet" in ran.err


# --- Whether it can be trusted -------------------------------------------------------------------


def changed(out: Path) -> None:
    data = out / "transactions.csv"
    data.write_bytes(data.read_bytes().replace(b"2935.600", b"2934.600"))


def shortened(out: Path) -> None:
    data = out / "transactions.csv"
    data.write_bytes(data.read_bytes()[:-1])


def rewritten(out: Path) -> None:
    """Somebody makes the manifest fit a changed file."""
    changed(out)
    data, manifest = (out / "transactions.csv").read_bytes(), manifest_of(out)
    manifest["files"][0]["sha256"] = sha256(data).hexdigest()
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (changed, "changed; its SHA-256"),
        (shortened, "bytes, not"),
        (rewritten, "its signature does not hold"),
        (lambda out: (out / "transactions.csv").unlink(), "missing"),
        (lambda out: (out / "manifest.json.sig").unlink(), "nobody vouches"),
        (lambda out: (out / "manifest.json.sig").write_bytes(b""), "its signature does not hold"),
        (lambda out: (out / "manifest.json").write_text("{"), "no manifest that can be read"),
        (lambda out: (out / "more.csv").touch(), "not in the manifest"),
    ],
)
def test_an_export_that_was_touched_says_so(
    station: Command, path: Path, tmp_path: Path, harm: Any, said: str
) -> None:
    out = tmp_path / "out"
    exported(station, path, out)
    whole = station("verify", out)
    assert (whole.code, whole.err) == (0, "")
    assert "3 rows of transactions of CS001" in whole.out
    harm(out)
    verified = station("verify", out)
    assert (verified.code, verified.out) == (1, "")
    assert said in verified.err


def told_of(manifest: Path, key: str | None = None) -> str:
    """Everything that is wrong with an export."""
    return "\n".join(complaints(manifest, expected=key))


def bytes_of(length: int, most: int) -> range:
    """So many places of a file, or all of them."""
    return range(0, length, -(-length // most))


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_any_byte_of_any_file_that_is_changed_is_located(
    station: Command, path: Path, tmp_path: Path, format: str
) -> None:
    out = tmp_path / "out"
    assert station("export", path, "transactions", "--format", format, "--out", out).code == 0
    [manifest] = manifests_at(out)
    assert told_of(manifest) == ""
    for file in [file for file in out.rglob("*") if file.is_file()]:
        was = file.read_bytes()
        blamed = manifest if file.name.startswith(manifest.name) else file
        for place in bytes_of(len(was), 700):
            file.write_bytes(was[:place] + bytes([was[place] ^ 1 << place % 8]) + was[place + 1 :])
            assert str(blamed) in told_of(manifest), f"byte {place} of {file}"
        file.write_bytes(was)
    assert told_of(manifest) == ""


@pytest.mark.parametrize("what", TABLES)
def test_any_row_that_is_taken_out_is_noticed(
    station: Command, path: Path, tmp_path: Path, what: str
) -> None:
    out = tmp_path / "out"
    exported(station, path, out, what)
    file = out / f"{what}.csv"
    rows = file.read_bytes().splitlines(keepends=True)
    for row in bytes_of(len(rows), 50):
        file.write_bytes(b"".join(rows[:row] + rows[row + 1 :]))
        assert f"{file}: " in told_of(out / "manifest.json"), f"row {row}"


def test_whoever_signs_anew_is_found_by_the_key(
    station: Command, path: Path, tmp_path: Path
) -> None:
    """A forger changes a row, makes the manifest fit, and signs it with a key of their own."""
    out = tmp_path / "out"
    exported(station, path, out)
    said = station("verify", out).out.split()
    key = said[said.index("key") + 1]
    rewritten(out)
    forger = Ed25519PrivateKey.generate()
    manifest = manifest_of(out) | {"public_key": forger.public_key().public_bytes_raw().hex()}
    text = json.dumps(manifest).encode()
    (out / "manifest.json").write_bytes(text)
    (out / "manifest.json.sig").write_bytes(forger.sign(text))
    assert station("verify", out).code == 0  # whole, but of whom? The fingerprint tells
    verified = station("verify", out, "--key", key)
    assert (verified.code, verified.out) == (1, "")
    assert "which is not the one you named" in verified.err


def test_a_signature_of_another_export_does_not_fit(
    station: Command, path: Path, tmp_path: Path
) -> None:
    exported(station, path, tmp_path / "one")
    exported(station, path, tmp_path / "two", "events")
    signature = (tmp_path / "two" / "manifest.json.sig").read_bytes()
    (tmp_path / "one" / "manifest.json.sig").write_bytes(signature)
    verified = station("verify", tmp_path / "one")
    assert verified.code == 1
    assert "its signature does not hold" in verified.err


def test_an_export_is_held_against_a_key_and_a_head_from_outside(
    station: Command, path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    exported(station, path, out)
    said = station("verify", out).out.split()
    key, head = said[said.index("key") + 1], said[-1]
    assert station("verify", path).out.split()[-1] == head
    assert station("verify", out, "--key", key.upper(), "--head", head).code == 0
    assert "not the one you named" in station("verify", out, "--key", "0" * 64).err
    assert station("verify", out, "--head", f"1:{'0' * 64}").code == 1
    assert station("verify", out, "--key", "short").code == 2
    assert station("verify", path, "--key", key).code == 2


def test_the_signature_is_ed25519_over_the_manifests_bytes(
    station: Command, path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    exported(station, path, out)
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(manifest_of(out)["public_key"]))
    public.verify((out / "manifest.json.sig").read_bytes(), (out / "manifest.json").read_bytes())


def test_a_damaged_journal_is_told_and_never_vouched_for(
    station: Command, path: Path, tmp_path: Path
) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DROP TRIGGER entry_not_updated")
        db.execute("UPDATE entry SET uptime_ms = uptime_ms + 1 WHERE seq = 7")
        db.execute("UPDATE entry SET body = '{' WHERE seq = 9")
    db.close()
    out = tmp_path / "out"
    ran = station("export", path, "transactions", "--out", out)
    assert ran.code == 1
    lines = ran.err.splitlines()
    assert lines[0].startswith("entry 7: changed")
    assert any(each.startswith("entry 9: ") for each in lines)
    assert manifest_of(out)["whole"] is False
    assert len(rows_of((out / "transactions.csv").read_text())) == 3
    assert station("verify", out).code == 1
    assert ran.err.endswith("not whole; the export says so. Run `station verify` on it.\n")
    assert "not whole; rows may be missing." in station("export", path, "faults").err


def test_a_cut_out_entry_is_named(station: Command, path: Path, tmp_path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DROP TRIGGER entry_not_deleted")
        db.execute("DELETE FROM entry WHERE seq = 8")
    db.close()
    ran = station("export", path, "events", "--out", tmp_path / "out")
    assert ran.code == 1
    assert ran.err.startswith("entry 8: missing")


def test_places_that_cannot_be_read_are_told_from_where_to_where(
    station: Command, path: Path, tmp_path: Path
) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DROP TRIGGER entry_not_deleted")
        db.execute("DROP TRIGGER entry_not_updated")
        db.execute("DELETE FROM entry WHERE seq BETWEEN 20 AND 29")
        db.execute("UPDATE entry SET body = CAST(x'ff' AS TEXT) WHERE seq IN (23, 30, 31, 32, 40)")
    db.close()
    ran = station("export", path, "events", "--out", tmp_path / "out")
    assert ran.code == 1
    told = [line.partition(": ")[::2] for line in ran.err.splitlines()[:-1]]
    places = [name for name, _ in told]
    assert places == ["entry 20", "entry 30", "entry 40"]
    assert told[0][1] == "missing (to 29)"
    assert told[1][1].endswith(" (to 32)")


def test_a_damaged_segment_is_told_once_from_where_to_where(
    station: Command, path: Path, tmp_path: Path
) -> None:
    with opened(path) as store:
        limits = Limits(store.head.seq, (), datetime(9999, 1, 1, tzinfo=UTC))
        moved = archive(store, path, limits, worth=False)
    assert moved
    segment = moved.segment.path
    segment.write_bytes(segment.read_bytes()[:1000])
    ran = station("export", path, "events", "--out", tmp_path / "out")
    assert ran.code == 1
    assert ran.err.splitlines()[0].endswith(f"(to {moved.segment.last})")
    assert len(ran.err.splitlines()) == 2


def test_an_export_into_a_directory_that_cannot_be_is_one_line(
    station: Command, path: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    ran = station("export", path, "events", "--out", tmp_path / "file" / "out")
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "Nothing was exported" in ran.err


class Breaks(TextWriter):
    """A disk that is full, or Ctrl-C, behind the first row."""

    error: BaseException = OSError(errno.ENOSPC, "No space left on device")

    def write(self, line: Line) -> None:
        super().write(line)
        raise self.error


@pytest.mark.parametrize("error", [Breaks.error, KeyboardInterrupt()])
@pytest.mark.parametrize("name", ["out", "out/tx.csv"])
def test_nothing_is_left_of_an_export_that_breaks_off(
    station: Command,
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    name: str,
) -> None:
    monkeypatch.setattr(command, "TextWriter", Breaks)
    monkeypatch.setattr(Breaks, "error", error)
    ran = station("export", path, "transactions", "--out", tmp_path / name)
    assert ran.code == (1 if isinstance(error, OSError) else 130)
    assert ran.out == ""
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    assert station("export", path, "transactions", "--out", tmp_path / name).code == 0


def test_what_a_killed_export_leaves_is_no_export(
    station: Command, path: Path, tmp_path: Path
) -> None:
    monkey = subprocess.run(
        [sys.executable, "-c", KILLED, path, tmp_path / "tx.csv"], capture_output=True, check=False
    )
    assert monkey.returncode == -signal.SIGKILL
    assert [one.name for one in tmp_path.glob("*tx*")] == [".tx.csv.partial"]
    again = station("export", path, "transactions", "--out", tmp_path / "tx.csv")
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "killed or still goes on. Remove it" in again.err


KILLED = """
import os, signal, sys
from station import cli
from station.commands import export
export.seal = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
cli.ended(["export", sys.argv[1], "transactions", "--out", sys.argv[2]])
"""


def test_a_new_key_is_said_to_be_new(station: Command, path: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    first = station("export", path, "faults", "--out", tmp_path / "one", "--key", key)
    assert first.out.endswith(f", which is new, in {key}\n")
    assert "new" not in station(
        "export", path, "faults", "--out", tmp_path / "two", "--key", key
    ).out.removeprefix(str(tmp_path))


def test_any_file_of_an_export_names_it(station: Command, path: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    exported(station, path, text)
    alone = tmp_path / "alone.csv"
    station("export", path, "transactions", "--out", alone)
    tree = in_parquet(station, path, tmp_path / "tree", "transactions")
    files = [*text.iterdir(), *tmp_path.glob("alone.csv*"), *tree.rglob("*.*")]
    for file in files:
        verified = station("verify", file)
        assert (verified.code, verified.err) == (0, ""), file
        assert "rows of transactions" in verified.out
    (text / "transactions.csv").write_text("")
    assert station("verify", text / "transactions.csv").code == 1


def test_what_no_manifest_vouches_for_is_the_answer_no(
    station: Command, path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    exported(station, path, out)
    for file in out.glob("manifest*"):
        file.unlink()
    for name in (out, out / "transactions.csv"):
        verified = station("verify", name)
        assert (verified.code, verified.out) == (1, "")
        assert verified.err == (
            f"{name}: no manifest vouches for it. An export that was broken off has none.\n"
        )
    (out / "transactions.csv").unlink()
    assert station("verify", out).code == 2


def test_what_begins_behind_the_first_entry_says_so(
    station: Command, path: Path, tmp_path: Path
) -> None:
    exported(station, path, tmp_path / "all")
    assert "of entries" not in station("verify", tmp_path / "all").out
    with opened(path) as store:
        limits = Limits(store.head.seq, (), datetime(9999, 1, 1, tzinfo=UTC))
        archive(store, path, limits, worth=False)
    for segment in path.parent.glob("*.gz"):
        segment.unlink()
    out = tmp_path / "rest"
    exported(station, path, out)
    first = manifest_of(out)["first_entry"]
    assert first > 1
    assert f" of entries from {first} on, signed" in station("verify", out).out


# --- Parquet -------------------------------------------------------------------------------------

DAY = Path("station=CS001") / "day=2026-03-01"


def in_parquet(station: Command, path: Path, out: Path, what: str, *more: str) -> Path:
    """A tree."""
    ran = station("export", path, what, "--format", "parquet", "--out", out, *more)
    assert (ran.code, ran.err) == (0, "")
    return out


@pytest.mark.parametrize("what", TABLES)
def test_the_same_range_gives_the_same_parquet_though_the_journal_has_grown(
    station: Command, path: Path, history: Station, tmp_path: Path, what: str
) -> None:
    until = ("--to", "2026-03-01T12:25Z")
    one = in_parquet(station, path, tmp_path / "one", what, *until)
    known = len(history.entries)
    history.when(LINK_OPENED)
    session(history, "12000.1", "12000.2")
    with opened(path) as store:
        store.append(history.entries[known:])
    two = in_parquet(station, path, tmp_path / "two", what, *until)
    assert files_of(one) == files_of(two)


def test_parquet_lies_by_station_and_day_and_keeps_every_digit(
    station: Command, path: Path, tmp_path: Path
) -> None:
    out = in_parquet(station, path, tmp_path / "out", "transactions")
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
    assert station("verify", out).code == 0
    assert station("verify", out / "station=CS001").code == 0


@pytest.mark.parametrize("what", TABLES)
def test_the_columns_of_parquet_are_those_of_the_readme(
    station: Command, path: Path, tmp_path: Path, what: str
) -> None:
    out = tmp_path / "out.parquet"
    assert station("export", path, what, "--format", "parquet", "--out", out).code == 0
    types = {"text": "string", "int": "int64", "decimal": "decimal128(38, 9)",
             "time": "timestamp[ms, tz=UTC]"}  # fmt: skip
    columns = [(field.name, str(field.type)) for field in parquet.read_schema(out)]
    assert columns == [(name, types[kind]) for name, kind in COLUMNS[what]]
    assert columns == documented(what, types)


def documented(what: str, types: dict[str, str]) -> list[tuple[str, str]]:
    """The columns as the README lists them: `name` of text, `name:kind` of others."""
    readme = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
    [text] = re.findall(rf"^\| `{what}` \| (`.*`) \|$", readme, re.MULTILINE)
    pairs = [name.partition(":") for name in re.findall(r"`([a-z_:]+)`", text)]
    return [(name, types[kind or "text"]) for name, _, kind in pairs]


def test_a_journal_with_exports_beside_it_is_still_the_journal(
    station: Command, path: Path
) -> None:
    in_parquet(station, path, path.parent / "lake", "transactions")
    assert "entries, the last is" in station("verify", path.parent).out
    assert "rows of transactions" in station("verify", path.parent / "lake").out


def another(path: Path, identity: str) -> Path:
    """The journal of another station."""
    start = msgspec.structs.replace(BOOTED, identity=identity)
    told = given(several(CONFIGURED, start, IDLE, LINK_OPENED))
    session(told, "1", "2")
    path.mkdir()
    return written(path / "journal.db", told.entries)


def test_stations_share_a_tree_and_each_vouches_for_its_own(
    station: Command, path: Path, tmp_path: Path
) -> None:
    tree = in_parquet(station, path, tmp_path / "tree", "transactions")
    odd = another(tmp_path / "other", "A*1=2|3")
    in_parquet(station, odd, tree, "transactions")
    assert sorted(file.name for file in tree.iterdir()) == [
        "station=A%2A1%3D2%7C3",
        "station=CS001",
    ]
    verified = station("verify", tree)
    assert (verified.code, verified.err, len(verified.lines)) == (0, "", 2)
    assert station("verify", tree, "--head", f"1:{'0' * 64}").code == 2
    again = station("export", path, "transactions", "--format", "parquet", "--out", tree)
    assert again.code == 2
    assert "station=CS001: is there and not empty" in again.err


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda tree: (tree / "station=CS001").rename(tree / "station=CS002"), "is not named"),
        (lambda tree: (tree / "more.parquet").touch(), "more.parquet: in no export"),
        (
            lambda tree: shutil.copytree(tree / DAY, tree / "station=CS9" / "day=2026-03-01"),
            "in no export",
        ),
        (lambda tree: (tree / DAY).rename(tree / DAY.parent / "day=2026-03-02"), "missing"),
        (lambda tree: (tree / DAY / "more.parquet").touch(), "not in the manifest"),
    ],
)
def test_a_tree_that_was_touched_says_so(
    station: Command, path: Path, tmp_path: Path, harm: Any, said: str
) -> None:
    tree = in_parquet(station, path, tmp_path / "tree", "transactions")
    harm(tree)
    verified = station("verify", tree)
    assert (verified.code, verified.out) == (1, "")
    assert said in verified.err
