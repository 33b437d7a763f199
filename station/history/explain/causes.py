"""Links between the entries of a journal: what an entry follows from, and what became of it.

`CausalGraph` reads a journal once, in order, and keeps two kinds of links (200 bytes an entry;
`forget_before` bounds them).

**Direct causes** (backwards), from four sources:

1. The entry's `cause`: the observation a decision was made for. Exception: CallAttempted. A call is
   sent when it is next in the queue: the observation only made room for it. Its cause is the
   call.
2. Fields that hold an entry number: `call_seq` and REFERENCE_FIELDS.
3. messageIds: an answer follows from the attempt, FrameSent from the attempt or the answer.
4. The reason that the decision carries: its row (`station.core.reasons`) names facts, as the fault
   or order in effect, the end of the authorization, the lost link or the cache entry.
   `CurrentEntries` has the entries of each fact. No rule is evaluated again. A decision of a
   release that recorded no reason has no such links.

**Outcomes** (forwards): a call has its attempts and its end (parked, dropped); an attempt or an
answer has FrameSent, the received answer, CallDelivered or CallAttemptFailed, or the lost link or
restart that interrupted it.

`trace_causes` follows direct causes back to observations. A cached authorization leads to the
answer that put it into the cache, and not to earlier uses: `_cache_causes` are followed one step.

Links go to earlier entries only, so there are no cycles. A missing entry leaves its links out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final

from journal.events import Decision, Entry, Event
from journal.observations import (
    DeviceRecovered,
    FrameReceived,
    FrameSent,
    LinkClosed,
    LinkOpened,
    StationStarted,
)
from journal.projections.authorizations import (
    AuthorizationGranted,
    AuthorizationRefused,
    AuthorizationRequested,
)
from journal.projections.outbox import (
    CallAttempted,
    CallAttemptFailed,
    CallDelivered,
    CallParked,
    CallQueued,
    CallRetryRequested,
    CallsDropped,
)
from journal.projections.pending_replies import CallErrorQueued, CallResultQueued
from journal.projections.power_limits import PowerLimitsDecided
from journal.projections.transactions import (
    TransactionSampleKept,
)
from station.core.block_tables import find_reason
from station.history.explain.current_entries import CurrentEntries
from station.history.limiting_causes import LimitEntries
from station.ocpp import rpc
from station.transcript.phrases import LISTED_MAX

# Fields of any event that hold the number of an earlier entry.
REFERENCE_FIELDS: Final = ("update_seq", "upload_seq", "request_seq", "from_seq", "to_seq")

# Decided by the order of the queue: the observation of the commit is not a cause.
DECIDED_BY_QUEUE_ORDER: Final = (CallAttempted,)


class CausalGraph:
    """The links between the entries applied so far."""

    def __init__(self) -> None:
        self.last_seq = 0
        self.entries_by_transaction: dict[str, list[int]] = {}  # transactionId -> its entries
        self.limit_entries = LimitEntries()
        self._direct_causes: dict[int, tuple[int, ...]] = {}
        self._cache_causes: dict[int, int] = {}  # entry -> the cache entry that decided it
        self._first_facts: dict[int, int] = {}  # entry -> first entry of the facts of its reason
        self._outcomes: dict[int, list[int]] = {}
        self._current_entries = CurrentEntries()
        self._entry_by_message_id: dict[str, int] = {}  # messageId -> its attempt or answer
        self._retry_causes: dict[int, int] = {}  # call -> entry because of which it is sent again
        self._parked_calls: set[int] = set()
        self._in_flight: tuple[int, int] | None = None  # (call, attempt)
        self._authorization_requests: dict[str, int] = {}  # reference -> AuthorizationRequested

    def apply(self, entry: Entry) -> None:
        """Apply an entry. Entries come in order; missing ones leave their links out."""
        links = {seq for seq in self._find_causes(entry) if 0 < seq < entry.seq}
        if links:
            self._direct_causes[entry.seq] = tuple(sorted(links))
        self._current_entries.apply(entry)
        self._record_outcomes(entry)
        self.limit_entries.apply(entry)
        if transaction_id := _find_transaction_id(entry.event):
            self.entries_by_transaction.setdefault(transaction_id, []).append(entry.seq)
        self.last_seq = entry.seq

    def direct_causes(self, seq: int) -> tuple[int, ...]:
        """The entries this one directly follows from; empty for most observations."""
        return self._direct_causes.get(seq, ())

    def first_fact(self, seq: int) -> int:
        """The first entry of the facts that the reason of an entry names; 0: none."""
        return self._first_facts.get(seq, 0)

    def outcomes(self, seq: int) -> tuple[int, ...]:
        """What became of a call, an attempt or an answer, in order."""
        return tuple(self._outcomes.get(seq, ()))

    def trace_causes(self, *seqs: int) -> list[int]:
        """These entries and all their causes, back to observations, in order.

        A cache entry is included with its direct causes only.
        """
        reached = set(_reachable_entries(seqs, self._recent_causes))
        cached = {self._cache_causes[seq] for seq in reached if seq in self._cache_causes}
        return sorted(reached.union(cached, *map(self.direct_causes, cached)))

    def _recent_causes(self, seq: int) -> Iterator[int]:
        return (cause for cause in self.direct_causes(seq) if cause != self._cache_causes.get(seq))

    def find_effects(self, seqs: Collection[int]) -> list[int]:
        """The entries that directly follow from one of these, in order. Scans every link."""
        causes = set(seqs)
        return sorted(
            seq for seq, links in self._direct_causes.items() if not causes.isdisjoint(links)
        )

    def trace_messages(self, *seqs: int) -> list[int]:
        """These entries and all their outcomes, in order."""
        return _reachable_entries(seqs, self.outcomes)

    def forget_before(self, first_seq: int) -> None:
        """Drop the links of entries before this one; what is in effect is kept."""
        for links in (self._direct_causes, self._cache_causes, self._first_facts, self._outcomes):
            for seq in [seq for seq in links if seq < first_seq]:
                del links[seq]
        for by_text in (self._entry_by_message_id, self._authorization_requests):
            for text in [text for text, seq in by_text.items() if seq < first_seq]:
                del by_text[text]
        by_transaction = self.entries_by_transaction
        for name in [name for name, seqs in by_transaction.items() if seqs[-1] < first_seq]:
            del by_transaction[name]
        self.limit_entries.forget_before(first_seq)

    # --- Direct causes ---------------------------------------------------------------------------

    def _find_causes(self, entry: Entry) -> Iterator[int]:
        event = entry.event
        if entry.cause is not None and not isinstance(event, DECIDED_BY_QUEUE_ORDER):
            yield entry.cause
        for field in REFERENCE_FIELDS:
            yield getattr(event, field, 0)
        yield from self._entries_of_reason(entry)
        find_causes = CAUSE_FINDERS.get(type(event))
        if find_causes is not None:
            yield from find_causes(self, entry, event)

    def _entries_of_reason(self, entry: Entry) -> Iterator[int]:
        """The entries of the facts that the reason of a decision names."""
        row = find_reason(entry.event)
        for fact in row.facts if row else ():
            for seq in self._current_entries.entries_of_fact(fact, entry.event):
                if fact == "cache_entry":
                    self._cache_causes[entry.seq] = seq
                self._first_facts.setdefault(entry.seq, seq)
                yield seq

    def _causes_of_limits(self, entry: Entry, event: PowerLimitsDecided) -> Iterator[int]:
        """The profiles and external limits that are in force."""
        return (limit.source_seq for limit in event.limits)

    def _causes_of_queued_call(self, entry: Entry, event: CallQueued) -> Iterator[int]:
        if event.action == "Authorize":
            yield entry.seq - 1  # AuthorizationRequested: its call is always the next entry

    def _causes_of_attempt(self, entry: Entry, event: CallAttempted) -> Iterator[int]:
        yield event.call_seq
        yield self._retry_causes.get(event.call_seq, 0)

    def _take_authorization_request(
        self, entry: Entry, event: AuthorizationGranted | AuthorizationRefused
    ) -> Iterator[int]:
        """The request for this idToken and the last attempt at it, answered or not."""
        if request_seq := self._authorization_requests.pop(event.id_token.ref, 0):
            yield request_seq
            yield from self._outcomes.get(request_seq + 1, ())[-1:]  # its call is the next entry

    def _causes_of_station_start(self, entry: Entry, event: StationStarted) -> Iterator[int]:
        yield self._current_entries.restart_seq

    def _causes_of_recovery(self, entry: Entry, event: DeviceRecovered) -> Iterator[int]:
        fault = self._current_entries.faults.get((event.evse_id, event.device, event.fault))
        yield fault[0] if fault else 0

    def _causes_of_frame(self, entry: Entry, event: FrameReceived) -> Iterator[int]:
        """An answer follows from the attempt with its messageId; a CALL has no cause."""
        match rpc.parse_frame(event.frame):
            case (
                rpc.CallResultFrame(message_id=message_id)
                | rpc.CallErrorFrame(message_id=message_id)
            ):
                yield self._entry_by_message_id.get(message_id, 0)

    def _cause_by_message_id(self, entry: Entry, event: Any) -> Iterator[int]:
        yield self._entry_by_message_id.get(event.message_id, 0)

    def _causes_of_parking(self, entry: Entry, event: CallParked) -> Iterator[int]:
        yield event.call_seq
        yield self._retry_causes.get(event.call_seq, 0)

    def _causes_of_drop(self, entry: Entry, event: CallsDropped) -> Iterator[int]:
        if len(event.call_seqs) <= LISTED_MAX:
            yield from event.call_seqs

    # --- Outcomes --------------------------------------------------------------------------------

    def _record_outcomes(self, entry: Entry) -> None:
        """Record the outcomes of calls, and which call is in flight."""
        match entry.event:
            case CallAttempted(call_seq=call_seq, message_id=message_id):
                self._record_outcome(call_seq, entry)
                self._entry_by_message_id[message_id] = entry.seq
                self._retry_causes.pop(call_seq, None)
                self._in_flight = call_seq, entry.seq
            case AuthorizationRequested(id_token=id_token):
                self._authorization_requests[id_token.ref] = entry.seq
            case CallResultQueued(message_id=message_id) | CallErrorQueued(message_id=message_id):
                self._entry_by_message_id[message_id] = entry.seq
            case FrameSent(message_id=message_id) | CallDelivered(message_id=message_id):
                self._record_outcome(self._entry_by_message_id.get(message_id, 0), entry)
            case CallAttemptFailed(call_seq=call_seq, message_id=message_id):
                self._record_outcome(self._entry_by_message_id.get(message_id, 0), entry)
                self._retry_causes[call_seq] = entry.seq
            case CallParked(call_seq=call_seq):
                self._record_outcome(call_seq, entry)
                self._parked_calls.add(call_seq)
            case CallsDropped(call_seqs=call_seqs):
                for call_seq in call_seqs:
                    self._record_outcome(call_seq, entry)
            case FrameReceived():
                for seq in self.direct_causes(entry.seq):
                    self._record_outcome(seq, entry)
            case CallRetryRequested(call_seqs=call_seqs):
                retried = call_seqs or tuple(self._parked_calls)
                self._retry_causes.update(dict.fromkeys(retried, entry.seq))
                self._parked_calls.difference_update(retried)
            case LinkClosed() | LinkOpened() | StationStarted():
                self._interrupt_attempt(entry)
        if self._ends_attempt(entry.event):
            self._in_flight = None

    def _ends_attempt(self, event: Event) -> bool:
        """Whether the attempt in flight ends. A late answer to an earlier attempt leaves it."""
        if self._in_flight is None:
            return False
        call_seq, attempt_seq = self._in_flight
        match event:
            case CallDelivered(message_id=message_id) | CallAttemptFailed(message_id=message_id):
                return self._entry_by_message_id.get(message_id) == attempt_seq
            case CallsDropped(call_seqs=call_seqs):
                return call_seq in call_seqs
            case _:
                return False

    def _interrupt_attempt(self, entry: Entry) -> None:
        """The attempt in flight gets no answer on this connection; its call is sent again."""
        if self._in_flight is not None:
            call_seq, attempt_seq = self._in_flight
            self._retry_causes[call_seq] = entry.seq
            self._outcomes.setdefault(attempt_seq, []).append(entry.seq)
            self._in_flight = None

    def _record_outcome(self, seq: int, entry: Entry) -> None:
        if seq:
            self._outcomes.setdefault(seq, []).append(entry.seq)


def build_causal_graph(entries: Iterable[Entry]) -> CausalGraph:
    """The links between these entries, which come in order."""
    graph = CausalGraph()
    for entry in entries:
        graph.apply(entry)
    return graph


def _reachable_entries(
    seqs: Iterable[int], find_neighbors: Callable[[int], Iterable[int]]
) -> list[int]:
    reached: set[int] = set()
    pending = list(seqs)
    while pending:
        seq = pending.pop()
        if seq not in reached:
            reached.add(seq)
            pending.extend(find_neighbors(seq))
    return sorted(reached)


def _find_transaction_id(event: Event) -> str | None:
    """The transaction that an entry belongs to."""
    if isinstance(event, CallQueued):
        return event.transaction_event.transaction_id if event.transaction_event else None
    if isinstance(event, TransactionSampleKept) or not isinstance(event, Decision):
        return None
    return getattr(event, "transaction_id", None)


# kind -> direct causes besides its observation and the fields that hold entry numbers
CAUSE_FINDERS: Final[dict[type[Event], Callable[[CausalGraph, Entry, Any], Iterator[int]]]] = {
    AuthorizationGranted: CausalGraph._take_authorization_request,
    AuthorizationRefused: CausalGraph._take_authorization_request,
    CallAttemptFailed: CausalGraph._cause_by_message_id,
    CallAttempted: CausalGraph._causes_of_attempt,
    CallDelivered: CausalGraph._cause_by_message_id,
    CallParked: CausalGraph._causes_of_parking,
    CallQueued: CausalGraph._causes_of_queued_call,
    CallsDropped: CausalGraph._causes_of_drop,
    DeviceRecovered: CausalGraph._causes_of_recovery,
    FrameReceived: CausalGraph._causes_of_frame,
    FrameSent: CausalGraph._cause_by_message_id,
    PowerLimitsDecided: CausalGraph._causes_of_limits,
    StationStarted: CausalGraph._causes_of_station_start,
}
