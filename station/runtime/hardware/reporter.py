"""Observations of one EVSE: changes, and readings at intervals, from many reports a second.

* A cable change is reported at once, but after the start only when the meter has been read: an
  EVSE that is Available can be asked for its register. F06.FR.06
* The begin of a charge is reported at once; any other flow after `FLOW_STABLE_S`.
* Open contactors are reported together with the last register, because a transaction may end on
  them; without a meter after `LAST_READING_TIMEOUT_S`.
* A reading is reported at first, every interval while energy flows, and when the register moved
  without a charge.
* When the meter has been silent for `silent_s`, its last reading is reported with its age unless it
  was reported before; from then on there is no newest reading. The first one after that is reported
  at once: a transaction may wait for it. P11
* With Autocharge the EVCCID of an EV is an idToken: it is reported by `report_ev_token`, once, and
  not with the EV's other data.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

import msgspec

from drivers.ports import EvInformation, PowerFunction, SeccState
from journal.events import Observation
from journal.observations import (
    CableReported,
    ContactorReported,
    EnergyFlow,
    EnergyFlowReported,
    EvIdentified,
    MeterFellSilent,
    MeterRead,
)
from station.core.display import LiveReading
from station.runtime.hardware.inputs import EvseInputs
from station.runtime.hardware.power_path import Phase, PowerPath

FLOW_MIN_A: Final = 1  # less is not a charge
FLOW_STABLE_S: Final = 1.0  # how long a different flow must last before it is reported
LAST_READING_TIMEOUT_S: Final = 1.5  # how long an opened contactor waits for the last register
METER_ANSWER_S: Final = 0.1  # from a request to the response of a meter
EV_SETTLE_S: Final = 0.2  # an EV sends its data in several messages
READING_FRESH_S: Final = 5.0  # older voltages and currents are not reported


class Reporter:
    """Reports the changes at one EVSE."""

    def __init__(
        self,
        inputs: EvseInputs,
        power_path: PowerPath,
        connector_id: int,
        observe: Callable[[Observation], None],
        reading_interval_s: float,
        silent_s: float,
        report_ev_token: Callable[[int, str], None],
    ) -> None:
        """Report nothing yet.

        Args:
            report_ev_token: takes an EVSE and the EVCCID of its EV, once per EV.
            reading_interval_s: between two journaled readings while energy flows.
            silent_s: a meter without a reading for this time is silent.
        """
        self._inputs = inputs
        self._power_path = power_path
        self._evse_id = inputs.evse_id
        self._connector_id = connector_id
        self._observe = observe
        self._reading_interval_s = reading_interval_s
        self._silent_s = silent_s
        self._report_ev_token = report_ev_token
        self._reported_evcc_id: str | None = None
        self._started_at: float | None = None
        self._reported_plugged: bool | None = None
        self._reported_closed: bool | None = None
        self._opened_at: float | None = None
        self._reported_flow: EnergyFlow = "none"
        self._pending_flow: tuple[EnergyFlow, float] | None = None
        self._latest_ev = self._reported_ev = EvInformation()
        self._ev_changed_at = 0.0
        self._reading_reported_at: float | None = None
        self._reported_energy_wh: Decimal | None = None
        self._reported_meter_at: float | None = None
        self._is_silent = False
        self._unmetered_opening_at: float | None = None  # contactors opened, not read since

    @property
    def has_unreported_opening(self) -> bool:
        """An opened contactor is not reported yet."""
        return self._opened_at is not None

    def live_reading(self, now: float) -> LiveReading:
        """What is measured now, for people: not recorded, and nothing is decided with it."""
        meter, at = self._inputs.meter, self._inputs.meter_at
        is_fresh = meter is not None and at is not None and now - at <= READING_FRESH_S
        return LiveReading(
            step=self._power_path.preparation_step,
            power_w=meter.power_w if meter and is_fresh else None,
            register_wh=meter.energy_wh if meter else None,
            soc_percent=self._inputs.ev.soc_percent,
        )

    def report_changes(self, now: float, *, autocharge: bool = False) -> None:
        """Report what has changed since the last call.

        Args:
            autocharge: the EVCCID of an EV is an idToken.
        """
        if self._started_at is None:
            self._started_at = now
        if (
            self._reported_plugged is None
            and self._inputs.meter is None
            and now - self._started_at < READING_FRESH_S
        ):
            return  # F06.FR.06, see above
        self._report_cable_change()
        self._report_ev_change(now, autocharge)
        self._report_flow_change(now)
        self._report_contactor_change(now)
        self._report_silence(now)
        self._report_due_reading(now)

    def latest_reading(self, now: float) -> MeterRead | None:
        """The newest reading; None: none, or the meter is silent.

        The register only, when it is older than `READING_FRESH_S`. After contactors that were
        reported without the last register, only a reading of the time after they opened.
        """
        meter, at = self._inputs.meter, self._inputs.meter_at
        if meter is None or at is None or now - at > self._silent_s:
            return None
        if self._unmetered_opening_at is not None and at <= self._unmetered_opening_at:
            return None
        soc = self._inputs.ev.soc_percent
        if now - at > READING_FRESH_S:
            return MeterRead(
                self._evse_id, meter.energy_wh, meter.energy_reverse_wh, soc_percent=soc
            )
        return MeterRead(
            evse_id=self._evse_id,
            energy_wh=meter.energy_wh,
            energy_export_wh=meter.energy_reverse_wh,
            voltage_v=meter.voltage_v,
            current_a=meter.current_a,
            power_w=meter.power_w,
            soc_percent=soc,
        )

    # --- Cable and EV ----------------------------------------------------------------------------

    def _report_cable_change(self) -> None:
        plugged = self._inputs.ev_plugged
        if plugged is not None and plugged is not self._reported_plugged:
            self._reported_plugged = plugged
            self._observe(CableReported(self._evse_id, self._connector_id, plugged))
            self._reported_ev = EvInformation()
            self._reported_evcc_id = None
            if not plugged:
                self._reported_flow, self._pending_flow = "none", None  # implied by the cable

    def _report_ev_change(self, now: float, autocharge: bool) -> None:
        """Report the EV's identity once complete; its state of charge is part of the readings."""
        ev = self._inputs.ev
        if autocharge:
            self._report_evcc_id(ev.evcc_id)
            ev = msgspec.structs.replace(ev, evcc_id=None)
        if ev != self._latest_ev:
            self._latest_ev, self._ev_changed_at = ev, now
        if now - self._ev_changed_at < EV_SETTLE_S or _ev_identity(ev) == _ev_identity(
            self._reported_ev
        ):
            return
        self._reported_ev = ev
        if _ev_identity(ev) == _ev_identity(EvInformation()):
            return
        self._observe(
            EvIdentified(
                evse_id=self._evse_id,
                evcc_id=ev.evcc_id,
                soc_percent=ev.soc_percent,
                battery_capacity_wh=ev.capacity_wh,
                voltage_max_v=ev.voltage_max_v,
                current_max_a=ev.current_max_a,
                power_max_w=ev.power_max_w,
            )
        )

    def _report_evcc_id(self, evcc_id: str | None) -> None:
        if evcc_id is not None and evcc_id != self._reported_evcc_id:
            self._reported_evcc_id = evcc_id
            self._report_ev_token(self._evse_id, evcc_id)

    # --- Flow ------------------------------------------------------------------------------------

    def _report_flow_change(self, now: float) -> None:
        """Report which side suspends the energy, once that lasts.

        Only the begin of a charge is reported at once, and only if the EV requests current: the
        rest of the current that charged the cable's capacitance is not a charge (TC_E_38).
        """
        flow = self._current_flow()
        if flow is None or flow == self._reported_flow:
            self._pending_flow = None
            return
        if self._pending_flow is None or self._pending_flow[0] != flow:
            self._pending_flow = (flow, now)
        request = self._inputs.power_request
        requested = request is not None and request.current_a >= FLOW_MIN_A
        begins = self._reported_flow == "none" and flow == "charging" and requested
        if begins or now - self._pending_flow[1] >= FLOW_STABLE_S:
            self._emit_flow(flow)

    def _emit_flow(self, flow: EnergyFlow) -> None:
        self._pending_flow = None
        if flow != self._reported_flow:
            self._reported_flow = flow
            self._observe(EnergyFlowReported(self._evse_id, flow))

    def _current_flow(self) -> EnergyFlow | None:
        """The present flow; None: not determined now, the reported one remains."""
        path, inputs = self._power_path, self._inputs
        if not inputs.ev_plugged:
            return "none"
        if path.phase is not Phase.SESSION:
            return (
                None
                if inputs.contactors_closed and inputs.output_a >= FLOW_MIN_A
                else self._flow_after_session()
            )
        request = inputs.power_request
        if request is None or inputs.contactors_closed is not True:
            return None
        if inputs.secc_state is SeccState.CHARGE_PAUSE:
            return "suspended_ev"
        if request.function is not PowerFunction.POWER_TRANSFER:
            return None
        if inputs.output_a >= FLOW_MIN_A:
            return "charging"
        if path.output.current_limit_a < FLOW_MIN_A or path.suspended:
            return "suspended_evse"
        return "suspended_ev" if request.current_a < FLOW_MIN_A else None

    def _flow_after_session(self) -> EnergyFlow | None:
        """No flow after a session, once open contactors are reported; never if they are welded."""
        ended = self._power_path.phase in (Phase.ENDED, Phase.IDLE)
        return "none" if ended and not self.has_unreported_opening else None

    # --- Contactors and meter --------------------------------------------------------------------

    def _report_contactor_change(self, now: float) -> None:
        """Report an opening only with the last register: a transaction may end on it."""
        closed = self._inputs.contactors_closed
        if closed is None or closed is self._reported_closed:
            self._opened_at = None
            return
        if closed or self._reported_closed is None:
            self._emit_contactors(closed)
            return
        if self._opened_at is None:
            self._opened_at = now
        read_at = self._inputs.meter_at
        read_after = read_at is not None and read_at > self._opened_at + METER_ANSWER_S
        if read_after:
            self._emit_reading(now)
        elif now - self._opened_at > LAST_READING_TIMEOUT_S:
            self._unmetered_opening_at = self._opened_at + METER_ANSWER_S
        if read_after or now - self._opened_at > LAST_READING_TIMEOUT_S:
            self._emit_flow("none")
            self._emit_contactors(False)

    def _emit_contactors(self, closed: bool) -> None:
        self._reported_closed, self._opened_at = closed, None
        self._observe(ContactorReported(self._evse_id, closed))

    def _report_silence(self, now: float) -> None:
        """Report the last reading of a meter that fell silent, with its age."""
        meter, at = self._inputs.meter, self._inputs.meter_at
        if meter is None or at is None or self._is_silent or now - at <= self._silent_s:
            return
        self._is_silent = True
        if meter.energy_wh == self._reported_energy_wh:
            return
        self._reported_meter_at, self._reported_energy_wh = at, meter.energy_wh
        age_ms = round((now - at) * 1000)
        self._observe(
            MeterFellSilent(self._evse_id, meter.energy_wh, meter.energy_reverse_wh, age_ms)
        )

    def _report_due_reading(self, now: float) -> None:
        """Report the first reading, one per interval while energy flows, and unexpected energy.

        Also the first one after the meter was silent, or after contactors that were reported
        without it.
        """
        meter = self._inputs.meter
        if meter is None:
            return
        if (self._is_silent or self._unmetered_opening_at is not None) and (
            self.latest_reading(now) is not None
        ):
            self._is_silent, self._unmetered_opening_at = False, None
            self._emit_reading(now)
            return
        moving = self._reported_flow == "charging" or meter.energy_wh != self._reported_energy_wh
        if self._reading_reported_at is None or (
            moving and now - self._reading_reported_at >= self._reading_interval_s
        ):
            self._emit_reading(now)

    def _emit_reading(self, now: float) -> None:
        reading = self.latest_reading(now)
        if reading is not None and self._inputs.meter_at != self._reported_meter_at:
            self._reported_meter_at = self._inputs.meter_at
            self._reading_reported_at, self._reported_energy_wh = now, reading.energy_wh
            self._observe(reading)


def _ev_identity(ev: EvInformation) -> tuple[object, ...]:
    """Data that does not change while an EV charges."""
    return ev.evcc_id, ev.capacity_wh, ev.voltage_max_v, ev.current_max_a, ev.power_max_w
