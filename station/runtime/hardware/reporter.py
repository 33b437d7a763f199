"""What of all that the devices say is worth writing down?

Devices repeat themselves many times a second; the journal hears of changes, and of a reading now
and then. A `Reporter` speaks for one EVSE.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from drivers.ports import EvInformation, PowerFunction, SeccState
from journal.events import Observation
from journal.observations import (
    CableReported,
    ContactorReported,
    EnergyFlow,
    EnergyFlowReported,
    EvIdentified,
    MeterRead,
)
from station.runtime.hardware.inputs import EvseInputs
from station.runtime.hardware.power_path import Phase, PowerPath

FLOW_MIN_A: Final = 1  # less is no charge
FLOW_STABLE_S: Final = 1.0  # how long another flow must hold before it is told
LAST_READING_TIMEOUT_S: Final = 1.5  # how long an opened contactor waits for the last register
METER_ANSWER_S: Final = 0.1  # what a meter that is asked takes to answer
EV_SETTLE_S: Final = 0.2  # what an EV tells comes in several messages
READING_FRESH_S: Final = 5.0  # older volts and amperes say nothing of now


class Reporter:
    """Says what changed at one EVSE."""

    def __init__(
        self,
        inputs: EvseInputs,
        power_path: PowerPath,
        connector_id: int,
        observe: Callable[[Observation], None],
        reading_interval_s: float,
    ) -> None:
        self._inputs = inputs
        self._power_path = power_path
        self._evse_id = inputs.evse_id
        self._connector_id = connector_id
        self._observe = observe
        self._reading_interval_s = reading_interval_s
        self._started_at: float | None = None
        self._reported_plugged: bool | None = None
        self._reported_closed: bool | None = None
        self._opened_at: float | None = None
        self._reported_flow: EnergyFlow = "none"
        self._pending_flow: tuple[EnergyFlow, float] | None = None
        self._latest_ev = self._reported_ev = EvInformation()
        self._ev_changed_at = 0.0
        self._reading_reported_at: float | None = None  # when a reading was told
        self._reported_energy_wh: Decimal | None = None
        self._reported_meter_at: float | None = None

    @property
    def has_unreported_opening(self) -> bool:
        """An opened contactor is not told yet."""
        return self._opened_at is not None

    @property
    def display_figures(self) -> str:
        """Power and state of charge, for the display; empty without flow."""
        meter = self._inputs.meter
        if self._reported_flow != "charging" or meter is None:
            return ""
        soc = self._inputs.ev.soc_percent
        shown = f"  {meter.power_w / 1000:.1f} kW"
        return shown if soc is None else f"{shown}  {soc} %"

    def report_changes(self, now: float) -> None:
        """Say what is new."""
        if self._started_at is None:
            self._started_at = now
        if (
            self._reported_plugged is None
            and self._inputs.meter is None
            and now - self._started_at < READING_FRESH_S
        ):
            return  # an EVSE that is Available can be asked for its register. F06.FR.06
        self._report_cable_change()
        self._report_ev_change(now)
        self._report_flow_change(now)
        self._report_contactor_change(now)
        self._report_due_reading(now)

    def latest_reading(self, now: float) -> MeterRead | None:
        """The newest reading; without volts and amperes when the meter fell silent."""
        meter, at = self._inputs.meter, self._inputs.meter_at
        if meter is None or at is None:
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

    # --- cable and EV ----------------------------------------------------------------------------

    def _report_cable_change(self) -> None:
        plugged = self._inputs.ev_plugged
        if plugged is not None and plugged is not self._reported_plugged:
            self._reported_plugged = plugged
            self._observe(CableReported(self._evse_id, self._connector_id, plugged))
            self._reported_ev = EvInformation()
            if not plugged:
                self._reported_flow, self._pending_flow = "none", None  # the cable says it

    def _report_ev_change(self, now: float) -> None:
        """Say who the EV is, once it has said so; the state of charge goes with the readings."""
        ev = self._inputs.ev
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

    # --- flow ------------------------------------------------------------------------------------

    def _report_flow_change(self, now: float) -> None:
        """Say who holds the energy back, once that is no moment's matter.

        Only the begin of a charge is told at once, and only if the EV asks for it: what is left
        of the current that charged the cable up is none (TC_E_38).
        """
        flow = self._current_flow()
        if flow is None or flow == self._reported_flow:
            self._pending_flow = None
            return
        if self._pending_flow is None or self._pending_flow[0] != flow:
            self._pending_flow = (flow, now)
        request = self._inputs.power_request
        asked = request is not None and request.current_a >= FLOW_MIN_A
        begins = self._reported_flow == "none" and flow == "charging" and asked
        if begins or now - self._pending_flow[1] >= FLOW_STABLE_S:
            self._emit_flow(flow)

    def _emit_flow(self, flow: EnergyFlow) -> None:
        self._pending_flow = None
        if flow != self._reported_flow:
            self._reported_flow = flow
            self._observe(EnergyFlowReported(self._evse_id, flow))

    def _current_flow(self) -> EnergyFlow | None:
        """What flows; None: nobody can say at this moment, what was told stands."""
        path, senses = self._power_path, self._inputs
        if not senses.ev_plugged:
            return "none"
        if path.phase is not Phase.SESSION:
            return (
                None
                if senses.contactors_closed and senses.output_a >= FLOW_MIN_A
                else self._flow_after_session()
            )
        request = senses.power_request
        if request is None or senses.contactors_closed is not True:
            return None
        if senses.secc_state is SeccState.CHARGE_PAUSE:
            return "suspended_ev"
        if request.function is not PowerFunction.POWER_TRANSFER:
            return None
        if senses.output_a >= FLOW_MIN_A:
            return "charging"
        if path.output.current_limit_a < FLOW_MIN_A or path.suspended:
            return "suspended_evse"
        return "suspended_ev" if request.current_a < FLOW_MIN_A else None

    def _flow_after_session(self) -> EnergyFlow | None:
        """After a session: open contactors say it first, welded ones never."""
        ended = self._power_path.phase in (Phase.ENDED, Phase.IDLE)
        return "none" if ended and not self.has_unreported_opening else None

    # --- contactors and meter --------------------------------------------------------------------

    def _report_contactor_change(self, now: float) -> None:
        """Say that they opened only with the last register: a transaction may end on it."""
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
        read = read_at is not None and read_at > self._opened_at + METER_ANSWER_S
        if read:
            self._emit_reading(now)
        if read or now - self._opened_at > LAST_READING_TIMEOUT_S:
            self._emit_flow("none")
            self._emit_contactors(False)

    def _emit_contactors(self, closed: bool) -> None:
        self._reported_closed, self._opened_at = closed, None
        self._observe(ContactorReported(self._evse_id, closed))

    def _report_due_reading(self, now: float) -> None:
        """The first one, one every interval while energy flows, and one that should not be."""
        meter = self._inputs.meter
        if meter is None:
            return
        worth_it = self._reported_flow == "charging" or meter.energy_wh != self._reported_energy_wh
        if self._reading_reported_at is None or (
            worth_it and now - self._reading_reported_at >= self._reading_interval_s
        ):
            self._emit_reading(now)

    def _emit_reading(self, now: float) -> None:
        reading = self.latest_reading(now)
        if reading is not None and self._inputs.meter_at != self._reported_meter_at:
            self._reported_meter_at = self._inputs.meter_at
            self._reading_reported_at, self._reported_energy_wh = now, reading.energy_wh
            self._observe(reading)


def _ev_identity(ev: EvInformation) -> tuple[object, ...]:
    """What does not change while an EV charges."""
    return ev.evcc_id, ev.capacity_wh, ev.voltage_max_v, ev.current_max_a, ev.power_max_w
