"""CSMS connection over a network in memory: attempts, back-off, slots, and what ends it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketRequest

from journal.events import Observation
from journal.observations import (
    FrameMalformed,
    FrameReceived,
    FrameSent,
    LinkClosed,
    LinkFailed,
    LinkOpened,
)
from journal.projections.network_profiles import NetworkProfile
from journal.projections.pending_replies import PendingReply
from station.core.certificates import known_facts
from station.core.desired import DesiredCall
from station.core.html_text import import_html
from station.runtime.crypto.program import Answer, Order, execute
from station.runtime.csms.connection_failures import CONNECT_TIMEOUT_S, failure_text
from tests.runtime.fixtures_csms import (
    IDENTITY,
    PASSWORD,
    FakeRecorder,
    MemoryNetwork,
    PlainFrameFilter,
    accept_request,
    basic_credentials,
    desired_link,
    make_link,
    serve_until_closed,
    until_closed,
)
from tests.support.authorities import make_authority

LinkScenario = Callable[[FakeRecorder], Awaitable[None]]


async def reject_handshake(request: WebSocketRequest) -> None:
    await request.reject(503)


async def accept_and_close(request: WebSocketRequest) -> None:
    websocket = await accept_request(request)
    await websocket.aclose(1001, "maintenance")


async def test_without_a_loss_there_is_one_connection_a00_fr_001(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        recorder, network = FakeRecorder(desired_link("a")), MemoryNetwork(nursery)
        network.servers["a"] = serve_until_closed
        nursery.start_soon(make_link(recorder, network).run)
        await recorder.wait_for_observation(LinkOpened)
        await trio.sleep(1000)
        assert network.attempts == [(0.0, "a")]
        assert recorder.observed == [LinkOpened(1, "ws://a/ocpp", 1)]
        nursery.cancel_scope.cancel()


async def test_the_first_attempt_is_immediate_and_the_waits_double_part_4_5_3(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        recorder, network = FakeRecorder(desired_link("a")), MemoryNetwork(nursery)
        nursery.start_soon(make_link(recorder, network).run)
        await recorder.wait_for_observation(LinkFailed, 5)
        assert [when for when, _ in network.attempts] == [0, 10, 30, 70, 110]
        nursery.cancel_scope.cancel()


async def test_after_a_loss_the_first_wait_is_the_shortest_tc_b_57(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        recorder, network = FakeRecorder(desired_link("a")), MemoryNetwork(nursery)
        network.servers["a"] = accept_and_close
        nursery.start_soon(make_link(recorder, network).run)
        await recorder.wait_for_observation(LinkClosed, 2)
        network.servers["a"] = reject_handshake
        await recorder.wait_for_observation(LinkFailed, 1)
        network.servers["a"] = serve_until_closed
        await recorder.wait_for_observation(LinkOpened, 3)
        times = [when for when, _ in network.attempts]
        assert [round(then - before) for before, then in pairwise(times)] == [10, 10, 20]
        nursery.cancel_scope.cancel()


async def test_the_slots_are_tried_in_order_b10_fr_03(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        recorder, network = (
            FakeRecorder(desired_link("a", "b", attempts_per_candidate=2)),
            MemoryNetwork(nursery),
        )
        network.servers["b"] = serve_until_closed
        nursery.start_soon(make_link(recorder, network).run)
        opened = await recorder.wait_for_observation(LinkOpened)
        assert opened == LinkOpened(2, "ws://b/ocpp", 1)
        assert [host for _, host in network.attempts] == ["a", "a", "b"]
        assert [failed.slot for failed in recorder.link_failures] == [1, 1]
        nursery.cancel_scope.cancel()


async def test_the_url_ends_with_the_identity_and_the_header_has_the_password_a00_fr_203(
    autojump_clock: trio.testing.MockClock,
) -> None:
    requests: list[tuple[str, str]] = []

    async def server(request: WebSocketRequest) -> None:
        requests.append((request.path, basic_credentials(request)))
        await serve_until_closed(request)

    async with trio.open_nursery() as nursery:
        recorder, network = FakeRecorder(desired_link("a")), MemoryNetwork(nursery)
        network.servers["a"] = server
        nursery.start_soon(make_link(recorder, network).run)
        await recorder.wait_for_observation(LinkOpened)
        assert requests == [(f"/ocpp/{IDENTITY}", f"{IDENTITY}:{PASSWORD}")]
        nursery.cancel_scope.cancel()


async def test_a_new_password_is_used_at_once_a01_fr_03(
    autojump_clock: trio.testing.MockClock,
) -> None:
    requests: list[str] = []

    async def server(request: WebSocketRequest) -> None:
        requests.append(basic_credentials(request))
        await serve_until_closed(request)

    async with trio.open_nursery() as nursery:
        recorder, network = FakeRecorder(desired_link("a")), MemoryNetwork(nursery)
        network.servers["a"] = server
        nursery.start_soon(make_link(recorder, network).run)
        await recorder.wait_for_observation(LinkOpened)
        changed_at = trio.current_time()
        recorder.set_desired_link(password_reference="<new>")
        await recorder.wait_for_observation(LinkOpened, 2)
        assert trio.current_time() - changed_at < 1
        assert requests == [f"{IDENTITY}:{PASSWORD}", f"{IDENTITY}:another-password-altogether"]
        assert LinkClosed("the password was renewed") in recorder.observed
        nursery.cancel_scope.cancel()


async def test_the_reply_is_sent_before_the_connection_is_closed_a01_fr_03(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        recorder, network = FakeRecorder(desired_link("a")), MemoryNetwork(nursery)
        network.servers["a"] = serve_until_closed
        nursery.start_soon(make_link(recorder, network).run)
        await recorder.wait_for_observation(LinkOpened)
        replies = (PendingReply(7, "m-1", msgspec.Raw(b"{}")),)
        desired = recorder.desired_state.value
        link = msgspec.structs.replace(desired.link, password_reference="<new>")
        recorder.desired_state.set(msgspec.structs.replace(desired, link=link, replies=replies))
        await recorder.wait_for_observation(FrameSent)
        await trio.sleep(60)
        assert not [item for item in recorder.observed if isinstance(item, LinkClosed)]
        recorder.desired_state.set(
            msgspec.structs.replace(recorder.desired_state.value, replies=())
        )
        await recorder.wait_for_observation(LinkClosed)
        nursery.cancel_scope.cancel()


async def test_a_refused_password_is_a_security_event_with_back_off(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def server(request: WebSocketRequest) -> None:
        await request.reject(401)

    async with trio.open_nursery() as nursery:
        recorder, network = FakeRecorder(desired_link("a")), MemoryNetwork(nursery)
        network.servers["a"] = server
        nursery.start_soon(make_link(recorder, network).run)
        await recorder.wait_for_observation(LinkFailed, 3)
        assert {failed.security_event for failed in recorder.link_failures} == {
            "FailedToAuthenticateAtCsms"
        }
        assert [when for when, _ in network.attempts] == [0, 10, 30]
        assert PASSWORD not in str(recorder.observed)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("subprotocol", [None, "ocpp1.6"])
async def test_a_csms_that_does_not_choose_our_subprotocol_is_refused_part_4_3_1_2(
    autojump_clock: trio.testing.MockClock, subprotocol: str | None
) -> None:
    async with trio.open_nursery() as nursery:
        recorder, network = FakeRecorder(desired_link("a")), HandWrittenServer(nursery)
        network.subprotocol = subprotocol
        nursery.start_soon(make_link(recorder, network).run)
        failed = await recorder.wait_for_observation(LinkFailed)
        assert failed.security_event == ""
        assert not [item for item in recorder.observed if isinstance(item, LinkOpened)]
        nursery.cancel_scope.cancel()


class HandWrittenServer(MemoryNetwork):
    """A server with handshakes written by hand: the library has no such answers."""

    subprotocol: str | None = None

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._send_handshake, theirs)
        return ours

    async def _send_handshake(self, stream: trio.abc.Stream) -> None:
        request = bytes(await stream.receive_some())
        key = re.search(rb"Sec-WebSocket-Key: (.+)\r", request, re.IGNORECASE)
        assert key
        magic = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
        accept = base64.b64encode(hashlib.sha1(key[1] + magic).digest()).decode()
        chosen = f"Sec-WebSocket-Protocol: {self.subprotocol}\r\n" if self.subprotocol else ""
        await stream.send_all(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n{chosen}\r\n".encode()
        )


async def test_an_attempt_without_answer_ends_after_the_timeout(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def server(request: WebSocketRequest) -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        recorder, network = FakeRecorder(desired_link("a")), MemoryNetwork(nursery)
        network.servers["a"] = server
        nursery.start_soon(make_link(recorder, network).run)
        started_at = trio.current_time()
        failed = await recorder.wait_for_observation(LinkFailed)
        assert trio.current_time() - started_at == CONNECT_TIMEOUT_S
        assert failed.reason == f"no connection within {CONNECT_TIMEOUT_S:.0f} s"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1008, 1011, 3000, 4001])
async def test_after_any_close_code_the_station_reconnects(
    autojump_clock: trio.testing.MockClock, code: int
) -> None:
    async def server(request: WebSocketRequest) -> None:
        websocket = await accept_request(request)
        await websocket.aclose(code, "because")

    async with trio.open_nursery() as nursery:
        recorder, network = FakeRecorder(desired_link("a")), MemoryNetwork(nursery)
        network.servers["a"] = server
        nursery.start_soon(make_link(recorder, network).run)
        closed = await recorder.wait_for_observation(LinkClosed)
        assert closed.reason == f"closed by the CSMS: {code} because"
        network.servers["a"] = serve_until_closed
        await recorder.wait_for_observation(LinkOpened, 2)
        nursery.cancel_scope.cancel()


async def test_a_half_open_connection_is_detected_by_pings_part_4_5_2(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The packets of the CSMS are lost: nothing is closed, nothing is answered."""
    async with trio.open_nursery() as nursery:
        recorder, network = (
            FakeRecorder(desired_link("a", ping_interval_s=10)),
            LossyNetwork(nursery),
        )
        network.servers["a"] = serve_until_closed
        nursery.start_soon(make_link(recorder, network).run)
        await recorder.wait_for_observation(LinkOpened)
        await trio.sleep(100)
        assert not [item for item in recorder.observed if isinstance(item, LinkClosed)]
        network.drops_incoming = True
        started_at = trio.current_time()
        closed = await recorder.wait_for_observation(LinkClosed)
        assert closed.reason == "no pong within 10 s"
        assert trio.current_time() - started_at <= 25
        nursery.cancel_scope.cancel()


