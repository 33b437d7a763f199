"""Which power limit is in force, and TransactionEvent ChargingRateChanged. Block K."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from msgspec.structs import replace

from journal.events import Decision
from journal.observations import ClockStepped, ExternalLimitReported, LimitPeriod
from journal.projections.power_limits import PowerLimits, PowerLimitsDecided
from station.core.context import Product
from station.core.device_model.model import DeviceModel
from tests.core.blocks.k_smart_charging.profiles import charging_profile, installed, set_profile
from tests.support.story import (
    ALICE,
    BOOTED,
    ONLINE,
    Station,
    Step,
    accept_everything,
    called,
    charging_started,
    charging_stopped,
    event_triggers,
    given,
    in_transaction,
    load_product,
    meter_read,
    presented,
    station_restarted,
    time_passed,
)


def external(
    *limits_w: int, evse_id: int = 0, period_s: int = 600, duration_s: int | None = None
) -> ExternalLimitReported:
    """A limit of an energy management system: one period after the other; none: lifted."""
    periods = tuple(
        LimitPeriod(number * period_s, Decimal(limit_w)) for number, limit_w in enumerate(limits_w)
    )
    return ExternalLimitReported(evse_id, "control_socket", "EMS", periods, duration_s)


def product_with_limits_in_a() -> Product:
    """The development profile for a CSMS that limits in A."""
    profile = load_product().profile
    profile = replace(profile, features={**profile.features, "SC-2.1": True})
    return Product(profile, DeviceModel(profile))


def clock_stepped(seconds: int) -> Step:
    """The host's wall clock is stepped."""

    def step(station: Station) -> list[Decision]:
        station.host_at += timedelta(seconds=seconds)
        return station.when(ClockStepped(seconds * 1000))

    return step


def rate_changes(decisions: list[Decision]) -> int:
    """How many TransactionEvents report a changed rate; no other is sent."""
    triggers = event_triggers(decisions)
    assert set(triggers) <= {("Updated", "ChargingRateChanged")}
    return len(triggers)


def limit_w(station: Station, evse_id: int) -> Decimal | None:
    """The limit of an EVSE in the desired state."""
    [desired] = [each for each in station.desired.evses if each.evse_id == evse_id]
    return desired.limit.limit_w if desired.limit else None


# --- Limits in force -----------------------------------------------------------------------------


def test_without_limits_nothing_is_decided() -> None:
    station = given(ONLINE, in_transaction(1))
    assert not any(isinstance(entry.event, PowerLimitsDecided) for entry in station.entries)
    assert [limit_w(station, 1), station.desired.station_power_w] == [None, None]


def test_a_limit_is_in_force_with_the_commit_that_reports_it_k11_fr_01() -> None:
    station = given(ONLINE, in_transaction(1), external(40_000))
    assert [limit_w(station, 1), limit_w(station, 2)] == [40_000, 40_000]
    [desired] = [each for each in station.desired.evses if each.evse_id == 1]
    assert desired.limit is not None
    assert desired.limit.purpose == "ChargingStationExternalConstraints"
    assert desired.limit.origin == "control_socket"


def test_all_evses_together_take_no_more_from_the_grid_than_its_limit_k12_fr_01() -> None:
    """Conversion takes 5 % of what the station takes from the grid."""
    assert given(ONLINE, external(40_000)).desired.station_power_w == 38_000
    assert given(ONLINE, external(40_000, evse_id=1)).desired.station_power_w is None


def test_a_limit_of_one_evse_does_not_count_for_the_other() -> None:
    station = given(ONLINE, external(40_000, evse_id=1))
    assert [limit_w(station, 1), limit_w(station, 2)] == [40_000, None]


def test_a_lifted_limit_ends_with_that_commit_k13_fr_01() -> None:
    station = given(ONLINE, external(40_000), external())
    assert [limit_w(station, 1), station.desired.station_power_w] == [None, None]


def test_each_period_begins_and_ends_at_its_time() -> None:
    station = given(ONLINE, external(40_000, 0, 60_000, duration_s=1_500))
    seen = []
    for _ in range(4):
        seen.append(limit_w(station, 1))
        station.when(time_passed(seconds=599.999))
        assert limit_w(station, 1) in (seen[-1], None)
        station.when(time_passed(seconds=0.001))
    assert seen == [40_000, 0, 60_000, None]


def test_a_period_that_ends_while_the_station_is_off_has_ended_at_the_start() -> None:
    station = given(
        ONLINE, external(40_000, 60_000), station_restarted(boot_id="boot-2", gap_s=601)
    )
    assert limit_w(station, 1) == 60_000


