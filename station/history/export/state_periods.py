"""How long did each EVSE stand as it stood, and how long did each fault last?

States are told in stretches that are cut at midnight and wherever the wall clock was changed, so
that the stretches of a day add up to that day. Nothing is told of a time that no entry vouches
for: the last stretch ends with the last entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from journal.events import Entry
from journal.format.hash_chain import EntryRow
from journal.observations import ClockStepped, DeviceFaulted, DeviceRecovered, StationStarted
from journal.projections.authorizations import AuthorizationBoundToEvse
from journal.projections.availability import Availability
from journal.projections.clock import ClockCorrected
from journal.projections.evses import Evses
from journal.projections.faults import Faults
from journal.projections.firmware import Firmware
from journal.projections.lifecycle import Lifecycle
from journal.projections.outbox import CallQueued
from journal.projections.transactions import TransactionStarted
from station.history.explain.current_entries import CurrentEntries
from station.history.export.table import ClockQuality, Columns, TableRow

MILLISECOND: Final = timedelta(milliseconds=1)
DAY: Final = timedelta(days=1)

# --- States --------------------------------------------------------------------------------------

STATE_COLUMNS: Final[Columns] = (
    ("evse_id", "int"),
    ("state", "text"),  # Available, Occupied, Unavailable, Faulted, Off
    ("from_at", "time"),
    ("to_at", "time"),
    ("duration_ms", "int"),
    ("time_quality", "text"),  # of its end
    ("entry_first", "int"),  # that began it
    ("entry_last", "int"),  # up to which it is known
)
INSTALL_STATUSES: Final = ("Installing", "InstallRebooting")


@dataclass
class StatePeriod:
    """A state that goes on."""

    state: str
    since: datetime
    entry_first: int


class StatesTable:
    """One row for each EVSE, state and stretch of one day.

    `Off` is the time between the last entry of a run and the first of the next: nobody was there.
    """

    def __init__(self) -> None:
        self._clock_quality = ClockQuality()
        self._current_entries = CurrentEntries()
        self._lifecycle = Lifecycle()
        self._availability = Availability()
        self._faults = Faults()
        self._firmware = Firmware()
        self._evses = Evses()
        self._periods: dict[int, StatePeriod] = {}
        self._last_entry: Entry | None = None  # heard
        self._time_quality = ""
        self._day_ordinal = 0  # its ordinal: no stretch began before it

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
        if isinstance(entry.event, STATE_EVENTS):
            self._apply_projections(entry)
            for evse_id in self._lifecycle.evse_ids:
                yield from self._set_state(evse_id, self._evse_state(evse_id), entry)
        if isinstance(entry.event, ClockCorrected) and entry.event.step_ms:
            yield from self._on_clock_moved(entry.at, entry.event.step_ms)

    def finish(self, *, open_ended: bool) -> Iterator[TableRow]:
        if self._last_entry is not None:
            yield from self._split_periods(self._last_entry.at)

    def _apply_projections(self, entry: Entry) -> None:
        self._current_entries.apply(entry)
        for name, hears in PROJECTIONS:
            if isinstance(entry.event, hears):
                setattr(self, name, getattr(self, name).apply(entry))

    def _evse_state(self, evse_id: int) -> str:
        """As the station tells the CSMS of its connectors. G01.FR.01 to 05."""
        if self._faults.blocking_fault(evse_id):
            return "Faulted"
        if self._current_entries.on_evse(evse_id):
            return "Occupied"
        update = self._firmware.running_update
        if (
            self._lifecycle.restart
            or (update is not None and update.status in INSTALL_STATUSES)
            or not any(
                self._is_operative(*part)
                for part in self._lifecycle.connectors
                if part[0] == evse_id
            )
        ):
            return "Unavailable"
        return "Occupied" if self._evses.by_id(evse_id).is_plugged_in else "Available"

    def _is_operative(self, evse_id: int, connector_id: int) -> bool:
        known = self._availability
        return known.is_operative(evse_id, connector_id) and not known.is_leaving_service(
            evse_id, connector_id
        )

    # --- Stretches -------------------------------------------------------------------------------

    def _set_state(self, evse_id: int, state: str, entry: Entry) -> Iterator[TableRow]:
        """An EVSE stands so from this entry on, if it did not before."""
        now = self._periods.get(evse_id)
        if now is None:
            self._periods[evse_id] = StatePeriod(state, entry.at, entry.seq)
        elif now.state != state:
            yield from self._period_row(evse_id, now, entry.at)
            self._periods[evse_id] = StatePeriod(state, max(now.since, entry.at), entry.seq)

    def _on_restart(self, at: datetime, time_quality: str, last_entry: Entry) -> Iterator[TableRow]:
        """The program began anew: it was off since the last entry."""
        yield from self._split_periods(last_entry.at)
        for evse_id in self._periods:
            self._periods[evse_id] = StatePeriod("Off", last_entry.at, last_entry.seq)
        self._time_quality = time_quality
        if at > last_entry.at:  # a clock that ran backwards knows nothing
            yield from self._split_at_midnights(at)
            yield from self._split_periods(at)
        self._periods.clear()
        self._day_ordinal = 0

    def _on_clock_moved(self, at: datetime, step_ms: int) -> Iterator[TableRow]:
        """The clock showed `at` and was moved."""
        yield from self._split_at_midnights(at)
        yield from self._split_periods(at)
        for now in self._periods.values():
            now.since = at + step_ms * MILLISECOND
        self._day_ordinal = 0

    def _split_at_midnights(self, at: datetime) -> Iterator[TableRow]:
        """Cut at each midnight up to `at`."""
        if at.toordinal() == self._day_ordinal:
            return
        self._day_ordinal = at.toordinal()
        while self._periods:
            since = min(now.since for now in self._periods.values())
            midnight = since.replace(hour=0, minute=0, second=0, microsecond=0) + DAY
            if at < midnight:
                return
            yield from self._split_periods(midnight)

    def _split_periods(self, at: datetime) -> Iterator[TableRow]:
        """Tell what was up to `at`; it goes on from there."""
        for evse_id, now in self._periods.items():
            yield from self._period_row(evse_id, now, at)
            now.since = max(now.since, at)

    def _period_row(self, evse_id: int, period: StatePeriod, at: datetime) -> Iterator[TableRow]:
        if at <= period.since:
            return
        assert self._last_entry is not None
        yield TableRow(
            period.since,
            (evse_id, period.state, period.since, at, (at - period.since) // MILLISECOND, self._time_quality,
             period.entry_first, self._last_entry.seq),
        )  # fmt: skip


PROJECTIONS: Final = (
    ("_lifecycle", Lifecycle.HANDLES),
    ("_availability", Availability.HANDLES),
    ("_faults", Faults.HANDLES),
    ("_firmware", Firmware.HANDLES),
    ("_evses", Evses.HANDLES),
)
TRANSACTION_EVENTS: Final = (TransactionStarted, AuthorizationBoundToEvse, CallQueued)
STATE_EVENTS: Final = (*TRANSACTION_EVENTS, *(event for _, hears in PROJECTIONS for event in hears))

# --- Faults --------------------------------------------------------------------------------------

FAULT_COLUMNS: Final[Columns] = (
    ("evse_id", "int"),  # 0: the station
    ("device", "text"),
    ("fault", "text"),
    ("blocks", "text"),  # true: the EVSE may not charge
    ("tech_code", "text"),
    ("tech_info", "text"),
    ("began_at", "time"),
    ("began_time_quality", "text"),
    ("ended_at", "time"),  # empty: not over
    ("ended", "text"),  # recovered, or restart: after one a fault that is still there is told anew
    ("duration_ms", "int"),  # by uptime, so no change of the clock counts
    ("entry_first", "int"),
    ("entry_last", "int"),
)


@dataclass
class OpenFault:
    """A fault that is not over."""

    event: DeviceFaulted
    began_entry: Entry
    time_quality: str


class FaultsTable:
    """One row for each fault, once it is over."""

    def __init__(self) -> None:
        self._clock_quality = ClockQuality()
        self._open_faults: dict[tuple[int, str, str], OpenFault] = {}
        self._last_entry: Entry | None = None

    def apply(self, entry: Entry, row: EntryRow) -> Iterator[TableRow]:
        quality = self._clock_quality.assess_time(entry)
        match entry.event:
            case DeviceFaulted(evse_id=evse_id, device=device, fault=fault) as event:
                self._open_faults.setdefault(
                    (evse_id, device, fault), OpenFault(event, entry, quality)
                )
            case DeviceRecovered(evse_id=evse_id, device=device, fault=fault):
                trouble = self._open_faults.pop((evse_id, device, fault), None)
                if trouble is not None:
                    yield _fault_row(trouble, entry, "recovered")
            case StationStarted() if self._last_entry is not None:
                for trouble in self._open_faults.values():
                    yield _fault_row(trouble, self._last_entry, "restart")
                self._open_faults.clear()
        self._last_entry = entry

    def finish(self, *, open_ended: bool) -> Iterator[TableRow]:
        if open_ended:
            for trouble in self._open_faults.values():
                yield _fault_row(trouble, None, "")


def _fault_row(open_fault: OpenFault, end_entry: Entry | None, end_reason: str) -> TableRow:
    event, began = open_fault.event, open_fault.began_entry
    return TableRow(
        end_entry.at if end_entry else began.at,
        (event.evse_id, event.device, event.fault, str(event.blocks_charging).lower(), event.tech_code,
         event.tech_info, began.at, open_fault.time_quality, end_entry.at if end_entry else None, end_reason,
         end_entry.uptime_ms - began.uptime_ms if end_entry else None, began.seq,
         end_entry.seq if end_entry else began.seq),
    )  # fmt: skip
