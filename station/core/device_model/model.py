"""The device model: all variables of one product, and how to find them. B05, B06.

A `DeviceModel` is made from a product profile once and never changes. It holds definitions and no
values. The value of a variable is, in this order: what the station measures (a `MeasuredReader`
function, for variables with a source), what the CSMS or the integrator set (`StoredValues`, from
the state), the factory value of the profile. `station.core.device_model.reports` has B07 and B08.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from station.core.device_model.definitions import (
    VALUE_RULES,
    Attribute,
    AttributeType,
    Component,
    Mutability,
    Refusal,
    VariableDefinition,
    VariableKey,
    check_readable,
    check_settable,
    check_value,
    split_list,
)
from station.core.device_model.monitors import (
    find_monitor_contradictions,
    product_monitors,
)
from station.profiles.profile import (
    ComponentRow,
    Profile,
    ProfileError,
    VariableOverride,
    VariableRow,
)

__all__ = [
    "VALUE_SOURCES",
    "Attribute",
    "AttributeType",
    "Component",
    "DeviceModel",
    "MeasuredReader",
    "Mutability",
    "Refusal",
    "StoredValues",
    "VariableDefinition",
    "VariableKey",
    "attribute_value",
    "check_readable",
    "check_settable",
    "check_value",
    "split_list",
]

# Sources of measured values, with their meaning; the same for every component.
# `core/blocks/measured_variables.py` has a function for each.
VALUE_SOURCES = {
    "active": "On, pressed, open or locked: a boolean.",
    "auth_cache_bytes": "Bytes used by the Authorization Cache.",
    "availability": "Available, Occupied, Reserved, Unavailable or Faulted.",
    "certificates": "Number of installed certificates.",
    "charging_profiles": "Charging profiles that are installed.",
    "clock": "The time: RFC 3339, UTC, milliseconds.",
    "current_a": "Current at the output of the EVSE.",
    "disk_bytes": "Bytes in use on the disk with the data directory.",
    "display_messages": "Number of messages the CSMS has set for the display.",
    "energy_export_wh": "The meter's register, from the EV.",
    "energy_import_wh": "The meter's register, to the EV.",
    "ev_connected": "An EV is plugged in: a boolean.",
    "identity": "The station's identity.",
    "insulation_ohm": "Insulation resistance of the DC output.",
    "local_list_entries": "Number of idTokens in the Local Authorization List.",
    "memory_bytes": "Bytes of RAM that the station's process uses.",
    "message_timeout": "Seconds, of the network connection profile in use.",
    "monitoring_base": "The set of monitors that is active.",
    "monitoring_level": "The greatest severity number of events that are sent.",
    "monitors": "Number of monitors the CSMS has set.",
    "modem_iccid": "ICCID of the SIM card in the modem of the host.",
    "modem_imsi": "IMSI of that SIM card.",
    "modem_signal_dbm": "Level at which the modem receives, dBm.",
    "network_slot": "The slot of the network connection profile in use.",
    "overload": "Power is reduced because of heat or load: a boolean.",
    "pilot_state": "Control pilot, A to F.",
    "power_w": "Power to the EV, or to all of them.",
    "problem": "The component has a fault: a boolean.",
    "reservations": "Reservations that are open.",
    "security_profile": "The security profile in use.",
    "soc_percent": "State of charge as the EV reported it.",
    "temperature_c": "Temperature at the hottest point of the component.",
    "tripped": "It tripped and needs a person or an operator: a boolean.",
    "voltage_v": "Voltage at the output of the EVSE.",
}


StoredValues = Mapping[str, str]  # attribute_path to text
MeasuredReader = Callable[[str, Component], str | None]  # one of VALUE_SOURCES; None: unknown


class DeviceModel:
    """All variables of one product, in the order of reports.

    Built once per profile; stations of the same product may share it.
    """

    def __init__(self, profile: Profile) -> None:
        """Build the definitions.

        Raises:
            ProfileError: a row of the profile, or a change in it, is contradictory.
        """
        self.definitions: tuple[VariableDefinition, ...] = tuple(
            sorted(_build_definitions(profile), key=lambda definition: definition.key)
        )
        self.by_path = {definition.path: definition for definition in self.definitions}
        self.product_monitors = tuple(product_monitors(profile, self.definitions))
        for complaint in (
            *_find_contradictions(profile, self.definitions),
            *find_monitor_contradictions(profile, self.definitions),
        ):
            raise ProfileError(f"{profile.name}: {complaint}")
        self._components: dict[object, dict[object, VariableDefinition]] = {}
        for definition in self.definitions:
            key = definition.key
            variables = self._components.setdefault(_component_lookup_key(key.component), {})
            variables[_variable_lookup_key(key.name, key.instance)] = definition

    def find_variable(
        self, component: Component, variable: str, instance: str | None = None
    ) -> VariableDefinition | Refusal:
        """The definition of a variable, or a Refusal: UnknownComponent or UnknownVariable.

        Case is ignored (identifierString). An empty instance is no instance; without an instance
        only a variable without one matches. B06.FR.06, FR.07, FR.14, FR.15, B05.FR.04, FR.05.
        """
        variables = self._components.get(_component_lookup_key(component))
        if variables is None:
            return Refusal(
                "UnknownComponent", "NotFound", f"{component.path[:60]} is not a component here"
            )
        definition = variables.get(_variable_lookup_key(variable, instance))
        if definition is None:
            path = VariableKey(component, variable, instance or None).path
            return Refusal("UnknownVariable", "NotFound", f"{path[:120]} is not a variable here")
        return definition

    def require_variable(
        self,
        name: str,
        variable: str,
        instance: str | None = None,
        *,
        evse_id: int | None = None,
    ) -> VariableDefinition:
        """A variable that the program itself needs.

        Raises:
            KeyError: the profile does not have it.
        """
        definition = self.find_variable(Component(name, evse_id=evse_id), variable, instance)
        if isinstance(definition, Refusal):
            raise KeyError(definition.info)
        return definition


def _component_lookup_key(component: Component) -> object:
    return (
        component.name.casefold(),
        (component.instance or "").casefold(),
        component.evse_id,
        component.connector_id,
    )


def _variable_lookup_key(name: str, instance: str | None) -> object:
    return name.casefold(), (instance or "").casefold()


# --- From the rows of a profile to definitions ---------------------------------------------------


def _build_definitions(profile: Profile) -> Iterator[VariableDefinition]:
    for row in profile.component:
        if row.when and not profile.meets_condition(row.when):
            continue
        for component, scope in _expand_component(row, profile):
            for variable in row.variables:
                if not variable.when or profile.meets_condition(variable.when):
                    yield _build_definition(component, variable, profile, scope)


def _find_contradictions(
    profile: Profile, definitions: Sequence[VariableDefinition]
) -> Iterator[str]:
    """Contradictions in the rows and changes of the profile, one line each."""
    paths = [definition.path for definition in definitions]
    if duplicates := {path for path, following in pairwise(paths) if path == following}:
        yield f"two rows make {min(duplicates)}; their `when` must exclude each other"
    for change in profile.variable:
        if not any(_applies_to(change, definition.key) for definition in definitions):
            name = f"{change.component}.{change.variable}"
            yield f"[[variable]] {name} is no variable of this product"
    for definition in definitions:
        if definition.source and definition.source not in VALUE_SOURCES:
            yield f"{definition.path}: {definition.source} is not a source"
        if definition.rule and definition.rule not in VALUE_RULES:
            yield f"{definition.path}: {definition.rule} is not a rule"
        for attribute in definition.attributes:
            refusal = attribute.value and check_value(definition, attribute.value)
            if refusal:
                yield f"{refusal.info}"


def _expand_component(
    row: ComponentRow, profile: Profile
) -> Iterator[tuple[Component, dict[str, Any]]]:
    """The components that a row makes, and the facts `$evse` and `$connector` of each."""
    if row.per == "station":
        yield Component(row.name, row.instance), {}
        return
    for evse in profile.evse:
        if row.per == "evse":
            yield Component(row.name, row.instance, evse.id), {"evse": evse}
            continue
        for connector in evse.connectors:
            component = Component(row.name, row.instance, evse.id, connector.id)
            yield component, {"evse": evse, "connector": connector}


def _build_definition(
    component: Component, row: VariableRow, profile: Profile, scope: Mapping[str, Any]
) -> VariableDefinition:
    key = VariableKey(component, row.name, row.instance)
    changes = [change for change in profile.variable if _applies_to(change, key)]
    new_values = (change.value for change in changes if change.value is not None)
    new_writable = (change.writable for change in changes if change.writable is not None)
    value = next(new_values, row.value)
    writable = next(new_writable, row.writable)
    if isinstance(writable, str):
        writable = profile.meets_condition(writable)
    mutability: Mutability = "WriteOnly" if row.secret else "ReadWrite" if writable else "ReadOnly"
    values = _resolve_fact(row.values, profile, scope)
    limit = _resolve_fact(str(row.max), profile, scope) if row.max is not None else None
    return VariableDefinition(
        key=key,
        data_type=row.type,
        attributes=(
            Attribute(
                mutability=mutability,
                value=_resolve_fact(value, profile, scope),
                persistent=mutability != "ReadOnly",
                constant=row.constant and mutability == "ReadOnly",
            ),
        ),
        unit=row.unit,
        min_limit=row.min,
        floor=row.floor,
        max_limit=int(limit) if limit else None,
        values=tuple(split_list(values)) if values else (),
        source=row.source,
        rule=row.rule,
        secret=row.secret,
        reboot_required=row.reboot,
        may_be_empty=row.may_be_empty,
        supports_monitoring=profile.has_monitoring and not row.constant,
        preset_condition=""
        if row.preset is None or profile.meets_condition(row.preset)
        else row.preset,
    )


def _applies_to(override: VariableOverride, key: VariableKey) -> bool:
    return (
        override.component == key.component.name
        and override.variable == key.name
        and override.instance == key.component.instance
        and override.variable_instance == key.instance
        and override.evse in (None, key.component.evse_id)
        and override.connector in (None, key.component.connector_id)
    )


def _resolve_fact(text: str | None, profile: Profile, scope: Mapping[str, Any]) -> str | None:
    """`text`, or the fact it refers to: `$limits.network_slots` is an attribute of the profile."""
    if text is None or not text.startswith("$"):
        return text
    first, *rest = text[1:].split(".")
    try:
        fact = scope[first] if first in scope else getattr(profile, first)
        for name in rest:
            fact = getattr(fact, name)
    except AttributeError:
        raise ProfileError(f"{profile.name}: {text} is no fact of a profile") from None
    if isinstance(fact, bool):
        return "true" if fact else "false"
    return ",".join(fact) if isinstance(fact, tuple) else str(fact)


def attribute_value(
    definition: VariableDefinition,
    stored_values: StoredValues,
    read_measured: MeasuredReader,
    attribute_type: str = "Actual",
) -> str:
    """The value of an attribute now; empty if it has none. B06.FR.13."""
    attribute = definition.find_attribute(attribute_type)
    assert attribute is not None, f"{definition.path} has no {attribute_type}"
    if definition.source and attribute_type == "Actual":
        measured = read_measured(definition.source, definition.key.component)
        if measured is not None:
            return measured
    return stored_values.get(definition.attribute_path(attribute_type), attribute.value or "")
