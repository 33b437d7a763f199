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
from drivers.emulators.world import World

Arguments = dict[str, Any]


class OrderError(Exception):
    """An order that cannot be done; the message goes back to whoever gave it."""


# --- arguments: each parser takes the argument's name, what was sent, and the world ---------------

Parser = Callable[[str, Any, World], Any]


def _evse(name: str, value: Any, world: World) -> int:
    if type(value) is not int:
        raise OrderError(f"{name} wants a whole number, got {_shown(value)}")
    if value not in world.evse_ids:
        known = ", ".join(map(str, world.evse_ids))
        raise OrderError(f"{name} {value} is not an EVSE of this station; it has {known}")
    return value


def _text(name: str, value: Any, _: World) -> str:
    if not isinstance(value, str):
        raise OrderError(f"{name} wants a string, got {_shown(value)}")
    return value


def _flag(name: str, value: Any, _: World) -> bool:
    if not isinstance(value, bool):
        raise OrderError(f"{name} wants true or false, got {_shown(value)}")
    return value


def _amount(low: int, high: int) -> Parser:
    def parse(name: str, value: Any, _: World) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            raise OrderError(f"{name} wants a number, got {_shown(value)}")
        if not low <= value <= high:
            raise OrderError(f"{name} wants {low} to {high}, got {value}")
        return Decimal(value)

    return parse


def _or_null(parse: Parser) -> Parser:
    return lambda name, value, world: None if value is None else parse(name, value, world)


def _uid(name: str, value: Any, world: World) -> bytes:
    text = _text(name, value, world)
    if not re.fullmatch("[0-9A-Fa-f]*", text) or len(text) not in (8, 14, 20):
        raise OrderError(f"{name} wants 8, 14 or 20 hex digits of an ISO14443 UID, got {text!r}")
    return bytes.fromhex(text)


def _iso14443(name: str, value: Any, world: World) -> str:
    if _text(name, value, world) != "ISO14443":
        raise OrderError(f"{name} wants ISO14443, the only cards this reader reads, got {value!r}")
    return "ISO14443"


EV_FIELDS: dict[str, Parser] = {
    "capacity_wh": _amount(1, 10_000_000),
    "soc": _amount(0, 100),
    "target_soc": _amount(0, 100),
    "max_voltage_v": _amount(200, 1000),
    "max_current_a": _amount(0, 3000),
    "max_power_w": _amount(0, 3_000_000),
}


def _ev(name: str, value: Any, world: World) -> dict[str, float]:
    if not isinstance(value, dict):
        raise OrderError(f"{name} wants an object, got {_shown(value)}")
    for key in value:
        if key not in EV_FIELDS:
            raise OrderError(f"{name} has no {key}{_nearest(key, EV_FIELDS)}")
    return {key: float(EV_FIELDS[key](f"{name}.{key}", value[key], world)) for key in value}


@dataclass(frozen=True)
class Order:
    """What an op does, and with which arguments."""

    do: Callable[[World, Arguments], Arguments | None]
    needs: Mapping[str, Parser] = field(default_factory=dict)
    takes: Mapping[str, Parser] = field(default_factory=dict)


# --- what the ops do ------------------------------------------------------------------------------


def plug_in(world: World, told: Arguments) -> None:
    """Cable into an EV."""
    world.plug_in(told["evse_id"], Ev(**told.get("ev", {}), ready=told.get("ready", True)))


def unplug(world: World, told: Arguments) -> None:
    """Cable out; what was wrong with the EV leaves with it."""
    evse = told["evse_id"]
    world.unplug(evse)
    world.faults = {
        (device, kind, where)
        for device, kind, where in world.faults
        if where != evse or not FAULTS[device, kind].of_ev
    }


def present_token(world: World, told: Arguments) -> None:
    """Queue a card at the reader. For which EVSE it is meant a UID cannot say; that is for whoever
    passed the order on to remember."""
    uid = told["id_token"]
    if len(uid) == 4:
        world.reader.tap(uid)
    else:
        world.reader.tap(uid, atqa=b"\x00\x44", sak=0x00)


def ev_ready(world: World, told: Arguments) -> None:
    """The EV wants energy."""
    world.ev_at(told["evse_id"]).ready = True


def ev_pause(world: World, told: Arguments) -> None:
    """The EV asks for 0 A."""
    world.ev_at(told["evse_id"]).ready = False


def stop_button(world: World, told: Arguments) -> None:
    """The dispenser's own button."""
    world.press_stop(told["evse_id"])


def emergency_stop(world: World, _: Arguments) -> None:
    """The mushroom button goes in."""
    world.emergency_pressed = True


def emergency_release(world: World, _: Arguments) -> None:
    """The mushroom button comes out."""
    world.emergency_pressed = False


def fault(world: World, told: Arguments) -> None:
    """Bring a fault."""
    _inject(world, told, on=True)


def clear_fault(world: World, told: Arguments) -> None:
    """Take a fault away."""
    _inject(world, told, on=False)


def _inject(world: World, told: Arguments, *, on: bool) -> None:
    """Bring or take a fault; what else is wrong stays so, also where two faults overlap."""
    device, kind = told["device"], told["kind"]
    row = FAULTS.get((device, kind))
    if row is None:
        raise OrderError(_unknown_fault(device, kind))
    for evse in _concerned(world, row, told.get("evse_id"), on=on):
        row.inject(world, evse, on)
        which = (device, kind, evse if row.per_evse else None)
        if row.lasting:
            (world.faults.add if on else world.faults.discard)(which)
    if not on:
        for other, wrong, evse_id in sorted(world.faults, key=str):
            FAULTS[other, wrong].inject(world, evse_id or world.evse_ids[0], True)


