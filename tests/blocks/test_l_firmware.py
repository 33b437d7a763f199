"""Does an update go through its states as the CSMS is told, whatever is in its way? (Block L)"""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import pytest

from journal.observations import (
    ActivationChecked,
    CertificatePreset,
    ClockStepped,
    DownloadEnded,
    InstallEnded,
    SignatureChecked,
)
from journal.projections.firmware import TransactionsAwaited
from journal.projections.lifecycle import RestartOrdered
from journal.projections.outbox import CallQueued
from journal.projections.security import SecurityEventLogged
from journal.terms import Decision
from station.messages import timestamp
from tests.authorities import authority, server
from tests.story import (
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
    accepting,
    after,
    called,
    charging,
    discharged,
    given,
    in_transaction,
    of_kind,
    plugged,
    presented,
    queued,
    reply_in,
    restarted,
    serves,
    several,
    statuses,
    unplugged,
)

MAKER: Final = authority("Maker root")
SIGNER: Final = server(
    MAKER, common_name="Firmware", last=NOON + timedelta(days=900), first=NOON - timedelta(days=9)
)
STRANGER: Final = server(authority("Somebody else"), last=NOON + timedelta(days=900))
SIGNATURE: Final = base64.b64encode(b"proof").decode()

ROOTED: Final = CertificatePreset(use="ManufacturerRootCertificate", pem=MAKER.pem)
READY: Final = several(ROOTED, CONFIGURED, BOOTED, IDLE, LINK_OPENED)


def update(request_id: int = 7, **firmware: Any) -> Step:
    """UpdateFirmware, signed well, to be fetched at once."""
    told = {
        "location": "https://files/firmware.bin",
        "retrieveDateTime": "2020-01-01T00:00:00Z",
        "signingCertificate": SIGNER.pem,
        "signature": SIGNATURE,
    }
    told = {key: value for key, value in (told | firmware).items() if value is not None}
    return called("UpdateFirmware", requestId=request_id, firmware=told)


def at(moment: datetime) -> str:
    return timestamp(moment)


def told(decisions: list[Decision]) -> list[str]:
    """The statuses the CSMS hears of, in their order."""
    return [str(one["status"]) for one in queued(decisions, "FirmwareStatusNotification")]


def seq(station: Station) -> int:
    """What the update is known by."""
    assert station.state.firmware.last is not None
    return station.state.firmware.last.seq


def downloaded(*, ok: bool = True) -> Step:
    return lambda station: station.when(DownloadEnded(seq(station), ok, "" if ok else "HTTP 404"))


def checked(*, ok: bool = True) -> Step:
    return lambda station: station.when(SignatureChecked(seq(station), ok, "" if ok else "other"))


def installed(outcome: Any = "restart", version: str = "1.1") -> Step:
    return lambda station: station.when(
        InstallEnded(seq(station), outcome, version=version if outcome == "restart" else "")
    )


def confirmed(*, ok: bool = True) -> Step:
    return lambda station: station.when(ActivationChecked(seq(station), ok))


def step(station: Station) -> str:
    """What shall be done."""
    return station.level.firmware.step if station.level.firmware else "nothing"


def events(decisions: list[Decision]) -> list[str]:
    return [one.type for one in of_kind(decisions, SecurityEventLogged)]


# --- The order -----------------------------------------------------------------------------------


def test_a_good_order_is_taken_on_and_begun_at_once_l01_fr_21() -> None:
    station = given(READY)
    said = station.when(update())
    assert reply_in(said) == {"status": "Accepted"}
    assert told(said) == ["Downloading"]
    assert queued(said, "FirmwareStatusNotification")[0]["requestId"] == 7  # L01.FR.10
    assert step(station) == "download"


@pytest.mark.parametrize("pem", [STRANGER.pem, MAKER.pem, "no certificate at all"])
def test_a_signer_nobody_vouches_for_is_refused_and_told_of_l01_fr_02_l01_fr_22(pem: str) -> None:
    station = given(READY)
    said = station.when(update(signingCertificate=pem))
    assert reply_in(said)["status"] == "InvalidCertificate"
    assert events(said) == ["InvalidFirmwareSigningCertificate"]
    [notified] = queued(said, "SecurityEventNotification")
    assert notified["type"] == "InvalidFirmwareSigningCertificate"
    assert told(said) == []
    assert step(station) == "nothing"


