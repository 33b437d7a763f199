"""With what does an unattended station start when its station.toml cannot be used? (P8)

What stands in the way is left out: rows and keys that the station can do without. Where the rest
does not do either, the configuration of the last good start counts. Either is a safe mode, which
says what it left out. A station that never started has nobody to sell to and somebody beside it:
there the file's fault ends the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from journal.storage.atomic_file import write_atomically
from station.config.station_toml import Config, ConfigError, parse_config, read_toml

RawConfig = dict[str, Any]
ConfigCheck = Callable[[Config], None]  # raises ConfigError

LAST_GOOD_FILE: Final = (
    "secrets/config.good"  # in the data directory: the last configuration that worked
)
REQUIRED_TABLES: Final = ("station", "csms", "hardware")
OPTIONAL_CSMS_KEYS: Final = ("ca_file",)  # its roots are in the journal
DEFAULT_DATA_DIRECTORY: Final = "data"

_json_encoder = msgspec.json.Encoder(decimal_format="number")
_json_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


def load_safely(path: Path, drivers: Mapping[str, Any] | None, check: ConfigCheck) -> Config:
    """The configuration of a station.toml, or what is left of it, with `complaints`.

    Args:
        path: the file.
        drivers: as `load_config` has them.
        check: looks at what only a start needs.

    Raises:
        ConfigError: it cannot be used, and the station has never run.
    """
    loader = _ConfigLoader(path, drivers, check)
    try:
        raw = read_toml(path)
        config = loader.load_raw(raw)
    except ConfigError as failure:
        found = loader.load_fallback(str(failure))
        if found is None:
            raise
        return found
    _save_last_good(config, path.parent, raw)
    return config


class _ConfigLoader:
    """Loads tables for one station.toml."""

    def __init__(self, path: Path, drivers: Mapping[str, Any] | None, check: ConfigCheck) -> None:
        self._path = path
        self._drivers = drivers
        self._check = check

    def load_raw(self, raw: RawConfig, base: Path | None = None) -> Config:
        config = parse_config(raw, base or self._path.parent, self._drivers, self._path.name)
        self._check(config)
        return config

    def load_fallback(self, reason: str) -> Config | None:
        """What can be used all the same; None where no station has run with it yet."""
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
        """The file without what it can do without; None: that is not enough."""
        complaints: list[str] = []
        core: RawConfig = {name: raw[name] for name in REQUIRED_TABLES if name in raw}
        for name in OPTIONAL_CSMS_KEYS:
            if self._load_error(core) is not None and isinstance(core.get("csms"), dict):
                less = {key: value for key, value in core["csms"].items() if key != name}
                if self._load_error({**core, "csms": less}) is None:
                    complaints.append(f"{self._load_error(core)}; it is left out")
                    core["csms"] = less
        if self._load_error(core) is not None:
            return None
        for name, part in _optional_parts(raw):
            more = _add_part(core, name, part)
            failure = self._load_error(more)
            if failure is None:
                core = more
            else:
                complaints.append(f"{failure}; it is left out")
        return replace(self.load_raw(core), complaints=tuple(complaints))

    def _load_error(self, raw: RawConfig) -> str | None:
        try:
            self.load_raw(raw)
        except ConfigError as failure:
            return str(failure)
        return None

    def _load_last_good(self, data_directory: Path, reason: str) -> Config | None:
        """The configuration of the last start that needed no rescue."""
        try:
            kept = _json_decoder.decode((data_directory / LAST_GOOD_FILE).read_bytes())
            config = self.load_raw(kept["raw"], Path(kept["base"]))
        except (OSError, ConfigError, msgspec.MsgspecError, LookupError, TypeError):
            return None
        return replace(config, complaints=(f"{reason}; the last one that worked is used",))


def _optional_parts(raw: RawConfig) -> Iterator[tuple[str, Any]]:
    """What is not the core: rows of lists and keys of tables, one by one."""
    for name, part in raw.items():
        if name in REQUIRED_TABLES:
            continue
        if isinstance(part, list):
            yield from ((name, [row]) for row in part)
        elif isinstance(part, dict):
            yield from ((name, {key: value}) for key, value in part.items())
        else:
            yield name, part


def _add_part(raw: RawConfig, name: str, part: Any) -> RawConfig:
    before = raw.get(name)
    if isinstance(before, list) and isinstance(part, list):
        return {**raw, name: [*before, *part]}
    if isinstance(before, dict) and isinstance(part, dict):
        return {**raw, name: {**before, **part}}
    return {**raw, name: part}


def _save_last_good(config: Config, base: Path, raw: RawConfig) -> None:
    """Note what worked, for our eyes only: it holds the password, whose file may vanish."""
    csms = {key: value for key, value in raw["csms"].items() if key != "password_file"}
    if config.csms.password is not None:
        csms["password"] = config.csms.password.reveal()
    text = _json_encoder.encode({"base": str(base.absolute()), "raw": {**raw, "csms": csms}})
    config.data_directory.mkdir(parents=True, exist_ok=True)
    kept = config.data_directory / LAST_GOOD_FILE
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    if kept.exists() and kept.read_bytes() == text:
        return
    write_atomically(kept, text, mode=0o600)
