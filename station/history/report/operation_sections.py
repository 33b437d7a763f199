"""Sections of the report page about operation: messages, faults, response times, starts, clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from station.history.report import messages
from station.history.report.clock_corrections import datetime_to_ms
from station.history.report.collect import ReportData
from station.history.report.fault_statistics import FaultKind
from station.history.report.formatting import (
    NO_VALUE,
    escape_text,
    format_duration,
    format_moment,
    format_seq,
    format_span,
    shorten_id,
)
from station.history.report.messages import ResponseTimes, UnconfirmedCall, find_queued_call
from station.history.report.tables import (
    NOWRAP_CLASS,
    NUMBER_CLASS,
    DetailsRenderer,
    newest_caption,
    render_paragraph,
    render_table,
)

LISTED_SEQS_MAX: Final = 16  # faults of one bus trace; the station names no more

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
        ("Call", NUMBER_CLASS),
        ("", NOWRAP_CLASS),
        ("Queued, UTC", NOWRAP_CLASS),
        ("Action", ""),
        ("Transaction", NOWRAP_CLASS),
        ("seqNo", NUMBER_CLASS),
        ("Attempts", NUMBER_CLASS),
        ("Reason for parking", ""),
    )
    yield render_table(columns, map(_unconfirmed_cells, report_data.unconfirmed_calls))
    left_out = (
        statistics.waiting_count + statistics.parked_count - len(report_data.unconfirmed_calls)
    )
    if left_out > 0:
        yield render_paragraph(
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
        yield render_paragraph("No device reported a fault.")
        return
    yield (
        '<p class="lead">Mean time between faults: the time without the fault, divided by the '
        "number of its occurrences, if there were at least two. A fault reported again within a "
        "minute of a restart is counted once.</p>"
    )
    details = DetailsRenderer(report_data)
    columns = (
        ("Fault", ""), ("Location", NOWRAP_CLASS), ("", NOWRAP_CLASS), ("Count", NUMBER_CLASS),
        ("Total", NUMBER_CLASS), ("Longest", NUMBER_CLASS), ("Mean", NUMBER_CLASS),
        ("Mean time between", NUMBER_CLASS), ("Latest, UTC, with their entries", NOWRAP_CLASS),
    )  # fmt: skip
    yield render_table(
        columns,
        (
            _fault_cells(kind, report_data.duration_ms, details)
            for kind in report_data.fault_statistics
        ),
    )
    if report_data.fault_statistics.left_out_count:
        yield render_paragraph(
            f"{report_data.fault_statistics.left_out_count:,} occurrences of further kinds "
            "are not listed."
        )
    yield from _render_bus_traces(report_data)


def _render_bus_traces(report_data: ReportData) -> Iterator[str]:
    if not report_data.bus_traces:
        return
    yield "<h3>Bus traces</h3>"
    yield render_paragraph(
        "What passed over the lines of the devices around a fault, in the directory "
        "<code>traces</code> of the station and in the archive of GetLog. The oldest are deleted."
    )
    yield render_table(
        (
            ("Written, UTC", NOWRAP_CLASS),
            ("Entry", NUMBER_CLASS),
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
        caption=newest_caption("trace", report_data.bus_traces_count, len(report_data.bus_traces)),
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
            yield render_paragraph("No requests.")
            continue
        columns = [
            ("Action", ""),
            ("Answers", NUMBER_CLASS),
            ("Shortest", NUMBER_CLASS),
            ("Mean", NUMBER_CLASS),
            ("95 % within", NUMBER_CLASS),
            ("Longest", NUMBER_CLASS),
        ]
        columns += [("Failed attempts", NUMBER_CLASS)] if with_failures else []
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
        yield render_paragraph("The program did not start in this range.")
    else:
        columns = (
            ("Started, UTC", NOWRAP_CLASS),
            ("Entry", NUMBER_CLASS),
            ("Not running for", NUMBER_CLASS),
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
            caption=newest_caption("start", report_data.starts_count, len(report_data.starts)),
        )  # fmt: skip
    if not report_data.clock_changes:
        yield render_paragraph("The clock was not changed.")
        return
    yield render_table(
        (
            ("Clock changed, UTC", NOWRAP_CLASS),
            ("Entry", NUMBER_CLASS),
            ("By", NUMBER_CLASS),
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
        caption=newest_caption(
            "change", report_data.clock_changes_count, len(report_data.clock_changes)
        ),
    )


def _format_step(step_ms: int) -> str:
    return ("+" if step_ms > 0 else "−") + format_duration(abs(step_ms))
