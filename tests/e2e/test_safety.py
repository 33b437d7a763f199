"""Faults during a session end it with the right reason, and clear, on a real station. E06."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.e2e.harness import StationProcess, wait_until
from tests.e2e.steps import (
    STEP_TIMEOUT_S,
    authorize_and_plug_in,
    check_transaction_complete,
    wait_charging,
    wait_delivered,
    wait_energy_drawn,
    wait_transaction_ended,
)
from tests.support.csms import Csms

BACK_S = 5.0  # from the end of a self-clearing fault to a free connector


def last_status(csms: Csms, evse_id: int) -> str | None:
    """The last connector status the CSMS received."""
    statuses = [
        frame.payload["connectorStatus"]
        for frame in csms.calls_for("StatusNotification")
        if frame.payload["evseId"] == evse_id
    ]
    return statuses[-1] if statuses else None


def wait_status(csms: Csms, evse_id: int, expected: set[str], timeout_s: float) -> float:
    began = time.monotonic()
    wait_until(
        lambda: last_status(csms, evse_id) in expected, timeout_s, f"EVSE {evse_id} {expected}"
    )
    return time.monotonic() - began


Do = Callable[[StationProcess], object]
FAULTS: dict[str, tuple[Do, Do, str, bool]] = {
    # name: the fault, its end, stoppedReason, whether the other EVSE is affected
    "emergency_stop": (
        lambda station: station.request_operation("emergency_stop"),
        lambda station: station.request_operation("emergency_release"),
        "EmergencyStop",
        True,
    ),
    "insulation": (
        lambda station: station.request_operation(
            "fault", device="insulation", kind="low", evse_id=1
        ),
        lambda station: station.request_operation(
            "clear_fault", device="insulation", kind="low", evse_id=1
        ),
        "GroundFault",
        False,
    ),
    "over_current": (  # latched, and detectable only with power
        lambda station: station.request_operation(
            "fault", device="output", kind="over_current", evse_id=1
        ),
        lambda station: station.request_operation(
            "clear_fault", device="output", kind="over_current", evse_id=1
        ),
        "OvercurrentFault",
        False,
    ),
    "hot_cable": (
        lambda station: station.request_operation(
            "fault", device="cable", kind="over_temperature", evse_id=1
        ),
        lambda station: station.request_operation(
            "clear_fault", device="cable", kind="over_temperature", evse_id=1
        ),
        "Other",
        False,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_ends_the_session_and_clears_e06_fr_16(
    name: str, station: StationProcess, csms: Csms
) -> None:
    start_fault, end_fault, reason, station_wide = FAULTS[name]
    meter_before_wh = station.emulated_meter_wh(1)
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    wait_energy_drawn(station)
    start_fault(station)
    ended = wait_transaction_ended(csms, transaction_id)
    assert ended["triggerReason"] == "AbnormalCondition"
    assert ended["transactionInfo"]["stoppedReason"] == reason
    assert station.read_emulated_evse(1)["contactor"] == "open"
    wait_status(csms, 1, {"Faulted"}, STEP_TIMEOUT_S)
    assert (last_status(csms, 2) == "Faulted") is station_wide
    check_transaction_complete(station, csms, transaction_id, meter_before_wh)
    station.request_operation("unplug", evse_id=1)
    end_fault(station)
    assert wait_status(csms, 1, {"Available"}, STEP_TIMEOUT_S) < BACK_S
    wait_status(csms, 2, {"Available"}, STEP_TIMEOUT_S)
    wait_delivered(station)
