"""Scenes of refused cards and requests."""

from __future__ import annotations

from typing import Final

from station.simulation.faulty_csms import ALICE, MALLORY
from tests.ground_truth.scene import SceneBuilder, SceneScript


def _refuse_token(script: SceneScript, id_token: str, expected_text: str, at_s: float = 10) -> None:
    """Plug in and present a card that is refused."""
    script.plug_in()
    script.present_id_token(at_s, id_token)
    script.unplug()
    script.add_question("refusal", expected_text)


# --- By the CSMS ---------------------------------------------------------------------------------


def refused_by_csms(script: SceneScript) -> None:
    status = script.random_source.choice(
        ["Blocked", "Expired", "Invalid", "NoCredit", "NotAtThisTime"]
    )
    _refuse_token(
        script, script.accepted_id_token(status), f"the CSMS answered {status} (C01.FR.07)"
    )


def unknown_token(script: SceneScript) -> None:
    _refuse_token(script, script.new_id_token(), "the CSMS answered Unknown (C01.FR.07)")


def other_evses_only(script: SceneScript) -> None:
    id_token = script.accepted_id_token(evse_ids=[script.other_evse_id])
    _refuse_token(script, id_token, "the CSMS allows the IdToken at other EVSEs only (C01.FR.21)")


# --- The CSMS cannot be asked --------------------------------------------------------------------


def offline_and_uncached(script: SceneScript) -> None:
    script.go_offline(10, 110)
    _refuse_token(
        script,
        script.new_id_token(),
        "the CSMS could not be asked, and the IdToken is not cached: "
        "only OfflineTxForUnknownIdEnabled would accept it (C15.FR.08)",
        60,
    )


def offline_and_cached_as_blocked(script: SceneScript) -> None:
    script.csms_calls(1, "ClearCache")
    script.plug_in()
    script.present_id_token(10, MALLORY)
    script.go_offline(20, 120)
    script.present_id_token(60, MALLORY)
    script.unplug()
    script.add_question("refusal", "the CSMS answered Blocked (C01.FR.07)")
    script.add_question(
        "refusal", "the CSMS could not be asked, and the IdToken is cached as Blocked (C12"
    )


def _refuse_cached_offline(script: SceneScript, expected_text: str) -> None:
    """Present a card that is cached as Accepted, while there is no link."""
    id_token = script.accepted_id_token()
    script.present_id_token(1, id_token)
    script.present_id_token(4.5, id_token)
    script.go_offline(30, 120)
    script.plug_in(40)
    script.present_id_token(60, id_token)
    script.unplug()
    script.add_question("refusal", expected_text)


def offline_and_cache_expired(script: SceneScript) -> None:
    script.set_variable("AuthCacheCtrlr.LifeTime", "20")
    _refuse_cached_offline(
        script,
        "the CSMS could not be asked, and the IdToken is not cached: only "
        "OfflineTxForUnknownIdEnabled would accept it (C15.FR.08), after its lifetime in the cache "
        "ended (C10.FR.10)",
    )


def offline_without_cache_use(script: SceneScript) -> None:
    script.set_variable("AuthCtrlr.LocalAuthorizeOffline", "false")
    _refuse_cached_offline(
        script,
        "the CSMS could not be asked, and LocalAuthorizeOffline does not allow using the cache",
    )


def offline_and_other_evses_only(script: SceneScript) -> None:
    id_token = script.accepted_id_token(evse_ids=[script.other_evse_id])
    script.add_event(1, "present_id_token", id_token=id_token, evse_id=script.other_evse_id)
    script.add_event(3, "present_id_token", id_token=id_token, evse_id=script.other_evse_id)
    script.go_offline(30, 120)
    _refuse_token(
        script, id_token, "the CSMS allows the IdToken at other EVSEs only (C01.FR.21)", 60
    )


def csms_answers_error(script: SceneScript) -> None:
    script.add_event(8, "set_fault_rates", seconds=10, call_error=1.0)
    _refuse_token(
        script,
        script.new_id_token(),
        "the CSMS sent no valid answer, and the IdToken is not cached",
        12,
    )


def csms_does_not_answer(script: SceneScript) -> None:
    script.add_event(8, "set_fault_rates", seconds=10, no_response=1.0)
    _refuse_token(
        script,
        script.new_id_token(),
        "the CSMS sent no valid answer, and the IdToken is not cached",
        12,
    )


