"""Corrected times of entries under every kind of wrong clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from journal.codec import format_time
from journal.events import Entry, Event
from journal.format.hash_chain import EntryRow
from journal.observations import ClockStepped, FrameSent, StationStarted
from journal.projections.clock import ClockCorrected
from station.history.report.clock_corrections import (
    CorrectedTimes,
    datetime_to_ms,
    ms_to_datetime,
    read_corrected_times,
)
from station.runtime.loop.startup import event_registry
from tests.support.story import BOOTED, NOON

REGISTRY = event_registry()
START = datetime_to_ms(NOON)
SENT = FrameSent("message")
SYNCED = ClockCorrected(0, 0, "BootNotification")


def station_started(name: str = "boot-1") -> StationStarted:
    return StationStarted(name, "0.1.0", "development", "CS001", BOOTED.evses, None, None)


def make_entries(*rows: tuple[int, int, Event]) -> list[Entry]:
    """Entries of (wall clock in ms from NOON, uptime in ms, event)."""
    return [
        Entry(seq, NOON + timedelta(milliseconds=at), uptime_ms, event)
        for seq, (at, uptime_ms, event) in enumerate(rows, 1)
    ]


def read_times(entries: list[Entry]) -> CorrectedTimes:
    def rows() -> Iterator[EntryRow]:
        for entry in entries:
            kind, version, body = REGISTRY.encode(entry.event)
            row = (
                entry.seq,
                format_time(entry.at),
                entry.uptime_ms,
                kind,
                version,
                entry.cause,
                body,
                b"",
            )
            yield EntryRow(*row)

    return read_corrected_times(rows(), REGISTRY)


def true_times_ms(*rows: tuple[int, int, Event]) -> list[int]:
    """Corrected time of each entry, in ms from NOON."""
    entries = make_entries(*rows)
    times = read_times(entries)
    return [times.moment_ms(entry) - START for entry in entries]


def test_a_synchronized_clock_is_trusted() -> None:
    moments_ms = true_times_ms(
        (0, 500, station_started()), (10, 510, SYNCED), (20, 520, SENT), (5_000, 5_500, SENT)
    )
    assert moments_ms == [0, 10, 20, 5_000]


def test_entries_before_the_first_synchronization_are_corrected_by_uptime() -> None:
    year = 365 * 86_400_000
    moments_ms = true_times_ms(
        (-year, 500, station_started()),
        (-year + 100, 600, ClockCorrected(year, year, "BootNotification")),
        (-year + 100, 600, SENT),  # of the same commit: its time was taken before
        (2_000, 2_500, SENT),
    )
    assert moments_ms == [0, 100, 100, 2_000]


def test_a_step_of_the_hosts_clock_changes_no_corrected_time() -> None:
    hour = 3_600_000
    moments_ms = true_times_ms(
        (0, 500, station_started()),
        (10, 510, SYNCED),
        (1_000, 1_500, SENT),
        (2_000 + hour, 2_500, SENT),  # in the same commit as the step
        (2_000 + hour, 2_500, ClockStepped(hour)),
        (3_000 + hour, 3_500, ClockCorrected(-hour, -hour, "Heartbeat")),
        (4_000, 4_500, SENT),
    )
    assert moments_ms == [0, 10, 1_000, 2_000, 2_000, 3_000, 4_000]


def test_after_an_uncorrected_step_uptime_counts_from_the_last_trusted_time() -> None:
    moments_ms = true_times_ms(
        (0, 500, station_started()),
        (10, 510, SYNCED),
        (1_000, 1_500, SENT),
        (-9_000_000, 2_500, ClockStepped(-9_002_000)),
        (-8_999_000, 3_500, SENT),
    )
    assert moments_ms == [0, 10, 1_000, 2_000, 3_000]


def test_a_boot_with_a_clock_in_the_past_is_placed_after_the_boot_before() -> None:
    ages = -50 * 365 * 86_400_000
    moments_ms = true_times_ms(
        (0, 500, station_started()),
        (10, 510, SYNCED),
        (1_000, 1_500, SENT),
        (ages, 100, station_started("boot-2")),
        (ages + 5_000, 5_100, SENT),
        (60_000, 200, station_started("boot-3")),
        (60_010, 210, SYNCED),
        (61_000, 1_200, SENT),
    )
    assert moments_ms == [0, 10, 1_000, 1_000, 6_000, 60_000, 60_010, 61_000]


def test_a_boot_with_a_clock_in_the_future_does_not_shift_later_boots() -> None:
    ages = 80 * 365 * 86_400_000
    moments_ms = true_times_ms(
        (ages, 100, station_started()),
        (ages + 5_000, 5_100, SENT),
        (60_000, 200, station_started("boot-2")),
        (60_010, 210, SYNCED),
        (61_000, 1_200, SENT),
    )
    assert moments_ms == [55_000, 60_000, 60_000, 60_010, 61_000]


def test_without_a_synchronization_the_hosts_last_clock_counts() -> None:
    moments_ms = true_times_ms(
        (-7_000_000, 500, station_started()), (1_000, 1_500, ClockStepped(7_000_000))
    )
    assert moments_ms == [0, 1_000]


def test_corrected_times_never_run_backwards() -> None:
    moments_ms = true_times_ms(
        (0, 500, station_started()),
        (10, 510, SYNCED),
        (9_000, 9_500, ClockCorrected(-2_000, -2_000, "Heartbeat")),
        (8_000, 10_500, SENT),
        (9_500, 12_000, SENT),
    )
    assert moments_ms == [0, 10, 9_000, 9_000, 9_500]


def test_times_beyond_the_calendar_are_limited_to_its_end() -> None:
    assert ms_to_datetime(10**18).year == 9999
    assert ms_to_datetime(-(10**18)).year == 1
