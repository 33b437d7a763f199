"""Faults of the emulated station: `FAULTS`, one row per fault, and the ways to inject one.

The function of a row is called with True to inject the fault and with False to clear it; both calls
may be repeated.
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
SLOW_RESPONSE_S = 1.0  # of a Modbus answer; longer than the timeout of any master
ALARM_CODE = 5
DERATED_SHARE = 0.5

Inject = Callable[[EmulatedStation, int, bool], None]


@dataclass(frozen=True)
class Fault:
    """A fault: its meaning in a few words, and its function.

    Attributes:
        per_evse: False: the fault affects the whole station; an EVSE given with it is ignored.
        requires_ev: it is a fault of the EV that is plugged in, and ends with it.
        persistent: False: the fault is momentary, and there is nothing to clear.
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
    """Set an attribute of a part of the EVSE.

    `part` is a path: an attribute of `EmulatedStation` that holds parts by EVSE id, then the
    attributes below it.
    """
    table, *path = part.split(".")

    def inject(station: EmulatedStation, evse_id: int, on: bool) -> None:
        owner = getattr(station, table)[evse_id]
        for name in path:
            owner = getattr(owner, name)
        setattr(owner, attribute, faulty if on else healthy)

    return inject


def _wire_fault(attribute: str) -> Inject:
    """Set an attribute of the station itself: the state of a wire."""
    return lambda station, _, on: setattr(station, attribute, on)


def _first_module_fault(set_fault: Callable[[EmulatedModule, bool], None]) -> Inject:
    """Apply to one module of the EVSE, always the same one."""
    return lambda station, evse_id, on: set_fault(station.power_stages[evse_id].modules[0], on)


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
    """Power lost; once power is back, the module has its reset values."""
    if module.dead and not on:
        module.reset_after_power_loss()
    module.dead = on


def _set_silent(module: EmulatedModule, on: bool) -> None:
    module.silent = on


def _set_derating(module: EmulatedModule, on: bool) -> None:
    module.power_share = DERATED_SHARE if on else 1.0


def _set_over_temperature(module: EmulatedModule, on: bool) -> None:
    """Over-temperature: the module switches itself off."""
    _status_bit_setter("over_temperature")(module, on)
    module.temperature_c = OVER_TEMPERATURE_C if on else round(AMBIENT_C)


def _set_hot_air(module: EmulatedModule, on: bool) -> None:
    _set_derating(module, on)
    module.temperature_c = HOT_AIR_C if on else round(AMBIENT_C)


def _mains_fault(state: str) -> Inject:
    """All modules have the same mains."""

    def inject(station: EmulatedStation, _: int, on: bool) -> None:
        station.mains_lost = on and state == "lost"
        for module in station.cabinet.modules:
            module.mains = state if on else "good"

    return inject


def _trip_breaker(station: EmulatedStation, _: int, on: bool) -> None:
    """The breaker also cuts the modules' own supply, so they stop answering."""
    station.breaker_tripped = on
    for module in station.cabinet.modules:
        _set_dead(module, on)


def _bus_fault(bus: str) -> Inject:
    return lambda station, _, on: setattr(getattr(station, bus), "lost", on)


def _adapter_fault(line: str) -> Inject:
    """The tty disappears, as when a USB adapter is pulled."""

    def inject(station: EmulatedStation, _: int, on: bool) -> None:
        port = station.ports[line]
        assert isinstance(port, Pty)  # a line in memory cannot be unplugged
        (port.unplug if on else port.plug_in)()

    return inject


def _reboot_io_module(station: EmulatedStation, evse_id: int, on: bool) -> None:
    if on:
        station.io_of_evse[evse_id].reboot()


def _set_lock_stuck(station: EmulatedStation, evse_id: int, on: bool) -> None:
    (station.lock_stuck.add if on else station.lock_stuck.discard)(evse_id)


def _set_meter_backwards(station: EmulatedStation, evse_id: int, on: bool) -> None:
    station.meters[evse_id].energy_offset_wh = BACKWARDS_WH if on else Decimal(0)


