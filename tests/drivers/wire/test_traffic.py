"""The ring of recorded traffic, and what records into it."""

from __future__ import annotations

import pytest
import trio

from drivers.catalog import KINDS, driver_names, load_driver
from drivers.emulators.memory_port import open_memory_line
from drivers.ports import OpenDevices, PortLost
from drivers.wire.bus_traffic import BusTraffic
from drivers.wire.serial_port import Port
from drivers.wire.slcan import CanFrame, parse_frame
from drivers.wire.traffic import HEADER, SEGMENTS, RecordedPort, TrafficRing, read_records
from tests.drivers.fixtures_can import BenchBus

SENT = parse_frame("02A4003F#0001")
STANDARD = parse_frame("123#FF")


class Clock:
    """Counts up one second at each look."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 1
        return self.seconds


def records_of(ring: TrafficRing, since: float = 0.0) -> list[tuple[float, bool, bytes | None]]:
    return [
        (item.at, item.sent, item.data) for item in read_records(ring.copy_records(), since=since)
    ]


def test_records_come_back_in_order_with_time_and_direction() -> None:
    ring = TrafficRing(16_384, 60, clock=Clock())
    ring.add_frame(SENT, sent=True)
    ring.add_bytes(b"\x05\x02\x01", sent=False)
    ring.add_frame(STANDARD, sent=False)
    assert records_of(ring) == [
        (1.0, True, SENT.data),
        (2.0, False, b"\x05\x02\x01"),
        (3.0, False, STANDARD.data),
    ]
    first, _, last = read_records(ring.copy_records(), since=0)
    assert (first.can_id, first.extended) == (SENT.id, True)
    assert (last.can_id, last.extended) == (STANDARD.id, False)


def test_records_before_a_time_are_left_out() -> None:
    ring = TrafficRing(16_384, 60, clock=Clock())
    for number in range(5):
        ring.add_bytes(bytes([number]), sent=False)
    assert [data for _, _, data in records_of(ring, since=4.0)] == [b"\x03", b"\x04"]


def test_a_ring_is_bounded_and_keeps_the_newest() -> None:
    bytes_max = 16_384
    ring = TrafficRing(bytes_max, 1e6, clock=Clock())
    for number in range(5_000):
        ring.add_frame(CanFrame(number, b"12345678"), sent=False)
        assert len(ring.copy_records()) <= bytes_max
    kept = [record.can_id for record in read_records(ring.copy_records(), since=0)]
    assert kept == list(range(5_000 - len(kept), 5_000))
    assert len(kept) * (HEADER.size + 8) > bytes_max * (SEGMENTS - 2) / SEGMENTS


@pytest.mark.parametrize(("bytes_max", "part"), [(262_144, 0.7), (1_048_576, 1.0)])
def test_full_segments_are_compressed_unless_that_takes_long(bytes_max: int, part: float) -> None:
    ring = TrafficRing(bytes_max, 1e6, clock=Clock())
    count = bytes_max // (HEADER.size + len(SENT.data))
    for number in range(count):
        ring.add_frame(SENT, sent=number % 2 == 0)
    kept = records_of(ring)
    first = count - len(kept) + 1
    assert kept == [(at, at % 2 == 1, SENT.data) for at in range(first, count + 1)]
    memory = sum(len(segment) for segment in ring._segments)
    assert memory <= part * len(ring.copy_records())
    assert (memory == len(ring.copy_records())) is (part == 1)


def test_old_records_are_dropped_also_if_they_are_few() -> None:
    ring = TrafficRing(16_384, 60, clock=Clock())
    for number in range(1_000):
        ring.add_bytes(number.to_bytes(2, "big"), sent=False)
    times = [at for at, _, _ in records_of(ring)]
    assert times[-1] == 1_000
    assert 1_000 - 60 - 60 / SEGMENTS - 2 <= times[0] <= 1_000 - 60


def test_of_a_transfer_longer_than_a_segment_the_beginning_is_kept() -> None:
    ring = TrafficRing(16_384, 60, clock=Clock())
    ring.add_bytes(bytes(5_000), sent=False)
    [(_, _, data)] = records_of(ring)
    assert data is not None
    assert 0 < len(data) < 16_384 / SEGMENTS


def test_of_personal_data_only_the_length_is_kept() -> None:
    ring = TrafficRing(16_384, 60, hides_data=True, hidden_ids=frozenset())
    ring.add_bytes(b"\x04secret-uid", sent=False)
    [record] = read_records(ring.copy_records(), since=0)
    assert (record.data, record.length) == (None, 11)
    assert b"secret" not in ring.copy_records()
    ring = TrafficRing(16_384, 60, hidden_ids=frozenset({STANDARD.id}))
    ring.add_frame(STANDARD, sent=False)
    ring.add_frame(SENT, sent=False)
    hidden, shown = read_records(ring.copy_records(), since=0)
    assert (hidden.data, hidden.can_id, hidden.length) == (None, STANDARD.id, 1)
    assert shown.data == SENT.data


async def test_a_recorded_port_passes_and_records_everything() -> None:
    station, device = open_memory_line()
    ring = TrafficRing(16_384, 60, clock=Clock())
    port = RecordedPort(station, ring)
    await port.send(b"request")
    assert await device.receive() == b"request"
    await device.send(b"response")
    assert await port.receive() == b"response"
    await device.send(b"late")
    port.drain_input()
    assert port.receive_waiting() == b""
    assert records_of(ring) == [
        (1.0, True, b"request"),
        (2.0, False, b"response"),
        (3.0, False, b"late"),
    ]
    device.hang_up()
    with pytest.raises(PortLost):
        await port.receive()


async def test_a_bus_records_both_directions(autojump_clock: trio.testing.MockClock) -> None:
    bench = BenchBus()
    traffic = BusTraffic(16_384, 60)
    traffic.record_devices("modules", OpenDevices({}, bus=bench.line))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.line.run, lambda report: None)
        await bench.line.wait_until_open()
        await bench.line.send(SENT)
        bench.inject_frame(STANDARD)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    [bus] = traffic.copy_records()
    assert (bus.kind, bus.medium) == ("modules", "can")
    assert [(record.sent, record.can_id) for record in read_records(bus.records, since=0)] == [
        (True, SENT.id),
        (False, STANDARD.id),
    ]


async def test_a_serial_port_is_recorded_and_that_of_a_can_adapter_is_not() -> None:
    station, _ = open_memory_line()

    def open_port(path: str, *, baud: int, parity: str = "N", stop_bits: int = 1) -> Port:
        return station

    traffic = BusTraffic(16_384, 60)
    open_meter, open_adapter = (traffic.record_ports(kind, open_port) for kind in ("meter", "secc"))
    traffic.record_devices("meter", OpenDevices({}))
    traffic.record_devices("secc", OpenDevices({}, bus=BenchBus().line))
    assert isinstance(open_meter("/dev/meter", baud=9600), RecordedPort)
    assert open_adapter("/dev/can", baud=9600) is station


def test_drivers_of_people_hide_what_they_exchange() -> None:
    """Cards and texts; a new driver of these kinds must say so too."""
    for kind in ("reader", "display"):
        for name in driver_names(kind):
            driver = load_driver(kind, name)
            settings = driver.Settings(driver=name, port="/dev/x")
            assert driver.open(settings, (1,), open_nothing).personal, name
    secc = load_driver("secc", "advantics")
    opened = secc.open(secc.Settings(driver="advantics", port="/dev/x"), (1, 2), open_nothing)
    assert opened.personal_can_ids >= {0x0106_B105, 0x0206_B105}
    assert set(KINDS) >= {"reader", "display", "secc"}


def open_nothing(path: str, *, baud: int, parity: str = "N", stop_bits: int = 1) -> Port:
    raise AssertionError(path)
