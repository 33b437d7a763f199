"""Newest reports of all devices, and their age.

`EvseInputs` and `StationInputs` keep the newest report of each kind. Their `apply_…` methods
return whether the report requires a round of the control loop at once. Times come from an
`AwakeClock` (`drivers.awake_clock`), except those of `ContactorFeedback`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

import msgspec

from drivers.ports import (
    CableTemperature,
    DeviceReport,
    DigitalInputs,
    EvInformation,
    GroupOutput,
    InsulationReading,
    MeterReading,
    ModuleLimits,
    ModuleSilent,
    ModuleState,
    PilotState,
    PowerRequest,
    SeccEmergency,
    SeccHeartbeat,
    SeccState,
)
from drivers.wiring import Channel

LARGE_CHANGE_V: Final = 1  # of the output between two reports: judged at once
LARGE_CHANGE_A: Final = 1
FEEDBACKS_MIN: Final = 3  # contradicting readings in a row before they count


def is_older(at: float | None, seconds: float, now: float, started_at: float) -> bool:
    """Whether a report of time `at` is older than `seconds`; without one, since `started_at`."""
    return now - (started_at if at is None else at) > seconds


class ContactorFeedback(msgspec.Struct):
    """Feedback of the contactors of one EVSE, compared with the output that drives them.

    The output is the one that the I/O module confirmed: an order may wait for the line, and a write
    may be lost. Times are those of the module's requests, in trio's seconds: our own lateness
    between an order and its write, or between a reading and this comparison, is not in them.

    Attributes:
        closed: newest feedback; None: never read.
    """

    closed: bool | None = None
    _output_on: bool | None = None
    _since: float | None = None  # since when it may contradict; None: it does not
    _count: int = 0  # readings in a row that contradict
    _read_at: float = 0.0

    def apply_reading(self, report: DigitalInputs, input_number: int, output_number: int) -> bool:
        """Take the feedback and the output of one reading of the contactors' I/O module.

        Returns:
            Whether the reading says more than the one before: the output was switched, or the
            feedback contradicts it.
        """
        self.closed = bool(report.bits >> input_number & 1)
        self._read_at = report.read_at
        if report.outputs is None:
            self._output_on = self._since = None
            return True
        output_on = bool(report.outputs >> output_number & 1)
        switched, self._output_on = output_on is not self._output_on, output_on
        if switched:
            self._since, self._count = report.outputs_at, 0
            if report.read_at < report.outputs_at:
                return True  # read before it was switched
        if self.closed is output_on:
            self._since = None
            return switched
        if self._since is None:
            self._since, self._count = report.read_at, 0
        self._count += 1
        return True

    def contradiction(self, feedback_s: float) -> Literal["welded", "stuck_open"] | None:
        """The fault, if at least `FEEDBACKS_MIN` readings over `feedback_s` contradict."""
        if self._since is None or self._count < FEEDBACKS_MIN:
            return None
        if self._read_at - self._since < feedback_s:
            return None
        return "welded" if self.closed else "stuck_open"


class EvseInputs(msgspec.Struct):
    """One EVSE: pilot, charge controller, output, insulation, meter, contactors, cable."""

    evse_id: int
    pilot: str | None = None
    pilot_error: bool = False  # read E since the last A
    secc_state: SeccState = SeccState.INITIALIZING
    heartbeat_at: float | None = None
    power_request: PowerRequest | None = None
    ev: EvInformation = msgspec.field(default_factory=EvInformation)
    ev_emergency_at: float | None = None
    secc_emergency_at: float | None = None
    cable_c: int | None = None
    output_v: Decimal = Decimal(0)
    output_a: Decimal = Decimal(0)
    output_at: float | None = None
    insulation: InsulationReading | None = None
    insulation_at: float | None = None
    low_insulation_polls: int = 0  # in a row, below the limit of power transfer
    meter: MeterReading | None = None
    meter_at: float | None = None
    feedback: ContactorFeedback = msgspec.field(default_factory=ContactorFeedback)

    @property
    def contactors_closed(self) -> bool | None:
        """By their feedback; None: never read."""
        return self.feedback.closed

    @property
    def ev_plugged(self) -> bool | None:
        """Whether an EV is plugged in; None: the pilot was never reported."""
        return None if self.pilot is None else self.pilot != "A"

    def apply_report(self, report: DeviceReport, now: float, alarm_ohm: int) -> bool:
        """Keep a report of one of the EVSE's devices; whether it requires a round at once."""
        match report:
            case SeccHeartbeat(state=state):
                self.heartbeat_at = now
                changed, self.secc_state = state is not self.secc_state, state
                return changed
            case PilotState(letter=letter):
                return self._apply_pilot(letter)
            case PowerRequest():
                changed, self.power_request = report != self.power_request, report
                return changed
            case GroupOutput():
                return self._apply_output(report, now)
            case InsulationReading():
                self._apply_insulation(report, now, alarm_ohm)
            case MeterReading():
                self.meter, self.meter_at = report, now
            case EvInformation():
                self.ev = report
            case SeccEmergency(by_ev=True):
                self.ev_emergency_at = now
            case SeccEmergency():
                self.secc_emergency_at = now
            case CableTemperature(hottest_c=hottest_c):
                changed, self.cable_c = hottest_c != self.cable_c, hottest_c
                return changed
        return True

    def _apply_pilot(self, letter: str) -> bool:
        """E has no information about the cable: the previous letter is kept."""
        if letter == "E":
            changed, self.pilot_error = not self.pilot_error, True
            return changed
        if letter == "A":
            self.pilot_error = False
            self.ev = EvInformation()
        changed, self.pilot = letter != self.pilot, letter
        return changed

    def _apply_output(self, report: GroupOutput, now: float) -> bool:
        """Keep it. A small change, such as noise, is judged in the next regular round."""
        output_v = Decimal(report.voltage_mv).scaleb(-3)
        output_a = Decimal(report.current_ma).scaleb(-3)
        is_large = (
            abs(output_v - self.output_v) >= LARGE_CHANGE_V
            or abs(output_a - self.output_a) >= LARGE_CHANGE_A
        )
        self.output_v, self.output_a, self.output_at = output_v, output_a, now
        return is_large

    def _apply_insulation(self, report: InsulationReading, now: float, alarm_ohm: int) -> None:
        self.insulation, self.insulation_at = report, now
        ohm = report.resistance_ohm
        if not report.self_test_running:
            self.low_insulation_polls = (
                self.low_insulation_polls + 1 if ohm is not None and ohm < alarm_ohm else 0
            )


