"""BootNotification, Heartbeat and the clock. B01 to B04, G02."""

from __future__ import annotations

import pytest

from journal.events import Entry
from journal.observations import ClockStepped, LinkOpened, ModemReported
from journal.projections.clock import ClockCorrected
from journal.projections.outbox import CallAttempted, CallsDropped
from journal.projections.security import SecurityEventLogged
from journal.state import apply_entry
from station.core.blocks.b_registration import correct_clock
from station.core.context import Context
from station.core.decide_batch import station_time
from tests.support.story import (
    BOOTED,
    IDLE,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Json,
    answer_boot_only,
    cable_plugged,
    called,
    connector_statuses,
    csms_answers,
    device_faulted,
    error_received,
    frame_received,
    given,
    in_transaction,
    of_kind,
    payload_of,
    queued_payloads,
    response_payload_in,
    result_received_for,
    station_restarted,
    time_passed,
    variable_preset,
)

NOW = "2026-03-01T12:00:00.000Z"
IMPOSSIBLE_TIMES = [
    "0001-01-01T00:00:00Z",
    "1970-01-01T00:00:00Z",
    "2025-12-31T23:59:59.999Z",  # before the release was made
    "2076-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999Z",
]


def answer_nothing(action: str, payload: Json) -> None:
    """A CSMS that sends no answers."""


def boot_response(status: str, interval: int = 300, now: str = NOW) -> Json:
    return {"status": status, "interval": interval, "currentTime": now}


def test_a_station_that_started_introduces_itself_b01_fr_01() -> None:
    station = given(BOOTED, IDLE, csms=answer_nothing)
    [request] = queued_payloads(station.when(LINK_OPENED), "BootNotification")
    assert request["reason"] == "PowerUp"
    assert request["chargingStation"]["vendorName"]
    assert request["chargingStation"]["model"]
    assert request["chargingStation"]["firmwareVersion"]
    assert "serialNumber" not in request["chargingStation"]  # it is not set


def test_it_sends_its_serial_number_b01_fr_01() -> None:
    number = variable_preset("ChargingStation.SerialNumber", "EVS-2026-0042")
    station = given(number, BOOTED, IDLE, csms=answer_nothing)
    [request] = queued_payloads(station.when(LINK_OPENED), "BootNotification")
    assert request["chargingStation"]["serialNumber"] == "EVS-2026-0042"


def test_it_sends_the_sim_card_of_its_modem_b01_fr_01() -> None:
    report = ModemReported(iccid="8949020000123456789", imsi="262011234567890", signal_dbm=-67)
    station = given(report, BOOTED, IDLE, csms=answer_nothing)
    [request] = queued_payloads(station.when(LINK_OPENED), "BootNotification")
    expected = {"iccid": "8949020000123456789", "imsi": "262011234567890"}
    assert request["chargingStation"]["modem"] == expected


def test_a_modem_without_a_sim_card_is_left_out() -> None:
    station = given(ModemReported(signal_dbm=-90), BOOTED, IDLE, csms=answer_nothing)
    [request] = queued_payloads(station.when(LINK_OPENED), "BootNotification")
    assert "modem" not in request["chargingStation"]


def test_the_modem_is_in_the_device_model_b06_fr_01() -> None:
    station = given(ONLINE, ModemReported("8949020000123456789", "262011234567890", -67))
    [response] = station.when(
        called(
            "GetVariables",
            getVariableData=[
                {"component": {"name": "DataLink"}, "variable": {"name": name}}
                for name in ("ICCID", "IMSI", "SignalStrength")
            ],
        )
    )
    values = [each.get("attributeValue") for each in payload_of(response)["getVariableResult"]]
    assert values == ["8949020000123456789", "262011234567890", "-67"]


def test_each_start_is_reported_b01_fr_03() -> None:
    station = given(ONLINE, station_restarted())
    assert queued_payloads(station.when(LINK_OPENED), "BootNotification")


@pytest.mark.parametrize(
    ("boot_id", "reason"), [("boot-1", "ApplicationReset"), ("boot-2", "PowerUp")]
)
def test_the_boot_reason_differs_for_a_lost_supply_and_a_crash_b01_fr_09(
    boot_id: str, reason: str
) -> None:
    station = given(ONLINE, station_restarted(boot_id=boot_id))
    [request] = queued_payloads(station.when(LINK_OPENED), "BootNotification")
    assert request["reason"] == reason