class LossyNetwork(MemoryNetwork):
    """Loses all data from the CSMS while `drops_incoming`."""

    drops_incoming = False

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        return LossyStream(await super().dial(host, port), self)


class LossyStream(trio.abc.Stream):
    def __init__(self, stream: trio.abc.Stream, network: LossyNetwork) -> None:
        self._stream, self._network = stream, network

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while True:
            data = bytes(await self._stream.receive_some(max_bytes))
            if not self._network.drops_incoming:
                return data
            if not data:
                await trio.sleep_forever()

    async def aclose(self) -> None:
        await self._stream.aclose()


async def test_frames_go_both_ways(autojump_clock: trio.testing.MockClock) -> None:
    texts: list[str] = []

    async def server(request: WebSocketRequest) -> None:
        websocket = await accept_request(request)
        await websocket.send_message('[2,"m-1","Reset",{}]')
        try:
            while True:
                texts.append(str(await websocket.get_message()))
        except ConnectionClosed:
            return

    async with trio.open_nursery() as nursery:
        recorder, network = FakeRecorder(desired_link("a")), MemoryNetwork(nursery)
        network.servers["a"] = server
        nursery.start_soon(make_link(recorder, network).run)
        received = await recorder.wait_for_observation(FrameReceived)
        assert bytes(received.frame) == b'[2,"m-1","Reset",{}]'
        call = DesiredCall(3, "m-9", "TransactionEvent", offline=True)
        recorder.desired_state.set(msgspec.structs.replace(recorder.desired_state.value, call=call))
        assert await recorder.wait_for_observation(FrameSent) == FrameSent("m-9")
        await trio.sleep(1)
        assert texts == ['[2,"m-9","TransactionEvent",{"offline":true}]']
        nursery.cancel_scope.cancel()


