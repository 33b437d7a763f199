"""Which faults can the emulated world have, and what happens when one is there?

One table, a row per fault. A row's function is called with True to bring the fault and False to
take it away; both may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from drivers.emulators.infypower_modules import EmulatedModule
from drivers.emulators.power_stage import AMBIENT_C, HEALTHY_OHM, SENSOR_BROKEN_C
from drivers.emulators.pty import Pty
from drivers.emulators.station import EmulatedStation
from drivers.wire.modbus_rtu import ExceptionCode

LOW_OHM, WARNING_OHM = 42_000, 200_000  # below R2 = 100 kohm; between R2 and R1 = 250 kohm
DERATING_C, OVER_TEMPERATURE_C = 85, 95
HOT_AIR_C = 60
BACKWARDS_WH = Decimal(-1000)
SLOW_RESPONSE_S = 1.0  # of a Modbus answer; every master gave up before
ALARM_CODE = 5
DERATED_SHARE = 0.5

Inject = Callable[[EmulatedStation, int, bool], None]


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
    requires_ev: bool = False
    persistent: bool = True


# --- ways to inject ------------------------------------------------------------------------------


def _part_fault(
    part: str, attribute: str, faulty: object = True, healthy: object = False
) -> Inject:
    """Set an attribute of the EVSE's part: `part` is a path from the world's dict of parts."""
    table, *path = part.split(".")

    def inject(station: EmulatedStation, evse_id: int, on: bool) -> None:
        owner = getattr(station, table)[evse_id]
        for name in path:
            owner = getattr(owner, name)
        setattr(owner, attribute, faulty if on else healthy)

    return inject


def _wire_fault(attribute: str) -> Inject:
    """Set an attribute of the world itself."""
    return lambda world, _, on: setattr(world, attribute, on)


def _first_module_fault(set_fault: Callable[[EmulatedModule, bool], None]) -> Inject:
    """One module of the EVSE, always the same."""
    return lambda world, evse, on: set_fault(world.power_stages[evse].modules[0], on)


def _all_modules_fault(set_fault: Callable[[EmulatedModule, bool], None]) -> Inject:
    def inject(station: EmulatedStation, evse_id: int, on: bool) -> None:
        for module in station.power_stages[evse_id].modules:
            set_fault(module, on)

    return inject


def _status_bit_setter(name: str) -> Callable[[EmulatedModule, bool], None]:
    return lambda module, on: (module.injected_bits.add if on else module.injected_bits.discard)(
        name
    )


def _set_dead(module: EmulatedModule, on: bool) -> None:
    """Without power; when it comes back it has forgotten everything."""
    if module.dead and not on:
        module.reset_after_power_loss()
    module.dead = on


def _set_silent(module: EmulatedModule, on: bool) -> None:
    module.silent = on


def _set_derating(module: EmulatedModule, on: bool) -> None:
    module.power_share = DERATED_SHARE if on else 1.0


def _set_over_temperature(module: EmulatedModule, on: bool) -> None:
    """Too hot to work: the module protects itself."""
    _status_bit_setter("over_temperature")(module, on)
    module.temperature_c = OVER_TEMPERATURE_C if on else round(AMBIENT_C)


def _set_hot_air(module: EmulatedModule, on: bool) -> None:
    _set_derating(module, on)
    module.temperature_c = HOT_AIR_C if on else round(AMBIENT_C)


def _mains_fault(state: str) -> Inject:
    """The mains are the same for all modules."""

    def inject(station: EmulatedStation, _: int, on: bool) -> None:
        station.mains_lost = on and state == "lost"
        for module in station.cabinet.modules:
            module.mains = state if on else "good"

    return inject


def _trip_breaker(station: EmulatedStation, _: int, on: bool) -> None:
    """The breaker takes the modules' own supply too: they fall silent."""
    station.breaker_tripped = on
    for module in station.cabinet.modules:
        _set_dead(module, on)


def _bus_fault(bus: str) -> Inject:
    return lambda world, _, on: setattr(getattr(world, bus), "lost", on)


def _adapter_fault(line: str) -> Inject:
    """The tty vanishes, as a pulled USB adapter does."""

    def inject(station: EmulatedStation, _: int, on: bool) -> None:
        port = station.ports[line]
        assert isinstance(port, Pty)  # a line in memory has no plug
        (port.unplug if on else port.plug_in)()

    return inject


def _reboot_io_module(station: EmulatedStation, evse_id: int, on: bool) -> None:
    if on:
        station.io[evse_id].reboot()


def _set_lock_stuck(station: EmulatedStation, evse_id: int, on: bool) -> None:
    (station.lock_stuck.add if on else station.lock_stuck.discard)(evse_id)


