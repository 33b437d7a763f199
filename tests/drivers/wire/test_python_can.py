"""Adapters of python-can, with its own virtual bus and its socketcand over TCP.

Its `udp_multicast` bus needs the package msgpack, which nothing else here needs; socketcand puts a
socket and another protocol between the two ends without it.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import can
import pytest
import trio

from drivers.catalog import load_driver
from drivers.emulators.infypower_modules import EmulatedCabinet
from drivers.ports import ModuleState, NoResponse, PortLost
from drivers.power.infypower import InfypowerModules
from drivers.settings import SettingsError
from drivers.wire import python_can
from drivers.wire.can_bus import SharedCanBus
from drivers.wire.python_can import PythonCanBus
from drivers.wire.serial_port import SerialPort
from drivers.wire.slcan import CanFrame, parse_frame
from tests.drivers.fixtures_serial import ReportLog

HEARTBEAT = parse_frame("0206B000#07")


@pytest.fixture
def far_end(tmp_path: Path) -> Iterator[can.BusABC]:
    """Another adapter on the same virtual bus, as a device."""
    with can.Bus(interface="virtual", channel=tmp_path.name) as bus:
        yield bus


async def open_virtual(channel: str) -> PythonCanBus:
    return await PythonCanBus.open("virtual", channel, 500_000, {})


async def test_frames_pass_in_both_directions(far_end: can.BusABC, tmp_path: Path) -> None:
    bus = await open_virtual(tmp_path.name)
    await bus.send(HEARTBEAT)
    message = await trio.to_thread.run_sync(far_end.recv, 2)
    assert message is not None
    assert python_can.to_frame(message) == HEARTBEAT
    for number in range(3):
        far_end.send(can.Message(arbitration_id=number, data=b"\x01", is_extended_id=False))
    frames: list[CanFrame] = []
    with trio.fail_after(2):
        while len(frames) < 3:
            frames += await bus.receive()
    assert frames == [CanFrame(number, b"\x01", extended=False) for number in range(3)]
    bus.close()


@pytest.mark.parametrize(
    "flags", [{"is_remote_frame": True}, {"is_error_frame": True}, {"is_fd": True}]
)
def test_other_frames_than_data_frames_are_ignored(flags: dict[str, bool]) -> None:
    assert python_can.to_frame(can.Message(arbitration_id=1, **flags)) is None


async def test_of_a_flood_the_newest_frames_are_kept(far_end: can.BusABC, tmp_path: Path) -> None:
    bus = await open_virtual(tmp_path.name)
    for number in range(3_000):
        data = number.to_bytes(2, "big")
        far_end.send(can.Message(arbitration_id=7, data=data, is_extended_id=False))
    with trio.fail_after(30):
        while not (bus._frames and bus._frames[-1].data == data):
            await trio.sleep(0.01)
    kept = [int.from_bytes(frame.data, "big") for frame in await bus.receive()]
    assert kept == list(range(3_000 - python_can.QUEUED_FRAMES_MAX, 3_000))
    bus.close()


class LostAdapter(can.BusABC):
    """An adapter that is pulled out."""

    def __init__(self) -> None:
        super().__init__(channel=0)
        self.shut_down = threading.Event()

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        raise can.CanOperationError("the adapter\nis gone")

    def _recv_internal(self, timeout: float | None) -> tuple[can.Message | None, bool]:
        time.sleep(0.01)
        raise can.CanOperationError("the adapter is gone")

    def shutdown(self) -> None:
        super().shutdown()
        self.shut_down.set()


async def test_an_adapter_that_is_pulled_out_is_a_lost_port() -> None:
    adapter = LostAdapter()
    bus = PythonCanBus(adapter, "test 0")
    with pytest.raises(PortLost, match="test 0: send: the adapter is gone"):
        await bus.send(HEARTBEAT)
    with pytest.raises(PortLost, match="test 0: receive: the adapter is gone"), trio.fail_after(2):
        await bus.receive()
    assert await trio.to_thread.run_sync(adapter.shut_down.wait, 2)


async def test_closing_wakes_the_task_that_receives(tmp_path: Path) -> None:
    bus = await open_virtual(tmp_path.name)
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await bus.receive()

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        bus.close()


@pytest.mark.parametrize("interface", ["pcan", "kvaser", "gs_usb", "socketcand"])
async def test_an_adapter_that_is_absent_is_one_line(interface: str) -> None:
    with pytest.raises(PortLost, match=f"^{interface} 99: cannot open the adapter: ") as failure:
        await PythonCanBus.open(interface, "99", 500_000, {})
    assert "\n" not in str(failure.value)


def test_an_unknown_interface_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match="interface pkan does not exist; did you mean pcan"):
        SharedCanBus.over_interface("0", "pkan", 500_000, SerialPort.open)
    with pytest.raises(SettingsError, match="adapter: interface slcan has no further settings"):
        SharedCanBus.over_interface("/dev/x", "slcan", 500_000, SerialPort.open, {"fd": True})


async def test_the_modules_answer_over_an_adapter(far_end: can.BusABC, tmp_path: Path) -> None:
    """The driver over python-can, the emulated module at the other adapter."""
    stopped = threading.Event()
    responder = threading.Thread(target=emulate_cabinet, args=(far_end, stopped))
    responder.start()
    try:
        check_idle_module(await first_module_state(port=tmp_path.name, interface="virtual"))
    finally:
        stopped.set()
        await trio.to_thread.run_sync(responder.join)


async def test_the_modules_answer_over_socketcand() -> None:
    """An adapter behind TCP, set up by the keys of `adapter`."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        responder = threading.Thread(target=serve_socketcand, args=(server,))
        responder.start()
        try:
            host, port = server.getsockname()
            adapter = {"host": host, "port": port}
            check_idle_module(
                await first_module_state(port="can0", interface="socketcand", adapter=adapter)
            )
        finally:
            await trio.to_thread.run_sync(responder.join)


