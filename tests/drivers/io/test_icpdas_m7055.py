"""The I/O module: bytes of the manual, cycle, watchdog."""

from collections import Counter
from pathlib import Path

import pytest
import trio
import trio.testing

from drivers.emulators.icpdas_m7055 import EmulatedM7055
from drivers.emulators.memory_port import open_memory_line
from drivers.emulators.modbus_slave import ModbusSlaveBus
from drivers.emulators.pty import Pty
from drivers.io.icpdas_m7055 import RESET_FLAG, WATCHDOG_STATUS, IcpdasM7055
from drivers.ports import (
    CommandRefused,
    DeviceReady,
    DigitalInputs,
    InvalidResponse,
    NoResponse,
    PortLost,
)
from drivers.wire import modbus_rtu
from drivers.wire.modbus_master import ModbusMaster
from drivers.wire.modbus_rtu import ExceptionCode, encode_request
from tests.drivers.fixtures_serial import ReportLog, running_tasks, sent_frames, wait_until

CONTACTORS, GREEN, EMERGENCY_STOP_LOOP = 0, 4, 0  # channels of module A


def request_hex(request: modbus_rtu.Request) -> str:
    return encode_request(request).hex(" ").upper()


ALL_OFF = request_hex(modbus_rtu.write_coils(5, 0, (0,) * 8))
SET_UP = [
    request_hex(modbus_rtu.read_registers(5, 0x1E0, 4)),  # firmware and name
    ALL_OFF,  # all outputs off
    "05 0F 00 80 00 08 01 00 FE B8",  # safe values 0
    "05 0F 00 A0 00 08 01 00 7F 7F",  # power-on values 0
    "05 06 01 E8 00 14 09 89",  # watchdog 2.0 s
    request_hex(modbus_rtu.write_coil(5, 0x103, False)),  # mode 0
    "05 05 01 04 FF 00 CD 83",  # watchdog on
    "05 05 01 0D FF 00 1D 81",  # clear its status
    ALL_OFF,  # off again: the first was ignored if the status was set
    "05 01 01 10 00 01 FC 77",  # take the reset flag
]


class IoBench:
    """A module on a line in memory, and its reports."""

    def __init__(self, inputs: int = 0x8D) -> None:
        self.station, self.device = open_memory_line()
        self.module = EmulatedM7055(inputs=inputs)
        self.slaves = ModbusSlaveBus(self.device, {5: self.module})
        self.bus = ModbusMaster("memory", open_port=self.station.open)
        self.io = IcpdasM7055(self.bus)
        self.reports = ReportLog()

    async def run_driver(self) -> None:
        await self.io.run(self.reports)

    def last_inputs(self) -> DigitalInputs:
        return self.reports.last_report(DigitalInputs)


async def test_the_set_up_sends_the_bytes_of_the_manual(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cabinet = IoBench()
    async with running_tasks(cabinet.slaves.run, cabinet.run_driver):
        await trio.sleep(0.15)
    assert sent_frames(cabinet.station)[:11] == [*SET_UP, "05 02 00 20 00 08 79 82"]
    assert cabinet.reports.all[0] == DeviceReady("ICP DAS 00705500 firmware 00010200")
    assert cabinet.module.watchdog_on
    assert (cabinet.module.watchdog_time, cabinet.module.watchdog_mode) == (20, 0)


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("05 01 00 20 00 08 3D 82", "05 01 01 8D 90 DD"),
        ("05 02 00 20 00 08 79 82", "05 02 01 8D 60 DD"),
        ("05 0F 00 00 00 08 01 05 3F 65", "05 0F 00 00 00 08 55 89"),
        ("05 05 00 00 FF 00 8D BE", "05 05 00 00 FF 00 8D BE"),
        ("05 06 01 E8 00 14 09 89", "05 06 01 E8 00 14 09 89"),
        ("05 05 01 04 FF 00 CD 83", "05 05 01 04 FF 00 CD 83"),
        ("05 05 01 0D FF 00 1D 81", "05 05 01 0D FF 00 1D 81"),
        ("05 02 00 30 00 08 78 47", "05 82 02 80 A0"),
    ],
)
async def test_the_emulated_module_answers_with_the_bytes_of_the_manual(
    autojump_clock: trio.testing.MockClock, request_: str, answer: str
) -> None:
    cabinet = IoBench(inputs=0x8D)
    async with running_tasks(cabinet.slaves.run):
        await cabinet.station.send(bytes.fromhex(request_))
        await trio.sleep(0.1)
    assert sent_frames(cabinet.device) == [answer]


