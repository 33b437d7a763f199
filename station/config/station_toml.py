"""station.toml: reading, checking, and the configuration it gives.

The file is read once, at start. Everything that can be checked without hardware or network is
checked then; a value that passes cannot fail later. An error is one line: file, table, key, what is
wrong, what to do. `station/README.md` documents the keys.

Order of a check: TOML syntax; tables and keys against the structs below (`_StationToml`); then the
meaning of each value, which gives `Config`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from drivers.wiring import Channel, IoWiring, WiringError, parse_channel
from journal.storage.connection import CHECKPOINT_PAGES, GROW_BYTES
from station.core.device_model.model import (
    Component,
    DeviceModel,
    Refusal,
    VariableDefinition,
    check_value,
)
from station.ocpp.csms_url import CsmsUrlError, parse_csms_url
from station.profiles import Profile, ProfileError, load_profile
from station.profiles.toml_tables import (
    TableError,
    convert_table,
    decode_text,
    decode_toml,
    unknown_key_message,
)

IDENTITY_MAX = 48  # Part 4 §3.1.1
URL_MAX = 512  # NetworkConnectionProfileType.ocppCsmsUrl
PROFILE_WITHOUT_HARDWARE = "development"
PROFILE_WITH_HARDWARE = "evs-flash-300"


class ConfigError(Exception):
    """station.toml cannot be used. The message is one line with file, table and key."""


class Secret:
    """A text that is hidden in repr, log and traceback."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself. Never journal or log it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


class CsmsConfig(msgspec.Struct, frozen=True):
    """`[csms]`: where to connect and how. `url` is without the identity."""

    url: str
    security_profile: int
    password: Secret | None = None
    ca_file: Path | None = None


# Use of a certificate -> whether the station has its private key.
CERTIFICATE_USES = {
    "CSMSRootCertificate": False,
    "ManufacturerRootCertificate": False,
    "V2GRootCertificate": False,
    "MORootCertificate": False,
    "ChargingStationCertificate": True,
    "V2GCertificate": True,
}


class CertificateConfig(msgspec.Struct, frozen=True):
    """`[[certificate]]`: a PEM file for the store before the first start."""

    use: str  # one of CERTIFICATE_USES
    file: Path
    key_file: Path | None = None
    key_password: Secret | None = None


class DeviceConfig(msgspec.Struct, frozen=True):
    """`[hardware.NAME]`: one device. `options` are the keys of its driver."""

    name: str
    driver: str
    port: str
    options: dict[str, Any]


class JournalConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[journal]`: how the journal uses the disk."""

    checkpoint_pages: int = CHECKPOINT_PAGES  # pages of 4 KiB in the WAL before a checkpoint
    grow_bytes: int = GROW_BYTES  # the WAL is extended ahead by this, so that appends overwrite
    powersafe_overwrite: bool = True  # a torn write damages only the bytes being written
    csms_bytes_per_day: int = 268_435_456  # of frames, and of what they make the station write
    reading_interval_s: int = 10  # a meter reading is journaled at least this often, P6
    reserve_bytes: int = 8_388_608  # kept free to end transactions on a full disk
    retention: int = 90  # days until an entry moves from the database to the archive


class TracesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[traces]`: traffic of the device buses, written to files around a fault."""

    files: Annotated[int, Meta(ge=0, le=100)] = 10  # traces that are kept; 0: none is written
    seconds: Annotated[int, Meta(ge=10, le=3_600)] = 120  # before the fault
    seconds_after: Annotated[int, Meta(ge=1, le=60)] = 5  # after the fault
    bytes_per_bus: Annotated[int, Meta(ge=16_384, le=16_777_216)] = 262_144  # of memory


class FirmwareConfig(msgspec.Struct, frozen=True):
    """`[firmware]`: how new firmware is installed."""

    installer: Path | None = None  # with the contract of `station.firmware.swap`; None: that one
    directory: Path | None = None  # of the releases; None: in the data directory


class LimitsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[limits]`: limits of the grid connection, in W, that hold without a CSMS."""

    station_w: int | None = None  # always
    offline_w: int | None = None  # while there is no CSMS
    offline_after_s: int = 60  # so long after the connection was lost
    contact_w: int | None = None  # while the contact at `contact_input` is open
    contact_input: str | None = None  # a channel that nothing else is read from


