"""Which journal is damaged, and what does a station make of the damaged one?

`Original` is a real journal: sessions, a link that goes, a transaction that still runs, messages
that wait. `after` lets the real station live on a damaged copy of it, in the simulated world.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import msgspec
import trio

from journal.observations import ContactorReported, StationStarted
from journal.projections.outbox import CallQueued
from journal.projections.security import SecurityEventLogged
from journal.state import State, evolve
from journal.store import Reader, StoreSettings
from journal.terms import Entry
from journal.verify import verify
from station.runtime.memory import registry
from station.simulation.cars import Ev
from station.simulation.counterpart import ALICE, BOB
from station.simulation.wire import Wire
from station.simulation.world import FILE, Watcher, World, simulate

NAMES = (FILE, f"{FILE}-wal", "journal.lock", "journal.rebuilt", "snapshot")
QUICK = {
    "OCPPCommCtrlr.RetryBackOffWaitMinimum": "1",
    "OCPPCommCtrlr.RetryBackOffRandomRange": "0",
    "SampledDataCtrlr.TxUpdatedInterval": "10",
}
GROWN = StoreSettings(grow_bytes=1 << 20)  # as in the field, more than a log takes up
RUNS_S = 240.0


class Original(msgspec.Struct):
    """A journal as a crash leaves it, and what is true of it.

    `waits`: entry that queued it, transactionId and seqNo of each event not yet delivered.
    """

    directory: Path
    entries: list[Entry]
    waits: list[tuple[int, str, int]]

    @property
    def head(self) -> int:
        return self.entries[-1].seq


class Aftermath(msgspec.Struct):
    """What became of a station on a damaged journal."""

    complaints: list[str]  # of verify, before
    accounts: dict[str, set[int]]  # transactionId to the seqNos that the CSMS has
    closed: set[str]  # transactions the CSMS knows the end of
    told: list[str]  # security events that the CSMS heard of
    logged: list[str]  # and those in the journal
    new: list[Entry]  # what this life added
    state: State
    lives: int


def original(directory: Path, *, checkpointed: bool = False) -> Original:
    """Make one: most of it in the file (`checkpointed`) or in the log."""
    kept = directory / "original"
    kept.mkdir(parents=True)
    world: World

    async def script() -> None:
        world.session(1, ALICE, Ev(needs_wh=Decimal(9_000)), 60)
        world.session(2, BOB, Ev(needs_wh=Decimal(9_000)), 60)
        await trio.sleep(120)
        world.lines.switch("down")
        world.session(2, ALICE, Ev(needs_wh=Decimal(9_000)), 60)
        await trio.sleep(120)
        world.session(1, BOB, Ev(needs_wh=Decimal(90_000)), 9_000)
        await trio.sleep(60)
        life = world.life
        assert life is not None
        if checkpointed:
            life.store.checkpoint()
        for name in NAMES:
            if (world._data / name).exists():
                shutil.copyfile(world._data / name, kept / name)

    async def main() -> None:
        nonlocal world
        world = World(directory / "world", seed=1, variables=QUICK, settings=GROWN)
        await world.run(script)

    simulate(main, 1)
    assert list(verify(kept / FILE)) == []
    with Reader.open(kept / FILE, registry()) as reader:
        entries = list(reader.entries())
    return Original(kept, entries, waiting(entries))


def waiting(entries: Iterable[Entry]) -> list[tuple[int, str, int]]:
    """The transaction events that nobody has confirmed."""
    state, marks = State("5f0c7c6e-3d0b-4b0e-9a51-0d6f1c2b3a49"), {}
    for entry in entries:
        state = evolve(state, entry)
        if isinstance(entry.event, CallQueued) and entry.event.transaction:
            mark = entry.event.transaction
            marks[entry.seq] = (entry.seq, mark.transaction_id, mark.seq_no)
    return [marks[call] for call in state.outbox.transaction]


class Ear(Watcher):
    """Hears which security events the CSMS is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def sent(self, wire: Wire, text: str) -> None:
        match json.loads(text):
            case [2, _, "SecurityEventNotification", {"type": str(type)}]:
                self.told.append(type)


class DamagedWorld(World):
    """A world that begins with a file."""

    def begin_with(self, files: Path) -> None:
        self._files = files

    def _new_journal(self) -> None:
        self._data.mkdir(parents=True)
        for name in NAMES:
            if (self._files / name).exists():
                # the file itself, not a copy: that would have other sectors
                (self._data / name).hardlink_to(self._files / name)


def after(damaged: Path) -> Aftermath:
    """Let a station live on the files in `damaged`, and change them: it delivers, and charges."""
    complaints = [str(each) for each in verify(damaged / FILE)]
    found: Aftermath | None = None
    ear = Ear()
    world: DamagedWorld

    async def script() -> None:
        nonlocal found
        await trio.sleep(30)
        world.people_leave()
        await trio.sleep(60)
        world.session(2, ALICE, Ev(needs_wh=Decimal(9_000)), 60)
        await trio.sleep(RUNS_S - 90)
        assert world.life is not None, "the station does not live"
        state = world.life.scribe.state
        ledger = world.csms.double.ledger.accounts
        entries = list(world.life.store.reader.entries(damaged=lambda _: None))
        boots = [one.seq for one in entries if isinstance(one.event, StationStarted)]
        found = Aftermath(
            complaints=complaints,
            accounts={name: set(one.events) for name, one in ledger.items()},
            closed={name for name, one in ledger.items() if one.ended is not None},
            told=ear.told,
            logged=[
                one.event.type for one in entries if isinstance(one.event, SecurityEventLogged)
            ],
            new=[one for one in entries if one.seq >= boots[-world.lives]],
            state=state,
            lives=world.lives,
        )

    async def main() -> None:
        nonlocal world
        world = DamagedWorld(
            damaged / "world", seed=2, watcher=ear, variables=QUICK, settings=GROWN
        )
        world.begin_with(damaged)
        await world.run(script)

    simulate(main, 2)
    assert found is not None
    return found


def charged(aftermath: Aftermath) -> bool:
    """Whether contactors closed in the life on the damaged journal."""
    return any(
        isinstance(one.event, ContactorReported) and one.event.closed for one in aftermath.new
    )
