"""After an update only changed projections are replayed, and the state is that of a full replay."""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from journal.events import Entry
from journal.observations import JournalDamageFound, LinkOpened
from journal.projections import outbox
from journal.projections.station_health import ProjectionFailure
from journal.state import PROJECTIONS, State, apply_entries, encode_state
from journal.storage.code_fingerprints import Definition, Definitions, read_source
from journal.storage.connection import StoreSettings
from journal.storage.reader import Reader
from journal.storage.snapshots import (
    RUNTIME_VERSIONS,
    PartialSnapshot,
    Snapshot,
    SnapshotIgnored,
    code_fingerprint,
)
from journal.upcasters import STEPS
from station.runtime.loop import projection_code, state_snapshot
from station.runtime.loop.projection_code import compute_fingerprints, projection_roots
from station.runtime.loop.startup import Startup, event_registry
from station.runtime.loop.state_snapshot import (
    STATE_MODULES,
    complete_snapshot,
    open_snapshots,
    projection_fingerprints,
)
from tests.commands.fixtures_journals import delete_entry, write_journal
from tests.durability.golden.journals import journal_names, unpack_journal
from tests.runtime.disk.test_archiver import TICK, append_events
from tests.support.other_release import pretend_other_release
from tests.support.story import ONLINE, given, in_transaction

