"""Phrases that the sentences of the transcript share: places, ids, payloads, readings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from journal.observations import MeterRead
from journal.projections.power_limiters import LimitingCause
from journal.projections.power_limits import PowerLimit

PAYLOAD_CHARS_MAX: Final = 160  # characters of a payload in a line; the journal has all of it
LISTED_MAX: Final = 8  # numbers listed in a line; above that, a count

EMPTY_PAYLOAD: Final = "empty payload"

# What limits the power of an EVSE, by `Limiter` and by the limiters of the power path.
LIMITER_NAMES: Final[dict[str, str]] = {
    "limit": "limit for this EVSE",
    "station_limit": "limit for the station",
    "cabinet": "power shared by the EVSEs",
    "modules": "power modules",
    "product": "rated power of the EVSE",
    "cooling": "cable without cooling",
    "cable": "temperature of the cable",
    "ev": "request of the EV",
}

Sentence = Callable[[Any], str]

_payload_decoder = msgspec.json.Decoder(float_hook=Decimal)


def escape_control_characters(text: str) -> str:
    """Escape what a CSMS or a card reader sent, so that it cannot control a terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def escape_json_text(text: str) -> str:
    """Escape what JSON leaves as it is and a terminal acts on; the JSON stays the same value.

    Line feeds are layout: JSON has none inside a text.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character == "\n" else _escape_utf16(character)
        for character in text
    )


def _escape_utf16(character: str) -> str:
    """A character as JSON escapes it: one or two UTF-16 units."""
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def format_power(watts: Decimal | int) -> str:
    """A power for people: `40 kW`, `7.36 kW`, `0 kW`."""
    kilowatts = (Decimal(watts) / 1000).quantize(Decimal("0.001")).normalize()
    return f"{kilowatts:f} kW"


def format_power_limit(limit: PowerLimit) -> str:
    """A limit with its source: `40 kW by TxProfile 12, stack level 3 (entry 88)`."""
    amperes = "" if limit.limit_a is None else f" ({limit.limit_a.normalize():f} A)"
    return f"{format_power(limit.limit_w)}{amperes} by {name_limit_source(limit)}"


def name_limit_source(limit: PowerLimit) -> str:
    """The profile of the CSMS or the external source of a limit, with its entry."""
    return f"{name_limit_origin(limit)} (entry {limit.source_seq})"


def name_limit_origin(limit: PowerLimit) -> str:
    """The profile of the CSMS or the external source of a limit."""
    if limit.profile_id < 0 or limit.origin:
        return f"{limit.limit_source}, {limit.origin}"
    return f"{limit.purpose} {limit.profile_id}, stack level {limit.stack_level}"


def name_limiting_cause(cause: LimitingCause) -> str:
    """What limits an EVSE: `station: EMS, control_socket`, `request of the EV`."""
    if cause.limit is None:
        return LIMITER_NAMES[cause.limiter]
    place = "station: " if cause.limiter == "station_limit" else ""
    return f"{place}{name_limit_origin(cause.limit)}"


def name_location(evse_id: int | None, connector_id: int = 0) -> str:
    """The part of the station with these ids; 0 is the whole station."""
    if not evse_id:
        return "the station"
    return f"EVSE {evse_id}" + (f" connector {connector_id}" if connector_id else "")


def at_evse(evse_id: int | None) -> str:
    """The phrase " at EVSE 1"; nothing without an EVSE."""
    return f" at EVSE {evse_id}" if evse_id else ""


def shorten_id(identifier: str) -> str:
    """The first eight characters of a UUID; shorter ids are not changed."""
    return f"{identifier[:8]}…" if len(identifier) > 12 else identifier


def format_seconds(ms: int) -> str:
    """Milliseconds as exact seconds."""
    return f"{Decimal(ms) / 1000:f} s"


def format_interval(index: int, interval_s: int) -> str:
    """When a clock-aligned interval begins, and its length; its number if it has no date."""
    try:
        begin = datetime.fromtimestamp(index * interval_s, UTC)
    except (OverflowError, OSError, ValueError):
        return f"interval {index} of {interval_s} s"
    return f"{begin:%Y-%m-%dT%H:%M:%SZ} ({interval_s} s)"


def list_calls(call_seqs: Sequence[int]) -> str:
    """Calls by their entry numbers, at most LISTED_MAX of them."""
    return list_numbers("call", call_seqs)


def list_numbers(noun: str, numbers: Sequence[int]) -> str:
    """A noun with its numbers, at most LISTED_MAX of them: `calls 3, 4`."""
    listed = ", ".join(map(str, numbers[:LISTED_MAX]))
    more = len(numbers) - LISTED_MAX
    ending = "" if len(numbers) == 1 else "s"
    return f"{noun}{ending} {listed}" + (f" and {more} more" if more > 0 else "")


def count_things(count: int, noun: str) -> str:
    """A count with its noun: `1 message`, `2 messages`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def format_payload(payload: msgspec.Raw) -> str:
    """A payload without its punctuation, cut to the length of a line."""
    try:
        text = flatten_json(_payload_decoder.decode(payload))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        text = "unreadable payload"
    return truncate_text(text)


def payload_suffix(payload: msgspec.Raw) -> str:
    """The phrase ": status Accepted", or " with an empty payload"."""
    text = format_payload(payload)
    return f" with an {EMPTY_PAYLOAD}" if text == EMPTY_PAYLOAD else f": {text}"


def truncate_text(text: str) -> str:
    """Cut a text to PAYLOAD_CHARS_MAX characters."""
    return text if len(text) <= PAYLOAD_CHARS_MAX else f"{text[: PAYLOAD_CHARS_MAX - 1]}…"


def flatten_json(node: Any, is_nested: bool = False) -> str:
    """JSON as "name value, name (name value)"."""
    if isinstance(node, Mapping):
        text = ", ".join(f"{key} {flatten_json(value, True)}" for key, value in node.items())
        return f"({text})" if is_nested else text or EMPTY_PAYLOAD
    if isinstance(node, list):
        return f"[{', '.join(flatten_json(item, True) for item in node)}]"
    if node is None:
        return "null"
    return str(node).lower() if isinstance(node, bool) else str(node)


def format_reading(read: MeterRead) -> str:
    """The values of a reading with their units, the register first."""
    values = (
        (read.energy_wh, "Wh"),
        (read.energy_export_wh, "Wh exported by the EV"),
        (read.power_w, "W"),
        (read.voltage_v, "V"),
        (read.current_a, "A"),
    )
    parts = [f"{value} {unit}" for value, unit in values if value is not None]
    if read.soc_percent is not None:
        parts.append(f"SoC {read.soc_percent} %")
    return ", ".join(parts)


def join_parts(*parts: str | None) -> str:
    """The parts that are not empty, separated by commas."""
    return ", ".join(part for part in parts if part)


def reason_suffix(reason: str) -> str:
    """The phrase ": reason"; nothing without a reason."""
    return f": {reason}" if reason else ""


def describe_result(ok: bool, success: str, failure: str, reason: str) -> str:
    """One of two phrases by the result, with its reason."""
    return (success if ok else failure) + reason_suffix(reason)
