"""Sentences for decisions. The station is the subject of each."""

from __future__ import annotations

from typing import Any, Final

from journal.projections.authorizations import (
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRequested,
)
from journal.projections.availability import AvailabilityChanged, AvailabilityScheduled
from journal.projections.charging_profiles import ChargingProfileInstalled
from journal.projections.display_messages import DisplayMessageSet
from journal.projections.driver_information import CostReceived, DriverInformationReceived
from journal.projections.energy_ledger import (
    OLD_STOP_REGISTER,
    EnergyUnaccounted,
    subtract_registers,
)
from journal.projections.external_limits import ExternalLimitNotified
from journal.projections.lifecycle import ResetOrdered
from journal.projections.local_list import LocalListChanged, LocalListReplaced
from journal.projections.monitors import MonitorEvent, MonitorSet
from journal.projections.outbox import (
    CallAttempted,
    CallAttemptFailed,
    CallQueued,
    CallsDropped,
)
from journal.projections.power_limits import PowerLimitsDecided
from journal.projections.registration import RegistrationAnswered
from journal.projections.reservations import ReservationMade
from journal.projections.transactions import TransactionStarted, TransactionStopOrdered
from station.transcript.phrases import (
    Sentence,
    at_evse,
    count_things,
    format_interval,
    format_power_limit,
    format_reading,
    format_seconds,
    join_parts,
    list_calls,
    list_numbers,
    name_location,
    payload_suffix,
    reason_suffix,
    shorten_id,
)

_SIGNING_TRIGGERS: Final = {
    "csms": "triggered by the CSMS",
    "expiry": "the present one expires soon",
    "operator": "requested by an operator",
}


def _describe_queued_call(event: CallQueued) -> str:
    if transaction := event.transaction_event:
        state = f", {transaction.charging_state}" if transaction.charging_state else ""
        is_old = OLD_STOP_REGISTER in transaction.includes
        return (
            f"queues TransactionEvent {transaction.event_type}, seqNo {transaction.seq_no} "
            f"({transaction.trigger_reason}{state}) of {shorten_id(transaction.transaction_id)}"
            f"{', without a new register: the meter is silent' if is_old else ''}"
        )
    if status := event.connector_status:
        location = name_location(status.evse_id, status.connector_id)
        return f"queues StatusNotification: {location} {status.status}"
    return f"queues {event.action}{payload_suffix(event.payload)}"


def _describe_attempt(event: CallAttempted) -> str:
    return join_parts(
        f"hands {event.action} of entry {event.call_seq} to the link",
        f"messageId {shorten_id(event.message_id)}",
        f"attempt {event.attempt}" if event.attempt > 1 else None,
        "marked offline" if event.offline else None,
    )


def _describe_failed_attempt(event: CallAttemptFailed) -> str:
    retry = f"; retry in {format_seconds(event.retry_after_ms)}" if event.retry_after_ms else ""
    return (
        f"counts attempt {shorten_id(event.message_id)} at call {event.call_seq} as failed: "
        f"{event.reason}{retry}"
    )


def _describe_dropped_calls(event: CallsDropped) -> str:
    has_program_ended = event.because == "program_ended"
    reason = "the program ended" if has_program_ended else event.reason
    return f"drops {list_calls(event.call_seqs)}: {reason}"


def _describe_authorization_request(event: AuthorizationRequested) -> str:
    purpose = ", only to stop a transaction of its group" if event.stop_only else ""
    return f"asks the CSMS to authorize {event.id_token}{at_evse(event.evse_id)}{purpose}"


_AUTHORIZATION_SOURCES: Final = {
    "CSMS": "accepted by the CSMS",
    "Cache": "accepted in the authorization cache",
    "LocalList": "accepted in the local authorization list",
    "OfflineUnknownId": "unknown, accepted while offline",
    "Remote": "started by the CSMS",
    "Reservation": "reserved for it, accepted while offline",
    "NotNeeded": "no authorization needed",
}


