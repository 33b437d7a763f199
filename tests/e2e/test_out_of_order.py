"""`station sim state` names the fault that is the reason for "Out of order"."""

from __future__ import annotations

from typing import Final

from tests.e2e.harness import StationProcess, wait_until
from tests.e2e.steps import STEP_TIMEOUT_S

METER_SILENT: Final = {"device": "meter", "kind": "silent", "evse_id": 1}


def test_sim_state_names_the_fault_behind_out_of_order(station: StationProcess) -> None:
    def evse_line() -> str:
        printed = station.run_verb("sim", "state", "--data", str(station.journal.parent))
        assert printed.returncode == 0, printed.stderr
        return next(line for line in printed.stdout.splitlines() if line.startswith("EVSE 1"))

    wait_until(lambda: "Out of order" not in evse_line(), STEP_TIMEOUT_S, "EVSE in service")
    station.request_operation("fault", **METER_SILENT)
    wait_until(lambda: "Out of order" in evse_line(), STEP_TIMEOUT_S, "EVSE out of order")
    assert "faults meter silent" in evse_line()
    station.request_operation("clear_fault", **METER_SILENT)
    wait_until(lambda: "Out of order" not in evse_line(), STEP_TIMEOUT_S, "EVSE in service again")
    assert "meter silent" not in evse_line()