def link_lost_during_authorize(script: SceneScript) -> None:
    script.add_event(8, "set_fault_rates", seconds=10, no_response=1.0)
    script.go_offline(15, 60)
    _refuse_token(
        script,
        script.new_id_token(),
        "the link was lost before the CSMS answered, and the IdToken is not cached",
        12,
    )


# --- The CSMS must not be asked ------------------------------------------------------------------


def post_authorize_disabled(script: SceneScript) -> None:
    id_token = script.accepted_id_token("Blocked")
    script.set_variable("AuthCacheCtrlr.DisablePostAuthorize", "true")
    script.plug_in()
    script.present_id_token(10, id_token)
    script.present_id_token(60, id_token)
    script.unplug()
    script.add_question("refusal", "the CSMS answered Blocked (C01.FR.07)")
    script.add_question(
        "refusal",
        "the IdToken is cached as Blocked, and DisablePostAuthorize or "
        "DisableRemoteAuthorization does not allow asking the CSMS",
    )


def remote_authorization_disabled(script: SceneScript) -> None:
    script.set_variable("AuthCtrlr.DisableRemoteAuthorization", "true")
    _refuse_token(
        script,
        script.new_id_token(),
        "the IdToken is not cached, and DisableRemoteAuthorization does not allow asking the CSMS",
    )


def _send_local_list(script: SceneScript, id_token: str, status: str) -> None:
    """A Full update with one idToken."""
    entry = {
        "idToken": {"idToken": id_token, "type": "ISO14443"},
        "idTokenInfo": {"status": status},
    }
    script.csms_calls(
        2, "SendLocalList", versionNumber=1, updateType="Full", localAuthorizationList=[entry]
    )


def offline_and_listed_as_blocked(script: SceneScript) -> None:
    id_token = script.accepted_id_token()
    _send_local_list(script, id_token, "Blocked")
    script.go_offline(10, 110)
    _refuse_token(
        script,
        id_token,
        "the CSMS could not be asked, and the IdToken is in the Local Authorization List as "
        "Blocked (C13.FR.02)",
        60,
    )


def list_post_authorize_disabled(script: SceneScript) -> None:
    id_token = script.accepted_id_token()
    script.set_variable("LocalAuthListCtrlr.DisablePostAuthorize", "true")
    _send_local_list(script, id_token, "Invalid")
    _refuse_token(
        script,
        id_token,
        "the Local Authorization List has the IdToken as Invalid, and DisablePostAuthorize or "
        "DisableRemoteAuthorization does not allow asking the CSMS (C14.FR.03)",
    )


def local_list_with_a_token_twice(script: SceneScript) -> None:
    entry = {
        "idToken": {"idToken": ALICE, "type": "ISO14443"},
        "idTokenInfo": {"status": "Accepted"},
    }
    script.csms_calls(
        10, "SendLocalList", versionNumber=1, updateType="Full", localAuthorizationList=[entry] * 2
    )
    script.add_question("reply", "InvalidValue", "SendLocalList")


# --- By the state of the station -----------------------------------------------------------------


def evse_faulted(script: SceneScript) -> None:
    script.raise_fault(2, "contactor welded", 100)
    expected = f"EVSE {script.evse_id} had a fault, contactor welded (ConnectorStatusEnumType)"
    script.plug_in(10)
    script.present_id_token(30, ALICE)
    script.unplug()
    script.add_question("refusal", expected)


def evse_inoperative(script: SceneScript) -> None:
    script.change_availability(2, False, script.evse)
    script.present_id_token(30, ALICE)
    script.change_availability(100, True, script.evse)
    script.add_question(
        "refusal", f"the CSMS requested Inoperative for EVSE {script.evse_id} (G03.FR.06"
    )
    script.add_question(
        "status", f"the CSMS requested Inoperative for EVSE {script.evse_id} (G03", "Unavailable"
    )


def station_not_accepted(script: SceneScript) -> None:
    """After a restart, the CSMS answers Pending to BootNotification."""
    script.add_event(2, "set_registration", status="Pending", interval_s=5, seconds=90)
    script.add_event(4, "kill_now", gap_s=3, host=False)
    script.plug_in(20)
    script.present_id_token(50, ALICE)
    script.unplug()
    script.add_question("refusal", "the CSMS had not accepted the station (B03.FR.01)")


def evse_in_use(script: SceneScript) -> None:
    script.start_charging(ALICE)
    script.present_id_token(60, script.new_id_token())
    script.present_id_token(120, ALICE)
    script.unplug()
    script.add_question(
        "refusal", "no EVSE was free, and the IdToken can stop no open transaction (C09.FR.03)"
    )


