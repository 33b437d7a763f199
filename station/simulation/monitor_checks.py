"""The invariant of events of monitors: N07 in `invariants.py`."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from journal.events import Entry
from journal.observations import StationStarted
from journal.projections.monitors import (
    EVENT_BURST,
    EVENT_REFILL_MS,
    MonitorCleared,
    MonitorEvent,
    MonitoringBaseSet,
    MonitorSet,
    MonitorsTriggered,
)
from journal.projections.outbox import CallQueued
from station.core.blocks.n_monitoring.evaluation import REST_MS

RATE_PERIOD_MS: Final = 3_600_000
THRESHOLD_OUTCOMES: Final = ("exceeded", "cleared")


class _ThresholdOutcome(NamedTuple):
    """The outcome of a monitor with a threshold, and the transaction it is about."""

    outcome: str
    transaction_id: str | None


class MonitorChecks:
    """Records of its own about the events of one world, from the entries.

    Attributes:
        event_count: events so far.
        notified_count: those in a NotifyEvent that was queued.
    """

    def __init__(self) -> None:
        self.event_count = 0
        self.notified_count = 0
        self._event_id = 0
        # active in transactions only; such a monitor begins again with each of them
        self._of_transactions: set[int] = set()
        # by monitor with a threshold
        self._last_outcome: dict[int, _ThresholdOutcome] = {}
        self._last_ms: dict[int, int] = {}  # uptime of its last event, by monitor
        self._counted_ms: list[int] = []  # uptimes of the events that are bounded, in this boot
        self._boot_id = ""

    def find_violation(self, entry: Entry) -> str | None:
        """What an entry breaks; None: nothing."""
        match entry.event:
            case StationStarted(boot_id=boot_id):
                if boot_id != self._boot_id:
                    self._boot_id, self._last_ms, self._counted_ms = boot_id, {}, []
            case MonitorSet(monitor=monitor):
                self._last_ms.pop(monitor.id, None)
                self._of_transactions.discard(monitor.id)
                if monitor.transaction:
                    self._of_transactions.add(monitor.id)
            case MonitorCleared(monitor_id=monitor_id):
                self._forget(monitor_id)
            case MonitoringBaseSet(base=base) if base != "All":
                self._last_outcome, self._last_ms = {}, {}
            case MonitorsTriggered():
                return self._check_events(entry, entry.event)
            case CallQueued(action="NotifyEvent", payload=payload):
                self.notified_count += len(msgspec.json.decode(payload)["eventData"])
        return None

    def _forget(self, monitor_id: int) -> None:
        self._last_outcome.pop(monitor_id, None)
        self._last_ms.pop(monitor_id, None)

    def _check_events(self, entry: Entry, triggered: MonitorsTriggered) -> str | None:
        for event in triggered.events:
            self.event_count += 1
            if event.event_id <= self._event_id:
                return f"event {event.event_id} after {self._event_id}"
            self._event_id = event.event_id
            if event.outcome == "periodic":
                continue
            last_ms = self._last_ms.get(event.monitor_id)
            if last_ms is not None and entry.uptime_ms - last_ms < REST_MS:
                return f"monitor {event.monitor_id} twice in {entry.uptime_ms - last_ms} ms"
            self._last_ms[event.monitor_id] = entry.uptime_ms
            self._counted_ms.append(entry.uptime_ms)
            if event.outcome in THRESHOLD_OUTCOMES:
                if event.outcome == self._outcome_before(event):
                    return f"monitor {event.monitor_id} is {event.outcome} twice"
                self._last_outcome[event.monitor_id] = _ThresholdOutcome(
                    event.outcome, event.transaction_id
                )
        return self._check_rate(entry.uptime_ms)

    def _outcome_before(self, event: MonitorEvent) -> str:
        """Before the first one, also in a transaction: "cleared"."""
        last = self._last_outcome.get(event.monitor_id)
        if last is None:
            return "cleared"
        begins_again = (
            event.monitor_id in self._of_transactions
            and event.transaction_id != last.transaction_id
        )
        return "cleared" if begins_again else last.outcome

    def _check_rate(self, uptime_ms: int) -> str | None:
        """P6."""
        since_ms = uptime_ms - RATE_PERIOD_MS
        self._counted_ms = [each for each in self._counted_ms if each > since_ms]
        if not self._counted_ms:
            return None
        allowed = EVENT_BURST + (uptime_ms - self._counted_ms[0]) // EVENT_REFILL_MS + 1
        if len(self._counted_ms) > allowed:
            return f"{len(self._counted_ms)} events, {allowed} are allowed"
        return None