def serve_frames(*frames: str) -> Callable[[WebSocketRequest], Awaitable[None]]:
    """A CSMS that sends these frames and then waits."""

    async def serve(request: WebSocketRequest) -> None:
        websocket = await accept_request(request)
        for frame in frames:
            await websocket.send_message(frame)
        await until_closed(websocket)

    return serve


async def test_certificates_are_read_before_their_frame_is_observed_and_in_order() -> None:
    certificate = make_authority().pem
    payload = json.dumps({"certificateType": "CSMSRootCertificate", "certificate": certificate})
    frames = [f'[2,"1","InstallCertificate",{payload}]', '[2,"2","Reset",{}]']

    async with trio.open_nursery() as nursery:
        recorder, network = FakeRecorder(desired_link("a")), MemoryNetwork(nursery)
        network.servers["a"] = serve_frames(*frames)
        observed_before: list[list[Observation]] = []

        def examine(order: Order) -> Answer:
            assert threading.current_thread() is not threading.main_thread()
            observed_before.append([*recorder.observed])
            return execute(order)

        nursery.start_soon(make_link(recorder, network, examine=examine).run)
        with trio.fail_after(30):
            await recorder.wait_for_observation(FrameReceived, count=2)
        received = [each.frame for each in recorder.observed if isinstance(each, FrameReceived)]
        assert [bytes(frame).decode() for frame in received] == frames
        assert observed_before == [[LinkOpened(1, "ws://a/ocpp", 1)]]
        assert known_facts.knows((certificate,), (), ())
        nursery.cancel_scope.cancel()


