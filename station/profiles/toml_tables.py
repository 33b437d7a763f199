"""Convert TOML tables to typed structs, with one-line errors a person can act on.

A valid table costs one call into msgspec. Only after an error the table is walked to find unknown
keys and the nearest known ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, get_args

import msgspec

Kind = TypeVar("Kind")


class TableError(ValueError):
    """A table is invalid. The message has the place and what to do."""


def convert_table(raw: Mapping[str, Any], struct_type: type[Kind]) -> Kind:
    """`raw` as a `struct_type`.

    Raises:
        TableError: an unknown key, a missing key or a value of the wrong type.
    """
    try:
        return msgspec.convert(raw, struct_type)
    except msgspec.ValidationError as error:
        unknown_key = next(find_unknown_keys(raw, struct_type), None)
        raise TableError(unknown_key or explain_error(str(error))) from None


def unknown_key_message(key: str, known: Iterable[str], thing: str = "a key") -> str:
    """The error for an unknown key, with the known one it resembles most."""
    import difflib  # imported only for an invalid file

    names = list(known)
    folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(key.casefold(), folded, n=1, cutoff=0.5)
    if near:
        return f"{key} is not {thing}; did you mean {folded[near[0]]}?"
    return f"{key} is not {thing}; known are {', '.join(sorted(names))}"


def find_unknown_keys(raw: object, expected_type: Any, place: str = "$") -> Iterator[str]:
    """Errors for keys of `raw` that the struct type, or a struct inside it, does not have."""
    if (
        isinstance(raw, Mapping)
        and isinstance(expected_type, type)
        and issubclass(expected_type, msgspec.Struct)
    ):
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(expected_type)}
        for key, value in raw.items():
            if key not in fields:
                yield toml_location(place) + unknown_key_message(key, fields)
            else:
                yield from find_unknown_keys(value, fields[key], f"{place}.{key}")
    elif isinstance(raw, list):
        for number, value in enumerate(raw):
            for inner in get_args(expected_type):
                yield from find_unknown_keys(value, inner, f"{place}[{number}]")


def toml_location(place: str) -> str:
    """A msgspec path in TOML notation: `$.csms` is `[csms] `, `$.evse[1]` is `[[evse]] 2: `."""
    steps = re.findall(r"\.([\w-]+)|\[(\d+)\]", place)
    location = ""
    for position, (name, index) in enumerate(steps):
        indexed = position + 1 < len(steps) and bool(steps[position + 1][1])
        if index:
            location += f"{int(index) + 1}: "
        elif position == 0:
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


def explain_error(message: str) -> str:
    """An error of msgspec in the words and places of the file."""
    what, _, place = message.partition(" - at `")
    place = place.rstrip("`") or "$"
    if missing := re.fullmatch(r"Object missing required field `(.+)`", what):
        key = missing[1]
        return f"[{key}] is missing" if place == "$" else f"{toml_location(place)}{key} is missing"
    if wrong := re.fullmatch(r"Expected `(.+)`, got `(.+)`", what):
        expected = " or ".join(TYPE_NAMES.get(name, name) for name in wrong[1].split(" | "))
        return f"{toml_location(place)}needs {expected}, got {TYPE_NAMES.get(wrong[2], wrong[2])}"
    if value := re.fullmatch(r"Invalid enum value (.+)", what):
        return f"{toml_location(place)}{value[1]} is not one of the known values"
    return f"{toml_location(place)}{what[0].lower()}{what[1:]}"
