"""Which readings does the CSMS get by the clock, or because it asks? (Block J)"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.observations import MeterRead
from journal.projections.readings import AlignedSlotServed
from journal.projections.transactions import SampleKept
from journal.terms import Decision
from station.blocks.e_transactions import event
from station.case import Case, say
from station.messages.datatypes import EVSEType
from station.messages.j_metering import MeterValuesRequest
from station.metering import meter_value, sample_of

INTERVAL: Final = "AlignedDataCtrlr.Interval"
MEASURANDS: Final = "AlignedDataCtrlr.Measurands"
DURING_IDLE: Final = "AlignedDataCtrlr.SendDuringIdle"
INTERVAL_ENDED: Final = "AlignedDataCtrlr.TxEndedInterval"
ENABLED: Final = "AlignedDataCtrlr.Enabled"


def slot_of(case: Case, interval_s: int) -> int:
    """Which whole interval of the day, and of all days before, `now` lies in."""
    return int(case.now.timestamp()) // interval_s


def aligned(case: Case) -> Iterator[Decision]:
    """Clock-aligned values at every interval of the wall clock. J01.FR.14, J01.FR.19/20, FR.22.

    A moment that passed while the program was away, or that a clock jumped over, is not made up
    for; the first one after a change of the interval only sets the pace.
    """
    interval_s = case.integer(INTERVAL)
    if not interval_s or not case.flag(ENABLED, absent=True) or _reading(case):
        return
    readings, slot = case.state.readings, slot_of(case, interval_s)
    if readings.slot == slot and readings.slot_interval_s == interval_s:
        return
    yield AlignedSlotServed(slot, interval_s)
    if readings.slot is None or readings.slot_interval_s != interval_s:
        return
    yield from _aligned_values(case)


def _aligned_values(case: Case) -> Iterator[Decision]:
    measurands = case.members(MEASURANDS)
    only_idle = case.flag(DURING_IDLE)
    if only_idle and case.state.transactions.open:
        return  # J01.FR.20: the variable is the station's
    for evse_id in case.state.lifecycle.evse_ids:
        reading = case.state.readings.of(evse_id)
        if reading is None or not case.state.hardware.at(evse_id).known:
            continue  # after a start, until the EVSE has spoken: the reading is of the run before
        value = meter_value(sample_of(reading, "Sample.Clock"), measurands)
        if value is None:
            continue
        transaction = case.state.transactions.at(evse_id)
        if transaction is None or transaction.next_seq_no == 0 or transaction.stopping:
            yield from say(case, MeterValuesRequest(evse_id=evse_id, meter_value=(value,)))
        else:
            yield event(case, transaction, "Updated", "MeterValueClock", values=(value,))


def _reading(case: Case) -> bool:
    """Whether a meter was read just now: at a clock-aligned moment each is read in its turn.

    The deadline of that moment is judged when all of them have been, so that no EVSE is told of
    with an old reading because another one's came first.
    """
    return isinstance(case.entry.event, MeterRead)


def aligned_ms(case: Case) -> int | None:
    """Uptime of the next clock-aligned moment, as the wall clock has it now."""
    interval_s = case.integer(INTERVAL)
    if not interval_s or not case.flag(ENABLED, absent=True):
        return None
    if case.state.readings.slot_interval_s != interval_s:
        return case.uptime_ms
    into_ms = round(case.now.timestamp() * 1000) % (interval_s * 1000)
    return case.uptime_ms + interval_s * 1000 - into_ms


def kept_for_end(case: Case) -> Iterator[Decision]:
    """Clock-aligned readings for TransactionEvent(Ended). AlignedDataCtrlr.TxEndedInterval."""
    interval_s = case.integer(INTERVAL_ENDED)
    if not interval_s or not case.flag(ENABLED, absent=True) or _reading(case):
        return
    slot = slot_of(case, interval_s)
    for transaction in case.state.transactions.open:
        reading = case.state.readings.of(transaction.evse_id)
        if reading is None or transaction.stopping:
            continue
        if transaction.clock_kept_ms // (interval_s * 1000) != slot:
            yield SampleKept(transaction.transaction_id, sample_of(reading, "Sample.Clock"))


def kept_ms(case: Case) -> int | None:
    """Uptime at which `kept_for_end` has something to keep."""
    interval_s = case.integer(INTERVAL_ENDED)
    enabled = case.flag(ENABLED, absent=True)
    if not interval_s or not enabled or not case.state.transactions.open:
        return None
    into_ms = round(case.now.timestamp() * 1000) % (interval_s * 1000)
    return case.uptime_ms + interval_s * 1000 - into_ms


def triggered_meter_values(case: Case, evse: EVSEType | None) -> Iterator[Decision]:
    """The most recent measurements, now. F06.FR.06, F06.FR.11."""
    for evse_id in case.state.lifecycle.evse_ids:
        reading = case.state.readings.of(evse_id)
        if reading is None or (evse is not None and evse.id not in (0, evse_id)):
            continue
        value = meter_value(sample_of(reading, "Trigger"), case.members(MEASURANDS))
        if value is not None:
            request = MeterValuesRequest(evse_id=evse_id, meter_value=(value,))
            yield from say(case, request, solicited=True)
