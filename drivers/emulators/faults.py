"""Which faults can the emulated world have, and what happens when one is there?

One table, a row per fault. A row's function is called with True to bring the fault and False to
take it away; both may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from drivers.emulators.bay import AMBIENT_C, HEALTHY_OHM, SENSOR_BROKEN_C
from drivers.emulators.infypower_modules import EmulatedModule
from drivers.emulators.pty import Pty
from drivers.emulators.world import World
from drivers.wire.modbus import ExceptionCode

LOW_OHM, WARNING_OHM = 42_000, 200_000  # below R2 = 100 kohm; between R2 and R1 = 250 kohm
DERATING_C, OVER_TEMPERATURE_C = 85, 95
HOT_AIR_C = 60
BACKWARDS_WH = Decimal(-1000)
SLOW_S = 1.0  # of a Modbus answer; every master gave up before
ALARM = 5
HALF = 0.5

Inject = Callable[[World, int, bool], None]


@dataclass(frozen=True)
class Fault:
    """A row: what it does, in a few words, and to what.

    Attributes:
        per_evse: False: the whole station has it, an EVSE named with it does not count.
        of_ev: it goes with the EV that is plugged in.
        lasting: False: it comes and is over.
    """

    meaning: str
    inject: Inject
    per_evse: bool = True
    of_ev: bool = False
    lasting: bool = True


# --- ways to inject ------------------------------------------------------------------------------


def _of(part: str, attribute: str, there: object = True, healthy: object = False) -> Inject:
    """Set an attribute of the EVSE's part: `part` is a path from the world's dict of parts."""
    table, *path = part.split(".")

    def inject(world: World, evse: int, on: bool) -> None:
        owner = getattr(world, table)[evse]
        for name in path:
            owner = getattr(owner, name)
        setattr(owner, attribute, there if on else healthy)

    return inject


def _wire(attribute: str) -> Inject:
    """Set an attribute of the world itself."""
    return lambda world, _, on: setattr(world, attribute, on)


def _first_module(do: Callable[[EmulatedModule, bool], None]) -> Inject:
    """One module of the EVSE, always the same."""
    return lambda world, evse, on: do(world.bays[evse].modules[0], on)


def _every_module(do: Callable[[EmulatedModule, bool], None]) -> Inject:
    def inject(world: World, evse: int, on: bool) -> None:
        for module in world.bays[evse].modules:
            do(module, on)

    return inject


def _bit(name: str) -> Callable[[EmulatedModule, bool], None]:
    return lambda module, on: (module.injected.add if on else module.injected.discard)(name)


def _dead(module: EmulatedModule, on: bool) -> None:
    """Without power; when it comes back it has forgotten everything."""
    if module.dead and not on:
        module.start_anew()
    module.dead = on


def _silent(module: EmulatedModule, on: bool) -> None:
    module.silent = on


def _derating(module: EmulatedModule, on: bool) -> None:
    module.share = HALF if on else 1.0


def _hot(module: EmulatedModule, on: bool) -> None:
    """Too hot to work: the module protects itself."""
    _bit("over_temperature")(module, on)
    module.temperature_c = OVER_TEMPERATURE_C if on else round(AMBIENT_C)


def _hot_air(module: EmulatedModule, on: bool) -> None:
    _derating(module, on)
    module.temperature_c = HOT_AIR_C if on else round(AMBIENT_C)


def _mains(state: str) -> Inject:
    """The mains are the same for all modules."""

    def inject(world: World, _: int, on: bool) -> None:
        world.mains_lost = on and state == "lost"
        for module in world.cabinet.modules:
            module.mains = state if on else "good"

    return inject


def _breaker(world: World, _: int, on: bool) -> None:
    """The breaker takes the modules' own supply too: they fall silent."""
    world.breaker_tripped = on
    for module in world.cabinet.modules:
        _dead(module, on)


def _lost(bus: str) -> Inject:
    return lambda world, _, on: setattr(getattr(world, bus), "lost", on)


def _pulled(line: str) -> Inject:
    """The tty vanishes, as a pulled USB adapter does."""

    def inject(world: World, _: int, on: bool) -> None:
        port = world.lines[line]
        assert isinstance(port, Pty)  # a line in memory has no plug
        (port.unplug if on else port.plug)()

    return inject


