"""The official JSON schemas: as comparable shapes, mutants, valid and invalid payloads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

from hypothesis import strategies as st

from station.ocpp.messages import ACTIONS

Json = Any
Schema = dict[str, Any]
Shape = dict[str, Any]

INTEGER_BOUND = 2**63  # of the station; the schemas have none

CORRECTIONS: dict[str, Schema] = {
    # The `ocpp` package has an older limit. Edition 3 and its schemas have 5600;
    # OCPPCommCtrlr.FieldLength is the way to announce more.
    "Get15118EVCertificateResponse": {"exiResponse": {"type": "string", "maxLength": 5600}},
}

MESSAGES = [f"{action}{side}" for action in sorted(ACTIONS) for side in ("Request", "Response")]

_IGNORED_KEYWORDS = {
    "$schema",
    "$id",
    "comment",
    "description",
    "javaType",
    "default",
    "definitions",
}
_KNOWN_KEYWORDS = {
    "object": {"type", "properties", "required", "additionalProperties"},
    "array": {"type", "items", "additionalItems", "minItems", "maxItems"},
    "string": {"type", "maxLength", "enum", "format", "additionalProperties"},
    "integer": {"type", "minimum", "maximum"},
    "number": {"type"},
    "boolean": {"type"},
}


@cache
def schema_text(message: str) -> str:
    return (files("ocpp.v201") / "schemas" / f"{message}.json").read_text("utf-8-sig")


def schema_names() -> set[str]:
    """Every message with a schema."""
    folder = files("ocpp.v201") / "schemas"
    return {entry.name.removesuffix(".json") for entry in folder.iterdir()}


def schema_of(message: str) -> Schema:
    """A new copy of the schema of a message."""
    schema: Schema = json.loads(schema_text(message))
    for name, corrected in CORRECTIONS.get(message, {}).items():
        assert schema["properties"][name].keys() >= corrected.keys()
        schema["properties"][name].update(corrected)
    return schema


def resolve_reference(schema: Schema, part: Schema) -> tuple[str, Schema]:
    """Follow the reference of a subschema; returns the definition's name, if any, and the part."""
    if "$ref" not in part:
        return "", part
    name = part["$ref"].removeprefix("#/definitions/")
    return name, schema["definitions"][name]


def shape_of(schema: Schema, part: Schema, name: str) -> Shape:
    """The shape of a schema. An unknown keyword is an error."""
    definition, part = resolve_reference(schema, part)
    name = definition or name
    if "type" not in part:
        assert part.keys() <= _IGNORED_KEYWORDS, f"{name}: {part}"
        return {"anything": True}
    kind = part["type"]
    unknown = part.keys() - _IGNORED_KEYWORDS - _KNOWN_KEYWORDS[kind]
    assert not unknown, f"{name}: unknown keywords {unknown}"
    return _SHAPES[kind](schema, part, name)


def _object_shape(schema: Schema, part: Schema, name: str) -> Shape:
    required = set(part.get("required", ()))
    properties = part.get("properties", {})
    assert required <= properties.keys(), f"{name} requires properties it does not define"
    return {
        "object": name,
        "open": part.get("additionalProperties", True),
        "fields": {
            key: {"required": key in required} | shape_of(schema, value, "")
            for key, value in properties.items()
        },
    }


def _array_shape(schema: Schema, part: Schema, name: str) -> Shape:
    return {
        "array": shape_of(schema, part["items"], name),
        "min": part.get("minItems"),
        "max": part.get("maxItems"),
    }


def _string_shape(schema: Schema, part: Schema, name: str) -> Shape:
    if "enum" in part:
        return {"words": sorted(part["enum"])}
    if "format" in part:
        return {"format": part["format"]}
    return {"string": True, "max": part.get("maxLength")}


def _integer_shape(schema: Schema, part: Schema, name: str) -> Shape:
    return {
        "integer": True,
        "min": part.get("minimum", -INTEGER_BOUND),
        "max": part.get("maximum", INTEGER_BOUND - 1),
    }


_SHAPES: dict[str, Callable[[Schema, Schema, str], Shape]] = {
    "object": _object_shape,
    "array": _array_shape,
    "string": _string_shape,
    "integer": _integer_shape,
    "number": lambda schema, part, name: {"number": True},
    "boolean": lambda schema, part, name: {"boolean": True},
}


