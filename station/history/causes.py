"""What led to an entry, and what became of a message?

A decision names the observation it was made for. What else it follows from stands in its fields
(the call it attempts, the right it ends), in a messageId, or in how things stood just then. All
of that is gathered in one walk through the journal, in order; afterwards the links answer in both
directions. They take some 200 bytes an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final

from journal.observations import (
    DeviceRecovered,
    FrameReceived,
    FrameSent,
    LinkClosed,
    LinkOpened,
    StationStarted,
)
from journal.projections.authorizations import (
    AuthorizationAsked,
    AuthorizationBound,
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationLimited,
    AuthorizationRefused,
    AuthorizationSuspended,
)
from journal.projections.availability import AvailabilityChanged
from journal.projections.lifecycle import RestartOrdered
from journal.projections.outbox import (
    AttemptFailed,
    CallAttempted,
    CallDelivered,
    CallParked,
    CallQueued,
    CallsDropped,
    RetryRequested,
    StatusMark,
    TransactionMark,
)
from journal.projections.replies import CallAnswered, CallRefused
from journal.projections.transactions import (
    SampleKept,
    TransactionAuthorized,
    TransactionStarted,
    TransactionStopping,
)
from journal.terms import Decision, Entry, Event, IdToken, Observation
from station import ocppj
from station.history.judged import status_told
from station.history.standing import Standing
from station.sentences.words import LIST_MAX

# Fields that hold the number of an earlier entry, whichever event they stand in.
REFERENCES: Final = ("update", "upload", "inquiry")

# Decided by turn and not by what happened just then: what came before only made room for it.
BY_TURN: Final = (CallAttempted,)

# Of a right to charge that ended for this, or by a card, it counts who had it and since when.
OF_THE_GRANT: Final = frozenset({"Deauthorized", "EVConnectTimeout"})


class Causes:
    """Links between the entries it has heard."""

    def __init__(self) -> None:
        self.heard = 0  # the last number
        self.transactions: dict[str, list[int]] = {}  # transactionId -> its own entries
        self._behind: dict[int, tuple[int, ...]] = {}
        self._recalled: dict[int, int] = {}  # entry -> what the cache had from long ago, for it
        self._onward: dict[int, list[int]] = {}
        self._standing = Standing()
        self._named: dict[str, int] = {}  # messageId -> the attempt or the answer that bears it
        self._again: dict[int, int] = {}  # call -> what left it unanswered, or had it tried again
        self._parked: set[int] = set()
        self._in_flight: tuple[int, int] | None = None  # (call, attempt)
        self._observed: Observation | None = None  # the last
        self._questions: dict[str, int] = {}  # reference of a token -> entry that asked about it

    def hears(self, entry: Entry) -> None:
        """Take the entry in. Entries come in order; what is missing leaves its links out."""
        if isinstance(entry.event, Observation):
            self._observed = entry.event
        links = {seq for seq in self._links(entry) if 0 < seq < entry.seq}
        if links:
            self._behind[entry.seq] = tuple(sorted(links))
        self._standing.hears(entry)
        self._converses(entry)
        if name := _transaction_of(entry.event):
            self.transactions.setdefault(name, []).append(entry.seq)
        self.heard = entry.seq

    def behind(self, seq: int) -> tuple[int, ...]:
        """The entries this one follows from at once; none for what only the world knows."""
        return self._behind.get(seq, ())

    def onward(self, seq: int) -> tuple[int, ...]:
        """What became of a call, an attempt or an answer: attempts, frames, outcomes."""
        return tuple(self._onward.get(seq, ()))

    def chain(self, *seqs: int) -> list[int]:
        """These entries and everything they follow from, back to what was observed, in order.

        What the cache had is told with what put it there, and not with the visits before that.
        """
        found = set(_closure(seqs, self._lately))
        recalled = {self._recalled[seq] for seq in found if seq in self._recalled}
        return sorted(found.union(recalled, *map(self.behind, recalled)))

    def _lately(self, seq: int) -> Iterator[int]:
        return (one for one in self.behind(seq) if one != self._recalled.get(seq))

    def effects(self, seqs: Collection[int]) -> list[int]:
        """What follows from any of these entries at once, in order. Looks at every link."""
        due = set(seqs)
        return sorted(seq for seq, links in self._behind.items() if not due.isdisjoint(links))

    def conversation(self, *seqs: int) -> list[int]:
        """These entries and everything that became of them on the wire, in order."""
        return _closure(seqs, self.onward)

    # --- Backwards -------------------------------------------------------------------------------

    def _links(self, entry: Entry) -> Iterator[int]:
        event = entry.event
        if entry.cause is not None and not isinstance(event, BY_TURN):
            yield entry.cause
        for field in REFERENCES:
            yield getattr(event, field, 0)
        links = LINKS.get(type(event))
        if links is not None:
            yield from links(self, entry, event)

    def _queued(self, entry: Entry, event: CallQueued) -> Iterator[int]:
        if event.action == "Authorize":
            yield entry.seq - 1  # AuthorizationAsked says that its call is the next entry
        if event.transaction is not None:
            yield from self._told(event.transaction)
        if event.status is not None:
            yield from self._status(event.status)

    def _told(self, mark: TransactionMark) -> Iterator[int]:
        one = self._standing.running.get(mark.transaction_id)
        if one is None:
            return
        if mark.event_type == "Started":
            yield one.started
        elif mark.event_type == "Ended":
            yield one.stopping
        elif mark.trigger_reason in ("Authorized", "RemoteStart"):
            yield one.authorized or one.granted
        elif "end" in mark.tells and one.end is not None:
            yield one.right_ended
            yield from self._of_the_grant(one.end)

    def _status(self, mark: StatusMark) -> Iterator[int]:
        standing, evse_id = self._standing, mark.evse_id
        if mark.status == "Faulted":
            yield from standing.out_of_order(evse_id)
        elif mark.status == "Unavailable":
            yield from standing.out_of_service(evse_id, mark.connector_id)
        elif mark.status == "Occupied":
            running = standing.at(evse_id)
            yield running.started if running else standing.cables.get(evse_id, 0)

    def _attempted(self, entry: Entry, event: CallAttempted) -> Iterator[int]:
        yield event.call
        yield self._again.get(event.call, 0)

    def _stopping(self, entry: Entry, event: TransactionStopping) -> Iterator[int]:
        """The same order in which the rules look for a reason to stop."""
        standing = self._standing
        one = standing.running.get(event.transaction_id)
        if one is None:
            return
        if event.trigger_reason == "AbnormalCondition":
            yield from self._abnormal(one.evse_id, event.stopped_reason)
        elif event.trigger_reason == "ResetCommand":
            yield standing.reset
        elif one.right_ended:
            yield one.right_ended
            if one.end is not None:
                yield from self._of_the_grant(one.end)
        elif event.trigger_reason == "EVCommunicationLost":
            yield standing.cables.get(one.evse_id, 0)
        elif event.trigger_reason == "ChargingStateChanged":
            yield standing.flows.get(one.evse_id, 0)

    def _abnormal(self, evse_id: int, stopped_reason: str) -> Iterator[int]:
        """A fault, an interruption, or a disk that is full: the first of them."""
        standing = self._standing
        faults = [seq for seq, _ in standing.blocking(evse_id)]
        interrupted = stopped_reason in ("PowerLoss", "Reboot")
        yield faults[0] if faults else standing.started if interrupted else standing.full

    def _refused(self, entry: Entry, event: AuthorizationRefused) -> Iterator[int]:
        yield from self._question(event.id_token)
        frame = self._observed
        if isinstance(frame, FrameReceived) and status_told(frame) == event.status:
            return  # the CSMS said so itself
        if event.status in ("NotAtThisTime", "ConcurrentTx", "NoEvseFree"):
            yield from self._standing.obstacles(event.evse_id)
        elif event.status == "CSNotAccepted":
            yield self._standing.registered
        else:
            yield self._cached(entry, event.id_token)
        yield self._standing.offline

    def _let_in(self, entry: Entry, event: AuthorizationGranted) -> Iterator[int]:
        yield from self._question(event.id_token)
        if event.how in ("Cache", "Offline"):
            yield self._standing.offline  # else the CSMS would have been asked
        if event.how == "Cache":
            yield self._cached(entry, event.id_token)

    def _asked(self, entry: Entry, event: AuthorizationAsked) -> Iterator[int]:
        yield self._cached(entry, event.id_token)

    def _question(self, id_token: IdToken) -> Iterator[int]:
        """What was asked about a token, and the last attempt at it: nobody may have answered."""
        if asked := self._questions.pop(id_token.ref, 0):
            yield asked
            yield from self._onward.get(asked + 1, ())[-1:]  # its call is the next entry

    def _cached(self, entry: Entry, id_token: IdToken) -> int:
        known = self._standing.known(id_token.ref)
        if known:
            self._recalled[entry.seq] = known
        return known

    def _right_ended(self, entry: Entry, event: AuthorizationEnded) -> Iterator[int]:
        yield from self._of_the_grant(event)

    def _of_the_grant(self, end: AuthorizationEnded) -> Iterator[int]:
        """Who had the right to charge that ended, and since when no EV was there."""
        if end.trigger_reason in OF_THE_GRANT or end.id_token is not None:
            yield end.granted_seq
        cable = self._standing.cables.get(end.evse_id or 0, 0)
        if end.trigger_reason == "EVConnectTimeout" and cable > end.granted_seq:
            yield cable

    def _begun(self, entry: Entry, event: TransactionStarted) -> Iterator[int]:
        yield event.granted_seq or self._standing.flowing.get(event.evse_id, 0)

    def _started(self, entry: Entry, event: StationStarted) -> Iterator[int]:
        yield self._standing.restart

    def _restart(self, entry: Entry, event: RestartOrdered) -> Iterator[int]:
        yield self._standing.reset or self._standing.firmware

    def _in_service(self, entry: Entry, event: AvailabilityChanged) -> Iterator[int]:
        yield self._standing.closing.get((event.evse_id, event.connector_id), 0)

    def _recovered(self, entry: Entry, event: DeviceRecovered) -> Iterator[int]:
        fault = self._standing.faults.get((event.evse_id, event.device, event.fault))
        yield fault[0] if fault else 0

    def _frame(self, entry: Entry, event: FrameReceived) -> Iterator[int]:
        """An answer follows from the attempt it names; a call from nothing we know."""
        match ocppj.read(event.frame):
            case ocppj.ResultFrame(message_id=name) | ocppj.ErrorFrame(message_id=name):
                yield self._named.get(name, 0)

    def _message(self, entry: Entry, event: Any) -> Iterator[int]:
        yield self._named.get(event.message_id, 0)

    def _call(self, entry: Entry, event: CallParked) -> Iterator[int]:
        yield event.call
        yield self._again.get(event.call, 0)

    def _dropped(self, entry: Entry, event: CallsDropped) -> Iterator[int]:
        if len(event.calls) <= LIST_MAX:
            yield from event.calls
        yield self._standing.short

    def _granted(self, entry: Entry, event: Any) -> Iterator[int]:
        yield event.granted_seq

    # --- Forwards --------------------------------------------------------------------------------

    def _converses(self, entry: Entry) -> None:
        """Note what became of calls, and which of them is under way."""
        match entry.event:
            case CallAttempted(call=call, message_id=name):
                self._became(call, entry)
                self._named[name] = entry.seq
                self._again.pop(call, None)
                self._in_flight = call, entry.seq
            case AuthorizationAsked(id_token=id_token):
                self._questions[id_token.ref] = entry.seq
            case CallAnswered(message_id=name) | CallRefused(message_id=name):
                self._named[name] = entry.seq
            case FrameSent(message_id=name) | CallDelivered(message_id=name):
                self._became(self._named.get(name, 0), entry)
            case AttemptFailed(call=call, message_id=name):
                self._became(self._named.get(name, 0), entry)
                self._again[call] = entry.seq
            case CallParked(call=call):
                self._became(call, entry)
                self._parked.add(call)
            case CallsDropped(calls=calls):
                for call in calls:
                    self._became(call, entry)
            case FrameReceived():
                for seq in self.behind(entry.seq):
                    self._became(seq, entry)
            case RetryRequested(calls=calls):
                self._again.update(dict.fromkeys(calls or self._parked, entry.seq))
                self._parked.difference_update(calls or tuple(self._parked))
            case LinkClosed() | LinkOpened() | StationStarted():
                self._interrupted(entry)
        if self._lands(entry.event):
            self._in_flight = None

    def _lands(self, event: Event) -> bool:
        """Whether the call under way is so no more; a late answer leaves its last attempt there."""
        if self._in_flight is None:
            return False
        call, attempt = self._in_flight
        match event:
            case CallDelivered(message_id=name) | AttemptFailed(message_id=name):
                return self._named.get(name) == attempt
            case CallsDropped(calls=calls):
                return call in calls
            case _:
                return False

    def _interrupted(self, entry: Entry) -> None:
        """The connection took the answer to the call under way with it."""
        if self._in_flight is not None:
            call, attempt = self._in_flight
            self._again[call] = entry.seq
            self._onward.setdefault(attempt, []).append(entry.seq)
            self._in_flight = None

    def _became(self, seq: int, entry: Entry) -> None:
        if seq:
            self._onward.setdefault(seq, []).append(entry.seq)


def causes_of(entries: Iterable[Entry]) -> Causes:
    """The links between all these entries."""
    causes = Causes()
    for entry in entries:
        causes.hears(entry)
    return causes


def _closure(seqs: Iterable[int], step: Callable[[int], Iterable[int]]) -> list[int]:
    found: set[int] = set()
    due = list(seqs)
    while due:
        seq = due.pop()
        if seq not in found:
            found.add(seq)
            due.extend(step(seq))
    return sorted(found)


def _transaction_of(event: Event) -> str | None:
    """The transaction an entry is part of by itself."""
    if isinstance(event, CallQueued):
        return event.transaction.transaction_id if event.transaction else None
    if isinstance(event, SampleKept) or not isinstance(event, Decision):
        return None
    return getattr(event, "transaction_id", None)


# kind -> what else it follows from, beside the observation it was decided for
LINKS: Final[dict[type[Event], Callable[[Causes, Entry, Any], Iterator[int]]]] = {
    AuthorizationAsked: Causes._asked,
    AuthorizationBound: Causes._granted,
    AuthorizationEnded: Causes._right_ended,
    AuthorizationGranted: Causes._let_in,
    AuthorizationLimited: Causes._granted,
    AuthorizationRefused: Causes._refused,
    AuthorizationSuspended: Causes._granted,
    AvailabilityChanged: Causes._in_service,
    AttemptFailed: Causes._message,
    CallAttempted: Causes._attempted,
    CallDelivered: Causes._message,
    CallParked: Causes._call,
    CallQueued: Causes._queued,
    CallsDropped: Causes._dropped,
    DeviceRecovered: Causes._recovered,
    FrameReceived: Causes._frame,
    FrameSent: Causes._message,
    RestartOrdered: Causes._restart,
    StationStarted: Causes._started,
    TransactionAuthorized: Causes._granted,
    TransactionStarted: Causes._begun,
    TransactionStopping: Causes._stopping,
}
