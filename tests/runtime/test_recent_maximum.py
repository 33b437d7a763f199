from __future__ import annotations

from station.runtime.recent_maximum import WINDOW_S, RecentMaximum


def test_the_maximum_of_the_last_minute_is_kept() -> None:
    recent = RecentMaximum()
    recent.add(0.5, now=10)
    recent.add(0.2, now=20)
    assert recent.read(now=WINDOW_S - 1) == 0.5
    assert recent.read(now=2 * WINDOW_S - 1) == 0.5  # within the window before


def test_an_old_value_is_dropped() -> None:
    recent = RecentMaximum()
    recent.add(0.5, now=10)
    recent.add(0.1, now=WINDOW_S + 10)
    assert recent.read(now=2 * WINDOW_S + 1) == 0.1
    assert recent.read(now=9 * WINDOW_S) == 0
