"""What stands at an EVSE, and what do the devices there say of it?

A `Bay` is the physical side: cable, EV, contactor, meter, faults. It outlives the program; when
the program dies, its contactor opens. `Hands` is one life's body: it acts on what is wanted and
tells what happens, in the words and the order of the real one.
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
    MeterRead,
)
from station.core.desired import DesiredState
from station.runtime.watched_value import WatchedValue

METER_INTERVAL_S: Final = 10.0  # between two readings while energy flows
CLOSE_DELAY_S: Final = (0.5, 2.5)  # from the order to closed contactors
OPEN_DELAY_S: Final = (0.1, 2.0)
WATT_MS_PER_TENTH_WH: Final = 360_000  # watts times milliseconds in a tenth of a watt-hour


@dataclass
class SimulatedEv:
    """A car that wants so much."""

    energy_needed_wh: Decimal = Decimal(20_000)
    power_w: int = 60_000
    is_paused: bool = False


class DeviceFaults:
    """What is wrong with the devices; EVSE 0 is the station."""

    def __init__(self) -> None:
        self.faults: dict[tuple[int, str, str], DeviceFaulted] = {}

    def blocks_evse(self, evse_id: int) -> bool:
        """Whether an EVSE may not charge."""
        return any(
            one.blocks_charging and one.evse_id in (0, evse_id) for one in self.faults.values()
        )

    def add_fault(self, fault: DeviceFaulted) -> None:
        self.faults[fault.evse_id, fault.device, fault.fault] = fault

    def clear_fault(self, fault: DeviceFaulted) -> None:
        self.faults.pop((fault.evse_id, fault.device, fault.fault), None)


@dataclass
class EvseDouble:
    """One EVSE as it stands there."""

    evse_id: int
    ev: SimulatedEv | None = None
    contactor_closed: bool = False
    energy_flowing: bool = False
    register_tenths_wh: int = 1_000_000  # of a Wh: the meter's register
    faults: DeviceFaults = field(default_factory=lambda: DeviceFaults())
    on_change: Callable[[], None] = lambda: None  # whoever watches it wants to know
    _remainder_watt_ms: int = 0  # watt-milliseconds that are no tenth yet
    _counted_at_s: float = 0.0
    _needed_tenths_wh: int = 0  # tenths the EV still takes

    @property
    def is_blocked(self) -> bool:
        return self.faults.blocks_evse(self.evse_id)

    @property
    def is_full(self) -> bool:
        self._update_register()
        return self.ev is not None and self._needed_tenths_wh <= 0

    @property
    def energy_wh(self) -> Decimal:
        """The register, as exact as this meter is."""
        self._update_register()
        return Decimal(self.register_tenths_wh).scaleb(-1)

    @property
    def power_w(self) -> int:
        return self.ev.power_w if self.ev and self.energy_flowing else 0

    def full_at_s(self) -> float:
        """When the EV has what it needs, of trio's clock; infinite while nothing flows."""
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
        """The EV side lets go; a closed contactor opens by itself."""
        if self.ev is not None:
            self.open_contactor()
            self.ev = None
            self.on_change()

    def set_paused(self, paused: bool) -> None:
        if self.ev and self.ev.is_paused != paused:
            self.ev.is_paused = paused
            self.on_change()

    def open_contactor(self) -> None:
        self.set_flow(False)
        self.contactor_closed = False

    def set_flow(self, flowing: bool) -> None:
        self._update_register()
        self.energy_flowing = flowing

    def _update_register(self) -> None:
        """Bring the register up to now."""
        now = trio.current_time()
        watt_ms = self.power_w * round((now - self._counted_at_s) * 1000) + self._remainder_watt_ms
        self._counted_at_s = now
        grown, self._remainder_watt_ms = divmod(watt_ms, WATT_MS_PER_TENTH_WH)
        self.register_tenths_wh += grown
        self._needed_tenths_wh -= grown


class ControlLoopDouble:
    """The body of one life: senses and hands for all bays."""

    def __init__(
        self,
        evses: dict[int, EvseDouble],
        faults: DeviceFaults,
        desired_state: WatchedValue[DesiredState],
        observe: Callable[[Observation], None],
        on_closing: Callable[[int], None],
        random_source: random.Random,
    ) -> None:
        """Get ready; `run` begins.

        Args:
            bays: what is out there, by EVSE.
            trouble: what is wrong with the devices.
            wanted: what shall be.
            observe: takes what is told.
            closing: told right before a contactor closes.
            dice: for how long devices take.
        """
        self._desired_state = desired_state
        self._observe = observe
        self._faults = faults
        self._reported_faults: dict[tuple[int, str, str], DeviceFaulted] = {}
        self._change_event = trio.Event()
        self._is_running = False
        self._evse_controls = {
            evse_id: EvseControlDouble(bay, observe, on_closing, random_source)
            for evse_id, bay in evses.items()
        }

    def read_meter(self, evse_id: int) -> MeterRead | None:
        """The newest reading, as the scribe asks for it."""
        arm = self._evse_controls.get(evse_id)
        return arm.read_meter() if arm and self._is_running else None

    async def run(self) -> None:
        """Act and tell until cancelled; then all contactors open, and it is told."""
        self._is_running = True
        for arm in self._evse_controls.values():
            arm.evse.on_change = self.request_step
        try:
            while True:
                self._change_event = trio.Event()
                seen = self._desired_state.value
                self._report_faults()
                due = min(arm.run_step(seen) for arm in self._evse_controls.values())
                with trio.move_on_at(due):
                    await self._wait_for_change(seen)
        finally:
            for arm in self._evse_controls.values():
                arm.evse.on_change = lambda: None
                arm.shut_down()

    def request_step(self) -> None:
        """Something is different out there."""
        self._change_event.set()

    def _report_faults(self) -> None:
        now = dict(self._faults.faults)
        for name in sorted(self._reported_faults.keys() - now.keys()):
            self._observe(DeviceRecovered(*name))
        for name in sorted(now.keys() - self._reported_faults.keys()):
            self._observe(now[name])
        self._reported_faults = now

    async def _wait_for_change(self, seen: DesiredState) -> None:
        async with trio.open_nursery() as nursery:

            async def wanted() -> None:
                await self._desired_state.wait_changed(seen)
                nursery.cancel_scope.cancel()

            nursery.start_soon(wanted)
            await self._change_event.wait()
            nursery.cancel_scope.cancel()


