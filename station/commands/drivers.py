"""`station drivers`: the drivers of each kind of device, and the keys of their tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click
import msgspec
from msgspec import inspect

from drivers.catalog import KINDS, driver_names, load_driver
from drivers.settings import DeviceSettings
from station.profiles.toml_tables import unknown_key_message

PORT_KEYS: Final = ("driver", "port")  # of every table
NUMBER_NAMES: Final = {inspect.IntType: "integer", inspect.FloatType: "number"}


def _complete_name(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in _kinds_by_driver() if name.startswith(incomplete)]


@click.command("drivers")
@click.argument("name", required=False, metavar="[DRIVER]", shell_complete=_complete_name)
def drivers_command(name: str | None) -> None:
    """List the drivers by kind of device; with DRIVER, the keys of its table."""
    if name is None:
        for line in _driver_lines():
            click.echo(line)
        return
    kinds = _kinds_by_driver()
    if name not in kinds:
        raise click.UsageError(unknown_key_message(name, kinds, "a driver"))
    for line in _settings_lines(kinds[name], name):
        click.echo(line)


def _kinds_by_driver() -> dict[str, str]:
    return {name: kind for kind in KINDS for name in driver_names(kind)}


def _driver_lines() -> Iterator[str]:
    rows = [
        (f"[hardware.{kind}]", name, _first_sentence(kind, name))
        for kind in KINDS
        for name in driver_names(kind)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for table, name, meaning in rows:
        yield f"{table:<{widths[0]}}  {name:<{widths[1]}}  {meaning}"


def _first_sentence(kind: str, name: str) -> str:
    """The first paragraph of the driver's module, up to its first full stop."""
    paragraph = " ".join((load_driver(kind, name).__doc__ or "").partition("\n\n")[0].split())
    return paragraph.split(". ")[0].rstrip(".")


def _settings_lines(kind: str, name: str) -> Iterator[str]:
    """The table as it can be copied to station.toml: each default, with the values allowed."""
    settings = load_driver(kind, name).Settings
    yield f"# {_first_sentence(kind, name)}"
    yield f"[hardware.{kind}]"
    yield f'driver = "{name}"'
    yield 'port = "…"'
    fields = [field for field in _fields(settings) if field.name not in PORT_KEYS]
    examples = [_example(field) for field in fields]
    width = max(map(len, examples), default=0)
    for field, example in zip(fields, examples, strict=True):
        yield f"{example:<{width}}  # {describe_type(field.type)}".rstrip()


def _fields(settings: type[DeviceSettings]) -> tuple[inspect.Field, ...]:
    info = inspect.type_info(settings)
    assert isinstance(info, inspect.StructType)
    return info.fields


def _example(field: inspect.Field) -> str:
    """`key = default`; a key that has no default is marked."""
    if field.default is not msgspec.NODEFAULT:
        if field.default is None:
            return f"# {field.name} ="
        return f"{field.name} = {_toml_value(field.default)}"
    if field.default_factory is not msgspec.NODEFAULT:
        return f"{field.name} = {_toml_value(field.default_factory())}"
    return f"{field.name} = …"


def _toml_value(value: Any) -> str:
    if isinstance(value, msgspec.Struct):
        value = msgspec.to_builtins(value)
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case dict():
            pairs = (f"{key} = {_toml_value(item)}" for key, item in value.items())
            return f"{{ {', '.join(pairs)} }}"
        case list() | tuple():
            return f"[{', '.join(map(_toml_value, value))}]"
        case _:
            return str(value)


def describe_type(info: inspect.Type) -> str:
    """What a key accepts, for a person: `integer, 1 to 247`, `one of "N", "E", "O"`."""
    match info:
        case inspect.Metadata():
            return describe_type(info.type)
        case inspect.IntType() | inspect.FloatType():
            return NUMBER_NAMES[type(info)] + _describe_range(info)
        case inspect.LiteralType():
            return f"one of {', '.join(map(_toml_value, info.values))}"
        case inspect.VarTupleType() | inspect.ListType():
            return f"list of {describe_type(info.item_type)}"
        case inspect.UnionType():
            others = [part for part in info.types if not isinstance(part, inspect.NoneType)]
            return " or ".join(map(describe_type, others))
        case inspect.StructType():
            keys = ", ".join(field.name for field in info.fields)
            return f"table of {keys}"
        case inspect.BoolType():
            return "true or false"
        case inspect.StrType():
            return "text"
        case inspect.DecimalType():
            return "number"
        case _:
            return type(info).__name__.removesuffix("Type").lower()


def _describe_range(info: inspect.IntType | inspect.FloatType) -> str:
    lower = info.ge if info.ge is not None else info.gt
    above = "above " if info.ge is None and info.gt is not None else ""
    upper = info.le if info.le is not None else info.lt
    if lower is None and upper is None:
        return ""
    if upper is None:
        return f", {above or 'from '}{lower}"
    return f", {above}{lower} to {upper}" if lower is not None else f", up to {upper}"
