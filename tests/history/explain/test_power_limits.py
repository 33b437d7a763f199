"""Why only 40 kW, why no power: the limit in force, who set it, its entry."""

from __future__ import annotations

from decimal import Decimal

from journal.events import Event
from journal.observations import (
    EnergyFlowReported,
    ExternalLimitReported,
    LimitPeriod,
    MeterRead,
)
from journal.projections.power_limits import PowerLimitsDecided
from station.history.explain.explanation import explain_entry, explain_transaction
from tests.core.blocks.k_smart_charging.profiles import charging_profile, installed
from tests.history.explain.test_explanation import causes_of_last, history_of, last_entry
from tests.support.story import (
    ONLINE,
    Station,
    charging_started,
    flow_reported,
    given,
    in_transaction,
    meter_read,
    time_passed,
)

EMS = ExternalLimitReported(0, "control_socket", "EMS", (LimitPeriod(0, Decimal(20_000)),))


def station_with_profile(limit_w: int = 40_000) -> Station:
    station = given(ONLINE, in_transaction(1), charging_started(1), time_passed(seconds=60))
    station.when(installed(1, charging_profile((0, limit_w), level=3)))
    return station


def answers(station: Station, kind: type[Event]) -> str:
    return "\n".join(explain_entry(history_of(station), last_entry(station, kind).seq).answers)


def test_a_reading_names_the_profile_that_limits_it() -> None:
    station = station_with_profile()
    profile = station.state.charging_profiles.installed[0].seq
    station.when(meter_read(1, "3000", power_w="39900"))
    decided = last_entry(station, PowerLimitsDecided).seq
    assert (
        f"EVSE 1 was limited to 40 kW by TxDefaultProfile 1, stack level 3 (entry {profile}), "
        f"set by the CSMS, by entry {decided}." in answers(station, MeterRead)
    )


def test_a_suspension_names_the_limit_of_0_w() -> None:
    station = station_with_profile(0)
    station.when(flow_reported(1, "suspended_evse"))
    assert "EVSE 1 was limited to 0 kW by TxDefaultProfile 1" in answers(
        station, EnergyFlowReported
    )


def test_a_limit_of_the_station_is_named_beside_that_of_the_evse() -> None:
    station = station_with_profile()
    station.when(EMS, meter_read(1, "3000"))
    text = answers(station, MeterRead)
    assert "EVSE 1 was limited to 20 kW by EMS, control_socket" in text
    assert "The station was limited to 20 kW by EMS, control_socket" in text
    assert "set by another source, EMS" in text


def test_a_reading_without_a_limit_names_none() -> None:
    station = given(ONLINE, in_transaction(1), EMS)
    station.when(ExternalLimitReported(0, "control_socket", "EMS"), meter_read(1, "3000"))
    assert "limited" not in answers(station, MeterRead)


def test_a_decision_has_the_profile_and_the_frame_as_its_causes() -> None:
    station = station_with_profile()
    station.when(EMS)
    assert causes_of_last(station, PowerLimitsDecided) == [
        "ExternalLimitReported", "PowerLimitsDecided",
    ]  # fmt: skip
    assert causes_of_last(station_with_profile(), PowerLimitsDecided) == [
        "FrameReceived", "ChargingProfileInstalled", "PowerLimitsDecided",
    ]  # fmt: skip


def test_a_transaction_lists_its_limits_in_order() -> None:
    station = given(ONLINE, EMS, in_transaction(1), charging_started(1), time_passed(seconds=60))
    station.when(ExternalLimitReported(0, "control_socket", "EMS"))
    station.when(time_passed(seconds=60), installed(1, charging_profile((0, 40_000))))
    transaction_id = station.open_transaction.transaction_id
    lines = explain_transaction(history_of(station), transaction_id).answers
    limits = [line.partition(":")[0] + line for line in lines if "limited" in line]
    assert "When it started it was limited to 20 kW by EMS" in limits[0]
    assert "From 12:01:00 it was limited by no profile and no external limit" in limits[1]
    assert "From 12:02:00 it was limited to 40 kW by TxDefaultProfile 1" in limits[2]
    assert len(limits) == 3
