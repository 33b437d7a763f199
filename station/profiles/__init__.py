"""What is this product, and what may it do?

A product profile is a TOML file: the certificate's answers, the hardware, the limits, the
factory defaults. `load` reads one by name (a file beside this one) or by path. A profile may
inherit another and say only what differs. README, "Product profiles", explains the keys.
"""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from station.profiles.checks import complaints
from station.profiles.profile import Catalogue, Profile, ProfileError
from station.tables import TableError, converted

__all__ = ["Profile", "ProfileError", "load", "names"]

HERE = Path(__file__).parent
INHERIT_MAX = 8  # a chain longer than this is a circle


def names() -> tuple[str, ...]:
    """The profiles that come with the program."""
    with_name = (path for path in HERE.glob("*.toml") if path.stem != "device_model")
    return tuple(sorted(path.stem for path in with_name))


def load(name_or_path: str | Path) -> Profile:
    """A product profile, complete: inherited, typed and checked.

    Args:
        name_or_path: `evs-flash-300`, or the path of a file ending in `.toml`.

    Raises:
        ProfileError: unreadable, not TOML, an unknown or missing key, a contradiction.
    """
    path = _found(name_or_path)
    raw = _inherited(path)
    catalogue = _catalogue(path, raw)
    try:
        profile = converted(raw, Profile)
        rows = converted(catalogue, Catalogue).component
    except TableError as error:
        raise ProfileError(f"{path.name}: {error}") from None
    for complaint in complaints(profile):
        raise ProfileError(f"{path.name}: {complaint}")
    return msgspec.structs.replace(profile, component=(*rows, *profile.component))


def _found(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.suffix == ".toml":
        return path
    inside = HERE / f"{path.name}.toml"
    if str(name_or_path) not in names():
        raise ProfileError(
            f"{name_or_path} is not a profile; there are {', '.join(names())}, or give the path"
            " of a .toml file"
        )
    return inside


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file, parse_float=Decimal)
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path.name}: is not TOML: {error}") from None


def _inherited(path: Path) -> dict[str, Any]:
    """The file with everything it inherits; lists are replaced whole, tables are merged."""
    chain = [_read(path)]
    while parent := chain[-1].pop("inherits", None):
        if len(chain) > INHERIT_MAX:
            raise ProfileError(f"{path.name}: inherits in a circle; take one `inherits` out")
        beside = path.parent / str(parent)
        chain.append(_read(beside if beside.suffix == ".toml" else _found(str(parent))))
    merged: dict[str, Any] = {}
    for raw in reversed(chain):
        merged.pop("certificate", None)  # a product is certified as it is, not by descent
        merged = _merged(merged, raw)
    return merged


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(under[key], over[key])
        for key in under.keys() & over.keys()
        if isinstance(under[key], dict) and isinstance(over[key], dict)
    }
    return under | over | both


def _catalogue(path: Path, raw: dict[str, Any]) -> dict[str, Any]:
    name = str(raw.get("device_model", "device_model.toml"))
    beside = path.parent / name
    return _read(beside if beside.exists() else HERE / name)
