"""Which verbs does `station` have, and how does each of them end?

A verb's module is imported when the verb is used, so that none pays for another. Exit codes:
0 done, 1 the answer is no, 2 usage. An error that can be expected is one line on stderr.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final, NoReturn

import click

from station import RELEASE

# verb -> (where its command is, what it does)
VERBS: Final = {
    "run": ("station.commands.run:run_command", "Run the station that a station.toml describes."),
    "demo": ("station.commands.demo.session:demo_command", "Watch one whole charging session."),
    "sim": ("station.commands.sim:sim_command", "Drive the emulated hardware of a station."),
    "emulate": ("station.commands.emulate:emulate_command", "Run the emulated devices alone."),
    "replay": ("station.commands.replay:replay_command", "Read a journal, or its state, aloud."),
    "diff": ("station.commands.diff:diff_command", "Tell what changed between two points."),
    "why": ("station.commands.why:why_command", "Tell the causes of an entry or a transaction."),
    "to-test": ("station.commands.regression:to_test_command", "Write a stretch of it as a test."),
    "verify": ("station.commands.verify:verify_command", "Check a journal for tampering."),
    "export": ("station.commands.export:export_command", "Write its history for others, signed."),
    "report": ("station.commands.report:report_command", "Make one HTML page of how it fared."),
    "archive": ("station.commands.archive:archive_command", "Compress what is old and settled."),
    "forget": ("station.commands.forget:forget_command", "Erase a person; the chain stays whole."),
    "prepare": ("station.commands.prepare:prepare_command", "Make an update's first start fast."),
    "outbox": ("station.commands.outbox:outbox_command", "See what the CSMS has not confirmed."),
}

# Failures that are nobody's bug: (module, class, exit code). Imported only when one may be it.
EXPECTED_ERRORS: Final = (
    ("station.config.station_toml", "ConfigError", 2),
    ("station.profiles", "ProfileError", 2),
    ("drivers.emulators.json_lines_socket", "SocketPathError", 2),
    ("journal.storage.errors", "JournalInUse", 2),
    ("journal.storage.errors", "JournalFailed", 1),
    ("station.runtime.hardware.emulator_process", "EmulatorFailed", 1),
    ("drivers.emulators.process", "AlreadyRunningError", 1),
    ("drivers.emulators.meter_registers", "RegistersDamagedError", 1),
)

NO_SPACE_ERRNOS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # for our output, say

EXIT_INTERRUPTED: Final = 130  # as shells say it of Ctrl-C


class LazyGroup(click.Group):
    """A group whose commands are imported by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What each verb does, without importing it."""
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, meaning) for verb, (_, meaning) in VERBS.items()])


def _print_version(ctx: click.Context, _: click.Parameter, requested: bool) -> None:
    if requested:
        click.echo(f"ocpp-station {RELEASE}")
        ctx.exit()


@click.group(cls=LazyGroup, invoke_without_command=True)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the release and exit.",
)
@click.pass_context
def station(ctx: click.Context) -> None:
    """The software of an EV charging station that speaks OCPP 2.0.1."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit(2)


def main() -> NoReturn:
    """The command `station`."""
    sys.exit(run_cli(sys.argv[1:]))


def run_cli(arguments: Sequence[str]) -> int:
    """Do what the arguments say; the exit code.

    Raises:
        Exception: what was not expected, for it is a bug.
    """
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")  # a terminal without UTF-8 stops nothing
    try:
        with station.make_context(
            "station", list(arguments)
        ) as ctx:  # `run_world` has its own ends
            station.invoke(ctx)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:
        return _report_failure(error)
    return 0


def _error_line(error: click.ClickException) -> str:
    text = " ".join(error.format_message().split())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        path = error.ctx.command_path
        return f"{path}: {text} See `{path} --help`."
    return text


def _report_failure(error: BaseException) -> int:
    """Say an expected failure in one line; let anything else through."""
    cause = _innermost_error(error)
    if isinstance(cause, click.ClickException):
        return _print_error(_error_line(cause), cause.exit_code)
    if isinstance(cause, (click.Abort, KeyboardInterrupt)):
        return EXIT_INTERRUPTED
    if isinstance(cause, BrokenPipeError):
        return _abandon_output()
    if isinstance(cause, OSError) and cause.errno in NO_SPACE_ERRNOS and cause.filename is None:
        _abandon_output()  # what is still in the buffer finds no room either
        return _print_error(f"{cause.strerror}: what was to be written is not complete.", 1)
    for module, name, code in EXPECTED_ERRORS:
        if isinstance(cause, getattr(import_module(module), name)):
            return _print_error(" ".join(str(cause).split()), code)
    raise error


def _innermost_error(error: BaseException) -> BaseException:
    """The one exception inside of the groups that nurseries wrap around it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _print_error(line: str, code: int) -> int:
    click.echo(line, err=True)
    return code


def _abandon_output() -> int:
    """Whoever read our output has had enough (`station replay … | head`): that is no error."""
    from station.commands.shared.exits import discard_stdout

    discard_stdout()
    return 0