class Config(msgspec.Struct, frozen=True):
    """station.toml, complete and checked."""

    identity: str
    profile: Profile
    device_model: DeviceModel
    data_directory: Path
    csms: CsmsConfig
    variables: dict[str, str]  # path to Actual value, for the first start
    certificates: tuple[CertificateConfig, ...]
    hardware: dict[str, DeviceConfig]  # empty: emulated
    journal: JournalConfig
    firmware: FirmwareConfig = FirmwareConfig()
    limits: LimitsConfig = LimitsConfig()
    traces: TracesConfig = TracesConfig()
    complaints: tuple[str, ...] = ()  # one per part that was left out: safe mode; empty: none


# Tables and keys of the file, before their meaning is checked.


class _StationTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    identity: str
    profile: str | None = None
    data: str = "data"


class _CsmsTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    security_profile: int | None = None
    password: str | None = None
    password_file: str | None = None
    ca_file: str | None = None


class _VariableRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    component: str
    variable: str
    value: str
    instance: str | None = None
    evse: int | None = None
    connector: int | None = None
    variable_instance: str | None = None


class _CertificateRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    use: str
    file: str
    key_file: str | None = None
    key_password: str | None = None
    key_password_file: str | None = None


class _FirmwareTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    installer: str | None = None
    directory: str | None = None


