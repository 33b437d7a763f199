"""Does the body live through what happens to its devices, and to itself?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from drivers.emulators.ev import Ev
from drivers.emulators.memory_port import MemoryPort
from drivers.emulators.process import run_world
from drivers.emulators.world import World
from journal.observations import (
    CableReported,
    ContactorReported,
    DeviceFaulted,
    IdTokenPresented,
    MeterRead,
)
from journal.terms import IdToken
from station.config import DeviceConfig
from station.runtime import device_settings
from station.runtime.device_settings import DRIVERS, parsed
from station.runtime.hardware import Hardware
from station.tables import TableError
from station.wanted import Wanted
from tests.runtime.body import Trial, body_in_memory, living, until_ready, violations

TABLES = {
    "reader": DeviceConfig("reader", "pn532", "/dev/ttyUSB0", {}),
    "meter": DeviceConfig("meter", "acrel_djsf1352", "/dev/ttyUSB1", {"addresses": [7, 8]}),
    "io": DeviceConfig("io", "icpdas_m7055", "/dev/ttyUSB2", {"baud": 38_400}),
    "insulation": DeviceConfig("insulation", "bender_isocha425hv", "/dev/ttyUSB3", {}),
    "secc": DeviceConfig("secc", "advantics", "can0", {"transport": "socketcan"}),
    "modules": DeviceConfig("modules", "infypower", "can1", {"groups": [[0, 1], [2, 3]]}),
}


# --- settings ------------------------------------------------------------------------------------


def test_the_tables_of_station_toml_become_settings() -> None:
    settings = parsed(TABLES)
    assert settings.meter.addresses == (7, 8)
    assert settings.io.baud == 38_400
    assert settings.modules.groups == ((0, 1), (2, 3))
    assert settings.secc.heartbeat_ms == 200
    assert settings.in_field
    assert settings.display is None


def without(name: str) -> dict[str, DeviceConfig]:
    return {key: table for key, table in TABLES.items() if key != name}


def having(name: str, **options: Any) -> dict[str, DeviceConfig]:
    table = TABLES[name]
    return {**TABLES, name: DeviceConfig(name, table.driver, table.port, options)}


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (without("io"), "[hardware.io] is missing; a charge needs it"),
        (
            having("meter", adresses=[1, 2]),
            "[hardware.meter] adresses is not a key; did you mean addresses?",
        ),
        (
            having("io", feedback_ms="fast"),
            "[hardware.io] feedback_ms wants a whole number, got text in quotes",
        ),
        (
            {**TABLES, "metre": TABLES["meter"]},
            "[hardware] metre is not a device; did you mean meter?",
        ),
    ],
)
def test_a_wrong_table_is_named(tables: dict[str, DeviceConfig], message: str) -> None:
    with pytest.raises(TableError) as refused:
        parsed(tables)
    assert str(refused.value) == message


def test_too_few_addresses_are_refused() -> None:
    settings = parsed(having("meter", addresses=[1]))
    with pytest.raises(TableError, match=r"\[hardware.meter\] addresses: 1 for 2 EVSEs"):
        device_settings.Devices(settings, (1, 2))


def test_every_driver_tells_its_keys() -> None:
    assert set(DRIVERS) >= {table.driver for table in TABLES.values()}
    assert "addresses" in DRIVERS["icpdas_m7055"]
    assert "port" not in DRIVERS["pn532"]


# --- devices that go and come --------------------------------------------------------------------


def hang_up(trial: Trial, line: str) -> None:
    """Pull the adapter of a line in memory."""
    port = trial.world.lines[line]
    assert isinstance(port, MemoryPort)
    port.hang_up()


def plug(trial: Trial, line: str) -> None:
    port = trial.world.lines[line]
    assert isinstance(port, MemoryPort)
    port.plug()


@pytest.mark.parametrize("line", ["meter", "io", "insulation", "secc", "modules"])
async def test_an_adapter_that_was_pulled_is_used_again(
    autojump_clock: MockClock, tmp_path: Path, line: str
) -> None:
    async with body_in_memory(tmp_path) as trial:
        hang_up(trial, line)
        await trial.until(lambda: trial.blocking(1) and trial.blocking(2), 4, "told")
        plug(trial, line)
        await trial.until(lambda: not (trial.blocking(1) or trial.blocking(2)), 6, "back")
        await trial.charge(1)
        assert violations(trial.world) == []


async def test_a_pulled_controller_bus_stops_both_sessions(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with body_in_memory(tmp_path) as trial:
        await trial.charge(1)
        await trial.charge(2)
        hang_up(trial, "secc")
        await trial.until(lambda: not any(bay.closed for bay in trial.world.bays.values()), 2.5)
        await trial.until(lambda: trial.closed(1) is False and trial.closed(2) is False, 3)
        assert {fault.device for fault in trial.all(DeviceFaulted)} == {"secc"}


async def test_reader_and_display_come_and_go_without_a_word_to_the_driver(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with body_in_memory(tmp_path) as trial:
        await trial.charge(1)
        hang_up(trial, "reader")
        hang_up(trial, "display")
        gone = {(0, "reader", "lost"), (0, "display", "lost")}
        await trial.until(lambda: trial.faults() == gone, 15, "told")
        plug(trial, "reader")
        plug(trial, "display")
        await trial.until(lambda: trial.faults() == set(), 5, "back")
        assert trial.world.bays[1].current_a > 50


async def test_the_display_shows_the_words_and_the_power(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with body_in_memory(tmp_path) as trial:
        trial.want(1)
        wish = trial.wanted.value.evses[0]
        trial.words = {1: "Charging", 2: "Welcome"}
        trial.world.plug_in(1, Ev())
        trial.want(wish.evse_id)
        await trial.until(lambda: "kW" in trial.world.display.screen[0], 10, "power")
        first, second, *_ = trial.world.display.screen
        assert first.startswith("1  Charging  ")
        assert first.rstrip().endswith("34 %")
        assert second.strip() == "2  Welcome"


# --- people --------------------------------------------------------------------------------------


async def test_a_card_is_told_by_its_reference_and_its_meant_evse(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with body_in_memory(tmp_path) as trial:
        trial.hardware.intended["04A224B2C15E80"] = 2
        for id_token in ("04a224b2c15e80", "04A224B2C15E80", "08123456"):
            trial.op("present_token", id_token=id_token, type="ISO14443")
            await trio.sleep(3)
        first, second, third = trial.all(IdTokenPresented)
        token = IdToken("#04A224B2C15E80", "ISO14443")
        assert first == IdTokenPresented(token, evse_id=2, lasting=True)
        assert second == IdTokenPresented(token, evse_id=None, lasting=True)
        assert third.lasting is False
        assert trial.hardware.intended == {}


async def test_a_reader_that_is_not_wanted_reads_nothing(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with body_in_memory(tmp_path) as trial:
        trial.wanted.set(Wanted(reader=False))
        await trio.sleep(2)
        trial.op("present_token", id_token="04A224B2C15E80", type="ISO14443")
        await trio.sleep(5)
        assert trial.all(IdTokenPresented) == []


# --- the end, and worse --------------------------------------------------------------------------


async def test_the_end_in_a_session_opens_without_current_and_tells_the_register(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with body_in_memory(tmp_path) as trial:
        await trial.charge(1)
        await trio.sleep(5)
        world = trial.world
    assert not world.bays[1].closed
    assert not any(module.on for module in world.cabinet.modules)
    assert not world.io[1].outputs & 0b1000_0011
    assert violations(world) == []
    *_, read, _, opened = [one for _, one in trial.seen if getattr(one, "evse_id", 0) == 1]
    assert isinstance(read, MeterRead)
    assert read.energy_wh == int(world.registers[1])
    assert opened == ContactorReported(1, closed=False)


async def test_an_ev_that_stayed_plugged_is_told_at_the_start_and_charges_again_e17(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with body_in_memory(tmp_path) as trial:
        await trial.charge(1)
        again = trial.reborn()
        trial.stop()
        await trio.sleep(4)
        again.want(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(again.hardware.run)
            await until_ready(again)
            assert again.all(CableReported, 1) == [CableReported(1, 1, plugged=True)]
            assert again.all(MeterRead, 1)[0].energy_wh > 0
            await again.until(lambda: again.flow(1) == "charging", 10, "charging again")
            assert [told.closed for told in again.all(ContactorReported, 1)] == [False, True]
            nursery.cancel_scope.cancel()


async def test_a_register_that_went_back_between_two_runs_is_seen(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with body_in_memory(tmp_path) as trial:
        await trial.charge(1)
        await trio.sleep(20)
        trial.stop()
        await trio.sleep(4)
        trial.fault("meter", "backwards", 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trial.hardware.run)
            await trial.until(lambda: (1, "meter", "silent") in trial.faults(), 12, "seen")
            trial.clear("meter", "backwards", 1)
            await trial.until(lambda: not trial.blocking(1), 5, "back")
            nursery.cancel_scope.cancel()


async def test_a_fault_of_ours_in_a_driver_stops_all_power_and_is_raised(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    class OursError(Exception):
        pass

    async def broken(report: Callable[[Any], None]) -> None:
        await trio.sleep(10)
        raise OursError

    async with body_in_memory(tmp_path, catch=OursError) as trial:
        await trial.charge(1)
        body = trial.hardware._body
        assert body is not None
        body._devices.meters[2].run = broken  # type: ignore[method-assign]
        hang_up(trial, "meter")
        await trio.sleep(2)
        plug(trial, "meter")
        await trial.until(lambda: trial.caught is not None, 15, "raised")
        assert isinstance(trial.caught, OursError)
        assert not trial.world.bays[1].closed
        assert violations(trial.world) == []


async def test_a_loop_that_stood_still_sees_no_silent_devices(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """What nobody listened to is no silence: the tick after a stall judges nothing by age."""
    async with body_in_memory(tmp_path) as trial:
        body = trial.hardware._body
        assert body is not None
        slept_s = 30.0
        for path in body._paths.values():
            path.senses.heartbeat_at = body._clock.now() - slept_s
        body._clock._ticked_at -= slept_s
        body._clock.tick()
        body._round()
        assert trial.faults() == set()


# --- the same over real ptys ---------------------------------------------------------------------


@asynccontextmanager
async def on_ptys(directory: Path) -> AsyncIterator[Trial]:
    """A body on the emulated world as a process would have it: ptys, real time."""
    async with trio.open_nursery() as nursery:
        world: World = await nursery.start(run_world, directory, directory / "world.sock")
        trial = Trial(world, Hardware.emulated(directory))
        async with living(trial, trio.sleep_forever):
            yield trial
        nursery.cancel_scope.cancel()


async def test_both_evses_charge_stop_and_unplug_over_ptys(tmp_path: Path) -> None:
    async with on_ptys(tmp_path) as trial:
        trial.want(1)
        trial.want(2)
        trial.world.plug_in(1, Ev())
        trial.world.plug_in(2, Ev())
        await trial.until(lambda: trial.closed(1) and trial.closed(2), 6, "closed")
        await trial.until(lambda: trial.flow(1) == trial.flow(2) == "charging", 10, "both charging")
        await trio.sleep(1)
        trial.want(1, energy=False)
        await trial.until(lambda: trial.closed(1) is False, 6, "EVSE 1 open")
        trial.op("unplug", evse_id=2)
        await trial.until(lambda: trial.closed(2) is False, 3, "EVSE 2 open")
        last = [trial.all(MeterRead, evse)[-1].energy_wh for evse in (1, 2)]
        assert last == [Decimal(int(trial.world.registers[evse])) for evse in (1, 2)]
        assert violations(trial.world) == []
        assert trial.faults() == set()


@pytest.mark.parametrize("fault", ["secc_can/gone", "can/gone", "reader/gone", "display/gone"])
async def test_a_vanished_tty_is_found_again_over_ptys(tmp_path: Path, fault: str) -> None:
    device, kind = fault.split("/")
    async with on_ptys(tmp_path) as trial:
        trial.fault(device, kind)
        await trial.until(trial.faults, 15, "told")
        trial.clear(device, kind)
        await trial.until(lambda: not trial.faults(), 8, "back")
