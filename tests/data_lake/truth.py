"""The true answers to the queries, and their comparison with those of an engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, Final

from tests.data_lake.months import EVSES, GroundTruth
from tests.data_lake.questions import QueryResults, ResultRows, format_plain

DOWN_STATES: Final = ("Unavailable", "Faulted", "Off")
HOUR_MS: Final = 3_600_000


def expected_results(truths: list[GroundTruth]) -> QueryResults:
    """The true answers, in order of the stations' numbers."""
    return {
        "energy per day": list(_energy_rows(truths)),
        "uptime of each EVSE": list(_uptime_rows(truths)),
        "fault rates": list(_fault_rows(truths)),
    }


def _energy_rows(truths: list[GroundTruth]) -> Iterator[list[Any]]:
    for day in sorted({day for truth in truths for day in truth.energy_wh_by_day}):
        sold = [wh for truth in truths for wh in truth.energy_wh_by_day.get(day, ())]
        yield [day, len(sold), format_plain(sum(sold, Decimal()))]


def _uptime_rows(truths: list[GroundTruth]) -> Iterator[list[Any]]:
    for number, truth in enumerate(truths, 1):
        for evse_id in EVSES:
            duration_ms = {
                state: ms for (evse, state), ms in truth.status_ms.items() if evse == evse_id
            }
            total_ms, down_ms = (
                sum(duration_ms.values()),
                sum(duration_ms.get(state, 0) for state in DOWN_STATES),
            )
            yield [
                f"{number:06}",
                evse_id,
                total_ms,
                down_ms,
                100 * (total_ms - down_ms) / total_ms,
            ]


def _fault_rows(truths: list[GroundTruth]) -> Iterator[list[Any]]:
    times: Counter[tuple[str, str]] = Counter()
    lasted_ms: Counter[tuple[str, str]] = Counter()
    on_ms = 0
    for truth in truths:
        times.update(truth.fault_counts)
        lasted_ms.update(truth.fault_ms)
        on_ms += sum(ms for (_, state), ms in truth.status_ms.items() if state != "Off")
    for name in sorted(times):
        yield [*name, times[name], lasted_ms.get(name), on_ms / HOUR_MS / times[name]]


def find_differences(answers: QueryResults, truths: list[GroundTruth]) -> list[str]:
    """One line for each difference; floats are compared to nine digits."""
    expected = expected_results(truths)
    differences = list(expected.keys() ^ answers.keys())
    for name in expected.keys() & answers.keys():
        differences += (
            f"{name}: {difference}" for difference in _compare_rows(answers[name], expected[name])
        )
    return differences


def _compare_rows(actual: ResultRows, expected: ResultRows) -> Iterable[str]:
    if len(actual) != len(expected):
        yield f"{len(actual)} rows, not {len(expected)}"
    for row, expected_row in zip(actual, expected, strict=False):
        if not all(_values_match(*pair) for pair in zip(row, expected_row, strict=True)):
            yield f"{row}, not {expected_row}"


def _values_match(actual: Any, expected: Any) -> bool:
    if isinstance(expected, float):
        return bool(abs(actual - expected) <= 1e-9 * abs(expected))
    return bool(actual == expected)
