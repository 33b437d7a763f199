"""Modbus RTU frames of the master: encode requests, find responses.

Requests and responses of functions 1 to 6, 15 and 16, and their CRC. Nothing here waits. User space
cannot measure the silence of 3.5 characters that ends a frame. So a response is found by its CRC
and by the length that follows from its request, after any noise. The slave's side is in
`modbus_slave`.

Source: Modbus application protocol 1.1b3; Modbus over serial line 1.02.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum

import msgspec

READ_COILS, READ_DISCRETE_INPUTS = 1, 2
READ_HOLDING_REGISTERS, READ_INPUT_REGISTERS = 3, 4
WRITE_COIL, WRITE_REGISTER = 5, 6
WRITE_COILS, WRITE_REGISTERS = 15, 16

BIT_READS = frozenset({READ_COILS, READ_DISCRETE_INPUTS})
REGISTER_READS = frozenset({READ_HOLDING_REGISTERS, READ_INPUT_REGISTERS})
SINGLE_WRITES = frozenset({WRITE_COIL, WRITE_REGISTER})
MULTIPLE_WRITES = frozenset({WRITE_COILS, WRITE_REGISTERS})

COUNT_MAX = {
    READ_COILS: 2000,
    READ_DISCRETE_INPUTS: 2000,
    READ_HOLDING_REGISTERS: 125,
    READ_INPUT_REGISTERS: 125,
    WRITE_COIL: 1,
    WRITE_REGISTER: 1,
    WRITE_COILS: 1968,
    WRITE_REGISTERS: 123,
}
COIL_ON, COIL_OFF = 0xFF00, 0x0000
FRAME_MAX = 256  # address, 253 bytes, CRC: Modbus over serial line §2.5.1


class ExceptionCode(IntEnum):
    """Why a slave refuses a request."""

    ILLEGAL_FUNCTION = 1
    ILLEGAL_ADDRESS = 2
    ILLEGAL_VALUE = 3
    DEVICE_FAILURE = 4
    BUSY = 6


class Request(msgspec.Struct, frozen=True):
    """A request of the master to one slave.

    `values` has the bits (0 or 1) or 16-bit registers to write; reads have none.
    """

    unit: int  # 1 to 247
    function: int
    address: int  # wire address, from 0
    count: int
    values: tuple[int, ...] = ()


class Response(msgspec.Struct, frozen=True):
    """A response: the bits or registers read; nothing for a write."""

    values: tuple[int, ...] = ()


class ExceptionResponse(msgspec.Struct, frozen=True):
    """A slave's refusal."""

    code: int

    def __str__(self) -> str:
        known = {code.value: code.name.lower().replace("_", " ") for code in ExceptionCode}
        return f"exception {self.code} ({known.get(self.code, 'unknown')})"


def read_coils(unit: int, address: int, count: int) -> Request:
    return Request(unit, READ_COILS, address, count)


def read_discrete_inputs(unit: int, address: int, count: int) -> Request:
    return Request(unit, READ_DISCRETE_INPUTS, address, count)


def read_registers(unit: int, address: int, count: int) -> Request:
    """Holding registers, function 3."""
    return Request(unit, READ_HOLDING_REGISTERS, address, count)


def read_input_registers(unit: int, address: int, count: int) -> Request:
    return Request(unit, READ_INPUT_REGISTERS, address, count)


def write_coil(unit: int, address: int, on: bool) -> Request:
    return Request(unit, WRITE_COIL, address, 1, (int(on),))


def write_register(unit: int, address: int, value: int) -> Request:
    return Request(unit, WRITE_REGISTER, address, 1, (value,))


def write_coils(unit: int, address: int, bits: Iterable[int]) -> Request:
    values = tuple(bits)
    return Request(unit, WRITE_COILS, address, len(values), values)


def write_registers(unit: int, address: int, registers: Iterable[int]) -> Request:
    values = tuple(registers)
    return Request(unit, WRITE_REGISTERS, address, len(values), values)


def _build_crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_CRC_TABLE = _build_crc_table()


def crc16(data: bytes) -> bytes:
    """CRC-16 from 0xFFFF by the reflected polynomial 0xA001, low byte first as on the wire."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


def append_crc(data: bytes) -> bytes:
    """The frame with its CRC."""
    return data + crc16(data)


def encode_registers(registers: Iterable[int]) -> bytes:
    """Registers as on the wire, high byte first."""
    return b"".join(register.to_bytes(2, "big") for register in registers)


def decode_registers(data: bytes) -> tuple[int, ...]:
    """The wire's bytes as registers."""
    return tuple(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))


