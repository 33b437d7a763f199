"""The log upload that is in progress. N01."""

from __future__ import annotations

import msgspec

from journal.events import Decision, Entry
from journal.projections.base import Projection

ARCHIVE_SUFFIX = ".tar.gz"  # of the filename of a log with bus traces


class LogUploadOrdered(Decision, frozen=True, kw_only=True):
    """The CSMS ordered a log; it contains entries before this one. N01.FR.02."""

    request_id: int
    log_type: str  # LogEnumType
    location: str  # URL; credentials in it are the reference of a secret
    filename: str
    oldest_timestamp: str | None  # RFC 3339, UTC
    latest_timestamp: str | None
    attempts_max: int  # upload attempts in total
    retry_interval_s: int  # between two attempts


class LogUploadClosed(Decision, frozen=True):
    """The upload ended or was replaced by another. N01.FR.09, N01.FR.10, N01.FR.12."""

    upload_seq: int  # entry that ordered the upload
    status: str  # UploadLogStatusEnumType


class LogUpload(msgspec.Struct, frozen=True):
    """An upload, identified by the entry that ordered it."""

    seq: int
    order: LogUploadOrdered


class Logs(Projection, frozen=True):
    HANDLES = (LogUploadOrdered, LogUploadClosed)

    upload: LogUpload | None = None

    def apply(self, entry: Entry) -> Logs:
        match entry.event:
            case LogUploadOrdered() as order:
                return Logs(LogUpload(entry.seq, order))
            case LogUploadClosed():
                return Logs()
            case _:
                return self
