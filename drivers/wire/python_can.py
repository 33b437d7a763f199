"""CAN adapters that python-can knows (pcan, kvaser, ixxat, gs_usb, vector, …).

python-can blocks, so a bus has a thread that receives: it puts frames into a bounded queue and
wakes the loop once for all that wait. Frames are sent in trio's worker threads, one at a time.

The code of an adapter is its vendor's: without its library it may raise any exception, also a
NameError. Whatever it raises is a lost port.
"""

from __future__ import annotations

import difflib
from collections import deque
from collections.abc import Mapping
from functools import partial
from threading import Event, Thread
from typing import Any, Final, Self

import can
import trio
from can.interfaces import BACKENDS

from drivers.ports import PortLost
from drivers.settings import SettingsError
from drivers.wire.slcan import CanFrame

RECEIVE_TIMEOUT_S: Final = 0.1  # of one wait in the thread; a closed bus ends within it
SEND_TIMEOUT_S: Final = 0.1  # an adapter without a bus never confirms a frame
QUEUED_FRAMES_MAX: Final = 1_000  # frames that wait for the loop; older ones are dropped


def check_interface(name: str) -> None:
    """Check that python-can has an interface of this name.

    Raises:
        SettingsError: it has none.
    """
    if name not in BACKENDS:
        near = difflib.get_close_matches(name, BACKENDS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(BACKENDS))}"
        raise SettingsError(f"interface {name} does not exist; {hint}")


class PythonCanBus:
    """An open adapter; a `drivers.wire.can_bus.CanBus`."""

    def __init__(self, bus: can.BusABC, name: str) -> None:
        """Use an open bus; the thread that receives is started. Inside trio only."""
        self.name = name
        self._bus = bus
        self._token = trio.lowlevel.current_trio_token()
        self._frames: deque[CanFrame] = deque(maxlen=QUEUED_FRAMES_MAX)
        self._arrived = trio.Event()
        self._closed = Event()
        self._failure: Exception | None = None
        self._send_lock = trio.Lock()
        self._thread_limiter = trio.CapacityLimiter(1)
        Thread(target=self._receive_until_closed, name=f"can {name}", daemon=True).start()

    @classmethod
    async def open(
        cls, interface: str, channel: str, bit_rate: int, options: Mapping[str, Any]
    ) -> Self:
        """Open an adapter.

        Args:
            interface: python-can's name of the kind of adapter.
            channel: which adapter or connector, as python-can names it there.
            bit_rate: of the bus, bit/s.
            options: further arguments of the adapter.

        Raises:
            PortLost: no such adapter, or its library is not installed.
        """
        name = f"{interface} {channel}"
        # Some adapters number their channels.
        number_or_name = int(channel) if channel.isdecimal() else channel
        open_bus = partial(
            can.Bus, channel=number_or_name, interface=interface, bitrate=bit_rate, **options
        )
        try:
            bus = await trio.to_thread.run_sync(open_bus)
        except Exception as error:
            raise PortLost(f"{name}: cannot open the adapter: {_to_one_line(error)}") from error
        return cls(bus, name)

    async def send(self, frame: CanFrame) -> None:
        """Send a frame. Raises PortLost if the adapter did not take it."""
        message = can.Message(
            arbitration_id=frame.id, data=frame.data, is_extended_id=frame.extended
        )
        async with self._send_lock:
            try:
                await trio.to_thread.run_sync(
                    self._bus.send, message, SEND_TIMEOUT_S, limiter=self._thread_limiter
                )
            except Exception as error:
                raise PortLost(f"{self.name}: send: {_to_one_line(error)}") from error

    async def receive(self) -> list[CanFrame]:
        """Wait for at least one frame; oldest first. Raises PortLost."""
        while not self._frames:
            if self._failure is not None:
                raise PortLost(f"{self.name}: receive: {_to_one_line(self._failure)}")
            if self._closed.is_set():
                raise trio.ClosedResourceError(f"{self.name} is closed")
            await self._arrived.wait()
        frames = list(self._frames)
        self._frames.clear()
        return frames

    def close(self) -> None:
        """End the thread, which closes the adapter, and wake a task that waits."""
        self._closed.set()
        self._wake()

    def _receive_until_closed(self) -> None:
        try:
            while not self._closed.is_set():
                message = self._bus.recv(RECEIVE_TIMEOUT_S)
                frame = None if message is None else to_frame(message)
                if frame is not None:
                    self._frames.append(frame)
                    self._wake_from_thread()
        except Exception as error:
            self._failure = error
        finally:
            self._shut_down()
            self._wake_from_thread()

    def _shut_down(self) -> None:
        try:
            self._bus.shutdown()
        except Exception as error:  # the adapter is gone
            self._failure = self._failure or error

    def _wake_from_thread(self) -> None:
        try:
            self._token.run_sync_soon(self._wake, idempotent=True)
        except trio.RunFinishedError:
            self._closed.set()

    def _wake(self) -> None:
        self._arrived.set()
        self._arrived = trio.Event()


def to_frame(message: can.Message) -> CanFrame | None:
    """The data frame in a message; None for remote, error and CAN FD frames."""
    if message.is_error_frame or message.is_remote_frame or message.is_fd:
        return None
    return CanFrame(message.arbitration_id, bytes(message.data), message.is_extended_id)


def _to_one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, NameError):
        return "the library of its vendor is not installed"
    return text or type(error).__name__