def test_a_signer_out_of_its_time_is_refused_l01_fr_22() -> None:
    first, last = NOON - timedelta(days=9), NOON - timedelta(days=1)
    signer = server(MAKER, first=first, last=last)
    station = given(READY)
    assert reply_in(station.when(update(signingCertificate=signer.pem)))["status"] == (
        "InvalidCertificate"
    )


def test_without_a_root_of_the_maker_nobody_is_trusted_l01_fr_12() -> None:
    station = given(CONFIGURED, BOOTED, IDLE, LINK_OPENED)
    assert reply_in(station.when(update()))["status"] == "InvalidCertificate"


@pytest.mark.parametrize("missing", ["signingCertificate", "signature"])
def test_unsigned_firmware_is_refused_tc_l_18(missing: str) -> None:
    station, unset = given(READY), dict[str, Any]({missing: None})
    assert reply_in(station.when(update(**unset)))["status"] == "Rejected"
    assert step(station) == "nothing"


@pytest.mark.parametrize(
    ("retries", "interval", "attempts", "interval_s"),
    [(None, None, 4, 10), (0, 5, 1, 5), (3, 0, 4, 1), (-1, -1, 1, 1), (10**6, 10**9, 100, 86_400)],
)
def test_retries_are_what_the_csms_says_within_reason(
    retries: int | None, interval: int | None, attempts: int, interval_s: int
) -> None:
    firmware = {
        "location": "https://files/firmware.bin",
        "retrieveDateTime": "2020-01-01T00:00:00Z",
        "signingCertificate": SIGNER.pem,
        "signature": SIGNATURE,
    }
    asked: Json = {"requestId": 1, "firmware": firmware}
    asked |= {} if retries is None else {"retries": retries}
    asked |= {} if interval is None else {"retryInterval": interval}
    station = given(READY, called("UpdateFirmware", **asked))
    assert station.level.firmware is not None
    ordered = station.level.firmware.ordered
    assert (ordered.attempts, ordered.interval_s) == (attempts, interval_s)


# --- The happy way -------------------------------------------------------------------------------


def test_every_state_is_told_in_its_order_l01_fr_01() -> None:
    station = given(READY)
    assert told(station.with_csms(accepting, update())) == ["Downloading"]
    assert told(station.with_csms(accepting, downloaded())) == ["Downloaded"]
    assert step(station) == "verify"
    assert told(station.with_csms(accepting, checked())) == ["SignatureVerified", "Installing"]
    assert step(station) == "install"
    said = station.with_csms(accepting, installed())
    assert told(said) == ["InstallRebooting"]
    assert [one.boot_reason for one in of_kind(said, RestartOrdered)] == ["FirmwareUpdate"]
    assert station.level.restart == "FirmwareUpdate"
    said = station.with_csms(accepting, restarted(), LINK_OPENED)
    [boot] = queued(said, "BootNotification")
    assert boot["reason"] == "FirmwareUpdate"
    assert step(station) == "confirm"
    assert station.level.firmware is not None
    assert station.level.firmware.version == "1.1"
    said = station.with_csms(accepting, confirmed())
    assert told(said) == ["Installed"]
    assert events(said) == ["FirmwareUpdated"]  # L01.FR.31
    assert queued(said, "SecurityEventNotification")[0]["type"] == "FirmwareUpdated"
    assert step(station) == "nothing"


def test_the_evses_are_told_unavailable_before_installing_and_available_after_tc_l_01() -> None:
    station = given(READY, update(), downloaded())
    said = station.when(checked())
    calls = [msgspec.json.decode(one.payload) for one in of_kind(said, CallQueued)]
    words = [str(one.get("connectorStatus", one.get("status"))) for one in calls]
    assert words == ["SignatureVerified", "Unavailable", "Unavailable", "Installing"]
    said = station.with_csms(accepting, installed("failed"))
    assert told(said) == ["InstallationFailed"]
    assert statuses(said) == [(1, "Available"), (2, "Available")]


def test_nobody_may_begin_while_firmware_is_installed() -> None:
    station = given(READY, update(), downloaded(), checked())
    said = station.with_csms(accepting, plugged(1), presented(ALICE, evse_id=1))
    assert not queued(said, "TransactionEvent")
    assert not station.state.authorizations.held


