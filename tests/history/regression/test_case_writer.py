"""Every kind of event as Python code, before and after redactor."""

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
    """A golden event, decoded, and its body in the current version."""
    kind, version, _ = path.name.split(".")
    event = event_registry().decode(kind, int(version), path.read_text())
    return event, event_registry().encode(event)[2]


def evaluate_code(text: str) -> Any:
    """Evaluate code with every struct of journal and station by its name."""
    names: dict[str, Any] = {"raw_json": raw_json}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in ("journal", "station"):
            names |= {
                key: item
                for key, item in vars(module).items()
                if isinstance(item, type) and issubclass(item, msgspec.Struct)
            }
    from decimal import Decimal

    return eval(text, names | {"Decimal": Decimal})


def test_there_are_golden_bodies() -> None:
    assert len(BODIES) > 50


@pytest.mark.parametrize("path", BODIES, ids=lambda path: path.stem)
def test_an_event_rendered_as_code_evaluates_to_itself(path: Path) -> None:
    event, body = golden_event(path)
    again = evaluate_code(render_value(event))
    assert type(again) is type(event)
    assert event_registry().encode(again)[2] == body


@pytest.mark.parametrize("path", BODIES, ids=lambda path: path.stem)
def test_a_redacted_event_can_be_decoded(path: Path) -> None:
    event, body = golden_event(path)
    redactor = Redactor()
    is_observation = isinstance(event, Observation)
    redactor.learn_names(body, is_observation=is_observation)
    redacted = redactor.redact_document(body, is_observation=is_observation)
    decoded = event_registry().decode(type(event).__name__, type(event).VERSION, redacted)
    assert type(decoded) is type(event)
    assert redactor.redact_document(body, is_observation=is_observation) == redacted


def test_the_path_of_a_variable_is_no_mail_address() -> None:
    redactor = Redactor()
    text = '{"variable":"EVSE@1.Power","info":"ask jo@host.example"}'
    redactor.learn_names(text)
    assert redactor.redact_document(text) == '{"variable":"EVSE@1.Power","info":"ask mail-1"}'
