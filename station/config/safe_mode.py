"""Start with a station.toml that cannot be used: safe mode. P8.

    the file is correct                     normal start; it is saved as the last good one.
    the station has never started           the error ends the start: the integrator is present.
    optional rows and keys are wrong        they are left out, one by one; safe mode.
    [station], [csms], [hardware] or        the configuration of the last good start is used; safe
    [limits] are wrong, or the file         mode. Without one, the error ends the start.
    cannot be read

Safe mode lists what was left out in `Config.complaints`. It is never saved as the last good one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from journal.codec import DECODE_ERRORS
from journal.storage.atomic_file import write_atomically
from station.config.data_directory import prepare_data_directory
from station.config.station_toml import Config, ConfigError, parse_config, read_toml

RawConfig = dict[str, Any]
ConfigCheck = Callable[[Config], None]  # raises ConfigError

LAST_GOOD_FILE: Final = "secrets/config.good"  # in the data directory
REQUIRED_TABLES: Final = ("station", "csms", "hardware", "limits")
OPTIONAL_CSMS_KEYS: Final = ("ca_file",)  # the journal has its roots from an earlier start
DEFAULT_DATA_DIRECTORY: Final = "data"

_json_encoder = msgspec.json.Encoder(decimal_format="number")
_json_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


def load_safely(path: Path, check: ConfigCheck) -> Config:
    """The configuration of a station.toml; in safe mode its usable part, with `complaints`.

    The data directory is made if it is missing.

    Args:
        path: the file.
        check: further checks, such as of the hardware tables; raises ConfigError.

    Raises:
        ConfigError: it cannot be used, and the station has never started.
        DataDirectoryError: the data directory cannot be used.
    """
    loader = _ConfigLoader(path, check)
    try:
        raw = read_toml(path)
        config = loader.load_raw(raw)
    except ConfigError as failure:
        fallback = loader.load_fallback(str(failure))
        if fallback is None:
            raise
        prepare_data_directory(fallback.data_directory)
        return fallback
    prepare_data_directory(config.data_directory)
    _save_last_good(config, path.parent, raw)
    return config


class _ConfigLoader:
    """Tries tables of one station.toml."""

    def __init__(self, path: Path, check: ConfigCheck) -> None:
        self._path = path
        self._check = check

    def load_raw(self, raw: RawConfig, base: Path | None = None) -> Config:
        config = parse_config(raw, base or self._path.parent, self._path.name)
        self._check(config)
        return config

    def load_fallback(self, reason: str) -> Config | None:
        """The configuration in safe mode; None: there is none, or no station has started here."""
        try:
            raw = read_toml(self._path)
        except ConfigError:
            raw = {}
        data = self._data_directory(raw)
        if not (data / "journal.db").exists():
            return None
        return self._load_partial(raw) or self._load_last_good(data, reason)

    def _data_directory(self, raw: RawConfig) -> Path:
        station = raw.get("station")
        name = station.get("data") if isinstance(station, dict) else None
        return self._path.parent / (name if isinstance(name, str) else DEFAULT_DATA_DIRECTORY)

    def _load_partial(self, raw: RawConfig) -> Config | None:
        """The file without its unusable optional parts; None: the required ones are unusable."""
        complaints: list[str] = []
        core: RawConfig = {name: raw[name] for name in REQUIRED_TABLES if name in raw}
        for name in OPTIONAL_CSMS_KEYS:
            if self.load_error(core) is not None and isinstance(core.get("csms"), dict):
                reduced = {key: value for key, value in core["csms"].items() if key != name}
                if self.load_error({**core, "csms": reduced}) is None:
                    complaints.append(f"{self.load_error(core)}; it is left out")
                    core["csms"] = reduced
        if self.load_error(core) is not None:
            return None
        optional = {name: part for name, part in raw.items() if name not in REQUIRED_TABLES}
        core, errors = self.add_parts(core, optional)
        complaints += [f"{error}; it is left out" for error in errors]
        return replace(self.load_raw(core), complaints=tuple(complaints))

    def add_parts(self, core: RawConfig, optional: RawConfig) -> tuple[RawConfig, list[str]]:
        """A loadable `core` with each loadable part of `optional`, and the error of each other."""
        errors = []
        for name, number, part in _split_parts(optional):
            extended = _add_part(core, name, part)
            error = self.load_error(extended)
            if error is None:
                core = extended
            else:
                tried = len(extended[name]) if number else 0  # its number without those left out
                errors.append(error.replace(f"[[{name}]] {tried}:", f"[[{name}]] {number}:"))
        return core, errors

    def load_error(self, raw: RawConfig) -> str | None:
        try:
            self.load_raw(raw)
        except ConfigError as failure:
            return str(failure)
        return None

    def _load_last_good(self, data_directory: Path, reason: str) -> Config | None:
        """The configuration of the last start without safe mode."""
        try:
            last_good = _json_decoder.decode((data_directory / LAST_GOOD_FILE).read_bytes())
            config = self.load_raw(last_good["raw"], Path(last_good["base"]))
        except (OSError, ConfigError, *DECODE_ERRORS):
            return None
        return replace(config, complaints=(f"{reason}; the last one that worked is used",))


def _split_parts(raw: RawConfig) -> Iterator[tuple[str, int, Any]]:
    """The parts of tables and lists, one by one: name, number of the row (0: none), part."""
    for name, part in raw.items():
        if isinstance(part, list):
            yield from ((name, number, [row]) for number, row in enumerate(part, start=1))
        elif isinstance(part, dict):
            yield from ((name, 0, {key: value}) for key, value in part.items())
        else:
            yield name, 0, part


def _add_part(raw: RawConfig, name: str, part: Any) -> RawConfig:
    present = raw.get(name)
    if isinstance(present, list) and isinstance(part, list):
        return {**raw, name: [*present, *part]}
    if isinstance(present, dict) and isinstance(part, dict):
        return {**raw, name: {**present, **part}}
    return {**raw, name: part}


def _save_last_good(config: Config, base: Path, raw: RawConfig) -> None:
    """Save a configuration that worked, mode 0600, with the password: its file may be deleted."""
    csms = {key: value for key, value in raw["csms"].items() if key != "password_file"}
    if config.csms.password is not None:
        csms["password"] = config.csms.password.reveal()
    text = _json_encoder.encode({"base": str(base.absolute()), "raw": {**raw, "csms": csms}})
    path = config.data_directory / LAST_GOOD_FILE
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if path.exists() and path.read_bytes() == text:
        return
    write_atomically(path, text, mode=0o600)
