"""What does a decision mean, in a sentence? It is always the station that decided."""

from __future__ import annotations

from typing import Any, Final

from journal.projections.authorizations import (
    AuthorizationAsked,
    AuthorizationEnded,
    AuthorizationGranted,
)
from journal.projections.availability import AvailabilityChanged, AvailabilityScheduled
from journal.projections.outbox import CallAttempted, CallQueued
from journal.projections.registration import RegistrationAnswered
from journal.projections.transactions import TransactionStarted, TransactionStopping
from station.sentences.words import (
    Sentence,
    at,
    because,
    here,
    joined,
    listed,
    reading,
    seconds,
    short,
    told,
)


def _queued(event: CallQueued) -> str:
    if mark := event.transaction:
        state = f", {mark.charging_state}" if mark.charging_state else ""
        return (
            f"has for the CSMS: TransactionEvent {mark.seq_no} {mark.event_type} "
            f"({mark.trigger_reason}{state}) of {short(mark.transaction_id)}"
        )
    if status := event.status:
        where = at(status.evse_id, status.connector_id)
        return f"has for the CSMS: {where} is {status.status}"
    return f"has for the CSMS: {event.action}: {told(event.payload)}"


def _attempted(event: CallAttempted) -> str:
    return joined(
        f"sends call {event.call}, {event.action}, as {short(event.message_id)}",
        f"attempt {event.attempt}" if event.attempt > 1 else None,
        "from offline times" if event.offline else None,
    )


def _asked(event: AuthorizationAsked) -> str:
    what = "may end what another began" if event.stopping else "may charge"
    return f"asks the CSMS whether {event.id_token} {what}{here(event.evse_id)}"


_HOWS: Final = {
    "CSMS": "the CSMS says so",
    "Cache": "the cache says so",
    "Offline": "unknown, but offline",
    "Remote": "the CSMS asked for it",
    "NotNeeded": "nobody needs to be asked",
}


def _granted(event: AuthorizationGranted) -> str:
    where = here(event.evse_id) or " where the next EV is plugged in"
    return f"lets {event.id_token} charge{where}: {_HOWS[event.how]}"


def _authorization_ended(event: AuthorizationEnded) -> str:
    by = f" by {event.id_token}" if event.id_token else ""
    return (
        f"ends the right to charge{here(event.evse_id)}{by}: "
        f"{event.trigger_reason}, {event.stopped_reason}"
    )


def _transaction_started(event: TransactionStarted) -> str:
    by = f" for {event.id_token}" if event.id_token else ""
    return (
        f"begins transaction {event.transaction_id} at EVSE {event.evse_id}{by} "
        f"({event.trigger_reason})"
    )


def _stopping(event: TransactionStopping) -> str:
    return (
        f"brings {short(event.transaction_id)} to its end: "
        f"{event.trigger_reason}, {event.stopped_reason}"
    )


def _availability(event: AvailabilityChanged | AvailabilityScheduled) -> str:
    into = "into" if event.operative else "out of"
    later = ", once it is free" if isinstance(event, AvailabilityScheduled) else ""
    return f"takes {at(event.evse_id, event.connector_id)} {into} service{later}"


def _registered(event: RegistrationAnswered) -> str:
    retry = f"; next try in {event.retry_s} s" if event.retry_s else ""
    return f"is {event.status.lower()} by the CSMS{retry}"


def _slot(slot: Any) -> str:
    return f"slot {slot.slot}, {slot.url}, security profile {slot.security_profile}"


