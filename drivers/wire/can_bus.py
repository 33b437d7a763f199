"""CAN bus shared by several drivers: a serial adapter (slcan), SocketCAN, or python-can.

A `SharedCanBus` owns the port and has a task of its own: it opens the bus, reads, and calls the
listeners right after each read, before anything else. Drivers send through it. Frames are a small
type of their own, because importing python-can takes a tenth of a second.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final, Protocol

import trio

from drivers.ports import CommandRefused, DeviceReport, PortLost
from drivers.settings import SettingsError
from drivers.wire import slcan
from drivers.wire.serial_port import OpenPort, Port, SerialPort
from drivers.wire.slcan import CanFrame
from drivers.wire.traffic import TrafficRing

ADAPTER_TIMEOUT_S = 0.2  # old firmware sends no reply; a longer wait does not help
ADAPTER_BAUD = 115_200  # USB adapters ignore it
SHUTDOWN_GRACE_S = 0.5  # more than any driver needs to end
KERNEL_FRAME = struct.Struct("=IB3x8s")  # struct can_frame of linux/can.h
EXTENDED_FLAG = 0x8000_0000
REMOTE_OR_ERROR = 0x6000_0000


SLCAN: Final = "slcan"
SOCKETCAN: Final = "socketcan"


class CanBus(Protocol):
    """An open bus. One task receives; any task sends."""

    async def send(self, frame: CanFrame) -> None:
        """Send a frame. Raises PortLost."""
        ...

    async def receive(self) -> list[CanFrame]:
        """Wait for at least one frame; oldest first. Raises PortLost."""
        ...

    def close(self) -> None:
        """Close the port."""
        ...


class SlcanBus:
    """A CAN bus reached through a serial adapter."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._decoder = slcan.Decoder()
        self.refused_count = 0  # frames the adapter refused since it was opened
        self.has_replied = False  # to a command or a frame, or with a frame

    @classmethod
    async def open(
        cls, path: str, bit_rate: int, open_port: OpenPort = SerialPort.open
    ) -> SlcanBus:
        """Open the adapter and discard its earlier output.

        Raises:
            PortLost: no such tty.
            CommandRefused: the adapter does not support the bit rate.
            ValueError: a bit rate the protocol has no digit for.
        """
        commands = slcan.open_commands(bit_rate)
        port = open_port(path, baud=ADAPTER_BAUD)
        bus = cls(port)
        try:
            port.drain_input()
            for command in commands:
                refused = await bus._send_command(command) is slcan.AdapterReply.REFUSED
                if refused and command != b"C\r":  # an adapter may refuse to close when closed
                    raise CommandRefused(
                        f"{path}: the CAN adapter refused the command {command.decode().strip()}"
                        f" of {bit_rate} bit/s"
                    )
        except BaseException:
            port.close()
            raise
        return bus

    async def _send_command(self, command: bytes) -> slcan.AdapterReply | None:
        """Send a command; returns the adapter's reply, None without one."""
        await self._port.send(command)
        with trio.move_on_after(ADAPTER_TIMEOUT_S):
            while True:
                for item in self._decoder.feed(await self._port.receive()):
                    if isinstance(item, slcan.AdapterReply):
                        self.has_replied = True
                        return item
        return None

    async def send(self, frame: CanFrame) -> None:
        await self._port.send(slcan.encode_frame(frame))

    async def receive(self) -> list[CanFrame]:
        while True:
            items = self._decoder.feed(await self._port.receive())
            self.has_replied = self.has_replied or bool(items)
            self.refused_count += items.count(slcan.AdapterReply.REFUSED)
            frames = [item for item in items if isinstance(item, CanFrame)]
            if frames:
                return frames

    def close(self) -> None:
        self._port.close()


class SocketCanBus:
    """A CAN bus of the kernel; its bit rate is set with `ip link`, not here."""

    def __init__(self, bound_socket: socket.socket) -> None:
        """Use a bound raw CAN socket, which is closed with this."""
        bound_socket.setblocking(False)
        self._socket = bound_socket

    @classmethod
    def open(cls, interface: str) -> SocketCanBus:
        """Bind to an interface such as `can0`. Raises PortLost if there is none."""
        try:
            raw = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        except (OSError, AttributeError) as error:
            raise PortLost(f"{interface}: this host has no SocketCAN: {error}") from error
        try:
            raw.bind((interface,))
        except OSError as error:
            raw.close()
            raise PortLost(f"{interface}: cannot bind: {error.strerror}") from error
        return cls(raw)

    async def send(self, frame: CanFrame) -> None:
        while True:
            try:
                self._socket.send(encode_kernel_frame(frame))
                return
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)
            except OSError as error:
                raise PortLost(f"SocketCAN: send: {error.strerror}") from error

    async def receive(self) -> list[CanFrame]:
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                raw = self._socket.recv(KERNEL_FRAME.size)
            except BlockingIOError:
                continue
            except OSError as error:
                raise PortLost(f"SocketCAN: receive: {error.strerror}") from error
            if not raw:
                raise PortLost("SocketCAN: the bus closed")
            frame = decode_kernel_frame(raw)
            if frame is not None:
                return [frame]

    def close(self) -> None:
        """Close the socket and wake a task that waits on it. Inside trio only."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


def encode_kernel_frame(frame: CanFrame) -> bytes:
    """The 16 bytes of Linux' `struct can_frame`."""
    flag = EXTENDED_FLAG if frame.extended else 0
    return KERNEL_FRAME.pack(frame.id | flag, len(frame.data), frame.data)


