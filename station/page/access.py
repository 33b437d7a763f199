"""Who may see and do what: the token, its session cookie, Host and Origin of a request.

* On a loopback address everyone on the host may read. A name in `Host` that is not that of the
  loopback interface is refused, because a web site could have pointed its own name here.
* On any other address a reader needs the token.
* An order needs the token on every address, and the page's own origin.

The token is made at the first start and is kept in `<data>/page.token`, mode 0600. A browser
exchanges it for a cookie that scripts cannot read and other sites cannot use; programs send it as a
Bearer token. The cookie follows from the token, so it survives a restart of the page, and a new
token ends every session.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from station.page import TOKEN_FILE

TOKEN_BYTES: Final = 16
TOKEN_CHARS_MAX: Final = 200  # of a token in a request
COOKIE_PURPOSE: Final = b"station page session 1"
LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


def load_token(data_directory: Path) -> str:
    """The token of a data directory; made if there is none.

    Raises:
        OSError: the file cannot be read or written.
    """
    path = data_directory / TOKEN_FILE
    try:
        token = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        token = ""
    if token:
        return token
    token = secrets.token_hex(TOKEN_BYTES)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w", encoding="ascii") as stream:
        stream.write(token + "\n")
    draft.replace(path)
    return token


def is_loopback(address: str) -> bool:
    """Whether an address is reached from this host alone."""
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == "localhost"


class Access:
    """Decides about requests by their headers, which are in lower case."""

    def __init__(self, token: str, address: str, port: int) -> None:
        """Prepare for one listening address."""
        self._token = token.encode()
        self._is_loopback = is_loopback(address)
        self.cookie_name = f"station_page_{port}"  # pages on other ports have their own
        self.cookie_value = hmac.new(self._token, COOKIE_PURPOSE, hashlib.sha256).hexdigest()

    def is_host_allowed(self, headers: Mapping[str, str]) -> bool:
        """Whether the request names this page, and not a name that was pointed at it."""
        name = headers.get("host", "").lower()
        host = name if name.endswith("]") else name.rpartition(":")[0] or name
        return not self._is_loopback or host in LOOPBACK_NAMES or is_loopback(host)

    def has_token(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> bool:
        """Whether the request has the token, or a session made with it."""
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(value.strip()):
            return True
        cookie = cookies.get(self.cookie_name, "")
        return hmac.compare_digest(cookie.encode(), self.cookie_value.encode())

    def may_read(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> bool:
        return self._is_loopback or self.has_token(headers, cookies)

    def is_token(self, text: str) -> bool:
        """Whether a text is the token."""
        sent = text.encode()
        return len(sent) <= TOKEN_CHARS_MAX and hmac.compare_digest(sent, self._token)

    @staticmethod
    def is_same_origin(headers: Mapping[str, str]) -> bool:
        """Whether a request comes from a page of ours, not from another site or a form."""
        origin, host = headers.get("origin", ""), headers.get("host", "")
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return False
        return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
