"""Block O: messages of the CSMS on the display."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from journal.events import Decision
from journal.observations import LinkClosed
from journal.projections.display_messages import DisplayMessageRemoved
from station.core.blocks.o_display_messages import MESSAGES_PER_NOTIFICATION, NOTIFICATIONS_MAX
from station.core.device_model.model import DeviceModel
from station.ocpp.messages import format_timestamp
from tests.support.story import (
    ALICE,
    LINK_OPENED,
    ONLINE,
    Json,
    Station,
    accept_everything,
    called,
    charging_stopped,
    device_faulted,
    device_recovered,
    error_code_in,
    given,
    in_transaction,
    of_kind,
    presented,
    queued_payloads,
    response_payload_in,
    result_received_for,
    shown_at,
    station_restarted,
    time_passed,
    variable_preset,
)


def message_info(message_id: int = 1, priority: str = "NormalCycle", **fields: Any) -> Json:
    content = fields.pop("content", f"message {message_id}")
    text = {"format": fields.pop("format", "UTF8"), "content": content}
    if language := fields.pop("language", None):
        text["language"] = language
    return {"id": message_id, "priority": priority, "message": text, **fields}


def set_message(station: Station, message_id: int = 1, *args: Any, **fields: Any) -> Json:
    decisions = station.with_csms(
        accept_everything,
        called("SetDisplayMessage", message=message_info(message_id, *args, **fields)),
    )
    return response_payload_in(decisions)


def reported_ids(station: Station, **criteria: Any) -> list[int] | str:
    """The ids of the messages in a report; "Unknown" if there is none."""
    decisions = station.with_csms(
        accept_everything, called("GetDisplayMessages", requestId=7, **criteria)
    )
    if response_payload_in(decisions)["status"] == "Unknown":
        assert queued_payloads(decisions, "NotifyDisplayMessages") == []
        return "Unknown"
    return [
        info["id"]
        for payload in queued_payloads(decisions, "NotifyDisplayMessages")
        for info in payload["messageInfo"]
    ]


def shown_ids(station: Station, evse_id: int = 1) -> list[int]:
    return [message.id for message in shown_at(station, evse_id).messages]


def moment(station: Station, seconds: float) -> str:
    return format_timestamp(station.at + timedelta(seconds=seconds))


def removal_reasons(decisions: list[Decision]) -> list[str]:
    return [removed.reason for removed in of_kind(decisions, DisplayMessageRemoved)]


# --- Set -----------------------------------------------------------------------------------------


def test_a_message_is_stored_and_shown_o01_fr_12() -> None:
    station = given(ONLINE)
    assert set_message(station, 4) == {"status": "Accepted"}
    assert shown_ids(station, 1) == shown_ids(station, 2) == [4]
    assert reported_ids(station) == [4]


def test_the_report_has_what_was_set_o01_fr_17_o02_fr_12() -> None:
    """The language tag too, as it was received."""
    station = given(ONLINE, in_transaction(1))
    info = message_info(
        3,
        "InFront",
        content="Zähler läuft",
        language="de-CH",
        state="Charging",
        startDateTime=moment(station, 60),
        endDateTime=moment(station, 3600),
        transactionId=station.open_transaction.transaction_id,
        display={"name": "Display"},
    )
    station.with_csms(accept_everything, called("SetDisplayMessage", message=info))
    decisions = station.with_csms(accept_everything, called("GetDisplayMessages", requestId=1))
    [payload] = queued_payloads(decisions, "NotifyDisplayMessages")
    assert payload == {"requestId": 1, "messageInfo": [info], "tbc": False}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"format": "HTML"}, "NotSupportedMessageFormat"),  # O01.FR.03, O02.FR.05
        ({"format": "URI"}, "NotSupportedMessageFormat"),
        ({"transactionId": "unknown"}, "UnknownTransaction"),  # O02.FR.01
        ({"display": {"name": "Lamp"}}, "Rejected"),  # O01.FR.22
        ({"display": {"name": "Display", "instance": "roof"}}, "Rejected"),
        ({"display": {"name": "Display", "evse": {"id": 1}}}, "Rejected"),
        ({"endDateTime": "2026-02-01T00:00:00Z"}, "Rejected"),
        (
            {"startDateTime": "2027-01-02T00:00:00Z", "endDateTime": "2027-01-01T00:00:00Z"},
            "Rejected",
        ),
    ],
)
def test_a_message_that_cannot_be_shown_is_refused(fields: Json, status: str) -> None:
    station = given(ONLINE)
    assert set_message(station, **fields)["status"] == status
    assert reported_ids(station) == "Unknown"


def test_an_unsupported_priority_is_refused_o01_fr_01_o02_fr_03() -> None:
    station = given(ONLINE)
    features = {**station.product.profile.features, "UI-1.2": False}
    profile = replace(station.product.profile, features=features)
    station.product = replace(station.product, profile=profile, device_model=DeviceModel(profile))
    assert set_message(station, 1, "InFront") == {"status": "NotSupportedPriority"}
    assert set_message(station, 1, "AlwaysFront") == {"status": "Accepted"}


@pytest.mark.parametrize("state", ["Charging", "Faulted", "Idle", "Unavailable"])
def test_every_state_is_supported_o01_fr_02_o02_fr_04(state: str) -> None:
    assert set_message(given(ONLINE), state=state) == {"status": "Accepted"}


def test_a_disabled_block_refuses_and_shows_nothing() -> None:
    station = given(ONLINE)
    set_message(station, 1)
    key = {"component": {"name": "DisplayMessageCtrlr"}, "variable": {"name": "Enabled"}}
    station.with_csms(
        accept_everything,
        called("SetVariables", setVariableData=[{**key, "attributeValue": "false"}]),
    )
    assert shown_ids(station) == []
    assert set_message(station, 2)["status"] == "Rejected"


def test_the_store_is_limited_o01_fr_11_o02_fr_11() -> None:
    station = given(ONLINE)
    for number in range(50):
        assert set_message(station, number)["status"] == "Accepted"
    assert set_message(station, 50)["status"] == "Rejected"
    assert set_message(station, 7, content="new")["status"] == "Accepted"  # it replaces one
    assert len(station.state.display_messages.messages) == 50


def test_a_message_with_the_same_id_is_replaced_whole_o06_fr_01() -> None:
    station = given(ONLINE)
    set_message(station, 1, state="Charging", endDateTime=moment(station, 60))
    set_message(station, 1, "InFront", content="new")
    [message] = station.state.display_messages.messages
    assert (message.content, message.state, message.end_at) == ("new", None, None)


def test_a_product_without_the_block_refuses_as_certified() -> None:
    station = given(ONLINE, profile_name="evs-flash-300")
    decisions = station.when(called("SetDisplayMessage", message=message_info()))
    assert error_code_in(decisions) == "NotSupported"
    assert reported_ids(station) == "Unknown"


def test_the_main_display_is_meant_if_none_is_named_o01_fr_20_fr_21_fr_23() -> None:
    """The product has one display, and its base report has the component Display."""
    station = given(ONLINE)
    set_message(station, 1)
    set_message(station, 2, display={"name": "display"})
    assert shown_ids(station) == [1, 2]
    decisions = station.with_csms(
        accept_everything, called("GetBaseReport", requestId=1, reportBase="FullInventory")
    )
    components = [
        data["component"]["name"]
        for payload in queued_payloads(decisions, "NotifyReport")
        for data in payload["reportData"]
    ]
    assert "Display" in components


# --- Report and clear ----------------------------------------------------------------------------


def test_without_messages_a_report_is_unknown_o03_fr_06_o04_fr_07() -> None:
    assert reported_ids(given(ONLINE)) == "Unknown"
    assert reported_ids(given(ONLINE), id=[1]) == "Unknown"


def test_a_report_of_those_that_match_o04_fr_01_fr_02_fr_03() -> None:
    station = given(ONLINE)
    set_message(station, 1, state="Idle")
    set_message(station, 2, "InFront", state="Charging")
    set_message(station, 3, "InFront")
    assert reported_ids(station) == [1, 2, 3]
    assert reported_ids(station, id=[3, 1, 9]) == [1, 3]
    assert reported_ids(station, priority="InFront") == [2, 3]
    assert reported_ids(station, state="Charging") == [2]
    assert reported_ids(station, id=[1], state="Charging") == "Unknown"
    assert reported_ids(station, id=[1], priority="InFront") == "Unknown"
    assert reported_ids(station, id=[9]) == "Unknown"


def test_a_long_report_is_split_o03_fr_03_04_05_o04_fr_04_05_06() -> None:
    station = given(ONLINE)
    for number in range(2 * MESSAGES_PER_NOTIFICATION + 1):
        set_message(station, number)
    decisions = station.with_csms(accept_everything, called("GetDisplayMessages", requestId=9))
    parts = queued_payloads(decisions, "NotifyDisplayMessages")
    assert [part["tbc"] for part in parts] == [True, True, False]
    assert [len(part["messageInfo"]) for part in parts] == [10, 10, 1]
    assert {part["requestId"] for part in parts} == {9}


def test_reports_that_are_not_delivered_are_limited() -> None:
    station = given(ONLINE)
    set_message(station, 1)
    for number in range(NOTIFICATIONS_MAX):
        station.when(called("GetDisplayMessages", requestId=number))
    decisions = station.when(called("GetDisplayMessages", requestId=99))
    assert error_code_in(decisions) == "GenericError"


def test_clear_o05_fr_01_fr_02() -> None:
    station = given(ONLINE)
    set_message(station, 1)
    decisions = station.when(called("ClearDisplayMessage", id=1))
    assert response_payload_in(decisions) == {"status": "Accepted"}
    decisions = station.when(called("ClearDisplayMessage", id=1))
    assert response_payload_in(decisions) == {"status": "Unknown"}
    assert shown_ids(station) == []


def test_the_number_of_messages_is_reported() -> None:
    station = given(ONLINE)
    set_message(station, 1)
    key = {"component": {"name": "DisplayMessageCtrlr"}, "variable": {"name": "DisplayMessages"}}
    decisions = station.when(called("GetVariables", getVariableData=[key]))
    [result] = response_payload_in(decisions)["getVariableResult"]
    assert result["attributeValue"] == "1"


# --- Times, transactions, restarts ---------------------------------------------------------------


def test_a_message_waits_for_its_start_o01_fr_06_o02_fr_06() -> None:
    station = given(ONLINE)
    set_message(station, 1, startDateTime=moment(station, 10))
    station.when(time_passed(seconds=9))
    assert shown_ids(station) == []
    station.when(time_passed(seconds=1))
    assert shown_ids(station) == [1]


def test_a_message_is_removed_after_its_end_o01_fr_07_o02_fr_07() -> None:
    station = given(ONLINE)
    set_message(station, 1, endDateTime=moment(station, 10))
    station.when(time_passed(seconds=9))
    assert shown_ids(station) == [1]
    assert removal_reasons(station.when(time_passed(seconds=1))) == ["Ended"]
    assert reported_ids(station) == "Unknown"


def test_a_clock_that_may_be_wrong_removes_nothing() -> None:
    station = given(ONLINE)
    set_message(station, 1, endDateTime=moment(station, 10))
    station.when(LinkClosed("lost"), station_restarted(gap_s=60))
    assert shown_ids(station) == []
    assert station.state.display_messages.by_id(1) is not None
    decisions = station.with_csms(accept_everything, LINK_OPENED)
    assert removal_reasons(decisions) == ["Ended"]


def test_a_message_ends_with_its_transaction_o02_fr_02() -> None:
    station = given(ONLINE, in_transaction(2))
    set_message(station, 1, transactionId=station.open_transaction.transaction_id)
    assert (shown_ids(station, 1), shown_ids(station, 2)) == ([], [1])
    decisions = station.with_csms(
        accept_everything, time_passed(seconds=3), presented(ALICE), charging_stopped(2)
    )
    assert removal_reasons(decisions) == ["TransactionEnded"]


def test_messages_survive_a_power_cut_o01_fr_10_o02_fr_10() -> None:
    station = given(ONLINE)
    set_message(station, 1)
    station.with_csms(accept_everything, station_restarted(boot_id="boot-2"), LINK_OPENED)
    assert reported_ids(station) == [1]


# --- Priorities, states, languages ---------------------------------------------------------------


def test_messages_in_front_hide_the_normal_cycle_o01_fr_13_fr_14_o02_fr_14_15_16() -> None:
    station = given(ONLINE)
    set_message(station, 1)
    set_message(station, 2, "InFront")
    set_message(station, 3, "InFront")
    assert shown_ids(station) == [2, 3]
    station.when(called("ClearDisplayMessage", id=2), called("ClearDisplayMessage", id=3))
    assert shown_ids(station) == [1]


def test_one_message_is_always_in_front_o01_fr_15_fr_16_o02_fr_17_18() -> None:
    station = given(ONLINE)
    set_message(station, 1, "InFront")
    set_message(station, 2, "AlwaysFront")
    assert shown_ids(station) == [2]
    set_message(station, 3, "AlwaysFront")
    assert shown_ids(station) == [3]
    assert reported_ids(station) == [1, 3]


@pytest.mark.parametrize("state", ["Charging", "Faulted", "Idle", "Unavailable"])
def test_a_message_is_shown_in_its_state(state: str) -> None:
    station = given(ONLINE)
    set_message(station, 1, state=state)
    seen = {"Idle": shown_ids(station)}
    station.with_csms(accept_everything, in_transaction(1))
    seen["Charging"] = shown_ids(station)
    station.with_csms(accept_everything, device_faulted(1))
    seen["Faulted"] = shown_ids(station)
    station.with_csms(
        accept_everything,
        charging_stopped(1),
        device_recovered(1),
        called("ChangeAvailability", operationalStatus="Inoperative"),
    )
    seen["Unavailable"] = shown_ids(station)
    assert {name for name, ids in seen.items() if ids} == {state}


def test_a_translation_is_chosen_by_the_language_of_the_ev_driver_o01_fr_08_o02_fr_08() -> None:
    station = given(ONLINE)
    set_message(station, 1, language="en-US")
    set_message(station, 2, language="fr")
    set_message(station, 3)
    assert shown_ids(station) == [1, 3]
    info = {"status": "Accepted", "language1": "it", "language2": "fr-FR"}
    station.when(presented(ALICE), result_received_for("Authorize", idTokenInfo=info))
    assert shown_ids(station) == [2, 3]


def test_without_a_translation_english_is_shown_o01_fr_09_o02_fr_09() -> None:
    station = given(variable_preset("DisplayMessageCtrlr.Language", "es"), ONLINE)
    set_message(station, 1, language="en")
    set_message(station, 2, language="fr")
    assert shown_ids(station) == [1]
    station.when(called("ClearDisplayMessage", id=1))
    assert shown_ids(station) == [2]
