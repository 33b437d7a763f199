"""Emulated PN532: the answers of an RFID reader, and a queue of cards presented to it.

Cards are presented one after the other. The presence of a card begins with the first poll that
detects it, and after each card the field is empty for `EMPTY_POLLS` polls. So no tap is lost when
the station polls slowly, and the same card queued twice is two taps.
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

EMPTY_POLLS = 3  # after each card; the reader's driver reports a card again after as many
FIRMWARE = bytes.fromhex("32 01 06 07")  # PN532, version 1.6, types A and B and ISO 18092
CARDS_MAX = 100  # bounds the memory of the emulator; more than any real queue of EV drivers
RETRIES_UNLIMITED = 0xFF


@dataclass
class ReaderFaults:
    """Faults of the chip. A count decreases with each answer it affects.

    Attributes:
        silent: no answers, until reset.
        drop_acks: number of commands with a response but no ACK before it.
        bad_dcs: number of responses with a wrong data checksum.
        partial: number of responses that stop in the middle.
        syntax_errors: number of commands answered with the application error frame.
        noise: bytes on the line before each response, until reset.

    For a closed port use `Pty.unplug`.
    """

    silent: bool = False
    drop_acks: int = 0
    bad_dcs: int = 0
    partial: int = 0
    syntax_errors: int = 0
    noise: bytes = b""

    def consume_fault(self, name: str) -> bool:
        """Whether the counted fault applies to this answer; decreases its count."""
        count: int = getattr(self, name)
        if count > 0:
            setattr(self, name, count - 1)
        return count > 0


@dataclass
class _Card:
    target: Target
    duration_s: float
    leaves_at: float | None = field(default=None)


class EmulatedPn532:
    """One reader on one port.

    Attributes:
        faults: active faults.
        awake: False until 0x55 arrives; until then nothing is answered.
        field_on: whether the RF field powers cards.
        ack_s, response_s, no_card_s: from the command to its ACK, to its response, to "no card".
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
        """Number of queued cards, the one at the reader included."""
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
        """Queue a card after those already queued.

        Args:
            uid: 4, 7 or 10 bytes.
            atqa: SENS_RES, high byte first.
            sak: SEL_RES.
            ats: without its length byte; sent if `sak` has bit 5.
            duration_s: presence, from the first poll that detects the card.

        Raises:
            ValueError: invalid length of the UID, or `CARDS_MAX` cards are queued already.
        """
        if len(uid) not in (4, 7, 10):
            raise ValueError(f"a UID has 4, 7 or 10 bytes, got {uid.hex()}")
        if len(self._cards) >= CARDS_MAX:
            raise ValueError(f"{CARDS_MAX} cards wait at the reader already")
        self._cards.append(_Card(Target(1, atqa, sak, uid, ats), duration_s))

    def power_cycle(self) -> None:
        """Lose power briefly: asleep, field on, reset values."""
        self._command_scope.cancel()
        self.awake, self.field_on, self._passive_retries = False, True, RETRIES_UNLIMITED
        self._last_response = b""

    async def run(self) -> None:
        """Answer until cancelled."""
        decoder = Decoder()
        async with trio.open_nursery() as nursery:
            while True:
                timeout = trio.move_on_after(0.1 if decoder.is_inside_frame else float("inf"))
                data = b""
                with timeout:
                    data = await self.port.receive()
                if timeout.cancelled_caught:
                    decoder.reset()
                if not self.awake:
                    self.awake = b"\x55" in data
                    data = data[data.find(b"\x55") :] if self.awake else b""
                for frame in decoder.feed(data):
                    await self._on_frame(frame, nursery)

    async def _on_frame(self, frame: pn532.ReceivedFrame, nursery: trio.Nursery) -> None:
        match frame:
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
            response = await self._build_response(command)
            self._last_response = response
            await self.port.send(self._apply_faults(response))

    async def _build_response(self, command: bytes) -> bytes:
        await trio.sleep(self.response_s)
        if self.faults.consume_fault("syntax_errors"):
            return pn532.SYNTAX_ERROR
        if command[0] == pn532.IN_LIST_PASSIVE_TARGET:
            return encode_response(await self._list_targets())
        handler = _COMMAND_HANDLERS.get(command[0])
        if handler is not None:
            with suppress(IndexError):  # a truncated command
                return encode_response(handler(self, command))
        return pn532.SYNTAX_ERROR

    def _apply_faults(self, response: bytes) -> bytes:
        if self.faults.consume_fault("bad_dcs"):
            response = response[:-2] + bytes([response[-2] ^ 0xFF, 0])
        if self.faults.consume_fault("partial"):
            response = response[: len(response) // 2 + 1]
        return self.faults.noise + response

    async def _list_targets(self) -> bytes:
        """InListPassiveTarget: look for a card, repeatedly as set by MaxRtyPassiveActivation."""
        while True:
            target = self._current_target()
            if target is not None:
                return pn532.encode_target_list(target)
            await trio.sleep(self.no_card_s - self.response_s)
            if self._passive_retries != RETRIES_UNLIMITED:
                return pn532.encode_target_list(None)

    def _current_target(self) -> Target | None:
        """The card that is in the field now; starts its presence, removes it at its end."""
        if not self.field_on:
            return None
        if self._empty_polls:
            self._empty_polls -= 1
            return None
        if not self._cards:
            return None
        card, now = self._cards[0], trio.current_time()
        if card.leaves_at is None:
            card.leaves_at = now + card.duration_s
        if now <= card.leaves_at:
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
    """Line test 0: return the parameters."""
    return bytes([command[0] + 1]) + command[1:]


_COMMAND_HANDLERS: dict[int, Callable[[EmulatedPn532, bytes], bytes]] = {
    pn532.DIAGNOSE: _echo_line_test,
    pn532.GET_FIRMWARE_VERSION: lambda _, command: bytes([command[0] + 1]) + FIRMWARE,
    pn532.SAM_CONFIGURATION: lambda _, command: bytes([command[0] + 1]),
    pn532.POWER_DOWN: EmulatedPn532._power_down,
    pn532.RF_CONFIGURATION: EmulatedPn532._configure_rf,
    pn532.IN_RELEASE: lambda _, command: bytes([command[0] + 1, 0]),
}