def test_states_are_told_after_the_link_was_lost_l01_fr_01() -> None:
    station = given(READY, update(), LINK_LOST)
    station.when(downloaded(), checked(ok=False))
    said: list[str] = []

    def csms(action: str, payload: Json) -> Json | None:
        if action == "FirmwareStatusNotification":
            said.append(str(payload["status"]))
        return accepting(action, payload)

    station.with_csms(csms, LINK_OPENED)
    assert said == ["Downloaded", "InvalidSignature"]


# --- Failures ------------------------------------------------------------------------------------


def test_a_download_that_fails_ends_the_update_l01_fr_30() -> None:
    station = given(READY, update())
    assert told(station.when(downloaded(ok=False))) == ["DownloadFailed"]
    assert step(station) == "nothing"


def test_a_wrong_signature_ends_the_update_and_is_told_of_l01_fr_03() -> None:
    station = given(READY, update(), downloaded())
    said = station.when(checked(ok=False))
    assert told(said) == ["InvalidSignature"]
    assert events(said) == ["InvalidFirmwareSignature"]
    assert step(station) == "nothing"


def test_a_file_that_is_lost_before_it_was_checked_was_never_downloaded() -> None:
    station = given(READY, update(), downloaded())
    assert told(station.when(downloaded(ok=False))) == ["DownloadFailed"]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("failed", "InstallationFailed"), ("invalid", "InstallVerificationFailed")],
)
def test_an_installer_that_fails_ends_the_update_l01_fr_29(outcome: str, status: str) -> None:
    station = given(READY, update(), downloaded(), checked())
    assert told(station.when(installed(outcome))) == [status]
    assert step(station) == "nothing"
    assert not station.level.restart


def test_a_release_that_does_not_count_after_the_restart_was_not_installed_l01_fr_32() -> None:
    station = given(READY, update(), downloaded(), checked(), installed(), restarted(), LINK_OPENED)
    said = station.with_csms(accepting, confirmed(ok=False))
    assert told(said) == ["InstallationFailed"]
    assert events(said) == []


def test_reports_on_another_update_change_nothing() -> None:
    station = given(READY, update())
    for report in (
        DownloadEnded(1, True),
        SignatureChecked(seq(station), True),  # out of turn
        InstallEnded(seq(station), "restart"),
        ActivationChecked(seq(station), True),
    ):
        assert told(station.when(report)) == []
    assert step(station) == "download"


@pytest.mark.parametrize(
    ("steps", "late", "doing"),
    [
        ((downloaded(),), downloaded(), "verify"),
        ((downloaded(), checked()), downloaded(), "install"),
        ((downloaded(), checked()), downloaded(ok=False), "install"),
        ((downloaded(), checked()), checked(ok=False), "install"),
        ((), checked(), "download"),
        ((downloaded(),), installed(), "verify"),
        ((), confirmed(), "download"),
    ],
)
def test_a_report_that_comes_late_changes_nothing(
    steps: tuple[Step, ...], late: Step, doing: str
) -> None:
    station = given(READY, update(), *steps)
    assert step(station) == doing
    assert told(station.when(late)) == []
    assert step(station) == doing


# --- The clock -----------------------------------------------------------------------------------


def test_a_download_for_later_is_scheduled_and_begins_in_time_l01_fr_13() -> None:
    station = given(READY)
    said = station.when(update(retrieveDateTime=at(NOON + timedelta(minutes=5))))
    assert told(said) == ["DownloadScheduled"]
    assert step(station) == "wait"
    assert told(station.when(after(seconds=290))) == []
    assert told(station.when(after(seconds=20))) == ["Downloading"]


def test_a_clock_set_back_does_not_stop_a_download_p7() -> None:
    station = given(READY, update(retrieveDateTime=at(NOON)))
    assert step(station) == "download"
    station.host_at -= timedelta(days=400)
    assert told(station.when(ClockStepped(-400 * 86_400_000))) == []
    assert step(station) == "download"


def test_a_clock_set_back_does_not_keep_a_download_paused_p7() -> None:
    station = given(READY, update(retrieveDateTime=at(NOON)), in_transaction(1))
    station.host_at -= timedelta(days=400)
    station.when(ClockStepped(-400 * 86_400_000))
    assert told(station.with_csms(accepting, gone())) == ["Downloading"]


