"""Observations: facts reported by devices, the CSMS, the clock, operators and the program itself.

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
# What keeps the power of an EVSE below its limit and its rated power: its share of the station's
# limit, or of the cabinet's power; modules, cooling or temperature of the cable; the EV.
# Empty: none of them.
PowerLimiter = Literal["station_limit", "cabinet", "modules", "cooling", "cable", "ev", ""]


# --- Start, configuration and clock --------------------------------------------------------------


class StationStarted(Observation, frozen=True):
    """The program started. With another `boot_id` than before, the host was off or rebooted."""

    boot_id: str  # of the host, new at each of its boots
    release: str  # of this software
    product_profile: str  # name of the product profile
    identity: str  # of the station at the CSMS
    evses: tuple[tuple[int, tuple[int, ...]], ...]  # (evse_id, its connector ids)
    last_entry_at: str | None  # `at` of the last entry of the previous run; None at the first start
    last_entry_uptime_ms: int | None  # its uptime; comparable only within one boot of the host


class StationStopping(Observation, frozen=True):
    """The program ends in an orderly way (SIGTERM, or a restart it ordered itself)."""

    reason: str


class VariablePreset(Observation, frozen=True):
    """station.toml gave a variable its value, before the first start."""

    variable: str  # as `OCPPCommCtrlr.MessageTimeout[Default]` or `Connector@1/1.Available`
    value: str


class CsmsConfigured(Observation, frozen=True):
    """`[csms]` of station.toml, at the first start and after each change of it on site."""

    url: str  # without the identity
    security_profile: int
    ca_certificates: tuple[str, ...] = ()  # content of its ca_file, PEM


class CertificatePreset(Observation, frozen=True):
    """station.toml put a certificate into the store, before the first start."""

    use: str  # GetCertificateIdUseEnumType, or ChargingStationCertificate
    pem: str  # leaf first
    private_key_ref: str = ""  # reference of the private key, if the station has it


class ClockStepped(Observation, frozen=True):
    """The host's wall clock was stepped against its uptime."""

    step_ms: int  # positive: forward


class HeadRecorded(Observation, frozen=True):
    """The head of the journal before this commit. It is on disk, so it may be sent to others."""

    head_seq: int  # number of the last entry
    head_digest: str  # hex


class DeadlineReached(Observation, frozen=True):
    """A deadline of the state has been reached."""

    due_ms: int  # uptime of the deadline


# --- Health of the station -----------------------------------------------------------------------


class JournalDamageFound(Observation, frozen=True):
    """A part of the journal differs from what was written, or is missing. P5."""

    reason: str
    first_seq: int | None = None  # the damaged entries, as far as their numbers are known
    last_seq: int | None = None
    quarantine_directory: str = ""  # in the data directory; keeps the file as it was found
    id_namespace: str = ""  # part of every id from now on, because entry numbers may repeat


class SafeModeEntered(Observation, frozen=True):
    """The station runs without a part of its configuration, until the program ends. P8."""

    reasons: tuple[str, ...]  # each: the part, what is wrong with it, what is used instead


class StorageReported(Observation, frozen=True):
    """Free space for the journal."""

    level: Literal["enough", "low", "full"]
    free_bytes: int  # besides the reserve


class CallPayloadLost(Observation, frozen=True):
    """A call is due, but the entry with its payload cannot be read any more."""

    call_seq: int  # entry that queued it
    reason: str


# --- The link to the CSMS ------------------------------------------------------------------------


class LinkOpened(Observation, frozen=True):
    """A WebSocket connection to the CSMS is open."""

    VERSION = 3

    slot: int  # configuration slot of the network connection profile
    url: str
    security_profile: int
    certificate_sha256: str = ""  # of the ChargingStationCertificate it was opened with, if any
    root_sha256: str = ""  # of the CSMSRootCertificate, if it was the only one trusted. M05.FR.13


class LinkClosed(Observation, frozen=True):
    """The WebSocket connection ended: closed by either side, half-open, or the network failed."""

    reason: str


class LinkFailed(Observation, frozen=True):
    """An attempt to connect failed."""

    slot: int
    reason: str
    security_event: str = ""  # Part 2 appendix 1; empty: a network failure, no security event


class FrameReceived(Observation, frozen=True):
    """A valid OCPP-J message arrived."""

    frame: msgspec.Raw  # as received, idToken values and secrets replaced by references


