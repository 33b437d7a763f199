"""Periodic events. N08."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.core.blocks.n_monitoring.monitors import (
    EVSE_POWER,
    EVSE_STATE,
    events_in,
    outcomes_in,
    perform,
    ready_station,
    set_monitor,
)
from tests.support.story import (
    IDLE,
    LINK_LOST,
    LINK_OPENED,
    csms_answers,
    meter_read,
    queued_payloads,
    station_restarted,
    time_passed,
)


def test_an_event_every_interval_n08_fr_04_n08_fr_05_n08_fr_06() -> None:
    station = ready_station()
    monitor_id = set_monitor(station, EVSE_STATE, "Periodic", 20)
    assert events_in(perform(station, time_passed(seconds=19))) == []
    decisions = perform(station, time_passed(seconds=1))
    [request] = queued_payloads(decisions, "NotifyEvent")
    assert request["seqNo"] == 0
    [event] = request["eventData"]
    assert (event["trigger"], event["actualValue"]) == ("Periodic", "Available")
    assert event["variableMonitoringId"] == monitor_id
    assert len(events_in(perform(station, time_passed(seconds=200)))) == 10


def test_a_measured_value_is_reported_with_the_reading_of_that_time_n08_fr_06() -> None:
    station = ready_station(meter_read(1, "0", power_w="1"))
    set_monitor(station, EVSE_POWER, "Periodic", 20)
    perform(station, time_passed(seconds=20))
    decisions = perform(station, meter_read(1, "0", power_w="2"))
    assert outcomes_in(decisions) == [("EVSE.Power", "Periodic", "2")]


def test_without_a_new_reading_the_last_one_is_reported_n08_fr_06() -> None:
    station = ready_station(meter_read(1, "0", power_w="1"))
    set_monitor(station, EVSE_POWER, "Periodic", 20)
    assert outcomes_in(perform(station, time_passed(seconds=21))) == []
    decisions = perform(station, time_passed(seconds=2))
    assert outcomes_in(decisions) == [("EVSE.Power", "Periodic", "1")]
    assert len(events_in(perform(station, time_passed(seconds=200)))) == 10  # no drift


def test_clock_aligned_events_are_at_multiples_of_the_interval_n08_fr_07() -> None:
    station = ready_station()
    set_monitor(station, EVSE_STATE, "PeriodicClockAligned", 900)
    events = events_in(perform(station, time_passed(seconds=3600)))
    moments = [
        datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00")).astimezone(UTC)
        for event in events
    ]
    assert len(moments) == 4
    assert {moment.minute % 15 for moment in moments} == {0}
    assert {moment.second for moment in moments} == {0}


def test_severe_periodic_events_are_queued_offline_n08_fr_03() -> None:
    station = ready_station()
    set_monitor(station, EVSE_STATE, "Periodic", 20, severity=4)
    perform(station, LINK_LOST)
    assert len(events_in(perform(station, time_passed(seconds=60)))) == 3


def test_other_periodic_events_are_left_out_offline_n08_fr_03() -> None:
    station = ready_station()
    set_monitor(station, EVSE_STATE, "Periodic", 20, severity=5)
    perform(station, LINK_LOST)
    assert events_in(perform(station, time_passed(seconds=600))) == []
    assert len(events_in(perform(station, LINK_OPENED, time_passed(seconds=60)))) == 4


def test_periodic_monitors_continue_after_a_reboot_n07_fr_13() -> None:
    station = ready_station()
    set_monitor(station, EVSE_STATE, "Periodic", 20)
    perform(station, station_restarted(boot_id="boot-2"), IDLE, LINK_OPENED, csms_answers())
    assert 2 <= len(events_in(perform(station, time_passed(seconds=60)))) <= 4


def test_a_periodic_event_that_is_due_after_a_start_is_not_held_back_n08_fr_06() -> None:
    station = ready_station()
    set_monitor(station, EVSE_STATE, "Periodic", 2)
    steps = (station_restarted(gap_s=5), IDLE, LINK_OPENED, csms_answers())
    decisions = perform(station, *steps, time_passed(seconds=3))
    assert events_in(decisions)
