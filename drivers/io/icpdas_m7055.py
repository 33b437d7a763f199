"""ICP DAS M-7055D I/O module on Modbus RTU: 8 inputs, 8 outputs and a host watchdog.

The watchdog switches the outputs off when this program is silent (address mapping of the M-7000
family, rev. 1.13). Each cycle reads the inputs and, in turns, the watchdog status and the reset
flag; outputs are written when they change, and at least every `REWRITE_INTERVAL_S`.

While no power can flow (`idle`), a cycle is `IDLE_CYCLE_S`. Of the row "E-stop pressed: emergency
stop, all EVSEs; AC enable off" of `safety.md`, the limit of 200 ms (section 6) is for switching
modules off, and they are off; AC enable follows in the next cycle. After a missed cycle, cycles are
as short as in a session, so that a module is not stale because of one lost response.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Annotated, Final, Literal

import trio
from msgspec import Meta

from drivers.alarm import Alarm
from drivers.beat import next_beat
from drivers.ports import (
    DeviceFault,
    DeviceReady,
    DeviceReport,
    DigitalInputs,
    InvalidResponse,
    IoModule,
    OpenDevices,
    PortLost,
)
from drivers.settings import (
    Baud,
    IoSettings,
    Milliseconds,
    ModbusAddress,
    Pause,
    require_count,
    require_different,
    require_order,
)
from drivers.wire import modbus_rtu
from drivers.wire.modbus_master import ModbusMaster
from drivers.wire.modbus_rtu import bits_to_int, read_coils, read_registers, write_coil, write_coils
from drivers.wire.serial_port import OpenPort
from drivers.wiring import CHANNELS_PER_MODULE

WATCHDOG_MODE, WATCHDOG_ON, WATCHDOG_STATUS, RESET_FLAG = 0x103, 0x104, 0x10D, 0x110
FIRMWARE_AND_NAME, WATCHDOG_TIME = 0x1E0, 0x1E8
MISSED_CYCLES_MAX = 3
# While no power can flow. The hardware documents set 100 ms for a cycle in general, and 200 ms from
# an emergency stop to the command that switches modules off. They set no time for the AC enable,
# which is all that follows without a session. Outputs are still written every 0.5 s.
IDLE_CYCLE_S = 0.25
REWRITE_INTERVAL_S = 0.5  # the longest time between two writes of the outputs
SHUTDOWN_TIMEOUT_S = 0.2  # to switch all outputs off at the end; otherwise the watchdog does


NO_ANSWER_REASONS: Final = (
    "its Modbus address differs from the key addresses; the module leaves the factory with 1",
    "the module is in the DCON protocol, or its switch is at INIT",
    "the two wires of the line are swapped (D+ and D-), or baud or parity differ",
)
"""Why it may not answer, likeliest first; for `station probe`."""

SILENT_LINE_REASONS: Final = (
    "the two wires of the line are swapped (D+ and D-), or the modules have no supply",
    "their baud rate or parity differs from the keys baud and parity",
    "the port is that of another line",
)
"""The same when no device on the line answers."""


class Settings(IoSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.io]`: the I/O modules, on a line of their own."""

    driver: str = "icpdas_m7055"
    baud: Baud = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1
    timeout_ms: Milliseconds = 60
    pause_ms: Pause = 5
    addresses: tuple[ModbusAddress, ...] = (5, 6, 7, 8)  # of module A, B, …
    cycle_ms: Milliseconds = 100
    watchdog_ms: Annotated[int, Meta(ge=100, le=25_500)] = 2000  # a register of 8 bits, 100 ms each
    input_function: Literal[1, 2] = 2

    def __post_init__(self) -> None:
        require_different("addresses", self.addresses)
        require_order(self, "cycle_ms", "stale_ms")
        require_order(self, "cycle_ms", "watchdog_ms")


