"""Convert TOML tables to typed structs, with one-line errors a person can act on.

A valid table costs one call into msgspec. Only after an error the table is walked to find unknown
keys and the nearest known ones.
"""

from __future__ import annotations

import codecs
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from types import UnionType
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec

Kind = TypeVar("Kind")


class TableError(ValueError):
    """A table is invalid. The message has the place and what to do."""


def decode_text(content: bytes) -> str:
    """The text of a file in UTF-8, without the byte order mark that some editors begin it with.

    Raises:
        ValueError: it is not UTF-8; the message says what it is.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("is UTF-16; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None


def decode_toml(content: bytes) -> dict[str, Any]:
    """The tables of a TOML file; numbers with a fraction are Decimal.

    Raises:
        ValueError: as `decode_text`, its values are nested too deeply, or one contains U+0000,
            which no path, text of OCPP or name may contain.
        tomllib.TOMLDecodeError: it is no TOML.
    """
    try:
        tables = tomllib.loads(decode_text(content), parse_float=Decimal)
        has_nul = _contains_nul(tables)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None
    if has_nul:
        raise ValueError("a value contains the character U+0000")
    return tables


def _contains_nul(value: Any) -> bool:
    """Whether a text in it, or the name of a key, contains U+0000."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_contains_nul(key) or _contains_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(map(_contains_nul, value))


def convert_table(raw: Mapping[str, Any], struct_type: type[Kind], table: str = "") -> Kind:
    """`raw` as a `struct_type`.

    Args:
        raw: the whole file, or one table of it.
        struct_type: what it becomes.
        table: the name of that table, as in `hardware.meter`; empty: `raw` is the whole file.

    Raises:
        TableError: an unknown key, a missing key or a value of the wrong type.
    """
    try:
        return msgspec.convert(raw, struct_type)
    except msgspec.ValidationError as error:
        unknown_key = next(find_unknown_keys(raw, struct_type, table=table), None)
        message = unknown_key or explain_error(str(error), struct_type, table)
        raise TableError(message) from None


class UsableKeys(NamedTuple):
    """What can be used of a table.

    Attributes:
        values: converted, by key.
        problems: one line for each key that is unknown, missing or of the wrong type.
        unusable: known keys that are missing or wrong, or that an unknown key resembles.
    """

    values: dict[str, Any]
    problems: list[str]
    unusable: set[str]


def convert_usable_keys(
    raw: Mapping[str, Any],
    struct_type: type[msgspec.Struct],
    place: str = "$",
    *,
    table: str = "",
    root_type: Any = None,
) -> UsableKeys:
    """All problems of the keys of a table, where `convert_table` raises the first.

    Keys are not compared with each other.

    Args:
        raw: the table.
        struct_type: what it becomes.
        place: of the table, as msgspec writes it.
        table: as of `convert_table`.
        root_type: the type at `$`; None: `struct_type`.
    """
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct_type)}
    values: dict[str, Any] = {}
    problems: list[str] = []
    unusable = set[str]()
    for key, value in raw.items():
        if key not in fields:
            problems.append(toml_location(place, table) + unknown_key_message(key, fields))
            unusable.update(filter(None, (nearest_key(key, fields),)))
            continue
        expected_type = fields[key].type
        problem = explain_value(
            value, expected_type, f"{place}.{key}", table=table, root_type=root_type or struct_type
        )
        if problem is None:
            values[key] = msgspec.convert(value, expected_type)
        else:
            problems.append(problem)
            unusable.add(key)
    for key, field in fields.items():
        if field.required and key not in raw and key not in unusable:
            problems.append(f"{toml_location(place, table)}{key} is missing")
            unusable.add(key)
    return UsableKeys(values, problems, unusable)


def explain_value(
    value: object, expected_type: Any, place: str, *, table: str = "", root_type: Any = None
) -> str | None:
    """The problem of one value; None: it is of the expected type.

    Args:
        value: of a key.
        expected_type: what it becomes.
        place: of the key, as msgspec writes it.
        table: as of `convert_table`.
        root_type: the type at `$`.
    """
    try:
        msgspec.convert(value, expected_type)
    except msgspec.ValidationError as error:
        unknown_key = next(find_unknown_keys(value, expected_type, place, table), None)
        what, _, below = str(error).partition(" - at `")
        inner = below.rstrip("`").removeprefix("$")
        return unknown_key or explain_error(f"{what} - at `{place}{inner}`", root_type, table)
    return None


def names_any(text: str, keys: Iterable[str]) -> bool:
    """Whether a text contains one of the keys as a word."""
    return not set(re.findall(r"\w+", text)).isdisjoint(keys)


