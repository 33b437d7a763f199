"""Rules of block J that no other test names: the fields of a value."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.story import (
    ALICE,
    NOON,
    ONLINE,
    Json,
    accept_everything,
    charging_stopped,
    given,
    in_transaction,
    meter_read,
    meter_silent,
    presented,
    queued_payloads,
    time_passed,
    variable_preset,
)

EVERY_MINUTE = variable_preset("AlignedDataCtrlr.Interval", "60")
REGISTER_AND_POWER = variable_preset(
    "AlignedDataCtrlr.Measurands", "Energy.Active.Import.Register,Power.Active.Import"
)
SAMPLES = variable_preset("SampledDataCtrlr.TxUpdatedInterval", "60")


def meter_values_in(messages: list[Json]) -> Iterator[Json]:
    """Each MeterValue of these messages."""
    for message in messages:
        yield from message.get("meterValue", ())


def register_values(messages: list[Json]) -> list[float]:
    return [
        float(sampled["value"])
        for reading in meter_values_in(messages)
        for sampled in reading["sampledValue"]
        if sampled["measurand"] == "Energy.Active.Import.Register"
    ]


def test_the_register_and_its_moment_are_the_meters_j01_fr_04_j01_fr_05_j01_fr_17() -> None:
    station = given(EVERY_MINUTE, REGISTER_AND_POWER, ONLINE, time_passed(seconds=59))
    decisions = station.with_csms(
        accept_everything,
        meter_read(1, "1234.5", power_w="0"),
        meter_silent(1),
        time_passed(seconds=1),
    )
    of_one = [
        payload for payload in queued_payloads(decisions, "MeterValues") if payload["evseId"] == 1
    ]
    [reading] = meter_values_in(of_one)
    assert register_values(of_one) == [1234.5]
    assert len(reading["sampledValue"]) > 1  # all values of one reading, with one timestamp
    assert reading["timestamp"].startswith(f"{NOON:%Y-%m-%dT%H:}00:59")
    assert all("timestamp" not in sampled for sampled in reading["sampledValue"])


def test_registers_are_the_meters_own_and_only_grow_j02_fr_16_j02_fr_17_j02_fr_18() -> None:
    station = given(SAMPLES, ONLINE, meter_read(1, "2935.6"), in_transaction(1))
    decisions = []
    for energy_wh in ("3000", "3500.2", "4000"):
        decisions += station.with_csms(
            accept_everything, meter_read(1, energy_wh), time_passed(seconds=60)
        )
    decisions += station.with_csms(accept_everything, presented(ALICE), charging_stopped(1))
    events = queued_payloads(decisions, "TransactionEvent")
    seen = register_values(events)
    assert seen == sorted(seen)
    assert {3000.0, 3500.2, 4000.0} == set(seen)  # registers, not differences from the start
    assert all("timestamp" in reading for reading in meter_values_in(events))


def test_a_transaction_reports_its_own_evse_and_place_j02_fr_05_j02_fr_22() -> None:
    station = given(SAMPLES, ONLINE, in_transaction(1))
    decisions = station.with_csms(
        accept_everything, meter_read(1, "1100"), meter_read(2, "9000"), time_passed(seconds=60)
    )
    events = queued_payloads(decisions, "TransactionEvent")
    assert register_values(events) == [1100.0]
    places = {
        sample["location"] for item in meter_values_in(events) for sample in item["sampledValue"]
    }
    assert places == {"Outlet"}
