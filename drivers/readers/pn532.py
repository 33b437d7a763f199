"""NXP PN532 card reader on a UART (UM0701-02, AN10609), for ISO 14443 type A.

The driver polls for a card every `poll_ms` and reports each tap once. While the reader is
disabled, its field is off and it is tested every `health_s`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Annotated, Final

import trio
from msgspec import Meta

from drivers.alarm import Alarm
from drivers.beat import next_beat
from drivers.ports import (
    CardReader,
    CommandRefused,
    DeviceReady,
    DeviceReport,
    InvalidResponse,
    NoResponse,
    OpenDevices,
    TokenPresented,
)
from drivers.settings import Baud, DeviceSettings, Milliseconds, Seconds
from drivers.wire import pn532
from drivers.wire.pn532 import (
    TFI_CHIP,
    Ack,
    DamagedFrame,
    Decoder,
    InformationFrame,
    ReceivedFrame,
    SyntaxErrorFrame,
    Target,
)
from drivers.wire.serial_port import OpenPort, Port, SerialPort

ATTEMPTS_MAX = 3
ACK_TIMEOUT_S = 0.1  # the chip acknowledges within 15 ms
SET_UP_TIMEOUT_S = 0.5
POLL_TIMEOUT_S = 1.0
BEAT_S = 0.05  # polls begin at a multiple of it
FRAME_GAP_MAX_S = 0.1  # after a longer gap inside a frame its rest is lost
PASSIVE_RETRIES = 2  # repetitions of InListPassiveTarget before it reports no card
PN532_IC = 0x32


NO_ANSWER_REASONS: Final = (
    "the board's switches select I2C or SPI instead of UART (HSU)",
    "transmit and receive are swapped, or the reader has no supply",
    "the port is that of another device",
)
"""Why it may not answer, likeliest first; for `station probe`."""


class Settings(DeviceSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.reader]`."""

    driver: str = "pn532"
    baud: Baud = 115_200
    poll_ms: Milliseconds = 150
    absent_polls: Annotated[int, Meta(ge=1, le=100)] = 3
    health_s: Seconds = 10.0


def open(
    settings: Settings, evse_ids: tuple[int, ...], open_port: OpenPort
) -> OpenDevices[CardReader]:
    """The reader, as number 0; see `drivers.catalog.Driver.open`."""
    reader = Pn532Reader(
        settings.port,
        baud=settings.baud,
        poll_ms=settings.poll_ms,
        absent_polls=settings.absent_polls,
        health_s=settings.health_s,
        open_port=open_port,
    )
    return OpenDevices({0: reader}, personal=True)  # UIDs of cards


class Pn532Reader:
    """One reader.

    Reports DeviceReady after its set-up, then a TokenPresented for each card presented.

    Args:
        port: path of the tty.
        baud: the default is the chip's power-on value.
        poll_ms: pause between two polls.
        absent_polls: number of polls without a card after which it counts as removed.
        health_s: interval of line tests while the reader is disabled.
        open_port: how to open the port.
    """

    def __init__(
        self,
        port: str,
        *,
        baud: int = 115_200,
        poll_ms: int = 150,
        absent_polls: int = 3,
        health_s: float = 10.0,
        open_port: OpenPort = SerialPort.open,
    ) -> None:
        self.port = port
        self._baud = baud
        self._poll_s = poll_ms / 1000
        self._health_s = health_s
        self._open_port = open_port
        self._presence = CardPresence(absent_polls)
        self._enabled = True
        self._enabled_changed = Alarm()

    @property
    def enabled(self) -> bool:
        """Whether the reader polls for cards. Off: the field is off too, cards get no power."""
        return self._enabled

    @enabled.setter
    def enabled(self, on: bool) -> None:
        if on != self._enabled:
            self._enabled = on
            self._enabled_changed.ring()

    async def run(self, report: Callable[[DeviceReport], None]) -> None:
        """Set the chip up and poll for cards.

        Raises:
            NoResponse, CommandRefused: the same command failed three times.
            InvalidResponse: the device is no PN532, or its line test failed.
            PortLost: the tty is lost.
        """
        port = self._open_port(self.port, baud=self._baud)
        try:
            chip = _Chip(port, self.port)
            report(DeviceReady(await chip.set_up()))
            self._presence.reset()
            while True:
                await (
                    self._poll_once(chip, report)
                    if self._enabled
                    else self._idle_until_enabled(chip)
                )
        finally:
            port.close()

    async def _poll_once(self, chip: _Chip, report: Callable[[DeviceReport], None]) -> None:
        """Poll once for a card, then pause."""
        target = await chip.find_card()
        token = self._presence.on_poll(target)
        if token is not None:
            report(token)
        if target is not None:
            await chip.send_command(pn532.release_target(target.number), POLL_TIMEOUT_S)
        now = trio.current_time()
        beat_s = min(BEAT_S, self._poll_s)
        await self._enabled_changed.wait_until(next_beat(now + self._poll_s - beat_s / 2, beat_s))

    async def _idle_until_enabled(self, chip: _Chip) -> None:
        """Keep the field off until enabled again."""
        await chip.send_command(pn532.FIELD_OFF, POLL_TIMEOUT_S)
        self._presence.reset()
        while not self._enabled:
            if not await self._enabled_changed.wait_until(trio.current_time() + self._health_s):
                await chip.test_line()
        await chip.send_command(pn532.FIELD_ON, POLL_TIMEOUT_S)


