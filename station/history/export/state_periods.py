"""Tables `states` and `faults`: how long each EVSE had each status, and how long faults lasted.

`states` has one row per EVSE, status and period. The status is that of
`station.core.evse_status`; between two runs of the program it is NotRunning. A period is split

* at midnight (UTC), so that the periods of a day add up to that day;
* where the wall clock was changed, so that no duration contains a change of the clock.

Time that no entry covers has no row: the last period ends with the last entry.

`faults` has one row per fault. A restart ends every fault: the devices report their faults again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from journal.events import Entry
from journal.format.hash_chain import EntryRow
from journal.observations import ClockStepped, DeviceFaulted, DeviceRecovered, StationStarted
from journal.projections.clock import ClockCorrected
from station.history.evse_statuses import EvseStatusTracker
from station.history.export.table import ClockQuality, Columns, TableRow

MILLISECOND: Final = timedelta(milliseconds=1)
DAY: Final = timedelta(days=1)

# --- States --------------------------------------------------------------------------------------

STATE_COLUMNS: Final[Columns] = (
    ("evse_id", "int"),
    ("state", "text"),  # Available, Reserved, Occupied, Unavailable, Faulted, NotRunning
    ("started_at", "time"),
    ("ended_at", "time"),
    ("duration_ms", "int"),
    ("ended_time_quality", "text"),
    ("first_seq", "int"),  # entry that began the status
    ("last_seq", "int"),  # last entry with the status
)
NOT_RUNNING: Final = "NotRunning"


@dataclass
class StatePeriod:
    """The status an EVSE has now, and since when."""

    state: str
    since: datetime
    first_seq: int


class StatesTable:
    """One row for each EVSE, status and period within a day.

    NotRunning is the time between the last entry of a run and the first of the next.
    """

    def __init__(self) -> None:
        self._clock_quality = ClockQuality()
        self._statuses = EvseStatusTracker()
        self._periods: dict[int, StatePeriod] = {}
        self._last_entry: Entry | None = None
        self._time_quality = ""  # of the last entry
        self._day_ordinal = 0  # of the last entry: no open period started on an earlier day

    def apply(self, entry: Entry, row: EntryRow) -> Iterator[TableRow]:
        quality = self._clock_quality.assess_time(entry)
        if self._last_entry is not None:
            match entry.event:
                case StationStarted():
                    yield from self._on_restart(entry.at, quality, self._last_entry)
                case ClockStepped(step_ms=step_ms) if step_ms:
                    yield from self._on_clock_moved(entry.at - step_ms * MILLISECOND, step_ms)
                case _:
                    yield from self._split_at_midnights(entry.at)
        self._last_entry, self._time_quality = entry, quality
        if self._statuses.apply(entry):
            for evse_id in self._statuses.evse_ids:
                yield from self._set_state(evse_id, self._statuses.status_on_evse(evse_id), entry)
        if isinstance(entry.event, ClockCorrected) and entry.event.step_ms:
            yield from self._on_clock_moved(entry.at, entry.event.step_ms)

    def finish(self, *, open_ended: bool) -> Iterator[TableRow]:
        if self._last_entry is not None:
            yield from self._split_periods(self._last_entry.at)

    def _set_state(self, evse_id: int, state: str, entry: Entry) -> Iterator[TableRow]:
        """The EVSE has this status from this entry on; nothing if it had it before."""
        period = self._periods.get(evse_id)
        if period is None:
            self._periods[evse_id] = StatePeriod(state, entry.at, entry.seq)
        elif period.state != state:
            yield from self._period_row(evse_id, period, entry.at)
            self._periods[evse_id] = StatePeriod(state, max(period.since, entry.at), entry.seq)

    def _on_restart(self, at: datetime, time_quality: str, last_entry: Entry) -> Iterator[TableRow]:
        """The program started again; no program was running since the last entry."""
        yield from self._split_periods(last_entry.at)
        for evse_id in self._periods:
            self._periods[evse_id] = StatePeriod(NOT_RUNNING, last_entry.at, last_entry.seq)
        self._time_quality = time_quality
        if at > last_entry.at:  # a clock that ran backwards gives no duration
            yield from self._split_at_midnights(at)
            yield from self._split_periods(at)
        self._periods.clear()
        self._day_ordinal = 0

    def _on_clock_moved(self, at: datetime, step_ms: int) -> Iterator[TableRow]:
        """The clock showed `at` and was moved by `step_ms`."""
        yield from self._split_at_midnights(at)
        yield from self._split_periods(at)
        for period in self._periods.values():
            period.since = at + step_ms * MILLISECOND
        self._day_ordinal = 0

    def _split_at_midnights(self, at: datetime) -> Iterator[TableRow]:
        """Split the open periods at each midnight up to `at`."""
        if at.toordinal() == self._day_ordinal:
            return
        self._day_ordinal = at.toordinal()
        while self._periods:
            since = min(period.since for period in self._periods.values())
            midnight = since.replace(hour=0, minute=0, second=0, microsecond=0) + DAY
            if at < midnight:
                return
            yield from self._split_periods(midnight)

    def _split_periods(self, at: datetime) -> Iterator[TableRow]:
        """A row for each open period up to `at`; the period continues from there."""
        for evse_id, period in self._periods.items():
            yield from self._period_row(evse_id, period, at)
            period.since = max(period.since, at)

    def _period_row(self, evse_id: int, period: StatePeriod, at: datetime) -> Iterator[TableRow]:
        if at <= period.since:
            return
        assert self._last_entry is not None
        duration_ms = (at - period.since) // MILLISECOND
        yield TableRow(
            period.since,
            (evse_id, period.state, period.since, at, duration_ms, self._time_quality,
             period.first_seq, self._last_entry.seq),
        )  # fmt: skip


# --- Faults --------------------------------------------------------------------------------------

FAULT_COLUMNS: Final[Columns] = (
    ("evse_id", "int"),  # 0: the station
    ("device", "text"),
    ("fault", "text"),
    ("blocks_charging", "text"),  # true, false
    ("tech_code", "text"),
    ("tech_info", "text"),
    ("started_at", "time"),
    ("started_time_quality", "text"),
    ("ended_at", "time"),  # empty: not over
    ("end_reason", "text"),  # recovered; restart: the devices report their faults again
    ("duration_ms", "int"),  # by uptime, so changes of the clock do not count
    ("first_seq", "int"),
    ("last_seq", "int"),
)


@dataclass
class OpenFault:
    """A fault that is not over."""

    event: DeviceFaulted
    entry: Entry
    time_quality: str
    blocks_charging: bool = False  # at any time


class FaultsTable:
    """One row for each fault, written when the fault ends."""

    def __init__(self) -> None:
        self._clock_quality = ClockQuality()
        self._open_faults: dict[tuple[int, str, str], OpenFault] = {}
        self._last_entry: Entry | None = None

    def apply(self, entry: Entry, row: EntryRow) -> Iterator[TableRow]:
        quality = self._clock_quality.assess_time(entry)
        match entry.event:
            case DeviceFaulted(evse_id=evse_id, device=device, fault=fault) as event:
                opened = self._open_faults.setdefault(
                    (evse_id, device, fault), OpenFault(event, entry, quality)
                )
                opened.blocks_charging |= event.blocks_charging  # reported again when it blocks
            case DeviceRecovered(evse_id=evse_id, device=device, fault=fault):
                open_fault = self._open_faults.pop((evse_id, device, fault), None)
                if open_fault is not None:
                    yield _fault_row(open_fault, entry, "recovered")
            case StationStarted() if self._last_entry is not None:
                for open_fault in self._open_faults.values():
                    yield _fault_row(open_fault, self._last_entry, "restart")
                self._open_faults.clear()
        self._last_entry = entry

    def finish(self, *, open_ended: bool) -> Iterator[TableRow]:
        if open_ended:
            for open_fault in self._open_faults.values():
                yield _fault_row(open_fault, None, "")


def _fault_row(open_fault: OpenFault, end_entry: Entry | None, end_reason: str) -> TableRow:
    event, start_entry = open_fault.event, open_fault.entry
    return TableRow(
        end_entry.at if end_entry else start_entry.at,
        (event.evse_id, event.device, event.fault, str(open_fault.blocks_charging).lower(),
         event.tech_code, event.tech_info, start_entry.at, open_fault.time_quality,
         end_entry.at if end_entry else None, end_reason,
         end_entry.uptime_ms - start_entry.uptime_ms if end_entry else None, start_entry.seq,
         end_entry.seq if end_entry else start_entry.seq),
    )  # fmt: skip
