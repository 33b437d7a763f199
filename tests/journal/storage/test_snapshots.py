"""A snapshot is valid for one journal and one release, otherwise it is ignored."""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from journal.storage import snapshots
from journal.storage.errors import JournalDamaged, JournalFailed
from journal.storage.snapshots import (
    PartialSnapshot,
    Snapshot,
    SnapshotFile,
    SnapshotIgnored,
    code_fingerprint,
)

DIGEST = b"d" * 32


def open_snapshots(path: Path, fingerprint: bytes = b"f" * 32) -> SnapshotFile[dict[str, int]]:
    return SnapshotFile(
        path / "snapshot",
        fingerprint,
        msgspec.json.encode,
        msgspec.json.Decoder(dict[str, int]).decode,
    )


def digest_at(seq: int) -> bytes | None:
    return DIGEST if seq == 7 else None


@pytest.fixture
def saved_snapshot(tmp_path: Path) -> Path:
    open_snapshots(tmp_path).save(7, DIGEST, {"open": 1})
    return tmp_path


def test_a_state_is_loaded_with_its_entry_number(saved_snapshot: Path) -> None:
    assert open_snapshots(saved_snapshot).load(digest_at) == Snapshot(7, {"open": 1})


def test_a_new_snapshot_replaces_the_old_one(saved_snapshot: Path) -> None:
    open_snapshots(saved_snapshot).save(7, DIGEST, {"open": 2})
    assert open_snapshots(saved_snapshot).load(digest_at) == Snapshot(7, {"open": 2})
    assert [file.name for file in saved_snapshot.iterdir()] == ["snapshot"]


def test_without_a_snapshot_the_journal_is_replayed(tmp_path: Path) -> None:
    assert open_snapshots(tmp_path).load(digest_at) == SnapshotIgnored("there is none")


def test_the_snapshot_of_another_release_is_ignored(saved_snapshot: Path) -> None:
    assert open_snapshots(saved_snapshot, b"g" * 32).load(digest_at) == SnapshotIgnored(
        "another release made it"
    )


def test_a_prepared_snapshot_is_loaded_by_its_release(saved_snapshot: Path) -> None:
    open_snapshots(saved_snapshot, b"g" * 32).save_for_next_start(7, DIGEST, {"open": 2})
    assert open_snapshots(saved_snapshot).load(digest_at) == Snapshot(7, {"open": 1})
    open_snapshots(saved_snapshot).save(7, DIGEST, {"open": 3})
    assert open_snapshots(saved_snapshot, b"g" * 32).load(digest_at) == Snapshot(7, {"open": 2})
    assert open_snapshots(saved_snapshot, b"h" * 32).load(digest_at) == SnapshotIgnored(
        "another release made it"
    )
    open_snapshots(saved_snapshot, b"g" * 32).save(7, DIGEST, {"open": 4})
    assert open_snapshots(saved_snapshot, b"g" * 32).load(digest_at) == Snapshot(7, {"open": 4})


@pytest.mark.parametrize("digest", [None, b"e" * 32])
def test_the_snapshot_of_another_journal_is_ignored(saved_snapshot: Path, digest: Any) -> None:
    assert open_snapshots(saved_snapshot).load(lambda _: digest) == SnapshotIgnored(
        "the journal's entry 7 is another one", seen_seq=7
    )


@pytest.mark.parametrize("digest", [None, b"e" * 32])
def test_a_snapshot_of_another_release_for_another_entry_is_reported(
    saved_snapshot: Path, digest: Any
) -> None:
    """Entries may be missing at the end: an older snapshot would hide that."""
    new = open_snapshots(saved_snapshot, b"g" * 32)
    new.save_for_next_start(5, DIGEST, {"open": 2})
    digests = {5: DIGEST, 7: digest}
    assert new.load(digests.get) == SnapshotIgnored(
        "the journal's entry 7 is another one", seen_seq=7
    )
    digests[7] = DIGEST
    assert new.load(digests.get) == Snapshot(5, {"open": 2})


def test_a_snapshot_is_ignored_if_the_archive_with_its_entry_is_elsewhere(
    saved_snapshot: Path,
) -> None:
    def fail(seq: int) -> bytes | None:
        raise JournalFailed(f"the segment with entry {seq} is missing")

    ignored = SnapshotIgnored("the segment with entry 7 is missing")
    assert open_snapshots(saved_snapshot).load(fail) == ignored


def test_damage_that_hides_the_entry_of_a_snapshot_is_reported(saved_snapshot: Path) -> None:
    def fail(seq: int) -> bytes | None:
        raise JournalDamaged(f"entry {seq} is on a damaged page")

    with pytest.raises(JournalDamaged):
        open_snapshots(saved_snapshot).load(fail)


def test_a_state_that_does_not_decode_is_ignored(saved_snapshot: Path) -> None:
    open_snapshots(saved_snapshot).save(7, DIGEST, ["open"])  # type: ignore[arg-type]
    ignored = open_snapshots(saved_snapshot).load(digest_at)
    assert isinstance(ignored, SnapshotIgnored)
    assert "does not decode: ValidationError" in ignored.reason


def test_any_damage_of_a_snapshot_is_noticed(saved_snapshot: Path) -> None:
    file = saved_snapshot / "snapshot"
    whole = file.read_bytes()
    for position in range(len(whole)):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert open_snapshots(saved_snapshot).load(digest_at) == SnapshotIgnored("it is damaged")
        file.write_bytes(whole[:position])
        assert open_snapshots(saved_snapshot).load(digest_at) == SnapshotIgnored("it is damaged")


