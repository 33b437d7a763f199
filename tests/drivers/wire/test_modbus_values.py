"""Numbers in Modbus registers: literal registers of makers' documents, every type and order."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.wire.modbus_values import (
    Order,
    ValueType,
    decode_value,
    encode_value,
    register_count,
)

ORDERS: tuple[Order, ...] = ("high_first", "low_first")
INTEGERS: dict[ValueType, tuple[int, int]] = {
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}


@pytest.mark.parametrize(
    ("registers", "value_type", "value"),
    [
        ((0x4366, 0x3333), "float32", "230.2"),
        ((0x3F80, 0x0000), "float32", "1"),
        ((0xC2F6, 0xE979), "float32", "-123.456"),
        ((0xFFFF,), "int16", "-1"),
        ((0xFFFF,), "uint16", "65535"),
        ((0x0001, 0xE240), "uint32", "123456"),
        ((0xFFFE, 0x1DC0), "int32", "-123456"),
        ((0x0000, 0x0000, 0x0001, 0xE240), "uint64", "123456"),
    ],
)
def test_a_number_is_decoded_exactly(
    registers: tuple[int, ...], value_type: ValueType, value: str
) -> None:
    assert str(decode_value(registers, value_type)) == value


@pytest.mark.parametrize(
    ("registers", "word_order", "byte_order"),
    [
        ((0x0001, 0xE240), "high_first", "high_first"),
        ((0xE240, 0x0001), "low_first", "high_first"),
        ((0x0100, 0x40E2), "high_first", "low_first"),
        ((0x40E2, 0x0100), "low_first", "low_first"),
    ],
)
def test_words_and_bytes_come_in_any_order(
    registers: tuple[int, ...], word_order: Order, byte_order: Order
) -> None:
    assert decode_value(registers, "uint32", word_order, byte_order) == 123_456
    assert encode_value(Decimal(123_456), "uint32", word_order, byte_order) == registers


@pytest.mark.parametrize("registers", [(0x7FC0, 0x0000), (0x7F80, 0x0000), (0xFF80, 0x0000)])
def test_a_float_that_is_no_number_is_refused(registers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="is not a finite number"):
        decode_value(registers, "float32")


def test_the_wrong_number_of_registers_is_refused() -> None:
    with pytest.raises(ValueError, match="1 registers are no uint32"):
        decode_value((1,), "uint32")


@pytest.mark.parametrize(("value_type", "limits"), INTEGERS.items())
def test_a_number_out_of_range_is_not_encoded(
    value_type: ValueType, limits: tuple[int, int]
) -> None:
    lowest, highest = limits
    for number in (lowest - 1, highest + 1):
        with pytest.raises(ValueError, match=f"out of range for {value_type}"):
            encode_value(Decimal(number), value_type)
    assert len(encode_value(Decimal(highest), value_type)) == register_count(value_type)


@given(st.data())
def test_every_integer_survives_both_ways(data: st.DataObject) -> None:
    value_type = data.draw(st.sampled_from(sorted(INTEGERS)))
    number = data.draw(st.integers(*INTEGERS[value_type]))
    word_order, byte_order = data.draw(st.tuples(*[st.sampled_from(ORDERS)] * 2))
    registers = encode_value(Decimal(number), value_type, word_order, byte_order)
    assert decode_value(registers, value_type, word_order, byte_order) == number


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_every_float_survives_both_ways(number: float) -> None:
    decoded = decode_value(encode_value(Decimal(number), "float32"), "float32")
    assert float(decoded) == pytest.approx(number, rel=1e-6)
    assert encode_value(decoded, "float32") == encode_value(Decimal(number), "float32")
