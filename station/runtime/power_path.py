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

from drivers.insulation.bender_isocha425hv import BenderIsoCha425hv
from drivers.io.icpdas_m7055 import IcpdasM7055
from drivers.meters.acrel_djsf1352 import AcrelDjsf1352
from drivers.ports import (
    ChargeStatus,
    Insulation,
    PowerFunction,
    PowerRequest,
    Report,
    SeccEmergency,
    SeccState,
    SessionFinished,
)
from drivers.power.infypower import InfypowerModules
from drivers.secc.advantics import AdvanticsSecc
from station.runtime.contactors import Contactors
from station.runtime.device_settings import HardwareSettings
from station.runtime.faults import Stop
from station.runtime.self_test import SelfTest
from station.runtime.senses import EvseSenses
from station.wanted import WantedEvse

SAFE_V: Final = 60  # the EV lets go of the plug below
KEEPS_VOLTAGE_S: Final = 5.0
STARTS_ANEW_S: Final = 0.6  # the controller has seen the start go, six of its cycles
GIVES_UP_S: Final = 1.5  # an emergency stop is over, whatever the feedback says
PILOT_TELLS_S: Final = 0.15  # the pilot is told every 100 ms: by then an unplugged EV is known
EXPLAINED_S: Final = 0.3  # in this time other devices say why the controller broke off
LEAST_A: Final = Decimal(2)  # what brings the cable's capacitance up in the insulation test
NO_ENERGY_A: Final = Decimal("0.1")  # 0 would mean the controller's own limit, secc.md section 2
SPIKE_S: Final = 0.1  # a moment more than one measurement
OVER_CURRENT_S: Final = 1.0
GIVING: Final = frozenset(
    {PowerFunction.INSULATION_TEST, PowerFunction.PRECHARGE, PowerFunction.POWER_TRANSFER}
)
TALKING: Final = frozenset(SeccState) - {
    SeccState.INITIALISING,
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


class Hands(msgspec.Struct, frozen=True):
    """The devices a power path moves."""

    secc: AdvanticsSecc
    modules: InfypowerModules
    io: IcpdasM7055
    monitor: BenderIsoCha425hv
    meter: AcrelDjsf1352


class Broken(msgspec.Struct, frozen=True):
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
        senses: EvseSenses,
        hands: Hands,
        settings: HardwareSettings,
        ev_stopped: Callable[[], None],
        now: float,
    ) -> None:
        self.senses = senses
        self.phase = Phase.IDLE
        self.begun = self.suspended = False
        self.limit_a = Decimal(0)
        self.range_v = (0, 0)
        self.modules_c = 25
        self.broken: Broken | None = None
        self.phase_at = now
        self.idle_since = now
        self.self_test = SelfTest(hands.monitor, now)
        self.cable_check_failures = self.stuck_opens = 0
        self._contactors = Contactors(senses, hands.io, settings.io.feedback_ms / 1000)
        self._hands = hands
        self._settings = settings
        self._ev_stopped = ev_stopped
        self._wish = nothing(senses.evse_id)
        self._behind = False  # the judgement, behind what the cable did
        self._spent_for: str | None = None
        self._spent = False
        self._ended_itself_at: float | None = None
        self._off_at = now
        self._given = (0, 0, False)
        self._function_at = now
        self._function = PowerFunction.OFF
        self._finished = False
        self._over_v_since: float | None = None
        self._over_a_since: float | None = None

    # --- what others ask -------------------------------------------------------------------------

    @property
    def in_session(self) -> bool:
        """An EV is charging, about to, or about to stop."""
        return self.begun and self.phase in (Phase.SESSION, Phase.STOPPING)

    @property
    def transferring(self) -> bool:
        """Energy flows or is about to."""
        return self.in_session and self._function is PowerFunction.POWER_TRANSFER

    @property
    def coil(self) -> bool:
        """What the contactors are told."""
        return self._contactors.coil

    @property
    def powered(self) -> bool:
        """Something is switched on."""
        return self.coil or self._given[2] or bool(self.senses.closed)

    def contactor_trouble(self, now: float) -> str | None:
        """What the feedback says against the order: "welded", "stuck_open" or nothing."""
        trouble = self._contactors.trouble(now)
        closing = self.phase in (Phase.SESSION, Phase.STOPPING)
        return None if trouble == "stuck_open" and not closing else trouble

    def over_voltage(self, now: float) -> bool:
        return self._over_v_since is not None and now - self._over_v_since >= SPIKE_S

    def over_current(self, now: float) -> bool:
        return self._over_a_since is not None and now - self._over_a_since >= OVER_CURRENT_S

    def precharge_overdue(self, now: float) -> bool:
        """The EV did not take the voltage in time."""
        limit_s = self._settings.secc.precharge_s
        return (
            self.phase is Phase.SESSION
            and self._function is PowerFunction.PRECHARGE
            and now - self._function_at > limit_s
        )

    def keeps_voltage(self, now: float) -> bool:
        """The output is not low although nothing feeds it."""
        return (
            self.phase in (Phase.ENDED, Phase.IDLE)
            and self.senses.output_v > SAFE_V
            and now - self.phase_at > KEEPS_VOLTAGE_S
        )

    # --- what happens ----------------------------------------------------------------------------

    def hear(self, report: Report, now: float) -> None:
        """Take what is an event and not a level."""
        match report:
            case ChargeStatus(started=True):
                self.cable_check_failures = self.stuck_opens = self.self_test.failures = 0
            case ChargeStatus(started=False) if self.phase is Phase.SESSION and self.begun:
                self._ends_itself(now)
            case SessionFinished(rushed=rushed) if self.phase is Phase.SESSION and self.begun:
                if rushed:
                    self.broken = Broken(now, self.senses.state, emergency=False)
                    self._enter(Phase.EMERGENCY, now)
                else:
                    self._ends_itself(now)
                    self._finished = True
            case SessionFinished():
                self._finished = True
            case SeccEmergency(by_ev=False) if self.in_session:
                self.broken = Broken(now, self.senses.state, emergency=True)
                self._enter(Phase.EMERGENCY, now)
            case Insulation():
                self.self_test.hear(report, now)

    def _ends_itself(self, now: float) -> None:
        """The EV ends the session, perhaps because it was unplugged: the pilot will say."""
        self._ended_itself_at = now
        self._enter(Phase.STOPPING, now)

    def _tell_who_ended(self, now: float) -> None:
        at = self._ended_itself_at
        if at is not None and now - at > PILOT_TELLS_S:
            self._ended_itself_at = None
            if self.senses.plugged:
                self._ev_stopped()

    # --- one step --------------------------------------------------------------------------------

    def act(
        self, wish: WantedEvse | None, stop: Stop, blocked: bool, ready: bool, now: float
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
        self._behind = wish is None
        wish = self._wish = wish or self._wish
        self.suspended = wish.suspended
        self._note_wish(wish)
        self._tell_who_ended(now)
        self._watch_output(now)
        if self.senses.insulation is not None:
            needed = bool(self.senses.plugged) or wish.energy
            self.self_test.see_to(needed=needed, idle=not self.in_session, now=now)
        if self.phase in (Phase.SESSION, Phase.STOPPING):
            self._in_session(wish, stop, now)
        elif self.phase is Phase.EMERGENCY:
            if self._dead(now):
                self._enter(Phase.ENDED, now)
        elif self.phase is Phase.ENDED:
            if self._over(now):
                self._enter(Phase.IDLE, now)
        elif wish.energy and ready and not (blocked or self._spent or self._behind):
            self._enter(Phase.SESSION, now)
        self._set_levels(wish, now)

    def emergency(self, now: float) -> None:
        """Stop whatever runs; for the end of the program."""
        if self.phase is not Phase.IDLE or self.powered:
            self._enter(Phase.EMERGENCY, now)

    def _note_wish(self, wish: WantedEvse) -> None:
        """One wish is good for one session; a new one, another person or another EV begins anew."""
        other = wish.transaction_id is not None and wish.transaction_id != self._spent_for
        over = not (wish.energy or wish.suspended) or self.senses.pilot == "A"
        if over or (other and self._spent_for is not None):
            self._spent = False
        if self.phase is Phase.SESSION:
            self._spent_for = wish.transaction_id

    def _in_session(self, wish: WantedEvse, stop: Stop, now: float) -> None:
        if self.senses.plugged:  # the state may be told before the pilot
            talks = self.senses.state in TALKING or self.senses.request is not None
            self.begun = self.begun or talks
        stopping = self.phase is Phase.STOPPING
        late = stopping and now - self.phase_at > self._settings.secc.stop_s
        if stop is Stop.EMERGENCY or late:
            self._enter(Phase.EMERGENCY, now)
        elif self.begun and self.senses.pilot == "A":
            self._enter(Phase.EMERGENCY if self.powered else Phase.ENDED, now)
        elif stopping and self._finished:
            self._enter(Phase.ENDED, now)
        elif not stopping and (stop is Stop.NORMAL or not (wish.energy or wish.suspended)):
            self._hands.secc.press_stop()
            self._enter(Phase.STOPPING if self.begun else Phase.ENDED, now)
            # A wish that went before the EV took part has served nobody: when it comes back, as it
            # does once the judgement has seen the plug, it counts.
            self._spent = self._spent and (self.begun or stop is Stop.NORMAL)

    def _dead(self, now: float) -> bool:
        opened = not self.coil and self.senses.closed is not True
        return opened or now - self.phase_at > GIVES_UP_S

    def _over(self, now: float) -> bool:
        low = self.senses.output_v <= SAFE_V
        return low and not self.coil and now - self.phase_at > STARTS_ANEW_S

    def _enter(self, phase: Phase, now: float) -> None:
        if phase is self.phase:
            return
        if phase is Phase.SESSION:
            self.begun = self._finished = False
            self.senses.request = None
            self._function, self._function_at = PowerFunction.OFF, now
            self.broken = None
        if phase in (Phase.EMERGENCY, Phase.ENDED):
            self._spent = True
        if phase is Phase.EMERGENCY:
            self._cut(now)
        if phase is Phase.IDLE:
            self.idle_since = now
        self.phase, self.phase_at = phase, now

    def _cut(self, now: float) -> None:
        """Modules off and the controller told, before anything else."""
        self._give(0, 0, False, now)
        self._hands.secc.enabled = False
        self._hands.secc.tell_now()

    # --- measuring against what was ordered ------------------------------------------------------

    def _watch_output(self, now: float) -> None:
        """Too much: over the order by 5 % and, for the voltage, over what the EV takes."""
        request, senses = self.senses.request, self.senses
        if request is not None and request.function is not self._function:
            self._function, self._function_at = request.function, now
        on = request is not None and self._given[2] and self.phase is Phase.SESSION
        most_v = Decimal(self._given[0]) * 105 / 100_000
        most_v = max(most_v, senses.ev.voltage_max_v or Decimal(0))
        most_a = Decimal(self._given[1]) * 105 / 100_000 + 5
        self._over_v_since = _since(self._over_v_since, on and senses.output_v > most_v, now)
        self._over_a_since = _since(self._over_a_since, on and senses.output_a > most_a, now)

    # --- levels ----------------------------------------------------------------------------------

    def _set_levels(self, wish: WantedEvse, now: float) -> None:
        request = self.senses.request if self.phase in (Phase.SESSION, Phase.STOPPING) else None
        close = request is not None and request.contactors_closed
        close = close and (self.coil or not self._behind)
        self._set_output(request, close, wish, now)
        self._contactors.set(close, self._off_at, now)
        self._contactors.bleed(request)
        self._tell_secc(wish)
        busy = self.phase is not Phase.IDLE or bool(self.senses.plugged)
        meter, monitor = self._settings.meter, self._settings.insulation
        self._hands.meter.interval_s = meter.session_interval_s if busy else meter.idle_interval_s
        self._hands.monitor.interval_s = (
            monitor.session_interval_s if busy else monitor.idle_interval_s
        )

    def _set_output(
        self, request: PowerRequest | None, close: bool, wish: WantedEvse, now: float
    ) -> None:
        """Give what the controller asks for, within our limits. Less than the modules' least
        voltage they would refuse, and keep to the order before: that is off."""
        joined = close and self.coil and self.senses.closed is True
        able = request is not None and request.voltage_v >= max(self.range_v[0], 1)
        if request is None or request.function not in GIVING or not (joined and able):
            self._give(0, 0, False, now)
            return
        least = LEAST_A if request.function is PowerFunction.INSULATION_TEST else Decimal(0)
        current_a = min(max(request.current_a, least), self.limit_a)
        if wish.suspended and request.function is PowerFunction.POWER_TRANSFER:
            current_a = Decimal(0)
        self._give(int(request.voltage_v * 1000), int(current_a * 1000), True, now)

    def _give(self, voltage_mv: int, current_ma: int, on: bool, now: float) -> None:
        order = (voltage_mv, current_ma, on)
        if self._given[2] and not on:
            self._off_at = now
        if order != self._given:
            self._given = order
            self._hands.modules.set_group(self.senses.evse_id, *order)

    def repeat(self) -> None:
        """Say the modules' order again, for a driver that began anew and forgot."""
        self._hands.modules.set_group(self.senses.evse_id, *self._given)

    def _tell_secc(self, wish: WantedEvse) -> None:
        secc, senses = self._hands.secc, self.senses
        runs = self.phase in (Phase.SESSION, Phase.STOPPING)
        secc.voltage_v, secc.current_a = senses.output_v, senses.output_a
        monitor = senses.insulation
        secc.insulation_ohm = monitor.resistance_ohm if monitor is not None else None
        secc.current_max_a = NO_ENERGY_A if wish.suspended else max(self.limit_a, NO_ENERGY_A)
        secc.voltage_max_v = Decimal(self.range_v[1])
        secc.modules_c = self.modules_c
        enabled = runs and self.self_test.passed
        if enabled is not secc.enabled:
            secc.enabled = enabled
            secc.tell_now()
        authorised = None if self.phase is Phase.IDLE else runs  # a no ends what still negotiates
        if (secc.start_allowed, secc.authorised) != (runs, authorised):
            secc.start_allowed, secc.authorised, secc.parameters_done = runs, authorised, runs


def nothing(evse_id: int) -> WantedEvse:
    """A wish for no energy."""
    return WantedEvse(evse_id, energy=False, suspended=False, transaction_id=None, words="")


def _since(before: float | None, holds: bool, now: float) -> float | None:
    """Since when something holds without a break."""
    if not holds:
        return None
    return now if before is None else before
