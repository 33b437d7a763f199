"""RequestStartTransaction, RequestStopTransaction, UnlockConnector, TriggerMessage. Block F.

A remote start authorizes an idToken as if it had been presented at the EVSE; a remote stop ends the
authorization of a transaction. What follows is decided by the rules of blocks C and E.
`TRIGGERS` has one function for each message that TriggerMessage can request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from journal.events import Decision
from journal.projections.transactions import Transaction, TransactionStopOrdered
from station.core.blocks import a_certificate_renewal, l_firmware, n_logs
from station.core.blocks.b_registration import build_boot_notification
from station.core.blocks.c_authorization import request_charging
from station.core.blocks.c_authorization_cache import UNCACHED_TYPES
from station.core.blocks.c_id_token import find_evse_for, has_stopping_transaction
from station.core.blocks.c_without_csms import grant_authorization
from station.core.blocks.e_start_stop_points import REMOTE_STOP, stops_with_authorization
from station.core.blocks.e_transaction_events import build_transaction_event
from station.core.blocks.e_transactions import end_authorization
from station.core.blocks.evse_conditions import is_in_service
from station.core.blocks.g_availability import (
    current_connector_status,
    queue_status_notification,
)
from station.core.blocks.h_kept_evses import Claimant, find_obstacle
from station.core.blocks.j_metering import trigger_meter_values
from station.core.blocks.k_smart_charging.charging_profiles import (
    find_start_refusal,
    install_with_start,
)
from station.core.context import (
    Call,
    CallHandler,
    Context,
    call_result,
    id_token_from_message,
    queue_call,
    status_info,
)
from station.core.reasons import AnswerReasons, Reason, Refusals
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
    """Authorize the idToken in the request on an EVSE, or reject it. F01, F02, C03, C05.

    A charging profile is installed for the transaction (K05.FR.03); a product without smart
    charging ignores it (F01.FR.12).
    """
    id_token = id_token_from_message(request.id_token)
    group = id_token_from_message(request.group_id_token) if request.group_id_token else None
    claimant = Claimant(id_token, group)
    evse_id = request.evse_id if request.evse_id is not None else _select_evse(ctx, claimant)
    rejection = _start_rejection(ctx, claimant, evse_id)
    if rejection:
        yield _reject_start(call, *rejection)
        return
    assert evse_id is not None
    profile = request.charging_profile
    if refusal := find_start_refusal(ctx, evse_id, profile):
        yield _reject_start(call, *refusal)  # K05.FR.05
        return
    running = ctx.state.transactions.on_evse(evse_id)
    yield call_result(
        call,
        RequestStartTransactionResponse(
            status="Accepted",
            transaction_id=running.transaction_id if running else None,  # F01.FR.13
        ),
    )
    yield from install_with_start(ctx, evse_id, profile, request.remote_start_id)
    yield from _authorize_remote_start(ctx, claimant, evse_id, request.remote_start_id)


def _start_rejection(
    ctx: Context, claimant: Claimant, evse_id: int | None
) -> tuple[str, str] | None:
    """Reason code and text of a rejection; None: a transaction can start on the EVSE."""
    if not ctx.state.registration.is_accepted:
        return "CSNotAccepted", "not accepted by the CSMS yet"  # B02.FR.05
    if evse_id is None:
        return "TxInProgress", "every EVSE is taken or out of service"
    if evse_id not in ctx.state.lifecycle.evse_ids:
        return "UnknownEvse", f"there is no EVSE {evse_id}"
    if not is_in_service(ctx, evse_id):
        return "Unspecified", f"EVSE {evse_id} is out of service"  # F01.FR.23
    if ctx.state.authorizations.on_evse(evse_id) or has_stopping_transaction(ctx, evse_id):
        return "TxInProgress", f"EVSE {evse_id} is in use"  # F01.FR.24
    if find_obstacle(ctx, claimant, evse_id):
        # F01.FR.21, F01.FR.22, F02.FR.23, F02.FR.24: only the groupIdToken of the request counts
        return "InvalidIdToken", f"EVSE {evse_id} is reserved for another idToken"
    return None


def _reject_start(call: Call, code: str, text: str) -> Decision:
    return call_result(
        call,
        RequestStartTransactionResponse(status="Rejected", status_info=status_info(code, text)),
    )


def _authorize_remote_start(
    ctx: Context, claimant: Claimant, evse_id: int, remote_start_id: int
) -> Iterator[Decision]:
    """Grant it, or authorize the idToken first if AuthorizeRemoteStart is set. F01.FR.01/02.

    Tokens that the CSMS itself made are not authorized (C03.FR.01, C05.FR.01). Neither is one that
    uses a reservation by the group in the request, which the CSMS need not repeat in its answer;
    for a reservation the AuthorizeRequest is optional (H03 S2).
    """
    id_token, group = claimant.id_token, claimant.group_id_token
    needs_group = find_obstacle(ctx, Claimant(id_token), evse_id) is not None
    is_authorized = id_token.type in UNCACHED_TYPES or needs_group
    if is_authorized or not ctx.variable_boolean(AUTHORIZE_REMOTE_START):
        yield grant_authorization(
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


def _select_evse(ctx: Context, claimant: Claimant) -> int | None:
    """The EVSE reserved for it, one with an EV that waits for an authorization, or a free one.

    F01.FR.20, F02.FR.22.
    """
    waiting = find_evse_for(ctx, claimant)
    if waiting is not None and find_obstacle(ctx, claimant, waiting) is None:
        return waiting
    free = (
        evse.evse_id
        for evse in ctx.state.evses.all_evses
        if is_in_service(ctx, evse.evse_id)
        and ctx.state.authorizations.on_evse(evse.evse_id) is None
        and ctx.state.transactions.on_evse(evse.evse_id) is None
        and find_obstacle(ctx, claimant, evse.evse_id) is None
    )
    return next(free, waiting)


def request_stop_transaction(
    ctx: Context, call: Call, request: RequestStopTransactionRequest
) -> Iterator[Decision]:
    """End the authorization of a transaction. F03.FR.02, F03.FR.03, F03.FR.07, F03.FR.08."""
    transaction = ctx.state.transactions.by_id(request.transaction_id)
    if transaction is None or not ctx.state.registration.is_accepted:
        code = "TxNotFound" if transaction is None else "CSNotAccepted"
        yield call_result(
            call,
            RequestStopTransactionResponse(status="Rejected", status_info=status_info(code)),
        )
        return
    yield call_result(call, RequestStopTransactionResponse(status="Accepted"))
    if transaction.stop_order:
        return
    authorization = ctx.state.authorizations.on_evse(transaction.evse_id)
    if authorization:
        yield end_authorization(authorization, "RemoteStop", "Remote", "remote_stop")
    else:
        yield from _stop_without_authorization(ctx, transaction)


def _stop_without_authorization(ctx: Context, transaction: Transaction) -> Iterator[Decision]:
    """Stop a transaction that has no active authorization to end."""
    if stops_with_authorization(ctx):
        yield TransactionStopOrdered(
            transaction_id=transaction.transaction_id,
            trigger_reason="RemoteStop",
            stopped_reason="Remote",
            because=REMOTE_STOP,
        )
    else:
        yield build_transaction_event(ctx, transaction, "Updated", "RemoteStop")


# --- Unlock --------------------------------------------------------------------------------------


def unlock_connector(
    ctx: Context, call: Call, request: UnlockConnectorRequest
) -> Iterator[Decision]:
    """Answer UnlockFailed: a fixed cable has no lock at the station. F05.FR.01 to 06."""
    authorization = ctx.state.authorizations.on_evse(request.evse_id)
    if (request.evse_id, request.connector_id) not in ctx.state.lifecycle.connectors:
        yield call_result(call, UnlockConnectorResponse(status="UnknownConnector"))
    elif authorization and ctx.state.transactions.on_evse(request.evse_id):
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
    """Queue the requested message now; the response goes out first. F06.FR.04, F06.FR.05."""
    if request.requested_message in a_certificate_renewal.USE_BY_TRIGGER:
        use = a_certificate_renewal.USE_BY_TRIGGER[request.requested_message]
        yield from a_certificate_renewal.trigger_signing(ctx, call, use)
        return
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
    """Whether the product supports this trigger (C-29)."""
    return message == "Heartbeat" or message in ctx.product.profile.triggers


def _trigger_boot_notification(ctx: Context, evse: EVSEType | None) -> Iterator[Decision]:
    """Only while the CSMS has not accepted the station. F06.FR.17."""
    if not ctx.state.registration.is_accepted and ctx.state.outbox.boot_call_seq is None:
        yield build_boot_notification(ctx, "Triggered")


def _trigger_heartbeat(ctx: Context, evse: EVSEType | None) -> Iterator[Decision]:
    yield from queue_call(ctx, HeartbeatRequest(), solicited=True)


def _trigger_status_notification(ctx: Context, evse: EVSEType | None) -> Iterator[Decision]:
    """Only for a connector that the request names. F06.FR.12, F06.FR.13."""
    if evse is None or evse.connector_id is None:
        return
    connector = evse.id, evse.connector_id
    if connector in ctx.state.lifecycle.connectors:
        status = current_connector_status(ctx, *connector)
        yield from queue_status_notification(ctx, *connector, status, solicited=True)


def _trigger_transaction_events(ctx: Context, evse: EVSEType | None) -> Iterator[Decision]:
    """For the EVSE in the request, or for every EVSE with a transaction. F06.FR.07, F06.FR.11."""
    for transaction in ctx.state.transactions.open:
        if evse is None or evse.id == transaction.evse_id:
            yield build_transaction_event(ctx, transaction, "Updated", "Trigger")


def _trigger_log_status(ctx: Context, evse: EVSEType | None) -> Iterator[Decision]:
    yield from n_logs.trigger_log_status(ctx)


def _trigger_firmware_status(ctx: Context, evse: EVSEType | None) -> Iterator[Decision]:
    yield from l_firmware.trigger_firmware_status(ctx)


# MessageTriggerEnumType -> what queues the message
TRIGGERS: Final[dict[str, Callable[[Context, EVSEType | None], Iterator[Decision]]]] = {
    "BootNotification": _trigger_boot_notification,
    "LogStatusNotification": _trigger_log_status,
    "FirmwareStatusNotification": _trigger_firmware_status,
    "Heartbeat": _trigger_heartbeat,
    "MeterValues": trigger_meter_values,
    "StatusNotification": _trigger_status_notification,
    "TransactionEvent": _trigger_transaction_events,
}

CALLS: Final[dict[str, CallHandler]] = {
    "RequestStartTransaction": request_start_transaction,
    "RequestStopTransaction": request_stop_transaction,
    "UnlockConnector": unlock_connector,
    "TriggerMessage": trigger_message,
}
ANSWER_REASONS: Final[AnswerReasons] = {
    ("TriggerMessage", "NotImplemented"): Reason(
        "the station does not send that message", "F06.FR.08"
    ),
    ("TriggerMessage", "Rejected"): Reason(
        "the station has nothing to send in that message", "F06.FR.05"
    ),
    ("UnlockConnector", "OngoingAuthorizedTransaction"): Reason(
        "an authorized transaction is open there", "F05.FR.02"
    ),
    ("UnlockConnector", "UnknownConnector"): Reason(
        "the station has no such connector", "F05.FR.03"
    ),
}
REFUSALS: Final[Refusals] = {
    ("RequestStartTransaction", "CSNotAccepted"): "B02.FR.05",
    ("RequestStartTransaction", "InvalidIdToken"): "F01.FR.21, F01.FR.22",
    ("RequestStartTransaction", "TxInProgress"): "F01.FR.24",
    ("RequestStartTransaction", "Unspecified"): "F01.FR.23",
    ("RequestStopTransaction", "CSNotAccepted"): "B02.FR.05",
    ("RequestStopTransaction", "TxNotFound"): "F03.FR.08",
}
