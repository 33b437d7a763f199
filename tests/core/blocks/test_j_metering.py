"""Clock-aligned meter values. J01."""

from __future__ import annotations

from journal.observations import DeadlineReached
from tests.support.story import (
    ALICE,
    LINK_LOST,
    ONLINE,
    Json,
    accept_everything,
    called,
    charging_stopped,
    event_triggers,
    given,
    in_transaction,
    meter_read,
    presented,
    queued_payloads,
    result_received_for,
    time_passed,
    variable_preset,
)

EVERY_MINUTE = variable_preset("AlignedDataCtrlr.Interval", "60")
NO_SAMPLES = variable_preset("SampledDataCtrlr.TxUpdatedInterval", "0")
HALF_PAST = time_passed(seconds=30)  # noon was on the minute


def meter_values(decisions: object) -> list[Json]:
    return queued_payloads(decisions, "MeterValues")  # type: ignore[arg-type]


def test_every_evse_is_reported_on_the_minute_j01_fr_14() -> None:
    station = given(EVERY_MINUTE, ONLINE, HALF_PAST)
    assert not meter_values(station.with_csms(accept_everything, time_passed(seconds=29)))
    decisions = station.with_csms(accept_everything, time_passed(seconds=1))
    assert [payload["evseId"] for payload in meter_values(decisions)] == [1, 2]
    [value] = meter_values(decisions)[0]["meterValue"]
    assert {sample["context"] for sample in value["sampledValue"]} == {"Sample.Clock"}  # J01.FR.08
    assert {sample["location"] for sample in value["sampledValue"]} == {"Outlet"}  # J01.FR.09


def test_it_keeps_time_j01_fr_14() -> None:
    station = given(EVERY_MINUTE, ONLINE)
    decisions = station.with_csms(accept_everything, time_passed(seconds=600))
    assert len(meter_values(decisions)) == 2 * 10


def test_interval_zero_sends_nothing_j01_fr_14() -> None:
    assert not meter_values(given(ONLINE).with_csms(accept_everything, time_passed(seconds=7200)))


def test_the_chosen_measurands_are_reported_j01_fr_14() -> None:
    station = given(EVERY_MINUTE, variable_preset("AlignedDataCtrlr.Measurands", "Voltage"), ONLINE)
    decisions = station.with_csms(
        accept_everything, meter_read(2, "2100", voltage_v="799.0"), time_passed(seconds=60)
    )
    [only] = meter_values(decisions)  # EVSE 1 has no voltage
    [value] = only["meterValue"]
    assert [(sample["measurand"], sample["value"]) for sample in value["sampledValue"]] == [
        ("Voltage", 799.0)
    ]


def test_in_a_transaction_its_events_tell_j01_fr_22() -> None:
    station = given(EVERY_MINUTE, NO_SAMPLES, ONLINE, in_transaction(1))
    decisions = station.with_csms(accept_everything, time_passed(seconds=60))
    assert event_triggers(decisions) == [("Updated", "MeterValueClock")]
    assert [payload["evseId"] for payload in meter_values(decisions)] == [2]


def test_with_send_during_idle_no_values_are_sent_in_a_transaction_j01_fr_20() -> None:
    station = given(
        EVERY_MINUTE,
        NO_SAMPLES,
        variable_preset("AlignedDataCtrlr.SendDuringIdle", "true"),
        ONLINE,
        in_transaction(1),
    )
    decisions = station.with_csms(accept_everything, time_passed(seconds=60))
    assert not meter_values(decisions)
    assert not event_triggers(decisions)
    station.with_csms(accept_everything, presented(ALICE), charging_stopped(1))
    assert meter_values(station.with_csms(accept_everything, time_passed(seconds=60)))


def test_aligned_data_can_be_off() -> None:
    station = given(EVERY_MINUTE, variable_preset("AlignedDataCtrlr.Enabled", "false"), ONLINE)
    assert not meter_values(station.with_csms(accept_everything, time_passed(seconds=600)))


def test_offline_idle_values_are_dropped() -> None:
    station = given(EVERY_MINUTE, ONLINE, LINK_LOST, time_passed(seconds=600))
    assert not station.state.outbox.general


def test_a_clock_that_jumps_makes_up_for_nothing() -> None:
    station = given(EVERY_MINUTE, ONLINE, csms=accept_everything)
    station.when(called("TriggerMessage", requestedMessage="Heartbeat"))
    decisions = station.with_csms(
        accept_everything, result_received_for("Heartbeat", currentTime="2036-03-01T12:00:30Z")
    )
    assert len(meter_values(decisions)) <= 2
    decisions = station.with_csms(accept_everything, time_passed(seconds=30))
    assert len(meter_values(decisions)) <= 2
    assert len(meter_values(station.with_csms(accept_everything, time_passed(seconds=60)))) == 2


def test_aligned_values_for_the_end_of_the_transaction() -> None:
    station = given(
        NO_SAMPLES,
        variable_preset("AlignedDataCtrlr.TxEndedInterval", "60"),
        ONLINE,
        in_transaction(1),
    )
    station.with_csms(accept_everything, time_passed(seconds=185))
    assert [sample.context for sample in station.open_transaction.kept_samples] == [
        "Sample.Clock"
    ] * 3
    station.when(presented(ALICE))
    [ended] = queued_payloads(station.when(charging_stopped(1)), "TransactionEvent")
    contexts = [value["sampledValue"][0]["context"] for value in ended["meterValue"]]
    assert contexts == ["Sample.Clock"] * 3 + ["Transaction.End"]


def test_values_of_the_clock_have_a_list_of_their_own_for_the_end_j01_fr_07() -> None:
    station = given(
        NO_SAMPLES,
        variable_preset("AlignedDataCtrlr.TxEndedInterval", "60"),
        variable_preset("SampledDataCtrlr.TxEndedMeasurands", ""),
        ONLINE,
        in_transaction(1),
    )
    station.with_csms(accept_everything, time_passed(seconds=130))
    decisions = station.with_csms(accept_everything, presented(ALICE), charging_stopped(1))
    [ended] = [
        event
        for event in queued_payloads(decisions, "TransactionEvent")
        if event["eventType"] == "Ended"
    ]
    contexts = [value["sampledValue"][0]["context"] for value in ended["meterValue"]]
    assert set(contexts) == {"Sample.Clock"}
    assert len(contexts) >= 2


def test_a_reading_alone_is_no_clock_aligned_moment_j01_fr_14() -> None:
    station = given(EVERY_MINUTE, ONLINE, HALF_PAST)
    station.advance_clock(31_000)
    assert not meter_values(station.decide_observation(meter_read(2, "2100")))
    decisions = station.decide_observation(DeadlineReached(station.uptime_ms))
    assert [payload["evseId"] for payload in meter_values(decisions)] == [1, 2]
