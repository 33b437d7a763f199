"""Monitors of variables: the struct, and those that come with a product. N03, N07.

A row `[[monitor]]` of a profile makes one monitor for each place of its component: its id is
`PLACES_MAX` times the id of the row, plus the number of the place, from 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final, Literal

import msgspec

from station.core.device_model.definitions import VariableDefinition
from station.profiles.profile import MonitorRow, Profile

MonitorType = Literal[
    "UpperThreshold", "LowerThreshold", "Delta", "Periodic", "PeriodicClockAligned"
]
Origin = Literal[
    "HardWiredNotification", "HardWiredMonitor", "PreconfiguredMonitor", "CustomMonitor"
]  # EventNotificationEnumType

PLACES_MAX: Final = 100  # EVSEs or connectors of one component
ROW_ID_MAX: Final = 999  # so that ids stay below those of monitors that the CSMS sets
SEVERITY_MAX: Final = 9
ORIGINS: Final[dict[str, Origin]] = {
    "notification": "HardWiredNotification",
    "hard_wired": "HardWiredMonitor",
    "preconfigured": "PreconfiguredMonitor",
}


class VariableMonitor(msgspec.Struct, frozen=True):
    """A monitor and the variable that it watches."""

    id: int
    definition: VariableDefinition
    type: MonitorType
    value: Decimal  # threshold or delta in the unit of the variable; periodic: s
    severity: int
    origin: Origin
    transaction: bool = False  # active only while a transaction runs at the component
    factory_default: bool = True  # of a PreconfiguredMonitor: active with FactoryDefault

    @property
    def is_threshold(self) -> bool:
        return self.type in ("UpperThreshold", "LowerThreshold")

    @property
    def is_periodic(self) -> bool:
        return self.type in ("Periodic", "PeriodicClockAligned")

    @property
    def can_be_changed(self) -> bool:
        """Whether the CSMS can replace and clear it. N04.FR.18, N06.FR.03."""
        return self.origin in ("PreconfiguredMonitor", "CustomMonitor")

    @property
    def is_reported(self) -> bool:
        """Whether it is in monitoring reports, and its events have its id."""
        return self.origin != "HardWiredNotification"


def supports_type(definition: VariableDefinition, monitor_type: str) -> bool:
    """Whether a variable can have a monitor of a type. N04.FR.05.

    Thresholds need numbers. A time changes always, so it can only be reported periodically; a
    value that cannot be read only when it is set.
    """
    if not definition.supports_monitoring:
        return False
    if monitor_type in ("UpperThreshold", "LowerThreshold"):
        return definition.is_numeric
    if monitor_type == "Delta":
        return definition.source != "clock"
    return not definition.is_write_only


def product_monitors(
    profile: Profile, definitions: Sequence[VariableDefinition]
) -> Iterator[VariableMonitor]:
    """The monitors of a product, in the order of its rows."""
    if not profile.has_monitoring:
        return
    for row in profile.monitor:
        for number, definition in enumerate(_watched_variables(row, definitions)):
            yield VariableMonitor(
                id=row.id * PLACES_MAX + number,
                definition=definition,
                type=row.type,
                value=Decimal(row.value),
                severity=row.severity,
                origin=ORIGINS[row.kind],
                factory_default=row.factory_default,
            )


def find_monitor_contradictions(
    profile: Profile, definitions: Sequence[VariableDefinition]
) -> Iterator[str]:
    """Contradictions in the rows `[[monitor]]`, one line each."""
    seen: set[int] = set()
    for row in profile.monitor if profile.has_monitoring else ():
        name = f"[[monitor]] {row.id}"
        watched = _watched_variables(row, definitions)
        if row.id in seen or not 1 <= row.id <= ROW_ID_MAX:
            yield f"{name}: ids are different numbers from 1 to {ROW_ID_MAX}"
        seen.add(row.id)
        if not watched:
            yield f"{name}: {row.component}.{row.variable} is no variable of this product"
        if len(watched) > PLACES_MAX:
            yield f"{name}: {row.component} has more than {PLACES_MAX} places"
        if not all(supports_type(each, row.type) for each in watched):
            yield f"{name}: {row.component}.{row.variable} cannot have a monitor of this type"
        if not 0 <= row.severity <= SEVERITY_MAX:
            yield f"{name}: severity is 0 to {SEVERITY_MAX}"


def _watched_variables(
    row: MonitorRow, definitions: Sequence[VariableDefinition]
) -> list[VariableDefinition]:
    return [
        definition
        for definition in definitions
        if definition.key.component.name == row.component
        and definition.key.component.instance == row.instance
        and definition.key.name == row.variable
        and definition.key.instance is None
    ]
