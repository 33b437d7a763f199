"""A sample of the compliance tool: some cases pass, some mutants are detected, the report is right.

`make octt` runs all cases.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from station.profiles import load_profile, profile_names
from tests.conformance.octt import report
from tests.conformance.octt.__main__ import main
from tests.conformance.octt.applicability import CORE, decide_all_cases, load_catalogue
from tests.conformance.octt.cases import PLAYS
from tests.conformance.octt.mutants import MUTANTS
from tests.conformance.octt.runner import MeasuredTimes, Outcome, Runner

CERTIFIED = "evs-flash-300"
SAMPLE = ("TC_B_06_CS", "TC_B_13_CS", "TC_B_20_CS", "TC_E_03_CS", "TC_F_09_CS", "TC_G_03_CS")


@pytest.mark.parametrize("profile", profile_names())
def test_every_applicable_case_of_core_has_its_function(profile: str) -> None:
    decided = decide_all_cases(load_profile(profile)).values()
    applicable = {
        applicability.case.id
        for applicability in decided
        if applicability.applies and applicability.case.profile == CORE
    }
    assert applicable <= set(PLAYS)


def test_every_function_is_a_case() -> None:
    assert set(PLAYS) <= {case.id for case in load_catalogue()}


def test_every_mutant_names_cases_that_exist() -> None:
    assert all(
        set(mutant.failing_cases) <= set(PLAYS) and mutant.failing_cases
        for mutant in MUTANTS.values()
    )


def test_a_sample_of_the_cases_passes() -> None:
    outcomes = Runner(CERTIFIED, jobs=2).run_cases(SAMPLE)
    assert [outcome.case_id for outcome in outcomes] == list(SAMPLE)
    failed = {
        outcome.case_id: f"{outcome.reason}\n{outcome.trace}"
        for outcome in outcomes
        if not outcome.passed
    }
    assert failed == {}
    assert all(outcome.measured.responses for outcome in outcomes)


@pytest.mark.parametrize(
    ("name", "case_id", "message"),
    [
        ("id-token", "TC_E_04_CS", "idToken.idToken must be"),
        ("network-profile", "TC_B_43_CS", "status must be 'Rejected'"),
    ],
)
def test_a_mutant_is_detected_and_the_field_named(name: str, case_id: str, message: str) -> None:
    program = (sys.executable, "-m", "tests.conformance.octt.mutants.station", name)
    [outcome] = Runner(CERTIFIED, jobs=1, program=program).run_cases([case_id])
    assert not outcome.passed
    assert message in outcome.reason


def test_a_station_that_does_not_start_fails_the_case() -> None:
    [outcome] = Runner(CERTIFIED, jobs=1, program=(sys.executable, "-c", "")).run_cases(
        ["TC_B_06_CS"]
    )
    assert not outcome.passed
    assert "did not start" in outcome.reason


def test_the_report_has_a_line_for_every_case(tmp_path: Path) -> None:
    product = load_profile(CERTIFIED)
    decided = decide_all_cases(product)
    outcomes = [
        Outcome("TC_B_06_CS", True, measured=MeasuredTimes(responses=(0.1, 0.3))),
        Outcome("TC_B_07_CS", False, "step 2: attributeValue must be 'true', is 'false'"),
    ]
    report.write_report(tmp_path / "out.json", decided, outcomes, product)
    written = json.loads((tmp_path / "out.json").read_text())
    results = {row["id"]: row["result"] for row in written["cases"]}
    assert len(results) == len(decided)
    assert (results["TC_B_06_CS"], results["TC_B_07_CS"]) == ("pass", "fail")
    assert results["TC_E_09_CS"] == results["TC_A_19_CS"] == "not_applicable"
    times = written["kpi"]["OCPP response time"]
    assert (times["count"], times["min_s"], times["max_s"], times["average_s"]) == (
        2,
        0.1,
        0.3,
        0.2,
    )
    text = "\n".join(report.abstract_lines(decided, outcomes, product))
    assert "Core                                   1 of 164 passed, 162 not run" in text
    assert "FAIL  TC_B_07_CS" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--case", "TC_X_99"], "is no test case"),
        (["--case", "TC_B_25"], "does not apply"),  # and is not implemented
        (["--profile", "nothing"], "is not a profile"),
    ],
)
def test_a_case_that_cannot_run_is_a_usage_error(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_the_list_gives_the_reason() -> None:
    result = CliRunner().invoke(main, ["--list", "--case", "tc_c_08"])
    assert result.output.startswith("TC_C_08_CS ")
    assert "C-49=Yes" in result.output
