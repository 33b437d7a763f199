"""Why was the card refused?"""

from __future__ import annotations

from typing import Final

from station.simulation.counterpart import ALICE, MALLORY
from tests.history.fleet.stage import Director, Stage


def _refused(stage: Stage, who: str, says: str, at_s: float = 10) -> None:
    """Somebody plugs in, and is refused."""
    stage.plugs()
    stage.shows(at_s, who)
    stage.leaves()
    stage.asks("refusal", says)


# --- The CSMS says so ----------------------------------------------------------------------------


def not_accepted_by_the_csms(stage: Stage) -> None:
    status = stage.dice.choice(["Blocked", "Expired", "Invalid", "NoCredit", "NotAtThisTime"])
    _refused(stage, stage.friend(status), f"the CSMS says {status} (C01.FR.07)")


def unknown(stage: Stage) -> None:
    _refused(stage, stage.stranger(), "the CSMS says Unknown (C01.FR.07)")


def elsewhere_only(stage: Stage) -> None:
    who = stage.friend(evse_ids=[stage.other])
    _refused(stage, who, "the CSMS allows it at other EVSEs only (C01.FR.21)")


# --- Nobody can be asked -------------------------------------------------------------------------


def nobody_to_ask(stage: Stage) -> None:
    stage.offline(10, 110)
    _refused(stage, stage.stranger(), "nobody could be asked, and nothing is known of it here: "
             "only OfflineTxForUnknownIdEnabled would let it in (C15.FR.08)", 60)  # fmt: skip


def blocked_by_the_cache(stage: Stage) -> None:
    stage.csms_asks(1, "ClearCache")
    stage.plugs()
    stage.shows(10, MALLORY)
    stage.offline(20, 120)
    stage.shows(60, MALLORY)
    stage.leaves()
    stage.asks("refusal", "the CSMS says Blocked (C01.FR.07)")
    stage.asks("refusal", "nobody could be asked, and the cache knows the token as Blocked (C12")


def _known_and_offline(stage: Stage, says: str) -> None:
    """Somebody is known, but to no avail, for there is no link when they come."""
    who = stage.friend()
    stage.shows(1, who)
    stage.shows(3, who)
    stage.offline(30, 120)
    stage.plugs(40)
    stage.shows(60, who)
    stage.leaves()
    stage.asks("refusal", says)


def too_old_in_the_cache(stage: Stage) -> None:
    stage.sets("AuthCacheCtrlr.LifeTime", "20")
    _known_and_offline(stage, "nobody could be asked, and what the cache knew of it was too old "
                       "(C10.FR.10, C15.FR.08)")  # fmt: skip


def cache_does_not_count_offline(stage: Stage) -> None:
    stage.sets("AuthCtrlr.LocalAuthorizeOffline", "false")
    _known_and_offline(stage, "nobody could be asked, and LocalAuthorizeOffline forbids to ask "
                       "the cache")  # fmt: skip


def elsewhere_only_by_the_cache(stage: Stage) -> None:
    who = stage.friend(evse_ids=[stage.other])
    stage.at(1, "card", who=who, evse_id=stage.other)
    stage.at(3, "card", who=who, evse_id=stage.other)
    stage.offline(30, 120)
    _refused(stage, who, "the CSMS allows it at other EVSEs only (C01.FR.21)", 60)


def csms_errs(stage: Stage) -> None:
    stage.at(8, "temper", seconds=10, refused=1.0)
    _refused(stage, stage.stranger(), "the CSMS gave no answer of use, and nothing is known of it "
             "here", 12)  # fmt: skip


def csms_is_silent(stage: Stage) -> None:
    stage.at(8, "temper", seconds=10, lost=1.0)
    _refused(stage, stage.stranger(), "the CSMS gave no answer of use, and nothing is known of it "
             "here", 12)  # fmt: skip


def link_breaks_under_the_question(stage: Stage) -> None:
    stage.at(8, "temper", seconds=10, lost=1.0)
    stage.offline(15, 60)
    _refused(stage, stage.stranger(), "nobody could be asked, and nothing is known of it here", 12)


# --- Nobody shall be asked -----------------------------------------------------------------------


def not_asked_again(stage: Stage) -> None:
    who = stage.friend("Blocked")
    stage.sets("AuthCacheCtrlr.DisablePostAuthorize", "true")
    stage.plugs()
    stage.shows(10, who)
    stage.shows(60, who)
    stage.leaves()
    stage.asks("refusal", "the CSMS says Blocked (C01.FR.07)")
    stage.asks("refusal", "the cache knows the token as Blocked, and DisablePostAuthorize or "
               "DisableRemoteAuthorization forbids to ask the CSMS")  # fmt: skip


