"""Bounds on what a CSMS, or a program in its place, can make the loop compute."""

from __future__ import annotations

import time

import pytest
import trio
from trio.testing import memory_stream_pair

from journal.observations import LinkClosed, LinkFailed, LinkOpened
from station.runtime.csms import guarded_stream
from station.runtime.csms.guarded_stream import (
    GuardedStream,
    ReceiveFlood,
    UpgradeAborted,
    UpgradeRefused,
)
from tests.runtime.csms.test_connection import HandWrittenServer
from tests.runtime.fixtures_csms import FakeRecorder, MemoryNetwork, desired_link, make_link

SLOW_MACHINE = 3  # tests share the processor with others
ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n"


async def open_pair() -> tuple[GuardedStream, trio.abc.Stream]:
    ours, theirs = memory_stream_pair()
    return GuardedStream(ours), theirs


async def test_an_accepted_handshake_is_passed_on_with_what_follows() -> None:
    stream, peer = await open_pair()
    await peer.send_all(ACCEPTED + b"\x81\x00")
    assert await stream.receive_some(4096) == ACCEPTED + b"\x81\x00"


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 500, 503])
async def test_a_refusal_is_known_before_its_body(status: int) -> None:
    stream, peer = await open_pair()
    await peer.send_all(f"HTTP/1.1 {status} No\r\ntransfer-encoding: chunked\r\n".encode())
    with pytest.raises(UpgradeRefused) as refused:
        await stream.receive_some(4096)
    assert refused.value.status == status


async def test_what_is_no_http_is_refused() -> None:
    stream, peer = await open_pair()
    await peer.send_all(b"SSH-2.0-server\r\n")
    with pytest.raises(UpgradeRefused, match="no HTTP"):
        await stream.receive_some(4096)


async def test_a_head_without_end_is_refused() -> None:
    stream, peer = await open_pair()
    await peer.send_all(b"HTTP/1.1 101 Switching\r\n" + b"x: y\r\n" * 10_000)
    with pytest.raises(UpgradeRefused, match="longer than"):
        await stream.receive_some(4096)


async def test_a_lost_connection_in_the_handshake_ends_the_attempt() -> None:
    """The library would wait for the rest of the answer until its timeout."""
    stream, peer = await open_pair()
    await peer.send_all(b"HTTP/1.1 101 Swi")
    await peer.aclose()
    with pytest.raises(UpgradeAborted):
        await stream.receive_some(4096)


async def opened_pair() -> tuple[GuardedStream, trio.abc.Stream]:
    stream, peer = await open_pair()
    await peer.send_all(ACCEPTED)
    await stream.receive_some(4096)
    return stream, peer


async def test_one_read_returns_little(autojump_clock: trio.testing.MockClock) -> None:
    stream, peer = await opened_pair()
    await peer.send_all(bytes(100_000))
    assert len(await stream.receive_some(65_536)) == guarded_stream.READ_BYTES_MAX
    assert len(await stream.receive_some()) == guarded_stream.READ_BYTES_MAX


async def test_bytes_without_a_message_end_the_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream, peer = await opened_pair()
    await peer.send_all(bytes(1 << 20))

    async def receive_everything() -> None:
        while True:
            await stream.receive_some(4096)

    with pytest.raises(ReceiveFlood):
        await receive_everything()


async def test_messages_and_time_start_the_count_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream, peer = await opened_pair()
    most = guarded_stream.BYTES_BETWEEN_MESSAGES_MAX
    for _ in range(3):
        await peer.send_all(bytes(most - 1024))
        for _ in range(most // 1024 - 1):
            await stream.receive_some(1024)
        stream.on_message()
    await peer.send_all(bytes(most - 1024))
    for _ in range(most // 1024 - 1):
        await stream.receive_some(1024)
    await trio.sleep(guarded_stream.WINDOW_S + 1)
    await peer.send_all(bytes(4096))
    assert await stream.receive_some(4096)


class FloodingServer(HandWrittenServer):
    """Accepts, then sends empty fragments of 2 bytes and never the end of the message."""

    async def _send_handshake(self, stream: trio.abc.Stream) -> None:
        await super()._send_handshake(stream)
        await stream.send_all(b"\x01\x00" + b"\x00\x00" * 400_000)


async def record_waits(waits_s: list[float]) -> None:
    """How long the loop works until another task has its turn, again and again.

    Processor time of this thread: other programs on the machine do not count.
    """
    last_s = time.thread_time()
    while True:
        await trio.sleep(0.001)
        now_s = time.thread_time()
        waits_s.append(now_s - last_s)
        last_s = now_s


@pytest.mark.slow
async def test_a_flood_of_empty_fragments_does_not_hold_the_loop() -> None:
    """Without the bounds: 225 ms for each 64 KiB, as long as the flood lasts."""
    waits_s: list[float] = []
    async with trio.open_nursery() as nursery:
        recorder, network = FakeRecorder(desired_link("a")), FloodingServer(nursery)
        network.subprotocol = "ocpp2.0.1"
        nursery.start_soon(make_link(recorder, network).run)
        await recorder.wait_for_observation(LinkOpened)
        nursery.start_soon(record_waits, waits_s)
        reason = ""
        with trio.move_on_after(15):
            reason = (await recorder.wait_for_observation(LinkClosed)).reason
        nursery.cancel_scope.cancel()
    # A slow machine reads less than the bound in its window: the flood is slowed down, not ended.
    assert not reason or "without a complete message" in reason
    assert sorted(waits_s)[len(waits_s) * 99 // 100] < 0.02 * SLOW_MACHINE


@pytest.mark.parametrize(
    ("status", "security_event"), [(401, "FailedToAuthenticateAtCsms"), (403, ""), (404, "")]
)
async def test_a_refusal_without_end_is_reported_with_advice_at_once(
    autojump_clock: trio.testing.MockClock, status: int, security_event: str
) -> None:
    class RefusingServer(MemoryNetwork):
        async def dial(self, host: str, port: int) -> trio.abc.Stream:
            ours, theirs = memory_stream_pair()
            self._nursery.start_soon(self._refuse, theirs)
            return ours

        async def _refuse(self, stream: trio.abc.Stream) -> None:
            await stream.receive_some()
            await stream.send_all(
                f"HTTP/1.1 {status} No\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            )
            while True:
                await stream.send_all(b"1\r\nx\r\n")
                await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        recorder, network = FakeRecorder(desired_link("a")), RefusingServer(nursery)
        nursery.start_soon(make_link(recorder, network).run)
        started_s = trio.current_time()
        failed = await recorder.wait_for_observation(LinkFailed)
        assert trio.current_time() - started_s < 1
        assert f"HTTP {status}" in failed.reason
        assert "Check" in failed.reason or "check" in failed.reason
        assert failed.security_event == security_event
        nursery.cancel_scope.cancel()
