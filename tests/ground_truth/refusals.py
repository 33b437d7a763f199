"""Why was the card refused?"""

from __future__ import annotations

from typing import Final

from station.simulation.faulty_csms import ALICE, MALLORY
from tests.ground_truth.stage import SceneBuilder, SceneScript


def _refuse_token(stage: SceneScript, id_token: str, expected_text: str, at_s: float = 10) -> None:
    """Somebody plugs in, and is refused."""
    stage.plug_in()
    stage.present_id_token(at_s, id_token)
    stage.unplug()
    stage.add_question("refusal", expected_text)


# --- The CSMS says so ----------------------------------------------------------------------------


def not_accepted_by_the_csms(stage: SceneScript) -> None:
    status = stage.dice.choice(["Blocked", "Expired", "Invalid", "NoCredit", "NotAtThisTime"])
    _refuse_token(stage, stage.accepted_id_token(status), f"the CSMS answered {status} (C01.FR.07)")


def unknown_token(stage: SceneScript) -> None:
    _refuse_token(stage, stage.new_id_token(), "the CSMS answered Unknown (C01.FR.07)")


def elsewhere_only(stage: SceneScript) -> None:
    who = stage.accepted_id_token(evse_ids=[stage.other_evse_id])
    _refuse_token(stage, who, "the CSMS allows the IdToken at other EVSEs only (C01.FR.21)")


# --- Nobody can be asked -------------------------------------------------------------------------


def nobody_to_ask(stage: SceneScript) -> None:
    stage.go_offline(10, 110)
    _refuse_token(stage, stage.new_id_token(), "the CSMS could not be asked, and the IdToken is not cached: "
             "only OfflineTxForUnknownIdEnabled would accept it (C15.FR.08)", 60)  # fmt: skip


def blocked_by_the_cache(stage: SceneScript) -> None:
    stage.csms_calls(1, "ClearCache")
    stage.plug_in()
    stage.present_id_token(10, MALLORY)
    stage.go_offline(20, 120)
    stage.present_id_token(60, MALLORY)
    stage.unplug()
    stage.add_question("refusal", "the CSMS answered Blocked (C01.FR.07)")
    stage.add_question(
        "refusal", "the CSMS could not be asked, and the IdToken is cached as Blocked (C12"
    )


def _known_and_offline(stage: SceneScript, expected_text: str) -> None:
    """Somebody is known, but to no avail, for there is no link when they come."""
    who = stage.accepted_id_token()
    stage.present_id_token(1, who)
    stage.present_id_token(3, who)
    stage.go_offline(30, 120)
    stage.plug_in(40)
    stage.present_id_token(60, who)
    stage.unplug()
    stage.add_question("refusal", expected_text)


def too_old_in_the_cache(stage: SceneScript) -> None:
    stage.set_variable("AuthCacheCtrlr.LifeTime", "20")
    _known_and_offline(stage, "the CSMS could not be asked, and its cache entry had expired "
                       "(C10.FR.10, C15.FR.08)")  # fmt: skip


def cache_does_not_count_offline(stage: SceneScript) -> None:
    stage.set_variable("AuthCtrlr.LocalAuthorizeOffline", "false")
    _known_and_offline(stage, "the CSMS could not be asked, and LocalAuthorizeOffline does not "
                       "allow using the cache")  # fmt: skip


def elsewhere_only_by_the_cache(stage: SceneScript) -> None:
    who = stage.accepted_id_token(evse_ids=[stage.other_evse_id])
    stage.add_event(1, "present_id_token", id_token=who, evse_id=stage.other_evse_id)
    stage.add_event(3, "present_id_token", id_token=who, evse_id=stage.other_evse_id)
    stage.go_offline(30, 120)
    _refuse_token(stage, who, "the CSMS allows the IdToken at other EVSEs only (C01.FR.21)", 60)


def csms_errs(stage: SceneScript) -> None:
    stage.add_event(8, "set_fault_rates", seconds=10, call_error=1.0)
    _refuse_token(stage, stage.new_id_token(), "the CSMS sent no valid answer, and the IdToken is "
             "not cached", 12)  # fmt: skip


def csms_is_silent(stage: SceneScript) -> None:
    stage.add_event(8, "set_fault_rates", seconds=10, no_response=1.0)
    _refuse_token(stage, stage.new_id_token(), "the CSMS sent no valid answer, and the IdToken is "
             "not cached", 12)  # fmt: skip


def link_breaks_under_the_question(stage: SceneScript) -> None:
    stage.add_event(8, "set_fault_rates", seconds=10, no_response=1.0)
    stage.go_offline(15, 60)
    _refuse_token(
        stage,
        stage.new_id_token(),
        "the CSMS could not be asked, and the IdToken is not cached",
        12,
    )


# --- Nobody shall be asked -----------------------------------------------------------------------


def not_asked_again(stage: SceneScript) -> None:
    who = stage.accepted_id_token("Blocked")
    stage.set_variable("AuthCacheCtrlr.DisablePostAuthorize", "true")
    stage.plug_in()
    stage.present_id_token(10, who)
    stage.present_id_token(60, who)
    stage.unplug()
    stage.add_question("refusal", "the CSMS answered Blocked (C01.FR.07)")
    stage.add_question("refusal", "the IdToken is cached as Blocked, and DisablePostAuthorize or "
               "DisableRemoteAuthorization does not allow asking the CSMS")  # fmt: skip


