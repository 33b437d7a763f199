"""Values of the variables that the station measures. B06, B07.

Helper module of `b_variables`. `SOURCE_READERS` has one function for each name in
`station.core.device_model.model.VALUE_SOURCES`; a variable names its source in
`profiles/device_model.toml`. A component without an EVSE covers the whole station.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from journal.observations import DeviceFaulted, DeviceRecovered, MeterRead
from journal.projections.network_profiles import CONFIGURED_SLOT
from station.core.blocks.g_availability import (
    current_connector_status,
    current_evse_status,
    current_station_status,
)
from station.core.context import Context
from station.core.device_model.model import Component
from station.ocpp.messages import format_timestamp

SourceReader = Callable[[Context, Component], str | None]
CACHE_ENTRY_BYTES: Final = 200  # about what an idToken takes in RAM


def read_measured_value(ctx: Context, source: str, component: Component) -> str | None:
    """The value of a source for a component; None: not known yet."""
    return SOURCE_READERS[source](ctx, component)


def _boolean_text(value: bool) -> str:
    return "true" if value else "false"


def _read_availability(ctx: Context, component: Component) -> str | None:
    if component.evse_id is None:
        return current_station_status(ctx)
    if component.connector_id is None:
        return current_evse_status(ctx, component.evse_id)
    return current_connector_status(ctx, component.evse_id, component.connector_id)


def _meter_readings(ctx: Context, component: Component) -> list[MeterRead]:
    """The newest readings of the EVSEs that a component covers."""
    return [
        reading.meter_read
        for reading in ctx.state.readings.latest
        if component.evse_id in (None, reading.meter_read.evse_id)
    ]


def _measurement_reader(get_value: Callable[[MeterRead], Decimal | None]) -> SourceReader:
    """A reader of a measurement of one EVSE, or of the sum over all EVSEs."""

    def read_measurement(ctx: Context, component: Component) -> str | None:
        values = [
            value
            for read in _meter_readings(ctx, component)
            if (value := get_value(read)) is not None
        ]
        return f"{sum(values, Decimal(0)):f}" if values else None

    return read_measurement


def _read_soc(ctx: Context, component: Component) -> str | None:
    for read in _meter_readings(ctx, component):
        if read.soc_percent is not None:
            return str(read.soc_percent)
    return None


def component_devices(component: Component) -> frozenset[str] | None:
    """The devices whose faults are its problems; None: every device at its EVSE."""
    if component.instance is not None:
        devices = DEVICES_BY_COMPONENT.get(f"{component.name}[{component.instance}]")
        if devices is not None:
            return devices
    return DEVICES_BY_COMPONENT.get(component.name)


def component_faults(ctx: Context, component: Component) -> list[DeviceFaulted]:
    """The active faults of the devices that belong to a component."""
    active = ctx.state.faults.active
    return [fault for fault in active if is_fault_of(component, fault)] if active else []


def is_fault_of(component: Component, fault: DeviceFaulted | DeviceRecovered) -> bool:
    """Whether a fault is a problem of a component.

    A fault of the whole station, as of the bus of all modules, is one of a component at each EVSE.
    """
    devices = component_devices(component)
    if devices is None:
        return component.evse_id in (None, fault.evse_id)
    return fault.device in devices and (
        component.evse_id in (None, fault.evse_id) or fault.evse_id == 0
    )


def _read_problem(ctx: Context, component: Component) -> str:
    return _boolean_text(bool(component_faults(ctx, component)))


def _read_tripped(ctx: Context, component: Component) -> str:
    return _boolean_text(any(fault.blocks_charging for fault in component_faults(ctx, component)))


def _read_overload(ctx: Context, component: Component) -> str:
    return _boolean_text(
        any("temperature" in fault.fault for fault in component_faults(ctx, component))
    )


def _read_active(ctx: Context, component: Component) -> str | None:
    if component.evse_id is None:
        return _boolean_text(bool(component_faults(ctx, component)))
    closed = ctx.state.evses.by_id(component.evse_id).contactor_closed
    return None if closed is None else _boolean_text(closed)


def _read_ev_connected(ctx: Context, component: Component) -> str:
    evses = ctx.state.evses.all_evses
    return _boolean_text(
        any(evse.is_plugged_in for evse in evses if component.evse_id in (None, evse.evse_id))
    )


def _read_modem_signal(ctx: Context, component: Component) -> str | None:
    level_dbm = ctx.state.modem.signal_dbm
    return None if level_dbm is None else str(level_dbm)


def _read_network_slot(ctx: Context, component: Component) -> str:
    """The slot in use, or the first candidate."""
    candidates = ctx.state.network_profiles.candidates
    first = candidates[0].slot if candidates else CONFIGURED_SLOT
    return str(ctx.state.link.slot or first)


def _read_message_timeout(ctx: Context, component: Component) -> str | None:
    """messageTimeout of the network connection profile in use; None: it has none."""
    in_use = ctx.state.network_profiles.candidate_profile(ctx.state.link.slot)
    return str(in_use.message_timeout_s or "") or None if in_use else None


def _device_reader(variable: str) -> SourceReader:
    """A reader of what a device measures; the value that was recorded last."""

    def read_device_value(ctx: Context, component: Component) -> str | None:
        return ctx.state.measured_values.by_variable.get(f"{component.path}.{variable}")

    return read_device_value


SOURCE_READERS: Final[dict[str, SourceReader]] = {
    "active": _read_active,
    "auth_cache_bytes": lambda ctx, _: str(len(ctx.state.auth_cache.entries) * CACHE_ENTRY_BYTES),
    "availability": _read_availability,
    "certificates": lambda ctx, _: str(len(ctx.state.certificates.installed)),
    "charging_profiles": lambda ctx, _: str(len(ctx.state.charging_profiles.installed)),
    "clock": lambda ctx, _: format_timestamp(ctx.now),
    "current_a": _measurement_reader(lambda read: read.current_a),
    "disk_bytes": _device_reader("Storage[Disk]"),
    "display_messages": lambda ctx, _: str(len(ctx.state.display_messages.messages)),
    "energy_export_wh": _measurement_reader(lambda read: read.energy_export_wh),
    "energy_import_wh": _measurement_reader(lambda read: read.energy_wh),
    "ev_connected": _read_ev_connected,
    "identity": lambda ctx, _: ctx.state.lifecycle.identity,
    "insulation_ohm": _device_reader("Impedance"),
    "local_list_entries": lambda ctx, _: str(ctx.state.local_list.count),
    "memory_bytes": _device_reader("Storage[Memory]"),
    "message_timeout": _read_message_timeout,
    "monitoring_base": lambda ctx, _: ctx.state.monitors.base,
    "monitoring_level": lambda ctx, _: str(ctx.state.monitors.level),
    "monitors": lambda ctx, _: str(len(ctx.state.monitors.custom)),
    "modem_iccid": lambda ctx, _: ctx.state.modem.iccid,
    "modem_imsi": lambda ctx, _: ctx.state.modem.imsi,
    "modem_signal_dbm": _read_modem_signal,
    "network_slot": _read_network_slot,
    "overload": _read_overload,
    "pilot_state": _device_reader("State"),
    "power_w": _measurement_reader(lambda read: read.power_w),
    "problem": _read_problem,
    "reservations": lambda ctx, _: str(len(ctx.state.reservations.open)),
    "security_profile": lambda ctx, _: (
        str(ctx.state.network_profiles.security_profile or "") or None
    ),
    "soc_percent": _read_soc,
    "temperature_c": _device_reader("Temperature"),
    "tripped": _read_tripped,
    "voltage_v": _measurement_reader(lambda read: read.voltage_v),
}

# Sources that follow from readings of a meter.
METER_SOURCES: Final = frozenset(
    {"current_a", "energy_export_wh", "energy_import_wh", "power_w", "soc_percent", "voltage_v"}
)
# Sources that devices other than meters, and the computer, measure more often than is recorded.
DEVICE_SOURCES: Final = frozenset(
    {"disk_bytes", "insulation_ohm", "memory_bytes", "pilot_state", "temperature_c"}
)
# Sources that follow from faults and positions of devices, which report them again after a start.
FAULT_SOURCES: Final = frozenset({"active", "overload", "problem", "tripped"})

# component, with its instance if that matters -> devices with faults that are its problems; others
# have all faults of their EVSE
DEVICES_BY_COMPONENT: Final[dict[str, frozenset[str]]] = {
    "AcDcConverter": frozenset({"module", "can"}),
    "AirCoolingSystem": frozenset({"cooling", "cabinet"}),
    "CPPWMController": frozenset({"pilot", "secc"}),
    "CaseAccessSensor": frozenset({"door", "dispenser_door", "dispenser"}),
    "ConnectedEV": frozenset({"ev"}),
    "Controller[IO]": frozenset({"io"}),
    "Controller[SECC]": frozenset({"secc"}),
    "Display": frozenset({"display"}),
    "ElectricalFeed": frozenset({"mains", "arrester", "breaker"}),
    "EmergencyStopSensor": frozenset({"emergency_stop"}),
    "FiscalMetering": frozenset({"meter"}),
    "GroundIsolationProtection": frozenset({"insulation"}),
    "OverCurrentProtection": frozenset({"output"}),
    "PowerContactor": frozenset({"contactor"}),
    "TemperatureSensor": frozenset({"cable", "temperature"}),
    "TokenReader": frozenset({"reader"}),
}
