"""What can the world tell us?

Every struct here is written to the journal as it is, so a field may be added only with a new
VERSION and an upcaster. `evse_id` 0 means the whole station. Registers, volts, amperes and watts
are exact decimals as the device gave them.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from journal.events import IdToken, Observation

EnergyFlow = Literal["none", "charging", "suspended_ev", "suspended_evse"]


# --- The station's own life ----------------------------------------------------------------------


class StationStarted(Observation, frozen=True):
    """The program began. Another `read_boot_id` than last time: the host lost its supply or rebooted."""

    boot_id: str  # the host's, new at each of its boots
    release: str
    product_profile: str
    identity: str
    evses: tuple[tuple[int, tuple[int, ...]], ...]  # (evse_id, its connector ids)
    last_entry_at: str | None  # the last entry of the run before; None at the first start
    last_entry_uptime_ms: int | None


class StationStopping(Observation, frozen=True):
    """The program was asked to end in good order (SIGTERM, or its own restart)."""

    reason: str


class VariablePreset(Observation, frozen=True):
    """station.toml sets a variable before the first start."""

    variable: str
    value: str


class CsmsConfigured(Observation, frozen=True):
    """`[csms]` of station.toml, at the first start and whenever somebody on site changed it."""

    url: str
    security_profile: int
    ca_certificates: tuple[str, ...] = ()  # of its ca_file, PEM


class CertificatePreset(Observation, frozen=True):
    """station.toml puts a certificate into the store before the first start."""

    use: str
    pem: str  # leaf first
    private_key_ref: str = ""  # reference of the private key, where the station holds one


class ClockStepped(Observation, frozen=True):
    """The host's wall clock moved against its uptime."""

    step_ms: int


class HeadRecorded(Observation, frozen=True):
    """The head of the journal before this commit: on the disk, so others may be told of it."""

    head_seq: int
    head_digest: str  # hex


class DeadlineReached(Observation, frozen=True):
    """A moment that a projection waits for has come."""

    due_ms: int


# --- The station's own condition -----------------------------------------------------------------


class JournalDamageFound(Observation, frozen=True):
    """A part of the journal is not what was written, or is gone. P5."""

    reason: str
    first_seq: int | None = None  # entries concerned, as far as their numbers are known
    last_seq: int | None = None
    quarantine_directory: str = (
        ""  # directory, within the data directory, that keeps the file as it was found
    )
    id_namespace: str = (
        ""  # numbers may be given out twice: whatever is named from now on holds this too
    )


class SafeModeEntered(Observation, frozen=True):
    """The station runs without something it should have. P8. Holds until the program ends."""

    reasons: tuple[str, ...]  # each names what it is, what is wrong, and what is used instead


class StorageReported(Observation, frozen=True):
    """How much room is left for the journal."""

    level: Literal["enough", "low", "full"]
    free_bytes: int


class CallPayloadLost(Observation, frozen=True):
    """A call is due whose entry cannot be read any more."""

    call_seq: int
    reason: str


# --- The link to the CSMS ------------------------------------------------------------------------


class LinkOpened(Observation, frozen=True):
    """A WebSocket to the CSMS is open, its handshake done."""

    slot: int  # configuration slot of the network connection profile
    url: str
    security_profile: int


class LinkClosed(Observation, frozen=True):
    """The WebSocket is gone: closed by either side, half-open, or the network failed."""

    reason: str


class LinkFailed(Observation, frozen=True):
    """An attempt to connect failed.

    `fault` names the security event it is, as Part 2 appendix 1 does; empty: only the network's.
    """

    slot: int
    reason: str
    security_event: str = ""


class FrameReceived(Observation, frozen=True):
    """A frame of valid JSON, idToken values and secrets already taken out."""

    frame: msgspec.Raw


class FrameMalformed(Observation, frozen=True):
    """A frame that is no JSON array of an OCPP-J message. Part 4 §4.2.3.

    The text itself is kept only as far as it can hold no secret.
    """

    size_bytes: int
    sha256: str
    reason: str
    excerpt: str


class FrameSent(Observation, frozen=True):
    """A frame left for the network. Says nothing about its arrival."""

    message_id: str


# --- People --------------------------------------------------------------------------------------


