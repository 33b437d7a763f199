"""Limits of an EVSE by its hardware."""

from __future__ import annotations

from decimal import Decimal

import pytest

from drivers.ports import ModuleLimits, PowerFunction, PowerRequest
from drivers.settings import SeccSettings
from station.runtime.hardware.inputs import EvseInputs
from station.runtime.hardware.power_limits import (
    Derating,
    HardwareLimit,
    hardware_limit,
    round_limit_a,
)

MODULES = [ModuleLimits(address, 1000, 150, 100_000, 30_000) for address in range(3)]


def limit_at(
    voltage_v: str = "400",
    *,
    cable_c: int = 30,
    power_max_w: int = 300_000,
    cooled: bool = True,
    module_count: int = 3,
) -> HardwareLimit:
    """The limit of an EVSE with three modules while energy flows."""
    request = PowerRequest(
        PowerFunction.POWER_TRANSFER, Decimal(450), Decimal(200), contactors_closed=True,
        lower_voltage=False,
    )  # fmt: skip
    inputs = EvseInputs(1, power_request=request, output_v=Decimal(voltage_v), cable_c=cable_c)
    settings = SeccSettings(driver="advantics", port="can0")
    return hardware_limit(
        inputs,
        MODULES,
        module_count=module_count,
        power_max_w=power_max_w,
        settings=settings,
        cooling_works=cooled,
    )


@pytest.mark.parametrize(
    ("limit", "current_a", "limiter"),
    [
        (limit_at("400"), "225", "modules"),  # 3 x 30 kW
        (limit_at("200"), "300", "modules"),  # 3 x 100 A
        (limit_at("400", power_max_w=50_000), "125", "product"),
        (limit_at("400", cooled=False), "200", "cooling"),
        (limit_at("400", cable_c=85), "112.5", "cable"),
        (limit_at("400", cable_c=90), "0", "cable"),
    ],
    ids=["power", "current", "product", "cooling", "warm", "hot"],
)
def test_the_lowest_limit_counts_and_has_a_name(
    limit: HardwareLimit, current_a: str, limiter: str
) -> None:
    assert (limit.current_a, limit.limiter) == (Decimal(current_a), limiter)


def test_without_modules_there_is_no_power() -> None:
    settings = SeccSettings(driver="advantics", port="can0")
    limit = hardware_limit(
        EvseInputs(1),
        [],
        module_count=3,
        power_max_w=300_000,
        settings=settings,
        cooling_works=True,
    )
    assert limit.power_w == 0


@pytest.mark.parametrize(
    ("limit", "derating"),
    [
        (limit_at("400"), None),
        (limit_at("200"), None),  # the modules' current is no derating
        (limit_at("400", power_max_w=50_000, module_count=4), None),  # enough without the fourth
        (limit_at("400", module_count=4), Derating("modules", 90_000, 120_000)),
        (limit_at("400", cooled=False), Derating("cooling", 80_000, 90_000)),
        (limit_at("400", cable_c=85), Derating("cable", 45_000, 90_000)),
    ],
    ids=["power", "current", "spare", "missing", "cooling", "warm"],
)
def test_a_derating_is_what_good_and_cool_hardware_would_give_more(
    limit: HardwareLimit, derating: Derating | None
) -> None:
    assert limit.find_derating(Decimal("0.05")) == derating


@pytest.mark.parametrize(
    ("exact_a", "previous_a", "rounded_a"),
    [
        ("99.9", "100", "99"),  # lower at once
        ("100.9", "100", "100"),
        ("101.4", "100", "100"),  # hardly above the next step: a voltage that varies
        ("101.6", "100", "101"),
        ("1.9", "0", "1"),
        ("0.9", "5", "0"),
        ("250", "0", "250"),
    ],
)
def test_a_limit_is_rounded_down_and_does_not_alternate(
    exact_a: str, previous_a: str, rounded_a: str
) -> None:
    assert round_limit_a(Decimal(exact_a), Decimal(previous_a)) == Decimal(rounded_a)
