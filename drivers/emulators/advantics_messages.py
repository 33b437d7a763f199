"""Messages of the emulated ADVANTICS charge controller to the station, and its faults.

`SeccSender` sends the cyclic messages of `ControllerOutput` every `CYCLE_S` and the temperatures
every `SLOW_CYCLE_S`; a changed power request and the messages of a session's events are sent at
once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from drivers.emulators.ev import Ev
from drivers.ports import SeccState
from drivers.wire import advantics as wire
from drivers.wire.advantics import Function, Message
from drivers.wire.slcan import CanFrame

CYCLE_S = 0.1
SLOW_CYCLE_S = 1.0
DUTY_IDLE_PERMILLE, DUTY_COMMUNICATION_PERMILLE = 1000, 50  # 0.1 %
ISO_15118_2, DC_EXTENDED = 2, 1
PILOT_VALUES = {letter: value for value, letter in wire.PILOT_LETTERS.items()}


@dataclass
class SeccFaults:
    """Faults of the controller, each active until the attribute is reset.

    Attributes:
        silent: sends nothing.
        stuck: the reported state does not change any more.
        emergency: it makes an emergency stop by itself.
        pilot_error: the pilot reads E.
        no_power_control: DC_Power_Control is not sent; allowed for up to 60 s.
        unknown_values: state, function and pilot have undefined values.
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
class PowerControl:
    """Content of DC_Power_Control."""

    function: int = Function.OFF
    voltage_v: float = 0.0
    current_a: float = 0.0
    is_range: bool = False
    contactors_closed: bool = False
    lower_voltage: bool = False


@dataclass
class ControllerOutput:
    """What the controller sends in each cycle."""

    state: SeccState = SeccState.NOT_AVAILABLE
    power: PowerControl | None = None
    announcing_session: bool = False
    emergency_origin: int | None = None
    duty_permille: int = DUTY_IDLE_PERMILLE
    charging_pilot: bool = False


class SeccSender:
    """Sends the messages of one controller.

    Args:
        send: puts a frame on the bus.
        clock: returns seconds.
        index: of the controller.
        faults: of the controller; `silent` suppresses every message.
    """

    def __init__(
        self,
        send: Callable[[CanFrame], None],
        clock: Callable[[], float],
        index: int,
        faults: SeccFaults,
    ) -> None:
        self._send = send
        self._clock = clock
        self._index = index
        self._faults = faults
        self._sent_soc: int | None = None
        self._sent_power: tuple[int, bool, bool, float] | None = None
        self._reported_state = int(SeccState.INITIALIZING)
        self._cycle_due_at = self._slow_due_at = clock()

    def send_due(
        self, output: ControllerOutput, pilot_letter: str, cable_c: list[int], ev: Ev | None
    ) -> None:
        """Send a changed power request, and the cyclic messages that are due."""
        if self._faults.silent:
            return
        now = self._clock()
        self._send_changed_power(output.power)
        if now >= self._cycle_due_at:
            self._cycle_due_at = max(self._cycle_due_at + CYCLE_S, now)
            self._send_cycle(output, pilot_letter)
        if now >= self._slow_due_at:
            self._slow_due_at = max(self._slow_due_at + SLOW_CYCLE_S, now)
            self._send_slow_cycle(cable_c, ev if output.power is not None else None)

    def send_message(self, message: Message, **values: int) -> None:
        """Send a message at once."""
        if not self._faults.silent:
            self._send(message.encode(self._index, **values))

    def send_ev_information(self, ev: Ev) -> None:
        """What the EV reports about itself, once per session."""
        self._sent_soc = None
        self.send_soc(ev)
        self.send_message(
            wire.EV_VOLTAGES,
            EV_Maximum_Voltage=round(ev.max_voltage_v * 10),
            EV_Present_Voltage=round(ev.battery_v * 10),
        )
        self.send_message(
            wire.EV_CHARGE_LIMITS,
            EV_Maximum_Charge_Current=round(ev.max_current_a * 10),
            EV_Maximum_Charge_Power=round(ev.max_power_w / 1000),
        )
        self.send_ev_id(ev)

    def send_soc(self, ev: Ev) -> None:
        """Send the state of charge if it changed."""
        soc = int(ev.soc)
        if soc == self._sent_soc:
            return
        self._sent_soc = soc
        self.send_message(
            wire.EV_BATTERY,
            Battery_Capacity=round(ev.capacity_wh / 1000),
            Present_State_of_Charge=soc,
            Target_State_of_Charge=round(ev.target_soc),
            Maximum_State_of_Charge=100,
        )

    def send_ev_id(self, ev: Ev) -> None:
        """Send the EVCCID, which the EV reports before its authorization."""
        self.send_message(
            wire.EV_ID, **{f"Byte{index}": byte for index, byte in enumerate(ev.evcc_id)}
        )

    def send_new_session(self) -> None:
        """Send New_Charge_Session: ISO 15118-2, DC extended pins."""
        self.send_message(
            wire.NEW_CHARGE_SESSION, Communication_Protocol=ISO_15118_2, Plug_and_pins=DC_EXTENDED
        )

    def _send_changed_power(self, power: PowerControl | None) -> None:
        """Send DC_Power_Control at once if the request changed.

        A change of the current alone is sent by `_send_cycle`.
        """
        request = (
            None
            if power is None
            else (power.function, power.contactors_closed, power.lower_voltage, power.voltage_v)
        )
        if request != self._sent_power:
            self._sent_power = request
            self._send_power(power)

    def _send_power(self, power: PowerControl | None) -> None:
        if power is not None and not self._faults.no_power_control:
            self._send(self._power_frame(power))

    def _power_frame(self, power: PowerControl) -> CanFrame:
        current = round(power.current_a * 10)
        return wire.DC_POWER_CONTROL.encode(
            self._index,
            Target_Voltage=round(power.voltage_v * 10),
            Current_Range_Max=current,
            Current_Range_Min=0 if power.is_range else current,
            Power_Function=15 if self._faults.unknown_values else power.function,
            Setpoints_Mode=int(power.is_range),
            Output_Contactors=int(power.contactors_closed),
            Lower_Output_Voltage=int(power.lower_voltage),
        )

    def _send_cycle(self, output: ControllerOutput, pilot_letter: str) -> None:
        if not self._faults.stuck:
            self._reported_state = int(output.state)
        unknown = self._faults.unknown_values
        self.send_message(wire.CONTROLLER_STATUS, State=200 if unknown else self._reported_state)
        self.send_message(
            wire.EXTRA_INFORMATION,
            CP_State=7 if unknown else PILOT_VALUES[pilot_letter],
            CP_Duty_Cycle=output.duty_permille,
        )
        if output.announcing_session:
            self.send_new_session()
        self._send_power(output.power)
        if output.emergency_origin is not None:
            self.send_message(wire.EMERGENCY_STOP, Origin=output.emergency_origin)

    def _send_slow_cycle(self, cable_c: list[int], ev: Ev | None) -> None:
        ptc1, ptc2 = (min(max(celsius, -40), 215) + 40 for celsius in cable_c)
        self.send_message(wire.INPUTS, CPU_Temperature=51 + 40, Pistol_PTC1=ptc1, Pistol_PTC2=ptc2)
        if ev is not None:
            self.send_ev_id(ev)
