"""Attempts of a transfer: how many, when, and when it ends.

* `attempts` includes the first one: OCPP's `retries` + 1.
* The interval is counted from the start of one attempt to the start of the next. If an attempt took
  longer than that, the whole interval is waited after it.
* After any failure of the server or the network there is another attempt, also after a missing file
  or a wrong password (L01.FR.30, N01.FR.10): the CSMS requested it and may correct it meanwhile.
* A permanent failure, one on our side (disk, unusable URL), ends the transfer at once.
* The failure of the last attempt is raised.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from station.runtime.transfers.partial_download import PartialDownload
from station.runtime.transfers.results import (
    ProgressCallback,
    TransferFailed,
    TransferLimits,
    TransferOptions,
)
from station.runtime.transfers.upload_source import UploadSource
from station.runtime.transfers.url import TransferUrl, parse_url

log = logging.getLogger("station.transfers")


async def download_file(
    url: str,
    destination: Path,
    *,
    tls_context: ssl.SSLContext | None,
    attempts: int,
    interval_s: float,
    progress: ProgressCallback | None = None,
    resume: bool = True,
    limits: TransferLimits | None = None,
) -> None:
    """Download a file; `destination` exists once it is complete and synced.

    A failed or cancelled download keeps its bytes for a later download of the same URL, if the
    server has a way to show whether the file has changed since; otherwise it keeps nothing.

    Args:
        url: of one of SCHEMES, with credentials if the server needs them.
        destination: in a directory that exists.
        tls_context: checks certificates; None: the operating system's authorities.
        attempts: in all, from 1.
        interval_s: see the top of this module.
        progress: called after each chunk.
        resume: continue an interrupted download.
        limits: None: the defaults.

    Raises:
        TransferFailed: of the last attempt.
    """
    parsed_url = parse_url(url)
    options = await _transfer_options(tls_context, limits, progress)
    fetch, _ = await trio.to_thread.run_sync(_load_protocol, parsed_url.scheme)
    partial = await trio.to_thread.run_sync(
        lambda: PartialDownload(destination, parsed_url, options.limits, resume=resume)
    )
    try:
        await run_attempts(lambda: fetch(parsed_url, partial, options), attempts, interval_s)
        await trio.to_thread.run_sync(partial.move_into_place)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(partial.close)


async def upload_file(
    source: Path,
    url: str,
    *,
    tls_context: ssl.SSLContext | None,
    attempts: int,
    interval_s: float,
    progress: ProgressCallback | None = None,
    limits: TransferLimits | None = None,
) -> None:
    """Upload a file, with its own name if the URL is a directory (N01.FR.02).

    Args:
        source: does not change until this returns.
        url: of one of SCHEMES. With HTTP, a URL that ends in / is a directory; with FTP and SFTP
            the server is asked.
        tls_context: checks certificates; None: the operating system's authorities.
        attempts: in all, from 1.
        interval_s: see the top of this module.
        progress: called after each chunk.
        limits: None: the defaults.

    Raises:
        TransferFailed: of the last attempt; its `status` is for LogStatusNotification.
    """
    parsed_url = parse_url(url)
    options = await _transfer_options(tls_context, limits, progress)
    upload_source = await trio.to_thread.run_sync(UploadSource, source)
    _, send = await trio.to_thread.run_sync(_load_protocol, parsed_url.scheme)
    await run_attempts(lambda: send(parsed_url, upload_source, options), attempts, interval_s)


def create_tls_context(roots_pem: str) -> ssl.SSLContext:
    """TLS settings that trust the operating system's authorities and these roots. Blocks.

    Source: N01.FR.15 (the CSMS's chain), N01.FR.16 (the usual ones).

    Raises:
        ssl.SSLError: `roots_pem` is no PEM.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if roots_pem:
        context.load_verify_locations(cadata=roots_pem)
    return context


async def run_attempts(
    attempt: Callable[[], Awaitable[None]], attempts: int, interval_s: float
) -> None:
    """Make attempts until one succeeds. Raises TransferFailed of the last."""
    for left in reversed(range(attempts)):
        started_at = trio.current_time()
        try:
            return await attempt()
        except TransferFailed as failure:
            if failure.permanent or not left:
                raise
            pause_s = interval_s - (trio.current_time() - started_at)
            pause_s = pause_s if pause_s > 0 else interval_s
            log.warning("%s; attempts left: %d, the next in %.0f s", failure, left, pause_s)
        await trio.sleep(pause_s)
    raise AssertionError(f"{attempts} attempts")


async def _transfer_options(
    tls_context: ssl.SSLContext | None,
    limits: TransferLimits | None,
    progress: ProgressCallback | None,
) -> TransferOptions:
    if tls_context is None:
        tls_context = await trio.to_thread.run_sync(create_tls_context, "")
    return TransferOptions(tls_context, limits or TransferLimits(), progress or _ignore_progress)


def _ignore_progress(size: int, total: int | None) -> None:
    pass


FetchFunction = Callable[[TransferUrl, PartialDownload, TransferOptions], Awaitable[None]]
SendFunction = Callable[[TransferUrl, UploadSource, TransferOptions], Awaitable[None]]


def _load_protocol(scheme: str) -> tuple[FetchFunction, SendFunction]:
    """Import a protocol when it is used: httpx alone would double the start time of the station."""
    if scheme in ("http", "https"):
        from station.runtime.transfers import http

        return http.fetch_file, http.send_file
    if scheme in ("ftp", "ftps"):
        from station.runtime.transfers import ftp

        return ftp.fetch_file, ftp.send_file
    from station.runtime.transfers import sftp

    return sftp.fetch_file, sftp.send_file
