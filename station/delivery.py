"""Which call goes out next, and what becomes of one that failed?

Rules over the outbox. The transaction lane keeps its order whatever happens (E13); a lost link is
no failed attempt; everything else may go in between, so that a long backlog silences nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from journal.observations import LinkClosed, PayloadLost, StationStarted
from journal.projections.outbox import (
    AttemptFailed,
    CallAttempted,
    CallDelivered,
    CallParked,
    CallsDropped,
    InFlight,
    Lane,
    Outbox,
)
from journal.projections.registration import RegistrationFailed
from journal.projections.spare import UpdatesThinned
from journal.terms import Decision
from station.case import Case

BACKLOG_MIN: Final = 16  # transaction calls; with more waiting, other calls go ahead of them
THINNED_AT_ONCE: Final = 512  # samples looked at in one judgement
BOOT_RETRY_S: Final = 60  # where the CSMS names no interval. B02.FR.07, B03.FR.05
LINK_LOST: Final = "link lost"  # reasons of CallsDropped
THINNED: Final = "little room left, every second sample goes (E12.FR.05)"
TIMEOUT: Final = "OCPPCommCtrlr.MessageTimeout[Default]"
ATTEMPTS: Final = "OCPPCommCtrlr.MessageAttempts[TransactionEvent]"
ATTEMPT_INTERVAL: Final = "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]"


def timeout_ms(case: Case) -> int:
    """How long an answer may take. Part 4 §4.1.1 leaves it to us."""
    return timeout_s(case) * 1000


def timeout_s(case: Case) -> int:
    """Seconds, as the network connection profile in use has it. B09, messageTimeout."""
    in_use = case.state.networks.candidate(case.state.links.slot)
    told = in_use.message_timeout_s if in_use else 0
    return told or case.integer(TIMEOUT, absent=30)


def delivered(case: Case, call: int, message_id: str) -> Iterator[Decision]:
    """The CSMS answered, in time or late."""
    yield CallDelivered(call, message_id)


def failed(case: Case, flight: InFlight, why: str, *, heard: bool = False) -> Iterator[Decision]:
    """An attempt ended without a usable answer. E13.FR.02 to 04 for transactions."""
    outbox = case.state.outbox
    match flight.lane:
        case "transaction" if flight.call == outbox.first:
            tries = outbox.failures + 1
            wait_ms = case.integer(ATTEMPT_INTERVAL, absent=60) * 1000 * tries
            yield AttemptFailed(flight.call, flight.message_id, why, wait_ms)
            if tries >= case.integer(ATTEMPTS, absent=3):
                yield CallParked(flight.call, f"attempt {tries} of {tries}: {why}")
        case "boot":
            yield AttemptFailed(flight.call, flight.message_id, why, 0)
            yield CallsDropped((flight.call,), why)
            yield RegistrationFailed(BOOT_RETRY_S)
        case "rest" if heard or not outbox.keeps(flight.call):
            yield AttemptFailed(flight.call, flight.message_id, why, 0)
            yield CallsDropped((flight.call,), why, heard)
        case _:
            yield AttemptFailed(flight.call, flight.message_id, why, 0)


def refused(case: Case, flight: InFlight, why: str) -> Iterator[Decision]:
    """A CALLERROR. What is not a transaction's is not asked twice: the CSMS has spoken."""
    yield from failed(case, flight, why, heard=True)


def is_overdue(case: Case, flight: InFlight) -> bool:
    """Whether the answer to the call in flight did not come in time, since it left."""
    return flight.sent_ms is not None and case.uptime_ms >= flight.sent_ms + timeout_ms(case)


def silence(case: Case) -> str:
    return f"no answer within {timeout_s(case)} s"


def link_lost(case: Case) -> Iterator[Decision]:
    """What need not survive the link, or the program, goes. What it said is told anew. B04.

    A BootNotification that waited tells the reason of another start. B01.FR.09.
    """
    if not isinstance(case.entry.event, LinkClosed | StationStarted):
        return
    outbox = case.state.outbox
    gone = tuple(call for call in outbox.rest if not outbox.keeps(call))
    if outbox.boot is not None:
        gone = (outbox.boot, *gone)
    if gone:
        yield CallsDropped(gone, LINK_LOST)


def thins(case: Case) -> Iterator[Decision]:
    """Short of room: of the samples that wait, the 1st, 3rd, 5th … of a transaction go. E12.FR.05.

    What tells more than readings stays, and so does what was tried already.
    """
    if case.state.condition.storage == "enough" or len(case.state.spare.waiting) < 2:
        return
    looked = tuple(islice(case.state.spare.waiting, THINNED_AT_ONCE))
    of: dict[str | None, list[int]] = {}
    for call in looked:
        of.setdefault(case.state.spare.waiting.owner_of(call), []).append(call)
    gone = sorted(call for calls in of.values() for call in calls[: len(calls) // 2 * 2 : 2])
    if gone:
        yield CallsDropped(tuple(gone), THINNED)
        yield UpdatesThinned(looked[-1])


def lost(case: Case) -> Iterator[Decision]:
    """What was to be sent is gone: the call steps aside, so that the others can go."""
    assert isinstance(case.entry.event, PayloadLost)
    call, why = case.entry.event.call, case.entry.event.why
    flight = case.state.outbox.in_flight
    if flight is None or flight.call != call:
        return
    if flight.lane == "transaction":
        yield CallParked(call, why)
    else:
        yield CallsDropped((call,), why)


def next_attempt(case: Case) -> Iterator[Decision]:
    """Send the next call, if one may go. At most one is in flight. Part 4 §4.1.1."""
    outbox = case.state.outbox
    if not case.state.links.online or outbox.in_flight is not None:
        return
    chosen = _next_call(case)
    if chosen is None:
        return
    lane, call, action = chosen
    yield CallAttempted(
        call=call,
        lane=lane,
        action=action,
        message_id=case.name("call", call, case.entry.seq),
        attempt=outbox.failures + 1 if lane == "transaction" else 1,
        offline=lane == "transaction" and call < case.state.links.opened_seq,
    )


def _next_call(case: Case) -> tuple[Lane, int, str] | None:
    """The lane, the call and its action."""
    outbox = case.state.outbox
    if outbox.boot is not None:
        return "boot", outbox.boot, "BootNotification"
    if not case.state.registration.accepted:
        return next((_rest(outbox, call) for call in outbox.rest if _solicited(outbox, call)), None)
    first, other = _first_transaction_call(case), outbox.rest.head
    if first is None:
        return None if other is None else _rest(outbox, other)
    if other is not None and (other < first or len(outbox.transaction) >= BACKLOG_MIN):
        return _rest(outbox, other)
    return "transaction", first, "TransactionEvent"


def _first_transaction_call(case: Case) -> int | None:
    """The head of the lane, unless it rests between two attempts. E13.FR.03."""
    outbox = case.state.outbox
    if outbox.retry_ms is not None and case.uptime_ms < outbox.retry_ms:
        return None
    return outbox.first


def _rest(outbox: Outbox, call: int) -> tuple[Lane, int, str]:
    other = outbox.other.get(call)
    assert other is not None, f"call {call} waits, but nothing is known of it"
    return "rest", call, other.action


def _solicited(outbox: Outbox, call: int) -> bool:
    other = outbox.other.get(call)
    return other is not None and other.solicited
