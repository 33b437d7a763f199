"""How does a charge controller lead an EV through a session?

One controller with the EV it is plugged into. The session is told as a story, one `yield` per
tick: whatever ends it early throws the story away and begins another. Times are shorter than in
the field, so that plug to closed contactors takes about two seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from drivers.emulators.ev import Ev
from drivers.ports import SeccState
from drivers.wire import secc as wire
from drivers.wire.secc import Function, Message
from drivers.wire.slcan import CanFrame

CYCLE_S = 0.1
SLOW_CYCLE_S = 1.0
STATUS_AGE_MAX_S = 0.5  # of Power_Modules_Status; the vendor's value is not public
INSULATION_MIN_OHM = 100_000
INSULATION_ROUNDS = 10
INSULATION_VOLTAGE_SHARE = 0.9
LOWERED_V = 20.0
PRECHARGE_WITHIN_V = 20.0
PRECHARGE_A = 2.0
CURRENT_BEFORE_OPENING_A = 1.0
INLET_UNLOCKS_V = 60.0
EMERGENCY_LEAST_S = 0.5
DUTY_HELD, DUTY_TALKING = 1000, 50  # 0.1 %
ISO_15118_2, DC_EXTENDED = 2, 1

Story = Iterator[None]


@dataclass
class SeccTimes:
    """How long the steps take, seconds. The field's own values are in the comments."""

    negotiation: float = 0.15  # some tens of seconds
    authorisation_max: float = 60.0
    enable_max: float = 30.0
    insulation_max: float = 10.0
    lowering_max: float = 5.0
    precharge_max: float = 7.0
    contactor: float = 0.05
    ending_max: float = 2.0
    welding_detection: float = 0.1  # seconds
    closing: float = 0.1  # some seconds


@dataclass
class SeccFaults:
    """How the controller misbehaves, until the attribute is put back.

    Attributes:
        silent: says nothing at all.
        stuck: its state says the same for ever.
        emergency: it makes an emergency stop by itself.
        pilot_error: the pilot reads E.
        no_power_control: DC_Power_Control stays away; legal for up to 60 s.
        unknown_values: state, function and pilot have numbers of no meaning.
        never_precharges: the EV's contactors never close.
    """

    silent: bool = False
    stuck: bool = False
    emergency: bool = False
    pilot_error: bool = False
    no_power_control: bool = False
    unknown_values: bool = False
    never_precharges: bool = False


@dataclass
class _Status:
    """What the station told last."""

    voltage_v: float = 0.0
    current_a: float = 0.0
    enabled: bool = False
    insulation_ohm: int = 0
    at: float = float("-inf")


@dataclass
class _Power:
    """What DC_Power_Control asks for."""

    function: int = Function.OFF
    voltage_v: float = 0.0
    current_a: float = 0.0
    ranged: bool = False
    closed: bool = False
    lower: bool = False


class _Ended(Exception):
    """The session ends early; for an emergency `origin` says who made it."""

    def __init__(self, origin: int | None = None, *, rushed: bool = True) -> None:
        super().__init__(origin, rushed)
        self.origin = origin
        self.rushed = rushed


@dataclass
class _Flags:
    """Sequence_Control as heard last."""

    start: bool = False
    done: bool = False
    valid: bool = False
    parameters: bool = False
    button: bool = False


@dataclass
class _Spoken:
    """What the controller says in each cycle."""

    state: SeccState = SeccState.NOT_AVAILABLE
    power: _Power | None = None
    announcing: bool = False
    emergency: int | None = None
    duty: int = DUTY_HELD
    charging_pilot: bool = False


