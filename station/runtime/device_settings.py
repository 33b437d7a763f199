"""Which devices does the station have, and how are they reached and judged?

One table of station.toml per device, `[hardware.NAME]`; README, "Hardware", explains the keys.
Limits stand in the table of the device that measures them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from drivers.displays.vt100 import Vt100Display
from drivers.insulation.bender_isocha425hv import BenderIsoCha425hv
from drivers.io.icpdas_m7055 import IcpdasM7055
from drivers.meters.acrel_djsf1352 import AcrelDjsf1352
from drivers.ports import Device
from drivers.power.infypower import DEFAULT_GROUPS, InfypowerModules
from drivers.readers.pn532 import Pn532Reader
from drivers.secc.advantics import AdvanticsSecc
from drivers.wire import infypower, secc
from drivers.wire.can_bus import SharedCanBus, SlcanBus
from drivers.wire.modbus_bus import ModbusMaster
from drivers.wire.serial_port import OpenPort, SerialPort
from station.config import DeviceConfig
from station.tables import TableError, convert_table, unknown_key_message

IO_MODULE_COUNT: Final = 2  # the second also carries wires of the dispenser, drivers/io/wiring.py
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
    """A latched fault waits for `Hardware.release`, and what was lost must be back for the field's
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
"""Each driver and its own keys, as `station.config.load_config` wants them."""


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


class StationDrivers:
    """The drivers of one station, not yet running. Indexed by EVSE id where there are several.

    Raises:
        TableError: fewer addresses than EVSEs.
    """

    def __init__(
        self,
        settings: HardwareSettings,
        evse_ids: tuple[int, ...],
        open_port: OpenPort = SerialPort.open,
    ) -> None:
        _check_counts(settings, evse_ids)
        self.reader = _create_reader(settings.reader, open_port)
        self.display = _create_display(settings.display, open_port)
        self._modbus_buses = (
            _create_modbus(settings.meter, settings.meter.retries, open_port),
            _create_modbus(settings.io, 0, open_port),
            _create_modbus(settings.insulation, settings.insulation.retries, open_port),
        )
        meter_bus, io_bus, insulation_bus = self._modbus_buses
        self.meters = {
            evse: AcrelDjsf1352(
                meter_bus,
                address=settings.meter.addresses[evse - 1],
                energy_unit_wh=settings.meter.energy_unit_wh,
                interval_s=settings.meter.idle_interval_s,
            )
            for evse in evse_ids
        }
        self.io_modules = {
            number: IcpdasM7055(
                io_bus,
                address=address,
                power_outputs=POWER_OUTPUTS[number],
                watchdog_ms=settings.io.watchdog_ms,
                cycle_ms=settings.io.cycle_ms,
                timeout_ms=settings.io.timeout_ms,
                input_function=settings.io.input_function,
            )
            for number, address in enumerate(settings.io.addresses, 1)
        }
        self.insulation_monitors = {
            evse: _create_monitor(settings.insulation, insulation_bus, evse) for evse in evse_ids
        }
        self.secc_line = _create_can_line(settings.secc, secc.BIT_RATE, open_port)
        self.seccs = {
            evse: AdvanticsSecc(self.secc_line, evse_id=evse, index=settings.secc.indexes[evse - 1])
            for evse in evse_ids
        }
        self.modules_line = _create_can_line(settings.modules, infypower.BIT_RATE, open_port)
        self.power_modules = InfypowerModules(
            self.modules_line,
            groups=settings.modules.groups,
            slot_ms=settings.modules.slot_ms,
            answer_ms=settings.modules.answer_ms,
            stale_after_s=settings.modules.stale_s,
        )

    def drivers_by_name(self) -> dict[str, Device]:
        """Everything that runs, the buses first: "secc 1" is the controller of EVSE 1."""
        found: dict[str, Device] = {
            "secc_can": self.secc_line,
            "can": self.modules_line,
            "modules": self.power_modules,
        }
        several: dict[str, Mapping[int, Device]] = {
            "io": self.io_modules,
            "secc": self.seccs,
            "insulation": self.insulation_monitors,
            "meter": self.meters,
        }
        for name, devices in several.items():
            found |= {f"{name} {number}": device for number, device in devices.items()}
        single = {"reader": self.reader, "display": self.display}
        return found | {name: device for name, device in single.items() if device is not None}

    def close(self) -> None:
        """Give the Modbus ports back; drivers leave them open for each other."""
        for bus in self._modbus_buses:
            bus.close()


POWER_OUTPUTS: Final = {1: (0, 1, 7), 2: (0, 1)}  # contactors, bleeder, AC enable; wiring.py


def _check_counts(settings: HardwareSettings, evse_ids: tuple[int, ...]) -> None:
    counts = {
        "meter] addresses": len(settings.meter.addresses),
        "insulation] addresses": len(settings.insulation.addresses),
        "secc] indexes": len(settings.secc.indexes),
        "modules] groups": len(settings.modules.groups),
        "io] addresses": len(settings.io.addresses),
    }
    for place, count in counts.items():
        if count < len(evse_ids):
            raise TableError(f"[hardware.{place}: {count} for {len(evse_ids)} EVSEs")
    if len(evse_ids) > IO_MODULE_COUNT or len(settings.io.addresses) != IO_MODULE_COUNT:
        raise TableError(
            f"[hardware.io] addresses: the wiring has {IO_MODULE_COUNT} modules, for up to "
            f"{IO_MODULE_COUNT} EVSEs"
        )


def _create_reader(settings: ReaderSettings | None, open_port: OpenPort) -> Pn532Reader | None:
    if settings is None:
        return None
    return Pn532Reader(
        settings.port,
        baud=settings.baud,
        poll_ms=settings.poll_ms,
        absent_polls=settings.absent_polls,
        health_s=settings.health_s,
        open_port=open_port,
    )


def _create_display(settings: DisplaySettings | None, open_port: OpenPort) -> Vt100Display | None:
    if settings is None:
        return None
    return Vt100Display(
        settings.port,
        baud=settings.baud,
        columns=settings.columns,
        rows=settings.rows,
        encoding=settings.encoding,
        health_s=settings.health_s,
        open_port=open_port,
    )


def _create_monitor(
    settings: InsulationSettings, bus: ModbusMaster, evse_id: int
) -> BenderIsoCha425hv:
    return BenderIsoCha425hv(
        bus,
        address=settings.addresses[evse_id - 1],
        prealarm_kohm=settings.prealarm_kohm,
        alarm_kohm=settings.alarm_kohm,
        fast_test=settings.fast_test,
        frozen_after_s=settings.frozen_after_s,
        interval_s=settings.idle_interval_s,
    )


def _create_modbus(
    settings: MeterSettings | IoSettings | InsulationSettings, retries: int, open_port: OpenPort
) -> ModbusMaster:
    return ModbusMaster(
        settings.port,
        baud=settings.baud,
        parity=settings.parity,
        stop_bits=settings.stop_bits,
        timeout_ms=settings.timeout_ms,
        retries=retries,
        pause_ms=settings.pause_ms,
        open_port=open_port,
    )


def _create_can_line(
    settings: SeccSettings | ModulesSettings, bit_rate: int, open_port: OpenPort
) -> SharedCanBus:
    if settings.transport == "socketcan":
        return SharedCanBus.over_socketcan(settings.port)
    return SharedCanBus(settings.port, partial(SlcanBus.open, settings.port, bit_rate, open_port))
