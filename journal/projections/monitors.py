"""The monitors of variables: those the CSMS has set, and what each monitor reported last. Block N.

Monitors of the product profile are not stored: only that the CSMS replaced or cleared one, which
of them are active (the base), and the severity up to which events are sent (the level). Whether a
value triggers a monitor is decided in `station/core/blocks/n_monitoring`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from journal.events import Decision, Entry
from journal.immutable import ImmutableMap
from journal.observations import DeviceFaulted, DeviceRecovered, LinkOpened, StationStarted
from journal.projections.base import Projection
from journal.projections.registration import RegistrationAnswered
from journal.projections.transactions import TransactionStarted, unix_ms
from journal.projections.variables import VariableChanged

MonitorType = Literal[
    "UpperThreshold", "LowerThreshold", "Delta", "Periodic", "PeriodicClockAligned"
]
MonitoringBase = Literal["All", "FactoryDefault", "HardWiredOnly"]
Outcome = Literal["exceeded", "cleared", "changed", "periodic"]

CUSTOM_ID_FIRST: Final = 100_000  # ids below belong to the product profile
SEVERITY_MAX: Final = 9  # 0 (danger) to 9 (debug)
EVENT_BURST: Final = 100  # events of thresholds and deltas at once
EVENT_REFILL_MS: Final = 1_000  # one more after this time


class Monitor(msgspec.Struct, frozen=True):
    """A monitor as the CSMS set it."""

    id: int
    variable: str  # as `EVSE@1.Power`
    type: MonitorType
    value: Decimal  # threshold or delta in the unit of the variable; periodic: s
    severity: int
    transaction: bool = False  # active only while a transaction runs at the component


class MonitorSet(Decision, frozen=True):
    """The CSMS set a monitor, or replaced the one with this id. N04.FR.08, N04.FR.12."""

    monitor: Monitor


class MonitorCleared(Decision, frozen=True):
    """A monitor was removed. N06.FR.01."""

    monitor_id: int
    because: str = ""  # code of the reason


class MonitoringBaseSet(Decision, frozen=True):
    """The CSMS selected a set of monitors of the product. N03.FR.03 to 05."""

    base: MonitoringBase


class MonitoringLevelSet(Decision, frozen=True):
    """The CSMS set the severity up to which events are sent. N05.FR.03."""

    severity: int


class MonitorBegin(msgspec.Struct, frozen=True):
    """What a Delta or periodic monitor starts from."""

    monitor_id: int
    value: str  # of the variable; of a secret, its reference
    transaction_id: str | None = None  # the transaction that made it active


class MonitorsStarted(Decision, frozen=True):
    """Delta and periodic monitors became active: changes and intervals count from here.

    N07.FR.18, N07.FR.19, N08.FR.06, N08.FR.07.
    """

    begins: tuple[MonitorBegin, ...]


class MonitorEvent(msgspec.Struct, frozen=True):
    """One monitor was triggered."""

    event_id: int  # eventId in NotifyEvent
    monitor_id: int
    outcome: Outcome
    value: str  # of the variable; of a secret, its reference
    transaction_id: str | None = None
    late_ms: int = 0  # of a periodic event, after its time


class MonitorsTriggered(Decision, frozen=True):
    """Monitors were triggered; the CSMS is notified of each. N07.FR.16 to 19, N08.FR.06."""

    events: tuple[MonitorEvent, ...]


class MonitorMemory(msgspec.Struct, frozen=True):
    """What a monitor reported last, or what it started from."""

    value: str
    uptime_ms: int
    unix_ms: int
    event_id: int = 0  # 0: no event since it started
    exceeded: bool = False  # beyond the threshold, and reported
    transaction_id: str | None = None


class Monitors(Projection, frozen=True):
    """Bounds: the block limits the number of monitors; a monitor has one memory."""

    HANDLES = (
        MonitorSet, MonitorCleared, MonitoringBaseSet, MonitoringLevelSet, MonitorsStarted,
        MonitorsTriggered, VariableChanged, DeviceFaulted, DeviceRecovered, LinkOpened,
        RegistrationAnswered, TransactionStarted, StationStarted,
    )  # fmt: skip

    custom: ImmutableMap[int, Monitor] = ImmutableMap()  # set by the CSMS, by id
    cleared: tuple[int, ...] = ()  # ids of monitors of the profile that the CSMS cleared
    base: MonitoringBase = "FactoryDefault"
    level: int = SEVERITY_MAX
    next_id: int = CUSTOM_ID_FIRST
    next_event_id: int = 1
    memories: ImmutableMap[int, MonitorMemory] = ImmutableMap()  # by id of the monitor
    changed_seq: int = 0  # the newest entry after which every monitor may have another outcome
    last_event_ms: int | None = None  # uptime of the newest events
    spent_events: int = 0  # of EVENT_BURST, at `last_event_ms`

    def apply(self, entry: Entry) -> Monitors:
        match entry.event:
            case MonitorsTriggered(events=events):
                return self._on_triggered(entry, events)
            case MonitorsStarted(begins=begins):
                return self._on_started(entry, begins)
            case MonitorSet(monitor=monitor):
                return self._on_set(entry, monitor)
            case MonitorCleared(monitor_id=monitor_id):
                return self._on_cleared(entry, monitor_id)
            case MonitoringBaseSet(base=base):
                return self._on_base(entry, base)
            case MonitoringLevelSet(severity=severity):
                return replace(self, level=severity, changed_seq=entry.seq)
            case _:
                return replace(self, changed_seq=entry.seq)

    def left_events(self, uptime_ms: int) -> int:
        """How many events may be sent now. P6."""
        if self.last_event_ms is None:
            return EVENT_BURST
        refilled = max(uptime_ms - self.last_event_ms, 0) // EVENT_REFILL_MS
        return min(EVENT_BURST - self.spent_events + refilled, EVENT_BURST)

    def _on_set(self, entry: Entry, monitor: Monitor) -> Monitors:
        """An exceeded threshold is compared with the new one; N07.FR.11."""
        memories, memory = self.memories, self.memories.get(monitor.id)
        replaced = self.custom.get(monitor.id)
        if memory and not (memory.exceeded and (replaced is None or replaced.type == monitor.type)):
            memories = memories.without_key(monitor.id)
        return replace(
            self,
            custom=self.custom.with_item(monitor.id, monitor),
            next_id=max(self.next_id, monitor.id + 1),
            memories=memories,
            changed_seq=entry.seq,
        )

    def _on_cleared(self, entry: Entry, monitor_id: int) -> Monitors:
        cleared = self.cleared
        if monitor_id < CUSTOM_ID_FIRST and monitor_id not in cleared:
            cleared = (*cleared, monitor_id)
        return replace(
            self,
            custom=self.custom.without_key(monitor_id),
            cleared=cleared,
            memories=self.memories.without_key(monitor_id),
            changed_seq=entry.seq,
        )

    def _on_base(self, entry: Entry, base: MonitoringBase) -> Monitors:
        """All keeps what the CSMS has set, the others delete it. N03.FR.03 to 05, errata 2.54."""
        if base == "All":
            kept = tuple(each for each in self.cleared if each in self.custom)
            return replace(self, base=base, cleared=kept, changed_seq=entry.seq)
        memories = self.memories
        for monitor_id in self.custom:
            memories = memories.without_key(monitor_id)
        return replace(
            self,
            custom=ImmutableMap(),
            cleared=(),
            base=base,
            memories=memories,
            changed_seq=entry.seq,
        )

    def _on_started(self, entry: Entry, begins: tuple[MonitorBegin, ...]) -> Monitors:
        memories = self.memories
        for begin in begins:
            memory = MonitorMemory(
                begin.value, entry.uptime_ms, unix_ms(entry), transaction_id=begin.transaction_id
            )
            memories = memories.with_item(begin.monitor_id, memory)
        return replace(self, memories=memories)

    def _on_triggered(self, entry: Entry, events: tuple[MonitorEvent, ...]) -> Monitors:
        memories, moment_ms = self.memories, unix_ms(entry)
        for event in events:
            memory = MonitorMemory(
                value=event.value,
                uptime_ms=entry.uptime_ms - event.late_ms,
                unix_ms=moment_ms - event.late_ms,
                event_id=event.event_id,
                exceeded=event.outcome == "exceeded",
                transaction_id=event.transaction_id,
            )
            memories = memories.with_item(event.monitor_id, memory)
        counted = sum(event.outcome != "periodic" for event in events)
        spent = EVENT_BURST - self.left_events(entry.uptime_ms) + counted
        return replace(
            self,
            memories=memories,
            next_event_id=max((self.next_event_id, *(each.event_id + 1 for each in events))),
            last_event_ms=entry.uptime_ms if counted else self.last_event_ms,
            spent_events=spent if counted else self.spent_events,
        )
