"""Sections of the report page about uptime: the figures, and how they are counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from station.history.report import sessions
from station.history.report.collect import ReportData
from station.history.report.evse_condition import OutageCause
from station.history.report.formatting import (
    NO_VALUE,
    STATE_LABELS,
    escape_text,
    format_duration,
    format_kwh,
    format_minutes,
    format_moment,
    format_percent,
    format_seconds,
    format_seq,
)
from station.history.report.tables import (
    NOWRAP_CLASS,
    NUMBER_CLASS,
    render_paragraph,
    render_table,
)
from station.history.report.uptime import EvseUptime, LongestOutages, Outage, UptimeTally

# --- Uptime --------------------------------------------------------------------------------------


def render_uptime(report_data: ReportData) -> Iterator[str]:
    yield '<h2 id="uptime">Uptime</h2>'
    yield (
        '<p class="lead">Counted for each EVSE as US 23 CFR 680.116 (b) counts a charging port, '
        "over the minutes of this range.</p>"
    )
    uptimes = [uptime for _, uptime in sorted(report_data.uptimes.items())]
    yield _uptime_table(uptimes)
    for uptime in uptimes:
        yield _render_formula(uptime)
    months = sorted({month for uptime in uptimes for month in uptime.tally_by_month})
    if len(months) > 1:
        yield "<h3>By calendar month</h3>"
        yield _months_table(uptimes, months)
    yield "<h3>Excluded outages with evidence</h3>"
    yield _outages_table(
        [(uptime.evse_id, uptime.excluded_outages) for uptime in uptimes],
        "No outage is excluded.",
    )
    yield "<h3>Counted outages</h3>"
    yield _outages_table(
        [(uptime.evse_id, uptime.counted_outages) for uptime in uptimes],
        "No outage is counted.",
    )
    yield "<h3>Time in each state</h3>"
    yield _states_table(uptimes)


def _uptime_table(uptimes: list[EvseUptime]) -> str:
    columns = (
        ("EVSE", NOWRAP_CLASS),
        ("Range, min", NUMBER_CLASS),
        ("Outage, min", NUMBER_CLASS),
        ("Excluded, min", NUMBER_CLASS),
        ("Counted, min", NUMBER_CLASS),
        ("Uptime", NUMBER_CLASS),
        ("Claimable, min", NUMBER_CLASS),
        ("Uptime if all claims are proven", NUMBER_CLASS),
        ("Outages", NUMBER_CLASS),
        ("Mean time between outages", NUMBER_CLASS),
    )
    return render_table(columns, map(_uptime_cells, uptimes))


def _uptime_cells(uptime: EvseUptime) -> Iterator[str]:
    total = uptime.total
    up_ms = total.whole_ms - total.outage_ms
    yield f"EVSE {uptime.evse_id}"
    yield from _tally_cells(total)
    yield format_minutes(total.claimable_ms)
    yield format_percent(total.claimable_uptime_percent)
    yield f"{uptime.outage_count:,}"
    yield format_duration(up_ms // uptime.outage_count) if uptime.outage_count else NO_VALUE


def _tally_cells(tally: UptimeTally) -> Iterator[str]:
    yield format_minutes(tally.whole_ms)
    yield format_minutes(tally.outage_ms)
    yield format_minutes(tally.excluded_ms)
    yield format_minutes(tally.outage_ms - tally.excluded_ms)
    yield f"<b>{format_percent(tally.uptime_percent)}</b>"


def _render_formula(uptime: EvseUptime) -> str:
    """The formula in exact seconds, so that it can be recalculated."""
    total = uptime.total
    whole, outage, excluded = map(
        format_seconds, (total.whole_ms, total.outage_ms, total.excluded_ms)
    )
    return (
        f'<div class="formula">EVSE {uptime.evse_id}, in s: (({whole} − ({outage} − {excluded})) '
        f"/ {whole}) × 100 = <b>{format_percent(total.uptime_percent)}</b></div>"
    )


def _months_table(uptimes: list[EvseUptime], months: list[str]) -> str:
    columns = (
        ("Month, UTC", ""),
        ("EVSE", NOWRAP_CLASS),
        ("Range, min", NUMBER_CLASS),
        ("Outage, min", NUMBER_CLASS),
        ("Excluded, min", NUMBER_CLASS),
        ("Counted, min", NUMBER_CLASS),
        ("Uptime", NUMBER_CLASS),
    )
    rows = (
        (month, f"EVSE {uptime.evse_id}", *_tally_cells(uptime.tally_by_month[month]))
        for month in months
        for uptime in uptimes
        if month in uptime.tally_by_month
    )
    return render_table(columns, rows)


def _outages_table(listed: list[tuple[int, LongestOutages]], empty_message: str) -> str:
    if not any(len(outages) for _, outages in listed):
        return render_paragraph(empty_message)
    columns = (
        ("EVSE", NOWRAP_CLASS),
        ("From, UTC", NOWRAP_CLASS),
        ("To, UTC", NOWRAP_CLASS),
        ("Minutes", NUMBER_CLASS),
        ("Causes, with their entries", ""),
        ("Ended by entry", NUMBER_CLASS),
        ("", NOWRAP_CLASS),
    )
    rows = (
        (f"EVSE {evse_id}", *_outage_cells(outage))
        for evse_id, outages in listed
        for outage in outages
    )
    left_out = "".join(
        f" EVSE {evse_id}: {outages.others_count:,} shorter outages are not listed, "
        f"{format_minutes(outages.others_ms)} min in total."
        for evse_id, outages in listed
        if outages.others_count
    )
    note = render_paragraph(left_out.strip()) if left_out else ""
    return render_table(columns, rows) + note


def _outage_cells(outage: Outage) -> Iterator[str]:
    yield format_moment(outage.began_ms)
    yield format_moment(outage.ended_ms)
    yield format_minutes(outage.duration_ms)
    yield "<br>".join(map(_render_cause, outage.causes))
    yield format_seq(outage.ended_seq)
    grounds = ", ".join(outage.grounds)
    if outage.verdict == "counted":
        yield '<span class="tag counted">counted</span>'
    elif outage.verdict == "claimable":
        yield f'<span class="tag claimable">counted</span> claimable:<br>{escape_text(grounds)}'
    else:
        yield f'<span class="tag excluded">excluded</span><br>{escape_text(grounds)}'


def _render_cause(cause: OutageCause) -> str:
    return f"{escape_text(cause.text)} {format_seq(cause.seq)}"


def _states_table(uptimes: list[EvseUptime]) -> str:
    columns = (
        ("State", ""),
        *((f"EVSE {uptime.evse_id}, min", NUMBER_CLASS) for uptime in uptimes),
        *((f"EVSE {uptime.evse_id}", NUMBER_CLASS) for uptime in uptimes),
    )
    rows = (
        (
            name,
            *(format_minutes(uptime.ms_by_state[state]) for uptime in uptimes),
            *(
                _format_share(uptime.ms_by_state[state], uptime.total.whole_ms)
                for uptime in uptimes
            ),
        )
        for state, (name, _) in STATE_LABELS.items()
        if any(uptime.ms_by_state[state] for uptime in uptimes)
    )
    return render_table(columns, rows)


def _format_share(part: int, whole: int) -> str:
    return f"{part * 1000 // whole / 10:.1f} %" if whole else NO_VALUE


# --- How uptime is counted ----------------------------------------------------------------------

COUNTING_RULES: Final = (
    "An EVSE is <b>up</b> while a transaction is open and no fault blocks charging; or while the "
    "program runs, the CSMS has accepted the station, the link is open, the status of the EVSE is "
    "Available, Reserved or Occupied, and no reset is pending. Everything else is <b>outage</b>.",
    "While the program is not running, the EVSE counts as down from the last entry on: no later "
    "entry proves that it was up. The same holds for the time between the last entry of the "
    "journal and the end of the range. Time before the first start is not counted.",
    "An outage is <b>excluded</b> while the journal proves that the rule excludes each of its "
    "causes, or that a cause began while an excluded one lasted: mains lost or a phase missing "
    "(electric utility service interruption), emergency stop by the EV (fault of the "
    "vehicle), installation "
    "of firmware for which the CSMS gave an installDateTime (scheduled maintenance).",
    "An outage that the journal cannot prove to be excluded is counted. It is <b>claimable</b> if "
    "the operator may have other evidence: set to Inoperative by the CSMS, host without supply, "
    "program ended on site, doors, tilted dispenser, sessions aborted by the EV, mains out of "
    "limits.",
    "A lost link is never excluded: the rule does not mention networks. Power below the rule's "
    "minimum is not assessed; faults that reduce it are in the table of faults.",
    "Milliseconds are counted. Minutes are rounded for display, percentages are truncated.",
    "All times are UTC by the clock of the CSMS. Times recorded before a clock correction are "
    "corrected by it. ≈ marks times of a run in which the CSMS never sent the time.",
)


def render_counting_rules(report_data: ReportData) -> Iterator[str]:
    yield '<h2 id="counting-rules">How uptime is counted</h2>'
    yield (
        '<div class="formula">uptime = ((minutes of the range − (outage − excluded)) / minutes of '
        "the range) × 100 &nbsp; (a year has 525,600)</div>"
    )
    yield f'<ul class="how">{"".join(f"<li>{rule}</li>" for rule in COUNTING_RULES)}</ul>'
    if report_data.sessions.ended_count > sessions.LISTED_SESSIONS_MAX:
        total = format_kwh(report_data.sessions.energy_wh)
        yield render_paragraph(
            f"Totals cover all {report_data.sessions.ended_count:,} sessions: {total} kWh."
        )
