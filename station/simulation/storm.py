"""What may happen to a station in a world with faults?

A `Plan` is a whole world: how the station is configured, and the things that happen to it, each
with its time. Everything that happens is a `Happening`; its name is a row of HAPPENINGS.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from journal.observations import DeviceFaulted
from journal.projections.outbox import RetryRequested
from journal.store import DiskFull, JournalFailed
from station.messages import decode_request
from station.simulation.cars import Ev
from station.simulation.counterpart import CALM, Temper
from station.simulation.life import DiedError, Life
from station.simulation.world import World

NOISE_ANSWERED: Final = ("noise-", "-1")  # how the messageIds of what answers it begin


class Happening(msgspec.Struct, frozen=True):
    """Something that happens, so many seconds after the beginning."""

    at_s: float
    what: str
    how: dict[str, Any]

    def __str__(self) -> str:
        how = ", ".join(f"{name}={value!r}" for name, value in self.how.items())
        return f"{self.what}({how})"


class Plan(msgspec.Struct, frozen=True):
    """A whole world.

    `seed` is of the dice that are thrown on the way: latencies, and which call meets a mischief.
    """

    seed: int
    variables: dict[str, str]
    happenings: tuple[Happening, ...]
    profile: str = "development"

    @property
    def ends_s(self) -> float:
        return max((one.at_s for one in self.happenings), default=0)


class Disk:
    """A disk, and a host, that fail on demand."""

    def __init__(self) -> None:
        self.stall_s = 0.0  # of the next commit
        self.stalls_until = 0.0  # the one under way
        self.fails: str | None = None  # the next commit: "before" or "after" it is in the file
        self.dies: str | None = None  # the program, at that moment: "before" or "after"
        self.full = False  # but for what the reserve gives up

    def heal(self) -> None:
        self.stall_s, self.stalls_until, self.fails, self.dies = 0, 0, None, None
        self.full = False

    def fail(self, when: str) -> None:
        if self.fails == when:
            self.fails = None
            raise JournalFailed("cannot be written" if when == "before" else "cannot be synced")

    def fill(self, life: Life) -> None:
        if self.full and life.room.is_kept():
            raise DiskFull("no room")

    def kill(self, when: str, life: Life) -> None:
        if self.dies == when:
            self.dies = None
            life.die()
        if life.dead:
            raise DiedError


# --- What happens --------------------------------------------------------------------------------


class Stage(Protocol):
    """Where it happens."""

    world: World
    disk: Disk
    dies_at_step: int

    def again(self, at_s: float, act: Callable[[], None]) -> None:
        """Undo a happening after so many seconds, at the end at the latest."""


def session(stage: Stage, *, evse_id: int, who: str, stays_s: float, power_w: int) -> None:
    ev = Ev(needs_wh=Decimal(5_000), power_w=power_w)
    stage.world.session(evse_id, who, ev, stays_s)


def plug_in(stage: Stage, *, evse_id: int) -> None:
    stage.world.bays[evse_id].plug_in(Ev())


def unplug(stage: Stage, *, evse_id: int) -> None:
    stage.world.bays[evse_id].unplug()


def card(stage: Stage, *, who: str, evse_id: int | None) -> None:
    stage.world.card(who, evse_id)


def pause(stage: Stage, *, evse_id: int, seconds: float) -> None:
    bay = stage.world.bays[evse_id]
    bay.pause(True)
    stage.again(seconds, partial(bay.pause, False))


def stop_button(stage: Stage, *, evse_id: int) -> None:
    stage.world.stop_button(evse_id)


def cut(stage: Stage) -> None:
    stage.world.lines.cut()


def network(stage: Stage, *, mode: str, seconds: float) -> None:
    stage.world.lines.switch(mode)
    stage.again(seconds, partial(stage.world.lines.switch, "up"))


def slow(stage: Stage, *, latency_s: float, seconds: float) -> None:
    lines = stage.world.lines
    lines.latency_s = (latency_s / 4, latency_s)
    stage.again(seconds, lambda: setattr(lines, "latency_s", (0.005, 0.08)))


def csms_restarts(stage: Stage, *, seconds: float) -> None:
    stage.world.csms.restart()
    network(stage, mode="down", seconds=seconds)


def temper(stage: Stage, *, seconds: float, **mischief: float) -> None:
    csms = stage.world.csms
    csms.temper = Temper(**mischief)
    stage.again(seconds, lambda: setattr(csms, "temper", CALM))


def registration(stage: Stage, *, status: str, interval_s: int, seconds: float) -> None:
    double = stage.world.csms.double
    double.registration, double.heartbeat_s = status, interval_s

    def accepts() -> None:
        double.registration, double.heartbeat_s = "Accepted", 300

    stage.again(seconds, accepts)


def clock(stage: Stage, *, step_s: float) -> None:
    stage.world.clock.step(step_s)


def fault(
    stage: Stage, *, evse_id: int, device: str, kind: str, blocks: bool, seconds: float
) -> None:
    breaks(stage, DeviceFaulted(evse_id, device, kind, blocks, stopped_reason="Other"), seconds)


def breaks(stage: Stage, wrong: DeviceFaulted, seconds: float) -> None:
    """Something is wrong with a device for so long."""
    world = stage.world
    world.trouble.begins(wrong)
    _look(world)

    def ends() -> None:
        world.trouble.ends(wrong)
        _look(world)

    stage.again(seconds, ends)


def _look(world: World) -> None:
    for bay in world.bays.values():
        bay.changed()


def dies(stage: Stage, *, steps: int, gap_s: float, host: bool) -> None:
    """The program is killed after so many steps of any task from now on."""
    _away(stage, gap_s, host)
    stage.dies_at_step = steps


def dies_at_commit(stage: Stage, *, when: str, gap_s: float, host: bool) -> None:
    _away(stage, gap_s, host)
    stage.disk.dies = when


def _away(stage: Stage, gap_s: float, host: bool) -> None:
    """For how long nobody is there, and whether the host is not there either."""
    stage.world.gap_s = gap_s
    if host:
        stage.world.host_dies = True


def disk_fails(stage: Stage, *, when: str, gap_s: float) -> None:
    stage.world.gap_s = gap_s
    stage.disk.fails = when


def disk_fills(stage: Stage, *, free_bytes: int, seconds: float) -> None:
    """Somebody else takes up the room, for a while."""

    def fills(left: int) -> None:
        stage.world.free_bytes, stage.disk.full = left, left == 0

    stage.again(seconds, partial(fills, stage.world.free_bytes))
    fills(free_bytes)


def stall(stage: Stage, *, seconds: float) -> None:
    stage.disk.stall_s = seconds


def sigterm(stage: Stage, *, gap_s: float) -> None:
    stage.world.gap_s = gap_s
    if stage.world.life is not None:
        stage.world.life.end()


def asks(stage: Stage, *, action: str, payload: dict[str, Any]) -> None:
    request = decode_request(action, msgspec.json.encode(payload))
    stage.world.csms.ask(request)


def stops_remotely(stage: Stage, *, evse_id: int) -> None:
    """The CSMS ends what it knows to run there."""
    for account in stage.world.csms.double.ledger.accounts.values():
        if account.evse_id == evse_id and account.ended is None:
            payload = {"transactionId": account.transaction_id}
            asks(stage, action="RequestStopTransaction", payload=payload)


def noise(stage: Stage, *, text: str) -> None:
    stage.world.csms.say(text)


def retries(stage: Stage, *, calls: list[int]) -> None:
    """Somebody at the station wants parked calls to be tried again."""
    stage.world.observe(RetryRequested(tuple(calls)))


HAPPENINGS: Final[dict[str, Callable[..., None]]] = {
    one.__name__: one
    for one in (
        session, plug_in, unplug, card, pause, stop_button,
        cut, network, slow, csms_restarts, temper, registration, clock, fault,
        dies, dies_at_commit, disk_fails, disk_fills, stall, sigterm,
        asks, stops_remotely, noise, retries,
    )
}  # fmt: skip
