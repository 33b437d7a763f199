"""Emulated VT100 display: the text on its rows, and the answer to a status request."""

from __future__ import annotations

import re

from drivers.wire.serial_port import Port

SEQUENCE = re.compile(rb"\x1b\[([?0-9;]*)([A-Za-z])|\r\n|[^\x1b\r\n]+")
SEQUENCE_MAX = 64  # bytes; anything longer is not an escape sequence


class EmulatedVt100:
    """A terminal with the functions a display driver uses: home, clear, erase to end, status.

    Attributes:
        screen: the text of each row, without trailing blanks.
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
        """Display text and answer status requests until cancelled."""
        while True:
            self._pending += await self.port.receive()
            for _ in range(self._process_pending()):
                if not self.silent:
                    await self.port.send(b"\x1b[0n")

    def _process_pending(self) -> int:
        """Execute the complete sequences; returns the number of status requests among them."""
        request_count = used = 0
        for sequence in SEQUENCE.finditer(self._pending):
            if sequence.start() != used:
                break
            used = sequence.end()
            request_count += self._execute_sequence(sequence)
        self._pending = self._pending[used:][-SEQUENCE_MAX:]
        return request_count

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
