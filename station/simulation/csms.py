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

from station import ocppj
from station.messages import ACTIONS, Datatype, decode_request, decode_response, encode, timestamp
from station.messages.b_provisioning import BootNotificationRequest, BootNotificationResponse
from station.messages.c_authorization import AuthorizeRequest, AuthorizeResponse
from station.messages.datatypes import IdTokenInfoType
from station.messages.e_transactions import TransactionEventRequest, TransactionEventResponse
from station.messages.g_availability import HeartbeatResponse
from station.messages.violations import violation
from station.simulation.ledger import Ledger

SUBPROTOCOL: Final = "ocpp2.0.1"  # Part 4 §3.1.2
HEARTBEAT_S: Final = 300
COMPLAINTS_MAX: Final = 100  # kept; a station that goes on and on is wrong all the same

STRANGER: Final = IdTokenInfoType(status="Unknown")

# What the rest is answered with: the least its response must have. Everything else is empty.
LEAST: Final[Mapping[str, dict[str, Any]]] = {
    "DataTransfer": {"status": "UnknownVendorId"},
    "SignCertificate": {"status": "Accepted"},
    "Get15118EVCertificate": {"status": "Failed", "exiResponse": ""},
    "GetCertificateStatus": {"status": "Failed"},
    "NotifyEVChargingNeeds": {"status": "Accepted"},
    "NotifyEVChargingSchedule": {"status": "Accepted"},
}


class Asked:
    """A CALL of ours. `answer` is None until the station said something."""

    def __init__(self, message_id: str, request: Datatype) -> None:
        self.message_id = message_id
        self.request = request
        self.answer: Datatype | None = None
        self.refusal: str | None = None  # the station's CALLERROR, or that it never answered

    @property
    def action(self) -> str:
        return type(self.request).__name__.removesuffix("Request")

    @property
    def settled(self) -> bool:
        """Whether nothing more will come."""
        return self.answer is not None or self.refusal is not None


Told = Callable[[str, Datatype], None]  # action and request of a CALL of the station


class CsmsDouble:
    """One CSMS for one station, as far as it can be had without a network.

    Plain attributes: change them, and the next answer obeys.
    """

    def __init__(
        self,
        tokens: Mapping[str, IdTokenInfoType] | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        told: Told = lambda action, request: None,
    ) -> None:
        """Be a CSMS that accepts every station.

        Args:
            tokens: what it knows of people, by idToken; case does not count.
            clock: its time, aware.
            told: hears of every request of the station before it is answered.
        """
        self.tokens = {value.casefold(): info for value, info in (tokens or {}).items()}
        self.clock = clock
        self.told = told
        self.registration: str = "Accepted"
        self.heartbeat_s = HEARTBEAT_S
        self.ledger = Ledger()
        self.complaints: list[str] = []  # what the station did against the protocol
        self._waiting: deque[Asked] = deque()  # the first is with the station. Part 4 §4.1.1
        self._count = 0

    # --- Text in, texts out ----------------------------------------------------------------------

    def heard(self, text: str) -> list[str]:
        """Take one frame of the station in; the frames it leads to, in order."""
        match ocppj.read(text.encode()):
            case ocppj.CallFrame(message_id=message_id, action=action, payload=payload):
                return [self._answered(message_id, action, payload)]
            case ocppj.ResultFrame(message_id=message_id, payload=payload):
                return self._resulted(message_id, payload)
            case ocppj.ErrorFrame(message_id=message_id, code=code, description=description):
                return self._settled(message_id, refusal=f"{code}: {description}".rstrip(": "))
            case ocppj.BrokenFrame(message_id=message_id, code=code, why=why, answer=answer):
                self._complain(f"a frame that is no message: {why}")
                return [ocppj.error_text(message_id, code, why)] if answer else []

    def call(self, request: Datatype) -> tuple[Asked, list[str]]:
        """Ask the station something; at once, or when it has answered what was asked before.

        Returns:
            The call, and the frames to send now.
        """
        self._count += 1
        asked = Asked(f"csms-{self._count}", request)
        self._waiting.append(asked)
        return asked, self._next() if len(self._waiting) == 1 else []

    def give_up(self, asked: Asked, why: str) -> list[str]:
        """Wait for its answer no longer, if none came; the frames to send now."""
        if asked not in self._waiting:
            return []
        was_first = self._waiting[0] is asked
        self._waiting.remove(asked)
        asked.refusal = why
        return self._next() if was_first else []

    def hung_up(self) -> None:
        """The connection is gone, and with it the answers to what was asked."""
        for asked in self._waiting:
            asked.refusal = "the connection ended first"
        self._waiting.clear()

    # --- The station asks ------------------------------------------------------------------------

    def _answered(self, message_id: str, action: str, payload: msgspec.Raw) -> str:
        known = ACTIONS.get(action)
        if known is None or known.sender == "csms":
            self._complain(f"{action} is nothing a station may ask")
            return ocppj.error_text(message_id, "NotImplemented", f"no {action[:50]} here")
        try:
            request = decode_request(action, payload)
        except msgspec.ValidationError as error:
            code, description = violation(error)
            self._complain(f"{action}: {description}")
            return ocppj.error_text(message_id, code, description)
        self.told(action, request)
        return ocppj.result_text(message_id, encode(self._response(action, request)))

    def _response(self, action: str, request: Datatype) -> Datatype:
        match request:
            case BootNotificationRequest():
                return BootNotificationResponse(
                    current_time=timestamp(self.clock()),
                    interval=self.heartbeat_s,
                    status=self.registration,  # type: ignore[arg-type]
                )
            case AuthorizeRequest(id_token=id_token):
                return AuthorizeResponse(id_token_info=self._known(id_token.id_token))
            case TransactionEventRequest(id_token=id_token):
                self.ledger.take(request)
                info = None if id_token is None else self._known(id_token.id_token)
                return TransactionEventResponse(id_token_info=info)
        if action == "Heartbeat":
            return HeartbeatResponse(current_time=timestamp(self.clock()))
        return msgspec.convert(LEAST.get(action, {}), ACTIONS[action].response)

    def _known(self, id_token: str) -> IdTokenInfoType:
        return self.tokens.get(id_token.casefold(), STRANGER)

    # --- The station answers ---------------------------------------------------------------------

    def _resulted(self, message_id: str, payload: msgspec.Raw) -> list[str]:
        if not self._is_due(message_id):
            return []
        asked = self._waiting[0]
        try:
            asked.answer = decode_response(asked.action, payload)
        except msgspec.ValidationError as error:
            self._complain(f"answer to {asked.action}: {violation(error).description}")
            asked.refusal = f"unusable answer: {violation(error).description}"
        return self._settled(message_id)

    def _settled(self, message_id: str, refusal: str | None = None) -> list[str]:
        if not self._is_due(message_id):
            return []
        asked = self._waiting.popleft()
        if refusal is not None:
            asked.refusal = refusal
        return self._next()

    def _is_due(self, message_id: str) -> bool:
        due = bool(self._waiting) and self._waiting[0].message_id == message_id
        if not due:
            self._complain(f"an answer to {message_id}, which nobody asked")
        return due

    def _next(self) -> list[str]:
        if not self._waiting:
            return []
        asked = self._waiting[0]
        return [ocppj.call_text(asked.message_id, asked.action, encode(asked.request))]

    def _complain(self, complaint: str) -> None:
        if len(self.complaints) < COMPLAINTS_MAX:
            self.complaints.append(complaint)


