"""What does an emulated PN532 answer, and which card lies on it?

Cards are queued and come one after the other. A card's time begins when the chip first sees it,
and between two cards the field is empty for some polls: no tap is lost because the station was
slow, and the same card twice is two taps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import trio

from drivers.wire import pn532
from drivers.wire.pn532 import (
    TFI_HOST,
    Ack,
    Decoder,
    InformationFrame,
    Nack,
    Target,
    encode_response,
)
from drivers.wire.serial_port import Port

EMPTY_POLLS = 3  # after each card; the reader forgets a card after as many
FIRMWARE = bytes.fromhex("32 01 06 07")  # PN532, version 1.6, types A and B and ISO 18092
CARDS_MAX = 100  # nobody queues more people before one reader
RETRIES_UNLIMITED = 0xFF


@dataclass
class ReaderFaults:
    """How the chip misbehaves. The counts tick down with each answer they spoil.

    Attributes:
        silent: answers nothing at all, until put back.
        drop_acks: so many commands get their response without the ACK before it.
        bad_dcs: so many responses carry a wrong data checksum.
        partial: so many responses stop in the middle.
        syntax_errors: so many commands are answered with the application error frame.
        noise: bytes on the line before each response, until put back.

    A closed port is `Pty.unplug`.
    """

    silent: bool = False
    drop_acks: int = 0
    bad_dcs: int = 0
    partial: int = 0
    syntax_errors: int = 0
    noise: bytes = b""

    def consume_fault(self, name: str) -> bool:
        """Whether the counted fault strikes now; it is used up by one."""
        left: int = getattr(self, name)
        if left > 0:
            setattr(self, name, left - 1)
        return left > 0


@dataclass
class _Card:
    target: Target
    duration_s: float
    leaves_at: float | None = field(default=None)


class EmulatedPn532:
    """One reader on one port.

    Attributes:
        faults: how it misbehaves.
        awake: False until 0x55 arrives; before it nothing is answered.
        field_on: whether cards get power.
        ack_s, response_s, none_s: from the command to its ACK, to its response, to "no card".
    """

    def __init__(self, port: Port) -> None:
        self.port = port
        self.faults = ReaderFaults()
        self.awake = False
        self.field_on = True
        self.ack_s, self.response_s, self.no_card_s = 0.001, 0.005, 0.030
        self._cards: deque[_Card] = deque()
        self._empty_polls = 0
        self._passive_retries = RETRIES_UNLIMITED
        self._last_response = b""
        self._command_scope = trio.CancelScope()

    @property
    def cards_waiting(self) -> int:
        """Cards queued and not yet taken away."""
        return len(self._cards)

    def present_card(
        self,
        uid: bytes,
        *,
        atqa: bytes = b"\x00\x04",
        sak: int = 0x08,
        ats: bytes = b"",
        duration_s: float = 0.3,
    ) -> None:
        """Hold a card to the reader, after those already queued.

        Args:
            uid: 4, 7 or 10 bytes.
            atqa: SENS_RES, high byte first.
            sak: SEL_RES.
            ats: without its length byte; told if `sak` has bit 5.
            duration_s: from the poll that first sees it.

        Raises:
            ValueError: a UID that no card has, or more cards than a queue of people has.
        """
        if len(uid) not in (4, 7, 10):
            raise ValueError(f"a UID has 4, 7 or 10 bytes, got {uid.hex()}")
        if len(self._cards) >= CARDS_MAX:
            raise ValueError(f"{CARDS_MAX} cards wait at the reader already")
        self._cards.append(_Card(Target(1, atqa, sak, uid, ats), duration_s))

    def power_cycle(self) -> None:
        """Lose the power for a moment: asleep, field on, reset values."""
        self._command_scope.cancel()
        self.awake, self.field_on, self._passive_retries = False, True, RETRIES_UNLIMITED
        self._last_response = b""

    async def run(self) -> None:
        """Answer until cancelled."""
        decoder = Decoder()
        async with trio.open_nursery() as work:
            while True:
                quiet = trio.move_on_after(0.1 if decoder.is_inside_frame else float("inf"))
                heard = b""
                with quiet:
                    heard = await self.port.receive()
                if quiet.cancelled_caught:
                    decoder.reset()
                if not self.awake:
                    self.awake = b"\x55" in heard
                    heard = heard[heard.find(b"\x55") :] if self.awake else b""
                for received in decoder.feed(heard):
                    await self._on_frame(received, work)

    async def _on_frame(self, received: pn532.ReceivedFrame, nursery: trio.Nursery) -> None:
        match received:
            case Ack():
                self._command_scope.cancel()
            case Nack() if not self.faults.silent:
                await self.port.send(self._last_response)
            case InformationFrame(tfi, data) if tfi == TFI_HOST and not self.faults.silent:
                self._command_scope.cancel()
                self._command_scope = trio.CancelScope()
                nursery.start_soon(self._run_command, data, self._command_scope)

    async def _run_command(self, command: bytes, scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep(self.ack_s)
            if not self.faults.consume_fault("drop_acks"):
                await self.port.send(pn532.ACK)
            answer = await self._build_response(command)
            self._last_response = answer
            await self.port.send(self._apply_faults(answer))

    async def _build_response(self, command: bytes) -> bytes:
        await trio.sleep(self.response_s)
        if self.faults.consume_fault("syntax_errors"):
            return pn532.SYNTAX_ERROR
        if command[0] == pn532.IN_LIST_PASSIVE_TARGET:
            return encode_response(await self._list_targets())
        do = _COMMAND_HANDLERS.get(command[0])
        if do is not None:
            with suppress(IndexError):  # a command cut short
                return encode_response(do(self, command))
        return pn532.SYNTAX_ERROR

    def _apply_faults(self, response: bytes) -> bytes:
        if self.faults.consume_fault("bad_dcs"):
            response = response[:-2] + bytes([response[-2] ^ 0xFF, 0])
        if self.faults.consume_fault("partial"):
            response = response[: len(response) // 2 + 1]
        return self.faults.noise + response

    async def _list_targets(self) -> bytes:
        """InListPassiveTarget: look, and look again as MaxRetries says."""
        while True:
            target = self._current_target()
            if target is not None:
                return pn532.encode_target_list(target)
            await trio.sleep(self.no_card_s - self.response_s)
            if self._passive_retries != RETRIES_UNLIMITED:
                return pn532.encode_target_list(None)

    def _current_target(self) -> Target | None:
        """The card in the field at this moment."""
        if not self.field_on:
            return None
        if self._empty_polls:
            self._empty_polls -= 1
            return None
        if not self._cards:
            return None
        card, at = self._cards[0], trio.current_time()
        if card.leaves_at is None:
            card.leaves_at = at + card.duration_s
        if at <= card.leaves_at:
            return card.target
        self._cards.popleft()
        self._empty_polls = EMPTY_POLLS - 1  # this poll is the first
        return None

    def _configure_rf(self, command: bytes) -> bytes:
        item = command[1]
        if item == 0x01:
            self.field_on = bool(command[2] & 1)
        elif item == 0x05:
            self._passive_retries = command[4]
        return bytes([command[0] + 1])

    def _power_down(self, command: bytes) -> bytes:
        self.awake = False
        return bytes([command[0] + 1, 0])


def _echo_line_test(_: EmulatedPn532, command: bytes) -> bytes:
    """Line test 0: the parameters come back."""
    return bytes([command[0] + 1]) + command[1:]


_COMMAND_HANDLERS: dict[int, Callable[[EmulatedPn532, bytes], bytes]] = {
    pn532.DIAGNOSE: _echo_line_test,
    pn532.GET_FIRMWARE_VERSION: lambda _, command: bytes([command[0] + 1]) + FIRMWARE,
    pn532.SAM_CONFIGURATION: lambda _, command: bytes([command[0] + 1]),
    pn532.POWER_DOWN: EmulatedPn532._power_down,
    pn532.RF_CONFIGURATION: EmulatedPn532._configure_rf,
    pn532.IN_RELEASE: lambda _, command: bytes([command[0] + 1, 0]),
}
