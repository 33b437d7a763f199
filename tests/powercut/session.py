"""What does the recorded station do?

`python -m tests.powercut.session DATA LIFE [OPTION...]`: one life of a station on a real journal,
watched by `recording`. It boots, sells energy offline, is killed, comes back, delivers, is closed
in good order, comes back again, sells to a second person and forgets the first. Snapshots and
checkpoints come at their worst: in the middle of a transaction.

It says what it has acknowledged, and to whom, in the file `said` beside the data directory.
"""

from __future__ import annotations

import json
import os
import random
import sys
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, cast

from journal import retention, segments, snapshots, store
from journal.retention import Limits, Moved, archive
from journal.segments import Segment
from journal.state import State
from journal.store import Store, StoreSettings
from journal.terms import Decision, Entry, IdToken, Observation
from station.case import Product
from station.decide import judge
from station.runtime.memory import Memory
from station.wanted import wanted
from tests.powercut.syscalls import trace_me
from tests.story import (
    CONFIGURED,
    IDLE,
    LINK_LOST,
    LINK_OPENED,
    Csms,
    Json,
    Station,
    Step,
    accepting,
    after,
    called,
    charging,
    contactor,
    discharged,
    plugged,
    presented,
    product,
    read,
    restarted,
    serves,
    several,
    unplugged,
)

JOURNAL_ID: Final = uuid.UUID("7f0c5b0e-6b5e-4d53-9c3a-0a2c6ad1c9f1")
GROW_BYTES: Final = (
    96 << 10
)  # of log: room for about 23 pages, so that it is used up and begun anew
SEGMENT_ENTRIES: Final = 96
AT_ONCE: Final = 40  # of them leave in one commit, so that it takes three
ALICE_UID, BOB_UID = "04A224B2C3D4E5", "04B224B2C3D4E5"
Say = Callable[..., None]


class Continuing(Station):
    """A station with a journal, which it goes on from. What it decides it commits first. P3."""

    def __init__(self, of: Product, entries: list[Entry], state: State) -> None:
        super().__init__(of)
        self.entries, self.state = entries, state
        if entries:
            self.uptime_ms = entries[-1].uptime_ms
            self.host_at = entries[-1].at
            self.level = wanted(of, state, entries[-1])

    def commit(self, entries: list[Entry]) -> None:
        """Put one observation and its decisions on the disk."""
        raise NotImplementedError

    def judged(self, observation: Observation) -> list[Decision]:
        entry = Entry(len(self.entries) + 1, self.at, self.uptime_ms, observation)
        entries, state = judge(self.product, self.state, entry)
        self.commit(entries)
        self.entries += entries
        self.state = state
        self.level = wanted(self.product, state, entries[-1])
        return [cast(Decision, settled.event) for settled in entries[1:]]


class Recorded(Continuing):
    """A station on a real journal that says what it does."""

    def __init__(self, memory: Memory, data: Path, say: Say, *, hasty: bool) -> None:
        super().__init__(product(), list(memory.store.reader.entries()), memory.state)
        self.memory, self.data, self.say = memory, data, say
        self._hasty = hasty

    def commit(self, entries: list[Entry]) -> None:
        last = entries[-1].seq
        self.say(began=last)
        if self._hasty:
            self.say(acknowledged=last)
        self.memory.store.append(entries)
        self.say(acknowledged=last)

    def person(self, uid: str) -> IdToken:
        token = self.memory.store.refer("ISO14443", uid)
        self.say(person=token.ref, uid=uid)
        return token

    def csms(self, action: str, payload: Json) -> Json | None:
        """Takes everything in."""
        if action == "TransactionEvent":
            self.say(took=payload)
        return accepting(action, payload)


def shows(uid: str, evse_id: int | None = None) -> Step:
    return lambda station: station.when(presented(_on(station).person(uid), evse_id=evse_id))


def _on(station: Station) -> Recorded:
    assert isinstance(station, Recorded)
    return station


def _delivers(station: Station) -> list[Decision]:
    return station.served(_on(station).csms)


def _checkpoint(station: Station) -> list[Decision]:
    assert _on(station).memory.store.checkpoint()
    return []


def _snapshot(station: Station) -> list[Decision]:
    here = _on(station)
    here.say(saving=len(here.entries))
    here.memory.snapshot(here.memory.store.head, here.state)
    here.say(saved=len(here.entries))
    return []


def _archives(station: Station) -> list[Decision]:
    """What is settled leaves the file, a little at a time, with a snapshot before."""
    here = _on(station)
    here.say(archiving=True)

    def before() -> None:
        _snapshot(station)

    moved = archive(
        here.memory.store,
        here.data / "journal.db",
        Limits.of(here.state, len(here.entries), here.at),
        worth=False,
        entries=SEGMENT_ENTRIES,
        before=before,
    )
    assert moved, "there is nothing to archive"
    here.say(archived=moved.segment.last)
    return []


def _killed(station: Station) -> list[Decision]:
    """The process dies in its next commit, after the writes, before the sync."""
    _on(station).say(dies=True)
    return station.when(read(1, "5600"))


def _forgets_alice(station: Station) -> list[Decision]:
    here = _on(station)
    ref = here.memory.store.refer("ISO14443", ALICE_UID).ref
    here.say(forgetting=ref)
    assert here.memory.store.forget(ref)
    here.say(forgot=ref)
    return []


def _remote_start(station: Station) -> list[Decision]:
    bob = _on(station).person(BOB_UID)
    token = {"idToken": bob.ref, "type": bob.type}
    return station.when(
        called("RequestStartTransaction", remoteStartId=17, evseId=2, idToken=token)
    )


