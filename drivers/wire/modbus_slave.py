"""What do the bytes on a Modbus RTU line mean to a slave?

The counterpart of `modbus`, for emulated devices and for tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from drivers.wire.modbus_rtu import (
    BIT_READS,
    COIL_OFF,
    COIL_ON,
    COUNT_MAX,
    FRAME_MAX,
    MULTIPLE_WRITES,
    SINGLE_WRITES,
    WRITE_COIL,
    WRITE_COILS,
    WRITE_REGISTER,
    WRITE_REGISTERS,
    ExceptionCode,
    Request,
    append_crc,
    decode_registers,
    encode_registers,
    encode_request,
    has_valid_crc,
    pack_bits,
    unpack_bits,
)


class InvalidRequest(msgspec.Struct, frozen=True):
    """A request with a good CRC that a slave answers with an exception."""

    unit: int
    function: int
    code: ExceptionCode


def take_request(buffer: bytearray) -> Request | InvalidRequest | None:
    """Take the first whole request out of `buffer`, and the noise before it.

    Returns:
        None while no request is whole; what is too old to begin one is dropped.
    """
    for start in range(len(buffer) - 3):
        for size in _possible_request_sizes(buffer, start):
            frame = bytes(buffer[start : start + size])
            if len(frame) == size and has_valid_crc(frame):
                del buffer[: start + size]
                return _decode_request(frame)
    del buffer[:-FRAME_MAX]
    return None


def _possible_request_sizes(buffer: bytearray, start: int) -> tuple[int, ...]:
    """How long a request that begins at `start` may be."""
    function = buffer[start + 1]
    if function in MULTIPLE_WRITES:
        return (9 + buffer[start + 6],) if start + 6 < len(buffer) else ()
    if function in COUNT_MAX:
        return (8,)
    return (len(buffer),) if start == 0 else ()  # an unknown function: perhaps all that is there


def _decode_request(frame: bytes) -> Request | InvalidRequest:
    unit, function = frame[0], frame[1]
    if function not in COUNT_MAX or len(frame) < 8:
        return InvalidRequest(unit, function, ExceptionCode.ILLEGAL_FUNCTION)
    address, fourth = decode_registers(frame[2:6])
    if function == WRITE_COIL:
        fine = fourth in (COIL_ON, COIL_OFF)
        request = Request(unit, function, address, 1, (int(fourth == COIL_ON),))
    elif function == WRITE_REGISTER:
        fine, request = True, Request(unit, function, address, 1, (fourth,))
    else:
        request = Request(
            unit, function, address, fourth, _decode_written_values(function, fourth, frame[7:-2])
        )
        fine = 1 <= fourth <= COUNT_MAX[function] and _has_expected_length(
            function, fourth, frame[7:-2]
        )
    return request if fine else InvalidRequest(unit, function, ExceptionCode.ILLEGAL_VALUE)


def _decode_written_values(function: int, count: int, data: bytes) -> tuple[int, ...]:
    table: dict[int, Callable[[], tuple[int, ...]]] = {
        WRITE_COILS: lambda: unpack_bits(data, count),
        WRITE_REGISTERS: lambda: decode_registers(data),
    }
    return table.get(function, tuple)()


def _has_expected_length(function: int, count: int, data: bytes) -> bool:
    """Whether the bytes written are as many as the count says."""
    expected = {WRITE_COILS: (count + 7) // 8, WRITE_REGISTERS: 2 * count}
    return function not in expected or len(data) == expected[function]


def encode_response(request: Request, values: Sequence[int] = ()) -> bytes:
    """The frame a slave answers with; `values` are the bits or registers read."""
    if request.function in SINGLE_WRITES:
        return encode_request(request)
    head = bytes([request.unit, request.function])
    if request.function in MULTIPLE_WRITES:
        return append_crc(head + encode_registers([request.address, request.count]))
    data = pack_bits(values) if request.function in BIT_READS else encode_registers(values)
    return append_crc(head + bytes([len(data)]) + data)


def encode_exception(unit: int, function: int, code: int) -> bytes:
    """The frame of a slave that refuses."""
    return append_crc(bytes([unit, function | 0x80, code]))
