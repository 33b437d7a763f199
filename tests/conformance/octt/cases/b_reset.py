"""Block B: resets (B11, B12)."""

from __future__ import annotations

from tests.conformance.octt import states
from tests.conformance.octt.bench import OTHER, VALID
from tests.conformance.octt.tester import Tester
from tests.conformance.octt.verify import OMITTED


def tc_b_20_cs(t: Tester) -> None:
    t.reset_station("step 1", "OnIdle")
    t.expect_boot_notification("step 3")
    t.expect_statuses("step 5")


def tc_b_21_cs(t: Tester) -> None:
    states.start_energy_transfer(t)
    t.reset_station("step 1", "OnIdle", "Scheduled")
    states.authorize_stop(t)
    t.expect_boot_notification("step 7", {"reason": "ScheduledReset"})
    t.expect_statuses("step 9", exceptions={t.evse_id: "Occupied"})
    t.expect_security_event("step 11", *states.STARTUP)


def tc_b_22_cs(t: Tester) -> None:
    states.start_energy_transfer(t)
    t.reset_station("step 1", "Immediate")
    t.expect_event(
        "step 3",
        {
            "eventType": "Ended",
            "triggerReason": "ResetCommand",
            "transactionInfo.chargingState": "EVConnected",
            "transactionInfo.stoppedReason": "ImmediateReset",
            "idToken": OMITTED,
        },
    )
    t.expect_boot_notification("step 5", {"reason": "RemoteReset"})
    t.expect_statuses("step 7", exceptions={t.evse_id: "Occupied"})


def tc_b_23_cs(t: Tester) -> None:
    states.make_unavailable(t, t.evse_id, t.connector_id)
    t.reset_station("step 1", "OnIdle")
    t.expect_boot_notification("step 3", {"reason": "RemoteReset"})
    t.expect_statuses("step 5", exceptions={t.evse_id: "Unavailable"})


def tc_b_41_cs(t: Tester) -> None:
    first, second = t.evse_id, t.settings.second_evse_id
    for evse_id, id_token in ((first, VALID), (second, OTHER)):
        states.start_energy_transfer(t, evse_id, id_token=id_token)
    t.reset_station("step 1", "OnIdle", "Scheduled")
    states.authorize_stop(t, first)
    states.ev_connected_post_session(t, first)
    states.ev_disconnected(t, first)
    states.authorize_stop(t, second)
    t.expect_boot_notification("step 11", {"reason": "ScheduledReset"})
    t.expect_statuses("step 13", exceptions={second: "Occupied"})


def tc_b_28_cs(t: Tester) -> None:
    t.send_call("step 1", "Reset", {"type": "OnIdle", "evseId": t.evse_id}, {"status": "Rejected"})


def tc_b_29_cs(t: Tester) -> None:
    states.start_energy_transfer(t)
    t.send_call("step 1", "Reset", {"type": "OnIdle", "evseId": t.evse_id}, {"status": "Rejected"})
