"""Keep another journal for ever, or compare what follows from those that are kept.

    python -m tests.durability.golden.journals keep NAME JOURNAL   of any station that is stopped
    python -m tests.durability.golden.journals world NAME SEED     of a simulated one
    python -m tests.durability.golden.journals story NAME          one of `render_sessions.STORIES`
    python -m tests.durability.golden.journals examples NAME       with an entry of each kind that none has
    python -m tests.durability.golden.journals check               what follows today, as it is pinned?

A journal that is kept is never written over.
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
    """Keep the journal that lies there."""
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
    """Keep the journal of a session that only the judgement saw."""
    from tests.durability.golden.journals.sessions import STORIES

    if name not in STORIES:
        print(f"no story is called {name}; there are {', '.join(STORIES)}")
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
    """Keep a journal of made-up entries, one for each kind that is in no other."""
    kinds = list(_uncovered_kinds())
    if not kinds:
        print("every kind is in one of them")
        return 1
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "journal.db"
        _write_journal(path, list(_example_entries(kinds)))
        return _store_golden_journal(name, path, was_decided=False)


def _uncovered_kinds() -> Iterator[type[Event]]:
    known: set[type[Event]] = set()
    for name in journal_names():
        with _open_golden_journal(name) as reader:
            known |= event_kinds_in(reader)
    yield from (kind for kind in station_kinds().kinds.values() if kind not in known)


def _example_entries(kinds: list[type[Event]]) -> Iterator[Entry]:
    """Each after a start; decisions as if made because of a reading."""
    yield Entry(1, NOON, 60_000, example_event(StationStarted))
    yield Entry(2, NOON, 60_000, example_event(MeterRead))
    for seq, kind in enumerate(sorted(kinds, key=lambda kind: issubclass(kind, Observation)), 3):
        cause = None if issubclass(kind, Observation) else 2
        yield Entry(seq, NOON, 60_000, example_event(kind), cause)


def _store_golden_journal(name: str, path: Path, *, was_decided: bool = True) -> int:
    files = [HOME / f"{name}{end}" for end in (".db.gz", ".state.json.gz", ".json")]
    if any(file.exists() for file in files):
        print(f"{name} is kept already, and never written over")
        return 1
    with Reader.open(path, station_kinds()) as reader:
        if was_decided and (found := decision_differences(reader)):
            print(f"{name}: not of this release: {found[0]}")
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
    """Say what follows from each today; exit code 1 if it is not what is pinned."""
    wrong = 0
    for name in journal_names():
        with tempfile.TemporaryDirectory() as directory:
            complaints = list(complaints_of(name, Path(directory)))
        wrong += bool(complaints)
        print(f"{name}: {complaints[0] if complaints else 'as it was'}")
    print(f"Python {sys.version.split()[0]}: {len(journal_names())} journals, {wrong} otherwise")
    return min(wrong, 1)


VERBS: Final[dict[str, Callable[..., int]]] = {
    "keep": keep_journal,
    "world": keep_world,
    "story": keep_story,
    "examples": keep_examples,
    "check": check_journals,
}


def main(arguments: list[str]) -> int:
    """The command line; exit code 2 for what cannot be meant."""
    verb = VERBS.get(arguments[0]) if arguments else None
    if verb is None or len(arguments) - 1 != verb.__code__.co_argcount:
        print(__doc__)
        return 2
    return verb(*arguments[1:])


if __name__ == "__main__":
    logging.disable()  # the stations of a world have much to say
    sys.exit(main(sys.argv[1:]))
