"""Emulated Infypower rectifier modules of a power cabinet: commands, status, guard timeout.

`PowerStage` reads what a module can deliver (`is_delivering`, the set-points and
`current_max_ma`) and writes back what it does deliver (`voltage_mv`, `current_ma`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from drivers.wire import infypower as wire
from drivers.wire.infypower import Command, ErrorCode, Limits, Telegram
from drivers.wire.slcan import CanFrame

GUARD_TIMEOUT_S = 10.0
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
        evse_id: the EVSE with the output it is wired to, independent of its group.
        injected_bits: names of status bits that are set in addition to the true ones.
        silent: neither receives nor answers; its guard switches it off after the timeout.
        dead: silent, and delivers nothing.
        power_share: share of its rated power that it can deliver; below 1 while derating.
        voltage_mv, current_ma: what it delivers, set by `PowerStage`.
    """

    address: int
    evse_id: int
    limits: Limits = REG1K0100
    group: int = 0
    on: bool = False
    set_voltage_mv: int = 0
    set_current_ma: int = 0
    walk_in: bool = False
    asleep: bool = False
    temperature_c: int = 25
    injected_bits: set[str] = field(default_factory=set)
    silent: bool = False
    dead: bool = False
    power_share: float = 1.0
    mains: str = "good"  # a key of AC_BITS
    guard_fired: bool = False
    voltage_mv: int = 0
    current_ma: int = 0

    @property
    def is_delivering(self) -> bool:
        """Whether its DC side is on and no fault prevents delivery."""
        return (
            self.on
            and not self.dead
            and not self.asleep
            and self.mains == "good"
            and not self.injected_bits & STOPPING_BITS
        )

    @property
    def current_max_ma(self) -> float:
        """Maximum current at the set voltage: a module is a source of constant power."""
        rated_ma = self.limits.power_w * self.power_share * 1e6 / max(self.set_voltage_mv, 1)
        return min(float(self.set_current_ma), float(self.limits.current_max_ma), rated_ma)

    @property
    def status(self) -> wire.Status:
        conditions = {
            "off": not self.is_delivering,
            "walk_in": self.walk_in,
            "sleeping": self.asleep,
            "communication_interrupted": self.guard_fired,
            "derating": self.power_share < 1.0,
        }
        bits = {name for name, is_set in conditions.items() if is_set}
        return wire.Status(
            self.group,
            self.temperature_c,
            frozenset(bits | self.injected_bits | AC_BITS[self.mains]),
        )

    def reset_after_power_loss(self) -> None:
        """Restart after a loss of power: off, without a group."""
        self.on = self.asleep = self.guard_fired = False
        self.group = self.set_voltage_mv = self.set_current_ma = 0


