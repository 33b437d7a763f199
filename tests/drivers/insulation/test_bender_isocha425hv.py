"""The insulation monitor: bytes of the manual, self-test, invalid and frozen values."""

from decimal import Decimal
from pathlib import Path

import pytest
import trio
import trio.testing

from drivers.emulators.bender_isocha425hv import EmulatedBender
from drivers.emulators.memory_port import open_memory_line
from drivers.emulators.modbus_slave import ModbusSlaveBus
from drivers.emulators.pty import Pty
from drivers.insulation.bender_isocha425hv import (
    BenderIsoCha425hv,
    MeasuredValue,
    parse_value,
    to_insulation_reading,
)
from drivers.ports import (
    CommandRefused,
    DeviceReady,
    InsulationReading,
    InvalidResponse,
    NoResponse,
    PortLost,
)
from drivers.wire import modbus_rtu
from drivers.wire.modbus_master import ModbusMaster
from drivers.wire.modbus_rtu import read_registers, write_registers
from tests.drivers.fixtures_serial import ReportLog, running_tasks, sent_frames, wait_until

RF = read_registers(3, 1000, 4)
UN_720 = "03 03 08 44 34 20 00 00 04 00 4C A9 3B"
RF_850K = "03 03 08 49 4F 85 00 00 02 00 47 1A 96"


def decode_value(answer: str) -> MeasuredValue:
    return parse_value(modbus_rtu.decode_registers(bytes.fromhex(answer)[3:-2]))


NO_VOLTAGE = MeasuredValue(None, 0, 0, 0, 76)


@pytest.mark.parametrize(
    ("answer", "insulation"),
    [
        (RF_850K, InsulationReading(850_000, 0, False, False)),
        ("03 03 08 4B 18 96 80 00 82 00 47 BF 1F", InsulationReading(10_000_000, 0, False, False)),
        ("03 03 08 47 24 10 00 05 02 00 01 DD E7", InsulationReading(42_000, 5, False, False)),
        ("03 03 08 49 4F 85 00 80 02 00 47 33 56", InsulationReading(850_000, 0, True, False)),
    ],
)
def test_a_value_is_decoded_as_in_the_manual(answer: str, insulation: InsulationReading) -> None:
    parsed = decode_value(answer)
    assert to_insulation_reading(parsed, NO_VOLTAGE, parsed.test != 0) == insulation


def test_the_voltage_between_the_lines() -> None:
    assert to_insulation_reading(
        decode_value(RF_850K), decode_value(UN_720), False
    ).voltage_v == Decimal("720.5")


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
def test_a_value_that_is_no_resistance_is_unknown(registers: tuple[int, ...]) -> None:
    assert to_insulation_reading(parse_value(registers), NO_VOLTAGE, False).resistance_ohm is None


def test_a_lost_earth_is_a_device_error_with_code_102() -> None:
    reading = to_insulation_reading(parse_value((0, 0, 0x0202, 102)), NO_VOLTAGE, False)
    assert (reading.alarm, reading.earth_lost) == (2, True)


async def test_the_emulator_answers_with_the_bytes_of_the_manual() -> None:
    monitor = EmulatedBender(resistance_ohm=850_000.0, voltage_v=lambda: 720.5)
    monitor.settings[3007] = 100
    assert monitor.handle_request(RF) == bytes.fromhex(RF_850K)
    assert monitor.handle_request(read_registers(3, 1008, 4)) == bytes.fromhex(UN_720)
    assert monitor.handle_request(read_registers(3, 1003, 1)) == bytes.fromhex(
        "03 03 02 00 47 81 B6"
    )
    monitor.resistance_ohm = 10_000_000.0
    assert monitor.handle_request(RF) == bytes.fromhex("03 03 08 4B 18 96 80 00 82 00 47 BF 1F")
    monitor.resistance_ohm = 42_000.0
    assert monitor.handle_request(RF) == bytes.fromhex("03 03 08 47 24 10 00 05 02 00 01 DD E7")
    monitor.resistance_ohm = 850_000.0
    start = write_registers(3, 8005, (0x5445,))
    assert monitor.handle_request(start) == bytes.fromhex("03 10 1F 45 00 01 16 2A")
    assert monitor.handle_request(RF) == bytes.fromhex("03 03 08 49 4F 85 00 80 02 00 47 33 56")
    assert monitor.handle_request(read_registers(3, 1, 1)) == bytes.fromhex("03 83 02 61 31")
    assert monitor.handle_request(write_registers(3, 1, (1,))) == bytes.fromhex("03 90 02 6C 01")


