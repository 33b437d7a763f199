"""Does the station stay as small as it was while the days go by?

A few days here; `make soak DAYS=30` for a month.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from station.simulation.experiments.soak import DayFigures, SoakExperiment

DAYS = 3
GROWTH_MAX_KIB = 2 * 1024  # from day 2 on: before that pools, caches and imports fill
STATE_MAX_BYTES = 16 * 1024  # idle, with what the auth cache knows of three people


@pytest.fixture(scope="module")
def soak_run(tmp_path_factory: pytest.TempPathFactory) -> SoakExperiment:
    told: list[DayFigures] = []
    lived = SoakExperiment(tmp_path_factory.mktemp("soak"), DAYS, told.append, seed=0)
    lived.run()
    assert told == lived.days
    return lived


def test_a_station_that_works_for_days_stays_as_small_as_it_was_p6(
    soak_run: SoakExperiment,
) -> None:
    _, second, last = soak_run.days
    assert last.entries > 1.3 * second.entries, "nothing happened in these days"
    assert last.rss_kib - second.rss_kib < GROWTH_MAX_KIB, soak_run.days
    assert max(day.state_bytes for day in soak_run.days) < STATE_MAX_BYTES, soak_run.days
    assert max(day.waiting_calls for day in soak_run.days) < 64, soak_run.days


def test_the_csms_has_a_complete_account_of_every_session_p2(soak_run: SoakExperiment) -> None:
    assert soak_run.complaints == []
    assert soak_run.days[-1].sessions > 20 * DAYS


LEAK = """
import logging, sys
from pathlib import Path
from station.simulation import soak

kept, took = [], soak.Bookkeeper.took


def leaking(bookkeeper, event):
    kept.append(bytes(64 * 1024))
    took(bookkeeper, event)


logging.disable()
soak.Bookkeeper.took = leaking
lived = soak.Soak(Path(sys.argv[1]), 2, lambda day: None, seed=0, day_s=4 * 3_600)
lived.run()
print(lived.days[1].rss_kib - lived.days[0].rss_kib)
"""


def test_what_grows_is_seen(tmp_path: Path) -> None:
    """The measure itself, in a process of its own: this one may have room from what it freed."""
    leaked = [sys.executable, "-c", LEAK, str(tmp_path)]
    done = subprocess.run(leaked, capture_output=True, text=True, check=True)
    assert int(done.stdout) > GROWTH_MAX_KIB
