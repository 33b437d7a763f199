"""Device ports: reports, faults, and a Protocol for each kind of device.

A driver owns one device on one port. `run` communicates with it until cancelled, calls `report`
with everything the device reports, and raises a `DeviceFault` when the device or its port is lost;
the caller starts it again. What the device has to do is set by plain attributes or plain methods;
the driver brings the device to that state and keeps it there. Nothing here depends on OCPP.

The Protocols contain only what the power path and the control loop use. `drivers.catalog` finds a
driver by the name in station.toml.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import IntEnum
from typing import Final, Generic, Protocol, TypeVar

import msgspec


class DeviceFault(Exception):
    """A device violates its datasheet. The message names the device, what happened, and numbers."""


class PortLost(DeviceFault):
    """The tty or the bus of the device closed (EOF, EIO)."""


class NoResponse(DeviceFault):
    """The device did not respond to any of the attempts its rules allow."""


class GarbledResponse(NoResponse):
    """Bytes arrived in at least one of the attempts, and no response was among them."""


class InvalidResponse(DeviceFault):
    """The device sent a response that its protocol does not allow."""


class CommandRefused(DeviceFault):
    """The device responded with an error code of its own."""


# --- Reports of devices. Units are in the names. ------------------------------------------------


class TokenPresented(msgspec.Struct, frozen=True):
    """A card was presented. Reported once until the card was absent for 3 polls."""

    uid: bytes  # 4, 7 or 10 bytes, byte 0 first
    uid_is_random: bool  # a 4-byte UID that begins with 0x08 differs at each tap


class MeterReading(msgspec.Struct, frozen=True):
    """One poll of a DC energy meter."""

    energy_wh: Decimal  # towards the EV; the register as the meter has it
    energy_reverse_wh: Decimal
    voltage_v: Decimal
    current_a: Decimal  # negative: from the EV
    power_w: Decimal
    temperature_c: Decimal | None  # inside the meter; None: not measured
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
    """What the charge controller requests of the power modules, secc.md section 2."""

    OFF = 0
    STANDBY = 1
    INSULATION_TEST = 2
    PRECHARGE = 4
    POWER_TRANSFER = 8


class PowerRequest(msgspec.Struct, frozen=True):
    """DC_Power_Control: what the EV requests, at the pace of the EV."""

    function: PowerFunction
    voltage_v: Decimal
    current_a: Decimal  # upper limit; never negative, a discharge request is 0
    contactors_closed: bool
    lower_voltage: bool


class EvInformation(msgspec.Struct, frozen=True):
    """Data the EV sent about itself; None where it sent none (0 on the wire)."""

    capacity_wh: Decimal | None = None
    soc_percent: int | None = None
    soc_target_percent: int | None = None
    voltage_max_v: Decimal | None = None
    voltage_present_v: Decimal | None = None
    current_max_a: Decimal | None = None
    power_max_w: Decimal | None = None
    evcc_id: str | None = None  # MAC address, upper case hex


class SeccHeartbeat(msgspec.Struct, frozen=True):
    """The controller is alive. Sent every 100 ms."""

    state: SeccState


class PilotState(msgspec.Struct, frozen=True):
    """The control pilot: 'A' no EV, 'B' to 'D' EV plugged, 'E' error (also F)."""

    letter: str
    duty_permille: int


class ChargeStatus(msgspec.Struct, frozen=True):
    """The EV started (True) or ended (False) the charge."""

    started: bool


class SessionFinished(msgspec.Struct, frozen=True):
    """The CCS session is over. aborted: not ended in the regular sequence."""

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
    """One power module: its decoded state words, power_modules_can.md section 3."""

    address: int
    group: int
    temperature_c: int
    faults: frozenset[str]  # class "fault"; those of the supply are in MAINS_FAULTS
    warnings: frozenset[str]  # class "warning"
    states: frozenset[str]  # class "state": off, sleeping, derating, …


class ModuleLimits(msgspec.Struct, frozen=True):
    """Limits of one power module, as it reports them (0x0A)."""

    address: int
    voltage_max_v: int
    voltage_min_v: int
    current_max_ma: int
    power_w: int


class ModuleSilent(msgspec.Struct, frozen=True):
    """A module missed 5 responses (lost False) or sent nothing for 15 s (lost True)."""

    address: int
    lost: bool


class DigitalInputs(msgspec.Struct, frozen=True):
    """The 8 inputs of one I/O module, bit n is DIn, and the state of its watchdog and outputs.

    Feedback is compared with `outputs`, not with an order: an order may be on its way. Times are
    trio's, in seconds.
    """

    unit: int
    bits: int
    watchdog_fired: bool
    was_reset: bool
    read_at: float  # when the inputs were requested: they are at least as new
    outputs: int | None  # as the module confirmed them, bit n is DOn; None: not known
    outputs_at: float  # when it confirmed them for the first time


class InsulationReading(msgspec.Struct, frozen=True):
    """One measurement of the insulation monitor of one DC output."""

    resistance_ohm: int | None  # None: invalid, the device measures nothing
    alarm: int  # 0 none, 1 pre-warning, 2 device error, 4 warning, 5 alarm
    self_test_running: bool
    earth_lost: bool
    voltage_v: Decimal | None = None  # L1 to L2; None: invalid


class DeviceReady(msgspec.Struct, frozen=True):
    """The device is set up: first report of each run, and again after a reset or a loss."""

    identity: str  # model and firmware as the device reports them
    condition: str = ""  # what else it reported at first; for the log


class GroupSilent(msgspec.Struct, frozen=True):
    """A group that is on reported no output for 1 s. The driver has ordered it off already."""

    group: int


class OrderRefused(msgspec.Struct, frozen=True):
    """A module or a group refused an order; the order remains and is repeated."""

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


MAINS_FAULTS: Final = frozenset({"ac_phase_missing", "ac_under_voltage", "ac_over_voltage"})
"""Faults in `ModuleState.faults` that come from the supply, not from the module."""

# --- Kinds of devices. A class that has these members is a device of that kind. ------------------


class Device(Protocol):
    """Anything with a task of its own."""

    async def run(self, report: Callable[[DeviceReport], None]) -> None:
        """Communicate with the device until cancelled. Raises DeviceFault when it is lost."""
        ...


class Meter(Device, Protocol):
    """DC energy meter of one EVSE. Reports MeterReading.

    Attributes:
        interval_s: time between two polls.
        energy_last_wh: the highest forward register read. Kept between runs, and may be set before
            the first: a register below it is never reported. J02.FR.17.
    """

    interval_s: float
    energy_last_wh: Decimal | None


class InsulationMonitor(Device, Protocol):
    """Insulation monitor of one EVSE. Reports InsulationReading.

    Attributes:
        interval_s: time between two polls.
    """

    interval_s: float

    def start_self_test(self) -> None:
        """Order a self-test.

        Reports have `self_test_running` from the next one until the test is done; `alarm` 2 in
        the first report after it means that it failed.
        """
        ...


class IoModule(Device, Protocol):
    """I/O module: 8 inputs, 8 outputs, host watchdog. Reports DigitalInputs.

    The driver switches power outputs off on its own (start, end, reset, watchdog) and never on.

    Attributes:
        idle: no power can flow and no session is near, so the inputs may be read less often.
    """

    idle: bool

    @property
    def watchdog_works(self) -> bool | None:
        """Result of the last `test_watchdog`; None: not tested."""
        ...

    def test_watchdog(self) -> None:
        """Order silence until the watchdog must have fired, and a check that it did.

        Raises:
            ValueError: a power output is on.
        """
        ...

    def set_output(self, number: int, on: bool) -> None:
        """Set one output, without effect on the others; see `drivers.wiring`."""
        ...

    def clear_watchdog(self) -> None:
        """Enable the outputs again after the watchdog fired. Only when every EVSE is idle."""
        ...


class ChargeController(Device, Protocol):
    """CCS charge controller (SECC) of one EVSE.

    Reports SeccHeartbeat, PilotState, PowerRequest, EvInformation, ChargeStatus, SessionFinished,
    SeccEmergency and CableTemperature. Everything is refused at the start of each run.

    Attributes:
        voltage_v, current_a: measured at the output.
        insulation_ohm: measured insulation resistance; None is sent as 0.
        voltage_max_v, current_max_a: limits sent to the EV.
        modules_c: temperature of the power modules, degC.
        enabled: power may flow. False while charging is an emergency stop.
        start_allowed: the control pilot may leave 100 %.
        authorized: None while not decided.
        parameters_done: the limits are final, the session may continue.
    """

    voltage_v: Decimal
    current_a: Decimal
    insulation_ohm: int | None
    voltage_max_v: Decimal
    current_max_a: Decimal
    modules_c: int
    enabled: bool
    start_allowed: bool
    authorized: bool | None
    parameters_done: bool

    def press_stop_button(self) -> None:
        """End the session in the regular sequence."""
        ...

    def send_status_now(self) -> None:
        """Send the state at once instead of in the next cycle."""
        ...


class PowerModules(Device, Protocol):
    """Rectifier modules of the cabinet, in groups wired to one EVSE each.

    Reports GroupOutput, ModuleState, ModuleLimits, ModuleSilent, GroupSilent and OrderRefused.

    Attributes:
        idle: no power can flow and no session is near, so values may be read less often.
    """

    idle: bool

    @property
    def module_count(self) -> int:
        """How many modules responded to the last count; 0 before it."""
        ...

    def set_group(self, group: int, voltage_mv: int, current_ma: int, on: bool) -> None:
        """Order the output of a group (numbered as the EVSEs); replaces the previous order."""
        ...


class CardReader(Device, Protocol):
    """Card reader. Reports TokenPresented while `enabled`."""

    @property
    def enabled(self) -> bool: ...

    @enabled.setter
    def enabled(self, on: bool) -> None: ...


class Display(Device, Protocol):
    """Text display for the EV driver."""

    columns: int
    rows: int

    @property
    def lines(self) -> tuple[str, ...]:
        """The text, one item per row."""
        ...

    @lines.setter
    def lines(self, lines: Sequence[str]) -> None: ...


D = TypeVar("D", bound=Device)


class OpenDevices(msgspec.Struct, Generic[D], frozen=True):
    """Devices of one `[hardware.KIND]` table, as `open` of a driver returns them; not yet running.

    Attributes:
        devices: by EVSE id, or by number where a device belongs to no EVSE (I/O modules: 1 and 2;
            reader, display and power modules: 0).
        bus: a task that all of them need, such as a shared CAN bus; it runs beside them.
        close: closes what `devices` leave open for each other, such as a shared serial port.
        personal: what the devices exchange is personal data, so a trace of the port has no data.
        personal_can_ids: identifiers of CAN frames with personal data; a trace has not their data.
    """

    devices: Mapping[int, D]
    bus: Device | None = None
    close: Callable[[], None] = lambda: None
    personal: bool = False
    personal_can_ids: frozenset[int] = frozenset()
