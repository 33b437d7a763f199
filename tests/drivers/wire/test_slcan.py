"""Frames of the Lawicel protocol: literal, cut, damaged and with noise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.wire.slcan import (
    AdapterCommand,
    AdapterReply,
    CanFrame,
    Decoder,
    encode_frame,
    open_commands,
    parse_frame,
)

LINES = [
    ("0106B000#01", b"T0106B000101\r"),
    ("0106B003#5820C409C40948", b"T0106B00375820C409C40948\r"),
    ("02DB01F0#000AFE740003D090", b"T02DB01F08000AFE740003D090\r"),
    ("123#", b"t1230\r"),
    ("7FF#A0B1", b"t7FF2A0B1\r"),
]
frames = st.builds(
    lambda identifier, data, extended: CanFrame(
        identifier & (0x1FFF_FFFF if extended else 0x7FF), data, extended
    ),
    st.integers(0, 0x1FFF_FFFF),
    st.binary(max_size=8),
    st.booleans(),
)


@pytest.mark.parametrize(("text", "line"), LINES)
def test_a_frame_is_one_line(text: str, line: bytes) -> None:
    assert encode_frame(parse_frame(text)) == line
    assert Decoder().feed(line) == [parse_frame(text)]
    assert str(parse_frame(text)) == text


def test_small_hex_digits_and_time_stamps_are_accepted() -> None:
    assert Decoder().feed(b"t7ff2a0b1\r") == [parse_frame("7FF#A0B1")]
    assert Decoder().feed(b"T0106B000101BEEF\r") == [parse_frame("0106B000#01")]


def test_replies_are_distinguished() -> None:
    heard = Decoder().feed(b"\rZ\rz\r\x07S4\rV1013\r")
    assert heard == [
        AdapterReply.DONE,
        AdapterReply.SENT,
        AdapterReply.SENT,
        AdapterReply.REFUSED,
        AdapterCommand("S4"),
        AdapterCommand("V1013"),
    ]


def test_an_adapter_is_closed_then_set_up_then_opened() -> None:
    assert open_commands(125_000) == (b"C\r", b"S4\r", b"O\r")
    assert open_commands(500_000) == (b"C\r", b"S6\r", b"O\r")
    with pytest.raises(ValueError, match="123"):
        open_commands(123)


@pytest.mark.parametrize(
    "line",
    [
        b"T0106B00\r",  # the identifier is cut
        b"T0106B00010\r",  # the data is cut
        b"T0106B0001012\r",  # half a byte too much
        b"T0106B0009000000000000000000\r",  # nine bytes
        b"TFFFFFFFF101\r",  # 32 bits of identifier
        b"t8FF0\r",  # 12 bits
        b"T0106B0001GG\r",
        b"T+106B000101\r",
        b"T0106B0001 1\r",
        b"\xff\xfe\r",
        b"T" + b"0" * 100 + b"\r",
    ],
)
def test_a_bad_line_is_dropped_and_the_next_is_found(line: bytes) -> None:
    decoder = Decoder()
    assert decoder.feed(line + b"T0106B000101\r") == [parse_frame("0106B000#01")]
    assert decoder.malformed_count == 1


@given(st.lists(frames, max_size=20), st.data())
def test_frames_survive_any_cutting(sent: list[CanFrame], data: st.DataObject) -> None:
    stream = b"".join(map(encode_frame, sent))
    decoder, heard, rest = Decoder(), list[object](), stream
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        heard += decoder.feed(rest[:size])
        rest = rest[size:]
    assert heard == sent


@given(st.binary(max_size=300), frames)
def test_after_any_noise_and_a_line_end_the_next_frame_is_found(
    noise: bytes, sent: CanFrame
) -> None:
    assert Decoder().feed(noise + b"\r" + encode_frame(sent))[-1] == sent


@pytest.mark.parametrize("bad", [(1 << 29, b"", True), (0x800, b"", False), (1, bytes(9), True)])
def test_an_invalid_frame_is_refused(bad: tuple[int, bytes, bool]) -> None:
    with pytest.raises(ValueError, match="CAN"):
        CanFrame(*bad)
