"""What is different between two JSON documents, a line for each thing?

Members of objects go by their names, members of lists by what identifies them, so that a
transaction that ended does not make those behind it look changed. The order of the lines is that
of the paths.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

NO_VALUE_TEXT: Final = "nothing"  # stands where only the other document has something
ATOMIC_LIST_MAX: Final = 12  # numbers or texts that are told as one value

# What tells the members of a list from each other: the first of these that does.
IDENTITY_FIELDS: Final = (
    ("transaction_id",),
    ("evse_id", "connector_id"),
    ("evse_id", "device", "fault"),
    ("evse_id",),
    ("read.evse_id",),
    ("at_ms", "context"),
    ("use", "hash.serial_number"),
    ("slot",),
    ("call",),
    ("seq",),
    ("message_id",),
)

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class Change(NamedTuple):
    """A thing that is not what it was; `old` and `new` are JSON, or NOTHING."""

    path: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.path}: {self.old} -> {self.new}"


def diff_json(before: bytes, after: bytes) -> Iterator[Change]:
    """What is different in `after`. Numbers are equal only digit for digit.

    Args:
        before, after: JSON documents.

    Raises:
        msgspec.DecodeError: one of them is no JSON.
    """
    yield from _diff_values("", _decoder.decode(before), _decoder.decode(after))


class _Absent:
    """Not there; None is a value."""


ABSENT: Final = _Absent()
Members = dict[str, Any]
KeyFunction = Callable[[Any], str | None]


def _diff_values(path: str, old: Any, new: Any) -> Iterator[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _diff_members(old, new, lambda name: _join_path(path, name))
    elif isinstance(old, list) and isinstance(new, list) and (both := _key_members(old, new)):
        yield from _diff_members(*both, lambda name: f"{path}[{name}]")
        yield from _diff_order(path, *both)
    elif _encode_value(old) != _encode_value(new):
        yield Change(path, _encode_value(old), _encode_value(new))


def _diff_members(old: Members, new: Members, path: Callable[[str], str]) -> Iterator[Change]:
    for name in sorted(old.keys() | new.keys(), key=_sort_key):
        yield from _diff_values(path(name), old.get(name, ABSENT), new.get(name, ABSENT))


def _diff_order(path: str, old: Members, new: Members) -> Iterator[Change]:
    """Members of a list that stand in another order."""
    before = [name for name in old if name in new]
    after = [name for name in new if name in old]
    if before != after:
        yield Change(f"{path} (order)", ", ".join(before), ", ".join(after))


def _key_members(old: list[Any], new: list[Any]) -> tuple[Members, Members] | None:
    """The members by what identifies them; None: the lists are better told whole."""
    for naming in _candidate_keys(old, new):
        before = {name: one for one in old if (name := naming(one)) is not None}
        after = {name: one for one in new if (name := naming(one)) is not None}
        if len(before) == len(old) and len(after) == len(new):
            return before, after
    return None


def _candidate_keys(old: list[Any], new: list[Any]) -> Iterator[KeyFunction]:
    """The ways in which the members may be told from each other."""
    some = [*old[:1], *new[:1]]
    if all(isinstance(one, dict) for one in some):
        yield from map(_key_from_fields, IDENTITY_FIELDS)
    elif all(isinstance(one, list) for one in some):
        yield lambda one: _format_key(one[0]) if isinstance(one, list) and one else None
    elif max(len(old), len(new)) > ATOMIC_LIST_MAX:
        yield _format_key


def _key_from_fields(fields: tuple[str, ...]) -> KeyFunction:
    def name(one: Any) -> str | None:
        found = [_get_field(one, field) for field in fields]
        return None if ABSENT in found else "/".join(map(_format_key, found))

    return name


def _get_field(value: Any, field: str) -> Any:
    for part in field.split("."):
        value = value.get(part, ABSENT) if isinstance(value, dict) else ABSENT
    return value


def _join_path(path: str, member: str) -> str:
    if not _IDENTIFIER.fullmatch(member):
        return f"{path}[{member}]"
    return f"{path}.{member}" if path else member


def _sort_key(name: str) -> tuple[int, str]:
    """Numbers by size, and before words."""
    digits = name.isascii() and name.isdigit()
    return (len(name.lstrip("0")), name) if digits else (1 << 30, name)


def _format_key(value: Any) -> str:
    return value if isinstance(value, str) else _encode_value(value)


def _encode_value(value: Any) -> str:
    return NO_VALUE_TEXT if value is ABSENT else _encoder.encode(value).decode()
