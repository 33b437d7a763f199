"""Variable definitions, and the checks on them: readable, settable, valid value. B05, B06.

`station.core.device_model.model` makes the definitions from a profile. A definition has everything
about a variable but its value. The checks give a Refusal, or None if the access is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from functools import cached_property
from typing import Literal

import msgspec

from station.profiles.profile import DataType

AttributeType = Literal["Actual", "Target", "MinSet", "MaxSet"]
Mutability = Literal["ReadOnly", "WriteOnly", "ReadWrite"]

VALUE_SIZE_MAX = 1000  # characters of a value that is set; SetVariableDataType.attributeValue
SHOWN_CHARACTERS_MAX = 40  # characters of a refused value that its refusal repeats
INTEGER_MAX = 2**31 - 1  # Part 2 §2.1.4: 32 bit


class Component(msgspec.Struct, frozen=True):
    """A component and its place. None: at no EVSE, at no connector, the only instance."""

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
        return _component_sort_key(self) < _component_sort_key(other)


def _component_sort_key(component: Component) -> tuple[str, int, int, str]:
    return (
        component.name,
        component.evse_id or 0,
        component.connector_id or 0,
        component.instance or "",
    )


class VariableKey(msgspec.Struct, frozen=True):
    """The key of one variable of one component."""

    component: Component
    name: str
    instance: str | None = None

    @property
    def path(self) -> str:
        """`EVSE@1.Power`, `OCPPCommCtrlr.MessageTimeout[Default]`."""
        instance = f"[{self.instance}]" if self.instance else ""
        return f"{self.component.path}.{self.name}{instance}"

    def __lt__(self, other: VariableKey) -> bool:
        return _variable_sort_key(self) < _variable_sort_key(other)


def _variable_sort_key(key: VariableKey) -> tuple[tuple[str, int, int, str], str, str]:
    return _component_sort_key(key.component), key.name, key.instance or ""


class Attribute(msgspec.Struct, frozen=True):
    """One of the up to four values of a variable, and how it may be accessed."""

    type: AttributeType = "Actual"
    mutability: Mutability = "ReadOnly"
    value: str | None = None  # factory value
    persistent: bool = False
    constant: bool = False


class VariableDefinition(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Everything about a variable but its value."""

    key: VariableKey
    data_type: DataType
    attributes: tuple[Attribute, ...]
    unit: str | None = None
    min_limit: int | None = None
    floor: int | None = None  # least value besides 0, which turns an interval off
    max_limit: int | None = None  # of text and lists: the greatest length
    values: tuple[str, ...] = ()  # that a list may have, in the order they are reported
    source: str | None = None  # one of VALUE_SOURCES
    rule: str | None = None  # one of VALUE_RULES
    secret: bool = False
    reboot_required: bool = False
    may_be_empty: bool = False
    supports_monitoring: bool = False
    preset_condition: str = ""  # not met: station.toml cannot set another value; empty: it may

    @cached_property
    def path(self) -> str:
        """The name of the Actual value in the journal and in texts for people."""
        return self.key.path

    def find_attribute(self, attribute_type: str) -> Attribute | None:
        """The attribute of that type; None if the variable does not have it."""
        for attribute in self.attributes:
            if attribute.type == attribute_type:
                return attribute
        return None

    def attribute_path(self, attribute_type: str = "Actual") -> str:
        """The key of the value in the stored values: `EVSE@1.Power`, with `#Target`."""
        return self.path if attribute_type == "Actual" else f"{self.path}#{attribute_type}"

    def nearest_in_limits(self, value: int) -> int:
        """The value, or the limit it is beyond."""
        least = -INTEGER_MAX - 1 if self.min_limit is None else self.min_limit
        most = INTEGER_MAX if self.max_limit is None else self.max_limit
        return min(max(value, least), most)

    @property
    def is_numeric(self) -> bool:
        return self.data_type in ("integer", "decimal")

    @property
    def is_write_only(self) -> bool:
        return all(attribute.mutability == "WriteOnly" for attribute in self.attributes)

    @property
    def is_settable(self) -> bool:
        """Whether the CSMS may set any of its attributes."""
        return any(attribute.mutability != "ReadOnly" for attribute in self.attributes)


