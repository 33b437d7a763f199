"""How does a CSMS behave on its bad days?

`Counterpart` puts a `CsmsDouble` behind simulated wires. Its `Temper` says how often an answer is
lost, late, doubled, refused or nonsense, and how often the wire breaks right before or after the
CSMS has taken a message in.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
from trio_websocket import CloseReason

from station import ocppj
from station.messages import Datatype
from station.messages.datatypes import IdTokenInfoType, IdTokenType
from station.messages.e_transactions import TransactionEventRequest
from station.simulation.agenda import Agenda, SimulatedClock
from station.simulation.csms import Asked, CsmsDouble
from station.simulation.wire import GOING_AWAY, Lines, Wire

LATE_S: Final = (5.0, 150.0)  # the station waits 30 s
TWICE_S: Final = 3.0  # until an answer comes again, at most
ASKED_MAX: Final = 200  # calls of ours that are remembered

ALICE, BOB, CAROL, MALLORY = "04A224B2", "04B224B2", "04C224B2", "04D224B2"
FAMILY: Final = IdTokenType(id_token="FAMILY", type="Central")
PEOPLE: Final = {
    ALICE: IdTokenInfoType(status="Accepted"),
    BOB: IdTokenInfoType(status="Accepted", group_id_token=FAMILY),
    CAROL: IdTokenInfoType(status="Accepted", group_id_token=FAMILY),
    MALLORY: IdTokenInfoType(status="Blocked"),
}


class Temper(msgspec.Struct, frozen=True, kw_only=True):
    """How probable each mischief is, per call of the station. The rest is answered."""

    lost: float = 0  # taken in, never answered
    deaf: float = 0  # not even taken in
    late: float = 0
    twice: float = 0
    refused: float = 0  # a CALLERROR
    nonsense: float = 0  # taken in, answered with what is no answer
    cut_before: float = 0  # the wire breaks before it is taken in
    cut_after: float = 0  # and after, before the answer leaves


CALM: Final = Temper()


class Onlooker:
    """Whoever watches the line and the ledger. This one does not care."""

    def connected(self, wire: Wire) -> None:
        """A station is there."""

    def sent(self, wire: Wire, text: str) -> None:
        """The station sends a frame."""

    def took(self, event: TransactionEventRequest) -> None:
        """The CSMS takes a TransactionEvent in."""


class Counterpart:
    """The CSMS's end of all wires.

    Attributes:
        temper, registration: change them, and the next answer obeys.
        did: how often each mischief was done.
    """

    def __init__(
        self,
        agenda: Agenda,
        clock: SimulatedClock,
        dice: random.Random,
        onlooker: Onlooker,
        lines: Callable[[], Lines],
    ) -> None:
        self.double = CsmsDouble(PEOPLE, clock=clock.true_utc, told=self._told)
        self.temper = CALM
        self.did: Counter[str] = Counter()
        self.asked: list[Asked] = []
        self._agenda = agenda
        self._dice = dice
        self._onlooker = onlooker
        self._lines = lines
        self._wire: Wire | None = None
        self._does = {
            "lost": self._loses,
            "deaf": lambda wire, text: None,
            "late": self._late,
            "twice": self._twice,
            "refused": self._refuses,
            "nonsense": self._nonsense,
            "cut_before": lambda wire, text: wire.cut(),
            "cut_after": self._cuts_after,
        }

    # --- The wire --------------------------------------------------------------------------------

    def connected(self, wire: Wire) -> None:
        if self._wire is not None:
            self.double.hung_up()
        self._wire = wire
        self._onlooker.connected(wire)

    def sent(self, wire: Wire, text: str) -> None:
        self._onlooker.sent(wire, text)

    def heard(self, wire: Wire, text: str) -> None:
        """A frame of the station, treated as the temper has it."""
        called = isinstance(ocppj.read(text.encode()), ocppj.CallFrame)
        mischief = self._mischief() if called else None
        if mischief is None:
            self._answers(wire, text)
        else:
            self.did[mischief] += 1
            self._does[mischief](wire, text)

    def disconnected(self, wire: Wire) -> None:
        if wire is self._wire:
            self._wire = None
            self.double.hung_up()

    def restart(self) -> None:
        """It goes away and comes back; what it has taken in is in its database."""
        self._lines().cut(CloseReason(GOING_AWAY, "restarting"))

    # --- Asking ----------------------------------------------------------------------------------

    def ask(self, request: Datatype) -> None:
        """Ask the station something, if one is there."""
        wire = self._wire
        if wire is None:
            return
        asked, texts = self.double.call(request)
        self.asked = [*self.asked[-ASKED_MAX:], asked]
        for text in texts:
            wire.say(text)

    def say(self, text: str) -> None:
        """Send any text at all."""
        if self._wire is not None:
            self._wire.say(text)

    # --- Mischief --------------------------------------------------------------------------------

    def _mischief(self) -> str | None:
        chance = self._dice.random()
        for name in self._does:
            chance -= getattr(self.temper, name)
            if chance < 0:
                return name
        return None

    def _answers(self, wire: Wire, text: str) -> None:
        for answer in self.double.heard(text):
            wire.say(answer)

    def _loses(self, wire: Wire, text: str) -> None:
        self.double.heard(text)

    def _late(self, wire: Wire, text: str) -> None:
        for answer in self.double.heard(text):
            self._agenda.after(self._dice.uniform(*LATE_S), partial(wire.say, answer))

    def _twice(self, wire: Wire, text: str) -> None:
        for answer in self.double.heard(text):
            wire.say(answer)
            self._agenda.after(self._dice.uniform(0, TWICE_S), partial(wire.say, answer))

    def _refuses(self, wire: Wire, text: str) -> None:
        frame = ocppj.read(text.encode())
        assert isinstance(frame, ocppj.CallFrame)
        wire.say(ocppj.error_text(frame.message_id, "InternalError", "not today"))

    def _nonsense(self, wire: Wire, text: str) -> None:
        frame = ocppj.read(text.encode())
        assert isinstance(frame, ocppj.CallFrame)
        self.double.heard(text)
        wire.say(ocppj.result_text(frame.message_id, b'{"status":7}'))

    def _cuts_after(self, wire: Wire, text: str) -> None:
        self.double.heard(text)
        wire.cut()

    def _told(self, action: str, request: Datatype) -> None:
        if isinstance(request, TransactionEventRequest):
            self._onlooker.took(request)
