"""How does the command line end, whatever is typed?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from station import RELEASE, cli
from station.cli import VERBS
from station.config import ConfigError
from tests.commands.journals import Command


def test_every_verb_is_there_and_has_help(station: Command) -> None:
    for verb in VERBS:
        helped = station(verb, "--help")
        assert helped.code == 0, helped
        assert verb in helped.out


def test_help_names_every_verb_without_importing_any() -> None:
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "station", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(verb in told.stdout for verb in VERBS)
    assert "station.commands" not in told.stderr
    assert "trio" not in told.stderr


def test_version(station: Command) -> None:
    assert station("--version").out == f"ocpp-station {RELEASE}\n"


@pytest.mark.parametrize("typed", [(), ("sim",)], ids=repr)
def test_nothing_typed_shows_the_help_and_is_a_usage_error(
    station: Command, typed: tuple[str, ...]
) -> None:
    shown = station(*typed)
    assert shown.code == 2
    assert " ".join(["Usage: station", *typed, "[OPTIONS]"]) in shown.out


@pytest.mark.parametrize(
    ("typed", "said"),
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
    station: Command, typed: tuple[str, ...], said: str
) -> None:
    wrong = station(*typed)
    assert (wrong.code, wrong.out, wrong.err) == (2, "", said + "\n")


def test_a_bad_station_toml_is_one_line_and_2(station: Command, tmp_path: Path) -> None:
    config = tmp_path / "station.toml"
    config.write_text("[station]\nidentiti = 'CS001'\n")
    wrong = station("run", "--config", config)
    assert wrong.code == 2
    assert wrong.err.count("\n") == 1
    assert "identiti" in wrong.err


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
    station: Command, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int
) -> None:
    _breaking(monkeypatch, raised)
    ended = station("verify")
    assert ended.code == code
    assert ended.err == ("station.toml: no\n" if code == 2 else "")


def test_a_bug_is_not_hidden(station: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    _breaking(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        station("verify")


def _breaking(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `verify` end with this."""

    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(cli.Verbs, "get_command", lambda *_: command)


def test_whoever_stops_reading_gets_no_complaint(journal: Path) -> None:
    """`station replay JOURNAL | head -1`."""
    replay = subprocess.Popen(
        [sys.executable, "-m", "station", "replay", str(journal)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert replay.stdout is not None
    assert replay.stderr is not None
    replay.stdout.close()
    with replay.stderr as said:
        assert said.read() == b""
    assert replay.wait() == 0


@pytest.mark.parametrize(
    "typed",
    ["why 20", "diff 3 20", "replay --state", "outbox list", "export events", "verify --redecide"],
)
def test_a_person_at_a_terminal_sees_how_far_it_is(
    station: Command, journal: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    verb, *more = typed.split()
    monkeypatch.setattr("station.commands.journals.ADVANCE_EVERY", 1)
    assert "%" not in station(verb, journal, *more).err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert "100%" in station(verb, journal, *more).err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
@pytest.mark.parametrize(
    "typed",
    ["replay", "replay --state", "export events", "report", "why 20", "diff 3 20", "verify"],
)
def test_output_that_finds_no_room_is_one_line(journal: Path, typed: str) -> None:
    verb, *more = typed.split()
    with Path("/dev/full").open("wb") as full:
        told = subprocess.run(
            [sys.executable, "-m", "station", verb, journal, *more],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (told.returncode, told.stderr) == (
        1,
        "No space left on device: what was to be written is not complete.\n",
    )


@pytest.mark.parametrize(("module", "name", "code"), cli.EXPECTED)
def test_each_expected_failure_exists(module: str, name: str, code: int) -> None:
    found = getattr(__import__(module, fromlist=[name]), name)
    assert issubclass(found, Exception)
    assert code in (1, 2)
