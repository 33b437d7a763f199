"""The emulated station: all emulated devices, their wiring and their common time steps.

Per EVSE: modules -> contactors -> EV, observed by a meter, an insulation monitor and a charge
controller. Common to all EVSEs: the wires of the I/O modules, one card reader, one display, the
mains and the emergency stop button. Each device answers on its own line; `step` couples them every
`ACTIVE_STEP_S`, or every `IDLE_STEP_S` at rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from drivers.emulators.acrel_djsf1352 import EmulatedAcrel
from drivers.emulators.advantics_secc import EmulatedSecc
from drivers.emulators.bender_isocha425hv import EmulatedBender
from drivers.emulators.can_bus import EmulatedCanBus
from drivers.emulators.ev import Ev
from drivers.emulators.icpdas_m7055 import EmulatedM7055
from drivers.emulators.infypower_modules import EmulatedCabinet
from drivers.emulators.meter_registers import MeterRegisters
from drivers.emulators.modbus_slave import ModbusSlave, ModbusSlaveBus
from drivers.emulators.pn532 import EmulatedPn532
from drivers.emulators.power_stage import PowerStage
from drivers.emulators.vt100 import EmulatedVt100
from drivers.wire import advantics, infypower
from drivers.wire.serial_port import Port
from drivers.wiring import REFERENCE_WIRING, IoWiring

LINE_NAMES = ("reader", "meter", "io", "insulation", "secc", "modules", "display")
METER_ADDRESSES = (1, 2, 3, 4)
IO_ADDRESSES = (5, 6, 7, 8)
INSULATION_ADDRESSES = (3, 4, 5, 6)
EVSES_MAX = 4
MODULES_PER_EVSE = 6
START_UP_S = 1.0  # of the modules; three seconds in the field
ACTIVE_STEP_S, IDLE_STEP_S = 0.02, 0.05
STEP_MAX_S = 0.25  # a process that was suspended does not advance further at once
BUTTON_PRESS_S = 0.35  # duration of a button press; three cycles of the I/O modules
CARD_PRESENCE_S = 0.3

D = TypeVar("D", bound=ModbusSlave)


@dataclass
class MeterOverride:
    """Values a meter shows instead of the true ones; None: the true value."""

    voltage_v: Decimal | None = None
    current_a: Decimal | None = None
    power_w: Decimal | None = None


class EmulatedStation:
    """The emulated devices of one station and their coupling.

    Attributes:
        ports: the devices' end of each of `LINE_NAMES`.
        evse_ids: 1 and up.
        now: seconds, as counted by the controllers and modules. It does not advance while this
            process is suspended; otherwise they would take the suspension for a silent station.
        power_stages, seccs, meters, monitors: by EVSE id.
        io: by number of the I/O module.
        io_of_evse: the I/O module with the contactors of an EVSE, by EVSE id.
        cabinet, reader, display, secc_bus, cabinet_bus: one of each.
        emergency_pressed: the emergency stop button.
        door_open, dispenser_door_open, tilted, cooling_fault, arrester_dead, breaker_tripped,
            mains_lost: states of the other wires of the I/O modules.
        lock_stuck: EVSE ids with a holster lock that does not open any more.
        meter_overrides: by EVSE id, values its meter shows instead of the true ones.
        faults: active injected faults: (device, kind, EVSE id or None).
    """

    def __init__(
        self,
        ports: Mapping[str, Port],
        directory: Path,
        *,
        evse_count: int = 2,
        wiring: IoWiring = REFERENCE_WIRING,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        """Build and connect the devices.

        Args:
            ports: the devices' end of each of `LINE_NAMES`.
            directory: holds the saved meter registers.
            evse_count: 1 to `EVSES_MAX`.
            wiring: of the I/O modules.
            clock: returns seconds.

        Raises:
            ValueError: `evse_count` is not 1 to `EVSES_MAX`, or `wiring` cannot work.
        """
        if not 1 <= evse_count <= EVSES_MAX:
            raise ValueError(f"the emulated station has 1 to {EVSES_MAX} EVSEs, not {evse_count}")
        self.ports = ports
        self.evse_ids = tuple(range(1, evse_count + 1))
        self._clock = clock
        self.now = clock()
        self.registers = MeterRegisters(directory / "meters.json", self.evse_ids)
        self.secc_bus = EmulatedCanBus(ports["secc"], advantics.BIT_RATE)
        self.cabinet_bus = EmulatedCanBus(ports["modules"], infypower.BIT_RATE)
        self.cabinet = EmulatedCabinet(
            self.cabinet_bus.send,
            self._read_clock,
            evse_count=evse_count,
            modules_per_evse=MODULES_PER_EVSE,
            start_up_s=START_UP_S,
        )
        self.power_stages = {
            evse: PowerStage(evse, self.cabinet.modules_on_evse(evse)) for evse in self.evse_ids
        }
        self.seccs = {
            evse: EmulatedSecc(self.secc_bus.send, self._read_clock, evse) for evse in self.evse_ids
        }
        self.secc_bus.nodes.extend(self.seccs.values())
        self.cabinet_bus.nodes.append(self.cabinet)
        self.meter_overrides = {evse: MeterOverride() for evse in self.evse_ids}
        self.meters = {evse: self._build_meter(evse) for evse in self.evse_ids}
        self.monitors = {
            evse: self._build_monitor(self.power_stages[evse]) for evse in self.evse_ids
        }
        self.reader = EmulatedPn532(ports["reader"])
        self.display = EmulatedVt100(ports["display"])
        self.wiring = wiring.for_evses(self.evse_ids)
        self.io = {
            module: EmulatedM7055(
                inputs=partial(self._input_bits, module), address=IO_ADDRESSES[module - 1]
            )
            for module in range(1, self.wiring.module_count + 1)
        }
        self.io_of_evse = {
            evse: self.io[channel.module]
            for evse, channel in self.wiring.outputs["contactors"].items()
        }
        self.emergency_pressed = self.door_open = self.dispenser_door_open = False
        self.tilted = self.cooling_fault = self.arrester_dead = self.breaker_tripped = False
        self.mains_lost = False
        self.lock_stuck: set[int] = set()
        self.faults: set[tuple[str, str, int | None]] = set()
        self._stop_pressed_until = dict.fromkeys(self.evse_ids, float("-inf"))
        self._modbus_slaves = (
            ModbusSlaveBus(ports["meter"], _by_modbus_address(METER_ADDRESSES, self.meters)),
            ModbusSlaveBus(ports["io"], _by_modbus_address(IO_ADDRESSES, self.io)),
            ModbusSlaveBus(
                ports["insulation"], _by_modbus_address(INSULATION_ADDRESSES, self.monitors)
            ),
        )

    def _read_clock(self) -> float:
        return self.now

    def _build_meter(self, evse_id: int) -> EmulatedAcrel:
        power_stage, override = self.power_stages[evse_id], self.meter_overrides[evse_id]

        def present_power_w() -> Decimal | float:
            if override.power_w is not None:
                return override.power_w
            return float(present_voltage_v()) * float(present_current_a())

        def present_voltage_v() -> Decimal | float:
            return power_stage.outlet_v if override.voltage_v is None else override.voltage_v

        def present_current_a() -> Decimal | float:
            return power_stage.current_a if override.current_a is None else override.current_a

        return EmulatedAcrel(
            voltage_v=present_voltage_v,
            current_a=present_current_a,
            power_w=present_power_w,
            energy_wh=lambda: self.registers[evse_id],
            energy_reverse_wh=Decimal(0),
        )

    def _build_monitor(self, power_stage: PowerStage) -> EmulatedBender:
        return EmulatedBender(
            resistance_ohm=lambda: power_stage.insulation_ohm, voltage_v=lambda: power_stage.bus_v
        )

    # --- actions of people -----------------------------------------------------------------------

    def plug_in(self, evse_id: int, ev: Ev) -> None:
        """Put the cable of an EVSE into an EV.

        Raises:
            ValueError: an EV is plugged in already.
        """
        if self.power_stages[evse_id].ev is not None:
            raise ValueError(f"EVSE {evse_id} has an EV plugged in already")
        self.power_stages[evse_id].ev = ev
        self.seccs[evse_id].plug_in(ev)

    def unplug(self, evse_id: int) -> None:
        """Take the cable out, also under load. Ends the overrides of the EVSE's meter.

        Raises:
            ValueError: no EV is plugged in.
        """
        self.ev_on_evse(evse_id)
        override = self.meter_overrides[evse_id]
        override.voltage_v = override.current_a = override.power_w = None
        self.seccs[evse_id].unplug()
        self.power_stages[evse_id].ev = None

    def ev_on_evse(self, evse_id: int) -> Ev:
        """The EV at an EVSE. Raises ValueError without one."""
        ev = self.power_stages[evse_id].ev
        if ev is None:
            raise ValueError(f"EVSE {evse_id} has no EV plugged in")
        return ev

    def press_stop_button(self, evse_id: int) -> None:
        """Press the stop button of an EVSE for `BUTTON_PRESS_S`."""
        self._stop_pressed_until[evse_id] = self._clock() + BUTTON_PRESS_S

    # --- wires of the I/O modules, bit n is DIn ---------------------------------------------------

    def _input_bits(self, module: int) -> int:
        return sum(
            1 << number
            for key, evse_id, number in self.wiring.inputs_of_module(module)
            if self._input_level(key, evse_id)
        )

    def _input_level(self, key: str, evse_id: int) -> bool:
        """The level of a wire, by its key in `IoWiring`."""
        match key:
            case "contactors_closed":
                return self.power_stages[evse_id].closed
            case "plug_in_holster":
                return self.power_stages[evse_id].ev is None
            case "holster_locked":
                return evse_id in self.lock_stuck
            case "stop_button":
                return self._clock() < self._stop_pressed_until[evse_id]
            case "emergency_stop_loop_closed":
                return not self.emergency_pressed
            case "door_closed":
                return not self.door_open
            case "surge_arrester_good":
                return not self.arrester_dead
            case "mains_breaker_on":
                return not self.breaker_tripped
            case "power_cabinet_ready":
                return not (self.breaker_tripped or self.mains_lost)
            case "cable_and_tilt_good":
                return not self.tilted
            case "dispenser_door_closed":
                return not self.dispenser_door_open
            case "cooling_flow_good":
                return not self.cooling_fault
            case _:
                raise AssertionError(f"no emulated wire is {key}")

    def is_output_on(self, key: str, evse_id: int) -> bool:
        """Whether an output is switched on: its key in `IoWiring`, and its EVSE or 0."""
        channel = self.wiring.outputs[key].get(evse_id)
        return channel is not None and bool(
            self.io[channel.module].driven_outputs >> channel.number & 1
        )

    # --- time ------------------------------------------------------------------------------------

    def step(self, seconds: float) -> None:
        """Advance all devices by `seconds`."""
        self.now += seconds
        for evse_id in self.evse_ids:
            power_stage, secc = self.power_stages[evse_id], self.seccs[evse_id]
            power_stage.emergency = self.emergency_pressed
            power_stage.coil = self.is_output_on("contactors", evse_id)
            power_stage.bleeding = self.is_output_on("bleeder", evse_id)
            self.registers.add_energy(evse_id, power_stage.step(seconds), seconds)
            secc.cable_c = [power_stage.cable_sensor_c, power_stage.cable_sensor_c - 1]
            secc.tick()
        self.cabinet.tick()
        if not any(power_stage.current_a for power_stage in self.power_stages.values()):
            self.registers.save_registers()

    @property
    def is_at_rest(self) -> bool:
        """Whether no change is under way that needs small steps."""
        return all(
            power_stage.is_at_rest for power_stage in self.power_stages.values()
        ) and not any(secc.is_in_session for secc in self.seccs.values())

    async def run(self) -> None:
        """Run all devices until cancelled, then save the registers exactly."""
        try:
            async with trio.open_nursery() as nursery:
                for device in (
                    self.reader,
                    self.display,
                    *self._modbus_slaves,
                    self.secc_bus,
                    self.cabinet_bus,
                ):
                    nursery.start_soon(device.run)
                await self._run_steps()
        finally:
            self.registers.save_registers()

    async def _run_steps(self) -> None:
        last_step_at = self._clock()
        while True:
            await trio.sleep(IDLE_STEP_S if self.is_at_rest else ACTIVE_STEP_S)
            now = self._clock()
            remaining_s, last_step_at = min(now - last_step_at, STEP_MAX_S), now
            while remaining_s > 1e-9:
                seconds = min(remaining_s, IDLE_STEP_S)
                self.step(seconds)
                remaining_s -= seconds


def _by_modbus_address(addresses: tuple[int, ...], devices: Mapping[int, D]) -> dict[int, D]:
    """Devices by Modbus address instead of number."""
    return {addresses[number - 1]: device for number, device in devices.items()}