def nearest_key(key: str, known: Iterable[str]) -> str | None:
    """The known key that an unknown one resembles most; None: it resembles none."""
    import difflib  # imported only for an invalid file

    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(key.casefold(), folded, n=1, cutoff=0.5)
    return folded[near[0]] if near else None


def unknown_key_message(key: str, known: Iterable[str], thing: str = "a key") -> str:
    """The error for an unknown key, with the known one it resembles most."""
    names = list(known)
    near = nearest_key(key, names)
    if near is not None:
        return f"{key} is not {thing}; did you mean {near}?"
    return f"{key} is not {thing}; known are {', '.join(sorted(names))}"


def find_unknown_keys(
    raw: object, expected_type: Any, place: str = "$", table: str = ""
) -> Iterator[str]:
    """Errors for keys of `raw` that the struct type, or a struct inside it, does not have."""
    if (
        isinstance(raw, Mapping)
        and isinstance(expected_type, type)
        and issubclass(expected_type, msgspec.Struct)
    ):
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(expected_type)}
        for key, value in raw.items():
            if key not in fields:
                yield toml_location(place, table) + unknown_key_message(key, fields)
            else:
                yield from find_unknown_keys(value, fields[key], f"{place}.{key}", table)
    elif isinstance(raw, list):
        for number, value in enumerate(raw):
            for inner in get_args(expected_type):
                yield from find_unknown_keys(value, inner, f"{place}[{number}]", table)


def toml_location(place: str, table: str = "") -> str:
    """A msgspec path in TOML notation: `$.csms` is `[csms] `, `$.evse[1]` is `[[evse]] 2: `.

    Below a table the path is of its keys: `$.addresses[1]` is `[hardware.meter] addresses 2: `.
    """
    steps = re.findall(r"\.([\w-]+)|\[(\d+)\]", place)
    location = f"[{table}] " if table else ""
    for position, (name, index) in enumerate(steps):
        indexed = position + 1 < len(steps) and bool(steps[position + 1][1])
        if index:
            location += f"{int(index) + 1}: "
        elif position == 0 and not table:
            location = f"[[{name}]] " if indexed else f"[{name}] "
        else:
            location += f"{name} "
    return location


TYPE_NAMES = {
    "int": "a whole number",
    "str": "text in quotes",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "float": "a number with a fraction",
    "decimal": "a number",
    "null": "nothing",
}


BOUND_NAMES = {">=": "of at least", "<=": "of at most", ">": "above", "<": "below"}


def explain_error(message: str, struct_type: Any = None, table: str = "") -> str:
    """An error of msgspec in the words and places of the file."""
    what, _, place = message.partition(" - at `")
    place = place.rstrip("`") or "$"
    location = toml_location(place, table)
    if missing := re.fullmatch(r"Object missing required field `(.+)`", what):
        key = missing[1]
        is_table = place == "$" and not table
        return f"[{key}] is missing" if is_table else f"{location}{key} is missing"
    if wrong := re.fullmatch(r"Expected `(.+)`, got `(.+)`", what):
        expected = " or ".join(TYPE_NAMES.get(name, name) for name in wrong[1].split(" | "))
        return f"{location}needs {expected}, got {TYPE_NAMES.get(wrong[2], wrong[2])}"
    if bound := re.fullmatch(r"Expected `(.+)` (>=|<=|>|<) (.+)", what):
        kind = TYPE_NAMES.get(bound[1], bound[1])
        return f"{location}needs {kind} {BOUND_NAMES[bound[2]]} {bound[3]}"
    if value := re.fullmatch(r"Invalid enum value (.+)", what):
        known = ", ".join(map(_format_value, _known_values(struct_type, place)))
        return f"{location}{value[1].replace(chr(39), chr(34))} is not one of {known}"
    return f"{location}{what[0].lower()}{what[1:]}"


def _format_value(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _known_values(expected_type: Any, place: str) -> Iterator[object]:
    """The values that the type at a place of a struct allows."""
    for name, index in re.findall(r"\.([\w-]+)|\[(\d+|\.\.\.)\]", place):
        for member in _union_members(expected_type):
            if name and isinstance(member, type) and issubclass(member, msgspec.Struct):
                fields = {field.encode_name: field for field in msgspec.structs.fields(member)}
                expected_type = fields[name].type
                break
            if index and get_args(member):
                expected_type = get_args(member)[1 if get_origin(member) is dict else 0]
                break
    for member in _union_members(expected_type):
        if get_origin(member) is Literal:
            yield from get_args(member)


def _union_members(expected_type: Any) -> tuple[Any, ...]:
    if get_origin(expected_type) in (Union, UnionType):
        return get_args(expected_type)
    return (expected_type,)
