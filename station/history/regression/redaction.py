"""Redaction of journal entries for fault analysis by others.

Everything that identifies a person, a station, a place or a key is replaced by an alias of its
kind. Equal texts get equal aliases everywhere, so comparisons give the same results as before.

Replaced are

* references of idTokens and of secrets, URLs, hosts, e-mail, IP and MAC addresses, certificates;
* the text under a key of `ALIAS_BY_KEY`, and the value of a variable of `ALIAS_BY_VARIABLE`;
* in observations, all text below a key of `FREE_TEXT_KEYS`.

OCPP's names, numbers and statuses stay, and so do times, readings, transactionIds and messageIds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

# key, without case and underscores -> kind of the alias for its text
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

# variable, without case -> kind of the alias for its value
ALIAS_BY_VARIABLE: Final = {
    "iccid": "sim",
    "identity": "identity",
    "imsi": "sim",
    "masterpassgroupid": "group",
    "organizationname": "organization",
    "seccid": "identity",
    "serialnumber": "serial",
}

# Keys under which other systems send free text.
FREE_TEXT_KEYS: Final = frozenset({
    "additionalinfo", "content", "csr", "customdata", "data", "excerpt", "exirequest",
    "personalmessage", "signature", "vendorid",
})  # fmt: skip

# Fields of decisions with codes of this program, which can be equal to the name of a host: `csms`.
CODE_KEYS: Final = frozenset({"because"})

NAME_LENGTH_MIN: Final = 4  # characters of a name that is replaced in other texts too
TEXT_LENGTH_MIN: Final = 12  # the same for free text

_PEM: Final = re.compile(r"-----BEGIN .*?-----END [A-Z ]+-----\s*", re.DOTALL)
_SECRET: Final = re.compile(r"<secret [0-9a-f]{32}>")
_URL: Final = re.compile(r"\b([a-z][a-z0-9+.-]*)://[^\s\"'<>]+", re.IGNORECASE)
# `EVSE@1.Power` is a variable of the device model.
_EMAIL: Final = re.compile(r"[\w.+-]+@(?!\d{1,3}\.[A-Z])[\w-]+(?:\.[\w-]+)+")
_IPV4: Final = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")
_COLON_ADDRESS: Final = re.compile(r"(?<![\w:])(?:[0-9a-fA-F]{0,4}:){3,7}[0-9a-fA-F]{0,4}(?![\w:])")
_TOKEN: Final = re.compile(r"#[0-9a-f]{16}(?!\w)")

# Names of struct fields; OCPP's keys are in camel case. They are never replaced: the name of a host
# can be a part of a field, as `csms` in `requested_by_csms`.
_FIELD_NAME: Final = re.compile(r"[a-z]+(?:_[a-z0-9]+)+")

_decode_json = msgspec.json.Decoder(float_hook=Decimal).decode
_encode_json = msgspec.json.Encoder(decimal_format="number").encode


class _KeyedText(NamedTuple):
    """A text in a document and the kind that its key gives it."""

    text: str
    kind: str = ""  # of the alias; empty: only patterns and names within the text are replaced


class Redactor:
    """Replaces texts by aliases. First call `learn_names` for all documents, then redact them."""

    def __init__(self) -> None:
        self._numbers_by_kind: dict[str, dict[str, int]] = {}  # kind -> text -> number
        self._alias_by_name: dict[str, str] = {}  # names that are replaced within other texts
        self._name_pattern = re.compile(r"(?!)")
        self._pattern_replacements: tuple[
            tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...
        ] = (
            (_PEM, lambda match: self._make_alias("certificate", match[0])),
            (_SECRET, lambda match: f"<secret {self._number_of('secret', match[0]):032x}>"),
            (_URL, lambda match: f"{match[1]}://{self._host_alias(_parse_host(match[0]))}"),
            (_EMAIL, lambda match: self._make_alias("mail", match[0])),
            (_IPV4, lambda match: self._make_alias("address", match[0])),
            (_COLON_ADDRESS, lambda match: self._make_alias("address", match[0])),
            (_TOKEN, lambda match: f"#{self._number_of('idToken', match[0]):016x}"),
        )

    def learn_names(self, json: str, *, is_observation: bool = False) -> None:
        """Collect the names in a document.

        Args:
            is_observation: the document can contain free text of other systems.
        """
        for text, kind in _collect_texts(_decode_json(json), is_observation):
            if kind and len(text) >= (TEXT_LENGTH_MIN if kind == "text" else NAME_LENGTH_MIN):
                self._alias_by_name.setdefault(text, self._make_alias(kind, text))
            for match in _URL.finditer(text):
                host = _parse_host(match[0])
                if len(host) >= NAME_LENGTH_MIN:
                    self._alias_by_name.setdefault(host, self._host_alias(host))

    def redact_document(self, json: str, *, is_observation: bool = False) -> str:
        """The document with aliases; its numbers keep their trailing zeros."""
        names = "|".join(
            re.escape(name) for name in sorted(self._alias_by_name, key=len, reverse=True)
        )
        self._name_pattern = re.compile(rf"(?<![^\W_])(?:{names or '(?!)'})(?![^\W_])")
        return _encode_json(
            _map_texts(_decode_json(json), self._redact_text, is_observation)
        ).decode()

    def _redact_text(self, text: str, kind: str) -> str:
        if kind and not _PEM.match(text) and not _TOKEN.fullmatch(text):
            return self._make_alias(kind, text)
        for pattern, replacement in self._pattern_replacements:
            text = pattern.sub(replacement, text)
        return self._name_pattern.sub(lambda match: self._alias_by_name[match[0]], text)

    def _host_alias(self, host: str) -> str:
        return f"{self._make_alias('host', host)}.invalid"

    def _make_alias(self, kind: str, text: str) -> str:
        return f"{kind}-{self._number_of(kind, text)}"

    def _number_of(self, kind: str, text: str) -> int:
        """Number of a text within its kind, from 1."""
        numbers = self._numbers_by_kind.setdefault(kind, {})
        return numbers.setdefault(text, len(numbers) + 1)


def _parse_host(url: str) -> str:
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return url


# --- Documents -----------------------------------------------------------------------------------


def _collect_texts(document: Any, is_observation: bool) -> Iterator[_KeyedText]:
    texts: list[_KeyedText] = []

    def collect_text(text: str, kind: str) -> str:
        texts.append(_KeyedText(text, kind))
        return text

    _map_texts(document, collect_text, is_observation)
    yield from texts


def _map_texts(
    node: Any,
    replace: Callable[[str, str], str],
    is_observation: bool,
    kind: str = "",
    variable: str = "",
) -> Any:
    """The document with `replace(text, kind)` in place of every text and every key."""
    if isinstance(node, dict):
        variable = _find_variable(node) or variable
        return {
            _map_key(name, replace, kind): value
            if name in CODE_KEYS and not is_observation
            else _map_texts(
                value,
                replace,
                is_observation,
                _alias_kind(name, variable, is_observation) or kind,
                variable,
            )
            for name, value in node.items()
        }
    if isinstance(node, list):
        return [_map_texts(item, replace, is_observation, kind, variable) for item in node]
    return replace(node, kind) if isinstance(node, str) and node else node


def _map_key(key: str, replace: Callable[[str, str], str], kind: str) -> str:
    return key if not kind and _FIELD_NAME.fullmatch(key) else replace(key, "")


def _find_variable(node: dict[str, Any]) -> str:
    """The variable of an object: an OCPP VariableType, or a path `Component.Variable`."""
    match node:
        case {"variable": {"name": str(name)}} | {"key": str(name), "value": str()}:
            return name
        case _:
            return ""


def _alias_kind(key: str, variable: str, is_observation: bool) -> str:
    """Kind of the alias for a text under this key; empty: the key gives none."""
    if key in ("attributeValue", "value", "eventData") or "." in key:
        path = key if "." in key else variable
        return ALIAS_BY_VARIABLE.get(_fold_key(path.partition("[")[0].rpartition(".")[2]), "")
    folded = _fold_key(key)
    return ALIAS_BY_KEY.get(folded) or (
        "text" if is_observation and folded in FREE_TEXT_KEYS else ""
    )


def _fold_key(key: str) -> str:
    return key.replace("_", "").casefold()
