"""With what does an unattended station start when its station.toml cannot be used? (P8)

What stands in the way is left out: rows and keys that the station can do without. Where the rest
does not do either, the configuration of the last good start counts. Either is a safe mode, which
says what it left out. A station that never started has nobody to sell to and somebody beside it:
there the file's fault ends the start.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from station.config import Config, ConfigError, config_of, read_table

Raw = dict[str, Any]
Check = Callable[[Config], None]  # raises ConfigError

KEPT: Final = "secrets/config.good"  # in the data directory: the last configuration that worked
CORE: Final = ("station", "csms", "hardware")
CSMS_WITHOUT: Final = ("ca_file",)  # its roots are in the journal
DATA: Final = "data"

_encoder = msgspec.json.Encoder(decimal_format="number")
_kept = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


def load_safely(path: Path, drivers: Mapping[str, Any], check: Check) -> Config:
    """The configuration of a station.toml, or what is left of it, with `complaints`.

    Args:
        path: the file.
        drivers: as `load_config` has them.
        check: looks at what only a start needs.

    Raises:
        ConfigError: it cannot be used, and the station has never run.
    """
    loader = _Loader(path, drivers, check)
    try:
        raw = read_table(path)
        config = loader.load(raw)
    except ConfigError as failure:
        found = loader.rescued(str(failure))
        if found is None:
            raise
        return found
    _keep(config, path.parent, raw)
    return config


class _Loader:
    """Loads tables for one station.toml."""

    def __init__(self, path: Path, drivers: Mapping[str, Any], check: Check) -> None:
        self._path = path
        self._drivers = drivers
        self._check = check

    def load(self, raw: Raw, base: Path | None = None) -> Config:
        config = config_of(raw, base or self._path.parent, self._drivers, self._path.name)
        self._check(config)
        return config

    def rescued(self, why: str) -> Config | None:
        """What can be used all the same; None where no station has run with it yet."""
        try:
            raw = read_table(self._path)
        except ConfigError:
            raw = {}
        data = self._data(raw)
        if not (data / "journal.db").exists():
            return None
        return self._without(raw) or self._last_good(data, why)

    def _data(self, raw: Raw) -> Path:
        station = raw.get("station")
        name = station.get("data") if isinstance(station, dict) else None
        return self._path.parent / (name if isinstance(name, str) else DATA)

    def _without(self, raw: Raw) -> Config | None:
        """The file without what it can do without; None: that is not enough."""
        complaints: list[str] = []
        core: Raw = {name: raw[name] for name in CORE if name in raw}
        for name in CSMS_WITHOUT:
            if self._fails(core) is not None and isinstance(core.get("csms"), dict):
                less = {key: value for key, value in core["csms"].items() if key != name}
                if self._fails({**core, "csms": less}) is None:
                    complaints.append(f"{self._fails(core)}; it is left out")
                    core["csms"] = less
        if self._fails(core) is not None:
            return None
        for name, part in _parts(raw):
            more = _with(core, name, part)
            failure = self._fails(more)
            if failure is None:
                core = more
            else:
                complaints.append(f"{failure}; it is left out")
        return replace(self.load(core), complaints=tuple(complaints))

    def _fails(self, raw: Raw) -> str | None:
        try:
            self.load(raw)
        except ConfigError as failure:
            return str(failure)
        return None

    def _last_good(self, data: Path, why: str) -> Config | None:
        """The configuration of the last start that needed no rescue."""
        try:
            kept = _kept.decode((data / KEPT).read_bytes())
            config = self.load(kept["raw"], Path(kept["base"]))
        except (OSError, ConfigError, msgspec.MsgspecError, LookupError, TypeError):
            return None
        return replace(config, complaints=(f"{why}; the last one that worked is used",))


def _parts(raw: Raw) -> Iterator[tuple[str, Any]]:
    """What is not the core: rows of lists and keys of tables, one by one."""
    for name, part in raw.items():
        if name in CORE:
            continue
        if isinstance(part, list):
            yield from ((name, [row]) for row in part)
        elif isinstance(part, dict):
            yield from ((name, {key: value}) for key, value in part.items())
        else:
            yield name, part


def _with(raw: Raw, name: str, part: Any) -> Raw:
    before = raw.get(name)
    if isinstance(before, list) and isinstance(part, list):
        return {**raw, name: [*before, *part]}
    if isinstance(before, dict) and isinstance(part, dict):
        return {**raw, name: {**before, **part}}
    return {**raw, name: part}


def _keep(config: Config, base: Path, raw: Raw) -> None:
    """Note what worked, for our eyes only: it holds the password, whose file may vanish."""
    csms = {key: value for key, value in raw["csms"].items() if key != "password_file"}
    if config.csms.password is not None:
        csms["password"] = config.csms.password.reveal()
    text = _encoder.encode({"base": str(base.absolute()), "raw": {**raw, "csms": csms}})
    config.data.mkdir(parents=True, exist_ok=True)
    kept = config.data / KEPT
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    if kept.exists() and kept.read_bytes() == text:
        return
    fresh = kept.with_suffix(".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(text)
    fresh.replace(kept)