# --- On the network ------------------------------------------------------------------------------


class CallFailedError(Exception):
    """The station refused a CALL of ours, or did not answer it in time."""


class Listening:
    """A `CsmsDouble` with its ear on a port."""

    def __init__(self, double: CsmsDouble, host: str, passwords: Mapping[str, str] | None) -> None:
        self.double = double
        self.host = host
        self.port = 0
        self.refused = 0  # handshakes
        self._passwords = passwords
        self._socket: WebSocketConnection | None = None
        self._changed = trio.Event()

    @property
    def url(self) -> str:
        """What goes into `[csms] url` of station.toml."""
        return f"ws://{self.host}:{self.port}/ocpp"

    @property
    def connected(self) -> bool:
        """Whether a station is there."""
        return self._socket is not None

    async def call(self, request: Datatype, timeout_s: float = 30) -> Datatype:
        """Ask the station something; its answer.

        Raises:
            CallFailedError: it is not there, refused, or said nothing in time.
        """
        socket = self._socket
        if socket is None:
            raise CallFailedError("no station is connected")
        asked, texts = self.double.call(request)
        with suppress(ConnectionClosed):  # then `hung_up` settles it
            await self._send(socket, texts)
            with trio.move_on_after(timeout_s):
                while not asked.settled:
                    await self._changed.wait()
            await self._send(socket, self.double.give_up(asked, f"silent for {timeout_s} s"))
        if asked.answer is None:
            raise CallFailedError(f"{asked.action}: {asked.refusal or 'the connection ended'}")
        return asked.answer

    async def handle(self, request: WebSocketRequest) -> None:
        """One connection, from handshake to end. A new one takes the place of the one before."""
        refusal = self._refusal(request)
        if refusal is not None:
            self.refused += 1
            await request.reject(refusal)
            return
        socket = await request.accept(subprotocol=SUBPROTOCOL)
        self._socket, before = socket, self._socket
        if before is not None:
            await before.aclose()
        try:
            while True:
                text = await socket.get_message()
                if isinstance(text, str):
                    await self._send(socket, self.double.heard(text))
                self._wake()
        except ConnectionClosed:
            return  # it will be back, or not; that is the station's to decide
        finally:
            if self._socket is socket:
                self._socket = None
                self.double.hung_up()
                self._wake()

    async def _send(self, socket: WebSocketConnection, texts: list[str]) -> None:
        for text in texts:
            await socket.send_message(text)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _refusal(self, request: WebSocketRequest) -> int | None:
        """The HTTP status a handshake is refused with. Part 4 §3.1.2, A00.FR.204."""
        identity = unquote(request.path.rpartition("/")[2])
        if SUBPROTOCOL not in request.proposed_subprotocols:
            return 400
        if self._passwords is None:
            return None
        headers = {name.lower(): value for name, value in request.headers}
        user, password = credentials(headers.get(b"authorization", b""))
        known = user == identity and self._passwords.get(identity) == password
        return None if known else 401


def credentials(header: bytes) -> tuple[str, str] | tuple[None, None]:
    """User and password of an Authorization header; (None, None) of any other text."""
    scheme, _, encoded = header.partition(b" ")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None, None
    user, colon, password = text.partition(":")
    return (user, password) if scheme.lower() == b"basic" and colon else (None, None)


async def serve(
    double: CsmsDouble,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    passwords: Mapping[str, str] | None = None,
    task_status: trio.TaskStatus[Listening] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Be that CSMS on a port until cancelled.

    Args:
        double: what is said.
        host: where to listen.
        port: 0: any that is free; `Listening.url` says which.
        passwords: identity to password; None: everybody may come in. A00.FR.204.
        task_status: told the `Listening` once stations may connect.

    Raises:
        OSError: the port is taken.
    """
    listening = Listening(double, host, passwords)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, listening.handle, host, port, None)
        listening.port = server.port
        task_status.started(listening)
    raise AssertionError("serve_websocket never ends by itself")
