"""Fixtures of the command tests: a journal in the middle of a transaction, and a runner."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.fixtures_journals import StationCommand, write_journal
from tests.support.story import (
    ALICE,
    ONLINE,
    Station,
    cable_plugged,
    charging_started,
    given,
    meter_read,
    presented,
)


@pytest.fixture
def story() -> Station:
    """A station in a transaction, with every call confirmed."""
    return given(
        ONLINE,
        meter_read(1, "1000", voltage_v="389.2", current_a="0", power_w="0"),
        cable_plugged(1),
        presented(ALICE, evse_id=1),
        charging_started(1),
        meter_read(1, "2935.600", voltage_v="389.2", current_a="247.7", power_w="96400"),
    )


@pytest.fixture
def journal(story: Station, tmp_path: Path) -> Path:
    """The closed journal of that station."""
    return write_journal(tmp_path / "journal.db", story.entries)


@pytest.fixture
def run_station(capsys: pytest.CaptureFixture[str]) -> StationCommand:
    """Runs the command `station`."""
    return StationCommand(capsys)
