"""`station status` prints the state of a running station; `station release` releases a fault.

Both are clients of the control socket. The status shows what the top of the operators' page shows.
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import click

from station.commands.shared.control_client import STATION_SOCKET, send_request
from station.commands.shared.station_option import find_data_directory, station_options
from station.transcript.phrases import LIMITER_NAMES, escape_control_characters, shorten_id

LABEL_WIDTH: Final = 13
WH_PER_KWH: Final = 1000

JsonObject = Mapping[str, Any]


@click.command("status")
@station_options
@click.option("--json", "as_json", is_flag=True, help="Print the response as JSON.")
def status_command(config: Path | None, data: Path | None, as_json: bool) -> None:
    """Print connection, EVSEs, faults, outbox, clock, journal and certificates of a station."""
    live = send_request(find_data_directory(config, data) / STATION_SOCKET, "live")
    if as_json:
        click.echo(json.dumps(live, default=float))
        return
    for label, text in describe_status(live):
        click.echo(escape_control_characters(f"{label:<{LABEL_WIDTH}}{text}"))


@click.command("release")
@click.argument("device")
@click.argument("kind", required=False)
@click.option("--evse-id", "-e", type=click.IntRange(0), metavar="N", help="The EVSE.")
@station_options
def release_command(
    device: str, kind: str | None, evse_id: int | None, config: Path | None, data: Path | None
) -> None:
    """Release the latched faults of a DEVICE, or one KIND of them, after you have checked it.

    The journal records the release and the user who gave it. A fault that the device still reports
    is not released.
    """
    arguments = {"device": device, "kind": kind, "evse_id": evse_id}
    reply = send_request(
        find_data_directory(config, data) / STATION_SOCKET,
        "release",
        requested_by=_user_name(),
        **{name: value for name, value in arguments.items() if value is not None},
    )
    click.echo(f"released: {', '.join(reply['released'])}")


def _user_name() -> str:
    """Who types: the user that called sudo, else the user of this process."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return f"uid {os.getuid()}"


# --- Text ----------------------------------------------------------------------------------------


def describe_status(live: JsonObject) -> Iterator[tuple[str, str]]:
    """The status as lines, each with a label; a repeated label is empty."""
    emulated = ", emulated devices" if live["emulated"] else ""
    yield (
        live["identity"],
        f"release {live['release']}, profile {live['profile']}{emulated}, "
        f"running for {_duration(live['running_s'])}",
    )
    yield "link", _describe_link(live["link"])
    for evse in live["evses"]:
        yield f"EVSE {evse['evse_id']}", _describe_evse(evse)
    if live.get("reservations"):  # a station of an earlier release reports none
        yield from _label_once(
            "reservations", [_describe_reservation(each) for each in live["reservations"]]
        )
    yield from _label_once("faults", [_describe_fault(fault) for fault in live["faults"]])
    yield "outbox", _describe_outbox(live["outbox"])
    yield "clock", _describe_clock(live)
    yield "journal", _describe_journal(live)
    yield from _label_once("certificates", [_describe_certificate(c) for c in live["certificates"]])
    if live["safe_mode"]:
        yield from _label_once("safe mode", live["safe_mode"])
    if live["failed_rule"]:
        yield "program", f"error in {live['failed_rule']}; see the log"
    if live["restart"]:
        yield "restart", f"ordered, {live['restart']}"


def _label_once(label: str, lines: list[str]) -> Iterator[tuple[str, str]]:
    for index, line in enumerate(lines or ["none"]):
        yield ("" if index else label), line


def _describe_link(link: JsonObject) -> str:
    if link["online"]:
        return (
            f"up for {_duration(link['since_s'])}: {link['url']}, slot {link['slot']}, "
            f"security profile {link['security_profile']}; registration {link['registration']}"
        )
    attempts = link["failed_attempts"]
    return f"down for {_duration(link['since_s'])}; failed attempts: {attempts}"


