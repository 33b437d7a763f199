"""Which calls has the CSMS not confirmed, in what order do they go, and which one is under way?

One lane keeps the strict order of transaction messages, one holds everything else, and the
BootNotification has a place of its own. A call is known by the number of the entry that queued
it; the payload stays in that entry, so a month offline costs this memory ten bytes per call.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from journal.observations import FrameSent, LinkClosed, LinkOpened, StationStarted
from journal.persistent import Backlog, Line, Table
from journal.projections.base import Projection
from journal.terms import Decision, Entry, IdToken, Observation

Lane = Literal["boot", "transaction", "rest"]


class TransactionMark(msgspec.Struct, frozen=True):
    """What a TransactionEvent tells, for whoever must not read payloads."""

    transaction_id: str
    evse_id: int
    seq_no: int
    event_type: Literal["Started", "Updated", "Ended"]
    trigger_reason: str
    charging_state: str | None = None
    tells: tuple[str, ...] = ()  # of "evse", "id_token", "remote_start", "begin", "end"
    id_token: IdToken | None = None  # whom the CSMS will judge in its answer. E01.FR.12
    granted_seq: int = 0  # the right to charge that the transaction has, or had


class StatusMark(msgspec.Struct, frozen=True):
    """What a StatusNotification tells."""

    evse_id: int
    connector_id: int
    status: str


class CallQueued(Decision, frozen=True, kw_only=True):
    """A CALL waits for its turn. Its payload is final but for `offline`."""

    lane: Lane
    action: str
    payload: msgspec.Raw
    transaction: TransactionMark | None = None
    status: StatusMark | None = None
    keep: bool = False  # survives the loss of the link: QueueAllMessages, or OCPP demands it
    solicited: bool = False  # the CSMS asked for it, so it may go before acceptance. B02.FR.02


class CallAttempted(Decision, frozen=True, kw_only=True):
    """A CALL goes out, once, under this messageId. Part 4 §4.1.4: each attempt has its own."""

    call: int
    lane: Lane
    action: str
    message_id: str
    attempt: int
    offline: bool = False  # TransactionEvent only. E11.FR.02, E11.FR.07, E12.FR.02


class CallDelivered(Decision, frozen=True):
    """The CSMS answered the call, to this or an earlier attempt."""

    call: int
    message_id: str


class AttemptFailed(Decision, frozen=True):
    """A CALLERROR, an unusable answer, or none in time. E13.FR.02. A lost link is none of these."""

    call: int
    message_id: str
    why: str
    retry_after_ms: int  # back-off from now on. E13.FR.03


class CallParked(Decision, frozen=True):
    """The last attempt failed: the call steps aside and the lane goes on. E13.FR.04."""

    call: int
    reason: str


class CallsDropped(Decision, frozen=True):
    """Calls that nobody has to hear of any more."""

    calls: tuple[int, ...]
    reason: str
    heard: bool = False  # the CSMS had them, and would have none of it


class RetryRequested(Observation, frozen=True):
    """An operator wants the parked calls to be tried again; without numbers, all of them."""

    calls: tuple[int, ...] = ()


class Other(msgspec.Struct, frozen=True):
    """A call outside of transactions."""

    action: str
    keep: bool
    solicited: bool


class InFlight(msgspec.Struct, frozen=True):
    call: int
    lane: Lane
    action: str
    message_id: str
    attempt: int
    offline: bool
    sent_ms: int | None = None  # uptime at which it left; a slow commit may hold it back


class Parked(msgspec.Struct, frozen=True):
    call: int
    reason: str
    transaction_id: str | None
    message_ids: tuple[str, ...]


class Outbox(Projection, frozen=True):
    """Invariant: at most one call is in flight; mostly one that waits, rarely one settled late."""

    HEARS = (
        CallQueued, CallAttempted, CallDelivered, AttemptFailed, CallParked, CallsDropped,
        RetryRequested, FrameSent, LinkOpened, LinkClosed, StationStarted,
    )  # fmt: skip

    boot: int | None = None
    transaction: Backlog = Backlog()  # by transactionId
    rest: Line = Line()
    other: Table[int, Other] = Table()  # what `rest` has to know of its calls
    judges: Table[int, IdToken] = Table()  # call -> whose idToken it carries, parked or not
    in_flight: InFlight | None = None
    trying: int | None = None  # of the transaction lane: it keeps the lane until it is settled
    failures: int = 0  # of the call being tried
    tried: tuple[str, ...] = ()  # its messageIds so far: a late answer still counts
    retry_ms: int | None = None  # uptime before which the transaction lane rests
    parked: tuple[Parked, ...] = ()
    again: tuple[Parked, ...] = ()  # were parked and wait anew: a late answer still counts

    def after(self, entry: Entry) -> Outbox:
        match entry.event:
            case CallQueued() as queued:
                return self._queued(entry.seq, queued)
            case CallAttempted() as attempt:
                return self._attempted(entry, attempt)
            case FrameSent(message_id=sent):
                return self._left(entry.uptime_ms, sent)
            case CallDelivered(call=call, message_id=message_id):
                settled = self._delivered(call, message_id)
                return replace(settled, judges=self.judges.without(call))
            case AttemptFailed() as failed:
                return self._failed(entry, failed)
            case CallParked(call=call, reason=reason):
                return self._parked(call, reason)
            case CallsDropped(calls=calls):
                outbox = self
                for call in calls:
                    outbox = outbox._without(call)
                return outbox
            case RetryRequested(calls=calls):
                return self._again(calls)
            case LinkOpened() | LinkClosed():
                return replace(self, in_flight=None)
            case StationStarted():
                return replace(self, in_flight=None, retry_ms=None)
            case _:
                return self

    def _queued(self, call: int, queued: CallQueued) -> Outbox:
        match queued.lane:
            case "boot":
                return replace(self, boot=call)
            case "transaction":
                assert queued.transaction is not None, f"call {call} belongs to no transaction"
                owner, id_token = queued.transaction.transaction_id, queued.transaction.id_token
                return replace(
                    self,
                    transaction=self.transaction.having(call, owner),
                    judges=self.judges.having(call, id_token) if id_token else self.judges,
                )
            case "rest":
                return replace(
                    self,
                    rest=self.rest.then(call),
                    other=self.other.having(
                        call, Other(queued.action, queued.keep, queued.solicited)
                    ),
                )

    def _attempted(self, entry: Entry, attempt: CallAttempted) -> Outbox:
        flight = InFlight(
            call=attempt.call,
            lane=attempt.lane,
            action=attempt.action,
            message_id=attempt.message_id,
            attempt=attempt.attempt,
            offline=attempt.offline,
        )
        if attempt.lane != "transaction" or attempt.call not in self.transaction:
            return replace(self, in_flight=flight)  # the latter: where entries were swapped
        return replace(
            self,
            in_flight=flight,
            trying=attempt.call,
            tried=(*self.tried, attempt.message_id),
        )

    def _left(self, uptime_ms: int, message_id: str) -> Outbox:
        flight = self.in_flight
        if flight is None or flight.message_id != message_id:
            return self
        return replace(self, in_flight=replace(flight, sent_ms=uptime_ms))

    def _delivered(self, call: int, message_id: str) -> Outbox:
        """A late answer settles the call, but the attempt under way is still unanswered.

        It stays in flight, or two calls would be open at once. Part 4 §4.1.1.
        """
        flight = self.in_flight
        settled = self._without(call)
        if flight and flight.call == call and flight.message_id != message_id:
            return replace(settled, in_flight=flight)
        return settled

    def _failed(self, entry: Entry, failed: AttemptFailed) -> Outbox:
        landed = replace(self, in_flight=None)
        if self.keeps(failed.call):  # it goes behind the others, which need not wait for it
            return replace(landed, rest=self.rest.without(failed.call).then(failed.call))
        if failed.call != self.trying:
            return landed
        return replace(
            landed, failures=self.failures + 1, retry_ms=entry.uptime_ms + failed.retry_after_ms
        )

    def _parked(self, call: int, reason: str) -> Outbox:
        before = next((one.message_ids for one in self.again if one.call == call), ())
        aside = Parked(call, reason, self.transaction.owner_of(call), (*before, *self.tried))
        rest = self._without(call)
        return replace(rest, parked=(*rest.parked, aside))

    def _again(self, calls: tuple[int, ...]) -> Outbox:
        chosen = [one for one in self.parked if not calls or one.call in calls]
        outbox = replace(self, parked=tuple(one for one in self.parked if one not in chosen))
        for one in chosen:
            if one.transaction_id is None:
                continue
            outbox = replace(
                outbox,
                again=(*outbox.again, one),
                transaction=outbox.transaction.having(one.call, one.transaction_id),
            )
        return outbox

    def _without(self, call: int) -> Outbox:
        """The outbox when `call` is settled, wherever it stood."""
        if call == self.boot:
            return replace(self, boot=None, in_flight=self._flight_without(call))
        transaction = self.transaction.without(call)
        if transaction is not self.transaction:
            return self._without_transaction_call(call, transaction)
        if any(one.call == call for one in self.parked):
            return replace(self, parked=tuple(one for one in self.parked if one.call != call))
        return replace(
            self,
            rest=self.rest.without(call),
            other=self.other.without(call),
            in_flight=self._flight_without(call),
        )

    def _without_transaction_call(self, call: int, transaction: Backlog) -> Outbox:
        settled = replace(
            self,
            transaction=transaction,
            again=tuple(one for one in self.again if one.call != call),
            in_flight=self._flight_without(call),
        )
        if call != self.trying:
            return settled
        return replace(settled, trying=None, failures=0, tried=(), retry_ms=None)

    def _flight_without(self, call: int) -> InFlight | None:
        return None if self.in_flight and self.in_flight.call == call else self.in_flight

    def __len__(self) -> int:
        return len(self.transaction) + len(self.rest) + (self.boot is not None)

    def __bool__(self) -> bool:
        return True  # an empty outbox is still an outbox

    @property
    def first(self) -> int | None:
        """The call of the transaction lane whose turn it is.

        One that was parked and waits anew stands before what came after it, but not before a call
        that is being tried.
        """
        return self.transaction.head if self.trying is None else self.trying

    def owner_of(self, call: int) -> str | None:
        """The transactionId of a call that waits or is parked."""
        parked = next((one.transaction_id for one in self.parked if one.call == call), None)
        return self.transaction.owner_of(call) or parked

    def keeps(self, call: int) -> bool:
        """Whether a call outside of transactions survives the loss of the link."""
        other = self.other.get(call)
        return other is not None and other.keep

    def named(self, message_id: str) -> tuple[int, bool] | None:
        """Which call an answer belongs to, and whether it answers the attempt under way."""
        if self.in_flight and self.in_flight.message_id == message_id:
            return self.in_flight.call, True
        if message_id in self.tried and self.trying is not None:
            return self.trying, False
        for one in (*self.parked, *self.again):
            if message_id in one.message_ids:
                return one.call, False
        return None