class Refusal(msgspec.Struct, frozen=True):
    """The refusal of an access: the status, statusInfo.reasonCode and its text."""

    status: Literal["Rejected", "UnknownComponent", "UnknownVariable", "NotSupportedAttributeType"]
    reason_code: str
    info: str


def split_list(text: str) -> tuple[str, ...]:
    """The values of a list variable: `A, B` is ("A", "B"), empty text is none."""
    return tuple(value.strip() for value in text.split(",")) if text.strip() else ()


def check_readable(definition: VariableDefinition, attribute_type: str) -> Refusal | None:
    """Why the CSMS may not read an attribute; None: it may. B06.FR.08, B06.FR.09."""
    attribute = definition.find_attribute(attribute_type)
    if attribute is None:
        return _missing_attribute(definition, attribute_type)
    if attribute.mutability == "WriteOnly":
        return Refusal("Rejected", "WriteOnly", f"{definition.path} is write-only")
    return None


def check_settable(
    definition: VariableDefinition, attribute_type: str, text: str
) -> Refusal | None:
    """Why the CSMS may not set an attribute to a value; None: it may. B05.FR.06 to 09.

    The caller answers RebootRequired instead of Accepted if `definition.reboot_required` is set.
    """
    attribute = definition.find_attribute(attribute_type)
    if attribute is None:
        return _missing_attribute(definition, attribute_type)
    if attribute.mutability == "ReadOnly":
        return Refusal("Rejected", "ReadOnly", f"{definition.path} is read-only")
    return check_value(definition, text)


def check_value(definition: VariableDefinition, text: str) -> Refusal | None:
    """Why a value is invalid for a variable; None: it is valid.

    Checks type, length, range, list and the rule of the variable. A secret value is never repeated
    in the refusal.
    """
    if len(text) > VALUE_SIZE_MAX:
        return _refuse_value(
            definition, text, f"at most {VALUE_SIZE_MAX} characters", "TooLargeElement"
        )
    refusal = TYPE_CHECKS[definition.data_type](definition, text)
    if refusal is None and definition.rule:
        expected = VALUE_RULES[definition.rule](text)
        return _refuse_value(definition, text, expected) if expected else None
    return refusal


def _missing_attribute(definition: VariableDefinition, attribute_type: str) -> Refusal:
    return Refusal(
        "NotSupportedAttributeType",
        "UnsupportedParam",
        f"{definition.path} has no {attribute_type[:20]} attribute",
    )


def _refuse_value(
    definition: VariableDefinition, text: str, expected: str, reason_code: str = "InvalidValue"
) -> Refusal:
    if definition.secret:
        got = f"got {len(text)} characters"
    else:
        shown = text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}…"
        got = f'got "{shown}"'
    return Refusal("Rejected", reason_code, f"{definition.path} needs {expected}, {got}")


CURRENCY = re.compile(r"[A-Z]{3}")
INTEGER = re.compile(r"0|-?[1-9][0-9]*")
DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]{1,6})?")
DATE_TIME = re.compile(
    r"(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"[Tt]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d{1,3})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


def _check_integer(definition: VariableDefinition, text: str) -> Refusal | None:
    if not INTEGER.fullmatch(text):
        unit = f" of {definition.unit}" if definition.unit else ""
        return _refuse_value(definition, text, f"an integer{unit}")
    return _check_range(definition, text)


def _check_decimal(definition: VariableDefinition, text: str) -> Refusal | None:
    if not DECIMAL.fullmatch(text):
        unit = f" of {definition.unit}" if definition.unit else ""
        return _refuse_value(definition, text, f"a decimal{unit} with at most 6 places")
    return _check_range(definition, text)


