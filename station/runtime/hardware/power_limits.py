"""How much current may an EVSE offer right now?"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal
from typing import Final

from drivers.ports import ModuleLimits, PowerFunction
from drivers.settings import SeccSettings
from station.runtime.hardware.inputs import EvseInputs

LIMIT_STEP_A: Final = Decimal(1)  # smaller changes are not told to the EV


def current_limit_a(
    inputs: EvseInputs,
    modules: Sequence[ModuleLimits],
    *,
    power_max_w: int,
    settings: SeccSettings,
    cooling_works: bool,
) -> Decimal:
    """The most the EVSE may give: modules, product, cable.

    Args:
        senses: of the EVSE.
        modules: those that can give power to it.
        power_max_w: of the EVSE.
        settings: the cable's temperatures and its rating without cooling.
        cooled: the cable's cooling works.

    Returns:
        Whole amperes, rounded down; 0: nothing may flow.
    """
    if not modules:
        return Decimal(0)
    power_w = min(power_max_w, sum(module.power_w for module in modules))
    limit_a = min(
        Decimal(sum(module.current_max_ma for module in modules)).scaleb(-3),
        power_w / _voltage_v(inputs, modules),
    )
    if not cooling_works:
        limit_a = min(limit_a, Decimal(settings.passive_a))
    return (limit_a * _derating_factor(inputs.cable_c, settings)).quantize(LIMIT_STEP_A, ROUND_DOWN)


def voltage_range_v(modules: Sequence[ModuleLimits]) -> tuple[int, int]:
    """The least and the most volts that all of the modules can give; 0, 0 without any."""
    if not modules:
        return 0, 0
    return (
        max(module.voltage_min_v for module in modules),
        min(module.voltage_max_v for module in modules),
    )


def _voltage_v(inputs: EvseInputs, modules: Sequence[ModuleLimits]) -> Decimal:
    """At which voltage the power is given: as measured, else the highest it may become."""
    request = inputs.power_request
    if request is not None and request.function is PowerFunction.POWER_TRANSFER:
        return max(inputs.output_v, Decimal(min(module.voltage_min_v for module in modules)))
    return inputs.ev.voltage_max_v or Decimal(max(module.voltage_max_v for module in modules))


def _derating_factor(cable_c: int | None, settings: SeccSettings) -> Decimal:
    """1 below the first temperature, falling to 0 at the second; unknown is what the cable was
    made for, for the controller reports it only once a second."""
    if cable_c is None or cable_c < settings.cable_derate_c:
        return Decimal(1)
    span_c = settings.cable_stop_c - settings.cable_derate_c
    return Decimal(max(settings.cable_stop_c - cable_c, 0)) / Decimal(max(span_c, 1))
