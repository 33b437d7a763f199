"""A latched fault is released by a person, and the journal records who it was."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from tests.e2e.harness import ControlRefused, StationProcess, wait_until
from tests.e2e.steps import STEP_TIMEOUT_S, authorize_and_plug_in

EVSE_ID = 1
ATTEMPT_S = 15


def read_faults(station: StationProcess) -> list[dict[str, Any]]:
    faults: list[dict[str, Any]] = station.request_operation("live")["faults"]
    return faults


def test_a_latched_fault_ends_after_its_release(station: StationProcess) -> None:
    fault = {"device": "output", "kind": "over_voltage", "evse_id": EVSE_ID}
    station.request_operation("fault", **fault)

    def latched() -> bool:
        return any(each["latched"] and not each["found"] for each in read_faults(station))

    def charged_until_latched() -> bool:
        """Over-voltage is seen in the insulation test, on a busy machine not in each one."""
        authorize_and_plug_in(station, EVSE_ID)
        with suppress(TimeoutError):
            wait_until(latched, ATTEMPT_S, "latched fault")
        station.request_operation("unplug", evse_id=EVSE_ID)
        return latched()

    wait_until(charged_until_latched, STEP_TIMEOUT_S, "latched fault")
    with pytest.raises(ControlRefused, match="no latched fault"):
        station.request_operation("release", device="door")

    result = station.run_verb("status", "--data", str(station.journal.parent))
    assert "output over_voltage" in result.stdout
    assert "needs `station release`" in result.stdout
    result = station.run_verb(
        "release", "output", "over_voltage", "--data", str(station.journal.parent)
    )
    assert (result.returncode, result.stdout) == (0, "released: output over_voltage\n")
    wait_until(lambda: not read_faults(station), STEP_TIMEOUT_S, "end of the fault")

    [release] = station.read_entries("FaultReleaseRequested")
    assert release.body["requested_by"]
    [recovery] = [
        entry
        for entry in station.read_entries("DeviceRecovered")
        if entry.body["device"] == "output"
    ]
    assert recovery.seq > release.seq
