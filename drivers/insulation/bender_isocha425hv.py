"""How well is the DC output insulated from earth?

Bender isoCHA425HV on Modbus RTU; the registers are those of the ISOMETER 4xx family.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import ClassVar

import msgspec
import trio

from drivers.ports import BadAnswer, DeviceFault, DeviceReady, Insulation, PortGone, Report
from drivers.wire.modbus import read_registers, words, write_registers
from drivers.wire.modbus_bus import ModbusBus

INSULATION, VOLTAGE, UPDATES = 1000, 1008, 1032
PREALARM_KOHM, ALARM_KOHM, SELF_TEST_KIND, MEASURE = 3005, 3007, 3021, 3026
FAST_CABLE_CHECK, FAST_SINCE_VERSION = 3, 500
SELF_TEST, START_SELF_TEST = 8005, 0x5445
NAME, VERSIONS = 9800, 9820

UNIT_OHM, UNIT_VOLT = 2, 4
RANGE_INVALID = 3
NO_EARTH = 102
DEVICE_ERROR = 2

LOST_POLLS_MAX = 3
HURRY_S = 0.5  # the pace after a lost poll and during a self-test
TEST_BEGINS_S = 2.0
TEST_ENDS_S = 30.0


class Value(msgspec.Struct, frozen=True):
    """Four registers of the device: a number and what it says about it.

    Attributes:
        number: None where the device has none to give.
        unit: 2 ohm, 4 V.
        alarm: 0 none, 1 pre-warning, 2 device error, 4 warning, 5 alarm.
        test: 0 none, 1 internal, 2 external.
        description: channel description code.
    """

    number: float | None
    unit: int
    alarm: int
    test: int
    description: int


def parse_value(registers: Sequence[int]) -> Value:
    """Read the four registers of one measured value."""
    [number] = struct.unpack(">f", words(registers[:2]))
    state, kind = registers[2] >> 8, registers[2] & 0xFF
    unit = kind & 0x1F
    valid = math.isfinite(number) and unit != 0 and kind >> 6 != RANGE_INVALID
    return Value(number if valid else None, unit, state & 7, state >> 6, registers[3])


class BenderIsoCha425hv:
    """One monitor.

    Reports DeviceReady once its settings are verified, then Insulation each poll.

    Attributes:
        interval_s: from one poll to the next; 2 s idle, 0.5 s in a session.

    Args:
        bus: the line; a second monitor may share it.
        address: Modbus address, 3 to 90.
        prealarm_kohm, alarm_kohm: R1 and R2; alarm below pre-alarm.
        fast_test: use the short self-test where the firmware knows it (5.00 and later).
        frozen_after_s: the value is stale when the update counter stands still for so long;
            0: do not look at it.
        interval_s: see above.
    """

    LINE: ClassVar[Mapping[str, int | str]] = {
        "baud": 19_200,
        "parity": "E",
        "stop_bits": 1,
        "timeout_ms": 300,
        "retries": 2,
        "pause_ms": 15,  # the device is easily overwhelmed
    }

    def __init__(
        self,
        bus: ModbusBus,
        *,
        address: int = 3,
        prealarm_kohm: int = 250,
        alarm_kohm: int = 100,
        fast_test: bool = True,
        frozen_after_s: float = 10.0,
        interval_s: float = 2.0,
    ) -> None:
        if alarm_kohm >= prealarm_kohm:
            raise ValueError(f"alarm_kohm {alarm_kohm} must be below prealarm_kohm {prealarm_kohm}")
        self.bus = bus
        self.address = address
        self.interval_s = interval_s
        self._limits = (prealarm_kohm, alarm_kohm)
        self._fast_test = fast_test
        self._frozen_after_s = frozen_after_s
        self._name = f"insulation monitor {address} on {bus.path}"
        self._test_ordered = trio.Event()
        self._test: _SelfTest | None = None
        self._updates: tuple[int, ...] = ()
        self._updated_at = 0.0

    def start_self_test(self) -> None:
        """Order a self-test.

        Reports say `testing` from the next one until the device is done; then `alarm` 2 means
        that it failed.
        """
        self._test_ordered.set()

    async def run(self, report: Callable[[Report], None]) -> None:
        """Set the monitor up and poll it.

        Raises:
            NoAnswer, Refused: three polls in a row failed, or the set-up did.
            BadAnswer: a setting was not kept, a self-test does not begin or end, the value
                stands still.
            PortGone: the tty is lost.
        """
        self._test = None
        report(DeviceReady(await self._set_up()))
        self._updated_at = trio.current_time()
        lost = 0
        while True:
            begun = trio.current_time()
            try:
                await self._poll(report)
                lost = 0
            except (PortGone, BadAnswer):
                raise
            except DeviceFault as fault:
                lost += 1
                if lost == LOST_POLLS_MAX:
                    raise type(fault)(f"{self._name}: {lost} polls lost: {fault}") from fault
            hurry = lost or self._test is not None
            due = begun + (min(self.interval_s, HURRY_S) if hurry else self.interval_s)
            with trio.move_on_at(due):
                await (trio.sleep_forever() if lost else self._test_ordered.wait())

    async def _set_up(self) -> str:
        """Write the settings that differ, verify them, return model and firmware."""
        name = words(await self._read(NAME, 10)).decode("ascii", "replace").strip("\0 ")
        [_, version, *_] = await self._read(VERSIONS, 6)
        prealarm, alarm = self._limits
        [alarm_before] = await self._read(ALARM_KOHM, 1)
        limits = [(PREALARM_KOHM, prealarm), (ALARM_KOHM, alarm)]
        if prealarm <= alarm_before:
            limits.reverse()  # R2 is below R1 at every moment
        fast = self._fast_test and version >= FAST_SINCE_VERSION
        kind = [(SELF_TEST_KIND, FAST_CABLE_CHECK)] if fast else []
        for register, value in [*limits, *kind, (MEASURE, 1)]:
            await self._keep(register, value)
        return f"Bender {name} software {version // 100}.{version % 100:02}"

    async def _keep(self, register: int, value: int) -> None:
        """Write one setting if it differs: its memory wears out. Raises BadAnswer if not kept."""
        [held] = await self._read(register, 1)
        if held == value:
            return
        await self.bus.ask(write_registers(self.address, register, (value,)))
        [held] = await self._read(register, 1)
        if held != value:
            raise BadAnswer(f"{self._name}: setting {register} is {held}, wrote {value}")

    async def _poll(self, report: Callable[[Report], None]) -> None:
        if self._test_ordered.is_set():
            await self._begin_test()
        insulation = await self._value(INSULATION)
        voltage = await self._value(VOLTAGE)
        await self._watch_updates()
        testing = insulation.test != 0
        if self._test is not None:
            testing = self._test.goes_on(testing, trio.current_time(), self._name)
            self._test = self._test if testing else None
        report(insulation_of(insulation, voltage, testing))

    async def _begin_test(self) -> None:
        request = write_registers(self.address, SELF_TEST, (START_SELF_TEST,))
        await self.bus.ask(request, retries=0)
        self._test_ordered = trio.Event()
        self._test = _SelfTest(trio.current_time())

    async def _watch_updates(self) -> None:
        """Raise BadAnswer when the device measures nothing new. A self-test may stop it."""
        if not self._frozen_after_s:
            return
        at = trio.current_time()
        updates = await self._read(UPDATES, 4, retries=0)
        if updates != self._updates or self._test is not None:
            self._updates, self._updated_at = updates, at
        elif at - self._updated_at > self._frozen_after_s:
            raise BadAnswer(f"{self._name}: value stands still for {at - self._updated_at:.1f} s")

    async def _value(self, register: int) -> Value:
        return parse_value(await self._read(register, 4, retries=0))

    async def _read(self, register: int, count: int, retries: int | None = None) -> tuple[int, ...]:
        return await self.bus.ask(read_registers(self.address, register, count), retries=retries)


class _SelfTest(msgspec.Struct):
    """A self-test that was ordered."""

    ordered_at: float
    seen: bool = False

    def goes_on(self, testing: bool, at: float, name: str) -> bool:
        """Whether the test is still to be waited for. Raises BadAnswer after too long.

        The device may take a moment to begin: not to test *yet* is no passed test.
        """
        self.seen = self.seen or testing
        if self.seen and not testing:
            return False
        after_s = at - self.ordered_at
        if after_s > (TEST_ENDS_S if self.seen else TEST_BEGINS_S):
            what = "is not over" if self.seen else "did not begin"
            raise BadAnswer(f"{name}: self-test {what} after {after_s:.1f} s")
        return True


def insulation_of(insulation: Value, voltage: Value, testing: bool) -> Insulation:
    """Put RF and Un together.

    "Lower than" and "higher than" count as the number itself: the one is low enough, the other
    high enough for every decision.
    """
    ohm = insulation.number if insulation.unit == UNIT_OHM else None
    volt = voltage.number if voltage.unit == UNIT_VOLT else None
    return Insulation(
        resistance_ohm=None if ohm is None or ohm < 0 else round(ohm),
        alarm=insulation.alarm,
        testing=testing,
        earth_lost=insulation.description == NO_EARTH,
        voltage_v=None if volt is None else Decimal(f"{volt:.1f}"),
    )
