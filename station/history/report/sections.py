"""Which tables stand on the page?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from journal.terms import IdToken
from station.history.report import talks, visits
from station.history.report.condition import Cause
from station.history.report.gathering import Facts
from station.history.report.talks import Answers, Unconfirmed, queued_of
from station.history.report.times import ms_of
from station.history.report.troubles import Kind
from station.history.report.uptime import Listed, Outage, Tally, Uptime
from station.history.report.visits import Visit
from station.history.report.words import (
    NONE,
    STATES,
    decimal,
    duration,
    entry,
    kilowatts,
    kwh,
    minutes,
    moment,
    percent,
    seconds,
    short,
    span,
    text,
)

Cells = Iterable[str]
_NUMBERS: Final = "n"  # a column of numbers
_NARROW: Final = "w"  # one that is not broken


def table(
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
    body = "".join(f"<tr>{_cells(row, kinds)}</tr>" for row in rows)
    under = f"<tfoot><tr>{_cells(foot, kinds)}</tr></tfoot>" if foot else ""
    above = f"<caption>{caption}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{above}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody>{under}</table></div>"
    )


def _cells(row: Cells, kinds: list[str]) -> str:
    return "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True))


def _empty(told: str) -> str:
    return f'<p class="lead">{told}</p>'


# --- Uptime --------------------------------------------------------------------------------------


def uptime(facts: Facts) -> Iterator[str]:
    yield '<h2 id="uptime">Uptime</h2>'
    yield (
        '<p class="lead">For each EVSE as US 23 CFR 680.116 (b) counts a charging port, over the '
        "minutes of this range.</p>"
    )
    accounts = [one for _, one in sorted(facts.uptimes.items())]
    yield _account(accounts)
    for one in accounts:
        yield _formula(one)
    months = sorted({month for one in accounts for month in one.months})
    if len(months) > 1:
        yield "<h3>By calendar month</h3>"
        yield _months(accounts, months)
    yield "<h3>Excluded minutes and their evidence</h3>"
    yield _outages([(one.evse_id, one.excluded) for one in accounts], "No minute is excluded.")
    yield "<h3>Counted outages</h3>"
    yield _outages([(one.evse_id, one.counted) for one in accounts], "There was no outage.")
    yield "<h3>Time in each state</h3>"
    yield _states(accounts)


def _account(accounts: list[Uptime]) -> str:
    columns = (
        ("EVSE", _NARROW), ("Range, min", _NUMBERS), ("Outage, min", _NUMBERS),
        ("of it excluded, min", _NUMBERS), ("Counted, min", _NUMBERS), ("Uptime", _NUMBERS),
        ("Counted, but may be claimed, min", _NUMBERS), ("Uptime if all of it is shown", _NUMBERS),
        ("Outages", _NUMBERS), ("Mean time between", _NUMBERS),
    )  # fmt: skip
    return table(columns, (_account_row(one) for one in accounts))


def _account_row(one: Uptime) -> Iterator[str]:
    total = one.total
    up_ms = total.whole - total.outage
    yield f"EVSE {one.evse_id}"
    yield from _tally(total)
    yield minutes(total.claimable)
    yield percent(total.uptime_if_shown)
    yield f"{one.outages:,}"
    yield duration(up_ms // one.outages) if one.outages else NONE


def _tally(tally: Tally) -> Iterator[str]:
    yield minutes(tally.whole)
    yield minutes(tally.outage)
    yield minutes(tally.excluded)
    yield minutes(tally.outage - tally.excluded)
    yield f"<b>{percent(tally.uptime)}</b>"


def _formula(one: Uptime) -> str:
    """In seconds, which tell all of it: somebody with a calculator gets the same."""
    total = one.total
    whole, outage, excluded = map(seconds, (total.whole, total.outage, total.excluded))
    return (
        f'<div class="formula">EVSE {one.evse_id}, in s: (({whole} − ({outage} − {excluded})) '
        f"/ {whole}) × 100 = <b>{percent(total.uptime)}</b></div>"
    )


def _months(accounts: list[Uptime], months: list[str]) -> str:
    columns = (
        ("Month, UTC", ""), ("EVSE", _NARROW), ("Range, min", _NUMBERS), ("Outage, min", _NUMBERS),
        ("of it excluded, min", _NUMBERS), ("Counted, min", _NUMBERS), ("Uptime", _NUMBERS),
    )  # fmt: skip
    rows = (
        (month, f"EVSE {one.evse_id}", *_tally(one.months[month]))
        for month in months
        for one in accounts
        if month in one.months
    )
    return table(columns, rows)


def _outages(listed: list[tuple[int, Listed]], nothing: str) -> str:
    if not any(len(outages) for _, outages in listed):
        return _empty(nothing)
    columns = (
        ("EVSE", _NARROW), ("From, UTC", _NARROW), ("To, UTC", _NARROW), ("Minutes", _NUMBERS),
        ("What, and the entry that shows it", ""), ("Over with entry", _NUMBERS), ("", _NARROW),
    )  # fmt: skip
    rows = ((f"EVSE {evse_id}", *_outage(one)) for evse_id, outages in listed for one in outages)
    left_out = "".join(
        f" Of EVSE {evse_id} {outages.others:,} shorter ones are not listed, "
        f"{minutes(outages.others_ms)} min in all."
        for evse_id, outages in listed
        if outages.others
    )
    return table(columns, rows) + (_empty(left_out.strip()) if left_out else "")


def _outage(one: Outage) -> Iterator[str]:
    yield moment(one.began)
    yield moment(one.ended)
    yield minutes(one.ms)
    yield "<br>".join(map(_cause, one.causes))
    yield entry(one.ended_seq)
    grounds = ", ".join(one.grounds)
    if one.verdict == "counted":
        yield '<span class="tag counted">counted</span>'
    elif one.verdict == "claimable":
        yield f'<span class="tag claimable">counted</span> may be claimed:<br>{text(grounds)}'
    else:
        yield f'<span class="tag excluded">excluded</span><br>{text(grounds)}'


def _cause(cause: Cause) -> str:
    return f"{text(cause.text)} {entry(cause.seq)}"


def _states(accounts: list[Uptime]) -> str:
    columns = (("State", ""), *((f"EVSE {one.evse_id}, min", _NUMBERS) for one in accounts),
               *((f"EVSE {one.evse_id}", _NUMBERS) for one in accounts))  # fmt: skip
    rows = (
        (
            name,
            *(minutes(one.states[state]) for one in accounts),
            *(_share(one.states[state], one.total.whole) for one in accounts),
        )
        for state, (name, _) in STATES.items()
        if any(one.states[state] for one in accounts)
    )
    return table(columns, rows)


def _share(part: int, whole: int) -> str:
    return f"{part * 1000 // whole / 10:.1f} %" if whole else NONE


# --- Sessions ------------------------------------------------------------------------------------

SESSIONS: Final = (
    ("Begun, UTC", _NARROW), ("Length", _NUMBERS), ("EVSE", _NUMBERS), ("Transaction", _NARROW),
    ("idToken", _NARROW), ("Energy, Wh", _NUMBERS), ("Most, kW", _NUMBERS),
    ("SoC", _NUMBERS), ("Begun by", ""), ("Ended by", ""), ("Messages", ""),
    ("Entries", _NUMBERS),
)  # fmt: skip


def sessions(facts: Facts) -> Iterator[str]:
    known = facts.visits
    yield '<h2 id="sessions">Sessions</h2>'
    if not len(known):
        yield _empty("No session ended in this range, and none is open.")
        return
    left_out = known.ended + sum(not one.over for one in known) - len(known)
    reasons = ", ".join(f"{text(name)} {count}" for name, count in known.reasons.most_common())
    yield (
        '<p class="lead">Those that ended in the range, and those still open when it ends. An '
        "energy is the exact difference of two registers of the meter. Ended by: "
        f"{reasons or 'none'}. A number of messages alone: the CSMS has confirmed all of them."
        + (f" The newest {len(known):,} are listed, {left_out:,} are not." if left_out > 0 else "")
        + "</p>"
    )
    foot = ("", "", "", f"{known.ended:,} ended", "", decimal(known.energy_wh), *[""] * 6)
    yield table(SESSIONS, map(_visit, known), foot=foot)


def _visit(visit: Visit) -> Iterator[str]:
    one = visit.session
    yield moment(ms_of(one.started_at)) + ("" if one.started_quality == "synchronised" else " ≈")
    yield duration(ms_of(one.ended_at) - ms_of(one.started_at)) if one.ended_at else "open"
    yield str(one.evse_id or NONE)
    yield short(one.transaction_id)
    yield _token(one.id_token) if one.id_token else NONE
    registers = f"{decimal(one.start_wh)} to {decimal(one.stop_wh)} Wh" if one.stop_wh else ""
    title = f' title="{registers}"' if registers and one.start_wh else ""
    yield f"<span{title}>{decimal(visit.energy_wh)}</span>"
    yield _most(visit)
    yield _soc(visit)
    yield text(one.started_reason)
    yield _end(visit)
    yield _delivery(visit)
    yield f"{entry(one.entry_first)}–{entry(one.entry_last)}"


def _most(visit: Visit) -> str:
    """The highest power that was read; no reading, or none while the energy flowed, tells none."""
    unseen = not visit.power_max_w and visit.energy_wh
    return NONE if visit.power_max_w is None or unseen else kilowatts(visit.power_max_w)


def _token(token: IdToken) -> str:
    """The reference; never the value, which this page does not know."""
    return f'<abbr class="seq" title="{text(token.type)}">{text(token.ref)}</abbr>'


def _soc(visit: Visit) -> str:
    if visit.soc_last is None:
        return NONE
    return f"{visit.soc_first} → {visit.soc_last} %"


def _end(visit: Visit) -> str:
    one = visit.session
    told = text(one.stopped_reason) or ("Local" if visit.over else "")
    trigger = f" ({text(one.stopped_trigger)})" if one.stopped_trigger else ""
    times = f"; {one.interruptions} × interrupted" if one.interruptions else ""
    return (told + trigger + times) or NONE


def _delivery(visit: Visit) -> str:
    """What became of its messages: all is well, or what is not."""
    one = visit.session
    messages = one.seq_nos[2] if one.seq_nos else 0
    waiting = len(one.waiting - one.parked)
    parts = [
        f"{len(one.parked)} parked" if one.parked else "",
        f"{waiting} waiting" if waiting else "",
        f"{one.dropped} dropped" if one.dropped else "",
    ]
    wrong = ", ".join(part for part in parts if part)
    return f"{messages}: {wrong}" if wrong else str(messages)


# --- Messages ------------------------------------------------------------------------------------


def messages(facts: Facts) -> Iterator[str]:
    known = facts.talks
    yield '<h2 id="messages">Messages the CSMS has not confirmed</h2>'
    dropped = ", ".join(f"{count} {text(why)}" for why, count in sorted(known.dropped.items()))
    yield (
        f'<p class="lead">When the range ends {known.waiting_count:,} wait and '
        f"{known.parked_count:,} are parked. In the range {known.parked:,} were parked"
        + (f" and these dropped: {dropped}" if dropped else " and none was dropped")
        + ".</p>"
    )
    if not facts.unconfirmed:
        return
    columns = (
        ("Call", _NUMBERS), ("", _NARROW), ("Queued, UTC", _NARROW), ("Action", ""),
        ("Transaction", _NARROW), ("seqNo", _NUMBERS), ("Attempts", _NUMBERS), ("Why parked", ""),
    )  # fmt: skip
    yield table(columns, map(_unconfirmed, facts.unconfirmed))
    left_out = known.waiting_count + known.parked_count - len(facts.unconfirmed)
    if left_out > 0:
        yield _empty(
            f"The oldest {talks.LISTED_MAX} of each are listed, {left_out:,} are not: see "
            "<code>station outbox JOURNAL list</code>."
        )


def _unconfirmed(one: Unconfirmed) -> Iterator[str]:
    queued = queued_of(one.queued)
    mark = queued.transaction if queued else None
    yield entry(one.call)
    kind, name = ("counted", "parked") if one.reason else ("claimable", "waits")
    yield f'<span class="tag {kind}">{name}</span>'
    yield moment(ms_of(one.queued.at)) if one.queued else NONE
    yield text(queued.action) + (f" {mark.event_type}" if mark else "") if queued else NONE
    yield short(mark.transaction_id) if mark else NONE
    yield str(mark.seq_no) if mark else NONE
    yield str(one.attempts)
    yield text(one.reason) if one.reason else NONE


# --- Faults --------------------------------------------------------------------------------------


def faults(facts: Facts) -> Iterator[str]:
    yield '<h2 id="faults">Faults</h2>'
    if not len(facts.troubles):
        yield _empty("No device reported a fault.")
        return
    yield (
        '<p class="lead">Mean time between: the range without the fault, divided by how often it '
        "came. A fault told again within a minute of a restart is the one from before it.</p>"
    )
    columns = (
        ("Fault", ""), ("Where", _NARROW), ("", _NARROW), ("Times", _NUMBERS),
        ("In all", _NUMBERS), ("Longest", _NUMBERS), ("Mean", _NUMBERS),
        ("Mean time between", _NUMBERS), ("The last ones, UTC, and their entries", _NARROW),
    )  # fmt: skip
    yield table(columns, (_fault(one, facts.whole_ms) for one in facts.troubles))
    if facts.troubles.left_out:
        yield _empty(f"{facts.troubles.left_out:,} more, of kinds beyond the first, are left out.")


def _fault(one: Kind, whole_ms: int) -> Iterator[str]:
    between = one.between_ms(whole_ms)
    yield f"{text(one.device)} {text(one.fault)}"
    yield f"EVSE {one.evse_id}" if one.evse_id else "station"
    kind, name = ("stops", "stops a charge") if one.blocks else ("goes", "goes on")
    yield f'<span class="tag {kind}">{name}</span>'
    yield f"{one.count:,}"
    yield duration(one.total_ms)
    yield duration(one.longest_ms)
    yield duration(one.total_ms // one.count) if one.count else NONE
    yield NONE if between is None else duration(between)
    yield "<br>".join(
        span(each.began, each.began_seq, each.ended, each.ended_seq) for each in one.recent
    )


# --- Response times ------------------------------------------------------------------------------


def answers(facts: Facts) -> Iterator[str]:
    yield '<h2 id="answers">Response times</h2>'
    yield (
        '<p class="lead">By the uptime in the journal, from the frame on the wire to the answer. '
        "The 95th percentile is told to a tenth of itself.</p>"
    )
    for title, known, failing in (
        ("The CSMS answers", facts.talks.csms, True),
        ("The station answers", facts.talks.station, False),
    ):
        yield f"<h3>{title}</h3>"
        if not known:
            yield _empty("Nothing was asked.")
            continue
        columns = [
            ("Action", ""), ("Answers", _NUMBERS), ("Least", _NUMBERS), ("Mean", _NUMBERS),
            ("95 % within", _NUMBERS), ("Most", _NUMBERS),
        ]  # fmt: skip
        columns += [("Attempts that failed", _NUMBERS)] if failing else []
        yield table(columns, (_answers(name, one, failing) for name, one in sorted(known.items())))


def _answers(name: str, one: Answers, failing: bool) -> Iterator[str]:
    yield text(name)
    yield f"{one.count:,}"
    if one.count:
        times = (one.least, one.total // one.count, one.within(95), one.most)
        yield from (f"{ms:,} ms" for ms in times)
    else:
        yield from [NONE] * 4
    if failing:
        yield f"{one.failed:,}"


# --- Starts and clock ----------------------------------------------------------------------------


def life(facts: Facts) -> Iterator[str]:
    yield '<h2 id="life">Starts and clock</h2>'
    if not facts.starts:
        yield _empty("The program ran from beginning to end.")
    else:
        columns = (("Started, UTC", _NARROW), ("Entry", _NUMBERS), ("Nobody there for", _NUMBERS),
                   ("Release", ""), ("Why", ""))  # fmt: skip
        yield table(
            columns,
            (
                (moment(one.moment), entry(one.seq),
                 NONE if one.gap_ms is None else duration(one.gap_ms),
                 text(one.release), text(one.why))
                for one in facts.starts
            ),
            caption=_newest("start", facts.starts_count, len(facts.starts)),
        )  # fmt: skip
    if not facts.clock:
        yield _empty("The clock was not moved.")
        return
    yield table(
        (("Clock moved, UTC", _NARROW), ("Entry", _NUMBERS), ("By", _NUMBERS), ("Who", "")),
        (
            (moment(one.moment), entry(one.seq), _step(one.step_ms), text(one.source))
            for one in facts.clock
        ),
        caption=_newest("change", facts.clock_count, len(facts.clock)),
    )


def _step(ms: int) -> str:
    return ("+" if ms > 0 else "−") + duration(abs(ms))


def _newest(what: str, count: int, listed: int) -> str:
    return f"The newest {listed} of {count:,} {what}s." if count > listed else ""


# --- How it is counted ---------------------------------------------------------------------------

HOW: Final = (
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


def counting(facts: Facts) -> Iterator[str]:
    yield '<h2 id="counting">How this is counted</h2>'
    yield (
        '<div class="formula">uptime = ((minutes of the range − (outage − excluded)) / minutes of '
        "the range) × 100 &nbsp; (a year has 525,600)</div>"
    )
    yield f'<ul class="how">{"".join(f"<li>{one}</li>" for one in HOW)}</ul>'
    if facts.visits.ended > visits.LISTED_MAX:
        total = kwh(facts.visits.energy_wh)
        yield _empty(f"Totals cover all {facts.visits.ended:,} sessions: {total} kWh.")
