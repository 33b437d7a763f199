"""How do frames travel between the journal and the CSMS?

One connection at a time. What comes in becomes an observation; what goes out is read off the
wanted level, which holds nothing that is not on the disk. A broken connection, however it broke,
ends in LinkClosed and another attempt after a growing pause.
"""

from __future__ import annotations

import base64
import logging
import random
import ssl
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

import msgspec
import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)

from journal.observations import FrameSent, LinkClosed, LinkFailed, LinkOpened
from journal.terms import Observation
from journal.tokens import together
from station.ocppj import call_text, error_text, result_text
from station.runtime.ingest import Ingest
from station.runtime.latest import Latest
from station.runtime.network import Network, VanishingStream, tls_context
from station.wanted import Wanted, WantedCall

log = logging.getLogger("station.link")

SUBPROTOCOL: Final = "ocpp2.0.1"  # Part 4 §3.1.2
CONNECT_S: Final = 20.0  # for TCP, TLS and the handshake together
CLOSE_S: Final = 2.0  # for a close handshake with whoever is still there
FRAME_MAX: Final = 256 * 1024  # bytes; the largest message of the CSMS is a tenth of it
QUEUE_MAX: Final = 16  # frames taken from the network but not yet by the scribe

_payload = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


class Csms(msgspec.Struct, frozen=True):
    """Where the CSMS is and how to get in."""

    url: str  # without the identity
    identity: str
    security_profile: int
    slot: int = 1
    ca_file: Path | None = None
    cipher_suites: tuple[str, ...] = ()

    @property
    def connection_url(self) -> str:
        """Part 4 §3.1.1: the identity is appended, percent-encoded."""
        return f"{self.url.rstrip('/')}/{quote(self.identity, safe='')}"


class Mailbox(Protocol):
    """What the link needs of the scribe."""

    wanted: Latest[Wanted]

    def observe(self, observation: Observation, *, lazy: bool = False) -> None: ...
    def payload(self, call: int) -> msgspec.Raw: ...


