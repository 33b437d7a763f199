"""Emulated power stage of one EVSE: modules, output voltage, bleeder, contactors, cable, EV.

    modules ── bus ── contactors ── outlet, cable ── EV contactors ── battery
                │
             bleeder

A simple physical model in floats, advanced in small steps. Each `step` does, in this order, because
each part uses the result of the one before:

1. Contactors: they follow the coil after `CLOSING_TIME_S` or `OPENING_TIME_S`. A welded contactor
   stays closed; a stuck one stays open; the emergency stop cuts the coil in hardware.
2. Offer: the highest set voltage and the sum of the current limits of all delivering modules.
3. Electricity, one of two states:
   * battery connected (EV contactors and station contactors closed): the battery sets the voltage,
     the current rises with `SLEW_A_PER_S` up to the lower of limit and (set voltage - battery
     voltage) / resistance, and falls at once;
   * open output: no current. The bus rises to the set voltage with the ramp (slower with walk-in),
     or decays with the time constant of the bleeder or of the modules. The outlet follows the bus
     while the contactors are closed; otherwise it shows the battery, or decays.
4. Modules: each reports the bus voltage and its share of the current.
5. Cable temperature, then the EV's battery and its requested current.

The model also records what a station must never do, for tests to assert: opening under load,
closing onto a battery at another voltage, bleeding while a battery is connected (`violations`).
"""

from __future__ import annotations

import math
from collections import deque

from drivers.emulators.ev import Ev
from drivers.emulators.infypower_modules import EmulatedModule

RAMP_V_PER_S = 2_000.0
WALK_IN_V_PER_S = 200.0
SLEW_A_PER_S = 3_000.0
DECAY_TIME_S = 0.3  # internal bleeder of the modules; slower ones exist
BLEEDER_TIME_S = 0.05
CABLE_DISCHARGE_S = 0.05  # a cable alone holds little charge
OPENING_TIME_S, CLOSING_TIME_S = 0.02, 0.04
OPENING_CURRENT_MAX_A = 5.0  # opening above it wears the contacts
INRUSH_VOLTAGE_MAX_V = 25.0
AMBIENT_C = 25.0
CABLE_THERMAL_S = 120.0
CABLE_RISE_C = 0.00016  # per A squared: 10 degrees at 250 A
SENSOR_BROKEN_C = 215
HEALTHY_OHM = 10_000_000
VIOLATIONS_MAX = 100


