"""Values that trigger a monitor: read every second, observed only if they do. Block N.

Meters and other devices are read many times a second; the journal has few of these readings. This
task evaluates the monitors of measured variables with the newest values, in a state that is thrown
away. A value that triggers a monitor is observed: the reading of the meter, or ValuesMeasured. Why
replay stays exact: `station/core/blocks/n_monitoring/evaluation.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Final

import trio
from msgspec.structs import replace

from journal.events import Entry, Observation
from journal.observations import MeasuredValue, MeterRead, ValuesMeasured
from station.core.blocks.n_monitoring.active_monitors import active_monitors, value_group
from station.core.blocks.n_monitoring.evaluation import (
    allow_findings,
    evaluate_monitors,
    periodic_due_ms,
)
from station.core.context import Context
from station.core.device_model.model import VariableDefinition
from station.core.device_model.monitors import VariableMonitor

INTERVAL_S: Final = 1.0  # between two evaluations
INTERVAL_MIN_S: Final = 0.1  # also if a periodic monitor is due before that

# Of the meter of an EVSE; None: there is no fresh one
LatestReading = Callable[[int], MeterRead | None]


async def report_monitored_values(
    context: Callable[[], Context],
    latest_reading: LatestReading,
    device_values: Callable[[], Mapping[str, str]],
    observe: Callable[[Observation], None],
    wait_until_idle: Callable[[], Awaitable[None]],
) -> None:
    """Report readings that trigger a monitor; runs until cancelled.

    Args:
        context: of the last commit, at the present time.
        device_values: newest values of other devices, by variable.
        wait_until_idle: returns when every observation so far is committed.
    """
    while True:
        ctx = context()
        observations = find_observations(ctx, latest_reading, device_values())
        for observation in observations:
            observe(observation)
        if observations:
            await wait_until_idle()
        await trio.sleep(_pause_s(ctx))


def find_observations(
    ctx: Context, latest_reading: LatestReading, device_values: Mapping[str, str]
) -> tuple[Observation, ...]:
    """What has to be in the journal, because it triggers a monitor now."""
    monitors = active_monitors(ctx.product.device_model, ctx.state.monitors).measured
    if not monitors:
        return ()
    evse_ids = ctx.product.profile.evse_ids
    readings = {
        evse_id: reading for evse_id in evse_ids if (reading := latest_reading(evse_id)) is not None
    }
    live = _live_context(ctx, readings.values(), device_values)
    findings = allow_findings(live, evaluate_monitors(live, monitors))
    definitions = (finding.monitor.definition for finding in findings)
    return tuple(observe_variables(definitions, readings, device_values))


def _live_context(
    ctx: Context, readings: Iterable[MeterRead], device_values: Mapping[str, str]
) -> Context:
    """The context as if the newest values were in the journal."""
    state, entry = ctx.state, ctx.entry
    newest = state.readings
    for reading in readings:
        newest = newest.apply(Entry(entry.seq, entry.at, entry.uptime_ms, reading))
    measured = ValuesMeasured(tuple(MeasuredValue(*item) for item in device_values.items()))
    values = state.measured_values.apply(Entry(entry.seq, entry.at, entry.uptime_ms, measured))
    return replace(ctx, state=replace(state, readings=newest, measured_values=values))


def observe_variables(
    definitions: Iterable[VariableDefinition],
    readings: Mapping[int, MeterRead],
    device_values: Mapping[str, str],
) -> Iterator[Observation]:
    """The readings and values that give these measured variables their value.

    Args:
        readings: by EVSE; a component without an EVSE covers all of them.
        device_values: by variable.
    """
    evse_ids: set[int] = set()
    variables: set[str] = set()
    for definition in definitions:
        evse_id = definition.key.component.evse_id
        if value_group(definition) == "device":
            variables.add(definition.path)
        elif evse_id is None:
            evse_ids.update(readings)
        else:
            evse_ids.add(evse_id)
    yield from (readings[evse_id] for evse_id in sorted(evse_ids) if evse_id in readings)
    values = tuple(
        MeasuredValue(variable, device_values[variable])
        for variable in sorted(variables)
        if variable in device_values
    )
    if values:
        yield ValuesMeasured(values)


def _pause_s(ctx: Context) -> float:
    """Until the next evaluation: a periodic event is not late by a second.

    One that is overdue waits for something else, as for the link.
    """
    monitors = active_monitors(ctx.product.device_model, ctx.state.monitors).measured
    waits_ms = (wait_ms for monitor in monitors if (wait_ms := _wait_ms(ctx, monitor)) is not None)
    return max(min(waits_ms, default=INTERVAL_S * 1000) / 1000, INTERVAL_MIN_S)


def _wait_ms(ctx: Context, monitor: VariableMonitor) -> float | None:
    memory = ctx.state.monitors.memories.get(monitor.id)
    if not monitor.is_periodic or memory is None:
        return None
    wait_ms = periodic_due_ms(ctx, monitor, memory) - ctx.uptime_ms
    return wait_ms if 0 < wait_ms < INTERVAL_S * 1000 else None