def test_an_installation_for_later_is_scheduled_and_begins_in_time_l01_fr_16() -> None:
    station = given(READY, update(installDateTime=at(NOON + timedelta(hours=1))), downloaded())
    assert told(station.when(checked())) == ["SignatureVerified", "InstallScheduled"]
    assert step(station) == "wait"
    assert told(station.with_csms(accepting, after(seconds=3590))) == []
    assert told(station.with_csms(accepting, after(seconds=20))) == ["Installing"]


# --- Somebody charges ----------------------------------------------------------------------------


def allowing(*, new_sessions: bool) -> Step:
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


def gone(evse_id: int = 1) -> Step:
    """Whoever charged there has unplugged."""

    def depart(station: Station) -> list[Decision]:
        return station.with_csms(accepting, discharged(evse_id), unplugged(evse_id))

    return depart


def test_nothing_is_downloaded_while_somebody_charges_aq_7_tc_l_13() -> None:
    station = given(READY, in_transaction(1))
    said = station.when(update())
    assert told(said) == ["DownloadScheduled"]
    assert statuses(said) == [(2, "Unavailable")]  # L01.FR.07, by AllowNewSessions… false
    said = station.with_csms(accepting, gone())
    assert told(said) == ["Downloading"]
    assert (1, "Unavailable") in statuses(said)
    assert (1, "Available") not in statuses(said)


def test_that_an_update_waits_is_written_down_once_l01_fr_06() -> None:
    station = given(READY, in_transaction(1))
    assert len(of_kind(station.when(update()), TransactionsAwaited)) == 1
    assert of_kind(station.when(after(seconds=600)), TransactionsAwaited) == []


def test_new_sessions_may_begin_while_an_update_waits_c_20_tc_l_12() -> None:
    station = given(READY, allowing(new_sessions=True), in_transaction(1))
    said = station.when(update())
    assert told(said) == ["DownloadScheduled"]
    assert statuses(said) == []
    said = station.with_csms(accepting, in_transaction(2, BOB))
    assert "Started" in [one["eventType"] for one in queued(said, "TransactionEvent")]
    assert told(station.with_csms(accepting, gone(1))) == []
    assert told(station.with_csms(accepting, gone(2))) == ["Downloading"]


def test_a_download_rests_while_somebody_charges_l01_fr_14() -> None:
    station = given(READY, update())
    assert told(station.with_csms(accepting, in_transaction(1))) == ["DownloadPaused"]
    assert step(station) == "wait"
    assert told(station.with_csms(accepting, gone())) == ["Downloading"]


def test_a_download_that_ended_as_it_was_paused_is_done() -> None:
    station = given(READY, update(), in_transaction(1))
    assert told(station.when(downloaded())) == ["Downloaded"]


def test_a_download_that_broke_as_it_was_paused_goes_on_later() -> None:
    station = given(READY, update(), in_transaction(1))
    assert told(station.when(downloaded(ok=False))) == []
    assert told(station.with_csms(accepting, gone())) == ["Downloading"]


def test_nothing_is_installed_while_somebody_charges_c_43_l01_fr_06() -> None:
    station = given(READY, update(), downloaded(), in_transaction(1))
    said = station.when(checked())
    assert told(said) == ["SignatureVerified", "InstallScheduled"]  # L01.FR.34
    assert statuses(said) == [(2, "Unavailable")]  # L01.FR.07
    assert told(station.with_csms(accepting, gone())) == ["Installing"]


def test_somebody_who_was_let_in_before_the_update_may_still_plug_in() -> None:
    station = given(READY, update(), downloaded(), presented(ALICE, evse_id=1))
    assert told(station.when(checked())) == ["SignatureVerified", "InstallScheduled"]
    said = station.with_csms(accepting, plugged(1), charging(1))
    assert queued(said, "TransactionEvent")


def test_evses_open_again_once_new_sessions_are_allowed_l01_fr_07() -> None:
    station = given(READY, in_transaction(1), update())
    said = station.with_csms(accepting, allowing(new_sessions=True))
    assert statuses(said) == [(2, "Available")]


# --- Another order -------------------------------------------------------------------------------


def test_a_product_that_cannot_cancel_refuses_another_update_c_60_l01_fr_27() -> None:
    station = given(READY, update(1), of="evs-flash-300")
    said = station.when(update(2))
    assert reply_in(said)["status"] == "Rejected"
    assert station.level.firmware is not None
    assert station.level.firmware.ordered.request_id == 1


