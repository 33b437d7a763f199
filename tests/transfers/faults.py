"""What may a file server under test do wrong?"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

PATIENCE_S = 20.0  # of a stalled server, should a test forget it


class Cut(Exception):
    """The server ends the connection here, without a word."""


@dataclass
class Faults:
    """The file's bytes pass through `carried`, in either direction."""

    cut_at: list[int] = field(
        default_factory=list
    )  # bytes after which a connection is cut, in turn
    stall_at: int | None = None  # bytes after which nothing moves any more
    carried: int = 0  # bytes, since the last cut
    stalled: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def carry(self, size: int) -> int:
        """How many of `size` bytes may pass now, at least one.

        Raises:
            Cut: none.
        """
        allowed = size
        if self.stall_at is not None:
            if self.carried >= self.stall_at:
                self.stalled.set()
                self.released.wait(PATIENCE_S)
                raise Cut
            allowed = min(allowed, self.stall_at - self.carried)
        if self.cut_at:
            if self.carried >= self.cut_at[0]:
                del self.cut_at[0]
                self.carried = 0
                raise Cut
            allowed = min(allowed, self.cut_at[0] - self.carried)
        self.carried += allowed
        return allowed