# kind -> what it meant
DECIDED: Final[dict[str, Sentence]] = {
    "CallQueued": _queued,
    "CallAttempted": _attempted,
    "CallDelivered": lambda e: f"knows call {e.call} delivered",
    "AttemptFailed": lambda e: (
        f"counts call {e.call} as failed, {short(e.message_id)}: {e.why}"
        + (f"; again in {seconds(e.retry_after_ms)}" if e.retry_after_ms else "")
    ),
    "CallParked": lambda e: f"parks call {e.call}: {e.reason}",
    "JudgementFailed": lambda e: (
        f"has a fault in {e.rule} ({e.fault}): decides nothing by it, and lets nobody new in"
    ),
    "UpdatesThinned": lambda e: f"keeps every second sample up to call {e.to}",
    "CallsDropped": lambda e: f"drops {listed(e.calls)}: {e.reason}",
    "CallAnswered": lambda e: f"answers {e.action} {short(e.message_id)}: {told(e.payload)}",
    "CallRefused": lambda e: f"refuses {short(e.message_id)}: {e.code} {e.description}".rstrip(),
    "RegistrationAnswered": _registered,
    "RegistrationFailed": lambda e: f"is not heard by the CSMS; next try in {e.retry_s} s",
    "StatusesDoubted": lambda e: f"will tell every connector anew: {e.reason}",
    "ClockCorrected": lambda e: (
        f"sets its clock by {seconds(e.step_ms)}, as {e.source} tells: "
        f"{seconds(e.offset_ms)} from the host's"
    ),
    "VariableChanged": lambda e: f"sets {e.key} = {e.value}",
    "RebootNeeded": lambda e: f"needs a restart before {e.key} counts",
    "AuthorizationAsked": _asked,
    "AuthorizationGranted": _granted,
    "AuthorizationRefused": lambda e: f"lets {e.id_token} not charge{here(e.evse_id)}: {e.status}",
    "AuthorizationBound": lambda e: (
        f"takes the person of entry {e.granted_seq} for the one at EVSE {e.evse_id}"
    ),
    "AuthorizationSuspended": lambda e: (
        f"gives the person of entry {e.granted_seq} no energy: {e.status}"
    ),
    "AuthorizationLimited": lambda e: (
        f"gives the person of entry {e.granted_seq} energy up to {e.until_wh} Wh: {e.status}"
    ),
    "AuthorizationEnded": _authorization_ended,
    "CacheUpdated": lambda e: (
        f"remembers {e.id_token} as {e.status}" + (f" until {e.until}" if e.until else "")
    ),
    "CacheUsed": lambda e: f"remembers {e.ref} on, until {e.until}",
    "CacheExpired": lambda e: f"forgets what the CSMS said of {e.ref}: too old",
    "CacheCleared": lambda e: "forgets what the CSMS said of all tokens",
    "TransactionStarted": _transaction_started,
    "TransactionAuthorized": lambda e: f"lets {e.id_token} charge in {short(e.transaction_id)}",
    "TransactionStopping": _stopping,
    "SampleKept": lambda e: (
        f"keeps for the end of {short(e.transaction_id)}: "
        f"{reading(e.sample.read)} ({e.sample.context})"
    ),
    "GroupLearned": lambda e: f"learns that {short(e.transaction_id)} belongs to group {e.group}",
    "AvailabilityChanged": _availability,
    "AvailabilityScheduled": _availability,
    "AlignedSlotServed": lambda e: (
        f"is done with clock-aligned moment {e.slot} of {e.interval_s} s"
    ),
    "ResetOrdered": lambda e: f"will restart: {e.kind}, asked by {short(e.answering)}",
    "RestartOrdered": lambda e: f"restarts now ({e.boot_reason})",
    "FirmwareOrdered": lambda e: (
        f"takes on firmware update {e.request_id}: {e.location} from {e.retrieve_at} on"
        + (f", to be installed at {e.install_at}" if e.install_at else "")
    ),
    "FirmwareAdvanced": lambda e: f"is with update {e.update} at {e.status}{because(e.why)}",
    "TransactionsAwaited": lambda e: (
        f"has to wait for transactions to end before update {e.update} goes on"
    ),
    "UploadOrdered": lambda e: f"takes on log upload {e.request_id}: {e.filename} to {e.location}",
    "UploadClosed": lambda e: f"is through with upload {e.upload}: {e.status}",
    "CustomerAsked": lambda e: (
        f"looks for what it holds of {e.id_token}" + (", to remove it then" if e.clear else "")
    ),
    "CustomerAnswered": lambda e: f"answers inquiry {e.inquiry}",
    "CustomerCleared": lambda e: f"will forget {', '.join(e.refs)} as soon as nothing needs it",
    "NetworkProfileSet": lambda e: f"keeps for its next start: {_slot(e.profile)}",
    "NetworksTaken": lambda e: (
        f"will try, in this order: {'; '.join(map(_slot, e.candidates)) or 'nothing'}"
    ),
    "SecurityProfileRaised": lambda e: (
        f"goes to security profile {e.security_profile} for ever"
        + (f" and drops slots {', '.join(map(str, e.dropped))}" if e.dropped else "")
    ),
    "CertificateInstalled": lambda e: (
        f"trusts a {e.use} from now on: {e.subject} by {e.issuer}, until {e.not_after}"
    ),
    "CertificateDeleted": lambda e: f"gives up a {e.use}: {short(e.sha256)}",
    "SecurityEventLogged": lambda e: (
        f"writes into the security log: {e.type}"
        + (f" ({e.tech_info})" if e.tech_info else "")
        + (", critical" if e.critical else "")
    ),
}
