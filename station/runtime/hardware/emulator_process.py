"""Emulated devices of a station without `[hardware]`: their process and its socket.

`station run` uses the process that already emulates the devices of its data directory; if there is
none, it starts one that ends with it, even when the station is killed.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

log = logging.getLogger("station.devices")

READY_TIMEOUT_S = 20.0


class EmulatorFailed(Exception):
    """The emulated devices did not start. One line."""


def emulator_socket(data: Path) -> Path:
    return data / "emulator.sock"


@contextmanager
def run_emulator(data: Path) -> Iterator[None]:
    """Have the devices of `data` emulated, by the process that does so already or by a child.

    The child reads the other end of a pipe from this process: it ends when this process ends,
    for whatever reason.

    Raises:
        EmulatorFailed: they do not start.
    """
    if trio.run(_is_listening, emulator_socket(data)):
        log.info("devices: emulated by another process")
        yield
        return
    child = subprocess.Popen(
        [sys.executable, "-m", "station", "emulate", "--data", str(data), "--until-stdin-closes"],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the station; it ends its devices itself
    )
    try:
        trio.run(_wait_until_ready, child, emulator_socket(data))
        yield
    finally:
        assert child.stdin is not None
        child.stdin.close()
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


async def _wait_until_ready(child: subprocess.Popen[bytes], path: Path) -> None:
    with trio.move_on_after(READY_TIMEOUT_S):
        while not await _is_listening(path):
            if child.poll() is not None:
                raise EmulatorFailed(f"emulated devices ended with exit code {child.returncode}")
            await trio.sleep(0.02)
        return
    raise EmulatorFailed(
        f"emulated devices did not answer on {path} within {READY_TIMEOUT_S:.0f} s"
    )


async def _is_listening(path: Path) -> bool:
    """Whether a process listens on a socket."""
    try:
        stream = await trio.open_unix_socket(str(path))
    except OSError:
        return False
    await stream.aclose()
    return True
