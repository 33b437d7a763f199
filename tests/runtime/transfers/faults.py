"""Faults of a file server under test: cut connections and stalls."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

STALL_TIMEOUT_S = 20.0  # after which a stalled server ends by itself


class ConnectionCut(Exception):
    """Raised where the server closes the connection without a reply."""


@dataclass
class TransferFaults:
    """Counts the bytes of files, in either direction, and cuts or stalls them."""

    cut_at: list[int] = field(default_factory=list)  # bytes after which to cut, one per connection
    stall_at: int | None = None  # bytes after which the server stalls
    passed_bytes: int = 0  # since the last cut
    stalled: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def pass_bytes(self, size: int) -> int:
        """How many of `size` bytes are passed now, at least one.

        Raises:
            ConnectionCut: none are.
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
