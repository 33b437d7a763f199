"""Limits, options and failures that all transfer protocols share."""

from __future__ import annotations

import ssl
from typing import Final, Literal

import msgspec

CHUNK_BYTES: Final = 64 * 1024  # in memory at a time, per transfer
LINE_LENGTH_MAX: Final = 300  # characters of an error; a hostile server can write part of it

TransferFailureStatus = Literal[
    "UploadFailure", "BadMessage", "PermissionDenied", "NotSupportedOperation"
]


class TransferFailed(Exception):
    """A transfer or one attempt at it failed. One line, without credentials.

    Attributes:
        status: for LogStatusNotification. N01.FR.10.
        permanent: the cause is on our side (disk, unusable URL); there were no further attempts.
    """

    def __init__(
        self, line: str, *, status: TransferFailureStatus = "UploadFailure", permanent: bool = False
    ) -> None:
        super().__init__(to_one_line(line))
        self.status: TransferFailureStatus = status
        self.permanent = permanent


class TransferLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a transfer. The defaults suit a station on a mobile network."""

    connect_timeout_s: float = 20.0  # for one address, and for each handshake
    stall_timeout_s: float = 30.0  # without any byte received or sent
    free_bytes_min: int = 64 * 1024 * 1024  # of disk that stay free for the journal
    redirects_max: int = 5


class TransferOptions(msgspec.Struct, frozen=True):
    """What a protocol needs for an attempt. It appends to `notes`, lines for the station's log."""

    tls_context: ssl.SSLContext
    limits: TransferLimits
    notes: list[str]


def to_one_line(text: str) -> str:
    """The text for a log: printable, one line, of bounded length."""
    printable = "".join(char if char.isprintable() else " " for char in text[: 4 * LINE_LENGTH_MAX])
    line = " ".join(printable.split())
    return line if len(line) <= LINE_LENGTH_MAX else line[: LINE_LENGTH_MAX - 1] + "…"
