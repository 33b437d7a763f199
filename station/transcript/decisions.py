"""What does a decision mean, in a sentence? It is always the station that decided."""

from __future__ import annotations

from typing import Any, Final

from journal.projections.authorizations import (
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRequested,
)
from journal.projections.availability import AvailabilityChanged, AvailabilityScheduled
from journal.projections.outbox import CallAttempted, CallQueued
from journal.projections.registration import RegistrationAnswered
from journal.projections.transactions import TransactionStarted, TransactionStopOrdered
from station.transcript.phrases import (
    Sentence,
    at_evse,
    format_payload,
    format_reading,
    format_seconds,
    join_parts,
    list_calls,
    name_location,
    reason_suffix,
    shorten_id,
)


def _describe_queued_call(event: CallQueued) -> str:
    if mark := event.transaction_event:
        state = f", {mark.charging_state}" if mark.charging_state else ""
        return (
            f"has for the CSMS: TransactionEvent {mark.seq_no} {mark.event_type} "
            f"({mark.trigger_reason}{state}) of {shorten_id(mark.transaction_id)}"
        )
    if status := event.connector_status:
        where = name_location(status.evse_id, status.connector_id)
        return f"has for the CSMS: {where} is {status.status}"
    return f"has for the CSMS: {event.action}: {format_payload(event.payload)}"


def _describe_attempt(event: CallAttempted) -> str:
    return join_parts(
        f"sends call {event.call_seq}, {event.action}, as {shorten_id(event.message_id)}",
        f"attempt {event.attempt}" if event.attempt > 1 else None,
        "from offline times" if event.offline else None,
    )


def _describe_authorization_request(event: AuthorizationRequested) -> str:
    what = "may end what another began" if event.stop_only else "may charge"
    return f"asks the CSMS whether {event.id_token} {what}{at_evse(event.evse_id)}"


_AUTHORIZATION_SOURCES: Final = {
    "CSMS": "the CSMS says so",
    "Cache": "the cache says so",
    "OfflineUnknownId": "unknown, but offline",
    "Remote": "the CSMS asked for it",
    "NotNeeded": "nobody needs to be asked",
}


def _describe_authorization(event: AuthorizationGranted) -> str:
    where = at_evse(event.evse_id) or " where the next EV is plugged in"
    return f"lets {event.id_token} charge{where}: {_AUTHORIZATION_SOURCES[event.authorized_by]}"


def _describe_authorization_end(event: AuthorizationEnded) -> str:
    by = f" by {event.ended_by_id_token}" if event.ended_by_id_token else ""
    return (
        f"ends the right to charge{at_evse(event.evse_id)}{by}: "
        f"{event.trigger_reason}, {event.stopped_reason}"
    )


def _describe_transaction_start(event: TransactionStarted) -> str:
    by = f" for {event.id_token}" if event.id_token else ""
    return (
        f"begins transaction {event.transaction_id} at EVSE {event.evse_id}{by} "
        f"({event.trigger_reason})"
    )


def _describe_transaction_stop(event: TransactionStopOrdered) -> str:
    return (
        f"brings {shorten_id(event.transaction_id)} to its end: "
        f"{event.trigger_reason}, {event.stopped_reason}"
    )


def _describe_availability(event: AvailabilityChanged | AvailabilityScheduled) -> str:
    into = "into" if event.operative else "out of"
    later = ", once it is free" if isinstance(event, AvailabilityScheduled) else ""
    return f"takes {name_location(event.evse_id, event.connector_id)} {into} service{later}"


def _describe_registration(event: RegistrationAnswered) -> str:
    retry = f"; next try in {event.retry_after_s} s" if event.retry_after_s else ""
    return f"is {event.status.lower()} by the CSMS{retry}"


def _describe_slot(slot: Any) -> str:
    return f"slot {slot.slot}, {slot.url}, security profile {slot.security_profile}"


