"""Personal values apart from the entries: references, and their replacement in OCPP payloads.

An entry holds a reference; the value is in a side table. The reference is a salted digest: once the
row with the salt is erased, the reference cannot be traced to a value, not even by trying every UID
a card can have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple

from journal.events import IdToken

SALT_BYTES = 16
_REF_HEX = 16

CUSTOMER_IDENTIFIER = "customerIdentifier"  # not an IdTokenEnumType, hence the lower case
CUSTOMER_DATA = "customerData"

# Values of these types are compared exactly. IdTokens are identifierStrings: case does not count
# (Part 2 §2.1), so two spellings of a value are the same token.
_CASE_SENSITIVE_TYPES = frozenset({CUSTOMER_IDENTIFIER, CUSTOMER_DATA})

ReferenceFor = Callable[[str, str], IdToken]  # (type, value) -> reference
ValueOf = Callable[[str], str | None]  # reference -> value, None if erased


class TokenRow(NamedTuple):
    """A row of the side table `id_token`."""

    ref: str  # "#" and 16 hex digits
    type: str
    value: str  # as it was presented first
    folded: str  # without case, where case does not count
    salt: bytes  # SALT_BYTES random bytes


def fold_case(type: str, value: str) -> str:
    """The value as it is compared: without case, where case does not count."""
    return value if type in _CASE_SENSITIVE_TYPES else value.casefold()


def derive_reference(type: str, value: str, salt: bytes) -> str:
    """The reference: "#" and the first 16 hex digits of SHA-256 over salt, type and value.

    Two spellings of an IdToken share a reference because the table is searched for the folded
    value first. "#" is no character of an identifierString: no IdToken looks like a reference.
    """
    digest = sha256(salt + f"{type}\n{value}".encode()).hexdigest()
    return f"#{digest[:_REF_HEX]}"


def make_token_row(type: str, value: str, salt: bytes) -> TokenRow:
    """The side table's row for a value."""
    return TokenRow(derive_reference(type, value, salt), type, value, fold_case(type, value), salt)


def pseudonymize_payload(payload: Any, reference_for: ReferenceFor) -> Any:
    """A copy of an OCPP payload, or of a part, with references in place of personal values.

    Personal are: the `idToken` of every IdTokenType and `additionalIdToken` of every
    AdditionalInfoType, at any depth; `customerIdentifier` of a CustomerInformationRequest; `data`
    of a NotifyCustomerInformationRequest. An empty value (NoAuthorization) stays.
    """
    return _replace_values(payload, lambda type, value: reference_for(type, value).ref)


def has_no_personal_value(text: str) -> bool:
    """Whether `pseudonymize_payload` would certainly leave this JSON unchanged.

    A search of the text, a hundred times as fast as a walk through a long payload.
    """
    return not any(trace in text for trace in _PERSONAL_MARKERS)


def restore_payload(payload: Any, value_of: ValueOf) -> Any:
    """The inverse of `pseudonymize_payload`. The reference of an erased value stays."""

    def restore(_: str, ref: str) -> str:
        value = value_of(ref) if ref.startswith("#") else None
        return ref if value is None else value

    return _replace_values(payload, restore)


def _replace_values(part: Any, change: Callable[[str, str], str]) -> Any:
    """The part with its personal values changed; a part without any is returned as it is.

    A peer chooses the parts, up to a hundred thousand small ones in a frame, so most of them are
    decided without a call.
    """
    if isinstance(part, dict):
        changed = {
            key: value if type(value) in _PLAIN or not value else _replace_values(value, change)
            for key, value in part.items()
        }
        if part.keys().isdisjoint(_MARKING_KEYS):
            return changed
        for key, type_ in _personal_keys(part).items():
            value = part.get(key)
            if isinstance(value, str) and value:
                changed[key] = change(type_, value)
        return changed
    if isinstance(part, list | tuple):
        return [
            item if type(item) in _PLAIN or not item else _replace_values(item, change)
            for item in part
        ]
    return part


def _personal_keys(part: Mapping[str, Any]) -> Mapping[str, str]:
    """The keys of this object with personal values, and the type of each value."""
    types = _ALWAYS_PERSONAL
    type = part.get("type")
    if isinstance(type, str):
        types = {**types, "idToken": type, "additionalIdToken": type}
    if part.keys() >= _NOTIFY_CUSTOMER_INFORMATION:
        types = {**types, "data": CUSTOMER_DATA}
    return types


# Every text with a personal value contains one of these: a key, or an escape that can spell one.
_PERSONAL_MARKERS = ("dToken", "customerIdentifier", '"data"', "\\u")

_PLAIN = frozenset({str, int, float, bool, Decimal, type(None)})
_MARKING_KEYS = frozenset({"type", "customerIdentifier", "data"})  # others are not personal alone

_ALWAYS_PERSONAL = {"customerIdentifier": CUSTOMER_IDENTIFIER}

# The required fields of a NotifyCustomerInformationRequest; no other message has them all.
_NOTIFY_CUSTOMER_INFORMATION = {"data", "seqNo", "generatedAt", "requestId"}
