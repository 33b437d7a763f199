"""Failures of a connection to the CSMS, in the words of log and journal."""

from __future__ import annotations

import socket
import ssl
from typing import Final

import h11
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError
from wsproto.utilities import ProtocolError

from station.ocpp.csms_url import CsmsUrlError
from station.runtime.csms.guarded_stream import ReceiveFlood, UpgradeAborted, UpgradeRefused
from station.runtime.csms.tls import (
    CsmsCertificateRefused,
    NoRootError,
    TlsVersionRefused,
    describe_tls_error,
)

CONNECT_TIMEOUT_S: Final = 20.0  # for TCP, TLS and the handshake together
ABNORMAL_CLOSURE: Final = 1006  # RFC 6455 §7.4.1: never sent; there was no close frame


class HandshakeRefused(Exception):
    """The attempt cannot become an OCPP 2.0.1 connection: subprotocol or certificate missing."""


ADVICE_BY_STATUS: Final = {
    400: ". It does not accept this request; check the path of the url",
    401: ". Check [station] identity and the password of this station at the CSMS",
    403: ". It does not allow this station; check that its identity is known there",
    404: ". It does not know this path or identity; check the url and [station] identity",
}

CONNECTION_FAILURES: Final = (
    OSError,
    ssl.SSLError,
    trio.TooSlowError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    HandshakeError,
    HandshakeRefused,
    UpgradeRefused,
    UpgradeAborted,
    ReceiveFlood,
    CsmsCertificateRefused,
    CsmsUrlError,  # of a slot that an older release accepted
    NoRootError,
    TlsVersionRefused,
    h11.ProtocolError,  # trio-websocket passes these two on where the CSMS violates HTTP
    ProtocolError,
)


def close_reason_text(error: ConnectionClosed) -> str:
    """Why an open connection was closed, for log and journal."""
    reason = error.reason
    if reason is None or not hasattr(reason, "code"):
        return "connection lost"
    if reason.code == ABNORMAL_CLOSURE:
        return "connection lost without a close frame"
    return f"closed by the CSMS: {reason.code} {reason.reason or reason.name}"


def failure_text(error: BaseException) -> str:
    """Why an attempt failed, for log and journal."""
    match error:
        case ConnectionRejected(status_code=status) | UpgradeRefused(status=status):
            advice = ADVICE_BY_STATUS.get(status, "")
            return (
                f"the CSMS refused the connection: HTTP {status}{advice}" if status else str(error)
            )
        case ReceiveFlood():
            return f"closed by the station: {error}"
        case trio.TooSlowError():
            return f"no connection within {CONNECT_TIMEOUT_S:.0f} s"
        case CsmsUrlError():
            return f"the URL cannot be used: {error}"
        case (
            CsmsCertificateRefused()
            | NoRootError()
            | TlsVersionRefused()
            | HandshakeRefused()
            | UpgradeAborted()
        ):
            return str(error)
        case ssl.SSLError():
            return describe_tls_error(error)
        case socket.gaierror():
            return "the host name in the url cannot be resolved; check the url and DNS"
        case OSError():
            return (error.strerror or str(error))[:300]
        case _:
            return f"{type(error).__name__}: {error}"[:300]
