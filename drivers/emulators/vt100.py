"""What stands on an emulated VT100 display?"""

from __future__ import annotations

import re

from drivers.wire.serial_port import Port

SEQUENCE = re.compile(rb"\x1b\[([?0-9;]*)([A-Za-z])|\r\n|[^\x1b\r\n]+")
SEQUENCE_MAX = 64  # a longer one is no sequence


class EmulatedVt100:
    """A terminal that knows what a display driver sends: home, clear, erase to the end, status.

    Attributes:
        screen: the text of each row, without the blanks at its end.
        silent: does not answer the status request.
    """

    def __init__(self, port: Port, *, rows: int = 4) -> None:
        self.port = port
        self.silent = False
        self._rows = [b""] * rows
        self._row = self._column = 0
        self._pending = b""

    @property
    def screen(self) -> list[str]:
        return [row.decode("utf-8", "replace").rstrip() for row in self._rows]

    async def run(self) -> None:
        """Show and answer until cancelled."""
        while True:
            self._pending += await self.port.receive()
            for _ in range(self._process_pending()):
                if not self.silent:
                    await self.port.send(b"\x1b[0n")

    def _process_pending(self) -> int:
        """Show what is whole; returns how many status requests were among it."""
        asked = used = 0
        for found in SEQUENCE.finditer(self._pending):
            if found.start() != used:
                break
            used = found.end()
            asked += self._execute_sequence(found)
        self._pending = self._pending[used:][-SEQUENCE_MAX:]
        return asked

    def _execute_sequence(self, sequence: re.Match[bytes]) -> bool:
        match sequence.group(2):
            case b"H":
                self._row = self._column = 0
            case b"J":
                self._rows = [b""] * len(self._rows)
            case b"K":
                self._write_text(b"", keep=False)
            case b"n":
                return True
            case None if sequence.group() == b"\r\n":
                self._row, self._column = min(self._row + 1, len(self._rows) - 1), 0
            case None:
                self._write_text(sequence.group(), keep=True)
        return False

    def _write_text(self, text: bytes, *, keep: bool) -> None:
        row = self._rows[self._row].ljust(self._column)
        end = self._column + len(text)
        self._rows[self._row] = row[: self._column] + text + (row[end:] if keep else b"")
        self._column = end
