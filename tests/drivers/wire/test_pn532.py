"""Frames of the PN532: the vendor's bytes first, then noise."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.wire import pn532
from drivers.wire.pn532 import (
    TFI_CHIP,
    TFI_HOST,
    Ack,
    DamagedFrame,
    Decoder,
    InformationFrame,
    Nack,
    ReceivedFrame,
    SyntaxErrorFrame,
    Target,
)


def hex_bytes(text: str) -> bytes:
    return bytes.fromhex(text)


COMMANDS = [
    (pn532.NORMAL_MODE, "00 00 FF 05 FB D4 14 01 00 01 16 00"),
    (bytes([pn532.GET_FIRMWARE_VERSION]), "00 00 FF 02 FE D4 02 2A 00"),
    (pn532.set_max_retries(2), "00 00 FF 06 FA D4 32 05 FF 01 02 F3 00"),
    (pn532.FIELD_OFF, "00 00 FF 04 FC D4 32 01 00 F9 00"),
    (pn532.FIELD_ON, "00 00 FF 04 FC D4 32 01 01 F8 00"),
    (hex_bytes("16 10"), "00 00 FF 03 FD D4 16 10 06 00"),
    (pn532.LINE_TEST, "00 00 FF 05 FB D4 00 00 AA 55 2D 00"),
    (pn532.LIST_ONE_TYPE_A, "00 00 FF 04 FC D4 4A 01 00 E1 00"),
    (pn532.release_target(1), "00 00 FF 03 FD D4 52 01 D9 00"),
    (pn532.RELEASE_ALL, "00 00 FF 03 FD D4 52 00 DA 00"),
]

RESPONSES = [
    ("15", "00 00 FF 02 FE D5 15 16 00"),
    ("03 32 01 06 07", "00 00 FF 06 FA D5 03 32 01 06 07 E8 00"),
    ("33", "00 00 FF 02 FE D5 33 F8 00"),
    ("17 00", "00 00 FF 03 FD D5 17 00 14 00"),
    ("01 00 AA 55", "00 00 FF 05 FB D5 01 00 AA 55 2B 00"),
    ("53 00", "00 00 FF 03 FD D5 53 00 D8 00"),
]

CARDS = [
    ("00 00 FF 03 FD D5 4B 00 E0 00", None),
    (
        "00 00 FF 0C F4 D5 4B 01 01 00 04 08 04 5A 3C 91 7E 29 00",
        Target(1, hex_bytes("00 04"), 0x08, hex_bytes("5A 3C 91 7E")),
    ),
    (
        "00 00 FF 0F F1 D5 4B 01 01 00 44 00 07 04 A2 5B 1C 9F 61 80 F6 00",
        Target(1, hex_bytes("00 44"), 0x00, hex_bytes("04 A2 5B 1C 9F 61 80")),
    ),
    (
        "00 00 FF 15 EB D5 4B 01 01 03 44 20 07 04 51 6E 2A 33 5C 80 06 75 77 81 02 80 7F 00",
        Target(
            1,
            hex_bytes("03 44"),
            0x20,
            hex_bytes("04 51 6E 2A 33 5C 80"),
            hex_bytes("75 77 81 02 80"),
        ),
    ),
    (
        "00 00 FF 12 EE D5 4B 01 01 00 84 00 0A 04 01 02 03 04 05 06 07 08 09 1F 00",
        Target(1, hex_bytes("00 84"), 0x00, hex_bytes("04 01 02 03 04 05 06 07 08 09")),
    ),
]


@pytest.mark.parametrize(("data", "text"), COMMANDS)
def test_a_command_has_the_bytes_of_the_manual(data: bytes, text: str) -> None:
    assert pn532.encode_command(data) == hex_bytes(text)
    assert Decoder().feed(hex_bytes(text)) == [InformationFrame(TFI_HOST, data)]


@pytest.mark.parametrize(("data", "text"), RESPONSES)
def test_a_response_has_the_bytes_of_the_manual(data: str, text: str) -> None:
    assert Decoder().feed(hex_bytes(text)) == [InformationFrame(TFI_CHIP, hex_bytes(data))]
    assert pn532.encode_response(hex_bytes(data)) == hex_bytes(text)


@pytest.mark.parametrize(("text", "target"), CARDS)
def test_a_card_is_decoded_and_encoded_as_in_the_manual(text: str, target: Target | None) -> None:
    [received] = Decoder().feed(hex_bytes(text))
    assert isinstance(received, InformationFrame)
    assert pn532.parse_target(received.data) == target
    assert pn532.encode_response(pn532.encode_target_list(target)) == hex_bytes(text)


@pytest.mark.parametrize(
    ("text", "received"),
    [
        ("00 00 FF 00 FF 00", Ack()),
        ("00 00 FF FF 00 00", Nack()),
        ("00 00 FF 01 FF 7F 81 00", SyntaxErrorFrame()),
    ],
)
def test_the_three_short_frames(text: str, received: ReceivedFrame) -> None:
    assert Decoder().feed(hex_bytes(text)) == [received]


def test_wake_up_and_set_up_may_share_a_write() -> None:
    both = pn532.WAKE_UP + pn532.encode_command(pn532.NORMAL_MODE)
    assert Decoder().feed(both) == [InformationFrame(TFI_HOST, pn532.NORMAL_MODE)]


def test_ack_and_response_may_share_a_read() -> None:
    assert Decoder().feed(pn532.ACK + hex_bytes(RESPONSES[0][1])) == [
        Ack(),
        InformationFrame(TFI_CHIP, hex_bytes("15")),
    ]


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_frame_may_be_cut_at_any_byte(cut: int) -> None:
    text, target = CARDS[3]
    whole = pn532.ACK + hex_bytes(text)
    decoder = Decoder()
    received = decoder.feed(whole[:cut]) + decoder.feed(whole[cut:])
    assert received[0] == Ack()
    assert isinstance(received[1], InformationFrame)
    assert pn532.parse_target(received[1].data) == target


def test_after_a_wrong_length_checksum_the_search_continues_at_the_next_byte() -> None:
    assert Decoder().feed(hex_bytes("00 00 FF 05 00 FF 02 FE D5 15 16 00")) == [
        InformationFrame(TFI_CHIP, hex_bytes("15"))
    ]


def test_a_wrong_data_checksum_is_reported_and_the_next_frame_found() -> None:
    decoder = Decoder()
    assert decoder.feed(hex_bytes("00 00 FF 02 FE D5 15 17 00")) == [DamagedFrame()]
    assert decoder.feed(hex_bytes(RESPONSES[0][1])) == [InformationFrame(TFI_CHIP, hex_bytes("15"))]


def test_a_frame_after_a_header_made_of_noise_is_found_when_the_line_stays_quiet() -> None:
    decoder = Decoder()
    assert decoder.feed(hex_bytes("00 FF 40 C0") + hex_bytes(RESPONSES[0][1])) == []
    assert decoder.is_inside_frame
    assert decoder.flush_incomplete() == [InformationFrame(TFI_CHIP, hex_bytes("15"))]
    assert not decoder.is_inside_frame


def test_a_frame_inside_the_length_of_a_noisy_header_is_not_lost() -> None:
    claimed = hex_bytes("00 FF 0A F6") + hex_bytes(RESPONSES[0][1]) + hex_bytes("AA AA AA")
    assert Decoder().feed(claimed) == [DamagedFrame(), InformationFrame(TFI_CHIP, hex_bytes("15"))]


def test_a_long_frame_is_extended_and_a_longer_one_refused() -> None:
    longest = bytes(range(256)) + bytes(8)
    assert pn532.encode_command(longest)[:8] == hex_bytes("00 00 FF FF FF 01 09 F6")
    assert Decoder().feed(pn532.encode_command(longest)) == [InformationFrame(TFI_HOST, longest)]
    with pytest.raises(ValueError, match="265"):
        pn532.encode_command(longest + b"x")
    assert Decoder().feed(hex_bytes("00 00 FF FF FF 01 0A F5") + bytes(300)) == []


@pytest.mark.parametrize(
    ("uid", "clean"),
    [
        ("88 04 A2 5B 1C 9F 61 80", "04 A2 5B 1C 9F 61 80"),
        ("88 04 01 02 88 03 04 05 06 07 08 09", "04 01 02 03 04 05 06 07 08 09"),
        ("88 01 02 03", "88 01 02 03"),
    ],
)
def test_cascade_tags_are_removed_from_the_uid(uid: str, clean: str) -> None:
    data = hex_bytes("4B 01 01 00 44 00") + bytes([len(hex_bytes(uid))]) + hex_bytes(uid)
    target = pn532.parse_target(data)
    assert target is not None
    assert target.uid == hex_bytes(clean)


@pytest.mark.parametrize(
    "data",
    [
        "4B",
        "15",
        "4B 01",
        "4B 01 01 00 04 08",
        "4B 01 01 00 04 08 04 5A 3C 91",
        "4B 01 01 00 04 08 05 5A 3C 91 7E 00",
        "4B 01 01 00 04 08 00",
        "4B 01 01 00 44 00 08 04 A2 5B 1C 9F 61 80 00",
        "4B 01 01 03 44 20 04 5A 3C 91 7E 06 75 77",
    ],
)
def test_an_invalid_target_is_refused(data: str) -> None:
    with pytest.raises(ValueError, match=r"UID|target|ATS|InListPassiveTarget"):
        pn532.parse_target(hex_bytes(data))


def test_a_uid_of_four_bytes_from_08_is_random() -> None:
    assert Target(1, b"\0\4", 0x20, hex_bytes("08 11 22 33")).uid_is_random
    assert not Target(1, b"\0\4", 0x20, hex_bytes("04 11 22 33")).uid_is_random
    assert not Target(1, b"\0\4", 0x20, hex_bytes("08 11 22 33 44 55 66")).uid_is_random


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=5))
def test_no_bytes_break_the_decoder(pieces: list[bytes]) -> None:
    decoder = Decoder()
    for piece in pieces:
        for received in decoder.feed(piece):
            if isinstance(received, InformationFrame):
                parse_quietly(received.data)
    decoder.flush_incomplete()
    assert not decoder.is_inside_frame


@settings(deadline=None)
@given(st.binary())
def test_no_bytes_break_the_target_parser(data: bytes) -> None:
    parse_quietly(data)
    parse_quietly(b"\x4b\x01" + data)


@settings(deadline=None)
@given(st.binary(max_size=40), st.binary(min_size=1, max_size=264), st.integers(1, 50))
def test_a_frame_is_found_after_any_noise(noise: bytes, data: bytes, step: int) -> None:
    whole = noise + pn532.encode_response(data)
    decoder = Decoder()
    frames: list[ReceivedFrame] = []
    for at in range(0, len(whole), step):
        frames += decoder.feed(whole[at : at + step])
    assert InformationFrame(TFI_CHIP, data) in frames + decoder.flush_incomplete()


def parse_quietly(data: bytes) -> None:
    try:
        target = pn532.parse_target(data)
    except ValueError:
        return
    assert target is None or len(target.uid) in (4, 7, 10)
