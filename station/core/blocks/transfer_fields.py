"""What does the CSMS's wish about a file transfer come to? (L01, N01)"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from station.ocpp.messages import format_timestamp, parse_timestamp

RETRIES_DEFAULT: Final = 3  # where the CSMS leaves it to us. L01, N01: the field is optional
RETRIES_MAX: Final = 99  # a week of failures helps nobody
INTERVAL_DEFAULT_S: Final = 10  # as above; a dead network takes each attempt half a minute more
INTERVAL_MAX_S: Final = 86_400


def resolve_attempts(retries: int | None) -> int:
    """How often it is tried, the first time included."""
    return 1 + min(max(RETRIES_DEFAULT if retries is None else retries, 0), RETRIES_MAX)


def resolve_interval_s(requested_s: int | None) -> int:
    """Seconds from one attempt to the next, at least one."""
    return min(max(INTERVAL_DEFAULT_S if requested_s is None else requested_s, 1), INTERVAL_MAX_S)


def to_utc_text(text: str | None) -> str | None:
    """A moment of a message as the memory keeps it: RFC 3339, UTC, milliseconds."""
    return None if text is None else format_timestamp(parse_timestamp(text))


def has_passed(moment: str | None, now: datetime) -> bool:
    """Whether a moment of the memory has come; one that is not set has."""
    return moment is None or datetime.fromisoformat(moment) <= now
