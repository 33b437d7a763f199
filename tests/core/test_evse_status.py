"""Connector, EVSE and station status: every cause, its order, and what the CSMS receives."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from journal.events import Decision
from journal.observations import StopButtonPressed, StorageReported
from station.core import decide
from station.core.blocks.g_availability import current_connector_status
from station.core.context import Context
from station.core.evse_status import (
    STATUS_CAUSES,
    STATUS_ORDER,
    ConnectorFacts,
    StatusCause,
    connector_status,
    evse_status,
    station_status,
    status_cause,
)
from tests.support.story import (
    ONLINE,
    Step,
    accept_everything,
    cable_plugged,
    called,
    connector_statuses,
    device_faulted,
    given,
    in_transaction,
    time_passed,
)

NO_FACTS = ConnectorFacts(*[False] * len(ConnectorFacts._fields))


def facts_with(*names: str) -> ConnectorFacts:
    return NO_FACTS._replace(**dict.fromkeys(names, True))


def test_without_a_cause_a_connector_is_available_g01_fr_04() -> None:
    assert status_cause(NO_FACTS) is None
    assert connector_status(NO_FACTS) == "Available"


@pytest.mark.parametrize("cause", STATUS_CAUSES, ids=lambda cause: cause.fact)
def test_each_cause_alone_gives_its_status_g01_fr_01_to_05(cause: StatusCause) -> None:
    assert status_cause(facts_with(cause.fact)) == cause
    assert connector_status(facts_with(cause.fact)) == cause.status


def test_of_several_causes_the_first_of_the_table_counts_g03_fr_06() -> None:
    for flags in product((False, True), repeat=len(STATUS_CAUSES)):
        expected = next(
            (cause.status for cause, flag in zip(STATUS_CAUSES, flags, strict=True) if flag),
            "Available",
        )
        assert connector_status(ConnectorFacts(*flags)) == expected


def test_the_order_of_the_causes_is_fixed() -> None:
    assert [(cause.fact, cause.status) for cause in STATUS_CAUSES] == [
        ("has_blocking_fault", "Faulted"),
        ("is_reserved", "Reserved"),
        ("is_kept_free", "Reserved"),
        ("has_transaction", "Occupied"),
        ("is_out_of_service", "Unavailable"),
        ("is_restart_ordered", "Unavailable"),
        ("is_out_of_order", "Faulted"),
        ("is_storage_full", "Unavailable"),
        ("is_closed_for_firmware", "Unavailable"),
        ("is_plugged_in", "Occupied"),
    ]


def test_an_evse_is_as_unusable_as_its_worst_connector() -> None:
    for first, second in product(STATUS_ORDER, repeat=2):
        assert evse_status([first, second]) == max(first, second, key=STATUS_ORDER.index)
    assert evse_status([]) == "Unavailable"


def test_a_station_is_as_usable_as_its_best_evse() -> None:
    best = station_status(["Faulted", "Occupied"], is_operative=True, has_blocking_fault=False)
    assert best == "Occupied"
    assert station_status([], is_operative=True, has_blocking_fault=False) == "Unavailable"


def test_a_station_out_of_service_is_unavailable_even_with_a_fault_g03_fr_06() -> None:
    assert station_status(["Available"], is_operative=False, has_blocking_fault=True) == (
        "Unavailable"
    )
    assert station_status(["Available"], is_operative=True, has_blocking_fault=True) == "Faulted"


# --- What the CSMS receives ----------------------------------------------------------------------

OUT_OF_SERVICE = called("ChangeAvailability", operationalStatus="Inoperative", evse={"id": 1})
STEPS_BY_FACT: dict[str, Step] = {
    "has_blocking_fault": device_faulted(1),
    "has_transaction": in_transaction(1),
    "is_out_of_service": OUT_OF_SERVICE,
    "is_restart_ordered": called("Reset", type="Immediate"),
    "is_storage_full": StorageReported("full", 0),
    "is_plugged_in": cable_plugged(1),
}


@pytest.mark.parametrize("fact", STEPS_BY_FACT)
def test_the_csms_receives_the_status_of_the_cause_g01_fr_03(fact: str) -> None:
    station = given(ONLINE)
    decisions = station.with_csms(accept_everything, STEPS_BY_FACT[fact], time_passed(seconds=1))
    expected = connector_status(facts_with(fact))
    assert (1, expected) in connector_statuses(decisions)
    ctx = Context(station.product, station.state, station.entries[-1])
    assert current_connector_status(ctx, 1, 1) == expected


def test_after_a_failed_rule_the_csms_receives_faulted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_rule(ctx: Context) -> Iterator[Decision]:
        if isinstance(ctx.entry.event, StopButtonPressed):
            raise KeyError("defect")
        yield from ()

    monkeypatch.setattr(decide, "RULES", (fail_rule, *decide.RULES))
    station = given(ONLINE)
    station.checks.expect_no_failures = False
    decisions = station.when(StopButtonPressed(2))
    assert (1, connector_status(facts_with("is_out_of_order"))) in connector_statuses(decisions)