def test_a_directory_in_its_place_is_reported(tmp_path: Path) -> None:
    (tmp_path / "snapshot").mkdir()
    assert open_snapshots(tmp_path).load(digest_at) == SnapshotIgnored(
        "it cannot be read: Is a directory"
    )


def test_a_power_cut_while_saving_leaves_the_old_one(
    saved_snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerLost(Exception):
        pass

    def cut(_: int) -> None:
        raise PowerLost

    monkeypatch.setattr("os.fsync", cut)
    with pytest.raises(PowerLost):
        open_snapshots(saved_snapshot).save(7, DIGEST, {"open": 2})
    assert open_snapshots(saved_snapshot).load(digest_at) == Snapshot(7, {"open": 1})


def test_the_fingerprint_changes_with_the_code_and_what_else_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(Path(snapshots.__file__).parent, tmp_path / "state_copy")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = code_fingerprint(["state_copy"])
    assert code_fingerprint(["state_copy"]) == before
    assert code_fingerprint(["state_copy"], "CPython 3.12") != before
    assert code_fingerprint(["state_copy", "journal"]) != before
    source = tmp_path / "state_copy" / "snapshots.py"
    source.write_bytes(source.read_bytes() + b"\n")
    assert code_fingerprint(["state_copy"]) != before
    alone = code_fingerprint(["state_copy.lock"])
    assert alone != code_fingerprint(["state_copy.errors"])
    source.write_bytes(source.read_bytes() + b"\n")
    assert code_fingerprint(["state_copy.lock"]) == alone
    with pytest.raises(ModuleNotFoundError, match="no module no_such_module"):
        code_fingerprint(["no_such_module"])


# --- Snapshots of other code ---------------------------------------------------------------------


def open_with_parts(path: Path, fingerprint: bytes, **parts: bytes) -> SnapshotFile[dict[str, int]]:
    return SnapshotFile(
        path / "snapshot",
        fingerprint,
        msgspec.json.encode,
        msgspec.json.Decoder(dict[str, int]).decode,
        lambda: parts,
    )


def test_parts_of_the_same_code_are_valid_in_a_snapshot_of_another_release(tmp_path: Path) -> None:
    open_with_parts(tmp_path, b"old", a=b"1", b=b"2", c=b"3").save(7, DIGEST, {"a": 1, "b": 2})
    partial = open_with_parts(tmp_path, b"new", a=b"1", b=b"other", d=b"3").load(digest_at)
    assert partial == PartialSnapshot(7, DIGEST, memoryview(b'{"a":1,"b":2}'), frozenset({"a"}))


def test_a_snapshot_of_another_release_without_valid_parts_is_ignored(tmp_path: Path) -> None:
    ignored = SnapshotIgnored("another release made it")
    open_with_parts(tmp_path, b"old", a=b"1").save(7, DIGEST, {"a": 1})
    assert open_with_parts(tmp_path, b"new", a=b"2").load(digest_at) == ignored
    assert open_with_parts(tmp_path, b"new").load(digest_at) == ignored
    open_with_parts(tmp_path, b"old").save(7, DIGEST, {"a": 1})
    assert open_with_parts(tmp_path, b"new", a=b"1").load(digest_at) == ignored


def test_a_prepared_snapshot_is_used_before_parts_of_the_old_one(tmp_path: Path) -> None:
    open_with_parts(tmp_path, b"old", a=b"1").save(7, DIGEST, {"a": 1})
    new = open_with_parts(tmp_path, b"new", a=b"1")
    new.save_for_next_start(7, DIGEST, {"a": 2})
    assert new.load(digest_at) == Snapshot(7, {"a": 2})
    newest = open_with_parts(tmp_path, b"newest", a=b"1").load(digest_at)
    assert isinstance(newest, PartialSnapshot)
    assert bytes(newest.body) == b'{"a":1}'


def test_a_snapshot_of_an_earlier_format_has_no_parts(tmp_path: Path) -> None:
    header = msgspec.json.encode({"fingerprint": b"old", "seq": 7, "digest": DIGEST}) + b"\n"
    content = header + b'{"a":1}'
    magic = b"ocpp-station snapshot 1\n"
    (tmp_path / "snapshot").write_bytes(magic + sha256(content).digest() + content)
    assert open_with_parts(tmp_path, b"old", a=b"1").load(digest_at) == Snapshot(7, {"a": 1})
    ignored = SnapshotIgnored("another release made it")
    assert open_with_parts(tmp_path, b"new", a=b"1").load(digest_at) == ignored


def test_fingerprints_of_parts_are_computed_once_for_a_release(tmp_path: Path) -> None:
    computed: list[str] = []

    def compute() -> dict[str, bytes]:
        computed.append("")
        return {"a": b"1"}

    def open_file() -> SnapshotFile[dict[str, int]]:
        decode = msgspec.json.Decoder(dict[str, int]).decode
        path = tmp_path / "snapshot"
        return SnapshotFile(path, b"f", msgspec.json.encode, decode, compute)

    first = open_file()
    for value in (1, 2):
        first.save(7, DIGEST, {"a": value})
    later = open_file()
    assert later.load(digest_at) == Snapshot(7, {"a": 2})
    later.save(7, DIGEST, {"a": 3})
    assert len(computed) == 1
    assert isinstance(open_with_parts(tmp_path, b"new", a=b"1").load(digest_at), PartialSnapshot)
