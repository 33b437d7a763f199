"""The greatest of the values of the last minute, in constant space."""

from __future__ import annotations

from typing import Final

WINDOW_S: Final = 60.0


class RecentMaximum:
    """Keeps the maximum of the present and of the previous window: of the last 60 to 120 s."""

    def __init__(self) -> None:
        self._window = 0
        self._present = 0.0
        self._previous = 0.0

    def add(self, value: float, now: float) -> None:
        """Add a value observed at `now`, seconds of a monotonic clock."""
        self._enter_window(now)
        self._present = max(self._present, value)

    def read(self, now: float) -> float:
        """The maximum; 0 without a value."""
        self._enter_window(now)
        return max(self._present, self._previous)

    def _enter_window(self, now: float) -> None:
        window = int(now // WINDOW_S)
        if window != self._window:
            self._previous = self._present if window == self._window + 1 else 0.0
            self._present, self._window = 0.0, window
