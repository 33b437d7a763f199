"""The master of a shared line: one request at a time, timeouts, repetitions."""

import pytest
import trio
import trio.testing

from drivers.emulators.memory_port import MemoryPort, open_memory_line
from drivers.emulators.modbus_slave import ModbusSlave, ModbusSlaveBus
from drivers.ports import CommandRefused, GarbledResponse, NoResponse, PortLost
from drivers.wire.modbus_master import ModbusMaster
from drivers.wire.modbus_rtu import ExceptionCode, read_registers, write_register, write_registers
from tests.drivers.fixtures_serial import bus_with_units, running_tasks, sent_frames


class Memory(ModbusSlave):
    """Every register has its address as value until written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: dict[int, int] = {}

    def read_register(self, address: int) -> int:
        return self.written.get(address, address)

    def write_register(self, address: int, value: int) -> None:
        self.written[address] = value


async def test_units_and_drivers_share_a_line_one_request_at_a_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bus, slaves, device = bus_with_units({1: Memory(), 2: Memory()})
    answers: dict[tuple[int, int], tuple[int, ...]] = {}

    async def ask(unit: int, address: int) -> None:
        answers[unit, address] = await bus.execute_request(read_registers(unit, address, 2))

    async with running_tasks(slaves.run), trio.open_nursery() as askers:
        for unit in (1, 2):
            for address in range(5):
                askers.start_soon(ask, unit, address)
    assert answers == {(u, a): (a, a + 1) for u in (1, 2) for a in range(5)}
    assert len(device.sent) == 10
    assert trio.current_time() == pytest.approx(
        10 * 0.020 + 9 * 0.005
    )  # delays and pauses in a row


async def test_an_answer_in_single_bytes_after_noise_is_found(
    autojump_clock: trio.testing.MockClock,
) -> None:
    unit = Memory()
    unit.faults.noise = bytes.fromhex("00 FF 01 03")
    bus, slaves, device = bus_with_units({1: unit})
    async with running_tasks(slaves.run):
        device.peer_receive_max_bytes = 1
        assert await bus.execute_request(read_registers(1, 7, 1)) == (7,)
        assert device.sent == [bytes.fromhex("00 FF 01 03 01 03 02 00 07 F9 86")]


async def test_silence_is_an_error_with_numbers_after_three_attempts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    station, _device = open_memory_line()
    bus = ModbusMaster("memory", open_port=station.open)
    with pytest.raises(NoResponse, match=r"unit 9.*3 tries of 300 ms"):
        await bus.execute_request(read_registers(9, 0, 20))
    assert sent_frames(station) == ["09 03 00 00 00 14 44 8D"] * 3
    assert trio.current_time() == pytest.approx(0.910)


async def test_bytes_that_are_no_response_are_told_from_silence(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Another bit rate, or two devices with one address."""
    station, device = open_memory_line()
    bus = ModbusMaster("memory", open_port=station.open)

    async def garble() -> None:
        while True:
            await device.receive()
            await device.send(b"\xf8\x00\xe0")

    async with running_tasks(garble):
        with pytest.raises(GarbledResponse, match=r"no valid answer in 3 tries.* 9 other bytes"):
            await bus.execute_request(read_registers(9, 0, 20))


@pytest.mark.parametrize("fault", ["bad_crc", "truncated", "bit_errors"])
async def test_a_damaged_response_is_requested_again(
    autojump_clock: trio.testing.MockClock, fault: str
) -> None:
    unit = Memory()
    setattr(unit.faults, fault, {"bad_crc": True, "truncated": 4, "bit_errors": 1}[fault])
    bus, slaves, device = bus_with_units({1: unit})
    async with running_tasks(slaves.run):
        with trio.move_on_after(0.31):
            await bus.execute_request(read_registers(1, 7, 2))
        assert len(device.sent) == 1
        unit.faults = type(unit.faults)()
        assert await bus.execute_request(read_registers(1, 7, 2)) == (7, 8)


async def test_busy_is_repeated_and_any_other_exception_is_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    unit = Memory()
    bus, slaves, device = bus_with_units({1: unit})
    async with running_tasks(slaves.run):
        unit.faults.exception = ExceptionCode.BUSY
        with pytest.raises(CommandRefused, match=r"exception 6 \(busy\)"):
            await bus.execute_request(read_registers(1, 0, 1))
        assert len(device.sent) == 3
        unit.faults.exception = ExceptionCode.ILLEGAL_ADDRESS
        with pytest.raises(CommandRefused, match=r"unit 1.*at 4.*exception 2 \(illegal address\)"):
            await bus.execute_request(read_registers(1, 4, 1))
        assert len(device.sent) == 4


async def test_a_late_answer_is_not_taken_for_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    unit = Memory()
    bus, slaves, _ = bus_with_units({1: unit}, retries=0)
    async with running_tasks(slaves.run):
        unit.faults.slow_s = 0.4
        with pytest.raises(NoResponse):
            await bus.execute_request(read_registers(1, 1000, 1))
        unit.faults.slow_s = 0.0
        assert await bus.execute_request(read_registers(1, 2000, 1)) == (2000,)


async def test_a_response_that_waits_in_the_port_is_in_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """This process did not run until the timeout had passed: both are found at once."""

    class WaitingPort(MemoryPort):
        async def receive(self, max_bytes: int = 4096) -> bytes:
            await trio.sleep_forever()
            raise AssertionError

        async def send(self, data: bytes) -> None:
            await trio.lowlevel.checkpoint()

        def receive_waiting(self, max_bytes: int = 4096) -> bytes:
            return bytes.fromhex("01 03 02 00 07 F9 86")

    bus = ModbusMaster("memory", open_port=lambda *_, **__: WaitingPort(), retries=0)
    assert await bus.execute_request(read_registers(1, 7, 1)) == (7,)


async def test_a_cancelled_request_leaves_the_line_usable(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bus, slaves, _ = bus_with_units({1: Memory()})
    async with running_tasks(slaves.run):
        with trio.move_on_after(0.01) as impatient:
            await bus.execute_request(read_registers(1, 1000, 1))
        assert impatient.cancelled_caught
        assert await bus.execute_request(read_registers(1, 2000, 1)) == (2000,)


async def test_a_write_waits_for_no_late_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    unit = Memory()
    bus, slaves, _ = bus_with_units({1: unit})
    async with running_tasks(slaves.run):
        with trio.move_on_after(0.01):
            await bus.execute_request(write_registers(1, 0, (1,)))
        with trio.move_on_after(0.01):
            await bus.execute_request(write_registers(1, 0, (0,)))
        assert unit.written == {0: 0}


async def test_a_lost_port_is_an_error_and_opened_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bus, slaves, device = bus_with_units({1: Memory()})
    async with running_tasks(slaves.run):
        await bus.execute_request(write_register(1, 3, 44))
        device.hang_up()
        for _ in range(2):
            with pytest.raises(PortLost):
                await bus.execute_request(read_registers(1, 3, 1))
        device.plug_in()
        assert await bus.execute_request(read_registers(1, 3, 1)) == (44,)


async def test_bytes_from_before_the_request_do_not_count(
    autojump_clock: trio.testing.MockClock,
) -> None:
    station, device = open_memory_line()
    bus = ModbusMaster("memory", open_port=station.open, retries=0)
    slaves = ModbusSlaveBus(device, {1: Memory()})
    async with running_tasks(slaves.run):
        await bus.execute_request(read_registers(1, 5, 1))
        await device.send(bytes.fromhex("01 03 02 00 63 F8 6D"))  # register 5 is 99
        assert await bus.execute_request(read_registers(1, 5, 1)) == (5,)
