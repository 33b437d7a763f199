"""Test DSL for the pure core: given the past, when this happens, then these decisions follow.

A `Station` is the core alone (`decide`, `apply_entry`, `compute_desired_state`), driven exactly as
the recorder drives it, without disk, network or trio:

    observation -> decide() -> entries -> state -> desired state -> frame sent -> FrameSent ...

1. `given(*steps)` builds a station with a past. The CSMS answers every call of that past
   (`accept_everything`, unless the test passes another `csms`).
2. `station.when(*steps)` performs further steps and returns the decisions they caused. The CSMS
   does not answer: a test passes `result_received(...)` or `error_received(...)` as a step.
   `station.with_csms(csms, *steps)` does the same with a CSMS that answers every call.
3. The functions of the section "Results" select what is asserted: `of_kind`, `payload_of`,
   `queued_payloads`, `event_triggers`, ...

    def test_a_connector_in_use_stays_locked_f05_fr_02() -> None:
        station = given(ONLINE, in_transaction(1))
        [response] = station.when(called("UnlockConnector", evseId=1, connectorId=1))
        assert payload_of(response) == {"status": "OngoingAuthorizedTransaction"}

A step is an observation (`cable_plugged(1)`) or a function of the station (`called(...)`,
`time_passed(seconds=5)`); `in_sequence` makes one step of several. Steps do not take time: the
clock (wall clock and uptime) is advanced by `time_passed` and `station_restarted` only. A meter
that was read once responds with that reading whenever one is needed, until `meter_silent` or a
restart. During
`time_passed`, `DeadlineReached` is observed exactly at each deadline of the desired state, as the
timer task does.
Every frame the desired state asks for is reported as sent at once while the link is up.

After every observation, `StoryChecks` asserts the invariants of every story:

* replaying the entries gives the same state, and the state survives encoding and decoding;
* every payload is valid by the official schema, every seqNo follows the one before;
* at most one CALL of the station is in flight, every CALL of the CSMS gets exactly one answer;
* no transaction message is lost: it is queued, parked or delivered, or it is a dropped sample;
* a deadline that changes nothing does not stay due;
* each EVSE has at most one transaction and one active authorization; no rule fails.
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

from journal.events import Decision, Entry, Event, IdToken, Observation
from journal.observations import (
    CableReported,
    ContactorReported,
    CsmsConfigured,
    DeadlineReached,
    DeviceFaulted,
    DeviceRecovered,
    EnergyFlow,
    EnergyFlowReported,
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
    CallAttempted,
    CallAttemptFailed,
    CallDelivered,
    CallInFlight,
    CallParked,
    CallQueued,
    CallRetryRequested,
    CallsDropped,
)
from journal.projections.pending_replies import CallErrorQueued, CallResultQueued
from journal.projections.transactions import Transaction
from journal.state import State, apply_entry, decode_state, encode_state
from station.core.block_tables import find_reason
from station.core.context import Product
from station.core.decide import decide
from station.core.decide_batch import metered_evse_ids
from station.core.desired import DesiredState, DesiredStateMemo, compute_desired_state
from station.core.device_model.model import DeviceModel
from station.core.display import EvseDisplay, render_display
from station.ocpp import rpc
from station.ocpp.messages import format_timestamp
from station.profiles import load_profile
from tests.ocpp.messages.schemas import schema_of

JOURNAL_ID: Final = "7f0c5b0e-6b5e-4d53-9c3a-0a2c6ad1c9f1"
NOON: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

CONSECUTIVE_CALLS_MAX: Final = 5_000  # calls in a row without time passing
HOST_TIME: Final = "the host's"  # in a response, replaced by the current time of the host

Json = dict[str, Any]
CsmsBehavior = Callable[[str, Json], Json | None]  # action and payload to response; None: no answer
Step = Observation | Callable[["Station"], list[Decision]]
D = TypeVar("D", bound=Event)


def _decode_payload(payload: msgspec.Raw) -> Json:
    return cast(Json, json.loads(bytes(payload)))


def id_token_named(name: str, type: str = "ISO14443") -> IdToken:
    """An IdToken with the readable reference `#name`; the core never sees real token values."""
    return IdToken(ref=f"#{name}", type=type)


ALICE: Final = id_token_named("alice")
BOB: Final = id_token_named("bob")
FAMILY: Final = id_token_named("family", "Central")  # a group

EVSES: Final = ((1, (1,)), (2, (1,)))


@cache
def load_product(profile_name: str = "development") -> Product:
    profile = load_profile(profile_name)
    return Product(profile, DeviceModel(profile))


# --- The CSMS ------------------------------------------------------------------------------------


def accept_everything(action: str, payload: Json) -> Json | None:
    """A CSMS that accepts every request."""
    respond = _ACCEPTING_RESPONSES.get(action)
    return respond(payload) if respond else {}


def _accept_boot(payload: Json) -> Json:
    return {"currentTime": HOST_TIME, "interval": 300, "status": "Accepted"}


def _accept_id_token(payload: Json) -> Json:
    return {"idTokenInfo": {"status": "Accepted"}}


def _answer_event(payload: Json) -> Json:
    return _accept_id_token(payload) if "idToken" in payload else {}


_ACCEPTING_RESPONSES: Final[dict[str, Callable[[Json], Json]]] = {
    "BootNotification": _accept_boot,
    "Heartbeat": lambda payload: {"currentTime": HOST_TIME},
    "Authorize": _accept_id_token,
    "TransactionEvent": _answer_event,
}


def answer_boot_only(action: str, payload: Json) -> Json | None:
    """A CSMS that answers BootNotification and no other request."""
    return _accept_boot(payload) if action == "BootNotification" else None


# --- The station ---------------------------------------------------------------------------------


class Station:
    """The core of one station, its journal in memory, and a clock that only tests advance."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.entries: list[Entry] = []
        self.state = State(JOURNAL_ID)
        self.desired = DesiredState()
        self.desired_state_memo = DesiredStateMemo()
        self.host_at = NOON
        self.uptime_ms = 60_000
        self.checks = StoryChecks()
        self.sent_message_ids: set[str] = set()
        self.csms_call_count = 0
        self.meters: dict[int, MeterRead] = {}  # readings of the meters that respond, by EVSE id

    def when(self, *steps: Step) -> list[Decision]:
        """Perform the steps in order and return all decisions they cause."""
        decisions: list[Decision] = []
        for step in steps:
            decisions += (
                self._observe_and_send(step) if isinstance(step, Observation) else step(self)
            )
        return decisions

    def with_csms(self, csms: CsmsBehavior, *steps: Step) -> list[Decision]:
        """As `when`, with a CSMS that answers every call after each step."""
        decisions: list[Decision] = []
        for step in steps:
            decisions += self.when(step)
            decisions += self.answer_calls(csms)
        return decisions

    def answer_calls(self, csms: CsmsBehavior) -> list[Decision]:
        """Answer the calls in flight until there is none, or the CSMS gives no answer."""
        decisions: list[Decision] = []
        for _ in range(CONSECUTIVE_CALLS_MAX):
            call = self.in_flight
            answer = csms(call.action, self.payload_of_call(call.call_seq)) if call else None
            if answer is None:
                return decisions
            decisions += self.when(result_received(**answer))
        raise AssertionError(f"{CONSECUTIVE_CALLS_MAX} calls in a row, the last: {self.in_flight}")

    def payload_of_call(self, call: int) -> Json:
        """The payload of the call queued as entry number `call`."""
        queued = self.entries[call - 1].event
        assert isinstance(queued, CallQueued), queued
        return _decode_payload(queued.payload)

    @property
    def in_flight(self) -> CallInFlight | None:
        return self.state.outbox.in_flight if self.state.link.online else None

    @property
    def open_transaction(self) -> Transaction:
        """The open transaction; there must be exactly one."""
        [transaction] = self.state.transactions.open
        return transaction

    @property
    def at(self) -> datetime:
        """The station's wall clock."""
        return self.host_at + timedelta(milliseconds=self.state.clock.offset_ms)

    def advance_clock(self, milliseconds: int) -> None:
        self.host_at += timedelta(milliseconds=milliseconds)
        self.uptime_ms += milliseconds

    def _observe_and_send(self, observation: Observation) -> list[Decision]:
        decisions = self.decide_observation(observation)
        while self.state.link.online and (message_id := self._find_unsent()):
            self.sent_message_ids.add(message_id)
            decisions += self.decide_observation(FrameSent(message_id))
        return decisions

    def decide_observation(self, observation: Observation) -> list[Decision]:
        """Decide one observation and apply the entries, as the recorder does.

        The meters that the decisions use are read before: `station.core.decide_batch`.
        """
        if isinstance(observation, MeterRead):
            self.meters[observation.evse_id] = observation
        elif isinstance(observation, StationStarted):
            self.meters.clear()  # not read in this run yet
        entries, after = self._decide(observation, expects_readings=True)
        evse_ids = metered_evse_ids(entries)
        decisions: list[Decision] = []
        if evse_ids:
            for evse_id in sorted(evse_ids & self.meters.keys()):
                if self._needs_reading(evse_id, observation):
                    decisions += self._keep(*self._decide(self.meters[evse_id]))
            entries, after = self._decide(observation)
        return decisions + self._keep(entries, after)

    def _needs_reading(self, evse_id: int, observation: Observation) -> bool:
        journaled = self.state.readings.on_evse(evse_id)
        is_journaled = journaled is not None and journaled.uptime_ms == self.uptime_ms
        return not is_journaled and not isinstance(observation, MeterRead)

    def _decide(
        self, observation: Observation, *, expects_readings: bool = False
    ) -> tuple[list[Entry], State]:
        entry = Entry(len(self.entries) + 1, self.at, self.uptime_ms, observation)
        return decide(self.product, self.state, entry, expects_readings=expects_readings)

    def _keep(self, entries: list[Entry], after: State) -> list[Decision]:
        """Apply the entries; the decisions among them."""
        before, self.state = self.state, after
        self.entries += entries
        self.desired = compute_desired_state(self.product, self.state, entries[-1])
        reused = self.desired_state_memo.compute(self.product, self.state, entries[-1])
        assert reused == self.desired, "a part of the desired state was reused that has changed"
        self.checks(before, entries, self.state, self.desired)
        return [cast(Decision, decided.event) for decided in entries[1:]]

    def _find_unsent(self) -> str | None:
        """The messageId of a frame that may be sent and was not yet reported as sent."""
        if self.desired.replies:
            return self.desired.replies[0].message_id
        call = self.desired.call
        return call.message_id if call and call.message_id not in self.sent_message_ids else None


