"""Which values trigger monitors, and what the CSMS is sent. N07."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from journal.observations import DeviceFaulted, LinkClosed
from journal.projections.monitors import EVENT_BURST, MonitorsTriggered
from station.core.blocks.n_monitoring.evaluation import REST_MS, WAITING_EVENTS_MAX
from station.runtime.hardware.fault_registry import FAULT_RULES
from tests.core.blocks.n_monitoring.monitors import (
    EVSE_POWER,
    EVSE_STATE,
    events_in,
    measured,
    monitor_data,
    outcomes_in,
    perform,
    ready_station,
    set_monitor,
    set_monitors,
)
from tests.support.story import (
    IDLE,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Station,
    cable_plugged,
    cable_unplugged,
    called,
    charging_stopped,
    csms_answers,
    device_faulted,
    device_recovered,
    given,
    in_transaction,
    meter_read,
    of_kind,
    queued_payloads,
    station_restarted,
    time_passed,
)

REST = time_passed(seconds=REST_MS / 1000)


# --- Thresholds ----------------------------------------------------------------------------------


def test_a_value_beyond_the_threshold_is_reported_once_n07_fr_06_n07_fr_07_n07_fr_16() -> None:
    station = ready_station()
    monitor_id = set_monitor(station, EVSE_POWER, "UpperThreshold", 100)
    assert events_in(perform(station, meter_read(1, "0", power_w="100"))) == []  # not on it
    decisions = perform(station, meter_read(1, "0", power_w="100.1"))
    [request] = queued_payloads(decisions, "NotifyEvent")
    assert (request["seqNo"], request["tbc"]) == (0, False)
    [event] = request["eventData"]
    assert event == {
        "eventId": 1,
        "timestamp": request["generatedAt"],
        "trigger": "Alerting",
        "actualValue": "100.1",
        "component": {"name": "EVSE", "evse": {"id": 1}},
        "variable": {"name": "Power"},
        "variableMonitoringId": monitor_id,
        "eventNotificationType": "CustomMonitor",
    }
    assert events_in(perform(station, REST, meter_read(1, "0", power_w="200"))) == []


def test_a_value_below_a_lower_threshold_is_reported_n07_fr_17() -> None:
    station = ready_station(meter_read(1, "0", power_w="100"))
    set_monitor(station, EVSE_POWER, "LowerThreshold", 10)
    assert events_in(perform(station, meter_read(1, "0", power_w="10"))) == []
    outcomes = outcomes_in(perform(station, meter_read(1, "0", power_w="9")))
    assert outcomes == [("EVSE.Power", "Alerting", "9")]


def test_a_value_within_the_threshold_again_is_cleared_n07_fr_02() -> None:
    station = ready_station()
    set_monitor(station, EVSE_POWER, "UpperThreshold", 100)
    perform(station, meter_read(1, "0", power_w="101"), REST)
    [event] = events_in(perform(station, meter_read(1, "0", power_w="100")))
    assert (event["cleared"], event["trigger"], event["actualValue"]) == (True, "Alerting", "100")
    assert event["eventId"] == 2


def test_a_monitor_of_the_station_watches_the_sum() -> None:
    station = ready_station()
    set_monitor(station, "ChargingStation.Power", "UpperThreshold", 100)
    assert events_in(perform(station, meter_read(1, "0", power_w="60"))) == []
    outcomes = outcomes_in(perform(station, meter_read(2, "0", power_w="60")))
    assert outcomes == [("ChargingStation.Power", "Alerting", "120")]


def test_a_new_threshold_is_compared_at_once_n07_fr_11() -> None:
    station = ready_station(meter_read(1, "0", power_w="50"))
    monitor_id = set_monitor(station, EVSE_POWER, "UpperThreshold", 100)
    item = monitor_data(EVSE_POWER, "UpperThreshold", 40, id=monitor_id)
    decisions = perform(station, called("SetVariableMonitoring", setMonitoringData=[item]))
    assert outcomes_in(decisions) == [("EVSE.Power", "Alerting", "50")]
    perform(station, REST)
    item = monitor_data(EVSE_POWER, "UpperThreshold", 100, id=monitor_id)
    decisions = perform(station, called("SetVariableMonitoring", setMonitoringData=[item]))
    assert outcomes_in(decisions) == [("EVSE.Power", "cleared", "50")]


def test_a_removed_monitor_is_never_cleared_n07_fr_12() -> None:
    station = ready_station()
    monitor_id = set_monitor(station, EVSE_POWER, "UpperThreshold", 100)
    perform(station, meter_read(1, "0", power_w="101"), REST)
    decisions = perform(
        station,
        called("ClearVariableMonitoring", id=[monitor_id]),
        meter_read(1, "0", power_w="0"),
        time_passed(seconds=60),
    )
    assert events_in(decisions) == []


def test_exceeded_before_a_reboot_and_good_after_it_is_cleared_n07_fr_14() -> None:
    station = ready_station()
    set_monitor(station, EVSE_POWER, "UpperThreshold", 100)
    perform(station, meter_read(1, "0", power_w="101"))
    decisions = perform(
        station,
        station_restarted(boot_id="boot-2"),
        IDLE,
        LINK_OPENED,
        csms_answers(),
        meter_read(1, "0", power_w="0"),
    )
    assert outcomes_in(decisions) == [("EVSE.Power", "cleared", "0")]


# --- Changes -------------------------------------------------------------------------------------


def test_a_numeric_delta_counts_from_the_value_sent_last_n07_fr_18() -> None:
    station = ready_station(meter_read(1, "0", power_w="100"))
    set_monitor(station, EVSE_POWER, "Delta", 10)
    assert events_in(perform(station, meter_read(1, "0", power_w="110"))) == []
    decisions = perform(station, meter_read(1, "0", power_w="89.9"))
    assert outcomes_in(decisions) == [("EVSE.Power", "Delta", "89.9")]
    decisions = perform(station, REST, meter_read(1, "0", power_w="99.9"))
    assert events_in(decisions) == []
    decisions = perform(station, meter_read(1, "0", power_w="100"))
    assert outcomes_in(decisions) == [("EVSE.Power", "Delta", "100")]


def test_a_text_changes_whatever_the_value_of_the_monitor_n07_fr_19() -> None:
    station = ready_station()
    monitor_id = set_monitor(station, EVSE_STATE, "Delta", 5)
    [event] = events_in(perform(station, cable_plugged(1)))
    assert (event["trigger"], event["actualValue"]) == ("Delta", "Occupied")
    assert event["variableMonitoringId"] == monitor_id


def test_a_variable_that_the_csms_sets_is_monitored_n07_fr_19() -> None:
    station = ready_station()
    set_monitor(station, "TxCtrlr.EVConnectionTimeOut", "UpperThreshold", 100)
    variable = {
        "component": {"name": "TxCtrlr"},
        "variable": {"name": "EVConnectionTimeOut"},
        "attributeValue": "200",
    }
    decisions = perform(station, called("SetVariables", setVariableData=[variable]))
    assert outcomes_in(decisions) == [("TxCtrlr.EVConnectionTimeOut", "Alerting", "200")]


def test_the_value_of_a_write_only_variable_is_empty_n07_fr_10() -> None:
    station = ready_station()
    set_monitor(station, "SecurityCtrlr.BasicAuthPassword")
    variable = {
        "component": {"name": "SecurityCtrlr"},
        "variable": {"name": "BasicAuthPassword"},
        "attributeValue": "<secret 0123456789abcdef>",
    }
    decisions = perform(station, called("SetVariables", setVariableData=[variable]))
    assert outcomes_in(decisions) == [("SecurityCtrlr.BasicAuthPassword", "Delta", "")]


def test_a_device_value_is_monitored_and_readable() -> None:
    station = ready_station()
    path = "TemperatureSensor[cable]@1/1.Temperature"
    outcomes = outcomes_in(perform(station, measured(path, "81")))
    assert outcomes == [("TemperatureSensor.Temperature", "Alerting", "81")]
    outcomes = outcomes_in(perform(station, REST, measured(path, "79")))
    assert outcomes == [("TemperatureSensor.Temperature", "cleared", "79")]


# --- Transactions --------------------------------------------------------------------------------


def test_an_event_names_the_transaction_at_the_evse() -> None:
    station = ready_station()
    set_monitor(station, EVSE_POWER, "UpperThreshold", 100)
    perform(station, in_transaction(1))
    transaction_id = station.open_transaction.transaction_id
    [event] = events_in(perform(station, meter_read(1, "10", power_w="500")))
    assert event["transactionId"] == transaction_id
    perform(station, charging_stopped(1), cable_unplugged(1), REST)
    [event] = events_in(perform(station, meter_read(1, "20", power_w="0")))
    assert event["transactionId"] == transaction_id  # the one in which it was exceeded


def test_a_monitor_of_transactions_is_inactive_without_one() -> None:
    station = ready_station()
    set_monitor(station, EVSE_POWER, "UpperThreshold", 100, transaction=True)
    assert events_in(perform(station, meter_read(1, "0", power_w="500"))) == []
    perform(station, meter_read(1, "0", power_w="0"), in_transaction(1))
    decisions = perform(station, meter_read(1, "10", power_w="500"))
    assert outcomes_in(decisions) == [("EVSE.Power", "Alerting", "500")]


def test_a_monitor_of_transactions_rests_also_in_the_next_one_p6() -> None:
    station = ready_station()
    set_monitor(station, EVSE_POWER, "UpperThreshold", 100, transaction=True)
    first = perform(station, in_transaction(1), meter_read(1, "10", power_w="500"))
    assert len(events_in(first)) == 1
    perform(station, charging_stopped(1), cable_unplugged(1))
    early = perform(station, in_transaction(1), meter_read(1, "20", power_w="500"))
    assert station.open_transaction
    assert events_in(early) == []
    assert len(events_in(perform(station, REST, meter_read(1, "30", power_w="500")))) == 1


def test_a_later_transaction_does_not_clear_what_an_earlier_one_exceeded() -> None:
    station = ready_station()
    set_monitor(station, EVSE_POWER, "UpperThreshold", 100, transaction=True)
    perform(station, in_transaction(1), meter_read(1, "10", power_w="500"))
    perform(station, charging_stopped(1), cable_unplugged(1), meter_read(1, "20", power_w="0"))
    perform(station, time_passed(seconds=60))
    decisions = perform(station, in_transaction(1), meter_read(1, "30", power_w="0"))
    assert events_in(decisions) == []


# --- Level, offline ------------------------------------------------------------------------------


def test_events_above_the_level_are_not_sent_n05_fr_03_n07_fr_15() -> None:
    station = ready_station()
    set_monitor(station, EVSE_STATE, severity=8)
    set_monitor(station, "ChargingStation.AvailabilityState", severity=7)
    perform(station, called("SetMonitoringLevel", severity=7))
    decisions = perform(station, cable_plugged(1), cable_plugged(2))
    assert outcomes_in(decisions) == [("ChargingStation.AvailabilityState", "Delta", "Occupied")]
    decisions = perform(station, called("SetMonitoringLevel", severity=8))
    assert outcomes_in(decisions) == [("EVSE.AvailabilityState", "Delta", "Occupied")]


def offline_station(severity: int) -> Station:
    """Offline, with OfflineQueuingSeverity 4 and a monitor of EVSE 1."""
    station = ready_station()
    set_monitor(station, EVSE_STATE, severity=severity)
    perform(station, LINK_LOST)
    return station


def test_severe_events_are_queued_offline_n07_fr_04() -> None:
    station = offline_station(severity=4)
    decisions = perform(station, cable_plugged(1), REST, cable_unplugged(1), REST)
    assert [each[2] for each in outcomes_in(decisions)] == ["Occupied", "Available"]
    perform(station, LINK_OPENED)
    assert station.state.outbox.general_count("NotifyEvent") == 0  # delivered


def test_less_severe_events_wait_for_the_link_n07_fr_04() -> None:
    station = offline_station(severity=5)
    assert events_in(perform(station, cable_plugged(1))) == []
    decisions = perform(station, LINK_OPENED)
    assert outcomes_in(decisions) == [("EVSE.AvailabilityState", "Delta", "Occupied")]


def test_what_was_reached_and_left_offline_is_not_reported_n07_fr_04() -> None:
    station = offline_station(severity=5)
    decisions = perform(station, cable_plugged(1), cable_unplugged(1), LINK_OPENED)
    assert events_in(decisions) == []


def test_a_chain_stays_whole_without_the_severities_left_out_offline_n07_fr_04() -> None:
    """`cleared` is sent if and only if `exceeded` was."""
    station = ready_station()
    set_monitor(station, EVSE_POWER, "UpperThreshold", 100, severity=9)
    perform(station, meter_read(1, "0", power_w="500"), REST, LINK_LOST)
    assert events_in(perform(station, meter_read(1, "0", power_w="0"))) == []
    decisions = perform(station, LINK_OPENED, meter_read(1, "0", power_w="0"))
    assert outcomes_in(decisions) == [("EVSE.Power", "cleared", "0")]


def test_an_event_in_flight_when_the_link_breaks_is_sent_again() -> None:
    station = ready_station()
    set_monitor(station, EVSE_STATE, severity=9)
    station.when(cable_plugged(1), LinkClosed("test"))
    assert station.state.outbox.general_count("NotifyEvent") == 1
    perform(station, LINK_OPENED)
    assert station.state.outbox.general_count("NotifyEvent") == 0


def test_disabled_monitoring_sends_nothing() -> None:
    station = ready_station()
    set_monitor(station, EVSE_STATE)
    variable = {
        "component": {"name": "MonitoringCtrlr"},
        "variable": {"name": "Enabled"},
        "attributeValue": "false",
    }
    perform(station, called("SetVariables", setVariableData=[variable]))
    decisions = perform(station, cable_plugged(1), device_faulted(1), time_passed(seconds=60))
    assert events_in(decisions) == []


# --- Faults --------------------------------------------------------------------------------------


def test_a_fault_is_reported_by_preconfigured_monitors_with_cause_and_code_n07_fr_05() -> None:
    station = ready_station()
    fault = replace(device_faulted(1, "contactor", "stuck_open"), tech_code="CX017")
    events = events_in(perform(station, fault))
    names = [(each["component"]["name"], each["variable"]["name"]) for each in events]
    assert ("PowerContactor", "Problem") in names
    assert ("EVSE", "Problem") in names
    by_name = dict(zip(names, events, strict=True))
    root = next(each for each in events if "cause" not in each)
    assert root["component"]["name"] == "PowerContactor"
    assert by_name["EVSE", "Problem"]["cause"] == root["eventId"]
    assert root["techCode"] == "CX017"
    assert root["techInfo"].startswith("contactor/stuck_open")
    assert root["eventNotificationType"] in ("HardWiredMonitor", "PreconfiguredMonitor")


STATION_WIDE = {
    "emergency_stop", "door", "dispenser_door", "dispenser", "breaker", "cooling", "mains",
    "cabinet",
    "reader", "display", "module/wrong_count",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(FAULT_RULES))
def test_every_fault_of_the_hardware_has_an_event_with_its_code(name: str) -> None:
    rule = FAULT_RULES[name]
    evse_id = 0 if {name, rule.device} & STATION_WIDE else 1
    fault = DeviceFaulted(
        evse_id, rule.device, rule.fault, blocks_charging=True, tech_code=rule.tech_code
    )
    station = ready_station()
    events = events_in(perform(station, fault))
    assert [event for event in events if event.get("techCode", "") == rule.tech_code]
    assert events[0]["techInfo"].startswith(name)
    assert "cause" not in events[0] or any(
        event["eventId"] == events[0]["cause"] for event in events
    )


def test_the_end_of_a_fault_is_cleared() -> None:
    station = ready_station()
    perform(station, device_faulted(0, "reader", "lost"), REST)
    decisions = perform(station, device_recovered(0, "reader", "lost"))
    assert ("TokenReader.Problem", "cleared", "false") in outcomes_in(decisions)


def test_the_cause_is_an_event_that_was_sent_n07_fr_05() -> None:
    """With a level that leaves out the component of the device, its EVSE has no cause."""
    station = ready_station()
    set_monitor(station, "EVSE@1.AvailabilityState", severity=0)
    perform(station, called("SetMonitoringLevel", severity=0))
    events = events_in(perform(station, device_faulted(1, "insulation", "lost")))
    ids = {each["eventId"] for each in events}
    assert events
    assert all(each["cause"] in ids for each in events if "cause" in each)
    perform(station, called("SetMonitoringBase", monitoringBase="HardWiredOnly"))


def test_an_emergency_stop_is_a_hard_wired_notification() -> None:
    station = ready_station()
    [event, *_] = events_in(perform(station, device_faulted(0, "emergency_stop", "pressed")))
    assert event["component"] == {"name": "EmergencyStopSensor"}
    assert event["eventNotificationType"] == "HardWiredNotification"
    assert event["trigger"] == "Alerting"
    assert "variableMonitoringId" not in event


def test_a_fault_that_is_reported_again_after_a_restart_is_no_event() -> None:
    station = ready_station()
    perform(station, device_faulted(1))
    decisions = perform(
        station,
        station_restarted(boot_id="boot-2"),
        device_faulted(1),
        IDLE,
        LINK_OPENED,
        csms_answers(),
        time_passed(seconds=30),
    )
    assert events_in(decisions) == []


def test_a_fault_that_is_gone_after_a_restart_is_cleared_n07_fr_14() -> None:
    station = ready_station()
    perform(station, device_faulted(0, "reader", "lost"))
    restarted = perform(
        station, station_restarted(boot_id="boot-2"), IDLE, LINK_OPENED, csms_answers()
    )
    assert events_in(restarted) == []
    decisions = perform(station, time_passed(seconds=15))
    assert ("TokenReader.Problem", "cleared", "false") in outcomes_in(decisions)


def test_a_monitor_that_is_set_at_once_after_a_start_counts_at_once_n07_fr_19() -> None:
    station = given(ONLINE)
    set_monitor(station, EVSE_STATE)
    decisions = perform(station, cable_plugged(1))
    assert outcomes_in(decisions) == [("EVSE.AvailabilityState", "Delta", "Occupied")]


def test_the_event_comes_before_the_status_of_the_connector() -> None:
    station = ready_station()
    decisions = perform(station, device_faulted(1))
    actions = [
        getattr(each, "action", "")
        for each in decisions
        if getattr(each, "action", "") in ("NotifyEvent", "StatusNotification")
    ]
    assert actions[0] == "NotifyEvent"


# --- Bounds --------------------------------------------------------------------------------------


def test_a_noisy_value_costs_one_event_in_5_s() -> None:
    station = ready_station()
    set_monitor(station, EVSE_POWER, "Delta", 0)
    events = 0
    for number in range(100):
        step = meter_read(1, "0", power_w=str(number))
        events += len(events_in(perform(station, step, time_passed(seconds=0.5))))
    assert events == 10


def test_a_value_that_changed_while_its_monitor_rested_is_reported_afterwards() -> None:
    station = ready_station()
    set_monitor(station, EVSE_STATE)
    perform(station, cable_plugged(1))
    assert events_in(perform(station, cable_unplugged(1))) == []
    assert outcomes_in(perform(station, REST)) == [("EVSE.AvailabilityState", "Delta", "Available")]


def test_all_monitors_together_are_bounded_and_the_severe_go_first() -> None:
    station = ready_station()
    limits = ("Power", "DCCurrent", "DCVoltage")
    items = [
        monitor_data(f"EVSE@{evse_id}.{variable}", "Delta", 0, severity=severity)
        for evse_id in (1, 2)
        for variable in limits
        for severity in range(10)
    ]
    for at in range(0, len(items), 30):
        set_monitors(station, *items[at : at + 30])

    def read(number: int) -> int:
        value = str(number)
        steps = (
            meter_read(evse_id, "0", power_w=value, current_a=value, voltage_v=value)
            for evse_id in (1, 2)
        )
        return len(events_in(perform(station, *steps)))

    read(0)
    counts = []
    for number in range(1, 6):
        counts.append(read(number))
        perform(station, REST)
    assert sum(counts) <= EVENT_BURST + 5 * (REST_MS // 1000 + 1)
    triggered = station.state.monitors
    assert triggered.left_events(station.state.lifecycle.started_ms + 10**9) == EVENT_BURST


def test_events_that_nobody_takes_are_bounded_offline() -> None:
    station = offline_station(severity=0)
    full = station.state.outbox.general_counts.with_item("NotifyEvent", WAITING_EVENTS_MAX)
    station.state = replace(
        station.state, outbox=replace(station.state.outbox, general_counts=full)
    )
    assert of_kind(station.when(cable_plugged(1)), MonitorsTriggered) == []


def test_monitors_of_variables_that_a_release_lacks_are_removed_n04() -> None:
    station = ready_station()
    monitor_id = set_monitor(station, EVSE_STATE)
    kept_id = set_monitor(station, EVSE_POWER, "Delta", 5)
    monitors = station.state.monitors
    gone = replace(monitors.custom[monitor_id], variable="EVSE@1.Gone")
    station.state = replace(
        station.state,
        monitors=replace(monitors, custom=monitors.custom.with_item(monitor_id, gone)),
    )
    station.when(station_restarted(boot_id="boot-2"))
    assert set(station.state.monitors.custom) == {kept_id}


def test_the_certified_product_sends_no_events() -> None:
    station = ready_station(profile_name="evs-flash-300")
    decisions = perform(
        station, device_faulted(1), meter_read(1, "0", power_w="9000"), time_passed(seconds=60)
    )
    assert events_in(decisions) == []
