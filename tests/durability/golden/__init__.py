"""Golden bodies: one body of every (kind, version) ever written, `<Kind>.<version>.json`.

They are never changed. `python -m tests.durability.golden` adds those that are missing; a body of a
version that no station has written yet may be deleted and made again.

`enumerations.toml` has the values that an enumerated field of each (kind, version) can have. An
older release cannot read another one: with the same version the entry is damage to it, with a newer
one it is an entry of a newer release. So a value is added together with a version.
"""

from __future__ import annotations

import importlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec import inspect

from journal.codec import Registry, build_registry
from journal.events import Decision, Event, Observation

HOME = Path(__file__).parent
ENUMERATIONS = HOME / "enumerations.toml"
SAMPLE_FRAME = msgspec.Raw(b'[2,"m-1","Heartbeat",{"meterValue":2935.600}]')


def station_kinds() -> Registry:
    """Every kind the station writes, without the kinds that tests define."""
    importlib.import_module("journal.state")
    kinds = build_registry(Observation, Decision).kinds.values()
    return Registry(kind for kind in kinds if kind.__module__.startswith("journal."))


def stored_bodies() -> dict[tuple[str, int], str]:
    """The golden bodies, by kind and version."""
    bodies = {}
    for file in sorted(HOME.glob("*.json")):
        kind, version, _ = file.name.split(".")
        bodies[kind, int(version)] = file.read_text(encoding="utf-8").removesuffix("\n")
    return bodies


def missing_bodies() -> Iterator[tuple[Path, str]]:
    """Files that are missing here, each with the body of an example event."""
    registry, stored = station_kinds(), stored_bodies()
    for cls in registry.kinds.values():
        kind, version, body = registry.encode(example_event(cls))
        if (kind, version) not in stored:
            yield HOME / f"{kind}.{version}.json", body


Enumerations = Mapping[str, list[str]]  # field, as `events[].outcome` -> its values in order


def enumerations_of(cls: type[Event]) -> Enumerations:
    """The enumerated fields of a kind in this release."""
    return dict(sorted(_iter_enumerations(inspect.type_info(cls), "")))


def stored_enumerations() -> dict[str, Enumerations]:
    """The enumerated fields of each `<Kind>.<version>` that has any."""
    return tomllib.loads(ENUMERATIONS.read_text(encoding="utf-8"))


def missing_enumerations() -> Iterator[str]:
    """Lines that are missing in the file, for versions that are not in it."""
    stored = stored_enumerations()
    for name, cls in sorted(station_kinds().kinds.items()):
        key, fields = f"{name}.{cls.VERSION}", enumerations_of(cls)
        if fields and key not in stored:
            yield f'["{key}"]'
            yield from (f'"{field}" = {json.dumps(values)}' for field, values in fields.items())
            yield ""


def _iter_enumerations(type: inspect.Type, path: str) -> Iterator[tuple[str, list[str]]]:
    match type:
        case inspect.LiteralType(values=values):
            yield path, sorted(map(str, values))
        case inspect.EnumType(cls=enum):
            yield path, sorted(str(member.value) for member in enum)
        case inspect.StructType(fields=fields):
            for field in fields:
                prefix = f"{path}." if path else ""
                yield from _iter_enumerations(field.type, f"{prefix}{field.name}")
        case inspect.UnionType(types=types) | inspect.TupleType(item_types=types):
            for each in types:
                yield from _iter_enumerations(each, path)
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            yield from _iter_enumerations(item, f"{path}[]")
        case inspect.DictType(key_type=key, value_type=value):
            yield from _iter_enumerations(key, f"{path}{{key}}")
            yield from _iter_enumerations(value, f"{path}{{}}")
        case _:
            return


def example_event(cls: type[Event]) -> Event:
    """An event with every field filled, the same each time."""
    return cast(Event, _example_value(inspect.type_info(cls), cls.__name__))


def _example_value(type: inspect.Type, name: str) -> Any:
    match type:
        case inspect.StructType(cls=cls, fields=fields):
            return cls(**{field.name: _example_value(field.type, field.name) for field in fields})
        case inspect.UnionType(types=types):
            return _example_value(next(each for each in types if not _is_none_type(each)), name)
        case inspect.LiteralType(values=values):
            return values[0]
        case inspect.EnumType(cls=enum):
            return next(iter(enum))
        case inspect.VarTupleType(item_type=item):
            return (_example_value(item, name), _example_value(item, name))
        case inspect.TupleType(item_types=items):
            return tuple(_example_value(item, name) for item in items)
        case inspect.ListType(item_type=item):
            return [_example_value(item, name)]
        case inspect.DictType(key_type=key, value_type=value):
            return {_example_value(key, name): _example_value(value, name)}
        case _:
            return _example_leaf(type, name)


def _is_none_type(type: inspect.Type) -> bool:
    return isinstance(type, inspect.NoneType)


def _example_leaf(type: inspect.Type, name: str) -> Any:
    match type:
        case inspect.BoolType():
            return True
        case inspect.IntType():
            return len(name)
        case inspect.DecimalType():
            return Decimal("2935.600")
        case inspect.StrType():
            return f"{name} ü"
        case inspect.RawType():
            return SAMPLE_FRAME
        case inspect.AnyType():
            return {"value": Decimal("2935.600")}
        case _:
            raise TypeError(f"{name}: no example of {type} yet; add a case here")
