"""What does the recorded station do?

`python -m tests.durability.powercut.session DATA LIFE [OPTION...]`: one life of a station on a real journal,
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

from journal.events import Decision, Entry, IdToken, Observation
from journal.format.segments import Segment
from journal.maintenance import retention
from journal.maintenance.retention import ArchiveResult, RetentionLimits, archive_oldest_entries
from journal.state import State
from journal.storage import atomic_file, connection, schema, snapshots, store
from journal.storage.connection import StoreSettings
from journal.storage.store import Store
from station.core.context import Product
from station.core.decide import decide
from station.core.desired import compute_desired_state
from station.runtime.loop.startup import Startup
from tests.durability.powercut.syscalls import trace_me
from tests.support.story import (
    CONFIGURED,
    IDLE,
    LINK_LOST,
    LINK_OPENED,
    CsmsBehavior,
    Json,
    Station,
    Step,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    called,
    charging_started,
    charging_stopped,
    contactor_reported,
    csms_answers,
    in_sequence,
    load_product,
    meter_read,
    presented,
    station_restarted,
    time_passed,
)

JOURNAL_ID: Final = uuid.UUID("7f0c5b0e-6b5e-4d53-9c3a-0a2c6ad1c9f1")
GROW_BYTES: Final = (
    96 << 10
)  # of log: room for about 23 pages, so that it is used up and begun anew
SEGMENT_ENTRIES: Final = 96
ENTRIES_PER_COMMIT: Final = 40  # of them leave in one commit, so that it takes three
ALICE_UID, BOB_UID = "04A224B2C3D4E5", "04B224B2C3D4E5"
ReportFunction = Callable[..., None]


class ContinuedStation(Station):
    """A station with a journal, which it goes on from. What it decides it commits first. P3."""

    def __init__(self, product: Product, entries: list[Entry], state: State) -> None:
        super().__init__(product)
        self.entries, self.state = entries, state
        if entries:
            self.uptime_ms = entries[-1].uptime_ms
            self.host_at = entries[-1].at
            self.desired = compute_desired_state(product, state, entries[-1])

    def commit_entries(self, entries: list[Entry]) -> None:
        """Put one observation and its decisions on the disk."""
        raise NotImplementedError

    def decide_observation(self, observation: Observation) -> list[Decision]:
        entry = Entry(len(self.entries) + 1, self.at, self.uptime_ms, observation)
        entries, state = decide(self.product, self.state, entry)
        self.commit_entries(entries)
        self.entries += entries
        self.state = state
        self.desired = compute_desired_state(self.product, state, entries[-1])
        return [cast(Decision, settled.event) for settled in entries[1:]]


class RecordedStation(ContinuedStation):
    """A station on a real journal that says what it does."""

    def __init__(
        self, memory: Startup, data: Path, report: ReportFunction, *, acknowledges_early: bool
    ) -> None:
        super().__init__(load_product(), list(memory.store.reader.iter_entries()), memory.state)
        self.memory, self.data, self.report = memory, data, report
        self._acknowledges_early = acknowledges_early

    def commit_entries(self, entries: list[Entry]) -> None:
        last = entries[-1].seq
        self.report(began=last)
        if self._acknowledges_early:
            self.report(acknowledged=last)
        self.memory.store.append(entries)
        self.report(acknowledged=last)

    def refer_id_token(self, uid: str) -> IdToken:
        token = self.memory.store.reference_for("ISO14443", uid)
        self.report(person=token.ref, uid=uid)
        return token

    def answer_call(self, action: str, payload: Json) -> Json | None:
        """Takes everything in."""
        if action == "TransactionEvent":
            self.report(took=payload)
        return accept_everything(action, payload)


def token_presented(uid: str, evse_id: int | None = None) -> Step:
    return lambda station: station.when(
        presented(_as_recorded(station).refer_id_token(uid), evse_id=evse_id)
    )


def _as_recorded(station: Station) -> RecordedStation:
    assert isinstance(station, RecordedStation)
    return station


def _deliver_calls(station: Station) -> list[Decision]:
    return station.answer_calls(_as_recorded(station).answer_call)


def _run_checkpoint(station: Station) -> list[Decision]:
    assert _as_recorded(station).memory.store.checkpoint()
    return []


def _save_snapshot(station: Station) -> list[Decision]:
    here = _as_recorded(station)
    here.report(saving=len(here.entries))
    here.memory.save_snapshot(here.memory.store.head, here.state)
    here.report(saved=len(here.entries))
    return []


def _archive_entries(station: Station) -> list[Decision]:
    """What is settled leaves the file, a little at a time, with a snapshot before."""
    here = _as_recorded(station)
    here.report(archiving=True)

    def before() -> None:
        _save_snapshot(station)

    moved = archive_oldest_entries(
        here.memory.store,
        here.data / "journal.db",
        RetentionLimits.from_state(here.state, len(here.entries), here.at),
        only_if_worthwhile=False,
        segment_entries=SEGMENT_ENTRIES,
        before_removal=before,
    )
    assert moved, "there is nothing to archive"
    here.report(archived=moved.segment.last_seq)
    return []


def _die_in_commit(station: Station) -> list[Decision]:
    """The process dies in its next commit, after the writes, before the sync."""
    _as_recorded(station).report(dies=True)
    return station.when(meter_read(1, "5600"))


def _erase_alice(station: Station) -> list[Decision]:
    here = _as_recorded(station)
    ref = here.memory.store.reference_for("ISO14443", ALICE_UID).ref
    here.report(forgetting=ref)
    assert here.memory.store.erase(ref)
    here.report(forgot=ref)
    return []


def _remote_start(station: Station) -> list[Decision]:
    bob = _as_recorded(station).refer_id_token(BOB_UID)
    token = {"idToken": bob.ref, "type": bob.type}
    return station.when(
        called("RequestStartTransaction", remoteStartId=17, evseId=2, idToken=token)
    )


LIVES: Final[dict[str, Step]] = {
    "first": in_sequence(
        CONFIGURED,
        station_restarted(),
        IDLE,
        LINK_OPENED,
        _deliver_calls,
        token_presented(ALICE_UID, evse_id=1),
        _deliver_calls,
        token_presented(ALICE_UID),
        _save_snapshot,
        LINK_LOST,
        time_passed(seconds=90),
        cable_plugged(1),
        token_presented(ALICE_UID),
        charging_started(1),
        _run_checkpoint,
        time_passed(seconds=61),
        meter_read(1, "3000", power_w="120000"),
        _save_snapshot,
        time_passed(seconds=61),
        meter_read(1, "5000", power_w="120000"),
        _die_in_commit,
    ),
    "second": in_sequence(
        station_restarted(boot_id="boot-2", gap_s=40),
        contactor_reported(1, closed=False),
        contactor_reported(2, closed=False),
        cable_plugged(1),
        meter_read(1, "5600"),
        cable_unplugged(2),
        charging_started(1),
        _save_snapshot,
        LINK_OPENED,
        _deliver_calls,
        _run_checkpoint,
        time_passed(seconds=30),
        meter_read(1, "7000", power_w="120000"),
        LINK_LOST,
        _save_snapshot,
    ),
    "third": in_sequence(
        station_restarted(boot_id="boot-2"),
        contactor_reported(1, closed=False),
        contactor_reported(2, closed=False),
        cable_plugged(1),
        cable_unplugged(2),
        meter_read(1, "7000"),
        charging_started(1),
        LINK_OPENED,
        _deliver_calls,
        _run_checkpoint,
        token_presented(ALICE_UID),
        meter_read(1, "8000"),
        charging_stopped(1),
        cable_unplugged(1),
        _deliver_calls,
        _remote_start,
        _deliver_calls,
        cable_plugged(2),
        charging_started(2),
        _deliver_calls,
        _archive_entries,
        _erase_alice,
        meter_read(2, "4000"),
        time_passed(seconds=60),
        _run_checkpoint,
        _save_snapshot,
        called("RequestStopTransaction", transactionId="nobody's"),
        charging_stopped(2),
        cable_unplugged(2),
        _deliver_calls,
        _archive_entries,
        _archive_entries,
        LINK_LOST,
        _save_snapshot,
    ),
}


def finish_session(entries: list[Entry], csms: CsmsBehavior) -> Step:
    """The power is back: whatever was open ends, and somebody else is sold energy."""
    first: tuple[Step, ...] = () if entries else (CONFIGURED,)
    return in_sequence(
        *first,
        station_restarted(boot_id="boot-9", gap_s=20),
        *(contactor_reported(evse_id, closed=False) for evse_id in (1, 2)),
        *(meter_read(evse_id, "20000") for evse_id in (1, 2)),
        *(cable_unplugged(evse_id) for evse_id in (1, 2)),
        LINK_OPENED,
        csms_answers(csms),
        cable_plugged(1),
        presented(IdToken("#carol", "ISO14443"), evse_id=1),
        csms_answers(csms),
        charging_started(1),
        meter_read(1, "21000"),
        charging_stopped(1),
        cable_unplugged(1),
        csms_answers(csms),
    )


# --- Programs with a fault, which a sweep must notice --------------------------------------------


def _without_synchronous() -> None:
    writable = connection.connect_writable

    def careless(path: Path, settings: StoreSettings) -> Any:
        opened = writable(path, settings)
        opened.execute("PRAGMA synchronous = OFF")
        return opened

    for module in (store, schema):
        module.connect_writable = careless  # type: ignore[attr-defined]


def _without_snapshot_sync() -> None:
    def replace(path: Path, content: Iterable[bytes]) -> None:
        fresh = path.with_name(f"{path.name}.new")
        fresh.write_bytes(b"".join(content))
        fresh.replace(path)

    setattr(snapshots, "write_atomically", replace)  # noqa: B010  # mypy knows it as another's


def _links_a_file() -> None:
    """Not a fault, but nothing the model of the disk knows."""
    replace = atomic_file.write_atomically

    def linking(path: Path, content: Iterable[bytes]) -> None:
        replace(path, content)
        path.with_name("another").hardlink_to(path)

    setattr(snapshots, "write_atomically", linking)  # noqa: B010  # mypy knows it as another's


def _without_segment_sync() -> None:
    def written(path: Path, blocks: Iterable[bytes]) -> None:
        path.write_bytes(b"".join(blocks))

    setattr(retention, "write_atomically", written)  # noqa: B010  # mypy knows it as another's


def _without_a_segment() -> None:
    """The entries leave before they are anywhere else."""
    truly = retention._drop_segment_entries

    def drop_before_write(
        store: Store, segment: Segment, archived_seq: int, text_bytes: int
    ) -> ArchiveResult:
        content = segment.path.read_bytes()
        segment.path.unlink()
        moved = truly(store, segment, archived_seq, text_bytes)
        atomic_file.write_atomically(segment.path, [content])
        return moved

    retention._drop_segment_entries = drop_before_write


PROGRAM_PATCHES: Final[dict[str, Callable[[], None]]] = {
    "synchronous_off": _without_synchronous,
    "snapshot_unsynced": _without_snapshot_sync,
    "segment_unsynced": _without_segment_sync,
    "entries_leave_before_the_segment_is_there": _without_a_segment,
}
ARCHIVE_FAULTS: Final = frozenset({"segment_unsynced", "entries_leave_before_the_segment_is_there"})
PATCHES: Final = {**PROGRAM_PATCHES, "links_a_file": _links_a_file}
ACKNOWLEDGE_EARLY: Final = "acknowledged_before_commit"
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
    retention.ENTRIES_PER_COMMIT = ENTRIES_PER_COMMIT  # type: ignore[misc]
    load_product()  # read its files before anybody watches
    trace_me()
    memory = Startup(data, settings, entropy=random.Random(life).randbytes)
    station = RecordedStation(memory, data, say, acknowledges_early=ACKNOWLEDGE_EARLY in options)
    if station.entries:
        say(acknowledged=len(station.entries))
    station.when(LIVES[life])
    memory.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
