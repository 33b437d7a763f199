"""Modbus RTU frames of a slave: decode requests, encode responses.

The counterpart of `modbus_rtu`, for emulated devices and for tests.
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
    """A request with a valid CRC that a slave refuses with an exception."""

    unit: int
    function: int
    code: ExceptionCode


def take_request(buffer: bytearray) -> Request | InvalidRequest | None:
    """Remove the first complete request from `buffer`, and the noise before it.

    Returns:
        None while no request is complete; bytes too old to begin one are dropped.
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
    """Possible lengths of a request that begins at `start`."""
    function = buffer[start + 1]
    if function in MULTIPLE_WRITES:
        return (9 + buffer[start + 6],) if start + 6 < len(buffer) else ()
    if function in COUNT_MAX:
        return (8,)
    return (len(buffer),) if start == 0 else ()  # an unknown function: all bytes, perhaps


def _decode_request(frame: bytes) -> Request | InvalidRequest:
    unit, function = frame[0], frame[1]
    if function not in COUNT_MAX or len(frame) < 8:
        return InvalidRequest(unit, function, ExceptionCode.ILLEGAL_FUNCTION)
    address, fourth = decode_registers(frame[2:6])
    if function == WRITE_COIL:
        valid = fourth in (COIL_ON, COIL_OFF)
        request = Request(unit, function, address, 1, (int(fourth == COIL_ON),))
    elif function == WRITE_REGISTER:
        valid, request = True, Request(unit, function, address, 1, (fourth,))
    else:
        request = Request(
            unit, function, address, fourth, _decode_written_values(function, fourth, frame[7:-2])
        )
        valid = 1 <= fourth <= COUNT_MAX[function] and _has_expected_length(
            function, fourth, frame[7:-2]
        )
    return request if valid else InvalidRequest(unit, function, ExceptionCode.ILLEGAL_VALUE)


def _decode_written_values(function: int, count: int, data: bytes) -> tuple[int, ...]:
    table: dict[int, Callable[[], tuple[int, ...]]] = {
        WRITE_COILS: lambda: unpack_bits(data, count),
        WRITE_REGISTERS: lambda: decode_registers(data),
    }
    return table.get(function, tuple)()


def _has_expected_length(function: int, count: int, data: bytes) -> bool:
    """Whether the number of bytes matches the count."""
    expected = {WRITE_COILS: (count + 7) // 8, WRITE_REGISTERS: 2 * count}
    return function not in expected or len(data) == expected[function]


def encode_response(request: Request, values: Sequence[int] = ()) -> bytes:
    """The response frame; `values` are the bits or registers read."""
    if request.function in SINGLE_WRITES:
        return encode_request(request)
    head = bytes([request.unit, request.function])
    if request.function in MULTIPLE_WRITES:
        return append_crc(head + encode_registers([request.address, request.count]))
    data = pack_bits(values) if request.function in BIT_READS else encode_registers(values)
    return append_crc(head + bytes([len(data)]) + data)


def encode_exception(unit: int, function: int, code: int) -> bytes:
    """The frame of a refusal."""
    return append_crc(bytes([unit, function | 0x80, code]))
