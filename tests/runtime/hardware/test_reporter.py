"""What does an EVSE say first?"""

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
    """An EVSE whose pilot has spoken and whose meter has not."""
    senses = EvseInputs(1)
    devices = FakePowerDevices().as_power_devices()
    path = PowerPath(senses, devices, hardware_settings(), lambda: None, 0.0)
    told: list[Observation] = []
    teller = Reporter(senses, path, 1, told.append, reading_interval_s=10)
    senses.apply_report(PilotState("A", 0), 0.0, 100_000)
    return senses, teller, told


def test_an_evse_that_is_available_can_be_asked_for_its_register_f06_fr_06() -> None:
    senses, teller, told = reporter_with_silent_meter()
    teller.report_changes(0.0)
    assert told == []
    senses.apply_report(READING, 0.5, 100_000)
    teller.report_changes(0.5)
    assert CableReported(1, 1, plugged_in=False) in told
    reading = teller.latest_reading(0.5)
    assert isinstance(reading, MeterRead)
    assert reading.energy_wh == 1000


def test_a_cable_is_told_of_without_a_meter_too() -> None:
    _, teller, told = reporter_with_silent_meter()
    teller.report_changes(0.0)
    teller.report_changes(READING_FRESH_S)
    assert CableReported(1, 1, plugged_in=False) in told
