"""What may the CSMS order from afar: start, stop, unlock, speak? (Block F)"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.events import Decision, IdToken
from journal.projections.transactions import Transaction, TransactionStopOrdered
from station.core.blocks import l_firmware, n_logs
from station.core.blocks.b_registration import build_boot_notification
from station.core.blocks.c_authorization import (
    find_waiting_evse,
    grant_authorization,
    request_charging,
)
from station.core.blocks.c_authorization_cache import UNCACHED_TYPES
from station.core.blocks.e_transaction_events import build_transaction_event
from station.core.blocks.e_transactions import (
    AUTHORIZATION_STOP_POINTS,
    TX_STOP_POINT,
    end_authorization,
)
from station.core.blocks.evse_conditions import is_in_service
from station.core.blocks.g_availability import (
    current_connector_status,
    queue_status_notification,
)
from station.core.blocks.j_metering import trigger_meter_values
from station.core.context import (
    Call,
    CallHandler,
    Context,
    call_result,
    id_token_from_message,
    queue_call,
    status_info,
)
from station.ocpp.messages.datatypes import EVSEType
from station.ocpp.messages.f_remote_control import (
    RequestStartTransactionRequest,
    RequestStartTransactionResponse,
    RequestStopTransactionRequest,
    RequestStopTransactionResponse,
    TriggerMessageRequest,
    TriggerMessageResponse,
    UnlockConnectorRequest,
    UnlockConnectorResponse,
)
from station.ocpp.messages.g_availability import HeartbeatRequest

AUTHORIZE_REMOTE_START: Final = "AuthCtrlr.AuthorizeRemoteStart"


# --- Start and stop ------------------------------------------------------------------------------


def request_start_transaction(
    ctx: Context, call: Call, request: RequestStartTransactionRequest
) -> Iterator[Decision]:
    """Start for a token the CSMS names, as if it had been shown here. F01, F02, C03, C05.

    A charging profile is ignored, as a product without smart charging must. F01.FR.12.
    """
    if not ctx.state.registration.is_accepted:
        yield _reject_start(call, "CSNotAccepted", "not accepted by the CSMS yet")  # B02.FR.05
        return
    if request.evse_id is not None and request.evse_id not in ctx.state.lifecycle.evse_ids:
        yield _reject_start(call, "UnknownEvse", f"there is no EVSE {request.evse_id}")
        return
    evse_id = request.evse_id if request.evse_id is not None else _select_evse(ctx)
    if evse_id is None:
        yield _reject_start(call, "TxInProgress", "every EVSE is taken or out of service")
        return
    if not is_in_service(ctx, evse_id):
        yield _reject_start(call, "Unspecified", f"EVSE {evse_id} is out of service")  # F01.FR.23
        return
    if ctx.state.authorizations.on_evse(evse_id) or _has_stopping_transaction(ctx, evse_id):
        yield _reject_start(call, "TxInProgress", f"EVSE {evse_id} is in use")  # F01.FR.24
        return
    running = ctx.state.transactions.on_evse(evse_id)
    yield call_result(
        call,
        RequestStartTransactionResponse(
            status="Accepted",
            transaction_id=running.transaction_id if running else None,  # F01.FR.13
        ),
    )
    id_token = id_token_from_message(request.id_token)
    group = id_token_from_message(request.group_id_token) if request.group_id_token else None
    yield from _authorize_remote_start(ctx, id_token, group, evse_id, request.remote_start_id)


def _authorize_remote_start(
    ctx: Context, id_token: IdToken, group: IdToken | None, evse_id: int, remote_start_id: int
) -> Iterator[Decision]:
    """F01.FR.01, F01.FR.02; the CSMS's own tokens are not asked about. C03.FR.01, C05.FR.01."""
    if id_token.type in UNCACHED_TYPES or not ctx.variable_boolean(AUTHORIZE_REMOTE_START):
        yield grant_authorization(
            ctx,
            id_token,
            "Remote",
            evse_id=evse_id,
            group=group,
            remote_start_id=remote_start_id,
        )
        return
    yield from request_charging(
        ctx, id_token, evse_id=evse_id, group=group, remote_start_id=remote_start_id
    )


def _has_stopping_transaction(ctx: Context, evse_id: int) -> bool:
    transaction = ctx.state.transactions.on_evse(evse_id)
    return transaction is not None and transaction.stop_order is not None


def _select_evse(ctx: Context) -> int | None:
    """The EVSE that waits for somebody, else the first that is free. F01.FR.20, F02.FR.22."""
    waiting = find_waiting_evse(ctx)
    if waiting is not None:
        return waiting
    for evse in ctx.state.evses.all_evses:
        if (
            is_in_service(ctx, evse.evse_id)
            and ctx.state.authorizations.on_evse(evse.evse_id) is None
            and ctx.state.transactions.on_evse(evse.evse_id) is None
        ):
            return evse.evse_id
    return None


def _reject_start(call: Call, code: str, text: str) -> Decision:
    return call_result(
        call,
        RequestStartTransactionResponse(status="Rejected", status_info=status_info(code, text)),
    )


