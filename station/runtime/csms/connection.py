"""WebSocket connection to the CSMS: connect, send, receive, reconnect. Part 4 §3, §5; B10.

The task owns one connection at a time and goes through these states:

    waiting     no slot to try, or the network is down. Ends when a slot is desired.
    connecting  TCP, TLS, WebSocket handshake, 20 s for all three. Success: LinkOpened. Failure:
                LinkFailed, with the security event it amounts to, then back-off. Any exception
                is a failed attempt, so that the next slot gets its turn.
    open        five tasks run until the first of them ends: receive frames, send frames, send
                pings, watch the network, watch the password or certificate of the station. The
                end is a LinkClosed.
    back-off    `BackOff` has the length; `SlotRotation` has slot and certificate of the next
                attempt.

* Received bytes pass `GuardedStream`, which bounds what they can cost the loop. `ReceiveQuota`
  bounds what received frames can cost the disk.
* Incoming: `FrameFilter` turns each frame into an observation without secrets, a long frame in a
  thread, so that it does not hold the loop. Certificates are read in another process before. The
  receiver then waits for capacity in the recorder, so a CSMS that floods the station is slowed down
  by TCP.
* Outgoing: the sender reads replies and the current call off the desired state, which holds only
  what is committed (P3). It sends what it has not sent on this connection and reports FrameSent.
* The desired state may be older than this connection while a commit is slow. Frames are sent only
  once the journal has counted this connection (`open_count`).
* A connection that is closed for its quota counts as a failed one for the back-off, so that the
  waits get longer.
* When the CSMS sets another BasicAuthPassword, the connection is closed after the reply was sent
  and opened again at once, without back-off (A01). The same happens with security profile 3 when
  a new certificate of the station was installed (A02.FR.08).
* While a new certificate and the one before are installed, a connection on which the CSMS has sent
  nothing counts as a failed attempt of its certificate: some CSMSs open the WebSocket and close it
  again.
* With AdditionalRootCertificateCheck one CSMSRootCertificate at a time is trusted. If it does not
  verify the CSMS, the same attempt goes on with the next one that `SlotRotation` allows.
  M05.FR.14.
"""

from __future__ import annotations

import base64
import logging
import random
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Protocol, TypeVar

import msgspec
import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    wrap_client_stream,
)

from journal.events import Observation
from journal.observations import (
    CallPayloadLost,
    FrameMalformed,
    FrameReceived,
    FrameSent,
    LinkClosed,
    LinkFailed,
    LinkOpened,
)
from journal.projections.certificates import CertificateInstalled
from journal.projections.network_profiles import NetworkProfile
from journal.storage.errors import JournalDamaged, JournalFailed
from station.core.desired import DesiredCall, DesiredLink, DesiredState
from station.core.html_text import import_html, is_import_due
from station.ocpp.csms_url import parse_csms_url
from station.runtime.crypto.frame_certificates import read_certificates
from station.runtime.crypto.process import Execute
from station.runtime.csms.back_off import BackOff
from station.runtime.csms.connection_failures import (
    CONNECT_TIMEOUT_S,
    CONNECTION_FAILURES,
    HandshakeRefused,
    close_reason_text,
    failure_text,
)
from station.runtime.csms.dialer import Dialer
from station.runtime.csms.frame_filter import FrameFilter
from station.runtime.csms.guarded_stream import (
    GuardedStream,
)
from station.runtime.csms.outgoing import build_call_frame, build_reply_frame
from station.runtime.csms.receive_quota import LIST_ACTION, Admission, ReceiveQuota
from station.runtime.csms.slot_rotation import SlotRotation
from station.runtime.csms.tls import (
    create_tls_context,
    describe_tls_error,
    first_cause,
    security_event_for,
    start_tls,
)
from station.runtime.watched_value import WatchedValue

log = logging.getLogger("station.csms")

