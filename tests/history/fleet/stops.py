"""Why did it begin, and why did it stop?"""

from __future__ import annotations

from typing import Final

from station.simulation.counterpart import ALICE, BOB, CAROL
from tests.history.fleet.stage import AWAY_S, Director, Stage

OWN: Final = "the token that began it was shown (E07.FR.01"
AWAY: Final = " s, more than TxCtrlr.ResumptionTimeout (OCPP 2.1 E17.FR.20 to 22)"

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


def card_ends(stage: Stage) -> None:
    stage.charges()
    stage.shows(stage.later(60, 60), ALICE)
    stage.leaves()
    stage.asks("start", "a person was authorised: TxStartPoint was reached (E01.FR.03 or E01.FR.05")
    stage.asks("stop", OWN, "Local")
    stage.asks("status", "(G01.FR.03)", "Occupied")


def family_ends(stage: Stage) -> None:
    """The station remembers of both that they belong together."""
    stage.shows(1, CAROL)
    stage.shows(3, CAROL)
    stage.plugs(5)
    stage.shows(8, BOB)
    stage.shows(stage.later(60, 60), CAROL)
    stage.leaves()
    stage.asks("stop", "another token of the group that began it was shown (C09.FR.07", "Local")


def family_ends_as_the_csms_says(stage: Stage) -> None:
    """Nobody at the station has seen the other card before."""
    stage.charges(BOB)
    stage.shows(stage.later(60, 60), stage.friend(family=True))
    stage.leaves()
    says = "another token was shown, which the CSMS says is of the group that began it (C09.FR.03"
    stage.asks("stop", says, "Local")


def button_ends(stage: Stage) -> None:
    stage.charges()
    stage.at(stage.later(50, 60), "stop_button", evse_id=stage.evse_id)
    stage.leaves()
    stage.asks("stop", "the stop button was pressed (E07.FR.05", "Local")


def card_ends_and_the_ev_stays(stage: Stage) -> None:
    """With TxStopPoint EVConnected the transaction lasts until the EV leaves."""
    stage.sets("TxCtrlr.TxStopPoint", "EVConnected")
    stage.charges()
    stage.shows(60, ALICE)
    stage.shows(90, stage.friend())
    stage.leaves(130)
    stage.asks("right", OWN)
    stage.asks("told", "the token that began it was shown (E07.FR.02)", "StopAuthorized")
    where = f"another transaction was open at EVSE {stage.evse_id}"
    stage.asks("refusal", f"{where} (C01.FR.23)")
    stage.asks("stop", "the EV was disconnected, after the token that began it was shown "
               "(E06.FR.02 or E06.FR.06", "Local")  # fmt: skip


def nobody_plugs_in(stage: Stage) -> None:
    stage.shows(5, ALICE)
    stage.asks("right", "no EV was plugged in in time (E03.FR.05)")


def nobody_plugs_in_after_the_start(stage: Stage) -> None:
    stage.sets("TxCtrlr.TxStartPoint", "Authorized")
    stage.shows(5, ALICE)
    stage.asks("start", "a person was authorised: TxStartPoint was reached (E01.FR.03")
    stage.asks("stop", "no EV was plugged in in time (E03.FR.05)", "Timeout")


# --- The EV --------------------------------------------------------------------------------------


def ev_is_full(stage: Stage) -> None:
    stage.at(2, "comes", evse_id=stage.evse_id, needs_wh=800 + stage.dice.randrange(500))
    stage.shows(5, ALICE)
    stage.leaves()
    stage.asks("stop", "the EV ended its session (E15.FR.04", "StoppedByEV")


def ev_leaves(stage: Stage) -> None:
    stage.charges()
    stage.leaves(stage.later(50, 60))
    stage.asks("stop", "the EV was disconnected (E09.FR.01", "EVDisconnected")


def ev_leaves_and_is_not_back(stage: Stage) -> None:
    """Where the right to charge outlives the connection, it does not for ever."""
    stage.sets("TxCtrlr.StopTxOnEVSideDisconnect", "false")
    stage.sets("TxCtrlr.TxStopPoint", "Authorized")
    stage.charges()
    stage.leaves(50)
    stage.asks("stop", "the EV had left, and none came in time (E10.FR.02)", "Timeout")


def ev_leaves_which_is_the_end(stage: Stage) -> None:
    """The right to charge is not over, but TxStopPoint is reached."""
    stage.sets("TxCtrlr.StopTxOnEVSideDisconnect", "false")
    stage.charges()
    stage.leaves(60)
    stage.asks("stop", "the EV was disconnected (E06.FR.02 or E06.FR.06)", "EVDisconnected")


def energy_begins_and_ends_it(stage: Stage) -> None:
    stage.sets("TxCtrlr.TxStartPoint", "EnergyTransfer")
    stage.sets("TxCtrlr.TxStopPoint", "EnergyTransfer")
    stage.charges()
    stage.at(60, "pause", evse_id=stage.evse_id, seconds=60)
    stage.leaves(110)
    stage.asks("start", "energy began to flow, which TxStartPoint makes a start (E01.FR.06)")
    says = "energy stopped flowing, which TxStopPoint makes an end (E06.FR.07)"
    stage.asks("stop", says, "StoppedByEV")


