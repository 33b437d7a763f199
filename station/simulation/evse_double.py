"""Simulated EVSEs and the control loop of the simulation.

`EvseDouble` is the physical side: cable, EV, contactor, meter, faults. It survives the program;
when the program is killed, its contactor opens. `ControlLoopDouble` belongs to one run of the
program: it acts on the desired state and reports what happens, with the same observations and in
the same order as `station.runtime.hardware`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import trio

from journal.events import Observation
from journal.observations import (
    CableReported,
    ContactorReported,
    DeviceFaulted,
    DeviceRecovered,
    EnergyFlow,
    EnergyFlowReported,
    EvIdentified,
    EvStoppedCharging,
    MeterFellSilent,
    MeterRead,
)
from journal.projections.power_limits import PowerLimit
from station.core.desired import DesiredState
from station.runtime.hardware.power_sharing import SETTLE_S, EvseDemand, PowerShare, share_power
from station.runtime.watched_value import WatchedValue

METER_INTERVAL_S: Final = 10.0  # between two readings while energy flows
CLOSE_DELAY_S: Final = (0.5, 2.5)  # from the order to closed contactors
RAMP_W: Final = 10_000  # in a step of VARY_INTERVAL_S
VARY_INTERVAL_S: Final = 1.0
HARDWARE_MAX_W: Final = 180_000  # of the modules of one EVSE
MINIMUM_W: Final = 800  # 1 A at the voltage of the meter
SILENT_AFTER_S: Final = 2.5  # without a reading, a meter counts as silent
OPEN_DELAY_S: Final = (0.1, 2.0)
WATT_MS_PER_TENTH_WH: Final = 360_000  # watts times milliseconds in a tenth of a watt-hour


@dataclass
class SimulatedEv:
    """An EV with the energy it needs and the power it takes."""

    energy_needed_wh: Decimal = Decimal(20_000)
    power_w: int = 60_000
    is_paused: bool = False
    varies: bool = False  # ramps up, and tapers when it is nearly full


class DeviceFaults:
    """Active faults of the devices; EVSE 0 is the station."""

    def __init__(self) -> None:
        self.faults: dict[tuple[int, str, str], DeviceFaulted] = {}

    def blocks_evse(self, evse_id: int) -> bool:
        """Whether a fault forbids charging at an EVSE."""
        return any(
            fault.blocks_charging and fault.evse_id in (0, evse_id)
            for fault in self.faults.values()
        )

    def add_fault(self, fault: DeviceFaulted) -> None:
        self.faults[fault.evse_id, fault.device, fault.fault] = fault

    def clear_fault(self, fault: DeviceFaulted) -> None:
        self.faults.pop((fault.evse_id, fault.device, fault.fault), None)


@dataclass
class EvseDouble:
    """The physical side of one EVSE."""

    evse_id: int
    ev: SimulatedEv | None = None
    contactor_closed: bool = False
    energy_flowing: bool = False
    register_tenths_wh: int = 1_000_000  # of a Wh: the meter's register
    faults: DeviceFaults = field(default_factory=lambda: DeviceFaults())
    on_change: Callable[[], None] = lambda: None  # wakes the control loop
    silent_since_s: float | None = None  # the meter does not respond; of trio's clock
    silent_register_wh: Decimal = Decimal(0)  # the register when it fell silent
    was_replaced: bool = False  # another meter, so its register may have fallen
    setpoint_w: int | None = None  # the most it may give; None: no limit
    _wanted_w: int = 0  # what the EV takes without a limit
    _remainder_watt_ms: int = 0  # watt-milliseconds that do not make a tenth of a Wh yet
    _counted_at_s: float = 0.0
    _needed_tenths_wh: int = 0  # of a Wh, that the EV still takes

    @property
    def is_blocked(self) -> bool:
        return self.faults.blocks_evse(self.evse_id)

    @property
    def is_full(self) -> bool:
        self._update_register()
        return self.ev is not None and self._needed_tenths_wh <= 0

    @property
    def energy_wh(self) -> Decimal:
        """The register, with the resolution of this meter, 0.1 Wh."""
        self._update_register()
        return Decimal(self.register_tenths_wh).scaleb(-1)

    @property
    def power_w(self) -> int:
        if not (self.ev and self.energy_flowing):
            return 0
        wanted_w = self._wanted_w if self.ev.varies else self.ev.power_w
        return wanted_w if self.setpoint_w is None else min(wanted_w, self.setpoint_w)

    @property
    def wanted_w(self) -> int:
        """What the EV takes without a limit."""
        if self.ev is None or self.ev.is_paused:
            return 0
        return self._wanted_w if self.ev.varies else self.ev.power_w

    def set_setpoint(self, setpoint_w: int | None) -> None:
        if setpoint_w != self.setpoint_w:
            self._update_register()
            self.setpoint_w = setpoint_w

    def vary_power(self) -> None:
        """Let an EV that varies ramp up by a step, or taper in the last quarter of its need."""
        if self.ev is None or not self.ev.varies:
            return
        self._update_register()
        if not self.contactor_closed or self.ev.is_paused:
            self._wanted_w = 0
            return
        need_tenths_wh = max(int(self.ev.energy_needed_wh * 10), 1)
        left = min(4 * max(self._needed_tenths_wh, 0) / need_tenths_wh, 1.0)
        most_w = max(int(self.ev.power_w * left), RAMP_W)
        self._wanted_w = min(self._wanted_w + RAMP_W, most_w)

    def full_at_s(self) -> float:
        """When the EV has the energy it needs, of trio's clock; infinite while none flows."""
        if not self.power_w:
            return float("inf")
        return (
            self._counted_at_s + self._needed_tenths_wh * WATT_MS_PER_TENTH_WH / self.power_w / 1000
        )

    def connect_ev(self, ev: SimulatedEv) -> None:
        if self.ev is None:
            self.ev, self._needed_tenths_wh = ev, int(ev.energy_needed_wh * 10)
            self.on_change()

    def disconnect_ev(self) -> None:
        """Unplug the EV; a closed contactor opens by itself."""
        if self.ev is not None:
            self.open_contactor()
            self.ev = None
            self.on_change()

    def set_paused(self, paused: bool) -> None:
        if self.ev and self.ev.is_paused != paused:
            self.ev.is_paused = paused
            self.on_change()

    def set_meter_silent(self, is_silent: bool) -> None:
        """Stop or resume the responses of the meter; its register counts on."""
        if is_silent:
            self.silent_register_wh = self.energy_wh
        self.silent_since_s = trio.current_time() if is_silent else None
        self.on_change()

    def replace_meter(self, register_wh: int) -> None:
        """Another meter, with another register."""
        self._update_register()
        self.register_tenths_wh, self.was_replaced = register_wh * 10, True
        self.on_change()

    def open_contactor(self) -> None:
        self.set_flow(False)
        self.contactor_closed = False

    def set_flow(self, flowing: bool) -> None:
        self._update_register()
        self.energy_flowing = flowing

    def _update_register(self) -> None:
        """Count the energy up to now."""
        now = trio.current_time()
        watt_ms = self.power_w * round((now - self._counted_at_s) * 1000) + self._remainder_watt_ms
        self._counted_at_s = now
        added_tenths_wh, self._remainder_watt_ms = divmod(watt_ms, WATT_MS_PER_TENTH_WH)
        self.register_tenths_wh += added_tenths_wh
        self._needed_tenths_wh -= added_tenths_wh


