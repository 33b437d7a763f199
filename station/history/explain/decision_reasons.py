"""Reason of a decision, with its requirement, per kind of decision.

A reason is derived from the decision and the entries it directly follows from (`causes`); it does
not evaluate rules again. Where the journal does not show which of several rules applied, several
requirements or none are given. Requirements are those of Part 2 unless stated.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from journal.events import Entry, Observation
from journal.observations import (
    CableReported,
    CallPayloadLost,
    DeviceFaulted,
    EnergyFlowReported,
    FirmwareActivationChecked,
    FrameReceived,
    LinkClosed,
    LinkOpened,
    StationStarted,
    StorageReported,
)
from journal.projections.authorizations import AuthorizationEnded, AuthorizationGranted
from journal.projections.clock import ClockCorrected
from journal.projections.firmware import FirmwareStatusChanged
from journal.projections.lifecycle import ResetOrdered, RestartOrdered
from journal.projections.outbox import (
    CallAttempted,
    CallAttemptFailed,
    CallParked,
    CallQueued,
    CallRetryRequested,
    CallsDropped,
    ConnectorStatusSummary,
    TransactionEventSummary,
)
from journal.projections.reported_statuses import StatusResendRequired
from journal.projections.transactions import TransactionStarted, TransactionStopOrdered
from station.core.outbox_rules import LINK_LOST_REASON, THINNED_REASON
from station.history.explain import authorization_reasons, response_reasons
from station.history.explain.blocking_reasons import (
    DISK_FULL_TEXT,
    describe_fault,
    explain_scheduled_availability,
    find_blocking_reason,
)
from station.history.explain.reason import DirectCauses, Reason, first_of_kind
from station.transcript.phrases import reason_suffix


def explain_decision(entry: Entry, causes: DirectCauses) -> Reason | None:
    """Why `entry` was decided; None: an observation, or no reason beyond its cause."""
    reason = DECISION_REASONS.get(type(entry.event).__name__)
    return reason(entry.event, causes) if callable(reason) else reason


# --- Transactions --------------------------------------------------------------------------------


def _explain_transaction_start(event: TransactionStarted, causes: DirectCauses) -> Reason:
    if event.remote_start_id is not None:
        return Reason("the CSMS requested the start, and TxStartPoint was reached", "F02.FR.21")
    if first_of_kind(causes, EnergyFlowReported):
        verb = "began to flow" if isinstance(causes[-1].event, EnergyFlowReported) else "flowed"
        return Reason(f"energy {verb}: TxStartPoint EnergyTransfer was reached", "E01.FR.06")
    if not event.authorization_seq:
        return Reason("an EV was plugged in: TxStartPoint EVConnected was reached", "E01.FR.02")
    authorization = first_of_kind(causes, AuthorizationGranted)
    if authorization is not None and authorization.authorized_by == "NotNeeded":
        text = "an EV was plugged in and no authorization is needed: TxStartPoint was reached"
        return Reason(text, "E01.FR.02, E01.FR.03 or E01.FR.05")
    if event.trigger_reason == "CablePluggedIn":
        text = "the EV was plugged in after authorization: TxStartPoint was reached"
        return Reason(text, "E01.FR.02 or E01.FR.05")
    rule = "E01.FR.03 or E01.FR.05" if event.evse_id else "E01.FR.03"
    return Reason("an IdToken was authorized: TxStartPoint was reached", rule)


def _explain_transaction_stop(event: TransactionStopOrdered, causes: DirectCauses) -> Reason | None:
    if event.trigger_reason == "AbnormalCondition":
        return _explain_abnormal_stop(event, causes)
    if event.trigger_reason == "ResetCommand":
        return Reason("an immediate reset was requested", "B12.FR.04")
    if end := first_of_kind(causes, AuthorizationEnded):
        return _explain_authorization_stop(event, end, causes)
    if event.trigger_reason == "RemoteStop":
        return Reason("the CSMS requested it", "F03.FR.03")
    if event.trigger_reason == "ChargingStateChanged":
        return Reason("energy stopped flowing: TxStopPoint EnergyTransfer was reached", "E06.FR.07")
    if first_of_kind(causes, CableReported):
        return Reason("the EV was disconnected", "E06.FR.02 or E06.FR.06")
    return None


def _explain_authorization_stop(
    event: TransactionStopOrdered, end: AuthorizationEnded, causes: DirectCauses
) -> Reason | None:
    """The authorization ended, and with it or later the transaction."""
    reason = authorization_reasons.find_authorization_end(end, causes)
    if reason is None:
        return None
    if event.trigger_reason == end.trigger_reason:
        return Reason(reason.text, reason.ended_requirement)
    earlier = reason.main_requirement or reason.updated_requirement
    text = f"the EV was disconnected, after {reason.text}"
    return Reason(text, f"E06.FR.02 or E06.FR.06, after {earlier}")


def _explain_abnormal_stop(event: TransactionStopOrdered, causes: DirectCauses) -> Reason | None:
    """A fault, an interruption, or a full disk."""
    for cause in causes:
        match cause.event:
            case DeviceFaulted(blocks_charging=True) as fault:
                return Reason(f"{describe_fault(fault)}: charging was not allowed", "E06.FR.16")
            case StationStarted():
                is_power_loss = event.stopped_reason == "PowerLoss"
                text = (
                    "the power supply was lost" if is_power_loss else "the program was not running"
                )
                return Reason(
                    text + _describe_interruption(cause, causes), "OCPP 2.1 E17.FR.20 to 22"
                )
            case StorageReported(level="full"):
                return Reason(DISK_FULL_TEXT, "E06.FR.16")
    return None


def _describe_interruption(start_entry: Entry, causes: DirectCauses) -> str:
    """Why a transaction was not resumed after a restart of the program."""
    assert isinstance(start_entry.event, StationStarted)
    if any(isinstance(cause.event, Observation) and cause is not start_entry for cause in causes):
        return ", and then the EVSE reported nothing"
    if start_entry.event.last_entry_at is None:
        return " for an unknown time"
    gap = start_entry.at - datetime.fromisoformat(start_entry.event.last_entry_at)
    if gap < timedelta(0):
        return " for an unknown time: the clock ran backwards"
    return f" for {gap.total_seconds():.0f} s, more than TxCtrlr.ResumptionTimeout"


# triggerReason of TransactionEvent Updated -> why it was queued
_UPDATE_REASONS: Final = {
    "Authorized": Reason("an IdToken was authorized for it", "E02.FR.01"),
    "CablePluggedIn": Reason("the EV was plugged in", "E02.FR.13"),
    "ChargingStateChanged": Reason("the charging state changed", "E02.FR.13"),
    "EVCommunicationLost": Reason("the EV was disconnected", "E02.FR.13"),
    "MeterValueClock": Reason("a clock-aligned sample was due", "J01.FR.22"),
    "MeterValuePeriodic": Reason("a sample was due", "J02.FR.11"),
    "RemoteStart": Reason("the CSMS authorized it", "F01.FR.19"),
    "RemoteStop": Reason("the CSMS asked to stop it", "F03.FR.02"),
    "Trigger": Reason("the CSMS requested it", "F06.FR.07"),
}


def _explain_transaction_event(
    summary: TransactionEventSummary, causes: DirectCauses
) -> Reason | None:
    if summary.event_type == "Updated":
        return _explain_authorization_update(summary, causes) or _UPDATE_REASONS.get(
            summary.trigger_reason
        )
    if summary.event_type == "Ended":
        rule = "E06.FR.02 to 07, E06.FR.16"
        return Reason("the transaction was stopped, and no energy flows", rule)
    return Reason("a transaction started", "E01.FR.01 to 06")


def _explain_authorization_update(
    summary: TransactionEventSummary, causes: DirectCauses
) -> Reason | None:
    """The authorization ended; None: the message has another reason."""
    end = first_of_kind(causes, AuthorizationEnded)
    if end is None or end.trigger_reason != summary.trigger_reason:
        return None
    reason = authorization_reasons.find_authorization_end(end, causes)
    return reason and Reason(reason.text, reason.updated_requirement)


# --- Connectors -----------------------------------------------------------------------------------


def _explain_status(summary: ConnectorStatusSummary, causes: DirectCauses) -> Reason | None:
    if summary.status in ("Faulted", "Unavailable"):
        return find_blocking_reason(causes)
    if summary.status == "Occupied":
        transaction = first_of_kind(causes, TransactionStarted)
        return Reason(
            "a transaction is open there" if transaction else "an EV is plugged in", "G01.FR.03"
        )
    return Reason("it is in service, with no EV, no transaction and no fault")


# --- Restarts and firmware -----------------------------------------------------------------------


def _explain_reset(event: ResetOrdered, causes: DirectCauses) -> Reason:
    delayed = Reason("the CSMS requested it for when no transaction is open", "B12.FR.01")
    return delayed if event.scheduled else Reason("the CSMS requested it", "B11.FR.01 or B12.FR.02")


def _explain_restart(event: RestartOrdered, causes: DirectCauses) -> Reason:
    if event.boot_reason == "FirmwareUpdate":
        return Reason("it starts the new firmware", "L01.FR.32")
    return Reason("the CSMS requested it, and nothing blocks it", "B11.FR.03")


_WAITING_TEXT: Final = "it waits for its scheduled time or for a transaction to end"

# FirmwareStatusEnumType -> why the update has it
_FIRMWARE_REASONS: Final = {
    "DownloadScheduled": Reason(_WAITING_TEXT, "L01.FR.13"),
    "DownloadPaused": Reason("downloads pause while a transaction is open", "L01.FR.14"),
    "Downloading": Reason("the download was due", "L01.FR.01"),
    "Downloaded": Reason("it was downloaded; its signature is checked next", "L01.FR.04"),
    "DownloadFailed": Reason("every download attempt failed", "L01.FR.30"),
    "SignatureVerified": Reason("the manufacturer's signature is valid", "L01.FR.04"),
    "InvalidSignature": Reason("the signature is invalid", "L01.FR.04, L01.FR.12"),
    "InstallScheduled": Reason(_WAITING_TEXT, "L01.FR.06, L01.FR.16"),
    "Installing": Reason("nothing blocked it any more", "L01.FR.05"),
    "InstallRebooting": Reason("it needs a restart to take effect", "L01.FR.32"),
    "InstallationFailed": Reason("the installer failed"),
    "InstallVerificationFailed": Reason("the installer rejected it as invalid", "L01.FR.29"),
    "Installed": Reason("it is running after the restart", "L01.FR.28, L01.FR.32"),
}


def _explain_firmware_status(event: FirmwareStatusChanged, causes: DirectCauses) -> Reason | None:
    reason = _FIRMWARE_REASONS.get(event.status)
    if (
        reason
        and event.status == "InstallationFailed"
        and first_of_kind(causes, FirmwareActivationChecked)
    ):
        reason = Reason("it is not running after the restart")
    return reason and Reason(reason.text + reason_suffix(event.reason), reason.requirement)


# --- Messages ------------------------------------------------------------------------------------

# action -> why it was queued, where its payload does not show more
_CALL_REASONS: Final = {
    "Authorize": Reason("the CSMS has to authorize an IdToken"),
    "BootNotification": Reason("the CSMS has to accept the station first", "B01.FR.01"),
    "FirmwareStatusNotification": Reason("the firmware status changed", "L01.FR.01"),
    "Heartbeat": Reason("no other message was sent for HeartbeatInterval", "G02.FR.02"),
    "MeterValues": Reason("a clock-aligned sample was due", "J01.FR.14 or J01.FR.22"),
    "SecurityEventNotification": Reason("a critical security event happened", "A04.FR.01"),
}


def _explain_queued_call(event: CallQueued, causes: DirectCauses) -> Reason | None:
    if event.requested_by_csms and first_of_kind(causes, FrameReceived):
        return Reason("the CSMS requested it", "F06.FR.10")
    if event.transaction_event is not None:
        return _explain_transaction_event(event.transaction_event, causes)
    if event.connector_status is not None:
        return _explain_status(event.connector_status, causes)
    return _CALL_REASONS.get(event.action)


def _explain_status_resend(event: StatusResendRequired, causes: DirectCauses) -> Reason:
    rule = "B01.FR.05" if first_of_kind(causes, FrameReceived) else "B04.FR.01"
    return Reason("the CSMS may not have the current statuses", rule)


def _explain_failed_attempt(event: CallAttemptFailed, causes: DirectCauses) -> Reason:
    attempt = first_of_kind(causes, CallAttempted)
    of_transaction = attempt is not None and attempt.lane == "transaction"
    return Reason("no valid answer arrived", "E13.FR.02" if of_transaction else "")


def _explain_parked_call(event: CallParked, causes: DirectCauses) -> Reason:
    if first_of_kind(causes, CallPayloadLost):
        return Reason(f"its payload cannot be read: {event.reason}")
    return Reason(f"its last attempt failed, {event.reason}", "E13.FR.04")


def _explain_dropped_calls(event: CallsDropped, causes: DirectCauses) -> Reason:
    if event.reason == LINK_LOST_REASON:
        event_text = (
            "the program ended" if first_of_kind(causes, StationStarted) else "the link was lost"
        )
        return Reason(
            f"{event_text}; current values are sent after reconnecting", "B04.FR.01, B04.FR.02"
        )
    if event.reason == THINNED_REASON:
        text = "disk space was low, so every second waiting sample was dropped"
        return Reason(text, "E12.FR.05")
    if event.rejected_by_csms:
        return Reason(f"the CSMS rejected it, {event.reason}")
    if first_of_kind(causes, CallPayloadLost):
        return Reason(f"its payload cannot be read: {event.reason}")
    call = first_of_kind(causes, CallQueued)
    if call is not None and call.lane == "boot":
        return Reason(f"{event.reason}; BootNotification is sent again later")
    return Reason(f"{event.reason}, and its delivery is not required")


def _explain_attempt(event: CallAttempted, causes: DirectCauses) -> Reason:
    if failure := first_of_kind(causes, CallAttemptFailed):
        rule = "E13.FR.02, E13.FR.03" if event.lane == "transaction" else ""
        return Reason(f"sent again: the previous attempt failed, {failure.reason}", rule)
    offline = "E11.FR.02" if event.offline else ""
    if first_of_kind(causes, CallRetryRequested):
        return Reason("sent again: an operator requested it")
    if first_of_kind(causes, StationStarted):
        return Reason("sent again: the program ended before the answer was recorded", offline)
    if first_of_kind(causes, LinkClosed, LinkOpened):
        text = "the link was lost before the answer, which does not count as a failed attempt"
        return Reason(f"sent again: {text}", offline)
    if event.offline:
        return Reason("sent for the first time, after waiting for the link", offline)
    return Reason("it was next in the queue")


def _explain_clock_correction(event: ClockCorrected, causes: DirectCauses) -> Reason:
    requirements = {"BootNotification": "B01.FR.06", "Heartbeat": "G02.FR.06"}
    return Reason("the CSMS sent the time", requirements.get(event.source, ""))


# kind -> its reason, or the function that derives it
DECISION_REASONS: Final[dict[str, Reason | Callable[[Any, DirectCauses], Reason | None]]] = {
    "AuthorizationRequested": authorization_reasons.explain_authorization_request,
    "AuthorizationEnded": authorization_reasons.explain_authorization_end,
    "AuthorizationGranted": authorization_reasons.explain_authorization,
    "AuthorizationRefused": authorization_reasons.explain_refusal,
    "AuthorizationSuspended": authorization_reasons.explain_suspension,
    "AvailabilityScheduled": explain_scheduled_availability,
    "CallAttemptFailed": _explain_failed_attempt,
    "CallResultQueued": response_reasons.explain_call_result,
    "CallAttempted": _explain_attempt,
    "CallParked": _explain_parked_call,
    "CallQueued": _explain_queued_call,
    "CallErrorQueued": response_reasons.explain_call_error,
    "CallsDropped": _explain_dropped_calls,
    "ClockCorrected": _explain_clock_correction,
    "FirmwareStatusChanged": _explain_firmware_status,
    "RestartOrdered": _explain_restart,
    "TransactionStarted": _explain_transaction_start,
    "TransactionStopOrdered": _explain_transaction_stop,
    "AuthorizationBoundToEvse": Reason(
        "the oldest authorization without an EVSE gets the EVSE where an EV is plugged in"
    ),
    "AuthorizationLimited": Reason(
        "the CSMS does not accept the IdToken, and MaxEnergyOnInvalidId allows this energy",
        "E05.FR.03",
    ),
    "AvailabilityChanged": Reason("the CSMS requested it"),
    "AuthCacheCleared": Reason("the CSMS requested it", "C11.FR.01"),
    "AuthCacheEntryExpired": Reason("its lifetime in the cache ended", "C10.FR.10"),
    "AuthCacheUpdated": Reason("the CSMS sent the status of the IdToken", "C10.FR.04, C10.FR.05"),
    "AuthCacheUsed": Reason("its lifetime in the cache starts at the last use", "C10.FR.08"),
    "CallDelivered": Reason("the CSMS answered"),
    "FirmwareUpdateOrdered": Reason(
        "the CSMS requested it, and its signing certificate is valid", "L01.FR.21"
    ),
    "RegistrationAnswered": Reason("the CSMS sent this status"),
    "ResetOrdered": _explain_reset,
    "TransactionSampleKept": Reason("a sample for the Ended message was due"),
    "StatusResendRequired": _explain_status_resend,
    "TransactionAuthorized": Reason("an IdToken was authorized in it", "E02.FR.20"),
    "FirmwareWaitingForTransactions": Reason(
        "a transaction is open, and the update waits for its end", "L01.FR.06"
    ),
}
