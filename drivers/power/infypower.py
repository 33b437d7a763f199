"""How are the rectifier modules of the cabinet kept at what their groups shall give?

One `InfypowerModules` owns all modules on the cabinet's bus. One command leaves every 50 ms:
each group's output is read in turn, then a module's state; a changed order takes the next slot,
an order to switch off waits for none. While a group is on its orders are repeated every second,
which is also what keeps the modules' own 10 s guard quiet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
import trio

from drivers.ports import (
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
from drivers.settings import DEFAULT_GROUPS, ModulesSettings, require_count
from drivers.wire import infypower as wire
from drivers.wire.can_bus import SharedCanBus, Transport
from drivers.wire.infypower import Command, Telegram
from drivers.wire.serial_port import OpenPort
from drivers.wire.slcan import CanFrame

OFF_TIMEOUT_S = 0.3  # on the way out; a bus that takes longer is lost, the modules' guard acts
COUNT_ATTEMPTS_MAX = 3


class Settings(ModulesSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.modules]`: the rectifier modules of the cabinet, on one bus."""

    driver: str = "infypower"
    transport: Transport = "slcan"
    slot_ms: int = 50
    answer_ms: int = 100


def open(
    settings: Settings, evse_ids: tuple[int, ...], open_port: OpenPort
) -> OpenDevices[PowerModules]:
    """All modules as one device, number 0; see `drivers.catalog.Driver.open`."""
    require_count("groups", len(settings.groups), evse_ids)
    bus = SharedCanBus.over_transport(settings.port, settings.transport, wire.BIT_RATE, open_port)
    modules = InfypowerModules(
        bus,
        groups=settings.groups,
        slot_ms=settings.slot_ms,
        answer_ms=settings.answer_ms,
        stale_after_s=settings.stale_s,
    )
    return OpenDevices({0: modules}, bus=bus)


class GroupLimits(msgspec.Struct, frozen=True):
    """What the modules of one group can do together; gone modules do not count."""

    addresses: tuple[int, ...]
    voltage_max_v: int = 0
    voltage_min_v: int = 0
    current_max_ma: int = 0
    power_w: int = 0


class PowerModule(msgspec.Struct):
    """What we know of one module."""

    address: int
    group: int
    last_response_at: float
    limits: wire.Limits | None = None
    status: wire.Status | None = None
    barcode: str = ""
    ac_decivolt: tuple[int, int, int] = (0, 0, 0)
    missed_responses: int = 0
    lost: bool = False
    # read once, when nothing needs the slot more
    pending_reads: list[Command] = msgspec.field(
        default_factory=lambda: [Command.AC_INPUT, Command.BARCODE]
    )


class _GroupOrder(msgspec.Struct, frozen=True):
    voltage_mv: int = 0
    current_ma: int = 0
    on: bool = False


class _GroupState(msgspec.Struct):
    """One group's order and how much of it the modules heard."""

    order: _GroupOrder = _GroupOrder()
    sent_output: tuple[int, int] | None = None  # mV and mA of the last 0x1B
    sent_on: bool | None = None  # the last 0x1A; None: unknown
    output_due_at: float = 0.0
    switch_due_at: float = 0.0
    last_output_at: float = 0.0  # the last output told
    on_since_at: float = 0.0