# kind -> what it meant
DECISION_SENTENCES: Final[dict[str, Sentence]] = {
    "CallQueued": _describe_queued_call,
    "CallAttempted": _describe_attempt,
    "CallDelivered": lambda e: f"knows call {e.call_seq} delivered",
    "CallAttemptFailed": lambda e: (
        f"counts call {e.call_seq} as failed, {shorten_id(e.message_id)}: {e.reason}"
        + (f"; again in {format_seconds(e.retry_after_ms)}" if e.retry_after_ms else "")
    ),
    "CallParked": lambda e: f"parks call {e.call_seq}: {e.reason}",
    "RuleFailed": lambda e: (
        f"has a fault in {e.rule} ({e.exception}): decides nothing by it, and lets nobody new in"
    ),
    "TransactionUpdatesThinned": lambda e: (
        f"keeps every second sample up to call {e.last_call_seq}"
    ),
    "CallsDropped": lambda e: f"drops {list_calls(e.call_seqs)}: {e.reason}",
    "CallResultQueued": lambda e: (
        f"answers {e.action} {shorten_id(e.message_id)}: {format_payload(e.payload)}"
    ),
    "CallErrorQueued": lambda e: (
        f"refuses {shorten_id(e.message_id)}: {e.error_code} {e.error_description}".rstrip()
    ),
    "RegistrationAnswered": _describe_registration,
    "RegistrationFailed": lambda e: f"is not heard by the CSMS; next try in {e.retry_after_s} s",
    "StatusResendRequired": lambda e: f"will tell every connector anew: {e.reason}",
    "ClockCorrected": lambda e: (
        f"sets its clock by {format_seconds(e.step_ms)}, as {e.source} tells: "
        f"{format_seconds(e.offset_ms)} from the host's"
    ),
    "VariableChanged": lambda e: f"sets {e.variable} = {e.value}",
    "RebootRequired": lambda e: f"needs a restart before {e.variable} counts",
    "AuthorizationRequested": _describe_authorization_request,
    "AuthorizationGranted": _describe_authorization,
    "AuthorizationRefused": lambda e: (
        f"lets {e.id_token} not charge{at_evse(e.evse_id)}: {e.status}"
    ),
    "AuthorizationBoundToEvse": lambda e: (
        f"takes the person of entry {e.authorization_seq} for the one at EVSE {e.evse_id}"
    ),
    "AuthorizationSuspended": lambda e: (
        f"gives the person of entry {e.authorization_seq} no energy: {e.status}"
    ),
    "AuthorizationLimited": lambda e: (
        f"gives the person of entry {e.authorization_seq} energy up to {e.until_register_wh} Wh: {e.status}"
    ),
    "AuthorizationEnded": _describe_authorization_end,
    "AuthCacheUpdated": lambda e: (
        f"remembers {e.id_token} as {e.status}" + (f" until {e.expires_at}" if e.expires_at else "")
    ),
    "AuthCacheUsed": lambda e: f"remembers {e.ref} on, until {e.expires_at}",
    "AuthCacheEntryExpired": lambda e: f"forgets what the CSMS said of {e.ref}: too old",
    "AuthCacheCleared": lambda e: "forgets what the CSMS said of all tokens",
    "TransactionStarted": _describe_transaction_start,
    "TransactionAuthorized": lambda e: (
        f"lets {e.id_token} charge in {shorten_id(e.transaction_id)}"
    ),
    "TransactionStopOrdered": _describe_transaction_stop,
    "TransactionSampleKept": lambda e: (
        f"keeps for the end of {shorten_id(e.transaction_id)}: "
        f"{format_reading(e.sample.read)} ({e.sample.context})"
    ),
    "GroupIdTokenReceived": lambda e: (
        f"learns that {shorten_id(e.transaction_id)} belongs to group {e.group_id_token}"
    ),
    "AvailabilityChanged": _describe_availability,
    "AvailabilityScheduled": _describe_availability,
    "ClockAlignedIntervalHandled": lambda e: (
        f"is done with clock-aligned moment {e.interval_index} of {e.interval_s} s"
    ),
    "ResetOrdered": lambda e: (
        f"will restart: {e.reset_type}, asked by {shorten_id(e.request_message_id)}"
    ),
    "RestartOrdered": lambda e: f"restarts now ({e.boot_reason})",
    "FirmwareUpdateOrdered": lambda e: (
        f"takes on firmware update {e.request_id}: {e.location} from {e.retrieve_at} on"
        + (f", to be installed at {e.install_at}" if e.install_at else "")
    ),
    "FirmwareStatusChanged": lambda e: (
        f"is with update {e.update_seq} at {e.status}{reason_suffix(e.reason)}"
    ),
    "FirmwareWaitingForTransactions": lambda e: (
        f"has to wait for transactions to end before update {e.update_seq} goes on"
    ),
    "LogUploadOrdered": lambda e: (
        f"takes on log upload {e.request_id}: {e.filename} to {e.location}"
    ),
    "LogUploadClosed": lambda e: f"is through with upload {e.upload_seq}: {e.status}",
    "CustomerInformationRequested": lambda e: (
        f"looks for what it holds of {e.id_token}" + (", to remove it then" if e.clear else "")
    ),
    "CustomerInformationAnswered": lambda e: f"answers inquiry {e.request_seq}",
    "CustomerDataCleared": lambda e: f"will forget {', '.join(e.refs)} as soon as nothing needs it",
    "NetworkProfileSet": lambda e: f"keeps for its next start: {_describe_slot(e.profile)}",
    "NetworkSlotsSelected": lambda e: (
        f"will try, in this order: {'; '.join(map(_describe_slot, e.candidates)) or 'nothing'}"
    ),
    "SecurityProfileRaised": lambda e: (
        f"goes to security profile {e.security_profile} for ever"
        + (f" and drops slots {', '.join(map(str, e.removed_slots))}" if e.removed_slots else "")
    ),
    "CertificateInstalled": lambda e: (
        f"trusts a {e.use} from now on: {e.subject} by {e.issuer}, until {e.not_after}"
    ),
    "CertificateDeleted": lambda e: f"gives up a {e.use}: {shorten_id(e.sha256)}",
    "SecurityEventLogged": lambda e: (
        f"writes into the security log: {e.type}"
        + (f" ({e.tech_info})" if e.tech_info else "")
        + (", critical" if e.critical else "")
    ),
}
