"""Serial ports: open, send, receive, close; a pty behaves as a tty."""

import errno
import grp
import os
from pathlib import Path

import pytest
import trio
import trio.testing

from drivers.emulators.pty import Pty
from drivers.ports import PortLost
from drivers.wire.port_failure import explain_open_failure
from drivers.wire.serial_port import SerialPort


@pytest.mark.parametrize(
    ("baud", "parity", "stop_bits"),
    [(115_200, "N", 1), (19_200, "E", 1), (9_600, "N", 2), (125_000, "N", 1)],
)
async def test_bytes_pass_both_ways_unchanged(
    tmp_path: Path, baud: int, parity: str, stop_bits: int
) -> None:
    every_byte = bytes(range(256))
    with (
        Pty(tmp_path / "reader") as device,
        SerialPort.open(device.path, baud=baud, parity=parity, stop_bits=stop_bits) as port,
    ):
        await port.send(every_byte)
        assert await receive_exactly(device, 256) == every_byte
        await device.send(every_byte)
        assert await receive_exactly(port, 256) == every_byte


async def test_more_than_the_kernel_buffers_is_sent_whole(tmp_path: Path) -> None:
    big = bytes(range(256)) * 400
    with Pty(tmp_path / "bus") as device, SerialPort.open(device.path, baud=9_600) as port:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(port.send, big)
            assert await receive_exactly(device, len(big)) == big


async def test_two_senders_do_not_mix_their_bytes(tmp_path: Path) -> None:
    with Pty(tmp_path / "bus") as device, SerialPort.open(device.path, baud=9_600) as port:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(port.send, b"a" * 50_000)
            nursery.start_soon(port.send, b"b" * 50_000)
            arrived = await receive_exactly(device, 100_000)
    assert arrived in (b"a" * 50_000 + b"b" * 50_000, b"b" * 50_000 + b"a" * 50_000)


async def test_an_unplugged_device_is_a_lost_port_and_may_return(tmp_path: Path) -> None:
    with Pty(tmp_path / "reader") as device:
        with SerialPort.open(device.path, baud=9_600) as port:
            device.unplug()
            with pytest.raises(PortLost):
                await port.receive()
            with pytest.raises(PortLost):
                port.drain_input()
        with pytest.raises(PortLost, match="reader"):
            SerialPort.open(device.path, baud=9_600)
        device.plug_in()
        with SerialPort.open(device.path, baud=9_600) as port:
            await port.send(b"again")
            assert await device.receive() == b"again"


async def test_drained_input_is_not_received(tmp_path: Path) -> None:
    with Pty(tmp_path / "meter") as device, SerialPort.open(device.path, baud=9_600) as port:
        await device.send(b"stale")
        await trio.lowlevel.wait_readable(port._fd)
        port.drain_input()
        port.drain_input()
        await device.send(b"fresh")
        assert await receive_exactly(port, 5) == b"fresh"


async def test_only_one_process_has_the_port(tmp_path: Path) -> None:
    with (
        Pty(tmp_path / "meter") as device,
        SerialPort.open(device.path, baud=9_600),
        pytest.raises(
            PortLost, match=rf"in use by process {os.getpid()} \(.+\)\. A port serves one"
        ),
    ):
        SerialPort.open(device.path, baud=9_600)


async def test_closing_wakes_a_waiting_task(tmp_path: Path) -> None:
    with Pty(tmp_path / "meter") as device:
        port = SerialPort.open(device.path, baud=9_600)
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await port.receive()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            port.close()
            port.close()
        with pytest.raises(trio.ClosedResourceError):
            await port.send(b"late")


def test_a_missing_tty_names_its_path() -> None:
    with pytest.raises(
        PortLost, match=r"/dev/no-such-tty: does not exist\. Is the adapter plugged"
    ):
        SerialPort.open("/dev/no-such-tty", baud=9_600)


@pytest.mark.parametrize("name", ["file", "directory"])
def test_a_path_that_is_no_tty_is_called_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    with pytest.raises(PortLost, match=rf"{name}: is not a serial port$"):
        SerialPort.open(str(tmp_path / name), baud=9_600)


@pytest.mark.parametrize("baud", [-1, 1 << 40])
async def test_a_baud_rate_that_the_port_does_not_support_is_a_lost_port(
    tmp_path: Path, baud: int
) -> None:
    with (
        Pty(tmp_path / "meter") as device,
        pytest.raises(PortLost, match=f"does not support {baud} baud"),
    ):
        SerialPort.open(device.path, baud=baud)


def test_a_refused_permission_names_the_group(tmp_path: Path) -> None:
    port = tmp_path / "ttyUSB0"
    port.touch()
    port.chmod(0o660)
    group = grp.getgrgid(os.stat(port).st_gid).gr_name
    message = explain_open_failure(str(port), errno.EACCES, "")
    assert message == (
        f"{port}: no permission. Add the user of the station to the group {group} and start it "
        "again."
    )
    port.chmod(0o600)
    assert "udev rule" in explain_open_failure(str(port), errno.EACCES, "")
    gone = explain_open_failure(str(tmp_path / "gone"), errno.EACCES, "")
    assert "may not open the directory" in gone


def test_a_port_that_is_open_without_a_lock_names_the_process(tmp_path: Path) -> None:
    """As by a program that made it exclusive with TIOCEXCL: EBUSY."""
    port = tmp_path / "ttyUSB0"
    assert "in use by another process." in explain_open_failure(str(port), errno.EBUSY, "")
    with port.open("w"):
        message = explain_open_failure(str(port), errno.EBUSY, "")
    assert f"in use by process {os.getpid()} (" in message


async def test_a_stale_link_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    link = tmp_path / "meter"
    link.symlink_to("/dev/pts/99999")
    with Pty(link) as device, SerialPort.open(str(link), baud=9_600) as port:
        await port.send(b"x")
        assert await device.receive() == b"x"
    assert not link.is_symlink()
    link.write_text("mine")
    with pytest.raises(FileExistsError, match="meter"):
        Pty(link)
    assert link.read_text() == "mine"


async def receive_exactly(port: SerialPort | Pty, count: int) -> bytes:
    """The next `count` bytes, in at most 2 s."""
    arrived = b""
    with trio.fail_after(2):
        while len(arrived) < count:
            arrived += await port.receive()
    return arrived
