"""`station drivers` lists every driver, and its table as it can be copied to station.toml."""

from __future__ import annotations

import tomllib

import pytest

from drivers.catalog import KINDS, driver_names, load_driver
from station.config.hardware import parse_device
from tests.commands.fixtures_journals import StationCommand

DRIVERS = [(kind, name) for kind in KINDS for name in driver_names(kind)]


def test_every_driver_is_a_line_with_its_table(run_station: StationCommand) -> None:
    result = run_station("drivers")
    assert result.exit_code == 0
    listed = [tuple(line.split(maxsplit=2)[:2]) for line in result.lines]
    assert listed == [(f"[hardware.{kind}]", name) for kind, name in DRIVERS]
    assert all(len(line.split(maxsplit=2)) == 3 for line in result.lines)


@pytest.mark.parametrize(("kind", "name"), DRIVERS)
def test_the_table_of_a_driver_has_all_its_keys_and_loads(
    kind: str, name: str, run_station: StationCommand
) -> None:
    text = run_station("drivers", name).stdout
    fields = load_driver(kind, name).Settings.__struct_fields__
    assert all(f"\n{key} =" in text or f"\n# {key} =" in text for key in fields)
    table = tomllib.loads("\n".join(line for line in text.splitlines() if "= …" not in line))
    given = table["hardware"][kind]
    required = {"energy", "voltage", "current"} if name == "modbus_generic" else set()
    if not required:
        assert parse_device(kind, {"port": "/dev/ttyUSB0", **given})


def test_the_type_of_a_key_says_what_is_allowed(run_station: StationCommand) -> None:
    text = run_station("drivers", "icpdas_m7055").stdout
    assert "# one of " in text
    assert "# integer, 100 to 25500" in text
    assert "# list of integer, 1 to 247" in text


def test_an_unknown_driver_names_the_nearest(run_station: StationCommand) -> None:
    result = run_station("drivers", "icpdas_m705")
    assert result.exit_code == 2
    assert "did you mean icpdas_m7055?" in result.stderr