def pack_bits(bits: Sequence[int]) -> bytes:
    """Bits as on the wire: eight per byte, the first in bit 0, the last byte padded with 0."""
    number = sum(1 << at for at, bit in enumerate(bits) if bit)
    return number.to_bytes((len(bits) + 7) // 8, "little")


def unpack_bits(data: bytes, count: int) -> tuple[int, ...]:
    """The first `count` bits."""
    number = int.from_bytes(data, "little")
    return tuple(number >> at & 1 for at in range(count))


def bits_to_int(bits: Iterable[int]) -> int:
    """Bits as one number, the first in bit 0."""
    return sum(1 << at for at, bit in enumerate(bits) if bit)


def encode_request(request: Request) -> bytes:
    """The frame a master sends.

    Raises:
        ValueError: a unit, function, address, count or value outside of Modbus.
    """
    _validate_request(request)
    head = bytes([request.unit, request.function]) + request.address.to_bytes(2, "big")
    match request.function:
        case 5:
            return append_crc(head + encode_registers([COIL_ON if request.values[0] else COIL_OFF]))
        case 6:
            return append_crc(head + encode_registers(request.values))
        case 15:
            data = pack_bits(request.values)
        case 16:
            data = encode_registers(request.values)
        case _:
            return append_crc(head + encode_registers([request.count]))
    return append_crc(head + encode_registers([request.count]) + bytes([len(data)]) + data)


def _validate_request(request: Request) -> None:
    most = COUNT_MAX.get(request.function)
    if most is None:
        raise ValueError(f"unsupported Modbus function: {request.function}")
    if not 1 <= request.unit <= 247:
        raise ValueError(f"a Modbus unit is 1 to 247, got {request.unit}")
    if not 1 <= request.count <= most or request.address + request.count > 0x10000:
        raise ValueError(f"function {request.function} takes 1 to {most} below 65536: {request}")
    reads = request.function in BIT_READS | REGISTER_READS
    if len(request.values) != (0 if reads else request.count):
        raise ValueError(f"{request.count} values announced: {request}")
    top = 1 if request.function in (WRITE_COIL, WRITE_COILS) else 0xFFFF
    if not all(0 <= value <= top for value in request.values):
        raise ValueError(f"a value is not within 0 to {top}: {request}")


def response_size(request: Request) -> int:
    """Bytes of a regular response; an exception has 5."""
    if request.function in BIT_READS:
        return 5 + (request.count + 7) // 8
    if request.function in REGISTER_READS:
        return 5 + 2 * request.count
    return 8


def find_response(buffer: bytes, request: Request) -> Response | ExceptionResponse | None:
    """Find the response to `request` anywhere in the received bytes.

    Returns:
        None if it is not complete yet.
    """
    regular, refused = (
        bytes([request.unit, request.function]),
        bytes([request.unit, request.function | 128]),
    )
    size = response_size(request)
    for start in range(len(buffer) - 4):
        head = buffer[start : start + 2]
        if head == regular and (response := _parse_response(buffer[start : start + size], request)):
            return response
        if head == refused and has_valid_crc(buffer[start : start + 5]):
            return ExceptionResponse(buffer[start + 2])
    return None


def _parse_response(frame: bytes, request: Request) -> Response | None:
    if len(frame) != response_size(request) or not has_valid_crc(frame):
        return None
    if request.function in SINGLE_WRITES:
        return Response() if frame == encode_request(request) else None
    if request.function in MULTIPLE_WRITES:
        echoed = request.address.to_bytes(2, "big") + request.count.to_bytes(2, "big")
        return Response() if frame[2:6] == echoed else None
    data = frame[3:-2]
    if frame[2] != len(data):
        return None
    if request.function in REGISTER_READS:
        return Response(decode_registers(data))
    if int.from_bytes(data, "little") >> request.count:
        return None  # the padding is not 0: a response to another request
    return Response(unpack_bits(data, request.count))


def has_valid_crc(frame: bytes) -> bool:
    """Whether the last two bytes are the CRC of the others."""
    return crc16(frame[:-2]) == frame[-2:]
