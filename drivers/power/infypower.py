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
    GroupOutput,
    GroupSilent,
    ModuleLimits,
    ModuleSilent,
    ModuleState,
    NoAnswer,
    OrderRefused,
    PortGone,
    Report,
)
from drivers.wire import infypower as wire
from drivers.wire.can_bus import CanLine
from drivers.wire.infypower import Command, Telegram
from drivers.wire.slcan import CanFrame

SIX_EACH = (tuple(range(6)), tuple(range(6, 12)))
OFF_DEADLINE_S = 0.3  # on the way out; a bus that takes longer is lost, the modules' guard acts
COUNT_TRIES = 3


class Group(msgspec.Struct, frozen=True):
    """What the modules of one group can do together; gone modules do not count."""

    addresses: tuple[int, ...]
    voltage_max_v: int = 0
    voltage_min_v: int = 0
    current_max_ma: int = 0
    power_w: int = 0


class Module(msgspec.Struct):
    """What we know of one module."""

    address: int
    group: int
    heard_at: float
    limits: wire.Limits | None = None
    status: wire.Status | None = None
    barcode: str = ""
    ac_decivolt: tuple[int, int, int] = (0, 0, 0)
    missed: int = 0
    gone: bool = False
    # read once, when nothing needs the slot more
    curious: list[Command] = msgspec.field(
        default_factory=lambda: [Command.AC_INPUT, Command.BARCODE]
    )


class _Order(msgspec.Struct, frozen=True):
    voltage_mv: int = 0
    current_ma: int = 0
    on: bool = False


class _Kept(msgspec.Struct):
    """One group's order and how much of it the modules heard."""

    wanted: _Order = _Order()
    told: tuple[int, int] | None = None  # mV and mA of the last 0x1B
    told_on: bool | None = None  # the last 0x1A; None: unknown
    output_due: float = 0.0
    switch_due: float = 0.0
    heard_at: float = 0.0  # the last output told
    on_since: float = 0.0


