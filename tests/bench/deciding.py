"""Processor time of one decided reading in a batch, and how it grows with the number of EVSEs."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import replace

from journal.observations import MeterRead
from station.core.context import Product
from station.core.decide_batch import TimedObservation, decide_batch
from station.core.device_model.model import DeviceModel
from station.profiles import load_profile
from tests.bench.measures import Row, Size, cpu_time_of
from tests.support.products import write_profile
from tests.support.story import (
    ALICE,
    BOB,
    BOOTED,
    CONFIGURED,
    IDLE,
    LINK_OPENED,
    Station,
    accept_everything,
    in_sequence,
    in_transaction,
    meter_read,
)

READING_US_MAX: Final = 40.0
EVSE_US_MAX: Final = 1.0
EVSES: Final = (2, 4)
BATCH: Final = 500
READING_MS: Final = 100  # between two readings
ENERGY_WH: Final = 5_000  # of the first reading


class _Head(NamedTuple):
    seq: int
    digest: bytes = bytes(32)


def measure_rows(directory: Path, size: Size) -> Iterator[Row]:
    """A station with two EVSEs, and how much more it takes with four."""
    taken_us: dict[int, list[float]] = {count: [] for count in EVSES}
    stations = {count: _charging_station(directory, count) for count in EVSES}
    for _ in range(size.rounds):
        for count, station in stations.items():
            taken_us[count].append(_decide_readings(station) * 1e6 / BATCH)
    few, many = EVSES
    reading = statistics.median(taken_us[few])
    details = f"a batch of {BATCH}; two EVSEs charge"
    yield Row("processor of one decided reading", reading, "us", READING_US_MAX, details=details)
    more = [
        (larger - smaller) / (many - few)
        for smaller, larger in zip(taken_us[few], taken_us[many], strict=True)
    ]
    yield Row("the same, for each further EVSE", statistics.median(more), "us", EVSE_US_MAX)


def _charging_station(directory: Path, evse_count: int) -> Station:
    profile = load_profile(str(write_profile(directory, evse_count)))
    station = Station(Product(profile, DeviceModel(profile)))
    booted = replace(BOOTED, evses=tuple((evse_id, (1,)) for evse_id in profile.evse_ids))
    online = in_sequence(CONFIGURED, booted, IDLE, LINK_OPENED)
    station.with_csms(accept_everything, online, in_transaction(1, ALICE), in_transaction(2, BOB))
    return station


def _decide_readings(station: Station) -> float:
    """Processor seconds of a batch of readings, which grow."""
    readings: list[MeterRead] = [meter_read(1, str(ENERGY_WH + number)) for number in range(BATCH)]
    queue = [
        TimedObservation(reading, station.host_at, station.uptime_ms + READING_MS * number)
        for number, reading in enumerate(readings)
    ]
    head = _Head(len(station.entries))

    def decide_all() -> None:
        decided = decide_batch(station.product, station.state, head, queue, count_max=BATCH)
        assert decided.decided_count == BATCH

    return cpu_time_of(decide_all)
