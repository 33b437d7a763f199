"""Does the station stay as small as it was while the days go by?

A few days here; `make soak DAYS=30` for a month.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from station.messages.e_transactions import TransactionEventRequest
from station.simulation import soak
from station.simulation.soak import Day, Soak

DAYS = 3
GROWTH_MAX_KIB = 2 * 1024  # from day 2 on: before that pools, caches and imports fill
STATE_MAX_BYTES = 16 * 1024  # idle, with what the auth cache knows of three people


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Soak:
    told: list[Day] = []
    lived = Soak(tmp_path_factory.mktemp("soak"), DAYS, told.append, seed=0)
    lived.run()
    assert told == lived.days
    return lived


def test_a_station_that_works_for_days_stays_as_small_as_it_was_p6(lived: Soak) -> None:
    _, second, last = lived.days
    assert last.entries > 1.3 * second.entries, "nothing happened in these days"
    assert last.rss_kib - second.rss_kib < GROWTH_MAX_KIB, lived.days
    assert max(day.state_bytes for day in lived.days) < STATE_MAX_BYTES, lived.days
    assert max(day.waiting for day in lived.days) < 64, lived.days


def test_the_csms_has_a_complete_account_of_every_session_p2(lived: Soak) -> None:
    assert lived.complaints == []
    assert lived.days[-1].sessions > 20 * DAYS


def test_what_grows_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measure itself: a few kilobytes kept per transaction message would show in a day."""
    leak: list[bytes] = []
    took = soak.Bookkeeper.took

    def leaking(bookkeeper: soak.Bookkeeper, event: TransactionEventRequest) -> None:
        leak.append(bytes(8192))
        took(bookkeeper, event)

    monkeypatch.setattr(soak.Bookkeeper, "took", leaking)
    before_kib = soak.rss_kib()
    Soak(tmp_path, 1, lambda day: None, seed=0).run()
    assert soak.rss_kib() - before_kib > GROWTH_MAX_KIB
    assert leak
