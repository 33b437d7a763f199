"""Probe of the configured devices: which of them answer, what they report, and tests on request.

The drivers of the station run without a power path: no contactor is closed, no module is switched
on, no card is used. Two tests act on the hardware, and only when they are called:

* `prove_watchdogs`: each I/O module must switch its outputs off when the station is silent;
* `prove_contactors`: the feedback must follow the order, without voltage and without an EV.

Rectifier modules have no supply before the station switches the mains contactor on; `with_mains`
does that, as a start does.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

import msgspec
import trio

from drivers.catalog import load_driver
from drivers.ports import (
    CommandRefused,
    Device,
    DeviceFault,
    DeviceReady,
    DeviceReport,
    DigitalInputs,
    GarbledResponse,
    GroupOutput,
    InsulationReading,
    InvalidResponse,
    MeterReading,
    ModuleSilent,
    ModuleState,
    NoResponse,
    PilotState,
    PortLost,
)
from drivers.settings import DeviceSettings
from drivers.wire.can_bus import SharedCanBus
from drivers.wire.modbus_master import GARBLED_RESPONSE_REASONS
from drivers.wiring import StationWiring
from station.config.hardware import HardwareSettings
from station.runtime.hardware.assembly import StationDrivers
from station.runtime.hardware.contactors import DigitalOutput

RESTART_PAUSE_S: Final = 0.5
FEEDBACK_TIMEOUT_S: Final = 1.0
SAFE_VOLTAGE_V: Final = 60  # IEC 61851-23: not above, at an output that may be touched
REASONS_MAX: Final = 3
WRONG_RESPONSE_REASONS: Final = (
    "the driver is for another device than the one that answers",
    "the firmware of the device is too old or too new for the driver",
    "the device reports a failure of its own: see its display or manual",
)
"""Why a device answers with an error, or not as its protocol allows; likeliest first."""
NO_SUPPLY_REASON: Final = "the devices have no supply: no other line answers either"


class DeviceProbe(msgspec.Struct):
    """What one device reported so far.

    Attributes:
        name: of its driver: "meter 2", "modules", "secc_bus".
        identity: model and firmware as the device reports them; empty: it has not.
        reports: the newest report of each type; of modules and groups, by address too.
        report_count: how many reports there were.
        fault: of the last run of the driver; None: it runs.
    """

    name: str
    identity: str = ""
    reports: dict[tuple[type[DeviceReport], int], DeviceReport] = msgspec.field(
        default_factory=dict
    )
    report_count: int = 0
    fault: DeviceFault | None = None

    @property
    def kind(self) -> str:
        """The kind of the device; of a bus, the kind of its devices."""
        return self.name.partition(" ")[0].removesuffix("_bus")

    @property
    def is_bus(self) -> bool:
        return self.name.endswith("_bus")

    @property
    def answers(self) -> bool:
        """Whether it reported anything, and is not lost now."""
        return self.fault is None and (self.report_count > 0 or self.is_bus)

    @property
    def answers_wrongly(self) -> bool:
        """Whether it answers, but with an error or not as its protocol allows."""
        return isinstance(self.fault, CommandRefused | InvalidResponse)

    @property
    def is_silent(self) -> bool:
        """Whether nothing at all arrives from it."""
        if self.fault is None:
            return not self.answers
        return isinstance(self.fault, NoResponse) and not isinstance(self.fault, GarbledResponse)

    def find_report(self, kind: type[DeviceReport], number: int = 0) -> DeviceReport | None:
        return self.reports.get((kind, number))

    def iter_reports(self) -> Iterator[DeviceReport]:
        """The newest reports, in a constant order."""
        for _, report in sorted(self.reports.items(), key=lambda item: _report_order(*item)):
            yield report

    def apply_report(self, report: DeviceReport) -> None:
        """Keep a report."""
        self.report_count += 1
        self.fault = None
        if isinstance(report, DeviceReady):
            self.identity = report.identity
        else:
            self.reports[type(report), _number_of(report)] = report


def _number_of(report: DeviceReport) -> int:
    match report:
        case ModuleState(address=number) | ModuleSilent(address=number):
            return number
        case GroupOutput(group=number):
            return number
        case _:
            return 0


def _report_order(key: tuple[type[DeviceReport], int], _: DeviceReport) -> tuple[str, int]:
    return key[0].__name__, key[1]


class ProofResult(msgspec.Struct, frozen=True):
    """The result of one test of the hardware."""

    device: str  # "io 1", "contactors 1"
    passed: bool
    text: str


class HardwareProbe:
    """Runs the drivers of one `[hardware]` and keeps what they report."""

    def __init__(
        self, settings: HardwareSettings, evse_ids: tuple[int, ...], *, with_mains: bool = False
    ) -> None:
        """Build the drivers; no port is opened before `run`.

        Args:
            settings: `[hardware]`.
            evse_ids: the EVSEs of the station.
            with_mains: switch the supply of the rectifier modules on.

        Raises:
            TableError: as `StationDrivers`.
        """
        self._settings = settings
        self._evse_ids = evse_ids
        self._with_mains = with_mains
        self._drivers = StationDrivers(settings, evse_ids)
        self._ac_enable = self.wiring.outputs["ac_enable"].get(0)
        drivers = self._drivers.drivers_by_name()
        self.devices = {name: DeviceProbe(name) for name in drivers}
        self.can_buses = {
            name: driver for name, driver in drivers.items() if isinstance(driver, SharedCanBus)
        }

    @property
    def wiring(self) -> StationWiring:
        """Of the I/O modules."""
        return self._drivers.wiring

    @property
    def rectifier_addresses(self) -> frozenset[int]:
        """Addresses of the rectifier modules that are wired to an EVSE of the station."""
        groups = self._settings.modules.groups[: len(self._evse_ids)]
        return frozenset(address for group in groups for address in group)

    def settings_of(self, kind: str) -> DeviceSettings:
        """The table of a kind of device."""
        settings: DeviceSettings = getattr(self._settings, kind)
        return settings

    def likely_reasons(self, probe: DeviceProbe) -> tuple[str, ...]:
        """The three likeliest reasons why a device does not answer, or why not so that its driver
        understands it. None where its fault has the reason: the port or the bus is not open.
        """
        if probe.is_bus or isinstance(probe.fault, PortLost) or not self.is_bus_open(probe.kind):
            return ()
        if probe.answers_wrongly:
            return WRONG_RESPONSE_REASONS
        if isinstance(probe.fault, GarbledResponse):
            return GARBLED_RESPONSE_REASONS
        driver = load_driver(probe.kind, self.settings_of(probe.kind).driver)
        if not self._is_line_silent(probe.kind):
            return tuple(driver.NO_ANSWER_REASONS)
        reasons = driver.NO_ANSWER_REASONS
        if len(self._devices_of(probe.kind)) > 1:
            reasons = getattr(driver, "SILENT_LINE_REASONS", reasons)
        return (*self._reasons_of_other_lines(probe.kind), *reasons)[:REASONS_MAX]

    def is_bus_open(self, kind: str) -> bool:
        """Whether the bus of a kind of devices is open; they may not have one."""
        bus = self.devices.get(f"{kind}_bus")
        return bus is None or bus.fault is None

    def _devices_of(self, kind: str) -> list[DeviceProbe]:
        """Those on the line of a kind, without its bus."""
        return [probe for probe in self.devices.values() if probe.kind == kind and not probe.is_bus]

    def _is_line_silent(self, kind: str) -> bool:
        """Whether no device of a line answers that should; modules should only with mains."""
        if kind == "modules" and not self._with_mains:
            return False
        devices = self._devices_of(kind)
        return self.is_bus_open(kind) and all(probe.is_silent for probe in devices)

    def _reasons_of_other_lines(self, kind: str) -> Iterator[str]:
        """What silent lines of the same sort, serial or CAN, say about the silent line of a kind.

        Two that are silent are likely to have each other's port; if all are, the supply is off.
        """
        lines = {
            other
            for other in {probe.kind for probe in self.devices.values()}
            if self._is_can(other) is self._is_can(kind)
        }
        silent = {other for other in lines if self._is_line_silent(other)}
        if len(silent) == 2:
            [other] = silent - {kind}
            yield f"its port is swapped with that of [hardware.{other}], which is silent too"
        elif len(silent) == len(lines) > 1:
            yield NO_SUPPLY_REASON

    def _is_can(self, kind: str) -> bool:
        return f"{kind}_bus" in self.can_buses

    async def run(self) -> None:
        """Run all drivers until cancelled; each ends with its device switched off."""
        try:
            async with trio.open_nursery() as nursery:
                for name, device in self._drivers.drivers_by_name().items():
                    nursery.start_soon(self._run_driver, self.devices[name], device)
        finally:
            self._drivers.close()

    async def _run_driver(self, probe: DeviceProbe, device: Device) -> None:
        while True:
            try:
                await device.run(partial(self._on_report, probe))
            except DeviceFault as fault:
                probe.fault = fault
            await trio.sleep(RESTART_PAUSE_S)

    def _on_report(self, probe: DeviceProbe, report: DeviceReport) -> None:
        probe.apply_report(report)
        if isinstance(report, DeviceReady) and probe.kind == "io":
            self._set_mains(int(probe.name.partition(" ")[2]), self._with_mains)

    def _set_mains(self, module: int, on: bool) -> None:
        """Switch the mains contactor, if an I/O module has its output."""
        if self._ac_enable is not None and self._ac_enable.module == module:
            self._drivers.io_modules[module].set_output(self._ac_enable.number, on)

    # --- Tests on request -------------------------------------------------------------------------

    async def prove_watchdogs(self) -> list[ProofResult]:
        """Be silent towards each I/O module until its watchdog must have fired. All outputs drop.

        The drivers must run.
        """
        results = []
        for number, io in self._drivers.io_modules.items():
            name = f"io {number}"
            if not self.devices[name].answers:
                results.append(ProofResult(name, False, "does not answer"))
                continue
            self._set_mains(number, False)
            self.devices[name].fault = None
            io.test_watchdog()
            while io.watchdog_works is None and self.devices[name].fault is None:
                await trio.sleep(0.05)
            fault = self.devices[name].fault
            passed = bool(io.watchdog_works)
            text = "the watchdog switches the outputs off" if passed else f"{fault}"
            results.append(ProofResult(name, passed, text))
        return results

    async def prove_contactors(self) -> list[ProofResult]:
        """Close and open the contactors of each EVSE without voltage; the feedback must follow.

        An EVSE with voltage, with an EV, or without a measurement of both is left out, which is
        no pass. The drivers must run.
        """
        return [await self._prove_contactors(evse_id) for evse_id in self._evse_ids]

    async def _prove_contactors(self, evse_id: int) -> ProofResult:
        name = f"contactors {evse_id}"
        obstacle = self._closing_obstacle(evse_id)
        if obstacle is not None:
            return ProofResult(name, False, f"not tested: {obstacle}")
        channel = self.wiring.outputs["contactors"][evse_id]
        coil = DigitalOutput(self._drivers.io_modules[channel.module], channel.number)
        if self._feedback(evse_id):
            return ProofResult(name, False, "feedback is closed before they were ordered to close")
        try:
            coil.set(True)
            closed = await self._wait_for_feedback(evse_id, True)
        finally:
            coil.set(False)
        opened = await self._wait_for_feedback(evse_id, False)
        if not closed:
            return ProofResult(
                name, False, f"no feedback within {FEEDBACK_TIMEOUT_S} s of the order to close"
            )
        if not opened:
            return ProofResult(
                name, False, f"feedback still closed {FEEDBACK_TIMEOUT_S} s after the order to open"
            )
        return ProofResult(name, True, "close and open as ordered")

    def _closing_obstacle(self, evse_id: int) -> str | None:
        """Why the contactors must not be closed now; None: they may be."""
        pilot = self.devices[f"secc {evse_id}"].find_report(PilotState)
        if not isinstance(pilot, PilotState):
            return "the charge controller does not report the control pilot"
        if pilot.letter != "A":
            return f"the control pilot is {pilot.letter}; unplug the EV"
        voltages = list(self._output_voltages(evse_id))
        if not voltages:
            return "no device reports the voltage of the output"
        highest = max(voltages)
        if highest > SAFE_VOLTAGE_V:
            return f"the output has {highest:.0f} V; at most {SAFE_VOLTAGE_V} V are allowed"
        module = self.wiring.outputs["contactors"][evse_id].module
        if not self.devices[f"io {module}"].answers:
            return f"I/O module {module} does not answer"
        return None

    def _output_voltages(self, evse_id: int) -> Iterator[float]:
        """The voltages that devices measure at the output of an EVSE, V."""
        meter = self.devices[f"meter {evse_id}"].find_report(MeterReading)
        if isinstance(meter, MeterReading):
            yield abs(float(meter.voltage_v))
        insulation = self.devices[f"insulation {evse_id}"].find_report(InsulationReading)
        if isinstance(insulation, InsulationReading) and insulation.voltage_v is not None:
            yield abs(float(insulation.voltage_v))
        output = self.devices["modules"].find_report(GroupOutput, evse_id)
        if isinstance(output, GroupOutput):
            yield output.voltage_mv / 1000

    def _feedback(self, evse_id: int) -> bool | None:
        channel = self.wiring.inputs["contactors_closed"][evse_id]
        report = self.devices[f"io {channel.module}"].find_report(DigitalInputs)
        if not isinstance(report, DigitalInputs):
            return None
        return bool(report.bits >> channel.number & 1)

    async def _wait_for_feedback(self, evse_id: int, closed: bool) -> bool:
        with trio.move_on_after(FEEDBACK_TIMEOUT_S):
            while self._feedback(evse_id) is not closed:
                await trio.sleep(0.02)
            return True
        return False
