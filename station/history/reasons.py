"""Why was it decided so, in a sentence, and which requirement says so?

The sentence is told from the decision and the entries it follows from at once; where the journal
does not tell which of several rules it was, no requirement is named. Requirements are those of
Part 2 unless they say otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from journal.observations import (
    CableReported,
    DeviceFaulted,
    FlowReported,
    FrameReceived,
    LinkClosed,
    LinkOpened,
    StationStarted,
    StorageReported,
)
from journal.projections.authorizations import (
    AuthorizationAsked,
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRefused,
)
from journal.projections.availability import AvailabilityChanged, AvailabilityScheduled
from journal.projections.condition import JudgementFailed
from journal.projections.firmware import FirmwareAdvanced, FirmwareOrdered, TransactionsAwaited
from journal.projections.lifecycle import ResetOrdered, RestartOrdered
from journal.projections.outbox import (
    AttemptFailed,
    CallAttempted,
    CallQueued,
    RetryRequested,
    StatusMark,
    TransactionMark,
)
from journal.projections.transactions import TransactionStarted, TransactionStopping
from journal.terms import Entry, Event
from station.sentences.words import at

Behind = Sequence[Entry]  # what an entry follows from at once, in order
E = TypeVar("E", bound=Event)


class Reason(NamedTuple):
    """Why, and by which requirements; empty where none is known."""

    why: str
    requirement: str = ""

    def __str__(self) -> str:
        return f"{self.why} ({self.requirement})" if self.requirement else self.why


def reason(entry: Entry, behind: Behind) -> Reason | None:
    """Why `entry` was decided; None for what was observed, or has no better reason than that."""
    found = REASONS.get(type(entry.event).__name__)
    return found(entry.event, behind) if callable(found) else found


def _first(behind: Behind, *kinds: type[E]) -> E | None:
    return next((one.event for one in behind if isinstance(one.event, kinds)), None)


# --- Who may charge ------------------------------------------------------------------------------

_GRANTS: Final = {
    "CSMS": Reason("the CSMS accepted the token", "C01.FR.02"),
    "Cache": Reason("the cache knew the token as accepted", "C12.FR.02"),
    "Offline": Reason("nobody could be asked, and unknown tokens are let in then", "C15.FR.08"),
    "Remote": Reason("the CSMS started it and no further authorization was needed", "F01.FR.02"),
    "NotNeeded": Reason("authorization is switched off (AuthCtrlr.Enabled)", "C01.FR.01"),
}


def _granted(event: AuthorizationGranted, behind: Behind) -> Reason:
    return _GRANTS[event.how]


def _asked(event: AuthorizationAsked, behind: Behind) -> Reason:
    if event.stopping:
        return Reason(
            "where it could begin somebody charges: it can only mean to stop", "C09.FR.05"
        )
    return Reason("nothing here settles it, so the CSMS decides", "C01.FR.02, C10.FR.03")


# status -> why the station itself refused, where nothing that stood in the way says more
_REFUSALS: Final = {
    "NoEvseFree": Reason("no EVSE was free, and it could end nothing", "C09.FR.05"),
    "NotAtThisTime": Reason("the EVSE was not in service for anybody new"),
    "UnknownEvse": Reason("the station has no such EVSE"),
    "ConcurrentTx": Reason("somebody may charge there already"),
    "CSNotAccepted": Reason("the CSMS had not accepted the station", "B03.FR.01"),
    "NotAllowedTypeEVSE": Reason("the CSMS allows it at other EVSEs only", "C01.FR.21"),
    "Offline": Reason("nobody could be asked, and nothing here lets it in", "C12, C15.FR.08"),
}


def _refused(event: AuthorizationRefused, behind: Behind) -> Reason:
    obstacle = in_the_way(behind)
    if obstacle is not None and event.status != "NoEvseFree":
        return obstacle
    if event.status in _REFUSALS:
        return _REFUSALS[event.status]
    if _first(behind, FrameReceived):
        return Reason(f"the CSMS says {event.status}", "C01.FR.07")
    if event.status == "Invalid":
        return Reason("invalid by the cache, or a master pass, which starts nothing", "C12.FR.09")
    return Reason(f"the cache knows the token as {event.status}", "C12")


# (triggerReason, stoppedReason) -> why the right to charge ended
_RIGHT_ENDS: Final = {
    ("StopAuthorized", "Local"): Reason("the stop button was pressed", "E07.FR.05"),
    ("StopAuthorized", "StoppedByEV"): Reason("the EV ended its session", "E15.FR.04"),
    ("RemoteStop", "Remote"): Reason("the CSMS asked for it", "F03.FR.02, F03.FR.03"),
    ("Deauthorized", "DeAuthorized"): Reason(
        "the CSMS does not accept the token that authorised it", "E05.FR.09, E05.FR.10"
    ),
    ("EVCommunicationLost", "EVDisconnected"): Reason("the EV was disconnected", "E09.FR.01"),
    ("EVConnectTimeout", "Timeout"): Reason("no EV was plugged in in time", "E03.FR.05"),
}


def _right_ended(event: AuthorizationEnded, behind: Behind) -> Reason | None:
    if event.trigger_reason == "EVConnectTimeout" and _first(behind, StationStarted):
        return Reason("the program began anew, and no transaction carried the right on")
    if event.id_token is not None:
        return Reason("the token that began it, or one of its group, was shown", "E07.FR.01")
    return _RIGHT_ENDS.get((event.trigger_reason, event.stopped_reason))


# --- Transactions --------------------------------------------------------------------------------


def _started(event: TransactionStarted, behind: Behind) -> Reason:
    if event.remote_start_id is not None:
        return Reason("the CSMS started it, and TxStartPoint was reached", "F02.FR.21")
    if _first(behind, FlowReported):
        return Reason("energy began to flow, which TxStartPoint makes a start", "E01.FR.06")
    if not event.granted_seq:
        return Reason("an EV was plugged in, which TxStartPoint makes a start", "E01.FR.02")
    if event.trigger_reason == "CablePluggedIn":
        why = "the EV of an authorised person was plugged in: TxStartPoint was reached"
        return Reason(why, "E01.FR.02 or E01.FR.05")
    rule = "E01.FR.03 or E01.FR.05" if event.evse_id else "E01.FR.03"
    return Reason("a person was authorised: TxStartPoint was reached", rule)


def _stopping(event: TransactionStopping, behind: Behind) -> Reason | None:
    if fault := _first(behind, DeviceFaulted):
        return Reason(f"{_fault(fault)}: charging was forbidden", "E06.FR.16")
    if _first(behind, ResetOrdered):
        return Reason("an immediate reset was ordered", "B12.FR.04")
    if end := _first(behind, AuthorizationEnded):
        why = _right_ended(end, ())
        return why and Reason(why.why, f"{why.requirement}, then E06.FR.03, E06.FR.06")
    if _first(behind, StorageReported):
        return Reason("the disk had room left only to end what ran")
    if event.trigger_reason == "AbnormalCondition":
        lost = "the supply was lost" if event.stopped_reason == "PowerLoss" else "the program ended"
        return Reason(f"{lost}, and it could not go on afterwards", "OCPP 2.1 E17.FR.20 to 22")
    if event.trigger_reason == "RemoteStop":
        return Reason("the CSMS asked for it", "F03.FR.03")
    if _first(behind, FlowReported) and event.trigger_reason == "ChargingStateChanged":
        return Reason("energy stopped flowing, which TxStopPoint makes an end", "E06.FR.07")
    if _first(behind, CableReported):
        return Reason("the EV was disconnected", "E06.FR.02, E06.FR.06")
    return None


# triggerReason of TransactionEvent(Updated) -> why it was told
_UPDATES: Final = {
    "Authorized": Reason("a token was authorised for it", "E02.FR.01"),
    "CablePluggedIn": Reason("the EV was plugged in", "E02.FR.13"),
    "ChargingStateChanged": Reason("the charging state changed", "E02.FR.13"),
    "Deauthorized": Reason("the CSMS does not accept its token", "E05.FR.09"),
    "EVCommunicationLost": Reason("the EV was disconnected", "E02.FR.13"),
    "MeterValuePeriodic": Reason("a sample was due", "J02.FR.11"),
    "RemoteStart": Reason("the CSMS authorised it", "F01.FR.19"),
    "RemoteStop": Reason("the CSMS asked to stop it", "F03.FR.02"),
    "Trigger": Reason("the CSMS asked for it", "F06.FR.07"),
}


def _told(mark: TransactionMark, behind: Behind) -> Reason | None:
    if mark.event_type == "Updated":
        return _UPDATES.get(mark.trigger_reason)
    if mark.event_type == "Ended":
        return Reason("the transaction is over, and no energy flows any more", "E06.FR.15")
    return Reason("a transaction began", "E01.FR.01 to 06")


# --- Connectors ----------------------------------------------------------------------------------


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
            case DeviceFaulted() as fault:
                return Reason(_fault(fault), FAULTED)
            case StorageReported(level="full"):
                return Reason("the disk had room left only to end what ran")
            case JudgementFailed(rule=rule):
                return Reason(f"a rule of the judgement had failed, {rule}")
            case AvailabilityChanged(evse_id=evse_id, connector_id=connector, operative=False):
                where = at(evse_id, connector)
                return Reason(f"the CSMS took {where} out of service", _CLOSED[_part(one.event)])
            case AvailabilityScheduled(evse_id=evse_id, connector_id=connector, operative=False):
                where = at(evse_id, connector)
                return Reason(f"{where} goes out of service", _CLOSES[_part(one.event)])
            case ResetOrdered() | RestartOrdered():
                return Reason("the station was about to restart", "B11.FR.03")
            case FirmwareOrdered() | FirmwareAdvanced() | TransactionsAwaited():
                return Reason("a firmware update needs the station free", "L01.FR.07")
            case AuthorizationGranted(evse_id=evse_id):
                return Reason(f"somebody else may charge at EVSE {evse_id}")
            case TransactionStarted(evse_id=evse_id):
                return Reason(f"another transaction was open at EVSE {evse_id}", "C01.FR.23")
    return None


def _scheduled(event: AvailabilityScheduled, behind: Behind) -> Reason:
    return Reason("a transaction stands in the way", _CLOSES[_part(event)])


def _fault(fault: DeviceFaulted) -> str:
    return f"{at(fault.evse_id)} had a fault, {fault.device} {fault.fault}"


def _status(mark: StatusMark, behind: Behind) -> Reason | None:
    if mark.status in ("Faulted", "Unavailable"):
        return in_the_way(behind)
    if mark.status == "Occupied":
        taken = _first(behind, TransactionStarted)
        return Reason(
            "a transaction is open there" if taken else "an EV is plugged in", "G01.FR.03"
        )
    return Reason("no EV, no transaction and no fault takes it, and it is in service")


# --- Messages ------------------------------------------------------------------------------------


def _queued(event: CallQueued, behind: Behind) -> Reason | None:
    if event.transaction is not None:
        return _told(event.transaction, behind)
    if event.status is not None:
        return _status(event.status, behind)
    if event.action == "Authorize":
        return Reason("the CSMS shall judge a token", "C01.FR.02")
    return None


def _attempted(event: CallAttempted, behind: Behind) -> Reason:
    if failure := _first(behind, AttemptFailed):
        rule = "E13.FR.02, E13.FR.03" if event.lane == "transaction" else ""
        return Reason(f"sent again: the attempt before failed, {failure.why}", rule)
    if _first(behind, RetryRequested):
        return Reason("sent again: an operator wanted it")
    if _first(behind, StationStarted):
        return Reason("sent again: the program ended before it knew of an answer", "E11.FR.02")
    if _first(behind, LinkClosed, LinkOpened):
        return Reason("sent again: the link went with the answer, which is no failure", "E11.FR.02")
    if event.offline:
        return Reason("the first to go: it had waited for the link", "E11.FR.02")
    return Reason("it was its turn")


# kind -> why it is decided
REASONS: Final[dict[str, Reason | Callable[[Any, Behind], Reason | None]]] = {
    "AuthorizationAsked": _asked,
    "AuthorizationEnded": _right_ended,
    "AuthorizationGranted": _granted,
    "AuthorizationRefused": _refused,
    "CallAttempted": _attempted,
    "CallQueued": _queued,
    "TransactionStarted": _started,
    "TransactionStopping": _stopping,
    "AttemptFailed": Reason("no usable answer came", "E13.FR.02"),
    "AuthorizationBound": Reason("who waits longest gets the EVSE that is plugged in"),
    "AuthorizationLimited": Reason("the CSMS does not accept the token", "E05.FR.03"),
    "AuthorizationSuspended": Reason("the CSMS does not accept the token", "E05.FR.02"),
    "AvailabilityChanged": Reason("the CSMS wants it so"),
    "AvailabilityScheduled": _scheduled,
    "CacheCleared": Reason("the CSMS wants it so", "C11.FR.01"),
    "CacheExpired": Reason("its time in the cache was over", "C10.FR.10"),
    "CacheUpdated": Reason("the CSMS gave its view of the token", "C10.FR.04, C10.FR.05"),
    "CallDelivered": Reason("the CSMS answered"),
    "CallParked": Reason("the last attempt failed", "E13.FR.04"),
    "ClockCorrected": Reason("the CSMS told the time", "B01.FR.06, G02.FR.06"),
    "ResetOrdered": Reason("the CSMS asked for it", "B11.FR.01, B12.FR.01"),
    "RestartOrdered": Reason("nothing stands in the way of the restart", "B11.FR.03"),
    "StatusesDoubted": Reason("the CSMS may not know them", "B01.FR.05, B04.FR.01"),
    "TransactionAuthorized": Reason("a person was authorised in it", "E02.FR.20"),
    "TransactionsAwaited": Reason("somebody charges, and the update waits", "L01.FR.06"),
}
