"""Scenes of transactions: why they started and stopped."""

from __future__ import annotations

from typing import Final

from station.simulation.faulty_csms import ALICE, BOB, CAROL
from tests.ground_truth.scene import LONG_ABSENCE_S, SceneBuilder, SceneScript

STARTED_BY_TOKEN: Final = "the IdToken that started it was presented (E07.FR.01"
RESUMPTION_EXCEEDED: Final = " s, more than TxCtrlr.ResumptionTimeout (OCPP 2.1 E17.FR.20 to 22)"

# Device and fault -> EVSE (0: the station, None: the EVSE of the scene), and its stoppedReason.
FAULTS: Final[dict[str, tuple[int | None, str]]] = {
    "contactor welded": (None, "Other"),
    "insulation low": (None, "GroundFault"),
    "insulation alarm": (None, "GroundFault"),
    "output over_current": (None, "OvercurrentFault"),
    "cable over_temperature": (None, "Other"),
    "meter silent": (None, "Other"),
    "mains phase_missing": (0, "PowerQuality"),
    "door open": (0, "Other"),
}


# --- By the EV driver ----------------------------------------------------------------------------


def stopped_by_id_token(script: SceneScript) -> None:
    script.start_charging()
    script.present_id_token(script.random_time(60, 60), ALICE)
    script.unplug()
    script.add_question(
        "start",
        "the CSMS accepted the IdToken (C01.FR.02): TxStartPoint PowerPathClosed was reached "
        "(E01.FR.05)",
    )
    script.add_question("stop", STARTED_BY_TOKEN, "Local")
    script.add_question("status", "(G01.FR.03)", "Occupied")


def stopped_by_cached_group_member(script: SceneScript) -> None:
    """Both cards are cached with the same group."""
    script.present_id_token(1, CAROL)
    script.present_id_token(4.5, CAROL)
    script.plug_in(5)
    script.present_id_token(8, BOB)
    script.present_id_token(script.random_time(60, 60), CAROL)
    script.unplug()
    script.add_question(
        "stop", "another IdToken of the same group was presented (C09.FR.07", "Local"
    )


def stopped_by_group_member_of_csms(script: SceneScript) -> None:
    """The other card of the group is not cached."""
    script.start_charging(BOB)
    script.present_id_token(script.random_time(60, 60), script.accepted_id_token(family=True))
    script.unplug()
    expected = (
        "another IdToken was presented, which the CSMS reported as a member of "
        "the same group (C09.FR.03"
    )
    script.add_question("stop", expected, "Local")


def stopped_by_button(script: SceneScript) -> None:
    script.start_charging()
    script.add_event(script.random_time(50, 60), "press_stop_button", evse_id=script.evse_id)
    script.unplug()
    script.add_question("stop", "the stop button was pressed (E07.FR.05", "Local")


def stopped_by_id_token_before_unplugging(script: SceneScript) -> None:
    """With TxStopPoint EVConnected the transaction lasts until the EV leaves."""
    script.set_variable("TxCtrlr.TxStopPoint", "EVConnected")
    script.start_charging()
    script.present_id_token(60, ALICE)
    script.present_id_token(90, script.accepted_id_token())
    script.unplug(130)
    script.add_question("authorization_end", STARTED_BY_TOKEN)
    script.add_question(
        "event_update", "the IdToken that started it was presented (E07.FR.02)", "StopAuthorized"
    )
    refusal = f"another transaction was open at EVSE {script.evse_id}"
    script.add_question("refusal", f"{refusal} (C01.FR.23)")
    script.add_question(
        "stop",
        "the EV was disconnected: TxStopPoint EVConnected was reached (E06.FR.02), "
        "after the IdToken that started it was presented (E07.FR.02)",
        "Local",
    )


def no_ev_plugged_in(script: SceneScript) -> None:
    script.present_id_token(5, ALICE)
    script.add_question(
        "authorization_end", "no EV was plugged in within EVConnectionTimeOut (E03.FR.05)"
    )


def no_ev_plugged_in_after_start(script: SceneScript) -> None:
    script.set_variable("TxCtrlr.TxStartPoint", "Authorized")
    script.present_id_token(5, ALICE)
    script.add_question(
        "start",
        "the CSMS accepted the IdToken (C01.FR.02): TxStartPoint Authorized was reached "
        "(E01.FR.03)",
    )
    script.add_question(
        "stop", "no EV was plugged in within EVConnectionTimeOut (E03.FR.05)", "Timeout"
    )


# --- By the EV -----------------------------------------------------------------------------------


def ev_is_full(script: SceneScript) -> None:
    script.add_event(
        2,
        "connect_ev_needing",
        evse_id=script.evse_id,
        needs_wh=800 + script.random_source.randrange(500),
    )
    script.present_id_token(5, ALICE)
    script.unplug()
    script.add_question("stop", "the EV ended its session (E15.FR.04", "StoppedByEV")


