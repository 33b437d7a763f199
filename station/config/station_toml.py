"""station.toml: reading, checking, and the configuration it gives.

The file is read once, at start. Everything that can be checked without hardware or network is
checked then; a value that passes cannot fail later. An error is one line: file, table, key, what is
wrong, what to do. `station/README.md` documents the keys.

Order of a check: TOML syntax; tables and keys against the structs of `file_tables`; then the
meaning of each value, which gives `Config`. `build_config` reports each problem and continues
without the value; a start ends at the first, `station check` collects them all.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

import msgspec

from drivers.wiring import Channel, IoWiring, WiringError, parse_channel
from station.config.file_tables import (
    CertificateRow,
    CsmsTable,
    FileTables,
    FirmwareTable,
    JournalConfig,
    LimitsConfig,
    TracesConfig,
    VariableRow,
    read_tables,
)
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


class FirmwareConfig(msgspec.Struct, frozen=True):
    """`[firmware]`: how new firmware is installed."""

    installer: Path | None = None  # with the contract of `station.firmware.swap`; None: that one
    directory: Path | None = None  # of the releases; None: in the data directory


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


Report = Callable[[str], None]
"""Gets each problem; a start raises TableError in it."""


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
        return build_config(read_tables(raw), base, _refuse)
    except TableError as error:
        raise ConfigError(f"{name}: {error}") from None


def _refuse(problem: str) -> NoReturn:
    raise TableError(problem)


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


def build_config(file: FileTables, base: Path, report: Report) -> Config:
    """The configuration in the tables of a file, without what is wrong.

    Args:
        file: the tables.
        base: where relative paths start.
        report: gets each problem, in the order in which a start checks.
    """
    _try(report, _check_identity, file.station.identity)
    devices = (_device_config(name, raw, report) for name, raw in file.hardware.items())
    hardware = {device.name: device for device in devices if device is not None}
    profile, model = _load_product(file.station.profile, base, bool(file.hardware), report)
    for complaint in _journal_complaints(file.journal):
        report(f"[journal] {complaint}")
    for complaint in _limit_complaints(file.limits, _free_inputs(hardware, profile)):
        report(f"[limits] {complaint}")
    return Config(
        identity=file.station.identity,
        profile=profile,
        device_model=model,
        data_directory=base / file.station.data,
        csms=_csms_config(file.csms, base, profile, model, report),
        variables=_variable_values(file.variables, model, report),
        certificates=tuple(_certificate_configs(file.certificates, base, report)),
        hardware=hardware,
        journal=file.journal,
        firmware=_try(report, _firmware_config, file.firmware, base) or FirmwareConfig(),
        limits=file.limits,
        traces=file.traces,
    )


P = ParamSpec("P")
T = TypeVar("T")


def _try(report: Report, check: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """The result of a check; None: it raised TableError, which is reported."""
    try:
        return check(*args, **kwargs)
    except TableError as error:
        report(str(error))
    return None


IDENTITY_PATTERN = re.compile(r"[A-Za-z0-9*\-_=+|@.]+")


def _check_identity(text: str) -> None:
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


def _load_profile(name: str | None, base: Path, with_hardware: bool) -> Profile:
    chosen = name or (PROFILE_WITH_HARDWARE if with_hardware else PROFILE_WITHOUT_HARDWARE)
    try:
        return load_profile(base / chosen if chosen.endswith(".toml") else chosen)
    except ProfileError as error:
        raise TableError(f"[station] profile: {error}") from None


def _load_product(
    name: str | None, base: Path, with_hardware: bool, report: Report
) -> tuple[Profile, DeviceModel]:
    """The profile and its device model; of a profile that cannot be used, those of the default."""
    profile = _try(report, _load_profile, name, base, with_hardware)
    if profile is not None:
        try:
            return profile, DeviceModel(profile)
        except ProfileError as error:
            report(str(error))
    default = _load_profile(None, base, with_hardware)
    return default, DeviceModel(default)


def _csms_config(
    raw: CsmsTable, base: Path, profile: Profile, device_model: DeviceModel, report: Report
) -> CsmsConfig:
    scheme = _try(report, _check_url, raw.url)
    default = 1 if scheme == "ws" else 2
    chosen = default if raw.security_profile is None else raw.security_profile
    if _try(report, _check_security_profile, chosen):
        if scheme is not None:
            _try(report, _check_scheme, scheme, chosen)
        _try(report, _check_product_has, chosen, profile)
    else:
        chosen = default
    return CsmsConfig(
        url=raw.url.rstrip("/"),
        security_profile=chosen,
        password=_try(report, _csms_password, raw, base, chosen, device_model),
        ca_file=_try(report, _existing_path, "[csms] ca_file", raw.ca_file, base),
    )


def _check_security_profile(chosen: int) -> bool:
    if chosen not in (1, 2, 3):
        raise TableError(f"[csms] security_profile is {chosen}; use 1, 2 or 3")
    return True


def _check_scheme(scheme: str, security_profile: int) -> None:
    """TLS for the security profiles 2 and 3 only."""
    if (scheme == "wss") is not (security_profile > 1):
        required = "wss" if security_profile > 1 else "ws"
        raise TableError(
            f"[csms] url begins with {scheme}://, but security profile {security_profile} needs"
            f" {required}://"
        )


def _check_product_has(security_profile: int, profile: Profile) -> None:
    if security_profile not in profile.security_profiles:
        allowed = ", ".join(map(str, profile.security_profiles))
        raise TableError(
            f"[csms] security profile {security_profile} is not in product profile {profile.name};"
            f" use one of {allowed} (wss://), or [station] profile = "
            f'"{PROFILE_WITHOUT_HARDWARE}" for tests'
        )


def _csms_password(
    raw: CsmsTable, base: Path, security_profile: int, device_model: DeviceModel
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


def _variable_values(
    rows: Mapping[int, VariableRow], device_model: DeviceModel, report: Report
) -> dict[str, str]:
    """Values for the first start, by path; ReadOnly variables may be set here too."""
    values: dict[str, str] = {}
    for number, row in rows.items():
        _try(report, _add_variable_value, values, f"[[variable]] {number}: ", row, device_model)
    return values


def _add_variable_value(
    values: dict[str, str], place: str, row: VariableRow, device_model: DeviceModel
) -> None:
    component = Component(row.component, row.instance, row.evse, row.connector)
    definition = device_model.find_variable(component, row.variable, row.variable_instance)
    if isinstance(definition, Refusal):
        raise TableError(f"{place}{definition.info}{_suggest_variable(row, device_model)}")
    if definition.path in values:
        raise TableError(f"{place}{definition.path} is given twice; keep one")
    for complaint in _value_complaints(definition, row.value):
        raise TableError(f"{place}{complaint}")
    values[definition.path] = row.value


def _suggest_variable(row: VariableRow, device_model: DeviceModel) -> str:
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


def _certificate_configs(
    rows: Mapping[int, CertificateRow], base: Path, report: Report
) -> Iterator[CertificateConfig]:
    for number, row in rows.items():
        problems: list[str] = []
        certificate = _certificate_config(f"[[certificate]] {number}: ", row, base, problems.append)
        for problem in problems:
            report(problem)
        if not problems:
            yield certificate


def _certificate_config(
    place: str, raw: CertificateRow, base: Path, report: Report
) -> CertificateConfig:
    """The certificate of a row; incomplete if there is a problem."""
    if raw.use not in CERTIFICATE_USES:
        report(f"{place}use {unknown_key_message(raw.use, CERTIFICATE_USES, 'a use')}")
    file = _try(report, _existing_path, f"{place}file", raw.file, base)
    with_key = CERTIFICATE_USES.get(raw.use)
    if with_key is True and raw.key_file is None:
        report(f"{place}key_file is missing; a {raw.use} needs its private key")
    key_file = None
    if with_key is False and raw.key_file is not None:
        report(f"{place}key_file is given; a {raw.use} has no private key here")
    else:
        key_file = _try(report, _existing_path, f"{place}key_file", raw.key_file, base)
    secret = (f"{place}key_password", raw.key_password, raw.key_password_file, base)
    password = _try(report, _read_secret, *secret)
    if password is not None and raw.key_file is None:
        report(f"{place}key_password is given without key_file")
    return CertificateConfig(
        use=raw.use,
        file=file or base / raw.file,
        key_file=key_file,
        key_password=password,
    )


def _firmware_config(raw: FirmwareTable, base: Path) -> FirmwareConfig:
    installer = _existing_path("[firmware] installer", raw.installer, base)
    if installer is not None and not os.access(installer, os.X_OK):
        raise TableError(f"[firmware] installer {raw.installer} is not executable")
    directory = None if raw.directory is None else base / raw.directory
    return FirmwareConfig(installer and installer.absolute(), directory and directory.absolute())


def _device_config(name: str, raw: Any, report: Report) -> DeviceConfig | None:
    """The table of a device; None: there is a problem."""
    place = f"[hardware.{name}] "
    if not isinstance(raw, dict):
        report(f"[hardware] {name} needs a table of its own: [hardware.{name}]")
        return None
    problems = []
    for key in ("driver", "port"):
        if key not in raw:
            problems.append(f"{place}{key} is missing")
        elif not isinstance(raw[key], str) or not raw[key]:
            problems.append(f"{place}{key} needs text in quotes, got {raw[key]!r}")
    for problem in problems:
        report(problem)
    if problems:
        return None
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
