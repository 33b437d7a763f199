"""Firmware job: a disk that fails ends the step with a result; signatures. L01.FR.30, L01.FR.04."""

from __future__ import annotations

import threading
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from journal.events import Observation
from journal.observations import FirmwareDownloadEnded, FirmwareSignatureChecked
from journal.projections.certificates import CertificateHash, CertificateInstalled, Certificates
from journal.projections.firmware import FirmwareUpdateOrdered
from journal.state import State
from station.core.desired import DesiredFirmware, DesiredState
from station.runtime.crypto.process import Execute
from station.runtime.crypto.program import (
    Answer,
    Order,
    Refused,
    SignatureOrder,
    SignatureValid,
    execute,
)
from station.runtime.jobs.firmware import FirmwareUpdateJob
from station.runtime.watched_value import WatchedValue
from tests.support.story import JOURNAL_ID, load_product

ORDERED = FirmwareUpdateOrdered(
    request_id=7,
    location="http://127.0.0.1:9/firmware.bin",
    retrieve_at="",
    install_at=None,
    attempts_max=1,
    retry_interval_s=1,
    signing_certificate="",
    signature="",
)
VERIFY_STEP = DesiredFirmware(update_seq=3, step="verify", order=ORDERED, version="")
DOWNLOAD_STEP = DesiredFirmware(update_seq=3, step="download", order=ORDERED, version="")


async def download_outcome(directory: Path, root_pem: str = "") -> Observation:
    """The observation that ends a download to that directory, with a trusted root."""
    root = CertificateInstalled(
        use="CSMSRootCertificate",
        pem=root_pem,
        sha256="",
        hash_data=CertificateHash("", "", ""),
        subject="",
        issuer="",
        not_before="",
        not_after="",
    )
    state = replace(State(JOURNAL_ID), certificates=Certificates((root,)))
    [observation] = await observe_step(directory, DOWNLOAD_STEP, state)
    return observation


async def observe_step(
    directory: Path,
    step: DesiredFirmware,
    state: State = State(JOURNAL_ID),  # noqa: B008  # frozen
    execute: Execute = execute,
) -> list[Observation]:
    """What is observed in a step of an update, up to its first observation."""
    observed: list[Observation] = []
    job = FirmwareUpdateJob(
        load_product(),
        directory,
        installer_command=("false",),
        installer_base=directory,
        observe=observed.append,
        current_state=lambda: state,
        read_secret=lambda reference: None,
        execute=execute,
    )
    with trio.move_on_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(job.run, WatchedValue(DesiredState(firmware=step)))
            while not observed:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    return observed


async def test_a_directory_that_cannot_be_made_fails_the_download_l01_fr_30(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file in place of the directory")
    ended = await download_outcome(tmp_path / "file" / "downloads")
    assert isinstance(ended, FirmwareDownloadEnded)
    assert (ended.update_seq, ended.succeeded) == (3, False)
    assert "downloads" in ended.reason


async def test_roots_that_cannot_be_loaded_fail_the_download_l01_fr_30(tmp_path: Path) -> None:
    ended = await download_outcome(tmp_path / "downloads", root_pem="elephant")
    assert isinstance(ended, FirmwareDownloadEnded)
    assert not ended.succeeded
    assert ended.reason.startswith("trusted roots: ")


@pytest.mark.parametrize("problem", ["", "the signature does not match the file"])
async def test_the_signature_of_the_whole_file_is_checked_l01_fr_04(
    problem: str, tmp_path: Path
) -> None:
    image = tmp_path / "3.bin"
    image.write_bytes(b"firmware" * 100_000)
    orders: list[Order] = []

    def execute(order: Order) -> Answer:
        orders.append(order)
        return Refused(problem) if problem else SignatureValid()

    [checked] = await observe_step(tmp_path, VERIFY_STEP, execute=execute)
    assert checked == FirmwareSignatureChecked(3, not problem, problem)
    digest = sha256(image.read_bytes()).digest()
    assert orders == [SignatureOrder(ORDERED.signing_certificate, digest, ORDERED.signature)]


async def test_no_stop_waits_for_the_check_of_a_signature(tmp_path: Path) -> None:
    (tmp_path / "3.bin").write_bytes(b"firmware")
    started, release = trio.Event(), threading.Event()

    def execute(order: Order) -> Answer:
        trio.from_thread.run_sync(started.set)
        assert release.wait(30)
        return SignatureValid()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(observe_step, tmp_path, VERIFY_STEP, execute=execute))
            await started.wait()
            nursery.cancel_scope.cancel()
        assert not release.is_set()
    finally:
        release.set()
