"""What of all that the devices say is worth writing down?

Devices repeat themselves many times a second; the journal hears of changes, and of a reading now
and then. A `Teller` speaks for one EVSE.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from drivers.ports import EvInformation, PowerFunction, SeccState
from journal.observations import (
    CableReported,
    ContactorReported,
    EvIdentified,
    Flow,
    FlowReported,
    MeterRead,
)
from journal.terms import Observation
from station.runtime.power_path import Phase, PowerPath
from station.runtime.senses import EvseSenses

FLOWS_A: Final = 1  # less is no charge
HOLDS_S: Final = 1.0  # how long another flow must hold before it is told
LAST_READING_S: Final = 1.5  # how long an opened contactor waits for the last register
ANSWER_S: Final = 0.1  # what a meter that is asked takes to answer
EV_COMPLETE_S: Final = 0.2  # what an EV tells comes in several messages
FRESH_S: Final = 5.0  # older volts and amperes say nothing of now


class Teller:
    """Says what changed at one EVSE."""

    def __init__(
        self,
        senses: EvseSenses,
        path: PowerPath,
        connector_id: int,
        observe: Callable[[Observation], None],
        reading_interval_s: float,
    ) -> None:
        self._senses = senses
        self._path = path
        self._evse_id = senses.evse_id
        self._connector_id = connector_id
        self._observe = observe
        self._interval_s = reading_interval_s
        self._began_at: float | None = None
        self._plugged: bool | None = None
        self._closed: bool | None = None
        self._opened_at: float | None = None
        self._flow: Flow = "none"
        self._other_flow: tuple[Flow, float] | None = None
        self._ev = self._ev_told = EvInformation()
        self._ev_at = 0.0
        self._read_at: float | None = None  # when a reading was told
        self._read_wh: Decimal | None = None
        self._told_meter_at: float | None = None

    @property
    def unfinished(self) -> bool:
        """An opened contactor is not told yet."""
        return self._opened_at is not None

    @property
    def figures(self) -> str:
        """Power and state of charge, for the display; empty without flow."""
        meter = self._senses.meter
        if self._flow != "charging" or meter is None:
            return ""
        soc = self._senses.ev.soc_percent
        shown = f"  {meter.power_w / 1000:.1f} kW"
        return shown if soc is None else f"{shown}  {soc} %"

    def tell(self, now: float) -> None:
        """Say what is new."""
        if self._began_at is None:
            self._began_at = now
        if self._plugged is None and self._senses.meter is None and now - self._began_at < FRESH_S:
            return  # an EVSE that is Available can be asked for its register. F06.FR.06
        self._tell_cable()
        self._tell_ev(now)
        self._tell_flow(now)
        self._tell_contactors(now)
        self._tell_reading(now)

    def reading(self, now: float) -> MeterRead | None:
        """The newest reading; without volts and amperes when the meter fell silent."""
        meter, at = self._senses.meter, self._senses.meter_at
        if meter is None or at is None:
            return None
        soc = self._senses.ev.soc_percent
        if now - at > FRESH_S:
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

    def _tell_cable(self) -> None:
        plugged = self._senses.plugged
        if plugged is not None and plugged is not self._plugged:
            self._plugged = plugged
            self._observe(CableReported(self._evse_id, self._connector_id, plugged))
            self._ev_told = EvInformation()
            if not plugged:
                self._flow, self._other_flow = "none", None  # the cable says it

    def _tell_ev(self, now: float) -> None:
        """Say who the EV is, once it has said so; the state of charge goes with the readings."""
        ev = self._senses.ev
        if ev != self._ev:
            self._ev, self._ev_at = ev, now
        if now - self._ev_at < EV_COMPLETE_S or _make(ev) == _make(self._ev_told):
            return
        self._ev_told = ev
        if _make(ev) == _make(EvInformation()):
            return
        self._observe(
            EvIdentified(
                evse_id=self._evse_id,
                evcc_id=ev.evcc_id,
                soc_percent=ev.soc_percent,
                capacity_wh=ev.capacity_wh,
                voltage_max_v=ev.voltage_max_v,
                current_max_a=ev.current_max_a,
                power_max_w=ev.power_max_w,
            )
        )

    # --- flow ------------------------------------------------------------------------------------

    def _tell_flow(self, now: float) -> None:
        """Say who holds the energy back, once that is no moment's matter.

        Only the begin of a charge is told at once, and only if the EV asks for it: what is left
        of the current that charged the cable up is none (TC_E_38).
        """
        flow = self._flow_now()
        if flow is None or flow == self._flow:
            self._other_flow = None
            return
        if self._other_flow is None or self._other_flow[0] != flow:
            self._other_flow = (flow, now)
        request = self._senses.request
        asked = request is not None and request.current_a >= FLOWS_A
        begins = self._flow == "none" and flow == "charging" and asked
        if begins or now - self._other_flow[1] >= HOLDS_S:
            self._say_flow(flow)

    def _say_flow(self, flow: Flow) -> None:
        self._other_flow = None
        if flow != self._flow:
            self._flow = flow
            self._observe(FlowReported(self._evse_id, flow))

    def _flow_now(self) -> Flow | None:
        """What flows; None: nobody can say at this moment, what was told stands."""
        path, senses = self._path, self._senses
        if not senses.plugged:
            return "none"
        if path.phase is not Phase.SESSION:
            return None if senses.closed and senses.output_a >= FLOWS_A else self._flow_after()
        request = senses.request
        if request is None or senses.closed is not True:
            return None
        if senses.state is SeccState.CHARGE_PAUSE:
            return "suspended_ev"
        if request.function is not PowerFunction.POWER_TRANSFER:
            return None
        if senses.output_a >= FLOWS_A:
            return "charging"
        if path.limit_a < FLOWS_A or path.suspended:
            return "suspended_evse"
        return "suspended_ev" if request.current_a < FLOWS_A else None

    def _flow_after(self) -> Flow | None:
        """After a session: open contactors say it first, welded ones never."""
        ended = self._path.phase in (Phase.ENDED, Phase.IDLE)
        return "none" if ended and not self.unfinished else None

    # --- contactors and meter --------------------------------------------------------------------

    def _tell_contactors(self, now: float) -> None:
        """Say that they opened only with the last register: a transaction may end on it."""
        closed = self._senses.closed
        if closed is None or closed is self._closed:
            self._opened_at = None
            return
        if closed or self._closed is None:
            self._say_contactors(closed)
            return
        if self._opened_at is None:
            self._opened_at = now
        read_at = self._senses.meter_at
        read = read_at is not None and read_at > self._opened_at + ANSWER_S
        if read:
            self._say_reading(now)
        if read or now - self._opened_at > LAST_READING_S:
            self._say_flow("none")
            self._say_contactors(False)

    def _say_contactors(self, closed: bool) -> None:
        self._closed, self._opened_at = closed, None
        self._observe(ContactorReported(self._evse_id, closed))

    def _tell_reading(self, now: float) -> None:
        """The first one, one every interval while energy flows, and one that should not be."""
        meter = self._senses.meter
        if meter is None:
            return
        worth_it = self._flow == "charging" or meter.energy_wh != self._read_wh
        if self._read_at is None or (worth_it and now - self._read_at >= self._interval_s):
            self._say_reading(now)

    def _say_reading(self, now: float) -> None:
        reading = self.reading(now)
        if reading is not None and self._senses.meter_at != self._told_meter_at:
            self._told_meter_at = self._senses.meter_at
            self._read_at, self._read_wh = now, reading.energy_wh
            self._observe(reading)


def _make(ev: EvInformation) -> tuple[object, ...]:
    """What does not change while an EV charges."""
    return ev.evcc_id, ev.capacity_wh, ev.voltage_max_v, ev.current_max_a, ev.power_max_w