def ev_unplugged(script: SceneScript) -> None:
    script.start_charging()
    script.unplug(script.random_time(50, 60))
    script.add_question("stop", "the EV was disconnected (E09.FR.01", "EVDisconnected")


def ev_unplugged_and_not_back(script: SceneScript) -> None:
    """The authorization continues after unplugging, until EVConnectionTimeOut."""
    script.set_variable("TxCtrlr.StopTxOnEVSideDisconnect", "false")
    script.set_variable("TxCtrlr.TxStopPoint", "Authorized")
    script.start_charging()
    script.unplug(50)
    script.add_question(
        "stop",
        "the EV was disconnected, and none was plugged in within EVConnectionTimeOut (E10.FR.02)",
        "Timeout",
    )


def ev_unplugged_at_stop_point(script: SceneScript) -> None:
    """The authorization continues after unplugging, but TxStopPoint is reached."""
    script.set_variable("TxCtrlr.StopTxOnEVSideDisconnect", "false")
    script.start_charging()
    script.unplug(60)
    script.add_question(
        "stop",
        "the EV was disconnected: TxStopPoint EVConnected was reached (E06.FR.02)",
        "EVDisconnected",
    )


def energy_flow_starts_and_stops(script: SceneScript) -> None:
    script.set_variable("TxCtrlr.TxStartPoint", "EnergyTransfer")
    script.set_variable("TxCtrlr.TxStopPoint", "EnergyTransfer")
    script.start_charging()
    script.add_event(60, "pause_ev", evse_id=script.evse_id, seconds=60)
    script.unplug(110)
    script.add_question(
        "start", "energy began to flow: TxStartPoint EnergyTransfer was reached (E01.FR.06)"
    )
    expected = "energy stopped flowing: TxStopPoint EnergyTransfer was reached (E06.FR.07)"
    script.add_question("stop", expected, "StoppedByEV")


# --- By a device ---------------------------------------------------------------------------------


def device_fault(script: SceneScript) -> None:
    kind = script.random_source.choice(list(FAULTS))
    evse_id, reason = FAULTS[kind]
    script.start_charging()
    script.raise_fault(script.random_time(50, 60), kind, 30, evse_id=evse_id, stopped_reason=reason)
    script.unplug()
    evse_name = f"EVSE {script.evse_id}" if evse_id is None else "the station"
    script.add_question(
        "stop", f"{evse_name} had a fault, {kind}: charging was not allowed (E06.FR.16)", reason
    )
    script.add_question("status", f"{evse_name} had a fault, {kind}", "Faulted")


def faults_at_both_evses(script: SceneScript) -> None:
    """An earlier fault of the other EVSE is not the reason for this one."""
    script.start_charging()
    script.raise_fault(40, "insulation low", 100, evse_id=script.other_evse_id)
    script.raise_fault(script.random_time(60, 30), "contactor welded", 30)
    script.unplug()
    fault = f"EVSE {script.evse_id} had a fault, contactor welded"
    script.add_question("stop", f"{fault}: charging was not allowed", "Other")
    script.add_question("status", fault, "Faulted")


def emergency_stop(script: SceneScript) -> None:
    script.start_charging()
    script.raise_fault(script.random_time(50, 60), "emergency_stop pressed", 30, 0, "EmergencyStop")
    script.unplug()
    fault = "the station had a fault, emergency_stop pressed"
    script.add_question("stop", f"{fault}: charging was not allowed (E06.FR.16)", "EmergencyStop")
    script.add_question("status", fault, "Faulted")


def disk_full(script: SceneScript) -> None:
    """Only the reserve is left: open transactions are ended, and no other may start."""
    script.start_charging()
    script.add_event(60, "fill_disk", free_bytes=0, seconds=70)
    script.unplug()
    full = "the disk had space left only to end open transactions"
    script.add_question("stop", f"{full} (E06.FR.16)", "Other")
    script.add_question("status", full, "Unavailable")


# --- By the CSMS ---------------------------------------------------------------------------------


def stopped_by_csms(script: SceneScript) -> None:
    script.start_charging()
    script.add_event(script.random_time(60, 60), "stop_remotely", evse_id=script.evse_id)
    script.unplug()
    script.add_question("stop", "the CSMS requested it (F03.FR.03", "Remote")


def stopped_by_csms_before_unplugging(script: SceneScript) -> None:
    script.set_variable("TxCtrlr.TxStopPoint", "EVConnected")
    script.start_charging()
    script.add_event(60, "stop_remotely", evse_id=script.evse_id)
    script.unplug(130)
    script.add_question("event_update", "the CSMS requested it (F03.FR.02)", "RemoteStop")
    script.add_question(
        "stop",
        "the EV was disconnected: TxStopPoint EVConnected was reached (E06.FR.02), "
        "after the CSMS requested it (F03.FR.02)",
        "Remote",
    )