class StationInputs(msgspec.Struct):
    """Inputs of the whole station: wires of the I/O modules, rectifier modules, lost devices.

    Attributes:
        digital_inputs, digital_inputs_at: by number of the I/O module.
        io_reset_at: when an I/O module reported that it had lost its supply.
        module_count: how many rectifier modules responded to the count.
        lost_devices: name of a driver to the message of its `DeviceFault`, until its next report.
    """

    digital_inputs: dict[int, DigitalInputs] = msgspec.field(default_factory=dict)
    digital_inputs_at: dict[int, float] = msgspec.field(default_factory=dict)
    io_reset_at: dict[int, float] = msgspec.field(default_factory=dict)
    module_states: dict[int, ModuleState] = msgspec.field(default_factory=dict)
    module_limits: dict[int, ModuleLimits] = msgspec.field(default_factory=dict)
    silent_modules: dict[int, ModuleSilent] = msgspec.field(default_factory=dict)
    module_count: int | None = None
    lost_devices: dict[str, str] = msgspec.field(default_factory=dict)

    def apply_digital_inputs(self, io_module: int, report: DigitalInputs, now: float) -> bool:
        """Keep the inputs of an I/O module; whether they changed."""
        before = self.digital_inputs.get(io_module)
        self.digital_inputs[io_module], self.digital_inputs_at[io_module] = report, now
        if report.was_reset:
            self.io_reset_at[io_module] = now
        return before is None or _levels(report) != _levels(before)

    def apply_module_report(self, report: DeviceReport) -> None:
        """Keep a report of a rectifier module, or that it is silent."""
        match report:
            case ModuleState(address=address):
                self.module_states[address] = report
                self.silent_modules.pop(address, None)
            case ModuleLimits(address=address):
                self.module_limits[address] = report
            case ModuleSilent(address=address):
                self.silent_modules[address] = report

    def input_level(self, channel: Channel | None) -> bool | None:
        """The level of an input; None: never read, or not wired."""
        report = None if channel is None else self.digital_inputs.get(channel.module)
        if channel is None or report is None:
            return None
        return bool(report.bits >> channel.number & 1)


def _levels(report: DigitalInputs) -> tuple[object, ...]:
    return report.bits, report.watchdog_fired, report.was_reset
