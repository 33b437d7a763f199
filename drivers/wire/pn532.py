"""Frames of the NXP PN532 on its UART (UM0701-02 §6.2), in both directions.

Also the few commands that the reader needs. Nothing here waits: bytes go in, `ReceivedFrame` comes
out.
"""

from __future__ import annotations

import msgspec

TFI_HOST, TFI_CHIP = 0xD4, 0xD5  # TFI: host to PN532, PN532 to host

START_CODE = b"\x00\xff"
ACK = bytes.fromhex("00 00 FF 00 FF 00")
NACK = bytes.fromhex("00 00 FF FF 00 00")
SYNTAX_ERROR = bytes.fromhex("00 00 FF 01 FF 7F 81 00")
WAKE_UP = b"\x55\x55" + bytes(14)  # 0x55 wakes the UART, the zeros are the time it needs

PAYLOAD_MAX = 265  # TFI and 264 bytes, UM0701-02 §6.2.1.2

# Commands; the code of the response is one higher. UM0701-02 §7.
DIAGNOSE = 0x00
GET_FIRMWARE_VERSION = 0x02
SAM_CONFIGURATION = 0x14
POWER_DOWN = 0x16
RF_CONFIGURATION = 0x32
IN_LIST_PASSIVE_TARGET = 0x4A
IN_RELEASE = 0x52

LINE_TEST = bytes.fromhex("00 00 AA 55")  # Diagnose test 0: the chip echoes the two bytes
NORMAL_MODE = bytes([SAM_CONFIGURATION, 0x01, 0x00, 0x01])  # no timeout, IRQ pin used
FIELD_OFF = bytes([RF_CONFIGURATION, 0x01, 0x00])
FIELD_ON = bytes([RF_CONFIGURATION, 0x01, 0x01])
LIST_ONE_TYPE_A = bytes([IN_LIST_PASSIVE_TARGET, 0x01, 0x00])  # one target, 106 kbit/s type A
RELEASE_ALL = bytes([IN_RELEASE, 0x00])


def set_max_retries(passive_activation: int) -> bytes:
    """RFConfiguration item 5.

    Args:
        passive_activation: repetitions of InListPassiveTarget; 0xFF: without end.
    """
    return bytes([RF_CONFIGURATION, 0x05, 0xFF, 0x01, passive_activation])


def release_target(target: int) -> bytes:
    """InRelease of one target (1 with one target at most)."""
    return bytes([IN_RELEASE, target])


class Ack(msgspec.Struct, frozen=True):
    """The command was received; from the host: abort the command."""


class Nack(msgspec.Struct, frozen=True):
    """The host requests the last response again."""


class SyntaxErrorFrame(msgspec.Struct, frozen=True):
    """The PN532 could not parse the command (application error frame)."""


class DamagedFrame(msgspec.Struct, frozen=True):
    """A frame with a valid length and a wrong checksum."""


class InformationFrame(msgspec.Struct, frozen=True):
    """A command (tfi HOST) or a response (tfi CHIP); `data[0]` is its code."""

    tfi: int
    data: bytes


ReceivedFrame = Ack | Nack | SyntaxErrorFrame | DamagedFrame | InformationFrame


def encode_frame(tfi: int, data: bytes) -> bytes:
    """The frame of a command or a response; extended when it is longer than 255 bytes.

    Raises:
        ValueError: empty, or longer than the PN532 accepts.
    """
    payload = bytes([tfi]) + data
    if not data or len(payload) > PAYLOAD_MAX:
        raise ValueError(f"a PN532 frame carries 1 to {PAYLOAD_MAX - 1} bytes, got {len(data)}")
    size = len(payload)
    if size <= 255:
        length = bytes([size, -size & 0xFF])
    else:
        high, low = divmod(size, 256)
        length = bytes([0xFF, 0xFF, high, low, -(high + low) & 0xFF])
    return b"\x00" + START_CODE + length + payload + bytes([-sum(payload) & 0xFF, 0])


def encode_command(data: bytes) -> bytes:
    """The frame of a command to the chip."""
    return encode_frame(TFI_HOST, data)


def encode_response(data: bytes) -> bytes:
    """The frame of a response of the chip."""
    return encode_frame(TFI_CHIP, data)


