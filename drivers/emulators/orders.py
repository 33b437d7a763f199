"""Orders to the emulated station: the table of operations, their arguments, and their execution.

An order is a JSON object with `op` and the arguments of that operation. The response is
`{"ok": true, ...}` or `{"ok": false, "error": "..."}`, and never an exception.

`ORDERS` maps each `op` to its function and to a parser for each required and optional argument. A
line is handled in this order, and each failure stops it before anything has changed:

1. The line is JSON, an object, with a string `op` that is a key of `ORDERS`.
2. Every argument is one the operation takes, and every required one is given.
3. Each argument passes its parser: type, range, existing EVSE.
4. The function acts on `EmulatedStation`. It may still refuse, because of the state of the station
   (no EV plugged in, register set backwards).

Faults need a rule of their own, because two of them may change the same attribute: `clear_fault`
resets the attribute and then injects every fault that is still active again (`_apply_fault`).
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
    """An order that cannot be executed; the message is returned to the sender."""


# --- arguments: each parser takes the argument's name, the value sent, and the station ------------

Parser = Callable[[str, Any, EmulatedStation], Any]


def _parse_evse_id(name: str, value: Any, station: EmulatedStation) -> int:
    if type(value) is not int:
        raise OrderError(f"{name} must be a whole number, got {_format_value(value)}")
    if value not in station.evse_ids:
        known = ", ".join(map(str, station.evse_ids))
        raise OrderError(f"{name} {value} is not an EVSE of this station; it has {known}")
    return value


def _parse_text(name: str, value: Any, _: EmulatedStation) -> str:
    if not isinstance(value, str):
        raise OrderError(f"{name} must be a string, got {_format_value(value)}")
    return value


def _parse_flag(name: str, value: Any, _: EmulatedStation) -> bool:
    if not isinstance(value, bool):
        raise OrderError(f"{name} must be true or false, got {_format_value(value)}")
    return value


def _number_parser(low: int, high: int) -> Parser:
    def parse(name: str, value: Any, _: EmulatedStation) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            raise OrderError(f"{name} must be a number, got {_format_value(value)}")
        if not low <= value <= high:
            raise OrderError(f"{name} must be {low} to {high}, got {value}")
        return Decimal(value)

    return parse


def _nullable_parser(parser: Parser) -> Parser:
    return lambda name, value, station: None if value is None else parser(name, value, station)


def _parse_uid(name: str, value: Any, station: EmulatedStation) -> bytes:
    text = _parse_text(name, value, station)
    if not re.fullmatch("[0-9A-Fa-f]*", text) or len(text) not in (8, 14, 20):
        raise OrderError(f"{name} must be an ISO14443 UID of 8, 14 or 20 hex digits, got {text!r}")
    return bytes.fromhex(text)


def _parse_token_type(name: str, value: Any, station: EmulatedStation) -> str:
    if _parse_text(name, value, station) != "ISO14443":
        raise OrderError(
            f"{name} must be ISO14443, the only type of card this reader reads, got {value!r}"
        )
    return "ISO14443"


def _parse_evcc_id(name: str, value: Any, station: EmulatedStation) -> bytes:
    text = _parse_text(name, value, station)
    if not re.fullmatch("[0-9A-Fa-f]{12}", text):
        raise OrderError(f"{name} must be a MAC address of 12 hex digits, got {text!r}")
    return bytes.fromhex(text)


EV_PARSERS: dict[str, Parser] = {
    "capacity_wh": _number_parser(1, 10_000_000),
    "soc": _number_parser(0, 100),
    "target_soc": _number_parser(0, 100),
    "max_voltage_v": _number_parser(200, 1000),
    "max_current_a": _number_parser(0, 3000),
    "max_power_w": _number_parser(0, 3_000_000),
    "evcc_id": _parse_evcc_id,
}


def _parse_ev(name: str, value: Any, station: EmulatedStation) -> dict[str, float | bytes]:
    if not isinstance(value, dict):
        raise OrderError(f"{name} must be an object, got {_format_value(value)}")
    for key in value:
        if key not in EV_PARSERS:
            raise OrderError(f"{name} has no {key}{_suggest_name(key, EV_PARSERS)}")
    parsed = {key: EV_PARSERS[key](f"{name}.{key}", value[key], station) for key in value}
    return {key: float(item) if key != "evcc_id" else item for key, item in parsed.items()}


@dataclass(frozen=True)
class Order:
    """Function and arguments of an operation."""

    function: Callable[[EmulatedStation, Arguments], Arguments | None]
    required: Mapping[str, Parser] = field(default_factory=dict)
    optional: Mapping[str, Parser] = field(default_factory=dict)


# --- operations -----------------------------------------------------------------------------------


def plug_in(station: EmulatedStation, arguments: Arguments) -> None:
    """Plug the cable into an EV."""
    station.plug_in(
        arguments["evse_id"], Ev(**arguments.get("ev", {}), ready=arguments.get("ready", True))
    )


def unplug_ev(station: EmulatedStation, arguments: Arguments) -> None:
    """Unplug the cable; the faults of the EV end with it."""
    unplugged_evse_id = arguments["evse_id"]
    station.unplug(unplugged_evse_id)
    station.faults = {
        (device, kind, evse_id)
        for device, kind, evse_id in station.faults
        if evse_id != unplugged_evse_id or not FAULTS[device, kind].requires_ev
    }


def present_token(station: EmulatedStation, arguments: Arguments) -> None:
    """Queue a card at the reader.

    A UID does not name an EVSE: `evse_id` is only checked here. The station process, which passes
    the order on, keeps the EVSE the card is meant for.
    """
    uid = arguments["id_token"]
    if len(uid) == 4:
        station.reader.present_card(uid)
    else:
        station.reader.present_card(uid, atqa=b"\x00\x44", sak=0x00)


def set_ev_ready(station: EmulatedStation, arguments: Arguments) -> None:
    """The EV requests energy."""
    station.ev_on_evse(arguments["evse_id"]).ready = True


def pause_ev(station: EmulatedStation, arguments: Arguments) -> None:
    """The EV requests 0 A."""
    station.ev_on_evse(arguments["evse_id"]).ready = False


def press_stop_button(station: EmulatedStation, arguments: Arguments) -> None:
    """Press the stop button of the dispenser."""
    station.press_stop_button(arguments["evse_id"])


def press_emergency_stop(station: EmulatedStation, _: Arguments) -> None:
    """Press the emergency stop button."""
    station.emergency_pressed = True


def release_emergency_stop(station: EmulatedStation, _: Arguments) -> None:
    """Release the emergency stop button."""
    station.emergency_pressed = False


def inject_fault(station: EmulatedStation, arguments: Arguments) -> None:
    """Inject a fault."""
    _apply_fault(station, arguments, on=True)


def clear_fault(station: EmulatedStation, arguments: Arguments) -> None:
    """Clear a fault."""
    _apply_fault(station, arguments, on=False)


def _apply_fault(station: EmulatedStation, arguments: Arguments, *, on: bool) -> None:
    """Inject or clear a fault. Other active faults stay, also where two faults overlap."""
    device, kind = arguments["device"], arguments["kind"]
    fault = FAULTS.get((device, kind))
    if fault is None:
        raise OrderError(_unknown_fault_message(device, kind))
    for evse_id in _affected_evses(station, fault, arguments.get("evse_id"), on=on):
        fault.inject(station, evse_id, on)
        fault_key = (device, kind, evse_id if fault.per_evse else None)
        if fault.persistent:
            (station.faults.add if on else station.faults.discard)(fault_key)
    if not on:
        for active_device, active_kind, active_evse_id in sorted(station.faults, key=str):
            active_fault = FAULTS[active_device, active_kind]
            active_fault.inject(station, active_evse_id or station.evse_ids[0], True)


def _affected_evses(
    station: EmulatedStation, fault: Fault, requested_evse_id: int | None, *, on: bool
) -> tuple[int, ...]:
    """The EVSEs a fault is applied to: the one given, else all that can have the fault."""
    if not fault.per_evse:
        return station.evse_ids[:1]
    candidates = station.evse_ids if requested_evse_id is None else (requested_evse_id,)
    if not fault.requires_ev:
        return candidates
    if requested_evse_id is not None and on:
        station.ev_on_evse(requested_evse_id)  # raises without an EV
    plugged = tuple(evse_id for evse_id in candidates if station.power_stages[evse_id].ev)
    if on and not plugged:
        raise OrderError("no EVSE has an EV plugged in")
    return plugged


def _unknown_fault_message(device: str, kind: str) -> str:
    devices = {known_device for known_device, _ in FAULTS}
    if device not in devices:
        return f"device {device!r} is not known{_suggest_name(device, devices)}"
    kinds = sorted(known_kind for known_device, known_kind in FAULTS if known_device == device)
    return f"{device} has no fault {kind!r}; it has {', '.join(kinds)}"


def override_meter(station: EmulatedStation, arguments: Arguments) -> None:
    """Set what a meter shows.

    The register can only be set forward. The other values hold until null or until the EV leaves.
    """
    evse_id = arguments["evse_id"]
    if "soc" in arguments:
        station.ev_on_evse(evse_id).soc = float(arguments["soc"])
    if "energy_wh" in arguments:
        station.registers.set_register(evse_id, arguments["energy_wh"])
    for name in ("voltage_v", "current_a", "power_w"):
        if name in arguments:
            setattr(station.meter_overrides[evse_id], name, arguments[name])


def describe_station(station: EmulatedStation, _: Arguments) -> Arguments:
    """The true state of the emulated station, for tests."""
    return {
        "evses": [_describe_evse(station, evse_id) for evse_id in station.evse_ids],
        "emergency_pressed": station.emergency_pressed,
        "cards_waiting": station.reader.cards_waiting,
        "display": station.display.screen,
        "faults": [
            {"device": device, "kind": kind, "evse_id": evse_id}
            for device, kind, evse_id in sorted(station.faults, key=str)
        ],
    }


def _describe_evse(station: EmulatedStation, evse_id: int) -> Arguments:
    stage, secc = station.power_stages[evse_id], station.seccs[evse_id]
    return {
        "evse_id": evse_id,
        "plugged": stage.ev is not None,
        "contactor": "closed" if stage.closed else "open",
        "voltage_v": round(stage.outlet_v, 3),
        "current_a": round(stage.current_a, 3),
        "energy_wh": str(int(station.registers[evse_id])),
        "energy_exact_wh": f"{station.registers[evse_id]:f}",
        "soc": None if stage.ev is None else round(stage.ev.soc, 3),
        "bus_voltage_v": round(stage.bus_v, 3),
        "set_point_a": station.cabinet.set_point_ma(evse_id) / 1000,
        "secc_state": secc.state.name,
        "pilot": secc.pilot_letter,
        "violations": list(stage.violations),
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
    """Execute the order on a line; returns the response and never raises."""
    try:
        return {"ok": True, **(_execute_line(station, line) or {})}
    except (OrderError, ValueError, OSError) as refusal:  # OSError: no pty for an adapter
        return {"ok": False, "error": str(refusal)}


def _execute_line(station: EmulatedStation, line: bytes) -> Arguments | None:
    try:
        arguments = json.loads(line, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise OrderError(f"not JSON: {error}") from error
    if not isinstance(arguments, dict) or not isinstance(arguments.get("op"), str):
        raise OrderError('an order is an object with "op", a string')
    op = arguments.pop("op")
    order = ORDERS.get(op)
    if order is None:
        raise OrderError(f"op {op!r} is not known{_suggest_name(op, ORDERS)}")
    return order.function(station, _parse_arguments(op, order, arguments, station))


def _parse_arguments(
    op: str, order: Order, arguments: Arguments, station: EmulatedStation
) -> Arguments:
    parsers = {**order.required, **order.optional}
    for name in arguments:
        if name not in parsers:
            raise OrderError(f"{op} takes no {name}{_suggest_name(name, parsers)}")
    for name in order.required:
        if name not in arguments:
            raise OrderError(f"{op} needs {name}")
    return {name: parsers[name](name, value, station) for name, value in arguments.items()}


def _suggest_name(name: str, names: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else f"; known are {', '.join(sorted(names))}"


def _format_value(value: Any) -> str:
    return json.dumps(value, default=str)[:80]
