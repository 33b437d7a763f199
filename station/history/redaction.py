"""What of a journal may somebody see who only has to look for a fault?

Whatever names a person, a station, a place or a key is replaced by a made-up name of its kind. The
same stands for the same everywhere, so that whatever is compared compares as before.

Replaced are: references of idTokens and of secrets; URLs, hosts, e-mail, IP and MAC addresses;
certificates; the text under a key of `NAMES`, the value of a variable of `VARIABLES`, and in what
was heard all text below a key of `OPAQUE`. Names, numbers and statuses of OCPP stay, and so do
times, readings, transactionIds and messageIds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

# key, without case and underscores -> what its text is called instead
NAMES: Final = {
    "apn": "apn",
    "apnusername": "user",
    "bootid": "boot",
    "emaid": "contract",
    "evccid": "ev",
    "iccid": "sim",
    "identity": "identity",
    "imsi": "sim",
    "issuer": "issuer",
    "issuerkeyhash": "hash",
    "issuernamehash": "hash",
    "serialnumber": "serial",
    "sha256": "fingerprint",
    "subject": "subject",
    "user": "user",
    "vin": "vehicle",
}

# variable, without case -> what its value is called instead
VARIABLES: Final = {
    "iccid": "sim",
    "identity": "identity",
    "imsi": "sim",
    "masterpassgroupid": "group",
    "organizationname": "organization",
    "seccid": "identity",
    "serialnumber": "serial",
}

# Whoever fills these says what he likes.
OPAQUE: Final = frozenset({
    "additionalinfo", "content", "csr", "customdata", "data", "excerpt", "exirequest",
    "personalmessage", "signature", "vendorid",
})  # fmt: skip

KNOWN_MIN: Final = 4  # characters of a name that is looked for in other texts too
TEXT_MIN: Final = 12  # the same of a text

_PEM: Final = re.compile(r"-----BEGIN .*?-----END [A-Z ]+-----\s*", re.DOTALL)
_SECRET: Final = re.compile(r"<secret [0-9a-f]{32}>")
_URL: Final = re.compile(r"\b([a-z][a-z0-9+.-]*)://[^\s\"'<>]+", re.IGNORECASE)
_MAIL: Final = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_IP4: Final = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")
_COLONS: Final = re.compile(r"(?<![\w:])(?:[0-9a-fA-F]{0,4}:){3,7}[0-9a-fA-F]{0,4}(?![\w:])")
_TOKEN: Final = re.compile(r"#[0-9a-f]{16}(?!\w)")

_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


class _Text(NamedTuple):
    """A text in a document, and what its place says of it."""

    text: str
    kind: str = ""  # what it is called instead; empty: only what is in it


class Redaction:
    """Made-up names for everything it has met. First `learn` all documents, then have them told."""

    def __init__(self) -> None:
        self._numbers: dict[str, dict[str, int]] = {}  # kind -> text -> number
        self._known: dict[str, str] = {}  # what is looked for within other texts
        self._known_pattern = re.compile(r"(?!)")
        self._patterns: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
            (_PEM, lambda found: self._name("certificate", found[0])),
            (_SECRET, lambda found: f"<secret {self._number('secret', found[0]):032x}>"),
            (_URL, lambda found: f"{found[1]}://{self._host(_host_of(found[0]))}"),
            (_MAIL, lambda found: self._name("mail", found[0])),
            (_IP4, lambda found: self._name("address", found[0])),
            (_COLONS, lambda found: self._name("address", found[0])),
            (_TOKEN, lambda found: f"#{self._number('idToken', found[0]):016x}"),
        )

    def learn(self, json: str, *, heard: bool = False) -> None:
        """Take note of the names in a document; `heard`: others wrote it."""
        for text, kind in _texts(_decode(json), heard):
            if kind and len(text) >= (TEXT_MIN if kind == "text" else KNOWN_MIN):
                self._known.setdefault(text, self._name(kind, text))
            for found in _URL.finditer(text):
                host = _host_of(found[0])
                if len(host) >= KNOWN_MIN:
                    self._known.setdefault(host, self._host(host))

    def told(self, json: str, *, heard: bool = False) -> str:
        """The document without what must not be told; its numbers keep their zeros."""
        either = "|".join(re.escape(one) for one in sorted(self._known, key=len, reverse=True))
        self._known_pattern = re.compile(rf"(?<![^\W_])(?:{either or '(?!)'})(?![^\W_])")
        return _encode(_changed(_decode(json), self._instead, heard)).decode()

    def _instead(self, text: str, kind: str) -> str:
        if kind and not _PEM.match(text) and not _TOKEN.fullmatch(text):
            return self._name(kind, text)
        for pattern, instead in self._patterns:
            text = pattern.sub(instead, text)
        return self._known_pattern.sub(lambda found: self._known[found[0]], text)

    def _host(self, host: str) -> str:
        return f"{self._name('host', host)}.invalid"

    def _name(self, kind: str, text: str) -> str:
        return f"{kind}-{self._number(kind, text)}"

    def _number(self, kind: str, text: str) -> int:
        """1 for the first of its kind, and so on."""
        numbers = self._numbers.setdefault(kind, {})
        return numbers.setdefault(text, len(numbers) + 1)


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return url


# --- Documents -----------------------------------------------------------------------------------


def _texts(document: Any, heard: bool) -> Iterator[_Text]:
    found: list[_Text] = []

    def note(text: str, kind: str) -> str:
        found.append(_Text(text, kind))
        return text

    _changed(document, note, heard)
    yield from found


def _changed(
    part: Any, change: Callable[[str, str], str], heard: bool, kind: str = "", variable: str = ""
) -> Any:
    """The document with `change(text, kind)` in place of every text and of every key."""
    if isinstance(part, dict):
        variable = _variable_of(part) or variable
        return {
            change(name, ""): _changed(
                value, change, heard, _kind(name, variable, heard) or kind, variable
            )
            for name, value in part.items()
        }
    if isinstance(part, list):
        return [_changed(one, change, heard, kind, variable) for one in part]
    return change(part, kind) if isinstance(part, str) and part else part


def _variable_of(part: dict[str, Any]) -> str:
    """The variable that an object is about: an OCPP VariableType, or a path of ours."""
    match part:
        case {"variable": {"name": str(name)}} | {"key": str(name), "value": str()}:
            return name
        case _:
            return ""


def _kind(name: str, variable: str, heard: bool) -> str:
    """What a text under this key is called instead; empty: nothing by its key."""
    if name in ("attributeValue", "value", "eventData") or "." in name:
        path = name if "." in name else variable
        return VARIABLES.get(_folded(path.partition("[")[0].rpartition(".")[2]), "")
    folded = _folded(name)
    return NAMES.get(folded) or ("text" if heard and folded in OPAQUE else "")


def _folded(name: str) -> str:
    return name.replace("_", "").casefold()
