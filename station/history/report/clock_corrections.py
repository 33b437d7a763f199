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

from journal.codec import DECODE_ERRORS, Registry, parse_time
from journal.events import Entry
from journal.format.hash_chain import EntryRow
from journal.observations import ClockStepped, StationStarted
from journal.projections.clock import ClockCorrected

STEP_MIN_MS: Final = 1_000  # less is how a host's clock is slewed

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_CLOCK_EVENTS: Final = frozenset(
    one.__name__ for one in (StationStarted, ClockStepped, ClockCorrected)
)  # where a stretch ends


def datetime_to_ms(at: datetime) -> int:
    """Milliseconds since 1970."""
    return (at - _EPOCH) // _MS


def ms_to_datetime(ms: int) -> datetime:
    """The moment, as a time; what lies beyond the calendar is its end."""
    try:
        return _EPOCH + ms * _MS
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if ms > 0 else datetime.min.replace(tzinfo=UTC)


@dataclass
class ClockPeriod:
    """Entries whose wall clock and uptime ran side by side."""

    first_seq: int  # entry
    boot_number: int  # counts the host's
    is_trusted: bool  # the CSMS had told the time
    first_at_ms: int
    last_at_ms: int
    first_uptime_ms: int
    last_uptime_ms: int
    base_ms: int = 0  # moment at which uptime was 0

    @property
    def offset_ms(self) -> int:
        """Between the two clocks, by the last entry."""
        return self.last_at_ms - self.last_uptime_ms

    @property
    def begin_ms(self) -> int:
        return self.first_at_ms if self.is_trusted else self.first_uptime_ms + self.base_ms

    @property
    def end_ms(self) -> int:
        return self.last_at_ms if self.is_trusted else self.last_uptime_ms + self.base_ms


class CorrectedTimes:
    """The moments of a journal, in order; memory grows with the changes of the clock only.

    Attributes:
        first, last: moments of the first and the last entry.
        entries: the number of the last one; 0: there is none.
    """

    def __init__(self, periods: list[ClockPeriod], last_seq: int) -> None:
        _place_periods(periods)
        self._periods = periods
        self._period_index = 0
        self._latest_ms = self.first_ms = periods[0].begin_ms if periods else 0
        self.last_ms = max((one.end_ms for one in periods), default=0)
        self.last_seq = last_seq

    def moment_ms(self, entry: Entry) -> int:
        """The moment of an entry, never before the one asked for last. Ask in order."""
        stretches = self._periods
        while (
            self._period_index + 1 < len(stretches)
            and stretches[self._period_index + 1].first_seq <= entry.seq
        ):
            self._period_index += 1
        stretch = stretches[self._period_index]
        moment = (
            datetime_to_ms(entry.at) if stretch.is_trusted else entry.uptime_ms + stretch.base_ms
        )
        self._latest_ms = max(self._latest_ms, moment)
        return self._latest_ms


def read_corrected_times(
    rows: Iterable[EntryRow],
    registry: Registry,
    *,
    on_progress: Callable[[int], None] = lambda seq: None,
) -> CorrectedTimes:
    """Read a journal's clock; `advance` hears how many entries are done."""
    clock, seq = _ClockReader(), 0
    for seq, at, uptime_ms, turn in _decode_rows(rows, registry):
        clock.apply(seq, at, uptime_ms, turn)
        if seq % 4096 == 0:
            on_progress(seq)
    return CorrectedTimes(clock.periods, seq)


class _ClockReader:
    """Cuts a journal where its wall clock moved against uptime."""

    def __init__(self) -> None:
        self.periods: list[ClockPeriod] = []
        self._boot_id = ""
        self._boot_count = 0
        self._is_trusted = False
        self._announced_step_ms: int | None = (
            None  # the CSMS told the time, and it is to move by so much
        )

    def apply(self, seq: int, at_ms: int, uptime_ms: int, clock_event: object | None) -> None:
        if self._starts_period(at_ms - uptime_ms, clock_event):
            one = ClockPeriod(
                seq, self._boot_count, self._is_trusted, at_ms, at_ms, uptime_ms, uptime_ms
            )
            self.periods.append(one)
        last = self.periods[-1]
        last.last_at_ms, last.last_uptime_ms = at_ms, uptime_ms
        if isinstance(clock_event, ClockCorrected):
            self._announced_step_ms = clock_event.step_ms

    def _starts_period(self, offset_ms: int, clock_event: object | None) -> bool:
        """Whether a stretch begins. Entries of the commit that tells of a step may be on either
        side of it, so it is seen in the clocks themselves."""
        if isinstance(clock_event, StationStarted) or not self.periods:
            name = clock_event.boot_id if isinstance(clock_event, StationStarted) else ""
            self._boot_count += name != self._boot_id
            self._boot_id, self._is_trusted, self._announced_step_ms = name, False, None
            return True
        moved = offset_ms - self.periods[-1].offset_ms
        if (
            self._announced_step_ms is not None
            and abs(moved - self._announced_step_ms) < STEP_MIN_MS
        ):
            before, self._is_trusted, self._announced_step_ms = self._is_trusted, True, None
            return not before or abs(moved) >= STEP_MIN_MS
        if abs(moved) >= STEP_MIN_MS or isinstance(clock_event, ClockStepped):
            self._is_trusted = False
            return True
        return False


def _decode_rows(
    rows: Iterable[EntryRow], registry: Registry
) -> Iterator[tuple[int, int, int, object | None]]:
    for row in rows:
        try:
            turn = (
                registry.decoders[row.kind, row.version](row.body)
                if row.kind in _CLOCK_EVENTS
                else None
            )
            yield row.seq, datetime_to_ms(parse_time(row.at)), int(row.uptime_ms), turn
        except DECODE_ERRORS:
            continue  # whoever walks the entries is told


# --- Placing -------------------------------------------------------------------------------------


def _place_periods(periods: list[ClockPeriod]) -> None:
    """Give each stretch its base."""
    boots = [list(group) for _, group in groupby(periods, key=lambda one: one.boot_number)]
    for boot in boots:
        for number, stretch in enumerate(boot):
            stretch.base_ms = _find_base_ms(boot, number)
    for number, boot in enumerate(boots):
        if not any(one.is_trusted for one in boot):
            _fit_boot(boot, boots[:number], boots[number + 1 :])


def _find_base_ms(periods: list[ClockPeriod], number: int) -> int:
    """By the next stretch that can be trusted, the last one before, or the boot's last word."""
    after = next((one for one in periods[number:] if one.is_trusted), None)
    if after is not None:
        return after.first_at_ms - after.first_uptime_ms
    before = next((one for one in reversed(periods[:number]) if one.is_trusted), periods[-1])
    return before.offset_ms


def _fit_boot(
    periods: list[ClockPeriod], before: list[list[ClockPeriod]], after: list[list[ClockPeriod]]
) -> None:
    """A boot that fits between neither neighbour is put right behind the one before."""
    earliest = before[-1][-1].end_ms if before else None
    latest = next((one[0].begin_ms for one in after if any(each.is_trusted for each in one)), None)
    early = earliest is not None and periods[0].begin_ms < earliest
    late = latest is not None and periods[-1].end_ms > latest
    if not early and not late:
        return
    if earliest is not None:
        base = earliest - periods[0].first_uptime_ms
    else:
        assert latest is not None, "only a neighbour can be missed"
        base = latest - periods[-1].last_uptime_ms
    for one in periods:
        one.base_ms = base
