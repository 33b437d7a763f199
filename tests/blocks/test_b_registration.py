"""How does the station introduce itself, and stay heard? (B01 to B04, G02)"""

from __future__ import annotations

import pytest

from journal.observations import LinkOpened
from journal.projections.clocks import ClockCorrected
from journal.projections.outbox import CallAttempted, CallsDropped
from tests.story import (
    BOOTED,
    IDLE,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Json,
    after,
    answers,
    called,
    errs,
    faulted,
    frame,
    given,
    in_transaction,
    of_kind,
    plugged,
    preset,
    queued,
    reply_in,
    restarted,
    serves,
    silent,
    statuses,
)

NOW = "2026-03-01T12:00:00.000Z"


def booting(action: str, payload: Json) -> None:
    """A CSMS that says nothing at all."""


def boot(status: str, interval: int = 300, now: str = NOW) -> Json:
    return {"status": status, "interval": interval, "currentTime": now}


def test_a_station_that_started_introduces_itself_b01_fr_01() -> None:
    station = given(BOOTED, IDLE, csms=booting)
    [request] = queued(station.when(LINK_OPENED), "BootNotification")
    assert request["reason"] == "PowerUp"
    assert request["chargingStation"]["vendorName"]
    assert request["chargingStation"]["model"]
    assert request["chargingStation"]["firmwareVersion"]
    assert "serialNumber" not in request["chargingStation"]  # nobody told it


def test_it_tells_its_serial_number_b01_fr_01() -> None:
    number = preset("ChargingStation.SerialNumber", "EVS-2026-0042")
    station = given(number, BOOTED, IDLE, csms=booting)
    [request] = queued(station.when(LINK_OPENED), "BootNotification")
    assert request["chargingStation"]["serialNumber"] == "EVS-2026-0042"


def test_each_start_is_told_b01_fr_03() -> None:
    station = given(ONLINE, restarted())
    assert queued(station.when(LINK_OPENED), "BootNotification")


@pytest.mark.parametrize(
    ("boot_id", "reason"), [("boot-1", "ApplicationReset"), ("boot-2", "PowerUp")]
)
def test_the_reason_tells_a_lost_supply_from_a_crash_b01_fr_09(boot_id: str, reason: str) -> None:
    station = given(ONLINE, restarted(boot_id=boot_id))
    [request] = queued(station.when(LINK_OPENED), "BootNotification")
    assert request["reason"] == reason


def test_a_boot_message_of_a_dead_run_is_not_sent_b01_fr_09() -> None:
    """It would tell the reason of another start."""
    station = given(BOOTED, IDLE, LINK_OPENED, csms=booting)
    dropped = of_kind(station.when(restarted()), CallsDropped)
    assert dropped
    [request] = queued(station.when(LINK_OPENED), "BootNotification")
    assert request["reason"] == "ApplicationReset"


def test_the_interval_of_the_csms_sets_the_heartbeat_b01_fr_04() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=booting)
    station.when(answers("BootNotification", **boot("Accepted", 77)), serves())
    assert not queued(station.when(after(seconds=76)), "Heartbeat")
    assert queued(station.when(after(seconds=1)), "Heartbeat")


def test_interval_zero_leaves_the_heartbeat_as_it_is_b01_fr_04() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=booting)
    station.when(answers("BootNotification", **boot("Accepted", 0)))
    assert "OCPPCommCtrlr.HeartbeatInterval" not in station.state.variables.values


def test_every_connector_is_told_once_accepted_b01_fr_05() -> None:
    station = given(BOOTED, IDLE, plugged(2), LINK_OPENED, csms=booting)
    said = station.when(answers("BootNotification", **boot("Accepted")))
    assert statuses(said) == [(1, "Available"), (2, "Occupied")]


def test_the_clock_follows_the_csms_b01_fr_06() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=booting)
    later = "2026-03-01T12:01:30.500Z"
    [moved] = of_kind(
        station.when(answers("BootNotification", **boot("Accepted", now=later))), ClockCorrected
    )
    assert moved.step_ms == 90_500
    assert station.at.isoformat(timespec="milliseconds") == "2026-03-01T12:01:30.500+00:00"


