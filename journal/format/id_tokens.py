"""How does a person stay out of the entries?

An entry holds a reference; the value lies in a side table. The reference is a salted digest:
once the row with the salt is erased, nobody can tell whose it was, not even by trying every
UID a card can have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from journal.events import IdToken

SALT_BYTES = 16
_REF_HEX = 16

CUSTOMER_IDENTIFIER = "customerIdentifier"  # not an IdTokenEnumType, hence the small letter
CUSTOMER_DATA = "customerData"

# Values of these types are kept to the letter. IdTokens are identifierStrings: case does not
# count (Part 2 §2.1), so two spellings of one are one person.
_CASE_SENSITIVE_TYPES = frozenset({CUSTOMER_IDENTIFIER, CUSTOMER_DATA})

ReferenceFor = Callable[[str, str], IdToken]  # (type, value) -> reference
ValueOf = Callable[[str], str | None]  # reference -> value, None if erased


class TokenRow(NamedTuple):
    """A personal value as it lies in the side table."""

    ref: str  # "#" and 16 hex digits
    type: str
    value: str  # as it was first shown
    folded: str
    salt: bytes


def fold_case(type: str, value: str) -> str:
    """The value without case, where case does not count."""
    return value if type in _CASE_SENSITIVE_TYPES else value.casefold()


def derive_reference(type: str, value: str, salt: bytes) -> str:
    """The reference: "#" and the first 16 hex digits of SHA-256 over salt, type and value.

    Two spellings of one IdToken share a reference because the table is asked for the folded
    value first. "#" is no character of an identifierString: no IdToken looks like a reference.
    """
    digest = sha256(salt + f"{type}\n{value}".encode()).hexdigest()
    return f"#{digest[:_REF_HEX]}"


def make_token_row(type: str, value: str, salt: bytes) -> TokenRow:
    """The row that keeps `value` apart."""
    return TokenRow(derive_reference(type, value, salt), type, value, fold_case(type, value), salt)


def pseudonymize_payload(payload: Any, reference_for: ReferenceFor) -> Any:
    """The OCPP payload (or any part of one) with every personal value replaced by its reference.

    Personal are: the `idToken` of every IdTokenType and `additionalIdToken` of every
    AdditionalInfoType, wherever they stand; `customerIdentifier` of a CustomerInformationRequest;
    `data` of a NotifyCustomerInformationRequest. An empty value is nobody's (NoAuthorization)
    and stays. The payload itself is not changed.
    """
    return _replace_values(payload, lambda type, value: reference_for(type, value).ref)


def has_no_personal_value(text: str) -> bool:
    """Whether this JSON surely holds nothing personal: `apart` would give it back as it is.

    A glance at the text, a hundred times as fast as a walk through a long payload.
    """
    return not any(trace in text for trace in _PERSONAL_MARKERS)


def restore_payload(payload: Any, value_of: ValueOf) -> Any:
    """`apart` backwards. The reference of an erased person stays where it is."""

    def value(_: str, ref: str) -> str:
        known = value_of(ref) if ref.startswith("#") else None
        return ref if known is None else known

    return _replace_values(payload, value)


def _replace_values(part: Any, change: Callable[[str, str], str]) -> Any:
    if isinstance(part, str):  # as most parts
        return part
    if isinstance(part, dict):
        walked = {key: _replace_values(value, change) for key, value in part.items()}
        for key, type in _personal_keys(part).items():
            value = part.get(key)
            if isinstance(value, str) and value:
                walked[key] = change(type, value)
        return walked
    if isinstance(part, list | tuple):
        return [_replace_values(item, change) for item in part]
    return part


def _personal_keys(part: Mapping[str, Any]) -> Mapping[str, str]:
    """Which keys of this object are personal, and the type under which each is kept."""
    kinds = _ALWAYS_PERSONAL
    type = part.get("type")
    if isinstance(type, str):
        kinds = {**kinds, "idToken": type, "additionalIdToken": type}
    if part.keys() >= _NOTIFY_CUSTOMER_INFORMATION:
        kinds = {**kinds, "data": CUSTOMER_DATA}
    return kinds


# What every text with a personal value holds: a key, or an escape by which one can be spelled.
_PERSONAL_MARKERS = ("dToken", "customerIdentifier", '"data"', "\\u")

_ALWAYS_PERSONAL = {"customerIdentifier": CUSTOMER_IDENTIFIER}

# The required fields of a NotifyCustomerInformationRequest; no other message has them all.
_NOTIFY_CUSTOMER_INFORMATION = {"data", "seqNo", "generatedAt", "requestId"}