def given(
    *steps: Step, profile_name: str = "development", csms: CsmsBehavior = accept_everything
) -> Station:
    """A station with a past, in which `csms` answered every call."""
    station = Station(load_product(profile_name))
    station.with_csms(csms, *steps)
    return station


# --- Steps ---------------------------------------------------------------------------------------

BOOTED: Final = StationStarted(
    boot_id="boot-1",
    release="0.1.0",
    product_profile="development",
    identity="CS001",
    evses=EVSES,
    last_entry_at=None,
    last_entry_uptime_ms=None,
)
CONFIGURED: Final = CsmsConfigured(url="ws://csms/ocpp", security_profile=1)  # station.toml
LINK_OPENED: Final = LinkOpened(slot=1, url="ws://csms/ocpp", security_profile=1)
LINK_LOST: Final = LinkClosed(reason="lost")


def cable_plugged(evse_id: int) -> CableReported:
    return CableReported(evse_id, 1, True)


def cable_unplugged(evse_id: int) -> CableReported:
    return CableReported(evse_id, 1, False)


def contactor_reported(evse_id: int, *, closed: bool) -> ContactorReported:
    return ContactorReported(evse_id, closed)


def flow_reported(evse_id: int, flow: EnergyFlow) -> EnergyFlowReported:
    return EnergyFlowReported(evse_id, flow)


