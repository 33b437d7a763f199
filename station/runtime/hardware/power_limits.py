"""Limits of an EVSE by its hardware: power modules, product, cable and its temperature.

Each limit has a name, so that a report can say what limits the current.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import ROUND_DOWN, Decimal
from typing import Final, Literal, NamedTuple

from drivers.ports import ModuleLimits, PowerFunction
from drivers.settings import SeccSettings
from station.runtime.hardware.inputs import EvseInputs

LIMIT_STEP_A: Final = Decimal(1)  # smaller changes are not sent to the EV
# A limit is raised only by this much more than one step, so that a voltage that varies a little
# does not change it in every round.
RAISE_MARGIN_A: Final = Decimal("0.2")
RAISE_MARGIN: Final = Decimal("0.005")  # of the limit

HardwareLimiter = Literal["modules", "product", "cooling", "cable"]


class Derating(NamedTuple):
    """Hardware that allows less power than it does in good order and when it is cool."""

    cause: Literal["modules", "cooling", "cable"]
    limit_w: int
    rated_w: int  # without derating, at the same voltage


class HardwareLimit(NamedTuple):
    """The highest current that the hardware of an EVSE allows, and what limits it."""

    current_a: Decimal  # exact; 0: none
    voltage_v: Decimal  # that power is computed with
    limiter: HardwareLimiter
    rated_a: Decimal  # with all modules and a cool cable

    @property
    def power_w(self) -> int:
        """Whole watts, rounded down."""
        return int(self.current_a * self.voltage_v)

    def find_derating(self, part: Decimal) -> Derating | None:
        """The derating, if it takes more than this part of the power; None: it does not."""
        if self.limiter == "product" or self.current_a >= self.rated_a * (1 - part):
            return None
        return Derating(self.limiter, self.power_w, int(self.rated_a * self.voltage_v))


def hardware_limit(
    inputs: EvseInputs,
    modules: Sequence[ModuleLimits],
    *,
    module_count: int,
    power_max_w: int,
    settings: SeccSettings,
    cooling_works: bool,
) -> HardwareLimit:
    """What the hardware of an EVSE allows now.

    Args:
        inputs: of the EVSE.
        modules: those that can give power to it.
        module_count: as wired to it; those that are missing count like the strongest of the others.
        power_max_w: of the EVSE.
        settings: the cable's temperatures and its rating without cooling.
        cooling_works: the cable is cooled.
    """
    if not modules:
        return HardwareLimit(Decimal(0), Decimal(1), "modules", Decimal(0))
    voltage_v = _power_voltage_v(inputs, modules)
    product_a = power_max_w / voltage_v
    limits: dict[HardwareLimiter, Decimal] = {
        "modules": min(
            Decimal(sum(module.current_max_ma for module in modules)).scaleb(-3),
            sum(module.power_w for module in modules) / voltage_v,
        ),
        "product": product_a,
    }
    all_modules_a = module_count * min(
        Decimal(max(module.current_max_ma for module in modules)).scaleb(-3),
        max(module.power_w for module in modules) / voltage_v,
    )
    if not cooling_works:
        limits["cooling"] = Decimal(settings.passive_a)
    limiter = min(limits, key=lambda name: limits[name])
    factor = _derating_factor(inputs.cable_c, settings)
    return HardwareLimit(
        limits[limiter] * factor,
        voltage_v,
        "cable" if factor < 1 else limiter,
        rated_a=min(product_a, all_modules_a),
    )


def round_limit_a(exact_a: Decimal, previous_a: Decimal) -> Decimal:
    """A limit in whole amperes, rounded down; `previous_a` if it has hardly risen above that."""
    margin_a = max(RAISE_MARGIN_A, previous_a * RAISE_MARGIN)
    if previous_a <= exact_a < previous_a + LIMIT_STEP_A + margin_a:
        return previous_a
    return exact_a.quantize(LIMIT_STEP_A, ROUND_DOWN)


def voltage_range_v(modules: Sequence[ModuleLimits]) -> tuple[int, int]:
    """The lowest and the highest voltage that all of the modules can give; 0, 0 without any."""
    if not modules:
        return 0, 0
    return (
        max(module.voltage_min_v for module in modules),
        min(module.voltage_max_v for module in modules),
    )


def _power_voltage_v(inputs: EvseInputs, modules: Sequence[ModuleLimits]) -> Decimal:
    """Voltage of the power: as measured during transfer, else the highest it may become."""
    return max(_voltages_v(inputs, modules))


def _voltages_v(inputs: EvseInputs, modules: Sequence[ModuleLimits]) -> Iterator[Decimal]:
    yield Decimal(1)
    request = inputs.power_request
    if request is not None and request.function is PowerFunction.POWER_TRANSFER:
        yield inputs.output_v
        yield Decimal(min(module.voltage_min_v for module in modules))
    else:
        yield inputs.ev.voltage_max_v or Decimal(max(module.voltage_max_v for module in modules))


def _derating_factor(cable_c: int | None, settings: SeccSettings) -> Decimal:
    """1 below `cable_derate_c`, falling to 0 at `cable_stop_c`.

    1 while the temperature is unknown: the controller reports it only once a second.
    """
    if cable_c is None or cable_c < settings.cable_derate_c:
        return Decimal(1)
    span_c = settings.cable_stop_c - settings.cable_derate_c
    return Decimal(max(settings.cable_stop_c - cable_c, 0)) / Decimal(max(span_c, 1))
