"""DuckDB and Spark give the true answers about a fleet of stations.

With a few stations; `make fleet STATIONS=1000` simulates a month of a thousand.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from tests.commands.fixtures_journals import StationCommand, own_keys
from tests.data_lake.lake import TABLES, fill_lake
from tests.data_lake.months import GroundTruth
from tests.data_lake.questions import (
    QueryResults,
    ResultRows,
    duckdb_answers,
    missing_for_spark,
    spark_answers,
    sql_blocks,
)
from tests.data_lake.truth import find_differences

NO_SPARK = missing_for_spark()
STATIONS, DAYS, SEED = 4, 9, 20260301


@pytest.fixture(scope="module")
def filled_lake(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[GroundTruth]]:
    """A lake, and the truth about each station in it."""
    lake = tmp_path_factory.mktemp("fleet") / "lake"
    print(f"seed {SEED}")
    return lake, fill_lake(lake, STATIONS, DAYS, SEED, lambda number, truth: None)


def test_duckdb_gives_the_true_answers(filled_lake: tuple[Path, list[GroundTruth]]) -> None:
    lake, truths = filled_lake
    assert find_differences(duckdb_answers(lake), truths) == []


@pytest.mark.timeout(300)  # a JVM is slow on a busy machine
@pytest.mark.skipif(NO_SPARK is not None, reason=str(NO_SPARK))
def test_spark_gives_the_true_answers(filled_lake: tuple[Path, list[GroundTruth]]) -> None:
    lake, truths = filled_lake
    assert find_differences(spark_answers(lake), truths) == []


def test_the_whole_lake_verifies(
    filled_lake: tuple[Path, list[GroundTruth]], capsys: pytest.CaptureFixture[str]
) -> None:
    lake, _ = filled_lake
    station = StationCommand(capsys)
    for table in TABLES:
        verified = station("verify", lake / table, *own_keys(lake / table))
        assert (verified.exit_code, verified.stderr) == (0, "")
        assert len(verified.lines) == STATIONS


def test_the_fleet_has_sessions_faults_and_outages(
    filled_lake: tuple[Path, list[GroundTruth]],
) -> None:
    """Without them, the comparison would prove nothing."""
    _, truths = filled_lake
    assert sum(truth.transaction_count for truth in truths) > 10 * STATIONS
    states = {state for truth in truths for (_, state), ms in truth.status_ms.items() if ms}
    assert states == {"Available", "Occupied", "Unavailable", "Faulted", "Off"}
    assert len({name for truth in truths for name in truth.fault_counts}) > 3


# --- Detection of differences --------------------------------------------------------------------


def reduce_energy(rows: ResultRows) -> None:
    rows[0][-1] = str(Decimal(rows[0][-1]) - Decimal("0.1"))


def extend_downtime(rows: ResultRows) -> None:
    rows[-1][3] += 1


def remove_fault(rows: ResultRows) -> None:
    rows[0][2] -= 1


@pytest.mark.parametrize(
    ("question", "falsify"),
    [
        ("energy per day", reduce_energy),
        ("energy per day", lambda rows: rows.pop()),
        ("uptime of each EVSE", extend_downtime),
        ("uptime of each EVSE", lambda rows: rows.pop(0)),
        ("fault rates", remove_fault),
        ("fault rates", lambda rows: rows.pop()),
    ],
)
def test_any_difference_is_detected(
    filled_lake: tuple[Path, list[GroundTruth]],
    question: str,
    falsify: Callable[[ResultRows], None],
) -> None:
    lake, truths = filled_lake
    answers: QueryResults = duckdb_answers(lake)
    falsify(answers[question])
    assert any(difference.startswith(question) for difference in find_differences(answers, truths))


def test_every_query_of_the_documentation_is_run() -> None:
    assert list(sql_blocks(Path("lake"))) == [
        "DuckDB",
        "Spark",
        "energy per day",
        "uptime of each EVSE",
        "fault rates",
    ]
