"""Every body ever written is read for ever."""

from __future__ import annotations

from typing import Any

import pytest

from tests.durability.golden import station_kinds, stored_bodies

KEPT = stored_bodies()


def test_every_kind_and_version_has_a_body_kept() -> None:
    written = {
        (name, version)
        for name, kind in station_kinds().kinds.items()
        for version in range(1, kind.VERSION + 1)
    }
    assert written
    assert not written - KEPT.keys(), (
        "run `python -m tests.durability.golden` and commit what it adds"
    )


@pytest.mark.parametrize(("kind", "version"), sorted(KEPT))
def test_a_body_is_read_whatever_its_age(kind: Any, version: Any) -> None:
    kinds = station_kinds()
    event = kinds.decode(kind, version, KEPT[kind, version])
    newest = kinds.encode(event)
    assert kinds.decode(*newest) == event
    if newest[1] == version:
        assert newest == (kind, version, KEPT[kind, version])
