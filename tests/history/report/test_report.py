"""Report: exact figures, safe HTML, the same bytes for the same range."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from journal.events import Entry
from journal.observations import (
    BusTraceWritten,
    DeviceFaulted,
    DeviceRecovered,
    FrameReceived,
    MeterRead,
)
from station.history.report import timeline, timeline_svg
from station.history.report.clock_corrections import datetime_to_ms
from station.history.report.collect import RangeEmptyError
from station.history.report.evse_condition import FAULT_GROUNDS, EvseState
from station.history.report.formatting import (
    escape_text,
    format_duration,
    format_minutes,
    format_moment,
)
from station.history.report.messages import BUCKET_BOUNDS_MS, MessageStatistics, ResponseTimes
from station.history.report.page import SECTION_TITLES, render_page
from station.history.report.timeline import DAY_MS, ROW_CELLS, ROWS_MAX, EvseTimeline, create_grid
from station.runtime.hardware.fault_registry import FAULT_RULES
from tests.history.report.fixtures_report import PageChecker, report_facts_of
from tests.support.products import write_profile
from tests.support.renewal import SERIAL_NUMBER, station_with_profile_3
from tests.support.story import (
    ALICE,
    BOB,
    BOOTED,
    LINK_LOST,
    LINK_OPENED,
    NOON,
    ONLINE,
    Station,
    Step,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    charging_started,
    charging_stopped,
    device_faulted,
    error_received,
    given,
    id_token_named,
    in_transaction,
    meter_read,
    presented,
    station_restarted,
    time_passed,
    variable_preset,
)

HOSTILE = (
    "</title></style><script>alert('1')</script><img src=x onerror=\"a()\">&lt;\u202e\x1b[31m\x00"
)
START = datetime_to_ms(NOON)


def add_session(station: Station, start: str, stop: str, evse_id: int = 1) -> None:
    """A transaction of ten minutes, confirmed."""
    station.with_csms(
        accept_everything,
        meter_read(evse_id, start),
        cable_plugged(evse_id),
        presented(ALICE if evse_id == 1 else BOB, evse_id=evse_id),
        charging_started(evse_id),
        *[time_passed(seconds=60)] * 5,
        MeterRead(evse_id, Decimal(start), power_w=Decimal("96400.5"), soc_percent=40),
        *[time_passed(seconds=60)] * 5,
        MeterRead(evse_id, Decimal(stop), power_w=Decimal("31000"), soc_percent=62),
        presented(ALICE if evse_id == 1 else BOB, evse_id=evse_id),
        charging_stopped(evse_id),
        cable_unplugged(evse_id),
    )


@pytest.fixture
def busy_station() -> Station:
    """Sessions, one of them unconfirmed, a fault, a restart and a lost link."""
    station = given(ONLINE)
    add_session(station, "1000", "2935.600")
    add_session(station, "2000", "2000.003", evse_id=2)
    station.when(DeviceFaulted(1, "cable", "hot", blocks_charging=False), time_passed(seconds=90))
    station.when(DeviceRecovered(1, "cable", "hot"))
    station.with_csms(
        accept_everything, station_restarted(gap_s=20), LINK_OPENED, time_passed(seconds=600)
    )
    station.when(LINK_LOST)
    add_session(station, "2935.600", "12000.1")
    return station


def check_page(station: Station, directory: Path) -> PageChecker:
    return PageChecker(render_page(report_facts_of(station.entries, directory)))


# --- Sessions ------------------------------------------------------------------------------------


def test_energies_are_the_exact_differences_of_registers(
    busy_station: Station, tmp_path: Path
) -> None:
    facts = report_facts_of(busy_station.entries, tmp_path)
    assert [str(session.energy_wh) for session in facts.sessions] == [
        "1935.600",
        "0.003",
        "9064.500",
    ]
    assert str(facts.sessions.energy_wh) == "11000.103"
    shown = check_page(busy_station, tmp_path).text
    assert "11,000.103" in shown
    assert "11.000103" in shown, "kWh"
    assert "1,935.600" in shown


def test_a_session_has_energy_soc_and_highest_power(busy_station: Station, tmp_path: Path) -> None:
    first = next(iter(report_facts_of(busy_station.entries, tmp_path).sessions))
    assert (first.soc_first, first.soc_last) == (40, 62)
    assert first.power_max_w == Decimal("96400.5")
    assert (first.record.evse_id, first.record.stopped_reason) == (1, "Local")
    assert first.record.waiting_calls == set()


def test_an_open_session_has_its_energy_so_far(tmp_path: Path) -> None:
    station = given(
        ONLINE,
        meter_read(1, "1000"),
        cable_plugged(1),
        presented(ALICE, evse_id=1),
        charging_started(1),
        meter_read(1, "1500.25"),
        time_passed(seconds=60),
    )
    facts = report_facts_of(station.entries, tmp_path)
    [session] = facts.sessions
    assert (session.has_ended, str(session.energy_wh)) == (False, "500.25")
    assert (facts.sessions.ended_count, facts.sessions.energy_wh) == (0, Decimal(0))
    text = check_page(station, tmp_path).text
    assert "0 Wh billed by the registers; open sessions: 500.25 Wh so far" in text


def test_a_station_with_four_evses_that_all_charge(tmp_path: Path) -> None:
    """Each has a timeline, an uptime and a row; the sum has the one session that ended."""
    profile = write_profile(tmp_path, 4, power_max_w=600_000)
    cards = {evse_id: id_token_named(f"driver {evse_id}") for evse_id in (1, 2, 3, 4)}
    booted = msgspec.structs.replace(BOOTED, evses=tuple((evse_id, (1,)) for evse_id in cards))
    steps: list[Step] = [booted, LINK_OPENED]
    for evse_id, card in cards.items():
        steps += [cable_unplugged(evse_id), meter_read(evse_id, "1000")]
        steps += [in_transaction(evse_id, card), meter_read(evse_id, f"{1000 + 100 * evse_id}")]
    steps += [presented(cards[3], evse_id=3), charging_stopped(3), time_passed(seconds=60)]
    station = given(*steps, profile_name=str(profile))
    facts = report_facts_of(station.entries, tmp_path)
    assert {session.record.evse_id for session in facts.sessions} == set(cards)
    assert (facts.sessions.ended_count, facts.sessions.energy_wh) == (1, Decimal(300))
    text = check_page(station, tmp_path).text
    assert "300 Wh billed by the registers; open sessions: 700 Wh so far" in text
    for evse_id in cards:
        assert f"Uptime EVSE {evse_id}" in text
        assert f"EVSE {evse_id}, min" in text


@pytest.mark.parametrize(("power_w", "shown"), [("0", "–"), ("96400", "96.4")])
def test_without_a_reading_of_power_during_energy_flow_no_power_is_shown(
    tmp_path: Path, power_w: str, shown: str
) -> None:
    station = given(
        ONLINE,
        meter_read(1, "1000"),
        cable_plugged(1),
        presented(ALICE, evse_id=1),
        charging_started(1),
        meter_read(1, "1000", power_w=power_w),
        time_passed(seconds=9),
        meter_read(1, "1176", power_w="0"),
        presented(ALICE, evse_id=1),
        charging_stopped(1),
        cable_unplugged(1),
    )
    row = (
        check_page(station, tmp_path)
        .text.partition("Highest power, kW")[2]
        .partition("StopAuthorized")[0]
    )
    assert f"176{shown}–" in row


def test_a_session_belongs_to_the_range_it_ended_in(busy_station: Station, tmp_path: Path) -> None:
    ends = [
        entry.record.ended_at for entry in report_facts_of(busy_station.entries, tmp_path).sessions
    ]
    assert ends[0]
    before = report_facts_of(busy_station.entries, tmp_path, None, ends[0])
    behind = report_facts_of(busy_station.entries, tmp_path, ends[0])
    assert (before.sessions.ended_count, behind.sessions.ended_count) == (0, 3)
    later = report_facts_of(busy_station.entries, tmp_path, ends[0] + timedelta(milliseconds=1))
    assert later.sessions.ended_count == 2
    assert str(later.sessions.energy_wh) == "9064.503"
    [still_open] = before.sessions
    assert not still_open.has_ended


# --- Messages ------------------------------------------------------------------------------------


def test_waiting_and_parked_calls_are_listed(tmp_path: Path) -> None:
    attempts = variable_preset("OCPPCommCtrlr.MessageAttempts[TransactionEvent]", "1")
    station = given(attempts, ONLINE, in_transaction(1))
    station.when(presented(ALICE, evse_id=1), charging_stopped(1), cable_unplugged(1))
    while not station.state.outbox.parked:
        station.when(error_received("InternalError", HOSTILE))
    facts = report_facts_of(station.entries, tmp_path)
    parked = [call for call in facts.unconfirmed_calls if call.reason]
    waiting = [call for call in facts.unconfirmed_calls if not call.reason]
    outbox = station.state.outbox
    assert [item.call for item in parked] == [item.call_seq for item in outbox.parked] != []
    assert parked[0].attempts == 1
    assert sorted(item.call for item in waiting) == sorted((*outbox.transaction, *outbox.general))
    assert facts.message_statistics.times_parked == 1


def test_response_times_run_from_the_frame_to_the_answer(tmp_path: Path) -> None:
    station = given(ONLINE)
    station.when(cable_plugged(1), presented(ALICE, evse_id=1))
    station.advance_clock(250)
    station.answer_calls(accept_everything)
    facts = report_facts_of(station.entries, tmp_path)
    answered = {
        name: (item.count, item.least_ms, item.most_ms)
        for name, item in facts.message_statistics.csms_times.items()
    }
    assert answered["BootNotification"] == (1, 0, 0)
    assert max(most for _, _, most in answered.values()) == 250


def test_a_percentile_is_at_most_10_percent_too_high() -> None:
    answers = ResponseTimes()
    for ms in range(1, 1001):
        answers.add(ms)
    assert 950 <= answers.percentile_ms(95) <= 1045
    assert answers.percentile_ms(100) == 1000
    assert (answers.count, answers.least_ms, answers.total_ms) == (1000, 1, 500_500)
    assert all(later * 10 <= max(earlier * 11, earlier * 10 + 10)
               for earlier, later in pairwise(BUCKET_BOUNDS_MS))  # fmt: skip


def test_unanswered_frames_use_bounded_memory() -> None:
    known = MessageStatistics()
    for seq in range(1, 2_000):
        frame = msgspec.Raw(f'[2,"m{seq}","Reset",{{}}]'.encode())
        known.apply(Entry(seq, NOON, seq, FrameReceived(frame)), in_range=True)
    assert len(known._received_uptime_ms) <= 256


# --- Faults --------------------------------------------------------------------------------------


def test_faults_are_counted_with_the_mean_time_between_them(tmp_path: Path) -> None:
    station = given(ONLINE)
    for _ in range(4):
        station.when(
            time_passed(seconds=540), DeviceFaulted(1, "meter", "silent", blocks_charging=True)
        )
        station.when(time_passed(seconds=60), DeviceRecovered(1, "meter", "silent"))
    facts = report_facts_of(station.entries, tmp_path, NOON)
    [kind] = facts.fault_statistics
    assert (kind.count, kind.total_ms, kind.longest_ms) == (4, 240_000, 60_000)
    assert kind.mean_between_ms(facts.duration_ms) == 540_000
    assert [item.began_ms - START for item in kind.recent] == [1140_000, 1740_000, 2340_000]


def test_bus_traces_are_listed_with_their_faults(tmp_path: Path) -> None:
    station = given(
        ONLINE,
        device_faulted(1),
        BusTraceWritten((40, 41), "20260301T120005Z_40", ("about.txt",)),
        BusTraceWritten((50,), reason="<little> space"),
    )
    page = PageChecker(render_page(report_facts_of(station.entries, tmp_path)))
    assert page.complaints == []
    for text in ("20260301T120005Z_40", "40, 41", "not written: <little> space"):
        assert text in page.text


def test_a_fault_that_continues_after_a_restart_is_one_occurrence(tmp_path: Path) -> None:
    welded = DeviceFaulted(1, "contactor", "welded", blocks_charging=True)
    station = given(ONLINE, welded, time_passed(seconds=60), station_restarted(gap_s=30), welded)
    station.when(time_passed(seconds=60))
    [kind] = report_facts_of(station.entries, tmp_path, NOON).fault_statistics
    assert (kind.count, kind.total_ms, kind.is_active) == (1, 150_000, True)


def test_a_fault_long_after_a_restart_is_another_occurrence(tmp_path: Path) -> None:
    welded = DeviceFaulted(1, "contactor", "welded", blocks_charging=True)
    station = given(
        ONLINE,
        welded,
        time_passed(seconds=60),
        station_restarted(gap_s=30),
        time_passed(seconds=90),
    )
    station.when(welded, time_passed(seconds=10))
    [kind] = report_facts_of(station.entries, tmp_path, NOON).fault_statistics
    assert (kind.count, kind.total_ms) == (2, 100_000)


def test_grounds_name_faults_that_devices_report() -> None:
    """A renamed device must not silently lose its ground."""
    for device, fault in FAULT_GROUNDS:
        assert f"{device}/{fault}" in FAULT_RULES


README = Path(__file__).parents[3] / "station" / "history" / "README.md"


def test_the_readme_lists_every_fault_with_a_ground() -> None:
    text = README.read_text(encoding="utf-8")
    [table] = re.findall(r"^\| Outage because of \|.*?\n\n", text, re.MULTILINE | re.DOTALL)
    for device, fault in FAULT_GROUNDS:
        assert f"`{device}`" in table
        assert f"`{fault}`" in table


# --- The page ------------------------------------------------------------------------------------


def test_the_page_is_well_formed_and_has_no_external_resources(
    busy_station: Station, tmp_path: Path
) -> None:
    made = render_page(report_facts_of(busy_station.entries, tmp_path))
    browser = PageChecker(made)
    assert browser.complaints == []
    assert not [item for item in ("http:", "https:", "@import", "javascript:") if item in made]
    assert made.count("url(") == made.count("url(#"), "patterns of its own"
    for name, title in SECTION_TITLES:
        assert f'id="{name}"' in made
        assert title in browser.text
    assert browser.tags["svg"] > 10


def test_the_page_checker_finds_faulty_html() -> None:
    bad = '<p><b>x</p><script>1</script><a href="https://x" onclick="y">z</a><div>'
    assert len(PageChecker(bad).complaints) >= 5


def test_the_same_journal_and_range_give_the_same_bytes(
    busy_station: Station, tmp_path: Path
) -> None:
    until = NOON + timedelta(minutes=20)
    first = render_page(report_facts_of(busy_station.entries, tmp_path, None, until))
    assert first == render_page(report_facts_of(busy_station.entries, tmp_path, None, until))
    busy_station.when(time_passed(seconds=3600))
    (tmp_path / "grown").mkdir()
    grown = render_page(report_facts_of(busy_station.entries, tmp_path / "grown", None, until))
    assert grown == first, "entries after the range are not used"


def test_no_personal_value_and_no_payload_is_on_the_page(
    busy_station: Station, tmp_path: Path
) -> None:
    made = render_page(report_facts_of(busy_station.entries, tmp_path))
    assert ALICE.ref in made, "the reference is shown"
    assert "customData" not in made


def hostile_entries(station: Station) -> Iterator[Entry]:
    """The entries with every text of other systems replaced by hostile text."""
    for entry in station.entries:
        event = entry.event
        changes = {
            name: HOSTILE
            for name in ("device", "fault", "reason", "release", "profile", "identity", "source",
                         "stopped_reason", "trigger_reason", "action", "why", "ref", "status")
            if isinstance(getattr(event, name, None), str)
        }  # fmt: skip
        yield Entry(
            entry.seq,
            entry.at,
            entry.uptime_ms,
            msgspec.structs.replace(event, **changes),
            entry.cause,
        )


def test_hostile_text_stays_text(tmp_path: Path, busy_station: Station) -> None:
    busy_station.when(
        DeviceFaulted(0, "mains", "lost", blocks_charging=True), time_passed(seconds=60)
    )
    made = render_page(report_facts_of(hostile_entries(busy_station), tmp_path))
    browser = PageChecker(made)
    assert browser.complaints == []
    assert "script" not in browser.tags
    assert "<script>alert('1')</script>" in browser.text, "shown as text"
    assert not {"\u202e", "\x1b", "\x00"} & set(made)


def test_text_is_escaped() -> None:
    assert escape_text("<a href='x'>&\"") == "&lt;a href=&#x27;x&#x27;&gt;&amp;&quot;"


# --- Damage --------------------------------------------------------------------------------------


def test_the_page_lists_missing_entries(busy_station: Station, tmp_path: Path) -> None:
    report_facts_of(busy_station.entries, tmp_path)
    file = tmp_path / "journal.db"
    with sqlite3.connect(file) as connection:
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("DELETE FROM entry WHERE seq IN (60, 61)")
        connection.execute("UPDATE entry SET body = '{' WHERE seq = 70")
    facts = report_facts_of([], tmp_path)
    assert [problem.partition(":")[0] for problem in facts.problems] == ["entry 60", "entry 70"]
    assert "The journal is damaged" in PageChecker(render_page(facts)).text


@pytest.mark.parametrize(("days", "is_listed"), [(30, True), (120, False)])
def test_a_certificate_that_expires_within_90_days_is_listed(
    tmp_path: Path, *, days: int, is_listed: bool
) -> None:
    station = station_with_profile_3(valid_from=NOON - timedelta(days=1), days=days)
    text = check_page(station, tmp_path).text
    assert ("Certificates expire within 90 days." in text) is is_listed
    assert (f"CN={SERIAL_NUMBER}" in text) is is_listed


def test_a_range_outside_the_journal_gives_no_report(busy_station: Station, tmp_path: Path) -> None:
    with pytest.raises(RangeEmptyError):
        report_facts_of(busy_station.entries, tmp_path, NOON + timedelta(days=1))
    with pytest.raises(RangeEmptyError):
        report_facts_of(busy_station.entries, tmp_path, None, NOON - timedelta(days=1))


def test_a_forged_reading_does_not_stop_the_report(busy_station: Station, tmp_path: Path) -> None:
    """Impossible numbers are reported as problems or not drawn."""
    huge = MeterRead(1, Decimal("1E+900"), power_w=Decimal("1E+900"), soc_percent=10**9)
    busy_station.when(
        cable_plugged(1), presented(ALICE, evse_id=1), charging_started(1), time_passed(seconds=60)
    )
    last = busy_station.entries[-1]
    entries = [*busy_station.entries, Entry(last.seq + 1, last.at, last.uptime_ms, huge)]
    facts = report_facts_of(entries, tmp_path)
    assert facts.timelines[1].power_max_w <= 10_000_000
    assert PageChecker(render_page(facts)).complaints == []


def test_an_evse_removed_by_a_new_profile_is_no_longer_counted(tmp_path: Path) -> None:
    station = given(ONLINE, time_passed(seconds=600))
    last = station.entries[-1]
    fewer = msgspec.structs.replace(BOOTED, evses=((1, (1,)),))
    start = Entry(last.seq + 1, last.at, last.uptime_ms, fewer)
    later = Entry(
        last.seq + 2, last.at + timedelta(minutes=5), last.uptime_ms + 300_000, LINK_OPENED
    )
    facts = report_facts_of([*station.entries, start, later], tmp_path, NOON)
    assert [uptime.total.whole_ms for uptime in facts.uptimes.values()] == [900_000, 600_000]


# --- Drawing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [0.00001, 0.5, 1.2, 3, 7, 13, 30, 90, 364, 800, 3_650, 36_500])
def test_every_range_has_a_drawing_of_bounded_size(days: float) -> None:
    span = max(1, round(days * DAY_MS))
    grid = create_grid(START, START + span)
    assert 1 <= grid.rows <= ROWS_MAX
    assert grid.row_start_ms(0) <= START
    assert grid.row_start_ms(grid.rows) >= START + span
    drawn = EvseTimeline(grid)
    drawn.add_state(START, START + span, "available")
    assert timeline_svg.render_timeline(drawn, 1, 1_000).count("<svg") == grid.rows + 1
    cells = sum(
        run.end_cell - run.first_cell for row in range(grid.rows) for run in drawn.state_runs(row)
    )
    assert cells * grid.row_ms >= span * ROW_CELLS


def test_a_fault_of_a_millisecond_is_visible_in_a_timeline_of_years() -> None:
    year = 365 * DAY_MS
    drawn = EvseTimeline(create_grid(START, START + 10 * year))
    drawn.add_state(START, START + 10 * year, "charging")
    drawn.add_state(START + 5 * year, START + 5 * year + 1, "faulted")
    drawn.add_state(START + 5 * year + 1, START + 10 * year, "charging")
    runs = [run for row in range(drawn.grid.rows) for run in drawn.state_runs(row)]
    assert [run.end_cell - run.first_cell for run in runs if run.value == "faulted"] == [1]


def test_curves_show_the_highest_power_and_end_when_readings_stop() -> None:
    drawn = EvseTimeline(create_grid(START, START + 1_000_000))  # a cell is a second
    drawn.add_power(START, START + 20_000, 50_000)
    drawn.add_power(START + 10_000, START + 30_000, 90_000)
    drawn.add_power(START + 500_000 - 1, START + 500_000, 70_000)
    assert drawn.power_runs(0) == [(0, 10, 50_000), (10, 30, 90_000), (499, 500, 70_000)]
    assert drawn.power_max_w == 90_000
    long = EvseTimeline(create_grid(START, START + 2_000_000))
    long.add_power(START, START + 2_000_000, 10)
    assert long.power_runs(0) == [(0, timeline.READING_HOLD_MAX_MS // 2_000, 10)]


def test_marks_too_close_to_each_other_are_merged_and_counted() -> None:
    drawn = EvseTimeline(create_grid(START, START + DAY_MS))
    for second in range(60):
        drawn.add_mark("fault", START + second * 1_000, f"number {second}")
    [mark] = drawn.row_marks(0)
    assert (mark.occurrences, mark.text) == (60, "number 0")


def test_outage_states_are_more_severe_than_others() -> None:
    worst: list[EvseState] = list(timeline.STATES_BY_SEVERITY)
    assert set(worst[-4:]) == {"offline", "out_of_service", "not_running", "faulted"}


def test_scales_are_round_numbers_above_the_power() -> None:
    assert [
        timeline_svg.choose_power_scale_w(item)
        for item in (0, 999, 1_001, 96_400, 157_600, 300_000)
    ] == [
        1_000,
        1_000,
        2_000,
        100_000,
        200_000,
        300_000,
    ]


# --- Words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 s"), (250, "250 ms"), (1_500, "1.5 s"), (59_000, "59 s"), (60_000, "1 min"),
        (7_199_999, "2 h"), (5_400_000, "1 h 30 min"), (90_000_000, "1 d 1 h"),
    ],
)  # fmt: skip
def test_durations_have_at_most_two_units(ms: int, text: str) -> None:
    assert format_duration(ms) == text


def test_moments_are_utc_to_the_second() -> None:
    assert format_moment(START + 499) == "2026-03-01 12:00:00"
    assert format_moment(START + 999) == "2026-03-01 12:00:00"
    assert format_moment(START - 1) == "2026-03-01 11:59:59"
    assert format_moment(START - 1, exact=True) == "2026-03-01 11:59:59.999"
    assert format_minutes(90_000) == "1.50"
    assert format_minutes(600_000_000) == "10,000.00"
