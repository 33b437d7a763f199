"""How are figures written on the page? Everything here is safe to stand in HTML."""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from html import escape
from typing import Final

from station.history.report.condition import State
from station.history.report.times import at_ms
from station.sentences.words import printable

DIGITS_MAX: Final = 30  # of a number that is written out
NONE: Final = '<span class="none">–</span>'

# What an EVSE is, as it is told, and the letter where a band has no room for more.
STATES: Final[dict[State, tuple[str, str]]] = {
    "charging": ("Charging", "C"),
    "waiting": ("In use, no energy", "W"),
    "occupied": ("Occupied", "O"),
    "available": ("Available", "A"),
    "offline": ("Offline", "L"),
    "closed": ("Out of service", "S"),
    "down": ("Not running", "X"),
    "faulted": ("Faulted", "F"),
}

_UNITS: Final = ((86_400_000, "d", 3_600_000, "h"), (3_600_000, "h", 60_000, "min"),
                 (60_000, "min", 1_000, "s"))  # fmt: skip


def text(what: object) -> str:
    """Anything at all, as harmless text: what a CSMS sent must steer neither page nor reader."""
    return escape(printable(str(what)), quote=True)


def moment(ms: int, *, exact: bool = False) -> str:
    """A moment in UTC, to the second or the millisecond: 2026-03-01 12:00:05."""
    at = at_ms(ms if exact else _rounded(ms, 1_000))
    return f"{day(at)} {clock(at)}" + (f".{at.microsecond // 1000:03}" if exact else "")


def clock(at: datetime) -> str:
    """12:00:05."""
    return f"{at:%H:%M:%S}"


def span(began: int, began_seq: int, ended: int | None, ended_seq: int | None) -> str:
    """From when to when, each with the entry that shows it; None: it goes on."""
    first = f"{moment(began)} {entry(began_seq)} to "
    if ended is None:
        return f"{first}now"
    whole = moment(ended)
    same_day = whole.startswith(moment(began)[:10])
    return f"{first}{whole[11:] if same_day else whole} {entry(ended_seq or 0)}"


def _rounded(ms: int, unit: int) -> int:
    return (ms + unit // 2) // unit * unit


def day(at: datetime) -> str:
    """2026-03-01, also before the year 1000."""
    return f"{at.year:04}-{at.month:02}-{at.day:02}"


def duration(ms: int) -> str:
    """The largest unit that fits, and the next: 3 d 4 h; below a minute, seconds."""
    if ms >= 60_000:
        ms = _rounded(ms, 1_000)
    for size, unit, smaller, its in _UNITS:
        if ms >= size:
            rest = ms % size // smaller
            return f"{ms // size:,} {unit}" + (f" {rest} {its}" if rest else "")
    if ms % 1000 == 0:
        return f"{ms // 1000} s"
    return f"{ms} ms" if ms < 1000 else f"{Decimal(ms) / 1000:.1f} s"


def minutes(ms: int) -> str:
    """To a hundredth."""
    return f"{(Decimal(ms) / 60_000).quantize(Decimal('0.01'), ROUND_HALF_UP):,}"


def seconds(ms: int) -> str:
    """Exactly."""
    return f"{Decimal(ms).scaleb(-3):,f}"


def percent(value: Decimal | None) -> str:
    return NONE if value is None else f"{value} %"


def decimal(value: Decimal | None) -> str:
    """All its digits and zeros, in groups of three; what no meter gives, as it was written."""
    if value is None:
        return NONE
    return f"{value:,f}" if abs(value.adjusted()) <= DIGITS_MAX else text(value)


def kwh(energy_wh: Decimal | None) -> str:
    """The same thousand times less, exactly."""
    return NONE if energy_wh is None else decimal(energy_wh.scaleb(-3))


def kilowatts(power_w: Decimal | int) -> str:
    """A power for people: two digits behind the point at most."""
    if Decimal(power_w).adjusted() > DIGITS_MAX - 6:
        return text(power_w)
    kw = (Decimal(power_w) / 1000).quantize(Decimal("0.01"), ROUND_HALF_UP).normalize()
    return f"{kw:,f}"


def entry(seq: int) -> str:
    """An entry number, to be looked up with `station replay` or `why`."""
    return f'<span class="seq">{seq}</span>' if seq else NONE


def short(name: str) -> str:
    """The beginning of a long id, the whole of it at hand."""
    if len(name) <= 12:
        return text(name)
    return f'<abbr title="{text(name)}">{text(name[:8])}…</abbr>'
