"""Sentences for observations, with the source that reported each."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from journal.codec import format_time
from journal.observations import (
    BusTraceWritten,
    DeviceFaulted,
    EvIdentified,
    ExternalLimitReported,
    FrameReceived,
    ModemReported,
    PowerLimiterReported,
    StationStarted,
)
from station.ocpp import rpc
from station.transcript.phrases import (
    LIMITER_NAMES,
    Sentence,
    at_evse,
    count_things,
    describe_result,
    format_power,
    format_reading,
    format_seconds,
    join_parts,
    list_calls,
    name_location,
    payload_suffix,
    reason_suffix,
    shorten_id,
)


def _describe_station_start(event: StationStarted) -> str:
    previous = (
        f"last entry at {_format_time(event.last_entry_at)}"
        if event.last_entry_at
        else "for the first time"
    )
    return (
        f"starts, {previous}: {event.identity}, release {event.release}, "
        f"profile {event.product_profile}, {len(event.evses)} EVSEs"
    )


def _format_time(text: str) -> str:
    """A recorded time in the format of the transcript; unchanged if it cannot be parsed."""
    try:
        return format_time(datetime.fromisoformat(text))
    except ValueError:
        return text


def _describe_frame(event: FrameReceived) -> str:
    match rpc.parse_frame(event.frame):
        case rpc.CallFrame(message_id=message_id, action=action, payload=payload):
            return f"requests {action} {shorten_id(message_id)}{payload_suffix(payload)}"
        case rpc.CallResultFrame(message_id=message_id, payload=payload):
            return f"answers {shorten_id(message_id)}{payload_suffix(payload)}"
        case rpc.CallErrorFrame(message_id=message_id, code=code, description=description):
            return (
                f"answers {shorten_id(message_id)} with CALLERROR {code}"
                f"{reason_suffix(description)}"
            )
        case rpc.MalformedFrame(reason=reason):
            return f"sends an invalid message: {reason}"


def _describe_ev(event: EvIdentified) -> str:
    limits = ", ".join(
        f"{value} {unit}"
        for value, unit in (
            (event.voltage_max_v, "V"),
            (event.current_max_a, "A"),
            (event.power_max_w, "W"),
        )
        if value is not None
    )
    capacity_wh = event.battery_capacity_wh
    return join_parts(
        f"{name_location(event.evse_id)}: identified",
        f"EVCCID {event.evcc_id}" if event.evcc_id else None,
        f"SoC {event.soc_percent} %" if event.soc_percent is not None else None,
        f"battery {capacity_wh} Wh" if capacity_wh is not None else None,
        f"at most {limits}" if limits else None,
    )


def _describe_fault(event: DeviceFaulted) -> str:
    fault = f"{name_location(event.evse_id)}: fault: {event.device} {event.fault}"
    details = join_parts(event.tech_code, event.tech_info)
    effect = "; charging not allowed" if event.blocks_charging else ""
    return fault + (f" ({details})" if details else "") + effect


def _describe_trace(event: BusTraceWritten) -> str:
    faults = ", ".join(map(str, event.fault_seqs))
    entries = f"{'entry' if len(event.fault_seqs) == 1 else 'entries'} {faults}"
    if not event.directory:
        return f"cannot write a bus trace for {entries}{reason_suffix(event.reason)}"
    return f"writes the bus trace for {entries}: {event.directory}: {', '.join(event.files)}"


def _describe_limiter(event: PowerLimiterReported) -> str:
    location = name_location(event.evse_id)
    if not event.limiter:
        return f"{location}: neither devices nor EV limit the power"
    return f"{location}: limited to {format_power(event.limit_w)}: {LIMITER_NAMES[event.limiter]}"


def _describe_limit(event: ExternalLimitReported) -> str:
    location = name_location(event.evse_id) if event.evse_id else "station"
    if not event.periods:
        return f"{location}: limit by {event.source} lifted ({event.origin})"
    periods = ", ".join(
        f"{period.limit_w} W" + (f" after {period.start_s} s" if period.start_s else "")
        for period in event.periods
    )
    duration = f", for {event.duration_s} s" if event.duration_s is not None else ""
    return f"{location}: limit by {event.source} ({event.origin}): {periods}{duration}"


def _describe_modem(event: ModemReported) -> str:
    details = (
        f"ICCID {event.iccid}" if event.iccid else None,
        f"IMSI {event.imsi}" if event.imsi else None,
        f"{event.signal_dbm} dBm" if event.signal_dbm is not None else None,
    )
    return f"modem: {', '.join(filter(None, details)) or 'no SIM card, no signal'}"


_FLOW_PHRASES: Final = {
    "none": "energy transfer stopped",
    "charging": "energy transfer started",
    "suspended_ev": "charging suspended by the EV",
    "suspended_evse": "charging suspended by the station",
}

_STORAGE_PHRASES: Final = {
    "enough": "enough space",
    "low": "little space left",
    "full": "space left only to end open transactions",
}


# kind -> (source, sentence)
OBSERVATION_SENTENCES: Final[dict[str, tuple[str, Sentence]]] = {
    "IdTokenPresented": ("EV driver", lambda e: f"presents {e.id_token}{at_evse(e.evse_id)}"),
    "EvTokenReported": (
        "EV",
        lambda e: f"reports its EVCCID {e.id_token} at EVSE {e.evse_id}, for Autocharge",
    ),
    "StopButtonPressed": ("EV driver", lambda e: f"presses the stop button of EVSE {e.evse_id}"),
    "CallRetryRequested": (
        "operator",
        lambda e: (
            f"requests a retry of {list_calls(e.call_seqs) if e.call_seqs else 'all parked calls'}"
        ),
    ),
    "FaultReleaseRequested": (
        "operator",
        lambda e: (
            f"releases {' '.join(filter(None, (e.device, e.fault)))}{at_evse(e.evse_id)}"
            f"{f', requested by {e.requested_by}' if e.requested_by else ''}"
        ),
    ),
    "ErasureRequested": ("operator", lambda e: f"requests erasure of {', '.join(e.refs)}"),
    "CableReported": (
        "device",
        lambda e: (
            f"{name_location(e.evse_id, e.connector_id)}: "
            f"{'EV plugged in' if e.plugged_in else 'no EV plugged in'}"
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
    "MeterFellSilent": (
        "device",
        lambda e: (
            f"{name_location(e.evse_id)}: meter is silent, it was at {e.energy_wh} Wh "
            f"{format_seconds(e.age_ms)} ago"
        ),
    ),
    "ValuesMeasured": (
        "device",
        lambda e: ", ".join(f"{each.variable} is {each.value}" for each in e.values),
    ),
    "DeviceFaulted": ("device", _describe_fault),
    "DeviceRecovered": (
        "device",
        lambda e: f"{name_location(e.evse_id)}: fault has ended: {e.device} {e.fault}",
    ),
    "EvIdentified": ("EV", _describe_ev),
    "ModemReported": ("device", _describe_modem),
    "EvStoppedCharging": ("EV", lambda e: f"{name_location(e.evse_id)}: ends charging"),
    "ExternalLimitReported": ("device", _describe_limit),
    "PowerLimiterReported": ("device", _describe_limiter),
    "BusTraceWritten": ("station", _describe_trace),
    "LinkOpened": (
        "link",
        lambda e: (
            f"up: {e.url}, slot {e.slot}, security profile {e.security_profile}"
            + (f", certificate {shorten_id(e.certificate_sha256)}" if e.certificate_sha256 else "")
            + (f", CSMS root {shorten_id(e.root_sha256)}" if e.root_sha256 else "")
        ),
    ),
    "LinkClosed": ("link", lambda e: f"down: {e.reason}"),
    "LinkFailed": ("link", lambda e: f"cannot connect through slot {e.slot}: {e.reason}"),
    "FrameSent": ("link", lambda e: f"wrote {shorten_id(e.message_id)} to the WebSocket"),
    "FrameReceived": ("CSMS", _describe_frame),
    "FrameMalformed": (
        "CSMS",
        lambda e: f"sends {e.size_bytes} bytes that are no message ({e.reason}): {e.excerpt}",
    ),
    "StationStarted": ("station", _describe_station_start),
    "SafeModeEntered": ("station", lambda e: f"runs in safe mode: {'; '.join(e.reasons)}"),
    "JournalDamageFound": ("journal", lambda e: f"damaged: {e.reason}"),
    "StorageReported": (
        "disk",
        lambda e: f"{_STORAGE_PHRASES[e.level]}: {e.free_bytes // 1024} KiB free",
    ),
    "CallPayloadLost": ("journal", lambda e: f"cannot read call {e.call_seq}: {e.reason}"),
    "StationStopping": ("station", lambda e: f"stops: {e.reason}"),
    "CsmsConfigured": (
        "station",
        lambda e: f"reads CSMS {e.url}, security profile {e.security_profile} from station.toml",
    ),
    "CertificateRenewalRequested": ("operator", lambda e: f"requests a new {e.use}"),
    "KeyPairCreated": (
        "station",
        lambda e: (
            f"creates the key pair for the CSR of entry {e.order_seq}: "
            f"public key {shorten_id(e.public_key_sha256)}"
        ),
    ),
    "KeyPairFailed": (
        "station",
        lambda e: f"cannot create the key pair for the CSR of entry {e.order_seq}: {e.reason}",
    ),
    "CertificatePreset": ("station", lambda e: f"reads certificate {e.use} from station.toml"),
    "VariablePreset": ("station", lambda e: f"reads {e.variable} = {e.value} from station.toml"),
    "ClockStepped": ("clock", lambda e: f"the host's clock steps by {format_seconds(e.step_ms)}"),
    "DeadlineReached": (
        "clock",
        lambda e: f"a deadline is reached, host uptime {format_seconds(e.due_ms)}",
    ),
    "HeadRecorded": (
        "station",
        lambda e: f"records the journal's head {e.head_seq}:{e.head_digest}",
    ),
    "FirmwareDownloadEnded": (
        "firmware",
        lambda e: (
            f"update of entry {e.update_seq}: "
            f"{describe_result(e.succeeded, 'downloaded', 'download failed', e.reason)}"
        ),
    ),
    "FirmwareSignatureChecked": (
        "firmware",
        lambda e: (
            f"update of entry {e.update_seq}: "
            f"{describe_result(e.valid, 'signature valid', 'signature invalid', e.reason)}"
        ),
    ),
    "FirmwareInstallEnded": (
        "firmware",
        lambda e: (
            f"update of entry {e.update_seq}: installer ended with "
            f"{e.outcome}{reason_suffix(e.reason)}"
        ),
    ),
    "FirmwareActivationChecked": (
        "firmware",
        lambda e: (
            f"update of entry {e.update_seq}: "
            f"new firmware {describe_result(e.succeeded, 'runs', 'does not run', e.reason)}"
        ),
    ),
    "LogUploadEnded": (
        "upload",
        lambda e: f"log upload of entry {e.upload_seq}: {e.status}{reason_suffix(e.reason)}",
    ),
    "CustomerDataFound": (
        "station",
        lambda e: (
            f"divides the customer data for the request of entry {e.request_seq} "
            f"into {count_things(len(e.page_refs), 'message')}"
        ),
    ),
    "PersonalValuesErased": ("station", lambda e: f"has erased {', '.join(e.refs)}"),
    "DataTransferRequested": (
        "operator",
        lambda e: f"requests DataTransfer to the CSMS: {join_parts(e.vendor_id, e.message_id)}",
    ),
}