@pytest.mark.parametrize("now", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"])
def test_the_clock_may_be_told_anything_b01_fr_06(now: str) -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=booting)
    station.when(answers("BootNotification", **boot("Accepted", now=now)), serves())
    station.when(in_transaction(1), serves())
    assert station.state.transactions.at(1)


@pytest.mark.parametrize("word", ["Pending", "Rejected"])
def test_nothing_else_is_said_before_acceptance_b01_fr_08(word: str) -> None:
    """Not what happens now, and not what waited from before. B02.FR.02, B03.FR.02."""
    station = given(ONLINE, in_transaction(1), LINK_LOST, after(seconds=61), restarted())
    assert len(station.state.outbox.transaction)
    said = station.when(LINK_OPENED)
    said += station.when(answers("BootNotification", **boot(word, 100)))
    said += station.when(IDLE, plugged(2), faulted(2), after(seconds=99))
    assert [one.action for one in of_kind(said, CallAttempted)] == ["BootNotification"]


def test_before_the_first_answer_nothing_else_is_said_b01_fr_08() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=booting)
    said = station.when(plugged(1), after(seconds=29))
    assert not of_kind(said, CallAttempted)


@pytest.mark.parametrize("word", ["Pending", "Rejected"])
def test_the_next_introduction_waits_for_the_interval_b02_fr_04_b03_fr_06(word: str) -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=booting)
    station.when(answers("BootNotification", **boot(word, 100)))
    assert not queued(station.when(after(seconds=99)), "BootNotification")
    assert queued(station.when(after(seconds=1)), "BootNotification")


@pytest.mark.parametrize("word", ["Pending", "Rejected"])
def test_without_an_interval_the_csms_is_not_flooded_b02_fr_07_b03_fr_05(word: str) -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=booting)
    station.when(answers("BootNotification", **boot(word, 0)))
    said = station.when(after(seconds=59))
    assert not queued(said, "BootNotification")
    assert queued(station.when(after(seconds=1)), "BootNotification")


def test_a_reconnection_does_not_shorten_the_wait_b02_fr_04() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=booting)
    station.when(answers("BootNotification", **boot("Pending", 100)))
    said = station.when(after(seconds=10), LINK_LOST, LINK_OPENED, after(seconds=89))
    assert not queued(said, "BootNotification")
    assert queued(station.when(after(seconds=1)), "BootNotification")


def test_a_link_lost_before_the_answer_is_no_failed_introduction() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=booting)
    station.when(LINK_LOST)
    assert queued(station.when(LINK_OPENED), "BootNotification")


@pytest.mark.parametrize(
    "answer",
    [
        errs("InternalError"),
        answers("BootNotification", status="Accepted"),
        answers("BootNotification", **boot("Perhaps")),
        after(seconds=30),
    ],
)
def test_an_unusable_answer_is_asked_again_later(answer: object) -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=booting)
    said = station.when(answer, after(seconds=59))  # type: ignore[arg-type]
    assert not queued(said, "BootNotification")
    assert queued(station.when(after(seconds=1)), "BootNotification")


def test_a_pending_station_answers_and_reports_b02_fr_01_b02_fr_02() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=booting)
    station.when(answers("BootNotification", **boot("Pending")))
    said = station.when(called("GetBaseReport", requestId=1, reportBase="FullInventory"))
    assert reply_in(said) == {"status": "Accepted"}
    said += station.when(serves())
    parts = queued(said, "NotifyReport")
    attempted = [one.action for one in of_kind(said, CallAttempted)]
    assert attempted == ["NotifyReport"] * len(parts)
    assert [part["seqNo"] for part in parts] == list(range(len(parts)))
    assert [part["tbc"] for part in parts] == [True] * (len(parts) - 1) + [False]


def test_a_pending_station_says_what_it_is_asked_to_b02_fr_02() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=booting)
    station.when(answers("BootNotification", **boot("Pending")))
    said = station.when(called("TriggerMessage", requestedMessage="Heartbeat"))
    assert reply_in(said) == {"status": "Accepted"}
    assert [one.action for one in of_kind(said, CallAttempted)] == ["Heartbeat"]


