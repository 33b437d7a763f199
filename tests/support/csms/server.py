"""The test CSMS: a WebSocket server in a thread, driven by blocking calls from the test."""

from __future__ import annotations

import asyncio
import http
import itertools
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import unquote

from ocpp.messages import Call, CallError, get_validator
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.headers import parse_authorization_basic
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from tests.support.csms.answers import CsmsResponses
from tests.support.csms.conversation import CallRouter
from tests.support.csms.faults import Disturbance
from tests.support.csms.frames import CALL, CALLERROR, CALLRESULT, Frame, Payload, parse_frame
from tests.support.csms.ledger import Ledger
from tests.support.csms.record import FrameRecord, ResponseTimes

SUBPROTOCOL = "ocpp2.0.1"
START_TIMEOUT_S = 30
FRAME_BYTES_MAX = 4 * 1024 * 1024

T = TypeVar("T")


class StationNotConnected(Exception):
    """No station is connected."""


class ResponseTimeout(Exception):
    """The station did not answer a CALL in time, or the connection closed before."""


class CallErrorReceived(Exception):
    """The station answered a CALL with a CALLERROR."""

    def __init__(self, action: str, code: str, description: str) -> None:
        super().__init__(f"{action}: {code}: {description}")
        self.code = code
        self.description = description


@dataclass(frozen=True)
class Handshake:
    """One connection attempt of a station."""

    path: str
    identity: str
    user: str | None  # of basic authentication
    subprotocols: tuple[str, ...]
    accepted: bool
    monotonic_s: float
    client_certificate: bytes = b""  # DER, of a station with security profile 3


