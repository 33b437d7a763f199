"""What is the digest of an entry, and what does it prove?

Each entry's digest covers its own columns and the digest before it, so a changed, removed,
inserted or swapped entry breaks the chain there. It does not prove that the tail is all there:
for that the head must be witnessed outside.
"""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

JOURNAL_FORMAT = 1


class EntryRow(NamedTuple):
    """An entry as it lies in the file."""

    seq: int
    at: str  # UTC, 2026-11-22T17:25:08.123Z
    uptime_ms: int
    kind: str
    version: int
    cause: int | None
    body: str
    digest: bytes


# Of the columns, in order. The file may be told, or damaged, to give others.
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
    """The digest before the first entry: names the journal, so no chain fits another's."""
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
    """SHA-256 over the previous digest and the columns, one to a line, no cause as nothing.

    Unambiguous because only `body`, the last, may hold a line break.
    """
    columns = (
        f"{seq}\n{at}\n{uptime_ms}\n{kind}\n{version}\n{'' if cause is None else cause}\n{body}"
    )
    return sha256(previous + columns.encode()).digest()
