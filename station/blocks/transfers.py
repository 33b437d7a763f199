"""What does the CSMS's wish about a file transfer come to? (L01, N01)"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from station.messages import parse_timestamp, timestamp

RETRIES: Final = 3  # where the CSMS leaves it to us. L01, N01: the field is optional
RETRIES_MAX: Final = 99  # a week of failures helps nobody
INTERVAL_S: Final = 10  # as above; a dead network takes each attempt half a minute more
INTERVAL_MAX_S: Final = 86_400


def attempts(retries: int | None) -> int:
    """How often it is tried, the first time included."""
    return 1 + min(max(RETRIES if retries is None else retries, 0), RETRIES_MAX)


def interval_s(asked: int | None) -> int:
    """Seconds from one attempt to the next, at least one."""
    return min(max(INTERVAL_S if asked is None else asked, 1), INTERVAL_MAX_S)


def utc(text: str | None) -> str | None:
    """A moment of a message as the memory keeps it: RFC 3339, UTC, milliseconds."""
    return None if text is None else timestamp(parse_timestamp(text))


def passed(moment: str | None, now: datetime) -> bool:
    """Whether a moment of the memory has come; one that is not set has."""
    return moment is None or datetime.fromisoformat(moment) <= now
