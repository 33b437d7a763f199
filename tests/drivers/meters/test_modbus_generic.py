"""Generic Modbus meter: literal bytes, every key of its table, its emulator."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from drivers.emulators.memory_port import open_memory_line
from drivers.emulators.modbus_generic_meter import EmulatedGenericMeter
from drivers.emulators.modbus_slave import ModbusSlaveBus
from drivers.emulators.pty import Pty
from drivers.meters import modbus_generic
from drivers.meters.modbus_generic import GenericModbusMeter, Settings, adjacent_blocks
from drivers.ports import CommandRefused, DeviceReady, InvalidResponse, MeterReading, NoResponse
from drivers.wire import modbus_rtu
from drivers.wire.modbus_master import ModbusMaster
from drivers.wire.serial_port import SerialPort
from station.config.hardware import parse_device
from station.profiles.toml_tables import TableError
from tests.drivers.fixtures_serial import (
    ReportLog,
    bus_with_units,
    running_tasks,
    sent_frames,
    wait_until,
)

# Eastron SDM230: input registers, float32, high word first, energy in kWh.
EASTRON: dict[str, Any] = {
    "function": 4,
    "energy": {"register": 0x48, "type": "float32", "unit": "kWh"},
    "energy_reverse": {"register": 0x4A, "type": "float32", "unit": "kWh"},
    "voltage": {"register": 0, "type": "float32"},
    "current": {"register": 6, "type": "float32"},
    "power": {"register": 12, "type": "float32"},
}
EASTRON_BYTES = {
    "01 04 00 00 00 02 71 CB": "01 04 04 43 66 33 33 5A FA",  # 230.2 V
    "01 04 00 06 00 02 91 CA": "01 04 04 41 20 00 00 EE 72",  # 10 A
    "01 04 00 0C 00 02 B1 C8": "01 04 04 45 0F E0 00 97 4B",  # 2302 W
    "01 04 00 48 00 04 71 DF": "01 04 08 42 F6 E9 79 3F 80 00 00 B1 24",  # 123.456 and 1 kWh
}
# SunSpec: holding registers, integers with scale factors; two quantities share one block.
SUNSPEC: dict[str, Any] = {
    "energy": {"register": 100, "type": "uint32", "scale_register": 102},
    "voltage": {"register": 103, "type": "uint16", "scale_register": 105},
    "current": {"register": 104, "type": "int16", "scale_register": 106},
}
SUNSPEC_REQUEST = "01 03 00 64 00 07 45 D7"
SUNSPEC_RESPONSE = "01 03 0E 00 12 D6 87 00 01 10 77 FF 06 FF FF FF FE F8 07"


def generic_settings(**table: Any) -> Settings:
    required = {"port": "/dev/null", "driver": "modbus_generic"}
    return msgspec.convert({**required, **table}, Settings)


def with_crc(text: str) -> str:
    """The frame with its CRC recomputed, to check the CRC of a literal frame."""
    return modbus_rtu.append_crc(bytes.fromhex(text)[:-2]).hex(" ").upper()


async def poll_once(settings: Settings, frames: dict[str, str]) -> MeterReading:
    """One poll of a meter that responds to literal requests with literal bytes."""
    station, device = open_memory_line()
    meter = GenericModbusMeter(ModbusMaster("memory", open_port=station.open), 1, settings)

    async def respond() -> None:
        while True:
            request = (await device.receive()).hex(" ").upper()
            await device.send(bytes.fromhex(frames[request]))

    async with running_tasks(respond):
        return await meter.read_values()
    raise AssertionError


@pytest.mark.parametrize(
    "frame",
    [*EASTRON_BYTES, *EASTRON_BYTES.values(), SUNSPEC_REQUEST, SUNSPEC_RESPONSE],
)
def test_the_literal_frames_are_frames(frame: str) -> None:
    assert with_crc(frame) == frame


async def test_a_meter_with_fixed_registers_is_read_exactly(
    autojump_clock: trio.testing.MockClock,
) -> None:
    reading = await poll_once(generic_settings(**EASTRON), EASTRON_BYTES)
    assert reading == MeterReading(
        energy_wh=Decimal(123_456),
        energy_reverse_wh=Decimal(1000),
        voltage_v=Decimal("230.2"),
        current_a=Decimal(10),
        power_w=Decimal(2302),
        temperature_c=None,
        broken_wire=False,
    )


async def test_scale_factors_are_read_with_their_values(
    autojump_clock: trio.testing.MockClock,
) -> None:
    reading = await poll_once(generic_settings(**SUNSPEC), {SUNSPEC_REQUEST: SUNSPEC_RESPONSE})
    assert reading.energy_wh == 12_345_670
    assert reading.voltage_v == Decimal("421.5")
    assert reading.current_a == Decimal("-2.5")
    assert reading.power_w == Decimal("-1053.75")  # voltage times current: it has no registers
    assert reading.energy_reverse_wh == 0


@pytest.mark.parametrize(
    ("ranges", "blocks"),
    [
        ([range(4, 6), range(2)], [range(2), range(4, 6)]),  # a gap is not read
        ([range(2, 4), range(2), range(4, 5)], [range(5)]),
        ([range(4), range(1, 2)], [range(4)]),
        ([range(60), range(60, 120)], [range(60), range(60, 120)]),  # too long for one
    ],
)
def test_adjacent_registers_are_read_in_one_request(
    ranges: list[range], blocks: list[range]
) -> None:
    assert adjacent_blocks(ranges) == blocks


@pytest.mark.parametrize("value_type", ["int16", "uint16", "int32", "uint32", "int64", "float32"])
@pytest.mark.parametrize("word_order", ["high_first", "low_first"])
@pytest.mark.parametrize("byte_order", ["high_first", "low_first"])
async def test_driver_and_emulator_agree_on_every_format(
    autojump_clock: trio.testing.MockClock, value_type: str, word_order: str, byte_order: str
) -> None:
    settings = generic_settings(
        word_order=word_order,
        byte_order=byte_order,
        energy={"register": 10, "type": value_type, "unit": "kWh", "scale": "0.5"},
        voltage={"register": 20, "type": value_type, "scale_register": 40},
        current={"register": 30, "type": value_type, "unit": "mA", "scale": 10},
        temperature={"register": 50, "type": value_type},
    )
    meter = EmulatedGenericMeter(
        settings,
        {
            "energy": Decimal(1500),
            "voltage": lambda: Decimal("412.5"),
            "current": Decimal("1.25"),
            "temperature": Decimal(31),
        },
    )
    meter.scale_exponents[40] = -1
    bus, slaves, _ = bus_with_units({1: meter})
    async with running_tasks(slaves.run):
        reading = await GenericModbusMeter(bus, 1, settings).read_values()
    assert (reading.energy_wh, reading.voltage_v, reading.current_a, reading.temperature_c) == (
        Decimal(1500),
        Decimal("412.5"),
        Decimal("1.25"),
        Decimal(31),
    )


async def test_it_reports_ready_then_a_reading_in_each_poll(
    autojump_clock: trio.testing.MockClock,
) -> None:
    settings = generic_settings(**EASTRON, idle_interval_s=0.5)
    meters = {
        address: EmulatedGenericMeter(settings, {"energy": Decimal(address)}) for address in (1, 2)
    }
    bus, slaves, _ = bus_with_units(meters)
    reports = ReportLog()
    async with running_tasks(slaves.run, lambda: GenericModbusMeter(bus, 2, settings).run(reports)):
        await trio.sleep(2.4)
    assert reports.all[0] == DeviceReady("generic Modbus meter 2")
    assert {reading.energy_wh for reading in reports.reports_of(MeterReading)} == {Decimal(2)}
    assert len(reports.reports_of(MeterReading)) == 5


async def test_a_register_that_goes_back_is_a_lost_meter(
    autojump_clock: trio.testing.MockClock,
) -> None:
    settings = generic_settings(**EASTRON)
    meter = EmulatedGenericMeter(settings, {"energy": Decimal(2000)})
    bus, slaves, _ = bus_with_units({1: meter})
    driver = GenericModbusMeter(bus, 1, settings)
    async with running_tasks(slaves.run):
        with trio.move_on_after(1.5):
            await driver.run(ReportLog())
        meter.values["energy"] = Decimal(1000)
        with pytest.raises(InvalidResponse, match="went back from 2000 to 1000 Wh"):
            await driver.run(ReportLog())


@pytest.mark.parametrize(
    ("registers", "message"),
    [
        ("01 04 04 7F C0 00 00", "voltage: nan is not a finite number"),
        ("01 04 04 7F 80 00 00", "voltage: inf is not a finite number"),
    ],
)
async def test_a_value_that_is_no_number_is_refused(
    autojump_clock: trio.testing.MockClock, registers: str, message: str
) -> None:
    response = modbus_rtu.append_crc(bytes.fromhex(registers)).hex(" ")
    frames = {**EASTRON_BYTES, "01 04 00 00 00 02 71 CB": response}
    with pytest.RaisesGroup(
        pytest.RaisesExc(InvalidResponse, match=f"meter 1 on memory: {message}")
    ):
        await poll_once(generic_settings(**EASTRON), frames)


async def test_a_scale_factor_that_is_not_implemented_is_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    settings = generic_settings(**SUNSPEC)
    meter = EmulatedGenericMeter(settings)
    meter.scale_exponents[105] = -32_768
    bus, slaves, _ = bus_with_units({1: meter})
    async with running_tasks(slaves.run):
        with pytest.raises(InvalidResponse, match="voltage: scale factor -32768 is not within"):
            await GenericModbusMeter(bus, 1, settings).read_values()


@pytest.mark.parametrize(
    ("fault", "value", "error"),
    [
        ("silent", True, NoResponse),
        ("bad_crc", True, NoResponse),
        ("truncated", 4, NoResponse),
        ("exception", modbus_rtu.ExceptionCode.DEVICE_FAILURE, CommandRefused),
    ],
)
async def test_five_failed_polls_are_a_lost_meter(
    autojump_clock: trio.testing.MockClock, fault: str, value: Any, error: type[Exception]
) -> None:
    settings = generic_settings(**EASTRON)
    meter = EmulatedGenericMeter(settings)
    bus, slaves, _ = bus_with_units({1: meter})

    async def inject_fault() -> None:
        await trio.sleep(0.5)
        setattr(meter.faults, fault, value)

    async with running_tasks(slaves.run, inject_fault):
        with pytest.raises(error, match="meter 1 on memory: 5 polls failed"):
            await GenericModbusMeter(bus, 1, settings).run(ReportLog())


async def test_noise_before_a_response_is_skipped(autojump_clock: trio.testing.MockClock) -> None:
    settings = generic_settings(**EASTRON)
    meter = EmulatedGenericMeter(settings, {"voltage": Decimal(400)})
    meter.faults.noise = b"\x01\x04\x00"
    bus, slaves, _ = bus_with_units({1: meter})
    async with running_tasks(slaves.run):
        reading = await GenericModbusMeter(bus, 1, settings).read_values()
    assert reading.voltage_v == 400


async def test_the_emulator_refuses_what_the_meter_does_not_have() -> None:
    meter = EmulatedGenericMeter(generic_settings(**EASTRON))
    assert meter.handle_request(modbus_rtu.read_input_registers(1, 2, 2))[1:3] == b"\x84\x02"
    assert meter.handle_request(modbus_rtu.read_registers(1, 0, 2))[1:3] == b"\x83\x01"


async def test_its_requests_use_the_configured_function(
    autojump_clock: trio.testing.MockClock,
) -> None:
    settings = generic_settings(**EASTRON)
    station, device = open_memory_line()
    bus = ModbusMaster("memory", open_port=station.open)
    slaves = ModbusSlaveBus(device, {1: EmulatedGenericMeter(settings)})
    async with running_tasks(slaves.run):
        await GenericModbusMeter(bus, 1, settings).read_values()
    assert sent_frames(station) == list(EASTRON_BYTES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"energy": None}, "energy needs a table, got nothing"),
        ({"voltage": {"register": 0}}, "voltage type is missing"),
        (
            {"voltage": {"regster": 0, "type": "int16"}},
            "voltage regster is not a key; did you mean register?",
        ),
        (
            {"current": {"register": 0, "type": "int16", "unit": "kA"}},
            'current unit "kA" is not one of "mA", "A"',
        ),
        (
            {"voltage": {"register": 65_535, "type": "float32"}},
            "voltage register 65535 is too high for float32",
        ),
        (
            {"voltage": {"register": 0, "type": "int16", "scale": 0}},
            "voltage scale is 0; every value would be 0",
        ),
    ],
)
def test_a_wrong_key_is_named_with_its_table(options: dict[str, Any], message: str) -> None:
    table = {"driver": "modbus_generic", "port": "/dev/null", **EASTRON, **options}
    with pytest.raises(TableError) as refused:
        parse_device("meter", table)
    assert str(refused.value) == f"[hardware.meter] {message}"


def test_open_builds_a_meter_for_each_evse() -> None:
    settings = generic_settings(**EASTRON, addresses=[7, 9], port="/dev/null")
    opened = modbus_generic.open(settings, (1, 2), SerialPort.open)
    meters = [opened.devices[evse_id] for evse_id in (1, 2)]
    assert [isinstance(meter, GenericModbusMeter) and meter.address for meter in meters] == [7, 9]


async def test_over_a_pty(tmp_path: Path) -> None:
    settings = generic_settings(**EASTRON, idle_interval_s=0.05)
    reports = ReportLog()
    meter = EmulatedGenericMeter(settings, {"energy": Decimal(777)})
    with Pty(tmp_path / "meters") as device:
        bus = ModbusMaster(device.path)
        driver = GenericModbusMeter(bus, 1, settings)
        async with running_tasks(
            ModbusSlaveBus(device, {1: meter}).run, lambda: driver.run(reports)
        ):
            await wait_until(lambda: len(reports.reports_of(MeterReading)) >= 2)
        bus.close()
    assert reports.last_report(MeterReading).energy_wh == 777
