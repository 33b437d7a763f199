"""GetLog: accepted, reported, cancelled. N01."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from journal.events import Decision
from journal.observations import BusTraceWritten, LogUploadEnded
from station.ocpp.messages import format_timestamp
from tests.support.story import (
    BOOTED,
    IDLE,
    LINK_LOST,
    LINK_OPENED,
    NOON,
    ONLINE,
    Json,
    Station,
    Step,
    accept_everything,
    called,
    given,
    queued_payloads,
    response_payload_in,
    station_restarted,
)


def get_log(
    request_id: int = 5, log_type: str = "DiagnosticsLog", *, retries: int | None = None, **log: Any
) -> Step:
    requested: Json = {
        "log": {"remoteLocation": "https://files/logs/"} | log,
        "logType": log_type,
        "requestId": request_id,
    }
    return called("GetLog", **requested | ({} if retries is None else {"retries": retries}))


def log_statuses(decisions: list[Decision]) -> list[tuple[str, int | None]]:
    """(status, requestId) of each LogStatusNotification."""
    calls = queued_payloads(decisions, "LogStatusNotification")
    return [(call["status"], call.get("requestId")) for call in calls]


def upload_seq(station: Station) -> int:
    assert station.desired.log_upload is not None
    return station.desired.log_upload.seq


def upload_ended(status: str = "Uploaded") -> Step:
    return lambda station: station.when(LogUploadEnded(upload_seq(station), status))


@pytest.mark.parametrize(
    ("log_type", "word"), [("DiagnosticsLog", "diagnostics"), ("SecurityLog", "security")]
)
def test_a_log_is_taken_on_under_its_name_n01_fr_01_n01_fr_08(log_type: str, word: str) -> None:
    station = given(ONLINE)
    decisions = station.when(get_log(log_type=log_type, retries=3))
    reply = response_payload_in(decisions)
    assert reply["status"] == "Accepted"
    assert word in reply["filename"]
    assert log_statuses(decisions) == [("Uploading", 5)]
    upload = station.desired.log_upload
    assert upload is not None
    assert upload.order.filename == reply["filename"]
    assert (upload.order.log_type, upload.order.attempts_max) == (log_type, 4)


def test_a_name_is_fit_for_any_file_system() -> None:
    station = given(ONLINE)
    name = response_payload_in(station.when(get_log()))["filename"]
    assert name == f"CS001_diagnostics_20260301T120000Z_{upload_seq(station) - 2}.log"


def test_a_diagnostics_log_with_bus_traces_is_an_archive_n01_fr_02() -> None:
    traced = BusTraceWritten((1,), "20260301T120000Z_1", ("about.txt",))
    station = given(ONLINE, traced)
    name = response_payload_in(station.when(get_log()))["filename"]
    assert name == f"CS001_diagnostics_20260301T120000Z_{upload_seq(station) - 2}.tar.gz"
    station = given(ONLINE, traced)
    security = response_payload_in(station.when(get_log(log_type="SecurityLog")))
    assert security["filename"].endswith(".log")


def test_a_bus_trace_that_was_not_written_changes_no_log() -> None:
    station = given(ONLINE, BusTraceWritten((1,), reason="little space is left on the disk"))
    assert response_payload_in(station.when(get_log()))["filename"].endswith(".log")


@pytest.mark.parametrize(
    "status",
    ["Uploaded", "UploadFailure", "BadMessage", "PermissionDenied", "NotSupportedOperation"],
)
def test_how_it_ended_is_reported_n01_fr_09_n01_fr_10(status: str) -> None:
    station = given(ONLINE, get_log())
    assert log_statuses(station.when(upload_ended(status))) == [(status, 5)]
    assert station.desired.log_upload is None


def test_the_end_is_reported_after_the_link_was_lost() -> None:
    station = given(ONLINE, get_log(), LINK_LOST)
    station.when(upload_ended())
    decisions: list[str] = []

    def csms(action: str, payload: Json) -> Json | None:
        if action == "LogStatusNotification":
            decisions.append(str(payload["status"]))
        return accept_everything(action, payload)

    station.with_csms(csms, LINK_OPENED)
    assert decisions == ["Uploaded"]


def test_a_product_that_cannot_cancel_refuses_another_c_57() -> None:
    station = given(ONLINE, get_log(1), profile_name="evs-flash-300")
    decisions = station.when(get_log(2))
    assert response_payload_in(decisions)["status"] == "Rejected"
    assert log_statuses(decisions) == []
    assert station.desired.log_upload is not None
    assert station.desired.log_upload.order.request_id == 1


def test_another_takes_the_place_of_the_first_n01_fr_12_n01_fr_20() -> None:
    station = given(ONLINE, get_log(1))
    first = upload_seq(station)
    decisions = station.when(get_log(2))
    assert response_payload_in(decisions)["status"] == "AcceptedCanceled"
    assert log_statuses(decisions) == [("AcceptedCanceled", 1), ("Uploading", 2)]
    assert log_statuses(station.when(LogUploadEnded(first, "Uploaded"))) == []
    assert log_statuses(station.when(upload_ended())) == [("Uploaded", 2)]


@pytest.mark.parametrize(
    ("oldest_h", "latest_h"),
    [(1, None), (-1, -2)],
)
def test_a_span_with_nothing_in_it_is_refused_n01_fr_05(
    oldest_h: int, latest_h: int | None
) -> None:
    span: Json = {"oldestTimestamp": format_timestamp(NOON + timedelta(hours=oldest_h))}
    if latest_h is not None:
        span["latestTimestamp"] = format_timestamp(NOON + timedelta(hours=latest_h))
    station = given(ONLINE)
    assert response_payload_in(station.when(get_log(**span)))["status"] == "Rejected"
    assert station.desired.log_upload is None


@pytest.mark.parametrize(("oldest_h", "latest_h"), [(0, None), (-2, -1), (-1, -1), (None, -1)])
def test_a_span_that_may_hold_something_is_taken_n01_fr_01(
    oldest_h: int | None, latest_h: int | None
) -> None:
    hours = {"oldestTimestamp": oldest_h, "latestTimestamp": latest_h}
    span: Json = {
        name: format_timestamp(NOON + timedelta(hours=each))
        for name, each in hours.items()
        if each is not None
    }
    assert response_payload_in(given(ONLINE).when(get_log(**span)))["status"] == "Accepted"


def test_the_span_is_kept_in_utc() -> None:
    station = given(ONLINE, get_log(oldestTimestamp="2026-03-01T11:30:00.1234+01:00"))
    assert station.desired.log_upload is not None
    assert station.desired.log_upload.order.oldest_timestamp == "2026-03-01T10:30:00.123Z"


def test_after_a_power_cut_the_upload_is_still_wanted() -> None:
    station = given(ONLINE, get_log())
    ordered_upload = station.desired.log_upload
    station.when(station_restarted(boot_id="boot-2"))
    assert station.desired.log_upload == ordered_upload


def triggered_statuses(station: Station) -> list[tuple[str, int | None]]:
    return log_statuses(
        station.when(called("TriggerMessage", requestedMessage="LogStatusNotification"))
    )


def test_a_trigger_sends_what_is_on_its_way_f06_fr_14() -> None:
    assert triggered_statuses(given(ONLINE, get_log())) == [("Uploading", 5)]


def test_a_trigger_sends_idle_where_nothing_is_f06_fr_15() -> None:
    assert triggered_statuses(given(ONLINE)) == [("Idle", None)]
    assert triggered_statuses(given(ONLINE, get_log(), upload_ended())) == [("Idle", None)]


def test_a_reset_on_idle_waits_for_an_upload_b11_fr_07() -> None:
    station = given(ONLINE, get_log())
    assert (
        response_payload_in(station.when(called("Reset", type="OnIdle")))["status"] == "Scheduled"
    )


def test_a_pending_station_accepts_get_log_and_reports_once_accepted_b02_fr_02() -> None:
    status = {"word": "Pending"}

    def csms(action: str, payload: Json) -> Json | None:
        answer = accept_everything(action, payload)
        return answer and (answer | {"status": status["word"]} if "status" in answer else answer)

    station = given(BOOTED, IDLE, LINK_OPENED, csms=csms)
    decisions = station.with_csms(csms, get_log())
    assert response_payload_in(decisions)["status"] == "Accepted"
    assert station.in_flight is None
    status["word"] = "Accepted"
    heard: list[str] = []

    def listening(action: str, payload: Json) -> Json | None:
        heard.append(action)
        return csms(action, payload)

    station.with_csms(listening, called("TriggerMessage", requestedMessage="BootNotification"))
    assert "LogStatusNotification" in heard


def test_a_pending_station_answers_a_trigger_f06_fr_14_b02_fr_02() -> None:
    def csms(action: str, payload: Json) -> Json | None:
        answer = accept_everything(action, payload)
        return answer and (answer | {"status": "Pending"} if "status" in answer else answer)

    station = given(BOOTED, IDLE, LINK_OPENED, csms=csms)
    heard: list[Json] = []

    def listening(action: str, payload: Json) -> Json | None:
        heard.append({"action": action} | payload)
        return csms(action, payload)

    requested = called("TriggerMessage", requestedMessage="LogStatusNotification")
    station.with_csms(listening, requested)
    assert heard == [{"action": "LogStatusNotification", "status": "Idle"}]
    station.when(get_log())
    station.with_csms(listening, requested)
    assert heard[1:] == [{"action": "LogStatusNotification", "status": "Uploading", "requestId": 5}]
