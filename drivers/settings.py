"""Keys of `[hardware.KIND]` that every driver of a kind has, because the station reads them.

Each driver module has its own `Settings`, which extends the struct of its kind with the driver's
own keys (port settings, addresses). The station only reads the keys here, so that drivers can be
exchanged. Limits are keys of the device that measures them.
"""

from __future__ import annotations

from typing import Final

import msgspec

DEFAULT_GROUPS: Final = (tuple(range(6)), tuple(range(6, 12)))  # wired to EVSE 1, 2


class SettingsError(ValueError):
    """A value that the driver cannot work with. The message begins with the key."""


class DeviceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Any `[hardware.KIND]` table."""

    driver: str
    port: str


class MeterSettings(DeviceSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.meter]`: the DC energy meters of all EVSEs."""

    idle_interval_s: float = 1.0
    session_interval_s: float = 0.5
    silent_s: float = 2.5  # without a reading: fault meter/silent
    lost_s: float = 30.0  # a fault of this length stops a session


class IoSettings(DeviceSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.io]`: the two I/O modules."""

    feedback_ms: int = 200  # from a contactor order to its feedback
    stale_ms: int = 600  # without inputs; the driver itself gives up after three cycles


class InsulationSettings(DeviceSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.insulation]`: the insulation monitors of all EVSEs."""

    alarm_kohm: int = 100
    idle_interval_s: float = 1.0
    session_interval_s: float = 0.5
    stale_s: float = 4.0


class SeccSettings(DeviceSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.secc]`: the charge controllers of all EVSEs."""

    heartbeat_ms: int = 200
    cable_derate_c: int = 80
    cable_stop_c: int = 90
    cable_restart_c: int = 60
    passive_a: int = 200  # rating of the cable when its cooling fails
    precharge_s: float = 7.0
    stop_s: float = 5.0  # a normal stop that takes longer becomes an emergency stop


class ModulesSettings(DeviceSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.modules]`: the rectifier modules of the cabinet."""

    groups: tuple[tuple[int, ...], ...] = DEFAULT_GROUPS  # addresses wired to EVSE 1, 2
    stale_s: float = 1.0  # age of a group's voltage and current
    hot_c: int = 55  # air at the modules


def require_count(key: str, count: int, evse_ids: tuple[int, ...]) -> None:
    """Check that a list has an item for each EVSE.

    Raises:
        SettingsError: it has fewer.
    """
    if count < len(evse_ids):
        raise SettingsError(f"{key}: {count} for {len(evse_ids)} EVSEs")
