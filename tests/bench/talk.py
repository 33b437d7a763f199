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
ID_TOKEN: Final = {"idToken": "04A224B2", "type": "ISO14443"}


class CsmsCall(NamedTuple):
    """A CALL of the CSMS."""

    action: str
    payload: dict[str, Any]
    follow_up_actions: frozenset[str] = frozenset()  # what the station calls because of it


SESSION_CALLS: Final = frozenset({"TransactionEvent", "StatusNotification"})
TALK_CALLS: Final = (
    CsmsCall("GetVariables", {"getVariableData": [VARIABLE]}),
    CsmsCall("SetVariables", {"setVariableData": [{**VARIABLE, "attributeValue": "300"}]}),
    CsmsCall("TriggerMessage", {"requestedMessage": "Heartbeat"}, frozenset({"Heartbeat"})),
    CsmsCall("RequestStartTransaction", {"evseId": 1, "idToken": ID_TOKEN}, SESSION_CALLS),
    CsmsCall("RequestStopTransaction", {}, SESSION_CALLS),
)
FRAMES_PER_TALK: Final = sum(
    2 + 2 * len(ask.follow_up_actions) for ask in TALK_CALLS
)  # of a turn, in both directions


class Talk:
    """With one station: ask, hear the answer and what follows, ask the next."""

    def __init__(
        self,
        send_text: Callable[[str], None],
        now: Callable[[], datetime],
        on_finished: Callable[[], None],
    ) -> None:
        """`say` sends a text to the station, `now` is the time, `through` is told of the end."""
        self.frames = 0
        self._send_text, self._now, self._on_finished = send_text, now, on_finished
        self._remaining_calls: list[CsmsCall] = []  # the next is the last
        self._expected: set[str] = set()
        self._call_count = 0
        self._transaction_id = ""

    def start_rounds(self, rounds: int) -> None:
        """Talk so many turns, from now on."""
        self._remaining_calls = [*reversed(TALK_CALLS)] * rounds
        self._send_next_call()

    def on_frame(self, text: str) -> None:
        """A frame of the station.

        Raises:
            AssertionError: it refuses, or talks of something else.
        """
        self.frames += 1
        kind, message_id, *rest = json.loads(text)
        if kind != 2:
            assert kind == 3, text
            assert '"Accepted"' in text, text
            assert int(message_id) == self._call_count, "an answer to something else"
            self._mark_received("answer")
            return
        action, payload = rest
        if action == "TransactionEvent":
            self._transaction_id = payload["transactionInfo"]["transactionId"]
        self._send_frame([3, message_id, self._response_payload(action)])
        if self._expected:  # else it has just come, and says what there is
            self._mark_received(action)

    def _response_payload(self, action: str) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        if action in ("BootNotification", "Heartbeat"):
            answer = {"currentTime": self._now().isoformat(timespec="milliseconds")}
        if action == "BootNotification":
            answer |= {"interval": 300, "status": "Accepted"}
        return answer

    def _mark_received(self, received: str) -> None:
        assert received in self._expected, f"{received}, while {sorted(self._expected)} are to come"
        self._expected.remove(received)
        if not self._expected:
            self._send_next_call()

    def _send_next_call(self) -> None:
        if not self._remaining_calls:
            self._on_finished()
            return
        ask = self._remaining_calls.pop()
        self._call_count += 1
        self._expected = {"answer", *ask.follow_up_actions}
        self._send_frame(
            [2, str(self._call_count), ask.action, ask.payload | self._round_fields(ask.action)]
        )

    def _round_fields(self, action: str) -> dict[str, Any]:
        """What is another in every turn."""
        if action == "RequestStartTransaction":
            return {"remoteStartId": self._call_count}
        if action == "RequestStopTransaction":
            return {"transactionId": self._transaction_id}
        return {}

    def _send_frame(self, frame: list[Any]) -> None:
        self.frames += 1
        self._send_text(json.dumps(frame))


class TalkGroup:
    """The talks with all stations, at the same time."""

    def __init__(self) -> None:
        self._talks: list[Talk] = []
        self._running_count = 0
        self._on_finished: Callable[[], None] = lambda: None

    def add_talk(self, send_text: Callable[[str], None], now: Callable[[], datetime]) -> Talk:
        """One more."""
        self._talks.append(Talk(send_text, now, self._on_talk_finished))
        return self._talks[-1]

    @property
    def frame_count(self) -> int:
        """In both directions, until now."""
        return sum(talk.frames for talk in self._talks)

    def start_rounds(self, rounds: int, on_finished: Callable[[], None]) -> None:
        """Talk to all of them; `over` is told when the last is through."""
        self._running_count, self._on_finished = len(self._talks), on_finished
        for talk in self._talks:
            talk.start_rounds(rounds)

    def _on_talk_finished(self) -> None:
        self._running_count -= 1
        if not self._running_count:
            self._on_finished()
