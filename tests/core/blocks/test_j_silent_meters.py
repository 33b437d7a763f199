"""A meter that does not respond, is replaced, or counts without a transaction. P11."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from journal.events import Decision
from journal.observations import MeterFellSilent
from journal.projections.energy_ledger import EnergyUnaccounted
from station.core.blocks.e_start_stop_points import METER_TIMEOUT_MS
from station.core.blocks.j_metering import LISTING_INTERVAL_MS
from tests.support.story import (
    ALICE,
    BOB,
    ONLINE,
    Json,
    Station,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    charging_started,
    charging_stopped,
    contactor_reported,
    event_triggers,
    flow_reported,
    given,
    in_transaction,
    meter_read,
    meter_silent,
    of_kind,
    presented,
    queued_payloads,
    station_restarted,
    time_passed,
    variable_preset,
)

EVERY_MINUTE = variable_preset("SampledDataCtrlr.TxUpdatedInterval", "60")
SILENCE = MeterFellSilent(1, Decimal(4000), age_ms=2500)


def registers(payload: Json) -> list[tuple[str, float, str]]:
    """Context, register and time of each sample with a register."""
    return [
        (sampled["context"], sampled["value"], value["timestamp"][11:19])
        for value in payload.get("meterValue", ())
        for sampled in value["sampledValue"]
        if sampled["measurand"] == "Energy.Active.Import.Register"
    ]


def events(decisions: Iterable[Decision], event_type: str) -> list[Json]:
    payloads = queued_payloads(decisions, "TransactionEvent")
    return [payload for payload in payloads if payload["eventType"] == event_type]


def listed(decisions: Iterable[Decision]) -> list[tuple[str, int, str]]:
    """Reason, energy and transactionId of what was listed."""
    return [
        (each.reason, int(each.to_wh - each.from_wh), each.transaction_id or "")
        for each in of_kind(decisions, EnergyUnaccounted)
    ]


def silent_in_a_transaction() -> Station:
    """Charging since 12:00:00 from 1000 Wh; read at 4000 Wh and silent since 12:00:30."""
    return given(
        EVERY_MINUTE,
        ONLINE,
        in_transaction(1),
        time_passed(seconds=30),
        meter_read(1, "4000"),
        meter_silent(1),
        time_passed(seconds=2.5),
    )


def stopped() -> tuple[Station, list[Decision]]:
    station = silent_in_a_transaction()
    decisions = station.with_csms(
        accept_everything,
        presented(ALICE, evse_id=1),
        flow_reported(1, "none"),
        contactor_reported(1, closed=False),
    )
    return station, decisions


def started_while_silent() -> Station:
    """The next transaction, of BOB; the meter is silent since the one before."""
    station, _ = stopped()
    station.with_csms(accept_everything, time_passed(seconds=40), cable_unplugged(1))
    station.with_csms(accept_everything, time_passed(seconds=1), cable_plugged(1))
    [started] = events(station.with_csms(accept_everything, presented(BOB, evse_id=1)), "Started")
    assert "meterValue" not in started
    return station


# --- Samples -------------------------------------------------------------------------------------


def test_an_old_reading_is_sent_once_with_its_own_time_p11_j02_fr_10() -> None:
    station = silent_in_a_transaction()
    decisions = station.with_csms(accept_everything, time_passed(seconds=150))
    first, *others = events(decisions, "Updated")
    assert registers(first) == [("Sample.Periodic", 4000, "12:00:30")]
    assert [event["triggerReason"] for event in others] == ["MeterValuePeriodic"] * 2  # J02.FR.11
    assert all("meterValue" not in event for event in others)


def test_the_last_reading_that_was_not_journaled_is_not_lost_p11() -> None:
    station = given(EVERY_MINUTE, ONLINE, in_transaction(1), time_passed(seconds=30))
    decisions = station.with_csms(
        accept_everything, meter_silent(1), SILENCE, time_passed(seconds=30)
    )
    [event] = events(decisions, "Updated")
    assert registers(event) == [("Sample.Periodic", 4000, "12:00:27")]


def test_a_meter_that_is_back_is_sampled_again_p11() -> None:
    station = silent_in_a_transaction()
    station.with_csms(accept_everything, time_passed(seconds=150))
    decisions = station.with_csms(accept_everything, meter_read(1, "9000"), time_passed(seconds=60))
    assert registers(events(decisions, "Updated")[0])[0][:2] == ("Sample.Periodic", 9000)
    assert not listed(decisions)


def test_a_silent_meter_has_no_clock_aligned_values_p11_j01_fr_14() -> None:
    station = given(
        variable_preset("AlignedDataCtrlr.Interval", "60"), ONLINE, meter_silent(1),
        time_passed(seconds=10),
    )  # fmt: skip
    decisions = station.with_csms(accept_everything, time_passed(seconds=50))
    assert [each["evseId"] for each in queued_payloads(decisions, "MeterValues")] == [2]


def test_a_reading_kept_again_and_again_is_sent_once_p11() -> None:
    station = given(
        variable_preset("SampledDataCtrlr.TxEndedInterval", "10"),
        variable_preset("SampledDataCtrlr.TxEndedMeasurands", "Energy.Active.Import.Register"),
        ONLINE, in_transaction(1), time_passed(seconds=10), meter_silent(1),
        time_passed(seconds=40), meter_read(1, "5000"), charging_stopped(1),
    )  # fmt: skip
    [ended] = events(station.with_csms(accept_everything, presented(ALICE, evse_id=1)), "Ended")
    assert [sample[1:] for sample in registers(ended)] == [
        (1000, "12:00:10"), (5000, "12:00:50"),
    ]  # fmt: skip


# --- The end -------------------------------------------------------------------------------------


def test_the_end_waits_for_the_meter_and_bills_what_it_counted_p11() -> None:
    station, decisions = stopped()
    assert not events(decisions, "Ended")
    assert not events(station.when(time_passed(seconds=METER_TIMEOUT_MS / 1000 - 1)), "Ended")
    decisions = station.with_csms(accept_everything, meter_read(1, "4884"))
    [ended] = events(decisions, "Ended")
    assert registers(ended)[-1][:2] == ("Transaction.End", 4884)
    assert not listed(decisions)


def test_after_the_wait_the_end_has_the_last_register_with_its_time_p11_e06_fr_11() -> None:
    station, _ = stopped()
    [ended] = events(station.when(time_passed(seconds=METER_TIMEOUT_MS / 1000)), "Ended")
    assert registers(ended)[-1] == ("Transaction.End", 4000, "12:00:30")


def test_what_a_silent_meter_counted_is_listed_when_it_is_back_p11() -> None:
    station, _ = stopped()
    transaction_id = station.open_transaction.transaction_id
    station.with_csms(accept_everything, time_passed(seconds=METER_TIMEOUT_MS / 1000))
    read_seq = station.state.readings.latest[-1].seq
    decisions = station.when(meter_read(1, "4884"))
    assert listed(decisions) == [("meter_silent", 884, transaction_id)]
    [unaccounted] = of_kind(decisions, EnergyUnaccounted)
    assert (unaccounted.from_seq, unaccounted.to_seq) == (read_seq, station.entries[-2].seq)
    assert not listed(station.when(meter_read(1, "4884")))


def test_the_next_ev_driver_is_not_billed_for_it_p11() -> None:
    station = started_while_silent()
    decisions = station.with_csms(accept_everything, meter_read(1, "4884"))
    assert [row[:2] for row in listed(decisions)] == [("meter_silent", 884)]
    decisions = station.with_csms(
        accept_everything, time_passed(seconds=1), meter_read(1, "4890"), charging_started(1)
    )
    [charging] = events(decisions, "Updated")
    assert [sample[:2] for sample in registers(charging)] == [("Transaction.Begin", 4884)]


def test_a_transaction_without_begin_values_has_them_in_its_end_p11_e01_fr_09() -> None:
    station = started_while_silent()
    station.with_csms(accept_everything, meter_read(1, "4884"), time_passed(seconds=9))
    decisions = station.with_csms(
        accept_everything, meter_read(1, "4890"), presented(BOB, evse_id=1)
    )
    [ended] = events(decisions, "Ended")
    assert [sample[:2] for sample in registers(ended)] == [
        ("Transaction.Begin", 4884), ("Transaction.End", 4890),
    ]  # fmt: skip


def test_without_energy_flow_a_read_meter_needs_no_wait_p11() -> None:
    station = given(ONLINE, in_transaction(1), time_passed(seconds=30), charging_stopped(1))
    decisions = station.with_csms(
        accept_everything, meter_silent(1), time_passed(seconds=3600), presented(ALICE, evse_id=1)
    )
    assert event_triggers(decisions)[-1] == ("Ended", "StopAuthorized")


# --- Energy of no transaction --------------------------------------------------------------------


def test_energy_without_a_transaction_is_listed_with_a_pause_p11() -> None:
    station = given(ONLINE, time_passed(seconds=60))
    assert listed(station.when(meter_read(1, "1001"))) == [("no_transaction", 1, "")]
    assert not listed(station.when(time_passed(seconds=10), meter_read(1, "1003")))
    assert not listed(station.when(time_passed(seconds=10), meter_read(1, "1007")))
    decisions = station.when(time_passed(seconds=LISTING_INTERVAL_MS / 1000))
    assert listed(decisions) == [("no_transaction", 6, "")]


def test_it_is_listed_before_a_transaction_starts_p11() -> None:
    station = given(ONLINE, meter_read(1, "1001"), time_passed(seconds=10), meter_read(1, "1005"))
    decisions = station.with_csms(accept_everything, in_transaction(1))
    assert listed(decisions) == [("no_transaction", 4, "")]


def test_energy_counted_while_the_program_was_off_is_listed_p11() -> None:
    station = given(ONLINE, station_restarted(gap_s=3600))
    assert listed(station.when(meter_read(1, "1500"))) == [("program_not_running", 500, "")]


def test_a_transaction_that_goes_on_after_a_restart_is_billed_for_it_p11() -> None:
    station = given(ONLINE, in_transaction(1), station_restarted())
    decisions = station.with_csms(
        accept_everything,
        meter_read(1, "1500"),
        contactor_reported(1, closed=False),
        cable_plugged(1),
    )
    assert not listed(decisions)
    assert len(station.state.transactions.open) == 1


def test_another_meter_is_listed_and_not_billed_p11_j02_fr_16() -> None:
    station = given(ONLINE, in_transaction(1), time_passed(seconds=30), meter_read(1, "3000"))
    transaction_id = station.open_transaction.transaction_id
    assert listed(station.when(meter_read(1, "7"))) == [("register_fell", -2993, transaction_id)]
    account = station.state.energy_ledger.on_evse(1)
    assert account is not None
    assert account.billed_wh() == 2000
    station.with_csms(
        accept_everything, meter_read(1, "107"), charging_stopped(1), presented(ALICE, evse_id=1)
    )
    assert not station.state.transactions.open
    assert listed(station.when(meter_read(1, "50"))) == [("register_fell", -57, transaction_id)]
