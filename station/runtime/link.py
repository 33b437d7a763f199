"""How do frames travel between the journal and the CSMS?

One connection at a time, through the slots that are wanted. What comes in becomes an
observation; what goes out is read off the wanted level, which holds nothing that is not on the
disk. A broken connection, however it broke, ends in LinkClosed and another attempt after a
growing pause.
"""

from __future__ import annotations

import base64
import logging
import random
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

import h11
import msgspec
import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)
from wsproto.utilities import ProtocolError

from journal.observations import FrameSent, LinkClosed, LinkFailed, LinkOpened, PayloadLost
from journal.projections.networks import NetworkSlot
from journal.store import JournalDamaged, JournalFailed
from journal.terms import Observation
from station.outbound import call_frame, reply_frame
from station.runtime.ingest import Ingest
from station.runtime.latest import Latest
from station.runtime.network import Network
from station.runtime.tls import (
    CertificateRefused,
    NoRootError,
    VersionRefused,
    context_for,
    first_cause,
    secured,
    security_event,
)
from station.runtime.walk import BackOff, Walk
from station.wanted import Wanted, WantedCall, WantedLink

log = logging.getLogger("station.link")

SUBPROTOCOL: Final = "ocpp2.0.1"  # Part 4 §3.1.2
CONNECT_S: Final = 20.0  # for TCP, TLS and the handshake together
CLOSE_S: Final = 2.0  # for a close handshake with whoever is still there
FRAME_MAX: Final = 256 * 1024  # bytes; the largest message of the CSMS is a tenth of it
RENEWED: Final = "the password was renewed"  # ends a connection, and the next comes at once
QUEUE_MAX: Final = 16  # frames taken from the network but not yet by the scribe


class Mailbox(Protocol):
    """What the link needs of the scribe."""

    wanted: Latest[Wanted]

    def observe(self, observation: Observation, *, lazy: bool = False) -> None: ...
    def payload(self, call: int) -> msgspec.Raw: ...
    async def room(self) -> None: ...


