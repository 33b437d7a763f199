"""What do the devices say, and how old is that?

`EvseSenses` and `StationSenses` hold the newest word of every device. `hear` says whether
somebody should act on it at once; times come from an `AwakeClock`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec
import trio

from drivers.io.wiring import InputA, InputB
from drivers.ports import (
    CableTemperature,
    DigitalInputs,
    EvInformation,
    GroupOutput,
    Insulation,
    MeterReading,
    ModuleLimits,
    ModuleSilent,
    ModuleState,
    PilotState,
    PowerRequest,
    Report,
    SeccEmergency,
    SeccHeartbeat,
    SeccState,
)

TICK_S: Final = 0.1
LATE_S: Final = 0.1  # a tick later than this was held up by us, not by the devices
STATION, DISPENSER = 1, 2  # the I/O modules; 1 is also EVSE 1's, 2 EVSE 2's


class AwakeClock:
    """Seconds during which this process ran.

    A device is not silent while nobody listened: what a held-up loop lost does not count.
    """

    def __init__(self) -> None:
        self._lost = 0.0
        self._ticked_at = trio.current_time()

    def now(self) -> float:
        return trio.current_time() - self._lost

    def tick(self) -> None:
        """Called every `TICK_S`."""
        at = trio.current_time()
        late = at - self._ticked_at - TICK_S
        if late > LATE_S:
            self._lost += late
        self._ticked_at = at


def older(at: float | None, seconds: float, now: float, since: float) -> bool:
    """Whether something heard `at` is older than `seconds`; if never heard, since `since`."""
    return now - (since if at is None else at) > seconds


class EvseSenses(msgspec.Struct):
    """One EVSE: pilot, charge controller, output, insulation, meter, contactors, cable."""

    evse_id: int
    pilot: str | None = None
    pilot_wrong: bool = False  # read E since the last A
    state: SeccState = SeccState.INITIALISING
    heartbeat_at: float | None = None
    request: PowerRequest | None = None
    ev: EvInformation = msgspec.field(default_factory=EvInformation)
    ev_emergency_at: float | None = None
    secc_emergency_at: float | None = None
    cable_c: int | None = None
    output_v: Decimal = Decimal(0)
    output_a: Decimal = Decimal(0)
    output_at: float | None = None
    insulation: Insulation | None = None
    insulation_at: float | None = None
    low_polls: int = 0  # in a row, below the limit of power transfer
    meter: MeterReading | None = None
    meter_at: float | None = None
    closed: bool | None = None  # the contactors, by their feedback
    feedbacks: int = 0  # how often it was read

    @property
    def plugged(self) -> bool | None:
        """Whether an EV hangs on the cable; None: the pilot never told."""
        return None if self.pilot is None else self.pilot != "A"

    def hear(self, report: Report, now: float, alarm_ohm: int) -> bool:
        """Take a report of one of the EVSE's devices; whether it calls for action."""
        match report:
            case SeccHeartbeat(state=state):
                self.heartbeat_at = now
                changed, self.state = state is not self.state, state
                return changed
            case PilotState(letter=letter):
                return self._hear_pilot(letter)
            case PowerRequest():
                changed, self.request = report != self.request, report
                return changed
            case GroupOutput(voltage_mv=millivolt, current_ma=milliampere):
                self.output_v = Decimal(millivolt).scaleb(-3)
                self.output_a = Decimal(milliampere).scaleb(-3)
                self.output_at = now
            case Insulation():
                self._hear_insulation(report, now, alarm_ohm)
            case MeterReading():
                self.meter, self.meter_at = report, now
            case EvInformation():
                self.ev = report
            case SeccEmergency(by_ev=True):
                self.ev_emergency_at = now
            case SeccEmergency():
                self.secc_emergency_at = now
            case CableTemperature(hottest_c=hottest):
                changed, self.cable_c = hottest != self.cable_c, hottest
                return changed
        return True

    def _hear_pilot(self, letter: str) -> bool:
        """E says nothing about the cable: the letter before stands."""
        if letter == "E":
            changed, self.pilot_wrong = not self.pilot_wrong, True
            return changed
        if letter == "A":
            self.pilot_wrong = False
            self.ev = EvInformation()
        changed, self.pilot = letter != self.pilot, letter
        return changed

    def _hear_insulation(self, report: Insulation, now: float, alarm_ohm: int) -> None:
        self.insulation, self.insulation_at = report, now
        ohm = report.resistance_ohm
        if not report.testing:
            self.low_polls = self.low_polls + 1 if ohm is not None and ohm < alarm_ohm else 0

    def hear_contactors(self, closed: bool) -> None:
        self.closed = closed
        self.feedbacks += 1


class StationSenses(msgspec.Struct):
    """What belongs to no EVSE alone: wires of the I/O modules, rectifier modules, what is lost.

    Attributes:
        inputs, inputs_at: by I/O module, `STATION` and `DISPENSER`.
        counted: how many rectifier modules say they are there.
        lost: name of a driver to what it said when it gave up; until it speaks again.
    """

    inputs: dict[int, DigitalInputs] = msgspec.field(default_factory=dict)
    inputs_at: dict[int, float] = msgspec.field(default_factory=dict)
    reset_at: dict[int, float] = msgspec.field(default_factory=dict)
    modules: dict[int, ModuleState] = msgspec.field(default_factory=dict)
    limits: dict[int, ModuleLimits] = msgspec.field(default_factory=dict)
    silent: dict[int, ModuleSilent] = msgspec.field(default_factory=dict)
    counted: int | None = None
    lost: dict[str, str] = msgspec.field(default_factory=dict)

    def hear_inputs(self, number: int, report: DigitalInputs, now: float) -> bool:
        """Take the inputs of an I/O module; whether they changed."""
        before = self.inputs.get(number)
        self.inputs[number], self.inputs_at[number] = report, now
        if report.was_reset:
            self.reset_at[number] = now
        return report != before

    def hear_module(self, report: Report) -> None:
        """Take what a rectifier module says, or that it says nothing."""
        match report:
            case ModuleState(address=address):
                self.modules[address] = report
                self.silent.pop(address, None)
            case ModuleLimits(address=address):
                self.limits[address] = report
            case ModuleSilent(address=address):
                self.silent[address] = report

    def wire(self, which: InputA | InputB) -> bool | None:
        """The level of an input; None: never read."""
        number = STATION if isinstance(which, InputA) else DISPENSER
        report = self.inputs.get(number)
        return None if report is None else bool(report.bits >> which & 1)
