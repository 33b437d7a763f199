"""The messages that a CSMS exchanges with each of many stations in one process, ours or the peer's.

Plain functions without an event loop, so that the same code drives both. Nothing of the station is
imported, because the peer's program uses this module too.
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
    follow_up_actions: frozenset[str] = frozenset()  # CALLs of the station that follow


SESSION_CALLS: Final = frozenset({"TransactionEvent", "StatusNotification"})
EXCHANGE_CALLS: Final = (
    CsmsCall("GetVariables", {"getVariableData": [VARIABLE]}),
    CsmsCall("SetVariables", {"setVariableData": [{**VARIABLE, "attributeValue": "300"}]}),
    CsmsCall("TriggerMessage", {"requestedMessage": "Heartbeat"}, frozenset({"Heartbeat"})),
    CsmsCall("RequestStartTransaction", {"evseId": 1, "idToken": ID_TOKEN}, SESSION_CALLS),
    CsmsCall("RequestStopTransaction", {}, SESSION_CALLS),
)
FRAMES_PER_ROUND: Final = sum(
    2 + 2 * len(call.follow_up_actions) for call in EXCHANGE_CALLS
)  # in both directions


class Exchange:
    """Rounds of `EXCHANGE_CALLS` with one station: call, response, follow-up CALLs, next call."""

    def __init__(
        self,
        send_text: Callable[[str], None],
        now: Callable[[], datetime],
        on_finished: Callable[[], None],
    ) -> None:
        """`send_text` sends a frame to the station; `on_finished` follows the last round."""
        self.frames = 0
        self._send_text, self._now, self._on_finished = send_text, now, on_finished
        self._remaining_calls: list[CsmsCall] = []  # the next is at the end
        self._expected: set[str] = set()
        self._call_count = 0
        self._transaction_id = ""

    def start_rounds(self, rounds: int) -> None:
        """Start this number of rounds."""
        self._remaining_calls = [*reversed(EXCHANGE_CALLS)] * rounds
        self._send_next_call()

    def on_frame(self, text: str) -> None:
        """Process a frame of the station.

        Raises:
            AssertionError: the station refuses, or sends something unexpected.
        """
        self.frames += 1
        kind, message_id, *rest = json.loads(text)
        if kind != 2:
            assert kind == 3, text
            assert '"Accepted"' in text, text
            assert int(message_id) == self._call_count, (
                f"response to {message_id}, not {self._call_count}"
            )
            self._mark_received("response")
            return
        action, payload = rest
        if action == "TransactionEvent":
            self._transaction_id = payload["transactionInfo"]["transactionId"]
        self._send_frame([3, message_id, self._response_payload(action)])
        if self._expected:  # otherwise a CALL of the boot
            self._mark_received(action)

    def _response_payload(self, action: str) -> dict[str, Any]:
        response: dict[str, Any] = {}
        if action in ("BootNotification", "Heartbeat"):
            response = {"currentTime": self._now().isoformat(timespec="milliseconds")}
        if action == "BootNotification":
            response |= {"interval": 300, "status": "Accepted"}
        return response

    def _mark_received(self, received: str) -> None:
        assert received in self._expected, (
            f"{received}, while {sorted(self._expected)} are expected"
        )
        self._expected.remove(received)
        if not self._expected:
            self._send_next_call()

    def _send_next_call(self) -> None:
        if not self._remaining_calls:
            self._on_finished()
            return
        call = self._remaining_calls.pop()
        self._call_count += 1
        self._expected = {"response", *call.follow_up_actions}
        self._send_frame(
            [2, str(self._call_count), call.action, call.payload | self._round_fields(call.action)]
        )

    def _round_fields(self, action: str) -> dict[str, Any]:
        """Fields that differ in every round."""
        if action == "RequestStartTransaction":
            return {"remoteStartId": self._call_count}
        if action == "RequestStopTransaction":
            return {"transactionId": self._transaction_id}
        return {}

    def _send_frame(self, frame: list[Any]) -> None:
        self.frames += 1
        self._send_text(json.dumps(frame))


class ExchangeGroup:
    """The exchanges with all stations, concurrently."""

    def __init__(self) -> None:
        self._exchanges: list[Exchange] = []
        self._running_count = 0
        self._on_finished: Callable[[], None] = lambda: None

    def add_exchange(
        self, send_text: Callable[[str], None], now: Callable[[], datetime]
    ) -> Exchange:
        """The exchange with one more station."""
        self._exchanges.append(Exchange(send_text, now, self._on_exchange_finished))
        return self._exchanges[-1]

    @property
    def frame_count(self) -> int:
        """Frames in both directions so far."""
        return sum(exchange.frames for exchange in self._exchanges)

    def start_rounds(self, rounds: int, on_finished: Callable[[], None]) -> None:
        """Start rounds with all stations; `on_finished` is called after the last."""
        self._running_count, self._on_finished = len(self._exchanges), on_finished
        for exchange in self._exchanges:
            exchange.start_rounds(rounds)

    def _on_exchange_finished(self) -> None:
        self._running_count -= 1
        if not self._running_count:
            self._on_finished()
