"""Floods of requests and cards: state and work per entry stay bounded, and the station answers.

The core alone: `decide` for each observation, without disk and network. The CSMS answers the calls
of the station, or never does; both are a flood of their own kind. FLOODS=all presents 100,000
different cards, ten times as many.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, Final

import msgspec
import pytest

from journal.events import Entry, IdToken, Observation
from journal.observations import FrameReceived, FrameSent, IdTokenPresented
from journal.projections.pending_replies import CallResultQueued
from journal.state import encode_state
from station.core.decide import decide
from station.core.desired import compute_desired_state
from tests.support.story import (
    ALICE,
    HOST_TIME,
    NOON,
    ONLINE,
    accept_everything,
    cable_plugged,
    given,
    in_transaction,
)

STATE_BYTES_MAX: Final = 512 * 1024  # encoded; the cache of 1,000 idTokens is most of it
CARDS: Final = 100_000 if os.environ.get("FLOODS") == "all" else 10_000
SLOWER_MAX: Final = 4  # times: an entry at the end of a flood against one at its begin


class FloodedStation:
    """A station that is decided one observation after the other, 20 ms apart."""

    def __init__(self, *, csms_answers: bool, profile_name: str = "evs-flash-300") -> None:
        station = given(ONLINE, in_transaction(1), cable_plugged(2), profile_name=profile_name)
        self.product, self.state = station.product, station.state
        self.seq, self.uptime_ms = len(station.entries), station.uptime_ms
        self.csms_answers = csms_answers
        self.answers: list[dict[str, Any]] = []  # responses to requests of the CSMS
        self._sent: set[str] = set()
        self._csms_calls = itertools.count(1)

    def observe(self, observation: Observation) -> None:
        self.uptime_ms += 20
        self._decide(observation)
        while (due := self._find_unsent()) is not None:
            message_id, action = due
            self._decide(FrameSent(message_id))
            if action and self.csms_answers:
                answer = accept_everything(action, {"idToken": {}}) or {}
                now = NOON.isoformat()
                body = {key: now if value == HOST_TIME else value for key, value in answer.items()}
                self._decide(_frame([3, message_id, body]))

    def call(self, action: str, **payload: Any) -> dict[str, Any]:
        """A CALL of the CSMS, and the station's response."""
        count = len(self.answers)
        self.observe(_frame([2, f"flood-{next(self._csms_calls)}", action, payload]))
        assert len(self.answers) == count + 1, f"{action} was not answered"
        return self.answers[-1]

    def _decide(self, observation: Observation) -> None:
        at = NOON + timedelta(milliseconds=self.uptime_ms)
        entry = Entry(self.seq + 1, at, self.uptime_ms, observation)
        entries, self.state = decide(self.product, self.state, entry)
        self.seq = entries[-1].seq
        self.last_entry = entries[-1]
        for decided in entries:
            if isinstance(decided.event, CallResultQueued):
                self.answers.append(json.loads(bytes(decided.event.payload)))

    def _find_unsent(self) -> tuple[str, str] | None:
        """messageId and action (empty for an answer) of what may be sent now."""
        desired = compute_desired_state(self.product, self.state, self.last_entry)
        if desired.replies:
            return desired.replies[0].message_id, ""
        call = desired.call
        if call is None or call.message_id in self._sent:
            return None
        self._sent = {call.message_id}
        return call.message_id, call.action


def _frame(parts: list[Any]) -> FrameReceived:
    return FrameReceived(msgspec.Raw(json.dumps(parts).encode()))


def run_flood(station: FloodedStation, rounds: Iterable[None], *, count: int) -> None:
    """Check the size of the state, and that the last entries cost no more than the first ones."""
    tenth = count // 10
    seconds: list[float] = []
    began = time.process_time()
    for number, _ in enumerate(rounds, 1):
        if number % tenth == 0:
            seconds.append(time.process_time() - began)
            began = time.process_time()
            assert len(encode_state(station.state)) < STATE_BYTES_MAX, f"after {number}"
    assert len(seconds) == 10
    # The second tenth: in the first one queues and caches fill up.
    assert seconds[-1] < SLOWER_MAX * seconds[1] + 0.5, f"seconds per tenth: {seconds}"


def assert_responsive(station: FloodedStation) -> None:
    response = station.call(
        "GetVariables",
        getVariableData=[{"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "Active"}}],
    )
    assert len(response["getVariableResult"]) == 1
    assert not station.state.health.failed_rule


TRIGGERS: Final = (
    {"requestedMessage": "StatusNotification"},
    {"requestedMessage": "StatusNotification", "evse": {"id": 1, "connectorId": 1}},
    {"requestedMessage": "MeterValues"},
    {"requestedMessage": "MeterValues", "evse": {"id": 2}},
    {"requestedMessage": "TransactionEvent"},
    {"requestedMessage": "Heartbeat"},
    {"requestedMessage": "LogStatusNotification"},
    {"requestedMessage": "FirmwareStatusNotification"},
    {"requestedMessage": "BootNotification"},
)


@pytest.mark.parametrize("csms_answers", [True, False], ids=["answered", "never answered"])
def test_a_storm_of_triggers_is_bounded_p6_f06(csms_answers: bool) -> None:
    station, count = FloodedStation(csms_answers=csms_answers), 3_000

    def trigger() -> Iterator[None]:
        for number in range(count):
            response = station.call("TriggerMessage", **TRIGGERS[number % len(TRIGGERS)])
            assert response["status"] in ("Accepted", "Rejected", "NotImplemented")
            yield

    run_flood(station, trigger(), count=count)
    assert_responsive(station)


@pytest.mark.parametrize("csms_answers", [True, False], ids=["answered", "never answered"])
def test_3_000_remote_starts_are_bounded_p6_f01(csms_answers: bool) -> None:
    station, count = FloodedStation(csms_answers=csms_answers), 3_000

    def start() -> Iterator[None]:
        for number in range(count):
            response = station.call(
                "RequestStartTransaction",
                evseId=number % 2 + 1,
                remoteStartId=number,
                idToken={"idToken": f"#remote{number}", "type": "Central"},
            )
            assert response["status"] in ("Accepted", "Rejected")
            yield

    run_flood(station, start(), count=count)
    assert len(station.state.authorizations.active) <= 3
    assert_responsive(station)


@pytest.mark.parametrize("csms_answers", [True, False], ids=["answered", "never answered"])
def test_different_cards_are_bounded_p6_c01(csms_answers: bool) -> None:
    station, count = FloodedStation(csms_answers=csms_answers), CARDS

    def present() -> Iterator[None]:
        for number in range(count):
            token = IdToken(ref=f"#{number:016x}", type="ISO14443")
            station.observe(IdTokenPresented(token, number % 3 or None))
            yield

    run_flood(station, present(), count=count)
    assert len(station.state.auth_cache.entries) <= 1_000
    assert_responsive(station)
    assert station.state.transactions.on_evse(1) is not None
    assert station.state.transactions.open[0].id_token == ALICE
