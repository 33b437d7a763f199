"""Where does a journal of a million entries come from, in seconds?

A station works for some hours of a simulated world; what it wrote between two quiet moments is then
appended again and again by the journal's own code, with numbers and times moved on.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec
import trio
from msgspec.structs import replace

from journal.events import Entry, Event
from journal.storage.store import Store
from station.runtime.loop.startup import event_registry
from station.simulation.evse_double import SimulatedEv
from station.simulation.experiments.soak import VARIABLES
from station.simulation.faulty_csms import ALICE, BOB
from station.simulation.station_process import STORE_SETTINGS
from station.simulation.world import (
    JOURNAL_ID,
    SimulatedWorld,
    run_simulation,
    shared_memory_directory,
)

SETTLE_S: Final = 120.0  # until what boots, or leaves, is told
SESSION_S: Final = 3_000.0
BATCH: Final = 5_000  # entries in a commit: it is about the length, not the disk
ENTRY_NUMBER_FIELDS: Final = (
    "call_seq",
    "authorization_seq",
    "update_seq",
    "seq",
    "request_seq",
)  # fields that name entries


class Template(msgspec.Struct, frozen=True):
    """What a station writes: at the beginning, and then in an hour with two cars."""

    opening: tuple[Entry, ...]
    hour: tuple[Entry, ...]


@cache
def simulated_template() -> Template:
    """Simulated once in a process."""
    ends: list[int] = []

    async def main() -> None:
        world = SimulatedWorld(Path(directory), seed=0, variables=VARIABLES)
        await world.run(partial(_simulate_hour, world, ends))
        with world.open_final_journal() as store:
            entries.extend(store.reader.iter_entries(1, ends[1]))

    entries: list[Entry] = []
    with TemporaryDirectory(dir=shared_memory_directory(), prefix="bench-") as directory:
        run_simulation(main, 0)
    begins, _ = ends
    return Template(
        tuple(entries[:begins]),
        tuple(entries[begins:]),
    )


async def _simulate_hour(world: SimulatedWorld, ends: list[int]) -> None:
    """Let it boot, then let two cars come and go; the entry numbers between."""
    await trio.sleep(SETTLE_S)
    life = world.process
    assert life is not None
    ends.append(life.recorder.head.seq)
    for evse_id, uid in zip(world.evses, (ALICE, BOB), strict=True):
        world.schedule_session(evse_id, uid, SimulatedEv(power_w=22_000), SESSION_S)
    await trio.sleep(SESSION_S + SETTLE_S)
    ends.append(life.recorder.head.seq)
    assert len(life.recorder.state.outbox) == 0, "the hour ends with something to tell"


def endless_entries() -> Iterator[Entry]:
    """Entries without end: a beginning, and one hour like the other."""
    kept = simulated_template()
    yield from kept.opening
    length = len(kept.hour)
    lasts = kept.hour[-1].at - kept.hour[0].at + timedelta(minutes=5)
    lasts_ms = lasts // timedelta(milliseconds=1)
    numbers, turn = range(kept.hour[0].seq, kept.hour[-1].seq + 1), 0
    while True:
        for entry in kept.hour:
            yield Entry(
                entry.seq + turn * length,
                entry.at + turn * lasts,
                entry.uptime_ms + turn * lasts_ms,
                _shift_entry_numbers(entry.event, numbers, turn * length),
                None if entry.cause is None else entry.cause + turn * length,
            )
        turn += 1


def _shift_entry_numbers(event: Event, numbers: range, offset: int) -> Event:
    """The event as it would be so many entries later."""
    changes: dict[str, Any] = {
        name: value + offset
        for name in ENTRY_NUMBER_FIELDS
        if isinstance(value := getattr(event, name, None), int) and value in numbers
    }
    mark = getattr(event, "transaction_event", None)
    if mark is not None and getattr(mark, "authorization_seq", 0) in numbers:
        changes["transaction_event"] = replace(
            mark, authorization_seq=mark.authorization_seq + offset
        )
    if calls := getattr(event, "call_seqs", ()):
        changes["call_seqs"] = tuple(one + offset if one in numbers else one for one in calls)
    return replace(event, **changes) if changes else event


def write_journal(directory: Path, entries: int) -> Path:
    """A journal of so many entries in a data directory; its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "journal.db"
    source = endless_entries()
    with Store.open(
        path, event_registry(), journal_id_if_new=JOURNAL_ID, settings=STORE_SETTINGS
    ) as store:
        while store.head.seq < entries:
            batch = [next(source) for _ in range(min(BATCH, entries - store.head.seq))]
            store.append(batch)
            if store.is_checkpoint_due:
                store.checkpoint()
    return path
