"""A driver at one end of a line, an emulated device at the other."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio

from drivers.emulators.memory_port import MemoryPort, open_memory_line
from drivers.emulators.modbus_slave import ModbusSlave, ModbusSlaveBus
from drivers.ports import DeviceReport
from drivers.wire.modbus_master import ModbusMaster

R = TypeVar("R")


class ReportLog:
    """What drivers reported, and when."""

    def __init__(self) -> None:
        self.all: list[DeviceReport] = []
        self.times: list[float] = []

    def __call__(self, report: DeviceReport) -> None:
        self.all.append(report)
        self.times.append(trio.current_time())

    def reports_of(self, kind: type[R]) -> list[R]:
        return [report for report in self.all if isinstance(report, kind)]

    def last_report(self, kind: type[R]) -> R:
        return self.reports_of(kind)[-1]

    def clear(self) -> None:
        self.all.clear()
        self.times.clear()


@asynccontextmanager
async def running_tasks(*tasks: Callable[[], Awaitable[Any]]) -> AsyncIterator[None]:
    """Run tasks beside the body, and end them with it."""
    async with trio.open_nursery() as nursery:
        for task in tasks:
            nursery.start_soon(task)
        yield
        nursery.cancel_scope.cancel()


async def wait_until(reached: Callable[[], object]) -> None:
    """Wait in real time until something is so, 5 s at most."""
    with trio.fail_after(5):
        while not reached():
            await trio.sleep(0.005)


def bus_with_units(
    units: Mapping[int, ModbusSlave], **settings: Any
) -> tuple[ModbusMaster, ModbusSlaveBus, MemoryPort]:
    """A bus in memory with emulated units; the port is the device's end."""
    station, device = open_memory_line()
    bus = ModbusMaster("memory", open_port=station.open, **settings)
    return bus, ModbusSlaveBus(device, units), device


def sent_frames(port: MemoryPort) -> list[str]:
    """What left this end, as the documents print it."""
    return [data.hex(" ").upper() for data in port.sent]
