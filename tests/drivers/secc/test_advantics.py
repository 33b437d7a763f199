"""The driver of a charge controller: what it says, how often, and what it hears."""

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


async def test_it_begins_by_allowing_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as it:
        assert it.bus.sent_texts() == [
            NOTHING_ALLOWED,
            "01063001#0000000000000000",
            "01063002#000000",
            "01063201#0000000000000000",
        ]


async def test_the_status_is_sent_every_100_ms(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as it:
        await trio.sleep(5)
        times = it.bus.sent_times(STATUS)
        assert {round(b - a, 6) for a, b in pairwise(times)} == {0.1}


async def test_the_status_says_what_was_measured(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as it:
        driver = it.driver
        driver.voltage_v, driver.current_a = Decimal("720.5"), Decimal("249.8")
        driver.modules_c, driver.enclosure_c = 48, 36
        driver.enabled, driver.insulation_ohm = True, 2_000_000
        await trio.sleep(0.15)
        assert it.bus.sent_texts()[-1] == "01063000#251CC209584C01FF"
        driver.enabled = False
        await trio.sleep(0.11)
        assert it.bus.sent_texts()[-1] == "01063000#251CC209584C00FF"


async def test_an_unknown_insulation_is_told_as_none(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as it:
        it.driver.insulation_ohm = 99_999
        await trio.sleep(0.11)
        assert it.bus.sent_texts()[-1].endswith("31")  # 49 counts of 2 kohm: rounded down
        it.driver.insulation_ohm = None
        await trio.sleep(0.11)
        assert it.bus.sent_texts()[-1].endswith("00")


async def test_values_beyond_the_wire_stay_at_its_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as it:
        driver = it.driver
        driver.voltage_v, driver.current_a = Decimal(99_999), Decimal(-99_999)
        driver.modules_c, driver.enclosure_c = 400, -400
        await trio.sleep(0.11)
        assert it.bus.sent_texts()[-1] == "01063000#FFFF0080FF000000"


async def test_flags_leave_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as it:
        await trio.sleep(0.033)
        now = trio.current_time()
        it.driver.start_allowed = True
        await trio.testing.wait_all_tasks_blocked()
        assert it.bus.sent_times("01063002#010000") == [now]
        it.driver.authorized = True
        await trio.testing.wait_all_tasks_blocked()
        assert it.bus.sent_times("01063002#010300") == [now]
        it.driver.parameters_done = True
        await trio.testing.wait_all_tasks_blocked()
        assert it.bus.sent_times("01063002#010700") == [now]
        it.driver.authorized = False
        await trio.testing.wait_all_tasks_blocked()
        assert it.bus.sent_texts()[-1] == "01063002#010500"


async def test_the_stop_button_goes_down_and_up_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as it:
        await trio.sleep(0.05)
        it.driver.press_stop_button()
        pressed = trio.current_time()
        await trio.sleep(2)
        down, up = (
            it.bus.sent_times("01063002#000001")[0],
            it.bus.sent_times("01063002#000000", pressed),
        )
        assert down == pressed
        assert 0.2 <= up[0] - down <= 0.4


async def test_limits_are_told_when_they_change_but_not_faster_than_100_ms(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as it:
        await trio.sleep(0.5)
        begun = trio.current_time()
        for ampere in range(100):
            it.driver.voltage_max_v, it.driver.current_max_a = Decimal(1000), Decimal(ampere)
            it.driver.send_status_now()
            await trio.sleep(0.01)
        it.driver.current_max_a = Decimal(500)
        await trio.sleep(0.3)
        times = it.bus.sent_times(LIMITS, begun)
        assert min(b - a for a, b in pairwise(times)) >= 0.1 - 1e-9
        assert "01063001#1027881300000000" in it.bus.sent_texts(begun)


async def test_what_did_not_change_is_repeated_every_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as it:
        await trio.sleep(4.95)
        for message in (LIMITS, FLAGS, OUTPUTS):
            assert len(it.bus.sent_times(message)) == 5


async def test_leds_are_three_bytes_from_bit_4(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as it:
        it.driver.leds = (1, 2, 255)
        await trio.sleep(0.11)
        assert it.bus.sent_texts()[-1] == "01063201#1020F00F00000000"


async def test_on_the_way_out_nothing_is_allowed(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as it:
        it.driver.enabled = it.driver.start_allowed = True
        await trio.sleep(0.3)
        assert it.bus.sent_texts()[-1] != NOTHING_ALLOWED
    assert it.bus.sent_texts()[-1] == NOTHING_ALLOWED
    assert not it.driver.enabled


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
    ("said", "report"),
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
        (  # a wish to discharge is 0 A
            "0106B003#58203CF63CF648",
            PowerRequest(PowerFunction.POWER_TRANSFER, Decimal("828.0"), Decimal(0), True, False),
        ),
        (  # a function without a meaning is Off
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
async def test_what_the_controller_says_is_reported(
    autojump_clock: trio.testing.MockClock, said: str, report: DeviceReport
) -> None:
    async with open_bench() as it:
        it.bus.inject_frame(said)
        await trio.testing.wait_all_tasks_blocked()
        assert it.reports == [report]


@pytest.mark.parametrize(
    "said",
    ["0206B000#01", "0106B003#5820C4", "0106BFFF#01", "00000001#01", "123#01", "0106B000#"],
)
async def test_what_is_not_for_us_or_not_whole_is_left(
    autojump_clock: trio.testing.MockClock, said: str
) -> None:
    async with open_bench() as it:
        it.bus.inject_frame(said)
        await trio.testing.wait_all_tasks_blocked()
        assert it.reports == []


async def test_what_the_ev_tells_is_put_together_and_reported_on_change(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as it:
        for said in (
            "0106B001#0201",
            "0106B100#4D0022005064",
            "0106B101#000058200000",
            "0106B102#0000A00F0000FA00",
            "0106B105#02A1B2C3D4E5",
            "0106B105#02A1B2C3D4E5",
        ):
            it.bus.inject_frame(said)
        await trio.testing.wait_all_tasks_blocked()
        assert len(it.reports) == 4
        assert it.reports[-1] == EvInformation(
            capacity_wh=Decimal(77_000),
            soc_percent=34,
            soc_target_percent=80,
            voltage_max_v=Decimal("828.0"),
            current_max_a=Decimal(400),
            power_max_w=Decimal(250_000),
            evcc_id="02A1B2C3D4E5",
        )


async def test_the_next_ev_is_not_told_with_the_last_ones_data(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as it:
        for said in ("0106B001#0201", "0106B105#02A1B2C3D4E5", "0106B004#00", "0106B001#0201"):
            it.bus.inject_frame(said)
        it.bus.inject_frame("0106B100#4D0022005064")
        await trio.testing.wait_all_tasks_blocked()
        last = it.reports[-1]
        assert isinstance(last, EvInformation)
        assert (last.soc_percent, last.evcc_id) == (34, None)


async def test_a_silent_controller_is_no_answer_where_that_is_wanted(
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
