"""Sections of the report page: their tables and the texts above them.

Cells are HTML; every text from the journal passes through `escape_text`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

from journal.events import IdToken
from station.history.explain.explanation import Explanation
from station.history.explain.lines import format_section
from station.history.export.table import SYNCHRONIZED
from station.history.report import messages, sessions
from station.history.report.clock_corrections import datetime_to_ms
from station.history.report.collect import ReportData
from station.history.report.evse_condition import OutageCause
from station.history.report.fault_statistics import FaultKind
from station.history.report.formatting import (
    NO_VALUE,
    STATE_LABELS,
    escape_text,
    format_decimal,
    format_duration,
    format_kilowatts,
    format_kwh,
    format_minutes,
    format_moment,
    format_percent,
    format_seconds,
    format_seq,
    format_span,
    shorten_id,
)
from station.history.report.messages import ResponseTimes, UnconfirmedCall, find_queued_call
from station.history.report.sessions import ReportedEnergy, ReportedSession, ReportedSessions
from station.history.report.timeline import EvseTimeline, LimitSource
from station.history.report.uptime import EvseUptime, LongestOutages, Outage, UptimeTally
from station.transcript.decisions import UNACCOUNTED_PHRASES
from station.transcript.phrases import count_things

Cells = Iterable[str]
T = TypeVar("T")
_NUMBER_CLASS: Final = "n"  # column of numbers
_NOWRAP_CLASS: Final = "w"  # column without line breaks


def render_table(
    columns: Iterable[tuple[str, str]],
    rows: Iterable[Cells],
    *,
    caption: str = "",
    foot: Cells | None = None,
) -> str:
    """A table. A column is a title and a CSS class; cells are HTML.

    On a narrow screen the cells of a row are below each other with their titles, so that none is
    outside of the screen.
    """
    columns = tuple(columns)
    titles = [title for title, _ in columns]
    kinds = [f' class="{kind}"' if kind else "" for _, kind in columns]
    head = "".join(f"<th{kind}>{title}</th>" for kind, title in zip(kinds, titles, strict=True))
    labels = [
        f'{kind} data-title="{title}"' if title else kind
        for kind, title in zip(kinds, titles, strict=True)
    ]
    body = "".join(f"<tr>{_render_cells(row, labels)}</tr>" for row in rows)
    footer = f"<tfoot><tr>{_render_cells(foot, labels)}</tr></tfoot>" if foot else ""
    header = f"<caption>{caption}</caption>" if caption else ""
    return (
        f'<div class="scroll stacked"><table>{header}'
        f"<thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody>{footer}</table></div>"
    )


def render_limits(timeline: EvseTimeline, evse_id: int) -> Iterator[str]:
    """The limits that the timeline of an EVSE shows as a line, by source; nothing without any."""
    if not timeline.limit_sources:
        return
    yield render_table(
        (("Limited by", ""), ("Limit, kW", "n"), ("In force", "n"), ("Set by entry", "n")),
        (
            (
                escape_text(each.source),
                _format_limit_range(each),
                format_duration(each.duration_ms),
                format_seq(each.last_seq),
            )
            for each in timeline.limit_sources
        ),
        caption=f"Limits in force at EVSE {evse_id} (dashed line)",
    )
    if timeline.unlisted_limits_ms:
        yield _render_paragraph(
            f"Other sources limited for {format_duration(timeline.unlisted_limits_ms)}."
        )


def _format_limit_range(source: LimitSource) -> str:
    lowest = format_kilowatts(source.lowest_w)
    if source.highest_w == source.lowest_w:
        return lowest
    return f"{lowest} to {format_kilowatts(source.highest_w)}"


class DetailsRenderer:
    """Renders entry numbers of a section; those with details open what `station why` answers."""

    def __init__(self, report_data: ReportData) -> None:
        self._explanations = report_data.explanations

    def render(self, seq: int) -> str:
        """The number, with its details if there are any."""
        explanation = self._explanations.get(seq)
        if explanation is None:
            return format_seq(seq)
        return (
            f'<details class="why"><summary class="seq">{seq}</summary>'
            f"<div>{''.join(_explanation_lines(explanation))}</div></details>"
        )


def _explanation_lines(explanation: Explanation) -> Iterator[str]:
    yield f"<b>{_shorten_line(explanation.heading)}</b>"
    for answer in explanation.answers[:EXPLANATION_LINES_MAX]:
        yield f"<p>{_shorten_line(answer)}</p>"
    for section in explanation.sections:
        lines = [line for _, line in islice(format_section(section), EXPLANATION_LINES_MAX)]
        left_out = len(section.entries) + len(section.lines) > len(lines)
        more = "\n  …: <i>station why</i> has all" if left_out else ""
        yield f"<h4>{escape_text(section.title)}</h4>"
        shortened = "\n".join(map(_shorten_line, lines))
        yield f"<pre>{shortened}{more}</pre>"


def _shorten_line(line: str) -> str:
    cut = line if len(line) <= LINE_CHARACTERS_MAX else f"{line[:LINE_CHARACTERS_MAX]}…"
    return escape_text(cut)


def _render_cells(row: Cells, kinds: list[str]) -> str:
    return "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True))


EXPLANATION_LINES_MAX: Final = 16  # of answers, and of each section of an explanation
LINE_CHARACTERS_MAX: Final = 300
LISTED_SEQS_MAX: Final = 16  # faults of one bus trace; the station names no more


def _render_paragraph(message: str) -> str:
    return f'<p class="lead">{message}</p>'


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
        ("EVSE", _NOWRAP_CLASS),
        ("Range, min", _NUMBER_CLASS),
        ("Outage, min", _NUMBER_CLASS),
        ("Excluded, min", _NUMBER_CLASS),
        ("Counted, min", _NUMBER_CLASS),
        ("Uptime", _NUMBER_CLASS),
        ("Claimable, min", _NUMBER_CLASS),
        ("Uptime if all claims are proven", _NUMBER_CLASS),
        ("Outages", _NUMBER_CLASS),
        ("Mean time between outages", _NUMBER_CLASS),
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
        ("EVSE", _NOWRAP_CLASS),
        ("Range, min", _NUMBER_CLASS),
        ("Outage, min", _NUMBER_CLASS),
        ("Excluded, min", _NUMBER_CLASS),
        ("Counted, min", _NUMBER_CLASS),
        ("Uptime", _NUMBER_CLASS),
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
        return _render_paragraph(empty_message)
    columns = (
        ("EVSE", _NOWRAP_CLASS),
        ("From, UTC", _NOWRAP_CLASS),
        ("To, UTC", _NOWRAP_CLASS),
        ("Minutes", _NUMBER_CLASS),
        ("Causes, with their entries", ""),
        ("Ended by entry", _NUMBER_CLASS),
        ("", _NOWRAP_CLASS),
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
    note = _render_paragraph(left_out.strip()) if left_out else ""
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
        *((f"EVSE {uptime.evse_id}, min", _NUMBER_CLASS) for uptime in uptimes),
        *((f"EVSE {uptime.evse_id}", _NUMBER_CLASS) for uptime in uptimes),
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


# --- Sessions ------------------------------------------------------------------------------------

SESSION_COLUMNS: Final = (
    ("Started, UTC", _NOWRAP_CLASS),
    ("Duration", _NUMBER_CLASS),
    ("EVSE", _NUMBER_CLASS),
    ("Transaction", _NOWRAP_CLASS),
    ("idToken", _NOWRAP_CLASS),
    ("Energy, Wh", _NUMBER_CLASS),
    ("Highest power, kW", _NUMBER_CLASS),
    ("SoC", _NUMBER_CLASS),
    ("Started by", ""),
    ("Ended by", ""),
    ("Messages", ""),
    ("Cost", _NUMBER_CLASS),
    ("Entries", _NUMBER_CLASS),
)


def render_sessions(report_data: ReportData) -> Iterator[str]:
    listed = report_data.sessions
    yield '<h2 id="sessions">Sessions</h2>'
    if not len(listed):
        yield _render_paragraph("No session ended in this range or is open.")
        yield from _render_unaccounted(listed)
        return
    open_count = sum(not session.has_ended for session in listed)
    left_out = listed.ended_count + open_count - len(listed)
    reasons = ", ".join(
        f"{escape_text(name)} {count}" for name, count in listed.stop_reasons.most_common()
    )
    yield (
        '<p class="lead">Sessions that ended in the range, and those open at its end. Energy is '
        "the difference between the meter's import register at the end and at the start. Ended by: "
        f"{reasons or 'none'}. Messages: a number alone means that the CSMS has confirmed all."
        + (f" The newest {len(listed):,} are listed, {left_out:,} are not." if left_out > 0 else "")
        + "</p>"
    )
    foot = (
        "",
        "",
        "",
        f"{listed.ended_count:,} ended",
        "",
        format_decimal(listed.energy_wh),
        *[""] * 7,
    )
    details = DetailsRenderer(report_data)
    rows = [tuple(_session_cells(session, details)) for session in listed]
    if all(session.record.cost is None for session in listed):  # of a product without prices
        columns, rows, foot = (
            _without_cost(SESSION_COLUMNS),
            [_without_cost(row) for row in rows],
            _without_cost(foot),
        )
    else:
        columns = SESSION_COLUMNS
    yield render_table(columns, rows, foot=foot)
    yield from _render_unaccounted(listed)


def _without_cost(cells: tuple[T, ...]) -> tuple[T, ...]:
    index = [title for title, _ in SESSION_COLUMNS].index("Cost")
    return (*cells[:index], *cells[index + 1 :])


UNACCOUNTED_COLUMNS: Final = (
    ("Listed", _NOWRAP_CLASS),
    ("EVSE", _NUMBER_CLASS),
    ("Energy, Wh", _NUMBER_CLASS),
    ("Register, Wh", _NUMBER_CLASS),
    ("Because", ""),
    ("Transaction before", _NOWRAP_CLASS),
    ("Between entries", _NUMBER_CLASS),
    ("Entry", _NUMBER_CLASS),
)


def _render_unaccounted(listed: ReportedSessions) -> Iterator[str]:
    """Energy that the meters counted outside transactions, with the entries that show it."""
    yield "<h3>Energy outside transactions</h3>"
    if not listed.unaccounted_count:
        yield _render_paragraph("None: what the meters counted is billed to the sessions.")
        return
    left_out = listed.unaccounted_count - len(listed.unaccounted)
    yield _render_paragraph(
        f"{format_decimal(listed.unaccounted_wh)} Wh that the meters counted and no session is "
        "billed. A register that fell is that of another meter, and not part of this sum."
        + (f" The newest {len(listed.unaccounted)} are listed." if left_out else "")
    )
    yield render_table(UNACCOUNTED_COLUMNS, map(_unaccounted_cells, listed.unaccounted))


def _unaccounted_cells(energy: ReportedEnergy) -> Iterator[str]:
    listed = energy.listed
    yield format_moment(energy.moment_ms)
    yield str(listed.evse_id)
    yield format_decimal(energy.energy_wh)
    yield f"{format_decimal(listed.from_wh)} to {format_decimal(listed.to_wh)}"
    yield escape_text(UNACCOUNTED_PHRASES.get(listed.reason, listed.reason))
    yield shorten_id(listed.transaction_id) if listed.transaction_id else NO_VALUE
    yield f"{format_seq(listed.from_seq)}–{format_seq(listed.to_seq)}"
    yield format_seq(energy.seq)


def _session_cells(session: ReportedSession, details: DetailsRenderer) -> Iterator[str]:
    record = session.record
    yield format_moment(datetime_to_ms(record.started_at)) + (
        "" if record.started_time_quality == SYNCHRONIZED else " ≈"
    )
    yield (
        format_duration(datetime_to_ms(record.ended_at) - datetime_to_ms(record.started_at))
        if record.ended_at
        else "open"
    )
    yield str(record.evse_id or NO_VALUE)
    yield shorten_id(record.transaction_id)
    yield _id_token_cell(record.id_token) if record.id_token else NO_VALUE
    registers = (
        f"{format_decimal(record.start_wh)} to {format_decimal(record.stop_wh)} Wh"
        if record.stop_wh
        else ""
    )
    title = f' title="{registers}"' if registers and record.start_wh else ""
    yield f"<span{title}>{format_decimal(session.energy_wh)}</span>"
    yield _max_power_cell(session)
    yield _soc_cell(session)
    yield escape_text(record.started_trigger_reason)
    yield _end_reason_cell(session)
    yield _delivery_cell(session)
    yield _cost_cell(session)
    yield f"{details.render(record.first_seq)}–{details.render(record.last_seq)}"


def _max_power_cell(session: ReportedSession) -> str:
    """The highest power read; no value without readings, or if readings missed the energy flow."""
    is_missed = not session.power_max_w and session.energy_wh
    return (
        NO_VALUE
        if session.power_max_w is None or is_missed
        else format_kilowatts(session.power_max_w)
    )


def _cost_cell(session: ReportedSession) -> str:
    """The cost as the CSMS sent it, every digit; ≈: so far, without a final one."""
    cost = session.record.cost
    if cost is None:
        return NO_VALUE
    mark = "" if cost.is_final else " ≈"
    title = f' title="{escape_text(session.record.tariff)}"' if session.record.tariff else ""
    return f"<span{title}>{cost.total_cost:f} {escape_text(cost.currency)}{mark}</span>"


def _id_token_cell(id_token: IdToken) -> str:
    """The reference. The report never has the value."""
    return (
        f'<abbr class="seq" title="{escape_text(id_token.type)}">{escape_text(id_token.ref)}</abbr>'
    )


def _soc_cell(session: ReportedSession) -> str:
    if session.soc_last is None:
        return NO_VALUE
    return f"{session.soc_first} → {session.soc_last} %"


def _end_reason_cell(session: ReportedSession) -> str:
    record = session.record
    reason = escape_text(record.stopped_reason) or ("Local" if session.has_ended else "")
    trigger_reason = escape_text(record.stopped_trigger_reason)
    trigger = f" ({trigger_reason})" if trigger_reason else ""
    fault = f"{escape_text(session.stop_fault)}: " if session.stop_fault else ""
    count = record.restart_count
    restarts = f"; interrupted by {count_things(count, 'restart')}" if count else ""
    return (fault + reason + trigger + restarts) or NO_VALUE


def _delivery_cell(session: ReportedSession) -> str:
    """The number of its messages, and how many are not delivered."""
    record = session.record
    message_count = record.seq_no_summary[2] if record.seq_no_summary else 0
    waiting = len(record.waiting_calls - record.parked_calls)
    parts = [
        f"{len(record.parked_calls)} parked" if record.parked_calls else "",
        f"{waiting} waiting" if waiting else "",
        f"{record.dropped_count} dropped" if record.dropped_count else "",
    ]
    undelivered = ", ".join(part for part in parts if part)
    return f"{message_count}: {undelivered}" if undelivered else str(message_count)


# --- Refused idTokens ----------------------------------------------------------------------------


def render_refusals(report_data: ReportData) -> Iterator[str]:
    refusals = report_data.refusals
    yield '<h2 id="refusals">Refused idTokens</h2>'
    if not refusals.count:
        yield _render_paragraph("No idToken was refused.")
        return
    statuses = ", ".join(
        f"{escape_text(status)} {count:,}" for status, count in refusals.by_status.most_common()
    )
    yield _render_paragraph(
        f"An EV driver presented an idToken and was refused {refusals.count:,} times: {statuses}. "
        "The number of an entry opens its explanation, if it is underlined."
    )
    details = DetailsRenderer(report_data)
    columns = (
        ("At, UTC", _NOWRAP_CLASS),
        ("EVSE", _NUMBER_CLASS),
        ("idToken", _NOWRAP_CLASS),
        ("Status", ""),
        ("Entry", _NUMBER_CLASS),
    )
    yield render_table(
        columns,
        (
            (format_moment(refusal.moment_ms), str(refusal.evse_id or NO_VALUE),
             _id_token_cell(refusal.id_token), escape_text(refusal.status),
             details.render(refusal.seq))
            for refusal in refusals.newest
        ),
        caption=_newest_caption("refusal", refusals.count, len(refusals.newest)),
    )  # fmt: skip


# --- Messages ------------------------------------------------------------------------------------


def render_messages(report_data: ReportData) -> Iterator[str]:
    statistics = report_data.message_statistics
    yield '<h2 id="messages">Messages the CSMS has not confirmed</h2>'
    dropped = ", ".join(
        f"{count} {escape_text(reason)}"
        for reason, count in sorted(statistics.dropped_by_reason.items())
    )
    yield (
        f'<p class="lead">At the end of the range: {statistics.waiting_count:,} waiting, '
        f"{statistics.parked_count:,} parked. "
        f"Within the range: {statistics.times_parked:,} parked; "
        + (f"dropped: {dropped}" if dropped else "none dropped")
        + ". A message is parked after its last attempt failed: it is kept, and sent again when "
        "<code>station outbox JOURNAL retry</code> requests it.</p>"
    )
    if not report_data.unconfirmed_calls:
        return
    columns = (
        ("Call", _NUMBER_CLASS),
        ("", _NOWRAP_CLASS),
        ("Queued, UTC", _NOWRAP_CLASS),
        ("Action", ""),
        ("Transaction", _NOWRAP_CLASS),
        ("seqNo", _NUMBER_CLASS),
        ("Attempts", _NUMBER_CLASS),
        ("Reason for parking", ""),
    )
    yield render_table(columns, map(_unconfirmed_cells, report_data.unconfirmed_calls))
    left_out = (
        statistics.waiting_count + statistics.parked_count - len(report_data.unconfirmed_calls)
    )
    if left_out > 0:
        yield _render_paragraph(
            f"The oldest {messages.LISTED_CALLS_MAX} of each kind are listed, {left_out:,} not: "
            "see <code>station outbox JOURNAL list</code>."
        )


def _unconfirmed_cells(call: UnconfirmedCall) -> Iterator[str]:
    queued = find_queued_call(call.queued_entry)
    transaction = queued.transaction_event if queued else None
    yield format_seq(call.call)
    kind, name = ("counted", "parked") if call.reason else ("claimable", "waiting")
    yield f'<span class="tag {kind}">{name}</span>'
    yield format_moment(datetime_to_ms(call.queued_entry.at)) if call.queued_entry else NO_VALUE
    yield (
        escape_text(queued.action) + (f" {transaction.event_type}" if transaction else "")
        if queued
        else NO_VALUE
    )
    yield shorten_id(transaction.transaction_id) if transaction else NO_VALUE
    yield str(transaction.seq_no) if transaction else NO_VALUE
    yield str(call.attempts)
    yield escape_text(call.reason) if call.reason else NO_VALUE


# --- Faults --------------------------------------------------------------------------------------


def render_faults(report_data: ReportData) -> Iterator[str]:
    yield '<h2 id="faults">Faults</h2>'
    if not len(report_data.fault_statistics):
        yield _render_paragraph("No device reported a fault.")
        return
    yield (
        '<p class="lead">Mean time between faults: the time without the fault, divided by the '
        "number of its occurrences, if there were at least two. A fault reported again within a "
        "minute of a restart is counted once.</p>"
    )
    details = DetailsRenderer(report_data)
    columns = (
        ("Fault", ""), ("Location", _NOWRAP_CLASS), ("", _NOWRAP_CLASS), ("Count", _NUMBER_CLASS),
        ("Total", _NUMBER_CLASS), ("Longest", _NUMBER_CLASS), ("Mean", _NUMBER_CLASS),
        ("Mean time between", _NUMBER_CLASS), ("Latest, UTC, with their entries", _NOWRAP_CLASS),
    )  # fmt: skip
    yield render_table(
        columns,
        (
            _fault_cells(kind, report_data.duration_ms, details)
            for kind in report_data.fault_statistics
        ),
    )
    if report_data.fault_statistics.left_out_count:
        yield _render_paragraph(
            f"{report_data.fault_statistics.left_out_count:,} occurrences of further kinds "
            "are not listed."
        )
    yield from _render_bus_traces(report_data)


def _render_bus_traces(report_data: ReportData) -> Iterator[str]:
    if not report_data.bus_traces:
        return
    yield "<h3>Bus traces</h3>"
    yield _render_paragraph(
        "What passed over the lines of the devices around a fault, in the directory "
        "<code>traces</code> of the station and in the archive of GetLog. The oldest are deleted."
    )
    yield render_table(
        (
            ("Written, UTC", _NOWRAP_CLASS),
            ("Entry", _NUMBER_CLASS),
            ("Faults, by their entries", ""),
            ("Directory", ""),
        ),
        (
            (
                format_moment(trace.moment_ms),
                format_seq(trace.seq),
                ", ".join(map(format_seq, trace.fault_seqs[:LISTED_SEQS_MAX])),
                escape_text(trace.directory or f"not written: {trace.reason}"),
            )
            for trace in report_data.bus_traces
        ),
        caption=_newest_caption("trace", report_data.bus_traces_count, len(report_data.bus_traces)),
    )


def _fault_cells(fault_kind: FaultKind, range_ms: int, details: DetailsRenderer) -> Iterator[str]:
    between = fault_kind.mean_between_ms(range_ms)
    yield f"{escape_text(fault_kind.device)} {escape_text(fault_kind.fault)}"
    yield f"EVSE {fault_kind.evse_id}" if fault_kind.evse_id else "station"
    kind, name = (
        ("blocks", "blocks charging") if fault_kind.blocks else ("allows", "charging continues")
    )
    yield f'<span class="tag {kind}">{name}</span>'
    yield f"{fault_kind.count:,}"
    yield format_duration(fault_kind.total_ms)
    yield format_duration(fault_kind.longest_ms)
    yield format_duration(fault_kind.total_ms // fault_kind.count) if fault_kind.count else NO_VALUE
    yield NO_VALUE if between is None else format_duration(between)
    yield "<br>".join(
        format_span(
            occurrence.began_ms,
            details.render(occurrence.began_seq),
            occurrence.ended_ms,
            occurrence.ended_seq,
        )
        for occurrence in fault_kind.recent
    )


# --- Response times ------------------------------------------------------------------------------


def render_response_times(report_data: ReportData) -> Iterator[str]:
    yield '<h2 id="response-times">Response times</h2>'
    yield (
        '<p class="lead">Measured with a clock that is never set: for the CSMS from sending a '
        "request to receiving its answer, for the station from receiving one to sending the "
        "answer. The 95th percentile is accurate to 10 % of its value.</p>"
    )
    for title, times_by_action, with_failures in (
        ("Answers of the CSMS", report_data.message_statistics.csms_times, True),
        ("Answers of the station", report_data.message_statistics.station_times, False),
    ):
        yield f"<h3>{title}</h3>"
        if not times_by_action:
            yield _render_paragraph("No requests.")
            continue
        columns = [
            ("Action", ""),
            ("Answers", _NUMBER_CLASS),
            ("Shortest", _NUMBER_CLASS),
            ("Mean", _NUMBER_CLASS),
            ("95 % within", _NUMBER_CLASS),
            ("Longest", _NUMBER_CLASS),
        ]
        columns += [("Failed attempts", _NUMBER_CLASS)] if with_failures else []
        yield render_table(
            columns,
            (
                _response_time_cells(action, times, with_failures)
                for action, times in sorted(times_by_action.items())
            ),
        )


def _response_time_cells(
    action: str, response_times: ResponseTimes, with_failures: bool
) -> Iterator[str]:
    yield escape_text(action)
    yield f"{response_times.count:,}"
    if response_times.count:
        times = (
            response_times.least_ms,
            response_times.total_ms // response_times.count,
            response_times.percentile_ms(95),
            response_times.most_ms,
        )
        yield from (f"{ms:,} ms" for ms in times)
    else:
        yield from [NO_VALUE] * 4
    if with_failures:
        yield f"{response_times.failed_attempts:,}"


# --- Starts and clock ----------------------------------------------------------------------------


def render_starts(report_data: ReportData) -> Iterator[str]:
    yield '<h2 id="starts">Starts and clock</h2>'
    if not report_data.starts:
        yield _render_paragraph("The program did not start in this range.")
    else:
        columns = (
            ("Started, UTC", _NOWRAP_CLASS),
            ("Entry", _NUMBER_CLASS),
            ("Not running for", _NUMBER_CLASS),
            ("Release", ""),
            ("Cause", ""),
        )
        yield render_table(
            columns,
            (
                (format_moment(start.moment_ms), format_seq(start.seq),
                 NO_VALUE if start.gap_ms is None else format_duration(start.gap_ms),
                 escape_text(start.release), escape_text(start.cause))
                for start in report_data.starts
            ),
            caption=_newest_caption("start", report_data.starts_count, len(report_data.starts)),
        )  # fmt: skip
    if not report_data.clock_changes:
        yield _render_paragraph("The clock was not changed.")
        return
    yield render_table(
        (
            ("Clock changed, UTC", _NOWRAP_CLASS),
            ("Entry", _NUMBER_CLASS),
            ("By", _NUMBER_CLASS),
            ("Source", ""),
        ),
        (
            (
                format_moment(change.moment_ms),
                format_seq(change.seq),
                _format_step(change.step_ms),
                escape_text(change.source),
            )
            for change in report_data.clock_changes
        ),
        caption=_newest_caption(
            "change", report_data.clock_changes_count, len(report_data.clock_changes)
        ),
    )


def _format_step(step_ms: int) -> str:
    return ("+" if step_ms > 0 else "−") + format_duration(abs(step_ms))


def _newest_caption(noun: str, count: int, listed_count: int) -> str:
    return f"The newest {listed_count} of {count:,} {noun}s." if count > listed_count else ""


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
        yield _render_paragraph(
            f"Totals cover all {report_data.sessions.ended_count:,} sessions: {total} kWh."
        )
