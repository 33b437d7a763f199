"""Is the other end of a TLS connection our CSMS, and what was wrong where it is not?

The station trusts the CSMSRootCertificates of its store and nobody else: with none, no TLS
connection is opened at all. Names are compared whole, since a wildcard is refused
(A00.FR.309, erratum 2.62 of 2025-02).
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import trio
from trio_websocket import ConnectionRejected

HTTP_UNAUTHORIZED: Final = 401
TLS_1_2: Final = b"\x03\x03"  # as records spell it; TLS 1.3 keeps it
RECORD_TYPES: Final = frozenset({20, 21, 22, 23})

# What OpenSSL calls the failure of a handshake -> the security event it is.
EVENT_BY_SSL_REASON: Final[dict[str, str]] = {
    "UNSUPPORTED_PROTOCOL": "InvalidTLSVersion",  # its choice is below ours. A00.FR.316
    "WRONG_SSL_VERSION": "InvalidTLSVersion",
    "TLSV1_ALERT_PROTOCOL_VERSION": "InvalidTLSVersion",  # our offer is above its own
    "NO_PROTOCOLS_AVAILABLE": "InvalidTLSVersion",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "InvalidTLSCipherSuite",  # none of ours. A00.FR.323
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": "InvalidTLSCipherSuite",
    "WRONG_CIPHER_RETURNED": "InvalidTLSCipherSuite",
    "UNKNOWN_CIPHER_RETURNED": "InvalidTLSCipherSuite",
    "DH_KEY_TOO_SMALL": "InvalidTLSCipherSuite",
}


class CsmsCertificateRefused(Exception):
    """The certificate of the CSMS is none we accept. A00.FR.310."""


class TlsVersionRefused(Exception):
    """The CSMS speaks TLS below 1.2. A00.FR.316."""


class NoRootError(Exception):
    """There is nothing a certificate of a CSMS could be checked with."""


def create_tls_context(
    roots: Sequence[str],
    cipher_suites: Sequence[str],
    client_certificate: tuple[str, str] | None = None,
) -> ssl.SSLContext:
    """How a TLS connection to the CSMS is made. A00.FR.308 to 321, A00.FR.411 to 424.

    Exactly the cipher suites given, so TLS 1.3 only where one of them is of TLS 1.3.

    Args:
        roots: PEM of the CSMSRootCertificates.
        cipher_suites: IANA names; none: what OpenSSL thinks is safe.
        own: chain and private key of the ChargingStationCertificate, PEM. A00.FR.402.

    Raises:
        NoRootError: `roots` is empty.
        ssl.SSLError: our own certificate and key do not fit.
    """
    if not roots:
        raise NoRootError("no CSMSRootCertificate is installed; give [csms] ca_file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata="".join(roots))
    # What is installed is an anchor, also where a sub-CA's certificate is.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_TRUSTED_FIRST
    context.check_hostname = False  # `check_host_name` does it: by the commonName too, no wildcards
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION  # A00.FR.321
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cipher_suites:
        classic = [openssl_name(suite) for suite in cipher_suites if "_WITH_" in suite]
        if len(classic) == len(cipher_suites):
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(":".join([*classic, "@SECLEVEL=2"]))  # A00.FR.501: 112 bits
    if client_certificate is not None:
        _load_client_certificate(context, *client_certificate)
    return context


def openssl_name(suite: str) -> str:
    """`TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256` as OpenSSL calls it."""
    exchange, _, cipher = suite.removeprefix("TLS_").partition("_WITH_")
    cipher = cipher.replace("AES_128", "AES128").replace("AES_256", "AES256")
    prefix = "" if exchange == "RSA" else f"{exchange.replace('_', '-')}-"
    return prefix + cipher.replace("_", "-")


def _load_client_certificate(context: ssl.SSLContext, chain: str, key: str) -> None:
    """`ssl` takes a private key from a file only: one that nobody else can read, for a moment."""
    handle, path = tempfile.mkstemp()  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(key + "\n" + chain)
        context.load_cert_chain(path)
    finally:
        os.unlink(path)


# --- The handshake -------------------------------------------------------------------------------


async def start_tls(stream: trio.abc.Stream, context: ssl.SSLContext, host: str) -> trio.abc.Stream:
    """TLS over the stream, to whom we meant. Not a byte of ours goes to anybody else.

    Raises:
        trio.BrokenResourceError: from an ssl.SSLError that says why not.
        TlsVersionRefused: it speaks an older TLS.
        CertificateRefused: the certificate is somebody else's.
    """
    heard = _TlsVersionStream(stream)
    secure: trio.SSLStream[trio.abc.Stream] = trio.SSLStream(
        heard, context, server_hostname=host, https_compatible=True
    )
    try:
        await secure.do_handshake()
    except trio.BrokenResourceError:
        if heard.tls_version and heard.tls_version < TLS_1_2:
            raise TlsVersionRefused("the CSMS speaks TLS below 1.2") from None
        raise
    check_host_name(secure.getpeercert(), host)
    return secure


class _TlsVersionStream(trio.abc.Stream):
    """A stream that remembers which version the first record from the other end is of.

    An old server finds none of our cipher suites in its version, and complains of those: that the
    version is the reason shows only here. RFC 5246 §6.2.1: a byte of type, two of version.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._first_bytes = b""

    @property
    def tls_version(self) -> bytes:
        """`03 03` is TLS 1.2; empty where nothing like TLS came."""
        known = (
            len(self._first_bytes) == 3
            and self._first_bytes[0] in RECORD_TYPES
            and self._first_bytes[1] == 3
        )
        return self._first_bytes[1:] if known else b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = bytes(await self._stream.receive_some(max_bytes))
        if len(self._first_bytes) < 3:
            self._first_bytes = (self._first_bytes + data)[:3]
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()


