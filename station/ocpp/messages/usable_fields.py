"""Decode a CALLRESULT of which some fields are unusable: each usable field counts.

A request that violates its schema is refused as a whole, because its sender can correct it. An
answer is different: the CSMS has acted on the CALL and does not send the answer again. A field that
breaks the schema must not take away the fields beside it: an idTokenInfo with the status Invalid
counts, whatever is wrong with its cacheExpiryDateTime.

What becomes of a field that breaks the schema:

    null                                      absent, as many a CSMS writes it
    unknown                                   left out
    whole number as text, "300"               the number
    offset as ISO 8601 has it, +0000 or +02   the offset as RFC 3339 has it, +00:00 or +02:00
    list with unusable items                  the usable items; none left: unusable
    object with unusable fields               the object without them; a required one: unusable
    anything else                             absent

What decides about an EV driver fails closed. An idTokenInfo that is no object or has no usable
status has the status `STATUS_IF_UNUSABLE`, which is also what the cache stores; so has an Accepted
one that is valid at certain EVSEs only if none of them can be read. Where an answer must have an
idTokenInfo, a missing one is unusable too.

A required field of the answer itself has a value in `VALUES_IF_UNUSABLE` that its handler treats as
"not given"; without one the answer is unusable.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, NamedTuple, get_args, get_origin

import msgspec
from msgspec.structs import fields, replace

from station.ocpp.messages import ACTIONS, decode_response
from station.ocpp.messages.b_provisioning import BootNotificationResponse
from station.ocpp.messages.datatypes import IdTokenInfoType
from station.ocpp.messages.g_availability import HeartbeatResponse
from station.ocpp.messages.primitives import (
    Datatype,
    Integer,
    Timestamp,
    convert_value,
    parse_decimal,
)
from station.ocpp.messages.violations import describe_violation

STATUS_IF_UNUSABLE: Final = "Unknown"  # AuthorizationStatusEnumType; charging is not allowed
VALUES_IF_UNUSABLE: Final[dict[tuple[type[Datatype], str], Any]] = {
    (IdTokenInfoType, "status"): STATUS_IF_UNUSABLE,
    (BootNotificationResponse, "current_time"): "",  # no time: the clock is not corrected
    (BootNotificationResponse, "interval"): 0,  # none named
    (HeartbeatResponse, "current_time"): "",
}
NAME_MAX: Final = 50  # characters of an unknown field's name
_WHOLE_NUMBER: Final = re.compile(r"-?[0-9]{1,18}")
_ISO_OFFSET: Final = re.compile(r"(.+:[0-9]{2}(?:\.[0-9]+)?[+-][0-9]{2}):?([0-9]{2})?", re.DOTALL)
_UNUSABLE: Final = object()  # no value of any field


class UsableResponse(NamedTuple):
    """What can be used of an answer, and what was wrong with it."""

    response: Datatype | None  # None: nothing
    violations: tuple[str, ...]  # names of fields only, never a value


def decode_usable_response(action: str, payload: bytes | msgspec.Raw) -> UsableResponse:
    """Decode the payload of a CALLRESULT as far as it can be used.

    Args:
        action: a key of `ACTIONS`; that of the CALL.
        payload: what the CSMS sent.
    """
    try:
        return UsableResponse(decode_response(action, payload), ())
    except msgspec.ValidationError as error:
        violation = describe_violation(error).description
    violations: list[str] = []
    try:
        plain = msgspec.json.Decoder(float_hook=_parse_number).decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        plain = None
    if type(plain) is not dict:
        violations.append(violation)
        plain = {}
    response = _usable_object(ACTIONS[action].response, plain, "$", violations)
    return UsableResponse(None if response is _UNUSABLE else response, tuple(violations))


def _usable_object(
    object_type: type[Datatype], value: Any, path: str, violations: list[str]
) -> Any:
    """An object with its usable fields; `_UNUSABLE` if a required one is missing."""
    if type(value) is not dict:
        violations.append(f"{path}: is no object")
        if object_type is not IdTokenInfoType:
            return _UNUSABLE
        value = {}
    usable: dict[str, Any] = {}
    known = {field.encode_name: field for field in fields(object_type)}
    violations.extend(
        f"{path}: has no field {_printable(name)}" for name in value if name not in known
    )
    for name, field in known.items():
        if name not in value:
            given: Any = _UNUSABLE
            if field.required:
                violations.append(f"{path}.{name}: missing")
        elif value[name] is None:
            given = _UNUSABLE
            violations.append(f"{path}.{name}: is null")
        else:
            given = _usable_value(field.type, value[name], f"{path}.{name}", violations)
        if given is not _UNUSABLE:
            usable[field.name] = given
        elif field.required:
            key = (object_type, field.name)
            if key in VALUES_IF_UNUSABLE:
                usable[field.name] = VALUES_IF_UNUSABLE[key]
            elif field.type is IdTokenInfoType:
                usable[field.name] = IdTokenInfoType(status=STATUS_IF_UNUSABLE)
            else:
                return _UNUSABLE
    decoded = object_type(**usable)
    if (
        isinstance(decoded, IdTokenInfoType)
        and decoded.status == "Accepted"
        and decoded.evse_id is None
        and value.get("evseId")
    ):
        return replace(decoded, status=STATUS_IF_UNUSABLE)  # not valid everywhere
    return decoded


def _usable_value(value_type: Any, value: Any, path: str, violations: list[str]) -> Any:
    """A value as its type, or what is usable of it."""
    try:
        return msgspec.convert(value, value_type, dec_hook=convert_value)
    except (msgspec.ValidationError, KeyError) as error:  # KeyError: no JSON type has a name
        violation = _describe(error, path)
    if isinstance(value_type, type) and issubclass(value_type, Datatype):
        return _usable_object(value_type, value, path, violations)
    item_type = _item_type(value_type)
    if item_type is not None and type(value) is list:
        return _usable_items(value_type, item_type, value, path, violations)
    violations.append(violation)
    if type(value) is not str:
        return _UNUSABLE
    if value_type == Integer and _WHOLE_NUMBER.fullmatch(value):
        return int(value)
    if value_type == Timestamp and (match := _ISO_OFFSET.fullmatch(value)):
        repaired = f"{match[1]}:{match[2] or '00'}"
        return _convert_or_unusable(repaired, value_type)
    return _UNUSABLE


def _usable_items(
    list_type: Any, item_type: Any, values: list[Any], path: str, violations: list[str]
) -> Any:
    """A list without its unusable items; `_UNUSABLE` if the rest is too short or too long."""
    items = (
        _usable_value(item_type, value, f"{path}[{position}]", violations)
        for position, value in enumerate(values)
    )
    usable = [item for item in items if item is not _UNUSABLE]
    limits = next(
        (meta for meta in get_args(list_type)[1:] if isinstance(meta, msgspec.Meta)), None
    )
    if limits and not (limits.min_length or 0) <= len(usable) <= (limits.max_length or len(usable)):
        violations.append(f"{path}: {len(usable)} usable items")
        return _UNUSABLE
    return tuple(usable)


def _item_type(value_type: Any) -> Any:
    """The type of the items of a list; None for another type."""
    if get_origin(value_type) is Annotated:
        value_type = get_args(value_type)[0]
    return get_args(value_type)[0] if get_origin(value_type) is tuple else None


def _convert_or_unusable(value: Any, value_type: Any) -> Any:
    try:
        return msgspec.convert(value, value_type, dec_hook=convert_value)
    except msgspec.ValidationError:
        return _UNUSABLE


def _describe(error: Exception, path: str) -> str:
    """Place and kind of a violation; `describe_violation` has the path from the value on."""
    if not isinstance(error, msgspec.ValidationError):
        return f"{path}: invalid value"
    description = describe_violation(error).description
    return path + description[1:] if description.startswith("$") else f"{path}: {description}"


def _parse_number(text: str) -> Any:
    """A JSON number with a point or an exponent; one that is out of range fits no field."""
    try:
        number = parse_decimal(text)
    except msgspec.ValidationError:
        return None
    return int(number) if number == number.to_integral_value() else number


def _printable(name: str) -> str:
    """An unknown field's name for a log line."""
    return "".join(char if char.isprintable() else "?" for char in name[:NAME_MAX])
