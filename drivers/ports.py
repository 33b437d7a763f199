"""What is a device to the rest of the station?

A driver owns one device on one port. `run` talks to it until cancelled, calls `report` for each
thing the device said, and raises a `DeviceFault` when the device or its port is lost; whoever
started it starts it again. What the device shall do is set as plain attributes or by plain
methods; the driver brings the device there and keeps it there. Nothing here knows OCPP.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from enum import IntEnum
from typing import Protocol

import msgspec


class DeviceFault(Exception):
    """A device did not do what its datasheet says. The message names device, fact and numbers."""


class PortLost(DeviceFault):
    """The tty or the bus behind the device closed (EOF, EIO)."""


class NoResponse(DeviceFault):
    """The device was asked as often as its rules allow and stayed silent."""


class InvalidResponse(DeviceFault):
    """The device answered with something its protocol does not allow."""


class CommandRefused(DeviceFault):
    """The device answered with an error code of its own."""


# --- Reports: what devices say. Units are in the names. -----------------------------------------


class TokenPresented(msgspec.Struct, frozen=True):
    """A card came to the reader. Reported once until it was absent for 3 polls."""

    uid: bytes  # 4, 7 or 10 bytes, byte 0 first
    uid_is_random: bool  # a 4-byte UID that begins with 0x08 differs at each tap


class MeterReading(msgspec.Struct, frozen=True):
    """One poll of a DC energy meter."""

    energy_wh: Decimal  # towards the EV; the register as the meter has it
    energy_reverse_wh: Decimal
    voltage_v: Decimal
    current_a: Decimal  # negative: from the EV
    power_w: Decimal
    temperature_c: Decimal
    broken_wire: bool


class SeccState(IntEnum):
    """State of the charge controller, secc.md section 2."""

    INITIALIZING = 0
    WAITING_FOR_PEV = 1
    NEGOTIATING_CONNECTION = 2
    CONNECTED_WITH_FULL_INFO = 3
    INSULATION_TEST = 4
    PRECHARGE = 5
    WAITING_FOR_CHARGE = 6
    CHARGING = 7
    ENDING_CHARGE = 8
    WELDING_DETECTION = 9
    CLOSING_COMMUNICATION = 10
    CCS_AUTHORIZATION_PROCESS = 11
    NOT_AVAILABLE = 12
    CHARGE_PAUSE = 13
    UNKNOWN = 255


class PowerFunction(IntEnum):
    """What the charge controller wants of the power modules, secc.md section 2."""

    OFF = 0
    STANDBY = 1
    INSULATION_TEST = 2
    PRECHARGE = 4
    POWER_TRANSFER = 8


class PowerRequest(msgspec.Struct, frozen=True):
    """DC_Power_Control: the EV's wish, at the pace of the EV."""

    function: PowerFunction
    voltage_v: Decimal
    current_a: Decimal  # what to give at most; never negative, a discharge wish is 0
    contactors_closed: bool
    lower_voltage: bool


class EvInformation(msgspec.Struct, frozen=True):
    """What the EV told about itself; None where it did not say (0 on the wire)."""

    capacity_wh: Decimal | None = None
    soc_percent: int | None = None
    soc_target_percent: int | None = None
    voltage_max_v: Decimal | None = None
    voltage_present_v: Decimal | None = None
    current_max_a: Decimal | None = None
    power_max_w: Decimal | None = None
    evcc_id: str | None = None  # MAC address, upper case hex


class SeccHeartbeat(msgspec.Struct, frozen=True):
    """The controller lives. Sent every 100 ms."""

    state: SeccState


class PilotState(msgspec.Struct, frozen=True):
    """The control pilot: 'A' no EV, 'B' to 'D' EV plugged, 'E' error (also F)."""

    letter: str
    duty_permille: int


class ChargeStatus(msgspec.Struct, frozen=True):
    """The EV started (True) or ended (False) the charge."""

    started: bool


class SessionFinished(msgspec.Struct, frozen=True):
    """The CCS session is over. rushed: not by the book."""

    aborted: bool


class SeccEmergency(msgspec.Struct, frozen=True):
    """Emergency_Stop, repeated while it holds."""

    by_ev: bool


class CableTemperature(msgspec.Struct, frozen=True):
    """The hotter of the two contacts, and the controller's CPU."""

    hottest_c: int
    cpu_c: int


class GroupOutput(msgspec.Struct, frozen=True):
    """Sum of the power modules of one group (one EVSE)."""

    group: int
    voltage_mv: int
    current_ma: int


class ModuleState(msgspec.Struct, frozen=True):
    """One power module: its state words decoded, power_modules_can.md section 3."""

    address: int
    group: int
    temperature_c: int
    faults: frozenset[str]  # class "fault"
    warnings: frozenset[str]  # class "warning"
    states: frozenset[str]  # class "state": off, sleeping, derating, …


class ModuleLimits(msgspec.Struct, frozen=True):
    """What one power module can do, told by itself (0x0A)."""

    address: int
    voltage_max_v: int
    voltage_min_v: int
    current_max_ma: int
    power_w: int


class ModuleSilent(msgspec.Struct, frozen=True):
    """A module missed 5 answers (gone False) or said nothing for 15 s (gone True)."""

    address: int
    lost: bool


class DigitalInputs(msgspec.Struct, frozen=True):
    """The 8 inputs of one I/O module, bit n is DIn, and what its watchdog says."""

    unit: int
    bits: int
    watchdog_fired: bool
    was_reset: bool


class InsulationReading(msgspec.Struct, frozen=True):
    """The insulation monitor's view of one DC output."""

    resistance_ohm: int | None  # None: invalid, the device measures nothing
    alarm: int  # 0 none, 1 pre-warning, 2 device error, 4 warning, 5 alarm
    self_test_running: bool
    earth_lost: bool
    voltage_v: Decimal | None = None  # L1 to L2; None: invalid


class DeviceReady(msgspec.Struct, frozen=True):
    """The device answered its whole set-up: said first in each run, again after a reset."""

    identity: str  # model and firmware as the device told them


class GroupSilent(msgspec.Struct, frozen=True):
    """A group that is on told no output for 1 s. The driver has sent it off already."""

    group: int


class OrderRefused(msgspec.Struct, frozen=True):
    """A module or a group did not take an order; the wish stands and is repeated."""

    address: int  # of the module, or the number of the group
    is_group: bool
    command: int
    error_code: int  # 2 command, 3 data, 4 address invalid


DeviceReport = (
    TokenPresented
    | MeterReading
    | PowerRequest
    | EvInformation
    | SeccHeartbeat
    | PilotState
    | ChargeStatus
    | SessionFinished
    | SeccEmergency
    | CableTemperature
    | GroupOutput
    | ModuleState
    | ModuleLimits
    | ModuleSilent
    | DigitalInputs
    | InsulationReading
    | DeviceReady
    | GroupSilent
    | OrderRefused
)


class Device(Protocol):
    """Anything with a task of its own."""

    async def run(self, report: Callable[[DeviceReport], None]) -> None:
        """Talk to the device until cancelled. Raises DeviceFault when it is lost."""
        ...
