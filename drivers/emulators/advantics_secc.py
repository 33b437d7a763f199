"""Emulated ADVANTICS charge controller (SECC) of one EVSE: the CCS session and its early ends.

The messages it sends are in `advantics_messages.py`.

A session is a generator with one `yield` per tick. `_run_session` is the regular one:

    step                   states                      continues when
    negotiation            NEGOTIATING_CONNECTION      `negotiation_s` is over
    authorization          CCS_AUTHORIZATION_PROCESS   authorization done; refused: session ends
    _exchange_parameters   CONNECTED_WITH_FULL_INFO    parameters done, then system enabled
    _test_insulation       INSULATION_TEST             output at 90 % of the EV's maximum voltage,
                                                       10 readings of at least 100 kohm, then
                                                       output at 20 V or less
    _run_precharge         PRECHARGE                   output within 20 V of the battery
    _run_charging          WAITING_FOR_CHARGE,         stop button, or the EV is finished
                           CHARGING
    _end_session           ENDING_CHARGE,              current below 1 A, contactors open,
                           WELDING_DETECTION,          inlet at 60 V or less
                           CLOSING_COMMUNICATION

Each wait has a limit in `SeccTimings`. Past it the session is aborted, except in the last row,
where the limit only ends the wait for the voltage.

A session starts when the station allows it, an EV is plugged in, and that EV has not had its
session yet. After a session the EV needs a new plug, or a new start authorization, for the next.

`_check_abort_conditions` runs before every tick. A condition that ends the session replaces the
generator by `_abort_session`: the EV opens its contactors, the power request is withdrawn, an
emergency is sent for at least `EMERGENCY_MIN_S` and as long as its cause persists.

    condition                                       reported as
    EV unplugged, or pilot error                    emergency by the EVSE (*)
    emergency of the EV                             emergency by the EV
    emergency fault of the controller               emergency by the EVSE (*)
    no Power_Modules_Status for 0.5 s               emergency by the EVSE (*)
    system no longer enabled                        emergency by the EVSE while charging, else none
    insulation below 100 kohm from precharge on     emergency by the EVSE
    stop button before charging                     regular end

    (*) none before the first DC_Power_Control

Times are shorter than in the field, so that plug to closed contactors takes about two seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from drivers.emulators.advantics_messages import (
    DUTY_COMMUNICATION_PERMILLE,
    ControllerOutput,
    PowerControl,
    SeccFaults,
    SeccSender,
)
from drivers.emulators.ev import Ev
from drivers.ports import SeccState
from drivers.wire import advantics as wire
from drivers.wire.advantics import Function
from drivers.wire.slcan import CanFrame

STATUS_AGE_MAX_S = 0.5  # of Power_Modules_Status; the vendor's value is not public
INSULATION_MIN_OHM = 100_000
INSULATION_ROUNDS = 10
INSULATION_VOLTAGE_SHARE = 0.9
LOWERED_VOLTAGE_MAX_V = 20.0
PRECHARGE_TOLERANCE_V = 20.0
PRECHARGE_A = 2.0
OPENING_CURRENT_MAX_A = 1.0
INLET_UNLOCK_MAX_V = 60.0
EMERGENCY_MIN_S = 0.5

SessionSteps = Iterator[None]


@dataclass
class SeccTimings:
    """Durations and limits of the steps, seconds. Comments give values seen in the field."""

    negotiation_s: float = 0.15  # some tens of seconds
    authorization_max_s: float = 60.0
    enable_max_s: float = 30.0
    insulation_max_s: float = 10.0
    lowering_max_s: float = 5.0
    precharge_max_s: float = 7.0
    contactor_s: float = 0.05
    ending_max_s: float = 2.0
    welding_detection_s: float = 0.1  # seconds
    closing_s: float = 0.1  # some seconds


@dataclass
class _StationStatus:
    """The last Power_Modules_Status of the station."""

    voltage_v: float = 0.0
    current_a: float = 0.0
    enabled: bool = False
    insulation_ohm: int = 0
    received_at: float = float("-inf")


class _SessionEnded(Exception):
    """The session ends early.

    Attributes:
        origin: for an emergency, its origin (`EMERGENCY_BY_EV` or `EMERGENCY_BY_EVSE`); else None.
        aborted: value of CHARGE_SESSION_FINISHED; False: a regular end.
    """

    def __init__(self, origin: int | None = None, *, aborted: bool = True) -> None:
        super().__init__(origin, aborted)
        self.origin = origin
        self.aborted = aborted


@dataclass
class _SequenceFlags:
    """The last Sequence_Control of the station."""

    start_allowed: bool = False
    authorization_done: bool = False
    authorization_valid: bool = False
    parameters_done: bool = False
    stop_button: bool = False


class EmulatedSecc:
    """One controller; a `CanNode`.

    `tick` advances the session and sends what is due; call it every few ten milliseconds.

    Attributes:
        ev: the EV on the cable, or None.
        faults, timings: see their classes.
        cable_c: the two contact temperatures, degC.
        limits: maximum voltage and current from the station's DC_Power_Parameters; 0: none yet.
    """

    def __init__(
        self, send: Callable[[CanFrame], None], clock: Callable[[], float], index: int
    ) -> None:
        self.index = index
        self.ev: Ev | None = None
        self.faults = SeccFaults()
        self.timings = SeccTimings()
        self.cable_c = [30, 30]
        self.limits = {"voltage_v": 0.0, "current_a": 0.0}
        self._clock = clock
        self._station_status = _StationStatus()
        self._flags = _SequenceFlags()
        self._output = ControllerOutput()
        self._stop_pressed = False
        self._was_enabled = False
        self._session_used = False  # this EV had its session
        self._session_steps: SessionSteps | None = None
        self._sender = SeccSender(send, clock, index, self.faults)

    # --- state and inputs ------------------------------------------------------------------------

    @property
    def state(self) -> SeccState:
        return self._output.state

    @property
    def is_in_session(self) -> bool:
        return self._session_steps is not None

    @property
    def pilot_letter(self) -> str:
        """State of the control pilot, A to E."""
        if self.faults.pilot_error:
            return "E"
        if self.ev is None:
            return "A"
        return "C" if self._output.charging_pilot else "B"

    def plug_in(self, ev: Ev) -> None:
        """Plug the cable into an EV."""
        self.ev = ev
        self._session_used = False

    def unplug(self) -> None:
        """Take the cable out, also under load."""
        if self.ev is not None:
            self.ev.contactors_closed = False
        self.ev = None

    def on_frame(self, frame: CanFrame) -> None:
        """Store a message of the station to this controller."""
        message = wire.find_message(frame)
        if message is None or wire.controller_index(frame) != self.index:
            return
        if len(frame.data) >= message.length and message.base in FRAME_HANDLERS:
            FRAME_HANDLERS[message.base](self, message.decode(frame.data))

    def _on_status(self, values: dict[str, int]) -> None:
        self._station_status = _StationStatus(
            values["Present_Voltage"] / 10,
            values["Present_Current"] / 10,
            values["System_Enable"] == 1,
            values["Insulation_Resistance"] * 2000,
            self._clock(),
        )

    def _on_limits(self, values: dict[str, int]) -> None:
        self.limits["voltage_v"] = values["Maximum_Voltage"] / 10
        self.limits["current_a"] = values["Maximum_Charge_Current"] / 10

    def _on_sequence_control(self, values: dict[str, int]) -> None:
        previous = self._flags
        self._flags = _SequenceFlags(
            start_allowed=bool(values["Start_Charge_Authorisation"]),
            authorization_done=bool(values["CCS_Authorisation_Done"]),
            authorization_valid=bool(values["CCS_Authorisation_Valid"]),
            parameters_done=bool(values["Charge_Parameters_Done"]),
            stop_button=bool(values["User_Stop_Button"]),
        )
        if self._flags.stop_button and not previous.stop_button:
            self._stop_pressed = True
        if self._flags.start_allowed and not previous.start_allowed:
            self._session_used = False

    # --- time ------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Advance the session, then send what is due."""
        if self._is_station_silent and self._session_steps is None:
            self._flags = _SequenceFlags()  # the start was allowed by a station that is gone
        self._advance_session()
        self._sender.send_due(self._output, self.pilot_letter, self.cable_c, self.ev)

    @property
    def _is_station_silent(self) -> bool:
        return self._clock() - self._station_status.received_at > STATUS_AGE_MAX_S

    def _advance_session(self) -> None:
        if self._session_steps is None:
            self._wait_for_start()
            return
        try:
            self._check_abort_conditions()
            next(self._session_steps)
        except StopIteration:
            self._session_steps = None
        except _SessionEnded as ended:
            self._session_steps = self._abort_session(ended)
            next(self._session_steps)

    def _wait_for_start(self) -> None:
        can_start = self._flags.start_allowed and not self.faults.pilot_error
        self._output = ControllerOutput(
            SeccState.WAITING_FOR_PEV if can_start else SeccState.NOT_AVAILABLE
        )
        if self.faults.emergency or (self.ev is not None and self.ev.emergency):
            self._output.emergency_origin = (
                wire.EMERGENCY_BY_EVSE if self.faults.emergency else wire.EMERGENCY_BY_EV
            )
        elif can_start and self.ev is not None and not self._session_used:
            self._session_used = True
            self._stop_pressed = self._was_enabled = False
            self._session_steps = self._run_session(self.ev)

    # --- the session -----------------------------------------------------------------------------

    def _run_session(self, ev: Ev) -> SessionSteps:
        """The regular session, from the plug to the end."""
        ev.contactors_closed = False
        self._output = ControllerOutput(
            SeccState.NEGOTIATING_CONNECTION, duty_permille=DUTY_COMMUNICATION_PERMILLE
        )
        yield from self._wait_seconds(self.timings.negotiation_s)
        self._output.state = SeccState.CCS_AUTHORIZATION_PROCESS
        self._sender.send_ev_id(ev)
        yield from self._wait_until(
            lambda: self._flags.authorization_done, self.timings.authorization_max_s
        )
        if not self._flags.authorization_valid:
            raise _SessionEnded(aborted=False)
        yield from self._exchange_parameters(ev)
        yield from self._test_insulation(ev)
        yield from self._run_precharge(ev)
        yield from self._run_charging(ev)
        yield from self._end_session(ev)

    def _exchange_parameters(self, ev: Ev) -> SessionSteps:
        self._output.announcing_session = True
        self._sender.send_new_session()
        self._sender.send_ev_information(ev)
        yield from self._wait_until(lambda: self._flags.parameters_done, self.timings.enable_max_s)
        self._output.state = SeccState.CONNECTED_WITH_FULL_INFO
        yield from self._wait_until(lambda: self._station_status.enabled, self.timings.enable_max_s)
        self._output.announcing_session = False
        self._was_enabled = True
        self._output.power = PowerControl(Function.STANDBY)
        yield

    def _test_insulation(self, ev: Ev) -> SessionSteps:
        self._output.state = SeccState.INSULATION_TEST
        self._output.charging_pilot = True
        voltage_v = ev.max_voltage_v
        self._output.power = PowerControl(
            Function.INSULATION_TEST, voltage_v, contactors_closed=True
        )
        test_voltage_v = voltage_v * INSULATION_VOLTAGE_SHARE
        yield from self._wait_until(
            lambda: self._station_status.voltage_v >= test_voltage_v, self.timings.insulation_max_s
        )
        for _ in range(INSULATION_ROUNDS):
            if self._station_status.insulation_ohm < INSULATION_MIN_OHM:
                raise _SessionEnded
            yield
        self._output.power = PowerControl(
            Function.STANDBY, contactors_closed=True, lower_voltage=True
        )
        yield from self._wait_until(
            lambda: self._station_status.voltage_v <= LOWERED_VOLTAGE_MAX_V,
            self.timings.lowering_max_s,
        )

    def _run_precharge(self, ev: Ev) -> SessionSteps:
        self._output.state = SeccState.PRECHARGE
        battery_v = ev.battery_v
        self._output.power = PowerControl(
            Function.PRECHARGE, battery_v, PRECHARGE_A, is_range=True, contactors_closed=True
        )
        yield from self._wait_until(
            lambda: (
                abs(self._station_status.voltage_v - battery_v) <= PRECHARGE_TOLERANCE_V
                and not self.faults.never_precharges
            ),
            self.timings.precharge_max_s,
        )
        ev.contactors_closed = True
        yield from self._wait_seconds(self.timings.contactor_s)
        self._output.power = PowerControl(Function.STANDBY, contactors_closed=True)

    def _run_charging(self, ev: Ev) -> SessionSteps:
        self._output.state = SeccState.WAITING_FOR_CHARGE
        yield from self._wait_seconds(max(ev.start_delay_s, self.timings.contactor_s))
        self._sender.send_message(wire.CHARGE_STATUS_CHANGE, Vehicle_Ready_for_Charging=1)
        self._output.state = SeccState.CHARGING
        while not (self._stop_pressed or ev.finished):
            limit_a = self.limits["current_a"] or ev.requested_a
            self._output.power = PowerControl(
                Function.POWER_TRANSFER,
                ev.max_voltage_v,
                min(ev.requested_a, limit_a),
                contactors_closed=True,
            )
            self._sender.send_soc(ev)
            yield

    def _end_session(self, ev: Ev) -> SessionSteps:
        self._output.state = SeccState.ENDING_CHARGE
        self._sender.send_message(wire.CHARGE_STATUS_CHANGE, Vehicle_Ready_for_Charging=0)
        self._output.power = PowerControl(Function.STANDBY, contactors_closed=True)
        yield from self._wait_until(
            lambda: abs(self._station_status.current_a) < OPENING_CURRENT_MAX_A,
            self.timings.ending_max_s,
        )
        ev.contactors_closed = False
        yield from self._wait_seconds(self.timings.contactor_s)
        self._output.power = PowerControl(Function.STANDBY)
        yield from self._wait_seconds(self.timings.contactor_s)
        self._output.power = PowerControl(Function.STANDBY, lower_voltage=True)
        self._output.state = SeccState.WELDING_DETECTION
        yield from self._wait_seconds(self.timings.welding_detection_s)
        ends_at = self._clock() + self.timings.ending_max_s
        while self._station_status.voltage_v > INLET_UNLOCK_MAX_V and self._clock() < ends_at:
            yield
        self._output.state = SeccState.CLOSING_COMMUNICATION
        self._output.charging_pilot = False
        yield from self._wait_seconds(self.timings.closing_s)
        self._sender.send_message(wire.CHARGE_SESSION_FINISHED, State=0)

    def _abort_session(self, end: _SessionEnded) -> SessionSteps:
        """The early end: the EV opens its contactors; an emergency is sent while it persists."""
        if self.ev is not None:
            self.ev.contactors_closed = False
        self._output = ControllerOutput(
            SeccState.CLOSING_COMMUNICATION, PowerControl(), emergency_origin=end.origin
        )
        if end.origin is not None:
            yield from self._wait_seconds(EMERGENCY_MIN_S)
            while self._has_emergency():
                yield
        self._sender.send_message(wire.CHARGE_SESSION_FINISHED, State=int(end.aborted))
        self._output = ControllerOutput(SeccState.CLOSING_COMMUNICATION)
        yield from self._wait_seconds(self.timings.closing_s)

    def _has_emergency(self) -> bool:
        return self.faults.emergency or (self.ev is not None and self.ev.emergency)

    def _check_abort_conditions(self) -> None:
        """Raise _SessionEnded if a condition ends the session; see the module's docstring."""
        if self._output.state is SeccState.CLOSING_COMMUNICATION:
            return
        powered = self._output.power is not None
        if self.ev is None or self.faults.pilot_error:
            raise _SessionEnded(wire.EMERGENCY_BY_EVSE if powered else None)
        if self.ev.emergency:
            raise _SessionEnded(wire.EMERGENCY_BY_EV)
        if self.faults.emergency or self._is_station_silent:
            raise _SessionEnded(wire.EMERGENCY_BY_EVSE if powered else None)
        if powered and self._was_enabled and not self._station_status.enabled:
            charging = self._output.state in (SeccState.WAITING_FOR_CHARGE, SeccState.CHARGING)
            raise _SessionEnded(wire.EMERGENCY_BY_EVSE if charging else None)
        if (
            self._output.state in INSULATION_WATCHED_STATES
            and self._station_status.insulation_ohm < INSULATION_MIN_OHM
        ):
            raise _SessionEnded(wire.EMERGENCY_BY_EVSE)
        if self._stop_pressed and self._output.state not in (
            SeccState.CHARGING,
            SeccState.ENDING_CHARGE,
            SeccState.WELDING_DETECTION,
        ):
            raise _SessionEnded(aborted=False)

    def _wait_seconds(self, seconds: float) -> SessionSteps:
        ends_at = self._clock() + seconds
        while self._clock() < ends_at:
            yield

    def _wait_until(self, condition: Callable[[], bool], timeout_s: float) -> SessionSteps:
        """Wait for a condition; abort the session after `timeout_s`."""
        ends_at = self._clock() + timeout_s
        while not condition():
            if self._clock() >= ends_at:
                raise _SessionEnded
            yield


INSULATION_WATCHED_STATES = frozenset(
    {SeccState.PRECHARGE, SeccState.WAITING_FOR_CHARGE, SeccState.CHARGING}
)
FRAME_HANDLERS: dict[int, Callable[[EmulatedSecc, dict[str, int]], None]] = {
    wire.POWER_MODULES_STATUS.base: EmulatedSecc._on_status,
    wire.DC_POWER_PARAMETERS.base: EmulatedSecc._on_limits,
    wire.SEQUENCE_CONTROL.base: EmulatedSecc._on_sequence_control,
}
