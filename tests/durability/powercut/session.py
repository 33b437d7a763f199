"""The recorded program: runs of a station core on a real journal.

`python -m tests.durability.powercut.session DATA RUN [OPTION...]` is one run, traced by
`recording`. Snapshots and checkpoints happen at the worst moments, within transactions:

    first    boots, authorizes, starts a transaction offline, is killed within a commit
    second   boots from that, resumes the transaction, delivers, receives a Local Authorization
             List and a change of it, loses the link, ends in order
    third    boots again, ends the transaction, starts another remotely, archives, erases the
             idToken of the first EV driver, ends, archives twice more

The session reports what it has acknowledged and done as JSON lines in `reports.jsonl` beside the
data directory. The options select a fault (`PROGRAM_PATCHES`) or a setting.
"""

from __future__ import annotations

import json
import os
import random
import sys
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
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
GROW_BYTES: Final = 96 << 10  # of the WAL: about 23 pages, so that it is filled and restarted
SEGMENT_ENTRIES: Final = 96
ENTRIES_PER_COMMIT: Final = 40  # archived in one commit, so that a segment takes three
LISTED_UIDS: Final = tuple(f"0499{number:010}" for number in range(60))  # several sectors
ALICE_UID, BOB_UID = "04A224B2C3D4E5", "04B224B2C3D4E5"
ReportFunction = Callable[..., None]


class ContinuedStation(Station):
    """A station that continues a journal, and commits every decision before its effects. P3."""

    def __init__(self, product: Product, entries: list[Entry], state: State) -> None:
        super().__init__(product)
        self.entries, self.state = entries, state
        if entries:
            self.uptime_ms = entries[-1].uptime_ms
            self.host_at = entries[-1].at
            self.desired = compute_desired_state(product, state, entries[-1])

    def commit_entries(self, entries: list[Entry]) -> None:
        """Commit one observation and its decisions."""
        raise NotImplementedError

    def decide_observation(self, observation: Observation) -> list[Decision]:
        entry = Entry(len(self.entries) + 1, self.at, self.uptime_ms, observation)
        entries, state = decide(self.product, self.state, entry)
        self.commit_entries(entries)
        self.entries += entries
        self.state = state
        self.desired = compute_desired_state(self.product, state, entries[-1])
        return [cast(Decision, decided.event) for decided in entries[1:]]


class RecordedStation(ContinuedStation):
    """A station on a real journal that reports what it does."""

    def __init__(
        self, startup: Startup, data: Path, report: ReportFunction, *, acknowledges_early: bool
    ) -> None:
        super().__init__(load_product(), list(startup.store.reader.iter_entries()), startup.state)
        self.startup, self.data, self.report = startup, data, report
        self._acknowledges_early = acknowledges_early

    def commit_entries(self, entries: list[Entry]) -> None:
        last = entries[-1].seq
        self.report(commit_begun=last)
        if self._acknowledges_early:
            self.report(acknowledged=last)
        self.startup.store.append(entries)
        self.report(acknowledged=last)

    def refer_id_token(self, uid: str) -> IdToken:
        token = self.startup.store.reference_for("ISO14443", uid)
        self.report(id_token=token.ref, uid=uid)
        return token

    def answer_call(self, action: str, payload: Json) -> Json | None:
        """Accept everything; report each TransactionEvent."""
        if action == "TransactionEvent":
            self.report(delivered=payload)
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
    assert _as_recorded(station).startup.store.checkpoint()
    return []


def _save_snapshot(station: Station) -> list[Decision]:
    recorded = _as_recorded(station)
    recorded.report(snapshot_begun=len(recorded.entries))
    recorded.startup.save_snapshot(recorded.startup.store.head, recorded.state)
    recorded.report(snapshot_saved=len(recorded.entries))
    return []


def _archive_entries(station: Station) -> list[Decision]:
    """Archive the oldest entries in several commits, after a snapshot."""
    recorded = _as_recorded(station)
    recorded.report(archiving=True)

    def save_before() -> None:
        _save_snapshot(station)

    result = archive_oldest_entries(
        recorded.startup.store,
        recorded.data / "journal.db",
        RetentionLimits.from_state(recorded.state, len(recorded.entries), recorded.at),
        only_if_worthwhile=False,
        segment_entries=SEGMENT_ENTRIES,
        before_removal=save_before,
    )
    assert result, "there is nothing to archive"
    recorded.report(archived=result.segment.last_seq)
    return []


def _die_in_commit(station: Station) -> list[Decision]:
    """The process is killed in its next commit, between the writes and the sync."""
    _as_recorded(station).report(dies_in_commit=True)
    return station.when(meter_read(1, "5600"))


def _erase_alice(station: Station) -> list[Decision]:
    recorded = _as_recorded(station)
    ref = recorded.startup.store.reference_for("ISO14443", ALICE_UID).ref
    recorded.report(erasing=ref)
    assert recorded.startup.store.erase(ref)
    recorded.report(erased=ref)
    return []


def _remote_start(station: Station) -> list[Decision]:
    bob = _as_recorded(station).refer_id_token(BOB_UID)
    token = {"idToken": bob.ref, "type": bob.type}
    return station.when(
        called("RequestStartTransaction", remoteStartId=17, evseId=2, idToken=token)
    )


