"""Every requirement that binds the station is cited by a test or excused with a reason."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from tests.conformance.requirements import (
    STATION_BOUND,
    Excuses,
    all_verdicts,
    bound_parties,
    citations_of,
    citing_cases,
    load_excuses,
    requirements_in,
    verdict_of,
)


def test_every_requirement_is_cited_or_excused() -> None:
    assert [verdict.requirement for verdict in all_verdicts() if verdict.is_missing] == []


def test_every_excuse_excuses_something() -> None:
    """A requirement that is tested, or does not exist, needs no excuse."""
    excused = load_excuses()
    bound = {
        requirement for requirement, party in bound_parties().items() if party in STATION_BOUND
    }
    uncited = {requirement for requirement in bound if not citations_of(requirement, excused)}
    assert {*excused.same} <= uncited
    assert {*excused.not_built} <= bound
    unused = [
        pattern
        for pattern in (*excused.reasons, *excused.named_only)
        if not any(fnmatchcase(requirement, pattern) for requirement in uncited - {*excused.same})
    ]
    assert unused == []


def test_a_requirement_excused_as_the_same_as_another_has_a_test_there() -> None:
    excused = load_excuses()
    assert [other for other in excused.same.values() if not citations_of(other, excused)] == []


def test_a_case_that_only_names_a_requirement_does_not_count() -> None:
    named = "J01.FR.03"
    assert named in citing_cases()
    assert verdict_of(named, load_excuses()).excuse
    assert verdict_of(
        named, Excuses(reasons={}, same={}, named_only={}, not_built={})
    ).is_by_cases_only


def test_a_requirement_without_citation_is_missing() -> None:
    assert verdict_of("Q99.FR.01", load_excuses()).is_missing


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("def test_that_b05_fr_02()", ["B05.FR.02"]),
        ("_b05_fr_04_fr_05", ["B05.FR.04", "B05.FR.05"]),
        ("_b08_fr_07_to_09", ["B08.FR.07", "B08.FR.08", "B08.FR.09"]),
        ("B05.FR.02/03", ["B05.FR.02", "B05.FR.03"]),
        ("G03.FR.05, G04.FR.06", ["G03.FR.05", "G04.FR.06"]),
        ("A00.FR.312 to 314.", ["A00.FR.312", "A00.FR.313", "A00.FR.314"]),
        ("J01.FR.19/20, FR.22", ["J01.FR.19", "J01.FR.20", "J01.FR.22"]),
        ("_tc_e_17 and 2048 bytes", []),
    ],
)
def test_citations_in_a_text(text: str, cited: list[str]) -> None:
    assert list(requirements_in(text)) == cited
