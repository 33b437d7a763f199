"""Who fetches, checks and installs the firmware the CSMS wants? (L01)

One step at a time, as `wanted.firmware` says, and each ends in an observation; what is not wanted
any more is cancelled. After a restart the step comes out of the journal again: a download goes on
where it broke off, everything else is done anew. The installer is a program of its own; its
contract stands in `station.firmware.swap`.
"""

from __future__ import annotations

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
from station.runtime.jobs.installer_process import (
    InstallFailed,
    InstallFailureStatus,
    current_version,
    install_image,
)
from station.runtime.reconcile import run_while_desired
from station.runtime.secrets.urls import restore_url
from station.runtime.watched_value import WatchedValue

log = logging.getLogger("station.firmware")

# L01.FR.29
INSTALL_OUTCOMES: Final[dict[InstallFailureStatus, Literal["failed", "invalid_firmware"]]] = {
    "InstallationFailed": "failed",
    "InstallVerificationFailed": "invalid_firmware",
}


class FirmwareUpdateJob:
    """Does what `wanted.firmware` says."""

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
    ) -> None:
        """`directory`: of this task alone, for downloads. `base`: the installer's."""
        self._product = product
        self._download_directory = download_directory
        self._installer_command = installer_command
        self._installer_base = installer_base
        self._observe = observe
        self._current_state = current_state
        self._read_secret = read_secret
        self._steps: dict[str, Callable[[DesiredFirmware], Awaitable[None]]] = {
            "download": self._download_image,
            "verify": self._verify_signature,
            "install": self._install_image,
            "confirm": self._confirm_activation,
        }

    async def run(self, desired_state: WatchedValue[DesiredState]) -> None:
        await run_while_desired(desired_state, lambda level: level.firmware, self._run_step)

    async def _run_step(self, update: DesiredFirmware | None) -> None:
        try:
            await trio.to_thread.run_sync(self._delete_other_files, update)
        except OSError as error:  # the step finds out whether it can do without
            log.warning("%s: %s", self._download_directory, error)
        if update is not None and update.step in self._steps:
            log.info("firmware update %d: %s", update.order.request_id, update.step)
            await self._steps[update.step](update)

    def _image_path(self, update: DesiredFirmware) -> Path:
        return self._download_directory / f"{update.update_seq}.bin"

    def _delete_other_files(self, update: DesiredFirmware | None) -> None:
        """Only the update that runs has files here. Blocks."""
        if update is None:
            shutil.rmtree(self._download_directory, ignore_errors=True)
            return
        self._download_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in self._download_directory.iterdir():
            if not each.name.startswith(f"{update.update_seq}."):
                each.unlink()

    # --- The steps ------------------------------------------------------------------------------

    async def _download_image(self, update: DesiredFirmware) -> None:
        """L01.FR.30: whatever went wrong is told once all attempts are made."""
        why = await self._fetch_image(update)
        if why:
            log.warning("firmware update %d: %s", update.order.request_id, why)
        self._observe(FirmwareDownloadEnded(update.update_seq, not why, why))

    async def _fetch_image(self, update: DesiredFirmware) -> str:
        """Why the file could not be fetched; empty: it is here."""
        # Here, and not above: it brings half a second of imports with it.
        from station.runtime.transfers import (
            SCHEMES,
            TransferFailed,
            create_tls_context,
            download_file,
        )

        file, ordered = self._image_path(update), update.order
        if await trio.to_thread.run_sync(file.exists):
            return ""  # complete, but the program ended before it could say so
        url = restore_url(ordered.location, self._read_secret)
        if url is None:
            return "the credentials of the URL are lost"
        scheme = url.partition("://")[0].lower()
        if SCHEMES.get(scheme) not in self._product.profile.limits.file_transfer_protocols:
            return f"{scheme[:10]!r} is no protocol of this product"
        roots = "".join(
            one.pem for one in self._current_state().certificates.for_uses("CSMSRootCertificate")
        )
        try:
            await download_file(
                url,
                file,
                tls_context=await trio.to_thread.run_sync(create_tls_context, roots),
                attempts=ordered.attempts_max,
                interval_s=ordered.retry_interval_s,
            )
        except (TransferFailed, OSError) as failure:
            return str(failure)
        return ""

    async def _verify_signature(self, update: DesiredFirmware) -> None:
        """L01.FR.04. A file that is gone was never downloaded; one that is wrong is of no use."""
        try:
            why = await self._signature_problem(update)
        except OSError as error:
            self._observe(
                FirmwareDownloadEnded(update.update_seq, False, f"the file is lost: {error}")
            )
            return
        self._observe(FirmwareSignatureChecked(update.update_seq, not why, why))

    async def _signature_problem(self, update: DesiredFirmware) -> str:
        """What is wrong with the signature; empty: nothing. Raises OSError."""
        ordered = update.order
        why = await trio.to_thread.run_sync(
            signature_problem,
            self._image_path(update),
            ordered.signing_certificate,
            ordered.signature,
        )
        if why:
            log.warning("firmware update %d: %s", ordered.request_id, why)
        return why

    async def _install_image(self, update: DesiredFirmware) -> None:
        """Hand the file to the installer, if it still is what was signed. L01.FR.28, L01.FR.29."""
        try:
            why = await self._signature_problem(update)
        except OSError as error:
            self._observe(
                FirmwareInstallEnded(update.update_seq, "failed", f"the file is lost: {error}")
            )
            return
        if why:
            self._observe(FirmwareInstallEnded(update.update_seq, "invalid_firmware", why))
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
        """After the restart: is it the new release that counts? L01.FR.32 (a).

        It is not where somebody went back to the one before, because the new one did not start.
        """
        try:
            version = await current_version(self._installer_base, program=self._installer_command)
        except InstallFailed as failure:
            why = str(failure)
        else:
            why = (
                "" if version == update.version else f"{version} is in place, not {update.version}"
            )
        self._observe(FirmwareActivationChecked(update.update_seq, not why, why))


def signature_problem(file: Path, certificate_pem: str, signature: str) -> str:
    """What is wrong with the signature of a file; empty: nothing. Blocks.

    The certificate was found good when the update was ordered.

    Raises:
        OSError: the file cannot be read.
    """
    from cryptography.x509 import load_pem_x509_certificate

    from station.firmware.signature import SignatureRefused, check_signature, hash_file

    with file.open("rb") as content:
        digest = hash_file(content)
    try:
        check_signature(load_pem_x509_certificate(certificate_pem.encode()), digest, signature)
    except SignatureRefused as refusal:
        return str(refusal)
    return ""
