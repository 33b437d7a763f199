"""Keeps a further golden journal, or compares today's results with those that are pinned.

    python -m tests.durability.golden.journals keep NAME JOURNAL   of any station that is stopped
    python -m tests.durability.golden.journals world NAME SEED     of a simulated one
    python -m tests.durability.golden.journals story NAME          of a story of `sessions.STORIES`
    python -m tests.durability.golden.journals examples NAME       an entry of each missing kind
    python -m tests.durability.golden.journals check               are today's results as pinned?

A golden journal is never overwritten.
"""

from __future__ import annotations

import gzip
import logging
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from journal.events import Entry, Event, Observation
from journal.observations import MeterRead, StationStarted
from journal.state import encode_state
from journal.storage.connection import StoreSettings
from journal.storage.reader import Reader
from journal.storage.store import Store
from station import RELEASE
from tests.durability.golden import example_event, station_kinds
from tests.durability.golden.journals import (
    HOME,
    complaints_of,
    compute_pins,
    decision_differences,
    event_kinds_in,
    journal_names,
    replay_state,
    unpack_journal,
)
from tests.support.story import JOURNAL_ID, NOON


def keep_journal(name: str, journal: str) -> int:
    """Keep the journal at a path, or of a data directory."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "journal.db"
        source = Path(journal) / "journal.db" if Path(journal).is_dir() else Path(journal)
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(path)) as new:
            old.backup(new)  # one file, without a log beside it
        return _store_golden_journal(name, path)


def keep_world(name: str, seed: str) -> int:
    """Keep the journal of a simulated world."""
    from station.simulation.run_plan import PlanRun
    from station.simulation.seeds import make_plan
    from station.simulation.world import run_simulation

    with tempfile.TemporaryDirectory() as directory:
        plan = make_plan(int(seed))
        trial = PlanRun(plan, Path(directory) / "world")
        run_simulation(trial.run_world, plan.seed)
        path = Path(directory) / "journal.db"
        with trial.world.open_final_journal() as store:
            _copy_database(store, path)
        return _store_golden_journal(name, path)


def _copy_database(store: Store, path: Path) -> None:
    with closing(sqlite3.connect(path)) as new:
        store.reader.connection.backup(new)


def keep_story(name: str) -> int:
    """Keep the journal of a story that is decided without a runtime."""
    from tests.durability.golden.journals.sessions import STORIES

    if name not in STORIES:
        print(f"there is no story {name}; there are {', '.join(STORIES)}")
        return 2
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "journal.db"
        _write_journal(path, STORIES[name]().entries)
        return _store_golden_journal(name, path)


def _write_journal(path: Path, entries: list[Entry]) -> None:
    settings = StoreSettings(grow_bytes=0)
    with Store.open(
        path, station_kinds(), journal_id_if_new=JOURNAL_ID, settings=settings
    ) as store:
        store.append(entries)


def keep_examples(name: str) -> int:
    """Keep a journal of example entries, one for each kind that no golden journal contains."""
    kinds = list(_uncovered_kinds())
    if not kinds:
        print("the golden journals contain every kind")
        return 1
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "journal.db"
        _write_journal(path, list(_example_entries(kinds)))
        return _store_golden_journal(name, path, was_decided=False)


def _uncovered_kinds() -> Iterator[type[Event]]:
    covered: set[type[Event]] = set()
    for name in journal_names():
        with _open_golden_journal(name) as reader:
            covered |= event_kinds_in(reader)
    yield from (kind for kind in station_kinds().kinds.values() if kind not in covered)


def _example_entries(kinds: list[type[Event]]) -> Iterator[Entry]:
    """A start, a reading, then an entry of each kind; decisions have the reading as their cause."""
    yield Entry(1, NOON, 60_000, example_event(StationStarted))
    yield Entry(2, NOON, 60_000, example_event(MeterRead))
    for seq, kind in enumerate(sorted(kinds, key=lambda kind: issubclass(kind, Observation)), 3):
        cause = None if issubclass(kind, Observation) else 2
        yield Entry(seq, NOON, 60_000, example_event(kind), cause)


def _store_golden_journal(name: str, path: Path, *, was_decided: bool = True) -> int:
    files = [HOME / f"{name}{end}" for end in (".db.gz", ".state.json.gz", ".json")]
    if any(file.exists() for file in files):
        print(f"{name} exists and is never overwritten")
        return 1
    with Reader.open(path, station_kinds()) as reader:
        if was_decided and (differences := decision_differences(reader)):
            print(f"{name}: not of this release: {differences[0]}")
            return 1
        pins = compute_pins(reader, RELEASE, was_decided=was_decided)
        state = encode_state(replay_state(reader))
    for file, data in zip(files, (path.read_bytes(), state), strict=False):
        file.write_bytes(gzip.compress(data, mtime=0))
    files[2].write_bytes(msgspec.json.format(msgspec.json.encode(pins), indent=2) + b"\n")
    size = sum(file.stat().st_size for file in files)
    print(f"{name}: {pins.head}, {pins.frames} frames, {size} bytes")
    return 0


@contextmanager
def _open_golden_journal(name: str) -> Iterator[Reader]:
    with (
        tempfile.TemporaryDirectory() as directory,
        Reader.open(unpack_journal(name, Path(directory)), station_kinds()) as reader,
    ):
        yield reader


def check_journals() -> int:
    """Compare the results of each with the pinned ones; exit code 1 on a difference."""
    differing = 0
    for name in journal_names():
        with tempfile.TemporaryDirectory() as directory:
            complaints = list(complaints_of(name, Path(directory)))
        differing += bool(complaints)
        print(f"{name}: {complaints[0] if complaints else 'as pinned'}")
    python = sys.version.split()[0]
    print(f"Python {python}: {len(journal_names())} journals, {differing} with differences")
    return min(differing, 1)


VERBS: Final[dict[str, Callable[..., int]]] = {
    "keep": keep_journal,
    "world": keep_world,
    "story": keep_story,
    "examples": keep_examples,
    "check": check_journals,
}


def main(arguments: list[str]) -> int:
    """Run the command line; exit code 2 for wrong usage."""
    verb = VERBS.get(arguments[0]) if arguments else None
    if verb is None or len(arguments) - 1 != verb.__code__.co_argcount:
        print(__doc__)
        return 2
    return verb(*arguments[1:])


if __name__ == "__main__":
    logging.disable()  # the stations of a world log much
    sys.exit(main(sys.argv[1:]))
