"""Emulated ICP DAS M-7055D: eight outputs, eight inputs, host watchdog, non-volatile settings.

The watchdog runs on the clock of the run. Address mapping of the M-7000 family, rev. 1.13.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from drivers.emulators.modbus_slave import ModbusException, ModbusSlave, ValueSource, current_value
from drivers.wire.modbus_rtu import ExceptionCode

OUTPUTS, INPUTS = range(0x08), range(0x20, 0x28)
LATCHED_HIGH, LATCHED_LOW = range(0x40, 0x48), range(0x60, 0x68)
SAFE_VALUES, POWER_ON_VALUES = range(0x80, 0x88), range(0xA0, 0xA8)
PROTOCOL, WATCHDOG_MODE, WATCHDOG_ON, CLEAR_LATCHES = 0x100, 0x103, 0x104, 0x107
WATCHDOG_STATUS, RESET_FLAG = 0x10D, 0x110
FIRMWARE_AND_NAME, SETTINGS = range(0x1E0, 0x1E4), range(0x1E4, 0x1E6)
ANSWER_DELAY, WATCHDOG_TIME, WATCHDOG_COUNT = 0x1E7, 0x1E8, 0x1EB


class EmulatedM7055(ModbusSlave):
    """One module.

    Attributes:
        inputs: levels of the wires, bit n is DIn; a number or a callable.
        stuck_inputs: input number to level, instead of the wire's level (feedback of a welded
            contactor, a pressed E-stop, an open door, a broken wire).
        dead_outputs: outputs whose coil does not pull although the register bit is set.
        safe_values, power_on_values: bits that survive a loss of power.
        watchdog_on, watchdog_time: the host watchdog; the time in 0.1 s.
        watchdog_mode: 0: after a timeout, writes are ignored until the status is cleared;
            1: a write of outputs clears the status.
        feeds_watchdog: False: the watchdog expires although requests arrive.
    """

    response_delay_s = 0.002

    def __init__(self, *, inputs: ValueSource[int] = 0, address: int = 5, seed: int = 0) -> None:
        super().__init__(seed)
        self.inputs = inputs
        self.stuck_inputs: dict[int, bool] = {}
        self.dead_outputs: set[int] = set()
        self.safe_values = self.power_on_values = 0
        self.watchdog_on = False
        self.watchdog_time, self.watchdog_mode = 0, 0
        self.feeds_watchdog = True
        self._settings = [address, 0x06]  # 9600 8N1
        self._answer_delay = 0
        self.reboot()

    def reboot(self) -> None:
        """Lose power briefly: power-on values, no latched inputs, the reset flag set."""
        self._outputs = self.power_on_values
        self._latched_high = self._latched_low = 0
        self._watchdog_fired = False
        self._timeout_count = 0
        self._was_reset = True
        self._fed_at: float | None = None

    @property
    def outputs(self) -> int:
        """The present output register, bit n is DOn."""
        self._check_watchdog()
        return self._outputs

    @property
    def driven_outputs(self) -> int:
        """The outputs that pull: the register without the dead coils."""
        return self.outputs & ~sum(1 << number for number in self.dead_outputs)

    @property
    def watchdog_fired(self) -> bool:
        self._check_watchdog()
        return self._watchdog_fired

    def input_levels(self) -> int:
        """The present input levels, stuck inputs included."""
        bits = current_value(self.inputs)
        for number, high in self.stuck_inputs.items():
            bits = bits | 1 << number if high else bits & ~(1 << number)
        return bits & 0xFF

    def on_request(self) -> None:
        self._check_watchdog()
        if self.feeds_watchdog:
            self._fed_at = trio.current_time()
        self._latched_high |= self.input_levels()
        self._latched_low |= ~self.input_levels() & 0xFF

    def read_bit(self, address: int) -> bool:
        if address == RESET_FLAG:
            was_reset, self._was_reset = self._was_reset, False
            return was_reset
        for addresses, bits in _BIT_READERS:
            if address in addresses:
                return bool(bits(self) >> (address - addresses.start) & 1)
        raise ModbusException(ExceptionCode.ILLEGAL_ADDRESS)

    def write_bit(self, address: int, on: bool) -> None:
        for addresses, write in _BIT_WRITERS:
            if address in addresses:
                return write(self, address - addresses.start, on)
        raise ModbusException(ExceptionCode.ILLEGAL_ADDRESS)

    def read_register(self, address: int) -> int:
        registers = {
            **dict(zip(FIRMWARE_AND_NAME, (0x0200, 0x0001, 0x5500, 0x0070), strict=True)),
            **dict(zip(SETTINGS, self._settings, strict=True)),
            ANSWER_DELAY: self._answer_delay,
            WATCHDOG_TIME: self.watchdog_time,
            WATCHDOG_COUNT: self._timeout_count,
        }
        if address not in registers:
            raise ModbusException(ExceptionCode.ILLEGAL_ADDRESS)
        return registers[address]

    def write_register(self, address: int, value: int) -> None:
        if address == WATCHDOG_TIME and value <= 255:
            self.watchdog_time = value
        elif address == WATCHDOG_COUNT and value == 0:
            self._timeout_count = 0
        elif address == ANSWER_DELAY and value <= 30:
            self._answer_delay = value
        elif address in SETTINGS:
            self._settings[address - SETTINGS.start] = value
        elif address in (WATCHDOG_TIME, WATCHDOG_COUNT, ANSWER_DELAY):
            raise ModbusException(ExceptionCode.ILLEGAL_VALUE)
        else:
            raise ModbusException(ExceptionCode.ILLEGAL_ADDRESS)

    def _check_watchdog(self) -> None:
        """Expire the watchdog when its time is over; once, until it is cleared."""
        if (
            not self.watchdog_on
            or self._watchdog_fired
            or self._fed_at is None
            or not self.watchdog_time
        ):
            return
        if trio.current_time() - self._fed_at >= self.watchdog_time / 10:
            self._outputs = self.safe_values
            self._watchdog_fired = True
            self._timeout_count += 1

    def _write_output(self, number: int, on: bool) -> None:
        if self._watchdog_fired and self.watchdog_mode == 0:
            return
        self._watchdog_fired = False
        self._outputs = _set_bit(self._outputs, number, on)

    def _write_safe_value(self, number: int, on: bool) -> None:
        self.safe_values = _set_bit(self.safe_values, number, on)

    def _write_power_on_value(self, number: int, on: bool) -> None:
        self.power_on_values = _set_bit(self.power_on_values, number, on)

    def _write_watchdog_mode(self, _: int, on: bool) -> None:
        self.watchdog_mode = int(on)

    def _write_watchdog_enable(self, _: int, on: bool) -> None:
        self.watchdog_on = on
        self._fed_at = trio.current_time()

    def _clear_latches(self, _: int, on: bool) -> None:
        if on:
            self._latched_high = self._latched_low = 0

    def _clear_watchdog_status(self, _: int, on: bool) -> None:
        if on:
            self._watchdog_fired = False
            self._fed_at = trio.current_time()

    def _write_protocol(self, _: int, on: bool) -> None:
        if not on:
            raise ModbusException(ExceptionCode.ILLEGAL_VALUE)  # DCON would end Modbus on this line


def _set_bit(bits: int, number: int, on: bool) -> int:
    return bits | 1 << number if on else bits & ~(1 << number)


def _single_address(address: int) -> range:
    return range(address, address + 1)


_BIT_READERS: tuple[tuple[range, Callable[[EmulatedM7055], int]], ...] = (
    (OUTPUTS, lambda module: module.outputs),
    (INPUTS, lambda module: module.input_levels()),
    (LATCHED_HIGH, lambda module: module._latched_high),
    (LATCHED_LOW, lambda module: module._latched_low),
    (SAFE_VALUES, lambda module: module.safe_values),
    (POWER_ON_VALUES, lambda module: module.power_on_values),
    (_single_address(PROTOCOL), lambda module: 1),
    (_single_address(WATCHDOG_MODE), lambda module: module.watchdog_mode),
    (_single_address(WATCHDOG_ON), lambda module: int(module.watchdog_on)),
    (_single_address(WATCHDOG_STATUS), lambda module: int(module.watchdog_fired)),
)

_BIT_WRITERS: tuple[tuple[range, Callable[[EmulatedM7055, int, bool], None]], ...] = (
    (OUTPUTS, EmulatedM7055._write_output),
    (SAFE_VALUES, EmulatedM7055._write_safe_value),
    (POWER_ON_VALUES, EmulatedM7055._write_power_on_value),
    (_single_address(PROTOCOL), EmulatedM7055._write_protocol),
    (_single_address(WATCHDOG_MODE), EmulatedM7055._write_watchdog_mode),
    (_single_address(WATCHDOG_ON), EmulatedM7055._write_watchdog_enable),
    (_single_address(CLEAR_LATCHES), EmulatedM7055._clear_latches),
    (_single_address(WATCHDOG_STATUS), EmulatedM7055._clear_watchdog_status),
)
