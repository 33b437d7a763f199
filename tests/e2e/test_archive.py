"""Does a real station move what is old by itself, and erase whom an operator names?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from journal.observations import ClockStepped
from journal.reader import Reader
from journal.segments import segments_beside
from journal.store import Store
from journal.terms import Entry
from station.runtime.memory import registry
from tests.csms import Csms
from tests.e2e.harness import Refused, StationProcess, run_command, until
from tests.e2e.steps import (
    ALICE,
    PATIENCE_S,
    authorize_and_plug_in,
    check_journal,
    wait_booted,
    wait_charging,
    wait_closed,
    wait_delivered,
)
from tests.journal.kinds import mistreated

JOURNAL_ID = "0b8c7f4e-98a5-4f2e-8f5d-3b8a5f1c2d3e"
BEGAN = datetime(2020, 1, 1, tzinfo=UTC)
ENTRIES = 10_000


def whole(journal: Path) -> None:
    """Nothing happened to it."""


def harmed(journal: Path) -> None:
    """An entry was changed, and one cannot be read."""
    content = journal.read_bytes()
    at = content.index(b"ClockStepped", len(content) // 9)
    journal.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    mistreated(journal, "UPDATE entry SET body = '{}' WHERE seq = 50")


def begun(station: StationProcess, asides: int) -> bool:
    """Whether it goes on, having made so many journals anew."""
    made = len(list(station.data.glob("journal.damaged-*")))
    return made == asides and (station.data / "control.sock").exists()


@pytest.fixture
def old(csms: Csms, place: Path, request: pytest.FixtureRequest) -> Iterator[StationProcess]:
    """A station that has been at work for years, and starts again with a retention of a day."""
    harm: Callable[[Path], None] = getattr(request, "param", whole)
    station = StationProcess(place, csms.url, more="\n[journal]\nretention = 1\n")
    station.data.mkdir()
    with Store.open(station.journal, registry(), journal_id_if_new=JOURNAL_ID) as store:
        store.append(
            [
                Entry(seq, BEGAN + timedelta(minutes=seq), 60_000 * seq, ClockStepped(1))
                for seq in range(1, ENTRIES + 1)
            ]
        )
    harm(station.journal)
    try:
        station.start()
        until(lambda: begun(station, 0 if harm is whole else 1), PATIENCE_S, "its last beginning")
        wait_booted(station, csms)
        yield station
    finally:
        station.close()


def found_in(directory: Path, value: str) -> list[str]:
    needle = value.lower().encode()
    files = [file for file in directory.iterdir() if file.is_file()]
    return [file.name for file in files if needle in file.read_bytes().lower()]


def test_a_station_archives_sells_forgets_and_starts_again_p6(
    old: StationProcess, csms: Csms
) -> None:
    segments = until(lambda: segments_beside(old.journal, JOURNAL_ID), PATIENCE_S, "a segment")
    assert segments[0].first == 1

    def moved() -> bool:
        with Reader.open(old.journal, registry()) as reader:
            return reader.archived()[0] == segments[0].last

    until(moved, PATIENCE_S, "the entries in it to leave the file")
    check_journal(old)
    after = csms.mark()
    authorize_and_plug_in(old)
    transaction_id = wait_charging(csms, after=after)
    old.op("unplug", evse_id=1)
    wait_closed(csms, transaction_id)
    wait_delivered(old)
    for refs in ([], "#0123456789abcdef", [ALICE], ["#0123456789ABCDEF"], None):
        with pytest.raises(Refused, match="forget: "):
            old.op("forget", refs=refs)
    done = old.command("forget", str(old.journal), ALICE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(": erased.\n")
    assert found_in(old.data, ALICE) == []
    check_journal(old)
    after = csms.mark()
    old.kill()
    old.restart()
    wait_booted(old, csms, after=after)
    assert old.terminate() == 0
    told = run_command("replay", str(old.journal))
    assert told.returncode == 0, told.stderr
    assert "the host's clock jumps" in told.stdout.splitlines()[1]
    assert run_command("verify", str(old.journal)).stdout.count("whole. ") == 1


@pytest.mark.parametrize("old", [harmed], indirect=True)
def test_a_station_archives_what_is_damaged_all_the_same_p5(
    old: StationProcess, csms: Csms
) -> None:
    """What cannot be read has the file made anew, and the life begin again."""

    def moved() -> bool:
        with Reader.open(old.journal, registry()) as reader:
            return reader.archived()[0] >= ENTRIES // 2

    until(moved, PATIENCE_S, "a segment")
    [aside] = old.data.glob("journal.damaged-*")
    after = csms.mark()
    authorize_and_plug_in(old)
    wait_charging(csms, after=after)
    assert old.terminate() == 0
    told = run_command("verify", str(old.journal))
    changed, missing = told.stderr.splitlines()
    assert changed == "entry 50: does not match its digest"
    assert missing.endswith(": missing")
    assert (aside / "journal.db").exists()
