"""The original journal of the damage tests, and the run of a station on a damaged copy.

`make_original` runs the real station in the simulated world and copies its files as a crash would
leave them: finished sessions, a lost link, a running transaction, queued messages.
`run_on_damaged` runs the station on a damaged copy: it must start, deliver and charge.
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

NAMES = (JOURNAL_FILE, f"{JOURNAL_FILE}-wal", "journal.lock", "journal.rebuilt", "snapshot")
FAST_RETRIES = {
    "OCPPCommCtrlr.RetryBackOffWaitMinimum": "1",
    "OCPPCommCtrlr.RetryBackOffRandomRange": "0",
    "SampledDataCtrlr.TxUpdatedInterval": "10",
}
STORE_SETTINGS = StoreSettings(grow_bytes=1 << 20)  # as in the field, larger than the WAL
RUN_S = 240.0


class Original(msgspec.Struct):
    """A journal as a crash leaves it, and its content.

    `undelivered`: number of the queuing entry, transactionId and seqNo of each event that was not
    delivered.
    """

    directory: Path
    entries: list[Entry]
    undelivered: list[tuple[int, str, int]]

    @property
    def head(self) -> int:
        return self.entries[-1].seq


class Aftermath(msgspec.Struct):
    """The result of a station's run on a damaged journal."""

    complaints: list[str]  # of verify, before the run
    seq_nos_by_transaction: dict[str, set[int]]  # transactionId: seqNos that the CSMS received
    ended_transactions: set[str]  # transactions of which the CSMS received the end
    reported_security_events: list[str]  # security events that the CSMS received
    logged_security_events: list[str]  # security events in the journal
    new_entries: list[Entry]  # added by this run
    state: State
    run_count: int


def make_original(directory: Path, *, checkpointed: bool = False) -> Original:
    """Make the original journal: most entries in the file (`checkpointed`) or in the log."""
    copy = directory / "original"
    copy.mkdir(parents=True)
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
        process = world.process
        assert process is not None
        if checkpointed:
            process.store.checkpoint()
        for name in NAMES:
            if (world._data_directory / name).exists():
                shutil.copyfile(world._data_directory / name, copy / name)

    async def main() -> None:
        nonlocal world
        world = SimulatedWorld(
            directory / "world", seed=1, variables=FAST_RETRIES, store_settings=STORE_SETTINGS
        )
        await world.run(script)

    run_simulation(main, 1)
    assert list(verify(copy / JOURNAL_FILE)) == []
    with Reader.open(copy / JOURNAL_FILE, event_registry()) as reader:
        entries = list(reader.iter_entries())
    return Original(copy, entries, undelivered_events(entries))


def undelivered_events(entries: Iterable[Entry]) -> list[tuple[int, str, int]]:
    """The transaction events without a response of the CSMS."""
    state, marks = State("5f0c7c6e-3d0b-4b0e-9a51-0d6f1c2b3a49"), {}
    for entry in entries:
        state = apply_entry(state, entry)
        if isinstance(entry.event, CallQueued) and entry.event.transaction_event:
            mark = entry.event.transaction_event
            marks[entry.seq] = (entry.seq, mark.transaction_id, mark.seq_no)
    return [marks[call] for call in state.outbox.transaction]


class SecurityEventWatcher(SimulationObserver):
    """Collects the security events sent to the CSMS."""

    def __init__(self) -> None:
        self.reported_types: list[str] = []

    def on_frame_sent(self, connection: SimulatedConnection, text: str) -> None:
        match json.loads(text):
            case [2, _, "SecurityEventNotification", {"type": str(type)}]:
                self.reported_types.append(type)


class DamagedWorld(SimulatedWorld):
    """A simulated world that starts with the files of a journal."""

    def set_files(self, files: Path) -> None:
        self._files = files

    def _create_journal(self) -> None:
        self._data_directory.mkdir(parents=True)
        for name in NAMES:
            if (self._files / name).exists():
                # the file itself: a copy would have other sectors
                (self._data_directory / name).hardlink_to(self._files / name)


def run_on_damaged(damaged: Path) -> Aftermath:
    """Run a station on the files in `damaged`, which it changes: it delivers, and charges."""
    complaints = [str(complaint) for complaint in verify(damaged / JOURNAL_FILE)]
    aftermath: Aftermath | None = None
    watcher = SecurityEventWatcher()
    world: DamagedWorld

    async def script() -> None:
        nonlocal aftermath
        await trio.sleep(30)
        world.unplug_all()
        await trio.sleep(60)
        world.schedule_session(2, ALICE, SimulatedEv(energy_needed_wh=Decimal(9_000)), 60)
        await trio.sleep(RUN_S - 90)
        assert world.process is not None, "the station is not running"
        state = world.process.recorder.state
        ledger = world.csms.double.ledger.transactions
        entries = list(world.process.store.reader.iter_entries(on_damage=lambda _: None))
        boots = [entry.seq for entry in entries if isinstance(entry.event, StationStarted)]
        aftermath = Aftermath(
            complaints=complaints,
            seq_nos_by_transaction={
                transaction_id: set(account.events) for transaction_id, account in ledger.items()
            },
            ended_transactions={
                transaction_id
                for transaction_id, account in ledger.items()
                if account.ended_event is not None
            },
            reported_security_events=watcher.reported_types,
            logged_security_events=[
                entry.event.type
                for entry in entries
                if isinstance(entry.event, SecurityEventLogged)
            ],
            new_entries=[entry for entry in entries if entry.seq >= boots[-world.process_starts]],
            state=state,
            run_count=world.process_starts,
        )

    async def main() -> None:
        nonlocal world
        world = DamagedWorld(
            damaged / "world",
            seed=2,
            observer=watcher,
            variables=FAST_RETRIES,
            store_settings=STORE_SETTINGS,
        )
        world.set_files(damaged)
        await world.run(script)

    run_simulation(main, 2)
    assert aftermath is not None
    return aftermath


def has_charged(aftermath: Aftermath) -> bool:
    """Whether contactors closed in the run on the damaged journal."""
    return any(
        isinstance(entry.event, ContactorReported) and entry.event.closed
        for entry in aftermath.new_entries
    )
