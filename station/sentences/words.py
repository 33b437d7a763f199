"""Which words do all sentences share?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from journal.observations import MeterRead

PAYLOAD_MAX: Final = 160  # characters of a payload in a line; the journal has all of it
LIST_MAX: Final = 8  # numbers told one by one

Sentence = Callable[[Any], str]

_payload = msgspec.json.Decoder(float_hook=Decimal)


def printable(text: str) -> str:
    """What a CSMS or a reader sent must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def at(evse_id: int | None, connector_id: int = 0) -> str:
    """Which part of the station; 0 is all of it."""
    if not evse_id:
        return "the station"
    return f"EVSE {evse_id}" + (f" connector {connector_id}" if connector_id else "")


def here(evse_id: int | None) -> str:
    """Where, if anywhere in particular."""
    return f" at EVSE {evse_id}" if evse_id else ""


def short(name: str) -> str:
    """The beginning of a UUID tells it from its neighbours."""
    return f"{name[:8]}…" if len(name) > 12 else name


def seconds(ms: int) -> str:
    """Milliseconds as people say them."""
    return f"{Decimal(ms) / 1000:f} s"


def listed(calls: Sequence[int]) -> str:
    """Calls by their numbers, the first few of many."""
    told = ", ".join(map(str, calls[:LIST_MAX]))
    more = len(calls) - LIST_MAX
    what = "call" if len(calls) == 1 else "calls"
    return f"{what} {told}" + (f" and {more} more" if more > 0 else "")


def told(payload: msgspec.Raw) -> str:
    """A payload without its punctuation, as far as a line has room."""
    try:
        text = flat(_payload.decode(payload))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        text = "what cannot be read"
    return cut(text)


def cut(text: str) -> str:
    """As much as a line has room for."""
    return text if len(text) <= PAYLOAD_MAX else f"{text[: PAYLOAD_MAX - 1]}…"


def flat(part: Any, inner: bool = False) -> str:
    if isinstance(part, Mapping):
        text = ", ".join(f"{key} {flat(value, True)}" for key, value in part.items())
        return f"({text})" if inner else text or "nothing"
    if isinstance(part, list):
        return f"[{', '.join(flat(item, True) for item in part)}]"
    if part is None:
        return "null"
    return str(part).lower() if isinstance(part, bool) else str(part)


def reading(read: MeterRead) -> str:
    """The register first, then whatever else was read."""
    parts = (
        (read.energy_wh, "Wh"),
        (read.energy_export_wh, "Wh from the EV"),
        (read.power_w, "W"),
        (read.voltage_v, "V"),
        (read.current_a, "A"),
    )
    found = [f"{value} {unit}" for value, unit in parts if value is not None]
    if read.soc_percent is not None:
        found.append(f"EV at {read.soc_percent} %")
    return ", ".join(found)


def joined(*parts: str | None) -> str:
    """What there is, with commas."""
    return ", ".join(part for part in parts if part)


def because(why: str) -> str:
    """The reason, if one is given."""
    return f": {why}" if why else ""


def went(ok: bool, well: str, badly: str, why: str) -> str:
    """How it went, and why so."""
    return (well if ok else badly) + because(why)
