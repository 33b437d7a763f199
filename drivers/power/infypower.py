"""Infypower rectifier modules of the cabinet on CAN, in groups wired to one EVSE each.

`InfypowerModules` controls all modules on the cabinet's bus:

* A command is sent in each slot (`slot_ms`, 50 ms). Reads take turns: the output of each group, one
  value of one module, one order that is due for repetition.
* A changed order takes the next slot, at most every other one, so that reading continues;
  `_group_orders` has the sequence of orders. An order to switch off waits for no slot.
* While a group is on, its orders are repeated every `repeat_s`. This also keeps the modules' own
  guard (10 s without a command) from switching them off.
* A group that is on and reports no output for `stale_after_s` is switched off.
* While no power can flow (`idle`), slots are `IDLE_SLOT_S`; after a missed response for a while as
  short as in a session, so that an output is not stale because of a lost response.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
import trio

from drivers.alarm import Alarm
from drivers.awake_clock import AwakeClock
from drivers.beat import next_beat
from drivers.ports import (
    DeviceReady,
    DeviceReport,
    GroupOutput,
    GroupSilent,
    ModuleLimits,
    ModuleSilent,
    ModuleState,
    NoResponse,
    OpenDevices,
    OrderRefused,
    PortLost,
    PowerModules,
)
from drivers.power._group_orders import GroupOrder, GroupOrders
from drivers.settings import DEFAULT_GROUPS, Milliseconds, ModulesSettings, require_count
from drivers.wire import infypower as wire
from drivers.wire.can_bus import SLCAN, SharedCanBus
from drivers.wire.infypower import Command, Telegram
from drivers.wire.serial_port import OpenPort
from drivers.wire.slcan import CanFrame

OFF_TIMEOUT_S = 0.3  # at the end; a slower bus is lost, and the modules' guard switches off
COUNT_ATTEMPTS_MAX = 3
IDLE_SLOT_S = 0.1
SLOT_SHIFT_MAX_S = 0.002  # of a slot, towards a common beat
IDLE_AFTER_ANSWERS = 8  # in a row; two or three of each group's output
LATE_S = 0.02  # a response time that ends later was delayed by this process
CATCH_UP_TURNS = 3  # turns of the loop in which all waiting frames are read


NO_ANSWER_REASONS: Final = (
    "the modules have no mains: probe with --mains, and check the mains contactor",
    "CAN high and low are swapped, or a terminating resistor is missing",
    "their addresses differ from the key groups, or the bus is not at 125 kbit/s",
)
"""Why it may not answer, likeliest first; for `station probe`."""


class Settings(ModulesSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.modules]`: the rectifier modules of the cabinet, on one bus."""

    driver: str = "infypower"
    interface: str = SLCAN
    adapter: dict[str, Any] = msgspec.field(default_factory=dict)  # of python-can
    slot_ms: Milliseconds = 50
    answer_ms: Milliseconds = 100


def open(
    settings: Settings, evse_ids: tuple[int, ...], open_port: OpenPort
) -> OpenDevices[PowerModules]:
    """All modules as one device, number 0; see `drivers.catalog.Driver.open`."""
    require_count(settings, "groups", evse_ids)
    bus = SharedCanBus.over_interface(
        settings.port, settings.interface, wire.BIT_RATE, open_port, settings.adapter
    )
    modules = InfypowerModules(
        bus,
        groups=settings.groups[: len(evse_ids)],
        slot_ms=settings.slot_ms,
        answer_ms=settings.answer_ms,
        stale_after_s=settings.stale_s,
    )
    return OpenDevices({0: modules}, bus=bus)


class GroupLimits(msgspec.Struct, frozen=True):
    """Limits of one group: sum of its modules, without lost ones."""

    addresses: tuple[int, ...]
    voltage_max_v: int = 0
    voltage_min_v: int = 0
    current_max_ma: int = 0
    power_w: int = 0


class PowerModule(msgspec.Struct):
    """State of one module."""

    address: int
    group: int
    last_response_at: float
    limits: wire.Limits | None = None
    status: wire.Status | None = None
    barcode: str = ""
    ac_decivolt: tuple[int, int, int] = (0, 0, 0)
    missed_responses: int = 0
    lost: bool = False
    # read once, when no other command needs the slot
    pending_reads: list[Command] = msgspec.field(
        default_factory=lambda: [Command.AC_INPUT, Command.BARCODE]
    )


