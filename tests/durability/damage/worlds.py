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

from journal.events import Entry
from journal.maintenance.verify import verify
from journal.observations import ContactorReported, StationStarted
from journal.projections.outbox import CallQueued
from journal.projections.security import SecurityEventLogged
from journal.state import State, apply_entry
from journal.storage.connection import StoreSettings
from journal.storage.reader import Reader
from station.runtime.loop.startup import event_registry
from station.simulation.evse_double import SimulatedEv
from station.simulation.faulty_csms import ALICE, BOB
from station.simulation.network import SimulatedConnection
from station.simulation.world import (
    JOURNAL_FILE,
    SimulatedWorld,
    SimulationObserver,
    run_simulation,
)

NAMES = (JOURNAL_FILE, f"{JOURNAL_FILE}-wal", "journal.storage.lock", "journal.rebuilt", "snapshot")
FAST_RETRIES = {
    "OCPPCommCtrlr.RetryBackOffWaitMinimum": "1",
    "OCPPCommCtrlr.RetryBackOffRandomRange": "0",
    "SampledDataCtrlr.TxUpdatedInterval": "10",
}
STORE_SETTINGS = StoreSettings(grow_bytes=1 << 20)  # as in the field, more than a log takes up
RUN_S = 240.0


class Original(msgspec.Struct):
    """A journal as a crash leaves it, and what is true of it.

    `waits`: entry that queued it, transactionId and seqNo of each event not yet delivered.
    """

    directory: Path
    entries: list[Entry]
    undelivered: list[tuple[int, str, int]]

    @property
    def head(self) -> int:
        return self.entries[-1].seq


class Aftermath(msgspec.Struct):
    """What became of a station on a damaged journal."""

    complaints: list[str]  # of verify, before
    seq_nos_by_transaction: dict[str, set[int]]  # transactionId to the seqNos that the CSMS has
    ended_transactions: set[str]  # transactions the CSMS knows the end of
    reported_security_events: list[str]  # security events that the CSMS heard of
    logged_security_events: list[str]  # and those in the journal
    new_entries: list[Entry]  # what this life added
    state: State
    run_count: int


def make_original(directory: Path, *, checkpointed: bool = False) -> Original:
    """Make one: most of it in the file (`checkpointed`) or in the log."""
    kept = directory / "original"
    kept.mkdir(parents=True)
    world: SimulatedWorld

    async def script() -> None:
        world.schedule_session(1, ALICE, SimulatedEv(energy_needed_wh=Decimal(9_000)), 60)
        world.schedule_session(2, BOB, SimulatedEv(energy_needed_wh=Decimal(9_000)), 60)
        await trio.sleep(120)
        world.network.switch_mode("down")
        world.schedule_session(2, ALICE, SimulatedEv(energy_needed_wh=Decimal(9_000)), 60)
        await trio.sleep(120)
        world.schedule_session(1, BOB, SimulatedEv(energy_needed_wh=Decimal(90_000)), 9_000)
        await trio.sleep(60)
        life = world.process
        assert life is not None
        if checkpointed:
            life.store.checkpoint()
        for name in NAMES:
            if (world._data_directory / name).exists():
                shutil.copyfile(world._data_directory / name, kept / name)

    async def main() -> None:
        nonlocal world
        world = SimulatedWorld(
            directory / "world", seed=1, variables=FAST_RETRIES, store_settings=STORE_SETTINGS
        )
        await world.run(script)

    run_simulation(main, 1)
    assert list(verify(kept / JOURNAL_FILE)) == []
    with Reader.open(kept / JOURNAL_FILE, event_registry()) as reader:
        entries = list(reader.iter_entries())
    return Original(kept, entries, undelivered_events(entries))


def undelivered_events(entries: Iterable[Entry]) -> list[tuple[int, str, int]]:
    """The transaction events that nobody has confirmed."""
    state, marks = State("5f0c7c6e-3d0b-4b0e-9a51-0d6f1c2b3a49"), {}
    for entry in entries:
        state = apply_entry(state, entry)
        if isinstance(entry.event, CallQueued) and entry.event.transaction_event:
            mark = entry.event.transaction_event
            marks[entry.seq] = (entry.seq, mark.transaction_id, mark.seq_no)
    return [marks[call] for call in state.outbox.transaction]


class SecurityEventWatcher(SimulationObserver):
    """Hears which security events the CSMS is told."""

    def __init__(self) -> None:
        self.reported_types: list[str] = []

    def on_frame_sent(self, connection: SimulatedConnection, text: str) -> None:
        match json.loads(text):
            case [2, _, "SecurityEventNotification", {"type": str(type)}]:
                self.reported_types.append(type)


class DamagedWorld(SimulatedWorld):
    """A world that begins with a file."""

    def set_files(self, files: Path) -> None:
        self._files = files

    def _create_journal(self) -> None:
        self._data_directory.mkdir(parents=True)
        for name in NAMES:
            if (self._files / name).exists():
                # the file itself, not a copy: that would have other sectors
                (self._data_directory / name).hardlink_to(self._files / name)


def run_on_damaged(damaged: Path) -> Aftermath:
    """Let a station live on the files in `damaged`, and change them: it delivers, and charges."""
    complaints = [str(each) for each in verify(damaged / JOURNAL_FILE)]
    found: Aftermath | None = None
    ear = SecurityEventWatcher()
    world: DamagedWorld

    async def script() -> None:
        nonlocal found
        await trio.sleep(30)
        world.unplug_all()
        await trio.sleep(60)
        world.schedule_session(2, ALICE, SimulatedEv(energy_needed_wh=Decimal(9_000)), 60)
        await trio.sleep(RUN_S - 90)
        assert world.process is not None, "the station does not live"
        state = world.process.recorder.state
        ledger = world.csms.double.ledger.transactions
        entries = list(world.process.store.reader.iter_entries(on_damage=lambda _: None))
        boots = [one.seq for one in entries if isinstance(one.event, StationStarted)]
        found = Aftermath(
            complaints=complaints,
            seq_nos_by_transaction={name: set(one.events) for name, one in ledger.items()},
            ended_transactions={
                name for name, one in ledger.items() if one.ended_event is not None
            },
            reported_security_events=ear.reported_types,
            logged_security_events=[
                one.event.type for one in entries if isinstance(one.event, SecurityEventLogged)
            ],
            new_entries=[one for one in entries if one.seq >= boots[-world.process_starts]],
            state=state,
            run_count=world.process_starts,
        )

    async def main() -> None:
        nonlocal world
        world = DamagedWorld(
            damaged / "world",
            seed=2,
            observer=ear,
            variables=FAST_RETRIES,
            store_settings=STORE_SETTINGS,
        )
        world.set_files(damaged)
        await world.run(script)

    run_simulation(main, 2)
    assert found is not None
    return found


def has_charged(aftermath: Aftermath) -> bool:
    """Whether contactors closed in the life on the damaged journal."""
    return any(
        isinstance(one.event, ContactorReported) and one.event.closed
        for one in aftermath.new_entries
    )
