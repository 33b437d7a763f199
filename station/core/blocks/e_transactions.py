"""Transactions: start, change, stop, samples, and the answers of the CSMS. Block E.

The rules compare what is true of an EVSE with what was reported to the CSMS, and close the gap.
They run after every entry and keep no notes between two entries; what is still open after a restart
goes on from what is true then.

The life of a transaction, and the rule that decides each step:

    start point reached          start_transactions            TransactionStarted
      (before a cable is in)     start_unbound_transactions    TransactionStarted, evse_id 0
    not reported yet             report_started                TransactionEvent Started, seqNo 0
    an authorization is added    authorize_transactions        TransactionAuthorized
    something changed            report_changes                TransactionEvent Updated
    a sample is due              take_samples                  TransactionEvent Updated, or kept
    a stop cause holds           decide_stop                   TransactionStopOrdered
    stopped, no energy flows,    report_ended                  TransactionEvent Ended
      the meter was read

`e_start_stop_points` has the tables of start points and stop causes with their requirements;
`e_transaction_events` builds the messages. A TransactionEvent is a decision like any other: its
seqNo, payload and what it reports are final when it is queued, whenever it is sent.

An authorization and a transaction are two things. A stop button, an idToken, a remote stop or a
deauthorization ends the *authorization* (AuthorizationEnded); whether that stops the transaction is
up to TxStopPoint. That order lets one table serve every way to stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.events import Decision, Event
from journal.observations import CableReported, EvStoppedCharging, StopButtonPressed
from journal.projections.authorizations import (
    Authorization,
    AuthorizationEnded,
    AuthorizationLimited,
    AuthorizationSuspended,
)
from journal.projections.energy_ledger import OLD_STOP_REGISTER
from journal.projections.outbox import TransactionEventSummary
from journal.projections.transactions import (
    GroupIdTokenReceived,
    Transaction,
    TransactionAuthorized,
    TransactionSampleKept,
    TransactionStarted,
    TransactionStopOrdered,
)
from station.core.blocks.c_authorization_cache import cache_id_token_info
from station.core.blocks.e_start_stop_points import (
    METER_TIMEOUT_MS,
    RESUMPTION_TIMEOUT,
    START_REASONS,
    STOP_REASONS,
    TX_START_POINT,
    find_stop,
    reached_start_point,
)
from station.core.blocks.e_transaction_events import (
    SAMPLED_DATA_ENABLED,
    build_transaction_event,
    has_stop_register,
)
from station.core.blocks.evse_conditions import charging_state, is_in_service
from station.core.blocks.i_tariff_and_cost import receive_transaction_info
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
from station.core.reasons import Reason, Reasons, ReasonTable
from station.ocpp.messages.e_transactions import (
    GetTransactionStatusRequest,
    GetTransactionStatusResponse,
    TransactionEventResponse,
)

STOP_TX_ON_INVALID_ID: Final = "TxCtrlr.StopTxOnInvalidId"
STOP_TX_ON_UNPLUG: Final = "TxCtrlr.StopTxOnEVSideDisconnect"
MAX_ENERGY_ON_INVALID_ID: Final = "TxCtrlr.MaxEnergyOnInvalidId"
TX_UPDATED_INTERVAL: Final = "SampledDataCtrlr.TxUpdatedInterval"
TX_ENDED_INTERVAL: Final = "SampledDataCtrlr.TxEndedInterval"

# A normal stop takes at most 5 s; after this time the end is reported even if energy still flows.
POWER_DOWN_TIMEOUT_MS: Final = 6_000

# --- Start ---------------------------------------------------------------------------------------


def start_transactions(ctx: Context) -> Iterator[Decision]:
    """Start a transaction on each EVSE that reaches a start point and has none open. E01.FR.14."""
    for evse in ctx.state.evses.all_evses:
        evse_id = evse.evse_id
        if ctx.state.transactions.on_evse(evse_id):
            continue
        point = reached_start_point(ctx, evse_id)
        if point is None or not is_in_service(ctx, evse_id):
            continue
        authorization = ctx.state.authorizations.on_evse(evse_id)
        granted = authorization.granted if authorization else None
        yield TransactionStarted(
            transaction_id=ctx.make_uuid("transaction", evse_id, ctx.entry.seq),
            evse_id=evse_id,
            trigger_reason=_start_trigger_reason(ctx, authorization),
            authorization_seq=authorization.seq if authorization else 0,
            id_token=authorization.id_token if authorization else None,
            group_id_token=granted.group_id_token if granted else None,
            remote_start_id=granted.remote_start_id if granted else None,
            because=point,
        )


def start_unbound_transactions(ctx: Context) -> Iterator[Decision]:
    """With TxStartPoint Authorized, start before the cable is plugged in. E01.FR.03."""
    unbound = ctx.state.authorizations.unbound
    if not unbound or "Authorized" not in ctx.variable_list(TX_START_POINT):
        return
    started = {transaction.authorization_seq for transaction in ctx.state.transactions.open}
    for authorization in unbound:
        if authorization.seq not in started:
            yield TransactionStarted(
                transaction_id=ctx.make_uuid("transaction", "unbound", authorization.seq),
                evse_id=0,
                trigger_reason="Authorized",
                authorization_seq=authorization.seq,
                id_token=authorization.id_token,
                group_id_token=authorization.granted.group_id_token,
                because="Authorized",
            )


def _start_trigger_reason(ctx: Context, authorization: Authorization | None) -> str:
    """TriggerReasonEnumType of the first event. After a remote start RemoteStart. F02.FR.21."""
    if authorization and authorization.granted.remote_start_id is not None:
        return "RemoteStart"
    if isinstance(ctx.entry.event, CableReported):
        return "CablePluggedIn"
    return "Authorized" if authorization else "CablePluggedIn"


def report_started(ctx: Context) -> Iterator[Decision]:
    """Queue the Started event of each transaction that has none yet. E01.FR.07: seqNo 0."""
    for transaction in ctx.state.transactions.open:
        if transaction.next_seq_no == 0:
            trigger_reason = _started_trigger_reason(ctx, transaction)
            yield build_transaction_event(ctx, transaction, "Started", trigger_reason)


def _started_trigger_reason(ctx: Context, transaction: Transaction) -> str:
    if transaction.remote_start_id is not None:
        return "RemoteStart"
    if not transaction.evse_id:
        return "Authorized"  # nothing else starts a transaction before its cable: E01.FR.03
    return _start_trigger_reason(ctx, ctx.state.authorizations.on_evse(transaction.evse_id))


def authorize_transactions(ctx: Context) -> Iterator[Decision]:
    """Add an authorization to a transaction that has none, or has none any more. E02.FR.20."""
    for transaction in ctx.state.transactions.open:
        authorization = ctx.state.authorizations.on_evse(transaction.evse_id)
        if authorization is None or transaction.stop_order:
            continue
        if transaction.id_token is None or transaction.authorization_end is not None:
            yield TransactionAuthorized(
                transaction_id=transaction.transaction_id,
                authorization_seq=authorization.seq,
                id_token=authorization.id_token,
                group_id_token=authorization.granted.group_id_token,
                remote_start_id=authorization.granted.remote_start_id,
            )


# --- The authorization ends ----------------------------------------------------------------------


def on_stop_pressed(ctx: Context) -> Iterator[Decision]:
    """End the authorization on the stop button, as the EV driver's idToken would. E07.FR.05."""
    assert isinstance(ctx.entry.event, StopButtonPressed)
    authorization = ctx.state.authorizations.on_evse(ctx.entry.event.evse_id)
    if authorization:
        yield end_authorization(authorization, "StopAuthorized", "Local", "stop_button")


