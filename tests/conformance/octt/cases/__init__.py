"""The test cases, one module per functional block, each case a function named by its id.

`PLAYS` is the table of all: test case id to function. A new module must be added to `MODULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType

from tests.conformance.octt.cases import (
    a_security,
    b_provisioning,
    b_reports,
    b_reset,
    c_authorization,
    c_cache,
    d_local_list,
    e_offline,
    e_points,
    e_transactions,
    f_remote_control,
    g_availability,
    h_reservation,
    i_tariff_and_cost,
    j_metering,
    k_smart_charging,
    l_firmware,
    m_certificates,
    n_diagnostics,
    n_monitoring,
    o_display_messages,
    p_data_transfer,
)
from tests.conformance.octt.tester import Tester

CaseFunction = Callable[[Tester], None]

MODULES: tuple[ModuleType, ...] = (
    a_security,
    b_provisioning,
    b_reports,
    b_reset,
    c_authorization,
    c_cache,
    d_local_list,
    e_transactions,
    e_points,
    e_offline,
    f_remote_control,
    g_availability,
    h_reservation,
    i_tariff_and_cost,
    j_metering,
    k_smart_charging,
    l_firmware,
    m_certificates,
    n_diagnostics,
    n_monitoring,
    o_display_messages,
    p_data_transfer,
)


def _cases_of(module: ModuleType) -> Mapping[str, CaseFunction]:
    return {
        name.upper(): case_function
        for name, case_function in vars(module).items()
        if name.startswith("tc_") and name.endswith("_cs")
    }


PLAYS: Mapping[str, CaseFunction] = {
    case_id: play for module in MODULES for case_id, play in _cases_of(module).items()
}


def security_profile_of(case_function: CaseFunction) -> int:
    """The security profile the station starts with."""
    return int(getattr(case_function, "security_profile", 2))


def wants_root_check(case_function: CaseFunction) -> bool:
    """Whether the station starts with AdditionalRootCertificateCheck."""
    return bool(getattr(case_function, "root_check", False))


def wants_fresh_station(case_function: CaseFunction) -> bool:
    """Whether a case needs a station that no other case used or will use."""
    return bool(getattr(case_function, "fresh", False))
