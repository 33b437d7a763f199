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

LINE_NAMES = ("reader", "meter", "io", "insulation", "secc", "modules", "display")
METER_ADDRESSES = (1, 2)
IO_ADDRESSES = (5, 6)
INSULATION_ADDRESSES = (3, 4)
EVSES_MAX = 2  # two I/O modules, two pistols
MODULES_PER_EVSE = 6
START_UP_S = 1.0  # of the modules; three seconds in the field
ACTIVE_STEP_S, IDLE_STEP_S = 0.02, 0.05
STEP_MAX_S = 0.25  # a process that was suspended does not advance further at once
BUTTON_PRESS_S = 0.35  # duration of a button press; three cycles of the I/O modules
CARD_PRESENCE_S = 0.3

COIL_OUTPUT, BLEEDER_OUTPUT, HOLSTER_LOCK_OUTPUT = 0, 1, 2  # outputs of an EVSE's own I/O module

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
        power_stages, seccs, meters, monitors, io: by EVSE id (an I/O module belongs to the EVSE
            with the contactors it drives).
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
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        """Build and connect the devices.

        Args:
            ports: the devices' end of each of `LINE_NAMES`.
            directory: holds the saved meter registers.
            evse_count: 1 or 2.
            clock: returns seconds.

        Raises:
            ValueError: `evse_count` is not 1 to `EVSES_MAX`, the number the wiring supports.
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
        self.io = {
            1: EmulatedM7055(inputs=self._inputs_of_module_a, address=IO_ADDRESSES[0]),
            2: EmulatedM7055(inputs=self._inputs_of_module_b, address=IO_ADDRESSES[1]),
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

    def _inputs_of_module_a(self) -> int:
        cabinet_ready = not (self.breaker_tripped or self.mains_lost)
        return _pack_bits(
            not self.emergency_pressed,
            self.power_stages[1].closed,
            self.power_stages[1].ev is None,
            self._is_locked(1),
            not self.door_open,
            not self.arrester_dead,
            not self.breaker_tripped,
            cabinet_ready,
        )

    def _inputs_of_module_b(self) -> int:
        """DI6 and DI7 are spare in the reference wiring; here they are the two stop buttons."""
        power_stage = self.power_stages.get(2)
        return _pack_bits(
            power_stage is not None and power_stage.closed,
            power_stage is not None and power_stage.ev is None,
            power_stage is not None and self._is_locked(2),
            not self.tilted,
            not self.dispenser_door_open,
            not self.cooling_fault,
            self._is_stop_pressed(1),
            self._is_stop_pressed(2),
        )

    def _is_locked(self, evse_id: int) -> bool:
        return evse_id in self.lock_stuck or self._is_output_on(evse_id, HOLSTER_LOCK_OUTPUT)

    def _is_stop_pressed(self, evse_id: int) -> bool:
        return self._clock() < self._stop_pressed_until.get(evse_id, float("-inf"))

    def _is_output_on(self, evse_id: int, output: int) -> bool:
        return bool(self.io[evse_id].driven_outputs >> output & 1)

    # --- time ------------------------------------------------------------------------------------

    def step(self, seconds: float) -> None:
        """Advance all devices by `seconds`."""
        self.now += seconds
        for evse_id in self.evse_ids:
            power_stage, secc = self.power_stages[evse_id], self.seccs[evse_id]
            power_stage.emergency = self.emergency_pressed
            power_stage.coil = self._is_output_on(evse_id, COIL_OUTPUT)
            power_stage.bleeding = self._is_output_on(evse_id, BLEEDER_OUTPUT)
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


def _pack_bits(*levels: bool) -> int:
    return sum(1 << number for number, level in enumerate(levels) if level)


def _by_modbus_address(addresses: tuple[int, ...], devices: Mapping[int, D]) -> dict[int, D]:
    """Devices by Modbus address instead of EVSE id."""
    return {addresses[evse - 1]: device for evse, device in devices.items()}