def _describe_authorization(event: AuthorizationGranted) -> str:
    location = at_evse(event.evse_id) or " for the next EV plugged in"
    return f"authorizes {event.id_token}{location}: {_AUTHORIZATION_SOURCES[event.authorized_by]}"


def _describe_authorization_end(event: AuthorizationEnded) -> str:
    by = f" by {event.ended_by_id_token}" if event.ended_by_id_token else ""
    return (
        f"ends the authorization{at_evse(event.evse_id)}{by}: "
        f"{event.trigger_reason}, {event.stopped_reason}"
    )


def _describe_transaction_start(event: TransactionStarted) -> str:
    id_token = f" for {event.id_token}" if event.id_token else ""
    return (
        f"starts transaction {event.transaction_id} at EVSE {event.evse_id}{id_token} "
        f"({event.trigger_reason})"
    )


def _describe_transaction_stop(event: TransactionStopOrdered) -> str:
    return (
        f"stops transaction {shorten_id(event.transaction_id)}: "
        f"{event.trigger_reason}, {event.stopped_reason}"
    )


UNACCOUNTED_PHRASES: Final = {
    "meter_silent": "the meter was silent when the transaction before ended",
    "program_not_running": "counted before the first reading of this run",
    "register_fell": "the register is lower than before, as after an exchange of the meter",
    "no_transaction": "no transaction was open",
}


def _describe_unaccounted_energy(event: EnergyUnaccounted) -> str:
    energy_wh = subtract_registers(event.from_wh, event.to_wh)
    return (
        f"lists {energy_wh} Wh at EVSE {event.evse_id} that belong to no transaction: "
        f"{UNACCOUNTED_PHRASES[event.reason]} "
        f"(register {event.from_wh} Wh in entry {event.from_seq}, "
        f"{event.to_wh} Wh in entry {event.to_seq})"
    )


def _describe_availability(event: AvailabilityChanged | AvailabilityScheduled) -> str:
    status = "Operative" if event.operative else "Inoperative"
    location = name_location(event.evse_id, event.connector_id)
    if isinstance(event, AvailabilityScheduled):
        return f"will set {location} to {status} after the transaction"
    return f"sets {location} to {status}"


def _describe_registration(event: RegistrationAnswered) -> str:
    retry = f"; next BootNotification in {event.retry_after_s} s" if event.retry_after_s else ""
    return f"has registration status {event.status}{retry}"


def _describe_reset(event: ResetOrdered) -> str:
    when = ", after the transactions" if event.scheduled else ""
    request = shorten_id(event.request_message_id)
    return f"will restart{when}: Reset {event.reset_type}, request {request}"


_REMOVAL_PHRASES: Final = {
    "cleared": "cleared by the CSMS",
    "transaction_ended": "its transaction has ended",
    "not_started": "its transaction was not started",
}


def _describe_list_replacement(event: LocalListReplaced) -> str:
    return (
        f"replaces the local authorization list: version {event.version_number}, "
        f"{count_things(len(event.id_tokens), 'idToken')}"
    )


def _describe_list_change(event: LocalListChanged) -> str:
    return (
        f"changes the local authorization list: version {event.version_number}, "
        f"{len(event.updated)} added or replaced, {len(event.removed_refs)} removed"
    )


def _describe_profile(event: ChargingProfileInstalled) -> str:
    location = f"EVSE {event.evse_id}" if event.evse_id else "the station"
    transaction = event.transaction_id and f" for transaction {shorten_id(event.transaction_id)}"
    return (
        f"installs charging profile {event.profile_id} at {location}{transaction}: "
        f"{event.purpose}, stack level {event.stack_level}"
    )


def _describe_power_limits(event: PowerLimitsDecided) -> str:
    limits = "; ".join(
        f"{name_location(limit.evse_id)} {format_power_limit(limit)}" for limit in event.limits
    )
    return f"limits the power: {limits}" if limits else "limits the power no more"


