"""How does energy get from the modules of an EVSE to the EV, and how does it stop?

The charge controller says what the EV wants, 100 ms at a time; `PowerPath` lets it have that as
long as the judgement wants energy and the protections allow it. It only reads levels and sets
levels: no journal, no network, no disk, nothing to wait for.

    IDLE -> SESSION -> STOPPING -> ENDED -> IDLE
               \\-> EMERGENCY ------^
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from typing import Final

import msgspec

from drivers.ports import (
    ChargeController,
    ChargeStatus,
    DeviceReport,
    InsulationMonitor,
    InsulationReading,
    IoModule,
    Meter,
    PowerFunction,
    PowerModules,
    PowerRequest,
    SeccEmergency,
    SeccState,
    SessionFinished,
)
from station.config.hardware import HardwareSettings
from station.core.desired import DesiredEvse
from station.runtime.hardware.contactors import Contactors
from station.runtime.hardware.fault_registry import StopMode
from station.runtime.hardware.inputs import EvseInputs
from station.runtime.hardware.insulation_check import InsulationSelfTest

SAFE_V: Final = 60  # the EV lets go of the plug below
RESIDUAL_VOLTAGE_S: Final = 5.0
RESTART_GAP_S: Final = 0.6  # the controller has seen the start go, six of its cycles
EMERGENCY_TIMEOUT_S: Final = 1.5  # an emergency stop is over, whatever the feedback says
PILOT_DELAY_S: Final = 0.15  # the pilot is told every 100 ms: by then an unplugged EV is known
ABORT_CAUSE_WAIT_S: Final = 0.3  # in this time other devices say why the controller broke off
INSULATION_TEST_MIN_A: Final = Decimal(
    2
)  # what brings the cable's capacitance up in the insulation test
NO_ENERGY_A: Final = Decimal("0.1")  # 0 would mean the controller's own limit, secc.md section 2
OVER_VOLTAGE_S: Final = 0.1  # a moment more than one measurement
OVER_CURRENT_S: Final = 1.0
OUTPUT_FUNCTIONS: Final = frozenset(
    {PowerFunction.INSULATION_TEST, PowerFunction.PRECHARGE, PowerFunction.POWER_TRANSFER}
)
COMMUNICATING_STATES: Final = frozenset(SeccState) - {
    SeccState.INITIALIZING,
    SeccState.WAITING_FOR_PEV,
    SeccState.NOT_AVAILABLE,
    SeccState.UNKNOWN,
}


class Phase(Enum):
    IDLE = "idle"
    SESSION = "session"  # the EV may come, and have what it asks for
    STOPPING = "stopping"  # by the book: the controller was told, the EV agrees
    EMERGENCY = "emergency"  # at once
    ENDED = "ended"  # until the output is low and the controller has seen the end


class PowerDevices(msgspec.Struct, frozen=True):
    """The devices a power path moves."""

    secc: ChargeController
    power_modules: PowerModules
    io: IoModule
    insulation_monitor: InsulationMonitor
    meter: Meter


class AbortedSession(msgspec.Struct, frozen=True):
    """The controller broke a session off; why, others may tell."""

    at: float
    state: SeccState
    emergency: bool


class PowerPath:
    """One EVSE's power.

    Attributes:
        phase: see above.
        begun: the EV takes part in this session.
        suspended: the judgement wants the session to wait without energy.
        limit_a, range_v: the most we give now and the volts the modules can; set every round.
        modules_c: the hottest module's air, degC, for the controller; likewise.
        broken: a session that the controller ended and nobody explained yet.
        self_test: of the insulation monitor.
    """

    def __init__(
        self,
        inputs: EvseInputs,
        devices: PowerDevices,
        settings: HardwareSettings,
        report_ev_stopped: Callable[[], None],
        now: float,
    ) -> None:
        self.inputs = inputs
        self.phase = Phase.IDLE
        self.ev_joined = self.suspended = False
        self.current_limit_a = Decimal(0)
        self.voltage_range_v = (0, 0)
        self.module_temperature_c = 25
        self.aborted_session: AbortedSession | None = None
        self.phase_since = now
        self.idle_since = now
        self.self_test = InsulationSelfTest(devices.insulation_monitor, now)
        self.cable_check_failures = self.stuck_open_count = 0
        self._contactors = Contactors(inputs, devices.io, settings.io.feedback_ms / 1000)
        self._devices = devices
        self._settings = settings
        self._report_ev_stopped = report_ev_stopped
        self._desired = no_energy(inputs.evse_id)
        self._desired_outdated = False  # the judgement, behind what the cable did
        self._request_transaction_id: str | None = None
        self._request_used = False
        self._ev_ended_at: float | None = None
        self._modules_off_at = now
        self._module_order = (0, 0, False)
        self._function_since = now
        self._power_function = PowerFunction.OFF
        self._session_finished = False
        self._over_voltage_since: float | None = None
        self._over_current_since: float | None = None

    # --- what others ask -------------------------------------------------------------------------

    @property
    def has_session(self) -> bool:
        """An EV is charging, about to, or about to stop."""
        return self.ev_joined and self.phase in (Phase.SESSION, Phase.STOPPING)

    @property
    def is_transferring(self) -> bool:
        """Energy flows or is about to."""
        return self.has_session and self._power_function is PowerFunction.POWER_TRANSFER

    @property
    def coil_on(self) -> bool:
        """What the contactors are told."""
        return self._contactors.coil_on

    @property
    def is_powered(self) -> bool:
        """Something is switched on."""
        return self.coil_on or self._module_order[2] or bool(self.inputs.contactors_closed)

    def contactor_fault(self, now: float) -> str | None:
        """What the feedback says against the order: "welded", "stuck_open" or nothing."""
        trouble = self._contactors.feedback_fault(now)
        closing = self.phase in (Phase.SESSION, Phase.STOPPING)
        return None if trouble == "stuck_open" and not closing else trouble

    def has_over_voltage(self, now: float) -> bool:
        return (
            self._over_voltage_since is not None
            and now - self._over_voltage_since >= OVER_VOLTAGE_S
        )

    def has_over_current(self, now: float) -> bool:
        return (
            self._over_current_since is not None
            and now - self._over_current_since >= OVER_CURRENT_S
        )

    def is_precharge_overdue(self, now: float) -> bool:
        """The EV did not take the voltage in time."""
        limit_s = self._settings.secc.precharge_s
        return (
            self.phase is Phase.SESSION
            and self._power_function is PowerFunction.PRECHARGE
            and now - self._function_since > limit_s
        )

    def has_residual_voltage(self, now: float) -> bool:
        """The output is not low although nothing feeds it."""
        return (
            self.phase in (Phase.ENDED, Phase.IDLE)
            and self.inputs.output_v > SAFE_V
            and now - self.phase_since > RESIDUAL_VOLTAGE_S
        )

    # --- what happens ----------------------------------------------------------------------------

    def on_report(self, report: DeviceReport, now: float) -> None:
        """Take what is an event and not a level."""
        match report:
            case ChargeStatus(started=True):
                self.cable_check_failures = self.stuck_open_count = self.self_test.failure_count = 0
            case ChargeStatus(started=False) if self.phase is Phase.SESSION and self.ev_joined:
                self._on_ev_end(now)
            case SessionFinished(aborted=rushed) if self.phase is Phase.SESSION and self.ev_joined:
                if rushed:
                    self.aborted_session = AbortedSession(
                        now, self.inputs.secc_state, emergency=False
                    )
                    self._enter_phase(Phase.EMERGENCY, now)
                else:
                    self._on_ev_end(now)
                    self._session_finished = True
            case SessionFinished():
                self._session_finished = True
            case SeccEmergency(by_ev=False) if self.has_session:
                self.aborted_session = AbortedSession(now, self.inputs.secc_state, emergency=True)
                self._enter_phase(Phase.EMERGENCY, now)
            case InsulationReading():
                self.self_test.on_insulation_report(report, now)

    def _on_ev_end(self, now: float) -> None:
        """The EV ends the session, perhaps because it was unplugged: the pilot will say."""
        self._ev_ended_at = now
        self._enter_phase(Phase.STOPPING, now)

    def _report_ev_end(self, now: float) -> None:
        at = self._ev_ended_at
        if at is not None and now - at > PILOT_DELAY_S:
            self._ev_ended_at = None
            if self.inputs.ev_plugged:
                self._report_ev_stopped()

    # --- one step --------------------------------------------------------------------------------

    def run_step(
        self, desired: DesiredEvse | None, stop: StopMode, blocked: bool, ready: bool, now: float
    ) -> None:
        """Compare what is with what shall be, and set every level.

        Args:
            wish: what the judgement wants; None while it has not seen all that the cable did:
                then what runs goes on, nothing begins, and no contactor closes.
            stop: how the protections end a session now.
            blocked: no session may begin.
            ready: every device has spoken.
            now: by the `AwakeClock`.
        """
        self._desired_outdated = desired is None
        desired = self._desired = desired or self._desired
        self.suspended = desired.suspended
        self._update_request_use(desired)
        self._report_ev_end(now)
        self._watch_output(now)
        if self.inputs.insulation is not None:
            needed = bool(self.inputs.ev_plugged) or desired.energy_allowed
            self.self_test.start_if_due(needed=needed, idle=not self.has_session, now=now)
        if self.phase in (Phase.SESSION, Phase.STOPPING):
            self._advance_session(desired, stop, now)
        elif self.phase is Phase.EMERGENCY:
            if self._is_shut_off(now):
                self._enter_phase(Phase.ENDED, now)
        elif self.phase is Phase.ENDED:
            if self._may_become_idle(now):
                self._enter_phase(Phase.IDLE, now)
        elif (
            desired.energy_allowed
            and ready
            and not (blocked or self._request_used or self._desired_outdated)
        ):
            self._enter_phase(Phase.SESSION, now)
        self._set_outputs(desired, now)

    def emergency_stop(self, now: float) -> None:
        """Stop whatever runs; for the end of the program."""
        if self.phase is not Phase.IDLE or self.is_powered:
            self._enter_phase(Phase.EMERGENCY, now)

    def _update_request_use(self, desired: DesiredEvse) -> None:
        """One wish is good for one session; a new one, another person or another EV begins anew."""
        other = (
            desired.transaction_id is not None
            and desired.transaction_id != self._request_transaction_id
        )
        over = not (desired.energy_allowed or desired.suspended) or self.inputs.pilot == "A"
        if over or (other and self._request_transaction_id is not None):
            self._request_used = False
        if self.phase is Phase.SESSION:
            self._request_transaction_id = desired.transaction_id

    def _advance_session(self, desired: DesiredEvse, stop: StopMode, now: float) -> None:
        if self.inputs.ev_plugged:  # the state may be told before the pilot
            talks = (
                self.inputs.secc_state in COMMUNICATING_STATES
                or self.inputs.power_request is not None
            )
            self.ev_joined = self.ev_joined or talks
        stopping = self.phase is Phase.STOPPING
        late = stopping and now - self.phase_since > self._settings.secc.stop_s
        if stop is StopMode.EMERGENCY or late:
            self._enter_phase(Phase.EMERGENCY, now)
        elif self.ev_joined and self.inputs.pilot == "A":
            self._enter_phase(Phase.EMERGENCY if self.is_powered else Phase.ENDED, now)
        elif stopping and self._session_finished:
            self._enter_phase(Phase.ENDED, now)
        elif not stopping and (
            stop is StopMode.NORMAL or not (desired.energy_allowed or desired.suspended)
        ):
            self._devices.secc.press_stop_button()
            self._enter_phase(Phase.STOPPING if self.ev_joined else Phase.ENDED, now)
            # A wish that went before the EV took part has served nobody: when it comes back, as it
            # does once the judgement has seen the plug, it counts.
            self._request_used = self._request_used and (self.ev_joined or stop is StopMode.NORMAL)

    def _is_shut_off(self, now: float) -> bool:
        opened = not self.coil_on and self.inputs.contactors_closed is not True
        return opened or now - self.phase_since > EMERGENCY_TIMEOUT_S

    def _may_become_idle(self, now: float) -> bool:
        low = self.inputs.output_v <= SAFE_V
        return low and not self.coil_on and now - self.phase_since > RESTART_GAP_S

    def _enter_phase(self, phase: Phase, now: float) -> None:
        if phase is self.phase:
            return
        if phase is Phase.SESSION:
            self.ev_joined = self._session_finished = False
            self.inputs.power_request = None
            self._power_function, self._function_since = PowerFunction.OFF, now
            self.aborted_session = None
        if phase in (Phase.EMERGENCY, Phase.ENDED):
            self._request_used = True
        if phase is Phase.EMERGENCY:
            self._cut_power(now)
        if phase is Phase.IDLE:
            self.idle_since = now
        self.phase, self.phase_since = phase, now

    def _cut_power(self, now: float) -> None:
        """Modules off and the controller told, before anything else."""
        self._order_modules(0, 0, False, now)
        self._devices.secc.enabled = False
        self._devices.secc.send_status_now()

    # --- measuring against what was ordered ------------------------------------------------------

    def _watch_output(self, now: float) -> None:
        """Too much: over the order by 5 % and, for the voltage, over what the EV takes."""
        request, senses = self.inputs.power_request, self.inputs
        if request is not None and request.function is not self._power_function:
            self._power_function, self._function_since = request.function, now
        on = request is not None and self._module_order[2] and self.phase is Phase.SESSION
        most_v = Decimal(self._module_order[0]) * 105 / 100_000
        most_v = max(most_v, senses.ev.voltage_max_v or Decimal(0))
        most_a = Decimal(self._module_order[1]) * 105 / 100_000 + 5
        self._over_voltage_since = _holds_since(
            self._over_voltage_since, on and senses.output_v > most_v, now
        )
        self._over_current_since = _holds_since(
            self._over_current_since, on and senses.output_a > most_a, now
        )

    # --- levels ----------------------------------------------------------------------------------

    def _set_outputs(self, desired: DesiredEvse, now: float) -> None:
        request = (
            self.inputs.power_request if self.phase in (Phase.SESSION, Phase.STOPPING) else None
        )
        close = request is not None and request.contactors_closed
        close = close and (self.coil_on or not self._desired_outdated)
        self._set_modules(request, close, desired, now)
        self._contactors.update_coil(close, self._modules_off_at, now)
        self._contactors.set_bleeder(request)
        self._update_secc(desired)
        busy = self.phase is not Phase.IDLE or bool(self.inputs.ev_plugged)
        meter, monitor = self._settings.meter, self._settings.insulation
        self._devices.meter.interval_s = meter.session_interval_s if busy else meter.idle_interval_s
        self._devices.insulation_monitor.interval_s = (
            monitor.session_interval_s if busy else monitor.idle_interval_s
        )

    def _set_modules(
        self, request: PowerRequest | None, close_contactors: bool, desired: DesiredEvse, now: float
    ) -> None:
        """Give what the controller asks for, within our limits. Less than the modules' least
        voltage they would refuse, and keep to the order before: that is off."""
        joined = close_contactors and self.coil_on and self.inputs.contactors_closed is True
        able = request is not None and request.voltage_v >= max(self.voltage_range_v[0], 1)
        if request is None or request.function not in OUTPUT_FUNCTIONS or not (joined and able):
            self._order_modules(0, 0, False, now)
            return
        least = (
            INSULATION_TEST_MIN_A
            if request.function is PowerFunction.INSULATION_TEST
            else Decimal(0)
        )
        current_a = min(max(request.current_a, least), self.current_limit_a)
        if desired.suspended and request.function is PowerFunction.POWER_TRANSFER:
            current_a = Decimal(0)
        self._order_modules(int(request.voltage_v * 1000), int(current_a * 1000), True, now)

    def _order_modules(self, voltage_mv: int, current_ma: int, on: bool, now: float) -> None:
        order = (voltage_mv, current_ma, on)
        if self._module_order[2] and not on:
            self._modules_off_at = now
        if order != self._module_order:
            self._module_order = order
            self._devices.power_modules.set_group(self.inputs.evse_id, *order)

    def repeat_module_order(self) -> None:
        """Say the modules' order again, for a driver that began anew and forgot."""
        self._devices.power_modules.set_group(self.inputs.evse_id, *self._module_order)

    def _update_secc(self, desired: DesiredEvse) -> None:
        secc, senses = self._devices.secc, self.inputs
        runs = self.phase in (Phase.SESSION, Phase.STOPPING)
        secc.voltage_v, secc.current_a = senses.output_v, senses.output_a
        monitor = senses.insulation
        secc.insulation_ohm = monitor.resistance_ohm if monitor is not None else None
        secc.current_max_a = (
            NO_ENERGY_A if desired.suspended else max(self.current_limit_a, NO_ENERGY_A)
        )
        secc.voltage_max_v = Decimal(self.voltage_range_v[1])
        secc.modules_c = self.module_temperature_c
        enabled = runs and self.self_test.has_passed
        if enabled is not secc.enabled:
            secc.enabled = enabled
            secc.send_status_now()
        authorised = None if self.phase is Phase.IDLE else runs  # a no ends what still negotiates
        if (secc.start_allowed, secc.authorized) != (runs, authorised):
            secc.start_allowed, secc.authorized, secc.parameters_done = runs, authorised, runs


def no_energy(evse_id: int) -> DesiredEvse:
    """A wish for no energy."""
    return DesiredEvse(
        evse_id, energy_allowed=False, suspended=False, transaction_id=None, display_text=""
    )


def _holds_since(since: float | None, holds: bool, now: float) -> float | None:
    """Since when something holds without a break."""
    if not holds:
        return None
    return now if since is None else since
