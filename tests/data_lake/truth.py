"""Is what an engine answers what is true of the stations?"""

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
    """The answers, station 1 first."""
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
            stood = {state: ms for (evse, state), ms in truth.status_ms.items() if evse == evse_id}
            told_ms, down_ms = (
                sum(stood.values()),
                sum(stood.get(state, 0) for state in DOWN_STATES),
            )
            yield [f"{number:06}", evse_id, told_ms, down_ms, 100 * (told_ms - down_ms) / told_ms]


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
    """Where the answers are not the truth, a line each; numbers with a point to nine digits."""
    true = expected_results(truths)
    found = list(true.keys() ^ answers.keys())
    for name in true.keys() & answers.keys():
        found += (f"{name}: {one}" for one in _compare_rows(answers[name], true[name]))
    return found


def _compare_rows(actual: ResultRows, true: ResultRows) -> Iterable[str]:
    if len(actual) != len(true):
        yield f"{len(actual)} rows, not {len(true)}"
    for row, should in zip(actual, true, strict=False):
        if not all(_values_match(*pair) for pair in zip(row, should, strict=True)):
            yield f"{row}, not {should}"


def _values_match(actual: Any, true: Any) -> bool:
    if isinstance(true, float):
        return bool(abs(actual - true) <= 1e-9 * abs(true))
    return bool(actual == true)
