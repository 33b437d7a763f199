"""Several drivers on one CAN bus, and both transports."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from drivers.emulators.can_bus import QUEUED_FRAMES_MAX, EmulatedCanBus
from drivers.emulators.memory_port import MemoryPort, open_memory_line
from drivers.ports import CommandRefused, PortLost
from drivers.wire.can_bus import (
    SharedCanBus,
    SlcanBus,
    SocketCanBus,
    decode_kernel_frame,
    encode_kernel_frame,
)
from drivers.wire.slcan import AdapterCommand, CanFrame, parse_frame
from tests.drivers.fixtures_can import BenchBus, ignore_report

HEARTBEAT = parse_frame("0106B000#01")


class Node:
    """Keeps the frames it receives."""

    def __init__(self) -> None:
        self.frames: list[CanFrame] = []

    def on_frame(self, frame: CanFrame) -> None:
        self.frames.append(frame)


async def test_every_driver_on_a_bus_receives_every_frame(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench, first, second = BenchBus(), Node(), Node()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.line.run, ignore_report)
        await bench.line.wait_until_open()
        with bench.line.attach_listener(first.on_frame):
            with bench.line.attach_listener(second.on_frame):
                bench.inject_frame(HEARTBEAT)
                await trio.testing.wait_all_tasks_blocked()
            bench.inject_frame("0206B000#07")
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert first.frames == [HEARTBEAT, parse_frame("0206B000#07")]
    assert second.frames == [HEARTBEAT]


async def test_a_bus_that_is_not_open_refuses_frames(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with pytest.raises(PortLost, match="bench"):
        await BenchBus().line.send(HEARTBEAT)


async def test_a_lost_port_ends_the_line(autojump_clock: trio.testing.MockClock) -> None:
    bench = BenchBus()
    async with trio.open_nursery() as nursery:

        async def waits() -> None:
            await bench.line.wait_until_open()
            bench.disconnect()
            await bench.line.wait_until_closed()

        nursery.start_soon(waits)
        with pytest.raises(PortLost):
            await bench.line.run(ignore_report)
    assert not bench.line.is_open


async def test_a_cancelled_bus_stays_open_for_the_last_frames_of_its_drivers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = BenchBus()

    async def driver() -> None:
        with bench.line.attach_listener(lambda _: None):
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.1)
                    await bench.line.send(HEARTBEAT)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.line.run, ignore_report)
        nursery.start_soon(driver)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert bench.sent_texts() == [str(HEARTBEAT)]


async def test_a_driver_that_does_not_end_cannot_keep_the_bus_open(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = BenchBus()
    with bench.line.attach_listener(lambda _: None):
        with trio.move_on_after(1):
            await bench.line.run(ignore_report)
        assert trio.current_time() <= 1.6


# --- slcan ---------------------------------------------------------------------------------------


@contextmanager
def open_adapter(rate: int = 500_000) -> Iterator[tuple[MemoryPort, EmulatedCanBus, Node]]:
    """The station's end of a line, and an emulated adapter with one node."""
    station, device = open_memory_line()
    bus, node = EmulatedCanBus(device, rate), Node()
    bus.nodes.append(node)
    yield station, bus, node


