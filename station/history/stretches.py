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

from journal.chain import Row
from journal.observations import ClockStepped, DeviceFaulted, DeviceRecovered, StationStarted
from journal.projections.authorizations import AuthorizationBound
from journal.projections.availability import Availability
from journal.projections.clocks import ClockCorrected
from journal.projections.faults import Faults
from journal.projections.firmware import Firmware
from journal.projections.hardware import Hardware
from journal.projections.lifecycle import Lifecycle
from journal.projections.outbox import CallQueued
from journal.projections.transactions import TransactionStarted
from journal.terms import Entry
from station.history.rows import Clocked, Columns, Line
from station.history.standing import Standing

MILLISECOND: Final = timedelta(milliseconds=1)
DAY: Final = timedelta(days=1)

# --- States --------------------------------------------------------------------------------------

STATES: Final[Columns] = (
    ("evse_id", "int"),
    ("state", "text"),  # Available, Occupied, Unavailable, Faulted, Off
    ("from_at", "time"),
    ("to_at", "time"),
    ("duration_ms", "int"),
    ("time_quality", "text"),  # of its end
    ("entry_first", "int"),  # that began it
    ("entry_last", "int"),  # up to which it is known
)
INSTALLING: Final = ("Installing", "InstallRebooting")


@dataclass
class Stretch:
    """A state that goes on."""

    state: str
    since: datetime
    entry_first: int


class States:
    """One row for each EVSE, state and stretch of one day.

    `Off` is the time between the last entry of a run and the first of the next: nobody was there.
    """

    def __init__(self) -> None:
        self._clock = Clocked()
        self._standing = Standing()
        self._life = Lifecycle()
        self._availability = Availability()
        self._faults = Faults()
        self._firmware = Firmware()
        self._hardware = Hardware()
        self._stretches: dict[int, Stretch] = {}
        self._last: Entry | None = None  # heard
        self._quality = ""
        self._day = 0  # its ordinal: no stretch began before it

    def hears(self, entry: Entry, row: Row) -> Iterator[Line]:
        quality = self._clock.quality(entry)
        if self._last is not None:
            match entry.event:
                case StationStarted():
                    yield from self._turned(entry.at, quality, self._last)
                case ClockStepped(step_ms=step_ms) if step_ms:
                    yield from self._moved(entry.at - step_ms * MILLISECOND, step_ms)
                case _:
                    yield from self._days(entry.at)
        self._last, self._quality = entry, quality
        if isinstance(entry.event, STIRRING):
            self._learn(entry)
            for evse_id in self._life.evse_ids:
                yield from self._stands(evse_id, self._state(evse_id), entry)
        if isinstance(entry.event, ClockCorrected) and entry.event.step_ms:
            yield from self._moved(entry.at, entry.event.step_ms)

    def ends(self, *, ever: bool) -> Iterator[Line]:
        if self._last is not None:
            yield from self._cut(self._last.at)

    def _learn(self, entry: Entry) -> None:
        self._standing.hears(entry)
        for name, hears in HEARD:
            if isinstance(entry.event, hears):
                setattr(self, name, getattr(self, name).after(entry))

    def _state(self, evse_id: int) -> str:
        """As the station tells the CSMS of its connectors. G01.FR.01 to 05."""
        if self._faults.blocking(evse_id):
            return "Faulted"
        if self._standing.at(evse_id):
            return "Occupied"
        update = self._firmware.running
        if (
            self._life.restart
            or (update is not None and update.status in INSTALLING)
            or not any(self._usable(*part) for part in self._life.connectors if part[0] == evse_id)
        ):
            return "Unavailable"
        return "Occupied" if self._hardware.at(evse_id).plugged else "Available"

    def _usable(self, evse_id: int, connector_id: int) -> bool:
        known = self._availability
        return known.operative(evse_id, connector_id) and not known.leaving(evse_id, connector_id)

    # --- Stretches -------------------------------------------------------------------------------

    def _stands(self, evse_id: int, state: str, entry: Entry) -> Iterator[Line]:
        """An EVSE stands so from this entry on, if it did not before."""
        now = self._stretches.get(evse_id)
        if now is None:
            self._stretches[evse_id] = Stretch(state, entry.at, entry.seq)
        elif now.state != state:
            yield from self._told(evse_id, now, entry.at)
            self._stretches[evse_id] = Stretch(state, max(now.since, entry.at), entry.seq)

    def _turned(self, at: datetime, quality: str, last: Entry) -> Iterator[Line]:
        """The program began anew: it was off since the last entry."""
        yield from self._cut(last.at)
        for evse_id in self._stretches:
            self._stretches[evse_id] = Stretch("Off", last.at, last.seq)
        self._quality = quality
        if at > last.at:  # a clock that ran backwards knows nothing
            yield from self._days(at)
            yield from self._cut(at)
        self._stretches.clear()
        self._day = 0

    def _moved(self, at: datetime, step_ms: int) -> Iterator[Line]:
        """The clock showed `at` and was moved."""
        yield from self._days(at)
        yield from self._cut(at)
        for now in self._stretches.values():
            now.since = at + step_ms * MILLISECOND
        self._day = 0

    def _days(self, at: datetime) -> Iterator[Line]:
        """Cut at each midnight up to `at`."""
        if at.toordinal() == self._day:
            return
        self._day = at.toordinal()
        while self._stretches:
            since = min(now.since for now in self._stretches.values())
            midnight = since.replace(hour=0, minute=0, second=0, microsecond=0) + DAY
            if at < midnight:
                return
            yield from self._cut(midnight)

    def _cut(self, at: datetime) -> Iterator[Line]:
        """Tell what was up to `at`; it goes on from there."""
        for evse_id, now in self._stretches.items():
            yield from self._told(evse_id, now, at)
            now.since = max(now.since, at)

    def _told(self, evse_id: int, now: Stretch, at: datetime) -> Iterator[Line]:
        if at <= now.since:
            return
        assert self._last is not None
        yield Line(
            now.since,
            (evse_id, now.state, now.since, at, (at - now.since) // MILLISECOND, self._quality,
             now.entry_first, self._last.seq),
        )  # fmt: skip


