"""Which call goes out next, and what becomes of one that failed?

Rules over the outbox. The transaction lane keeps its order whatever happens (E13); a lost link is
no failed attempt; everything else may go in between, so that a long backlog silences nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from journal.events import Decision, Event
from journal.observations import CallPayloadLost, LinkClosed, StationStarted
from journal.projections.outbox import (
    CallAttempted,
    CallAttemptFailed,
    CallDelivered,
    CallInFlight,
    CallParked,
    CallsDropped,
    Lane,
    Outbox,
)
from journal.projections.registration import RegistrationFailed
from journal.projections.thinnable import TransactionUpdatesThinned
from station.core.context import Context, Deadline, Rule

BACKLOG_MIN: Final = 16  # transaction calls; with more waiting, other calls go ahead of them
THINNED_CALLS_MAX: Final = 512  # samples looked at in one judgement
BOOT_RETRY_S: Final = 60  # where the CSMS names no interval. B02.FR.07, B03.FR.05
LINK_LOST_REASON: Final = "link lost"  # reasons of CallsDropped
THINNED_REASON: Final = "little room left, every second sample goes (E12.FR.05)"
MESSAGE_TIMEOUT: Final = "OCPPCommCtrlr.MessageTimeout[Default]"
MESSAGE_ATTEMPTS: Final = "OCPPCommCtrlr.MessageAttempts[TransactionEvent]"
MESSAGE_ATTEMPT_INTERVAL: Final = "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]"


def message_timeout_ms(ctx: Context) -> int:
    """How long an answer may take. Part 4 §4.1.1 leaves it to us."""
    return message_timeout_s(ctx) * 1000


def message_timeout_s(ctx: Context) -> int:
    """Seconds, as the network connection profile in use has it. B09, messageTimeout."""
    in_use = ctx.state.network_profiles.candidate_profile(ctx.state.link.slot)
    told = in_use.message_timeout_s if in_use else 0
    return told or ctx.variable_integer(MESSAGE_TIMEOUT, default=30)


def complete_call(ctx: Context, call: int, message_id: str) -> Iterator[Decision]:
    """The CSMS answered, in time or late."""
    yield CallDelivered(call, message_id)


def fail_attempt(
    ctx: Context, flight: CallInFlight, why: str, *, refused_by_csms: bool = False
) -> Iterator[Decision]:
    """An attempt ended without a usable answer. E13.FR.02 to 04 for transactions."""
    outbox = ctx.state.outbox
    match flight.lane:
        case "transaction" if flight.call_seq == outbox.next_transaction_call:
            tries = outbox.failed_attempts + 1
            wait_ms = ctx.variable_integer(MESSAGE_ATTEMPT_INTERVAL, default=60) * 1000 * tries
            yield CallAttemptFailed(flight.call_seq, flight.message_id, why, wait_ms)
            if tries >= ctx.variable_integer(MESSAGE_ATTEMPTS, default=3):
                yield CallParked(flight.call_seq, f"attempt {tries} of {tries}: {why}")
        case "boot":
            yield CallAttemptFailed(flight.call_seq, flight.message_id, why, 0)
            yield CallsDropped((flight.call_seq,), why)
            yield RegistrationFailed(BOOT_RETRY_S)
        case "general" if refused_by_csms or not outbox.is_kept_when_offline(flight.call_seq):
            yield CallAttemptFailed(flight.call_seq, flight.message_id, why, 0)
            yield CallsDropped((flight.call_seq,), why, refused_by_csms)
        case _:
            yield CallAttemptFailed(flight.call_seq, flight.message_id, why, 0)


def fail_by_call_error(ctx: Context, flight: CallInFlight, why: str) -> Iterator[Decision]:
    """A CALLERROR. What is not a transaction's is not asked twice: the CSMS has spoken."""
    yield from fail_attempt(ctx, flight, why, refused_by_csms=True)


def is_overdue(ctx: Context, flight: CallInFlight) -> bool:
    """Whether the answer to the call in flight did not come in time, since it left."""
    return flight.sent_ms is not None and ctx.uptime_ms >= flight.sent_ms + message_timeout_ms(ctx)


def timeout_reason(ctx: Context) -> str:
    return f"no answer within {message_timeout_s(ctx)} s"


def drop_calls_of_link(ctx: Context) -> Iterator[Decision]:
    """What need not survive the link, or the program, goes. What it said is told anew. B04.

    A BootNotification that waited tells the reason of another start. B01.FR.09.
    """
    if not isinstance(ctx.entry.event, LinkClosed | StationStarted):
        return
    outbox = ctx.state.outbox
    gone = tuple(call for call in outbox.general if not outbox.is_kept_when_offline(call))
    if outbox.boot_call_seq is not None:
        gone = (outbox.boot_call_seq, *gone)
    if gone:
        yield CallsDropped(gone, LINK_LOST_REASON)


