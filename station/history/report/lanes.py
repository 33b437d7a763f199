"""What of a long range fits into a drawing?

The range is laid out in rows of equal length, each row in COLUMNS cells. A cell keeps the worst
state, the highest power and the last state of charge that fell into it, so that no fault is lost
in a drawing however long the range is, and memory is that of the drawing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from station.history.report.condition import State
from station.history.report.times import at_ms, ms_of

COLUMNS: Final = 1000  # cells of a row: one unit of the drawing each
ROWS_MAX: Final = 14
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
ALONE_MS: Final = 30 * HOUR_MS  # up to here one row is enough
LENGTHS_MS: Final = (DAY_MS, 7 * DAY_MS, 28 * DAY_MS, 364 * DAY_MS)
_MONDAY: Final = 4 * DAY_MS  # 1970-01-05: where weeks begin

SEVERITY: Final[tuple[State, ...]] = (
    "none", "available", "occupied", "waiting", "charging", "offline", "closed", "down", "faulted",
)  # fmt: skip
HOLDS_MS: Final = 900_000  # a reading is journaled at least so often while energy flows

MarkKind = Literal["fault", "trouble", "clock", "start"]
MARK_CELLS: Final = 8  # marks of a kind closer than this are one


class Grid(NamedTuple):
    """Where rows begin, and how long they are. Moments and milliseconds."""

    since: int
    until: int
    origin: int
    row_ms: int
    rows: int

    def cell(self, moment: int) -> int:
        return (moment - self.origin) * COLUMNS // self.row_ms

    def behind(self, moment: int) -> int:
        """The cell behind a span that ends at a moment."""
        return -((self.origin - moment) * COLUMNS // self.row_ms)

    def begins(self, row: int) -> int:
        return self.origin + row * self.row_ms


def grid_of(since: int, until: int) -> Grid:
    """Rows of a day, a week, four weeks or 52, as many as are needed; a short range is one row."""
    length = max(until - since, 1)
    if length <= ALONE_MS:
        return Grid(since, until, since, length, 1)
    for row_ms in LENGTHS_MS:
        origin = (since - _MONDAY) // row_ms * row_ms + _MONDAY
        rows = -(-(until - origin) // row_ms)
        if rows <= ROWS_MAX:
            return Grid(since, until, origin, row_ms, rows)
    row_ms = -(-length // (ROWS_MAX - 1) // DAY_MS) * DAY_MS
    origin = ms_of(at_ms(since).replace(hour=0, minute=0, second=0, microsecond=0))
    return Grid(since, until, origin, row_ms, -(-(until - origin) // row_ms))


class Mark(NamedTuple):
    """Something that happened at a moment; `times` of them stand too close to be drawn apart."""

    kind: MarkKind
    moment: int
    text: str
    times: int


class Run(NamedTuple):
    """Cells of a row that look the same, `first` to before `end`."""

    first: int
    end: int
    what: str


class Lanes:
    """The drawing of an EVSE, as it fills."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        size = grid.rows * COLUMNS
        self._states = bytearray(size)
        self._links = bytearray(size)  # 0: no word, 1: up, 2: down
        self._power_w: list[int] = [-1] * size
        self._soc: list[int] = [-1] * size
        self._marks: dict[tuple[MarkKind, int], Mark] = {}

    # --- Filling ---------------------------------------------------------------------------------

    def state(self, began: int, ended: int, state: State) -> None:
        self._raise(self._states, began, ended, SEVERITY.index(state))

    def link(self, began: int, ended: int, up: bool) -> None:
        self._raise(self._links, began, ended, 1 if up else 2)

    def power(self, began: int, ended: int, power_w: int) -> None:
        """Held from one reading to the next."""
        for cell in self._cells(began, min(ended, began + HOLDS_MS)):
            self._power_w[cell] = max(self._power_w[cell], power_w)

    def soc(self, began: int, ended: int, percent: int) -> None:
        for cell in self._cells(began, min(ended, began + HOLDS_MS)):
            self._soc[cell] = percent

    def mark(self, kind: MarkKind, moment: int, text: str) -> None:
        if not self.grid.since <= moment <= self.grid.until:
            return
        place = (kind, min(self.grid.cell(moment), len(self._states) - 1) // MARK_CELLS)
        known = self._marks.get(place)
        first = known or Mark(kind, moment, text, 0)
        self._marks[place] = first._replace(times=first.times + 1)

    def _cells(self, began: int, ended: int) -> range:
        began, ended = max(began, self.grid.since), min(ended, self.grid.until)
        if began >= ended:
            return range(0)
        return range(self.grid.cell(began), self.grid.behind(ended))

    def _raise(self, lane: bytearray, began: int, ended: int, level: int) -> None:
        for cell in self._cells(began, ended):
            if lane[cell] < level:
                lane[cell] = level

    # --- Looking ---------------------------------------------------------------------------------

    def states(self, row: int) -> Iterator[Run]:
        """What the EVSE was, run by run."""
        for first, end, level in _runs(self._states, row):
            if level:
                yield Run(first, end, SEVERITY[level])

    def links(self, row: int) -> Iterator[Run]:
        for first, end, level in _runs(self._links, row):
            if level:
                yield Run(first, end, "up" if level == 1 else "down")

    def powers(self, row: int) -> list[tuple[int, int, int]]:
        """(first cell, end, W), where there was any reading."""
        return [one for one in _runs(self._power_w, row) if one[2] >= 0]

    def socs(self, row: int) -> list[tuple[int, int, int]]:
        """(first cell, end, %)."""
        return [one for one in _runs(self._soc, row) if one[2] >= 0]

    def marks(self, row: int) -> list[Mark]:
        found = [one for (_, place), one in self._marks.items()
                 if place * MARK_CELLS // COLUMNS == row]  # fmt: skip
        return sorted(found, key=lambda one: (one.moment, one.kind))

    @property
    def power_max_w(self) -> int:
        return max(self._power_w, default=0)


def _runs(lane: bytearray | list[int], row: int) -> Iterator[tuple[int, int, int]]:
    first, start = row * COLUMNS, row * COLUMNS
    end = start + COLUMNS
    for cell in range(start + 1, end + 1):
        if cell == end or lane[cell] != lane[first]:
            yield first - start, cell - start, lane[first]
            first = cell
