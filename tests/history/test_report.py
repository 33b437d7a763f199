"""Does a page tell what the journal holds, exactly, safely, and the same every time?"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from journal.observations import DeviceFaulted, DeviceRecovered, FrameReceived, MeterRead
from journal.terms import Entry
from station.history.report import drawing, lanes
from station.history.report.condition import FAULT_GROUNDS, State
from station.history.report.gathering import NothingThereError
from station.history.report.lanes import COLUMNS, DAY_MS, ROWS_MAX, Lanes, grid_of
from station.history.report.page import PARTS, page
from station.history.report.talks import BOUNDS, Answers, Talks
from station.history.report.times import ms_of
from station.history.report.words import duration, minutes, moment, text
from tests.history.reports import Browser, facts_of
from tests.story import (
    ALICE,
    BOB,
    BOOTED,
    LINK_LOST,
    LINK_OPENED,
    NOON,
    ONLINE,
    Station,
    accepting,
    after,
    charging,
    discharged,
    errs,
    given,
    in_transaction,
    plugged,
    presented,
    preset,
    read,
    restarted,
    unplugged,
)

HOSTILE = (
    "</title></style><script>alert('1')</script><img src=x onerror=\"a()\">&lt;\u202e\x1b[31m\x00"
)
START = ms_of(NOON)


def session(station: Station, start: str, stop: str, evse_id: int = 1) -> None:
    """A transaction of ten minutes, confirmed."""
    station.with_csms(
        accepting,
        read(evse_id, start),
        plugged(evse_id),
        presented(ALICE if evse_id == 1 else BOB, evse_id=evse_id),
        charging(evse_id),
        *[after(seconds=60)] * 5,
        MeterRead(evse_id, Decimal(start), power_w=Decimal("96400.5"), soc_percent=40),
        *[after(seconds=60)] * 5,
        MeterRead(evse_id, Decimal(stop), power_w=Decimal("31000"), soc_percent=62),
        presented(ALICE if evse_id == 1 else BOB, evse_id=evse_id),
        discharged(evse_id),
        unplugged(evse_id),
    )


@pytest.fixture
def busy() -> Station:
    """Sessions, one of them unconfirmed, a fault, a restart and a lost link."""
    station = given(ONLINE)
    session(station, "1000", "2935.600")
    session(station, "2000", "2000.003", evse_id=2)
    station.when(DeviceFaulted(1, "cable", "hot", blocks=False), after(seconds=90))
    station.when(DeviceRecovered(1, "cable", "hot"))
    station.with_csms(accepting, restarted(gap_s=20), LINK_OPENED, after(seconds=600))
    station.when(LINK_LOST)
    session(station, "2935.600", "12000.1")
    return station


def browsed(station: Station, directory: Path) -> Browser:
    return Browser(page(facts_of(station.entries, directory)))


# --- Sessions ------------------------------------------------------------------------------------


def test_energies_are_the_exact_differences_of_registers(busy: Station, tmp_path: Path) -> None:
    facts = facts_of(busy.entries, tmp_path)
    assert [str(one.energy_wh) for one in facts.visits] == ["1935.600", "0.003", "9064.500"]
    assert str(facts.visits.energy_wh) == "11000.103"
    shown = browsed(busy, tmp_path).text
    assert "11,000.103" in shown
    assert "11.000103" in shown, "kWh"
    assert "1,935.600" in shown


def test_a_session_is_told_with_what_the_car_took(busy: Station, tmp_path: Path) -> None:
    first = next(iter(facts_of(busy.entries, tmp_path).visits))
    assert (first.soc_first, first.soc_last) == (40, 62)
    assert first.power_max_w == Decimal("96400.5")
    assert (first.session.evse_id, first.session.stopped_reason) == (1, "Local")
    assert first.session.waiting == set()


def test_a_session_that_is_open_is_told_with_its_energy_so_far(tmp_path: Path) -> None:
    station = given(
        ONLINE, read(1, "1000"), plugged(1), presented(ALICE, evse_id=1), charging(1),
        read(1, "1500.25"), after(seconds=60),
    )  # fmt: skip
    facts = facts_of(station.entries, tmp_path)
    [one] = facts.visits
    assert (one.over, str(one.energy_wh)) == (False, "500.25")
    assert (facts.visits.ended, facts.visits.energy_wh) == (0, Decimal(0))
    assert "open" in browsed(station, tmp_path).text


@pytest.mark.parametrize(("power_w", "told"), [("0", "–"), ("96400", "96.4")])
def test_no_power_is_told_where_none_was_read_while_energy_flowed(
    tmp_path: Path, power_w: str, told: str
) -> None:
    station = given(
        ONLINE, read(1, "1000"), plugged(1), presented(ALICE, evse_id=1), charging(1),
        read(1, "1000", power_w=power_w), after(seconds=9), read(1, "1176", power_w="0"),
        presented(ALICE, evse_id=1), discharged(1), unplugged(1),
    )  # fmt: skip
    row = browsed(station, tmp_path).text.partition("Most, kW")[2].partition("StopAuthorized")[0]
    assert f"176{told}–" in row


def test_a_session_belongs_to_the_range_it_ended_in(busy: Station, tmp_path: Path) -> None:
    ends = [one.session.ended_at for one in facts_of(busy.entries, tmp_path).visits]
    assert ends[0]
    before = facts_of(busy.entries, tmp_path, None, ends[0])
    behind = facts_of(busy.entries, tmp_path, ends[0])
    assert (before.visits.ended, behind.visits.ended) == (0, 3)
    later = facts_of(busy.entries, tmp_path, ends[0] + timedelta(milliseconds=1))
    assert later.visits.ended == 2
    assert str(later.visits.energy_wh) == "9064.503"
    [still_open] = before.visits
    assert not still_open.over


# --- Messages ------------------------------------------------------------------------------------


def test_what_waits_and_what_is_parked_is_told_call_by_call(tmp_path: Path) -> None:
    attempts = preset("OCPPCommCtrlr.MessageAttempts[TransactionEvent]", "1")
    station = given(attempts, ONLINE, in_transaction(1))
    station.when(presented(ALICE, evse_id=1), discharged(1), unplugged(1))
    while not station.state.outbox.parked:
        station.when(errs("InternalError", HOSTILE))
    facts = facts_of(station.entries, tmp_path)
    parked = [one for one in facts.unconfirmed if one.reason]
    waiting = [one for one in facts.unconfirmed if not one.reason]
    outbox = station.state.outbox
    assert [one.call for one in parked] == [one.call for one in outbox.parked] != []
    assert parked[0].attempts == 1
    assert sorted(one.call for one in waiting) == sorted((*outbox.transaction, *outbox.rest))
    assert facts.talks.parked == 1


def test_response_times_run_from_the_frame_to_the_answer(tmp_path: Path) -> None:
    station = given(ONLINE)
    station.when(plugged(1), presented(ALICE, evse_id=1))
    station.passes(250)
    station.served(accepting)
    facts = facts_of(station.entries, tmp_path)
    answered = {name: (one.count, one.least, one.most) for name, one in facts.talks.csms.items()}
    assert answered["BootNotification"] == (1, 0, 0)
    assert max(most for _, _, most in answered.values()) == 250


def test_a_quantile_is_a_tenth_too_much_at_most() -> None:
    answers = Answers()
    for ms in range(1, 1001):
        answers.add(ms)
    assert 950 <= answers.within(95) <= 1045
    assert answers.within(100) == 1000
    assert (answers.count, answers.least, answers.total) == (1000, 1, 500_500)
    assert all(later * 10 <= max(earlier * 11, earlier * 10 + 10)
               for earlier, later in pairwise(BOUNDS))  # fmt: skip


def test_frames_that_are_never_answered_do_not_pile_up() -> None:
    known = Talks()
    for seq in range(1, 2_000):
        frame = msgspec.Raw(f'[2,"m{seq}","Reset",{{}}]'.encode())
        known.hears(Entry(seq, NOON, seq, FrameReceived(frame)), counts=True)
    assert len(known._heard) <= 256


# --- Faults --------------------------------------------------------------------------------------


def test_faults_are_counted_with_the_mean_time_between_them(tmp_path: Path) -> None:
    station = given(ONLINE)
    for _ in range(4):
        station.when(after(seconds=540), DeviceFaulted(1, "meter", "silent", blocks=True))
        station.when(after(seconds=60), DeviceRecovered(1, "meter", "silent"))
    facts = facts_of(station.entries, tmp_path, NOON)
    [kind] = facts.troubles
    assert (kind.count, kind.total_ms, kind.longest_ms) == (4, 240_000, 60_000)
    assert kind.between_ms(facts.whole_ms) == 540_000
    assert [one.began - START for one in kind.recent] == [1140_000, 1740_000, 2340_000]


def test_a_fault_that_outlasts_a_restart_is_one_fault(tmp_path: Path) -> None:
    welded = DeviceFaulted(1, "contactor", "welded", blocks=True)
    station = given(ONLINE, welded, after(seconds=60), restarted(gap_s=30), welded)
    station.when(after(seconds=60))
    [kind] = facts_of(station.entries, tmp_path, NOON).troubles
    assert (kind.count, kind.total_ms, kind.lasts) == (1, 150_000, True)


def test_what_breaks_long_after_a_restart_is_another_fault(tmp_path: Path) -> None:
    welded = DeviceFaulted(1, "contactor", "welded", blocks=True)
    station = given(ONLINE, welded, after(seconds=60), restarted(gap_s=30), after(seconds=90))
    station.when(welded, after(seconds=10))
    [kind] = facts_of(station.entries, tmp_path, NOON).troubles
    assert (kind.count, kind.total_ms) == (2, 100_000)


def test_grounds_name_faults_that_devices_report() -> None:
    """A device that is renamed must not silently lose its ground."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for device, fault in FAULT_GROUNDS:
        assert f"| `{device}` `{fault}` |" in readme, (device, fault)


