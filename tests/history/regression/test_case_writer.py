"""Can every kind of event be told as code, with and without its names?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from journal.events import Event, Observation
from station.history.regression.case_writer import render_value
from station.history.regression.redaction import Redactor
from station.history.regression.replayed_case import raw_json
from station.runtime.loop.startup import event_registry

GOLDEN = Path(__file__).parents[2] / "durability" / "golden"
BODIES = sorted(GOLDEN.glob("*.*.json"))


def golden_event(path: Path) -> tuple[Event, str]:
    """A golden event as it is today, and its body."""
    kind, version, _ = path.name.split(".")
    event = event_registry().decode(kind, int(version), path.read_text())
    return event, event_registry().encode(event)[2]


def evaluate_code(text: str) -> Any:
    """What the code makes, where every struct of ours is known by its name."""
    names: dict[str, Any] = {"raw_json": raw_json}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in ("journal", "station"):
            names |= {
                key: one
                for key, one in vars(module).items()
                if isinstance(one, type) and issubclass(one, msgspec.Struct)
            }
    from decimal import Decimal

    return eval(text, names | {"Decimal": Decimal})


def test_there_are_golden_bodies() -> None:
    assert len(BODIES) > 50


@pytest.mark.parametrize("path", BODIES, ids=lambda path: path.stem)
def test_an_event_told_as_code_is_the_same_again(path: Path) -> None:
    event, body = golden_event(path)
    again = evaluate_code(render_value(event))
    assert type(again) is type(event)
    assert event_registry().encode(again)[2] == body


@pytest.mark.parametrize("path", BODIES, ids=lambda path: path.stem)
def test_an_event_without_its_names_is_still_one(path: Path) -> None:
    event, body = golden_event(path)
    redaction = Redactor()
    heard = isinstance(event, Observation)
    redaction.learn_names(body, is_observation=heard)
    told = redaction.redact_document(body, is_observation=heard)
    without = event_registry().decode(type(event).__name__, type(event).VERSION, told)
    assert type(without) is type(event)
    assert redaction.redact_document(body, is_observation=heard) == told
