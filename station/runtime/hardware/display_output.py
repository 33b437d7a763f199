"""What the display of the devices shows: the situation of the desired state, with live readings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from drivers.ports import Display
from station.core.display import LiveReading, render_display
from station.core.display_rows import compose_rows
from station.core.display_situation import DisplaySituation

DISPLAY_INTERVAL_S: Final = 1.0  # of new amounts on the display; a new situation is shown at once


class DisplayOutput:
    """The rows of one display."""

    def __init__(self, display: Display, uptime_ms: Callable[[], int]) -> None:
        """Show nothing yet."""
        self._display = display
        self._uptime_ms = uptime_ms
        self._situation: DisplaySituation | None = None
        self._updated_at = 0.0
        self._texts: tuple[str, ...] = ()
        self._texts_since_ms = 0

    def update(
        self,
        situation: DisplaySituation,
        live_readings: Callable[[float], Mapping[int, LiveReading]],
        now: float,
    ) -> None:
        """Show a new situation at once, and new amounts once a second.

        Args:
            situation: what is to be shown.
            live_readings: what is measured at a time, by EVSE id.
            now: clock of the control loop.
        """
        if situation == self._situation and now < self._updated_at + DISPLAY_INTERVAL_S:
            return
        self._situation, self._updated_at = situation, now
        uptime_ms = self._uptime_ms()
        rendered = render_display(situation, live_readings(now), uptime_ms)
        if rendered.shown_situations != self._texts:
            self._texts, self._texts_since_ms = rendered.shown_situations, uptime_ms
        elapsed_ms = uptime_ms - self._texts_since_ms
        display = self._display
        display.lines = compose_rows(rendered, display.columns, display.rows, elapsed_ms)
