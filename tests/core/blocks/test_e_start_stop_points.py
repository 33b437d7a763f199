"""The tables of start points and stop causes fit the variables of the product and each other."""

from __future__ import annotations

from itertools import product

from station.core.blocks.e_start_stop_points import (
    AUTHORIZATION_STOP_POINTS,
    START_POINTS,
    STOP_CAUSES,
    STOP_REASONS,
    TX_START_POINT,
    TX_STOP_POINT,
    StartFacts,
)
from tests.support.story import load_product


def values_of(path: str) -> set[str]:
    return set(load_product().device_model.by_path[path].values)


def test_every_start_point_of_the_product_has_a_row_e01_fr_02_to_06() -> None:
    assert values_of(TX_START_POINT) <= set(START_POINTS)


def test_every_stop_point_of_the_product_is_in_a_row_e06_fr_02_to_07() -> None:
    in_rows = {point for cause in STOP_CAUSES for point in cause.stop_points or ()}
    assert values_of(TX_STOP_POINT) <= in_rows
    assert in_rows >= set(AUTHORIZATION_STOP_POINTS)


def test_every_row_names_its_requirement() -> None:
    assert all(row.reason.requirement for row in START_POINTS.values())
    for code, reason in STOP_REASONS.items():
        assert reason.text
        # The requirement of an authorization that ended in time is that of its end
        assert reason.requirement or code == "not_connected"


def test_no_start_point_is_reached_without_a_fact_e01_fr_14() -> None:
    facts = StartFacts(False, True, False, False)
    assert not any(point.is_reached(facts) for point in START_POINTS.values())


def test_a_connection_starts_one_transaction_only_e01_fr_02() -> None:
    reached = {
        (plugged, newly): START_POINTS["EVConnected"].is_reached(
            StartFacts(plugged, newly, False, False)
        )
        for plugged, newly in product((False, True), repeat=2)
    }
    assert [facts for facts, is_reached in reached.items() if is_reached] == [(True, True)]


def test_causes_that_forbid_to_go_on_come_first_and_count_for_every_stop_point_e06_fr_16() -> None:
    first_optional = next(n for n, cause in enumerate(STOP_CAUSES) if cause.stop_points)
    assert [cause.code for cause in STOP_CAUSES[:first_optional]] == [
        "fault",
        "interrupted",
        "interrupted_for_unknown_time",
        "evse_lost",
        "reset",
        "storage_full",
    ]