def test_a_boot_message_of_a_dead_run_is_not_sent_b01_fr_09() -> None:
    """Its reason is that of an earlier start."""
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    dropped = of_kind(station.when(station_restarted()), CallsDropped)
    assert dropped
    [request] = queued_payloads(station.when(LINK_OPENED), "BootNotification")
    assert request["reason"] == "ApplicationReset"


def test_the_interval_of_the_csms_sets_the_heartbeat_b01_fr_04() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    station.when(
        result_received_for("BootNotification", **boot_response("Accepted", 77)), csms_answers()
    )
    assert not queued_payloads(station.when(time_passed(seconds=76)), "Heartbeat")
    assert queued_payloads(station.when(time_passed(seconds=1)), "Heartbeat")


@pytest.mark.parametrize(("interval_s", "expected_s"), [(1, 5), (2**31 - 1, 86_400)])
def test_the_interval_of_the_csms_counts_within_the_limits_of_the_variable(
    interval_s: int, expected_s: int
) -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    station.when(result_received_for("BootNotification", **boot_response("Accepted", interval_s)))
    assert station.state.variables.values["OCPPCommCtrlr.HeartbeatInterval"] == str(expected_s)


def test_interval_zero_leaves_the_heartbeat_as_it_is_b01_fr_04() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    station.when(result_received_for("BootNotification", **boot_response("Accepted", 0)))
    assert "OCPPCommCtrlr.HeartbeatInterval" not in station.state.variables.values


def test_every_connector_is_reported_once_accepted_b01_fr_05() -> None:
    station = given(BOOTED, IDLE, cable_plugged(2), LINK_OPENED, csms=answer_nothing)
    decisions = station.when(result_received_for("BootNotification", **boot_response("Accepted")))
    assert connector_statuses(decisions) == [(1, "Available"), (2, "Occupied")]


def test_the_clock_follows_the_csms_b01_fr_06() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    later = "2026-03-01T12:01:30.500Z"
    [moved] = of_kind(
        station.when(
            result_received_for("BootNotification", **boot_response("Accepted", now=later))
        ),
        ClockCorrected,
    )
    assert moved.step_ms == 90_500
    assert station.at.isoformat(timespec="milliseconds") == "2026-03-01T12:01:30.500+00:00"


@pytest.mark.parametrize("now", IMPOSSIBLE_TIMES)
def test_a_time_that_no_true_clock_shows_is_not_taken_b01_fr_06(now: str) -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    before = station.at
    decisions = station.when(
        result_received_for("BootNotification", **boot_response("Accepted", now=now))
    )
    assert not of_kind(decisions, ClockCorrected)
    assert not station.state.clock.synchronized
    assert station.at == before
    [logged] = of_kind(decisions, SecurityEventLogged)
    assert logged.tech_info == f"currentTime {now} of BootNotification is not taken"
    assert queued_payloads(decisions, "Heartbeat")  # asked again at once
    station.when(csms_answers())
    assert station.state.clock.synchronized


@pytest.mark.parametrize("now", IMPOSSIBLE_TIMES)
def test_any_current_time_is_survived_b01_fr_06(now: str) -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    station.when(
        result_received_for("BootNotification", **boot_response("Accepted", now=now)),
        csms_answers(),
    )
    station.when(in_transaction(1), csms_answers())
    assert station.state.transactions.on_evse(1)


@pytest.mark.parametrize("word", ["Pending", "Rejected"])
def test_nothing_else_is_sent_before_acceptance_b01_fr_08(word: str) -> None:
    """Neither new calls nor calls that waited. B02.FR.02, B03.FR.02."""
    station = given(
        ONLINE, in_transaction(1), LINK_LOST, time_passed(seconds=61), station_restarted()
    )
    assert len(station.state.outbox.transaction)
    decisions = station.when(LINK_OPENED)
    decisions += station.when(result_received_for("BootNotification", **boot_response(word, 100)))
    decisions += station.when(IDLE, cable_plugged(2), device_faulted(2), time_passed(seconds=99))
    assert [decision.action for decision in of_kind(decisions, CallAttempted)] == [
        "BootNotification"
    ]


