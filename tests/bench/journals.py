"""Journals of a million entries, written in seconds.

A station runs for an hour of a simulation. The entries between two quiet moments are appended
repeatedly by the journal's own code, with shifted numbers and times.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec
import trio
from msgspec.structs import replace

from journal.events import Entry, Event
from journal.observations import MeterRead
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

SETTLE_S: Final = 120.0  # until everything of a boot, or of a session, is delivered
SESSION_S: Final = 3_000.0
BATCH: Final = 5_000  # entries in a commit: the length matters here, not the disk
ENTRY_NUMBER_FIELDS: Final = (
    "call_seq",
    "authorization_seq",
    "update_seq",
    "seq",
    "request_seq",
)  # fields that name entries


class Template(msgspec.Struct, frozen=True):
    """The entries of a boot, and of an hour with two EVs."""

    opening: tuple[Entry, ...]
    hour: tuple[Entry, ...]


@cache
def simulated_template() -> Template:
    """The template, simulated once in a process."""
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
    """Boot, then one session at each EVSE; appends the entry numbers before and after to `ends`."""
    await trio.sleep(SETTLE_S)
    process = world.process
    assert process is not None
    ends.append(process.recorder.head.seq)
    for evse_id, uid in zip(world.evses, (ALICE, BOB), strict=True):
        world.schedule_session(evse_id, uid, SimulatedEv(power_w=22_000), SESSION_S)
    await trio.sleep(SESSION_S + SETTLE_S)
    ends.append(process.recorder.head.seq)
    assert len(process.recorder.state.outbox) == 0, "the hour ends with undelivered calls"


def endless_entries() -> Iterator[Entry]:
    """Entries without end: the opening, then the same hour repeatedly."""
    template = simulated_template()
    yield from template.opening
    length = len(template.hour)
    duration = template.hour[-1].at - template.hour[0].at + timedelta(minutes=5)
    duration_ms = duration // timedelta(milliseconds=1)
    numbers, repetition = range(template.hour[0].seq, template.hour[-1].seq + 1), 0
    hourly_wh = _energies_of(template.hour)
    while True:
        energy_wh = {evse_id: repetition * each for evse_id, each in hourly_wh.items()}
        for entry in template.hour:
            yield Entry(
                entry.seq + repetition * length,
                entry.at + repetition * duration,
                entry.uptime_ms + repetition * duration_ms,
                _shift_event(entry.event, numbers, repetition * length, energy_wh),
                None if entry.cause is None else entry.cause + repetition * length,
            )
        repetition += 1


def _energies_of(hour: tuple[Entry, ...]) -> dict[int, Decimal]:
    """The energy that each EVSE's meter counts in the hour."""
    registers: dict[int, list[Decimal]] = {}
    for entry in hour:
        if isinstance(entry.event, MeterRead):
            registers.setdefault(entry.event.evse_id, []).append(entry.event.energy_wh)
    return {evse_id: each[-1] - each[0] for evse_id, each in registers.items()}


def _shift_event(event: Event, numbers: range, offset: int, energy_wh: dict[int, Decimal]) -> Event:
    """The event of a later hour: entry numbers in `numbers`, and registers by EVSE, are higher."""
    changes: dict[str, Any] = {
        name: value + offset
        for name in ENTRY_NUMBER_FIELDS
        if isinstance(value := getattr(event, name, None), int) and value in numbers
    }
    if isinstance(event, MeterRead):
        changes["energy_wh"] = event.energy_wh + energy_wh[event.evse_id]
    summary = getattr(event, "transaction_event", None)
    if summary is not None and getattr(summary, "authorization_seq", 0) in numbers:
        changes["transaction_event"] = replace(
            summary, authorization_seq=summary.authorization_seq + offset
        )
    if calls := getattr(event, "call_seqs", ()):
        changes["call_seqs"] = tuple(call + offset if call in numbers else call for call in calls)
    return replace(event, **changes) if changes else event


def write_journal(directory: Path, entries: int) -> Path:
    """Write a journal of this length into a data directory; returns its path."""
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
