"""Which orders does the emulated world take, and with which arguments?

One table, op -> function and arguments. An order is a JSON object; its answer is
`{"ok": true, ...}` or `{"ok": false, "error": "..."}`. What is not exactly understood does nothing
and says why.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from drivers.emulators.ev import Ev
from drivers.emulators.faults import FAULTS, Fault
from drivers.emulators.station import EmulatedStation

Arguments = dict[str, Any]


class OrderError(Exception):
    """An order that cannot be done; the message goes back to whoever gave it."""


# --- arguments: each parser takes the argument's name, what was sent, and the world ---------------

Parser = Callable[[str, Any, EmulatedStation], Any]


def _parse_evse_id(name: str, value: Any, station: EmulatedStation) -> int:
    if type(value) is not int:
        raise OrderError(f"{name} wants a whole number, got {_format_value(value)}")
    if value not in station.evse_ids:
        known = ", ".join(map(str, station.evse_ids))
        raise OrderError(f"{name} {value} is not an EVSE of this station; it has {known}")
    return value


def _parse_text(name: str, value: Any, _: EmulatedStation) -> str:
    if not isinstance(value, str):
        raise OrderError(f"{name} wants a string, got {_format_value(value)}")
    return value


def _parse_flag(name: str, value: Any, _: EmulatedStation) -> bool:
    if not isinstance(value, bool):
        raise OrderError(f"{name} wants true or false, got {_format_value(value)}")
    return value


def _number_parser(low: int, high: int) -> Parser:
    def parse(name: str, value: Any, _: EmulatedStation) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            raise OrderError(f"{name} wants a number, got {_format_value(value)}")
        if not low <= value <= high:
            raise OrderError(f"{name} wants {low} to {high}, got {value}")
        return Decimal(value)

    return parse


def _nullable_parser(parser: Parser) -> Parser:
    return lambda name, value, world: None if value is None else parser(name, value, world)


def _parse_uid(name: str, value: Any, station: EmulatedStation) -> bytes:
    text = _parse_text(name, value, station)
    if not re.fullmatch("[0-9A-Fa-f]*", text) or len(text) not in (8, 14, 20):
        raise OrderError(f"{name} wants 8, 14 or 20 hex digits of an ISO14443 UID, got {text!r}")
    return bytes.fromhex(text)


def _parse_token_type(name: str, value: Any, station: EmulatedStation) -> str:
    if _parse_text(name, value, station) != "ISO14443":
        raise OrderError(f"{name} wants ISO14443, the only cards this reader reads, got {value!r}")
    return "ISO14443"


EV_PARSERS: dict[str, Parser] = {
    "capacity_wh": _number_parser(1, 10_000_000),
    "soc": _number_parser(0, 100),
    "target_soc": _number_parser(0, 100),
    "max_voltage_v": _number_parser(200, 1000),
    "max_current_a": _number_parser(0, 3000),
    "max_power_w": _number_parser(0, 3_000_000),
}


def _parse_ev(name: str, value: Any, station: EmulatedStation) -> dict[str, float]:
    if not isinstance(value, dict):
        raise OrderError(f"{name} wants an object, got {_format_value(value)}")
    for key in value:
        if key not in EV_PARSERS:
            raise OrderError(f"{name} has no {key}{_suggest_name(key, EV_PARSERS)}")
    return {key: float(EV_PARSERS[key](f"{name}.{key}", value[key], station)) for key in value}


@dataclass(frozen=True)
class Order:
    """What an op does, and with which arguments."""

    function: Callable[[EmulatedStation, Arguments], Arguments | None]
    required: Mapping[str, Parser] = field(default_factory=dict)
    optional: Mapping[str, Parser] = field(default_factory=dict)


# --- what the ops do ------------------------------------------------------------------------------


def plug_in(station: EmulatedStation, arguments: Arguments) -> None:
    """Cable into an EV."""
    station.plug_in(
        arguments["evse_id"], Ev(**arguments.get("ev", {}), ready=arguments.get("ready", True))
    )


def unplug_ev(station: EmulatedStation, arguments: Arguments) -> None:
    """Cable out; what was wrong with the EV leaves with it."""
    evse = arguments["evse_id"]
    station.unplug(evse)
    station.faults = {
        (device, kind, where)
        for device, kind, where in station.faults
        if where != evse or not FAULTS[device, kind].requires_ev
    }


def present_token(station: EmulatedStation, arguments: Arguments) -> None:
    """Queue a card at the reader. For which EVSE it is meant a UID cannot say; that is for whoever
    passed the order on to remember."""
    uid = arguments["id_token"]
    if len(uid) == 4:
        station.reader.present_card(uid)
    else:
        station.reader.present_card(uid, atqa=b"\x00\x44", sak=0x00)


def set_ev_ready(station: EmulatedStation, arguments: Arguments) -> None:
    """The EV wants energy."""
    station.ev_on_evse(arguments["evse_id"]).ready = True


def pause_ev(station: EmulatedStation, arguments: Arguments) -> None:
    """The EV asks for 0 A."""
    station.ev_on_evse(arguments["evse_id"]).ready = False


def press_stop_button(station: EmulatedStation, arguments: Arguments) -> None:
    """The dispenser's own button."""
    station.press_stop_button(arguments["evse_id"])