def _ev_fault(attribute: str) -> Inject:
    return lambda station, evse_id, on: setattr(station.ev_on_evse(evse_id), attribute, on)


def _reader_fault(attribute: str, faulty: object, healthy: object) -> Inject:
    return lambda station, _, on: setattr(
        station.reader.faults, attribute, faulty if on else healthy
    )


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
        "the monitor reports an alarm at any resistance",
        _part_fault("monitors", "alarm", ALARM_CODE, None),
    ),
    ("insulation", "lost"): Fault(
        "the monitor does not answer", _part_fault("monitors.faults", "silent")
    ),
    ("insulation", "device_error"): Fault(
        "the monitor reports a device error", _part_fault("monitors", "device_error")
    ),
    ("insulation", "earth_lost"): Fault(
        "the monitor lost its earth connection", _part_fault("monitors", "earth_lost")
    ),
    ("insulation", "self_test"): Fault(
        "the monitor's self-tests fail", _part_fault("monitors", "test_fails")
    ),
    ("insulation", "frozen"): Fault(
        "the monitor's values do not change any more", _part_fault("monitors", "frozen")
    ),
    ("secc", "silent"): Fault(
        "the controller sends nothing, no heartbeat either", _part_fault("seccs.faults", "silent")
    ),
    ("secc", "stuck"): Fault(
        "the controller's reported state does not change any more",
        _part_fault("seccs.faults", "stuck"),
    ),
    ("secc", "emergency_stop"): Fault(
        "the controller makes an emergency stop by itself", _part_fault("seccs.faults", "emergency")
    ),
    ("secc", "no_power_control"): Fault(
        "the controller does not send DC_Power_Control; allowed for up to 60 s",
        _part_fault("seccs.faults", "no_power_control"),
    ),
    ("secc", "unknown_values"): Fault(
        "state, function and pilot have undefined values",
        _part_fault("seccs.faults", "unknown_values"),
    ),
    ("secc_can", "lost"): Fault("the controllers' bus is cut", _bus_fault("secc_bus"), False),
    ("secc_can", "gone"): Fault(
        "the tty of the controllers' adapter disappears", _adapter_fault("secc"), False
    ),
    ("pilot", "error"): Fault("the pilot reads E", _part_fault("seccs.faults", "pilot_error")),
    ("can", "lost"): Fault("the cabinet's bus is cut", _bus_fault("cabinet_bus"), False),
    ("can", "gone"): Fault(
        "the tty of the cabinet's adapter disappears", _adapter_fault("modules"), False
    ),
    ("module", "dead"): Fault("one module has no power", _first_module_fault(_set_dead)),
    ("module", "all_dead"): Fault(
        "all modules of the EVSE have no power", _all_modules_fault(_set_dead)
    ),
    ("module", "silent"): Fault(
        "one module neither receives nor answers", _first_module_fault(_set_silent)
    ),
    ("module", "fault"): Fault(
        "one module reports a module fault",
        _first_module_fault(_status_bit_setter("module_fault")),
    ),
    ("module", "fan"): Fault(
        "one module reports a fan fault", _first_module_fault(_status_bit_setter("fan_fault"))
    ),
    ("module", "over_temperature"): Fault(
        "one module at 95 degC switches itself off", _first_module_fault(_set_over_temperature)
    ),
    ("module", "derating"): Fault(
        "all modules deliver at most half of their power", _all_modules_fault(_set_derating)
    ),
    ("module", "load_sharing"): Fault(
        "one module reports uneven load sharing",
        _first_module_fault(_status_bit_setter("load_sharing")),
    ),
    ("module", "address_used_twice"): Fault(
        "one module reports that another has its address",
        _first_module_fault(_status_bit_setter("address_used_twice")),
    ),
    ("module", "wrong_count"): Fault(
        "the reported number of modules is one too high", _set_count_error, False
    ),
    ("cabinet", "hot"): Fault(
        "air in the cabinet at 60 degC, all modules derate", _all_modules_fault(_set_hot_air)
    ),
    ("cooling", "fault"): Fault("no cooling flow", _wire_fault("cooling_fault"), False),
    ("mains", "lost"): Fault("all phases missing", _mains_fault("lost"), False),
    ("mains", "phase_missing"): Fault("one phase missing", _mains_fault("phase_missing"), False),
    ("mains", "under_voltage"): Fault("half the voltage", _mains_fault("under_voltage"), False),
    ("breaker", "tripped"): Fault(
        "mains breaker off, the modules do not answer", _trip_breaker, False
    ),
    ("arrester", "dead"): Fault(
        "the surge arrester has failed", _wire_fault("arrester_dead"), False
    ),
    ("door", "open"): Fault("the cabinet's door is open", _wire_fault("door_open"), False),
    ("dispenser_door", "open"): Fault(
        "the dispenser's door is open", _wire_fault("dispenser_door_open"), False
    ),
    ("dispenser", "tilted"): Fault(
        "the dispenser is tilted, or its cable is broken off", _wire_fault("tilted"), False
    ),
    ("io", "silent"): Fault(
        "the EVSE's I/O module does not answer", _part_fault("io_of_evse.faults", "silent")
    ),
    ("io", "watchdog"): Fault(
        "the I/O module's watchdog expires although requests arrive",
        _part_fault("io_of_evse", "feeds_watchdog", False, True),
    ),
    ("io", "exception"): Fault(
        "the I/O module refuses every request",
        _part_fault("io_of_evse.faults", "exception", int(ExceptionCode.DEVICE_FAILURE), None),
    ),
    ("io", "reboot"): Fault(
        "the I/O module loses power briefly", _reboot_io_module, persistent=False
    ),
    ("contactor", "welded"): Fault(
        "the contactors stay closed", _part_fault("power_stages", "welded")
    ),
    ("contactor", "stuck_open"): Fault(
        "the contactors do not close", _part_fault("power_stages", "stuck_open")
    ),
    ("lock", "stuck"): Fault("the holster's lock stays locked", _set_lock_stuck),
    ("output", "over_voltage"): Fault(
        "12 % more voltage than set", _part_fault("power_stages", "over_voltage")
    ),
    ("output", "over_current"): Fault(
        "20 % and 20 A more current than set", _part_fault("power_stages", "over_current")
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
        "the EV requests an emergency stop", _ev_fault("emergency"), requires_ev=True
    ),
    ("ev", "stops"): Fault(
        "the EV driver ends the session at the EV", _ev_fault("finished"), requires_ev=True
    ),
    ("ev", "no_precharge"): Fault(
        "the EV never closes its contactors", _part_fault("seccs.faults", "never_precharges")
    ),
    ("meter", "silent"): Fault("the meter does not answer", _part_fault("meters.faults", "silent")),
    ("meter", "backwards"): Fault(
        "the register jumps back by 1000 Wh, not below 0", _set_meter_backwards
    ),
    ("meter", "broken_wire"): Fault(
        "the meter reports a broken wire", _part_fault("meters", "broken_wire")
    ),
    ("meter", "bad_crc"): Fault(
        "every answer has a wrong CRC", _part_fault("meters.faults", "bad_crc")
    ),
    ("meter", "truncated"): Fault(
        "answers end after 7 bytes", _part_fault("meters.faults", "truncated", 7, None)
    ),
    ("meter", "exception"): Fault(
        "the meter reports a device failure",
        _part_fault("meters.faults", "exception", int(ExceptionCode.DEVICE_FAILURE), None),
    ),
    ("meter", "slow"): Fault(
        "answers are a second late", _part_fault("meters.faults", "slow_s", SLOW_RESPONSE_S, 0.0)
    ),
    ("display", "lost"): Fault(
        "the display does not answer",
        lambda station, _, on: setattr(station.display, "silent", on),
        False,
    ),
    ("display", "gone"): Fault("the display's tty disappears", _adapter_fault("display"), False),
    ("reader", "gone"): Fault("the reader's tty disappears", _adapter_fault("reader"), False),
    ("reader", "silent"): Fault(
        "the reader does not answer", _reader_fault("silent", True, False), False
    ),
    ("reader", "noise"): Fault(
        "noise before each answer", _reader_fault("noise", b"\x00\xff\x00\xa5", b""), False
    ),
}