class EmulatedSecc:
    """One controller; a `CanNode`.

    Call `tick` often; it does everything. The world plugs EVs in and out.

    Attributes:
        ev: the EV on the cable, None without.
        faults, times: see there.
        cable_c: the two contact temperatures, degC.
    """

    def __init__(
        self, send: Callable[[CanFrame], None], clock: Callable[[], float], index: int
    ) -> None:
        self.index = index
        self.ev: Ev | None = None
        self.faults = SeccFaults()
        self.times = SeccTimes()
        self.cable_c = [30, 30]
        self.limits = {"voltage_v": 0.0, "current_a": 0.0}
        self._send = send
        self._clock = clock
        self._status = _Status()
        self._flags = _Flags()
        self._says = _Spoken()
        self._stop_pressed = False
        self._was_enabled = False
        self._spent = False  # this EV had its session; the next needs a new start or a new plug
        self._story: Story | None = None
        self._told_soc: int | None = None
        self._asked: tuple[int, bool, bool, float] | None = None
        self._shown_state = int(SeccState.INITIALISING)
        self._cycle_due = self._slow_due = clock()

    # --- what others see and do ------------------------------------------------------------------

    @property
    def state(self) -> SeccState:
        return self._says.state

    @property
    def in_session(self) -> bool:
        return self._story is not None

    @property
    def pilot(self) -> str:
        """The pilot's letter."""
        if self.faults.pilot_error:
            return "E"
        if self.ev is None:
            return "A"
        return "C" if self._says.charging_pilot else "B"

    def plug(self, ev: Ev) -> None:
        """Put the cable into an EV."""
        self.ev = ev
        self._spent = False

    def unplug(self) -> None:
        """Take the cable out, under load or not."""
        if self.ev is not None:
            self.ev.contactors_closed = False
        self.ev = None

    def heard(self, frame: CanFrame) -> None:
        """Take what the station says to this controller."""
        message = wire.message_of(frame)
        if message is None or wire.index_of(frame) != self.index:
            return
        if len(frame.data) >= message.length and message.base in HEARD:
            HEARD[message.base](self, message.decode(frame.data))

    def _hear_status(self, said: dict[str, int]) -> None:
        self._status = _Status(
            said["Present_Voltage"] / 10,
            said["Present_Current"] / 10,
            said["System_Enable"] == 1,
            said["Insulation_Resistance"] * 2000,
            self._clock(),
        )

    def _hear_limits(self, said: dict[str, int]) -> None:
        self.limits["voltage_v"] = said["Maximum_Voltage"] / 10
        self.limits["current_a"] = said["Maximum_Charge_Current"] / 10

    def _hear_flags(self, said: dict[str, int]) -> None:
        before = self._flags
        self._flags = _Flags(
            start=bool(said["Start_Charge_Authorisation"]),
            done=bool(said["CCS_Authorisation_Done"]),
            valid=bool(said["CCS_Authorisation_Valid"]),
            parameters=bool(said["Charge_Parameters_Done"]),
            button=bool(said["User_Stop_Button"]),
        )
        if self._flags.button and not before.button:
            self._stop_pressed = True
        if self._flags.start and not before.start:
            self._spent = False

    # --- time ------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Go on: the story, then what is due on the bus."""
        now = self._clock()
        if self._silent_station and self._story is None:
            self._flags = _Flags()  # whoever allowed the start is gone
        self._go_on()
        if self.faults.silent:
            return
        self._speak_power()
        if now >= self._cycle_due:
            self._cycle_due = max(self._cycle_due + CYCLE_S, now)
            self._speak()
        if now >= self._slow_due:
            self._slow_due = max(self._slow_due + SLOW_CYCLE_S, now)
            self._speak_slowly()

    @property
    def _silent_station(self) -> bool:
        return self._clock() - self._status.at > STATUS_AGE_MAX_S

    def _go_on(self) -> None:
        if self._story is None:
            self._wait_for_work()
            return
        try:
            self._watch()
            next(self._story)
        except StopIteration:
            self._story = None
        except _Ended as ended:
            self._story = self._break_off(ended)
            next(self._story)

    def _wait_for_work(self) -> None:
        ready = self._flags.start and not self.faults.pilot_error
        self._says = _Spoken(SeccState.WAITING_FOR_PEV if ready else SeccState.NOT_AVAILABLE)
        if self.faults.emergency or (self.ev is not None and self.ev.emergency):
            self._says.emergency = wire.ORIGIN_EVSE if self.faults.emergency else wire.ORIGIN_EV
        elif ready and self.ev is not None and not self._spent:
            self._spent = True
            self._stop_pressed = self._was_enabled = False
            self._story = self._session(self.ev)

    # --- the session -----------------------------------------------------------------------------

    def _session(self, ev: Ev) -> Story:
        """From the plug to the end by the book."""
        ev.contactors_closed = False
        self._says = _Spoken(SeccState.NEGOTIATING_CONNECTION, duty=DUTY_TALKING)
        yield from self._pause(self.times.negotiation)
        self._says.state = SeccState.CCS_AUTHORISATION_PROCESS
        yield from self._until(lambda: self._flags.done, self.times.authorisation_max)
        if not self._flags.valid:
            raise _Ended(rushed=False)
        yield from self._exchange_parameters(ev)
        yield from self._test_insulation(ev)
        yield from self._precharge(ev)
        yield from self._charge(ev)
        yield from self._end(ev)

    def _exchange_parameters(self, ev: Ev) -> Story:
        self._says.announcing = True
        self._tell(wire.NEW_CHARGE_SESSION, Communication_Protocol=2, Plug_and_pins=DC_EXTENDED)
        self._introduce(ev)
        yield from self._until(lambda: self._flags.parameters, self.times.enable_max)
        self._says.state = SeccState.CONNECTED_WITH_FULL_INFO
        yield from self._until(lambda: self._status.enabled, self.times.enable_max)
        self._says.announcing = False
        self._was_enabled = True
        self._says.power = _Power(Function.STANDBY)
        yield

    def _test_insulation(self, ev: Ev) -> Story:
        self._says.state = SeccState.INSULATION_TEST
        self._says.charging_pilot = True
        voltage_v = ev.max_voltage_v
        self._says.power = _Power(Function.INSULATION_TEST, voltage_v, closed=True)
        high_enough = voltage_v * INSULATION_VOLTAGE_SHARE
        yield from self._until(
            lambda: self._status.voltage_v >= high_enough, self.times.insulation_max
        )
        for _ in range(INSULATION_ROUNDS):
            if self._status.insulation_ohm < INSULATION_MIN_OHM:
                raise _Ended
            yield
        self._says.power = _Power(Function.STANDBY, closed=True, lower=True)
        yield from self._until(lambda: self._status.voltage_v <= LOWERED_V, self.times.lowering_max)

    def _precharge(self, ev: Ev) -> Story:
        self._says.state = SeccState.PRECHARGE
        wanted_v = ev.battery_v
        self._says.power = _Power(
            Function.PRECHARGE, wanted_v, PRECHARGE_A, ranged=True, closed=True
        )
        yield from self._until(
            lambda: (
                abs(self._status.voltage_v - wanted_v) <= PRECHARGE_WITHIN_V
                and not self.faults.never_precharges
            ),
            self.times.precharge_max,
        )
        ev.contactors_closed = True
        yield from self._pause(self.times.contactor)
        self._says.power = _Power(Function.STANDBY, closed=True)

    def _charge(self, ev: Ev) -> Story:
        self._says.state = SeccState.WAITING_FOR_CHARGE
        yield from self._pause(max(ev.start_delay_s, self.times.contactor))
        self._tell(wire.CHARGE_STATUS_CHANGE, Vehicle_Ready_for_Charging=1)
        self._says.state = SeccState.CHARGING
        while not (self._stop_pressed or ev.finished):
            offered_a = self.limits["current_a"] or ev.wish_a
            self._says.power = _Power(
                Function.POWER_TRANSFER,
                ev.max_voltage_v,
                min(ev.wish_a, offered_a),
                closed=True,
            )
            self._inform(ev)
            yield

    def _end(self, ev: Ev) -> Story:
        self._says.state = SeccState.ENDING_CHARGE
        self._tell(wire.CHARGE_STATUS_CHANGE, Vehicle_Ready_for_Charging=0)
        self._says.power = _Power(Function.STANDBY, closed=True)
        yield from self._until(
            lambda: abs(self._status.current_a) < CURRENT_BEFORE_OPENING_A,
            self.times.ending_max,
        )
        ev.contactors_closed = False
        yield from self._pause(self.times.contactor)
        self._says.power = _Power(Function.STANDBY)
        yield from self._pause(self.times.contactor)
        self._says.power = _Power(Function.STANDBY, lower=True)
        self._says.state = SeccState.WELDING_DETECTION
        yield from self._pause(self.times.welding_detection)
        ends = self._clock() + self.times.ending_max
        while self._status.voltage_v > INLET_UNLOCKS_V and self._clock() < ends:
            yield
        self._says.state = SeccState.CLOSING_COMMUNICATION
        self._says.charging_pilot = False
        yield from self._pause(self.times.closing)
        self._tell(wire.CHARGE_SESSION_FINISHED, State=0)

    def _break_off(self, ended: _Ended) -> Story:
        """Early: the EV opens, an emergency is told while it holds."""
        if self.ev is not None:
            self.ev.contactors_closed = False
        self._says = _Spoken(SeccState.CLOSING_COMMUNICATION, _Power(), emergency=ended.origin)
        if ended.origin is not None:
            yield from self._pause(EMERGENCY_LEAST_S)
            while self._emergency_holds():
                yield
        self._tell(wire.CHARGE_SESSION_FINISHED, State=int(ended.rushed))
        self._says = _Spoken(SeccState.CLOSING_COMMUNICATION)
        yield from self._pause(self.times.closing)

    def _emergency_holds(self) -> bool:
        return self.faults.emergency or (self.ev is not None and self.ev.emergency)

    def _watch(self) -> None:
        """What ends a session at any moment. Raises _Ended."""
        if self._says.state is SeccState.CLOSING_COMMUNICATION:
            return
        powered = self._says.power is not None
        if self.ev is None or self.faults.pilot_error:
            raise _Ended(wire.ORIGIN_EVSE if powered else None)
        if self.ev.emergency:
            raise _Ended(wire.ORIGIN_EV)
        if self.faults.emergency or self._silent_station:
            raise _Ended(wire.ORIGIN_EVSE if powered else None)
        if powered and self._was_enabled and not self._status.enabled:
            charging = self._says.state in (SeccState.WAITING_FOR_CHARGE, SeccState.CHARGING)
            raise _Ended(wire.ORIGIN_EVSE if charging else None)
        if self._says.state in ISOLATED and self._status.insulation_ohm < INSULATION_MIN_OHM:
            raise _Ended(wire.ORIGIN_EVSE)
        if self._stop_pressed and self._says.state not in (
            SeccState.CHARGING,
            SeccState.ENDING_CHARGE,
            SeccState.WELDING_DETECTION,
        ):
            raise _Ended(rushed=False)

    def _pause(self, seconds: float) -> Story:
        ends = self._clock() + seconds
        while self._clock() < ends:
            yield

    def _until(self, condition: Callable[[], bool], seconds: float) -> Story:
        """Wait for a condition; after `seconds` the session is over."""
        ends = self._clock() + seconds
        while not condition():
            if self._clock() >= ends:
                raise _Ended
            yield

    # --- speaking --------------------------------------------------------------------------------

    def _tell(self, message: Message, **values: int) -> None:
        if not self.faults.silent:
            self._send(message.encode(self.index, **values))

    def _introduce(self, ev: Ev) -> None:
        """What the EV tells of itself once."""
        self._told_soc = None
        self._inform(ev)
        self._tell(
            wire.EV_VOLTAGES,
            EV_Maximum_Voltage=round(ev.max_voltage_v * 10),
            EV_Present_Voltage=round(ev.battery_v * 10),
        )
        self._tell(
            wire.EV_CHARGE_LIMITS,
            EV_Maximum_Charge_Current=round(ev.max_current_a * 10),
            EV_Maximum_Charge_Power=round(ev.max_power_w / 1000),
        )
        self._tell_id(ev)

    def _inform(self, ev: Ev) -> None:
        """The state of charge, when it changed."""
        soc = int(ev.soc)
        if soc == self._told_soc:
            return
        self._told_soc = soc
        self._tell(
            wire.EV_BATTERY,
            Battery_Capacity=round(ev.capacity_wh / 1000),
            Present_State_of_Charge=soc,
            Target_State_of_Charge=round(ev.target_soc),
            Maximum_State_of_Charge=100,
        )

    def _tell_id(self, ev: Ev) -> None:
        self._tell(wire.EV_ID, **{f"Byte{place}": byte for place, byte in enumerate(ev.evcc_id)})

    def _speak_power(self) -> None:
        """DC_Power_Control at once for another function; `_speak` sends the rest in its cycle."""
        power = self._says.power
        asked = (
            None if power is None else (power.function, power.closed, power.lower, power.voltage_v)
        )
        if asked != self._asked:
            self._asked = asked
            self._send_power()

    def _send_power(self) -> None:
        if self._says.power is not None and not self.faults.no_power_control:
            self._send(self._power_frame(self._says.power))

    def _power_frame(self, power: _Power) -> CanFrame:
        current = round(power.current_a * 10)
        return wire.DC_POWER_CONTROL.encode(
            self.index,
            Target_Voltage=round(power.voltage_v * 10),
            Current_Range_Max=current,
            Current_Range_Min=0 if power.ranged else current,
            Power_Function=15 if self.faults.unknown_values else power.function,
            Setpoints_Mode=int(power.ranged),
            Output_Contactors=int(power.closed),
            Lower_Output_Voltage=int(power.lower),
        )

    def _speak(self) -> None:
        if not self.faults.stuck:
            self._shown_state = int(self._says.state)
        unknown = self.faults.unknown_values
        self._tell(wire.CONTROLLER_STATUS, State=200 if unknown else self._shown_state)
        self._tell(
            wire.EXTRA_INFORMATION,
            CP_State=7 if unknown else PILOT_VALUES[self.pilot],
            CP_Duty_Cycle=self._says.duty,
        )
        if self._says.announcing:
            self._tell(
                wire.NEW_CHARGE_SESSION,
                Communication_Protocol=ISO_15118_2,
                Plug_and_pins=DC_EXTENDED,
            )
        self._send_power()
        if self._says.emergency is not None:
            self._tell(wire.EMERGENCY_STOP, Origin=self._says.emergency)

    def _speak_slowly(self) -> None:
        hot, other = (min(max(celsius, -40), 215) + 40 for celsius in self.cable_c)
        self._tell(wire.INPUTS, CPU_Temperature=51 + 40, Pistol_PTC1=hot, Pistol_PTC2=other)
        if self.ev is not None and self._says.power is not None:
            self._tell_id(self.ev)


ISOLATED = frozenset({SeccState.PRECHARGE, SeccState.WAITING_FOR_CHARGE, SeccState.CHARGING})
PILOT_VALUES = {letter: value for value, letter in wire.PILOT_LETTERS.items()}
HEARD: dict[int, Callable[[EmulatedSecc, dict[str, int]], None]] = {
    wire.POWER_MODULES_STATUS.base: EmulatedSecc._hear_status,
    wire.DC_POWER_PARAMETERS.base: EmulatedSecc._hear_limits,
    wire.SEQUENCE_CONTROL.base: EmulatedSecc._hear_flags,
}
