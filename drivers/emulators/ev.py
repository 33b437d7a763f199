"""Emulated EV: battery voltage, state of charge, requested current, and the EV's own faults.

`EmulatedSecc` reads the requested current and sets the EV's contactors; `PowerStage` charges the
battery. Values are floats, because this is a physical model.
"""

from __future__ import annotations

from dataclasses import dataclass

TAPER_FROM_SOC = 80.0
TAPER_MIN_SHARE = 0.02  # of the full current, just before full
RAMP_UP_A_PER_S = 500.0
RAMP_DOWN_A_PER_S = 2_000.0
EMPTY_VOLTAGE_SHARE = 0.80  # of the maximum voltage: battery voltage when empty, when full
FULL_VOLTAGE_SHARE = 0.95


@dataclass
class Ev:
    """One EV; a new object each time a cable is plugged in.

    Set `ready` and `finished` to start, suspend and stop it; the other fields describe its model.
    """

    capacity_wh: float = 77_000.0
    soc: float = 34.0  # %
    max_voltage_v: float = 450.0
    max_current_a: float = 250.0
    max_power_w: float = 100_000.0
    target_soc: float = 100.0  # %; the EV ends the session here
    evcc_id: bytes = bytes.fromhex("02A1B2C3D4E5")
    ready: bool = True  # False: the set-up completes, then the EV requests 0 A
    start_delay_s: float = 0.0
    resistance_ohm: float = 0.03  # battery, cable and contacts
    finished: bool = False  # the EV driver stopped it, or the target SoC is reached
    emergency: bool = False  # it requests an emergency stop
    contactors_closed: bool = False
    requested_a: float = 0.0  # present request, after the ramp

    @property
    def battery_v(self) -> float:
        """Open-circuit voltage of the battery."""
        share = min(max(self.soc, 0.0), 100.0) / 100.0
        return self.max_voltage_v * (
            EMPTY_VOLTAGE_SHARE + (FULL_VOLTAGE_SHARE - EMPTY_VOLTAGE_SHARE) * share
        )

    @property
    def target_a(self) -> float:
        """The current the EV aims at, before the ramp."""
        if not self.ready or self.finished or not self.contactors_closed:
            return 0.0
        current_max_a = min(self.max_current_a, self.max_power_w / self.battery_v)
        if self.soc <= TAPER_FROM_SOC:
            return current_max_a
        taper = (100.0 - self.soc) / (100.0 - TAPER_FROM_SOC)
        return current_max_a * max(taper, TAPER_MIN_SHARE)

    def step(self, seconds: float, current_a: float) -> None:
        """Advance by `seconds` with a current into the battery."""
        if self.contactors_closed:
            energy_wh = self.battery_v * current_a * seconds / 3600.0
            self.soc = min(self.soc + 100.0 * energy_wh / self.capacity_wh, 100.0)
        if self.soc >= self.target_soc:
            self.finished = True
        up_a, down_a = RAMP_UP_A_PER_S * seconds, RAMP_DOWN_A_PER_S * seconds
        self.requested_a = min(
            max(self.target_a, self.requested_a - down_a), self.requested_a + up_a
        )
