"""The Acrel meter: numbers of the manual, driver, emulator."""

from decimal import Decimal
from pathlib import Path

import pytest
import trio
import trio.testing

from drivers.emulators.acrel_djsf1352 import EmulatedAcrel
from drivers.emulators.memory_port import open_memory_line
from drivers.emulators.modbus_slave import ModbusSlaveBus
from drivers.emulators.pty import Pty
from drivers.meters.acrel_djsf1352 import AcrelDjsf1352, parse_registers, scale_value, to_signed
from drivers.ports import (
    CommandRefused,
    DeviceReady,
    InvalidResponse,
    MeterReading,
    NoResponse,
    PortLost,
)
from drivers.wire import modbus_rtu
from drivers.wire.modbus_master import ModbusMaster
from drivers.wire.modbus_rtu import Response, find_response, read_registers
from tests.drivers.fixtures_serial import (
    ReportLog,
    bus_with_units,
    running_tasks,
    sent_frames,
    wait_until,
)

POLL = read_registers(1, 0, 20)
POLLED = bytes.fromhex(
    "01 03 28 1C 25 00 02 09 C4 00 02 00 00 01 38 00 00 00 00 07 09 00 05 00 00 00 00"
    "00 12 D6 87 00 00 00 2A 00 01 01 F4 00 00 00 00 A2 CB"
)
FLOATS = bytes.fromhex("01 03 0C 44 34 20 00 43 7A 00 00 43 34 20 00 5A B2")
READING = MeterReading(
    energy_wh=Decimal(1_234_567),
    energy_reverse_wh=Decimal(42),
    voltage_v=Decimal("720.5"),
    current_a=Decimal("250.0"),
    power_w=Decimal(180_100),
    temperature_c=Decimal("31.2"),
    broken_wire=False,
)


def meter_of_manual() -> EmulatedAcrel:
    """A meter with the values of the manual's telegrams."""
    meter = EmulatedAcrel(
        voltage_v=Decimal("720.5"),
        current_a=Decimal(250),
        energy_wh=Decimal(1_234_567),
        energy_reverse_wh=lambda: Decimal(42),
    )
    meter.temperature_c = 31.2
    return meter


def test_one_poll_holds_the_whole_reading_exactly() -> None:
    answer = find_response(POLLED, POLL)
    assert isinstance(answer, Response)
    reading = parse_registers(answer.values, Decimal(1))
    assert reading == READING
    assert str(reading.voltage_v) == "720.5"
    assert str(reading.power_w) == "180100"
    assert str(reading.energy_wh) == "1234567"


@pytest.mark.parametrize(
    ("mantissa", "exponent", "value"),
    [(0, 3, "0"), (7205, 2, "720.5"), (1234, 0, "1.234"), (1801, 5, "180100"), (-25, 2, "-2.5")],
)
def test_a_value_has_the_decimals_of_its_exponent(mantissa: int, exponent: int, value: str) -> None:
    assert str(scale_value(mantissa, exponent)) == value


def test_an_exponent_the_meter_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="65535"):
        scale_value(1, 65_535)


def test_registers_are_signed_in_twos_complement() -> None:
    assert [to_signed(word) for word in (0, 0x7FFF, 0x8000, 0xFFFF)] == [0, 32_767, -32_768, -1]


def test_the_energy_unit_scales_both_registers() -> None:
    registers = modbus_rtu.decode_registers(POLLED[3:-2])
    reading = parse_registers(registers, Decimal("0.1"))
    assert (str(reading.energy_wh), str(reading.energy_reverse_wh)) == ("123456.7", "4.2")


async def test_the_emulator_answers_with_the_bytes_of_the_manual() -> None:
    meter = meter_of_manual()
    assert meter.handle_request(POLL) == POLLED
    assert meter.handle_request(read_registers(1, 50, 6)) == FLOATS
    assert meter.handle_request(read_registers(1, 35, 1)) == bytes.fromhex("01 03 02 01 03 F9 D5")
    assert meter.handle_request(read_registers(1, 20, 1)) == bytes.fromhex("01 83 02 C0 F1")
    clock = modbus_rtu.write_registers(1, 30, (0x1703, 0x130E, 0x1800))
    assert meter.handle_request(clock) == bytes.fromhex("01 10 00 1E 00 03 E0 0E")
    assert meter.clock[:3] == [0x1703, 0x130E, 0x1800]
    assert meter.handle_request(modbus_rtu.read_coils(1, 0, 1))[1:3] == b"\x81\x01"


async def test_an_idle_meter_answers_as_the_real_one_measured() -> None:
    meter = EmulatedAcrel(energy_wh=21_018)
    meter.rated_a = 250
    assert meter.handle_request(read_registers(1, 12, 8)) == bytes.fromhex(
        "01 03 10 00 00 52 1A 00 00 00 00 00 01 00 FA 00 00 00 00 59 85"
    )
    assert meter.handle_request(read_registers(1, 8, 2)) == bytes.fromhex(
        "01 03 04 00 00 00 05 3A 30"
    )


async def test_the_emulator_integrates_power_both_ways(
    autojump_clock: trio.testing.MockClock,
) -> None:
    meter = EmulatedAcrel(voltage_v=400.0, current_a=90.0)
    meter.integrate_energy()
    await trio.sleep(360)
    meter.integrate_energy()
    meter.current_a = -9.0
    await trio.sleep(3600)
    registers = modbus_rtu.decode_registers(meter.handle_request(POLL)[3:-2])
    reading = parse_registers(registers, Decimal(1))
    assert reading.energy_wh == reading.energy_reverse_wh == 3600
    assert (str(reading.current_a), str(reading.power_w)) == ("-9.0", "-3600")


