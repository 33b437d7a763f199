"""GetMonitoringReport and NotifyMonitoringReport. N02.

A report is split as reports of the device model are (`DeviceDataCtrlr.ItemsPerMessage[GetReport]`).
While parts of a report wait, another request is refused, so that what waits stays bounded (P6).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

import msgspec

from journal.events import Decision
from journal.projections.outbox import CallQueued
from station.core.blocks.n_monitoring.active_monitors import active_monitors
from station.core.blocks.n_monitoring.configuration import UNSUPPORTED_REQUEST
from station.core.blocks.n_monitoring.support import (
    component_for_message,
    component_of,
    requires_monitoring,
)
from station.core.context import Call, Context, call_error, call_result, status_info
from station.core.device_model.monitors import VariableMonitor
from station.core.device_model.reports import ReportFilter, split_into_messages
from station.ocpp.messages import encode, format_timestamp
from station.ocpp.messages.datatypes import ComponentVariableType, VariableType
from station.ocpp.messages.n_diagnostics import (
    GetMonitoringReportRequest,
    GetMonitoringReportResponse,
    MonitoringDataType,
    VariableMonitoringType,
)

REPORT_ACTION: Final = "NotifyMonitoringReport"
ITEMS_PER_MESSAGE: Final = "DeviceDataCtrlr.ItemsPerMessage[GetReport]"
BYTES_PER_MESSAGE: Final = "DeviceDataCtrlr.BytesPerMessage[GetReport]"
REPORT_BYTES: Final = 60_000  # of one message, if the device model has no limit
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
    items_max = ctx.variable_integer(ITEMS_PER_MESSAGE)
    if items_max and len(request.component_variable or ()) > items_max:  # N02.FR.07
        yield call_error(call, "OccurrenceConstraintViolation", f"at most {items_max} items")
        return
    bytes_max = ctx.variable_integer(BYTES_PER_MESSAGE)
    if bytes_max and len(call.payload) > bytes_max:
        yield call_error(call, "FormatViolation", f"at most {bytes_max} bytes")
        return
    if ctx.state.outbox.general_count(REPORT_ACTION) > 0:
        reason = status_info("InvalidMessageSeq", "an earlier report is still being sent")
        yield call_result(call, GetMonitoringReportResponse(status="Rejected", status_info=reason))
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
    filters = [_filter_of(item) for item in request.component_variable or ()]
    return tuple(
        monitor
        for monitor in active_monitors(ctx.product.device_model, ctx.state.monitors).ordered
        if monitor.is_reported
        and monitor.type in types
        and (not filters or any(each.matches(monitor.definition.key) for each in filters))
    )


def _filter_of(item: ComponentVariableType) -> ReportFilter:
    """What a component variable leaves out matches all. N02.FR.16 to 21."""
    return ReportFilter(
        component_of(item.component),
        item.variable.name if item.variable else None,
        item.variable.instance if item.variable else None,
    )


def _queue_report(
    ctx: Context, request_id: int, monitors: Sequence[VariableMonitor]
) -> Iterator[Decision]:
    """Queue the report in parts that each fit a message. N02.FR.03, N02.FR.04, N02.FR.09."""
    items = [
        encode(_monitoring_data(tuple(group)))
        for _, group in groupby(monitors, key=lambda each: each.definition.path)
    ]
    parts = split_into_messages(
        [len(item) for item in items],
        ctx.variable_integer(ITEMS_PER_MESSAGE, default=len(items)),
        ctx.variable_integer(BYTES_PER_MESSAGE, default=REPORT_BYTES),
    )
    for seq_no, part in enumerate(parts):
        body = {
            "requestId": request_id,
            "generatedAt": format_timestamp(ctx.now),
            "seqNo": seq_no,
            "tbc": seq_no < len(parts) - 1,
            "monitor": [msgspec.Raw(items[index]) for index in part],
        }
        yield CallQueued(
            lane="general",
            action=REPORT_ACTION,
            payload=msgspec.Raw(msgspec.json.encode(body)),
            keep_when_offline=ctx.variable_boolean("OCPPCommCtrlr.QueueAllMessages"),
            requested_by_csms=True,  # B02.FR.02
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
