"""Modbus RTU master: one request at a time on a line that several units and drivers share."""

from __future__ import annotations

from typing import Final, Protocol

import trio

from drivers.alarm import sleep_until
from drivers.ports import CommandRefused, GarbledResponse, NoResponse, PortLost
from drivers.wire.modbus_rtu import (
    MULTIPLE_WRITES,
    SINGLE_WRITES,
    ExceptionCode,
    ExceptionResponse,
    Request,
    Response,
    encode_request,
    find_response,
    response_size,
)
from drivers.wire.serial_port import OpenPort, Port, SerialPort

RECEIVE_BUFFER_MAX = 1024  # bytes searched for one response; the longest has 256


GARBLED_RESPONSE_REASONS: Final = (
    "its baud rate or parity differs from the keys baud and parity",
    "two devices on the line have the same Modbus address",
    "the port is that of another device, or the two wires of the line are swapped (A and B)",
)
"""Why bytes arrive that are no response, likeliest first; for `station probe`."""


class ModbusLineSettings(Protocol):
    """Keys of a table of devices on one Modbus RTU line."""

    @property
    def port(self) -> str: ...

    @property
    def baud(self) -> int: ...

    @property
    def parity(self) -> str: ...

    @property
    def stop_bits(self) -> int: ...

    @property
    def timeout_ms(self) -> int: ...

    @property
    def pause_ms(self) -> int: ...


class ModbusMaster:
    """The master's end of one RS-485 line. Opens its port with the first request.

    Several drivers share a bus; each receives its own errors. A lost port is closed, and opened
    again by the next request.

    Args:
        port: path of the tty.
        baud, parity, stop_bits: as `SerialPort.open` takes them.
        timeout_ms: from the request to its complete response, transmission included.
        retries: how often a request is repeated after silence, noise or "busy".
        pause_ms: silence kept before each request.
        open_port: how to open the port.
    """

    def __init__(
        self,
        port: str,
        *,
        baud: int = 9600,
        parity: str = "N",
        stop_bits: int = 1,
        timeout_ms: int = 300,
        retries: int = 2,
        pause_ms: int = 5,
        open_port: OpenPort = SerialPort.open,
    ) -> None:
        self.path = port
        self.timeout_ms = timeout_ms
        self.retries = retries
        self._settings = (baud, parity, stop_bits)
        self._silence_s = pause_ms / 1000
        self._open_port = open_port
        self._port: Port | None = None
        self._lock = trio.Lock()
        self._silence_until = 0.0  # trio time before which nothing is sent
        # the last request without a response, and until when one may still come
        self._unanswered_request: tuple[Request, float] | None = None
        self._garbled_bytes = 0  # received for the present request, without a response among them

    @classmethod
    def from_settings(
        cls, settings: ModbusLineSettings, open_port: OpenPort, *, retries: int
    ) -> ModbusMaster:
        """The line of a `[hardware.KIND]` table."""
        return cls(
            settings.port,
            baud=settings.baud,
            parity=settings.parity,
            stop_bits=settings.stop_bits,
            timeout_ms=settings.timeout_ms,
            retries=retries,
            pause_ms=settings.pause_ms,
            open_port=open_port,
        )

    async def execute_request(
        self, request: Request, *, timeout_ms: int | None = None, retries: int | None = None
    ) -> tuple[int, ...]:
        """Send a request when the line is free, and wait for the response.

        Returns:
            The bits or registers read; nothing for a write.

        Raises:
            NoResponse: no response with a valid CRC in any attempt; GarbledResponse if other bytes
                arrived.
            CommandRefused: the unit responded with an exception.
            PortLost: the tty is lost.
        """
        timeout_ms = self.timeout_ms if timeout_ms is None else timeout_ms
        tries = 1 + (self.retries if retries is None else retries)
        frame = encode_request(request)
        refusal: ExceptionResponse | None = None
        await self._take_line()
        self._garbled_bytes = 0
        try:
            for _ in range(tries):
                match await self._attempt_request(request, frame, timeout_ms / 1000):
                    case Response(values):
                        return values
                    case ExceptionResponse(code) as refusal if code != ExceptionCode.BUSY:
                        break
        finally:
            self._lock.release()
        name = f"{self.path} unit {request.unit}: function {request.function} at {request.address}"
        if refusal is not None:
            raise CommandRefused(f"{name}: {refusal}")
        attempts = f"{tries} {'try' if tries == 1 else 'tries'} of {timeout_ms} ms"
        if self._garbled_bytes:
            raise GarbledResponse(
                f"{name}: no valid answer in {attempts}, but {self._garbled_bytes} other bytes"
            )
        raise NoResponse(f"{name}: no answer in {attempts}")

    async def _take_line(self) -> None:
        """Take the lock; a free one without a turn of the loop, which would wake it once more."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._lock.locked():
            await self._lock.acquire()
        else:
            self._lock.acquire_nowait()

    def close(self) -> None:
        """Close the port; the next request opens it again."""
        if self._port is not None:
            self._port.close()
            self._port = None

    async def _attempt_request(
        self, request: Request, frame: bytes, timeout_s: float
    ) -> Response | ExceptionResponse | None:
        """Send once. None: no response in time."""
        not_before = max(self._silence_until, self._late_response_until(request))
        if not_before > trio.current_time():
            await sleep_until(not_before)
        try:
            port = self._ensure_open()
            port.drain_input()
            self._unanswered_request = (request, trio.current_time() + 2 * timeout_s)
            await port.send(frame)
            response, received_bytes = await _receive_response(port, request, timeout_s)
            if response is not None:
                self._unanswered_request = None
            else:
                self._garbled_bytes += received_bytes
            return response
        except PortLost:
            self.close()
            self._unanswered_request = None
            raise
        finally:
            self._silence_until = trio.current_time() + self._silence_s

    def _late_response_until(self, request: Request) -> float:
        """Until when the response to an earlier request could be mistaken for that to this one.

        A response does not name its request: those of two reads of the same length look alike. A
        write never waits: it may open a contactor.
        """
        if self._unanswered_request is None or request.function in SINGLE_WRITES | MULTIPLE_WRITES:
            return 0.0
        earlier, until = self._unanswered_request
        alike = (earlier.unit, earlier.function, response_size(earlier)) == (
            request.unit,
            request.function,
            response_size(request),
        )
        return until if alike and earlier != request else 0.0

    def _ensure_open(self) -> Port:
        if self._port is None:
            baud, parity, stop_bits = self._settings
            self._port = self._open_port(self.path, baud=baud, parity=parity, stop_bits=stop_bits)
        return self._port


async def _receive_response(
    port: Port, request: Request, timeout_s: float
) -> tuple[Response | ExceptionResponse | None, int]:
    """The response, or None without one in time; and how many bytes were received.

    The time may have passed because this process did not run. So a response that waits in the
    port when it has passed is in time.
    """
    received = b""
    response: Response | ExceptionResponse | None = None
    with trio.CancelScope(deadline=trio.current_time() + timeout_s):
        while response is None:
            received = (received + await port.receive())[-RECEIVE_BUFFER_MAX:]
            response = find_response(received, request)
    if response is None:
        received = (received + port.receive_waiting())[-RECEIVE_BUFFER_MAX:]
        response = find_response(received, request)
    return response, len(received)
