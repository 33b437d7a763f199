"""Invariants of the station that are checked at every step of a simulation.

`InvariantChecker` observes each commit, each frame, each event in the CSMS's ledger and each
contactor that closes. It keeps records of its own: a second `State`, applied from the entries in
the file and from nothing else. The first step that breaks a promise raises `InvariantError`, which
begins with its name:

    P1      Nothing acknowledged is lost: at each start the file holds all entries seen before, and
            a commit under way either whole or not at all.
            on_process_started, _apply_entries
    P2      TransactionEvents: seqNo gapless from 0, Started first, nothing after Ended; sent in
            order, and again only without a response; dropped only on a full disk; at the end the
            ledger of the CSMS equals the journal. Registers never decrease.
            _check_queued, _check_order, _check_resend, _check_dropped, check_completeness,
            _record_entry
    P3      Commit before effect: every frame sent and every closing contactor follows from entries
            in the file.
            _check_sent_call, _check_sent_reply, on_transaction_event, on_contactor_closing
    P4      Replay is exact: after start-up and after each commit, the state equals the second one
            and encodes to the same bytes.
            on_process_started, after_commit
    P6      Bounds: size of the state, waiting observations, deadlines without an effect.
            on_process_started, after_commit, _check_deadline_effect
    P7      The pause between two attempts is kept on uptime, whatever the wall clock does.
            _check_retry_interval
    P8      No rule raises.
            _apply_entries
    P11     What a meter counted is billed or listed: at the end, for each meter, the last register
            less the first is the sum of what the TransactionEvents bill (Transaction.Begin to
            Transaction.End) and of the EnergyUnaccounted entries; the last register is the true
            one.
            _record_entry, check_energy
    SC.01   The limits in force are those that profiles and external limits give at that moment;
            set-points exceed neither the limit of their EVSE nor together that of the station.
            _check_power_limits, on_set_points
    D01     The Local Authorization List is the one the CSMS sent and the station accepted, after
            every commit and every start.
            _apply_entries
    A02     With security profile 3 the station has one or two certificates at any time, and
            each has its private key; so has each CSR under way. At the end there is one, and no
            private key of another.
            _check_certificates, check_private_keys
    H01     Each open reservation has an EVSE without an authorization; it is used by its own
            idToken or group, at its own EVSE; its id is carried, and its end reported, once.
            _apply_entries, after_commit
    N07     eventIds grow; events of thresholds alternate between exceeded and cleared, beginning
            with exceeded; a monitor rests between two events, and all events are bounded; each is
            in a NotifyEvent.
            monitor_checks.py
    E13     An attempt fails only by an error or after the message timeout.
            _check_failed_attempt
    Part 4  One CALL is in flight, and no messageId is sent twice.
            _check_sent_call

Other promises are checked elsewhere: P5 by the mutation sweep of `verify`, P9 by the tests of TLS,
parsers and floods, P10 by the benchmarks.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, Final

import msgspec

from journal.events import Entry
from journal.format.id_tokens import restore_payload
from journal.observations import (
    DeadlineReached,
    FrameReceived,
    MeterFellSilent,
    MeterRead,
    StationStarted,
)
from journal.projections.certificate_signing import CertificateSigningEnded
from journal.projections.certificates import CertificateInstalled
from journal.projections.clock import ClockCorrected
from journal.projections.energy_ledger import EnergyUnaccounted
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
from station.core.blocks.k_smart_charging.limits import present_limit
from station.core.blocks.k_smart_charging.schedule import unix_ms
from station.core.blocks.m_certificates import STATION_CERTIFICATE
from station.core.context import Context, Product
from station.core.outbox_rules import MESSAGE_TIMEOUT
from station.ocpp import rpc
from station.ocpp.messages import encode
from station.ocpp.messages.e_transactions import TransactionEventRequest
from station.simulation.certificates import CertificateWorld
from station.simulation.csms_ledger import TransactionRecord
from station.simulation.evse_double import EvseDouble
from station.simulation.local_list_model import LocalListModel
from station.simulation.monitor_checks import MonitorChecks
from station.simulation.network import SimulatedConnection
from station.simulation.reservation_record import ReservationRecord
from station.simulation.station_process import StationProcess
from station.simulation.world import SimulationObserver
from station.transcript import lines

STATE_BYTES_MAX: Final = 256 * 1024  # of the encoded state; hours of faults need less
WAITING_OBSERVATIONS_MAX: Final = 5_000  # in the queue of the recorder
LIMIT_LATE_MS: Final = 1_000  # a limit changes so long after its border at most
IDLE_DEADLINES_MAX: Final = 20  # deadlines in a row without an effect
TRANSCRIPT_LINES_MAX: Final = 400  # kept for the report of a failure

_payload_decoder = msgspec.json.Decoder(float_hook=Decimal)


class InvariantError(AssertionError):
    """An invariant, and how it was broken."""


def check(condition: object, invariant: str, message: str) -> None:
    """Raise InvariantError unless the condition holds."""
    if not condition:
        raise InvariantError(f"{invariant}: {message}")


def own_certificates(state: State) -> tuple[CertificateInstalled, ...]:
    """The certificates that the station connects with."""
    return state.certificates.for_uses(STATION_CERTIFICATE)


def _private_keys(state: State) -> Iterator[str]:
    """The references that certificates and CSRs need."""
    yield from (each.private_key_ref for each in own_certificates(state))
    for request in state.certificate_signing.requests:
        if request.private_key_ref:
            yield request.private_key_ref


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


class InvariantChecker(SimulationObserver):
    """Checks the invariants; see the module's docstring.

    Attributes:
        recent_lines: the latest entries and events, for the report of a failure.
        resent_count: TransactionEvents that were sent again.
        allowed_resends: attempts that failed, or were lost with their connection.
    """

    def __init__(self, product: Product) -> None:
        self.product = product
        self.process: StationProcess | None = None
        self.state: State | None = None  # from the entries in the file
        self.seq = 0
        self.recent_lines: deque[str | Entry] = deque(maxlen=TRANSCRIPT_LINES_MAX)
        self.resent_count = self.allowed_resends = 0
        self._pending_commit: list[Entry] = []  # a commit with an unknown outcome
        self._queued_calls: dict[int, CallQueued] = {}
        self._calls_by_transaction: dict[str, list[int]] = {}  # by transactionId, in order
        self._ended_transactions: set[str] = set()
        self._delivered_calls: set[int] = set()
        self._parked_calls: set[int] = set()
        self._dropped_calls: set[int] = set()  # on a full disk. E12.FR.05
        self._attempt_by_id: dict[str, SentAttempt] = {}  # by messageId
        self._attempts_by_call: dict[int, list[SentAttempt]] = {}
        self._in_flight: SentAttempt | None = None  # on the connection in use
        self._allowed_replies: dict[str, list[str]] = {}  # messageId to the texts that may be sent
        self._first_registers_wh: dict[int, Decimal] = {}
        self._registers_wh: dict[int, Decimal] = {}  # the newest
        self._unaccounted: list[EnergyUnaccounted] = []
        self._local_list = LocalListModel()
        self.reservations = ReservationRecord()
        self._idle_deadlines = 0
        self.set_point_checks = 0
        self.monitor_checks = MonitorChecks()
        self.renewals_count = 0
        self._last_entry: Entry
        self._is_clock_corrected = False  # by the commit that was written last
        self._committed_ms = 0  # uptime when the newest commit was done

    @property
    def monitor_counts(self) -> tuple[int, int]:
        """Events of monitors, and those in a NotifyEvent."""
        return self.monitor_checks.event_count, self.monitor_checks.notified_count

    def add_line(self, text: str) -> None:
        """Add an event of the simulation to the transcript."""
        self.recent_lines.append(text)

    def recent_transcript(self) -> str:
        """The latest entries and events, one per line."""
        return "\n".join(
            line if isinstance(line, str) else lines.format_entry(line)
            for line in self.recent_lines
        )

    # --- The file --------------------------------------------------------------------------------

    def on_process_started(self, process: StationProcess) -> None:
        """The state after start-up is exactly that of the file, with every commit. P1, P4."""
        self.process = process
        store = process.store
        if self.state is None:
            self.state = State(store.journal_id)
        head = store.head.seq
        check(head >= self.seq, "P1", f"the file ends at entry {head}, before at {self.seq}")
        new_entries = list(store.reader.iter_entries(self.seq + 1))
        new_seqs = [entry.seq for entry in new_entries]
        is_whole = not new_seqs or new_seqs == [entry.seq for entry in self._pending_commit]
        check(is_whole, "P1", f"only a part of a commit is in the file: {new_seqs}")
        self._pending_commit = []
        self._apply_entries(new_entries)
        check(process.startup.state == self.state, "P4", "replay gives another state")
        encoded = encode_state(self.state)
        check(encode_state(process.startup.state) == encoded, "P4", "two encodings of one state")
        check(len(encoded) < STATE_BYTES_MAX, "P6", f"the state takes {len(encoded)} bytes")
        self._in_flight = None
        if self.seq:
            self._check_certificates()

    async def before_commit(self, entries: list[Entry]) -> None:
        self._pending_commit = entries

    def after_write(self, entries: list[Entry]) -> None:
        self._apply_entries(entries)
        self._pending_commit = []
        self._last_entry = entries[-1]
        self._check_certificates()
        self._is_clock_corrected = any(isinstance(entry.event, ClockCorrected) for entry in entries)

    def after_commit(self, state: State) -> None:
        """The state of the recorder equals the state of the file. P4."""
        check(state == self.state, "P4", "the recorder's state is not that of the journal")
        assert self.process is not None
        self._committed_ms = self.process.environment.clock.uptime_ms()
        self._check_power_limits(state)
        for broken in self.reservations.broken_by_state(state):
            check(False, "H01", broken)
        waiting_count = len(self.process.recorder._queue)
        check(waiting_count < WAITING_OBSERVATIONS_MAX, "P6", f"{waiting_count} observations wait")

    def _apply_entries(self, entries: Iterable[Entry]) -> None:
        assert self.state is not None
        for entry in entries:
            check(entry.seq == self.seq + 1, "P1", f"entry {entry.seq} after {self.seq}")
            self.seq = entry.seq
            self.recent_lines.append(entry)
            self._check_deadline_effect(entry)
            self._record_entry(entry)
            for broken in self.reservations.broken_by_entry(entry):
                check(False, "H01", broken)
            self.state = apply_entry(self.state, entry)
            failed = self.state.health.failed_rule
            check(not failed, "P8", f"rule {failed} failed")
        difference = self._local_list.describe_difference(self.state.local_list)
        check(not difference, "D01", f"the local list has {difference}")

    def _check_deadline_effect(self, entry: Entry) -> None:
        """A deadline without an effect must not be repeated endlessly. P6."""
        if isinstance(entry.event, DeadlineReached):
            self._idle_deadlines += 1
            check(
                self._idle_deadlines < IDLE_DEADLINES_MAX,
                "P6",
                f"{self._idle_deadlines} deadlines in a row without an effect",
            )
        elif entry.cause is not None or not isinstance(entry.event, DeadlineReached):
            self._idle_deadlines = 0

    def _record_entry(self, entry: Entry) -> None:
        violation = self.monitor_checks.find_violation(entry)
        check(violation is None, "N07", violation or "")
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
            case CertificateSigningEnded(end="installed"):
                self.renewals_count += 1
            case CallRetryRequested(call_seqs=calls):
                self._parked_calls -= set(calls) if calls else set(self._parked_calls)
            case CallResultQueued(message_id=message_id, payload=payload):
                self._local_list.on_response(message_id, payload)
                text = rpc.encode_result(message_id, payload)
                self._allowed_replies.setdefault(message_id, []).append(text)
            case CallErrorQueued(
                message_id=message_id, error_code=code, error_description=description
            ):
                text = rpc.encode_error(message_id, code, description)
                self._allowed_replies.setdefault(message_id, []).append(text)
            case (
                MeterRead(evse_id=evse_id, energy_wh=energy_wh)
                | MeterFellSilent(evse_id=evse_id, energy_wh=energy_wh)
            ):
                self._record_register(evse_id, energy_wh)
            case EnergyUnaccounted() as unaccounted:
                self._unaccounted.append(unaccounted)

    def _record_register(self, evse_id: int, energy_wh: Decimal) -> None:
        """Registers never fall, except where a meter was replaced. J02.FR.16"""
        assert self.process is not None
        previous_wh = self._registers_wh.get(evse_id, Decimal(0))
        change = f"register of EVSE {evse_id} fell from {previous_wh} to {energy_wh} Wh"
        is_replaced = self.process.environment.evses[evse_id].was_replaced
        check(is_replaced or energy_wh >= previous_wh, "P2", change)
        self._first_registers_wh.setdefault(evse_id, energy_wh)
        self._registers_wh[evse_id] = energy_wh

    def _check_dropped(self, events: set[int]) -> None:
        """Only samples that were never sent are dropped, and only on a full disk. E12.FR.05."""
        assert self.state is not None
        is_short = self.state.health.storage_level != "enough"
        check(is_short or not events, "P2", f"TransactionEvents {events} dropped")
        for call in events:
            body = json.loads(bytes(self._queued_calls[call].payload))
            check(body["eventType"] == "Updated", "P2", f"dropped on a full disk: {body}")
            check(call not in self._attempts_by_call, "P2", f"{call} dropped after an attempt")
        self._dropped_calls |= events

    def _is_transaction_event(self, call: int) -> bool:
        return call in self._queued_calls and self._queued_calls[call].transaction_event is not None

    def _check_queued(self, call: int, queued: CallQueued) -> None:
        """E01.FR.07: seqNo from 0 without a gap, Started first, nothing after Ended."""
        self._queued_calls[call] = queued
        event = queued.transaction_event
        if event is None:
            return
        calls = self._calls_by_transaction.setdefault(event.transaction_id, [])
        body = json.loads(bytes(queued.payload))
        check(
            event.seq_no == body["seqNo"] == len(calls),
            "P2",
            f"seqNo {body['seqNo']} of {event.transaction_id}, expected {len(calls)}",
        )
        check((body["eventType"] == "Started") == (not calls), "P2", f"Started not first: {body}")
        check(event.transaction_id not in self._ended_transactions, "P2", f"after Ended: {body}")
        self._check_idle_reported(event)
        if body["eventType"] == "Ended":
            self._ended_transactions.add(event.transaction_id)
        calls.append(call)

    def _check_idle_reported(self, event: TransactionEventSummary) -> None:
        """After a start, Idle is not reported before the EVSE reported its cable. E02.FR.13.

        Idle is no news for a transaction without a charging state, or with Idle as the last one.
        """
        assert self.state is not None
        transaction = self.state.transactions.by_id(event.transaction_id)
        last_state = None if transaction is None else transaction.charging_state
        if event.charging_state != "Idle" or last_state in (None, "Idle"):
            return
        is_known = event.evse_id == 0 or self.state.evses.by_id(event.evse_id).is_cable_known
        check(is_known, "P2", f"Idle, but EVSE {event.evse_id} has no cable report: {event}")

    def _record_attempt(self, entry: Entry, attempted: CallAttempted) -> None:
        self._check_retry_interval(entry, attempted)
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

    def _check_retry_interval(self, entry: Entry, attempted: CallAttempted) -> None:
        """The pause between two attempts is kept, on uptime. E13.FR.03, P7."""
        assert self.state is not None
        retry_ms = self.state.outbox.retry_ms
        if attempted.lane != "transaction" or retry_ms is None:
            return
        late_ms = entry.uptime_ms - retry_ms
        check(late_ms >= 0, "P7", f"{-late_ms} ms before the end of the pause: {attempted}")

    def _on_frame_received(self, frame: msgspec.Raw) -> None:
        match rpc.parse_frame(frame):
            case rpc.CallResultFrame(message_id=message_id):
                self._finish_attempt(message_id, answered=True)
            case rpc.CallErrorFrame(message_id=message_id):
                self._finish_attempt(message_id, answered=False)
            case rpc.CallFrame(action="SendLocalList") as call:
                self._local_list.on_request(call.message_id, call.payload)

    def _finish_attempt(self, message_id: str, *, answered: bool) -> None:
        attempt = self._attempt_by_id.get(message_id)
        if attempt is None:
            return
        attempt.is_finished = True
        attempt.answered |= answered
        if attempt is self._in_flight:
            self._in_flight = None

    def _check_failed_attempt(self, entry: Entry, failed: CallAttemptFailed) -> None:
        """An attempt fails by an invalid response, or after the message timeout. E13."""
        attempt = self._attempt_by_id[failed.message_id]
        assert self.state is not None
        limit_ms = (
            Context(self.product, self.state, entry).variable_integer(MESSAGE_TIMEOUT, default=30)
            * 1000
        )
        waited_ms = entry.uptime_ms - (attempt.sent_uptime_ms or entry.uptime_ms)
        is_due = attempt.is_finished or waited_ms >= limit_ms
        check(is_due, "E13", f"given up {waited_ms} ms after it was sent: {failed}")
        self.allowed_resends += 1
        self._finish_attempt(failed.message_id, answered=False)

    # --- Frames ----------------------------------------------------------------------------------

    def on_connected(self, connection: SimulatedConnection) -> None:
        self._in_flight = None

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
        """The calls before it in its transaction are delivered, parked or dropped. E13.

        Does not apply to a message that was sent before: a retried call is sent after later ones.
        """
        attempts = self._attempts_by_call[attempt.call]
        if sum(earlier.connection is not None for earlier in attempts) > 1:
            return
        event = self._queued_calls[attempt.call].transaction_event
        assert event is not None
        settled = self._delivered_calls | self._parked_calls | self._dropped_calls
        for call in self._calls_by_transaction[event.transaction_id][: event.seq_no]:
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
        calls = self._calls_by_transaction.get(event.transaction_info.transaction_id, [])
        check(event.seq_no < len(calls), "P3", f"the CSMS received, not journaled: {event}")

    # --- Contactors ------------------------------------------------------------------------------

    def on_contactor_closing(self, evse_id: int) -> None:
        """A contactor closes only with a journaled cable and authorization, and no fault. P3."""
        assert self.state is not None
        authorization = self.state.authorizations.on_evse(evse_id)
        evse = self.state.evses.by_id(evse_id)
        fault = self.state.faults.blocking_fault(evse_id)
        check(authorization is not None, "P3", f"EVSE {evse_id} closes without an authorization")
        check(evse.is_plugged_in, "P3", f"EVSE {evse_id} closes without a cable")
        check(fault is None, "P3", f"EVSE {evse_id} closes despite {fault}")

    # --- Power limits ----------------------------------------------------------------------------

    def _check_power_limits(self, state: State) -> None:
        """The limits that were decided are those that a computation from scratch gives. SC.01.

        Not after a commit that corrects the clock: its entries carry the time before.
        """
        if self._is_clock_corrected or not (
            state.charging_profiles.installed or state.external_limits.limits
        ):
            return
        ctx = Context(self.product, state, self._last_entry)
        for evse_id in (0, *self.product.profile.evse_ids):
            decided = state.power_limits.on_evse(evse_id)
            decided_w = decided.limit_w if decided else None
            limit = present_limit(ctx, evse_id)
            text = f"EVSE {evse_id}: decided {decided_w} W, in force {limit.limit_w} W"
            check(decided_w == limit.limit_w, "SC.01", text)

    def on_set_points(self, setpoints_w: dict[int, int]) -> None:
        """Set-points respect the limits of the newest state that the program has published."""
        assert self.process is not None
        self.set_point_checks += 1
        recorder = self.process.recorder
        limits = recorder.state.power_limits
        if limits.until_unix_ms is not None and not (recorder.is_busy or self._is_clock_corrected):
            # On uptime: a step of the wall clock is noticed with the next observation. P7
            last = self._last_entry
            border_ms = last.uptime_ms + limits.until_unix_ms - unix_ms(last.at)
            due_ms = max(border_ms, self._committed_ms)  # not while the disk holds a commit
            late_ms = self.process.environment.clock.uptime_ms() - due_ms
            check(late_ms < LIMIT_LATE_MS, "SC.01", f"a border passed {late_ms} ms ago: {limits}")
        for evse_id, setpoint_w in setpoints_w.items():
            limit = limits.on_evse(evse_id)
            is_kept = limit is None or setpoint_w <= limit.limit_w
            check(is_kept, "SC.01", f"set-point {setpoint_w} W, limit {limit}")
        station = limits.on_evse(0)
        efficiency = self.product.profile.supply.efficiency_percent
        is_kept = station is None or sum(setpoints_w.values()) * 100 <= station.limit_w * efficiency
        check(is_kept, "SC.01", f"set-points {setpoints_w}, limit of the station {station}")

    # --- The end ---------------------------------------------------------------------------------

    def check_completeness(self, records: dict[str, TransactionRecord]) -> None:
        """The ledger of the CSMS equals the journal: every event, and no other. P2."""
        assert self.state is not None
        check(not self.state.outbox.parked, "P2", f"parked: {self.state.outbox.parked}")
        for transaction_id in [*records, *self._calls_by_transaction]:
            in_journal = transaction_id in self._calls_by_transaction
            check(in_journal, "P2", f"{transaction_id} is not in the journal")
            check(transaction_id in records, "P2", f"{transaction_id} is not in the ledger")
        for transaction_id, calls in self._calls_by_transaction.items():
            self._check_record(records[transaction_id], calls)
            is_ended = transaction_id in self._ended_transactions
            check(is_ended, "P2", f"{transaction_id} has no Ended event")
        duplicates = sum(record.duplicates for record in records.values())
        is_allowed = duplicates <= self.resent_count <= self.allowed_resends
        check(is_allowed, "P2", f"{duplicates} duplicates received")

    def has_read_meters(self, evses: dict[int, EvseDouble]) -> bool:
        """Whether the last register of every meter is in the journal."""
        return all(
            self._registers_wh.get(evse_id) == evse.energy_wh for evse_id, evse in evses.items()
        )

    # --- Certificates ----------------------------------------------------------------------------

    def _check_certificates(self) -> None:
        assert self.process is not None
        assert self.state is not None
        certificates = self.process.environment.certificates
        if certificates is None:
            return
        own = own_certificates(self.state)
        check(1 <= len(own) <= 2, "A02", f"{len(own)} certificates of the station")
        missing = set(_private_keys(self.state)) - certificates.secrets.secrets.keys()
        check(not missing, "A02", f"without a private key: {missing}")

    def check_private_keys(self, certificates: CertificateWorld) -> None:
        """No private key is left that nothing needs."""
        assert self.state is not None
        unneeded = certificates.secrets.secrets.keys() - set(_private_keys(self.state))
        check(not unneeded, "A02", f"private keys that nothing needs: {unneeded}")

    # --- Energy ----------------------------------------------------------------------------------

    def check_energy(self) -> None:
        """What each meter counted is billed to transactions or listed. P11."""
        billed_wh = self._sum_billed()
        for evse_id, first_wh in self._first_registers_wh.items():
            listed = [each for each in self._unaccounted if each.evse_id == evse_id]
            listed_wh = sum((each.to_wh - each.from_wh for each in listed), Decimal(0))
            counted_wh = self._registers_wh[evse_id] - first_wh
            settled_wh = billed_wh.get(evse_id, Decimal(0)) + listed_wh
            check(
                counted_wh == settled_wh,
                "P11",
                f"EVSE {evse_id} counted {counted_wh} Wh, {settled_wh} Wh are billed or listed",
            )

    def _sum_billed(self) -> dict[int, Decimal]:
        """What the TransactionEvents bill, by EVSE. A fall of the register is not billed."""
        billed_wh: dict[int, Decimal] = {}
        for transaction_id, calls in self._calls_by_transaction.items():
            ended = self._queued_calls[calls[-1]].transaction_event
            assert ended is not None
            begin_wh, end_wh = self._find_billed_registers(calls)
            if begin_wh is None or end_wh is None:
                continue
            falls_wh = sum(
                (
                    listed.to_wh - listed.from_wh
                    for listed in self._unaccounted
                    if listed.transaction_id == transaction_id
                    and calls[0] < listed.to_seq <= calls[-1]
                    and listed.reason == "register_fell"
                ),
                Decimal(0),
            )
            billed_wh.setdefault(ended.evse_id, Decimal(0))
            billed_wh[ended.evse_id] += end_wh - begin_wh - falls_wh
        return billed_wh

    def _find_billed_registers(self, calls: list[int]) -> tuple[Decimal | None, Decimal | None]:
        """Registers with context Transaction.Begin and Transaction.End; None: there is none."""
        registers_wh: dict[str, Decimal] = {}
        for call in calls:
            body = _payload_decoder.decode(self._queued_calls[call].payload)
            for value in body.get("meterValue", ()):
                for sampled in value["sampledValue"]:
                    if sampled["measurand"] == "Energy.Active.Import.Register":
                        registers_wh.setdefault(sampled["context"], Decimal(sampled["value"]))
        return registers_wh.get("Transaction.Begin"), registers_wh.get("Transaction.End")

    def _check_record(self, record: TransactionRecord, calls: list[int]) -> None:
        transaction_id = record.transaction_id
        received = sorted(record.events)
        due = [seq_no for seq_no, call in enumerate(calls) if call not in self._dropped_calls]
        check(received == due, "P2", f"{transaction_id}: {due} queued, {received} received")
        changed = [line for line in record.find_complaints() if "different content" in line]
        check(not changed, "P2", f"{transaction_id}: {changed}")
        for seq_no in due:
            queued = json.loads(bytes(self._queued_calls[calls[seq_no]].payload))
            event = json.loads(encode(record.events[seq_no]))
            check(
                _comparable_fields(queued) == _comparable_fields(event),
                "P2",
                f"{transaction_id}: received {event}, queued {queued}",
            )


def _comparable_fields(body: dict[str, Any]) -> dict[str, Any]:
    """Fields that must be equal in journal and ledger. The journal has a reference as idToken."""
    return {key: body.get(key) for key in body if key not in ("offline", "idToken")}
