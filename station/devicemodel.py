"""Which variables does this station have, and what may they hold?

A `DeviceModel` is made from a product profile once and never changes. Values do not live here:
what the CSMS or the integrator set comes in as `overrides` (path to text, from the journal),
what the station measures comes in through a `Live` function, everything else is the value at
the factory. Use cases B05 to B08.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Any, Literal

import msgspec

from station.profiles import Change, ComponentRow, DataType, Profile, ProfileError, VariableRow

AttributeType = Literal["Actual", "Target", "MinSet", "MaxSet"]
Mutability = Literal["ReadOnly", "WriteOnly", "ReadWrite"]

VALUE_SIZE_MAX = 1000  # characters of a value that is set; SetVariableDataType.attributeValue
SHOWN_MAX = 40  # characters of a refused value that we repeat
INTEGER_MAX = 2**31 - 1  # Part 2 §2.1.4: 32 bit

# Where live values come from. The core resolves each for the component it is asked about; one
# name means the same thing for every component.
SOURCES = {
    "active": "On, pressed, open or locked right now: a boolean.",
    "auth_cache_bytes": "Bytes the authorization cache holds.",
    "availability": "Available, Occupied, Reserved, Unavailable or Faulted.",
    "certificates": "How many certificates are installed.",
    "clock": "What time it is: RFC 3339, UTC, milliseconds.",
    "current_a": "Current at the output of the EVSE.",
    "energy_export_wh": "The meter's register, from the EV.",
    "energy_import_wh": "The meter's register, to the EV.",
    "ev_connected": "An EV is plugged in: a boolean.",
    "identity": "The station's identity.",
    "insulation_ohm": "Insulation resistance of the DC output.",
    "message_timeout": "Seconds, from the network connection profile in use.",
    "network_slot": "The slot of the network connection profile in use.",
    "overload": "Derating because of heat or load: a boolean.",
    "pilot_state": "Control pilot, A to F.",
    "power_w": "Power to the EV, or to all of them.",
    "problem": "Something is wrong with the component: a boolean.",
    "security_profile": "The security profile in use.",
    "soc_percent": "State of charge as the EV told it.",
    "temperature_c": "The hottest point of the component.",
    "tripped": "It acted and wants a person or an operator: a boolean.",
    "voltage_v": "Voltage at the output of the EVSE.",
}


class Component(msgspec.Struct, frozen=True):
    """A component and where it stands. None: at no EVSE, at no connector, the only instance."""

    name: str
    instance: str | None = None
    evse_id: int | None = None
    connector_id: int | None = None

    @property
    def path(self) -> str:
        """`OCPPCommCtrlr`, `EVSE@1`, `Connector@1/1`, `Controller[SECC]@2`."""
        instance = f"[{self.instance}]" if self.instance else ""
        evse = "" if self.evse_id is None else f"@{self.evse_id}"
        connector = "" if self.connector_id is None else f"/{self.connector_id}"
        return f"{self.name}{instance}{evse}{connector}"

    def __lt__(self, other: Component) -> bool:
        return _component_order(self) < _component_order(other)


def _component_order(component: Component) -> tuple[str, int, int, str]:
    return (
        component.name,
        component.evse_id or 0,
        component.connector_id or 0,
        component.instance or "",
    )


class VariableKey(msgspec.Struct, frozen=True):
    """Names one variable of one component."""

    component: Component
    name: str
    instance: str | None = None

    @property
    def path(self) -> str:
        """`EVSE@1.Power`, `OCPPCommCtrlr.MessageTimeout[Default]`."""
        instance = f"[{self.instance}]" if self.instance else ""
        return f"{self.component.path}.{self.name}{instance}"

    def __lt__(self, other: VariableKey) -> bool:
        return _order(self) < _order(other)


def _order(key: VariableKey) -> tuple[tuple[str, int, int, str], str, str]:
    return _component_order(key.component), key.name, key.instance or ""


class Attribute(msgspec.Struct, frozen=True):
    """One of the up to four values of a variable, and what may be done with it."""

    type: AttributeType = "Actual"
    mutability: Mutability = "ReadOnly"
    value: str | None = None  # at the factory
    persistent: bool = False
    constant: bool = False


class VariableDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a variable but its value."""

    key: VariableKey
    data_type: DataType
    attributes: tuple[Attribute, ...]
    unit: str | None = None
    min_limit: int | None = None
    max_limit: int | None = None  # of text and lists: the greatest length
    values: tuple[str, ...] = ()  # what a list may hold, in the order it is reported
    source: str | None = None  # one of SOURCES
    rule: str | None = None  # one of RULES
    secret: bool = False
    reboot: bool = False
    may_be_empty: bool = False

    @property
    def path(self) -> str:
        """The name of the Actual value in the journal and in messages to people."""
        return self.key.path

    def attribute(self, attribute_type: str) -> Attribute | None:
        """The attribute of that type, None where the variable does not have it."""
        return next((each for each in self.attributes if each.type == attribute_type), None)

    def attribute_path(self, attribute_type: str = "Actual") -> str:
        """The key under which `overrides` holds the value: `EVSE@1.Power`, with `#Target`."""
        return self.path if attribute_type == "Actual" else f"{self.path}#{attribute_type}"

    @property
    def settable(self) -> bool:
        """Whether the CSMS may set any of its attributes."""
        return any(each.mutability != "ReadOnly" for each in self.attributes)


