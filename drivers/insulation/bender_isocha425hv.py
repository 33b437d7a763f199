"""Bender isoCHA425HV insulation monitor on Modbus RTU.

The registers are those of the ISOMETER 4xx family. In each run the driver writes and verifies its
settings, then polls insulation and voltage. A self-test is ordered by `start_self_test`; while it
runs and after a lost poll, polling is at most `FAST_POLL_S` apart.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final, Literal

import msgspec
import trio

from drivers.alarm import Alarm, sleep_until
from drivers.beat import next_beat
from drivers.ports import (
    DeviceFault,
    DeviceReady,
    DeviceReport,
    InsulationMonitor,
    InsulationReading,
    InvalidResponse,
    OpenDevices,
    PortLost,
)
from drivers.settings import (
    Baud,
    InsulationSettings,
    Kiloohms,
    Milliseconds,
    ModbusAddress,
    Pause,
    Retries,
    SecondsOrNever,
    require_count,
    require_different,
    require_order,
)
from drivers.wire.modbus_master import ModbusMaster
from drivers.wire.modbus_rtu import encode_registers, read_registers, write_registers
from drivers.wire.serial_port import OpenPort

INSULATION_REGISTER, VOLTAGE_REGISTER, UPDATE_COUNTER_REGISTER = 1000, 1008, 1032
PREALARM_KOHM, ALARM_KOHM, SELF_TEST_KIND, MEASURING = 3005, 3007, 3021, 3026
FAST_CABLE_CHECK, FAST_CHECK_VERSION_MIN = 3, 500
SELF_TEST_REGISTER, START_SELF_TEST = 8005, 0x5445
NAME_REGISTER, VERSIONS_REGISTER = 9800, 9820

UNIT_OHM, UNIT_VOLT = 2, 4
RANGE_INVALID = 3
EARTH_LOST = 102
DEVICE_ERROR = 2

LOST_POLLS_MAX = 3
FAST_POLL_S = 0.5  # interval after a lost poll and during a self-test
TEST_START_TIMEOUT_S = 2.0
TEST_END_TIMEOUT_S = 30.0


class MeasuredValue(msgspec.Struct, frozen=True):
    """Four registers of the device: a number, its unit and its state.

    Attributes:
        number: None if the device marks it as invalid.
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


def parse_value(registers: Sequence[int]) -> MeasuredValue:
    """Decode the four registers of one measured value."""
    [number] = struct.unpack(">f", encode_registers(registers[:2]))
    state, kind = registers[2] >> 8, registers[2] & 0xFF
    unit = kind & 0x1F
    valid = math.isfinite(number) and unit != 0 and kind >> 6 != RANGE_INVALID
    return MeasuredValue(number if valid else None, unit, state & 7, state >> 6, registers[3])


NO_ANSWER_REASONS: Final = (
    "its Modbus address differs from the key addresses; the device leaves the factory with 3",
    "its interface is set to BMS instead of Modbus RTU, or baud or parity differ",
    "the two wires of the line are swapped (A and B), or the device has no supply",
)
"""Why it may not answer, likeliest first; for `station probe`."""

SILENT_LINE_REASONS: Final = (
    "the two wires of the line are swapped (A and B), or the devices have no supply",
    "their interfaces are set to BMS instead of Modbus RTU, or baud or parity differ",
    "the port is that of another line",
)
"""The same when no device on the line answers."""


