"""The driver of the power modules against a cabinet in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

import pytest
import trio
import trio.testing

from drivers.emulators.infypower_modules import EmulatedCabinet
from drivers.ports import (
    DeviceReady,
    DeviceReport,
    GroupOutput,
    GroupSilent,
    ModuleLimits,
    ModuleSilent,
    ModuleState,
    NoResponse,
    OrderRefused,
    PortLost,
)
from drivers.power.infypower import InfypowerModules
from drivers.wire import infypower as wire
from drivers.wire.slcan import parse_frame
from tests.drivers.fixtures_can import BenchBus

OFF_ALL = "029A3FF0#0100000000000000"
OFF_1, ON_1 = "02DA01F0#0100000000000000", "02DA01F0#0000000000000000"
SET_1 = "02DB01F0#000AFE740003D090"  # 720.5 V, 250 A
READ_1, READ_2 = "02C801F0", "02C802F0"

R = TypeVar("R")


@dataclass
class CabinetBench:
    """One cabinet and its driver."""

    bus: BenchBus
    cabinet: EmulatedCabinet
    driver: InfypowerModules
    reports: list[DeviceReport] = field(default_factory=list)

    def reports_of(self, kind: type[R]) -> list[R]:
        return [report for report in self.reports if isinstance(report, kind)]


@asynccontextmanager
async def open_bench(*, set_up: bool = True) -> AsyncIterator[CabinetBench]:
    bus = BenchBus()
    cabinet = EmulatedCabinet(bus.inject_frame, trio.current_time, start_up_s=0.0)
    bus.nodes.append(cabinet)
    made = CabinetBench(bus, cabinet, InfypowerModules(bus.line))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bus.line.run, made.reports.append)
        nursery.start_soon(made.driver.run, made.reports.append)
        await trio.sleep(0)
        while set_up and not made.driver.ready.is_set():
            await trio.sleep(0.05)
        yield made
        nursery.cancel_scope.cancel()


async def test_everything_is_switched_off_before_modules_are_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        assert bench.bus.sent_texts()[:3] == [
            OFF_ALL,
            "02823FF0#0000000000000000",
            "028400F0#0000000000000000",
        ]
        assert bench.driver.module_count == 12
        assert bench.reports_of(DeviceReady) == [DeviceReady("Infypower", "12 answer")]
        assert {report.address for report in bench.reports_of(ModuleLimits)} == set(range(12))
        assert [module.group for module in bench.cabinet.modules] == [1] * 6 + [2] * 6
        group = bench.driver.group_limits[2]
        assert group.addresses == (6, 7, 8, 9, 10, 11)
        assert (group.voltage_max_v, group.voltage_min_v) == (1000, 150)
        assert (group.current_max_ma, group.power_w) == (600_000, 180_000)


async def test_one_command_is_sent_every_50_ms(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as bench:
        await trio.sleep(3)
        times = [at for at, _ in bench.bus.sent]
        gaps = [after - before for before, after in pairwise(times)]
        assert min(gaps) >= 0.05 - 1e-9


async def test_slots_move_to_common_beats_by_at_most_2_ms_each(
    autojump_clock: trio.testing.MockClock,
) -> None:
    await trio.sleep(0.013)
    async with open_bench() as bench:
        await trio.sleep(3)
        times = [at for at, _ in bench.bus.sent]
        gaps = [after - before for before, after in pairwise(times)]
        assert min(gaps) >= 0.048 - 1e-9
        assert all(round(at / 0.05, 6).is_integer() for at in times[-10:])


async def test_one_command_is_sent_every_100_ms_while_idle(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        bench.driver.idle = True
        await trio.sleep(1)
        since = trio.current_time()
        await trio.sleep(3)
        times = [at for at, _ in bench.bus.sent if at >= since]
        assert min(b - a for a, b in pairwise(times)) >= 0.1 - 1e-9
        for group in (READ_1, READ_2):
            times = bench.bus.sent_times(group, since)
            assert max(b - a for a, b in pairwise(times)) <= 0.4 + 1e-9


async def test_slots_are_short_while_a_group_is_on_and_after_a_missed_response(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        bench.driver.idle = True
        await trio.sleep(1)
        bench.driver.set_group(1, 720_500, 250_000, True)
        await trio.sleep(0.5)
        since = trio.current_time()
        await trio.sleep(2)
        assert len([at for at, _ in bench.bus.sent if at >= since]) > 30
        bench.driver.set_group(1, 0, 0, False)
        await trio.sleep(1)
        for module in bench.cabinet.modules:
            module.silent = True
        await trio.sleep(0.3)
        for module in bench.cabinet.modules:
            module.silent = False
        since = trio.current_time() + 0.2
        await trio.sleep(0.5)
        times = bench.bus.sent_times(READ_1, since)
        assert max(b - a for a, b in pairwise(times)) <= 0.2 + 1e-9


async def test_a_groups_output_is_at_most_200_ms_old(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        bench.driver.set_group(1, 720_500, 250_000, True)
        await trio.sleep(1)
        since = trio.current_time()
        await trio.sleep(5)
        for group in (READ_1, READ_2):
            times = bench.bus.sent_times(group, since)
            assert max(b - a for a, b in pairwise(times)) <= 0.2 + 1e-9
        settled = [report.group for report in bench.reports_of(GroupOutput)]
        assert {1, 2} <= set(settled)


async def test_an_order_is_sent_in_the_next_slots_and_repeated_every_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await trio.sleep(1)
        ordered = trio.current_time()
        bench.driver.set_group(1, 720_500, 250_000, True)
        await trio.sleep(5)
        sets, switches = bench.bus.sent_times(SET_1, ordered), bench.bus.sent_times(ON_1, ordered)
        assert sets[0] - ordered <= 0.1
        assert sets[0] < switches[0] <= ordered + 0.2
        for times in (sets, switches):
            assert len(times) >= 5
            assert max(b - a for a, b in pairwise(times)) <= 1.3
        assert all(module.on for module in bench.cabinet.modules_on_evse(1))
        assert {module.set_current_ma for module in bench.cabinet.modules_on_evse(1)} == {
            250_000 // 6
        }


async def test_off_waits_for_no_slot(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as bench:
        bench.driver.set_group(1, 720_500, 250_000, True)
        await trio.sleep(1.013)
        ordered = trio.current_time()
        bench.driver.set_group(1, 0, 0, False)
        await trio.testing.wait_all_tasks_blocked()
        assert bench.bus.sent_times(OFF_1, ordered) == [ordered]
        assert not any(module.on for module in bench.cabinet.modules_on_evse(1))


async def test_off_does_not_wait_for_a_missing_response(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        bench.driver.set_group(1, 720_500, 250_000, True)
        await trio.sleep(1)
        bench.bus.nodes.clear()
        await trio.sleep(0.123)
        ordered = trio.current_time()
        bench.driver.switch_all_off()
        await trio.testing.wait_all_tasks_blocked()
        assert bench.bus.sent_times(OFF_1, ordered) == [ordered]


@pytest.mark.parametrize("pause_ms", range(0, 300, 10))
async def test_on_never_follows_an_off_that_came_after_it(
    autojump_clock: trio.testing.MockClock, pause_ms: int
) -> None:
    async with open_bench() as bench:
        bench.driver.set_group(1, 720_500, 250_000, True)
        await trio.sleep(pause_ms / 1000)
        so_far = len(bench.bus.sent)
        bench.driver.set_group(1, 0, 0, False)
        await trio.sleep(3)
        switches = [text for text in bench.bus.sent_texts()[so_far:] if text in (ON_1, OFF_1)]
        off = switches.index(OFF_1)
        assert off <= 1  # an order that was being sent at this moment comes first
        assert ON_1 not in switches[off:]
        assert not any(module.on for module in bench.cabinet.modules)


async def test_an_order_above_the_limits_is_reduced(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as bench:
        bench.driver.set_group(1, 1_200_000, 900_000, True)
        await trio.sleep(1)
        assert {
            (module.set_voltage_mv, module.set_current_ma)
            for module in bench.cabinet.modules_on_evse(1)
        } == {(1_000_000, 100_000)}
        assert bench.reports_of(OrderRefused) == []


async def test_a_refused_order_is_reported(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as bench:
        bench.driver.set_group(2, 100_000, 10_000, True)  # below the modules' 150 V
        await trio.sleep(0.5)
        assert OrderRefused(2, True, wire.Command.SET_OUTPUT, 3) in bench.reports_of(OrderRefused)


async def test_a_module_is_silent_after_5_responses_and_lost_after_15_s(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await trio.sleep(5)
        bench.cabinet.modules[3].silent = True
        silenced = trio.current_time()
        before = bench.driver.modules[3].last_response_at
        await trio.sleep(14 - (silenced - before))
        assert bench.reports_of(ModuleSilent) == [ModuleSilent(3, lost=False)]
        assert bench.driver.group_limits[1].current_max_ma == 600_000
        await trio.sleep(4)
        assert bench.reports_of(ModuleSilent) == [
            ModuleSilent(3, lost=False),
            ModuleSilent(3, lost=True),
        ]
        assert bench.driver.group_limits[1].current_max_ma == 500_000


async def test_a_module_that_lost_its_power_gets_its_group_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await trio.sleep(5)
        bench.cabinet.modules[7].reset_after_power_loss()
        assert bench.cabinet.modules[7].group == 0
        await trio.sleep(5)
        assert bench.cabinet.modules[7].group == 2


async def test_a_group_that_falls_silent_is_switched_off_and_reported(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        bench.driver.set_group(1, 720_500, 250_000, True)
        await trio.sleep(2)
        bench.bus.nodes.clear()
        cut = trio.current_time()
        await trio.sleep(4)
        assert bench.reports_of(GroupSilent) == [GroupSilent(1)]
        offs = bench.bus.sent_times(OFF_1, cut)
        assert 0.99 <= offs[0] - cut <= 1.3
        assert len(offs) >= 2  # and again, for when the bus comes back


@pytest.mark.parametrize("pause_s", [1.5, 5.0, 30.0])
async def test_a_group_stays_on_and_no_module_is_lost_because_this_process_did_not_run(
    autojump_clock: trio.testing.MockClock, pause_s: float
) -> None:
    async with open_bench() as bench:
        bench.driver.set_group(1, 720_500, 250_000, True)
        await trio.sleep(2)
        bench.bus.sent.clear()
        for _ in range(30):
            autojump_clock.jump(pause_s)
            await trio.sleep(0.23)
        assert bench.bus.sent_times(OFF_1) == []
        assert bench.reports_of(GroupSilent) == []
        assert bench.reports_of(ModuleSilent) == []


async def test_orders_are_discarded_when_the_driver_ends_and_all_is_off(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        bench.driver.set_group(1, 720_500, 250_000, True)
        await trio.sleep(1)
    assert bench.bus.sent_texts()[-1] == OFF_ALL
    assert not any(module.on for module in bench.cabinet.modules)
    assert not bench.driver.ready.is_set()


async def test_states_are_reported_by_class(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as bench:
        bench.cabinet.modules[0].injected_bits |= {"over_temperature", "load_sharing"}
        bench.cabinet.modules[0].temperature_c = -7
        await trio.sleep(4)
        last = [report for report in bench.reports_of(ModuleState) if report.address == 0][-1]
        assert last == ModuleState(
            address=0,
            group=1,
            temperature_c=-7,
            faults=frozenset({"over_temperature"}),
            warnings=frozenset({"load_sharing"}),
            states=frozenset({"off"}),
        )


async def test_barcode_and_mains_are_read_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as bench:
        await trio.sleep(20)
        assert bench.driver.modules[5].barcode == "081807123451V1704"
        assert bench.driver.modules[5].ac_decivolt == (4800, 4812, 4795)
        assert len(bench.bus.sent_times("028B05F0")) == 1


async def test_an_empty_cabinet_is_a_fault(autojump_clock: trio.testing.MockClock) -> None:
    bus = BenchBus()
    driver = InfypowerModules(bus.line)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bus.line.run, print)
        with pytest.raises(NoResponse, match="no power module"):
            await driver.run(print)
        nursery.cancel_scope.cancel()


async def test_a_lost_bus_is_a_lost_port(autojump_clock: trio.testing.MockClock) -> None:
    bus = BenchBus()
    bus.nodes.append(EmulatedCabinet(bus.inject_frame, trio.current_time))
    driver = InfypowerModules(bus.line)

    async def line() -> None:
        with pytest.raises(PortLost):
            await bus.line.run(print)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(line)
        nursery.start_soon(_lose_after, bus, 4.0)
        with pytest.raises(PortLost):
            await driver.run(lambda _: None)


async def _lose_after(bus: BenchBus, seconds: float) -> None:
    await trio.sleep(seconds)
    bus.disconnect()


@pytest.mark.parametrize("order", [(-1, 0), (0, -1)])
async def test_a_negative_order_is_refused(order: tuple[int, int]) -> None:
    driver = InfypowerModules(BenchBus().line)
    with pytest.raises(ValueError, match="group 1"):
        driver.set_group(1, *order, on=True)
    with pytest.raises(KeyError):
        driver.set_group(3, 0, 0, on=False)


# --- The emulated modules -----------------------------------------------------------------------


async def test_modules_left_alone_for_10_s_switch_off_until_ordered_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sent: list[str] = []
    cabinet = EmulatedCabinet(
        lambda frame: sent.append(str(frame)), trio.current_time, start_up_s=0
    )
    cabinet.on_frame(wire.switch_output(wire.ALL_MODULES, on=True).can_frame)
    await trio.sleep(9.9)
    cabinet.tick()
    assert all(module.on for module in cabinet.modules)
    await trio.sleep(0.2)
    cabinet.tick()
    assert not any(module.on for module in cabinet.modules)
    assert "communication_interrupted" in cabinet.modules[0].status.bits
    cabinet.on_frame(wire.read_data(wire.Command.STATE, 0).can_frame)
    assert "communication_interrupted" not in cabinet.modules[0].status.bits
    assert not cabinet.modules[0].on


async def test_the_first_seconds_after_power_on_answer_starting_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sent: list[str] = []
    cabinet = EmulatedCabinet(lambda frame: sent.append(str(frame)), trio.current_time)
    cabinet.on_frame(wire.set_module(0, 320_000, 10_000).can_frame)
    assert sent == ["1E9CF000#0000000000000000"]
    await trio.sleep(3)
    cabinet.on_frame(wire.set_module(0, 320_000, 10_000).can_frame)
    assert sent[-1] == "029CF000#0004E20000002710"


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("02823FF0#0000000000000000", ["0282F03F#00000C0000000000"]),
        ("02C201F0#0000000000000000", ["02C2F001#0000060000000000"]),
        ("02C801F0#0000000000000000", ["02C8F001#000AFE740003D090"]),
        ("028900F0#0000000000000000", ["0289F000#000AFE740000A21C"]),
        ("028300F0#0000000000000000", ["0283F000#4434200042260000"]),
        ("028400F0#0000000000000000", ["0284F000#0000010019000100"]),
        ("028A00F0#0000000000000000", ["028AF000#03E8009603E80BB8"]),
        ("028B00F0#0000000000000000", ["028BF000#56130C15A3FB06A8"]),
        ("028600F0#0000000000000000", ["0286F000#12C012CC12BB0000"]),
        ("02BE00F0#0000000000000000", ["0ABEF000#0000000000000000"]),
        ("02DB01F0#0001388000000000", ["0EDBF001#0000000000000000"]),
        ("028920F0#0000000000000000", []),  # no module has address 0x20
        ("02893FF0#00", []),
    ],
)
async def test_the_emulated_modules_respond_as_the_document_states(
    asked: str, answer: list[str]
) -> None:
    sent: list[str] = []
    cabinet = EmulatedCabinet(
        lambda frame: sent.append(str(frame)), trio.current_time, start_up_s=0
    )
    for module in cabinet.modules:
        module.group = module.evse_id
        module.voltage_mv = 720_500
        module.current_ma = 41_700
    cabinet.modules[0].current_ma = 41_500
    cabinet.on_frame(parse_frame(asked))
    assert sent == answer


async def test_each_module_of_a_group_reports_its_own_state() -> None:
    sent: list[str] = []
    cabinet = EmulatedCabinet(
        lambda frame: sent.append(str(frame)), trio.current_time, start_up_s=0
    )
    for module in cabinet.modules:
        module.group = module.evse_id
    cabinet.on_frame(wire.read_data(wire.Command.STATE, 1, is_group=True).can_frame)
    assert [text[:8] for text in sent] == [f"02C4F0{address:02X}" for address in range(6)]


async def test_a_new_run_has_no_order_of_the_previous_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bus = BenchBus()
    bus.nodes.append(EmulatedCabinet(bus.inject_frame, trio.current_time, start_up_s=0))
    driver = InfypowerModules(bus.line)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bus.line.run, print)
        with trio.move_on_after(5):
            driver.set_group(1, 720_500, 250_000, True)  # before the run: discarded too
            await driver.run(lambda _: None)
        assert bus.sent_times(ON_1) == []
        with trio.move_on_after(5) as first:
            nursery.start_soon(_order_after, driver, 4.0)
            await driver.run(lambda _: None)
        assert first.cancelled_caught
        assert bus.sent_times(ON_1)
        so_far = len(bus.sent)
        with trio.move_on_after(5):
            await driver.run(lambda _: None)
        assert ON_1 not in bus.sent_texts()[so_far:]
        nursery.cancel_scope.cancel()


async def _order_after(driver: InfypowerModules, seconds: float) -> None:
    await trio.sleep(seconds)
    driver.set_group(1, 720_500, 250_000, True)


async def test_a_lost_module_counts_again_when_it_responds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        bench.cabinet.modules[3].silent = True
        await trio.sleep(20)
        assert bench.driver.group_limits[1].current_max_ma == 500_000
        bench.cabinet.modules[3].silent = False
        reports_before = len(bench.reports)
        await trio.sleep(4)
        assert bench.driver.group_limits[1].current_max_ma == 600_000
        back = [
            report for report in bench.reports[reports_before:] if isinstance(report, ModuleState)
        ]
        assert 3 in {report.address for report in back}