def test_before_the_first_answer_nothing_else_is_sent_b01_fr_08() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    decisions = station.when(cable_plugged(1), time_passed(seconds=29))
    assert not of_kind(decisions, CallAttempted)


@pytest.mark.parametrize("word", ["Pending", "Rejected"])
def test_the_next_introduction_waits_for_the_interval_b02_fr_04_b03_fr_06(word: str) -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    station.when(result_received_for("BootNotification", **boot_response(word, 100)))
    assert not queued_payloads(station.when(time_passed(seconds=99)), "BootNotification")
    assert queued_payloads(station.when(time_passed(seconds=1)), "BootNotification")


def test_a_refused_station_asks_again_after_a_day_at_the_latest() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    station.when(result_received_for("BootNotification", **boot_response("Rejected", 2**31 - 1)))
    assert queued_payloads(station.when(time_passed(seconds=86_400)), "BootNotification")


@pytest.mark.parametrize("word", ["Pending", "Rejected"])
def test_without_an_interval_the_csms_is_not_flooded_b02_fr_07_b03_fr_05(word: str) -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    station.when(result_received_for("BootNotification", **boot_response(word, 0)))
    decisions = station.when(time_passed(seconds=59))
    assert not queued_payloads(decisions, "BootNotification")
    assert queued_payloads(station.when(time_passed(seconds=1)), "BootNotification")


def test_a_reconnection_does_not_shorten_the_wait_b02_fr_04() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    station.when(result_received_for("BootNotification", **boot_response("Pending", 100)))
    decisions = station.when(
        time_passed(seconds=10), LINK_LOST, LINK_OPENED, time_passed(seconds=89)
    )
    assert not queued_payloads(decisions, "BootNotification")
    assert queued_payloads(station.when(time_passed(seconds=1)), "BootNotification")


def test_a_link_lost_before_the_answer_is_no_failed_introduction() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    station.when(LINK_LOST)
    assert queued_payloads(station.when(LINK_OPENED), "BootNotification")


@pytest.mark.parametrize(
    "answer",
    [
        error_received("InternalError"),
        result_received_for("BootNotification", currentTime=NOW, interval=300),
        result_received_for("BootNotification", **boot_response("Perhaps")),
        time_passed(seconds=30),
    ],
)
def test_an_unusable_answer_is_asked_again_later(answer: object) -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    decisions = station.when(answer, time_passed(seconds=59))  # type: ignore[arg-type]
    assert not queued_payloads(decisions, "BootNotification")
    assert queued_payloads(station.when(time_passed(seconds=1)), "BootNotification")


def test_a_pending_station_answers_and_reports_b02_fr_01_b02_fr_02() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    station.when(result_received_for("BootNotification", **boot_response("Pending")))
    decisions = station.when(called("GetBaseReport", requestId=1, reportBase="FullInventory"))
    assert response_payload_in(decisions) == {"status": "Accepted"}
    decisions += station.when(csms_answers())
    parts = queued_payloads(decisions, "NotifyReport")
    attempted = [decision.action for decision in of_kind(decisions, CallAttempted)]
    assert attempted == ["NotifyReport"] * len(parts)
    assert [part["seqNo"] for part in parts] == list(range(len(parts)))
    assert [part["tbc"] for part in parts] == [True] * (len(parts) - 1) + [False]


def test_a_pending_station_sends_what_is_requested_b02_fr_02() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    station.when(result_received_for("BootNotification", **boot_response("Pending")))
    decisions = station.when(called("TriggerMessage", requestedMessage="Heartbeat"))
    assert response_payload_in(decisions) == {"status": "Accepted"}
    assert [decision.action for decision in of_kind(decisions, CallAttempted)] == ["Heartbeat"]


