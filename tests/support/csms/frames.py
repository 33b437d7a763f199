"""Frames on the WebSocket, and their check against OCPP 2.0.1."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from jsonschema import Draft4Validator, FormatChecker
from ocpp.messages import get_validator

CALL, CALLRESULT, CALLERROR = 2, 3, 4

MESSAGE_ID_CHARACTERS_MAX = 36  # Part 4 §4.1.4
ERROR_DESCRIPTION_CHARACTERS_MAX = 255  # Part 4 §4.2.3
ERROR_CODES = {  # Part 4 §4.3
    "FormatViolation",
    "GenericError",
    "InternalError",
    "MessageTypeNotSupported",
    "NotImplemented",
    "NotSupported",
    "OccurrenceConstraintViolation",
    "PropertyConstraintViolation",
    "ProtocolError",
    "RpcFrameworkError",
    "SecurityError",
    "TypeConstraintViolation",
}

Payload = dict[str, Any]

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_TIMESTAMP_CHECKER = FormatChecker(formats=())


def _is_instant(value: object) -> bool:
    """The station writes UTC with `Z` and milliseconds, nothing else."""
    return not isinstance(value, str) or _INSTANT.fullmatch(value) is not None


_TIMESTAMP_CHECKER.checks("date-time")(_is_instant)


@dataclass(frozen=True)
class Frame:
    """One text frame, parsed as far as possible.

    `type` is None if the text is not an OCPP-J message. `action` of a CALLRESULT or CALLERROR is
    that of its CALL, None if there was no such CALL. Numbers in `payload` are int or Decimal.
    """

    number: int  # position in the record, both directions, from 0
    connection: int  # counts from 1
    incoming: bool  # from the station
    at: datetime  # UTC
    monotonic_s: float
    text: str
    type: int | None = None
    message_id: str | None = None
    action: str | None = None
    payload: Any = None
    error_code: str | None = None
    error_description: str | None = None


@dataclass(frozen=True)
class FrameParts:
    """The elements of an OCPP-J message, unchecked."""

    type: int | None = None
    message_id: str | None = None
    action: str | None = None
    payload: Any = None
    error_code: str | None = None
    error_description: str | None = None


def parse_frame(text: str) -> FrameParts:
    """Parse the OCPP-J envelope; malformed text gives empty parts. Part 4 §4.2."""
    try:
        message = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        return FrameParts()
    match message:
        case [2, str(message_id), str(action), payload]:
            return FrameParts(CALL, message_id, action, payload)
        case [3, str(message_id), payload]:
            return FrameParts(CALLRESULT, message_id, None, payload)
        case [4, str(message_id), str(code), str(description), dict(details)]:
            return FrameParts(CALLERROR, message_id, None, details, code, description)
        case _:
            return FrameParts()


def frame_violations(frame: Frame) -> Iterator[str]:
    """Each violation of OCPP 2.0.1 by this frame; none for a valid one.

    The schemas are those of the `ocpp` package. For frames of the station every date-time must
    also be written in UTC with `Z` and milliseconds.
    """
    match frame.type:
        case None:
            yield "is no OCPP-J message"
        case 4:  # CALLERROR
            yield from _error_violations(frame)
        case 2 | 3 if frame.action is not None:
            yield from _payload_violations(frame)
        case _:
            yield "answers no CALL"
    if frame.message_id is not None and len(frame.message_id) > MESSAGE_ID_CHARACTERS_MAX:
        yield f"has a messageId of {len(frame.message_id)} characters"


def _error_violations(frame: Frame) -> Iterator[str]:
    if frame.error_code not in ERROR_CODES:
        yield f"has the unknown error code {frame.error_code!r}"
    if len(frame.error_description or "") > ERROR_DESCRIPTION_CHARACTERS_MAX:
        yield "has an errorDescription over 255 characters"


def _payload_violations(frame: Frame) -> Iterator[str]:
    try:
        schema = get_validator(frame.type, frame.action, "2.0.1").schema
    except OSError:
        yield f"has the unknown action {frame.action!r}"
        return
    validator = Draft4Validator(
        schema, format_checker=_TIMESTAMP_CHECKER if frame.incoming else None
    )
    for error in validator.iter_errors(frame.payload):
        path = "/".join(map(str, error.absolute_path)) or "payload"
        yield f"{frame.action}: {path}: {error.message}"
