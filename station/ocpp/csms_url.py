"""URL of a CSMS: the host to dial and the request to send. Part 4 §3.1.1.

`parse_csms_url` serves both the check (SetNetworkProfile, station.toml) and the connection, so a
URL that passes the check cannot raise in an attempt to connect: the resolver, TLS, the Host header
and the request line get only what was encoded here. The URL is ASCII, as RFC 3986 §2 says: a host
with other characters in its `xn--` form, a path with others percent-encoded.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit

import msgspec

DEFAULT_PORTS: Final = {"ws": 80, "wss": 443}
HOST_MAX: Final = 253  # characters. RFC 1035 §2.3.4
# Labels of letters, digits and hyphens; underscores are in names of containers.
HOST_NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")


class CsmsUrlError(ValueError):
    """The URL cannot be used. The text says why, without repeating the URL."""


class CsmsUrl(msgspec.Struct, frozen=True):
    """Where to connect, and what to ask for."""

    scheme: str  # ws or wss
    host: str  # name or address to dial, without brackets
    port: int
    host_header: str  # `host:port`, an IPv6 address in brackets
    path: str  # without the identity and without a slash at its end

    def request_target(self, identity: str) -> str:
        """The path with the identity appended, percent-encoded. Part 4 §3.1.1."""
        return f"{self.path}/{quote(identity, safe='')}"


def parse_csms_url(url: str) -> CsmsUrl:
    """Parse the URL of a CSMS.

    Raises:
        CsmsUrlError: no attempt to connect can be made with it.
    """
    if not url.isascii():
        raise CsmsUrlError(
            "it has characters that are not ASCII; write the host in its xn-- form and"
            " the path percent-encoded"
        )
    if not url.isprintable() or " " in url:
        raise CsmsUrlError("it contains spaces or control characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise CsmsUrlError(f"it cannot be read: {error}"[:100]) from None
    if parts.scheme not in DEFAULT_PORTS:
        raise CsmsUrlError("it must begin with ws:// or wss://")
    if parts.username is not None or parts.password is not None:
        raise CsmsUrlError("it contains a user or a password")
    if parts.query or parts.fragment:
        raise CsmsUrlError("it must end with its path: no ? and no #")
    if port == 0:
        raise CsmsUrlError("port 0 cannot be connected to")
    return _build_csms_url(parts, port or DEFAULT_PORTS[parts.scheme])


def _build_csms_url(parts: SplitResult, port: int) -> CsmsUrl:
    host = parts.hostname or ""
    header_host = f"[{host}]" if _is_ipv6_address(host) else host
    if header_host == host and not (HOST_NAME.fullmatch(host) and len(host) <= HOST_MAX):
        raise CsmsUrlError("it has no usable host name")
    host_header = f"{header_host}:{port}"
    try:
        # The resolver and TLS encode the name, wsproto encodes the header, each with this codec.
        host.encode("idna")
        host_header.encode("idna")
    except UnicodeError:
        raise CsmsUrlError("a label of its host name is empty or too long") from None
    return CsmsUrl(parts.scheme, host, port, host_header, parts.path.rstrip("/"))


def _is_ipv6_address(host: str) -> bool:
    try:
        return isinstance(ip_address(host), IPv6Address)
    except ValueError:
        return False
