"""Current limit of an EVSE: power modules, product, cable and its temperature."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal
from typing import Final

from drivers.ports import ModuleLimits, PowerFunction
from drivers.settings import SeccSettings
from station.runtime.hardware.inputs import EvseInputs

LIMIT_STEP_A: Final = Decimal(1)  # smaller changes are not sent to the EV


def current_limit_a(
    inputs: EvseInputs,
    modules: Sequence[ModuleLimits],
    *,
    power_max_w: int,
    settings: SeccSettings,
    cooling_works: bool,
) -> Decimal:
    """The highest current the EVSE may give.

    Args:
        inputs: of the EVSE.
        modules: those that can give power to it.
        power_max_w: of the EVSE.
        settings: the cable's temperatures and its rating without cooling.
        cooling_works: the cable is cooled.

    Returns:
        Whole amperes, rounded down; 0: no current is allowed.
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
    """The lowest and the highest voltage that all of the modules can give; 0, 0 without any."""
    if not modules:
        return 0, 0
    return (
        max(module.voltage_min_v for module in modules),
        min(module.voltage_max_v for module in modules),
    )


def _voltage_v(inputs: EvseInputs, modules: Sequence[ModuleLimits]) -> Decimal:
    """Voltage of the power: as measured during transfer, else the highest it may become."""
    request = inputs.power_request
    if request is not None and request.function is PowerFunction.POWER_TRANSFER:
        return max(inputs.output_v, Decimal(min(module.voltage_min_v for module in modules)))
    return inputs.ev.voltage_max_v or Decimal(max(module.voltage_max_v for module in modules))


def _derating_factor(cable_c: int | None, settings: SeccSettings) -> Decimal:
    """1 below `cable_derate_c`, falling to 0 at `cable_stop_c`.

    1 while the temperature is unknown: the controller reports it only once a second.
    """
    if cable_c is None or cable_c < settings.cable_derate_c:
        return Decimal(1)
    span_c = settings.cable_stop_c - settings.cable_derate_c
    return Decimal(max(settings.cable_stop_c - cable_c, 0)) / Decimal(max(span_c, 1))
