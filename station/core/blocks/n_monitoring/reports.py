"""GetMonitoringReport and NotifyMonitoringReport. N02.

The limits of a report are those of the device model: `DeviceDataCtrlr.ItemsPerMessage[GetReport]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from journal.events import Decision
from station.core.blocks.n_monitoring.active_monitors import active_monitors
from station.core.blocks.n_monitoring.configuration import UNSUPPORTED_REQUEST
from station.core.blocks.n_monitoring.support import (
    requires_monitoring,
)
from station.core.context import Call, Context, call_result, component_for_message, status_info
from station.core.device_model.monitors import VariableMonitor
from station.core.report_messages import (
    REPORT_QUEUED,
    check_message_size,
    filter_of_request,
    is_report_queued,
    limits_of_message,
    queue_numbered_report,
)
from station.ocpp.messages import encode
from station.ocpp.messages.datatypes import VariableType
from station.ocpp.messages.n_diagnostics import (
    GetMonitoringReportRequest,
    GetMonitoringReportResponse,
    MonitoringDataType,
    VariableMonitoringType,
)

REPORT_ACTION: Final = "NotifyMonitoringReport"
REPORT_LIMITS: Final = limits_of_message("DeviceDataCtrlr", "GetReport")  # N02.FR.07
# MonitoringCriterionEnumType. N02.FR.12 to 14
TYPES_BY_CRITERION: Final = {
    "ThresholdMonitoring": ("UpperThreshold", "LowerThreshold"),
    "DeltaMonitoring": ("Delta",),
    "PeriodicMonitoring": ("Periodic", "PeriodicClockAligned"),
}


@requires_monitoring(
    lambda _: GetMonitoringReportResponse(status="NotSupported", status_info=UNSUPPORTED_REQUEST)
)
def get_monitoring_report(
    ctx: Context, call: Call, request: GetMonitoringReportRequest
) -> Iterator[Decision]:
    """Report the monitors that match. N02.FR.01 to 21."""
    if refusal := check_message_size(
        ctx, call, len(request.component_variable or ()), REPORT_LIMITS
    ):
        yield refusal
        return
    if is_report_queued(ctx, REPORT_ACTION):
        response = GetMonitoringReportResponse(status="Rejected", status_info=REPORT_QUEUED)
        yield call_result(call, response)
        return
    selected = select_monitors(ctx, request)
    if not selected:
        response = GetMonitoringReportResponse(  # N02.FR.10
            status="EmptyResultSet", status_info=status_info("NotFound")
        )
        yield call_result(call, response)
        return
    yield call_result(call, GetMonitoringReportResponse(status="Accepted"))
    yield from _queue_report(ctx, request.request_id, selected)


def select_monitors(
    ctx: Context, request: GetMonitoringReportRequest
) -> tuple[VariableMonitor, ...]:
    """The monitors that match both criteria and component variables, if given."""
    types = {
        monitor_type
        for criterion in request.monitoring_criteria or TYPES_BY_CRITERION
        for monitor_type in TYPES_BY_CRITERION[criterion]
    }
    filters = [filter_of_request(item) for item in request.component_variable or ()]
    return tuple(
        monitor
        for monitor in active_monitors(ctx.product.device_model, ctx.state.monitors).ordered
        if monitor.is_reported
        and monitor.type in types
        and (not filters or any(each.matches(monitor.definition.key) for each in filters))
    )


def _queue_report(
    ctx: Context, request_id: int, monitors: Sequence[VariableMonitor]
) -> Iterator[Decision]:
    """Queue the report of these monitors: an item for each variable."""
    items = [
        encode(_monitoring_data(tuple(group)))
        for _, group in groupby(monitors, key=lambda each: each.definition.path)
    ]
    yield from queue_numbered_report(
        ctx, REPORT_ACTION, request_id, "monitor", items, REPORT_LIMITS
    )


def _monitoring_data(monitors: Sequence[VariableMonitor]) -> MonitoringDataType:
    """The monitors of one variable."""
    key = monitors[0].definition.key
    return MonitoringDataType(
        component=component_for_message(key.component),
        variable=VariableType(name=key.name, instance=key.instance),
        variable_monitoring=tuple(
            VariableMonitoringType(
                id=monitor.id,
                transaction=monitor.transaction,
                value=monitor.value,
                type=monitor.type,
                severity=monitor.severity,
            )
            for monitor in monitors
        ),
    )