def schema_mutants(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """The schema with one change, for each change that must change its shape."""
    reached = _used_definitions(schema)
    for path in _schema_paths(schema, ()):
        if path[:1] == ("definitions",) and path[1] not in reached:
            continue
        for description, change in _CHANGES.items():
            changed = json.loads(json.dumps(schema))
            part = changed
            for step in path:
                part = part[step]
            if change(part) is not None:
                yield f"{'/'.join(map(str, path))} {description}", changed


def _used_definitions(schema: Schema) -> set[str]:
    """The definitions the message uses, directly or indirectly."""
    reached: set[str] = set()
    pending = [json.dumps({**schema, "definitions": {}})]
    while pending:
        text = pending.pop()
        for name, part in schema.get("definitions", {}).items():
            if name not in reached and f'"#/definitions/{name}"' in text:
                reached.add(name)
                pending.append(json.dumps(part))
    return reached


def _schema_paths(part: Schema, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The path of every subschema."""
    yield path
    for group in ("properties", "definitions"):
        for key, value in part.get(group, {}).items():
            yield from _schema_paths(value, (*path, group, key))
    if "items" in part:
        yield from _schema_paths(part["items"], (*path, "items"))


def _increase_keyword(key: str) -> Any:
    def change(part: Schema) -> object:
        return part.update({key: part[key] + 1}) or part if key in part else None

    return change


def _remove_keyword(key: str) -> Any:
    return lambda part: part.pop(key, None)


def _change_type(part: Schema) -> object:
    if part.get("type") not in ("integer", "number", "boolean"):
        return None
    kind = "boolean" if part["type"] == "number" else "number"
    for bound in ("minimum", "maximum"):
        part.pop(bound, None)
    return part.update(type=kind) or part


def _make_optional(part: Schema) -> object:
    return part["required"].pop() if part.get("required") else None


def _make_required(part: Schema) -> object:
    optional = sorted(part.get("properties", {}).keys() - set(part.get("required", ())))
    return part.setdefault("required", []).append(optional[0]) or part if optional else None


def _rename_property(part: Schema) -> object:
    properties = part.get("properties", {})
    optional = sorted(properties.keys() - set(part.get("required", ())))
    return properties.update(renamed=properties.pop(optional[0])) or part if optional else None


def _remove_enum_value(part: Schema) -> object:
    return part["enum"].pop() if "enum" in part else None


def _add_enum_value(part: Schema) -> object:
    return part["enum"].append("Another") or part if "enum" in part else None


def _allow_additional(part: Schema) -> object:
    closed = part.get("type") == "object" and part.get("additionalProperties") is False
    return part.update(additionalProperties=True) or part if closed else None


_CHANGES = {
    "maxLength + 1": _increase_keyword("maxLength"),
    "minItems + 1": _increase_keyword("minItems"),
    "maxItems + 1": _increase_keyword("maxItems"),
    "minimum + 1": _increase_keyword("minimum"),
    "maximum + 1": _increase_keyword("maximum"),
    "no maxLength": lambda part: None if "enum" in part else part.pop("maxLength", None),
    "no minItems": _remove_keyword("minItems"),
    "no format": _remove_keyword("format"),
    "other type": _change_type,
    "one required less": _make_optional,
    "one required more": _make_required,
    "one renamed": _rename_property,
    "one enumeration value less": _remove_enum_value,
    "one enumeration value more": _add_enum_value,
    "open": _allow_additional,
}


_TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
_DECIMALS = st.decimals(-(10**9), 10**9, allow_nan=False, places=6)
_ANY_VALUES = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | _TEXTS | _DECIMALS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=5,
)
_MOMENTS = st.datetimes().map(lambda moment: moment.isoformat(timespec="milliseconds") + "Z")


def valid_payloads(schema: Schema, part: Schema) -> st.SearchStrategy[Json]:
    """Valid payloads of a schema; numbers are `Decimal`."""
    _, part = resolve_reference(schema, part)
    match part.get("type"):
        case None:
            return _ANY_VALUES
        case "object":
            return _valid_objects(schema, part)
        case "array":
            low, high = part["minItems"], min(part.get("maxItems", 9), part["minItems"] + 2)
            return st.lists(valid_payloads(schema, part["items"]), min_size=low, max_size=high)
        case "string" if "enum" in part:
            return st.sampled_from(part["enum"])
        case "string" if "format" in part:
            return _MOMENTS
        case "string":
            return _TEXTS.map(lambda text: text[: part["maxLength"]]) | st.just(
                "ä" * part["maxLength"]
            )
        case "integer":
            low, high = part.get("minimum", -(2**31)), part.get("maximum", 2**31 - 1)
            return st.integers(int(low), int(high))
        case "number":
            return _DECIMALS | st.integers(-(10**9), 10**9)
        case _:
            return st.booleans()


def _valid_objects(schema: Schema, part: Schema) -> st.SearchStrategy[Json]:
    fields = {
        key: valid_payloads(schema, value) for key, value in part.get("properties", {}).items()
    }
    required = set(part.get("required", ()))
    closed = st.fixed_dictionaries(
        {key: value for key, value in fields.items() if key in required},
        optional={key: value for key, value in fields.items() if key not in required},
    )
    if part.get("additionalProperties") is False:
        return closed
    return st.builds(
        lambda more, declared: more | declared, st.dictionaries(_TEXTS, _ANY_VALUES), closed
    )


def example_payload(schema: Schema, part: Schema) -> Json:
    """A valid payload of a schema with all its fields."""
    _, part = resolve_reference(schema, part)
    match part.get("type"):
        case None:
            return [1, {"two": "3"}]
        case "object":
            return {
                key: example_payload(schema, value) for key, value in part["properties"].items()
            }
        case "array":
            return [example_payload(schema, part["items"])] * max(1, part["minItems"])
        case "string" if "enum" in part:
            return part["enum"][0]
        case "string" if "format" in part:
            return "2026-11-22T17:25:08.123Z"
        case "string":
            return "x" * part["maxLength"]
        case "integer":
            return int(part.get("maximum", 7))
        case "number":
            return Decimal("2935.600")
        case _:
            return True


def invalid_payloads(schema: Schema, part: Schema, seen: set[str]) -> Iterator[tuple[str, Json]]:
    """Payloads with one violation each, for every rule of the schema.

    Skips the definitions in `seen` and adds those it covers.
    """
    name, part = resolve_reference(schema, part)
    if name in seen:
        return
    if name:
        seen.add(name)
    valid = example_payload(schema, part)
    for description, invalid in _invalid_values(part, valid):
        yield f"{name}: {description}", invalid
    for key, value in part.get("properties", {}).items():
        for description, invalid in invalid_payloads(schema, value, seen):
            yield f"{name}.{key} {description}", valid | {key: invalid}
    if "items" in part:
        for description, invalid in invalid_payloads(schema, part["items"], seen):
            yield f"{name}[] {description}", [invalid]


def _invalid_values(part: Schema, valid: Json) -> Iterator[tuple[str, Json]]:
    kind = part.get("type")
    if kind is None:
        return
    yield "null", None
    for other, value in _VALUE_OF_TYPE.items():
        if other != kind and (other, kind) != ("integer", "number"):
            yield f"a {other}", value
    match kind:
        case "object":
            for key in part.get("required", ()):
                yield f"without {key}", {other: valid[other] for other in valid if other != key}
            if part.get("additionalProperties") is False:
                yield "with an unknown field", valid | {"unknown": 1}
        case "array":
            yield "empty", []
            if "maxItems" in part:
                yield "too long", [valid[0]] * (part["maxItems"] + 1)
        case "string" if "enum" in part:
            yield "another value", "Another"
            yield "in other case", valid.swapcase()
        case "string" if "maxLength" in part:
            yield "too long", valid + "x"
        case "integer":
            for bound, step in (("minimum", -1), ("maximum", 1)):
                if bound in part:
                    yield f"beyond the {bound}", int(part[bound]) + step


_VALUE_OF_TYPE: dict[str, Json] = {
    "object": {"vendorId": "x"},
    "array": [],
    "string": "1",
    "integer": 1,
    "number": Decimal("1.5"),
    "boolean": True,
}
