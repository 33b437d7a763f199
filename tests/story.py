"""How does a test tell a story: given the past, when this, then that?

A `Station` here is the judgement core alone, driven as the scribe drives it: an observation
becomes entries, the entries become the memory, and what is wanted follows. Whatever is sent is
reported as sent. After every observation it is checked what must hold in every story:

* the entries alone give the same memory again, and it survives being written and read;
* every payload fits the official schema; every TransactionEvent counts on by one;
* at most one call is in flight; every CALL of the CSMS gets one answer;
* no transaction message is lost: it waits, is parked, or was delivered;
* nothing is due that the alarm does not know of, and nothing is due for ever.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, Final, TypeVar, cast

import jsonschema
import msgspec

from journal.observations import (
    CableReported,
    ContactorReported,
    CsmsConfigured,
    DeadlineReached,
    DeviceFaulted,
    DeviceRecovered,
    Flow,
    FlowReported,
    FrameReceived,
    FrameSent,
    IdTokenPresented,
    LinkClosed,
    LinkOpened,
    MeterRead,
    StationStarted,
    VariablePreset,
)
from journal.projections.outbox import (
    AttemptFailed,
    CallAttempted,
    CallDelivered,
    CallParked,
    CallQueued,
    CallsDropped,
    InFlight,
    RetryRequested,
)
from journal.projections.replies import CallAnswered, CallRefused
from journal.projections.transactions import Transaction
from journal.state import State, decode_state, encode_state, evolve
from journal.terms import Decision, Entry, Event, IdToken, Observation
from station import ocppj
from station.case import Product
from station.decide import judge
from station.devicemodel import DeviceModel
from station.messages import timestamp
from station.profiles import load
from station.wanted import Wanted, wanted
from tests.messages.schemas import schema_of

JOURNAL_ID: Final = "7f0c5b0e-6b5e-4d53-9c3a-0a2c6ad1c9f1"
NOON: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

SERVED_MAX: Final = 5_000  # calls in a row without time passing
HOST_TIME: Final = "the host's"  # in an answer: a CSMS whose clock runs as the host's does

Json = dict[str, Any]
Csms = Callable[[str, Json], Json | None]  # action and payload to an answer; None: silence
Step = Observation | Callable[["Station"], list[Decision]]
D = TypeVar("D", bound=Event)


def _json(payload: msgspec.Raw) -> Json:
    return cast(Json, json.loads(bytes(payload)))


def token(name: str, type: str = "ISO14443") -> IdToken:
    """The reference a token of that name would have, readable in a transcript."""
    return IdToken(ref=f"#{name}", type=type)


ALICE: Final = token("alice")
BOB: Final = token("bob")
FAMILY: Final = token("family", "Central")  # a group

EVSES: Final = ((1, (1,)), (2, (1,)))


@cache
def product(name: str = "development") -> Product:
    profile = load(name)
    return Product(profile, DeviceModel(profile))


# --- The CSMS ------------------------------------------------------------------------------------


def accepting(action: str, payload: Json) -> Json | None:
    """A CSMS that likes everything."""
    friendly = _FRIENDLY.get(action)
    return friendly(payload) if friendly else {}


def _boot_accepted(payload: Json) -> Json:
    return {"currentTime": HOST_TIME, "interval": 300, "status": "Accepted"}


def _token_accepted(payload: Json) -> Json:
    return {"idTokenInfo": {"status": "Accepted"}}


def _event_answered(payload: Json) -> Json:
    return _token_accepted(payload) if "idToken" in payload else {}


_FRIENDLY: Final[dict[str, Callable[[Json], Json]]] = {
    "BootNotification": _boot_accepted,
    "Heartbeat": lambda payload: {"currentTime": HOST_TIME},
    "Authorize": _token_accepted,
    "TransactionEvent": _event_answered,
}


def silent(action: str, payload: Json) -> Json | None:
    """A CSMS that never answers anything but the boot."""
    return _boot_accepted(payload) if action == "BootNotification" else None


# --- The station ---------------------------------------------------------------------------------


class Station:
    """The judgement core of one station, its journal, and a clock that only tests move."""

    def __init__(self, of: Product) -> None:
        self.product = of
        self.entries: list[Entry] = []
        self.state = State(JOURNAL_ID)
        self.level = Wanted()
        self.host_at = NOON
        self.uptime_ms = 60_000
        self.checks = Checks()
        self.sent: set[str] = set()
        self.calls = 0

    def when(self, *steps: Step) -> list[Decision]:
        """What is decided because of these steps, one after the other."""
        decisions: list[Decision] = []
        for step in steps:
            decisions += self._observed(step) if isinstance(step, Observation) else step(self)
        return decisions

    def with_csms(self, csms: Csms, *steps: Step) -> list[Decision]:
        """As `when`, while a CSMS answers every call."""
        decisions: list[Decision] = []
        for step in steps:
            decisions += self.when(step)
            decisions += self.served(csms)
        return decisions

    def served(self, csms: Csms) -> list[Decision]:
        """Let the CSMS answer until nothing is in flight, or it falls silent."""
        decisions: list[Decision] = []
        for _ in range(SERVED_MAX):
            flight = self.in_flight
            answer = csms(flight.action, self.payload(flight.call)) if flight else None
            if answer is None:
                return decisions
            decisions += self.when(answered(**answer))
        raise AssertionError(f"a station that never stops talking: {self.in_flight}")

    def payload(self, call: int) -> Json:
        """What the call of that number says."""
        queued = self.entries[call - 1].event
        assert isinstance(queued, CallQueued), queued
        return _json(queued.payload)

    @property
    def in_flight(self) -> InFlight | None:
        return self.state.outbox.in_flight if self.state.links.online else None

    @property
    def transaction(self) -> Transaction:
        """The one transaction that is open."""
        [one] = self.state.transactions.open
        return one

    @property
    def at(self) -> datetime:
        """The station's wall clock."""
        return self.host_at + timedelta(milliseconds=self.state.clock.offset_ms)

    def passes(self, milliseconds: int) -> None:
        self.host_at += timedelta(milliseconds=milliseconds)
        self.uptime_ms += milliseconds

    def _observed(self, observation: Observation) -> list[Decision]:
        decisions = self.judged(observation)
        while self.state.links.online and (message_id := self._unsent()):
            self.sent.add(message_id)
            decisions += self.judged(FrameSent(message_id))
        return decisions

    def judged(self, observation: Observation) -> list[Decision]:
        """One observation, as the scribe commits it."""
        entry = Entry(len(self.entries) + 1, self.at, self.uptime_ms, observation)
        before = self.state
        entries, self.state = judge(self.product, before, entry)
        self.entries += entries
        self.level = wanted(self.product, self.state, entries[-1])
        self.checks(before, entries, self.state, self.level)
        return [cast(Decision, settled.event) for settled in entries[1:]]

    def _unsent(self) -> str | None:
        """A frame that may go out and has not been reported as sent."""
        if self.level.replies:
            return self.level.replies[0].message_id
        call = self.level.call
        return call.message_id if call and call.message_id not in self.sent else None


