"""A real station archives old entries by itself, and erases an idToken on request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from journal.events import Entry
from journal.format.segments import find_segments
from journal.observations import ClockStepped
from journal.storage.reader import Reader
from journal.storage.store import Store
from station.runtime.loop.startup import event_registry
from tests.e2e.harness import ControlRefused, StationProcess, run_command, wait_until
from tests.e2e.steps import (
    ALICE,
    STEP_TIMEOUT_S,
    authorize_and_plug_in,
    check_journal,
    wait_booted,
    wait_charging,
    wait_delivered,
    wait_transaction_ended,
)
from tests.journal.kinds import run_hidden_statements
from tests.support.csms import Csms

JOURNAL_ID = "0b8c7f4e-98a5-4f2e-8f5d-3b8a5f1c2d3e"
BEGAN = datetime(2020, 1, 1, tzinfo=UTC)
ENTRIES = 10_000


def leave_intact(journal: Path) -> None:
    """No damage."""


def damage_entries(journal: Path) -> None:
    """Change one entry and make another unreadable."""
    content = journal.read_bytes()
    at = content.index(b"ClockStepped", len(content) // 9)
    journal.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    run_hidden_statements(journal, "UPDATE entry SET body = '{}' WHERE seq = 50")


def has_rebuilt(station: StationProcess, quarantines: int) -> bool:
    """Whether it runs after that many rebuilds of the journal."""
    actual = len(list(station.data.glob("journal.damaged-*")))
    return actual == quarantines and (station.data / "control.sock").exists()


@pytest.fixture
def old_station(
    csms: Csms, short_directory: Path, request: pytest.FixtureRequest
) -> Iterator[StationProcess]:
    """A station with a journal of years, started with a retention of one day."""
    damage: Callable[[Path], None] = getattr(request, "param", leave_intact)
    station = StationProcess(short_directory, csms.url, extra_toml="\n[journal]\nretention = 1\n")
    station.data.mkdir()
    with Store.open(station.journal, event_registry(), journal_id_if_new=JOURNAL_ID) as store:
        store.append(
            [
                Entry(seq, BEGAN + timedelta(minutes=seq), 60_000 * seq, ClockStepped(1))
                for seq in range(1, ENTRIES + 1)
            ]
        )
    damage(station.journal)
    try:
        station.start()
        wait_until(
            lambda: has_rebuilt(station, 0 if damage is leave_intact else 1),
            STEP_TIMEOUT_S,
            "its last start",
        )
        wait_booted(station, csms)
        yield station
    finally:
        station.close()


def files_with_value(directory: Path, value: str) -> list[str]:
    needle = value.lower().encode()
    files = [file for file in directory.iterdir() if file.is_file()]
    return [file.name for file in files if needle in file.read_bytes().lower()]


def test_a_station_archives_charges_erases_and_restarts_p6(
    old_station: StationProcess, csms: Csms
) -> None:
    segments = wait_until(
        lambda: find_segments(old_station.journal, JOURNAL_ID), STEP_TIMEOUT_S, "a segment"
    )
    assert segments[0].first_seq == 1

    def is_archived() -> bool:
        with Reader.open(old_station.journal, event_registry()) as reader:
            return reader.archived_position()[0] == segments[0].last_seq

    wait_until(is_archived, STEP_TIMEOUT_S, "deletion of the archived entries from the file")
    check_journal(old_station)
    after = csms.next_frame_number()
    authorize_and_plug_in(old_station)
    transaction_id = wait_charging(csms, after=after)
    old_station.request_operation("unplug", evse_id=1)
    wait_transaction_ended(csms, transaction_id)
    wait_delivered(old_station)
    for refs in ([], "#0123456789abcdef", [ALICE], ["#0123456789ABCDEF"], None):
        with pytest.raises(ControlRefused, match="forget: "):
            old_station.request_operation("forget", refs=refs)
    erased = old_station.run_verb("forget", str(old_station.journal), ALICE)
    assert erased.returncode == 0, erased.stderr
    assert erased.stdout.endswith(": erased.\n")
    assert files_with_value(old_station.data, ALICE) == []
    check_journal(old_station)
    after = csms.next_frame_number()
    old_station.kill()
    old_station.restart()
    wait_booted(old_station, csms, after=after)
    assert old_station.terminate() == 0
    replayed = run_command("replay", str(old_station.journal))
    assert replayed.returncode == 0, replayed.stderr
    assert "the host's clock steps" in replayed.stdout.splitlines()[1]
    assert run_command("verify", str(old_station.journal)).stdout.count("intact. ") == 1


@pytest.mark.parametrize("old_station", [damage_entries], indirect=True)
def test_a_damaged_journal_is_archived_too_p5(old_station: StationProcess, csms: Csms) -> None:
    """Unreadable entries cause a rebuild of the file and a restart."""

    def is_archived() -> bool:
        with Reader.open(old_station.journal, event_registry()) as reader:
            return reader.archived_position()[0] >= ENTRIES // 2

    wait_until(is_archived, STEP_TIMEOUT_S, "a segment")
    [quarantine] = old_station.data.glob("journal.damaged-*")
    after = csms.next_frame_number()
    authorize_and_plug_in(old_station)
    wait_charging(csms, after=after)
    assert old_station.terminate() == 0
    verified = run_command("verify", str(old_station.journal))
    changed, missing = verified.stderr.splitlines()
    assert changed == "entry 50: does not match its digest"
    assert missing.endswith(": missing")
    assert (quarantine / "journal.db").exists()
