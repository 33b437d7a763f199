"""Job for firmware updates: download, verify, install, confirm. L01.

The desired state has one step at a time; each step ends with an observation, from which the rules
of block L decide the next one:

    download   fetch the file, with the attempts of the request     FirmwareDownloadEnded
    verify     check its signature                                  FirmwareSignatureChecked
    install    check the signature again, run the installer         FirmwareInstallEnded
    confirm    after the restart: is the new release current?       FirmwareActivationChecked

A step that is not desired any more is cancelled. After a restart of the station the journal gives
the same step again: a download continues where it was interrupted, any other step is repeated. The
installer is a program of its own, with the contract in `station.firmware.swap`.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Literal

import trio

from journal.events import Observation
from journal.observations import (
    FirmwareActivationChecked,
    FirmwareDownloadEnded,
    FirmwareInstallEnded,
    FirmwareSignatureChecked,
)
from journal.state import State
from station.core.context import Product
from station.core.desired import DesiredFirmware, DesiredState
from station.runtime.crypto.process import Execute, execute_apart
from station.runtime.crypto.program import Refused, SignatureOrder
from station.runtime.jobs.installer_process import (
    InstallFailed,
    InstallFailureStatus,
    current_version,
    install_image,
)
from station.runtime.reconcile import run_while_desired
from station.runtime.secrets.urls import restore_url
from station.runtime.transfers.results import TransferFailed
from station.runtime.transfers.retry import download_file
from station.runtime.transfers.url import SCHEMES
from station.runtime.watched_value import WatchedValue

log = logging.getLogger("station.firmware")

# L01.FR.29
INSTALL_OUTCOMES: Final[dict[InstallFailureStatus, Literal["failed", "invalid_firmware"]]] = {
    "InstallationFailed": "failed",
    "InstallVerificationFailed": "invalid_firmware",
}


class FirmwareUpdateJob:
    """Executes `firmware` of the desired state."""

    def __init__(
        self,
        product: Product,
        download_directory: Path,
        *,
        installer_command: tuple[str, ...],
        installer_base: Path,
        observe: Callable[[Observation], None],
        current_state: Callable[[], State],
        read_secret: Callable[[str], str | None],
        execute: Execute = execute_apart,
    ) -> None:
        """Prepare.

        Args:
            product: has the file transfer protocols.
            download_directory: used by this job only.
            installer_command: the installer, without its arguments.
            installer_base: directory of the releases, for the installer.
            observe: records the results.
            current_state: the state of the last commit.
            read_secret: a URL with credentials, by its reference.
            execute: checks a signature; blocks.
        """
        self._product = product
        self._download_directory = download_directory
        self._installer_command = installer_command
        self._installer_base = installer_base
        self._observe = observe
        self._current_state = current_state
        self._read_secret = read_secret
        self._execute = execute
        self._signature_limiter = trio.CapacityLimiter(1)  # also of checks that were cancelled
        self._steps: dict[str, Callable[[DesiredFirmware], Awaitable[None]]] = {
            "download": self._download_image,
            "verify": self._verify_signature,
            "install": self._install_image,
            "confirm": self._confirm_activation,
        }

    async def run(self, desired_state: WatchedValue[DesiredState]) -> None:
        await run_while_desired(desired_state, lambda desired: desired.firmware, self._run_step)

    async def _run_step(self, update: DesiredFirmware | None) -> None:
        try:
            await trio.to_thread.run_sync(self._delete_other_files, update)
        except OSError as error:  # the step itself may still succeed
            log.warning("%s: old downloads cannot be deleted: %s", self._download_directory, error)
        if update is not None and update.step in self._steps:
            log.info("firmware update %d: step %s", update.order.request_id, update.step)
            await self._steps[update.step](update)

    def _image_path(self, update: DesiredFirmware) -> Path:
        return self._download_directory / f"{update.update_seq}.bin"

    def _delete_other_files(self, update: DesiredFirmware | None) -> None:
        """Delete the files of all updates but this one. Blocks."""
        if update is None:
            shutil.rmtree(self._download_directory, ignore_errors=True)
            return
        self._download_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in self._download_directory.iterdir():
            if not file.name.startswith(f"{update.update_seq}."):
                file.unlink()

    # --- Steps ----------------------------------------------------------------------------------

    async def _download_image(self, update: DesiredFirmware) -> None:
        """Report the result after the last attempt. L01.FR.30."""
        problem = await self._download_problem(update)
        if problem:
            log.warning("firmware update %d: download: %s", update.order.request_id, problem)
        self._observe(FirmwareDownloadEnded(update.update_seq, not problem, problem))

    async def _download_problem(self, update: DesiredFirmware) -> str:
        """Download the file; the reason if that failed, else empty."""
        file, ordered = self._image_path(update), update.order
        if await trio.to_thread.run_sync(file.exists):
            return ""  # complete, but the program ended before that was committed
        url = restore_url(ordered.location, self._read_secret)
        if url is None:
            return "the credentials of the URL are lost"
        scheme = url.partition("://")[0].lower()
        if SCHEMES.get(scheme) not in self._product.profile.limits.file_transfer_protocols:
            return f"{scheme[:10]!r} is no protocol of this product"
        certificates = self._current_state().certificates.for_uses("CSMSRootCertificate")
        roots = "".join(certificate.pem for certificate in certificates)
        try:
            await download_file(
                url,
                file,
                roots_pem=roots,
                attempts=ordered.attempts_max,
                interval_s=ordered.retry_interval_s,
            )
        except TransferFailed as failure:
            return str(failure)
        return ""

    async def _verify_signature(self, update: DesiredFirmware) -> None:
        """Check the signature; a file that is lost counts as a failed download. L01.FR.04."""
        try:
            problem = await self._signature_problem(update)
        except OSError as error:
            self._observe(
                FirmwareDownloadEnded(update.update_seq, False, f"the file is lost: {error}")
            )
            return
        self._observe(FirmwareSignatureChecked(update.update_seq, not problem, problem))

    async def _signature_problem(self, update: DesiredFirmware) -> str:
        """What is wrong with the signature; empty: nothing. Raises OSError."""
        ordered = update.order
        problem = await trio.to_thread.run_sync(
            signature_problem,
            self._image_path(update),
            ordered.signing_certificate,
            ordered.signature,
            self._execute,
            abandon_on_cancel=True,
            limiter=self._signature_limiter,
        )
        if problem:
            log.warning("firmware update %d: signature: %s", ordered.request_id, problem)
        return problem

    async def _install_image(self, update: DesiredFirmware) -> None:
        """Run the installer if the file still has its signature. L01.FR.28, L01.FR.29."""
        try:
            problem = await self._signature_problem(update)
        except OSError as error:
            self._observe(
                FirmwareInstallEnded(update.update_seq, "failed", f"the file is lost: {error}")
            )
            return
        if problem:
            self._observe(FirmwareInstallEnded(update.update_seq, "invalid_firmware", problem))
            return
        try:
            version = await install_image(
                self._image_path(update), self._installer_base, program=self._installer_command
            )
        except InstallFailed as failure:
            log.warning("firmware update %d: %s", update.order.request_id, failure)
            self._observe(
                FirmwareInstallEnded(
                    update.update_seq, INSTALL_OUTCOMES[failure.status], str(failure)
                )
            )
        else:
            self._observe(
                FirmwareInstallEnded(update.update_seq, "restart_required", version=version)
            )

    async def _confirm_activation(self, update: DesiredFirmware) -> None:
        """After the restart, check that the new release is the current one. L01.FR.32 (a).

        It is not if the service manager went back to the previous release because the new one did
        not start.
        """
        try:
            version = await current_version(self._installer_base, program=self._installer_command)
        except InstallFailed as failure:
            problem = str(failure)
        else:
            problem = (
                ""
                if version == update.version
                else f"release {version} is current, not {update.version}"
            )
        self._observe(FirmwareActivationChecked(update.update_seq, not problem, problem))


def signature_problem(file: Path, certificate_pem: str, signature: str, execute: Execute) -> str:
    """What is wrong with the signature of a file; empty: nothing. Blocks.

    The certificate was checked when the update was requested.

    Raises:
        OSError: the file cannot be read.
    """
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").digest()
    answer = execute(SignatureOrder(certificate_pem, digest, signature))
    return answer.reason if isinstance(answer, Refused) else ""
