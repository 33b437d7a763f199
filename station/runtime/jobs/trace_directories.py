"""Where bus traces are: a directory each, named by UTC and by the entry of its first fault."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

TRACES_DIRECTORY: Final = "traces"  # in the data directory
TRACE_NAME: Final = re.compile(r"(?P<time>\d{8}T\d{6}Z)_(?P<seq>\d{1,19})", re.ASCII)
TIME_FORMAT: Final = "%Y%m%dT%H%M%SZ"


class TraceDirectory(NamedTuple):
    """A trace that is complete."""

    path: Path
    at: datetime
    seq: int


def find_traces(directory: Path) -> list[TraceDirectory]:
    """The traces of a directory, oldest first; none if it does not exist."""
    traces = []
    for path in directory.glob("*"):
        name = TRACE_NAME.fullmatch(path.name)
        if name is None or not path.is_dir():
            continue
        try:
            at = datetime.strptime(name["time"], TIME_FORMAT).replace(tzinfo=UTC)
        except ValueError:  # digits that are no time: not of the station
            continue
        traces.append(TraceDirectory(path, at, int(name["seq"])))
    return sorted(traces, key=lambda trace: trace.seq)