async def test_html_is_imported_before_its_frame_is_observed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "html", raising=False)
    imported_before: list[int] = []

    async def run_blocking(act: Callable[[], Any]) -> Any:
        if act is import_html:
            imported_before.append(len(recorder.observed))
        return act()

    async with trio.open_nursery() as nursery:
        recorder, network = FakeRecorder(desired_link("a")), MemoryNetwork(nursery)
        network.servers["a"] = serve_frames('[3,"1",{"format":"HTML"}]')
        nursery.start_soon(make_link(recorder, network, run_blocking=run_blocking).run)
        await recorder.wait_for_observation(FrameReceived)
        assert imported_before == [1]  # LinkOpened
        assert "html" in sys.modules
        nursery.cancel_scope.cancel()


async def test_a_long_frame_is_filtered_in_a_thread_and_keeps_its_place() -> None:
    class ThreadFilter(PlainFrameFilter):
        def __init__(self) -> None:
            self.threads: list[int] = []

        def is_quick(self, text: str) -> bool:
            return len(text) < 100

        def to_observation(self, text: str) -> FrameReceived | FrameMalformed:
            self.threads.append(threading.get_ident())
            return super().to_observation(text)

    frames = ['[2,"1","Reset",{}]', f'[2,"2","DataTransfer",["{"x" * 100}"]]', '[2,"3","Reset",{}]']

    async with trio.open_nursery() as nursery:
        recorder, network = FakeRecorder(desired_link("a")), MemoryNetwork(nursery)
        network.servers["a"] = serve_frames(*frames)
        frame_filter = ThreadFilter()
        nursery.start_soon(make_link(recorder, network, frame_filter).run)
        with trio.fail_after(30):
            await recorder.wait_for_observation(FrameReceived, count=3)
        received = [each.frame for each in recorder.observed if isinstance(each, FrameReceived)]
        assert [bytes(frame).decode() for frame in received] == frames
        assert [thread == threading.get_ident() for thread in frame_filter.threads] == [
            True,
            False,
            True,
        ]
        nursery.cancel_scope.cancel()


