"""Do the engines tell of many stations what is true of them?

A few stations here; `make fleet STATIONS=1000` for as many months.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from tests.commands.journals import Command
from tests.fleet.lake import TABLES, filled
from tests.fleet.months import Truth
from tests.fleet.questions import Answers, Rows, blocks, duckdb_answers, spark_answers, why_no_spark
from tests.fleet.truth import differences

NO_SPARK = why_no_spark()
STATIONS, DAYS, SEED = 4, 9, 20260301


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Truth]]:
    """A lake, and what is true of each station in it."""
    lake = tmp_path_factory.mktemp("fleet") / "lake"
    print(f"seed {SEED}")
    return lake, filled(lake, STATIONS, DAYS, SEED, lambda number, truth: None)


def test_duckdb_tells_what_is_true(fleet: tuple[Path, list[Truth]]) -> None:
    lake, truths = fleet
    assert differences(duckdb_answers(lake), truths) == []


@pytest.mark.timeout(300)  # a JVM takes its time on a busy machine
@pytest.mark.skipif(NO_SPARK is not None, reason=str(NO_SPARK))
def test_spark_tells_what_is_true(fleet: tuple[Path, list[Truth]]) -> None:
    lake, truths = fleet
    assert differences(spark_answers(lake), truths) == []


def test_the_whole_lake_is_vouched_for(
    fleet: tuple[Path, list[Truth]], capsys: pytest.CaptureFixture[str]
) -> None:
    lake, _ = fleet
    station = Command(capsys)
    for table in TABLES:
        verified = station("verify", lake / table)
        assert (verified.code, verified.err) == (0, "")
        assert len(verified.lines) == STATIONS


def test_enough_happened(fleet: tuple[Path, list[Truth]]) -> None:
    """A fleet in which nothing goes wrong would agree with anything."""
    _, truths = fleet
    assert sum(truth.transactions for truth in truths) > 10 * STATIONS
    states = {state for truth in truths for (_, state), ms in truth.stood_ms.items() if ms}
    assert states == {"Available", "Occupied", "Unavailable", "Faulted", "Off"}
    assert len({name for truth in truths for name in truth.faults}) > 3


# --- Whether a difference would be seen ----------------------------------------------------------


def less_energy(rows: Rows) -> None:
    rows[0][-1] = str(Decimal(rows[0][-1]) - Decimal("0.1"))


def longer_down(rows: Rows) -> None:
    rows[-1][3] += 1


def one_fault_less(rows: Rows) -> None:
    rows[0][2] -= 1


@pytest.mark.parametrize(
    ("question", "harm"),
    [
        ("energy per day", less_energy),
        ("energy per day", lambda rows: rows.pop()),
        ("uptime of each EVSE", longer_down),
        ("uptime of each EVSE", lambda rows: rows.pop(0)),
        ("fault rates", one_fault_less),
        ("fault rates", lambda rows: rows.pop()),
    ],
)
def test_any_difference_is_told(
    fleet: tuple[Path, list[Truth]], question: str, harm: Callable[[Rows], None]
) -> None:
    lake, truths = fleet
    answers: Answers = duckdb_answers(lake)
    harm(answers[question])
    assert any(one.startswith(question) for one in differences(answers, truths))


def test_every_question_of_the_readme_is_asked() -> None:
    assert list(blocks(Path("lake"))) == [
        "DuckDB",
        "Spark",
        "energy per day",
        "uptime of each EVSE",
        "fault rates",
    ]