def on_ev_stopped(ctx: Context) -> Iterator[Decision]:
    """End the authorization when the EV ends its session. E15.FR.04, E15.FR.05."""
    assert isinstance(ctx.entry.event, EvStoppedCharging)
    authorization = ctx.state.authorizations.on_evse(ctx.entry.event.evse_id)
    if authorization:
        yield end_authorization(authorization, "StopAuthorized", "StoppedByEV", "ev_stopped")


def end_authorization_on_unplug(ctx: Context) -> Iterator[Decision]:
    """With StopTxOnEVSideDisconnect, end the authorization with the connection. E09.FR.01."""
    match ctx.entry.event:
        case CableReported(evse_id=evse_id, plugged_in=False):
            authorization = ctx.state.authorizations.on_evse(evse_id)
            if (
                authorization
                and ctx.state.transactions.on_evse(evse_id)
                and ctx.variable_boolean(STOP_TX_ON_UNPLUG, default=True)
            ):
                yield end_authorization(
                    authorization, "EVCommunicationLost", "EVDisconnected", "unplugged"
                )
        case _:
            return


def end_authorization(
    authorization: Authorization, trigger_reason: str, stopped_reason: str, because: str
) -> AuthorizationEnded:
    """The decision that ends an authorization; `because` is a code of its reasons."""
    return AuthorizationEnded(
        authorization_seq=authorization.seq,
        evse_id=authorization.evse_id,
        trigger_reason=trigger_reason,
        stopped_reason=stopped_reason,
        because=because,
    )


