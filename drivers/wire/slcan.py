"""How does a CAN frame travel over a serial line?

The Lawicel ASCII protocol, spoken by CANable and most serial CAN adapters: one line per frame,
ended by CR. `T` 8 hex digits of identifier, one digit of length, two per byte; `t` with 3 digits
for 11-bit identifiers. The adapter answers CR for done, BEL for refused, `Z` or `z` CR for sent.
Nothing here waits or touches a port.
"""

from __future__ import annotations

from enum import Enum

import msgspec

CR = b"\r"
BEL = b"\x07"
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
"""Bits per second and the digit that asks for them in `S<n>`."""


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
    """Read the notation `0106B000#01`; 3 digits before the sign mean an 11-bit identifier.

    Raises:
        ValueError: not that notation.
    """
    identifier, _, data = text.partition("#")
    return CanFrame(int(identifier, 16), bytes.fromhex(data), len(identifier) > 3)


class AdapterReply(Enum):
    """What an adapter says beside frames."""

    DONE = CR
    REFUSED = BEL
    SENT = b"z"


class AdapterCommand(msgspec.Struct, frozen=True):
    """A line that is no frame: set-up for the adapter, or its answer to a question."""

    text: str


def encode_frame(frame: CanFrame) -> bytes:
    """The line that carries a frame, CR included."""
    head = f"T{frame.id:08X}" if frame.extended else f"t{frame.id:03X}"
    return f"{head}{len(frame.data)}{frame.data.hex().upper()}\r".encode()


def open_commands(bit_rate: int) -> tuple[bytes, bytes, bytes]:
    """The commands that close, set up and open an adapter.

    Raises:
        ValueError: a bit rate without a digit of its own.
    """
    if bit_rate not in BIT_RATES:
        raise ValueError(f"slcan has no bit rate {bit_rate}; it has {sorted(BIT_RATES)}")
    return b"C\r", b"S%d\r" % BIT_RATES[bit_rate], b"O\r"


class Decoder:
    """Finds frames and replies in a stream of bytes, whatever else is in it.

    Both ends use it: a command that arrives at the adapter comes out as `Command`.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._overlong = False
        self.malformed_count = 0  # lines that looked like frames and were none

    def feed(self, data: bytes) -> list[CanFrame | AdapterReply | AdapterCommand]:
        """Take bytes as they come; give what they complete, in order."""
        found: list[CanFrame | AdapterReply | AdapterCommand] = []
        for byte in data:
            if byte == BEL[0]:
                self._line.clear()
                found.append(AdapterReply.REFUSED)
            elif byte == CR[0]:
                self._finish_line(found)
            elif len(self._line) < LINE_MAX:
                self._line.append(byte)
            else:
                self._overlong = True
        return found

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
    """The frame in a line; some adapters add four digits of time stamp, which we drop."""
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
