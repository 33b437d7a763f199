"""Emulated Acrel DJSF1352-RN: the registers of a DC meter, manual V1.8.

Each measured quantity is a plain number or a callable that returns the present value.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import Decimal
from typing import TypeAlias

import trio

from drivers.emulators.modbus_slave import ModbusException, ModbusSlave, ValueSource, current_value
from drivers.wire.modbus_rtu import (
    READ_HOLDING_REGISTERS,
    WRITE_REGISTERS,
    ExceptionCode,
    decode_registers,
)

VOLTAGE_EXPONENT, CURRENT_EXPONENT, POWER_EXPONENT = 2, 2, 5  # 0.1 V, 0.1 A, 100 W a count
SOFTWARE_VERSION = 0x0103
CLOCK, CLOCK_WRITABLE = range(30, 34), range(30, 33)

Amount: TypeAlias = ValueSource[Decimal | float]


class EmulatedAcrel(ModbusSlave):
    """One meter.

    Every quantity is a number or a callable that returns one; it can be set at any time.

    Attributes:
        voltage_v, current_a: at the output; a negative current comes from the EV.
        power_w: None: voltage times current.
        energy_wh, energy_reverse_wh: None: integrated here from the creation of the meter,
            beginning with `total_wh` and `total_reverse_wh`.
        temperature_c: inside the meter.
        broken_wire: value of register 4.
        energy_offset_wh: added to the forward register; a negative offset makes it jump back.
        energy_unit_wh: Wh per count of the energy registers.
        ratio, rated_a, switches, alarms: registers 16 to 19.
        clock: registers 30 to 33; the first three are writable, as in the manual.
    """

    functions = frozenset({READ_HOLDING_REGISTERS, WRITE_REGISTERS})

    def __init__(
        self,
        *,
        voltage_v: Amount = 0.0,
        current_a: Amount = 0.0,
        power_w: Amount | None = None,
        energy_wh: Amount | None = None,
        energy_reverse_wh: Amount | None = None,
        energy_unit_wh: Decimal = Decimal(1),
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        self.voltage_v = voltage_v
        self.current_a = current_a
        self.power_w = power_w
        self.energy_wh = energy_wh
        self.energy_reverse_wh = energy_reverse_wh
        self.energy_unit_wh = energy_unit_wh
        self.total_wh = self.total_reverse_wh = 0.0
        self.temperature_c: Amount = 25.0
        self.broken_wire: ValueSource[bool] = False
        self.energy_offset_wh: Amount = 0.0
        self.ratio, self.rated_a, self.switches, self.alarms = 1, 500, 0, 0
        self.clock = [0x1A01, 0x0100, 0x0000, 0x0100]
        self._integrated_at: float | None = None

    def integrate_energy(self) -> None:
        """Integrate the meter's own totals up to now. Call it before changing the load."""
        at = trio.current_time()
        if self._integrated_at is not None:
            gained = self._present_power_w() * (at - self._integrated_at) / 3600
            self.total_wh += max(gained, 0.0)
            self.total_reverse_wh += max(-gained, 0.0)
        self._integrated_at = at

    def read_register(self, address: int) -> int:
        if address in CLOCK:
            return self.clock[address - CLOCK.start]
        read = _REGISTERS.get(address)
        if read is None:
            raise ModbusException(ExceptionCode.ILLEGAL_ADDRESS)
        return read(self)

    def write_register(self, address: int, value: int) -> None:
        if address not in CLOCK_WRITABLE:
            raise ModbusException(ExceptionCode.ILLEGAL_ADDRESS)
        self.clock[address - CLOCK.start] = value

    def on_request(self) -> None:
        self.integrate_energy()

    def _present_power_w(self) -> float:
        if self.power_w is not None:
            return _to_float(self.power_w)
        return _to_float(self.voltage_v) * _to_float(self.current_a)

    def _energy_count(self) -> int:
        energy = self.total_wh if self.energy_wh is None else self.energy_wh
        return self._energy_to_counts(_to_decimal(energy) + _to_decimal(self.energy_offset_wh))

    def _reverse_count(self) -> int:
        reverse = self.energy_reverse_wh
        return self._energy_to_counts(
            _to_decimal(self.total_reverse_wh if reverse is None else reverse)
        )

    def _energy_to_counts(self, energy_wh: Decimal) -> int:
        return max(int(energy_wh / self.energy_unit_wh), 0) & 0xFFFFFFFF


def _resolve_amount(amount: Amount) -> Decimal | float:
    return amount() if callable(amount) else amount


def _to_float(amount: Amount) -> float:
    return float(_resolve_amount(amount))


def _to_decimal(amount: Amount) -> Decimal:
    number = _resolve_amount(amount)
    return number if isinstance(number, Decimal) else Decimal(str(number))


def _encode_mantissa(value: float, exponent: int, lowest: int, highest: int) -> int:
    """The value in counts of 10^(exponent - 3), limited to the register's range."""
    return min(max(round(value * 10.0 ** (3 - exponent)), lowest), highest) & 0xFFFF


def _encode_unsigned(value: float, exponent: int) -> int:
    return _encode_mantissa(value, exponent, 0, 0xFFFF)


def _encode_signed(value: float, exponent: int) -> int:
    return _encode_mantissa(value, exponent, -0x8000, 0x7FFF)


def _register_half(number: int, low: bool) -> int:
    return number & 0xFFFF if low else number >> 16


def _float_register(value: float, low: bool) -> int:
    return decode_registers(struct.pack(">f", value))[low]


_REGISTERS: dict[int, Callable[[EmulatedAcrel], int]] = {
    0: lambda meter: _encode_unsigned(_to_float(meter.voltage_v), VOLTAGE_EXPONENT),
    1: lambda meter: VOLTAGE_EXPONENT,
    2: lambda meter: _encode_signed(_to_float(meter.current_a), CURRENT_EXPONENT),
    3: lambda meter: CURRENT_EXPONENT,
    4: lambda meter: int(current_value(meter.broken_wire)),
    5: lambda meter: _encode_signed(_to_float(meter.temperature_c), 2),
    6: lambda meter: 0,
    7: lambda meter: 0,
    8: lambda meter: _encode_signed(meter._present_power_w(), POWER_EXPONENT),
    9: lambda meter: POWER_EXPONENT,
    10: lambda meter: 0,
    11: lambda meter: 0,
    12: lambda meter: _register_half(meter._energy_count(), low=False),
    13: lambda meter: _register_half(meter._energy_count(), low=True),
    14: lambda meter: _register_half(meter._reverse_count(), low=False),
    15: lambda meter: _register_half(meter._reverse_count(), low=True),
    16: lambda meter: meter.ratio,
    17: lambda meter: meter.rated_a,
    18: lambda meter: meter.switches,
    19: lambda meter: meter.alarms,
    35: lambda meter: SOFTWARE_VERSION,
    50: lambda meter: _float_register(_to_float(meter.voltage_v), low=False),
    51: lambda meter: _float_register(_to_float(meter.voltage_v), low=True),
    52: lambda meter: _float_register(_to_float(meter.current_a), low=False),
    53: lambda meter: _float_register(_to_float(meter.current_a), low=True),
    54: lambda meter: _float_register(meter._present_power_w() / 1000, low=False),
    55: lambda meter: _float_register(meter._present_power_w() / 1000, low=True),
}
