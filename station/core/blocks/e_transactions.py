"""When does a transaction start, change and end, and what is the CSMS told of it? (Block E)

Rules compare what is true of an EVSE with what the CSMS was told, and close the gap. They run
after every entry, so nothing has to be remembered between two of them, and a restart needs no
special case: what is still open goes on from what is then true.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.events import Decision, Event
from journal.observations import CableReported, DeviceFaulted, EvStoppedCharging, StopButtonPressed
from journal.projections.authorizations import (
    Authorization,
    AuthorizationEnded,
    AuthorizationLimited,
    AuthorizationSuspended,
)
from journal.projections.evses import Evse
from journal.projections.transactions import (
    GroupIdTokenReceived,
    Transaction,
    TransactionAuthorized,
    TransactionSampleKept,
    TransactionStarted,
    TransactionStopOrdered,
)
from station.core.blocks.c_authorization_cache import cache_id_token_info
from station.core.blocks.e_transaction_events import SAMPLED_DATA_ENABLED, build_transaction_event
from station.core.blocks.evse_conditions import charging_state, is_in_service, is_storage_full
from station.core.context import (
    Call,
    CallHandler,
    Context,
    Deadline,
    ResultHandler,
    Rule,
    call_result,
    id_token_from_message,
)
from station.core.meter_values import make_sample
from station.ocpp.messages.e_transactions import (
    GetTransactionStatusRequest,
    GetTransactionStatusResponse,
    TransactionEventResponse,
)

TX_START_POINT: Final = "TxCtrlr.TxStartPoint"
TX_STOP_POINT: Final = "TxCtrlr.TxStopPoint"
STOP_TX_ON_INVALID_ID: Final = "TxCtrlr.StopTxOnInvalidId"
MAX_ENERGY_ON_INVALID_ID: Final = "TxCtrlr.MaxEnergyOnInvalidId"
RESUMPTION_TIMEOUT: Final = "TxCtrlr.ResumptionTimeout"
TX_UPDATED_INTERVAL: Final = "SampledDataCtrlr.TxUpdatedInterval"
TX_ENDED_INTERVAL: Final = "SampledDataCtrlr.TxEndedInterval"

POWER_DOWN_TIMEOUT_MS: Final = (
    6_000  # a normal stop takes at most 5 s; after that the end is told anyway
)
METER_TIMEOUT_MS: Final = (
    30_000  # after a restart, for the meter's word on an interrupted transaction
)
AUTHORIZATION_STOP_POINTS: Final = frozenset({"Authorized", "PowerPathClosed", "EnergyTransfer"})


def is_start_point_reached(ctx: Context, evse_id: int) -> bool:
    """Whether one of the conditions of TxStartPoint holds. E01.FR.01 to 06."""
    evse = ctx.state.evses.by_id(evse_id)
    held = ctx.state.authorizations.on_evse(evse_id)
    if held is None and not evse.is_plugged_in and evse.flow != "charging":
        return False  # nobody is here, whatever the points are
    points = ctx.variable_list(TX_START_POINT)
    return (
        ("EVConnected" in points and evse.is_plugged_in and _is_newly_plugged(ctx, evse))
        or ("Authorized" in points and held is not None)
        or ("PowerPathClosed" in points and held is not None and evse.is_plugged_in)
        or ("EnergyTransfer" in points and evse.flow == "charging")
    )


def _is_newly_plugged(ctx: Context, evse: Evse) -> bool:
    """Whether this connection has not had its transaction yet."""
    return evse.cable_reported_seq > ctx.state.transactions.last_end_seq(evse.evse_id)


# --- Starting ------------------------------------------------------------------------------------


def start_transactions(ctx: Context) -> Iterator[Decision]:
    """Begin a transaction where a start point is reached and none is open. E01.FR.14."""
    for evse in ctx.state.evses.all_evses:
        if ctx.state.transactions.on_evse(evse.evse_id) or not is_start_point_reached(
            ctx, evse.evse_id
        ):
            continue
        if not is_in_service(ctx, evse.evse_id):
            continue
        held = ctx.state.authorizations.on_evse(evse.evse_id)
        yield TransactionStarted(
            transaction_id=ctx.make_uuid("transaction", evse.evse_id, ctx.entry.seq),
            evse_id=evse.evse_id,
            trigger_reason=_start_trigger_reason(ctx, held),
            authorization_seq=held.seq if held else 0,
            id_token=held.id_token if held else None,
            group_id_token=held.granted.group_id_token if held else None,
            remote_start_id=held.granted.remote_start_id if held else None,
        )


def start_unbound_transactions(ctx: Context) -> Iterator[Decision]:
    """With TxStartPoint Authorized a person's transaction begins before their cable. E01.FR.03."""
    unbound = ctx.state.authorizations.unbound
    if not unbound or "Authorized" not in ctx.variable_list(TX_START_POINT):
        return
    begun = {transaction.authorization_seq for transaction in ctx.state.transactions.open}
    for held in unbound:
        if held.seq not in begun:
            yield TransactionStarted(
                transaction_id=ctx.make_uuid("transaction", "unbound", held.seq),
                evse_id=0,
                trigger_reason="Authorized",
                authorization_seq=held.seq,
                id_token=held.id_token,
                group_id_token=held.granted.group_id_token,
            )


