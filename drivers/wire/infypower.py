"""Messages of Infypower rectifier modules on the cabinet's CAN bus.

Protocol V1.09 and V1.13 (REG, CEG, LRG series): the command, both addresses and an error code
are in the 29-bit identifier, the data is always 8 bytes, big endian. We use the integer forms
(0x08, 0x09), which have no NaN and no rounding. Nothing here waits.
"""

from __future__ import annotations

import struct
from enum import IntEnum

import msgspec

from drivers.wire.slcan import CanFrame

BIT_RATE = 125_000
CONTROLLER_ADDRESS = 0xF0
ALL_MODULES = 0x3F
DEVICE_SINGLE, DEVICE_GROUP = 0x0A, 0x0B  # the device number: one module (or all), one group
MODULES_MAX = 0x3F  # addresses 0x00 to 0x3E
EMPTY_DATA = bytes(8)
_TWO_WORDS = struct.Struct(">II")
_TWO_FLOATS = struct.Struct(">ff")
_FOUR_SHORTS = struct.Struct(">4H")


class Command(IntEnum):
    """The 6-bit command."""

    READ_OUTPUT_FLOAT = 0x01
    COUNT = 0x02
    READ_MODULE_FLOAT = 0x03
    STATE = 0x04
    AC_INPUT = 0x06
    READ_OUTPUT = 0x08
    READ_MODULE = 0x09
    LIMITS = 0x0A
    BARCODE = 0x0B
    AVAILABLE = 0x0C
    WALK_IN = 0x13
    BLINK = 0x14
    SET_GROUP = 0x16
    SLEEP = 0x19
    SWITCH = 0x1A
    SET_OUTPUT = 0x1B
    SET_MODULE = 0x1C


class ErrorCode(IntEnum):
    """The error code of a response; codes without a name occur and remain numbers."""

    NONE = 0
    COMMAND_INVALID = 2
    DATA_INVALID = 3
    ADDRESS_INVALID = 4
    STARTING_UP = 7


class Telegram(msgspec.Struct, frozen=True):
    """One frame with its identifier decoded."""

    command: int
    destination: int
    source: int
    data: bytes
    is_group: bool = False  # device number 0x0B: the address is a group's
    error: int = 0

    @property
    def can_frame(self) -> CanFrame:
        """The frame on the bus."""
        device = DEVICE_GROUP if self.is_group else DEVICE_SINGLE
        identifier = (
            self.error << 26
            | device << 22
            | self.command << 16
            | self.destination << 8
            | self.source
        )
        return CanFrame(identifier, self.data)

    def make_response(self, data: bytes, *, source: int | None = None, error: int = 0) -> Telegram:
        """The response: same device number and command, addresses swapped."""
        sender = self.destination if source is None else source
        return Telegram(self.command, self.source, sender, data, self.is_group, error)


def parse_frame(frame: CanFrame) -> Telegram | None:
    """Decode a frame; None if it does not belong to this protocol."""
    device = frame.id >> 22 & 0xF
    if not frame.extended or len(frame.data) != 8 or device not in (DEVICE_SINGLE, DEVICE_GROUP):
        return None
    return Telegram(
        command=frame.id >> 16 & 0x3F,
        destination=frame.id >> 8 & 0xFF,
        source=frame.id & 0xFF,
        data=frame.data,
        is_group=device == DEVICE_GROUP,
        error=frame.id >> 26,
    )


# --- Requests of the controller ------------------------------------------------------------------


def read_data(command: Command, address: int, *, is_group: bool = False) -> Telegram:
    """A read request: eight zero bytes."""
    return Telegram(command, address, CONTROLLER_ADDRESS, EMPTY_DATA, is_group)


def switch_output(address: int, *, on: bool, is_group: bool = False) -> Telegram:
    """0x1A. On the wire 0 means on."""
    return Telegram(
        Command.SWITCH, address, CONTROLLER_ADDRESS, _encode_first_byte(0 if on else 1), is_group
    )


def set_output(
    address: int, voltage_mv: int, current_ma: int, *, is_group: bool = False
) -> Telegram:
    """0x1B: voltage and the total current, which the modules share."""
    return Telegram(
        Command.SET_OUTPUT,
        address,
        CONTROLLER_ADDRESS,
        encode_pair(voltage_mv, current_ma),
        is_group,
    )


def set_module(address: int, voltage_mv: int, current_ma: int) -> Telegram:
    """0x1C: one module, its own current. Not to be mixed with 0x1B on one group."""
    return Telegram(
        Command.SET_MODULE, address, CONTROLLER_ADDRESS, encode_pair(voltage_mv, current_ma)
    )


def set_group(address: int, group: int) -> Telegram:
    """0x16: put one module into a group; the module loses this with its supply."""
    return Telegram(Command.SET_GROUP, address, CONTROLLER_ADDRESS, _encode_first_byte(group))


def set_walk_in(address: int, *, on: bool) -> Telegram:
    """0x13: soft start."""
    return Telegram(Command.WALK_IN, address, CONTROLLER_ADDRESS, _encode_first_byte(int(on)))


def set_sleep(address: int, *, on: bool) -> Telegram:
    """0x19: exclude one module from its group."""
    return Telegram(Command.SLEEP, address, CONTROLLER_ADDRESS, _encode_first_byte(int(on)))