def request_stop_transaction(
    ctx: Context, call: Call, request: RequestStopTransactionRequest
) -> Iterator[Decision]:
    """End the right to charge of a transaction. F03.FR.02, F03.FR.03, F03.FR.07, F03.FR.08."""
    transaction = ctx.state.transactions.by_id(request.transaction_id)
    if transaction is None or not ctx.state.registration.is_accepted:
        code = "TxNotFound" if transaction is None else "CSNotAccepted"
        yield call_result(
            call,
            RequestStopTransactionResponse(status="Rejected", status_info=status_info(code)),
        )
        return
    yield call_result(call, RequestStopTransactionResponse(status="Accepted"))
    held = ctx.state.authorizations.on_evse(transaction.evse_id)
    if held and not transaction.stop_order:
        yield end_authorization(held, "RemoteStop", "Remote")
    elif not transaction.stop_order:
        yield from _stop_without_authorization(ctx, transaction)


def _stop_without_authorization(ctx: Context, transaction: Transaction) -> Iterator[Decision]:
    """Nobody may charge any more, or never could: there is no right that could end."""
    if AUTHORIZATION_STOP_POINTS & set(ctx.variable_list(TX_STOP_POINT)):
        yield TransactionStopOrdered(
            transaction_id=transaction.transaction_id,
            trigger_reason="RemoteStop",
            stopped_reason="Remote",
        )
    else:
        yield build_transaction_event(ctx, transaction, "Updated", "RemoteStop")


# --- Unlock --------------------------------------------------------------------------------------


def unlock_connector(
    ctx: Context, call: Call, request: UnlockConnectorRequest
) -> Iterator[Decision]:
    """A fixed cable has nothing to unlock; the EV's inlet holds the plug. F05.FR.01 to 06."""
    where = request.evse_id, request.connector_id
    held = ctx.state.authorizations.on_evse(request.evse_id)
    if where not in ctx.state.lifecycle.connectors:
        yield call_result(call, UnlockConnectorResponse(status="UnknownConnector"))
    elif held and ctx.state.transactions.on_evse(request.evse_id):
        yield call_result(call, UnlockConnectorResponse(status="OngoingAuthorizedTransaction"))
    else:
        yield call_result(
            call,
            UnlockConnectorResponse(
                status="UnlockFailed",
                status_info=status_info("FixedCable", "the cable is fixed to the station"),
            ),
        )


# --- Trigger -------------------------------------------------------------------------------------


def trigger_message(ctx: Context, call: Call, request: TriggerMessageRequest) -> Iterator[Decision]:
    """Say now what would be said later. The answer goes first. F06.FR.04, F06.FR.05."""
    trigger = TRIGGERS.get(request.requested_message)
    if trigger is None or not _is_trigger_supported(ctx, request.requested_message):
        yield call_result(call, TriggerMessageResponse(status="NotImplemented"))  # F06.FR.08
        return
    decisions = tuple(trigger(ctx, request.evse))
    if not decisions:
        yield call_result(call, TriggerMessageResponse(status="Rejected"))
        return
    yield call_result(call, TriggerMessageResponse(status="Accepted"))
    yield from decisions  # F06.FR.10


def _is_trigger_supported(ctx: Context, message: str) -> bool:
    """Whether the product answers to this trigger (C-29)."""
    return message == "Heartbeat" or message in ctx.product.profile.triggers


def _trigger_boot_notification(ctx: Context, evse: EVSEType | None) -> Iterator[Decision]:
    if (
        not ctx.state.registration.is_accepted and ctx.state.outbox.boot_call_seq is None
    ):  # F06.FR.17
        yield build_boot_notification(ctx, "Triggered")


def _trigger_heartbeat(ctx: Context, evse: EVSEType | None) -> Iterator[Decision]:
    yield from queue_call(ctx, HeartbeatRequest(), solicited=True)


def _trigger_status_notification(ctx: Context, evse: EVSEType | None) -> Iterator[Decision]:
    """Only for a connector that is named. F06.FR.12, F06.FR.13."""
    if evse is None or evse.connector_id is None:
        return
    where = evse.id, evse.connector_id
    if where in ctx.state.lifecycle.connectors:
        status = current_connector_status(ctx, *where)
        yield from queue_status_notification(ctx, *where, status, solicited=True)


def _trigger_transaction_events(ctx: Context, evse: EVSEType | None) -> Iterator[Decision]:
    """F06.FR.07, F06.FR.11: for the EVSE that is named, or every one that has a transaction."""
    for transaction in ctx.state.transactions.open:
        if evse is None or evse.id == transaction.evse_id:
            yield build_transaction_event(ctx, transaction, "Updated", "Trigger")


def _trigger_log_status(ctx: Context, evse: EVSEType | None) -> Iterator[Decision]:
    yield from n_logs.trigger_log_status(ctx)


def _trigger_firmware_status(ctx: Context, evse: EVSEType | None) -> Iterator[Decision]:
    yield from l_firmware.trigger_firmware_status(ctx)


TRIGGERS: Final = {
    "BootNotification": _trigger_boot_notification,
    "LogStatusNotification": _trigger_log_status,
    "FirmwareStatusNotification": _trigger_firmware_status,
    "Heartbeat": _trigger_heartbeat,
    "MeterValues": trigger_meter_values,
    "StatusNotification": _trigger_status_notification,
    "TransactionEvent": _trigger_transaction_events,
}

CALLS: dict[str, CallHandler] = {
    "RequestStartTransaction": request_start_transaction,
    "RequestStopTransaction": request_stop_transaction,
    "UnlockConnector": unlock_connector,
    "TriggerMessage": trigger_message,
}
