"""The options of `station run`, read without click and with it."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import click
import pytest

from station.commands.run import run_command
from station.commands.shared.run_options import RunOptions, read_run_options

CONFIG = ("--config", "station.toml")
PLAIN = [
    [argument for part in order for argument in part]
    for parts in (
        (CONFIG,),
        (CONFIG, ("--quiet",)),
        (CONFIG, ("--until-stdin-closes",)),
        (CONFIG, ("--quiet",), ("--until-stdin-closes",)),
    )
    for order in permutations(parts)
]
LEFT_TO_CLICK = [
    [],
    ["--config"],
    ["--config=station.toml"],
    ["--config", "--quiet"],
    ["--config", "."],
    [*CONFIG, *CONFIG],
    [*CONFIG, "--quiet", "--quiet"],
    [*CONFIG, "--help"],
    [*CONFIG, "more"],
    ["station.toml"],
    ["--quiet"],
]


def options_by_click(arguments: list[str]) -> dict[str, object]:
    return run_command.make_context("run", list(arguments)).params


@pytest.mark.parametrize("arguments", PLAIN, ids=" ".join)
def test_click_reads_the_same_from_a_plain_command_line(arguments: list[str]) -> None:
    options = read_run_options(["run", *arguments])
    assert options is not None
    assert options._asdict() == options_by_click(arguments)


@pytest.mark.parametrize("arguments", LEFT_TO_CLICK, ids=" ".join)
def test_click_reads_every_other_command_line(arguments: list[str]) -> None:
    assert read_run_options(["run", *arguments]) is None


def test_every_option_of_click_is_an_option_of_the_reader() -> None:
    names = [option.name for option in run_command.params if isinstance(option, click.Option)]
    assert sorted(filter(None, names)) == sorted(RunOptions._fields)


def test_another_verb_is_left_to_click() -> None:
    assert read_run_options(["check", *CONFIG]) is None
    assert read_run_options([]) is None
    assert read_run_options(["run", *CONFIG]) == RunOptions(Path("station.toml"))