async def test_two_meters_on_one_line_are_polled_each_at_its_own_interval(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bus, slaves, _ = bus_with_units(
        {1: EmulatedAcrel(voltage_v=400), 2: EmulatedAcrel(voltage_v=800)}
    )
    first, second = AcrelDjsf1352(bus), AcrelDjsf1352(bus, address=2, interval_s=0.5)
    idle, busy = ReportLog(), ReportLog()
    async with running_tasks(slaves.run, lambda: first.run(idle), lambda: second.run(busy)):
        await trio.sleep(10.2)
    assert idle.all[0] == DeviceReady("Acrel DJSF1352-RN software 1.03")
    assert {reading.voltage_v for reading in idle.reports_of(MeterReading)} == {Decimal(400)}
    assert {reading.voltage_v for reading in busy.reports_of(MeterReading)} == {Decimal(800)}
    assert len(idle.reports_of(MeterReading)) == 11
    assert len(busy.reports_of(MeterReading)) == 21


async def test_the_drivers_first_bytes_are_those_of_the_manual(
    autojump_clock: trio.testing.MockClock,
) -> None:
    station, device = open_memory_line()
    bus = ModbusMaster("memory", open_port=station.open)
    slaves = ModbusSlaveBus(device, {1: meter_of_manual()})
    reports = ReportLog()
    async with running_tasks(slaves.run, lambda: AcrelDjsf1352(bus).run(reports)):
        await trio.sleep(0.1)
    assert sent_frames(station) == ["01 03 00 23 00 01 75 C0", "01 03 00 00 00 14 45 C5"]
    assert reports.reports_of(MeterReading) == [READING]


async def test_five_failed_polls_are_a_lost_meter_and_four_are_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    meter = EmulatedAcrel()
    bus, slaves, device = bus_with_units({1: meter})
    reports = ReportLog()
    async with running_tasks(slaves.run):

        async def fall_silent() -> None:
            await trio.sleep(2.5)
            meter.faults.silent = True
            await trio.sleep(4.0)  # four polls of 0.91 s fail
            meter.faults.silent = False
            await trio.sleep(3.0)
            meter.faults.silent = True
            reports.clear()

        async with running_tasks(fall_silent):
            with pytest.raises(NoResponse, match=r"meter 1 on memory: 5 polls failed"):
                await AcrelDjsf1352(bus).run(reports)
    assert trio.current_time() == pytest.approx(9.5 + 5, abs=1.0)
    assert reports.all == []
    assert device.sent


async def test_a_refusing_meter_is_lost_after_five_polls_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    meter = EmulatedAcrel()
    bus, slaves, _ = bus_with_units({1: meter})
    async with running_tasks(slaves.run):

        async def break_down() -> None:
            await trio.sleep(0.5)
            meter.faults.exception = modbus_rtu.ExceptionCode.DEVICE_FAILURE

        async with running_tasks(break_down):
            with pytest.raises(CommandRefused, match=r"5 polls failed.*device failure"):
                await AcrelDjsf1352(bus).run(ReportLog())


async def test_a_register_that_goes_back_is_a_fault_until_it_has_caught_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    meter = EmulatedAcrel(energy_wh=1000)
    bus, slaves, _ = bus_with_units({1: meter})
    driver, reports = AcrelDjsf1352(bus), ReportLog()
    async with running_tasks(slaves.run):
        with trio.move_on_after(1.5):
            await driver.run(reports)
        meter.energy_offset_wh = -1
        with pytest.raises(InvalidResponse, match="went back from 1000 to 999 Wh"):
            await driver.run(reports)
        meter.energy_wh = 1001
        with trio.move_on_after(1.5):
            await driver.run(reports)
    assert {reading.energy_wh for reading in reports.reports_of(MeterReading)} == {Decimal(1000)}
    assert driver.energy_last_wh == 1000


async def test_a_broken_wire_is_reported(autojump_clock: trio.testing.MockClock) -> None:
    meter = EmulatedAcrel()
    meter.broken_wire = True
    bus, slaves, _ = bus_with_units({1: meter})
    reports = ReportLog()
    async with running_tasks(slaves.run, lambda: AcrelDjsf1352(bus).run(reports)):
        await trio.sleep(0.5)
    assert reports.last_report(MeterReading).broken_wire


async def test_over_a_pty_with_noise_and_a_pulled_plug(tmp_path: Path) -> None:
    meter = EmulatedAcrel(voltage_v=720.5, current_a=10.0, energy_wh=Decimal(777))
    meter.faults.noise = b"\x00\x01\x03"
    reports = ReportLog()
    with Pty(tmp_path / "meters") as device:
        bus = ModbusMaster(device.path)
        driver = AcrelDjsf1352(bus, interval_s=0.05)
        async with running_tasks(ModbusSlaveBus(device, {1: meter}).run):
            async with running_tasks(lambda: driver.run(reports)):
                await wait_until(lambda: len(reports.reports_of(MeterReading)) >= 3)
            device.unplug()
            with trio.fail_after(5), pytest.raises(PortLost):
                await driver.run(reports)
            device.plug_in()
            reports.clear()
            async with running_tasks(lambda: driver.run(reports)):
                await wait_until(lambda: reports.reports_of(MeterReading))
        bus.close()
    assert reports.reports_of(DeviceReady)
    assert reports.last_report(MeterReading).energy_wh == 777
    assert reports.last_report(MeterReading).voltage_v == Decimal("720.5")
