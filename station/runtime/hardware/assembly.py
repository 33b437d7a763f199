"""Which devices does the station have, and how are they reached and judged?

One table of station.toml per device, `[hardware.NAME]`; README, "Hardware", explains the keys.
Limits stand in the table of the device that measures them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from drivers.displays.vt100 import Vt100Display
from drivers.insulation.bender_isocha425hv import BenderIsoCha425hv
from drivers.io.icpdas_m7055 import IcpdasM7055
from drivers.meters.acrel_djsf1352 import AcrelDjsf1352
from drivers.ports import Device
from drivers.power.infypower import InfypowerModules
from drivers.readers.pn532 import Pn532Reader
from drivers.secc.advantics import AdvanticsSecc
from drivers.wire import advantics, infypower
from drivers.wire.can_bus import SharedCanBus, SlcanBus
from drivers.wire.modbus_master import ModbusMaster
from drivers.wire.serial_port import OpenPort, SerialPort
from station.config.hardware import (
    DisplaySettings,
    HardwareSettings,
    InsulationSettings,
    IoSettings,
    MeterSettings,
    ModulesSettings,
    ReaderSettings,
    SeccSettings,
)
from station.profiles.toml_tables import TableError

IO_MODULE_COUNT: Final = 2  # the second also carries wires of the dispenser, drivers/io/wiring.py


"""Each driver and its own keys, as `station.config.station_toml.load_config` wants them."""


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
        self.secc_line = _create_can_line(settings.secc, advantics.BIT_RATE, open_port)
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