def stopped_by_csms_without_authorization(script: SceneScript) -> None:
    """The cable starts the transaction, which has no authorization to charge."""
    script.set_variable("TxCtrlr.TxStartPoint", "EVConnected")
    script.plug_in(5)
    script.add_event(60, "stop_remotely", evse_id=script.evse_id)
    script.unplug(120)
    script.add_question(
        "start", "an EV was plugged in: TxStartPoint EVConnected was reached (E01.FR.02)"
    )
    script.add_question("stop", "the CSMS requested it (F03.FR.03)", "Remote")


def reset_by_csms(script: SceneScript) -> None:
    script.start_charging()
    script.csms_calls(script.random_time(60, 60), "Reset", type="Immediate")
    script.unplug()
    script.add_question("stop", "an immediate reset was requested (B12.FR.04", "ImmediateReset")
    script.add_question("restart", "the CSMS requested it, and nothing blocks it (B11.FR.03)")


def deauthorized_after_offline_start(script: SceneScript) -> None:
    """Accepted by the cache without a link, and not accepted by the CSMS afterwards."""
    _revoke_after_offline_start(script)
    expected = "the CSMS does not accept the IdToken that authorized it (E05.FR.10"
    script.add_question("stop", expected, "DeAuthorized")
    script.add_question("authorization", "the CSMS accepted the IdToken (C01.FR.02)")
    script.add_question("authorization", "the IdToken was cached as Accepted (C12.FR.02)")


def deauthorized_and_suspended(script: SceneScript) -> None:
    script.set_variable("TxCtrlr.StopTxOnInvalidId", "false")
    id_token = _revoke_after_offline_start(script)
    script.present_id_token(150, id_token)
    script.add_question("suspension", "the CSMS does not accept the IdToken (E05.FR.02)")
    script.add_question("stop", STARTED_BY_TOKEN, "Local")


def deauthorized_with_limited_energy(script: SceneScript) -> None:
    script.set_variable("TxCtrlr.StopTxOnInvalidId", "false")
    script.set_variable("TxCtrlr.MaxEnergyOnInvalidId", "400")
    id_token = _revoke_after_offline_start(script)
    script.present_id_token(165, id_token)
    expected = (
        "the CSMS does not accept the IdToken, and MaxEnergyOnInvalidId allows "
        "this energy (E05.FR.03)"
    )
    script.add_question("suspension", expected)
    script.add_question(
        "suspension", "the energy allowed by MaxEnergyOnInvalidId was delivered (E05.FR.02)"
    )
    script.add_question("stop", STARTED_BY_TOKEN, "Local")


def _revoke_after_offline_start(script: SceneScript) -> str:
    """A card is accepted by the cache without a link, while the CSMS changes it to Blocked."""
    id_token = script.accepted_id_token()
    script.present_id_token(1, id_token)  # now cached as Accepted
    script.present_id_token(4.5, id_token)  # ends the authorization
    script.go_offline(8, 88)
    script.plug_in(20)
    script.present_id_token(25, id_token)
    script.add_event(40, "set_id_token_info", id_token=id_token, status="Blocked")
    script.unplug()
    return id_token


def unknown_token_after_offline_start(script: SceneScript) -> None:
    """An unknown card is accepted without a link, and not accepted by the CSMS afterwards."""
    script.set_variable("AuthCtrlr.OfflineTxForUnknownIdEnabled", "true")
    script.go_offline(8, 70)
    script.plug_in(12)
    script.present_id_token(20, script.new_id_token())
    script.unplug()
    script.add_question(
        "authorization",
        "the CSMS could not be asked, and OfflineTxForUnknownIdEnabled accepts "
        "unknown IdTokens (C15.FR.08)",
    )
    expected = "the CSMS does not accept the IdToken that authorized it (C15.FR.04"
    script.add_question("stop", expected, "DeAuthorized")


def started_by_csms(script: SceneScript) -> None:
    _start_from_csms(script)
    script.add_question(
        "authorization",
        "the CSMS requested the start, and the CSMS accepted the IdToken (C01.FR.02)",
    )


def started_by_csms_without_authorize(script: SceneScript) -> None:
    script.set_variable("AuthCtrlr.AuthorizeRemoteStart", "false")
    _start_from_csms(script)
    script.add_question(
        "authorization",
        "the CSMS requested the start, and no further authorization was needed (F01.FR.02)",
    )


def _start_from_csms(script: SceneScript) -> None:
    script.plug_in()
    script.csms_starts(10, script.accepted_id_token())
    script.add_event(100, "stop_remotely", evse_id=script.evse_id)
    script.unplug()
    script.add_question("start", "TxStartPoint PowerPathClosed was reached (E01.FR.05)")
    script.add_question("stop", "the CSMS requested it (F03.FR.03", "Remote")


