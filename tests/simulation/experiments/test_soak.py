"""Memory and state do not grow over days: a few short ones; `make soak DAYS=30` for a month."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from station.simulation.experiments.soak import DayFigures, SoakExperiment

pytestmark = pytest.mark.timeout(900)  # tests in parallel share the cores

DAYS = 3
DAY_S = 8 * 3600
GROWTH_MAX_KIB = 2 * 1024  # from day 2 on: before that pools, caches and imports fill
STATE_MAX_BYTES = 16 * 1024  # idle, with three entries in the Authorization Cache


@pytest.fixture(scope="module")
def soak_run(tmp_path_factory: pytest.TempPathFactory) -> SoakExperiment:
    days: list[DayFigures] = []
    experiment = SoakExperiment(
        tmp_path_factory.mktemp("soak"), DAYS, days.append, seed=0, day_s=DAY_S
    )
    experiment.run()
    assert days == experiment.days
    return experiment


def test_memory_and_state_do_not_grow_over_days_p6(
    soak_run: SoakExperiment,
) -> None:
    _, second, last = soak_run.days
    assert last.entries > 1.3 * second.entries, "no sessions in these days"
    assert last.rss_kib - second.rss_kib < GROWTH_MAX_KIB, soak_run.days
    assert max(day.state_bytes for day in soak_run.days) < STATE_MAX_BYTES, soak_run.days
    assert max(day.waiting_calls for day in soak_run.days) < 64, soak_run.days


def test_the_csms_received_every_transaction_completely_p2(soak_run: SoakExperiment) -> None:
    assert soak_run.complaints == []
    assert soak_run.days[-1].sessions > 7 * DAYS


LEAK = """
import logging, sys
from pathlib import Path
from station.simulation.experiments import soak

leaked, on_transaction_event = [], soak.LedgerCloser.on_transaction_event


def leak(closer, event):
    leaked.append(bytes(64 * 1024))
    on_transaction_event(closer, event)


logging.disable()
soak.LedgerCloser.on_transaction_event = leak
experiment = soak.SoakExperiment(Path(sys.argv[1]), 2, lambda day: None, seed=0, day_s=4 * 3_600)
experiment.run()
print(experiment.days[1].rss_kib - experiment.days[0].rss_kib)
"""


def test_a_leak_is_found(tmp_path: Path) -> None:
    """The measure itself, in a process of its own: this one may reuse memory it freed."""
    command = [sys.executable, "-c", LEAK, str(tmp_path)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(process.stdout) > GROWTH_MAX_KIB