def never_asked(stage: SceneScript) -> None:
    stage.set_variable("AuthCtrlr.DisableRemoteAuthorization", "true")
    _refuse_token(stage, stage.new_id_token(), "the IdToken is not cached, and "
             "DisableRemoteAuthorization does not allow asking the CSMS")  # fmt: skip


# --- Not here, not now ---------------------------------------------------------------------------


def broken_for_everybody(stage: SceneScript) -> None:
    stage.raise_fault(2, "contactor welded", 100)
    says = f"EVSE {stage.evse_id} had a fault, contactor welded (ConnectorStatusEnumType)"
    stage.plug_in(10)
    stage.present_id_token(30, ALICE)
    stage.unplug()
    stage.add_question("refusal", says)


def out_of_service(stage: SceneScript) -> None:
    stage.change_availability(2, False, stage.evse)
    stage.present_id_token(30, ALICE)
    stage.change_availability(100, True, stage.evse)
    stage.add_question("refusal", f"the CSMS set EVSE {stage.evse_id} to Inoperative (G03.FR.06")
    stage.add_question(
        "status", f"the CSMS set EVSE {stage.evse_id} to Inoperative (G03", "Unavailable"
    )


def not_accepted(stage: SceneScript) -> None:
    """The CSMS has not made up its mind about the station since it began anew."""
    stage.add_event(2, "set_registration", status="Pending", interval_s=5, seconds=90)
    stage.add_event(4, "crash", gap_s=3, host=False)
    stage.plug_in(20)
    stage.present_id_token(50, ALICE)
    stage.unplug()
    stage.add_question("refusal", "the CSMS had not accepted the station (B03.FR.01)")


def somebody_else_charges(stage: SceneScript) -> None:
    stage.start_charging(ALICE)
    stage.present_id_token(60, stage.new_id_token())
    stage.present_id_token(120, ALICE)
    stage.unplug()
    stage.add_question(
        "refusal", "no EVSE was free, and the IdToken can stop no open transaction (C09.FR.03)"
    )


def somebody_was_faster(stage: SceneScript) -> None:
    """Two cards are shown before the CSMS has answered."""
    first, second = stage.accepted_id_token(), stage.accepted_id_token()
    stage.add_event(5, "slow_network", latency_s=4, seconds=40)
    stage.plug_in()
    stage.present_id_token(10, first)
    stage.present_id_token(11, second)
    stage.present_id_token(100, first)
    stage.unplug()
    stage.add_question("refusal", f"another IdToken is authorized at EVSE {stage.evse_id}")


def soon_to_restart(stage: SceneScript) -> None:
    stage.charge_at_other_evse(until_s=100)
    stage.csms_calls(40, "Reset", type="OnIdle")
    stage.present_id_token(60, stage.accepted_id_token())
    stage.add_question(
        "refusal", "the CSMS requested a reset, which waits for open transactions (B12.FR.03)"
    )
    stage.add_question("restart", "the CSMS requested it, and nothing blocks it (B11.FR.03)")


# --- The CSMS is told no -------------------------------------------------------------------------


def nobody_else_may_begin(stage: SceneScript) -> None:
    stage.start_charging()
    stage.csms_starts(60, stage.accepted_id_token())
    stage.unplug()
    says = f"TxInProgress: EVSE {stage.evse_id} is in use (F01.FR.24)"
    stage.add_question("reply", says, "RequestStartTransaction")


def nobody_may_begin_where_it_is_broken(stage: SceneScript) -> None:
    stage.raise_fault(10, "insulation low", 100)
    stage.csms_starts(60, stage.accepted_id_token())
    says = f"Unspecified: EVSE {stage.evse_id} is out of service (F01.FR.23)"
    stage.add_question("reply", says, "RequestStartTransaction")


def nothing_to_stop(stage: SceneScript) -> None:
    stage.csms_calls(10, "RequestStopTransaction", transactionId="unheard of")
    stage.add_question("reply", "TxNotFound (F03.FR.08)", "RequestStopTransaction")


def no_reservations(stage: SceneScript) -> None:
    token = {"idToken": ALICE, "type": "ISO14443"}
    stage.csms_calls(10, "ReserveNow", id=1, expiryDateTime="2026-03-02T00:00:00Z", idToken=token)
    stage.add_question("reply", "NotEnabled (H01.FR.01)", "ReserveNow")


def no_local_list(stage: SceneScript) -> None:
    stage.csms_calls(10, "SendLocalList", versionNumber=1, updateType="Full")
    stage.add_question("reply", "NotEnabled", "SendLocalList")


SCENES: Final[tuple[SceneBuilder, ...]] = (
    not_accepted_by_the_csms, unknown_token, elsewhere_only,
    nobody_to_ask, blocked_by_the_cache, too_old_in_the_cache, cache_does_not_count_offline,
    elsewhere_only_by_the_cache, csms_errs, csms_is_silent, link_breaks_under_the_question,
    not_asked_again, never_asked,
    broken_for_everybody, out_of_service, not_accepted, somebody_else_charges,
    somebody_was_faster, soon_to_restart,
    nobody_else_may_begin, nobody_may_begin_where_it_is_broken, nothing_to_stop, no_reservations,
    no_local_list,
)  # fmt: skip