def meter_read(evse_id: int, energy_wh: str, **others: str) -> MeterRead:
    """A meter reading; `others`: `voltage_v`, `current_a`, `power_w`, `energy_export_wh`."""
    decimals = {name: Decimal(value) for name, value in others.items()}
    return MeterRead(evse_id, Decimal(energy_wh), **decimals)  # type: ignore[arg-type]


def meter_silent(evse_id: int) -> Step:
    """The meter does not respond any more; its next `meter_read` ends that."""

    def step(station: Station) -> list[Decision]:
        station.meters.pop(evse_id, None)
        return []

    return step


def presented(id_token: IdToken, evse_id: int | None = None, **others: bool) -> IdTokenPresented:
    return IdTokenPresented(id_token, evse_id, **others)


def variable_preset(key: str, value: str) -> VariablePreset:
    return VariablePreset(key, value)


def device_faulted(evse_id: int, device: str = "contactor", fault: str = "welded") -> DeviceFaulted:
    return DeviceFaulted(evse_id, device, fault, blocks_charging=True, stopped_reason="GroundFault")


def device_recovered(
    evse_id: int, device: str = "contactor", fault: str = "welded"
) -> DeviceRecovered:
    return DeviceRecovered(evse_id, device, fault)


def in_sequence(*steps: Step) -> Step:
    """Several steps as one step."""
    return lambda station: station.when(*steps)


