"""Daily audit of the journal: `station verify` as a process of its own, at the lowest priority.

Each damage it reports that the state does not list yet becomes a JournalDamageFound, so the CSMS
receives a security event.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import trio

from journal.observations import JournalDamageFound
from journal.projections.station_health import StationHealth

log = logging.getLogger("station")

FIRST_DELAY_S: Final = 900.0  # after a start, which is busy enough
AUDIT_INTERVAL_S: Final = 86_400.0
REPORTED_MAX: Final = 5  # damages per audit; more add nothing a person needs
COMPLAINT_LENGTH_MAX: Final = 200  # characters
COMPLAINT_PATTERN: Final = re.compile(r"(?:entry (?P<first>\d+): )?(?P<why>.+)")


class AuditResult(NamedTuple):
    """Result of one audit."""

    at: datetime  # the host's UTC at its end
    ok: bool
    complaints: tuple[str, ...]


def _ignore_result(result: AuditResult) -> None:
    """For a caller that needs only the damages."""


def verify_command(journal: Path) -> list[str]:
    """The command line of `station verify`, at the lowest priority if `nice` is installed."""
    nice = shutil.which("nice")
    prefix = [nice, "-n", "19"] if nice else []
    return [*prefix, sys.executable, "-m", "station", "verify", str(journal)]


async def audit_journal(
    command: Sequence[str],
    observe: Callable[[JournalDamageFound], None],
    health: Callable[[], StationHealth],
    *,
    first_delay_s: float = FIRST_DELAY_S,
    interval_s: float = AUDIT_INTERVAL_S,
    on_result: Callable[[AuditResult], None] = _ignore_result,
) -> None:
    """Run the audit daily until cancelled; report damage that is not reported yet.

    Args:
        command: exits with 1 if there is damage, one line each on stderr.
        observe: receives each damage.
        health: has the damage already reported.
        first_delay_s: before the first audit.
        interval_s: between two audits.
        on_result: receives the result of each audit that could be done.
    """
    await trio.sleep(first_delay_s)
    while True:
        damages = await _run_verify(command)
        if damages is not None:
            complaints = tuple(damage.reason for damage in damages)
            on_result(AuditResult(datetime.now(UTC), not complaints, complaints))
        for damage in damages or ():
            if damage not in health().journal_damages:
                log.error("journal: %s. Run `station verify`.", damage.reason)
                observe(damage)
        await trio.sleep(interval_s)


async def _run_verify(command: Sequence[str]) -> list[JournalDamageFound] | None:
    """The damages; None: the journal could not be verified."""
    result = await trio.run_process(
        list(command),
        stdout=subprocess.DEVNULL,
        capture_stderr=True,
        check=False,
    )
    lines = result.stderr.decode("utf-8", "replace").splitlines()
    if result.returncode == 1:
        return [_parse_complaint(line) for line in lines[:REPORTED_MAX]]
    if result.returncode:
        log.warning(
            "the journal could not be verified, exit code %d: %s. Next try tomorrow.",
            result.returncode,
            " ".join(lines[-1:]),
        )
        return None
    return []


def _parse_complaint(line: str) -> JournalDamageFound:
    match = COMPLAINT_PATTERN.match(line)
    first_seq = int(match["first"]) if match and match["first"] else None
    return JournalDamageFound(line[:COMPLAINT_LENGTH_MAX], first_seq, first_seq)