class FrameMalformed(Observation, frozen=True):
    """A frame arrived that is not the JSON array of an OCPP-J message. Part 4 §4.2.3."""

    size_bytes: int
    sha256: str
    reason: str
    excerpt: str  # as much of its beginning as cannot contain a secret


class FrameSent(Observation, frozen=True):
    """A frame was handed to the network. This is no proof of its arrival."""

    message_id: str


# --- People --------------------------------------------------------------------------------------


class IdTokenPresented(Observation, frozen=True):
    """A card was presented to the reader."""

    id_token: IdToken
    evse_id: int | None = None  # the EVSE, if the EV driver chose one
    cacheable: bool = True  # False: the UID is random at each tap and useless in a cache


class EvTokenReported(Observation, frozen=True):
    """The EV reported its EVCCID, which is its idToken of type MacAddress: Autocharge."""

    evse_id: int
    id_token: IdToken


class StopButtonPressed(Observation, frozen=True):
    """The stop button of an EVSE was pressed, not the emergency stop."""

    evse_id: int


# --- Devices -------------------------------------------------------------------------------------


class CableReported(Observation, frozen=True):
    """An EV was plugged in or unplugged; also the present state, after a start."""

    evse_id: int
    connector_id: int
    plugged_in: bool


class ContactorReported(Observation, frozen=True):
    """Feedback of the DC contactors: their position, not what was ordered."""

    evse_id: int
    closed: bool


class EnergyFlowReported(Observation, frozen=True):
    """Energy flow changed."""

    evse_id: int
    flow: EnergyFlow  # suspended_ev: the EV takes none; suspended_evse: the EVSE offers none


class ModemReported(Observation, frozen=True):
    """The mobile network modem of the host, as ModemManager reports it. B01."""

    iccid: str | None = None  # of its SIM card
    imsi: str | None = None
    signal_dbm: int | None = None


class EvStoppedCharging(Observation, frozen=True):
    """The EV ended charging on its own initiative."""

    evse_id: int


class EvIdentified(Observation, frozen=True):
    """The EV reported its identity and limits."""

    evse_id: int
    evcc_id: str | None = None  # of the EV's communication controller
    soc_percent: int | None = None  # state of charge
    battery_capacity_wh: Decimal | None = None
    voltage_max_v: Decimal | None = None
    current_max_a: Decimal | None = None
    power_max_w: Decimal | None = None


class MeterRead(Observation, frozen=True):
    """A reading of an EVSE's energy meter, with the EV's state of charge at that time."""

    evse_id: int
    energy_wh: Decimal  # register of energy to the EV, as the meter shows it. J02.FR.17
    energy_export_wh: Decimal | None = None  # register of energy from the EV
    voltage_v: Decimal | None = None
    current_a: Decimal | None = None
    power_w: Decimal | None = None
    soc_percent: int | None = None


class MeterFellSilent(Observation, frozen=True):
    """The meter of an EVSE does not respond; its last reading, which was not journaled before."""

    evse_id: int
    energy_wh: Decimal  # register of energy to the EV
    energy_export_wh: Decimal | None = None  # register of energy from the EV
    age_ms: int = 0  # from the reading to this entry


class MeasuredValue(msgspec.Struct, frozen=True):
    """The value of a variable of the device model."""

    variable: str  # as `AcDcConverter@1.Temperature`
    value: str


class ValuesMeasured(Observation, frozen=True):
    """Values of devices, besides those of the meters, that trigger a monitor (N07, N08), or that
    the CSMS asks for (B06 to B08)."""

    values: tuple[MeasuredValue, ...]


class DeviceFaulted(Observation, frozen=True):
    """A device failed, or a protection tripped."""

    evse_id: int
    device: str
    fault: str  # kind of fault of this device
    blocks_charging: bool  # the EVSE must not charge until it has recovered
    stopped_reason: str = "Other"  # ReasonEnumType of a transaction that it ends
    tech_code: str = ""  # as in NotifyEvent
    tech_info: str = ""


class DeviceRecovered(Observation, frozen=True):
    """The fault is over, and its minimum duration has passed."""

    evse_id: int
    device: str
    fault: str


# --- Power limits --------------------------------------------------------------------------------


class LimitPeriod(msgspec.Struct, frozen=True):
    """A limit from one moment on."""

    start_s: int  # from the report; the first is 0, each later than the one before
    limit_w: Decimal


