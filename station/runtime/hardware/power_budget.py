"""The current limit of each EVSE, from all limits: desired state, hardware, and the other EVSEs.

`PowerBudget.update` runs in each round of the control loop, before the power paths:

1. the hardware's limit of each EVSE (`power_limits`), and the limit of the desired state;
2. shares of what the station may give (`power_sharing`): the lower of the product's power and the
   station's limit in the desired state;
3. the share as a current, in whole amperes, at the voltage that it leads to: the voltage of a
   battery rises with the current.

The insulation test and the precharge are not subject to the limit in W: they take a few amperes
for a moment, and without them an EV whose limit is 0 W would not get connected to wait for more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final, Literal

import msgspec

from drivers.ports import PowerFunction
from journal.projections.power_limiters import Limiter as RecordedLimiter
from journal.projections.power_limits import PowerLimit
from station.core.desired import DesiredEvse, DesiredState
from station.runtime.hardware.inputs import EvseInputs
from station.runtime.hardware.power_limits import HardwareLimit, round_limit_a
from station.runtime.hardware.power_path import OPEN_PHASES, PowerPath
from station.runtime.hardware.power_sharing import (
    HUNGRY_SHARE,
    EvseDemand,
    PowerShare,
    share_power,
)

RESISTANCE_MAX_OHM: Final = Decimal("0.15")  # of a battery with its cable and contacts
MINIMUM_A: Final = 1  # an EVSE that may give less gives nothing: no EV charges with it

# What keeps an EVSE from giving more, or its rated power.
Limiter = Literal[RecordedLimiter, "product"]


class EvseBudget(msgspec.Struct, frozen=True):
    """What one EVSE may give now; without a session, what an EV could get if it were alone."""

    current_a: Decimal  # whole amperes
    power_w: int  # the set-point
    limiter: Limiter
    limit_w: int  # what the limiter leaves to the EVSE: the set-point, or what the EV requests


class PowerBudget:
    """Divides what the station may give; see above.

    Attributes:
        by_evse: the budgets of the last round.
        hardware_limits: of the last round, by EVSE id.
    """

    def __init__(self, station_max_w: int, limit_hardware: Callable[[int], HardwareLimit]) -> None:
        """Start without power on any EVSE.

        Args:
            station_max_w: what the product can give at all EVSEs together.
            limit_hardware: gives the hardware's limit of an EVSE now.
        """
        self.by_evse: dict[int, EvseBudget] = {}
        self.hardware_limits: dict[int, HardwareLimit] = {}
        self._station_max_w = station_max_w
        self._limit_hardware = limit_hardware
        self._shares: dict[int, PowerShare] = {}

    def update(
        self, paths: Mapping[int, PowerPath], desired_state: DesiredState, now: float
    ) -> None:
        """Set the current limits of all power paths."""
        desired = {evse.evse_id: evse for evse in desired_state.evses}
        self.hardware_limits = hardware = {
            evse_id: self._limit_hardware(evse_id) for evse_id in paths
        }
        demands = [
            _evse_demand(path, desired.get(evse_id), hardware[evse_id])
            for evse_id, path in paths.items()
        ]
        total_w = self._station_max_w
        if desired_state.station_power_w is not None:
            total_w = min(total_w, desired_state.station_power_w)
        self._shares = share_power(self._shares, demands, total_w, now)
        for demand in demands:
            path, limit = paths[demand.evse_id], hardware[demand.evse_id]
            share = self._shares[demand.evse_id]
            output = path.output
            output.hardware_limit_a = limit.current_a
            output.current_limit_a = _current_a(
                share.setpoint_w, limit, path.inputs, output.current_limit_a
            )
            if not demand.has_session:
                power_w = min(demand.limit_w, total_w)
                current_a, limiter = Decimal(int(power_w / limit.voltage_v)), None
            else:
                power_w, current_a = share.setpoint_w, output.current_limit_a
                limiter = _limiting_ev(demand, path.inputs, current_a)
            self.by_evse[demand.evse_id] = EvseBudget(
                current_a,
                power_w,
                limiter or self._limiter(demand, power_w, limit, total_w),
                power_w if limiter is None else demand.request_w or 0,
            )

    def _limiter(
        self, demand: EvseDemand, power_w: int, limit: HardwareLimit, total_w: int
    ) -> Limiter:
        if power_w < demand.limit_w:
            return "station_limit" if total_w < self._station_max_w else "cabinet"
        return "limit" if demand.limit_w < limit.power_w else limit.limiter


def _evse_demand(path: PowerPath, desired: DesiredEvse | None, limit: HardwareLimit) -> EvseDemand:
    inputs = path.inputs
    request = inputs.power_request
    is_charging = request is not None and request.function is PowerFunction.POWER_TRANSFER
    limit_w, minimum_w = limit.power_w, int(MINIMUM_A * limit.voltage_v) + 1
    if desired is not None and desired.limit is not None:
        limit_w = min(limit_w, _limit_w(desired.limit, limit.voltage_v))
        minimum_w = max(minimum_w, min(int(desired.limit.min_rate_w or 0), limit_w))
    return EvseDemand(
        evse_id=inputs.evse_id,
        limit_w=limit_w,
        minimum_w=minimum_w,
        request_w=int(request.current_a * limit.voltage_v) if request and is_charging else None,
        measured_w=int(inputs.output_v * inputs.output_a),
        has_session=path.phase in OPEN_PHASES and bool(inputs.ev_plugged) and not path.suspended,
    )


def _limiting_ev(
    demand: EvseDemand, inputs: EvseInputs, current_limit_a: Decimal
) -> Literal["ev"] | None:
    """The EV, if it takes clearly less than it may; None also before it charges.

    In amperes, because a limit of a few of them is rounded down by a large part of its power.
    """
    request = inputs.power_request
    if request is None or demand.request_w is None:
        return None
    taken_a = max(request.current_a, inputs.output_a)
    return "ev" if taken_a * HUNGRY_SHARE[1] < current_limit_a * HUNGRY_SHARE[0] else None


def _limit_w(limit: PowerLimit, voltage_v: Decimal) -> int:
    return int(limit.limit_w if limit.limit_a is None else limit.limit_a * voltage_v)


def _current_a(
    setpoint_w: int, limit: HardwareLimit, inputs: EvseInputs, previous_a: Decimal
) -> Decimal:
    """The set-point as a current; never more than the hardware allows."""
    if setpoint_w >= limit.power_w:
        return round_limit_a(limit.current_a, previous_a)
    current_a = setpoint_w / limit.voltage_v
    rise_v = max(current_a - inputs.output_a, Decimal(0)) * RESISTANCE_MAX_OHM
    return round_limit_a(setpoint_w / (limit.voltage_v + rise_v), previous_a)
