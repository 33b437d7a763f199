"""Polling of a DC energy meter, the same for every model.

A meter reports `DeviceReady` after its first response, then a `MeterReading` in each poll. Single
failed polls are skipped; `FAILED_POLLS_MAX` in a row are a lost meter. The forward register must
never go back: billing relies on it. A register below the highest one read is a lost meter at once,
and raised again in each run until the register has caught up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from decimal import Decimal

import trio

from drivers.alarm import sleep_until
from drivers.beat import next_beat
from drivers.ports import (
    DeviceFault,
    DeviceReady,
    DeviceReport,
    InvalidResponse,
    MeterReading,
    PortLost,
)

FAILED_POLLS_MAX = 5


class PolledMeter(ABC):
    """One meter.

    Attributes:
        name: for messages.
        interval_s: time between two polls.
        energy_last_wh: the highest forward register read. Kept between runs, and may be set before
            the first: a register below it is never reported.
    """

    def __init__(self, name: str, interval_s: float) -> None:
        self.name = name
        self.interval_s = interval_s
        self.energy_last_wh: Decimal | None = None

    @abstractmethod
    async def read_identity(self) -> str:
        """Model and firmware. Raises DeviceFault."""

    @abstractmethod
    async def read_values(self) -> MeterReading:
        """One poll. Raises DeviceFault."""

    async def run(self, report: Callable[[DeviceReport], None]) -> None:
        """Poll the meter until cancelled.

        Raises:
            NoResponse, CommandRefused, InvalidResponse: five polls in a row failed; the type of
                the last failure.
            InvalidResponse: the forward register went back; see above.
            PortLost: the tty is lost.
        """
        report(DeviceReady(await self.read_identity()))
        failed_polls = 0
        due = trio.current_time()
        while True:
            try:
                reading = await self.read_values()
            except PortLost:
                raise
            except DeviceFault as fault:
                failed_polls += 1
                if failed_polls == FAILED_POLLS_MAX:
                    message = f"{self.name}: {failed_polls} polls failed: {fault}"
                    raise type(fault)(message) from fault
            else:
                failed_polls = 0
                self._update_energy(reading.energy_wh)
                report(reading)
            due = max(next_beat(due, self.interval_s), trio.current_time())
            await sleep_until(due)

    def _update_energy(self, energy_wh: Decimal) -> None:
        last_wh = self.energy_last_wh
        if last_wh is not None and energy_wh < last_wh:
            raise InvalidResponse(
                f"{self.name}: register went back from {last_wh} to {energy_wh} Wh"
            )
        self.energy_last_wh = energy_wh
