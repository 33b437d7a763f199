"""Personal values apart from the entries: references, and their replacement in OCPP payloads.

An entry holds a reference; the value is in a side table. The reference is a salted digest: once the
row with the salt is erased, the reference cannot be traced to a value, not even by trying every UID
a card can have.
"""

from __future__ import annotations

from collections.abc import Callable
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
    """An OCPP payload, or a part, with references in place of personal values. Changed in place.

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
    """The inverse of `pseudonymize_payload`, in place. The reference of an erased value stays."""

    def restore(_: str, ref: str) -> str:
        value = value_of(ref) if ref.startswith("#") else None
        return ref if value is None else value

    return _replace_values(payload, restore)


def _replace_values(payload: Any, change: Callable[[str, str], str]) -> Any:
    """The payload itself, with its personal values changed.

    A peer chooses the parts, up to a hundred thousand small ones in a frame: nothing is copied, and
    a part costs no call.
    """
    parts = [payload]
    for part in parts:  # it grows while it is read
        kind = type(part)
        if kind is dict:
            if part:
                parts += part.values()
            if not _MARKING_KEYS.isdisjoint(part):
                _replace_own_values(part, change)
        elif kind is list:
            parts += part
    return payload


def _replace_own_values(part: dict[str, Any], change: Callable[[str, str], str]) -> None:
    keys = [(CUSTOMER_IDENTIFIER, CUSTOMER_IDENTIFIER)]
    type = part.get("type")
    if isinstance(type, str):
        keys += [("idToken", type), ("additionalIdToken", type)]
    if part.keys() >= _NOTIFY_CUSTOMER_INFORMATION:
        keys.append(("data", CUSTOMER_DATA))
    for key, type_of_value in keys:
        value = part.get(key)
        if isinstance(value, str) and value:
            part[key] = change(type_of_value, value)


# Every text with a personal value contains one of these: a key, or an escape that can spell one.
_PERSONAL_MARKERS = ("dToken", "customerIdentifier", '"data"', "\\u")

# Every object with a personal value has one of these keys.
_MARKING_KEYS = frozenset({"idToken", "additionalIdToken", "customerIdentifier", "generatedAt"})

# The required fields of a NotifyCustomerInformationRequest; no other message has them all.
_NOTIFY_CUSTOMER_INFORMATION = {"data", "seqNo", "generatedAt", "requestId"}
