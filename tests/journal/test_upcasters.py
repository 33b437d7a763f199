"""Bodies of older versions are raised to the newest, one step at a time."""

from __future__ import annotations

import re
from typing import Any

import pytest

from journal.upcasters import STEPS, upcast
from tests.journal import kinds


def test_a_body_takes_every_step_from_its_version_on() -> None:
    def raised(version: int, body: dict[str, object]) -> dict[str, object]:
        return upcast(kinds.UPCASTERS, "LidOpened", version, 3, body)

    assert raised(1, {"open_s": 2}) == {"open_ms": 2000, "opened_by": None}
    assert raised(2, {"open_ms": 2}) == {"open_ms": 2, "opened_by": None}
    assert raised(3, {"open_ms": 2, "opened_by": "me"}) == {"open_ms": 2, "opened_by": "me"}


def test_a_step_does_not_change_the_body_it_receives() -> None:
    body = {"open_ms": 2}
    upcast(kinds.UPCASTERS, "LidOpened", 2, 3, body)
    assert body == {"open_ms": 2}


@pytest.mark.parametrize("steps", [STEPS, kinds.UPCASTERS])
def test_a_step_is_named_by_its_kind_and_versions(steps: Any) -> None:
    for (kind, version), step in steps.items():
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", kind).lower()
        assert step.__name__ == f"{snake}_{version}_to_{version + 1}"
