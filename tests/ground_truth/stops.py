"""Why did it begin, and why did it stop?"""

from __future__ import annotations

from typing import Final

from station.simulation.faulty_csms import ALICE, BOB, CAROL
from tests.ground_truth.stage import LONG_ABSENCE_S, SceneBuilder, SceneScript

STARTED_BY_TOKEN: Final = "the IdToken that started it was presented (E07.FR.01"
RESUMPTION_EXCEEDED: Final = " s, more than TxCtrlr.ResumptionTimeout (OCPP 2.1 E17.FR.20 to 22)"

# device and fault -> EVSE (0: the station, None: here), and the stoppedReason it has
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


# --- People --------------------------------------------------------------------------------------


def card_ends(stage: SceneScript) -> None:
    stage.start_charging()
    stage.present_id_token(stage.random_time(60, 60), ALICE)
    stage.unplug()
    stage.add_question(
        "start", "an IdToken was authorized: TxStartPoint was reached (E01.FR.03 or E01.FR.05"
    )
    stage.add_question("stop", STARTED_BY_TOKEN, "Local")
    stage.add_question("status", "(G01.FR.03)", "Occupied")


def family_ends(stage: SceneScript) -> None:
    """The station remembers of both that they belong together."""
    stage.present_id_token(1, CAROL)
    stage.present_id_token(3, CAROL)
    stage.plug_in(5)
    stage.present_id_token(8, BOB)
    stage.present_id_token(stage.random_time(60, 60), CAROL)
    stage.unplug()
    stage.add_question(
        "stop", "another token of the group that started it was presented (C09.FR.07", "Local"
    )


def family_ends_as_the_csms_says(stage: SceneScript) -> None:
    """Nobody at the station has seen the other card before."""
    stage.start_charging(BOB)
    stage.present_id_token(stage.random_time(60, 60), stage.accepted_id_token(family=True))
    stage.unplug()
    says = "another IdToken was presented, which the CSMS reported as a member of the same group (C09.FR.03"
    stage.add_question("stop", says, "Local")


def button_ends(stage: SceneScript) -> None:
    stage.start_charging()
    stage.add_event(stage.random_time(50, 60), "press_stop_button", evse_id=stage.evse_id)
    stage.unplug()
    stage.add_question("stop", "the stop button was pressed (E07.FR.05", "Local")


def card_ends_and_the_ev_stays(stage: SceneScript) -> None:
    """With TxStopPoint EVConnected the transaction lasts until the EV leaves."""
    stage.set_variable("TxCtrlr.TxStopPoint", "EVConnected")
    stage.start_charging()
    stage.present_id_token(60, ALICE)
    stage.present_id_token(90, stage.accepted_id_token())
    stage.unplug(130)
    stage.add_question("right", STARTED_BY_TOKEN)
    stage.add_question(
        "told", "the IdToken that started it was presented (E07.FR.02)", "StopAuthorized"
    )
    where = f"another transaction was open at EVSE {stage.evse_id}"
    stage.add_question("refusal", f"{where} (C01.FR.23)")
    stage.add_question("stop", "the EV was disconnected, after the IdToken that started it was presented "
               "(E06.FR.02 or E06.FR.06", "Local")  # fmt: skip


def nobody_plugs_in(stage: SceneScript) -> None:
    stage.present_id_token(5, ALICE)
    stage.add_question("right", "no EV was plugged in within EVConnectionTimeOut (E03.FR.05)")


def nobody_plugs_in_after_the_start(stage: SceneScript) -> None:
    stage.set_variable("TxCtrlr.TxStartPoint", "Authorized")
    stage.present_id_token(5, ALICE)
    stage.add_question("start", "an IdToken was authorized: TxStartPoint was reached (E01.FR.03")
    stage.add_question(
        "stop", "no EV was plugged in within EVConnectionTimeOut (E03.FR.05)", "Timeout"
    )


# --- The EV --------------------------------------------------------------------------------------


def ev_is_full(stage: SceneScript) -> None:
    stage.add_event(2, "comes", evse_id=stage.evse_id, needs_wh=800 + stage.dice.randrange(500))
    stage.present_id_token(5, ALICE)
    stage.unplug()
    stage.add_question("stop", "the EV ended its session (E15.FR.04", "StoppedByEV")


def ev_leaves(stage: SceneScript) -> None:
    stage.start_charging()
    stage.unplug(stage.random_time(50, 60))
    stage.add_question("stop", "the EV was disconnected (E09.FR.01", "EVDisconnected")


