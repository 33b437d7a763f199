"""Every golden body decodes for ever."""

from __future__ import annotations

from typing import Any

import pytest

from tests.durability.golden import (
    enumerations_of,
    station_kinds,
    stored_bodies,
    stored_enumerations,
)

STORED = stored_bodies()


def test_every_kind_and_version_has_a_golden_body() -> None:
    written = {
        (name, version)
        for name, kind in station_kinds().kinds.items()
        for version in range(1, kind.VERSION + 1)
    }
    assert written
    assert not written - STORED.keys(), (
        "run `python -m tests.durability.golden` and commit what it adds"
    )


@pytest.mark.parametrize(("kind", "version"), sorted(STORED))
def test_a_golden_body_of_any_age_decodes(kind: Any, version: Any) -> None:
    kinds = station_kinds()
    event = kinds.decode(kind, version, STORED[kind, version])
    newest = kinds.encode(event)
    assert kinds.decode(*newest) == event
    if newest[1] == version:
        assert newest == (kind, version, STORED[kind, version])


def test_a_value_is_added_to_a_field_together_with_a_version() -> None:
    """An older release cannot read it: the version says why. `journal/README.md`, a value."""
    stored = stored_enumerations()
    for name, kind in station_kinds().kinds.items():
        assert enumerations_of(kind) == stored.get(f"{name}.{kind.VERSION}", {}), (
            f"{name}: count VERSION up, then run `python -m tests.durability.golden`"
        )
