"""What would a CSMS say, where there is none?

`CsmsDouble` is the whole of it without a network: text in, texts out. It accepts the station,
knows some people, keeps a ledger of what it was told, and may ask the station anything. `serve`
puts a WebSocket around it. It is for the demo and for simulations, never for a station in service.
"""

from __future__ import annotations

import base64
import binascii
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, NoReturn
from urllib.parse import unquote

import msgspec
import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    serve_websocket,
)

from station.ocpp import rpc
from station.ocpp.messages import (
    ACTIONS,
    Datatype,
    decode_request,
    decode_response,
    encode,
    format_timestamp,
)
from station.ocpp.messages.b_provisioning import BootNotificationRequest, BootNotificationResponse
from station.ocpp.messages.c_authorization import AuthorizeRequest, AuthorizeResponse
from station.ocpp.messages.datatypes import IdTokenInfoType
from station.ocpp.messages.e_transactions import TransactionEventRequest, TransactionEventResponse
from station.ocpp.messages.g_availability import HeartbeatResponse
from station.ocpp.messages.violations import describe_violation
from station.simulation.csms_ledger import CsmsLedger

SUBPROTOCOL: Final = "ocpp2.0.1"  # Part 4 §3.1.2
HEARTBEAT_S: Final = 300
COMPLAINTS_MAX: Final = 100  # kept; a station that goes on and on is wrong all the same

UNKNOWN_TOKEN_INFO: Final = IdTokenInfoType(status="Unknown")

# What the rest is answered with: the least its response must have. Everything else is empty.
MINIMAL_RESPONSES: Final[Mapping[str, dict[str, Any]]] = {
    "DataTransfer": {"status": "UnknownVendorId"},
    "SignCertificate": {"status": "Accepted"},
    "Get15118EVCertificate": {"status": "Failed", "exiResponse": ""},
    "GetCertificateStatus": {"status": "Failed"},
    "NotifyEVChargingNeeds": {"status": "Accepted"},
    "NotifyEVChargingSchedule": {"status": "Accepted"},
}