class EmulatedCabinet:
    """The modules on one bus; a `CanNode`.

    Attributes:
        count_error: added to the number of modules that is reported.
    """

    def __init__(
        self,
        send: Callable[[CanFrame], None],
        clock: Callable[[], float],
        *,
        evse_count: int = 2,
        modules_per_evse: int = 6,
        limits: Limits = REG1K0100,
        start_up_s: float = 3.0,
    ) -> None:
        self.modules = [
            EmulatedModule(address, address // modules_per_evse + 1, limits)
            for address in range(evse_count * modules_per_evse)
        ]
        self.count_error = 0
        self._send = send
        self._clock = clock
        self._ready_at = clock() + start_up_s
        self._last_command_at = clock()

    def modules_on_evse(self, evse_id: int) -> list[EmulatedModule]:
        """The modules wired to one EVSE."""
        return [module for module in self.modules if module.evse_id == evse_id]

    def set_point_ma(self, evse_id: int) -> int:
        """The current that the last commands allow at one EVSE: of all its modules."""
        return sum(module.set_current_ma for module in self.modules_on_evse(evse_id) if module.on)

    def tick(self) -> None:
        """Apply the guard: after `GUARD_TIMEOUT_S` without a command, every module switches off."""
        if self._clock() - self._last_command_at > GUARD_TIMEOUT_S:
            for module in self.modules:
                self._trip_guard(module)

    def _trip_guard(self, module: EmulatedModule) -> None:
        module.guard_fired = True
        module.on = False

    def on_frame(self, frame: CanFrame) -> None:
        """Execute a command of the controller and answer as the modules do."""
        request = wire.parse_frame(frame)
        if request is None or request.error or not 0xF0 <= request.source <= 0xF8:
            return
        self._last_command_at = self._clock()
        modules = self._addressed_modules(request)
        for module in modules:
            module.guard_fired = False
        if modules:
            for response in self._build_responses(request, modules):
                self._send(response.can_frame)

    def _addressed_modules(self, request: Telegram) -> list[EmulatedModule]:
        responsive = [module for module in self.modules if not (module.silent or module.dead)]
        if request.is_group:
            return [module for module in responsive if module.group == request.destination]
        if request.destination == wire.ALL_MODULES:
            return responsive
        return [module for module in responsive if module.address == request.destination]

    def _build_responses(self, request: Telegram, modules: list[EmulatedModule]) -> list[Telegram]:
        read_shared = SHARED_READS.get(request.command)
        if read_shared is not None:
            return [request.make_response(read_shared(self, modules))]
        read_module = MODULE_READS.get(request.command)
        if read_module is not None:
            return [
                request.make_response(read_module(module), source=module.address)
                for module in modules
            ]
        apply_setting = SETTING_HANDLERS.get(request.command)
        if apply_setting is None:
            return [request.make_response(wire.EMPTY_DATA, error=ErrorCode.COMMAND_INVALID)]
        error = max(apply_setting(self, module, request.data, len(modules)) for module in modules)
        return [request.make_response(wire.EMPTY_DATA if error else request.data, error=error)]

    # --- settings: each returns an error code ----------------------------------------------------

    def _switch_module(self, module: EmulatedModule, data: bytes, _: int) -> int:
        if data[0] not in (0, 1):
            return ErrorCode.DATA_INVALID
        if data[0] == 0 and self._clock() < self._ready_at:
            return ErrorCode.STARTING_UP
        module.on = data[0] == 0
        return ErrorCode.NONE

    def _set_output(self, module: EmulatedModule, data: bytes, module_count: int) -> int:
        voltage_mv, total_ma = wire.decode_pair(data)
        return _apply_output(module, voltage_mv, total_ma // module_count)

    def _set_module(self, module: EmulatedModule, data: bytes, _: int) -> int:
        if self._clock() < self._ready_at:
            return ErrorCode.STARTING_UP
        return _apply_output(module, *wire.decode_pair(data))

    def _set_group(self, module: EmulatedModule, data: bytes, _: int) -> int:
        module.group = data[0]
        return ErrorCode.NONE

    def _set_walk_in(self, module: EmulatedModule, data: bytes, _: int) -> int:
        module.walk_in = bool(data[0])
        return ErrorCode.NONE

    def _set_sleep(self, module: EmulatedModule, data: bytes, _: int) -> int:
        module.asleep = bool(data[0])
        return ErrorCode.NONE

    def _ignore_blink(self, _: EmulatedModule, __: bytes, ___: int) -> int:
        return ErrorCode.NONE


def _apply_output(module: EmulatedModule, voltage_mv: int, current_ma: int) -> int:
    limits = module.limits
    if not limits.voltage_min_v * 1000 <= voltage_mv <= limits.voltage_max_v * 1000:
        return ErrorCode.DATA_INVALID
    if current_ma > limits.current_max_ma:
        return ErrorCode.DATA_INVALID
    module.set_voltage_mv, module.set_current_ma = voltage_mv, current_ma
    return ErrorCode.NONE


def _read_output(_: EmulatedCabinet, modules: list[EmulatedModule]) -> bytes:
    return wire.encode_pair(
        max(module.voltage_mv for module in modules), sum(module.current_ma for module in modules)
    )


def _read_output_float(_: EmulatedCabinet, modules: list[EmulatedModule]) -> bytes:
    return wire.encode_float_pair(
        max(module.voltage_mv for module in modules), sum(module.current_ma for module in modules)
    )


def _read_count(cabinet: EmulatedCabinet, modules: list[EmulatedModule]) -> bytes:
    return bytes([0, 0, len(modules) + cabinet.count_error, 0, 0, 0, 0, 0])


SHARED_READS: dict[int, Callable[[EmulatedCabinet, list[EmulatedModule]], bytes]] = {
    Command.READ_OUTPUT_FLOAT: _read_output_float,
    Command.COUNT: _read_count,
    Command.READ_OUTPUT: _read_output,
}
"""Reads that a group, or all modules together, answer with one frame."""

AC_DECIVOLT = {
    "good": (4800, 4812, 4795),
    "lost": (0, 0, 0),
    "phase_missing": (4800, 2400, 2400),
    "under_voltage": (2400, 2400, 2400),
}
MODULE_READS: dict[int, Callable[[EmulatedModule], bytes]] = {
    Command.READ_MODULE_FLOAT: lambda module: wire.encode_float_pair(
        module.voltage_mv, module.current_ma
    ),
    Command.STATE: lambda module: module.status.data_bytes,
    Command.AC_INPUT: lambda module: wire.encode_shorts(*AC_DECIVOLT[module.mains], 0),
    Command.READ_MODULE: lambda module: wire.encode_pair(module.voltage_mv, module.current_ma),
    Command.LIMITS: lambda module: module.limits.data_bytes,
    Command.BARCODE: lambda module: wire.encode_barcode(BARCODE),
    Command.AVAILABLE: lambda module: wire.encode_shorts(
        module.voltage_mv // 100,
        int(min(module.limits.current_max_ma, module.current_max_ma)) // 100,
        0,
        0,
    ),
}
"""Reads that each addressed module answers with a frame of its own."""

SETTING_HANDLERS: dict[int, Callable[[EmulatedCabinet, EmulatedModule, bytes, int], int]] = {
    Command.WALK_IN: EmulatedCabinet._set_walk_in,
    Command.BLINK: EmulatedCabinet._ignore_blink,
    Command.SET_GROUP: EmulatedCabinet._set_group,
    Command.SLEEP: EmulatedCabinet._set_sleep,
    Command.SWITCH: EmulatedCabinet._switch_module,
    Command.SET_OUTPUT: EmulatedCabinet._set_output,
    Command.SET_MODULE: EmulatedCabinet._set_module,
}
