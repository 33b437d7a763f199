"""Mutants of blocks A and B: security, provisioning, variables, reset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tests.conformance.octt.mutants.fault import (
    Mutant,
    patch_constant_result,
    patch_response,
    remove_rule,
    replace_attribute,
    replace_handler,
    replace_rule,
)


def _boot_retry_at_once() -> None:
    from station.core.blocks import b_registration

    replace_attribute(
        b_registration,
        "RegistrationAnswered",
        lambda original: lambda status, _: original(status, 1),
    )


def _boot_reason_unknown() -> None:
    from station.core.blocks import b_reset

    replace_attribute(
        b_reset, "BOOT_REASON_BY_SCHEDULED", lambda _: {False: "Unknown", True: "Unknown"}
    )


def _reject_reading_the_unknown() -> None:
    from station.core.blocks import b_variables

    def make(original: Any) -> Any:
        def read(*args: Any) -> Any:
            result = original(*args)
            if result.attribute_status == "Accepted":
                return result
            return msgspec.structs.replace(result, attribute_status="Rejected")

        return read

    replace_attribute(b_variables, "_get_variable", make)


def _accept_every_value() -> None:
    from station.core.blocks import b_variables

    replace_attribute(b_variables, "_check_new_value", lambda _: lambda *args: None)


def _omit_a_variable() -> None:
    from station.core.device_model.reports import INVENTORIES

    def make(inventory: Any) -> Any:
        return lambda *args: (row for row in inventory(*args) if row.key.name != "OfflineThreshold")

    for base in list(INVENTORIES):
        replace_handler(INVENTORIES, base, make)


def _reject_setting_the_unknown() -> None:
    from station.core.blocks import b_variables

    def make(original: Any) -> Any:
        def set_variable(*args: Any) -> Any:
            result, changes = original(*args)
            if result.attribute_status.startswith("Unknown"):
                result = msgspec.structs.replace(result, attribute_status="Rejected")
            return result, changes

        return set_variable

    replace_attribute(b_variables, "_set_variable", make)


def _reject_every_value() -> None:
    from station.core.blocks import b_variables
    from station.core.device_model.definitions import Refusal

    refusal = Refusal("Rejected", "ReadOnly", "nothing can be set")
    replace_attribute(b_variables, "_check_new_value", lambda _: lambda *args: refusal)


def _ignore_configuration_priority() -> None:
    from station.core.blocks import b_networks

    replace_attribute(
        b_networks, "CONFIGURATION_PRIORITY", lambda _: "OCPPCommCtrlr.FileTransferProtocols"
    )


def _refuse_with_another_error() -> None:
    from station.core import decide

    def make(original: Any) -> Any:
        def call_error(call: Any, code: str, description: str) -> Any:
            return original(call, "InternalError" if code == "SecurityError" else code, description)

        return call_error

    replace_attribute(decide, "call_error", make)


def _resend_after_every_absence() -> None:
    from journal.observations import LinkOpened
    from journal.projections.reported_statuses import StatusResendRequired

    def require_status_resend(ctx: Any) -> Iterator[Any]:
        if isinstance(ctx.entry.event, LinkOpened):
            yield StatusResendRequired("offline")

    replace_rule("b_registration.require_status_resend", require_status_resend)()


MUTANTS: Mapping[str, Mutant] = {
    "reset": Mutant(
        patch_response("Reset", "Accepted"),
        (
            "TC_B_20_CS",
            "TC_B_28_CS",
            "TC_B_29_CS",
        ),
        "Reset is accepted and not performed",
    ),
    "network-profile": Mutant(
        patch_response("SetNetworkProfile", "Accepted"),
        ("TC_A_22_CS", "TC_B_43_CS"),
        "every network profile is accepted",
    ),
    "boot-interval": Mutant(
        _boot_retry_at_once, ("TC_B_03_CS",), "a Rejected station does not wait for the interval"
    ),
    "boot-reason": Mutant(
        _boot_reason_unknown,
        ("TC_B_21_CS", "TC_B_22_CS", "TC_B_23_CS"),
        "the boot reason after a reset is Unknown",
    ),
    "startup-event": Mutant(
        remove_rule("a_security.log_startup"),
        ("TC_B_01_CS", "TC_G_21_CS"),
        "a start is no security event",
    ),
    "security-event": Mutant(
        remove_rule("a_security.log_observed_events"),
        ("TC_A_05_CS",),
        "a bad certificate is no security event",
    ),
    "offline-threshold": Mutant(
        remove_rule("b_registration.require_status_resend"),
        ("TC_B_51_CS",),
        "after a long absence only changed statuses are reported",
    ),
    "unknown-variable": Mutant(
        _reject_reading_the_unknown,
        ("TC_B_32_CS", "TC_B_33_CS", "TC_B_34_CS"),
        "reading an unknown variable is Rejected",
    ),
    "read-only": Mutant(
        _accept_every_value,
        ("TC_B_11_CS", "TC_B_37_CS", "TC_B_39_CS"),
        "every value of every variable can be set",
    ),
    "inventory": Mutant(
        _omit_a_variable,
        ("TC_B_12_CS", "TC_B_13_CS", "TC_B_53_CS"),
        "reports leave out a required variable",
    ),
    "set-unknown": Mutant(
        _reject_setting_the_unknown,
        ("TC_B_35_CS", "TC_B_36_CS"),
        "setting an unknown variable is Rejected",
    ),
    "set": Mutant(_reject_every_value, ("TC_B_09_CS", "TC_B_10_CS"), "no variable can be set"),
    "value": Mutant(
        patch_constant_result("b_variables", "read_attribute", "0"),
        ("TC_B_06_CS", "TC_B_07_CS", "TC_P_03_CS"),
        "every variable reads as 0",
    ),
    "priority": Mutant(
        _ignore_configuration_priority,
        ("TC_B_45_CS", "TC_B_50_CS"),
        "NetworkConfigurationPriority is ignored",
    ),
    "rejected": Mutant(
        _refuse_with_another_error,
        ("TC_B_30_CS",),
        "a Rejected station refuses with another CALLERROR",
    ),
    "short-absence": Mutant(
        _resend_after_every_absence,
        ("TC_B_52_CS",),
        "after a short absence every connector is reported",
    ),
}
