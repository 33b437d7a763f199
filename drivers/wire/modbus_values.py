"""Numbers in Modbus registers: integers and floats of one to four registers, in any order.

Modbus defines registers of 16 bits only. How a longer number is divided differs between makers:

* word order: the register with the most significant bits first ("high_first", Eastron, SunSpec) or
  last ("low_first");
* byte order in each register: most significant byte first ("high_first", as Modbus itself) or last.

Nothing here waits.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Literal

from drivers.wire.modbus_rtu import decode_registers, encode_registers

ValueType = Literal["int16", "uint16", "int32", "uint32", "int64", "uint64", "float32"]
Order = Literal["high_first", "low_first"]

FORMATS: Final[dict[ValueType, str]] = {
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "int64": ">q",
    "uint64": ">Q",
    "float32": ">f",
}
FLOAT_DIGITS: Final = range(6, 10)  # a float32 is exact with 9 significant digits, often with 6


def register_count(value_type: ValueType) -> int:
    """How many registers a value has."""
    return struct.calcsize(FORMATS[value_type]) // 2


def decode_value(
    registers: Sequence[int],
    value_type: ValueType,
    word_order: Order = "high_first",
    byte_order: Order = "high_first",
) -> Decimal:
    """The number in registers.

    A float has as few digits as identify it: 230.1, not 230.10000610.

    Raises:
        ValueError: the wrong number of registers, or a float that is no finite number.
    """
    if len(registers) != register_count(value_type):
        raise ValueError(f"{len(registers)} registers are no {value_type}")
    ordered = encode_registers(_reorder(registers, word_order, byte_order))
    [number] = struct.unpack(FORMATS[value_type], ordered)
    if isinstance(number, int):
        return Decimal(number)
    if not math.isfinite(number):
        raise ValueError(f"{number} is not a finite number")
    return _shortest_decimal(number)


def encode_value(
    number: Decimal,
    value_type: ValueType,
    word_order: Order = "high_first",
    byte_order: Order = "high_first",
) -> tuple[int, ...]:
    """Registers of a number; the reverse of `decode_value`. An integer type is rounded.

    Raises:
        ValueError: the type cannot hold the number.
    """
    native = float(number) if value_type == "float32" else round(number)
    try:
        data = struct.pack(FORMATS[value_type], native)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"{number} is out of range for {value_type}") from error
    return _reorder(decode_registers(data), word_order, byte_order)


def _reorder(registers: Sequence[int], word_order: Order, byte_order: Order) -> tuple[int, ...]:
    """Registers in the standard order from another order, and the reverse."""
    words = registers if word_order == "high_first" else registers[::-1]
    if byte_order == "high_first":
        return tuple(words)
    return tuple((word & 0xFF) << 8 | word >> 8 for word in words)


def _shortest_decimal(number: float) -> Decimal:
    packed = struct.pack(">f", number)
    texts = (f"{number:.{digits}g}" for digits in FLOAT_DIGITS)
    return Decimal(next(text for text in texts if struct.pack(">f", float(text)) == packed))