def _start_trigger_reason(ctx: Context, authorization: Authorization | None) -> str:
    """TriggerReasonEnumType of the first event. F02.FR.21: a remote start always says so."""
    if authorization and authorization.granted.remote_start_id is not None:
        return "RemoteStart"
    if isinstance(ctx.entry.event, CableReported):
        return "CablePluggedIn"
    return "Authorized" if authorization else "CablePluggedIn"


def report_started(ctx: Context) -> Iterator[Decision]:
    """Tell of a transaction that has not been told of. E01.FR.07: seqNo 0."""
    for transaction in ctx.state.transactions.open:
        if transaction.next_seq_no == 0:
            trigger = _started_trigger_reason(ctx, transaction)
            yield build_transaction_event(ctx, transaction, "Started", trigger)


def _started_trigger_reason(ctx: Context, transaction: Transaction) -> str:
    if transaction.remote_start_id is not None:
        return "RemoteStart"
    if not transaction.evse_id:
        return "Authorized"  # nothing else begins one before its cable: E01.FR.03
    return _start_trigger_reason(ctx, ctx.state.authorizations.on_evse(transaction.evse_id))


def authorize_transactions(ctx: Context) -> Iterator[Decision]:
    """Someone may charge in a transaction that began without. E02.FR.20."""
    for transaction in ctx.state.transactions.open:
        held = ctx.state.authorizations.on_evse(transaction.evse_id)
        if held is None or transaction.stop_order:
            continue
        if transaction.id_token is None or transaction.authorization_end is not None:
            yield TransactionAuthorized(
                transaction_id=transaction.transaction_id,
                authorization_seq=held.seq,
                id_token=held.id_token,
                group_id_token=held.granted.group_id_token,
                remote_start_id=held.granted.remote_start_id,
            )


# --- Ending --------------------------------------------------------------------------------------


def on_stop_pressed(ctx: Context) -> Iterator[Decision]:
    """The stop button ends the right to charge, as the person's own token would. E07.FR.05."""
    assert isinstance(ctx.entry.event, StopButtonPressed)
    held = ctx.state.authorizations.on_evse(ctx.entry.event.evse_id)
    if held:
        yield end_authorization(held, "StopAuthorized", "Local")


def on_ev_stopped(ctx: Context) -> Iterator[Decision]:
    """The EV ended its session. E15.FR.04, E15.FR.05."""
    assert isinstance(ctx.entry.event, EvStoppedCharging)
    held = ctx.state.authorizations.on_evse(ctx.entry.event.evse_id)
    if held:
        yield end_authorization(held, "StopAuthorized", "StoppedByEV")


def end_authorization(
    authorization: Authorization, trigger_reason: str, stopped_reason: str
) -> AuthorizationEnded:
    return AuthorizationEnded(
        authorization_seq=authorization.seq,
        evse_id=authorization.evse_id,
        trigger_reason=trigger_reason,
        stopped_reason=stopped_reason,
    )


def end_authorization_on_unplug(ctx: Context) -> Iterator[Decision]:
    """With StopTxOnEVSideDisconnect the right to charge ends with the connection. E09.FR.01."""
    match ctx.entry.event:
        case CableReported(evse_id=evse_id, plugged_in=False):
            held = ctx.state.authorizations.on_evse(evse_id)
            used = ctx.state.transactions.on_evse(evse_id)
            if (
                held
                and used
                and ctx.variable_boolean("TxCtrlr.StopTxOnEVSideDisconnect", default=True)
            ):
                yield end_authorization(held, "EVCommunicationLost", "EVDisconnected")
        case _:
            return