class Refusal(msgspec.Struct, frozen=True):
    """Why a variable cannot be read or set: the status, statusInfo.reasonCode and its text."""

    status: Literal["Rejected", "UnknownComponent", "UnknownVariable", "NotSupportedAttributeType"]
    reason_code: str
    info: str


Overrides = Mapping[str, str]  # attribute_path to text
Live = Callable[[str, Component], str | None]  # a name of SOURCES; None: not known yet
Read = Callable[[VariableDefinition], str]  # the Actual value


class DeviceModel:
    """All variables of one product, in the order of reports, and how to find them.

    Built once per profile; stations of the same product may share it. Raises ProfileError when
    a row or a change of the profile makes no sense.
    """

    def __init__(self, profile: Profile) -> None:
        self.definitions: tuple[VariableDefinition, ...] = tuple(
            sorted(_definitions(profile), key=lambda definition: _order(definition.key))
        )
        self.by_path = {definition.path: definition for definition in self.definitions}
        for complaint in _complaints(profile, self.definitions):
            raise ProfileError(f"{profile.name}: {complaint}")
        self._components: dict[object, dict[object, VariableDefinition]] = {}
        for definition in self.definitions:
            held = self._components.setdefault(_folded(definition.key.component), {})
            held[_folded_variable(definition.key.name, definition.key.instance)] = definition

    def find(
        self, component: Component, variable: str, instance: str | None = None
    ) -> VariableDefinition | Refusal:
        """The variable meant, or UnknownComponent or UnknownVariable.

        Case does not count (identifierString), and an empty instance is none; without an
        instance only what has none is meant (B06.FR.06, FR.07, FR.14, FR.15, B05.FR.04, FR.05).
        """
        variables = self._components.get(_folded(component))
        if variables is None:
            return Refusal(
                "UnknownComponent", "NotFound", f"{component.path[:60]} is not a component here"
            )
        definition = variables.get(_folded_variable(variable, instance))
        if definition is None:
            path = VariableKey(component, variable, instance or None).path
            return Refusal("UnknownVariable", "NotFound", f"{path[:120]} is not a variable here")
        return definition

    def actual(
        self,
        name: str,
        variable: str,
        instance: str | None = None,
        *,
        evse_id: int | None = None,
    ) -> VariableDefinition:
        """A variable the program itself needs. Raises KeyError when the profile has it not."""
        found = self.find(Component(name, evse_id=evse_id), variable, instance)
        if isinstance(found, Refusal):
            raise KeyError(found.info)
        return found


def _folded(component: Component) -> object:
    return (
        component.name.casefold(),
        (component.instance or "").casefold(),
        component.evse_id,
        component.connector_id,
    )


def _folded_variable(name: str, instance: str | None) -> object:
    return name.casefold(), (instance or "").casefold()


# From a profile's rows to definitions.


def _definitions(profile: Profile) -> Iterator[VariableDefinition]:
    for row in profile.component:
        if row.when and not profile.meets(row.when):
            continue
        for component, scope in _places(row, profile):
            for variable in row.variables:
                if not variable.when or profile.meets(variable.when):
                    yield _definition(component, variable, profile, scope)


