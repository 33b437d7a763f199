"""Worlds in which the station once broke a promise, cut down to what it takes.

`python -m station.simulation --seed0 N --seeds 1 --shrink` prints such a plan.
"""

from __future__ import annotations

from typing import Any

import pytest

from station.simulation.fault_plan import Plan, ScheduledEvent
from station.simulation.run_plan import run_plan


def make_plan(seed: int, variables: dict[str, str], *happenings: tuple[float, str, Any]) -> Plan:
    return Plan(
        seed, variables, tuple(ScheduledEvent(at_s, what, how) for at_s, what, how in happenings)
    )


def session_event(evse_id: int, uid: str, stays_s: float, power_w: int = 60_000) -> tuple[str, Any]:
    how = {"evse_id": evse_id, "who": uid, "stays_s": stays_s, "power_w": power_w}
    return "start_session", how


def stall_event(seconds: float) -> tuple[str, Any]:
    return "stall_disk", {"seconds": seconds}


ALICE, BOB, CAROL, STRANGER = "04A224B2", "04B224B2", "04C224B2", "04EEEEEE"
START, STOP = "TxCtrlr.TxStartPoint", "TxCtrlr.TxStopPoint"

FOUND_PLANS = {
    # A commit took longer than the timeout: the CALL was given up in the moment it left.
    "a call is given up as it leaves": make_plan(
        43,
        {},
        (983, *stall_event(47)),
        (984, *session_event(2, ALICE, 56.4, 150_000)),
        (1060, "retry_calls", {"calls": []}),
    ),
    # A clock-aligned event said Idle before the EVSE had spoken; nobody was missed then.
    "a cable that left with the program away": make_plan(
        163,
        {
            START: "Authorized",
            STOP: "EVConnected",
            "AlignedDataCtrlr.Interval": "60",
            "TxCtrlr.StopTxOnEVSideDisconnect": "false",
        },
        (5, "connect_ev", {"evse_id": 1}),
        (13, "present_id_token", {"who": ALICE, "evse_id": 1}),
        (60, "send_sigterm", {"gap_s": 160}),
        (100, "disconnect_ev", {"evse_id": 1}),
        (230, "retry_calls", {"calls": []}),
    ),
    # Nobody was authorised, the cable left, and the one stop point could not be reached.
    "a transaction without a stop point": make_plan(
        205,
        {START: "EVConnected", STOP: "Authorized"},
        (138.33, *session_event(2, STRANGER, 135.2, 11_000)),
        (140.22, "retry_calls", {"calls": []}),
    ),
    # The authorization ended before there was a cable.
    "a right given back before the cable": make_plan(
        301,
        {START: "Authorized", STOP: "EVConnected"},
        (340.58, *session_event(2, ALICE, 310.4, 150_000)),
        (344.4, *session_event(2, ALICE, 279.6, 150_000)),
    ),
    # Behind a slow commit a connection carried what another was to carry.
    "two connections behind one commit": make_plan(
        534,
        {},
        (535.96, "switch_network", {"mode": "down", "seconds": 68.35}),
        (609.56, *stall_event(492.82)),
        (816.81, "switch_network", {"mode": "down", "seconds": 15.18}),
        (1063.33, "pause_ev", {"evse_id": 1, "seconds": 587.54}),
    ),
    # The newest reading went into the journal before an older one that waited.
    "a reading overtakes another": make_plan(
        551,
        {START: "EnergyTransfer", "SampledDataCtrlr.TxUpdatedInterval": "5"},
        (777.15, *session_event(2, ALICE, 103.2, 11_000)),
        (800.35, *stall_event(540.37)),
        (1199.13, *stall_event(0.42)),
    ),
    # The right of whoever had just left closed the contactor for the next EV.
    "the next EV on the right of the one before": make_plan(
        78,
        {},
        (202.49, *session_event(2, STRANGER, 255.6, 11_000)),
        (467.73, *session_event(2, BOB, 35.1, 11_000)),
        (502.83, *stall_event(56.15)),
        (524.49, *session_event(2, STRANGER, 280.6, 11_000)),
        (532.506, "connect_ev", {"evse_id": 1}),
    ),
    # A start that nobody could see said Idle of an EV of which nobody had said otherwise.
    "a card for an EVSE that has not spoken": make_plan(
        3023,
        {START: "Authorized"},
        (6, *session_event(2, ALICE, 24.1, 60_000)),
        (407.237, "kill_at_commit", {"when": "after", "host": True, "gap_s": 17.38}),
        (418.187, "switch_network", {"mode": "down", "seconds": 23.01}),
        (427.798, *stall_event(173.48)),
        (581.15, *session_event(2, ALICE, 93.6, 11_000)),
        (591.117, "kill_at_commit", {"when": "after", "host": True, "gap_s": 193.86}),
    ),
    # A parked message that was tried again went behind what came after it.
    "a parked message loses its place": make_plan(
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
def test_what_was_found_once_stays_mended(name: str) -> None:
    verdict = run_plan(FOUND_PLANS[name])
    assert not verdict.violation, f"{verdict.transcript}\n{verdict.violation}"
    assert verdict.entries > 20, "nothing happened"