def test_a_pending_station_introduces_itself_when_asked_b02_fr_04() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    station.when(result_received_for("BootNotification", **boot_response("Pending", 1000)))
    decisions = station.when(called("TriggerMessage", requestedMessage="BootNotification"))
    [request] = queued_payloads(decisions, "BootNotification")
    assert request["reason"] == "Triggered"


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        (
            "RequestStartTransaction",
            {"remoteStartId": 1, "idToken": {"idToken": "#a", "type": "Central"}, "evseId": 1},
        ),
        ("RequestStopTransaction", {"transactionId": "none"}),
    ],
)
def test_a_pending_station_starts_and_stops_nothing_b02_fr_05(action: str, payload: Json) -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    station.when(result_received_for("BootNotification", **boot_response("Pending")))
    answer = response_payload_in(station.when(called(action, **payload)))
    assert answer["status"] == "Rejected"
    if action == "RequestStartTransaction":
        assert answer["statusInfo"]["reasonCode"] == "CSNotAccepted"


def test_a_rejected_station_answers_a_call_with_security_error_b03_fr_08() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    station.when(result_received_for("BootNotification", **boot_response("Rejected")))
    decisions = station.when(frame_received('[2,"x","GetVariables",{}]'))
    assert type(decisions[0]).__name__ == "CallErrorQueued"
    assert station.state.pending_replies.pending == ()


def test_long_offline_every_connector_is_reported_b04_fr_01() -> None:
    station = given(ONLINE, variable_preset("OCPPCommCtrlr.OfflineThreshold", "60"), LINK_LOST)
    decisions = station.when(time_passed(seconds=61), LINK_OPENED)
    assert connector_statuses(decisions) == [(1, "Available"), (2, "Available")]


def test_shortly_offline_only_what_changed_is_reported_b04_fr_02() -> None:
    station = given(ONLINE, variable_preset("OCPPCommCtrlr.OfflineThreshold", "60"), LINK_LOST)
    assert connector_statuses(station.when(cable_plugged(2))) == []
    decisions = station.when(time_passed(seconds=60), LINK_OPENED)
    assert connector_statuses(decisions) == [(2, "Occupied")]


def test_what_changed_and_changed_back_is_not_reported_b04_fr_02() -> None:
    station = given(ONLINE, LINK_LOST, cable_plugged(2), IDLE)
    assert connector_statuses(station.when(time_passed(seconds=1), LINK_OPENED)) == []


def test_a_status_whose_message_was_lost_is_reported_again_b04_fr_02() -> None:
    station = given(ONLINE)
    assert connector_statuses(station.when(cable_plugged(1))) == [(1, "Occupied")]
    assert connector_statuses(station.when(LINK_LOST, LINK_OPENED)) == [(1, "Occupied")]


def test_another_call_puts_the_heartbeat_off_g02_fr_05() -> None:
    station = given(ONLINE, time_passed(seconds=200), cable_plugged(1))
    assert not queued_payloads(station.when(time_passed(seconds=299)), "Heartbeat")
    assert queued_payloads(station.when(time_passed(seconds=1)), "Heartbeat")


def test_another_csms_is_reported_every_connector_though_nothing_changed_b01_fr_05() -> None:
    station = given(ONLINE, LINK_LOST)
    station.when(LinkOpened(2, "ws://other/ocpp", 1))
    decisions = station.when(result_received_for("BootNotification", **boot_response("Accepted")))
    assert connector_statuses(decisions) == [(1, "Available"), (2, "Available")]


def test_a_heartbeat_that_waits_for_its_answer_is_not_sent_again_g02_fr_02() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    station.when(
        result_received_for("BootNotification", **boot_response("Accepted", 10)), csms_answers()
    )
    assert len(queued_payloads(station.when(time_passed(seconds=10)), "Heartbeat")) == 1
    assert (
        queued_payloads(station.when(time_passed(seconds=19)), "Heartbeat") == []
    )  # MessageTimeout is 30


def test_waiting_calls_do_not_delay_the_heartbeat_g02_fr_02() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    station.when(
        result_received_for("BootNotification", **boot_response("Accepted", 10)),
        csms_answers(),
        cable_plugged(1),
    )
    assert station.in_flight
    assert station.in_flight.action == "StatusNotification"
    assert len(queued_payloads(station.when(time_passed(seconds=10)), "Heartbeat")) == 1


def test_the_clock_follows_a_heartbeat_g02_fr_06() -> None:
    station = given(ONLINE, csms=answer_boot_only)
    station.when(csms_answers(), time_passed(seconds=300))
    decisions = station.when(result_received_for("Heartbeat", currentTime="2026-03-01T13:05:00Z"))
    assert of_kind(decisions, ClockCorrected)
    assert station.at.hour == 13