async def test_with_no_slot_it_waits_for_one_a00_fr_004(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        recorder, network = FakeRecorder(desired_link()), MemoryNetwork(nursery)
        network.servers["a"] = serve_until_closed
        nursery.start_soon(make_link(recorder, network).run)
        await trio.sleep(100)
        assert network.attempts == []
        recorder.set_desired_link(candidates=desired_link("a").link.candidates)
        await recorder.wait_for_observation(LinkOpened)
        nursery.cancel_scope.cancel()


async def test_after_a_loss_the_slot_in_use_is_tried_first_b10_fr_03(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        recorder, network = (
            FakeRecorder(desired_link("a", "b", attempts_per_candidate=2)),
            MemoryNetwork(nursery),
        )
        network.servers["b"] = accept_and_close
        nursery.start_soon(make_link(recorder, network).run)
        await recorder.wait_for_observation(LinkClosed)
        del network.servers["b"]
        await recorder.wait_for_observation(LinkFailed, 5)
        assert [host for _, host in network.attempts] == ["a", "a", "b", "b", "b", "a"]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "url",
    [
        "ws://csms..example.com/",
        f"ws://{'a' * 64}.example/",
        "ws://a/caf\u00e9",
        "ws://\u00e9/",
        "ws://[/",
    ],
)
async def test_a_slot_that_cannot_be_requested_fails_and_the_next_one_is_tried_b10_fr_03(
    autojump_clock: trio.testing.MockClock, url: str
) -> None:
    """Such a slot may be in the journal: a release before accepted it."""
    async with trio.open_nursery() as nursery:
        desired = desired_link("a", attempts_per_candidate=1)
        candidates = (NetworkProfile(2, url, 1), *desired.link.candidates)
        link = msgspec.structs.replace(desired.link, candidates=candidates)
        recorder = FakeRecorder(msgspec.structs.replace(desired, link=link))
        network = MemoryNetwork(nursery)
        network.servers["a"] = serve_until_closed
        nursery.start_soon(make_link(recorder, network).run)
        await recorder.wait_for_observation(LinkOpened)
        [failed] = recorder.link_failures
        assert failed.slot == 2
        assert failed.reason.startswith("the URL cannot be used: ")
        nursery.cancel_scope.cancel()


async def test_any_exception_of_an_attempt_is_a_failed_attempt_b10_fr_03(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class RaisingNetwork(MemoryNetwork):
        async def dial(self, host: str, port: int) -> trio.abc.Stream:
            if host == "a":
                raise UnicodeError("label too long")
            return await super().dial(host, port)

    async with trio.open_nursery() as nursery:
        recorder = FakeRecorder(desired_link("a", "b", attempts_per_candidate=2))
        network = RaisingNetwork(nursery)
        network.servers["b"] = serve_until_closed
        nursery.start_soon(make_link(recorder, network).run)
        opened = await recorder.wait_for_observation(LinkOpened)
        assert opened.slot == 2
        assert [failed.reason for failed in recorder.link_failures] == [
            "internal error of the station: UnicodeError: label too long"
        ] * 2
        assert trio.current_time() == 10 + 20  # the back-off, twice
        nursery.cancel_scope.cancel()
    assert "internal error in an attempt to connect to ws://a/ocpp" in caplog.text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (socket.gaierror(-2, "Name or service not known"), "cannot be resolved; check the url"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (OSError("all attempts to connect to csms:443 failed"), "all attempts to connect"),
    ],
)
def test_a_failure_is_reported_without_the_names_of_the_library(error: OSError, text: str) -> None:
    reported = failure_text(error)
    assert text in reported
    assert "Error" not in reported
    assert "Errno" not in reported
