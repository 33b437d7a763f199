"""What does an observation mean, in a sentence, and who made it?"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from journal.codec import format_time
from journal.observations import DeviceFaulted, EvIdentified, FrameReceived, StationStarted
from station.ocpp import rpc
from station.transcript.phrases import (
    Sentence,
    at_evse,
    describe_result,
    format_payload,
    format_reading,
    format_seconds,
    join_parts,
    list_calls,
    name_location,
    reason_suffix,
    shorten_id,
)


def _describe_station_start(event: StationStarted) -> str:
    before = (
        f"last heard of at {_format_time(event.last_entry_at)}"
        if event.last_entry_at
        else "for the first time"
    )
    return (
        f"starts, {before}: {event.identity}, release {event.release}, profile {event.product_profile}, "
        f"{len(event.evses)} EVSEs"
    )


def _format_time(text: str) -> str:
    """The time of an entry, as it is told everywhere else."""
    try:
        return format_time(datetime.fromisoformat(text))
    except ValueError:
        return text  # told as it stands there


def _describe_frame(event: FrameReceived) -> str:
    match rpc.parse_frame(event.frame):
        case rpc.CallFrame(message_id=name, action=action, payload=payload):
            return f"asks {action} {shorten_id(name)}: {format_payload(payload)}"
        case rpc.CallResultFrame(message_id=name, payload=payload):
            return f"answers {shorten_id(name)}: {format_payload(payload)}"
        case rpc.CallErrorFrame(message_id=name, code=code, description=description):
            return f"refuses {shorten_id(name)}: {code} {description}".rstrip()
        case rpc.MalformedFrame(reason=why):
            return f"sends what is no message: {why}"


def _describe_ev(event: EvIdentified) -> str:
    limits = (
        (event.battery_capacity_wh, "Wh"),
        (event.voltage_max_v, "V"),
        (event.current_max_a, "A"),
        (event.power_max_w, "W"),
    )
    return join_parts(
        f"{name_location(event.evse_id)}: introduces itself",
        f"EVCCID {event.evcc_id}" if event.evcc_id else None,
        f"at {event.soc_percent} %" if event.soc_percent is not None else None,
        *(f"{value} {unit}" for value, unit in limits if value is not None),
    )


def _describe_fault(event: DeviceFaulted) -> str:
    which = f"{name_location(event.evse_id)}: {event.device} {event.fault}"
    more = join_parts(event.tech_code, event.tech_info)
    ends = "; it may not charge" if event.blocks_charging else ""
    return which + (f" ({more})" if more else "") + ends


_FLOW_PHRASES: Final = {
    "none": "no energy is asked for",
    "charging": "energy flows",
    "suspended_ev": "the EV asks for no energy",
    "suspended_evse": "the station holds the energy back",
}

_STORAGE_PHRASES: Final = {
    "enough": "room enough",
    "low": "little room left",
    "full": "room left only to end what runs",
}


# kind -> who spoke, and what it meant
OBSERVATION_SENTENCES: Final[dict[str, tuple[str, Sentence]]] = {
    "IdTokenPresented": ("EV driver", lambda e: f"shows {e.id_token}{at_evse(e.evse_id)}"),
    "StopButtonPressed": ("EV driver", lambda e: f"presses the stop button of EVSE {e.evse_id}"),
    "CallRetryRequested": (
        "operator",
        lambda e: (
            f"wants {list_calls(e.call_seqs) if e.call_seqs else 'all parked calls'} tried again"
        ),
    ),
    "ErasureRequested": ("operator", lambda e: f"wants {', '.join(e.refs)} forgotten"),
    "CableReported": (
        "device",
        lambda e: (
            f"{name_location(e.evse_id, e.connector_id)}: the cable is "
            f"{'plugged in' if e.plugged_in else 'not plugged in'}"
        ),
    ),
    "ContactorReported": (
        "device",
        lambda e: f"{name_location(e.evse_id)}: contactors {'closed' if e.closed else 'open'}",
    ),
    "EnergyFlowReported": (
        "device",
        lambda e: f"{name_location(e.evse_id)}: {_FLOW_PHRASES[e.flow]}",
    ),
    "MeterRead": ("device", lambda e: f"{name_location(e.evse_id)}: meter at {format_reading(e)}"),
    "DeviceFaulted": ("device", _describe_fault),
    "DeviceRecovered": (
        "device",
        lambda e: f"{name_location(e.evse_id)}: {e.device} {e.fault} is over",
    ),
    "EvIdentified": ("EV", _describe_ev),
    "EvStoppedCharging": (
        "EV",
        lambda e: f"{name_location(e.evse_id)}: ends the charge by its own wish",
    ),
    "LinkOpened": (
        "link",
        lambda e: f"up: {e.url}, slot {e.slot}, security profile {e.security_profile}",
    ),
    "LinkClosed": ("link", lambda e: f"down: {e.reason}"),
    "LinkFailed": ("link", lambda e: f"no connection through slot {e.slot}: {e.reason}"),
    "FrameSent": ("link", lambda e: f"{shorten_id(e.message_id)} is on its way"),
    "FrameReceived": ("CSMS", _describe_frame),
    "FrameMalformed": (
        "CSMS",
        lambda e: f"sends {e.size_bytes} bytes that are no message ({e.reason}): {e.excerpt}",
    ),
    "StationStarted": ("station", _describe_station_start),
    "SafeModeEntered": ("station", lambda e: f"runs in safe mode: {'; '.join(e.reasons)}"),
    "JournalDamageFound": ("journal", lambda e: f"is damaged: {e.reason}"),
    "StorageReported": (
        "disk",
        lambda e: f"has {_STORAGE_PHRASES[e.level]}: {e.free_bytes // 1024} KiB are free",
    ),
    "CallPayloadLost": (
        "journal",
        lambda e: f"does not hold call {e.call_seq} any more: {e.reason}",
    ),
    "StationStopping": ("station", lambda e: f"shall stop: {e.reason}"),
    "CsmsConfigured": (
        "station",
        lambda e: f"finds the CSMS in station.toml: {e.url}, security profile {e.security_profile}",
    ),
    "CertificatePreset": ("station", lambda e: f"finds a {e.use} in station.toml"),
    "VariablePreset": ("station", lambda e: f"finds {e.variable} = {e.value} in station.toml"),
    "ClockStepped": ("clock", lambda e: f"the host's clock jumps by {format_seconds(e.step_ms)}"),
    "DeadlineReached": ("clock", lambda e: f"uptime {format_seconds(e.due_ms)} has come"),
    "HeadRecorded": ("station", lambda e: f"notes its head {e.head_seq}:{e.head_digest}"),
    "FirmwareDownloadEnded": (
        "files",
        lambda e: (
            f"firmware of update {e.update_seq} {describe_result(e.succeeded, 'is here', 'does not come', e.reason)}"
        ),
    ),
    "FirmwareSignatureChecked": (
        "files",
        lambda e: (
            f"signature of update {e.update_seq} {describe_result(e.valid, 'holds', 'does not hold', e.reason)}"
        ),
    ),
    "FirmwareInstallEnded": (
        "files",
        lambda e: f"installer of update {e.update_seq} says {e.outcome}{reason_suffix(e.reason)}",
    ),
    "FirmwareActivationChecked": (
        "files",
        lambda e: (
            f"firmware of update {e.update_seq} {describe_result(e.succeeded, 'runs', 'does not run', e.reason)}"
        ),
    ),
    "LogUploadEnded": (
        "files",
        lambda e: f"upload {e.upload_seq}: {e.status}{reason_suffix(e.reason)}",
    ),
    "CustomerDataFound": (
        "station",
        lambda e: f"finds {len(e.page_refs)} parts for inquiry {e.request_seq}",
    ),
    "PersonalValuesErased": ("station", lambda e: f"has erased {', '.join(e.refs)}"),
    "DataTransferRequested": (
        "operator",
        lambda e: (
            f"wants the CSMS told by DataTransfer: {e.vendor_id}"
            + (f" {e.message_id}" if e.message_id else "")
        ),
    ),
}
