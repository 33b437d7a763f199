"""TLS to the CSMS: settings, handshake, name check, and the security event of a failure.

* The station trusts the CSMSRootCertificates of its store and no others; with none, no TLS
  connection is attempted.
* Cipher suites are exactly those of the product profile. TLS 1.2 is the minimum.
* The certificate must name the host of the URL, in commonName or subjectAltName. Names are compared
  whole; a wildcard is refused unless AllowCSMSTLSWildcards is true (A00.FR.309, erratum 2.62 of
  2025-02, which reverses the printed text). It matches one label, the first.
* Not a byte of the application is sent before all of that is checked.
* A failed attempt is one of the security events of Part 2 appendix 1, or none: see
  `security_event_for`.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import trio
from trio_websocket import ConnectionRejected

from station.runtime.csms.guarded_stream import UpgradeRefused

HTTP_UNAUTHORIZED: Final = 401
TLS_1_2: Final = b"\x03\x03"  # in the header of a record; TLS 1.3 has the same
RECORD_TYPES: Final = frozenset({20, 21, 22, 23})

# OpenSSL's reason for a failed handshake -> security event.
EVENT_BY_SSL_REASON: Final[dict[str, str]] = {
    "UNSUPPORTED_PROTOCOL": "InvalidTLSVersion",  # the CSMS chose one below 1.2. A00.FR.316
    "WRONG_SSL_VERSION": "InvalidTLSVersion",
    "TLSV1_ALERT_PROTOCOL_VERSION": "InvalidTLSVersion",  # the CSMS has none from 1.2 on
    "NO_PROTOCOLS_AVAILABLE": "InvalidTLSVersion",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "InvalidTLSCipherSuite",  # no suite in common. A00.FR.323
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": "InvalidTLSCipherSuite",
    "WRONG_CIPHER_RETURNED": "InvalidTLSCipherSuite",
    "UNKNOWN_CIPHER_RETURNED": "InvalidTLSCipherSuite",
    "DH_KEY_TOO_SMALL": "InvalidTLSCipherSuite",
}

# OpenSSL's reason, an alert about the certificate of the station -> what the CSMS reports about it.
OWN_CERTIFICATE_ALERTS: Final[dict[str, str]] = {
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know its CA",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it was revoked",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it is not valid",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "its type or use is not supported",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it is not acceptable",
    "TLSV1_ALERT_ACCESS_DENIED": "it gives no access",
    "TLSV1_ALERT_DECRYPT_ERROR": "its signature is wrong",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "none was sent; use security profile 3",
}

# OpenSSL's reason of other failures -> text for people.
TLS_ERROR_TEXTS: Final[dict[str, str]] = {
    "UNSUPPORTED_PROTOCOL": "the CSMS offers only TLS below 1.2",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the CSMS has no TLS version in common with this station",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (
        "the CSMS has no cipher suite in common with this station, or requires another certificate"
        " of it"
    ),
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": "the CSMS requires stronger cipher suites",
    "TLSV1_UNRECOGNIZED_NAME": "the CSMS does not know the host name of the url",
    "WRONG_VERSION_NUMBER": "no TLS at this port; check scheme and port of the url",
    "HTTP_REQUEST": "no TLS at this port; check scheme and port of the url",
}

# Result of X509_verify_cert (x509_vfy.h) -> text about the certificate of the CSMS.
CSMS_CERTIFICATE_TEXTS: Final[dict[int, str]] = {
    9: "it is not valid yet{clock}",
    10: "it has expired{clock}",
    18: "it is signed by itself; its CA must be an installed CSMSRootCertificate",
    19: "its root is no installed CSMSRootCertificate; check [csms] ca_file",
    20: "its CA is no installed CSMSRootCertificate; check [csms] ca_file",
    21: "its CA is no installed CSMSRootCertificate; check [csms] ca_file",
    26: "it is not for TLS servers",
    66: "its key is too short",
    67: "the key of its CA is too short",
    68: "it is signed with a weak hash",
}


class CsmsCertificateRefused(Exception):
    """The certificate of the CSMS does not name its host. A00.FR.310."""


class TlsVersionRefused(Exception):
    """The CSMS offers no TLS version from 1.2 on. A00.FR.316."""


class NoRootError(Exception):
    """No CSMSRootCertificate is installed to check the CSMS's certificate against."""


