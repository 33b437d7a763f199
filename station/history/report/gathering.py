"""What did a journal hold about a range of time?

One walk for the clock, one for everything else. What lies before the range is heard, for it says
how things stood when the range began; what lies behind it does not count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple

from journal.codec import Registry
from journal.observations import (
    CableReported,
    ClockStepped,
    ContactorReported,
    DeviceFaulted,
    FlowReported,
    MeterRead,
    StationStarted,
)
from journal.projections.clocks import ClockCorrected
from journal.projections.outbox import CallQueued
from journal.reader import Damage, JournalFailed, Reader
from journal.terms import Entry
from station.history.export import Span
from station.history.report import condition as conditions
from station.history.report import talks, visits
from station.history.report.condition import Cause, Condition, State
from station.history.report.lanes import Lanes, grid_of
from station.history.report.talks import Talks, Unconfirmed
from station.history.report.times import Times, ms_of, times_of
from station.history.report.troubles import Troubles
from station.history.report.uptime import Uptime
from station.history.report.visits import Visits

EVSES_MAX: Final = 32  # that are told; a station has a handful
TOLD_MAX: Final = 100  # starts and changes of the clock, the newest
COMPLAINTS_MAX: Final = 20
POWER_MAX_W: Final = Decimal(10_000_000)

# What folding an entry raises that only a tampered or damaged history can hold.
_IMPOSSIBLE: Final = (ArithmeticError, AssertionError, LookupError, TypeError, ValueError)


class Start(NamedTuple):
    """A run of the program began; `gap_ms` since the last entry of the one before, None: first."""

    seq: int
    moment: int
    release: str
    why: str
    gap_ms: int | None


class ClockChange(NamedTuple):
    """The wall clock moved. `source`: who said so."""

    seq: int
    moment: int
    step_ms: int
    source: str


@dataclass
class Facts:
    """Everything a page tells."""

    journal_id: str
    asked: Span
    since: int
    until: int
    uptimes: dict[int, Uptime]
    lanes: dict[int, Lanes]
    visits: Visits
    troubles: Troubles
    talks: Talks
    first_entry: int = 0
    last_entry: int = 0
    identity: str = "unknown"
    profile: str = ""
    release: str = ""
    ends: int = 0  # moment of the last entry that was heard
    silent_ms: int = 0  # of the range, behind the journal's end
    starts: deque[Start] = field(default_factory=lambda: deque(maxlen=TOLD_MAX))
    starts_count: int = 0
    clock: deque[ClockChange] = field(default_factory=lambda: deque(maxlen=TOLD_MAX))
    clock_count: int = 0
    unconfirmed: tuple[Unconfirmed, ...] = ()
    late_start: bool = False  # the journal begins after the range that was asked for
    archived: int = 0  # entries before the first that can be read
    complaints: list[str] = field(default_factory=list)
    complaints_count: int = 0

    @property
    def whole_ms(self) -> int:
        return self.until - self.since

    @property
    def entries(self) -> str:
        """Which entries lie in the range."""
        if not self.first_entry:
            return f"no entry, the last before it is {self.last_entry:,}"
        return f"entries {self.first_entry:,} to {self.last_entry:,}"


class NothingThereError(Exception):
    """The range holds no moment of the journal. One line."""


def gather(
    reader: Reader, registry: Registry, span: Span, *, advance: Callable[[int, int], None]
) -> Facts:
    """Walk a journal; `advance` hears how many entries are done, of how many.

    Raises:
        NothingThereError: the range holds nothing.
        JournalFailed: the file cannot be read at all.
    """
    head = reader.head().seq
    first = reader.anchor()[0] + 1
    rows = reader.rows(first, head, damaged=lambda _: None)
    times = times_of(rows, registry, advance=lambda seq: advance(seq // 2, head))
    facts = _blank(reader, span, times)
    facts.archived = first - 1
    walk = _Walk(facts, times)
    due = first
    for entry in reader.entries(first, head, damaged=walk.damaged):
        if entry.seq != due and not walk.is_told(due):
            walk.complain(due, "missing")
        due = entry.seq + 1
        if not walk.hears(entry):
            break
        if entry.seq % 4096 == 0:
            advance((head + entry.seq) // 2, head)
    walk.close(reader)
    advance(head, head)
    return facts


def _blank(reader: Reader, span: Span, times: Times) -> Facts:
    """The range, as far as the journal reaches back, with nothing in it."""
    since = times.first if span.since is None else ms_of(span.since)
    late = since < times.first
    since = max(since, times.first)
    until = max(times.last, since + 1) if span.until is None else ms_of(span.until)
    if not times.entries or since > times.last or until <= since:
        raise NothingThereError("the journal holds nothing of that range")
    return Facts(
        journal_id=reader.journal_id,
        asked=span,
        since=since,
        until=until,
        uptimes={},
        lanes={},
        visits=Visits(since, until, ever=span.until is None),
        troubles=Troubles(since, until),
        talks=Talks(),
        late_start=late,
    )


class _Held(NamedTuple):
    """What an EVSE is, and since when."""

    since: int
    state: State = "none"
    causes: tuple[Cause, ...] = ()


class _Reading(NamedTuple):
    moment: int
    power_w: int | None
    soc: int | None


class _Walk:
    """The second walk, entry by entry."""

    def __init__(self, facts: Facts, times: Times) -> None:
        self._facts = facts
        self._times = times
        self._grid = grid_of(facts.since, facts.until)
        self._condition = Condition()
        self._held: dict[int, _Held] = {}
        self._readings: dict[int, _Reading] = {}
        self._link_since = 0
        self._moment = 0  # of the last entry
        self._damaged: set[int] = set()  # entries that were complained of, the last few

    # --- Entries ---------------------------------------------------------------------------------

    def hears(self, entry: Entry) -> bool:
        """Take an entry in; False: it lies behind the range."""
        facts, kind = self._facts, type(entry.event)
        moment = self._times.of(entry)
        if facts.asked.until is not None and moment >= facts.until:
            if isinstance(entry.event, StationStarted):
                self._go_down(entry, entry.event)  # the range ends where nobody was there
            return False
        counts = moment >= facts.since
        if kind in talks.HEARS or kind in visits.HEARS:
            self._told(entry, moment, counts)
        if kind in _DRAWN:
            _DRAWN[kind](self, entry, moment)
        if kind in conditions.HANDLERS:
            self._conditioned(entry, moment)
        self._moment = moment
        facts.first_entry = facts.first_entry or (entry.seq if counts else 0)
        facts.last_entry, facts.ends = entry.seq, moment
        return True

    def _told(self, entry: Entry, moment: int, counts: bool) -> None:
        kind = type(entry.event)
        try:
            if kind in talks.HEARS:
                self._facts.talks.hears(entry, counts)
            if kind in visits.HEARS:
                self._facts.visits.hears(entry, moment)
        except _IMPOSSIBLE:
            self.complain(entry.seq, "fits no history")

    def _conditioned(self, entry: Entry, moment: int) -> None:
        condition, event = self._condition, entry.event
        if isinstance(event, CallQueued) and event.status is None:
            mark = event.transaction
            if mark is None or mark.event_type != "Ended":
                return  # nearly all of them
        online = condition.online
        if isinstance(event, StationStarted):
            self._nobody_there(entry, event, moment)
        for span in condition.hears(entry, moment):
            self._facts.troubles.add(span)
        self._look(moment, entry.seq)
        if condition.online != online:
            self._draw_link(moment, online)

    def _nobody_there(self, entry: Entry, start: StationStarted, moment: int) -> None:
        """Between the last entry of a run and the start of the next one."""
        condition, facts = self._condition, self._facts
        cause = self._go_down(entry, start)
        condition.down = None
        gap_ms = moment - self._moment if self._moment else None
        facts.identity, facts.profile = start.identity, start.profile
        facts.release = start.release
        if moment >= facts.since:
            facts.starts.append(Start(entry.seq, moment, start.release, cause.text, gap_ms))
            facts.starts_count += 1
        for lanes in facts.lanes.values():
            lanes.mark("start", moment, f"started: {cause.text} (entry {entry.seq})")
        self._link_since = moment

    def _go_down(self, entry: Entry, start: StationStarted) -> Cause:
        """Nobody is there from the last entry on."""
        condition = self._condition
        condition.down = cause = condition.began(entry, start)
        if self._held:
            self._look(self._moment, entry.seq)
        if condition.online:
            self._draw_link(self._moment, True)
            condition.online = False
        return cause

    # --- States ----------------------------------------------------------------------------------

    def _look(self, moment: int, seq: int) -> None:
        """Close what is over for each EVSE, and hold what is so now."""
        condition = self._condition
        for evse_id in dict.fromkeys((*self._held, *condition.evse_ids[:EVSES_MAX])):
            held = self._held.get(evse_id) or self._met(evse_id, moment)
            state, causes = condition.state(evse_id), condition.causes(evse_id)
            if (state, causes) != held[1:]:
                self._enter(evse_id, held, moment, seq)
                held = _Held(moment, state, causes)
            self._held[evse_id] = held

    def _met(self, evse_id: int, moment: int) -> _Held:
        """An EVSE is heard of for the first time."""
        self._facts.uptimes[evse_id] = Uptime(evse_id)
        self._facts.lanes[evse_id] = Lanes(self._grid)
        return _Held(moment)

    def _enter(self, evse_id: int, held: _Held, moment: int, seq: int) -> None:
        facts = self._facts
        uptime, lanes = facts.uptimes[evse_id], facts.lanes[evse_id]
        began, ended = max(held.since, facts.since), min(moment, facts.until)
        if began < ended:
            uptime.add(began, ended, seq, held.state, held.causes)
            lanes.state(began, ended, held.state)

    # --- Drawing ---------------------------------------------------------------------------------

    def _draw_link(self, moment: int, up: bool) -> None:
        for lanes in self._facts.lanes.values():
            lanes.link(self._link_since, moment, up)
        self._link_since = moment

    def _draw_reading(self, entry: Entry, moment: int) -> None:
        read = entry.event
        assert isinstance(read, MeterRead)
        self._hold(read.evse_id, moment)
        running = read.evse_id in self._condition.running.values()
        if not running:
            self._readings.pop(read.evse_id, None)
            return
        self._readings[read.evse_id] = _Reading(moment, _power_w(read), read.soc_percent)

    def _hold(self, evse_id: int, moment: int) -> None:
        """What was read last held until now."""
        reading, lanes = self._readings.get(evse_id), self._facts.lanes.get(evse_id)
        if reading is None or lanes is None:
            return
        if reading.power_w is not None:
            lanes.power(reading.moment, max(moment, reading.moment + 1), reading.power_w)
        if reading.soc is not None:
            lanes.soc(reading.moment, max(moment, reading.moment + 1), reading.soc)

    def _draw_end(self, entry: Entry, moment: int) -> None:
        """No energy can flow any more, so nothing holds."""
        event = entry.event
        assert isinstance(event, CableReported | ContactorReported | FlowReported)
        if getattr(event, "flow", "") == "none" or not getattr(event, "closed", True):
            self._hold(event.evse_id, moment)
            self._readings.pop(event.evse_id, None)
        elif isinstance(event, CableReported) and not event.plugged:
            self._readings.pop(event.evse_id, None)

    def _draw_start(self, entry: Entry, moment: int) -> None:
        self._readings.clear()

    def _draw_fault(self, entry: Entry, moment: int) -> None:
        event = entry.event
        assert isinstance(event, DeviceFaulted)
        for evse_id, lanes in self._facts.lanes.items():
            if event.evse_id in (0, evse_id):
                text = f"{event.device} {event.fault} (entry {entry.seq})"
                lanes.mark("fault" if event.blocks else "trouble", moment, text)

    def _draw_clock(self, entry: Entry, moment: int) -> None:
        event, facts = entry.event, self._facts
        assert isinstance(event, ClockStepped | ClockCorrected)
        if not event.step_ms or moment < facts.since:
            return
        source = f"told by {event.source}" if isinstance(event, ClockCorrected) else "the host's"
        facts.clock.append(ClockChange(entry.seq, moment, event.step_ms, source))
        facts.clock_count += 1
        text = f"clock moved by {Decimal(event.step_ms) / 1000} s, {source} (entry {entry.seq})"
        for lanes in facts.lanes.values():
            lanes.mark("clock", moment, text)

    # --- The end ---------------------------------------------------------------------------------

    def close(self, reader: Reader) -> None:
        """The range is over, and so may the journal be."""
        facts, condition = self._facts, self._condition
        ends = min(self._moment, facts.until)
        if facts.asked.until is None or facts.last_entry < self._times.entries:
            ends = facts.until  # the journal goes on: what held, held until then
        facts.silent_ms = facts.until - ends
        for evse_id, held in self._held.items():
            self._enter(evse_id, held, ends, 0)
            self._hold(evse_id, ends)
            if ends < facts.until:
                text = "the journal ends: nothing shows that it was up"
                cause = Cause(facts.last_entry, text)
                self._enter(evse_id, _Held(ends, "down", (cause,)), facts.until, 0)
        for uptime in facts.uptimes.values():
            uptime.close()
        self._draw_link(ends, condition.online)
        for fault in condition.faults.values():
            facts.troubles.add(conditions.Span(fault))
        facts.visits.close()
        facts.unconfirmed = tuple(facts.talks.unconfirmed(_fetching(reader)))
        if not facts.uptimes:
            raise NothingThereError("no station started in that range")

    # --- Damage ----------------------------------------------------------------------------------

    def damaged(self, damage: Damage) -> None:
        self._damaged.add(damage.seq)
        self.complain(damage.seq, damage.why)

    def is_told(self, seq: int) -> bool:
        told = seq in self._damaged
        self._damaged.clear()
        return told

    def complain(self, seq: int, why: str) -> None:
        self._facts.complaints_count += 1
        if len(self._facts.complaints) < COMPLAINTS_MAX:
            self._facts.complaints.append(f"entry {seq}: {why}")


def _power_w(read: MeterRead) -> int | None:
    """For a curve: whole watts, none that no station has."""
    power_w = read.power_w
    if power_w is None and read.voltage_v is not None and read.current_a is not None:
        power_w = read.voltage_v * read.current_a
    return None if power_w is None else int(max(Decimal(0), min(power_w, POWER_MAX_W)))


def _fetching(reader: Reader) -> Callable[[int], Entry | None]:
    def fetch(seq: int) -> Entry | None:
        try:
            return reader.entry(seq)
        except (LookupError, JournalFailed):
            return None

    return fetch


_DRAWN: Final[dict[type, Callable[[_Walk, Entry, int], None]]] = {
    MeterRead: _Walk._draw_reading,
    CableReported: _Walk._draw_end,
    ContactorReported: _Walk._draw_end,
    FlowReported: _Walk._draw_end,
    StationStarted: _Walk._draw_start,
    DeviceFaulted: _Walk._draw_fault,
    ClockStepped: _Walk._draw_clock,
    ClockCorrected: _Walk._draw_clock,
}