class InfypowerModules:
    """All modules on one cabinet bus; a `drivers.ports.Device`.

    A module that is reported silent is back when a ModuleState of it is reported again.
    """

    def __init__(
        self,
        bus: SharedCanBus,
        *,
        groups: Sequence[Sequence[int]] = DEFAULT_GROUPS,
        slot_ms: int = 50,
        answer_ms: int = 100,
        repeat_s: float = 1.0,
        missed_responses_max: int = 5,
        lost_after_s: float = 15.0,
        stale_after_s: float = 1.0,
    ) -> None:
        """Say which modules feed which EVSE.

        Args:
            line: the cabinet's bus, 125 kbit/s.
            groups: addresses of the modules wired to EVSE 1, 2, … Wiring is fixed: a module in
                the wrong group would put its current on the other cable.
            slot_ms: pause between commands; the vendor advises 50 to 200.
            answer_ms: how long a slot waits for its answer.
            repeat_s: how often the orders of a group that is on are repeated; below 10 s.
            silent_after: missed answers until a module is reported silent.
            gone_after_s: silence after which a module surely gives no current; above its own
                guard of 10 s.
            stale_after_s: a group that is on and does not tell its output is switched off.
        """
        self.bus = bus
        self.modules: dict[int, PowerModule] = {}
        self.module_count = 0  # how many modules said they are there
        self.ready = trio.Event()  # set up: power may be offered; a new one in each run
        self._addresses_by_group = {number: tuple(group) for number, group in enumerate(groups, 1)}
        self._group_states = {number: _GroupState() for number in self._addresses_by_group}
        self._slot_s = slot_ms / 1000
        self._response_timeout_s = answer_ms / 1000
        self._repeat_s = repeat_s
        self._missed_responses_max = missed_responses_max
        self._lost_after_s = lost_after_s
        self._stale_after_s = stale_after_s
        self._slot_due_at = 0.0
        self._poll_turn = self._module_turn = -1
        self._changed = trio.Event()
        self._responses: deque[Telegram] = deque(maxlen=64)
        self._report: Callable[[DeviceReport], None] = lambda _: None

    @property
    def group_limits(self) -> dict[int, GroupLimits]:
        """What each group can do now."""
        return {number: self._limits_of_group(number) for number in self._addresses_by_group}

    def _limits_of_group(self, number: int) -> GroupLimits:
        there = [
            module.limits
            for module in self.modules.values()
            if module.group == number and module.limits is not None and not module.lost
        ]
        if not there:
            return GroupLimits(self._addresses_by_group[number])
        return GroupLimits(
            addresses=self._addresses_by_group[number],
            voltage_max_v=min(limits.voltage_max_v for limits in there),
            voltage_min_v=max(limits.voltage_min_v for limits in there),
            current_max_ma=sum(limits.current_max_ma for limits in there),
            power_w=sum(limits.power_w for limits in there),
        )

    def set_group(self, group: int, voltage_mv: int, current_ma: int, on: bool) -> None:
        """Order what a group shall give from now on; replaces the order before.

        More than the group's modules can do is cut to what they can. Off leaves at once, a
        change in the next slot. Orders are forgotten whenever `run` begins.

        Args:
            group: 1 and up, as EVSEs.
            voltage_mv: output voltage.
            current_ma: the group's total.
            on: False switches the DC side off.

        Raises:
            KeyError: no such group.
            ValueError: a negative number.
        """
        if voltage_mv < 0 or current_ma < 0:
            raise ValueError(f"group {group}: {voltage_mv} mV, {current_ma} mA is not an order")
        kept = self._group_states[group]
        if on and not kept.order.on:
            kept.on_since_at = trio.current_time()
        kept.order = _GroupOrder(voltage_mv, current_ma, on)
        self._notify_waiters()

    def switch_all_off(self) -> None:
        """Order every group off."""
        for kept in self._group_states.values():
            kept.order = _GroupOrder()
        self._notify_waiters()

    # --- the task --------------------------------------------------------------------------------

    async def run(self, report: Callable[[DeviceReport], None]) -> None:
        """Keep the modules at their orders until cancelled.

        Begins and ends with everything off. Raises PortLost when the bus is lost and NoAnswer
        when no module is there.
        """
        self._report = report
        self.ready = trio.Event()
        self.modules = {}
        self._group_states = {number: _GroupState() for number in self._addresses_by_group}
        with self.bus.attach_listener(self._on_frame):
            await self.bus.wait_until_open()
            try:
                await self._set_up()
                self.ready.set()
                await self._run_slots()
            finally:
                await self._switch_off_on_exit()

    async def _switch_off_on_exit(self) -> None:
        """Switch everything off on the way out; a lost bus leaves it to the modules' guard."""
        self.ready = trio.Event()
        with trio.move_on_after(OFF_TIMEOUT_S, shield=True), suppress(PortLost):
            await self.bus.send(wire.switch_output(wire.ALL_MODULES, on=False).can_frame)

    async def _set_up(self) -> None:
        """Everything off, then learn who is there and what they can."""
        await self._send_in_slot(wire.switch_output(wire.ALL_MODULES, on=False))
        for kept in self._group_states.values():
            kept.sent_on = False
        for _ in range(COUNT_ATTEMPTS_MAX):
            counted = await self._send_and_wait(wire.read_data(Command.COUNT, wire.ALL_MODULES))
            if counted is not None:
                break
        else:
            raise NoResponse(
                f"{self.bus.name}: no power module answered {COUNT_ATTEMPTS_MAX} counts"
            )
        self.module_count = wire.decode_count(counted.data)
        now = trio.current_time()
        for group, addresses in self._addresses_by_group.items():
            for address in addresses:
                self.modules[address] = PowerModule(address, group, last_response_at=now)
        for module in self.modules.values():
            if await self._poll_module(module, Command.STATE):
                await self._poll_module(module, Command.LIMITS)
                await self._send_in_slot(wire.set_group(module.address, module.group))
                module.status = None  # until it tells its group again
        if all(module.limits is None for module in self.modules.values()):
            known = sorted(self.modules)
            raise NoResponse(f"{self.bus.name}: no power module answers at the addresses {known}")

    async def _run_slots(self) -> None:
        """A changed order takes every other slot at most, so that reading goes on beside it."""
        changed = False
        while True:
            await self._wait_for_slot()
            change = None if changed else self._next_changed_order()
            changed = change is not None
            await (self._send_now(change) if change is not None else self._take_next_turn())
            self._check_stale_groups()

    async def _take_next_turn(self) -> None:
        """Each group's output, one thing of one module, an order that is to be repeated."""
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
            repeat = self._next_repeated_order()
            if repeat is not None:
                await self._send_now(repeat)

    async def _read_module(self, module: PowerModule) -> None:
        """Read a module's state, or first what it lost or never told."""
        on = any(kept.order.on for kept in self._group_states.values())
        if module.limits is None and module.status is not None:
            await self._poll_module(module, Command.LIMITS)
        elif module.pending_reads and not (module.missed_responses or on or module.status is None):
            await self._poll_module(module, module.pending_reads.pop())
        elif await self._poll_module(module, Command.STATE) and module.status is not None:
            await self._restore_group(module, module.status)

    async def _restore_group(self, module: PowerModule, status: wire.Status) -> None:
        """Tell a module that lost its power which group it is in; it gives nothing without."""
        if status.group != module.group:
            await self._send_in_slot(wire.set_group(module.address, module.group))
            module.status = None  # until it tells its group again

    # --- orders ----------------------------------------------------------------------------------

    def _next_changed_order(self) -> Telegram | None:
        """The next order that a group has not heard: off before all, voltage before on."""
        for number, kept in self._group_states.items():
            if not kept.order.on and kept.sent_on is not False:
                return self._switch_telegram(number, kept, on=False)
        for number, kept in self._group_states.items():
            if not kept.order.on:
                continue
            if kept.sent_output != self._limit_order(number, kept.order):
                return self._output_telegram(number, kept)
            if kept.sent_on is not True:
                return self._switch_telegram(number, kept, on=True)
        return None

    def _next_repeated_order(self) -> Telegram | None:
        """An order that a group heard `repeat_s` ago or more."""
        now = trio.current_time()
        for number, kept in self._group_states.items():
            if kept.order.on and now >= kept.output_due_at:
                return self._output_telegram(number, kept)
            if now >= kept.switch_due_at:
                return self._switch_telegram(number, kept, on=kept.order.on)
        return None

    def _output_telegram(self, number: int, state: _GroupState) -> Telegram:
        state.sent_output = self._limit_order(number, state.order)
        state.output_due_at = trio.current_time() + self._repeat_s
        return wire.set_output(number, *state.sent_output, is_group=True)

    def _switch_telegram(self, number: int, state: _GroupState, *, on: bool) -> Telegram:
        state.sent_on = on
        state.switch_due_at = trio.current_time() + self._repeat_s
        if not on:
            state.sent_output = None
        return wire.switch_output(number, on=on, is_group=True)

    def _limit_order(self, number: int, order: _GroupOrder) -> tuple[int, int]:
        """The order, not above what the modules can: they would refuse all of it."""
        group = self._limits_of_group(number)
        return (
            min(order.voltage_mv, group.voltage_max_v * 1000),
            min(order.current_ma, group.current_max_ma),
        )

    async def _send_urgent_offs(self) -> None:
        """Switch off what shall be off and was told to be on, without waiting for a slot."""
        for number, kept in self._group_states.items():
            if not kept.order.on and kept.sent_on:
                await self.bus.send(self._switch_telegram(number, kept, on=False).can_frame)

    def _check_stale_groups(self) -> None:
        now = trio.current_time()
        for number, kept in self._group_states.items():
            fresh_at = max(kept.last_output_at, kept.on_since_at)
            if kept.order.on and now - fresh_at > self._stale_after_s:
                kept.order = _GroupOrder()
                self._report(GroupSilent(number))

    # --- slots -----------------------------------------------------------------------------------

    async def _wait_for_slot(self) -> None:
        """Wait for the next slot. What leaves in it is settled only then: an order to switch off
        that came meanwhile must not be followed by the order to switch on from before."""
        await self._wait_until(lambda: False, self._slot_due_at - trio.current_time())

    async def _send_now(self, telegram: Telegram) -> None:
        """Send now; the next slot is a pause away."""
        self._slot_due_at = trio.current_time() + self._slot_s
        await self.bus.send(telegram.can_frame)

    async def _send_in_slot(self, telegram: Telegram) -> None:
        """Send an order in its slot; its answer is heard, not awaited."""
        await self._wait_for_slot()
        await self._send_now(telegram)

    async def _send_and_wait(self, telegram: Telegram) -> Telegram | None:
        """Send a read in its slot and wait for its answer; None if there is none in time."""
        await self._send_in_slot(telegram)
        self._responses.clear()
        found: list[Telegram] = []

        def is_answered() -> bool:
            found.extend(
                heard
                for heard in self._responses
                if (heard.command, heard.is_group) == (telegram.command, telegram.is_group)
                and heard.source == telegram.destination
            )
            return bool(found)

        await self._wait_until(is_answered, self._response_timeout_s)
        return found[0] if found and found[0].error == wire.ErrorCode.NONE else None

    async def _poll_module(self, module: PowerModule, command: Command) -> bool:
        """Ask one module; count it missed if it stays silent."""
        if await self._send_and_wait(wire.read_data(command, module.address)) is not None:
            return True
        module.missed_responses += 1
        if module.missed_responses == self._missed_responses_max:
            self._report(ModuleSilent(module.address, lost=False))
        if not module.lost and trio.current_time() - module.last_response_at >= self._lost_after_s:
            module.lost = True
            self._report(ModuleSilent(module.address, lost=True))
        return False

    async def _wait_until(self, is_done: Callable[[], bool], timeout_s: float) -> None:
        """Wait for something, `seconds` at most; orders to switch off leave meanwhile."""
        deadline = trio.current_time() + timeout_s
        while True:
            stir = self._changed
            await self._send_urgent_offs()
            if is_done() or trio.current_time() >= deadline:
                return
            with trio.move_on_at(deadline):
                await stir.wait()

    def _notify_waiters(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # --- hearing ---------------------------------------------------------------------------------

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
        self._notify_waiters()

    def _handle_response(self, telegram: Telegram) -> None:
        module = None if telegram.is_group else self.modules.get(telegram.source)
        if module is not None:
            module.missed_responses, module.lost = 0, False
            module.last_response_at = trio.current_time()
            self._update_module(module, telegram)
        elif telegram.is_group and telegram.command == Command.READ_OUTPUT:
            kept = self._group_states.get(telegram.source)
            if kept is not None:
                kept.last_output_at = trio.current_time()
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
