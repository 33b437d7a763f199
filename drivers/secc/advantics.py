"""ADVANTICS ADM-CS-SECC charge controller on CAN.

One `AdvanticsSecc` per EVSE, all on one bus. It sends measurements, limits and permissions to the
controller every 100 ms, and reports the controller's messages. What is sent is set by plain
attributes; each run begins with everything refused.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from math import inf
from typing import Annotated, Any, Final

import msgspec
import trio
from msgspec import Meta

from drivers.alarm import Alarm
from drivers.awake_clock import AwakeClock
from drivers.beat import next_beat
from drivers.ports import (
    CableTemperature,
    ChargeController,
    ChargeStatus,
    DeviceReady,
    DeviceReport,
    EvInformation,
    NoResponse,
    OpenDevices,
    PilotState,
    PortLost,
    PowerFunction,
    PowerRequest,
    SeccEmergency,
    SeccHeartbeat,
    SeccState,
    SessionFinished,
)
from drivers.settings import SeccSettings, require_count, require_different
from drivers.wire import advantics as wire
from drivers.wire.can_bus import SLCAN, SharedCanBus
from drivers.wire.serial_port import OpenPort
from drivers.wire.slcan import CanFrame

SignalValues = dict[str, int]
PistolIndex = Annotated[int, Meta(ge=1, le=16)]  # in the configuration of the controllers
TENTH = Decimal("0.1")
SHUTDOWN_TIMEOUT_S = 0.2
LOST_AFTER_S = 1.0  # without a heartbeat; the next one is reported as found again
STOP_BUTTON_PULSE_S = 0.3  # three cycles of the controller, which acts on the edge


NO_ANSWER_REASONS: Final = (
    "its pistol index differs from the key indexes, or its charger_type is another one",
    "CAN high and low are swapped, a terminating resistor is missing, or it has no supply",
    "the bus has another bit rate than 500 kbit/s",
)
"""Why it may not answer, likeliest first; for `station probe`."""

SILENT_LINE_REASONS: Final = (
    "CAN high and low are swapped, or a terminating resistor is missing",
    "the bus has another bit rate than 500 kbit/s",
    "the controllers have no supply, or the port is that of another bus",
)
"""The same when no device on the line answers."""


class Settings(SeccSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.secc]`: the charge controllers, on one bus."""

    driver: str = "advantics"
    interface: str = SLCAN
    adapter: dict[str, Any] = msgspec.field(default_factory=dict)  # of python-can
    indexes: tuple[PistolIndex, ...] = (1, 2, 3, 4)  # of EVSE 1, 2, …

    def __post_init__(self) -> None:
        super().__post_init__()
        require_different("indexes", self.indexes)


def open(
    settings: Settings, evse_ids: tuple[int, ...], open_port: OpenPort
) -> OpenDevices[ChargeController]:
    """The controllers of all EVSEs on one bus; see `drivers.catalog.Driver.open`."""
    require_count(settings, "indexes", evse_ids)
    bus = SharedCanBus.over_interface(
        settings.port, settings.interface, wire.BIT_RATE, open_port, settings.adapter
    )
    return OpenDevices(
        {
            evse_id: AdvanticsSecc(bus, evse_id=evse_id, index=settings.indexes[evse_id - 1])
            for evse_id in evse_ids
        },
        bus=bus,
        personal_can_ids=frozenset(wire.EV_ID.base | index << 24 for index in settings.indexes),
    )


