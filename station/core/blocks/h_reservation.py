"""ReserveNow, CancelReservation, and how a reservation is used or ends. Block H.

A product has this block if it answers R-1 (by connector type), R-2 (without an EVSE) or R-3 (can be
disabled); without it every request is refused.

The life of a reservation, and what decides each step:

    ReserveNow                    reserve_now                 ReservationMade; the same id replaces
    an idToken that matches       use_reservations            ReservationUsed
      is authorized
    CancelReservation             cancel_reservation          ReservationEnded
    its time is over, or its      end_reservations            ReservationEnded
      EVSE cannot be kept
    the CSMS has to receive that  report_ended_reservations   ReservationStatusUpdate

`h_kept_evses` computes which EVSEs are kept meanwhile. Each open reservation keeps one, so there
are never more of them than EVSEs; `ReservationCtrlr.Reservations` publishes that limit.

An idToken uses its reservation when it is authorized, not when it is presented. H03.FR.09 says
"presented", but a group is known only with the answer (H03.FR.08), TC_H_01 expects the status to
change after the authorization, and a refusal (NotAtThisTime, a limit) need not be the last answer:
the EVSE stays kept for the EV driver until the reservation ends.

While ReservationCtrlr.Enabled is false reservations have no effect, but their time runs. One whose
EVSE has been taken by then has expired when it is enabled again (Part 2 §2).

After a start a fault ends no reservation for START_GRACE_MS: after a power cut devices are often
ready later than the program, and a reservation must persist (B01.FR.13).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from journal.events import Decision
from journal.projections.reservations import (
    Reservation,
    ReservationEnded,
    ReservationMade,
    ReservationUsed,
)
from station.core import evse_status
from station.core.blocks.c_id_token import group_of_authorization
from station.core.blocks.evse_conditions import (
    RESERVATIONS_ENABLED,
    closing_cause,
    pending_reservations,
)
from station.core.blocks.h_kept_evses import (
    Claimant,
    KeptEvses,
    evses_with_connector,
    serves,
)
from station.core.blocks.not_supported import NOT_ENABLED, NOT_FOUND
from station.core.blocks.transfer_fields import has_passed, to_utc_text
from station.core.context import (
    Call,
    CallHandler,
    Context,
    Deadline,
    Rule,
    call_result,
    id_token_from_message,
    queue_call,
    status_info,
)
from station.core.reasons import AnswerReasons, Reason, Reasons, ReasonTable, Refusals
from station.ocpp.messages.enums import ConnectorStatusEnumType
from station.ocpp.messages.h_reservation import (
    CancelReservationRequest,
    CancelReservationResponse,
    ReservationStatusUpdateRequest,
    ReserveNowRequest,
    ReserveNowResponse,
)

AVAILABLE: Final = "ReservationCtrlr.Available"
NON_EVSE_SPECIFIC: Final = "ReservationCtrlr.NonEvseSpecific"
RESERVES_CONNECTOR_TYPES: Final = "R-1"
START_GRACE_MS: Final = 60_000
# Codes of ends that the CSMS receives as Expired; all others are Removed.
EXPIRED_CODES: Final = frozenset({"expired", "taken"})


# --- Reserve and cancel --------------------------------------------------------------------------


def reserve_now(ctx: Context, call: Call, request: ReserveNowRequest) -> Iterator[Decision]:
    """Make a reservation, or replace the one with the same id. H01.FR.01 to 06, 11 to 23."""
    if not ctx.variable_boolean(AVAILABLE) or not _is_enabled(ctx):
        yield _reject(call, "NotEnabled")  # H01.FR.01
        return
    rejection = _find_invalid_field(ctx, request)
    if rejection:
        yield _reject(call, *rejection)
        return
    status = _status_of_targets(ctx, request)
    if status != "Available":
        # Reserved counts as Occupied, so the status is one of the response.
        yield call_result(call, ReserveNowResponse(status=status))  # type: ignore[arg-type]
        return
    expires_at = to_utc_text(request.expiry_date_time)
    assert expires_at is not None
    group = request.group_id_token
    yield call_result(call, ReserveNowResponse(status="Accepted"))
    yield ReservationMade(
        reservation_id=request.id,
        id_token=id_token_from_message(request.id_token),
        group_id_token=id_token_from_message(group) if group else None,
        evse_id=request.evse_id or 0,
        connector_type=request.connector_type or "",
        expires_at=expires_at,
        remaining_ms=_ms_until(ctx, expires_at),
    )


def _is_enabled(ctx: Context) -> bool:
    return ctx.variable_boolean(RESERVATIONS_ENABLED, default=True)


def _reject(call: Call, code: str, text: str | None = None) -> Decision:
    information = NOT_ENABLED if code == "NotEnabled" else status_info(code, text)
    return call_result(call, ReserveNowResponse(status="Rejected", status_info=information))


def _find_invalid_field(ctx: Context, request: ReserveNowRequest) -> tuple[str, str] | None:
    """Reason code and text for a request that can never be accepted; None: it can."""
    evse_id, connector_type = request.evse_id, request.connector_type
    if evse_id is None and not ctx.variable_boolean(NON_EVSE_SPECIFIC):
        return "MissingParam", "a reservation has to name its EVSE"  # H01.FR.19
    if evse_id is not None and evse_id not in ctx.state.lifecycle.evse_ids:
        return "UnknownEvse", f"there is no EVSE {evse_id}"
    if connector_type:
        if not ctx.product.profile.supports(RESERVES_CONNECTOR_TYPES):
            return "UnsupportedParam", "connectorType is not supported"
        if not _target_evses(ctx, request):
            return "UnknownConnectorType", f"there is no connector of type {connector_type}"
    if has_passed(to_utc_text(request.expiry_date_time), ctx.now):
        return "InvalidValue", "expiryDateTime is in the past"
    return None


def _target_evses(ctx: Context, request: ReserveNowRequest) -> frozenset[int]:
    """The EVSEs of which one is to be reserved."""
    evse_ids = evses_with_connector(ctx.product.profile, request.connector_type or "")
    named = ctx.state.lifecycle.evse_ids if request.evse_id is None else (request.evse_id,)
    return evse_ids.intersection(named)


def _status_of_targets(ctx: Context, request: ReserveNowRequest) -> ConnectorStatusEnumType:
    """Available if the reservation can be made, else the most usable status of its EVSEs.

    Reserved counts as Occupied. H01.FR.11, H01.FR.12, H01.FR.14.
    """
    others = [each for each in pending_reservations(ctx) if each.reservation_id != request.id]
    targets = _target_evses(ctx, request)
    if KeptEvses(ctx, others).has_room_for(targets):
        return "Available"
    causes = {cause.fact: cause.status for cause in evse_status.STATUS_CAUSES}
    closed = (closing_cause(ctx, evse_id) for evse_id in targets)
    return evse_status.most_usable_status(causes[code] if code else "Occupied" for code in closed)


def cancel_reservation(
    ctx: Context, call: Call, request: CancelReservationRequest
) -> Iterator[Decision]:
    """End an open reservation. H02.FR.01, H02.FR.02."""
    reservation = ctx.state.reservations.by_id(request.reservation_id)
    if reservation is None:
        yield call_result(call, CancelReservationResponse(status="Rejected", status_info=NOT_FOUND))
        return
    yield call_result(call, CancelReservationResponse(status="Accepted"))
    yield ReservationEnded(reservation.reservation_id, reservation.evse_id, "cancelled")


# --- Used ----------------------------------------------------------------------------------------


def use_reservations(ctx: Context) -> Iterator[Decision]:
    """Use the reservation that an idToken authorized in this commit matches. H03.FR.09.

    One that names the EVSE of the authorization first. An authorization at another EVSE than the
    one that a reservation names leaves the reservation open.
    """
    open_reservations = list(pending_reservations(ctx))
    if not open_reservations:
        return
    for authorization in ctx.state.authorizations.active:
        if authorization.seq <= ctx.entry.seq:
            continue  # granted before this commit
        claimant = Claimant(authorization.id_token, group_of_authorization(ctx, authorization))
        fitting = [
            each
            for each in open_reservations
            if claimant.matches(each) and serves(ctx, each, authorization.evse_id)
        ]
        if not fitting:
            continue
        reservation = max(fitting, key=lambda each: (bool(each.evse_id), -each.seq))
        open_reservations.remove(reservation)
        is_own = reservation.id_token == claimant.id_token
        because = "id_token" if is_own else "group_id_token"
        yield ReservationUsed(reservation.reservation_id, authorization.seq, because)


# --- Ended ---------------------------------------------------------------------------------------


def end_reservations(ctx: Context) -> Iterator[Decision]:
    """End reservations whose time is over, or whose EVSE cannot be kept any more.

    H01.FR.16, H01.FR.17, H04.FR.01. Faults are not counted just after a start.
    """
    expired = [each for each in ctx.state.reservations.open if _is_expired(ctx, each)]
    for reservation in expired:
        yield ReservationEnded(reservation.reservation_id, reservation.evse_id, "expired")
    pending = [each for each in pending_reservations(ctx) if each not in expired]
    if not pending:
        return
    for reservation in pending:
        if reservation.evse_id:
            yield from _end_at_named_evse(ctx, reservation)
    closed = [(evse_id, closing_cause(ctx, evse_id)) for evse_id in ctx.state.lifecycle.evse_ids]
    if _is_starting(ctx) and any(code == "has_blocking_fault" for _, code in closed):
        return
    cause = next(((evse_id, code) for evse_id, code in closed if code), (0, "taken"))
    for reservation in KeptEvses(ctx, pending).unserved:
        yield ReservationEnded(reservation.reservation_id, *cause)


def _end_at_named_evse(ctx: Context, reservation: Reservation) -> Iterator[Decision]:
    code = closing_cause(ctx, reservation.evse_id)
    if code is None and ctx.state.authorizations.on_evse(reservation.evse_id) is not None:
        code = "taken"
    if code is None or (code == "has_blocking_fault" and _is_starting(ctx)):
        return
    yield ReservationEnded(reservation.reservation_id, reservation.evse_id, code)


def _is_starting(ctx: Context) -> bool:
    return ctx.uptime_ms < ctx.state.lifecycle.started_ms + START_GRACE_MS


def report_ended_reservations(ctx: Context) -> Iterator[Decision]:
    """Notify the CSMS of reservations that ended by themselves. H01.FR.16/17, H04.FR.01."""
    for ended in ctx.state.reservations.unreported:
        status = "Expired" if ended.because in EXPIRED_CODES else "Removed"
        request = ReservationStatusUpdateRequest(
            reservation_id=ended.reservation_id,
            reservation_update_status=status,  # type: ignore[arg-type]
        )
        yield from queue_call(ctx, request, keep=True)


# --- Time ----------------------------------------------------------------------------------------


def _ms_until(ctx: Context, moment: str) -> int:
    """Milliseconds from now to a stored time, rounded up; negative: it has passed."""
    return -((ctx.now - datetime.fromisoformat(moment)) // timedelta(milliseconds=1))


def _expiry_due_ms(ctx: Context, reservation: Reservation) -> int:
    """Uptime at which it expires: by the wall clock, or by the time left if that may be wrong."""
    if ctx.state.clock.synchronized:
        return ctx.uptime_ms + _ms_until(ctx, reservation.expires_at)
    return reservation.since_ms + reservation.remaining_ms


def _is_expired(ctx: Context, reservation: Reservation) -> bool:
    return ctx.uptime_ms >= _expiry_due_ms(ctx, reservation)


def next_reservation_due_ms(ctx: Context) -> int | None:
    """Uptime at which the next reservation expires, or a fault since the start ends one."""
    due_times = [_expiry_due_ms(ctx, each) for each in ctx.state.reservations.open]
    if due_times and _is_starting(ctx):
        due_times.append(ctx.state.lifecycle.started_ms + START_GRACE_MS)
    return min(due_times, default=None)


CALLS: Final[dict[str, CallHandler]] = {
    "ReserveNow": reserve_now,
    "CancelReservation": cancel_reservation,
}
DEADLINES: Final[tuple[Deadline, ...]] = (next_reservation_due_ms,)
RULES: Final[tuple[Rule, ...]] = (use_reservations, end_reservations, report_ended_reservations)
# Status of an EVSE that cannot be kept any more -> the requirement that ends its reservation
_END_REQUIREMENTS: Final = {"Faulted": "H01.FR.16", "Unavailable": "H01.FR.17"}
REASONS: Final[Reasons] = {
    ReservationMade: Reason("the CSMS requested it", "H01.FR.03"),
    ReservationUsed: ReasonTable(
        {
            "id_token": Reason(
                "the IdToken it was made for was authorized",
                "H03.FR.09",
                ("authorization", "reservation"),
            ),
            "group_id_token": Reason(
                "an IdToken of the group it was made for was authorized",
                "H03.FR.04, H03.FR.05, H03.FR.06",
                ("authorization", "reservation"),
            ),
        }
    ),
    ReservationEnded: ReasonTable(
        {
            "cancelled": Reason("the CSMS requested it", "H02.FR.02"),
            "expired": Reason("its expiryDateTime was reached", "H04.FR.01", ("reservation",)),
            "taken": Reason(
                "no EVSE was left for it when ReservationCtrlr was enabled again",
                "H04.FR.01",
                ("reservation",),
            ),
            **{
                cause.fact: replace(
                    cause.reason,
                    requirement=_END_REQUIREMENTS[cause.status],
                    requirement_of_cause=None,
                )
                for cause in evse_status.STATUS_CAUSES
                if cause.status in _END_REQUIREMENTS
            },
        }
    ),
}
CALL_REASONS: Final = {
    "ReservationStatusUpdate": Reason(
        "a reservation ended without being used", "H01.FR.16, H01.FR.17, H04.FR.01"
    )
}
ANSWER_REASONS: Final[AnswerReasons] = {
    ("ReserveNow", "Faulted"): Reason("every EVSE that it asks for is faulted", "H01.FR.12"),
    ("ReserveNow", "Occupied"): Reason(
        "every EVSE that it asks for is in use or kept for another reservation", "H01.FR.11"
    ),
    ("ReserveNow", "Unavailable"): Reason(
        "every EVSE that it asks for is out of service", "H01.FR.14"
    ),
}
REFUSALS: Final[Refusals] = {
    ("CancelReservation", "NotFound"): "H02.FR.01",
    ("ReserveNow", "MissingParam"): "H01.FR.19",
    ("ReserveNow", "NotEnabled"): "H01.FR.01",
}
