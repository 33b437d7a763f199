"""The hardware part of a station on emulated devices; the test sets the desired state."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import trio
from msgspec.structs import replace

from drivers.emulators.ev import Ev
from drivers.emulators.orders import execute_order
from drivers.emulators.station import EmulatedStation
from drivers.wire.serial_port import Port
from journal.events import IdToken, Observation
from journal.observations import (
    CableReported,
    ContactorReported,
    DeviceFaulted,
    DeviceRecovered,
    EnergyFlowReported,
)
from journal.projections.power_limits import PowerLimit
from station.config.hardware import HardwareSettings
from station.core.desired import DesiredEvse, DesiredState
from station.core.display_situation import DisplaySituation
from station.profiles import Profile, load_profile
from station.runtime.emulation import EmulatedCards
from station.runtime.hardware.hardware import Hardware
from station.runtime.watched_value import WatchedValue
from tests.drivers.fixtures_charging import make_memory_world

READY_TIMEOUT_S = 12.0
Kind = TypeVar("Kind", bound=Observation)


class HardwareBench:
    """`Hardware` with a desired state set by the test, and the emulated station it runs on.

    Attributes:
        world: the emulated station.
        timed_observations: every observation with the time since the start, in order.
        situation: for the display.
        caught_error: what `Hardware.run` raised, if that was expected.
        stop: ends `Hardware.run`.
    """

    def __init__(
        self,
        world: EmulatedStation,
        settings: HardwareSettings,
        *,
        profile: Profile | None = None,
        **options: Any,
    ) -> None:
        self.world = world
        self.profile = profile or load_profile("development")
        self.timed_observations: list[tuple[float, Observation]] = []
        self.desired = WatchedValue(DesiredState())
        self.situation = DisplaySituation()
        self.caught_error: Exception | None = None
        self.stop: Callable[[], None] = lambda: None
        self._settings, self._options = settings, options
        self._began = trio.current_time()
        self.cards = EmulatedCards()
        self._limits_w: dict[int, int] = {}  # by EVSE; 0: all together
        self.hardware = Hardware(
            settings,
            self.profile,
            observe=lambda observation: self.timed_observations.append((self.now, observation)),
            reference_for=lambda kind, value: IdToken(f"#{value}", kind),
            reading_interval_s=10,
            desired_state=self.desired,
            evse_for_card=self.cards.take_evse_id,
            **options,
        )
        self._requests = {evse: _desired_evse(evse) for evse in self.profile.evse_ids}

    @property
    def now(self) -> float:
        return trio.current_time() - self._began

    def request_energy(self, evse_id: int, energy: bool = True, *, suspended: bool = False) -> None:
        """Set the desired state of an EVSE."""
        self._requests[evse_id] = _desired_evse(evse_id, energy, suspended)
        self._publish()

    def limit_power(self, evse_id: int, limit_w: int | None) -> None:
        """Set the limit of an EVSE, or of the station (0), in the desired state; None: no limit."""
        self._limits_w.pop(evse_id, None)
        if limit_w is not None:
            self._limits_w[evse_id] = limit_w
        self._publish()

    def _publish(self) -> None:
        self.desired.set(
            DesiredState(
                evses=tuple(
                    replace(desired, limit=self._limit(evse))
                    for evse, desired in self._requests.items()
                ),
                station_power_w=self._limits_w.get(0),
                display=self.situation,
            )
        )

    def _limit(self, evse_id: int) -> PowerLimit | None:
        limit_w = self._limits_w.get(evse_id)
        if limit_w is None:
            return None
        return PowerLimit(
            evse_id=evse_id,
            limit_w=Decimal(limit_w),
            purpose="TxProfile",
            source_seq=1,
            profile_id=1,
            stack_level=0,
            limit_source="CSO",
        )

    def restart_station(self) -> HardwareBench:
        """The same station after a restart of the program: new `Hardware` on the same devices."""
        return HardwareBench(self.world, self._settings, profile=self.profile, **self._options)

    def observations_of(self, kind: type[Kind], evse_id: int | None = None) -> list[Kind]:
        """Observations of a kind, of one EVSE."""
        return [
            observation
            for _, observation in self.timed_observations
            if isinstance(observation, kind)
            and evse_id in (None, getattr(observation, "evse_id", None))
        ]

    def active_faults(self) -> set[tuple[int, str, str]]:
        """Faults that were reported and have not ended."""
        active: set[tuple[int, str, str]] = set()
        for _, event in self.timed_observations:
            if isinstance(event, DeviceFaulted):
                active.add((event.evse_id, event.device, event.fault))
            elif isinstance(event, DeviceRecovered):
                active.discard((event.evse_id, event.device, event.fault))
        return active

    def blocking_faults(self, evse_id: int) -> list[DeviceFaulted]:
        """The faults because of which an EVSE may not charge now."""
        active = self.active_faults()
        newest = {
            (fault.device, fault.fault): fault
            for fault in self.observations_of(DeviceFaulted)
            if fault.evse_id in (0, evse_id)
            and (fault.evse_id, fault.device, fault.fault) in active
        }
        return [fault for fault in newest.values() if fault.blocks_charging]

    def is_closed(self, evse_id: int) -> bool | None:
        reports = self.observations_of(ContactorReported, evse_id)
        return reports[-1].closed if reports else None

    def is_plugged(self, evse_id: int) -> bool | None:
        reports = self.observations_of(CableReported, evse_id)
        return reports[-1].plugged_in if reports else None

    def energy_flow(self, evse_id: int) -> str:
        reports = self.observations_of(EnergyFlowReported, evse_id)
        return reports[-1].flow if reports else "none"

    def inject_fault(
        self, device: str, kind: str, evse_id: int | None = None, **arguments: Any
    ) -> None:
        """Inject a fault by an order to the emulated devices."""
        self.send_order("fault", device=device, kind=kind, **_evse_argument(evse_id), **arguments)

    def clear_fault(self, device: str, kind: str, evse_id: int | None = None) -> None:
        self.send_order("clear_fault", device=device, kind=kind, **_evse_argument(evse_id))

    def send_order(self, operation: str, **arguments: Any) -> None:
        answer = execute_order(self.world, json.dumps({"op": operation, **arguments}).encode())
        assert answer["ok"], answer

    async def wait_until(
        self, condition: Callable[[], Any], seconds: float, description: str = ""
    ) -> float:
        """Wait for something; how long it took."""
        began = trio.current_time()
        with trio.move_on_after(seconds):
            while not condition():
                await trio.sleep(0.01)
        took = trio.current_time() - began
        assert condition(), f"not within {seconds} s: {description}\n{self.recent_observations()}"
        return took

    async def start_charging(self, evse_id: int = 1, ev: Ev | None = None) -> None:
        """Charge an EV: energy allowed, cable plugged in, current flows."""
        self.request_energy(evse_id)
        self.world.plug_in(evse_id, ev or Ev())
        await self.wait_until(lambda: self.energy_flow(evse_id) == "charging", 8, "charging")
        await self.wait_until(lambda: self.world.power_stages[evse_id].current_a > 50, 3, "current")

    def recent_observations(self) -> str:
        return "\n".join(f"{at:8.3f} {event}" for at, event in self.timed_observations[-40:])


def _desired_evse(evse_id: int, energy: bool = False, suspended: bool = False) -> DesiredEvse:
    return DesiredEvse(evse_id, energy and not suspended, suspended, None)


def _evse_argument(evse_id: int | None) -> dict[str, int]:
    return {} if evse_id is None else {"evse_id": evse_id}


@asynccontextmanager
async def run_in_memory(
    directory: Path,
    catch: type[Exception] | None = None,
    settings: HardwareSettings | None = None,
    profile: Profile | None = None,
    **options: Any,
) -> AsyncIterator[HardwareBench]:
    """`Hardware` with all devices ready, on emulated devices in memory and virtual time."""
    settings = settings or Hardware.emulated_settings(directory)
    profile = profile or load_profile("development")
    world, ends = make_memory_world(directory, len(profile.evse), settings.io.wiring)

    def opened(path: str, *, baud: int, parity: str = "N", stop_bits: int = 1) -> Port:
        return ends[Path(path).stem].open(path, baud=baud, parity=parity, stop_bits=stop_bits)

    bench = HardwareBench(world, settings, profile=profile, open_port=opened, **options)
    async with running_hardware(bench, world.run, catch):
        yield bench


@asynccontextmanager
async def running_hardware(
    bench: HardwareBench,
    run_world: Callable[[], Awaitable[None]],
    catch: type[Exception] | None = None,
) -> AsyncIterator[None]:
    """Run devices and `Hardware`; the devices run longer, also when the test fails."""
    ended = trio.Event()

    async def run_hardware(scope: trio.CancelScope) -> None:
        with scope:
            try:
                await bench.hardware.run()
            except Exception as error:
                if catch is None or not isinstance(error, catch):
                    raise
                bench.caught_error = error
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.shield = True
        scope = trio.CancelScope()
        bench.stop = scope.cancel
        nursery.start_soon(run_world)
        nursery.start_soon(run_hardware, scope)
        try:
            await wait_until_ready(bench)
            yield
        finally:
            scope.cancel()
            with trio.move_on_after(6, shield=True):
                await ended.wait()
            nursery.cancel_scope.cancel()


async def wait_until_ready(bench: HardwareBench) -> None:
    """Wait until every device has reported."""

    def ready() -> bool:
        loop = bench.hardware._control_loop
        evse_ids = bench.profile.evse_ids
        return loop is not None and all(loop._protections.is_ready(evse) for evse in evse_ids)

    await bench.wait_until(ready, READY_TIMEOUT_S, "devices ready")


def world_violations(world: EmulatedStation) -> list[str]:
    """What the station must never do, and did."""
    return [violation for stage in world.power_stages.values() for violation in stage.violations]
