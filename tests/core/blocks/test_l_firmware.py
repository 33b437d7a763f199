"""Firmware updates: every state is reported, whatever delays the update. Block L."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import pytest

from journal.events import Decision
from journal.observations import (
    CertificatePreset,
    ClockStepped,
    FirmwareActivationChecked,
    FirmwareDownloadEnded,
    FirmwareInstallEnded,
    FirmwareSignatureChecked,
)
from journal.projections.firmware import FirmwareWaitingForTransactions
from journal.projections.lifecycle import RestartOrdered
from journal.projections.outbox import CallQueued
from journal.projections.security import SecurityEventLogged
from station.ocpp.messages import format_timestamp
from tests.support.authorities import make_authority, make_server_certificate
from tests.support.story import (
    ALICE,
    BOB,
    BOOTED,
    CONFIGURED,
    IDLE,
    LINK_LOST,
    LINK_OPENED,
    NOON,
    Json,
    Station,
    Step,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    called,
    charging_started,
    charging_stopped,
    connector_statuses,
    csms_answers,
    given,
    in_sequence,
    in_transaction,
    of_kind,
    presented,
    queued_payloads,
    response_payload_in,
    station_restarted,
    time_passed,
)

MANUFACTURER: Final = make_authority("Maker root")
SIGNER: Final = make_server_certificate(
    MANUFACTURER,
    common_name="Firmware",
    valid_until=NOON + timedelta(days=900),
    valid_from=NOON - timedelta(days=9),
)
UNTRUSTED_SIGNER: Final = make_server_certificate(
    make_authority("Another authority"), valid_until=NOON + timedelta(days=900)
)
SIGNATURE: Final = base64.b64encode(b"proof").decode()

MANUFACTURER_ROOT_PRESET: Final = CertificatePreset(
    use="ManufacturerRootCertificate", pem=MANUFACTURER.pem
)
ONLINE_WITH_ROOT: Final = in_sequence(
    MANUFACTURER_ROOT_PRESET, CONFIGURED, BOOTED, IDLE, LINK_OPENED
)


def update_firmware(request_id: int = 7, **firmware: Any) -> Step:
    """A valid UpdateFirmware, to be downloaded at once."""
    reported = {
        "location": "https://files/firmware.bin",
        "retrieveDateTime": "2020-01-01T00:00:00Z",
        "signingCertificate": SIGNER.pem,
        "signature": SIGNATURE,
    }
    reported = {key: value for key, value in (reported | firmware).items() if value is not None}
    return called("UpdateFirmware", requestId=request_id, firmware=reported)


def format_time(moment: datetime) -> str:
    return format_timestamp(moment)


def firmware_statuses(decisions: list[Decision]) -> list[str]:
    """The statuses reported to the CSMS, in order."""
    return [
        str(payload["status"])
        for payload in queued_payloads(decisions, "FirmwareStatusNotification")
    ]


def update_seq(station: Station) -> int:
    """The entry that ordered the update."""
    assert station.state.firmware.latest_update is not None
    return station.state.firmware.latest_update.seq


def download_ended(*, ok: bool = True) -> Step:
    return lambda station: station.when(
        FirmwareDownloadEnded(update_seq(station), ok, "" if ok else "HTTP 404")
    )


def signature_checked(*, ok: bool = True) -> Step:
    return lambda station: station.when(
        FirmwareSignatureChecked(update_seq(station), ok, "" if ok else "other")
    )


def install_ended(outcome: Any = "restart_required", version: str = "1.1") -> Step:
    return lambda station: station.when(
        FirmwareInstallEnded(
            update_seq(station), outcome, version=version if outcome == "restart_required" else ""
        )
    )


def activation_checked(*, ok: bool = True) -> Step:
    return lambda station: station.when(FirmwareActivationChecked(update_seq(station), ok))


def firmware_step(station: Station) -> str:
    """The next step in the desired state."""
    return station.desired.firmware.step if station.desired.firmware else "nothing"


def security_event_types(decisions: list[Decision]) -> list[str]:
    return [decision.type for decision in of_kind(decisions, SecurityEventLogged)]


# --- The order -----------------------------------------------------------------------------------


def test_a_good_order_is_taken_on_and_begun_at_once_l01_fr_21() -> None:
    station = given(ONLINE_WITH_ROOT)
    decisions = station.when(update_firmware())
    assert response_payload_in(decisions) == {"status": "Accepted"}
    assert firmware_statuses(decisions) == ["Downloading"]
    assert (
        queued_payloads(decisions, "FirmwareStatusNotification")[0]["requestId"] == 7
    )  # L01.FR.10
    assert firmware_step(station) == "download"


@pytest.mark.parametrize("pem", [UNTRUSTED_SIGNER.pem, MANUFACTURER.pem, "no certificate at all"])
def test_a_signer_without_a_trusted_root_is_refused_and_reported_l01_fr_02_l01_fr_22(
    pem: str,
) -> None:
    station = given(ONLINE_WITH_ROOT)
    decisions = station.when(update_firmware(signingCertificate=pem))
    assert response_payload_in(decisions)["status"] == "InvalidCertificate"
    assert security_event_types(decisions) == ["InvalidFirmwareSigningCertificate"]
    [notified] = queued_payloads(decisions, "SecurityEventNotification")
    assert notified["type"] == "InvalidFirmwareSigningCertificate"
    assert firmware_statuses(decisions) == []
    assert firmware_step(station) == "nothing"


def test_a_signer_out_of_its_time_is_refused_l01_fr_22() -> None:
    first, last = NOON - timedelta(days=9), NOON - timedelta(days=1)
    signer = make_server_certificate(MANUFACTURER, valid_from=first, valid_until=last)
    station = given(ONLINE_WITH_ROOT)
    assert response_payload_in(station.when(update_firmware(signingCertificate=signer.pem)))[
        "status"
    ] == ("InvalidCertificate")


def test_without_a_manufacturer_root_no_signer_is_trusted_l01_fr_12() -> None:
    station = given(CONFIGURED, BOOTED, IDLE, LINK_OPENED)
    assert response_payload_in(station.when(update_firmware()))["status"] == "InvalidCertificate"


@pytest.mark.parametrize("missing", ["signingCertificate", "signature"])
def test_unsigned_firmware_is_refused_tc_l_18(missing: str) -> None:
    station, unset = given(ONLINE_WITH_ROOT), dict[str, Any]({missing: None})
    assert response_payload_in(station.when(update_firmware(**unset)))["status"] == "Rejected"
    assert firmware_step(station) == "nothing"


@pytest.mark.parametrize(
    ("retries", "interval", "attempts", "interval_s"),
    [(None, None, 4, 10), (0, 5, 1, 5), (3, 0, 4, 1), (-1, -1, 1, 1), (10**6, 10**9, 100, 86_400)],
)
def test_retries_of_the_csms_are_limited(
    retries: int | None, interval: int | None, attempts: int, interval_s: int
) -> None:
    firmware = {
        "location": "https://files/firmware.bin",
        "retrieveDateTime": "2020-01-01T00:00:00Z",
        "signingCertificate": SIGNER.pem,
        "signature": SIGNATURE,
    }
    requested: Json = {"requestId": 1, "firmware": firmware}
    requested |= {} if retries is None else {"retries": retries}
    requested |= {} if interval is None else {"retryInterval": interval}
    station = given(ONLINE_WITH_ROOT, called("UpdateFirmware", **requested))
    assert station.desired.firmware is not None
    ordered = station.desired.firmware.order
    assert (ordered.attempts_max, ordered.retry_interval_s) == (attempts, interval_s)


# --- The happy way -------------------------------------------------------------------------------


def test_every_state_is_reported_in_its_order_l01_fr_01() -> None:
    station = given(ONLINE_WITH_ROOT)
    assert firmware_statuses(station.with_csms(accept_everything, update_firmware())) == [
        "Downloading"
    ]
    assert firmware_statuses(station.with_csms(accept_everything, download_ended())) == [
        "Downloaded"
    ]
    assert firmware_step(station) == "verify"
    assert firmware_statuses(station.with_csms(accept_everything, signature_checked())) == [
        "SignatureVerified",
        "Installing",
    ]
    assert firmware_step(station) == "install"
    decisions = station.with_csms(accept_everything, install_ended())
    assert firmware_statuses(decisions) == ["InstallRebooting"]
    assert [decision.boot_reason for decision in of_kind(decisions, RestartOrdered)] == [
        "FirmwareUpdate"
    ]
    assert station.desired.restart_reason == "FirmwareUpdate"
    decisions = station.with_csms(accept_everything, station_restarted(), LINK_OPENED)
    [boot] = queued_payloads(decisions, "BootNotification")
    assert boot["reason"] == "FirmwareUpdate"
    assert firmware_step(station) == "confirm"
    assert station.desired.firmware is not None
    assert station.desired.firmware.version == "1.1"
    decisions = station.with_csms(accept_everything, activation_checked())
    assert firmware_statuses(decisions) == ["Installed"]
    assert security_event_types(decisions) == ["FirmwareUpdated"]  # L01.FR.31
    assert queued_payloads(decisions, "SecurityEventNotification")[0]["type"] == "FirmwareUpdated"
    assert firmware_step(station) == "nothing"


def test_the_evses_are_reported_unavailable_before_installing_and_available_after_tc_l_01() -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware(), download_ended())
    decisions = station.when(signature_checked())
    calls = [msgspec.json.decode(decision.payload) for decision in of_kind(decisions, CallQueued)]
    words = [str(call.get("connectorStatus", call.get("status"))) for call in calls]
    assert words == ["SignatureVerified", "Unavailable", "Unavailable", "Installing"]
    decisions = station.with_csms(accept_everything, install_ended("failed"))
    assert firmware_statuses(decisions) == ["InstallationFailed"]
    assert connector_statuses(decisions) == [(1, "Available"), (2, "Available")]


def test_no_transaction_starts_while_firmware_is_installed() -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware(), download_ended(), signature_checked())
    decisions = station.with_csms(accept_everything, cable_plugged(1), presented(ALICE, evse_id=1))
    assert not queued_payloads(decisions, "TransactionEvent")
    assert not station.state.authorizations.active


def test_states_are_reported_after_the_link_was_lost_l01_fr_01() -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware(), LINK_LOST)
    station.when(download_ended(), signature_checked(ok=False))
    decisions: list[str] = []

    def csms(action: str, payload: Json) -> Json | None:
        if action == "FirmwareStatusNotification":
            decisions.append(str(payload["status"]))
        return accept_everything(action, payload)

    station.with_csms(csms, LINK_OPENED)
    assert decisions == ["Downloaded", "InvalidSignature"]


# --- Failures ------------------------------------------------------------------------------------


def test_a_download_that_fails_ends_the_update_l01_fr_30() -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware())
    assert firmware_statuses(station.when(download_ended(ok=False))) == ["DownloadFailed"]
    assert firmware_step(station) == "nothing"


def test_a_wrong_signature_ends_the_update_and_is_reported_l01_fr_03() -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware(), download_ended())
    decisions = station.when(signature_checked(ok=False))
    assert firmware_statuses(decisions) == ["InvalidSignature"]
    assert security_event_types(decisions) == ["InvalidFirmwareSignature"]
    assert firmware_step(station) == "nothing"


def test_a_file_that_is_lost_before_it_was_checked_was_never_downloaded() -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware(), download_ended())
    assert firmware_statuses(station.when(download_ended(ok=False))) == ["DownloadFailed"]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("failed", "InstallationFailed"), ("invalid_firmware", "InstallVerificationFailed")],
)
def test_an_installer_that_fails_ends_the_update_l01_fr_29(outcome: str, status: str) -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware(), download_ended(), signature_checked())
    assert firmware_statuses(station.when(install_ended(outcome))) == [status]
    assert firmware_step(station) == "nothing"
    assert not station.desired.restart_reason


def test_a_release_that_does_not_count_after_the_restart_was_not_installed_l01_fr_32() -> None:
    station = given(
        ONLINE_WITH_ROOT,
        update_firmware(),
        download_ended(),
        signature_checked(),
        install_ended(),
        station_restarted(),
        LINK_OPENED,
    )
    decisions = station.with_csms(accept_everything, activation_checked(ok=False))
    assert firmware_statuses(decisions) == ["InstallationFailed"]
    assert security_event_types(decisions) == []


def test_reports_on_another_update_change_nothing() -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware())
    for report in (
        FirmwareDownloadEnded(1, True),
        FirmwareSignatureChecked(update_seq(station), True),  # in the wrong state
        FirmwareInstallEnded(update_seq(station), "restart_required"),
        FirmwareActivationChecked(update_seq(station), True),
    ):
        assert firmware_statuses(station.when(report)) == []
    assert firmware_step(station) == "download"


@pytest.mark.parametrize(
    ("steps", "late", "doing"),
    [
        ((download_ended(),), download_ended(), "verify"),
        ((download_ended(), signature_checked()), download_ended(), "install"),
        ((download_ended(), signature_checked()), download_ended(ok=False), "install"),
        ((download_ended(), signature_checked()), signature_checked(ok=False), "install"),
        ((), signature_checked(), "download"),
        ((download_ended(),), install_ended(), "verify"),
        ((), activation_checked(), "download"),
    ],
)
def test_a_report_that_comes_late_changes_nothing(
    steps: tuple[Step, ...], late: Step, doing: str
) -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware(), *steps)
    assert firmware_step(station) == doing
    assert firmware_statuses(station.when(late)) == []
    assert firmware_step(station) == doing


# --- The clock -----------------------------------------------------------------------------------


def test_a_download_for_later_is_scheduled_and_begins_in_time_l01_fr_13() -> None:
    station = given(ONLINE_WITH_ROOT)
    decisions = station.when(
        update_firmware(retrieveDateTime=format_time(NOON + timedelta(minutes=5)))
    )
    assert firmware_statuses(decisions) == ["DownloadScheduled"]
    assert firmware_step(station) == "wait"
    assert firmware_statuses(station.when(time_passed(seconds=290))) == []
    assert firmware_statuses(station.when(time_passed(seconds=20))) == ["Downloading"]


def test_a_clock_set_back_does_not_stop_a_download_p7() -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware(retrieveDateTime=format_time(NOON)))
    assert firmware_step(station) == "download"
    station.host_at -= timedelta(days=400)
    assert firmware_statuses(station.when(ClockStepped(-400 * 86_400_000))) == []
    assert firmware_step(station) == "download"


def test_a_clock_set_back_does_not_keep_a_download_paused_p7() -> None:
    station = given(
        ONLINE_WITH_ROOT, update_firmware(retrieveDateTime=format_time(NOON)), in_transaction(1)
    )
    station.host_at -= timedelta(days=400)
    station.when(ClockStepped(-400 * 86_400_000))
    assert firmware_statuses(station.with_csms(accept_everything, drive_away())) == ["Downloading"]


def test_an_installation_for_later_is_scheduled_and_begins_in_time_l01_fr_16() -> None:
    station = given(
        ONLINE_WITH_ROOT,
        update_firmware(installDateTime=format_time(NOON + timedelta(hours=1))),
        download_ended(),
    )
    assert firmware_statuses(station.when(signature_checked())) == [
        "SignatureVerified",
        "InstallScheduled",
    ]
    assert firmware_step(station) == "wait"
    assert firmware_statuses(station.with_csms(accept_everything, time_passed(seconds=3590))) == []
    assert firmware_statuses(station.with_csms(accept_everything, time_passed(seconds=20))) == [
        "Installing"
    ]


# --- In use -----------------------------------------------------------------------------------


def allow_new_sessions(*, new_sessions: bool) -> Step:
    return called(
        "SetVariables",
        setVariableData=[
            {
                "component": {"name": "ChargingStation"},
                "variable": {"name": "AllowNewSessionsPendingFirmwareUpdate"},
                "attributeValue": "true" if new_sessions else "false",
            }
        ],
    )


def drive_away(evse_id: int = 1) -> Step:
    """The EV at the EVSE is unplugged."""

    def depart(station: Station) -> list[Decision]:
        return station.with_csms(
            accept_everything, charging_stopped(evse_id), cable_unplugged(evse_id)
        )

    return depart


def test_nothing_is_downloaded_during_a_transaction_aq_7_tc_l_13() -> None:
    station = given(ONLINE_WITH_ROOT, in_transaction(1))
    decisions = station.when(update_firmware())
    assert firmware_statuses(decisions) == ["DownloadScheduled"]
    assert connector_statuses(decisions) == [
        (2, "Unavailable")
    ]  # L01.FR.07, by AllowNewSessions… false
    decisions = station.with_csms(accept_everything, drive_away())
    assert firmware_statuses(decisions) == ["Downloading"]
    assert (1, "Unavailable") in connector_statuses(decisions)
    assert (1, "Available") not in connector_statuses(decisions)


def test_that_an_update_waits_is_written_down_once_l01_fr_06() -> None:
    station = given(ONLINE_WITH_ROOT, in_transaction(1))
    assert len(of_kind(station.when(update_firmware()), FirmwareWaitingForTransactions)) == 1
    assert of_kind(station.when(time_passed(seconds=600)), FirmwareWaitingForTransactions) == []


def test_new_sessions_may_begin_while_an_update_waits_c_20_tc_l_12() -> None:
    station = given(ONLINE_WITH_ROOT, allow_new_sessions(new_sessions=True), in_transaction(1))
    decisions = station.when(update_firmware())
    assert firmware_statuses(decisions) == ["DownloadScheduled"]
    assert connector_statuses(decisions) == []
    decisions = station.with_csms(accept_everything, in_transaction(2, BOB))
    assert "Started" in [
        event["eventType"] for event in queued_payloads(decisions, "TransactionEvent")
    ]
    assert firmware_statuses(station.with_csms(accept_everything, drive_away(1))) == []
    assert firmware_statuses(station.with_csms(accept_everything, drive_away(2))) == ["Downloading"]


def test_a_download_pauses_during_a_transaction_l01_fr_14() -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware())
    assert firmware_statuses(station.with_csms(accept_everything, in_transaction(1))) == [
        "DownloadPaused"
    ]
    assert firmware_step(station) == "wait"
    assert firmware_statuses(station.with_csms(accept_everything, drive_away())) == ["Downloading"]


def test_a_download_that_ended_as_it_was_paused_is_done() -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware(), in_transaction(1))
    assert firmware_statuses(station.when(download_ended())) == ["Downloaded"]


def test_a_download_that_broke_as_it_was_paused_goes_on_later() -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware(), in_transaction(1))
    assert firmware_statuses(station.when(download_ended(ok=False))) == []
    assert firmware_statuses(station.with_csms(accept_everything, drive_away())) == ["Downloading"]


def test_nothing_is_installed_during_a_transaction_c_43_l01_fr_06() -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware(), download_ended(), in_transaction(1))
    decisions = station.when(signature_checked())
    assert firmware_statuses(decisions) == ["SignatureVerified", "InstallScheduled"]  # L01.FR.34
    assert connector_statuses(decisions) == [(2, "Unavailable")]  # L01.FR.07
    assert firmware_statuses(station.with_csms(accept_everything, drive_away())) == ["Installing"]


def test_an_ev_driver_authorized_before_the_update_may_still_plug_in() -> None:
    station = given(
        ONLINE_WITH_ROOT, update_firmware(), download_ended(), presented(ALICE, evse_id=1)
    )
    assert firmware_statuses(station.when(signature_checked())) == [
        "SignatureVerified",
        "InstallScheduled",
    ]
    decisions = station.with_csms(accept_everything, cable_plugged(1), charging_started(1))
    assert queued_payloads(decisions, "TransactionEvent")


def test_evses_open_again_once_new_sessions_are_allowed_l01_fr_07() -> None:
    station = given(ONLINE_WITH_ROOT, in_transaction(1), update_firmware())
    decisions = station.with_csms(accept_everything, allow_new_sessions(new_sessions=True))
    assert connector_statuses(decisions) == [(2, "Available")]


# --- Another order -------------------------------------------------------------------------------


def test_a_product_that_cannot_cancel_refuses_another_update_c_60_l01_fr_27() -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware(1), profile_name="evs-flash-300")
    decisions = station.when(update_firmware(2))
    assert response_payload_in(decisions)["status"] == "Rejected"
    assert station.desired.firmware is not None
    assert station.desired.firmware.order.request_id == 1


def test_another_update_takes_the_place_of_the_first_c_60_l01_fr_24() -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware(1))
    first = update_seq(station)
    decisions = station.when(update_firmware(2))
    assert response_payload_in(decisions) == {"status": "AcceptedCanceled"}
    assert [
        payload["requestId"] for payload in queued_payloads(decisions, "FirmwareStatusNotification")
    ] == [2]
    assert firmware_statuses(station.when(FirmwareDownloadEnded(first, True))) == []


def test_an_update_that_is_installing_cannot_be_cancelled_l01_fr_27() -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware(1), download_ended(), signature_checked())
    assert response_payload_in(station.when(update_firmware(2)))["status"] == "Rejected"


# --- Restarts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "doing"),
    [
        ((), "download"),
        ((download_ended(),), "verify"),
        ((download_ended(), signature_checked()), "install"),
    ],
)
def test_after_a_power_cut_the_same_step_is_to_be_done(steps: tuple[Step, ...], doing: str) -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware(), *steps)
    assert firmware_step(station) == doing
    station.when(station_restarted(boot_id="boot-2"))
    assert firmware_step(station) == doing


def test_a_power_cut_while_the_restart_waits_counts_as_the_restart() -> None:
    station = given(
        ONLINE_WITH_ROOT, update_firmware(), download_ended(), signature_checked(), LINK_LOST
    )
    station.when(install_ended())
    station.when(station_restarted(boot_id="boot-2"))
    assert firmware_step(station) == "confirm"


def test_the_restart_waits_for_delivery_but_not_for_ever_l01_fr_15() -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware(), download_ended(), signature_checked())
    station.with_csms(accept_everything)
    decisions = station.when(install_ended())  # the CSMS stops answering
    assert firmware_statuses(decisions) == ["InstallRebooting"]
    assert not of_kind(decisions, RestartOrdered)
    assert of_kind(station.when(time_passed(seconds=31)), RestartOrdered)


def test_the_wait_for_the_csms_begins_with_the_state_l01_fr_15() -> None:
    station = given(
        ONLINE_WITH_ROOT,
        update_firmware(),
        download_ended(),
        signature_checked(),
        time_passed(seconds=3_600),
    )
    assert not of_kind(station.when(install_ended()), RestartOrdered)


def test_the_version_of_another_update_is_not_this_ones() -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware(), download_ended(), signature_checked())
    station.when(FirmwareInstallEnded(1, "restart_required", version="9.9"))
    assert station.state.firmware.latest_update is not None
    assert station.state.firmware.latest_update.version == ""


def test_a_reset_cannot_break_off_an_installation_b11_fr_06_b12_fr_10() -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware(), download_ended(), signature_checked())
    decisions = response_payload_in(station.when(called("Reset", type="Immediate")))
    assert decisions["status"] == "Rejected"
    assert decisions["statusInfo"]["reasonCode"] == "FwUpdateInProgress"


def test_an_immediate_reset_breaks_off_a_download_b11_fr_03() -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware())
    assert response_payload_in(station.when(called("Reset", type="Immediate"))) == {
        "status": "Accepted"
    }


@pytest.mark.parametrize(
    "steps", [(), (download_ended(),), (download_ended(), signature_checked())]
)
def test_a_reset_on_idle_waits_for_an_update_b11_fr_07(steps: tuple[Step, ...]) -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware(), *steps)
    decisions = station.when(called("Reset", type="OnIdle"))
    assert response_payload_in(decisions)["status"] == "Scheduled"
    assert not of_kind(decisions, RestartOrdered)


# --- Triggers ------------------------------------------------------------------------------------


def triggered_status(station: Station) -> Json:
    decisions = station.when(
        called("TriggerMessage", requestedMessage="FirmwareStatusNotification")
    )
    [notified] = queued_payloads(decisions, "FirmwareStatusNotification")
    return notified


def test_before_any_update_a_trigger_sends_idle_f06_fr_16() -> None:
    assert triggered_status(given(ONLINE_WITH_ROOT)) == {"status": "Idle"}


def test_a_trigger_sends_the_last_status_l01_fr_26() -> None:
    station = given(ONLINE_WITH_ROOT, update_firmware())
    assert triggered_status(station) == {"status": "Downloading", "requestId": 7}
    station.with_csms(accept_everything, download_ended(ok=False))
    assert triggered_status(station) == {"status": "DownloadFailed", "requestId": 7}


def test_after_a_good_update_a_trigger_sends_idle_l01_fr_25() -> None:
    station = given(
        ONLINE_WITH_ROOT,
        update_firmware(),
        download_ended(),
        signature_checked(),
        install_ended(),
        station_restarted(),
        LINK_OPENED,
        activation_checked(),
    )
    station.when(csms_answers())
    assert triggered_status(station) == {"status": "Idle"}
