"""Where are the emulated devices, if no real ones are configured?

`station run` uses the process that emulates devices for its data directory; if there is none it
starts one that lives and dies with it, even when the station is killed.
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
    """The emulated devices did not come up. One line."""


def emulator_socket(data: Path) -> Path:
    return data / "emulator.sock"


@contextmanager
def run_emulator(data: Path) -> Iterator[None]:
    """Have the devices of `data` emulated, by whoever does it already or by a child of ours.

    The child reads our end of a pipe: it ends when we do, however we end.

    Raises:
        EmulatorFailed: they do not come up.
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
    """Whether somebody listens there."""
    try:
        stream = await trio.open_unix_socket(str(path))
    except OSError:
        return False
    await stream.aclose()
    return True
