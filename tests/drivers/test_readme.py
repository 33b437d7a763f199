"""The tables of drivers/README.md have the keys and defaults of the code."""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from drivers import wiring
from drivers.catalog import KINDS, driver_names, load_driver
from drivers.io import icpdas_m7055

README = Path(__file__).parents[2] / "drivers" / "README.md"
TEXT = README.read_text(encoding="utf-8")
SECTIONS = dict(
    zip(*[iter(re.split(r"^#{2,3} (.*)$", TEXT, flags=re.MULTILINE)[1:])] * 2, strict=True)
)
DRIVERS = [(kind, name) for kind in KINDS for name in driver_names(kind)]


def table_rows(section: str, columns: str) -> list[list[str]]:
    """Cells of the table with this header."""
    _, _, table = SECTIONS[section].partition(f"| {columns} |\n")
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert rows, f"{section} has no table | {columns} |"
    block = table[: table.find("\n\n")] if "\n\n" in table else table
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in block.splitlines()[1:]
    ]


def toml_value(value: object) -> str:
    """A default as station.toml has it."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case tuple():
            return f"[{', '.join(map(toml_value, value))}]"
        case Decimal() | int() | float():
            return str(value)
    raise TypeError(value)


def default_cell(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    if field.default is msgspec.NODEFAULT:
        assert field.default_factory is dict
        return "`{}`"
    if isinstance(field.default, wiring.IoWiring):
        return "the reference"
    return "none" if field.default is None else f"`{toml_value(field.default)}`"


@pytest.mark.parametrize(("kind", "name"), DRIVERS)
def test_the_table_of_a_driver_has_its_keys_and_defaults(kind: str, name: str) -> None:
    rows = table_rows(f"`{name}`", "key | default | meaning")
    documented = {row[0].strip("`"): row[1] for row in rows}
    fields = msgspec.structs.fields(load_driver(kind, name).Settings)
    assert documented == {
        field.name: default_cell(field) for field in fields if field.name not in ("driver", "port")
    }
    assert f"`[hardware.{kind}]`" in SECTIONS[f"`{name}`"]


@pytest.mark.parametrize(("kind", "name"), DRIVERS)
def test_keys_of_the_station_are_marked(kind: str, name: str) -> None:
    rows = table_rows(f"`{name}`", "key | default | meaning")
    marked = {row[0].strip("`") for row in rows if row[2].startswith("*station*")}
    struct = load_driver(kind, name).Settings
    base = struct.__mro__[1]
    common = {field.name for field in msgspec.structs.fields(base)} - {"driver", "port"}
    assert marked == common


def test_every_kind_is_in_the_overview() -> None:
    rows = table_rows(
        "Kinds of devices",
        "table | kind | Protocol in `drivers/ports.py` | package of its drivers | needed",
    )
    documented = {row[0].strip("`[]").removeprefix("hardware."): row[3].strip("`") for row in rows}
    assert documented == {kind: package.replace(".", "/") for kind, package in KINDS.items()}


WIRING_SECTION = "Wiring of the I/O modules"


def test_the_wiring_table_has_every_wire_with_its_reference_channel() -> None:
    rows = table_rows(WIRING_SECTION, "wire | reference | | level, effect")
    documented = {row[0].strip("`"): (row[1], row[2]) for row in rows}
    assert documented == {
        field.name: (
            f"`{toml_value(field.default)}`",
            "output" if field.name in wiring.OUTPUTS else "input",
        )
        for field in msgspec.structs.fields(wiring.IoWiring)
    }


def test_the_required_wires_are_marked() -> None:
    rows = table_rows(WIRING_SECTION, "wire | reference | | level, effect")
    assert {row[0].strip("`") for row in rows if "required" in row[3]} == set(wiring.REQUIRED)


def test_the_table_of_the_reference_product_has_every_channel() -> None:
    rows = table_rows(
        WIRING_SECTION,
        "channel | output of module A | output of module B | input of module A | input of module B",
    )
    assert [int(row[0]) for row in rows] == list(range(wiring.CHANNELS_PER_MODULE))


def test_the_example_of_a_station_with_one_module_is_possible() -> None:
    _, _, text = SECTIONS[WIRING_SECTION].partition("```toml\n")
    tables = tomllib.loads(text.partition("```")[0])["hardware"]["io"]
    settings = msgspec.convert(tables, icpdas_m7055.Settings)
    assert settings.station_wiring((1,)).module_count == len(settings.addresses) == 1


def test_links_within_the_page_lead_to_a_heading() -> None:
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in SECTIONS}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors
