"""What does an entry mean, in a sentence for people?

`SENTENCES` has a row for each kind of event, by its name: who spoke, and what it meant. `>` marks
what was seen, the rest was decided. IdTokens show as their references; `named` puts the values in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from journal.observations import (
    DeviceFaulted,
    EvIdentified,
    FrameReceived,
    MeterRead,
    StationStarted,
)
from journal.projections.authorizations import (
    AuthorizationAsked,
    AuthorizationEnded,
    AuthorizationGranted,
)
from journal.projections.availability import AvailabilityChanged, AvailabilityScheduled
from journal.projections.outbox import (
    CallAttempted,
    CallQueued,
)
from journal.projections.registration import RegistrationAnswered
from journal.projections.transactions import (
    TransactionStarted,
    TransactionStopping,
)
from journal.terms import Entry, Event, Observation
from station import ocppj

PAYLOAD_MAX: Final = 160  # characters of a payload in a line; the journal has all of it
LIST_MAX: Final = 8  # numbers told one by one

_REFERENCE = re.compile(r"#[0-9a-f]{16}")
_payload = msgspec.json.Decoder(float_hook=Decimal)


def line(entry: Entry) -> str:
    """Time, number, who spoke and what it meant. One line, without control characters."""
    who, sentence = meaning(entry.event)
    mark = ">" if isinstance(entry.event, Observation) else " "
    time = entry.at.strftime("%H:%M:%S.") + f"{entry.at.microsecond // 1000:03}"
    return f"{time} {entry.seq:>7} {mark} {who:<9} {sentence}"


def meaning(event: Event) -> tuple[str, str]:
    """Who spoke, and what it meant."""
    who, sentence = SENTENCES.get(type(event).__name__, ("station", _unworded))
    return who, _printable(sentence(event))


def named(text: str, value_of: Callable[[str], str | None]) -> str:
    """The text with the value of every reference that still has one."""

    def value(found: re.Match[str]) -> str:
        known = value_of(found[0])
        return found[0] if known is None else _printable(known)

    return _REFERENCE.sub(value, text)


# --- Words ---------------------------------------------------------------------------------------


def _printable(text: str) -> str:
    """What a CSMS or a reader sent must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def _at(evse_id: int | None, connector_id: int = 0) -> str:
    if not evse_id:
        return "the station"
    return f"EVSE {evse_id}" + (f" connector {connector_id}" if connector_id else "")


def _here(evse_id: int | None) -> str:
    return f" at EVSE {evse_id}" if evse_id else ""


def _short(name: str) -> str:
    """The beginning of a UUID tells it from its neighbours."""
    return f"{name[:8]}…" if len(name) > 12 else name


def _seconds(ms: int) -> str:
    return f"{Decimal(ms) / 1000:f} s"


def _listed(calls: Sequence[int]) -> str:
    told = ", ".join(map(str, calls[:LIST_MAX]))
    more = len(calls) - LIST_MAX
    what = "call" if len(calls) == 1 else "calls"
    return f"{what} {told}" + (f" and {more} more" if more > 0 else "")


def _told(payload: msgspec.Raw) -> str:
    """A payload without its punctuation, as far as a line has room."""
    try:
        text = _flat(_payload.decode(payload))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        text = "what cannot be read"
    return _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= PAYLOAD_MAX else f"{text[: PAYLOAD_MAX - 1]}…"


def _flat(part: Any, inner: bool = False) -> str:
    if isinstance(part, Mapping):
        text = ", ".join(f"{key} {_flat(value, True)}" for key, value in part.items())
        return f"({text})" if inner else text or "nothing"
    if isinstance(part, list):
        return f"[{', '.join(_flat(item, True) for item in part)}]"
    return {True: "true", False: "false", None: "null"}.get(part, str(part))


def _reading(read: MeterRead) -> str:
    """The register first, then whatever else was read."""
    parts = (
        (read.energy_wh, "Wh"),
        (read.energy_export_wh, "Wh from the EV"),
        (read.power_w, "W"),
        (read.voltage_v, "V"),
        (read.current_a, "A"),
    )
    told = [f"{value} {unit}" for value, unit in parts if value is not None]
    if read.soc_percent is not None:
        told.append(f"EV at {read.soc_percent} %")
    return ", ".join(told)


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


# --- What was seen -------------------------------------------------------------------------------


def _started(event: StationStarted) -> str:
    before = f"last heard of at {event.last_at}" if event.last_at else "for the first time"
    return (
        f"starts, {before}: {event.identity}, release {event.release}, profile {event.profile}, "
        f"{len(event.evses)} EVSEs"
    )


def _received(event: FrameReceived) -> str:
    match ocppj.read(event.frame):
        case ocppj.CallFrame(message_id=name, action=action, payload=payload):
            return f"asks {action} {_short(name)}: {_told(payload)}"
        case ocppj.ResultFrame(message_id=name, payload=payload):
            return f"answers {_short(name)}: {_told(payload)}"
        case ocppj.ErrorFrame(message_id=name, code=code, description=description):
            return f"refuses {_short(name)}: {code} {description}".rstrip()
        case ocppj.BrokenFrame(why=why):
            return f"sends what is no message: {why}"


def _identified(event: EvIdentified) -> str:
    limits = (
        (event.capacity_wh, "Wh"),
        (event.voltage_max_v, "V"),
        (event.current_max_a, "A"),
        (event.power_max_w, "W"),
    )
    return _joined(
        f"{_at(event.evse_id)}: introduces itself",
        f"EVCCID {event.evcc_id}" if event.evcc_id else None,
        f"at {event.soc_percent} %" if event.soc_percent is not None else None,
        *(f"{value} {unit}" for value, unit in limits if value is not None),
    )


def _faulted(event: DeviceFaulted) -> str:
    which = f"{_at(event.evse_id)}: {event.device} {event.fault}"
    more = _joined(event.tech_code, event.tech_info)
    ends = "; it may not charge" if event.blocks else ""
    return which + (f" ({more})" if more else "") + ends


_FLOWS: Final = {
    "none": "no energy is asked for",
    "charging": "energy flows",
    "suspended_ev": "the EV asks for no energy",
    "suspended_evse": "the station holds the energy back",
}


# --- What was decided ----------------------------------------------------------------------------


def _queued(event: CallQueued) -> str:
    if mark := event.transaction:
        state = f", {mark.charging_state}" if mark.charging_state else ""
        return (
            f"has for the CSMS: TransactionEvent {mark.seq_no} {mark.event_type} "
            f"({mark.trigger_reason}{state}) of {_short(mark.transaction_id)}"
        )
    if told := event.status:
        return f"has for the CSMS: {_at(told.evse_id, told.connector_id)} is {told.status}"
    return f"has for the CSMS: {event.action}: {_told(event.payload)}"


def _attempted(event: CallAttempted) -> str:
    return _joined(
        f"sends call {event.call}, {event.action}, as {_short(event.message_id)}",
        f"attempt {event.attempt}" if event.attempt > 1 else None,
        "from offline times" if event.offline else None,
    )


def _asked(event: AuthorizationAsked) -> str:
    what = "may end what another began" if event.stopping else "may charge"
    return f"asks the CSMS whether {event.id_token} {what}{_here(event.evse_id)}"


_HOWS: Final = {
    "CSMS": "the CSMS says so",
    "Cache": "the cache says so",
    "Offline": "unknown, but offline",
    "Remote": "the CSMS asked for it",
    "NotNeeded": "nobody needs to be asked",
}


def _granted(event: AuthorizationGranted) -> str:
    where = _here(event.evse_id) or " where the next EV is plugged in"
    return f"lets {event.id_token} charge{where}: {_HOWS[event.how]}"


def _authorization_ended(event: AuthorizationEnded) -> str:
    by = f" by {event.id_token}" if event.id_token else ""
    return (
        f"ends the right to charge{_here(event.evse_id)}{by}: "
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
        f"brings {_short(event.transaction_id)} to its end: "
        f"{event.trigger_reason}, {event.stopped_reason}"
    )


def _availability(event: AvailabilityChanged | AvailabilityScheduled) -> str:
    into = "into" if event.operative else "out of"
    later = ", once it is free" if isinstance(event, AvailabilityScheduled) else ""
    return f"takes {_at(event.evse_id, event.connector_id)} {into} service{later}"


