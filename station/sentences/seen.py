"""What does an observation mean, in a sentence, and who made it?"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from journal.codec import at_text
from journal.observations import (
    DeviceFaulted,
    EvIdentified,
    FrameReceived,
    StationStarted,
)
from station import ocppj
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
    went,
)


def _started(event: StationStarted) -> str:
    before = f"last heard of at {_moment(event.last_at)}" if event.last_at else "for the first time"
    return (
        f"starts, {before}: {event.identity}, release {event.release}, profile {event.profile}, "
        f"{len(event.evses)} EVSEs"
    )


def _moment(text: str) -> str:
    """The time of an entry, as it is told everywhere else."""
    try:
        return at_text(datetime.fromisoformat(text))
    except ValueError:
        return text  # told as it stands there


def _received(event: FrameReceived) -> str:
    match ocppj.read(event.frame):
        case ocppj.CallFrame(message_id=name, action=action, payload=payload):
            return f"asks {action} {short(name)}: {told(payload)}"
        case ocppj.ResultFrame(message_id=name, payload=payload):
            return f"answers {short(name)}: {told(payload)}"
        case ocppj.ErrorFrame(message_id=name, code=code, description=description):
            return f"refuses {short(name)}: {code} {description}".rstrip()
        case ocppj.BrokenFrame(why=why):
            return f"sends what is no message: {why}"


def _identified(event: EvIdentified) -> str:
    limits = (
        (event.capacity_wh, "Wh"),
        (event.voltage_max_v, "V"),
        (event.current_max_a, "A"),
        (event.power_max_w, "W"),
    )
    return joined(
        f"{at(event.evse_id)}: introduces itself",
        f"EVCCID {event.evcc_id}" if event.evcc_id else None,
        f"at {event.soc_percent} %" if event.soc_percent is not None else None,
        *(f"{value} {unit}" for value, unit in limits if value is not None),
    )


def _faulted(event: DeviceFaulted) -> str:
    which = f"{at(event.evse_id)}: {event.device} {event.fault}"
    more = joined(event.tech_code, event.tech_info)
    ends = "; it may not charge" if event.blocks else ""
    return which + (f" ({more})" if more else "") + ends


_FLOWS: Final = {
    "none": "no energy is asked for",
    "charging": "energy flows",
    "suspended_ev": "the EV asks for no energy",
    "suspended_evse": "the station holds the energy back",
}

_ROOM: Final = {
    "enough": "room enough",
    "low": "little room left",
    "full": "room left only to end what runs",
}


# kind -> who spoke, and what it meant
SEEN: Final[dict[str, tuple[str, Sentence]]] = {
    "IdTokenPresented": ("EV driver", lambda e: f"shows {e.id_token}{here(e.evse_id)}"),
    "StopPressed": ("EV driver", lambda e: f"presses the stop button of EVSE {e.evse_id}"),
    "RetryRequested": (
        "operator",
        lambda e: f"wants {listed(e.calls) if e.calls else 'all parked calls'} tried again",
    ),
    "ForgettingOrdered": ("operator", lambda e: f"wants {', '.join(e.refs)} forgotten"),
    "CableReported": (
        "device",
        lambda e: (
            f"{at(e.evse_id, e.connector_id)}: the cable is "
            f"{'plugged in' if e.plugged else 'not plugged in'}"
        ),
    ),
    "ContactorReported": (
        "device",
        lambda e: f"{at(e.evse_id)}: contactors {'closed' if e.closed else 'open'}",
    ),
    "FlowReported": ("device", lambda e: f"{at(e.evse_id)}: {_FLOWS[e.flow]}"),
    "MeterRead": ("device", lambda e: f"{at(e.evse_id)}: meter at {reading(e)}"),
    "DeviceFaulted": ("device", _faulted),
    "DeviceRecovered": (
        "device",
        lambda e: f"{at(e.evse_id)}: {e.device} {e.fault} is over",
    ),
    "EvIdentified": ("EV", _identified),
    "EvStopped": ("EV", lambda e: f"{at(e.evse_id)}: ends the charge by its own wish"),
    "LinkOpened": (
        "link",
        lambda e: f"up: {e.url}, slot {e.slot}, security profile {e.security_profile}",
    ),
    "LinkClosed": ("link", lambda e: f"down: {e.reason}"),
    "LinkFailed": ("link", lambda e: f"no connection through slot {e.slot}: {e.reason}"),
    "FrameSent": ("link", lambda e: f"{short(e.message_id)} is on its way"),
    "FrameReceived": ("CSMS", _received),
    "FrameGarbled": (
        "CSMS",
        lambda e: f"sends {e.size} bytes that are no message ({e.why}): {e.excerpt}",
    ),
    "StationStarted": ("station", _started),
    "SafeModeEntered": ("station", lambda e: f"runs in safe mode: {'; '.join(e.why)}"),
    "DamageFound": ("journal", lambda e: f"is damaged: {e.why}"),
    "StorageReported": (
        "disk",
        lambda e: f"has {_ROOM[e.level]}: {e.free_bytes // 1024} KiB are free",
    ),
    "PayloadLost": ("journal", lambda e: f"does not hold call {e.call} any more: {e.why}"),
    "StationStopping": ("station", lambda e: f"shall stop: {e.reason}"),
    "CsmsConfigured": (
        "station",
        lambda e: f"finds the CSMS in station.toml: {e.url}, security profile {e.security_profile}",
    ),
    "CertificatePreset": ("station", lambda e: f"finds a {e.use} in station.toml"),
    "VariablePreset": ("station", lambda e: f"finds {e.key} = {e.value} in station.toml"),
    "ClockStepped": ("clock", lambda e: f"the host's clock jumps by {seconds(e.step_ms)}"),
    "DeadlineReached": ("clock", lambda e: f"uptime {seconds(e.due_ms)} has come"),
    "HeadNoted": ("station", lambda e: f"notes its head {e.head_seq}:{e.head_digest}"),
    "DownloadEnded": (
        "files",
        lambda e: f"firmware of update {e.update} {went(e.ok, 'is here', 'does not come', e.why)}",
    ),
    "SignatureChecked": (
        "files",
        lambda e: f"signature of update {e.update} {went(e.ok, 'holds', 'does not hold', e.why)}",
    ),
    "InstallEnded": (
        "files",
        lambda e: f"installer of update {e.update} says {e.outcome}{because(e.why)}",
    ),
    "ActivationChecked": (
        "files",
        lambda e: f"firmware of update {e.update} {went(e.ok, 'runs', 'does not run', e.why)}",
    ),
    "UploadEnded": ("files", lambda e: f"upload {e.upload}: {e.status}{because(e.why)}"),
    "CustomerDataFound": (
        "station",
        lambda e: f"finds {len(e.pages)} parts for inquiry {e.inquiry}",
    ),
    "ValuesErased": ("station", lambda e: f"has erased {', '.join(e.refs)}"),
    "DataTransferOrdered": (
        "operator",
        lambda e: (
            f"wants the CSMS told by DataTransfer: {e.vendor_id}"
            + (f" {e.message_id}" if e.message_id else "")
        ),
    ),
}
