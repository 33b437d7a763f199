"""What of a download survives, and is it the right bytes?"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from station.runtime.transfers import Limits, TransferFailed, discard
from station.runtime.transfers.partial import SYNC_BYTES, Partial
from station.runtime.transfers.target import Target, parse

TARGET = parse("https://host/image.bin")
LIMITS = Limits(spare_bytes=0)


def begun(into: Path, target: Target = TARGET, *, resume: bool = True) -> Partial:
    return Partial(into, target, LIMITS, resume=resume)


def interrupted(into: Path) -> None:
    """Leave 5 of 10 bytes."""
    partial = begun(into)
    partial.begin(10, '"1"')
    partial.append(b"01234")
    partial.close()


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "image.bin"


def test_what_came_is_found_again(into: Path) -> None:
    interrupted(into)
    partial = begun(into)
    assert (partial.size, partial.total, partial.validator) == (5, 10, '"1"')
    assert partial.resumable
    partial.append(b"56789")
    partial.install()
    assert into.read_bytes() == b"0123456789"
    assert list(into.parent.iterdir()) == [into]


def test_the_name_appears_with_the_whole_file_only(into: Path) -> None:
    into.write_bytes(b"the old one")
    interrupted(into)
    assert into.read_bytes() == b"the old one"


def test_bytes_that_were_not_synced_before_a_power_cut_are_not_trusted(into: Path) -> None:
    interrupted(into)
    part = into.with_name("image.bin.part")
    part.write_bytes(b"01234" + bytes(20))
    partial = begun(into)
    assert partial.size == 5
    partial.append(b"56789")
    partial.install()
    assert into.read_bytes() == b"0123456789"


def test_a_power_cut_costs_at_most_what_was_not_synced(into: Path) -> None:
    partial = begun(into)
    partial.begin(None, '"1"')
    for _ in range(3):
        partial.append(bytes(SYNC_BYTES // 2))
    resumed = begun(into)  # `partial` was never closed
    assert resumed.size == SYNC_BYTES
    partial.close()
    resumed.close()


@pytest.mark.parametrize("left", [b"0123", b""])
def test_a_part_shorter_than_its_receipt_is_worth_nothing(into: Path, left: bytes) -> None:
    interrupted(into)
    into.with_name("image.bin.part").write_bytes(left)
    partial = begun(into)
    assert not partial.resumable
    partial.close()


@pytest.mark.parametrize(
    "url", ["https://host/image2.bin", "https://other/image.bin", "https://host/image.bin?v=2"]
)
def test_the_part_of_another_url_is_worth_nothing(into: Path, url: str) -> None:
    interrupted(into)
    partial = begun(into, parse(url))
    assert (partial.size, partial.resumable) == (0, False)
    partial.close()
    assert list(into.parent.iterdir()) == []


def test_new_credentials_are_no_other_url(into: Path) -> None:
    interrupted(into)
    partial = begun(into, parse("https://user:new@host/image.bin"))
    assert partial.size == 5
    partial.close()


@pytest.mark.parametrize("name", ["image.bin.part", "image.bin.part.json"])
def test_half_of_what_belongs_together_is_worth_nothing(into: Path, name: str) -> None:
    interrupted(into)
    into.with_name(name).unlink()
    partial = begun(into)
    assert partial.size == 0
    partial.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    receipt=st.binary(max_size=200)
    | st.sampled_from([b"{}", b"null", b'{"source":1}', b'{"size":-1}'])
)
def test_no_receipt_breaks_a_download(into: Path, receipt: bytes) -> None:
    interrupted(into)
    into.with_name("image.bin.part.json").write_bytes(receipt)
    partial = begun(into)
    assert partial.size == 0
    partial.close()


@pytest.mark.parametrize("size", [0, -1, 2**63])
def test_a_receipt_that_cannot_be_true_is_ignored(into: Path, size: int) -> None:
    interrupted(into)
    receipt = into.with_name("image.bin.part.json")
    receipt.write_bytes(receipt.read_bytes().replace(b'"size":5', f'"size":{size}'.encode()))
    partial = begun(into)
    assert partial.size == 0
    partial.close()


def test_without_a_way_to_tell_versions_nothing_is_kept(into: Path) -> None:
    partial = begun(into)
    partial.begin(10, "")
    partial.append(b"01234")
    partial.close()
    assert list(into.parent.iterdir()) == []


def test_more_than_was_announced_is_not_kept(into: Path) -> None:
    partial = begun(into)
    partial.begin(4, '"1"')
    partial.append(b"01234")
    partial.close()
    assert list(into.parent.iterdir()) == []


def test_beginning_again_forgets_what_came(into: Path) -> None:
    interrupted(into)
    partial = begun(into)
    partial.begin(3, '"2"')
    partial.append(b"abc")
    partial.install()
    assert into.read_bytes() == b"abc"


def test_discarding_leaves_nothing(into: Path) -> None:
    interrupted(into)
    discard(into)
    assert list(into.parent.iterdir()) == []
    discard(into)


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(TransferFailed, match="No such file") as failed:
        begun(tmp_path / "gone" / "image.bin")
    assert failed.value.permanent


def test_a_disk_that_fills_up_while_the_file_comes_stops_it(
    into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = begun(into)
    partial.begin(None, '"1"')
    monkeypatch.setattr(partial, "_limits", Limits(spare_bytes=1 << 60))
    with pytest.raises(TransferFailed, match="no room"):
        partial.append(bytes(SYNC_BYTES))
    partial.close()
    assert list(into.parent.iterdir()) == []
