"""The station looks at its own journal, and tells what it finds once. P5."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trio

from journal.events import Entry
from journal.observations import JournalDamageFound
from journal.projections.station_health import StationHealth
from station.runtime.disk.auditor import audit_journal, verify_command
from station.simulation.world import JOURNAL_FILE
from tests.durability.damage.worlds import make_original
from tests.support.story import NOON


class DamageCollector:
    """Whoever hears of damage, and remembers."""

    def __init__(self) -> None:
        self.damages: list[JournalDamageFound] = []
        self.condition = StationHealth()

    def observe(self, damage: JournalDamageFound) -> None:
        self.damages.append(damage)
        self.condition = self.condition.apply(Entry(len(self.damages), NOON, 0, damage))

    async def wait_for_damage(self, command: list[str]) -> list[str]:
        """What is told first."""
        with trio.fail_after(90):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.run_audit, command)
                while not self.damages:
                    await trio.sleep(0.05)
                nursery.cancel_scope.cancel()
        return [one.reason for one in self.damages]

    async def run_audit(self, command: list[str]) -> None:
        await audit_journal(
            command, self.observe, lambda: self.condition, first_delay_s=0.01, interval_s=0.05
        )


def printing_command(code: int, *lines: str) -> list[str]:
    text = "\n".join(lines)
    return [sys.executable, "-c", f"import sys; print({text!r}, file=sys.stderr); sys.exit({code})"]


async def test_a_changed_entry_is_told_once(tmp_path: Path) -> None:
    made = await trio.to_thread.run_sync(make_original, tmp_path)
    with closing(sqlite3.connect(made.directory / JOURNAL_FILE)) as connection:
        connection.execute("DROP TRIGGER entry_not_updated")
        connection.execute("UPDATE entry SET body = replace(body, 'Accepted', 'accepted')")
        connection.commit()
    told = DamageCollector()
    assert any(
        "does not match its digest" in one
        for one in await told.wait_for_damage(verify_command(made.directory / JOURNAL_FILE))
    )
    assert any(one.first_seq is not None for one in told.damages)


async def test_what_was_told_is_not_told_again() -> None:
    told = DamageCollector()
    with trio.move_on_after(3):
        await told.run_audit(printing_command(1, "entry 7: missing", "entry 9: missing"))
    assert [(one.reason, one.first_seq) for one in told.damages] == [
        ("entry 7: missing", 7),
        ("entry 9: missing", 9),
    ]


@pytest.mark.parametrize("code", [0, 2])
async def test_a_whole_journal_or_a_look_that_fails_is_no_damage(code: int) -> None:
    told = DamageCollector()
    with trio.move_on_after(2):
        await told.run_audit(printing_command(code, "entry 7: whatever"))
    assert told.damages == []
