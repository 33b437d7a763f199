"""Modbus RTU: bytes of real devices and of their manuals, an independent codec, then noise."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU

from drivers.wire import modbus_rtu
from drivers.wire.modbus_rtu import ExceptionCode, ExceptionResponse, Request, Response
from drivers.wire.modbus_slave import (
    InvalidRequest,
    encode_exception,
    encode_response,
    take_request,
)


def hex_bytes(text: str) -> bytes:
    return bytes.fromhex(text)


READ_METER = modbus_rtu.read_registers(1, 0, 20)
METER = (
    *(7205, 2, 2500, 2, 0, 312, 0, 0, 1801, 5, 0, 0),
    *(18, 54919, 0, 42, 1, 500, 0, 0),
)

# (request, its bytes, the values answered, the answer's bytes), from meter, I/O module and
# insulation monitor. Half of them were seen on real devices.
EXCHANGES: list[tuple[Request, str, tuple[int, ...], str]] = [
    (
        modbus_rtu.read_registers(1, 0, 6),
        "01 03 00 00 00 06 C5 C8",
        (0, 3, 0, 2, 0, 333),
        "01 03 0C 00 00 00 03 00 00 00 02 00 00 01 4D 3F E5",
    ),
    (
        modbus_rtu.read_registers(1, 8, 2),
        "01 03 00 08 00 02 45 C9",
        (0, 5),
        "01 03 04 00 00 00 05 3A 30",
    ),
    (
        modbus_rtu.read_registers(1, 12, 8),
        "01 03 00 0C 00 08 84 0F",
        (0, 21018, 0, 0, 1, 250, 0, 0),
        "01 03 10 00 00 52 1A 00 00 00 00 00 01 00 FA 00 00 00 00 59 85",
    ),
    (
        modbus_rtu.read_registers(1, 30, 4),
        "01 03 00 1E 00 04 24 0F",
        (0x1803, 0x130E, 0x1409, 0x0103),
        "01 03 08 18 03 13 0E 14 09 01 03 59 7C",
    ),
    (
        modbus_rtu.read_registers(1, 35, 1),
        "01 03 00 23 00 01 75 C0",
        (0x0103,),
        "01 03 02 01 03 F9 D5",
    ),
    (
        modbus_rtu.write_registers(1, 30, (0x1703, 0x130E, 0x1800)),
        "01 10 00 1E 00 03 06 17 03 13 0E 18 00 AE 80",
        (),
        "01 10 00 1E 00 03 E0 0E",
    ),
    (
        READ_METER,
        "01 03 00 00 00 14 45 C5",
        METER,
        "01 03 28 1C 25 00 02 09 C4 00 02 00 00 01 38 00 00 00 00 07 09 00 05 00 00 00 00"
        "00 12 D6 87 00 00 00 2A 00 01 01 F4 00 00 00 00 A2 CB",
    ),
    (
        modbus_rtu.read_registers(1, 50, 6),
        "01 03 00 32 00 06 64 07",
        (0x4434, 0x2000, 0x437A, 0x0000, 0x4334, 0x2000),
        "01 03 0C 44 34 20 00 43 7A 00 00 43 34 20 00 5A B2",
    ),
    (
        modbus_rtu.read_coils(5, 0x20, 8),
        "05 01 00 20 00 08 3D 82",
        (1, 0, 1, 1, 0, 0, 0, 1),
        "05 01 01 8D 90 DD",
    ),
    (
        modbus_rtu.read_discrete_inputs(5, 0x20, 8),
        "05 02 00 20 00 08 79 82",
        (1, 0, 1, 1, 0, 0, 0, 1),
        "05 02 01 8D 60 DD",
    ),
    (
        modbus_rtu.read_coils(5, 0, 8),
        "05 01 00 00 00 08 3C 48",
        (1, 0, 1, 0, 0, 0, 0, 0),
        "05 01 01 05 90 BB",
    ),
    (
        modbus_rtu.write_coils(5, 0, (1, 0, 1, 0, 0, 0, 0, 0)),
        "05 0F 00 00 00 08 01 05 3F 65",
        (),
        "05 0F 00 00 00 08 55 89",
    ),
    (modbus_rtu.write_coil(5, 0, True), "05 05 00 00 FF 00 8D BE", (), "05 05 00 00 FF 00 8D BE"),
    (modbus_rtu.write_coil(5, 0, False), "05 05 00 00 00 00 CC 4E", (), "05 05 00 00 00 00 CC 4E"),
    (
        modbus_rtu.write_register(5, 0x1E8, 20),
        "05 06 01 E8 00 14 09 89",
        (),
        "05 06 01 E8 00 14 09 89",
    ),
    (
        modbus_rtu.write_coil(5, 0x104, True),
        "05 05 01 04 FF 00 CD 83",
        (),
        "05 05 01 04 FF 00 CD 83",
    ),
    (
        modbus_rtu.write_coil(5, 0x104, False),
        "05 05 01 04 00 00 8C 73",
        (),
        "05 05 01 04 00 00 8C 73",
    ),
    (modbus_rtu.read_coils(5, 0x10D, 1), "05 01 01 0D 00 01 6C 71", (1,), "05 01 01 01 91 78"),
    (
        modbus_rtu.write_coil(5, 0x10D, True),
        "05 05 01 0D FF 00 1D 81",
        (),
        "05 05 01 0D FF 00 1D 81",
    ),
    (
        modbus_rtu.read_registers(3, 1003, 1),
        "03 03 03 EB 00 01 F5 98",
        (71,),
        "03 03 02 00 47 81 B6",
    ),
    (
        modbus_rtu.read_registers(3, 1000, 4),
        "03 03 03 E8 00 04 C5 9B",
        (0x494F, 0x8500, 0x0002, 0x0047),
        "03 03 08 49 4F 85 00 00 02 00 47 1A 96",
    ),
    (
        modbus_rtu.read_registers(3, 1008, 4),
        "03 03 03 F0 00 04 45 9C",
        (0x4434, 0x2000, 0x0004, 0x004C),
        "03 03 08 44 34 20 00 00 04 00 4C A9 3B",
    ),
    (
        modbus_rtu.read_registers(3, 1016, 8),
        "03 03 03 F8 00 08 C4 5B",
        (0x43B4, 0x199A, 0x0004, 0x004C, 0xC3B4, 0x2666, 0x0004, 0x004C),
        "03 03 10 43 B4 19 9A 00 04 00 4C C3 B4 26 66 00 04 00 4C 1F 92",
    ),
    (
        modbus_rtu.write_registers(3, 8005, (0x5445,)),
        "03 10 1F 45 00 01 02 54 45 A0 57",
        (),
        "03 10 1F 45 00 01 16 2A",
    ),
]

# Requests without a response in the manuals.
REQUESTS = [
    (modbus_rtu.write_coils(5, 0x80, (0,) * 8), "05 0F 00 80 00 08 01 00 FE B8"),
    (modbus_rtu.write_coils(5, 0xA0, (0,) * 8), "05 0F 00 A0 00 08 01 00 7F 7F"),
    (modbus_rtu.read_coils(5, 0x110, 1), "05 01 01 10 00 01 FC 77"),
    (modbus_rtu.read_registers(5, 0x1E2, 2), "05 03 01 E2 00 02 64 45"),
    (modbus_rtu.write_registers(3, 3003, (2,)), "03 10 0B BB 00 01 02 00 02 9F 7A"),
    (modbus_rtu.write_registers(3, 3026, (1,)), "03 10 0B D2 00 01 02 00 01 D6 42"),
    (modbus_rtu.write_registers(3, 3026, (0,)), "03 10 0B D2 00 01 02 00 00 17 82"),
    (modbus_rtu.write_registers(3, 3005, (250,)), "03 10 0B BD 00 01 02 00 FA 9E 9E"),
    (modbus_rtu.write_registers(3, 3007, (100,)), "03 10 0B BF 00 01 02 00 64 1E D4"),
    (modbus_rtu.read_registers(3, 9800, 10), "03 03 26 48 00 0A 4F 71"),
    (modbus_rtu.read_registers(3, 9820, 6), "03 03 26 5C 00 06 0F 70"),
]

EXCEPTIONS = [
    (READ_METER, 2, "01 83 02 C0 F1"),
    (modbus_rtu.read_discrete_inputs(5, 0x20, 8), 2, "05 82 02 80 A0"),
    (modbus_rtu.read_registers(3, 1, 1), 2, "03 83 02 61 31"),
    (modbus_rtu.write_registers(3, 1, (1,)), 2, "03 90 02 6C 01"),
]


def test_the_checksum_of_the_example_in_the_standard() -> None:
    assert modbus_rtu.crc16(hex_bytes("02 07")) == hex_bytes("41 12")


@pytest.mark.parametrize(
    ("request_", "text"), [*((ask, text) for ask, text, _, _ in EXCHANGES), *REQUESTS]
)
def test_a_request_has_the_bytes_of_the_manual(request_: Request, text: str) -> None:
    assert modbus_rtu.encode_request(request_) == hex_bytes(text)
    assert take_request(bytearray(hex_bytes(text))) == request_


@pytest.mark.parametrize(("request_", "_text", "values", "answer"), EXCHANGES)
def test_an_answer_has_the_bytes_of_the_manual(
    request_: Request, _text: str, values: tuple[int, ...], answer: str
) -> None:
    assert modbus_rtu.find_response(hex_bytes(answer), request_) == Response(values)
    assert encode_response(request_, values) == hex_bytes(answer)
    assert len(hex_bytes(answer)) == modbus_rtu.response_size(request_)


@pytest.mark.parametrize(("request_", "code", "text"), EXCEPTIONS)
def test_an_exception_has_the_bytes_of_the_manual(request_: Request, code: int, text: str) -> None:
    assert modbus_rtu.find_response(hex_bytes(text), request_) == ExceptionResponse(code)
    assert encode_exception(request_.unit, request_.function, code) == hex_bytes(text)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_answer_is_found_when_its_last_byte_is_there(
    exchange: tuple[Request, str, tuple[int, ...], str],
) -> None:
    request, _, values, text = exchange
    answer = hex_bytes(text)
    for cut in range(len(answer)):
        assert modbus_rtu.find_response(answer[:cut], request) is None
    assert modbus_rtu.find_response(hex_bytes("00 FF 01 03") + answer + b"\0", request) == Response(
        values
    )


def test_an_answer_of_another_unit_function_or_length_is_none() -> None:
    answer = hex_bytes(EXCHANGES[0][3])
    for other in (
        modbus_rtu.read_registers(2, 0, 6),
        modbus_rtu.read_input_registers(1, 0, 6),
        modbus_rtu.read_registers(1, 0, 5),
        modbus_rtu.read_registers(1, 0, 7),
    ):
        assert modbus_rtu.find_response(answer, other) is None


def test_eight_bits_are_no_response_to_a_request_for_one() -> None:
    assert (
        modbus_rtu.find_response(hex_bytes("05 01 01 8D 90 DD"), modbus_rtu.read_coils(5, 0x10D, 1))
        is None
    )


def test_an_echo_of_another_write_is_none() -> None:
    on = encode_response(modbus_rtu.write_coil(5, 0, True))
    assert modbus_rtu.find_response(on, modbus_rtu.write_coil(5, 0, False)) is None
    both = encode_response(modbus_rtu.write_coils(5, 0, (1,) * 8))
    assert modbus_rtu.find_response(both, modbus_rtu.write_coils(5, 0x80, (1,) * 8)) is None


@pytest.mark.parametrize(
    "request_",
    [
        modbus_rtu.read_registers(0, 0, 1),
        modbus_rtu.read_registers(248, 0, 1),
        modbus_rtu.read_registers(1, 0, 0),
        modbus_rtu.read_registers(1, 0, 126),
        modbus_rtu.read_registers(1, 65_535, 2),
        modbus_rtu.read_coils(1, 0, 2001),
        modbus_rtu.write_register(1, 0, 65_536),
        modbus_rtu.write_registers(1, 0, (-1,)),
        modbus_rtu.write_coils(1, 0, (2,)),
        modbus_rtu.write_coils(1, 0, ()),
        Request(1, 7, 0, 1),
        Request(1, 3, 0, 1, (5,)),
        Request(1, 16, 0, 2, (5,)),
    ],
)
def test_a_request_outside_of_modbus_is_refused(request_: Request) -> None:
    with pytest.raises(ValueError, match=r"Modbus|function|values|within"):
        modbus_rtu.encode_request(request_)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("01 07", ExceptionCode.ILLEGAL_FUNCTION),
        ("01 03 00 00 00 00", ExceptionCode.ILLEGAL_VALUE),
        ("01 03 00 00 00 7E", ExceptionCode.ILLEGAL_VALUE),
        ("01 05 00 00 12 34", ExceptionCode.ILLEGAL_VALUE),
        ("01 10 00 00 00 02 02 00 01", ExceptionCode.ILLEGAL_VALUE),
    ],
)
def test_a_slave_refuses_an_invalid_request_with_the_reason(
    frame: str, code: ExceptionCode
) -> None:
    request = take_request(bytearray(modbus_rtu.append_crc(hex_bytes(frame))))
    assert isinstance(request, InvalidRequest)
    assert request.code == code


def any_request() -> st.SearchStrategy[Request]:
    unit, address = st.integers(1, 247), st.integers(0, 60_000)
    word, bit = st.integers(0, 65_535), st.integers(0, 1)
    return st.one_of(
        st.builds(modbus_rtu.read_coils, unit, address, st.integers(1, 2000)),
        st.builds(modbus_rtu.read_discrete_inputs, unit, address, st.integers(1, 2000)),
        st.builds(modbus_rtu.read_registers, unit, address, st.integers(1, 125)),
        st.builds(modbus_rtu.read_input_registers, unit, address, st.integers(1, 125)),
        st.builds(modbus_rtu.write_coil, unit, address, st.booleans()),
        st.builds(modbus_rtu.write_register, unit, address, word),
        st.builds(modbus_rtu.write_coils, unit, address, st.lists(bit, min_size=1, max_size=1968)),
        st.builds(
            modbus_rtu.write_registers, unit, address, st.lists(word, min_size=1, max_size=123)
        ),
    )


def values_for(request: Request) -> st.SearchStrategy[tuple[int, ...]]:
    """Values a slave may respond with."""
    if request.values:
        return st.just(())
    top = 1 if request.function in modbus_rtu.BIT_READS else 65_535
    value = st.integers(0, top)
    return st.lists(value, min_size=request.count, max_size=request.count).map(tuple)


def pymodbus_reads(frame: bytes, *, as_slave: bool) -> Any:
    used, pdu = FramerRTU(DecodePDU(as_slave)).handleFrame(frame, 0, 0)
    assert used == len(frame)
    return pdu


@settings(deadline=None)
@given(any_request())
def test_pymodbus_decodes_our_requests(request: Request) -> None:
    frame = modbus_rtu.encode_request(request)
    pdu = pymodbus_reads(frame, as_slave=True)
    assert (pdu.dev_id, pdu.function_code, pdu.address) == (
        request.unit,
        request.function,
        request.address,
    )
    assert FramerRTU(DecodePDU(True)).buildFrame(pdu) == frame
    if request.function in (1, 2, 3, 4):
        assert pdu.count == request.count
    elif request.function in (5, 15):
        assert [int(bit) for bit in pdu.bits[: request.count]] == list(request.values)
    else:
        assert pdu.registers == list(request.values)


@settings(deadline=None)
@given(st.data())
def test_pymodbus_decodes_our_responses_and_we_decode_its(data: st.DataObject) -> None:
    request = data.draw(any_request())
    values = data.draw(values_for(request))
    frame = encode_response(request, values)
    pdu = pymodbus_reads(frame, as_slave=False)
    frame = FramerRTU(DecodePDU(False)).buildFrame(pdu)
    assert modbus_rtu.find_response(frame, request) == Response(values)
    if request.function in (1, 2):
        assert [int(bit) for bit in pdu.bits[: request.count]] == list(values)
    elif request.function in (3, 4):
        assert pdu.registers == list(values)


@settings(deadline=None)
@given(st.integers(1, 247), st.sampled_from([1, 2, 3, 4, 5, 6, 15, 16]), st.integers(1, 11))
def test_pymodbus_reads_our_exceptions(unit: int, function: int, code: int) -> None:
    pdu = pymodbus_reads(encode_exception(unit, function, code), as_slave=False)
    assert pdu.isError()
    assert (pdu.dev_id, pdu.function_code & 0x7F, pdu.exception_code) == (unit, function, code)


@settings(deadline=None)
@given(st.binary(max_size=300), any_request())
def test_no_bytes_break_the_master(noise: bytes, request: Request) -> None:
    response = modbus_rtu.find_response(noise, request)
    assert response is None or isinstance(response, Response | ExceptionResponse)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=4))
def test_no_bytes_break_the_slave_and_its_buffer_stays_small(pieces: list[bytes]) -> None:
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        while take_request(buffer) is not None:
            pass
        assert len(buffer) <= modbus_rtu.FRAME_MAX


@settings(deadline=None)
@given(st.data(), st.binary(max_size=30))
def test_the_response_is_found_after_any_noise(data: st.DataObject, noise: bytes) -> None:
    request = data.draw(any_request())
    values = data.draw(values_for(request))
    if modbus_rtu.find_response(noise, request) is None:
        heard = noise + encode_response(request, values)
        assert modbus_rtu.find_response(heard, request) == Response(values)


@settings(deadline=None)
@given(any_request(), st.integers(1, 20))
def test_a_request_is_found_in_pieces_of_any_size(request: Request, step: int) -> None:
    frame = modbus_rtu.encode_request(request)
    buffer = bytearray()
    taken = []
    for at in range(0, len(frame), step):
        buffer += frame[at : at + step]
        taken.append(take_request(buffer))
    assert taken[-1] == request
    assert all(early is None for early in taken[:-1])
    assert not buffer
