"""Damages to the files of a journal, and what must hold on each of them.

A `Damage` is a name and a function that damages a copy of the original journal: flipped bits,
noise or zeros in pages and sectors, truncation, a missing log, entries removed, duplicated,
swapped or changed past the triggers, and (in a process with `bad_sectors`) unreadable sectors.

`find_violations` runs `verify` and then a station on the copy, and checks promise P5:

1. If `verify` reports nothing, no entry may differ from the original.
2. The station starts, an EV is charged, and no message stays queued.
3. Every event with an intact entry on the disk reaches the CSMS. "Intact" is decided by reading
   the damaged file and the original with `Salvage` and comparing entry by entry.
4. No rule and no projection fails.
5. If entries are harmed, `verify` or the station reports that. If the station found damage, the
   CSMS receives a TamperDetectionActivated security event.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from journal.codec import Registry
from journal.format.hash_chain import EntryRow
from journal.maintenance.salvage import Salvage
from journal.storage.errors import JournalFailed
from journal.storage.reader import Reader
from station.simulation.world import JOURNAL_FILE
from tests.durability.damage.bad_sectors import SECTOR_BYTES as SECTOR_READ
from tests.durability.damage.bad_sectors import clear_unreadable, mark_unreadable
from tests.durability.damage.worlds import NAMES, Aftermath, Original, has_charged, run_on_damaged

LOG = f"{JOURNAL_FILE}-wal"
PAGE_BYTES = 4096
SECTOR_BYTES = 512
LOST_ENTRIES_MAX = 80  # entries on one page, or on the pages below one interior page

Damage = tuple[str, Callable[[Path], None]]


def generate_damages(original: Original, seed: int) -> Iterator[Damage]:
    """Infinitely many damages; the first hundred have some of each kind."""
    dice = random.Random(seed)
    kinds = (
        _damage_file_bit,
        _damage_log_bit,
        _damage_page,
        _damage_sector,
        _damage_log_sector,
        _truncate_file_damage,
        _truncate_log_damage,
        _damage_rows,
    )
    while True:
        for kind in kinds:
            yield kind(original, dice)
        if dice.random() < 0.3:
            yield "log deleted", lambda directory: (directory / LOG).unlink()


def generate_bad_sectors(original: Original, seed: int) -> Iterator[Damage]:
    """Infinitely many sets of unreadable sectors; needs the environment of `bad_sectors`."""
    dice = random.Random(seed)
    in_file = (original.directory / JOURNAL_FILE).stat().st_size // SECTOR_READ
    in_log = _used_bytes(original.directory / LOG) // SECTOR_READ
    while True:
        name, count = dice.choice([(JOURNAL_FILE, in_file), (LOG, in_log)])
        numbers = dice.sample(range(1, count + 1), min(count, dice.choice([1, 1, 2, 5])))
        if numbers:
            yield (
                f"{name}: sectors {numbers} cannot be read",
                partial(_make_unreadable, name, numbers),
            )


def _damage_file_bit(original: Original, dice: random.Random) -> Damage:
    at, bit = dice.randrange((original.directory / JOURNAL_FILE).stat().st_size), dice.randrange(8)
    return f"file: byte {at}, bit {bit} flipped", partial(_flip_bit, JOURNAL_FILE, at, bit)


def _damage_log_bit(original: Original, dice: random.Random) -> Damage:
    used = _used_bytes(original.directory / LOG)
    at, bit = dice.randrange(max(1, used)), dice.randrange(8)
    return f"log: byte {at}, bit {bit} flipped", partial(_flip_bit, LOG, at, bit)


def _damage_page(original: Original, dice: random.Random) -> Damage:
    size = (original.directory / JOURNAL_FILE).stat().st_size
    at = dice.randrange(size // PAGE_BYTES) * PAGE_BYTES
    noise = dice.choice([bytes(PAGE_BYTES), dice.randbytes(PAGE_BYTES)])
    return f"file: page at {at} is noise", partial(_overwrite_bytes, JOURNAL_FILE, at, noise)


def _damage_sector(original: Original, dice: random.Random) -> Damage:
    size = (original.directory / JOURNAL_FILE).stat().st_size
    at = dice.randrange(size // SECTOR_BYTES) * SECTOR_BYTES
    return f"file: sector at {at} is noise", partial(
        _overwrite_bytes, JOURNAL_FILE, at, dice.randbytes(SECTOR_BYTES)
    )


def _damage_log_sector(original: Original, dice: random.Random) -> Damage:
    size = dice.choice([SECTOR_BYTES, PAGE_BYTES])
    at = dice.randrange(_used_bytes(original.directory / LOG) // size) * size
    noise = dice.choice([bytes(size), dice.randbytes(size)])
    return f"log: {size} bytes at {at} are noise", partial(_overwrite_bytes, LOG, at, noise)


def _truncate_file_damage(original: Original, dice: random.Random) -> Damage:
    size = dice.randrange((original.directory / JOURNAL_FILE).stat().st_size)
    return f"file: cut to {size} bytes", partial(_truncate_file, JOURNAL_FILE, size)


def _truncate_log_damage(original: Original, dice: random.Random) -> Damage:
    size = dice.randrange(_used_bytes(original.directory / LOG) + 1)
    return f"log: cut to {size} bytes", partial(_truncate_file, LOG, size)


def _damage_rows(original: Original, dice: random.Random) -> Damage:
    seq, other_seq = dice.sample(range(1, original.head + 1), 2)
    columns = "at, uptime_ms, kind, version, cause, body, digest"
    next_seq = original.head + 1
    changes = (
        (f"entry {seq} removed", [f"DELETE FROM entry WHERE seq = {seq}"]),
        (
            f"entry {seq} duplicated at the end",
            [f"INSERT INTO entry SELECT {next_seq}, {columns} FROM entry WHERE seq = {seq}"],
        ),
        (
            f"entries {seq} and {other_seq} swapped",
            swap_statements(seq, other_seq),
        ),
        (f"entry {seq} changed", [f"UPDATE entry SET body = '{{}}' WHERE seq = {seq}"]),
    )
    name, statements = dice.choice(changes)
    return name, partial(run_hidden_statements, statements)


def swap_statements(first: int, second: int) -> list[str]:
    return [
        f"UPDATE entry SET seq = -1 WHERE seq = {first}",
        f"UPDATE entry SET seq = {first} WHERE seq = {second}",
        f"UPDATE entry SET seq = {second} WHERE seq = -1",
    ]


def _used_bytes(log: Path) -> int:
    return len(log.read_bytes().rstrip(b"\0"))


def _flip_bit(name: str, at: int, bit: int, directory: Path) -> None:
    data = bytearray((directory / name).read_bytes())
    data[at] ^= 1 << bit
    (directory / name).write_bytes(data)


def _overwrite_bytes(name: str, at: int, noise: bytes, directory: Path) -> None:
    data = bytearray((directory / name).read_bytes())
    data[at : at + len(noise)] = noise
    (directory / name).write_bytes(data)


def _make_unreadable(name: str, numbers: list[int], directory: Path) -> None:
    clear_unreadable()  # the inode number of a deleted file may be reused
    mark_unreadable(directory / name, *numbers)


def _truncate_file(name: str, size: int, directory: Path) -> None:
    (directory / name).write_bytes((directory / name).read_bytes()[:size])


def run_hidden_statements(statements: list[str], directory: Path) -> None:
    """Change the database as an attacker would: around the triggers, which are restored."""
    with closing(sqlite3.connect(directory / JOURNAL_FILE)) as connection:
        triggers = connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
        ).fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        for _, sql in triggers:
            connection.execute(sql)
        connection.commit()


# --- Checks --------------------------------------------------------------------------------------


def find_violations(original: Original, damage: Damage, scratch: Path) -> list[str]:
    """Damage a copy, run a station on it, and return the violations."""
    _, damage_files = damage
    directory = scratch / "damaged"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name in NAMES:
        if (original.directory / name).exists():
            shutil.copyfile(original.directory / name, directory / name)
    damage_files(directory)
    before, left = (
        _intact_rows(original.directory / JOURNAL_FILE),
        _intact_rows(directory / JOURNAL_FILE),
    )
    intact = {seq for seq, row in before.items() if left.get(seq) == row}
    harmed = set(before) - intact
    changes = list(_undetected_changes(before, directory))
    aftermath = run_on_damaged(directory)
    undetected = [] if aftermath.complaints else changes  # only if verify reports nothing
    return [*undetected, *_unmet_requirements(original, harmed, aftermath)]


def _intact_rows(path: Path) -> dict[int, EntryRow]:
    """Entries that are intact, wherever they are in the file or in its log."""
    with Salvage(path) as salvage:
        rows: dict[int, EntryRow] = {}
        for row in salvage.iter_rows():
            rows.setdefault(row.seq, row)
        last = rows[max(rows)] if rows else None
        begin = (last.seq, last.digest) if last is not None else salvage.position_before_first
        return rows | {row.seq: row for row in salvage.iter_hidden_rows(*begin)}


def _undetected_changes(before: dict[int, EntryRow], directory: Path) -> Iterator[str]:
    try:
        with Reader.open(directory / JOURNAL_FILE, Registry(())) as reader:
            rows = {row.seq: row for row in reader.iter_rows()}
    except JournalFailed as failure:
        yield f"verify reports nothing, but: {failure}"
        return
    changed = sorted(seq for seq in rows if seq in before and rows[seq] != before[seq])
    if changed:
        yield f"verify reports nothing, but entries {changed} differ"


def _unmet_requirements(
    original: Original, harmed: set[int], aftermath: Aftermath
) -> Iterator[str]:
    if not has_charged(aftermath):
        yield "no EV was charged"
    if len(aftermath.state.outbox):
        yield f"{len(aftermath.state.outbox)} messages are still queued"
    for seq, transaction_id, seq_no in original.undelivered:
        is_received = seq_no in aftermath.seq_nos_by_transaction.get(transaction_id, ())
        if seq not in harmed and not is_received:
            yield f"entry {seq} is intact: seqNo {seq_no} of {transaction_id} did not arrive"
    if aftermath.state.health.projection_failures or aftermath.state.health.failed_rule:
        yield f"a rule or projection failed: {aftermath.state.health}"
    lost = aftermath.state.health.journal_damages
    if lost and "TamperDetectionActivated" not in aftermath.reported_security_events:
        yield "the CSMS received no security event"
    if harmed and not lost and not aftermath.complaints:
        yield f"entries {sorted(harmed)} are harmed and nothing reports it"
