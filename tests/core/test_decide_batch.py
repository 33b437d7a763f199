"""A batch of observations is decided before its commit: numbering, newest readings, the witness."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from journal.events import Entry, Observation
from journal.observations import HeadRecorded, MeterRead, StopButtonPressed
from journal.projections.clock import ClockCorrected
from journal.projections.outbox import CallQueued
from journal.state import State, apply_entry
from station.core.blocks.e_transaction_events import VENDOR_ID
from station.core.decide_batch import (
    STATION_TIME_MAX,
    LatestReading,
    TimedObservation,
    decide_batch,
    station_time,
)
from tests.support.story import (
    ALICE,
    JOURNAL_ID,
    NOON,
    ONLINE,
    Station,
    cable_plugged,
    called,
    contactor_reported,
    flow_reported,
    given,
    in_transaction,
    meter_read,
    meter_silent,
    presented,
    time_passed,
)

READINGS = {1: meter_read(1, "2935.600"), 2: meter_read(2, "17")}


class Head(NamedTuple):
    seq: int
    digest: bytes = b"\xab" * 32


def timed(station: Station, *observations: Observation) -> list[TimedObservation]:
    return [
        TimedObservation(observation, station.host_at, station.uptime_ms)
        for observation in observations
    ]


def decide(
    station: Station,
    *observations: Observation,
    queued: Sequence[Observation] = (),
    latest_reading: LatestReading = lambda evse_id: None,
) -> list[Entry]:
    """The entries of the batch; they number on, and give the state that was returned."""
    entries, state, decided_count = decide_batch(
        station.product,
        station.state,
        Head(len(station.entries)),
        timed(station, *observations, *queued),
        count_max=len(observations),
        latest_reading=latest_reading,
    )
    assert decided_count == len(observations)
    first = len(station.entries) + 1
    assert [entry.seq for entry in entries] == list(range(first, first + len(entries)))
    replayed = station.state
    for entry in entries:
        replayed = apply_entry(replayed, entry)
    assert replayed == state
    return entries


def transaction_events(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    return [
        msgspec.json.decode(entry.event.payload)
        for entry in entries
        if isinstance(entry.event, CallQueued) and entry.event.action == "TransactionEvent"
    ]


def registers(event: dict[str, Any]) -> list[float]:
    return [
        sample["value"]
        for meter_value in event.get("meterValue", [])
        for sample in meter_value["sampledValue"]
        if sample["measurand"] == "Energy.Active.Import.Register"
    ]


def observed(entries: Sequence[Entry]) -> list[Observation]:
    return [entry.event for entry in entries if isinstance(entry.event, Observation)]


def test_an_empty_batch_changes_nothing() -> None:
    station = given(ONLINE)
    assert decide(station) == []


def test_each_observation_is_decided_after_the_ones_before_it() -> None:
    station = given(ONLINE, cable_plugged(1))
    entries = decide(station, presented(ALICE), StopButtonPressed(2))
    assert observed(entries) == [presented(ALICE), StopButtonPressed(2)]
    causes = {entry.cause for entry in entries if entry.cause}
    assert causes <= {entry.seq for entry in entries}


# --- Readings ------------------------------------------------------------------------------------


def test_the_newest_reading_is_journaled_before_what_needs_it_p11() -> None:
    station = given(ONLINE, presented(ALICE))
    entries = decide(station, cable_plugged(1), latest_reading=READINGS.get)
    assert observed(entries) == [READINGS[1], cable_plugged(1)]
    [started] = transaction_events(entries)
    assert registers(started) == [2935.6]


def test_what_needs_no_meter_takes_no_reading() -> None:
    station = given(ONLINE)
    entries = decide(station, cable_plugged(1), latest_reading=READINGS.get)
    assert observed(entries) == [cable_plugged(1)]


def test_one_reading_serves_a_whole_batch() -> None:
    station = given(ONLINE, in_transaction(1))
    entries = decide(station, presented(ALICE), *ended_reports(), latest_reading=READINGS.get)
    assert [event for event in observed(entries) if isinstance(event, MeterRead)] == [READINGS[1]]


def test_a_reading_that_waits_to_be_decided_comes_before_a_newer_one() -> None:
    station = given(ONLINE, presented(ALICE))
    waiting = meter_read(1, "2900")
    entries = decide(station, cable_plugged(1), waiting, latest_reading=READINGS.get)
    assert observed(entries) == [waiting, cable_plugged(1), waiting]
    entries = decide(station, cable_plugged(1), queued=[waiting], latest_reading=READINGS.get)
    assert observed(entries) == [waiting, cable_plugged(1)]


def test_a_meter_without_a_reading_stops_nothing() -> None:
    station = given(ONLINE, presented(ALICE))
    entries = decide(station, cable_plugged(1))
    [started] = transaction_events(entries)
    assert registers(started) == [1000]  # the last one in the journal


# --- The head of the journal ---------------------------------------------------------------------


def ended_reports() -> tuple[Observation, ...]:
    return flow_reported(1, "none"), contactor_reported(1, closed=False)


def with_witness() -> Station:
    component = {"name": "CustomizationCtrlr"}
    variable = {"name": "CustomImplementationEnabled", "instance": VENDOR_ID}
    data = {"attributeValue": "true", "component": component, "variable": variable}
    return given(ONLINE, called("SetVariables", setVariableData=[data]), in_transaction(1))


def test_a_transaction_that_ends_carries_the_head_of_the_last_commit() -> None:
    station = with_witness()
    head = HeadRecorded(len(station.entries), "ab" * 32)
    entries = decide(station, presented(ALICE, evse_id=1), *ended_reports())
    assert [event for event in observed(entries) if isinstance(event, HeadRecorded)] == [head]
    assert transaction_events(entries)[-1]["customData"] == {
        "vendorId": VENDOR_ID,
        "seq": head.head_seq,
        "digest": head.head_digest,
    }


def test_a_product_without_the_witness_records_no_head() -> None:
    station = given(ONLINE, in_transaction(1))
    entries = decide(station, presented(ALICE, evse_id=1), *ended_reports())
    assert transaction_events(entries)[-1]["eventType"] == "Ended"
    assert not any(isinstance(event, HeadRecorded) for event in observed(entries))


# --- Time ----------------------------------------------------------------------------------------


def test_station_time_is_the_host_time_plus_the_offset_p7() -> None:
    state = apply_entry(
        State(JOURNAL_ID), Entry(1, NOON, 0, ClockCorrected(90_000, 0, "Heartbeat"))
    )
    assert station_time(NOON, state) == NOON + timedelta(seconds=90)
    late = datetime.max.replace(tzinfo=UTC)
    assert station_time(late, state) == STATION_TIME_MAX
    assert station_time(NOON.replace(microsecond=1_999), State(JOURNAL_ID)).microsecond == 1_000


def test_a_batch_ends_when_its_time_is_up() -> None:
    station = given(ONLINE)
    queue = timed(station, *(meter_read(1, str(number)) for number in range(9)))
    asked = iter([False, False, True])
    batch = decide_batch(
        station.product,
        station.state,
        Head(len(station.entries)),
        queue,
        count_max=256,
        is_time_up=lambda: next(asked),
    )
    assert batch.decided_count == 3
    rest = decide_batch(
        station.product,
        batch.state,
        Head(batch.entries[-1].seq),
        queue[3:],
        count_max=256,
        is_time_up=lambda: True,
    )
    assert rest.decided_count == 1, "one observation at least"


# --- A silent meter ------------------------------------------------------------------------------


def test_a_meter_that_is_back_ends_the_transaction_that_waited_for_it_p11() -> None:
    station = given(ONLINE, in_transaction(1), time_passed(seconds=30), meter_silent(1))
    station.when(presented(ALICE, evse_id=1), *ended_reports())
    assert not transaction_events(decide(station, StopButtonPressed(2)))
    entries = decide(station, StopButtonPressed(2), latest_reading=READINGS.get)
    assert observed(entries) == [READINGS[1], StopButtonPressed(2)]
    [ended] = transaction_events(entries)
    assert registers(ended) == [2935.6]


def test_while_a_transaction_waits_no_head_is_recorded_p11() -> None:
    station = with_witness()
    station.when(time_passed(seconds=30), meter_silent(1))
    station.when(presented(ALICE, evse_id=1), *ended_reports())
    assert observed(decide(station, StopButtonPressed(2))) == [StopButtonPressed(2)]
