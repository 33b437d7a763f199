"""What kept a connector, or an EVSE, from somebody?"""

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
FAULTED_REQUIREMENT: Final = (
    "ConnectorStatusEnumType"  # its Faulted: nothing else of Part 2 says so
)

# which part goes out of service -> what says that its connectors are Unavailable then, or later
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
    """What kept a connector, or an EVSE, from anybody new."""
    for one in causes:
        match one.event:
            case DeviceFaulted(blocks_charging=True) as fault:
                return Reason(describe_fault(fault), FAULTED_REQUIREMENT)
            case StorageReported(level="full"):
                return Reason(DISK_FULL_TEXT)
            case RuleFailed(rule=rule):
                return Reason(f"the program has a fault, in {rule}, and trusts itself with nobody")
            case AvailabilityChanged(evse_id=evse_id, connector_id=connector, operative=False):
                where = name_location(evse_id, connector)
                return Reason(
                    f"the CSMS set {where} to Inoperative",
                    _UNAVAILABLE_REQUIREMENTS[_availability_scope(one.event)],
                )
            case AvailabilityScheduled(evse_id=evse_id, connector_id=connector, operative=False):
                where = name_location(evse_id, connector)
                return Reason(
                    f"the CSMS requested Inoperative for {where}",
                    _SCHEDULED_REQUIREMENTS[_availability_scope(one.event)],
                )
            case ResetOrdered(reset_type="OnIdle"):
                why = "the CSMS requested a reset, which waits for open transactions"
                return Reason(why, "B12.FR.03")
            case ResetOrdered():
                return Reason("the CSMS requested an immediate reset", "B11.FR.03")
            case RestartOrdered():
                return Reason("the station was about to restart", "B11.FR.03")
            case (
                FirmwareUpdateOrdered() | FirmwareStatusChanged() | FirmwareWaitingForTransactions()
            ):
                why = "a firmware update waits until the EVSEs are free"
                return Reason(why, "L01.FR.06, L01.FR.07")
            case AuthorizationGranted(evse_id=evse_id):
                return Reason(f"another IdToken is authorized at EVSE {evse_id}")
            case TransactionStarted(evse_id=evse_id):
                return Reason(f"another transaction was open at EVSE {evse_id}", "C01.FR.23")
    return None


def explain_scheduled_availability(event: AvailabilityScheduled, causes: DirectCauses) -> Reason:
    """Why a part goes out of service only later."""
    return Reason("a transaction is open", _SCHEDULED_REQUIREMENTS[_availability_scope(event)])


def describe_fault(fault: DeviceFaulted) -> str:
    """Which device, where."""
    return f"{name_location(fault.evse_id)} had a fault, {fault.device} {fault.fault}"