def _set_meter_backwards(station: EmulatedStation, evse_id: int, on: bool) -> None:
    station.meters[evse_id].energy_offset_wh = BACKWARDS_WH if on else Decimal(0)


def _ev_fault(attribute: str) -> Inject:
    return lambda world, evse, on: setattr(world.ev_on_evse(evse), attribute, on)


def _reader_fault(attribute: str, faulty: object, healthy: object) -> Inject:
    return lambda world, _, on: setattr(world.reader.faults, attribute, faulty if on else healthy)


def _set_count_error(station: EmulatedStation, _: int, on: bool) -> None:
    station.cabinet.count_error = 1 if on else 0


FAULTS: dict[tuple[str, str], Fault] = {
    ("insulation", "low"): Fault(
        "42 kohm to earth", _part_fault("power_stages", "insulation_ohm", LOW_OHM, HEALTHY_OHM)
    ),
    ("insulation", "warning"): Fault(
        "200 kohm to earth", _part_fault("power_stages", "insulation_ohm", WARNING_OHM, HEALTHY_OHM)
    ),
    ("insulation", "alarm"): Fault(
        "the monitor says alarm at any resistance",
        _part_fault("monitors", "alarm", ALARM_CODE, None),
    ),
    ("insulation", "lost"): Fault(
        "the monitor is silent", _part_fault("monitors.faults", "silent")
    ),
    ("insulation", "device_error"): Fault(
        "the monitor reports a device error", _part_fault("monitors", "device_error")
    ),
    ("insulation", "earth_lost"): Fault(
        "the monitor lost its earth connection", _part_fault("monitors", "earth_lost")
    ),
    ("insulation", "self_test"): Fault(
        "its self-tests fail", _part_fault("monitors", "test_fails")
    ),
    ("insulation", "frozen"): Fault(
        "its values stay as they are", _part_fault("monitors", "frozen")
    ),
    ("secc", "silent"): Fault("no heartbeat, nothing", _part_fault("seccs.faults", "silent")),
    ("secc", "stuck"): Fault(
        "its state says the same for ever", _part_fault("seccs.faults", "stuck")
    ),
    ("secc", "emergency_stop"): Fault(
        "it makes an emergency stop by itself", _part_fault("seccs.faults", "emergency")
    ),
    ("secc", "no_power_control"): Fault(
        "DC_Power_Control stays away; legal up to 60 s",
        _part_fault("seccs.faults", "no_power_control"),
    ),
    ("secc", "unknown_values"): Fault(
        "state, function and pilot have numbers of no meaning",
        _part_fault("seccs.faults", "unknown_values"),
    ),
    ("secc_can", "lost"): Fault("the controllers' bus is cut", _bus_fault("secc_bus"), False),
    ("secc_can", "gone"): Fault("the controllers' adapter vanishes", _adapter_fault("secc"), False),
    ("pilot", "error"): Fault("the pilot reads E", _part_fault("seccs.faults", "pilot_error")),
    ("can", "lost"): Fault("the cabinet's bus is cut", _bus_fault("cabinet_bus"), False),
    ("can", "gone"): Fault("the cabinet's adapter vanishes", _adapter_fault("modules"), False),
    ("module", "dead"): Fault("one module lost its power", _first_module_fault(_set_dead)),
    ("module", "all_dead"): Fault(
        "all modules of the EVSE lost their power", _all_modules_fault(_set_dead)
    ),
    ("module", "silent"): Fault(
        "one module hears and says nothing", _first_module_fault(_set_silent)
    ),
    ("module", "fault"): Fault(
        "one module is faulty", _first_module_fault(_status_bit_setter("module_fault"))
    ),
    ("module", "fan"): Fault(
        "one module's fan fails", _first_module_fault(_status_bit_setter("fan_fault"))
    ),
    ("module", "over_temperature"): Fault(
        "one module protects itself", _first_module_fault(_set_over_temperature)
    ),
    ("module", "derating"): Fault(
        "all modules give half of their power", _all_modules_fault(_set_derating)
    ),
    ("module", "load_sharing"): Fault(
        "one module shares badly", _first_module_fault(_status_bit_setter("load_sharing"))
    ),
    ("module", "address_used_twice"): Fault(
        "two modules have one address",
        _first_module_fault(_status_bit_setter("address_used_twice")),
    ),
    ("module", "wrong_count"): Fault("one module more is counted", _set_count_error, False),
    ("cabinet", "hot"): Fault("60 degC air, all modules derate", _all_modules_fault(_set_hot_air)),
    ("cooling", "fault"): Fault("no cooling flow", _wire_fault("cooling_fault"), False),
    ("mains", "lost"): Fault("all phases gone", _mains_fault("lost"), False),
    ("mains", "phase_missing"): Fault("one phase gone", _mains_fault("phase_missing"), False),
    ("mains", "under_voltage"): Fault("half the voltage", _mains_fault("under_voltage"), False),
    ("breaker", "tripped"): Fault(
        "mains breaker off, the modules are silent", _trip_breaker, False
    ),
    ("arrester", "dead"): Fault(
        "the surge arrester is used up", _wire_fault("arrester_dead"), False
    ),
    ("door", "open"): Fault("the cabinet's door is open", _wire_fault("door_open"), False),
    ("dispenser_door", "open"): Fault(
        "the dispenser's door is open", _wire_fault("dispenser_door_open"), False
    ),
    ("dispenser", "tilted"): Fault(
        "tilted, or the cable broken away", _wire_fault("tilted"), False
    ),
    ("io", "silent"): Fault("the EVSE's I/O module is silent", _part_fault("io.faults", "silent")),
    ("io", "watchdog"): Fault(
        "its watchdog runs out although it is talked to",
        _part_fault("io", "feeds_watchdog", False, True),
    ),
    ("io", "exception"): Fault(
        "it refuses everything",
        _part_fault("io.faults", "exception", int(ExceptionCode.DEVICE_FAILURE), None),
    ),
    ("io", "reboot"): Fault("it loses its power for a moment", _reboot_io_module, persistent=False),
    ("contactor", "welded"): Fault("closed for ever", _part_fault("power_stages", "welded")),
    ("contactor", "stuck_open"): Fault("does not close", _part_fault("power_stages", "stuck_open")),
    ("lock", "stuck"): Fault("the holster's lock stays locked", _set_lock_stuck),
    ("output", "over_voltage"): Fault(
        "12 % more voltage than ordered", _part_fault("power_stages", "over_voltage")
    ),
    ("output", "over_current"): Fault(
        "20 % and 20 A more current than ordered", _part_fault("power_stages", "over_current")
    ),
    ("output", "keeps_voltage"): Fault(
        "the output is not discharged", _part_fault("power_stages", "keeps_voltage")
    ),
    ("cable", "hot"): Fault(
        "85 degC at the contacts", _part_fault("power_stages", "cable_fault_c", 85, None)
    ),
    ("cable", "over_temperature"): Fault(
        "95 degC at the contacts",
        _part_fault("power_stages", "cable_fault_c", OVER_TEMPERATURE_C, None),
    ),
    ("cable", "sensor_broken"): Fault(
        "the sensors read the end of their range",
        _part_fault("power_stages", "cable_fault_c", SENSOR_BROKEN_C, None),
    ),
    ("ev", "emergency_stop"): Fault(
        "the EV demands an emergency stop", _ev_fault("emergency"), requires_ev=True
    ),
    ("ev", "stops"): Fault(
        "its driver ends the charge at the EV", _ev_fault("finished"), requires_ev=True
    ),
    ("ev", "no_precharge"): Fault(
        "the EV never closes its contactors", _part_fault("seccs.faults", "never_precharges")
    ),
    ("meter", "silent"): Fault("no answer", _part_fault("meters.faults", "silent")),
    ("meter", "backwards"): Fault(
        "the register jumps back by 1000 Wh, not below 0", _set_meter_backwards
    ),
    ("meter", "broken_wire"): Fault(
        "its broken wire mark is set", _part_fault("meters", "broken_wire")
    ),
    ("meter", "bad_crc"): Fault(
        "every answer has a wrong CRC", _part_fault("meters.faults", "bad_crc")
    ),
    ("meter", "truncated"): Fault(
        "answers stop in the middle", _part_fault("meters.faults", "truncated", 7, None)
    ),
    ("meter", "exception"): Fault(
        "it reports a device failure",
        _part_fault("meters.faults", "exception", int(ExceptionCode.DEVICE_FAILURE), None),
    ),
    ("meter", "slow"): Fault(
        "answers come a second late", _part_fault("meters.faults", "slow_s", SLOW_RESPONSE_S, 0.0)
    ),
    ("display", "lost"): Fault(
        "the display does not answer",
        lambda world, _, on: setattr(world.display, "silent", on),
        False,
    ),
    ("display", "gone"): Fault("the display's tty vanishes", _adapter_fault("display"), False),
    ("reader", "gone"): Fault("the reader's tty vanishes", _adapter_fault("reader"), False),
    ("reader", "silent"): Fault(
        "the reader answers nothing", _reader_fault("silent", True, False), False
    ),
    ("reader", "noise"): Fault(
        "noise before each answer", _reader_fault("noise", b"\x00\xff\x00\xa5", b""), False
    ),
}