# --- Stop ----------------------------------------------------------------------------------------


def decide_stop(ctx: Context) -> Iterator[Decision]:
    """Order each open transaction to stop for which a stop cause holds. E06."""
    for transaction in ctx.state.transactions.open:
        if transaction.stop_order is None:
            yield from _stop_transaction(ctx, transaction)


def _stop_transaction(ctx: Context, transaction: Transaction) -> Iterator[Decision]:
    stop = find_stop(ctx, transaction)
    if stop is None:
        return
    trigger_reason, stopped_reason = stop.reasons
    end = transaction.authorization_end
    yield TransactionStopOrdered(
        transaction_id=transaction.transaction_id,
        trigger_reason=trigger_reason,
        stopped_reason=stopped_reason,
        stopped_by_id_token=end.ended_by_id_token if end else None,
        because=stop.because,
    )


def report_ended(ctx: Context) -> Iterator[Decision]:
    """Queue the Ended event as soon as no energy flows, so that its register is the last one."""
    for transaction in ctx.state.transactions.open:
        stop = transaction.stop_order
        if stop and _is_ready_to_end(ctx, transaction):
            yield build_transaction_event(ctx, transaction, "Ended", stop.trigger_reason, stop=stop)


def _is_ready_to_end(ctx: Context, transaction: Transaction) -> bool:
    """Whether no energy flows and the stop register is read, or the wait for that is over."""
    if transaction.evse_id == 0:
        return True  # it never had an EVSE where energy could flow
    is_deenergized = ctx.state.evses.by_id(transaction.evse_id).is_deenergized
    has_register = has_stop_register(ctx, transaction)
    if _is_interrupted(ctx, transaction):
        has_register &= ctx.state.readings.on_evse(transaction.evse_id) is not None
    return (is_deenergized and has_register) or ctx.uptime_ms >= _end_due_ms(ctx, transaction)


def _end_due_ms(ctx: Context, transaction: Transaction) -> int:
    """Uptime at which a stopped transaction ends in any case.

    Without energy flow it waits METER_TIMEOUT_MS for a silent meter: what the meter has counted can
    be billed only before the end, and the EV driver waits for nothing else. After an interruption
    the EVSE is not known at first, and the same time applies.
    """
    is_deenergized = ctx.state.evses.by_id(transaction.evse_id).is_deenergized
    waits_for_meter = is_deenergized or _is_interrupted(ctx, transaction)
    timeout_ms = METER_TIMEOUT_MS if waits_for_meter else POWER_DOWN_TIMEOUT_MS
    return transaction.stop_ordered_ms + timeout_ms


def _is_interrupted(ctx: Context, transaction: Transaction) -> bool:
    """Whether the start of this run interrupted the transaction."""
    return transaction.interrupted_seq == ctx.state.lifecycle.started_seq


