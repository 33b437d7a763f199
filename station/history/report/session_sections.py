"""Sections of the report page about sessions: limits in force, sessions, refused idTokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeVar

from journal.events import IdToken
from station.history.export.table import SYNCHRONIZED
from station.history.report.clock_corrections import datetime_to_ms
from station.history.report.collect import ReportData
from station.history.report.formatting import (
    NO_VALUE,
    escape_text,
    format_decimal,
    format_duration,
    format_kilowatts,
    format_moment,
    format_seq,
    shorten_id,
)
from station.history.report.sessions import ReportedEnergy, ReportedSession, ReportedSessions
from station.history.report.tables import (
    NOWRAP_CLASS,
    NUMBER_CLASS,
    DetailsRenderer,
    newest_caption,
    render_paragraph,
    render_table,
)
from station.history.report.timeline import EvseTimeline, LimitSource
from station.transcript.decisions import UNACCOUNTED_PHRASES
from station.transcript.phrases import count_things

T = TypeVar("T")


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
        yield render_paragraph(
            f"Other sources limited for {format_duration(timeline.unlisted_limits_ms)}."
        )


def _format_limit_range(source: LimitSource) -> str:
    lowest = format_kilowatts(source.lowest_w)
    if source.highest_w == source.lowest_w:
        return lowest
    return f"{lowest} to {format_kilowatts(source.highest_w)}"


# --- Sessions ------------------------------------------------------------------------------------

SESSION_COLUMNS: Final = (
    ("Started, UTC", NOWRAP_CLASS),
    ("Duration", NUMBER_CLASS),
    ("EVSE", NUMBER_CLASS),
    ("Transaction", NOWRAP_CLASS),
    ("idToken", NOWRAP_CLASS),
    ("Energy, Wh", NUMBER_CLASS),
    ("Highest power, kW", NUMBER_CLASS),
    ("SoC", NUMBER_CLASS),
    ("Started by", ""),
    ("Ended by", ""),
    ("Messages", ""),
    ("Cost", NUMBER_CLASS),
    ("Entries", NUMBER_CLASS),
)


def render_sessions(report_data: ReportData) -> Iterator[str]:
    listed = report_data.sessions
    yield '<h2 id="sessions">Sessions</h2>'
    if not len(listed):
        yield render_paragraph("No session ended in this range or is open.")
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
    ("Listed", NOWRAP_CLASS),
    ("EVSE", NUMBER_CLASS),
    ("Energy, Wh", NUMBER_CLASS),
    ("Register, Wh", NUMBER_CLASS),
    ("Because", ""),
    ("Transaction before", NOWRAP_CLASS),
    ("Between entries", NUMBER_CLASS),
    ("Entry", NUMBER_CLASS),
)


def _render_unaccounted(listed: ReportedSessions) -> Iterator[str]:
    """Energy that the meters counted outside transactions, with the entries that show it."""
    yield "<h3>Energy outside transactions</h3>"
    if not listed.unaccounted_count:
        yield render_paragraph("None: what the meters counted is billed to the sessions.")
        return
    left_out = listed.unaccounted_count - len(listed.unaccounted)
    yield render_paragraph(
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
        yield render_paragraph("No idToken was refused.")
        return
    statuses = ", ".join(
        f"{escape_text(status)} {count:,}" for status, count in refusals.by_status.most_common()
    )
    yield render_paragraph(
        f"An EV driver presented an idToken and was refused {refusals.count:,} times: {statuses}. "
        "The number of an entry opens its explanation, if it is underlined."
    )
    details = DetailsRenderer(report_data)
    columns = (
        ("At, UTC", NOWRAP_CLASS),
        ("EVSE", NUMBER_CLASS),
        ("idToken", NOWRAP_CLASS),
        ("Status", ""),
        ("Entry", NUMBER_CLASS),
    )
    yield render_table(
        columns,
        (
            (format_moment(refusal.moment_ms), str(refusal.evse_id or NO_VALUE),
             _id_token_cell(refusal.id_token), escape_text(refusal.status),
             details.render(refusal.seq))
            for refusal in refusals.newest
        ),
        caption=newest_caption("refusal", refusals.count, len(refusals.newest)),
    )  # fmt: skip
