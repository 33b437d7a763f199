"""Wiring of the two I/O modules of the reference product: which wire is on which channel.

Module A (number 1) serves the station and EVSE 1, module B (number 2) EVSE 2 and the dispenser. A
sensor is wired so that a broken wire reads as the bad state. There is no lock for the plug: a
fixed CCS1 cable is locked by the vehicle's inlet.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class OutputA(IntEnum):
    """Outputs of module A (address 5)."""

    CONTACTORS = 0
    BLEEDER = 1
    HOLSTER_LOCK = 2
    LED_RED = 3
    LED_GREEN = 4
    LED_BLUE = 5
    CABINET_FAN = 6
    AC_ENABLE = 7


class OutputB(IntEnum):
    """Outputs of module B (address 6)."""

    CONTACTORS = 0
    BLEEDER = 1
    HOLSTER_LOCK = 2
    LED_RED = 3
    LED_GREEN = 4
    LED_BLUE = 5
    DISPENSER_FAN = 6
    LIGHTING = 7


class InputA(IntEnum):
    """Inputs of module A; 1 means what the name states, which is the good state."""

    EMERGENCY_STOP_LOOP_CLOSED = 0
    CONTACTORS_CLOSED = 1  # feedback; 0 while they are open
    PLUG_IN_HOLSTER = 2
    HOLSTER_LOCKED = 3
    DOOR_CLOSED = 4
    SURGE_ARRESTER_GOOD = 5
    MAINS_BREAKER_ON = 6
    POWER_CABINET_READY = 7


class InputB(IntEnum):
    """Inputs of module B; 1 means what the name states, which is the good state.

    The buttons are 1 while pressed.
    """

    CONTACTORS_CLOSED = 0
    PLUG_IN_HOLSTER = 1
    HOLSTER_LOCKED = 2
    CABLE_AND_TILT_GOOD = 3
    DISPENSER_DOOR_CLOSED = 4
    COOLING_FLOW_GOOD = 5
    EVSE_1_STOP_BUTTON = 6
    EVSE_2_STOP_BUTTON = 7


IO_MODULE_COUNT: Final = 2  # module 1 is also EVSE 1's, module 2 EVSE 2's

POWER_OUTPUTS: Final = {
    1: (OutputA.CONTACTORS, OutputA.BLEEDER, OutputA.AC_ENABLE),
    2: (OutputB.CONTACTORS, OutputB.BLEEDER),
}
"""By module number: the outputs that put power on something. Only the station switches these on;
a driver may switch them off on its own."""
