"""Fakes of the device Protocols: they record orders and report nothing."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import trio

from drivers.ports import (
    ChargeController,
    DeviceReport,
    DigitalInputs,
    InsulationMonitor,
    IoModule,
    Meter,
    PowerModules,
)
from drivers.wiring import REFERENCE_WIRING
from station.config.hardware import HardwareSettings, emulated_settings
from station.runtime.hardware.contactors import DigitalOutput
from station.runtime.hardware.power_output import PowerDevices

WIRING = REFERENCE_WIRING.for_evses((1,))
COIL = WIRING.outputs["contactors"][1].number
BLEEDER = WIRING.outputs["bleeder"][1].number
FEEDBACK = WIRING.inputs["contactors_closed"][1].number


class FakeDevice:
    async def run(self, report: Callable[[DeviceReport], None]) -> None:
        await trio.sleep_forever()


class FakeMeter(FakeDevice):
    def __init__(self) -> None:
        self.interval_s = 1.0
        self.energy_last_wh: Decimal | None = None


class FakeInsulationMonitor(FakeDevice):
    def __init__(self) -> None:
        self.interval_s = 1.0
        self.self_tests_started = 0

    def start_self_test(self) -> None:
        self.self_tests_started += 1


class FakeIoModule(FakeDevice):
    def __init__(self) -> None:
        self.idle = False
        self.outputs_on: set[int] = set()
        self.watchdogs_cleared = 0

    def set_output(self, number: int, on: bool) -> None:
        if on:
            self.outputs_on.add(number)
        else:
            self.outputs_on.discard(number)

    def clear_watchdog(self) -> None:
        self.watchdogs_cleared += 1

    @property
    def watchdog_works(self) -> bool | None:
        return None

    def test_watchdog(self) -> None:
        raise AssertionError("the power path tests no watchdog")


class FakeChargeController(FakeDevice):
    def __init__(self) -> None:
        self.voltage_v = self.current_a = Decimal(0)
        self.insulation_ohm: int | None = None
        self.voltage_max_v = self.current_max_a = Decimal(0)
        self.modules_c = 25
        self.enabled = self.start_allowed = self.parameters_done = False
        self.authorized: bool | None = None
        self.stop_button_presses = self.urgent_statuses = 0

    def press_stop_button(self) -> None:
        self.stop_button_presses += 1

    def send_status_now(self) -> None:
        self.urgent_statuses += 1


class FakePowerModules(FakeDevice):
    """Keeps the newest order of each group: mV, mA, on."""

    def __init__(self) -> None:
        self.module_count = 12
        self.idle = False
        self.orders: dict[int, tuple[int, int, bool]] = {}

    def set_group(self, group: int, voltage_mv: int, current_ma: int, on: bool) -> None:
        self.orders[group] = (voltage_mv, current_ma, on)


class FakePowerDevices:
    """The devices of one power path, as fakes and as `PowerDevices`."""

    def __init__(self) -> None:
        self.secc = FakeChargeController()
        self.power_modules = FakePowerModules()
        self.io = FakeIoModule()
        self.insulation_monitor = FakeInsulationMonitor()
        self.meter = FakeMeter()

    def as_power_devices(self) -> PowerDevices:
        secc: ChargeController = self.secc
        power_modules: PowerModules = self.power_modules
        io: IoModule = self.io
        insulation_monitor: InsulationMonitor = self.insulation_monitor
        meter: Meter = self.meter
        coil, bleeder = DigitalOutput(io, COIL), DigitalOutput(io, BLEEDER)
        return PowerDevices(secc, power_modules, coil, bleeder, insulation_monitor, meter)


def contactor_reading(
    closed: bool, output_on: bool | None, read_at: float, outputs_at: float = 0.0
) -> DigitalInputs:
    """A reading of the I/O module of EVSE 1 with only its contactors: feedback and output."""
    return DigitalInputs(
        unit=5,
        bits=int(closed) << FEEDBACK,
        watchdog_fired=False,
        was_reset=False,
        read_at=read_at,
        outputs=None if output_on is None else int(output_on) << COIL,
        outputs_at=outputs_at,
    )


def hardware_settings() -> HardwareSettings:
    """Settings of the emulated devices; nothing is opened."""
    return emulated_settings(Path("nowhere"))
