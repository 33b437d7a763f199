"""The insulation monitor: its manual's bytes, its self-test, the ways it may lie."""

from decimal import Decimal
from pathlib import Path

import pytest
import trio
import trio.testing

from drivers.emulators.bender_isocha425 import BenderEmulator
from drivers.emulators.memory_port import memory_line
from drivers.emulators.modbus_slave import ModbusSlaves
from drivers.emulators.pty import Pty
from drivers.insulation.bender_isocha425hv import (
    BenderIsoCha425hv,
    Value,
    insulation_of,
    parse_value,
)
from drivers.ports import BadAnswer, DeviceReady, Insulation, NoAnswer, PortGone, Refused
from drivers.wire import modbus
from drivers.wire.modbus import read_registers, write_registers
from drivers.wire.modbus_bus import ModbusBus
from tests.drivers.serial_bench import Reports, frames, running, until

RF = read_registers(3, 1000, 4)
UN_720 = "03 03 08 44 34 20 00 00 04 00 4C A9 3B"
RF_850K = "03 03 08 49 4F 85 00 00 02 00 47 1A 96"


def value(answer: str) -> Value:
    return parse_value(modbus.registers_of(bytes.fromhex(answer)[3:-2]))


NO_VOLTAGE = Value(None, 0, 0, 0, 76)


@pytest.mark.parametrize(
    ("answer", "insulation"),
    [
        (RF_850K, Insulation(850_000, 0, False, False)),
        ("03 03 08 4B 18 96 80 00 82 00 47 BF 1F", Insulation(10_000_000, 0, False, False)),
        ("03 03 08 47 24 10 00 05 02 00 01 DD E7", Insulation(42_000, 5, False, False)),
        ("03 03 08 49 4F 85 00 80 02 00 47 33 56", Insulation(850_000, 0, True, False)),
    ],
)
def test_a_value_reads_as_the_manual_says(answer: str, insulation: Insulation) -> None:
    parsed = value(answer)
    assert insulation_of(parsed, NO_VOLTAGE, parsed.test != 0) == insulation


def test_the_voltage_between_the_lines() -> None:
    assert insulation_of(value(RF_850K), value(UN_720), False).voltage_v == Decimal("720.5")


@pytest.mark.parametrize(
    "registers",
    [
        (0x494F, 0x8500, 0x00C2, 0x0047),  # range invalid
        (0x494F, 0x8500, 0x0000, 0x0047),  # unit invalid
        (0x494F, 0x8500, 0x0004, 0x0047),  # volts
        (0x7FC0, 0x0000, 0x0002, 0x0047),  # not a number
        (0x7F80, 0x0000, 0x0002, 0x0047),  # infinite
        (0xC94F, 0x8500, 0x0002, 0x0047),  # negative
    ],
)
def test_what_is_no_resistance_is_unknown(registers: tuple[int, ...]) -> None:
    assert insulation_of(parse_value(registers), NO_VOLTAGE, False).resistance_ohm is None


def test_a_lost_earth_is_a_device_error_with_code_102() -> None:
    said = insulation_of(parse_value((0, 0, 0x0202, 102)), NO_VOLTAGE, False)
    assert (said.alarm, said.earth_lost) == (2, True)


async def test_the_emulator_answers_with_the_bytes_of_the_manual() -> None:
    monitor = BenderEmulator(resistance_ohm=850_000.0, voltage_v=lambda: 720.5)
    monitor.settings[3007] = 100
    assert monitor.answer(RF) == bytes.fromhex(RF_850K)
    assert monitor.answer(read_registers(3, 1008, 4)) == bytes.fromhex(UN_720)
    assert monitor.answer(read_registers(3, 1003, 1)) == bytes.fromhex("03 03 02 00 47 81 B6")
    monitor.resistance_ohm = 10_000_000.0
    assert monitor.answer(RF) == bytes.fromhex("03 03 08 4B 18 96 80 00 82 00 47 BF 1F")
    monitor.resistance_ohm = 42_000.0
    assert monitor.answer(RF) == bytes.fromhex("03 03 08 47 24 10 00 05 02 00 01 DD E7")
    monitor.resistance_ohm = 850_000.0
    start = write_registers(3, 8005, (0x5445,))
    assert monitor.answer(start) == bytes.fromhex("03 10 1F 45 00 01 16 2A")
    assert monitor.answer(RF) == bytes.fromhex("03 03 08 49 4F 85 00 80 02 00 47 33 56")
    assert monitor.answer(read_registers(3, 1, 1)) == bytes.fromhex("03 83 02 61 31")
    assert monitor.answer(write_registers(3, 1, (1,))) == bytes.fromhex("03 90 02 6C 01")


