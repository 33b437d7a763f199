"""The commands as an analyst uses them: a journal, the command line, and nothing else."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

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
    """Run the command `station` in this process."""
    out, err = _text_stream(), _text_stream()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        exit_code = cli.run_cli([str(argument) for argument in arguments])
    return CommandResult(exit_code, _stream_text(out), _stream_text(err))


def export_rows(journal: Path, table: str) -> list[dict[str, Any]]:
    """The rows of a table, with exact numbers."""
    result = run_station("export", journal, table, "--format", "jsonl")
    assert result.exit_code == 0, result.stderr
    return [json.loads(line, parse_float=Decimal) for line in result.lines]


def find_unbalanced_meters(journal: Path) -> Iterator[str]:
    """Meters that counted something else than what is billed and what is listed. P11.

    No transaction may be open at the end of the journal.
    """
    registers_wh: dict[int, list[Decimal]] = {}
    for row in export_rows(journal, "meter-values"):
        registers_wh.setdefault(row["evse_id"], []).append(Decimal(row["energy_wh"]))
    energies_wh = Counter[int]()
    for table in ("transactions", "unaccounted"):
        for row in export_rows(journal, table):
            energies_wh[row["evse_id"]] += row["energy_wh"] or 0
    for evse_id, registers in registers_wh.items():
        counted_wh, settled_wh = registers[-1] - registers[0], energies_wh[evse_id]
        if counted_wh != settled_wh:
            yield f"EVSE {evse_id} counted {counted_wh} Wh; {settled_wh} Wh are billed or listed"


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
    """A journal, its transcript, and the answers of `station why`."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        result = run_station("replay", journal)
        assert result.exit_code == 0, result.stderr
        self.transcript = list(_parse_transcript(result.lines))

    def matching_lines(
        self, pattern: str, since: datetime, until: datetime
    ) -> Iterator[TranscriptLine]:
        """Lines of a time range with a sentence that matches from its beginning."""
        for line in self.transcript:
            if since <= line.at <= until and re.match(pattern, line.sentence):
                yield line

    def explain(self, subject: object) -> CommandResult:
        """The answer of `station why`; fails if there is none."""
        result = run_station("why", self.journal, subject)
        assert result.exit_code == 0, f"why {subject}: {result.stderr}"
        return result


def _parse_transcript(lines: list[str]) -> Iterator[TranscriptLine]:
    day = ""
    for text in lines:
        if heading := _DAY.match(text):
            day = heading[1]
        elif match := _LINE.match(text):
            time, seq, mark, source, sentence = match.groups()
            at = datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=UTC)
            yield TranscriptLine(at, int(seq), mark == ">", source, sentence)
        else:
            raise AssertionError(f"not a line of a transcript: {text}")
