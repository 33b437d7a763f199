"""How does the real station run in a world that is not?

`Life` is what `station.runtime.supervise.Life` is: memory, scribe, alarm, link and body in one
nursery, from StationStarted to the end. The first four are the real ones on a real SQLite file;
the wire, the clock and the body are simulated. It may die between any two steps: then nothing
counts that is not in the file.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Final, Protocol

import trio

from journal.observations import CsmsConfigured, StationStarted, StationStopping, VariablePreset
from journal.state import State
from journal.store import Store, StoreSettings
from journal.terms import Entry, Observation
from station import RELEASE
from station.case import Product
from station.runtime.alarm import alarm
from station.runtime.ingest import Ingest
from station.runtime.link import Link
from station.runtime.memory import Memory
from station.runtime.network import Network
from station.runtime.room import Room
from station.runtime.scribe import Scribe
from station.simulation.agenda import SimulatedClock
from station.simulation.cars import Bay, Hands, Trouble
from station.simulation.wire import Lines, Wire

IDENTITY: Final = "SIM-1"
URL: Final = "ws://csms.invalid/ocpp"
SETTINGS: Final = StoreSettings(checkpoint_pages=512, grow_bytes=64 << 10)
RESERVE_BYTES: Final = 64 << 10
SNAPSHOT_ENTRIES: Final = 10_000


class DiedError(Exception):
    """The process is no more. Whatever its tasks still do changes nothing."""


class Disk(Protocol):
    """What may go wrong with a commit, and who looks on."""

    async def before(self, entries: list[Entry]) -> None:
        """It begins: may take its time, fail, or never return."""

    def written(self, entries: list[Entry]) -> None:
        """They are in the file, and nobody knows yet; may fail all the same."""

    def committed(self, state: State) -> None:
        """The scribe has taken note."""


class WatchedScribe(Scribe):
    """The real scribe, with a disk that may fail."""

    disk: Disk
    _commits = 0  # under way

    @property
    def busy(self) -> bool:
        """Whether something was heard that is not committed."""
        return bool(self._waiting or self._commits)

    async def _appended(self, entries: list[Entry]) -> None:
        await self.disk.before(entries)
        await super()._appended(entries)
        self.disk.written(entries)

    async def _write(self) -> None:
        self._commits += 1
        await super()._write()
        self._commits -= 1
        self.disk.committed(self.state)


class WiredLink(Link):
    """The real link on a simulated wire."""

    lines: Lines

    async def _connected(self, *_: Any, **__: Any) -> Any:
        wire: Wire = await self.lines.connect()
        return wire


class Outside(Protocol):
    """What of the world a life touches."""

    clock: SimulatedClock
    lines: Lines
    bays: dict[int, Bay]
    trouble: Trouble
    disk: Disk
    dice: random.Random
    boot_id: str
    variables: dict[str, str]
    settings: StoreSettings

    def free(self, directory: Path) -> int: ...

    def closing(self, evse_id: int) -> None: ...


class Life:
    """One run of the program.

    Attributes:
        store, scribe: the journal and who writes it.
        dead: nothing this life does counts any more.
    """

    def __init__(self, outside: Outside, product: Product, data: Path, damage: str = "") -> None:
        """Open the journal and remember; `damage` is what the life before found wrong with it.

        Raises:
            JournalFailed: it cannot be opened.
        """
        self.outside = outside
        self.product = product
        self.dead = False
        dice = random.Random(outside.dice.random())
        self.memory = Memory(data, outside.settings, entropy=dice.randbytes, damage=damage)
        self.scribe = WatchedScribe(product, self.memory.store, self.memory.state, outside.clock)
        self.scribe.disk = outside.disk
        self.hands = Hands(
            outside.bays,
            outside.trouble,
            self.scribe.wanted,
            self.scribe.observe,
            outside.closing,
            dice,
        )
        self.scribe.reading = self.hands.reading
        self.room = Room(
            data,
            RESERVE_BYTES,
            self.scribe.observe,
            level=self.memory.state.condition.storage,
            free=outside.free,
        )
        self.scribe.more_room = self.room.release
        self._link = self._wired(dice)
        self._scope = trio.CancelScope()
        self._ending = trio.CancelScope()

    @property
    def store(self) -> Store:
        return self.memory.store

    def _wired(self, dice: random.Random) -> WiredLink:
        link = WiredLink(
            IDENTITY,
            self.scribe,
            Ingest(self.product.model, self.store.refer, _kept),
            Network(),
            password=lambda reference: None,
            value_of=self.store.value_of,
            dice=dice,
        )
        link.lines = self.outside.lines
        return link

    async def run(self) -> str | None:
        """Live.

        Returns:
            The reason of the next life, as the station wants one; None after `end`.

        Raises:
            DiedError: it died.
            JournalFailed: the disk did not take a commit.
        """
        with self._scope:
            self.room.keep()
            await self._begin()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.scribe.run)
                nursery.start_soon(self._checkpoints)
                with self._ending:
                    nursery.start_soon(self._until_restart)
                    await self._work()
                why = self.scribe.wanted.value.restart
                self.scribe.observe(StationStopping(why or "asked to end"))
                nursery.cancel_scope.cancel()
        if self.dead:
            raise DiedError
        return self.scribe.wanted.value.restart

    def die(self) -> None:
        """Be dead from now on."""
        self.dead = True
        self._scope.cancel()

    def end(self) -> None:
        """Be asked to end in good order."""
        self._ending.cancel()

    def close(self) -> None:
        """Let go of the file as a run that ended in good order does."""
        self.memory.snapshot(self.scribe.head, self.scribe.state)
        self.memory.close()

    async def _begin(self) -> None:
        head = self.store.head
        if self.memory.state.networks.configured is None:
            self.scribe.observe(CsmsConfigured(URL, 1))
        if head.seq == 0 or self.memory.found:
            for path, value in sorted(self.outside.variables.items()):
                if path not in self.memory.state.variables.values:
                    self.scribe.observe(VariablePreset(path, value))
        self.scribe.observe(self._started())
        for damage in self.memory.found:
            self.scribe.observe(damage)
        await self.scribe.write_now()

    def _started(self) -> Observation:
        head, profile = self.store.head, self.product.profile
        return StationStarted(
            boot_id=self.outside.boot_id,
            release=RELEASE,
            profile=profile.name,
            identity=IDENTITY,
            evses=tuple((one.id, tuple(at.id for at in one.connectors)) for one in profile.evse),
            last_at=head.at.isoformat() if head.at else None,
            last_uptime_ms=head.uptime_ms if head.at else None,
        )

    async def _work(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._link.run)
            nursery.start_soon(self.hands.run)
            nursery.start_soon(self.room.run)
            nursery.start_soon(alarm, self.scribe.wanted, self.outside.clock, self.scribe.observe)

    async def _until_restart(self) -> None:
        await self.scribe.wanted.changed(lambda level: level.restart, None)
        self._ending.cancel()

    async def _checkpoints(self) -> None:
        """As the real one does, but in the one thread there is: it takes no time here."""
        saved = self.scribe.head.seq
        while True:
            await self.scribe.committed.wait()
            if self.dead:
                continue
            if self.store.checkpoint_due:
                self.store.checkpoint()
            if self.scribe.head.seq - saved >= SNAPSHOT_ENTRIES:
                self.memory.snapshot(self.scribe.head, self.scribe.state)
                saved = self.scribe.head.seq


def _kept(secret: str) -> str:
    """A reference in place of a secret, the same in every run."""
    return f"<secret {len(secret):032x}>"
