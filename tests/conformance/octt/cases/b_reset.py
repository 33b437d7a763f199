"""Block B: resets (B11, B12)."""

from __future__ import annotations

from tests.conformance.octt import states
from tests.conformance.octt.bench import OTHER, VALID
from tests.conformance.octt.tester import Tester
from tests.conformance.octt.verify import OMITTED


def tc_b_20_cs(tester: Tester) -> None:
    tester.reset_station("step 1", "OnIdle")
    tester.expect_boot_notification("step 3")
    tester.expect_statuses("step 5")


def tc_b_21_cs(tester: Tester) -> None:
    states.start_energy_transfer(tester)
    tester.reset_station("step 1", "OnIdle", "Scheduled")
    states.authorize_stop(tester)
    tester.expect_boot_notification("step 7", {"reason": "ScheduledReset"})
    tester.expect_statuses("step 9", exceptions={tester.evse_id: "Occupied"})
    tester.expect_security_event("step 11", *states.STARTUP)


def tc_b_22_cs(tester: Tester) -> None:
    states.start_energy_transfer(tester)
    tester.reset_station("step 1", "Immediate")
    tester.expect_event(
        "step 3",
        {
            "eventType": "Ended",
            "triggerReason": "ResetCommand",
            "transactionInfo.chargingState": "EVConnected",
            "transactionInfo.stoppedReason": "ImmediateReset",
            "idToken": OMITTED,
        },
    )
    tester.expect_boot_notification("step 5", {"reason": "RemoteReset"})
    tester.expect_statuses("step 7", exceptions={tester.evse_id: "Occupied"})


def tc_b_23_cs(tester: Tester) -> None:
    states.make_unavailable(tester, tester.evse_id, tester.connector_id)
    tester.reset_station("step 1", "OnIdle")
    tester.expect_boot_notification("step 3", {"reason": "RemoteReset"})
    tester.expect_statuses("step 5", exceptions={tester.evse_id: "Unavailable"})


def tc_b_41_cs(tester: Tester) -> None:
    first, second = tester.evse_id, tester.settings.second_evse_id
    for evse_id, id_token in ((first, VALID), (second, OTHER)):
        states.start_energy_transfer(tester, evse_id, id_token=id_token)
    tester.reset_station("step 1", "OnIdle", "Scheduled")
    states.authorize_stop(tester, first)
    states.ev_connected_post_session(tester, first)
    states.ev_disconnected(tester, first)
    states.authorize_stop(tester, second)
    tester.expect_boot_notification("step 11", {"reason": "ScheduledReset"})
    tester.expect_statuses("step 13", exceptions={second: "Occupied"})


def tc_b_28_cs(tester: Tester) -> None:
    tester.send_call(
        "step 1", "Reset", {"type": "OnIdle", "evseId": tester.evse_id}, {"status": "Rejected"}
    )


def tc_b_29_cs(tester: Tester) -> None:
    states.start_energy_transfer(tester)
    tester.send_call(
        "step 1", "Reset", {"type": "OnIdle", "evseId": tester.evse_id}, {"status": "Rejected"}
    )
