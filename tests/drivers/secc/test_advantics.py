"""The driver of a charge controller: frames sent, their intervals, and frames received."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise

import pytest
import trio
import trio.testing

from drivers.ports import (
    CableTemperature,
    ChargeStatus,
    DeviceReady,
    DeviceReport,
    EvInformation,
    NoResponse,
    PilotState,
    PowerFunction,
    PowerRequest,
    SeccEmergency,
    SeccHeartbeat,
    SeccState,
    SessionFinished,
)
from drivers.secc.advantics import AdvanticsSecc
from tests.drivers.fixtures_can import BenchBus

STATUS, LIMITS, FLAGS, OUTPUTS = "01063000", "01063001", "01063002", "01063201"
NOTHING_ALLOWED = "01063000#0000000041410000"


@dataclass
class SeccBench:
    bus: BenchBus
    driver: AdvanticsSecc
    reports: list[DeviceReport] = field(default_factory=list)


@asynccontextmanager
async def open_bench(silent_after_s: float | None = None) -> AsyncIterator[SeccBench]:
    bus = BenchBus()
    made = SeccBench(bus, AdvanticsSecc(bus.line, evse_id=1, silent_after_s=silent_after_s))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bus.line.run, made.reports.append)
        nursery.start_soon(made.driver.run, made.reports.append)
        await trio.testing.wait_all_tasks_blocked()
        yield made
        nursery.cancel_scope.cancel()


async def test_a_run_begins_with_nothing_allowed(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as bench:
        assert bench.bus.sent_texts() == [
            NOTHING_ALLOWED,
            "01063001#0000000000000000",
            "01063002#000000",
            "01063201#0000000000000000",
        ]


async def test_a_controller_is_reported_as_found_once_and_after_a_loss(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found = DeviceReady("ADVANTICS SECC", "answers, state WAITING_FOR_PEV")
    async with open_bench() as bench:
        for pause_s, count in ((0.1, 1), (0.1, 1), (0.9, 1), (5.0, 2), (0.1, 2)):
            await trio.sleep(pause_s)
            bench.bus.inject_frame("0106B000#01")
            await trio.testing.wait_all_tasks_blocked()
            assert bench.reports.count(found) == count


async def test_the_status_is_sent_every_100_ms(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as bench:
        await trio.sleep(5)
        times = bench.bus.sent_times(STATUS)
        assert {round(b - a, 6) for a, b in pairwise(times)} == {0.1}


async def test_the_status_has_the_measured_values(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as bench:
        driver = bench.driver
        driver.voltage_v, driver.current_a = Decimal("720.5"), Decimal("249.8")
        driver.modules_c, driver.enclosure_c = 48, 36
        driver.enabled, driver.insulation_ohm = True, 2_000_000
        await trio.sleep(0.15)
        assert bench.bus.sent_texts()[-1] == "01063000#251CC209584C01FF"
        driver.enabled = False
        await trio.sleep(0.11)
        assert bench.bus.sent_texts()[-1] == "01063000#251CC209584C00FF"


async def test_an_unknown_insulation_is_sent_as_0(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        bench.driver.insulation_ohm = 99_999
        await trio.sleep(0.11)
        assert bench.bus.sent_texts()[-1].endswith("31")  # 49 counts of 2 kohm: rounded down
        bench.driver.insulation_ohm = None
        await trio.sleep(0.11)
        assert bench.bus.sent_texts()[-1].endswith("00")


async def test_values_out_of_range_are_limited(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        driver = bench.driver
        driver.voltage_v, driver.current_a = Decimal(99_999), Decimal(-99_999)
        driver.modules_c, driver.enclosure_c = 400, -400
        await trio.sleep(0.11)
        assert bench.bus.sent_texts()[-1] == "01063000#FFFF0080FF000000"


async def test_flags_are_sent_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as bench:
        await trio.sleep(0.033)
        now = trio.current_time()
        bench.driver.start_allowed = True
        await trio.testing.wait_all_tasks_blocked()
        assert bench.bus.sent_times("01063002#010000") == [now]
        bench.driver.authorized = True
        await trio.testing.wait_all_tasks_blocked()
        assert bench.bus.sent_times("01063002#010300") == [now]
        bench.driver.parameters_done = True
        await trio.testing.wait_all_tasks_blocked()
        assert bench.bus.sent_times("01063002#010700") == [now]
        bench.driver.authorized = False
        await trio.testing.wait_all_tasks_blocked()
        assert bench.bus.sent_texts()[-1] == "01063002#010500"


async def test_the_stop_button_is_pressed_and_released(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await trio.sleep(0.05)
        bench.driver.press_stop_button()
        pressed = trio.current_time()
        await trio.sleep(2)
        down, up = (
            bench.bus.sent_times("01063002#000001")[0],
            bench.bus.sent_times("01063002#000000", pressed),
        )
        assert down == pressed
        assert 0.2 <= up[0] - down <= 0.4


async def test_changed_limits_are_sent_at_most_every_100_ms(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await trio.sleep(0.5)
        begun = trio.current_time()
        for ampere in range(100):
            bench.driver.voltage_max_v, bench.driver.current_max_a = Decimal(1000), Decimal(ampere)
            bench.driver.send_status_now()
            await trio.sleep(0.01)
        bench.driver.current_max_a = Decimal(500)
        await trio.sleep(0.3)
        times = bench.bus.sent_times(LIMITS, begun)
        assert min(b - a for a, b in pairwise(times)) >= 0.1 - 1e-9
        assert "01063001#1027881300000000" in bench.bus.sent_texts(begun)


async def test_unchanged_frames_are_repeated_every_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await trio.sleep(4.95)
        for message in (LIMITS, FLAGS, OUTPUTS):
            assert len(bench.bus.sent_times(message)) == 5


async def test_leds_are_three_bytes_from_bit_4(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as bench:
        bench.driver.leds = (1, 2, 255)
        await trio.sleep(0.11)
        assert bench.bus.sent_texts()[-1] == "01063201#1020F00F00000000"


async def test_nothing_is_allowed_at_the_end(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as bench:
        bench.driver.enabled = bench.driver.start_allowed = True
        await trio.sleep(0.3)
        assert bench.bus.sent_texts()[-1] != NOTHING_ALLOWED
    assert bench.bus.sent_texts()[-1] == NOTHING_ALLOWED
    assert not bench.driver.enabled


async def test_a_new_run_begins_with_nothing_allowed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bus = BenchBus()
    driver = AdvanticsSecc(bus.line, evse_id=1)
    driver.enabled = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bus.line.run, print)
        nursery.start_soon(driver.run, print)
        await trio.testing.wait_all_tasks_blocked()
        assert bus.sent_texts()[0] == NOTHING_ALLOWED
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("frame", "report"),
    [
        ("0106B000#01", SeccHeartbeat(SeccState.WAITING_FOR_PEV)),
        ("0106B000#C8", SeccHeartbeat(SeccState.UNKNOWN)),
        ("0106B203#09E8030000000000", PilotState("B", 1000)),
        ("0106B203#0632000000000000", PilotState("C", 50)),
        ("0106B203#0CE8030000000000", PilotState("A", 1000)),
        ("0106B203#0332000000000000", PilotState("D", 50)),
        ("0106B203#0000000000000000", PilotState("E", 0)),
        ("0106B203#0732000000000000", PilotState("E", 50)),
        (
            "0106B003#5820C409C40948",
            PowerRequest(
                PowerFunction.POWER_TRANSFER, Decimal("828.0"), Decimal("250.0"), True, False
            ),
        ),
        (
            "0106B003#251C1400000064",
            PowerRequest(PowerFunction.PRECHARGE, Decimal("720.5"), Decimal("2.0"), True, False),
        ),
        (
            "0106B003#000000000000C1",
            PowerRequest(PowerFunction.STANDBY, Decimal(0), Decimal(0), True, True),
        ),
        (  # a request to discharge is 0 A
            "0106B003#58203CF63CF648",
            PowerRequest(PowerFunction.POWER_TRANSFER, Decimal("828.0"), Decimal(0), True, False),
        ),
        (  # an unknown function is Off
            "0106B003#5820C409C4094F",
            PowerRequest(PowerFunction.OFF, Decimal("828.0"), Decimal("250.0"), True, False),
        ),
        ("0106B002#01", ChargeStatus(started=True)),
        ("0106B002#00", ChargeStatus(started=False)),
        ("0106B004#00", SessionFinished(aborted=False)),
        ("0106B004#01", SessionFinished(aborted=True)),
        ("0106B005#01", SeccEmergency(by_ev=False)),
        ("0106B005#03", SeccEmergency(by_ev=True)),
        ("0106B201#00000000005B4E4D", CableTemperature(hottest_c=38, cpu_c=51)),
    ],
)
async def test_a_frame_of_the_controller_is_reported(
    autojump_clock: trio.testing.MockClock, frame: str, report: DeviceReport
) -> None:
    async with open_bench() as bench:
        bench.bus.inject_frame(frame)
        await trio.testing.wait_all_tasks_blocked()
        assert [each for each in bench.reports if not isinstance(each, DeviceReady)] == [report]


@pytest.mark.parametrize(
    "frame",
    ["0206B000#01", "0106B003#5820C4", "0106BFFF#01", "00000001#01", "123#01", "0106B000#"],
)
async def test_frames_of_others_and_truncated_ones_are_ignored(
    autojump_clock: trio.testing.MockClock, frame: str
) -> None:
    async with open_bench() as bench:
        bench.bus.inject_frame(frame)
        await trio.testing.wait_all_tasks_blocked()
        assert bench.reports == []


async def test_data_of_the_ev_is_combined_and_reported_on_change(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        for frame in (
            "0106B001#0201",
            "0106B100#4D0022005064",
            "0106B101#000058200000",
            "0106B102#0000A00F0000FA00",
            "0106B105#02A1B2C3D4E5",
            "0106B105#02A1B2C3D4E5",
        ):
            bench.bus.inject_frame(frame)
        await trio.testing.wait_all_tasks_blocked()
        assert len(bench.reports) == 4
        assert bench.reports[-1] == EvInformation(
            capacity_wh=Decimal(77_000),
            soc_percent=34,
            soc_target_percent=80,
            voltage_max_v=Decimal("828.0"),
            current_max_a=Decimal(400),
            power_max_w=Decimal(250_000),
            evcc_id="02A1B2C3D4E5",
        )


async def test_data_of_an_ev_is_not_reported_for_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        for frame in ("0106B001#0201", "0106B105#02A1B2C3D4E5", "0106B004#00", "0106B001#0201"):
            bench.bus.inject_frame(frame)
        bench.bus.inject_frame("0106B100#4D0022005064")
        await trio.testing.wait_all_tasks_blocked()
        last = bench.reports[-1]
        assert isinstance(last, EvInformation)
        assert (last.soc_percent, last.evcc_id) == (34, None)


async def test_a_silent_controller_is_a_fault_where_a_limit_is_set(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bus = BenchBus()
    driver = AdvanticsSecc(bus.line, evse_id=2, silent_after_s=0.2)

    async def heartbeats() -> None:
        for _ in range(10):
            bus.inject_frame("0206B000#01")
            await trio.sleep(0.1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bus.line.run, print)
        nursery.start_soon(heartbeats)
        with pytest.raises(NoResponse, match="EVSE 2"):
            await driver.run(lambda _: None)
        assert 1.0 <= trio.current_time() <= 1.4
        nursery.cancel_scope.cancel()
