"""Stations with one deliberate fault each: the compliance tool must detect every one.

A mutant is the unchanged program with a function, constant or rule replaced before it starts. The
product has no code for this: `python -m tests.conformance.octt.mutants.station NAME run --config …`
patches and runs. Each mutant lists the cases that must fail on it. All together list every
certified case, and every case of the profiles that only `development` has: a case that no fault
makes fail checks nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.conformance.octt.mutants import (
    advanced_security,
    authorization,
    k_smart_charging,
    local_list,
    n_monitoring,
    operation,
    provisioning,
    reports,
    reservation,
    runtime,
    transactions,
    user_interface,
)
from tests.conformance.octt.mutants.fault import Mutant

MUTANTS: Mapping[str, Mutant] = {
    **advanced_security.MUTANTS,
    **provisioning.MUTANTS,
    **authorization.MUTANTS,
    **transactions.MUTANTS,
    **operation.MUTANTS,
    **k_smart_charging.MUTANTS,
    **n_monitoring.MUTANTS,
    **reservation.MUTANTS,
    **local_list.MUTANTS,
    **reports.MUTANTS,
    **runtime.MUTANTS,
    **user_interface.MUTANTS,
}
