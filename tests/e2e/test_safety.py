"""Does a fault in a session end as OCPP and the safety table say, on the real process?"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.csms import Csms
from tests.e2e.harness import StationProcess, until
from tests.e2e.steps import (
    PATIENCE_S,
    authorize_and_plug_in,
    check_account,
    draw,
    wait_charging,
    wait_closed,
    wait_delivered,
)

BACK_S = 5.0  # from the end of a self-clearing fault to a free connector


def status(csms: Csms, evse_id: int) -> str | None:
    """What the CSMS heard last of a connector."""
    told = [
        frame.payload["connectorStatus"]
        for frame in csms.calls("StatusNotification")
        if frame.payload["evseId"] == evse_id
    ]
    return told[-1] if told else None


def wait_status(csms: Csms, evse_id: int, wanted: set[str], patience_s: float) -> float:
    began = time.monotonic()
    until(lambda: status(csms, evse_id) in wanted, patience_s, f"EVSE {evse_id} {wanted}")
    return time.monotonic() - began


Do = Callable[[StationProcess], object]
FAULTS: dict[str, tuple[Do, Do, str, bool]] = {
    # name: what happens, what ends it, stoppedReason, whether the other EVSE has it too
    "emergency_stop": (
        lambda station: station.op("emergency_stop"),
        lambda station: station.op("emergency_release"),
        "EmergencyStop",
        True,
    ),
    "insulation": (
        lambda station: station.op("fault", device="insulation", kind="low", evse_id=1),
        lambda station: station.op("clear_fault", device="insulation", kind="low", evse_id=1),
        "GroundFault",
        False,
    ),
    "over_current": (  # latched, and not to be seen without power
        lambda station: station.op("fault", device="output", kind="over_current", evse_id=1),
        lambda station: station.op("clear_fault", device="output", kind="over_current", evse_id=1),
        "OvercurrentFault",
        False,
    ),
    "hot_cable": (
        lambda station: station.op("fault", device="cable", kind="over_temperature", evse_id=1),
        lambda station: station.op(
            "clear_fault", device="cable", kind="over_temperature", evse_id=1
        ),
        "Other",
        False,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_a_session_e06_fr_16(name: str, station: StationProcess, csms: Csms) -> None:
    happen, end, reason, station_wide = FAULTS[name]
    meter_before_wh = station.meter_wh(1)
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    draw(station)
    happen(station)
    ended = wait_closed(csms, transaction_id)
    assert ended["triggerReason"] == "AbnormalCondition"
    assert ended["transactionInfo"]["stoppedReason"] == reason
    assert station.world(1)["contactor"] == "open"
    wait_status(csms, 1, {"Faulted"}, PATIENCE_S)
    assert (status(csms, 2) == "Faulted") is station_wide
    check_account(station, csms, transaction_id, meter_before_wh)
    station.op("unplug", evse_id=1)
    end(station)
    assert wait_status(csms, 1, {"Available"}, PATIENCE_S) < BACK_S
    wait_status(csms, 2, {"Available"}, PATIENCE_S)
    wait_delivered(station)
