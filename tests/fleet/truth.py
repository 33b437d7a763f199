"""Is what an engine answers what is true of the stations?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, Final

from tests.fleet.months import EVSES, Truth
from tests.fleet.questions import Answers, Rows, plain

DOWN: Final = ("Unavailable", "Faulted", "Off")
HOUR_MS: Final = 3_600_000


def answers_of(truths: list[Truth]) -> Answers:
    """The answers, station 1 first."""
    return {
        "energy per day": list(_energy(truths)),
        "uptime of each EVSE": list(_uptime(truths)),
        "fault rates": list(_faults(truths)),
    }


def _energy(truths: list[Truth]) -> Iterator[list[Any]]:
    for day in sorted({day for truth in truths for day in truth.sold}):
        sold = [wh for truth in truths for wh in truth.sold.get(day, ())]
        yield [day, len(sold), plain(sum(sold, Decimal()))]


def _uptime(truths: list[Truth]) -> Iterator[list[Any]]:
    for number, truth in enumerate(truths, 1):
        for evse_id in EVSES:
            stood = {state: ms for (evse, state), ms in truth.stood_ms.items() if evse == evse_id}
            told_ms, down_ms = sum(stood.values()), sum(stood.get(state, 0) for state in DOWN)
            yield [f"{number:06}", evse_id, told_ms, down_ms, 100 * (told_ms - down_ms) / told_ms]


def _faults(truths: list[Truth]) -> Iterator[list[Any]]:
    times: Counter[tuple[str, str]] = Counter()
    lasted_ms: Counter[tuple[str, str]] = Counter()
    on_ms = 0
    for truth in truths:
        times.update(truth.faults)
        lasted_ms.update(truth.faulty_ms)
        on_ms += sum(ms for (_, state), ms in truth.stood_ms.items() if state != "Off")
    for name in sorted(times):
        yield [*name, times[name], lasted_ms.get(name), on_ms / HOUR_MS / times[name]]


def differences(answers: Answers, truths: list[Truth]) -> list[str]:
    """Where the answers are not the truth, a line each; numbers with a point to nine digits."""
    true = answers_of(truths)
    found = list(true.keys() ^ answers.keys())
    for name in true.keys() & answers.keys():
        found += (f"{name}: {one}" for one in _compared(answers[name], true[name]))
    return found


def _compared(told: Rows, true: Rows) -> Iterable[str]:
    if len(told) != len(true):
        yield f"{len(told)} rows, not {len(true)}"
    for row, should in zip(told, true, strict=False):
        if not all(_same(*pair) for pair in zip(row, should, strict=True)):
            yield f"{row}, not {should}"


def _same(told: Any, true: Any) -> bool:
    if isinstance(true, float):
        return bool(abs(told - true) <= 1e-9 * abs(true))
    return bool(told == true)
