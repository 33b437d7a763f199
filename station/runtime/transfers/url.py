"""URLs of file servers: parsed, and without credentials for logs and errors."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, unquote, urlsplit

import msgspec

from station.runtime.transfers.results import TransferFailed, TransferFailureStatus

SCHEMES: Final = {  # OCPP's name in OCPPCommCtrlr.FileTransferProtocols
    "http": "HTTP",
    "https": "HTTPS",
    "ftp": "FTP",
    "ftps": "FTPS",
    "sftp": "SFTP",
}
PORTS: Final = {"http": 80, "https": 443, "ftp": 21, "ftps": 21, "sftp": 22}
IMPLICIT_FTPS: Final = 990  # TLS from the first byte; on every other port AUTH TLS


class TransferUrl(msgspec.Struct, frozen=True):
    """A parsed URL. `path` and `query` stay percent-encoded."""

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""
    user: str = ""
    password: str = ""

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def without_credentials(self) -> str:
        """The URL without user and password. Its query may be a credential: a signed URL."""
        return self._base_url + self.path + (f"?{self.query}" if self.query else "")

    @property
    def loggable_url(self) -> str:
        """The URL for logs: neither credentials nor query."""
        return self._base_url + self.path + ("?…" if self.query else "")

    @property
    def _base_url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    @property
    def decoded_path(self) -> str:
        """The path for FTP and SFTP: decoded, without the first slash. RFC 1738 §3.2.2."""
        return unquote(self.path).removeprefix("/")

    def join_name(self, name: str) -> TransferUrl:
        """The URL of a file in the directory that this URL names."""
        return msgspec.structs.replace(self, path=self.path.rstrip("/") + "/" + quote(name))

    def transfer_error(
        self,
        problem: str,
        status: TransferFailureStatus = "UploadFailure",
        *,
        permanent: bool = False,
    ) -> TransferFailed:
        """A TransferFailed with this URL; credentials that a server echoes are replaced by ***."""
        for secret in filter(None, (self.password, self.query)):
            problem = problem.replace(secret, "***")
        return TransferFailed(f"{self.loggable_url}: {problem}", status=status, permanent=permanent)

    def __repr__(self) -> str:
        return f"TransferUrl({self.loggable_url!r})"


def parse_url(url: str) -> TransferUrl:
    """Parse a URL.

    Raises:
        TransferFailed: permanent; unknown scheme, no host, or control characters. The text quotes
            nothing of a URL that cannot be parsed: any part of it may be the password.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        decoded = [
            unquote(part, errors="strict") for part in (parts.path, *_encoded_credentials(url))
        ]
    except ValueError:
        raise _url_error("the URL cannot be parsed", "BadMessage") from None
    if parts.scheme not in SCHEMES:
        offered = ", ".join(sorted(SCHEMES))
        raise _url_error(
            f"scheme {parts.scheme!r} is not supported; supported are {offered}",
            "NotSupportedOperation",
        )
    if not host:
        raise _url_error(f"{parts.scheme} URL without a host", "BadMessage")
    if not "".join((host, *decoded)).isprintable():
        raise _url_error(f"{parts.scheme} URL with control characters in it", "BadMessage")
    return TransferUrl(
        scheme=parts.scheme,
        host=host,
        port=port or PORTS[parts.scheme],
        path=parts.path or "/",
        query=parts.query,
        user=decoded[1],
        password=decoded[2],
    )


def _encoded_credentials(url: str) -> tuple[str, str]:
    """User and password, percent-encoded. A password may contain @ and : (N01.FR.17)."""
    userinfo, _, _ = urlsplit(url).netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    return user, password


def _url_error(problem: str, status: TransferFailureStatus) -> TransferFailed:
    return TransferFailed(f"file transfer: {problem}", status=status, permanent=True)
