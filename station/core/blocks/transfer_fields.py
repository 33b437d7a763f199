"""Optional fields of file transfer requests, with their defaults and limits. L01, N01.

Helper module of the blocks L and N.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from station.ocpp.messages import format_timestamp, parse_timestamp

RETRIES_DEFAULT: Final = 3  # if the request has none; the field is optional. L01, N01
RETRIES_MAX: Final = 99  # bounds what one request can make the station do
INTERVAL_DEFAULT_S: Final = 10  # as above; each attempt on a dead network takes 30 s more
INTERVAL_MAX_S: Final = 86_400


def resolve_attempts(retries: int | None) -> int:
    """Number of attempts, including the first."""
    return 1 + min(max(RETRIES_DEFAULT if retries is None else retries, 0), RETRIES_MAX)


def resolve_interval_s(requested_s: int | None) -> int:
    """Seconds between two attempts, at least one."""
    return min(max(INTERVAL_DEFAULT_S if requested_s is None else requested_s, 1), INTERVAL_MAX_S)


def to_utc_text(text: str | None) -> str | None:
    """A time of a message as it is stored: RFC 3339, UTC, milliseconds."""
    return None if text is None else format_timestamp(parse_timestamp(text))


def has_passed(moment: str | None, now: datetime) -> bool:
    """Whether a stored time has passed; None counts as passed."""
    return moment is None or datetime.fromisoformat(moment) <= now
