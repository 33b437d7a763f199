"""Product profiles: load one by name or path, with what it inherits, and check it.

A profile is a TOML file with the answers of the certificate, the hardware, the limits and the
factory values. A profile may inherit another and contain only the differences. The README in this
directory explains the keys.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from station.profiles.checks import find_contradictions
from station.profiles.profile import DeviceModelFile, Profile, ProfileError
from station.profiles.toml_tables import TableError, convert_table, decode_toml

__all__ = ["Profile", "ProfileError", "load_profile", "profile_names"]

PROFILE_DIRECTORY = Path(__file__).parent
INHERITANCE_DEPTH_MAX = 8  # a longer chain is taken for a circle


def profile_names() -> tuple[str, ...]:
    """The profiles that come with the program."""
    stems = (path.stem for path in PROFILE_DIRECTORY.glob("*.toml"))
    return tuple(sorted(stem for stem in stems if stem != "device_model"))


def load_profile(name_or_path: str | Path) -> Profile:
    """A product profile with everything it inherits, typed and checked.

    Args:
        name_or_path: `evs-flash-300`, or the path of a file ending in `.toml`.

    Raises:
        ProfileError: unreadable, not TOML, an unknown or missing key, a contradiction.
    """
    path = _resolve_path(name_or_path)
    raw = _read_with_parents(path)
    catalogue = _read_device_model(path, raw)
    try:
        profile = convert_table(raw, Profile)
        rows = convert_table(catalogue, DeviceModelFile).component
    except TableError as error:
        raise ProfileError(f"{path.name}: {error}") from None
    for contradiction in find_contradictions(profile):
        raise ProfileError(f"{path.name}: {contradiction}")
    return msgspec.structs.replace(profile, component=(*rows, *profile.component))


def _resolve_path(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.suffix == ".toml":
        return path
    if str(name_or_path) not in profile_names():
        raise ProfileError(
            f"{name_or_path} is not a profile; there are {', '.join(profile_names())}, or give the"
            " path of a .toml file"
        )
    return PROFILE_DIRECTORY / f"{path.name}.toml"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return decode_toml(path.read_bytes())
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ProfileError(f"{path.name}: is not TOML: {error}") from None


def _read_with_parents(path: Path) -> dict[str, Any]:
    """The file merged with what it inherits: tables are merged, lists are replaced whole."""
    chain = [_read_toml(path)]
    while parent := chain[-1].pop("inherits", None):
        if len(chain) > INHERITANCE_DEPTH_MAX:
            raise ProfileError(f"{path.name}: inherits in a circle; remove one `inherits`")
        parent_path = path.parent / str(parent)
        if parent_path.suffix != ".toml":
            parent_path = _resolve_path(str(parent))
        chain.append(_read_toml(parent_path))
    merged: dict[str, Any] = {}
    for raw in reversed(chain):
        merged.pop("certificate", None)  # a certificate is for one product, never inherited
        merged = _merge_tables(merged, raw)
    return merged


def _merge_tables(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    merged = {
        key: _merge_tables(base[key], override[key])
        for key in base.keys() & override.keys()
        if isinstance(base[key], dict) and isinstance(override[key], dict)
    }
    return base | override | merged


def _read_device_model(path: Path, raw: dict[str, Any]) -> dict[str, Any]:
    """The device model file: beside the profile, else in this directory."""
    name = str(raw.get("device_model", "device_model.toml"))
    own = path.parent / name
    return _read_toml(own if own.exists() else PROFILE_DIRECTORY / name)
