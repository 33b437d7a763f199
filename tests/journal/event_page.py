"""The page journal/EVENTS.md: every kind of event with its fields, from the source.

`python -m tests.journal.event_page` writes it; `test_event_page.py` compares. The text of a kind is
its docstring, that of a field the comment beside it or above it.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

import msgspec

from journal import events
from journal.events import Event, IdToken, Observation
from tests.durability.golden import station_kinds

PAGE: Final = Path(events.__file__).parent / "EVENTS.md"
HEADER: Final = """\
# Events

Every kind of event that a journal of format 1 can contain, and the fields of its body. Generated
from the source by `python -m tests.journal.event_page`; do not edit. The format of the file is
described in [README.md](README.md).

A body is a JSON object with all fields of its version. A *decimal* is a JSON number that is to be
read exactly. `evse_id` and `connector_id` count from 1; `evse_id` 0 means the whole station. A
field that ends in `_seq` is the number of an entry, one in `_ms` a time of the uptime clock in
milliseconds or a duration, one in `_ref` the reference of a personal value or of a secret.
"""


class Field(NamedTuple):
    name: str
    type: str
    comment: str


class Described(NamedTuple):
    """A class with what its source says about it."""

    name: str
    version: int
    doc: str
    fields: list[Field]


def page_text() -> str:
    """The page as the source has it now."""
    # By module: classes are registered in the order of imports, which differs between programs.
    kinds = sorted(station_kinds().kinds.values(), key=lambda kind: kind.__module__)
    decisions = [kind for kind in kinds if not issubclass(kind, Observation)]
    parts = [HEADER]
    parts += _table("Observations", [kind for kind in kinds if issubclass(kind, Observation)])
    for module in dict.fromkeys(kind.__module__ for kind in decisions):
        name = module.rpartition(".")[2].replace("_", " ")
        chosen = [kind for kind in decisions if kind.__module__ == module]
        parts += _table(f"Decisions: {name}", chosen)
    parts += _table("Structures in fields", _structures(kinds))
    return "\n".join(parts)


def _structures(kinds: Sequence[type[Event]]) -> list[type[msgspec.Struct]]:
    """Structs that occur in fields of events, and in fields of such structs."""
    structures: dict[type[msgspec.Struct], None] = {IdToken: None}
    ahead: list[type[msgspec.Struct]] = [*kinds]
    while ahead:
        for field in msgspec.structs.fields(ahead.pop(0)):
            for cls in _structs_in(msgspec.inspect.type_info(field.type)):
                if cls not in structures and not issubclass(cls, Event):
                    structures[cls] = None
                    ahead.append(cls)
    return list(structures)


def _structs_in(info: msgspec.inspect.Type) -> Iterator[type[msgspec.Struct]]:
    match info:
        case msgspec.inspect.StructType(cls=cls):
            yield cls
        case msgspec.inspect.UnionType(types=types) | msgspec.inspect.TupleType(item_types=types):
            for each in types:
                yield from _structs_in(each)
        case msgspec.inspect.VarTupleType(item_type=each):
            yield from _structs_in(each)


def _table(title: str, classes: Sequence[type[msgspec.Struct]]) -> Iterator[str]:
    yield f"## {title}\n\n| Kind | Meaning | Fields |\n|---|---|---|"
    for cls in classes:
        described = describe(cls)
        kind = f"`{described.name}`" + (f" {described.version}" if described.version > 1 else "")
        yield f"| {kind} | {_cell(described.doc)} | {_fields_cell(described.fields)} |"
    yield ""


def _fields_cell(fields: list[Field]) -> str:
    texts = (
        f"`{field.name}` {_cell(field.type)}"
        + (f": {_cell(field.comment)}" if field.comment else "")
        for field in fields
    )
    return "<br>".join(texts)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def describe(cls: type[msgspec.Struct]) -> Described:
    module = inspect.getmodule(cls)
    assert isinstance(module, ModuleType)
    lines = inspect.getsource(module).splitlines()
    [node] = [
        node
        for node in ast.parse("\n".join(lines)).body
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__
    ]
    declarations = {
        part.target.id: part
        for part in node.body
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
    }
    fields = [
        Field(
            field.encode_name,
            type_text(msgspec.inspect.type_info(field.type)),
            _comment_of(lines, declarations[field.name]),
        )
        for field in msgspec.structs.fields(cls)
    ]
    version = getattr(cls, "VERSION", 1)
    return Described(cls.__name__, version, ast.get_docstring(node) or "", fields)


def type_text(info: msgspec.inspect.Type) -> str:
    """The JSON type of a field, for a reader who does not know Python."""
    match info:
        case msgspec.inspect.UnionType(types=types):
            return " or ".join(map(type_text, types))
        case msgspec.inspect.LiteralType(values=values):
            return ", ".join(f'"{value}"' for value in values)
        case msgspec.inspect.VarTupleType(item_type=item):
            return f"array of {type_text(item)}"
        case msgspec.inspect.TupleType(item_types=items):
            return f"[{', '.join(map(type_text, items))}]"
        case msgspec.inspect.StructType(cls=cls):
            return cls.__name__
        case _:
            return JSON_TYPES[type(info)]


JSON_TYPES: Final[dict[type[msgspec.inspect.Type], str]] = {
    msgspec.inspect.BoolType: "boolean",
    msgspec.inspect.DecimalType: "decimal",
    msgspec.inspect.IntType: "integer",
    msgspec.inspect.NoneType: "null",
    msgspec.inspect.RawType: "JSON",
    msgspec.inspect.StrType: "string",
}


def _comment_of(lines: list[str], node: ast.AnnAssign) -> str:
    """The comment at the end of a field's line, else the comment lines above it."""
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    beside = lines[node.end_lineno - 1][node.end_col_offset :].strip()
    if beside:
        return beside.removeprefix("#").strip()
    above: list[str] = []
    for line in reversed(lines[: node.lineno - 1]):
        if not line.strip().startswith("#"):
            break
        above.insert(0, line.strip().removeprefix("#").strip())
    return " ".join(above)


if __name__ == "__main__":
    PAGE.write_text(page_text(), encoding="utf-8")
