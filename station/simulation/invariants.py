"""What must hold at every step, whatever happens?

`Witness` sees each commit, each frame, each entry in the CSMS's ledger and each contactor that
closes, and keeps books of its own: a second memory, folded from what is in the file and nothing
else. It raises `InvariantError` at the first step that breaks a promise (README, section 2).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

import msgspec

from journal.events import Entry
from journal.format.id_tokens import restore_payload
from journal.observations import DeadlineReached, FrameReceived, MeterRead, StationStarted
from journal.projections.outbox import (
    CallAttempted,
    CallAttemptFailed,
    CallDelivered,
    CallParked,
    CallQueued,
    CallRetryRequested,
    CallsDropped,
    TransactionEventSummary,
)
from journal.projections.pending_replies import CallErrorQueued, CallResultQueued
from journal.state import State, apply_entry, encode_state
from station.core.context import Context, Product
from station.core.outbox_rules import MESSAGE_TIMEOUT
from station.ocpp import rpc
from station.ocpp.messages import encode
from station.ocpp.messages.e_transactions import TransactionEventRequest
from station.simulation.csms_ledger import TransactionRecord
from station.simulation.network import SimulatedConnection
from station.simulation.station_process import StationProcess
from station.simulation.world import SimulationObserver
from station.transcript import lines

STATE_BYTES_MAX: Final = 256 * 1024  # bytes of the memory, written: hours of faults leave less
WAITING_OBSERVATIONS_MAX: Final = 5_000  # observations that the scribe has not taken yet
IDLE_DEADLINES_MAX: Final = 20  # deadlines in a row that nothing follows from
TRANSCRIPT_LINES_MAX: Final = 400  # of the transcript

_payload_decoder = msgspec.json.Decoder(float_hook=Decimal)


class InvariantError(AssertionError):
    """A promise of the station, and how it was broken."""


def check(condition: object, invariant: str, message: str) -> None:
    """Raise unless it was kept."""
    if not condition:
        raise InvariantError(f"{invariant}: {message}")


class SentAttempt(msgspec.Struct):
    """A CALL that went, or may go, over the wire."""

    call: int
    action: str
    message_id: str
    offline: bool
    connection: SimulatedConnection | None = None  # that it went over
    sent_uptime_ms: int | None = None  # uptime at which it did
    already_answered: bool = False  # at the decision an earlier attempt was answered already
    answered: bool = False  # a CALLRESULT for it is in the journal
    is_finished: bool = False  # it is given up, or answered


class InvariantChecker(SimulationObserver):
    """Keeps the books.

    Attributes:
        lines: what happened last, for a person.
        resent: TransactionEvents that went over the wire again.
        excused: how often an answer did not come in time, was an error, or came to nobody.
    """

    def __init__(self, product: Product) -> None:
        self.product = product
        self.process: StationProcess | None = None
        self.state: State | None = None  # of what is in the file
        self.seq = 0
        self.recent_lines: deque[str | Entry] = deque(maxlen=TRANSCRIPT_LINES_MAX)
        self.resent_count = self.allowed_resends = 0
        self._pending_commit: list[Entry] = []  # a commit of which nobody knows yet how it ended
        self._queued_calls: dict[int, CallQueued] = {}
        self._calls_by_transaction: dict[str, list[int]] = {}  # calls by transactionId, in order
        self._ended_transactions: set[str] = set()
        self._delivered_calls: set[int] = set()
        self._parked_calls: set[int] = set()
        self._dropped_calls: set[int] = set()  # given up for want of room. E12.FR.05
        self._attempt_by_id: dict[str, SentAttempt] = {}  # by messageId
        self._attempts_by_call: dict[int, list[SentAttempt]] = {}
        self._in_flight: SentAttempt | None = None  # on the wire in use
        self._allowed_replies: dict[str, list[str]] = {}  # messageId to the texts that may be sent
        self._registers_wh: dict[int, Decimal] = {}
        self._idle_deadlines = 0

    def add_line(self, text: str) -> None:
        """Something happened that no entry tells."""
        self.recent_lines.append(text)

    def recent_transcript(self) -> str:
        """The last that happened."""
        return "\n".join(
            one if isinstance(one, str) else lines.format_entry(one) for one in self.recent_lines
        )

    # --- The file --------------------------------------------------------------------------------

    def on_process_started(self, process: StationProcess) -> None:
        """A life remembers exactly what is in the file: all of what was acknowledged. P1, P4."""
        self.process = process
        store = process.store
        if self.state is None:
            self.state = State(store.journal_id)
        head = store.head.seq
        check(head >= self.seq, "P1", f"the file ends at {head}, it was at {self.seq} before")
        more = list(store.reader.iter_entries(self.seq + 1))
        whole = not more or [one.seq for one in more] == [one.seq for one in self._pending_commit]
        check(whole, "P1", f"a part of a commit is in the file: {[one.seq for one in more]}")
        self._pending_commit = []
        self._apply_entries(more)
        check(process.startup.state == self.state, "P4", "replay gives another memory")
        written = encode_state(self.state)
        check(encode_state(process.startup.state) == written, "P4", "two forms of one memory")
        check(len(written) < STATE_BYTES_MAX, "P6", f"the memory takes {len(written)} bytes")
        self._in_flight = None

    async def before_commit(self, entries: list[Entry]) -> None:
        self._pending_commit = entries

    def after_write(self, entries: list[Entry]) -> None:
        self._apply_entries(entries)
        self._pending_commit = []

    def after_commit(self, state: State) -> None:
        """What the scribe goes on with is what the file says. P4."""
        check(state == self.state, "P4", "the memory is not what the journal gives")
        assert self.process is not None
        waiting = len(self.process.recorder._queue)
        check(waiting < WAITING_OBSERVATIONS_MAX, "P6", f"{waiting} observations wait")

    def _apply_entries(self, entries: Iterable[Entry]) -> None:
        assert self.state is not None
        for entry in entries:
            check(entry.seq == self.seq + 1, "P1", f"entry {entry.seq} after {self.seq}")
            self.seq = entry.seq
            self.recent_lines.append(entry)
            self._check_deadline_effect(entry)
            self._record_entry(entry)
            self.state = apply_entry(self.state, entry)
            failed = self.state.health.failed_rule
            check(not failed, "P8", f"{failed} has a fault")

    def _check_deadline_effect(self, entry: Entry) -> None:
        """A deadline from which nothing follows must not come again and again. P6."""
        if isinstance(entry.event, DeadlineReached):
            self._idle_deadlines += 1
            check(
                self._idle_deadlines < IDLE_DEADLINES_MAX,
                "P6",
                f"{self._idle_deadlines} deadlines in vain",
            )
        elif entry.cause is not None or not isinstance(entry.event, DeadlineReached):
            self._idle_deadlines = 0

    def _record_entry(self, entry: Entry) -> None:
        match entry.event:
            case StationStarted():
                self._in_flight = None
            case CallQueued() as queued:
                self._check_queued(entry.seq, queued)
            case CallAttempted() as attempted:
                self._record_attempt(entry, attempted)
            case FrameReceived(frame=frame):
                self._on_frame_received(frame)
            case CallAttemptFailed() as failed:
                self._check_failed_attempt(entry, failed)
            case CallDelivered(call_seq=call):
                self._delivered_calls.add(call)
                self._parked_calls.discard(call)
            case CallParked(call_seq=call):
                self._parked_calls.add(call)
            case CallsDropped(call_seqs=calls):
                self._check_dropped({call for call in calls if self._is_transaction_event(call)})
            case CallRetryRequested(call_seqs=calls):
                self._parked_calls -= set(calls) if calls else set(self._parked_calls)
            case CallResultQueued(message_id=asked, payload=payload):
                self._allowed_replies.setdefault(asked, []).append(
                    rpc.encode_result(asked, payload)
                )
            case CallErrorQueued(message_id=asked, error_code=code, error_description=why):
                self._allowed_replies.setdefault(asked, []).append(
                    rpc.encode_error(asked, code, why)
                )
            case MeterRead(evse_id=evse_id, energy_wh=energy_wh):
                before = self._registers_wh.get(evse_id, Decimal(0))
                told = f"the register of EVSE {evse_id} fell from {before} to {energy_wh} Wh"
                check(energy_wh >= before, "P2", told)
                self._registers_wh[evse_id] = energy_wh

    def _check_dropped(self, events: set[int]) -> None:
        """Only samples that were never tried, and only where there is no room. E12.FR.05."""
        assert self.state is not None
        short = self.state.health.storage_level != "enough"
        check(short or not events, "P2", f"TransactionEvents {events} dropped")
        for call in events:
            body = json.loads(bytes(self._queued_calls[call].payload))
            check(body["eventType"] == "Updated", "P2", f"dropped for want of room: {body}")
            check(call not in self._attempts_by_call, "P2", f"{call} dropped, though it was tried")
        self._dropped_calls |= events

    def _is_transaction_event(self, call: int) -> bool:
        return call in self._queued_calls and self._queued_calls[call].transaction_event is not None

    def _check_queued(self, call: int, queued: CallQueued) -> None:
        """E01.FR.07: from 0, without a gap, Started first, nothing after Ended."""
        self._queued_calls[call] = queued
        mark = queued.transaction_event
        if mark is None:
            return
        told = self._calls_by_transaction.setdefault(mark.transaction_id, [])
        body = json.loads(bytes(queued.payload))
        check(
            mark.seq_no == body["seqNo"] == len(told),
            "P2",
            f"seqNo {body['seqNo']} of {mark.transaction_id} where {len(told)} was due",
        )
        check((body["eventType"] == "Started") == (not told), "P2", f"not the first: {body}")
        check(
            mark.transaction_id not in self._ended_transactions, "P2", f"told after its end: {body}"
        )
        self._check_idle_reported(mark)
        if body["eventType"] == "Ended":
            self._ended_transactions.add(mark.transaction_id)
        told.append(call)

    def _check_idle_reported(self, mark: TransactionEventSummary) -> None:
        """After a start nobody says that the EV is gone before its EVSE has spoken. E02.FR.13.

        Of an EV that was never told of Idle says nothing new.
        """
        assert self.state is not None
        before = self.state.transactions.by_id(mark.transaction_id)
        told = None if before is None else before.charging_state
        if mark.charging_state != "Idle" or told in (None, "Idle"):
            return
        known = mark.evse_id == 0 or self.state.evses.by_id(mark.evse_id).is_cable_known
        check(known, "P2", f"Idle, but EVSE {mark.evse_id} has not spoken: {mark}")

    def _record_attempt(self, entry: Entry, attempted: CallAttempted) -> None:
        self._check_retry_interval(entry, attempted)
        before = self._attempts_by_call.get(attempted.call_seq, [])
        attempt = SentAttempt(
            attempted.call_seq,
            attempted.action,
            attempted.message_id,
            attempted.offline,
            already_answered=any(one.answered for one in before),
        )
        self._attempt_by_id[attempted.message_id] = attempt
        self._attempts_by_call.setdefault(attempted.call_seq, []).append(attempt)

    def _check_retry_interval(self, entry: Entry, attempted: CallAttempted) -> None:
        """The pause between two attempts is kept, on uptime. E13.FR.03, P7."""
        assert self.state is not None
        until_ms = self.state.outbox.retry_ms
        if attempted.lane != "transaction" or until_ms is None:
            return
        late_ms = entry.uptime_ms - until_ms
        check(late_ms >= 0, "P7", f"{-late_ms} ms before the pause is over: {attempted}")

    def _on_frame_received(self, frame: msgspec.Raw) -> None:
        match rpc.parse_frame(frame):
            case rpc.CallResultFrame(message_id=message_id):
                self._finish_attempt(message_id, answered=True)
            case rpc.CallErrorFrame(message_id=message_id):
                self._finish_attempt(message_id, answered=False)

    def _finish_attempt(self, message_id: str, *, answered: bool) -> None:
        attempt = self._attempt_by_id.get(message_id)
        if attempt is None:
            return
        attempt.is_finished = True
        attempt.answered |= answered
        if attempt is self._in_flight:
            self._in_flight = None

    def _check_failed_attempt(self, entry: Entry, failed: CallAttemptFailed) -> None:
        """An attempt fails by an answer that is none, or by a silence that was long enough."""
        attempt = self._attempt_by_id[failed.message_id]
        assert self.state is not None
        limit_ms = (
            Context(self.product, self.state, entry).variable_integer(MESSAGE_TIMEOUT, default=30)
            * 1000
        )
        waited_ms = entry.uptime_ms - (attempt.sent_uptime_ms or entry.uptime_ms)
        patient = attempt.is_finished or waited_ms >= limit_ms
        check(patient, "E13", f"given up {waited_ms} ms after it left: {failed}")
        self.allowed_resends += 1
        self._finish_attempt(failed.message_id, answered=False)

    # --- The wire --------------------------------------------------------------------------------

    def on_connected(self, connection: SimulatedConnection) -> None:
        self._in_flight = None

    def on_frame_sent(self, connection: SimulatedConnection, text: str) -> None:
        """Nothing leaves that the file does not hold, and nothing leaves twice without need."""
        match rpc.parse_frame(text.encode()):
            case rpc.CallFrame() as frame:
                self._check_sent_call(connection, frame)
            case rpc.CallResultFrame(message_id=asked) | rpc.CallErrorFrame(message_id=asked):
                self._check_sent_reply(asked, text)
            case broken:
                check(False, "P3", f"a frame that is no message: {broken}")

    def _check_sent_call(self, connection: SimulatedConnection, frame: rpc.CallFrame) -> None:
        attempt = self._attempt_by_id.get(frame.message_id)
        if attempt is None:
            raise InvariantError(f"P3: {frame.action} sent, but not journaled")
        flying = self._in_flight
        check(flying is None, "Part 4 §4.1.1", f"{attempt} while {flying} is in flight")
        check(attempt.connection is None, "Part 4 §4.1.4", f"{attempt} sent twice")
        assert self.process is not None
        attempt.connection, self._in_flight = connection, attempt
        attempt.sent_uptime_ms = self.process.environment.clock.uptime_ms()
        self._check_payload(attempt, frame)
        if self._is_transaction_event(attempt.call):
            self._check_order(attempt)
            self._check_resend(attempt)

    def _check_payload(self, attempt: SentAttempt, frame: rpc.CallFrame) -> None:
        queued = self._queued_calls[attempt.call]
        check(frame.action == queued.action, "P3", f"{frame.action} for {queued.action}")
        body = _payload_decoder.decode(frame.payload)
        assert self.process is not None
        expected = restore_payload(
            _payload_decoder.decode(queued.payload), self.process.store.value_of
        )
        if attempt.offline:
            expected = expected | {"offline": True}
        check(body == expected, "P3", f"sent {body}, journaled {expected}")

    def _check_order(self, attempt: SentAttempt) -> None:
        """Everything before it of its transaction is delivered or parked. E13.

        Not so for a message that went before: what is tried again goes behind it.
        """
        if sum(one.connection is not None for one in self._attempts_by_call[attempt.call]) > 1:
            return
        mark = self._queued_calls[attempt.call].transaction_event
        assert mark is not None
        for earlier in self._calls_by_transaction[mark.transaction_id][: mark.seq_no]:
            check(
                any(
                    earlier in one
                    for one in (self._delivered_calls, self._parked_calls, self._dropped_calls)
                ),
                "P2",
                f"seqNo {mark.seq_no} of {mark.transaction_id} goes before call {earlier}",
            )

    def _check_resend(self, attempt: SentAttempt) -> None:
        """A message goes again only where its answer did not come, was an error, or is lost."""
        *before, _ = [
            one for one in self._attempts_by_call[attempt.call] if one.connection is not None
        ]
        check(not attempt.already_answered, "P2", f"{attempt} sent again, though answered")
        if before:
            self.resent_count += 1
            lost = before[-1].connection is not attempt.connection
            check(lost or before[-1].is_finished, "P2", f"{attempt} sent again without need")
            self.allowed_resends += lost

    def _check_sent_reply(self, message_id: str, text: str) -> None:
        said = _payload_decoder.decode(text)
        assert self.process is not None
        value_of = self.process.store.value_of
        texts = self._allowed_replies.get(message_id, [])
        journaled = any(
            restore_payload(_payload_decoder.decode(one), value_of) == said for one in texts
        )
        check(journaled, "P3", f"an answer that is not journaled: {text}")

    def on_transaction_event(self, event: TransactionEventRequest) -> None:
        """The CSMS takes in only what the journal has."""
        calls = self._calls_by_transaction.get(event.transaction_info.transaction_id, [])
        check(event.seq_no < len(calls), "P3", f"the CSMS has what the journal has not: {event}")

    # --- The power -------------------------------------------------------------------------------

    def on_contactor_closing(self, evse_id: int) -> None:
        """No contactor closes without cable, authorization and health, as journaled. P3."""
        assert self.state is not None
        held = self.state.authorizations.on_evse(evse_id)
        evse = self.state.evses.by_id(evse_id)
        blocking = self.state.faults.blocking_fault(evse_id)
        where = f"EVSE {evse_id} closes"
        check(held is not None, "P3", f"{where} without an authorization")
        check(evse.is_plugged_in, "P3", f"{where} without a cable")
        check(blocking is None, "P3", f"{where} despite {blocking}")

    # --- The end ---------------------------------------------------------------------------------

    def check_completeness(self, records: dict[str, TransactionRecord]) -> None:
        """The ledger of the CSMS is the journal's account: all of it, and nothing else. P2."""
        assert self.state is not None
        check(not self.state.outbox.parked, "P2", f"parked: {self.state.outbox.parked}")
        for name in [*records, *self._calls_by_transaction]:
            check(name in self._calls_by_transaction, "P2", f"{name} is not in the journal")
            check(name in records, "P2", f"{name} is not in the ledger")
        for name, calls in self._calls_by_transaction.items():
            self._check_record(records[name], calls)
            check(name in self._ended_transactions, "P2", f"{name} never ended")
        again = sum(one.duplicates for one in records.values())
        check(again <= self.resent_count <= self.allowed_resends, "P2", f"{again} came again")

    def _check_record(self, record: TransactionRecord, calls: list[int]) -> None:
        taken = sorted(record.events)
        name = record.transaction_id
        due = [seq_no for seq_no, call in enumerate(calls) if call not in self._dropped_calls]
        check(taken == due, "P2", f"{name}: {due} to be told, {taken} taken")
        changed = [line for line in record.find_complaints() if "something else" in line]
        check(not changed, "P2", f"{name}: {changed}")
        for seq_no in due:
            told = json.loads(bytes(self._queued_calls[calls[seq_no]].payload))
            heard = json.loads(encode(record.events[seq_no]))
            check(
                _comparable_fields(told) == _comparable_fields(heard),
                "P2",
                f"{name}: {heard} is not {told}",
            )


def _comparable_fields(body: dict[str, Any]) -> dict[str, Any]:
    """What may not differ between journal and ledger; the idToken is a reference here only."""
    return {key: body.get(key) for key in body if key not in ("offline", "idToken")}
