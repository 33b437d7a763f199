"""Disturbed responses of the test CSMS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class Disturbance:
    """How the responses to some CALLs of the station are disturbed.

    `copies` 0 drops the response, 2 sends it twice. `error` sends a CALLERROR of that code
    instead. `times` is the number of CALLs still to be disturbed; None: no limit.
    """

    action: str
    where: Callable[[dict[str, Any]], bool] = lambda payload: True
    delay_s: float = 0.0
    copies: int = 1
    error: str | None = None
    times: int | None = None

    def consume_match(self, action: str, payload: dict[str, Any]) -> bool:
        """Whether to disturb the response to this CALL; if so, decrement `times`."""
        if action != self.action or self.times == 0 or not self.where(payload):
            return False
        if self.times is not None:
            self.times -= 1
        return True
