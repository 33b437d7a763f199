"""Block B: resets (B11, B12)."""

from __future__ import annotations

from tests.octt import states
from tests.octt.bench import OTHER, VALID
from tests.octt.tester import Tester
from tests.octt.verify import OMITTED


def tc_b_20_cs(t: Tester) -> None:
    t.reset("step 1", "OnIdle")
    t.boot_notification("step 3")
    t.statuses("step 5")


def tc_b_21_cs(t: Tester) -> None:
    states.energy_transfer_started(t)
    t.reset("step 1", "OnIdle", "Scheduled")
    states.stop_authorized(t)
    t.boot_notification("step 7", {"reason": "ScheduledReset"})
    t.statuses("step 9", but={t.evse: "Occupied"})
    t.security_event("step 11", *states.STARTUP)


def tc_b_22_cs(t: Tester) -> None:
    states.energy_transfer_started(t)
    t.reset("step 1", "Immediate")
    t.event(
        "step 3",
        {
            "eventType": "Ended",
            "triggerReason": "ResetCommand",
            "transactionInfo.chargingState": "EVConnected",
            "transactionInfo.stoppedReason": "ImmediateReset",
            "idToken": OMITTED,
        },
    )
    t.boot_notification("step 5", {"reason": "RemoteReset"})
    t.statuses("step 7", but={t.evse: "Occupied"})


def tc_b_23_cs(t: Tester) -> None:
    states.unavailable(t, t.evse, t.connector)
    t.reset("step 1", "OnIdle")
    t.boot_notification("step 3", {"reason": "RemoteReset"})
    t.statuses("step 5", but={t.evse: "Unavailable"})


def tc_b_41_cs(t: Tester) -> None:
    first, second = t.evse, t.settings.second_evse_id
    for evse_id, id_token in ((first, VALID), (second, OTHER)):
        states.energy_transfer_started(t, evse_id, id_token=id_token)
    t.reset("step 1", "OnIdle", "Scheduled")
    states.stop_authorized(t, first)
    states.ev_connected_post_session(t, first)
    states.ev_disconnected(t, first)
    states.stop_authorized(t, second)
    t.boot_notification("step 11", {"reason": "ScheduledReset"})
    t.statuses("step 13", but={second: "Occupied"})


def tc_b_28_cs(t: Tester) -> None:
    t.call("step 1", "Reset", {"type": "OnIdle", "evseId": t.evse}, {"status": "Rejected"})


def tc_b_29_cs(t: Tester) -> None:
    states.energy_transfer_started(t)
    t.call("step 1", "Reset", {"type": "OnIdle", "evseId": t.evse}, {"status": "Rejected"})
