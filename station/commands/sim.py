"""`station sim`: the hands of a person in front of emulated hardware.

A thin client of the control socket. `VERBS` has a row for each operation; its parameters have
the names the socket knows them by.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import click

from station.commands.shared.control_client import DEVICES_SOCKET, STATION_SOCKET, send_request
from station.commands.shared.exits import UsageError

DEFAULT_CONFIG: Final = Path("station.toml")  # where a station is looked for that nobody named

if TYPE_CHECKING:
    OptionType: TypeAlias = click.ParamType[Any]  # older releases of click have it without []

NUMBER: Final = click.FLOAT
SOC_PERCENT: Final = click.FloatRange(0, 100)


def _evse_option(*, required: bool) -> click.Option:
    """Which EVSE; where the operation must know, it is 1 unless told otherwise."""
    default = 1 if required else None
    return click.Option(
        ["--evse-id", "-e"],
        type=click.IntRange(1),
        metavar="N",
        default=default,
        show_default=required,
        help="Which EVSE.",
    )


def _value_option(name: str, option_type: OptionType, meaning: str) -> click.Option:
    return click.Option([f"--{name}"], type=option_type, help=meaning)


def _required_argument(name: str, option_type: OptionType = click.STRING) -> click.Argument:
    return click.Argument([name], type=option_type)


def _fault_parameters() -> list[click.Parameter]:
    return [_required_argument("device"), _required_argument("kind"), _evse_option(required=False)]


# What the EV is, where it is not the usual one; goes into `ev`.
EV_ARGUMENTS: Final = ("capacity_wh", "soc", "max_voltage_v", "max_current_a", "max_power_w")


def _plug_in_parameters() -> list[click.Parameter]:
    return [
        _evse_option(required=True),
        _value_option("capacity-wh", NUMBER, "Battery of the EV, Wh."),
        _value_option("soc", SOC_PERCENT, "Its state of charge, %."),
        _value_option("max-voltage-v", NUMBER, "The most it takes, V."),
        _value_option("max-current-a", NUMBER, "The most it takes, A."),
        _value_option("max-power-w", NUMBER, "The most it takes, W."),
        click.Option(
            ["--ready/--not-ready"],
            default=None,
            help="Whether it asks for energy at once; later: ev-ready.",
        ),
    ]


def _present_token_parameters() -> list[click.Parameter]:
    return [
        click.Argument(["id_token"], metavar="UID"),
        click.Option(["--type"], default="ISO14443", show_default=True, help="Kind of card."),
        _evse_option(required=False),
    ]


def _meter_parameters() -> list[click.Parameter]:
    return [
        _evse_option(required=True),
        _value_option("energy-wh", NUMBER, "The register, Wh; it never runs backwards."),
        _value_option("voltage-v", NUMBER, "V, until the next plug."),
        _value_option("current-a", NUMBER, "A, until the next plug."),
        _value_option("power-w", NUMBER, "W, until the next plug."),
        _value_option("soc", SOC_PERCENT, "State of charge of the EV, %."),
    ]


# verb -> (what happens, its parameters)
VERBS: Final[Mapping[str, tuple[str, Sequence[click.Parameter]]]] = {
    "state": ("What the journal knows of the station right now.", []),
    "plug-in": ("Plug the cable into an EV.", _plug_in_parameters()),
    "unplug": ("Pull the cable out of the EV.", [_evse_option(required=True)]),
    "present-token": ("Hold a card to the reader: UID in hex.", _present_token_parameters()),
    "ev-ready": ("The EV asks for energy.", [_evse_option(required=True)]),
    "ev-pause": ("The EV asks for no energy.", [_evse_option(required=True)]),
    "stop-button": ("Press the stop button at the dispenser.", [_evse_option(required=True)]),
    "emergency-stop": ("Push the emergency stop.", []),
    "emergency-release": ("Pull the emergency stop out again.", []),
    "fault": ("Break a device: as in `fault cable over_temperature`.", _fault_parameters()),
    "clear-fault": ("Mend a device.", _fault_parameters()),
    "meter": ("Set what an emulated meter shows.", _meter_parameters()),
    "link": (
        "The network: up, closed, or silent (packets vanish).",
        [_required_argument("mode", click.Choice(["up", "closed", "silent"]))],
    ),
    "clock": (
        "Step the station's wall clock by so many seconds.",
        [click.Argument(["step_s"], type=NUMBER, metavar="SECONDS")],
    ),
}


@click.group("sim", invoke_without_command=True)
@click.pass_context
def sim_command(ctx: click.Context) -> None:
    """Drive the emulated hardware of a running station.

    Every verb takes --config or --data to say which station; without either it is the one of
    ./station.toml.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit(2)


