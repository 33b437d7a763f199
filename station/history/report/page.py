"""What stands on the page? One HTML document that needs nothing but itself.

No script runs, nothing is fetched and the policy in its head forbids both: what a CSMS, a car or
a hand at the journal wrote is only ever text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from station import RELEASE
from station.history.report import drawing, sections
from station.history.report.gathering import Facts
from station.history.report.style import SHEET
from station.history.report.words import (
    decimal,
    duration,
    kwh,
    minutes,
    moment,
    percent,
    text,
)

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(facts: Facts) -> str:
    """The whole document; the same facts give the same text."""
    title = f"Station {text(facts.identity)}, {moment(facts.since)} to {moment(facts.until)} UTC"
    body = "\n".join(_body(facts))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{title}</title>\n<style>{SHEET}</style>\n</head>\n<body>\n"
        f"{drawing.definitions()}\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _body(facts: Facts) -> Iterator[str]:
    yield _header(facts)
    yield from _notices(facts)
    yield _figures(facts)
    yield from _timelines(facts)
    yield from sections.uptime(facts)
    yield from sections.sessions(facts)
    yield from sections.messages(facts)
    yield from sections.faults(facts)
    yield from sections.answers(facts)
    yield from sections.life(facts)
    yield from sections.counting(facts)
    yield _footer(facts)


PARTS: Final = (
    ("timeline", "Time line"), ("uptime", "Uptime"), ("sessions", "Sessions"),
    ("messages", "Messages"), ("faults", "Faults"), ("answers", "Response times"),
    ("life", "Starts and clock"), ("counting", "How this is counted"),
)  # fmt: skip


def _header(facts: Facts) -> str:
    nav = "".join(f'<a href="#{name}">{title}</a>' for name, title in PARTS)
    return (
        f'<header><p class="kicker">Charging station report</p><h1>{text(facts.identity)}</h1>'
        f'<p class="range">{moment(facts.since)}<span class="to">to</span>{moment(facts.until)} UTC'
        f'<span class="to">·</span>{duration(facts.whole_ms)}</p>'
        f'<p class="meta">Product {text(facts.profile)}, release {text(facts.release)} · '
        f"journal {text(facts.journal_id)}, {facts.entries}</p></header><nav>{nav}</nav>"
    )


# --- What to know before reading -----------------------------------------------------------------


def _notices(facts: Facts) -> Iterator[str]:
    if facts.complaints_count:
        told = "; ".join(text(one) for one in facts.complaints)
        more = facts.complaints_count - len(facts.complaints)
        yield _notice(
            "The journal is not whole.",
            f"{told}{f'; and {more} more' if more else ''}. Figures leave out what cannot be read. "
            "Run <code>station verify</code>.",
        )
    if facts.late_start and facts.archived:
        yield _notice(
            "The range begins earlier.",
            f"Entries up to {facts.archived} are not there: it is counted from "
            f"{moment(facts.since)}.",
        )
    elif facts.late_start:
        yield _notice(
            "The range begins earlier.",
            f"The station's first entry is of {moment(facts.since)}: it is counted from there.",
        )
    if facts.silent_ms:
        yield _notice(
            "The journal ends before the range does.",
            f"Its last entry is {facts.last_entry}, {moment(facts.ends)}. The "
            f"{duration(facts.silent_ms)} behind it count as outage, for nothing shows "
            "the station up.",
        )


def _notice(title: str, told: str) -> str:
    return f'<div class="notice"><b>{title}</b> {told}</div>'


# --- Figures -------------------------------------------------------------------------------------


def _figures(facts: Facts) -> str:
    visits, talks = facts.visits, facts.talks
    still = sum(not one.over for one in visits)
    items = [
        _figure("Energy delivered, kWh", kwh(visits.energy_wh),
                f"{decimal(visits.energy_wh)} Wh by the meters"),
        _figure("Sessions", f"{visits.ended:,}", f"ended; {still} still open"),
        *(
            _figure(f"Uptime EVSE {evse_id}", percent(one.total.uptime),
                    f"{minutes(one.total.outage - one.total.excluded)} min of outage counted",
                    bad=(one.total.uptime or 100) < 97)
            for evse_id, one in sorted(facts.uptimes.items())
        ),
        _figure("Faults", f"{len(facts.troubles):,}",
                f"{sum(one.count for one in facts.troubles if one.blocks)} that stop a charge"),
        _figure("Not confirmed", f"{talks.waiting_count + talks.parked_count:,}",
                f"{talks.waiting_count} waiting, {talks.parked_count} parked",
                bad=talks.parked_count > 0),
    ]  # fmt: skip
    return f'<ul class="figures">{"".join(items)}</ul>'


def _figure(name: str, value: str, note: str, *, bad: bool = False) -> str:
    return (
        f'<li{" class=bad" if bad else ""}><span class="name">{name}</span>'
        f'<span class="value">{value}</span><span class="note">{note}</span></li>'
    )


# --- Time lines ----------------------------------------------------------------------------------


def _timelines(facts: Facts) -> Iterator[str]:
    scale = drawing.scale_of(max((one.power_max_w for one in facts.lanes.values()), default=0))
    yield '<h2 id="timeline">Time line</h2>'
    yield drawing.legend()
    for evse_id, lanes in sorted(facts.lanes.items()):
        yield f"<h3>EVSE {evse_id}</h3>"
        yield drawing.timeline(lanes, evse_id, scale)


def _footer(facts: Facts) -> str:
    return (
        f"<footer>Made by ocpp-station {text(RELEASE)} from entries up to {facts.last_entry:,}, "
        f"{moment(facts.ends, exact=True)} UTC. "
        "Numbers in typewriter face are journal entries: <code>station why JOURNAL NUMBER</code> "
        "tells what led to one. This page proves nothing by itself; "
        "<code>station verify</code> and a signed <code>station export</code> do.</footer>"
    )
