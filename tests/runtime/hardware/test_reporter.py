"""First observations of an EVSE."""

from __future__ import annotations

from decimal import Decimal

from drivers.ports import MeterReading, PilotState
from journal.events import Observation
from journal.observations import CableReported, MeterRead
from station.runtime.hardware.inputs import EvseInputs
from station.runtime.hardware.power_path import PowerPath
from station.runtime.hardware.reporter import READING_FRESH_S, Reporter
from tests.runtime.hardware.fakes import FakePowerDevices, hardware_settings

NOTHING = Decimal(0)
READING = MeterReading(Decimal(1000), NOTHING, NOTHING, NOTHING, NOTHING, Decimal(25), False)


def reporter_with_silent_meter() -> tuple[EvseInputs, Reporter, list[Observation]]:
    """An EVSE with a report of the pilot and none of the meter."""
    inputs = EvseInputs(1)
    devices = FakePowerDevices().as_power_devices()
    path = PowerPath(inputs, devices, hardware_settings(), lambda: None, 0.0)
    observed: list[Observation] = []
    reporter = Reporter(inputs, path, 1, observed.append, reading_interval_s=10)
    inputs.apply_report(PilotState("A", 0), 0.0, 100_000)
    return inputs, reporter, observed


def test_an_evse_that_is_available_can_be_asked_for_its_register_f06_fr_06() -> None:
    inputs, reporter, observed = reporter_with_silent_meter()
    reporter.report_changes(0.0)
    assert observed == []
    inputs.apply_report(READING, 0.5, 100_000)
    reporter.report_changes(0.5)
    assert CableReported(1, 1, plugged_in=False) in observed
    reading = reporter.latest_reading(0.5)
    assert isinstance(reading, MeterRead)
    assert reading.energy_wh == 1000


def test_a_cable_is_reported_without_a_meter_too() -> None:
    _, reporter, observed = reporter_with_silent_meter()
    reporter.report_changes(0.0)
    reporter.report_changes(READING_FRESH_S)
    assert CableReported(1, 1, plugged_in=False) in observed
