"""Keys of `[hardware.KIND]` that every driver of a kind has, because the station reads them.

Each driver module has its own `Settings`, which extends the struct of its kind with the driver's
own keys (port settings, addresses). The station only reads the keys here, so that drivers can be
exchanged. Limits are keys of the device that measures them.

What passes the check of these structs must work, and must be safe. The type of a key has its range;
`__post_init__` compares keys with each other, so that no EVSE is wired to the device of another and
no protection acts later than the limit it protects.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import pairwise
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from drivers.wiring import REFERENCE_WIRING, IoWiring, StationWiring, WiringError

ModbusAddress = Annotated[int, Meta(ge=1, le=247)]  # Modbus over Serial Line V1.02 §2.2
ModuleAddress = Annotated[int, Meta(ge=0, le=62)]  # of a rectifier module on CAN
Baud = Annotated[int, Meta(ge=300, le=4_000_000)]
Milliseconds = Annotated[int, Meta(ge=1, le=60_000)]
Pause = Annotated[int, Meta(ge=0, le=1_000)]  # ms
Retries = Annotated[int, Meta(ge=0, le=10)]
Seconds = Annotated[float, Meta(gt=0, le=3_600)]
SecondsOrNever = Annotated[float, Meta(ge=0, le=3_600)]  # 0 switches a check off
Celsius = Annotated[int, Meta(ge=-40, le=150)]
Kiloohms = Annotated[int, Meta(ge=1, le=10_000)]

DEFAULT_GROUPS: Final = tuple(tuple(range(first, first + 6)) for first in (0, 6, 12, 18))
"""Addresses of the modules wired to EVSE 1, 2, …; as all default lists, for up to four EVSEs."""


class SettingsError(ValueError):
    """A value that the driver cannot work with. The message begins with the key."""


class DeviceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Any `[hardware.KIND]` table."""

    driver: str
    port: str


class MeterSettings(DeviceSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.meter]`: the DC energy meters of all EVSEs."""

    idle_interval_s: Seconds = 1.0
    session_interval_s: Seconds = 0.5
    silent_s: Seconds = 2.5  # without a reading: fault meter/silent
    lost_s: Seconds = 30.0  # a fault of this length stops a session

    def __post_init__(self) -> None:
        require_order(self, "idle_interval_s", "silent_s", "lost_s")
        require_order(self, "session_interval_s", "silent_s")


class IoSettings(DeviceSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.io]`: the I/O modules."""

    feedback_ms: Milliseconds = 200  # from a contactor order to its feedback
    stale_ms: Milliseconds = 600  # without inputs; the driver itself gives up after three cycles
    wiring: IoWiring = REFERENCE_WIRING

    def station_wiring(self, evse_ids: tuple[int, ...]) -> StationWiring:
        """The wiring of a station with these EVSEs.

        Raises:
            SettingsError: it cannot work.
        """
        try:
            return self.wiring.for_evses(evse_ids)
        except WiringError as error:
            raise SettingsError(f"wiring {error}") from None


class InsulationSettings(DeviceSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.insulation]`: the insulation monitors of all EVSEs."""

    alarm_kohm: Kiloohms = 100
    idle_interval_s: Seconds = 1.0
    session_interval_s: Seconds = 0.5
    stale_s: Seconds = 4.0

    def __post_init__(self) -> None:
        require_order(self, "idle_interval_s", "stale_s")
        require_order(self, "session_interval_s", "stale_s")


class SeccSettings(DeviceSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.secc]`: the charge controllers of all EVSEs."""

    heartbeat_ms: Milliseconds = 200
    cable_derate_c: Celsius = 80
    cable_stop_c: Celsius = 90
    cable_restart_c: Celsius = 60
    passive_a: Annotated[int, Meta(ge=0, le=1_000)] = 200  # rating of the cable without cooling
    precharge_s: Seconds = 7.0
    stop_s: Seconds = 5.0  # a normal stop that takes longer becomes an emergency stop

    def __post_init__(self) -> None:
        require_order(self, "cable_restart_c", "cable_stop_c")
        require_order(self, "cable_derate_c", "cable_stop_c")


class ModulesSettings(DeviceSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.modules]`: the rectifier modules of the cabinet."""

    groups: tuple[tuple[ModuleAddress, ...], ...] = DEFAULT_GROUPS  # by EVSE
    stale_s: Seconds = 1.0  # age of a group's voltage and current
    hot_c: Celsius = 55  # air at the modules

    def __post_init__(self) -> None:
        for number, group in enumerate(self.groups, start=1):
            if not group:
                raise SettingsError(f"groups: EVSE {number} has no modules")
        require_different("groups", (address for group in self.groups for address in group))


def require_count(
    settings: msgspec.Struct, key: str, evse_ids: tuple[int, ...], thing: str = "EVSE"
) -> None:
    """Check that a list has an item for each EVSE, and no more unless it is the default.

    Args:
        settings: of the driver.
        key: of the list.
        evse_ids: the EVSEs, or the numbers of what else has one item each.
        thing: what they are.

    Raises:
        SettingsError: it has fewer, or more: then the wiring or the profile is not what was meant.
    """
    items, count = getattr(settings, key), len(evse_ids)
    [default] = [field.default for field in msgspec.structs.fields(settings) if field.name == key]
    if len(items) < count or (len(items) > count and items != default):
        raise SettingsError(f"{key}: {len(items)} for {count} {thing}{'s' if count > 1 else ''}")


def require_different(key: str, values: Iterable[Hashable]) -> None:
    """Check that no device is given twice: it would serve two EVSEs.

    Raises:
        SettingsError: a value appears twice.
    """
    seen = set[Hashable]()
    for value in values:
        if value in seen:
            raise SettingsError(f"{key}: {value} is given twice. Each EVSE has its own device.")
        seen.add(value)


def require_order(settings: msgspec.Struct, *keys: str) -> None:
    """Check that the value of each key is below that of the next.

    Raises:
        SettingsError: it is not.
    """
    for lower, upper in pairwise(keys):
        low, high = getattr(settings, lower), getattr(settings, upper)
        if low >= high:
            raise SettingsError(f"{lower} {low} must be below {upper} {high}")
