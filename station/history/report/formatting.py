"""Formatting of values for the report page. Every result is safe as HTML text."""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from html import escape
from typing import Final

from station.history.report.clock_corrections import ms_to_datetime
from station.history.report.evse_condition import EvseState
from station.transcript.phrases import escape_control_characters

DIGITS_MAX: Final = 30  # of a number that is written in full
NO_VALUE: Final = '<span class="none">–</span>'

# state -> (name, letter used where the name does not fit)
STATE_LABELS: Final[dict[EvseState, tuple[str, str]]] = {
    "charging": ("Charging", "C"),
    "suspended": ("In use, no energy", "S"),
    "occupied": ("Occupied", "O"),
    "reserved": ("Reserved", "R"),
    "available": ("Available", "A"),
    "offline": ("Offline", "L"),
    "out_of_service": ("Out of service", "U"),
    "not_running": ("Not running", "X"),
    "faulted": ("Faulted", "F"),
}

_DURATION_UNITS: Final = ((86_400_000, "d", 3_600_000, "h"), (3_600_000, "h", 60_000, "min"),
                 (60_000, "min", 1_000, "s"))  # fmt: skip


def escape_text(value: object) -> str:
    """Any value as escaped text: it can control neither the page nor a terminal."""
    return escape(escape_control_characters(str(value)), quote=True)


def format_moment(moment_ms: int, *, exact: bool = False) -> str:
    """A time in UTC, to the second or the millisecond: 2026-03-01 12:00:05.

    The second is that of the clock, as `station why` prints it: 12:00:05.999 is 12:00:05.
    """
    at = ms_to_datetime(moment_ms if exact else moment_ms // 1_000 * 1_000)
    return f"{format_day(at)} {format_clock(at)}" + (
        f".{at.microsecond // 1000:03}" if exact else ""
    )


def format_clock(at: datetime) -> str:
    """The time of day: 12:00:05."""
    return f"{at:%H:%M:%S}"


def format_span(
    began_ms: int, began_entry: str, ended_ms: int | None, ended_seq: int | None
) -> str:
    """Start, with its entry as HTML, and end with its entry; without an end, "now"."""
    first = f"{format_moment(began_ms)} {began_entry} to "
    if ended_ms is None:
        return f"{first}now"
    end = format_moment(ended_ms)
    is_same_day = end.startswith(format_moment(began_ms)[:10])
    return f"{first}{end[11:] if is_same_day else end} {format_seq(ended_seq or 0)}"


def _round_ms(ms: int, unit_ms: int) -> int:
    return (ms + unit_ms // 2) // unit_ms * unit_ms


def format_day(at: datetime) -> str:
    """The date: 2026-03-01; four digits also before the year 1000."""
    return f"{at.year:04}-{at.month:02}-{at.day:02}"


def format_duration(ms: int) -> str:
    """The largest unit that fits and the next smaller one: 3 d 4 h; below a minute, seconds."""
    if ms >= 60_000:
        ms = _round_ms(ms, 1_000)
    for size, unit, smaller_size, smaller_unit in _DURATION_UNITS:
        if ms >= size:
            rest = ms % size // smaller_size
            return f"{ms // size:,} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    if ms % 1000 == 0:
        return f"{ms // 1000} s"
    return f"{ms} ms" if ms < 1000 else f"{Decimal(ms) / 1000:.1f} s"


def format_minutes(ms: int) -> str:
    """Minutes with two decimals."""
    return f"{(Decimal(ms) / 60_000).quantize(Decimal('0.01'), ROUND_HALF_UP):,}"


def format_seconds(ms: int) -> str:
    """Exact seconds."""
    return f"{Decimal(ms).scaleb(-3):,f}"


def format_percent(value: Decimal | None) -> str:
    return NO_VALUE if value is None else f"{value} %"


def format_decimal(value: Decimal | None) -> str:
    """All digits and trailing zeros, in groups of three; an absurd exponent is kept."""
    if value is None:
        return NO_VALUE
    return f"{value:,f}" if abs(value.adjusted()) <= DIGITS_MAX else escape_text(value)


def format_kwh(energy_wh: Decimal | None) -> str:
    """Wh as exact kWh."""
    return NO_VALUE if energy_wh is None else format_decimal(energy_wh.scaleb(-3))


def format_kilowatts(power_w: Decimal | int) -> str:
    """W as kW with at most two decimals."""
    if Decimal(power_w).adjusted() > DIGITS_MAX - 6:
        return escape_text(power_w)
    kw = (Decimal(power_w) / 1000).quantize(Decimal("0.01"), ROUND_HALF_UP).normalize()
    return f"{kw:,f}"


def format_seq(seq: int) -> str:
    """An entry number."""
    return f'<span class="seq">{seq}</span>' if seq else NO_VALUE


def shorten_id(identifier: str) -> str:
    """The beginning of a long id, with the whole id as its title."""
    if len(identifier) <= 12:
        return escape_text(identifier)
    return f'<abbr title="{escape_text(identifier)}">{escape_text(identifier[:8])}…</abbr>'