# --- The page ------------------------------------------------------------------------------------


def test_the_page_is_well_formed_and_needs_nothing_but_itself(
    busy: Station, tmp_path: Path
) -> None:
    made = page(facts_of(busy.entries, tmp_path))
    browser = Browser(made)
    assert browser.complaints == []
    assert not [one for one in ("http:", "https:", "@import", "javascript:") if one in made]
    assert made.count("url(") == made.count("url(#"), "patterns of its own"
    for name, title in PARTS:
        assert f'id="{name}"' in made
        assert title in browser.text
    assert browser.tags["svg"] > 10


def test_a_browser_that_complains_of_nothing_would_be_no_use() -> None:
    bad = '<p><b>x</p><script>1</script><a href="https://x" onclick="y">z</a><div>'
    assert len(Browser(bad).complaints) >= 5


def test_the_same_journal_and_range_give_the_same_bytes(busy: Station, tmp_path: Path) -> None:
    until = NOON + timedelta(minutes=20)
    first = page(facts_of(busy.entries, tmp_path, None, until))
    assert first == page(facts_of(busy.entries, tmp_path, None, until))
    busy.when(after(seconds=3600))
    (tmp_path / "grown").mkdir()
    grown = page(facts_of(busy.entries, tmp_path / "grown", None, until))
    assert grown == first, "what the journal learned later does not count"


