"""How does a URL with a password in it get past the journal?

The CSMS names file servers by URL (L01, N01), and credentials may stand in it: before the host, or
as the signature of a query. Such a URL goes to a file of its own as a whole; the journal knows its
reference, and what of it may be shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

URL_LENGTH_MAX: Final = 512  # characters. L01, N01: firmware.location, log.remoteLocation
OVERLONG_URL: Final = "*" * (
    URL_LENGTH_MAX + 1
)  # keeps an overlong URL overlong, and shows none of it

_REFERENCE_PATTERN: Final = re.compile(r"<secret [0-9a-f]{32}>")


def hide_credentials(url: str, store_secret: Callable[[str], str]) -> str:
    """The URL as the journal may have it: itself, or a reference and what may be shown.

    Args:
        keep: stores a secret and gives its reference.
    """
    shown = _loggable_url(url)
    if shown == url:
        return url
    if len(url) > URL_LENGTH_MAX:
        return OVERLONG_URL
    return f"{store_secret(url)} {shown}"[:URL_LENGTH_MAX].rstrip()


def find_secret_reference(location: str) -> str | None:
    """The reference of a URL that is kept apart."""
    found = _REFERENCE_PATTERN.match(location)
    return found[0] if found else None


def restore_url(location: str, read_secret: Callable[[str], str | None]) -> str | None:
    """The URL itself; None if it was kept apart and is lost."""
    reference = find_secret_reference(location)
    return location if reference is None else read_secret(reference)


def _loggable_url(url: str) -> str:
    """All of a URL that has no credentials, of another what stands around them."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""  # any part of it may be the password
    behind = url.partition("://")[2].partition(parts.netloc)[2] if parts.netloc else url
    if "@" in behind or (not parts.netloc and "?" in url):
        return ""  # taken apart in the wrong place, perhaps in the password
    if parts.username is None and not parts.query and not parts.fragment:
        return url
    return f"{parts.scheme}://{host}{port}{parts.path}" + ("?…" if parts.query else "")
