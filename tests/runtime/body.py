"""A station's body on emulated devices, with the trial in the place of the judgement."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio
from msgspec.structs import replace

from drivers.emulators.control import obey
from drivers.emulators.ev import Ev
from drivers.emulators.world import World
from drivers.wire.serial_port import Port
from journal.observations import (
    CableReported,
    ContactorReported,
    DeviceFaulted,
    DeviceRecovered,
    FlowReported,
)
from journal.terms import IdToken, Observation
from station.profiles import load
from station.runtime.device_settings import HardwareSettings
from station.runtime.hardware import Hardware
from station.runtime.latest import Latest
from station.wanted import Wanted, WantedEvse
from tests.drivers.charging import world_in_memory

READY_S = 12.0
Kind = TypeVar("Kind", bound=Observation)


class Trial:
    """Wants energy, hears what the body observes, and looks into the world behind it.

    Attributes:
        seen: every observation with the time since the start, in order.
        words: for the display, by EVSE.
        caught: what the body raised, if that was expected.
        stop: ends the body.
    """

    def __init__(self, world: World, settings: HardwareSettings, **how: Any) -> None:
        self.world = world
        self.seen: list[tuple[float, Observation]] = []
        self.wanted = Latest(Wanted())
        self.words: dict[int, str] = {}
        self.caught: Exception | None = None
        self.stop: Callable[[], None] = lambda: None
        self._settings, self._how = settings, how
        self._began = trio.current_time()
        self.hardware = Hardware(
            settings,
            load("development"),
            observe=lambda one: self.seen.append((self.now, one)),
            refer=lambda kind, value: IdToken(f"#{value}", kind),
            reading_interval_s=10,
            wanted=self.wanted,
            **how,
        )
        self._wishes = {evse: _wish(evse) for evse in (1, 2)}

    @property
    def now(self) -> float:
        return trio.current_time() - self._began

    def want(self, evse_id: int, energy: bool = True, *, suspended: bool = False) -> None:
        """Say what the judgement wants of an EVSE."""
        self._wishes[evse_id] = _wish(evse_id, energy, suspended)
        self.wanted.set(
            Wanted(
                evses=tuple(
                    replace(wish, words=self.words.get(evse, ""))
                    for evse, wish in self._wishes.items()
                )
            )
        )

    def reborn(self) -> Trial:
        """The same station after a restart of the program: a new body on the same world."""
        return Trial(self.world, self._settings, **self._how)

    def all(self, kind: type[Kind], evse_id: int | None = None) -> list[Kind]:
        """Observations of a kind, of one EVSE."""
        return [
            one
            for _, one in self.seen
            if isinstance(one, kind) and evse_id in (None, getattr(one, "evse_id", None))
        ]

    def faults(self) -> set[tuple[int, str, str]]:
        """What is wrong by what was told, told as the memory has it."""
        wrong: set[tuple[int, str, str]] = set()
        for _, one in self.seen:
            if isinstance(one, DeviceFaulted):
                wrong.add((one.evse_id, one.device, one.fault))
            elif isinstance(one, DeviceRecovered):
                wrong.discard((one.evse_id, one.device, one.fault))
        return wrong

    def blocking(self, evse_id: int) -> list[DeviceFaulted]:
        """The faults for which an EVSE may not charge now."""
        wrong = self.faults()
        found = {
            (one.device, one.fault): one
            for one in self.all(DeviceFaulted)
            if one.evse_id in (0, evse_id) and (one.evse_id, one.device, one.fault) in wrong
        }
        return [one for one in found.values() if one.blocks]

    def closed(self, evse_id: int) -> bool | None:
        told = self.all(ContactorReported, evse_id)
        return told[-1].closed if told else None

    def plugged(self, evse_id: int) -> bool | None:
        told = self.all(CableReported, evse_id)
        return told[-1].plugged if told else None

    def flow(self, evse_id: int) -> str:
        told = self.all(FlowReported, evse_id)
        return told[-1].flow if told else "none"

    def fault(self, device: str, kind: str, evse_id: int | None = None, **also: Any) -> None:
        """Bring a fault into the world, through its control."""
        self.op("fault", device=device, kind=kind, **_of(evse_id), **also)

    def clear(self, device: str, kind: str, evse_id: int | None = None) -> None:
        self.op("clear_fault", device=device, kind=kind, **_of(evse_id))

    def op(self, op: str, **arguments: Any) -> None:
        answer = obey(self.world, json.dumps({"op": op, **arguments}).encode())
        assert answer["ok"], answer

    async def until(self, true: Callable[[], Any], seconds: float, what: str = "") -> float:
        """Wait for something; how long it took."""
        began = trio.current_time()
        with trio.move_on_after(seconds):
            while not true():
                await trio.sleep(0.01)
        took = trio.current_time() - began
        assert true(), f"not within {seconds} s: {what}\n{self.story()}"
        return took

    async def charge(self, evse_id: int = 1, ev: Ev | None = None) -> None:
        """Have an EV charge: energy wanted, cable in, current flows."""
        self.want(evse_id)
        self.world.plug_in(evse_id, ev or Ev())
        await self.until(lambda: self.flow(evse_id) == "charging", 8, "charging")
        await self.until(lambda: self.world.bays[evse_id].current_a > 50, 3, "current")

    def story(self) -> str:
        return "\n".join(f"{at:8.3f} {one}" for at, one in self.seen[-40:])


def _wish(evse_id: int, energy: bool = False, suspended: bool = False) -> WantedEvse:
    return WantedEvse(evse_id, energy and not suspended, suspended, None, "")


def _of(evse_id: int | None) -> dict[str, int]:
    return {} if evse_id is None else {"evse_id": evse_id}


@asynccontextmanager
async def body_in_memory(
    directory: Path, catch: type[Exception] | None = None
) -> AsyncIterator[Trial]:
    """A body that is ready, on a world on virtual time."""
    world, ends = world_in_memory(directory)

    def opened(path: str, *, baud: int, parity: str = "N", stop_bits: int = 1) -> Port:
        return ends[Path(path).stem].open(path, baud=baud, parity=parity, stop_bits=stop_bits)

    trial = Trial(world, Hardware.emulated(directory), open_port=opened)
    async with living(trial, world.run, catch):
        yield trial


@asynccontextmanager
async def living(
    trial: Trial,
    run_world: Callable[[], Awaitable[None]],
    catch: type[Exception] | None = None,
) -> AsyncIterator[None]:
    """The world lives longer than the body in it, also when the test fails."""
    ended = trio.Event()

    async def live(scope: trio.CancelScope) -> None:
        with scope:
            try:
                await trial.hardware.run()
            except Exception as error:
                if catch is None or not isinstance(error, catch):
                    raise
                trial.caught = error
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.shield = True
        scope = trio.CancelScope()
        trial.stop = scope.cancel
        nursery.start_soon(run_world)
        nursery.start_soon(live, scope)
        try:
            await until_ready(trial)
            yield
        finally:
            scope.cancel()
            with trio.move_on_after(6, shield=True):
                await ended.wait()
            nursery.cancel_scope.cancel()


async def until_ready(trial: Trial) -> None:
    """Wait until every device has spoken."""

    def ready() -> bool:
        body = trial.hardware._body
        return body is not None and all(body._protections.ready(evse) for evse in (1, 2))

    await trial.until(ready, READY_S, "devices ready")


def violations(world: World) -> list[str]:
    """What the station did and must not."""
    return [what for bay in world.bays.values() for what in bay.violations]
