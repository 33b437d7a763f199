"""Bounds of what the station writes; `make growth` prints the figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from journal.maintenance.verify import verify
from station.simulation.experiments.growth import (
    ArchiveResult,
    GrowthSample,
    archive_journal,
    charging_day,
    format_report,
    measure_charging,
    measure_idle,
)

ENTRIES_MAX = 1_500  # of an hour's charging at one EVSE: a reading every 10 s, and the heartbeat
JOURNAL_MAX = 500_000  # bytes of an hour's charging
WRITTEN_MAX = 12_000_000  # bytes of an hour's charging, where the directory is on a disk
RATIO_MIN = 8


@pytest.fixture(scope="module")
def charging_hour(tmp_path_factory: pytest.TempPathFactory) -> tuple[GrowthSample, Path]:
    directory = tmp_path_factory.mktemp("charging")
    return measure_charging(directory, hours=0.5), directory


def test_an_hour_of_charging_has_a_bound_p6(charging_hour: tuple[GrowthSample, Path]) -> None:
    hour = charging_hour[0].scaled_to(1)
    assert 360 < hour.entries < ENTRIES_MAX, "fewer entries mean that nothing was charged"
    assert 0 < hour.journal_bytes < JOURNAL_MAX
    assert hour.written_bytes < WRITTEN_MAX


def test_an_idle_station_writes_little_p6(
    charging_hour: tuple[GrowthSample, Path], tmp_path: Path
) -> None:
    idle = measure_idle(tmp_path, hours=1)
    assert 0 < idle.entries < charging_hour[0].scaled_to(1).entries / 5
    assert idle.journal_bytes < charging_hour[0].scaled_to(1).journal_bytes


def test_the_archive_takes_an_eighth_or_less_p6(charging_hour: tuple[GrowthSample, Path]) -> None:
    archived = archive_journal(charging_hour[1])
    assert archived.entries > 100
    assert archived.compression_ratio > RATIO_MIN
    [journal] = charging_hour[1].rglob("journal.db")
    assert list(verify(journal)) == []


def test_a_charging_day_is_the_idle_day_plus_the_charging_hours() -> None:
    idle = GrowthSample(24, 240, 24_000, 2_400_000)
    charging = GrowthSample(1, 110, 11_000, 1_100_000)
    assert charging_day(idle, charging, 2) == GrowthSample(24, 440, 44_000, 4_400_000)
    table = format_report(idle, charging, ArchiveResult(1000, 300_000, 25_000, 600_000))
    assert table[2] == "| hour of charging, one EVSE | 110 | 11 kB | 3 kB | 1.2 MB |  |"
    assert "a 12th" in table[-1]