IDLE: Final = in_sequence(  # the first reports of all devices after a start: no EV, no energy
    *(
        report
        for evse_id in (1, 2)
        for report in (
            contactor_reported(evse_id, closed=False),
            meter_read(evse_id, f"{evse_id}000"),
            cable_unplugged(evse_id),
        )
    )
)


def charging_started(evse_id: int) -> Step:
    """The contactors of the EVSE close and energy flows."""
    return in_sequence(contactor_reported(evse_id, closed=True), flow_reported(evse_id, "charging"))


def charging_stopped(evse_id: int) -> Step:
    """Energy flow stops and the contactors open."""
    return in_sequence(flow_reported(evse_id, "none"), contactor_reported(evse_id, closed=False))


def time_passed(*, seconds: float) -> Step:
    """Advance the clock; observe DeadlineReached at each deadline, exactly when it is due."""

    def step(station: Station) -> list[Decision]:
        target_ms = station.uptime_ms + round(seconds * 1000)
        decisions: list[Decision] = []
        while (due_ms := station.desired.next_due_ms) is not None and due_ms <= target_ms:
            station.advance_clock(max(0, due_ms - station.uptime_ms))
            decisions += station.when(DeadlineReached(due_ms))
        station.advance_clock(target_ms - station.uptime_ms)
        decisions += station.when(DeadlineReached(target_ms))
        return decisions

    return step


def station_restarted(*, boot_id: str = "boot-1", gap_s: float = 1) -> Step:
    """Restart the program; with another boot id the host reboots too and its uptime starts over."""

    def step(station: Station) -> list[Decision]:
        last = station.entries[-1]
        station.advance_clock(round(gap_s * 1000))
        if boot_id != station.state.lifecycle.boot_id:
            station.uptime_ms = 5_000
        start = msgspec.structs.replace(
            BOOTED,
            boot_id=boot_id,
            last_entry_at=last.at.isoformat(),
            last_entry_uptime_ms=last.uptime_ms,
        )
        return station.when(start)

    return step


_FRAME_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


def _encode_frame(frame: list[Any]) -> str:
    """A frame as text; a Decimal keeps its digits."""
    return _FRAME_ENCODER.encode(frame).decode()


def frame_received(text: str) -> FrameReceived:
    """Any frame text from the CSMS."""
    return FrameReceived(msgspec.Raw(text.encode()))


def called(action: str, /, **payload: Any) -> Step:
    """A CALL of the CSMS."""

    def step(station: Station) -> list[Decision]:
        station.csms_call_count += 1
        return station.when(
            frame_received(_encode_frame([2, f"csms-{station.csms_call_count}", action, payload]))
        )

    return step