def _registered(event: RegistrationAnswered) -> str:
    retry = f"; next try in {event.retry_s} s" if event.retry_s else ""
    return f"is {event.status.lower()} by the CSMS{retry}"


def _slot(slot: Any) -> str:
    return f"slot {slot.slot}, {slot.url}, security profile {slot.security_profile}"


def _unworded(event: Event) -> str:
    """A kind without a sentence of its own: its fields, as far as a line has room."""
    fields = ", ".join(f"{name} {getattr(event, name)}" for name in event.__struct_fields__)
    return _cut(f"{type(event).__name__}: {fields}")


# --- The table -----------------------------------------------------------------------------------

Sentence = Callable[[Any], str]

SENTENCES: Final[dict[str, tuple[str, Sentence]]] = {
    # people
    "IdTokenPresented": ("EV driver", lambda e: f"shows {e.id_token}{_here(e.evse_id)}"),
    "StopPressed": ("EV driver", lambda e: f"presses the stop button of EVSE {e.evse_id}"),
    "RetryRequested": (
        "operator",
        lambda e: f"wants {_listed(e.calls) if e.calls else 'all parked calls'} tried again",
    ),
    # devices
    "CableReported": (
        "device",
        lambda e: (
            f"{_at(e.evse_id, e.connector_id)}: the cable is "
            f"{'plugged in' if e.plugged else 'not plugged in'}"
        ),
    ),
    "ContactorReported": (
        "device",
        lambda e: f"{_at(e.evse_id)}: contactors {'closed' if e.closed else 'open'}",
    ),
    "FlowReported": ("device", lambda e: f"{_at(e.evse_id)}: {_FLOWS[e.flow]}"),
    "MeterRead": ("device", lambda e: f"{_at(e.evse_id)}: meter at {_reading(e)}"),
    "DeviceFaulted": ("device", _faulted),
    "DeviceRecovered": (
        "device",
        lambda e: f"{_at(e.evse_id)}: {e.device} {e.fault} is over",
    ),
    "EvIdentified": ("EV", _identified),
    "EvStopped": ("EV", lambda e: f"{_at(e.evse_id)}: ends the charge by its own wish"),
    # the link, and who is at its other end
    "LinkOpened": (
        "link",
        lambda e: f"up: {e.url}, slot {e.slot}, security profile {e.security_profile}",
    ),
    "LinkClosed": ("link", lambda e: f"down: {e.reason}"),
    "LinkFailed": ("link", lambda e: f"no connection through slot {e.slot}: {e.reason}"),
    "FrameSent": ("link", lambda e: f"{_short(e.message_id)} is on its way"),
    "FrameReceived": ("CSMS", _received),
    "FrameGarbled": (
        "CSMS",
        lambda e: f"sends {e.size} bytes that are no message ({e.why}): {e.excerpt}",
    ),
    # the station's own life
    "StationStarted": ("station", _started),
    "StationStopping": ("station", lambda e: f"shall stop: {e.reason}"),
    "CsmsConfigured": (
        "station",
        lambda e: f"finds the CSMS in station.toml: {e.url}, security profile {e.security_profile}",
    ),
    "CertificatePreset": ("station", lambda e: f"finds a {e.use} in station.toml"),
    "VariablePreset": ("station", lambda e: f"finds {e.key} = {e.value} in station.toml"),
    "ClockStepped": ("clock", lambda e: f"the host's clock jumps by {_seconds(e.step_ms)}"),
    "DeadlineReached": ("clock", lambda e: f"uptime {_seconds(e.due_ms)} has come"),
    # decisions
    "CallQueued": ("station", _queued),
    "CallAttempted": ("station", _attempted),
    "CallDelivered": ("station", lambda e: f"knows call {e.call} delivered"),
    "AttemptFailed": (
        "station",
        lambda e: (
            f"counts call {e.call} as failed, {_short(e.message_id)}: {e.why}"
            + (f"; again in {_seconds(e.retry_after_ms)}" if e.retry_after_ms else "")
        ),
    ),
    "CallParked": ("station", lambda e: f"parks call {e.call}: {e.reason}"),
    "CallsDropped": ("station", lambda e: f"drops {_listed(e.calls)}: {e.reason}"),
    "CallAnswered": (
        "station",
        lambda e: f"answers {e.action} {_short(e.message_id)}: {_told(e.payload)}",
    ),
    "CallRefused": (
        "station",
        lambda e: f"refuses {_short(e.message_id)}: {e.code} {e.description}".rstrip(),
    ),
    "RegistrationAnswered": ("station", _registered),
    "RegistrationFailed": (
        "station",
        lambda e: f"is not heard by the CSMS; next try in {e.retry_s} s",
    ),
    "StatusesDoubted": ("station", lambda e: f"will tell every connector anew: {e.reason}"),
    "ClockCorrected": (
        "station",
        lambda e: (
            f"sets its clock by {_seconds(e.step_ms)}, as {e.source} tells: "
            f"{_seconds(e.offset_ms)} from the host's"
        ),
    ),
    "VariableChanged": ("station", lambda e: f"sets {e.key} = {e.value}"),
    "RebootNeeded": ("station", lambda e: f"needs a restart before {e.key} counts"),
    "AuthorizationAsked": ("station", _asked),
    "AuthorizationGranted": ("station", _granted),
    "AuthorizationRefused": (
        "station",
        lambda e: f"lets {e.id_token} not charge{_here(e.evse_id)}: {e.status}",
    ),
    "AuthorizationBound": (
        "station",
        lambda e: f"takes the person of entry {e.granted_seq} for the one at EVSE {e.evse_id}",
    ),
    "AuthorizationSuspended": (
        "station",
        lambda e: f"gives the person of entry {e.granted_seq} no energy: {e.status}",
    ),
    "AuthorizationEnded": ("station", _authorization_ended),
    "CacheUpdated": (
        "station",
        lambda e: (
            f"remembers {e.id_token} as {e.status}" + (f" until {e.until}" if e.until else "")
        ),
    ),
    "CacheUsed": ("station", lambda e: f"remembers {e.ref} on, until {e.until}"),
    "CacheExpired": ("station", lambda e: f"forgets what the CSMS said of {e.ref}: too old"),
    "CacheCleared": ("station", lambda e: "forgets what the CSMS said of all tokens"),
    "TransactionStarted": ("station", _transaction_started),
    "TransactionAuthorized": (
        "station",
        lambda e: f"lets {e.id_token} charge in {_short(e.transaction_id)}",
    ),
    "TransactionStopping": ("station", _stopping),
    "SampleKept": (
        "station",
        lambda e: (
            f"keeps for the end of {_short(e.transaction_id)}: "
            f"{_reading(e.sample.read)} ({e.sample.context})"
        ),
    ),
    "GroupLearned": (
        "station",
        lambda e: f"learns that {_short(e.transaction_id)} belongs to group {e.group}",
    ),
    "AvailabilityChanged": ("station", _availability),
    "AvailabilityScheduled": ("station", _availability),
    "AlignedSlotServed": (
        "station",
        lambda e: f"is done with clock-aligned moment {e.slot} of {e.interval_s} s",
    ),
    "ResetOrdered": (
        "station",
        lambda e: f"will restart: {e.kind}, asked by {_short(e.answering)}",
    ),
    "RestartOrdered": ("station", lambda e: f"restarts now ({e.boot_reason})"),
    "NetworkProfileSet": ("station", lambda e: f"keeps for its next start: {_slot(e.profile)}"),
    "NetworksTaken": (
        "station",
        lambda e: f"will try, in this order: {'; '.join(map(_slot, e.candidates)) or 'nothing'}",
    ),
    "SecurityProfileRaised": (
        "station",
        lambda e: (
            f"goes to security profile {e.security_profile} for ever"
            + (f" and drops slots {', '.join(map(str, e.dropped))}" if e.dropped else "")
        ),
    ),
    "CertificateInstalled": (
        "station",
        lambda e: f"trusts a {e.use} from now on: {e.subject} by {e.issuer}, until {e.not_after}",
    ),
    "CertificateDeleted": ("station", lambda e: f"gives up a {e.use}: {_short(e.sha256)}"),
    "SecurityEventLogged": (
        "station",
        lambda e: (
            f"writes into the security log: {e.type}"
            + (f" ({e.tech_info})" if e.tech_info else "")
            + (", critical" if e.critical else "")
        ),
    ),
}