class MonitorBench:
    """A monitor on a line in memory, and its reports."""

    def __init__(self, **settings: float) -> None:
        self.station, device = open_memory_line()
        self.monitor = EmulatedBender(resistance_ohm=850_000.0, voltage_v=720.5)
        self.slaves = ModbusSlaveBus(device, {3: self.monitor})
        self.bus = ModbusMaster("memory", pause_ms=15, open_port=self.station.open)
        frozen_after_s = settings.get("frozen_after_s", 10.0)
        self.driver = BenderIsoCha425hv(self.bus, frozen_after_s=frozen_after_s)
        self.reports = ReportLog()

    async def run_driver(self) -> None:
        await self.driver.run(self.reports)

    def last_insulation(self) -> InsulationReading:
        return self.reports.last_report(InsulationReading)


async def test_the_settings_are_written_and_verified(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = MonitorBench()
    async with running_tasks(bench.slaves.run, bench.run_driver):
        await trio.sleep(1)
    sent = sent_frames(bench.station)
    assert sent[:2] == ["03 03 26 48 00 0A 4F 71", "03 03 26 5C 00 06 0F 70"]
    assert "03 10 0B BD 00 01 02 00 FA 9E 9E" in sent
    assert "03 10 0B BF 00 01 02 00 64 1E D4" in sent
    assert [bench.monitor.settings[register] for register in (3005, 3007, 3021, 3026)] == [
        *(250, 100, 3, 1)
    ]
    assert bench.reports.all[:2] == [
        DeviceReady("Bender isoCHA425HV software 5.00"),
        InsulationReading(850_000, 0, False, False, Decimal("720.5")),
    ]


async def test_settings_that_are_right_are_not_written(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = MonitorBench()
    bench.monitor.settings |= {3005: 250, 3007: 100, 3021: 3, 3026: 1}
    async with running_tasks(bench.slaves.run, bench.run_driver):
        await trio.sleep(10)
    assert not [sent for sent in sent_frames(bench.station) if sent.startswith("03 10")]


@pytest.mark.parametrize("before", [(600, 120), (90, 50), (60, 15), (600, 400)])
async def test_the_alarm_stays_below_the_prealarm_at_every_moment(
    autojump_clock: trio.testing.MockClock, before: tuple[int, int]
) -> None:
    bench = MonitorBench()
    bench.monitor.settings |= {3005: before[0], 3007: before[1]}
    async with running_tasks(bench.slaves.run, bench.run_driver):
        await trio.sleep(1)
    prealarm, alarm = before
    for sent in bench.station.sent:
        if sent[:4] == b"\x03\x10\x0b\xbd":
            prealarm = int.from_bytes(sent[7:9], "big")
        if sent[:4] == b"\x03\x10\x0b\xbf":
            alarm = int.from_bytes(sent[7:9], "big")
        assert alarm < prealarm
    assert (prealarm, alarm) == (250, 100)


def test_an_alarm_above_the_prealarm_is_a_wrong_setting() -> None:
    with pytest.raises(ValueError, match="below prealarm_kohm 100"):
        BenderIsoCha425hv(MonitorBench().bus, prealarm_kohm=100, alarm_kohm=100)


async def test_a_setting_that_is_not_kept_is_a_fault(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = MonitorBench()
    monkeypatch.setattr(bench.monitor, "write_register", lambda address, value: None)
    async with running_tasks(bench.slaves.run):
        with pytest.raises(InvalidResponse, match="setting 3005 is 600, wrote 250"):
            await bench.run_driver()
    assert bench.reports.all == []


async def test_an_older_firmware_is_not_asked_for_the_fast_test(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = MonitorBench()
    bench.monitor.software_version = 412
    async with running_tasks(bench.slaves.run, bench.run_driver):
        await trio.sleep(1)
        began = trio.current_time()
        bench.driver.start_self_test()
        await trio.sleep(0.2)
        assert bench.last_insulation().self_test_running
        while bench.last_insulation().self_test_running:
            await trio.sleep(0.05)
    assert bench.monitor.settings[3021] == 2
    assert 3.0 <= trio.current_time() - began <= 3.8


async def test_the_interval_follows_the_session(autojump_clock: trio.testing.MockClock) -> None:
    bench = MonitorBench()
    async with running_tasks(bench.slaves.run, bench.run_driver):
        await trio.sleep(20)
        idle = len(bench.reports.reports_of(InsulationReading))
        bench.driver.interval_s = 0.5
        await trio.sleep(2)
        bench.reports.clear()
        await trio.sleep(20)
    assert 9 <= idle <= 11
    assert 38 <= len(bench.reports.reports_of(InsulationReading)) <= 41


async def test_a_self_test_begins_at_once_and_ends_in_a_second_in_fast_mode(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = MonitorBench()
    async with running_tasks(bench.slaves.run, bench.run_driver):
        await trio.sleep(3.1)
        bench.reports.clear()
        bench.driver.start_self_test()
        await trio.sleep(1.8)
    assert "03 10 1F 45 00 01 02 54 45 A0 57" in sent_frames(bench.station)
    testing = [report.self_test_running for report in bench.reports.reports_of(InsulationReading)]
    assert testing[0]
    assert not testing[-1]
    assert bench.last_insulation().alarm == 0


async def test_a_failed_self_test_ends_in_a_device_error(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = MonitorBench()
    bench.monitor.test_fails = True
    async with running_tasks(bench.slaves.run, bench.run_driver):
        await trio.sleep(1)
        bench.driver.start_self_test()
        await trio.sleep(3)
    assert (bench.last_insulation().self_test_running, bench.last_insulation().alarm) == (False, 2)


async def test_a_self_test_that_has_not_begun_is_no_passed_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = MonitorBench()
    async with running_tasks(bench.slaves.run):

        async def order() -> None:
            await trio.sleep(1)
            bench.monitor.fast_test_s = 0.0
            bench.reports.clear()
            bench.driver.start_self_test()

        async with running_tasks(order):
            with pytest.raises(InvalidResponse, match="self-test did not begin"):
                await bench.run_driver()
    assert all(reading.self_test_running for reading in bench.reports.reports_of(InsulationReading))


async def test_a_self_test_that_passed_unseen_is_ordered_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The process did not run between the order and the next poll; the test takes 1 s."""
    bench = MonitorBench()
    async with running_tasks(bench.slaves.run, bench.run_driver):
        await trio.sleep(1)
        bench.driver.start_self_test()
        await trio.sleep(0.03)
        autojump_clock.jump(5)
        await trio.sleep(0.6)
        assert bench.last_insulation().self_test_running
        await trio.sleep(1.5)
        assert not bench.last_insulation().self_test_running
    orders = [frame for frame in sent_frames(bench.station) if frame.startswith("03 10 1F 45")]
    assert len(orders) == 2


async def test_a_self_test_without_end_is_a_fault(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = MonitorBench()
    bench.monitor.fast_test_s = 3600
    async with running_tasks(bench.slaves.run):
        bench.driver.start_self_test()
        with pytest.raises(InvalidResponse, match="self-test is not over after 30"):
            await bench.run_driver()


@pytest.mark.parametrize(
    ("resistance_ohm", "alarm"), [(10e6, 0), (251e3, 0), (249e3, 1), (99e3, 5), (0.0, 5)]
)
async def test_the_alarm_follows_the_limits(
    autojump_clock: trio.testing.MockClock, resistance_ohm: float, alarm: int
) -> None:
    bench = MonitorBench()
    bench.monitor.resistance_ohm = resistance_ohm
    async with running_tasks(bench.slaves.run, bench.run_driver):
        await trio.sleep(1)
    assert (bench.last_insulation().resistance_ohm, bench.last_insulation().alarm) == (
        resistance_ohm,
        alarm,
    )


async def test_faults_of_its_own_are_reported(autojump_clock: trio.testing.MockClock) -> None:
    bench = MonitorBench()
    bench.driver.interval_s = 0.5
    async with running_tasks(bench.slaves.run, bench.run_driver):
        await trio.sleep(1)
        bench.monitor.device_error = True
        await trio.sleep(1)
        assert (bench.last_insulation().alarm, bench.last_insulation().earth_lost) == (2, False)
        bench.monitor.device_error, bench.monitor.earth_lost = False, True
        await trio.sleep(1)
        assert (bench.last_insulation().alarm, bench.last_insulation().earth_lost) == (2, True)
        bench.monitor.earth_lost, bench.monitor.alarm = False, 4
        await trio.sleep(1)
        assert bench.last_insulation().alarm == 4
        bench.monitor.settings[3026] = 0
        await trio.sleep(1)
        assert bench.last_insulation().resistance_ohm is None


async def test_three_lost_polls_are_a_lost_monitor_within_two_seconds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = MonitorBench()
    bench.driver.interval_s = 0.5
    async with running_tasks(bench.slaves.run):

        async def fall_silent() -> None:
            await trio.sleep(5)
            bench.monitor.faults.silent = True

        async with running_tasks(fall_silent):
            with pytest.raises(NoResponse, match="insulation monitor 3 on memory: 3 polls lost"):
                await bench.run_driver()
    assert trio.current_time() - 5 < 2


async def test_two_lost_polls_are_not_yet_a_fault(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = MonitorBench()
    bench.driver.interval_s = 0.5
    async with running_tasks(bench.slaves.run, bench.run_driver):
        for _ in range(3):
            await trio.sleep(3.01)
            bench.monitor.faults.silent = True
            await trio.sleep(0.8)
            bench.monitor.faults.silent = False
        bench.reports.clear()
        await trio.sleep(2)
    assert bench.last_insulation().resistance_ohm == 850_000


async def test_a_value_may_stay_unchanged_during_a_self_test(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = MonitorBench()
    bench.monitor.fast_test_s = 20
    async with running_tasks(bench.slaves.run, bench.run_driver):
        await trio.sleep(3)
        bench.driver.start_self_test()
        await trio.sleep(0.5)
        bench.monitor.frozen = True
        await trio.sleep(19)
        assert bench.last_insulation().self_test_running
        bench.monitor.frozen = False
        await trio.sleep(3)
        assert not bench.last_insulation().self_test_running


async def test_a_refusing_monitor_is_lost_too(autojump_clock: trio.testing.MockClock) -> None:
    bench = MonitorBench()
    async with running_tasks(bench.slaves.run):

        async def refuse() -> None:
            await trio.sleep(5)
            bench.monitor.faults.exception = modbus_rtu.ExceptionCode.DEVICE_FAILURE

        async with running_tasks(refuse):
            with pytest.raises(CommandRefused, match="3 polls lost"):
                await bench.run_driver()


async def test_a_frozen_value_is_a_fault(autojump_clock: trio.testing.MockClock) -> None:
    bench = MonitorBench()
    async with running_tasks(bench.slaves.run):

        async def freeze() -> None:
            await trio.sleep(5)
            bench.monitor.frozen = True

        async with running_tasks(freeze):
            with pytest.raises(InvalidResponse, match="value not updated"):
                await bench.run_driver()
    assert 15 < trio.current_time() < 20


async def test_a_model_without_update_counter_may_stay_unchanged(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = MonitorBench(frozen_after_s=0)
    bench.monitor.frozen = True
    async with running_tasks(bench.slaves.run, bench.run_driver):
        await trio.sleep(60)
    assert len(bench.reports.reports_of(InsulationReading)) >= 29
    assert not [sent for sent in sent_frames(bench.station) if sent.startswith("03 03 04 08")]


async def test_two_monitors_on_a_pty(tmp_path: Path) -> None:
    good, bad = EmulatedBender(resistance_ohm=1e6), EmulatedBender(resistance_ohm=42_000.0)
    first, second = ReportLog(), ReportLog()
    with Pty(tmp_path / "insulation") as device:
        bus = ModbusMaster(device.path, baud=19_200, parity="E", pause_ms=1)
        driver_1 = BenderIsoCha425hv(bus, interval_s=0.1)
        driver_2 = BenderIsoCha425hv(bus, address=4, interval_s=0.1)
        async with running_tasks(ModbusSlaveBus(device, {3: good, 4: bad}).run):
            async with running_tasks(lambda: driver_1.run(first), lambda: driver_2.run(second)):
                await wait_until(
                    lambda: (
                        first.reports_of(InsulationReading) and second.reports_of(InsulationReading)
                    )
                )
            device.unplug()
            with pytest.raises(PortLost):
                await driver_1.run(first)
        bus.close()
    assert first.last_report(InsulationReading).resistance_ohm == 1_000_000
    assert second.last_report(InsulationReading) == InsulationReading(
        42_000, 5, False, False, Decimal("0.0")
    )