class Link:
    """Keeps one connection to the CSMS open, for ever."""

    def __init__(
        self,
        csms: Csms,
        scribe: Mailbox,
        ingest: Ingest,
        network: Network,
        *,
        password: Callable[[str], str | None],
        value_of: Callable[[str], str | None],
        dice: random.Random | None = None,
    ) -> None:
        self._csms = csms
        self._scribe = scribe
        self._ingest = ingest
        self._network = network
        self._password = password
        self._value_of = value_of
        self._dice = dice or random.Random()

    async def run(self) -> None:
        """Connect, serve, reconnect. Part 4 §5.3."""
        failures = 0
        while True:
            await self._network.wait_up()
            opened = await self._once()
            failures = 0 if opened else failures + 1
            await self._pause(failures)

    async def _pause(self, failures: int) -> None:
        """The back-off; `up` of the emulated world ends it. Part 4 §5.3."""
        seconds = back_off_s(self._scribe.wanted.value, failures, self._dice)
        if self._network.mode != "up":
            return
        with trio.move_on_after(seconds):
            await self._network.wait_changed()

    async def _once(self) -> bool:
        """One connection from beginning to end.

        Returns:
            Whether it was ever open.
        """
        before = self._scribe.wanted.value.link.opened_seq
        opened = False
        why = "closed"
        try:
            async with trio.open_nursery() as nursery:
                with trio.fail_after(CONNECT_S):
                    websocket = await self._connected(nursery)
                opened = True
                self._scribe.observe(
                    LinkOpened(self._csms.slot, self._csms.url, self._csms.security_profile)
                )
                log.info("connected to %s", self._csms.connection_url)
                try:
                    why = await self._serve(websocket, before)
                finally:
                    await _closed(websocket)
                    nursery.cancel_scope.cancel()
        except* FAILURES as group:
            why = _in_words(group)
        except* Exception:
            if opened:
                self._scribe.observe(LinkClosed("a fault of ours"))
            raise
        if opened:
            log.warning("link lost: %s", why)
            self._scribe.observe(LinkClosed(why))
        else:
            log.warning("%s: %s", self._csms.url, why)
            self._scribe.observe(LinkFailed(self._csms.slot, why))
        return opened

    async def _connected(self, nursery: trio.Nursery) -> WebSocketConnection:
        """A WebSocket with our subprotocol. Part 4 §3.1, §3.2.

        Raises:
            one of FAILURES.
        """
        parts = urlsplit(self._csms.connection_url)
        host = parts.hostname or ""
        tls = parts.scheme == "wss"
        port = parts.port or (443 if tls else 80)
        tcp = await trio.open_tcp_stream(host, port)
        stream: trio.abc.Stream = VanishingStream(tcp, self._network)
        if tls:
            context = tls_context(self._csms.ca_file, self._csms.cipher_suites)
            secure = trio.SSLStream(stream, context, server_hostname=host)
            await secure.do_handshake()
            stream = secure
        websocket = await wrap_client_stream(
            nursery,
            stream,  # type: ignore[arg-type]
            f"{host}:{port}",
            parts.path,
            subprotocols=[SUBPROTOCOL],
            extra_headers=self._authorization(),
            message_queue_size=QUEUE_MAX,
            max_message_size=FRAME_MAX,
        )
        if websocket.subprotocol != SUBPROTOCOL:
            await _closed(websocket)
            raise HandshakeRefused(f"the CSMS does not speak {SUBPROTOCOL}")
        return websocket

    def _authorization(self) -> list[tuple[bytes, bytes]]:
        """HTTP Basic with the identity as user. A00.FR.202 to 206."""
        password = self._password(self._scribe.wanted.value.link.password)
        if password is None or self._csms.security_profile > 2:
            return []
        credentials = f"{self._csms.identity}:{password}".encode()
        return [(b"Authorization", b"Basic " + base64.b64encode(credentials))]

    async def _serve(self, websocket: WebSocketConnection, before: int) -> str:
        """Carry frames until something ends it.

        Returns:
            What ended it.
        """
        ended: list[str] = []

        async def until_over(work: Callable[[], Awaitable[str]]) -> None:
            try:
                ended.append(await work())
            except ConnectionClosed as closed:
                ended.append(_close_reason(closed))
            except trio.BrokenResourceError:
                ended.append("connection broken")
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_over, lambda: self._receive(websocket))
            nursery.start_soon(until_over, lambda: self._send(websocket, before))
            nursery.start_soon(until_over, lambda: self._ping(websocket))
            nursery.start_soon(until_over, self._closed_on_purpose)
        return ended[0] if ended else "cancelled"

    async def _receive(self, websocket: WebSocketConnection) -> str:
        while True:
            message = await websocket.get_message()
            if isinstance(message, bytes):  # OCPP-J is text; say so as with any other nonsense
                message = message.decode("utf-8", "replace")
            self._scribe.observe(self._ingest.frame(message))

    async def _send(self, websocket: WebSocketConnection, before: int) -> str:
        """Send what is wanted and not sent yet, as soon as this connection is in the journal."""
        replied = 0
        called = ""
        current = self._scribe.wanted.value
        while True:
            if current.link.online and current.link.opened_seq != before:
                for reply in current.replies:
                    if reply.seq > replied:
                        replied = reply.seq
                        text = (
                            error_text(reply.message_id, reply.code, reply.description)
                            if reply.code
                            else result_text(reply.message_id, self._personal(reply.payload))
                        )
                        await websocket.send_message(text)
                        self._scribe.observe(
                            FrameSent(reply.message_id), lazy=current.restart is None
                        )
                call = current.call
                if call and call.message_id != called:
                    called = call.message_id
                    await websocket.send_message(self._call_text(call))
                    self._scribe.observe(FrameSent(call.message_id), lazy=True)
            current = await self._scribe.wanted.wait_changed(current)

    def _call_text(self, call: WantedCall) -> str:
        payload = self._personal(self._scribe.payload(call.call))
        if call.offline:  # E04.FR.03, E11.FR.07, E12.FR.02: the one field that may still change
            body = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
            payload = msgspec.Raw(msgspec.json.encode(body | {"offline": msgspec.Raw(b"true")}))
        return call_text(call.message_id, call.action, payload)

    def _personal(self, payload: msgspec.Raw) -> msgspec.Raw:
        """The payload with personal values back in their places."""
        if b'"#' not in bytes(payload):
            return payload
        whole = together(_payload.decode(payload), self._value_of)
        return msgspec.Raw(_encoder.encode(whole))

    async def _ping(self, websocket: WebSocketConnection) -> str:
        """Notice a half-open connection. OCPPCommCtrlr.WebSocketPingInterval, Part 4 §5.2."""
        while True:
            current = self._scribe.wanted.value
            interval_s = current.link.ping_s
            if not interval_s:
                await self._scribe.wanted.wait_changed(current)
                continue
            await trio.sleep(interval_s)
            with trio.move_on_after(interval_s) as patience:
                await websocket.ping()
            if patience.cancelled_caught:
                return f"no pong within {interval_s} s"

    async def _closed_on_purpose(self) -> str:
        await self._network.wait_closed()
        return "closed by the emulated network"


class HandshakeRefused(Exception):
    """The CSMS answered, but not as an OCPP 2.0.1 CSMS."""


FAILURES: Final = (
    OSError,
    ssl.SSLError,
    trio.TooSlowError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    HandshakeError,
    HandshakeRefused,
)


def back_off_s(wanted: Wanted, failures: int, dice: random.Random) -> float:
    """Seconds to wait before the next attempt. Part 4 §5.3.

    RetryBackOffWaitMinimum plus a random part; after each failure twice the time before, at most
    RetryBackOffRepeatTimes times.
    """
    link = wanted.link
    seconds = float(link.wait_min_s) + dice.uniform(0, link.wait_random_s)
    for _ in range(min(failures, link.repeat_times)):
        seconds = 2 * seconds + dice.uniform(0, link.wait_random_s)
    return seconds


async def _closed(websocket: WebSocketConnection) -> None:
    """Say goodbye, but not to somebody who is gone."""
    with trio.CancelScope(shield=True), trio.move_on_after(CLOSE_S):
        await websocket.aclose()


def _close_reason(closed: ConnectionClosed) -> str:
    reason = closed.reason
    if reason is None or not hasattr(reason, "code"):
        return "connection lost"
    return f"closed by the CSMS: {reason.code} {reason.reason or reason.name}"


def _in_words(group: BaseExceptionGroup[BaseException]) -> str:
    """The first failure of a group, for a person."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ConnectionRejected):
        return f"the CSMS refused the connection: HTTP {error.status_code}"
    if isinstance(error, trio.TooSlowError):
        return f"no connection within {CONNECT_S:.0f} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate of the CSMS: {error.verify_message}"
    return f"{type(error).__name__}: {error}"[:300]
