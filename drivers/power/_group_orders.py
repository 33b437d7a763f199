"""Orders of the module groups: which one is sent next. Nothing here waits or sends.

The order of a group is sent in two telegrams: its output (voltage and current) and its switch.

1. Off before everything, of any group: it ends a danger.
2. Then, of each group that is on, a changed output before switching on: a module must not be on at
   the values of an earlier order.
3. While a group is on, both telegrams are repeated; while it is off, the switch.

An order above the limits of the group is reduced to them: the modules would refuse all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from drivers.wire import infypower as wire
from drivers.wire.infypower import Telegram


class GroupOrder(msgspec.Struct, frozen=True):
    """Output of one group; off by default."""

    voltage_mv: int = 0
    current_ma: int = 0
    on: bool = False


OFF = GroupOrder()


class GroupState(msgspec.Struct):
    """One group's order, and how much of it was sent."""

    order: GroupOrder = OFF
    sent_output: tuple[int, int] | None = None  # mV and mA of the last 0x1B
    sent_on: bool | None = None  # the last 0x1A; None: unknown
    output_due_at: float = 0.0
    switch_due_at: float = 0.0
    last_output_at: float = 0.0  # time of the last reported output
    on_since_at: float = 0.0


class GroupOrders:
    """Orders of all groups.

    Args:
        groups: their numbers.
        limits_of_group: voltage in mV and current in mA that a group can give.
        repeat_s: interval of repetitions.
    """

    def __init__(
        self,
        groups: Iterable[int],
        limits_of_group: Callable[[int], tuple[int, int]],
        repeat_s: float,
    ) -> None:
        self._states = {group: GroupState() for group in groups}
        self._limits_of_group = limits_of_group
        self._repeat_s = repeat_s

    @property
    def any_on(self) -> bool:
        """Whether a group is ordered on."""
        return any(state.order.on for state in self._states.values())

    def discard_all(self) -> None:
        """Order every group off; nothing is known about what was sent."""
        for group in self._states:
            self._states[group] = GroupState()

    def mark_switched_off(self) -> None:
        """Note that off was sent to all modules at once."""
        for state in self._states.values():
            state.sent_on = False

    def set_order(self, group: int, order: GroupOrder, now: float) -> None:
        """Replace the order of a group. Raises KeyError without such a group."""
        state = self._states[group]
        if order.on and not state.order.on:
            state.on_since_at = now
        state.order = order

    def switch_all_off(self) -> None:
        """Order every group off."""
        for state in self._states.values():
            state.order = OFF

    def note_output(self, group: int, now: float) -> bool:
        """Note that a group reported its output; whether there is such a group."""
        state = self._states.get(group)
        if state is not None:
            state.last_output_at = now
        return state is not None

    def switch_off_stale(self, stale_after_s: float, now: float) -> list[int]:
        """Order groups off that are on and reported no output; returns their numbers."""
        stale = [
            group
            for group, state in self._states.items()
            if state.order.on and now - max(state.last_output_at, state.on_since_at) > stale_after_s
        ]
        for group in stale:
            self._states[group].order = OFF
        return stale

    def next_changed(self, now: float) -> Telegram | None:
        """The next order not sent yet."""
        for group, state in self._states.items():
            if not state.order.on and state.sent_on is not False:
                return self._switch_telegram(group, state, on=False, now=now)
        for group, state in self._states.items():
            if not state.order.on:
                continue
            if state.sent_output != self._limited_output(group, state.order):
                return self._output_telegram(group, state, now)
            if state.sent_on is not True:
                return self._switch_telegram(group, state, on=True, now=now)
        return None

    def next_repeated(self, now: float) -> Telegram | None:
        """An order that was sent `repeat_s` ago or more."""
        for group, state in self._states.items():
            if state.order.on and now >= state.output_due_at:
                return self._output_telegram(group, state, now)
            if now >= state.switch_due_at:
                return self._switch_telegram(group, state, on=state.order.on, now=now)
        return None

    def urgent_offs(self, now: float) -> Iterator[Telegram]:
        """Switch off each group that was switched on and is ordered off."""
        for group, state in self._states.items():
            if not state.order.on and state.sent_on:
                yield self._switch_telegram(group, state, on=False, now=now)

    def _output_telegram(self, group: int, state: GroupState, now: float) -> Telegram:
        state.sent_output = self._limited_output(group, state.order)
        state.output_due_at = now + self._repeat_s
        return wire.set_output(group, *state.sent_output, is_group=True)

    def _switch_telegram(self, group: int, state: GroupState, *, on: bool, now: float) -> Telegram:
        state.sent_on = on
        state.switch_due_at = now + self._repeat_s
        if not on:
            state.sent_output = None
        return wire.switch_output(group, on=on, is_group=True)

    def _limited_output(self, group: int, order: GroupOrder) -> tuple[int, int]:
        voltage_mv, current_ma = self._limits_of_group(group)
        return min(order.voltage_mv, voltage_mv), min(order.current_ma, current_ma)
