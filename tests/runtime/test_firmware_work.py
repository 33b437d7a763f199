"""Does a disk that refuses end an update in words, and not in a task that fails for ever? (L01)"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from journal.observations import DownloadEnded
from journal.projections.firmware import FirmwareOrdered
from journal.state import State
from journal.terms import Observation
from station.runtime import transfers
from station.runtime.firmware import FirmwareWork
from station.runtime.latest import Latest
from station.wanted import Wanted, WantedFirmware
from tests.story import JOURNAL_ID, product

ORDERED = FirmwareOrdered(
    request_id=7,
    location="http://127.0.0.1:9/firmware.bin",
    retrieve_at="",
    install_at=None,
    attempts=1,
    interval_s=1,
    signing_certificate="",
    signature="",
)
LEVEL = WantedFirmware(update=3, step="download", ordered=ORDERED, version="")


async def outcome(directory: Path) -> Observation:
    """What the work on a download in that directory ends in."""
    told: list[Observation] = []
    work = FirmwareWork(
        product(),
        directory,
        installer=("false",),
        base=directory,
        observe=told.append,
        memory=lambda: State(JOURNAL_ID),
        reveal=lambda reference: None,
    )
    with trio.move_on_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work.run, Latest(Wanted(firmware=LEVEL)))
            while not told:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    [only] = told
    return only


async def test_a_directory_that_cannot_be_made_fails_the_download_l01_fr_30(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("where the directory should be")
    ended = await outcome(tmp_path / "file" / "downloads")
    assert isinstance(ended, DownloadEnded)
    assert (ended.update, ended.ok) == (3, False)
    assert "downloads" in ended.why


async def test_roots_that_cannot_be_loaded_fail_the_download_l01_fr_30(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unusable(roots: str) -> None:
        raise OSError("the store of the system cannot be read")

    monkeypatch.setattr(transfers, "trust_of", unusable)
    ended = await outcome(tmp_path / "downloads")
    assert isinstance(ended, DownloadEnded)
    assert not ended.ok
    assert "store of the system" in ended.why
