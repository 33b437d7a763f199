"""The selection of test cases equals the one made by hand for the certified product."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from station.profiles import load_profile
from tests.conformance.octt.applicability import ProductAnswers, decide_all_cases, load_catalogue

EXPECTED = Path(__file__).with_name("expected_applicability.json")
CERTIFIED = load_profile("evs-flash-300")


def test_every_case_is_selected_as_the_certificate_states() -> None:
    decided = decide_all_cases(CERTIFIED)
    expected = json.loads(EXPECTED.read_text())
    for name, verdict in (("applies", True), ("applies_not", False), ("undecided", None)):
        case_ids = [
            case_id
            for case_id, applicability in decided.items()
            if applicability.applies is verdict
        ]
        assert case_ids == expected[name]
    assert len(decided) == 409


def test_164_cases_of_core_apply() -> None:
    decided = decide_all_cases(CERTIFIED).values()
    assert (
        sum(
            applicability.applies is True and applicability.case.profile == "Core"
            for applicability in decided
        )
        == 164
    )


def test_a_feature_adds_its_cases() -> None:
    development = decide_all_cases(load_profile("development"))
    assert development["TC_E_09_CS"].applies
    assert not decide_all_cases(CERTIFIED)["TC_E_09_CS"].applies


@pytest.mark.parametrize(
    ("condition", "verdict"),
    [
        ("C-49", True),
        ("not C-49", False),
        ("C-31 or C-30", True),
        ("C-31 or C-30 and C-32", False),
        ("(C-31 or C-30) and not C-32", True),
        ("C-30..C-35", True),
        ("C-31..C-35", False),
        ("HFS-8 > 1", True),
        ("HFS-8 > 2", False),
        ('"Core"', True),
        ('"Smart Charging"', False),
        ('not "Mode 1/2 only"', True),
        ("AS-2", None),
        ("AS-2 and C-47", False),
        ("AS-2 or C-49", True),
        ("not AS-2", None),
    ],
)
def test_conditions_are_evaluated(condition: str, verdict: bool | None) -> None:
    assert ProductAnswers(CERTIFIED, "Core").evaluate(condition) is verdict


@pytest.mark.parametrize("condition", ["C-49 and", "(C-49", "C-49 C-30", "C49", "C-49)", ""])
def test_an_invalid_condition_is_an_error(condition: str) -> None:
    with pytest.raises(ValueError, match=r"^.+$"):
        ProductAnswers(CERTIFIED, "Core").evaluate(condition)


def test_case_ids_are_unique() -> None:
    ids = [case.id for case in load_catalogue()]
    assert len(set(ids)) == len(ids)
