"""The report page: one HTML document without external resources.

It runs no script and fetches nothing, and the content security policy in its head forbids both.
Everything that a CSMS, an EV or a manipulated journal supplies appears as escaped text only.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from station import RELEASE
from station.core.certificate_validity import expires_at
from station.history.report import (
    operation_sections,
    session_sections,
    timeline_svg,
    uptime_sections,
)
from station.history.report.collect import ReportData
from station.history.report.formatting import (
    escape_text,
    format_decimal,
    format_duration,
    format_kwh,
    format_minutes,
    format_moment,
    format_percent,
)
from station.history.report.style import STYLE_SHEET
from station.history.report.uptime import UptimeTally

EXPIRY_NOTICE_DAYS: Final = 90
UPTIME_MIN_PERCENT: Final = 97  # required by US 23 CFR 680.116 (b)

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)


def render_page(report_data: ReportData) -> str:
    """The whole document. Equal data give equal text."""
    since, until = format_moment(report_data.since_ms), format_moment(report_data.until_ms)
    title = f"Station {escape_text(report_data.identity)}, {since} to {until} UTC"
    body = "\n".join(_render_body(report_data))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{CONTENT_SECURITY_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{title}</title>\n<style>{STYLE_SHEET}</style>\n</head>\n<body>\n"
        f"{timeline_svg.render_definitions()}\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _render_body(report_data: ReportData) -> Iterator[str]:
    yield _render_header(report_data)
    yield from _render_notices(report_data)
    yield _render_figures(report_data)
    yield from _render_timelines(report_data)
    yield from uptime_sections.render_uptime(report_data)
    yield from session_sections.render_sessions(report_data)
    yield from session_sections.render_refusals(report_data)
    yield from operation_sections.render_messages(report_data)
    yield from operation_sections.render_faults(report_data)
    yield from operation_sections.render_response_times(report_data)
    yield from operation_sections.render_starts(report_data)
    yield from uptime_sections.render_counting_rules(report_data)
    yield _render_footer(report_data)


SECTION_TITLES: Final = (
    ("timeline", "Timeline"), ("uptime", "Uptime"), ("sessions", "Sessions"),
    ("refusals", "Refused idTokens"),
    ("messages", "Messages"), ("faults", "Faults"), ("response-times", "Response times"),
    ("starts", "Starts and clock"), ("counting-rules", "How uptime is counted"),
)  # fmt: skip


def _render_header(report_data: ReportData) -> str:
    nav = "".join(f'<a href="#{name}">{title}</a>' for name, title in SECTION_TITLES)
    since, until = format_moment(report_data.since_ms), format_moment(report_data.until_ms)
    profile, release = escape_text(report_data.profile), escape_text(report_data.release)
    return (
        '<header><p class="kicker">Charging station report</p>'
        f"<h1>{escape_text(report_data.identity)}</h1>"
        f'<p class="range">{since}<span class="to">to</span>{until} UTC'
        f'<span class="to">·</span>{format_duration(report_data.duration_ms)}</p>'
        f'<p class="meta">Product {profile}, release {release} · '
        f"journal {escape_text(report_data.journal_id)}, {report_data.describe_entries}</p>"
        f"</header><nav>{nav}</nav>"
    )


# --- Notices -----------------------------------------------------------------


def _render_notices(report_data: ReportData) -> Iterator[str]:
    if report_data.problems_count:
        problems = "; ".join(map(escape_text, report_data.problems))
        more = report_data.problems_count - len(report_data.problems)
        yield _render_notice(
            "The journal is damaged.",
            f"{problems}{f'; and {more} more' if more else ''}. "
            "Unreadable entries are not counted. Run <code>station verify</code>.",
        )
    if report_data.starts_late and report_data.archived_count:
        yield _render_notice(
            "The range begins before the first entry.",
            f"Entries up to {report_data.archived_count} are not in this journal. "
            f"Counting starts at {format_moment(report_data.since_ms)}.",
        )
    elif report_data.starts_late:
        yield _render_notice(
            "The range begins before the first entry.",
            f"The journal begins at {format_moment(report_data.since_ms)}; counting starts there.",
        )
    if report_data.uncovered_ms:
        yield _render_notice(
            "The journal ends before the range.",
            f"Its last entry is {report_data.last_entry}, "
            f"{format_moment(report_data.last_entry_ms)}. The "
            f"{format_duration(report_data.uncovered_ms)} after it count as outage, because no "
            "entry shows that the station was up.",
        )
    yield from _render_expiring_certificates(report_data)


def _render_expiring_certificates(report_data: ReportData) -> Iterator[str]:
    """The certificates that have expired at the end of the range, or expire within 90 days."""
    limit_ms = report_data.until_ms + EXPIRY_NOTICE_DAYS * 86_400_000
    expiring = sorted(
        (certificate.not_after, certificate.use, certificate.subject)
        for certificate in report_data.certificates
        if expires_at(certificate).timestamp() * 1000 < limit_ms
    )
    if not expiring:
        return
    listed = "; ".join(
        f"{escape_text(use)} {escape_text(subject)}: {escape_text(not_after)}"
        for not_after, use, subject in expiring
    )
    yield _render_notice(
        f"Certificates expire within {EXPIRY_NOTICE_DAYS} days.",
        f"{listed}. <code>station renew-certificate</code> requests a new one of the station; the "
        "CSMS installs roots.",
    )


def _render_notice(title: str, message: str) -> str:
    return f'<div class="notice"><b>{title}</b> {message}</div>'


# --- Figures -------------------------------------------------------------------------------------


def _render_figures(report_data: ReportData) -> str:
    sessions, messages = report_data.sessions, report_data.message_statistics
    open_count = sum(not session.has_ended for session in sessions)
    open_wh = sum(
        (session.energy_wh or Decimal(0) for session in sessions if not session.has_ended),
        Decimal(0),
    )
    faults = report_data.fault_statistics
    blocking_count = sum(kind.count for kind in faults if kind.blocks)
    items = [
        _render_figure(
            "Energy delivered, kWh",
            format_kwh(sessions.energy_wh),
            f"{format_decimal(sessions.energy_wh)} Wh billed by the registers"
            + (
                f"; {format_decimal(sessions.unaccounted_wh)} Wh outside transactions"
                if sessions.unaccounted_count
                else ""
            )
            + (f"; open sessions: {format_decimal(open_wh)} Wh so far" if open_wh else ""),
        ),
        _render_figure("Sessions", f"{sessions.ended_count:,}", f"ended; {open_count} open"),
        *(
            _render_uptime_figure(evse_id, uptime.total)
            for evse_id, uptime in sorted(report_data.uptimes.items())
        ),
        _render_figure("Faults", f"{len(faults):,}", f"{blocking_count} that block charging"),
        _render_figure(
            "Messages not confirmed",
            f"{messages.waiting_count + messages.parked_count:,}",
            f"{messages.waiting_count} waiting, {messages.parked_count} parked",
            is_bad=messages.parked_count > 0,
        ),
    ]
    return f'<ul class="figures">{"".join(items)}</ul>'


def _render_uptime_figure(evse_id: int, total: UptimeTally) -> str:
    counted_ms = total.outage_ms - total.excluded_ms
    return _render_figure(
        f"Uptime EVSE {evse_id}",
        format_percent(total.uptime_percent),
        f"{format_minutes(counted_ms)} min of outage counted",
        is_bad=(total.uptime_percent or 100) < UPTIME_MIN_PERCENT,
    )


def _render_figure(name: str, value: str, note: str, *, is_bad: bool = False) -> str:
    return (
        f'<li{" class=bad" if is_bad else ""}><span class="name">{name}</span>'
        f'<span class="value">{value}</span><span class="note">{note}</span></li>'
    )


# --- Timelines ----------------------------------------------------------------------------------


def _render_timelines(report_data: ReportData) -> Iterator[str]:
    scale = timeline_svg.choose_power_scale_w(
        max((timeline.power_max_w for timeline in report_data.timelines.values()), default=0)
    )
    yield '<h2 id="timeline">Timeline</h2>'
    yield timeline_svg.render_legend()
    for evse_id, timeline in sorted(report_data.timelines.items()):
        yield f"<h3>EVSE {evse_id}</h3>"
        yield timeline_svg.render_timeline(timeline, evse_id, scale)
        yield from session_sections.render_limits(timeline, evse_id)


def _render_footer(report_data: ReportData) -> str:
    return (
        f"<footer>Written by ocpp-station {escape_text(RELEASE)} from entries up to "
        f"{report_data.last_entry:,}, {format_moment(report_data.last_entry_ms, exact=True)} UTC. "
        "Numbers in monospace are journal entries: <code>station why JOURNAL NUMBER</code> "
        "explains one; those underlined open their explanation. This page is no proof; "
        "<code>station verify</code> and a signed <code>station export</code> are.</footer>"
    )