def _require_in_flight(station: Station) -> CallInFlight:
    assert station.in_flight, "no call is in flight"
    return station.in_flight


def result_received(**payload: Any) -> Step:
    """A CALLRESULT to the call in flight."""

    def step(station: Station) -> list[Decision]:
        now = format_timestamp(station.host_at)
        body = {name: now if value == HOST_TIME else value for name, value in payload.items()}
        return station.when(
            frame_received(_encode_frame([3, _require_in_flight(station).message_id, body]))
        )

    return step


def result_received_for(action: str, /, **payload: Any) -> Step:
    """A CALLRESULT to the call in flight; asserts that this call has the given action."""

    def step(station: Station) -> list[Decision]:
        assert _require_in_flight(station).action == action, (
            f"{_require_in_flight(station).action} is in flight"
        )
        return station.when(result_received(**payload))

    return step


def error_received(code: str = "InternalError", description: str = "") -> Step:
    """A CALLERROR to the call in flight."""

    def step(station: Station) -> list[Decision]:
        message_id = _require_in_flight(station).message_id
        return station.when(frame_received(_encode_frame([4, message_id, code, description, {}])))

    return step


def csms_answers(csms: CsmsBehavior = accept_everything) -> Step:
    """The CSMS answers every call that is in flight or queued."""
    return lambda station: station.answer_calls(csms)


def id_token_payload(token: IdToken) -> Json:
    """A token in a payload as the core receives it: with its reference in place of its value."""
    return {"idToken": token.ref, "type": token.type}


ONLINE: Final = in_sequence(CONFIGURED, BOOTED, IDLE, LINK_OPENED)  # in `given`: and accepted


def in_transaction(evse_id: int = 1, id_token: IdToken = ALICE) -> Step:
    """The EV driver plugs in, is accepted by the CSMS, and energy flows."""

    def step(station: Station) -> list[Decision]:
        steps = (
            cable_plugged(evse_id),
            presented(id_token, evse_id=evse_id),
            charging_started(evse_id),
        )
        return station.with_csms(accept_everything, *steps)

    return step


# --- Results -------------------------------------------------------------------------------------


def shown_at(station: Station, evse_id: int) -> EvseDisplay:
    """What the display shows at an EVSE now, without live readings."""
    display = render_display(station.desired.display, {}, station.uptime_ms)
    return next(evse for evse in display.evses if evse.evse_id == evse_id)


def of_kind(decisions: Iterable[Decision], kind: type[D]) -> list[D]:
    """The decisions of one kind, in order."""
    return [decision for decision in decisions if isinstance(decision, kind)]


def payload_of(decision: Decision) -> Json:
    """The payload of a CALLRESULT."""
    assert isinstance(decision, CallResultQueued), decision
    return _decode_payload(decision.payload)


def response_payload_in(decisions: Iterable[Decision]) -> Json:
    """The payload of the only CALLRESULT among these decisions."""
    [response] = of_kind(decisions, CallResultQueued)
    return payload_of(response)


def error_code_in(decisions: Iterable[Decision]) -> str:
    """The code of the only CALLERROR among these decisions."""
    [error] = of_kind(decisions, CallErrorQueued)
    return error.error_code


def queued_payloads(decisions: Iterable[Decision], action: str) -> list[Json]:
    """The payloads of the queued calls of one action."""
    calls = of_kind(decisions, CallQueued)
    return [_decode_payload(call.payload) for call in calls if call.action == action]


def event_triggers(decisions: Iterable[Decision]) -> list[tuple[str, str]]:
    """(eventType, triggerReason) of each TransactionEvent."""
    events = queued_payloads(decisions, "TransactionEvent")
    return [(event["eventType"], event["triggerReason"]) for event in events]


def connector_statuses(decisions: Iterable[Decision]) -> list[tuple[int, str]]:
    """(evseId, connectorStatus) of each StatusNotification."""
    calls = queued_payloads(decisions, "StatusNotification")
    return [(status["evseId"], status["connectorStatus"]) for status in calls]


