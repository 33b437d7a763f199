"""Reasons why a connector or an EVSE accepted no new EV driver."""

from __future__ import annotations

from typing import Final

from journal.observations import DeviceFaulted, StorageReported
from journal.projections.authorizations import AuthorizationGranted
from journal.projections.availability import AvailabilityChanged, AvailabilityScheduled
from journal.projections.firmware import (
    FirmwareStatusChanged,
    FirmwareUpdateOrdered,
    FirmwareWaitingForTransactions,
)
from journal.projections.lifecycle import ResetOrdered, RestartOrdered
from journal.projections.station_health import RuleFailed
from journal.projections.transactions import TransactionStarted
from station.history.explain.reason import DirectCauses, Reason
from station.transcript.phrases import name_location

DISK_FULL_TEXT: Final = "the disk had space left only to end open transactions"
FAULTED_REQUIREMENT: Final = "ConnectorStatusEnumType"  # only its value Faulted defines this

# part that goes out of service -> requirement that makes its connectors Unavailable
_UNAVAILABLE_REQUIREMENTS: Final = {
    "station": "G04.FR.07",
    "EVSE": "G03.FR.06",
    "connector": "G03.FR.04",
}
_SCHEDULED_REQUIREMENTS: Final = {
    "station": "G04.FR.06",
    "EVSE": "G03.FR.05",
    "connector": "G03.FR.05",
}


def _availability_scope(event: AvailabilityChanged | AvailabilityScheduled) -> str:
    if not event.evse_id:
        return "station"
    return "connector" if event.connector_id else "EVSE"


def find_blocking_reason(causes: DirectCauses) -> Reason | None:
    """The first cause that blocks a connector or an EVSE; None: no cause does."""
    for cause in causes:
        match cause.event:
            case DeviceFaulted(blocks_charging=True) as fault:
                return Reason(describe_fault(fault), FAULTED_REQUIREMENT)
            case StorageReported(level="full"):
                return Reason(DISK_FULL_TEXT)
            case RuleFailed(rule=rule):
                return Reason(f"rule {rule} failed, so new EV drivers are refused")
            case AvailabilityChanged(evse_id=evse_id, connector_id=connector_id, operative=False):
                location = name_location(evse_id, connector_id)
                return Reason(
                    f"the CSMS set {location} to Inoperative",
                    _UNAVAILABLE_REQUIREMENTS[_availability_scope(cause.event)],
                )
            case AvailabilityScheduled(evse_id=evse_id, connector_id=connector_id, operative=False):
                location = name_location(evse_id, connector_id)
                return Reason(
                    f"the CSMS requested Inoperative for {location}",
                    _SCHEDULED_REQUIREMENTS[_availability_scope(cause.event)],
                )
            case ResetOrdered(reset_type="OnIdle"):
                text = "the CSMS requested a reset, which waits for open transactions"
                return Reason(text, "B12.FR.03")
            case ResetOrdered():
                return Reason("the CSMS requested an immediate reset", "B11.FR.03")
            case RestartOrdered():
                return Reason("the station was about to restart", "B11.FR.03")
            case (
                FirmwareUpdateOrdered() | FirmwareStatusChanged() | FirmwareWaitingForTransactions()
            ):
                text = "a firmware update waits until the EVSEs are free"
                return Reason(text, "L01.FR.06, L01.FR.07")
            case AuthorizationGranted(evse_id=evse_id):
                return Reason(f"another IdToken is authorized at EVSE {evse_id}")
            case TransactionStarted(evse_id=evse_id):
                return Reason(f"another transaction was open at EVSE {evse_id}", "C01.FR.23")
    return None


def explain_scheduled_availability(event: AvailabilityScheduled, causes: DirectCauses) -> Reason:
    """Why a part goes out of service later."""
    return Reason("a transaction is open", _SCHEDULED_REQUIREMENTS[_availability_scope(event)])


def describe_fault(fault: DeviceFaulted) -> str:
    """Location, device and fault."""
    return f"{name_location(fault.evse_id)} had a fault, {fault.device} {fault.fault}"
