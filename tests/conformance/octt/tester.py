"""The tester: what a test case uses to operate the station, send CALLs and await messages.

A case of Part 6 is a function of one `Tester`, written in the order of the document's steps:

    tester.plug_in()                                                   manual action
    tester.expect_status("step 1", "Occupied")                         message awaited and checked
    tester.send_call("step 3", "Reset", {"type": "OnIdle"}, {...})     CALL of the CSMS, checked

Rules of waiting and consuming:

* The station's messages are consumed. An `expect_...` takes the first message of its kind that
  no earlier expectation took, waiting for it if necessary, and checks it. Messages of other kinds
  stay available, so the order between kinds is not checked, as in the document.
* `discard_received` ends a phase: everything received so far is ignored by later steps.
  `go_offline`, `reset_station` and `power_cycle` do that too.
* `peek_event` returns an event without consuming it. `pending_calls` lists what was not consumed.
* `expect_no_...` waits for a time (the message timeout unless given) and fails on any match.
* Periodic samples (`SAMPLE_TRIGGERS`) are no steps of a case: `expect_event` skips them.
* `expect_event` also checks the rules of §2.1 that hold in all cases, from what the tester did
  in the `Session` of the EVSE: Started first, idToken and remoteStartId once, EVSE and connector.
* `check_counting` at the end of each case checks seqNo over all transactions.

`step` is the document's name of the step; a failure message starts with it. Variables a case sets
are recorded in `bench.original_values`, and the bench sets them back afterwards.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from station.profiles import Profile
from tests.conformance.octt.bench import VALID, Settings, StationBench
from tests.conformance.octt.verify import (
    OMITTED,
    CheckFailed,
    check_fields,
    matches_fields,
    one_of,
    require,
)
from tests.e2e.harness import wait_until
from tests.support.csms import CallErrorReceived, Csms, Frame, Payload

RESPONSE_TIMEOUT_S = 20.0  # limit of the OCPP and the triggered function response time
MANUAL_ACTION_TIMEOUT_S = 30.0  # for messages that follow a manual action: plug, card
SAMPLE_TRIGGERS = ("MeterValuePeriodic", "MeterValueClock")
TOKEN_TYPE = "ISO14443"
TRANSACTION_EVENT = "TransactionEvent"


@dataclass
class Session:
    """What the tester did at one EVSE, and what the station has reported about it."""

    evse_id: int
    id_token: str | None = None  # the token that authorized it
    remote_start_id: int | None = None
    plugged: bool = False
    transaction_id: str | None = None  # of the latest transaction
    is_open: bool = False
    id_token_reported: bool = False
    remote_start_reported: bool = False
    connector_reported: bool = False


@dataclass
class Timings:
    """Measured times in seconds, for the response-time table of the report."""

    triggered: list[float] = field(default_factory=list)
    remote_start: list[float] = field(default_factory=list)
    remote_stop: list[float] = field(default_factory=list)


class Tester:
    """Runs one test case on one bench."""

    __test__ = False  # not a class of pytest's

    OFFLINE_STATUS = HTTPStatus.SERVICE_UNAVAILABLE  # answer to a handshake while "offline"

    def __init__(self, bench: StationBench) -> None:
        self.bench = bench
        self.csms: Csms = bench.csms  # changed by `switch_to`
        self.sessions = {evse.id: Session(evse.id) for evse in bench.profile.evse}
        self.timings = Timings()
        self.start_points: Sequence[str] = bench.profile.transaction.start_points
        self.stop_points: Sequence[str] = bench.profile.transaction.stop_points
        self._consumed_frames: set[int] = set()  # frame numbers
        # Connector reports consumed: (frame number, (evseId, connectorId)).
        self._consumed_reports: set[tuple[int, tuple[int, int]]] = set()
        self.first_relevant_frame = self.csms.next_frame_number()  # earlier frames are ignored
        self._numbers = itertools.count(1)

    # The product.

    @property
    def profile(self) -> Profile:
        return self.bench.profile

    @property
    def settings(self) -> Settings:
        return self.bench.settings

    @property
    def evse_id(self) -> int:
        return self.settings.evse_id

    @property
    def connector_id(self) -> int:
        return self.settings.connector_id

    @property
    def connectors(self) -> list[tuple[int, int]]:
        """(evseId, connectorId) of every connector."""
        return [
            (evse.id, connector.id) for evse in self.profile.evse for connector in evse.connectors
        ]

    def use_points(self, *, start: str = "", stop: str = "") -> None:
        """Configuration state: TxStartPoint or TxStopPoint has this single value, if settable."""
        if start and start not in self.start_points:
            self.configure_variable("TxCtrlr", "TxStartPoint", start)
            self.start_points = (start,)
        if stop and tuple(self.stop_points) != (stop,):
            self.configure_variable("TxCtrlr", "TxStopPoint", stop)
            self.stop_points = (stop,)

    def session_on(self, evse_id: int | None = None) -> Session:
        return self.sessions[evse_id or self.evse_id]

    def next_id(self) -> int:
        """A new number for requestId or remoteStartId."""
        return next(self._numbers)

    # CALLs of the CSMS.

    def send_call(
        self,
        step: str,
        action: str,
        request: Payload | None = None,
        expected: Mapping[str, Any] | None = None,
    ) -> Payload:
        """Send a request, wait for its response and check that.

        Raises:
            CheckFailed: a CALLERROR was received, or a field is not as expected.
        """
        try:
            response = self.csms.call(action, request or {}, RESPONSE_TIMEOUT_S)
        except CallErrorReceived as refusal:
            raise CheckFailed(f"{step}: {action} must be answered, got {refusal}") from None
        check_fields(f"{step} {action}Response", response, expected or {})
        return response

    def expect_call_error(self, step: str, action: str, request: Payload, code: str) -> None:
        """Send a request that must be answered with a CALLERROR of this code."""
        try:
            response = self.csms.call(action, request, RESPONSE_TIMEOUT_S)
        except CallErrorReceived as refusal:
            require(step, refusal.code == code, f"CALLERROR must be {code}, is {refusal.code}")
            return
        raise CheckFailed(f"{step}: {action} must get CALLERROR {code}, got {response}")

    # CALLs of the station.

    def discard_received(self) -> None:
        """Ignore everything received so far in all later steps."""
        self.first_relevant_frame = self.csms.next_frame_number()

    def take_call(
        self,
        step: str,
        action: str,
        predicate: Callable[[Payload], bool] = lambda payload: True,
        timeout_s: float = RESPONSE_TIMEOUT_S,
        description: str = "",
    ) -> Frame:
        """Consume the first message of this action that meets `predicate`; waits for it."""
        since = self.first_relevant_frame
        consumed = self._consumed_frames

        def matches(frame: Frame) -> bool:
            return (
                frame.incoming
                and frame.type == 2  # CALL
                and frame.action == action
                and frame.number not in consumed
                and predicate(frame.payload)
            )

        try:
            frame = self.csms.record.wait_for_frame(
                matches, timeout_s, f"{action} {description}", since
            )
        except TimeoutError as error:
            raise CheckFailed(f"{step}: {error}") from None
        consumed.add(frame.number)
        if action == "BootNotification":  # wait until it is answered: the case may now change that
            response_key = (False, frame.message_id)
            record = self.csms.record
            record.wait_for_frame(
                lambda response: (response.incoming, response.message_id) == response_key,
                RESPONSE_TIMEOUT_S,
                "answer",
                frame.number,
            )
        return frame

    def expect_call(
        self,
        step: str,
        action: str,
        expected: Mapping[str, Any] | None = None,
        *,
        predicate: Callable[[Payload], bool] = lambda payload: True,
        timeout_s: float = RESPONSE_TIMEOUT_S,
    ) -> Payload:
        """Consume the next message of this action and check its fields."""
        frame = self.take_call(step, action, predicate, timeout_s)
        check_fields(f"{step} {action}Request", frame.payload, expected or {})
        return dict(frame.payload)

    def expect_triggered_call(
        self,
        step: str,
        action: str,
        expected: Mapping[str, Any],
        *,
        predicate: Callable[[Payload], bool] = lambda payload: True,
    ) -> Payload:
        """As `expect_call`, for a message the last CALL triggered; its time is in the report."""
        trigger = next(
            frame
            for frame in reversed(self.csms.record.frames)
            if not frame.incoming and frame.type == 2
        )
        frame = self.take_call(step, action, predicate)
        check_fields(f"{step} {action}Request", frame.payload, expected)
        self.timings.triggered.append(frame.monotonic_s - trigger.monotonic_s)
        return dict(frame.payload)

    def pending_calls(
        self, action: str, expected: Mapping[str, Any] | None = None
    ) -> list[Payload]:
        """Messages of this action that were received and not consumed."""
        return [
            frame.payload
            for frame in self.csms.calls_for(action, self.first_relevant_frame)
            if frame.number not in self._consumed_frames
            and matches_fields(frame.payload, expected or {})
        ]

    def expect_no_call(
        self,
        step: str,
        action: str,
        expected: Mapping[str, Any] | None = None,
        wait_s: float | None = None,
    ) -> None:
        """Assert that no such message is received within `wait_s` (None: the message timeout).

        Raises:
            CheckFailed: one was received.
        """
        deadline = time.monotonic() + (
            self.settings.message_timeout_s if wait_s is None else wait_s
        )
        while time.monotonic() < deadline:
            calls = self.pending_calls(action, expected)
            require(step, not calls, f"no {action} may be sent, got {calls[:1]}")
            time.sleep(0.05)

    def expect_no_event(self, step: str, expected: Mapping[str, Any] | None = None) -> None:
        """Assert that no TransactionEvent except samples is received in the message timeout."""
        deadline = time.monotonic() + self.settings.message_timeout_s
        while time.monotonic() < deadline:
            events = [
                event
                for event in self.pending_calls(TRANSACTION_EVENT, expected)
                if event["triggerReason"] not in SAMPLE_TRIGGERS
            ]
            require(step, not events, f"no TransactionEvent may be sent, got {events[:1]}")
            time.sleep(0.05)

    def wait(self, seconds: float) -> None:
        """The step "the test system waits" of the document."""
        time.sleep(seconds)

    # Transactions.

    def expect_event(
        self,
        step: str,
        expected: Mapping[str, Any],
        evse_id: int | None = None,
        timeout_s: float = MANUAL_ACTION_TIMEOUT_S,
    ) -> Payload:
        """Consume the next TransactionEvent of an EVSE that is no sample, and check it.

        Also checks the rules of every case (§2.1): the first event is Started; the first after
        an authorization has the idToken; the first after a remote start has its trigger reason
        and remoteStartId; the first after plugging in has EVSE and connector.
        """
        session = self.session_on(evse_id)
        frame = self.take_call(
            step,
            TRANSACTION_EVENT,
            lambda event: (
                self._belongs_to(session, event) and event["triggerReason"] not in SAMPLE_TRIGGERS
            ),
            timeout_s,
            f"as {dict(expected)}",
        )
        event = dict(frame.payload)
        checks = dict(expected) | self._general_checks(session, event)
        check_fields(f"{step} TransactionEventRequest", event, checks)
        self._update_session(session, event)
        return event

    def peek_event(
        self, step: str, evse_id: int | None = None, timeout_s: float = MANUAL_ACTION_TIMEOUT_S
    ) -> Payload:
        """As `expect_event`, but neither checked nor consumed."""
        session = self.session_on(evse_id)
        frame = self.take_call(
            step,
            TRANSACTION_EVENT,
            lambda event: (
                self._belongs_to(session, event) and event["triggerReason"] not in SAMPLE_TRIGGERS
            ),
            timeout_s,
        )
        self._consumed_frames.discard(frame.number)
        return dict(frame.payload)

    def _belongs_to(self, session: Session, event: Payload) -> bool:
        if session.is_open:
            return bool(event["transactionInfo"]["transactionId"] == session.transaction_id)
        evse_id = event.get("evse", {}).get("id", session.evse_id)
        return bool(event["eventType"] == "Started" and evse_id == session.evse_id)

    def _general_checks(self, session: Session, event: Payload) -> dict[str, Any]:
        checks: dict[str, Any] = {}
        if not session.is_open:
            checks["eventType"] = "Started"
            checks["seqNo"] = 0
        if session.plugged and not session.connector_reported:
            checks["evse.id"] = session.evse_id
            checks["evse.connectorId"] = self.connector_id
        if session.id_token is not None and not session.id_token_reported:
            checks["idToken.idToken"] = session.id_token
            if session.remote_start_id is None:
                checks["idToken.type"] = TOKEN_TYPE
        if session.remote_start_id is not None and not session.remote_start_reported:
            checks["triggerReason"] = "RemoteStart"
            checks["transactionInfo.remoteStartId"] = session.remote_start_id
        return checks

    def _update_session(self, session: Session, event: Payload) -> None:
        session.transaction_id = event["transactionInfo"]["transactionId"]
        session.is_open = event["eventType"] != "Ended"
        session.connector_reported |= "connectorId" in event.get("evse", {})
        session.id_token_reported |= "idToken" in event
        session.remote_start_reported |= "remoteStartId" in event["transactionInfo"]
        if event["eventType"] == "Ended":
            session.id_token, session.remote_start_id = None, None

    def check_counting(self) -> None:
        """§2.1, for every transaction of the bench: seqNo counts from 0 without a gap, the first
        event is Started, none but the last is Ended. The order of arrival is not checked.

        Raises:
            CheckFailed: a number is missing, or an event follows Ended.
        """
        event_types: dict[str, dict[int, str]] = {}
        for frame in self.bench.csms.calls_for(TRANSACTION_EVENT):
            transaction_id = frame.payload["transactionInfo"]["transactionId"]
            event_types.setdefault(transaction_id, {})[frame.payload["seqNo"]] = frame.payload[
                "eventType"
            ]
        for transaction_id, types in event_types.items():
            seq_nos = sorted(types)
            gapless = seq_nos == list(range(len(seq_nos)))
            require(
                "afterwards",
                gapless,
                f"seqNo of {transaction_id} must count from 0 without a gap, are {seq_nos}",
            )
            first, between = types[0], {types[number] for number in seq_nos[1:-1]}
            require(
                "afterwards",
                first == "Started",
                f"{transaction_id} must begin with Started, not {first}",
            )
            require(
                "afterwards",
                between <= {"Updated"},
                f"{transaction_id} has {between} between its first and last event",
            )

    # Connectors.

    def expect_status(
        self,
        step: str,
        status: str,
        evse_id: int | None = None,
        connector_id: int | None = None,
        timeout_s: float = MANUAL_ACTION_TIMEOUT_S,
    ) -> None:
        """The next report of a connector has this AvailabilityState."""
        connector = evse_id or self.evse_id, connector_id or self.connector_id
        deadline = time.monotonic() + timeout_s
        while True:
            for frame in self.csms.record.frames[self.first_relevant_frame :]:
                reported = dict(_reported_statuses(frame)).get(connector)
                if reported is not None and (frame.number, connector) not in self._consumed_reports:
                    self._consumed_reports.add((frame.number, connector))
                    require(
                        step,
                        reported == status,
                        f"connector {connector} must be {status}, is {reported}",
                    )
                    return
            require(
                step,
                time.monotonic() < deadline,
                f"connector {connector} must be reported {status}, no report in {timeout_s:.0f} s",
            )
            time.sleep(0.02)

    def expect_statuses(
        self, step: str, status: str = "Available", *, exceptions: Mapping[int, str] | None = None
    ) -> None:
        """Every connector is reported with `status`, or with that of its EVSE in `exceptions`."""
        for evse_id, connector_id in self.connectors:
            self.expect_status(step, (exceptions or {}).get(evse_id, status), evse_id, connector_id)

    def expect_no_status(self, step: str, wait_s: float, evse_id: int | None = None) -> None:
        """Assert that no connector (of this EVSE) is reported within `wait_s`."""
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            for frame in self.csms.record.frames[self.first_relevant_frame :]:
                for connector, reported in _reported_statuses(frame):
                    if (frame.number, connector) not in self._consumed_reports and evse_id in (
                        None,
                        connector[0],
                    ):
                        raise CheckFailed(
                            f"{step}: connector {connector} may not be reported, is {reported}"
                        )
            time.sleep(0.05)

    # Manual actions.

    def plug_in(self, evse_id: int | None = None, *, ready: bool = True) -> None:
        self.bench.station.request_operation(
            "plug_in", evse_id=evse_id or self.evse_id, ready=ready
        )
        self.session_on(evse_id).plugged = True

    def unplug(self, evse_id: int | None = None) -> None:
        self.bench.station.request_operation("unplug", evse_id=evse_id or self.evse_id)
        session = self.session_on(evse_id)
        session.plugged = False

    def present_id_token(
        self, id_token: str = VALID, evse_id: int | None = None, *, anywhere: bool = False
    ) -> None:
        """Present a card for this EVSE; `anywhere`: for no EVSE in particular."""
        evse = {} if anywhere else {"evse_id": evse_id or self.evse_id}
        self.bench.station.request_operation(
            "present_token", id_token=id_token, type=TOKEN_TYPE, **evse
        )

    def pause_ev(self, evse_id: int | None = None) -> None:
        self.bench.station.request_operation("ev_pause", evse_id=evse_id or self.evse_id)

    def is_power_flowing(self, evse_id: int | None = None) -> bool:
        """Whether power flows in the emulated hardware, whatever the station reports."""
        evse = self.bench.station.read_emulated_evse(evse_id or self.evse_id)
        return bool(evse["contactor"] == "closed" and Decimal(evse["current_a"]) > 0)

    # The link.

    def go_offline(self) -> None:
        """Close the WebSocket and refuse every new connection."""
        self.csms.refuse_with = self.OFFLINE_STATUS
        if self.csms.is_connected:
            self.csms.close_connection()
        self.csms.wait_disconnected(RESPONSE_TIMEOUT_S)
        self.discard_received()

    def go_online(self, timeout_s: float = 60.0) -> None:
        """Accept connections again and wait for one."""
        self.csms.refuse_with = None
        self.csms.wait_connected(timeout_s)

    @contextmanager
    def offline_period(self) -> Iterator[None]:
        self.go_offline()
        yield
        self.go_online()

    def switch_to(self, csms: Csms) -> None:
        """Continue with another CSMS, to which the station has migrated."""
        self.csms = csms
        self.first_relevant_frame = 0
        self._consumed_frames.clear()
        self._consumed_reports.clear()

    # The device model.

    def get_variable(
        self, component: str, variable: str, instance: str | None = None, attribute: str = "Actual"
    ) -> Payload:
        """One getVariableResult."""
        request = {
            "component": {"name": component},
            "variable": _variable_json(variable, instance),
            "attributeType": attribute,
        }
        response = self.send_call("preparation", "GetVariables", {"getVariableData": [request]})
        return dict(response["getVariableResult"][0])

    def read_value(self, component: str, variable: str, instance: str | None = None) -> str:
        """The Actual value.

        Raises:
            CheckFailed: the variable cannot be read.
        """
        result = self.get_variable(component, variable, instance)
        check_fields(f"preparation {component}.{variable}", result, {"attributeStatus": "Accepted"})
        return str(result["attributeValue"])

    def is_implemented(self, component: str, variable: str, instance: str | None = None) -> bool:
        status = self.get_variable(component, variable, instance)["attributeStatus"]
        return status not in ("UnknownComponent", "UnknownVariable")

    def set_variable(
        self, component: str, variable: str, value: str | int | bool, instance: str | None = None
    ) -> str:
        """Set one Actual value and return its attributeStatus; the bench restores the old value."""
        before = self.get_variable(component, variable, instance)
        request = {
            "component": {"name": component},
            "variable": _variable_json(variable, instance),
            "attributeValue": _value_text(value),
        }
        response = self.send_call("preparation", "SetVariables", {"setVariableData": [request]})
        status = str(response["setVariableResult"][0]["attributeStatus"])
        if status in ("Accepted", "RebootRequired") and "attributeValue" in before:
            self.bench.original_values.setdefault(
                (component, variable, instance), before["attributeValue"]
            )
        return status

    def configure_variable(
        self, component: str, variable: str, value: str | int | bool, instance: str | None = None
    ) -> None:
        """Configuration state: set the variable to this value, if it is implemented."""
        current = self.get_variable(component, variable, instance)
        if current["attributeStatus"] in ("UnknownComponent", "UnknownVariable"):
            return
        if current.get("attributeValue") == _value_text(value):
            return
        status = self.set_variable(component, variable, value, instance)
        require(
            f"preparation {component}.{variable}",
            status in ("Accepted", "RebootRequired"),
            f"must become {value}, is {current.get('attributeValue')} and the change was {status}",
        )

    # Booting.

    def reset_station(
        self, step: str = "Booted step 1", kind: str = "Immediate", status: Any = "Accepted"
    ) -> None:
        """Send a ResetRequest for the whole station and check the response."""
        self.discard_received()
        self.send_call(step, "Reset", {"type": kind}, {"status": status})

    def power_cycle(self) -> None:
        """Interrupt the station's supply and restore it."""
        self.discard_received()
        self.bench.station.kill()
        self.csms.wait_disconnected(RESPONSE_TIMEOUT_S)
        self.bench.station.restart()

    def expect_boot_notification(
        self, step: str, expected: Mapping[str, Any] | None = None, timeout_s: float = 60.0
    ) -> Payload:
        return self.expect_call(step, "BootNotification", expected, timeout_s=timeout_s)

    def expect_security_event(
        self, step: str, *kinds: str, timeout_s: float = RESPONSE_TIMEOUT_S
    ) -> None:
        """One of these SecurityEventNotifications is received, possibly among others."""
        self.take_call(
            step,
            "SecurityEventNotification",
            lambda event: event["type"] in kinds,
            timeout_s,
            " or ".join(kinds),
        )

    @property
    def has_open_authorization(self) -> bool:
        """Whether an authorization was not used: it would be active in the next case."""
        return any(
            session.id_token is not None and not session.is_open
            for session in self.sessions.values()
        )

    # Waiting.

    def wait_until(self, condition: Callable[[], object], step: str, description: str) -> None:
        try:
            wait_until(condition, MANUAL_ACTION_TIMEOUT_S, description)
        except TimeoutError as error:
            raise CheckFailed(f"{step}: {error}") from None


def _reported_statuses(frame: Frame) -> Iterator[tuple[tuple[int, int], str]]:
    """(evseId, connectorId) and state of each connector in a message. B04, G01, N07.FR.19."""
    if not frame.incoming or frame.type != 2:
        return
    if frame.action == "StatusNotification":
        report = frame.payload
        yield (report["evseId"], report["connectorId"]), report["connectorStatus"]
    elif frame.action == "NotifyEvent":
        for event in frame.payload["eventData"]:
            component = event["component"]
            if (component["name"], event["variable"]["name"]) == ("Connector", "AvailabilityState"):
                check_fields("NotifyEventRequest", event, {"trigger": "Delta"})
                evse = component["evse"]
                yield (evse["id"], evse["connectorId"]), event["actualValue"]


def _variable_json(name: str, instance: str | None) -> Payload:
    return {"name": name} | ({"instance": instance} if instance else {})


def _value_text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


__all__ = [
    "OMITTED",
    "RESPONSE_TIMEOUT_S",
    "TRANSACTION_EVENT",
    "Session",
    "Tester",
    "Timings",
    "one_of",
]
