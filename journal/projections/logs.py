"""Which log is on its way to the CSMS? (N01)"""

from __future__ import annotations

import msgspec

from journal.events import Decision, Entry
from journal.projections.base import Projection


class LogUploadOrdered(Decision, frozen=True, kw_only=True):
    """A log shall be written and uploaded; what it tells ends before this entry. N01.FR.02."""

    request_id: int
    log_type: str  # LogEnumType
    location: str  # URL; credentials in it are the reference of a secret
    filename: str
    oldest_timestamp: str | None  # RFC 3339, UTC
    latest_timestamp: str | None
    attempts_max: int  # at the upload, in all
    retry_interval_s: int  # between two of them


class LogUploadClosed(Decision, frozen=True):
    """The upload is over: it ended, or gave way to another. N01.FR.09, N01.FR.10, N01.FR.12."""

    upload_seq: int  # entry that ordered it
    status: str  # UploadLogStatusEnumType


class LogUpload(msgspec.Struct, frozen=True):
    """One upload, known by the entry that ordered it."""

    seq: int
    order: LogUploadOrdered


class Logs(Projection, frozen=True):
    HANDLES = (LogUploadOrdered, LogUploadClosed)

    upload: LogUpload | None = None

    def apply(self, entry: Entry) -> Logs:
        match entry.event:
            case LogUploadOrdered() as ordered:
                return Logs(LogUpload(entry.seq, ordered))
            case LogUploadClosed():
                return Logs()
            case _:
                return self
