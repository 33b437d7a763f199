"""A snapshot is good for one journal and one release, or it is ignored."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from journal import snapshots
from journal.snapshots import Ignored, Snapshot, Snapshots, fingerprint_of

DIGEST = b"d" * 32


def kept(path: Path, fingerprint: bytes = b"f" * 32) -> Snapshots[dict[str, int]]:
    return Snapshots(
        path / "snapshot",
        fingerprint,
        msgspec.json.encode,
        msgspec.json.Decoder(dict[str, int]).decode,
    )


def digest_at(seq: int) -> bytes | None:
    return DIGEST if seq == 7 else None


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    kept(tmp_path).save(7, DIGEST, {"open": 1})
    return tmp_path


def test_a_state_comes_back_with_the_number_it_was_taken_at(saved: Path) -> None:
    assert kept(saved).load(digest_at) == Snapshot(7, {"open": 1})


def test_the_newest_replaces_the_one_before(saved: Path) -> None:
    kept(saved).save(7, DIGEST, {"open": 2})
    assert kept(saved).load(digest_at) == Snapshot(7, {"open": 2})
    assert [file.name for file in saved.iterdir()] == ["snapshot"]


def test_without_one_the_journal_is_replayed(tmp_path: Path) -> None:
    assert kept(tmp_path).load(digest_at) == Ignored("there is none")


def test_another_release_makes_its_own(saved: Path) -> None:
    assert kept(saved, b"g" * 32).load(digest_at) == Ignored("another release made it")


def test_one_that_was_prepared_is_for_the_release_it_is_of(saved: Path) -> None:
    kept(saved, b"g" * 32).prepare(7, DIGEST, {"open": 2})
    assert kept(saved).load(digest_at) == Snapshot(7, {"open": 1})
    kept(saved).save(7, DIGEST, {"open": 3})
    assert kept(saved, b"g" * 32).load(digest_at) == Snapshot(7, {"open": 2})
    assert kept(saved, b"h" * 32).load(digest_at) == Ignored("another release made it")
    kept(saved, b"g" * 32).save(7, DIGEST, {"open": 4})
    assert kept(saved, b"g" * 32).load(digest_at) == Snapshot(7, {"open": 4})


@pytest.mark.parametrize("digest", [None, b"e" * 32])
def test_another_journals_is_ignored(saved: Path, digest: Any) -> None:
    assert kept(saved).load(lambda _: digest) == Ignored(
        "the journal's entry 7 is another one", seen=7
    )


def test_a_state_that_does_not_decode_is_ignored(saved: Path) -> None:
    kept(saved).save(7, DIGEST, ["open"])  # type: ignore[arg-type]
    ignored = kept(saved).load(digest_at)
    assert isinstance(ignored, Ignored)
    assert "does not decode: ValidationError" in ignored.reason


def test_any_damage_is_noticed(saved: Path) -> None:
    file = saved / "snapshot"
    whole = file.read_bytes()
    for position in range(len(whole)):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert kept(saved).load(digest_at) == Ignored("it is damaged")
        file.write_bytes(whole[:position])
        assert kept(saved).load(digest_at) == Ignored("it is damaged")


def test_a_directory_in_its_place_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "snapshot").mkdir()
    assert kept(tmp_path).load(digest_at) == Ignored("it cannot be read: Is a directory")


def test_a_power_cut_while_saving_leaves_the_old_one(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerLost(Exception):
        pass

    def cut(_: int) -> None:
        raise PowerLost

    monkeypatch.setattr("os.fsync", cut)
    with pytest.raises(PowerLost):
        kept(saved).save(7, DIGEST, {"open": 2})
    assert kept(saved).load(digest_at) == Snapshot(7, {"open": 1})


def test_the_fingerprint_changes_with_the_code_and_what_else_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(Path(snapshots.__file__).parent, tmp_path / "memory_copy")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = fingerprint_of(["memory_copy"])
    assert fingerprint_of(["memory_copy"]) == before
    assert fingerprint_of(["memory_copy"], "CPython 3.12") != before
    assert fingerprint_of(["memory_copy", "journal"]) != before
    source = tmp_path / "memory_copy" / "terms.py"
    source.write_bytes(source.read_bytes() + b"\n")
    assert fingerprint_of(["memory_copy"]) != before
    one = fingerprint_of(["memory_copy.chain"])
    assert one != fingerprint_of(["memory_copy.terms"])
    source.write_bytes(source.read_bytes() + b"\n")
    assert fingerprint_of(["memory_copy.chain"]) == one
    with pytest.raises(ModuleNotFoundError, match="no module memory_lost"):
        fingerprint_of(["memory_lost"])