SUBPROTOCOL: Final = "ocpp2.0.1"  # Part 4 §3.1.2
CLOSE_TIMEOUT_S: Final = 2.0  # for the close handshake; the CSMS may be gone already
ID_SEARCH_MAX: Final = 64  # characters: `[3,"<36 characters>",`
FRAME_BYTES_MAX: Final = 256 * 1024  # bytes; the largest message of the CSMS is a tenth of it
PASSWORD_CHANGED: Final = "the password was renewed"  # reason; reconnect without back-off
CERTIFICATE_CHANGED: Final = "the certificate of the station was renewed"  # as above
QUOTA_EXCEEDED: Final = "the CSMS sent more than the quota of a day"  # reason
BEYOND_QUOTA: Final = "long frame beyond the quota of an hour"  # reason of FrameMalformed
QUEUED_FRAMES_MAX: Final = 16  # received frames that are not yet with the recorder

T = TypeVar("T")
FindRequestedValues = Callable[[FrameReceived], Sequence[Observation]]


class RunBlocking(Protocol):
    """Runs a function beside the loop, as `trio.to_thread.run_sync` does."""

    async def __call__(self, function: Callable[[], T], /) -> T: ...


class RecorderPort(Protocol):
    """The part of the recorder that the connection uses."""

    @property
    def desired_state(self) -> WatchedValue[DesiredState]:
        """What to connect to and what to send; committed facts only."""
        ...

    def observe(self, observation: Observation, *, lazy: bool = False) -> None:
        """Record an observation. Never waits; a lazy one may share the commit of a later one."""
        ...

    def read_payload(self, call_seq: int) -> msgspec.Raw:
        """Payload of the call queued by entry `call_seq`.

        Raises:
            LookupError, JournalFailed: it cannot be read.
        """
        ...

    async def wait_for_capacity(self) -> None:
        """Return once the queue of observations is shorter than one commit."""
        ...


