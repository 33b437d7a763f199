"""TODO."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from drivers.power.infypower import DEFAULT_GROUPS
from station.config.station_toml import DeviceConfig
from station.profiles.toml_tables import TableError, convert_table, unknown_key_message

Transport = Literal["slcan", "socketcan"]


class ReaderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.reader]`."""

    driver: Literal["pn532"] = "pn532"
    port: str
    baud: int = 115_200
    poll_ms: int = 150
    absent_polls: int = 3
    health_s: float = 10.0


class MeterSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.meter]`: all meters on one line."""

    driver: Literal["acrel_djsf1352"] = "acrel_djsf1352"
    port: str
    baud: int = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1
    timeout_ms: int = 300
    retries: int = 2
    pause_ms: int = 5
    addresses: tuple[int, ...] = (1, 2)  # of EVSE 1, 2
    energy_unit_wh: Decimal = Decimal(1)
    idle_interval_s: float = 1.0
    session_interval_s: float = 0.5
    silent_s: float = 2.5  # without a reading, and the meter is in trouble
    lost_s: float = 30.0  # in trouble for so long, and a session is stopped


class IoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.io]`: the two I/O modules, on a line of their own."""

    driver: Literal["icpdas_m7055"] = "icpdas_m7055"
    port: str
    baud: int = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1
    timeout_ms: int = 60
    pause_ms: int = 5
    addresses: tuple[int, ...] = (5, 6)
    cycle_ms: int = 100
    watchdog_ms: int = 2000
    input_function: Literal[1, 2] = 2
    feedback_ms: int = 200  # from a contactor order to its feedback
    stale_ms: int = 600  # without inputs; the driver itself gives up after three cycles


class InsulationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.insulation]`: the monitors, on one line."""

    driver: Literal["bender_isocha425hv"] = "bender_isocha425hv"
    port: str
    baud: int = 19_200
    parity: Literal["N", "E", "O"] = "E"
    stop_bits: Literal[1, 2] = 1
    timeout_ms: int = 300
    retries: int = 2
    pause_ms: int = 15
    addresses: tuple[int, ...] = (3, 4)
    prealarm_kohm: int = 250
    alarm_kohm: int = 100
    fast_test: bool = True
    frozen_after_s: float = 10.0
    idle_interval_s: float = 1.0
    session_interval_s: float = 0.5
    stale_s: float = 4.0


class SeccSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.secc]`: the charge controllers, on one bus."""

    driver: Literal["advantics"] = "advantics"
    port: str
    transport: Transport = "slcan"
    indexes: tuple[int, ...] = (1, 2)  # pistol index of EVSE 1, 2
    heartbeat_ms: int = 200
    cable_derate_c: int = 80
    cable_stop_c: int = 90
    cable_restart_c: int = 60
    passive_a: int = 200  # of the cable when its cooling fails
    precharge_s: float = 7.0
    stop_s: float = 5.0  # a normal stop that takes longer becomes an emergency stop


class ModulesSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.modules]`: the rectifier modules of the cabinet."""

    driver: Literal["infypower"] = "infypower"
    port: str
    transport: Transport = "slcan"
    groups: tuple[tuple[int, ...], ...] = DEFAULT_GROUPS  # module addresses wired to EVSE 1, 2
    slot_ms: int = 50
    answer_ms: int = 100
    stale_s: float = 1.0  # of a group's volts and amperes
    hot_c: int = 55  # air at the modules


class DisplaySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.display]`."""

    driver: Literal["vt100"] = "vt100"
    port: str
    baud: int = 115_200
    columns: int = 40
    rows: int = 4
    encoding: str = "utf-8"
    health_s: float = 10.0  # 0: it cannot answer


class HardwareSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of `[hardware]`. Without a reader the station starts by remote control only."""

    reader: ReaderSettings | None = None
    display: DisplaySettings | None = None
    meter: MeterSettings
    io: IoSettings
    insulation: InsulationSettings
    secc: SeccSettings
    modules: ModulesSettings
    in_field: bool = True
    """A latched fault waits for `Evses.release_faults`, and what was lost must be back for the field's
    dwell. False: whoever takes an emulated fault away is the person, so one that can be seen to be
    over is over, and soon."""


DEVICE_TABLES: Final[dict[str, type[msgspec.Struct]]] = {
    "reader": ReaderSettings,
    "display": DisplaySettings,
    "meter": MeterSettings,
    "io": IoSettings,
    "insulation": InsulationSettings,
    "secc": SeccSettings,
    "modules": ModulesSettings,
}


DRIVER_KEYS: Final = {
    str(field.default): {key.name for key in msgspec.structs.fields(table)} - {"driver", "port"}
    for table in DEVICE_TABLES.values()
    for field in msgspec.structs.fields(table)
    if field.name == "driver"
}


def parse_hardware(tables: Mapping[str, DeviceConfig]) -> HardwareSettings:
    """What `[hardware.*]` says.

    Raises:
        TableError: a table or key nobody knows, a missing one, or a value of the wrong type.
    """
    for name in tables:
        if name not in DEVICE_TABLES:
            raise TableError(f"[hardware] {unknown_key_message(name, DEVICE_TABLES, 'a device')}")
    raw: dict[str, dict[str, Any]] = {
        name: {"driver": table.driver, "port": table.port, **table.options}
        for name, table in tables.items()
    }
    known = {name: _parse_table(name, raw[name]) for name in raw}
    missing = {"meter", "io", "insulation", "secc", "modules"} - set(known)
    if missing:
        raise TableError(f"[hardware.{sorted(missing)[0]}] is missing; a charge needs it")
    return HardwareSettings(**known)


def _parse_table(name: str, raw: dict[str, Any]) -> Any:
    try:
        return convert_table(raw, DEVICE_TABLES[name])
    except TableError as error:
        key = re.sub(r"^\[(\w+)\]", r"\1", str(error))  # it took the key for a table
        raise TableError(f"[hardware.{name}] {key}") from None


def emulated_settings(directory: Path) -> HardwareSettings:
    """The devices of `drivers.emulators.process.run_world` in `directory`.

    Patience is longer than in the field: the emulated devices share a processor with us, and a
    processor that is late is no device that is lost.
    """

    def port(name: str) -> str:
        return str(directory / f"{name}.tty")

    return HardwareSettings(
        reader=ReaderSettings(port=port("reader")),
        display=DisplaySettings(port=port("display")),
        meter=MeterSettings(port=port("meter")),
        io=IoSettings(port=port("io"), timeout_ms=250, feedback_ms=300, stale_ms=2000),
        insulation=InsulationSettings(port=port("insulation")),
        secc=SeccSettings(port=port("secc"), heartbeat_ms=1000),
        modules=ModulesSettings(port=port("modules")),
        in_field=False,
    )
