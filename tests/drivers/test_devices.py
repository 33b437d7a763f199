"""Rules for every driver module in the catalog."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from drivers.catalog import KINDS, UnknownDriver, driver_names, load_driver
from drivers.settings import (
    DeviceSettings,
    InsulationSettings,
    IoSettings,
    MeterSettings,
    ModulesSettings,
    SeccSettings,
    SettingsError,
)
from drivers.wire.serial_port import SerialPort

EVSE_IDS = (1, 2)
SETTINGS_OF_KIND: dict[str, type[DeviceSettings]] = {
    "reader": DeviceSettings,
    "display": DeviceSettings,
    "meter": MeterSettings,
    "io": IoSettings,
    "insulation": InsulationSettings,
    "secc": SeccSettings,
    "modules": ModulesSettings,
}
REQUIRED_OPTIONS: dict[str, dict[str, object]] = {
    "modbus_generic": {
        "energy": {"register": 0, "type": "uint32"},
        "voltage": {"register": 2, "type": "uint16"},
        "current": {"register": 3, "type": "int16"},
    },
}
"""Values for keys without a default, by driver."""
ONE_PER_EVSE = ("meter", "insulation", "secc")
DRIVERS = [(kind, name) for kind in KINDS for name in driver_names(kind)]


def settings_of(kind: str, name: str) -> DeviceSettings:
    table = {"driver": name, "port": "/dev/null", **REQUIRED_OPTIONS.get(name, {})}
    return msgspec.convert(table, load_driver(kind, name).Settings)


def test_every_kind_has_a_driver() -> None:
    assert {kind for kind, _ in DRIVERS} == set(KINDS) == set(SETTINGS_OF_KIND)


@pytest.mark.parametrize(("kind", "name"), DRIVERS)
def test_settings_extend_those_of_the_kind_and_have_defaults(kind: str, name: str) -> None:
    settings = settings_of(kind, name)
    assert isinstance(settings, SETTINGS_OF_KIND[kind])
    fields = msgspec.structs.fields(settings)
    required = {field.name for field in fields if field.required}
    assert required == {"port", *REQUIRED_OPTIONS.get(name, {})}
    assert [field.default for field in fields if field.name == "driver"] == [name]


@pytest.mark.parametrize(("kind", "name"), DRIVERS)
def test_open_builds_a_device_for_each_evse_or_as_the_kind_numbers_them(
    kind: str, name: str
) -> None:
    opened = load_driver(kind, name).open(settings_of(kind, name), EVSE_IDS, SerialPort.open)
    assert set(opened.devices) == ({1, 2} if kind in (*ONE_PER_EVSE, "io") else {0})
    opened.close()


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, name in DRIVERS if kind in (*ONE_PER_EVSE, "io")]
)
def test_fewer_addresses_than_evses_are_refused(kind: str, name: str) -> None:
    with pytest.raises(SettingsError, match=r"4 for 5 EVSEs"):
        load_driver(kind, name).open(settings_of(kind, name), (1, 2, 3, 4, 5), SerialPort.open)


@pytest.mark.parametrize(
    ("kind", "name", "key", "items"),
    [
        ("meter", "acrel_djsf1352", "addresses", (1, 2, 3)),
        ("meter", "modbus_generic", "addresses", (1, 2, 3)),
        ("insulation", "bender_isocha425hv", "addresses", (3, 4, 5)),
        ("secc", "advantics", "indexes", (1, 2, 3)),
        ("modules", "infypower", "groups", ((0,), (1,), (2,))),
        ("io", "icpdas_m7055", "addresses", (5, 6, 7)),
    ],
)
def test_more_items_than_evses_are_refused(
    kind: str, name: str, key: str, items: tuple[object, ...]
) -> None:
    settings = replace(settings_of(kind, name), **{key: items})
    with pytest.raises(SettingsError, match=f"^{key}: "):
        load_driver(kind, name).open(settings, EVSE_IDS, SerialPort.open)


@pytest.mark.parametrize("evse_count", [1, 3, 4])
@pytest.mark.parametrize(("kind", "name"), DRIVERS)
def test_the_default_lists_serve_one_to_four_evses(kind: str, name: str, evse_count: int) -> None:
    evse_ids = tuple(range(1, evse_count + 1))
    opened = load_driver(kind, name).open(settings_of(kind, name), evse_ids, SerialPort.open)
    if kind in ONE_PER_EVSE:
        assert set(opened.devices) == set(evse_ids)
    opened.close()


def test_a_driver_of_another_kind_is_unknown() -> None:
    with pytest.raises(UnknownDriver, match=r"driver pn532 does not exist; there are .*vt100"):
        load_driver("display", "pn532")
