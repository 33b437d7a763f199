"""Is uptime counted as the rule counts it, and is every minute that is not counted proven?"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from journal.observations import DeviceFaulted, DeviceRecovered, StationStopping
from journal.projections.availability import AvailabilityChanged
from journal.projections.firmware import FirmwareAdvanced, FirmwareOrdered
from journal.projections.lifecycle import RestartOrdered
from journal.terms import Event
from station.history.report.condition import (
    MAINTENANCE,
    UTILITY,
    UTILITY_IF_SHOWN,
    VEHICLE,
    Cause,
    Ground,
)
from station.history.report.uptime import LISTED_MAX, Outage, Uptime, judged, percent
from tests.history.reports import facts_of
from tests.story import (
    ALICE,
    LINK_LOST,
    LINK_OPENED,
    NOON,
    ONLINE,
    Station,
    Step,
    after,
    called,
    discharged,
    given,
    in_transaction,
    presented,
    restarted,
    serves,
    unplugged,
)

MINUTE = 60_000


def mains(fault: str = "lost") -> DeviceFaulted:
    return DeviceFaulted(0, "mains", fault, blocks=True, stopped_reason="PowerLoss")


def mains_back(fault: str = "lost") -> DeviceRecovered:
    return DeviceRecovered(0, "mains", fault)


def passes(minutes: float) -> Step:
    return after(seconds=minutes * 60)


def account(directory: Path, *steps: Step, evse_id: int = 1) -> Uptime:
    """The account of an EVSE that was online and free at NOON, when these steps began."""
    return facts_of(given(ONLINE, *steps).entries, directory, NOON).uptimes[evse_id]


def seq_of(directory: Path, kind: type[Event], *steps: Step) -> int:
    return next(one.seq for one in given(ONLINE, *steps).entries if isinstance(one.event, kind))


def rounded(ms: int) -> int:
    """Whole minutes; a connection that opens takes a moment of the story."""
    return round(ms / MINUTE)


# --- What is an outage ---------------------------------------------------------------------------


def test_an_idle_station_that_is_online_is_up(tmp_path: Path) -> None:
    one = account(tmp_path, passes(100))
    assert (one.total.whole, one.total.outage) == (100 * MINUTE, 0)
    assert one.total.uptime == Decimal("100.000")
    assert one.states["available"] == 100 * MINUTE


def test_a_lost_link_is_an_outage_and_never_excluded(tmp_path: Path) -> None:
    steps = (passes(50), LINK_LOST, passes(30), LINK_OPENED, serves(), passes(20))
    one = account(tmp_path, *steps)
    assert rounded(one.total.whole) == 100
    assert (rounded(one.total.outage), one.total.excluded, one.total.claimable) == (30, 0, 0)
    assert one.total.uptime == Decimal("70.000")
    [outage] = one.counted
    assert (outage.verdict, outage.causes[0].text) == ("counted", "no link to the CSMS")


def test_who_charges_while_the_link_is_down_is_in_use(tmp_path: Path) -> None:
    steps = (in_transaction(1), LINK_LOST, passes(30), LINK_OPENED, serves(), passes(1))
    station = given(ONLINE, *steps)
    facts = facts_of(station.entries, tmp_path, NOON)
    assert facts.uptimes[1].total.outage == 0
    assert rounded(facts.uptimes[2].total.outage) == 30, "nobody used the other one"


def test_a_fault_that_forbids_energy_is_an_outage_also_in_a_transaction(tmp_path: Path) -> None:
    fault = DeviceFaulted(1, "insulation", "low", blocks=True, stopped_reason="GroundFault")
    steps = (
        in_transaction(1), passes(10), fault, discharged(1), passes(15),
        DeviceRecovered(1, "insulation", "low"), unplugged(1), passes(5),
    )  # fmt: skip
    one = account(tmp_path, *steps)
    assert (rounded(one.total.outage), one.total.excluded) == (15, 0)
    assert one.states["faulted"] == 15 * MINUTE
    assert account(tmp_path, *steps, evse_id=2).total.outage == 0


def test_a_fault_that_forbids_nothing_is_no_outage(tmp_path: Path) -> None:
    fault = DeviceFaulted(1, "module", "fault", blocks=False)
    assert account(tmp_path, fault, passes(10)).total.outage == 0


def test_a_program_that_is_away_is_down_from_its_last_entry(tmp_path: Path) -> None:
    steps = (passes(10), restarted(gap_s=600), LINK_OPENED, serves(), passes(10))
    one = account(tmp_path, *steps)
    assert rounded(one.total.outage) == rounded(one.states["down"]) == 10
    [outage] = one.counted
    assert outage.verdict == "counted"
    assert outage.causes[0].text == "the program broke off"


def test_a_station_the_csms_does_not_accept_is_not_available(tmp_path: Path) -> None:
    def pending(action: str, payload: object) -> dict[str, object]:
        return {"currentTime": "2026-03-01T12:00:00Z", "interval": 600, "status": "Pending"}

    station = given(ONLINE, csms=pending)
    station.when(passes(9))
    one = facts_of(station.entries, tmp_path, NOON).uptimes[1]
    assert one.total.outage == one.total.whole
    assert list(one.counted)[-1].causes[-1].text == "the CSMS answers Pending"


# --- What is excluded ----------------------------------------------------------------------------


def test_lost_mains_are_excluded_with_the_entries_that_prove_it(tmp_path: Path) -> None:
    steps = (passes(20), mains(), passes(30), mains_back(), passes(50))
    one = account(tmp_path, *steps)
    assert (one.total.outage, one.total.excluded) == (30 * MINUTE, 30 * MINUTE)
    assert one.total.uptime == Decimal("100.000")
    [outage] = one.excluded
    assert [cause.seq for cause in outage.causes] == [seq_of(tmp_path, DeviceFaulted, *steps)]
    assert outage.ended_seq == seq_of(tmp_path, DeviceRecovered, *steps)
    assert outage.grounds == ("electric utility service interruption",)


def test_what_begins_while_the_mains_are_lost_is_their_doing(tmp_path: Path) -> None:
    """The link and the modules go with the mains; when the mains are back they count."""
    modules = DeviceFaulted(1, "module", "all_dead", blocks=True)
    steps = (
        mains(), passes(10), modules, LINK_LOST, passes(10), mains_back(), passes(5),
        LINK_OPENED, serves(), DeviceRecovered(1, "module", "all_dead"), passes(5),
    )  # fmt: skip
    one = account(tmp_path, *steps)
    assert (rounded(one.total.outage), rounded(one.total.excluded)) == (25, 20)


def test_what_was_broken_before_the_mains_went_is_not_excluded_for_them(tmp_path: Path) -> None:
    welded = DeviceFaulted(1, "contactor", "welded", blocks=True)
    steps = (welded, passes(10), mains(), passes(20), mains_back(), passes(10))
    one = account(tmp_path, *steps)
    assert (one.total.outage, one.total.excluded) == (40 * MINUTE, 0)
    assert account(tmp_path, *steps, evse_id=2).total.excluded == 20 * MINUTE


def test_a_host_that_goes_down_with_the_mains_is_excluded_until_they_are_back(
    tmp_path: Path,
) -> None:
    steps = (
        mains(), passes(5), restarted(boot_id="boot-2", gap_s=1800), mains(), passes(5),
        LINK_OPENED, serves(), mains_back(), passes(20),
    )  # fmt: skip
    one = account(tmp_path, *steps)
    assert rounded(one.total.outage) == rounded(one.total.excluded) == 40


def test_a_host_that_goes_down_for_no_known_reason_may_only_be_claimed(tmp_path: Path) -> None:
    steps = (passes(5), restarted(boot_id="boot-2", gap_s=1800), LINK_OPENED, serves(), passes(5))
    one = account(tmp_path, *steps)
    assert (one.total.excluded, rounded(one.total.claimable)) == (0, 30)
    assert one.total.uptime_if_shown == Decimal("100.000")
    assert one.total.uptime == Decimal("25.000")


def test_the_evs_own_emergency_stop_is_the_vehicles_fault(tmp_path: Path) -> None:
    stop = DeviceFaulted(1, "ev", "emergency_stop", blocks=True)
    steps = (stop, passes(5), DeviceRecovered(1, "ev", "emergency_stop"), passes(5))
    one = account(tmp_path, *steps)
    assert one.total.excluded == 5 * MINUTE
    [outage] = one.excluded
    assert outage.grounds == ("fault of the vehicle",)


def test_what_the_csms_took_out_of_service_may_be_claimed_as_maintenance(tmp_path: Path) -> None:
    steps = (
        called("ChangeAvailability", operationalStatus="Inoperative", evse={"id": 1}),
        serves(), passes(40),
        called("ChangeAvailability", operationalStatus="Operative", evse={"id": 1}),
        serves(), passes(10),
    )  # fmt: skip
    one = account(tmp_path, *steps)
    assert (one.total.outage, one.total.excluded) == (40 * MINUTE, 0)
    assert one.total.claimable == 40 * MINUTE
    [outage] = one.counted
    assert outage.causes[0].seq == seq_of(tmp_path, AvailabilityChanged, *steps)
    assert account(tmp_path, *steps, evse_id=2).total.outage == 0


def firmware(install_at: str | None) -> list[Event]:
    ordered = FirmwareOrdered(
        request_id=1, location="https://files/f", retrieve_at="2026-03-01T12:00:00Z",
        install_at=install_at, attempts=1, interval_s=1, signing_certificate="", signature="",
    )  # fmt: skip
    return [ordered, FirmwareAdvanced(1, "Installing")]


@pytest.mark.parametrize(
    ("install_at", "excluded"), [("2026-03-01T12:05:00Z", 15 * MINUTE), (None, 0)]
)
def test_firmware_ordered_for_a_time_to_come_is_scheduled_maintenance(
    tmp_path: Path, install_at: str | None, excluded: int
) -> None:
    """With the restart that belongs to it."""
    station = given(ONLINE)
    entries = list(station.entries)

    def add(event: Event, minutes: int) -> None:
        last = entries[-1]
        at = NOON + timedelta(minutes=minutes)
        uptime_ms = 60_000 + minutes * MINUTE
        entries.append(type(last)(last.seq + 1, at, uptime_ms, event))

    order, installs = firmware(install_at)
    add(order, 1)
    add(installs, 5)
    add(RestartOrdered("FirmwareUpdate"), 10)
    add(StationStopping("restart"), 10)
    add(entries[1].event, 12)
    add(FirmwareAdvanced(order.request_id, "Installed"), 20)  # type: ignore[attr-defined]
    add(LINK_OPENED, 20)
    one = facts_of(entries, tmp_path, NOON, NOON + timedelta(minutes=20)).uptimes[1]
    assert one.total.outage == 15 * MINUTE
    assert one.total.excluded == excluded
    assert one.total.claimable == 15 * MINUTE - excluded


# --- Judging causes ------------------------------------------------------------------------------


def causes(*grounds: Ground | None) -> list[Cause]:
    """One after the other."""
    return [Cause(seq, str(seq), ground) for seq, ground in enumerate(grounds, 1)]


@pytest.mark.parametrize(
    ("grounds", "verdict"),
    [
        ((UTILITY,), "excluded"),
        ((UTILITY, None, None), "excluded"),
        ((None, UTILITY), "counted"),
        ((VEHICLE, None), "counted"),
        ((VEHICLE, UTILITY), "excluded"),
        ((UTILITY_IF_SHOWN,), "claimable"),
        ((UTILITY_IF_SHOWN, UTILITY), "claimable"),
        ((MAINTENANCE, UTILITY_IF_SHOWN), "excluded"),
        ((None,), "counted"),
    ],
)
def test_all_causes_must_be_explained(grounds: tuple[Ground | None, ...], verdict: str) -> None:
    assert judged(causes(*grounds)) == verdict


# --- Counting ------------------------------------------------------------------------------------


def test_a_percentage_is_cut_and_never_rounded_up() -> None:
    assert percent(969_999, 1_000_000) == Decimal("96.999")
    assert percent(9_699_999, 10_000_000) == Decimal("96.999")
    assert percent(1, 0) is None


def test_a_year_is_counted_as_the_rule_has_it() -> None:
    """525,600 minutes, 20,000 of outage, 5,000 of them excluded."""
    one = Uptime(1)
    year = 525_600 * MINUTE
    one.add(0, 5_000 * MINUTE, 9, "faulted", tuple(causes(UTILITY)))
    one.add(5_000 * MINUTE, 20_000 * MINUTE, 10, "offline", tuple(causes(None)))
    one.add(20_000 * MINUTE, year, 11, "available", ())
    assert one.total.uptime == percent((525_600 - (20_000 - 5_000)), 525_600) == Decimal("97.146")


def test_months_are_cut_where_they_meet_and_add_up() -> None:
    one = Uptime(1)
    day = 1440 * MINUTE
    one.add(30 * day, 60 * day, 5, "offline", tuple(causes(None)))  # from 31 January 1970
    assert list(one.months) == ["1970-01", "1970-02", "1970-03"]
    assert [tally.outage for tally in one.months.values()] == [day, 28 * day, day]
    assert sum(tally.whole for tally in one.months.values()) == one.total.whole


def test_outages_that_meet_are_one_and_those_that_count_otherwise_are_not() -> None:
    one = Uptime(1)
    first, second = causes(None, None)
    one.add(0, 10, 5, "offline", (first,))
    one.add(10, 20, 6, "offline", (first, second))
    one.add(20, 30, 7, "faulted", tuple(causes(UTILITY)))
    one.add(30, 40, 8, "available", ())
    one.close()
    [counted], [excluded] = list(one.counted), list(one.excluded)
    assert counted == Outage(20, 0, 20, 6, (first, second), "counted")
    assert (excluded.began, excluded.ended, one.outages) == (20, 30, 1)


def test_the_longest_are_listed_and_the_others_counted() -> None:
    one, more = Uptime(1), 25
    for number in range(LISTED_MAX + more):
        began = number * 1_000
        one.add(began, began + 1 + number, number, "offline", tuple(causes(None)))
    one.close()
    assert len(list(one.counted)) == LISTED_MAX
    assert (one.counted.others, len(one.counted)) == (more, LISTED_MAX + more)
    assert one.counted.others_ms == sum(range(1, more + 1))
    listed = list(one.counted)
    assert listed == sorted(listed, key=lambda outage: outage.began)
    assert one.total.outage == sum(outage.ms for outage in listed) + one.counted.others_ms


# --- Ranges --------------------------------------------------------------------------------------


@pytest.fixture
def eventful() -> Station:
    return given(
        ONLINE, passes(7), LINK_LOST, passes(11), mains(), passes(13), mains_back(), LINK_OPENED,
        serves(), in_transaction(1), passes(17), presented(ALICE, evse_id=1),
        serves(), discharged(1), unplugged(1), passes(9), restarted(gap_s=300), LINK_OPENED,
        serves(), passes(3),
    )  # fmt: skip


def test_ranges_that_meet_add_up_to_the_whole(tmp_path: Path, eventful: Station) -> None:
    whole = facts_of(eventful.entries, tmp_path)
    assert whole.uptimes[1].total.outage > 0
    for minute in (3, 12, 20, 31, 45, 58, 61):
        middle = NOON + timedelta(minutes=minute)
        first = facts_of(eventful.entries, tmp_path, None, middle)
        second = facts_of(eventful.entries, tmp_path, middle)
        for evse_id in (1, 2):
            a, b, both = (one.uptimes[evse_id].total for one in (first, second, whole))
            assert (a.whole + b.whole, a.outage + b.outage, a.excluded + b.excluded) == (
                both.whole,
                both.outage,
                both.excluded,
            ), minute


def test_states_share_the_whole_range(tmp_path: Path, eventful: Station) -> None:
    for one in facts_of(eventful.entries, tmp_path).uptimes.values():
        assert sum(one.states.values()) == one.total.whole
        assert one.total.excluded + one.total.claimable <= one.total.outage


def test_behind_the_journals_end_nothing_shows_the_station_up(
    tmp_path: Path, eventful: Station
) -> None:
    last = eventful.entries[-1].at
    facts = facts_of(eventful.entries, tmp_path, None, last + timedelta(minutes=30))
    whole = facts_of(eventful.entries, tmp_path)
    assert facts.silent_ms == 30 * MINUTE
    assert facts.uptimes[1].total.outage == whole.uptimes[1].total.outage + 30 * MINUTE


def test_before_the_first_start_nothing_is_counted(tmp_path: Path, eventful: Station) -> None:
    facts = facts_of(eventful.entries, tmp_path, NOON - timedelta(days=9))
    assert facts.late_start
    assert facts.uptimes[1].total == facts_of(eventful.entries, tmp_path).uptimes[1].total
