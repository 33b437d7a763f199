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
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import trio

from station.runtime.transfers.attempt import AttemptOrder, AttemptResult
from station.runtime.transfers.attempt_process import run_attempt
from station.runtime.transfers.results import TransferFailed, TransferLimits
from station.runtime.transfers.url import parse_url

log = logging.getLogger("station.transfers")

AttemptRunner = Callable[[AttemptOrder], Awaitable[AttemptResult]]


async def download_file(
    url: str,
    destination: Path,
    *,
    roots_pem: str,
    attempts: int,
    interval_s: float,
    limits: TransferLimits | None = None,
    run: AttemptRunner = run_attempt,
) -> None:
    """Download a file; `destination` exists once it is complete and synced.

    A failed or cancelled download keeps its bytes for a later download of the same URL, if the
    server has a way to show whether the file has changed since; otherwise it keeps nothing.

    Args:
        url: of one of SCHEMES, with credentials if the server needs them.
        destination: in a directory that exists.
        roots_pem: trusted in addition to the operating system's authorities.
        attempts: in all, from 1.
        interval_s: see the top of this module.
        limits: None: the defaults.
        run: makes an attempt.

    Raises:
        TransferFailed: of the last attempt.
    """
    order = AttemptOrder(
        "download", parse_url(url), str(destination), roots_pem, limits or TransferLimits()
    )
    await _transfer_file(order, attempts, interval_s, run)


async def upload_file(
    source: Path,
    url: str,
    *,
    roots_pem: str,
    attempts: int,
    interval_s: float,
    limits: TransferLimits | None = None,
    run: AttemptRunner = run_attempt,
) -> None:
    """Upload a file, with its own name if the URL is a directory (N01.FR.02).

    Args:
        source: does not change until this returns.
        url: of one of SCHEMES. With HTTP, a URL that ends in / is a directory; with FTP and SFTP
            the server is asked.
        roots_pem, attempts, interval_s, limits, run: see `download_file`.

    Raises:
        TransferFailed: of the last attempt; its `status` is for LogStatusNotification.
    """
    order = AttemptOrder(
        "upload", parse_url(url), str(source), roots_pem, limits or TransferLimits()
    )
    await _transfer_file(order, attempts, interval_s, run)


async def _transfer_file(
    order: AttemptOrder, attempts: int, interval_s: float, run: AttemptRunner
) -> None:
    """Make attempts; each continues where the one before ended. Raises TransferFailed."""

    async def attempt() -> None:
        nonlocal order
        result = await run(order)
        for note in result.notes:
            log.info("%s", note)
        order = msgspec.structs.replace(order, sent_bytes=result.sent_bytes)
        if result.failure:
            raise TransferFailed(result.failure, status=result.status, permanent=result.permanent)

    await run_attempts(attempt, attempts, interval_s)


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