@pytest.mark.parametrize("now", IMPOSSIBLE_TIMES)
def test_a_time_that_no_true_clock_shows_leaves_the_clock_as_it_is_g02_fr_06(now: str) -> None:
    station = given(ONLINE, csms=answer_boot_only)
    station.when(csms_answers(), time_passed(seconds=300))
    before = station.at
    station.when(result_received_for("Heartbeat", currentTime=now))
    assert station.at == before
    assert station.state.clock.synchronized


def test_an_offset_of_an_impossible_time_is_left_with_one_true_answer() -> None:
    """A journal of an earlier release may have it."""
    station = given(ONLINE)
    far = ClockCorrected(-2025 * 365 * 86_400_000, 0, "Heartbeat")
    station.state = apply_entry(station.state, Entry(0, station.at, station.uptime_ms, far))
    assert station_time(station.host_at, station.state) == station.host_at
    corrected, *_ = correct_clock(
        Context(station.product, station.state, Entry(0, station.host_at, 0, LINK_LOST)),
        "2026-03-01T12:00:30Z",
        "Heartbeat",
    )
    assert isinstance(corrected, ClockCorrected)
    assert corrected.offset_ms == 30_000


def test_an_answer_without_an_offset_is_utc_b01_fr_06() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    answer = boot_response("Accepted", now="2026-03-01T13:00:00")
    station.when(result_received_for("BootNotification", **answer))
    assert station.at.isoformat() == "2026-03-01T13:00:00+00:00"


@pytest.mark.parametrize("now", ["2026-03-01T13:00:00+0000", "2026-03-01T15:00:00+02"])
def test_an_answer_with_an_odd_offset_and_interval_registers(now: str) -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    answer = {"status": "Accepted", "interval": "77", "currentTime": now}
    station.when(result_received_for("BootNotification", **answer))
    assert station.state.registration.is_accepted
    assert station.at.hour == 13
    assert station.state.variables.values["OCPPCommCtrlr.HeartbeatInterval"] == "77"


def test_what_the_commit_of_a_correction_queues_carries_the_corrected_time() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=answer_nothing)
    answer = boot_response("Accepted", now="2036-03-01T12:00:00Z")
    decisions = station.when(result_received_for("BootNotification", **answer))
    timestamps = [
        payload["timestamp"]
        for action in ("StatusNotification", "SecurityEventNotification")
        for payload in queued_payloads(decisions, action)
    ]
    assert len(timestamps) == 3
    assert set(timestamps) == {"2036-03-01T12:00:00.000Z"}


def test_a_station_whose_host_clock_was_set_asks_for_the_time_at_once() -> None:
    station = given(ONLINE)
    assert queued_payloads(station.when(ClockStepped(3_600_000)), "Heartbeat")


def test_a_station_that_lost_the_time_while_offline_asks_when_the_link_opens() -> None:
    station = given(ONLINE, LINK_LOST)
    assert not queued_payloads(station.when(ClockStepped(3_600_000)), "Heartbeat")
    assert queued_payloads(station.when(LINK_OPENED), "Heartbeat")


def test_a_csms_without_a_usable_time_is_asked_every_five_minutes() -> None:
    station = given(
        variable_preset("OCPPCommCtrlr.HeartbeatInterval", "86400"), ONLINE, csms=answer_boot_only
    )
    station.when(csms_answers(), ClockStepped(5_000))
    unusable = result_received_for("Heartbeat", currentTime="now")
    assert not queued_payloads(station.when(unusable, time_passed(seconds=299)), "Heartbeat")
    assert queued_payloads(station.when(time_passed(seconds=1)), "Heartbeat")


def test_a_busy_station_still_asks_for_the_time_once_a_day_g02_fr_07() -> None:
    station = given(
        variable_preset("SampledDataCtrlr.TxUpdatedInterval", "100"), ONLINE, in_transaction(1)
    )
    beats = 0
    for _ in range(900):  # 25 hours
        decisions = station.with_csms(lambda action, payload: {}, time_passed(seconds=100))
        beats += len(queued_payloads(decisions, "Heartbeat"))
    assert beats == 1
