"""The command `station`: its verbs, its exit codes and its one-line errors.

`VERBS` has a row for each verb. The module of a verb is imported when the verb is used, because
`station --help`, shell completion and a short command must not load the whole program. click is
imported for every verb except a plain `station run`.

Exit codes: 0 done, 1 the answer is no, 2 usage, 130 interrupted with Ctrl-C. An expected error is
one line on stderr: which thing, what happened, what to do. Any other exception is a bug and gives
a traceback.

Shell completion: with `_STATION_COMPLETE=bash_source` (or `zsh_source`, `fish_source`) in the
environment, `station` prints the script that a shell evaluates to complete verbs and options.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final, NoReturn

from station.commands.shared.run_options import read_run_options

if TYPE_CHECKING:
    import click

# verb -> (where its command is, what it does)
VERBS: Final = {
    "run": ("station.commands.run:run_command", "Run the station that a station.toml describes."),
    "check": (
        "station.commands.check:check_command",
        "Check a station.toml without starting.",
    ),
    "demo": ("station.commands.demo.session:demo_command", "Show one whole charging session."),
    "probe": ("station.commands.probe:probe_command", "Report which devices answer."),
    "drivers": ("station.commands.drivers:drivers_command", "List the device drivers."),
    "sim": ("station.commands.sim:sim_command", "Drive the emulated hardware of a station."),
    "status": ("station.commands.status:status_command", "Print the state of a running station."),
    "page": ("station.commands.page:page_command", "Serve the pages and metrics of a station."),
    "renew-certificate": (
        "station.commands.renew_certificate:renew_certificate_command",
        "Request a new certificate of the station.",
    ),
    "release": ("station.commands.status:release_command", "Release a latched fault."),
    "emulate": ("station.commands.emulate:emulate_command", "Run the emulated devices alone."),
    "replay": (
        "station.commands.replay:replay_command",
        "Print a journal, or the state at a point.",
    ),
    "diff": ("station.commands.diff:diff_command", "Print what changed between two points."),
    "why": ("station.commands.why:why_command", "Print the causes of an entry or a transaction."),
    "to-test": (
        "station.commands.regression:to_test_command",
        "Write part of a journal as a test.",
    ),
    "verify": ("station.commands.verify:verify_command", "Check a journal for tampering."),
    "export": ("station.commands.export:export_command", "Export a table of a journal, signed."),
    "report": ("station.commands.report:report_command", "Write an HTML report of a journal."),
    "archive": ("station.commands.archive:archive_command", "Compress old, settled entries."),
    "forget": (
        "station.commands.forget:forget_command",
        "Erase an idToken; the chain stays intact.",
    ),
    "prepare": ("station.commands.prepare:prepare_command", "Make the start of an update fast."),
    "outbox": ("station.commands.outbox:outbox_command", "List or retry unconfirmed messages."),
}

# Failures that are not bugs: (module, class, exit code). Imported only when one may have occurred.
EXPECTED_ERRORS: Final = (
    ("station.config.station_toml", "ConfigError", 2),
    ("station.config.data_directory", "DataDirectoryError", 2),
    ("station.profiles", "ProfileError", 2),
    ("drivers.emulators.json_lines_socket", "SocketPathError", 2),
    ("journal.storage.errors", "JournalInUse", 2),
    ("journal.storage.errors", "JournalFailed", 1),
    ("station.runtime.hardware.emulator_process", "EmulatorFailed", 1),
    ("drivers.emulators.process", "AlreadyRunningError", 1),
)

UNUSABLE_PATH_ERRNOS: Final = (errno.ENAMETOOLONG, errno.ELOOP)  # of a path that was given
PATH_CHARS_MAX: Final = 80  # of such a path in its error
NO_SPACE_ERRNOS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

STDERR: Final = 2  # its number
EXIT_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells report it

PROGRAM: Final = "station"
COMPLETION_VARIABLE: Final = "_STATION_COMPLETE"  # click's name for this program


def main() -> NoReturn:
    """The command `station`."""
    open_standard_streams()
    if instruction := os.environ.get(COMPLETION_VARIABLE):
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(build_group(), {}, PROGRAM, COMPLETION_VARIABLE, instruction))
    sys.exit(run_cli(sys.argv[1:]))


def open_standard_streams() -> None:
    """Open stdin, stdout and stderr on /dev/null if the caller closed them.

    Otherwise the next file that is opened gets the number 1 or 2, be it the journal, and what a
    child process prints is written into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(STDERR, "w", closefd=False)


def run_cli(arguments: Sequence[str]) -> int:
    """Run the verb that the arguments name.

    Returns:
        The exit code.

    Raises:
        Exception: an unexpected error; it is a bug.
    """
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")  # a terminal without UTF-8 is no error
    try:
        if options := read_run_options(arguments):
            from station.runtime.process import run_process

            path, quiet, until_stdin_closes = options
            run_process(path, quiet=quiet, until_stdin_closes=until_stdin_closes)
            sys.stdout.flush()
            return 0
        return _run_with_click(arguments)
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:
        return _report_failure(error)


def _run_with_click(arguments: Sequence[str]) -> int:
    import click

    group = build_group()
    try:
        with group.make_context(PROGRAM, list(arguments)) as ctx:
            group.invoke(ctx)
        sys.stdout.flush()
    except click.exceptions.Exit as exit:
        return exit.exit_code
    return 0


def build_group() -> click.Group:
    """The command `station` for click."""
    from station.commands.shared.verb_group import VerbGroup

    return VerbGroup(VERBS)


def _report_failure(error: BaseException) -> int:
    """Print an expected failure in one line and return its exit code; raise anything else."""
    import click

    cause = _innermost_error(error)
    if isinstance(cause, click.ClickException):
        return _print_error(_error_line(cause), cause.exit_code)
    if isinstance(cause, (click.Abort, KeyboardInterrupt)):
        return EXIT_INTERRUPTED
    if isinstance(cause, BrokenPipeError):
        return _abandon_output()
    if isinstance(cause, OSError) and cause.errno in NO_SPACE_ERRNOS and cause.filename is None:
        _abandon_output()  # the buffered rest would fail too
        return _print_error(f"stdout: {cause.strerror}. The output is incomplete.", 1)
    if isinstance(cause, OSError) and cause.errno in UNUSABLE_PATH_ERRNOS and cause.filename:
        return _print_error(f"{cause.filename!s:.{PATH_CHARS_MAX}}…: {cause.strerror}.", 2)
    for module, name, code in EXPECTED_ERRORS:
        if isinstance(cause, getattr(import_module(module), name)):
            return _print_error(" ".join(str(cause).split()), code)
    raise error


def _error_line(error: click.ClickException) -> str:
    """One line; a usage error names the command and its help."""
    import click

    text = " ".join(error.format_message().split())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        path = error.ctx.command_path
        return f"{path}: {text} See `{path} --help`."
    return text


def _innermost_error(error: BaseException) -> BaseException:
    """The single exception inside the groups that nurseries wrap around it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _print_error(line: str, code: int) -> int:
    import click

    from station.transcript.phrases import escape_control_characters

    click.echo(escape_control_characters(line), err=True)  # it can quote a file or a CSMS
    return code


def _abandon_output() -> int:
    """The reader of stdout closed it, as in `station replay … | head`. That is not an error."""
    from station.commands.shared.exits import discard_stdout

    discard_stdout()
    return 0
