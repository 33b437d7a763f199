"""Drivers by kind and name: `[hardware.meter] driver = "acrel_djsf1352"` is
`drivers/meters/acrel_djsf1352.py`.

Each module in the package of a kind is a driver, unless its name begins with an underscore; there
is no list to maintain. A driver module has:

* `Settings`: a struct of its table, which extends the struct of the kind in `drivers.settings`;
* `open`: builds the devices of the table, not yet running; see `Driver.open`;
* `NO_ANSWER_REASONS`: the three likeliest reasons why such a device does not answer.

A driver is imported only when its name is used.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, Final, Protocol, cast

from drivers.ports import OpenDevices
from drivers.settings import DeviceSettings
from drivers.wire.serial_port import OpenPort

KINDS: Final = {
    "reader": "drivers.readers",
    "display": "drivers.displays",
    "meter": "drivers.meters",
    "io": "drivers.io",
    "insulation": "drivers.insulation",
    "secc": "drivers.secc",
    "modules": "drivers.power",
}
"""Kind of device, which is the name of its table, to the package of its drivers."""


class UnknownDriver(Exception):
    """The kind has no driver of this name. The message names those there are."""


class Driver(Protocol):
    """What a driver module exports."""

    @property
    def Settings(self) -> type[DeviceSettings]:
        """Struct of the driver's table. A key without a sensible default is required."""
        ...

    @property
    def NO_ANSWER_REASONS(self) -> tuple[str, ...]:
        """Three reasons, likeliest first: clauses that name what to look at."""
        ...

    def open(
        self, settings: Any, evse_ids: tuple[int, ...], open_port: OpenPort
    ) -> OpenDevices[Any]:
        """Build the devices of one table. No port is opened before a device runs.

        Args:
            settings: an instance of the module's `Settings`.
            evse_ids: the EVSEs of the station.
            open_port: how to open a serial port; tests pass lines in memory.

        Raises:
            SettingsError: the settings cannot be used, for instance too few addresses.
        """
        ...


def driver_names(kind: str) -> tuple[str, ...]:
    """Names of the drivers of a kind, sorted."""
    package = importlib.import_module(KINDS[kind])
    names = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name for name in names if not name.startswith("_")))


def load_driver(kind: str, name: str) -> Driver:
    """Import the driver of a kind.

    Raises:
        UnknownDriver: there is none of that name.
    """
    names = driver_names(kind)
    if name not in names:
        raise UnknownDriver(f"driver {name} does not exist; there are {', '.join(names)}")
    return cast(Driver, importlib.import_module(f"{KINDS[kind]}.{name}"))