def _complaints(profile: Profile, definitions: Sequence[VariableDefinition]) -> Iterator[str]:
    """What in the rows and changes of the profile makes no sense, one line each."""
    paths = [definition.path for definition in definitions]
    if twice := {path for path, same in zip(paths, paths[1:], strict=False) if path == same}:
        yield f"two rows make {min(twice)}; their `when` must exclude each other"
    for change in profile.variable:
        if not any(_means(change, definition.key) for definition in definitions):
            yield f"[[variable]] {change.component}.{change.variable} is no variable of this product"
    for definition in definitions:
        if definition.source and definition.source not in SOURCES:
            yield f"{definition.path}: {definition.source} is not a source"
        if definition.rule and definition.rule not in RULES:
            yield f"{definition.path}: {definition.rule} is not a rule"
        for attribute in definition.attributes:
            refusal = attribute.value and check_value(definition, attribute.value)
            if refusal:
                yield f"{refusal.info}"


def _places(row: ComponentRow, profile: Profile) -> Iterator[tuple[Component, dict[str, Any]]]:
    """Where the component stands, and the facts `$evse` and `$connector` mean there."""
    if row.per == "station":
        yield Component(row.name, row.instance), {}
        return
    for evse in profile.evse:
        if row.per == "evse":
            yield Component(row.name, row.instance, evse.id), {"evse": evse}
            continue
        for connector in evse.connectors:
            where = Component(row.name, row.instance, evse.id, connector.id)
            yield where, {"evse": evse, "connector": connector}


def _definition(
    component: Component, row: VariableRow, profile: Profile, scope: Mapping[str, Any]
) -> VariableDefinition:
    key = VariableKey(component, row.name, row.instance)
    changes = [change for change in profile.variable if _means(change, key)]
    value = next((each.value for each in changes if each.value is not None), row.value)
    writable = next((each.writable for each in changes if each.writable is not None), row.writable)
    if isinstance(writable, str):
        writable = profile.meets(writable)
    mutability: Mutability = "WriteOnly" if row.secret else "ReadWrite" if writable else "ReadOnly"
    values = _fact(row.values, profile, scope)
    limit = _fact(str(row.max), profile, scope) if row.max is not None else None
    return VariableDefinition(
        key=key,
        data_type=row.type,
        attributes=(
            Attribute(
                mutability=mutability,
                value=_fact(value, profile, scope),
                persistent=mutability != "ReadOnly",
                constant=row.constant and mutability == "ReadOnly",
            ),
        ),
        unit=row.unit,
        min_limit=row.min,
        max_limit=int(limit) if limit else None,
        values=tuple(members(values)) if values else (),
        source=row.source,
        rule=row.rule,
        secret=row.secret,
        reboot=row.reboot,
        may_be_empty=row.may_be_empty,
    )


def _means(change: Change, key: VariableKey) -> bool:
    return (
        change.component == key.component.name
        and change.variable == key.name
        and change.instance == key.component.instance
        and change.variable_instance == key.instance
        and change.evse in (None, key.component.evse_id)
        and change.connector in (None, key.component.connector_id)
    )


def _fact(text: str | None, profile: Profile, scope: Mapping[str, Any]) -> str | None:
    """`text`, or the fact it names: `$limits.network_slots` is an attribute of the profile."""
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


# Reading and setting.


def members(text: str) -> tuple[str, ...]:
    """The values of a list variable: `A, B` is ("A", "B"), empty text is none."""
    return tuple(each.strip() for each in text.split(",")) if text.strip() else ()


def unreadable(definition: VariableDefinition, attribute_type: str) -> Refusal | None:
    """Why the CSMS may not read this, None when it may (B06.FR.08, FR.09)."""
    attribute = definition.attribute(attribute_type)
    if attribute is None:
        return _no_such_attribute(definition, attribute_type)
    if attribute.mutability == "WriteOnly":
        return Refusal("Rejected", "WriteOnly", f"{definition.path} is write-only")
    return None


def value_of(
    definition: VariableDefinition,
    overrides: Overrides,
    live: Live,
    attribute_type: str = "Actual",
) -> str:
    """What the variable holds now; empty text where it holds nothing (B06.FR.13)."""
    attribute = definition.attribute(attribute_type)
    assert attribute is not None, f"{definition.path} has no {attribute_type}"
    if definition.source and attribute_type == "Actual":
        known = live(definition.source, definition.key.component)
        if known is not None:
            return known
    return overrides.get(definition.attribute_path(attribute_type), attribute.value or "")


def check(definition: VariableDefinition, attribute_type: str, text: str) -> Refusal | None:
    """Why the CSMS may not set this attribute to this text, None when it may.

    The caller answers RebootRequired instead of Accepted where `definition.reboot` is set.
    Source: B05.FR.06 to FR.09.
    """
    attribute = definition.attribute(attribute_type)
    if attribute is None:
        return _no_such_attribute(definition, attribute_type)
    if attribute.mutability == "ReadOnly":
        return Refusal("Rejected", "ReadOnly", f"{definition.path} is read-only")
    return check_value(definition, text)


