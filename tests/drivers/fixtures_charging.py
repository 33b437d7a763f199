"""A minimal station that takes an EV through a session with the real drivers.

It follows the charge controller's requests and has no protections. It is used to test drivers and
emulated devices against each other.
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from drivers.emulators.memory_port import MemoryPort, open_memory_line
from drivers.emulators.station import LINE_NAMES, EmulatedStation
from drivers.io.icpdas_m7055 import IcpdasM7055
from drivers.ports import (
    DeviceReport,
    GroupOutput,
    PowerFunction,
    PowerRequest,
    SeccHeartbeat,
    SeccState,
)
from drivers.power.infypower import InfypowerModules
from drivers.secc.advantics import AdvanticsSecc
from drivers.wire import advantics, infypower
from drivers.wire.can_bus import SharedCanBus, SlcanBus
from drivers.wire.modbus_master import ModbusMaster
from drivers.wire.serial_port import Port, SerialPort
from drivers.wiring import REFERENCE_WIRING, IoWiring

ENERGIZED_FUNCTIONS = (
    PowerFunction.INSULATION_TEST,
    PowerFunction.PRECHARGE,
    PowerFunction.POWER_TRANSFER,
)
CURRENT_MA_MIN = 2_000  # charges the output at a request of 0 A

R = TypeVar("R")


class MiniatureStation:
    """The drivers of one EVSE, controlled by its charge controller.

    Attributes:
        reports: all reports of all devices, in order.
    """

    def __init__(
        self, directory: Path, *, evse: int = 1, memory: dict[str, MemoryPort] | None = None
    ):
        def opened(path: str, *, baud: int, parity: str = "N", stop_bits: int = 1) -> Port:
            if memory is not None:
                return memory[Path(path).stem].open(
                    path, baud=baud, parity=parity, stop_bits=stop_bits
                )
            return SerialPort.open(path, baud=baud, parity=parity, stop_bits=stop_bits)

        def line(name: str, rate: int) -> SharedCanBus:
            path = str(directory / f"{name}.tty")
            return SharedCanBus(name, partial(SlcanBus.open, path, rate, opened), rate)

        self.evse = evse
        self.reports: list[DeviceReport] = []
        self.secc_line = line("secc", advantics.BIT_RATE)
        self.modules_line = line("modules", infypower.BIT_RATE)
        self.secc = AdvanticsSecc(self.secc_line, evse_id=evse)
        self.modules = InfypowerModules(self.modules_line)
        self.io = IcpdasM7055(
            ModbusMaster(
                str(directory / "io.tty"), timeout_ms=60, retries=0, pause_ms=5, open_port=opened
            ),
            address=4 + evse,
        )

    def allow_charging(self) -> None:
        """Allow the EV to start and to continue."""
        self.secc.insulation_ohm = 510_000
        self.secc.enabled = True
        self.secc.parameters_done = True
        self.secc.authorized = True
        self.secc.start_allowed = True

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        async with trio.open_nursery() as nursery:
            for device in (
                self.secc_line,
                self.modules_line,
                self.secc,
                self.modules,
                self.io,
            ):
                nursery.start_soon(device.run, self.on_report)
            with trio.fail_after(10):
                while not self.modules.ready.is_set() or not self.secc_line.is_open:
                    await trio.sleep(0.05)
            task_status.started()

    def on_report(self, report: DeviceReport) -> None:
        """Keep a report; do what the charge controller requests."""
        self.reports.append(report)
        if isinstance(report, GroupOutput) and report.group == self.evse:
            self.secc.voltage_v = Decimal(report.voltage_mv) / 1000
            self.secc.current_a = Decimal(report.current_ma) / 1000
        elif isinstance(report, PowerRequest):
            on = report.function in ENERGIZED_FUNCTIONS
            current_ma = int(report.current_a * 1000)
            if report.function is PowerFunction.INSULATION_TEST:
                current_ma = CURRENT_MA_MIN
            self.modules.set_group(self.evse, int(report.voltage_v * 1000), current_ma, on)
            self.io.set_output(0, report.contactors_closed)
            self.io.set_output(1, report.lower_voltage)

    def reports_of(self, kind: type[R]) -> list[R]:
        """All reports of one kind."""
        return [report for report in self.reports if isinstance(report, kind)]

    async def wait_for_state(self, state: SeccState, seconds: float = 10.0) -> None:
        """Wait until the charge controller reports a state."""
        with trio.fail_after(seconds):
            while SeccHeartbeat(state) not in self.reports[-200:]:
                await trio.sleep(0.02)


def make_memory_world(
    directory: Path, evse_count: int = 2, wiring: IoWiring = REFERENCE_WIRING
) -> tuple[EmulatedStation, dict[str, MemoryPort]]:
    """An emulated station with lines in memory, and the station's ends of them."""
    lines = {name: open_memory_line() for name in LINE_NAMES}
    ports = {name: device for name, (_, device) in lines.items()}
    world = EmulatedStation(ports, directory, evse_count=evse_count, wiring=wiring)
    return world, {name: station for name, (station, _) in lines.items()}
