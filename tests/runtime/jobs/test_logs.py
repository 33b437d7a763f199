"""Log uploads: which entries a log has, also of a damaged journal. N01."""

from __future__ import annotations

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from journal.projections.logs import LogUpload, LogUploadOrdered
from journal.storage.connection import StoreSettings
from journal.storage.store import Store
from station.runtime.jobs import logs
from station.runtime.jobs.logs import LogUploadJob
from station.runtime.loop.startup import event_registry
from tests.support.story import (
    JOURNAL_ID,
    NOON,
    ONLINE,
    Station,
    given,
    in_transaction,
    load_product,
)

ORDERED = LogUploadOrdered(
    request_id=1,
    log_type="DiagnosticsLog",
    location="http://host/",
    filename="x.log",
    oldest_timestamp=None,
    latest_timestamp=None,
    attempts_max=1,
    retry_interval_s=1,
)


@pytest.fixture
def station() -> Station:
    return given(ONLINE, in_transaction(1))


@pytest.fixture
def journal(tmp_path: Path, station: Station) -> Path:
    path = tmp_path / "journal.db"
    with Store.open(
        path, event_registry(), journal_id_if_new=JOURNAL_ID, settings=StoreSettings(grow_bytes=0)
    ) as store:
        store.append(station.entries)
    return path


def log_seqs(journal: Path, station: Station, **changes: Any) -> list[int]:
    """The numbers of the entries in a log requested by the next entry."""
    return [int(line.split()[2]) for line in log_lines(journal, station, **changes)]


def log_lines(journal: Path, station: Station, **changes: Any) -> list[str]:
    job = log_job(journal, station)
    upload = log_upload(station, **changes)
    lines = job._log_lines(upload, station.state)
    return [line for line in lines if line.startswith("2026-") or "cannot be read" in line]


def log_job(journal: Path, station: Station) -> LogUploadJob:
    return LogUploadJob(
        load_product(),
        journal,
        event_registry(),
        journal.parent / "uploads",
        journal.parent / "traces",
        observe=lambda observation: None,
        current_state=lambda: station.state,
        read_secret=lambda reference: None,
    )


def log_upload(station: Station, **changes: Any) -> LogUpload:
    return LogUpload(len(station.entries) + 1, msgspec.structs.replace(ORDERED, **changes))


async def archived_names(journal: Path, station: Station, **changes: Any) -> list[str]:
    """The names in an archive for the CSMS, without those of directories."""
    upload = log_upload(station, filename="x.tar.gz", **changes)
    archive = journal.parent / "uploads" / upload.order.filename
    job = log_job(journal, station)
    await trio.to_thread.run_sync(job._write_log, archive, upload, station.state)
    assert list(archive.parent.iterdir()) == [archive]
    with tarfile.open(archive) as content:
        return sorted(member.name for member in content.getmembers() if member.isfile())


async def test_an_archive_has_the_log_and_the_traces_of_its_period(
    journal: Path, station: Station
) -> None:
    for name in ("20260228T120000Z_3", "20260301T120500Z_7", "no trace"):
        (journal.parent / "traces" / name).mkdir(parents=True)
        (journal.parent / "traces" / name / "about.txt").write_text("faults")
    assert await archived_names(journal, station) == [
        "traces/20260228T120000Z_3/about.txt",
        "traces/20260301T120500Z_7/about.txt",
        "x.log",
    ]
    assert await archived_names(journal, station, oldest_timestamp="2026-03-01T00:00:00.000Z") == [
        "traces/20260301T120500Z_7/about.txt",
        "x.log",
    ]
    assert await archived_names(journal, station, latest_timestamp="2026-03-01T12:00:00.000Z") == [
        "traces/20260228T120000Z_3/about.txt",
        "x.log",
    ]


async def test_an_archive_without_the_directory_of_traces_has_the_log(
    journal: Path, station: Station
) -> None:
    """The journal names a trace that a person has deleted."""
    assert await archived_names(journal, station) == ["x.log"]


def test_every_entry_before_the_request_is_in_the_log(journal: Path, station: Station) -> None:
    assert log_seqs(journal, station) == list(range(1, len(station.entries) + 1))


def test_the_security_log_has_only_security_events(journal: Path, station: Station) -> None:
    lines = log_lines(journal, station, log_type="SecurityLog")
    events = [
        entry for entry in station.entries if type(entry.event).__name__ == "SecurityEventLogged"
    ]
    assert events
    assert len(lines) == len(events)
    assert "StartupOfTheDevice" in lines[0]


def test_of_too_many_entries_the_newest_are_in_the_log(
    journal: Path, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "ENTRIES_MAX", 5)
    last = len(station.entries)
    assert log_seqs(journal, station) == list(range(last - 4, last + 1))


def test_an_unreadable_entry_hides_no_other(journal: Path, station: Station) -> None:
    seq = len(station.entries) + 1
    row = (seq, "2026-03-01T12:00:00.000Z", 1, "FromTheFuture", 1, None, "{}", bytes(32))
    with closing(sqlite3.connect(journal)) as db:
        db.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        db.commit()
    station.entries.append(msgspec.structs.replace(station.entries[-1], seq=seq))
    lines = log_lines(journal, station)
    assert len(lines) == seq
    assert lines[-1].startswith(f"entry {seq} cannot be read")


def test_only_entries_of_the_period_are_in_the_log(journal: Path, station: Station) -> None:
    assert station.entries[0].at == NOON
    assert log_seqs(journal, station, latest_timestamp="2026-03-01T12:00:00.000Z") == [
        entry.seq for entry in station.entries if entry.at == NOON
    ]
    assert log_seqs(journal, station, oldest_timestamp="2026-03-02T00:00:00.000Z") == []