def _concerned(world: World, row: Fault, named: int | None, *, on: bool) -> tuple[int, ...]:
    """The EVSEs a fault comes to: the one named, else all that can have it."""
    if not row.per_evse:
        return world.evse_ids[:1]
    if not row.of_ev:
        return world.evse_ids if named is None else (named,)
    if named is not None and on:
        world.ev_at(named)  # says so if there is none
    candidates = world.evse_ids if named is None else (named,)
    plugged = tuple(evse for evse in candidates if world.bays[evse].ev is not None)
    if on and not plugged:
        raise OrderError("no EVSE has an EV plugged in")
    return plugged


def _unknown_fault(device: str, kind: str) -> str:
    devices = {known for known, _ in FAULTS}
    if device not in devices:
        return f"device {device!r} is not known{_nearest(device, devices)}"
    kinds = sorted(known for of, known in FAULTS if of == device)
    return f"{device} has no fault {kind!r}; it has {', '.join(kinds)}"


def meter(world: World, told: Arguments) -> None:
    """What a meter shows: the register forward, the rest until null or the next plug."""
    evse = told["evse_id"]
    if "soc" in told:
        world.ev_at(evse).soc = float(told["soc"])
    if "energy_wh" in told:
        world.registers.put(evse, told["energy_wh"])
    for name in ("voltage_v", "current_a", "power_w"):
        if name in told:
            setattr(world.shown[evse], name, told[name])


def tell(world: World, _: Arguments) -> Arguments:
    """The whole truth, for tests."""
    return {
        "evses": [_truth(world, evse) for evse in world.evse_ids],
        "emergency_pressed": world.emergency_pressed,
        "cards_waiting": world.reader.cards_waiting,
        "display": world.display.screen,
        "faults": [
            {"device": device, "kind": kind, "evse_id": evse}
            for device, kind, evse in sorted(world.faults, key=str)
        ],
    }


def _truth(world: World, evse: int) -> Arguments:
    bay, controller = world.bays[evse], world.seccs[evse]
    return {
        "evse_id": evse,
        "plugged": bay.ev is not None,
        "contactor": "closed" if bay.closed else "open",
        "voltage_v": round(bay.outlet_v, 3),
        "current_a": round(bay.current_a, 3),
        "energy_wh": str(int(world.registers[evse])),
        "energy_exact_wh": f"{world.registers[evse]:f}",
        "soc": None if bay.ev is None else round(bay.ev.soc, 3),
        "bus_voltage_v": round(bay.bus_v, 3),
        "secc_state": controller.state.name,
        "pilot": controller.pilot,
        "violations": list(bay.violations),
    }


EVSE = {"evse_id": _evse}
FAULT = {"device": _text, "kind": _text}
ORDERS: dict[str, Order] = {
    "plug_in": Order(plug_in, EVSE, {"ev": _ev, "ready": _flag}),
    "unplug": Order(unplug, EVSE),
    "present_token": Order(present_token, {"id_token": _uid}, {"type": _iso14443, **EVSE}),
    "ev_ready": Order(ev_ready, EVSE),
    "ev_pause": Order(ev_pause, EVSE),
    "stop_button": Order(stop_button, EVSE),
    "emergency_stop": Order(emergency_stop),
    "emergency_release": Order(emergency_release),
    "fault": Order(fault, FAULT, EVSE),
    "clear_fault": Order(clear_fault, FAULT, EVSE),
    "meter": Order(
        meter,
        EVSE,
        {
            "energy_wh": _amount(0, 0xFFFF_FFFF),
            "voltage_v": _or_null(_amount(0, 6000)),
            "current_a": _or_null(_amount(-3000, 3000)),
            "power_w": _or_null(_amount(-3_000_000, 3_000_000)),
            "soc": _amount(0, 100),
        },
    ),
    "world": Order(tell),
}


def obey(world: World, line: bytes) -> Arguments:
    """Do what a line says; the answer, which never raises."""
    try:
        return {"ok": True, **(_do(world, line) or {})}
    except (OrderError, ValueError) as refusal:
        return {"ok": False, "error": str(refusal)}


def _do(world: World, line: bytes) -> Arguments | None:
    try:
        told = json.loads(line, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise OrderError(f"not JSON: {error}") from error
    if not isinstance(told, dict) or not isinstance(told.get("op"), str):
        raise OrderError('an order is an object with "op", a string')
    op = told.pop("op")
    order = ORDERS.get(op)
    if order is None:
        raise OrderError(f"op {op!r} is not known{_nearest(op, ORDERS)}")
    return order.do(world, _checked(op, order, told, world))


def _checked(op: str, order: Order, told: Arguments, world: World) -> Arguments:
    known = {**order.needs, **order.takes}
    for name in told:
        if name not in known:
            raise OrderError(f"{op} takes no {name}{_nearest(name, known)}")
    for name in order.needs:
        if name not in told:
            raise OrderError(f"{op} needs {name}")
    return {name: known[name](name, value, world) for name, value in told.items()}


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(known))}"


def _shown(value: Any) -> str:
    return json.dumps(value, default=str)[:80]
