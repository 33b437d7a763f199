"""Which connectors can be used, and what is the CSMS told of them? (Block G)"""

from __future__ import annotations

from collections.abc import Iterator

from journal.projections.availability import AvailabilityChanged, AvailabilityScheduled, Part
from journal.projections.outbox import CallQueued, StatusMark
from journal.terms import Decision
from station.blocks.standing import closed_for_firmware, full, out_of_order, usable
from station.case import Call, Case, Handler, answer, reason, say
from station.messages import timestamp
from station.messages.g_availability import (
    ChangeAvailabilityRequest,
    ChangeAvailabilityResponse,
    StatusNotificationRequest,
)

# --- Status --------------------------------------------------------------------------------------


def connector_status(case: Case, evse_id: int, connector_id: int) -> str:
    """ConnectorStatusEnumType right now. G01.FR.01 to 05, G03.FR.06, G04.FR.07."""
    if case.state.faults.blocking(evse_id):
        return "Faulted"
    if case.state.transactions.at(evse_id):
        return "Occupied"
    if not usable(case, evse_id, connector_id):
        return "Unavailable"  # G03.FR.06, G04.FR.07: whether or not a cable is plugged in
    if case.state.lifecycle.restart:
        return "Unavailable"  # B11.FR.03
    if out_of_order(case):
        return "Faulted"
    if full(case):
        return "Unavailable"
    if closed_for_firmware(case, evse_id):
        return "Unavailable"  # L01.FR.07
    plugged = case.state.hardware.at(evse_id).plugged_at == connector_id
    return "Occupied" if plugged else "Available"


def evse_status(case: Case, evse_id: int) -> str:
    """AvailabilityState of an EVSE: the least usable of its connectors."""
    connectors = dict(case.state.lifecycle.evses).get(evse_id, ())
    return _least([connector_status(case, evse_id, one) for one in connectors])


def station_status(case: Case) -> str:
    """AvailabilityState of the station: usable as long as one EVSE is."""
    if not case.state.availability.operative(0):
        return "Unavailable"
    if case.state.faults.blocking(0):
        return "Faulted"
    statuses = [evse_status(case, evse_id) for evse_id in case.state.lifecycle.evse_ids]
    return min(statuses, key=ORDER.index) if statuses else "Unavailable"


ORDER = ("Available", "Reserved", "Occupied", "Unavailable", "Faulted")


def _least(statuses: list[str]) -> str:
    return max(statuses, key=ORDER.index) if statuses else "Unavailable"


def tells_statuses(case: Case) -> Iterator[Decision]:
    """Tell of each connector whose status is not what the CSMS was told. G01.FR.03 to 07, B04.

    An EVSE that has not spoken since the program started has no status yet.
    """
    for evse_id, connector_id in case.state.lifecycle.connectors:
        if not case.state.hardware.at(evse_id).known and not _silent_too_long(case, evse_id):
            continue
        status = connector_status(case, evse_id, connector_id)
        if status != case.state.statuses.of(evse_id, connector_id):
            yield from status_notification(case, evse_id, connector_id, status)


def _silent_too_long(case: Case, evse_id: int) -> bool:
    """A fault is told even where the EVSE never spoke."""
    return case.state.faults.blocking(evse_id) is not None


def status_notification(
    case: Case, evse_id: int, connector_id: int, status: str, *, solicited: bool = False
) -> Iterator[CallQueued]:
    request = StatusNotificationRequest(
        timestamp=timestamp(case.now),
        connector_status=status,  # type: ignore[arg-type]
        evse_id=evse_id,
        connector_id=connector_id,
    )
    mark = StatusMark(evse_id, connector_id, status)
    yield from say(case, request, solicited=solicited, status=mark)


# --- Availability --------------------------------------------------------------------------------


def change_availability(
    case: Case, call: Call, request: ChangeAvailabilityRequest
) -> Iterator[Decision]:
    """Take a part out of service or give it back. G03.FR.01 to 05, G04.FR.01 to 06."""
    part = (request.evse.id, request.evse.connector_id or 0) if request.evse else (0, 0)
    operative = request.operational_status == "Operative"
    if not _exists(case, part):
        yield answer(
            call,
            ChangeAvailabilityResponse(
                status="Rejected",
                status_info=reason("UnknownConnectorId" if part[1] else "UnknownEvse"),
            ),
        )
    elif not operative and case.state.availability.own(part) and _in_use(case, part):
        yield answer(call, ChangeAvailabilityResponse(status="Scheduled"))  # G03.FR.05, G04.FR.06
        yield AvailabilityScheduled(*part, operative)
    else:
        yield answer(call, ChangeAvailabilityResponse(status="Accepted"))
        if case.state.availability.own(part) != operative or _is_scheduled(case, part):
            yield AvailabilityChanged(*part, operative)


def _exists(case: Case, part: Part) -> bool:
    evse_id, connector_id = part
    if part == (0, 0):
        return True
    if connector_id == 0:
        return evse_id in case.state.lifecycle.evse_ids
    return part in case.state.lifecycle.connectors


def _in_use(case: Case, part: Part) -> bool:
    """Whether a transaction stands in the way."""
    evse_id, _ = part
    if evse_id == 0:
        return bool(case.state.transactions.open)
    return case.state.transactions.at(evse_id) is not None


def _is_scheduled(case: Case, part: Part) -> bool:
    return any(one == part for one, _ in case.state.availability.scheduled)


def takes_effect(case: Case) -> Iterator[Decision]:
    """The transaction a scheduled change waited for is over. G03.FR.05, G04.FR.06."""
    for part, operative in case.state.availability.scheduled:
        if not _in_use(case, part):
            yield AvailabilityChanged(*part, operative)


CALLS: dict[str, Handler] = {"ChangeAvailability": change_availability}
