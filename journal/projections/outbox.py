"""The outbox: CALLs that the CSMS has not confirmed, their order, and the one in flight.

There are three lanes. *transaction* keeps the strict order of TransactionEvents; *general* holds
everything else; *boot* has one place, for the BootNotification. At most one call is in flight over
all lanes. A call is identified by the entry that queued it; the payload stays in that entry, so
that a month offline costs the state ten bytes per call.

A call of the transaction lane is *current* from its first attempt until it is settled: delivered,
dropped, or *parked* after its last failed attempt (E13.FR.04), and then the lane continues. A
parked call that an operator retries is *requeued* before all later ones. Answers to earlier
attempts still count, for parked and requeued calls too: the messageIds of all attempts are kept.

A failed attempt of a general call that survives the loss of the link moves it to the end of its
lane; the others there need not wait for it. A lost link or a restart takes the call out of flight
and is not a failed attempt.
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
    """The content of a TransactionEvent that projections and rules need without its payload."""

    transaction_id: str
    evse_id: int
    seq_no: int
    event_type: Literal["Started", "Updated", "Ended"]
    trigger_reason: str
    charging_state: str | None = None
    # Of "evse", "id_token", "remote_start_id", "begin_values", "authorization_end"; and for Ended
    # "old_stop_register": the meter was silent, the register is the last one that was read. P11
    includes: tuple[str, ...] = ()
    id_token: IdToken | None = None  # the answer has its status. E01.FR.12
    authorization_seq: int = 0  # the authorization of the transaction; 0: none


class ConnectorStatusSummary(msgspec.Struct, frozen=True):
    """The content of a StatusNotification."""

    evse_id: int
    connector_id: int
    status: str
    # Fact of `station.core.evse_status` that it follows from; empty: Available, or not recorded
    because: str = ""


class CallQueued(Decision, frozen=True, kw_only=True):
    """A CALL was queued. Its payload is final except for `offline`."""

    VERSION = 2

    lane: Lane
    action: str
    payload: msgspec.Raw  # idToken values replaced by references
    transaction_event: TransactionEventSummary | None = None
    connector_status: ConnectorStatusSummary | None = None
    keep_when_offline: bool = False  # by QueueAllMessages, or because OCPP demands delivery
    requested_by_csms: bool = False  # may be sent before acceptance. B02.FR.02


class CallAttempted(Decision, frozen=True, kw_only=True):
    """A CALL is sent, under a messageId of this attempt alone. Part 4 §4.1.4."""

    call_seq: int
    lane: Lane
    action: str
    message_id: str
    attempt: int  # from 1
    offline: bool = False  # TransactionEvent only. E11.FR.02, E11.FR.07, E12.FR.02


class CallDelivered(Decision, frozen=True):
    """The CSMS answered the call."""

    call_seq: int
    message_id: str  # of the attempt that was answered, the last or an earlier one


class CallAttemptFailed(Decision, frozen=True):
    """A CALLERROR, an unusable answer, or a timeout. E13.FR.02. Not the loss of the link."""

    call_seq: int
    message_id: str
    reason: str
    retry_after_ms: int  # back-off from this entry. E13.FR.03


class CallParked(Decision, frozen=True):
    """The last attempt failed: the call is parked and its lane continues. E13.FR.04."""

    VERSION = 2

    call_seq: int
    reason: str
    because: str = ""  # code of the reason; empty: its release recorded none


class CallsDropped(Decision, frozen=True):
    """Calls were removed without delivery, because they are no longer needed."""

    VERSION = 2

    call_seqs: tuple[int, ...]
    reason: str
    rejected_by_csms: bool = False  # the CSMS answered with a CALLERROR
    because: str = ""  # code of the reason; empty: its release recorded none


class CallRetryRequested(Observation, frozen=True):
    """An operator ordered parked calls to be tried again."""

    call_seqs: tuple[int, ...] = ()  # empty: all


class GeneralCallInfo(msgspec.Struct, frozen=True):
    """What the general lane has to record of a call."""

    action: str
    keep_when_offline: bool
    requested_by_csms: bool


class CallInFlight(msgspec.Struct, frozen=True):
    """The call that was attempted and is not answered yet."""

    call_seq: int
    lane: Lane
    action: str
    message_id: str
    attempt: int
    offline: bool
    sent_ms: int | None = None  # uptime of sending; None: not sent yet


class ParkedCall(msgspec.Struct, frozen=True):
    """A call after its last failed attempt."""

    call_seq: int
    reason: str
    transaction_id: str | None
    message_ids: tuple[str, ...]  # of all its attempts


class Outbox(Projection, frozen=True):
    """Invariant: at most one call is in flight. It waits in a lane, or was settled late."""

    HANDLES = (
        CallQueued, CallAttempted, CallDelivered, CallAttemptFailed, CallParked, CallsDropped,
        CallRetryRequested, FrameSent, LinkOpened, LinkClosed, StationStarted,
    )  # fmt: skip

    boot_call_seq: int | None = None
    transaction: Backlog = Backlog()  # by transactionId
    general: EntryQueue = EntryQueue()
    general_info: ImmutableMap[int, GeneralCallInfo] = ImmutableMap()  # by call
    general_counts: ImmutableMap[str, int] = ImmutableMap()  # calls of the lane, by action
    id_token_by_call: ImmutableMap[int, IdToken] = ImmutableMap()  # call -> its idToken; parked too
    in_flight: CallInFlight | None = None
    current: int | None = None  # call that occupies the transaction lane until it is settled
    failed_attempts: int = 0  # of the current call
    attempt_ids: tuple[str, ...] = ()  # messageIds of the current call's attempts
    retry_ms: int | None = None  # uptime of the next attempt in the transaction lane
    parked: tuple[ParkedCall, ...] = ()
    requeued: tuple[ParkedCall, ...] = ()  # were parked, and wait again

    def apply(self, entry: Entry) -> Outbox:
        match entry.event:
            case CallQueued() as queued:
                return self._on_call_queued(entry.seq, queued)
            case CallAttempted() as attempt:
                return self._on_call_attempted(entry, attempt)
            case FrameSent(message_id=message_id):
                return self._on_frame_sent(entry.uptime_ms, message_id)
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
                event = queued.transaction_event
                assert event is not None, f"call {call_seq} belongs to no transaction"
                id_tokens = self.id_token_by_call
                if event.id_token:
                    id_tokens = id_tokens.with_item(call_seq, event.id_token)
                return replace(
                    self,
                    transaction=self.transaction.with_number(call_seq, event.transaction_id),
                    id_token_by_call=id_tokens,
                )
            case "general":
                info = GeneralCallInfo(
                    queued.action, queued.keep_when_offline, queued.requested_by_csms
                )
                count = self.general_count(queued.action) + 1
                return replace(
                    self,
                    general=self.general.with_number(call_seq),
                    general_info=self.general_info.with_item(call_seq, info),
                    general_counts=self.general_counts.with_item(queued.action, count),
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
            return replace(self, in_flight=flight)  # not waiting: entries were swapped
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
        """A late answer settles the call, but its latest attempt is still unanswered.

        That attempt stays in flight, or two calls would be open at once. Part 4 §4.1.1.
        """
        flight = self.in_flight
        settled = self._without_call(call_seq)
        if flight and flight.call_seq == call_seq and flight.message_id != message_id:
            return replace(settled, in_flight=flight)
        return settled

    def _on_attempt_failed(self, entry: Entry, failed: CallAttemptFailed) -> Outbox:
        call_seq = failed.call_seq
        outbox = replace(self, in_flight=None)
        if self.is_kept_when_offline(call_seq):  # to the end: the others need not wait for it
            others = self.general.without_number(call_seq)
            return replace(outbox, general=others.with_number(call_seq))
        if call_seq != self.current:
            return outbox
        return replace(
            outbox,
            failed_attempts=self.failed_attempts + 1,
            retry_ms=entry.uptime_ms + failed.retry_after_ms,
        )

    def _park_call(self, call_seq: int, reason: str) -> Outbox:
        earlier_ids = next(
            (call.message_ids for call in self.requeued if call.call_seq == call_seq), ()
        )
        parked = ParkedCall(
            call_seq, reason, self.transaction.owner_of(call_seq), (*earlier_ids, *self.attempt_ids)
        )
        rest = self._without_call(call_seq)
        return replace(rest, parked=(*rest.parked, parked))

    def _requeue_parked(self, call_seqs: tuple[int, ...]) -> Outbox:
        chosen = [call for call in self.parked if not call_seqs or call.call_seq in call_seqs]
        outbox = replace(self, parked=tuple(call for call in self.parked if call not in chosen))
        for call in chosen:
            if call.transaction_id is None:
                continue
            outbox = replace(
                outbox,
                requeued=(*outbox.requeued, call),
                transaction=outbox.transaction.with_number(call.call_seq, call.transaction_id),
            )
        return outbox

    def _without_call(self, call_seq: int) -> Outbox:
        """The outbox after a call is settled, from whichever lane."""
        if call_seq == self.boot_call_seq:
            return replace(self, boot_call_seq=None, in_flight=self._in_flight_without(call_seq))
        transaction = self.transaction.without_number(call_seq)
        if transaction is not self.transaction:
            return self._without_transaction_call(call_seq, transaction)
        if any(call.call_seq == call_seq for call in self.parked):
            parked = tuple(call for call in self.parked if call.call_seq != call_seq)
            return replace(self, parked=parked)
        return replace(
            self,
            general=self.general.without_number(call_seq),
            general_info=self.general_info.without_key(call_seq),
            general_counts=self._general_counts_without(call_seq),
            in_flight=self._in_flight_without(call_seq),
        )

    def _general_counts_without(self, call_seq: int) -> ImmutableMap[str, int]:
        info = self.general_info.get(call_seq)
        if info is None:
            return self.general_counts
        count = self.general_count(info.action) - 1
        if count:
            return self.general_counts.with_item(info.action, count)
        return self.general_counts.without_key(info.action)

    def _without_transaction_call(self, call_seq: int, transaction: Backlog) -> Outbox:
        settled = replace(
            self,
            transaction=transaction,
            requeued=tuple(call for call in self.requeued if call.call_seq != call_seq),
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
        """The next call of the transaction lane: the current one, else the oldest.

        A requeued call precedes all later ones, but not the current call.
        """
        return self.transaction.head if self.current is None else self.current

    def transaction_id_of(self, call_seq: int) -> str | None:
        """The transactionId of a call that waits or is parked."""
        parked = (call.transaction_id for call in self.parked if call.call_seq == call_seq)
        return self.transaction.owner_of(call_seq) or next(parked, None)

    def general_count(self, action: str) -> int:
        """How many calls of this action the general lane holds, the one in flight included."""
        return self.general_counts.get(action, 0)

    def is_kept_when_offline(self, call_seq: int) -> bool:
        """Whether a general call survives the loss of the link."""
        info = self.general_info.get(call_seq)
        return info is not None and info.keep_when_offline

    def find_by_message_id(self, message_id: str) -> tuple[int, bool] | None:
        """The call that an answer belongs to, and whether it answers the attempt in flight."""
        if self.in_flight and self.in_flight.message_id == message_id:
            return self.in_flight.call_seq, True
        if message_id in self.attempt_ids and self.current is not None:
            return self.current, False
        for call in (*self.parked, *self.requeued):
            if message_id in call.message_ids:
                return call.call_seq, False
        return None
