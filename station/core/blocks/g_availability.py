"""StatusNotification and ChangeAvailability. Block G.

`station.core.evse_status` computes the status and has the table of causes. This block
reads the facts for it from the state, reports a status to the CSMS when it differs from the one
reported last, and takes parts of the station out of service.

A part is the station, an EVSE or a connector. A change that would interrupt a transaction is
Scheduled and applied by `apply_scheduled_changes` when the transaction has ended (G03.FR.05,
G04.FR.06). `report_statuses` runs after all rules that can change a status, so one entry causes at
most one StatusNotification for each connector.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.events import Decision
from journal.projections.availability import AvailabilityChanged, AvailabilityScheduled, Part
from journal.projections.outbox import CallQueued, ConnectorStatusSummary
from station.core import evse_status
from station.core.blocks.evse_conditions import is_closed_for_firmware
from station.core.blocks.h_kept_evses import find_reserved_facts
from station.core.context import (
    Call,
    CallHandler,
    Context,
    Deadline,
    Rule,
    call_result,
    queue_call,
    status_info,
)
from station.core.reasons import AnswerReasons, Reason, Reasons, ReasonTable
from station.ocpp.messages import format_timestamp
from station.ocpp.messages.enums import ConnectorStatusEnumType
from station.ocpp.messages.g_availability import (
    ChangeAvailabilityRequest,
    ChangeAvailabilityResponse,
    StatusNotificationRequest,
)

# --- Status --------------------------------------------------------------------------------------


def current_connector_status(
    ctx: Context, evse_id: int, connector_id: int
) -> ConnectorStatusEnumType:
    """ConnectorStatusEnumType at this entry. G01.FR.01 to 05, G03.FR.06, G04.FR.07."""
    return evse_status.connector_status(connector_facts(ctx, evse_id, connector_id))


def connector_facts(ctx: Context, evse_id: int, connector_id: int) -> tuple[bool, ...]:
    """The facts of a connector at this entry, in the order of `evse_status.ConnectorFacts`."""
    is_reserved, is_kept_free = find_reserved_facts(ctx, evse_id)
    return evse_status.connector_facts(
        ctx.state,
        evse_id,
        connector_id,
        ctx.uptime_ms,
        is_reserved=is_reserved,
        is_kept_free=is_kept_free,
        is_closed_for_firmware=is_closed_for_firmware(ctx, evse_id),
    )


def current_evse_status(ctx: Context, evse_id: int) -> ConnectorStatusEnumType:
    """AvailabilityState of an EVSE at this entry."""
    connector_ids = dict(ctx.state.lifecycle.evses).get(evse_id, ())
    return evse_status.evse_status(
        current_connector_status(ctx, evse_id, connector_id) for connector_id in connector_ids
    )


def current_station_status(ctx: Context) -> ConnectorStatusEnumType:
    """AvailabilityState of the station at this entry."""
    return evse_status.station_status(
        [current_evse_status(ctx, evse_id) for evse_id in ctx.state.lifecycle.evse_ids],
        is_operative=ctx.state.availability.is_operative(0),
        has_blocking_fault=ctx.state.faults.blocking_fault(0) is not None,
    )


def out_of_order_due_ms(ctx: Context) -> int | None:
    """Uptime at which the status no longer counts the rule that failed; None: none failed."""
    until_ms = evse_status.out_of_order_until_ms(ctx.state.health)
    return until_ms if until_ms is not None and ctx.uptime_ms < until_ms else None


def report_statuses(ctx: Context) -> Iterator[Decision]:
    """Report each connector with a status other than the last one reported. G01.FR.03 to 07, B04.

    Until its cable is reported after a start, an EVSE has no status, unless a fault blocks it.
    """
    for evse_id, connector_id in ctx.state.lifecycle.connectors:
        if not _has_status(ctx, evse_id):
            continue
        status = current_connector_status(ctx, evse_id, connector_id)
        if status != ctx.state.reported_statuses.on_connector(evse_id, connector_id):
            yield from queue_status_notification(ctx, evse_id, connector_id, status)


def _has_status(ctx: Context, evse_id: int) -> bool:
    return (
        ctx.state.evses.by_id(evse_id).is_cable_known
        or ctx.state.faults.blocking_fault(evse_id) is not None
    )


def queue_status_notification(
    ctx: Context,
    evse_id: int,
    connector_id: int,
    status: ConnectorStatusEnumType,
    *,
    solicited: bool = False,
) -> Iterator[CallQueued]:
    """Queue a StatusNotificationRequest."""
    request = StatusNotificationRequest(
        timestamp=format_timestamp(ctx.now),
        connector_status=status,
        evse_id=evse_id,
        connector_id=connector_id,
    )
    cause = evse_status.status_cause(connector_facts(ctx, evse_id, connector_id))
    summary = ConnectorStatusSummary(
        evse_id, connector_id, status, because=cause.fact if cause else ""
    )
    yield from queue_call(ctx, request, solicited=solicited, status=summary)


# --- Availability --------------------------------------------------------------------------------


def change_availability(
    ctx: Context, call: Call, request: ChangeAvailabilityRequest
) -> Iterator[Decision]:
    """Take a part out of service or put it back. G03.FR.01 to 05, G04.FR.01 to 06."""
    part = (request.evse.id, request.evse.connector_id or 0) if request.evse else (0, 0)
    operative = request.operational_status == "Operative"
    if not _part_exists(ctx, part):
        code = "UnknownConnectorId" if part[1] else "UnknownEvse"
        yield call_result(
            call, ChangeAvailabilityResponse(status="Rejected", status_info=status_info(code))
        )
        return
    availability = ctx.state.availability
    is_operative = availability.is_itself_operative(part)
    if not operative and is_operative and _has_transaction(ctx, part):
        # G03.FR.05, G04.FR.06
        yield call_result(call, ChangeAvailabilityResponse(status="Scheduled"))
        yield AvailabilityScheduled(*part, operative)
        return
    yield call_result(call, ChangeAvailabilityResponse(status="Accepted"))
    if is_operative != operative or _is_scheduled(ctx, part):
        yield AvailabilityChanged(*part, operative)


def _part_exists(ctx: Context, part: Part) -> bool:
    evse_id, connector_id = part
    if part == (0, 0):
        return True
    if connector_id == 0:
        return evse_id in ctx.state.lifecycle.evse_ids
    return part in ctx.state.lifecycle.connectors


def _has_transaction(ctx: Context, part: Part) -> bool:
    """Whether an open transaction delays a change of the part."""
    evse_id, _ = part
    if evse_id == 0:
        return bool(ctx.state.transactions.open)
    return ctx.state.transactions.on_evse(evse_id) is not None


def _is_scheduled(ctx: Context, part: Part) -> bool:
    return any(scheduled == part for scheduled, _ in ctx.state.availability.scheduled)


def apply_scheduled_changes(ctx: Context) -> Iterator[Decision]:
    """Apply a scheduled change when its transaction has ended. G03.FR.05, G04.FR.06."""
    for part, operative in ctx.state.availability.scheduled:
        if not _has_transaction(ctx, part):
            yield AvailabilityChanged(*part, operative)


CALLS: Final[dict[str, CallHandler]] = {"ChangeAvailability": change_availability}
DEADLINES: Final[tuple[Deadline, ...]] = (out_of_order_due_ms,)
RULES: Final[tuple[Rule, ...]] = (apply_scheduled_changes, report_statuses)
ANSWER_REASONS: Final[AnswerReasons] = {
    ("ChangeAvailability", "Scheduled"): Reason(
        "a transaction is open there; the change follows its end", "G03.FR.05"
    ),
}
REASONS: Final[Reasons] = {
    ConnectorStatusSummary: ReasonTable(
        {
            "Available": Reason("it is in service, with no EV, no transaction and no fault"),
            **evse_status.STATUS_REASONS,
        },
        # Available has no cause; another status without one is of a release that recorded none
        lambda summary: summary.because or ("Available" * (summary.status == "Available")),
    ),
    AvailabilityChanged: Reason("the CSMS requested it", facts=("change_scheduled",)),
    AvailabilityScheduled: ReasonTable(
        {
            "station": Reason("a transaction is open", "G04.FR.06"),
            "EVSE": Reason("a transaction is open", "G03.FR.05"),
        },
        lambda change: "EVSE" if change.evse_id else "station",
    ),
}