def test_another_update_takes_the_place_of_the_first_c_60_l01_fr_24() -> None:
    station = given(READY, update(1))
    first = seq(station)
    said = station.when(update(2))
    assert reply_in(said) == {"status": "AcceptedCanceled"}
    assert [one["requestId"] for one in queued(said, "FirmwareStatusNotification")] == [2]
    assert told(station.when(DownloadEnded(first, True))) == []


def test_what_is_being_installed_cannot_be_cancelled_l01_fr_27() -> None:
    station = given(READY, update(1), downloaded(), checked())
    assert reply_in(station.when(update(2)))["status"] == "Rejected"


# --- Restarts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "doing"),
    [
        ((), "download"),
        ((downloaded(),), "verify"),
        ((downloaded(), checked()), "install"),
    ],
)
def test_after_a_power_cut_the_same_step_is_to_be_done(steps: tuple[Step, ...], doing: str) -> None:
    station = given(READY, update(), *steps)
    assert step(station) == doing
    station.when(restarted(boot_id="boot-2"))
    assert step(station) == doing


def test_a_power_cut_while_the_restart_waits_counts_as_the_restart() -> None:
    station = given(READY, update(), downloaded(), checked(), LINK_LOST)
    station.when(installed())
    station.when(restarted(boot_id="boot-2"))
    assert step(station) == "confirm"


def test_the_restart_waits_until_the_csms_has_heard_but_not_for_ever_l01_fr_15() -> None:
    station = given(READY, update(), downloaded(), checked())
    station.with_csms(accepting)
    said = station.when(installed())  # the CSMS falls silent
    assert told(said) == ["InstallRebooting"]
    assert not of_kind(said, RestartOrdered)
    assert of_kind(station.when(after(seconds=31)), RestartOrdered)


def test_the_wait_for_the_csms_begins_with_the_state_l01_fr_15() -> None:
    station = given(READY, update(), downloaded(), checked(), after(seconds=3_600))
    assert not of_kind(station.when(installed()), RestartOrdered)


def test_the_version_of_another_update_is_not_this_ones() -> None:
    station = given(READY, update(), downloaded(), checked())
    station.when(InstallEnded(1, "restart", version="9.9"))
    assert station.state.firmware.last is not None
    assert station.state.firmware.last.version == ""


def test_a_reset_cannot_break_off_an_installation_b11_fr_06_b12_fr_10() -> None:
    station = given(READY, update(), downloaded(), checked())
    said = reply_in(station.when(called("Reset", type="Immediate")))
    assert said["status"] == "Rejected"
    assert said["statusInfo"]["reasonCode"] == "FwUpdateInProgress"


def test_an_immediate_reset_breaks_off_a_download_b11_fr_03() -> None:
    station = given(READY, update())
    assert reply_in(station.when(called("Reset", type="Immediate"))) == {"status": "Accepted"}


@pytest.mark.parametrize("steps", [(), (downloaded(),), (downloaded(), checked())])
def test_a_reset_on_idle_waits_for_an_update_b11_fr_07(steps: tuple[Step, ...]) -> None:
    station = given(READY, update(), *steps)
    said = station.when(called("Reset", type="OnIdle"))
    assert reply_in(said)["status"] == "Scheduled"
    assert not of_kind(said, RestartOrdered)


# --- Triggers ------------------------------------------------------------------------------------


def trigger(station: Station) -> Json:
    said = station.when(called("TriggerMessage", requestedMessage="FirmwareStatusNotification"))
    [notified] = queued(said, "FirmwareStatusNotification")
    return notified


def test_before_any_update_a_trigger_tells_idle_f06_fr_16() -> None:
    assert trigger(given(READY)) == {"status": "Idle"}


def test_a_trigger_tells_what_was_told_last_l01_fr_26() -> None:
    station = given(READY, update())
    assert trigger(station) == {"status": "Downloading", "requestId": 7}
    station.with_csms(accepting, downloaded(ok=False))
    assert trigger(station) == {"status": "DownloadFailed", "requestId": 7}


def test_after_a_good_update_a_trigger_tells_idle_l01_fr_25() -> None:
    station = given(
        READY, update(), downloaded(), checked(), installed(), restarted(), LINK_OPENED, confirmed()
    )
    station.when(serves())
    assert trigger(station) == {"status": "Idle"}
