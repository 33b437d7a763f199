"""Bounds of what monitors cost; `python -m station.simulation.experiments.monitors` prints them."""

from __future__ import annotations

from pathlib import Path

from station.simulation.experiments.monitors import DAY_S, measure_monitors

EVENTS_A_DAY_MAX = 100_000  # one a second, and the burst at the beginning
JOURNAL_A_DAY_MAX = 150_000_000  # bytes; beside 165 MB of all intervals at their floors
MINUTES = 5


def test_a_flood_of_noisy_monitors_is_bounded_p6(tmp_path: Path) -> None:
    sample = measure_monitors(tmp_path, 300, MINUTES)
    share = sample.seconds / DAY_S
    assert 200 < sample.events < EVENTS_A_DAY_MAX * share + 100
    assert sample.journal_bytes < JOURNAL_A_DAY_MAX * share
    assert sample.entries < 2_000 * MINUTES / 5
