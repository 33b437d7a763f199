"""Answers to actions that the product does not support.

If the response has a status for a refusal, that status with a reason code of Part 2 appendix 5;
otherwise, or if the specification requires it, a CALLERROR NotSupported (Part 4 §4.3). An action
that is supported is in CALLS of its block and not here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.events import Decision
from station.core.context import Call, CallHandler, Context, call_result, status_info
from station.core.reasons import Refusals
from station.ocpp.messages import Datatype
from station.ocpp.messages.d_local_list import GetLocalListVersionResponse, SendLocalListResponse
from station.ocpp.messages.h_reservation import CancelReservationResponse, ReserveNowResponse
from station.ocpp.messages.l_firmware import PublishFirmwareResponse, UnpublishFirmwareResponse
from station.ocpp.messages.n_diagnostics import (
    ClearMonitoringResultType,
    ClearVariableMonitoringRequest,
    ClearVariableMonitoringResponse,
    GetMonitoringReportResponse,
    SetMonitoringBaseResponse,
    SetMonitoringLevelResponse,
    SetMonitoringResultType,
    SetVariableMonitoringRequest,
    SetVariableMonitoringResponse,
)

UNSUPPORTED_REQUEST: Final = status_info("UnsupportedRequest")
NOT_ENABLED: Final = status_info("NotEnabled")
NOT_FOUND: Final = status_info("NotFound")


def _fixed_response(response: Datatype) -> CallHandler:
    """A handler that gives the same response to every request."""

    def handler(ctx: Context, call: Call, request: Datatype) -> Iterator[Decision]:
        yield call_result(call, response)

    return handler


def set_variable_monitoring(
    ctx: Context, call: Call, request: SetVariableMonitoringRequest
) -> Iterator[Decision]:
    """Reject each monitor. N04.FR.01."""
    results = tuple(
        SetMonitoringResultType(
            status="Rejected",
            type=item.type,
            component=item.component,
            variable=item.variable,
            severity=item.severity,
            status_info=UNSUPPORTED_REQUEST,
        )
        for item in request.set_monitoring_data
    )
    yield call_result(call, SetVariableMonitoringResponse(set_monitoring_result=results))


def clear_variable_monitoring(
    ctx: Context, call: Call, request: ClearVariableMonitoringRequest
) -> Iterator[Decision]:
    """Answer NotFound for each id: there are no monitors. N06.FR.01, N06.FR.02."""
    results = tuple(
        ClearMonitoringResultType(status="NotFound", id=monitor_id) for monitor_id in request.id
    )
    yield call_result(call, ClearVariableMonitoringResponse(clear_monitoring_result=results))


_RESPONSES: Final[dict[str, Datatype]] = {
    # D01: there is no local list
    "SendLocalList": SendLocalListResponse(status="Failed", status_info=NOT_ENABLED),
    # D02.FR.03
    "GetLocalListVersion": GetLocalListVersionResponse(version_number=0),
    # H01.FR.01
    "ReserveNow": ReserveNowResponse(status="Rejected", status_info=NOT_ENABLED),
    # H02.FR.01
    "CancelReservation": CancelReservationResponse(status="Rejected", status_info=NOT_FOUND),
    # L03: only for Local Controllers
    "PublishFirmware": PublishFirmwareResponse(status="Rejected", status_info=UNSUPPORTED_REQUEST),
    # L04: no firmware was published
    "UnpublishFirmware": UnpublishFirmwareResponse(status="NoFirmware"),
    # N02.FR.02
    "GetMonitoringReport": GetMonitoringReportResponse(
        status="NotSupported", status_info=UNSUPPORTED_REQUEST
    ),
    # N03.FR.02
    "SetMonitoringBase": SetMonitoringBaseResponse(
        status="NotSupported", status_info=UNSUPPORTED_REQUEST
    ),
    # N05
    "SetMonitoringLevel": SetMonitoringLevelResponse(
        status="Rejected", status_info=UNSUPPORTED_REQUEST
    ),
}

CALLS: Final[dict[str, CallHandler]] = {
    **{action: _fixed_response(response) for action, response in _RESPONSES.items()},
    "SetVariableMonitoring": set_variable_monitoring,
    "ClearVariableMonitoring": clear_variable_monitoring,
}
REFUSALS: Final[Refusals] = {("ReserveNow", "NotEnabled"): "H01.FR.01"}
