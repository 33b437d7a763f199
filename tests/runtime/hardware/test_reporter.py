"""First observations of an EVSE."""

from __future__ import annotations

from decimal import Decimal

from drivers.ports import MeterReading, PilotState
from journal.events import Observation
from journal.observations import CableReported, ContactorReported, MeterFellSilent, MeterRead
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
    reporter = Reporter(
        inputs,
        path,
        1,
        observed.append,
        reading_interval_s=10,
        silent_s=2.5,
        report_ev_token=lambda evse_id, evcc_id: None,
    )
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


# --- A silent meter ------------------------------------------------------------------------------


def counted(energy_wh: int) -> MeterReading:
    return MeterReading(
        Decimal(energy_wh), NOTHING, NOTHING, NOTHING, NOTHING, Decimal(25), broken_wire=False
    )


def reporter_with_meter() -> tuple[EvseInputs, Reporter, list[Observation]]:
    """An EVSE whose meter was read at 0 s and again, 100 Wh later, at 1 s."""
    inputs, reporter, observed = reporter_with_silent_meter()
    inputs.apply_report(counted(1000), 0.0, 100_000)
    reporter.report_changes(0.0)
    inputs.apply_report(counted(1100), 1.0, 100_000)
    reporter.report_changes(1.0)
    observed.clear()
    return inputs, reporter, observed


def test_the_last_reading_of_a_meter_that_fell_silent_is_reported_once_with_its_age_p11() -> None:
    _, reporter, observed = reporter_with_meter()
    reporter.report_changes(3.5)
    assert observed == []
    reporter.report_changes(3.75)
    reporter.report_changes(20.0)
    assert observed == [MeterFellSilent(1, Decimal(1100), NOTHING, age_ms=2750)]
    assert reporter.latest_reading(20.0) is None


def test_the_first_reading_after_a_silence_is_reported_at_once_p11() -> None:
    inputs, reporter, observed = reporter_with_meter()
    reporter.report_changes(5.0)
    observed.clear()
    inputs.apply_report(counted(1100), 5.1, 100_000)
    reporter.report_changes(5.1)
    reporter.report_changes(5.2)
    assert [type(report) for report in observed] == [MeterRead]


def test_a_silence_without_a_new_register_is_not_reported_p11() -> None:
    inputs, reporter, observed = reporter_with_meter()
    inputs.apply_report(counted(1000), 1.1, 100_000)
    reporter.report_changes(20.0)
    assert observed == []


def test_a_reading_before_the_contactors_opened_is_not_the_newest_after_it_p11() -> None:
    inputs, reporter, observed = reporter_with_meter()
    inputs.feedback.closed = True
    reporter.report_changes(1.0)
    inputs.feedback.closed = False
    reporter.report_changes(1.2)
    assert reporter.latest_reading(1.3) is not None  # its opening is not reported yet
    reporter.report_changes(2.8)  # the wait for the last register is over
    assert ContactorReported(1, closed=False) in observed
    assert reporter.latest_reading(2.9) is None
    inputs.apply_report(counted(1200), 3.0, 100_000)
    reporter.report_changes(3.0)
    assert isinstance(observed[-1], MeterRead)
    assert observed[-1].energy_wh == 1200
