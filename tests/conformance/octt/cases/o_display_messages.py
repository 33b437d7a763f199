"""Block O: display messages.

The notes of the document about what is displayed are checks too: the control socket reports what
the display shows. A case begins without messages.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.conformance.octt import states
from tests.conformance.octt.tester import Tester
from tests.conformance.octt.verify import require
from tests.support.csms import Payload

MESSAGE_ID: Final = 1001
SECOND_ID: Final = 1002
PRIORITY: Final = "NormalCycle"
OFFSET_S: Final = 6.0  # <Configured Start/End Date Time Offset>
SHOWN_TIMEOUT_S: Final = 3.0  # from a response to the display


def message_info(message_id: int = MESSAGE_ID, **fields: Any) -> Payload:
    """A MessageInfoType with the configured priority, format and display."""
    content = fields.pop("content", f"Message {message_id}")
    return {
        "id": message_id,
        "priority": PRIORITY,
        "message": {"format": "UTF8", "content": content},
        "display": {"name": "Display"},
        **fields,
    }


def set_message(
    tester: Tester, step: str, message_id: int = MESSAGE_ID, status: str = "Accepted", **fields: Any
) -> Payload:
    """Send a SetDisplayMessageRequest; returns the message."""
    info = message_info(message_id, **fields)
    tester.send_call(step, "SetDisplayMessage", {"message": info}, {"status": status})
    return info


def get_messages(tester: Tester, step: str, **criteria: Any) -> list[Payload]:
    """Request messages and receive the whole report."""
    request_id = tester.next_id()
    request = {"requestId": request_id, **criteria}
    tester.send_call(step, "GetDisplayMessages", request, {"status": "Accepted"})
    messages: list[Payload] = []
    while True:
        part = tester.expect_call(step, "NotifyDisplayMessages", {"requestId": request_id})
        messages += part["messageInfo"]
        if not part.get("tbc", False):
            return messages


def get_one_message(tester: Tester, step: str, message_id: int = MESSAGE_ID) -> Payload:
    messages = get_messages(tester, step, id=[message_id])
    require(
        step, [message["id"] for message in messages] == [message_id], f"one message: {messages}"
    )
    return messages[0]


def expect_unknown(tester: Tester, step: str, **criteria: Any) -> None:
    """No message matches."""
    request = {"requestId": tester.next_id(), **criteria}
    tester.send_call(step, "GetDisplayMessages", request, {"status": "Unknown"})


def remove_all_messages(tester: Tester) -> None:
    """Memory state: no message is configured."""
    request = {"requestId": tester.next_id()}
    response = tester.csms.call("GetDisplayMessages", request, 30)
    if response["status"] == "Accepted":
        part = tester.expect_call("no messages", "NotifyDisplayMessages")
        for message in part["messageInfo"]:
            tester.send_call("no messages", "ClearDisplayMessage", {"id": message["id"]})
    tester.discard_received()


def shown_ids(tester: Tester) -> list[int]:
    """The messages on the display for the EVSE of the test."""
    live = tester.bench.station.request_operation("live")
    [evse] = (each for each in live["evses"] if each["evse_id"] == tester.evse_id)
    return [message["id"] for message in evse["display"]["messages"]]


def expect_shown(tester: Tester, step: str, *message_ids: int) -> None:
    """Exactly these messages are on the display, within `SHOWN_TIMEOUT_S`."""
    due = time.monotonic() + SHOWN_TIMEOUT_S
    while shown_ids(tester) != list(message_ids) and time.monotonic() < due:
        time.sleep(0.1)
    shown = shown_ids(tester)
    require(step, shown == list(message_ids), f"the display must show {message_ids}, shows {shown}")


def from_now(seconds: float) -> str:
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def finish_session(tester: Tester) -> None:
    states.authorize_stop(tester)
    states.ev_connected_post_session(tester)
    states.ev_disconnected(tester)
    states.parking_bay_unoccupied(tester)


# --- Set -----------------------------------------------------------------------------------------


def tc_o_01_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    info = set_message(tester, "step 1")
    expect_shown(tester, "step 2", MESSAGE_ID)
    reported = get_one_message(tester, "step 3")
    require("step 5", reported["priority"] == PRIORITY, "priority as set")
    require("step 5", reported["message"] == info["message"], "format and content as set")


def tc_o_13_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    set_message(tester, "step 1", startDateTime=from_now(OFFSET_S))
    expect_shown(tester, "step 2")
    require("step 5", "startDateTime" in get_one_message(tester, "step 3"), "has startDateTime")
    tester.wait(OFFSET_S)
    expect_shown(tester, "step 6", MESSAGE_ID)


def tc_o_14_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    set_message(tester, "step 1", endDateTime=from_now(OFFSET_S))
    expect_shown(tester, "step 2", MESSAGE_ID)
    require("step 5", "endDateTime" in get_one_message(tester, "step 3"), "has endDateTime")
    tester.wait(OFFSET_S)
    expect_shown(tester, "step 6")
    expect_unknown(tester, "step 7", id=[MESSAGE_ID])


def tc_o_19_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    supported = tester.read_value("DisplayMessageCtrlr", "SupportedFormats").split(",")
    unsupported = next(each for each in ("URI", "HTML", "ASCII", "UTF8") if each not in supported)
    message = {"format": unsupported, "content": "https://example.com"}
    set_message(tester, "step 1", status="NotSupportedMessageFormat", message=message)


def tc_o_20_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    info = set_message(tester, "step 1")
    states.reset_and_boot(tester)
    reported = get_one_message(tester, "step 4")
    require("step 6", reported["priority"] == PRIORITY, "priority as set")
    require("step 6", reported["message"] == info["message"], "format and content as set")
    expect_shown(tester, "step 6", MESSAGE_ID)


def tc_o_22_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    set_message(tester, "step 1", priority="InFront")
    set_message(tester, "step 3", SECOND_ID, priority="InFront")
    get_one_message(tester, "step 5")
    get_one_message(tester, "step 9", SECOND_ID)
    expect_shown(tester, "step 12", MESSAGE_ID, SECOND_ID)


def tc_o_24_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    set_message(tester, "step 1", priority="AlwaysFront")
    set_message(tester, "step 3", SECOND_ID, priority="AlwaysFront")
    expect_unknown(tester, "step 5", id=[MESSAGE_ID])
    get_one_message(tester, "step 7", SECOND_ID)
    expect_shown(tester, "step 10", SECOND_ID)


def tc_o_36_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    set_message(tester, "step 1", state="Charging")
    expect_shown(tester, "step 2")
    states.parking_bay_occupied(tester)
    states.authorize_driver(tester)
    states.ev_connected_pre_session(tester)
    states.start_energy_transfer(tester)
    expect_shown(tester, "step 6", MESSAGE_ID)
    finish_session(tester)
    expect_shown(tester, "step 10")
    require("step 13", get_one_message(tester, "step 11")["state"] == "Charging", "state as set")


def tc_o_37_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    set_message(tester, "step 1", state="Idle")
    expect_shown(tester, "step 2", MESSAGE_ID)
    states.parking_bay_occupied(tester)
    states.authorize_driver(tester)
    states.ev_connected_pre_session(tester)
    states.start_energy_transfer(tester)
    expect_shown(tester, "step 6")
    finish_session(tester)
    expect_shown(tester, "step 10", MESSAGE_ID)
    require("step 13", get_one_message(tester, "step 11")["state"] == "Idle", "state as set")


def tc_o_38_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    set_message(tester, "step 1", state="Unavailable")
    expect_shown(tester, "step 2")
    states.make_unavailable(tester)
    expect_shown(tester, "step 3", MESSAGE_ID)
    request = {"operationalStatus": "Operative"}
    tester.send_call("step 4", "ChangeAvailability", request, {"status": "Accepted"})
    tester.expect_statuses("step 6", "Available")
    expect_shown(tester, "step 7")
    message = get_one_message(tester, "step 8")
    require("step 10", message["state"] == "Unavailable", "state as set")


def tc_o_12_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    set_message(tester, "memory state")
    set_message(tester, "step 1", content="Another text")
    message = get_one_message(tester, "step 2")
    require("step 2", message["message"]["content"] == "Another text", "the message is replaced")


# --- Set for a transaction -----------------------------------------------------------------------


def start_without_messages(tester: Tester) -> str:
    """Energy flows and no message is configured; returns the transactionId."""
    remove_all_messages(tester)
    return states.start_energy_transfer(tester)


def tc_o_06_cs(tester: Tester) -> None:
    transaction_id = start_without_messages(tester)
    set_message(tester, "step 1", transactionId=transaction_id)
    expect_shown(tester, "step 2", MESSAGE_ID)
    finish_session(tester)
    expect_shown(tester, "step 6")
    expect_unknown(tester, "step 7", id=[MESSAGE_ID])


def tc_o_10_cs(tester: Tester) -> None:
    start_without_messages(tester)
    set_message(tester, "step 1", status="UnknownTransaction", transactionId="no-such-transaction")


def tc_o_27_cs(tester: Tester) -> None:
    transaction_id = start_without_messages(tester)
    set_message(tester, "step 1", transactionId=transaction_id, startDateTime=from_now(OFFSET_S))
    expect_shown(tester, "step 2")
    tester.wait(OFFSET_S)
    expect_shown(tester, "step 2", MESSAGE_ID)
    finish_session(tester)
    expect_shown(tester, "step 6")
    expect_unknown(tester, "step 7", id=[MESSAGE_ID])


def tc_o_28_cs(tester: Tester) -> None:
    transaction_id = start_without_messages(tester)
    set_message(tester, "step 1", transactionId=transaction_id, endDateTime=from_now(OFFSET_S))
    expect_shown(tester, "step 2", MESSAGE_ID)
    tester.wait(OFFSET_S)
    expect_shown(tester, "step 2")
    expect_unknown(tester, "step 3", id=[MESSAGE_ID])


def tc_o_30_cs(tester: Tester) -> None:
    transaction_id = start_without_messages(tester)
    for step, message_id in (("step 1", MESSAGE_ID), ("step 3", SECOND_ID)):
        set_message(tester, step, message_id, transactionId=transaction_id, priority="InFront")
    expect_shown(tester, "step 4", MESSAGE_ID, SECOND_ID)
    for step, message_id in (("step 5", MESSAGE_ID), ("step 9", SECOND_ID)):
        message = get_one_message(tester, step, message_id)
        require(step, message["transactionId"] == transaction_id, "transactionId as set")
        require(step, message["priority"] == "InFront", "priority as set")
        require(step, message["message"]["content"] == f"Message {message_id}", "content as set")
    finish_session(tester)
    expect_shown(tester, "step 16")
    expect_unknown(tester, "step 17", id=[MESSAGE_ID])
    expect_unknown(tester, "step 19", id=[SECOND_ID])


def tc_o_32_cs(tester: Tester) -> None:
    transaction_id = start_without_messages(tester)
    set_message(tester, "step 1", transactionId=transaction_id, priority="AlwaysFront")
    expect_shown(tester, "step 2", MESSAGE_ID)
    set_message(tester, "step 3", SECOND_ID, transactionId=transaction_id, priority="AlwaysFront")
    expect_shown(tester, "step 4", SECOND_ID)
    expect_unknown(tester, "step 5", id=[MESSAGE_ID])
    message = get_one_message(tester, "step 7", SECOND_ID)
    require("step 9", message["transactionId"] == transaction_id, "transactionId as set")
    require("step 9", message["priority"] == "AlwaysFront", "priority as set")
    require("step 9", message["message"]["content"] == f"Message {SECOND_ID}", "content as set")
    finish_session(tester)
    expect_shown(tester, "step 14")
    expect_unknown(tester, "step 15", id=[SECOND_ID])


# --- Get -----------------------------------------------------------------------------------------


def tc_o_02_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    set_message(tester, "memory state")
    set_message(tester, "memory state", SECOND_ID)
    reported = [message["id"] for message in get_messages(tester, "step 1")]
    require("post scenario", reported == [MESSAGE_ID, SECOND_ID], f"all messages: {reported}")


def tc_o_03_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    expect_unknown(tester, "step 1")


def tc_o_07_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    set_message(tester, "memory state")
    set_message(tester, "memory state", SECOND_ID)
    get_one_message(tester, "step 1")


def tc_o_08_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    set_message(tester, "memory state")
    set_message(tester, "memory state", SECOND_ID, priority="InFront")
    messages = get_messages(tester, "step 1", priority=PRIORITY)
    require("step 3", [each["id"] for each in messages] == [MESSAGE_ID], "those of the priority")


def tc_o_09_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    set_message(tester, "memory state", state="Idle")
    set_message(tester, "memory state", SECOND_ID, state="Charging")
    messages = get_messages(tester, "step 1", state="Idle")
    require("step 3", [each["id"] for each in messages] == [MESSAGE_ID], "those of the state")


def tc_o_11_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    set_message(tester, "memory state")
    expect_unknown(tester, "step 1", id=[SECOND_ID])


def tc_o_33_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    expect_unknown(tester, "step 1", id=[MESSAGE_ID])


def tc_o_34_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    set_message(tester, "memory state", state="Idle")
    expect_unknown(tester, "step 1", id=[MESSAGE_ID], state="Charging")


def tc_o_35_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    set_message(tester, "memory state")
    expect_unknown(tester, "step 1", id=[MESSAGE_ID], priority="InFront")


# --- Clear ---------------------------------------------------------------------------------------


def tc_o_04_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    set_message(tester, "memory state")
    expect_shown(tester, "memory state", MESSAGE_ID)
    request = {"id": MESSAGE_ID}
    tester.send_call("step 1", "ClearDisplayMessage", request, {"status": "Accepted"})
    expect_unknown(tester, "step 3", id=[MESSAGE_ID])
    expect_shown(tester, "step 4")


def tc_o_05_cs(tester: Tester) -> None:
    remove_all_messages(tester)
    request = {"id": MESSAGE_ID}
    tester.send_call("step 1", "ClearDisplayMessage", request, {"status": "Unknown"})