def evse_authorized_for_other(script: SceneScript) -> None:
    """Two cards are presented before the CSMS answered."""
    first, second = script.accepted_id_token(), script.accepted_id_token()
    script.add_event(5, "slow_network", latency_s=4, seconds=40)
    script.plug_in()
    script.present_id_token(10, first)
    script.present_id_token(11, second)
    script.present_id_token(100, first)
    script.unplug()
    script.add_question("refusal", f"another IdToken is authorized at EVSE {script.evse_id}")


def reset_pending(script: SceneScript) -> None:
    script.charge_at_other_evse(until_s=100)
    script.csms_calls(40, "Reset", type="OnIdle")
    script.present_id_token(60, script.accepted_id_token())
    script.add_question(
        "refusal", "the CSMS requested a reset, which waits for open transactions (B12.FR.03)"
    )
    script.add_question("restart", "the CSMS requested it, and nothing blocks it (B11.FR.03)")


# --- Requests of the CSMS ------------------------------------------------------------------------


def remote_start_evse_in_use(script: SceneScript) -> None:
    script.start_charging()
    script.csms_starts(60, script.accepted_id_token())
    script.unplug()
    expected = f"TxInProgress: EVSE {script.evse_id} is in use (F01.FR.24)"
    script.add_question("reply", expected, "RequestStartTransaction")


def remote_start_evse_faulted(script: SceneScript) -> None:
    script.raise_fault(10, "insulation low", 100)
    script.csms_starts(60, script.accepted_id_token())
    expected = f"Unspecified: EVSE {script.evse_id} is out of service (F01.FR.23)"
    script.add_question("reply", expected, "RequestStartTransaction")


def remote_stop_unknown_transaction(script: SceneScript) -> None:
    script.csms_calls(10, "RequestStopTransaction", transactionId="unheard of")
    script.add_question("reply", "TxNotFound (F03.FR.08)", "RequestStopTransaction")


def _reserve(script: SceneScript, at_s: float, **fields: object) -> None:
    """ReserveNow for another EV driver, until long after the scene."""
    token = {"idToken": script.new_id_token(), "type": "ISO14443"}
    expiry = "2027-03-02T00:00:00Z"
    script.csms_calls(at_s, "ReserveNow", id=1, expiryDateTime=expiry, idToken=token, **fields)


def evse_reserved(script: SceneScript) -> None:
    _reserve(script, 0.5, evseId=script.evse_id)
    _refuse_token(
        script, script.accepted_id_token(), "a reservation names the EVSE (H01.FR.23)", 20
    )
    script.csms_calls(100, "CancelReservation", reservationId=1)


def remote_start_evse_reserved(script: SceneScript) -> None:
    _reserve(script, 0.5, evseId=script.evse_id)
    script.csms_starts(60, script.accepted_id_token())
    script.csms_calls(100, "CancelReservation", reservationId=1)
    expected = (
        f"InvalidIdToken: EVSE {script.evse_id} is reserved for another idToken "
        "(F01.FR.21, F01.FR.22)"
    )
    script.add_question("reply", expected, "RequestStartTransaction")


def reservation_not_enabled(script: SceneScript) -> None:
    script.set_variable("ReservationCtrlr.Enabled", "false")
    _reserve(script, 10)
    script.add_question("reply", "NotEnabled (H01.FR.01)", "ReserveNow")


def local_list_not_enabled(script: SceneScript) -> None:
    script.set_variable("LocalAuthListCtrlr.Enabled", "false")
    script.csms_calls(10, "SendLocalList", versionNumber=1, updateType="Full")
    script.add_question("reply", "NotEnabled", "SendLocalList")


SCENES: Final[tuple[SceneBuilder, ...]] = (
    refused_by_csms,
    unknown_token,
    other_evses_only,
    offline_and_uncached,
    offline_and_cached_as_blocked,
    offline_and_cache_expired,
    offline_without_cache_use,
    offline_and_other_evses_only,
    csms_answers_error,
    csms_does_not_answer,
    link_lost_during_authorize,
    post_authorize_disabled,
    remote_authorization_disabled,
    offline_and_listed_as_blocked,
    list_post_authorize_disabled,
    evse_faulted,
    evse_inoperative,
    station_not_accepted,
    evse_in_use,
    evse_authorized_for_other,
    reset_pending,
    remote_start_evse_in_use,
    remote_start_evse_faulted,
    remote_start_evse_reserved,
    remote_stop_unknown_transaction,
    evse_reserved,
    reservation_not_enabled,
    local_list_not_enabled,
    local_list_with_a_token_twice,
)
