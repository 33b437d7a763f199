"""Emulated Modbus RTU units that share one serial line.

`ModbusSlaveBus` reads requests from a port and passes each to the addressed unit. A unit is a
`ModbusSlave`: its subclass has the registers and coils; `SlaveFaults` has the ways a real unit
fails on the line.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import trio

from drivers.wire import modbus_rtu
from drivers.wire.modbus_rtu import ExceptionCode, Request
from drivers.wire.modbus_slave import (
    InvalidRequest,
    encode_exception,
    encode_response,
    take_request,
)
from drivers.wire.serial_port import Port

FRAME_TIMEOUT_S = 0.05  # an incomplete request is discarded after this pause

T = TypeVar("T")
ValueSource: TypeAlias = T | Callable[[], T]


def current_value(source: ValueSource[T]) -> T:
    """The value of a plain attribute, or the present return value of a callable one."""
    return source() if callable(source) else source


class ModbusException(Exception):
    """A unit refuses a request with this exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}")
        self.code = code


@dataclass
class SlaveFaults:
    """Faults of a unit, each active until the attribute is reset.

    Attributes:
        silent: neither executes nor answers requests.
        bad_crc: answers with a wrong CRC.
        truncated: sends only the first so many bytes of an answer; None: all.
        exception: refuses every request with this code; None: refuses none.
        slow_s: additional delay of an answer.
        noise: bytes on the line before each answer.
        bit_errors: number of bits of each answer that are flipped at random.
    """

    silent: bool = False
    bad_crc: bool = False
    truncated: int | None = None
    exception: int | None = None
    slow_s: float = 0.0
    noise: bytes = b""
    bit_errors: int = 0


class ModbusSlave:
    """One unit. Subclasses define its registers and coils.

    Attributes:
        response_delay_s: from the request to the answer.
        functions: supported function codes.
        faults: active faults.
    """

    response_delay_s = 0.02
    functions: frozenset[int] = frozenset(modbus_rtu.COUNT_MAX)

    def __init__(self, seed: int = 0) -> None:
        self.faults = SlaveFaults()
        self._random = random.Random(seed)

    def read_register(self, address: int) -> int:
        """A register, 0 to 65535. Raises ModbusException."""
        raise ModbusException(ExceptionCode.ILLEGAL_ADDRESS)

    def write_register(self, address: int, value: int) -> None:
        """Change a register. Raises ModbusException."""
        raise ModbusException(ExceptionCode.ILLEGAL_ADDRESS)

    def read_bit(self, address: int) -> bool:
        """A coil or a discrete input. Raises ModbusException."""
        raise ModbusException(ExceptionCode.ILLEGAL_ADDRESS)

    def write_bit(self, address: int, on: bool) -> None:
        """Change a coil. Raises ModbusException."""
        raise ModbusException(ExceptionCode.ILLEGAL_ADDRESS)

    def on_request(self) -> None:
        """Called for each valid request to this unit, before it is executed; feeds watchdogs."""

    def handle_request(self, request: Request | InvalidRequest) -> bytes:
        """Execute a request; returns the answer frame, before any fault of the line."""
        self.on_request()
        try:
            if self.faults.exception is not None:
                raise ModbusException(self.faults.exception)
            if isinstance(request, InvalidRequest):
                raise ModbusException(request.code)
            if request.function not in self.functions:
                raise ModbusException(ExceptionCode.ILLEGAL_FUNCTION)
            return encode_response(request, self._execute_request(request))
        except ModbusException as refusal:
            return encode_exception(request.unit, request.function, refusal.code)

    def apply_line_faults(self, response: bytes) -> bytes:
        """The answer frame with the active faults of the line applied."""
        faults = self.faults
        frame = bytearray(response)
        if faults.bad_crc:
            frame[-1] ^= 0xFF
        for _ in range(faults.bit_errors):
            bit = self._random.randrange(8 * len(frame))
            frame[bit // 8] ^= 1 << bit % 8
        return faults.noise + bytes(frame[: faults.truncated])

    def _execute_request(self, request: Request) -> tuple[int, ...]:
        addresses = range(request.address, request.address + request.count)
        if request.function in modbus_rtu.REGISTER_READS:
            return tuple(self.read_register(address) for address in addresses)
        if request.function in modbus_rtu.BIT_READS:
            return tuple(int(self.read_bit(address)) for address in addresses)
        for address, value in zip(addresses, request.values, strict=True):
            if request.function in (modbus_rtu.WRITE_REGISTER, modbus_rtu.WRITE_REGISTERS):
                self.write_register(address, value)
            else:
                self.write_bit(address, bool(value))
        return ()


class ModbusSlaveBus:
    """Units that share one line. Requests to other addresses are not answered.

    Args:
        port: the line's device end, a `Pty` or a `MemoryPort`.
        units: by Modbus address.
    """

    def __init__(self, port: Port, units: Mapping[int, ModbusSlave]) -> None:
        self.port = port
        self.units = units

    async def run(self) -> None:
        """Answer until cancelled."""
        buffer = bytearray()
        async with trio.open_nursery() as nursery:
            while True:
                with trio.move_on_after(FRAME_TIMEOUT_S if buffer else float("inf")) as timeout:
                    buffer += await self.port.receive()
                if timeout.cancelled_caught:
                    buffer.clear()
                while (request := take_request(buffer)) is not None:
                    unit = self.units.get(request.unit)
                    if unit is not None and not unit.faults.silent:
                        nursery.start_soon(self._send_response, unit, request)

    async def _send_response(self, unit: ModbusSlave, request: Request | InvalidRequest) -> None:
        response = unit.handle_request(request)
        await trio.sleep(unit.response_delay_s + unit.faults.slow_s)
        await self.port.send(unit.apply_line_faults(response))
