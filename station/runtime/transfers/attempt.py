"""One attempt of a transfer. A program of its own: `python -m station.runtime.transfers.attempt`.

It gets an `AttemptOrder` as a line of JSON on stdin and prints an `AttemptResult`, its last line.
The clients take 15 to 25 MiB, which end with the process; what they receive cannot hold or damage
the station.

The program ends when stdin closes: the station cancelled the attempt, or ended for any reason. A
download keeps its bytes then. Other signals do not end it: at the stop of a service every process
gets SIGTERM, and the attempt must not fail because it was faster than the station.
"""

from __future__ import annotations

import os
import signal
import ssl
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Final, Literal, Protocol

import msgspec

from station.runtime.transfers.partial_download import PartialDownload
from station.runtime.transfers.results import (
    TransferFailed,
    TransferFailureStatus,
    TransferLimits,
    TransferOptions,
)
from station.runtime.transfers.upload_source import UploadSource
from station.runtime.transfers.url import TransferUrl

NICENESS: Final = 5  # a transfer has time; the station has not
CANCEL_SIGNAL: Final = signal.SIGUSR1  # of this process to itself, to interrupt what blocks


class AttemptOrder(msgspec.Struct, frozen=True):
    """What to transfer.

    Attributes:
        direction: "download" continues what `partial_download` kept of the file; "upload" continues
            what the server has of it.
        url: with credentials.
        file: the path. A download gets it when it is complete.
        roots_pem: trusted in addition to the operating system's authorities.
        limits: see there.
        sent_bytes: of the upload, by the attempts before.
    """

    direction: Literal["download", "upload"]
    url: TransferUrl
    file: str
    roots_pem: str
    limits: TransferLimits
    sent_bytes: int = 0


class AttemptResult(msgspec.Struct, frozen=True):
    """How the attempt ended.

    Attributes:
        failure: one line without credentials; empty: the transfer is complete.
        status, permanent: of the failure, see `TransferFailed`.
        sent_bytes: of an upload.
        notes: lines for the station's log.
    """

    failure: str
    status: TransferFailureStatus = "UploadFailure"
    permanent: bool = False
    sent_bytes: int = 0
    notes: tuple[str, ...] = ()


def make_attempt(order: AttemptOrder) -> AttemptResult:
    """Make the attempt. Blocks."""
    notes: list[str] = []
    sent_bytes = order.sent_bytes
    try:
        options = TransferOptions(create_tls_context(order.roots_pem), order.limits, notes)
        if order.direction == "download":
            _download_file(order, options)
        else:
            upload_source = UploadSource(Path(order.file), sent_bytes)
            try:
                _load_protocol(order.url).send_file(order.url, upload_source, options)
            finally:
                sent_bytes = upload_source.sent_bytes
    except TransferFailed as failure:
        return AttemptResult(
            str(failure), failure.status, failure.permanent, sent_bytes, tuple(notes)
        )
    return AttemptResult("", sent_bytes=sent_bytes, notes=tuple(notes))


def create_tls_context(roots_pem: str) -> ssl.SSLContext:
    """TLS settings that trust the operating system's authorities and these roots.

    Source: N01.FR.15 (the CSMS's chain), N01.FR.16 (the usual ones).

    Raises:
        TransferFailed: permanent; `roots_pem` is no PEM, or those of the system cannot be read.
    """
    try:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if roots_pem:
            context.load_verify_locations(cadata=roots_pem)
    except OSError as error:
        raise TransferFailed(f"trusted roots: {error}", permanent=True) from error
    return context


def _download_file(order: AttemptOrder, options: TransferOptions) -> None:
    download = PartialDownload(Path(order.file), order.url, order.limits)
    try:
        _load_protocol(order.url).fetch_file(order.url, download, options)
        download.move_into_place()
    finally:
        download.close()


class _Protocol(Protocol):
    """What `http`, `ftp` and `sftp` have in common. Both raise TransferFailed."""

    def fetch_file(
        self, url: TransferUrl, download: PartialDownload, options: TransferOptions
    ) -> None:
        """Download the missing part of a file."""

    def send_file(
        self, url: TransferUrl, upload_source: UploadSource, options: TransferOptions
    ) -> None:
        """Upload a file, or the part of it that the server lacks."""


def _load_protocol(url: TransferUrl) -> _Protocol:
    if url.scheme in ("http", "https"):
        from station.runtime.transfers import http

        return http
    if url.scheme in ("ftp", "ftps"):
        from station.runtime.transfers import ftp

        return ftp
    from station.runtime.transfers import sftp

    return sftp


def main() -> None:
    """Make the attempt ordered on stdin; print its result."""
    signal.signal(CANCEL_SIGNAL, _cancel)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    os.nice(NICENESS)
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=AttemptOrder)
    threading.Thread(target=_watch_stdin, daemon=True).start()
    result = make_attempt(order)
    sys.stdout.buffer.write(b"\n" + msgspec.json.encode(result))


def _watch_stdin() -> None:
    """Cancel the attempt when stdin closes. Runs in a thread."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    signal.pthread_kill(main_thread, CANCEL_SIGNAL)


def _cancel(number: int, frame: FrameType | None) -> None:
    """Leave the attempt through its `finally` clauses, which keep what can be resumed."""
    signal.signal(CANCEL_SIGNAL, signal.SIG_IGN)
    raise SystemExit


if __name__ == "__main__":
    main()