def decide_stop(ctx: Context) -> Iterator[Decision]:
    """Decide which open transactions shall end, and why. E06."""
    for transaction in ctx.state.transactions.open:
        if transaction.stop_order is None:
            yield from _stop_transaction(ctx, transaction)


def _stop_transaction(ctx: Context, transaction: Transaction) -> Iterator[Decision]:
    cause = (
        _fault_cause(ctx, transaction)
        or _interruption_cause(ctx, transaction)
        or _reset_cause(ctx)
        or _storage_cause(ctx)
        or _stop_point_cause(ctx, transaction)
    )
    if cause is None:
        return
    trigger_reason, stopped_reason = cause
    end = transaction.authorization_end
    yield TransactionStopOrdered(
        transaction_id=transaction.transaction_id,
        trigger_reason=trigger_reason,
        stopped_reason=stopped_reason,
        stopped_by_id_token=end.ended_by_id_token if end else None,
    )


StopCause = tuple[str, str]  # TriggerReasonEnumType, ReasonEnumType


def _fault_cause(ctx: Context, transaction: Transaction) -> StopCause | None:
    """E06.FR.16: a fault that forbids charging ends what runs."""
    fault: DeviceFaulted | None = ctx.state.faults.blocking_fault(transaction.evse_id)
    return ("AbnormalCondition", fault.stopped_reason) if fault else None


def _interruption_cause(ctx: Context, transaction: Transaction) -> StopCause | None:
    """The program was away too long, or cannot know for how long, or never finds its EVSE again.

    The pattern of OCPP 2.1 E17.FR.20 to 22.
    """
    life = ctx.state.lifecycle
    if transaction.interrupted_seq != life.started_seq:
        return None
    limit_ms = ctx.variable_integer(RESUMPTION_TIMEOUT) * 1000
    away = life.downtime_ms is None or life.downtime_ms > limit_ms
    unseen = not ctx.state.evses.by_id(transaction.evse_id).is_cable_known
    lost = unseen and ctx.uptime_ms - life.started_ms > max(limit_ms, METER_TIMEOUT_MS)
    if away or lost:
        return "AbnormalCondition", "PowerLoss" if life.host_rebooted else "Reboot"
    return None


def _reset_cause(ctx: Context) -> StopCause | None:
    """B12.FR.04: an immediate reset ends what runs."""
    reset = ctx.state.lifecycle.reset
    if reset and reset.reset_type == "Immediate":
        return "ResetCommand", "ImmediateReset"
    return None


def _storage_cause(ctx: Context) -> StopCause | None:
    """What is left of the disk is kept for the ends of what runs."""
    return ("AbnormalCondition", "Other") if is_storage_full(ctx) else None


def _stop_point_cause(ctx: Context, transaction: Transaction) -> StopCause | None:
    """E06.FR.02, E06.FR.03, E06.FR.06, E06.FR.07."""
    points = frozenset(ctx.variable_list(TX_STOP_POINT))
    evse = ctx.state.evses.by_id(transaction.evse_id)
    end = transaction.authorization_end
    if end and points & AUTHORIZATION_STOP_POINTS:
        return end.trigger_reason, end.stopped_reason
    if end and end.trigger_reason == "EVConnectTimeout":
        return end.trigger_reason, end.stopped_reason  # E03.FR.05
    gone = (
        evse.is_cable_known
        and not evse.is_plugged_in
        and transaction.charging_state not in (None, "Idle")
    )
    held = ctx.state.authorizations.on_evse(transaction.evse_id)
    # Without a cable and an authorization no stop point can be reached any more.
    if gone and (held is None or points & {"EVConnected", "PowerPathClosed"}):
        return "EVCommunicationLost", (end.stopped_reason if end else "EVDisconnected")
    if end and evse.is_cable_known and not evse.is_plugged_in:
        return end.trigger_reason, end.stopped_reason  # it never began
    paused = transaction.energy_flowed and transaction.charging_since_ms is None
    if "EnergyTransfer" in points and paused:  # even for a moment: Part 2 §2.6.5
        reason = "StoppedByEV" if evse.flow == "suspended_ev" else "Other"
        return "ChargingStateChanged", "EVDisconnected" if gone else reason
    return None


def report_ended(ctx: Context) -> Iterator[Decision]:
    """Tell of the end as soon as no energy flows, so that the last register is the last."""
    for transaction in ctx.state.transactions.open:
        stop = transaction.stop_order
        if stop and _is_ready_to_end(ctx, transaction):
            yield build_transaction_event(ctx, transaction, "Ended", stop.trigger_reason, stop=stop)


