"""DC contactor control for one EVSE: close, open, feedback, bleeding.

Closing is immediate. Opening waits for a current below `OPENING_CURRENT_MAX_A`, measured after the
modules went off, for at most `OPEN_TIMEOUT_S`: contactors that open under load weld or burn, but
an emergency must not wait longer (safety rule 3). Both poles are driven by one output and read
back by one input. A station without a bleeder discharges by its modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from drivers.ports import IoModule, PowerFunction, PowerRequest, SeccState
from drivers.wiring import Channel
from station.runtime.hardware.inputs import EvseInputs

OPENING_CURRENT_MAX_A: Final = 5  # they open below, safety rule 3
OPEN_TIMEOUT_S: Final = 0.5  # they open after this time in any case
BLEED_TARGET_V: Final = 20
MEASUREMENT_DELAY_S: Final = 0.05  # from a measurement to its report


class DigitalOutput:
    """One output of an I/O module."""

    def __init__(self, module: IoModule, number: int) -> None:
        self._module = module
        self._number = number

    @classmethod
    def at_channel(
        cls, modules: Mapping[int, IoModule], channel: Channel | None
    ) -> DigitalOutput | None:
        """The output of a channel; None: it is not wired."""
        return None if channel is None else cls(modules[channel.module], channel.number)

    def set(self, on: bool) -> None:
        """Order its level."""
        self._module.set_output(self._number, on)


class Contactors:
    """Contactors and bleeder of one EVSE.

    Attributes:
        coil_on: whether they are ordered to close.
    """

    def __init__(
        self,
        inputs: EvseInputs,
        coil: DigitalOutput,
        bleeder: DigitalOutput | None,
        feedback_s: float,
    ) -> None:
        self.coil_on = False
        self._inputs = inputs
        self._coil = coil
        self._bleeder = bleeder
        self._feedback_s = feedback_s
        self._opening_at: float | None = None

    def update_coil(self, close: bool, modules_off_at: float, real_now: float) -> None:
        """Close at once; open without current, or after `OPEN_TIMEOUT_S`.

        Args:
            close: whether they have to be closed.
            modules_off_at: since when the modules have been off, by the `AwakeClock`.
            real_now: by trio's clock: an opening does not wait because this process did not run.
        """
        if close:
            self.coil_on, self._opening_at = True, None
            self._coil.set(True)
        elif self.coil_on:
            # While opening, nothing is written: the output may be off already by the driver itself.
            self._opening_at = real_now if self._opening_at is None else self._opening_at
            timed_out = real_now - self._opening_at >= OPEN_TIMEOUT_S
            self.coil_on = not (timed_out or self._is_current_low(modules_off_at))
        if not self.coil_on:
            self._coil.set(False)

    def _is_current_low(self, modules_off_at: float) -> bool:
        """A measurement taken after the modules went off shows no current."""
        measured_at = self._inputs.output_at
        fresh = measured_at is not None and measured_at > modules_off_at + MEASUREMENT_DELAY_S
        return fresh and abs(self._inputs.output_a) < OPENING_CURRENT_MAX_A

    def set_bleeder(self, request: PowerRequest | None) -> None:
        """Discharge the output, never while the EV's battery may be connected to it.

        Args:
            request: of the controller in a session; None outside.
        """
        if self._bleeder is None:
            return
        inputs = self._inputs
        opened = inputs.contactors_closed is False and not self.coil_on
        if request is None:
            on = opened and inputs.output_v > BLEED_TARGET_V
        else:  # during the insulation test the EV's own contactors are still open
            safe = opened or inputs.secc_state is SeccState.INSULATION_TEST
            on = request.lower_voltage and request.function is PowerFunction.STANDBY and safe
        self._bleeder.set(on)

    def feedback_fault(self) -> Literal["welded", "stuck_open"] | None:
        """The fault, if the feedback has contradicted the confirmed output for too long."""
        return self._inputs.feedback.contradiction(self._feedback_s)
