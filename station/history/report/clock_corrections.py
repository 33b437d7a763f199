"""Corrected times of entries, for journals with a wrong wall clock.

An entry has the wall clock of the station and the uptime of its host. A journal is split into
periods in which both ran side by side: a period ends where the program starts, where the wall clock
steps by STEP_MIN_MS or more, and where the CSMS corrects it.

1. A period is trusted if the CSMS had set the clock in that run, until the host's clock steps or
   the program starts again. In a trusted period the corrected time is the wall clock.
2. In any other period of the same boot, uptime gives the distance to a trusted period: to the next
   one, else to the one before.
3. A boot without a trusted period keeps its wall clock if it fits between its neighbors. If not, it
   is placed directly after the boot before it (or before the next, if it is the first).
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

STEP_MIN_MS: Final = 1_000  # smaller changes are normal slewing of the host's clock

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_CLOCK_EVENTS: Final = frozenset(
    kind.__name__ for kind in (StationStarted, ClockStepped, ClockCorrected)
)  # a period can end there


def datetime_to_ms(at: datetime) -> int:
    """Milliseconds since 1970."""
    return (at - _EPOCH) // _MS


def ms_to_datetime(ms: int) -> datetime:
    """The time of these milliseconds, limited to the calendar."""
    try:
        return _EPOCH + ms * _MS
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if ms > 0 else datetime.min.replace(tzinfo=UTC)


@dataclass
class ClockPeriod:
    """Consecutive entries in which wall clock and uptime ran side by side."""

    first_seq: int
    boot_number: int  # of the host, from 1
    is_trusted: bool  # the CSMS had set the clock
    first_at_ms: int
    last_at_ms: int
    first_uptime_ms: int
    last_uptime_ms: int
    base_ms: int = 0  # corrected time at which uptime was 0

    @property
    def offset_ms(self) -> int:
        """Wall clock minus uptime at the last entry."""
        return self.last_at_ms - self.last_uptime_ms

    @property
    def begin_ms(self) -> int:
        return self.first_at_ms if self.is_trusted else self.first_uptime_ms + self.base_ms

    @property
    def end_ms(self) -> int:
        return self.last_at_ms if self.is_trusted else self.last_uptime_ms + self.base_ms


class CorrectedTimes:
    """Corrected times of a journal. Memory depends on the number of clock changes only.

    Attributes:
        first_ms, last_ms: corrected times of the first and the last entry.
        last_seq: number of the last entry; 0: no entries.
    """

    def __init__(self, periods: list[ClockPeriod], last_seq: int) -> None:
        _place_periods(periods)
        self._periods = periods
        self._period_index = 0
        self._latest_ms = self.first_ms = periods[0].begin_ms if periods else 0
        self.last_ms = max((period.end_ms for period in periods), default=0)
        self.last_seq = last_seq

    def moment_ms(self, entry: Entry) -> int:
        """Corrected time of an entry, not before that of the entry before. Call it in order."""
        periods = self._periods
        while (
            self._period_index + 1 < len(periods)
            and periods[self._period_index + 1].first_seq <= entry.seq
        ):
            self._period_index += 1
        period = periods[self._period_index]
        moment = datetime_to_ms(entry.at) if period.is_trusted else entry.uptime_ms + period.base_ms
        self._latest_ms = max(self._latest_ms, moment)
        return self._latest_ms


def read_corrected_times(
    rows: Iterable[EntryRow],
    registry: Registry,
    *,
    on_progress: Callable[[int], None] = lambda seq: None,
) -> CorrectedTimes:
    """Read the clock of a journal. `on_progress` is called with the last entry read."""
    clock, seq = _ClockReader(), 0
    for seq, at_ms, uptime_ms, clock_event in _decode_rows(rows, registry):
        clock.apply(seq, at_ms, uptime_ms, clock_event)
        if seq % 4096 == 0:
            on_progress(seq)
    return CorrectedTimes(clock.periods, seq)


class _ClockReader:
    """Splits a journal where its wall clock changed against uptime."""

    def __init__(self) -> None:
        self.periods: list[ClockPeriod] = []
        self._boot_id = ""
        self._boot_count = 0
        self._is_trusted = False
        self._announced_step_ms: int | None = None  # of a correction by the CSMS, not seen yet

    def apply(self, seq: int, at_ms: int, uptime_ms: int, clock_event: object | None) -> None:
        if self._starts_period(at_ms - uptime_ms, clock_event):
            period = ClockPeriod(
                seq, self._boot_count, self._is_trusted, at_ms, at_ms, uptime_ms, uptime_ms
            )
            self.periods.append(period)
        last = self.periods[-1]
        last.last_at_ms, last.last_uptime_ms = at_ms, uptime_ms
        if isinstance(clock_event, ClockCorrected):
            self._announced_step_ms = clock_event.step_ms

    def _starts_period(self, offset_ms: int, clock_event: object | None) -> bool:
        """Whether a period begins here.

        The entries of the commit with a correction can have the time before or after it, so the
        step is found by comparing the clocks.
        """
        if isinstance(clock_event, StationStarted) or not self.periods:
            boot_id = clock_event.boot_id if isinstance(clock_event, StationStarted) else ""
            self._boot_count += boot_id != self._boot_id
            self._boot_id, self._is_trusted, self._announced_step_ms = boot_id, False, None
            return True
        step_ms = offset_ms - self.periods[-1].offset_ms
        if (
            self._announced_step_ms is not None
            and abs(step_ms - self._announced_step_ms) < STEP_MIN_MS
        ):
            was_trusted, self._is_trusted, self._announced_step_ms = self._is_trusted, True, None
            return not was_trusted or abs(step_ms) >= STEP_MIN_MS
        if abs(step_ms) >= STEP_MIN_MS or isinstance(clock_event, ClockStepped):
            self._is_trusted = False
            return True
        return False


def _decode_rows(
    rows: Iterable[EntryRow], registry: Registry
) -> Iterator[tuple[int, int, int, object | None]]:
    for row in rows:
        try:
            clock_event = (
                registry.decoders[row.kind, row.version](row.body)
                if row.kind in _CLOCK_EVENTS
                else None
            )
            yield row.seq, datetime_to_ms(parse_time(row.at)), int(row.uptime_ms), clock_event
        except DECODE_ERRORS:
            continue  # the second pass reports it


# --- Placing -------------------------------------------------------------------------------------


def _place_periods(periods: list[ClockPeriod]) -> None:
    """Compute `base_ms` of each period."""
    boots = [list(group) for _, group in groupby(periods, key=lambda period: period.boot_number)]
    for boot in boots:
        for number, period in enumerate(boot):
            period.base_ms = _find_base_ms(boot, number)
    for number, boot in enumerate(boots):
        if not any(period.is_trusted for period in boot):
            _fit_boot(boot, boots[:number], boots[number + 1 :])


def _find_base_ms(periods: list[ClockPeriod], number: int) -> int:
    """By the next trusted period of the boot, the last one before, or the last period."""
    after = next((period for period in periods[number:] if period.is_trusted), None)
    if after is not None:
        return after.first_at_ms - after.first_uptime_ms
    before = next(
        (period for period in reversed(periods[:number]) if period.is_trusted), periods[-1]
    )
    return before.offset_ms


def _fit_boot(
    periods: list[ClockPeriod], before: list[list[ClockPeriod]], after: list[list[ClockPeriod]]
) -> None:
    """Place a boot that does not fit between its neighbors directly after the one before."""
    earliest = before[-1][-1].end_ms if before else None
    latest = next(
        (boot[0].begin_ms for boot in after if any(period.is_trusted for period in boot)), None
    )
    is_early = earliest is not None and periods[0].begin_ms < earliest
    is_late = latest is not None and periods[-1].end_ms > latest
    if not is_early and not is_late:
        return
    if earliest is not None:
        base_ms = earliest - periods[0].first_uptime_ms
    else:
        assert latest is not None, "a boot without neighbors always fits"
        base_ms = latest - periods[-1].last_uptime_ms
    for period in periods:
        period.base_ms = base_ms
