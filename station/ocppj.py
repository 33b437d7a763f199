"""What does a frame say, as OCPP-J? (Part 4 §4)"""

from __future__ import annotations

from typing import Any

import msgspec

MESSAGE_ID_MAX = 36  # characters. Part 4 §4.1.4
UNREADABLE_ID = "-1"  # Part 4 §4.2.3


class CallFrame(msgspec.Struct, frozen=True):
    message_id: str
    action: str
    payload: msgspec.Raw


class ResultFrame(msgspec.Struct, frozen=True):
    message_id: str
    payload: msgspec.Raw


class ErrorFrame(msgspec.Struct, frozen=True):
    message_id: str
    code: str
    description: str


class BrokenFrame(msgspec.Struct, frozen=True):
    """No message. `answer` says whether the CSMS is told: never for what may itself be an answer,
    or two stations could complain to each other for ever."""

    message_id: str
    code: str
    why: str
    answer: bool


Frame = CallFrame | ResultFrame | ErrorFrame | BrokenFrame

_parts = msgspec.json.Decoder(list[msgspec.Raw])


def read(frame: msgspec.Raw | bytes) -> Frame:
    """Take a frame apart. Total: whatever comes, it is one of the four."""
    try:
        parts = _parts.decode(frame)
    except (msgspec.DecodeError, RecursionError):
        return BrokenFrame(UNREADABLE_ID, "RpcFrameworkError", "not a JSON array", True)
    kind = _plain(parts[0]) if parts else None
    message_id = _plain(parts[1]) if len(parts) > 1 else None
    if type(kind) is not int:
        return BrokenFrame(UNREADABLE_ID, "RpcFrameworkError", "no MessageTypeId", True)
    if not isinstance(message_id, str) or not 0 < len(message_id) <= MESSAGE_ID_MAX:
        fault = f"MessageId is no string of 1 to {MESSAGE_ID_MAX} characters"
        return BrokenFrame(UNREADABLE_ID, "RpcFrameworkError", fault, kind not in (3, 4))
    reader = _KINDS.get(kind)
    if reader is None:
        fault = f"MessageTypeId {kind} is none of 2, 3, 4"
        return BrokenFrame(message_id, "MessageTypeNotSupported", fault, True)
    return reader(message_id, parts)


def _call(message_id: str, parts: list[msgspec.Raw]) -> Frame:
    if len(parts) != 4:
        fault = f"a CALL has 4 elements, this one {len(parts)}"
        return BrokenFrame(message_id, "RpcFrameworkError", fault, True)
    action = _plain(parts[2])
    if not isinstance(action, str):
        return BrokenFrame(message_id, "RpcFrameworkError", "Action is no string", True)
    return CallFrame(message_id, action, parts[3])


def _result(message_id: str, parts: list[msgspec.Raw]) -> Frame:
    if len(parts) != 3:
        fault = f"a CALLRESULT has 3 elements, this one {len(parts)}"
        return BrokenFrame(message_id, "RpcFrameworkError", fault, False)
    return ResultFrame(message_id, parts[2])


def _error(message_id: str, parts: list[msgspec.Raw]) -> Frame:
    texts = [str(_plain(part))[:255] for part in parts[2:4]]
    code, description = (*texts, "", "")[:2]
    return ErrorFrame(message_id, code, description)


_KINDS = {2: _call, 3: _result, 4: _error}


def _plain(part: msgspec.Raw) -> Any:
    """A small element as a Python value; None for what is too wild to be one."""
    if len(part) > 1024:
        return None
    try:
        return msgspec.json.decode(part)
    except (msgspec.DecodeError, RecursionError):
        return None


def call_text(message_id: str, action: str, payload: bytes | msgspec.Raw) -> str:
    """Write a CALL."""
    return f'[2,"{message_id}","{action}",{bytes(payload).decode()}]'


def result_text(message_id: str, payload: bytes | msgspec.Raw) -> str:
    """Write a CALLRESULT."""
    return f"[3,{_quoted(message_id)},{bytes(payload).decode()}]"


def error_text(message_id: str, code: str, description: str) -> str:
    """Write a CALLERROR; it has no details."""
    return f'[4,{_quoted(message_id)},"{code}",{_quoted(description)},{{}}]'


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