class CsmsConnection:
    """The task that keeps one connection to a CSMS open."""

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
        bytes_per_day: int | None = None,
        run_blocking: RunBlocking = trio.to_thread.run_sync,
        find_requested_values: FindRequestedValues = lambda frame: (),
        examine: Execute | None = None,
    ) -> None:
        """Prepare; `run` connects.

        Args:
            identity: appended to the URL and sent as user name.
            recorder: takes observations and publishes the desired state.
            frame_filter: turns a received frame into an observation.
            dialer: opens TCP connections.
            read_password: BasicAuthPassword by its reference.
            value_of: personal value by its reference.
            read_key: private key of the ChargingStationCertificate by its reference.
            cipher_suites: of the product profile; empty: OpenSSL's choice.
            random_source: for the random part of the back-off.
            bytes_per_day: see `ReceiveQuota`.
            run_blocking: runs a function beside the loop.
            find_requested_values: what is observed before a frame, because it asks for it.
            examine: reads the certificates of a frame before the decision; None: it reads them.
        """
        self._identity = identity
        self._recorder = recorder
        self._frame_filter = frame_filter
        self._dialer = dialer
        self._read_password = read_password
        self._value_of = value_of
        self._read_key = read_key
        self._cipher_suites = cipher_suites
        self._random_source = random_source or random.Random()
        self._quota: ReceiveQuota | None = None
        self._bytes_per_day = bytes_per_day
        self._run_blocking = run_blocking
        self._find_requested_values = find_requested_values
        self._examine = examine
        self._awaited_message_id = ""  # of the call whose answer has not come; empty: none
        self._connection_count = 0  # connections of this run; compared with `open_count`
        self._certificate_tried = False  # the last attempt failed with it, or reached the CSMS
        self._root_refused = False  # by the last attempt: no root that was tried verified the CSMS
        self._has_received = False  # on the last connection

    async def run(self) -> None:
        """Connect, serve, reconnect. Part 4 §5.3, B10.FR.09."""
        rotation, back_off = SlotRotation(), BackOff(self._random_source)
        while True:
            await self._dialer.wait_until_up()
            slot = await self._next_slot(rotation)
            link = self._recorder.desired_state.value.link
            certificate = rotation.client_certificate(link) if slot.security_profile == 3 else None
            roots = rotation.csms_roots(link, slot)
            close_reason = await self._run_connection(slot, certificate, roots)
            is_unproven = certificate is not None and len(link.client_certificates) > 1
            if close_reason is None or (is_unproven and not self._has_received):
                rotation.on_attempt_failed(
                    certificate_tried=self._certificate_tried,
                    root_refused_in_migration=self._root_refused
                    and len(roots) < len(link.csms_roots),
                )
            else:
                rotation.on_connected(slot.slot)
                if close_reason != QUOTA_EXCEEDED:
                    back_off.reset()
            if close_reason not in (PASSWORD_CHANGED, CERTIFICATE_CHANGED):
                link = self._recorder.desired_state.value.link
                await self._dialer.wait_back_off(back_off.next_wait_s(link))

    async def _next_slot(self, rotation: SlotRotation) -> NetworkProfile:
        current = self._recorder.desired_state.value
        while (slot := rotation.next_slot(current.link)) is None:
            current = await self._recorder.desired_state.wait_changed(current)
        return slot

    async def _run_connection(
        self,
        slot: NetworkProfile,
        certificate: CertificateInstalled | None,
        roots: tuple[CertificateInstalled, ...],
    ) -> str | None:
        """Run one connection from the attempt to its end.

        Args:
            slot: its network profile.
            certificate: of the station, for security profile 3; None: there is none.
            roots: to verify the CSMS with, one after the other; empty: all installed ones together.

        Returns:
            Why it ended; None: the attempt failed.
        """
        initial_link = self._recorder.desired_state.value.link
        opened = self._has_received = self._certificate_tried = self._root_refused = False
        reason, security_event = "closed", ""
        try:
            async with trio.open_nursery() as nursery:
                with trio.fail_after(CONNECT_TIMEOUT_S):
                    websocket, stream, root = await self._open_websocket(
                        nursery, slot, certificate, roots
                    )
                opened = True
                self._connection_count += 1
                sha256 = certificate.sha256 if certificate else ""
                self._recorder.observe(
                    LinkOpened(slot.slot, slot.url, slot.security_profile, sha256, root)
                )
                log.info("connected to %s, slot %d", slot.url, slot.slot)
                try:
                    reason = await self._serve_connection(
                        websocket, stream, slot, initial_link, sha256
                    )
                finally:
                    await _close_websocket(websocket, stream)
                    nursery.cancel_scope.cancel()
        except* CONNECTION_FAILURES as group:
            cause = first_cause(group)
            reason, security_event = failure_text(cause), security_event_for(cause)
        except* (JournalDamaged, JournalFailed):
            raise
        except* Exception as group:
            if opened:
                self._recorder.observe(LinkClosed("internal error of the station"))
                raise
            log.exception("internal error in an attempt to connect to %s", slot.url)
            reason = f"internal error of the station: {failure_text(first_cause(group))}"[:300]
        if opened:
            log.warning("connection to %s ended: %s", slot.url, reason)
            self._recorder.observe(LinkClosed(reason))
            return reason
        log.warning("cannot connect to %s, slot %d: %s", slot.url, slot.slot, reason)
        self._recorder.observe(LinkFailed(slot.slot, reason, security_event))
        return None

    async def _open_websocket(
        self,
        nursery: trio.Nursery,
        slot: NetworkProfile,
        certificate: CertificateInstalled | None,
        roots: tuple[CertificateInstalled, ...],
    ) -> tuple[WebSocketConnection, GuardedStream, str]:
        """Open a WebSocket with subprotocol `ocpp2.0.1`. Part 4 §3.1, §3.2.

        Returns:
            The WebSocket, the stream below it, and the SHA-256 of the root that verified the CSMS;
            empty: every installed root was trusted, or there is no TLS.

        Raises:
            any of `CONNECTION_FAILURES`.
        """
        url = parse_csms_url(slot.url)
        secure, root_sha256 = await self._open_stream(slot, certificate, roots)
        stream = GuardedStream(secure)
        try:
            websocket = await wrap_client_stream(
                nursery,
                stream,  # type: ignore[arg-type]
                url.host_header,
                url.request_target(self._identity),
                subprotocols=[SUBPROTOCOL],
                extra_headers=self._authorization_headers(slot),
                message_queue_size=QUEUED_FRAMES_MAX,
                max_message_size=FRAME_BYTES_MAX,
            )
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        if websocket.subprotocol != SUBPROTOCOL:
            await _close_websocket(websocket, stream)
            raise HandshakeRefused(f"the CSMS does not offer the subprotocol {SUBPROTOCOL}")
        return websocket, stream, root_sha256

    async def _open_stream(
        self,
        slot: NetworkProfile,
        certificate: CertificateInstalled | None,
        roots: tuple[CertificateInstalled, ...],
    ) -> tuple[trio.abc.Stream, str]:
        """Open TCP and TLS, with the first root that verifies the CSMS. M05.FR.14.

        Returns:
            As `_open_websocket`.
        """
        if slot.security_profile < 2 or not roots:
            return await self._start_stream(slot, self._tls_context(slot, certificate, ())), ""
        for root in roots[:-1]:
            context = self._tls_context(slot, certificate, (root,))
            try:
                return await self._start_stream(slot, context), root.sha256
            except trio.BrokenResourceError as error:
                cause = first_cause(error)
                if not isinstance(cause, ssl.SSLCertVerificationError):
                    raise
                log.warning("%s; the next CSMSRootCertificate is tried", describe_tls_error(cause))
        context = self._tls_context(slot, certificate, roots[-1:])
        try:
            return await self._start_stream(slot, context), roots[-1].sha256
        except trio.BrokenResourceError as error:
            self._root_refused = isinstance(first_cause(error), ssl.SSLCertVerificationError)
            raise

    async def _start_stream(
        self, slot: NetworkProfile, context: ssl.SSLContext | None
    ) -> trio.abc.Stream:
        """TCP, and TLS if there is a context."""
        url = parse_csms_url(slot.url)
        stream = await self._dialer.dial(url.host, url.port)
        self._certificate_tried = slot.security_profile == 3
        if context is None:
            return stream
        wildcards = self._recorder.desired_state.value.link.wildcards_allowed
        try:
            return await start_tls(stream, context, url.host, wildcards_allowed=wildcards)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise

    def _tls_context(
        self,
        slot: NetworkProfile,
        certificate: CertificateInstalled | None,
        only: tuple[CertificateInstalled, ...],
    ) -> ssl.SSLContext | None:
        """TLS settings of the slot's security profile; None for 1. A00.FR.312, A00.FR.415.

        An expired certificate of the station is used too: the CSMS decides (A00.FR.430).

        Args:
            only: the roots to trust; empty: every installed CSMSRootCertificate.

        Raises:
            NoRootError, ssl.SSLError, HandshakeRefused: a certificate or key is missing or bad.
        """
        if slot.security_profile < 2:
            return None
        installed = only or self._recorder.desired_state.value.certificates
        roots = [cert.pem for cert in installed if cert.use == "CSMSRootCertificate"]
        if slot.security_profile == 2:
            return create_tls_context(roots, self._cipher_suites)
        key = self._read_key(certificate.private_key_ref) if certificate else None
        if certificate is None or key is None:
            self._certificate_tried = True
            raise HandshakeRefused(
                "security profile 3 needs a ChargingStationCertificate and its private key"
            )
        try:
            return create_tls_context(roots, self._cipher_suites, (certificate.pem, key))
        except ssl.SSLError as error:
            self._certificate_tried = True
            raise HandshakeRefused(
                f"the ChargingStationCertificate cannot be used: {error.reason or error}"
            ) from None

    def _authorization_headers(self, slot: NetworkProfile) -> list[tuple[bytes, bytes]]:
        """HTTP Basic with the identity as user name. A00.FR.202 to 206, A00.FR.301 to 304."""
        password = self._read_password(self._recorder.desired_state.value.link.password_reference)
        if password is None or slot.security_profile > 2:
            return []
        credentials = f"{self._identity}:{password}".encode()
        return [(b"Authorization", b"Basic " + base64.b64encode(credentials))]

    async def _serve_connection(
        self,
        websocket: WebSocketConnection,
        stream: GuardedStream,
        slot: NetworkProfile,
        initial_link: DesiredLink,
        certificate_sha256: str,
    ) -> str:
        """Send and receive frames until the first of the tasks ends.

        Args:
            websocket: the open connection.
            stream: below it.
            slot: its network profile.
            initial_link: desired state of the link before the attempt.
            certificate_sha256: of the station's certificate; empty: the connection has none.

        Returns:
            Why the connection ended.
        """
        reasons: list[str] = []

        async def run_until_end(work: Callable[[], Awaitable[str]]) -> None:
            try:
                reasons.append(await work())
            except ConnectionClosed as closed:
                reasons.append(close_reason_text(closed))
            except trio.BrokenResourceError:
                reasons.append("connection broken")
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_until_end, lambda: self._receive_frames(websocket, stream))
            nursery.start_soon(
                run_until_end, lambda: self._send_frames(websocket, self._connection_count)
            )
            nursery.start_soon(run_until_end, lambda: self._send_pings(websocket))
            nursery.start_soon(run_until_end, self._wait_until_network_closed)
            if slot.security_profile < 3:
                nursery.start_soon(
                    run_until_end,
                    lambda: self._wait_until_password_changed(initial_link.password_reference),
                )
            else:
                known = {
                    certificate_sha256,
                    *(each.sha256 for each in initial_link.client_certificates),
                }
                nursery.start_soon(
                    run_until_end, lambda: self._wait_until_certificate_changed(known)
                )
        return reasons[0] if reasons else "cancelled"

    async def _receive_frames(self, websocket: WebSocketConnection, stream: GuardedStream) -> str:
        while True:
            message = await websocket.get_message()
            stream.on_message()
            self._has_received = True
            if isinstance(message, bytes):  # OCPP-J is text: recorded as FrameMalformed
                message = message.decode("utf-8", "replace")
            observation: Observation
            match self._admit(message):
                case "close":
                    return QUOTA_EXCEEDED
                case "digest":
                    observation = self._frame_filter.to_digest(message, BEYOND_QUOTA)
                case "whole":
                    if self._examine is not None:
                        installed = self._recorder.desired_state.value.certificates
                        await read_certificates(message, installed, self._examine)
                    if is_import_due(message):
                        await self._run_blocking(import_html)
                    observation = await self._filter_frame(message)
            if isinstance(observation, FrameReceived):
                for value in self._find_requested_values(observation):
                    self._recorder.observe(value)
            self._recorder.observe(observation)
            await self._recorder.wait_for_capacity()

    async def _filter_frame(self, message: str) -> FrameReceived | FrameMalformed:
        if self._frame_filter.is_quick(message):
            return self._frame_filter.to_observation(message)
        return await self._run_blocking(partial(self._frame_filter.to_observation, message))

    def _current_quota(self) -> ReceiveQuota:
        """The quota; it begins with the first frame, because it needs the time of the loop."""
        if self._quota is None:
            self._quota = ReceiveQuota(trio.current_time(), self._bytes_per_day)
        return self._quota

    def _admit(self, message: str) -> Admission:
        message_id = self._awaited_message_id
        is_awaited = bool(message_id) and f'"{message_id}"' in message[:ID_SEARCH_MAX]
        if is_awaited:
            self._awaited_message_id = ""  # a second answer is not awaited
        return self._current_quota().admit(
            len(message),
            trio.current_time(),
            is_awaited=is_awaited,
            is_list=f'"{LIST_ACTION}"' in message[:ID_SEARCH_MAX],
        )

    async def _send_frames(self, websocket: WebSocketConnection, connection_number: int) -> str:
        """Send each reply and call of the desired state once, while this connection is current.

        After a slow commit the desired state may still belong to an earlier connection; its frames
        are not sent on this one.
        """
        last_reply_seq = 0
        last_message_id = ""
        current = self._recorder.desired_state.value
        while True:
            if current.link.online and current.link.open_count == connection_number:
                for reply in current.replies:
                    if reply.seq > last_reply_seq:
                        last_reply_seq = reply.seq
                        frame = build_reply_frame(reply, self._value_of)
                        self._current_quota().charge_sent(len(frame))
                        await websocket.send_message(frame)
                        self._recorder.observe(
                            FrameSent(reply.message_id), lazy=current.restart_reason is None
                        )
                call = current.call
                if call and call.message_id != last_message_id:
                    last_message_id = call.message_id
                    call_frame = self._encode_call(call)
                    if call_frame is not None:
                        self._awaited_message_id = call.message_id
                        self._current_quota().charge_sent(len(call_frame), call.action)
                        await websocket.send_message(call_frame)
                        self._recorder.observe(FrameSent(call.message_id), lazy=True)
            current = await self._recorder.desired_state.wait_changed(current)

    def _encode_call(self, call: DesiredCall) -> str | None:
        """Frame of a call; None, and CallPayloadLost, if the journal cannot return the payload."""
        try:
            payload = self._recorder.read_payload(call.call)
        except JournalDamaged:
            raise
        except (LookupError, JournalFailed) as failure:
            reason = f"entry {call.call} cannot be read: {failure}"
            log.error("%s of entry %d is not sent: %s", call.action, call.call, failure)
            self._recorder.observe(CallPayloadLost(call.call, reason[:300]))
            return None
        return build_call_frame(
            call.message_id, call.action, payload, self._value_of, offline=call.offline
        )

    async def _send_pings(self, websocket: WebSocketConnection) -> str:
        """Detect a half-open connection. OCPPCommCtrlr.WebSocketPingInterval, Part 4 §5.2."""
        while True:
            current = await self._recorder.desired_state.wait_part_changed(
                lambda desired: desired.link.ping_interval_s, 0
            )
            interval_s = current.link.ping_interval_s
            await trio.sleep(interval_s)
            with trio.move_on_after(interval_s) as pong_timeout:
                await websocket.ping()
            if pong_timeout.cancelled_caught:
                return f"no pong within {interval_s} s"

    async def _wait_until_network_closed(self) -> str:
        await self._dialer.wait_until_closed()
        return "closed by the emulated network"

    async def _wait_until_password_changed(self, initial_reference: str) -> str:
        """Return once the CSMS has set another password and received the reply. A01."""
        await self._recorder.desired_state.wait_part_changed(
            lambda desired: (
                desired.link.password_reference != initial_reference and not desired.replies
            ),
            False,
        )
        return PASSWORD_CHANGED

    async def _wait_until_certificate_changed(self, known: set[str]) -> str:
        """Return once a certificate of the station is new and the reply was sent. A02.FR.08."""
        await self._recorder.desired_state.wait_part_changed(
            lambda desired: (
                not desired.replies
                and any(each.sha256 not in known for each in desired.link.client_certificates)
            ),
            False,
        )
        return CERTIFICATE_CHANGED


async def _close_websocket(websocket: WebSocketConnection, stream: trio.abc.Stream) -> None:
    """Close with a handshake, which a CSMS that is gone does not answer: 2 s at most.

    The library leaves the stream open if the CSMS closed the WebSocket, or does not answer.
    """
    with trio.CancelScope(shield=True):
        with trio.move_on_after(CLOSE_TIMEOUT_S):
            await websocket.aclose()
        if id(stream) != id(websocket):  # a simulated connection is both
            await trio.aclose_forcefully(stream)
