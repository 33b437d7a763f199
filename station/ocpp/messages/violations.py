"""CALLERROR code and description for a payload that violates its schema.

Part 4 §4.3, table 8, has one sentence per code and few examples, and no erratum up to 2025-09
changes it. This is our reading:

    FormatViolation                 no JSON at all.
    ProtocolError                   unknown field, or a payload that is no object.
    OccurrenceConstraintViolation   missing field, or a list too short or too long.
    TypeConstraintViolation         wrong JSON type.
    PropertyConstraintViolation     text, number or enum value outside of what the field allows.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

import msgspec

from station.ocpp.messages import MalformedPayload

ErrorCode = Literal[
    "FormatViolation",
    "OccurrenceConstraintViolation",
    "PropertyConstraintViolation",
    "ProtocolError",
    "TypeConstraintViolation",
]

DESCRIPTION_MAX: Final = 255  # characters, Part 4 §4.2.3


class Violation(NamedTuple):
    """Code and description of the CALLERROR. The description has names only, never a value."""

    code: ErrorCode
    description: str


def describe_violation(error: msgspec.ValidationError) -> Violation:
    """Code and place of a violation, such as `$.firmware.location: expected length <= 512`.

    The value itself may be a password and is left out. Only the first violation is reported, since
    decoding stops there.

    Args:
        error: from `decode_request` or `decode_response`.
    """
    if isinstance(error, MalformedPayload):
        return Violation("FormatViolation", _truncate_description(f"cannot be read: {error}"))
    fault, separator, path = str(error).rpartition(" - at `")
    if not separator:  # msgspec gives no path at the root
        fault, path = str(error), "$`"
    for pattern, code, template in _VIOLATION_PATTERNS:
        if match := re.fullmatch(pattern, f"{path}{fault}", re.DOTALL):
            names = {key: _json_type_name(key, value) for key, value in match.groupdict().items()}
            return Violation(code, _truncate_description(template.format(**names)))
    return Violation(
        "PropertyConstraintViolation", _truncate_description(f"{path[:-1]}: invalid value")
    )


def _json_type_name(group: str, text: str) -> str:
    """JSON's name of a type instead of Python's. Names of fields are unchanged."""
    return _JSON_TYPE_NAMES.get(text, text) if group in ("wanted", "got") else text


def _truncate_description(text: str) -> str:
    return text if len(text) <= DESCRIPTION_MAX else f"{text[: DESCRIPTION_MAX - 1]}…"


_JSON_TYPE_NAMES = {
    "str": "string",
    "int": "integer",
    "bool": "boolean",
    "float": "number",
    "decimal": "number",
}
_PATH_PATTERN = r"(?P<path>[^`]*)`"
_TYPE_MISMATCH_PATTERN = r"Expected `(?P<wanted>\w+)`, got `(?P<got>\w+)`"
# Error text of msgspec (or `convert_value`) -> code and description. The first match is used.
_VIOLATION_PATTERNS: Final[tuple[tuple[str, ErrorCode, str], ...]] = (
    (r"\$`" + _TYPE_MISMATCH_PATTERN, "ProtocolError", "expected {wanted}, got {got}"),
    (
        _PATH_PATTERN + _TYPE_MISMATCH_PATTERN,
        "TypeConstraintViolation",
        "{path}: expected {wanted}, got {got}",
    ),
    (
        _PATH_PATTERN + _TYPE_MISMATCH_PATTERN + r" in `(?P<name>\w+)`",
        "TypeConstraintViolation",
        "{path}.{name}: expected {wanted}, got {got}",
    ),
    (
        _PATH_PATTERN + r"Object missing required field `(?P<name>.+)`",
        "OccurrenceConstraintViolation",
        "{path}.{name}: missing",
    ),
    (
        _PATH_PATTERN + r"Expected `array` of (?P<length>length [<>]= \d+)",
        "OccurrenceConstraintViolation",
        "{path}: expected {length}",
    ),
    (
        _PATH_PATTERN + r"Object contains unknown field `(?P<name>.*)`",
        "ProtocolError",
        "{path}: has no field {name}",
    ),
    (
        _PATH_PATTERN + r"Expected `str` of (?P<length>length [<>]= \d+)",
        "PropertyConstraintViolation",
        "{path}: expected {length}",
    ),
    (
        _PATH_PATTERN + r"Expected `str` of (?P<length>length <= \d+) in `(?P<name>\w+)`",
        "PropertyConstraintViolation",
        "{path}.{name}: expected {length}",
    ),
    (
        _PATH_PATTERN + r"Expected `int` (?P<bound>[<>]= -?\d+)",
        "PropertyConstraintViolation",
        "{path}: expected {bound}",
    ),
    (
        _PATH_PATTERN + r"Expected `str` matching regex .*",  # only timestamps have a pattern
        "PropertyConstraintViolation",
        "{path}: expected an RFC 3339 date-time",
    ),
    (
        _PATH_PATTERN + r"Invalid enum value .*",
        "PropertyConstraintViolation",
        "{path}: not one of the values listed for it",
    ),
    (
        _PATH_PATTERN + r"(Number|Integer value) out of range",
        "PropertyConstraintViolation",
        "{path}: number out of range",
    ),
)