# --- Saying it -----------------------------------------------------------------------------------


def _send_operation(verb: str, options: dict[str, Any]) -> None:
    """Send one operation and print what came back."""
    config, data = options.pop("config"), options.pop("data")
    as_json, devices = options.pop("as_json"), options.pop("devices")
    arguments = {
        name: _integer_if_whole(value) for name, value in options.items() if value is not None
    }
    if verb == "plug-in" and (
        ev := {key: arguments.pop(key) for key in EV_ARGUMENTS if key in arguments}
    ):
        arguments["ev"] = ev
    socket = _data_directory(config, data) / (DEVICES_SOCKET if devices else STATION_SOCKET)
    reply = send_request(socket, verb.replace("-", "_"), **arguments)
    if as_json:
        click.echo(json.dumps({"ok": True, **reply}, default=_json_number))
    elif verb == "state":
        _print_state(reply)
    else:
        more = ", ".join(f"{key} {value}" for key, value in reply.items())
        click.echo(f"{verb}: done" + (f" ({more})" if more else ""))


def _data_directory(config: Path | None, data: Path | None) -> Path:
    """The data directory of the station that is meant."""
    if data is not None:
        if config is not None:
            raise UsageError("station sim: --config and --data both name a station; keep one.")
        return data
    if config is None and not DEFAULT_CONFIG.is_file():
        raise UsageError(
            f"station sim: which station? Give --data or --config; no {DEFAULT_CONFIG} is here."
        )
    from station.config.station_toml import load_config

    return load_config(config or DEFAULT_CONFIG).data_directory


def _integer_if_whole(value: Any) -> Any:
    """3600 and not 3600.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _json_number(value: Any) -> int | float:
    assert isinstance(value, Decimal), f"{value!r} came out of JSON"
    return float(value)


def _print_state(state: Mapping[str, Any]) -> None:
    """The reply of `state`, as a person reads it; what is new in it is not left out."""
    for evse in state["evses"]:
        told = dict(evse)
        parts = [
            "plugged in" if told.pop("plugged") else "free",
            f"contactors {told.pop('contactor')}",
            f"{told.pop('power_w')} W",
            f"{told.pop('energy_wh')} Wh",
        ]
        transaction = told.pop("transaction_id")
        parts += [f"transaction {transaction}"] if transaction else []
        click.echo(f"EVSE {told.pop('evse_id')}: {', '.join(parts)}{_format_rest(told)}")
    rest = {key: state[key] for key in state if key not in ("evses", "link", "outbox", "journal")}
    click.echo(f"link {state['link']}, outbox {state['outbox']}{_format_rest(rest)}")
    click.echo(f"journal {state['journal']['seq']}:{state['journal']['digest']}")


def _format_rest(fields: Mapping[str, Any]) -> str:
    return "".join(f", {key} {value}" for key, value in fields.items() if value not in (None, ""))


# --- The verbs as commands -----------------------------------------------------------------------


def _station_options() -> list[click.Parameter]:
    """How every verb is told which station, and how to answer."""
    return [
        click.Option(
            ["--config"], type=click.Path(path_type=Path), help="The station's station.toml."
        ),
        click.Option(["--data"], type=click.Path(path_type=Path), help="Or its data directory."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the reply as JSON."),
        click.Option(
            ["--devices"], is_flag=True, help="Ask the devices themselves; no station needs to run."
        ),
    ]


def _build_command(verb: str, meaning: str, parameters: Sequence[click.Parameter]) -> click.Command:
    def callback(**told: Any) -> None:
        _send_operation(verb, told)

    return click.Command(
        verb,
        params=[*parameters, *_station_options()],
        callback=callback,
        help=meaning,
        # `clock -3600` is a number and no option
        context_settings={"ignore_unknown_options": verb == "clock"},
    )


for _verb, (_meaning, _parameters) in VERBS.items():
    sim_command.add_command(_build_command(_verb, _meaning, _parameters))
