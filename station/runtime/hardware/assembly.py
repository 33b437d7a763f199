"""Assembly of the drivers of one station from `[hardware.*]`.

The concrete drivers are found by name (`drivers.catalog`); this module depends on their ports
only.
"""

from __future__ import annotations

from typing import Any

from drivers.catalog import load_driver
from drivers.ports import (
    CardReader,
    ChargeController,
    Device,
    Display,
    InsulationMonitor,
    IoModule,
    Meter,
    OpenDevices,
    PowerModules,
)
from drivers.settings import DeviceSettings, SettingsError
from drivers.wire.bus_traffic import BusTraffic
from drivers.wire.serial_port import OpenPort, SerialPort
from station.config.hardware import HardwareSettings
from station.profiles.toml_tables import TableError


class StationDrivers:
    """The drivers of one station, not yet running. Indexed by EVSE id where there are several.

    Raises:
        TableError: a driver cannot work with its settings, for instance fewer addresses than
            EVSEs.
    """

    def __init__(
        self,
        settings: HardwareSettings,
        evse_ids: tuple[int, ...],
        open_port: OpenPort = SerialPort.open,
        bus_traffic: BusTraffic | None = None,
    ) -> None:
        self._opened: dict[str, OpenDevices[Any]] = {}

        def open_devices(kind: str, table: DeviceSettings) -> OpenDevices[Any]:
            port_opener = bus_traffic.record_ports(kind, open_port) if bus_traffic else open_port
            self._opened[kind] = opened = _open_devices(kind, table, evse_ids, port_opener)
            if bus_traffic:
                bus_traffic.record_devices(kind, opened)
            return opened

        self.seccs: dict[int, ChargeController] = dict(open_devices("secc", settings.secc).devices)
        modules = open_devices("modules", settings.modules)
        self.power_modules: PowerModules = modules.devices[0]
        self.io_modules: dict[int, IoModule] = dict(open_devices("io", settings.io).devices)
        self.wiring = settings.io.station_wiring(evse_ids)
        self.insulation_monitors: dict[int, InsulationMonitor] = dict(
            open_devices("insulation", settings.insulation).devices
        )
        self.meters: dict[int, Meter] = dict(open_devices("meter", settings.meter).devices)
        self.reader: CardReader | None = None
        if settings.reader is not None:
            self.reader = open_devices("reader", settings.reader).devices[0]
        self.display: Display | None = None
        if settings.display is not None:
            self.display = open_devices("display", settings.display).devices[0]

    def drivers_by_name(self) -> dict[str, Device]:
        """All drivers to run, the buses first: "secc 1" is the controller of EVSE 1.

        The name is the kind and, if there are several, the number; a bus has the name of its
        kind, "_bus" added.
        """
        buses: dict[str, Device] = {
            f"{kind}_bus": opened.bus
            for kind, opened in self._opened.items()
            if opened.bus is not None
        }
        devices: dict[str, Device] = {
            f"{kind} {number}" if number else kind: device
            for kind, opened in self._opened.items()
            for number, device in opened.devices.items()
        }
        return buses | devices

    def close(self) -> None:
        """Close the ports that drivers leave open for each other."""
        for opened in self._opened.values():
            opened.close()


def _open_devices(
    kind: str, settings: DeviceSettings, evse_ids: tuple[int, ...], open_port: OpenPort
) -> OpenDevices[Any]:
    try:
        return load_driver(kind, settings.driver).open(settings, evse_ids, open_port)
    except SettingsError as error:
        raise TableError(f"[hardware.{kind}] {error}") from None
