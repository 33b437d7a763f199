"""How do the rectifier modules of a cabinet answer and switch?

All modules on the cabinet's bus. The world sets what each gives (`voltage_mv`, `current_ma`)
after asking what it would (`delivering`, set-points and limits).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from drivers.wire import infypower as wire
from drivers.wire.infypower import Command, Error, Limits, Telegram
from drivers.wire.slcan import CanFrame

GUARD_S = 10.0
BARCODE = "081807123451V1704"
REG1K0100 = Limits(voltage_max_v=1000, voltage_min_v=150, current_max_ma=100_000, power_w=30_000)
AC_BITS = {
    "good": frozenset[str](),
    "lost": frozenset({"ac_phase_missing", "ac_under_voltage", "pfc_off"}),
    "phase_missing": frozenset({"ac_phase_missing"}),
    "under_voltage": frozenset({"ac_under_voltage", "pfc_off"}),
}
STOPPING_BITS = frozenset(
    {"module_fault", "protection", "over_temperature", "output_over_voltage", "fan_fault"}
)


@dataclass
class EmulatedModule:
    """One module.

    Attributes:
        evse_id: whose output it is wired to, whatever group it is told to be in.
        injected: names of status bits that are set on top of the true ones.
        silent: hears and says nothing; its guard switches it off in time.
        dead: silent, and gives nothing.
        share: part of its rated power that it gives; below 1 while derating.
        voltage_mv, current_ma: what it gives, set by the world.
    """

    address: int
    evse_id: int
    limits: Limits = REG1K0100
    group: int = 0
    on: bool = False
    set_mv: int = 0
    set_ma: int = 0
    walk_in: bool = False
    asleep: bool = False
    temperature_c: int = 25
    injected: set[str] = field(default_factory=set)
    silent: bool = False
    dead: bool = False
    share: float = 1.0
    mains: str = "good"  # a key of AC_BITS
    guard_fired: bool = False
    voltage_mv: int = 0
    current_ma: int = 0

    @property
    def delivering(self) -> bool:
        """Its DC side is on and nothing keeps it from giving power."""
        return (
            self.on
            and not self.dead
            and not self.asleep
            and self.mains == "good"
            and not self.injected & STOPPING_BITS
        )

    @property
    def current_max_ma(self) -> float:
        """The most it gives at its set voltage: a module is a source of constant power."""
        rated = self.limits.power_w * self.share * 1e6 / max(self.set_mv, 1)
        return min(float(self.set_ma), float(self.limits.current_max_ma), rated)

    @property
    def status(self) -> wire.Status:
        true_of = {
            "off": not self.delivering,
            "walk_in": self.walk_in,
            "sleeping": self.asleep,
            "communication_interrupted": self.guard_fired,
            "derating": self.share < 1.0,
        }
        bits = {name for name, holds in true_of.items() if holds}
        return wire.Status(
            self.group,
            self.temperature_c,
            frozenset(bits | self.injected | AC_BITS[self.mains]),
        )

    def start_anew(self) -> None:
        """Lose power and come back: off, without a group."""
        self.on = self.asleep = self.guard_fired = False
        self.group = self.set_mv = self.set_ma = 0


class EmulatedCabinet:
    """The modules on one bus; a `CanNode`.

    Attributes:
        count_error: added to the number of modules that is told.
    """

    def __init__(
        self,
        send: Callable[[CanFrame], None],
        clock: Callable[[], float],
        *,
        evses: int = 2,
        modules_per_evse: int = 6,
        limits: Limits = REG1K0100,
        start_up_s: float = 3.0,
    ) -> None:
        self.modules = [
            EmulatedModule(address, address // modules_per_evse + 1, limits)
            for address in range(evses * modules_per_evse)
        ]
        self.count_error = 0
        self._send = send
        self._clock = clock
        self._ready_at = clock() + start_up_s
        self._heard_at = clock()

    def of_evse(self, evse_id: int) -> list[EmulatedModule]:
        """The modules wired to one EVSE."""
        return [module for module in self.modules if module.evse_id == evse_id]

    def tick(self) -> None:
        """Let the guard act: 10 s without the controller, and a module is off."""
        if self._clock() - self._heard_at > GUARD_S:
            for module in self.modules:
                self._guard(module)

    def _guard(self, module: EmulatedModule) -> None:
        module.guard_fired = True
        module.on = False

    def heard(self, frame: CanFrame) -> None:
        """Take a command of the controller and answer as the modules do."""
        asked = wire.parse(frame)
        if asked is None or asked.error or not 0xF0 <= asked.source <= 0xF8:
            return
        self._heard_at = self._clock()
        meant = self._meant(asked)
        for module in meant:
            module.guard_fired = False
        if meant:
            for answer in self._answers(asked, meant):
                self._send(answer.frame)

    def _meant(self, asked: Telegram) -> list[EmulatedModule]:
        there = [module for module in self.modules if not (module.silent or module.dead)]
        if asked.group:
            return [module for module in there if module.group == asked.destination]
        if asked.destination == wire.ALL:
            return there
        return [module for module in there if module.address == asked.destination]

    def _answers(self, asked: Telegram, meant: list[EmulatedModule]) -> list[Telegram]:
        together = TOGETHER.get(asked.command)
        if together is not None:
            return [asked.answer(together(self, meant))]
        single = READS.get(asked.command)
        if single is not None:
            return [asked.answer(single(module), source=module.address) for module in meant]
        setting = SETTINGS.get(asked.command)
        if setting is None:
            return [asked.answer(wire.NOTHING, error=Error.COMMAND_INVALID)]
        error = max(setting(self, module, asked.data, len(meant)) for module in meant)
        return [asked.answer(wire.NOTHING if error else asked.data, error=error)]

    # --- settings: each returns an error code ----------------------------------------------------

    def _switch(self, module: EmulatedModule, data: bytes, _: int) -> int:
        if data[0] not in (0, 1):
            return Error.DATA_INVALID
        if data[0] == 0 and self._clock() < self._ready_at:
            return Error.STARTING_UP
        module.on = data[0] == 0
        return Error.NONE

    def _set_output(self, module: EmulatedModule, data: bytes, sharing: int) -> int:
        voltage_mv, total_ma = wire.pair_in(data)
        return _set(module, voltage_mv, total_ma // sharing)

    def _set_module(self, module: EmulatedModule, data: bytes, _: int) -> int:
        if self._clock() < self._ready_at:
            return Error.STARTING_UP
        return _set(module, *wire.pair_in(data))

    def _set_group(self, module: EmulatedModule, data: bytes, _: int) -> int:
        module.group = data[0]
        return Error.NONE

    def _walk_in(self, module: EmulatedModule, data: bytes, _: int) -> int:
        module.walk_in = bool(data[0])
        return Error.NONE

    def _sleep(self, module: EmulatedModule, data: bytes, _: int) -> int:
        module.asleep = bool(data[0])
        return Error.NONE

    def _blink(self, _: EmulatedModule, __: bytes, ___: int) -> int:
        return Error.NONE


def _set(module: EmulatedModule, voltage_mv: int, current_ma: int) -> int:
    limits = module.limits
    if not limits.voltage_min_v * 1000 <= voltage_mv <= limits.voltage_max_v * 1000:
        return Error.DATA_INVALID
    if current_ma > limits.current_max_ma:
        return Error.DATA_INVALID
    module.set_mv, module.set_ma = voltage_mv, current_ma
    return Error.NONE


def _output(_: EmulatedCabinet, meant: list[EmulatedModule]) -> bytes:
    return wire.pair(
        max(module.voltage_mv for module in meant), sum(module.current_ma for module in meant)
    )


def _output_float(_: EmulatedCabinet, meant: list[EmulatedModule]) -> bytes:
    return wire.float_pair(
        max(module.voltage_mv for module in meant), sum(module.current_ma for module in meant)
    )


def _count(cabinet: EmulatedCabinet, meant: list[EmulatedModule]) -> bytes:
    return bytes([0, 0, len(meant) + cabinet.count_error, 0, 0, 0, 0, 0])


TOGETHER: dict[int, Callable[[EmulatedCabinet, list[EmulatedModule]], bytes]] = {
    Command.READ_OUTPUT_FLOAT: _output_float,
    Command.COUNT: _count,
    Command.READ_OUTPUT: _output,
}
"""Reads that a group or all modules answer once."""

AC_DECIVOLT = {
    "good": (4800, 4812, 4795),
    "lost": (0, 0, 0),
    "phase_missing": (4800, 2400, 2400),
    "under_voltage": (2400, 2400, 2400),
}
READS: dict[int, Callable[[EmulatedModule], bytes]] = {
    Command.READ_MODULE_FLOAT: lambda module: wire.float_pair(module.voltage_mv, module.current_ma),
    Command.STATE: lambda module: module.status.data,
    Command.AC_INPUT: lambda module: wire.shorts(*AC_DECIVOLT[module.mains], 0),
    Command.READ_MODULE: lambda module: wire.pair(module.voltage_mv, module.current_ma),
    Command.LIMITS: lambda module: module.limits.data,
    Command.BARCODE: lambda module: wire.barcode(BARCODE),
    Command.AVAILABLE: lambda module: wire.shorts(
        module.voltage_mv // 100,
        int(min(module.limits.current_max_ma, module.current_max_ma)) // 100,
        0,
        0,
    ),
}
"""Reads that each module answers for itself."""

SETTINGS: dict[int, Callable[[EmulatedCabinet, EmulatedModule, bytes, int], int]] = {
    Command.WALK_IN: EmulatedCabinet._walk_in,
    Command.BLINK: EmulatedCabinet._blink,
    Command.SET_GROUP: EmulatedCabinet._set_group,
    Command.SLEEP: EmulatedCabinet._sleep,
    Command.SWITCH: EmulatedCabinet._switch,
    Command.SET_OUTPUT: EmulatedCabinet._set_output,
    Command.SET_MODULE: EmulatedCabinet._set_module,
}
