"""Which words do all sentences share?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from journal.observations import MeterRead

PAYLOAD_CHARS_MAX: Final = 160  # characters of a payload in a line; the journal has all of it
LISTED_CALLS_MAX: Final = 8  # numbers told one by one

Sentence = Callable[[Any], str]

_payload_decoder = msgspec.json.Decoder(float_hook=Decimal)


def escape_control_characters(text: str) -> str:
    """What a CSMS or a reader sent must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def name_location(evse_id: int | None, connector_id: int = 0) -> str:
    """Which part of the station; 0 is all of it."""
    if not evse_id:
        return "the station"
    return f"EVSE {evse_id}" + (f" connector {connector_id}" if connector_id else "")


def at_evse(evse_id: int | None) -> str:
    """Where, if anywhere in particular."""
    return f" at EVSE {evse_id}" if evse_id else ""


def shorten_id(identifier: str) -> str:
    """The beginning of a UUID tells it from its neighbours."""
    return f"{identifier[:8]}…" if len(identifier) > 12 else identifier


def format_seconds(ms: int) -> str:
    """Milliseconds as people say them."""
    return f"{Decimal(ms) / 1000:f} s"


def list_calls(calls: Sequence[int]) -> str:
    """Calls by their numbers, the first few of many."""
    told = ", ".join(map(str, calls[:LISTED_CALLS_MAX]))
    more = len(calls) - LISTED_CALLS_MAX
    what = "call" if len(calls) == 1 else "calls"
    return f"{what} {told}" + (f" and {more} more" if more > 0 else "")


def format_payload(payload: msgspec.Raw) -> str:
    """A payload without its punctuation, as far as a line has room."""
    try:
        text = flatten_json(_payload_decoder.decode(payload))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        text = "what cannot be read"
    return truncate_text(text)


def truncate_text(text: str) -> str:
    """As much as a line has room for."""
    return text if len(text) <= PAYLOAD_CHARS_MAX else f"{text[: PAYLOAD_CHARS_MAX - 1]}…"


def flatten_json(node: Any, is_nested: bool = False) -> str:
    if isinstance(node, Mapping):
        text = ", ".join(f"{key} {flatten_json(value, True)}" for key, value in node.items())
        return f"({text})" if is_nested else text or "nothing"
    if isinstance(node, list):
        return f"[{', '.join(flatten_json(item, True) for item in node)}]"
    if node is None:
        return "null"
    return str(node).lower() if isinstance(node, bool) else str(node)


def format_reading(read: MeterRead) -> str:
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


def join_parts(*parts: str | None) -> str:
    """What there is, with commas."""
    return ", ".join(part for part in parts if part)


def reason_suffix(why: str) -> str:
    """The reason, if one is given."""
    return f": {why}" if why else ""


def describe_result(ok: bool, success: str, failure: str, why: str) -> str:
    """How it went, and why so."""
    return (success if ok else failure) + reason_suffix(why)