def given(*steps: Step, of: str = "development", csms: Csms = accepting) -> Station:
    """A station with a past, in which the CSMS answered as it does by habit."""
    station = Station(product(of))
    station.with_csms(csms, *steps)
    return station


# --- Steps ---------------------------------------------------------------------------------------

BOOTED: Final = StationStarted(
    boot_id="boot-1",
    release="0.1.0",
    profile="development",
    identity="CS001",
    evses=EVSES,
    last_at=None,
    last_uptime_ms=None,
)
CONFIGURED: Final = CsmsConfigured(url="ws://csms/ocpp", security_profile=1)  # station.toml
LINK_OPENED: Final = LinkOpened(slot=1, url="ws://csms/ocpp", security_profile=1)
LINK_LOST: Final = LinkClosed(reason="lost")


def plugged(evse_id: int) -> CableReported:
    return CableReported(evse_id, 1, True)


def unplugged(evse_id: int) -> CableReported:
    return CableReported(evse_id, 1, False)


def contactor(evse_id: int, *, closed: bool) -> ContactorReported:
    return ContactorReported(evse_id, closed)


def flow(evse_id: int, what: Flow) -> FlowReported:
    return FlowReported(evse_id, what)


def read(evse_id: int, energy_wh: str, **others: str) -> MeterRead:
    """A reading; the others are `voltage_v`, `current_a`, `power_w`, `energy_export_wh`."""
    decimals = {name: Decimal(value) for name, value in others.items()}
    return MeterRead(evse_id, Decimal(energy_wh), **decimals)  # type: ignore[arg-type]


