"""Limits of station.toml and of a lost connection."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from journal.events import Decision, Entry, Observation
from journal.observations import ExternalLimitReported
from journal.state import State, apply_entry
from station.config.file_tables import LimitsConfig
from station.core.context import Context
from station.core.desired import DesiredLink, DesiredState
from station.runtime.external_limits import (
    configured_limits,
    limit_report,
    limit_while_offline,
    report_contact,
    report_derating,
)
from station.runtime.hardware.power_limits import Derating
from station.runtime.watched_value import WatchedValue
from station.transcript.phrases import format_power_limit
from tests.support.story import (
    JOURNAL_ID,
    NOON,
    ONLINE,
    Station,
    charging_started,
    csms_answers,
    given,
    in_transaction,
    queued_payloads,
    time_passed,
    variable_preset,
)

LIMITS = LimitsConfig(station_w=200_000, offline_w=40_000, contact_w=60_000, contact_input="A2")


def state_with(*reports: Observation) -> State:
    state = State(JOURNAL_ID)
    for seq, report in enumerate(reports, start=1):
        state = apply_entry(state, Entry(seq, NOON, seq, report))
    return state


def values(reports: list[Observation]) -> list[tuple[str, int | None]]:
    """Origin and limit of each report; None: lifted."""
    result = []
    for report in reports:
        assert isinstance(report, ExternalLimitReported)
        limit_w = int(report.periods[0].limit_w) if report.periods else None
        result.append((report.origin, limit_w))
    return result


def test_the_limit_of_the_installer_is_reported_once() -> None:
    first = list(configured_limits(LIMITS, state_with()))
    assert values(first) == [("installer", 200_000)]
    assert list(configured_limits(LIMITS, state_with(*first))) == []


def test_a_changed_limit_replaces_the_one_before_and_a_removed_one_is_lifted() -> None:
    state = state_with(
        limit_report(0, "installer", "Other", 200_000),
        limit_report(0, "offline", "Other", 40_000),
        limit_report(0, "contact", "SO", 60_000),
        limit_report(0, "control_socket", "EMS", 10_000),
    )
    changed = configured_limits(LimitsConfig(station_w=150_000, offline_w=30_000), state)
    assert values(list(changed)) == [
        ("installer", 150_000), ("offline", 30_000), ("contact", None),
    ]  # fmt: skip
    assert len(state.external_limits.limits) == 4


def test_the_contact_reports_only_what_it_changes() -> None:
    limited = list(report_contact(LIMITS, state_with(), limited=True))
    assert values(limited) == [("contact", 60_000)]
    assert list(report_contact(LIMITS, state_with(*limited), limited=True)) == []
    assert values(list(report_contact(LIMITS, state_with(*limited), limited=False))) == [
        ("contact", None)
    ]
    assert list(report_contact(LIMITS, state_with(), limited=False)) == []


# --- Derated hardware ----------------------------------------------------------------------------

WARM = Derating("cable", 40_000, 160_000)


def report(station: Station, derating: Derating | None) -> list[Decision]:
    """What the station decides after the reports of a derating of EVSE 1."""
    reports = report_derating(Context(station.product, station.state, station.entries[-1]), 1,
                              derating)  # fmt: skip
    return station.when(*(step for each in reports for step in (each, csms_answers())))


def rate_changes(decisions: list[Decision]) -> int:
    events = queued_payloads(decisions, "TransactionEvent")
    return sum(event["triggerReason"] == "ChargingRateChanged" for event in events)


def origins(station: Station) -> list[tuple[int, str, str]]:
    return [(each.evse_id, each.origin, each.source) for each in
            station.state.external_limits.limits]  # fmt: skip


def test_a_derating_is_an_external_limit_of_its_evse_k11_fr_02_k11_fr_04() -> None:
    station = given(ONLINE, in_transaction(1), charging_started(1))
    decisions = report(station, WARM)
    assert origins(station) == [(1, "cable_temperature", "Other")]
    [notified] = queued_payloads(decisions, "NotifyChargingLimit")
    assert notified["chargingLimit"] == {"chargingLimitSource": "Other"}
    assert notified["evseId"] == 1
    assert rate_changes(decisions) == 1
    limit = station.state.power_limits.on_evse(1)
    assert limit is not None
    assert format_power_limit(limit).startswith("40 kW by Other, cable_temperature (entry")
    assert report(station, WARM) == []


def test_a_derating_that_ended_is_cleared_k13_fr_02_k13_fr_03() -> None:
    station = given(ONLINE, in_transaction(1), charging_started(1))
    report(station, WARM)
    decisions = report(station, None)
    assert origins(station) == []
    assert queued_payloads(decisions, "ClearedChargingLimit") == [
        {"chargingLimitSource": "Other", "evseId": 1}
    ]
    assert rate_changes(decisions) == 1


def test_another_cause_replaces_the_limit_of_the_one_before() -> None:
    station = given(ONLINE)
    report(station, WARM)
    report(station, Derating("modules", 60_000, 160_000))
    assert origins(station) == [(1, "power_modules", "Other")]


def test_a_derating_below_the_significance_is_no_limit() -> None:
    significance = variable_preset("SmartChargingCtrlr.LimitChangeSignificance", "50")
    station = given(significance, ONLINE)
    report(station, Derating("cooling", 100_000, 160_000))
    assert origins(station) == []
    report(station, WARM)
    assert origins(station) == [(1, "cable_temperature", "Other")]
    report(station, Derating("cable", 100_000, 160_000))
    assert origins(station) == []


def test_a_product_without_smart_charging_reports_no_derating() -> None:
    station = given(time_passed(seconds=1), profile_name="evs-flash-300")
    report(station, WARM)
    assert origins(station) == []


def test_a_derating_is_lifted_at_the_next_start() -> None:
    station = given(ONLINE)
    report(station, WARM)
    assert values(list(configured_limits(LimitsConfig(), station.state))) == [
        ("cable_temperature", None)
    ]


# --- A lost connection ---------------------------------------------------------------------------


class OfflineBench:
    """The task, a link that the test opens and closes, and a journal of its reports."""

    def __init__(self, *reports: Observation) -> None:
        self.state = state_with(*reports)
        self.desired = WatchedValue(DesiredState())
        self.reports: list[tuple[float, Observation]] = []

    def set_online(self, online: bool) -> None:
        self.desired.set(DesiredState(link=DesiredLink(online=online)))

    def observe(self, report: Observation) -> None:
        self.reports.append((trio.current_time(), report))
        seq = len(self.reports) + 100
        self.state = apply_entry(self.state, Entry(seq, NOON, seq, report))

    async def run(self) -> None:
        await limit_while_offline(LIMITS, self.desired, lambda: self.state, self.observe)


async def test_without_a_csms_the_station_is_limited_until_it_is_back(
    autojump_clock: MockClock,
) -> None:
    bench = OfflineBench()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.run)
        await trio.sleep(30)
        bench.set_online(True)
        await trio.sleep(1_000)
        assert bench.reports == []
        for seconds in (59, 500):  # a short loss, and one that lasts
            bench.set_online(False)
            began = trio.current_time()
            await trio.sleep(seconds)
            bench.set_online(True)
            await trio.sleep(100)
        assert [at - began for at, _ in bench.reports] == [60, 500]
        assert values([report for _, report in bench.reports]) == [
            ("offline", 40_000), ("offline", None),
        ]  # fmt: skip
        nursery.cancel_scope.cancel()


async def test_a_limit_of_the_run_before_is_lifted_when_the_csms_is_back(
    autojump_clock: MockClock,
) -> None:
    bench = OfflineBench(limit_report(0, "offline", "Other", 40_000))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.run)
        await trio.sleep(100)
        assert bench.reports == []  # still limited
        bench.set_online(True)
        await trio.sleep(1)
        assert values([report for _, report in bench.reports]) == [("offline", None)]
        nursery.cancel_scope.cancel()
