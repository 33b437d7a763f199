"""How is a validation of a test case written, and what does a failed one say?

`verify("step 3", payload, {"evse.id": 1, "idToken": OMITTED, "reason": one_of("A", "B")})`.
A path names a field, `meterValue[0].sampledValue[0].context` one of a list. What is expected is a
value, or one of the expectations below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Payload = dict[str, Any]

_INDEX = re.compile(r"\[(\d+)\]")
_TEXT_CHARACTERS_MAX = 300


class CheckFailed(AssertionError):
    """A validation did not hold: which step, which field, what it was and what it had to be."""


class _OmittedField:
    def __repr__(self) -> str:
        return "omitted"


OMITTED = _OmittedField()  # expected: no such field; found: there is none


@dataclass(frozen=True)
class Expectation:
    """Something a field must be, in words for the message and as a test."""

    description: str
    predicate: Callable[[Any], bool]

    def __repr__(self) -> str:
        return self.description


PRESENT = Expectation("present", lambda value: value is not OMITTED)
NOT_EMPTY = Expectation("not empty", lambda value: value is not OMITTED and bool(value))
NO_ERROR_INFO = Expectation(  # of attributeStatusInfo and statusInfo
    "omitted or with reasonCode NoError",
    lambda info: info is OMITTED or info.get("reasonCode") == "NoError",
)


def one_of(*allowed: Any) -> Expectation:
    """One of these; OMITTED among them allows the field to be left out."""
    words = " or ".join(map(repr, allowed))
    return Expectation(words, lambda value: any(_values_equal(each, value) for each in allowed))


def not_in(*forbidden: Any) -> Expectation:
    words = "not " + " nor ".join(map(repr, forbidden))
    return Expectation(
        words, lambda value: not any(_values_equal(each, value) for each in forbidden)
    )


def field_at(payload: Any, path: str) -> Any:
    """What stands at a path; OMITTED where nothing does."""
    found = payload
    for name in _INDEX.sub(r".\1", path).split("."):
        if isinstance(found, list) and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            return OMITTED
    return found


def matches_fields(payload: Any, expected: Mapping[str, Any]) -> bool:
    """Whether every field is as expected."""
    return all(
        _meets_expectation(wanted, field_at(payload, path)) for path, wanted in expected.items()
    )


def check_fields(step: str, payload: Any, expected: Mapping[str, Any]) -> None:
    """Check every field.

    Raises:
        Failure: the first that is not as expected, named by step and path.
    """
    for path, wanted in expected.items():
        found = field_at(payload, path)
        if not _meets_expectation(wanted, found):
            raise CheckFailed(f"{step}: {path} must be {wanted!r}, is {_short_repr(found)}")


def require(step: str, condition: object, description: str) -> None:
    """Check something no single field says. `words` tells what had to be."""
    if not condition:
        raise CheckFailed(f"{step}: {description}")


def _meets_expectation(expected: Any, actual: Any) -> bool:
    return (
        expected.predicate(actual)
        if isinstance(expected, Expectation)
        else _values_equal(expected, actual)
    )


def _values_equal(expected: Any, actual: Any) -> bool:
    return expected is actual or (
        expected is not OMITTED
        and actual is not OMITTED
        and isinstance(expected, bool) is isinstance(actual, bool)
        and bool(expected == actual)
    )


def _short_repr(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _TEXT_CHARACTERS_MAX else text[:_TEXT_CHARACTERS_MAX] + "…"
