"""Every folder, file and function that `tests/conftest.py` lists exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ALONE, SLOW, TOGETHER

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("place", sorted({*SLOW, *ALONE, *TOGETHER}))
def test_a_listed_place_exists(place: str) -> None:
    path, _, name = place.partition("::")
    assert (ROOT / path).exists()
    assert (
        not name
        or f" {name}(" in (ROOT / path).read_text()
        or f"{name} =" in (ROOT / path).read_text()
    )
