"""The invariant of events of monitors."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from journal.events import Entry
from journal.projections.monitors import (
    Monitor,
    MonitorEvent,
    MonitorSet,
    MonitorsTriggered,
    Outcome,
)
from station.simulation.monitor_checks import MonitorChecks

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
MONITOR_ID = 100_010
INTERVAL_MS = 60_000  # far above the rest of a monitor


def find_violations(
    *events: tuple[Outcome, str | None], transaction: bool = False
) -> list[str | None]:
    """What each event of one monitor breaks, from its outcome and its transaction.

    Args:
        transaction: whether the monitor is active in transactions only.
    """
    checks = MonitorChecks()
    monitor = Monitor(MONITOR_ID, "EVSE@1.Power", "LowerThreshold", Decimal(1), 5, transaction)
    checks.find_violation(Entry(1, NOON, 0, MonitorSet(monitor)))
    return [
        checks.find_violation(
            Entry(
                number,
                NOON,
                number * INTERVAL_MS,
                MonitorsTriggered((MonitorEvent(number, MONITOR_ID, outcome, "0", transaction),)),
            )
        )
        for number, (outcome, transaction) in enumerate(events, start=1)
    ]


@pytest.mark.parametrize(
    ("events", "violation"),
    [
        ([("exceeded", None), ("cleared", None), ("exceeded", None)], None),
        ([("exceeded", None), ("exceeded", None)], "monitor 100010 is exceeded twice"),
        ([("cleared", None)], "monitor 100010 is cleared twice"),
        ([("exceeded", None), ("cleared", "A")], None),
    ],
)
def test_outcomes_of_a_threshold_take_turns_n07(
    events: list[tuple[Outcome, str | None]], violation: str | None
) -> None:
    assert find_violations(*events)[-1] == violation


@pytest.mark.parametrize(
    ("events", "violation"),
    [
        ([("exceeded", "A"), ("exceeded", "B")], None),
        ([("exceeded", "A"), ("exceeded", "A")], "monitor 100010 is exceeded twice"),
        ([("exceeded", "A"), ("cleared", "B")], "monitor 100010 is cleared twice"),
    ],
)
def test_a_monitor_of_transactions_begins_again_with_each_n07(
    events: list[tuple[Outcome, str | None]], violation: str | None
) -> None:
    assert find_violations(*events, transaction=True)[-1] == violation