# --- Change --------------------------------------------------------------------------------------


def report_changes(ctx: Context) -> Iterator[Decision]:
    """Queue an Updated event for what changed in an open transaction. E02.FR.13, E02.FR.17."""
    for transaction in ctx.state.transactions.open:
        if not is_reportable(ctx, transaction):
            continue
        trigger_reason = _change_trigger_reason(ctx, transaction)
        if trigger_reason:
            yield build_transaction_event(ctx, transaction, "Updated", trigger_reason)


def is_reportable(ctx: Context, transaction: Transaction) -> bool:
    """Whether an Updated event may be sent: started, not stopped, the state of its EVSE known.

    After a start of the program the EVSE is unknown until its cable is reported.
    """
    return (
        transaction.stop_order is None
        and transaction.next_seq_no > 0
        and ctx.state.evses.by_id(transaction.evse_id).is_cable_known
    )


def _change_trigger_reason(ctx: Context, transaction: Transaction) -> str | None:
    """TriggerReasonEnumType of the first change that is not reported; None: there is none."""
    if transaction.remote_start_id is not None and not transaction.remote_start_reported:
        return "RemoteStart"  # F01.FR.19
    if transaction.id_token is not None and not transaction.id_token_reported:
        return "Authorized"  # E02.FR.01
    end = transaction.authorization_end
    if end and not transaction.authorization_end_reported:
        return end.trigger_reason  # E05.FR.09, F03.FR.02
    return _charging_state_trigger_reason(transaction, charging_state(ctx, transaction.evse_id))


def _charging_state_trigger_reason(transaction: Transaction, state: str) -> str | None:
    if state == transaction.charging_state:
        return None
    if transaction.charging_state == "Idle" and state == "EVConnected":
        return "CablePluggedIn"
    return "EVCommunicationLost" if state == "Idle" else "ChargingStateChanged"


# --- Samples -------------------------------------------------------------------------------------


def take_samples(ctx: Context) -> Iterator[Decision]:
    """Take the periodic samples that are due. J02.FR.11, SampledDataCtrlr.TxEndedInterval."""
    if not ctx.state.transactions.open:
        return
    updated_ms, ended_ms = _sample_intervals_ms(ctx)
    for transaction in ctx.state.transactions.open:
        if not is_reportable(ctx, transaction):
            continue
        if updated_ms and ctx.uptime_ms >= transaction.last_sample_ms + updated_ms:
            yield build_transaction_event(ctx, transaction, "Updated", "MeterValuePeriodic")
        reading = ctx.state.readings.on_evse(transaction.evse_id)
        if ended_ms and reading and ctx.uptime_ms >= transaction.last_kept_sample_ms + ended_ms:
            sample = make_sample(reading, "Sample.Periodic")
            yield TransactionSampleKept(transaction.transaction_id, sample)


def _sample_intervals_ms(ctx: Context) -> tuple[int, int]:
    """Intervals of samples to report and of samples to keep for the Ended event; 0: none."""
    if not ctx.variable_boolean(SAMPLED_DATA_ENABLED, default=True):
        return 0, 0
    return (
        ctx.variable_integer(TX_UPDATED_INTERVAL) * 1000,
        ctx.variable_integer(TX_ENDED_INTERVAL) * 1000,
    )


def next_transaction_due_ms(ctx: Context) -> int | None:
    """Uptime at which a sample is due, or a transaction ends without waiting any longer."""
    return min(_transaction_due_times_ms(ctx), default=None)


