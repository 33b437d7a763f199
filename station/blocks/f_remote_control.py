"""What may the CSMS order from afar: start, stop, unlock, speak? (Block F)"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.projections.transactions import Transaction, TransactionStopping
from journal.terms import Decision, IdToken
from station.blocks import l_firmware, n_logs
from station.blocks.b_registration import boot_notification
from station.blocks.c_authorization import UNCACHED, grant, waiting_evse, wish
from station.blocks.e_transactions import FINAL_POINTS, STOP_POINT, end_of, event
from station.blocks.g_availability import connector_status, status_notification
from station.blocks.j_metering import triggered_meter_values
from station.blocks.standing import in_service
from station.case import Call, Case, Handler, answer, reason, say, token_of
from station.messages.datatypes import EVSEType
from station.messages.f_remote_control import (
    RequestStartTransactionRequest,
    RequestStartTransactionResponse,
    RequestStopTransactionRequest,
    RequestStopTransactionResponse,
    TriggerMessageRequest,
    TriggerMessageResponse,
    UnlockConnectorRequest,
    UnlockConnectorResponse,
)
from station.messages.g_availability import HeartbeatRequest

AUTHORIZE_REMOTE: Final = "AuthCtrlr.AuthorizeRemoteStart"


# --- Start and stop ------------------------------------------------------------------------------


def request_start(
    case: Case, call: Call, request: RequestStartTransactionRequest
) -> Iterator[Decision]:
    """Start for a token the CSMS names, as if it had been shown here. F01, F02, C03, C05.

    A charging profile is ignored, as a product without smart charging must. F01.FR.12.
    """
    if not case.state.registration.accepted:
        yield _start_refused(call, "CSNotAccepted", "not accepted by the CSMS yet")  # B02.FR.05
        return
    if request.evse_id is not None and request.evse_id not in case.state.lifecycle.evse_ids:
        yield _start_refused(call, "UnknownEvse", f"there is no EVSE {request.evse_id}")
        return
    evse_id = request.evse_id if request.evse_id is not None else _chosen_evse(case)
    if evse_id is None:
        yield _start_refused(call, "TxInProgress", "every EVSE is taken or out of service")
        return
    if not in_service(case, evse_id):
        yield _start_refused(call, "Unspecified", f"EVSE {evse_id} is out of service")  # F01.FR.23
        return
    if case.state.authorizations.at(evse_id) or _ending(case, evse_id):
        yield _start_refused(call, "TxInProgress", f"EVSE {evse_id} is in use")  # F01.FR.24
        return
    running = case.state.transactions.at(evse_id)
    yield answer(
        call,
        RequestStartTransactionResponse(
            status="Accepted",
            transaction_id=running.transaction_id if running else None,  # F01.FR.13
        ),
    )
    id_token = token_of(request.id_token)
    group = token_of(request.group_id_token) if request.group_id_token else None
    yield from _begin(case, id_token, group, evse_id, request.remote_start_id)


def _begin(
    case: Case, id_token: IdToken, group: IdToken | None, evse_id: int, remote_start_id: int
) -> Iterator[Decision]:
    """F01.FR.01, F01.FR.02; the CSMS's own tokens are not asked about. C03.FR.01, C05.FR.01."""
    if id_token.type in UNCACHED or not case.flag(AUTHORIZE_REMOTE):
        yield grant(
            case,
            id_token,
            "Remote",
            evse_id=evse_id,
            group=group,
            remote_start_id=remote_start_id,
        )
        return
    yield from wish(case, id_token, evse_id=evse_id, group=group, remote_start_id=remote_start_id)


def _ending(case: Case, evse_id: int) -> bool:
    transaction = case.state.transactions.at(evse_id)
    return transaction is not None and transaction.stopping is not None


def _chosen_evse(case: Case) -> int | None:
    """The EVSE that waits for somebody, else the first that is free. F01.FR.20, F02.FR.22."""
    waiting = waiting_evse(case)
    if waiting is not None:
        return waiting
    for evse in case.state.hardware.evses:
        if (
            in_service(case, evse.evse_id)
            and case.state.authorizations.at(evse.evse_id) is None
            and case.state.transactions.at(evse.evse_id) is None
        ):
            return evse.evse_id
    return None


def _start_refused(call: Call, code: str, text: str) -> Decision:
    return answer(
        call, RequestStartTransactionResponse(status="Rejected", status_info=reason(code, text))
    )