def _is_ready_to_end(ctx: Context, transaction: Transaction) -> bool:
    if transaction.evse_id == 0:
        return True  # it never had a place where energy could flow
    waited_ms = ctx.uptime_ms - transaction.stop_ordered_ms
    evse = ctx.state.evses.by_id(transaction.evse_id)
    if transaction.interrupted_seq == ctx.state.lifecycle.started_seq:
        reading = ctx.state.readings.on_evse(transaction.evse_id)
        fresh = reading is not None and reading.seq > transaction.interrupted_seq
        return (fresh and evse.is_deenergized) or waited_ms >= METER_TIMEOUT_MS
    return evse.is_deenergized or waited_ms >= POWER_DOWN_TIMEOUT_MS


# --- Changing ------------------------------------------------------------------------------------


def report_changes(ctx: Context) -> Iterator[Decision]:
    """Tell what changed in a transaction that goes on. E02.FR.13, E02.FR.17."""
    for transaction in ctx.state.transactions.open:
        if transaction.stop_order or transaction.next_seq_no == 0:
            continue
        if not ctx.state.evses.by_id(transaction.evse_id).is_cable_known:
            continue  # after a start, until the EVSE has spoken
        trigger = _change_trigger_reason(ctx, transaction)
        if trigger:
            yield build_transaction_event(ctx, transaction, "Updated", trigger)


def _change_trigger_reason(ctx: Context, transaction: Transaction) -> str | None:
    if transaction.remote_start_id is not None and not transaction.remote_start_reported:
        return "RemoteStart"  # F01.FR.19
    if transaction.id_token is not None and not transaction.id_token_reported:
        return "Authorized"  # E02.FR.01
    end = transaction.authorization_end
    if end and not transaction.authorization_end_reported:
        return end.trigger_reason  # E05.FR.09, F03.FR.02
    now = charging_state(ctx, transaction.evse_id)
    if now == transaction.charging_state:
        return None
    if transaction.charging_state == "Idle" and now == "EVConnected":
        return "CablePluggedIn"
    return "EVCommunicationLost" if now == "Idle" else "ChargingStateChanged"


def take_samples(ctx: Context) -> Iterator[Decision]:
    """Take the periodic samples that are due. J02.FR.11, and SampledDataCtrlr.TxEndedInterval."""
    if not ctx.state.transactions.open:
        return
    interval_ms, ended_ms = _sample_intervals_ms(ctx)
    for transaction in ctx.state.transactions.open:
        if transaction.stop_order or transaction.next_seq_no == 0:
            continue
        if not ctx.state.evses.by_id(transaction.evse_id).is_cable_known:
            continue
        if interval_ms and ctx.uptime_ms >= transaction.last_sample_ms + interval_ms:
            yield build_transaction_event(ctx, transaction, "Updated", "MeterValuePeriodic")
        reading = ctx.state.readings.on_evse(transaction.evse_id)
        if ended_ms and reading and ctx.uptime_ms >= transaction.last_kept_sample_ms + ended_ms:
            sample = make_sample(reading, "Sample.Periodic")
            yield TransactionSampleKept(transaction.transaction_id, sample)


def _sample_intervals_ms(ctx: Context) -> tuple[int, int]:
    """Between two samples that are told, and two that are kept for the end; 0: none are taken."""
    if not ctx.variable_boolean(SAMPLED_DATA_ENABLED, default=True):
        return 0, 0
    return ctx.variable_integer(TX_UPDATED_INTERVAL) * 1000, ctx.variable_integer(
        TX_ENDED_INTERVAL
    ) * 1000


def next_transaction_due_ms(ctx: Context) -> int | None:
    """Uptime at which a sample is due, or a transaction ends without waiting any longer."""
    return min(_transaction_due_times_ms(ctx), default=None)


def _transaction_due_times_ms(ctx: Context) -> Iterator[int]:
    if not ctx.state.transactions.open:
        return
    interval_ms, ended_ms = _sample_intervals_ms(ctx)
    for transaction in ctx.state.transactions.open:
        if transaction.evse_id == 0:
            continue  # it waits for a cable, and c_authorization says for how long
        if transaction.stop_order:
            interrupted = transaction.interrupted_seq == ctx.state.lifecycle.started_seq
            yield transaction.stop_ordered_ms + (
                METER_TIMEOUT_MS if interrupted else POWER_DOWN_TIMEOUT_MS
            )
            continue
        if not ctx.state.evses.by_id(transaction.evse_id).is_cable_known:
            wait_ms = max(ctx.variable_integer(RESUMPTION_TIMEOUT) * 1000, METER_TIMEOUT_MS)
            yield ctx.state.lifecycle.started_ms + wait_ms + 1
            continue
        if interval_ms:
            yield transaction.last_sample_ms + interval_ms
        if ended_ms:
            yield transaction.last_kept_sample_ms + ended_ms


