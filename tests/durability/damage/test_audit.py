"""The station verifies its own journal and reports each damage once. P5."""

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
    """Collects the observed damages and their projection."""

    def __init__(self) -> None:
        self.damages: list[JournalDamageFound] = []
        self.health = StationHealth()

    def observe(self, damage: JournalDamageFound) -> None:
        self.damages.append(damage)
        self.health = self.health.apply(Entry(len(self.damages), NOON, 0, damage))

    async def wait_for_damage(self, command: list[str]) -> list[str]:
        """The reasons of the first damages observed."""
        with trio.fail_after(90):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.run_audit, command)
                while not self.damages:
                    await trio.sleep(0.05)
                nursery.cancel_scope.cancel()
        return [damage.reason for damage in self.damages]

    async def run_audit(self, command: list[str]) -> None:
        await audit_journal(
            command, self.observe, lambda: self.health, first_delay_s=0.01, interval_s=0.05
        )


def printing_command(code: int, *lines: str) -> list[str]:
    text = "\n".join(lines)
    return [sys.executable, "-c", f"import sys; print({text!r}, file=sys.stderr); sys.exit({code})"]


async def test_a_changed_entry_is_reported(tmp_path: Path) -> None:
    original = await trio.to_thread.run_sync(make_original, tmp_path)
    with closing(sqlite3.connect(original.directory / JOURNAL_FILE)) as connection:
        connection.execute("DROP TRIGGER entry_not_updated")
        connection.execute("UPDATE entry SET body = replace(body, 'Accepted', 'accepted')")
        connection.commit()
    collector = DamageCollector()
    assert any(
        "does not match its digest" in reason
        for reason in await collector.wait_for_damage(
            verify_command(original.directory / JOURNAL_FILE)
        )
    )
    assert any(damage.first_seq is not None for damage in collector.damages)


async def test_a_damage_is_reported_once() -> None:
    collector = DamageCollector()
    with trio.move_on_after(3):
        await collector.run_audit(printing_command(1, "entry 7: missing", "entry 9: missing"))
    assert [(damage.reason, damage.first_seq) for damage in collector.damages] == [
        ("entry 7: missing", 7),
        ("entry 9: missing", 9),
    ]


@pytest.mark.parametrize("code", [0, 2])
async def test_an_intact_journal_or_a_failed_audit_is_no_damage(code: int) -> None:
    collector = DamageCollector()
    with trio.move_on_after(2):
        await collector.run_audit(printing_command(code, "entry 7: any text"))
    assert collector.damages == []
