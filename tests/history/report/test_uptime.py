"""Uptime by US 23 CFR 680.116 (b): outages, exclusions with evidence, ranges."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from journal.events import Event
from journal.observations import DeviceFaulted, DeviceRecovered, StationStopping
from journal.projections.availability import AvailabilityChanged
from journal.projections.firmware import FirmwareStatusChanged, FirmwareUpdateOrdered
from journal.projections.lifecycle import RestartOrdered
from station.history.report.evse_condition import (
    MAINTENANCE,
    UTILITY,
    UTILITY_CLAIMABLE,
    VEHICLE,
    ExclusionGround,
    OutageCause,
)
from station.history.report.uptime import (
    LISTED_OUTAGES_MAX,
    EvseUptime,
    Outage,
    decide_verdict,
    floor_percent,
)
from tests.history.report.fixtures_report import report_facts_of
from tests.support.story import (
    ALICE,
    LINK_LOST,
    LINK_OPENED,
    NOON,
    ONLINE,
    Station,
    Step,
    cable_unplugged,
    called,
    charging_stopped,
    csms_answers,
    given,
    in_transaction,
    presented,
    station_restarted,
    time_passed,
)

MINUTE = 60_000


def mains_fault(fault: str = "lost") -> DeviceFaulted:
    return DeviceFaulted(0, "mains", fault, blocks_charging=True, stopped_reason="PowerLoss")


def mains_recovered(fault: str = "lost") -> DeviceRecovered:
    return DeviceRecovered(0, "mains", fault)


def minutes_pass(minutes: float) -> Step:
    return time_passed(seconds=minutes * 60)


def uptime_of(directory: Path, *steps: Step, evse_id: int = 1) -> EvseUptime:
    """Uptime of an EVSE that was online and available at NOON, before these steps."""
    return report_facts_of(given(ONLINE, *steps).entries, directory, NOON).uptimes[evse_id]


def seq_of_kind(directory: Path, kind: type[Event], *steps: Step) -> int:
    return next(
        entry.seq for entry in given(ONLINE, *steps).entries if isinstance(entry.event, kind)
    )


def whole_minutes(ms: int) -> int:
    """Whole minutes; opening a connection takes a moment."""
    return round(ms / MINUTE)


# --- Outages ---------------------------------------------------------------------------


def test_an_idle_station_that_is_online_is_up(tmp_path: Path) -> None:
    uptime = uptime_of(tmp_path, minutes_pass(100))
    assert (uptime.total.whole_ms, uptime.total.outage_ms) == (100 * MINUTE, 0)
    assert uptime.total.uptime_percent == Decimal("100.000")
    assert uptime.ms_by_state["available"] == 100 * MINUTE


def test_a_lost_link_is_an_outage_and_never_excluded(tmp_path: Path) -> None:
    steps = (
        minutes_pass(50),
        LINK_LOST,
        minutes_pass(30),
        LINK_OPENED,
        csms_answers(),
        minutes_pass(20),
    )
    uptime = uptime_of(tmp_path, *steps)
    assert whole_minutes(uptime.total.whole_ms) == 100
    assert (
        whole_minutes(uptime.total.outage_ms),
        uptime.total.excluded_ms,
        uptime.total.claimable_ms,
    ) == (
        30,
        0,
        0,
    )
    assert uptime.total.uptime_percent == Decimal("70.000")
    [outage] = uptime.counted_outages
    assert (outage.verdict, outage.causes[0].text) == ("counted", "no link to the CSMS")


def test_a_transaction_during_a_lost_link_counts_as_in_use(tmp_path: Path) -> None:
    steps = (
        in_transaction(1),
        LINK_LOST,
        minutes_pass(30),
        LINK_OPENED,
        csms_answers(),
        minutes_pass(1),
    )
    station = given(ONLINE, *steps)
    facts = report_facts_of(station.entries, tmp_path, NOON)
    assert facts.uptimes[1].total.outage_ms == 0
    assert whole_minutes(facts.uptimes[2].total.outage_ms) == 30, "the other EVSE was not in use"


def test_a_blocking_fault_is_an_outage_also_in_a_transaction(tmp_path: Path) -> None:
    fault = DeviceFaulted(
        1, "insulation", "low", blocks_charging=True, stopped_reason="GroundFault"
    )
    steps = (
        in_transaction(1), minutes_pass(10), fault, charging_stopped(1), minutes_pass(15),
        DeviceRecovered(1, "insulation", "low"), cable_unplugged(1), minutes_pass(5),
    )  # fmt: skip
    uptime = uptime_of(tmp_path, *steps)
    assert (whole_minutes(uptime.total.outage_ms), uptime.total.excluded_ms) == (15, 0)
    assert uptime.ms_by_state["faulted"] == 15 * MINUTE
    assert uptime_of(tmp_path, *steps, evse_id=2).total.outage_ms == 0


def test_a_fault_that_does_not_block_is_no_outage(tmp_path: Path) -> None:
    fault = DeviceFaulted(1, "module", "fault", blocks_charging=False)
    assert uptime_of(tmp_path, fault, minutes_pass(10)).total.outage_ms == 0


def test_without_a_program_the_evse_is_down_from_the_last_entry_on(tmp_path: Path) -> None:
    steps = (
        minutes_pass(10),
        station_restarted(gap_s=600),
        LINK_OPENED,
        csms_answers(),
        minutes_pass(10),
    )
    uptime = uptime_of(tmp_path, *steps)
    assert (
        whole_minutes(uptime.total.outage_ms)
        == whole_minutes(uptime.ms_by_state["not_running"])
        == 10
    )
    [outage] = uptime.counted_outages
    assert outage.verdict == "counted"
    assert outage.causes[0].text == "the program ended unexpectedly"


def test_a_station_the_csms_does_not_accept_is_not_available(tmp_path: Path) -> None:
    def pending(action: str, payload: object) -> dict[str, object]:
        return {"currentTime": "2026-03-01T12:00:00Z", "interval": 600, "status": "Pending"}

    station = given(ONLINE, csms=pending)
    station.when(minutes_pass(9))
    uptime = report_facts_of(station.entries, tmp_path, NOON).uptimes[1]
    assert uptime.total.outage_ms == uptime.total.whole_ms
    assert list(uptime.counted_outages)[-1].causes[-1].text == "registration status Pending"


# --- Exclusions ----------------------------------------------------------------------------


def test_lost_mains_are_excluded_with_the_entries_that_prove_it(tmp_path: Path) -> None:
    steps = (minutes_pass(20), mains_fault(), minutes_pass(30), mains_recovered(), minutes_pass(50))
    uptime = uptime_of(tmp_path, *steps)
    assert (uptime.total.outage_ms, uptime.total.excluded_ms) == (30 * MINUTE, 30 * MINUTE)
    assert uptime.total.uptime_percent == Decimal("100.000")
    [outage] = uptime.excluded_outages
    assert [cause.seq for cause in outage.causes] == [seq_of_kind(tmp_path, DeviceFaulted, *steps)]
    assert outage.ended_seq == seq_of_kind(tmp_path, DeviceRecovered, *steps)
    assert outage.grounds == ("electric utility service interruption",)


def test_causes_that_begin_during_a_mains_fault_are_its_consequences(tmp_path: Path) -> None:
    """Link and modules fail with the mains; after the mains return they count."""
    modules = DeviceFaulted(1, "module", "all_dead", blocks_charging=True)
    steps = (
        mains_fault(),
        minutes_pass(10),
        modules,
        LINK_LOST,
        minutes_pass(10),
        mains_recovered(),
        minutes_pass(5),
        LINK_OPENED,
        csms_answers(),
        DeviceRecovered(1, "module", "all_dead"),
        minutes_pass(5),
    )
    uptime = uptime_of(tmp_path, *steps)
    assert (whole_minutes(uptime.total.outage_ms), whole_minutes(uptime.total.excluded_ms)) == (
        25,
        20,
    )


def test_a_cause_from_before_a_mains_fault_is_not_excluded(tmp_path: Path) -> None:
    welded = DeviceFaulted(1, "contactor", "welded", blocks_charging=True)
    steps = (
        welded,
        minutes_pass(10),
        mains_fault(),
        minutes_pass(20),
        mains_recovered(),
        minutes_pass(10),
    )
    uptime = uptime_of(tmp_path, *steps)
    assert (uptime.total.outage_ms, uptime.total.excluded_ms) == (40 * MINUTE, 0)
    assert uptime_of(tmp_path, *steps, evse_id=2).total.excluded_ms == 20 * MINUTE


def test_a_host_that_goes_down_with_the_mains_is_excluded_until_the_mains_return(
    tmp_path: Path,
) -> None:
    steps = (
        mains_fault(),
        minutes_pass(5),
        station_restarted(boot_id="boot-2", gap_s=1800),
        mains_fault(),
        minutes_pass(5),
        LINK_OPENED,
        csms_answers(),
        mains_recovered(),
        minutes_pass(20),
    )
    uptime = uptime_of(tmp_path, *steps)
    assert whole_minutes(uptime.total.outage_ms) == whole_minutes(uptime.total.excluded_ms) == 40


def test_a_reboot_of_the_host_without_a_known_cause_is_claimable(tmp_path: Path) -> None:
    steps = (
        minutes_pass(5),
        station_restarted(boot_id="boot-2", gap_s=1800),
        LINK_OPENED,
        csms_answers(),
        minutes_pass(5),
    )
    uptime = uptime_of(tmp_path, *steps)
    assert (uptime.total.excluded_ms, whole_minutes(uptime.total.claimable_ms)) == (0, 30)
    assert uptime.total.claimable_uptime_percent == Decimal("100.000")
    assert uptime.total.uptime_percent == Decimal("25.000")


def test_an_emergency_stop_by_the_ev_is_a_fault_of_the_vehicle(tmp_path: Path) -> None:
    stop = DeviceFaulted(1, "ev", "emergency_stop", blocks_charging=True)
    steps = (stop, minutes_pass(5), DeviceRecovered(1, "ev", "emergency_stop"), minutes_pass(5))
    uptime = uptime_of(tmp_path, *steps)
    assert uptime.total.excluded_ms == 5 * MINUTE
    [outage] = uptime.excluded_outages
    assert outage.grounds == ("fault of the vehicle",)


def test_an_inoperative_evse_is_claimable_as_maintenance(tmp_path: Path) -> None:
    steps = (
        called("ChangeAvailability", operationalStatus="Inoperative", evse={"id": 1}),
        csms_answers(), minutes_pass(40),
        called("ChangeAvailability", operationalStatus="Operative", evse={"id": 1}),
        csms_answers(), minutes_pass(10),
    )  # fmt: skip
    uptime = uptime_of(tmp_path, *steps)
    assert (uptime.total.outage_ms, uptime.total.excluded_ms) == (40 * MINUTE, 0)
    assert uptime.total.claimable_ms == 40 * MINUTE
    [outage] = uptime.counted_outages
    assert outage.causes[0].seq == seq_of_kind(tmp_path, AvailabilityChanged, *steps)
    assert uptime_of(tmp_path, *steps, evse_id=2).total.outage_ms == 0


def firmware_order(install_at: str | None) -> FirmwareUpdateOrdered:
    return FirmwareUpdateOrdered(
        request_id=1,
        location="https://files/f",
        retrieve_at="2026-03-01T12:00:00Z",
        install_at=install_at,
        attempts_max=1,
        retry_interval_s=1,
        signing_certificate="",
        signature="",
    )


@pytest.mark.parametrize(
    ("install_at", "excluded"), [("2026-03-01T12:05:00Z", 15 * MINUTE), (None, 0)]
)
def test_firmware_ordered_for_a_time_is_scheduled_maintenance(
    tmp_path: Path, install_at: str | None, excluded: int
) -> None:
    """Including the restart of the installation."""
    station = given(ONLINE)
    entries = list(station.entries)

    def add(event: Event, minutes: int) -> None:
        last = entries[-1]
        at = NOON + timedelta(minutes=minutes)
        uptime_ms = 60_000 + minutes * MINUTE
        entries.append(type(last)(last.seq + 1, at, uptime_ms, event))

    order = firmware_order(install_at)
    add(order, 1)
    order_seq = entries[-1].seq
    add(FirmwareStatusChanged(order_seq, "Installing"), 5)
    add(RestartOrdered("FirmwareUpdate"), 10)
    add(StationStopping("restart"), 10)
    add(entries[1].event, 12)
    add(FirmwareStatusChanged(order_seq, "Installed"), 20)
    add(LINK_OPENED, 20)
    uptime = report_facts_of(entries, tmp_path, NOON, NOON + timedelta(minutes=20)).uptimes[1]
    assert uptime.total.outage_ms == 15 * MINUTE
    assert uptime.total.excluded_ms == excluded
    assert uptime.total.claimable_ms == 15 * MINUTE - excluded


# --- Verdicts ------------------------------------------------------------------------------


def make_causes(*grounds: ExclusionGround | None) -> list[OutageCause]:
    """Causes with consecutive entry numbers."""
    return [OutageCause(seq, str(seq), ground) for seq, ground in enumerate(grounds, 1)]


@pytest.mark.parametrize(
    ("grounds", "verdict"),
    [
        ((UTILITY,), "excluded"),
        ((UTILITY, None, None), "excluded"),
        ((None, UTILITY), "counted"),
        ((VEHICLE, None), "counted"),
        ((VEHICLE, UTILITY), "excluded"),
        ((UTILITY_CLAIMABLE,), "claimable"),
        ((UTILITY_CLAIMABLE, UTILITY), "claimable"),
        ((MAINTENANCE, UTILITY_CLAIMABLE), "excluded"),
        ((None,), "counted"),
    ],
)
def test_an_outage_is_excluded_only_if_each_cause_is(
    grounds: tuple[ExclusionGround | None, ...], verdict: str
) -> None:
    assert decide_verdict(make_causes(*grounds)) == verdict


# --- Counting ------------------------------------------------------------------------------------


def test_a_percentage_is_truncated() -> None:
    assert floor_percent(969_999, 1_000_000) == Decimal("96.999")
    assert floor_percent(9_699_999, 10_000_000) == Decimal("96.999")
    assert floor_percent(1, 0) is None


def test_a_year_is_counted_as_the_rule_has_it() -> None:
    """525,600 minutes, 20,000 of outage, 5,000 of them excluded."""
    uptime = EvseUptime(1)
    year = 525_600 * MINUTE
    uptime.add_period(0, 5_000 * MINUTE, 9, "faulted", tuple(make_causes(UTILITY)))
    uptime.add_period(5_000 * MINUTE, 20_000 * MINUTE, 10, "offline", tuple(make_causes(None)))
    uptime.add_period(20_000 * MINUTE, year, 11, "available", ())
    assert (
        uptime.total.uptime_percent
        == floor_percent((525_600 - (20_000 - 5_000)), 525_600)
        == Decimal("97.146")
    )


def test_months_are_split_and_add_up() -> None:
    uptime = EvseUptime(1)
    day = 1440 * MINUTE
    uptime.add_period(
        30 * day, 60 * day, 5, "offline", tuple(make_causes(None))
    )  # from 31 January 1970
    assert list(uptime.tally_by_month) == ["1970-01", "1970-02", "1970-03"]
    assert [tally.outage_ms for tally in uptime.tally_by_month.values()] == [day, 28 * day, day]
    assert sum(tally.whole_ms for tally in uptime.tally_by_month.values()) == uptime.total.whole_ms


def test_consecutive_outages_are_merged_only_with_the_same_verdict() -> None:
    uptime = EvseUptime(1)
    first, second = make_causes(None, None)
    uptime.add_period(0, 10, 5, "offline", (first,))
    uptime.add_period(10, 20, 6, "offline", (first, second))
    uptime.add_period(20, 30, 7, "faulted", tuple(make_causes(UTILITY)))
    uptime.add_period(30, 40, 8, "available", ())
    uptime.close()
    [counted], [excluded] = list(uptime.counted_outages), list(uptime.excluded_outages)
    assert counted == Outage(20, 0, 20, 6, (first, second), "counted")
    assert (excluded.began_ms, excluded.ended_ms, uptime.outage_count) == (20, 30, 1)


def test_the_longest_outages_are_listed_and_the_others_counted() -> None:
    uptime, more = EvseUptime(1), 25
    for number in range(LISTED_OUTAGES_MAX + more):
        began = number * 1_000
        uptime.add_period(began, began + 1 + number, number, "offline", tuple(make_causes(None)))
    uptime.close()
    assert len(list(uptime.counted_outages)) == LISTED_OUTAGES_MAX
    assert (uptime.counted_outages.others_count, len(uptime.counted_outages)) == (
        more,
        LISTED_OUTAGES_MAX + more,
    )
    assert uptime.counted_outages.others_ms == sum(range(1, more + 1))
    listed = list(uptime.counted_outages)
    assert listed == sorted(listed, key=lambda outage: -outage.duration_ms)
    assert (
        uptime.total.outage_ms
        == sum(outage.duration_ms for outage in listed) + uptime.counted_outages.others_ms
    )


# --- Ranges --------------------------------------------------------------------------------------


@pytest.fixture
def eventful_station() -> Station:
    return given(
        ONLINE,
        minutes_pass(7),
        LINK_LOST,
        minutes_pass(11),
        mains_fault(),
        minutes_pass(13),
        mains_recovered(),
        LINK_OPENED,
        csms_answers(),
        in_transaction(1),
        minutes_pass(17),
        presented(ALICE, evse_id=1),
        csms_answers(),
        charging_stopped(1),
        cable_unplugged(1),
        minutes_pass(9),
        station_restarted(gap_s=300),
        LINK_OPENED,
        csms_answers(),
        minutes_pass(3),
    )


def test_consecutive_ranges_add_up_to_the_whole(tmp_path: Path, eventful_station: Station) -> None:
    whole = report_facts_of(eventful_station.entries, tmp_path)
    assert whole.uptimes[1].total.outage_ms > 0
    for minute in (3, 12, 20, 31, 45, 58, 61):
        middle = NOON + timedelta(minutes=minute)
        first = report_facts_of(eventful_station.entries, tmp_path, None, middle)
        second = report_facts_of(eventful_station.entries, tmp_path, middle)
        for evse_id in (1, 2):
            a, b, both = (item.uptimes[evse_id].total for item in (first, second, whole))
            assert (
                a.whole_ms + b.whole_ms,
                a.outage_ms + b.outage_ms,
                a.excluded_ms + b.excluded_ms,
            ) == (
                both.whole_ms,
                both.outage_ms,
                both.excluded_ms,
            ), minute


def test_states_add_up_to_the_whole_range(tmp_path: Path, eventful_station: Station) -> None:
    for entry in report_facts_of(eventful_station.entries, tmp_path).uptimes.values():
        assert sum(entry.ms_by_state.values()) == entry.total.whole_ms
        assert entry.total.excluded_ms + entry.total.claimable_ms <= entry.total.outage_ms


def test_time_after_the_last_entry_is_an_outage(tmp_path: Path, eventful_station: Station) -> None:
    last = eventful_station.entries[-1].at
    facts = report_facts_of(eventful_station.entries, tmp_path, None, last + timedelta(minutes=30))
    whole = report_facts_of(eventful_station.entries, tmp_path)
    assert facts.uncovered_ms == 30 * MINUTE
    assert facts.uptimes[1].total.outage_ms == whole.uptimes[1].total.outage_ms + 30 * MINUTE


def test_before_the_first_start_nothing_is_counted(
    tmp_path: Path, eventful_station: Station
) -> None:
    facts = report_facts_of(eventful_station.entries, tmp_path, NOON - timedelta(days=9))
    assert facts.starts_late
    assert (
        facts.uptimes[1].total
        == report_facts_of(eventful_station.entries, tmp_path).uptimes[1].total
    )