def _local_list_sent(version: int, update: str, uids: Sequence[str], removed: str = "") -> Step:
    """A SendLocalList that accepts `uids` and removes one."""

    def send(station: Station) -> list[Decision]:
        recorded = _as_recorded(station)
        items: list[Json] = []
        for uid in (*uids, *filter(None, [removed])):
            token = recorded.refer_id_token(uid)
            items.append({"idToken": {"idToken": token.ref, "type": token.type}})
            if uid != removed:
                items[-1]["idTokenInfo"] = {"status": "Accepted"}
        before = station.state.local_list.count if update == "Differential" else 0
        recorded.report(listing=[version, before + len(uids) - bool(removed)])
        decisions = station.when(
            called(
                "SendLocalList",
                versionNumber=version,
                updateType=update,
                localAuthorizationList=items,
            )
        )
        recorded.report(listed=True)
        return decisions

    return send


RUNS: Final[dict[str, Step]] = {
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
        _local_list_sent(1, "Full", LISTED_UIDS[:40]),
        _local_list_sent(2, "Differential", LISTED_UIDS[40:], removed=LISTED_UIDS[0]),
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
        called("RequestStopTransaction", transactionId="unknown"),
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
    """After the cut: boot, end the open transactions, charge one more EV, deliver everything."""
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


# --- Programs with a fault, which a sweep must detect --------------------------------------------


def _replace(module: ModuleType, name: str, replacement: Callable[..., Any]) -> None:
    """Replace a function of a module. AttributeError: the module has none of that name."""
    getattr(module, name)
    setattr(module, name, replacement)


def _turn_off_synchronous() -> None:
    original = connection.connect_writable

    def connect_unsynced(path: Path, settings: StoreSettings) -> Any:
        database = original(path, settings)
        database.execute("PRAGMA synchronous = OFF")
        return database

    for module in (store, schema):
        _replace(module, "connect_writable", connect_unsynced)


def _omit_snapshot_sync() -> None:
    def replace_unsynced(path: Path, content: Iterable[bytes]) -> None:
        temporary = path.with_name(f"{path.name}.new")
        temporary.write_bytes(b"".join(content))
        temporary.replace(path)

    _replace(snapshots, "write_atomically", replace_unsynced)


def _link_a_file() -> None:
    """Not a fault, but an operation that the model of the disk does not have."""
    original = atomic_file.write_atomically

    def write_and_link(path: Path, content: Iterable[bytes]) -> None:
        original(path, content)
        path.with_name("another").hardlink_to(path)

    _replace(snapshots, "write_atomically", write_and_link)


def _omit_segment_sync() -> None:
    def write_unsynced(path: Path, blocks: Iterable[bytes]) -> None:
        path.write_bytes(b"".join(blocks))

    _replace(retention, "write_atomically", write_unsynced)


def _drop_entries_before_segment() -> None:
    """Entries are deleted from the file before the segment with them is written."""
    original = retention._drop_segment_entries

    def drop_before_write(
        store: Store, segment: Segment, archived_seq: int, text_bytes: int
    ) -> ArchiveResult:
        content = segment.path.read_bytes()
        segment.path.unlink()
        result = original(store, segment, archived_seq, text_bytes)
        atomic_file.write_atomically(segment.path, [content])
        return result

    _replace(retention, "_drop_segment_entries", drop_before_write)


PROGRAM_PATCHES: Final[dict[str, Callable[[], None]]] = {
    "synchronous_off": _turn_off_synchronous,
    "snapshot_unsynced": _omit_snapshot_sync,
    "segment_unsynced": _omit_segment_sync,
    "entries_dropped_before_segment": _drop_entries_before_segment,
}
ARCHIVE_FAULTS: Final = frozenset({"segment_unsynced", "entries_dropped_before_segment"})
PATCHES: Final = {**PROGRAM_PATCHES, "links_a_file": _link_a_file}
ACKNOWLEDGE_EARLY: Final = "acknowledged_before_commit"
NO_POWERSAFE_OVERWRITE: Final = "no_powersafe_overwrite"


def main(data: Path, run: str, *options: str) -> None:
    reports = os.open(data.parent / "reports.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def report(**body: Any) -> None:
        os.write(reports, json.dumps(body).encode() + b"\n")

    for option in PATCHES.keys() & set(options):
        PATCHES[option]()
    settings = StoreSettings(
        grow_bytes=GROW_BYTES, powersafe_overwrite=NO_POWERSAFE_OVERWRITE not in options
    )
    uuid.uuid4 = lambda: JOURNAL_ID
    retention.ENTRIES_PER_COMMIT = ENTRIES_PER_COMMIT  # type: ignore[misc]
    load_product()  # read its files before tracing starts
    trace_me()
    startup = Startup(data, settings, entropy=random.Random(run).randbytes)
    station = RecordedStation(
        startup, data, report, acknowledges_early=ACKNOWLEDGE_EARLY in options
    )
    if station.entries:
        report(acknowledged=len(station.entries))
    station.when(RUNS[run])
    startup.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
