"""A pty that is unplugged at any moment loses bytes, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from drivers.emulators.pty import Pty


@pytest.mark.parametrize("checkpoints", range(6))
async def test_unplugging_does_not_end_a_task_that_receives_or_sends(
    tmp_path: Path, checkpoints: int
) -> None:
    """Whatever the task was about to do: wait for the plug, wait for bytes, or read them."""
    received = bytearray()

    async def receive_all(pty: Pty) -> None:
        while True:
            received.extend(await pty.receive())

    async def send_all(pty: Pty) -> None:
        while True:
            await pty.send(b"answer")
            await trio.lowlevel.checkpoint()

    with Pty(tmp_path / "reader.tty") as pty:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive_all, pty)
            nursery.start_soon(send_all, pty)
            for _ in range(50):
                station = os.open(pty.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
                os.write(station, b"frame")
                for _ in range(checkpoints):
                    await trio.lowlevel.checkpoint()
                pty.unplug()
                for _ in range(checkpoints // 2):
                    await trio.lowlevel.checkpoint()
                pty.plug_in()
                os.close(station)
            station = os.open(pty.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            received.clear()
            os.write(station, b"last")
            with trio.fail_after(5):
                while not received:
                    await trio.sleep(0.001)
            os.close(station)
            nursery.cancel_scope.cancel()
    assert bytes(received) == b"last"


def test_a_file_in_place_of_the_link_leaves_it_unplugged(tmp_path: Path) -> None:
    pty = Pty(tmp_path / "reader.tty")
    pty.unplug()
    (tmp_path / "reader.tty").touch()
    with pytest.raises(FileExistsError, match="is not a symlink"):
        pty.plug_in()
    assert not pty.is_plugged_in
    (tmp_path / "reader.tty").unlink()
    pty.plug_in()
    assert pty.is_plugged_in
    pty.close()
