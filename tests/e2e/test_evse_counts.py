"""Stations with one and with four EVSEs: every EVSE charges, and goes on after `kill -9`. P1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import EmulatedDevices, StationProcess, Variable
from tests.e2e.steps import (
    ALICE,
    BOB,
    FAST_RETRIES,
    authorize_and_plug_in,
    check_journal,
    check_transaction_complete,
    wait_booted,
    wait_charging,
    wait_energy_drawn,
    wait_transaction_ended,
)
from tests.support.csms import Csms
from tests.support.products import write_profile

CARDS = (ALICE, BOB, "04CA401D", "0455AA77")
RESUMES = Variable("TxCtrlr", "ResumptionTimeout", "3600")


@pytest.fixture(params=[1, 4])
def evse_count(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def devices(short_directory: Path, evse_count: int) -> Iterator[EmulatedDevices]:
    devices = EmulatedDevices(short_directory / "data", evse_count)
    try:
        devices.start()
        yield devices
    finally:
        devices.close()


@pytest.fixture
def product(
    devices: EmulatedDevices, csms: Csms, short_directory: Path, evse_count: int
) -> Iterator[StationProcess]:
    """A booted station of this product, with its devices in another process."""
    profile = write_profile(short_directory, evse_count, power_max_w=600_000)
    station = StationProcess(
        short_directory, csms.url, variables=(*FAST_RETRIES, RESUMES), profile=str(profile)
    )
    for card in CARDS:
        csms.responses.add_id_token(card)
    try:
        station.start()
        wait_booted(station, csms)
        yield station
    finally:
        station.close()


def test_every_evse_charges_on_after_kill_9(
    product: StationProcess, csms: Csms, evse_count: int
) -> None:
    cards = dict(enumerate(CARDS[:evse_count], start=1))
    before_wh = {evse_id: product.emulated_meter_wh(evse_id) for evse_id in cards}
    transactions = {}
    for evse_id, card in cards.items():
        authorize_and_plug_in(product, evse_id, card)
        transactions[evse_id] = wait_charging(csms, evse_id)
    assert len(set(transactions.values())) == evse_count
    product.kill()
    product.restart()
    for evse_id in cards:
        wait_energy_drawn(product, evse_id)
    status = product.run_verb("status", "--data", str(product.data))
    assert status.returncode == 0, status.stderr
    assert all(f"EVSE {evse_id}" in status.stdout for evse_id in cards), status.stdout
    for evse_id, card in cards.items():
        product.request_operation("present_token", id_token=card, evse_id=evse_id)
        wait_transaction_ended(csms, transactions[evse_id])
        check_transaction_complete(product, csms, transactions[evse_id], before_wh[evse_id])
    check_journal(product)


def test_emulated_devices_of_another_number_of_evses_are_refused(
    devices: EmulatedDevices, csms: Csms, short_directory: Path, evse_count: int
) -> None:
    profile = write_profile(short_directory, 3)
    station = StationProcess(short_directory, csms.url, profile=str(profile))
    try:
        station.spawn()
        assert station.wait(60) == 1
        assert f"the devices of {evse_count} EVSEs are emulated" in station.read_log()
        assert "station emulate --evses 3" in station.read_log()
    finally:
        station.close()