def thin_waiting_samples(ctx: Context) -> Iterator[Decision]:
    """Short of room: of the samples that wait, the 1st, 3rd, 5th … of a transaction go. E12.FR.05.

    What tells more than readings stays, and so does what was tried already.
    """
    if ctx.state.health.storage_level == "enough" or len(ctx.state.thinnable.waiting) < 2:
        return
    looked = tuple(islice(ctx.state.thinnable.waiting, THINNED_CALLS_MAX))
    of: dict[str | None, list[int]] = {}
    for call in looked:
        of.setdefault(ctx.state.thinnable.waiting.owner_of(call), []).append(call)
    gone = sorted(call for calls in of.values() for call in calls[: len(calls) // 2 * 2 : 2])
    if gone:
        yield CallsDropped(tuple(gone), THINNED_REASON)
        yield TransactionUpdatesThinned(looked[-1])


def on_payload_lost(ctx: Context) -> Iterator[Decision]:
    """What was to be sent is gone: the call steps aside, so that the others can go."""
    assert isinstance(ctx.entry.event, CallPayloadLost)
    call, why = ctx.entry.event.call_seq, ctx.entry.event.reason
    flight = ctx.state.outbox.in_flight
    if flight is None or flight.call_seq != call:
        return
    if flight.lane == "transaction":
        yield CallParked(call, why)
    else:
        yield CallsDropped((call,), why)


def attempt_next_call(ctx: Context) -> Iterator[Decision]:
    """Send the next call, if one may go. At most one is in flight. Part 4 §4.1.1."""
    outbox = ctx.state.outbox
    if not ctx.state.link.online or outbox.in_flight is not None:
        return
    chosen = _select_next_call(ctx)
    if chosen is None:
        return
    lane, call, action = chosen
    yield CallAttempted(
        call_seq=call,
        lane=lane,
        action=action,
        message_id=ctx.make_uuid("call", call, ctx.entry.seq),
        attempt=outbox.failed_attempts + 1 if lane == "transaction" else 1,
        offline=lane == "transaction" and call < ctx.state.link.opened_seq,
    )


def _select_next_call(ctx: Context) -> tuple[Lane, int, str] | None:
    """The lane, the call and its action."""
    outbox = ctx.state.outbox
    if outbox.boot_call_seq is not None:
        return "boot", outbox.boot_call_seq, "BootNotification"
    if not ctx.state.registration.is_accepted:
        return next(
            (_general_call(outbox, call) for call in outbox.general if _is_solicited(outbox, call)),
            None,
        )
    first, other = _due_transaction_call(ctx), outbox.general.head
    if first is None:
        return None if other is None else _general_call(outbox, other)
    if other is not None and (other < first or len(outbox.transaction) >= BACKLOG_MIN):
        return _general_call(outbox, other)
    return "transaction", first, "TransactionEvent"


def _due_transaction_call(ctx: Context) -> int | None:
    """The head of the lane, unless it rests between two attempts. E13.FR.03."""
    outbox = ctx.state.outbox
    if outbox.retry_ms is not None and ctx.uptime_ms < outbox.retry_ms:
        return None
    return outbox.next_transaction_call


def _general_call(outbox: Outbox, call: int) -> tuple[Lane, int, str]:
    other = outbox.general_info.get(call)
    assert other is not None, f"call {call} waits, but nothing is known of it"
    return "general", call, other.action


def _is_solicited(outbox: Outbox, call: int) -> bool:
    other = outbox.general_info.get(call)
    return other is not None and other.requested_by_csms


def next_attempt_due_ms(ctx: Context) -> int | None:
    """Uptime at which the call in flight is overdue, or the transaction lane may try again."""
    outbox = ctx.state.outbox
    if outbox.in_flight:
        sent_ms = outbox.in_flight.sent_ms
        return None if sent_ms is None else sent_ms + message_timeout_ms(ctx)
    if ctx.may_send_calls and len(outbox.transaction):
        return outbox.retry_ms
    return None


OBSERVED: Final[dict[type[Event], Rule]] = {CallPayloadLost: on_payload_lost}
DEADLINES: Final[tuple[Deadline, ...]] = (next_attempt_due_ms,)
RULES: Final[tuple[Rule, ...]] = (drop_calls_of_link, thin_waiting_samples, attempt_next_call)