def _check_range(definition: VariableDefinition, text: str) -> Refusal | None:
    """The limits of the variable, or the 32 bits of Part 2 §2.1.4. B05.FR.08."""
    least = -INTEGER_MAX - 1 if definition.min_limit is None else definition.min_limit
    most = INTEGER_MAX if definition.max_limit is None else definition.max_limit
    value = Decimal(text)
    if definition.floor is not None and value != 0:
        least = definition.floor
    if least <= value <= most:
        return None
    if definition.floor is not None:
        expected = f"0, or {least} to {most}"
    elif definition.max_limit is None and definition.min_limit is not None:
        expected = f"{least} or more" if value < least else f"at most {most}"
    else:
        expected = f"{least} to {most}"
    return _refuse_value(definition, text, expected, "ValueOutOfRange")


def _check_boolean(definition: VariableDefinition, text: str) -> Refusal | None:
    if text in ("true", "false"):
        return None
    return _refuse_value(definition, text, "true or false")


def _check_date_time(definition: VariableDefinition, text: str) -> Refusal | None:
    if DATE_TIME.fullmatch(text):
        return None
    return _refuse_value(definition, text, "a date and time as 2025-01-31T23:59:59Z")


def _check_string(definition: VariableDefinition, text: str) -> Refusal | None:
    if definition.max_limit is not None and len(text) > definition.max_limit:
        return _refuse_value(
            definition, text, f"at most {definition.max_limit} characters", "TooLargeElement"
        )
    return None


def _check_option(definition: VariableDefinition, text: str) -> Refusal | None:
    if text in definition.values:
        return None
    return _refuse_value(definition, text, f"one of {','.join(definition.values)}")


def _check_list(definition: VariableDefinition, text: str) -> Refusal | None:
    """A MemberList and a SequenceList have each value once; a SequenceList keeps its order."""
    values = split_list(text)
    if not values and not definition.may_be_empty:
        return _refuse_value(definition, text, f"some of {','.join(definition.values)}")
    for value in values:
        if value not in definition.values:
            return _refuse_value(definition, text, f"only values of {','.join(definition.values)}")
    if len(set(values)) < len(values):
        return _refuse_value(definition, text, "each value once")
    return _check_string(definition, text)


TYPE_CHECKS: dict[DataType, Callable[[VariableDefinition, str], Refusal | None]] = {
    "string": _check_string,
    "integer": _check_integer,
    "decimal": _check_decimal,
    "boolean": _check_boolean,
    "dateTime": _check_date_time,
    "OptionList": _check_option,
    "SequenceList": _check_list,
    "MemberList": _check_list,
}

PASSWORD_CHARACTERS_MIN = 16  # characters; A00.FR.205

IDENTIFIER = re.compile(r"[A-Za-z0-9*\-_=:+|@.]*")
TIME_OFFSET = re.compile(r"([+-](0\d|1[0-4]):[0-5]\d)?", re.ASCII)
TIME_ZONE = re.compile(r"([A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*)?")


def _check_password(text: str) -> str | None:
    """A00.FR.205 with errata 2025-01: any UTF-8 but control characters (RFC 7617)."""
    if len(text) < PASSWORD_CHARACTERS_MIN:
        return f"at least {PASSWORD_CHARACTERS_MIN} characters"
    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in text):
        return "no control characters"
    return None


def _pattern_rule(pattern: re.Pattern[str], expected: str) -> Callable[[str], str | None]:
    return lambda text: None if pattern.fullmatch(text) else expected


# Name of a rule -> what is expected instead of a value; None: the value is valid.
VALUE_RULES: dict[str, Callable[[str], str | None]] = {
    "currency": _pattern_rule(CURRENCY, "a currency code of ISO 4217 as EUR"),
    "identifier": _pattern_rule(IDENTIFIER, "letters, digits and * - _ = : + | @ . only"),
    "not empty": lambda text: None if text.strip() else "some text",
    "password": _check_password,
    "time offset": _pattern_rule(TIME_OFFSET, "an offset as +01:00"),
    "time zone": _pattern_rule(TIME_ZONE, "a time zone as Europe/Oslo"),
}