HEARD: Final = (
    ("_life", Lifecycle.HEARS),
    ("_availability", Availability.HEARS),
    ("_faults", Faults.HEARS),
    ("_firmware", Firmware.HEARS),
    ("_hardware", Hardware.HEARS),
)
TRANSACTIONAL: Final = (TransactionStarted, AuthorizationBound, CallQueued)
STIRRING: Final = (*TRANSACTIONAL, *(event for _, hears in HEARD for event in hears))

# --- Faults --------------------------------------------------------------------------------------

FAULTS: Final[Columns] = (
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
class Trouble:
    """A fault that is not over."""

    event: DeviceFaulted
    began: Entry
    quality: str


class FaultTimes:
    """One row for each fault, once it is over."""

    def __init__(self) -> None:
        self._clock = Clocked()
        self._standing: dict[tuple[int, str, str], Trouble] = {}
        self._last: Entry | None = None

    def hears(self, entry: Entry, row: Row) -> Iterator[Line]:
        quality = self._clock.quality(entry)
        match entry.event:
            case DeviceFaulted(evse_id=evse_id, device=device, fault=fault) as event:
                self._standing.setdefault((evse_id, device, fault), Trouble(event, entry, quality))
            case DeviceRecovered(evse_id=evse_id, device=device, fault=fault):
                trouble = self._standing.pop((evse_id, device, fault), None)
                if trouble is not None:
                    yield _fault(trouble, entry, "recovered")
            case StationStarted() if self._last is not None:
                for trouble in self._standing.values():
                    yield _fault(trouble, self._last, "restart")
                self._standing.clear()
        self._last = entry

    def ends(self, *, ever: bool) -> Iterator[Line]:
        if ever:
            for trouble in self._standing.values():
                yield _fault(trouble, None, "")


def _fault(trouble: Trouble, end: Entry | None, ended: str) -> Line:
    event, began = trouble.event, trouble.began
    return Line(
        end.at if end else began.at,
        (event.evse_id, event.device, event.fault, str(event.blocks).lower(), event.tech_code,
         event.tech_info, began.at, trouble.quality, end.at if end else None, ended,
         end.uptime_ms - began.uptime_ms if end else None, began.seq,
         end.seq if end else began.seq),
    )  # fmt: skip
