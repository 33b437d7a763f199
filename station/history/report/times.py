"""When did an entry really happen?

An entry holds the wall clock the station believed in and the uptime of its host. The wall clock is
believed from the moment the CSMS told it until the host's moved or the program began anew; around
that, uptime says how far away a moment was. A boot of the host in which nobody told the time is
believed as long as it fits between its neighbours; otherwise it is put right behind the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final

from journal.chain import Row
from journal.codec import UNDECODABLE, Registry, at_of
from journal.observations import ClockStepped, StationStarted
from journal.projections.clocks import ClockCorrected
from journal.terms import Entry

STEP_MIN_MS: Final = 1_000  # less is how a host's clock is slewed

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_TURNS: Final = frozenset(
    one.__name__ for one in (StationStarted, ClockStepped, ClockCorrected)
)  # where a stretch ends


def ms_of(at: datetime) -> int:
    """Milliseconds since 1970."""
    return (at - _EPOCH) // _MS


def at_ms(ms: int) -> datetime:
    """The moment, as a time; what lies beyond the calendar is its end."""
    try:
        return _EPOCH + ms * _MS
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if ms > 0 else datetime.min.replace(tzinfo=UTC)


@dataclass
class Stretch:
    """Entries whose wall clock and uptime ran side by side."""

    first: int  # entry
    boot: int  # counts the host's
    trusted: bool  # the CSMS had told the time
    at_first: int
    at_last: int
    uptime_first: int
    uptime_last: int
    base: int = 0  # moment at which uptime was 0

    @property
    def apart(self) -> int:
        """Between the two clocks, by the last entry."""
        return self.at_last - self.uptime_last

    @property
    def begins(self) -> int:
        return self.at_first if self.trusted else self.uptime_first + self.base

    @property
    def ends(self) -> int:
        return self.at_last if self.trusted else self.uptime_last + self.base


class Times:
    """The moments of a journal, in order; memory grows with the changes of the clock only.

    Attributes:
        first, last: moments of the first and the last entry.
        entries: the number of the last one; 0: there is none.
    """

    def __init__(self, stretches: list[Stretch], entries: int) -> None:
        _place(stretches)
        self._stretches = stretches
        self._place = 0
        self._latest = self.first = stretches[0].begins if stretches else 0
        self.last = max((one.ends for one in stretches), default=0)
        self.entries = entries

    def of(self, entry: Entry) -> int:
        """The moment of an entry, never before the one asked for last. Ask in order."""
        stretches = self._stretches
        while self._place + 1 < len(stretches) and stretches[self._place + 1].first <= entry.seq:
            self._place += 1
        stretch = stretches[self._place]
        moment = ms_of(entry.at) if stretch.trusted else entry.uptime_ms + stretch.base
        self._latest = max(self._latest, moment)
        return self._latest


def times_of(
    rows: Iterable[Row], registry: Registry, *, advance: Callable[[int], None] = lambda seq: None
) -> Times:
    """Read a journal's clock; `advance` hears how many entries are done."""
    clock, seq = _Clock(), 0
    for seq, at, uptime_ms, turn in _readable(rows, registry):
        clock.hears(seq, at, uptime_ms, turn)
        if seq % 4096 == 0:
            advance(seq)
    return Times(clock.stretches, seq)


class _Clock:
    """Cuts a journal where its wall clock moved against uptime."""

    def __init__(self) -> None:
        self.stretches: list[Stretch] = []
        self._boot_id = ""
        self._boots = 0
        self._trusted = False
        self._told_ms: int | None = None  # the CSMS told the time, and it is to move by so much

    def hears(self, seq: int, at: int, uptime_ms: int, turn: object | None) -> None:
        if self._turned(at - uptime_ms, turn):
            one = Stretch(seq, self._boots, self._trusted, at, at, uptime_ms, uptime_ms)
            self.stretches.append(one)
        last = self.stretches[-1]
        last.at_last, last.uptime_last = at, uptime_ms
        if isinstance(turn, ClockCorrected):
            self._told_ms = turn.step_ms

    def _turned(self, apart: int, turn: object | None) -> bool:
        """Whether a stretch begins. Entries of the commit that tells of a step may be on either
        side of it, so it is seen in the clocks themselves."""
        if isinstance(turn, StationStarted) or not self.stretches:
            name = turn.boot_id if isinstance(turn, StationStarted) else ""
            self._boots += name != self._boot_id
            self._boot_id, self._trusted, self._told_ms = name, False, None
            return True
        moved = apart - self.stretches[-1].apart
        if self._told_ms is not None and abs(moved - self._told_ms) < STEP_MIN_MS:
            before, self._trusted, self._told_ms = self._trusted, True, None
            return not before or abs(moved) >= STEP_MIN_MS
        if abs(moved) >= STEP_MIN_MS or isinstance(turn, ClockStepped):
            self._trusted = False
            return True
        return False


def _readable(
    rows: Iterable[Row], registry: Registry
) -> Iterator[tuple[int, int, int, object | None]]:
    for row in rows:
        try:
            turn = registry.readers[row.kind, row.version](row.body) if row.kind in _TURNS else None
            yield row.seq, ms_of(at_of(row.at)), int(row.uptime_ms), turn
        except UNDECODABLE:
            continue  # whoever walks the entries is told


# --- Placing -------------------------------------------------------------------------------------


def _place(stretches: list[Stretch]) -> None:
    """Give each stretch its base."""
    boots = [list(group) for _, group in groupby(stretches, key=lambda one: one.boot)]
    for boot in boots:
        for number, stretch in enumerate(boot):
            stretch.base = _base(boot, number)
    for number, boot in enumerate(boots):
        if not any(one.trusted for one in boot):
            _fit(boot, boots[:number], boots[number + 1 :])


def _base(boot: list[Stretch], number: int) -> int:
    """By the next stretch that can be trusted, the last one before, or the boot's last word."""
    after = next((one for one in boot[number:] if one.trusted), None)
    if after is not None:
        return after.at_first - after.uptime_first
    before = next((one for one in reversed(boot[:number]) if one.trusted), boot[-1])
    return before.apart


def _fit(boot: list[Stretch], before: list[list[Stretch]], after: list[list[Stretch]]) -> None:
    """A boot that fits between neither neighbour is put right behind the one before."""
    earliest = before[-1][-1].ends if before else None
    latest = next((one[0].begins for one in after if any(each.trusted for each in one)), None)
    early = earliest is not None and boot[0].begins < earliest
    late = latest is not None and boot[-1].ends > latest
    if not early and not late:
        return
    if earliest is not None:
        base = earliest - boot[0].uptime_first
    else:
        assert latest is not None, "only a neighbour can be missed"
        base = latest - boot[-1].uptime_last
    for one in boot:
        one.base = base
