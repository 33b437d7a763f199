"""Does a real station move what is old by itself, and erase whom an operator names?"""

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
    """Nothing happened to it."""


def damage_entries(journal: Path) -> None:
    """An entry was changed, and one cannot be read."""
    content = journal.read_bytes()
    at = content.index(b"ClockStepped", len(content) // 9)
    journal.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    run_hidden_statements(journal, "UPDATE entry SET body = '{}' WHERE seq = 50")


def has_rebuilt(station: StationProcess, asides: int) -> bool:
    """Whether it goes on, having made so many journals anew."""
    made = len(list(station.data.glob("journal.damaged-*")))
    return made == asides and (station.data / "control.sock").exists()


@pytest.fixture
def old_station(
    csms: Csms, short_directory: Path, request: pytest.FixtureRequest
) -> Iterator[StationProcess]:
    """A station that has been at work for years, and starts again with a retention of a day."""
    harm: Callable[[Path], None] = getattr(request, "param", leave_intact)
    station = StationProcess(short_directory, csms.url, extra_toml="\n[journal]\nretention = 1\n")
    station.data.mkdir()
    with Store.open(station.journal, event_registry(), journal_id_if_new=JOURNAL_ID) as store:
        store.append(
            [
                Entry(seq, BEGAN + timedelta(minutes=seq), 60_000 * seq, ClockStepped(1))
                for seq in range(1, ENTRIES + 1)
            ]
        )
    harm(station.journal)
    try:
        station.start()
        wait_until(
            lambda: has_rebuilt(station, 0 if harm is leave_intact else 1),
            STEP_TIMEOUT_S,
            "its last beginning",
        )
        wait_booted(station, csms)
        yield station
    finally:
        station.close()


def files_with_value(directory: Path, value: str) -> list[str]:
    needle = value.lower().encode()
    files = [file for file in directory.iterdir() if file.is_file()]
    return [file.name for file in files if needle in file.read_bytes().lower()]


def test_a_station_archives_sells_forgets_and_starts_again_p6(
    old_station: StationProcess, csms: Csms
) -> None:
    segments = wait_until(
        lambda: find_segments(old_station.journal, JOURNAL_ID), STEP_TIMEOUT_S, "a segment"
    )
    assert segments[0].first_seq == 1

    def moved() -> bool:
        with Reader.open(old_station.journal, event_registry()) as reader:
            return reader.archived_position()[0] == segments[0].last_seq

    wait_until(moved, STEP_TIMEOUT_S, "the entries in it to leave the file")
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
    result = old_station.run_verb("forget", str(old_station.journal), ALICE)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith(": erased.\n")
    assert files_with_value(old_station.data, ALICE) == []
    check_journal(old_station)
    after = csms.next_frame_number()
    old_station.kill()
    old_station.restart()
    wait_booted(old_station, csms, after=after)
    assert old_station.terminate() == 0
    completed = run_command("replay", str(old_station.journal))
    assert completed.returncode == 0, completed.stderr
    assert "the host's clock jumps" in completed.stdout.splitlines()[1]
    assert run_command("verify", str(old_station.journal)).stdout.count("intact. ") == 1


@pytest.mark.parametrize("old_station", [damage_entries], indirect=True)
def test_a_station_archives_what_is_damaged_all_the_same_p5(
    old_station: StationProcess, csms: Csms
) -> None:
    """What cannot be read has the file made anew, and the life begin again."""

    def moved() -> bool:
        with Reader.open(old_station.journal, event_registry()) as reader:
            return reader.archived_position()[0] >= ENTRIES // 2

    wait_until(moved, STEP_TIMEOUT_S, "a segment")
    [aside] = old_station.data.glob("journal.damaged-*")
    after = csms.next_frame_number()
    authorize_and_plug_in(old_station)
    wait_charging(csms, after=after)
    assert old_station.terminate() == 0
    result = run_command("verify", str(old_station.journal))
    changed, missing = result.stderr.splitlines()
    assert changed == "entry 50: does not match its digest"
    assert missing.endswith(": missing")
    assert (aside / "journal.db").exists()