class InfypowerModules:
    """All modules on one cabinet bus; a `drivers.ports.Device`.

    A module that is reported silent is back when a ModuleState of it is reported again.
    """

    def __init__(
        self,
        line: CanLine,
        *,
        groups: Sequence[Sequence[int]] = SIX_EACH,
        slot_ms: int = 50,
        answer_ms: int = 100,
        repeat_s: float = 1.0,
        silent_after: int = 5,
        gone_after_s: float = 15.0,
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
        self.line = line
        self.modules: dict[int, Module] = {}
        self.count = 0  # how many modules said they are there
        self.ready = trio.Event()  # set up: power may be offered; a new one in each run
        self._layout = {number: tuple(group) for number, group in enumerate(groups, 1)}
        self._kept = {number: _Kept() for number in self._layout}
        self._slot_s = slot_ms / 1000
        self._answer_s = answer_ms / 1000
        self._repeat_s = repeat_s
        self._silent_after = silent_after
        self._gone_after_s = gone_after_s
        self._stale_after_s = stale_after_s
        self._slot_due = 0.0
        self._turn = self._module_turn = -1
        self._stir = trio.Event()
        self._answers: deque[Telegram] = deque(maxlen=64)
        self._report: Callable[[Report], None] = lambda _: None

    @property
    def groups(self) -> dict[int, Group]:
        """What each group can do now."""
        return {number: self._group(number) for number in self._layout}

    def _group(self, number: int) -> Group:
        there = [
            module.limits
            for module in self.modules.values()
            if module.group == number and module.limits is not None and not module.gone
        ]
        if not there:
            return Group(self._layout[number])
        return Group(
            addresses=self._layout[number],
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
        kept = self._kept[group]
        if on and not kept.wanted.on:
            kept.on_since = trio.current_time()
        kept.wanted = _Order(voltage_mv, current_ma, on)
        self._wake()

    def all_off(self) -> None:
        """Order every group off."""
        for kept in self._kept.values():
            kept.wanted = _Order()
        self._wake()

    # --- the task --------------------------------------------------------------------------------

    async def run(self, report: Callable[[Report], None]) -> None:
        """Keep the modules at their orders until cancelled.

        Begins and ends with everything off. Raises PortGone when the bus is lost and NoAnswer
        when no module is there.
        """
        self._report = report
        self.ready = trio.Event()
        self.modules = {}
        self._kept = {number: _Kept() for number in self._layout}
        with self.line.heard_by(self._hear):
            await self.line.wait_up()
            try:
                await self._set_up()
                self.ready.set()
                await self._work()
            finally:
                await self._leave()

    async def _leave(self) -> None:
        """Switch everything off on the way out; a lost bus leaves it to the modules' guard."""
        self.ready = trio.Event()
        with trio.move_on_after(OFF_DEADLINE_S, shield=True), suppress(PortGone):
            await self.line.send(wire.switch(wire.ALL, on=False).frame)

    async def _set_up(self) -> None:
        """Everything off, then learn who is there and what they can."""
        await self._tell(wire.switch(wire.ALL, on=False))
        for kept in self._kept.values():
            kept.told_on = False
        for _ in range(COUNT_TRIES):
            counted = await self._ask(wire.read(Command.COUNT, wire.ALL))
            if counted is not None:
                break
        else:
            raise NoAnswer(f"{self.line.name}: no power module answered {COUNT_TRIES} counts")
        self.count = wire.count_in(counted.data)
        now = trio.current_time()
        for group, addresses in self._layout.items():
            for address in addresses:
                self.modules[address] = Module(address, group, heard_at=now)
        for module in self.modules.values():
            if await self._poll(module, Command.STATE):
                await self._poll(module, Command.LIMITS)
                await self._tell(wire.set_group(module.address, module.group))
                module.status = None  # until it tells its group again
        if all(module.limits is None for module in self.modules.values()):
            known = sorted(self.modules)
            raise NoAnswer(f"{self.line.name}: no power module answers at the addresses {known}")

    async def _work(self) -> None:
        """A changed order takes every other slot at most, so that reading goes on beside it."""
        changed = False
        while True:
            await self._slot()
            change = None if changed else self._change_due()
            changed = change is not None
            await (self._put(change) if change is not None else self._next_turn())
            self._judge_groups()

    async def _next_turn(self) -> None:
        """Each group's output, one thing of one module, an order that is to be repeated."""
        groups = tuple(self._layout)
        self._turn = (self._turn + 1) % (len(groups) + 2)
        if self._turn < len(groups):
            await self._ask(wire.read(Command.READ_OUTPUT, groups[self._turn], group=True))
        elif self._turn == len(groups):
            addresses = tuple(self.modules)
            self._module_turn = (self._module_turn + 1) % len(addresses)
            await self._look_at(self.modules[addresses[self._module_turn]])
        else:
            repeat = self._repeat_due()
            if repeat is not None:
                await self._put(repeat)

    async def _look_at(self, module: Module) -> None:
        """Read a module's state, or first what it lost or never told."""
        on = any(kept.wanted.on for kept in self._kept.values())
        if module.limits is None and module.status is not None:
            await self._poll(module, Command.LIMITS)
        elif module.curious and not (module.missed or on or module.status is None):
            await self._poll(module, module.curious.pop())
        elif await self._poll(module, Command.STATE) and module.status is not None:
            await self._regroup(module, module.status)

    async def _regroup(self, module: Module, status: wire.Status) -> None:
        """Tell a module that lost its power which group it is in; it gives nothing without."""
        if status.group != module.group:
            await self._tell(wire.set_group(module.address, module.group))
            module.status = None  # until it tells its group again

    # --- orders ----------------------------------------------------------------------------------

    def _change_due(self) -> Telegram | None:
        """The next order that a group has not heard: off before all, voltage before on."""
        for number, kept in self._kept.items():
            if not kept.wanted.on and kept.told_on is not False:
                return self._switched(number, kept, on=False)
        for number, kept in self._kept.items():
            if not kept.wanted.on:
                continue
            if kept.told != self._cut(number, kept.wanted):
                return self._set(number, kept)
            if kept.told_on is not True:
                return self._switched(number, kept, on=True)
        return None

    def _repeat_due(self) -> Telegram | None:
        """An order that a group heard `repeat_s` ago or more."""
        now = trio.current_time()
        for number, kept in self._kept.items():
            if kept.wanted.on and now >= kept.output_due:
                return self._set(number, kept)
            if now >= kept.switch_due:
                return self._switched(number, kept, on=kept.wanted.on)
        return None

    def _set(self, number: int, kept: _Kept) -> Telegram:
        kept.told = self._cut(number, kept.wanted)
        kept.output_due = trio.current_time() + self._repeat_s
        return wire.set_output(number, *kept.told, group=True)

    def _switched(self, number: int, kept: _Kept, *, on: bool) -> Telegram:
        kept.told_on = on
        kept.switch_due = trio.current_time() + self._repeat_s
        if not on:
            kept.told = None
        return wire.switch(number, on=on, group=True)

    def _cut(self, number: int, order: _Order) -> tuple[int, int]:
        """The order, not above what the modules can: they would refuse all of it."""
        group = self._group(number)
        return (
            min(order.voltage_mv, group.voltage_max_v * 1000),
            min(order.current_ma, group.current_max_ma),
        )

    async def _offs(self) -> None:
        """Switch off what shall be off and was told to be on, without waiting for a slot."""
        for number, kept in self._kept.items():
            if not kept.wanted.on and kept.told_on:
                await self.line.send(self._switched(number, kept, on=False).frame)

    def _judge_groups(self) -> None:
        now = trio.current_time()
        for number, kept in self._kept.items():
            fresh_at = max(kept.heard_at, kept.on_since)
            if kept.wanted.on and now - fresh_at > self._stale_after_s:
                kept.wanted = _Order()
                self._report(GroupSilent(number))

    # --- slots -----------------------------------------------------------------------------------

    async def _slot(self) -> None:
        """Wait for the next slot. What leaves in it is settled only then: an order to switch off
        that came meanwhile must not be followed by the order to switch on from before."""
        await self._until(lambda: False, self._slot_due - trio.current_time())

    async def _put(self, telegram: Telegram) -> None:
        """Send now; the next slot is a pause away."""
        self._slot_due = trio.current_time() + self._slot_s
        await self.line.send(telegram.frame)

    async def _tell(self, telegram: Telegram) -> None:
        """Send an order in its slot; its answer is heard, not awaited."""
        await self._slot()
        await self._put(telegram)

    async def _ask(self, telegram: Telegram) -> Telegram | None:
        """Send a read in its slot and wait for its answer; None if there is none in time."""
        await self._tell(telegram)
        self._answers.clear()
        found: list[Telegram] = []

        def answered() -> bool:
            found.extend(
                heard
                for heard in self._answers
                if (heard.command, heard.group) == (telegram.command, telegram.group)
                and heard.source == telegram.destination
            )
            return bool(found)

        await self._until(answered, self._answer_s)
        return found[0] if found and found[0].error == wire.Error.NONE else None

    async def _poll(self, module: Module, command: Command) -> bool:
        """Ask one module; count it missed if it stays silent."""
        if await self._ask(wire.read(command, module.address)) is not None:
            return True
        module.missed += 1
        if module.missed == self._silent_after:
            self._report(ModuleSilent(module.address, gone=False))
        if not module.gone and trio.current_time() - module.heard_at >= self._gone_after_s:
            module.gone = True
            self._report(ModuleSilent(module.address, gone=True))
        return False

    async def _until(self, done: Callable[[], bool], seconds: float) -> None:
        """Wait for something, `seconds` at most; orders to switch off leave meanwhile."""
        deadline = trio.current_time() + seconds
        while True:
            stir = self._stir
            await self._offs()
            if done() or trio.current_time() >= deadline:
                return
            with trio.move_on_at(deadline):
                await stir.wait()

    def _wake(self) -> None:
        self._stir.set()
        self._stir = trio.Event()

    # --- hearing ---------------------------------------------------------------------------------

    def _hear(self, frame: CanFrame) -> None:
        telegram = wire.parse(frame)
        if telegram is None or telegram.destination != wire.CONTROLLER:
            return
        if telegram.error == wire.Error.NONE:
            self._take(telegram)
        elif telegram.command >= Command.WALK_IN and telegram.error != wire.Error.STARTING_UP:
            self._report(
                OrderRefused(telegram.source, telegram.group, telegram.command, telegram.error)
            )
        self._answers.append(telegram)
        self._wake()

    def _take(self, telegram: Telegram) -> None:
        module = None if telegram.group else self.modules.get(telegram.source)
        if module is not None:
            module.missed, module.gone = 0, False
            module.heard_at = trio.current_time()
            self._take_of_module(module, telegram)
        elif telegram.group and telegram.command == Command.READ_OUTPUT:
            kept = self._kept.get(telegram.source)
            if kept is not None:
                kept.heard_at = trio.current_time()
                self._report(GroupOutput(telegram.source, *wire.pair_in(telegram.data)))

    def _take_of_module(self, module: Module, telegram: Telegram) -> None:
        match telegram.command:
            case Command.STATE:
                module.status = wire.status_in(telegram.data)
                self._report(_state(module, module.status))
            case Command.LIMITS:
                module.limits = wire.limits_in(telegram.data)
                self._report(_limits(module.address, module.limits))
            case Command.BARCODE:
                module.barcode = wire.barcode_in(telegram.data)
            case Command.AC_INPUT:
                module.ac_decivolt = wire.ac_input_in(telegram.data)


def _state(module: Module, status: wire.Status) -> ModuleState:
    return ModuleState(
        address=module.address,
        group=module.group,
        temperature_c=status.temperature_c,
        faults=status.of_class("fault"),
        warnings=status.of_class("warning"),
        states=status.of_class("state"),
    )


def _limits(address: int, limits: wire.Limits) -> ModuleLimits:
    return ModuleLimits(
        address=address,
        voltage_max_v=limits.voltage_max_v,
        voltage_min_v=limits.voltage_min_v,
        current_max_ma=limits.current_max_ma,
        power_w=limits.power_w,
    )
