"""How are figures written on the page? Everything here is safe to stand in HTML."""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from html import escape
from typing import Final

from station.history.report.condition import State
from station.history.report.times import at_ms
from station.sentences.words import printable

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
    """A moment in UTC: 2026-03-01 12:00:05."""
    return time(at_ms(ms), exact=exact)


def time(at: datetime, *, exact: bool = False) -> str:
    """The same of a time."""
    text = f"{at:%H:%M:%S}" + (f".{at.microsecond // 1000:03}" if exact else "")
    return f"{day(at)} {text}"


def day(at: datetime) -> str:
    """2026-03-01, also before the year 1000."""
    return f"{at.year:04}-{at.month:02}-{at.day:02}"


def duration(ms: int) -> str:
    """The largest unit that fits, and the next: 3 d 4 h; below a minute, seconds."""
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


def percent(value: Decimal | None) -> str:
    return NONE if value is None else f"{value} %"


def decimal(value: Decimal | None) -> str:
    """All its digits and zeros, in groups of three."""
    return NONE if value is None else f"{value:,f}"


def kwh(energy_wh: Decimal | None) -> str:
    """The same thousand times less, exactly."""
    return NONE if energy_wh is None else f"{energy_wh.scaleb(-3):,f}"


def kilowatts(power_w: Decimal | int) -> str:
    """A power for people: two digits behind the point at most."""
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