class Link:
    """Keeps one connection to a CSMS open, for ever."""

    def __init__(
        self,
        identity: str,
        scribe: Mailbox,
        ingest: Ingest,
        network: Network,
        *,
        password: Callable[[str], str | None],
        value_of: Callable[[str], str | None],
        key_of: Callable[[str], str | None] = lambda reference: None,
        cipher_suites: tuple[str, ...] = (),
        dice: random.Random | None = None,
    ) -> None:
        """`password` and `key_of` reveal what a reference names: see `secrets`."""
        self._identity = identity
        self._scribe = scribe
        self._ingest = ingest
        self._network = network
        self._password = password
        self._value_of = value_of
        self._key_of = key_of
        self._cipher_suites = cipher_suites
        self._dice = dice or random.Random()
        self._opens = 0  # connections so far; the journal counts them too

    async def run(self) -> None:
        """Connect, serve, reconnect. Part 4 §5.3, B10.FR.09."""
        walk, back_off = Walk(), BackOff(self._dice)
        while True:
            await self._network.wait_up()
            slot = await self._next_slot(walk)
            ended = await self._once(slot)
            if ended is None:
                walk.failed()
            else:
                walk.succeeded(slot.slot)
                back_off.reset()
            if ended != RENEWED:
                await self._pause(back_off.next_s(self._scribe.wanted.value.link))

    async def _next_slot(self, walk: Walk) -> NetworkSlot:
        current = self._scribe.wanted.value
        while (slot := walk.next(current.link)) is None:
            current = await self._scribe.wanted.wait_changed(current)
        return slot

    async def _pause(self, seconds: float) -> None:
        """The back-off; `up` of the emulated world ends it."""
        if self._network.mode != "up":
            return
        with trio.move_on_after(seconds):
            await self._network.wait_changed()

    async def _once(self, slot: NetworkSlot) -> str | None:
        """One connection from beginning to end.

        Returns:
            What ended it; None: it never stood.
        """
        before = self._scribe.wanted.value.link
        opened = False
        why = "closed"
        event = ""
        try:
            async with trio.open_nursery() as nursery:
                with trio.fail_after(CONNECT_S):
                    websocket = await self._connected(nursery, slot)
                opened = True
                self._opens += 1
                self._scribe.observe(LinkOpened(slot.slot, slot.url, slot.security_profile))
                log.info("connected to %s, slot %d", slot.url, slot.slot)
                try:
                    why = await self._serve(websocket, slot, before)
                finally:
                    await _closed(websocket)
                    nursery.cancel_scope.cancel()
        except* FAILURES as group:
            cause = first_cause(group)
            why, event = _in_words(cause), security_event(cause)
        except* Exception:
            if opened:
                self._scribe.observe(LinkClosed("a fault of ours"))
            raise
        if opened:
            log.warning("link lost: %s", why)
            self._scribe.observe(LinkClosed(why))
            return why
        log.warning("%s, slot %d: %s", slot.url, slot.slot, why)
        self._scribe.observe(LinkFailed(slot.slot, why, event))
        return None

    async def _connected(self, nursery: trio.Nursery, slot: NetworkSlot) -> WebSocketConnection:
        """A WebSocket with our subprotocol. Part 4 §3.1, §3.2.

        Raises:
            one of FAILURES.
        """
        parts = urlsplit(connection_url(slot.url, self._identity))
        host = parts.hostname or ""
        port = parts.port or (443 if slot.security_profile > 1 else 80)
        context = self._tls(slot)
        stream = await self._network.dial(host, port)
        try:
            if context is not None:
                stream = await secured(stream, context, host)
            websocket = await wrap_client_stream(
                nursery,
                stream,  # type: ignore[arg-type]
                f"{host}:{port}",
                parts.path,
                subprotocols=[SUBPROTOCOL],
                extra_headers=self._authorization(slot),
                message_queue_size=QUEUE_MAX,
                max_message_size=FRAME_MAX,
            )
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        if websocket.subprotocol != SUBPROTOCOL:
            await _closed(websocket)
            raise HandshakeRefused(f"the CSMS does not speak {SUBPROTOCOL}")
        return websocket

    def _tls(self, slot: NetworkSlot) -> ssl.SSLContext | None:
        """How the connection is secured, as its security profile wants it. A00.FR.312, A00.FR.415.

        Raises:
            NoRootError, ssl.SSLError, HandshakeRefused: it cannot be.
        """
        if slot.security_profile < 2:
            return None
        held = self._scribe.wanted.value.certificates
        roots = [one.pem for one in held if one.use == "CSMSRootCertificate"]
        own = None
        if slot.security_profile > 2:
            station = [one for one in held if one.use == "ChargingStationCertificate"]
            key = self._key_of(station[-1].key) if station else None
            if key is None:
                raise HandshakeRefused("security profile 3 needs a ChargingStationCertificate")
            own = station[-1].pem, key
        return context_for(roots, self._cipher_suites, own)

    def _authorization(self, slot: NetworkSlot) -> list[tuple[bytes, bytes]]:
        """HTTP Basic with the identity as user. A00.FR.202 to 206, A00.FR.301 to 304."""
        password = self._password(self._scribe.wanted.value.link.password)
        if password is None or slot.security_profile > 2:
            return []
        credentials = f"{self._identity}:{password}".encode()
        return [(b"Authorization", b"Basic " + base64.b64encode(credentials))]

    async def _serve(
        self, websocket: WebSocketConnection, slot: NetworkSlot, before: WantedLink
    ) -> str:
        """Carry frames until something ends it.

        Args:
            before: what was wanted of the link when the connection was made.

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
            nursery.start_soon(until_over, lambda: self._send(websocket, self._opens))
            nursery.start_soon(until_over, lambda: self._ping(websocket))
            nursery.start_soon(until_over, self._closed_on_purpose)
            if slot.security_profile < 3:
                nursery.start_soon(until_over, lambda: self._renewed(before.password))
        return ended[0] if ended else "cancelled"

    async def _receive(self, websocket: WebSocketConnection) -> str:
        while True:
            message = await websocket.get_message()
            if isinstance(message, bytes):  # OCPP-J is text; say so as with any other nonsense
                message = message.decode("utf-8", "replace")
            self._scribe.observe(self._ingest.frame(message))
            await self._scribe.room()

    async def _send(self, websocket: WebSocketConnection, opens: int) -> str:
        """Send what is wanted and not sent yet, as long as this connection is the journal's.

        Behind a slow commit the level may still be that of a connection before this one: what it
        wants sent is not for this one.
        """
        replied = 0
        called = ""
        current = self._scribe.wanted.value
        while True:
            if current.link.online and current.link.opens == opens:
                for reply in current.replies:
                    if reply.seq > replied:
                        replied = reply.seq
                        text = reply_frame(reply, self._value_of)
                        await websocket.send_message(text)
                        self._scribe.observe(
                            FrameSent(reply.message_id), lazy=current.restart is None
                        )
                call = current.call
                if call and call.message_id != called:
                    called = call.message_id
                    frame = self._call_text(call)
                    if frame is not None:
                        await websocket.send_message(frame)
                        self._scribe.observe(FrameSent(call.message_id), lazy=True)
            current = await self._scribe.wanted.wait_changed(current)

    def _call_text(self, call: WantedCall) -> str | None:
        """The frame; None where the journal has lost what was to be said."""
        try:
            payload = self._scribe.payload(call.call)
        except JournalDamaged:
            raise
        except (LookupError, JournalFailed) as failure:
            why = f"entry {call.call} cannot be read: {failure}"
            log.error("%s %d is not sent: %s", call.action, call.call, failure)
            self._scribe.observe(PayloadLost(call.call, why[:300]))
            return None
        return call_frame(
            call.message_id, call.action, payload, self._value_of, offline=call.offline
        )

    async def _ping(self, websocket: WebSocketConnection) -> str:
        """Notice a half-open connection. OCPPCommCtrlr.WebSocketPingInterval, Part 4 §5.2."""
        while True:
            current = await self._scribe.wanted.changed(lambda level: level.link.ping_s, 0)
            interval_s = current.link.ping_s
            await trio.sleep(interval_s)
            with trio.move_on_after(interval_s) as patience:
                await websocket.ping()
            if patience.cancelled_caught:
                return f"no pong within {interval_s} s"

    async def _closed_on_purpose(self) -> str:
        await self._network.wait_closed()
        return "closed by the emulated network"

    async def _renewed(self, password: str) -> str:
        """The CSMS set another password, and has our answer: come back with it. A01."""
        await self._scribe.wanted.changed(
            lambda level: level.link.password != password and not level.replies, False
        )
        return RENEWED


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
    CertificateRefused,
    NoRootError,
    VersionRefused,
    h11.ProtocolError,  # trio-websocket lets these two through where the other end breaks HTTP
    ProtocolError,
)


def connection_url(url: str, identity: str) -> str:
    """Part 4 §3.1.1: the identity is appended, percent-encoded."""
    return f"{url.rstrip('/')}/{quote(identity, safe='')}"


async def _closed(websocket: WebSocketConnection) -> None:
    """Say goodbye, but not to somebody who is gone."""
    with trio.CancelScope(shield=True), trio.move_on_after(CLOSE_S):
        await websocket.aclose()


def _close_reason(closed: ConnectionClosed) -> str:
    reason = closed.reason
    if reason is None or not hasattr(reason, "code"):
        return "connection lost"
    return f"closed by the CSMS: {reason.code} {reason.reason or reason.name}"


def _in_words(error: BaseException) -> str:
    """For a person."""
    match error:
        case ConnectionRejected(status_code=status):
            return f"the CSMS refused the connection: HTTP {status}"
        case trio.TooSlowError():
            return f"no connection within {CONNECT_S:.0f} s"
        case ssl.SSLCertVerificationError():
            return f"certificate of the CSMS: {error.verify_message}"
        case CertificateRefused() | NoRootError() | VersionRefused() | HandshakeRefused():
            return str(error)
        case _:
            return f"{type(error).__name__}: {error}"[:300]
