"""What led to an entry, and what became of a message?

A decision names the observation it was made for. What else it follows from stands in its fields
(the call it attempts, the right it ends), in a messageId, or in how things stood just then. All
of that is gathered in one walk through the journal, in order; afterwards the links answer in both
directions. They take some 200 bytes an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final

from journal.events import Decision, Entry, Event, IdToken, Observation
from journal.observations import (
    DeviceRecovered,
    FrameReceived,
    FrameSent,
    LinkClosed,
    LinkOpened,
    StationStarted,
)
from journal.projections.authorizations import (
    AuthorizationBoundToEvse,
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationLimited,
    AuthorizationRefused,
    AuthorizationRequested,
    AuthorizationSuspended,
)
from journal.projections.availability import AvailabilityChanged
from journal.projections.lifecycle import RestartOrdered
from journal.projections.outbox import (
    CallAttempted,
    CallAttemptFailed,
    CallDelivered,
    CallParked,
    CallQueued,
    CallRetryRequested,
    CallsDropped,
    ConnectorStatusSummary,
    TransactionEventSummary,
)
from journal.projections.pending_replies import CallErrorQueued, CallResultQueued
from journal.projections.transactions import (
    TransactionAuthorized,
    TransactionSampleKept,
    TransactionStarted,
    TransactionStopOrdered,
)
from station.history.explain.csms_verdict import read_authorization_status
from station.history.explain.current_entries import CurrentEntries
from station.ocpp import rpc
from station.transcript.phrases import LISTED_CALLS_MAX

# Fields that hold the number of an earlier entry, whichever event they stand in.
REFERENCE_FIELDS: Final = ("update_seq", "upload_seq", "request_seq")

# Decided by turn and not by what happened just then: what came before only made room for it.
DECIDED_BY_QUEUE_ORDER: Final = (CallAttempted,)

# Of a right to charge that ended for this, or by a card, it counts who had it and since when.
TRACED_TO_AUTHORIZATION: Final = frozenset({"Deauthorized", "EVConnectTimeout"})


class CausalGraph:
    """Links between the entries it has heard."""

    def __init__(self) -> None:
        self.last_seq = 0  # the last number
        self.entries_by_transaction: dict[str, list[int]] = {}  # transactionId -> its own entries
        self._direct_causes: dict[int, tuple[int, ...]] = {}
        self._cache_causes: dict[int, int] = {}  # entry -> what the cache had from long ago, for it
        self._outcomes: dict[int, list[int]] = {}
        self._current_entries = CurrentEntries()
        self._entry_by_message_id: dict[
            str, int
        ] = {}  # messageId -> the attempt or the answer that bears it
        self._retry_causes: dict[
            int, int
        ] = {}  # call -> what left it unanswered, or had it tried again
        self._parked_calls: set[int] = set()
        self._in_flight: tuple[int, int] | None = None  # (call, attempt)
        self._last_observation: Observation | None = None  # the last
        self._authorization_requests: dict[
            str, int
        ] = {}  # reference of a token -> entry that asked about it

    def apply(self, entry: Entry) -> None:
        """Take the entry in. Entries come in order; what is missing leaves its links out."""
        if isinstance(entry.event, Observation):
            self._last_observation = entry.event
        links = {seq for seq in self._find_causes(entry) if 0 < seq < entry.seq}
        if links:
            self._direct_causes[entry.seq] = tuple(sorted(links))
        self._current_entries.apply(entry)
        self._record_outcomes(entry)
        if name := _find_transaction_id(entry.event):
            self.entries_by_transaction.setdefault(name, []).append(entry.seq)
        self.last_seq = entry.seq

    def direct_causes(self, seq: int) -> tuple[int, ...]:
        """The entries this one follows from at once; none for what only the world knows."""
        return self._direct_causes.get(seq, ())

    def outcomes(self, seq: int) -> tuple[int, ...]:
        """What became of a call, an attempt or an answer: attempts, frames, outcomes."""
        return tuple(self._outcomes.get(seq, ()))

    def trace_causes(self, *seqs: int) -> list[int]:
        """These entries and everything they follow from, back to what was observed, in order.

        What the cache had is told with what put it there, and not with the visits before that.
        """
        found = set(_reachable_entries(seqs, self._recent_causes))
        recalled = {self._cache_causes[seq] for seq in found if seq in self._cache_causes}
        return sorted(found.union(recalled, *map(self.direct_causes, recalled)))

    def _recent_causes(self, seq: int) -> Iterator[int]:
        return (one for one in self.direct_causes(seq) if one != self._cache_causes.get(seq))

    def find_effects(self, seqs: Collection[int]) -> list[int]:
        """What follows from any of these entries at once, in order. Looks at every link."""
        due = set(seqs)
        return sorted(
            seq for seq, links in self._direct_causes.items() if not due.isdisjoint(links)
        )

    def trace_messages(self, *seqs: int) -> list[int]:
        """These entries and everything that became of them on the wire, in order."""
        return _reachable_entries(seqs, self.outcomes)

    # --- Backwards -------------------------------------------------------------------------------

    def _find_causes(self, entry: Entry) -> Iterator[int]:
        event = entry.event
        if entry.cause is not None and not isinstance(event, DECIDED_BY_QUEUE_ORDER):
            yield entry.cause
        for field in REFERENCE_FIELDS:
            yield getattr(event, field, 0)
        links = CAUSE_FINDERS.get(type(event))
        if links is not None:
            yield from links(self, entry, event)

    def _causes_of_queued_call(self, entry: Entry, event: CallQueued) -> Iterator[int]:
        if event.action == "Authorize":
            yield entry.seq - 1  # AuthorizationRequested says that its call is the next entry
        if event.transaction_event is not None:
            yield from self._causes_of_transaction_event(event.transaction_event)
        if event.connector_status is not None:
            yield from self._causes_of_status(event.connector_status)

    def _causes_of_transaction_event(self, transaction: TransactionEventSummary) -> Iterator[int]:
        one = self._current_entries.open_transactions.get(transaction.transaction_id)
        if one is None:
            return
        if transaction.event_type == "Started":
            yield one.started_seq
        elif transaction.event_type == "Ended":
            yield one.stopping_seq
        elif transaction.trigger_reason in ("Authorized", "RemoteStart"):
            yield one.authorized_seq or one.granted_seq
        elif "authorization_end" in transaction.includes and one.authorization_end is not None:
            yield one.authorization_ended_seq
            yield from self._authorization_origin(one.authorization_end)

    def _causes_of_status(self, status: ConnectorStatusSummary) -> Iterator[int]:
        standing, evse_id = self._current_entries, status.evse_id
        if status.status == "Faulted":
            yield from standing.faulted_causes(evse_id)
        elif status.status == "Unavailable":
            yield from standing.unavailable_causes(evse_id, status.connector_id)
        elif status.status == "Occupied":
            running = standing.on_evse(evse_id)
            yield running.started_seq if running else standing.cable_seqs.get(evse_id, 0)

    def _causes_of_attempt(self, entry: Entry, event: CallAttempted) -> Iterator[int]:
        yield event.call_seq
        yield self._retry_causes.get(event.call_seq, 0)

    def _causes_of_stop(self, entry: Entry, event: TransactionStopOrdered) -> Iterator[int]:
        """The same order in which the rules look for a reason to stop."""
        standing = self._current_entries
        one = standing.open_transactions.get(event.transaction_id)
        if one is None:
            return
        if event.trigger_reason == "AbnormalCondition":
            yield from self._causes_of_abnormal_stop(one.evse_id, event.stopped_reason)
        elif event.trigger_reason == "ResetCommand":
            yield standing.reset_seq
        elif one.authorization_ended_seq:
            yield one.authorization_ended_seq
            if one.authorization_end is not None:
                yield from self._authorization_origin(one.authorization_end)
        elif event.trigger_reason == "EVCommunicationLost":
            yield standing.cable_seqs.get(one.evse_id, 0)
        elif event.trigger_reason == "ChargingStateChanged":
            yield standing.flow_seqs.get(one.evse_id, 0)

    def _causes_of_abnormal_stop(self, evse_id: int, stopped_reason: str) -> Iterator[int]:
        """A fault, an interruption, or a disk that is full: the first of them."""
        standing = self._current_entries
        faults = [seq for seq, _ in standing.blocking_faults(evse_id)]
        interrupted = stopped_reason in ("PowerLoss", "Reboot")
        yield (
            faults[0] if faults else standing.started_seq if interrupted else standing.disk_full_seq
        )

    def _causes_of_refusal(self, entry: Entry, event: AuthorizationRefused) -> Iterator[int]:
        yield from self._take_authorization_request(event.id_token)
        frame = self._last_observation
        if isinstance(frame, FrameReceived) and read_authorization_status(frame) == event.status:
            return  # the CSMS said so itself
        if event.status in ("NotAtThisTime", "ConcurrentTx", "NoEvseFree"):
            yield from self._current_entries.blocking_entries(event.evse_id)
        elif event.status == "CSNotAccepted":
            yield self._current_entries.registration_seq
        else:
            yield self._record_cache_cause(entry, event.id_token)
        yield self._current_entries.offline_seq

    def _causes_of_authorization(self, entry: Entry, event: AuthorizationGranted) -> Iterator[int]:
        yield from self._take_authorization_request(event.id_token)
        if event.authorized_by in ("Cache", "OfflineUnknownId"):
            yield self._current_entries.offline_seq  # else the CSMS would have been asked
        if event.authorized_by == "Cache":
            yield self._record_cache_cause(entry, event.id_token)

    def _causes_of_authorization_request(
        self, entry: Entry, event: AuthorizationRequested
    ) -> Iterator[int]:
        yield self._record_cache_cause(entry, event.id_token)

    def _take_authorization_request(self, id_token: IdToken) -> Iterator[int]:
        """What was asked about a token, and the last attempt at it: nobody may have answered."""
        if asked := self._authorization_requests.pop(id_token.ref, 0):
            yield asked
            yield from self._outcomes.get(asked + 1, ())[-1:]  # its call is the next entry

    def _record_cache_cause(self, entry: Entry, id_token: IdToken) -> int:
        known = self._current_entries.find_cache_entry(id_token.ref)
        if known:
            self._cache_causes[entry.seq] = known
        return known

    def _causes_of_authorization_end(
        self, entry: Entry, event: AuthorizationEnded
    ) -> Iterator[int]:
        yield from self._authorization_origin(event)

    def _authorization_origin(self, end: AuthorizationEnded) -> Iterator[int]:
        """Who had the right to charge that ended, and since when no EV was there."""
        if end.trigger_reason in TRACED_TO_AUTHORIZATION or end.ended_by_id_token is not None:
            yield end.authorization_seq
        cable = self._current_entries.cable_seqs.get(end.evse_id or 0, 0)
        if end.trigger_reason == "EVConnectTimeout" and cable > end.authorization_seq:
            yield cable

    def _causes_of_transaction_start(
        self, entry: Entry, event: TransactionStarted
    ) -> Iterator[int]:
        yield event.authorization_seq or self._current_entries.charging_seqs.get(event.evse_id, 0)

    def _causes_of_station_start(self, entry: Entry, event: StationStarted) -> Iterator[int]:
        yield self._current_entries.restart_seq

    def _causes_of_restart(self, entry: Entry, event: RestartOrdered) -> Iterator[int]:
        yield self._current_entries.reset_seq or self._current_entries.firmware_seq

    def _causes_of_availability(self, entry: Entry, event: AvailabilityChanged) -> Iterator[int]:
        yield self._current_entries.scheduled_seqs.get((event.evse_id, event.connector_id), 0)

    def _causes_of_recovery(self, entry: Entry, event: DeviceRecovered) -> Iterator[int]:
        fault = self._current_entries.faults.get((event.evse_id, event.device, event.fault))
        yield fault[0] if fault else 0

    def _causes_of_frame(self, entry: Entry, event: FrameReceived) -> Iterator[int]:
        """An answer follows from the attempt it names; a call from nothing we know."""
        match rpc.parse_frame(event.frame):
            case rpc.CallResultFrame(message_id=name) | rpc.CallErrorFrame(message_id=name):
                yield self._entry_by_message_id.get(name, 0)

    def _cause_by_message_id(self, entry: Entry, event: Any) -> Iterator[int]:
        yield self._entry_by_message_id.get(event.message_id, 0)

    def _causes_of_parking(self, entry: Entry, event: CallParked) -> Iterator[int]:
        yield event.call_seq
        yield self._retry_causes.get(event.call_seq, 0)

    def _causes_of_drop(self, entry: Entry, event: CallsDropped) -> Iterator[int]:
        if len(event.call_seqs) <= LISTED_CALLS_MAX:
            yield from event.call_seqs
        yield self._current_entries.disk_low_seq

    def _authorization_entry(self, entry: Entry, event: Any) -> Iterator[int]:
        yield event.authorization_seq

    # --- Forwards --------------------------------------------------------------------------------

    def _record_outcomes(self, entry: Entry) -> None:
        """Note what became of calls, and which of them is under way."""
        match entry.event:
            case CallAttempted(call_seq=call, message_id=name):
                self._record_outcome(call, entry)
                self._entry_by_message_id[name] = entry.seq
                self._retry_causes.pop(call, None)
                self._in_flight = call, entry.seq
            case AuthorizationRequested(id_token=id_token):
                self._authorization_requests[id_token.ref] = entry.seq
            case CallResultQueued(message_id=name) | CallErrorQueued(message_id=name):
                self._entry_by_message_id[name] = entry.seq
            case FrameSent(message_id=name) | CallDelivered(message_id=name):
                self._record_outcome(self._entry_by_message_id.get(name, 0), entry)
            case CallAttemptFailed(call_seq=call, message_id=name):
                self._record_outcome(self._entry_by_message_id.get(name, 0), entry)
                self._retry_causes[call] = entry.seq
            case CallParked(call_seq=call):
                self._record_outcome(call, entry)
                self._parked_calls.add(call)
            case CallsDropped(call_seqs=calls):
                for call in calls:
                    self._record_outcome(call, entry)
            case FrameReceived():
                for seq in self.direct_causes(entry.seq):
                    self._record_outcome(seq, entry)
            case CallRetryRequested(call_seqs=calls):
                self._retry_causes.update(dict.fromkeys(calls or self._parked_calls, entry.seq))
                self._parked_calls.difference_update(calls or tuple(self._parked_calls))
            case LinkClosed() | LinkOpened() | StationStarted():
                self._interrupt_attempt(entry)
        if self._ends_attempt(entry.event):
            self._in_flight = None

    def _ends_attempt(self, event: Event) -> bool:
        """Whether the call under way is so no more; a late answer leaves its last attempt there."""
        if self._in_flight is None:
            return False
        call, attempt = self._in_flight
        match event:
            case CallDelivered(message_id=name) | CallAttemptFailed(message_id=name):
                return self._entry_by_message_id.get(name) == attempt
            case CallsDropped(call_seqs=calls):
                return call in calls
            case _:
                return False

    def _interrupt_attempt(self, entry: Entry) -> None:
        """The connection took the answer to the call under way with it."""
        if self._in_flight is not None:
            call, attempt = self._in_flight
            self._retry_causes[call] = entry.seq
            self._outcomes.setdefault(attempt, []).append(entry.seq)
            self._in_flight = None

    def _record_outcome(self, seq: int, entry: Entry) -> None:
        if seq:
            self._outcomes.setdefault(seq, []).append(entry.seq)


def build_causal_graph(entries: Iterable[Entry]) -> CausalGraph:
    """The links between all these entries."""
    causes = CausalGraph()
    for entry in entries:
        causes.apply(entry)
    return causes


def _reachable_entries(
    seqs: Iterable[int], find_neighbors: Callable[[int], Iterable[int]]
) -> list[int]:
    found: set[int] = set()
    due = list(seqs)
    while due:
        seq = due.pop()
        if seq not in found:
            found.add(seq)
            due.extend(find_neighbors(seq))
    return sorted(found)


def _find_transaction_id(event: Event) -> str | None:
    """The transaction an entry is part of by itself."""
    if isinstance(event, CallQueued):
        return event.transaction_event.transaction_id if event.transaction_event else None
    if isinstance(event, TransactionSampleKept) or not isinstance(event, Decision):
        return None
    return getattr(event, "transaction_id", None)


# kind -> what else it follows from, beside the observation it was decided for
CAUSE_FINDERS: Final[dict[type[Event], Callable[[CausalGraph, Entry, Any], Iterator[int]]]] = {
    AuthorizationRequested: CausalGraph._causes_of_authorization_request,
    AuthorizationBoundToEvse: CausalGraph._authorization_entry,
    AuthorizationEnded: CausalGraph._causes_of_authorization_end,
    AuthorizationGranted: CausalGraph._causes_of_authorization,
    AuthorizationLimited: CausalGraph._authorization_entry,
    AuthorizationRefused: CausalGraph._causes_of_refusal,
    AuthorizationSuspended: CausalGraph._authorization_entry,
    AvailabilityChanged: CausalGraph._causes_of_availability,
    CallAttemptFailed: CausalGraph._cause_by_message_id,
    CallAttempted: CausalGraph._causes_of_attempt,
    CallDelivered: CausalGraph._cause_by_message_id,
    CallParked: CausalGraph._causes_of_parking,
    CallQueued: CausalGraph._causes_of_queued_call,
    CallsDropped: CausalGraph._causes_of_drop,
    DeviceRecovered: CausalGraph._causes_of_recovery,
    FrameReceived: CausalGraph._causes_of_frame,
    FrameSent: CausalGraph._cause_by_message_id,
    RestartOrdered: CausalGraph._causes_of_restart,
    StationStarted: CausalGraph._causes_of_station_start,
    TransactionAuthorized: CausalGraph._authorization_entry,
    TransactionStarted: CausalGraph._causes_of_transaction_start,
    TransactionStopOrdered: CausalGraph._causes_of_stop,
}