def press_emergency_stop(station: EmulatedStation, _: Arguments) -> None:
    """The mushroom button goes in."""
    station.emergency_pressed = True


def release_emergency_stop(station: EmulatedStation, _: Arguments) -> None:
    """The mushroom button comes out."""
    station.emergency_pressed = False


def inject_fault(station: EmulatedStation, arguments: Arguments) -> None:
    """Bring a fault."""
    _apply_fault(station, arguments, on=True)


def clear_fault(station: EmulatedStation, arguments: Arguments) -> None:
    """Take a fault away."""
    _apply_fault(station, arguments, on=False)


def _apply_fault(station: EmulatedStation, arguments: Arguments, *, on: bool) -> None:
    """Bring or take a fault; what else is wrong stays so, also where two faults overlap."""
    device, kind = arguments["device"], arguments["kind"]
    row = FAULTS.get((device, kind))
    if row is None:
        raise OrderError(_unknown_fault_message(device, kind))
    for evse in _affected_evses(station, row, arguments.get("evse_id"), on=on):
        row.inject(station, evse, on)
        which = (device, kind, evse if row.per_evse else None)
        if row.persistent:
            (station.faults.add if on else station.faults.discard)(which)
    if not on:
        for other, wrong, evse_id in sorted(station.faults, key=str):
            FAULTS[other, wrong].inject(station, evse_id or station.evse_ids[0], True)


def _affected_evses(
    station: EmulatedStation, row: Fault, requested_evse_id: int | None, *, on: bool
) -> tuple[int, ...]:
    """The EVSEs a fault comes to: the one named, else all that can have it."""
    if not row.per_evse:
        return station.evse_ids[:1]
    if not row.requires_ev:
        return station.evse_ids if requested_evse_id is None else (requested_evse_id,)
    if requested_evse_id is not None and on:
        station.ev_on_evse(requested_evse_id)  # says so if there is none
    candidates = station.evse_ids if requested_evse_id is None else (requested_evse_id,)
    plugged = tuple(evse for evse in candidates if station.power_stages[evse].ev is not None)
    if on and not plugged:
        raise OrderError("no EVSE has an EV plugged in")
    return plugged


def _unknown_fault_message(device: str, kind: str) -> str:
    devices = {known for known, _ in FAULTS}
    if device not in devices:
        return f"device {device!r} is not known{_suggest_name(device, devices)}"
    kinds = sorted(known for of, known in FAULTS if of == device)
    return f"{device} has no fault {kind!r}; it has {', '.join(kinds)}"


def override_meter(station: EmulatedStation, arguments: Arguments) -> None:
    """What a meter shows: the register forward, the rest until null or the next plug."""
    evse = arguments["evse_id"]
    if "soc" in arguments:
        station.ev_on_evse(evse).soc = float(arguments["soc"])
    if "energy_wh" in arguments:
        station.registers.set_register(evse, arguments["energy_wh"])
    for name in ("voltage_v", "current_a", "power_w"):
        if name in arguments:
            setattr(station.meter_overrides[evse], name, arguments[name])


