"""What does a CSMS talk about with each of many stations in one process, ours or the peer's?

Plain functions that belong to no loop, so that both are asked the same by the same code. Nothing
of ours is imported: the peer's program talks so, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, NamedTuple

VARIABLE: Final = {
    "component": {"name": "OCPPCommCtrlr"},
    "variable": {"name": "HeartbeatInterval"},
}
PERSON: Final = {"idToken": "04A224B2", "type": "ISO14443"}


class Ask(NamedTuple):
    """A CALL of the CSMS."""

    action: str
    payload: dict[str, Any]
    leads_to: frozenset[str] = frozenset()  # what the station calls because of it


TELLS: Final = frozenset({"TransactionEvent", "StatusNotification"})
TURN: Final = (
    Ask("GetVariables", {"getVariableData": [VARIABLE]}),
    Ask("SetVariables", {"setVariableData": [{**VARIABLE, "attributeValue": "300"}]}),
    Ask("TriggerMessage", {"requestedMessage": "Heartbeat"}, frozenset({"Heartbeat"})),
    Ask("RequestStartTransaction", {"evseId": 1, "idToken": PERSON}, TELLS),
    Ask("RequestStopTransaction", {}, TELLS),
)
FRAMES: Final = sum(2 + 2 * len(ask.leads_to) for ask in TURN)  # of a turn, in both directions


class Talk:
    """With one station: ask, hear the answer and what follows, ask the next."""

    def __init__(
        self, say: Callable[[str], None], now: Callable[[], datetime], through: Callable[[], None]
    ) -> None:
        """`say` sends a text to the station, `now` is the time, `through` is told of the end."""
        self.frames = 0
        self._say, self._now, self._through = say, now, through
        self._asks: list[Ask] = []  # the next is the last
        self._owed: set[str] = set()
        self._asked = 0
        self._transaction_id = ""

    def begin(self, turns: int) -> None:
        """Talk so many turns, from now on."""
        self._asks = [*reversed(TURN)] * turns
        self._next()

    def heard(self, text: str) -> None:
        """A frame of the station.

        Raises:
            AssertionError: it refuses, or talks of something else.
        """
        self.frames += 1
        kind, message_id, *rest = json.loads(text)
        if kind != 2:
            assert kind == 3, text
            assert '"Accepted"' in text, text
            assert int(message_id) == self._asked, "an answer to something else"
            self._settle("answer")
            return
        action, payload = rest
        if action == "TransactionEvent":
            self._transaction_id = payload["transactionInfo"]["transactionId"]
        self._send([3, message_id, self._answer(action)])
        if self._owed:  # else it has just come, and says what there is
            self._settle(action)

    def _answer(self, action: str) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        if action in ("BootNotification", "Heartbeat"):
            answer = {"currentTime": self._now().isoformat(timespec="milliseconds")}
        if action == "BootNotification":
            answer |= {"interval": 300, "status": "Accepted"}
        return answer

    def _settle(self, what: str) -> None:
        assert what in self._owed, f"{what}, while {sorted(self._owed)} are to come"
        self._owed.remove(what)
        if not self._owed:
            self._next()

    def _next(self) -> None:
        if not self._asks:
            self._through()
            return
        ask = self._asks.pop()
        self._asked += 1
        self._owed = {"answer", *ask.leads_to}
        self._send([2, str(self._asked), ask.action, ask.payload | self._named(ask.action)])

    def _named(self, action: str) -> dict[str, Any]:
        """What is another in every turn."""
        if action == "RequestStartTransaction":
            return {"remoteStartId": self._asked}
        if action == "RequestStopTransaction":
            return {"transactionId": self._transaction_id}
        return {}

    def _send(self, frame: list[Any]) -> None:
        self.frames += 1
        self._say(json.dumps(frame))


class Everybody:
    """The talks with all stations, at the same time."""

    def __init__(self) -> None:
        self._talks: list[Talk] = []
        self._underway = 0
        self._over: Callable[[], None] = lambda: None

    def talk(self, say: Callable[[str], None], now: Callable[[], datetime]) -> Talk:
        """One more."""
        self._talks.append(Talk(say, now, self._one_through))
        return self._talks[-1]

    @property
    def frames(self) -> int:
        """In both directions, until now."""
        return sum(talk.frames for talk in self._talks)

    def begin(self, turns: int, over: Callable[[], None]) -> None:
        """Talk to all of them; `over` is told when the last is through."""
        self._underway, self._over = len(self._talks), over
        for talk in self._talks:
            talk.begin(turns)

    def _one_through(self) -> None:
        self._underway -= 1
        if not self._underway:
            self._over()
