"""Contents of the timeline of an EVSE, in cells.

The range is divided into rows of equal length, each with ROW_CELLS cells. A cell keeps the worst
state, the highest power, the lowest limit and the last state of charge within its time. So a fault
is visible however long the range is, and memory does not depend on the range.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeVar

from station.history.report.clock_corrections import datetime_to_ms, ms_to_datetime
from station.history.report.evse_condition import EvseState

ROW_CELLS: Final = 1000  # cells of a row; a cell is one unit of the drawing
ROWS_MAX: Final = 14
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
SINGLE_ROW_MAX_MS: Final = 30 * HOUR_MS  # up to this length one row is used
ROW_LENGTHS_MS: Final = (DAY_MS, 7 * DAY_MS, 28 * DAY_MS, 364 * DAY_MS)
_FIRST_MONDAY_MS: Final = 4 * DAY_MS  # 1970-01-05: weeks begin on Monday

STATES_BY_SEVERITY: Final[tuple[EvseState, ...]] = (
    "none",
    "available",
    "reserved",
    "occupied",
    "suspended",
    "charging",
    "offline",
    "out_of_service",
    "not_running",
    "faulted",
)
READING_HOLD_MAX_MS: Final = (
    900_000  # readings are recorded more often than this while energy flows
)

Level = TypeVar("Level")
MarkKind = Literal["fault", "other_fault", "clock", "start"]
MARK_CELLS: Final = 8  # closer marks of one kind are merged
LIMIT_SOURCES_MAX: Final = 20  # that are listed for an EVSE


class Grid(NamedTuple):
    """Position and length of the rows, in milliseconds."""

    since_ms: int
    until_ms: int
    origin_ms: int
    row_ms: int
    rows: int

    def find_cell(self, moment_ms: int) -> int:
        return (moment_ms - self.origin_ms) * ROW_CELLS // self.row_ms

    def find_end_cell(self, moment_ms: int) -> int:
        """The first cell after a period that ends at this time."""
        return -((self.origin_ms - moment_ms) * ROW_CELLS // self.row_ms)

    def row_start_ms(self, row: int) -> int:
        return self.origin_ms + row * self.row_ms


def create_grid(since_ms: int, until_ms: int) -> Grid:
    """Rows of a day, a week, 4 or 52 weeks, as many as needed; a short range is one row."""
    length = max(until_ms - since_ms, 1)
    if length <= SINGLE_ROW_MAX_MS:
        return Grid(since_ms, until_ms, since_ms, length, 1)
    for row_ms in ROW_LENGTHS_MS:
        origin = (since_ms - _FIRST_MONDAY_MS) // row_ms * row_ms + _FIRST_MONDAY_MS
        rows = -(-(until_ms - origin) // row_ms)
        if rows <= ROWS_MAX:
            return Grid(since_ms, until_ms, origin, row_ms, rows)
    row_ms = -(-length // (ROWS_MAX - 1) // DAY_MS) * DAY_MS
    origin = datetime_to_ms(
        ms_to_datetime(since_ms).replace(hour=0, minute=0, second=0, microsecond=0)
    )
    return Grid(since_ms, until_ms, origin, row_ms, -(-(until_ms - origin) // row_ms))


class Mark(NamedTuple):
    """An event at a time, or several of one kind that are too close to be drawn separately."""

    kind: MarkKind
    moment_ms: int  # of the first
    text: str
    occurrences: int


class TimelineLimit(NamedTuple):
    """A power limit in force, and its source."""

    limit_w: int
    source: str  # profile or external source: `TxProfile 12, stack level 3`
    seq: int  # entry that installed or reported it


@dataclass
class LimitSource:
    """The limits of one source within the range."""

    source: str
    lowest_w: int
    highest_w: int
    duration_ms: int
    last_seq: int


class CellRun(NamedTuple):
    """Consecutive cells of a row with the same value."""

    first_cell: int
    end_cell: int
    value: str


class EvseTimeline:
    """Cells and marks of one EVSE."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        size = grid.rows * ROW_CELLS
        self._state_levels = bytearray(size)
        self._link_levels = bytearray(size)  # 0: unknown, 1: up, 2: down
        self._power_w: list[int] = [-1] * size
        self._soc_percent: list[int] = [-1] * size
        self._limits: list[TimelineLimit | None] = [None] * size
        self._limit_sources: dict[str, LimitSource] = {}
        self.unlisted_limits_ms = 0  # in force by sources beyond LIMIT_SOURCES_MAX
        self._marks: dict[tuple[MarkKind, int], Mark] = {}

    # --- Filling ---------------------------------------------------------------------------------

    def add_state(self, began_ms: int, ended_ms: int, state: EvseState) -> None:
        self._raise_level(self._state_levels, began_ms, ended_ms, STATES_BY_SEVERITY.index(state))

    def add_link(self, began_ms: int, ended_ms: int, is_up: bool) -> None:
        self._raise_level(self._link_levels, began_ms, ended_ms, 1 if is_up else 2)

    def add_power(self, began_ms: int, ended_ms: int, power_w: int) -> None:
        """Power from one reading to the next."""
        for cell in self._cell_range(began_ms, min(ended_ms, began_ms + READING_HOLD_MAX_MS)):
            self._power_w[cell] = max(self._power_w[cell], power_w)

    def add_soc(self, began_ms: int, ended_ms: int, percent: int) -> None:
        for cell in self._cell_range(began_ms, min(ended_ms, began_ms + READING_HOLD_MAX_MS)):
            self._soc_percent[cell] = percent

    def add_limit(self, began_ms: int, ended_ms: int, limit: TimelineLimit) -> None:
        """A limit in force."""
        for cell in self._cell_range(began_ms, ended_ms):
            present = self._limits[cell]
            if present is None or limit.limit_w < present.limit_w:
                self._limits[cell] = limit
        duration_ms = min(ended_ms, self.grid.until_ms) - max(began_ms, self.grid.since_ms)
        if duration_ms > 0:
            self._count_limit(limit, duration_ms)

    def _count_limit(self, limit: TimelineLimit, duration_ms: int) -> None:
        counted = self._limit_sources.get(limit.source)
        if counted is None:
            if len(self._limit_sources) >= LIMIT_SOURCES_MAX:
                self.unlisted_limits_ms += duration_ms
                return
            counted = LimitSource(limit.source, limit.limit_w, limit.limit_w, 0, limit.seq)
            self._limit_sources[limit.source] = counted
        counted.lowest_w = min(counted.lowest_w, limit.limit_w)
        counted.highest_w = max(counted.highest_w, limit.limit_w)
        counted.duration_ms += duration_ms
        counted.last_seq = limit.seq

    def add_mark(self, kind: MarkKind, moment_ms: int, text: str) -> None:
        if not self.grid.since_ms <= moment_ms <= self.grid.until_ms:
            return
        key = (
            kind,
            min(self.grid.find_cell(moment_ms), len(self._state_levels) - 1) // MARK_CELLS,
        )
        first = self._marks.get(key) or Mark(kind, moment_ms, text, 0)
        self._marks[key] = first._replace(occurrences=first.occurrences + 1)

    def _cell_range(self, began_ms: int, ended_ms: int) -> range:
        began_ms, ended_ms = max(began_ms, self.grid.since_ms), min(ended_ms, self.grid.until_ms)
        if began_ms >= ended_ms:
            return range(0)
        return range(self.grid.find_cell(began_ms), self.grid.find_end_cell(ended_ms))

    def _raise_level(self, levels: bytearray, began_ms: int, ended_ms: int, level: int) -> None:
        for cell in self._cell_range(began_ms, ended_ms):
            if levels[cell] < level:
                levels[cell] = level

    # --- Reading ---------------------------------------------------------------------------------

    def state_runs(self, row: int) -> Iterator[CellRun]:
        """Runs of equal states."""
        for first, end, level in _split_runs(self._state_levels, row):
            if level:
                yield CellRun(first, end, STATES_BY_SEVERITY[level])

    def link_runs(self, row: int) -> Iterator[CellRun]:
        for first, end, level in _split_runs(self._link_levels, row):
            if level:
                yield CellRun(first, end, "up" if level == 1 else "down")

    def power_runs(self, row: int) -> list[tuple[int, int, int]]:
        """(first cell, end, W), where there is a reading."""
        return [run for run in _split_runs(self._power_w, row) if run[2] >= 0]

    def soc_runs(self, row: int) -> list[tuple[int, int, int]]:
        """(first cell, end, %), where there is a reading."""
        return [run for run in _split_runs(self._soc_percent, row) if run[2] >= 0]

    def limit_runs(self, row: int) -> list[tuple[int, int, TimelineLimit]]:
        """(first cell, end, limit), where one is in force."""
        return [(first, end, limit) for first, end, limit in _split_runs(self._limits, row)
                if limit is not None]  # fmt: skip

    @property
    def limit_sources(self) -> tuple[LimitSource, ...]:
        """The sources of the limits, in the order of their first limit."""
        return tuple(self._limit_sources.values())

    def row_marks(self, row: int) -> list[Mark]:
        marks = [mark for (_, group), mark in self._marks.items()
                 if group * MARK_CELLS // ROW_CELLS == row]  # fmt: skip
        return sorted(marks, key=lambda mark: (mark.moment_ms, mark.kind))

    @property
    def power_max_w(self) -> int:
        return max(self._power_w, default=0)


def _split_runs(levels: Sequence[Level], row: int) -> Iterator[tuple[int, int, Level]]:
    first, start = row * ROW_CELLS, row * ROW_CELLS
    end = start + ROW_CELLS
    for cell in range(start + 1, end + 1):
        if cell == end or levels[cell] != levels[first]:
            yield first - start, cell - start, levels[first]
            first = cell