def test_no_personal_value_and_no_payload_is_on_the_page(busy: Station, tmp_path: Path) -> None:
    made = page(facts_of(busy.entries, tmp_path))
    assert ALICE.ref in made, "the reference is"
    assert "customData" not in made


def hostile(station: Station) -> Iterator[Entry]:
    """The journal again, with whatever text may come from outside made hostile."""
    for one in station.entries:
        event = one.event
        changes = {
            name: HOSTILE
            for name in ("device", "fault", "reason", "release", "profile", "identity", "source",
                         "stopped_reason", "trigger_reason", "action", "why", "ref", "status")
            if isinstance(getattr(event, name, None), str)
        }  # fmt: skip
        yield Entry(
            one.seq, one.at, one.uptime_ms, msgspec.structs.replace(event, **changes), one.cause
        )


def test_hostile_text_stays_text(tmp_path: Path, busy: Station) -> None:
    busy.when(DeviceFaulted(0, "mains", "lost", blocks=True), after(seconds=60))
    made = page(facts_of(hostile(busy), tmp_path))
    browser = Browser(made)
    assert browser.complaints == []
    assert "script" not in browser.tags
    assert "<script>alert('1')</script>" in browser.text, "told, and harmless"
    assert not {"\u202e", "\x1b", "\x00"} & set(made)


def test_text_is_escaped() -> None:
    assert text("<a href='x'>&\"") == "&lt;a href=&#x27;x&#x27;&gt;&amp;&quot;"


# --- Damage --------------------------------------------------------------------------------------


def test_what_is_missing_is_told_on_the_page(busy: Station, tmp_path: Path) -> None:
    facts_of(busy.entries, tmp_path)
    file = tmp_path / "journal.db"
    with sqlite3.connect(file) as connection:
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("DELETE FROM entry WHERE seq IN (60, 61)")
        connection.execute("UPDATE entry SET body = '{' WHERE seq = 70")
    facts = facts_of([], tmp_path)
    assert [one.partition(":")[0] for one in facts.complaints] == ["entry 60", "entry 70"]
    assert "not whole" in Browser(page(facts)).text


def test_a_range_without_a_moment_of_the_journal_is_no_report(
    busy: Station, tmp_path: Path
) -> None:
    with pytest.raises(NothingThereError):
        facts_of(busy.entries, tmp_path, NOON + timedelta(days=1))
    with pytest.raises(NothingThereError):
        facts_of(busy.entries, tmp_path, None, NOON - timedelta(days=1))


def test_a_forged_reading_stops_nothing(busy: Station, tmp_path: Path) -> None:
    """Numbers no meter gives: they are complained of, or not drawn."""
    huge = MeterRead(1, Decimal("1E+900"), power_w=Decimal("1E+900"), soc_percent=10**9)
    busy.when(plugged(1), presented(ALICE, evse_id=1), charging(1), after(seconds=60))
    last = busy.entries[-1]
    entries = [*busy.entries, Entry(last.seq + 1, last.at, last.uptime_ms, huge)]
    facts = facts_of(entries, tmp_path)
    assert facts.lanes[1].power_max_w <= 10_000_000
    assert Browser(page(facts)).complaints == []


