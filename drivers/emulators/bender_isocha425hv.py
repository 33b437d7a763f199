"""Emulated Bender isoCHA425HV: the registers of an insulation monitor, ISOMETER 4xx manuals.

Resistance and voltage are plain numbers or callables that return the present value.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import trio

from drivers.emulators.modbus_slave import ModbusException, ModbusSlave, ValueSource, current_value
from drivers.wire.modbus_rtu import (
    READ_HOLDING_REGISTERS,
    WRITE_REGISTERS,
    ExceptionCode,
    decode_registers,
)

SETTINGS = range(3000, 3029)
FACTORY_SETTINGS = {3005: 600, 3007: 120, 3021: 2, 3024: 1, 3025: 1, 3026: 1}
PREALARM_KOHM, ALARM_KOHM, SELF_TEST_KIND, MEASURING = 3005, 3007, 3021, 3026
FAST_CABLE_CHECK = 3
SELF_TEST, CLEAR_MEMORY = (8005, 0x5445), (8006, 0x434C)
NAME, VERSIONS = range(9800, 9810), range(9820, 9826)

OHM, VOLT, PERCENT, FARAD, UNITLESS = 2, 4, 5, 8, 1
TRUE_VALUE_IS_HIGHER, INVALID = 0x80, 0xC0
SHOWN_MAX_OHM = 2_000_000
PREWARNING, DEVICE_ERROR, WARNING, ALARM = 1, 2, 4, 5
TESTING = 0x80


class EmulatedBender(ModbusSlave):
    """One insulation monitor.

    Attributes:
        resistance_ohm: of the DC output against earth; a number or a callable.
        voltage_v: between L1 and L2, half of it on each side of earth; a number or a callable.
        alarm: reported alarm code at any resistance; None: computed from the settings R1 and R2.
        device_error, earth_lost: the monitor's own two faults.
        test_fails: the next self-tests end in a device error.
        frozen: no value changes any more, the update counter included.
        test_s, fast_test_s: duration of a self-test; the fast one needs setting 3021 = 3 and
            software 5.00.
        name, software_version: its identification.
        settings: registers 3000 to 3028.
    """

    functions = frozenset({READ_HOLDING_REGISTERS, WRITE_REGISTERS})

    def __init__(
        self,
        *,
        resistance_ohm: ValueSource[float] = 10_000_000.0,
        voltage_v: ValueSource[float] = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        self.resistance_ohm = resistance_ohm
        self.voltage_v = voltage_v
        self.alarm: int | None = None
        self.device_error = self.earth_lost = self.test_fails = self.frozen = False
        self.test_s, self.fast_test_s = 3.0, 1.0
        self.name, self.software_version = "isoCHA425HV", 500
        self.settings = dict.fromkeys(SETTINGS, 0) | FACTORY_SETTINGS
        self._test_ends_at: float | None = None
        self._self_test_failed = False
        self._frozen_values: dict[int, tuple[int, ...]] = {}

    @property
    def is_testing(self) -> bool:
        """Whether a self-test runs at this moment."""
        if self._test_ends_at is not None and trio.current_time() >= self._test_ends_at:
            self._test_ends_at = None
            self._self_test_failed = self.test_fails
        return self._test_ends_at is not None

    def read_register(self, address: int) -> int:
        if address in self.settings:
            return self.settings[address]
        if address in NAME:
            return decode_registers(self.name.ljust(20)[:20].encode("ascii"))[address - NAME.start]
        if address in VERSIONS:
            versions = (425, self.software_version, 2024, 3, 19, 105)
            return versions[address - VERSIONS.start]
        block = address - address % 4
        if block not in _VALUE_BLOCKS:
            raise ModbusException(ExceptionCode.ILLEGAL_ADDRESS)
        return self._value_registers(block)[address - block]

    def write_register(self, address: int, value: int) -> None:
        if address in self.settings:
            self._write_setting(address, value)
        elif (address, value) == SELF_TEST:
            fast = self.settings[SELF_TEST_KIND] == FAST_CABLE_CHECK and self._supports_fast_test()
            self._test_ends_at = trio.current_time() + (self.fast_test_s if fast else self.test_s)
        elif (address, value) == CLEAR_MEMORY:
            self._self_test_failed = False
        else:
            raise ModbusException(ExceptionCode.ILLEGAL_ADDRESS)

    def _supports_fast_test(self) -> bool:
        return self.software_version >= 500

    def _write_setting(self, address: int, value: int) -> None:
        if (
            address == SELF_TEST_KIND
            and value == FAST_CABLE_CHECK
            and not self._supports_fast_test()
        ):
            raise ModbusException(ExceptionCode.ILLEGAL_VALUE)
        self.settings[address] = value

    def _value_registers(self, block: int) -> tuple[int, ...]:
        if not self.frozen or block not in self._frozen_values:
            value, state, code = _VALUE_BLOCKS[block](self)
            self._frozen_values[block] = (*decode_registers(struct.pack(">f", value)), state, code)
        return self._frozen_values[block]

    def _alarm_code(self) -> int:
        if self.device_error or self.earth_lost or self._self_test_failed:
            return DEVICE_ERROR
        if self.alarm is not None:
            return self.alarm
        kohm = current_value(self.resistance_ohm) / 1000
        if kohm < self.settings[ALARM_KOHM]:
            return ALARM
        return PREWARNING if kohm < self.settings[PREALARM_KOHM] else 0

    def _insulation_value(self) -> tuple[float, int, int]:
        alarm, testing = self._alarm_code(), self.is_testing
        ohm = current_value(self.resistance_ohm)
        unit = OHM | (TRUE_VALUE_IS_HIGHER if ohm > SHOWN_MAX_OHM else 0)
        if not self.settings[MEASURING]:
            unit = INVALID
        # Alarm 2 means device error only while bits 6 and 7 are 0: a test shows no alarm.
        state = (TESTING if testing else alarm) << 8 | unit
        code = 102 if self.earth_lost else 1 if alarm == ALARM else 71
        return ohm, state, code

    def _update_counter(self) -> tuple[float, int, int]:
        broken = self.device_error or self._self_test_failed
        state = (DEVICE_ERROR if broken else 0) << 8 | UNITLESS
        return float(int(trio.current_time() * 10) % 10_000), state, 115 if broken else 1022


def _voltage_value(share: float) -> Callable[[EmulatedBender], tuple[float, int, int]]:
    return lambda monitor: (share * current_value(monitor.voltage_v), VOLT, 76)


_VALUE_BLOCKS: dict[int, Callable[[EmulatedBender], tuple[float, int, int]]] = {
    1000: EmulatedBender._insulation_value,
    1008: _voltage_value(1),
    1012: lambda monitor: (1e-6, FARAD, 82),
    1016: _voltage_value(0.5),
    1020: _voltage_value(-0.5),
    1024: lambda monitor: (0.0, PERCENT, 1022),
    1028: EmulatedBender._insulation_value,
    1032: EmulatedBender._update_counter,
}
