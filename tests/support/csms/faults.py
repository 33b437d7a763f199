"""How does a bad CSMS treat a CALL?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class Disturbance:
    """What is done to the answers of some CALLs of the station.

    `copies` 0 swallows the answer, 2 sends it twice. `error` sends a CALLERROR of that code in
    its place. `times` counts down; None means for ever.
    """

    action: str
    where: Callable[[dict[str, Any]], bool] = lambda payload: True
    delay_s: float = 0.0
    copies: int = 1
    error: str | None = None
    times: int | None = None

    def consume_match(self, action: str, payload: dict[str, Any]) -> bool:
        """Whether this CALL is meant; one of `times` is used up by it."""
        if action != self.action or self.times == 0 or not self.where(payload):
            return False
        if self.times is not None:
            self.times -= 1
        return True
