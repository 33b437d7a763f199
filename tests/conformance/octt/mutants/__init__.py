"""Stations with one deliberate fault each: the tool must notice every one of them.

A mutant is the program as it is, with one function replaced before it starts. Nothing in the
product knows of this: `python -m tests.conformance.octt.mutants.station NAME run --config …` patches and runs.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.conformance.octt.mutants import body, judgement
from tests.conformance.octt.mutants.fault import Mutant

MUTANTS: Mapping[str, Mutant] = {**judgement.MUTANTS, **body.MUTANTS}
