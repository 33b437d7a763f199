"""Which tables stand on the page?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from journal.events import IdToken
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
from station.history.report.sessions import ReportedSession
from station.history.report.uptime import EvseUptime, LongestOutages, Outage, UptimeTally

Cells = Iterable[str]
_NUMBER_CLASS: Final = "n"  # a column of numbers
_NOWRAP_CLASS: Final = "w"  # one that is not broken


def render_table(
    columns: Iterable[tuple[str, str]],
    rows: Iterable[Cells],
    *,
    caption: str = "",
    foot: Cells | None = None,
) -> str:
    """A table; each column has a title and a class. Cells are HTML."""
    known = tuple(columns)
    kinds = [f' class="{kind}"' if kind else "" for _, kind in known]
    head = "".join(f"<th{kind}>{title}</th>" for kind, (title, _) in zip(kinds, known, strict=True))
    body = "".join(f"<tr>{_render_cells(row, kinds)}</tr>" for row in rows)
    under = f"<tfoot><tr>{_render_cells(foot, kinds)}</tr></tfoot>" if foot else ""
    above = f"<caption>{caption}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{above}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody>{under}</table></div>"
    )


def _render_cells(row: Cells, kinds: list[str]) -> str:
    return "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True))


def _render_paragraph(message: str) -> str:
    return f'<p class="lead">{message}</p>'


# --- Uptime --------------------------------------------------------------------------------------


def render_uptime(report_data: ReportData) -> Iterator[str]:
    yield '<h2 id="uptime">Uptime</h2>'
    yield (
        '<p class="lead">For each EVSE as US 23 CFR 680.116 (b) counts a charging port, over the '
        "minutes of this range.</p>"
    )
    accounts = [one for _, one in sorted(report_data.uptimes.items())]
    yield _uptime_table(accounts)
    for one in accounts:
        yield _render_formula(one)
    months = sorted({month for one in accounts for month in one.tally_by_month})
    if len(months) > 1:
        yield "<h3>By calendar month</h3>"
        yield _months_table(accounts, months)
    yield "<h3>Excluded minutes and their evidence</h3>"
    yield _outages_table(
        [(one.evse_id, one.excluded_outages) for one in accounts], "No minute is excluded."
    )
    yield "<h3>Counted outages</h3>"
    yield _outages_table(
        [(one.evse_id, one.counted_outages) for one in accounts], "There was no outage."
    )
    yield "<h3>Time in each state</h3>"
    yield _states_table(accounts)


def _uptime_table(accounts: list[EvseUptime]) -> str:
    columns = (
        ("EVSE", _NOWRAP_CLASS), ("Range, min", _NUMBER_CLASS), ("Outage, min", _NUMBER_CLASS),
        ("of it excluded, min", _NUMBER_CLASS), ("Counted, min", _NUMBER_CLASS), ("Uptime", _NUMBER_CLASS),
        ("Counted, but may be claimed, min", _NUMBER_CLASS), ("Uptime if all of it is shown", _NUMBER_CLASS),
        ("Outages", _NUMBER_CLASS), ("Mean time between", _NUMBER_CLASS),
    )  # fmt: skip
    return render_table(columns, (_uptime_cells(one) for one in accounts))


def _uptime_cells(account: EvseUptime) -> Iterator[str]:
    total = account.total
    up_ms = total.whole_ms - total.outage_ms
    yield f"EVSE {account.evse_id}"
    yield from _tally_cells(total)
    yield format_minutes(total.claimable_ms)
    yield format_percent(total.claimable_uptime_percent)
    yield f"{account.outage_count:,}"
    yield format_duration(up_ms // account.outage_count) if account.outage_count else NO_VALUE


def _tally_cells(tally: UptimeTally) -> Iterator[str]:
    yield format_minutes(tally.whole_ms)
    yield format_minutes(tally.outage_ms)
    yield format_minutes(tally.excluded_ms)
    yield format_minutes(tally.outage_ms - tally.excluded_ms)
    yield f"<b>{format_percent(tally.uptime_percent)}</b>"


def _render_formula(account: EvseUptime) -> str:
    """In seconds, which tell all of it: somebody with a calculator gets the same."""
    total = account.total
    whole, outage, excluded = map(
        format_seconds, (total.whole_ms, total.outage_ms, total.excluded_ms)
    )
    return (
        f'<div class="formula">EVSE {account.evse_id}, in s: (({whole} − ({outage} − {excluded})) '
        f"/ {whole}) × 100 = <b>{format_percent(total.uptime_percent)}</b></div>"
    )


def _months_table(accounts: list[EvseUptime], months: list[str]) -> str:
    columns = (
        ("Month, UTC", ""), ("EVSE", _NOWRAP_CLASS), ("Range, min", _NUMBER_CLASS), ("Outage, min", _NUMBER_CLASS),
        ("of it excluded, min", _NUMBER_CLASS), ("Counted, min", _NUMBER_CLASS), ("Uptime", _NUMBER_CLASS),
    )  # fmt: skip
    rows = (
        (month, f"EVSE {one.evse_id}", *_tally_cells(one.tally_by_month[month]))
        for month in months
        for one in accounts
        if month in one.tally_by_month
    )
    return render_table(columns, rows)


def _outages_table(listed: list[tuple[int, LongestOutages]], empty_message: str) -> str:
    if not any(len(outages) for _, outages in listed):
        return _render_paragraph(empty_message)
    columns = (
        ("EVSE", _NOWRAP_CLASS), ("From, UTC", _NOWRAP_CLASS), ("To, UTC", _NOWRAP_CLASS), ("Minutes", _NUMBER_CLASS),
        ("What, and the entry that shows it", ""), ("Over with entry", _NUMBER_CLASS), ("", _NOWRAP_CLASS),
    )  # fmt: skip
    rows = (
        (f"EVSE {evse_id}", *_outage_cells(one)) for evse_id, outages in listed for one in outages
    )
    left_out = "".join(
        f" Of EVSE {evse_id} {outages.others_count:,} shorter ones are not listed, "
        f"{format_minutes(outages.others_ms)} min in all."
        for evse_id, outages in listed
        if outages.others_count
    )
    return render_table(columns, rows) + (_render_paragraph(left_out.strip()) if left_out else "")


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
        yield f'<span class="tag claimable">counted</span> may be claimed:<br>{escape_text(grounds)}'
    else:
        yield f'<span class="tag excluded">excluded</span><br>{escape_text(grounds)}'


def _render_cause(cause: OutageCause) -> str:
    return f"{escape_text(cause.text)} {format_seq(cause.seq)}"


def _states_table(accounts: list[EvseUptime]) -> str:
    columns = (("State", ""), *((f"EVSE {one.evse_id}, min", _NUMBER_CLASS) for one in accounts),
               *((f"EVSE {one.evse_id}", _NUMBER_CLASS) for one in accounts))  # fmt: skip
    rows = (
        (
            name,
            *(format_minutes(one.ms_by_state[state]) for one in accounts),
            *(_format_share(one.ms_by_state[state], one.total.whole_ms) for one in accounts),
        )
        for state, (name, _) in STATE_LABELS.items()
        if any(one.ms_by_state[state] for one in accounts)
    )
    return render_table(columns, rows)


def _format_share(part: int, whole: int) -> str:
    return f"{part * 1000 // whole / 10:.1f} %" if whole else NO_VALUE


# --- Sessions ------------------------------------------------------------------------------------

SESSION_COLUMNS: Final = (
    ("Begun, UTC", _NOWRAP_CLASS), ("Length", _NUMBER_CLASS), ("EVSE", _NUMBER_CLASS), ("Transaction", _NOWRAP_CLASS),
    ("idToken", _NOWRAP_CLASS), ("Energy, Wh", _NUMBER_CLASS), ("Most, kW", _NUMBER_CLASS),
    ("SoC", _NUMBER_CLASS), ("Begun by", ""), ("Ended by", ""), ("Messages", ""),
    ("Entries", _NUMBER_CLASS),
)  # fmt: skip


def render_sessions(report_data: ReportData) -> Iterator[str]:
    known = report_data.sessions
    yield '<h2 id="sessions">Sessions</h2>'
    if not len(known):
        yield _render_paragraph("No session ended in this range, and none is open.")
        return
    left_out = known.ended_count + sum(not one.has_ended for one in known) - len(known)
    reasons = ", ".join(
        f"{escape_text(name)} {count}" for name, count in known.stop_reasons.most_common()
    )
    yield (
        '<p class="lead">Those that ended in the range, and those still open when it ends. An '
        "energy is the exact difference of two registers of the meter. Ended by: "
        f"{reasons or 'none'}. A number of messages alone: the CSMS has confirmed all of them."
        + (f" The newest {len(known):,} are listed, {left_out:,} are not." if left_out > 0 else "")
        + "</p>"
    )
    foot = (
        "",
        "",
        "",
        f"{known.ended_count:,} ended",
        "",
        format_decimal(known.energy_wh),
        *[""] * 6,
    )
    yield render_table(SESSION_COLUMNS, map(_session_cells, known), foot=foot)


def _session_cells(session: ReportedSession) -> Iterator[str]:
    one = session.record
    yield format_moment(datetime_to_ms(one.started_at)) + (
        "" if one.started_time_quality == SYNCHRONIZED else " ≈"
    )
    yield (
        format_duration(datetime_to_ms(one.ended_at) - datetime_to_ms(one.started_at))
        if one.ended_at
        else "open"
    )
    yield str(one.evse_id or NO_VALUE)
    yield shorten_id(one.transaction_id)
    yield _id_token_cell(one.id_token) if one.id_token else NO_VALUE
    registers = (
        f"{format_decimal(one.start_wh)} to {format_decimal(one.stop_wh)} Wh" if one.stop_wh else ""
    )
    title = f' title="{registers}"' if registers and one.start_wh else ""
    yield f"<span{title}>{format_decimal(session.energy_wh)}</span>"
    yield _max_power_cell(session)
    yield _soc_cell(session)
    yield escape_text(one.started_trigger_reason)
    yield _end_reason_cell(session)
    yield _delivery_cell(session)
    yield f"{format_seq(one.first_seq)}–{format_seq(one.last_seq)}"


def _max_power_cell(session: ReportedSession) -> str:
    """The highest power that was read; no reading, or none while the energy flowed, tells none."""
    unseen = not session.power_max_w and session.energy_wh
    return (
        NO_VALUE if session.power_max_w is None or unseen else format_kilowatts(session.power_max_w)
    )


def _id_token_cell(id_token: IdToken) -> str:
    """The reference; never the value, which this page does not know."""
    return (
        f'<abbr class="seq" title="{escape_text(id_token.type)}">{escape_text(id_token.ref)}</abbr>'
    )


def _soc_cell(session: ReportedSession) -> str:
    if session.soc_last is None:
        return NO_VALUE
    return f"{session.soc_first} → {session.soc_last} %"


def _end_reason_cell(session: ReportedSession) -> str:
    one = session.record
    told = escape_text(one.stopped_reason) or ("Local" if session.has_ended else "")
    trigger = f" ({escape_text(one.stopped_trigger_reason)})" if one.stopped_trigger_reason else ""
    times = f"; {one.restart_count} × interrupted" if one.restart_count else ""
    return (told + trigger + times) or NO_VALUE


def _delivery_cell(session: ReportedSession) -> str:
    """What became of its messages: all is well, or what is not."""
    one = session.record
    messages = one.seq_no_summary[2] if one.seq_no_summary else 0
    waiting = len(one.waiting_calls - one.parked_calls)
    parts = [
        f"{len(one.parked_calls)} parked" if one.parked_calls else "",
        f"{waiting} waiting" if waiting else "",
        f"{one.dropped_count} dropped" if one.dropped_count else "",
    ]
    wrong = ", ".join(part for part in parts if part)
    return f"{messages}: {wrong}" if wrong else str(messages)


# --- Messages ------------------------------------------------------------------------------------


def render_messages(report_data: ReportData) -> Iterator[str]:
    known = report_data.message_statistics
    yield '<h2 id="messages">Messages the CSMS has not confirmed</h2>'
    dropped = ", ".join(
        f"{count} {escape_text(why)}" for why, count in sorted(known.dropped_by_reason.items())
    )
    yield (
        f'<p class="lead">When the range ends {known.waiting_count:,} wait and '
        f"{known.parked_count:,} are parked. In the range {known.times_parked:,} were parked"
        + (f" and these dropped: {dropped}" if dropped else " and none was dropped")
        + ".</p>"
    )
    if not report_data.unconfirmed_calls:
        return
    columns = (
        ("Call", _NUMBER_CLASS), ("", _NOWRAP_CLASS), ("Queued, UTC", _NOWRAP_CLASS), ("Action", ""),
        ("Transaction", _NOWRAP_CLASS), ("seqNo", _NUMBER_CLASS), ("Attempts", _NUMBER_CLASS), ("Why parked", ""),
    )  # fmt: skip
    yield render_table(columns, map(_unconfirmed_cells, report_data.unconfirmed_calls))
    left_out = known.waiting_count + known.parked_count - len(report_data.unconfirmed_calls)
    if left_out > 0:
        yield _render_paragraph(
            f"The oldest {messages.LISTED_CALLS_MAX} of each are listed, {left_out:,} are not: see "
            "<code>station outbox JOURNAL list</code>."
        )


def _unconfirmed_cells(call: UnconfirmedCall) -> Iterator[str]:
    queued = find_queued_call(call.queued_entry)
    mark = queued.transaction_event if queued else None
    yield format_seq(call.call)
    kind, name = ("counted", "parked") if call.reason else ("claimable", "waits")
    yield f'<span class="tag {kind}">{name}</span>'
    yield format_moment(datetime_to_ms(call.queued_entry.at)) if call.queued_entry else NO_VALUE
    yield (
        escape_text(queued.action) + (f" {mark.event_type}" if mark else "") if queued else NO_VALUE
    )
    yield shorten_id(mark.transaction_id) if mark else NO_VALUE
    yield str(mark.seq_no) if mark else NO_VALUE
    yield str(call.attempts)
    yield escape_text(call.reason) if call.reason else NO_VALUE


# --- Faults --------------------------------------------------------------------------------------


def render_faults(report_data: ReportData) -> Iterator[str]:
    yield '<h2 id="faults">Faults</h2>'
    if not len(report_data.fault_statistics):
        yield _render_paragraph("No device reported a fault.")
        return
    yield (
        '<p class="lead">Mean time between: the range without the fault, divided by how often it '
        "came. A fault told again within a minute of a restart is the one from before it.</p>"
    )
    columns = (
        ("Fault", ""), ("Where", _NOWRAP_CLASS), ("", _NOWRAP_CLASS), ("Times", _NUMBER_CLASS),
        ("In all", _NUMBER_CLASS), ("Longest", _NUMBER_CLASS), ("Mean", _NUMBER_CLASS),
        ("Mean time between", _NUMBER_CLASS), ("The last ones, UTC, and their entries", _NOWRAP_CLASS),
    )  # fmt: skip
    yield render_table(
        columns,
        (_fault_cells(one, report_data.duration_ms) for one in report_data.fault_statistics),
    )
    if report_data.fault_statistics.left_out_count:
        yield _render_paragraph(
            f"{report_data.fault_statistics.left_out_count:,} more, of kinds beyond the first, are left out."
        )


def _fault_cells(fault_kind: FaultKind, range_ms: int) -> Iterator[str]:
    between = fault_kind.mean_between_ms(range_ms)
    yield f"{escape_text(fault_kind.device)} {escape_text(fault_kind.fault)}"
    yield f"EVSE {fault_kind.evse_id}" if fault_kind.evse_id else "station"
    kind, name = ("stops", "stops a charge") if fault_kind.blocks else ("goes", "goes on")
    yield f'<span class="tag {kind}">{name}</span>'
    yield f"{fault_kind.count:,}"
    yield format_duration(fault_kind.total_ms)
    yield format_duration(fault_kind.longest_ms)
    yield format_duration(fault_kind.total_ms // fault_kind.count) if fault_kind.count else NO_VALUE
    yield NO_VALUE if between is None else format_duration(between)
    yield "<br>".join(
        format_span(each.began_ms, each.began_seq, each.ended_ms, each.ended_seq)
        for each in fault_kind.recent
    )


# --- Response times ------------------------------------------------------------------------------


def render_response_times(report_data: ReportData) -> Iterator[str]:
    yield '<h2 id="answers">Response times</h2>'
    yield (
        '<p class="lead">By the uptime in the journal, from the frame on the wire to the answer. '
        "The 95th percentile is told to a tenth of itself.</p>"
    )
    for title, known, failing in (
        ("The CSMS answers", report_data.message_statistics.csms_times, True),
        ("The station answers", report_data.message_statistics.station_times, False),
    ):
        yield f"<h3>{title}</h3>"
        if not known:
            yield _render_paragraph("Nothing was asked.")
            continue
        columns = [
            ("Action", ""), ("Answers", _NUMBER_CLASS), ("Least", _NUMBER_CLASS), ("Mean", _NUMBER_CLASS),
            ("95 % within", _NUMBER_CLASS), ("Most", _NUMBER_CLASS),
        ]  # fmt: skip
        columns += [("Attempts that failed", _NUMBER_CLASS)] if failing else []
        yield render_table(
            columns,
            (_response_time_cells(name, one, failing) for name, one in sorted(known.items())),
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
    yield '<h2 id="life">Starts and clock</h2>'
    if not report_data.starts:
        yield _render_paragraph("The program ran from beginning to end.")
    else:
        columns = (("Started, UTC", _NOWRAP_CLASS), ("Entry", _NUMBER_CLASS), ("Nobody there for", _NUMBER_CLASS),
                   ("Release", ""), ("Why", ""))  # fmt: skip
        yield render_table(
            columns,
            (
                (format_moment(one.moment_ms), format_seq(one.seq),
                 NO_VALUE if one.gap_ms is None else format_duration(one.gap_ms),
                 escape_text(one.release), escape_text(one.why))
                for one in report_data.starts
            ),
            caption=_newest_caption("start", report_data.starts_count, len(report_data.starts)),
        )  # fmt: skip
    if not report_data.clock_changes:
        yield _render_paragraph("The clock was not moved.")
        return
    yield render_table(
        (
            ("Clock moved, UTC", _NOWRAP_CLASS),
            ("Entry", _NUMBER_CLASS),
            ("By", _NUMBER_CLASS),
            ("Who", ""),
        ),
        (
            (
                format_moment(one.moment_ms),
                format_seq(one.seq),
                _format_step(one.step_ms),
                escape_text(one.source),
            )
            for one in report_data.clock_changes
        ),
        caption=_newest_caption(
            "change", report_data.clock_changes_count, len(report_data.clock_changes)
        ),
    )


def _format_step(step_ms: int) -> str:
    return ("+" if step_ms > 0 else "−") + format_duration(abs(step_ms))


def _newest_caption(noun: str, count: int, listed_count: int) -> str:
    return f"The newest {listed_count} of {count:,} {noun}s." if count > listed_count else ""


# --- How it is counted ---------------------------------------------------------------------------

COUNTING_RULES: Final = (
    "<b>Up</b> is an EVSE while a transaction is open there and no fault forbids energy, or while "
    "the program runs, the CSMS has accepted the station, the link is open, nobody has taken the "
    "EVSE out of service and no fault forbids energy. Everything else is <b>outage</b>.",
    "A program that broke off is down from its last entry on: nothing later shows it up. So is "
    "the time behind the journal's last entry, if the range goes on. Time before the first start "
    "is not counted at all.",
    "An outage is <b>excluded</b> while each of its causes is proven by the journal to be one the "
    "rule excludes, or began while such a one lasted: mains lost or a phase missing (electric "
    "utility service interruption), the EV's own emergency stop (fault of the vehicle), the "
    "installation of firmware that was ordered for a time to come (scheduled maintenance).",
    "What the journal cannot prove is <b>counted, but may be claimed</b> by whoever has other "
    "evidence: taken out of service by the CSMS, a host without supply, a program ended on site, "
    "doors, a tilted dispenser, sessions an EV broke off, mains out of its limits.",
    "A link that is down is never excluded: the rule names no network. Power below the rule's "
    "minimum is not judged; faults that lower it stand in the table of faults.",
    "Milliseconds are counted; minutes are rounded for print, percentages are cut, never rounded "
    "up.",
    "Times are UTC as the CSMS told it, also where the station's clock was wrong until then: "
    "uptime says how far away a moment was. A ≈ stands where nobody had told it in that run.",
)


def render_counting_rules(report_data: ReportData) -> Iterator[str]:
    yield '<h2 id="counting">How this is counted</h2>'
    yield (
        '<div class="formula">uptime = ((minutes of the range − (outage − excluded)) / minutes of '
        "the range) × 100 &nbsp; (a year has 525,600)</div>"
    )
    yield f'<ul class="how">{"".join(f"<li>{one}</li>" for one in COUNTING_RULES)}</ul>'
    if report_data.sessions.ended_count > sessions.LISTED_SESSIONS_MAX:
        total = format_kwh(report_data.sessions.energy_wh)
        yield _render_paragraph(
            f"Totals cover all {report_data.sessions.ended_count:,} sessions: {total} kWh."
        )
