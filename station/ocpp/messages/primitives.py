"""Primitive datatypes that need more than a Python type: numbers, timestamps, optional fields.

Part 2 §2.1.4.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any, Final, NewType, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

T = TypeVar("T")

if TYPE_CHECKING:
    Maybe: TypeAlias = T | None
    """A field that may be absent, then None. JSON null is refused, as in the schemas."""

    Number: TypeAlias = Decimal
    """An exact JSON number: 2935.600 keeps its zeroes. Text and NaN are refused."""
else:
    # msgspec takes `Decimal` from JSON text as well ("1.5", even "NaN") and `T | None` from null;
    # the schemas allow neither. So at run time an optional field is a `T` with a default outside of
    # its type, and a number goes through `convert_value` below.
    from numbers import Number

    class Maybe:
        def __class_getitem__(cls, item: Any) -> Any:
            return item


INTEGER_MAX: Final = 2**63 - 1  # 32 bit in OCPP, unlimited in its schemas; a bound for storage
Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]

_DATE_PATTERN = (  # every date from year 1 to 9999, and no other
    r"(?!0000)(?:[0-9]{4}-(?:"
    r"(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    r"|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
)
_HOUR_MINUTE_PATTERN = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
TIMESTAMP_PATTERN: Final = (
    rf"\A{_DATE_PATTERN}[Tt ]{_HOUR_MINUTE_PATTERN}:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
    rf"(?:[Zz]|[+-]{_HOUR_MINUTE_PATTERN})?\Z"
)
_TIMESTAMP: Final = re.compile(TIMESTAMP_PATTERN)
_Timestamp = NewType("_Timestamp", str)

Timestamp = Annotated[_Timestamp, Meta(pattern=TIMESTAMP_PATTERN)]
"""A moment as RFC 3339 text; see `format_timestamp` and `parse_timestamp`.

Text and not `datetime`, because msgspec writes that with six decimals or none, and because a
received timestamp is sent back unchanged.
"""

_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC, microsecond=999_000)


def format_timestamp(moment: datetime) -> Timestamp:
    """A moment as OCPP requires it: UTC, `Z`, milliseconds (cut, not rounded).

    Args:
        moment: with a time zone; anything finer than a millisecond is dropped.

    Source: Part 2 §3.1: RFC 3339, at most three decimals, UTC recommended.
    """
    assert moment.tzinfo is not None, f"{moment} has no time zone"
    return _Timestamp(moment.astimezone(UTC).isoformat(timespec="milliseconds")[:23] + "Z")


def parse_timestamp(text: str) -> datetime:
    """A timestamp as a moment: aware, UTC, whole milliseconds (cut, not rounded).

    Without an offset it is UTC. A leap second becomes the second after it. A moment that its offset
    moves out of the years 1 to 9999 becomes the nearest one inside.

    Raises:
        ValueError: not RFC 3339. Never for a field of a decoded message.
    """
    if _TIMESTAMP.match(text) is None:
        raise ValueError(f"not an RFC 3339 date-time: {text[:40]!r}")
    moment = datetime.fromisoformat(f"{text[:10]}T{text[11:17]}00").replace(tzinfo=UTC)
    fraction, offset = _split_fraction(text[19:])
    shift = timedelta(seconds=int(text[17:19]), milliseconds=int(fraction[:3].ljust(3, "0")))
    try:
        return moment + (shift - _parse_offset(offset))
    except OverflowError:
        return _EARLIEST if moment.year == 1 else _LATEST


def _split_fraction(tail: str) -> tuple[str, str]:
    """The digits after the seconds, and the offset."""
    if not tail.startswith("."):
        return "", tail
    digits = len(tail) - len(tail[1:].lstrip("0123456789"))
    return tail[1:digits], tail[digits:]


def _parse_offset(text: str) -> timedelta:
    """How far ahead of UTC; for `+01:00`, `Z` or an empty text."""
    if text in ("", "Z", "z"):
        return timedelta()
    size = timedelta(hours=int(text[1:3]), minutes=int(text[4:6]))
    return -size if text[0] == "-" else size


class CustomDataType(dict[str, Any]):
    """Data of a vendor: `vendorId` and any other keys, kept as received.

    The only open type of OCPP. A msgspec struct cannot keep unknown keys, so this is a dict; treat
    it as frozen nevertheless. Numbers with decimals are `Decimal`.
    """

    __slots__ = ()

    VENDOR_ID_MAX: Final = 255  # characters

    @property
    def vendor_id(self) -> str:
        """The vendor that defines the data."""
        vendor_id: str = self["vendorId"]
        return vendor_id


class Datatype(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """A message or a part of one. Required fields first, then as the schema has them.

    Every type of OCPP may have custom data; it is the last field and given by keyword only. Absent
    fields are None and are not written. Values are checked only when they are decoded.
    """

    custom_data: Maybe[CustomDataType] = None


def parse_decimal(text: str) -> Decimal:
    """A JSON number with a point or an exponent, exact.

    Raises:
        msgspec.ValidationError: outside the range of an IEEE 754 double, the range that RFC 8259
            §6 lets senders expect. `int()` of a larger one would use all memory.
    """
    try:
        number = Decimal(text)
    except InvalidOperation:  # an exponent of more digits than Decimal can hold
        raise msgspec.ValidationError("Number out of range") from None
    if number and not -324 <= number.adjusted() <= 308:
        raise msgspec.ValidationError("Number out of range")
    return number


def convert_value(target_type: type[Any], value: Any) -> Any:
    """The `dec_hook` of msgspec: types that it cannot decode.

    Raises:
        ValueError, TypeError: msgspec adds the path and raises its ValidationError.
    """
    return _CONVERSIONS[target_type](value)


def _convert_number(value: Any) -> Decimal:
    if type(value) is int:
        return parse_decimal(str(value))
    if type(value) is Decimal:
        return value
    raise TypeError(f"Expected `number`, got `{json_type_name(value)}`")


def _convert_custom_data(value: Any) -> CustomDataType:
    if type(value) is not dict:
        raise TypeError(f"Expected `object`, got `{json_type_name(value)}`")
    if "vendorId" not in value:
        raise TypeError("Object missing required field `vendorId`")
    vendor_id = value["vendorId"]
    if type(vendor_id) is not str:
        raise TypeError(f"Expected `str`, got `{json_type_name(vendor_id)}` in `vendorId`")
    if len(vendor_id) > CustomDataType.VENDOR_ID_MAX:
        raise ValueError(
            f"Expected `str` of length <= {CustomDataType.VENDOR_ID_MAX} in `vendorId`"
        )
    return CustomDataType(value)


def json_type_name(value: Any) -> str:
    """The name of a JSON type in the errors of msgspec."""
    return _JSON_TYPE_NAMES[type(value)]


_JSON_TYPE_NAMES = {
    dict: "object",
    list: "array",
    str: "str",
    bool: "bool",
    int: "int",
    Decimal: "float",
    type(None): "null",
}
_CONVERSIONS = {Number: _convert_number, CustomDataType: _convert_custom_data}
