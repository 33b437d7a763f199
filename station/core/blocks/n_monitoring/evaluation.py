"""Which monitors a value triggers. N07, N08.

Readings and replay
    Devices are read many times a second, and most readings are not journaled. `find_outcome` is a
    function of a monitor, what it reported last (`MonitorMemory`, from the journal), a value and
    the time, and nothing else. It runs twice. Outside of the journal
    (`station/runtime/monitored_values.py`) it is a filter of all readings: one that triggers
    nothing is not recorded. One that does is observed: MeterRead or ValuesMeasured. When this
    observation is decided, the same function finds the same outcome in the value that is in the
    entry, and MonitorsTriggered is the decision. Replay applies both entries; it needs no reading
    that was not journaled, and gives the same state on any machine.

Levels, not edges
    A monitor compares the value with what it reported last, so nothing depends on the moment of the
    evaluation. That is why evaluation may wait, and why a chain of events stays whole: "cleared"
    follows "exceeded" and no other event. It waits

    * offline, or before the CSMS has accepted the station, if the severity is not to be queued
      (OfflineQueuingSeverity; remark of N07),
    * if the severity is above the level of SetMonitoringLevel (N07.FR.15),
    * for `REST_MS` after an event of the same monitor, and while no events are left
      (`Monitors.left_events`): a Delta of 0 on a noisy value costs one event in 5 s, and all
      monitors together one a second (P6), `BATCH_EVENTS` of them in one message. The more severe go
      first,
    * while `WAITING_EVENTS_MAX` notifications wait to be sent,
    * for `START_MS` after a start, until the devices have reported faults and positions again; a
      fault that was reported counts at once.

    What was reached and left again in the meantime is not reported.

Transactions
    A monitor with `transaction` is active while a transaction runs at its EVSE; at the station,
    while one runs anywhere. What it reported in another transaction does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Final, Literal, NamedTuple

from journal.projections.monitors import EVENT_REFILL_MS, MonitorMemory
from station.core.blocks.measured_variables import FAULT_SOURCES, read_measured_value
from station.core.blocks.n_monitoring.active_monitors import value_group
from station.core.context import Context
from station.core.device_model.model import VariableDefinition
from station.core.device_model.monitors import VariableMonitor

ENABLED: Final = "MonitoringCtrlr.Enabled"
OFFLINE_SEVERITY: Final = "MonitoringCtrlr.OfflineQueuingSeverity"
REST_MS: Final = 5_000  # between two events of a monitor that is not periodic
START_MS: Final = 10_000  # from a start until the devices have reported
SEVERE_MAX: Final = 4  # severity number that may use up all events; others leave half of them
LESS_SEVERE_RESERVE: Final = 50  # events that only the more severe may use
BATCH_EVENTS: Final = 10  # events that must be left before any is sent: they share a message
WAITING_EVENTS_MAX: Final = 1_000  # NotifyEvent calls that wait to be sent
PERIODIC_GRACE_MS: Final = 2_000  # for a new value of a device, before the last one is reported

PROBLEM_SOURCES: Final = frozenset({"overload", "problem", "tripped"})

# `started`: nothing to report, but a change or an interval counts from now
Outcome = Literal["exceeded", "cleared", "changed", "periodic", "started"]


class Finding(NamedTuple):
    """A monitor that has an outcome."""

    monitor: VariableMonitor
    outcome: Outcome
    value: str
    transaction_id: str | None


def is_enabled(ctx: Context) -> bool:
    """Whether the product has monitoring, and the CSMS has not disabled it."""
    return ctx.variable_boolean(ENABLED)


def read_value(ctx: Context, definition: VariableDefinition) -> str | None:
    """The value of a variable in the state; of a secret its reference. None: not known yet."""
    if definition.source:
        return read_measured_value(ctx, definition.source, definition.key.component)
    return ctx.state.variables.values.get(definition.path, definition.attributes[0].value or "")


def evaluate_monitors(ctx: Context, monitors: Iterable[VariableMonitor]) -> Iterator[Finding]:
    """The monitors that have an outcome now, among those that may be evaluated.

    Monitors of one variable should follow each other: its value is read once.
    """
    severity_max = evaluated_severity(ctx)
    if severity_max < 0:
        return
    memories = ctx.state.monitors.memories
    path, value = "", None
    for monitor in monitors:
        if monitor.severity > severity_max:
            continue
        definition = monitor.definition
        if definition.path != path:
            path = definition.path
            value = read_value(ctx, definition)
        memory = memories.get(monitor.id)
        if value is None:
            continue
        if memory and not monitor.is_periodic and _must_wait(ctx, definition, memory, value):
            continue
        transaction_id = None
        if monitor.transaction:
            transaction_id = running_transaction(ctx, definition)
            if transaction_id is None:
                continue
            if memory is not None and memory.transaction_id != transaction_id:
                memory = None
        outcome = find_outcome(ctx, monitor, memory, value)
        if outcome is not None:
            yield Finding(monitor, outcome, value, transaction_id)


def evaluated_severity(ctx: Context) -> int:
    """The greatest severity number of monitors that are evaluated now; -1: none is.

    N07.FR.04, N07.FR.15, N08.FR.03.
    """
    if not is_enabled(ctx) or ctx.state.outbox.general_count("NotifyEvent") >= WAITING_EVENTS_MAX:
        return -1
    level = ctx.state.monitors.level
    if ctx.may_send_calls:
        return level
    return min(level, ctx.variable_integer(OFFLINE_SEVERITY))


def running_transaction(ctx: Context, definition: VariableDefinition) -> str | None:
    """The transaction at the EVSE of a component; of a component of the station, the first one."""
    evse_id = definition.key.component.evse_id
    if evse_id is not None:
        transaction = ctx.state.transactions.on_evse(evse_id)
        return transaction.transaction_id if transaction else None
    return next((each.transaction_id for each in ctx.state.transactions.open), None)


def _must_wait(
    ctx: Context, definition: VariableDefinition, memory: MonitorMemory, value: str
) -> bool:
    """Whether a monitor rests after its event, in this or another transaction, or is starting."""
    if memory.event_id and is_resting(memory, ctx.uptime_ms):
        return True
    return _is_starting(ctx, definition, memory, value)


def _is_starting(
    ctx: Context, definition: VariableDefinition, memory: MonitorMemory, value: str
) -> bool:
    """Whether a memory is of an earlier run, and the devices have not reported again."""
    started_ms = ctx.state.lifecycle.started_ms
    if not 0 <= ctx.uptime_ms - started_ms < START_MS:
        return False
    if started_ms <= memory.uptime_ms <= ctx.uptime_ms:
        return False
    if definition.source in FAULT_SOURCES:
        return value != "true"
    return definition.source == "availability"


def find_outcome(
    ctx: Context, monitor: VariableMonitor, memory: MonitorMemory | None, value: str
) -> Outcome | None:
    """What a value means to a monitor; None: nothing, or not yet."""
    if monitor.is_periodic:
        return _find_periodic_outcome(ctx, monitor, memory)
    if monitor.type == "Delta":
        return _find_delta_outcome(monitor, memory, value)
    number = _as_number(value)
    if number is None:
        return None
    upper = monitor.type == "UpperThreshold"
    is_beyond = number > monitor.value if upper else number < monitor.value
    if is_beyond is (memory is not None and memory.exceeded):
        return None
    return "exceeded" if is_beyond else "cleared"  # N07.FR.16, N07.FR.17; N07.FR.02, N07.FR.14


def is_resting(memory: MonitorMemory, uptime_ms: int) -> bool:
    return 0 <= uptime_ms - memory.uptime_ms < REST_MS


def _find_delta_outcome(
    monitor: VariableMonitor, memory: MonitorMemory | None, value: str
) -> Outcome | None:
    """N07.FR.18, N07.FR.19; errata 1.1: the difference is an absolute one.

    Of a problem that was never reported the first report is a change.
    """
    if memory is None:
        if monitor.definition.source not in PROBLEM_SOURCES:
            return "started"
        return "changed" if value == "true" else None
    if value == memory.value:
        return None
    if monitor.definition.is_numeric:
        number, before = _as_number(value), _as_number(memory.value)
        if number is not None and before is not None:
            return "changed" if abs(number - before) > monitor.value else None
    return "changed"


def _find_periodic_outcome(
    ctx: Context, monitor: VariableMonitor, memory: MonitorMemory | None
) -> Outcome | None:
    """N08.FR.06, N08.FR.07. A clock that went back starts the interval again."""
    if memory is None:
        return "started"
    due_ms = periodic_due_ms(ctx, monitor, memory)
    interval_ms = int(monitor.value) * 1000
    if due_ms - ctx.uptime_ms > interval_ms:
        return "started"
    return "periodic" if ctx.uptime_ms >= due_ms else None


def periodic_due_ms(ctx: Context, monitor: VariableMonitor, memory: MonitorMemory) -> int:
    """Uptime of the next event of a periodic monitor."""
    interval_ms = int(monitor.value) * 1000
    if monitor.type == "Periodic":
        return memory.uptime_ms + interval_ms
    next_unix_ms = (memory.unix_ms // interval_ms + 1) * interval_ms
    return ctx.uptime_ms + next_unix_ms - now_unix_ms(ctx)


def now_unix_ms(ctx: Context) -> int:
    return round(ctx.now.timestamp() * 1000)


def allow_findings(ctx: Context, findings: Iterable[Finding]) -> list[Finding]:
    """Those that may be reported now, the more severe first. P6."""
    left = ctx.state.monitors.left_events(ctx.uptime_ms)
    for_severe = left if left >= BATCH_EVENTS else 0
    for_others = left - LESS_SEVERE_RESERVE
    for_others = for_others if for_others >= BATCH_EVENTS else 0
    allowed = []
    for finding in sorted(findings, key=lambda each: (each.monitor.severity, each.monitor.id)):
        if finding.outcome in ("exceeded", "cleared", "changed"):
            if (for_severe if finding.monitor.severity <= SEVERE_MAX else for_others) <= 0:
                continue
            for_severe, for_others = for_severe - 1, for_others - 1
        allowed.append(finding)
    return allowed


def ms_until_more_events(left: int) -> int:
    """The time until more events may be sent than now; 0: nothing is held back."""
    for enough in (BATCH_EVENTS, LESS_SEVERE_RESERVE + BATCH_EVENTS):
        if left < enough:
            return (enough - left) * EVENT_REFILL_MS
    return 0


def has_fresh_value(definition: VariableDefinition) -> bool:
    """Whether the value in the state is the present one, not the one recorded last."""
    return value_group(definition) not in ("meter", "device")


def _as_number(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None
