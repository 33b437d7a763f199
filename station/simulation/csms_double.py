"""A CSMS for tests, simulations and the demo.

`CsmsDouble` is the CSMS without a network: it takes the text of a frame and returns the texts to
send. It accepts the station, has a table of id tokens, records TransactionEvents in a ledger, and
can send any request. `serve_csms` puts it on a WebSocket. It is never for a station in service.
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
COMPLAINTS_MAX: Final = 100  # bounds the memory; the first ones are enough to find the cause

UNKNOWN_TOKEN_INFO: Final = IdTokenInfoType(status="Unknown")

# Responses to other requests that have required fields. Any further response is empty.
MINIMAL_RESPONSES: Final[Mapping[str, dict[str, Any]]] = {
    "DataTransfer": {"status": "UnknownVendorId"},
    "SignCertificate": {"status": "Accepted"},
    "Get15118EVCertificate": {"status": "Failed", "exiResponse": ""},
    "GetCertificateStatus": {"status": "Failed"},
    "NotifyEVChargingNeeds": {"status": "Accepted"},
    "NotifyEVChargingSchedule": {"status": "Accepted"},
}


class CsmsCall:
    """A CALL of the CSMS. `response` is None until the station's CALLRESULT arrived."""

    def __init__(self, message_id: str, request: Datatype) -> None:
        self.message_id = message_id
        self.request = request
        self.response: Datatype | None = None
        self.failure: str | None = None  # the station's CALLERROR, or why there is no response

    @property
    def action(self) -> str:
        return type(self.request).__name__.removesuffix("Request")

    @property
    def is_finished(self) -> bool:
        """Whether it has a response or failed."""
        return self.response is not None or self.failure is not None


RequestCallback = Callable[[str, Datatype], None]  # action and request of a CALL of the station


class CsmsDouble:
    """One CSMS for one station, without a network.

    The public attributes can be changed at any time; the next response uses them.
    """

    def __init__(
        self,
        id_tokens: Mapping[str, IdTokenInfoType] | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_request: RequestCallback = lambda action, request: None,
    ) -> None:
        """A CSMS that accepts every station.

        Args:
            id_tokens: idTokenInfo by idToken, case-insensitive; any other idToken is Unknown.
            clock: its time, with time zone.
            on_request: called with every request of the station before it is answered.
        """
        self.id_tokens = {value.casefold(): info for value, info in (id_tokens or {}).items()}
        self.clock = clock
        self.on_request = on_request
        self.registration_status: str = "Accepted"
        self.heartbeat_interval_s = HEARTBEAT_S
        self.ledger = CsmsLedger()
        self.complaints: list[str] = []  # violations of the protocol by the station
        # The first is in flight, the others wait. Part 4 §4.1.1
        self._pending_calls: deque[CsmsCall] = deque()
        self._calls_count = 0

    # --- Frames ----------------------------------------------------------------------------------

    def receive_frame(self, text: str) -> list[str]:
        """Process one frame of the station; returns the frames to send, in order."""
        match rpc.parse_frame(text.encode()):
            case rpc.CallFrame(message_id=message_id, action=action, payload=payload):
                return [self._handle_call(message_id, action, payload)]
            case rpc.CallResultFrame(message_id=message_id, payload=payload):
                return self._handle_result(message_id, payload)
            case rpc.CallErrorFrame(message_id=message_id, code=code, description=description):
                return self._finish_call(message_id, failure=f"{code}: {description}".rstrip(": "))
            case rpc.MalformedFrame(
                message_id=message_id, code=code, reason=reason, needs_call_error=needs_error
            ):
                self._record_complaint(f"malformed frame: {reason}")
                return [rpc.encode_error(message_id, code, reason)] if needs_error else []

    def queue_call(self, request: Datatype) -> tuple[CsmsCall, list[str]]:
        """Queue a CALL; it is sent when all earlier ones are finished.

        Returns:
            The call, and the frames to send now.
        """
        self._calls_count += 1
        call = CsmsCall(f"csms-{self._calls_count}", request)
        self._pending_calls.append(call)
        return call, self._next_frames() if len(self._pending_calls) == 1 else []

    def abandon_call(self, call: CsmsCall, reason: str) -> list[str]:
        """Fail a call that is not finished; returns the frames to send now."""
        if call not in self._pending_calls:
            return []
        was_first = self._pending_calls[0] is call
        self._pending_calls.remove(call)
        call.failure = reason
        return self._next_frames() if was_first else []

    def on_disconnected(self) -> None:
        """The connection ended: fail all pending calls."""
        for call in self._pending_calls:
            call.failure = "the connection ended first"
        self._pending_calls.clear()

    # --- CALLs of the station --------------------------------------------------------------------

    def _handle_call(self, message_id: str, action: str, payload: msgspec.Raw) -> str:
        definition = ACTIONS.get(action)
        if definition is None or definition.sender == "csms":
            self._record_complaint(f"{action} is not a request of a station")
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

    # --- Responses of the station ----------------------------------------------------------------

    def _handle_result(self, message_id: str, payload: msgspec.Raw) -> list[str]:
        if not self._expects_response(message_id):
            return []
        call = self._pending_calls[0]
        try:
            call.response = decode_response(call.action, payload)
        except msgspec.ValidationError as error:
            self._record_complaint(
                f"response to {call.action}: {describe_violation(error).description}"
            )
            call.failure = f"invalid response: {describe_violation(error).description}"
        return self._finish_call(message_id)

    def _finish_call(self, message_id: str, failure: str | None = None) -> list[str]:
        if not self._expects_response(message_id):
            return []
        call = self._pending_calls.popleft()
        if failure is not None:
            call.failure = failure
        return self._next_frames()

    def _expects_response(self, message_id: str) -> bool:
        expected = bool(self._pending_calls) and self._pending_calls[0].message_id == message_id
        if not expected:
            self._record_complaint(f"response to {message_id}, which is not in flight")
        return expected

    def _next_frames(self) -> list[str]:
        if not self._pending_calls:
            return []
        call = self._pending_calls[0]
        return [rpc.encode_call(call.message_id, call.action, encode(call.request))]

    def _record_complaint(self, complaint: str) -> None:
        if len(self.complaints) < COMPLAINTS_MAX:
            self.complaints.append(complaint)


