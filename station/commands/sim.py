"""`station sim`: drive emulated hardware as an EV driver or a technician would.

A thin client of the control socket. `VERBS` has a row for each operation; its parameters have
the names that the socket uses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import click

from station.commands.shared.control_client import DEVICES_SOCKET, STATION_SOCKET, send_request
from station.commands.shared.station_option import CONFIG_HELP, DATA_HELP, find_data_directory

if TYPE_CHECKING:
    OptionType: TypeAlias = click.ParamType[Any]  # older releases of click have it without []

NUMBER: Final = click.FLOAT
SOC_PERCENT: Final = click.FloatRange(0, 100)
NO_LIMIT: Final = "none"  # lifts an external limit


def _evse_option(*, required: bool) -> click.Option:
    """The option --evse-id; 1 by default if the operation needs an EVSE."""
    default = 1 if required else None
    return click.Option(
        ["--evse-id", "-e"],
        type=click.IntRange(1),
        metavar="N",
        default=default,
        show_default=required,
        help="The EVSE.",
    )


def _value_option(name: str, option_type: OptionType, meaning: str) -> click.Option:
    return click.Option([f"--{name}"], type=option_type, help=meaning)


def _required_argument(name: str, option_type: OptionType = click.STRING) -> click.Argument:
    return click.Argument([name], type=option_type)


def _fault_parameters() -> list[click.Parameter]:
    return [_required_argument("device"), _required_argument("kind"), _evse_option(required=False)]


# Properties of the EV, sent as the object `ev`.
EV_ARGUMENTS: Final = (
    "capacity_wh", "soc", "max_voltage_v", "max_current_a", "max_power_w", "evcc_id",
)  # fmt: skip


def _plug_in_parameters() -> list[click.Parameter]:
    return [
        _evse_option(required=True),
        _value_option("capacity-wh", NUMBER, "Battery capacity of the EV, Wh."),
        _value_option("soc", SOC_PERCENT, "State of charge, %."),
        _value_option("max-voltage-v", NUMBER, "Maximum voltage of the EV, V."),
        _value_option("max-current-a", NUMBER, "Maximum current of the EV, A."),
        _value_option("max-power-w", NUMBER, "Maximum power of the EV, W."),
        _value_option("evcc-id", click.STRING, "EVCCID of the EV, 12 hex digits."),
        click.Option(
            ["--ready/--not-ready"],
            default=None,
            help="Whether the EV requests energy at once, or after ev-ready.",
        ),
    ]


def _present_token_parameters() -> list[click.Parameter]:
    return [
        click.Argument(["id_token"], metavar="UID"),
        click.Option(["--type"], default="ISO14443", show_default=True, help="IdToken type."),
        _evse_option(required=False),
    ]


def _parse_limit(ctx: click.Context, parameter: click.Parameter, text: str) -> float | str:
    """A power in W, or NO_LIMIT."""
    if text == NO_LIMIT:
        return NO_LIMIT
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(f"{text} is neither a number of W nor {NO_LIMIT}") from None


def _meter_parameters() -> list[click.Parameter]:
    return [
        _evse_option(required=True),
        _value_option("energy-wh", NUMBER, "The register, Wh; it never decreases."),
        _value_option("voltage-v", NUMBER, "Voltage, V, until the next plug-in."),
        _value_option("current-a", NUMBER, "Current, A, until the next plug-in."),
        _value_option("power-w", NUMBER, "Power, W, until the next plug-in."),
        _value_option("soc", SOC_PERCENT, "State of charge of the EV, %."),
    ]


# verb -> (what happens, its parameters)
VERBS: Final[Mapping[str, tuple[str, Sequence[click.Parameter]]]] = {
    "state": ("Print the state of the station.", []),
    "plug-in": ("Plug the cable into an EV.", _plug_in_parameters()),
    "unplug": ("Pull the cable out of the EV.", [_evse_option(required=True)]),
    "present-token": ("Present an RFID card: UID in hex.", _present_token_parameters()),
    "ev-ready": ("Let the EV request energy.", [_evse_option(required=True)]),
    "ev-pause": ("Let the EV pause charging.", [_evse_option(required=True)]),
    "stop-button": ("Press the stop button of an EVSE.", [_evse_option(required=True)]),
    "emergency-stop": ("Press the emergency stop button.", []),
    "emergency-release": ("Release the emergency stop button.", []),
    "fault": (
        "Make a device fail, for example: `fault cable over_temperature`.",
        _fault_parameters(),
    ),
    "clear-fault": ("Clear a fault that `fault` made.", _fault_parameters()),
    "meter": ("Set the values of an emulated meter.", _meter_parameters()),
    "link": (
        "Set the network: up, closed (no connection) or silent (packets are lost).",
        [_required_argument("mode", click.Choice(["up", "closed", "silent"]))],
    ),
    "external-limit": (
        "Limit the power from outside; LIMIT_W is in W, or none.",
        [
            click.Argument(["limit_w"], callback=_parse_limit),
            _evse_option(required=False),
            click.Option(
                ["--source"],
                type=click.Choice(["EMS", "SO", "Other"]),
                help="Its chargingLimitSource in OCPP. Default: EMS.",
            ),
            _value_option("duration-s", click.INT, "The limit ends after so many seconds."),
        ],
    ),
    "clock": (
        "Step the wall clock of the station by SECONDS.",
        [click.Argument(["step_s"], type=NUMBER, metavar="SECONDS")],
    ),
}


@click.group("sim", invoke_without_command=True)
@click.pass_context
def sim_command(ctx: click.Context) -> None:
    """Drive the emulated hardware of a running station.

    Every verb takes --config or --data to name the station; without either it is the station of
    ./station.toml.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit(2)


