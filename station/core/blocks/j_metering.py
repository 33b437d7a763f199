"""Clock-aligned meter values, MeterValues on request, energy of no transaction. Block J.

The day is divided into intervals of AlignedDataCtrlr.Interval; an interval has an index that counts
from 1970. The first entry in a new interval takes the values (`report_aligned_values`). An interval
that passed while the program was off, or that a step of the clock skipped, is not made up for.
The first one after a change of the interval only sets the index.

Values go out as MeterValues, or, if the EVSE has an open transaction, in a TransactionEvent.
`keep_aligned_samples` keeps samples for the Ended event (AlignedDataCtrlr.TxEndedInterval).

While a meter is silent there are no values of its EVSE at a clock time (P11).

Energy of no transaction (`list_unaccounted_energy`): the projection EnergyLedger follows each
register, and what it finds in no transaction becomes an EnergyUnaccounted entry. That happens at
the reading that shows it; while it goes on, once in `LISTING_INTERVAL_MS` and before the next
transaction is billed.

Readings of several EVSEs arrive one after the other. Neither rule runs in the entry of a reading
but at the deadline that follows, so that no EVSE is reported with the reading of the moment before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.events import Decision
from journal.observations import MeterRead
from journal.projections.energy_ledger import (
    EnergyUnaccounted,
    Gap,
    MeterAccount,
    UnaccountedReason,
)
from journal.projections.readings import ClockAlignedIntervalHandled, Reading
from journal.projections.transactions import TransactionSampleKept
from station.core.blocks.e_transaction_events import build_transaction_event
from station.core.context import Context, Deadline, Rule, queue_call
from station.core.meter_values import (
    READING_CURRENT_MS,
    build_meter_value,
    make_sample,
    was_read_since,
)
from station.core.reasons import Reason, Reasons, ReasonTable
from station.ocpp.messages.datatypes import EVSEType
from station.ocpp.messages.j_metering import MeterValuesRequest

ALIGNED_INTERVAL: Final = "AlignedDataCtrlr.Interval"
ALIGNED_MEASURANDS: Final = "AlignedDataCtrlr.Measurands"
SEND_DURING_IDLE: Final = "AlignedDataCtrlr.SendDuringIdle"
TX_ENDED_INTERVAL: Final = "AlignedDataCtrlr.TxEndedInterval"
ALIGNED_DATA_ENABLED: Final = "AlignedDataCtrlr.Enabled"

LISTING_INTERVAL_MS: Final = 900_000  # between two entries about energy that flows on


def interval_index(ctx: Context, interval_s: int) -> int:
    """Index of the clock-aligned interval at this entry, counted from 1970."""
    return int(ctx.now.timestamp()) // interval_s


def report_aligned_values(ctx: Context) -> Iterator[Decision]:
    """Report the values of each EVSE once per interval. J01.FR.14, J01.FR.19/20, J01.FR.22."""
    interval_s = _enabled_interval_s(ctx, ALIGNED_INTERVAL)
    if not interval_s or _is_meter_reading(ctx):
        return
    readings, index = ctx.state.readings, interval_index(ctx, interval_s)
    if readings.aligned_interval_index == index and readings.aligned_interval_s == interval_s:
        return
    yield ClockAlignedIntervalHandled(index, interval_s)
    if readings.aligned_interval_index is None or readings.aligned_interval_s != interval_s:
        return
    yield from _queue_aligned_values(ctx)


def _enabled_interval_s(ctx: Context, variable: str) -> int:
    """An interval in seconds; 0: no clock-aligned values."""
    enabled = ctx.variable_boolean(ALIGNED_DATA_ENABLED, default=True)
    return ctx.variable_integer(variable) if enabled else 0


def _queue_aligned_values(ctx: Context) -> Iterator[Decision]:
    """Queue the newest reading of each EVSE that has reported its cable."""
    measurands = ctx.variable_list(ALIGNED_MEASURANDS)
    only_idle = ctx.variable_boolean(SEND_DURING_IDLE)
    if only_idle and ctx.state.transactions.open:
        return  # J01.FR.20: the variable is for the whole station
    for evse_id in ctx.state.lifecycle.evse_ids:
        reading = ctx.state.readings.on_evse(evse_id)
        if reading is None or not ctx.state.evses.by_id(evse_id).is_cable_known:
            continue  # not reported since the start: the reading is of an earlier run
        if not _is_current(ctx, reading):
            continue
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


def _is_current(ctx: Context, reading: Reading) -> bool:
    """Whether the meter is not silent: the reading may be sent as the value of this moment."""
    return was_read_since(ctx, reading, ctx.uptime_ms - READING_CURRENT_MS)


def _is_meter_reading(ctx: Context) -> bool:
    """Whether the entry is a reading: the values wait until every meter has been read."""
    return isinstance(ctx.entry.event, MeterRead)


def aligned_due_ms(ctx: Context) -> int | None:
    """Uptime at which the next interval begins by the wall clock."""
    interval_s = _enabled_interval_s(ctx, ALIGNED_INTERVAL)
    if not interval_s:
        return None
    if ctx.state.readings.aligned_interval_s != interval_s:
        return ctx.uptime_ms
    return _next_interval_ms(ctx, interval_s)


def _next_interval_ms(ctx: Context, interval_s: int) -> int:
    """Uptime at which the next interval of this length begins."""
    elapsed_ms = round(ctx.now.timestamp() * 1000) % (interval_s * 1000)
    return ctx.uptime_ms + interval_s * 1000 - elapsed_ms


def keep_aligned_samples(ctx: Context) -> Iterator[Decision]:
    """Keep clock-aligned samples for the Ended event. AlignedDataCtrlr.TxEndedInterval."""
    interval_s = _enabled_interval_s(ctx, TX_ENDED_INTERVAL)
    if not interval_s or _is_meter_reading(ctx):
        return
    index = interval_index(ctx, interval_s)
    for transaction in ctx.state.transactions.open:
        reading = ctx.state.readings.on_evse(transaction.evse_id)
        if reading is None or transaction.stop_order or not _is_current(ctx, reading):
            continue
        if transaction.last_aligned_at_unix_ms // (interval_s * 1000) != index:
            yield TransactionSampleKept(
                transaction.transaction_id, make_sample(reading, "Sample.Clock")
            )


def keep_due_ms(ctx: Context) -> int | None:
    """Uptime at which a sample is to be kept."""
    interval_s = _enabled_interval_s(ctx, TX_ENDED_INTERVAL)
    if not interval_s or not ctx.state.transactions.open:
        return None
    return _next_interval_ms(ctx, interval_s)


def trigger_meter_values(ctx: Context, evse: EVSEType | None) -> Iterator[Decision]:
    """Queue the newest reading of the EVSE requested, or of all. F06.FR.06, F06.FR.11."""
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


# --- Energy of no transaction --------------------------------------------------------------------


def list_unaccounted_energy(ctx: Context) -> Iterator[Decision]:
    """List what a meter counted and no transaction is billed. P11, J02.FR.17."""
    for account in ctx.state.energy_ledger.accounts:
        gap = account.find_gap()
        if gap is None or ctx.uptime_ms < _listing_due_ms(ctx, account, gap):
            continue
        yield EnergyUnaccounted(
            evse_id=account.evse_id,
            from_wh=gap.from_wh,
            to_wh=gap.to_wh,
            from_seq=gap.from_seq,
            to_seq=gap.to_seq,
            reason=_unaccounted_reason(ctx, account, gap),
            transaction_id=account.transaction_id if account.fall else account.last_transaction_id,
        )


def _listing_due_ms(ctx: Context, account: MeterAccount, gap: Gap) -> int:
    """Uptime at which a gap is listed: at once, or after a pause while energy flows on."""
    is_open = account.transaction_id is not None
    if is_open or account.listed_ms is None:
        return ctx.uptime_ms
    if _unaccounted_reason(ctx, account, gap) != "no_transaction":
        return ctx.uptime_ms
    return account.listed_ms + LISTING_INTERVAL_MS


def _unaccounted_reason(ctx: Context, account: MeterAccount, gap: Gap) -> UnaccountedReason:
    if gap.to_wh < gap.from_wh:
        return "register_fell"
    if account.ended_with_old_register:
        return "meter_silent"
    if gap.from_seq < ctx.state.lifecycle.started_seq:
        return "program_not_running"
    return "no_transaction"


def listing_due_ms(ctx: Context) -> int | None:
    """Uptime at which energy of no transaction is listed."""
    due_times_ms = (
        _listing_due_ms(ctx, account, gap)
        for account in ctx.state.energy_ledger.accounts
        if (gap := account.find_gap()) is not None
    )
    return min(due_times_ms, default=None)


DEADLINES: Final[tuple[Deadline, ...]] = (aligned_due_ms, keep_due_ms, listing_due_ms)
RULES: Final[tuple[Rule, ...]] = (
    keep_aligned_samples,
    report_aligned_values,
    list_unaccounted_energy,
)
REASONS: Final[Reasons] = {
    ClockAlignedIntervalHandled: Reason("a clock-aligned interval began", "J01.FR.14"),
    EnergyUnaccounted: ReasonTable(
        {
            "meter_silent": Reason(
                "the meter did not respond when the transaction before ended; it counted this "
                "after the register that was billed",
                "J02.FR.17",
            ),
            "program_not_running": Reason(
                "the register was higher at the first reading after the program started, and no "
                "transaction was open",
                "J02.FR.17",
            ),
            "register_fell": Reason(
                "the register is lower than before, as after an exchange of the meter", "J02.FR.16"
            ),
            "no_transaction": Reason(
                "the meter counted it while no transaction was open", "J02.FR.17"
            ),
        },
        lambda event: str(event.reason),
    ),
}
CALL_REASONS: Final = {"MeterValues": Reason("a clock-aligned sample was due", "J01.FR.14")}
