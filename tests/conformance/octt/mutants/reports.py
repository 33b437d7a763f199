"""Mutants of GetReport and SummaryInventory; these cases are not among those certified."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tests.conformance.octt.mutants.fault import Mutant, replace_attribute, replace_handler

PRODUCT = "development"


def _change_request(**changes: Any) -> Any:
    """GetReport with other fields than the CSMS sent."""

    def patch() -> None:
        from station.core import decide

        def make(original: Any) -> Any:
            return lambda ctx, call, request: original(
                ctx, call, msgspec.structs.replace(request, **changes)
            )

        replace_handler(decide.CALLS, "GetReport", make)

    return patch


def _change_filter(**changes: Any) -> Any:
    """Each componentVariable restricts less than it should, or more."""

    def patch() -> None:
        from station.core.device_model.reports import ReportFilter

        def make(original: Any) -> Any:
            return lambda self, key: original(msgspec.structs.replace(self, **changes), key)

        replace_attribute(ReportFilter, "matches", make)

    return patch


def _match_exactly() -> None:
    """A filter without an EVSE or an instance matches only variables that have none."""
    from station.core.device_model.reports import ReportFilter

    def make(original: Any) -> Any:
        return lambda self, key: (
            original(self, key)
            and self.component.evse_id == key.component.evse_id
            and (self.instance or None) == key.instance
        )

    replace_attribute(ReportFilter, "matches", make)


def _summarize_nothing() -> None:
    from station.core.device_model import reports

    reports.INVENTORIES["SummaryInventory"] = lambda model, read_value: iter(
        definition for definition in model.definitions if definition.key.name == "Problem"
    )


def _summarize_everything() -> None:
    from station.core.device_model import reports

    reports.INVENTORIES["SummaryInventory"] = reports.full_inventory


def _require_every_criterion() -> None:
    """A component without the variable of a criterion does not meet it; none is Enabled."""
    from station.core.device_model import reports

    reports.CRITERIA.update(dict.fromkeys(reports.CRITERIA, False))
    replace_attribute(reports, "_meets_criterion", lambda _: lambda *args: False)


MUTANTS: Mapping[str, Mutant] = {
    "inventory-summary-empty": Mutant(
        _summarize_nothing, ("TC_B_14_CS",), "a summary reports no availability", PRODUCT
    ),
    "inventory-summary-full": Mutant(
        _summarize_everything, ("TC_B_14_CS",), "a summary reports every variable", PRODUCT
    ),
    "custom-report-criteria": Mutant(
        _change_request(component_criteria=None),
        ("TC_B_16_CS", "TC_B_18_CS"),
        "GetReport ignores componentCriteria",
        PRODUCT,
    ),
    "custom-report-nothing-enabled": Mutant(
        _require_every_criterion,
        ("TC_B_16_CS", "TC_B_18_CS"),
        "no component meets a criterion of GetReport",
        PRODUCT,
    ),
    "custom-report-filters": Mutant(
        _change_request(component_variable=None),
        ("TC_B_17_CS", "TC_B_18_CS", "TC_B_55_CS", "TC_B_56_CS"),
        "GetReport ignores componentVariable",
        PRODUCT,
    ),
    "custom-report-instance": Mutant(
        _change_filter(instance=None),
        ("TC_B_55_CS",),
        "GetReport ignores the instance of a variable",
        PRODUCT,
    ),
    "custom-report-exact": Mutant(
        _match_exactly,
        ("TC_B_54_CS", "TC_B_56_CS"),
        "GetReport takes an absent EVSE or instance for none",
        PRODUCT,
    ),
}
