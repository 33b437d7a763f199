"""How does the CSMS read, set and list the device model? (B05 to B08)"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import msgspec

from journal.events import Decision
from journal.projections.outbox import CallQueued
from journal.projections.variables import VariableChanged
from station.core.blocks import a_security, b_networks
from station.core.blocks.measured_variables import read_measured_value
from station.core.context import (
    Call,
    CallHandler,
    Context,
    Rule,
    call_error,
    call_result,
    status_info,
)
from station.core.device_model.definitions import (
    Refusal,
    VariableDefinition,
    check_readable,
    check_settable,
)
from station.core.device_model.model import Component, attribute_value
from station.core.device_model.reports import (
    CRITERIA,
    INVENTORIES,
    ReportFilter,
    report_data,
    select_variables,
    split_into_messages,
)
from station.ocpp.messages import format_timestamp
from station.ocpp.messages.b_provisioning import (
    GetBaseReportRequest,
    GetBaseReportResponse,
    GetReportRequest,
    GetReportResponse,
    GetVariableDataType,
    GetVariableResultType,
    GetVariablesRequest,
    GetVariablesResponse,
    SetVariableDataType,
    SetVariableResultType,
    SetVariablesRequest,
    SetVariablesResponse,
)
from station.ocpp.messages.datatypes import ComponentType, StatusInfoType

ITEMS_PER_MESSAGE: Final = "DeviceDataCtrlr.ItemsPerMessage[{}]"
INVALID_SECRET: Final = "<unfit secret>"  # where one broke its rule, or could not be stored
BYTES_PER_MESSAGE: Final = "DeviceDataCtrlr.BytesPerMessage[{}]"


def component_from_message(component: ComponentType) -> Component:
    """A component as the device model names it."""
    evse = component.evse
    return Component(
        component.name,
        component.instance or None,
        evse.id if evse else None,
        evse.connector_id if evse else None,
    )


def read_attribute(
    ctx: Context, definition: VariableDefinition, attribute_type: str = "Actual"
) -> str:
    """An attribute as it is right now."""
    return attribute_value(
        definition, ctx.state.variables.values, partial(read_measured_value, ctx), attribute_type
    )


# --- Reading -------------------------------------------------------------------------------------


def get_variables(ctx: Context, call: Call, request: GetVariablesRequest) -> Iterator[Decision]:
    """One result for each attribute asked for. B06.FR.01 to 17."""
    asked = request.get_variable_data
    if excess := _check_message_size(ctx, call, "GetVariables", len(asked)):
        yield excess
        return
    results = tuple(_get_variable(ctx, one) for one in asked)
    yield call_result(call, GetVariablesResponse(get_variable_result=results))


def _check_message_size(ctx: Context, call: Call, action: str, items: int) -> Decision | None:
    """More than a message may hold. B06.FR.16, B06.FR.17, B08.FR.17, B08.FR.18."""
    items_max = ctx.variable_integer(ITEMS_PER_MESSAGE.format(action))
    if items_max and items > items_max:
        return call_error(call, "OccurrenceConstraintViolation", f"at most {items_max} items")
    bytes_max = ctx.variable_integer(BYTES_PER_MESSAGE.format(action))
    if bytes_max and len(call.payload) > bytes_max:
        return call_error(call, "FormatViolation", f"at most {bytes_max} bytes")
    return None


def _get_variable(ctx: Context, variable_data: GetVariableDataType) -> GetVariableResultType:
    attribute_type = variable_data.attribute_type or "Actual"  # B06.FR.11
    found = ctx.product.device_model.find_variable(
        component_from_message(variable_data.component),
        variable_data.variable.name,
        variable_data.variable.instance,
    )
    refusal = found if isinstance(found, Refusal) else check_readable(found, attribute_type)
    value = None
    if refusal is None:
        assert not isinstance(found, Refusal)
        value = read_attribute(ctx, found, attribute_type)[:2500]
    return GetVariableResultType(
        attribute_status=refusal.status if refusal else "Accepted",
        attribute_status_info=_refusal_info(refusal),
        attribute_type=attribute_type,
        attribute_value=value,
        component=variable_data.component,
        variable=variable_data.variable,
    )


def _refusal_info(refusal: Refusal | None) -> StatusInfoType | None:
    return status_info(refusal.reason_code, refusal.info) if refusal else None


# --- Setting -------------------------------------------------------------------------------------


def set_variables(ctx: Context, call: Call, request: SetVariablesRequest) -> Iterator[Decision]:
    """One result for each attribute to set; each stands for itself. B05.FR.01 to 13."""
    asked = request.set_variable_data
    if excess := _check_message_size(ctx, call, "SetVariables", len(asked)):
        yield excess
        return
    results = []
    for one in asked:
        result, changes = _set_variable(ctx, one)
        results.append(result)
        yield from changes
    yield call_result(call, SetVariablesResponse(set_variable_result=tuple(results)))


def _set_variable(
    ctx: Context, variable_data: SetVariableDataType
) -> tuple[SetVariableResultType, Sequence[Decision]]:
    attribute_type = variable_data.attribute_type or "Actual"  # B05.FR.12
    found = ctx.product.device_model.find_variable(
        component_from_message(variable_data.component),
        variable_data.variable.name,
        variable_data.variable.instance,
    )
    refusal = (
        found
        if isinstance(found, Refusal)
        else _check_new_value(found, attribute_type, variable_data)
    )
    if refusal is None and not isinstance(found, Refusal) and found.path in SEMANTIC_CHECKS:
        refusal = SEMANTIC_CHECKS[found.path](ctx, variable_data.attribute_value)
    changes: Sequence[Decision] = ()
    status = "Accepted"  # B05.FR.10
    if refusal is None:
        assert not isinstance(found, Refusal)
        changes = (
            VariableChanged(found.attribute_path(attribute_type), variable_data.attribute_value),
            *CHANGE_EFFECTS.get(found.path, _no_effect)(ctx),
        )
        status = "RebootRequired" if found.reboot_required else "Accepted"
    return (
        SetVariableResultType(
            attribute_status=refusal.status if refusal else status,  # type: ignore[arg-type]
            attribute_status_info=_refusal_info(refusal),
            attribute_type=attribute_type,
            component=variable_data.component,
            variable=variable_data.variable,
        ),
        changes,
    )


def _check_new_value(
    definition: VariableDefinition, attribute_type: str, variable_data: SetVariableDataType
) -> Refusal | None:
    """B05.FR.06 to 09. Of a secret, only its reference and whether it is fit come this far."""
    if not definition.secret:
        return check_settable(definition, attribute_type, variable_data.attribute_value)
    if definition.find_attribute(attribute_type) is None:
        return check_settable(definition, attribute_type, "")
    if variable_data.attribute_value == INVALID_SECRET:
        return Refusal("Rejected", "InvalidValue", f"{definition.path}: not a fit secret")
    return None


def _log_password_change(ctx: Context) -> Iterator[Decision]:
    """The link reconnects with the new one by itself. A01.FR.11, A01.FR.12."""
    yield from a_security.log_security_event(
        ctx, "ReconfigurationOfSecurityParameters", "BasicAuthPassword set"
    )


def _no_effect(ctx: Context) -> Iterator[Decision]:
    return iter(())


# --- Reports -------------------------------------------------------------------------------------


def get_base_report(ctx: Context, call: Call, request: GetBaseReportRequest) -> Iterator[Decision]:
    """Report a named part of the device model. B07.FR.01 to 13."""
    inventory = INVENTORIES.get(request.report_base)
    if inventory is None or not _supports_report_base(ctx, request.report_base):
        yield call_result(call, GetBaseReportResponse(status="NotSupported"))  # B07.FR.02
        return
    definitions = tuple(inventory(ctx.product.device_model, partial(read_attribute, ctx)))
    if not definitions:
        yield call_result(call, GetBaseReportResponse(status="EmptyResultSet"))
        return
    yield call_result(call, GetBaseReportResponse(status="Accepted"))
    yield from _queue_report(ctx, request.request_id, definitions)


def _supports_report_base(ctx: Context, base: str) -> bool:
    return base != "SummaryInventory" or ctx.product.profile.supports("C-56")


def get_report(ctx: Context, call: Call, request: GetReportRequest) -> Iterator[Decision]:
    """Report what matches. B08.FR.01 to 25."""
    asked = request.component_variable or ()
    if excess := _check_message_size(ctx, call, "GetReport", len(asked)):
        yield excess
        return
    criteria = request.component_criteria or ()
    if not set(criteria) <= set(CRITERIA):
        yield call_result(call, GetReportResponse(status="NotSupported"))  # B08.FR.02
        return
    wanted = tuple(
        ReportFilter(
            component_from_message(one.component),
            one.variable.name if one.variable else None,
            one.variable.instance if one.variable else None,
        )
        for one in asked
    )
    definitions = tuple(
        select_variables(ctx.product.device_model, criteria, wanted, partial(read_attribute, ctx))
    )
    if not definitions:
        yield call_result(call, GetReportResponse(status="EmptyResultSet"))  # B08.FR.15
        return
    yield call_result(call, GetReportResponse(status="Accepted"))
    yield from _queue_report(ctx, request.request_id, definitions)


def _queue_report(
    ctx: Context, request_id: int, definitions: Sequence[VariableDefinition]
) -> Iterator[Decision]:
    """The report, in parts that each fit a message. B07.FR.03/04/10, B08.FR.03/04/14."""
    overrides, live = ctx.state.variables.values, partial(read_measured_value, ctx)
    items = [msgspec.json.encode(report_data(one, overrides, live)) for one in definitions]
    parts = split_into_messages(
        [len(item) for item in items],
        ctx.variable_integer(ITEMS_PER_MESSAGE.format("GetReport"), default=len(items)),
        ctx.variable_integer(BYTES_PER_MESSAGE.format("GetReport"), default=1 << 30),
    )
    for seq_no, part in enumerate(parts):
        body = {
            "requestId": request_id,
            "generatedAt": format_timestamp(ctx.now),
            "seqNo": seq_no,
            "tbc": seq_no < len(parts) - 1,
            "reportData": [msgspec.Raw(items[place]) for place in part],
        }
        yield CallQueued(
            lane="general",
            action="NotifyReport",
            payload=msgspec.Raw(msgspec.json.encode(body)),
            keep_when_offline=ctx.variable_boolean("OCPPCommCtrlr.QueueAllMessages"),
            requested_by_csms=True,  # B02.FR.02
        )


# What else a value must make sense with, besides the definition of its variable.
SEMANTIC_CHECKS: Final[dict[str, Callable[[Context, str], Refusal | None]]] = {
    b_networks.CONFIGURATION_PRIORITY: b_networks.check_priority,
}

# What else follows when a variable is set.
CHANGE_EFFECTS: Final[dict[str, Rule]] = {"SecurityCtrlr.BasicAuthPassword": _log_password_change}

CALLS: dict[str, CallHandler] = {
    "GetVariables": get_variables,
    "SetVariables": set_variables,
    "GetBaseReport": get_base_report,
    "GetReport": get_report,
}