def _transaction_due_times_ms(ctx: Context) -> Iterator[int]:
    if not ctx.state.transactions.open:
        return
    updated_ms, ended_ms = _sample_intervals_ms(ctx)
    for transaction in ctx.state.transactions.open:
        if transaction.evse_id == 0:
            continue  # it waits for a cable: `c_connection` has that deadline
        if transaction.stop_order:
            yield _end_due_ms(ctx, transaction)
            continue
        if not ctx.state.evses.by_id(transaction.evse_id).is_cable_known:
            wait_ms = max(ctx.variable_integer(RESUMPTION_TIMEOUT) * 1000, METER_TIMEOUT_MS)
            yield ctx.state.lifecycle.started_ms + wait_ms + 1
            continue
        if updated_ms:
            yield transaction.last_sample_ms + updated_ms
        if ended_ms:
            yield transaction.last_kept_sample_ms + ended_ms


# --- Answers of the CSMS -------------------------------------------------------------------------


def on_transaction_event_response(
    ctx: Context, call_seq: int, response: TransactionEventResponse | None
) -> Iterator[Decision]:
    """Apply a TransactionEventResponse: cost, tariff, idTokenInfo. E05, C10.FR.05, C12.FR.06, C15.

    A status other than Accepted ends the authorization, or limits it (`StopTxOnInvalidId`).
    """
    if response is None:
        return
    yield from receive_transaction_info(ctx, call_seq, response)
    info, id_token = response.id_token_info, ctx.state.outbox.id_token_by_call.get(call_seq)
    if info is None or id_token is None:
        return
    if id_token.ref in ctx.state.auth_cache.entries:  # a new one only by Authorize: C15.FR.01
        yield from cache_id_token_info(ctx, id_token, info)
    transaction_id = ctx.state.outbox.transaction_id_of(call_seq)
    transaction = ctx.state.transactions.by_id(transaction_id or "")
    if transaction is None or transaction.id_token != id_token:
        return  # it has ended, or this idToken only stopped it
    if info.group_id_token and transaction.group_id_token is None:
        yield GroupIdTokenReceived(
            transaction.transaction_id, id_token_from_message(info.group_id_token)
        )
    authorization = ctx.state.authorizations.on_evse(transaction.evse_id)
    if info.status == "Accepted" or authorization is None or transaction.stop_order:
        return
    if ctx.variable_boolean(STOP_TX_ON_INVALID_ID, default=True):
        # E05.FR.09, E05.FR.10; C15.FR.03, C15.FR.04
        is_unknown = authorization.granted.authorized_by == "OfflineUnknownId"
        because = "deauthorized_unknown" if is_unknown else "deauthorized"
        yield end_authorization(authorization, "Deauthorized", "DeAuthorized", because)
    elif authorization.until_register_wh is None and not authorization.suspended:
        yield from _limit_or_suspend(ctx, authorization, info.status)


def _limit_or_suspend(
    ctx: Context, authorization: Authorization, status: str
) -> Iterator[Decision]:
    """Allow MaxEnergyOnInvalidId at most, or no more energy. E05.FR.02/03, C15.FR.06/07."""
    reading = ctx.state.readings.on_evse(authorization.evse_id or 0)
    allowance_wh = ctx.variable_integer(MAX_ENERGY_ON_INVALID_ID)
    if allowance_wh and reading:
        until_register_wh = reading.meter_read.energy_wh + allowance_wh
        yield AuthorizationLimited(authorization.seq, status, until_register_wh)
    else:
        yield AuthorizationSuspended(authorization.seq, status)


def suspend_at_energy_limit(ctx: Context) -> Iterator[Decision]:
    """Suspend an authorization when MaxEnergyOnInvalidId is used up. E05.FR.02, E05.FR.03."""
    for authorization in ctx.state.authorizations.active:
        reading = ctx.state.readings.on_evse(authorization.evse_id or 0)
        until_register_wh = authorization.until_register_wh
        if authorization.suspended or until_register_wh is None or reading is None:
            continue
        if reading.meter_read.energy_wh >= until_register_wh:
            yield AuthorizationSuspended(authorization.seq, "MaxEnergyOnInvalidId")


