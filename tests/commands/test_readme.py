"""Every verb and every option is documented in station/commands/README.md, and only those."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from station.cli import VERBS, build_group

README = Path(__file__).parents[2] / "station" / "commands" / "README.md"
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
OPTIONS_OF_CLICK = {"--help"}


def sections() -> dict[str, str]:
    """The text of each verb, by the heading `### station VERB`."""
    parts = re.split(r"^#{2,3} (.*)$", README.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    titles, texts = parts[::2], parts[1::2]
    return {
        title.removeprefix("station "): text
        for title, text in zip(titles, texts, strict=True)
        if title.startswith("station ")
    }


def command_of(verb: str) -> click.Command:
    group = build_group()
    command = group.get_command(click.Context(group), verb)
    assert command is not None
    return command


def options_of(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            yield from (
                name
                for name in (*parameter.opts, *parameter.secondary_opts)
                if name.startswith("--")
            )
    if isinstance(command, click.Group):
        for subcommand in command.commands.values():
            yield from options_of(subcommand)


def table_options(text: str) -> set[str]:
    """The options in the first cells of the tables."""
    cells = re.findall(r"^\| ((?:[^|\\]|\\.)*) \|", text, re.MULTILINE)
    return set(OPTION.findall(" ".join(cells)))


def test_every_verb_has_one_section_and_no_other_is_documented() -> None:
    assert sorted(sections()) == sorted(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_the_tables_of_a_verb_have_its_options_and_no_others(verb: str) -> None:
    assert table_options(sections()[verb]) == set(options_of(command_of(verb)))


def test_every_verb_of_sim_is_in_its_table() -> None:
    group = command_of("sim")
    assert isinstance(group, click.Group)
    verbs = re.findall(r"`([a-z]+(?:-[a-z]+)*)(?: [^`]*)?`", sections()["sim"])
    assert set(group.commands) <= set(verbs)


def test_every_option_in_the_text_exists() -> None:
    known = {option for verb in VERBS for option in options_of(command_of(verb))}
    known |= set(options_of_group()) | OPTIONS_OF_CLICK
    assert set(OPTION.findall(README.read_text(encoding="utf-8"))) <= known


def options_of_group() -> Iterator[str]:
    for parameter in build_group().params:
        yield from parameter.opts


def test_options_are_in_tables_of_this_page_only() -> None:
    root = README.parents[2]
    pages = [
        page
        for folder in ("station", "journal", "drivers", "migrations", "tests")
        for page in (root / folder).rglob("*.md")
        if page != README
    ]
    assert [page for page in pages if re.search(r"^\| `--", page.read_text(), re.MULTILINE)] == []
