"""Which card lies on the reader?

NXP PN532 on a UART (UM0701-02, AN10609): one reader for ISO 14443 type A.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import ClassVar

import trio

from drivers.ports import BadAnswer, DeviceReady, NoAnswer, Refused, Report, TokenPresented
from drivers.wire import pn532
from drivers.wire.pn532 import (
    CHIP,
    Ack,
    Damaged,
    Decoder,
    Information,
    Received,
    SyntaxRefused,
    Target,
)
from drivers.wire.serial_port import OpenPort, Port, SerialPort

TRIES = 3
ACK_S = 0.1  # the chip acknowledges within 15 ms
SET_UP_S = 0.5
POLL_S = 1.0
GAP_S = 0.1  # silence inside a frame after which its rest does not come
LOOKS = 2  # how often InListPassiveTarget looks again before it says "none"
PN532_IC = 0x32


class Pn532Reader:
    """One reader.

    Reports DeviceReady once its set-up is done, then a TokenPresented for each card that comes.

    Args:
        port: path of the tty.
        baud: the chip's power-on value is the default.
        poll_ms: pause between two looks for a card.
        absent_polls: after so many looks without it a card counts as taken away.
        health_s: how often a reader that does not poll is asked whether it lives.
        open_port: how to open; tests give their own.
    """

    LINE: ClassVar[Mapping[str, int | str]] = {"baud": 115_200}

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
        self._presence = Presence(absent_polls)
        self._enabled = True
        self._switched = trio.Event()

    @property
    def enabled(self) -> bool:
        """Whether cards are looked for. Off: the field is off too, cards get no power."""
        return self._enabled

    @enabled.setter
    def enabled(self, on: bool) -> None:
        if on != self._enabled:
            self._enabled = on
            self._switched.set()

    async def run(self, report: Callable[[Report], None]) -> None:
        """Set the chip up and look for cards.

        Raises:
            NoAnswer, Refused: the same command failed three times.
            BadAnswer: this is no PN532, or its line test fails.
            PortGone: the tty is lost.
        """
        port = self._open_port(self.port, baud=self._baud)
        try:
            chip = _Chip(port, self.port)
            report(DeviceReady(await chip.set_up()))
            self._presence.forget()
            while True:
                await (self._look(chip, report) if self._enabled else self._rest(chip))
        finally:
            port.close()

    async def _look(self, chip: _Chip, report: Callable[[Report], None]) -> None:
        """Look once for a card, then pause."""
        target = await chip.list()
        token = self._presence.after(target)
        if token is not None:
            report(token)
        if target is not None:
            await chip.ask(pn532.release(target.number), POLL_S)
        with trio.move_on_after(self._poll_s):
            await self._until_switched()

    async def _rest(self, chip: _Chip) -> None:
        """Keep the field off until enabled again."""
        await chip.ask(pn532.FIELD_OFF, POLL_S)
        self._presence.forget()
        while not self._enabled:
            with trio.move_on_after(self._health_s):
                await self._until_switched()
                continue
            await chip.test_line()
        await chip.ask(pn532.FIELD_ON, POLL_S)

    async def _until_switched(self) -> None:
        self._switched = trio.Event()
        await self._switched.wait()


class Presence:
    """Tells each tap once: a card stays the same tap until it was absent for some polls."""

    def __init__(self, absent_polls: int) -> None:
        self._absent_polls = absent_polls
        self._lying: Target | None = None
        self._absent = 0

    def forget(self) -> None:
        """Whatever lies there now is new."""
        self._lying = None

    def after(self, seen: Target | None) -> TokenPresented | None:
        """What to report after one look.

        A phone draws a new random UID each time it is found; one random UID after the other
        without an absence is one tap.
        """
        if seen is None:
            self._absent += 1
            if self._absent >= self._absent_polls:
                self.forget()
            return None
        self._absent = 0
        before, self._lying = self._lying, seen
        if before is not None and (before.uid == seen.uid or (before.random and seen.random)):
            return None
        return TokenPresented(seen.uid, seen.random)


class _Chip:
    """Commands to the PN532 and their answers, one at a time."""

    def __init__(self, port: Port, name: str) -> None:
        self._port = port
        self._name = f"PN532 on {name}"
        self._decoder = Decoder()
        self._heard: deque[Received] = deque()

    async def set_up(self) -> str:
        """Wake the chip and configure it; returns its model and firmware."""
        await self.ask(pn532.NORMAL_MODE, SET_UP_S, before=pn532.WAKE_UP)
        version = await self.ask(bytes([pn532.GET_FIRMWARE_VERSION]), SET_UP_S)
        if len(version) != 5 or version[1] != PN532_IC:
            raise BadAnswer(f"{self._name}: firmware {version[1:].hex(' ')} is not of a PN532")
        await self.ask(pn532.max_retries(LOOKS), SET_UP_S)
        await self.ask(pn532.FIELD_ON, SET_UP_S)
        return f"NXP PN532 firmware {version[2]}.{version[3]}"

    async def list(self) -> Target | None:
        """The card in the field. One with a UID that no card may have is none."""
        answer = await self.ask(pn532.LIST_ONE_TYPE_A, POLL_S)
        try:
            return pn532.parse_target(answer)
        except ValueError:
            await self.ask(pn532.RELEASE_ALL, POLL_S)
            return None

    async def test_line(self) -> None:
        """Have the chip echo two bytes. Raises BadAnswer if it does not."""
        echo = await self.ask(pn532.LINE_TEST, POLL_S)
        if echo[1:] != pn532.LINE_TEST[1:]:
            raise BadAnswer(f"{self._name}: line test answered {echo.hex(' ')}")

    async def ask(self, command: bytes, answer_s: float, *, before: bytes = b"") -> bytes:
        """Send a command until it is answered, three times at most.

        Args:
            command: code and parameters.
            answer_s: patience from the ACK to the response.
            before: bytes sent ahead in the same write.

        Returns:
            The response from its code on.

        Raises:
            NoAnswer: silence or damage each time.
            Refused: the chip answered the last try with a syntax error.
        """
        refused = False
        for _ in range(TRIES):
            answer = await self._try(before + pn532.command(command), command[0] + 1, answer_s)
            if isinstance(answer, bytes):
                return answer
            refused = isinstance(answer, SyntaxRefused)
            await self._port.send(pn532.ACK)  # aborts what the chip may still be doing
        what = f"{self._name}: command {command.hex(' ')}"
        if refused:
            raise Refused(f"{what} refused as a syntax error {TRIES} times")
        raise NoAnswer(f"{what} not answered in {TRIES} tries of {answer_s:g} s")

    async def _try(self, sent: bytes, code: int, answer_s: float) -> bytes | SyntaxRefused | None:
        """Send once. The response counts even if its ACK was lost."""
        self._port.drain_input()
        self._decoder.reset()
        self._heard.clear()
        await self._port.send(sent)
        asked_again = False
        with trio.move_on_after(ACK_S) as patience:
            while True:
                match await self._hear():
                    case Ack():
                        patience.deadline = trio.current_time() + answer_s
                    case Information(tfi, data) if tfi == CHIP and data[0] == code:
                        return data
                    case SyntaxRefused() as refused:
                        return refused
                    case Damaged() if not self._heard:
                        if asked_again:
                            return None
                        asked_again = True
                        await self._port.send(pn532.NACK)
        return None

    async def _hear(self) -> Received:
        while not self._heard:
            patience = GAP_S if self._decoder.inside_frame else math.inf
            with trio.move_on_after(patience) as gap:
                self._heard.extend(self._decoder.feed(await self._port.receive()))
            if gap.cancelled_caught:
                self._heard.extend(self._decoder.give_up())
        return self._heard.popleft()
