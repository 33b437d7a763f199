"""Runs each attempt of a transfer in a process of its own, which ends with the station.

A process that ends without a result, because it was killed or lacked memory, is a failed attempt.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import Final

import msgspec
import trio

from station.runtime.transfers.attempt import AttemptOrder, AttemptResult

PROGRAM: Final = (sys.executable, "-m", "station.runtime.transfers.attempt")
OUTPUT_BYTES_MAX: Final = 16 * 1024  # kept, the last ones; a result has less than 2 KiB
EXIT_TIMEOUT_S: Final = 2.0  # to end after its stdin was closed, or after it was killed


async def run_attempt(order: AttemptOrder, *, program: tuple[str, ...] = PROGRAM) -> AttemptResult:
    """Make an attempt; a cancellation ends the process.

    Args:
        order: on its stdin, because arguments and environment can be read by other users.
        program: see `attempt`.
    """
    try:
        process = await trio.lowlevel.open_process(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except OSError as error:
        return _failed_result(order, f"{program[0]}: {error.strerror}")
    output = b""
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(trio.BrokenResourceError):  # it ended already; its output has the reason
            await process.stdin.send_all(msgspec.json.encode(order) + b"\n")
        async for chunk in process.stdout:
            output = (output + chunk)[-OUTPUT_BYTES_MAX:]
    finally:
        await _end_process(process)
    last_line = output.rstrip().rpartition(b"\n")[2]
    try:
        return msgspec.json.decode(last_line, type=AttemptResult)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = last_line.decode("utf-8", "replace")
        return _failed_result(order, f"exit code {process.returncode}: {text}")


async def _end_process(process: trio.Process) -> None:
    """Close its stdin, which ends it; kill it if that takes long."""
    assert process.stdin is not None
    assert process.stdout is not None
    with trio.CancelScope(shield=True):
        await process.stdin.aclose()
        with trio.move_on_after(EXIT_TIMEOUT_S):
            await process.wait()
        if process.returncode is None:
            process.kill()
            with trio.move_on_after(EXIT_TIMEOUT_S):  # it may wait for a disk that fails
                await process.wait()
        await process.stdout.aclose()


def _failed_result(order: AttemptOrder, problem: str) -> AttemptResult:
    failure = order.url.transfer_error(f"the process of the transfer failed: {problem}")
    return AttemptResult(str(failure), failure.status, sent_bytes=order.sent_bytes)