def ev_leaves_and_is_not_back(stage: SceneScript) -> None:
    """Where the right to charge outlives the connection, it does not for ever."""
    stage.set_variable("TxCtrlr.StopTxOnEVSideDisconnect", "false")
    stage.set_variable("TxCtrlr.TxStopPoint", "Authorized")
    stage.start_charging()
    stage.unplug(50)
    stage.add_question(
        "stop",
        "the EV was disconnected, and none was plugged in within EVConnectionTimeOut (E10.FR.02)",
        "Timeout",
    )


def ev_leaves_which_is_the_end(stage: SceneScript) -> None:
    """The right to charge is not over, but TxStopPoint is reached."""
    stage.set_variable("TxCtrlr.StopTxOnEVSideDisconnect", "false")
    stage.start_charging()
    stage.unplug(60)
    stage.add_question("stop", "the EV was disconnected (E06.FR.02 or E06.FR.06)", "EVDisconnected")


def energy_begins_and_ends_it(stage: SceneScript) -> None:
    stage.set_variable("TxCtrlr.TxStartPoint", "EnergyTransfer")
    stage.set_variable("TxCtrlr.TxStopPoint", "EnergyTransfer")
    stage.start_charging()
    stage.add_event(60, "pause_ev", evse_id=stage.evse_id, seconds=60)
    stage.unplug(110)
    stage.add_question(
        "start", "energy began to flow: TxStartPoint EnergyTransfer was reached (E01.FR.06)"
    )
    says = "energy stopped flowing: TxStopPoint EnergyTransfer was reached (E06.FR.07)"
    stage.add_question("stop", says, "StoppedByEV")


# --- Devices -------------------------------------------------------------------------------------


def device_breaks(stage: SceneScript) -> None:
    kind = stage.dice.choice(list(FAULTS))
    evse_id, reason = FAULTS[kind]
    stage.start_charging()
    stage.raise_fault(stage.random_time(50, 60), kind, 30, evse_id=evse_id, stopped_reason=reason)
    stage.unplug()
    where = f"EVSE {stage.evse_id}" if evse_id is None else "the station"
    stage.add_question(
        "stop", f"{where} had a fault, {kind}: charging was not allowed (E06.FR.16)", reason
    )
    stage.add_question("status", f"{where} had a fault, {kind}", "Faulted")


def both_break(stage: SceneScript) -> None:
    """The fault of the other EVSE came first, and has nothing to do with this one."""
    stage.start_charging()
    stage.raise_fault(40, "insulation low", 100, evse_id=stage.other_evse_id)
    stage.raise_fault(stage.random_time(60, 30), "contactor welded", 30)
    stage.unplug()
    where = f"EVSE {stage.evse_id} had a fault, contactor welded"
    stage.add_question("stop", f"{where}: charging was not allowed", "Other")
    stage.add_question("status", where, "Faulted")


def emergency_stop(stage: SceneScript) -> None:
    stage.start_charging()
    stage.raise_fault(stage.random_time(50, 60), "emergency_stop pressed", 30, 0, "EmergencyStop")
    stage.unplug()
    where = "the station had a fault, emergency_stop pressed"
    stage.add_question("stop", f"{where}: charging was not allowed (E06.FR.16)", "EmergencyStop")
    stage.add_question("status", where, "Faulted")


def disk_is_full(stage: SceneScript) -> None:
    """Nothing is left but the reserve: what runs is ended, and nobody new may begin."""
    stage.start_charging()
    stage.add_event(60, "fill_disk", free_bytes=0, seconds=70)
    stage.unplug()
    full = "the disk had space left only to end open transactions"
    stage.add_question("stop", f"{full} (E06.FR.16)", "Other")
    stage.add_question("status", full, "Unavailable")


# --- The CSMS ------------------------------------------------------------------------------------


def csms_stops(stage: SceneScript) -> None:
    stage.start_charging()
    stage.add_event(stage.random_time(60, 60), "stop_remotely", evse_id=stage.evse_id)
    stage.unplug()
    stage.add_question("stop", "the CSMS requested it (F03.FR.03", "Remote")


def csms_stops_and_the_ev_stays(stage: SceneScript) -> None:
    stage.set_variable("TxCtrlr.TxStopPoint", "EVConnected")
    stage.start_charging()
    stage.add_event(60, "stop_remotely", evse_id=stage.evse_id)
    stage.unplug(130)
    stage.add_question("told", "the CSMS requested it (F03.FR.02)", "RemoteStop")
    rules = "E06.FR.02 or E06.FR.06, after F03.FR.02"
    stage.add_question(
        "stop", f"the EV was disconnected, after the CSMS requested it ({rules})", "Remote"
    )