async def test_inputs_are_reported_every_100_ms(autojump_clock: trio.testing.MockClock) -> None:
    cabinet = IoBench(inputs=0x8D)
    async with running_tasks(cabinet.slaves.run, cabinet.run_driver):
        await trio.sleep(1.0)
        count = len(cabinet.reports.reports_of(DigitalInputs))
        cabinet.module.stuck_inputs[EMERGENCY_STOP_LOOP] = False
        await trio.sleep(0.11)
    assert 8 <= count <= 10
    first = cabinet.reports.reports_of(DigitalInputs)[0]
    assert (first.unit, first.bits, first.watchdog_fired, first.was_reset) == (
        5,
        0x8D,
        False,
        False,
    )
    assert cabinet.last_inputs().bits == 0x8C


async def test_an_idle_module_is_read_every_250_ms_and_at_once_when_that_ends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cabinet = IoBench()
    async with running_tasks(cabinet.slaves.run, cabinet.run_driver):
        await trio.sleep(1.0)
        cabinet.io.idle = True
        await trio.sleep(0.3)
        cabinet.reports.clear()
        await trio.sleep(2.0)
        assert len(cabinet.reports.reports_of(DigitalInputs)) == 8
        cabinet.module.stuck_inputs[EMERGENCY_STOP_LOOP] = False
        cabinet.io.idle = False
        cabinet.reports.clear()
        await trio.sleep(0.1 + 0.02)  # at most a cycle, if one has just begun
        assert cabinet.last_inputs().bits == 0x8C
        await trio.sleep(1.0)
        assert len(cabinet.reports.reports_of(DigitalInputs)) >= 10


