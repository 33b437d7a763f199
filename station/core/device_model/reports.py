"""Select the variables of a report, and describe each as the CSMS receives it. B07, B08.

Values are arguments: a `ValueReader`, or the stored and measured values of
`station.core.device_model.model`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from station.core.device_model.model import (
    Attribute,
    Component,
    DeviceModel,
    MeasuredReader,
    StoredValues,
    VariableDefinition,
    VariableKey,
    attribute_value,
)

ValueReader = Callable[[VariableDefinition], str]  # the Actual value

PROBLEM_VARIABLES = frozenset({"Problem", "Tripped", "Overload", "Fallback"})


def full_inventory(model: DeviceModel, read_value: ValueReader) -> Iterator[VariableDefinition]:
    """Every variable. B07.FR.08."""
    yield from model.definitions


def configuration_inventory(
    model: DeviceModel, read_value: ValueReader
) -> Iterator[VariableDefinition]:
    """Every variable the operator may set, including secrets. B07.FR.07."""
    for definition in model.definitions:
        if definition.is_settable:
            yield definition


def summary_inventory(model: DeviceModel, read_value: ValueReader) -> Iterator[VariableDefinition]:
    """Availability, and every problem that is true now. B07.FR.09."""
    for definition in model.definitions:
        name = definition.key.name
        if name == "AvailabilityState" or (
            name in PROBLEM_VARIABLES and read_value(definition) == "true"
        ):
            yield definition


# ReportBaseEnumType
INVENTORIES: dict[str, Callable[[DeviceModel, ValueReader], Iterator[VariableDefinition]]] = {
    "ConfigurationInventory": configuration_inventory,
    "FullInventory": full_inventory,
    "SummaryInventory": summary_inventory,
}

# ComponentCriterionEnumType: the variable to read, and the value for a component without it.
CRITERIA = {
    "Active": True,  # B08.FR.07
    "Available": True,  # B08.FR.08
    "Enabled": True,  # B08.FR.09
    "Problem": False,  # B08.FR.10
}


class ReportFilter(msgspec.Struct, frozen=True):
    """One componentVariable of GetReport; None: not restricted."""

    component: Component
    variable: str | None = None
    instance: str | None = None

    def matches(self, key: VariableKey) -> bool:
        """Whether a variable matches; what the filter leaves out matches all. B08.FR.20 to 25."""
        component, other = self.component, key.component
        return (
            _equals_ignoring_case(component.name, other.name)
            and component.evse_id in (None, other.evse_id)
            and component.connector_id in (None, other.connector_id)
            and (
                not component.instance or _equals_ignoring_case(component.instance, other.instance)
            )
            and (not self.variable or _equals_ignoring_case(self.variable, key.name))
            and (not self.instance or _equals_ignoring_case(self.instance, key.instance))
        )


def _equals_ignoring_case(name: str, other: str | None) -> bool:
    return other is not None and name.casefold() == other.casefold()


def select_variables(
    model: DeviceModel,
    criteria: Iterable[str],
    filters: Sequence[ReportFilter],
    read_value: ValueReader,
) -> Iterator[VariableDefinition]:
    """The variables that GetReport requests; the answer to none is EmptyResultSet. B08.

    One of several criteria is enough (B08.FR.13). With criteria and filters both must match.

    Raises:
        KeyError: a criterion is not in CRITERIA (B08.FR.02: the answer is NotSupported).
    """
    defaults = {criterion: CRITERIA[criterion] for criterion in criteria}
    for _, group in groupby(model.definitions, key=lambda definition: definition.key.component):
        definitions = tuple(group)
        if defaults and not any(
            _meets_criterion(definitions, criterion, default, read_value)
            for criterion, default in defaults.items()
        ):
            continue
        for definition in definitions:
            if not filters or any(item.matches(definition.key) for item in filters):
                yield definition


def _meets_criterion(
    definitions: Iterable[VariableDefinition],
    criterion: str,
    default: bool,
    read_value: ValueReader,
) -> bool:
    for definition in definitions:
        if definition.key.name == criterion and definition.key.instance is None:
            return read_value(definition) == "true"
    return default


def component_data(component: Component) -> dict[str, Any]:
    """ComponentType as JSON data."""
    data: dict[str, Any] = {"name": component.name}
    if component.instance:
        data["instance"] = component.instance
    if component.evse_id is not None:
        data["evse"] = {"id": component.evse_id}
        if component.connector_id is not None:
            data["evse"]["connectorId"] = component.connector_id
    return data


def report_data(
    definition: VariableDefinition, stored_values: StoredValues, read_measured: MeasuredReader
) -> dict[str, Any]:
    """ReportDataType as JSON data: all attributes (B07.FR.11), characteristics (B08.FR.12).

    Only a WriteOnly attribute has no value (B07.FR.03 with errata 2025-01).
    """
    variable = {"name": definition.key.name}
    if definition.key.instance:
        variable["instance"] = definition.key.instance
    return {
        "component": component_data(definition.key.component),
        "variable": variable,
        "variableAttribute": [
            _attribute_data(definition, attribute, stored_values, read_measured)
            for attribute in definition.attributes
        ],
        "variableCharacteristics": _characteristics_data(definition),
    }


def _attribute_data(
    definition: VariableDefinition,
    attribute: Attribute,
    stored_values: StoredValues,
    read_measured: MeasuredReader,
) -> dict[str, Any]:
    data: dict[str, Any] = {"type": attribute.type, "mutability": attribute.mutability}
    if attribute.mutability != "WriteOnly":
        data["value"] = attribute_value(definition, stored_values, read_measured, attribute.type)
    if attribute.persistent:
        data["persistent"] = True
    if attribute.constant:
        data["constant"] = True
    return data


def _characteristics_data(definition: VariableDefinition) -> dict[str, Any]:
    data: dict[str, Any] = {
        "dataType": definition.data_type,
        "supportsMonitoring": definition.supports_monitoring,
    }
    if definition.unit:
        data["unit"] = definition.unit
    if definition.min_limit is not None:
        data["minLimit"] = definition.min_limit
    if definition.max_limit is not None:
        data["maxLimit"] = definition.max_limit
    if definition.values:
        data["valuesList"] = ",".join(definition.values)
    return data
