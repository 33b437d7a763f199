"""How is the demo told: on a terminal with colours and a line that moves, or to a pipe?"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

from station.commands.answers import No, fall_silent

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_EVERY_S: Final = 4.0  # how often a moving line is told where none can move
BAR: Final = 12  # characters, so that the line fits into 80

STYLES: Final = {
    "EV driver": "bold cyan",
    "EV": "cyan",
    "station": "green",
    "CSMS": "magenta",
}


class Voice:
    """Says who did what, and when, counted from its making."""

    def __init__(self) -> None:
        self._console = _console()
        self._moves = self._console is not None and not self._console.is_dumb_terminal
        self._began = time.monotonic()
        self._moving = False
        self._told_at = float("-inf")

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def says(self, who: str, text: str) -> None:
        """One thing that happened."""
        self.plain(self._stamped(who, text), STYLES.get(who, ""))

    def plain(self, text: str = "", style: str = "") -> None:
        """A line of its own."""
        if self._moving:
            self._write("\r\x1b[K")
            self._moving = False
        if self._console is None:
            self._write(f"{text}\n")
        else:
            self._console.print(text, style=style, markup=False, soft_wrap=True)

    def moving(self, who: str, text: str) -> None:
        """What changes all the time: one line that is written over, or a line now and then."""
        if self._moves:
            assert self._console is not None, "only a terminal has a line that moves"
            self._write(f"\r\x1b[K{self._stamped(who, text)[: self._console.width - 1]}")
            self._moving = True
        elif self.elapsed_s - self._told_at >= PLAIN_EVERY_S:
            self._told_at = self.elapsed_s
            self.says(who, text)

    def settle(self) -> None:
        """Leave the moving line as it is."""
        if self._moving:
            self._write("\n")
        self._moving = False

    def _stamped(self, who: str, text: str) -> str:
        return f"{self.elapsed_s:5.1f} s  {who:<9}  {text}"

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            fall_silent()
            raise No("demo: whoever watched has gone, so it ended.") from None


def _console() -> Console | None:
    """A terminal, with as many colours as it has."""
    if not sys.stdout.isatty():
        return None
    from rich.console import Console

    return Console(highlight=False)


def bar(percent: float) -> str:
    """How full something is."""
    filled = round(BAR * min(max(percent, 0.0), 100.0) / 100)
    return f"[{'#' * filled}{'.' * (BAR - filled)}]"
