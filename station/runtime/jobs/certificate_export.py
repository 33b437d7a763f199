"""Where do other programs of the host find the certificates of the store?

`<data>/certificates/<use>/<sha256>.pem`: a mirror of the memory, made anew at every start and
kept as it changes. Only the station may read it. Nothing reads it back.
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
    """Keep the mirror until cancelled.

    Raises:
        OSError: it cannot be written.
    """
    written: tuple[CertificateInstalled, ...] | None = None
    while True:
        current = await desired_state.wait_part_changed(lambda level: level.certificates, written)
        written = current.certificates
        await trio.to_thread.run_sync(write_certificate_files, written, directory)


def write_certificate_files(certificates: Iterable[CertificateInstalled], directory: Path) -> None:
    """Write what is missing, remove what is too much. Raises OSError."""
    wanted = {directory / one.use / f"{one.sha256}.pem": one.pem for one in certificates}
    for path in directory.glob("*/*"):
        if path not in wanted:
            path.unlink()
    for path, pem in wanted.items():
        for folder in (directory, path.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        write_atomically(path, pem.encode("ascii"), mode=0o600)
