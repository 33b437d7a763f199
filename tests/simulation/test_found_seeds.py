"""Plans in which the station once broke a promise, shrunk to what is needed.

`python -m station.simulation --seed0 N --seeds 1 --shrink` prints such a plan.
"""

from __future__ import annotations

from typing import Any

import pytest

from station.simulation.fault_plan import Plan, ScheduledEvent
from station.simulation.run_plan import run_plan


def make_plan(seed: int, variables: dict[str, str], *events: tuple[float, str, Any]) -> Plan:
    return Plan(seed, variables, tuple(ScheduledEvent(*event) for event in events))


def session_event(evse_id: int, uid: str, stays_s: float, power_w: int = 60_000) -> tuple[str, Any]:
    arguments = {"evse_id": evse_id, "id_token": uid, "stays_s": stays_s, "power_w": power_w}
    return "start_session", arguments


def stall_event(seconds: float) -> tuple[str, Any]:
    return "stall_disk", {"seconds": seconds}


ALICE, BOB, CAROL, STRANGER = "04A224B2", "04B224B2", "04C224B2", "04EEEEEE"
START, STOP = "TxCtrlr.TxStartPoint", "TxCtrlr.TxStopPoint"

FOUND_PLANS = {
    # A commit took longer than the timeout: the CALL was given up at the moment it was sent.
    "a call is given up as it is sent": make_plan(
        43,
        {},
        (983, *stall_event(47)),
        (984, *session_event(2, ALICE, 56.4, 150_000)),
        (1060, "retry_calls", {"calls": []}),
    ),
    # A clock-aligned event reported Idle before the EVSE reported its cable, so that unplugging
    # while the program was away was not detected.
    "a cable unplugged while the program was away": make_plan(
        163,
        {
            START: "Authorized",
            STOP: "EVConnected",
            "AlignedDataCtrlr.Interval": "60",
            "TxCtrlr.StopTxOnEVSideDisconnect": "false",
        },
        (5, "connect_ev", {"evse_id": 1}),
        (13, "present_id_token", {"id_token": ALICE, "evse_id": 1}),
        (60, "send_sigterm", {"gap_s": 160}),
        (100, "disconnect_ev", {"evse_id": 1}),
        (230, "retry_calls", {"calls": []}),
    ),
    # Without authorization, and after unplugging, the only stop point could not be reached.
    "a transaction without a stop point": make_plan(
        205,
        {START: "EVConnected", STOP: "Authorized"},
        (138.33, *session_event(2, STRANGER, 135.2, 11_000)),
        (140.22, "retry_calls", {"calls": []}),
    ),
    # The authorization ended before there was a cable.
    "an authorization that ends before the cable is plugged in": make_plan(
        301,
        {START: "Authorized", STOP: "EVConnected"},
        (340.58, *session_event(2, ALICE, 310.4, 150_000)),
        (344.4, *session_event(2, ALICE, 279.6, 150_000)),
    ),
    # After a slow commit, a frame was sent on another connection than the one it was decided for.
    "two connections during one commit": make_plan(
        534,
        {},
        (535.96, "switch_network", {"mode": "down", "seconds": 68.35}),
        (609.56, *stall_event(492.82)),
        (816.81, "switch_network", {"mode": "down", "seconds": 15.18}),
        (1063.33, "pause_ev", {"evse_id": 1, "seconds": 587.54}),
    ),
    # The newest reading was journaled before an older one in the queue.
    "a reading is journaled before an older one": make_plan(
        551,
        {START: "EnergyTransfer", "SampledDataCtrlr.TxUpdatedInterval": "5"},
        (777.15, *session_event(2, ALICE, 103.2, 11_000)),
        (800.35, *stall_event(540.37)),
        (1199.13, *stall_event(0.42)),
    ),
    # The authorization of the EV driver who had just left closed the contactor for the next EV.
    "the next EV with the authorization of the one before": make_plan(
        78,
        {},
        (202.49, *session_event(2, STRANGER, 255.6, 11_000)),
        (467.73, *session_event(2, BOB, 35.1, 11_000)),
        (502.83, *stall_event(56.15)),
        (524.49, *session_event(2, STRANGER, 280.6, 11_000)),
        (532.506, "connect_ev", {"evse_id": 1}),
    ),
    # A start before the EVSE reported its cable reported Idle, without an earlier charging state.
    "a card for an EVSE without a cable report": make_plan(
        3023,
        {START: "Authorized"},
        (6, *session_event(2, ALICE, 24.1, 60_000)),
        (407.237, "kill_at_commit", {"when": "after", "host": True, "gap_s": 17.38}),
        (418.187, "switch_network", {"mode": "down", "seconds": 23.01}),
        (427.798, *stall_event(173.48)),
        (581.15, *session_event(2, ALICE, 93.6, 11_000)),
        (591.117, "kill_at_commit", {"when": "after", "host": True, "gap_s": 193.86}),
    ),
    # A retried parked message was sent after messages queued later.
    "a retried parked message loses its place": make_plan(
        2427,
        {
            "OCPPCommCtrlr.WebSocketPingInterval": "0",
            "OCPPCommCtrlr.MessageAttempts[TransactionEvent]": "1",
            "AlignedDataCtrlr.Interval": "60",
        },
        (34.22, *session_event(1, CAROL, 251.0)),
        (108.594, "slow_network", {"latency_s": 40, "seconds": 377.43}),
        (214.03, "retry_calls", {"calls": []}),
    ),
}


@pytest.mark.parametrize("name", FOUND_PLANS)
def test_a_plan_that_once_failed_breaks_no_promise(name: str) -> None:
    result = run_plan(FOUND_PLANS[name])
    assert not result.violation, f"{result.transcript}\n{result.violation}"
    assert result.entries > 20, "the plan has no effect"
