"""Which variables belong into a report, and how is it shared out over messages?

GetBaseReport and GetReport, use cases B07 and B08. Pure: values come in through `ValueReader`, or as the
overrides and live values of `station.core.device_model.model`.
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
    """Every variable the operator may set, secret ones too. B07.FR.07."""
    for definition in model.definitions:
        if definition.is_settable:
            yield definition


def summary_inventory(model: DeviceModel, read_value: ValueReader) -> Iterator[VariableDefinition]:
    """Who is available, and whatever is wrong right now. B07.FR.09."""
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

# ComponentCriterionEnumType: the variable to look at, and what a component without it counts as.
CRITERIA = {
    "Active": True,  # B08.FR.07
    "Available": True,  # B08.FR.08
    "Enabled": True,  # B08.FR.09
    "Problem": False,  # B08.FR.10
}


class ReportFilter(msgspec.Struct, frozen=True):
    """One componentVariable of GetReport; what is None is not restricted."""

    component: Component
    variable: str | None = None
    instance: str | None = None

    def matches(self, key: VariableKey) -> bool:
        """B08.FR.20 to FR.25: what is left out stands for everything there is."""
        component, held = self.component, key.component
        return (
            _equals_ignoring_case(component.name, held.name)
            and component.evse_id in (None, held.evse_id)
            and component.connector_id in (None, held.connector_id)
            and (not component.instance or _equals_ignoring_case(component.instance, held.instance))
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
    """The variables GetReport asks for; none at all: answer EmptyResultSet. B08.

    Of several criteria one is enough (B08.FR.13); with criteria and components both must hold.

    Raises:
        KeyError: a criterion not in CRITERIA (B08.FR.02: answer NotSupported).
    """
    asked = {criterion: CRITERIA[criterion] for criterion in criteria}
    for _, group in groupby(model.definitions, key=lambda each: each.key.component):
        definitions = tuple(group)
        if asked and not any(
            _meets_criterion(definitions, criterion, otherwise, read_value)
            for criterion, otherwise in asked.items()
        ):
            continue
        for definition in definitions:
            if not filters or any(each.matches(definition.key) for each in filters):
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
    """ComponentType as OCPP writes it."""
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
    """ReportDataType as OCPP writes it: all attributes (B07.FR.11), characteristics (B08.FR.12).

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
        "supportsMonitoring": False,  # Advanced Device Management is no part of the product
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


# What a NotifyReport frame has around its reportData: action, messageId, requestId, generatedAt,
# seqNo and tbc at their longest.
NOTIFY_REPORT_OVERHEAD = 192


def split_into_messages(
    sizes: Sequence[int], items_max: int, bytes_max: int, overhead: int = NOTIFY_REPORT_OVERHEAD
) -> list[range]:
    """Share entries out over messages, keeping their order.

    Args:
        sizes: bytes of each entry as it will be encoded.
        items_max: entries per message, ItemsPerMessage.
        bytes_max: bytes per message, BytesPerMessage. An entry that is too large alone still
            goes, alone: a report with a hole in it would be worse.
        overhead: bytes of a message without entries.

    Returns:
        The indices of each message's entries; no entries: no message.
    """
    shares: list[range] = []
    start, used = 0, overhead
    for index, size in enumerate(sizes):
        comma = 1 if index > start else 0
        full = index - start >= items_max or used + comma + size > bytes_max
        if index > start and full:
            shares.append(range(start, index))
            start, used, comma = index, overhead, 0
        used += comma + size
    if sizes:
        shares.append(range(start, len(sizes)))
    return shares