# --- The message ---------------------------------------------------------------------------------


# --- What the CSMS says --------------------------------------------------------------------------


def on_transaction_event_response(
    ctx: Context, call: int, response: TransactionEventResponse | None
) -> Iterator[Decision]:
    """The CSMS gave its view of the token. E05, C10.FR.05, C12.FR.06, C15."""
    if response is None:
        return
    info, id_token = response.id_token_info, ctx.state.outbox.id_token_by_call.get(call)
    if info is None or id_token is None:
        return
    if id_token.ref in ctx.state.auth_cache.entries:  # a new one only by Authorize: C15.FR.01
        yield from cache_id_token_info(ctx, id_token, info)
    transaction = ctx.state.transactions.by_id(ctx.state.outbox.transaction_id_of(call) or "")
    if transaction is None or transaction.id_token != id_token:
        return  # it is over, or this token only ended it
    if info.group_id_token and transaction.group_id_token is None:
        yield GroupIdTokenReceived(
            transaction.transaction_id, id_token_from_message(info.group_id_token)
        )
    held = ctx.state.authorizations.on_evse(transaction.evse_id)
    if info.status == "Accepted" or held is None or transaction.stop_order:
        return
    if ctx.variable_boolean(STOP_TX_ON_INVALID_ID, default=True):
        yield end_authorization(held, "Deauthorized", "DeAuthorized")  # E05.FR.09, E05.FR.10
    elif held.until_register_wh is None and not held.suspended:
        yield from _limit_or_suspend(ctx, held, info.status)


def _limit_or_suspend(
    ctx: Context, authorization: Authorization, status: str
) -> Iterator[Decision]:
    """No more energy, or MaxEnergyOnInvalidId at most. E05.FR.02, E05.FR.03, C15.FR.06/07."""
    reading = ctx.state.readings.on_evse(authorization.evse_id or 0)
    allowance_wh = ctx.variable_integer(MAX_ENERGY_ON_INVALID_ID)
    if allowance_wh and reading:
        until_wh = reading.meter_read.energy_wh + allowance_wh
        yield AuthorizationLimited(authorization.seq, status, until_wh)
    else:
        yield AuthorizationSuspended(authorization.seq, status)


def suspend_at_energy_limit(ctx: Context) -> Iterator[Decision]:
    """The energy that was still allowed has flowed. E05.FR.02, E05.FR.03."""
    for held in ctx.state.authorizations.active:
        reading = ctx.state.readings.on_evse(held.evse_id or 0)
        if held.suspended or held.until_register_wh is None or reading is None:
            continue
        if reading.meter_read.energy_wh >= held.until_register_wh:
            yield AuthorizationSuspended(held.seq, "MaxEnergyOnInvalidId")


def get_transaction_status(
    ctx: Context, call: Call, request: GetTransactionStatusRequest
) -> Iterator[Decision]:
    """Does it run, and do messages wait? E14.FR.01 to 08."""
    outbox, named = ctx.state.outbox, request.transaction_id
    if named is None:
        waits = len(outbox.transaction) > 0
        yield call_result(call, GetTransactionStatusResponse(messages_in_queue=waits))
        return
    yield call_result(
        call,
        GetTransactionStatusResponse(
            messages_in_queue=outbox.transaction.has_owner(named),
            ongoing_indicator=ctx.state.transactions.by_id(named) is not None,
        ),
    )


CALLS: dict[str, CallHandler] = {"GetTransactionStatus": get_transaction_status}
OBSERVED: Final[dict[type[Event], Rule]] = {
    StopButtonPressed: on_stop_pressed,
    EvStoppedCharging: on_ev_stopped,
}
RESULTS: Final[dict[str, ResultHandler]] = {"TransactionEvent": on_transaction_event_response}
DEADLINES: Final[tuple[Deadline, ...]] = (next_transaction_due_ms,)
RULES: Final[tuple[Rule, ...]] = (
    end_authorization_on_unplug,
    suspend_at_energy_limit,
    decide_stop,
    report_ended,
    authorize_transactions,
    start_transactions,
    start_unbound_transactions,
    report_started,
    report_changes,
    take_samples,
)
