"""Invariants of messages: what is queued, attempted, sent and delivered. P2, P3, P7, E13.

Part of `invariants`, whose docstring has the promises.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec

from journal.events import Entry
from journal.format.id_tokens import restore_payload
from journal.observations import FrameReceived, StationStarted
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
from journal.state import State
from station.core.context import Context, Product
from station.core.outbox_rules import MESSAGE_TIMEOUT
from station.ocpp import rpc
from station.ocpp.messages import encode
from station.ocpp.messages.e_transactions import TransactionEventRequest
from station.simulation.csms_ledger import TransactionRecord
from station.simulation.invariant_error import InvariantError, check
from station.simulation.network import SimulatedConnection
from station.simulation.station_process import StationProcess

_payload_decoder = msgspec.json.Decoder(float_hook=Decimal)


class SentAttempt(msgspec.Struct):
    """An attempt of a CALL, as journaled; sent once it has a connection."""

    call: int  # number of the entry that queued it
    action: str
    message_id: str
    offline: bool
    connection: SimulatedConnection | None = None  # it was sent on
    sent_uptime_ms: int | None = None
    already_answered: bool = False  # an earlier attempt was answered when this one was decided
    answered: bool = False  # a CALLRESULT for it is in the journal
    is_finished: bool = False  # it has a response, or was given up


class MessageChecks:
    """Checks what is queued, attempted, sent and received; see the docstring of `invariants`.

    Attributes:
        process: the running program.
        queued_calls: by entry.
        calls_by_transaction: the calls with its TransactionEvents, by transactionId, in order.
        resent_count: TransactionEvents that were sent again.
        allowed_resends: attempts that failed, or were lost with their connection.
    """

    def __init__(self, product: Product) -> None:
        self._product = product
        self.process: StationProcess | None = None
        self.queued_calls: dict[int, CallQueued] = {}
        self.calls_by_transaction: dict[str, list[int]] = {}
        self.resent_count = self.allowed_resends = 0
        self._ended_transactions: set[str] = set()
        self._delivered_calls: set[int] = set()
        self._parked_calls: set[int] = set()
        self._dropped_calls: set[int] = set()  # on a full disk. E12.FR.05
        self._attempt_by_id: dict[str, SentAttempt] = {}  # by messageId
        self._attempts_by_call: dict[int, list[SentAttempt]] = {}
        self._in_flight: SentAttempt | None = None  # on the connection in use
        self._allowed_replies: dict[str, list[str]] = {}  # messageId to the texts that may be sent

    def end_flight(self) -> None:
        """There is another connection, or none: no CALL is in flight."""
        self._in_flight = None

    # --- Entries ---------------------------------------------------------------------------------

    def record_entry(self, entry: Entry, state: State) -> None:
        """Check the next entry of the file; `state`: before it."""
        match entry.event:
            case StationStarted():
                self._in_flight = None
            case CallQueued() as queued:
                self._check_queued(entry.seq, queued, state)
            case CallAttempted() as attempted:
                self._record_attempt(entry, attempted, state)
            case FrameReceived(frame=frame):
                self._record_answer(frame)
            case CallAttemptFailed() as failed:
                self._check_failed_attempt(entry, failed, state)
            case CallDelivered(call_seq=call):
                self._delivered_calls.add(call)
                self._parked_calls.discard(call)
            case CallParked(call_seq=call):
                self._parked_calls.add(call)
            case CallsDropped(call_seqs=calls):
                dropped = {call for call in calls if self._is_transaction_event(call)}
                self._check_dropped(dropped, state)
            case CallRetryRequested(call_seqs=calls):
                self._parked_calls -= set(calls) if calls else set(self._parked_calls)
            case CallResultQueued(message_id=message_id, payload=payload):
                text = rpc.encode_result(message_id, payload)
                self._allowed_replies.setdefault(message_id, []).append(text)
            case CallErrorQueued(
                message_id=message_id, error_code=code, error_description=description
            ):
                text = rpc.encode_error(message_id, code, description)
                self._allowed_replies.setdefault(message_id, []).append(text)

    def _record_answer(self, frame: msgspec.Raw) -> None:
        match rpc.parse_frame(frame):
            case rpc.CallResultFrame(message_id=message_id):
                self._finish_attempt(message_id, answered=True)
            case rpc.CallErrorFrame(message_id=message_id):
                self._finish_attempt(message_id, answered=False)

    def _check_dropped(self, events: set[int], state: State) -> None:
        """Only samples that were never sent are dropped, and only on a full disk. E12.FR.05."""
        is_short = state.health.storage_level != "enough"
        check(is_short or not events, "P2", f"TransactionEvents {events} dropped")
        for call in events:
            body = json.loads(bytes(self.queued_calls[call].payload))
            check(body["eventType"] == "Updated", "P2", f"dropped on a full disk: {body}")
            check(call not in self._attempts_by_call, "P2", f"{call} dropped after an attempt")
        self._dropped_calls |= events

    def _is_transaction_event(self, call: int) -> bool:
        return call in self.queued_calls and self.queued_calls[call].transaction_event is not None

    def _check_queued(self, call: int, queued: CallQueued, state: State) -> None:
        """E01.FR.07: seqNo from 0 without a gap, Started first, nothing after Ended."""
        self.queued_calls[call] = queued
        event = queued.transaction_event
        if event is None:
            return
        calls = self.calls_by_transaction.setdefault(event.transaction_id, [])
        body = json.loads(bytes(queued.payload))
        check(
            event.seq_no == body["seqNo"] == len(calls),
            "P2",
            f"seqNo {body['seqNo']} of {event.transaction_id}, expected {len(calls)}",
        )
        check((body["eventType"] == "Started") == (not calls), "P2", f"Started not first: {body}")
        check(event.transaction_id not in self._ended_transactions, "P2", f"after Ended: {body}")
        _check_idle_reported(event, state)
        if body["eventType"] == "Ended":
            self._ended_transactions.add(event.transaction_id)
        calls.append(call)

    def _record_attempt(self, entry: Entry, attempted: CallAttempted, state: State) -> None:
        _check_retry_interval(entry, attempted, state)
        earlier_attempts = self._attempts_by_call.get(attempted.call_seq, [])
        attempt = SentAttempt(
            attempted.call_seq,
            attempted.action,
            attempted.message_id,
            attempted.offline,
            already_answered=any(earlier.answered for earlier in earlier_attempts),
        )
        self._attempt_by_id[attempted.message_id] = attempt
        self._attempts_by_call.setdefault(attempted.call_seq, []).append(attempt)

    def _finish_attempt(self, message_id: str, *, answered: bool) -> None:
        attempt = self._attempt_by_id.get(message_id)
        if attempt is None:
            return
        attempt.is_finished = True
        attempt.answered |= answered
        if attempt is self._in_flight:
            self._in_flight = None

    def _check_failed_attempt(self, entry: Entry, failed: CallAttemptFailed, state: State) -> None:
        """An attempt fails by an invalid response, or after the message timeout. E13."""
        attempt = self._attempt_by_id[failed.message_id]
        limit_ms = (
            Context(self._product, state, entry).variable_integer(MESSAGE_TIMEOUT, default=30)
            * 1000
        )
        waited_ms = entry.uptime_ms - (attempt.sent_uptime_ms or entry.uptime_ms)
        is_due = attempt.is_finished or waited_ms >= limit_ms
        check(is_due, "E13", f"given up {waited_ms} ms after it was sent: {failed}")
        self.allowed_resends += 1
        self._finish_attempt(failed.message_id, answered=False)

    # --- Frames ----------------------------------------------------------------------------------

    def on_frame_sent(self, connection: SimulatedConnection, text: str) -> None:
        """Every frame is in the file; no CALL is sent twice without need. P2, P3."""
        match rpc.parse_frame(text.encode()):
            case rpc.CallFrame() as call:
                self._check_sent_call(connection, call)
            case (
                rpc.CallResultFrame(message_id=message_id)
                | rpc.CallErrorFrame(message_id=message_id)
            ):
                self._check_sent_reply(message_id, text)
            case frame:
                check(False, "P3", f"malformed frame sent: {frame}")

    def _check_sent_call(self, connection: SimulatedConnection, frame: rpc.CallFrame) -> None:
        attempt = self._attempt_by_id.get(frame.message_id)
        if attempt is None:
            raise InvariantError(f"P3: {frame.action} sent, but not journaled")
        in_flight = self._in_flight
        check(in_flight is None, "Part 4 §4.1.1", f"{attempt} while {in_flight} is in flight")
        check(attempt.connection is None, "Part 4 §4.1.4", f"{attempt} sent twice")
        assert self.process is not None
        attempt.connection, self._in_flight = connection, attempt
        attempt.sent_uptime_ms = self.process.environment.clock.uptime_ms()
        self._check_payload(attempt, frame)
        if self._is_transaction_event(attempt.call):
            self._check_order(attempt)
            self._check_resend(attempt)

    def _check_payload(self, attempt: SentAttempt, frame: rpc.CallFrame) -> None:
        queued = self.queued_calls[attempt.call]
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
        """The calls before it in its transaction are delivered, parked or dropped. E13.

        Does not apply to a message that was sent before: a retried call is sent after later ones.
        """
        attempts = self._attempts_by_call[attempt.call]
        if sum(earlier.connection is not None for earlier in attempts) > 1:
            return
        event = self.queued_calls[attempt.call].transaction_event
        assert event is not None
        settled = self._delivered_calls | self._parked_calls | self._dropped_calls
        for call in self.calls_by_transaction[event.transaction_id][: event.seq_no]:
            check(
                call in settled,
                "P2",
                f"seqNo {event.seq_no} of {event.transaction_id} sent before call {call}",
            )

    def _check_resend(self, attempt: SentAttempt) -> None:
        """A message is sent again only if its response is missing, an error, or lost."""
        *earlier, _ = [
            sent for sent in self._attempts_by_call[attempt.call] if sent.connection is not None
        ]
        check(not attempt.already_answered, "P2", f"{attempt} sent again after its response")
        if earlier:
            self.resent_count += 1
            is_lost = earlier[-1].connection is not attempt.connection
            check(is_lost or earlier[-1].is_finished, "P2", f"{attempt} sent again without need")
            self.allowed_resends += is_lost

    def _check_sent_reply(self, message_id: str, text: str) -> None:
        reply = _payload_decoder.decode(text)
        assert self.process is not None
        value_of = self.process.store.value_of
        is_journaled = any(
            restore_payload(_payload_decoder.decode(allowed), value_of) == reply
            for allowed in self._allowed_replies.get(message_id, [])
        )
        check(is_journaled, "P3", f"response sent, but not journaled: {text}")

    def on_transaction_event(self, event: TransactionEventRequest) -> None:
        """The CSMS receives only events that are in the journal."""
        calls = self.calls_by_transaction.get(event.transaction_info.transaction_id, [])
        check(event.seq_no < len(calls), "P3", f"the CSMS received, not journaled: {event}")

    # --- The end ---------------------------------------------------------------------------------

    def check_completeness(self, records: dict[str, TransactionRecord], state: State) -> None:
        """The ledger of the CSMS equals the journal: every event, and no other. P2."""
        check(not state.outbox.parked, "P2", f"parked: {state.outbox.parked}")
        for transaction_id in [*records, *self.calls_by_transaction]:
            in_journal = transaction_id in self.calls_by_transaction
            check(in_journal, "P2", f"{transaction_id} is not in the journal")
            check(transaction_id in records, "P2", f"{transaction_id} is not in the ledger")
        for transaction_id, calls in self.calls_by_transaction.items():
            self._check_record(records[transaction_id], calls)
            is_ended = transaction_id in self._ended_transactions
            check(is_ended, "P2", f"{transaction_id} has no Ended event")
        duplicates = sum(record.duplicates for record in records.values())
        is_allowed = duplicates <= self.resent_count <= self.allowed_resends
        check(is_allowed, "P2", f"{duplicates} duplicates received")

    def _check_record(self, record: TransactionRecord, calls: list[int]) -> None:
        transaction_id = record.transaction_id
        received = sorted(record.events)
        due = [seq_no for seq_no, call in enumerate(calls) if call not in self._dropped_calls]
        check(received == due, "P2", f"{transaction_id}: {due} queued, {received} received")
        changed = [line for line in record.find_complaints() if "different content" in line]
        check(not changed, "P2", f"{transaction_id}: {changed}")
        for seq_no in due:
            queued = json.loads(bytes(self.queued_calls[calls[seq_no]].payload))
            event = json.loads(encode(record.events[seq_no]))
            check(
                _comparable_fields(queued) == _comparable_fields(event),
                "P2",
                f"{transaction_id}: received {event}, queued {queued}",
            )


def _check_idle_reported(event: TransactionEventSummary, state: State) -> None:
    """After a start, Idle is not reported before the EVSE reported its cable. E02.FR.13.

    Idle is no news for a transaction without a charging state, or with Idle as the last one.
    """
    transaction = state.transactions.by_id(event.transaction_id)
    last_state = None if transaction is None else transaction.charging_state
    if event.charging_state != "Idle" or last_state in (None, "Idle"):
        return
    is_known = event.evse_id == 0 or state.evses.by_id(event.evse_id).is_cable_known
    check(is_known, "P2", f"Idle, but EVSE {event.evse_id} has no cable report: {event}")


def _check_retry_interval(entry: Entry, attempted: CallAttempted, state: State) -> None:
    """The pause between two attempts is kept, on uptime. E13.FR.03, P7."""
    retry_ms = state.outbox.retry_ms
    if attempted.lane != "transaction" or retry_ms is None:
        return
    late_ms = entry.uptime_ms - retry_ms
    check(late_ms >= 0, "P7", f"{-late_ms} ms before the end of the pause: {attempted}")


def _comparable_fields(body: dict[str, Any]) -> dict[str, Any]:
    """Fields that must be equal in journal and ledger. The journal has a reference as idToken."""
    return {key: body.get(key) for key in body if key not in ("offline", "idToken")}
