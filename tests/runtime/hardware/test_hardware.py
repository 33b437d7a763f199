"""`Hardware`: settings, lost devices, cards, the end of the program, real ptys."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from drivers.catalog import driver_names
from drivers.emulators.ev import Ev
from drivers.emulators.memory_port import MemoryPort
from drivers.emulators.process import run_emulated_station
from drivers.emulators.station import EmulatedStation
from drivers.io import icpdas_m7055
from drivers.meters import acrel_djsf1352, modbus_generic
from journal.events import IdToken
from journal.observations import (
    CableReported,
    ContactorReported,
    DeviceFaulted,
    IdTokenPresented,
    MeterRead,
)
from station.config.hardware import check_hardware, parse_device, parse_hardware
from station.config.station_toml import DeviceConfig
from station.core.blocks.measured_variables import DEVICE_SOURCES
from station.core.desired import DesiredState
from station.core.device_model.model import DeviceModel
from station.core.display_situation import DisplaySituation, EvseSituation, SessionFigures, Words
from station.profiles import load_profile
from station.profiles.toml_tables import TableError
from station.runtime.hardware import assembly
from station.runtime.hardware.hardware import Hardware
from tests.runtime.fixtures_hardware import (
    HardwareBench,
    run_in_memory,
    running_hardware,
    wait_until_ready,
    world_violations,
)

TABLES = {
    "reader": DeviceConfig("reader", "pn532", "/dev/ttyUSB0", {}),
    "meter": DeviceConfig("meter", "acrel_djsf1352", "/dev/ttyUSB1", {"addresses": [7, 8]}),
    "io": DeviceConfig("io", "icpdas_m7055", "/dev/ttyUSB2", {"baud": 38_400}),
    "insulation": DeviceConfig("insulation", "bender_isocha425hv", "/dev/ttyUSB3", {}),
    "secc": DeviceConfig("secc", "advantics", "can0", {"interface": "socketcan"}),
    "modules": DeviceConfig("modules", "infypower", "can1", {"groups": [[0, 1], [2, 3]]}),
}


# --- Settings ------------------------------------------------------------------------------------


def test_the_tables_of_station_toml_become_settings() -> None:
    settings = parse_hardware(TABLES)
    assert isinstance(settings.meter, acrel_djsf1352.Settings)
    assert settings.meter.addresses == (7, 8)
    assert isinstance(settings.io, icpdas_m7055.Settings)
    assert settings.io.baud == 38_400
    assert settings.modules.groups == ((0, 1), (2, 3))
    assert settings.secc.heartbeat_ms == 200
    assert settings.in_field
    assert settings.display is None


def tables_without(name: str) -> dict[str, DeviceConfig]:
    return {key: table for key, table in TABLES.items() if key != name}


def tables_with(name: str, **options: Any) -> dict[str, DeviceConfig]:
    table = TABLES[name]
    return {**TABLES, name: DeviceConfig(name, table.driver, table.port, options)}


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (tables_without("io"), "[hardware.io] is missing; a charge needs it"),
        (
            tables_with("meter", adresses=[1, 2]),
            "[hardware.meter] adresses is not a key; did you mean addresses?",
        ),
        (
            tables_with("io", feedback_ms="fast"),
            "[hardware.io] feedback_ms needs a whole number, got text in quotes",
        ),
        (
            {**TABLES, "metre": TABLES["meter"]},
            "[hardware] metre is not a device; did you mean meter?",
        ),
    ],
)
def test_a_wrong_table_is_named(tables: dict[str, DeviceConfig], message: str) -> None:
    with pytest.raises(TableError) as refused:
        parse_hardware(tables)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("meter", {"addresses": [1]}, "addresses: 1 for 2 EVSEs"),
        ("meter", {"addresses": [1, 1]}, "addresses: 1 is given twice. Each EVSE has its own"),
        (
            "meter",
            {"addresses": [1, 300]},
            "[hardware.meter] addresses 2: needs a whole number of at most 247",
        ),
        (
            "meter",
            {"addresses": [0, 1]},
            "[hardware.meter] addresses 1: needs a whole number of at least 1",
        ),
        ("meter", {"parity": "X"}, 'parity "X" is not one of "N", "E", "O"'),
        ("meter", {"baud": 0}, "baud needs a whole number of at least 300"),
        ("meter", {"timeout_ms": -1}, "timeout_ms needs a whole number of at least 1"),
        ("meter", {"silent_s": 0.5}, "idle_interval_s 1.0 must be below silent_s 0.5"),
        ("meter", {"energy_unit_wh": 0}, "energy_unit_wh 0 must be above 0"),
        ("io", {"addresses": [5]}, "addresses: 1 for 2 I/O modules"),
        ("io", {"addresses": [5, 6, 7]}, "addresses: 3 for 2 I/O modules"),
        ("io", {"wiring": {"door": "A4"}}, "wiring door is not a key; did you mean door_closed?"),
        ("io", {"wiring": {"door_closed": "E4"}}, 'wiring door_closed: "E4" is not a channel'),
        ("io", {"wiring": {"door_closed": "A8"}}, 'wiring door_closed: "A8" is not a channel'),
        ("io", {"wiring": {"door_closed": 4}}, "wiring door_closed needs text in quotes"),
        (
            "io",
            {"wiring": {"door_closed": "A0"}},
            "wiring door_closed: A0 is given twice, for emergency_stop_loop_closed and door_closed",
        ),
        (
            "io",
            {"wiring": {"bleeder": ["A1", "A0"]}},
            "wiring bleeder: A0 is given twice, for contactors of EVSE 1 and bleeder of EVSE 2",
        ),
        ("io", {"wiring": {"contactors": ["A0"]}}, "wiring contactors: 1 for 2 EVSEs"),
        (
            "io",
            {"wiring": {"stop_button": ["B6", "B7", "C0"]}},
            "wiring stop_button: 3 for 2 EVSEs",
        ),
        ("io", {"wiring": {"contactors": ["A0", "none"]}}, "contactors: none is not allowed"),
        (
            "io",
            {"wiring": {"emergency_stop_loop_closed": "none"}},
            "emergency_stop_loop_closed: none is not allowed; no session is safe without it",
        ),
        (
            "io",
            {"wiring": {"contactors_closed": ["A1", "A2"], "plug_in_holster": ["none", "none"]}},
            "A2 is not on the I/O module of the contactors of EVSE 2, B0",
        ),
        (
            "io",
            {"wiring": {"cooling_flow_good": "D5"}},
            "wiring no wire is on I/O module C; modules have the letters",
        ),
        ("io", {"addresses": [5, 5]}, "addresses: 5 is given twice"),
        ("io", {"watchdog_ms": 30_000}, "watchdog_ms needs a whole number of at most 25500"),
        ("io", {"stale_ms": 50}, "cycle_ms 100 must be below stale_ms 50"),
        ("insulation", {"prealarm_kohm": 50}, "alarm_kohm 100 must be below prealarm_kohm 50"),
        ("insulation", {"addresses": [3, 3]}, "addresses: 3 is given twice"),
        ("secc", {"indexes": [1, 1]}, "indexes: 1 is given twice"),
        ("secc", {"indexes": [1]}, "indexes: 1 for 2 EVSEs"),
        (
            "secc",
            {"indexes": [1, 17]},
            "[hardware.secc] indexes 2: needs a whole number of at most 16",
        ),
        ("secc", {"cable_stop_c": 70}, "cable_derate_c 80 must be below cable_stop_c 70"),
        ("modules", {"groups": [[0, 1], [1, 2]]}, "groups: 1 is given twice"),
        ("modules", {"groups": [[0, 1]]}, "groups: 1 for 2 EVSEs"),
        ("modules", {"groups": [[0], []]}, "groups: EVSE 2 has no modules"),
        ("modules", {"groups": [[0], [63]]}, "needs a whole number of at most 62"),
        ("display", {"encoding": "utf8000"}, "encoding utf8000 does not exist"),
        ("display", {"encoding": "hex"}, "encoding hex does not exist"),
        ("reader", {"poll_ms": 0}, "poll_ms needs a whole number of at least 1"),
    ],
)
def test_a_value_that_cannot_work_or_is_dangerous_is_refused(
    name: str, options: dict[str, Any], message: str
) -> None:
    tables = {**TABLES, "display": DeviceConfig("display", "vt100", "/dev/ttyUSB9", {})}
    check_hardware(tables, (1, 2))
    table = tables[name]
    with pytest.raises(TableError) as refused:
        check_hardware(
            {**tables, name: DeviceConfig(name, table.driver, table.port, options)}, (1, 2)
        )
    assert str(refused.value).startswith(f"[hardware.{name}] ")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_one_port_in_two_tables_is_refused(tmp_path: Path) -> None:
    """Also by another name of the port."""
    (tmp_path / "usb-meter").symlink_to("/dev/ttyUSB2")
    table = DeviceConfig("meter", "acrel_djsf1352", str(tmp_path / "usb-meter"), {})
    with pytest.raises(
        TableError, match=r"usb-meter is that of \[hardware\.(io|meter)\] too|ttyUSB2 is"
    ):
        check_hardware({**TABLES, "meter": table}, (1, 2))


def test_too_few_addresses_are_refused() -> None:
    settings = parse_hardware(tables_with("meter", addresses=[1]))
    with pytest.raises(TableError, match=r"\[hardware.meter\] addresses: 1 for 2 EVSEs"):
        assembly.StationDrivers(settings, (1, 2))


def test_an_unknown_driver_is_refused_with_the_names_of_its_kind() -> None:
    tables = {**TABLES, "reader": DeviceConfig("reader", "infypower", "/dev/ttyUSB0", {})}
    with pytest.raises(TableError) as refused:
        parse_hardware(tables)
    names = ", ".join(driver_names("reader"))
    expected = f"[hardware.reader] driver infypower does not exist; there are {names}"
    assert str(refused.value) == expected


# --- Another driver ------------------------------------------------------------------------------


async def test_another_meter_driver_serves_the_same_power_path(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """The generic driver, set to the registers of the Acrel meter."""
    table = {
        "driver": "modbus_generic",
        "port": str(tmp_path / "meter.tty"),
        "energy": {"register": 12, "type": "uint32"},
        "energy_reverse": {"register": 14, "type": "uint32"},
        "voltage": {"register": 50, "type": "float32"},
        "current": {"register": 52, "type": "float32"},
        "power": {"register": 54, "type": "float32", "unit": "kW"},
        "temperature": {"register": 5, "type": "int16", "scale": "0.1"},
    }
    emulated = Hardware.emulated_settings(tmp_path)
    meter = parse_device("meter", table)
    assert isinstance(meter, modbus_generic.Settings)
    async with run_in_memory(tmp_path, settings=replace(emulated, meter=meter)) as bench:
        await bench.start_charging(1)
        await trio.sleep(20)
        reading = bench.hardware.latest_reading(1)
        assert reading is not None
        assert reading.energy_wh <= int(bench.world.registers[1])
        assert reading.power_w == pytest.approx(100_000, rel=0.05)
        assert bench.active_faults() == set()


# --- Lost devices -------------------------------------------------------------------------------


def hang_up(bench: HardwareBench, line: str) -> None:
    """Remove the adapter of a line in memory."""
    port = bench.world.ports[line]
    assert isinstance(port, MemoryPort)
    port.hang_up()


def plug_line(bench: HardwareBench, line: str) -> None:
    port = bench.world.ports[line]
    assert isinstance(port, MemoryPort)
    port.plug_in()


async def test_device_values_are_those_of_the_device_model(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    variables = DeviceModel(load_profile("development")).by_path
    sources = DEVICE_SOURCES - {"disk_bytes", "memory_bytes"}  # measured by `HostValues`
    measured = {path for path, each in variables.items() if each.source in sources}
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(1)
        await trio.sleep(5)
        values = bench.hardware.device_values()
    assert set(values) == measured
    assert values["CPPWMController@1.State"] == "C"
    assert int(values["GroundIsolationProtection@1.Impedance"]) > 100_000
    assert 0 < int(values["TemperatureSensor[cable]@1/1.Temperature"]) < 80


@pytest.mark.parametrize("line", ["meter", "io", "insulation", "secc", "modules"])
async def test_an_adapter_that_was_pulled_is_used_again(
    autojump_clock: MockClock, tmp_path: Path, line: str
) -> None:
    async with run_in_memory(tmp_path) as bench:
        hang_up(bench, line)
        await bench.wait_until(
            lambda: bench.blocking_faults(1) and bench.blocking_faults(2), 4, "reported"
        )
        plug_line(bench, line)
        await bench.wait_until(
            lambda: not (bench.blocking_faults(1) or bench.blocking_faults(2)), 6, "back"
        )
        await bench.start_charging(1)
        assert world_violations(bench.world) == []


async def test_a_pulled_controller_bus_stops_both_sessions(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(1)
        await bench.start_charging(2)
        hang_up(bench, "secc")
        await bench.wait_until(
            lambda: not any(stage.closed for stage in bench.world.power_stages.values()), 2.5
        )
        await bench.wait_until(
            lambda: bench.is_closed(1) is False and bench.is_closed(2) is False, 3
        )
        assert {fault.device for fault in bench.observations_of(DeviceFaulted)} == {"secc"}


async def test_a_lost_reader_or_display_does_not_stop_a_session(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(1)
        hang_up(bench, "reader")
        hang_up(bench, "display")
        gone = {(0, "reader", "lost"), (0, "display", "lost")}
        await bench.wait_until(lambda: bench.active_faults() == gone, 15, "reported")
        plug_line(bench, "reader")
        plug_line(bench, "display")
        await bench.wait_until(lambda: bench.active_faults() == set(), 5, "back")
        assert bench.world.power_stages[1].current_a > 50


async def test_the_display_shows_text_and_power(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with run_in_memory(tmp_path) as bench:
        session = SessionFigures("tx", Decimal(0), None, True, 0, None)
        bench.situation = DisplaySituation(
            evses=(
                EvseSituation(
                    1, Words("evse.charging", "evse.charging", "charging"), "en", session
                ),
                EvseSituation(2, Words("evse.available", "evse.available", "ready"), "en"),
            )
        )
        bench.request_energy(1)
        bench.world.plug_in(1, Ev())
        bench.request_energy(1)
        await bench.wait_until(lambda: "kW" in bench.world.display.screen[0], 10, "power")
        first, second, third, fourth = (row.rstrip() for row in bench.world.display.screen)
        assert re.fullmatch(r"1  Charging  [0-9.]+ kW  [0-9.]+ kWh  [0-9]+ s", first)
        assert second == "2  Welcome"
        assert third == "1: To stop, present your card."
        assert fourth == "2: Plug in the cable and present your"


async def test_a_new_situation_is_on_the_display_within_300_ms(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """And new amounts once a second at most."""
    async with run_in_memory(tmp_path) as bench:
        for key, text in (("evse.available", "Welcome"), ("evse.plugged_in", "Plugged in")):
            words = Words(key, key, "ready")
            bench.situation = DisplaySituation(evses=(EvseSituation(1, words, "en"),))
            bench.request_energy(1, energy=False)
            since = bench.now

            def is_shown(text: str = text) -> bool:
                return text in bench.world.display.screen[0]

            await bench.wait_until(is_shown, 1, text)
            assert bench.now - since <= 0.3


# --- Cards ---------------------------------------------------------------------------------------


async def test_a_card_is_reported_with_its_reference_and_the_evse_it_is_meant_for(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        bench.cards.expect_card("04a224b2c15e80", 2)
        for id_token in ("04a224b2c15e80", "04A224B2C15E80", "08123456"):
            bench.send_order("present_token", id_token=id_token, type="ISO14443")
            await trio.sleep(3)
        first, second, third = bench.observations_of(IdTokenPresented)
        token = IdToken("#04A224B2C15E80", "ISO14443")
        assert first == IdTokenPresented(token, evse_id=2, cacheable=True)
        assert second == IdTokenPresented(token, evse_id=None, cacheable=True)
        assert third.cacheable is False


async def test_a_disabled_reader_reads_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with run_in_memory(tmp_path) as bench:
        bench.desired.set(DesiredState(reader_enabled=False))
        await trio.sleep(2)
        bench.send_order("present_token", id_token="04A224B2C15E80", type="ISO14443")
        await trio.sleep(5)
        assert bench.observations_of(IdTokenPresented) == []


# --- End and failures ----------------------------------------------------------------------------


async def test_the_end_in_a_session_opens_without_current_and_reports_the_register(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(1)
        await trio.sleep(5)
        world = bench.world
    assert not world.power_stages[1].closed
    assert not any(module.on for module in world.cabinet.modules)
    assert not world.io[1].outputs & 0b1000_0011
    assert world_violations(world) == []
    *_, read, _, opened = [
        event for _, event in bench.timed_observations if getattr(event, "evse_id", 0) == 1
    ]
    assert isinstance(read, MeterRead)
    assert read.energy_wh == int(world.registers[1])
    assert opened == ContactorReported(1, closed=False)


async def test_an_ev_that_stayed_plugged_is_reported_at_the_start_and_charges_again_e17(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(1)
        await trio.sleep(5)  # so that the meter counts energy
        again = bench.restart_station()
        bench.stop()
        await trio.sleep(4)
        again.request_energy(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(again.hardware.run)
            await wait_until_ready(again)
            assert again.observations_of(CableReported, 1) == [CableReported(1, 1, plugged_in=True)]
            assert again.observations_of(MeterRead, 1)[0].energy_wh > 0
            await again.wait_until(lambda: again.energy_flow(1) == "charging", 10, "charging again")
            assert [report.closed for report in again.observations_of(ContactorReported, 1)] == [
                False,
                True,
            ]
            nursery.cancel_scope.cancel()


async def test_a_register_that_went_back_between_two_runs_is_a_fault(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(1)
        await trio.sleep(20)
        bench.stop()
        await trio.sleep(4)
        bench.inject_fault("meter", "backwards", 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.hardware.run)
            await bench.wait_until(
                lambda: (1, "meter", "silent") in bench.active_faults(), 12, "reported"
            )
            bench.clear_fault("meter", "backwards", 1)
            await bench.wait_until(lambda: not bench.blocking_faults(1), 5, "back")
            nursery.cancel_scope.cancel()


class BugError(Exception):
    """An exception that no code expects."""


async def break_driver(bench: HardwareBench, kind: str, number: int = 0) -> None:
    """From the next start of a driver, it raises after 0.5 s; the next start is now."""

    async def broken(report: Callable[[Any], None]) -> None:
        await trio.sleep(0.5)
        raise BugError("no such\nregister")

    loop = bench.hardware._control_loop
    assert loop is not None
    devices = {"reader": loop._devices.reader, "meter": loop._devices.meters.get(number)}
    devices[kind].run = broken  # type: ignore[union-attr, method-assign]
    hang_up(bench, kind)
    await trio.sleep(2)
    plug_line(bench, kind)


@pytest.mark.parametrize(
    ("kind", "number", "fault"),
    [("reader", 0, (0, "reader", "lost")), ("meter", 2, (2, "meter", "silent"))],
)
async def test_an_error_in_a_driver_is_a_fault_of_its_device_only(
    autojump_clock: MockClock,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    number: int,
    fault: tuple[int, str, str],
) -> None:
    async with run_in_memory(tmp_path) as bench:
        await bench.start_charging(1)
        await break_driver(bench, kind, number)
        await trio.sleep(60)
        assert bench.energy_flow(1) == "charging"
        assert bench.active_faults() == {fault}
        assert world_violations(bench.world) == []
    name = f"{kind} {number}" if number else kind
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert errors[0].startswith(
        f"{name}: error in the driver (BugError: no such register at test_hardware.py:"
    )


async def test_an_error_in_the_control_loop_stops_all_power_and_is_raised(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path, catch=BugError) as bench:
        await bench.start_charging(1)
        loop = bench.hardware._control_loop
        assert loop is not None

        def broken(*arguments: object) -> bool:
            raise BugError

        loop._dispatch_report = broken  # type: ignore[assignment, method-assign]
        await bench.wait_until(lambda: bench.caught_error is not None, 15, "raised")
        assert isinstance(bench.caught_error, BugError)
        assert not bench.world.power_stages[1].closed
        assert not any(module.on for module in bench.world.cabinet.modules)


# --- Over real ptys ------------------------------------------------------------------------------


@asynccontextmanager
async def run_on_ptys(directory: Path) -> AsyncIterator[HardwareBench]:
    """`Hardware` on emulated devices as in a process of their own: ptys, real time."""
    async with trio.open_nursery() as nursery:
        world: EmulatedStation = await nursery.start(
            run_emulated_station, directory, directory / "world.sock"
        )
        bench = HardwareBench(world, Hardware.emulated_settings(directory))
        async with running_hardware(bench, trio.sleep_forever):
            yield bench
        nursery.cancel_scope.cancel()


async def test_both_evses_charge_stop_and_unplug_over_ptys(tmp_path: Path) -> None:
    async with run_on_ptys(tmp_path) as bench:
        bench.request_energy(1)
        bench.request_energy(2)
        bench.world.plug_in(1, Ev())
        bench.world.plug_in(2, Ev())
        await bench.wait_until(lambda: bench.is_closed(1) and bench.is_closed(2), 6, "closed")
        await bench.wait_until(
            lambda: bench.energy_flow(1) == bench.energy_flow(2) == "charging", 10, "both charging"
        )
        await trio.sleep(1)
        bench.request_energy(1, energy=False)
        await bench.wait_until(lambda: bench.is_closed(1) is False, 6, "EVSE 1 open")
        bench.send_order("unplug", evse_id=2)
        await bench.wait_until(lambda: bench.is_closed(2) is False, 3, "EVSE 2 open")
        last = [bench.observations_of(MeterRead, evse)[-1].energy_wh for evse in (1, 2)]
        assert last == [Decimal(int(bench.world.registers[evse])) for evse in (1, 2)]
        assert world_violations(bench.world) == []
        assert bench.active_faults() == set()


@pytest.mark.parametrize("fault", ["secc_can/gone", "can/gone", "reader/gone", "display/gone"])
async def test_a_vanished_tty_is_found_again_over_ptys(tmp_path: Path, fault: str) -> None:
    device, kind = fault.split("/")
    async with run_on_ptys(tmp_path) as bench:
        bench.inject_fault(device, kind)
        await bench.wait_until(bench.active_faults, 15, "reported")
        bench.clear_fault(device, kind)
        await bench.wait_until(lambda: not bench.active_faults(), 8, "back")
