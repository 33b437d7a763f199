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

READY_S = 20.0


class DevicesFailed(Exception):
    """The emulated devices did not come up. One line."""


def socket_of(data: Path) -> Path:
    return data / "emulator.sock"


@contextmanager
def emulated(data: Path) -> Iterator[None]:
    """Have the devices of `data` emulated, by whoever does it already or by a child of ours.

    The child reads our end of a pipe: it ends when we do, however we end.

    Raises:
        DevicesFailed: they do not come up.
    """
    if trio.run(_answers, socket_of(data)):
        log.info("devices: emulated by another process")
        yield
        return
    child = subprocess.Popen(
        [sys.executable, "-m", "station", "emulate", "--data", str(data), "--until-stdin-closes"],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the station; it ends its devices itself
    )
    try:
        trio.run(_ready, child, socket_of(data))
        yield
    finally:
        assert child.stdin is not None
        child.stdin.close()
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


async def _ready(child: subprocess.Popen[bytes], path: Path) -> None:
    with trio.move_on_after(READY_S):
        while not await _answers(path):
            if child.poll() is not None:
                raise DevicesFailed(f"emulated devices ended with exit code {child.returncode}")
            await trio.sleep(0.02)
        return
    raise DevicesFailed(f"emulated devices did not answer on {path} within {READY_S:.0f} s")


async def _answers(path: Path) -> bool:
    """Whether somebody listens there."""
    try:
        stream = await trio.open_unix_socket(str(path))
    except OSError:
        return False
    await stream.aclose()
    return True
