"""How does the station talk to the charge controller of one EVSE?

One `AdvanticsSecc` per EVSE, all on one CAN line. It tells the controller what the station
measured and allows, every 100 ms, and reports what the controller says. What it shall tell is
set as plain attributes; it starts with everything refused, and goes back to that at each start.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from math import inf

import trio

from drivers.ports import (
    CableTemperature,
    ChargeStatus,
    EvInformation,
    NoAnswer,
    PilotState,
    PortGone,
    PowerFunction,
    PowerRequest,
    Report,
    SeccEmergency,
    SeccHeartbeat,
    SeccState,
    SessionFinished,
)
from drivers.wire import secc as wire
from drivers.wire.can_bus import CanLine
from drivers.wire.slcan import CanFrame

Values = dict[str, int]
TENTH = Decimal("0.1")
LAST_WORD_S = 0.2
PULSE_S = 0.3  # the controller acts on the edge; three of its cycles are surely seen


class AdvanticsSecc:
    """One charge controller; a `drivers.ports.Device`.

    Attributes set by whoever controls power; each is sent in the next status, at most
    100 ms later, the authorisation flags at once:
        voltage_v, current_a: measured at the output.
        modules_c, enclosure_c: temperatures, degC.
        enabled: System_Enable. Taking it back while charging is an emergency stop.
        insulation_ohm: None is told as 0: unknown is as bad as none.
        voltage_max_v, current_max_a: limits told to the EV; 0 leaves the controller's own.
        start_allowed: the pilot may leave 100 %.
        authorised: None while not settled, then True or False.
        parameters_done: the limits are final, the session may go on.
        leds: red, green, blue, 0 to 255.
    """

    def __init__(
        self,
        line: CanLine,
        *,
        evse_id: int,
        index: int | None = None,
        silent_after_s: float | None = None,
        status_ms: int = 100,
        repeat_s: float = 1.0,
    ) -> None:
        """Name the controller.

        Args:
            line: the controllers' bus, 500 kbit/s.
            evse_id: 1 and up.
            index: the pistol index in its configuration; the EVSE's number if not given.
            silent_after_s: raise NoAnswer after so long without a heartbeat; None: never, the
                power control judges the age of SeccHeartbeat itself (0.2 s in the field).
            status_ms: pace of Power_Modules_Status.
            repeat_s: pace of Outputs, and of limits and flags that did not change: a controller
                that restarted has to hear them again.
        """
        self.line = line
        self.evse_id = evse_id
        self._index = evse_id if index is None else index
        self._silent_after_s = silent_after_s
        self._status_s = status_ms / 1000
        self._repeat_s = repeat_s
        # the controller takes limits no faster than this, interface v3.6, timing
        self._pauses = {self._index << 24 | wire.DC_POWER_PARAMETERS.base: self._status_s}
        self._heard_at = 0.0
        self._refuse_all()
        self._report: Callable[[Report], None] = lambda _: None
        self._ev = EvInformation()
        self._ev_said: dict[str, Values] = {}

    def _refuse_all(self) -> None:
        self.voltage_v = Decimal(0)
        self.current_a = Decimal(0)
        self.modules_c = 25
        self.enclosure_c = 25
        self.enabled = False
        self.insulation_ohm: int | None = None
        self.voltage_max_v = Decimal(0)
        self.current_max_a = Decimal(0)
        self._start_allowed = False
        self._authorised: bool | None = None
        self._parameters_done = False
        self.leds = (0, 0, 0)
        self._pressed_until = 0.0
        self._changed = trio.Event()

    @property
    def start_allowed(self) -> bool:
        return self._start_allowed

    @start_allowed.setter
    def start_allowed(self, allowed: bool) -> None:
        self._start_allowed = allowed
        self._changed.set()

    @property
    def authorised(self) -> bool | None:
        return self._authorised

    @authorised.setter
    def authorised(self, authorised: bool | None) -> None:
        self._authorised = authorised
        self._changed.set()

    @property
    def parameters_done(self) -> bool:
        return self._parameters_done

    @parameters_done.setter
    def parameters_done(self, done: bool) -> None:
        self._parameters_done = done
        self._changed.set()

    def press_stop(self) -> None:
        """Press the stop button and let it go: the EV ends the session by the book."""
        self._pressed_until = trio.current_time() + PULSE_S
        self._changed.set()

    def tell_now(self) -> None:
        """Send the status at once, for a stop that must not wait for the next cycle."""
        self._changed.set()

    # --- the task --------------------------------------------------------------------------------

    async def run(self, report: Callable[[Report], None]) -> None:
        """Talk to the controller until cancelled.

        Raises PortGone when the bus is lost, NoAnswer when a heartbeat limit is set and passed.
        """
        self._refuse_all()
        self._report = report
        self._ev, self._ev_said = EvInformation(), {}
        with self.line.heard_by(self._hear):
            await self.line.wait_up()
            self._heard_at = trio.current_time()
            try:
                await self._talk()
            finally:
                await self._leave()

    async def _talk(self) -> None:
        sent: dict[int, tuple[CanFrame | None, float]] = {}
        due = trio.current_time()
        while True:
            now = trio.current_time()
            if now >= due:
                due = max(due + self._status_s, now)
            await self.line.send(self._status())
            for frame in (self._parameters(), self._sequence(), self._outputs()):
                before, at = sent.get(frame.id, (None, -inf))
                pause = self._repeat_s if before == frame else self._pauses.get(frame.id, 0)
                if now - at >= pause:
                    await self.line.send(frame)
                    sent[frame.id] = frame, now
            self._judge_silence(now)
            await self._pause(due)

    async def _pause(self, due: float) -> None:
        """Wait for the next cycle, or for a flag to change, or for the button to come up."""
        with trio.move_on_at(min(due, self._pressed_until or due)):
            await self._changed.wait()
        self._changed = trio.Event()

    async def _leave(self) -> None:
        """Say on the way out that no power may flow; the controller's own guard is the other."""
        self._refuse_all()
        with trio.move_on_after(LAST_WORD_S, shield=True), suppress(PortGone):
            await self.line.send(self._status())

    def _judge_silence(self, now: float) -> None:
        silent_s = now - self._heard_at
        if self._silent_after_s is not None and silent_s > self._silent_after_s:
            raise NoAnswer(f"EVSE {self.evse_id}: charge controller silent for {silent_s:.1f} s")

    # --- what the station says -------------------------------------------------------------------

    def _status(self) -> CanFrame:
        return wire.POWER_MODULES_STATUS.encode(
            self._index,
            Present_Voltage=_within(_tenths(self.voltage_v), 0, 0xFFFF),
            Present_Current=_within(_tenths(self.current_a), -0x8000, 0x7FFF),
            Power_Modules_Temperature=_temperature(self.modules_c),
            Enclosure_Temperature=_temperature(self.enclosure_c),
            System_Enable=int(self.enabled),
            Insulation_Resistance=_within((self.insulation_ohm or 0) // 2000, 0, 255),
        )

    def _parameters(self) -> CanFrame:
        return wire.DC_POWER_PARAMETERS.encode(
            self._index,
            Maximum_Voltage=_within(_tenths(self.voltage_max_v), 0, 0xFFFF),
            Maximum_Charge_Current=_within(_tenths(self.current_max_a), 0, 0xFFFF),
        )

    def _sequence(self) -> CanFrame:
        pressed = trio.current_time() < self._pressed_until
        if not pressed:
            self._pressed_until = 0.0
        return wire.SEQUENCE_CONTROL.encode(
            self._index,
            Start_Charge_Authorisation=int(self._start_allowed),
            CCS_Authorisation_Done=int(self._authorised is not None),
            CCS_Authorisation_Valid=int(self._authorised is True),
            Charge_Parameters_Done=int(self._parameters_done),
            User_Stop_Button=int(pressed),
        )

    def _outputs(self) -> CanFrame:
        red, green, blue = self.leds
        return wire.OUTPUTS.encode(self._index, Led1=red, Led2=green, Led3=blue)

    # --- what the controller says ----------------------------------------------------------------

    def _hear(self, frame: CanFrame) -> None:
        if wire.index_of(frame) != self._index:
            return
        message = wire.message_of(frame)
        if message is None or len(frame.data) < message.length:
            return
        said = message.decode(frame.data)
        if message in EV_MESSAGES:
            self._hear_ev(message, said)
            return
        if message is wire.CONTROLLER_STATUS:
            self._heard_at = trio.current_time()
        elif message is wire.NEW_CHARGE_SESSION and message.name not in self._ev_said:
            self._ev, self._ev_said = EvInformation(), {message.name: said}
        elif message is wire.CHARGE_SESSION_FINISHED:
            self._ev_said = {}
        read = READ.get(message.base)
        if read is not None:
            self._report(read(said))

    def _hear_ev(self, message: wire.Message, said: Values) -> None:
        """Put together what the EV tells in several messages; report it when it changed."""
        self._ev_said[message.name] = said
        told = _ev_information(self._ev_said)
        if told != self._ev:
            self._ev = told
            self._report(told)


EV_MESSAGES = (wire.EV_BATTERY, wire.EV_VOLTAGES, wire.EV_CHARGE_LIMITS, wire.EV_ID)


def _tenths(value: Decimal) -> int:
    return int(value * 10)


def _within(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def _temperature(celsius: int) -> int:
    return _within(celsius + wire.TEMPERATURE_OFFSET, 0, 255)


def _ev_information(said: dict[str, Values]) -> EvInformation:
    """0 means that the EV did not say."""
    battery = said.get(wire.EV_BATTERY.name, {})
    voltages = said.get(wire.EV_VOLTAGES.name, {})
    limits = said.get(wire.EV_CHARGE_LIMITS.name, {})
    return EvInformation(
        capacity_wh=_scaled(battery.get("Battery_Capacity"), Decimal(1000)),
        soc_percent=battery.get("Present_State_of_Charge") or None,
        soc_target_percent=battery.get("Target_State_of_Charge") or None,
        voltage_max_v=_scaled(voltages.get("EV_Maximum_Voltage"), TENTH),
        voltage_present_v=_scaled(voltages.get("EV_Present_Voltage"), TENTH),
        current_max_a=_scaled(limits.get("EV_Maximum_Charge_Current"), TENTH),
        power_max_w=_scaled(limits.get("EV_Maximum_Charge_Power"), Decimal(1000)),
        evcc_id=_evcc_id(said.get(wire.EV_ID.name)),
    )


def _scaled(raw: int | None, unit: Decimal) -> Decimal | None:
    return raw * unit if raw else None


def _evcc_id(said: Values | None) -> str | None:
    if said is None or not any(said.values()):
        return None
    return bytes(said[f"Byte{place}"] for place in range(6)).hex().upper()


def _state(said: Values) -> Report:
    known = said["State"] in SeccState.__members__.values()
    return SeccHeartbeat(SeccState(said["State"]) if known else SeccState.UNKNOWN)


def _power_request(said: Values) -> Report:
    """A function we do not know is Off: unknown is bad. A discharge wish is 0 A."""
    function = said["Power_Function"]
    known = function in PowerFunction.__members__.values()
    return PowerRequest(
        function=PowerFunction(function) if known else PowerFunction.OFF,
        voltage_v=said["Target_Voltage"] * TENTH,
        current_a=max(said["Current_Range_Max"], 0) * TENTH,
        contactors_closed=bool(said["Output_Contactors"]),
        lower_voltage=bool(said["Lower_Output_Voltage"]),
    )


def _temperatures(said: Values) -> Report:
    return CableTemperature(
        hottest_c=max(said["Pistol_PTC1"], said["Pistol_PTC2"]) - wire.TEMPERATURE_OFFSET,
        cpu_c=said["CPU_Temperature"] - wire.TEMPERATURE_OFFSET,
    )


def _pilot(said: Values) -> Report:
    """A pilot voltage we do not know is an error."""
    return PilotState(wire.PILOT_LETTERS.get(said["CP_State"], "E"), said["CP_Duty_Cycle"])


READ: dict[int, Callable[[Values], Report]] = {
    wire.CONTROLLER_STATUS.base: _state,
    wire.DC_POWER_CONTROL.base: _power_request,
    wire.CHARGE_STATUS_CHANGE.base: lambda said: ChargeStatus(
        bool(said["Vehicle_Ready_for_Charging"])
    ),
    wire.CHARGE_SESSION_FINISHED.base: lambda said: SessionFinished(rushed=bool(said["State"])),
    wire.EMERGENCY_STOP.base: lambda said: SeccEmergency(by_ev=said["Origin"] == wire.ORIGIN_EV),
    wire.INPUTS.base: _temperatures,
    wire.EXTRA_INFORMATION.base: _pilot,
}
