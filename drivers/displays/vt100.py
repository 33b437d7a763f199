"""VT100 text display on a serial port.

Any serial terminal with VT100 control sequences (ECMA-48): text displays with a terminal mode, a
Linux console. The driver requests a status report every `health_s` to detect a lost display.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Final

import trio
from msgspec import Meta

from drivers.ports import DeviceReady, DeviceReport, Display, NoResponse, OpenDevices
from drivers.settings import Baud, DeviceSettings, SecondsOrNever, SettingsError
from drivers.wire.serial_port import OpenPort, Port, SerialPort

CLEAR_AND_HIDE_CURSOR = b"\x1b[2J\x1b[?25l"
CURSOR_HOME, CLEAR_TO_END_OF_LINE = b"\x1b[H", b"\x1b[K"
STATUS_REQUEST, STATUS_OK = b"\x1b[5n", b"\x1b[0n"  # device status report, ECMA-48 §8.3.35
ATTEMPTS_MAX, RESPONSE_TIMEOUT_S = 3, 0.5


NO_ANSWER_REASONS: Final = (
    "transmit and receive are swapped, or the display has no supply",
    "its baud rate differs from the key baud",
    "it cannot report its status: set health_s = 0",
)
"""Why it may not answer, likeliest first; for `station probe`."""


class Settings(DeviceSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.display]`."""

    driver: str = "vt100"
    baud: Baud = 115_200
    columns: Annotated[int, Meta(ge=1, le=255)] = 40
    rows: Annotated[int, Meta(ge=1, le=255)] = 4
    encoding: str = "utf-8"
    health_s: SecondsOrNever = 10.0  # 0: it sends no status reports

    def __post_init__(self) -> None:
        try:
            "".encode(self.encoding)
        except LookupError:
            raise SettingsError(
                f"encoding {self.encoding} does not exist. Use for example utf-8, latin-1 or cp437."
            ) from None


def open(
    settings: Settings, evse_ids: tuple[int, ...], open_port: OpenPort
) -> OpenDevices[Display]:
    """The display, as number 0; see `drivers.catalog.Driver.open`."""
    display = Vt100Display(
        settings.port,
        baud=settings.baud,
        columns=settings.columns,
        rows=settings.rows,
        encoding=settings.encoding,
        health_s=settings.health_s,
        open_port=open_port,
    )
    return OpenDevices({0: display}, personal=True)  # messages to EV drivers


class Vt100Display:
    """One display. Reports DeviceReady after its first status report, nothing else.

    Args:
        port: path of the tty.
        baud: as the display is set.
        columns, rows: its size; a longer text is cut.
        encoding: of the display; other characters become "?".
        health_s: interval of status requests; 0 for a display that cannot respond.
        open_port: how to open the port.
    """

    def __init__(
        self,
        port: str,
        *,
        baud: int = 115_200,
        columns: int = 40,
        rows: int = 4,
        encoding: str = "utf-8",
        health_s: float = 10.0,
        open_port: OpenPort = SerialPort.open,
    ) -> None:
        self.port = port
        self._baud = baud
        self.columns, self.rows = columns, rows
        self._encoding = encoding
        self._health_s = health_s
        self._open_port = open_port
        self._lines: tuple[str, ...] = ()
        self._changed = trio.Event()

    @property
    def lines(self) -> tuple[str, ...]:
        """The text, one item per row."""
        return self._lines

    @lines.setter
    def lines(self, lines: Sequence[str]) -> None:
        if tuple(lines) != self._lines:
            self._lines = tuple(lines)
            self._changed.set()

    async def run(self, report: Callable[[DeviceReport], None]) -> None:
        """Keep the text on the display.

        Raises:
            NoResponse: three status requests in a row had no response.
            PortLost: the tty is lost.
        """
        port = self._open_port(self.port, baud=self._baud)
        try:
            await self._check_alive(port)
            report(DeviceReady("VT100 display"))
            await port.send(CLEAR_AND_HIDE_CURSOR)
            while True:
                self._changed = trio.Event()
                await port.send(self._render_page())
                with trio.move_on_after(self._health_s or float("inf")) as timeout:
                    await self._changed.wait()
                if timeout.cancelled_caught:
                    await self._check_alive(port)
        finally:
            port.close()

    def _render_page(self) -> bytes:
        lines = [*self._lines, *[""] * self.rows][: self.rows]
        texts = (
            replace_control_characters(line)[: self.columns].encode(self._encoding, "replace")
            for line in lines
        )
        return CURSOR_HOME + b"\r\n".join(text + CLEAR_TO_END_OF_LINE for text in texts)

    async def _check_alive(self, port: Port) -> None:
        if not self._health_s:
            return
        for _ in range(ATTEMPTS_MAX):
            port.drain_input()
            await port.send(STATUS_REQUEST)
            with trio.move_on_after(RESPONSE_TIMEOUT_S):
                received = b""
                while STATUS_OK not in received:
                    received = (received + await port.receive())[-64:]
                return
        raise NoResponse(f"display on {self.port}: no status report in {ATTEMPTS_MAX} tries")


def replace_control_characters(text: str) -> str:
    """The text without control characters: a text must not control the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
