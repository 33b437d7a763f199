"""`[hardware.*]` of station.toml as typed settings.

Each table belongs to one kind of device and names its driver; the driver module owns the struct
(`drivers.catalog`). Here the tables are only matched with their drivers, so another driver
changes nothing in this file.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from drivers.catalog import KINDS, UnknownDriver, load_driver
from drivers.settings import (
    DeviceSettings,
    InsulationSettings,
    IoSettings,
    MeterSettings,
    ModulesSettings,
    SeccSettings,
)
from drivers.wire.serial_port import Port
from station.config.station_toml import DeviceConfig
from station.profiles.toml_tables import (
    TableError,
    convert_table,
    convert_usable_keys,
    names_any,
    unknown_key_message,
)

REQUIRED_KINDS: Final = ("insulation", "io", "meter", "modules", "secc")


class HardwareSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of `[hardware]`. Without a reader the station starts by remote control only."""

    reader: DeviceSettings | None = None
    display: DeviceSettings | None = None
    meter: MeterSettings
    io: IoSettings
    insulation: InsulationSettings
    secc: SeccSettings
    modules: ModulesSettings
    in_field: bool = True
    """True: a latched fault waits for `Hardware.release_faults`, and a lost device must be back
    for `FaultRule.field_dwell_s`. False (emulated devices): clearing an emulated fault also
    releases it, so a fault that is visible without power ends soon after it was cleared."""


def parse_hardware(tables: Mapping[str, DeviceConfig]) -> HardwareSettings:
    """The settings in `[hardware.*]`.

    Raises:
        TableError: an unknown table, driver or key, a missing one, or a value of the wrong type.
    """
    for kind in tables:
        if kind not in KINDS:
            raise TableError(f"[hardware] {unknown_key_message(kind, KINDS, 'a device')}")
    settings: dict[str, Any] = {
        kind: parse_device(kind, _raw_table(table)) for kind, table in tables.items()
    }
    for kind in REQUIRED_KINDS:
        if kind not in settings:
            raise TableError(f"[hardware.{kind}] is missing; a charge needs it")
    return HardwareSettings(**settings)


def check_hardware(tables: Mapping[str, DeviceConfig], evse_ids: tuple[int, ...]) -> None:
    """Check all that a start needs of the tables, without opening a port.

    Raises:
        TableError: the first of `find_hardware_problems`.
    """
    for problem in find_hardware_problems(tables, evse_ids):
        raise TableError(problem)


def find_hardware_problems(
    tables: Mapping[str, DeviceConfig],
    evse_ids: tuple[int, ...],
    reported_kinds: Collection[str] = (),
) -> Iterator[str]:
    """Every problem of the tables, one line each: an unknown or missing table, driver or key, a
    value of the wrong type, a driver that cannot serve these EVSEs, one port in two tables.

    Args:
        tables: by kind of device.
        evse_ids: the EVSEs of the station.
        reported_kinds: kinds of the file that are not in `tables`, for a reason already reported.
    """
    kinds_by_port: dict[str, str] = {}
    for kind, table in tables.items():
        if kind not in KINDS:
            yield f"[hardware] {unknown_key_message(kind, KINDS, 'a device')}"
            continue
        other = kinds_by_port.setdefault(os.path.realpath(table.port), kind)
        if other != kind:
            yield (
                f"[hardware.{kind}] port {table.port} is that of [hardware.{other}] too. "
                "Each device or line has a port of its own."
            )
        yield from _find_device_problems(kind, _raw_table(table), evse_ids)
    for kind in REQUIRED_KINDS:
        if kind not in tables and kind not in reported_kinds:
            yield f"[hardware.{kind}] is missing; a charge needs it"


def _find_device_problems(
    kind: str, raw: dict[str, Any], evse_ids: tuple[int, ...]
) -> Iterator[str]:
    """Every problem of one table.

    The check raises the first. It is repeated without the keys that it named; further problems of
    these keys are left out.
    """
    problem = _device_problem(kind, raw, evse_ids)
    if problem is None:
        return
    try:
        settings_type = load_driver(kind, raw["driver"]).Settings
    except UnknownDriver:
        yield problem
        return
    usable = convert_usable_keys(raw, settings_type, table=f"hardware.{kind}")
    yield from usable.problems
    wrong_keys = usable.unusable
    remaining = {key: value for key, value in raw.items() if key in usable.values}
    while problem := _device_problem(kind, remaining, evse_ids):
        if not names_any(problem, wrong_keys):
            yield problem
        named = {key for key in remaining if names_any(problem, (key,))} - {"driver", "port"}
        if not named:
            return
        wrong_keys = wrong_keys | named
        remaining = {key: value for key, value in remaining.items() if key not in named}


def _device_problem(kind: str, raw: Mapping[str, Any], evse_ids: tuple[int, ...]) -> str | None:
    """The first problem of one table; None: a start can use it."""
    try:
        settings = parse_device(kind, raw)
        load_driver(kind, raw["driver"]).open(settings, evse_ids, _refuse_to_open).close()
    except TableError as error:
        return str(error)
    except ValueError as error:  # SettingsError among them
        return f"[hardware.{kind}] {error}"
    return None


def _raw_table(table: DeviceConfig) -> dict[str, Any]:
    return {"driver": table.driver, "port": table.port, **table.options}


def _refuse_to_open(path: str, *, baud: int, parity: str = "N", stop_bits: int = 1) -> Port:
    raise AssertionError(f"{path} is opened before its device runs")


def parse_device(kind: str, raw: Mapping[str, Any]) -> DeviceSettings:
    """The settings in one table, which names its driver.

    Raises:
        TableError: as `parse_hardware`.
    """
    try:
        return convert_table(raw, load_driver(kind, raw["driver"]).Settings, f"hardware.{kind}")
    except UnknownDriver as error:
        raise TableError(f"[hardware.{kind}] {error}") from None


EMULATED_DEVICES: Final[Mapping[str, Mapping[str, Any]]] = {
    "reader": {"driver": "pn532"},
    "display": {"driver": "vt100"},
    "meter": {"driver": "acrel_djsf1352"},
    "io": {"driver": "icpdas_m7055", "timeout_ms": 250, "feedback_ms": 300, "stale_ms": 2000},
    "insulation": {"driver": "bender_isocha425hv"},
    "secc": {"driver": "advantics", "heartbeat_ms": 1000},
    "modules": {"driver": "infypower"},
}
"""The devices of `drivers.emulators.process.run_emulated_station`. Timeouts are longer than in the
field: the emulated devices share a processor with the station, and a late processor must not
look like a lost device."""


def emulated_settings(directory: Path) -> HardwareSettings:
    """Settings for the emulated devices whose ptys are in `directory`."""
    settings: dict[str, Any] = {
        kind: parse_device(kind, {**table, "port": str(directory / f"{kind}.tty")})
        for kind, table in EMULATED_DEVICES.items()
    }
    return HardwareSettings(**settings, in_field=False)