# --- On the network ------------------------------------------------------------------------------


class CallFailedError(Exception):
    """The station refused a CALL of the CSMS, or did not answer it in time."""


class CsmsServer:
    """A `CsmsDouble` that listens on a port."""

    def __init__(self, double: CsmsDouble, host: str, passwords: Mapping[str, str] | None) -> None:
        self.double = double
        self.host = host
        self.port = 0
        self.refused_handshakes = 0
        self._passwords = passwords
        self._connection: WebSocketConnection | None = None
        self._changed = trio.Event()

    @property
    def url(self) -> str:
        """Value for `[csms] url` of station.toml."""
        return f"ws://{self.host}:{self.port}/ocpp"

    @property
    def is_connected(self) -> bool:
        """Whether a station is connected."""
        return self._connection is not None

    async def send_request(self, request: Datatype, timeout_s: float = 30) -> Datatype:
        """Send a request to the station and return its response.

        Raises:
            CallFailedError: no station is connected, it refused, or it did not answer in time.
        """
        socket = self._connection
        if socket is None:
            raise CallFailedError("no station is connected")
        call, texts = self.double.queue_call(request)
        with suppress(ConnectionClosed):  # then `on_disconnected` fails the call
            await self._send_frames(socket, texts)
            with trio.move_on_after(timeout_s):
                while not call.is_finished:
                    await self._changed.wait()
            await self._send_frames(
                socket, self.double.abandon_call(call, f"no response for {timeout_s} s")
            )
        if call.response is None:
            raise CallFailedError(f"{call.action}: {call.failure or 'the connection ended'}")
        return call.response

    async def handle_connection(self, request: WebSocketRequest) -> None:
        """One connection, from handshake to end. A new one closes the one before."""
        refusal = self._refusal_status(request)
        if refusal is not None:
            self.refused_handshakes += 1
            await request.reject(refusal)
            return
        socket = await request.accept(subprotocol=SUBPROTOCOL)
        self._connection, previous = socket, self._connection
        if previous is not None:
            await previous.aclose()
        try:
            while True:
                text = await socket.get_message()
                if isinstance(text, str):
                    await self._send_frames(socket, self.double.receive_frame(text))
                self._notify_waiters()
        except ConnectionClosed:
            return  # reconnecting is up to the station
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
        """The HTTP status that refuses a handshake, or None. Part 4 §3.1.2, A00.FR.204."""
        identity = unquote(request.path.rpartition("/")[2])
        if SUBPROTOCOL not in request.proposed_subprotocols:
            return 400
        if self._passwords is None:
            return None
        headers = {name.lower(): value for name, value in request.headers}
        user, password = parse_credentials(headers.get(b"authorization", b""))
        valid = user == identity and self._passwords.get(identity) == password
        return None if valid else 401


def parse_credentials(header: bytes) -> tuple[str, str] | tuple[None, None]:
    """User and password of a Basic Authorization header; (None, None) for any other text."""
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
    """Serve a CSMS double on a port until cancelled.

    Args:
        double: the CSMS.
        host: address to listen on.
        port: 0: any free port; see `CsmsServer.url`.
        passwords: identity to password; None: every station may connect. A00.FR.204.
        task_status: started with the `CsmsServer` once stations can connect.

    Raises:
        OSError: the port is in use.
    """
    server = CsmsServer(double, host, passwords)
    async with trio.open_nursery() as nursery:
        websocket = await nursery.start(serve_websocket, server.handle_connection, host, port, None)
        server.port = websocket.port
        task_status.started(server)
    raise AssertionError("serve_websocket never ends by itself")
