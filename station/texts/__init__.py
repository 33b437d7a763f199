"""The texts of the display, one TOML file for each language, read when this module is imported.

`TEXTS[language][key]` has one flat table for each language; a key is the path in the file, such as
`evse.charging.headline`. `en` is the reference: a test requires the same keys and fields in every
other file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

LANGUAGES: Final = ("en", "de", "fr", "es")  # RFC 5646 primary subtags; the first is the fallback


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _read_language(language: str) -> dict[str, str]:
    path = Path(__file__).with_name(f"{language}.toml")
    return dict(_flatten(tomllib.loads(path.read_text(encoding="utf-8"))))


TEXTS: Final[Mapping[str, Mapping[str, str]]] = {
    language: _read_language(language) for language in LANGUAGES
}


def find_language(tag: str | None) -> str | None:
    """The language of an RFC 5646 tag such as `de-CH`, if there are texts in it."""
    primary = (tag or "").partition("-")[0].lower()
    return primary if primary in TEXTS else None
