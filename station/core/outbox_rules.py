"""The outbox: which CALL is sent next, and what follows when one fails.

A CALL is queued once, as a CallQueued entry with its action and payload, and *attempted* until it
is delivered, dropped or parked. An attempt is a CallAttempted entry with its own messageId,
committed before the frame leaves. At most one CALL is in flight (Part 4 §4.1.1).

Lanes
    boot         one BootNotification. Nothing else goes out before it is answered, except what
                 the CSMS itself requested while the station is Pending (B02.FR.02).
    transaction  TransactionEvents, in strict order, never dropped (P2). Only the head is attempted.
    general      everything else, in order. It goes between transaction messages: a general call
                 that is older than the head of the transaction lane goes first, and with
                 BACKLOG_MIN or more transaction messages waiting, every general call goes first.
                 So a long backlog after an offline period delays no Heartbeat and no status.

Attempts
    A CALLERROR or a timeout is a failed attempt. A lost link is not: the CALL is attempted again
    when the link opens. What a failed attempt does depends on the lane:

    transaction  the lane waits MessageAttemptInterval × attempts (E13.FR.03), then tries again;
                 after MessageAttempts attempts the CALL is parked, with the reason, and the lane
                 goes on (E13.FR.04). A parked CALL can be requeued by the operator.
    boot         the CALL is dropped; another BootNotification follows after BOOT_RETRY_S.
    general      after a CALLERROR the CALL is dropped: the CSMS has decided. After a timeout it is
                 dropped too, unless it is kept when offline; then it is attempted again.

Late answers
    A CALLRESULT to an earlier attempt of a transaction message still counts as delivery, also if
    another attempt is in flight by then. A CALLERROR counts only for the attempt in flight.

Link and restart
    When the link closes or the program starts, general calls that are not kept when offline are
    dropped, and so is a waiting BootNotification; what they reported is reported again (B04). The
    transaction lane stays as it is.

Full disk
    With little space left, every second waiting sample of a transaction is dropped (E12.FR.05);
    events that report more than readings stay, and so does what was already attempted.
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
from station.core.reasons import Reason, Reasons, ReasonTable

BACKLOG_MIN: Final = 16  # transaction calls; with more waiting, general calls go first
THINNED_CALLS_MAX: Final = 512  # samples looked at for one entry
BOOT_RETRY_S: Final = 60  # if the CSMS names no interval. B02.FR.07, B03.FR.05
LINK_LOST_REASON: Final = "link lost"  # reasons of CallsDropped
THINNED_REASON: Final = "little room left, every second sample goes (E12.FR.05)"
MESSAGE_TIMEOUT: Final = "OCPPCommCtrlr.MessageTimeout[Default]"
MESSAGE_ATTEMPTS: Final = "OCPPCommCtrlr.MessageAttempts[TransactionEvent]"
MESSAGE_ATTEMPT_INTERVAL: Final = "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]"

# --- Timeout -------------------------------------------------------------------------------------


def message_timeout_ms(ctx: Context) -> int:
    """How long an answer may take. Part 4 §4.1.1 leaves it to the station."""
    return message_timeout_s(ctx) * 1000


def message_timeout_s(ctx: Context) -> int:
    """messageTimeout of the network connection profile in use, else MessageTimeout. B09."""
    in_use = ctx.state.network_profiles.candidate_profile(ctx.state.link.slot)
    timeout_s = in_use.message_timeout_s if in_use else 0
    return timeout_s or ctx.variable_integer(MESSAGE_TIMEOUT, default=30)


def is_overdue(ctx: Context, flight: CallInFlight) -> bool:
    """Whether the timeout of the call in flight has passed since its frame left."""
    return flight.sent_ms is not None and ctx.uptime_ms >= flight.sent_ms + message_timeout_ms(ctx)


def timeout_reason(ctx: Context) -> str:
    """The reason of an attempt that timed out."""
    return f"no answer within {message_timeout_s(ctx)} s"


# --- The end of an attempt -----------------------------------------------------------------------


def complete_call(ctx: Context, call_seq: int, message_id: str) -> Iterator[Decision]:
    """The CSMS answered an attempt, in time or late."""
    yield CallDelivered(call_seq, message_id)


def fail_attempt(
    ctx: Context, flight: CallInFlight, reason: str, *, refused_by_csms: bool = False
) -> Iterator[Decision]:
    """Fail an attempt that ended without a usable answer. E13.FR.02 to 04 for transactions."""
    outbox, call_seq = ctx.state.outbox, flight.call_seq
    match flight.lane:
        case "transaction" if call_seq == outbox.next_transaction_call:
            attempts = outbox.failed_attempts + 1
            interval_s = max(1, ctx.variable_integer(MESSAGE_ATTEMPT_INTERVAL, default=60))
            yield CallAttemptFailed(
                call_seq, flight.message_id, reason, interval_s * 1000 * attempts
            )
            if attempts >= ctx.variable_integer(MESSAGE_ATTEMPTS, default=3):
                text = f"attempt {attempts} of {attempts}: {reason}"
                yield CallParked(call_seq, text, because="last_attempt")
        case "boot":
            yield CallAttemptFailed(call_seq, flight.message_id, reason, 0)
            yield CallsDropped((call_seq,), reason, because="boot_attempt")
            yield RegistrationFailed(BOOT_RETRY_S)
        case "general" if refused_by_csms or not outbox.is_kept_when_offline(call_seq):
            yield CallAttemptFailed(call_seq, flight.message_id, reason, 0)
            because = "rejected" if refused_by_csms else "not_kept"
            yield CallsDropped((call_seq,), reason, refused_by_csms, because)
        case _:
            yield CallAttemptFailed(call_seq, flight.message_id, reason, 0)


def fail_by_call_error(ctx: Context, flight: CallInFlight, reason: str) -> Iterator[Decision]:
    """Fail an attempt by a CALLERROR. Only a transaction message is attempted again."""
    yield from fail_attempt(ctx, flight, reason, refused_by_csms=True)


def on_payload_lost(ctx: Context) -> Iterator[Decision]:
    """Set aside a call with an unreadable payload, so that the next one can be sent."""
    assert isinstance(ctx.entry.event, CallPayloadLost)
    call_seq, reason = ctx.entry.event.call_seq, ctx.entry.event.reason
    flight = ctx.state.outbox.in_flight
    if flight is None or flight.call_seq != call_seq:
        return
    if flight.lane == "transaction":
        yield CallParked(call_seq, reason, because="payload_lost")
    else:
        yield CallsDropped((call_seq,), reason, because="payload_lost")


# --- Calls that are dropped ----------------------------------------------------------------------


def drop_calls_of_link(ctx: Context) -> Iterator[Decision]:
    """Drop what need not outlive the link or the program; it is reported again. B04.

    A waiting BootNotification carries the reason of an earlier start. B01.FR.09.
    """
    if not isinstance(ctx.entry.event, LinkClosed | StationStarted):
        return
    outbox = ctx.state.outbox
    dropped = tuple(
        call_seq for call_seq in outbox.general if not outbox.is_kept_when_offline(call_seq)
    )
    if outbox.boot_call_seq is not None:
        dropped = (outbox.boot_call_seq, *dropped)
    if dropped:
        started = isinstance(ctx.entry.event, StationStarted)
        because = "program_ended" if started else "link_lost"
        yield CallsDropped(dropped, LINK_LOST_REASON, because=because)


def thin_waiting_samples(ctx: Context) -> Iterator[Decision]:
    """Short of space, drop the 1st, 3rd, 5th … waiting sample of each transaction. E12.FR.05."""
    waiting = ctx.state.thinnable.waiting
    if ctx.state.health.storage_level == "enough" or len(waiting) < 2:
        return
    examined = tuple(islice(waiting, THINNED_CALLS_MAX))
    calls_by_transaction: dict[str | None, list[int]] = {}
    for call_seq in examined:
        calls_by_transaction.setdefault(waiting.owner_of(call_seq), []).append(call_seq)
    dropped = sorted(
        call_seq
        for calls in calls_by_transaction.values()
        for call_seq in calls[: len(calls) // 2 * 2 : 2]
    )
    if dropped:
        yield CallsDropped(tuple(dropped), THINNED_REASON, because="thinned")
        yield TransactionUpdatesThinned(examined[-1])


# --- The next attempt ----------------------------------------------------------------------------


def attempt_next_call(ctx: Context) -> Iterator[Decision]:
    """Attempt the next call if none is in flight. Part 4 §4.1.1.

    A transaction message from before the link opened is marked `offline` (E04, E11, E12).
    """
    outbox = ctx.state.outbox
    if not ctx.state.link.online or outbox.in_flight is not None:
        return
    selected = _select_next_call(ctx)
    if selected is None:
        return
    lane, call_seq, action = selected
    yield CallAttempted(
        call_seq=call_seq,
        lane=lane,
        action=action,
        message_id=ctx.make_uuid("call", call_seq, ctx.entry.seq),
        attempt=outbox.failed_attempts + 1 if lane == "transaction" else 1,
        offline=lane == "transaction" and call_seq < ctx.state.link.opened_seq,
    )


NextCall = tuple[Lane, int, str]  # lane, entry of the call, action


def _select_next_call(ctx: Context) -> NextCall | None:
    """The call to attempt next. The order of the lanes is in the module text."""
    outbox = ctx.state.outbox
    if outbox.boot_call_seq is not None:
        return "boot", outbox.boot_call_seq, "BootNotification"
    if not ctx.state.registration.is_accepted:
        solicited = (
            _general_call(outbox, call_seq)
            for call_seq in outbox.general
            if _is_solicited(outbox, call_seq)
        )
        return next(solicited, None)
    transaction_seq, general_seq = _due_transaction_call(ctx), outbox.general.head
    if transaction_seq is None:
        return None if general_seq is None else _general_call(outbox, general_seq)
    if general_seq is not None and (
        general_seq < transaction_seq or len(outbox.transaction) >= BACKLOG_MIN
    ):
        return _general_call(outbox, general_seq)
    return "transaction", transaction_seq, "TransactionEvent"


def _due_transaction_call(ctx: Context) -> int | None:
    """The head of the transaction lane, unless it waits between two attempts. E13.FR.03."""
    outbox = ctx.state.outbox
    if outbox.retry_ms is not None and ctx.uptime_ms < outbox.retry_ms:
        return None
    return outbox.next_transaction_call


def _general_call(outbox: Outbox, call_seq: int) -> NextCall:
    info = outbox.general_info.get(call_seq)
    assert info is not None, f"call {call_seq} waits in the general lane without its info"
    return "general", call_seq, info.action


def _is_solicited(outbox: Outbox, call_seq: int) -> bool:
    info = outbox.general_info.get(call_seq)
    return info is not None and info.requested_by_csms


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

# What led to an attempt is no field of it: `station why` reads it from the entries of the call.
ATTEMPT_REASONS: Final = {
    "first": Reason("it was next in the queue"),
    "first_after_offline": Reason(
        "sent for the first time, after waiting for the link", "E11.FR.02"
    ),
    "failed": Reason("sent again: the previous attempt failed, {cause.reason}"),
    "failed_transaction": Reason(
        "sent again: the previous attempt failed, {cause.reason}", "E13.FR.02, E13.FR.03"
    ),
    "operator": Reason("sent again: an operator requested it"),
    "program_ended": Reason("sent again: the program ended before the answer was recorded"),
    "link_lost": Reason(
        "sent again: the link was lost before the answer, which does not count as a failed attempt"
    ),
}
REASONS: Final[Reasons] = {
    CallAttemptFailed: ReasonTable(
        {
            "transaction": Reason("no valid answer arrived", "E13.FR.02"),
            "other": Reason("no valid answer arrived"),
        },
        lambda failed: "transaction" if failed.retry_after_ms else "other",
    ),
    CallDelivered: Reason("the CSMS answered"),
    TransactionUpdatesThinned: Reason(
        "disk space was low, so every second waiting sample was dropped",
        "E12.FR.05",
        ("disk_low",),
    ),
    CallParked: ReasonTable(
        {
            "last_attempt": Reason("its last attempt failed, {event.reason}", "E13.FR.04"),
            "payload_lost": Reason("its payload cannot be read: {event.reason}"),
        }
    ),
    CallsDropped: ReasonTable(
        {
            "boot_attempt": Reason("{event.reason}; BootNotification is sent again later"),
            "link_lost": Reason(
                "the link was lost; current values are sent after reconnecting",
                "B04.FR.01, B04.FR.02",
            ),
            "not_connected": Reason("{event.reason}: the IdToken was decided without the CSMS"),
            "not_kept": Reason("{event.reason}, and its delivery is not required"),
            "payload_lost": Reason("its payload cannot be read: {event.reason}"),
            "program_ended": Reason(
                "the program ended; current values are sent after reconnecting",
                "B04.FR.01, B04.FR.02",
            ),
            "replaced": Reason("{event.reason}", "A02.FR.19"),
            "rejected": Reason("the CSMS rejected it, {event.reason}"),
            "thinned": Reason(
                "disk space was low, so every second waiting sample was dropped",
                "E12.FR.05",
                ("disk_low",),
            ),
        }
    ),
}
