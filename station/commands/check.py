"""`station check`: everything that `station run` would refuse or complain of, without starting.

No port is opened and no file is changed; `station probe` asks the devices. A problem is an error if
`run` would not start with this file on a new station, else a warning: the file is used without it,
or a device is a fault until it is there. The checks are those of the start: this module only runs
all of them and collects what they raise and log. Of the running station itself, that it has the
journal and the ports is no problem: `check` is for the file of its next start.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from drivers.catalog import load_driver
from drivers.settings import DeviceSettings
from drivers.wire.can_bus import SLCAN, SOCKETCAN, SharedCanBus
from drivers.wire.can_interface import find_interface_problem
from drivers.wire.port_failure import explain_open_failure, find_lock_holders
from drivers.wire.serial_port import SerialPort
from station.commands.shared.control_client import STATION_SOCKET, find_listener_pid
from station.commands.shared.start_problems import Problem, Severity, find_start_problems
from station.config.hardware import find_hardware_problems, parse_hardware
from station.config.problems import find_problems
from station.config.station_toml import Config, load_config, read_toml

EXIT_CODES: Final[dict[Severity, int]] = {"error": 2, "warning": 1}
SYSTEM_INTERFACES: Final = Path("/sys/class/net")
INLINE_SECRETS: Final = ("password", "key_password")  # keys of station.toml
SECRET_FILES: Final = ("password_file", "key_file", "key_password_file")


@click.command("check")
@click.option(
    "--config",
    "path",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The station.toml.",
)
@click.pass_context
def check_command(ctx: click.Context, path: Path) -> None:
    """Check a station.toml with its files and ports, without starting the station.

    Exit code 0: no problems. 1: warnings, `run` starts. 2: errors, `run` refuses.
    """
    problems = list(find_all_problems(path))
    for problem in problems:
        click.echo(f"{problem.severity}: {problem.text}", err=True)
    errors = sum(problem.severity == "error" for problem in problems)
    if not errors:
        click.echo(_summary(load_config(path), path))
    if problems:
        counts = _count("error", errors), _count("warning", len(problems) - errors)
        click.echo(f"{path}: {', '.join(filter(None, counts))}.", err=True)
        ctx.exit(max(EXIT_CODES[problem.severity] for problem in problems))


def _count(noun: str, number: int) -> str:
    return f"{number} {noun}{'s' if number > 1 else ''}" if number else ""


def _summary(config: Config, path: Path) -> str:
    station = find_listener_pid(config.data_directory / STATION_SOCKET)
    devices = ", ".join(
        f"{kind} ({device.driver} at {device.port})" for kind, device in config.hardware.items()
    )
    return "\n".join(
        (
            f"{path}: station {config.identity}, profile {config.profile.name},"
            f" {len(config.profile.evse)} EVSEs",
            f"  CSMS      {config.csms.url}/{config.identity}, security profile"
            f" {config.csms.security_profile}",
            f"  data      {config.data_directory}"
            f"{'' if station is None else f', in use by the station, process {station}'}",
            f"  hardware  {devices or 'emulated: there is no [hardware]'}",
        )
    )


def find_all_problems(path: Path) -> Iterator[Problem]:
    """Every problem of a station.toml, of the files it names, and of this host for it."""
    wrong_parts, config = find_problems(path)
    yield from (Problem("error", text) for text in wrong_parts)
    if config is None:
        return
    if config.hardware:
        kinds = read_toml(path)["hardware"].keys()
        wiring = list(find_hardware_problems(config.hardware, config.profile.evse_ids, kinds))
        yield from (Problem("error", f"{path.name}: {text}") for text in wiring)
        if not wiring:
            yield from (Problem("warning", text) for text in _port_problems(config))
    if wrong_parts:
        return
    if not config.hardware:
        yield Problem("warning", f"no [hardware] in {path}: the devices are emulated")
    yield from (Problem("warning", text) for text in _exposed_secrets(path))
    yield from find_start_problems(config)


def _port_problems(config: Config) -> Iterator[str]:
    """Ports that do not exist, that this user may not open, or that another program has."""
    settings = parse_hardware(config.hardware)
    station = find_listener_pid(config.data_directory / STATION_SOCKET)
    for kind in config.hardware:
        table = getattr(settings, kind)
        problem = _port_problem(table, station)
        if problem is None and getattr(table, "interface", SLCAN) == SOCKETCAN:
            problem = find_interface_problem(table.port, _bit_rate(kind, table, config))
        if problem:
            yield f"[hardware.{kind}] {problem}"


def _bit_rate(kind: str, settings: DeviceSettings, config: Config) -> int:
    """Of the CAN bus of a table, bit/s. No port is opened."""
    opened = load_driver(kind, settings.driver).open(
        settings, config.profile.evse_ids, SerialPort.open
    )
    assert isinstance(opened.bus, SharedCanBus)
    return opened.bus.bit_rate


def _port_problem(settings: DeviceSettings, station: int | None) -> str | None:
    """A problem of one port; `station`: the process that may have it."""
    port = settings.port
    interface = getattr(settings, "interface", SLCAN)
    if interface == SOCKETCAN and not (SYSTEM_INTERFACES / port).exists():
        return f"{port}: there is no such CAN interface. Is the adapter plugged in?"
    if interface != SLCAN:
        return None  # only opening an adapter shows whether it is there
    if not os.path.exists(port):
        return explain_open_failure(port, errno.ENOENT, "")
    if not os.access(port, os.R_OK | os.W_OK, effective_ids=True):
        return explain_open_failure(port, errno.EACCES, "")
    if not stat.S_ISCHR(os.stat(port).st_mode):
        return explain_open_failure(port, errno.ENOTTY, "")
    if any(pid != station for pid in find_lock_holders(port)):
        return explain_open_failure(port, errno.EBUSY, "")
    return None


def _exposed_secrets(path: Path) -> Iterator[str]:
    """Files with a password or a private key that other users of the host can read."""
    tables = [read_toml(path)["csms"], *read_toml(path).get("certificate", ())]
    files = {path} if any(key in table for table in tables for key in INLINE_SECRETS) else set()
    files |= {path.parent / table[key] for table in tables for key in SECRET_FILES if key in table}
    for file in sorted(files):
        if _others_can_read(file.stat()):
            yield (
                f"{file}: contains a secret, and other users can read it."
                f" Run `chmod o= {file}`, and give it to a group of the station alone."
            )


def _others_can_read(status: os.stat_result) -> bool:
    """Whether users besides the owner and the members of this user's own group can read."""
    if status.st_mode & stat.S_IROTH:
        return True
    return bool(status.st_mode & stat.S_IRGRP) and not _is_own_group(status.st_gid)


def _is_own_group(number: int) -> bool:
    """Whether a group is that of this user alone: it has the user's name, and no other member."""
    try:
        group, user = grp.getgrgid(number), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