# --- Devices -------------------------------------------------------------------------------------


def device_breaks(stage: Stage) -> None:
    kind = stage.dice.choice(list(FAULTS))
    evse_id, reason = FAULTS[kind]
    stage.charges()
    stage.breaks(stage.later(50, 60), kind, 30, evse_id=evse_id, stopped_reason=reason)
    stage.leaves()
    where = f"EVSE {stage.evse_id}" if evse_id is None else "the station"
    stage.asks("stop", f"{where} had a fault, {kind}: charging was forbidden (E06.FR.16)", reason)
    stage.asks("status", f"{where} had a fault, {kind}", "Faulted")


def both_break(stage: Stage) -> None:
    """The fault of the other EVSE came first, and has nothing to do with this one."""
    stage.charges()
    stage.breaks(40, "insulation low", 100, evse_id=stage.other)
    stage.breaks(stage.later(60, 30), "contactor welded", 30)
    stage.leaves()
    where = f"EVSE {stage.evse_id} had a fault, contactor welded"
    stage.asks("stop", f"{where}: charging was forbidden", "Other")
    stage.asks("status", where, "Faulted")


def emergency_stop(stage: Stage) -> None:
    stage.charges()
    stage.breaks(stage.later(50, 60), "emergency_stop pressed", 30, 0, "EmergencyStop")
    stage.leaves()
    where = "the station had a fault, emergency_stop pressed"
    stage.asks("stop", f"{where}: charging was forbidden (E06.FR.16)", "EmergencyStop")
    stage.asks("status", where, "Faulted")


def disk_is_full(stage: Stage) -> None:
    """Nothing is left but the reserve: what runs is ended, and nobody new may begin."""
    stage.charges()
    stage.at(60, "disk_fills", free_bytes=0, seconds=70)
    stage.leaves()
    full = "the disk had room left only to end what ran"
    stage.asks("stop", f"{full} (E06.FR.16)", "Other")
    stage.asks("status", full, "Unavailable")


# --- The CSMS ------------------------------------------------------------------------------------


def csms_stops(stage: Stage) -> None:
    stage.charges()
    stage.at(stage.later(60, 60), "stops_remotely", evse_id=stage.evse_id)
    stage.leaves()
    stage.asks("stop", "the CSMS asked for it (F03.FR.03", "Remote")


def csms_stops_and_the_ev_stays(stage: Stage) -> None:
    stage.sets("TxCtrlr.TxStopPoint", "EVConnected")
    stage.charges()
    stage.at(60, "stops_remotely", evse_id=stage.evse_id)
    stage.leaves(130)
    stage.asks("told", "the CSMS asked for it (F03.FR.02)", "RemoteStop")
    rules = "E06.FR.02 or E06.FR.06, after F03.FR.02"
    stage.asks("stop", f"the EV was disconnected, after the CSMS asked for it ({rules})", "Remote")


def csms_stops_what_nobody_began(stage: Stage) -> None:
    """A cable is enough to begin a transaction, but not to charge."""
    stage.sets("TxCtrlr.TxStartPoint", "EVConnected")
    stage.plugs(5)
    stage.at(60, "stops_remotely", evse_id=stage.evse_id)
    stage.leaves(120)
    stage.asks("start", "an EV was plugged in, which TxStartPoint makes a start (E01.FR.02)")
    stage.asks("stop", "the CSMS asked for it (F03.FR.03)", "Remote")


def csms_resets(stage: Stage) -> None:
    stage.charges()
    stage.csms_asks(stage.later(60, 60), "Reset", type="Immediate")
    stage.leaves()
    stage.asks("stop", "an immediate reset was ordered (B12.FR.04", "ImmediateReset")
    stage.asks("restart", "the CSMS ordered it, and nothing stands in its way (B11.FR.03)")


def csms_thinks_again(stage: Stage) -> None:
    """Known to the cache, let in without a CSMS, and then not accepted after all."""
    _doubted(stage)
    says = "the CSMS does not accept the token that authorised it (E05.FR.10"
    stage.asks("stop", says, "DeAuthorized")
    stage.asks("grant", "the CSMS accepted the token (C01.FR.02)")
    stage.asks("grant", "the cache knew the token as accepted (C12.FR.02)")


def csms_thinks_again_and_energy_stops(stage: Stage) -> None:
    stage.sets("TxCtrlr.StopTxOnInvalidId", "false")
    who = _doubted(stage)
    stage.shows(150, who)
    stage.asks("suspension", "the CSMS does not accept the token (E05.FR.02)")
    stage.asks("stop", OWN, "Local")


def csms_thinks_again_and_some_energy_is_left(stage: Stage) -> None:
    stage.sets("TxCtrlr.StopTxOnInvalidId", "false")
    stage.sets("TxCtrlr.MaxEnergyOnInvalidId", "400")
    who = _doubted(stage)
    stage.shows(165, who)
    says = "the CSMS does not accept the token, and MaxEnergyOnInvalidId allows so much (E05.FR.03)"
    stage.asks("suspension", says)
    stage.asks("suspension", "what MaxEnergyOnInvalidId allowed has flowed (E05.FR.02)")
    stage.asks("stop", OWN, "Local")