def check_value(definition: VariableDefinition, text: str) -> Refusal | None:
    """Why this variable can never hold this text, None when it can.

    Type, length, range, list and the rule the variable has of its own. A secret text is never
    repeated in the refusal.
    """
    if len(text) > VALUE_SIZE_MAX:
        return _refused(definition, text, f"at most {VALUE_SIZE_MAX} characters", "TooLargeElement")
    refusal = CHECKS[definition.data_type](definition, text)
    if refusal is None and definition.rule:
        wanted = RULES[definition.rule](text)
        return _refused(definition, text, wanted) if wanted else None
    return refusal


def _no_such_attribute(definition: VariableDefinition, attribute_type: str) -> Refusal:
    return Refusal(
        "NotSupportedAttributeType",
        "UnsupportedParam",
        f"{definition.path} has no {attribute_type[:20]} attribute",
    )


def _refused(
    definition: VariableDefinition, text: str, wanted: str, reason_code: str = "InvalidValue"
) -> Refusal:
    if definition.secret:
        got = f"got {len(text)} characters"
    else:
        shown = text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"
        got = f'got "{shown}"'
    return Refusal("Rejected", reason_code, f"{definition.path} wants {wanted}, {got}")


INTEGER = re.compile(r"0|-?[1-9][0-9]*")
DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]{1,6})?")
DATE_TIME = re.compile(
    r"(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"[Tt]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d{1,3})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"
)


def _check_integer(definition: VariableDefinition, text: str) -> Refusal | None:
    if not INTEGER.fullmatch(text) or not text.isascii():
        unit = f" of {definition.unit}" if definition.unit else ""
        return _refused(definition, text, f"an integer{unit}")
    return _check_range(definition, text)


def _check_decimal(definition: VariableDefinition, text: str) -> Refusal | None:
    if not DECIMAL.fullmatch(text) or not text.isascii():
        unit = f" of {definition.unit}" if definition.unit else ""
        return _refused(definition, text, f"a decimal{unit} with at most 6 places")
    return _check_range(definition, text)


def _check_range(definition: VariableDefinition, text: str) -> Refusal | None:
    """B05.FR.08, and the 32 bits of Part 2 §2.1.4 where the variable names no limit."""
    least = -INTEGER_MAX - 1 if definition.min_limit is None else definition.min_limit
    most = INTEGER_MAX if definition.max_limit is None else definition.max_limit
    if least <= Decimal(text) <= most:
        return None
    if definition.max_limit is None and definition.min_limit is not None:
        wanted = f"{least} or more" if Decimal(text) < least else f"at most {most}"
    else:
        wanted = f"{least} to {most}"
    return _refused(definition, text, wanted, "ValueOutOfRange")


def _check_boolean(definition: VariableDefinition, text: str) -> Refusal | None:
    if text in ("true", "false"):
        return None
    return _refused(definition, text, "true or false")


def _check_date_time(definition: VariableDefinition, text: str) -> Refusal | None:
    if DATE_TIME.fullmatch(text) and text.isascii():
        return None
    return _refused(definition, text, "a date and time as 2025-01-31T23:59:59Z")


def _check_string(definition: VariableDefinition, text: str) -> Refusal | None:
    if definition.max_limit is not None and len(text) > definition.max_limit:
        return _refused(
            definition, text, f"at most {definition.max_limit} characters", "TooLargeElement"
        )
    return None


def _check_option(definition: VariableDefinition, text: str) -> Refusal | None:
    if text in definition.values:
        return None
    return _refused(definition, text, f"one of {','.join(definition.values)}")


def _check_list(definition: VariableDefinition, text: str) -> Refusal | None:
    """Both a set and a sequence hold each value once; a sequence keeps its order."""
    chosen = members(text)
    if not chosen and not definition.may_be_empty:
        return _refused(definition, text, f"some of {','.join(definition.values)}")
    for value in chosen:
        if value not in definition.values:
            return _refused(definition, text, f"only values of {','.join(definition.values)}")
    if len(set(chosen)) < len(chosen):
        return _refused(definition, text, "each value once")
    return _check_string(definition, text)


CHECKS: dict[DataType, Callable[[VariableDefinition, str], Refusal | None]] = {
    "string": _check_string,
    "integer": _check_integer,
    "decimal": _check_decimal,
    "boolean": _check_boolean,
    "dateTime": _check_date_time,
    "OptionList": _check_option,
    "SequenceList": _check_list,
    "MemberList": _check_list,
}

