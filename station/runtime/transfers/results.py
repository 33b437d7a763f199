"""Which words do all protocols share?"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Final, Literal

import msgspec

CHUNK_BYTES: Final = 64 * 1024  # bytes in memory at a time, per transfer
LINE_LENGTH_MAX: Final = 300  # characters of an error; a hostile peer writes part of them

ProgressCallback = Callable[[int, int | None], None]  # bytes so far, bytes in all if anybody knows

TransferFailureStatus = Literal[
    "UploadFailure", "BadMessage", "PermissionDenied", "NotSupportedOperation"
]


class TransferFailed(Exception):
    """A transfer or one attempt at it failed. One line, without credentials.

    Attributes:
        status: what LogStatusNotification calls it. N01.FR.10.
        permanent: the obstacle is on our side (disk, unusable URL); further attempts were not made.
    """

    def __init__(
        self, line: str, *, status: TransferFailureStatus = "UploadFailure", permanent: bool = False
    ) -> None:
        super().__init__(to_one_line(line))
        self.status: TransferFailureStatus = status
        self.permanent = permanent


class TransferLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a transfer may take. The defaults suit a station on a mobile network."""

    connect_timeout_s: float = 20.0  # for one address, and for each handshake
    stall_timeout_s: float = 30.0  # without a single byte
    free_bytes_min: int = 64 * 1024 * 1024  # of disk stay free: the journal needs them more
    redirects_max: int = 5


class TransferOptions(msgspec.Struct, frozen=True):
    """What every attempt of a transfer is made with."""

    tls_context: ssl.SSLContext
    limits: TransferLimits
    progress: ProgressCallback


def to_one_line(text: str) -> str:
    """`text` fit for a log: printable, on one line, of bounded length."""
    printable = "".join(
        letter if letter.isprintable() else " " for letter in text[: 4 * LINE_LENGTH_MAX]
    )
    line = " ".join(printable.split())
    return line if len(line) <= LINE_LENGTH_MAX else line[: LINE_LENGTH_MAX - 1] + "…"
