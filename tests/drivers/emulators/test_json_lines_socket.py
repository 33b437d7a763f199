"""The quota of a socket: a flood waits, an idle connection makes room."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
import trio.testing

from drivers.emulators.json_lines_socket import (
    BURST_MAX,
    CONNECTIONS_MAX,
    REQUESTS_PER_S,
    JsonLinesSocket,
    RequestQuota,
)


@asynccontextmanager
async def open_socket(path: Path, quota: RequestQuota | None) -> AsyncIterator[None]:
    async def reply(line: bytes) -> dict[str, Any]:
        return {"ok": True, "line": line.decode()}

    server = JsonLinesSocket(path, reply, quota)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        yield
        nursery.cancel_scope.cancel()


async def ask(stream: trio.SocketStream, text: bytes = b"x") -> dict[str, Any]:
    await stream.send_all(text + b"\n")
    reply: dict[str, Any] = json.loads(await stream.receive_some(4096) or b"{}")
    return reply


async def test_requests_beyond_the_burst_wait_for_their_turn(
    autojump_clock: trio.testing.MockClock,
) -> None:
    quota = RequestQuota()
    began = trio.current_time()
    for _ in range(int(BURST_MAX)):
        await quota.wait_turn()
    assert trio.current_time() == began
    for _ in range(int(REQUESTS_PER_S)):
        await quota.wait_turn()
    assert abs(trio.current_time() - began - 1) < 0.05


async def test_clients_that_ask_at_the_same_time_share_the_quota(
    autojump_clock: trio.testing.MockClock,
) -> None:
    quota = RequestQuota()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(int(BURST_MAX + 2 * REQUESTS_PER_S)):
            nursery.start_soon(quota.wait_turn)
    assert abs(trio.current_time() - began - 2) < 0.05


async def test_a_pause_restores_the_burst_and_not_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    quota = RequestQuota()
    for _ in range(int(BURST_MAX)):
        await quota.wait_turn()
    await trio.sleep(1000 * BURST_MAX / REQUESTS_PER_S)
    began = trio.current_time()
    for _ in range(int(BURST_MAX) + 1):
        await quota.wait_turn()
    assert trio.current_time() > began


async def test_the_connection_that_is_idle_for_the_longest_time_makes_room(
    tmp_path: Path,
) -> None:
    path = tmp_path / "control.sock"
    async with open_socket(path, RequestQuota()):
        idle = await trio.open_unix_socket(str(path))
        busy = await trio.open_unix_socket(str(path))
        assert (await ask(idle))["ok"]
        streams = []
        for _ in range(CONNECTIONS_MAX):
            assert (await ask(busy))["ok"]
            streams.append(await trio.open_unix_socket(str(path)))
            assert (await ask(streams[-1]))["ok"]
        assert await idle.receive_some(1) == b""  # closed
        assert (await ask(busy))["ok"]
        for stream in (idle, busy, *streams):
            await stream.aclose()


async def test_without_a_quota_nothing_waits(tmp_path: Path) -> None:
    path = tmp_path / "emulator.sock"
    async with open_socket(path, None):
        stream = await trio.open_unix_socket(str(path))
        for _ in range(int(BURST_MAX) + 50):
            assert (await ask(stream, b"y"))["line"] == "y"
        await stream.aclose()
