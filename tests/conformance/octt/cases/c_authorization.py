"""Block C: authorization by the CSMS."""

from __future__ import annotations

from tests.conformance.octt import states
from tests.conformance.octt.bench import (
    BLOCKED,
    EXPIRED,
    GROUP,
    INVALID,
    OTHER,
    UNKNOWN,
    VALID,
    VALID_2,
)
from tests.conformance.octt.tester import TOKEN_TYPE, TRANSACTION_EVENT, Tester
from tests.conformance.octt.verify import require


def enable_csms_authorization(t: Tester) -> None:
    """Configuration state of most cases: the station sends AuthorizeRequest for every token."""
    t.configure_variable("AuthCtrlr", "Enabled", value=True)
    t.configure_variable("AuthCtrlr", "DisableRemoteAuthorization", value=False)


def _check_token_refused(t: Tester, id_token: str) -> None:
    """A token that the CSMS refuses starts no transaction although the EV is connected."""
    enable_csms_authorization(t)
    states.ev_connected_pre_session(t)
    t.present_id_token(id_token)
    states.expect_authorize(t, "step 1", id_token)
    t.expect_no_call("step 1", TRANSACTION_EVENT)


def tc_c_02_cs(t: Tester) -> None:
    _check_token_refused(t, INVALID)


def tc_c_06_cs(t: Tester) -> None:
    _check_token_refused(t, BLOCKED)


def tc_c_07_cs(t: Tester) -> None:
    _check_token_refused(t, EXPIRED)


def tc_c_56_cs(t: Tester) -> None:
    _check_token_refused(t, UNKNOWN)


def tc_c_04_cs(t: Tester) -> None:
    enable_csms_authorization(t)
    states.start_energy_transfer(t)
    t.present_id_token(OTHER)
    states.expect_authorize(t, "step 1", OTHER)
    t.expect_no_event("step 1")
    states.check_still_charging(t, "afterwards")


def _start_with_group(t: Tester) -> None:
    """Steps 1 to 5 of the cases by GroupId; the CSMS sends the group with each of its tokens."""
    require("preparation", _group_of(t, VALID) == GROUP, "the CSMS must have the group")
    states.ev_connected_pre_session(t)
    states.authorize_driver(t, VALID)
    states.start_energy_transfer(t)


def _group_of(t: Tester, id_token: str) -> str | None:
    info = t.csms.responses.id_token_infos[id_token.casefold()]
    return str(info["groupIdToken"]["idToken"]) if "groupIdToken" in info else None


def tc_c_39_cs(t: Tester) -> None:
    _start_with_group(t)
    t.present_id_token(VALID_2)
    states.expect_authorize(t, "step 6", VALID_2)
    t.expect_event(
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
    _start_with_group(t)
    t.present_id_token(INVALID)
    states.expect_authorize(t, "step 6", INVALID)
    t.expect_no_event("step 6")
    states.check_still_charging(t, "afterwards")