def csms_stops_what_nobody_began(stage: SceneScript) -> None:
    """A cable is enough to begin a transaction, but not to charge."""
    stage.set_variable("TxCtrlr.TxStartPoint", "EVConnected")
    stage.plug_in(5)
    stage.add_event(60, "stop_remotely", evse_id=stage.evse_id)
    stage.unplug(120)
    stage.add_question(
        "start", "an EV was plugged in: TxStartPoint EVConnected was reached (E01.FR.02)"
    )
    stage.add_question("stop", "the CSMS requested it (F03.FR.03)", "Remote")


def csms_resets(stage: SceneScript) -> None:
    stage.start_charging()
    stage.csms_calls(stage.random_time(60, 60), "Reset", type="Immediate")
    stage.unplug()
    stage.add_question("stop", "an immediate reset was requested (B12.FR.04", "ImmediateReset")
    stage.add_question("restart", "the CSMS requested it, and nothing blocks it (B11.FR.03)")


def csms_thinks_again(stage: SceneScript) -> None:
    """Known to the cache, let in without a CSMS, and then not accepted after all."""
    _revoke_after_offline_start(stage)
    says = "the CSMS does not accept the IdToken that authorized it (E05.FR.10"
    stage.add_question("stop", says, "DeAuthorized")
    stage.add_question("grant", "the CSMS accepted the IdToken (C01.FR.02)")
    stage.add_question("grant", "the IdToken was cached as Accepted (C12.FR.02)")


def csms_thinks_again_and_energy_stops(stage: SceneScript) -> None:
    stage.set_variable("TxCtrlr.StopTxOnInvalidId", "false")
    who = _revoke_after_offline_start(stage)
    stage.present_id_token(150, who)
    stage.add_question("suspension", "the CSMS does not accept the IdToken (E05.FR.02)")
    stage.add_question("stop", STARTED_BY_TOKEN, "Local")


def csms_thinks_again_and_some_energy_is_left(stage: SceneScript) -> None:
    stage.set_variable("TxCtrlr.StopTxOnInvalidId", "false")
    stage.set_variable("TxCtrlr.MaxEnergyOnInvalidId", "400")
    who = _revoke_after_offline_start(stage)
    stage.present_id_token(165, who)
    says = "the CSMS does not accept the IdToken, and MaxEnergyOnInvalidId allows this energy (E05.FR.03)"
    stage.add_question("suspension", says)
    stage.add_question(
        "suspension", "the energy allowed by MaxEnergyOnInvalidId was delivered (E05.FR.02)"
    )
    stage.add_question("stop", STARTED_BY_TOKEN, "Local")


def _revoke_after_offline_start(stage: SceneScript) -> str:
    """Somebody is let in while there is no link, and has lost the good opinion of the CSMS."""
    who = stage.accepted_id_token()
    stage.present_id_token(1, who)  # remembered as accepted
    stage.present_id_token(3, who)  # and away again
    stage.go_offline(8, 88)
    stage.plug_in(20)
    stage.present_id_token(25, who)
    stage.add_event(40, "judges", who=who, status="Blocked")
    stage.unplug()
    return who


def csms_never_knew_them(stage: SceneScript) -> None:
    """Let in offline though nobody knows the card, and then not accepted."""
    stage.set_variable("AuthCtrlr.OfflineTxForUnknownIdEnabled", "true")
    stage.go_offline(8, 70)
    stage.plug_in(12)
    stage.present_id_token(20, stage.new_id_token())
    stage.unplug()
    stage.add_question(
        "grant",
        "the CSMS could not be asked, and OfflineTxForUnknownIdEnabled accepts unknown IdTokens (C15.FR.08)",
    )
    says = "the CSMS does not accept the IdToken that authorized it (C15.FR.04"
    stage.add_question("stop", says, "DeAuthorized")


def csms_begins(stage: SceneScript) -> None:
    _start_from_csms(stage)
    stage.add_question("grant", "the CSMS accepted the IdToken (C01.FR.02)")


def csms_begins_unasked(stage: SceneScript) -> None:
    stage.set_variable("AuthCtrlr.AuthorizeRemoteStart", "false")
    _start_from_csms(stage)
    stage.add_question(
        "grant", "the CSMS requested the start, and no further authorization was needed (F01.FR.02)"
    )


def _start_from_csms(stage: SceneScript) -> None:
    stage.plug_in()
    stage.csms_starts(10, stage.accepted_id_token())
    stage.add_event(100, "stop_remotely", evse_id=stage.evse_id)
    stage.unplug()
    stage.add_question(
        "start", "the CSMS requested the start, and TxStartPoint was reached (F02.FR.21)"
    )
    stage.add_question("stop", "the CSMS requested it (F03.FR.03", "Remote")


