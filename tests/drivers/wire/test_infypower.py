"""The vendor's worked frames, then anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.wire import infypower as wire
from drivers.wire.infypower import Command, Limits, Status, Telegram
from drivers.wire.slcan import CanFrame, parse_frame

REQUESTS = [
    (wire.read_data(Command.COUNT, wire.ALL_MODULES), "02823FF0#0000000000000000"),
    (wire.read_data(Command.COUNT, 1, is_group=True), "02C201F0#0000000000000000"),
    (wire.read_data(Command.READ_OUTPUT, 1, is_group=True), "02C801F0#0000000000000000"),
    (wire.read_data(Command.READ_MODULE, 0), "028900F0#0000000000000000"),
    (wire.read_data(Command.READ_MODULE_FLOAT, 0), "028300F0#0000000000000000"),
    (wire.read_data(Command.STATE, 0), "028400F0#0000000000000000"),
    (wire.read_data(Command.STATE, 1, is_group=True), "02C401F0#0000000000000000"),
    (wire.read_data(Command.AC_INPUT, 0), "028600F0#0000000000000000"),
    (wire.read_data(Command.LIMITS, 0), "028A00F0#0000000000000000"),
    (wire.read_data(Command.BARCODE, 0), "028B00F0#0000000000000000"),
    (wire.read_data(Command.AVAILABLE, 0), "028C00F0#0000000000000000"),
    (wire.set_walk_in(wire.ALL_MODULES, on=True), "02933FF0#0100000000000000"),
    (wire.set_group(0, 2), "029600F0#0200000000000000"),
    (wire.set_sleep(2, on=True), "029902F0#0100000000000000"),
    (wire.switch_output(wire.ALL_MODULES, on=True), "029A3FF0#0000000000000000"),
    (wire.switch_output(wire.ALL_MODULES, on=False), "029A3FF0#0100000000000000"),
    (wire.switch_output(1, on=True, is_group=True), "02DA01F0#0000000000000000"),
    (wire.switch_output(1, on=False, is_group=True), "02DA01F0#0100000000000000"),
    (wire.set_output(wire.ALL_MODULES, 500_000, 20_000), "029B3FF0#0007A12000004E20"),
    (wire.set_output(1, 720_500, 250_000, is_group=True), "02DB01F0#000AFE740003D090"),
    (wire.set_output(2, 512_000, 40_000, is_group=True), "02DB02F0#0007D00000009C40"),
    (wire.set_module(0, 320_000, 10_000), "029C00F0#0004E20000002710"),
]
STOPPED = Status(1, 35, frozenset({"off", "walk_in", "pfc_off"}))
HOT = Status(1, 95, frozenset({"off", "module_fault", "over_temperature", "walk_in"}))


@pytest.mark.parametrize(("telegram", "text"), REQUESTS)
def test_requests_have_the_bytes_of_the_document(telegram: Telegram, text: str) -> None:
    assert str(telegram.can_frame) == text
    assert wire.parse_frame(parse_frame(text)) == telegram


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("0282F03F#0000030000000000", (wire.decode_count, 3)),
        ("02C2F001#0000060000000000", (wire.decode_count, 6)),
        ("02C8F001#000AFE740003D090", (wire.decode_pair, (720_500, 250_000))),
        ("0289F000#00030D4000001388", (wire.decode_pair, (200_000, 5_000))),
        ("0284F000#0000010023804100", (wire.decode_status, STOPPED)),
        ("0284F000#0000010023004000", (wire.decode_status, Status(1, 35, frozenset({"walk_in"})))),
        ("0284F000#000001005F005300", (wire.decode_status, HOT)),
        ("0286F000#12C012CC12BB0000", (wire.decode_ac_input, (4800, 4812, 4795))),
        ("028AF000#03E8009603E80BB8", (wire.decode_limits, Limits(1000, 150, 100_000, 30_000))),
        ("028BF000#56130C15A3FB06A8", (wire.decode_barcode, "081807123451V1704")),
    ],
)
def test_responses_are_decoded_as_in_the_document(text: str, read: tuple[object, object]) -> None:
    telegram = wire.parse_frame(parse_frame(text))
    assert telegram is not None
    take, expected = read
    assert callable(take)
    assert take(telegram.data) == expected


def test_the_float_answer_of_the_document() -> None:
    assert wire.encode_float_pair(720_500, 41_500) == bytes.fromhex("4434200042260000")


def test_the_answer_to_0x0c_of_the_document() -> None:
    assert wire.encode_shorts(7198, 1000, 0, 0) == bytes.fromhex("1C1E03E800000000")


@pytest.mark.parametrize(
    ("text", "error", "command", "source"),
    [
        ("0EDBF001#0000000000000000", wire.ErrorCode.DATA_INVALID, Command.SET_OUTPUT, 1),
        ("0ABEF000#0000000000000000", wire.ErrorCode.COMMAND_INVALID, 0x3E, 0),
        ("1E9CF000#0000000000000000", wire.ErrorCode.STARTING_UP, Command.SET_MODULE, 0),
    ],
)
def test_errors_are_in_the_identifier(text: str, error: int, command: int, source: int) -> None:
    telegram = wire.parse_frame(parse_frame(text))
    assert telegram is not None
    assert (telegram.error, telegram.command, telegram.source) == (error, command, source)
    assert telegram.can_frame == parse_frame(text)


def test_a_response_swaps_the_addresses() -> None:
    asked = wire.read_data(Command.READ_OUTPUT, 1, is_group=True)
    assert (
        str(asked.make_response(wire.encode_pair(720_500, 250_000)).can_frame)
        == "02C8F001#000AFE740003D090"
    )


@pytest.mark.parametrize("name", [name for name, _ in wire.STATUS_BITS.values()])
def test_every_status_bit_has_one_place(name: str) -> None:
    status = Status(2, -5, frozenset({name}), status_3=7)
    assert wire.decode_status(status.data_bytes) == status
    assert sum(name in status.bits_of_class(kind) for kind in ("fault", "warning", "state")) == 1


def test_a_barcode_keeps_its_characters() -> None:
    assert wire.encode_barcode("081807123451V1704") == bytes.fromhex("56130C15A3FB06A8")
    with pytest.raises(ValueError, match="17"):
        wire.encode_barcode("short")


@given(st.integers(0, 0x1FFF_FFFF), st.binary(max_size=8), st.booleans())
def test_any_frame_is_decoded_or_ignored(identifier: int, data: bytes, extended: bool) -> None:
    some = CanFrame(identifier if extended else identifier & 0x7FF, data, extended)
    telegram = wire.parse_frame(some)
    if telegram is not None:
        assert telegram.can_frame == some
        for take in (
            wire.decode_status,
            wire.decode_limits,
            wire.decode_pair,
            wire.decode_barcode,
            wire.decode_count,
        ):
            take(telegram.data)
