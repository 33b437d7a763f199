"""Power limits in the timeline of a report."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from journal.observations import ExternalLimitReported, LimitPeriod
from station.history.report import timeline_svg
from station.history.report.clock_corrections import datetime_to_ms
from station.history.report.page import render_page
from station.history.report.style import STYLE_SHEET
from station.history.report.timeline import (
    LIMIT_SOURCES_MAX,
    EvseTimeline,
    TimelineLimit,
    create_grid,
)
from tests.history.report.fixtures_report import PageChecker, report_facts_of
from tests.support.story import (
    NOON,
    ONLINE,
    Station,
    accept_everything,
    given,
    in_transaction,
    station_restarted,
    time_passed,
)

START = datetime_to_ms(NOON)


def external(
    limit_w: str | None, evse_id: int = 1, origin: str = "cable_temperature"
) -> ExternalLimitReported:
    periods = () if limit_w is None else (LimitPeriod(0, Decimal(limit_w)),)
    return ExternalLimitReported(evse_id, origin, "Other", periods)


def limited_station() -> Station:
    """EVSE 1 was limited by its cable for 5 minutes, then also by the installer."""
    station = given(ONLINE, in_transaction(1))
    station.with_csms(
        accept_everything,
        time_passed(seconds=60),
        external("40000"),
        time_passed(seconds=300),
        external("60000", 0, "installer"),
        external(None),
        time_passed(seconds=120),
    )
    return station


def sources_of(station: Station, directory: Path, evse_id: int) -> list[tuple[str, int, int, int]]:
    """Source, lowest and highest limit, and seconds in force."""
    drawn = report_facts_of(station.entries, directory).timelines[evse_id]
    return [
        (each.source, each.lowest_w, each.highest_w, round(each.duration_ms / 1000))
        for each in drawn.limit_sources
    ]


def test_each_source_has_its_limit_and_its_time_in_force(tmp_path: Path) -> None:
    station = limited_station()
    assert sources_of(station, tmp_path, 1) == [
        ("Other, cable_temperature", 40_000, 40_000, 300),
        ("station: Other, installer", 60_000, 60_000, 120),
    ]
    assert sources_of(station, tmp_path, 2) == [("station: Other, installer", 60_000, 60_000, 120)]


def test_the_page_shows_a_line_with_its_source_and_a_table(tmp_path: Path) -> None:
    page = render_page(report_facts_of(limited_station().entries, tmp_path))
    checker = PageChecker(page)
    assert checker.complaints == []
    assert "Limit 40 kW by Other, cable_temperature (entry " in checker.text
    assert "Limits in force at EVSE 1" in checker.text
    assert page.count('class="limit"') == 1 + 2 + 1  # legend, EVSE 1, EVSE 2


def test_a_page_without_limits_has_no_line_and_no_table(tmp_path: Path) -> None:
    page = render_page(report_facts_of(given(ONLINE, in_transaction(1)).entries, tmp_path))
    assert page.count('class="limit"') == 1
    assert "Limits in force" not in page


def test_no_limit_is_in_force_while_no_program_runs(tmp_path: Path) -> None:
    station = limited_station()
    station.with_csms(accept_everything, station_restarted(gap_s=600), time_passed(seconds=30))
    [_, installer] = sources_of(station, tmp_path, 1)
    assert installer[3] == 150


def test_hostile_names_and_values_stay_text(tmp_path: Path) -> None:
    station = given(ONLINE, in_transaction(1))
    station.when(external("1E+6000", origin="</title><script>"), time_passed(seconds=60))
    page = render_page(report_facts_of(station.entries, tmp_path))
    assert PageChecker(page).complaints == []


def test_the_line_is_at_the_height_of_the_limit_and_joined() -> None:
    drawn = EvseTimeline(create_grid(START, START + 1_000_000))  # a cell is a second
    drawn.add_limit(START, START + 100_000, TimelineLimit(50_000, "a", 1))
    drawn.add_limit(START + 100_000, START + 200_000, TimelineLimit(400_000, "b", 2))
    drawn.add_limit(START + 150_000, START + 160_000, TimelineLimit(25_000, "c", 3))
    runs = drawn.limit_runs(0)
    assert [(first, end, each.limit_w) for first, end, each in runs] == [
        (0, 100, 50_000), (100, 150, 400_000), (150, 160, 25_000), (160, 200, 400_000),
    ]  # fmt: skip
    left, top, high = timeline_svg.MARGIN_LEFT, timeline_svg.CURVES_Y, 150
    lines = list(timeline_svg._render_limits(drawn.grid, 0, runs[:2], 100_000, high))
    assert f'd="M{left} {top + high // 2}H{left + 100}"' in lines[0]
    assert f'd="M{left + 100} {top + high // 2}V{top}H{left + 200 - 50}"' in lines[1]


def test_only_so_many_sources_are_listed() -> None:
    drawn = EvseTimeline(create_grid(START, START + 1_000_000))
    for number in range(LIMIT_SOURCES_MAX + 3):
        drawn.add_limit(START, START + 1_000, TimelineLimit(number, f"profile {number}", number))
    assert len(drawn.limit_sources) == LIMIT_SOURCES_MAX
    assert drawn.unlisted_limits_ms == 3_000


def test_the_line_has_a_color_for_light_dark_and_print() -> None:
    assert STYLE_SHEET.count("--limit:#") == 3
    assert "stroke-dasharray" in STYLE_SHEET[STYLE_SHEET.index(".limit{") :].split("}")[0]
