"""Every cause of a limited power, in all places that name it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from journal.events import Observation
from journal.observations import (
    ExternalLimitReported,
    LimitPeriod,
    MeterRead,
    PowerLimiter,
    PowerLimiterReported,
)
from journal.projections.power_limiters import LimitingCause, find_limiting_cause
from station.core.context import Context
from station.core.display_situation import limiting_cause
from station.history.explain.explanation import explain_entry, explain_transaction
from station.history.export.table import TableRow
from station.history.export.tables import METER_VALUE_COLUMNS, MeterValuesTable
from station.history.limiting_causes import LimitingCauses
from station.runtime.hardware.power_budget import EvseBudget
from station.runtime.live_status import report_limit
from station.transcript.phrases import LIMITER_NAMES
from tests.core.blocks.k_smart_charging.profiles import charging_profile, installed
from tests.history.explain.test_explanation import history_of, last_entry
from tests.history.report.fixtures_report import report_facts_of
from tests.support.story import (
    ONLINE,
    Station,
    Step,
    accept_everything,
    charging_started,
    given,
    in_transaction,
    meter_read,
    shown_at,
    station_restarted,
    time_passed,
)


def external(limit_w: int | None, evse_id: int = 0, source: str = "EMS") -> ExternalLimitReported:
    periods = () if limit_w is None else (LimitPeriod(0, Decimal(limit_w)),)
    return ExternalLimitReported(evse_id, "control_socket", source, periods)


def reported(limiter: PowerLimiter, limit_w: int = 0) -> PowerLimiterReported:
    return PowerLimiterReported(1, limiter, Decimal(limit_w))


class Case(NamedTuple):
    """What limits EVSE 1, and how it is named."""

    name: str
    steps: tuple[Step | Observation, ...]
    limit_w: int
    source: str  # in export and report
    explained: str
    shown: str  # on the display


CASES = (
    Case(
        "a profile of the CSMS", (installed(1, charging_profile((0, 40_000), level=3)),), 40_000,
        "TxDefaultProfile 1, stack level 3", "EVSE 1 was limited to 40 kW by TxDefaultProfile 1",
        "the operator",
    ),
    Case(
        "an external limit of the EVSE", (external(40_000, 1, "SO"),), 40_000,
        "SO, control_socket", "EVSE 1 was limited to 40 kW by SO", "the grid operator",
    ),
    Case(
        "an external limit of the station", (external(40_000),), 40_000,
        "station: EMS, control_socket", "The station was limited to 40 kW by EMS",
        "the energy management",
    ),
    Case(
        "a share of the station's limit", (external(80_000), reported("station_limit", 38_000)),
        38_000, "station: EMS, control_socket",
        "EVSE 1 was limited to 38 kW: limit for the station", "the energy management",
    ),
    Case(
        "a share of the cabinet", (reported("cabinet", 38_000),), 38_000,
        "power shared by the EVSEs", "limited to 38 kW: power shared by the EVSEs",
        "another charging point",
    ),
    Case(
        "modules", (reported("modules", 38_000),), 38_000,
        "power modules", "limited to 38 kW: power modules", "the station",
    ),
    Case(
        "a cable without cooling", (reported("cooling", 38_000),), 38_000,
        "cable without cooling", "limited to 38 kW: cable without cooling", "the cable",
    ),
    Case(
        "a warm cable", (reported("cable", 38_000),), 38_000,
        "temperature of the cable", "limited to 38 kW: temperature of the cable", "the warm cable",
    ),
    Case(
        "the EV", (reported("ev", 38_000),), 38_000,
        "request of the EV", "limited to 38 kW: request of the EV", "the car",
    ),
    Case(
        "the EV below a limit", (external(90_000), reported("ev", 38_000)), 38_000,
        "request of the EV", "limited to 38 kW: request of the EV", "the car",
    ),
    Case(
        "a limit below the request of the EV", (reported("ev", 38_000), external(20_000)), 20_000,
        "station: EMS, control_socket", "The station was limited to 20 kW by EMS",
        "the energy management",
    ),
)  # fmt: skip


def limited_station(case: Case) -> Station:
    station = given(ONLINE, in_transaction(1), charging_started(1), time_passed(seconds=60))
    station.with_csms(accept_everything, *case.steps, meter_read(1, "3000", power_w="19000"))
    return station


def cause_of(station: Station) -> LimitingCause | None:
    return find_limiting_cause(station.state.power_limits, station.state.power_limiters, 1)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_all_places_name_the_same_cause(case: Case, tmp_path: Path) -> None:
    station = limited_station(case)
    ctx = Context(station.product, station.state, station.entries[-1])
    cause = limiting_cause(ctx, 1)
    assert cause is not None
    assert cause.limit_w == case.limit_w

    followed = LimitingCauses()
    table = MeterValuesTable()
    rows: list[TableRow] = []
    for entry in station.entries:
        followed.apply(entry)
        rows += table.apply(entry, entry)  # type: ignore[arg-type]
    assert followed.on_evse(1) == cause
    row = dict(zip((name for name, _ in METER_VALUE_COLUMNS), rows[-1].values, strict=True))
    assert (row["limit_w"], row["limit_source"]) == (
        case.limit_w, f"{case.source} (entry {cause.seq})",
    )  # fmt: skip

    status = report_limit(ctx, 1, EvseBudget(Decimal(100), 150_000, "product", 150_000))
    assert (status["limit_w"], status["limit_reason"]) == (
        case.limit_w, LIMITER_NAMES[cause.limiter],
    )  # fmt: skip
    assert (status["limit_source"] is None) == (cause.limit is None)

    answers = explain_entry(history_of(station), last_entry(station, MeterRead).seq).answers
    assert case.explained in "\n".join(answers)

    shown = shown_at(station, 1)
    assert shown.situation == "evse.charging_limited"
    assert f"At most {case.limit_w / 1000} kW, limited by {case.shown}." in shown.help

    station.when(time_passed(seconds=60))
    drawn = report_facts_of(station.entries, tmp_path).timelines[1].limit_sources
    assert [(each.source, each.lowest_w) for each in drawn][-1] == (case.source, case.limit_w)


def test_a_share_of_a_limit_that_was_lifted_limits_no_more() -> None:
    station = given(ONLINE, in_transaction(1), external(80_000), reported("station_limit", 38_000))
    station.when(external(None))
    assert cause_of(station) is None


def test_of_a_decided_and_a_reported_limit_that_are_equal_the_decided_one_is_named() -> None:
    station = given(ONLINE, in_transaction(1), reported("modules", 38_000), external(38_000, 1))
    cause = cause_of(station)
    assert cause is not None
    assert cause.limiter == "limit"


def test_what_was_reported_ends_with_its_report_and_with_the_program() -> None:
    station = given(ONLINE, in_transaction(1), reported("cabinet", 38_000))
    station.when(reported(""))
    assert cause_of(station) is None
    station.when(reported("cabinet", 38_000))
    assert cause_of(station) is not None
    station.with_csms(accept_everything, station_restarted(gap_s=5))
    assert cause_of(station) is None
    station.when(meter_read(1, "3000"))
    answers = explain_entry(history_of(station), last_entry(station, MeterRead).seq).answers
    assert "limited" not in "\n".join(answers)


def test_a_transaction_lists_what_limited_it_and_an_ev_that_tapers_once() -> None:
    station = given(ONLINE, in_transaction(1), charging_started(1))
    for limiter, limit_w in (
        ("cabinet", 75_000), ("ev", 60_000), ("ev", 50_000), ("ev", 40_000), ("", 0),
    ):  # fmt: skip
        station.when(time_passed(seconds=60), reported(limiter, limit_w))  # type: ignore[arg-type]
    transaction_id = station.open_transaction.transaction_id
    lines = explain_transaction(history_of(station), transaction_id).answers
    limits = [line.partition("it was limited ")[2] for line in lines if "it was limited" in line]
    assert [line.partition(": entry")[0] for line in limits] == [
        "to 75 kW: power shared by the EVSEs",
        "to 60 kW: request of the EV",
        "neither by devices nor by the EV any more",
    ]


def test_a_limit_that_does_not_last_is_shown_with_what_it_leaves() -> None:
    station = given(ONLINE, in_transaction(1))
    budget = EvseBudget(Decimal(200), 150_000, "ev", 97_700)
    ctx = Context(station.product, station.state, station.entries[-1])
    shown = report_limit(ctx, 1, budget)
    assert shown == {"limit_w": 97_700, "limit_reason": LIMITER_NAMES["ev"], "limit_source": None}
