"""Frames of OCPP-J: CALL, CALLRESULT, CALLERROR, and malformed ones. Part 4 §4."""

from __future__ import annotations

from typing import Any

import msgspec

MESSAGE_ID_MAX = 36  # characters. Part 4 §4.1.4
UNKNOWN_MESSAGE_ID = "-1"  # Part 4 §4.2.3


class CallFrame(msgspec.Struct, frozen=True):
    message_id: str
    action: str
    payload: msgspec.Raw


class CallResultFrame(msgspec.Struct, frozen=True):
    message_id: str
    payload: msgspec.Raw


class CallErrorFrame(msgspec.Struct, frozen=True):
    message_id: str
    code: str
    description: str


class MalformedFrame(msgspec.Struct, frozen=True):
    """A frame that is no message.

    `needs_call_error` is False for a frame that may itself be a response: otherwise both ends could
    send CALLERRORs to each other without end.
    """

    message_id: str
    code: str
    reason: str
    needs_call_error: bool


Frame = CallFrame | CallResultFrame | CallErrorFrame | MalformedFrame

_array_decoder = msgspec.json.Decoder(list[msgspec.Raw])


def parse_frame(frame: msgspec.Raw | bytes) -> Frame:
    """Parse a frame. Total: any input gives one of the four."""
    try:
        parts = _array_decoder.decode(frame)
    except (msgspec.DecodeError, RecursionError):
        return MalformedFrame(UNKNOWN_MESSAGE_ID, "RpcFrameworkError", "not a JSON array", True)
    kind = _decode_element(parts[0]) if parts else None
    message_id = _decode_element(parts[1]) if len(parts) > 1 else None
    if type(kind) is not int:
        return MalformedFrame(UNKNOWN_MESSAGE_ID, "RpcFrameworkError", "no MessageTypeId", True)
    if not isinstance(message_id, str) or not 0 < len(message_id) <= MESSAGE_ID_MAX:
        fault = f"MessageId is no string of 1 to {MESSAGE_ID_MAX} characters"
        return MalformedFrame(UNKNOWN_MESSAGE_ID, "RpcFrameworkError", fault, kind not in (3, 4))
    parser = _PARSERS.get(kind)
    if parser is None:
        fault = f"MessageTypeId {kind} is none of 2, 3, 4"
        return MalformedFrame(message_id, "MessageTypeNotSupported", fault, True)
    return parser(message_id, parts)


def _parse_call(message_id: str, parts: list[msgspec.Raw]) -> Frame:
    if len(parts) != 4:
        fault = f"a CALL has 4 elements, this one {len(parts)}"
        return MalformedFrame(message_id, "RpcFrameworkError", fault, True)
    action = _decode_element(parts[2])
    if not isinstance(action, str):
        return MalformedFrame(message_id, "RpcFrameworkError", "Action is no string", True)
    return CallFrame(message_id, action, parts[3])


def _parse_result(message_id: str, parts: list[msgspec.Raw]) -> Frame:
    if len(parts) != 3:
        fault = f"a CALLRESULT has 3 elements, this one {len(parts)}"
        return MalformedFrame(message_id, "RpcFrameworkError", fault, False)
    return CallResultFrame(message_id, parts[2])


def _parse_error(message_id: str, parts: list[msgspec.Raw]) -> Frame:
    texts = [str(_decode_element(part))[:255] for part in parts[2:4]]
    code, description = (*texts, "", "")[:2]
    return CallErrorFrame(message_id, code, description)


_PARSERS = {2: _parse_call, 3: _parse_result, 4: _parse_error}


def _decode_element(part: msgspec.Raw) -> Any:
    """A short element as a Python value; None if it is too long or malformed."""
    if len(part) > 1024:
        return None
    try:
        return msgspec.json.decode(part)
    except (msgspec.DecodeError, RecursionError):
        return None


def encode_call(message_id: str, action: str, payload: bytes | msgspec.Raw) -> str:
    """The text of a CALL."""
    return f'[2,"{message_id}","{action}",{bytes(payload).decode()}]'


def encode_result(message_id: str, payload: bytes | msgspec.Raw) -> str:
    """The text of a CALLRESULT."""
    return f"[3,{_json_string(message_id)},{bytes(payload).decode()}]"


def encode_error(message_id: str, code: str, description: str) -> str:
    """The text of a CALLERROR, without details."""
    return f'[4,{_json_string(message_id)},"{code}",{_json_string(description)},{{}}]'


def _json_string(text: str) -> str:
    return msgspec.json.encode(text).decode()