class Decoder:
    """Finds frames in a stream of bytes, in pieces of any size, through any noise.

    A header with a wrong checksum is noise: the search continues one byte later. The same applies
    inside a frame with a wrong data checksum, because its header may have been noise too.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def is_inside_frame(self) -> bool:
        """Whether a frame has begun and is not complete."""
        return self._find_start() is not None

    def feed(self, data: bytes) -> list[ReceivedFrame]:
        """Add received bytes; returns the frames they complete, in order."""
        self._buffer += data
        return self._take_frames()

    def flush_incomplete(self) -> list[ReceivedFrame]:
        """Give up the incomplete frame: search for frames after its header."""
        frames: list[ReceivedFrame] = []
        while (start := self._find_start()) is not None:
            del self._buffer[: start + 1]
            frames += self._take_frames()
        self.reset()
        return frames

    def reset(self) -> None:
        """Discard all bytes."""
        self._buffer.clear()

    def _find_start(self) -> int | None:
        start = self._buffer.find(START_CODE)
        return None if start < 0 else start

    def _take_frames(self) -> list[ReceivedFrame]:
        frames: list[ReceivedFrame] = []
        while (start := self._find_start()) is not None:
            del self._buffer[:start]
            parsed = _parse_buffer(bytes(self._buffer[: PAYLOAD_MAX + 16]))
            if parsed is None:
                return frames
            received, used = parsed
            del self._buffer[:used]
            if received is not None:
                frames.append(received)
        del self._buffer[:-1]  # a last 00 may begin the next start code
        return frames


def _parse_buffer(buffer: bytes) -> tuple[ReceivedFrame | None, int] | None:
    """Parse a buffer that begins with the start code: the frame and the bytes it uses.

    None: more bytes are needed. (None, 1): no frame begins here.
    """
    header = _parse_header(buffer)
    if header is None:
        return None
    size, begin = header
    if size == 0:
        return _SHORT_FRAMES.get(buffer[2:4]), begin if buffer[2:4] in _SHORT_FRAMES else 1
    if len(buffer) < begin + size + 1:
        return None
    payload = buffer[begin : begin + size]
    if (sum(payload) + buffer[begin + size]) & 0xFF:
        return DamagedFrame(), 1
    return _classify_payload(payload), begin + size + 1


_SHORT_FRAMES: dict[bytes, ReceivedFrame] = {b"\x00\xff": Ack(), b"\xff\x00": Nack()}


def _parse_header(buffer: bytes) -> tuple[int, int] | None:
    """Payload size and where the payload begins; size 0: an ACK, a NACK or no header."""
    if len(buffer) < 4:
        return None
    if buffer[2:4] != b"\xff\xff":
        valid = (buffer[2] + buffer[3]) & 0xFF == 0
        return (buffer[2] if valid else 0), 4
    if len(buffer) < 7:
        return None
    size = buffer[4] << 8 | buffer[5]
    valid = sum(buffer[4:7]) & 0xFF == 0 and size <= PAYLOAD_MAX
    return (size if valid else 0), 7


def _classify_payload(payload: bytes) -> ReceivedFrame:
    if payload == b"\x7f":
        return SyntaxErrorFrame()
    if payload[0] not in (TFI_HOST, TFI_CHIP) or len(payload) < 2:
        return DamagedFrame()
    return InformationFrame(payload[0], payload[1:])


class Target(msgspec.Struct, frozen=True):
    """A card in the field, as InListPassiveTarget reports it (UM0701-02 §7.3.5)."""

    number: int
    sens_res: bytes  # ATQA as the chip sends it, high byte first
    sel_res: int  # SAK; bit 5: the card supports ISO 14443-4
    uid: bytes  # 4, 7 or 10 bytes without cascade tags
    ats: bytes = b""  # without its length byte

    @property
    def uid_is_random(self) -> bool:
        """A 4-byte UID that begins with 0x08 is generated for each tap (ISO 14443-3)."""
        return len(self.uid) == 4 and self.uid[0] == 0x08


def parse_target(data: bytes) -> Target | None:
    """Parse the response to `LIST_ONE_TYPE_A`: `4B NbTg [Tg SENS_RES SEL_RES UIDLen UID [ATS]]`.

    Returns:
        The card; None without one.

    Raises:
        ValueError: another response, a truncated one, or a UID of an invalid length.
    """
    if len(data) < 2 or data[0] != IN_LIST_PASSIVE_TARGET + 1:
        raise ValueError(f"not a response to InListPassiveTarget: {data.hex(' ')}")
    if data[1] == 0:
        return None
    if len(data) < 7 or len(data) < 7 + data[6]:
        raise ValueError(f"truncated target: {data.hex(' ')}")
    end_of_uid = 7 + data[6]
    ats = data[end_of_uid:]
    if ats and ats[0] != len(ats):
        raise ValueError(f"ATS of {len(ats)} bytes has length byte {ats[0]}: {data.hex(' ')}")
    return Target(data[2], data[3:5], data[5], strip_cascade_tags(data[7:end_of_uid]), ats[1:])


def strip_cascade_tags(uid: bytes) -> bytes:
    """Remove the 0x88 that some chips of the family leave before each further level.

    Raises:
        ValueError: an invalid length.
    """
    if len(uid) == 8 and uid[0] == 0x88:
        return uid[1:]
    if len(uid) == 12 and uid[0] == 0x88 and uid[4] == 0x88:
        return uid[1:4] + uid[5:]
    if len(uid) not in (4, 7, 10):
        raise ValueError(f"a UID has 4, 7 or 10 bytes, got {uid.hex(' ')}")
    return uid


def encode_target_list(target: Target | None) -> bytes:
    """The PN532's side of `parse_target`."""
    if target is None:
        return bytes([IN_LIST_PASSIVE_TARGET + 1, 0])
    ats = bytes([len(target.ats) + 1]) + target.ats if target.sel_res & 0x20 else b""
    head = bytes([IN_LIST_PASSIVE_TARGET + 1, 1, target.number]) + target.sens_res
    return head + bytes([target.sel_res, len(target.uid)]) + target.uid + ats