class AdvanticsSecc:
    """One charge controller; a `drivers.ports.Device`.

    Attributes set by the power path; each is sent in the next status, at most 100 ms later, the
    authorization flags at once:
        voltage_v, current_a: measured at the output.
        modules_c, enclosure_c: temperatures, degC.
        enabled: System_Enable. Withdrawing it while charging is an emergency stop.
        insulation_ohm: None is sent as 0: unknown is treated as no insulation.
        voltage_max_v, current_max_a: limits sent to the EV; 0 leaves the controller's own.
        start_allowed: the pilot may leave 100 %.
        authorized: None while not decided, then True or False.
        parameters_done: the limits are final, the session may continue.
        leds: red, green, blue, 0 to 255.
    """

    def __init__(
        self,
        bus: SharedCanBus,
        *,
        evse_id: int,
        index: int | None = None,
        silent_after_s: float | None = None,
        status_ms: int = 100,
        repeat_s: float = 1.0,
    ) -> None:
        """Identify the controller; nothing is sent before `run`.

        Args:
            bus: the controllers' bus, 500 kbit/s.
            evse_id: from 1.
            index: the pistol index in its configuration; the EVSE's number if not given.
            silent_after_s: raise NoResponse after this time without a heartbeat; None: never, the
                protections check the age of SeccHeartbeat themselves (0.2 s in the field).
            status_ms: interval of Power_Modules_Status.
            repeat_s: interval of Outputs, and of limits and flags that did not change: a
                controller that restarted needs them again.
        """
        self.bus = bus
        self.evse_id = evse_id
        self._index = evse_id if index is None else index
        self._silent_after_s = silent_after_s
        self._status_s = status_ms / 1000
        self._repeat_s = repeat_s
        # the controller accepts limits no faster than this, interface v3.6, timing
        self._min_intervals_s = {self._index << 24 | wire.DC_POWER_PARAMETERS.base: self._status_s}
        self._clock = AwakeClock()  # for judging the controller
        self._last_heartbeat_at = 0.0
        self._was_found = False  # in this run
        self._reset_to_safe()
        self._report: Callable[[DeviceReport], None] = lambda _: None
        self._encoded: dict[str, tuple[SignalValues, CanFrame]] = {}  # the last of each message
        self._ev_information = EvInformation()
        self._ev_values: dict[str, SignalValues] = {}

    def _reset_to_safe(self) -> None:
        self.voltage_v = Decimal(0)
        self.current_a = Decimal(0)
        self.modules_c = 25
        self.enclosure_c = 25
        self.enabled = False
        self.insulation_ohm: int | None = None
        self.voltage_max_v = Decimal(0)
        self.current_max_a = Decimal(0)
        self._start_allowed = False
        self._authorized: bool | None = None
        self._parameters_done = False
        self.leds = (0, 0, 0)
        self._stop_pressed_until = 0.0
        self._changed = Alarm()

    @property
    def start_allowed(self) -> bool:
        return self._start_allowed

    @start_allowed.setter
    def start_allowed(self, allowed: bool) -> None:
        self._start_allowed = allowed
        self._changed.ring()

    @property
    def authorized(self) -> bool | None:
        return self._authorized

    @authorized.setter
    def authorized(self, authorized: bool | None) -> None:
        self._authorized = authorized
        self._changed.ring()

    @property
    def parameters_done(self) -> bool:
        return self._parameters_done

    @parameters_done.setter
    def parameters_done(self, done: bool) -> None:
        self._parameters_done = done
        self._changed.ring()

    def press_stop_button(self) -> None:
        """Press and release the stop button: the EV ends the session in the regular sequence."""
        self._stop_pressed_until = trio.current_time() + STOP_BUTTON_PULSE_S
        self._changed.ring()

    def send_status_now(self) -> None:
        """Send the status at once, for a stop that must not wait for the next cycle."""
        self._changed.ring()

    # --- Task --------------------------------------------------------------------------------

    async def run(self, report: Callable[[DeviceReport], None]) -> None:
        """Communicate with the controller until cancelled.

        Raises PortLost when the bus is lost, NoResponse when a heartbeat limit is set and exceeded.
        """
        self._reset_to_safe()
        self._report = report
        self._ev_information, self._ev_values = EvInformation(), {}
        self._was_found = False
        with self.bus.attach_listener(self._on_frame):
            await self.bus.wait_until_open()
            self._last_heartbeat_at = self._clock.now()
            try:
                await self._send_cyclically()
            finally:
                await self._send_safe_status()

    async def _send_cyclically(self) -> None:
        sent: dict[int, tuple[CanFrame | None, float]] = {}
        due = trio.current_time()
        while True:
            now = trio.current_time()
            if now >= due:
                due = max(next_beat(due, self._status_s), now)
            await self.bus.send(self._status_frame())
            for frame in (self._parameters_frame(), self._sequence_frame(), self._outputs_frame()):
                before, at = sent.get(frame.id, (None, -inf))
                pause = (
                    self._repeat_s if before == frame else self._min_intervals_s.get(frame.id, 0)
                )
                if now - at >= pause:
                    await self.bus.send(frame)
                    sent[frame.id] = frame, now
            self._check_heartbeat()
            await self._wait_for_cycle(due)

    async def _wait_for_cycle(self, due: float) -> None:
        """Wait for the next cycle, a changed flag, or the release of the stop button."""
        await self._changed.wait_until(min(due, self._stop_pressed_until or due))

    async def _send_safe_status(self) -> None:
        """Send at the end that no power may flow; the controller also has a guard of its own."""
        self._reset_to_safe()
        with trio.move_on_after(SHUTDOWN_TIMEOUT_S, shield=True), suppress(PortLost):
            await self.bus.send(self._status_frame())

    def _check_heartbeat(self) -> None:
        silent_s = self._clock.now() - self._last_heartbeat_at
        if self._silent_after_s is not None and silent_s > self._silent_after_s:
            raise NoResponse(f"EVSE {self.evse_id}: charge controller silent for {silent_s:.1f} s")

    # --- Messages to the controller --------------------------------------------------------------

    def _status_frame(self) -> CanFrame:
        return self._encode(
            wire.POWER_MODULES_STATUS,
            Present_Voltage=_clamp_value(_to_tenths(self.voltage_v), 0, 0xFFFF),
            Present_Current=_clamp_value(_to_tenths(self.current_a), -0x8000, 0x7FFF),
            Power_Modules_Temperature=_encode_temperature(self.modules_c),
            Enclosure_Temperature=_encode_temperature(self.enclosure_c),
            System_Enable=int(self.enabled),
            Insulation_Resistance=_clamp_value((self.insulation_ohm or 0) // 2000, 0, 255),
        )

    def _parameters_frame(self) -> CanFrame:
        return self._encode(
            wire.DC_POWER_PARAMETERS,
            Maximum_Voltage=_clamp_value(_to_tenths(self.voltage_max_v), 0, 0xFFFF),
            Maximum_Charge_Current=_clamp_value(_to_tenths(self.current_max_a), 0, 0xFFFF),
        )

    def _sequence_frame(self) -> CanFrame:
        pressed = trio.current_time() < self._stop_pressed_until
        if not pressed:
            self._stop_pressed_until = 0.0
        return self._encode(
            wire.SEQUENCE_CONTROL,
            Start_Charge_Authorisation=int(self._start_allowed),
            CCS_Authorisation_Done=int(self._authorized is not None),
            CCS_Authorisation_Valid=int(self._authorized is True),
            Charge_Parameters_Done=int(self._parameters_done),
            User_Stop_Button=int(pressed),
        )

    def _outputs_frame(self) -> CanFrame:
        red, green, blue = self.leds
        return self._encode(wire.OUTPUTS, Led1=red, Led2=green, Led3=blue)

    def _encode(self, message: wire.Message, **values: int) -> CanFrame:
        """The frame of a message; the last one again if no value has changed."""
        last = self._encoded.get(message.name)
        if last is not None and last[0] == values:
            return last[1]
        frame = message.encode(self._index, **values)
        self._encoded[message.name] = values, frame
        return frame

    # --- Messages of the controller --------------------------------------------------------------

    def _on_frame(self, frame: CanFrame) -> None:
        if wire.controller_index(frame) != self._index:
            return
        message = wire.find_message(frame)
        if message is None or len(frame.data) < message.length:
            return
        values = message.decode(frame.data)
        if message in EV_MESSAGES:
            self._on_ev_message(message, values)
            return
        if message is wire.CONTROLLER_STATUS:
            self._report_if_found(values)
            self._last_heartbeat_at = self._clock.now()
        elif message is wire.NEW_CHARGE_SESSION and message.name not in self._ev_values:
            self._ev_information, self._ev_values = EvInformation(), {message.name: values}
        elif message is wire.CHARGE_SESSION_FINISHED:
            self._ev_values = {}
        decode = REPORT_DECODERS.get(message.base)
        if decode is not None:
            report = decode(values)
            if isinstance(report, PilotState) and report.letter == "A":
                # the next EV must not be taken for this one
                self._ev_information, self._ev_values = EvInformation(), {}
            self._report(report)

    def _report_if_found(self, status: SignalValues) -> None:
        """Report the first heartbeat of a run, and the first after a loss."""
        silent_s = self._clock.now() - self._last_heartbeat_at
        if not self._was_found or silent_s > LOST_AFTER_S:
            self._was_found = True
            state = _decode_heartbeat(status).state
            self._report(DeviceReady("ADVANTICS SECC", f"answers, state {state.name}"))

    def _on_ev_message(self, message: wire.Message, values: SignalValues) -> None:
        """Combine the EV's data from several messages; report it when it changed."""
        self._ev_values[message.name] = values
        information = _build_ev_information(self._ev_values)
        if information != self._ev_information:
            self._ev_information = information
            self._report(information)


EV_MESSAGES = (wire.EV_BATTERY, wire.EV_VOLTAGES, wire.EV_CHARGE_LIMITS, wire.EV_ID)


def _to_tenths(value: Decimal) -> int:
    return int(value * 10)


def _clamp_value(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def _encode_temperature(celsius: int) -> int:
    return _clamp_value(celsius + wire.TEMPERATURE_OFFSET, 0, 255)


def _build_ev_information(values_by_message: dict[str, SignalValues]) -> EvInformation:
    """The EV's data; 0 on the wire means that the EV sent none."""
    battery = values_by_message.get(wire.EV_BATTERY.name, {})
    voltages = values_by_message.get(wire.EV_VOLTAGES.name, {})
    limits = values_by_message.get(wire.EV_CHARGE_LIMITS.name, {})
    return EvInformation(
        capacity_wh=_scale_value(battery.get("Battery_Capacity"), Decimal(1000)),
        soc_percent=battery.get("Present_State_of_Charge") or None,
        soc_target_percent=battery.get("Target_State_of_Charge") or None,
        voltage_max_v=_scale_value(voltages.get("EV_Maximum_Voltage"), TENTH),
        voltage_present_v=_scale_value(voltages.get("EV_Present_Voltage"), TENTH),
        current_max_a=_scale_value(limits.get("EV_Maximum_Charge_Current"), TENTH),
        power_max_w=_scale_value(limits.get("EV_Maximum_Charge_Power"), Decimal(1000)),
        evcc_id=_decode_evcc_id(values_by_message.get(wire.EV_ID.name)),
    )


def _scale_value(raw: int | None, unit: Decimal) -> Decimal | None:
    return raw * unit if raw else None


def _decode_evcc_id(values: SignalValues | None) -> str | None:
    if values is None or not any(values.values()):
        return None
    return bytes(values[f"Byte{place}"] for place in range(6)).hex().upper()


def _decode_heartbeat(values: SignalValues) -> SeccHeartbeat:
    known = values["State"] in SeccState.__members__.values()
    return SeccHeartbeat(SeccState(values["State"]) if known else SeccState.UNKNOWN)


def _decode_power_request(values: SignalValues) -> DeviceReport:
    """An unknown function is treated as Off, a request for discharge as 0 A."""
    function = values["Power_Function"]
    known = function in PowerFunction.__members__.values()
    return PowerRequest(
        function=PowerFunction(function) if known else PowerFunction.OFF,
        voltage_v=values["Target_Voltage"] * TENTH,
        current_a=max(values["Current_Range_Max"], 0) * TENTH,
        contactors_closed=bool(values["Output_Contactors"]),
        lower_voltage=bool(values["Lower_Output_Voltage"]),
    )


def _decode_temperatures(values: SignalValues) -> DeviceReport:
    return CableTemperature(
        hottest_c=max(values["Pistol_PTC1"], values["Pistol_PTC2"]) - wire.TEMPERATURE_OFFSET,
        cpu_c=values["CPU_Temperature"] - wire.TEMPERATURE_OFFSET,
    )


def _decode_pilot(values: SignalValues) -> DeviceReport:
    """An unknown pilot voltage is treated as an error."""
    return PilotState(wire.PILOT_LETTERS.get(values["CP_State"], "E"), values["CP_Duty_Cycle"])


REPORT_DECODERS: dict[int, Callable[[SignalValues], DeviceReport]] = {
    wire.CONTROLLER_STATUS.base: _decode_heartbeat,
    wire.DC_POWER_CONTROL.base: _decode_power_request,
    wire.CHARGE_STATUS_CHANGE.base: lambda values: ChargeStatus(
        bool(values["Vehicle_Ready_for_Charging"])
    ),
    wire.CHARGE_SESSION_FINISHED.base: lambda values: SessionFinished(
        aborted=bool(values["State"])
    ),
    wire.EMERGENCY_STOP.base: lambda values: SeccEmergency(
        by_ev=values["Origin"] == wire.EMERGENCY_BY_EV
    ),
    wire.INPUTS.base: _decode_temperatures,
    wire.EXTRA_INFORMATION.base: _decode_pilot,
}