LIVES: Final[dict[str, Step]] = {
    "first": several(
        CONFIGURED,
        restarted(),
        IDLE,
        LINK_OPENED,
        _delivers,
        shows(ALICE_UID, evse_id=1),
        _delivers,
        shows(ALICE_UID),
        _snapshot,
        LINK_LOST,
        after(seconds=90),
        plugged(1),
        shows(ALICE_UID),
        charging(1),
        _checkpoint,
        after(seconds=61),
        read(1, "3000", power_w="120000"),
        _snapshot,
        after(seconds=61),
        read(1, "5000", power_w="120000"),
        _killed,
    ),
    "second": several(
        restarted(boot_id="boot-2", gap_s=40),
        contactor(1, closed=False),
        contactor(2, closed=False),
        plugged(1),
        read(1, "5600"),
        unplugged(2),
        charging(1),
        _snapshot,
        LINK_OPENED,
        _delivers,
        _checkpoint,
        after(seconds=30),
        read(1, "7000", power_w="120000"),
        LINK_LOST,
        _snapshot,
    ),
    "third": several(
        restarted(boot_id="boot-2"),
        contactor(1, closed=False),
        contactor(2, closed=False),
        plugged(1),
        unplugged(2),
        read(1, "7000"),
        charging(1),
        LINK_OPENED,
        _delivers,
        _checkpoint,
        shows(ALICE_UID),
        read(1, "8000"),
        discharged(1),
        unplugged(1),
        _delivers,
        _remote_start,
        _delivers,
        plugged(2),
        charging(2),
        _delivers,
        _archives,
        _forgets_alice,
        read(2, "4000"),
        after(seconds=60),
        _checkpoint,
        _snapshot,
        called("RequestStopTransaction", transactionId="nobody's"),
        discharged(2),
        unplugged(2),
        _delivers,
        _archives,
        _archives,
        LINK_LOST,
        _snapshot,
    ),
}


def finishing(entries: list[Entry], csms: Csms) -> Step:
    """The power is back: whatever was open ends, and somebody else is sold energy."""
    first: tuple[Step, ...] = () if entries else (CONFIGURED,)
    return several(
        *first,
        restarted(boot_id="boot-9", gap_s=20),
        *(contactor(evse_id, closed=False) for evse_id in (1, 2)),
        *(read(evse_id, "20000") for evse_id in (1, 2)),
        *(unplugged(evse_id) for evse_id in (1, 2)),
        LINK_OPENED,
        serves(csms),
        plugged(1),
        presented(IdToken("#carol", "ISO14443"), evse_id=1),
        serves(csms),
        charging(1),
        read(1, "21000"),
        discharged(1),
        unplugged(1),
        serves(csms),
    )


# --- Programs with a fault, which a sweep must notice --------------------------------------------


def _without_synchronous() -> None:
    writable = store._writable

    def careless(path: Path, settings: StoreSettings) -> Any:
        connection = writable(path, settings)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    store._writable = careless


def _without_snapshot_sync() -> None:
    def replace(path: Path, *content: bytes) -> None:
        fresh = path.with_name(f"{path.name}.new")
        fresh.write_bytes(b"".join(content))
        fresh.replace(path)

    snapshots._replace = replace


def _links_a_file() -> None:
    """Not a fault, but nothing the model of the disk knows."""
    replace = snapshots._replace

    def linking(path: Path, *content: bytes) -> None:
        replace(path, *content)
        path.with_name("another").hardlink_to(path)

    snapshots._replace = linking


def _without_segment_sync() -> None:
    def written(path: Path, blocks: Iterable[bytes]) -> None:
        path.write_bytes(b"".join(blocks))

    setattr(retention, "written", written)  # noqa: B010  # mypy knows it as another's


def _without_a_segment() -> None:
    """The entries leave before they are anywhere else."""
    truly = retention._retired

    def retired(store: Store, segment: Segment, gone: int, size: int) -> Moved:
        content = segment.path.read_bytes()
        segment.path.unlink()
        moved = truly(store, segment, gone, size)
        segments.written(segment.path, [content])
        return moved

    retention._retired = retired


FAULTS: Final[dict[str, Callable[[], None]]] = {
    "synchronous_off": _without_synchronous,
    "snapshot_unsynced": _without_snapshot_sync,
    "segment_unsynced": _without_segment_sync,
    "entries_leave_before_the_segment_is_there": _without_a_segment,
}
ARCHIVE_FAULTS: Final = frozenset({"segment_unsynced", "entries_leave_before_the_segment_is_there"})
PATCHES: Final = {**FAULTS, "links_a_file": _links_a_file}
HASTY: Final = "acknowledged_before_commit"
NO_POWERSAFE_OVERWRITE: Final = "no_powersafe_overwrite"


def main(data: Path, life: str, *options: str) -> None:
    said = os.open(data.parent / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(**what: Any) -> None:
        os.write(said, json.dumps(what).encode() + b"\n")

    for option in PATCHES.keys() & set(options):
        PATCHES[option]()
    settings = StoreSettings(
        grow_bytes=GROW_BYTES, powersafe_overwrite=NO_POWERSAFE_OVERWRITE not in options
    )
    uuid.uuid4 = lambda: JOURNAL_ID
    retention.AT_ONCE = AT_ONCE  # type: ignore[misc]
    product()  # read its files before anybody watches
    trace_me()
    memory = Memory(data, settings, entropy=random.Random(life).randbytes)
    station = Recorded(memory, data, say, hasty=HASTY in options)
    if station.entries:
        say(acknowledged=len(station.entries))
    station.when(LIVES[life])
    memory.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
