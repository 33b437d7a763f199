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

from journal.events import Observation
from journal.observations import CallPayloadLost, FrameSent, LinkClosed, LinkFailed, LinkOpened
from journal.projections.network_profiles import NetworkProfile
from journal.storage.errors import JournalDamaged, JournalFailed
from station.core.desired import DesiredCall, DesiredLink, DesiredState
from station.runtime.csms.back_off import BackOff
from station.runtime.csms.dialer import Dialer
from station.runtime.csms.frame_filter import FrameFilter
from station.runtime.csms.outgoing import build_call_frame, build_reply_frame
from station.runtime.csms.slot_rotation import SlotRotation
from station.runtime.csms.tls import (
    CsmsCertificateRefused,
    NoRootError,
    TlsVersionRefused,
    create_tls_context,
    first_cause,
    security_event_for,
    start_tls,
)
from station.runtime.watched_value import WatchedValue

log = logging.getLogger("station.link")

SUBPROTOCOL: Final = "ocpp2.0.1"  # Part 4 §3.1.2
CONNECT_TIMEOUT_S: Final = 20.0  # for TCP, TLS and the handshake together
CLOSE_TIMEOUT_S: Final = 2.0  # for a close handshake with whoever is still there
FRAME_BYTES_MAX: Final = 256 * 1024  # bytes; the largest message of the CSMS is a tenth of it
PASSWORD_CHANGED: Final = (
    "the password was renewed"  # ends a connection, and the next comes at once
)
QUEUED_FRAMES_MAX: Final = 16  # frames taken from the network but not yet by the scribe


class RecorderPort(Protocol):
    """What the link needs of the scribe."""

    desired_state: WatchedValue[DesiredState]

    def observe(self, observation: Observation, *, lazy: bool = False) -> None: ...
    def read_payload(self, call_seq: int) -> msgspec.Raw: ...
    async def wait_for_capacity(self) -> None: ...


