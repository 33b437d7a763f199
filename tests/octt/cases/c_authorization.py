"""Block C: who may charge, by the word of the CSMS."""

from __future__ import annotations

from tests.octt import states
from tests.octt.bench import BLOCKED, EXPIRED, GROUP, INVALID, OTHER, UNKNOWN, VALID, VALID_2
from tests.octt.tester import EVENT, TOKEN_TYPE, Tester
from tests.octt.verify import must


def ask_the_csms(t: Tester) -> None:
    """Configuration state of most cases: the CSMS is asked for every token."""
    t.configure("AuthCtrlr", "Enabled", value=True)
    t.configure("AuthCtrlr", "DisableRemoteAuthorization", value=False)


def _refused(t: Tester, id_token: str) -> None:
    """A token the CSMS refuses starts nothing, with the cable in the EV."""
    ask_the_csms(t)
    states.ev_connected_pre_session(t)
    t.present(id_token)
    states.authorize(t, "step 1", id_token)
    t.silent("step 1", EVENT)


def tc_c_02_cs(t: Tester) -> None:
    _refused(t, INVALID)


def tc_c_06_cs(t: Tester) -> None:
    _refused(t, BLOCKED)


def tc_c_07_cs(t: Tester) -> None:
    _refused(t, EXPIRED)


def tc_c_56_cs(t: Tester) -> None:
    _refused(t, UNKNOWN)


def tc_c_04_cs(t: Tester) -> None:
    ask_the_csms(t)
    states.energy_transfer_started(t)
    t.present(OTHER)
    states.authorize(t, "step 1", OTHER)
    t.no_events("step 1")
    states.charging_goes_on(t, "afterwards")


def _started_with_group(t: Tester) -> None:
    """Steps 1 to 5 of the cases by GroupId; the CSMS tells the group of every token in it."""
    must("preparation", _group_of(t, VALID) == GROUP, "the CSMS must know the group")
    states.ev_connected_pre_session(t)
    states.authorized(t, VALID)
    states.energy_transfer_started(t)


def _group_of(t: Tester, id_token: str) -> str | None:
    info = t.csms.answers.tokens[id_token.casefold()]
    return str(info["groupIdToken"]["idToken"]) if "groupIdToken" in info else None


def tc_c_39_cs(t: Tester) -> None:
    _started_with_group(t)
    t.present(VALID_2)
    states.authorize(t, "step 6", VALID_2)
    t.event(
        "step 8",
        {
            "triggerReason": "StopAuthorized",
            "idToken.idToken": VALID_2,
            "idToken.type": TOKEN_TYPE,
        },
    )
    states.ev_connected_post_session(t)
    states.ev_disconnected(t)


def tc_c_42_cs(t: Tester) -> None:
    _started_with_group(t)
    t.present(INVALID)
    states.authorize(t, "step 6", INVALID)
    t.no_events("step 6")
    states.charging_goes_on(t, "afterwards")
