"""Collects the data of a report from a journal.

The journal is read twice: first for its clock changes, so that every entry has a corrected time;
then for everything else. Entries before the range are applied too, because they give the state at
its beginning. Entries after the range are not used.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple

from journal.codec import Registry
from journal.events import Entry, Event
from journal.observations import (
    BusTraceWritten,
    CableReported,
    ClockStepped,
    ContactorReported,
    DeviceFaulted,
    EnergyFlowReported,
    MeterRead,
    PowerLimiterReported,
    StationStarted,
)
from journal.projections.authorizations import AuthorizationRefused
from journal.projections.certificates import CertificateInstalled, Certificates
from journal.projections.clock import ClockCorrected
from journal.projections.outbox import CallQueued
from journal.projections.power_limiters import LimitingCause
from journal.projections.power_limits import PowerLimitsDecided
from journal.storage.errors import JournalFailed
from journal.storage.reader import EntryDamage, Reader
from station.history.explain.explanation import Explanation
from station.history.export.export import TimeRange
from station.history.limiting_causes import LimitingCauses
from station.history.report import evse_condition as conditions
from station.history.report import messages, sessions
from station.history.report.clock_corrections import (
    CorrectedTimes,
    datetime_to_ms,
    read_corrected_times,
)
from station.history.report.details import NewestLinks
from station.history.report.evse_condition import EvseConditions, EvseState, OutageCause
from station.history.report.fault_statistics import FaultStatistics
from station.history.report.messages import MessageStatistics, UnconfirmedCall
from station.history.report.refusals import Refusals
from station.history.report.sessions import ReportedSessions
from station.history.report.timeline import EvseTimeline, MarkKind, TimelineLimit, create_grid
from station.history.report.uptime import EvseUptime
from station.transcript.phrases import name_limiting_cause

EVSES_MAX: Final = 32  # that are shown; a station has a few
LISTED_EVENTS_MAX: Final = 100  # newest starts and changes of the clock
LISTED_PROBLEMS_MAX: Final = 20
POWER_MAX_W: Final = Decimal(10_000_000)

# Exceptions that only the entries of a tampered or damaged journal cause.
_INVALID_HISTORY: Final = (ArithmeticError, AssertionError, LookupError, TypeError, ValueError)


class ProgramStart(NamedTuple):
    """A start of the program."""

    seq: int
    moment_ms: int
    release: str
    cause: str
    gap_ms: int | None  # since the last entry of the run before; None: first run


class BusTrace(NamedTuple):
    """A bus trace, or why there is none."""

    seq: int
    moment_ms: int
    fault_seqs: tuple[int, ...]
    directory: str
    reason: str


class ClockChange(NamedTuple):
    """A change of the wall clock."""

    seq: int
    moment_ms: int
    step_ms: int
    source: str


@dataclass
class ReportData:
    """Everything the page shows."""

    journal_id: str
    requested_range: TimeRange
    since_ms: int
    until_ms: int
    uptimes: dict[int, EvseUptime]
    timelines: dict[int, EvseTimeline]
    sessions: ReportedSessions
    fault_statistics: FaultStatistics
    message_statistics: MessageStatistics
    refusals: Refusals = field(default_factory=Refusals)
    first_entry: int = 0
    last_entry: int = 0
    identity: str = "unknown"
    profile: str = ""
    release: str = ""
    last_entry_ms: int = 0  # corrected time of the last entry
    uncovered_ms: int = 0  # part of the range after the last entry
    starts: deque[ProgramStart] = field(default_factory=lambda: deque(maxlen=LISTED_EVENTS_MAX))
    starts_count: int = 0
    clock_changes: deque[ClockChange] = field(
        default_factory=lambda: deque(maxlen=LISTED_EVENTS_MAX)
    )
    clock_changes_count: int = 0
    bus_traces: deque[BusTrace] = field(default_factory=lambda: deque(maxlen=LISTED_EVENTS_MAX))
    bus_traces_count: int = 0
    unconfirmed_calls: tuple[UnconfirmedCall, ...] = ()
    certificates: tuple[CertificateInstalled, ...] = ()  # at the end of the range
    starts_late: bool = False  # the journal begins after the requested range
    archived_count: int = 0  # entries before the first that can be read
    explanations: dict[int, Explanation] = field(default_factory=dict)  # by entry number
    problems: list[str] = field(default_factory=list)
    problems_count: int = 0

    @property
    def duration_ms(self) -> int:
        return self.until_ms - self.since_ms

    @property
    def describe_entries(self) -> str:
        """The entries in the range, as text."""
        if not self.first_entry:
            return f"no entry; the last entry before it is {self.last_entry:,}"
        return f"entries {self.first_entry:,} to {self.last_entry:,}"


class RangeEmptyError(Exception):
    """The range contains no entry and no time between two entries. One line."""


def collect_report_data(
    reader: Reader,
    registry: Registry,
    time_range: TimeRange,
    *,
    on_progress: Callable[[int, int], None],
) -> ReportData:
    """Read a journal.

    Args:
        on_progress: called with the entries read so far and their total.

    Raises:
        RangeEmptyError: the range contains nothing.
        JournalFailed: the file cannot be read at all.
    """
    head = reader.read_head().seq
    first = reader.position_before_first()[0] + 1
    rows = reader.iter_rows(first, head, on_damage=lambda _: None)
    times = read_corrected_times(
        rows, registry, on_progress=lambda seq: on_progress(seq // 2, head)
    )
    data = _empty_report_data(reader, time_range, times)
    data.archived_count = first - 1
    walk = _ReportWalk(data, times)
    due = first
    for entry in reader.iter_entries(first, head, on_damage=walk.on_damage):
        if entry.seq != due and not walk.is_reported(due):
            walk.add_problem(due, "missing")
        due = entry.seq + 1
        if not walk.apply(entry):
            break
        if entry.seq % 4096 == 0:
            on_progress((head + entry.seq) // 2, head)
    walk.close(reader)
    on_progress(head, head)
    return data


def _empty_report_data(
    reader: Reader, time_range: TimeRange, corrected_times: CorrectedTimes
) -> ReportData:
    """Empty data for the range, limited to the beginning of the journal."""
    since = (
        corrected_times.first_ms if time_range.since is None else datetime_to_ms(time_range.since)
    )
    starts_late = since < corrected_times.first_ms
    since = max(since, corrected_times.first_ms)
    until = (
        max(corrected_times.last_ms, since + 1)
        if time_range.until is None
        else datetime_to_ms(time_range.until)
    )
    if not corrected_times.last_seq or since > corrected_times.last_ms or until <= since:
        raise RangeEmptyError("the journal has no entry in that range")
    return ReportData(
        journal_id=reader.journal_id,
        requested_range=time_range,
        since_ms=since,
        until_ms=until,
        uptimes={},
        timelines={},
        sessions=ReportedSessions(since, until, open_ended=time_range.until is None),
        fault_statistics=FaultStatistics(since, until),
        message_statistics=MessageStatistics(),
        starts_late=starts_late,
    )


class _StatePeriod(NamedTuple):
    """The state of an EVSE, and since when."""

    since_ms: int
    state: EvseState = "none"
    causes: tuple[OutageCause, ...] = ()


class _Reading(NamedTuple):
    moment_ms: int
    power_w: int | None
    soc_percent: int | None


class _ReportWalk:
    """The second pass, entry by entry."""

    def __init__(self, report_data: ReportData, corrected_times: CorrectedTimes) -> None:
        self._report_data = report_data
        self._corrected_times = corrected_times
        self._grid = create_grid(report_data.since_ms, report_data.until_ms)
        self._conditions = EvseConditions()
        self._certificates = Certificates()
        self._links = NewestLinks()
        self._state_periods: dict[int, _StatePeriod] = {}
        self._readings: dict[int, _Reading] = {}
        self._link_since_ms = 0
        self._limiting_causes = LimitingCauses()
        self._limits_since_ms = 0
        self._last_moment_ms = 0  # of the last entry
        self._damaged_seqs: set[int] = set()  # entries reported as damaged since the last good one

    # --- Entries ---------------------------------------------------------------------------------

    def apply(self, entry: Entry) -> bool:
        """Apply an entry; False: it is after the range."""
        data, kind = self._report_data, type(entry.event)
        moment = self._corrected_times.moment_ms(entry)
        if data.requested_range.until is not None and moment >= data.until_ms:
            if isinstance(entry.event, StationStarted):
                self._mark_down(entry, entry.event)  # the range ends while no program runs
            return False
        in_range = moment >= data.since_ms
        if kind in messages.HANDLES or kind in sessions.HANDLES:
            self._apply_statistics(entry, moment, in_range)
        if kind in _DRAW_HANDLERS:
            _DRAW_HANDLERS[kind](self, entry, moment)
        if kind in Certificates.HANDLES:
            self._certificates = self._certificates.apply(entry)
        self._apply_links(entry)
        if in_range and isinstance(entry.event, AuthorizationRefused):
            data.refusals.add_refusal(entry.seq, moment, entry.event)
        self._apply_conditions(entry, moment)
        self._last_moment_ms = moment
        data.first_entry = data.first_entry or (entry.seq if in_range else 0)
        data.last_entry, data.last_entry_ms = entry.seq, moment
        return True

    def _apply_statistics(self, entry: Entry, moment_ms: int, in_range: bool) -> None:
        kind = type(entry.event)
        try:
            if kind in messages.HANDLES:
                self._report_data.message_statistics.apply(entry, in_range)
            if kind in sessions.HANDLES:
                self._report_data.sessions.apply(entry, moment_ms)
        except _INVALID_HISTORY:
            self.add_problem(entry.seq, "contradicts the entries before")

    def _apply_links(self, entry: Entry) -> None:
        try:
            self._links.apply(entry)
        except _INVALID_HISTORY:
            self.add_problem(entry.seq, "contradicts the entries before")

    def _apply_conditions(self, entry: Entry, moment_ms: int) -> None:
        condition, event = self._conditions, entry.event
        online = condition.is_online
        if isinstance(event, StationStarted):
            self._on_program_start(entry, event, moment_ms)
        for fault_period in condition.apply(entry, moment_ms):
            self._report_data.fault_statistics.add_period(fault_period)
        if not condition.may_have_changed or _keeps_states(event):
            return
        self._update_states(moment_ms, entry.seq)
        if condition.is_online != online:
            self._draw_link(moment_ms, online)

    def _on_program_start(self, entry: Entry, started: StationStarted, moment_ms: int) -> None:
        """Record the start and the time without a program before it."""
        condition, data = self._conditions, self._report_data
        cause = self._mark_down(entry, started)
        condition.down_cause = None
        gap_ms = moment_ms - self._last_moment_ms if self._last_moment_ms else None
        data.identity, data.profile = started.identity, started.product_profile
        data.release = started.release
        if moment_ms >= data.since_ms:
            data.starts.append(
                ProgramStart(entry.seq, moment_ms, started.release, cause.text, gap_ms)
            )
            data.starts_count += 1
        for timeline in data.timelines.values():
            timeline.add_mark("start", moment_ms, f"started: {cause.text} (entry {entry.seq})")
        self._link_since_ms = moment_ms

    def _mark_down(self, entry: Entry, started: StationStarted) -> OutageCause:
        """No program has run since the last entry; returns the cause."""
        condition = self._conditions
        condition.down_cause = cause = condition.explain_downtime(entry, started)
        if self._state_periods:
            self._update_states(self._last_moment_ms, entry.seq)
        if condition.is_online:
            self._draw_link(self._last_moment_ms, True)
            condition.is_online = False
        return cause

    # --- States ----------------------------------------------------------------------------------

    def _update_states(self, moment_ms: int, seq: int) -> None:
        """End the periods of states that changed, and begin new ones."""
        condition = self._conditions
        for evse_id in dict.fromkeys((*self._state_periods, *condition.evse_ids[:EVSES_MAX])):
            period = self._state_periods.get(evse_id) or self._add_evse(evse_id, moment_ms)
            state, causes = condition.evse_state(evse_id), condition.outage_causes(evse_id)
            if (state, causes) != period[1:]:
                self._record_period(evse_id, period, moment_ms, seq)
                period = _StatePeriod(moment_ms, state, causes)
            self._state_periods[evse_id] = period

    def _add_evse(self, evse_id: int, moment_ms: int) -> _StatePeriod:
        """The first entry that mentions an EVSE."""
        self._report_data.uptimes[evse_id] = EvseUptime(evse_id)
        self._report_data.timelines[evse_id] = EvseTimeline(self._grid)
        return _StatePeriod(moment_ms)

    def _record_period(self, evse_id: int, period: _StatePeriod, moment_ms: int, seq: int) -> None:
        data = self._report_data
        uptime, timeline = data.uptimes[evse_id], data.timelines[evse_id]
        began, ended = max(period.since_ms, data.since_ms), min(moment_ms, data.until_ms)
        if began < ended:
            uptime.add_period(began, ended, seq, period.state, period.causes)
            timeline.add_state(began, ended, period.state)

    # --- Drawing ---------------------------------------------------------------------------------

    def _draw_link(self, moment_ms: int, is_up: bool) -> None:
        for timeline in self._report_data.timelines.values():
            timeline.add_link(self._link_since_ms, moment_ms, is_up)
        self._link_since_ms = moment_ms

    def _draw_reading(self, entry: Entry, moment_ms: int) -> None:
        read = entry.event
        assert isinstance(read, MeterRead)
        self._draw_last_reading(read.evse_id, moment_ms)
        if not self._conditions.has_transaction(read.evse_id):
            self._readings.pop(read.evse_id, None)
            return
        self._readings[read.evse_id] = _Reading(moment_ms, _compute_power_w(read), read.soc_percent)

    def _draw_last_reading(self, evse_id: int, moment_ms: int) -> None:
        """The last reading held until now."""
        reading, timeline = self._readings.get(evse_id), self._report_data.timelines.get(evse_id)
        if reading is None or timeline is None:
            return
        if reading.power_w is not None:
            timeline.add_power(
                reading.moment_ms, max(moment_ms, reading.moment_ms + 1), reading.power_w
            )
        if reading.soc_percent is not None:
            timeline.add_soc(
                reading.moment_ms, max(moment_ms, reading.moment_ms + 1), reading.soc_percent
            )

    def _draw_end(self, entry: Entry, moment_ms: int) -> None:
        """No energy flows, so the last reading no longer holds."""
        event = entry.event
        assert isinstance(event, CableReported | ContactorReported | EnergyFlowReported)
        if getattr(event, "flow", "") == "none" or not getattr(event, "closed", True):
            self._draw_last_reading(event.evse_id, moment_ms)
            self._readings.pop(event.evse_id, None)
        elif isinstance(event, CableReported) and not event.plugged_in:
            self._readings.pop(event.evse_id, None)

    def _draw_start(self, entry: Entry, moment_ms: int) -> None:
        self._readings.clear()
        self._draw_last_limits(self._last_moment_ms)
        self._limits_since_ms = moment_ms
        self._limiting_causes.apply(entry)

    def _draw_limits(self, entry: Entry, moment_ms: int) -> None:
        self._draw_last_limits(moment_ms)
        self._limiting_causes.apply(entry)

    def _draw_last_limits(self, moment_ms: int) -> None:
        """What limited each EVSE until now."""
        for evse_id, timeline in self._report_data.timelines.items():
            cause = self._limiting_causes.on_evse(evse_id)
            if cause is not None:
                timeline.add_limit(self._limits_since_ms, moment_ms, _timeline_limit(cause))
        self._limits_since_ms = moment_ms

    def _draw_fault(self, entry: Entry, moment_ms: int) -> None:
        event = entry.event
        assert isinstance(event, DeviceFaulted)
        for evse_id, timeline in self._report_data.timelines.items():
            if event.evse_id in (0, evse_id):
                text = f"{event.device} {event.fault} (entry {entry.seq})"
                kind: MarkKind = "fault" if event.blocks_charging else "other_fault"
                timeline.add_mark(kind, moment_ms, text)

    def _draw_clock(self, entry: Entry, moment_ms: int) -> None:
        event, data = entry.event, self._report_data
        assert isinstance(event, ClockStepped | ClockCorrected)
        if not event.step_ms or moment_ms < data.since_ms:
            return
        source = f"CSMS, {event.source}" if isinstance(event, ClockCorrected) else "host"
        data.clock_changes.append(ClockChange(entry.seq, moment_ms, event.step_ms, source))
        data.clock_changes_count += 1
        text = f"clock changed by {Decimal(event.step_ms) / 1000} s, {source} (entry {entry.seq})"
        for timeline in data.timelines.values():
            timeline.add_mark("clock", moment_ms, text)

    def _add_bus_trace(self, entry: Entry, moment_ms: int) -> None:
        event, data = entry.event, self._report_data
        assert isinstance(event, BusTraceWritten)
        if moment_ms >= data.since_ms:
            trace = BusTrace(entry.seq, moment_ms, event.fault_seqs, event.directory, event.reason)
            data.bus_traces.append(trace)
            data.bus_traces_count += 1

    # --- The end ---------------------------------------------------------------------------------

    def close(self, reader: Reader) -> None:
        """End of the range, or of the journal."""
        data, condition = self._report_data, self._conditions
        end_ms = min(self._last_moment_ms, data.until_ms)
        if data.requested_range.until is None or data.last_entry < self._corrected_times.last_seq:
            end_ms = data.until_ms  # the journal continues: the last state holds until then
        data.uncovered_ms = data.until_ms - end_ms
        for evse_id, period in self._state_periods.items():
            self._record_period(evse_id, period, end_ms, 0)
            self._draw_last_reading(evse_id, end_ms)
            if end_ms < data.until_ms:
                text = "no entry after this one shows that the station was up"
                cause = OutageCause(data.last_entry, text)
                self._record_period(
                    evse_id, _StatePeriod(end_ms, "not_running", (cause,)), data.until_ms, 0
                )
        for uptime in data.uptimes.values():
            uptime.close()
        self._draw_link(end_ms, condition.is_online)
        self._draw_last_limits(end_ms)
        for fault in condition.active_faults.values():
            data.fault_statistics.add_period(conditions.FaultPeriod(fault))
        data.sessions.close()
        data.certificates = self._certificates.installed
        data.unconfirmed_calls = tuple(
            data.message_statistics.unconfirmed_calls(_make_find_entry(reader))
        )
        data.explanations = self._links.explain_newest(
            _make_find_entry(reader), *_list_explained(data)
        )
        if not data.uptimes:
            raise RangeEmptyError("no program started before the end of that range")

    # --- Damage ----------------------------------------------------------------------------------

    def on_damage(self, damage: EntryDamage) -> None:
        self._damaged_seqs.add(damage.seq)
        self.add_problem(damage.seq, damage.reason)

    def is_reported(self, seq: int) -> bool:
        is_reported = seq in self._damaged_seqs
        self._damaged_seqs.clear()
        return is_reported

    def add_problem(self, seq: int, reason: str) -> None:
        self._report_data.problems_count += 1
        if len(self._report_data.problems) < LISTED_PROBLEMS_MAX:
            self._report_data.problems.append(f"entry {seq}: {reason}")


def _keeps_states(event: Event) -> bool:
    """Whether an event changes no state: nearly all queued calls, of which there are many."""
    if not isinstance(event, CallQueued):
        return False
    transaction = event.transaction_event
    return transaction is None or transaction.event_type != "Ended"


def _compute_power_w(read: MeterRead) -> int | None:
    """Whole watts for the curve, limited to POWER_MAX_W."""
    power_w = read.power_w
    if power_w is None and read.voltage_v is not None and read.current_a is not None:
        power_w = read.voltage_v * read.current_a
    return None if power_w is None else _whole_watts(power_w)


def _whole_watts(power_w: Decimal) -> int:
    return int(max(Decimal(0), min(power_w, POWER_MAX_W)))


def _timeline_limit(cause: LimitingCause) -> TimelineLimit:
    return TimelineLimit(_whole_watts(cause.limit_w), name_limiting_cause(cause), cause.seq)


def _list_explained(data: ReportData) -> Iterator[list[int]]:
    """The entries that may have details, by kind. See `details`."""
    yield [
        occurrence.began_seq
        for kind in data.fault_statistics
        if kind.blocks
        for occurrence in kind.recent
    ]
    yield [refusal.seq for refusal in data.refusals.newest]
    yield [session.record.first_seq for session in data.sessions]
    yield [session.record.last_seq for session in data.sessions]


def _make_find_entry(reader: Reader) -> Callable[[int], Entry | None]:
    def find_entry(seq: int) -> Entry | None:
        try:
            return reader.read_entry(seq)
        except (LookupError, JournalFailed):
            return None

    return find_entry


_DRAW_HANDLERS: Final[dict[type, Callable[[_ReportWalk, Entry, int], None]]] = {
    MeterRead: _ReportWalk._draw_reading,
    CableReported: _ReportWalk._draw_end,
    ContactorReported: _ReportWalk._draw_end,
    EnergyFlowReported: _ReportWalk._draw_end,
    StationStarted: _ReportWalk._draw_start,
    DeviceFaulted: _ReportWalk._draw_fault,
    PowerLimitsDecided: _ReportWalk._draw_limits,
    PowerLimiterReported: _ReportWalk._draw_limits,
    BusTraceWritten: _ReportWalk._add_bus_trace,
    ClockStepped: _ReportWalk._draw_clock,
    ClockCorrected: _ReportWalk._draw_clock,
}