def describe_station(station: EmulatedStation, _: Arguments) -> Arguments:
    """The whole truth, for tests."""
    return {
        "evses": [_describe_evse(station, evse) for evse in station.evse_ids],
        "emergency_pressed": station.emergency_pressed,
        "cards_waiting": station.reader.cards_waiting,
        "display": station.display.screen,
        "faults": [
            {"device": device, "kind": kind, "evse_id": evse}
            for device, kind, evse in sorted(station.faults, key=str)
        ],
    }


def _describe_evse(station: EmulatedStation, evse_id: int) -> Arguments:
    bay, controller = station.power_stages[evse_id], station.seccs[evse_id]
    return {
        "evse_id": evse_id,
        "plugged": bay.ev is not None,
        "contactor": "closed" if bay.closed else "open",
        "voltage_v": round(bay.outlet_v, 3),
        "current_a": round(bay.current_a, 3),
        "energy_wh": str(int(station.registers[evse_id])),
        "energy_exact_wh": f"{station.registers[evse_id]:f}",
        "soc": None if bay.ev is None else round(bay.ev.soc, 3),
        "bus_voltage_v": round(bay.bus_v, 3),
        "secc_state": controller.state.name,
        "pilot": controller.pilot_letter,
        "violations": list(bay.violations),
    }


EVSE_ARGUMENT = {"evse_id": _parse_evse_id}
FAULT_ARGUMENTS = {"device": _parse_text, "kind": _parse_text}
ORDERS: dict[str, Order] = {
    "plug_in": Order(plug_in, EVSE_ARGUMENT, {"ev": _parse_ev, "ready": _parse_flag}),
    "unplug": Order(unplug_ev, EVSE_ARGUMENT),
    "present_token": Order(
        present_token, {"id_token": _parse_uid}, {"type": _parse_token_type, **EVSE_ARGUMENT}
    ),
    "ev_ready": Order(set_ev_ready, EVSE_ARGUMENT),
    "ev_pause": Order(pause_ev, EVSE_ARGUMENT),
    "stop_button": Order(press_stop_button, EVSE_ARGUMENT),
    "emergency_stop": Order(press_emergency_stop),
    "emergency_release": Order(release_emergency_stop),
    "fault": Order(inject_fault, FAULT_ARGUMENTS, EVSE_ARGUMENT),
    "clear_fault": Order(clear_fault, FAULT_ARGUMENTS, EVSE_ARGUMENT),
    "meter": Order(
        override_meter,
        EVSE_ARGUMENT,
        {
            "energy_wh": _number_parser(0, 0xFFFF_FFFF),
            "voltage_v": _nullable_parser(_number_parser(0, 6000)),
            "current_a": _nullable_parser(_number_parser(-3000, 3000)),
            "power_w": _nullable_parser(_number_parser(-3_000_000, 3_000_000)),
            "soc": _number_parser(0, 100),
        },
    ),
    "world": Order(describe_station),
}


def execute_order(station: EmulatedStation, line: bytes) -> Arguments:
    """Do what a line says; the answer, which never raises."""
    try:
        return {"ok": True, **(_execute_line(station, line) or {})}
    except (OrderError, ValueError) as refusal:
        return {"ok": False, "error": str(refusal)}


def _execute_line(station: EmulatedStation, line: bytes) -> Arguments | None:
    try:
        told = json.loads(line, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise OrderError(f"not JSON: {error}") from error
    if not isinstance(told, dict) or not isinstance(told.get("op"), str):
        raise OrderError('an order is an object with "op", a string')
    op = told.pop("op")
    order = ORDERS.get(op)
    if order is None:
        raise OrderError(f"op {op!r} is not known{_suggest_name(op, ORDERS)}")
    return order.function(station, _parse_arguments(op, order, told, station))


def _parse_arguments(
    op: str, order: Order, arguments: Arguments, station: EmulatedStation
) -> Arguments:
    known = {**order.required, **order.optional}
    for name in arguments:
        if name not in known:
            raise OrderError(f"{op} takes no {name}{_suggest_name(name, known)}")
    for name in order.required:
        if name not in arguments:
            raise OrderError(f"{op} needs {name}")
    return {name: known[name](name, value, station) for name, value in arguments.items()}


def _suggest_name(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(names))}"


def _format_value(value: Any) -> str:
    return json.dumps(value, default=str)[:80]
