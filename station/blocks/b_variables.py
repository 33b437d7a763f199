"""How does the CSMS read, set and list the device model? (B05 to B08)"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import msgspec

from journal.projections.outbox import CallQueued
from journal.projections.variables import VariableChanged
from journal.terms import Decision
from station.blocks import a_security, b_networks
from station.blocks.live import live_value
from station.case import Call, Case, Handler, Rule, answer, reason, refuse
from station.devicemodel import Component, value_of
from station.messages import timestamp
from station.messages.b_provisioning import (
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
from station.messages.datatypes import ComponentType, StatusInfoType
from station.reports import CRITERIA, INVENTORIES, Wanted, custom_report, pages, report_data
from station.variables import Refusal, VariableDefinition, check, unreadable

ITEMS: Final = "DeviceDataCtrlr.ItemsPerMessage[{}]"
UNFIT_SECRET: Final = "<unfit secret>"  # where one broke its rule, or could not be stored
BYTES: Final = "DeviceDataCtrlr.BytesPerMessage[{}]"


def component_of(component: ComponentType) -> Component:
    """A component as the device model names it."""
    evse = component.evse
    return Component(
        component.name,
        component.instance or None,
        evse.id if evse else None,
        evse.connector_id if evse else None,
    )


def read(case: Case, definition: VariableDefinition, attribute_type: str = "Actual") -> str:
    """An attribute as it is right now."""
    return value_of(
        definition, case.state.variables.values, partial(live_value, case), attribute_type
    )


# --- Reading -------------------------------------------------------------------------------------


def get_variables(case: Case, call: Call, request: GetVariablesRequest) -> Iterator[Decision]:
    """One result for each attribute asked for. B06.FR.01 to 17."""
    asked = request.get_variable_data
    if excess := _excess(case, call, "GetVariables", len(asked)):
        yield excess
        return
    results = tuple(_read_one(case, one) for one in asked)
    yield answer(call, GetVariablesResponse(get_variable_result=results))


def _excess(case: Case, call: Call, message: str, items: int) -> Decision | None:
    """More than a message may hold. B06.FR.16, B06.FR.17, B08.FR.17, B08.FR.18."""
    items_max = case.integer(ITEMS.format(message))
    if items_max and items > items_max:
        return refuse(call, "OccurrenceConstraintViolation", f"at most {items_max} items")
    bytes_max = case.integer(BYTES.format(message))
    if bytes_max and len(call.payload) > bytes_max:
        return refuse(call, "FormatViolation", f"at most {bytes_max} bytes")
    return None


def _read_one(case: Case, one: GetVariableDataType) -> GetVariableResultType:
    attribute_type = one.attribute_type or "Actual"  # B06.FR.11
    found = case.product.model.find(
        component_of(one.component), one.variable.name, one.variable.instance
    )
    refusal = found if isinstance(found, Refusal) else unreadable(found, attribute_type)
    value = None
    if refusal is None:
        assert not isinstance(found, Refusal)
        value = read(case, found, attribute_type)[:2500]
    return GetVariableResultType(
        attribute_status=refusal.status if refusal else "Accepted",
        attribute_status_info=_info(refusal),
        attribute_type=attribute_type,
        attribute_value=value,
        component=one.component,
        variable=one.variable,
    )


def _info(refusal: Refusal | None) -> StatusInfoType | None:
    return reason(refusal.reason_code, refusal.info) if refusal else None


# --- Setting -------------------------------------------------------------------------------------


def set_variables(case: Case, call: Call, request: SetVariablesRequest) -> Iterator[Decision]:
    """One result for each attribute to set; each stands for itself. B05.FR.01 to 13."""
    asked = request.set_variable_data
    if excess := _excess(case, call, "SetVariables", len(asked)):
        yield excess
        return
    results = []
    for one in asked:
        result, changes = _set_one(case, one)
        results.append(result)
        yield from changes
    yield answer(call, SetVariablesResponse(set_variable_result=tuple(results)))


def _set_one(
    case: Case, one: SetVariableDataType
) -> tuple[SetVariableResultType, Sequence[Decision]]:
    attribute_type = one.attribute_type or "Actual"  # B05.FR.12
    found = case.product.model.find(
        component_of(one.component), one.variable.name, one.variable.instance
    )
    refusal = found if isinstance(found, Refusal) else _unsettable(found, attribute_type, one)
    if refusal is None and not isinstance(found, Refusal) and found.path in SENSE:
        refusal = SENSE[found.path](case, one.attribute_value)
    changes: Sequence[Decision] = ()
    status = "Accepted"  # B05.FR.10
    if refusal is None:
        assert not isinstance(found, Refusal)
        changes = (
            VariableChanged(found.attribute_path(attribute_type), one.attribute_value),
            *EFFECTS.get(found.path, _nothing)(case),
        )
        status = "RebootRequired" if found.reboot else "Accepted"
    return (
        SetVariableResultType(
            attribute_status=refusal.status if refusal else status,  # type: ignore[arg-type]
            attribute_status_info=_info(refusal),
            attribute_type=attribute_type,
            component=one.component,
            variable=one.variable,
        ),
        changes,
    )


def _unsettable(
    definition: VariableDefinition, attribute_type: str, one: SetVariableDataType
) -> Refusal | None:
    """B05.FR.06 to 09. Of a secret, only its reference and whether it is fit come this far."""
    if not definition.secret:
        return check(definition, attribute_type, one.attribute_value)
    if definition.attribute(attribute_type) is None:
        return check(definition, attribute_type, "")
    if one.attribute_value == UNFIT_SECRET:
        return Refusal("Rejected", "InvalidValue", f"{definition.path}: not a fit secret")
    return None


def _password_changed(case: Case) -> Iterator[Decision]:
    """The link reconnects with the new one by itself. A01.FR.11, A01.FR.12."""
    yield from a_security.logged(
        case, "ReconfigurationOfSecurityParameters", "BasicAuthPassword set"
    )


def _nothing(case: Case) -> Iterator[Decision]:
    return iter(())


# --- Reports -------------------------------------------------------------------------------------


def get_base_report(case: Case, call: Call, request: GetBaseReportRequest) -> Iterator[Decision]:
    """Report a named part of the device model. B07.FR.01 to 13."""
    inventory = INVENTORIES.get(request.report_base)
    if inventory is None or not _offers(case, request.report_base):
        yield answer(call, GetBaseReportResponse(status="NotSupported"))  # B07.FR.02
        return
    definitions = tuple(inventory(case.product.model, partial(read, case)))
    if not definitions:
        yield answer(call, GetBaseReportResponse(status="EmptyResultSet"))
        return
    yield answer(call, GetBaseReportResponse(status="Accepted"))
    yield from _notify(case, request.request_id, definitions)


def _offers(case: Case, base: str) -> bool:
    return base != "SummaryInventory" or case.product.profile.has("C-56")


def get_report(case: Case, call: Call, request: GetReportRequest) -> Iterator[Decision]:
    """Report what matches. B08.FR.01 to 25."""
    asked = request.component_variable or ()
    if excess := _excess(case, call, "GetReport", len(asked)):
        yield excess
        return
    criteria = request.component_criteria or ()
    if not set(criteria) <= set(CRITERIA):
        yield answer(call, GetReportResponse(status="NotSupported"))  # B08.FR.02
        return
    wanted = tuple(
        Wanted(
            component_of(one.component),
            one.variable.name if one.variable else None,
            one.variable.instance if one.variable else None,
        )
        for one in asked
    )
    definitions = tuple(custom_report(case.product.model, criteria, wanted, partial(read, case)))
    if not definitions:
        yield answer(call, GetReportResponse(status="EmptyResultSet"))  # B08.FR.15
        return
    yield answer(call, GetReportResponse(status="Accepted"))
    yield from _notify(case, request.request_id, definitions)


def _notify(
    case: Case, request_id: int, definitions: Sequence[VariableDefinition]
) -> Iterator[Decision]:
    """The report, in parts that each fit a message. B07.FR.03/04/10, B08.FR.03/04/14."""
    overrides, live = case.state.variables.values, partial(live_value, case)
    items = [msgspec.json.encode(report_data(one, overrides, live)) for one in definitions]
    parts = pages(
        [len(item) for item in items],
        case.integer(ITEMS.format("GetReport"), absent=len(items)),
        case.integer(BYTES.format("GetReport"), absent=1 << 30),
    )
    for seq_no, part in enumerate(parts):
        body = {
            "requestId": request_id,
            "generatedAt": timestamp(case.now),
            "seqNo": seq_no,
            "tbc": seq_no < len(parts) - 1,
            "reportData": [msgspec.Raw(items[place]) for place in part],
        }
        yield CallQueued(
            lane="rest",
            action="NotifyReport",
            payload=msgspec.Raw(msgspec.json.encode(body)),
            keep=case.flag("OCPPCommCtrlr.QueueAllMessages"),
            solicited=True,  # B02.FR.02
        )


# What else a value must make sense with, besides the definition of its variable.
SENSE: Final[dict[str, Callable[[Case, str], Refusal | None]]] = {
    b_networks.PRIORITY: b_networks.priority_fault,
}

# What else follows when a variable is set.
EFFECTS: Final[dict[str, Rule]] = {"SecurityCtrlr.BasicAuthPassword": _password_changed}

CALLS: dict[str, Handler] = {
    "GetVariables": get_variables,
    "SetVariables": set_variables,
    "GetBaseReport": get_base_report,
    "GetReport": get_report,
}
