"""Rules of block J that no other test names: what a value says of itself."""

from __future__ import annotations

from collections.abc import Iterator

from tests.story import (
    ALICE,
    NOON,
    ONLINE,
    Json,
    accepting,
    after,
    discharged,
    given,
    in_transaction,
    presented,
    preset,
    queued,
    read,
)

EVERY_MINUTE = preset("AlignedDataCtrlr.Interval", "60")
BOTH = preset("AlignedDataCtrlr.Measurands", "Energy.Active.Import.Register,Power.Active.Import")
SAMPLES = preset("SampledDataCtrlr.TxUpdatedInterval", "60")


def readings(messages: list[Json]) -> Iterator[Json]:
    """Each MeterValue of these messages."""
    for message in messages:
        yield from message.get("meterValue", ())


def registers(messages: list[Json]) -> list[float]:
    return [
        float(sampled["value"])
        for reading in readings(messages)
        for sampled in reading["sampledValue"]
        if sampled["measurand"] == "Energy.Active.Import.Register"
    ]


def test_the_register_and_its_moment_are_the_meters_j01_fr_04_j01_fr_05_j01_fr_17() -> None:
    station = given(EVERY_MINUTE, BOTH, ONLINE, after(seconds=59))
    said = station.with_csms(accepting, read(1, "1234.5", power_w="0"), after(seconds=1))
    of_one = [one for one in queued(said, "MeterValues") if one["evseId"] == 1]
    [reading] = readings(of_one)
    assert registers(of_one) == [1234.5]
    assert len(reading["sampledValue"]) > 1  # all of one reading, under one timestamp
    assert reading["timestamp"].startswith(f"{NOON:%Y-%m-%dT%H:}00:59")
    assert all("timestamp" not in sampled for sampled in reading["sampledValue"])


def test_registers_are_the_meters_own_and_only_grow_j02_fr_16_j02_fr_17_j02_fr_18() -> None:
    station = given(SAMPLES, ONLINE, read(1, "2935.6"), in_transaction(1))
    said = []
    for energy_wh in ("3000", "3500.2", "4000"):
        said += station.with_csms(accepting, read(1, energy_wh), after(seconds=60))
    said += station.with_csms(accepting, presented(ALICE), discharged(1))
    events = queued(said, "TransactionEvent")
    seen = registers(events)
    assert seen == sorted(seen)
    assert {3000.0, 3500.2, 4000.0} == set(seen)  # nothing is counted from the start
    assert all("timestamp" in reading for reading in readings(events))


def test_a_transaction_tells_of_its_own_evse_and_place_j02_fr_05_j02_fr_22() -> None:
    station = given(SAMPLES, ONLINE, in_transaction(1))
    said = station.with_csms(accepting, read(1, "1100"), read(2, "9000"), after(seconds=60))
    events = queued(said, "TransactionEvent")
    assert registers(events) == [1100.0]
    places = {one["location"] for each in readings(events) for one in each["sampledValue"]}
    assert places == {"Outlet"}