class IdTokenPresented(Observation, frozen=True):
    """Someone held a card to the reader."""

    id_token: IdToken
    evse_id: int | None = None  # where the person or the tester said which EVSE is meant
    cacheable: bool = True  # False: the UID is random at each tap and worth nothing in a cache


class StopButtonPressed(Observation, frozen=True):
    """The stop button at the dispenser, not the emergency stop."""

    evse_id: int


# --- Devices -------------------------------------------------------------------------------------


class CableReported(Observation, frozen=True):
    """An EV is, or no longer is, at the other end of the cable."""

    evse_id: int
    connector_id: int
    plugged_in: bool


class ContactorReported(Observation, frozen=True):
    """Feedback of the DC contactors: what they do, not what they were told."""

    evse_id: int
    closed: bool


class EnergyFlowReported(Observation, frozen=True):
    """Who, if anyone, holds the energy back."""

    evse_id: int
    flow: EnergyFlow


class EvStoppedCharging(Observation, frozen=True):
    """The EV ended the charge by its own wish."""

    evse_id: int


class EvIdentified(Observation, frozen=True):
    """What the EV told about itself."""

    evse_id: int
    evcc_id: str | None = None
    soc_percent: int | None = None
    battery_capacity_wh: Decimal | None = None
    voltage_max_v: Decimal | None = None
    current_max_a: Decimal | None = None
    power_max_w: Decimal | None = None


class MeterRead(Observation, frozen=True):
    """One reading of an EVSE's energy meter, and the EV's state of charge beside it."""

    evse_id: int
    energy_wh: Decimal  # to the EV: the meter's own register, never re-based. J02.FR.17
    energy_export_wh: Decimal | None = None  # from the EV
    voltage_v: Decimal | None = None
    current_a: Decimal | None = None
    power_w: Decimal | None = None
    soc_percent: int | None = None


class DeviceFaulted(Observation, frozen=True):
    """A device or a protection is in trouble.

    `blocks` says that the EVSE may not charge; `stopped_reason` is then what a running
    transaction ends with.
    """

    evse_id: int
    device: str
    fault: str
    blocks_charging: bool
    stopped_reason: str = "Other"
    tech_code: str = ""
    tech_info: str = ""


class DeviceRecovered(Observation, frozen=True):
    """The trouble is over, dwell included."""

    evse_id: int
    device: str
    fault: str


# --- Files ---------------------------------------------------------------------------------------


class FirmwareDownloadEnded(Observation, frozen=True):
    """The firmware is on the disk, or every attempt failed. L01.FR.30."""

    update_seq: int  # entry that ordered the update
    succeeded: bool
    reason: str = ""


class FirmwareSignatureChecked(Observation, frozen=True):
    """The downloaded firmware was compared with its signature. L01.FR.04."""

    update_seq: int
    valid: bool
    reason: str = ""


class FirmwareInstallEnded(Observation, frozen=True):
    """The installer is through. `invalid`: it would not begin, for the firmware is not sound."""

    update_seq: int
    outcome: Literal[
        "restart_required", "failed", "invalid_firmware"
    ]  # done, and a restart brings it to life
    reason: str = ""
    version: str = ""  # of the firmware that is in place now


class FirmwareActivationChecked(Observation, frozen=True):
    """After the restart: whether the new firmware is the one that runs. L01.FR.32."""

    update_seq: int
    succeeded: bool
    reason: str = ""


class LogUploadEnded(Observation, frozen=True):
    """The log is where the CSMS wanted it, or every attempt failed. N01.FR.09, N01.FR.10."""

    upload_seq: int  # entry that ordered it
    status: str  # UploadLogStatusEnumType
    reason: str = ""


class CustomerDataFound(Observation, frozen=True):
    """What the station holds about a person, in parts; each is a reference. N09.FR.05."""

    request_seq: int  # entry that asked
    page_refs: tuple[str, ...] = ()


class ErasureRequested(Observation, frozen=True):
    """An operator wants everything about these values gone, as the CSMS may with N10."""

    refs: tuple[str, ...]


class PersonalValuesErased(Observation, frozen=True):
    """Personal values are gone from the disk; entries keep their references. N10.FR.03."""

    refs: tuple[str, ...]


class DataTransferRequested(Observation, frozen=True):
    """An operator wants something said that OCPP has no message for. P02."""

    vendor_id: str
    message_id: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")  # any JSON; null: none