class Settings(InsulationSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.insulation]`: the monitors, on one line."""

    driver: str = "bender_isocha425hv"
    baud: Baud = 19_200
    parity: Literal["N", "E", "O"] = "E"
    stop_bits: Literal[1, 2] = 1
    timeout_ms: Milliseconds = 300
    retries: Retries = 2
    pause_ms: Pause = 15  # the device needs time between requests
    addresses: tuple[ModbusAddress, ...] = (3, 4, 5, 6)  # of EVSE 1, 2, …
    prealarm_kohm: Kiloohms = 250
    fast_test: bool = True
    frozen_after_s: SecondsOrNever = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_different("addresses", self.addresses)
        require_order(self, "alarm_kohm", "prealarm_kohm")


def open(
    settings: Settings, evse_ids: tuple[int, ...], open_port: OpenPort
) -> OpenDevices[InsulationMonitor]:
    """The monitors of all EVSEs on one line; see `drivers.catalog.Driver.open`."""
    require_count(settings, "addresses", evse_ids)
    bus = ModbusMaster.from_settings(settings, open_port, retries=settings.retries)
    return OpenDevices(
        {
            evse_id: BenderIsoCha425hv(
                bus,
                address=settings.addresses[evse_id - 1],
                prealarm_kohm=settings.prealarm_kohm,
                alarm_kohm=settings.alarm_kohm,
                fast_test=settings.fast_test,
                frozen_after_s=settings.frozen_after_s,
                interval_s=settings.idle_interval_s,
            )
            for evse_id in evse_ids
        },
        close=bus.close,
    )


class BenderIsoCha425hv:
    """One monitor.

    Reports DeviceReady once its settings are verified, then an InsulationReading in each poll.

    Attributes:
        interval_s: time between two polls; 2 s idle, 0.5 s in a session.

    Args:
        bus: the line; a second monitor may share it.
        address: Modbus address, 3 to 90.
        prealarm_kohm, alarm_kohm: R1 and R2; alarm below pre-alarm.
        fast_test: use the short self-test where the firmware has it (5.00 and later).
        frozen_after_s: the value is stale when the update counter has not changed for this time;
            0: the counter is not checked.
        interval_s: see above.
    """

    def __init__(
        self,
        bus: ModbusMaster,
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
        self._alarm_limits_kohm = (prealarm_kohm, alarm_kohm)
        self._fast_test = fast_test
        self._frozen_after_s = frozen_after_s
        self._name = f"insulation monitor {address} on {bus.path}"
        self._test_ordered = False
        self._wake = Alarm()  # rings when a test is ordered
        self._self_test: _SelfTest | None = None
        self._update_counter: tuple[int, ...] = ()
        self._counter_changed_at = 0.0

    def start_self_test(self) -> None:
        """Order a self-test.

        Reports have `self_test_running` from the next one until the test is done; then `alarm` 2
        means that it failed.
        """
        self._test_ordered = True
        self._wake.ring()

    async def run(self, report: Callable[[DeviceReport], None]) -> None:
        """Set the monitor up and poll it.

        Raises:
            NoResponse, CommandRefused: three polls in a row failed, or the set-up did.
            InvalidResponse: a setting was not kept, a self-test does not begin or end, or the value
                is not updated.
            PortLost: the tty is lost.
        """
        self._self_test = None
        report(DeviceReady(await self._set_up()))
        self._counter_changed_at = trio.current_time()
        lost_polls = 0
        while True:
            polled_at = trio.current_time()
            try:
                await self._poll_values(report)
                lost_polls = 0
            except (PortLost, InvalidResponse):
                raise
            except DeviceFault as fault:
                lost_polls += 1
                if lost_polls == LOST_POLLS_MAX:
                    raise type(fault)(f"{self._name}: {lost_polls} polls lost: {fault}") from fault
            fast = lost_polls or self._self_test is not None
            interval_s = min(self.interval_s, FAST_POLL_S) if fast else self.interval_s
            due = next_beat(polled_at, interval_s)
            await (sleep_until(due) if lost_polls else self._wake.wait_until(due))

    async def _set_up(self) -> str:
        """Write the settings that differ, verify them, return model and firmware."""
        name = (
            encode_registers(await self._read_registers(NAME_REGISTER, 10))
            .decode("ascii", "replace")
            .strip("\0 ")
        )
        [_, version, *_] = await self._read_registers(VERSIONS_REGISTER, 6)
        prealarm, alarm = self._alarm_limits_kohm
        [alarm_before] = await self._read_registers(ALARM_KOHM, 1)
        limits = [(PREALARM_KOHM, prealarm), (ALARM_KOHM, alarm)]
        if prealarm <= alarm_before:
            limits.reverse()  # R2 is below R1 at every moment
        fast = self._fast_test and version >= FAST_CHECK_VERSION_MIN
        kind = [(SELF_TEST_KIND, FAST_CABLE_CHECK)] if fast else []
        for register, value in [*limits, *kind, (MEASURING, 1)]:
            await self._ensure_setting(register, value)
        return f"Bender {name} software {version // 100}.{version % 100:02}"

    async def _ensure_setting(self, register: int, value: int) -> None:
        """Write one setting if it differs: the device's memory wears out.

        Raises:
            InvalidResponse: the device did not keep the value.
        """
        [stored] = await self._read_registers(register, 1)
        if stored == value:
            return
        await self.bus.execute_request(write_registers(self.address, register, (value,)))
        [stored] = await self._read_registers(register, 1)
        if stored != value:
            raise InvalidResponse(f"{self._name}: setting {register} is {stored}, wrote {value}")

    async def _poll_values(self, report: Callable[[DeviceReport], None]) -> None:
        if self._test_ordered:
            await self._begin_test()
        insulation = await self._read_value(INSULATION_REGISTER)
        voltage = await self._read_value(VOLTAGE_REGISTER)
        await self._check_updates()
        testing = insulation.test != 0
        if self._self_test is not None:
            testing = await self._follow_test(self._self_test, testing)
        report(to_insulation_reading(insulation, voltage, testing))

    async def _follow_test(self, test: _SelfTest, testing: bool) -> bool:
        """Whether the test is not over yet; ordered again if it may have passed unseen."""
        at = trio.current_time()
        unseen = at - test.polled_at > TEST_START_TIMEOUT_S  # this process did not run
        test.polled_at = at
        if unseen and not testing and not test.started:
            await self._begin_test()
            return True
        if not test.check_running(testing, at, self._name):
            self._self_test = None
            return False
        return True

    async def _begin_test(self) -> None:
        request = write_registers(self.address, SELF_TEST_REGISTER, (START_SELF_TEST,))
        await self.bus.execute_request(request, retries=0)
        self._test_ordered = False
        self._wake.reset()
        at = trio.current_time()
        self._self_test = _SelfTest(ordered_at=at, polled_at=at)

    async def _check_updates(self) -> None:
        """Check that the update counter moves; during a self-test it may not.

        Raises:
            InvalidResponse: it has not moved for `frozen_after_s`.
        """
        if not self._frozen_after_s:
            return
        at = trio.current_time()
        updates = await self._read_registers(UPDATE_COUNTER_REGISTER, 4, retries=0)
        if updates != self._update_counter or self._self_test is not None:
            self._update_counter, self._counter_changed_at = updates, at
        elif at - self._counter_changed_at > self._frozen_after_s:
            raise InvalidResponse(
                f"{self._name}: value not updated for {at - self._counter_changed_at:.1f} s"
            )

    async def _read_value(self, register: int) -> MeasuredValue:
        return parse_value(await self._read_registers(register, 4, retries=0))

    async def _read_registers(
        self, register: int, count: int, retries: int | None = None
    ) -> tuple[int, ...]:
        return await self.bus.execute_request(
            read_registers(self.address, register, count), retries=retries
        )


class _SelfTest(msgspec.Struct):
    """A self-test that was ordered."""

    ordered_at: float
    polled_at: float
    started: bool = False

    def check_running(self, testing: bool, at: float, name: str) -> bool:
        """Whether the test is not over yet.

        The device may need a moment to begin: a test that has not begun has not passed.

        Raises:
            InvalidResponse: it did not begin or end in time.
        """
        self.started = self.started or testing
        if self.started and not testing:
            return False
        after_s = at - self.ordered_at
        if after_s > (TEST_END_TIMEOUT_S if self.started else TEST_START_TIMEOUT_S):
            what = "is not over" if self.started else "did not begin"
            raise InvalidResponse(f"{name}: self-test {what} after {after_s:.1f} s")
        return True


def to_insulation_reading(
    insulation: MeasuredValue, voltage: MeasuredValue, testing: bool
) -> InsulationReading:
    """Combine insulation resistance and voltage into one report.

    "Lower than" and "higher than" count as the number itself: the one is low enough, the other
    high enough for every decision.
    """
    ohm = insulation.number if insulation.unit == UNIT_OHM else None
    volt = voltage.number if voltage.unit == UNIT_VOLT else None
    return InsulationReading(
        resistance_ohm=None if ohm is None or ohm < 0 else round(ohm),
        alarm=insulation.alarm,
        self_test_running=testing,
        earth_lost=insulation.description == EARTH_LOST,
        voltage_v=None if volt is None else Decimal(f"{volt:.1f}"),
    )
