"""How often is a transfer attempted, and when is it over?

`attempts` counts the first one too: OCPP's `retries` + 1. Every failure is attempted again, a
missing file and a wrong password as well (L01.FR.30, N01.FR.10): the CSMS asked for it, and may put
things right meanwhile. Only what is wrong on our own side ends a transfer at once.
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
    """Fetch a file; `into` appears when all of it is there and synced.

    Cancelled or failed, it leaves what a later download of the same URL can go on from, if the
    other end can tell whether the file has changed since; otherwise nothing.

    Args:
        url: of one of SCHEMES, with credentials if need be.
        into: in a directory that exists.
        trust: checks certificates; the operating system's authorities if None.
        attempts: in all, from 1.
        interval_s: from the beginning of one attempt to the next, or, where an attempt took
            longer, from its end.
        progress: called after each chunk.
        resume: go on where an earlier attempt broke off.

    Raises:
        TransferFailed: the last attempt's failure.
    """
    target = parse_url(url)
    means = await _transfer_options(tls_context, limits, progress)
    fetch, _ = await trio.to_thread.run_sync(_load_protocol, target.scheme)
    partial = await trio.to_thread.run_sync(
        lambda: PartialDownload(destination, target, means.limits, resume=resume)
    )
    try:
        await run_attempts(lambda: fetch(target, partial, means), attempts, interval_s)
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
    """Send a file, under its own name where the URL names a directory (N01.FR.02).

    Args:
        source: does not change until this returns.
        url: of one of SCHEMES. Of HTTP, one that ends in / is a directory; FTP and SFTP ask.
        trust: checks certificates; the operating system's authorities if None.
        attempts: in all, from 1.
        interval_s: from the beginning of one attempt to the next, or, where an attempt took
            longer, from its end.
        progress: called after each chunk.

    Raises:
        TransferFailed: the last attempt's failure; its `status` is for LogStatusNotification.
    """
    target = parse_url(url)
    means = await _transfer_options(tls_context, limits, progress)
    outgoing = await trio.to_thread.run_sync(UploadSource, source)
    _, send = await trio.to_thread.run_sync(_load_protocol, target.scheme)
    await run_attempts(lambda: send(target, outgoing, means), attempts, interval_s)


def create_tls_context(roots_pem: str) -> ssl.SSLContext:
    """Checks certificates against the operating system's authorities and these. Blocks.

    Source: N01.FR.15 (the CSMS's chain), N01.FR.16 (the usual ones).

    Raises:
        ssl.SSLError: no PEM.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if roots_pem:
        context.load_verify_locations(cadata=roots_pem)
    return context


async def run_attempts(
    attempt: Callable[[], Awaitable[None]], attempts: int, interval_s: float
) -> None:
    """One attempt after the other, until one succeeds."""
    for left in reversed(range(attempts)):
        began = trio.current_time()
        try:
            return await attempt()
        except TransferFailed as failure:
            if failure.permanent or not left:
                raise
            pause_s = interval_s - (trio.current_time() - began)
            pause_s = pause_s if pause_s > 0 else interval_s
            log.warning("%s; %d more attempts, the next in %.0f s", failure, left, pause_s)
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
    """Imported where it is used: httpx alone would double the time a station takes to start."""
    if scheme in ("http", "https"):
        from station.runtime.transfers import http

        return http.fetch_file, http.send_file
    if scheme in ("ftp", "ftps"):
        from station.runtime.transfers import ftp

        return ftp.fetch_file, ftp.send_file
    from station.runtime.transfers import sftp

    return sftp.fetch_file, sftp.send_file
