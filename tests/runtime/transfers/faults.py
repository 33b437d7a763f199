"""What may a file server under test do wrong?"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

STALL_TIMEOUT_S = 20.0  # of a stalled server, should a test forget it


class ConnectionCut(Exception):
    """The server ends the connection here, without a word."""


@dataclass
class TransferFaults:
    """The file's bytes pass through `carried`, in either direction."""

    cut_at: list[int] = field(
        default_factory=list
    )  # bytes after which a connection is cut, in turn
    stall_at: int | None = None  # bytes after which nothing moves any more
    passed_bytes: int = 0  # bytes, since the last cut
    stalled: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def pass_bytes(self, size: int) -> int:
        """How many of `size` bytes may pass now, at least one.

        Raises:
            Cut: none.
        """
        allowed = size
        if self.stall_at is not None:
            if self.passed_bytes >= self.stall_at:
                self.stalled.set()
                self.released.wait(STALL_TIMEOUT_S)
                raise ConnectionCut
            allowed = min(allowed, self.stall_at - self.passed_bytes)
        if self.cut_at:
            if self.passed_bytes >= self.cut_at[0]:
                del self.cut_at[0]
                self.passed_bytes = 0
                raise ConnectionCut
            allowed = min(allowed, self.cut_at[0] - self.passed_bytes)
        self.passed_bytes += allowed
        return allowed
