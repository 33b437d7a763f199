"""The station's process does not run for seconds; nothing is latched, and it charges again.

The devices run on in a process of their own. They may end the session: the charge controller and
the I/O module supervise the station. The station must not find them faulty for that.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from station.runtime.hardware.fault_registry import FAULT_RULES
from tests.e2e.harness import EmulatedDevices, StationProcess, wait_until
from tests.e2e.steps import FAST_RETRIES, STEP_TIMEOUT_S, wait_booted
from tests.support.csms import Csms

PAUSES_S = (0.15, 0.4, 1.0, 2.5, 5.0)


@pytest.fixture
def paused_station(
    devices: EmulatedDevices, csms: Csms, short_directory: Path
) -> Iterator[StationProcess]:
    station = StationProcess(short_directory, csms.url, variables=FAST_RETRIES)
    try:
        station.start()
        wait_booted(station, csms)
        yield station
    finally:
        station.close()


def pause_process(station: StationProcess, seconds: float) -> None:
    os.kill(station.pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(station.pid, signal.SIGCONT)


def start_charging(station: StationProcess) -> None:
    station.request_operation("plug_in", evse_id=1)
    station.request_operation("present_token", id_token="04A224B2", type="ISO14443", evse_id=1)
    wait_until(
        lambda: float(station.read_emulated_evse(1)["current_a"]) > 50, STEP_TIMEOUT_S, "current"
    )


def end_session(station: StationProcess) -> None:
    """Unplug, and wait until the transaction has ended and no fault is left."""
    station.request_operation("unplug", evse_id=1)
    wait_until(
        lambda: station.read_evse(1)["transaction_id"] is None, STEP_TIMEOUT_S, "end of transaction"
    )
    wait_until(lambda: active_faults(station) == set(), STEP_TIMEOUT_S, "end of all faults")


def active_faults(station: StationProcess) -> set[tuple[int, str, str]]:
    active: set[tuple[int, str, str]] = set()
    for row in station.read_entries():
        if row.kind in ("DeviceFaulted", "DeviceRecovered"):
            fault = (row.body["evse_id"], row.body["device"], row.body["fault"])
            (active.add if row.kind == "DeviceFaulted" else active.discard)(fault)
    return active


def test_a_stopped_process_finds_no_device_faulty(paused_station: StationProcess) -> None:
    station = paused_station
    for pause_s in PAUSES_S:
        start_charging(station)
        pause_process(station, pause_s)  # while energy flows
        time.sleep(0.3)
        station.request_operation("emergency_stop")  # by the devices: contactors open
        pause_process(station, pause_s)
        time.sleep(0.3)
        station.request_operation("emergency_release")
        end_session(station)
    found = {
        (row.body["device"], row.body["fault"]) for row in station.read_entries("DeviceFaulted")
    }
    latched = {each for each in found if FAULT_RULES["/".join(each)].latched}
    assert latched <= {("emergency_stop", "pressed")}
    assert "contactor" not in {device for device, _ in found}
