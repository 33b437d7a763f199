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


class CommandResult(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()


def run_station(*arguments: object) -> CommandResult:
    """`station`, within this process."""
    out, err = _text_stream(), _text_stream()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run_cli([str(each) for each in arguments])
    return CommandResult(code, _stream_text(out), _stream_text(err))


def _text_stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n")


def _stream_text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


class TranscriptLine(NamedTuple):
    """A line of the transcript."""

    at: datetime
    seq: int
    is_observation: bool
    source: str
    sentence: str


class Analyst:
    """Somebody with a journal."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        told = run_station("replay", journal)
        assert told.exit_code == 0, told.stderr
        self.transcript = list(_parse_transcript(told.lines))

    def matching_lines(
        self, pattern: str, since: datetime, until: datetime
    ) -> Iterator[TranscriptLine]:
        """Lines of a time whose sentence matches from its beginning."""
        for line in self.transcript:
            if since <= line.at <= until and re.match(pattern, line.sentence):
                yield line

    def explain(self, subject: object) -> CommandResult:
        """What `station why` says, which it must be able to."""
        told = run_station("why", self.journal, subject)
        assert told.exit_code == 0, f"why {subject}: {told.stderr}"
        return told


def _parse_transcript(lines: list[str]) -> Iterator[TranscriptLine]:
    day = ""
    for text in lines:
        if new := _DAY.match(text):
            day = new[1]
        elif found := _LINE.match(text):
            time, seq, mark, who, sentence = found.groups()
            at = datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=UTC)
            yield TranscriptLine(at, int(seq), mark == ">", who, sentence)
        else:
            raise AssertionError(f"no line of a transcript: {text}")