def _describe_limit_report(event: ExternalLimitNotified) -> str:
    location = f" of EVSE {event.evse_id}" if event.evse_id else ""
    limit = "has ended" if event.limit_w is None else f"is {event.limit_w} W"
    return f"reports to the CSMS that the limit{location} by {event.source} {limit}"


def _describe_monitor(event: MonitorSet) -> str:
    monitor = event.monitor
    return (
        f"sets monitor {monitor.id}: {monitor.type} {monitor.value} of {monitor.variable}, "
        f"severity {monitor.severity}" + (", only in transactions" if monitor.transaction else "")
    )


def _describe_monitor_event(event: MonitorEvent) -> str:
    return f"event {event.event_id} (monitor {event.monitor_id} {event.outcome}: {event.value})"


def _describe_reservation(event: ReservationMade) -> str:
    connector = f" with connector {event.connector_type}" if event.connector_type else ""
    place = f"EVSE {event.evse_id}" if event.evse_id else "an EVSE"
    group = f" or group {event.group_id_token}" if event.group_id_token else ""
    return (
        f"makes reservation {event.reservation_id}: {place}{connector} for {event.id_token}{group} "
        f"until {event.expires_at}"
    )


def _describe_message(event: DisplayMessageSet) -> str:
    message = event.message
    return join_parts(
        f"stores display message {message.id} ({message.priority}): {message.content!r}",
        message.transaction_id and f"for transaction {shorten_id(message.transaction_id)}",
        message.state and f"while {message.state}",
        message.start_at and f"from {message.start_at}",
        message.end_at and f"until {message.end_at}",
    )


_MESSAGE_REMOVALS: Final = {
    "Cleared": "cleared by the CSMS",
    "ReplacedInFront": "another message with priority AlwaysFront was set",
    "Ended": "its end has passed",
    "TransactionEnded": "its transaction has ended",
}


def _describe_information(event: DriverInformationReceived) -> str:
    subject = (
        f"transaction {shorten_id(event.transaction_id)}"
        if event.transaction_id
        else f"{event.id_token}"
        if event.id_token
        else "an EV driver"
    )
    languages = ", ".join(filter(None, (event.language1, event.language2)))
    return join_parts(
        f"displays for {subject}: {event.message!r}"
        if event.message
        else f"selects the language for {subject}",
        languages and f"languages {languages}",
    )


def _describe_cost(event: CostReceived) -> str:
    kind = "total" if event.is_final else "running"
    transaction = shorten_id(event.transaction_id)
    return f"displays the {kind} cost of transaction {transaction}: {event.total_cost}"


def _describe_slot(slot: Any) -> str:
    return f"slot {slot.slot}, {slot.url}, security profile {slot.security_profile}"


