"""Events of monitors: evaluation after an entry, NotifyEvent, deadlines. N07, N08.

`report_monitored_changes` evaluates only what an entry can have changed: after a reading the
monitors of that meter, after ValuesMeasured those of devices, after entries that
`Monitors.changed_seq` marks and after a deadline all of them, after any other entry the few that
follow from the whole state, such as AvailabilityState.

Events of one entry are in one NotifyEventRequest, or in parts of `EVENTS_PER_MESSAGE`. It is kept
when the station goes offline: what was triggered is delivered, and no chain breaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from journal.events import Decision
from journal.observations import (
    DeadlineReached,
    DeviceFaulted,
    DeviceRecovered,
    MeterFellSilent,
    MeterRead,
    StationStarted,
    ValuesMeasured,
)
from journal.projections.monitors import (
    EVENT_REFILL_MS,
    MonitorBegin,
    MonitorCleared,
    MonitorEvent,
    MonitorsStarted,
    MonitorsTriggered,
)
from station.core.blocks.measured_variables import (
    FAULT_SOURCES,
    component_devices,
    component_faults,
    is_fault_of,
)
from station.core.blocks.n_monitoring.active_monitors import (
    MonitorTable,
    active_monitors,
    custom_monitor,
)
from station.core.blocks.n_monitoring.evaluation import (
    PERIODIC_GRACE_MS,
    PROBLEM_SOURCES,
    REST_MS,
    START_MS,
    Finding,
    allow_findings,
    evaluate_monitors,
    evaluated_severity,
    has_fresh_value,
    is_enabled,
    is_resting,
    ms_until_more_events,
    periodic_due_ms,
    read_value,
    running_transaction,
)
from station.core.context import Context, component_for_message, queue_call
from station.core.device_model.monitors import VariableMonitor
from station.ocpp.messages import format_timestamp
from station.ocpp.messages.datatypes import VariableType
from station.ocpp.messages.enums import EventTriggerEnumType
from station.ocpp.messages.n_diagnostics import EventDataType, NotifyEventRequest

EVENTS_PER_MESSAGE: Final = 50
ACTUAL_VALUE_MAX: Final = 2500  # characters of actualValue
TECH_INFO_MAX: Final = 500  # characters of techInfo


def table_of(ctx: Context) -> MonitorTable:
    return active_monitors(ctx.product.device_model, ctx.state.monitors)


# --- Rules ---------------------------------------------------------------------------------------


def remove_unknown_monitors(ctx: Context) -> Iterator[Decision]:
    """At a start: remove monitors of variables that this firmware does not have. N04 remark."""
    if not isinstance(ctx.entry.event, StationStarted):
        return
    for monitor in ctx.state.monitors.custom.values():
        if custom_monitor(ctx.product.device_model, monitor) is None:
            yield MonitorCleared(monitor.id, "VariableGone")


def report_monitored_changes(ctx: Context) -> Iterator[Decision]:
    """Notify the CSMS of every monitor that this entry has triggered. N07, N08."""
    if not is_enabled(ctx):
        return
    monitors = monitors_to_evaluate(ctx)
    if not monitors:
        return
    found = evaluate_monitors(ctx, monitors)
    findings = allow_findings(ctx, (each for each in found if not _waits_for_device(ctx, each)))
    begins = [each for each in findings if each.outcome == "started"]
    if begins:
        yield MonitorsStarted(
            tuple(MonitorBegin(each.monitor.id, each.value, each.transaction_id) for each in begins)
        )
    events = [each for each in findings if each.outcome != "started"]
    if events:
        yield from _notify_events(ctx, events)


def monitors_to_evaluate(ctx: Context) -> Sequence[VariableMonitor]:
    """The monitors that this entry, with the decisions made so far, can have triggered."""
    event, table = ctx.entry.event, table_of(ctx)
    if ctx.state.monitors.changed_seq >= ctx.entry.seq or isinstance(event, DeadlineReached):
        return table.ordered
    if isinstance(event, MeterRead | MeterFellSilent):
        of_meter = (
            each
            for each in table.by_group["meter"]
            if each.definition.key.component.evse_id in (None, event.evse_id)
        )
        return (*of_meter, *table.by_group["any"])
    if isinstance(event, ValuesMeasured):
        return table.by_group["device"]
    return table.by_group["any"]


def _waits_for_device(ctx: Context, finding: Finding) -> bool:
    """Whether a periodic event waits a moment for the present value of the device."""
    monitor = finding.monitor
    if finding.outcome != "periodic" or has_fresh_value(monitor.definition):
        return False
    if isinstance(ctx.entry.event, MeterRead | ValuesMeasured):
        return False
    memory = ctx.state.monitors.memories[monitor.id]
    return ctx.uptime_ms < periodic_due_ms(ctx, monitor, memory) + PERIODIC_GRACE_MS


# --- NotifyEvent ---------------------------------------------------------------------------------


def _notify_events(ctx: Context, findings: Sequence[Finding]) -> Iterator[Decision]:
    """The decision that monitors were triggered, and its NotifyEventRequests."""
    first_id = ctx.state.monitors.next_event_id
    triggered = tuple(
        MonitorEvent(
            event_id=first_id + number,
            monitor_id=finding.monitor.id,
            outcome=finding.outcome,  # type: ignore[arg-type]
            value=finding.value,
            transaction_id=_transaction_of(ctx, finding),
            late_ms=_lateness_ms(ctx, finding),
        )
        for number, finding in enumerate(findings)
    )
    yield MonitorsTriggered(triggered)
    root_id = _root_event_id(ctx, findings, first_id)
    data = [
        _event_data(ctx, finding, event, root_id)
        for finding, event in zip(findings, triggered, strict=True)
    ]
    parts = [data[at : at + EVENTS_PER_MESSAGE] for at in range(0, len(data), EVENTS_PER_MESSAGE)]
    for seq_no, part in enumerate(parts):
        request = NotifyEventRequest(
            generated_at=format_timestamp(ctx.now),
            seq_no=seq_no,  # N07.FR.07, N08.FR.04
            event_data=tuple(part),
            tbc=seq_no < len(parts) - 1,
        )
        yield from queue_call(ctx, request, keep=True)


def _transaction_of(ctx: Context, finding: Finding) -> str | None:
    """The transaction at the EVSE; of a cleared threshold, the one in which it was exceeded."""
    if finding.transaction_id is not None:
        return finding.transaction_id
    definition = finding.monitor.definition
    if definition.key.component.evse_id is None:
        return None
    running = running_transaction(ctx, definition)
    if running is None and finding.outcome == "cleared":
        return ctx.state.monitors.memories[finding.monitor.id].transaction_id
    return running


def _lateness_ms(ctx: Context, finding: Finding) -> int:
    """By how much a periodic event is late, so that the next one is not; 0 after a pause."""
    monitor = finding.monitor
    if finding.outcome != "periodic" or monitor.type != "Periodic":
        return 0
    memory = ctx.state.monitors.memories[monitor.id]
    late_ms = ctx.uptime_ms - periodic_due_ms(ctx, monitor, memory)
    return late_ms if late_ms < int(monitor.value) * 1000 else 0


def _event_data(
    ctx: Context, finding: Finding, event: MonitorEvent, root_id: int | None
) -> EventDataType:
    monitor, definition = finding.monitor, finding.monitor.definition
    tech_code, tech_info = _tech_details(ctx, finding)
    follows = root_id not in (None, event.event_id) and _is_of_fault(ctx, finding)
    return EventDataType(
        event_id=event.event_id,
        timestamp=format_timestamp(ctx.now),
        trigger=_trigger(finding),
        # N07.FR.10: of a variable that cannot be read it is empty
        actual_value="" if definition.is_write_only else finding.value[:ACTUAL_VALUE_MAX],
        component=component_for_message(definition.key.component),
        event_notification_type=monitor.origin,
        variable=VariableType(name=definition.key.name, instance=definition.key.instance),
        cause=root_id if follows else None,  # N07.FR.05
        tech_code=tech_code,
        tech_info=tech_info,
        cleared=True if _is_cleared(finding) else None,  # N07.FR.02
        transaction_id=event.transaction_id,
        variable_monitoring_id=monitor.id if monitor.is_reported else None,  # N07.FR.06
    )


def _trigger(finding: Finding) -> EventTriggerEnumType:
    if finding.outcome == "periodic":
        return "Periodic"  # N08.FR.05
    if finding.outcome == "changed" and finding.monitor.is_reported:
        return "Delta"
    return "Alerting"


def _is_cleared(finding: Finding) -> bool:
    """A value within its threshold again, or a problem that has ended."""
    if finding.outcome == "cleared":
        return True
    source = finding.monitor.definition.source
    return finding.outcome == "changed" and source in PROBLEM_SOURCES and finding.value == "false"


def _tech_details(ctx: Context, finding: Finding) -> tuple[str | None, str | None]:
    """techCode and techInfo: of the fault that is the problem of the component."""
    definition = finding.monitor.definition
    if definition.source not in PROBLEM_SOURCES or finding.value != "true":
        return None, None
    faults = component_faults(ctx, definition.key.component)
    if not faults:
        return None, None
    event = ctx.entry.event
    fault = event if isinstance(event, DeviceFaulted) and event in faults else faults[-1]
    info = f"{fault.device}/{fault.fault}" + (f": {fault.tech_info}" if fault.tech_info else "")
    return fault.tech_code[:50] or None, info[:TECH_INFO_MAX]


# --- Cause ---------------------------------------------------------------------------------------


def _root_event_id(ctx: Context, findings: Sequence[Finding], first_id: int) -> int | None:
    """The event of the component whose device reported the fault of this entry. N07.FR.05.

    It is one of these events, or the last one of that component; an event that was not sent is
    never a cause, so the chain stays whole when severities are left out.
    """
    fault = ctx.entry.event
    if not isinstance(fault, DeviceFaulted | DeviceRecovered):
        return None
    for number, finding in enumerate(findings):
        if _is_own_component(finding.monitor, fault):
            return first_id + number
    for monitor in table_of(ctx).by_group["fault"]:
        memory = ctx.state.monitors.memories.get(monitor.id)
        if memory is not None and memory.event_id and _is_own_component(monitor, fault):
            return memory.event_id
    return None


def _is_own_component(monitor: VariableMonitor, fault: DeviceFaulted | DeviceRecovered) -> bool:
    component = monitor.definition.key.component
    return (
        monitor.definition.source in PROBLEM_SOURCES
        and component_devices(component) is not None
        and is_fault_of(component, fault)
    )


def _is_of_fault(ctx: Context, finding: Finding) -> bool:
    """Whether a change follows from the fault of this entry."""
    fault, definition = ctx.entry.event, finding.monitor.definition
    assert isinstance(fault, DeviceFaulted | DeviceRecovered)
    if definition.source not in (*FAULT_SOURCES, "availability"):
        return False
    return fault.evse_id == 0 or definition.key.component.evse_id in (None, fault.evse_id)


# --- Deadlines -----------------------------------------------------------------------------------


def next_monitor_due_ms(ctx: Context) -> int | None:
    """Uptime at which a monitor may be triggered without another observation."""
    if not is_enabled(ctx):
        return None
    return min(_due_times_ms(ctx), default=None)


def _due_times_ms(ctx: Context) -> Iterator[int]:
    table, monitors = table_of(ctx), ctx.state.monitors
    if table.periodic:
        severity_max = evaluated_severity(ctx)
        for monitor in table.periodic:
            if monitor.severity <= severity_max:
                yield from _periodic_due_times_ms(ctx, monitor)
    yield from _start_due_times_ms(ctx)
    last_ms = monitors.last_event_ms
    if last_ms is None or ctx.uptime_ms < last_ms:
        return
    passed_ms = ctx.uptime_ms - last_ms
    if passed_ms < REST_MS:
        yield from _rested_times_ms(ctx, table)
    held_ms = ms_until_more_events(monitors.left_events(ctx.uptime_ms))
    if held_ms:
        yield ctx.uptime_ms - passed_ms % EVENT_REFILL_MS + held_ms


def _periodic_due_times_ms(ctx: Context, monitor: VariableMonitor) -> Iterator[int]:
    memory = ctx.state.monitors.memories.get(monitor.id)
    if memory is None or read_value(ctx, monitor.definition) is None:
        return
    if monitor.transaction and (
        running_transaction(ctx, monitor.definition) != memory.transaction_id
    ):
        return
    due_ms = periodic_due_ms(ctx, monitor, memory)
    yield due_ms if has_fresh_value(monitor.definition) else due_ms + PERIODIC_GRACE_MS


def _start_due_times_ms(ctx: Context) -> Iterator[int]:
    """The end of the time in which devices report after a start, if something was reported."""
    end_ms = ctx.state.lifecycle.started_ms + START_MS
    if ctx.state.monitors.memories and 0 < end_ms - ctx.uptime_ms <= START_MS:
        yield end_ms


def _rested_times_ms(ctx: Context, table: MonitorTable) -> Iterator[int]:
    """When monitors of decided values that have changed again may be evaluated."""
    for group in ("fault", "stored", "any"):
        for monitor in table.by_group[group]:
            memory = ctx.state.monitors.memories.get(monitor.id)
            if (
                memory is not None
                and memory.event_id
                and not monitor.is_periodic
                and is_resting(memory, ctx.uptime_ms)
                and read_value(ctx, monitor.definition) != memory.value
            ):
                yield memory.uptime_ms + REST_MS
