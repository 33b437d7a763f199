"""The monitors that exist now: those of the product, and those the CSMS has set. N03, N04.

| eventNotificationType | from | cleared by the CSMS | with HardWiredOnly |
|---|---|---|---|
| HardWiredNotification | profile; in no report, without id | no | active |
| HardWiredMonitor | profile | no | active |
| PreconfiguredMonitor | profile | yes, until the next SetMonitoringBase | inactive |
| CustomMonitor | SetVariableMonitoring | yes | removed |

A CustomMonitor with the id of a PreconfiguredMonitor replaces it until FactoryDefault or
HardWiredOnly is set (N04.FR.15).

The table of a state is built once and kept while the monitors are the same objects.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Literal, NamedTuple

from journal.projections.monitors import Monitor, Monitors
from station.core.blocks.measured_variables import DEVICE_SOURCES, FAULT_SOURCES, METER_SOURCES
from station.core.device_model.model import DeviceModel, VariableDefinition
from station.core.device_model.monitors import VariableMonitor

TABLES_KEPT: Final = 64  # of different stations in one process

# What can change a value: a reading of a meter, a device, a fault, an order of the CSMS, or any
# entry
ValueGroup = Literal["meter", "device", "fault", "stored", "any"]


def value_group(definition: VariableDefinition) -> ValueGroup:
    source = definition.source
    if source in METER_SOURCES:
        return "meter"
    if source in DEVICE_SOURCES:
        return "device"
    if source in FAULT_SOURCES:
        return "fault"
    return "any" if source else "stored"


class MonitorTable(NamedTuple):
    """The monitors that exist now; those of one variable follow each other."""

    by_id: dict[int, VariableMonitor]
    ordered: tuple[VariableMonitor, ...]
    periodic: tuple[VariableMonitor, ...]
    by_group: dict[ValueGroup, tuple[VariableMonitor, ...]]

    @property
    def measured(self) -> tuple[VariableMonitor, ...]:
        """Of values that are measured more often than they are recorded."""
        return self.by_group["meter"] + self.by_group["device"]


_Key = tuple[int, int, int, str]
_TABLES: OrderedDict[_Key, tuple[object, MonitorTable]] = OrderedDict()


def active_monitors(model: DeviceModel, monitors: Monitors) -> MonitorTable:
    """The monitors of a product in a state."""
    key = (id(model), id(monitors.custom), id(monitors.cleared), monitors.base)
    kept = _TABLES.get(key)
    if kept is not None:
        return kept[1]
    table = _build_table(model, monitors)
    # The objects are kept too, so that no other object gets the id of one of them.
    _TABLES[key] = (model, monitors.custom, monitors.cleared), table
    if len(_TABLES) > TABLES_KEPT:
        _TABLES.popitem(last=False)
    return table


def _build_table(model: DeviceModel, monitors: Monitors) -> MonitorTable:
    by_id = {each.id: each for each in model.product_monitors if is_active(each, monitors)}
    for monitor in monitors.custom.values():
        custom = custom_monitor(model, monitor)
        if custom is not None:
            by_id[monitor.id] = custom
    ordered = tuple(
        sorted(by_id.values(), key=lambda each: (each.definition.key, each.severity, each.id))
    )
    groups: tuple[ValueGroup, ...] = ("meter", "device", "fault", "stored", "any")
    return MonitorTable(
        by_id=by_id,
        ordered=ordered,
        periodic=tuple(each for each in ordered if each.is_periodic),
        by_group={
            group: tuple(each for each in ordered if value_group(each.definition) == group)
            for group in groups
        },
    )


def is_active(monitor: VariableMonitor, monitors: Monitors) -> bool:
    """Whether a monitor of the product is active. N03.FR.03 to 05."""
    if not monitor.can_be_changed:
        return True
    if monitors.base == "HardWiredOnly" or monitor.id in monitors.cleared:
        return False
    return monitors.base == "All" or monitor.factory_default


def custom_monitor(model: DeviceModel, monitor: Monitor) -> VariableMonitor | None:
    """A monitor of the CSMS; None: this product does not have the variable, or not to monitor."""
    definition = model.by_path.get(monitor.variable)
    if definition is None or not definition.supports_monitoring:
        return None
    return VariableMonitor(
        id=monitor.id,
        definition=definition,
        type=monitor.type,
        value=monitor.value,
        severity=monitor.severity,
        origin="CustomMonitor",
        transaction=monitor.transaction,
    )
