"""Exit codes, one-line errors and shell completion of the command line."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from station import RELEASE, cli
from station.cli import VERBS
from station.commands.shared.verb_group import VerbGroup
from station.config.station_toml import ConfigError
from tests.commands.fixtures_journals import StationCommand


def imported_verbs(importtime: str) -> list[str]:
    """The modules of verbs in the output of `python -X importtime`."""
    modules = {where.partition(":")[0] for where, _ in VERBS.values()}
    return sorted(module for module in modules if module in importtime)


def test_every_verb_is_there_and_has_help(run_station: StationCommand) -> None:
    for verb in VERBS:
        helped = run_station(verb, "--help")
        assert helped.exit_code == 0, helped
        assert verb in helped.stdout


def test_help_names_every_verb_without_importing_any() -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "station", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(verb in result.stdout for verb in VERBS)
    assert not imported_verbs(result.stderr)
    assert "trio" not in result.stderr


def test_version(run_station: StationCommand) -> None:
    assert run_station("--version").stdout == f"ocpp-station {RELEASE}\n"


@pytest.mark.parametrize("typed", [(), ("sim",)], ids=repr)
def test_no_arguments_show_the_help_and_are_a_usage_error(
    run_station: StationCommand, typed: tuple[str, ...]
) -> None:
    result = run_station(*typed)
    assert result.exit_code == 2
    assert " ".join(["Usage: station", *typed, "[OPTIONS]"]) in result.stdout


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (("fly",), "station: No such command 'fly'. See `station --help`."),
        (
            ("verify",),
            "station verify: Missing argument 'JOURNAL|EXPORT'. See `station verify --help`.",
        ),
        (
            ("replay", "x", "--xyz"),
            "station replay: No such option '--xyz'. See `station replay --help`.",
        ),
        (
            ("sim", "link", "sideways"),
            "station sim link: Invalid value for '{up|closed|silent}': 'sideways' is not one of "
            "'up', 'closed', 'silent'. See `station sim link --help`.",
        ),
    ],
)
def test_a_usage_error_is_one_line_and_2(
    run_station: StationCommand, typed: tuple[str, ...], message: str
) -> None:
    wrong = run_station(*typed)
    assert (wrong.exit_code, wrong.stdout, wrong.stderr) == (2, "", message + "\n")


def test_a_bad_station_toml_is_one_line_and_2(run_station: StationCommand, tmp_path: Path) -> None:
    config = tmp_path / "station.toml"
    config.write_text("[station]\nidentiti = 'CS001'\n")
    wrong = run_station("run", "--config", config)
    assert wrong.exit_code == 2
    assert wrong.stderr.count("\n") == 1
    assert "identiti" in wrong.stderr


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (ConfigError("station.toml: no"), 2),
        (ExceptionGroup("tasks", [ExceptionGroup("more", [ConfigError("station.toml: no")])]), 2),
        (KeyboardInterrupt(), 130),
        (BaseExceptionGroup("tasks", [KeyboardInterrupt()]), 130),
    ],
    ids=repr,
)
def test_expected_failures_have_no_traceback(
    run_station: StationCommand, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int
) -> None:
    _make_verify_raise(monkeypatch, raised)
    result = run_station("verify")
    assert result.exit_code == code
    assert result.stderr == ("station.toml: no\n" if code == 2 else "")


def test_a_bug_is_not_hidden(run_station: StationCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    _make_verify_raise(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        run_station("verify")


def _make_verify_raise(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `verify` raise this error."""

    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(VerbGroup, "get_command", lambda *_: command)


