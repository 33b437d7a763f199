"""URLs with credentials: the whole URL is a secret, the journal holds a reference and safe parts.

The CSMS sends URLs of file servers (L01, N01) that may contain credentials: user and password
before the host, or a signature in the query. Such a URL is stored in the secret store. The journal
gets `<secret …> scheme://host/path?…`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

URL_LENGTH_MAX: Final = 512  # characters. L01, N01: firmware.location, log.remoteLocation
# Replaces every overlong URL with credentials: still overlong, so the request is refused.
OVERLONG_URL: Final = "*" * (URL_LENGTH_MAX + 1)

_REFERENCE_PATTERN: Final = re.compile(r"<secret [0-9a-f]{32}>")


def hide_credentials(url: str, store_secret: Callable[[str], str]) -> str:
    """The URL as the journal may contain it: unchanged, or a reference and its safe parts.

    Args:
        url: as received.
        store_secret: stores a secret and returns its reference.
    """
    safe = _loggable_url(url)
    if safe == url:
        return url
    if len(url) > URL_LENGTH_MAX:
        return OVERLONG_URL
    return f"{store_secret(url)} {safe}"[:URL_LENGTH_MAX].rstrip()


def find_secret_reference(location: str) -> str | None:
    """The reference at the beginning of a location that `hide_credentials` made."""
    match = _REFERENCE_PATTERN.match(location)
    return match[0] if match else None


def restore_url(location: str, read_secret: Callable[[str], str | None]) -> str | None:
    """The URL as received; None if it was stored as a secret and is lost."""
    reference = find_secret_reference(location)
    return location if reference is None else read_secret(reference)


def _loggable_url(url: str) -> str:
    """A URL without credentials unchanged; of another the parts that cannot contain them."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""  # any part of it may be the password
    after_host = url.partition("://")[2].partition(parts.netloc)[2] if parts.netloc else url
    if "@" in after_host or (not parts.netloc and "?" in url):
        return ""  # split in the wrong place, perhaps within the password
    if parts.username is None and not parts.query and not parts.fragment:
        return url
    return f"{parts.scheme}://{host}{port}{parts.path}" + ("?…" if parts.query else "")