def get_transaction_status(
    ctx: Context, call: Call, request: GetTransactionStatusRequest
) -> Iterator[Decision]:
    """Report whether a transaction is open and whether its messages wait. E14.FR.01 to 08."""
    waiting, transaction_id = ctx.state.outbox.transaction, request.transaction_id
    if transaction_id is None:
        response = GetTransactionStatusResponse(messages_in_queue=len(waiting) > 0)
    else:
        response = GetTransactionStatusResponse(
            messages_in_queue=waiting.has_owner(transaction_id),
            ongoing_indicator=ctx.state.transactions.by_id(transaction_id) is not None,
        )
    yield call_result(call, response)


def _code_of_transaction_event(summary: TransactionEventSummary) -> str:
    """The row of a TransactionEvent: Started, Ended, or what an Updated event reports."""
    if OLD_STOP_REGISTER in summary.includes:
        return OLD_STOP_REGISTER
    return summary.trigger_reason if summary.event_type == "Updated" else summary.event_type


CALLS: Final[dict[str, CallHandler]] = {"GetTransactionStatus": get_transaction_status}
RESULTS: Final[dict[str, ResultHandler]] = {"TransactionEvent": on_transaction_event_response}
OBSERVED: Final[dict[type[Event], Rule]] = {
    StopButtonPressed: on_stop_pressed,
    EvStoppedCharging: on_ev_stopped,
}
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
_END_REPORTED: Final = Reason("{after}", facts=("authorization_ended",), after=AuthorizationEnded)
REASONS: Final[Reasons] = {
    AuthorizationLimited: Reason(
        "the CSMS does not accept the IdToken, and MaxEnergyOnInvalidId allows this energy",
        "E05.FR.03",
        ("authorization",),
    ),
    AuthorizationSuspended: ReasonTable(
        {
            "allowance": Reason(
                "the energy allowed by MaxEnergyOnInvalidId was delivered",
                "E05.FR.02",
                ("authorization",),
            ),
            "csms": Reason("the CSMS does not accept the IdToken", "E05.FR.02", ("authorization",)),
        },
        lambda event: "allowance" if event.status == "MaxEnergyOnInvalidId" else "csms",
    ),
    GroupIdTokenReceived: Reason("the CSMS sent the group of the IdToken with an answer"),
    TransactionAuthorized: Reason(
        "an IdToken was authorized in it", "E02.FR.20", ("authorization",)
    ),
    TransactionSampleKept: Reason("a sample for the Ended message was due"),
    TransactionStarted: ReasonTable(START_REASONS),
    TransactionStopOrdered: ReasonTable(STOP_REASONS),
    TransactionEventSummary: ReasonTable(
        {
            "Started": Reason("a transaction started", facts=("transaction_started",)),
            "Ended": Reason(
                "the transaction was stopped, and no energy flows", facts=("transaction_stopped",)
            ),
            OLD_STOP_REGISTER: Reason(
                "the transaction was stopped, and the meter did not respond in the time that it "
                "waits: the register is the last one that was read",
                "E06.FR.11",
                ("transaction_stopped",),
            ),
            "Authorized": Reason(
                "an IdToken was authorized for it", "E02.FR.01", ("transaction_authorized",)
            ),
            "CablePluggedIn": Reason("the EV was plugged in", "E02.FR.13"),
            "ChargingStateChanged": Reason("the charging state changed", "E02.FR.13"),
            "Deauthorized": _END_REPORTED,
            "EVCommunicationLost": Reason(
                "the EV was disconnected", "E02.FR.13", ("authorization_ended",)
            ),
            "EVConnectTimeout": _END_REPORTED,
            "MeterValueClock": Reason("a clock-aligned sample was due", "J01.FR.22"),
            "MeterValuePeriodic": Reason("a sample was due", "J02.FR.11"),
            "RemoteStart": Reason(
                "the CSMS authorized it", "F01.FR.19", ("transaction_authorized",)
            ),
            "RemoteStop": Reason("the CSMS requested it", "F03.FR.02", ("authorization_ended",)),
            "StopAuthorized": _END_REPORTED,
            "Trigger": Reason("the CSMS requested it", "F06.FR.07"),
        },
        _code_of_transaction_event,
    ),
}
