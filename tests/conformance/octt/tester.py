"""With what does a test case drive the station, and how does it wait for what the station says?

A case is a function of one `Tester`. Messages of the station are consumed: an expectation takes
the first one of its kind that no earlier expectation took, and checks it. `step` is what the
document calls the step; it opens the message of a failure.
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

RESPONSE_TIMEOUT_S = 20.0  # OCPP response time and triggered function response time, at most
MANUAL_ACTION_TIMEOUT_S = 30.0  # what follows something done by hand: a plug, a card
SAMPLE_TRIGGERS = ("MeterValuePeriodic", "MeterValueClock")
TOKEN_TYPE = "ISO14443"
TRANSACTION_EVENT = "TransactionEvent"


@dataclass
class Session:
    """What the tester did at one EVSE, and what the station made of it."""

    evse_id: int
    id_token: str | None = None  # authorized with
    remote_start_id: int | None = None
    plugged: bool = False
    transaction_id: str | None = None  # of the transaction that began last
    is_open: bool = False
    id_token_reported: bool = False
    remote_start_reported: bool = False
    connector_reported: bool = False


@dataclass
class Timings:
    """Seconds, for the response-time table of the report."""

    triggered: list[float] = field(default_factory=list)
    remote_start: list[float] = field(default_factory=list)
    remote_stop: list[float] = field(default_factory=list)


class Tester:
    """One test case at work on one bench."""

    __test__ = False  # not a class of pytest's

    OFFLINE_STATUS = HTTPStatus.SERVICE_UNAVAILABLE  # what a handshake gets while "offline"

    def __init__(self, bench: StationBench) -> None:
        self.bench = bench
        self.csms: Csms = bench.csms  # the one in use; a migration changes it
        self.sessions = {evse.id: Session(evse.id) for evse in bench.profile.evse}
        self.timings = Timings()
        self.start_points: Sequence[str] = bench.profile.transaction.start_points
        self.stop_points: Sequence[str] = bench.profile.transaction.stop_points
        self._consumed_frames: set[int] = set()  # frame numbers
        self._consumed_reports: set[tuple[int, tuple[int, int]]] = (
            set()
        )  # reports taken, by frame and place
        self.first_relevant_frame = (
            self.csms.next_frame_number()
        )  # what came before concerns nobody
        self._numbers = itertools.count(1)

    # What is known of the product.

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
        return [(evse.id, one.id) for evse in self.profile.evse for one in evse.connectors]

    def use_points(self, *, start: str = "", stop: str = "") -> None:
        """Configuration state: TxStartPoint or TxStopPoint is only this, if it can be set."""
        if start and start not in self.start_points:
            self.configure_variable("TxCtrlr", "TxStartPoint", start)
            self.start_points = (start,)
        if stop and tuple(self.stop_points) != (stop,):
            self.configure_variable("TxCtrlr", "TxStopPoint", stop)
            self.stop_points = (stop,)

    def session_on(self, evse_id: int | None = None) -> Session:
        return self.sessions[evse_id or self.evse_id]

    def next_id(self) -> int:
        """For requestId and remoteStartId."""
        return next(self._numbers)

    # What the CSMS says.

    def send_call(
        self,
        step: str,
        action: str,
        request: Payload | None = None,
        expected: Mapping[str, Any] | None = None,
    ) -> Payload:
        """Send a request, wait for its response and verify that.

        Raises:
            Failure: a CALLERROR, or a field is not as expected.
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

    # What the station says.

    def discard_received(self) -> None:
        """Whatever was said up to now concerns no later step."""
        self.first_relevant_frame = self.csms.next_frame_number()

    def take_call(
        self,
        step: str,
        action: str,
        predicate: Callable[[Payload], bool] = lambda payload: True,
        timeout_s: float = RESPONSE_TIMEOUT_S,
        description: str = "",
    ) -> Frame:
        """The first message of this action that is wanted and was not taken yet."""
        since = self.first_relevant_frame
        taken = self._consumed_frames

        def is_it(frame: Frame) -> bool:
            return (
                frame.incoming
                and frame.type == 2  # CALL
                and frame.action == action
                and frame.number not in taken
                and predicate(frame.payload)
            )

        try:
            frame = self.csms.record.wait_for_frame(
                is_it, timeout_s, f"{action} {description}", since
            )
        except TimeoutError as error:
            raise CheckFailed(f"{step}: {error}") from None
        taken.add(frame.number)
        if action == "BootNotification":  # before a case changes what the CSMS answers
            answer = (False, frame.message_id)
            record = self.csms.record
            record.wait_for_frame(
                lambda each: (each.incoming, each.message_id) == answer,
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
        """The next message of this action, verified."""
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
        """As `expect`, for what a request just made asked for: its time counts in the report."""
        asked = next(
            frame
            for frame in reversed(self.csms.record.frames)
            if not frame.incoming and frame.type == 2
        )
        frame = self.take_call(step, action, predicate)
        check_fields(f"{step} {action}Request", frame.payload, expected)
        self.timings.triggered.append(frame.monotonic_s - asked.monotonic_s)
        return dict(frame.payload)

    def pending_calls(
        self, action: str, expected: Mapping[str, Any] | None = None
    ) -> list[Payload]:
        """Messages of this action that were said and not taken yet."""
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
        """Nothing of this kind comes, for as long as the message timeout.

        Raises:
            Failure: it came.
        """
        deadline = time.monotonic() + (
            self.settings.message_timeout_s if wait_s is None else wait_s
        )
        while time.monotonic() < deadline:
            found = self.pending_calls(action, expected)
            require(step, not found, f"no {action} may come, came {found[:1]}")
            time.sleep(0.05)

    def expect_no_event(self, step: str, expected: Mapping[str, Any] | None = None) -> None:
        """No TransactionEvent comes but samples."""
        deadline = time.monotonic() + self.settings.message_timeout_s
        while time.monotonic() < deadline:
            found = [
                event
                for event in self.pending_calls(TRANSACTION_EVENT, expected)
                if event["triggerReason"] not in SAMPLE_TRIGGERS
            ]
            require(step, not found, f"no TransactionEvent may come, came {found[:1]}")
            time.sleep(0.05)

    def wait(self, seconds: float) -> None:
        """The document says: the test system waits."""
        time.sleep(seconds)

    # Transactions.

    def expect_event(
        self,
        step: str,
        expected: Mapping[str, Any],
        evse_id: int | None = None,
        timeout_s: float = MANUAL_ACTION_TIMEOUT_S,
    ) -> Payload:
        """The next TransactionEvent of an EVSE's transaction that is no sample, verified.

        Also checks what holds for every case (§2.1): the first event is Started, the first after
        an idToken carries it, the first after a remote start says so, and the EVSE is told.
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
        verified = dict(expected) | self._general_checks(session, event)
        check_fields(f"{step} TransactionEventRequest", event, verified)
        self._update_session(session, event)
        return event

    def peek_event(
        self, step: str, evse_id: int | None = None, timeout_s: float = MANUAL_ACTION_TIMEOUT_S
    ) -> Payload:
        """The next TransactionEvent that is no sample, of an EVSE's transaction, left untaken."""
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
        told = event.get("evse", {}).get("id", session.evse_id)
        return bool(event["eventType"] == "Started" and told == session.evse_id)

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
        """§2.1, for every transaction of the bench: its first event is Started, its last, if that
        has come, is Ended, and seqNo counts from 0 on. In which order they came is not asked.

        Raises:
            Failure: a number is missing, or something came behind Ended.
        """
        told: dict[str, dict[int, str]] = {}
        for frame in self.bench.csms.calls_for(TRANSACTION_EVENT):
            name = frame.payload["transactionInfo"]["transactionId"]
            told.setdefault(name, {})[frame.payload["seqNo"]] = frame.payload["eventType"]
        for name, kinds in told.items():
            numbers = sorted(kinds)
            gapless = numbers == list(range(len(numbers)))
            require("afterwards", gapless, f"seqNo of {name} must count on from 0, are {numbers}")
            first, between = kinds[0], {kinds[number] for number in numbers[1:-1]}
            require(
                "afterwards", first == "Started", f"{name} must begin with Started, not {first}"
            )
            require("afterwards", between <= {"Updated"}, f"{name} has {between} in its middle")

    # Connectors.

    def expect_status(
        self,
        step: str,
        status: str,
        evse_id: int | None = None,
        connector_id: int | None = None,
        timeout_s: float = MANUAL_ACTION_TIMEOUT_S,
    ) -> None:
        """The next report of a connector says this AvailabilityState."""
        where = evse_id or self.evse_id, connector_id or self.connector_id
        deadline = time.monotonic() + timeout_s
        while True:
            for frame in self.csms.record.frames[self.first_relevant_frame :]:
                told = dict(_reported_statuses(frame)).get(where)
                if told is not None and (frame.number, where) not in self._consumed_reports:
                    self._consumed_reports.add((frame.number, where))
                    require(step, told == status, f"connector {where} must be {status}, is {told}")
                    return
            require(
                step,
                time.monotonic() < deadline,
                f"connector {where} must be reported {status}, nothing came in {timeout_s:.0f} s",
            )
            time.sleep(0.02)

    def expect_statuses(
        self, step: str, status: str = "Available", *, exceptions: Mapping[int, str] | None = None
    ) -> None:
        """Every connector is reported; those of the EVSEs in `but` with another state."""
        for evse_id, connector_id in self.connectors:
            self.expect_status(step, (exceptions or {}).get(evse_id, status), evse_id, connector_id)

    def expect_no_status(self, step: str, wait_s: float, evse_id: int | None = None) -> None:
        """No connector (of an EVSE) is reported for a while."""
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            for frame in self.csms.record.frames[self.first_relevant_frame :]:
                for where, told in _reported_statuses(frame):
                    if (frame.number, where) not in self._consumed_reports and evse_id in (
                        None,
                        where[0],
                    ):
                        raise CheckFailed(
                            f"{step}: connector {where} may not be reported, is {told}"
                        )
            time.sleep(0.05)

    # Hands.

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
        """A card at the reader, meant for this EVSE; `anywhere`: wherever the cable goes then."""
        meant = {} if anywhere else {"evse_id": evse_id or self.evse_id}
        self.bench.station.request_operation(
            "present_token", id_token=id_token, type=TOKEN_TYPE, **meant
        )

    def pause_ev(self, evse_id: int | None = None) -> None:
        self.bench.station.request_operation("ev_pause", evse_id=evse_id or self.evse_id)

    def is_power_flowing(self, evse_id: int | None = None) -> bool:
        """What is really so, by the emulated world: not what the station says."""
        world = self.bench.station.read_emulated_evse(evse_id or self.evse_id)
        return bool(world["contactor"] == "closed" and Decimal(world["current_a"]) > 0)

    # The link.

    def go_offline(self) -> None:
        """Close the WebSocket and accept no other."""
        self.csms.refuse_with = self.OFFLINE_STATUS
        if self.csms.is_connected:
            self.csms.close_connection()
        self.csms.wait_disconnected(RESPONSE_TIMEOUT_S)
        self.discard_received()

    def go_online(self, timeout_s: float = 60.0) -> None:
        """Accept the next attempt to connect, and wait for it."""
        self.csms.refuse_with = None
        self.csms.wait_connected(timeout_s)

    @contextmanager
    def offline_period(self) -> Iterator[None]:
        self.go_offline()
        yield
        self.go_online()

    def switch_to(self, csms: Csms) -> None:
        """Go on with another CSMS: the station moved there."""
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
            Failure: it cannot be had.
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
        """SetVariables of one Actual value; gives the attributeStatus and keeps the old value."""
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
        """Configuration state: the variable has this value, if it is implemented."""
        now = self.get_variable(component, variable, instance)
        if now["attributeStatus"] in ("UnknownComponent", "UnknownVariable"):
            return
        if now.get("attributeValue") == _value_text(value):
            return
        status = self.set_variable(component, variable, value, instance)
        require(
            f"preparation {component}.{variable}",
            status in ("Accepted", "RebootRequired"),
            f"must become {value}, is {now.get('attributeValue')} and the change was {status}",
        )

    # Booting.

    def reset_station(
        self, step: str = "Booted step 1", kind: str = "Immediate", status: Any = "Accepted"
    ) -> None:
        """A ResetRequest for the whole station, and its answer."""
        self.discard_received()
        self.send_call(step, "Reset", {"type": kind}, {"status": status})

    def power_cycle(self) -> None:
        """Take the station's supply away, and give it back."""
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
        """One of these SecurityEventNotifications comes, among others perhaps."""
        self.take_call(
            step,
            "SecurityEventNotification",
            lambda event: event["type"] in kinds,
            timeout_s,
            " or ".join(kinds),
        )

    @property
    def has_open_authorization(self) -> bool:
        """Whether somebody was let in and never plugged in: the next case would inherit that."""
        return any(
            session.id_token is not None and not session.is_open
            for session in self.sessions.values()
        )

    # Whatever takes time.

    def wait_until(self, condition: Callable[[], object], step: str, description: str) -> None:
        try:
            wait_until(condition, MANUAL_ACTION_TIMEOUT_S, description)
        except TimeoutError as error:
            raise CheckFailed(f"{step}: {error}") from None


def _reported_statuses(frame: Frame) -> Iterator[tuple[tuple[int, int], str]]:
    """(evseId, connectorId) and state of each connector a message reports. B04, G01, N07.FR.19."""
    if not frame.incoming or frame.type != 2:
        return
    if frame.action == "StatusNotification":
        told = frame.payload
        yield (told["evseId"], told["connectorId"]), told["connectorStatus"]
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
