"""Can every case fail? Each certified one is named by a mutant that must turn it red."""

from __future__ import annotations

from station.profiles import load_profile
from tests.conformance.octt.applicability import decide_all_cases
from tests.conformance.octt.cases import PLAYS
from tests.conformance.octt.mutants import MUTANTS

# A station that shows a wrong password never gets as far as the case: the bench admits nobody else.
WITHOUT = {"TC_A_01_CS"}


def test_every_certified_case_has_a_mutant() -> None:
    decided = decide_all_cases(load_profile("evs-flash-300"))
    played = {case for case, verdict in decided.items() if verdict.applies and case in PLAYS}
    killed = {case for mutant in MUTANTS.values() for case in mutant.failing_cases}
    assert played - killed == WITHOUT
    assert killed <= played


def test_every_mutant_says_what_is_wrong_with_it() -> None:
    words = [mutant.description for mutant in MUTANTS.values()]
    assert all(words)
    assert len({*words}) == len(words)