def test_a_limit_is_in_force_before_any_device_has_reported_after_a_restart() -> None:
    station = given(ONLINE, external(40_000))
    station.when(station_restarted(boot_id="boot-2", gap_s=5))
    assert limit_w(station, 1) == 40_000


def test_a_stepped_wall_clock_does_not_move_the_borders_of_a_limit_p7() -> None:
    station = given(ONLINE, external(40_000, 60_000), time_passed(seconds=300))
    station.when(clock_stepped(-86_400))
    station.when(time_passed(seconds=299))
    assert limit_w(station, 1) == 40_000
    station.when(time_passed(seconds=1))
    assert limit_w(station, 1) == 60_000


def test_a_limit_reported_before_the_first_start_counts() -> None:
    assert limit_w(given(BOOTED, external(40_000)), 1) == 40_000


def test_a_profile_is_in_force_with_its_answer_and_ends_when_it_is_cleared_k10_fr_03() -> None:
    station = given(ONLINE, in_transaction(1))
    station.when(installed(1, charging_profile((0, 40_000), (600, 20_000), level=3)))
    assert [limit_w(station, 1), limit_w(station, 2)] == [40_000, None]
    [desired] = [each for each in station.desired.evses if each.evse_id == 1]
    assert desired.limit is not None
    assert (desired.limit.purpose, desired.limit.profile_id) == ("TxDefaultProfile", 1)
    assert (desired.limit.stack_level, desired.limit.limit_source) == (3, "CSO")
    station.when(time_passed(seconds=600))
    assert limit_w(station, 1) == 20_000
    station.when(called("ClearChargingProfile", chargingProfileId=1))
    assert limit_w(station, 1) is None


def test_a_profile_cleared_before_it_begins_leaves_no_border_p6() -> None:
    station = given(ONLINE, installed(0, charging_profile((0, 40_000), start_s=3_600)))
    station.when(called("ClearChargingProfile", chargingProfileId=1))
    assert station.state.power_limits == PowerLimits()


def test_a_profile_of_a_transaction_ends_with_it_k02_fr_05() -> None:
    station = given(ONLINE, in_transaction(1))
    transaction_id = station.open_transaction.transaction_id
    profile = charging_profile((0, 40_000), purpose="TxProfile", transactionId=transaction_id)
    station.when(installed(1, profile))
    assert limit_w(station, 1) == 40_000
    station.with_csms(accept_everything, presented(ALICE, 1), charging_stopped(1))
    assert limit_w(station, 1) is None


def test_a_limit_in_a_is_a_direct_current_at_every_voltage() -> None:
    station = Station(product_with_limits_in_a())
    station.with_csms(accept_everything, ONLINE, in_transaction(1))
    profile = charging_profile((0, 100), schedule={"chargingRateUnit": "A"})
    station.when(installed(1, profile), charging_started(1))
    for voltage_v in ("380", "384", "800"):
        station.when(meter_read(1, "2000", voltage_v=voltage_v))
        [desired] = [each for each in station.desired.evses if each.evse_id == 1]
        assert desired.limit is not None
        assert desired.limit.limit_a == 100
    assert limit_w(station, 1) == 80_000


def test_a_change_by_a_profile_of_the_csms_is_no_news_for_it_sc_02() -> None:
    station = given(ONLINE, in_transaction(1), charging_started(1))
    assert rate_changes(station.when(set_profile(1, charging_profile((0, 40_000))))) == 0


# --- ChargingRateChanged -------------------------------------------------------------------------


def test_a_transaction_reports_that_its_rate_changed_k11_fr_04_k13_fr_03() -> None:
    station = given(ONLINE, in_transaction(1))
    assert rate_changes(station.when(external(40_000))) == 1
    assert rate_changes(station.when(external(40_200))) == 0  # less than 1 percent
    assert rate_changes(station.when(external(50_000))) == 1
    assert rate_changes(station.when(external())) == 1


def test_a_limit_above_what_the_evse_can_give_changes_no_rate() -> None:
    station = given(ONLINE, in_transaction(1))
    assert rate_changes(station.when(external(400_000))) == 0


def test_a_limit_of_another_evse_changes_no_rate() -> None:
    station = given(ONLINE, in_transaction(1))
    assert rate_changes(station.when(external(40_000, evse_id=2))) == 0


def test_a_rate_that_begins_again_is_reported() -> None:
    station = given(ONLINE, in_transaction(1), charging_started(1))
    assert rate_changes(station.when(external(0))) == 1
    assert rate_changes(station.when(external(1_000))) == 1