class ControlLoopDouble:
    """The control loop of one run of the program, for all EVSEs."""

    def __init__(
        self,
        evses: dict[int, EvseDouble],
        faults: DeviceFaults,
        desired_state: WatchedValue[DesiredState],
        observe: Callable[[Observation], None],
        on_closing: Callable[[int], None],
        random_source: random.Random,
        *,
        station_max_w: int,
        on_set_points: Callable[[dict[int, int]], None],
    ) -> None:
        """Prepare; `run` starts the loop.

        Args:
            evses: the physical side, by EVSE id.
            faults: active faults of the devices.
            desired_state: the state to establish.
            observe: receives the observations.
            on_closing: called right before a contactor closes.
            random_source: for the delays of devices.
            station_max_w: what the product can give at all EVSEs together.
            on_set_points: called with the set-points of all EVSEs while there are limits.
        """
        self._evses = evses
        self._station_max_w = station_max_w
        self._on_set_points = on_set_points
        self._shares: dict[int, PowerShare] = {}
        self._desired_state = desired_state
        self._observe = observe
        self._faults = faults
        self._reported_faults: dict[tuple[int, str, str], DeviceFaulted] = {}
        self._change_event = trio.Event()
        self._is_running = False
        self._evse_controls = {
            evse_id: EvseControlDouble(evse, observe, on_closing, random_source)
            for evse_id, evse in evses.items()
        }

    def read_meter(self, evse_id: int) -> MeterRead | None:
        """The newest reading, for the recorder."""
        control = self._evse_controls.get(evse_id)
        return control.read_meter() if control and self._is_running else None

    async def run(self) -> None:
        """Act and report until cancelled; then open all contactors and report it."""
        self._is_running = True
        for control in self._evse_controls.values():
            control.evse.on_change = self.request_step
        try:
            while True:
                self._change_event = trio.Event()
                desired_state = self._desired_state.value
                self._report_faults()
                power_due = self._share_power(desired_state)
                due = min(
                    power_due,
                    *(control.run_step(desired_state) for control in self._evse_controls.values()),
                )
                with trio.move_on_at(due):
                    await self._wait_for_change(desired_state)
        finally:
            for control in self._evse_controls.values():
                control.evse.on_change = lambda: None
                control.shut_down()

    def _share_power(self, desired_state: DesiredState) -> float:
        """Set the set-points as the power budget of the station does; returns the next time.

        Without limits there are no set-points.
        """
        limits = {evse.evse_id: evse.limit for evse in desired_state.evses}
        for evse in self._evses.values():
            evse.vary_power()
        varies = any(evse.ev and evse.ev.varies for evse in self._evses.values())
        due = trio.current_time() + VARY_INTERVAL_S if varies else float("inf")
        if desired_state.station_power_w is None and not any(limits.values()):
            self._shares = {}
            for evse in self._evses.values():
                evse.set_setpoint(None)
            return due
        demands = [self._demand(evse, limits.get(evse.evse_id)) for evse in self._evses.values()]
        total_w = self._station_max_w
        if desired_state.station_power_w is not None:
            total_w = min(total_w, desired_state.station_power_w)
        self._shares = share_power(self._shares, demands, total_w, trio.current_time())
        for evse_id, share in self._shares.items():
            self._evses[evse_id].set_setpoint(share.setpoint_w)
        self._on_set_points({evse_id: share.setpoint_w for evse_id, share in self._shares.items()})
        settled = all(share.setpoint_w == share.share_w for share in self._shares.values())
        return due if settled else trio.current_time() + SETTLE_S

    def _demand(self, evse: EvseDouble, limit: PowerLimit | None) -> EvseDemand:
        return EvseDemand(
            evse_id=evse.evse_id,
            limit_w=min(HARDWARE_MAX_W, int(limit.limit_w)) if limit else HARDWARE_MAX_W,
            minimum_w=MINIMUM_W,
            request_w=evse.wanted_w if evse.energy_flowing else None,
            measured_w=evse.power_w,
            has_session=evse.contactor_closed and evse.ev is not None,
        )

    def request_step(self) -> None:
        """The physical side changed."""
        self._change_event.set()

    def _report_faults(self) -> None:
        faults = dict(self._faults.faults)
        for name in sorted(self._reported_faults.keys() - faults.keys()):
            self._observe(DeviceRecovered(*name))
        for name in sorted(faults.keys() - self._reported_faults.keys()):
            self._observe(faults[name])
        self._reported_faults = faults

    async def _wait_for_change(self, current: DesiredState) -> None:
        async with trio.open_nursery() as nursery:

            async def wait_desired_state() -> None:
                await self._desired_state.wait_changed(current)
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait_desired_state)
            await self._change_event.wait()
            nursery.cancel_scope.cancel()