def presented(id_token: IdToken, evse_id: int | None = None, **others: bool) -> IdTokenPresented:
    return IdTokenPresented(id_token, evse_id, **others)


def preset(key: str, value: str) -> VariablePreset:
    return VariablePreset(key, value)


def faulted(evse_id: int, device: str = "contactor", fault: str = "welded") -> DeviceFaulted:
    return DeviceFaulted(evse_id, device, fault, blocks=True, stopped_reason="GroundFault")


def recovered(evse_id: int, device: str = "contactor", fault: str = "welded") -> DeviceRecovered:
    return DeviceRecovered(evse_id, device, fault)


def several(*steps: Step) -> Step:
    """Steps that go together."""
    return lambda station: station.when(*steps)


IDLE: Final = several(  # what the devices report once they have been asked
    *(
        report
        for evse_id in (1, 2)
        for report in (
            contactor(evse_id, closed=False),
            read(evse_id, f"{evse_id}000"),
            unplugged(evse_id),
        )
    )
)


def charging(evse_id: int) -> Step:
    """Contactors close and energy flows."""
    return several(contactor(evse_id, closed=True), flow(evse_id, "charging"))


def discharged(evse_id: int) -> Step:
    """No energy flows and the contactors open."""
    return several(flow(evse_id, "none"), contactor(evse_id, closed=False))


def after(*, seconds: float) -> Step:
    """Time passes; whatever is due meanwhile is said by the alarm, exactly when it is due."""

    def step(station: Station) -> list[Decision]:
        target_ms = station.uptime_ms + round(seconds * 1000)
        decisions: list[Decision] = []
        while (due_ms := station.level.wake_ms) is not None and due_ms <= target_ms:
            station.passes(max(0, due_ms - station.uptime_ms))
            decisions += station.when(DeadlineReached(due_ms))
        station.passes(target_ms - station.uptime_ms)
        decisions += station.when(DeadlineReached(target_ms))
        return decisions

    return step


def restarted(*, boot_id: str = "boot-1", gap_s: float = 1) -> Step:
    """The program begins again; with another boot id the host does too, its uptime from 0."""

    def step(station: Station) -> list[Decision]:
        last = station.entries[-1]
        station.passes(round(gap_s * 1000))
        if boot_id != station.state.lifecycle.boot_id:
            station.uptime_ms = 5_000
        start = msgspec.structs.replace(
            BOOTED,
            boot_id=boot_id,
            last_at=last.at.isoformat(),
            last_uptime_ms=last.uptime_ms,
        )
        return station.when(start)

    return step


def frame(text: str) -> FrameReceived:
    """Any JSON from the CSMS."""
    return FrameReceived(msgspec.Raw(text.encode()))


def called(action: str, /, **payload: Any) -> Step:
    """A CALL of the CSMS."""

    def step(station: Station) -> list[Decision]:
        station.calls += 1
        return station.when(frame(json.dumps([2, f"csms-{station.calls}", action, payload])))

    return step


def _to_flight(station: Station) -> InFlight:
    assert station.in_flight, "no call is in flight"
    return station.in_flight


def answered(**payload: Any) -> Step:
    """A CALLRESULT to the call in flight."""

    def step(station: Station) -> list[Decision]:
        now = timestamp(station.host_at)
        body = {name: now if value == HOST_TIME else value for name, value in payload.items()}
        return station.when(frame(json.dumps([3, _to_flight(station).message_id, body])))

    return step


def answers(action: str, /, **payload: Any) -> Step:
    """A CALLRESULT to the call in flight, which is that action."""

    def step(station: Station) -> list[Decision]:
        assert _to_flight(station).action == action, f"{_to_flight(station).action} is in flight"
        return station.when(answered(**payload))

    return step


def errs(code: str = "InternalError", description: str = "") -> Step:
    """A CALLERROR to the call in flight."""

    def step(station: Station) -> list[Decision]:
        message_id = _to_flight(station).message_id
        return station.when(frame(json.dumps([4, message_id, code, description, {}])))

    return step


def serves(csms: Csms = accepting) -> Step:
    """The CSMS answers what waits."""
    return lambda station: station.served(csms)


def id_token(token: IdToken) -> Json:
    """A token in a payload, as it comes out of the intake: its reference."""
    return {"idToken": token.ref, "type": token.type}


