"""CAN frames on a serial line: the Lawicel ASCII protocol (slcan).

CANable and most serial CAN adapters use it. One line per frame, ended by CR: `T`, 8 hex digits of
identifier, one digit of length, two digits per byte; `t` with 3 digits for 11-bit identifiers. The
adapter replies CR for done, BEL for refused, `Z` or `z` CR for sent. Nothing here waits or uses a
port.
"""

from __future__ import annotations

import re
from enum import Enum

import msgspec

CR = b"\r"
BEL = b"\x07"
LINE_END = re.compile(rb"[\r\x07]")
LINE_MAX = 64  # the longest legal line has 31 bytes; more than this is noise
BIT_RATES = {
    10_000: 0,
    20_000: 1,
    50_000: 2,
    100_000: 3,
    125_000: 4,
    250_000: 5,
    500_000: 6,
    800_000: 7,
    1_000_000: 8,
}
"""Bits per second to the digit that selects them in `S<n>`."""


class CanFrame(msgspec.Struct, frozen=True):
    """One CAN 2.0 data frame.

    Raises:
        ValueError: an identifier that does not fit, or more than 8 bytes.
    """

    id: int
    data: bytes
    extended: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.id < (1 << 29 if self.extended else 1 << 11):
            raise ValueError(f"CAN identifier {self.id:#x} does not fit")
        if len(self.data) > 8:
            raise ValueError(f"a CAN frame has at most 8 bytes, not {len(self.data)}")

    def __str__(self) -> str:
        return f"{self.id:0{8 if self.extended else 3}X}#{self.data.hex().upper()}"


def parse_frame(text: str) -> CanFrame:
    """Parse the notation `0106B000#01`; 3 digits before the `#` are an 11-bit identifier.

    Raises:
        ValueError: another notation.
    """
    identifier, _, data = text.partition("#")
    return CanFrame(int(identifier, 16), bytes.fromhex(data), len(identifier) > 3)


class AdapterReply(Enum):
    """Replies of an adapter to commands and frames."""

    DONE = CR
    REFUSED = BEL
    SENT = b"z"


class AdapterCommand(msgspec.Struct, frozen=True):
    """A line that is no frame: a command to the adapter, or its reply to a query."""

    text: str


def encode_frame(frame: CanFrame) -> bytes:
    """The line that carries a frame, CR included."""
    head = f"T{frame.id:08X}" if frame.extended else f"t{frame.id:03X}"
    return f"{head}{len(frame.data)}{frame.data.hex().upper()}\r".encode()


def open_commands(bit_rate: int) -> tuple[bytes, bytes, bytes]:
    """The commands that close, set up and open an adapter.

    Raises:
        ValueError: a bit rate without a digit.
    """
    if bit_rate not in BIT_RATES:
        raise ValueError(f"slcan has no bit rate {bit_rate}; it has {sorted(BIT_RATES)}")
    return b"C\r", b"S%d\r" % BIT_RATES[bit_rate], b"O\r"


class Decoder:
    """Finds frames and replies in a stream of bytes, through any noise.

    Both ends use it: a command that arrives at the adapter becomes an `AdapterCommand`.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._overlong = False
        self.malformed_count = 0  # lines that began like a frame but were none

    def feed(self, data: bytes) -> list[CanFrame | AdapterReply | AdapterCommand]:
        """Add received bytes; returns what they complete, in order."""
        items: list[CanFrame | AdapterReply | AdapterCommand] = []
        start = 0
        for end in LINE_END.finditer(data):
            self._extend_line(data[start : end.start()])
            start = end.end()
            if end[0] == BEL:
                self._line.clear()
                items.append(AdapterReply.REFUSED)
            else:
                self._finish_line(items)
        self._extend_line(data[start:])
        return items

    def _extend_line(self, data: bytes) -> None:
        room = LINE_MAX - len(self._line)
        self._line += data[:room]
        self._overlong = self._overlong or len(data) > room

    def _finish_line(self, items: list[CanFrame | AdapterReply | AdapterCommand]) -> None:
        line, overlong = bytes(self._line), self._overlong
        self._line.clear()
        self._overlong = False
        parsed = None if overlong else _parse_line(line)
        if parsed is None:
            self.malformed_count += 1
        else:
            items.append(parsed)


def _parse_line(line: bytes) -> CanFrame | AdapterReply | AdapterCommand | None:
    match line[:1]:
        case b"":
            return AdapterReply.DONE
        case b"T":
            return _parse_data_frame(line, digits=8)
        case b"t":
            return _parse_data_frame(line, digits=3)
        case b"Z" | b"z" if len(line) == 1:
            return AdapterReply.SENT
        case _:
            return AdapterCommand(line.decode()) if line.isalnum() else None


def _parse_data_frame(line: bytes, digits: int) -> CanFrame | None:
    """The frame in a line; four digits of time stamp, which some adapters add, are ignored."""
    body = line[1:]
    length = body[digits : digits + 1]
    if not (body.isalnum() and length.isdigit() and int(length) <= 8):
        return None
    end = digits + 1 + 2 * int(length)
    if len(body) not in (end, end + 4):
        return None
    try:
        return CanFrame(
            int(body[:digits], 16), bytes.fromhex(body[digits + 1 : end].decode()), digits == 8
        )
    except ValueError:
        return None