class _StationToml(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    station: _StationTable
    csms: _CsmsTable
    variable: tuple[_VariableRow, ...] = ()
    certificate: tuple[_CertificateRow, ...] = ()
    hardware: dict[str, Any] = {}
    journal: JournalConfig = JournalConfig()
    firmware: _FirmwareTable = _FirmwareTable()
    limits: LimitsConfig = LimitsConfig()
    traces: TracesConfig = TracesConfig()


def load_config(path: str | Path) -> Config:
    """Read and check a station.toml; drivers and their keys are checked by `parse_hardware`.

    Args:
        path: the file; relative paths in it start at its directory.

    Raises:
        ConfigError: one line that names file, table, key and what to do.
    """
    path = Path(path)
    return parse_config(read_toml(path), path.parent, path.name)


def parse_config(raw: Mapping[str, Any], base: Path, name: str = "station.toml") -> Config:
    """Check the tables of a station.toml; relative paths start at `base`. As `load_config`."""
    try:
        return _build_config(convert_table(raw, _StationToml), base)
    except (TableError, ProfileError) as error:
        raise ConfigError(f"{name}: {error}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a station.toml, not checked.

    Raises:
        ConfigError: it cannot be read, or is no TOML.
    """
    try:
        return decode_toml(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path.name}: {_syntax_error_text(str(error))}") from None
    except ValueError as error:
        raise ConfigError(f"{path.name}: {error}") from None


def _syntax_error_text(message: str) -> str:
    """`line 3, column 5: …` from tomllib's `… (at line 3, column 5)`."""
    position = re.search(r" \(at (.+)\)$", message)
    if position is None:
        return message
    problem = message[: position.start()]
    return f"{position[1]}: {problem[0].lower()}{problem[1:]}"


def _build_config(file: _StationToml, base: Path) -> Config:
    identity = _check_identity(file.station.identity)
    hardware = {name: _device_config(name, raw) for name, raw in file.hardware.items()}
    profile = _load_profile(file.station.profile, base, bool(hardware))
    model = DeviceModel(profile)
    for complaint in _journal_complaints(file.journal):
        raise TableError(f"[journal] {complaint}")
    for complaint in _limit_complaints(file.limits, _free_inputs(hardware, profile)):
        raise TableError(f"[limits] {complaint}")
    return Config(
        identity=identity,
        profile=profile,
        device_model=model,
        data_directory=base / file.station.data,
        csms=_csms_config(file.csms, base, profile, model),
        variables=_variable_values(file.variable, model),
        certificates=tuple(
            _certificate_config(number, raw, base)
            for number, raw in enumerate(file.certificate, start=1)
        ),
        hardware=hardware,
        journal=file.journal,
        firmware=_firmware_config(file.firmware, base),
        limits=file.limits,
        traces=file.traces,
    )


IDENTITY_PATTERN = re.compile(r"[A-Za-z0-9*\-_=+|@.]+")


def _check_identity(text: str) -> str:
    """Part 4 §3.1.1: an identifierString, without the colon that HTTP Basic reserves."""
    if not text:
        raise TableError("[station] identity is empty; use the identity configured in the CSMS")
    if len(text) > IDENTITY_MAX:
        raise TableError(
            f"[station] identity has {len(text)} characters; at most {IDENTITY_MAX} are allowed"
        )
    if not IDENTITY_PATTERN.fullmatch(text):
        refused = next(char for char in text if not IDENTITY_PATTERN.fullmatch(char))
        raise TableError(
            f"[station] identity has {refused!r}; allowed are letters, digits and * - _ = + | @ ."
        )
    return text


def _load_profile(name: str | None, base: Path, with_hardware: bool) -> Profile:
    chosen = name or (PROFILE_WITH_HARDWARE if with_hardware else PROFILE_WITHOUT_HARDWARE)
    try:
        return load_profile(base / chosen if chosen.endswith(".toml") else chosen)
    except ProfileError as error:
        raise TableError(f"[station] profile: {error}") from None


def _csms_config(
    raw: _CsmsTable, base: Path, profile: Profile, device_model: DeviceModel
) -> CsmsConfig:
    security_profile = _security_profile(raw, profile)
    return CsmsConfig(
        url=raw.url.rstrip("/"),
        security_profile=security_profile,
        password=_csms_password(raw, base, security_profile, device_model),
        ca_file=_existing_path("[csms] ca_file", raw.ca_file, base),
    )


def _security_profile(raw: _CsmsTable, profile: Profile) -> int:
    """The security profile of `[csms]`: it must fit the url and the product profile."""
    scheme = _check_url(raw.url)
    chosen = raw.security_profile or (2 if scheme == "wss" else 1)
    if raw.security_profile is not None and raw.security_profile not in (1, 2, 3):
        raise TableError(f"[csms] security_profile is {raw.security_profile}; use 1, 2 or 3")
    if (scheme == "wss") is not (chosen > 1):
        required = "wss" if chosen > 1 else "ws"
        raise TableError(
            f"[csms] url begins with {scheme}://, but security profile {chosen} needs {required}://"
        )
    if chosen not in profile.security_profiles:
        allowed = ", ".join(map(str, profile.security_profiles))
        raise TableError(
            f"[csms] security profile {chosen} is not in product profile {profile.name};"
            f" use one of {allowed} (wss://), or [station] profile = "
            f'"{PROFILE_WITHOUT_HARDWARE}" for tests'
        )
    return chosen


def _csms_password(
    raw: _CsmsTable, base: Path, security_profile: int, device_model: DeviceModel
) -> Secret | None:
    """The password of `[csms]`: required for security profiles 1 and 2. A00.FR.205."""
    password = _read_secret("[csms] password", raw.password, raw.password_file, base)
    if password is not None:
        refusal = check_value(
            device_model.require_variable("SecurityCtrlr", "BasicAuthPassword"), password.reveal()
        )
        if refusal:
            problem = refusal.info.removeprefix("SecurityCtrlr.BasicAuthPassword ")
            raise TableError(f"[csms] password {problem}")
    elif security_profile < 3:
        raise TableError(
            f"[csms] password is missing; security profile {security_profile} needs password or"
            " password_file"
        )
    return password


def _check_url(text: str) -> str:
    """Check the URL and return its scheme. The station appends `/<identity>` itself."""
    if len(text) > URL_MAX:
        raise TableError(f"[csms] url has {len(text)} characters; at most {URL_MAX} are allowed")
    try:
        return parse_csms_url(text).scheme
    except CsmsUrlError as error:
        if "@" in text:  # perhaps after a password, which is not repeated
            raise TableError(
                "[csms] url contains a user or password; use the key password or password_file"
            ) from None
        raise TableError(f'[csms] url "{text}": {error}') from None


def _read_secret(key: str, text: str | None, file: str | None, base: Path) -> Secret | None:
    """A secret from this file or from a file of its own, without the newline at its end."""
    name = key.rpartition(" ")[2]
    if text is not None and file is not None:
        raise TableError(f"{key} and {name}_file are both given; keep one")
    if file is None:
        return None if text is None else Secret(text)
    try:
        return Secret(decode_text((base / file).read_bytes()).rstrip("\r\n"))
    except OSError as error:
        raise TableError(f"{key}_file {file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise TableError(f"{key}_file {file}: {error}") from None


def _existing_path(key: str, file: str | None, base: Path) -> Path | None:
    if file is None:
        return None
    if not (base / file).is_file():
        raise TableError(
            f"{key} {file} does not exist; relative paths start at the directory of station.toml"
        )
    return base / file


def _variable_values(rows: tuple[_VariableRow, ...], device_model: DeviceModel) -> dict[str, str]:
    """Values for the first start, by path; ReadOnly variables may be set here too."""
    values: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        place = f"[[variable]] {number}: "
        component = Component(row.component, row.instance, row.evse, row.connector)
        definition = device_model.find_variable(component, row.variable, row.variable_instance)
        if isinstance(definition, Refusal):
            raise TableError(f"{place}{definition.info}{_suggest_variable(row, device_model)}")
        if definition.path in values:
            raise TableError(f"{place}{definition.path} is given twice; keep one")
        for complaint in _value_complaints(definition, row.value):
            raise TableError(f"{place}{complaint}")
        values[definition.path] = row.value
    return values


def _suggest_variable(row: _VariableRow, device_model: DeviceModel) -> str:
    import difflib  # imported only for a wrong name

    path = f"{row.component}.{row.variable}"
    matches = difflib.get_close_matches(path, device_model.by_path, n=1, cutoff=0.8)
    return f"; did you mean {matches[0]}?" if matches else ""


def _value_complaints(definition: VariableDefinition, value: str) -> Iterator[str]:
    if definition.secret:
        yield f"{definition.path} is a secret; set it with [csms] password or password_file"
    elif definition.source and definition.source != "message_timeout":  # no key of [csms] sets it
        yield f"{definition.path} is measured by the station and cannot be set"
    elif refusal := check_value(definition, value):
        yield refusal.info
    elif definition.preset_condition and value != definition.attributes[0].value:
        yield (
            f"{definition.path} has no effect here: the product profile does not answer "
            f"{definition.preset_condition} with true"
        )


def _certificate_config(number: int, raw: _CertificateRow, base: Path) -> CertificateConfig:
    place = f"[[certificate]] {number}: "
    if raw.use not in CERTIFICATE_USES:
        raise TableError(f"{place}use {unknown_key_message(raw.use, CERTIFICATE_USES, 'a use')}")
    with_key = CERTIFICATE_USES[raw.use]
    file = _existing_path(f"{place}file", raw.file, base)
    assert file is not None  # `file` is a required key
    if with_key and raw.key_file is None:
        raise TableError(f"{place}key_file is missing; a {raw.use} needs its private key")
    if not with_key and raw.key_file is not None:
        raise TableError(f"{place}key_file is given; a {raw.use} has no private key here")
    password = _read_secret(f"{place}key_password", raw.key_password, raw.key_password_file, base)
    if password is not None and raw.key_file is None:
        raise TableError(f"{place}key_password is given without key_file")
    return CertificateConfig(
        use=raw.use,
        file=file,
        key_file=_existing_path(f"{place}key_file", raw.key_file, base),
        key_password=password,
    )


def _firmware_config(raw: _FirmwareTable, base: Path) -> FirmwareConfig:
    installer = _existing_path("[firmware] installer", raw.installer, base)
    if installer is not None and not os.access(installer, os.X_OK):
        raise TableError(f"[firmware] installer {raw.installer} is not executable")
    directory = None if raw.directory is None else base / raw.directory
    return FirmwareConfig(installer and installer.absolute(), directory and directory.absolute())


def _device_config(name: str, raw: Any) -> DeviceConfig:
    place = f"[hardware.{name}] "
    if not isinstance(raw, dict):
        raise TableError(f"[hardware] {name} needs a table of its own: [hardware.{name}]")
    for key in ("driver", "port"):
        if key not in raw:
            raise TableError(f"{place}{key} is missing")
        if not isinstance(raw[key], str) or not raw[key]:
            raise TableError(f"{place}{key} needs text in quotes, got {raw[key]!r}")
    options = {key: value for key, value in raw.items() if key not in ("driver", "port")}
    return DeviceConfig(name=name, driver=raw["driver"], port=raw["port"], options=options)


# Minimum and maximum of each number in [journal], and why.
JOURNAL_LIMITS = {
    "checkpoint_pages": (10, 100_000),  # below, every commit checkpoints; above, 400 MB of WAL
    "grow_bytes": (0, 1_073_741_824),  # 0: do not extend ahead
    "reserve_bytes": (0, 1_073_741_824),  # 0: no reserve
    "csms_bytes_per_day": (67_108_864, 4_294_967_296),  # bulk is a 32nd of it
    "reading_interval_s": (1, 900),  # P6 assumes one per second at most; bills use quarter hours
    "retention": (1, 36_500),  # days
}


def _journal_complaints(journal: JournalConfig) -> Iterator[str]:
    for key, (minimum, maximum) in JOURNAL_LIMITS.items():
        value = getattr(journal, key)
        if not minimum <= value <= maximum:
            yield f"{key} is {value}; allowed are {minimum} to {maximum}"


LIMIT_RANGES = {
    "station_w": (0, 10_000_000),
    "offline_w": (0, 10_000_000),
    "offline_after_s": (0, 86_400),
    "contact_w": (0, 10_000_000),
}
"""Minimum and maximum of each number in [limits]."""


def _free_inputs(
    hardware: Mapping[str, DeviceConfig], profile: Profile
) -> tuple[Channel, ...] | None:
    """Inputs that a contact may be wired to. None: the wiring is wrong, which
    `station.config.hardware` reports."""
    raw = hardware["io"].options.get("wiring", {}) if "io" in hardware else {}
    try:
        return msgspec.convert(raw, IoWiring).for_evses(profile.evse_ids).free_inputs()
    except (msgspec.ValidationError, WiringError):
        return None


def _limit_complaints(
    limits: LimitsConfig, free_inputs: tuple[Channel, ...] | None
) -> Iterator[str]:
    for key, (minimum, maximum) in LIMIT_RANGES.items():
        value = getattr(limits, key)
        if value is not None and not minimum <= value <= maximum:
            yield f"{key} is {value}; allowed are {minimum} to {maximum}"
    if (limits.contact_w is None) is not (limits.contact_input is None):
        yield "contact_w and contact_input belong together; give both or neither"
    elif limits.contact_input is not None:
        try:
            channel = parse_channel(limits.contact_input)
        except ValueError as error:
            yield f"contact_input: {error}"
            return
        if free_inputs is not None and channel not in free_inputs:
            free = ", ".join(map(str, free_inputs)) or "none"
            yield f"contact_input is {channel}; inputs that are free for a contact are {free}"