ONLINE: Final = several(CONFIGURED, BOOTED, IDLE, LINK_OPENED)  # and, by `given`, accepted


def in_transaction(evse_id: int = 1, who: IdToken = ALICE) -> Step:
    """Somebody plugged in, was accepted, and energy flows."""

    def step(station: Station) -> list[Decision]:
        steps = (plugged(evse_id), presented(who, evse_id=evse_id), charging(evse_id))
        return station.with_csms(accepting, *steps)

    return step


# --- What came of it -----------------------------------------------------------------------------


def of_kind(decisions: Iterable[Decision], kind: type[D]) -> list[D]:
    return [one for one in decisions if isinstance(one, kind)]


def answer_of(decision: Decision) -> Json:
    """The payload of a CALLRESULT."""
    assert isinstance(decision, CallAnswered), decision
    return _json(decision.payload)


def reply_in(decisions: Iterable[Decision]) -> Json:
    """The payload of the one CALLRESULT among these."""
    [one] = of_kind(decisions, CallAnswered)
    return answer_of(one)


def error_in(decisions: Iterable[Decision]) -> str:
    """The code of the one CALLERROR among these."""
    [one] = of_kind(decisions, CallRefused)
    return one.code


def queued(decisions: Iterable[Decision], action: str) -> list[Json]:
    """The payloads of the calls of that action."""
    calls = of_kind(decisions, CallQueued)
    return [_json(one.payload) for one in calls if one.action == action]


def told(decisions: Iterable[Decision]) -> list[tuple[str, str]]:
    """(eventType, triggerReason) of each TransactionEvent."""
    events = queued(decisions, "TransactionEvent")
    return [(one["eventType"], one["triggerReason"]) for one in events]


def statuses(decisions: Iterable[Decision]) -> list[tuple[int, str]]:
    """(evseId, connectorStatus) of each StatusNotification."""
    calls = queued(decisions, "StatusNotification")
    return [(one["evseId"], one["connectorStatus"]) for one in calls]


# --- What always holds ---------------------------------------------------------------------------

