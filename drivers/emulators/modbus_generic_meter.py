"""Emulated generic Modbus meter: has the registers that `drivers.meters.modbus_generic` reads."""

from __future__ import annotations

from decimal import Decimal

from drivers.emulators.modbus_slave import ModbusException, ModbusSlave, ValueSource, current_value
from drivers.meters.modbus_generic import UNITS, AnyQuantity, Settings
from drivers.wire.modbus_rtu import ExceptionCode
from drivers.wire.modbus_values import encode_value


class EmulatedGenericMeter(ModbusSlave):
    """One meter.

    Attributes:
        values: quantity by key ("energy", "voltage", …) in Wh, V, A, W, degC; a number or a
            callable that returns one. Quantities without a value are 0.
        scale_exponents: exponent of ten by address, for quantities with a `scale_register`; 0
            where none was set.
    """

    def __init__(
        self,
        settings: Settings,
        values: dict[str, ValueSource[Decimal]] | None = None,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        self.functions = frozenset({settings.function})
        self.values = values or {}
        self.scale_exponents: dict[int, int] = {}
        self._settings = settings

    def read_register(self, address: int) -> int:
        try:
            return self._registers()[address]
        except KeyError:
            raise ModbusException(ExceptionCode.ILLEGAL_ADDRESS) from None

    def _registers(self) -> dict[int, int]:
        registers: dict[int, int] = {}
        for key, quantity in self._settings.quantities().items():
            number = self._encoded_number(key, quantity)
            words = encode_value(
                number, quantity.type, self._settings.word_order, self._settings.byte_order
            )
            registers |= dict(enumerate(words, quantity.register))
        return registers | {
            address: exponent & 0xFFFF for address, exponent in self.scale_exponents.items()
        }

    def _encoded_number(self, key: str, quantity: AnyQuantity) -> Decimal:
        value = current_value(self.values.get(key, Decimal(0)))
        number = value / (quantity.scale * UNITS[quantity.unit])
        exponent = 0
        if quantity.scale_register is not None:
            exponent = self.scale_exponents.setdefault(quantity.scale_register, 0)
        return number.scaleb(-exponent)
