"""Mutants of smart charging, on the development profile: the certified product has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import msgspec

from tests.conformance.octt.mutants.fault import (
    Mutant,
    Patch,
    patch_response,
    replace_attribute,
    replace_handler,
)

PRODUCT = "development"


def _replace_name(module: str, name: str, make: Callable[[Any], Any]) -> None:
    """Replace a name in one module of the block only, by what `make` returns for its value."""
    owner = import_module(f"station.core.blocks.k_smart_charging.{module}")
    setattr(owner, name, make(getattr(owner, name)))


def _change_request(action: str, change: Callable[[Any], Any]) -> Patch:
    """The handler of an action gets a changed request."""

    def patch() -> None:
        from station.core import decide

        def make(original: Any) -> Any:
            return lambda ctx, call, request: original(ctx, call, change(request))

        replace_handler(decide.CALLS, action, make)

    return patch


def _change_installed_profile(change: Callable[[dict[str, Any]], None]) -> Patch:
    """Profiles are installed with a change, though the answer is that of the received one."""

    def make(original: Any) -> Any:
        def encode(profile: Any) -> msgspec.Raw:
            data = msgspec.json.decode(bytes(original(profile)))
            change(data)
            return msgspec.Raw(msgspec.json.encode(data))

        return encode

    return lambda: _replace_name("charging_profiles", "encode_raw", make)


def _without_check(name: str) -> Patch:
    """A check of profiles is left out."""

    def make(checks: Any) -> Any:
        left = tuple(check for check in checks if check.__name__ != name)
        assert len(left) == len(checks) - 1, f"there is no check {name}"
        return left

    return lambda: _replace_name("profile_checks", "_CHECKS", make)


def _omit_validity(profile: dict[str, Any]) -> None:
    profile.pop("validFrom", None)
    profile.pop("validTo", None)


def _start_early(profile: dict[str, Any]) -> None:
    profile["chargingSchedule"][0]["startSchedule"] = "2020-01-01T00:00:00Z"


def _lower_limits(profile: dict[str, Any]) -> None:
    for period in profile["chargingSchedule"][0]["chargingSchedulePeriod"]:
        period["limit"] = 1


def _ignore_stack_level() -> None:
    from station.core.blocks.k_smart_charging import schedule

    replace_attribute(
        schedule,
        "_by_stack_level",
        lambda original: (
            lambda constraints: schedule._lowest(
                [schedule._constraint_curve(each) for each in constraints]
            )
        ),
    )


def _ignore_purpose(name: str) -> Patch:
    """Profiles of a purpose, named as in `limits.py`, do not count."""
    return lambda: _replace_name("limits", name, lambda _: "-")


def _one_evse_for_all() -> None:
    """The schedule of EVSE 0 is that of one EVSE."""
    from station.core.blocks.k_smart_charging import schedule

    replace_attribute(schedule, "_total", lambda original: lambda curves: original(curves[:1]))


def _install_nothing_at_start() -> None:
    from station.core.blocks.k_smart_charging import charging_profiles

    replace_attribute(
        charging_profiles, "install_with_start", lambda original: lambda *args: iter(())
    )


def _forget_at_start() -> None:
    """A start of the program removes all profiles."""
    from journal.observations import StationStarted
    from journal.projections.charging_profiles import ChargingProfiles
    from journal.state import PROJECTIONS_BY_EVENT

    original = ChargingProfiles.apply

    def apply(self: ChargingProfiles, entry: Any) -> ChargingProfiles:
        if isinstance(entry.event, StationStarted):
            return ChargingProfiles()
        return original(self, entry)

    ChargingProfiles.apply = apply  # type: ignore[method-assign]
    PROJECTIONS_BY_EVENT[StationStarted] += ("charging_profiles",)


def _ignore_criterion(name: str) -> Patch:
    """A criterion of GetChargingProfiles is ignored."""

    def change(request: Any) -> Any:
        criterion = msgspec.structs.replace(request.charging_profile, **{name: None})
        return msgspec.structs.replace(request, charging_profile=criterion)

    return _change_request("GetChargingProfiles", change)


def _replace_unit(request: Any) -> Any:
    return msgspec.structs.replace(request, charging_rate_unit="W")


def _replace_profile_unit(request: Any) -> Any:
    [schedule] = request.charging_profile.charging_schedule
    schedule = msgspec.structs.replace(schedule, charging_rate_unit="W")
    profile = msgspec.structs.replace(request.charging_profile, charging_schedule=(schedule,))
    return msgspec.structs.replace(request, charging_profile=profile)


def _first_evse(request: Any) -> Any:
    return msgspec.structs.replace(request, evse_id=1)


MUTANTS: Mapping[str, Mutant] = {
    "profile-not-installed": Mutant(
        patch_response("SetChargingProfile", "Accepted"),
        (
            "TC_K_01_CS",
            "TC_K_10_CS",
            "TC_K_60_CS",
            "TC_K_03_CS",
            "TC_K_11_CS",
            "TC_K_12_CS",
            "TC_K_31_CS",
            "TC_K_04_CS",
        ),
        "SetChargingProfile is accepted and has no effect",
        PRODUCT,
    ),
    "profile-refused": Mutant(
        patch_response("SetChargingProfile", "Rejected"),
        ("TC_K_19_CS", "TC_K_24_CS", "TC_K_05_CS"),
        "SetChargingProfile is refused",
        PRODUCT,
    ),
    "profile-changed": Mutant(
        _change_installed_profile(_lower_limits),
        ("TC_K_01_CS", "TC_K_04_CS", "TC_K_28_CS", "TC_K_09_CS"),
        "a profile is installed with other limits",
        PRODUCT,
    ),
    "profile-purpose": Mutant(
        _without_check("_check_purpose"),
        ("TC_K_14_CS",),
        "purpose and evseId of a profile are not checked",
        PRODUCT,
    ),
    "profile-transaction": Mutant(
        _without_check("_check_transaction"),
        ("TC_K_02_CS", "TC_K_16_CS"),
        "the transaction of a TxProfile is not checked",
        PRODUCT,
    ),
    "profile-unit": Mutant(
        _change_request("SetChargingProfile", _replace_profile_unit),
        ("TC_K_12_CS",),
        "chargingRateUnit of a profile is ignored",
        PRODUCT,
    ),
    "profile-restart": Mutant(
        _forget_at_start,
        ("TC_K_13_CS",),
        "a restart removes the charging profiles",
        PRODUCT,
    ),
    "profile-validity": Mutant(
        _change_installed_profile(_omit_validity),
        ("TC_K_21_CS", "TC_K_22_CS"),
        "validFrom and validTo are ignored",
        PRODUCT,
    ),
    "profile-start": Mutant(
        _change_installed_profile(_start_early),
        ("TC_K_23_CS", "TC_K_40_CS"),
        "startSchedule is ignored",
        PRODUCT,
    ),
    "start-profile": Mutant(
        _install_nothing_at_start,
        ("TC_K_37_CS",),
        "the profile of a RequestStartTransaction is ignored",
        PRODUCT,
    ),
    "composite-refused": Mutant(
        patch_response("GetCompositeSchedule", "Rejected"),
        ("TC_K_39_CS",),
        "GetCompositeSchedule is refused",
        PRODUCT,
    ),
    "stack-level": Mutant(
        _ignore_stack_level,
        ("TC_K_40_CS",),
        "the lowest of all stack levels counts",
        PRODUCT,
    ),
    "tx-profile": Mutant(
        _ignore_purpose("PURPOSE_TX"),
        ("TC_K_41_CS",),
        "a TxProfile does not count",
        PRODUCT,
    ),
    "station-max": Mutant(
        _ignore_purpose("PURPOSE_MAX"),
        ("TC_K_41_CS",),
        "ChargingStationMaxProfile does not count",
        PRODUCT,
    ),
    "one-evse": Mutant(
        _one_evse_for_all,
        ("TC_K_22_CS",),
        "EVSE 0 is one EVSE in composite schedules",
        PRODUCT,
    ),
    "composite-unit": Mutant(
        _change_request("GetCompositeSchedule", _replace_unit),
        ("TC_K_42_CS",),
        "chargingRateUnit of a composite schedule is ignored",
        PRODUCT,
    ),
    "composite-evse": Mutant(
        _change_request("GetCompositeSchedule", _first_evse),
        ("TC_K_47_CS",),
        "evseId of a composite schedule is ignored",
        PRODUCT,
    ),
    "report-evse": Mutant(
        _change_request(
            "GetChargingProfiles",
            lambda request: msgspec.structs.replace(request, evse_id=None),
        ),
        ("TC_K_29_CS", "TC_K_30_CS"),
        "evseId of GetChargingProfiles is ignored",
        PRODUCT,
    ),
    "report-id": Mutant(
        _ignore_criterion("charging_profile_id"),
        ("TC_K_32_CS",),
        "chargingProfileId of GetChargingProfiles is ignored",
        PRODUCT,
    ),
    "report-level": Mutant(
        _ignore_criterion("stack_level"),
        ("TC_K_33_CS", "TC_K_36_CS"),
        "stackLevel of GetChargingProfiles is ignored",
        PRODUCT,
    ),
    "report-source": Mutant(
        _ignore_criterion("charging_limit_source"),
        ("TC_K_34_CS",),
        "chargingLimitSource of GetChargingProfiles is ignored",
        PRODUCT,
    ),
    "report-purpose": Mutant(
        _ignore_criterion("charging_profile_purpose"),
        ("TC_K_35_CS",),
        "chargingProfilePurpose of GetChargingProfiles is ignored",
        PRODUCT,
    ),
    "nothing-cleared": Mutant(
        patch_response("ClearChargingProfile", "Accepted"),
        (
            "TC_K_05_CS",
            "TC_K_06_CS",
            "TC_K_07_CS",
            "TC_K_08_CS",
            "TC_K_09_CS",
            "TC_K_24_CS",
        ),
        "ClearChargingProfile is accepted and has no effect",
        PRODUCT,
    ),
}