# --- Invariants ----------------------------------------------------------------------------------

SAMPLE_TRIGGERS: Final = ("MeterValuePeriodic", "MeterValueClock")
TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class StoryChecks:
    """The invariants of every story, asserted after each observation. See the module docstring."""

    def __init__(self) -> None:
        self.next_seq_no: dict[str, int] = {}
        self.ended_transaction_ids: set[str] = set()
        self.undelivered: dict[int, str] = {}  # TransactionEvents neither delivered nor parked
        self.parked: dict[int, str] = {}
        self.in_flight_message_id: str | None = None  # of the station's CALL
        self.expect_no_failures = True  # no rule and no projection may fail
        self.droppable_samples: set[int] = set()  # queued samples that may be dropped for space

    def __call__(
        self,
        before: State,
        entries: Sequence[Entry],
        after: State,
        desired: DesiredState,
    ) -> None:
        self._check_replay(before, entries, after)
        self._check_reasons(entries)
        self._check_one_in_flight(entries)
        self._check_calls_answered(entries)
        if isinstance(entries[0].event, CallRetryRequested):
            self._requeue_parked(entries[0].event)
        for entry in entries[1:]:
            self._track_entry(entry)
        self._check_nothing_lost(after)
        if self.expect_no_failures:
            assert not after.health.failed_rule, f"rule {after.health.failed_rule} failed"
            assert not desired.failure, desired.failure
        evse_ids = [
            transaction.evse_id for transaction in after.transactions.open if transaction.evse_id
        ]
        assert len(evse_ids) == len(set(evse_ids)), (
            f"E01.FR.14: open transactions on EVSEs {evse_ids}"
        )
        authorized_evse_ids = [
            authorization.evse_id
            for authorization in after.authorizations.active
            if authorization.evse_id is not None
        ]
        assert len(authorized_evse_ids) == len(set(authorized_evse_ids)), (
            f"active authorizations on EVSEs {authorized_evse_ids}"
        )
        self._check_deadline_served(entries, desired)

    def _requeue_parked(self, request: CallRetryRequested) -> None:
        for call_seq in [
            call_seq
            for call_seq in self.parked
            if not request.call_seqs or call_seq in request.call_seqs
        ]:
            self.undelivered[call_seq] = self.parked.pop(call_seq)

    def _check_replay(self, before: State, entries: Sequence[Entry], after: State) -> None:
        replayed = before
        for entry in entries:
            replayed = apply_entry(replayed, entry)
        assert replayed == after, "replay gives another state"
        written = encode_state(after)
        read_back = decode_state(written)
        assert read_back == after, "the decoded state differs from the encoded one"
        assert encode_state(read_back) == written, "one state has two encodings"
        assert [entry.seq for entry in entries] == list(
            range(entries[0].seq, entries[0].seq + len(entries))
        )

    def _check_reasons(self, entries: Sequence[Entry]) -> None:
        """A decision with several possible reasons carries the code of one, which has a row."""
        for entry in entries:
            if hasattr(entry.event, "because"):
                assert find_reason(entry.event), f"no row in REASONS: {entry.event}"

    def _check_one_in_flight(self, entries: Sequence[Entry]) -> None:
        """Part 4 §4.1.1: no second CALL before the first is answered or has failed."""
        match entries[0].event:
            case FrameReceived(frame=text):
                frame = rpc.parse_frame(text)
                if isinstance(frame, rpc.CallResultFrame | rpc.CallErrorFrame) and (
                    frame.message_id == self.in_flight_message_id
                ):
                    self.in_flight_message_id = None
            case LinkOpened() | LinkClosed() | StationStarted():
                self.in_flight_message_id = None
        for entry in entries[1:]:
            match entry.event:
                case CallAttemptFailed(message_id=message_id) if (
                    message_id == self.in_flight_message_id
                ):
                    self.in_flight_message_id = None
                case CallAttempted(message_id=message_id):
                    assert self.in_flight_message_id is None, f"two calls in flight: {entry}"
                    self.in_flight_message_id = message_id

    def _check_calls_answered(self, entries: Sequence[Entry]) -> None:
        event = entries[0].event
        frame = rpc.parse_frame(event.frame) if isinstance(event, FrameReceived) else None
        replies = [
            entry
            for entry in entries
            if isinstance(entry.event, CallResultQueued | CallErrorQueued)
        ]
        if isinstance(frame, rpc.CallFrame):
            assert len(replies) == 1, f"{len(replies)} answers to one CALL"
        if isinstance(frame, rpc.CallResultFrame | rpc.CallErrorFrame):
            assert not replies, "a CALLRESULT or CALLERROR was answered"

    def _track_entry(self, entry: Entry) -> None:
        match entry.event:
            case CallResultQueued(action=action, payload=payload):
                assert_fits_schema(f"{action}Response", payload)
            case CallQueued(action=action, payload=payload, transaction_event=mark):
                assert_fits_schema(f"{action}Request", payload)
                if mark is not None:
                    self.undelivered[entry.seq] = mark.transaction_id
                    if mark.event_type == "Updated" and mark.trigger_reason in SAMPLE_TRIGGERS:
                        self.droppable_samples.add(entry.seq)
                    self._check_seq_no(_decode_payload(payload))
            case CallDelivered(call_seq=call):
                self.undelivered.pop(call, None)
                self.parked.pop(call, None)
            case CallsDropped(call_seqs=calls) if self.droppable_samples & set(calls):
                assert set(calls) <= self.droppable_samples, "E12.FR.04: dropped more than samples"
                for call in calls:
                    del self.undelivered[call]
            case CallParked(call_seq=call):
                self.parked[call] = self.undelivered.pop(call)

    def _check_seq_no(self, event: Json) -> None:
        """E01.FR.07, E01.FR.08: seqNo from 0 without a gap, Started first, nothing after Ended."""
        transaction_id = event["transactionInfo"]["transactionId"]
        expected = self.next_seq_no.get(transaction_id, 0)
        assert event["seqNo"] == expected, f"seqNo {event['seqNo']} after {expected - 1}"
        assert (event["eventType"] == "Started") == (expected == 0), event
        assert transaction_id not in self.ended_transaction_ids, (
            "TransactionEvent of a transaction that has ended"
        )
        if event["eventType"] == "Ended":
            self.ended_transaction_ids.add(transaction_id)
        self.next_seq_no[transaction_id] = expected + 1

    def _check_nothing_lost(self, state: State) -> None:
        assert set(state.outbox.transaction) == set(self.undelivered), (
            "a transaction message is lost"
        )
        assert {call.call_seq for call in state.outbox.parked} >= set(self.parked), (
            "a parked message is lost"
        )

    def _check_deadline_served(self, entries: Sequence[Entry], desired: DesiredState) -> None:
        """A deadline that changes nothing must not stay due: the timer would never stop firing."""
        if isinstance(entries[0].event, DeadlineReached) and len(entries) == 1:
            due_ms, now_ms = desired.next_due_ms, entries[0].uptime_ms
            assert due_ms is None or due_ms > now_ms, f"{due_ms} ms is still due at {now_ms} ms"


@cache
def _schema_validator(message: str) -> Any:
    return jsonschema.Draft6Validator(schema_of(message))


def assert_fits_schema(message_name: str, payload: msgspec.Raw) -> None:
    """Assert that a payload is valid by its official schema and its times are UTC with ms."""
    body = _decode_payload(payload)
    faults = [
        f"{fault.json_path}: {fault.message}"
        for fault in _schema_validator(message_name).iter_errors(body)
    ]
    assert not faults, f"{message_name}: {faults}"
    for name, value in _string_fields(body):
        if name in ("timestamp", "generatedAt"):
            assert TIMESTAMP.fullmatch(value), f"{message_name}: {name} is {value}"


def _string_fields(node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        for name, value in node.items():
            if isinstance(value, str):
                yield name, value
            yield from _string_fields(value)
    elif isinstance(node, list):
        for item in node:
            yield from _string_fields(item)
