"""Which readings does the CSMS get by the clock, or because it asks? (Block J)"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.events import Decision
from journal.observations import MeterRead
from journal.projections.readings import ClockAlignedIntervalHandled
from journal.projections.transactions import TransactionSampleKept
from station.core.blocks.e_transaction_events import build_transaction_event
from station.core.context import Context, Deadline, Rule, queue_call
from station.core.meter_values import build_meter_value, make_sample
from station.ocpp.messages.datatypes import EVSEType
from station.ocpp.messages.j_metering import MeterValuesRequest

ALIGNED_INTERVAL: Final = "AlignedDataCtrlr.Interval"
ALIGNED_MEASURANDS: Final = "AlignedDataCtrlr.Measurands"
SEND_DURING_IDLE: Final = "AlignedDataCtrlr.SendDuringIdle"
TX_ENDED_INTERVAL: Final = "AlignedDataCtrlr.TxEndedInterval"
ALIGNED_DATA_ENABLED: Final = "AlignedDataCtrlr.Enabled"


def clock_slot(ctx: Context, interval_s: int) -> int:
    """Which whole interval of the day, and of all days before, `now` lies in."""
    return int(ctx.now.timestamp()) // interval_s


def report_aligned_values(ctx: Context) -> Iterator[Decision]:
    """Clock-aligned values at every interval of the wall clock. J01.FR.14, J01.FR.19/20, FR.22.

    A moment that passed while the program was away, or that a clock jumped over, is not made up
    for; the first one after a change of the interval only sets the pace.
    """
    interval_s = ctx.variable_integer(ALIGNED_INTERVAL)
    if (
        not interval_s
        or not ctx.variable_boolean(ALIGNED_DATA_ENABLED, default=True)
        or _is_meter_reading(ctx)
    ):
        return
    readings, slot = ctx.state.readings, clock_slot(ctx, interval_s)
    if readings.aligned_interval_index == slot and readings.aligned_interval_s == interval_s:
        return
    yield ClockAlignedIntervalHandled(slot, interval_s)
    if readings.aligned_interval_index is None or readings.aligned_interval_s != interval_s:
        return
    yield from _queue_aligned_values(ctx)


def _queue_aligned_values(ctx: Context) -> Iterator[Decision]:
    measurands = ctx.variable_list(ALIGNED_MEASURANDS)
    only_idle = ctx.variable_boolean(SEND_DURING_IDLE)
    if only_idle and ctx.state.transactions.open:
        return  # J01.FR.20: the variable is the station's
    for evse_id in ctx.state.lifecycle.evse_ids:
        reading = ctx.state.readings.on_evse(evse_id)
        if reading is None or not ctx.state.evses.by_id(evse_id).is_cable_known:
            continue  # after a start, until the EVSE has spoken: the reading is of the run before
        value = build_meter_value(make_sample(reading, "Sample.Clock"), measurands)
        if value is None:
            continue
        transaction = ctx.state.transactions.on_evse(evse_id)
        if transaction is None or transaction.next_seq_no == 0 or transaction.stop_order:
            yield from queue_call(ctx, MeterValuesRequest(evse_id=evse_id, meter_value=(value,)))
        else:
            yield build_transaction_event(
                ctx, transaction, "Updated", "MeterValueClock", meter_values=(value,)
            )


def _is_meter_reading(ctx: Context) -> bool:
    """Whether a meter was read just now: at a clock-aligned moment each is read in its turn.

    The deadline of that moment is judged when all of them have been, so that no EVSE is told of
    with an old reading because another one's came first.
    """
    return isinstance(ctx.entry.event, MeterRead)


def aligned_due_ms(ctx: Context) -> int | None:
    """Uptime of the next clock-aligned moment, as the wall clock has it now."""
    interval_s = ctx.variable_integer(ALIGNED_INTERVAL)
    if not interval_s or not ctx.variable_boolean(ALIGNED_DATA_ENABLED, default=True):
        return None
    if ctx.state.readings.aligned_interval_s != interval_s:
        return ctx.uptime_ms
    into_ms = round(ctx.now.timestamp() * 1000) % (interval_s * 1000)
    return ctx.uptime_ms + interval_s * 1000 - into_ms


def keep_aligned_samples(ctx: Context) -> Iterator[Decision]:
    """Clock-aligned readings for TransactionEvent(Ended). AlignedDataCtrlr.TxEndedInterval."""
    interval_s = ctx.variable_integer(TX_ENDED_INTERVAL)
    if (
        not interval_s
        or not ctx.variable_boolean(ALIGNED_DATA_ENABLED, default=True)
        or _is_meter_reading(ctx)
    ):
        return
    slot = clock_slot(ctx, interval_s)
    for transaction in ctx.state.transactions.open:
        reading = ctx.state.readings.on_evse(transaction.evse_id)
        if reading is None or transaction.stop_order:
            continue
        if transaction.last_aligned_at_unix_ms // (interval_s * 1000) != slot:
            yield TransactionSampleKept(
                transaction.transaction_id, make_sample(reading, "Sample.Clock")
            )


def keep_due_ms(ctx: Context) -> int | None:
    """Uptime at which `keep_aligned_samples` has something to keep."""
    interval_s = ctx.variable_integer(TX_ENDED_INTERVAL)
    enabled = ctx.variable_boolean(ALIGNED_DATA_ENABLED, default=True)
    if not interval_s or not enabled or not ctx.state.transactions.open:
        return None
    into_ms = round(ctx.now.timestamp() * 1000) % (interval_s * 1000)
    return ctx.uptime_ms + interval_s * 1000 - into_ms


def trigger_meter_values(ctx: Context, evse: EVSEType | None) -> Iterator[Decision]:
    """The most recent measurements, now. F06.FR.06, F06.FR.11."""
    for evse_id in ctx.state.lifecycle.evse_ids:
        reading = ctx.state.readings.on_evse(evse_id)
        if reading is None or (evse is not None and evse.id not in (0, evse_id)):
            continue
        value = build_meter_value(
            make_sample(reading, "Trigger"), ctx.variable_list(ALIGNED_MEASURANDS)
        )
        if value is not None:
            request = MeterValuesRequest(evse_id=evse_id, meter_value=(value,))
            yield from queue_call(ctx, request, solicited=True)


DEADLINES: Final[tuple[Deadline, ...]] = (aligned_due_ms, keep_due_ms)
RULES: Final[tuple[Rule, ...]] = (keep_aligned_samples, report_aligned_values)
