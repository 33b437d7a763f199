"""Checks of message fields, as the validations of test cases are written.

    check_fields("step 3", payload, {"evse.id": 1, "idToken": OMITTED, "reason": one_of("A", "B")})

A path names a field, `meterValue[0].sampledValue[0].context` one in a list. The expected value is
a literal or one of the expectations below. `True` and `1` are different values. A failed check
raises `CheckFailed` with the step, the path, the expected and the actual value.
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
    """A validation failed: step, field, expected and actual value."""


class _OmittedField:
    def __repr__(self) -> str:
        return "omitted"


OMITTED = _OmittedField()  # as expectation: no such field; as value: there is none


@dataclass(frozen=True)
class Expectation:
    """A condition on a field's value, with its description for the failure message."""

    description: str
    predicate: Callable[[Any], bool]

    def __repr__(self) -> str:
        return self.description


PRESENT = Expectation("present", lambda value: value is not OMITTED)
NOT_EMPTY = Expectation("not empty", lambda value: value is not OMITTED and bool(value))
NO_ERROR_INFO = Expectation(  # for attributeStatusInfo and statusInfo
    "omitted or with reasonCode NoError",
    lambda info: info is OMITTED or info.get("reasonCode") == "NoError",
)


def one_of(*allowed: Any) -> Expectation:
    """One of these values; OMITTED among them allows the field to be absent."""
    description = " or ".join(map(repr, allowed))
    return Expectation(
        description,
        lambda value: any(_values_equal(allowed_value, value) for allowed_value in allowed),
    )


def not_in(*forbidden: Any) -> Expectation:
    description = "not " + " nor ".join(map(repr, forbidden))
    return Expectation(
        description,
        lambda value: (
            not any(_values_equal(forbidden_value, value) for forbidden_value in forbidden)
        ),
    )


def field_at(payload: Any, path: str) -> Any:
    """The value at a path; OMITTED if there is none."""
    node = payload
    for name in _INDEX.sub(r".\1", path).split("."):
        if isinstance(node, list) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        elif isinstance(node, dict) and name in node:
            node = node[name]
        else:
            return OMITTED
    return node


def matches_fields(payload: Any, expected: Mapping[str, Any]) -> bool:
    """Whether every field is as expected."""
    return all(
        _meets_expectation(expectation, field_at(payload, path))
        for path, expectation in expected.items()
    )


def check_fields(step: str, payload: Any, expected: Mapping[str, Any]) -> None:
    """Check every field.

    Raises:
        CheckFailed: for the first field that is not as expected, with step and path.
    """
    for path, expectation in expected.items():
        actual = field_at(payload, path)
        if not _meets_expectation(expectation, actual):
            raise CheckFailed(f"{step}: {path} must be {expectation!r}, is {_short_repr(actual)}")


def require(step: str, condition: object, description: str) -> None:
    """Check a condition on more than one field. `description`: what must hold."""
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
