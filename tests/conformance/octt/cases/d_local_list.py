"""Block D, and the cases of block C that use the Local Authorization List."""

from __future__ import annotations

from typing import Any

from tests.conformance.octt import states
from tests.conformance.octt.bench import BLOCKED, EXPIRED, GROUP, INVALID, VALID, VALID_2
from tests.conformance.octt.cases.e_offline import configure_offline_case
from tests.conformance.octt.tester import TOKEN_TYPE, TRANSACTION_EVENT, Tester
from tests.conformance.octt.verify import one_of, require
from tests.support.csms import Payload

LIST = "LocalAuthListCtrlr"
VERSION = 7  # <Configured versionNumber>


def enable_list(tester: Tester) -> None:
    """Configuration state: the list is used before the CSMS, and refusals are checked with it."""
    tester.configure_variable(LIST, "Enabled", value=True)
    tester.configure_variable("AuthCtrlr", "LocalPreAuthorize", value=True)
    tester.configure_variable(LIST, "DisablePostAuthorize", value=False)


def enable_list_offline(tester: Tester, *, unknown: bool = False) -> None:
    """As `enable_list`, for authorization while offline."""
    enable_list(tester)
    tester.configure_variable("AuthCtrlr", "OfflineTxForUnknownIdEnabled", value=unknown)
    tester.configure_variable("AuthCtrlr", "LocalAuthorizeOffline", value=True)
    configure_offline_case(tester)


def authorization_data(
    id_token: str, status: str | None = "Accepted", group: str | None = None
) -> Payload:
    """An entry of the list; without a status it removes the idToken."""
    data: Payload = {"idToken": {"idToken": id_token, "type": TOKEN_TYPE}}
    if status is not None:
        data["idTokenInfo"] = {"status": status}
        if group is not None:
            data["idTokenInfo"]["groupIdToken"] = {"idToken": group, "type": "Central"}
    return data


def send_list(
    tester: Tester,
    step: str,
    *entries: Payload,
    version: int = VERSION,
    update: str = "Full",
    status: str = "Accepted",
) -> None:
    """SendLocalList, and the status that it is answered with."""
    request: dict[str, Any] = {"versionNumber": version, "updateType": update}
    if entries:
        request["localAuthorizationList"] = list(entries)
    tester.send_call(step, "SendLocalList", request, {"status": status})


def check_version(tester: Tester, step: str, version: int) -> None:
    tester.send_call(step, "GetLocalListVersion", {}, {"versionNumber": version})


def id_token_local_auth_list(tester: Tester, *entries: Payload) -> None:
    """Memory state IdTokenLocalAuthList: the list has these entries only. Errata 6.2.121."""
    send_list(tester, "IdTokenLocalAuthList step 1", *(entries or (authorization_data(VALID),)))


# --- SendLocalList and GetLocalListVersion -------------------------------------------------------


def tc_d_01_cs(tester: Tester) -> None:
    tester.configure_variable(LIST, "Enabled", value=True)
    send_list(tester, "step 1", authorization_data(VALID))
    check_version(tester, "step 3", VERSION)


def tc_d_02_cs(tester: Tester) -> None:
    tester.configure_variable(LIST, "Enabled", value=True)
    id_token_local_auth_list(tester)
    entry = authorization_data(VALID_2)
    send_list(tester, "step 1", entry, version=VERSION + 1, update="Differential")
    check_version(tester, "step 3", VERSION + 1)


def tc_d_03_cs(tester: Tester) -> None:
    tester.configure_variable(LIST, "Enabled", value=True)
    id_token_local_auth_list(tester)
    entry = authorization_data(VALID, None)
    send_list(tester, "step 1", entry, version=VERSION + 1, update="Differential")
    check_version(tester, "step 3", VERSION + 1)


def tc_d_04_cs(tester: Tester) -> None:
    tester.configure_variable(LIST, "Enabled", value=True)
    id_token_local_auth_list(tester)
    send_list(tester, "step 1")
    check_version(tester, "step 3", VERSION)


def tc_d_05_cs(tester: Tester) -> None:
    tester.configure_variable(LIST, "Enabled", value=True)
    id_token_local_auth_list(tester)
    send_list(tester, "step 1", version=VERSION + 1, update="Differential")
    check_version(tester, "step 3", VERSION + 1)


def tc_d_06_cs(tester: Tester) -> None:
    tester.configure_variable(LIST, "Enabled", value=True)
    id_token_local_auth_list(tester)
    send_list(
        tester,
        "step 1",
        authorization_data(VALID_2),
        version=VERSION - 1,
        update="Differential",
        status="VersionMismatch",
    )
    check_version(tester, "step 3", VERSION)


def tc_d_07_cs(tester: Tester) -> None:
    tester.configure_variable(LIST, "Enabled", value=True)
    id_token_local_auth_list(tester)
    states.reset_and_boot(tester)
    check_version(tester, "step 1", VERSION)


def tc_d_08_cs(tester: Tester) -> None:
    tester.configure_variable(LIST, "Enabled", value=True)
    id_token_local_auth_list(tester)
    check_version(tester, "step 1", VERSION)


def tc_d_10_cs(tester: Tester) -> None:
    """The list has entries, so that the version is 0 because it is disabled."""
    tester.configure_variable(LIST, "Enabled", value=True)
    id_token_local_auth_list(tester)
    tester.configure_variable(LIST, "Enabled", value=False)
    check_version(tester, "step 1", 0)


# --- Offline (C13) -------------------------------------------------------------------------------


