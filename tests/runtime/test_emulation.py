"""Network and clock of a station with emulated devices: modes, back-off, steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import trio
import trio.testing

from station.runtime.clock import HostClock
from station.runtime.csms.dialer import Dialer
from station.runtime.emulation import EmulatedClock, EmulatedNetwork, PacketLossStream


async def test_a_silent_network_drops_data_in_both_directions() -> None:
    network = EmulatedNetwork()
    near, far = trio.testing.memory_stream_pair()
    stream = PacketLossStream(near, network)
    network.set_mode("silent")
    await stream.send_all(b"lost")
    await far.send_all(b"lost too")
    async with trio.open_nursery() as nursery:
        received: list[bytes] = []

        async def receive() -> None:
            received.append(await stream.receive_some())

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        assert received == []
        network.set_mode("up")
        await far.send_all(b"arrives")
    assert received == [b"arrives"]
    await stream.send_all(b"sent")
    assert await far.receive_some() == b"sent"


async def test_the_end_of_a_connection_is_noticed_once_the_network_is_not_silent() -> None:
    network = EmulatedNetwork()
    near, far = trio.testing.memory_stream_pair()
    stream = PacketLossStream(near, network)
    network.set_mode("silent")
    await far.aclose()
    with trio.move_on_after(0) as timeout:
        await stream.receive_some()
    assert timeout.cancelled_caught
    network.set_mode("up")
    assert await stream.receive_some() == b""


async def test_a_change_to_up_ends_the_back_off(autojump_clock: trio.testing.MockClock) -> None:
    network = EmulatedNetwork()
    started_at = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.wait_back_off, 600)
        await trio.testing.wait_all_tasks_blocked()
        network.set_mode("closed")
        network.set_mode("up")
    assert trio.current_time() == started_at
    await network.wait_back_off(600)
    assert trio.current_time() - started_at == 600


async def test_attempts_wait_for_up_and_only_closed_ends_a_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = EmulatedNetwork()
    network.set_mode("silent")
    for wait in (network.wait_until_up, network.wait_until_closed):
        with trio.move_on_after(600) as timeout:
            await wait()
        assert timeout.cancelled_caught
    network.set_mode("closed")
    await network.wait_until_closed()
    network.set_mode("up")
    await network.wait_until_up()


async def test_the_network_of_a_real_station_is_up_and_is_never_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    dialer = Dialer()
    await dialer.wait_until_up()
    with trio.move_on_after(1e6) as timeout:
        await dialer.wait_until_closed()
    assert timeout.cancelled_caught


def test_a_step_moves_the_wall_clock_and_not_the_uptime_p7() -> None:
    clock, host = EmulatedClock(), HostClock()
    clock.step_wall_clock(-3_600)
    assert abs(clock.utc() - datetime.now(UTC) + timedelta(hours=1)) < timedelta(seconds=5)
    assert abs(clock.uptime_ms() - host.uptime_ms()) < 5_000
    with pytest.raises(OverflowError):
        clock.step_wall_clock(1e12)
    assert clock.utc() < datetime.now(UTC)