def create_tls_context(
    roots: Sequence[str],
    cipher_suites: Sequence[str],
    client_certificate: tuple[str, str] | None = None,
) -> ssl.SSLContext:
    """TLS settings of a connection to the CSMS. A00.FR.308 to 321, A00.FR.411 to 424.

    TLS 1.3 is enabled only if one of the cipher suites belongs to it.

    Args:
        roots: PEM of the CSMSRootCertificates.
        cipher_suites: IANA names; empty: OpenSSL's choice.
        client_certificate: chain and private key of the ChargingStationCertificate, PEM.
            A00.FR.402.

    Raises:
        NoRootError: `roots` is empty.
        ssl.SSLError: certificate and key of the station do not belong together.
    """
    if not roots:
        raise NoRootError("no CSMSRootCertificate is installed; set [csms] ca_file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata="".join(roots))
    # Each installed certificate is a trust anchor, also that of a sub-CA.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_TRUSTED_FIRST
    context.check_hostname = False  # `check_host_name` does: commonName too, no wildcards
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
    """OpenSSL's name of an IANA suite such as `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`."""
    exchange, _, cipher = suite.removeprefix("TLS_").partition("_WITH_")
    cipher = cipher.replace("AES_128", "AES128").replace("AES_256", "AES256")
    prefix = "" if exchange == "RSA" else f"{exchange.replace('_', '-')}-"
    return prefix + cipher.replace("_", "-")


def _load_client_certificate(context: ssl.SSLContext, chain: str, key: str) -> None:
    """`ssl` reads a private key from a file only: a temporary one, mode 0600."""
    handle, path = tempfile.mkstemp()  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(key + "\n" + chain)
        context.load_cert_chain(path)
    finally:
        os.unlink(path)


# --- Handshake -----------------------------------------------------------------------------------


async def start_tls(
    stream: trio.abc.Stream,
    context: ssl.SSLContext,
    host: str,
    *,
    wildcards_allowed: bool = False,
) -> trio.abc.Stream:
    """Open TLS over a stream and check that the certificate names `host`.

    Raises:
        trio.BrokenResourceError: the handshake failed; its cause is the ssl.SSLError.
        TlsVersionRefused: the CSMS answered with a TLS version below 1.2.
        CsmsCertificateRefused: the certificate names another host.
    """
    observed = _TlsVersionStream(stream)
    secure: trio.SSLStream[trio.abc.Stream] = trio.SSLStream(
        observed, context, server_hostname=host, https_compatible=True
    )
    try:
        await secure.do_handshake()
    except trio.BrokenResourceError:
        if observed.tls_version and observed.tls_version < TLS_1_2:
            raise TlsVersionRefused("the CSMS offers only TLS below 1.2") from None
        raise
    check_host_name(secure.getpeercert(), host, wildcards_allowed=wildcards_allowed)
    return secure


class _TlsVersionStream(trio.abc.Stream):
    """A stream that keeps the TLS version of the first record received.

    A server with an older TLS finds none of our cipher suites in its version and sends an alert
    about the suites; only the version of its record shows the real reason. RFC 5246 §6.2.1: a
    record begins with one byte of type and two of version.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._first_bytes = b""

    @property
    def tls_version(self) -> bytes:
        """`03 03` is TLS 1.2; empty if the first bytes are no TLS record."""
        is_record = (
            len(self._first_bytes) == 3
            and self._first_bytes[0] in RECORD_TYPES
            and self._first_bytes[1] == 3
        )
        return self._first_bytes[1:] if is_record else b""

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


# --- Name of the certificate ---------------------------------------------------------------------


def check_host_name(
    peer: Mapping[str, Any] | None, host: str, *, wildcards_allowed: bool = False
) -> None:
    """Check that commonName or subjectAltName is the host of the URL. A00.FR.309, 510, 511.

    Args:
        peer: from `SSLSocket.getpeercert`.
        host: name or address.
        wildcards_allowed: `*.example.com` names every host of one more label. Erratum 2.62.

    Raises:
        CsmsCertificateRefused: it names other hosts, or none.
    """
    names = list(_certificate_names(peer or {}))
    accepted = {_normalize_name(host)}
    if wildcards_allowed and (wildcard := _wildcard_for(host)):
        accepted.add(wildcard)
    if accepted.isdisjoint(map(_normalize_name, names)):
        listed = ", ".join(names)[:150] or "no host"
        raise CsmsCertificateRefused(f"certificate of the CSMS: it names {listed}, not {host}")


def _certificate_names(peer: Mapping[str, Any]) -> Iterator[str]:
    for subject in peer.get("subject", ()):
        yield from (value for kind, value in subject if kind == "commonName")
    yield from (
        value for kind, value in peer.get("subjectAltName", ()) if kind in ("DNS", "IP Address")
    )


def _wildcard_for(host: str) -> str:
    """`*.example.com` for csms.example.com; empty: no wildcard names an address or a domain."""
    _, _, domain = _normalize_name(host).partition(".")
    is_address = _normalize_name(host).replace(".", "").isdecimal() or ":" in host
    return f"*.{domain}" if "." in domain and not is_address else ""


def _normalize_name(name: str) -> str:
    """One spelling per name or address."""
    try:
        return ipaddress.ip_address(name.strip("[]")).compressed
    except ValueError:
        return name.rstrip(".").casefold()


# --- Failures ------------------------------------------------------------------------------------


def first_cause(error: BaseException) -> BaseException:
    """The error inside a group, or the ssl.SSLError that caused trio's BrokenResourceError."""
    while True:
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        elif isinstance(error.__cause__, ssl.SSLError):
            error = error.__cause__
        else:
            return error


def describe_tls_error(error: ssl.SSLError) -> str:
    """Why a handshake failed, for log and journal."""
    if isinstance(error, ssl.SSLCertVerificationError):
        text = CSMS_CERTIFICATE_TEXTS.get(error.verify_code, error.verify_message)
        clock = datetime.now(UTC).isoformat(timespec="minutes").removesuffix("+00:00")
        return f"certificate of the CSMS: {text.format(clock=f' at {clock}Z, the time here')}"[:300]
    reason = error.reason or ""
    if reason in OWN_CERTIFICATE_ALERTS:
        alert = OWN_CERTIFICATE_ALERTS[reason]
        return f"the CSMS refuses the certificate of the station: {alert}"
    return f"TLS: {TLS_ERROR_TEXTS.get(reason, str(error))}"[:300]


def security_event_for(error: BaseException) -> str:
    """The security event (Part 2 appendix 1) of a failed attempt; empty: none."""
    match error:
        case CsmsCertificateRefused() | ssl.SSLCertVerificationError():
            return "InvalidCsmsCertificate"
        case TlsVersionRefused():
            return "InvalidTLSVersion"
        case ConnectionRejected(status_code=status) | UpgradeRefused(status=status) if (
            status == HTTP_UNAUTHORIZED
        ):
            return "FailedToAuthenticateAtCsms"
        case ssl.SSLError(reason=reason) if (reason or "") in OWN_CERTIFICATE_ALERTS:
            return "FailedToAuthenticateAtCsms"
        case ssl.SSLError(reason=reason):
            return EVENT_BY_SSL_REASON.get(reason or "", "")
        case _:
            return ""