class CsmsConnection:
    """Keeps one connection to a CSMS open, for ever."""

    def __init__(
        self,
        identity: str,
        recorder: RecorderPort,
        frame_filter: FrameFilter,
        dialer: Dialer,
        *,
        read_password: Callable[[str], str | None],
        value_of: Callable[[str], str | None],
        read_key: Callable[[str], str | None] = lambda reference: None,
        cipher_suites: tuple[str, ...] = (),
        random_source: random.Random | None = None,
    ) -> None:
        """`password` and `read_key` reveal what a reference names: see `secrets`."""
        self._identity = identity
        self._recorder = recorder
        self._frame_filter = frame_filter
        self._dialer = dialer
        self._read_password = read_password
        self._value_of = value_of
        self._read_key = read_key
        self._cipher_suites = cipher_suites
        self._random_source = random_source or random.Random()
        self._connection_count = 0  # connections so far; the journal counts them too

    async def run(self) -> None:
        """Connect, serve, reconnect. Part 4 §5.3, B10.FR.09."""
        walk, back_off = SlotRotation(), BackOff(self._random_source)
        while True:
            await self._dialer.wait_until_up()
            slot = await self._next_slot(walk)
            ended = await self._run_connection(slot)
            if ended is None:
                walk.on_attempt_failed()
            else:
                walk.on_connected(slot.slot)
                back_off.reset()
            if ended != PASSWORD_CHANGED:
                await self._wait_back_off(
                    back_off.next_wait_s(self._recorder.desired_state.value.link)
                )

    async def _next_slot(self, rotation: SlotRotation) -> NetworkProfile:
        current = self._recorder.desired_state.value
        while (slot := rotation.next_slot(current.link)) is None:
            current = await self._recorder.desired_state.wait_changed(current)
        return slot

    async def _wait_back_off(self, seconds: float) -> None:
        """The back-off; `up` of the emulated world ends it."""
        if self._dialer.mode != "up":
            return
        with trio.move_on_after(seconds):
            await self._dialer.wait_for_change()

    async def _run_connection(self, slot: NetworkProfile) -> str | None:
        """One connection from beginning to end.

        Returns:
            What ended it; None: it never stood.
        """
        before = self._recorder.desired_state.value.link
        opened = False
        why = "closed"
        event = ""
        try:
            async with trio.open_nursery() as nursery:
                with trio.fail_after(CONNECT_TIMEOUT_S):
                    websocket = await self._open_websocket(nursery, slot)
                opened = True
                self._connection_count += 1
                self._recorder.observe(LinkOpened(slot.slot, slot.url, slot.security_profile))
                log.info("connected to %s, slot %d", slot.url, slot.slot)
                try:
                    why = await self._serve_connection(websocket, slot, before)
                finally:
                    await _close_websocket(websocket)
                    nursery.cancel_scope.cancel()
        except* CONNECTION_FAILURES as group:
            cause = first_cause(group)
            why, event = _failure_text(cause), security_event_for(cause)
        except* Exception:
            if opened:
                self._recorder.observe(LinkClosed("a fault of ours"))
            raise
        if opened:
            log.warning("link lost: %s", why)
            self._recorder.observe(LinkClosed(why))
            return why
        log.warning("%s, slot %d: %s", slot.url, slot.slot, why)
        self._recorder.observe(LinkFailed(slot.slot, why, event))
        return None

    async def _open_websocket(
        self, nursery: trio.Nursery, slot: NetworkProfile
    ) -> WebSocketConnection:
        """A WebSocket with our subprotocol. Part 4 §3.1, §3.2.

        Raises:
            one of FAILURES.
        """
        parts = urlsplit(connection_url(slot.url, self._identity))
        host = parts.hostname or ""
        port = parts.port or (443 if slot.security_profile > 1 else 80)
        context = self._tls_context(slot)
        stream = await self._dialer.dial(host, port)
        try:
            if context is not None:
                stream = await start_tls(stream, context, host)
            websocket = await wrap_client_stream(
                nursery,
                stream,  # type: ignore[arg-type]
                f"{host}:{port}",
                parts.path,
                subprotocols=[SUBPROTOCOL],
                extra_headers=self._authorization_headers(slot),
                message_queue_size=QUEUED_FRAMES_MAX,
                max_message_size=FRAME_BYTES_MAX,
            )
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        if websocket.subprotocol != SUBPROTOCOL:
            await _close_websocket(websocket)
            raise HandshakeRefused(f"the CSMS does not speak {SUBPROTOCOL}")
        return websocket

    def _tls_context(self, slot: NetworkProfile) -> ssl.SSLContext | None:
        """How the connection is secured, as its security profile wants it. A00.FR.312, A00.FR.415.

        Raises:
            NoRootError, ssl.SSLError, HandshakeRefused: it cannot be.
        """
        if slot.security_profile < 2:
            return None
        held = self._recorder.desired_state.value.certificates
        roots = [one.pem for one in held if one.use == "CSMSRootCertificate"]
        own = None
        if slot.security_profile > 2:
            station = [one for one in held if one.use == "ChargingStationCertificate"]
            key = self._read_key(station[-1].private_key_ref) if station else None
            if key is None:
                raise HandshakeRefused("security profile 3 needs a ChargingStationCertificate")
            own = station[-1].pem, key
        return create_tls_context(roots, self._cipher_suites, own)

    def _authorization_headers(self, slot: NetworkProfile) -> list[tuple[bytes, bytes]]:
        """HTTP Basic with the identity as user. A00.FR.202 to 206, A00.FR.301 to 304."""
        password = self._read_password(self._recorder.desired_state.value.link.password_reference)
        if password is None or slot.security_profile > 2:
            return []
        credentials = f"{self._identity}:{password}".encode()
        return [(b"Authorization", b"Basic " + base64.b64encode(credentials))]

    async def _serve_connection(
        self, websocket: WebSocketConnection, slot: NetworkProfile, initial_link: DesiredLink
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
            nursery.start_soon(until_over, lambda: self._receive_frames(websocket))
            nursery.start_soon(
                until_over, lambda: self._send_frames(websocket, self._connection_count)
            )
            nursery.start_soon(until_over, lambda: self._send_pings(websocket))
            nursery.start_soon(until_over, self._wait_until_network_closed)
            if slot.security_profile < 3:
                nursery.start_soon(
                    until_over,
                    lambda: self._wait_until_password_changed(initial_link.password_reference),
                )
        return ended[0] if ended else "cancelled"

    async def _receive_frames(self, websocket: WebSocketConnection) -> str:
        while True:
            message = await websocket.get_message()
            if isinstance(message, bytes):  # OCPP-J is text; say so as with any other nonsense
                message = message.decode("utf-8", "replace")
            self._recorder.observe(self._frame_filter.to_observation(message))
            await self._recorder.wait_for_capacity()

    async def _send_frames(self, websocket: WebSocketConnection, connection_number: int) -> str:
        """Send what is wanted and not sent yet, as long as this connection is the journal's.

        Behind a slow commit the level may still be that of a connection before this one: what it
        wants sent is not for this one.
        """
        replied = 0
        called = ""
        current = self._recorder.desired_state.value
        while True:
            if current.link.online and current.link.open_count == connection_number:
                for reply in current.replies:
                    if reply.seq > replied:
                        replied = reply.seq
                        text = build_reply_frame(reply, self._value_of)
                        await websocket.send_message(text)
                        self._recorder.observe(
                            FrameSent(reply.message_id), lazy=current.restart_reason is None
                        )
                call = current.call
                if call and call.message_id != called:
                    called = call.message_id
                    frame = self._encode_call(call)
                    if frame is not None:
                        await websocket.send_message(frame)
                        self._recorder.observe(FrameSent(call.message_id), lazy=True)
            current = await self._recorder.desired_state.wait_changed(current)

    def _encode_call(self, call: DesiredCall) -> str | None:
        """The frame; None where the journal has lost what was to be said."""
        try:
            payload = self._recorder.read_payload(call.call)
        except JournalDamaged:
            raise
        except (LookupError, JournalFailed) as failure:
            why = f"entry {call.call} cannot be read: {failure}"
            log.error("%s %d is not sent: %s", call.action, call.call, failure)
            self._recorder.observe(CallPayloadLost(call.call, why[:300]))
            return None
        return build_call_frame(
            call.message_id, call.action, payload, self._value_of, offline=call.offline
        )

    async def _send_pings(self, websocket: WebSocketConnection) -> str:
        """Notice a half-open connection. OCPPCommCtrlr.WebSocketPingInterval, Part 4 §5.2."""
        while True:
            current = await self._recorder.desired_state.wait_part_changed(
                lambda level: level.link.ping_interval_s, 0
            )
            interval_s = current.link.ping_interval_s
            await trio.sleep(interval_s)
            with trio.move_on_after(interval_s) as patience:
                await websocket.ping()
            if patience.cancelled_caught:
                return f"no pong within {interval_s} s"

    async def _wait_until_network_closed(self) -> str:
        await self._dialer.wait_until_closed()
        return "closed by the emulated network"

    async def _wait_until_password_changed(self, password: str) -> str:
        """The CSMS set another password, and has our answer: come back with it. A01."""
        await self._recorder.desired_state.wait_part_changed(
            lambda level: level.link.password_reference != password and not level.replies, False
        )
        return PASSWORD_CHANGED


class HandshakeRefused(Exception):
    """The CSMS answered, but not as an OCPP 2.0.1 CSMS."""


CONNECTION_FAILURES: Final = (
    OSError,
    ssl.SSLError,
    trio.TooSlowError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    HandshakeError,
    HandshakeRefused,
    CsmsCertificateRefused,
    NoRootError,
    TlsVersionRefused,
    h11.ProtocolError,  # trio-websocket lets these two through where the other end breaks HTTP
    ProtocolError,
)


def connection_url(url: str, identity: str) -> str:
    """Part 4 §3.1.1: the identity is appended, percent-encoded."""
    return f"{url.rstrip('/')}/{quote(identity, safe='')}"


async def _close_websocket(websocket: WebSocketConnection) -> None:
    """Say goodbye, but not to somebody who is gone."""
    with trio.CancelScope(shield=True), trio.move_on_after(CLOSE_TIMEOUT_S):
        await websocket.aclose()


def _close_reason(error: ConnectionClosed) -> str:
    reason = error.reason
    if reason is None or not hasattr(reason, "code"):
        return "connection lost"
    return f"closed by the CSMS: {reason.code} {reason.reason or reason.name}"


def _failure_text(error: BaseException) -> str:
    """For a person."""
    match error:
        case ConnectionRejected(status_code=status):
            return f"the CSMS refused the connection: HTTP {status}"
        case trio.TooSlowError():
            return f"no connection within {CONNECT_TIMEOUT_S:.0f} s"
        case ssl.SSLCertVerificationError():
            return f"certificate of the CSMS: {error.verify_message}"
        case CsmsCertificateRefused() | NoRootError() | TlsVersionRefused() | HandshakeRefused():
            return str(error)
        case _:
            return f"{type(error).__name__}: {error}"[:300]