@dataclass
class StationLink:
    """One WebSocket connection of a station."""

    number: int  # from 1
    identity: str
    socket: ServerConnection
    conversation: CallRouter
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class Csms:
    """`with Csms() as csms:` listens on a loopback port; `csms.url` is for the station's config.

    Every public method may be called from any thread, blocks, and raises on timeout. One station
    at a time: a new connection becomes the current one.

    Args:
        port: 0 takes a free port, which `stop_listening` and `start_listening` keep.
        passwords: password by identity; None accepts every station.
        tls: serve `wss` with this context.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        passwords: dict[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.port = port
        self.passwords = passwords
        self.responses = CsmsResponses()
        self.record = FrameRecord()
        self.disturbances: list[Disturbance] = []
        self.handshakes: list[Handshake] = []
        self.refuse_with: http.HTTPStatus | None = None  # answers every handshake with this status
        self._tls = tls
        self._current_link: StationLink | None = None
        self._links = itertools.count(1)
        self._message_ids = itertools.count(1)
        self._pending: dict[str, asyncio.Future[Frame]] = {}
        self._thread = threading.Thread(target=self._run_thread, name="csms", daemon=True)
        self._loop_future: Future[asyncio.AbstractEventLoop] = Future()

    def __enter__(self) -> Self:
        self._thread.start()
        self._loop_future.result(START_TIMEOUT_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop_requested.set)
        self._thread.join(START_TIMEOUT_S)
        assert not self._thread.is_alive(), "the CSMS's thread did not end"

    # What the station sent.

    @property
    def url(self) -> str:
        """Without the identity, which the station appends."""
        return f"{'wss' if self._tls else 'ws'}://127.0.0.1:{self.port}/ocpp"

    @property
    def ledger(self) -> Ledger:
        return self.record.ledger

    @property
    def problems(self) -> list[str]:
        """Violations of the protocol by the station; should be empty."""
        return self.record.problems

    @property
    def is_connected(self) -> bool:
        return self._current_link is not None

    def next_frame_number(self) -> int:
        """The number of the next frame; pass it as `after` to ignore all earlier frames."""
        return len(self.record.frames)

    def calls_for(self, action: str, after: int = 0) -> list[Frame]:
        """The station's CALLs of one action, from frame `after` on."""
        return [frame for frame in self.record.frames[after:] if _is_call_for(action, frame)]

    def response_times(self) -> dict[str, ResponseTimes]:
        return self.record.response_times()

    def wait_for_call(
        self,
        action: str,
        predicate: Callable[[Payload], bool] = lambda payload: True,
        timeout_s: float = 60,
        *,
        after: int = 0,
    ) -> Frame:
        """The station's first CALL of an action with a payload that meets the predicate.

        Raises:
            TimeoutError: none came in time.
        """
        return self.record.wait_for_frame(
            lambda frame: _is_call_for(action, frame) and predicate(frame.payload),
            timeout_s,
            f"matching {action}",
            after,
        )

    def wait_for_error(self, timeout_s: float = 30, *, after: int = 0) -> Frame:
        """The first CALLERROR of the station."""
        return self.record.wait_for_frame(
            lambda frame: frame.incoming and frame.type == CALLERROR, timeout_s, "CALLERROR", after
        )

    def wait_connected(self, timeout_s: float = 60) -> None:
        self.record.wait_until(lambda: self._current_link is not None, timeout_s, "connection")

    def wait_disconnected(self, timeout_s: float = 60) -> None:
        self.record.wait_until(
            lambda: self._current_link is None, timeout_s, "end of the connection"
        )

    # Calls to the station.

    def call(self, action: str, payload: Payload | None = None, timeout_s: float = 30) -> Payload:
        """Send a CALL and return the response payload; both are checked against the schema.

        Raises:
            CallErrorReceived: the station answered with a CALLERROR.
            ResponseTimeout: no answer in time.
            StationNotConnected: no station is connected.
            jsonschema.ValidationError: the *request* is invalid; to send it, use `send_raw`.
        """
        request = payload or {}
        get_validator(CALL, action, "2.0.1").validate(request)
        answer = self._run_on_loop(self._send_call(action, request, timeout_s))
        if answer.type == CALLRESULT:
            return dict(answer.payload)
        raise CallErrorReceived(action, str(answer.error_code), str(answer.error_description))

    def send_raw(self, text: str | bytes) -> None:
        """Send a text (or bytes, as a binary frame) unchecked."""
        self._run_on_loop(self._send_raw(text))

    def disturb_calls(self, action: str, **options: Any) -> Disturbance:
        """Disturb the responses to later CALLs of an action; `options`: see `Disturbance`."""
        disturbance = Disturbance(action, **options)
        self.disturbances.append(disturbance)
        return disturbance

    # The link.

    def close_connection(self, code: int = 1001) -> None:
        """Close the current connection with a close frame."""
        self._run_on_loop(self._close_socket(code))

    def abort_connection(self) -> None:
        """Abort the TCP connection without a close frame."""
        self._run_on_loop(self._abort_socket())

    def stop_listening(self) -> None:
        """Stop listening and abort the connection: TCP is refused until `start_listening`."""
        self._run_on_loop(self._stop_server())

    def start_listening(self) -> None:
        """Listen again, on the same port."""
        self._run_on_loop(self._start_server())

    def pause_io(self) -> None:
        """Stop reading and writing, on this connection and on new ones, until `resume_io`."""
        self._run_on_loop(self._set_io_paused(True))

    def resume_io(self) -> None:
        self._run_on_loop(self._set_io_paused(False))

    # The thread.

    def _run_on_loop(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _run_thread(self) -> None:
        asyncio.run(self._serve_until_stopped())

    async def _serve_until_stopped(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop_requested = asyncio.Event()
        self._io_enabled = asyncio.Event()
        self._io_enabled.set()
        self._call_lock = asyncio.Lock()
        self._server: Server | None = None
        try:
            await self._start_server()
        except BaseException as error:
            self._loop_future.set_exception(error)
            raise
        self._loop_future.set_result(self._loop)
        await self._stop_requested.wait()
        await self._stop_server()

    async def _start_server(self) -> None:
        self._server = await serve(
            self._serve_connection,
            "127.0.0.1",
            self.port,
            process_request=self._authenticate_handshake,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            select_subprotocol=_select_subprotocol,
            ssl=self._tls,
            ping_interval=None,  # the pings are the station's: WebSocketPingInterval
            close_timeout=1,
            max_size=FRAME_BYTES_MAX,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def _stop_server(self) -> None:
        if self._server is None:
            return
        for connection in list(self._server.all_connections):
            connection.transport.abort()
        self._io_enabled.set()
        self._server.close()
        await self._server.wait_closed()
        self._server = None

    # Handshake and reading.

    async def _authenticate_handshake(
        self, socket: ServerConnection, request: Request
    ) -> Response | None:
        await self._io_enabled.wait()
        identity = unquote(request.path.rpartition("/")[2])
        user, password = _basic_credentials(request.headers)
        refusal = self.refuse_with
        if refusal is None and self.passwords is not None:
            is_authorized = user == identity and self.passwords.get(identity) == password
            refusal = None if is_authorized else http.HTTPStatus.UNAUTHORIZED
        self.handshakes.append(
            Handshake(
                path=request.path,
                identity=identity,
                user=user,
                subprotocols=_offered_subprotocols(request.headers),
                accepted=refusal is None,
                monotonic_s=time.monotonic(),
                client_certificate=_client_certificate(socket),
            )
        )
        return None if refusal is None else socket.respond(refusal, f"{refusal.phrase}\n")

    async def _serve_connection(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        link = self._on_connected(socket, unquote(socket.request.path.rpartition("/")[2]))
        try:
            async for text in socket:
                self._on_frame(link, text)
        except ConnectionClosed:
            return  # without a close frame
        finally:
            self._on_disconnected(link)

    def _on_connected(self, socket: ServerConnection, identity: str) -> StationLink:
        number = next(self._links)

        async def send(text: str) -> None:
            await self._send_response(link, text)

        link = StationLink(
            number, identity, socket, CallRouter(identity, send, self._response_payload)
        )
        if socket.subprotocol != SUBPROTOCOL:
            self.record.add_problem(f"connection {number} without subprotocol {SUBPROTOCOL}")
        with self.record.condition:
            self._current_link = link
            self.record.condition.notify_all()
        return link

    def _on_disconnected(self, link: StationLink) -> None:
        for task in link.tasks:
            task.cancel()
        with self.record.condition:
            if self._current_link is link:
                self._current_link = None
            self.record.condition.notify_all()
        for waiting in self._pending.values():
            if not waiting.done():
                waiting.set_exception(ResponseTimeout(f"connection {link.number} ended first"))

    def _on_frame(self, link: StationLink, text: str | bytes) -> None:
        if isinstance(text, bytes):
            self.record.add_problem(f"a binary frame of {len(text)} bytes")
            return
        frame = self.record.add_frame(text, connection=link.number, incoming=True)
        if frame.type == CALL:
            task = asyncio.create_task(link.conversation.route_message(text))
            link.tasks.add(task)
            task.add_done_callback(link.tasks.discard)
        elif frame.type in (CALLRESULT, CALLERROR):
            waiting = self._pending.get(str(frame.message_id))
            if waiting is not None and not waiting.done():
                waiting.set_result(frame)

    # Answering the station.

    def _response_payload(self, action: str, message_id: str) -> Payload:
        call = self._find_call(message_id)
        return self.responses.response_to(action, call.payload)

    def _find_call(self, message_id: str) -> Frame:
        return next(
            frame
            for frame in reversed(self.record.frames)
            if frame.incoming and frame.type == CALL and frame.message_id == message_id
        )

    async def _send_response(self, link: StationLink, text: str) -> None:
        """Send the answer that ocpp made, as changed by the first matching disturbance."""
        call = self._find_call(_message_id_of(text))
        assert call.action is not None
        assert call.message_id is not None
        disturbance = next(
            (
                candidate
                for candidate in self.disturbances
                if candidate.consume_match(call.action, call.payload)
            ),
            None,
        )
        if disturbance is None:
            await self._send_frame(link, text)
            return
        if disturbance.delay_s or not disturbance.copies:
            self.record.waive_response(call.message_id)
        if disturbance.error is not None:
            text = CallError(
                call.message_id, disturbance.error, "injected by the test", {}
            ).to_json()
        await asyncio.sleep(disturbance.delay_s)
        for _ in range(disturbance.copies):
            await self._send_frame(link, text)

    async def _send_frame(self, link: StationLink, text: str) -> None:
        await self._io_enabled.wait()
        frame = self.record.add_frame(text, connection=link.number, incoming=False)
        if frame.type == CALLERROR:
            self._record_refusal(frame)
        with suppress(ConnectionClosed):  # the answer is lost, as it would be on any network
            await link.socket.send(text)

    def _record_refusal(self, frame: Frame) -> None:
        """Record a CALLERROR that ocpp sent of its own accord: the station's CALL was invalid."""
        if frame.error_description != "injected by the test":
            self.record.add_problem(f"ocpp refused {frame.action}: {frame.text[:500]}")

    # Asking the station.

    async def _send_call(self, action: str, payload: Payload, timeout_s: float) -> Frame:
        async with self._call_lock:  # one CALL at a time, Part 4 §4.1.1
            link = self._require_link()
            message_id = f"csms-{next(self._message_ids)}"
            waiting: asyncio.Future[Frame] = self._loop.create_future()
            self._pending[message_id] = waiting
            text = Call(message_id, action, payload).to_json()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._io_enabled.wait()
                    self.record.add_frame(text, connection=link.number, incoming=False)
                    await link.socket.send(text)
                    return await waiting
            except TimeoutError:
                raise ResponseTimeout(f"{action}: no answer within {timeout_s} s") from None
            except ConnectionClosed as error:
                raise ResponseTimeout(f"{action}: {error}") from None
            finally:
                del self._pending[message_id]
                waiting.cancel()

    async def _send_raw(self, text: str | bytes) -> None:
        link = self._require_link()
        if isinstance(text, str):
            self.record.add_frame(text, connection=link.number, incoming=False)
        await link.socket.send(text)

    def _require_link(self) -> StationLink:
        if self._current_link is None:
            raise StationNotConnected("no station is connected")
        return self._current_link

    async def _close_socket(self, code: int) -> None:
        await self._require_link().socket.close(code)

    async def _abort_socket(self) -> None:
        self._require_link().socket.transport.abort()

    async def _set_io_paused(self, paused: bool) -> None:
        if paused:
            self._io_enabled.clear()
            if self._current_link is not None:
                self.record.tolerate_overlap(self._current_link.number)
        else:
            self._io_enabled.set()
        for connection in list(self._server.all_connections) if self._server else ():
            transport = connection.transport
            if not transport.is_closing():
                (transport.pause_reading if paused else transport.resume_reading)()


def _is_call_for(action: str, frame: Frame) -> bool:
    return frame.incoming and frame.type == CALL and frame.action == action


def _message_id_of(text: str) -> str:
    """The messageId of an answer that ocpp made."""
    return str(parse_frame(text).message_id)


def _select_subprotocol(socket: ServerConnection, offered: object) -> Subprotocol | None:
    """Accept stations that offer no subprotocol too: a recorded problem, not a failed handshake."""
    assert socket.request is not None
    is_offered = SUBPROTOCOL in _offered_subprotocols(socket.request.headers)
    return Subprotocol(SUBPROTOCOL) if is_offered else None


def _offered_subprotocols(headers: Headers) -> tuple[str, ...]:
    lines = headers.get_all("Sec-WebSocket-Protocol")
    return tuple(name.strip() for line in lines for name in line.split(","))


def _basic_credentials(headers: Headers) -> tuple[str | None, str | None]:
    header = headers.get("Authorization")
    return (None, None) if header is None else parse_authorization_basic(header)


def _client_certificate(socket: ServerConnection) -> bytes:
    tls = socket.transport.get_extra_info("ssl_object")
    return (tls.getpeercert(binary_form=True) or b"") if tls is not None else b""