async def first_module_state(**keys: Any) -> ModuleState:
    """Run the driver of the modules until one has reported its state."""
    driver: Any = load_driver("modules", "infypower")
    settings = driver.Settings(groups=((0,),), driver="infypower", **keys)
    opened = driver.open(settings, (1,), SerialPort.open)
    modules = opened.devices[0]
    assert isinstance(modules, InfypowerModules)
    reports = ReportLog()

    async def run_modules() -> None:
        while True:  # as the supervisor: on a busy machine the first counts may be late
            with suppress(NoResponse):
                await modules.run(reports)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(opened.bus.run, reports)
        nursery.start_soon(run_modules)
        with trio.fail_after(30):
            while not reports.reports_of(ModuleState):
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    return reports.reports_of(ModuleState)[0]


def check_idle_module(state: ModuleState) -> None:
    """The one module of the emulated cabinet, as it is without a command."""
    assert state.address == 0
    assert "off" in state.states
    assert (state.faults, state.warnings) == (frozenset(), frozenset())


def serve_socketcand(server: socket.socket) -> None:
    """A socketcand server with the emulated modules on its bus, until the client closes."""
    server.settimeout(10)
    client, _ = server.accept()
    with client:
        client.settimeout(10)
        client.sendall(b"< hi >")
        for command in (b"< open can0 >", b"< rawmode >"):
            assert client.recv(100) == command
            client.sendall(b"< ok >")

        def send(frame: CanFrame) -> None:
            client.sendall(f"< frame {frame.id:08X} 0.0 {frame.data.hex()} >".encode())

        cabinet = EmulatedCabinet(send, time.monotonic, evse_count=1, modules_per_evse=1)
        received = ""
        with suppress(ConnectionError):
            while data := client.recv(4096):
                *messages, received = (received + data.decode()).split(">")
                for message in messages:
                    _, _, identifier, _, *octets = message.split()
                    content = bytes(int(octet, 16) for octet in octets)
                    cabinet.on_frame(CanFrame(int(identifier, 16), content))


def emulate_cabinet(bus: can.BusABC, stopped: threading.Event) -> None:
    """The emulated modules, on the far end of the bus."""

    def send(frame: CanFrame) -> None:
        bus.send(can.Message(arbitration_id=frame.id, data=frame.data))

    cabinet = EmulatedCabinet(send, time.monotonic, evse_count=1, modules_per_evse=1)
    while not stopped.is_set():
        message = bus.recv(0.1)
        frame = None if message is None else python_can.to_frame(message)
        if frame is not None:
            cabinet.on_frame(frame)