def _doubted(stage: Stage) -> str:
    """Somebody is let in while there is no link, and has lost the good opinion of the CSMS."""
    who = stage.friend()
    stage.shows(1, who)  # remembered as accepted
    stage.shows(3, who)  # and away again
    stage.offline(8, 88)
    stage.plugs(20)
    stage.shows(25, who)
    stage.at(40, "judges", who=who, status="Blocked")
    stage.leaves()
    return who


def csms_never_knew_them(stage: Stage) -> None:
    """Let in offline though nobody knows the card, and then not accepted."""
    stage.sets("AuthCtrlr.OfflineTxForUnknownIdEnabled", "true")
    stage.offline(8, 70)
    stage.plugs(12)
    stage.shows(20, stage.stranger())
    stage.leaves()
    stage.asks("grant", "nobody could be asked, and unknown tokens are let in then (C15.FR.08)")
    says = "the CSMS does not accept the token that authorised it (C15.FR.04"
    stage.asks("stop", says, "DeAuthorized")


def csms_begins(stage: Stage) -> None:
    _begun_by_csms(stage)
    stage.asks("grant", "the CSMS accepted the token (C01.FR.02)")


def csms_begins_unasked(stage: Stage) -> None:
    stage.sets("AuthCtrlr.AuthorizeRemoteStart", "false")
    _begun_by_csms(stage)
    stage.asks("grant", "the CSMS started it and no further authorization was needed (F01.FR.02)")


def _begun_by_csms(stage: Stage) -> None:
    stage.plugs()
    stage.csms_begins(10, stage.friend())
    stage.at(100, "stops_remotely", evse_id=stage.evse_id)
    stage.leaves()
    stage.asks("start", "the CSMS started it, and TxStartPoint was reached (F02.FR.21)")
    stage.asks("stop", "the CSMS asked for it (F03.FR.03", "Remote")


def nobody_need_be_asked(stage: Stage) -> None:
    stage.sets("AuthCtrlr.Enabled", "false")
    stage.at(0, "judges", who="", status="Accepted")  # C02.FR.02
    stage.plugs(5)
    stage.leaves(100)
    stage.asks("grant", "authorization is switched off, AuthCtrlr.Enabled (C01.FR.01)")
    stage.asks("start", "an EV was plugged in, and nobody needs to be asked: TxStartPoint was")
    stage.asks("stop", "the EV was disconnected (E09.FR.01", "EVDisconnected")


def cache_lets_in_at_once(stage: Stage) -> None:
    who = stage.friend()
    stage.shows(1, who)
    stage.shows(3, who)
    stage.sets("AuthCtrlr.LocalPreAuthorize", "true")
    stage.plugs(5)
    stage.shows(8, who)
    stage.shows(90, who)
    stage.leaves()
    stage.asks("stop", OWN, "Local")
    stage.asks("grant", "the CSMS accepted the token (C01.FR.02)")
    stage.asks("grant", "the cache knew the token as accepted (C12.FR.02)")


# --- The program ---------------------------------------------------------------------------------


def supply_fails(stage: Stage) -> None:
    _away(stage, host=True)
    stage.asks("stop", "the supply was lost for 40", "PowerLoss")
    stage.asks("stop", AWAY)


def program_ends(stage: Stage) -> None:
    _away(stage, host=False)
    stage.asks("stop", "the program was away for 40", "Reboot")
    stage.asks("stop", AWAY)


def _away(stage: Stage, *, host: bool) -> None:
    stage.charges()
    stage.at(stage.later(60, 60), "crash", gap_s=AWAY_S, host=host)
    stage.length_s += AWAY_S
    stage.leaves(stage.length_s - 20)


def supply_fails_for_a_moment(stage: Stage) -> None:
    _back_soon(stage, host=True)


def program_ends_for_a_moment(stage: Stage) -> None:
    _back_soon(stage, host=False)


def _back_soon(stage: Stage, *, host: bool) -> None:
    """The transaction goes on, and ends as it would have."""
    stage.charges()
    stage.at(stage.later(60, 20), "crash", gap_s=5, host=host)
    stage.shows(150, ALICE)
    stage.leaves()
    stage.asks("stop", OWN, "Local")


def supply_fails_and_the_clock_too(stage: Stage) -> None:
    """Away for a short time, but the host's clock does not tell."""
    stage.charges()
    stage.at(60, "crash", gap_s=60, host=True)
    stage.at(80, "clock", step_s=-3_600)
    stage.leaves()
    stage.asks("stop", "the supply was lost, nobody knows for how long: the clock ran backwards "
               "(OCPP 2.1 E17.FR.20 to 22)", "PowerLoss")  # fmt: skip


def program_ends_before_anybody_plugs_in(stage: Stage) -> None:
    stage.shows(5, ALICE)
    stage.at(20, "crash", gap_s=5, host=False)
    stage.asks("right", "the program began anew, and no transaction carried the right on")


SCENES: Final[tuple[Director, ...]] = (
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
