"""Does `station archive` move what is old, and does every other command still see all of it?"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from journal.reader import Reader
from journal.segments import segments_beside
from journal.store import rebuild
from journal.verify import verify
from station.runtime.clock import HostClock
from station.runtime.memory import registry
from tests.commands.journals import Command, opened, without, written
from tests.story import (
    ALICE,
    JOURNAL_ID,
    LINK_LOST,
    ONLINE,
    Station,
    accepting,
    after,
    charging,
    discharged,
    given,
    plugged,
    presented,
    read,
    unplugged,
)

OTHERS = (
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
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    """Months after the story, whatever this machine's clock says."""
    monkeypatch.setattr(HostClock, "utc", lambda clock: datetime(2026, 12, 1, tzinfo=UTC))


@pytest.fixture
def past() -> Station:
    """Two sessions, all of it delivered, then one that is not, then a day without anybody."""
    station = given(ONLINE)
    for wh in (1000, 3000, 5000):
        if wh == 5000:
            station.when(LINK_LOST)
        station.with_csms(
            accepting,
            read(1, str(wh)),
            plugged(1),
            presented(ALICE, evse_id=1),
            charging(1),
            after(seconds=600),
            read(1, str(wh + 2000)),
            discharged(1),
            unplugged(1),
        )
    station.when(after(seconds=2 * 86_400))
    return station


def told(station: Command, journal: Path) -> list[tuple[int, str, str]]:
    """What every other command says."""
    found = []
    for verb, *more in OTHERS:
        ran = station(verb, journal, *more)
        found.append((ran.code, ran.out, ran.err))
    return found


def test_what_is_archived_is_seen_by_every_command_as_before(
    station: Command, tmp_path: Path, past: Station
) -> None:
    journal = written(tmp_path / "journal.db", past.entries)
    before = told(station, journal)
    done = station("archive", journal, "--days", "1")
    assert done.code == 0, done.err
    [segment] = segments_beside(journal, JOURNAL_ID)
    assert done.out == (
        f"{segment.path}: {segment.last} entries in {segment.path.stat().st_size} bytes\n"
    )
    assert told(station, journal) == before
    with Reader.open(journal, registry()) as reader:
        assert list(reader.entries()) == past.entries
        assert reader.archived()[0] == segment.last
    undelivered = next(iter(past.state.outbox.transaction))
    assert 40 < segment.last < undelivered
    assert past.entries[segment.last].event.__class__.__name__ == "TransactionStarted"


def test_no_state_follows_without_the_segments_and_it_is_said_what_to_do(
    station: Command, tmp_path: Path, past: Station
) -> None:
    journal = written(tmp_path / "journal.db", past.entries)
    assert station("archive", journal, "--days", "1").code == 0
    [segment] = segments_beside(journal, JOURNAL_ID)
    kept = segment.path.rename(tmp_path / "kept")
    for verb, *more in (("replay", "--state"), ("outbox", "list")):
        ran = station(verb, journal, *more)
        assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
        assert f"entries 1 to {segment.last} are archived" in ran.err
        assert ran.err.endswith("put their segments, journal.*.gz, beside it.\n")
    kept.rename(segment.path)
    assert station("replay", journal, "--state").code == 0


def test_nothing_old_is_no(station: Command, tmp_path: Path, past: Station) -> None:
    journal = written(tmp_path / "journal.db", past.entries)
    done = station("archive", journal, "--days", "3650")
    assert (done.code, done.out) == (1, "")
    assert "older than 3650 days" in done.err
    assert station("archive", journal, "--days", "1").code == 0
    again = station("archive", journal, "--days", "1")
    assert again.code == 1
    assert list(verify(journal)) == []


def test_what_was_set_aside_long_ago_is_removed(
    station: Command, tmp_path: Path, past: Station
) -> None:
    journal = written(tmp_path / "journal.db", past.entries)
    aside = rebuild(journal, JOURNAL_ID).aside
    assert str(aside) not in station("archive", journal, "--days", "365").out
    os.utime(aside, (at := datetime(2026, 11, 1, tzinfo=UTC).timestamp(), at))
    assert f"{aside}: removed\n" in station("archive", journal, "--days", "10").out
    assert not aside.exists()


def test_a_gap_stops_no_archiving(station: Command, tmp_path: Path, past: Station) -> None:
    journal = without(written(tmp_path / "journal.db", past.entries), 7)
    before = told(station, journal)
    assert station("archive", journal, "--days", "1").code == 0
    assert told(station, journal) == before
    assert "entry 7: missing\n" in station("verify", journal).err


def test_a_running_station_does_it_by_itself(
    station: Command, tmp_path: Path, past: Station
) -> None:
    path = tmp_path / "journal.db"
    with opened(path) as store:
        store.append(past.entries)
        done = station("archive", path)
    assert done.code == 2
    assert "archives by itself" in done.err
    assert len(done.err.splitlines()) == 1


def test_a_segment_that_is_gone_is_told_by_every_command(
    station: Command, tmp_path: Path, past: Station
) -> None:
    journal = written(tmp_path / "journal.db", past.entries)
    assert station("archive", journal, "--days", "1").code == 0
    [segment] = segments_beside(journal, JOURNAL_ID)
    segment.path.unlink()
    assert station("verify", journal).err.startswith("entry 1: the segment with entry 1 is missing")
    for verb, *more in OTHERS:
        if (verb, *more) not in {("export", "events"), ("replay",), ("export", "messages")}:
            ran = station(verb, journal, *more)
            assert len(ran.err.splitlines()) <= 3, ran.err
    assert f"{segment.last + 1:>7}" in station("replay", journal).out
    events = station("export", journal, "events")
    assert events.out.splitlines()[1].startswith(f"{segment.last + 1},")
