"""Which log is on its way to the CSMS? (N01)"""

from __future__ import annotations

import msgspec

from journal.projections.base import Projection
from journal.terms import Decision, Entry


class UploadOrdered(Decision, frozen=True, kw_only=True):
    """A log shall be written and uploaded; what it tells ends before this entry. N01.FR.02."""

    request_id: int
    log_type: str  # LogEnumType
    location: str  # URL; credentials in it are the reference of a secret
    filename: str
    oldest: str | None  # RFC 3339, UTC
    latest: str | None
    attempts: int  # at the upload, in all
    interval_s: int  # between two of them


class UploadClosed(Decision, frozen=True):
    """The upload is over: it ended, or gave way to another. N01.FR.09, N01.FR.10, N01.FR.12."""

    upload: int  # entry that ordered it
    status: str  # UploadLogStatusEnumType


class Upload(msgspec.Struct, frozen=True):
    """One upload, known by the entry that ordered it."""

    seq: int
    ordered: UploadOrdered


class Logs(Projection, frozen=True):
    HEARS = (UploadOrdered, UploadClosed)

    upload: Upload | None = None

    def after(self, entry: Entry) -> Logs:
        match entry.event:
            case UploadOrdered() as ordered:
                return Logs(Upload(entry.seq, ordered))
            case UploadClosed():
                return Logs()
            case _:
                return self
