"""NotifyChargingLimit and ClearedChargingLimit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from journal.events import Decision
from journal.observations import ExternalLimitReported, LimitPeriod
from tests.core.blocks.k_smart_charging.profiles import instant
from tests.core.blocks.k_smart_charging.test_charging_profiles import limit_w
from tests.support.story import (
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Json,
    Station,
    csms_answers,
    given,
    in_transaction,
    queued_payloads,
    station_restarted,
    time_passed,
    variable_preset,
)

ALL_CHANGES = variable_preset("SmartChargingCtrlr.LimitChangeSignificance", "10")
WITH_SCHEDULES = variable_preset("SmartChargingCtrlr.NotifyChargingLimitWithSchedules", "true")


def limit(
    *periods: tuple[int, Any],
    evse_id: int = 0,
    source: str = "EMS",
    origin: str = "control_socket",
    **more: Any,
) -> ExternalLimitReported:
    return ExternalLimitReported(
        evse_id,
        origin,
        source,
        tuple(LimitPeriod(start, Decimal(limit_w)) for start, limit_w in periods),
        **more,
    )


LIFTED = limit()


def notified(decisions: list[Decision]) -> list[Json]:
    return queued_payloads(decisions, "NotifyChargingLimit")


def cleared(decisions: list[Decision]) -> list[Json]:
    return queued_payloads(decisions, "ClearedChargingLimit")


def when(station: Station, *steps: Any) -> list[Decision]:
    return station.when(*(each for step in steps for each in (step, csms_answers())))


@pytest.mark.parametrize("past", [(ONLINE,), (ONLINE, in_transaction(1))])
def test_the_csms_is_informed_of_a_new_limit_k11_fr_02_k12_fr_02(past: Any) -> None:
    """The source is never CSO: K11.FR.05, K12.FR.04."""
    station = given(*past)
    decisions = when(station, limit((0, 40_000), is_grid_critical=True))
    assert notified(decisions) == [
        {
            "chargingLimit": {"chargingLimitSource": "EMS", "isGridCritical": True},
            "evseId": 0,
        }
    ]
    assert [limit_w(station, evse_id) for evse_id in (0, 1, 2)] == [40_000] * 3  # K12.FR.01


def test_a_limit_of_an_evse_counts_there_k11_fr_01() -> None:
    station = given(ONLINE, limit((0, 40_000), evse_id=2))
    assert [limit_w(station, evse_id) for evse_id in (0, 1, 2)] == [None, None, 40_000]


def test_with_schedules_the_limit_is_in_the_message_k11_fr_03_k12_fr_03() -> None:
    station = given(WITH_SCHEDULES, ONLINE)
    [message] = notified(when(station, limit((0, 40_000), (60, 30_000), duration_s=90)))
    assert message["chargingSchedule"] == [
        {
            "id": 1,
            "startSchedule": instant(),
            "duration": 90,
            "chargingRateUnit": "W",
            "chargingSchedulePeriod": [
                {"startPeriod": 0, "limit": 40_000},
                {"startPeriod": 60, "limit": 30_000},
            ],
        }
    ]


def test_a_small_change_is_not_reported_sc_03() -> None:
    """10 percent of what the CSMS knows, not of the last report."""
    station = given(ALL_CHANGES, ONLINE, limit((0, 40_000)))
    assert not notified(when(station, limit((0, 42_000))))
    assert limit_w(station, 0) == 42_000
    assert not notified(when(station, limit((0, 44_000))))
    assert len(notified(when(station, limit((0, 44_001))))) == 1
    assert not notified(when(station, limit((0, 44_001))))


def test_any_change_from_or_to_0_w_is_reported() -> None:
    station = given(ALL_CHANGES, ONLINE, limit((0, 0)))
    assert len(notified(when(station, limit((0, 1))))) == 1
    assert len(notified(when(station, limit((0, 0))))) == 1


def test_a_lifted_limit_counts_no_more_and_is_reported_k13_fr_01_k13_fr_02() -> None:
    station = given(ONLINE, in_transaction(1), limit((0, 40_000)))
    decisions = when(station, LIFTED)
    assert cleared(decisions) == [{"chargingLimitSource": "EMS", "evseId": 0}]
    assert limit_w(station, 0) is None
    assert not cleared(when(station, LIFTED))
    assert len(notified(when(station, limit((0, 40_000))))) == 1


def test_a_limit_ends_with_its_duration_k13_fr_02() -> None:
    station = given(ONLINE, limit((0, 40_000), duration_s=60))
    assert not cleared(when(station, time_passed(seconds=59)))
    decisions = when(station, time_passed(seconds=1))
    assert len(cleared(decisions)) == 1
    assert limit_w(station, 0) is None


def test_the_next_period_of_a_limit_is_reported() -> None:
    station = given(ONLINE, limit((0, 40_000), (60, 20_000)))
    assert len(notified(when(station, time_passed(seconds=60)))) == 1


def test_sources_are_reported_on_their_own_and_the_lowest_of_a_source_counts() -> None:
    station = given(ONLINE, limit((0, 40_000)))
    [message] = notified(when(station, limit((0, 30_000), source="SO", origin="io_contact")))
    assert message["chargingLimit"] == {"chargingLimitSource": "SO"}
    assert not notified(when(station, limit((0, 50_000), origin="derating")))
    assert len(notified(when(station, limit((0, 20_000), origin="derating")))) == 1
    assert not cleared(when(station, limit(origin="derating")))
    assert len(cleared(when(station, LIFTED))) == 1
    assert limit_w(station, 0) == 30_000


def test_after_an_outage_the_present_limit_is_reported() -> None:
    """However often it changed meanwhile, and also if a report was lost with the link."""
    station = given(ONLINE, limit((0, 40_000)), LINK_LOST)
    changes = [limit((0, limit_w)) for limit_w in range(10_000, 20_000, 500)]
    assert not notified(station.when(*changes))
    decisions = station.when(LINK_OPENED, csms_answers())
    assert len(notified(decisions)) == 1
    assert not notified(station.when(limit((0, 19_500))))
    decisions = station.when(LINK_LOST, *changes, LIFTED, LINK_OPENED, csms_answers())
    assert (len(notified(decisions)), len(cleared(decisions))) == (0, 1)


def test_a_csms_that_does_not_answer_gets_a_bounded_number_of_reports() -> None:
    station = given(ONLINE)
    decisions = station.when(*(limit((0, limit_w)) for limit_w in range(1000, 60_000, 1000)))
    assert len(notified(decisions)) == 8
    station.when(csms_answers())
    [latest] = [each.limit_w for each in station.state.external_limits.notified]
    assert latest == 59_000


def test_a_report_is_kept_until_it_is_delivered() -> None:
    station = given(ONLINE)
    station.when(limit((0, 40_000)), LINK_LOST, LINK_OPENED)
    station.when(csms_answers())
    assert station.state.outbox.general_count("NotifyChargingLimit") == 0
    assert not notified(station.when(limit((0, 40_000))))


def test_a_limit_stays_over_a_reboot() -> None:
    station = given(ONLINE, limit((0, 40_000)))
    station.when(station_restarted(boot_id="boot-2", gap_s=600))
    assert limit_w(station, 0) == 40_000


def test_without_smart_charging_the_limit_counts_and_no_message_is_sent() -> None:
    station = given(ONLINE, profile_name="evs-flash-300")
    decisions = when(station, limit((0, 40_000)), LIFTED, limit((0, 30_000)))
    assert not notified(decisions)
    assert not cleared(decisions)
    assert limit_w(station, 0) == 30_000
