"""The digest of an entry, and the row of the table that holds it.

Each entry's digest covers its own columns and the previous digest, so a changed, removed, inserted
or swapped entry breaks the chain there. A chain does not prove that the tail is complete: for that
the head must be witnessed outside.
"""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

JOURNAL_FORMAT = 1


class EntryRow(NamedTuple):
    """A row of table `entry`."""

    seq: int
    at: str  # UTC, 2026-11-22T17:25:08.123Z
    uptime_ms: int
    kind: str
    version: int
    cause: int | None
    body: str
    digest: bytes


# Of the columns, in order. A damaged or manipulated file may return others.
COLUMN_TYPES: tuple[type | tuple[type, ...], ...] = (
    int,
    str,
    int,
    str,
    int,
    (int, type(None)),
    str,
    bytes,
)


def origin_digest(journal_id: str) -> bytes:
    """The digest before entry 1. It contains the journal's id, so chains cannot be exchanged."""
    return sha256(f"ocpp-station journal {JOURNAL_FORMAT} {journal_id}".encode()).digest()


def entry_digest(
    previous: bytes,
    seq: int,
    at: str,
    uptime_ms: int,
    kind: str,
    version: int,
    cause: int | None,
    body: str,
) -> bytes:
    """SHA-256 over the previous digest and the columns, one per line, a missing cause as "".

    Unambiguous because only `body`, the last, may contain a line feed.
    """
    columns = (
        f"{seq}\n{at}\n{uptime_ms}\n{kind}\n{version}\n{'' if cause is None else cause}\n{body}"
    )
    return sha256(previous + columns.encode()).digest()
