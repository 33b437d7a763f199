"""Invalid frames get the right CALLERROR, and the next valid one gets its response."""

from __future__ import annotations

import json

import pytest

from tests.e2e.harness import StationProcess
from tests.e2e.steps import STEP_TIMEOUT_S
from tests.support.csms import Csms

GOOD = {
    "getVariableData": [{"component": {"name": "TxCtrlr"}, "variable": {"name": "TxStartPoint"}}]
}

# Part 4 §4.2.3 and §4.3. If the table leaves a choice, all codes it allows.
FRAMES: dict[str, tuple[object, str, set[str]]] = {
    # name: frame (raw text, or a message), messageId of the answer, codes
    "no_json": ("{not json", "-1", {"RpcFrameworkError", "FormatViolation"}),
    "no_message": ("42", "-1", {"RpcFrameworkError", "FormatViolation"}),
    "empty_array": ([], "-1", {"RpcFrameworkError", "FormatViolation", "ProtocolError"}),
    "messageId_is_a_number": ([2, 7, "GetVariables", GOOD], "-1", {"RpcFrameworkError"}),
    "unknown_message_type": ([9, "m1", "GetVariables", GOOD], "m1", {"MessageTypeNotSupported"}),
    "no_payload": (
        [2, "m2", "GetVariables"],
        "m2",
        {"RpcFrameworkError", "FormatViolation", "ProtocolError"},
    ),
    "payload_is_no_object": (
        [2, "m3", "GetVariables", []],
        "m3",
        {"FormatViolation", "ProtocolError", "TypeConstraintViolation"},
    ),
    "unknown_action": ([2, "m4", "MakeCoffee", {}], "m4", {"NotImplemented"}),
    "action_in_small_letters": ([2, "m5", "getvariables", GOOD], "m5", {"NotImplemented"}),
    "an_action_only_a_station_sends": (
        [2, "m6", "BootNotification", {}],
        "m6",
        {"NotImplemented", "NotSupported"},
    ),
    "missing_field": (
        [2, "m7", "GetVariables", {}],
        "m7",
        {"OccurrenceConstraintViolation", "ProtocolError"},
    ),
    "empty_list": (
        [2, "m8", "GetVariables", {"getVariableData": []}],
        "m8",
        {"OccurrenceConstraintViolation"},
    ),
    "wrong_type": (
        [2, "m9", "RequestStopTransaction", {"transactionId": 7}],
        "m9",
        {"TypeConstraintViolation"},
    ),
    "unknown_enum_value": (
        [2, "m10", "Reset", {"type": "Tomorrow"}],
        "m10",
        {"PropertyConstraintViolation"},
    ),
    "text_too_long": (
        [2, "m11", "RequestStopTransaction", {"transactionId": "x" * 37}],
        "m11",
        {"PropertyConstraintViolation", "TypeConstraintViolation"},
    ),
    "unknown_field": (
        [2, "m12", "ClearCache", {"please": True}],
        "m12",
        {"FormatViolation", "ProtocolError", "OccurrenceConstraintViolation"},
    ),
}


def send_frame(csms: Csms, frame: object) -> None:
    csms.send_raw(frame if isinstance(frame, str) else json.dumps(frame))


def test_every_invalid_frame_gets_its_error_and_the_station_continues_4_2_3(
    station: StationProcess, csms: Csms
) -> None:
    wrong = {}
    for name, (frame, message_id, codes) in FRAMES.items():
        after = csms.next_frame_number()
        send_frame(csms, frame)
        answer = csms.wait_for_error(STEP_TIMEOUT_S, after=after)
        if answer.message_id != message_id or answer.error_code not in codes:
            wrong[name] = (answer.message_id, answer.error_code)
    assert wrong == {}
    assert csms.call("GetVariables", GOOD)["getVariableResult"]


@pytest.mark.parametrize(
    "frame",
    [
        '[3,"never-asked",{}]',
        '[4,"never-asked","GenericError","",{}]',
        b"\x00\xff\xfe",
        "[" * 20_000,
        '[2,"deep","DataTransfer",{"vendorId":"v","data":' + "[" * 5_000 + "]" * 5_000 + "}]",
        json.dumps([2, "long", "DataTransfer", {"vendorId": "v", "data": "x" * 100_000}]),
        json.dumps([2, "unicode", "DataTransfer", {"vendorId": "\ud800"}]),
    ],
    ids=["answer", "error", "binary", "open", "deep", "long", "surrogate"],
)
def test_hostile_frames_do_not_stop_the_station(
    station: StationProcess, csms: Csms, frame: str | bytes
) -> None:
    csms.send_raw(frame)
    if not csms.is_connected:
        csms.wait_connected(STEP_TIMEOUT_S)
    assert csms.call("GetVariables", GOOD, STEP_TIMEOUT_S)["getVariableResult"]
    assert station.is_alive