class Bay:
    """A monitor on a line in memory and what was reported."""

    def __init__(self, **settings: float) -> None:
        self.station, device = memory_line()
        self.monitor = BenderEmulator(resistance_ohm=850_000.0, voltage_v=720.5)
        self.slaves = ModbusSlaves(device, {3: self.monitor})
        self.bus = ModbusBus("memory", pause_ms=15, open_port=self.station.open)
        frozen_after_s = settings.get("frozen_after_s", 10.0)
        self.driver = BenderIsoCha425hv(self.bus, frozen_after_s=frozen_after_s)
        self.reports = Reports()

    async def run(self) -> None:
        await self.driver.run(self.reports)

    def said(self) -> Insulation:
        return self.reports.last(Insulation)


async def test_the_settings_are_written_and_verified(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bay = Bay()
    async with running(bay.slaves.run, bay.run):
        await trio.sleep(1)
    sent = frames(bay.station)
    assert sent[:2] == ["03 03 26 48 00 0A 4F 71", "03 03 26 5C 00 06 0F 70"]
    assert "03 10 0B BD 00 01 02 00 FA 9E 9E" in sent
    assert "03 10 0B BF 00 01 02 00 64 1E D4" in sent
    assert [bay.monitor.settings[register] for register in (3005, 3007, 3021, 3026)] == [
        *(250, 100, 3, 1)
    ]
    assert bay.reports.all[:2] == [
        DeviceReady("Bender isoCHA425HV software 5.00"),
        Insulation(850_000, 0, False, False, Decimal("720.5")),
    ]


async def test_settings_that_are_right_are_not_written(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bay = Bay()
    bay.monitor.settings |= {3005: 250, 3007: 100, 3021: 3, 3026: 1}
    async with running(bay.slaves.run, bay.run):
        await trio.sleep(10)
    assert not [sent for sent in frames(bay.station) if sent.startswith("03 10")]


@pytest.mark.parametrize("before", [(600, 120), (90, 50), (60, 15), (600, 400)])
async def test_the_alarm_stays_below_the_prealarm_at_every_moment(
    autojump_clock: trio.testing.MockClock, before: tuple[int, int]
) -> None:
    bay = Bay()
    bay.monitor.settings |= {3005: before[0], 3007: before[1]}
    async with running(bay.slaves.run, bay.run):
        await trio.sleep(1)
    prealarm, alarm = before
    for sent in bay.station.sent:
        if sent[:4] == b"\x03\x10\x0b\xbd":
            prealarm = int.from_bytes(sent[7:9], "big")
        if sent[:4] == b"\x03\x10\x0b\xbf":
            alarm = int.from_bytes(sent[7:9], "big")
        assert alarm < prealarm
    assert (prealarm, alarm) == (250, 100)


def test_an_alarm_above_the_prealarm_is_a_wrong_setting() -> None:
    with pytest.raises(ValueError, match="below prealarm_kohm 100"):
        BenderIsoCha425hv(Bay().bus, prealarm_kohm=100, alarm_kohm=100)


async def test_a_setting_that_is_not_kept_is_a_fault(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bay = Bay()
    monkeypatch.setattr(bay.monitor, "write_register", lambda address, value: None)
    async with running(bay.slaves.run):
        with pytest.raises(BadAnswer, match="setting 3005 is 600, wrote 250"):
            await bay.run()
    assert bay.reports.all == []


async def test_an_older_firmware_is_not_asked_for_the_fast_test(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bay = Bay()
    bay.monitor.software_version = 412
    async with running(bay.slaves.run, bay.run):
        await trio.sleep(1)
        began = trio.current_time()
        bay.driver.start_self_test()
        await trio.sleep(0.2)
        assert bay.said().testing
        while bay.said().testing:
            await trio.sleep(0.05)
    assert bay.monitor.settings[3021] == 2
    assert 3.0 <= trio.current_time() - began <= 3.8


async def test_the_pace_follows_the_session(autojump_clock: trio.testing.MockClock) -> None:
    bay = Bay()
    async with running(bay.slaves.run, bay.run):
        await trio.sleep(20)
        idle = len(bay.reports.of(Insulation))
        bay.driver.interval_s = 0.5
        await trio.sleep(2)
        bay.reports.clear()
        await trio.sleep(20)
    assert 9 <= idle <= 11
    assert 38 <= len(bay.reports.of(Insulation)) <= 41


async def test_a_self_test_begins_at_once_and_ends_in_a_second_in_fast_mode(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bay = Bay()
    async with running(bay.slaves.run, bay.run):
        await trio.sleep(3.1)
        bay.reports.clear()
        bay.driver.start_self_test()
        await trio.sleep(1.8)
    assert "03 10 1F 45 00 01 02 54 45 A0 57" in frames(bay.station)
    told = [said.testing for said in bay.reports.of(Insulation)]
    assert told[0]
    assert not told[-1]
    assert bay.said().alarm == 0


async def test_a_failed_self_test_ends_in_a_device_error(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bay = Bay()
    bay.monitor.test_fails = True
    async with running(bay.slaves.run, bay.run):
        await trio.sleep(1)
        bay.driver.start_self_test()
        await trio.sleep(3)
    assert (bay.said().testing, bay.said().alarm) == (False, 2)


async def test_a_self_test_that_has_not_begun_is_no_passed_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bay = Bay()
    async with running(bay.slaves.run):

        async def order() -> None:
            await trio.sleep(1)
            bay.monitor.fast_test_s = 0.0
            bay.reports.clear()
            bay.driver.start_self_test()

        async with running(order):
            with pytest.raises(BadAnswer, match="self-test did not begin"):
                await bay.run()
    assert all(said.testing for said in bay.reports.of(Insulation))


async def test_a_self_test_without_end_is_a_fault(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bay = Bay()
    bay.monitor.fast_test_s = 3600
    async with running(bay.slaves.run):
        bay.driver.start_self_test()
        with pytest.raises(BadAnswer, match="self-test is not over after 30"):
            await bay.run()


@pytest.mark.parametrize(
    ("resistance_ohm", "alarm"), [(10e6, 0), (251e3, 0), (249e3, 1), (99e3, 5), (0.0, 5)]
)
async def test_the_alarm_follows_the_limits(
    autojump_clock: trio.testing.MockClock, resistance_ohm: float, alarm: int
) -> None:
    bay = Bay()
    bay.monitor.resistance_ohm = resistance_ohm
    async with running(bay.slaves.run, bay.run):
        await trio.sleep(1)
    assert (bay.said().resistance_ohm, bay.said().alarm) == (resistance_ohm, alarm)


async def test_faults_of_its_own_are_reported(autojump_clock: trio.testing.MockClock) -> None:
    bay = Bay()
    bay.driver.interval_s = 0.5
    async with running(bay.slaves.run, bay.run):
        await trio.sleep(1)
        bay.monitor.device_error = True
        await trio.sleep(1)
        assert (bay.said().alarm, bay.said().earth_lost) == (2, False)
        bay.monitor.device_error, bay.monitor.earth_lost = False, True
        await trio.sleep(1)
        assert (bay.said().alarm, bay.said().earth_lost) == (2, True)
        bay.monitor.earth_lost, bay.monitor.alarm = False, 4
        await trio.sleep(1)
        assert bay.said().alarm == 4
        bay.monitor.settings[3026] = 0
        await trio.sleep(1)
        assert bay.said().resistance_ohm is None


async def test_three_lost_polls_are_a_lost_monitor_within_two_seconds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bay = Bay()
    bay.driver.interval_s = 0.5
    async with running(bay.slaves.run):

        async def fall_silent() -> None:
            await trio.sleep(5)
            bay.monitor.faults.silent = True

        async with running(fall_silent):
            with pytest.raises(NoAnswer, match="insulation monitor 3 on memory: 3 polls lost"):
                await bay.run()
    assert trio.current_time() - 5 < 2


async def test_two_lost_polls_are_not_yet_a_fault(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bay = Bay()
    bay.driver.interval_s = 0.5
    async with running(bay.slaves.run, bay.run):
        for _ in range(3):
            await trio.sleep(3.01)
            bay.monitor.faults.silent = True
            await trio.sleep(0.8)
            bay.monitor.faults.silent = False
        bay.reports.clear()
        await trio.sleep(2)
    assert bay.said().resistance_ohm == 850_000


async def test_a_value_may_stand_still_during_a_self_test(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bay = Bay()
    bay.monitor.fast_test_s = 20
    async with running(bay.slaves.run, bay.run):
        await trio.sleep(3)
        bay.driver.start_self_test()
        await trio.sleep(0.5)
        bay.monitor.frozen = True
        await trio.sleep(19)
        assert bay.said().testing
        bay.monitor.frozen = False
        await trio.sleep(3)
        assert not bay.said().testing


async def test_a_refusing_monitor_is_lost_too(autojump_clock: trio.testing.MockClock) -> None:
    bay = Bay()
    async with running(bay.slaves.run):

        async def refuse() -> None:
            await trio.sleep(5)
            bay.monitor.faults.exception = modbus.ExceptionCode.DEVICE_FAILURE

        async with running(refuse):
            with pytest.raises(Refused, match="3 polls lost"):
                await bay.run()


async def test_a_frozen_value_is_a_fault(autojump_clock: trio.testing.MockClock) -> None:
    bay = Bay()
    async with running(bay.slaves.run):

        async def freeze() -> None:
            await trio.sleep(5)
            bay.monitor.frozen = True

        async with running(freeze):
            with pytest.raises(BadAnswer, match="value stands still"):
                await bay.run()
    assert 15 < trio.current_time() < 20


async def test_a_model_without_update_counter_may_stand_still(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bay = Bay(frozen_after_s=0)
    bay.monitor.frozen = True
    async with running(bay.slaves.run, bay.run):
        await trio.sleep(60)
    assert len(bay.reports.of(Insulation)) >= 29
    assert not [sent for sent in frames(bay.station) if sent.startswith("03 03 04 08")]


async def test_two_monitors_on_a_pty(tmp_path: Path) -> None:
    good, bad = BenderEmulator(resistance_ohm=1e6), BenderEmulator(resistance_ohm=42_000.0)
    first, second = Reports(), Reports()
    with Pty(tmp_path / "insulation") as device:
        bus = ModbusBus(device.path, baud=19_200, parity="E", pause_ms=1)
        one = BenderIsoCha425hv(bus, interval_s=0.1)
        two = BenderIsoCha425hv(bus, address=4, interval_s=0.1)
        async with running(ModbusSlaves(device, {3: good, 4: bad}).run):
            async with running(lambda: one.run(first), lambda: two.run(second)):
                await until(lambda: first.of(Insulation) and second.of(Insulation))
            device.unplug()
            with pytest.raises(PortGone):
                await one.run(first)
        bus.close()
    assert first.last(Insulation).resistance_ohm == 1_000_000
    assert second.last(Insulation) == Insulation(42_000, 5, False, False, Decimal("0.0"))
