"""Is the journal still what the station wrote, today?

`station verify` runs beside the station as a process of its own, at the lowest priority, now and
then. What it complains of is told like any other damage: the CSMS and the operator hear of it.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import trio

from journal.observations import JournalDamageFound
from journal.projections.station_health import StationHealth

log = logging.getLogger("station")

FIRST_DELAY_S: Final = 900.0  # after a start, which has enough to do
AUDIT_INTERVAL_S: Final = 86_400.0
REPORTED_MAX: Final = 5  # complaints of one look: more say no more
COMPLAINT_LENGTH_MAX: Final = 200
COMPLAINT_PATTERN: Final = re.compile(r"(?:entry (?P<first>\d+): )?(?P<why>.+)")


def verify_command(journal: Path) -> list[str]:
    """The command that looks."""
    nice = shutil.which("nice")
    gently = [nice, "-n", "19"] if nice else []
    return [*gently, sys.executable, "-m", "station", "verify", str(journal)]


async def audit_journal(
    command: Sequence[str],
    observe: Callable[[JournalDamageFound], None],
    health: Callable[[], StationHealth],
    *,
    first_delay_s: float = FIRST_DELAY_S,
    interval_s: float = AUDIT_INTERVAL_S,
) -> None:
    """Look, for ever, and tell what nobody has told yet.

    Args:
        command: ends with 1 and says on stderr, line by line, what is wrong.
        observe: hears of damage.
        condition: what is known.
        first_s: until the first look.
        every_s: between two.
    """
    await trio.sleep(first_delay_s)
    while True:
        for damage in await _run_verify(command):
            if damage not in health().journal_damages:
                log.error("journal: %s. Run `station verify`.", damage.reason)
                observe(damage)
        await trio.sleep(interval_s)


async def _run_verify(command: Sequence[str]) -> list[JournalDamageFound]:
    done = await trio.run_process(
        list(command),
        stdout=subprocess.DEVNULL,
        capture_stderr=True,
        check=False,
    )
    said = done.stderr.decode("utf-8", "replace").splitlines()
    if done.returncode not in (0, 1):
        log.warning("the journal is not verified: %s", " ".join(said[-1:]))
    return [_parse_complaint(line) for line in said[:REPORTED_MAX]] if done.returncode == 1 else []


def _parse_complaint(line: str) -> JournalDamageFound:
    found = COMPLAINT_PATTERN.match(line)
    first = int(found["first"]) if found and found["first"] else None
    return JournalDamageFound(line[:COMPLAINT_LENGTH_MAX], first, first)
