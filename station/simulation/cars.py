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

from journal.observations import (
    CableReported,
    ContactorReported,
    DeviceFaulted,
    DeviceRecovered,
    EvIdentified,
    EvStopped,
    Flow,
    FlowReported,
    MeterRead,
)
from journal.terms import Observation
from station.runtime.latest import Latest
from station.wanted import Wanted

READING_S: Final = 10.0  # between two readings while energy flows
CLOSES_S: Final = (0.5, 2.5)  # from the order to closed contactors
OPENS_S: Final = (0.1, 2.0)
TENTH_WH_MS: Final = 360_000  # watts times milliseconds in a tenth of a watt-hour


@dataclass
class Ev:
    """A car that wants so much."""

    needs_wh: Decimal = Decimal(20_000)
    power_w: int = 60_000
    pauses: bool = False


class Trouble:
    """What is wrong with the devices; EVSE 0 is the station."""

    def __init__(self) -> None:
        self.faults: dict[tuple[int, str, str], DeviceFaulted] = {}

    def blocks(self, evse_id: int) -> bool:
        """Whether an EVSE may not charge."""
        return any(one.blocks and one.evse_id in (0, evse_id) for one in self.faults.values())

    def begins(self, fault: DeviceFaulted) -> None:
        self.faults[fault.evse_id, fault.device, fault.fault] = fault

    def ends(self, fault: DeviceFaulted) -> None:
        self.faults.pop((fault.evse_id, fault.device, fault.fault), None)


@dataclass
class Bay:
    """One EVSE as it stands there."""

    evse_id: int
    ev: Ev | None = None
    closed: bool = False
    flowing: bool = False
    tenths: int = 1_000_000  # of a Wh: the meter's register
    trouble: Trouble = field(default_factory=lambda: Trouble())
    changed: Callable[[], None] = lambda: None  # whoever watches it wants to know
    _rest: int = 0  # watt-milliseconds that are no tenth yet
    _since: float = 0.0
    _needed: int = 0  # tenths the EV still takes

    @property
    def blocked(self) -> bool:
        return self.trouble.blocks(self.evse_id)

    @property
    def full(self) -> bool:
        self._count()
        return self.ev is not None and self._needed <= 0

    @property
    def energy_wh(self) -> Decimal:
        """The register, as exact as this meter is."""
        self._count()
        return Decimal(self.tenths).scaleb(-1)

    @property
    def power_w(self) -> int:
        return self.ev.power_w if self.ev and self.flowing else 0

    def full_at(self) -> float:
        """When the EV has what it needs, of trio's clock; infinite while nothing flows."""
        if not self.power_w:
            return float("inf")
        return self._since + self._needed * TENTH_WH_MS / self.power_w / 1000

    def plug_in(self, ev: Ev) -> None:
        if self.ev is None:
            self.ev, self._needed = ev, int(ev.needs_wh * 10)
            self.changed()

    def unplug(self) -> None:
        """The EV side lets go; a closed contactor opens by itself."""
        if self.ev is not None:
            self.open()
            self.ev = None
            self.changed()

    def pause(self, pauses: bool) -> None:
        if self.ev and self.ev.pauses != pauses:
            self.ev.pauses = pauses
            self.changed()

    def open(self) -> None:
        self.flow(False)
        self.closed = False

    def flow(self, flowing: bool) -> None:
        self._count()
        self.flowing = flowing

    def _count(self) -> None:
        """Bring the register up to now."""
        now = trio.current_time()
        watt_ms = self.power_w * round((now - self._since) * 1000) + self._rest
        self._since = now
        grown, self._rest = divmod(watt_ms, TENTH_WH_MS)
        self.tenths += grown
        self._needed -= grown


