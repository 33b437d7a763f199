"""What kept a connector, or an EVSE, from somebody?"""

from __future__ import annotations

from typing import Final

from journal.observations import DeviceFaulted, StorageReported
from journal.projections.authorizations import AuthorizationGranted
from journal.projections.availability import AvailabilityChanged, AvailabilityScheduled
from journal.projections.condition import JudgementFailed
from journal.projections.firmware import FirmwareAdvanced, FirmwareOrdered, TransactionsAwaited
from journal.projections.lifecycle import ResetOrdered, RestartOrdered
from journal.projections.transactions import TransactionStarted
from station.history.reason import Behind, Reason
from station.sentences.words import at

FULL: Final = "the disk had room left only to end what ran"
FAULTED: Final = "ConnectorStatusEnumType"  # its Faulted: nothing else of Part 2 says so

# which part goes out of service -> what says that its connectors are Unavailable then, or later
_CLOSED: Final = {"station": "G04.FR.07", "EVSE": "G03.FR.06", "connector": "G03.FR.04"}
_CLOSES: Final = {"station": "G04.FR.06", "EVSE": "G03.FR.05", "connector": "G03.FR.05"}


def _part(event: AvailabilityChanged | AvailabilityScheduled) -> str:
    if not event.evse_id:
        return "station"
    return "connector" if event.connector_id else "EVSE"


def in_the_way(behind: Behind) -> Reason | None:
    """What kept a connector, or an EVSE, from anybody new."""
    for one in behind:
        match one.event:
            case DeviceFaulted(blocks=True) as fault:
                return Reason(broken(fault), FAULTED)
            case StorageReported(level="full"):
                return Reason(FULL)
            case JudgementFailed(rule=rule):
                return Reason(f"the program has a fault, in {rule}, and trusts itself with nobody")
            case AvailabilityChanged(evse_id=evse_id, connector_id=connector, operative=False):
                where = at(evse_id, connector)
                return Reason(f"the CSMS took {where} out of service", _CLOSED[_part(one.event)])
            case AvailabilityScheduled(evse_id=evse_id, connector_id=connector, operative=False):
                where = at(evse_id, connector)
                return Reason(f"the CSMS wants {where} out of service", _CLOSES[_part(one.event)])
            case ResetOrdered(kind="OnIdle"):
                why = "the CSMS ordered a restart, which waits for transactions"
                return Reason(why, "B12.FR.03")
            case ResetOrdered():
                return Reason("the CSMS ordered an immediate restart", "B11.FR.03")
            case RestartOrdered():
                return Reason("the station was about to restart", "B11.FR.03")
            case FirmwareOrdered() | FirmwareAdvanced() | TransactionsAwaited():
                why = "a firmware update needs the EVSEs free"
                return Reason(why, "L01.FR.06, L01.FR.07")
            case AuthorizationGranted(evse_id=evse_id):
                return Reason(f"somebody else may charge at EVSE {evse_id}")
            case TransactionStarted(evse_id=evse_id):
                return Reason(f"another transaction was open at EVSE {evse_id}", "C01.FR.23")
    return None


def scheduled(event: AvailabilityScheduled, behind: Behind) -> Reason:
    """Why a part goes out of service only later."""
    return Reason("a transaction stands in the way", _CLOSES[_part(event)])


def broken(fault: DeviceFaulted) -> str:
    """Which device, where."""
    return f"{at(fault.evse_id)} had a fault, {fault.device} {fault.fault}"
