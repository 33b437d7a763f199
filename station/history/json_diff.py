"""Differences of two JSON documents, one `Change` per value, in the order of their paths.

Members of objects are compared by name, members of lists by what identifies them
(`IDENTITY_FIELDS`), so that removing a transaction does not make those after it look changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

NO_VALUE_TEXT: Final = "nothing"  # for a value that only the other document has
ATOMIC_LIST_MAX: Final = 12  # a list of numbers or texts up to this length is one value

# Fields that identify the members of a list; the first row that all members have is used.
IDENTITY_FIELDS: Final = (
    ("transaction_id",),
    ("evse_id", "connector_id"),
    ("evse_id", "device", "fault"),
    ("evse_id",),
    ("meter_read.evse_id",),
    ("at_unix_ms", "context"),
    ("use", "hash_data.serial_number"),
    ("slot",),
    ("call_seq",),
    ("seq",),
    ("message_id",),
)

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class Change(NamedTuple):
    """A changed value; `old` and `new` are JSON, or NO_VALUE_TEXT."""

    path: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.path}: {self.old} -> {self.new}"


def diff_json(before: bytes, after: bytes) -> Iterator[Change]:
    """The changes from `before` to `after`. Numbers are equal only if all digits are.

    Args:
        before, after: JSON documents.

    Raises:
        msgspec.DecodeError: one of them is not JSON.
    """
    yield from _diff_values("", _decoder.decode(before), _decoder.decode(after))


class _Absent:
    """Marks a missing value; None is a value."""


ABSENT: Final = _Absent()
Members = dict[str, Any]
KeyFunction = Callable[[Any], str | None]


def _diff_values(path: str, old: Any, new: Any) -> Iterator[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _diff_members(old, new, lambda name: _join_path(path, name))
    elif isinstance(old, list) and isinstance(new, list) and (keyed := _key_members(old, new)):
        yield from _diff_members(*keyed, lambda name: f"{path}[{name}]")
        yield from _diff_order(path, *keyed)
    elif _encode_value(old) != _encode_value(new):
        yield Change(path, _encode_value(old), _encode_value(new))


def _diff_members(old: Members, new: Members, path: Callable[[str], str]) -> Iterator[Change]:
    for name in sorted(old.keys() | new.keys(), key=_sort_key):
        yield from _diff_values(path(name), old.get(name, ABSENT), new.get(name, ABSENT))


def _diff_order(path: str, old: Members, new: Members) -> Iterator[Change]:
    """The order of the members of a list, if it changed."""
    before = [name for name in old if name in new]
    after = [name for name in new if name in old]
    if before != after:
        yield Change(f"{path} (order)", ", ".join(before), ", ".join(after))


def _key_members(old: list[Any], new: list[Any]) -> tuple[Members, Members] | None:
    """The members by their keys; None: no key identifies them, the lists are compared whole."""
    for key_of in _candidate_keys(old, new):
        before = {key: member for member in old if (key := key_of(member)) is not None}
        after = {key: member for member in new if (key := key_of(member)) is not None}
        if len(before) == len(old) and len(after) == len(new):
            return before, after
    return None


def _candidate_keys(old: list[Any], new: list[Any]) -> Iterator[KeyFunction]:
    """Functions that may identify the members."""
    samples = [*old[:1], *new[:1]]
    if all(isinstance(member, dict) for member in samples):
        yield from map(_key_from_fields, IDENTITY_FIELDS)
    elif all(isinstance(member, list) for member in samples):
        yield lambda member: _format_key(member[0]) if isinstance(member, list) and member else None
    elif max(len(old), len(new)) > ATOMIC_LIST_MAX:
        yield _format_key


def _key_from_fields(fields: tuple[str, ...]) -> KeyFunction:
    def key_of(member: Any) -> str | None:
        values = [_get_field(member, field) for field in fields]
        return None if ABSENT in values else "/".join(map(_format_key, values))

    return key_of


def _get_field(value: Any, field: str) -> Any:
    for part in field.split("."):
        value = value.get(part, ABSENT) if isinstance(value, dict) else ABSENT
    return value


def _join_path(path: str, member: str) -> str:
    if not _IDENTIFIER.fullmatch(member):
        return f"{path}[{member}]"
    return f"{path}.{member}" if path else member


def _sort_key(name: str) -> tuple[int, str]:
    """Numbers by value, before names."""
    digits = name.isascii() and name.isdigit()
    return (len(name.lstrip("0")), name) if digits else (1 << 30, name)


def _format_key(value: Any) -> str:
    return value if isinstance(value, str) else _encode_value(value)


def _encode_value(value: Any) -> str:
    return NO_VALUE_TEXT if value is ABSENT else _encoder.encode(value).decode()
