"""Power path of one EVSE: the phases of a session, from modules to EV, and how it stops.

The charge controller reports every 100 ms what the EV requests; `PowerPath` grants it while the
desired state allows energy and no protection forbids it. It reads inputs and sets outputs: no
journal, no network, no disk, nothing to wait for.

    IDLE ──▶ SESSION ──▶ STOPPING ──▶ ENDED ──▶ IDLE
                │           │           ▲
                └──────▶ EMERGENCY ─────┘

* IDLE: no session. The controller may not start one.
* SESSION: the EV may join, and gets what it requests. The EV has *joined* once the controller
  communicates with it; before that nothing has to be stopped in agreement with the EV.
* STOPPING: the regular stop. The stop button of the controller is pressed (or the EV ended the
  charge), the EV reduces its current, the controller opens. Limited to `[hardware.secc] stop_s`.
* EMERGENCY: modules off and controller disabled at once, contactors open without waiting for the
  EV. Ends when the feedback shows open contactors, at the latest after `EMERGENCY_TIMEOUT_S`:
  welded contactors must not hold the path in this phase.
* ENDED: until the output is below `SAFE_V` and the controller has seen the end for
  `RESTART_GAP_S`. Without this gap the controller would take the next start for the same session.

`TRANSITIONS` has what may follow what on a step, in the order in which it is checked: an emergency
comes before an unplugged EV, and both before the regular stop, because the more urgent stop must
win when several conditions are true. Reports of the controller cause transitions at once:

| report, in a session that the EV has joined | next phase |
|---|---|
| the EV ended the charge; session finished regularly | STOPPING |
| session aborted; emergency stop of the controller (`AbortedSession` keeps the state) | EMERGENCY |

`emergency_stop`, when the program ends, leads to EMERGENCY from every phase.

One request for energy is good for one session: after EMERGENCY or ENDED the request counts as used
until the desired state withdraws it, names another transaction, or the EV is unplugged. Otherwise a
fault that ends would start a new session, which the CSMS takes for the same transaction. A request
withdrawn before the EV joined is not used: it returns once the desired state includes the plug.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

import msgspec

from drivers.ports import (
    ChargeStatus,
    DeviceReport,
    InsulationReading,
    PowerFunction,
    SeccEmergency,
    SeccState,
    SessionFinished,
)
from station.config.hardware import HardwareSettings
from station.core.desired import DesiredEvse
from station.core.display import PreparationStep
from station.runtime.hardware.fault_registry import StopMode
from station.runtime.hardware.inputs import EvseInputs
from station.runtime.hardware.insulation_check import InsulationSelfTest
from station.runtime.hardware.power_output import PowerDevices, PowerOutput

SAFE_V: Final = 60  # below, the EV unlocks the plug
RESIDUAL_VOLTAGE_S: Final = 5.0
RESTART_GAP_S: Final = 0.6  # six cycles of the controller: it has seen the start withdrawn
EMERGENCY_TIMEOUT_S: Final = 1.5  # an emergency stop ends, whatever the feedback shows
PILOT_DELAY_S: Final = 0.15  # the pilot is reported every 100 ms: an unplugged EV is known by then
ABORT_CAUSE_WAIT_S: Final = 0.3  # in this time other devices report why the controller aborted
COMMUNICATING_STATES: Final = frozenset(SeccState) - {
    SeccState.INITIALIZING,
    SeccState.WAITING_FOR_PEV,
    SeccState.NOT_AVAILABLE,
    SeccState.UNKNOWN,
}


class Phase(Enum):
    """Phase of a power path; see above."""

    IDLE = "idle"
    SESSION = "session"
    STOPPING = "stopping"
    EMERGENCY = "emergency"
    ENDED = "ended"


OPEN_PHASES: Final = (Phase.SESSION, Phase.STOPPING)
PREPARATION_STEPS: Final[dict[SeccState, PreparationStep]] = {
    SeccState.INSULATION_TEST: "insulation_test",
    SeccState.PRECHARGE: "precharge",
}


class Step(msgspec.Struct, frozen=True):
    """Inputs of one step.

    Attributes:
        desired: the newest desired state that may be used.
        outdated: the desired state does not yet include everything the cable reported: what runs
            continues, nothing starts, and no contactor closes.
        stop: how the protections end a session now.
        blocked: no session may start.
        ready: every device has reported.
        now: by the `AwakeClock`: judges devices.
        real_now: by trio's clock: limits what opens or switches off.
    """

    desired: DesiredEvse
    outdated: bool
    stop: StopMode
    blocked: bool
    ready: bool
    now: float
    real_now: float

    @property
    def wants_session(self) -> bool:
        return self.desired.energy_allowed or self.desired.suspended


class AbortedSession(msgspec.Struct, frozen=True):
    """A session the controller aborted; other devices may report the reason."""

    at: float
    state: SeccState
    emergency: bool


class PowerPath:
    """One EVSE's power.

    Attributes:
        phase: see above.
        ev_joined: the EV takes part in this session.
        suspended: the desired state lets the session wait without energy.
        output: levels of the devices.
        aborted_session: a session the controller aborted, until its reason is known.
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
        self.output = PowerOutput(inputs, devices, settings, now)
        self.phase = Phase.IDLE
        self.ev_joined = self.suspended = False
        self.aborted_session: AbortedSession | None = None
        self.phase_since = now
        self._phase_began_at: float | None = None  # by trio's clock; None: in the next step
        self.idle_since = now
        self.self_test = InsulationSelfTest(devices.insulation_monitor, now)
        self.cable_check_failures = self.stuck_open_count = 0
        self._secc = devices.secc
        self._secc_settings = settings.secc
        self._report_ev_stopped = report_ev_stopped
        self._desired = no_energy(inputs.evse_id)
        self._request_transaction_id: str | None = None
        self._request_used = False
        self._ev_ended_at: float | None = None
        self._function_since = now
        self._power_function = PowerFunction.OFF
        self._session_finished = False
        self._identification_ended = False  # without a session, for the EV that is plugged in

    # --- State for protections and reports -------------------------------------------------------

    @property
    def has_session(self) -> bool:
        """An EV is charging, about to, or about to stop."""
        return self.ev_joined and self.phase in OPEN_PHASES

    @property
    def is_transferring(self) -> bool:
        """Energy flows or is about to."""
        return self.has_session and self._power_function is PowerFunction.POWER_TRANSFER

    @property
    def may_transfer(self) -> bool:
        """The EV may take energy: none while the session waits or stops."""
        return self.is_transferring and self.phase is Phase.SESSION and not self.suspended

    @property
    def preparation_step(self) -> PreparationStep:
        """The step between plugging in and energy flow, for the display."""
        if not self.has_session or self.phase is not Phase.SESSION:
            return ""
        return PREPARATION_STEPS.get(self.inputs.secc_state, "")

    @property
    def coil_on(self) -> bool:
        """Whether the contactors are ordered to close."""
        return self.output.contactors.coil_on

    @property
    def is_powered(self) -> bool:
        """Something is switched on."""
        return self.output.is_powered

    @property
    def is_idle(self) -> bool:
        """Nothing is switched on, no session runs, and no EV is plugged in that could begin one."""
        plugged = self.inputs.ev_plugged is not False
        return self.phase is Phase.IDLE and not self.is_powered and not plugged

    def contactor_fault(self) -> str | None:
        """Feedback that contradicts the output: "welded", "stuck_open" or None."""
        fault = self.output.contactors.feedback_fault()
        return None if fault == "stuck_open" and self.phase not in OPEN_PHASES else fault

    def is_precharge_overdue(self, now: float) -> bool:
        """The EV did not accept the voltage in time."""
        return (
            self.phase is Phase.SESSION
            and self._power_function is PowerFunction.PRECHARGE
            and now - self._function_since > self._secc_settings.precharge_s
        )

    def has_residual_voltage(self, now: float) -> bool:
        """The output is not low although nothing feeds it."""
        return (
            self.phase in (Phase.ENDED, Phase.IDLE)
            and self.inputs.output_v > SAFE_V
            and now - self.phase_since > RESIDUAL_VOLTAGE_S
        )

    # --- Reports that are events -----------------------------------------------------------------

    def on_report(self, report: DeviceReport, now: float) -> None:
        """Handle a report that is an event, not a level; levels are in `inputs`."""
        match report:
            case ChargeStatus(started=True):
                self.cable_check_failures = self.stuck_open_count = self.self_test.failure_count = 0
            case ChargeStatus(started=False) if self.phase is Phase.SESSION and self.ev_joined:
                self._on_ev_end(now)
            case SessionFinished(aborted=True) if self.phase is Phase.SESSION and self.ev_joined:
                self._on_abort(now, emergency=False)
            case SessionFinished() if self.phase is Phase.IDLE:
                self._identification_ended = True
            case SessionFinished():
                if self.phase is Phase.SESSION and self.ev_joined:
                    self._on_ev_end(now)
                self._session_finished = True
            case SeccEmergency(by_ev=False) if self.has_session:
                self._on_abort(now, emergency=True)
            case InsulationReading():
                self.self_test.on_insulation_report(report, now)

    def _on_abort(self, now: float, *, emergency: bool) -> None:
        self.aborted_session = AbortedSession(now, self.inputs.secc_state, emergency)
        self._enter_phase(Phase.EMERGENCY, now)

    def _on_ev_end(self, now: float) -> None:
        """The EV ends the session; the pilot shows within `PILOT_DELAY_S` if it was unplugged."""
        self._ev_ended_at = now
        self._enter_phase(Phase.STOPPING, now)

    def _report_ev_end(self, now: float) -> None:
        at = self._ev_ended_at
        if at is not None and now - at > PILOT_DELAY_S:
            self._ev_ended_at = None
            if self.inputs.ev_plugged:
                self._report_ev_stopped()

    # --- One step --------------------------------------------------------------------------------

    def run_step(
        self,
        desired: DesiredEvse | None,
        stop: StopMode,
        blocked: bool,
        ready: bool,
        now: float,
        real_now: float,
    ) -> None:
        """Compare the state with the desired state, and set every output.

        Args:
            desired: None while the desired state is outdated, see `Step.outdated`.
            stop, blocked, ready, now, real_now: as in `Step`.
        """
        self._desired = desired or self._desired
        step = Step(self._desired, desired is None, stop, blocked, ready, now, real_now)
        self.suspended = step.desired.suspended
        self._update_request_use(step)
        self._report_ev_end(now)
        self._update_power_function(now)
        self.output.compare_measurements(self.phase is Phase.SESSION, now, real_now)
        if self.inputs.insulation is not None:
            needed = bool(self.inputs.ev_plugged) or step.desired.energy_allowed
            self.self_test.start_if_due(needed=needed, idle=not self.has_session, now=now)
        self._update_ev_joined()
        if self.inputs.pilot == "A" or self.phase is not Phase.IDLE:
            self._identification_ended = False
        self._begin_phase(real_now)
        self._take_transition(step)
        self._begin_phase(real_now)
        self._set_outputs(step)

    def _take_transition(self, step: Step) -> None:
        """Take the first transition of the phase that is due; at most one in a step."""
        for transition in TRANSITIONS[self.phase]:
            if transition.is_due(self, step):
                self._enter_phase(transition.target, step.now)
                if transition.action is not None:
                    transition.action(self, step)
                return

    def emergency_stop(self, now: float) -> None:
        """Stop whatever runs; for the end of the program."""
        if self.phase is not Phase.IDLE or self.is_powered:
            self._enter_phase(Phase.EMERGENCY, now)

    def _update_request_use(self, step: Step) -> None:
        """Allow a session again after a new request, another transaction or another EV."""
        transaction_id = step.desired.transaction_id
        other = transaction_id is not None and transaction_id != self._request_transaction_id
        withdrawn = not step.wants_session or self.inputs.pilot == "A"
        if self.phase is Phase.SESSION:
            self._request_transaction_id = transaction_id
            self._request_used = step.wants_session
        elif withdrawn or (other and self._request_transaction_id is not None):
            self._request_used = False

    def _update_power_function(self, now: float) -> None:
        request = self.inputs.power_request
        if request is not None and request.function is not self._power_function:
            self._power_function, self._function_since = request.function, now

    def _update_ev_joined(self) -> None:
        """The controller's state may be reported before the pilot; the EV joins with both."""
        if self.phase in OPEN_PHASES and self.inputs.ev_plugged:
            communicating = self.inputs.secc_state in COMMUNICATING_STATES
            self.ev_joined |= communicating or self.inputs.power_request is not None

    # --- Conditions and actions of the transitions -----------------------------------------------

    def may_start(self, step: Step) -> bool:
        return (
            step.desired.energy_allowed
            and step.ready
            and not (step.blocked or self._request_used or step.outdated)
        )

    def may_identify_ev(self, step: Step) -> bool:
        """Whether the controller may communicate with an EV that is not authorized yet.

        After it gave up waiting for the authorization, only a session lets it begin again.
        """
        return (
            self.phase is Phase.IDLE
            and step.desired.identify_ev
            and bool(self.inputs.ev_plugged)
            and step.ready
            and not (step.blocked or step.outdated or self._identification_ended)
        )

    def must_cut(self, step: Step) -> bool:
        return step.stop is StopMode.EMERGENCY

    def is_stop_overdue(self, step: Step) -> bool:
        return self._phase_age_s(step) > self._secc_settings.stop_s

    def is_unplugged_powered(self, step: Step) -> bool:
        return self.is_unplugged(step) and self.is_powered

    def is_unplugged(self, step: Step) -> bool:
        return self.ev_joined and self.inputs.pilot == "A"

    def must_stop(self, step: Step) -> bool:
        return step.stop is StopMode.NORMAL or not step.wants_session

    def must_stop_joined(self, step: Step) -> bool:
        return self.ev_joined and self.must_stop(step)

    def is_finished(self, step: Step) -> bool:
        return self._session_finished

    def is_shut_off(self, step: Step) -> bool:
        opened = not self.coil_on and self.inputs.contactors_closed is not True
        return opened or self._phase_age_s(step) > EMERGENCY_TIMEOUT_S

    def may_become_idle(self, step: Step) -> bool:
        low = self.inputs.output_v <= SAFE_V
        return low and not self.coil_on and step.now - self.phase_since > RESTART_GAP_S

    def press_stop_button(self, step: Step) -> None:
        self._secc.press_stop_button()

    def end_before_joined(self, step: Step) -> None:
        """Without a fault the request is not used: no EV has been served."""
        self._secc.press_stop_button()
        self._request_used = step.stop is StopMode.NORMAL

    # --- Entering a phase ------------------------------------------------------------------------

    def _enter_phase(self, phase: Phase, now: float) -> None:
        if phase is self.phase:
            return
        if phase is Phase.SESSION:
            self._request_used = True
            self._begin_session(now)
        elif phase is Phase.EMERGENCY:
            self._request_used = True
            self.output.cut(now)
        elif phase is Phase.IDLE:
            self.idle_since = now
        self.phase, self.phase_since = phase, now
        self._phase_began_at = None

    def _begin_phase(self, real_now: float) -> None:
        """A report may enter a phase; its time is limited from the step that follows at once."""
        if self._phase_began_at is None:
            self._phase_began_at = real_now

    def _phase_age_s(self, step: Step) -> float:
        """In real time."""
        return 0.0 if self._phase_began_at is None else step.real_now - self._phase_began_at

    def _begin_session(self, now: float) -> None:
        self.ev_joined = self._session_finished = False
        self.inputs.power_request = None
        self._power_function, self._function_since = PowerFunction.OFF, now
        self.aborted_session = None

    def _set_outputs(self, step: Step) -> None:
        session_open, idle = self.phase in OPEN_PHASES, self.phase is Phase.IDLE
        self.output.set_power(
            self.inputs.power_request if session_open else None,
            may_close=not step.outdated,
            suspended=self.suspended,
            now=step.now,
            real_now=step.real_now,
        )
        self.output.set_controller(
            session_open=session_open,
            idle=idle,
            identify_ev=self.may_identify_ev(step),
            self_test_passed=self.self_test.has_passed,
            suspended=self.suspended,
        )
        self.output.set_poll_intervals(busy=not idle or bool(self.inputs.ev_plugged))