def no_authorization_needed(script: SceneScript) -> None:
    script.set_variable("AuthCtrlr.Enabled", "false")
    script.add_event(0, "set_id_token_info", id_token="", status="Accepted")  # C02.FR.02
    script.plug_in(5)
    script.unplug(100)
    script.add_question(
        "authorization", "AuthCtrlr.Enabled is false: no authorization is needed (C01.FR.01)"
    )
    script.add_question(
        "start",
        "AuthCtrlr.Enabled is false: no authorization is needed (C01.FR.01): "
        "TxStartPoint PowerPathClosed was reached (E01.FR.05)",
    )
    script.add_question("stop", "the EV was disconnected (E09.FR.01", "EVDisconnected")


def authorized_by_cache(script: SceneScript) -> None:
    id_token = script.accepted_id_token()
    script.present_id_token(1, id_token)
    script.present_id_token(4.5, id_token)
    script.set_variable("AuthCtrlr.LocalPreAuthorize", "true")
    script.plug_in(5)
    script.present_id_token(8, id_token)
    script.present_id_token(90, id_token)
    script.unplug()
    script.add_question("stop", STARTED_BY_TOKEN, "Local")
    script.add_question("authorization", "the CSMS accepted the IdToken (C01.FR.02)")
    script.add_question("authorization", "the IdToken was cached as Accepted (C12.FR.02)")


# --- By the program ------------------------------------------------------------------------------


def power_loss(script: SceneScript) -> None:
    _stop_for_long(script, host=True)
    script.add_question("stop", "the power supply was lost for 40", "PowerLoss")
    script.add_question("stop", RESUMPTION_EXCEEDED)


def program_stopped(script: SceneScript) -> None:
    _stop_for_long(script, host=False)
    script.add_question("stop", "the program was not running for 40", "Reboot")
    script.add_question("stop", RESUMPTION_EXCEEDED)


def _stop_for_long(script: SceneScript, *, host: bool) -> None:
    script.start_charging()
    script.add_event(script.random_time(60, 60), "kill_now", gap_s=LONG_ABSENCE_S, host=host)
    script.length_s += LONG_ABSENCE_S
    script.unplug(script.length_s - 20)


def short_power_loss(script: SceneScript) -> None:
    _stop_briefly(script, host=True)


def short_program_stop(script: SceneScript) -> None:
    _stop_briefly(script, host=False)


def _stop_briefly(script: SceneScript, *, host: bool) -> None:
    """The transaction continues after the restart, and ends by the card."""
    script.start_charging()
    script.add_event(script.random_time(60, 20), "kill_now", gap_s=5, host=host)
    script.present_id_token(150, ALICE)
    script.unplug()
    script.add_question("stop", STARTED_BY_TOKEN, "Local")


def power_loss_with_clock_step(script: SceneScript) -> None:
    """The program is away only briefly, but the clock runs backwards meanwhile."""
    script.start_charging()
    script.add_event(60, "kill_now", gap_s=60, host=True)
    script.add_event(80, "step_clock", step_s=-3_600)
    script.unplug()
    script.add_question(
        "stop",
        "the power supply was lost for an unknown time: the clock ran backwards "
        "(OCPP 2.1 E17.FR.20 to 22)",
        "PowerLoss",
    )


def program_stopped_before_plugging_in(script: SceneScript) -> None:
    script.present_id_token(5, ALICE)
    script.add_event(20, "kill_now", gap_s=5, host=False)
    script.add_question(
        "authorization_end", "the program restarted, and no transaction kept the authorization"
    )


SCENES: Final[tuple[SceneBuilder, ...]] = (
    stopped_by_id_token,
    stopped_by_cached_group_member,
    stopped_by_group_member_of_csms,
    stopped_by_button,
    stopped_by_id_token_before_unplugging,
    no_ev_plugged_in,
    no_ev_plugged_in_after_start,
    ev_is_full,
    ev_unplugged,
    ev_unplugged_and_not_back,
    ev_unplugged_at_stop_point,
    energy_flow_starts_and_stops,
    device_fault,
    faults_at_both_evses,
    emergency_stop,
    disk_full,
    stopped_by_csms,
    stopped_by_csms_before_unplugging,
    stopped_by_csms_without_authorization,
    reset_by_csms,
    deauthorized_after_offline_start,
    deauthorized_and_suspended,
    deauthorized_with_limited_energy,
    unknown_token_after_offline_start,
    started_by_csms,
    started_by_csms_without_authorize,
    no_authorization_needed,
    authorized_by_cache,
    power_loss,
    program_stopped,
    short_power_loss,
    short_program_stop,
    power_loss_with_clock_step,
    program_stopped_before_plugging_in,
)
