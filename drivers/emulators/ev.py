"""How does an EV behave at the end of the cable?

Battery, wishes and whims of one EV. The charge controller's emulator asks it what it wants and
tells it when to close its contactors; the world gives it current. Floats: this is physics.
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
    """One EV; a fresh one each time a cable is plugged in.

    Set `ready` and `finished` to make it start, suspend and stop; the rest is its make.
    """

    capacity_wh: float = 77_000.0
    soc: float = 34.0  # %
    max_voltage_v: float = 450.0
    max_current_a: float = 250.0
    max_power_w: float = 100_000.0
    target_soc: float = 100.0  # it stops by itself here
    evcc_id: bytes = bytes.fromhex("02A1B2C3D4E5")
    ready: bool = True  # False: it goes through the set-up and asks for 0 A
    start_delay_s: float = 0.0
    resistance_ohm: float = 0.03  # battery, cable and contacts
    finished: bool = False  # its user stopped it, or it is full
    emergency: bool = False  # it demands an emergency stop
    contactors_closed: bool = False
    requested_a: float = 0.0  # ramped; what it asks for now

    @property
    def battery_v(self) -> float:
        """Voltage of the battery without current."""
        share = min(max(self.soc, 0.0), 100.0) / 100.0
        return self.max_voltage_v * (
            EMPTY_VOLTAGE_SHARE + (FULL_VOLTAGE_SHARE - EMPTY_VOLTAGE_SHARE) * share
        )

    @property
    def target_a(self) -> float:
        """The current it would like, before its ramp."""
        if not self.ready or self.finished or not self.contactors_closed:
            return 0.0
        most = min(self.max_current_a, self.max_power_w / self.battery_v)
        if self.soc <= TAPER_FROM_SOC:
            return most
        left = (100.0 - self.soc) / (100.0 - TAPER_FROM_SOC)
        return most * max(left, TAPER_MIN_SHARE)

    def step(self, seconds: float, current_a: float) -> None:
        """Let time pass with a current into the battery."""
        if self.contactors_closed:
            energy_wh = self.battery_v * current_a * seconds / 3600.0
            self.soc = min(self.soc + 100.0 * energy_wh / self.capacity_wh, 100.0)
        if self.soc >= self.target_soc:
            self.finished = True
        aim = self.target_a
        up, down = RAMP_UP_A_PER_S * seconds, RAMP_DOWN_A_PER_S * seconds
        self.requested_a = min(max(aim, self.requested_a - down), self.requested_a + up)
