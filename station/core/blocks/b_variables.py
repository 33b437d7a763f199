"""GetVariables, SetVariables, GetBaseReport, GetReport. B05 to B08.

The definitions and their checks are in `station.core.device_model`; values come from the state
(what was set), from `measured_variables` (what the station measures) or from the definition (the
factory value). `SEMANTIC_CHECKS` and `CHANGE_EFFECTS` are for variables that depend on more than
their own definition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import msgspec

from journal.events import Decision
from journal.projections.variables import VariableChanged
from station.core.blocks import a_security, b_networks
from station.core.blocks.measured_variables import read_measured_value
from station.core.context import (
    Call,
    CallHandler,
    Context,
    Rule,
    call_result,
    component_from_message,
    status_info,
)
from station.core.device_model.definitions import (
    Refusal,
    VariableDefinition,
    check_readable,
    check_settable,
)
from station.core.device_model.model import attribute_value
from station.core.device_model.reports import (
    CRITERIA,
    INVENTORIES,
    report_data,
    select_variables,
)
from station.core.reasons import AnswerReasons, Reason
from station.core.report_messages import (
    REPORT_QUEUED,
    check_message_size,
    filter_of_request,
    is_report_queued,
    limits_of_message,
    queue_numbered_report,
)
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
from station.ocpp.messages.datatypes import StatusInfoType

CONTROLLER: Final = "DeviceDataCtrlr"
GET_LIMITS: Final = limits_of_message(CONTROLLER, "GetVariables")
SET_LIMITS: Final = limits_of_message(CONTROLLER, "SetVariables")
REPORT_LIMITS: Final = limits_of_message(CONTROLLER, "GetReport")  # B07: of GetBaseReport too
REPORT_ACTION: Final = "NotifyReport"
INVALID_SECRET: Final = "<unfit secret>"  # in place of one that broke its rule or was not stored


def read_attribute(
    ctx: Context, definition: VariableDefinition, attribute_type: str = "Actual"
) -> str:
    """The value of an attribute at this entry."""
    return attribute_value(
        definition, ctx.state.variables.values, partial(read_measured_value, ctx), attribute_type
    )


# --- Reading -------------------------------------------------------------------------------------


def get_variables(ctx: Context, call: Call, request: GetVariablesRequest) -> Iterator[Decision]:
    """One result for each attribute requested. B06.FR.01 to 17."""
    items = request.get_variable_data
    if refusal := check_message_size(ctx, call, len(items), GET_LIMITS):
        yield refusal
        return
    results = tuple(_get_variable(ctx, item) for item in items)
    yield call_result(call, GetVariablesResponse(get_variable_result=results))


def _get_variable(ctx: Context, item: GetVariableDataType) -> GetVariableResultType:
    attribute_type = item.attribute_type or "Actual"  # B06.FR.11
    definition = _find_variable(ctx, item)
    if isinstance(definition, Refusal):
        refusal: Refusal | None = definition
    else:
        refusal = check_readable(definition, attribute_type)
    value = None
    if refusal is None:
        assert not isinstance(definition, Refusal)
        value = read_attribute(ctx, definition, attribute_type)[:2500]
    return GetVariableResultType(
        attribute_status=refusal.status if refusal else "Accepted",
        attribute_status_info=_refusal_info(refusal),
        attribute_type=attribute_type,
        attribute_value=value,
        component=item.component,
        variable=item.variable,
    )


def _find_variable(
    ctx: Context, item: GetVariableDataType | SetVariableDataType
) -> VariableDefinition | Refusal:
    return ctx.product.device_model.find_variable(
        component_from_message(item.component), item.variable.name, item.variable.instance
    )


def _refusal_info(refusal: Refusal | None) -> StatusInfoType | None:
    return status_info(refusal.reason_code, refusal.info) if refusal else None


# --- Setting -------------------------------------------------------------------------------------


def set_variables(ctx: Context, call: Call, request: SetVariablesRequest) -> Iterator[Decision]:
    """Set each attribute on its own; one result for each. B05.FR.01 to 13."""
    items = request.set_variable_data
    if refusal := check_message_size(ctx, call, len(items), SET_LIMITS):
        yield refusal
        return
    results = []
    for item in items:
        result, changes = _set_variable(ctx, item)
        results.append(result)
        yield from changes
    yield call_result(call, SetVariablesResponse(set_variable_result=tuple(results)))


def _set_variable(
    ctx: Context, item: SetVariableDataType
) -> tuple[SetVariableResultType, Sequence[Decision]]:
    """The result for one attribute, and the decisions that set it."""
    attribute_type = item.attribute_type or "Actual"  # B05.FR.12
    definition = _find_variable(ctx, item)
    refusal: Refusal | None
    changes: Sequence[Decision] = ()
    status = "Accepted"  # B05.FR.10
    if isinstance(definition, Refusal):
        refusal = definition
    else:
        refusal = _check_new_value(ctx, definition, attribute_type, item.attribute_value)
        if refusal is None:
            changes = (
                VariableChanged(definition.attribute_path(attribute_type), item.attribute_value),
                *CHANGE_EFFECTS.get(definition.path, _no_effect)(ctx),
            )
            status = "RebootRequired" if definition.reboot_required else "Accepted"
    result = SetVariableResultType(
        attribute_status=refusal.status if refusal else status,  # type: ignore[arg-type]
        attribute_status_info=_refusal_info(refusal),
        attribute_type=attribute_type,
        component=item.component,
        variable=item.variable,
    )
    return result, changes


def _check_new_value(
    ctx: Context, definition: VariableDefinition, attribute_type: str, value: str
) -> Refusal | None:
    """Why a value is refused: by its definition, then by what else it depends on."""
    refusal = _check_by_definition(definition, attribute_type, value)
    if refusal is None and definition.path in SEMANTIC_CHECKS:
        return SEMANTIC_CHECKS[definition.path](ctx, value)
    return refusal


def _check_by_definition(
    definition: VariableDefinition, attribute_type: str, value: str
) -> Refusal | None:
    """Why a value is refused. B05.FR.06 to 09.

    Of a secret only its reference arrives here, or INVALID_SECRET.
    """
    if not definition.secret:
        return check_settable(definition, attribute_type, value)
    if definition.find_attribute(attribute_type) is None:
        return check_settable(definition, attribute_type, "")
    if value == INVALID_SECRET:
        return Refusal("Rejected", "InvalidValue", f"{definition.path}: not a fit secret")
    return None


def _log_password_change(ctx: Context) -> Iterator[Decision]:
    """Log that the password was set; the link reconnects by itself. A01.FR.11, A01.FR.12."""
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
    if is_report_queued(ctx, REPORT_ACTION):
        yield call_result(  # B07.FR.13
            call, GetBaseReportResponse(status="Rejected", status_info=REPORT_QUEUED)
        )
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
    """Report the variables that match. B08.FR.01 to 25."""
    items = request.component_variable or ()
    if refusal := check_message_size(ctx, call, len(items), REPORT_LIMITS):
        yield refusal
        return
    criteria = request.component_criteria or ()
    if not set(criteria) <= set(CRITERIA):
        yield call_result(call, GetReportResponse(status="NotSupported"))  # B08.FR.02
        return
    if is_report_queued(ctx, REPORT_ACTION):
        yield call_result(  # B08.FR.16
            call, GetReportResponse(status="Rejected", status_info=REPORT_QUEUED)
        )
        return
    filters = tuple(filter_of_request(item) for item in items)
    definitions = tuple(
        select_variables(ctx.product.device_model, criteria, filters, partial(read_attribute, ctx))
    )
    if not definitions:
        yield call_result(call, GetReportResponse(status="EmptyResultSet"))  # B08.FR.15
        return
    yield call_result(call, GetReportResponse(status="Accepted"))
    yield from _queue_report(ctx, request.request_id, definitions)


def _queue_report(
    ctx: Context, request_id: int, definitions: Sequence[VariableDefinition]
) -> Iterator[Decision]:
    """Queue the report of these variables."""
    stored_values, read_measured = ctx.state.variables.values, partial(read_measured_value, ctx)
    items = [
        msgspec.json.encode(report_data(definition, stored_values, read_measured))
        for definition in definitions
    ]
    yield from queue_numbered_report(
        ctx, REPORT_ACTION, request_id, "reportData", items, REPORT_LIMITS
    )


# Checks of a value that depend on more than the definition of its variable.
SEMANTIC_CHECKS: Final[dict[str, Callable[[Context, str], Refusal | None]]] = {
    b_networks.CONFIGURATION_PRIORITY: b_networks.check_priority,
}

# Decisions that follow when a variable is set.
CHANGE_EFFECTS: Final[dict[str, Rule]] = {"SecurityCtrlr.BasicAuthPassword": _log_password_change}

CALLS: Final[dict[str, CallHandler]] = {
    "GetVariables": get_variables,
    "SetVariables": set_variables,
    "GetBaseReport": get_base_report,
    "GetReport": get_report,
}
ANSWER_REASONS: Final[AnswerReasons] = {
    ("GetBaseReport", "EmptyResultSet"): Reason("the report has no variables"),
    ("GetBaseReport", "NotSupported"): Reason(
        "the station does not support that reportBase", "B07.FR.02"
    ),
    ("GetReport", "EmptyResultSet"): Reason("no variable matches", "B08.FR.15"),
    ("GetReport", "NotSupported"): Reason(
        "the station does not support one of the criteria", "B08.FR.02"
    ),
}
CALL_REASONS: Final = {"NotifyReport": Reason("the CSMS requested a report")}
