"""Export of the installed certificates to files, for other programs of the host.

`<data>/certificates/<use>/<sha256>.pem` mirrors the certificates of the state: written at each
start and after each change, mode 0600. The station never reads these files.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import trio

from journal.projections.certificates import CertificateInstalled
from journal.storage.atomic_file import write_atomically
from station.core.desired import DesiredState
from station.runtime.watched_value import WatchedValue


async def export_certificates(desired_state: WatchedValue[DesiredState], directory: Path) -> None:
    """Keep the files equal to the state until cancelled.

    Raises:
        OSError: they cannot be written.
    """
    written: tuple[CertificateInstalled, ...] | None = None
    while True:
        current = await desired_state.wait_part_changed(
            lambda desired: desired.certificates, written
        )
        written = current.certificates
        await trio.to_thread.run_sync(write_certificate_files, written, directory)


def write_certificate_files(certificates: Iterable[CertificateInstalled], directory: Path) -> None:
    """Write every certificate, delete every other file. Raises OSError."""
    pem_by_path = {
        directory / certificate.use / f"{certificate.sha256}.pem": certificate.pem
        for certificate in certificates
    }
    for path in directory.glob("*/*"):
        if path not in pem_by_path:
            path.unlink()
    for path, pem in pem_by_path.items():
        for folder in (directory, path.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        write_atomically(path, pem.encode("ascii"), mode=0o600)
