"""Build TransactionEventRequests: what each event reports, its samples, and the witnessed head.

Helper module of the blocks that queue TransactionEvents (E, F, J).

OCPP wants some details once: evse, idToken, remoteStartId and reservationId go into the first event
that can carry them (`_unreported_details`). Which details an event carries is recorded with it
(`TransactionEventSummary.includes`), and the projections mark them as reported.

`SAMPLE_CONTEXTS` gives the measurands and the reading context for each kind of event. The begin
values go into Started, or, if the meter could not be read then, into the first event with
chargingState Charging (E01.FR.17).

While a meter is silent, an event has no periodic sample, and Ended has the last register that was
read, with the time at which it was read (`OLD_STOP_REGISTER` is recorded with it). P11
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.observations import MeterRead
from journal.projections.energy_ledger import OLD_STOP_REGISTER
from journal.projections.outbox import CallQueued, TransactionEventSummary
from journal.projections.readings import Reading
from journal.projections.reservations import RESERVATION_REPORTED
from journal.projections.transactions import (
    Sample,
    Transaction,
    TransactionStopOrdered,
    total_charging_ms,
)
from station.core.blocks.evse_conditions import charging_state
from station.core.context import Context, encode_raw, id_token_for_message
from station.core.meter_values import (
    READING_CURRENT_MS,
    build_meter_value,
    make_sample,
    was_read_since,
)
from station.ocpp.messages import format_timestamp
from station.ocpp.messages.datatypes import EVSEType, MeterValueType
from station.ocpp.messages.e_transactions import TransactionEventRequest, TransactionType
from station.ocpp.messages.primitives import CustomDataType

# vendorId of the station's customData, and the instance of the variable that switches it on.
VENDOR_ID: Final = "ocpp-station.journal"
JOURNAL_HEAD_ENABLED: Final = f"CustomizationCtrlr.CustomImplementationEnabled[{VENDOR_ID}]"
TX_STARTED_MEASURANDS: Final = "SampledDataCtrlr.TxStartedMeasurands"
TX_UPDATED_MEASURANDS: Final = "SampledDataCtrlr.TxUpdatedMeasurands"
TX_ENDED_MEASURANDS: Final = "SampledDataCtrlr.TxEndedMeasurands"
SAMPLED_DATA_ENABLED: Final = "SampledDataCtrlr.Enabled"
ALIGNED_TX_ENDED_MEASURANDS: Final = "AlignedDataCtrlr.TxEndedMeasurands"
CLOCK_CONTEXT: Final = "Sample.Clock"

# The last register is reported just before the contactors that opened: `hardware/reporter.py`.
REPORT_DELAY_MS: Final = 1_000

# (eventType, triggerReason or "") -> (variable that lists the measurands, reading context)
SAMPLE_CONTEXTS: Final = {
    ("Started", ""): (TX_STARTED_MEASURANDS, "Transaction.Begin"),  # E01.FR.09
    ("Updated", "MeterValuePeriodic"): (TX_UPDATED_MEASURANDS, "Sample.Periodic"),  # J02.FR.11
    ("Updated", "Trigger"): (TX_UPDATED_MEASURANDS, "Trigger"),  # F06.FR.07
    ("Ended", ""): (TX_ENDED_MEASURANDS, "Transaction.End"),  # E06.FR.11
}


def build_transaction_event(
    ctx: Context,
    transaction: Transaction,
    event_type: str,
    trigger_reason: str,
    *,
    stop: TransactionStopOrdered | None = None,
    meter_values: tuple[MeterValueType, ...] | None = None,
) -> CallQueued:
    """One TransactionEvent with its seqNo, ready to be sent at any time. E01.FR.07, E01.FR.15.

    Args:
        stop: for Ended, the order that stopped the transaction.
        meter_values: instead of a sample taken now.
    """
    state = charging_state(ctx, transaction.evse_id)
    evse = ctx.state.evses.by_id(transaction.evse_id)
    meter_values = meter_values or _build_meter_values(ctx, transaction, event_type, trigger_reason)
    reservation_id = ctx.state.reservations.used_by(transaction.authorization_seq)
    includes = tuple(_unreported_details(transaction, evse.is_plugged_in))
    if reservation_id is not None:
        includes = (*includes, RESERVATION_REPORTED)
    if meter_values and (event_type == "Started" or _is_first_charging(transaction, state)):
        includes = (*includes, "begin_values")
    if event_type == "Ended" and not has_stop_register(ctx, transaction):
        includes = (*includes, OLD_STOP_REGISTER)
    id_token = transaction.id_token if "id_token" in includes else None
    if stop and stop.stopped_by_id_token:
        id_token = stop.stopped_by_id_token  # E07.FR.02
    elif trigger_reason == "StopAuthorized" and transaction.authorization_end:
        id_token = transaction.authorization_end.ended_by_id_token or id_token
    request = TransactionEventRequest(
        event_type=event_type,  # type: ignore[arg-type]
        timestamp=format_timestamp(ctx.now),
        trigger_reason=trigger_reason,  # type: ignore[arg-type]
        seq_no=transaction.next_seq_no,
        transaction_info=TransactionType(
            transaction_id=transaction.transaction_id,
            charging_state=state,  # type: ignore[arg-type]
            time_spent_charging=total_charging_ms(transaction, ctx.uptime_ms) // 1000,
            stopped_reason=stop.stopped_reason if stop else None,  # type: ignore[arg-type]
            remote_start_id=transaction.remote_start_id if "remote_start_id" in includes else None,
        ),
        meter_value=meter_values or None,
        evse=EVSEType(id=transaction.evse_id, connector_id=evse.plugged_connector_id or None)
        if "evse" in includes or (trigger_reason == "Trigger" and transaction.evse_id)  # TC_F_14
        else None,
        id_token=id_token_for_message(id_token) if id_token else None,
        reservation_id=reservation_id,  # E01.FR.13, E03.FR.03, H01.FR.15
        custom_data=_journal_head(ctx) if event_type == "Ended" else None,
    )
    summary = TransactionEventSummary(
        transaction_id=transaction.transaction_id,
        evse_id=transaction.evse_id,
        seq_no=transaction.next_seq_no,
        event_type=event_type,  # type: ignore[arg-type]
        trigger_reason=trigger_reason,
        charging_state=state,
        includes=includes,
        id_token=id_token,
        authorization_seq=transaction.authorization_seq,
    )
    return CallQueued(
        lane="transaction",
        action="TransactionEvent",
        payload=encode_raw(request),
        transaction_event=summary,
    )


def _unreported_details(transaction: Transaction, plugged_in: bool) -> Iterator[str]:
    """Details this event is the first to carry. E01.FR.16, E03.FR.01, F02.FR.21."""
    if not transaction.evse_reported and plugged_in:
        yield "evse"
    if transaction.id_token is not None and not transaction.id_token_reported:
        yield "id_token"
    if transaction.remote_start_id is not None and not transaction.remote_start_reported:
        yield "remote_start_id"
    if transaction.authorization_end is not None:
        yield "authorization_end"


# --- The head of the journal ---------------------------------------------------------------------


def includes_journal_head(ctx: Context) -> bool:
    """Whether the last event of a transaction carries the head of the journal. Part 2 §2.1.33."""
    return ctx.variable_boolean(JOURNAL_HEAD_ENABLED)


def _journal_head(ctx: Context) -> CustomDataType | None:
    """The head before the commit; with it the CSMS can find out later if the tail was cut off."""
    head = ctx.state.witness.latest_head
    if head is None or not includes_journal_head(ctx):
        return None
    return CustomDataType(vendorId=VENDOR_ID, seq=head.head_seq, digest=head.head_digest)


# --- The stop register ---------------------------------------------------------------------------


def has_stop_register(ctx: Context, transaction: Transaction) -> bool:
    """Whether the newest register is the last one of the transaction. P11.

    It is, if the meter was read when the contactors were open already. Where energy still flows
    (a contactor is welded) the newest reading must be a current one.
    """
    reading = ctx.state.readings.on_evse(transaction.evse_id)
    if reading is None:
        return True  # the meter was never read: there is nothing to wait for
    evse = ctx.state.evses.by_id(transaction.evse_id)
    if evse.is_deenergized:
        return was_read_since(ctx, reading, evse.contactor_reported_ms - REPORT_DELAY_MS)
    return was_read_since(ctx, reading, ctx.uptime_ms - READING_CURRENT_MS)


# --- Samples -------------------------------------------------------------------------------------


def _is_first_charging(transaction: Transaction, state: str) -> bool:
    """Whether charging begins and no event carried the begin values yet. E01.FR.17."""
    return not transaction.begin_values_reported and state == "Charging"


def _build_meter_values(
    ctx: Context, transaction: Transaction, event_type: str, trigger_reason: str
) -> tuple[MeterValueType, ...]:
    """The samples of an event: one taken now, and for Ended the samples that were kept."""
    row = SAMPLE_CONTEXTS.get((event_type, trigger_reason)) or SAMPLE_CONTEXTS.get((event_type, ""))
    if event_type == "Updated" and _is_first_charging(
        transaction, charging_state(ctx, transaction.evse_id)
    ):
        row = SAMPLE_CONTEXTS["Started", ""]  # E02.FR.21, E03.FR.11
    reading = ctx.state.readings.on_evse(transaction.evse_id)
    if row is None or reading is None:
        return ()
    variable, context = row
    samples = _different_samples(transaction.kept_samples) if event_type == "Ended" else ()
    if context == "Trigger" or ctx.variable_boolean(SAMPLED_DATA_ENABLED, default=True):
        begin = _take_missing_begin(ctx, transaction, reading) if event_type == "Ended" else None
        sample = _take_sample(ctx, transaction, reading, context)
        samples = tuple(each for each in (begin, *samples, sample) if each is not None)
    else:
        samples = tuple(sample for sample in samples if sample.context == CLOCK_CONTEXT)
    # Clock-aligned samples have their own list of measurands. J01.FR.07, TC_J_03
    variables = {
        CLOCK_CONTEXT: ALIGNED_TX_ENDED_MEASURANDS,
        "Transaction.Begin": TX_STARTED_MEASURANDS,
    }
    values = (
        build_meter_value(sample, ctx.variable_list(variables.get(sample.context, variable)))
        for sample in samples
    )
    return tuple(value for value in values if value is not None)


def _take_sample(
    ctx: Context, transaction: Transaction, reading: Reading, context: str
) -> Sample | None:
    """The newest reading as a sample; None: the meter was not read for it. P11.

    A periodic sample is a reading of the present interval (J02.FR.10). Transaction.End and Trigger
    always have the last reading (E06.FR.11, F06.FR.07), with the time at which it was read.
    """
    match context:
        case "Sample.Periodic":
            is_new = was_read_since(ctx, reading, transaction.last_sample_ms + 1)
            return make_sample(reading, context) if is_new else None
        case "Transaction.Begin":
            return _take_begin_sample(ctx, transaction, reading)
        case _:
            return make_sample(reading, context)


def _take_begin_sample(ctx: Context, transaction: Transaction, reading: Reading) -> Sample | None:
    """The register from which the transaction is billed; None: the meter was not read yet.

    Its later events carry the begin values if the meter could not be read before. E01.FR.17
    """
    account = ctx.state.energy_ledger.on_evse(transaction.evse_id)
    if account is None or ctx.expects_readings:
        return make_sample(reading, "Transaction.Begin")
    if account.transaction_id != transaction.transaction_id:  # this event is its first
        return make_sample(reading, "Transaction.Begin") if account.is_read else None
    if account.start_wh is None:
        return None
    if account.start_wh == reading.meter_read.energy_wh:
        return make_sample(reading, "Transaction.Begin")
    start = MeterRead(transaction.evse_id, account.start_wh)
    return Sample("Transaction.Begin", account.start_at_unix_ms, start)


def _take_missing_begin(ctx: Context, transaction: Transaction, reading: Reading) -> Sample | None:
    """The begin values of a transaction that ends and no event of which had them; None: known.

    Without them the CSMS cannot bill what the meter counted. P11
    """
    if transaction.begin_values_reported:
        return None
    return _take_begin_sample(ctx, transaction, reading)


def _different_samples(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """Without repetitions: while a meter is silent the same reading is kept again and again."""
    return tuple(
        sample
        for before, sample in zip((None, *samples), samples, strict=False)
        if before is None or before != sample
    )