def tc_c_21_cs(tester: Tester) -> None:
    enable_list_offline(tester)
    id_token_local_auth_list(tester)
    states.start_offline_transaction(tester)
    session = tester.session_on()
    session.id_token = VALID
    queued = states.take_queued_events(tester, "step 1")
    require("step 1", any(event.get("offline") for event in queued), "events must be offline")
    tester.discard_received()
    session.id_token_reported = session.connector_reported = True
    states.authorize_stop(tester)
    states.ev_connected_post_session(tester)
    states.ev_disconnected(tester)


def _check_refused_offline(tester: Tester, id_token: str, status: str) -> None:
    """A token that the list refuses starts no transaction while offline.

    The EV is plugged in, or an authorization would not show.
    """
    enable_list_offline(tester)
    id_token_local_auth_list(tester, authorization_data(id_token, status))
    with tester.offline_period():
        tester.plug_in()
        states.wait_for_world(tester, "plugged", True)
        tester.present_id_token(id_token)
        tester.wait(tester.settings.transaction_s)
        require("step 3", not tester.is_power_flowing(), "no energy may flow")
    tester.expect_no_call("step 5", TRANSACTION_EVENT, wait_s=2.0)


def tc_c_22_cs(tester: Tester) -> None:
    _check_refused_offline(tester, INVALID, "Invalid")


def tc_c_23_cs(tester: Tester) -> None:
    _check_refused_offline(tester, BLOCKED, "Blocked")


def tc_c_24_cs(tester: Tester) -> None:
    _check_refused_offline(tester, EXPIRED, "Expired")


def tc_c_25_cs(tester: Tester) -> None:
    enable_list_offline(tester, unknown=True)
    tester.configure_variable("TxCtrlr", "StopTxOnInvalidId", value=False)
    states.id_token_cached(tester)
    id_token_local_auth_list(tester, authorization_data(VALID, "Invalid"))
    states.ev_connected_pre_session(tester)
    with tester.offline_period():
        tester.present_id_token()
        tester.wait(tester.settings.transaction_s)
        require("step 1", not tester.is_power_flowing(), "no energy may flow")
    tester.expect_no_call("step 3", TRANSACTION_EVENT, wait_s=2.0)


# --- Online (C14) --------------------------------------------------------------------------------


def tc_c_27_cs(tester: Tester) -> None:
    enable_list(tester)
    id_token_local_auth_list(tester)
    states.authorize_driver(tester, cached=True)
    states.ev_connected_pre_session(tester)
    states.start_energy_transfer(tester)


def _check_asked(tester: Tester, id_token: str, status: str) -> None:
    """A token that the list refuses is checked with the CSMS, which refuses it too."""
    enable_list(tester)
    id_token_local_auth_list(tester, authorization_data(id_token, status))
    tester.present_id_token(id_token)
    states.expect_authorize(tester, "step 1", id_token)
    tester.expect_no_call("step 2", TRANSACTION_EVENT, wait_s=2.0)


def tc_c_28_cs(tester: Tester) -> None:
    _check_asked(tester, INVALID, "Invalid")


def tc_c_29_cs(tester: Tester) -> None:
    _check_asked(tester, BLOCKED, "Blocked")


def tc_c_30_cs(tester: Tester) -> None:
    _check_asked(tester, EXPIRED, "Expired")


def tc_c_31_cs(tester: Tester) -> None:
    enable_list(tester)
    id_token_local_auth_list(tester, authorization_data(INVALID, "Invalid"))
    tester.csms.responses.add_id_token(INVALID)
    states.authorize_driver(tester, INVALID)
    states.ev_connected_pre_session(tester)
    states.start_energy_transfer(tester)


def tc_c_58_cs(tester: Tester) -> None:
    enable_list(tester)
    tester.configure_variable(LIST, "DisablePostAuthorize", value=True)
    id_token_local_auth_list(tester, authorization_data(INVALID, "Invalid"))
    states.ev_connected_pre_session(tester)
    tester.present_id_token(INVALID)
    tester.expect_no_call("step 1", "Authorize")
    require(
        "step 1", not tester.pending_calls(TRANSACTION_EVENT), "the authorization must be refused"
    )


# --- Groups (C09) --------------------------------------------------------------------------------


def tc_c_40_cs(tester: Tester) -> None:
    enable_list(tester)
    id_token_local_auth_list(
        tester,
        authorization_data(VALID, group=GROUP),
        authorization_data(VALID_2, group=GROUP),
    )
    states.ev_connected_pre_session(tester)
    states.authorize_driver(tester, VALID, cached=True)
    states.start_energy_transfer(tester)
    states.authorize_stop(tester, id_token=VALID_2)
    tester.expect_no_call("step 4", "Authorize", wait_s=1.0)
    states.ev_connected_post_session(tester)
    states.ev_disconnected(tester)
    states.parking_bay_unoccupied(tester)


def tc_c_43_cs(tester: Tester) -> None:
    enable_list(tester)
    id_token_local_auth_list(
        tester,
        authorization_data(VALID, group=GROUP),
        authorization_data(INVALID, "Invalid", group=GROUP),
    )
    states.ev_connected_pre_session(tester)
    states.authorize_driver(tester, VALID, cached=True)
    states.start_energy_transfer(tester)
    tester.present_id_token(INVALID)
    states.expect_authorize(tester, "step 4", INVALID)
    tester.expect_no_event("step 6", {"triggerReason": one_of("StopAuthorized", "Deauthorized")})
    states.check_still_charging(tester, "afterwards")