def test_an_evse_that_is_taken_away_is_not_counted_on(tmp_path: Path) -> None:
    station = given(ONLINE, after(seconds=600))
    last = station.entries[-1]
    fewer = msgspec.structs.replace(BOOTED, evses=((1, (1,)),))
    start = Entry(last.seq + 1, last.at, last.uptime_ms, fewer)
    later = Entry(
        last.seq + 2, last.at + timedelta(minutes=5), last.uptime_ms + 300_000, LINK_OPENED
    )
    facts = facts_of([*station.entries, start, later], tmp_path, NOON)
    assert [one.total.whole for one in facts.uptimes.values()] == [900_000, 600_000]


# --- Drawing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [0.00001, 0.5, 1.2, 3, 7, 13, 30, 90, 364, 800, 3_650, 36_500])
def test_every_range_has_a_drawing_of_bounded_size(days: float) -> None:
    span = max(1, round(days * DAY_MS))
    grid = grid_of(START, START + span)
    assert 1 <= grid.rows <= ROWS_MAX
    assert grid.begins(0) <= START
    assert grid.begins(grid.rows) >= START + span
    drawn = Lanes(grid)
    drawn.state(START, START + span, "available")
    assert drawing.timeline(drawn, 1, 1_000).count("<svg") == grid.rows + 1
    cells = sum(run.end - run.first for row in range(grid.rows) for run in drawn.states(row))
    assert cells * grid.row_ms >= span * COLUMNS


def test_a_fault_of_a_millisecond_is_seen_in_a_drawing_of_years() -> None:
    year = 365 * DAY_MS
    drawn = Lanes(grid_of(START, START + 10 * year))
    drawn.state(START, START + 10 * year, "charging")
    drawn.state(START + 5 * year, START + 5 * year + 1, "faulted")
    drawn.state(START + 5 * year + 1, START + 10 * year, "charging")
    runs = [run for row in range(drawn.grid.rows) for run in drawn.states(row)]
    assert [run.end - run.first for run in runs if run.what == "faulted"] == [1]


def test_curves_hold_the_highest_power_and_no_longer_than_readings_come() -> None:
    drawn = Lanes(grid_of(START, START + 1_000_000))  # a cell is a second
    drawn.power(START, START + 20_000, 50_000)
    drawn.power(START + 10_000, START + 30_000, 90_000)
    drawn.power(START + 500_000 - 1, START + 500_000, 70_000)
    assert drawn.powers(0) == [(0, 10, 50_000), (10, 30, 90_000), (499, 500, 70_000)]
    assert drawn.power_max_w == 90_000
    long = Lanes(grid_of(START, START + 2_000_000))
    long.power(START, START + 2_000_000, 10)
    assert long.powers(0) == [(0, lanes.HOLDS_MS // 2_000, 10)]


def test_marks_that_stand_too_close_are_one_with_their_number() -> None:
    drawn = Lanes(grid_of(START, START + DAY_MS))
    for second in range(60):
        drawn.mark("fault", START + second * 1_000, f"number {second}")
    [mark] = drawn.marks(0)
    assert (mark.times, mark.text) == (60, "number 0")


def test_states_that_are_outages_are_worse_than_those_that_are_not() -> None:
    worst: list[State] = list(lanes.SEVERITY)
    assert set(worst[-4:]) == {"offline", "closed", "down", "faulted"}


def test_scales_are_round_and_have_room() -> None:
    assert [drawing.scale_of(one) for one in (0, 999, 1_001, 96_400, 157_600, 300_000)] == [
        1_000, 1_000, 2_000, 100_000, 200_000, 300_000,
    ]  # fmt: skip


# --- Words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ms", "told"),
    [
        (0, "0 s"), (250, "250 ms"), (1_500, "1.5 s"), (59_000, "59 s"), (60_000, "1 min"),
        (7_199_999, "2 h"), (5_400_000, "1 h 30 min"), (90_000_000, "1 d 1 h"),
    ],
)  # fmt: skip
def test_durations_read_as_people_say_them(ms: int, told: str) -> None:
    assert duration(ms) == told


def test_moments_are_utc_to_the_second() -> None:
    assert moment(START + 499) == "2026-03-01 12:00:00"
    assert moment(START - 1) == "2026-03-01 12:00:00"
    assert moment(START - 1, exact=True) == "2026-03-01 11:59:59.999"
    assert minutes(90_000) == "1.50"
    assert minutes(600_000_000) == "10,000.00"
