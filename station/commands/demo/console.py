"""Output of the demo: colors and a live line on a terminal, plain lines into a pipe."""

from __future__ import annotations

import re
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Final

from station.commands.shared.exits import CommandFailed, discard_stdout

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_INTERVAL_S: Final = 4.0  # between two lines where no live line is possible
BAR_WIDTH: Final = 12  # characters, so that the line fits into 80

_EVENT_PREFIX = re.compile(r" *[0-9.]+ s  .{9,}?  (?=\S)")  # time and actor of an event

ACTOR_STYLES: Final = {
    "EV driver": "bold cyan",
    "EV": "cyan",
    "station": "green",
    "CSMS": "magenta",
}


class DemoConsole:
    """Prints actor, action and the time since this object was made."""

    def __init__(self) -> None:
        self._console = _terminal_console()
        self._can_overwrite = self._console is not None and not self._console.is_dumb_terminal
        self._started_s = time.monotonic()
        self._has_live_line = False
        self._last_printed_s = float("-inf")

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started_s

    def print_event(self, actor: str, text: str) -> None:
        """Print an event with its time and actor."""
        self.print_line(self._format_event(actor, text), ACTOR_STYLES.get(actor, ""))

    def print_line(self, text: str = "", style: str = "") -> None:
        """Print a line; ends the live line."""
        if self._has_live_line:
            self._write_stdout("\r\x1b[K")
            self._has_live_line = False
        if self._console is None:
            self._write_stdout(f"{text}\n")
        else:
            for line in _wrap_line(text, self._console.width):
                self._console.print(line, style=style, markup=False, soft_wrap=True)

    def update_line(self, actor: str, text: str) -> None:
        """Overwrite the live line; without one, print a line every `PLAIN_INTERVAL_S`."""
        if self._can_overwrite:
            assert self._console is not None, "only a terminal has a live line"
            self._write_stdout(
                f"\r\x1b[K{self._format_event(actor, text)[: self._console.width - 1]}"
            )
            self._has_live_line = True
        elif self.elapsed_s - self._last_printed_s >= PLAIN_INTERVAL_S:
            self._last_printed_s = self.elapsed_s
            self.print_event(actor, text)

    def finish_line(self) -> None:
        """End the live line and keep its text."""
        if self._has_live_line:
            self._write_stdout("\n")
        self._has_live_line = False

    def _format_event(self, actor: str, text: str) -> str:
        return f"{self.elapsed_s:5.1f} s  {actor:<9}  {text}"

    def _write_stdout(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            discard_stdout()
            raise CommandFailed("demo: stdout was closed. The demo ended.") from None


def _terminal_console() -> Console | None:
    """The terminal, with as many colors as it has; None if stdout is not a terminal."""
    if not sys.stdout.isatty():
        return None
    from rich.console import Console

    return Console(highlight=False)


def _wrap_line(text: str, width: int) -> list[str]:
    """The lines of a text on a terminal: broken between words, indented below its last column.

    A word that is longer than a line, such as a path, stays whole so that it can be copied.
    """
    is_event = _EVENT_PREFIX.match(text)
    indent = is_event.end() if is_event else len(text) - len(text.lstrip()) + 2
    return textwrap.wrap(
        text,
        width,
        subsequent_indent=" " * min(indent, width // 2),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]


def format_bar(percent: float) -> str:
    """A percentage as a bar."""
    filled = round(BAR_WIDTH * min(max(percent, 0.0), 100.0) / 100)
    return f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}]"
