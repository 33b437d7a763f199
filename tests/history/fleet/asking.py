"""How does an analyst ask, who has the journal and the command line and nothing else?"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from station import cli

_LINE: Final = re.compile(r"^(\d\d:\d\d:\d\d\.\d{3}) +(\d+) (.) (\S+(?: driver)?) +(.*)$")
_DAY: Final = re.compile(r"^(\d{4}-\d\d-\d\d) UTC$")


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def ask(*arguments: object) -> Answer:
    """`station`, within this process."""
    out, err = _stream(), _stream()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.ended([str(each) for each in arguments])
    return Answer(code, _text(out), _text(err))


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n")


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


class Line(NamedTuple):
    """A line of the transcript."""

    at: datetime
    seq: int
    seen: bool
    who: str
    sentence: str


class Analyst:
    """Somebody with a journal."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        told = ask("replay", journal)
        assert told.code == 0, told.err
        self.transcript = list(_read(told.lines))

    def lines(self, pattern: str, since: datetime, until: datetime) -> Iterator[Line]:
        """Lines of a time whose sentence matches from its beginning."""
        for line in self.transcript:
            if since <= line.at <= until and re.match(pattern, line.sentence):
                yield line

    def why(self, what: object) -> Answer:
        """What `station why` says, which it must be able to."""
        told = ask("why", self.journal, what)
        assert told.code == 0, f"why {what}: {told.err}"
        return told


def _read(lines: list[str]) -> Iterator[Line]:
    day = ""
    for text in lines:
        if new := _DAY.match(text):
            day = new[1]
        elif found := _LINE.match(text):
            time, seq, mark, who, sentence = found.groups()
            at = datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=UTC)
            yield Line(at, int(seq), mark == ">", who, sentence)
        else:
            raise AssertionError(f"no line of a transcript: {text}")