SMALL = StoreSettings(grow_bytes=0)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The journal of a station with a transaction."""
    station = given(ONLINE, in_transaction(1))
    return write_journal(tmp_path / "journal.db", station.entries)


@contextmanager
def open_reader(path: Path) -> Iterator[Reader]:
    with Reader.open(path, event_registry()) as reader:
        yield reader


def replay(reader: Reader) -> State:
    return apply_entries(State(reader.journal_id), reader.iter_entries())


def snapshot_of(reader: Reader, state: State, seq: int, *changed: str) -> PartialSnapshot:
    """A snapshot of another release in which the code of these projections differs."""
    digest = reader.digest_at(seq)
    assert digest is not None
    valid = frozenset(PROJECTIONS) - set(changed)
    return PartialSnapshot(seq, digest, memoryview(encode_state(state)), valid)


# --- The state is that of a full replay ----------------------------------------------------------


@pytest.mark.parametrize("name", journal_names())
def test_each_projection_replayed_alone_gives_the_state_of_a_full_replay(
    name: str, tmp_path: Path
) -> None:
    with open_reader(unpack_journal(name, tmp_path)) as reader:
        state, last = replay(reader), reader.read_head().seq
        expected = encode_state(state)
        is_certain = not (state.health.journal_damages or state.health.projection_failures)
        for projection in PROJECTIONS:
            snapshot = snapshot_of(reader, state, last, projection)
            completed = complete_snapshot(reader, snapshot)
            if projection == "health" or not is_certain:
                assert isinstance(completed, SnapshotIgnored)
            else:
                assert isinstance(completed, Snapshot)
                assert encode_state(completed.state) == expected, projection


def test_golden_journals_have_states_that_a_snapshot_can_be_completed_to(tmp_path: Path) -> None:
    """So the test above compares something."""
    certain = set()
    for name in journal_names():
        with open_reader(unpack_journal(name, tmp_path)) as reader:
            health = replay(reader).health
            if not (health.journal_damages or health.projection_failures):
                certain.add(name)
    assert len(certain) > len(journal_names()) / 2


def test_several_changed_projections_are_replayed_together(journal: Path) -> None:
    with open_reader(journal) as reader:
        state, last = replay(reader), reader.read_head().seq
        for changed in (("outbox", "transactions", "evses"), set(PROJECTIONS) - {"health"}, ()):
            completed = complete_snapshot(reader, snapshot_of(reader, state, last, *changed))
            assert completed == Snapshot(last, state)


def test_only_entries_of_changed_projections_are_decoded(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied: list[type] = []
    original = outbox.Outbox.apply

    def apply(self: outbox.Outbox, entry: Entry) -> outbox.Outbox:
        applied.append(type(entry.event))
        return original(self, entry)

    with open_reader(journal) as reader:
        state, last = replay(reader), reader.read_head().seq
        monkeypatch.setattr(outbox.Outbox, "apply", apply)
        kinds = {kind.__name__ for kind in outbox.Outbox.HANDLES}
        entries = list(reader.iter_entries_of(kinds, last))
        assert complete_snapshot(reader, snapshot_of(reader, state, last, "outbox"))
    assert applied == [type(entry.event) for entry in entries]
    assert len(applied) < last
    assert set(applied) <= set(outbox.Outbox.HANDLES)


def test_every_projection_begins_with_the_defaults_of_its_own_class() -> None:
    """Defaults that `State` gives are not in the fingerprint of a projection."""
    for field in msgspec.structs.fields(State):
        if field.name != "journal_id":
            assert field.default == field.type()


def test_every_projection_is_encoded_under_its_name() -> None:
    """In a state of another release, one with another name would be decoded as an empty one."""
    for field in msgspec.structs.fields(State):
        assert field.encode_name == field.name


# --- Fingerprints of projections -----------------------------------------------------------------


def changed_by(module: str, before: str, after: str) -> set[str]:
    """Projections with another fingerprint if this text of a module is another one."""

    def read(name: str) -> str | None:
        text = read_source(name)
        if name == module:
            assert text is not None
            assert before in text
            return text.replace(before, after, 1)
        return text

    current = compute_fingerprints()
    changed = compute_fingerprints(Definitions("journal", read))
    assert changed.keys() == current.keys() == PROJECTIONS.keys()
    return {name for name in current if current[name] != changed[name]}


@pytest.mark.parametrize(
    ("module", "text", "projections"),
    [
        ("journal.projections.witness", "class Witness", {"witness"}),
        ("journal.observations", "class ModemReported", {"modem"}),
        ("journal.observations", "class BusTraceWritten", {"bus_traces"}),
        ("journal.observations", "class LimitPeriod", {"external_limits", "power_limits"}),
        ("journal.projections.outbox", "class Outbox", {"outbox"}),
        ("journal.upcasters", "def cost_received_1_to_2", {"driver_information"}),
        ("journal.upcasters", "def upcast", set(PROJECTIONS)),
        ("journal.projections.base", "class Projection", set(PROJECTIONS)),
        ("journal.events", "class Event", set(PROJECTIONS)),
        ("journal.codec", "class Registry", set(PROJECTIONS)),
        ("journal.immutable", "def decode_collection", set(PROJECTIONS)),
        ("journal.state", "def apply_entry", set(PROJECTIONS)),
        ("journal.state", "def apply_entries", set(PROJECTIONS)),
        ("journal.state", "def decode_projections", set(PROJECTIONS)),
        ("journal.state", "class State", set()),
    ],
)
def test_a_changed_definition_changes_the_projections_that_use_it(
    module: str, text: str, projections: set[str]
) -> None:
    lines = (read_source(module) or "").splitlines()
    [line] = [line for line in lines if re.match(rf"{text}\b", line)]
    assert changed_by(module, f"\n{line}", f"\n{line}  # changed") == projections


def test_a_new_kind_changes_no_projection() -> None:
    kind = "\nclass ModemReported("
    new = "\nclass ModemLost(Observation, frozen=True):\n    iccid: str\n\n"
    assert changed_by("journal.observations", kind, f"{new}{kind}") == set()


def test_a_projection_of_another_class_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    before = compute_fingerprints()
    monkeypatch.setitem(PROJECTIONS, "modem", PROJECTIONS["witness"])
    after = compute_fingerprints()
    assert {name for name in before if before[name] != after[name]} == {"modem"}


def test_steps_of_a_kind_in_another_order_change_the_projections_that_handle_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = compute_fingerprints()
    first, second = ("LinkOpened", 1), ("LinkOpened", 2)
    swapped = {**STEPS, first: STEPS[second], second: STEPS[first]}
    monkeypatch.setattr(projection_code, "STEPS", swapped)
    after = compute_fingerprints()
    handling = {name for name, each in PROJECTIONS.items() if LinkOpened in each.HANDLES}
    assert {name for name in before if before[name] != after[name]} == handling


@pytest.mark.parametrize("version", ["cpython 3.99", "msgspec 99.0"])
def test_other_versions_of_python_and_msgspec_are_other_code(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, whole = compute_fingerprints(), code_fingerprint(STATE_MODULES, *RUNTIME_VERSIONS)
    for module in (projection_code, state_snapshot):
        monkeypatch.setattr(module, "RUNTIME_VERSIONS", (*RUNTIME_VERSIONS[1:], version))
    after = compute_fingerprints()
    assert not {name for name in before if before[name] == after[name]}
    projection_fingerprints.cache_clear()
    assert projection_fingerprints(whole) == {}
    projection_fingerprints.cache_clear()


def test_every_projection_uses_the_kinds_of_event_that_it_handles() -> None:
    definitions = Definitions("journal")
    for projection in PROJECTIONS.values():
        kinds = {Definition(kind.__module__, kind.__name__) for kind in projection.HANDLES}
        assert definitions.find_used(projection_roots(projection)) >= kinds


def test_sources_that_an_update_replaced_have_no_fingerprints(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The package was updated while its program still runs: its snapshot is of the old code."""
    at_start = code_fingerprint(STATE_MODULES, *RUNTIME_VERSIONS)
    assert projection_fingerprints(at_start).keys() == PROJECTIONS.keys()
    assert projection_fingerprints(b"of other sources") == {}