class ExternalLimitReported(Observation, frozen=True):
    """Another source than the CSMS set a limit, replaced its earlier one, or lifted it. K11 to K13.

    A limit is identified by `evse_id`, `origin` and `source`.
    """

    evse_id: int  # 0: the grid connection of the station
    origin: str  # what reported it, as `io_contact`
    source: str  # ChargingLimitSourceEnumType: EMS, SO or Other; never CSO. K11.FR.05
    periods: tuple[LimitPeriod, ...] = ()  # empty: lifted. K13
    duration_s: int | None = None  # from the report; None: the last period has no end
    is_grid_critical: bool | None = None


class PowerLimiterReported(Observation, frozen=True):
    """What keeps the power of an EVSE below its limit and its rated power changed, and lasts.

    Limits that are decided (PowerLimitsDecided) are not reported again.
    """

    evse_id: int
    limiter: PowerLimiter  # empty: nothing does any more, or no EV takes energy
    limit_w: Decimal = Decimal(0)  # what it leaves to the EVSE; of `ev`: what the EV requests


class BusTraceWritten(Observation, frozen=True):
    """Traffic of the device buses around faults was written to files, or could not be."""

    fault_seqs: tuple[int, ...]  # entries of the faults
    directory: str = ""  # of the files, in `traces` of the data directory; empty: not written
    files: tuple[str, ...] = ()
    reason: str = ""  # why it could not be written


class FaultReleaseRequested(Observation, frozen=True):
    """A person requested the release of latched faults, after checking the device."""

    device: str
    fault: str = ""  # kind of fault of this device; empty: all of them
    evse_id: int | None = None  # None: wherever this device has one
    requested_by: str = ""  # as the client named the person


# --- Certificates of the station -----------------------------------------------------------------


class CertificateRenewalRequested(Observation, frozen=True):
    """An operator requested a new certificate of the station. A02."""

    use: str  # CertificateSigningUseEnumType


class KeyPairCreated(Observation, frozen=True):
    """A key pair was created and its private key stored. A02.FR.02, A02.FR.05."""

    order_seq: int  # entry that ordered it
    csr: str  # PKCS #10, PEM
    public_key_sha256: str  # of its SubjectPublicKeyInfo, hex
    private_key_ref: str  # reference of the private key


class KeyPairFailed(Observation, frozen=True):
    """No key pair could be created, or its private key not stored."""

    order_seq: int  # entry that ordered it
    reason: str


# --- Files ---------------------------------------------------------------------------------------


class FirmwareDownloadEnded(Observation, frozen=True):
    """The firmware was downloaded, or every attempt failed. L01.FR.30."""

    update_seq: int  # entry that ordered the update
    succeeded: bool
    reason: str = ""


class FirmwareSignatureChecked(Observation, frozen=True):
    """The signature of the downloaded firmware was checked. L01.FR.04."""

    update_seq: int
    valid: bool
    reason: str = ""


class FirmwareInstallEnded(Observation, frozen=True):
    """The installer ended.

    `restart_required`: installed, and the next start runs it. `invalid_firmware`: refused before
    installing, because the image does not match its manifest.
    """

    update_seq: int
    outcome: Literal["restart_required", "failed", "invalid_firmware"]
    reason: str = ""
    version: str = ""  # of the firmware that is installed now


class FirmwareActivationChecked(Observation, frozen=True):
    """After the restart, the running firmware was compared with the update. L01.FR.32."""

    update_seq: int
    succeeded: bool  # the new firmware runs
    reason: str = ""


class LogUploadEnded(Observation, frozen=True):
    """The log was uploaded, or every attempt failed. N01.FR.09, N01.FR.10."""

    upload_seq: int  # entry that ordered the upload
    status: str  # UploadLogStatusEnumType
    reason: str = ""


class CustomerDataFound(Observation, frozen=True):
    """The data held about a person was collected. N09.FR.05."""

    request_seq: int  # entry of the request
    page_refs: tuple[str, ...] = ()  # the report in parts; each a reference


class ErasureRequested(Observation, frozen=True):
    """An operator requested erasure of personal values, as the CSMS can with N10."""

    refs: tuple[str, ...]  # references of the values


class PersonalValuesErased(Observation, frozen=True):
    """Personal values were erased from the disk; entries keep their references. N10.FR.03."""

    refs: tuple[str, ...]


class DataTransferRequested(Observation, frozen=True):
    """An operator requested a DataTransfer to the CSMS. P02."""

    vendor_id: str
    message_id: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")  # any JSON value; null: no data
