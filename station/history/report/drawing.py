"""What does the time line of an EVSE look like? Pure SVG, without a script.

Each row of the grid is a drawing of its own, so that a printer may break between them. States are
told by colour, pattern and letter at once, marks by shape; everything has a title.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from station.history.report.condition import State
from station.history.report.lanes import COLUMNS, DAY_MS, HOUR_MS, Grid, Lanes, Mark, MarkKind, Run
from station.history.report.times import at_ms, ms_of
from station.history.report.words import STATES, duration, kilowatts, moment, text

LEFT, RIGHT = 92, 44  # beside the cells
WIDTH = LEFT + COLUMNS + RIGHT
MARKS, BAND, BAND_H, LINK, LINK_H, CURVE = 8, 18, 18, 38, 4, 48
CURVE_H, CURVE_ALONE_H = 36, 150  # a row of many, and one alone
GAP: Final = 10
LETTER_W, GLYPH_W = 11, 6.3  # room that a letter alone needs, and each of a word

# Distances of ticks, the shortest first; a row has four to twelve.
STEPS_MS: Final = (
    *(1, 2, 5, 10, 20, 50, 100, 200, 500),
    *(each * 1_000 for each in (1, 2, 5, 10, 15, 30)),
    *(each * 60_000 for each in (1, 2, 5, 10, 15, 30)),
    *(each * HOUR_MS for each in (1, 2, 3, 6, 12)),
    *(each * DAY_MS for each in (1, 2, 7, 14, 28, 91, 182, 364, 3_640)),
)
TICKS_MAX: Final = 12

POWERS_W: Final = tuple(each * 10**zeros for zeros in range(7) for each in (1, 2, 3, 4, 5, 6, 8))

GLYPHS: Final[dict[MarkKind, tuple[str, str]]] = {
    "fault": ("M-5-5h10l-5 9z", "Fault that stops a charge"),
    "trouble": ("M-4-4h8l-4 7z", "Other fault"),
    "clock": ("M0-5l5 5l-5 5l-5-5z", "Clock moved"),
    "start": ("M-1-6h2v12h-2zM1-6l6 3.5l-6 3.5z", "Program started"),
}

# Patterns over the colour of a state: what a black and white print shows of it.
PATTERNS: Final[dict[str, str]] = {
    "waiting": '<path d="M0 6h6" class="ink"/>',
    "offline": '<circle cx="1.5" cy="1.5" r="1.1" class="dot"/>'
    '<circle cx="4.5" cy="4.5" r="1.1" class="dot"/>',
    "closed": '<path d="M3 0v6" class="ink"/>',
    "down": '<path d="M-1 1l2-2M0 6l6-6M5 7l2-2" class="ink"/>',
    "faulted": '<path d="M0 0l6 6M0 6l6-6" class="ink"/>',
    "blank": '<path d="M-1 1l2-2M0 6l6-6M5 7l2-2" class="ink"/>',
}


def definitions() -> str:
    """The patterns, once for the page."""
    patterns = "".join(
        f'<pattern id="p-{name}" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<rect width="6" height="6" class="c-{name}"/>{lines}</pattern>'
        for name, lines in PATTERNS.items()
    )
    return (
        f'<svg width="0" height="0" class="hidden" aria-hidden="true"><defs>{patterns}</defs></svg>'
    )


def legend() -> str:
    """What the drawings mean."""
    states = "".join(
        f'<li><svg width="26" height="16" aria-hidden="true">{_swatch(state)}</svg>{name}</li>'
        for state, (name, _) in STATES.items()
    )
    marks = "".join(
        f'<li><svg width="16" height="16" viewBox="-8 -8 16 16" aria-hidden="true">'
        f'<path d="{path}" class="m-{kind}"/></svg>{name}</li>'
        for kind, (path, name) in GLYPHS.items()
    )
    lines = "".join(
        f'<li><svg width="26" height="16" aria-hidden="true">{drawn}</svg>{name}</li>'
        for drawn, name in (
            ('<rect y="4" width="26" height="10" class="power"/>', "Power, the highest"),
            ('<path d="M0 8h26" class="soc"/>', "State of charge"),
            ('<rect y="6" width="26" height="4" class="l-up"/>', "Link up"),
            ('<rect y="6" width="26" height="4" class="l-down"/>', "Link down"),
        )
    )
    return f'<ul class="legend">{states}{marks}{lines}</ul>'


def _swatch(state: State) -> str:
    letter = STATES[state][1]
    return (
        f'<rect width="26" height="16" class="b-{state}"/>'
        f'<text x="13" y="12" class="t t-{state}">{letter}</text>'
    )


def timeline(lanes: Lanes, evse_id: int, power_max_w: int) -> str:
    """All rows of an EVSE, with an axis below."""
    rows = "".join(_row(lanes, row, power_max_w) for row in range(lanes.grid.rows))
    name = f"Time line of EVSE {evse_id}"
    return f'<div class="timeline" role="group" aria-label="{name}">{rows}{_axis(lanes.grid)}</div>'


def scale_of(power_w: int) -> int:
    """The least round number of watts that has room for all."""
    return next((one for one in POWERS_W if one >= max(power_w, 1_000)), power_w)


# --- A row ---------------------------------------------------------------------------------------


def _row(lanes: Lanes, row: int, power_max_w: int) -> str:
    grid = lanes.grid
    high = CURVE_ALONE_H if grid.rows == 1 else CURVE_H
    height = CURVE + high + GAP
    parts = [
        *_outside(grid, row, high),
        *_gridlines(grid, row, high),
        *(_band(grid, row, run) for run in lanes.states(row)),
        *(_link(grid, row, run) for run in lanes.links(row)),
        _power(lanes.powers(row), power_max_w, high),
        _soc(lanes.socs(row), high),
        *(_mark(grid, row, mark) for mark in lanes.marks(row)),
        *_labels(grid, row, high, power_max_w, bool(lanes.socs(row))),
    ]
    return (
        f'<svg class="row" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{_name(grid, row)}">{"".join(parts)}</svg>'
    )


def _name(grid: Grid, row: int) -> str:
    at = at_ms(grid.begins(row))
    if grid.rows == 1:
        return f"{at:%a} {at.day} {at:%b}"
    if grid.row_ms == DAY_MS:
        return f"{at:%a} {at.day} {at:%b}"
    return f"{at.day} {at:%b} {at.year}"


def _labels(grid: Grid, row: int, high: int, power_max_w: int, soc: bool) -> Iterator[str]:
    yield f'<text x="0" y="{BAND + 13}" class="rowname">{_name(grid, row)}</text>'
    most = f"{kilowatts(power_max_w)} kW"
    yield f'<text x="{LEFT - 8}" y="{CURVE + 8}" class="scale end">{most}</text>'
    yield f'<text x="{LEFT - 8}" y="{CURVE + high}" class="scale end">0</text>'
    if soc:
        x = LEFT + COLUMNS + 6
        yield f'<text x="{x}" y="{CURVE + 8}" class="scale">100 %</text>'
        yield f'<text x="{x}" y="{CURVE + high}" class="scale">0</text>'


def _outside(grid: Grid, row: int, high: int) -> Iterator[str]:
    """The part of a row that lies before or behind the range."""
    first = max(0, min(COLUMNS, grid.cell(grid.since) - row * COLUMNS))
    end = max(0, min(COLUMNS, grid.behind(grid.until) - row * COLUMNS))
    for x, width in ((0, first), (end, COLUMNS - end)):
        if width:
            yield (
                f'<rect x="{LEFT + x}" y="{BAND}" width="{width}" '
                f'height="{CURVE + high - BAND}" class="outside"/>'
            )


def _gridlines(grid: Grid, row: int, high: int) -> Iterator[str]:
    for x, _ in _ticks(grid, row):
        yield f'<path d="M{LEFT + x} {BAND}V{CURVE + high}" class="grid"/>'
    yield f'<path d="M{LEFT} {CURVE + high}h{COLUMNS}" class="base"/>'
    yield f'<path d="M{LEFT} {CURVE}h{COLUMNS}" class="grid"/>'


def _band(grid: Grid, row: int, run: Run) -> str:
    name, letter = next(value for state, value in STATES.items() if state == run.what)
    width = run.end - run.first
    shape = (
        f'<rect x="{LEFT + run.first}" y="{BAND}" width="{width}" height="{BAND_H}" '
        f'class="b-{run.what}"><title>{_about(grid, row, run, name)}</title></rect>'
    )
    if run.what == "available" and width < COLUMNS // 8:
        return shape  # the quiet state needs no letter
    label = name if width > GLYPH_W * len(name) + 8 else letter
    if width < LETTER_W:
        return shape
    x = LEFT + run.first + width / 2
    return shape + f'<text x="{x:g}" y="{BAND + 13}" class="t t-{run.what}">{label}</text>'


def _about(grid: Grid, row: int, run: Run, name: str) -> str:
    """A run in words; a cell is as exact as a drawing is."""
    begins = grid.begins(row)
    since = max(grid.since, begins + run.first * grid.row_ms // COLUMNS)
    until = min(grid.until, begins + run.end * grid.row_ms // COLUMNS)
    return f"{name}: about {duration(until - since)}, from {moment(since)} to {moment(until)} UTC"


def _link(grid: Grid, row: int, run: Run) -> str:
    title = _about(grid, row, run, f"Link {run.what}")
    return (
        f'<rect x="{LEFT + run.first}" y="{LINK}" width="{run.end - run.first}" '
        f'height="{LINK_H}" class="l-{run.what}"><title>{title}</title></rect>'
    )


def _mark(grid: Grid, row: int, mark: Mark) -> str:
    x = LEFT + (mark.moment - grid.begins(row)) * COLUMNS // grid.row_ms
    more = f" and {mark.times - 1} more close by" if mark.times > 1 else ""
    title = f"{moment(mark.moment)} UTC: {text(mark.text)}{more}"
    path, _ = GLYPHS[mark.kind]
    return (
        f'<path d="{path}" transform="translate({x} {MARKS})" class="m-{mark.kind}">'
        f"<title>{title}</title></path>"
    )


# --- Curves --------------------------------------------------------------------------------------


def _power(runs: list[tuple[int, int, int]], power_max_w: int, high: int) -> str:
    """Steps over the base line, tenths of a unit."""
    base, behind = CURVE + high, -1
    path: list[str] = []
    for first, end, power_w in runs:
        y = _tenths(base * 10 - min(power_w, power_max_w) * high * 10 // power_max_w)
        if first != behind:
            path.append((f"V{base}z" if path else "") + f"M{LEFT + first} {base}")
        path.append(f"V{y}H{LEFT + end}")
        behind = end
    return f'<path d="{"".join(path)}V{base}z" class="power"/>' if path else ""


def _soc(runs: list[tuple[int, int, int]], high: int) -> str:
    base, behind = CURVE + high, -1
    path: list[str] = []
    for first, end, percent in runs:
        y = _tenths(base * 10 - min(max(percent, 0), 100) * high // 10)
        path.append(f"{'L' if first == behind else 'M'}{LEFT + first} {y}H{LEFT + end}")
        behind = end
    return f'<path d="{"".join(path)}" class="soc"/>' if path else ""


def _tenths(value: int) -> str:
    return f"{value // 10}.{value % 10}" if value % 10 else f"{value // 10}"


# --- The axis ------------------------------------------------------------------------------------


def _axis(grid: Grid) -> str:
    """Named ticks. Where rows are days or longer, they count from the beginning of the row."""
    named = "".join(
        f'<text x="{LEFT + x}" y="10" class="tick">{name}</text>' for x, name in _ticks(grid, 0)
    )
    return f'<svg class="axis" viewBox="0 0 {WIDTH} 16" aria-hidden="true">{named}</svg>'


def _ticks(grid: Grid, row: int) -> Iterator[tuple[int, str]]:
    step_ms = next((one for one in STEPS_MS if grid.row_ms <= one * TICKS_MAX), STEPS_MS[-1])
    begins = grid.begins(row)
    alone = grid.rows == 1
    midnight = ms_of(at_ms(begins).replace(hour=0, minute=0, second=0, microsecond=0))
    offset = -((begins - midnight) % step_ms) % step_ms if alone else 0
    for distance in range(offset, grid.row_ms + 1, step_ms):
        yield distance * COLUMNS // grid.row_ms, _tick(grid, begins + distance, distance, step_ms)


def _tick(grid: Grid, moment_ms: int, distance: int, step_ms: int) -> str:
    at = at_ms(moment_ms)
    if grid.rows > 1 and grid.row_ms == DAY_MS:
        return f"{distance // HOUR_MS:02}:00"
    if grid.rows > 1 and grid.row_ms == 7 * DAY_MS:
        return "" if distance == grid.row_ms else f"{at:%a}"
    if grid.rows > 1:
        return f"+{distance // DAY_MS} d"
    if step_ms < 1_000:
        return f"{at:%H:%M:%S}.{at.microsecond // 1000:03}"
    return f"{at:%H:%M:%S}" if step_ms < 60_000 else f"{at:%H:%M}"
