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


def enable_csms_authorization(tester: Tester) -> None:
    """Configuration state of most cases: the station sends AuthorizeRequest for every token."""
    tester.configure_variable("AuthCtrlr", "Enabled", value=True)
    tester.configure_variable("AuthCtrlr", "DisableRemoteAuthorization", value=False)


def _check_token_refused(tester: Tester, id_token: str) -> None:
    """A token that the CSMS refuses starts no transaction although the EV is connected."""
    enable_csms_authorization(tester)
    states.ev_connected_pre_session(tester)
    tester.present_id_token(id_token)
    states.expect_authorize(tester, "step 1", id_token)
    tester.expect_no_call("step 1", TRANSACTION_EVENT)


def tc_c_02_cs(tester: Tester) -> None:
    _check_token_refused(tester, INVALID)


def tc_c_06_cs(tester: Tester) -> None:
    _check_token_refused(tester, BLOCKED)


def tc_c_07_cs(tester: Tester) -> None:
    _check_token_refused(tester, EXPIRED)


def tc_c_56_cs(tester: Tester) -> None:
    _check_token_refused(tester, UNKNOWN)


def tc_c_04_cs(tester: Tester) -> None:
    enable_csms_authorization(tester)
    states.start_energy_transfer(tester)
    tester.present_id_token(OTHER)
    states.expect_authorize(tester, "step 1", OTHER)
    tester.expect_no_event("step 1")
    states.check_still_charging(tester, "afterwards")


def _start_with_group(tester: Tester) -> None:
    """Steps 1 to 5 of the cases by GroupId; the CSMS sends the group with each of its tokens."""
    require("preparation", _group_of(tester, VALID) == GROUP, "the CSMS must have the group")
    states.ev_connected_pre_session(tester)
    states.authorize_driver(tester, VALID)
    states.start_energy_transfer(tester)


def _group_of(tester: Tester, id_token: str) -> str | None:
    info = tester.csms.responses.id_token_infos[id_token.casefold()]
    return str(info["groupIdToken"]["idToken"]) if "groupIdToken" in info else None


def tc_c_39_cs(tester: Tester) -> None:
    _start_with_group(tester)
    tester.present_id_token(VALID_2)
    states.expect_authorize(tester, "step 6", VALID_2)
    tester.expect_event(
        "step 8",
        {
            "triggerReason": "StopAuthorized",
            "idToken.idToken": VALID_2,
            "idToken.type": TOKEN_TYPE,
        },
    )
    states.ev_connected_post_session(tester)
    states.ev_disconnected(tester)


def tc_c_42_cs(tester: Tester) -> None:
    _start_with_group(tester)
    tester.present_id_token(INVALID)
    states.expect_authorize(tester, "step 6", INVALID)
    tester.expect_no_event("step 6")
    states.check_still_charging(tester, "afterwards")