# --- Whose certificate is it? --------------------------------------------------------------------


def check_host_name(peer: Mapping[str, Any] | None, host: str) -> None:
    """The certificate names the host we meant: commonName or subjectAltName. A00.FR.309, 510, 511.

    Args:
        peer: as `SSLSocket.getpeercert` gives it.

    Raises:
        CertificateRefused: it names others, or nobody.
    """
    names = list(_certificate_names(peer or {}))
    if _normalize_name(host) not in map(_normalize_name, names):
        told = ", ".join(names)[:150] or "nobody"
        raise CsmsCertificateRefused(f"certificate of the CSMS: it names {told}, not {host}")


def _certificate_names(peer: Mapping[str, Any]) -> Iterator[str]:
    for subject in peer.get("subject", ()):
        yield from (value for kind, value in subject if kind == "commonName")
    yield from (
        value for kind, value in peer.get("subjectAltName", ()) if kind in ("DNS", "IP Address")
    )


def _normalize_name(name: str) -> str:
    """One spelling for each name or address."""
    try:
        return ipaddress.ip_address(name.strip("[]")).compressed
    except ValueError:
        return name.rstrip(".").casefold()


# --- What went wrong? ----------------------------------------------------------------------------


def first_cause(error: BaseException) -> BaseException:
    """The error that a group, or trio's BrokenResourceError, is about."""
    while True:
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        elif isinstance(error.__cause__, ssl.SSLError):
            error = error.__cause__
        else:
            return error


def security_event_for(error: BaseException) -> str:
    """The security event of Part 2 appendix 1 that a failed connection is; empty: none."""
    match error:
        case CsmsCertificateRefused() | ssl.SSLCertVerificationError():
            return "InvalidCsmsCertificate"
        case TlsVersionRefused():
            return "InvalidTLSVersion"
        case ConnectionRejected(status_code=status) if status == HTTP_UNAUTHORIZED:
            return "FailedToAuthenticateAtCsms"
        case ssl.SSLError(reason=reason):
            return EVENT_BY_SSL_REASON.get(reason or "", "")
        case _:
            return ""
