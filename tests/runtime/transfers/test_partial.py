"""Partial downloads: what is kept after a failure or a power cut, and when it is resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from station.runtime.transfers.partial_download import (
    SYNC_INTERVAL_BYTES,
    PartialDownload,
    discard_partial,
)
from station.runtime.transfers.results import TransferFailed, TransferLimits
from station.runtime.transfers.url import TransferUrl, parse_url

TARGET = parse_url("https://host/image.bin")
LIMITS = TransferLimits(free_bytes_min=0)


def open_partial(target_path: Path, target: TransferUrl = TARGET) -> PartialDownload:
    return PartialDownload(target_path, target, LIMITS)


def interrupt_download(target_path: Path) -> None:
    """Leave 5 of 10 bytes."""
    partial = open_partial(target_path)
    partial.start_from_zero(10, '"1"')
    partial.append(b"01234")
    partial.close()


@pytest.fixture
def target_path(tmp_path: Path) -> Path:
    return tmp_path / "image.bin"


def test_received_bytes_are_resumed(target_path: Path) -> None:
    interrupt_download(target_path)
    partial = open_partial(target_path)
    assert (partial.received_bytes, partial.total_bytes, partial.validator) == (5, 10, '"1"')
    assert partial.is_resumable
    partial.append(b"56789")
    partial.move_into_place()
    assert target_path.read_bytes() == b"0123456789"
    assert list(target_path.parent.iterdir()) == [target_path]


def test_the_file_gets_its_name_when_complete(target_path: Path) -> None:
    target_path.write_bytes(b"the old file")
    interrupt_download(target_path)
    assert target_path.read_bytes() == b"the old file"


def test_bytes_that_were_not_synced_before_a_power_cut_are_not_trusted(target_path: Path) -> None:
    interrupt_download(target_path)
    part = target_path.with_name("image.bin.part")
    part.write_bytes(b"01234" + bytes(20))
    partial = open_partial(target_path)
    assert partial.received_bytes == 5
    partial.append(b"56789")
    partial.move_into_place()
    assert target_path.read_bytes() == b"0123456789"


def test_a_power_cut_costs_at_most_what_was_not_synced(target_path: Path) -> None:
    partial = open_partial(target_path)
    partial.start_from_zero(None, '"1"')
    for _ in range(3):
        partial.append(bytes(SYNC_INTERVAL_BYTES // 2))
    resumed = open_partial(target_path)  # `partial` was never closed
    assert resumed.received_bytes == SYNC_INTERVAL_BYTES
    partial.close()
    resumed.close()


@pytest.mark.parametrize("left", [b"0123", b""])
def test_fewer_bytes_than_the_state_has_are_not_resumed(target_path: Path, left: bytes) -> None:
    interrupt_download(target_path)
    target_path.with_name("image.bin.part").write_bytes(left)
    partial = open_partial(target_path)
    assert not partial.is_resumable
    partial.close()


@pytest.mark.parametrize(
    "url", ["https://host/image2.bin", "https://other/image.bin", "https://host/image.bin?v=2"]
)
def test_bytes_of_another_url_are_not_resumed(target_path: Path, url: str) -> None:
    interrupt_download(target_path)
    partial = open_partial(target_path, parse_url(url))
    assert (partial.received_bytes, partial.is_resumable) == (0, False)
    partial.close()
    assert list(target_path.parent.iterdir()) == []


def test_a_url_with_new_credentials_is_resumed(target_path: Path) -> None:
    interrupt_download(target_path)
    partial = open_partial(target_path, parse_url("https://user:new@host/image.bin"))
    assert partial.received_bytes == 5
    partial.close()


@pytest.mark.parametrize("name", ["image.bin.part", "image.bin.part.json"])
def test_bytes_without_state_or_state_without_bytes_are_not_resumed(
    target_path: Path, name: str
) -> None:
    interrupt_download(target_path)
    target_path.with_name(name).unlink()
    partial = open_partial(target_path)
    assert partial.received_bytes == 0
    partial.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    state=st.binary(max_size=200)
    | st.sampled_from([b"{}", b"null", b'{"source":1}', b'{"size":-1}'])
)
def test_a_malformed_state_is_ignored(target_path: Path, state: bytes) -> None:
    interrupt_download(target_path)
    target_path.with_name("image.bin.part.json").write_bytes(state)
    partial = open_partial(target_path)
    assert partial.received_bytes == 0
    partial.close()


@pytest.mark.parametrize("size", [0, -1, 2**63])
def test_a_state_with_an_impossible_size_is_ignored(target_path: Path, size: int) -> None:
    interrupt_download(target_path)
    state = target_path.with_name("image.bin.part.json")
    state.write_bytes(state.read_bytes().replace(b'"size":5', f'"size":{size}'.encode()))
    partial = open_partial(target_path)
    assert partial.received_bytes == 0
    partial.close()


def test_without_a_validator_nothing_is_kept(target_path: Path) -> None:
    partial = open_partial(target_path)
    partial.start_from_zero(10, "")
    partial.append(b"01234")
    partial.close()
    assert list(target_path.parent.iterdir()) == []


def test_more_bytes_than_announced_are_not_kept(target_path: Path) -> None:
    partial = open_partial(target_path)
    partial.start_from_zero(4, '"1"')
    partial.append(b"01234")
    partial.close()
    assert list(target_path.parent.iterdir()) == []


def test_starting_from_zero_discards_the_bytes(target_path: Path) -> None:
    interrupt_download(target_path)
    partial = open_partial(target_path)
    partial.start_from_zero(3, '"2"')
    partial.append(b"abc")
    partial.move_into_place()
    assert target_path.read_bytes() == b"abc"


def test_discarding_deletes_all_files(target_path: Path) -> None:
    interrupt_download(target_path)
    discard_partial(target_path)
    assert list(target_path.parent.iterdir()) == []
    discard_partial(target_path)


def test_a_missing_directory_is_a_permanent_failure(tmp_path: Path) -> None:
    with pytest.raises(TransferFailed, match="No such file") as failed:
        open_partial(tmp_path / "gone" / "image.bin")
    assert failed.value.permanent


def test_a_disk_that_fills_up_ends_the_download(
    target_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = open_partial(target_path)
    partial.start_from_zero(None, '"1"')
    monkeypatch.setattr(partial, "_limits", TransferLimits(free_bytes_min=1 << 60))
    with pytest.raises(TransferFailed, match="not enough disk space"):
        partial.append(bytes(SYNC_INTERVAL_BYTES))
    partial.close()
    assert list(target_path.parent.iterdir()) == []
