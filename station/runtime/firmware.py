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

from journal.observations import (
    ActivationChecked,
    DownloadEnded,
    InstallEnded,
    SignatureChecked,
)
from journal.state import State
from journal.terms import Observation
from station.case import Product
from station.runtime.follow import follow
from station.runtime.installer import FailureStatus, InstallFailed, current, install
from station.runtime.latest import Latest
from station.runtime.locations import revealed
from station.wanted import Wanted, WantedFirmware

log = logging.getLogger("station.firmware")

# L01.FR.29
OUTCOMES: Final[dict[FailureStatus, Literal["failed", "invalid"]]] = {
    "InstallationFailed": "failed",
    "InstallVerificationFailed": "invalid",
}


class FirmwareWork:
    """Does what `wanted.firmware` says."""

    def __init__(
        self,
        product: Product,
        directory: Path,
        *,
        installer: tuple[str, ...],
        base: Path,
        observe: Callable[[Observation], None],
        memory: Callable[[], State],
        reveal: Callable[[str], str | None],
    ) -> None:
        """`directory`: of this task alone, for downloads. `base`: the installer's."""
        self._product = product
        self._directory = directory
        self._installer = installer
        self._base = base
        self._observe = observe
        self._memory = memory
        self._reveal = reveal
        self._steps: dict[str, Callable[[WantedFirmware], Awaitable[None]]] = {
            "download": self._download,
            "verify": self._verify,
            "install": self._install,
            "confirm": self._confirm,
        }

    async def run(self, wanted: Latest[Wanted]) -> None:
        await follow(wanted, lambda level: level.firmware, self._work)

    async def _work(self, level: WantedFirmware | None) -> None:
        try:
            await trio.to_thread.run_sync(self._tidy, level)
        except OSError as error:  # the step finds out whether it can do without
            log.warning("%s: %s", self._directory, error)
        if level is not None and level.step in self._steps:
            log.info("firmware update %d: %s", level.ordered.request_id, level.step)
            await self._steps[level.step](level)

    def _file(self, level: WantedFirmware) -> Path:
        return self._directory / f"{level.update}.bin"

    def _tidy(self, level: WantedFirmware | None) -> None:
        """Only the update that runs has files here. Blocks."""
        if level is None:
            shutil.rmtree(self._directory, ignore_errors=True)
            return
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in self._directory.iterdir():
            if not each.name.startswith(f"{level.update}."):
                each.unlink()

    # --- The steps ------------------------------------------------------------------------------

    async def _download(self, level: WantedFirmware) -> None:
        """L01.FR.30: whatever went wrong is told once all attempts are made."""
        why = await self._fetched(level)
        if why:
            log.warning("firmware update %d: %s", level.ordered.request_id, why)
        self._observe(DownloadEnded(level.update, not why, why))

    async def _fetched(self, level: WantedFirmware) -> str:
        """Why the file could not be fetched; empty: it is here."""
        # Here, and not above: it brings half a second of imports with it.
        from station.runtime.transfers import SCHEMES, TransferFailed, download, trust_of

        file, ordered = self._file(level), level.ordered
        if await trio.to_thread.run_sync(file.exists):
            return ""  # complete, but the program ended before it could say so
        url = revealed(ordered.location, self._reveal)
        if url is None:
            return "the credentials of the URL are lost"
        scheme = url.partition("://")[0].lower()
        if SCHEMES.get(scheme) not in self._product.profile.limits.file_transfer_protocols:
            return f"{scheme[:10]!r} is no protocol of this product"
        roots = "".join(one.pem for one in self._memory().certificates.of("CSMSRootCertificate"))
        try:
            await download(
                url,
                file,
                trust=await trio.to_thread.run_sync(trust_of, roots),
                attempts=ordered.attempts,
                interval_s=ordered.interval_s,
            )
        except (TransferFailed, OSError) as failure:
            return str(failure)
        return ""

    async def _verify(self, level: WantedFirmware) -> None:
        """L01.FR.04. A file that is gone was never downloaded; one that is wrong is of no use."""
        try:
            why = await self._complaint(level)
        except OSError as error:
            self._observe(DownloadEnded(level.update, False, f"the file is lost: {error}"))
            return
        self._observe(SignatureChecked(level.update, not why, why))

    async def _complaint(self, level: WantedFirmware) -> str:
        """What is wrong with the signature; empty: nothing. Raises OSError."""
        ordered = level.ordered
        why = await trio.to_thread.run_sync(
            complaint, self._file(level), ordered.signing_certificate, ordered.signature
        )
        if why:
            log.warning("firmware update %d: %s", ordered.request_id, why)
        return why

    async def _install(self, level: WantedFirmware) -> None:
        """Hand the file to the installer, if it still is what was signed. L01.FR.28, L01.FR.29."""
        try:
            why = await self._complaint(level)
        except OSError as error:
            self._observe(InstallEnded(level.update, "failed", f"the file is lost: {error}"))
            return
        if why:
            self._observe(InstallEnded(level.update, "invalid", why))
            return
        try:
            version = await install(self._file(level), self._base, program=self._installer)
        except InstallFailed as failure:
            log.warning("firmware update %d: %s", level.ordered.request_id, failure)
            self._observe(InstallEnded(level.update, OUTCOMES[failure.status], str(failure)))
        else:
            self._observe(InstallEnded(level.update, "restart", version=version))

    async def _confirm(self, level: WantedFirmware) -> None:
        """After the restart: is it the new release that counts? L01.FR.32 (a).

        It is not where somebody went back to the one before, because the new one did not start.
        """
        try:
            version = await current(self._base, program=self._installer)
        except InstallFailed as failure:
            why = str(failure)
        else:
            why = "" if version == level.version else f"{version} is in place, not {level.version}"
        self._observe(ActivationChecked(level.update, not why, why))


def complaint(file: Path, certificate_pem: str, signature: str) -> str:
    """What is wrong with the signature of a file; empty: nothing. Blocks.

    The certificate was found good when the update was ordered.

    Raises:
        OSError: the file cannot be read.
    """
    from cryptography.x509 import load_pem_x509_certificate

    from station.firmware.signature import SignatureRefused, check_signature, digest_of

    with file.open("rb") as content:
        digest = digest_of(content)
    try:
        check_signature(load_pem_x509_certificate(certificate_pem.encode()), digest, signature)
    except SignatureRefused as refusal:
        return str(refusal)
    return ""
