"""A driver at one end of a line, an emulated device at the other."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio

from drivers.emulators.memory_port import MemoryPort, memory_line
from drivers.emulators.modbus_slave import ModbusSlaves, Slave
from drivers.ports import Report
from drivers.wire.modbus_bus import ModbusBus

R = TypeVar("R")


class Reports:
    """What drivers reported, and when."""

    def __init__(self) -> None:
        self.all: list[Report] = []
        self.at: list[float] = []

    def __call__(self, report: Report) -> None:
        self.all.append(report)
        self.at.append(trio.current_time())

    def of(self, kind: type[R]) -> list[R]:
        return [report for report in self.all if isinstance(report, kind)]

    def last(self, kind: type[R]) -> R:
        return self.of(kind)[-1]

    def clear(self) -> None:
        self.all.clear()
        self.at.clear()


@asynccontextmanager
async def running(*tasks: Callable[[], Awaitable[Any]]) -> AsyncIterator[None]:
    """Run tasks beside the body, and end them with it."""
    async with trio.open_nursery() as nursery:
        for task in tasks:
            nursery.start_soon(task)
        yield
        nursery.cancel_scope.cancel()


async def until(reached: Callable[[], object]) -> None:
    """Wait in real time until something is so, 5 s at most."""
    with trio.fail_after(5):
        while not reached():
            await trio.sleep(0.005)


def line_with(
    units: Mapping[int, Slave], **settings: Any
) -> tuple[ModbusBus, ModbusSlaves, MemoryPort]:
    """A bus in memory with emulated units; the port is the device's end."""
    station, device = memory_line()
    bus = ModbusBus("memory", open_port=station.open, **settings)
    return bus, ModbusSlaves(device, units), device


def frames(port: MemoryPort) -> list[str]:
    """What left this end, as the documents print it."""
    return [data.hex(" ").upper() for data in port.sent]