def _describe_evse(evse: JsonObject) -> str:
    cause = f" ({evse['status_cause']})" if evse["status_cause"] else ""
    parts = [f"{evse['status']}{cause}"]
    if evse["charging_state"] != "Idle":
        parts.append(evse["charging_state"])
    if evse["power_w"]:
        parts.append(_kilo(evse["power_w"], "kW"))
    if evse["soc"] is not None and evse["plugged"]:
        parts.append(f"SoC {evse['soc']} %")
    if _shows_limit(evse):
        source = f": {evse['limit_source']}" if evse.get("limit_source") else ""
        parts.append(f"at most {_kilo(evse['limit_w'], 'kW')} ({evse['limit_reason']}{source})")
    if evse["energy_wh"] is not None:
        parts.append(f"meter {_kilo(evse['energy_wh'], 'kWh', 3)}")
    if evse["transaction"]:
        parts.append(f"transaction {shorten_id(evse['transaction']['id'])}")
    return ", ".join(parts)


def _shows_limit(evse: JsonObject) -> bool:
    """Whether a limit is shown: not the share of 0 W of an EVSE without an EV."""
    has_no_share = not evse["limit_w"] and evse["limit_reason"] == LIMITER_NAMES["cabinet"]
    return evse["limit_w"] is not None and (evse["plugged"] or not has_no_share)


def _describe_reservation(reservation: JsonObject) -> str:
    evse_id, connector_type = reservation["evse_id"], reservation["connector_type"]
    place = f"EVSE {evse_id}" if evse_id else "any EVSE"
    place += f" with connector {connector_type}" if connector_type else ""
    return f"{reservation['id']}: {place}, until {reservation['expires_at']}"


def _describe_fault(fault: JsonObject) -> str:
    place = f"EVSE {fault['evse_id']}" if fault["evse_id"] else "the station"
    details = ", ".join(filter(None, (fault["tech_code"], fault["info"])))
    text = f"{place}: {fault['device']} {fault['fault']}" + (f" ({details})" if details else "")
    text += f", for {_duration(fault['age_s'])}"
    if fault["blocks_charging"]:
        text += ", charging not allowed"
    if fault["latched"]:
        text += ", still present" if fault["found"] else ", needs `station release`"
    return text


def _describe_outbox(outbox: JsonObject) -> str:
    text = f"{outbox['waiting']} waiting"
    flight = outbox["in_flight"]
    if flight:
        text += (
            f", {flight['action']} of entry {flight['seq']} is sent (attempt {flight['attempt']})"
        )
    if outbox["parked_count"]:
        text += f"; {outbox['parked_count']} parked, see `station outbox`"
    return text


def _describe_clock(live: JsonObject) -> str:
    clock = live["clock"]
    quality = "synchronized" if clock["synchronized"] else "not synchronized"
    return f"{live['at']}, {quality}, offset {clock['offset_ms'] / 1000:+.3f} s"


def _describe_journal(live: JsonObject) -> str:
    journal = live["journal"]
    text = f"{journal['seq']}:{journal['digest']}, storage {live['storage']}"
    verified = journal["verified"]
    if verified:
        result = "no damage" if verified["ok"] else "; ".join(verified["complaints"])
        text += f", verified at {verified['at']}: {result}"
    if live["damage"]:
        text += f", damaged: {'; '.join(live['damage'])}"
    return text


def _describe_certificate(certificate: JsonObject) -> str:
    text = f"{certificate['use']} {certificate['subject']}, valid until {certificate['not_after']}"
    if certificate.get("next_renewal"):
        text += f", next renewal {certificate['next_renewal']}"
    if certificate.get("renewal"):
        text += f"; {certificate['renewal']}"
    return text


def _duration(seconds: float | Decimal) -> str:
    """A duration with its two greatest units."""
    whole = timedelta(seconds=round(seconds))
    hours, rest = divmod(whole.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [(whole.days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    first = next((index for index, (value, _) in enumerate(parts) if value), 3)
    return " ".join(f"{value} {unit}" for value, unit in parts[first : first + 2])


def _kilo(value: float | Decimal, unit: str, digits: int = 1) -> str:
    return f"{value / WH_PER_KWH:.{digits}f} {unit}"
