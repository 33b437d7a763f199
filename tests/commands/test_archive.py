"""`station archive` moves old entries, and every other command still reads all of them."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from journal.format.segments import find_segments
from journal.maintenance.rebuild import rebuild
from journal.maintenance.verify import verify
from journal.storage.reader import Reader
from station.runtime.clock import HostClock
from station.runtime.loop.startup import event_registry
from tests.commands.fixtures_journals import (
    StationCommand,
    delete_entry,
    open_writable,
    write_journal,
)
from tests.support.story import (
    ALICE,
    JOURNAL_ID,
    LINK_LOST,
    ONLINE,
    Station,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    charging_started,
    charging_stopped,
    given,
    meter_read,
    presented,
    time_passed,
)

OTHER_COMMANDS = (
    ("replay",),
    ("replay", "--state"),
    ("replay", "--to", "20", "--state"),
    ("why", "12"),
    ("verify",),
    ("outbox", "list"),
    ("export", "transactions"),
    ("export", "events"),
    ("export", "messages"),
    ("replay", "--from", "20", "--evse", "1", "--block", "E"),
    ("diff", "10", "60"),
    ("verify", "--redecide"),
)


@pytest.fixture(autouse=True)
def fix_today(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fixed date months after the story, independent of the host's clock."""
    monkeypatch.setattr(HostClock, "utc", lambda clock: datetime(2026, 12, 1, tzinfo=UTC))


@pytest.fixture
def archivable_story() -> Station:
    """Two delivered sessions, one that is not delivered, then two days without a session."""
    station = given(ONLINE)
    for wh in (1000, 3000, 5000):
        if wh == 5000:
            station.when(LINK_LOST)
        station.with_csms(
            accept_everything,
            meter_read(1, str(wh)),
            cable_plugged(1),
            presented(ALICE, evse_id=1),
            charging_started(1),
            time_passed(seconds=600),
            meter_read(1, str(wh + 2000)),
            charging_stopped(1),
            cable_unplugged(1),
        )
    station.when(time_passed(seconds=2 * 86_400))
    return station


def outputs_of(run_station: StationCommand, journal: Path) -> list[tuple[int, str, str]]:
    """Exit code and output of every other command."""
    outputs = []
    for verb, *more in OTHER_COMMANDS:
        result = run_station(verb, journal, *more)
        outputs.append((result.exit_code, result.stdout, result.stderr))
    return outputs


def test_every_command_reads_archived_entries(
    run_station: StationCommand, tmp_path: Path, archivable_story: Station
) -> None:
    journal = write_journal(tmp_path / "journal.db", archivable_story.entries)
    before = outputs_of(run_station, journal)
    result = run_station("archive", journal, "--days", "1")
    assert result.exit_code == 0, result.stderr
    [segment] = find_segments(journal, JOURNAL_ID)
    assert result.stdout == (
        f"{segment.path}: {segment.last_seq} entries in {segment.path.stat().st_size} bytes\n"
    )
    assert outputs_of(run_station, journal) == before
    with Reader.open(journal, event_registry()) as reader:
        assert list(reader.iter_entries()) == archivable_story.entries
        assert reader.archived_position()[0] == segment.last_seq
    undelivered = next(iter(archivable_story.state.outbox.transaction))
    assert 40 < segment.last_seq < undelivered
    assert (
        archivable_story.entries[segment.last_seq].event.__class__.__name__ == "TransactionStarted"
    )


def test_without_the_segments_there_is_no_state(
    run_station: StationCommand, tmp_path: Path, archivable_story: Station
) -> None:
    journal = write_journal(tmp_path / "journal.db", archivable_story.entries)
    assert run_station("archive", journal, "--days", "1").exit_code == 0
    [segment] = find_segments(journal, JOURNAL_ID)
    kept = segment.path.rename(tmp_path / "kept")
    for verb, *more in (("replay", "--state"), ("outbox", "list")):
        result = run_station(verb, journal, *more)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
        assert f"entries 1 to {segment.last_seq} are archived" in result.stderr
        assert result.stderr.endswith("Put the segments, journal.*.gz, into the same directory.\n")
    kept.rename(segment.path)
    assert run_station("replay", journal, "--state").exit_code == 0


def test_nothing_to_archive_is_exit_code_1(
    run_station: StationCommand, tmp_path: Path, archivable_story: Station
) -> None:
    journal = write_journal(tmp_path / "journal.db", archivable_story.entries)
    result = run_station("archive", journal, "--days", "3650")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "older than 3650 days" in result.stderr
    assert run_station("archive", journal, "--days", "1").exit_code == 0
    second = run_station("archive", journal, "--days", "1")
    assert second.exit_code == 1
    assert list(verify(journal)) == []


def test_what_was_set_aside_long_ago_is_removed(
    run_station: StationCommand, tmp_path: Path, archivable_story: Station
) -> None:
    journal = write_journal(tmp_path / "journal.db", archivable_story.entries)
    quarantine = rebuild(journal, JOURNAL_ID).quarantine
    assert str(quarantine) not in run_station("archive", journal, "--days", "365").stdout
    os.utime(quarantine, (at := datetime(2026, 11, 1, tzinfo=UTC).timestamp(), at))
    assert f"{quarantine}: removed\n" in run_station("archive", journal, "--days", "10").stdout
    assert not quarantine.exists()


def test_a_gap_does_not_stop_archiving(
    run_station: StationCommand, tmp_path: Path, archivable_story: Station
) -> None:
    journal = delete_entry(write_journal(tmp_path / "journal.db", archivable_story.entries), 7)
    before = outputs_of(run_station, journal)
    assert run_station("archive", journal, "--days", "1").exit_code == 0
    assert outputs_of(run_station, journal) == before
    assert "entry 7: missing\n" in run_station("verify", journal).stderr


def test_a_running_station_archives_by_itself(
    run_station: StationCommand, tmp_path: Path, archivable_story: Station
) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        store.append(archivable_story.entries)
        result = run_station("archive", path)
    assert result.exit_code == 2
    assert "archives by itself" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_missing_segment_is_reported_by_every_command(
    run_station: StationCommand, tmp_path: Path, archivable_story: Station
) -> None:
    journal = write_journal(tmp_path / "journal.db", archivable_story.entries)
    assert run_station("archive", journal, "--days", "1").exit_code == 0
    [segment] = find_segments(journal, JOURNAL_ID)
    segment.path.unlink()
    assert run_station("verify", journal).stderr.startswith(
        "entry 1: the segment with entry 1 is missing"
    )
    for verb, *more in OTHER_COMMANDS:
        if (verb, *more) not in {("export", "events"), ("replay",), ("export", "messages")}:
            result = run_station(verb, journal, *more)
            assert len(result.stderr.splitlines()) <= 3, result.stderr
    assert f"{segment.last_seq + 1:>7}" in run_station("replay", journal).stdout
    events = run_station("export", journal, "events")
    assert events.stdout.splitlines()[1].startswith(f"{segment.last_seq + 1},")