class InfypowerModules:
    """All modules on one cabinet bus; a `drivers.ports.Device`.

    A module that is reported silent is back when a ModuleState of it is reported again.
    """

    def __init__(
        self,
        bus: SharedCanBus,
        *,
        groups: Sequence[Sequence[int]] = DEFAULT_GROUPS[:2],
        slot_ms: int = 50,
        answer_ms: int = 100,
        repeat_s: float = 1.0,
        missed_responses_max: int = 5,
        lost_after_s: float = 15.0,
        stale_after_s: float = 1.0,
    ) -> None:
        """Assign modules to EVSEs; nothing is sent before `run`.

        Args:
            bus: the cabinet's bus, 125 kbit/s.
            groups: addresses of the modules wired to EVSE 1, 2, … Wiring is fixed: a module in
                the wrong group would put its current on the other cable.
            slot_ms: pause between commands; the vendor advises 50 to 200.
            answer_ms: how long a slot waits for the response.
            repeat_s: interval at which orders of a group that is on are repeated; below 10 s.
            missed_responses_max: missed responses until a module is reported silent.
            lost_after_s: silence after which a module gives no current for certain; above its
                own guard of 10 s.
            stale_after_s: a group that is on is switched off after this time without output
                reports.
        """
        self.bus = bus
        self.modules: dict[int, PowerModule] = {}
        self.module_count = 0  # modules that responded to the count
        self.idle = False
        """No power can flow and no session is near."""
        self.ready = trio.Event()  # set when power may be offered; a new one in each run
        self._addresses_by_group = {number: tuple(group) for number, group in enumerate(groups, 1)}
        self._orders = GroupOrders(self._addresses_by_group, self._order_limits, repeat_s)
        self._slot_s = slot_ms / 1000
        self._answers_in_row = 0  # reads since the last missed response
        self._response_timeout_s = answer_ms / 1000
        self._missed_responses_max = missed_responses_max
        self._lost_after_s = lost_after_s
        self._stale_after_s = stale_after_s
        self._clock = AwakeClock()  # for judging modules; slots and repetitions are on trio's
        self._slot_due_at = 0.0
        self._poll_turn = self._module_turn = -1
        self._changed = Alarm()
        self._responses: deque[Telegram] = deque(maxlen=64)
        self._report: Callable[[DeviceReport], None] = lambda _: None

    @property
    def group_limits(self) -> dict[int, GroupLimits]:
        """Present limits of each group."""
        return {number: self._limits_of_group(number) for number in self._addresses_by_group}

    def _limits_of_group(self, number: int) -> GroupLimits:
        limits_of_modules = [
            module.limits
            for module in self.modules.values()
            if module.group == number and module.limits is not None and not module.lost
        ]
        if not limits_of_modules:
            return GroupLimits(self._addresses_by_group[number])
        return GroupLimits(
            addresses=self._addresses_by_group[number],
            voltage_max_v=min(limits.voltage_max_v for limits in limits_of_modules),
            voltage_min_v=max(limits.voltage_min_v for limits in limits_of_modules),
            current_max_ma=sum(limits.current_max_ma for limits in limits_of_modules),
            power_w=sum(limits.power_w for limits in limits_of_modules),
        )

    def set_group(self, group: int, voltage_mv: int, current_ma: int, on: bool) -> None:
        """Order the output of a group; replaces the previous order.

        An order above the limits of the group is reduced to them. Off is sent at once, a change
        in the next slot. Orders are discarded whenever `run` begins.

        Args:
            group: from 1, as EVSE ids.
            voltage_mv: output voltage.
            current_ma: the group's total.
            on: False switches the DC side off.

        Raises:
            KeyError: no such group.
            ValueError: a negative number.
        """
        if voltage_mv < 0 or current_ma < 0:
            raise ValueError(
                f"group {group}: {voltage_mv} mV, {current_ma} mA is not a valid order"
            )
        self._orders.set_order(group, GroupOrder(voltage_mv, current_ma, on), self._clock.now())
        self._changed.ring()

    def switch_all_off(self) -> None:
        """Order every group off."""
        self._orders.switch_all_off()
        self._changed.ring()

    # --- Task --------------------------------------------------------------------------------

    async def run(self, report: Callable[[DeviceReport], None]) -> None:
        """Keep the modules at their orders until cancelled.

        Begins and ends with everything off. Raises PortLost when the bus is lost and NoResponse
        when no module responds.
        """
        self._report = report
        self.ready = trio.Event()
        self.modules = {}
        self._orders.discard_all()
        with self.bus.attach_listener(self._on_frame):
            await self.bus.wait_until_open()
            try:
                await self._set_up()
                self._report(DeviceReady("Infypower", f"{self.module_count} answer"))
                self.ready.set()
                await self._run_slots()
            finally:
                await self._switch_off_on_exit()

    async def _switch_off_on_exit(self) -> None:
        """Switch everything off at the end; on a lost bus, the modules' guard does it."""
        self.ready = trio.Event()
        with trio.move_on_after(OFF_TIMEOUT_S, shield=True), suppress(PortLost):
            await self.bus.send(wire.switch_output(wire.ALL_MODULES, on=False).can_frame)

    async def _set_up(self) -> None:
        """Switch everything off, then read which modules respond and their limits."""
        await self._send_in_slot(wire.switch_output(wire.ALL_MODULES, on=False))
        self._orders.mark_switched_off()
        for _ in range(COUNT_ATTEMPTS_MAX):
            response = await self._send_and_wait(wire.read_data(Command.COUNT, wire.ALL_MODULES))
            if response is not None:
                break
        else:
            raise NoResponse(
                f"{self.bus.name}: no power module answered {COUNT_ATTEMPTS_MAX} counts"
            )
        self.module_count = wire.decode_count(response.data)
        now = self._clock.now()
        for group, addresses in self._addresses_by_group.items():
            for address in addresses:
                self.modules[address] = PowerModule(address, group, last_response_at=now)
        for module in self.modules.values():
            if await self._poll_module(module, Command.STATE):
                await self._poll_module(module, Command.LIMITS)
                await self._send_in_slot(wire.set_group(module.address, module.group))
                module.status = None  # until it reports its group again
        if all(module.limits is None for module in self.modules.values()):
            raise NoResponse(
                f"{self.bus.name}: no power module answers at addresses {sorted(self.modules)}"
            )

    async def _run_slots(self) -> None:
        """Use one slot after the other; a changed order takes every other slot at most."""
        changed = False
        while True:
            await self._wait_for_slot()
            change = None if changed else self._orders.next_changed(trio.current_time())
            changed = change is not None
            await (self._send_now(change) if change is not None else self._take_next_turn())
            self._check_stale_groups()

    async def _take_next_turn(self) -> None:
        """Read a group's output or one value of one module, or repeat an order, in turn."""
        groups = tuple(self._addresses_by_group)
        self._poll_turn = (self._poll_turn + 1) % (len(groups) + 2)
        if self._poll_turn < len(groups):
            await self._send_and_wait(
                wire.read_data(Command.READ_OUTPUT, groups[self._poll_turn], is_group=True)
            )
        elif self._poll_turn == len(groups):
            addresses = tuple(self.modules)
            self._module_turn = (self._module_turn + 1) % len(addresses)
            await self._read_module(self.modules[addresses[self._module_turn]])
        else:
            repeat = self._orders.next_repeated(trio.current_time())
            if repeat is not None:
                await self._send_now(repeat)

    async def _read_module(self, module: PowerModule) -> None:
        """Read a module's state; its limits first if unknown, or a value that is read once."""
        on = self._orders.any_on
        if module.limits is None and module.status is not None:
            await self._poll_module(module, Command.LIMITS)
        elif module.pending_reads and not (module.missed_responses or on or module.status is None):
            await self._poll_module(module, module.pending_reads.pop())
        elif await self._poll_module(module, Command.STATE) and module.status is not None:
            await self._restore_group(module, module.status)

    async def _restore_group(self, module: PowerModule, status: wire.Status) -> None:
        """Assign a module that lost its supply to its group again; it gives no current without."""
        if status.group != module.group:
            await self._send_in_slot(wire.set_group(module.address, module.group))
            module.status = None  # until it reports its group again

    def _order_limits(self, group: int) -> tuple[int, int]:
        """Voltage in mV and current in mA that a group can give."""
        limits = self._limits_of_group(group)
        return limits.voltage_max_v * 1000, limits.current_max_ma

    async def _send_urgent_offs(self) -> None:
        """Switch off groups that are on and ordered off, without waiting for a slot."""
        for telegram in self._orders.urgent_offs(trio.current_time()):
            await self.bus.send(telegram.can_frame)

    def _check_stale_groups(self) -> None:
        for group in self._orders.switch_off_stale(self._stale_after_s, self._clock.now()):
            self._report(GroupSilent(group))

    # --- Slots -----------------------------------------------------------------------------------

    async def _wait_for_slot(self) -> None:
        """Wait for the next slot.

        The command of the slot is chosen after this wait: an older order to switch on must not
        follow an order to switch off that came in the meantime.
        """
        await self._wait_until(lambda: False, self._slot_due_at - trio.current_time())

    async def _send_now(self, telegram: Telegram) -> None:
        """Send now; the next slot begins about `slot_ms` later, or `IDLE_SLOT_S`."""
        settled = self._answers_in_row >= IDLE_AFTER_ANSWERS
        resting = self.idle and settled and not self._orders.any_on
        now = trio.current_time()
        due = now + self._slot_s
        if resting:
            self._slot_due_at = max(next_beat(now, IDLE_SLOT_S), due)
        else:
            beat = next_beat(due - SLOT_SHIFT_MAX_S, self._slot_s)
            self._slot_due_at = min(beat, due + SLOT_SHIFT_MAX_S)
        await self.bus.send(telegram.can_frame)

    async def _send_in_slot(self, telegram: Telegram) -> None:
        """Send an order in the next slot, without waiting for the response."""
        await self._wait_for_slot()
        await self._send_now(telegram)

    async def _send_and_wait(self, telegram: Telegram) -> Telegram | None:
        """Send a read in the next slot and wait for the response; None if there is none in time."""
        await self._send_in_slot(telegram)
        self._responses.clear()
        matching: list[Telegram] = []

        def is_answered() -> bool:
            matching.extend(
                response
                for response in self._responses
                if (response.command, response.is_group) == (telegram.command, telegram.is_group)
                and response.source == telegram.destination
            )
            return bool(matching)

        deadline = trio.current_time() + self._response_timeout_s
        await self._wait_until(is_answered, self._response_timeout_s)
        if trio.current_time() - deadline > LATE_S:  # the response may wait to be read
            for _ in range(CATCH_UP_TURNS):
                await trio.lowlevel.checkpoint()
            is_answered()
        self._answers_in_row = self._answers_in_row + 1 if matching else 0
        return matching[0] if matching and matching[0].error == wire.ErrorCode.NONE else None

    async def _poll_module(self, module: PowerModule, command: Command) -> bool:
        """Read a value of one module; count a missed response."""
        if await self._send_and_wait(wire.read_data(command, module.address)) is not None:
            return True
        module.missed_responses += 1
        if module.missed_responses == self._missed_responses_max:
            self._report(ModuleSilent(module.address, lost=False))
        if not module.lost and self._clock.now() - module.last_response_at >= self._lost_after_s:
            module.lost = True
            self._report(ModuleSilent(module.address, lost=True))
        return False

    async def _wait_until(self, is_done: Callable[[], bool], timeout_s: float) -> None:
        """Wait for a condition, at most `timeout_s`; orders to switch off are sent meanwhile."""
        deadline = trio.current_time() + timeout_s
        while True:
            self._changed.reset()
            await self._send_urgent_offs()
            if is_done() or trio.current_time() >= deadline:
                return
            await self._changed.wait_until(deadline)

    # --- Responses -------------------------------------------------------------------------------

    def _on_frame(self, frame: CanFrame) -> None:
        telegram = wire.parse_frame(frame)
        if telegram is None or telegram.destination != wire.CONTROLLER_ADDRESS:
            return
        if telegram.error == wire.ErrorCode.NONE:
            self._handle_response(telegram)
        elif telegram.command >= Command.WALK_IN and telegram.error != wire.ErrorCode.STARTING_UP:
            self._report(
                OrderRefused(telegram.source, telegram.is_group, telegram.command, telegram.error)
            )
        self._responses.append(telegram)
        self._changed.ring()

    def _handle_response(self, telegram: Telegram) -> None:
        module = None if telegram.is_group else self.modules.get(telegram.source)
        if module is not None:
            module.missed_responses, module.lost = 0, False
            module.last_response_at = self._clock.now()
            self._update_module(module, telegram)
            return
        is_output = telegram.is_group and telegram.command == Command.READ_OUTPUT
        if is_output and self._orders.note_output(telegram.source, self._clock.now()):
            self._report(GroupOutput(telegram.source, *wire.decode_pair(telegram.data)))

    def _update_module(self, module: PowerModule, telegram: Telegram) -> None:
        match telegram.command:
            case Command.STATE:
                module.status = wire.decode_status(telegram.data)
                self._report(_module_state(module, module.status))
            case Command.LIMITS:
                module.limits = wire.decode_limits(telegram.data)
                self._report(_module_limits(module.address, module.limits))
            case Command.BARCODE:
                module.barcode = wire.decode_barcode(telegram.data)
            case Command.AC_INPUT:
                module.ac_decivolt = wire.decode_ac_input(telegram.data)


def _module_state(module: PowerModule, status: wire.Status) -> ModuleState:
    return ModuleState(
        address=module.address,
        group=module.group,
        temperature_c=status.temperature_c,
        faults=status.bits_of_class("fault"),
        warnings=status.bits_of_class("warning"),
        states=status.bits_of_class("state"),
    )


def _module_limits(address: int, limits: wire.Limits) -> ModuleLimits:
    return ModuleLimits(
        address=address,
        voltage_max_v=limits.voltage_max_v,
        voltage_min_v=limits.voltage_min_v,
        current_max_ma=limits.current_max_ma,
        power_w=limits.power_w,
    )
