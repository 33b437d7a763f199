"""SVG drawing of the timeline of an EVSE, without scripts.

Each row of the grid is a separate drawing, so that a page can break between rows. A state has a
color, a pattern and a letter, a mark has a shape: the drawing is readable in black and white.
Everything has a title.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from station.history.report.clock_corrections import datetime_to_ms, ms_to_datetime
from station.history.report.evse_condition import EvseState
from station.history.report.formatting import (
    STATE_LABELS,
    escape_text,
    format_duration,
    format_kilowatts,
    format_moment,
)
from station.history.report.timeline import (
    DAY_MS,
    HOUR_MS,
    ROW_CELLS,
    CellRun,
    EvseTimeline,
    Grid,
    Mark,
    MarkKind,
    TimelineLimit,
)

MARGIN_LEFT, MARGIN_RIGHT = 92, 44  # beside the cells
WIDTH = MARGIN_LEFT + ROW_CELLS + MARGIN_RIGHT
MARKS_Y, STATES_Y, STATES_HEIGHT, LINK_Y, LINK_HEIGHT, CURVES_Y = 8, 18, 18, 38, 4, 48
CURVES_HEIGHT, SINGLE_CURVES_HEIGHT = 36, 150  # in one of several rows, and in a single row
ROW_GAP: Final = 10
LETTER_WIDTH_MIN, CHARACTER_WIDTH = 11, 6.3  # of a letter alone, and of each character of a word

# Distances of ticks, ascending; a row has four to twelve ticks.
TICK_STEPS_MS: Final = (
    *(1, 2, 5, 10, 20, 50, 100, 200, 500),
    *(count * 1_000 for count in (1, 2, 5, 10, 15, 30)),
    *(count * 60_000 for count in (1, 2, 5, 10, 15, 30)),
    *(count * HOUR_MS for count in (1, 2, 3, 6, 12)),
    *(count * DAY_MS for count in (1, 2, 7, 14, 28, 91, 182, 364, 3_640)),
)
TICKS_MAX: Final = 12

POWER_SCALES_W: Final = tuple(
    digit * 10**zeros for zeros in range(7) for digit in (1, 2, 3, 4, 5, 6, 8)
)

MARK_GLYPHS: Final[dict[MarkKind, tuple[str, str]]] = {
    "fault": ("M-5-5h10l-5 9z", "Fault that blocks charging"),
    "other_fault": ("M-4-4h8l-4 7z", "Other fault"),
    "clock": ("M0-5l5 5l-5 5l-5-5z", "Clock changed"),
    "start": ("M-1-6h2v12h-2zM1-6l6 3.5l-6 3.5z", "Program started"),
}

# Patterns over the color of a state, for prints in black and white.
STATE_PATTERNS: Final[dict[str, str]] = {
    "suspended": '<path d="M0 6h6" class="ink"/>',
    "offline": '<circle cx="1.5" cy="1.5" r="1.1" class="dot"/>'
    '<circle cx="4.5" cy="4.5" r="1.1" class="dot"/>',
    "out_of_service": '<path d="M3 0v6" class="ink"/>',
    "not_running": '<path d="M-1 1l2-2M0 6l6-6M5 7l2-2" class="ink"/>',
    "faulted": '<path d="M0 0l6 6M0 6l6-6" class="ink"/>',
    "blank": '<path d="M-1 1l2-2M0 6l6-6M5 7l2-2" class="ink"/>',
}


def render_definitions() -> str:
    """The patterns, defined once per page."""
    patterns = "".join(
        f'<pattern id="p-{name}" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<rect width="6" height="6" class="c-{name}"/>{lines}</pattern>'
        for name, lines in STATE_PATTERNS.items()
    )
    return (
        f'<svg width="0" height="0" class="hidden" aria-hidden="true"><defs>{patterns}</defs></svg>'
    )


def render_legend() -> str:
    """The legend of the drawings."""
    states = "".join(
        f'<li><svg width="26" height="16" aria-hidden="true">{_render_swatch(state)}</svg>'
        f"{name}</li>"
        for state, (name, _) in STATE_LABELS.items()
    )
    marks = "".join(
        f'<li><svg width="16" height="16" viewBox="-8 -8 16 16" aria-hidden="true">'
        f'<path d="{path}" class="m-{kind}"/></svg>{name}</li>'
        for kind, (path, name) in MARK_GLYPHS.items()
    )
    lines = "".join(
        f'<li><svg width="26" height="16" aria-hidden="true">{drawn}</svg>{name}</li>'
        for drawn, name in (
            ('<rect y="4" width="26" height="10" class="power"/>', "Highest power"),
            ('<path d="M0 8h26" class="soc"/>', "State of charge"),
            ('<path d="M0 8h26" class="limit"/>', "Limit in force"),
            ('<rect y="6" width="26" height="4" class="l-up"/>', "Link up"),
            ('<rect y="6" width="26" height="4" class="l-down"/>', "Link down"),
        )
    )
    return f'<ul class="legend">{states}{marks}{lines}</ul>'


def _render_swatch(state: EvseState) -> str:
    letter = STATE_LABELS[state][1]
    return (
        f'<rect width="26" height="16" class="b-{state}"/>'
        f'<text x="13" y="12" class="t t-{state}">{letter}</text>'
    )


def render_timeline(timeline: EvseTimeline, evse_id: int, power_max_w: int) -> str:
    """All rows of an EVSE with an axis below."""
    rows = "".join(_render_row(timeline, row, power_max_w) for row in range(timeline.grid.rows))
    name = f"Timeline of EVSE {evse_id}"
    axis = _render_axis(timeline.grid)
    return (
        '<p class="swipe">The timeline is wider than this screen: scroll it sideways.</p>'
        f'<div class="timeline" role="group" aria-label="{name}">{rows}{axis}</div>'
    )


def choose_power_scale_w(power_w: int) -> int:
    """The smallest scale that covers a power."""
    return next((scale_w for scale_w in POWER_SCALES_W if scale_w >= max(power_w, 1_000)), power_w)


# --- A row ---------------------------------------------------------------------------------------


def _render_row(timeline: EvseTimeline, row: int, power_max_w: int) -> str:
    grid = timeline.grid
    high = SINGLE_CURVES_HEIGHT if grid.rows == 1 else CURVES_HEIGHT
    height = CURVES_Y + high + ROW_GAP
    parts = [
        *_render_out_of_range(grid, row, high),
        *_render_gridlines(grid, row, high),
        *(_render_state(grid, row, run) for run in timeline.state_runs(row)),
        *(_render_link(grid, row, run) for run in timeline.link_runs(row)),
        _render_power(timeline.power_runs(row), power_max_w, high),
        _render_soc(timeline.soc_runs(row), high),
        *_render_limits(grid, row, timeline.limit_runs(row), power_max_w, high),
        *(_render_mark(grid, row, mark) for mark in timeline.row_marks(row)),
        *_render_labels(grid, row, high, power_max_w, bool(timeline.soc_runs(row))),
    ]
    return (
        f'<svg class="row" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{_row_name(grid, row)}">{"".join(parts)}</svg>'
    )


def _row_name(grid: Grid, row: int) -> str:
    at = ms_to_datetime(grid.row_start_ms(row))
    if grid.rows == 1:
        return f"{at:%a} {at.day} {at:%b}"
    if grid.row_ms == DAY_MS:
        return f"{at:%a} {at.day} {at:%b}"
    return f"{at.day} {at:%b} {at.year}"


def _render_labels(
    grid: Grid, row: int, curve_height: int, power_max_w: int, has_soc: bool
) -> Iterator[str]:
    yield f'<text x="0" y="{STATES_Y + 13}" class="rowname">{_row_name(grid, row)}</text>'
    scale = f"{format_kilowatts(power_max_w)} kW"
    yield f'<text x="{MARGIN_LEFT - 8}" y="{CURVES_Y + 8}" class="scale end">{scale}</text>'
    yield f'<text x="{MARGIN_LEFT - 8}" y="{CURVES_Y + curve_height}" class="scale end">0</text>'
    if has_soc:
        x = MARGIN_LEFT + ROW_CELLS + 6
        yield f'<text x="{x}" y="{CURVES_Y + 8}" class="scale">100 %</text>'
        yield f'<text x="{x}" y="{CURVES_Y + curve_height}" class="scale">0</text>'


def _render_out_of_range(grid: Grid, row: int, curve_height: int) -> Iterator[str]:
    """The parts of a row before and after the range."""
    first = max(0, min(ROW_CELLS, grid.find_cell(grid.since_ms) - row * ROW_CELLS))
    end = max(0, min(ROW_CELLS, grid.find_end_cell(grid.until_ms) - row * ROW_CELLS))
    for x, width in ((0, first), (end, ROW_CELLS - end)):
        if width:
            yield (
                f'<rect x="{MARGIN_LEFT + x}" y="{STATES_Y}" width="{width}" '
                f'height="{CURVES_Y + curve_height - STATES_Y}" class="outside"/>'
            )


def _render_gridlines(grid: Grid, row: int, curve_height: int) -> Iterator[str]:
    for x, _ in _place_ticks(grid, row):
        yield f'<path d="M{MARGIN_LEFT + x} {STATES_Y}V{CURVES_Y + curve_height}" class="grid"/>'
    yield f'<path d="M{MARGIN_LEFT} {CURVES_Y + curve_height}h{ROW_CELLS}" class="base"/>'
    yield f'<path d="M{MARGIN_LEFT} {CURVES_Y}h{ROW_CELLS}" class="grid"/>'


def _render_state(grid: Grid, row: int, run: CellRun) -> str:
    name, letter = next(value for state, value in STATE_LABELS.items() if state == run.value)
    width = run.end_cell - run.first_cell
    shape = (
        f'<rect x="{MARGIN_LEFT + run.first_cell}" y="{STATES_Y}" width="{width}" '
        f'height="{STATES_HEIGHT}" '
        f'class="b-{run.value}"><title>{_describe_run(grid, row, run, name)}</title></rect>'
    )
    if run.value == "available" and width < ROW_CELLS // 8:
        return shape  # a short Available needs no letter
    label = name if width > CHARACTER_WIDTH * len(name) + 8 else letter
    if width < LETTER_WIDTH_MIN:
        return shape
    x = MARGIN_LEFT + run.first_cell + width / 2
    return shape + f'<text x="{x:g}" y="{STATES_Y + 13}" class="t t-{run.value}">{label}</text>'


def _describe_run(grid: Grid, row: int, run: CellRun, label: str) -> str:
    """A run as text, with the accuracy of a cell."""
    row_start_ms = grid.row_start_ms(row)
    since = max(grid.since_ms, row_start_ms + run.first_cell * grid.row_ms // ROW_CELLS)
    until = min(grid.until_ms, row_start_ms + run.end_cell * grid.row_ms // ROW_CELLS)
    duration = format_duration(until - since)
    return f"{label}: about {duration}, from {format_moment(since)} to {format_moment(until)} UTC"


def _render_link(grid: Grid, row: int, run: CellRun) -> str:
    title = _describe_run(grid, row, run, f"Link {run.value}")
    return (
        f'<rect x="{MARGIN_LEFT + run.first_cell}" y="{LINK_Y}" '
        f'width="{run.end_cell - run.first_cell}" '
        f'height="{LINK_HEIGHT}" class="l-{run.value}"><title>{title}</title></rect>'
    )


def _render_mark(grid: Grid, row: int, mark: Mark) -> str:
    x = MARGIN_LEFT + (mark.moment_ms - grid.row_start_ms(row)) * ROW_CELLS // grid.row_ms
    more = f" and {mark.occurrences - 1} more nearby" if mark.occurrences > 1 else ""
    title = f"{format_moment(mark.moment_ms)} UTC: {escape_text(mark.text)}{more}"
    path, _ = MARK_GLYPHS[mark.kind]
    return (
        f'<path d="{path}" transform="translate({x} {MARKS_Y})" class="m-{mark.kind}">'
        f"<title>{title}</title></path>"
    )


# --- Curves --------------------------------------------------------------------------------------


def _render_power(runs: list[tuple[int, int, int]], power_max_w: int, curve_height: int) -> str:
    """Steps above the base line, in tenths of a unit."""
    base, last_end = CURVES_Y + curve_height, -1
    path: list[str] = []
    for first, end, power_w in runs:
        y = _format_tenths(base * 10 - min(power_w, power_max_w) * curve_height * 10 // power_max_w)
        if first != last_end:
            path.append((f"V{base}z" if path else "") + f"M{MARGIN_LEFT + first} {base}")
        path.append(f"V{y}H{MARGIN_LEFT + end}")
        last_end = end
    return f'<path d="{"".join(path)}V{base}z" class="power"/>' if path else ""


def _render_soc(runs: list[tuple[int, int, int]], curve_height: int) -> str:
    base, last_end = CURVES_Y + curve_height, -1
    path: list[str] = []
    for first, end, percent in runs:
        y = _format_tenths(base * 10 - min(max(percent, 0), 100) * curve_height // 10)
        path.append(
            f"{'L' if first == last_end else 'M'}{MARGIN_LEFT + first} {y}H{MARGIN_LEFT + end}"
        )
        last_end = end
    return f'<path d="{"".join(path)}" class="soc"/>' if path else ""


def _render_limits(
    grid: Grid,
    row: int,
    runs: list[tuple[int, int, TimelineLimit]],
    power_max_w: int,
    curve_height: int,
) -> Iterator[str]:
    """A line for each limit, joined to the one before; above the scale it is at the upper edge."""
    base, last_end, last_y = CURVES_Y + curve_height, -1, ""
    for first, end, limit in runs:
        level_w = min(limit.limit_w, power_max_w)
        y = _format_tenths(base * 10 - level_w * curve_height * 10 // power_max_w)
        begin = f"{last_y}V{y}" if first == last_end else y
        label = (
            f"Limit {format_kilowatts(limit.limit_w)} kW by {escape_text(limit.source)} "
            f"(entry {limit.seq})"
        )
        title = _describe_run(grid, row, CellRun(first, end, ""), label)
        yield (
            f'<path d="M{MARGIN_LEFT + first} {begin}H{MARGIN_LEFT + end}" class="limit">'
            f"<title>{title}</title></path>"
        )
        last_end, last_y = end, y


def _format_tenths(tenths: int) -> str:
    return f"{tenths // 10}.{tenths % 10}" if tenths % 10 else f"{tenths // 10}"


# --- The axis ------------------------------------------------------------------------------------


def _render_axis(grid: Grid) -> str:
    """Labels of the ticks. For rows of a day or longer they count from the start of the row."""
    labels = "".join(
        f'<text x="{MARGIN_LEFT + x}" y="10" class="tick">{name}</text>'
        for x, name in _place_ticks(grid, 0)
    )
    return f'<svg class="axis" viewBox="0 0 {WIDTH} 16" aria-hidden="true">{labels}</svg>'


def _place_ticks(grid: Grid, row: int) -> Iterator[tuple[int, str]]:
    step_ms = next(
        (step_ms for step_ms in TICK_STEPS_MS if grid.row_ms <= step_ms * TICKS_MAX),
        TICK_STEPS_MS[-1],
    )
    row_start_ms = grid.row_start_ms(row)
    is_single = grid.rows == 1
    midnight = datetime_to_ms(
        ms_to_datetime(row_start_ms).replace(hour=0, minute=0, second=0, microsecond=0)
    )
    offset = -((row_start_ms - midnight) % step_ms) % step_ms if is_single else 0
    for distance in range(offset, grid.row_ms + 1, step_ms):
        yield (
            distance * ROW_CELLS // grid.row_ms,
            _tick_label(grid, row_start_ms + distance, distance, step_ms),
        )


def _tick_label(grid: Grid, moment_ms: int, distance_ms: int, step_ms: int) -> str:
    at = ms_to_datetime(moment_ms)
    if grid.rows > 1 and grid.row_ms == DAY_MS:
        return f"{distance_ms // HOUR_MS:02}:00"
    if grid.rows > 1 and grid.row_ms == 7 * DAY_MS:
        return "" if distance_ms == grid.row_ms else f"{at:%a}"
    if grid.rows > 1:
        return f"+{distance_ms // DAY_MS} d"
    if step_ms < 1_000:
        return f"{at:%H:%M:%S}.{at.microsecond // 1000:03}"
    return f"{at:%H:%M:%S}" if step_ms < 60_000 else f"{at:%H:%M}"
