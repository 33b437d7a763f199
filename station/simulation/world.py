"""What surrounds the station in a simulation, and how does the station live and die in it?

One process, one thread, trio's MockClock: time jumps from one event to the next. The world keeps
what outlives the program (the file, the cars, the CSMS and its ledger, the clocks) and runs one
`Life` after the other on it.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Final

import trio
from trio.testing import MockClock

from journal.observations import IdTokenPresented, StopPressed
from journal.state import State
from journal.store import JournalDamaged, JournalFailed, Store, StoreSettings
from journal.terms import Entry, Observation
from station.case import Product
from station.devicemodel import DeviceModel
from station.profiles import load
from station.runtime.memory import registry
from station.simulation.agenda import Agenda, SimulatedClock
from station.simulation.cars import Bay, Ev, Trouble
from station.simulation.counterpart import Counterpart, Onlooker
from station.simulation.life import SETTINGS, DiedError, Disk, Life
from station.simulation.wire import Lines

JOURNAL_ID: Final = "0b8c7f4e-98a5-4f2e-8f5d-3b8a5f1c2d3e"
FILE: Final = "journal.db"
GAP_S: Final = 1.0  # until a program that ended is started again


@cache
def product(name: str = "development") -> Product:
    profile = load(name)
    return Product(profile, DeviceModel(profile))


class Watcher(Onlooker):
    """Whoever sees everything. This one lets everything pass."""

    def began(self, life: Life) -> None:
        """A life has opened the journal and remembers."""

    async def before(self, entries: list[Entry]) -> None:
        """A commit begins: may take its time, fail, or never return."""

    def written(self, entries: list[Entry]) -> None:
        """They are in the file, and nobody knows yet; may fail all the same."""

    def committed(self, state: State) -> None:
        """The scribe has taken note."""

    def closing(self, evse_id: int) -> None:
        """A contactor is about to close."""


class World:
    """Everything but the program.

    Attributes:
        life: the run of the program that is under way; None between two.
        lives: how many there were.
    """

    def __init__(
        self,
        directory: Path,
        *,
        seed: int,
        watcher: Watcher | None = None,
        variables: dict[str, str] | None = None,
        profile: str = "development",
        settings: StoreSettings = SETTINGS,
    ) -> None:
        """Build the world around a directory; needs trio's loop.

        Args:
            directory: for the journal, empty.
            seed: of all dice.
            watcher: sees everything.
            variables: preset at the first start, by path.
            profile: the product.
            settings: of the journal's file.
        """
        self.dice = random.Random(seed)
        self.product = product(profile)
        self.agenda = Agenda()
        self.clock = SimulatedClock()
        self.watcher = watcher or Watcher()
        self.disk: Disk = self.watcher
        self.csms = Counterpart(
            self.agenda, self.clock, self.dice, self.watcher, lambda: self.lines
        )
        self.lines = Lines(self.agenda, self.csms, self.dice)
        self.trouble = Trouble()
        self.bays = {
            evse_id: Bay(evse_id, trouble=self.trouble) for evse_id in self.product.profile.evse_ids
        }
        self.variables = variables or {}
        self.settings = settings
        self.free_bytes = 1 << 40
        self.boot_id = "boot-1"
        self.life: Life | None = None
        self.lives = 0
        self.gap_s = GAP_S  # until the next life begins
        self.host_dies = False  # with the present life
        self._directory = directory
        self._data = directory / "1"
        self._damage = ""  # what the last life found wrong with the file

    # --- Living ----------------------------------------------------------------------------------

    async def run(self, script: Callable[[], Awaitable[None]]) -> None:
        """Let the station live in this world until the script is over."""
        self._new_journal()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.agenda.run)
            nursery.start_soon(self._live)
            await script()
            nursery.cancel_scope.cancel()

    def _new_journal(self) -> None:
        """An empty journal whose name is no dice throw."""
        self._data.mkdir(parents=True)
        shutil.copyfile(_blank(), self._data / FILE)

    async def _live(self) -> None:
        """One life after the other."""
        while True:
            await self._one_life()
            gap_s, self.gap_s = self.gap_s, GAP_S
            await trio.sleep(gap_s)
            if self.host_dies:
                self.host_dies = False
                self.boot_id = f"boot-{self.lives + 1}"
                self.clock.reboot()

    async def _one_life(self) -> None:
        life = self.life = Life(self, self.product, self._data, self._damage)
        self._damage = ""
        self.lives += 1
        well = False
        try:
            self.watcher.began(life)
            await life.run()
            well = True
        except* JournalDamaged as damage:
            life.dead = True
            self._damage = str(_innermost(damage))
        except* (DiedError, JournalFailed):
            life.dead = True
        finally:
            self.life = None
            self._after(life, well)

    def _after(self, life: Life, well: bool) -> None:
        """What remains of a life: open contactors, a cut wire, and the file."""
        for bay in self.bays.values():
            bay.open()
        self.lines.cut()
        if well:
            life.close()
        else:
            self._crash(life)

    def _crash(self, life: Life) -> None:
        """Leave the file as a process leaves it that had no time to close it."""
        left = self._directory / f"{self.lives + 1}"
        left.mkdir()
        for name in (FILE, f"{FILE}-wal", "snapshot"):
            if (self._data / name).exists():
                shutil.copyfile(self._data / name, left / name)
        life.memory.close()
        shutil.rmtree(self._data)
        self._data = left

    def ended(self) -> Store:
        """The journal of the life that was under way when the script ended."""
        return Store.open(
            self._data / FILE, registry(), journal_id_if_new=JOURNAL_ID, settings=SETTINGS
        )

    def free(self, directory: Path) -> int:
        """Bytes left on the disk, as the station is told."""
        return self.free_bytes

    def closing(self, evse_id: int) -> None:
        self.watcher.closing(evse_id)

    # --- What people do --------------------------------------------------------------------------

    def observe(self, observation: Observation) -> None:
        """Something is heard, if anybody listens."""
        if self.life is not None and not self.life.dead:
            self.life.scribe.observe(observation)

    def card(self, uid: str, evse_id: int | None = None) -> None:
        """Somebody holds a card to the reader."""
        if self.life is not None and not self.life.dead and self.life.scribe.wanted.value.reader:
            id_token = self.life.store.refer("ISO14443", uid)
            self.life.scribe.observe(IdTokenPresented(id_token, evse_id))

    def stop_button(self, evse_id: int) -> None:
        """Somebody presses the button at the dispenser."""
        self.observe(StopPressed(evse_id))

    def people_leave(self) -> None:
        """Everybody takes their car away."""
        for bay in self.bays.values():
            bay.unplug()

    def session(self, evse_id: int, uid: str, ev: Ev, stays_s: float) -> None:
        """Somebody comes, charges, and leaves after so many seconds."""
        self.bays[evse_id].plug_in(ev)
        self.agenda.after(8, lambda: self.card(uid, evse_id))
        self.agenda.after(stays_s, lambda: self.card(uid, evse_id))
        self.agenda.after(stays_s + 15, self.bays[evse_id].unplug)


@cache
def _blank() -> Path:
    """A journal without entries, made once."""
    import atexit
    import tempfile

    directory = Path(tempfile.mkdtemp(prefix="simulation-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    path = directory / FILE
    Store.open(path, registry(), journal_id_if_new=JOURNAL_ID, settings=SETTINGS).close()
    return path


def simulate(main: Callable[[], Awaitable[None]], seed: int) -> None:
    """Run a world in a loop of its own, the same for the same seed.

    Whatever a watcher finds wrong is raised as it is, not as a group.
    """
    import trio._core._run as scheduler

    setattr(scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", True)  # noqa: B010  # it is Final
    scheduler._r.seed(seed)
    try:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    except BaseExceptionGroup as group:
        raise _innermost(group) from None


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def shared_memory() -> Path | None:
    """Where files are fast: nothing here survives a power cut, and nothing needs to."""
    path = Path("/dev/shm")
    return path if path.is_dir() else None