async def test_opening_sets_the_adapter_up_and_frames_pass(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with open_adapter() as (station, emulated, node):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(emulated.run)
            bus = await SlcanBus.open("x", 500_000, station.open)
            assert station.sent == [b"C\r", b"S6\r", b"O\r"]
            await bus.send(HEARTBEAT)
            emulated.send(parse_frame("0206B000#07"))
            assert await bus.receive() == [parse_frame("0206B000#07")]
            assert node.frames == [HEARTBEAT]
            nursery.cancel_scope.cancel()


async def test_at_another_bit_rate_nothing_is_heard(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with open_adapter(125_000) as (station, emulated, node):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(emulated.run)
            bus = await SlcanBus.open("x", 500_000, station.open)
            await bus.send(HEARTBEAT)
            emulated.send(HEARTBEAT)
            with trio.move_on_after(1) as waiting:
                await bus.receive()
            assert waiting.cancelled_caught
            assert node.frames == []
            nursery.cancel_scope.cancel()


async def test_an_adapter_that_answers_nothing_is_used_all_the_same(
    autojump_clock: trio.testing.MockClock,
) -> None:
    station, device = open_memory_line()
    bus = await SlcanBus.open("x", 125_000, station.open)
    await device.send(b"T0106B000101\r")
    assert await bus.receive() == [HEARTBEAT]


async def test_a_refused_bit_rate_is_a_fault_and_closes_the_port(
    autojump_clock: trio.testing.MockClock,
) -> None:
    station, device = open_memory_line()

    async def refuses() -> None:
        while True:
            heard = await device.receive()
            await device.send(b"\x07" if heard == b"S6\r" else b"\r")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuses)
        with pytest.raises(CommandRefused, match="S6"):
            await SlcanBus.open("x", 500_000, station.open)
        nursery.cancel_scope.cancel()
    with pytest.raises(trio.ClosedResourceError):
        await station.send(b"x")


async def test_refused_frames_are_counted(autojump_clock: trio.testing.MockClock) -> None:
    station, device = open_memory_line()
    bus = await SlcanBus.open("x", 125_000, station.open)
    await device.send(b"\x07\x07T0106B000101\r")
    await bus.receive()
    assert bus.refused_count == 2


async def test_a_station_that_does_not_read_costs_frames_not_memory() -> None:
    _, device = open_memory_line()
    bus = EmulatedCanBus(device, 500_000)
    for command in ("S6", "O"):
        bus._on_item(AdapterCommand(command))
    for _ in range(10 * QUEUED_FRAMES_MAX):
        bus.send(HEARTBEAT)
    assert len(bus._send_queue) == QUEUED_FRAMES_MAX


# --- SocketCAN -----------------------------------------------------------------------------------


def test_the_kernels_frame_is_linux_can_h() -> None:
    assert encode_kernel_frame(HEARTBEAT) == bytes.fromhex("00B00681 01 000000 0100000000000000")
    assert encode_kernel_frame(parse_frame("123#AB")) == bytes.fromhex(
        "23010000 01 000000 AB00000000000000"
    )
    assert decode_kernel_frame(encode_kernel_frame(HEARTBEAT)) == HEARTBEAT
    assert decode_kernel_frame(encode_kernel_frame(parse_frame("123#AB"))) == parse_frame("123#AB")


@pytest.mark.parametrize(
    "raw",
    [
        bytes.fromhex("00B006C1 01 000000 0100000000000000"),  # remote frame
        bytes.fromhex("00B006A1 01 000000 0100000000000000"),  # error frame
        bytes.fromhex("00B00681 09 000000 0100000000000000"),  # nine bytes
        b"short",
    ],
)
def test_what_is_no_data_frame_is_left(raw: bytes) -> None:
    assert decode_kernel_frame(raw) is None


async def test_socketcan_sends_and_receives_kernel_frames() -> None:
    station, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with kernel:
        bus = SocketCanBus(station)
        await bus.send(HEARTBEAT)
        assert kernel.recv(64) == encode_kernel_frame(HEARTBEAT)
        kernel.send(bytes.fromhex("00B006C1 01 000000 0100000000000000"))
        kernel.send(encode_kernel_frame(parse_frame("0206B000#07")))
        assert await bus.receive() == [parse_frame("0206B000#07")]
        bus.close()
        bus.close()


async def test_a_closed_socketcan_is_a_port_gone() -> None:
    station, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    bus = SocketCanBus(station)
    kernel.close()
    with pytest.raises(PortLost):
        await bus.receive()
    with pytest.raises(PortLost):
        await bus.send(HEARTBEAT)
    bus.close()


async def test_a_host_without_the_interface_says_so() -> None:
    line = SharedCanBus.over_socketcan("nocan9", 500_000)
    with pytest.raises(PortLost, match="nocan9"):
        await line.run(ignore_report)