PASSWORD_MIN = 16  # characters; A00.FR.205

IDENTIFIER = re.compile(r"[A-Za-z0-9*\-_=:+|@.]*")
TIME_OFFSET = re.compile(r"([+-](0\d|1[0-4]):[0-5]\d)?")
TIME_ZONE = re.compile(r"([A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*)?")


def _wants_password(text: str) -> str | None:
    """A00.FR.205 with errata 2025-01: any UTF-8; control characters cannot travel (RFC 7617)."""
    if len(text) < PASSWORD_MIN:
        return f"at least {PASSWORD_MIN} characters"
    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in text):
        return "no control characters"
    return None


def _wants(pattern: re.Pattern[str], wanted: str) -> Callable[[str], str | None]:
    return lambda text: None if pattern.fullmatch(text) else wanted


# What a rule's variable wants in place of a text, None when the text is good.
RULES: dict[str, Callable[[str], str | None]] = {
    "identifier": _wants(IDENTIFIER, "letters, digits and * - _ = : + | @ . only"),
    "not empty": lambda text: None if text.strip() else "some text",
    "password": _wants_password,
    "time offset": _wants(TIME_OFFSET, "an offset as +01:00"),
    "time zone": _wants(TIME_ZONE, "a time zone as Europe/Oslo"),
}


# Reports.

CONDITIONS = frozenset({"Problem", "Tripped", "Overload", "Fallback"})


def full_inventory(model: DeviceModel, read: Read) -> Iterator[VariableDefinition]:
    """Every variable. B07.FR.08."""
    yield from model.definitions


def configuration_inventory(model: DeviceModel, read: Read) -> Iterator[VariableDefinition]:
    """Every variable the operator may set, secret ones too. B07.FR.07."""
    for definition in model.definitions:
        if definition.settable:
            yield definition


def summary_inventory(model: DeviceModel, read: Read) -> Iterator[VariableDefinition]:
    """Who is available, and whatever is wrong right now. B07.FR.09."""
    for definition in model.definitions:
        name = definition.key.name
        if name == "AvailabilityState" or (name in CONDITIONS and read(definition) == "true"):
            yield definition


# ReportBaseEnumType
INVENTORIES: dict[str, Callable[[DeviceModel, Read], Iterator[VariableDefinition]]] = {
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


class Wanted(msgspec.Struct, frozen=True):
    """One componentVariable of GetReport; what is None is not restricted."""

    component: Component
    variable: str | None = None
    instance: str | None = None

    def means(self, key: VariableKey) -> bool:
        """B08.FR.20 to FR.25: what is left out stands for everything there is."""
        component, held = self.component, key.component
        return (
            _same(component.name, held.name)
            and component.evse_id in (None, held.evse_id)
            and component.connector_id in (None, held.connector_id)
            and (not component.instance or _same(component.instance, held.instance))
            and (not self.variable or _same(self.variable, key.name))
            and (not self.instance or _same(self.instance, key.instance))
        )


def _same(name: str, other: str | None) -> bool:
    return other is not None and name.casefold() == other.casefold()


def custom_report(
    model: DeviceModel, criteria: Iterable[str], wanted: Sequence[Wanted], read: Read
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
            _holds(definitions, criterion, otherwise, read)
            for criterion, otherwise in asked.items()
        ):
            continue
        for definition in definitions:
            if not wanted or any(each.means(definition.key) for each in wanted):
                yield definition


def _holds(
    definitions: Iterable[VariableDefinition], criterion: str, otherwise: bool, read: Read
) -> bool:
    for definition in definitions:
        if definition.key.name == criterion and definition.key.instance is None:
            return read(definition) == "true"
    return otherwise


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


def report_data(definition: VariableDefinition, overrides: Overrides, live: Live) -> dict[str, Any]:
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
            _attribute_data(definition, attribute, overrides, live)
            for attribute in definition.attributes
        ],
        "variableCharacteristics": _characteristics_data(definition),
    }


def _attribute_data(
    definition: VariableDefinition, attribute: Attribute, overrides: Overrides, live: Live
) -> dict[str, Any]:
    data: dict[str, Any] = {"type": attribute.type, "mutability": attribute.mutability}
    if attribute.mutability != "WriteOnly":
        data["value"] = value_of(definition, overrides, live, attribute.type)
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


def pages(
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
