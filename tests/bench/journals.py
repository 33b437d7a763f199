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

from journal.store import Store
from journal.terms import Entry, Event
from station.runtime.memory import registry
from station.simulation.cars import Ev
from station.simulation.counterpart import ALICE, BOB
from station.simulation.life import SETTINGS
from station.simulation.soak import VARIABLES
from station.simulation.world import JOURNAL_ID, World, shared_memory, simulate

SETTLES_S: Final = 120.0  # until what boots, or leaves, is told
STAYS_S: Final = 3_000.0
BATCH: Final = 5_000  # entries in a commit: it is about the length, not the disk
NUMBERS: Final = ("call", "granted_seq", "update", "seq", "inquiry")  # fields that name entries


class Template(msgspec.Struct, frozen=True):
    """What a station writes: at the beginning, and then in an hour with two cars."""

    first: tuple[Entry, ...]
    hour: tuple[Entry, ...]


@cache
def template() -> Template:
    """Simulated once in a process."""
    ends: list[int] = []

    async def main() -> None:
        world = World(Path(directory), seed=0, variables=VARIABLES)
        await world.run(partial(_an_hour, world, ends))
        with world.ended() as store:
            entries.extend(store.reader.entries(1, ends[1]))

    entries: list[Entry] = []
    with TemporaryDirectory(dir=shared_memory(), prefix="bench-") as directory:
        simulate(main, 0)
    begins, _ = ends
    return Template(
        tuple(entries[:begins]),
        tuple(entries[begins:]),
    )


async def _an_hour(world: World, ends: list[int]) -> None:
    """Let it boot, then let two cars come and go; the entry numbers between."""
    await trio.sleep(SETTLES_S)
    life = world.life
    assert life is not None
    ends.append(life.scribe.head.seq)
    for evse_id, uid in zip(world.bays, (ALICE, BOB), strict=True):
        world.session(evse_id, uid, Ev(power_w=22_000), STAYS_S)
    await trio.sleep(STAYS_S + SETTLES_S)
    ends.append(life.scribe.head.seq)
    assert len(life.scribe.state.outbox) == 0, "the hour ends with something to tell"


def hours() -> Iterator[Entry]:
    """Entries without end: a beginning, and one hour like the other."""
    kept = template()
    yield from kept.first
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
                _moved(entry.event, numbers, turn * length),
                None if entry.cause is None else entry.cause + turn * length,
            )
        turn += 1


def _moved(event: Event, numbers: range, by: int) -> Event:
    """The event as it would be so many entries later."""
    changes: dict[str, Any] = {
        name: value + by
        for name in NUMBERS
        if isinstance(value := getattr(event, name, None), int) and value in numbers
    }
    mark = getattr(event, "transaction", None)
    if mark is not None and getattr(mark, "granted_seq", 0) in numbers:
        changes["transaction"] = replace(mark, granted_seq=mark.granted_seq + by)
    if calls := getattr(event, "calls", ()):
        changes["calls"] = tuple(one + by if one in numbers else one for one in calls)
    return replace(event, **changes) if changes else event


def written(directory: Path, entries: int) -> Path:
    """A journal of so many entries in a data directory; its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "journal.db"
    source = hours()
    with Store.open(path, registry(), journal_id_if_new=JOURNAL_ID, settings=SETTINGS) as store:
        while store.head.seq < entries:
            batch = [next(source) for _ in range(min(BATCH, entries - store.head.seq))]
            store.append(batch)
            if store.checkpoint_due:
                store.checkpoint()
    return path