# kind -> sentence without its subject
DECISION_SENTENCES: Final[dict[str, Sentence]] = {
    "CallQueued": _describe_queued_call,
    "CallAttempted": _describe_attempt,
    "CallDelivered": lambda e: f"marks call {e.call_seq} as delivered",
    "CallAttemptFailed": _describe_failed_attempt,
    "CallParked": lambda e: f"parks call {e.call_seq}: {e.reason}",
    "RuleFailed": lambda e: (
        f"leaves out rule {e.rule}, which failed ({e.exception}), and refuses new EV drivers"
    ),
    "TransactionUpdatesThinned": lambda e: (
        f"drops every second waiting sample up to call {e.last_call_seq}"
    ),
    "CallsDropped": _describe_dropped_calls,
    "CallResultQueued": lambda e: (
        f"answers {e.action} {shorten_id(e.message_id)}{payload_suffix(e.payload)}"
    ),
    "CallErrorQueued": lambda e: (
        f"answers {shorten_id(e.message_id)} with CALLERROR {e.error_code}"
        f"{reason_suffix(e.error_description)}"
    ),
    "RegistrationAnswered": _describe_registration,
    "RegistrationFailed": lambda e: (
        f"has no valid answer to BootNotification; retry in {e.retry_after_s} s"
    ),
    "StatusResendRequired": lambda e: (
        f"will report the status of every connector again: {e.reason}"
    ),
    "ClockCorrected": lambda e: (
        f"corrects its clock by {format_seconds(e.step_ms)}, to the time in {e.source}; "
        f"difference to the host's clock: {format_seconds(e.offset_ms)}"
    ),
    "VariableChanged": lambda e: f"sets {e.variable} = {e.value}",
    "RebootRequired": lambda e: f"needs a restart to apply {e.variable}",
    "AuthorizationRequested": _describe_authorization_request,
    "AuthorizationGranted": _describe_authorization,
    "AuthorizationRefused": lambda e: f"refuses {e.id_token}{at_evse(e.evse_id)}: {e.status}",
    "AuthorizationBoundToEvse": lambda e: (
        f"assigns the authorization of entry {e.authorization_seq} to EVSE {e.evse_id}"
    ),
    "AuthorizationSuspended": lambda e: (
        f"suspends charging for the authorization of entry {e.authorization_seq}: {e.status}"
    ),
    "AuthorizationLimited": lambda e: (
        f"limits charging for the authorization of entry {e.authorization_seq}: "
        f"until the meter is at {e.until_register_wh} Wh ({e.status})"
    ),
    "AuthorizationEnded": _describe_authorization_end,
    "AuthCacheUpdated": lambda e: (
        f"caches {e.id_token} as {e.status}" + (f" until {e.expires_at}" if e.expires_at else "")
    ),
    "AuthCacheUsed": lambda e: f"keeps {e.ref} in the authorization cache until {e.expires_at}",
    "AuthCacheEntryExpired": lambda e: f"removes {e.ref} from the authorization cache: expired",
    "AuthCacheCleared": lambda e: "clears the authorization cache",
    "LocalListChanged": _describe_list_change,
    "LocalListReplaced": _describe_list_replacement,
    "TransactionStarted": _describe_transaction_start,
    "TransactionAuthorized": lambda e: (
        f"authorizes {e.id_token} in transaction {shorten_id(e.transaction_id)}"
    ),
    "TransactionStopOrdered": _describe_transaction_stop,
    "TransactionSampleKept": lambda e: (
        f"stores a sample for the Ended message of {shorten_id(e.transaction_id)}: "
        f"{format_reading(e.sample.meter_read)} ({e.sample.context})"
    ),
    "EnergyUnaccounted": _describe_unaccounted_energy,
    "GroupIdTokenReceived": lambda e: (
        f"assigns transaction {shorten_id(e.transaction_id)} to group {e.group_id_token}"
    ),
    "ChargingProfileInstalled": _describe_profile,
    "ChargingProfileRemoved": lambda e: (
        f"removes charging profile {e.profile_id}: {_REMOVAL_PHRASES[e.reason]}"
    ),
    "ExternalLimitNotified": _describe_limit_report,
    "DisplayMessageSet": _describe_message,
    "DisplayMessageRemoved": lambda e: (
        f"removes display message {e.message_id}: {_MESSAGE_REMOVALS[e.reason]}"
    ),
    "MonitorSet": _describe_monitor,
    "MonitorCleared": lambda e: f"removes monitor {e.monitor_id}",
    "MonitoringBaseSet": lambda e: f"sets the monitoring base to {e.base}",
    "MonitoringLevelSet": lambda e: f"sends events of severity 0 to {e.severity}",
    "MonitorsStarted": lambda e: (
        f"starts {list_numbers('monitor', [each.monitor_id for each in e.begins])}"
    ),
    "MonitorsTriggered": lambda e: (
        f"reports {', '.join(_describe_monitor_event(each) for each in e.events)}"
    ),
    "DriverInformationReceived": _describe_information,
    "CostReceived": _describe_cost,
    "PowerLimitsDecided": _describe_power_limits,
    "ReservationMade": _describe_reservation,
    "ReservationUsed": lambda e: (
        f"uses reservation {e.reservation_id} for the authorization of entry {e.authorization_seq}"
    ),
    "ReservationEnded": lambda e: (
        f"ends reservation {e.reservation_id}: {e.because.replace('_', ' ')}".rstrip(": ")
    ),
    "AvailabilityChanged": _describe_availability,
    "AvailabilityScheduled": _describe_availability,
    "ClockAlignedIntervalHandled": lambda e: (
        f"completes the clock-aligned values of {format_interval(e.interval_index, e.interval_s)}"
    ),
    "ResetOrdered": _describe_reset,
    "RestartOrdered": lambda e: f"restarts ({e.boot_reason})",
    "FirmwareUpdateOrdered": lambda e: (
        f"accepts firmware update {e.request_id}: {e.location}, download from {e.retrieve_at}"
        + (f", installation from {e.install_at}" if e.install_at else "")
    ),
    "FirmwareStatusChanged": lambda e: (
        f"sets the update of entry {e.update_seq} to {e.status}{reason_suffix(e.reason)}"
    ),
    "FirmwareWaitingForTransactions": lambda e: (
        f"delays the update of entry {e.update_seq} until no transaction is open"
    ),
    "LogUploadOrdered": lambda e: (
        f"accepts log upload {e.request_id}: {e.filename} to {e.location}"
    ),
    "LogUploadClosed": lambda e: f"ends the log upload of entry {e.upload_seq}: {e.status}",
    "CustomerInformationRequested": lambda e: (
        f"collects the customer data of {e.id_token}" + (", then erases it" if e.clear else "")
    ),
    "CustomerInformationAnswered": lambda e: (
        f"completes the customer information request of entry {e.request_seq}"
    ),
    "CustomerDataCleared": lambda e: f"will erase {', '.join(e.refs)} when no longer needed",
    "NetworkProfileSet": lambda e: f"stores for the next start: {_describe_slot(e.profile)}",
    "NetworkSlotsSelected": lambda e: (
        f"will try in this order: {'; '.join(map(_describe_slot, e.candidates)) or 'no slot'}"
    ),
    "SecurityProfileRaised": lambda e: (
        f"raises the security profile to {e.security_profile} permanently"
        + (f" and removes slots {', '.join(map(str, e.removed_slots))}" if e.removed_slots else "")
    ),
    "SecurityProfileLowered": lambda e: f"lowers the security profile to {e.security_profile}",
    "CertificateInstalled": lambda e: (
        f"installs certificate {e.use}: {e.subject}, issued by {e.issuer}, "
        f"valid until {e.not_after}"
    ),
    "CertificateSigningOrdered": lambda e: (
        f"orders a new {e.use} ({_SIGNING_TRIGGERS[e.trigger]}) for {e.common_name}, "
        f"{e.organization}, key {e.key_type}"
    ),
    "SignCertificateAnswered": lambda e: (
        f"notes for the CSR of entry {e.order_seq}: "
        + (
            ("accepted" if e.accepted else "rejected") + " by the CSMS"
            if e.responded
            else "no answer"
        )
    ),
    "SignedCertificateRefused": lambda e: (
        f"refuses the {e.use} for the CSR of entry {e.order_seq}: it {e.reason}"
    ),
    "CertificateSigningEnded": lambda e: (
        f"ends the request of entry {e.order_seq} for a new {e.use}: {e.end.replace('_', ' ')}"
        + (f" ({e.reason})" if e.reason else "")
    ),
    "CertificateDeleted": lambda e: f"deletes certificate {e.use}: {shorten_id(e.sha256)}",
    "SecurityEventLogged": lambda e: (
        f"logs security event {e.type}"
        + (f" ({e.tech_info})" if e.tech_info else "")
        + (", critical" if e.critical else "")
    ),
}
