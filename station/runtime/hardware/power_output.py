"""Output levels of one EVSE: power modules, contactors, bleeder and the charge controller's status.

`PowerPath` decides the phase of a session; `PowerOutput` sets the devices accordingly and compares
the measured output with the order.

Order of a start: contactors close, their feedback confirms it, then the modules are switched on.
Order of a stop: modules off first; contactors open once a measurement taken after that shows no
current, or after `OPEN_TIMEOUT_S` (see `contactors`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from drivers.ports import (
    ChargeController,
    InsulationMonitor,
    Meter,
    PowerFunction,
    PowerModules,
    PowerRequest,
)
from station.config.hardware import HardwareSettings
from station.runtime.hardware.contactors import Contactors, DigitalOutput
from station.runtime.hardware.inputs import EvseInputs

INSULATION_TEST_MIN_A: Final = Decimal(2)  # charges the cable's capacitance in the insulation test
NO_ENERGY_A: Final = Decimal("0.1")  # 0 would mean the controller's own limit, secc.md section 2
DEFAULT_MODULE_C: Final = 25  # sent to the controller until a module has reported
OVER_VOLTAGE_S: Final = 0.1  # longer than one measurement
OVER_CURRENT_S: Final = 1.0
PAUSE_MIN_S: Final = 0.05  # a shorter pause of this process hides no measurement
OUTPUT_FUNCTIONS: Final = frozenset(
    {PowerFunction.INSULATION_TEST, PowerFunction.PRECHARGE, PowerFunction.POWER_TRANSFER}
)


class PowerDevices(msgspec.Struct, frozen=True):
    """The devices of one power path."""

    secc: ChargeController
    power_modules: PowerModules
    coil: DigitalOutput  # of the contactors
    bleeder: DigitalOutput | None
    insulation_monitor: InsulationMonitor
    meter: Meter


class PowerOutput:
    """Output of one EVSE.

    Attributes:
        current_limit_a: the most that an EV may get; set every round.
        hardware_limit_a, voltage_range_v: the current and the voltages that the hardware can give;
            set every round. Insulation test and precharge are limited by these only.
        module_temperature_c: air at the hottest module, sent to the controller; set every round.
        modules_off_at: since when the modules have been off.
    """

    def __init__(
        self, inputs: EvseInputs, devices: PowerDevices, settings: HardwareSettings, now: float
    ) -> None:
        self.current_limit_a = Decimal(0)
        self.hardware_limit_a = Decimal(0)
        self.voltage_range_v = (0, 0)
        self.module_temperature_c = DEFAULT_MODULE_C
        self.modules_off_at = now
        self.contactors = Contactors(
            inputs, devices.coil, devices.bleeder, settings.io.feedback_ms / 1000
        )
        self._inputs = inputs
        self._devices = devices
        self._settings = settings
        self._module_order = (0, 0, False)  # mV, mA, on
        self._over_voltage = _Excess(OVER_VOLTAGE_S)
        self._over_current = _Excess(OVER_CURRENT_S)

    @property
    def is_powered(self) -> bool:
        """Something is switched on."""
        return (
            self.contactors.coil_on or self._module_order[2] or bool(self._inputs.contactors_closed)
        )

    @property
    def has_over_voltage(self) -> bool:
        return self._over_voltage.is_lasting()

    @property
    def has_over_current(self) -> bool:
        return self._over_current.is_lasting()

    @property
    def may_be_excessive(self) -> bool:
        """The newest measurement was above a limit: each further one is judged at once."""
        return self._over_voltage.is_pending or self._over_current.is_pending

    def compare_measurements(self, in_session: bool, now: float, real_now: float) -> None:
        """Compare the output with the order.

        Too much is 5 % over the order, for the voltage also over the EV's maximum, for the
        current 5 A more.
        """
        voltage_mv, current_ma, on = self._module_order
        inputs = self._inputs
        on = on and in_session and inputs.power_request is not None
        voltage_max_v = max(
            Decimal(voltage_mv) * 105 / 100_000, inputs.ev.voltage_max_v or Decimal(0)
        )
        current_max_a = Decimal(current_ma) * 105 / 100_000 + 5
        measured_at = inputs.output_at
        too_high = on and inputs.output_v > voltage_max_v
        self._over_voltage.update(too_high, measured_at, now, real_now)
        too_much = on and inputs.output_a > current_max_a
        self._over_current.update(too_much, measured_at, now, real_now)

    def set_power(
        self,
        request: PowerRequest | None,
        *,
        may_close: bool,
        suspended: bool,
        now: float,
        real_now: float,
    ) -> None:
        """Give what the controller requests, within the limits.

        Args:
            request: of the controller in a session; None outside: everything off.
            may_close: whether open contactors may close now.
            suspended: the session waits without energy.
            now: by the `AwakeClock`.
            real_now: by trio's clock.
        """
        close = request is not None and request.contactors_closed
        close = close and (self.contactors.coil_on or may_close)
        self._set_modules(request, close, suspended, now)
        self.contactors.update_coil(close, self.modules_off_at, real_now)
        self.contactors.set_bleeder(request)

    def _set_modules(
        self, request: PowerRequest | None, close: bool, suspended: bool, now: float
    ) -> None:
        """Modules are off below their lowest voltage: they would refuse such an order and keep
        the previous one."""
        connected = close and self.contactors.coil_on and self._inputs.contactors_closed is True
        if (
            request is None
            or request.function not in OUTPUT_FUNCTIONS
            or not connected
            or request.voltage_v < max(self.voltage_range_v[0], 1)
        ):
            self._order_modules(0, 0, False, now)
            return
        current_a = self._output_current_a(request, suspended)
        self._order_modules(int(request.voltage_v * 1000), int(current_a * 1000), True, now)

    def _output_current_a(self, request: PowerRequest, suspended: bool) -> Decimal:
        if request.function is PowerFunction.POWER_TRANSFER:
            return Decimal(0) if suspended else min(request.current_a, self.current_limit_a)
        current_a = request.current_a
        if request.function is PowerFunction.INSULATION_TEST:
            current_a = max(current_a, INSULATION_TEST_MIN_A)
        return min(current_a, self.hardware_limit_a)

    def cut(self, now: float) -> None:
        """Modules off and the controller informed, before anything else."""
        self._order_modules(0, 0, False, now)
        self._devices.secc.enabled = False
        self._devices.secc.send_status_now()

    def _order_modules(self, voltage_mv: int, current_ma: int, on: bool, now: float) -> None:
        order = (voltage_mv, current_ma, on)
        if self._module_order[2] and not on:
            self.modules_off_at = now
        if order != self._module_order:
            self._module_order = order
            self._devices.power_modules.set_group(self._inputs.evse_id, *order)

    def repeat_module_order(self) -> None:
        """Repeat the modules' order, for a driver that was started again and has lost it."""
        self._devices.power_modules.set_group(self._inputs.evse_id, *self._module_order)

    def set_controller(
        self,
        *,
        session_open: bool,
        idle: bool,
        self_test_passed: bool,
        suspended: bool,
        identify_ev: bool = False,
    ) -> None:
        """Send measurements, limits and permissions to the charge controller.

        Args:
            session_open: a session may start or continue.
            idle: no session; authorization is undecided instead of refused, because a refusal
                ends what still negotiates.
            self_test_passed: of the insulation monitor; without it no power is enabled.
            suspended: the session waits without energy.
            identify_ev: the controller may begin to communicate, and wait for the authorization.
        """
        secc, inputs = self._devices.secc, self._inputs
        secc.voltage_v, secc.current_a = inputs.output_v, inputs.output_a
        monitor = inputs.insulation
        secc.insulation_ohm = monitor.resistance_ohm if monitor is not None else None
        secc.current_max_a = NO_ENERGY_A if suspended else max(self.current_limit_a, NO_ENERGY_A)
        secc.voltage_max_v = Decimal(self.voltage_range_v[1])
        secc.modules_c = self.module_temperature_c
        enabled = session_open and self_test_passed
        if enabled is not secc.enabled:
            secc.enabled = enabled
            secc.send_status_now()
        authorized = None if idle else session_open
        start_allowed = session_open or identify_ev
        if (secc.start_allowed, secc.authorized, secc.parameters_done) != (
            start_allowed,
            authorized,
            session_open,
        ):
            secc.start_allowed, secc.parameters_done = start_allowed, session_open
            secc.authorized = authorized

    def set_poll_intervals(self, *, busy: bool) -> None:
        """Poll meter and insulation monitor faster while an EV is plugged in or in a session."""
        meter, monitor = self._settings.meter, self._settings.insulation
        self._devices.meter.interval_s = meter.session_interval_s if busy else meter.idle_interval_s
        self._devices.insulation_monitor.interval_s = (
            monitor.session_interval_s if busy else monitor.idle_interval_s
        )


class _Excess:
    """A measured value above its limit without a break.

    Lasting means `seconds` by the `AwakeClock`. If this process did not run in that time, it has
    missed measurements: then a second one must be above the limit too.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._first: _Measured | None = None
        self._newest: _Measured | None = None

    def update(
        self, exceeded: bool, measured_at: float | None, now: float, real_now: float
    ) -> None:
        """Take the newest measurement and the time by both clocks."""
        if not exceeded:
            self._first = self._newest = None
            return
        self._newest = _Measured(measured_at, now, real_now)
        self._first = self._first or self._newest

    @property
    def is_pending(self) -> bool:
        return self._first is not None

    def is_lasting(self) -> bool:
        first, newest = self._first, self._newest
        if first is None or newest is None or newest.now - first.now < self._seconds:
            return False
        paused_s = (newest.real_now - first.real_now) - (newest.now - first.now)
        return paused_s < PAUSE_MIN_S or newest.measured_at != first.measured_at


class _Measured(msgspec.Struct, frozen=True):
    """When a value was measured, and the time by both clocks when it was compared."""

    measured_at: float | None
    now: float
    real_now: float