# --- Requests ------------------------------------------------------------------------------------


def _send_operation(verb: str, options: dict[str, Any]) -> None:
    """Send one operation and print the response."""
    config, data = options.pop("config"), options.pop("data")
    as_json, devices = options.pop("as_json"), options.pop("devices")
    arguments = {
        name: _integer_if_whole(value) for name, value in options.items() if value is not None
    }
    if verb == "plug-in" and (
        ev := {key: arguments.pop(key) for key in EV_ARGUMENTS if key in arguments}
    ):
        arguments["ev"] = ev
    if arguments.get("limit_w") == NO_LIMIT:
        arguments["limit_w"] = None
    socket = find_data_directory(config, data) / (DEVICES_SOCKET if devices else STATION_SOCKET)
    reply = send_request(socket, verb.replace("-", "_"), **arguments)
    if as_json:
        click.echo(json.dumps({"ok": True, **reply}, default=_json_number))
    elif verb == "state":
        _print_state(reply)
    else:
        details = ", ".join(f"{key} {value}" for key, value in reply.items())
        click.echo(f"{verb}: done" + (f" ({details})" if details else ""))


def _integer_if_whole(value: Any) -> Any:
    """3600 instead of 3600.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _json_number(value: Any) -> int | float:
    assert isinstance(value, Decimal), f"{value!r} came out of JSON"
    return float(value)


def _print_state(state: Mapping[str, Any]) -> None:
    """Print the response of `state` for a person; fields unknown here are printed too."""
    for evse in state["evses"]:
        fields = dict(evse)
        parts = [
            "plugged in" if fields.pop("plugged") else "free",
            f"contactors {fields.pop('contactor')}",
            f"{fields.pop('power_w')} W",
            f"{fields.pop('energy_wh')} Wh",
        ]
        transaction = fields.pop("transaction_id")
        parts += [f"transaction {transaction}"] if transaction else []
        click.echo(f"EVSE {fields.pop('evse_id')}: {', '.join(parts)}{_format_rest(fields)}")
    rest = {key: state[key] for key in state if key not in ("evses", "link", "outbox", "journal")}
    click.echo(f"link {state['link']}, outbox {state['outbox']}{_format_rest(rest)}")
    click.echo(f"journal {state['journal']['seq']}:{state['journal']['digest']}")


def _format_rest(fields: Mapping[str, Any]) -> str:
    return "".join(
        f", {key} {'; '.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in fields.items()
        if value not in (None, "", [])
    )


# --- The verbs as commands -----------------------------------------------------------------------


def _station_options() -> list[click.Parameter]:
    """The options of every verb: which station, and the form of the response."""
    return [
        click.Option(["--config"], type=click.Path(path_type=Path), help=CONFIG_HELP),
        click.Option(["--data"], type=click.Path(path_type=Path), help=DATA_HELP),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the response as JSON."),
        click.Option(
            ["--devices"],
            is_flag=True,
            help="Send to the emulated devices directly; no station needs to run.",
        ),
    ]


def _build_command(verb: str, meaning: str, parameters: Sequence[click.Parameter]) -> click.Command:
    def callback(**options: Any) -> None:
        _send_operation(verb, options)

    return click.Command(
        verb,
        params=[*parameters, *_station_options()],
        callback=callback,
        help=meaning,
        # in `clock -3600`, -3600 is a number, not an option
        context_settings={"ignore_unknown_options": verb == "clock"},
    )


for _verb, (_meaning, _parameters) in VERBS.items():
    sim_command.add_command(_build_command(_verb, _meaning, _parameters))