def never_asked(stage: Stage) -> None:
    stage.sets("AuthCtrlr.DisableRemoteAuthorization", "true")
    _refused(stage, stage.stranger(), "the cache does not know the token, and "
             "DisableRemoteAuthorization forbids to ask the CSMS")  # fmt: skip


# --- Not here, not now ---------------------------------------------------------------------------


def broken_for_everybody(stage: Stage) -> None:
    stage.breaks(2, "contactor welded", 100)
    says = f"EVSE {stage.evse_id} had a fault, contactor welded (ConnectorStatusEnumType)"
    stage.plugs(10)
    stage.shows(30, ALICE)
    stage.leaves()
    stage.asks("refusal", says)


def out_of_service(stage: Stage) -> None:
    stage.operative(2, False, stage.here)
    stage.shows(30, ALICE)
    stage.operative(100, True, stage.here)
    stage.asks("refusal", f"the CSMS took EVSE {stage.evse_id} out of service (G03.FR.06")
    stage.asks("status", f"the CSMS took EVSE {stage.evse_id} out of service (G03", "Unavailable")


def not_accepted(stage: Stage) -> None:
    """The CSMS has not made up its mind about the station since it began anew."""
    stage.at(2, "registration", status="Pending", interval_s=5, seconds=90)
    stage.at(4, "crash", gap_s=3, host=False)
    stage.plugs(20)
    stage.shows(50, ALICE)
    stage.leaves()
    stage.asks("refusal", "the CSMS had not accepted the station (B03.FR.01)")


def somebody_else_charges(stage: Stage) -> None:
    stage.charges(ALICE)
    stage.shows(60, stage.stranger())
    stage.shows(120, ALICE)
    stage.leaves()
    stage.asks("refusal", "no EVSE was free, and the token may end nothing that runs (C09.FR.03)")


def somebody_was_faster(stage: Stage) -> None:
    """Two cards are shown before the CSMS has answered."""
    first, second = stage.friend(), stage.friend()
    stage.at(5, "slow", latency_s=4, seconds=40)
    stage.plugs()
    stage.shows(10, first)
    stage.shows(11, second)
    stage.shows(100, first)
    stage.leaves()
    stage.asks("refusal", f"somebody else may charge at EVSE {stage.evse_id}")


def soon_to_restart(stage: Stage) -> None:
    stage.next_door(until_s=100)
    stage.csms_asks(40, "Reset", type="OnIdle")
    stage.shows(60, stage.friend())
    stage.asks("refusal", "the CSMS ordered a restart, which waits for transactions (B12.FR.03)")
    stage.asks("restart", "the CSMS ordered it, and nothing stands in its way (B11.FR.03)")


# --- The CSMS is told no -------------------------------------------------------------------------


def nobody_else_may_begin(stage: Stage) -> None:
    stage.charges()
    stage.csms_begins(60, stage.friend())
    stage.leaves()
    says = f"TxInProgress: EVSE {stage.evse_id} is in use (F01.FR.24)"
    stage.asks("reply", says, "RequestStartTransaction")


def nobody_may_begin_where_it_is_broken(stage: Stage) -> None:
    stage.breaks(10, "insulation low", 100)
    stage.csms_begins(60, stage.friend())
    says = f"Unspecified: EVSE {stage.evse_id} is out of service (F01.FR.23)"
    stage.asks("reply", says, "RequestStartTransaction")


def nothing_to_stop(stage: Stage) -> None:
    stage.csms_asks(10, "RequestStopTransaction", transactionId="unheard of")
    stage.asks("reply", "TxNotFound (F03.FR.08)", "RequestStopTransaction")


def no_reservations(stage: Stage) -> None:
    token = {"idToken": ALICE, "type": "ISO14443"}
    stage.csms_asks(10, "ReserveNow", id=1, expiryDateTime="2026-03-02T00:00:00Z", idToken=token)
    stage.asks("reply", "NotEnabled (H01.FR.01)", "ReserveNow")


def no_local_list(stage: Stage) -> None:
    stage.csms_asks(10, "SendLocalList", versionNumber=1, updateType="Full")
    stage.asks("reply", "NotEnabled", "SendLocalList")


SCENES: Final[tuple[Director, ...]] = (
    not_accepted_by_the_csms, unknown, elsewhere_only,
    nobody_to_ask, blocked_by_the_cache, too_old_in_the_cache, cache_does_not_count_offline,
    elsewhere_only_by_the_cache, csms_errs, csms_is_silent, link_breaks_under_the_question,
    not_asked_again, never_asked,
    broken_for_everybody, out_of_service, not_accepted, somebody_else_charges,
    somebody_was_faster, soon_to_restart,
    nobody_else_may_begin, nobody_may_begin_where_it_is_broken, nothing_to_stop, no_reservations,
    no_local_list,
)  # fmt: skip