class EvseControlDouble:
    """What one life does and says at one bay. Times are of trio's clock."""

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
        self._reported_plugged: bool | None = None  # as told; the next four too
        self._cable_changes = 0
        self._reported_closed: bool | None = None
        self._reported_flow: EnergyFlow = "none"
        self._last_reading_s: float | None = None
        self._move_due_s: float | None = None  # the contactor moves
        self._ev_stopped = False  # the EV's wish to end was told

    def run_step(self, desired_state: DesiredState) -> float:
        """Do and tell what is to be done by now; when to look again."""
        now = trio.current_time()
        self._report_cable()
        energy, suspended = _desired_energy(desired_state, self.evse.evse_id, self._cable_changes)
        self._move_contactor(energy or suspended, now)
        self._update_flow(suspended)
        self._report_power(suspended)
        self._report_due_reading(now)
        return min(self._wake_times(now))

    def shut_down(self) -> None:
        """The way out: open, and say the last register."""
        if self.evse.contactor_closed:
            self.evse.open_contactor()
        if self._reported_plugged is not None:
            self._report_power(False)

    def read_meter(self) -> MeterRead:
        bay = self.evse
        volts = Decimal("800.5") if bay.contactor_closed else Decimal("0.0")
        return MeterRead(
            evse_id=bay.evse_id,
            energy_wh=bay.energy_wh,
            voltage_v=volts,
            current_a=Decimal(bay.power_w // 80).scaleb(-1),
            power_w=Decimal(bay.power_w),
        )

    # --- Doing -----------------------------------------------------------------------------------

    def _move_contactor(self, should_close: bool, now: float) -> None:
        """Close or open the contactor, after the time it takes."""
        bay = self.evse
        shall = should_close and bay.ev is not None and not bay.is_blocked and not self._ev_stopped
        if shall is bay.contactor_closed:
            self._move_due_s = None
            return
        if bay.is_blocked and bay.contactor_closed:
            bay.open_contactor()  # protection waits for nobody
            self._move_due_s = None
            return
        if self._move_due_s is None:
            self._move_due_s = now + self._random_source.uniform(
                *(CLOSE_DELAY_S if shall else OPEN_DELAY_S)
            )
        if now < self._move_due_s:
            return
        self._move_due_s = None
        if shall:
            self._on_closing(bay.evse_id)
            bay.contactor_closed = True
        else:
            bay.open_contactor()

    def _update_flow(self, suspended: bool) -> None:
        bay = self.evse
        if bay.ev and bay.contactor_closed and bay.is_full and not self._ev_stopped:
            self._ev_stopped = True
            bay.set_flow(False)
            self._observe(EvStoppedCharging(bay.evse_id))
        flows = bay.contactor_closed and bay.ev is not None and not bay.ev.is_paused
        flows = flows and not suspended and self._move_due_s is None and not self._ev_stopped
        if flows is not bay.energy_flowing:
            bay.set_flow(flows)

    # --- Telling ---------------------------------------------------------------------------------

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
        """Flow and contactor; before an open one is told, the last register."""
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
        return "suspended_evse" if suspended else "suspended_ev"

    def _report_due_reading(self, now: float) -> None:
        due = self._last_reading_s is None or (
            self.evse.energy_flowing and now >= self._last_reading_s + METER_INTERVAL_S
        )
        if due:
            self._report_reading()

    def _report_reading(self) -> None:
        self._last_reading_s = trio.current_time()
        self._observe(self.read_meter())

    def _wake_times(self, now: float) -> Iterator[float]:
        yield float("inf")
        if self._move_due_s is not None:
            yield self._move_due_s
        if self.evse.energy_flowing:
            assert self._last_reading_s is not None
            yield self._last_reading_s + METER_INTERVAL_S
            yield max(now + 0.001, self.evse.full_at_s() + 0.001)


def _desired_energy(desired_state: DesiredState, evse_id: int, cables: int) -> tuple[bool, bool]:
    """Energy, or none but stay connected; for the EV that is there now, not one before it."""
    for evse in desired_state.evses:
        if evse.evse_id == evse_id and evse.cable_report_count == cables:
            return evse.energy_allowed, evse.suspended
    return False, False