def nobody_need_be_asked(stage: SceneScript) -> None:
    stage.set_variable("AuthCtrlr.Enabled", "false")
    stage.add_event(0, "judges", who="", status="Accepted")  # C02.FR.02
    stage.plug_in(5)
    stage.unplug(100)
    stage.add_question(
        "grant", "AuthCtrlr.Enabled is false: no authorization is needed (C01.FR.01)"
    )
    stage.add_question(
        "start", "an EV was plugged in and no authorization is needed: TxStartPoint was"
    )
    stage.add_question("stop", "the EV was disconnected (E09.FR.01", "EVDisconnected")


def cache_lets_in_at_once(stage: SceneScript) -> None:
    who = stage.accepted_id_token()
    stage.present_id_token(1, who)
    stage.present_id_token(3, who)
    stage.set_variable("AuthCtrlr.LocalPreAuthorize", "true")
    stage.plug_in(5)
    stage.present_id_token(8, who)
    stage.present_id_token(90, who)
    stage.unplug()
    stage.add_question("stop", STARTED_BY_TOKEN, "Local")
    stage.add_question("grant", "the CSMS accepted the IdToken (C01.FR.02)")
    stage.add_question("grant", "the IdToken was cached as Accepted (C12.FR.02)")


# --- The program ---------------------------------------------------------------------------------


def supply_fails(stage: SceneScript) -> None:
    _stay_away(stage, host=True)
    stage.add_question("stop", "the power supply was lost for 40", "PowerLoss")
    stage.add_question("stop", RESUMPTION_EXCEEDED)


def program_ends(stage: SceneScript) -> None:
    _stay_away(stage, host=False)
    stage.add_question("stop", "the program was not running for 40", "Reboot")
    stage.add_question("stop", RESUMPTION_EXCEEDED)


def _stay_away(stage: SceneScript, *, host: bool) -> None:
    stage.start_charging()
    stage.add_event(stage.random_time(60, 60), "crash", gap_s=LONG_ABSENCE_S, host=host)
    stage.length_s += LONG_ABSENCE_S
    stage.unplug(stage.length_s - 20)


def supply_fails_for_a_moment(stage: SceneScript) -> None:
    _return_soon(stage, host=True)


def program_ends_for_a_moment(stage: SceneScript) -> None:
    _return_soon(stage, host=False)


def _return_soon(stage: SceneScript, *, host: bool) -> None:
    """The transaction goes on, and ends as it would have."""
    stage.start_charging()
    stage.add_event(stage.random_time(60, 20), "crash", gap_s=5, host=host)
    stage.present_id_token(150, ALICE)
    stage.unplug()
    stage.add_question("stop", STARTED_BY_TOKEN, "Local")


def supply_fails_and_the_clock_too(stage: SceneScript) -> None:
    """Away for a short time, but the host's clock does not tell."""
    stage.start_charging()
    stage.add_event(60, "crash", gap_s=60, host=True)
    stage.add_event(80, "step_clock", step_s=-3_600)
    stage.unplug()
    stage.add_question("stop", "the power supply was lost for an unknown time: the clock ran backwards "
               "(OCPP 2.1 E17.FR.20 to 22)", "PowerLoss")  # fmt: skip


def program_ends_before_anybody_plugs_in(stage: SceneScript) -> None:
    stage.present_id_token(5, ALICE)
    stage.add_event(20, "crash", gap_s=5, host=False)
    stage.add_question("right", "the program restarted, and no transaction kept the authorization")


SCENES: Final[tuple[SceneBuilder, ...]] = (
    card_ends, family_ends, family_ends_as_the_csms_says, button_ends, card_ends_and_the_ev_stays,
    nobody_plugs_in, nobody_plugs_in_after_the_start,
    ev_is_full, ev_leaves, ev_leaves_and_is_not_back, ev_leaves_which_is_the_end,
    energy_begins_and_ends_it,
    device_breaks, both_break, emergency_stop, disk_is_full,
    csms_stops, csms_stops_and_the_ev_stays, csms_stops_what_nobody_began, csms_resets,
    csms_thinks_again,
    csms_thinks_again_and_energy_stops, csms_thinks_again_and_some_energy_is_left,
    csms_never_knew_them, csms_begins, csms_begins_unasked, nobody_need_be_asked,
    cache_lets_in_at_once,
    supply_fails, program_ends, supply_fails_for_a_moment, program_ends_for_a_moment,
    supply_fails_and_the_clock_too, program_ends_before_anybody_plugs_in,
)  # fmt: skip