SAMPLED: Final = ("MeterValuePeriodic", "MeterValueClock")
TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Checks:
    """The promises a story may not break, whatever happens in it."""

    def __init__(self) -> None:
        self.next_seq_no: dict[str, int] = {}
        self.ended: set[str] = set()
        self.waiting: dict[int, str] = {}  # TransactionEvents neither delivered nor parked
        self.parked: dict[int, str] = {}
        self.unanswered: str | None = None  # messageId of our CALL that still is
        self.faultless = True  # no rule and no projection may fail
        self.samples: set[int] = set()  # of those that wait, what room may be made of

    def __call__(
        self,
        before: State,
        entries: Sequence[Entry],
        now: State,
        level: Wanted,
    ) -> None:
        self._replays(before, entries, now)
        self._one_in_flight(entries)
        self._every_call_answered(entries)
        if isinstance(entries[0].event, RetryRequested):
            self._again(entries[0].event)
        for entry in entries[1:]:
            self._follows(entry)
        self._nothing_lost(now)
        if self.faultless:
            assert not now.condition.failed, f"{now.condition.failed} failed"
            assert not level.failed, level.failed
        evses = [one.evse_id for one in now.transactions.open if one.evse_id]
        assert len(evses) == len(set(evses)), f"E01.FR.14: transactions at {evses}"
        held = [one.evse_id for one in now.authorizations.held if one.evse_id is not None]
        assert len(held) == len(set(held)), f"rights to charge at {held}"
        self._alarm_falls_silent(entries, level)

    def _again(self, request: RetryRequested) -> None:
        for call in [one for one in self.parked if not request.calls or one in request.calls]:
            self.waiting[call] = self.parked.pop(call)

    def _replays(self, before: State, entries: Sequence[Entry], now: State) -> None:
        again = before
        for entry in entries:
            again = evolve(again, entry)
        assert again == now, "replay gives another memory"
        written = encode_state(now)
        read_back = decode_state(written)
        assert read_back == now, "the memory does not survive being written"
        assert encode_state(read_back) == written, "two forms of one memory"
        assert [one.seq for one in entries] == list(
            range(entries[0].seq, entries[0].seq + len(entries))
        )

    def _one_in_flight(self, entries: Sequence[Entry]) -> None:
        """Part 4 §4.1.1: no second CALL before the first is answered or given up."""
        match entries[0].event:
            case FrameReceived(frame=text):
                said = ocppj.read(text)
                if isinstance(said, ocppj.ResultFrame | ocppj.ErrorFrame) and (
                    said.message_id == self.unanswered
                ):
                    self.unanswered = None
            case LinkOpened() | LinkClosed() | StationStarted():
                self.unanswered = None
        for entry in entries[1:]:
            match entry.event:
                case AttemptFailed(message_id=message_id) if message_id == self.unanswered:
                    self.unanswered = None
                case CallAttempted(message_id=message_id):
                    assert self.unanswered is None, f"two calls in flight: {entry}"
                    self.unanswered = message_id

    def _every_call_answered(self, entries: Sequence[Entry]) -> None:
        event = entries[0].event
        said = ocppj.read(event.frame) if isinstance(event, FrameReceived) else None
        replies = [one for one in entries if isinstance(one.event, CallAnswered | CallRefused)]
        if isinstance(said, ocppj.CallFrame):
            assert len(replies) == 1, f"{len(replies)} answers to one call"
        if isinstance(said, ocppj.ResultFrame | ocppj.ErrorFrame):
            assert not replies, "an answer is not answered"

    def _follows(self, entry: Entry) -> None:
        match entry.event:
            case CallAnswered(action=action, payload=payload):
                fits(f"{action}Response", payload)
            case CallQueued(action=action, payload=payload, transaction=mark):
                fits(f"{action}Request", payload)
                if mark is not None:
                    self.waiting[entry.seq] = mark.transaction_id
                    if mark.event_type == "Updated" and mark.trigger_reason in SAMPLED:
                        self.samples.add(entry.seq)
                    self._counts(_json(payload))
            case CallDelivered(call=call):
                self.waiting.pop(call, None)
                self.parked.pop(call, None)
            case CallsDropped(calls=calls) if self.samples & set(calls):
                assert set(calls) <= self.samples, "E12.FR.04: more than samples given up"
                for call in calls:
                    del self.waiting[call]
            case CallParked(call=call):
                self.parked[call] = self.waiting.pop(call)

    def _counts(self, event: Json) -> None:
        """E01.FR.07, E01.FR.08: from 0, without a gap, Started first, nothing after Ended."""
        transaction_id = event["transactionInfo"]["transactionId"]
        expected = self.next_seq_no.get(transaction_id, 0)
        assert event["seqNo"] == expected, f"seqNo {event['seqNo']} after {expected - 1}"
        assert (event["eventType"] == "Started") == (expected == 0), event
        assert transaction_id not in self.ended, "told of a transaction that has ended"
        if event["eventType"] == "Ended":
            self.ended.add(transaction_id)
        self.next_seq_no[transaction_id] = expected + 1

    def _nothing_lost(self, now: State) -> None:
        assert set(now.outbox.transaction) == set(self.waiting), "a transaction message is lost"
        assert {one.call for one in now.outbox.parked} >= set(self.parked), "parked and lost"

    def _alarm_falls_silent(self, entries: Sequence[Entry], level: Wanted) -> None:
        """A deadline that changes nothing must not stay due: the alarm would ring for ever."""
        if isinstance(entries[0].event, DeadlineReached) and len(entries) == 1:
            due_ms, now_ms = level.wake_ms, entries[0].uptime_ms
            assert due_ms is None or due_ms > now_ms, f"{due_ms} ms is still due at {now_ms} ms"


@cache
def _validator(message: str) -> Any:
    return jsonschema.Draft6Validator(schema_of(message))


def fits(message: str, payload: msgspec.Raw) -> None:
    """The payload follows its official schema, and its times are written as we write them."""
    body = _json(payload)
    faults = [
        f"{fault.json_path}: {fault.message}" for fault in _validator(message).iter_errors(body)
    ]
    assert not faults, f"{message}: {faults}"
    for name, value in _texts(body):
        if name in ("timestamp", "generatedAt"):
            assert TIMESTAMP.fullmatch(value), f"{message}: {name} is {value}"


def _texts(part: Any) -> Iterator[tuple[str, str]]:
    if isinstance(part, dict):
        for name, value in part.items():
            if isinstance(value, str):
                yield name, value
            yield from _texts(value)
    elif isinstance(part, list):
        for item in part:
            yield from _texts(item)