def test_a_closed_stdout_is_no_error(journal: Path) -> None:
    """`station replay JOURNAL | head -1`."""
    replay = subprocess.Popen(
        [sys.executable, "-m", "station", "replay", str(journal)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert replay.stdout is not None
    assert replay.stderr is not None
    replay.stdout.close()
    with replay.stderr as errors:
        assert errors.read() == b""
    assert replay.wait() == 0


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_no_error(journal: Path, closed: str) -> None:
    command = f"{sys.executable} -m station verify {journal} {closed}"
    result = subprocess.run(["sh", "-c", command], capture_output=True, check=False, timeout=30)
    assert (result.returncode, result.stderr) == (0, b"")


def test_a_closed_stdout_is_not_the_number_of_the_next_file() -> None:
    """What a child process prints would go into that file."""
    program = (
        "import os, sys; from station.cli import open_standard_streams; open_standard_streams();"
        "sys.stderr.write(f'{os.open(os.devnull, os.O_RDONLY)} {os.get_inheritable(1)}')"
    )
    result = subprocess.run(
        ["sh", "-c", f'{sys.executable} -c "{program}" >&- <&-'],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=30,
    )
    assert result.stderr == "3 True"


@pytest.mark.parametrize(
    "typed",
    ["why 20", "diff 3 20", "replay --state", "outbox list", "export events", "verify --redecide"],
)
def test_a_terminal_shows_progress(
    run_station: StationCommand, journal: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    verb, *more = typed.split()
    monkeypatch.setattr("station.commands.shared.journal_argument.PROGRESS_INTERVAL_ENTRIES", 1)
    assert "%" not in run_station(verb, journal, *more).stderr
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert "100%" in run_station(verb, journal, *more).stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
@pytest.mark.parametrize(
    "typed",
    ["replay", "replay --state", "export events", "report", "why 20", "diff 3 20", "verify"],
)
def test_output_to_a_full_disk_is_one_line(journal: Path, typed: str) -> None:
    verb, *more = typed.split()
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [sys.executable, "-m", "station", verb, journal, *more],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (result.returncode, result.stderr) == (
        1,
        "stdout: No space left on device. The output is incomplete.\n",
    )


@pytest.mark.parametrize(("module", "name", "code"), cli.EXPECTED_ERRORS)
def test_each_expected_failure_exists(module: str, name: str, code: int) -> None:
    error = getattr(__import__(module, fromlist=[name]), name)
    assert issubclass(error, Exception)
    assert code in (1, 2)


# --- Shell completion ----------------------------------------------------------------------------


def complete_in_bash(*words: str) -> list[str]:
    """What bash offers for the last word, with the script that `station` prints."""
    line = " ".join(shlex.quote(word) for word in words)
    script = (
        'eval "$(_STATION_COMPLETE=bash_source station)"\n'
        f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}\n"
        '_station_completion station "" ""\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    completed = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return completed.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("station", "rep"), ["replay", "report"]),
        (("station", "replay", "--fo"), ["--follow"]),
        (("station", "sim", "p"), ["plug-in", "present-token"]),
        (("station", "sim", "plug-in", "--max-p"), ["--max-power-w"]),
        (("station", "export", "journal.db", "me"), ["meter-values", "messages"]),
        (("station", "--v"), ["--version"]),
        (("station", "fly"), []),
    ],
    ids=lambda value: "-".join(value),
)
def test_bash_completes_verbs_options_and_values(
    words: tuple[str, ...], offered: list[str]
) -> None:
    assert sorted(complete_in_bash(*words)) == sorted(offered)


def test_verbs_are_completed_without_importing_any() -> None:
    completed = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "station"],
        env={**os.environ, "_STATION_COMPLETE": "bash_complete", "COMP_WORDS": "station ",
             "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    assert completed.stdout.split() == [f"plain,{verb}" for verb in VERBS]
    assert not imported_verbs(completed.stderr)


# --- Signals of children -------------------------------------------------------------------------


@pytest.mark.slow
def test_the_suite_passes_with_sigint_ignored() -> None:
    """As in a background job of a shell without job control; `tests/conftest.py` resets it."""
    tests = "tests/commands/test_replay.py"
    result = subprocess.run(
        ["sh", "-c", f"trap '' INT; exec {sys.executable} -m pytest -q -n 0 -p no:cacheprovider "
                     f"{tests} -k follow"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout


def test_an_error_that_quotes_a_text_controls_no_terminal(run_station: StationCommand) -> None:
    result = run_station("replay", "\x1b[2K\u202ejournal.db")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "\\x1b[2K\\u202ejournal.db: no such file" in result.stderr