class CardPresence:
    """Filters polls to one report per tap: a tap ends when the card was absent for some polls."""

    def __init__(self, absent_polls: int) -> None:
        self._absent_polls = absent_polls
        self._present: Target | None = None
        self._absent_count = 0

    def reset(self) -> None:
        """Treat the next card as a new tap."""
        self._present = None

    def on_poll(self, target: Target | None) -> TokenPresented | None:
        """What to report after one poll.

        A phone generates a new random UID for each poll; consecutive random UIDs without an
        absence are one tap.
        """
        if target is None:
            self._absent_count += 1
            if self._absent_count >= self._absent_polls:
                self.reset()
            return None
        self._absent_count = 0
        before, self._present = self._present, target
        if before is not None and (
            before.uid == target.uid or (before.uid_is_random and target.uid_is_random)
        ):
            return None
        return TokenPresented(target.uid, target.uid_is_random)


class _Chip:
    """Commands to the PN532 and their responses, one at a time."""

    def __init__(self, port: Port, name: str) -> None:
        self._port = port
        self._name = f"PN532 on {name}"
        self._decoder = Decoder()
        self._received: deque[ReceivedFrame] = deque()

    async def set_up(self) -> str:
        """Wake the chip and configure it; returns its model and firmware."""
        await self.send_command(pn532.NORMAL_MODE, SET_UP_TIMEOUT_S, prefix=pn532.WAKE_UP)
        version = await self.send_command(bytes([pn532.GET_FIRMWARE_VERSION]), SET_UP_TIMEOUT_S)
        if len(version) != 5 or version[1] != PN532_IC:
            raise InvalidResponse(
                f"{self._name}: firmware {version[1:].hex(' ')} is not of a PN532"
            )
        await self.send_command(pn532.set_max_retries(PASSIVE_RETRIES), SET_UP_TIMEOUT_S)
        await self.send_command(pn532.FIELD_ON, SET_UP_TIMEOUT_S)
        return f"NXP PN532 firmware {version[2]}.{version[3]}"

    async def find_card(self) -> Target | None:
        """The card in the field; None also for one with an invalid UID."""
        answer = await self.send_command(pn532.LIST_ONE_TYPE_A, POLL_TIMEOUT_S)
        try:
            return pn532.parse_target(answer)
        except ValueError:
            await self.send_command(pn532.RELEASE_ALL, POLL_TIMEOUT_S)
            return None

    async def test_line(self) -> None:
        """Let the chip echo two bytes. Raises InvalidResponse if it does not."""
        echo = await self.send_command(pn532.LINE_TEST, POLL_TIMEOUT_S)
        if echo[1:] != pn532.LINE_TEST[1:]:
            raise InvalidResponse(f"{self._name}: line test answered {echo.hex(' ')}")

    async def send_command(
        self, command: bytes, response_timeout_s: float, *, prefix: bytes = b""
    ) -> bytes:
        """Send a command until the chip responds, three times at most.

        Args:
            command: code and parameters.
            response_timeout_s: from the ACK to the response.
            prefix: bytes sent before it in the same write.

        Returns:
            The response from its code on.

        Raises:
            NoResponse: no response, or damaged ones, in every attempt.
            CommandRefused: the response to the last attempt was a syntax error.
        """
        refused = False
        for _ in range(ATTEMPTS_MAX):
            answer = await self._attempt_command(
                prefix + pn532.encode_command(command), command[0] + 1, response_timeout_s
            )
            if isinstance(answer, bytes):
                return answer
            refused = isinstance(answer, SyntaxErrorFrame)
            await self._port.send(pn532.ACK)  # aborts what the chip may still be doing
        what = f"{self._name}: command {command.hex(' ')}"
        if refused:
            raise CommandRefused(f"{what} refused as a syntax error {ATTEMPTS_MAX} times")
        raise NoResponse(f"{what} not answered in {ATTEMPTS_MAX} tries of {response_timeout_s:g} s")

    async def _attempt_command(
        self, frame: bytes, code: int, response_timeout_s: float
    ) -> bytes | SyntaxErrorFrame | None:
        """Send once. The response is valid even if its ACK was lost."""
        self._port.drain_input()
        self._decoder.reset()
        self._received.clear()
        await self._port.send(frame)
        nack_sent = False
        with trio.move_on_after(ACK_TIMEOUT_S) as timeout:
            while True:
                match await self._next_frame():
                    case Ack():
                        timeout.deadline = trio.current_time() + response_timeout_s
                    case InformationFrame(tfi, data) if tfi == TFI_CHIP and data[0] == code:
                        return data
                    case SyntaxErrorFrame() as refused:
                        return refused
                    case DamagedFrame() if not self._received:
                        if nack_sent:
                            return None
                        nack_sent = True
                        await self._port.send(pn532.NACK)
        return None

    async def _next_frame(self) -> ReceivedFrame:
        while not self._received:
            if not self._decoder.is_inside_frame:
                self._received.extend(self._decoder.feed(await self._port.receive()))
                continue
            with trio.move_on_after(FRAME_GAP_MAX_S) as gap:
                self._received.extend(self._decoder.feed(await self._port.receive()))
            if gap.cancelled_caught:
                self._received.extend(self._decoder.flush_incomplete())
        return self._received.popleft()
