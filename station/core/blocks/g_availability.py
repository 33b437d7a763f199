"""Which connectors can be used, and what is the CSMS told of them? (Block G)"""

from __future__ import annotations

from collections.abc import Iterator

from journal.events import Decision
from journal.projections.availability import AvailabilityChanged, AvailabilityScheduled, Part
from journal.projections.outbox import CallQueued, ConnectorStatusSummary
from station.core.blocks.evse_conditions import (
    is_closed_for_firmware,
    is_connector_usable,
    is_out_of_order,
    is_storage_full,
)
from station.core.context import Call, CallHandler, Context, call_result, queue_call, status_info
from station.ocpp.messages import format_timestamp
from station.ocpp.messages.g_availability import (
    ChangeAvailabilityRequest,
    ChangeAvailabilityResponse,
    StatusNotificationRequest,
)

# --- Status --------------------------------------------------------------------------------------


def connector_status(ctx: Context, evse_id: int, connector_id: int) -> str:
    """ConnectorStatusEnumType right now. G01.FR.01 to 05, G03.FR.06, G04.FR.07."""
    if ctx.state.faults.blocking_fault(evse_id):
        return "Faulted"
    if ctx.state.transactions.on_evse(evse_id):
        return "Occupied"
    if not is_connector_usable(ctx, evse_id, connector_id):
        return "Unavailable"  # G03.FR.06, G04.FR.07: whether or not a cable is plugged in
    if ctx.state.lifecycle.restart:
        return "Unavailable"  # B11.FR.03
    if is_out_of_order(ctx):
        return "Faulted"
    if is_storage_full(ctx):
        return "Unavailable"
    if is_closed_for_firmware(ctx, evse_id):
        return "Unavailable"  # L01.FR.07
    plugged = ctx.state.evses.by_id(evse_id).plugged_connector_id == connector_id
    return "Occupied" if plugged else "Available"


def evse_status(ctx: Context, evse_id: int) -> str:
    """AvailabilityState of an EVSE: the least usable of its connectors."""
    connectors = dict(ctx.state.lifecycle.evses).get(evse_id, ())
    return _least_available([connector_status(ctx, evse_id, one) for one in connectors])


def station_status(ctx: Context) -> str:
    """AvailabilityState of the station: usable as long as one EVSE is."""
    if not ctx.state.availability.is_operative(0):
        return "Unavailable"
    if ctx.state.faults.blocking_fault(0):
        return "Faulted"
    statuses = [evse_status(ctx, evse_id) for evse_id in ctx.state.lifecycle.evse_ids]
    return min(statuses, key=STATUS_ORDER.index) if statuses else "Unavailable"


STATUS_ORDER = ("Available", "Reserved", "Occupied", "Unavailable", "Faulted")


def _least_available(statuses: list[str]) -> str:
    return max(statuses, key=STATUS_ORDER.index) if statuses else "Unavailable"


def report_statuses(ctx: Context) -> Iterator[Decision]:
    """Tell of each connector whose status is not what the CSMS was told. G01.FR.03 to 07, B04.

    An EVSE that has not spoken since the program started has no status yet.
    """
    for evse_id, connector_id in ctx.state.lifecycle.connectors:
        if not ctx.state.evses.by_id(evse_id).is_cable_known and not _has_blocking_fault(
            ctx, evse_id
        ):
            continue
        status = connector_status(ctx, evse_id, connector_id)
        if status != ctx.state.reported_statuses.on_connector(evse_id, connector_id):
            yield from queue_status_notification(ctx, evse_id, connector_id, status)


def _has_blocking_fault(ctx: Context, evse_id: int) -> bool:
    """A fault is told even where the EVSE never spoke."""
    return ctx.state.faults.blocking_fault(evse_id) is not None


def queue_status_notification(
    ctx: Context, evse_id: int, connector_id: int, status: str, *, solicited: bool = False
) -> Iterator[CallQueued]:
    request = StatusNotificationRequest(
        timestamp=format_timestamp(ctx.now),
        connector_status=status,  # type: ignore[arg-type]
        evse_id=evse_id,
        connector_id=connector_id,
    )
    mark = ConnectorStatusSummary(evse_id, connector_id, status)
    yield from queue_call(ctx, request, solicited=solicited, status=mark)


# --- Availability --------------------------------------------------------------------------------


def change_availability(
    ctx: Context, call: Call, request: ChangeAvailabilityRequest
) -> Iterator[Decision]:
    """Take a part out of service or give it back. G03.FR.01 to 05, G04.FR.01 to 06."""
    part = (request.evse.id, request.evse.connector_id or 0) if request.evse else (0, 0)
    operative = request.operational_status == "Operative"
    if not _part_exists(ctx, part):
        yield call_result(
            call,
            ChangeAvailabilityResponse(
                status="Rejected",
                status_info=status_info("UnknownConnectorId" if part[1] else "UnknownEvse"),
            ),
        )
    elif (
        not operative
        and ctx.state.availability.is_itself_operative(part)
        and _has_transaction(ctx, part)
    ):
        yield call_result(
            call, ChangeAvailabilityResponse(status="Scheduled")
        )  # G03.FR.05, G04.FR.06
        yield AvailabilityScheduled(*part, operative)
    else:
        yield call_result(call, ChangeAvailabilityResponse(status="Accepted"))
        if ctx.state.availability.is_itself_operative(part) != operative or _is_scheduled(
            ctx, part
        ):
            yield AvailabilityChanged(*part, operative)


def _part_exists(ctx: Context, part: Part) -> bool:
    evse_id, connector_id = part
    if part == (0, 0):
        return True
    if connector_id == 0:
        return evse_id in ctx.state.lifecycle.evse_ids
    return part in ctx.state.lifecycle.connectors


def _has_transaction(ctx: Context, part: Part) -> bool:
    """Whether a transaction stands in the way."""
    evse_id, _ = part
    if evse_id == 0:
        return bool(ctx.state.transactions.open)
    return ctx.state.transactions.on_evse(evse_id) is not None


def _is_scheduled(ctx: Context, part: Part) -> bool:
    return any(one == part for one, _ in ctx.state.availability.scheduled)


def apply_scheduled_changes(ctx: Context) -> Iterator[Decision]:
    """The transaction a scheduled change waited for is over. G03.FR.05, G04.FR.06."""
    for part, operative in ctx.state.availability.scheduled:
        if not _has_transaction(ctx, part):
            yield AvailabilityChanged(*part, operative)


CALLS: dict[str, CallHandler] = {"ChangeAvailability": change_availability}