def open(
    settings: Settings, evse_ids: tuple[int, ...], open_port: OpenPort
) -> OpenDevices[IoModule]:
    """The modules of the wiring, by number; see `drivers.catalog.Driver.open`."""
    wiring = settings.station_wiring(evse_ids)
    numbers = tuple(range(1, wiring.module_count + 1))
    require_count(settings, "addresses", numbers, "I/O module")
    bus = ModbusMaster.from_settings(settings, open_port, retries=0)
    return OpenDevices(
        {
            number: IcpdasM7055(
                bus,
                address=address,
                power_outputs=wiring.power_outputs(number),
                watchdog_ms=settings.watchdog_ms,
                cycle_ms=settings.cycle_ms,
                idle_cycle_s=min(IDLE_CYCLE_S, settings.stale_ms / 2000),
                timeout_ms=settings.timeout_ms,
                input_function=settings.input_function,
            )
            for number, address in zip(numbers, settings.addresses, strict=False)
        },
        close=bus.close,
    )


class IcpdasM7055:
    """One module.

    Reports DeviceReady after each set-up, then DigitalInputs in each cycle.

    The driver switches `power_outputs` off on its own and never on: it removes them from `outputs`
    when it starts or ends, and when the module was reset or its watchdog fired. The caller has to
    set them again. The other outputs (lights, fans) are restored.

    Args:
        bus: the line; other I/O modules may share it, nothing else should.
        address: Modbus address.
        power_outputs: numbers of the outputs that switch power.
        watchdog_ms: silence after which the module switches its outputs off, in steps of 100.
        cycle_ms: time between two readings of the inputs.
        idle_cycle_s: the same while `idle`, if it is longer.
        timeout_ms: for one response. A cycle without a response is missed, not repeated.
        input_function: 1 or 2, depending on the batch of the module.
        outputs_at, inputs_at, safe_values_at, power_on_values_at: wire addresses, which differ
            a little over the family.
    """

    def __init__(
        self,
        bus: ModbusMaster,
        *,
        address: int = 5,
        power_outputs: Collection[int] = (0, 1, 7),
        watchdog_ms: int = 2000,
        cycle_ms: int = 100,
        idle_cycle_s: float = IDLE_CYCLE_S,
        timeout_ms: int = 60,
        input_function: int = modbus_rtu.READ_DISCRETE_INPUTS,
        outputs_at: int = 0x00,
        inputs_at: int = 0x20,
        safe_values_at: int = 0x80,
        power_on_values_at: int = 0xA0,
    ) -> None:
        self.bus = bus
        self.address = address
        self.watchdog_works: bool | None = None
        """Result of the last `test_watchdog`; None: not tested."""
        self._power_mask = sum(1 << number for number in set(power_outputs))
        self._watchdog_ms = watchdog_ms
        self._cycle_s = cycle_ms / 1000
        self._idle_cycle_s = max(self._cycle_s, idle_cycle_s)
        self._present_cycle_s = self._cycle_s
        self._idle = False
        self._timeout_ms = timeout_ms
        self._inputs_request = modbus_rtu.Request(
            address, input_function, inputs_at, CHANNELS_PER_MODULE
        )
        self._outputs_at = outputs_at
        self._stored_values_at = (safe_values_at, power_on_values_at)
        self._outputs = 0
        self._written_bits: int | None = None  # None: must be written
        self._written_at = 0.0
        self._confirmed_bits: int | None = None
        self._confirmed_at = 0.0
        self._changed = Alarm()
        self._watchdog_clear_ordered = self._watchdog_test_ordered = False
        self._status_turn = 0
        self._cycle_count = 0
        self._watchdog_fired = False

    @property
    def outputs(self) -> int:
        """Ordered outputs, bit n is DOn. A change is written at once."""
        return self._outputs

    @outputs.setter
    def outputs(self, bits: int) -> None:
        if not 0 <= bits < 1 << CHANNELS_PER_MODULE:
            raise ValueError(
                f"I/O module {self.address} has {CHANNELS_PER_MODULE} outputs, got {bits:#x}"
            )
        if bits != self._outputs:
            self._outputs = bits
            self._changed.ring()

    @property
    def idle(self) -> bool:
        """No power can flow and no session is near. When this ends, the inputs are read at once."""
        return self._idle

    @idle.setter
    def idle(self, idle: bool) -> None:
        if idle != self._idle:
            self._idle = idle
            self._changed.ring()

    def set_output(self, number: int, on: bool) -> None:
        """Set one output, without effect on the others."""
        bit = 1 << number
        self.outputs = self._outputs | bit if on else self._outputs & ~bit

    def clear_watchdog(self) -> None:
        """Enable the outputs again after the watchdog fired. Only when every EVSE is idle."""
        self._watchdog_clear_ordered = True

    def test_watchdog(self) -> None:
        """Be silent until the watchdog must have fired, and check that it did. Only when idle.

        The result is in `watchdog_works`; if it did not fire, `run` raises InvalidResponse.

        Raises:
            ValueError: a power output is on.
        """
        if self._outputs & self._power_mask:
            raise ValueError(f"I/O module {self.address}: power outputs are on, no watchdog test")
        self._watchdog_test_ordered = True

    async def run(self, report: Callable[[DeviceReport], None]) -> None:
        """Set the module up and run the cycle. All outputs are off before and after.

        Raises:
            NoResponse, CommandRefused: three cycles in a row failed, or the set-up did.
            InvalidResponse: the watchdog does not work.
            PortLost: the tty is lost.
        """
        try:
            report(DeviceReady(await self._set_up()))
            missed_cycles = 0
            due = trio.current_time()
            while True:
                try:
                    await self._run_cycle(report)
                    missed_cycles = 0
                except (PortLost, InvalidResponse):
                    raise
                except DeviceFault as fault:
                    missed_cycles += 1
                    if missed_cycles == MISSED_CYCLES_MAX:
                        name = f"I/O module {self.address} on {self.bus.path}"
                        raise type(fault)(
                            f"{name}: {missed_cycles} cycles missed: {fault}"
                        ) from fault
                due = await self._wait_for_cycle(due, missed=missed_cycles > 0)
        finally:
            self._clear_power_outputs()
            with trio.move_on_after(SHUTDOWN_TIMEOUT_S, shield=True), suppress(DeviceFault):
                await self._write_outputs(0)  # if this fails, the watchdog switches them off

    async def _set_up(self) -> str:
        """Set the module to a known state; returns the name and firmware it reports."""
        self._clear_power_outputs()
        low, high, name_low, name_high = await self._execute_request(
            read_registers(self.address, FIRMWARE_AND_NAME, 4)
        )
        await self._write_outputs(0)
        for start in self._stored_values_at:
            await self._execute_request(
                write_coils(self.address, start, (0,) * CHANNELS_PER_MODULE)
            )
        watchdog = self._watchdog_ms // 100
        await self._execute_request(
            modbus_rtu.write_register(self.address, WATCHDOG_TIME, watchdog)
        )
        await self._execute_request(write_coil(self.address, WATCHDOG_MODE, False))
        await self._execute_request(write_coil(self.address, WATCHDOG_ON, True))
        await self._clear_watchdog_status()
        await self._write_outputs(0)  # again: ignored while the watchdog's status was set
        await self._read_bit(RESET_FLAG)
        return f"ICP DAS {name_high:04X}{name_low:04X} firmware {high:04X}{low:04X}"

    async def _run_cycle(self, report: Callable[[DeviceReport], None]) -> None:
        if self._watchdog_test_ordered:
            await self._run_watchdog_test()
        if self._watchdog_clear_ordered:
            await self._clear_watchdog_status()
        read_at = trio.current_time()
        bits = bits_to_int(await self._execute_request(self._inputs_request))
        was_reset = await self._check_module() if self._is_check_due() else False
        report(
            DigitalInputs(
                self.address,
                bits,
                self._watchdog_fired,
                was_reset,
                read_at=read_at,
                outputs=self._confirmed_bits,
                outputs_at=self._confirmed_at,
            )
        )
        if was_reset:
            report(DeviceReady(await self._set_up()))
        else:
            await self._write_if_due()

    def _is_check_due(self) -> bool:
        """In each cycle; in every other one while no power can flow."""
        self._cycle_count += 1
        return not self._idle or self._cycle_count % 2 == 0

    async def _check_module(self) -> bool:
        """Read in turns whether the watchdog fired and whether the module lost its power.

        After both, its outputs are at the values for this case, which the set-up wrote: off.

        Returns:
            Whether the module lost its power since the last set-up.
        """
        self._status_turn ^= 1
        if self._status_turn:
            self._watchdog_fired = await self._read_bit(WATCHDOG_STATUS)
        was_reset = not self._status_turn and await self._read_bit(RESET_FLAG)
        if self._watchdog_fired or was_reset:
            self._clear_power_outputs()
            self._note_confirmed(0)
        return was_reset

    async def _wait_for_cycle(self, last_due: float, *, missed: bool) -> float:
        """Wait for the next cycle; write outputs that change in the meantime.

        Returns:
            When it was due.
        """
        while True:
            self._present_cycle_s = (
                self._idle_cycle_s if self._idle and not missed else self._cycle_s
            )
            due = max(next_beat(last_due, self._present_cycle_s), trio.current_time())
            if not await self._changed.wait_until(due):
                return due
            with suppress(DeviceFault):  # the cycle writes it again, and counts failures
                await self._write_if_due()

    async def _write_if_due(self) -> None:
        """Write changed outputs, and unchanged ones in the cycle nearest to their time."""
        due = self._written_at + REWRITE_INTERVAL_S - self._present_cycle_s / 2
        late = trio.current_time() >= due
        if late or self._written_bits != self._outputs:
            await self._write_outputs(self._outputs)

    async def _write_outputs(self, bits: int) -> None:
        self._changed.reset()
        before, self._written_bits = self._confirmed_bits, None
        self._confirmed_bits = None  # a write without a response may have been executed
        values = modbus_rtu.unpack_bits(bytes([bits]), CHANNELS_PER_MODULE)
        await self._execute_request(write_coils(self.address, self._outputs_at, values))
        self._written_bits, self._written_at = bits, trio.current_time()
        self._confirmed_bits = before
        self._note_confirmed(bits)

    def _note_confirmed(self, bits: int) -> None:
        """Keep what the outputs are; a repetition does not make them younger."""
        if bits != self._confirmed_bits:
            self._confirmed_bits, self._confirmed_at = bits, trio.current_time()

    async def _clear_watchdog_status(self) -> None:
        self._watchdog_clear_ordered = False
        await self._execute_request(write_coil(self.address, WATCHDOG_STATUS, True))
        self._watchdog_fired = False
        self._written_bits = None

    async def _run_watchdog_test(self) -> None:
        self._watchdog_test_ordered = False
        await trio.sleep(self._watchdog_ms / 1000 + 1)
        fired = await self._read_bit(WATCHDOG_STATUS)
        outputs = await self._execute_request(
            read_coils(self.address, self._outputs_at, CHANNELS_PER_MODULE)
        )
        self.watchdog_works = fired and not any(outputs)
        if not self.watchdog_works:
            raise InvalidResponse(
                f"I/O module {self.address} on {self.bus.path}: after more than "
                f"{self._watchdog_ms} ms of silence, watchdog status {fired:d}, "
                f"outputs {bits_to_int(outputs):#04x}"
            )
        await self._clear_watchdog_status()

    def _clear_power_outputs(self) -> None:
        self._outputs &= ~self._power_mask

    async def _read_bit(self, address: int) -> bool:
        [bit] = await self._execute_request(read_coils(self.address, address, 1))
        return bool(bit)

    async def _execute_request(self, request: modbus_rtu.Request) -> tuple[int, ...]:
        return await self.bus.execute_request(request, timeout_ms=self._timeout_ms, retries=0)