def decode_kernel_frame(raw: bytes) -> CanFrame | None:
    """The data frame in a `struct can_frame`; None for remote and error frames."""
    if len(raw) != KERNEL_FRAME.size:
        return None
    identifier, length, data = KERNEL_FRAME.unpack(raw)
    if identifier & REMOTE_OR_ERROR or length > 8:
        return None
    extended = bool(identifier & EXTENDED_FLAG)
    return CanFrame(identifier & (0x1FFF_FFFF if extended else 0x7FF), data[:length], extended)


def count_bits(frame: CanFrame) -> int:
    """Bits of a data frame with the pause after it, without stuff bits. ISO 11898-1."""
    return (67 if frame.extended else 47) + 8 * len(frame.data)


FrameListener = Callable[[CanFrame], None]


class SharedCanBus:
    """One bus and the drivers that share it. A `drivers.ports.Device` without reports.

    Attributes:
        frames_received: since the bus was opened.
        bit_rate: of the bus, bit/s.
        traffic: records all frames; None: they are not recorded.
    """

    def __init__(self, name: str, open_bus: Callable[[], Awaitable[CanBus]], bit_rate: int) -> None:
        """Name a bus and how to open it; nothing is opened before `run`.

        Args:
            name: for messages.
            open_bus: opens it.
            bit_rate: of the bus, bit/s; its load is a share of this.
        """
        self.name = name
        self.frames_received = 0
        self.traffic: TrafficRing | None = None
        self._bits = 0  # received and sent since the bus was opened
        self._opened_at = 0.0
        self.bit_rate = bit_rate
        self._open_bus = open_bus
        self._bus: CanBus | None = None
        self._changed = trio.Event()
        self._listeners: list[FrameListener] = []

    @classmethod
    def over_slcan(
        cls, path: str, bit_rate: int, open_port: OpenPort = SerialPort.open
    ) -> SharedCanBus:
        """A bus reached through a serial adapter at `path`."""
        return cls(path, lambda: SlcanBus.open(path, bit_rate, open_port), bit_rate)

    @classmethod
    def over_socketcan(cls, interface: str, bit_rate: int) -> SharedCanBus:
        """A bus of the kernel."""

        async def open_bus() -> CanBus:
            return SocketCanBus.open(interface)

        return cls(interface, open_bus, bit_rate)

    @classmethod
    def over_interface(
        cls,
        port: str,
        interface: str,
        bit_rate: int,
        open_port: OpenPort,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> SharedCanBus:
        """The bus of a `[hardware.KIND]` table.

        Args:
            port: a tty, an interface of the kernel, or a channel as python-can names it.
            interface: `slcan`, `socketcan` or an interface of python-can.
            bit_rate: of the bus, bit/s.
            open_port: how to open a serial port.
            options: further arguments of a python-can adapter.

        Raises:
            SettingsError: there is no such interface, or it takes no options.
        """
        if interface in (SLCAN, SOCKETCAN):
            if options:
                raise SettingsError(f"adapter: interface {interface} has no further settings")
            if interface == SOCKETCAN:
                return cls.over_socketcan(port, bit_rate)
            return cls.over_slcan(port, bit_rate, open_port)
        from drivers.wire import python_can  # a tenth of a second, for those who use it

        python_can.check_interface(interface)
        return cls(
            port,
            lambda: python_can.PythonCanBus.open(interface, port, bit_rate, options),
            bit_rate,
        )

    @property
    def is_open(self) -> bool:
        return self._bus is not None

    @property
    def is_adapter_silent(self) -> bool:
        """Whether a serial adapter is open and has never replied. Old firmware does not reply."""
        return isinstance(self._bus, SlcanBus) and not self._bus.has_replied

    def load_percent(self) -> float:
        """Share of the bus's time that its frames took since it was opened, without stuff bits."""
        seconds = max(trio.current_time() - self._opened_at, 0.001)
        return 100 * self._bits / seconds / self.bit_rate

    async def wait_until_open(self) -> None:
        """Wait until the bus is open."""
        while self._bus is None:
            await self._changed.wait()

    async def wait_until_closed(self) -> None:
        """Wait until the bus is lost."""
        while self._bus is not None:
            await self._changed.wait()

    @contextmanager
    def attach_listener(self, listener: FrameListener) -> Iterator[None]:
        """Call `listener` with every frame that arrives in the block. It must not wait."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)
            self._notify_change()

    async def send(self, frame: CanFrame) -> None:
        """Send a frame. Raises PortLost when the bus is not open."""
        if self._bus is None:
            raise PortLost(f"{self.name}: the CAN bus is not open")
        if self.traffic is not None:
            self.traffic.add_frame(frame, sent=True)
        try:
            await self._bus.send(frame)
            self._bits += count_bits(frame)
        except trio.ClosedResourceError as error:
            raise PortLost(f"{self.name}: the CAN bus closed while sending") from error

    async def run(self, report: Callable[[DeviceReport], None]) -> None:
        """Open the bus and read it until cancelled. Raises DeviceFault when it is lost."""
        self._bus = bus = await self._open_bus()
        self._opened_at, self._bits, self.frames_received = trio.current_time(), 0, 0
        self._notify_change()
        try:
            while True:
                for frame in await bus.receive():
                    self.frames_received += 1
                    self._bits += count_bits(frame)
                    if self.traffic is not None:
                        self.traffic.add_frame(frame, sent=False)
                    for listener in tuple(self._listeners):
                        listener(frame)
        except trio.Cancelled:
            await self._wait_for_listeners()
            raise
        finally:
            self._bus = None
            self._notify_change()
            bus.close()

    async def _wait_for_listeners(self) -> None:
        """Stay open while the drivers, cancelled at the same time, send their last frame: off."""
        with trio.move_on_after(SHUTDOWN_GRACE_S, shield=True):
            while self._listeners:
                await self._changed.wait()

    def _notify_change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
