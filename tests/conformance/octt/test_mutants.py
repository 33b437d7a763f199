"""Every certified case has a mutant that makes it fail, and every mutant can be patched in."""

from __future__ import annotations

import subprocess
import sys

from station.profiles import load_profile
from tests.conformance.octt.applicability import decide_all_cases
from tests.conformance.octt.cases import PLAYS
from tests.conformance.octt.mutants import MUTANTS

# Not testable by a mutant: without the right password the bench refuses the station.
WITHOUT = {"TC_A_01_CS"}


CERTIFIED = "evs-flash-300"


def _cases_of(product: str) -> set[str]:
    decided = decide_all_cases(load_profile(product))
    return {case for case, verdict in decided.items() if verdict.applies and case in PLAYS}


def test_every_certified_case_has_a_mutant() -> None:
    failing = {case for mutant in MUTANTS.values() for case in mutant.failing_cases}
    assert _cases_of(CERTIFIED) - failing == WITHOUT


def test_the_cases_of_a_mutant_apply_to_its_product() -> None:
    cases = {product: _cases_of(product) for product in (CERTIFIED, "development")}
    for name, mutant in MUTANTS.items():
        assert set(mutant.failing_cases) <= cases[mutant.profile or CERTIFIED], name


def test_every_mutant_has_a_description_of_its_own() -> None:
    descriptions = [mutant.description for mutant in MUTANTS.values()]
    assert all(descriptions)
    assert len({*descriptions}) == len(descriptions)


# Applies every patch, each in a forked process, and prints the mutants with a patch that fails.
APPLY_EVERY_PATCH = """
import os, traceback
import station.core.decide, station.runtime.app  # once, not in each process
from tests.conformance.octt.mutants import MUTANTS

for name, mutant in MUTANTS.items():
    child = os.fork()
    if not child:
        try:
            mutant.patch()
        except BaseException:
            print(name, traceback.format_exc(limit=-1), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_every_patch_finds_what_it_replaces() -> None:
    """Patches name functions of the product by strings, which a rename does not follow."""
    program = [sys.executable, "-c", APPLY_EVERY_PATCH]
    finished = subprocess.run(program, capture_output=True, text=True, check=True)
    assert finished.stdout == ""