def _encode_first_byte(value: int) -> bytes:
    return bytes([value]) + bytes(7)


# --- Data of responses ---------------------------------------------------------------------------


def encode_pair(first: int, second: int) -> bytes:
    """Two unsigned words: mV and mA."""
    return _TWO_WORDS.pack(first, second)


def decode_pair(data: bytes) -> tuple[int, int]:
    """mV and mA of 0x08, 0x09, 0x1B and 0x1C."""
    voltage_mv, current_ma = _TWO_WORDS.unpack(data)
    return voltage_mv, current_ma


def encode_float_pair(first: int, second: int) -> bytes:
    """V and A of 0x01 and 0x03, from mV and mA."""
    return _TWO_FLOATS.pack(first / 1000, second / 1000)


def encode_shorts(first: int, second: int, third: int, fourth: int) -> bytes:
    """Four unsigned 16-bit words."""
    return _FOUR_SHORTS.pack(first, second, third, fourth)


def decode_count(data: bytes) -> int:
    """Number of modules in the response to 0x02."""
    return data[2]


class Limits(msgspec.Struct, frozen=True):
    """Limits of a module, 0x0A."""

    voltage_max_v: int
    voltage_min_v: int
    current_max_ma: int
    power_w: int

    @property
    def data_bytes(self) -> bytes:
        return encode_shorts(
            self.voltage_max_v,
            self.voltage_min_v,
            self.current_max_ma // 100,
            self.power_w // 10,
        )


def decode_limits(data: bytes) -> Limits:
    """The response to 0x0A."""
    high, low, deci_amps, ten_watts = _FOUR_SHORTS.unpack(data)
    return Limits(high, low, deci_amps * 100, ten_watts * 10)


def decode_ac_input(data: bytes) -> tuple[int, int, int]:
    """Line voltages ab, bc, ca of 0x06, in 0.1 V."""
    ab, bc, ca, _ = _FOUR_SHORTS.unpack(data)
    return ab, bc, ca


def decode_barcode(data: bytes) -> str:
    """The 17 characters of 0x0B.

    Byte 0 is the 13th character; bytes 1 to 5 are the first twelve as a number, bytes 6 and 7
    the last four.
    """
    head = int.from_bytes(data[1:6], "big")
    return f"{head:012d}{chr(data[0])}{int.from_bytes(data[6:8], 'big'):04d}"


def encode_barcode(text: str) -> bytes:
    """The data of a barcode of 17 characters. Raises ValueError for any other length."""
    if len(text) != 17:
        raise ValueError(f"a barcode has 17 characters, not {len(text)}")
    return (
        text[12].encode("latin-1")
        + int(text[:12]).to_bytes(5, "big")
        + int(text[13:]).to_bytes(2, "big")
    )


STATUS_BITS = {
    # (byte of the response to 0x04, bit): (name, class)
    (7, 0): ("output_short_circuit", "fault"),
    (7, 3): ("input_abnormal", "fault"),
    (7, 4): ("sleeping", "state"),
    (7, 5): ("discharge_abnormal", "warning"),
    (7, 6): ("air_duct_blocked", "warning"),
    (7, 7): ("inner_communication_interrupted", "warning"),
    (6, 0): ("off", "state"),
    (6, 1): ("module_fault", "fault"),
    (6, 2): ("protection", "fault"),
    (6, 3): ("fan_fault", "fault"),
    (6, 4): ("over_temperature", "fault"),
    (6, 5): ("output_over_voltage", "fault"),
    (6, 6): ("walk_in", "state"),
    (6, 7): ("communication_interrupted", "warning"),
    (5, 0): ("derating", "state"),
    (5, 1): ("address_used_twice", "fault"),
    (5, 2): ("load_sharing", "warning"),
    (5, 3): ("ac_phase_missing", "fault"),
    (5, 4): ("ac_unbalanced", "warning"),
    (5, 5): ("ac_under_voltage", "fault"),
    (5, 6): ("ac_over_voltage", "fault"),
    (5, 7): ("pfc_off", "state"),
}
"""Status 0 is byte 7, status 1 byte 6, status 2 byte 5; the classes are defined here."""

_BIT_BY_NAME = {name: place for place, (name, _) in STATUS_BITS.items()}


class Status(msgspec.Struct, frozen=True):
    """The response to 0x04."""

    group: int
    temperature_c: int
    bits: frozenset[str]  # names of STATUS_BITS
    status_3: int = 0  # its meaning is not public

    def bits_of_class(self, bit_class: str) -> frozenset[str]:
        """The bits of one class: fault, warning or state."""
        return frozenset(
            name for name, kind in STATUS_BITS.values() if kind == bit_class and name in self.bits
        )

    @property
    def data_bytes(self) -> bytes:
        words = bytearray(8)
        words[2] = self.group
        words[3] = self.status_3
        words[4] = self.temperature_c & 0xFF
        for name in self.bits:
            byte, bit = _BIT_BY_NAME[name]
            words[byte] |= 1 << bit
        return bytes(words)


def decode_status(data: bytes) -> Status:
    """The response to 0x04; bits without a meaning are ignored."""
    return Status(
        group=data[2],
        temperature_c=int.from_bytes(data[4:5], "big", signed=True),
        bits=frozenset(
            name for (byte, bit), (name, _) in STATUS_BITS.items() if data[byte] >> bit & 1
        ),
        status_3=data[3],
    )