async def test_a_flag_is_read_in_each_cycle_and_in_every_other_one_while_idle(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cabinet = IoBench()
    watchdog = request_hex(modbus_rtu.read_coils(5, WATCHDOG_STATUS, 1))
    reset = request_hex(modbus_rtu.read_coils(5, RESET_FLAG, 1))
    async with running_tasks(cabinet.slaves.run, cabinet.run_driver):
        for idle, count in ((False, 10), (True, 2)):
            cabinet.io.idle = idle
            await trio.sleep(1.0)
            before = Counter(sent_frames(cabinet.station))
            await trio.sleep(2.0)
            sent = Counter(sent_frames(cabinet.station)) - before
            assert abs(sent[watchdog] - count) <= 1
            assert abs(sent[reset] - count) <= 1


async def test_the_outputs_of_an_idle_module_are_written_every_half_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cabinet = IoBench()
    cabinet.io.idle = True
    async with running_tasks(cabinet.slaves.run, cabinet.run_driver):
        await trio.sleep(1.0)
        before = sent_frames(cabinet.station).count(ALL_OFF)
        await trio.sleep(4.0)
        assert sent_frames(cabinet.station).count(ALL_OFF) - before >= 7


async def test_a_missed_idle_cycle_is_repeated_before_the_inputs_are_stale(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cabinet = IoBench()
    cabinet.io.idle = True
    async with running_tasks(cabinet.slaves.run, cabinet.run_driver):
        await trio.sleep(1.0)
        for _ in range(3):
            cabinet.reports.clear()
            while not cabinet.reports.reports_of(DigitalInputs):
                await trio.sleep(0.001)
            read_at = cabinet.last_inputs().read_at
            await trio.sleep(0.05)  # the end of this cycle
            cabinet.module.faults.silent = True
            await trio.sleep(0.25)
            cabinet.module.faults.silent = False
            cabinet.reports.clear()
            await trio.sleep(0.2)
            assert 0.25 < cabinet.reports.reports_of(DigitalInputs)[0].read_at - read_at < 0.45


async def test_a_changed_output_does_not_wait_for_the_cycle(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cabinet = IoBench()
    async with running_tasks(cabinet.slaves.run, cabinet.run_driver):
        await trio.sleep(1.03)
        cabinet.io.set_output(CONTACTORS, True)
        cabinet.io.set_output(GREEN, True)
        await trio.sleep(0.02)
        assert cabinet.module.outputs == 1 << CONTACTORS | 1 << GREEN
        cabinet.io.set_output(CONTACTORS, False)
        await trio.sleep(0.02)
        assert cabinet.module.outputs == 1 << GREEN


async def test_reports_have_the_confirmed_outputs_and_since_when(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cabinet = IoBench()
    async with running_tasks(cabinet.slaves.run, cabinet.run_driver):
        await trio.sleep(1.03)
        ordered_at = trio.current_time()
        cabinet.io.set_output(CONTACTORS, True)
        assert cabinet.last_inputs().outputs == 0
        await trio.sleep(0.1)
        first = cabinet.last_inputs()
        await trio.sleep(1)
        last = cabinet.last_inputs()
    assert first.outputs == last.outputs == 1 << CONTACTORS
    assert ordered_at < first.outputs_at == last.outputs_at < first.read_at < last.read_at


async def test_outputs_are_not_known_after_a_write_without_response(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cabinet = IoBench()
    async with running_tasks(cabinet.slaves.run, cabinet.run_driver):
        await trio.sleep(1.03)
        cabinet.module.faults.truncated = 3
        cabinet.io.set_output(CONTACTORS, True)
        await trio.sleep(0.05)
        cabinet.module.faults = type(cabinet.module.faults)()
        assert cabinet.module.outputs == 1 << CONTACTORS  # it was executed
        reported = len(cabinet.reports.all)
        while len(cabinet.reports.all) == reported:
            await trio.sleep(0.002)
        assert cabinet.last_inputs().outputs is None
        await trio.sleep(0.2)
        assert cabinet.last_inputs().outputs == 1 << CONTACTORS


async def test_outputs_are_off_after_a_fired_watchdog(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cabinet = IoBench()
    async with running_tasks(cabinet.slaves.run, cabinet.run_driver):
        await trio.sleep(1.03)
        cabinet.io.set_output(CONTACTORS, True)
        await trio.sleep(0.5)
        autojump_clock.jump(3)
        await trio.sleep(0.25)
        assert cabinet.last_inputs().watchdog_fired
        assert cabinet.last_inputs().outputs == 0


@pytest.mark.timeout(20)  # in a busy loop no virtual time passes
async def test_an_output_that_was_changed_and_changed_back_causes_no_busy_loop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cabinet = IoBench()
    async with running_tasks(cabinet.slaves.run, cabinet.run_driver):
        await trio.sleep(0.25)
        cabinet.io.set_output(GREEN, True)
        cabinet.io.set_output(GREEN, False)
        await trio.sleep(1)
        assert cabinet.module.outputs == 0


async def test_unchanged_outputs_are_written_every_half_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cabinet = IoBench()
    async with running_tasks(cabinet.slaves.run, cabinet.run_driver):
        await trio.sleep(1)
        cabinet.io.outputs = 0b101
        cabinet.station.sent.clear()
        await trio.sleep(2.05)
    assert sent_frames(cabinet.station).count("05 0F 00 00 00 08 01 05 3F 65") in (4, 5)


async def test_all_outputs_are_off_when_the_driver_is_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cabinet = IoBench()
    async with running_tasks(cabinet.slaves.run):
        async with running_tasks(cabinet.run_driver):
            await trio.sleep(1)
            cabinet.io.outputs = 0xFF
            await trio.sleep(0.2)
            assert cabinet.module.outputs == 0xFF
        assert cabinet.module.outputs == 0
        assert cabinet.io.outputs == 0b0111_1100


async def test_three_missed_cycles_are_a_lost_module_and_its_watchdog_opens(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cabinet = IoBench()
    async with running_tasks(cabinet.slaves.run):

        async def fall_silent() -> None:
            await trio.sleep(1)
            cabinet.io.outputs = 0b1
            await trio.sleep(0.2)
            cabinet.module.faults.silent = True

        async with running_tasks(fall_silent):
            with pytest.raises(NoResponse, match="I/O module 5 on memory: 3 cycles missed"):
                await cabinet.run_driver()
        assert trio.current_time() - 1.2 < 0.7  # with the last write, which has no response
        assert cabinet.module.driven_outputs == 0b1
        assert cabinet.io.outputs == 0
        await trio.sleep(1.8)
        assert cabinet.module.driven_outputs == 0
        assert cabinet.module.watchdog_fired


async def test_two_missed_cycles_are_not_yet_a_fault(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cabinet = IoBench()
    async with running_tasks(cabinet.slaves.run, cabinet.run_driver):
        for _ in range(3):
            await trio.sleep(1.03)  # between two cycles
            cabinet.module.faults.silent = True
            await trio.sleep(0.2)
            cabinet.module.faults.silent = False
        cabinet.reports.clear()
        await trio.sleep(1)
    assert cabinet.last_inputs().bits == 0x8D


async def test_a_refusing_module_is_lost_too(autojump_clock: trio.testing.MockClock) -> None:
    cabinet = IoBench()
    cabinet.module.faults.exception = ExceptionCode.DEVICE_FAILURE
    async with running_tasks(cabinet.slaves.run):
        with pytest.raises(CommandRefused, match="device failure"):
            await cabinet.run_driver()


async def test_bit_noise_costs_cycles_but_never_gives_wrong_inputs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cabinet = IoBench()
    async with running_tasks(cabinet.slaves.run):

        async def noise() -> None:
            await trio.sleep(1)
            cabinet.module.faults.bit_errors = 3

        async with running_tasks(noise):
            with pytest.raises(NoResponse):
                await cabinet.run_driver()
    assert {inputs.bits for inputs in cabinet.reports.reports_of(DigitalInputs)} == {0x8D}


async def test_a_module_that_lost_power_is_set_up_again_with_its_power_outputs_off(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cabinet = IoBench()
    async with running_tasks(cabinet.slaves.run, cabinet.run_driver):
        await trio.sleep(1)
        cabinet.io.outputs = 1 << CONTACTORS | 1 << GREEN
        await trio.sleep(0.3)
        cabinet.module.reboot()
        cabinet.module.watchdog_on = False
        cabinet.reports.clear()
        await trio.sleep(1)
        assert cabinet.module.watchdog_on
        assert cabinet.io.outputs == cabinet.module.outputs == 1 << GREEN
    assert [inputs.was_reset for inputs in cabinet.reports.reports_of(DigitalInputs)].count(
        True
    ) == 1
    assert len(cabinet.reports.reports_of(DeviceReady)) == 1


async def test_a_driver_that_starts_closes_nothing_that_was_ordered_before(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cabinet = IoBench()
    cabinet.io.outputs = 1 << CONTACTORS | 1 << GREEN
    async with running_tasks(cabinet.slaves.run, cabinet.run_driver):
        for _ in range(100):
            await trio.sleep(0.01)
            assert not cabinet.module.outputs & 1 << CONTACTORS
        assert cabinet.module.outputs == 1 << GREEN


async def test_a_fired_watchdog_is_reported_and_stays_until_cleared_by_order(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cabinet = IoBench()
    async with running_tasks(cabinet.slaves.run, cabinet.run_driver):
        await trio.sleep(1)
        cabinet.io.outputs = 1 << CONTACTORS | 1 << GREEN
        cabinet.module.feeds_watchdog = False
        await trio.sleep(2.5)
        cabinet.module.feeds_watchdog = True
        await trio.sleep(2)
        assert cabinet.last_inputs().watchdog_fired
        assert cabinet.module.outputs == 0
        assert cabinet.io.outputs == 1 << GREEN
        cabinet.io.set_output(CONTACTORS, True)
        await trio.sleep(1)
        assert cabinet.io.outputs == 1 << GREEN
        cabinet.io.clear_watchdog()
        await trio.sleep(0.15)
        assert not cabinet.last_inputs().watchdog_fired
        assert cabinet.module.outputs == 1 << GREEN
        cabinet.io.set_output(CONTACTORS, True)
        await trio.sleep(0.1)
        assert cabinet.module.outputs == 1 << CONTACTORS | 1 << GREEN


async def test_the_watchdog_test_passes(autojump_clock: trio.testing.MockClock) -> None:
    cabinet = IoBench()
    async with running_tasks(cabinet.slaves.run, cabinet.run_driver):
        await trio.sleep(1)
        cabinet.io.set_output(GREEN, True)
        await trio.sleep(0.3)
        cabinet.io.test_watchdog()
        assert cabinet.io.watchdog_works is None
        await trio.sleep(4)
        assert cabinet.io.watchdog_works is True
        assert cabinet.module.outputs == 1 << GREEN
        cabinet.io.set_output(CONTACTORS, True)
        with pytest.raises(ValueError, match="power outputs are on"):
            cabinet.io.test_watchdog()


async def test_a_watchdog_that_does_not_fire_is_a_fault(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cabinet = IoBench()
    async with running_tasks(cabinet.slaves.run):

        async def prove() -> None:
            await trio.sleep(1)
            cabinet.module.watchdog_on = False
            cabinet.io.test_watchdog()

        async with running_tasks(prove):
            with pytest.raises(InvalidResponse, match=r"2000 ms of silence, watchdog status 0"):
                await cabinet.run_driver()
    assert cabinet.io.watchdog_works is False


async def test_after_a_timeout_mode_1_takes_outputs_at_once_and_mode_0_only_when_cleared(
    autojump_clock: trio.testing.MockClock,
) -> None:
    module = EmulatedM7055()
    for mode, outputs in ((0, 0), (1, 0b10)):
        module.reboot()
        for address, on in ((0x103, bool(mode)), (0x104, True)):
            module.handle_request(modbus_rtu.write_coil(5, address, on))
        module.handle_request(modbus_rtu.write_register(5, 0x1E8, 20))
        module.handle_request(modbus_rtu.write_coil(5, 0, True))
        await trio.sleep(1.9)
        assert module.outputs == 1
        await trio.sleep(0.2)
        assert module.outputs == 0
        module.handle_request(modbus_rtu.write_coil(5, 1, True))
        assert module.outputs == outputs
        assert module.read_register(0x1EB) == 1


async def test_a_dead_coil_and_a_welded_contactor() -> None:
    module = EmulatedM7055(inputs=0)
    module.handle_request(modbus_rtu.write_coils(5, 0, (1, 1, 0, 0, 0, 0, 0, 0)))
    module.dead_outputs.add(0)
    module.stuck_inputs[1] = True
    assert (module.outputs, module.driven_outputs) == (0b11, 0b10)
    assert module.handle_request(modbus_rtu.read_coils(5, 0x20, 8)) == modbus_rtu.append_crc(
        b"\x05\x01\x01\x02"
    )


async def test_power_on_and_safe_values_survive_a_reboot() -> None:
    module = EmulatedM7055()
    module.handle_request(modbus_rtu.write_coils(5, 0xA0, (0, 1, 0, 0, 0, 0, 0, 0)))
    module.handle_request(modbus_rtu.write_coils(5, 0x80, (0, 0, 1, 0, 0, 0, 0, 0)))
    module.reboot()
    assert (module.outputs, module.safe_values) == (0b10, 0b100)
    fresh = modbus_rtu.read_coils(5, 0x110, 1)
    assert [module.handle_request(fresh)[3] for _ in range(2)] == [1, 0]


async def test_latches_keep_an_input_that_moved() -> None:
    module = EmulatedM7055(inputs=0b1)
    module.handle_request(modbus_rtu.read_coils(5, 0x20, 8))
    module.inputs = 0b10
    high, low = modbus_rtu.read_coils(5, 0x40, 8), modbus_rtu.read_coils(5, 0x60, 8)
    assert module.handle_request(high)[3] == 0b11
    assert module.handle_request(low)[3] == 0xFF
    module.inputs = 0
    module.handle_request(modbus_rtu.write_coil(5, 0x107, True))
    assert module.handle_request(high)[3] == 0


def test_a_ninth_output_is_refused() -> None:
    io = IoBench().io
    with pytest.raises(ValueError, match="8 outputs"):
        io.set_output(8, True)


async def test_two_modules_on_a_pty_keep_their_cycle(tmp_path: Path) -> None:
    first, second = EmulatedM7055(inputs=0x01), EmulatedM7055(inputs=0x80, address=6)
    reports = ReportLog()
    with Pty(tmp_path / "io") as device:
        bus = ModbusMaster(device.path)
        a = IcpdasM7055(bus, address=5, timeout_ms=1000)
        b = IcpdasM7055(bus, address=6, timeout_ms=1000, power_outputs=(0, 1))
        async with running_tasks(ModbusSlaveBus(device, {5: first, 6: second}).run):
            async with running_tasks(lambda: a.run(reports), lambda: b.run(reports)):
                await wait_until(
                    lambda: {report.unit for report in reports.reports_of(DigitalInputs)} == {5, 6}
                )
                b.outputs = 0x80
                await wait_until(lambda: second.outputs == 0x80)
                assert first.outputs == 0
            assert second.outputs == 0
            device.unplug()
            with pytest.raises(PortLost):
                await a.run(reports)
        bus.close()
    last = {report.unit: report.bits for report in reports.reports_of(DigitalInputs)}
    assert last == {5: 0x01, 6: 0x80}