def test_a_pending_station_introduces_itself_when_asked_b02_fr_04() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=booting)
    station.when(answers("BootNotification", **boot("Pending", 1000)))
    said = station.when(called("TriggerMessage", requestedMessage="BootNotification"))
    [request] = queued(said, "BootNotification")
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
    station = given(BOOTED, IDLE, LINK_OPENED, csms=booting)
    station.when(answers("BootNotification", **boot("Pending")))
    answer = reply_in(station.when(called(action, **payload)))
    assert answer["status"] == "Rejected"
    if action == "RequestStartTransaction":
        assert answer["statusInfo"]["reasonCode"] == "CSNotAccepted"


def test_a_rejected_station_answers_a_call_with_security_error_b03_fr_08() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=booting)
    station.when(answers("BootNotification", **boot("Rejected")))
    said = station.when(frame('[2,"x","GetVariables",{}]'))
    assert type(said[0]).__name__ == "CallRefused"
    assert station.state.replies.owed == ()


def test_long_offline_every_connector_is_told_b04_fr_01() -> None:
    station = given(ONLINE, preset("OCPPCommCtrlr.OfflineThreshold", "60"), LINK_LOST)
    said = station.when(after(seconds=61), LINK_OPENED)
    assert statuses(said) == [(1, "Available"), (2, "Available")]


def test_shortly_offline_only_what_changed_is_told_b04_fr_02() -> None:
    station = given(ONLINE, preset("OCPPCommCtrlr.OfflineThreshold", "60"), LINK_LOST)
    assert statuses(station.when(plugged(2))) == []
    said = station.when(after(seconds=60), LINK_OPENED)
    assert statuses(said) == [(2, "Occupied")]


def test_what_changed_and_changed_back_is_not_told_b04_fr_02() -> None:
    station = given(ONLINE, LINK_LOST, plugged(2), IDLE)
    assert statuses(station.when(after(seconds=1), LINK_OPENED)) == []


def test_a_status_whose_message_was_lost_is_told_again_b04_fr_02() -> None:
    station = given(ONLINE)
    assert statuses(station.when(plugged(1))) == [(1, "Occupied")]
    assert statuses(station.when(LINK_LOST, LINK_OPENED)) == [(1, "Occupied")]


def test_another_call_puts_the_heartbeat_off_g02_fr_05() -> None:
    station = given(ONLINE, after(seconds=200), plugged(1))
    assert not queued(station.when(after(seconds=299)), "Heartbeat")
    assert queued(station.when(after(seconds=1)), "Heartbeat")


def test_another_csms_is_told_every_connector_though_nothing_changed_b01_fr_05() -> None:
    station = given(ONLINE, LINK_LOST)
    station.when(LinkOpened(2, "ws://other/ocpp", 1))
    said = station.when(answers("BootNotification", **boot("Accepted")))
    assert statuses(said) == [(1, "Available"), (2, "Available")]


def test_a_heartbeat_that_waits_for_its_answer_is_not_said_again_g02_fr_02() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=booting)
    station.when(answers("BootNotification", **boot("Accepted", 10)), serves())
    assert len(queued(station.when(after(seconds=10)), "Heartbeat")) == 1
    assert queued(station.when(after(seconds=19)), "Heartbeat") == []  # MessageTimeout is 30


def test_what_waits_does_not_keep_the_heartbeat_back_g02_fr_02() -> None:
    station = given(BOOTED, IDLE, LINK_OPENED, csms=booting)
    station.when(answers("BootNotification", **boot("Accepted", 10)), serves(), plugged(1))
    assert station.in_flight
    assert station.in_flight.action == "StatusNotification"
    assert len(queued(station.when(after(seconds=10)), "Heartbeat")) == 1


def test_the_clock_follows_a_heartbeat_g02_fr_06() -> None:
    station = given(ONLINE, csms=silent)
    station.when(serves(), after(seconds=300))
    said = station.when(answers("Heartbeat", currentTime="2026-03-01T13:05:00Z"))
    assert of_kind(said, ClockCorrected)
    assert station.at.hour == 13


def test_a_busy_station_still_asks_for_the_time_once_a_day_g02_fr_07() -> None:
    station = given(preset("SampledDataCtrlr.TxUpdatedInterval", "100"), ONLINE, in_transaction(1))
    beats = 0
    for _ in range(900):  # 25 hours
        said = station.with_csms(lambda action, payload: {}, after(seconds=100))
        beats += len(queued(said, "Heartbeat"))
    assert beats == 1
