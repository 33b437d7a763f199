"""Which limits apply now: the start of Relative schedules, and voltages of limits in A."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import pytest

from journal.observations import ClockStepped
from tests.core.blocks.k_smart_charging.profiles import charging_profile, installed
from tests.core.blocks.k_smart_charging.test_charging_profiles import limit_w
from tests.support.story import (
    ALICE,
    ONLINE,
    Json,
    Station,
    Step,
    cable_plugged,
    cable_unplugged,
    called,
    charging_started,
    charging_stopped,
    csms_answers,
    given,
    in_transaction,
    meter_read,
    presented,
    response_payload_in,
    station_restarted,
    time_passed,
    variable_preset,
)

IN_AMPERES: Final = str(Path(__file__).parents[3] / "profiles" / "everything.toml")
RELATIVE: Final = charging_profile((0, 20_000), (100, 3000), kind="Relative")


def seconds_to_second_period(station: Station) -> int:
    """How long the first period of `RELATIVE` still lasts at EVSE 1."""
    for second in range(200):
        if limit_w(station, 1) == 3000:
            return second
        station.when(time_passed(seconds=1))
    raise AssertionError("the second period does not come")


# --- Relative schedules --------------------------------------------------------------------------

CABLE: Final = cable_plugged(1)
CARD: Final = presented(ALICE, evse_id=1)


@pytest.mark.parametrize("start_point", ["EVConnected", "Authorized", "PowerPathClosed"])
@pytest.mark.parametrize("first_step", [CABLE, CARD], ids=["cable first", "card first"])
def test_a_relative_schedule_starts_with_the_later_of_cable_and_card_k01_fr_42(
    start_point: str, first_step: Step
) -> None:
    """The moment of PowerPathClosed, whatever starts the transaction."""
    second_step = CARD if first_step is CABLE else CABLE
    station = given(
        variable_preset("TxCtrlr.TxStartPoint", start_point),
        ONLINE,
        installed(1, RELATIVE),
        first_step,
        time_passed(seconds=20),
        second_step,
        time_passed(seconds=30),
    )
    station.when(charging_started(1))
    assert seconds_to_second_period(station) == 70


def test_an_evse_without_a_transaction_is_at_the_start_of_a_relative_schedule_k08_fr_06() -> None:
    station = given(ONLINE, installed(1, RELATIVE), CABLE, time_passed(seconds=500))
    assert limit_w(station, 1) == 20_000


def test_an_interruption_does_not_start_a_relative_schedule_again() -> None:
    station = given(ONLINE, installed(1, RELATIVE), in_transaction(1), time_passed(seconds=40))
    station.when(charging_stopped(1), time_passed(seconds=10), charging_started(1))
    assert seconds_to_second_period(station) == 50


@pytest.mark.parametrize("boot_id", ["boot-1", "boot-2"])
def test_a_restart_does_not_start_a_relative_schedule_again(boot_id: str) -> None:
    station = given(ONLINE, installed(1, RELATIVE), in_transaction(1), time_passed(seconds=40))
    station.when(station_restarted(boot_id=boot_id, gap_s=10), CABLE)
    assert station.state.transactions.open
    assert seconds_to_second_period(station) == 50


def test_a_stepped_clock_does_not_move_a_relative_schedule() -> None:
    station = given(ONLINE, installed(1, RELATIVE), in_transaction(1), time_passed(seconds=40))
    station.host_at += timedelta(hours=5)
    station.when(ClockStepped(5 * 3_600_000))
    assert seconds_to_second_period(station) == 60


def test_the_next_transaction_starts_a_relative_schedule_again() -> None:
    station = given(ONLINE, installed(1, RELATIVE), in_transaction(1), time_passed(seconds=100))
    assert limit_w(station, 1) == 3000
    station.when(CARD, csms_answers(), charging_stopped(1), cable_unplugged(1), csms_answers())
    station.when(in_transaction(1))
    assert seconds_to_second_period(station) == 100


# --- Limits in A ---------------------------------------------------------------------------------


def in_amperes(limit_a: int, **more: str) -> Json:
    schedule = {
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit_a}],
    }
    return charging_profile(schedule=schedule, **more)  # type: ignore[arg-type]


def test_a_limit_in_a_of_an_evse_is_direct_current_at_the_present_voltage_k01_fr_51() -> None:
    station = given(ONLINE, installed(1, in_amperes(100)), profile_name=IN_AMPERES)
    assert limit_w(station, 1) == 40_000  # voltage_nominal_v: that of the EV is not known
    station.when(in_transaction(1), meter_read(1, "2000", voltage_v="812.5"))
    assert limit_w(station, 1) == Decimal("81250.0")
    station.when(meter_read(1, "2000", voltage_v="2.1"))  # no voltage of an EV that charges
    assert limit_w(station, 1) == 40_000


def test_a_limit_in_a_of_the_station_is_current_per_phase_of_the_grid_k01_fr_51() -> None:
    maximum = in_amperes(100, purpose="ChargingStationMaxProfile")
    station = given(ONLINE, installed(0, maximum), profile_name=IN_AMPERES)
    assert [limit_w(station, evse_id) for evse_id in (0, 1)] == [277 * 3 * 100] * 2


def test_profiles_in_a_and_in_w_are_compared_k08_fr_04() -> None:
    station = given(
        ONLINE,
        installed(0, charging_profile((0, 50_000), purpose="ChargingStationMaxProfile")),
        installed(1, {**in_amperes(100), "id": 2}),
        profile_name=IN_AMPERES,
    )
    for unit, limit in (("W", 40_000), ("A", 100)):
        response = response_payload_in(
            station.when(
                called("GetCompositeSchedule", evseId=1, duration=60, chargingRateUnit=unit)
            )
        )
        assert response["schedule"]["chargingSchedulePeriod"] == [
            {"startPeriod": 0, "limit": limit}
        ]
