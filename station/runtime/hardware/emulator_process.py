"""Emulated devices of a station without `[hardware]`: their process and its socket.

`station run` uses the process that already emulates the devices of its data directory; if there is
none, it starts one that ends with it, even when the station is killed.
"""

from __future__ import annotations

import json
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
def run_emulator(data: Path, evse_count: int) -> Iterator[None]:
    """Have the devices of `data` emulated, by the process that does so already or by a child.

    The child reads the other end of a pipe from this process: it ends when this process ends,
    for whatever reason.

    Raises:
        EmulatorFailed: they do not start, or the other process has another number of EVSEs.
    """
    if trio.run(check_emulated_evses, emulator_socket(data), evse_count):
        log.info("devices: emulated by another process")
        yield
        return
    child = subprocess.Popen(
        [
            *(sys.executable, "-m", "station", "emulate", "--data", str(data)),
            *("--evses", str(evse_count), "--until-stdin-closes"),
        ],
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


async def check_emulated_evses(path: Path, evse_count: int) -> bool:
    """Whether another process emulates devices, those of this number of EVSEs.

    Raises:
        EmulatorFailed: those of another number.
    """
    if not await _is_listening(path):
        return False
    other_count = await _count_evses(path)
    if other_count != evse_count:
        raise EmulatorFailed(
            f"the devices of {other_count} EVSEs are emulated by another process; the product "
            f"profile has {evse_count}. Use `station emulate --evses {evse_count}`."
        )
    return True


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


async def _count_evses(path: Path) -> int:
    """How many EVSEs the emulated devices of a process have."""
    answer = b""
    with trio.move_on_after(READY_TIMEOUT_S):
        async with await trio.open_unix_socket(str(path)) as stream:
            await stream.send_all(b'{"op": "world"}\n')
            while not answer.endswith(b"\n") and (received := await stream.receive_some()):
                answer += received
    try:
        return len(json.loads(answer)["evses"])
    except (ValueError, KeyError, TypeError):
        raise EmulatorFailed(f"emulated devices did not answer on {path}") from None


async def _is_listening(path: Path) -> bool:
    """Whether a process listens on a socket."""
    try:
        stream = await trio.open_unix_socket(str(path))
    except OSError:
        return False
    await stream.aclose()
    return True
