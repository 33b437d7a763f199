"""Autocharge: an EV charges by its EVCCID, also over `kill -9`, and is not named in the journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import EmulatedDevices, StationProcess, Variable
from tests.e2e.steps import (
    FAST_RETRIES,
    check_transaction_complete,
    wait_booted,
    wait_charging,
    wait_energy_drawn,
    wait_transaction_ended,
)
from tests.support.csms import Csms

EVCC_ID = "AABBCC001122"


@pytest.fixture
def autocharge_station(
    devices: EmulatedDevices, csms: Csms, short_directory: Path
) -> Iterator[StationProcess]:
    variables = (
        *FAST_RETRIES,
        Variable("AuthCtrlr", "AutochargeEnabled", "true"),
        Variable("TxCtrlr", "ResumptionTimeout", "3600"),
    )
    station = StationProcess(short_directory, csms.url, variables=variables)
    try:
        station.start()
        wait_booted(station, csms)
        yield station
    finally:
        station.close()


def test_an_ev_charges_by_its_evccid_and_goes_on_after_kill_9(
    autocharge_station: StationProcess, csms: Csms
) -> None:
    station = autocharge_station
    csms.responses.add_id_token(EVCC_ID)
    before_wh = station.emulated_meter_wh(1)
    station.request_operation("plug_in", evse_id=1, ev={"evcc_id": EVCC_ID})
    transaction_id = wait_charging(csms)
    authorize = csms.wait_for_call("Authorize")
    assert authorize.payload["idToken"] == {"idToken": EVCC_ID, "type": "MacAddress"}
    station.kill()
    station.restart()
    wait_energy_drawn(station)
    station.request_operation("stop_button", evse_id=1)
    wait_transaction_ended(csms, transaction_id)
    check_transaction_complete(station, csms, transaction_id, before_wh)
    why = station.run_verb("why", str(station.journal), transaction_id)
    assert "reports its EVCCID MacAddress/#" in why.stdout, why.stdout + why.stderr
    assert all(EVCC_ID not in str(row.body) for row in station.read_entries())