@pytest.mark.parametrize("error", [ModuleNotFoundError, FileNotFoundError, UnicodeDecodeError])
def test_sources_that_an_update_just_replaces_have_no_fingerprints(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot is saved all the same, when the package is removed under a running program."""

    def fail(*_: object) -> bytes:
        raise error(*(("utf-8", b"", 0, 1, "") if error is UnicodeDecodeError else ()))

    at_start = code_fingerprint(STATE_MODULES, *RUNTIME_VERSIONS)
    projection_fingerprints.cache_clear()
    monkeypatch.setattr(state_snapshot, "code_fingerprint", fail)
    assert projection_fingerprints(at_start) == {}
    projection_fingerprints.cache_clear()


# --- What is not certain is replayed -------------------------------------------------------------


def reason_of(completed: Snapshot[State] | SnapshotIgnored) -> str:
    assert isinstance(completed, SnapshotIgnored)
    assert completed.seen_seq == 0
    return completed.reason


def test_a_changed_projection_of_the_health_is_replayed_with_all_others(journal: Path) -> None:
    with open_reader(journal) as reader:
        snapshot = snapshot_of(reader, replay(reader), 10, "health")
        assert reason_of(complete_snapshot(reader, snapshot)) == "another release made it"


def test_a_snapshot_of_another_entry_is_ignored(journal: Path) -> None:
    with open_reader(journal) as reader:
        snapshot = snapshot_of(reader, replay(reader), 10, "modem")
        other = snapshot._replace(digest=b"another")
        assert "another entry 10" in reason_of(complete_snapshot(reader, other))
        beyond = snapshot._replace(seq=1_000_000)
        assert "another entry 1000000" in reason_of(complete_snapshot(reader, beyond))


@pytest.mark.parametrize(
    "problem",
    [
        {"journal_damages": (JournalDamageFound("entry 3"),)},
        {"projection_failures": (ProjectionFailure(3, "Evses", "TypeError"),)},
    ],
)
def test_a_snapshot_of_a_journal_with_damage_or_failures_is_ignored(
    journal: Path, problem: dict[str, Any]
) -> None:
    with open_reader(journal) as reader:
        state = replay(reader)
        state = replace(state, health=replace(state.health, **problem))
        snapshot = snapshot_of(reader, state, 10, "modem")
        assert "damage or failures" in reason_of(complete_snapshot(reader, snapshot))


def test_a_projection_that_fails_in_the_replay_is_replayed_with_all_others(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: outbox.Outbox, entry: Entry) -> outbox.Outbox:
        raise LookupError

    with open_reader(journal) as reader:
        state, last = replay(reader), reader.read_head().seq
        monkeypatch.setattr(outbox.Outbox, "apply", fail)
        snapshot = snapshot_of(reader, state, last, "outbox")
        assert "a projection failed" in reason_of(complete_snapshot(reader, snapshot))


def change_entries(path: Path, assignment: str, condition: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DROP TRIGGER entry_not_updated")
        assert db.execute(f"UPDATE entry SET {assignment} WHERE {condition}").rowcount
    db.close()


@pytest.mark.parametrize(
    ("assignment", "condition", "changed", "reason"),
    [
        ("body = '{'", "kind = 'CallQueued'", "outbox", "does not decode"),
        ("version = 99", "kind = 'CallQueued'", "outbox", "version 99"),
        ("kind = 'Unknown'", "seq = 5", "modem", "unknown kind"),
    ],
)
def test_entries_that_cannot_be_read_lead_to_a_full_replay(
    journal: Path, assignment: str, condition: str, changed: str, reason: str
) -> None:
    with open_reader(journal) as reader:
        state, last = replay(reader), reader.read_head().seq
    change_entries(journal, assignment, condition)
    with open_reader(journal) as reader:
        snapshot = snapshot_of(reader, state, last, changed)
        assert reason in reason_of(complete_snapshot(reader, snapshot))


@pytest.mark.parametrize("seq", [1, 5])
def test_a_missing_entry_leads_to_a_full_replay(journal: Path, seq: int) -> None:
    with open_reader(journal) as reader:
        state, last = replay(reader), reader.read_head().seq
    delete_entry(journal, seq)
    with open_reader(journal) as reader:
        snapshot = snapshot_of(reader, state, last, "modem")
        assert "missing" in reason_of(complete_snapshot(reader, snapshot))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"journal_id":"x"}', b'{"journal_id":"x","link":1}']
)
def test_a_state_that_does_not_decode_leads_to_a_full_replay(journal: Path, body: bytes) -> None:
    with open_reader(journal) as reader:
        snapshot = snapshot_of(reader, replay(reader), 10, "modem")
        damaged = snapshot._replace(body=memoryview(body))
        assert "does not decode" in reason_of(complete_snapshot(reader, damaged))


# --- A start after an update ---------------------------------------------------------------------


@pytest.fixture
def updated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with a snapshot of another release, in which `outbox` was different."""
    startup = Startup(tmp_path, SMALL)
    startup.store.append(given(ONLINE, in_transaction(1)).entries)
    startup.close()
    with monkeypatch.context() as patched:
        pretend_other_release(patched, "outbox")
        restart(tmp_path)
    return tmp_path


def restart(data: Path) -> bytes:
    """Start, append an entry, save a snapshot and stop; returns the state."""
    startup = Startup(data, SMALL)
    state = append_events(startup, [TICK])
    startup.save_snapshot(startup.store.head, state)
    startup.close()
    return encode_state(state)


def test_a_start_after_an_update_replays_the_changed_projection(
    updated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_reader(updated / "journal.db") as reader:
        expected, last = encode_state(replay(reader)), reader.read_head().seq
    with caplog.at_level(logging.INFO, logger="station.startup"):
        startup = Startup(updated, SMALL)
    startup.close()
    assert encode_state(startup.state) == expected
    assert startup.damage_found == []
    assert [record.message for record in caplog.records] == [
        f"snapshot of another release: replaying 1 of {len(PROJECTIONS)} projections"
        f" for {last} entries: outbox"
    ]


def test_a_lost_end_is_noticed_by_the_snapshot_of_another_release(
    updated: Path,
) -> None:
    """Entry numbers are in ids: without a new namespace, an id could be used twice."""
    with open_reader(updated / "journal.db") as reader:
        last = reader.read_head().seq
    delete_entry(updated / "journal.db", last)
    startup = Startup(updated, SMALL)
    startup.close()
    [damage] = startup.damage_found
    assert (damage.first_seq, damage.last_seq) == (last, last)
    assert damage.id_namespace


def test_entries_after_the_snapshot_of_another_release_are_applied(updated: Path) -> None:
    startup = Startup(updated, SMALL)
    append_events(startup, [TICK] * 3)
    startup.close()
    startup = Startup(updated, SMALL)
    startup.close()
    with open_reader(updated / "journal.db") as reader:
        assert encode_state(startup.state) == encode_state(replay(reader))


def test_a_start_that_cannot_use_the_snapshot_replays_everything_and_reports_damage(
    updated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change_entries(updated / "journal.db", "body = '{'", "seq = 5")
    with open_reader(updated / "journal.db") as reader:
        entries = list(reader.iter_entries(on_damage=lambda _: None))
        expected = encode_state(apply_entries(State(reader.journal_id), entries))
    with open_reader(updated / "journal.db") as reader:
        [kind] = {row.kind for row in reader.iter_rows(5, 5)}
    assert kind in {each.__name__ for each in outbox.Outbox.HANDLES}
    with caplog.at_level(logging.INFO, logger="station.startup"):
        startup = Startup(updated, SMALL)
    startup.close()
    assert encode_state(startup.state) == expected
    assert [damage.first_seq for damage in startup.damage_found] == [5]
    assert "snapshot not used: another release made it, and" in caplog.text


@pytest.mark.parametrize("seq", [-1, 1 << 63, 1 << 70])
def test_an_impossible_entry_number_is_no_damage_of_the_journal(updated: Path, seq: int) -> None:
    file = updated / "snapshot"
    magic, (header, body) = file.read_bytes()[:24], file.read_bytes()[56:].split(b"\n", 1)
    header = re.sub(rb'"seq":\d+', b'"seq":%d' % seq, header)
    content = header + b"\n" + body
    file.write_bytes(magic + sha256(content).digest() + content)
    startup = Startup(updated, SMALL)
    startup.close()
    assert startup.damage_found == []
    with open_reader(updated / "journal.db") as reader:
        ignored = open_snapshots(updated).load(reader.digest_at)
        assert encode_state(startup.state) == encode_state(replay(reader))
    assert isinstance(ignored, SnapshotIgnored)
    assert "its header does not decode" in ignored.reason


def test_a_state_without_the_damage_that_was_found_is_not_saved(updated: Path) -> None:
    """A station that is stopped at once finds the damage again and reports it."""
    (updated / "snapshot").unlink()
    change_entries(updated / "journal.db", "body = '{'", "seq = 5")
    for _ in range(2):
        startup = Startup(updated, SMALL)
        startup.save_snapshot(startup.store.head, startup.state)
        startup.close()
        assert [damage.first_seq for damage in startup.damage_found] == [5]
        assert not (updated / "snapshot").exists()
    startup = Startup(updated, SMALL)
    append_events(startup, [*startup.damage_found, TICK])
    startup.save_snapshot(startup.store.head, startup.state)
    startup.close()
    startup = Startup(updated, SMALL)
    startup.close()
    assert startup.damage_found == []
    assert (updated / "snapshot").exists()


def test_the_usual_start_computes_no_fingerprints_of_projections_and_keeps_them(
    updated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restart(updated)

    def fail() -> dict[str, bytes]:
        raise AssertionError("computed")

    with monkeypatch.context() as patched:
        patched.setattr(projection_code, "compute_fingerprints", fail)
        projection_fingerprints.cache_clear()
        restart(updated)
    pretend_other_release(monkeypatch, "modem")
    with open_reader(updated / "journal.db") as reader:
        partial = open_snapshots(updated).load(reader.digest_at)
    assert isinstance(partial, PartialSnapshot)
    assert partial.valid_parts == PROJECTIONS.keys() - {"modem"}