class Transition(msgspec.Struct, frozen=True):
    """One row: if `is_due` in a step, enter `target` and then do `action`, because of `reason`."""

    is_due: Callable[[PowerPath, Step], bool]
    target: Phase
    reason: str
    action: Callable[[PowerPath, Step], None] | None = None


TRANSITIONS: Final[dict[Phase, tuple[Transition, ...]]] = {
    Phase.IDLE: (
        Transition(
            PowerPath.may_start,
            Phase.SESSION,
            "energy is allowed, nothing forbids it, and this request has had no session yet",
        ),
    ),
    Phase.SESSION: (
        Transition(PowerPath.must_cut, Phase.EMERGENCY, "a protection requires it"),
        Transition(
            PowerPath.is_unplugged_powered,
            Phase.EMERGENCY,
            "the plug must not carry voltage without an EV",
        ),
        Transition(PowerPath.is_unplugged, Phase.ENDED, "no EV is left to agree with"),
        Transition(
            PowerPath.must_stop_joined,
            Phase.STOPPING,
            "the EV reduces its current before the contactors open",
            PowerPath.press_stop_button,
        ),
        Transition(
            PowerPath.must_stop,
            Phase.ENDED,
            "no EV has joined, so none has to agree",
            PowerPath.end_before_joined,
        ),
    ),
    Phase.STOPPING: (
        Transition(PowerPath.must_cut, Phase.EMERGENCY, "a protection requires it"),
        Transition(
            PowerPath.is_stop_overdue, Phase.EMERGENCY, "the EV did not agree within stop_s"
        ),
        Transition(
            PowerPath.is_unplugged_powered,
            Phase.EMERGENCY,
            "the plug must not carry voltage without an EV",
        ),
        Transition(PowerPath.is_unplugged, Phase.ENDED, "no EV is left to agree with"),
        Transition(PowerPath.is_finished, Phase.ENDED, "the controller reported the end"),
    ),
    Phase.EMERGENCY: (
        Transition(
            PowerPath.is_shut_off, Phase.ENDED, "contactors are open, or do not open any more"
        ),
    ),
    Phase.ENDED: (
        Transition(
            PowerPath.may_become_idle,
            Phase.IDLE,
            "the output is low and the controller has seen the end",
        ),
    ),
}
"""By phase, in the order in which the rows are checked: the most urgent stop first."""


def no_energy(evse_id: int) -> DesiredEvse:
    """Desired state of an EVSE without energy."""
    return DesiredEvse(evse_id, energy_allowed=False, suspended=False, transaction_id=None)
