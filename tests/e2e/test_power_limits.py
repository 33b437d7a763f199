"""A limit of the CSMS on the modules' bus: how long it takes, and 0 W. K01, K10, E02."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.e2e.harness import StationProcess, wait_until
from tests.e2e.steps import STEP_TIMEOUT_S, authorize_and_plug_in, wait_charging
from tests.support.csms import Csms

CHANGES = 100
SET_POINT_S = 1.0
FULL_W = 95_000  # what the emulated EV takes at least without a limit


def set_limit(csms: Csms, limit_w: int) -> None:
    profile: dict[str, Any] = {
        "id": 1,
        "stackLevel": 0,
        "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": [
            {
                "id": 1,
                "startSchedule": "2026-01-01T00:00:00Z",
                "chargingRateUnit": "W",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit_w}],
            }
        ],
    }
    answer = csms.call("SetChargingProfile", {"evseId": 1, "chargingProfile": profile})
    assert answer["status"] == "Accepted", answer


def clear_limit(csms: Csms) -> None:
    assert csms.call("ClearChargingProfile", {"chargingProfileId": 1}) == {"status": "Accepted"}


def is_in_state(charging_state: str, payload: dict[str, Any]) -> bool:
    return bool(payload["transactionInfo"].get("chargingState") == charging_state)


def output_w(station: StationProcess) -> float:
    evse = station.read_emulated_evse(1)
    return float(evse["voltage_v"]) * float(evse["current_a"])


def set_point_w(station: StationProcess) -> float:
    """What the commands on the modules' bus allow: their current at the voltage of the output."""
    evse = station.read_emulated_evse(1)
    return float(evse["voltage_v"]) * float(evse["set_point_a"])


def time_until(
    read_w: Callable[[StationProcess], float],
    station: StationProcess,
    least_w: float,
    most_w: float,
    began: float,
) -> float:
    """Wait until a power is in this range; seconds since `began`."""
    power_w = 0.0
    while time.monotonic() - began < 5:
        power_w = read_w(station)
        if least_w <= power_w <= most_w:
            return time.monotonic() - began
    raise AssertionError(f"{power_w} W after 5 s, expected {least_w} to {most_w}")


def test_a_limit_is_on_the_modules_bus_within_a_second_and_a_cleared_one_at_once(
    station: StationProcess, csms: Csms
) -> None:
    authorize_and_plug_in(station)
    wait_charging(csms)
    wait_until(lambda: output_w(station) > FULL_W, 10, "full power")
    seconds = []
    for number in range(CHANGES):
        began = time.monotonic()
        if number % 4 == 3:
            clear_limit(csms)
            least_w, most_w = FULL_W, 400_000
        else:
            most_w = 20_000 + 10_000 * (number * 3 % 5)
            least_w = most_w - 1_000
            set_limit(csms, most_w)
        seconds.append(time_until(set_point_w, station, least_w, most_w, began))
        time_until(output_w, station, least_w, most_w, began)
    seconds.sort()
    p99 = seconds[CHANGES * 99 // 100 - 1]
    print(f"frame to set-point: median {seconds[CHANGES // 2]:.3f} s, p99 {p99:.3f} s")
    assert p99 < SET_POINT_S


def test_0_w_suspends_the_transaction_and_the_next_limit_resumes_it(
    station: StationProcess, csms: Csms
) -> None:
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    for limit_w, state in ((0, "SuspendedEVSE"), (30_000, "Charging")):
        after = csms.next_frame_number()
        set_limit(csms, limit_w)
        event = csms.wait_for_call(
            "TransactionEvent", partial(is_in_state, state), STEP_TIMEOUT_S, after=after
        )
        assert event.payload["eventType"] == "Updated"
    time_until(output_w, station, 28_000, 30_000, time.monotonic())
    assert station.read_evse(1)["transaction_id"] == transaction_id


def test_an_external_limit_is_reported_and_outlives_a_kill_k11_fr_02_k13_fr_02(
    station: StationProcess, csms: Csms
) -> None:
    station.run_verb("sim", "external-limit", "50000", "--config", str(station.config))
    notified = csms.wait_for_call("NotifyChargingLimit", timeout_s=STEP_TIMEOUT_S)
    assert notified.payload["chargingLimit"] == {"chargingLimitSource": "EMS"}
    station.kill()
    station.restart()
    authorize_and_plug_in(station)
    wait_charging(csms, after=notified.number)
    time_until(output_w, station, 45_000, 50_000 * 0.95, time.monotonic())
    station.run_verb("sim", "external-limit", "none", "--config", str(station.config))
    csms.wait_for_call("ClearedChargingLimit", timeout_s=STEP_TIMEOUT_S, after=notified.number)
    time_until(output_w, station, FULL_W, 200_000, time.monotonic())
