"""Which calls has the CSMS not confirmed, in what order do they go, and which one is under way?

One lane keeps the strict order of transaction messages, one holds everything else, and the
BootNotification has a place of its own. A call is known by the number of the entry that queued
it; the payload stays in that entry, so a month offline costs this memory ten bytes per call.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from journal.events import Decision, Entry, IdToken, Observation
from journal.immutable import Backlog, EntryQueue, ImmutableMap
from journal.observations import FrameSent, LinkClosed, LinkOpened, StationStarted
from journal.projections.base import Projection

Lane = Literal["boot", "transaction", "general"]


class TransactionEventSummary(msgspec.Struct, frozen=True):
    """What a TransactionEvent tells, for whoever must not read payloads."""

    transaction_id: str
    evse_id: int
    seq_no: int
    event_type: Literal["Started", "Updated", "Ended"]
    trigger_reason: str
    charging_state: str | None = None
    includes: tuple[
        str, ...
    ] = ()  # of "evse", "id_token", "remote_start_id", "begin_values", "authorization_end"
    id_token: IdToken | None = None  # whom the CSMS will judge in its answer. E01.FR.12
    authorization_seq: int = 0  # the right to charge that the transaction has, or had


class ConnectorStatusSummary(msgspec.Struct, frozen=True):
    """What a StatusNotification tells."""

    evse_id: int
    connector_id: int
    status: str


class CallQueued(Decision, frozen=True, kw_only=True):
    """A CALL waits for its turn. Its payload is final but for `offline`."""

    lane: Lane
    action: str
    payload: msgspec.Raw
    transaction_event: TransactionEventSummary | None = None
    connector_status: ConnectorStatusSummary | None = None
    keep_when_offline: bool = (
        False  # survives the loss of the link: QueueAllMessages, or OCPP demands it
    )
    requested_by_csms: bool = (
        False  # the CSMS asked for it, so it may go before acceptance. B02.FR.02
    )


class CallAttempted(Decision, frozen=True, kw_only=True):
    """A CALL goes out, once, under this messageId. Part 4 §4.1.4: each attempt has its own."""

    call_seq: int
    lane: Lane
    action: str
    message_id: str
    attempt: int
    offline: bool = False  # TransactionEvent only. E11.FR.02, E11.FR.07, E12.FR.02


class CallDelivered(Decision, frozen=True):
    """The CSMS answered the call, to this or an earlier attempt."""

    call_seq: int
    message_id: str


class CallAttemptFailed(Decision, frozen=True):
    """A CALLERROR, an unusable answer, or none in time. E13.FR.02. A lost link is none of these."""

    call_seq: int
    message_id: str
    reason: str
    retry_after_ms: int  # back-off from now on. E13.FR.03


class CallParked(Decision, frozen=True):
    """The last attempt failed: the call steps aside and the lane goes on. E13.FR.04."""

    call_seq: int
    reason: str


class CallsDropped(Decision, frozen=True):
    """Calls that nobody has to hear of any more."""

    call_seqs: tuple[int, ...]
    reason: str
    rejected_by_csms: bool = False  # the CSMS had them, and would have none of it


class CallRetryRequested(Observation, frozen=True):
    """An operator wants the parked calls to be tried again; without numbers, all of them."""

    call_seqs: tuple[int, ...] = ()


class GeneralCallInfo(msgspec.Struct, frozen=True):
    """A call outside of transactions."""

    action: str
    keep_when_offline: bool
    requested_by_csms: bool


class CallInFlight(msgspec.Struct, frozen=True):
    call_seq: int
    lane: Lane
    action: str
    message_id: str
    attempt: int
    offline: bool
    sent_ms: int | None = None  # uptime at which it left; a slow commit may hold it back


class ParkedCall(msgspec.Struct, frozen=True):
    call_seq: int
    reason: str
    transaction_id: str | None
    message_ids: tuple[str, ...]


class Outbox(Projection, frozen=True):
    """Invariant: at most one call is in flight; mostly one that waits, rarely one settled late."""

    HANDLES = (
        CallQueued, CallAttempted, CallDelivered, CallAttemptFailed, CallParked, CallsDropped,
        CallRetryRequested, FrameSent, LinkOpened, LinkClosed, StationStarted,
    )  # fmt: skip

    boot_call_seq: int | None = None
    transaction: Backlog = Backlog()  # by transactionId
    general: EntryQueue = EntryQueue()
    general_info: ImmutableMap[int, GeneralCallInfo] = (
        ImmutableMap()
    )  # what `rest` has to know of its calls
    id_token_by_call: ImmutableMap[int, IdToken] = (
        ImmutableMap()
    )  # call -> whose idToken it carries, parked or not
    in_flight: CallInFlight | None = None
    current: int | None = None  # of the transaction lane: it keeps the lane until it is settled
    failed_attempts: int = 0  # of the call being tried
    attempt_ids: tuple[str, ...] = ()  # its messageIds so far: a late answer still counts
    retry_ms: int | None = None  # uptime before which the transaction lane rests
    parked: tuple[ParkedCall, ...] = ()
    requeued: tuple[ParkedCall, ...] = ()  # were parked and wait anew: a late answer still counts

    def apply(self, entry: Entry) -> Outbox:
        match entry.event:
            case CallQueued() as queued:
                return self._on_call_queued(entry.seq, queued)
            case CallAttempted() as attempt:
                return self._on_call_attempted(entry, attempt)
            case FrameSent(message_id=sent):
                return self._on_frame_sent(entry.uptime_ms, sent)
            case CallDelivered(call_seq=call, message_id=message_id):
                settled = self._on_call_delivered(call, message_id)
                return replace(settled, id_token_by_call=self.id_token_by_call.without_key(call))
            case CallAttemptFailed() as failed:
                return self._on_attempt_failed(entry, failed)
            case CallParked(call_seq=call, reason=reason):
                return self._park_call(call, reason)
            case CallsDropped(call_seqs=calls):
                outbox = self
                for call in calls:
                    outbox = outbox._without_call(call)
                return outbox
            case CallRetryRequested(call_seqs=calls):
                return self._requeue_parked(calls)
            case LinkOpened() | LinkClosed():
                return replace(self, in_flight=None)
            case StationStarted():
                return replace(self, in_flight=None, retry_ms=None)
            case _:
                return self

    def _on_call_queued(self, call_seq: int, queued: CallQueued) -> Outbox:
        match queued.lane:
            case "boot":
                return replace(self, boot_call_seq=call_seq)
            case "transaction":
                assert queued.transaction_event is not None, (
                    f"call {call_seq} belongs to no transaction"
                )
                owner, id_token = (
                    queued.transaction_event.transaction_id,
                    queued.transaction_event.id_token,
                )
                return replace(
                    self,
                    transaction=self.transaction.with_number(call_seq, owner),
                    id_token_by_call=self.id_token_by_call.with_item(call_seq, id_token)
                    if id_token
                    else self.id_token_by_call,
                )
            case "general":
                return replace(
                    self,
                    general=self.general.with_number(call_seq),
                    general_info=self.general_info.with_item(
                        call_seq,
                        GeneralCallInfo(
                            queued.action, queued.keep_when_offline, queued.requested_by_csms
                        ),
                    ),
                )

    def _on_call_attempted(self, entry: Entry, attempt: CallAttempted) -> Outbox:
        flight = CallInFlight(
            call_seq=attempt.call_seq,
            lane=attempt.lane,
            action=attempt.action,
            message_id=attempt.message_id,
            attempt=attempt.attempt,
            offline=attempt.offline,
        )
        if attempt.lane != "transaction" or attempt.call_seq not in self.transaction:
            return replace(self, in_flight=flight)  # the latter: where entries were swapped
        return replace(
            self,
            in_flight=flight,
            current=attempt.call_seq,
            attempt_ids=(*self.attempt_ids, attempt.message_id),
        )

    def _on_frame_sent(self, uptime_ms: int, message_id: str) -> Outbox:
        flight = self.in_flight
        if flight is None or flight.message_id != message_id:
            return self
        return replace(self, in_flight=replace(flight, sent_ms=uptime_ms))

    def _on_call_delivered(self, call_seq: int, message_id: str) -> Outbox:
        """A late answer settles the call, but the attempt under way is still unanswered.

        It stays in flight, or two calls would be open at once. Part 4 §4.1.1.
        """
        flight = self.in_flight
        settled = self._without_call(call_seq)
        if flight and flight.call_seq == call_seq and flight.message_id != message_id:
            return replace(settled, in_flight=flight)
        return settled

    def _on_attempt_failed(self, entry: Entry, failed: CallAttemptFailed) -> Outbox:
        landed = replace(self, in_flight=None)
        if self.is_kept_when_offline(
            failed.call_seq
        ):  # it goes behind the others, which need not wait for it
            return replace(
                landed,
                general=self.general.without_number(failed.call_seq).with_number(failed.call_seq),
            )
        if failed.call_seq != self.current:
            return landed
        return replace(
            landed,
            failed_attempts=self.failed_attempts + 1,
            retry_ms=entry.uptime_ms + failed.retry_after_ms,
        )

    def _park_call(self, call_seq: int, reason: str) -> Outbox:
        before = next((one.message_ids for one in self.requeued if one.call_seq == call_seq), ())
        aside = ParkedCall(
            call_seq, reason, self.transaction.owner_of(call_seq), (*before, *self.attempt_ids)
        )
        rest = self._without_call(call_seq)
        return replace(rest, parked=(*rest.parked, aside))

    def _requeue_parked(self, call_seqs: tuple[int, ...]) -> Outbox:
        chosen = [one for one in self.parked if not call_seqs or one.call_seq in call_seqs]
        outbox = replace(self, parked=tuple(one for one in self.parked if one not in chosen))
        for one in chosen:
            if one.transaction_id is None:
                continue
            outbox = replace(
                outbox,
                requeued=(*outbox.requeued, one),
                transaction=outbox.transaction.with_number(one.call_seq, one.transaction_id),
            )
        return outbox

    def _without_call(self, call_seq: int) -> Outbox:
        """The outbox when `call` is settled, wherever it stood."""
        if call_seq == self.boot_call_seq:
            return replace(self, boot_call_seq=None, in_flight=self._in_flight_without(call_seq))
        transaction = self.transaction.without_number(call_seq)
        if transaction is not self.transaction:
            return self._without_transaction_call(call_seq, transaction)
        if any(one.call_seq == call_seq for one in self.parked):
            return replace(
                self, parked=tuple(one for one in self.parked if one.call_seq != call_seq)
            )
        return replace(
            self,
            general=self.general.without_number(call_seq),
            general_info=self.general_info.without_key(call_seq),
            in_flight=self._in_flight_without(call_seq),
        )

    def _without_transaction_call(self, call_seq: int, transaction: Backlog) -> Outbox:
        settled = replace(
            self,
            transaction=transaction,
            requeued=tuple(one for one in self.requeued if one.call_seq != call_seq),
            in_flight=self._in_flight_without(call_seq),
        )
        if call_seq != self.current:
            return settled
        return replace(settled, current=None, failed_attempts=0, attempt_ids=(), retry_ms=None)

    def _in_flight_without(self, call_seq: int) -> CallInFlight | None:
        return None if self.in_flight and self.in_flight.call_seq == call_seq else self.in_flight

    def __len__(self) -> int:
        return len(self.transaction) + len(self.general) + (self.boot_call_seq is not None)

    def __bool__(self) -> bool:
        return True  # an empty outbox is still an outbox

    @property
    def next_transaction_call(self) -> int | None:
        """The call of the transaction lane whose turn it is.

        One that was parked and waits anew stands before what came after it, but not before a call
        that is being tried.
        """
        return self.transaction.head if self.current is None else self.current

    def transaction_id_of(self, call_seq: int) -> str | None:
        """The transactionId of a call that waits or is parked."""
        parked = next((one.transaction_id for one in self.parked if one.call_seq == call_seq), None)
        return self.transaction.owner_of(call_seq) or parked

    def is_kept_when_offline(self, call_seq: int) -> bool:
        """Whether a call outside of transactions survives the loss of the link."""
        other = self.general_info.get(call_seq)
        return other is not None and other.keep_when_offline

    def find_by_message_id(self, message_id: str) -> tuple[int, bool] | None:
        """Which call an answer belongs to, and whether it answers the attempt under way."""
        if self.in_flight and self.in_flight.message_id == message_id:
            return self.in_flight.call_seq, True
        if message_id in self.attempt_ids and self.current is not None:
            return self.current, False
        for one in (*self.parked, *self.requeued):
            if message_id in one.message_ids:
                return one.call_seq, False
        return None