class CsmsCall:
    """A CALL of ours. `answer` is None until the station said something."""

    def __init__(self, message_id: str, request: Datatype) -> None:
        self.message_id = message_id
        self.request = request
        self.response: Datatype | None = None
        self.failure: str | None = None  # the station's CALLERROR, or that it never answered

    @property
    def action(self) -> str:
        return type(self.request).__name__.removesuffix("Request")

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will come."""
        return self.response is not None or self.failure is not None


RequestCallback = Callable[[str, Datatype], None]  # action and request of a CALL of the station


class CsmsDouble:
    """One CSMS for one station, as far as it can be had without a network.

    Plain attributes: change them, and the next answer obeys.
    """

    def __init__(
        self,
        id_tokens: Mapping[str, IdTokenInfoType] | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_request: RequestCallback = lambda action, request: None,
    ) -> None:
        """Be a CSMS that accepts every station.

        Args:
            tokens: what it knows of people, by idToken; case does not count.
            clock: its time, aware.
            told: hears of every request of the station before it is answered.
        """
        self.id_tokens = {value.casefold(): info for value, info in (id_tokens or {}).items()}
        self.clock = clock
        self.on_request = on_request
        self.registration_status: str = "Accepted"
        self.heartbeat_interval_s = HEARTBEAT_S
        self.ledger = CsmsLedger()
        self.complaints: list[str] = []  # what the station did against the protocol
        self._pending_calls: deque[CsmsCall] = (
            deque()
        )  # the first is with the station. Part 4 §4.1.1
        self._calls_count = 0

    # --- Text in, texts out ----------------------------------------------------------------------

    def receive_frame(self, text: str) -> list[str]:
        """Take one frame of the station in; the frames it leads to, in order."""
        match rpc.parse_frame(text.encode()):
            case rpc.CallFrame(message_id=message_id, action=action, payload=payload):
                return [self._handle_call(message_id, action, payload)]
            case rpc.CallResultFrame(message_id=message_id, payload=payload):
                return self._handle_result(message_id, payload)
            case rpc.CallErrorFrame(message_id=message_id, code=code, description=description):
                return self._finish_call(message_id, failure=f"{code}: {description}".rstrip(": "))
            case rpc.MalformedFrame(
                message_id=message_id, code=code, reason=why, needs_call_error=answer
            ):
                self._record_complaint(f"a frame that is no message: {why}")
                return [rpc.encode_error(message_id, code, why)] if answer else []

    def queue_call(self, request: Datatype) -> tuple[CsmsCall, list[str]]:
        """Ask the station something; at once, or when it has answered what was asked before.

        Returns:
            The call, and the frames to send now.
        """
        self._calls_count += 1
        asked = CsmsCall(f"csms-{self._calls_count}", request)
        self._pending_calls.append(asked)
        return asked, self._next_frames() if len(self._pending_calls) == 1 else []

    def abandon_call(self, call: CsmsCall, reason: str) -> list[str]:
        """Wait for its answer no longer, if none came; the frames to send now."""
        if call not in self._pending_calls:
            return []
        was_first = self._pending_calls[0] is call
        self._pending_calls.remove(call)
        call.failure = reason
        return self._next_frames() if was_first else []

    def on_disconnected(self) -> None:
        """The connection is gone, and with it the answers to what was asked."""
        for asked in self._pending_calls:
            asked.failure = "the connection ended first"
        self._pending_calls.clear()

    # --- The station asks ------------------------------------------------------------------------

    def _handle_call(self, message_id: str, action: str, payload: msgspec.Raw) -> str:
        known = ACTIONS.get(action)
        if known is None or known.sender == "csms":
            self._record_complaint(f"{action} is nothing a station may ask")
            return rpc.encode_error(message_id, "NotImplemented", f"no {action[:50]} here")
        try:
            request = decode_request(action, payload)
        except msgspec.ValidationError as error:
            code, description = describe_violation(error)
            self._record_complaint(f"{action}: {description}")
            return rpc.encode_error(message_id, code, description)
        self.on_request(action, request)
        return rpc.encode_result(message_id, encode(self._build_response(action, request)))

    def _build_response(self, action: str, request: Datatype) -> Datatype:
        match request:
            case BootNotificationRequest():
                return BootNotificationResponse(
                    current_time=format_timestamp(self.clock()),
                    interval=self.heartbeat_interval_s,
                    status=self.registration_status,  # type: ignore[arg-type]
                )
            case AuthorizeRequest(id_token=id_token):
                return AuthorizeResponse(id_token_info=self._token_info(id_token.id_token))
            case TransactionEventRequest(id_token=id_token):
                self.ledger.add_event(request)
                info = None if id_token is None else self._token_info(id_token.id_token)
                return TransactionEventResponse(id_token_info=info)
        if action == "Heartbeat":
            return HeartbeatResponse(current_time=format_timestamp(self.clock()))
        return msgspec.convert(MINIMAL_RESPONSES.get(action, {}), ACTIONS[action].response)

    def _token_info(self, id_token: str) -> IdTokenInfoType:
        return self.id_tokens.get(id_token.casefold(), UNKNOWN_TOKEN_INFO)

    # --- The station answers ---------------------------------------------------------------------

    def _handle_result(self, message_id: str, payload: msgspec.Raw) -> list[str]:
        if not self._expects_response(message_id):
            return []
        asked = self._pending_calls[0]
        try:
            asked.response = decode_response(asked.action, payload)
        except msgspec.ValidationError as error:
            self._record_complaint(
                f"answer to {asked.action}: {describe_violation(error).description}"
            )
            asked.failure = f"unusable answer: {describe_violation(error).description}"
        return self._finish_call(message_id)

    def _finish_call(self, message_id: str, failure: str | None = None) -> list[str]:
        if not self._expects_response(message_id):
            return []
        asked = self._pending_calls.popleft()
        if failure is not None:
            asked.failure = failure
        return self._next_frames()

    def _expects_response(self, message_id: str) -> bool:
        due = bool(self._pending_calls) and self._pending_calls[0].message_id == message_id
        if not due:
            self._record_complaint(f"an answer to {message_id}, which nobody asked")
        return due

    def _next_frames(self) -> list[str]:
        if not self._pending_calls:
            return []
        asked = self._pending_calls[0]
        return [rpc.encode_call(asked.message_id, asked.action, encode(asked.request))]

    def _record_complaint(self, complaint: str) -> None:
        if len(self.complaints) < COMPLAINTS_MAX:
            self.complaints.append(complaint)


# --- On the network ------------------------------------------------------------------------------


class CallFailedError(Exception):
    """The station refused a CALL of ours, or did not answer it in time."""


class CsmsServer:
    """A `CsmsDouble` with its ear on a port."""

    def __init__(self, double: CsmsDouble, host: str, passwords: Mapping[str, str] | None) -> None:
        self.double = double
        self.host = host
        self.port = 0
        self.refused_handshakes = 0  # handshakes
        self._passwords = passwords
        self._connection: WebSocketConnection | None = None
        self._changed = trio.Event()

    @property
    def url(self) -> str:
        """What goes into `[csms] url` of station.toml."""
        return f"ws://{self.host}:{self.port}/ocpp"

    @property
    def is_connected(self) -> bool:
        """Whether a station is there."""
        return self._connection is not None

    async def send_request(self, request: Datatype, timeout_s: float = 30) -> Datatype:
        """Ask the station something; its answer.

        Raises:
            CallFailedError: it is not there, refused, or said nothing in time.
        """
        socket = self._connection
        if socket is None:
            raise CallFailedError("no station is connected")
        asked, texts = self.double.queue_call(request)
        with suppress(ConnectionClosed):  # then `on_disconnected` settles it
            await self._send_frames(socket, texts)
            with trio.move_on_after(timeout_s):
                while not asked.is_finished:
                    await self._changed.wait()
            await self._send_frames(
                socket, self.double.abandon_call(asked, f"silent for {timeout_s} s")
            )
        if asked.response is None:
            raise CallFailedError(f"{asked.action}: {asked.failure or 'the connection ended'}")
        return asked.response

    async def handle_connection(self, request: WebSocketRequest) -> None:
        """One connection, from handshake to end. A new one takes the place of the one before."""
        refusal = self._refusal_status(request)
        if refusal is not None:
            self.refused_handshakes += 1
            await request.reject(refusal)
            return
        socket = await request.accept(subprotocol=SUBPROTOCOL)
        self._connection, before = socket, self._connection
        if before is not None:
            await before.aclose()
        try:
            while True:
                text = await socket.get_message()
                if isinstance(text, str):
                    await self._send_frames(socket, self.double.receive_frame(text))
                self._notify_waiters()
        except ConnectionClosed:
            return  # it will be back, or not; that is the station's to decide
        finally:
            if self._connection is socket:
                self._connection = None
                self.double.on_disconnected()
                self._notify_waiters()

    async def _send_frames(self, connection: WebSocketConnection, texts: list[str]) -> None:
        for text in texts:
            await connection.send_message(text)

    def _notify_waiters(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _refusal_status(self, request: WebSocketRequest) -> int | None:
        """The HTTP status a handshake is refused with. Part 4 §3.1.2, A00.FR.204."""
        identity = unquote(request.path.rpartition("/")[2])
        if SUBPROTOCOL not in request.proposed_subprotocols:
            return 400
        if self._passwords is None:
            return None
        headers = {name.lower(): value for name, value in request.headers}
        user, password = parse_credentials(headers.get(b"authorization", b""))
        known = user == identity and self._passwords.get(identity) == password
        return None if known else 401


def parse_credentials(header: bytes) -> tuple[str, str] | tuple[None, None]:
    """User and password of an Authorization header; (None, None) of any other text."""
    scheme, _, encoded = header.partition(b" ")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None, None
    user, colon, password = text.partition(":")
    return (user, password) if scheme.lower() == b"basic" and colon else (None, None)


async def serve_csms(
    double: CsmsDouble,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    passwords: Mapping[str, str] | None = None,
    task_status: trio.TaskStatus[CsmsServer] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Be that CSMS on a port until cancelled.

    Args:
        double: what is said.
        host: where to listen.
        port: 0: any that is free; `CsmsServer.url` says which.
        passwords: identity to password; None: everybody may come in. A00.FR.204.
        task_status: told the `CsmsServer` once stations may connect.

    Raises:
        OSError: the port is taken.
    """
    listening = CsmsServer(double, host, passwords)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, listening.handle_connection, host, port, None)
        listening.port = server.port
        task_status.started(listening)
    raise AssertionError("serve_websocket never ends by itself")