class PowerStage:
    """Power stage of one EVSE.

    Attributes:
        ev: the EV that is plugged in, or None.
        modules: the modules wired to this output.
        coil, bleeding: outputs of the I/O module; set by `EmulatedStation`.
        emergency: the emergency stop button cuts the coil in hardware.
        welded, stuck_open: faults of the contactors.
        over_voltage, over_current, keeps_voltage: faults of the output.
        cable_fault_c: reading of the contact sensors instead of the true temperature.
        insulation_ohm: resistance of the output against earth.
        closed: state of the contactors, and their feedback.
        bus_v: voltage before the contactors; outlet_v: after them; current_a: towards the EV.
        violations: forbidden actions of the station; the latest `VIOLATIONS_MAX`.
    """

    def __init__(self, evse_id: int, modules: list[EmulatedModule]) -> None:
        self.evse_id = evse_id
        self.modules = modules
        self.ev: Ev | None = None
        self.coil = self.bleeding = self.emergency = False
        self.welded = self.stuck_open = False
        self.over_voltage = self.over_current = self.keeps_voltage = False
        self.cable_fault_c: int | None = None
        self.insulation_ohm: float = HEALTHY_OHM
        self.closed = False
        self.bus_v = self.outlet_v = self.current_a = 0.0
        self.cable_c = AMBIENT_C + 5
        self.violations: deque[str] = deque(maxlen=VIOLATIONS_MAX)
        self._contactor_moving_s = 0.0
        self._battery_connected = False

    @property
    def power_w(self) -> float:
        """Power into the EV."""
        return self.outlet_v * self.current_a

    @property
    def is_at_rest(self) -> bool:
        """Whether no value changes until a device or a person acts."""
        return (
            self.bus_v < 1.0
            and self.current_a == 0.0
            and self.closed == self._should_be_closed
            and not any(module.on for module in self.modules)
        )

    @property
    def cable_sensor_c(self) -> int:
        """Reading of the contact sensors."""
        return round(self.cable_c) if self.cable_fault_c is None else self.cable_fault_c

    def step(self, seconds: float) -> float:
        """Advance by `seconds`; returns the energy delivered to the EV, Wh."""
        self._move_contactors(seconds)
        self._check_bleeding()
        target_v, limit_a = self._module_offer()
        if self.ev is not None and self.ev.contactors_closed and self.closed:
            self._charge_battery(self.ev, seconds, target_v, limit_a)
        else:
            self._battery_connected = False
            self.current_a = 0.0
            self._update_open_output(seconds, target_v)
        self._update_modules()
        self._warm_cable(seconds)
        if self.ev is not None:
            self.ev.step(seconds, self.current_a)
        return self.power_w * seconds / 3600.0

    # --- contactors ------------------------------------------------------------------------------

    @property
    def _should_be_closed(self) -> bool:
        if self.welded:
            return True
        return self.coil and not self.emergency and not self.stuck_open

    def _move_contactors(self, seconds: float) -> None:
        if self._should_be_closed == self.closed:
            self._contactor_moving_s = 0.0
            return
        self._contactor_moving_s += seconds
        if self._contactor_moving_s >= (OPENING_TIME_S if self.closed else CLOSING_TIME_S):
            self.closed = not self.closed
            self._check_switching()

    def _check_switching(self) -> None:
        if self.welded or self.emergency:
            return
        if not self.closed and self.current_a > OPENING_CURRENT_MAX_A:
            self._record_violation(f"contactors opened at {self.current_a:.0f} A")
        ev = self.ev
        if not self.closed or ev is None or not ev.contactors_closed:
            return
        if abs(ev.battery_v - self.bus_v) > INRUSH_VOLTAGE_MAX_V:
            self._record_violation(
                f"contactors closed {self.bus_v:.0f} V onto a battery at {ev.battery_v:.0f} V"
            )

    def _check_bleeding(self) -> None:
        if self.bleeding and self._battery_connected and self.closed:
            self._record_violation("bleeder on while a battery is connected")

    def _record_violation(self, violation: str) -> None:
        if not self.violations or self.violations[-1] != violation:
            self.violations.append(violation)

    # --- electricity -----------------------------------------------------------------------------

    def _module_offer(self) -> tuple[float, float]:
        """Set voltage and current limit of all delivering modules together; 0 when off."""
        delivering = [module for module in self.modules if module.is_delivering]
        target_v = max((module.set_voltage_mv for module in delivering), default=0) / 1000
        limit_a = sum(module.current_max_ma for module in delivering) / 1000
        if self.over_voltage:
            target_v *= 1.12
        if self.over_current and limit_a:
            limit_a = limit_a * 1.2 + 20.0
        return target_v, limit_a

    def _charge_battery(self, ev: Ev, seconds: float, target_v: float, limit_a: float) -> None:
        """Battery connected: it sets the voltage; the modules drive a current into it."""
        battery_v = ev.battery_v
        if not self._battery_connected and abs(self.bus_v - battery_v) > INRUSH_VOLTAGE_MAX_V:
            self._record_violation(
                f"EV at {battery_v:.0f} V closed onto an output at {self.bus_v:.0f} V"
            )
        self._battery_connected = True
        current_max_a = max(target_v - battery_v, 0.0) / ev.resistance_ohm
        # modules reduce the current at once; they only raise it slowly
        self.current_a = min(limit_a, current_max_a, self.current_a + SLEW_A_PER_S * seconds)
        self.bus_v = self.outlet_v = battery_v + self.current_a * ev.resistance_ohm

    def _update_open_output(self, seconds: float, target_v: float) -> None:
        """No battery: the voltage rises with the ramp and decays through the bleeder."""
        if target_v > self.bus_v:
            walk_in = any(module.walk_in for module in self.modules if module.is_delivering)
            ramp = WALK_IN_V_PER_S if walk_in else RAMP_V_PER_S
            self.bus_v = min(self.bus_v + ramp * seconds, target_v)
        else:
            self.bus_v = max(
                self._decay_voltage(
                    self.bus_v, seconds, BLEEDER_TIME_S if self.bleeding else DECAY_TIME_S
                ),
                target_v,
            )
        if self.closed:
            self.outlet_v = self.bus_v
        elif self.ev is not None and self.ev.contactors_closed:
            self.outlet_v = self.ev.battery_v
        else:
            self.outlet_v = self._decay_voltage(self.outlet_v, seconds, CABLE_DISCHARGE_S)

    def _decay_voltage(self, voltage_v: float, seconds: float, constant_s: float) -> float:
        if self.keeps_voltage:
            return voltage_v
        decayed_v = voltage_v * math.exp(-seconds / constant_s)
        return decayed_v if decayed_v >= 0.5 else 0.0

    def _update_modules(self) -> None:
        """Each delivering module carries an equal share of the current."""
        delivering = [module for module in self.modules if module.is_delivering]
        for module in self.modules:
            module.voltage_mv = round(self.bus_v * 1000)
            share_a = self.current_a / len(delivering) if module in delivering else 0.0
            module.current_ma = round(share_a * 1000)

    def _warm_cable(self, seconds: float) -> None:
        final_c = AMBIENT_C + 5 + CABLE_RISE_C * self.current_a**2
        self.cable_c += (final_c - self.cable_c) * min(seconds / CABLE_THERMAL_S, 1.0)