class Hands:
    """The body of one life: senses and hands for all bays."""

    def __init__(
        self,
        bays: dict[int, Bay],
        trouble: Trouble,
        wanted: Latest[Wanted],
        observe: Callable[[Observation], None],
        closing: Callable[[int], None],
        dice: random.Random,
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
        self._wanted = wanted
        self._observe = observe
        self._trouble = trouble
        self._told: dict[tuple[int, str, str], DeviceFaulted] = {}
        self._changed = trio.Event()
        self._awake = False
        self._arms = {evse_id: Arm(bay, observe, closing, dice) for evse_id, bay in bays.items()}

    def reading(self, evse_id: int) -> MeterRead | None:
        """The newest reading, as the scribe asks for it."""
        arm = self._arms.get(evse_id)
        return arm.reading() if arm and self._awake else None

    async def run(self) -> None:
        """Act and tell until cancelled; then all contactors open, and it is told."""
        self._awake = True
        for arm in self._arms.values():
            arm.bay.changed = self.wake
        try:
            while True:
                self._changed = trio.Event()
                seen = self._wanted.value
                self._tell_trouble()
                due = min(arm.step(seen) for arm in self._arms.values())
                with trio.move_on_at(due):
                    await self._either(seen)
        finally:
            for arm in self._arms.values():
                arm.bay.changed = lambda: None
                arm.leave()

    def wake(self) -> None:
        """Something is different out there."""
        self._changed.set()

    def _tell_trouble(self) -> None:
        now = dict(self._trouble.faults)
        for name in sorted(self._told.keys() - now.keys()):
            self._observe(DeviceRecovered(*name))
        for name in sorted(now.keys() - self._told.keys()):
            self._observe(now[name])
        self._told = now

    async def _either(self, seen: Wanted) -> None:
        async with trio.open_nursery() as nursery:

            async def wanted() -> None:
                await self._wanted.wait_changed(seen)
                nursery.cancel_scope.cancel()

            nursery.start_soon(wanted)
            await self._changed.wait()
            nursery.cancel_scope.cancel()


class Arm:
    """What one life does and says at one bay. Times are of trio's clock."""

    def __init__(
        self,
        bay: Bay,
        observe: Callable[[Observation], None],
        closing: Callable[[int], None],
        dice: random.Random,
    ) -> None:
        self.bay = bay
        self._observe = observe
        self._closing = closing
        self._dice = dice
        self._plugged: bool | None = None  # as told; the next four too
        self._cables = 0
        self._closed: bool | None = None
        self._flow: Flow = "none"
        self._read_at: float | None = None
        self._due: float | None = None  # the contactor moves
        self._stopped = False  # the EV's wish to end was told

    def step(self, wanted: Wanted) -> float:
        """Do and tell what is to be done by now; when to look again."""
        now = trio.current_time()
        self._tell_cable()
        energy, suspended = _wish(wanted, self.bay.evse_id, self._cables)
        self._move(energy or suspended, now)
        self._let_flow(suspended)
        self._tell_power(suspended)
        self._tell_reading(now)
        return min(self._dues(now))

    def leave(self) -> None:
        """The way out: open, and say the last register."""
        if self.bay.closed:
            self.bay.open()
        if self._plugged is not None:
            self._tell_power(False)

    def reading(self) -> MeterRead:
        bay = self.bay
        volts = Decimal("800.5") if bay.closed else Decimal("0.0")
        return MeterRead(
            evse_id=bay.evse_id,
            energy_wh=bay.energy_wh,
            voltage_v=volts,
            current_a=Decimal(bay.power_w // 80).scaleb(-1),
            power_w=Decimal(bay.power_w),
        )

    # --- Doing -----------------------------------------------------------------------------------

    def _move(self, wanted: bool, now: float) -> None:
        """Close or open the contactor, after the time it takes."""
        bay = self.bay
        shall = wanted and bay.ev is not None and not bay.blocked and not self._stopped
        if shall is bay.closed:
            self._due = None
            return
        if bay.blocked and bay.closed:
            bay.open()  # protection waits for nobody
            self._due = None
            return
        if self._due is None:
            self._due = now + self._dice.uniform(*(CLOSES_S if shall else OPENS_S))
        if now < self._due:
            return
        self._due = None
        if shall:
            self._closing(bay.evse_id)
            bay.closed = True
        else:
            bay.open()

    def _let_flow(self, suspended: bool) -> None:
        bay = self.bay
        if bay.ev and bay.closed and bay.full and not self._stopped:
            self._stopped = True
            bay.flow(False)
            self._observe(EvStopped(bay.evse_id))
        flows = bay.closed and bay.ev is not None and not bay.ev.pauses
        flows = flows and not suspended and self._due is None and not self._stopped
        if flows is not bay.flowing:
            bay.flow(flows)

    # --- Telling ---------------------------------------------------------------------------------

    def _tell_cable(self) -> None:
        plugged = self.bay.ev is not None
        if plugged is self._plugged:
            return
        self._plugged = plugged
        self._cables += 1
        self._observe(CableReported(self.bay.evse_id, 1, plugged))
        self._stopped = False
        if plugged:
            self._observe(EvIdentified(self.bay.evse_id, evcc_id="001122334455"))
        else:
            self._flow = "none"

    def _tell_power(self, suspended: bool) -> None:
        """Flow and contactor; before an open one is told, the last register."""
        closed, flow = self.bay.closed, self._flow_now(suspended)
        if self._closed and not closed:
            self._say_reading()
        if flow != self._flow:
            self._flow = flow
            self._observe(FlowReported(self.bay.evse_id, flow))
        if closed is not self._closed:
            self._closed = closed
            self._observe(ContactorReported(self.bay.evse_id, closed))

    def _flow_now(self, suspended: bool) -> Flow:
        if not self.bay.closed:
            return "none"
        if self.bay.flowing:
            return "charging"
        return "suspended_evse" if suspended else "suspended_ev"

    def _tell_reading(self, now: float) -> None:
        due = self._read_at is None or (self.bay.flowing and now >= self._read_at + READING_S)
        if due:
            self._say_reading()

    def _say_reading(self) -> None:
        self._read_at = trio.current_time()
        self._observe(self.reading())

    def _dues(self, now: float) -> Iterator[float]:
        yield float("inf")
        if self._due is not None:
            yield self._due
        if self.bay.flowing:
            assert self._read_at is not None
            yield self._read_at + READING_S
            yield max(now + 0.001, self.bay.full_at() + 0.001)


def _wish(wanted: Wanted, evse_id: int, cables: int) -> tuple[bool, bool]:
    """Energy, or none but stay connected; for the EV that is there now, not one before it."""
    for evse in wanted.evses:
        if evse.evse_id == evse_id and evse.cables == cables:
            return evse.energy, evse.suspended
    return False, False