class EvseControlDouble:
    """Control of one EVSE by one run of the program. Times are of trio's clock."""

    def __init__(
        self,
        evse: EvseDouble,
        observe: Callable[[Observation], None],
        on_closing: Callable[[int], None],
        random_source: random.Random,
    ) -> None:
        self.evse = evse
        self._observe = observe
        self._on_closing = on_closing
        self._random_source = random_source
        self._reported_plugged: bool | None = None
        self._cable_changes = 0
        self._reported_closed: bool | None = None
        self._reported_flow: EnergyFlow = "none"
        self._last_reading_s: float | None = None
        self._move_due_s: float | None = None  # when the contactor moves
        self._ev_stopped = False  # EvStoppedCharging was reported
        self._reported_wh: Decimal | None = None  # register of the last reading that was reported
        self._silence_reported = False

    def run_step(self, desired_state: DesiredState) -> float:
        """Act on the desired state and report; returns the time of the next step."""
        now = trio.current_time()
        self._report_cable()
        energy, suspended = _desired_energy(desired_state, self.evse.evse_id, self._cable_changes)
        self._move_contactor(energy or suspended, now)
        self._update_flow(suspended)
        self._report_power(suspended)
        self._report_silence(now)
        self._report_due_reading(now)
        return min(self._wake_times(now))

    def shut_down(self) -> None:
        """Open the contactor, and report it and the last register."""
        if self.evse.contactor_closed:
            self.evse.open_contactor()
        if self._reported_plugged is not None:
            self._report_power(False)

    def read_meter(self) -> MeterRead | None:
        """The newest reading; None: the meter is silent."""
        evse = self.evse
        if evse.silent_since_s is not None:
            return None
        voltage_v = Decimal("800.5") if evse.contactor_closed else Decimal("0.0")
        return MeterRead(
            evse_id=evse.evse_id,
            energy_wh=evse.energy_wh,
            voltage_v=voltage_v,
            current_a=Decimal(evse.power_w // 80).scaleb(-1),
            power_w=Decimal(evse.power_w),
        )

    # --- Acting ----------------------------------------------------------------------------------

    def _move_contactor(self, should_close: bool, now: float) -> None:
        """Close or open the contactor, after the time it takes."""
        evse = self.evse
        close = (
            should_close and evse.ev is not None and not evse.is_blocked and not self._ev_stopped
        )
        if close is evse.contactor_closed:
            self._move_due_s = None
            return
        if evse.is_blocked and evse.contactor_closed:
            evse.open_contactor()  # a protective action opens at once
            self._move_due_s = None
            return
        if self._move_due_s is None:
            self._move_due_s = now + self._random_source.uniform(
                *(CLOSE_DELAY_S if close else OPEN_DELAY_S)
            )
        if now < self._move_due_s:
            return
        self._move_due_s = None
        if close:
            self._on_closing(evse.evse_id)
            evse.contactor_closed = True
        else:
            evse.open_contactor()

    def _update_flow(self, suspended: bool) -> None:
        evse = self.evse
        if evse.ev and evse.contactor_closed and evse.is_full and not self._ev_stopped:
            self._ev_stopped = True
            evse.set_flow(False)
            self._observe(EvStoppedCharging(evse.evse_id))
        flows = evse.contactor_closed and evse.ev is not None and not evse.ev.is_paused
        flows = flows and not suspended and self._move_due_s is None and not self._ev_stopped
        flows = flows and evse.setpoint_w != 0
        if flows is not evse.energy_flowing:
            evse.set_flow(flows)

    # --- Reporting -------------------------------------------------------------------------------

    def _report_cable(self) -> None:
        plugged = self.evse.ev is not None
        if plugged is self._reported_plugged:
            return
        self._reported_plugged = plugged
        self._cable_changes += 1
        self._observe(CableReported(self.evse.evse_id, 1, plugged))
        self._ev_stopped = False
        if plugged:
            self._observe(EvIdentified(self.evse.evse_id, evcc_id="001122334455"))
        else:
            self._reported_flow = "none"

    def _report_power(self, suspended: bool) -> None:
        """Report flow and contactor; the last register before an opened contactor."""
        closed, flow = self.evse.contactor_closed, self._current_flow(suspended)
        if self._reported_closed and not closed:
            self._report_reading()
        if flow != self._reported_flow:
            self._reported_flow = flow
            self._observe(EnergyFlowReported(self.evse.evse_id, flow))
        if closed is not self._reported_closed:
            self._reported_closed = closed
            self._observe(ContactorReported(self.evse.evse_id, closed))

    def _current_flow(self, suspended: bool) -> EnergyFlow:
        if not self.evse.contactor_closed:
            return "none"
        if self.evse.energy_flowing:
            return "charging"
        limited = self.evse.setpoint_w == 0
        return "suspended_evse" if suspended or limited else "suspended_ev"

    def _report_silence(self, now: float) -> None:
        """Report the last reading of a meter that fell silent, unless it was reported."""
        silent_since_s, register_wh = self.evse.silent_since_s, self.evse.silent_register_wh
        if silent_since_s is None or now < silent_since_s + SILENT_AFTER_S:
            return
        if not self._silence_reported:
            self._silence_reported = True
            if self._reported_wh is not None and self._reported_wh != register_wh:
                self._reported_wh = register_wh
                age_ms = round((now - silent_since_s) * 1000)
                self._observe(MeterFellSilent(self.evse.evse_id, register_wh, age_ms=age_ms))

    def _report_due_reading(self, now: float) -> None:
        """Report the first reading, one per interval of a charge, and unexpected energy.

        Also the first one after the meter was silent.
        """
        is_moving = self.evse.energy_flowing or self.evse.energy_wh != self._reported_wh
        if (
            self._last_reading_s is None
            or (self._silence_reported and self.evse.silent_since_s is None)
            or (is_moving and now >= self._last_reading_s + METER_INTERVAL_S)
        ):
            self._report_reading()

    def _report_reading(self) -> None:
        reading = self.read_meter()
        if reading is not None:
            self._last_reading_s = trio.current_time()
            self._reported_wh, self._silence_reported = reading.energy_wh, False
            self._observe(reading)

    def _wake_times(self, now: float) -> Iterator[float]:
        yield float("inf")
        if self._move_due_s is not None:
            yield self._move_due_s
        silent_since_s = self.evse.silent_since_s
        if silent_since_s is not None and not self._silence_reported:
            yield silent_since_s + SILENT_AFTER_S
        is_moving = self.evse.energy_flowing or self.evse.energy_wh != self._reported_wh
        if is_moving and silent_since_s is None and self._last_reading_s is not None:
            yield self._last_reading_s + METER_INTERVAL_S
        if self.evse.energy_flowing:
            yield max(now + 0.001, self.evse.full_at_s() + 0.001)


def _desired_energy(
    desired_state: DesiredState, evse_id: int, cable_changes: int
) -> tuple[bool, bool]:
    """Whether energy is allowed, and whether it is suspended with the contactor closed.

    Only for the present EV: a desired state for an earlier cable report does not count.
    """
    for evse in desired_state.evses:
        if evse.evse_id == evse_id and evse.cable_report_count == cable_changes:
            return evse.energy_allowed, evse.suspended
    return False, False
