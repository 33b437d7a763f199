"""What do the variables say that the station measures itself?

One function for each name of `station.devicemodel.SOURCES`. A component without an EVSE speaks
for the whole station.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from journal.observations import DeviceFaulted, MeterRead
from journal.projections.networks import CONFIGURED_SLOT
from station.blocks.g_availability import connector_status, evse_status, station_status
from station.case import Case
from station.devicemodel import Component
from station.messages import timestamp

Source = Callable[[Case, Component], str | None]
CACHED_BYTES: Final = 200  # about what a token takes in memory


def live_value(case: Case, source: str, component: Component) -> str | None:
    """What `source` says of a component; None where nothing is known yet."""
    return LIVE[source](case, component)


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _availability(case: Case, component: Component) -> str | None:
    if component.evse_id is None:
        return station_status(case)
    if component.connector_id is None:
        return evse_status(case, component.evse_id)
    return connector_status(case, component.evse_id, component.connector_id)


def _reads(case: Case, component: Component) -> list[MeterRead]:
    found = case.state.readings.latest
    return [one.read for one in found if component.evse_id in (None, one.read.evse_id)]


def _measured(get: Callable[[MeterRead], Decimal | None]) -> Source:
    """A measurement of one EVSE, or the sum over all of them."""

    def source(case: Case, component: Component) -> str | None:
        values = [value for read in _reads(case, component) if (value := get(read)) is not None]
        return f"{sum(values, Decimal(0)):f}" if values else None

    return source


def _soc(case: Case, component: Component) -> str | None:
    for read in _reads(case, component):
        if read.soc_percent is not None:
            return str(read.soc_percent)
    return None


def _faults(case: Case, component: Component) -> list[DeviceFaulted]:
    """The faults of a component, by the device that has them."""
    devices = DEVICES.get(component.name)
    return [
        fault
        for fault in case.state.faults.active
        if (devices is None or fault.device in devices)
        and component.evse_id in (None, fault.evse_id)
    ]


def _problem(case: Case, component: Component) -> str:
    return _flag(bool(_faults(case, component)))


def _tripped(case: Case, component: Component) -> str:
    return _flag(any(fault.blocks for fault in _faults(case, component)))


def _overload(case: Case, component: Component) -> str:
    return _flag(any("temperature" in fault.fault for fault in _faults(case, component)))


def _active(case: Case, component: Component) -> str | None:
    if component.evse_id is None:
        return _flag(bool(_faults(case, component)))
    closed = case.state.hardware.at(component.evse_id).contactor_closed
    return None if closed is None else _flag(closed)


def _ev_connected(case: Case, component: Component) -> str:
    evses = case.state.hardware.evses
    return _flag(any(evse.plugged for evse in evses if component.evse_id in (None, evse.evse_id)))


def _network_slot(case: Case, component: Component) -> str:
    """The slot in use, or the one that is tried first."""
    candidates = case.state.networks.candidates
    first = candidates[0].slot if candidates else CONFIGURED_SLOT
    return str(case.state.links.slot or first)


def _message_timeout(case: Case, component: Component) -> str | None:
    """As the network connection profile in use has it; None: it has none of its own."""
    in_use = case.state.networks.candidate(case.state.links.slot)
    return str(in_use.message_timeout_s or "") or None if in_use else None


def _unknown(case: Case, component: Component) -> None:
    return None


LIVE: Final[dict[str, Source]] = {
    "active": _active,
    "auth_cache_bytes": lambda case, _: str(len(case.state.auth_cache.entries) * CACHED_BYTES),
    "availability": _availability,
    "certificates": lambda case, _: str(len(case.state.certificates.installed)),
    "clock": lambda case, _: timestamp(case.now),
    "current_a": _measured(lambda read: read.current_a),
    "energy_export_wh": _measured(lambda read: read.energy_export_wh),
    "energy_import_wh": _measured(lambda read: read.energy_wh),
    "ev_connected": _ev_connected,
    "identity": lambda case, _: case.state.lifecycle.identity,
    "insulation_ohm": _unknown,
    "message_timeout": _message_timeout,
    "network_slot": _network_slot,
    "overload": _overload,
    "pilot_state": _unknown,
    "power_w": _measured(lambda read: read.power_w),
    "problem": _problem,
    "security_profile": lambda case, _: str(case.state.networks.security_profile or "") or None,
    "soc_percent": _soc,
    "temperature_c": _unknown,
    "tripped": _tripped,
    "voltage_v": _measured(lambda read: read.voltage_v),
}

# component -> the devices whose faults are its problems; others speak for everything they cover
DEVICES: Final = {
    "TokenReader": {"reader"},
    "FiscalMetering": {"meter"},
    "PowerContactor": {"contactor"},
    "AcDcConverter": {"module", "can"},
    "EmergencyStopSensor": {"emergency_stop"},
    "CaseAccessSensor": {"door"},
    "GroundIsolationProtection": {"insulation"},
    "TemperatureSensor": {"cable", "temperature"},
    "ElectricalFeed": {"mains"},
    "Display": {"display"},
    "Controller": {"secc", "io"},
    "CPPWMController": {"pilot", "secc"},
    "ConnectedEV": {"ev"},
    "OverCurrentProtection": {"output"},
}