def _io_reboots(world: World, evse: int, on: bool) -> None:
    if on:
        world.io[evse].reboot()


def _lock(world: World, evse: int, on: bool) -> None:
    (world.lock_stuck.add if on else world.lock_stuck.discard)(evse)


def _backwards(world: World, evse: int, on: bool) -> None:
    world.meters[evse].energy_offset_wh = BACKWARDS_WH if on else Decimal(0)


def _of_ev(attribute: str) -> Inject:
    return lambda world, evse, on: setattr(world.ev_at(evse), attribute, on)


def _reader(attribute: str, there: object, healthy: object) -> Inject:
    return lambda world, _, on: setattr(world.reader.faults, attribute, there if on else healthy)


def _count(world: World, _: int, on: bool) -> None:
    world.cabinet.count_error = 1 if on else 0


FAULTS: dict[tuple[str, str], Fault] = {
    ("insulation", "low"): Fault(
        "42 kohm to earth", _of("bays", "insulation_ohm", LOW_OHM, HEALTHY_OHM)
    ),
    ("insulation", "warning"): Fault(
        "200 kohm to earth", _of("bays", "insulation_ohm", WARNING_OHM, HEALTHY_OHM)
    ),
    ("insulation", "alarm"): Fault(
        "the monitor says alarm at any resistance", _of("monitors", "alarm", ALARM, None)
    ),
    ("insulation", "lost"): Fault("the monitor is silent", _of("monitors.faults", "silent")),
    ("insulation", "device_error"): Fault(
        "the monitor reports a device error", _of("monitors", "device_error")
    ),
    ("insulation", "earth_lost"): Fault(
        "the monitor lost its earth connection", _of("monitors", "earth_lost")
    ),
    ("insulation", "self_test"): Fault("its self-tests fail", _of("monitors", "test_fails")),
    ("insulation", "frozen"): Fault("its values stay as they are", _of("monitors", "frozen")),
    ("secc", "silent"): Fault("no heartbeat, nothing", _of("seccs.faults", "silent")),
    ("secc", "stuck"): Fault("its state says the same for ever", _of("seccs.faults", "stuck")),
    ("secc", "emergency_stop"): Fault(
        "it makes an emergency stop by itself", _of("seccs.faults", "emergency")
    ),
    ("secc", "no_power_control"): Fault(
        "DC_Power_Control stays away; legal up to 60 s", _of("seccs.faults", "no_power_control")
    ),
    ("secc", "unknown_values"): Fault(
        "state, function and pilot have numbers of no meaning",
        _of("seccs.faults", "unknown_values"),
    ),
    ("secc_can", "lost"): Fault("the controllers' bus is cut", _lost("secc_bus"), False),
    ("secc_can", "gone"): Fault("the controllers' adapter vanishes", _pulled("secc"), False),
    ("pilot", "error"): Fault("the pilot reads E", _of("seccs.faults", "pilot_error")),
    ("can", "lost"): Fault("the cabinet's bus is cut", _lost("cabinet_bus"), False),
    ("can", "gone"): Fault("the cabinet's adapter vanishes", _pulled("modules"), False),
    ("module", "dead"): Fault("one module lost its power", _first_module(_dead)),
    ("module", "all_dead"): Fault("all modules of the EVSE lost their power", _every_module(_dead)),
    ("module", "silent"): Fault("one module hears and says nothing", _first_module(_silent)),
    ("module", "fault"): Fault("one module is faulty", _first_module(_bit("module_fault"))),
    ("module", "fan"): Fault("one module's fan fails", _first_module(_bit("fan_fault"))),
    ("module", "over_temperature"): Fault("one module protects itself", _first_module(_hot)),
    ("module", "derating"): Fault("all modules give half of their power", _every_module(_derating)),
    ("module", "load_sharing"): Fault(
        "one module shares badly", _first_module(_bit("load_sharing"))
    ),
    ("module", "address_used_twice"): Fault(
        "two modules have one address", _first_module(_bit("address_used_twice"))
    ),
    ("module", "wrong_count"): Fault("one module more is counted", _count, False),
    ("cabinet", "hot"): Fault("60 degC air, all modules derate", _every_module(_hot_air)),
    ("cooling", "fault"): Fault("no cooling flow", _wire("cooling_fault"), False),
    ("mains", "lost"): Fault("all phases gone", _mains("lost"), False),
    ("mains", "phase_missing"): Fault("one phase gone", _mains("phase_missing"), False),
    ("mains", "under_voltage"): Fault("half the voltage", _mains("under_voltage"), False),
    ("breaker", "tripped"): Fault("mains breaker off, the modules are silent", _breaker, False),
    ("arrester", "dead"): Fault("the surge arrester is used up", _wire("arrester_dead"), False),
    ("door", "open"): Fault("the cabinet's door is open", _wire("door_open"), False),
    ("dispenser_door", "open"): Fault(
        "the dispenser's door is open", _wire("dispenser_door_open"), False
    ),
    ("dispenser", "tilted"): Fault("tilted, or the cable broken away", _wire("tilted"), False),
    ("io", "silent"): Fault("the EVSE's I/O module is silent", _of("io.faults", "silent")),
    ("io", "watchdog"): Fault(
        "its watchdog runs out although it is talked to",
        _of("io", "feeds_watchdog", False, True),
    ),
    ("io", "exception"): Fault(
        "it refuses everything",
        _of("io.faults", "exception", int(ExceptionCode.DEVICE_FAILURE), None),
    ),
    ("io", "reboot"): Fault("it loses its power for a moment", _io_reboots, lasting=False),
    ("contactor", "welded"): Fault("closed for ever", _of("bays", "welded")),
    ("contactor", "stuck_open"): Fault("does not close", _of("bays", "stuck_open")),
    ("lock", "stuck"): Fault("the holster's lock stays locked", _lock),
    ("output", "over_voltage"): Fault(
        "12 % more voltage than ordered", _of("bays", "over_voltage")
    ),
    ("output", "over_current"): Fault(
        "20 % and 20 A more current than ordered", _of("bays", "over_current")
    ),
    ("output", "keeps_voltage"): Fault(
        "the output is not discharged", _of("bays", "keeps_voltage")
    ),
    ("cable", "hot"): Fault("85 degC at the contacts", _of("bays", "cable_fault_c", 85, None)),
    ("cable", "over_temperature"): Fault(
        "95 degC at the contacts", _of("bays", "cable_fault_c", OVER_TEMPERATURE_C, None)
    ),
    ("cable", "sensor_broken"): Fault(
        "the sensors read the end of their range",
        _of("bays", "cable_fault_c", SENSOR_BROKEN_C, None),
    ),
    ("ev", "emergency_stop"): Fault(
        "the EV demands an emergency stop", _of_ev("emergency"), of_ev=True
    ),
    ("ev", "stops"): Fault("its driver ends the charge at the EV", _of_ev("finished"), of_ev=True),
    ("ev", "no_precharge"): Fault(
        "the EV never closes its contactors", _of("seccs.faults", "never_precharges")
    ),
    ("meter", "silent"): Fault("no answer", _of("meters.faults", "silent")),
    ("meter", "backwards"): Fault("the register jumps back by 1000 Wh, not below 0", _backwards),
    ("meter", "broken_wire"): Fault("its broken wire mark is set", _of("meters", "broken_wire")),
    ("meter", "bad_crc"): Fault("every answer has a wrong CRC", _of("meters.faults", "bad_crc")),
    ("meter", "truncated"): Fault(
        "answers stop in the middle", _of("meters.faults", "truncated", 7, None)
    ),
    ("meter", "exception"): Fault(
        "it reports a device failure",
        _of("meters.faults", "exception", int(ExceptionCode.DEVICE_FAILURE), None),
    ),
    ("meter", "slow"): Fault(
        "answers come a second late", _of("meters.faults", "slow_s", SLOW_S, 0.0)
    ),
    ("display", "lost"): Fault(
        "the display does not answer",
        lambda world, _, on: setattr(world.display, "silent", on),
        False,
    ),
    ("display", "gone"): Fault("the display's tty vanishes", _pulled("display"), False),
    ("reader", "gone"): Fault("the reader's tty vanishes", _pulled("reader"), False),
    ("reader", "silent"): Fault(
        "the reader answers nothing", _reader("silent", True, False), False
    ),
    ("reader", "noise"): Fault(
        "noise before each answer", _reader("noise", b"\x00\xff\x00\xa5", b""), False
    ),
}
