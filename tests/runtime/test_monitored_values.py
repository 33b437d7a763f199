"""Values that trigger a monitor are observed; all others leave no trace."""

from __future__ import annotations

from decimal import Decimal

import trio

from journal.events import Entry, Observation
from journal.observations import DeadlineReached, MeterRead, ValuesMeasured
from station.core.context import Context
from station.runtime.monitored_values import find_observations, report_monitored_values
from tests.core.blocks.n_monitoring.monitors import (
    EVSE_POWER,
    events_in,
    monitor_data,
    perform,
    ready_station,
    set_monitor,
    set_monitors,
)
from tests.support.story import LINK_LOST, LINK_OPENED, Station, meter_read, time_passed

CABLE = "TemperatureSensor[cable]@1/1.Temperature"


def context_of(station: Station) -> Context:
    """The present time, after the last commit."""
    entry = Entry(
        len(station.entries), station.at, station.uptime_ms, DeadlineReached(station.uptime_ms)
    )
    return Context(station.product, station.state, entry)


def observed(
    station: Station, power_w: int | None = None, *, cable_c: int | None = None
) -> tuple[Observation, ...]:
    """What is observed with this power at EVSE 1 and this temperature of its cable."""
    reading = None if power_w is None else meter_read(1, "0", power_w=str(power_w))
    values = {} if cable_c is None else {CABLE: str(cable_c)}
    return find_observations(
        context_of(station), lambda evse_id: reading if evse_id == 1 else None, values
    )


def test_a_value_that_triggers_nothing_is_not_observed() -> None:
    station = ready_station()
    set_monitor(station, EVSE_POWER, "UpperThreshold", 100)
    assert observed(station, 100) == ()


def test_the_reading_that_triggers_a_monitor_is_observed_and_decides_the_same() -> None:
    station = ready_station()
    set_monitor(station, EVSE_POWER, "UpperThreshold", 100)
    [reading] = observed(station, 101)
    assert isinstance(reading, MeterRead)
    assert reading.power_w == Decimal(101)
    [event] = events_in(perform(station, reading))
    assert event["actualValue"] == "101"
    assert observed(station, 102) == ()


def test_a_reading_serves_every_monitor_of_its_evse() -> None:
    station = ready_station()
    set_monitors(
        station,
        monitor_data(EVSE_POWER, "UpperThreshold", 100),
        monitor_data("ChargingStation.Power", "UpperThreshold", 100),
    )
    [reading] = observed(station, 101)
    assert len(events_in(perform(station, reading))) == 2


def test_a_value_of_a_device_is_observed_with_its_variable() -> None:
    station = ready_station()
    assert observed(station, cable_c=80) == ()
    [measured] = observed(station, cable_c=81)
    assert isinstance(measured, ValuesMeasured)
    assert [(each.variable, each.value) for each in measured.values] == [(CABLE, "81")]
    assert len(events_in(perform(station, measured))) == 1
    assert observed(station, cable_c=82) == ()


def test_a_silent_meter_triggers_nothing() -> None:
    station = ready_station()
    set_monitor(station, EVSE_POWER, "UpperThreshold", 100)
    assert observed(station) == ()


def test_noise_is_observed_once_in_5_s() -> None:
    station = ready_station()
    set_monitor(station, EVSE_POWER, "Delta", 0)
    count = 0
    for number in range(100):
        observations = observed(station, number)
        count += len(observations)
        perform(station, *observations, time_passed(seconds=0.5))
    assert count == 11  # one that starts it, and ten changes


def test_a_periodic_value_is_observed_when_it_is_due() -> None:
    station = ready_station(meter_read(1, "0", power_w="1"))
    set_monitor(station, EVSE_POWER, "Periodic", 20)
    perform(station, time_passed(seconds=19.9))
    assert observed(station, 2) == ()
    perform(station, time_passed(seconds=0.1))
    [reading] = observed(station, 2)
    [event] = events_in(perform(station, reading))
    assert (event["trigger"], event["actualValue"]) == ("Periodic", "2")


def test_what_is_not_to_be_reported_is_not_observed() -> None:
    station = ready_station()
    set_monitor(station, EVSE_POWER, "UpperThreshold", 100, severity=9)
    perform(station, LINK_LOST)
    assert observed(station, 500) == ()
    perform(station, LINK_OPENED)
    assert len(observed(station, 500)) == 1


async def test_the_task_reads_every_second_and_waits_for_the_commit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    station = ready_station()
    set_monitor(station, EVSE_POWER, "UpperThreshold", 100)
    powers = iter([0] * 5 + [500] * 100)
    observations: list[Observation] = []
    commits: list[float] = []

    async def wait_until_idle() -> None:
        await trio.sleep(3)
        commits.append(trio.current_time())
        perform(station, *observations)

    def latest_reading(evse_id: int) -> MeterRead | None:
        return meter_read(1, "0", power_w=str(next(powers))) if evse_id == 1 else None

    with trio.move_on_after(60):
        await report_monitored_values(
            lambda: context_of(station),
            latest_reading,
            dict,
            observations.append,
            wait_until_idle,
        )
    assert len(observations) == len(commits) == 1
    assert 100 - len(list(powers)) in range(50, 60)  # one reading a second
