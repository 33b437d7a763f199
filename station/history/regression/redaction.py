"""What of a journal may somebody see who only has to look for a fault?

Whatever names a person, a station, a place or a key is replaced by a made-up name of its kind. The
same stands for the same everywhere, so that whatever is compared compares as before.

Replaced are: references of idTokens and of secrets; URLs, hosts, e-mail, IP and MAC addresses;
certificates; the text under a key of `NAMES`, the value of a variable of `VARIABLES`, and in what
was heard all text below a key of `FREE_TEXT_KEYS`. Names, numbers and statuses of OCPP stay, and so do
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
ALIAS_BY_KEY: Final = {
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
ALIAS_BY_VARIABLE: Final = {
    "iccid": "sim",
    "identity": "identity",
    "imsi": "sim",
    "masterpassgroupid": "group",
    "organizationname": "organization",
    "seccid": "identity",
    "serialnumber": "serial",
}

# Whoever fills these says what he likes.
FREE_TEXT_KEYS: Final = frozenset({
    "additionalinfo", "content", "csr", "customdata", "data", "excerpt", "exirequest",
    "personalmessage", "signature", "vendorid",
})  # fmt: skip

NAME_LENGTH_MIN: Final = 4  # characters of a name that is looked for in other texts too
TEXT_LENGTH_MIN: Final = 12  # the same of a text

_PEM: Final = re.compile(r"-----BEGIN .*?-----END [A-Z ]+-----\s*", re.DOTALL)
_SECRET: Final = re.compile(r"<secret [0-9a-f]{32}>")
_URL: Final = re.compile(r"\b([a-z][a-z0-9+.-]*)://[^\s\"'<>]+", re.IGNORECASE)
_EMAIL: Final = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_IPV4: Final = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")
_COLON_ADDRESS: Final = re.compile(r"(?<![\w:])(?:[0-9a-fA-F]{0,4}:){3,7}[0-9a-fA-F]{0,4}(?![\w:])")
_TOKEN: Final = re.compile(r"#[0-9a-f]{16}(?!\w)")

_decode_json = msgspec.json.Decoder(float_hook=Decimal).decode
_encode_json = msgspec.json.Encoder(decimal_format="number").encode


class _KeyedText(NamedTuple):
    """A text in a document, and what its place says of it."""

    text: str
    kind: str = ""  # what it is called instead; empty: only what is in it


class Redactor:
    """Made-up names for everything it has met. First `learn` all documents, then have them told."""

    def __init__(self) -> None:
        self._numbers_by_kind: dict[str, dict[str, int]] = {}  # kind -> text -> number
        self._alias_by_name: dict[str, str] = {}  # what is looked for within other texts
        self._name_pattern = re.compile(r"(?!)")
        self._pattern_replacements: tuple[
            tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...
        ] = (
            (_PEM, lambda found: self._make_alias("certificate", found[0])),
            (_SECRET, lambda found: f"<secret {self._number_of('secret', found[0]):032x}>"),
            (_URL, lambda found: f"{found[1]}://{self._host_alias(_parse_host(found[0]))}"),
            (_EMAIL, lambda found: self._make_alias("mail", found[0])),
            (_IPV4, lambda found: self._make_alias("address", found[0])),
            (_COLON_ADDRESS, lambda found: self._make_alias("address", found[0])),
            (_TOKEN, lambda found: f"#{self._number_of('idToken', found[0]):016x}"),
        )

    def learn_names(self, json: str, *, is_observation: bool = False) -> None:
        """Take note of the names in a document; `heard`: others wrote it."""
        for text, kind in _collect_texts(_decode_json(json), is_observation):
            if kind and len(text) >= (TEXT_LENGTH_MIN if kind == "text" else NAME_LENGTH_MIN):
                self._alias_by_name.setdefault(text, self._make_alias(kind, text))
            for found in _URL.finditer(text):
                host = _parse_host(found[0])
                if len(host) >= NAME_LENGTH_MIN:
                    self._alias_by_name.setdefault(host, self._host_alias(host))

    def redact_document(self, json: str, *, is_observation: bool = False) -> str:
        """The document without what must not be told; its numbers keep their zeros."""
        either = "|".join(
            re.escape(one) for one in sorted(self._alias_by_name, key=len, reverse=True)
        )
        self._name_pattern = re.compile(rf"(?<![^\W_])(?:{either or '(?!)'})(?![^\W_])")
        return _encode_json(
            _map_texts(_decode_json(json), self._redact_text, is_observation)
        ).decode()

    def _redact_text(self, text: str, kind: str) -> str:
        if kind and not _PEM.match(text) and not _TOKEN.fullmatch(text):
            return self._make_alias(kind, text)
        for pattern, instead in self._pattern_replacements:
            text = pattern.sub(instead, text)
        return self._name_pattern.sub(lambda found: self._alias_by_name[found[0]], text)

    def _host_alias(self, host: str) -> str:
        return f"{self._make_alias('host', host)}.invalid"

    def _make_alias(self, kind: str, text: str) -> str:
        return f"{kind}-{self._number_of(kind, text)}"

    def _number_of(self, kind: str, text: str) -> int:
        """1 for the first of its kind, and so on."""
        numbers = self._numbers_by_kind.setdefault(kind, {})
        return numbers.setdefault(text, len(numbers) + 1)


def _parse_host(url: str) -> str:
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return url


# --- Documents -----------------------------------------------------------------------------------


def _collect_texts(document: Any, is_observation: bool) -> Iterator[_KeyedText]:
    found: list[_KeyedText] = []

    def note(text: str, kind: str) -> str:
        found.append(_KeyedText(text, kind))
        return text

    _map_texts(document, note, is_observation)
    yield from found


def _map_texts(
    node: Any,
    replace: Callable[[str, str], str],
    is_observation: bool,
    kind: str = "",
    variable: str = "",
) -> Any:
    """The document with `change(text, kind)` in place of every text and of every key."""
    if isinstance(node, dict):
        variable = _find_variable(node) or variable
        return {
            replace(name, ""): _map_texts(
                value,
                replace,
                is_observation,
                _alias_kind(name, variable, is_observation) or kind,
                variable,
            )
            for name, value in node.items()
        }
    if isinstance(node, list):
        return [_map_texts(one, replace, is_observation, kind, variable) for one in node]
    return replace(node, kind) if isinstance(node, str) and node else node


def _find_variable(node: dict[str, Any]) -> str:
    """The variable that an object is about: an OCPP VariableType, or a path of ours."""
    match node:
        case {"variable": {"name": str(name)}} | {"key": str(name), "value": str()}:
            return name
        case _:
            return ""


def _alias_kind(key: str, variable: str, is_observation: bool) -> str:
    """What a text under this key is called instead; empty: nothing by its key."""
    if key in ("attributeValue", "value", "eventData") or "." in key:
        path = key if "." in key else variable
        return ALIAS_BY_VARIABLE.get(_fold_key(path.partition("[")[0].rpartition(".")[2]), "")
    folded = _fold_key(key)
    return ALIAS_BY_KEY.get(folded) or (
        "text" if is_observation and folded in FREE_TEXT_KEYS else ""
    )


def _fold_key(key: str) -> str:
    return key.replace("_", "").casefold()