def request_stop(
    case: Case, call: Call, request: RequestStopTransactionRequest
) -> Iterator[Decision]:
    """End the right to charge of a transaction. F03.FR.02, F03.FR.03, F03.FR.07, F03.FR.08."""
    transaction = case.state.transactions.of(request.transaction_id)
    if transaction is None or not case.state.registration.accepted:
        code = "TxNotFound" if transaction is None else "CSNotAccepted"
        yield answer(
            call,
            RequestStopTransactionResponse(status="Rejected", status_info=reason(code)),
        )
        return
    yield answer(call, RequestStopTransactionResponse(status="Accepted"))
    held = case.state.authorizations.at(transaction.evse_id)
    if held and not transaction.stopping:
        yield end_of(held, "RemoteStop", "Remote")
    elif not transaction.stopping:
        yield from _stop_unauthorised(case, transaction)


def _stop_unauthorised(case: Case, transaction: Transaction) -> Iterator[Decision]:
    """Nobody may charge any more, or never could: there is no right that could end."""
    if FINAL_POINTS & set(case.members(STOP_POINT)):
        yield TransactionStopping(
            transaction_id=transaction.transaction_id,
            trigger_reason="RemoteStop",
            stopped_reason="Remote",
        )
    else:
        yield event(case, transaction, "Updated", "RemoteStop")


# --- Unlock --------------------------------------------------------------------------------------


def unlock_connector(case: Case, call: Call, request: UnlockConnectorRequest) -> Iterator[Decision]:
    """A fixed cable has nothing to unlock; the EV's inlet holds the plug. F05.FR.01 to 06."""
    where = request.evse_id, request.connector_id
    held = case.state.authorizations.at(request.evse_id)
    if where not in case.state.lifecycle.connectors:
        yield answer(call, UnlockConnectorResponse(status="UnknownConnector"))
    elif held and case.state.transactions.at(request.evse_id):
        yield answer(call, UnlockConnectorResponse(status="OngoingAuthorizedTransaction"))
    else:
        yield answer(
            call,
            UnlockConnectorResponse(
                status="UnlockFailed",
                status_info=reason("FixedCable", "the cable is fixed to the station"),
            ),
        )


# --- Trigger -------------------------------------------------------------------------------------


def trigger_message(case: Case, call: Call, request: TriggerMessageRequest) -> Iterator[Decision]:
    """Say now what would be said later. The answer goes first. F06.FR.04, F06.FR.05."""
    trigger = TRIGGERS.get(request.requested_message)
    if trigger is None or not _offered(case, request.requested_message):
        yield answer(call, TriggerMessageResponse(status="NotImplemented"))  # F06.FR.08
        return
    decisions = tuple(trigger(case, request.evse))
    if not decisions:
        yield answer(call, TriggerMessageResponse(status="Rejected"))
        return
    yield answer(call, TriggerMessageResponse(status="Accepted"))
    yield from decisions  # F06.FR.10


def _offered(case: Case, message: str) -> bool:
    """Whether the product answers to this trigger (C-29)."""
    return message == "Heartbeat" or message in case.product.profile.triggers


def _boot(case: Case, evse: EVSEType | None) -> Iterator[Decision]:
    if not case.state.registration.accepted and case.state.outbox.boot is None:  # F06.FR.17
        yield boot_notification(case, "Triggered")


def _heartbeat(case: Case, evse: EVSEType | None) -> Iterator[Decision]:
    yield from say(case, HeartbeatRequest(), solicited=True)


def _statuses(case: Case, evse: EVSEType | None) -> Iterator[Decision]:
    """Only for a connector that is named. F06.FR.12, F06.FR.13."""
    if evse is None or evse.connector_id is None:
        return
    where = evse.id, evse.connector_id
    if where in case.state.lifecycle.connectors:
        status = connector_status(case, *where)
        yield from status_notification(case, *where, status, solicited=True)


def _transactions(case: Case, evse: EVSEType | None) -> Iterator[Decision]:
    """F06.FR.07, F06.FR.11: for the EVSE that is named, or every one that has a transaction."""
    for transaction in case.state.transactions.open:
        if evse is None or evse.id == transaction.evse_id:
            yield event(case, transaction, "Updated", "Trigger")


def _log_status(case: Case, evse: EVSEType | None) -> Iterator[Decision]:
    yield from n_logs.triggered(case)


def _firmware_status(case: Case, evse: EVSEType | None) -> Iterator[Decision]:
    yield from l_firmware.triggered(case)


TRIGGERS: Final = {
    "BootNotification": _boot,
    "LogStatusNotification": _log_status,
    "FirmwareStatusNotification": _firmware_status,
    "Heartbeat": _heartbeat,
    "MeterValues": triggered_meter_values,
    "StatusNotification": _statuses,
    "TransactionEvent": _transactions,
}

CALLS: dict[str, Handler] = {
    "RequestStartTransaction": request_start,
    "RequestStopTransaction": request_stop,
    "UnlockConnector": unlock_connector,
    "TriggerMessage": trigger_message,
}
