"""What can happen to a journal's files, and what must hold afterwards?

Every damage is a name and a function that does it to a copy. `broken` gives what did not hold.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from journal.chain import Row
from journal.codec import Registry
from journal.salvage import Salvage
from journal.store import JournalFailed, Reader
from station.simulation.world import FILE
from tests.damage.bad_sectors import SECTOR_BYTES as SECTOR_READ
from tests.damage.bad_sectors import mended, spoil
from tests.damage.worlds import NAMES, Aftermath, Original, after, charged

LOG = f"{FILE}-wal"
PAGE_BYTES = 4096
SECTOR_BYTES = 512
LOST_MAX = 80  # entries that one page of them can hold, with one that leads to more

Damage = tuple[str, Callable[[Path], None]]


def damages(made: Original, seed: int) -> Iterator[Damage]:
    """Damages without end; the first hundred hold some of each kind."""
    dice = random.Random(seed)
    kinds = (_flips, _flips_in_log, _pages, _tears, _tears_in_log, _cuts, _cuts_of_log, _rows)
    while True:
        for kind in kinds:
            yield kind(made, dice)
        if dice.random() < 0.3:
            yield "log gone", lambda place: (place / LOG).unlink()


def bad_sectors(made: Original, seed: int) -> Iterator[Damage]:
    """Sectors that cannot be read, without end, for a process that can have some."""
    dice = random.Random(seed)
    in_file = (made.directory / FILE).stat().st_size // SECTOR_READ
    in_log = _used(made.directory / LOG) // SECTOR_READ
    while True:
        name, count = dice.choice([(FILE, in_file), (LOG, in_log)])
        numbers = dice.sample(range(1, count + 1), min(count, dice.choice([1, 1, 2, 5])))
        if numbers:
            yield f"{name}: sectors {numbers} cannot be read", partial(_unreadable, name, numbers)


def _flips(made: Original, dice: random.Random) -> Damage:
    at, bit = dice.randrange((made.directory / FILE).stat().st_size), dice.randrange(8)
    return f"file: byte {at}, bit {bit} flipped", partial(_flip, FILE, at, bit)


def _flips_in_log(made: Original, dice: random.Random) -> Damage:
    used = _used(made.directory / LOG)
    at, bit = dice.randrange(max(1, used)), dice.randrange(8)
    return f"log: byte {at}, bit {bit} flipped", partial(_flip, LOG, at, bit)


def _pages(made: Original, dice: random.Random) -> Damage:
    size = (made.directory / FILE).stat().st_size
    at = dice.randrange(size // PAGE_BYTES) * PAGE_BYTES
    noise = dice.choice([bytes(PAGE_BYTES), dice.randbytes(PAGE_BYTES)])
    return f"file: page at {at} is noise", partial(_overwrite, FILE, at, noise)


def _tears(made: Original, dice: random.Random) -> Damage:
    size = (made.directory / FILE).stat().st_size
    at = dice.randrange(size // SECTOR_BYTES) * SECTOR_BYTES
    return f"file: sector at {at} is noise", partial(
        _overwrite, FILE, at, dice.randbytes(SECTOR_BYTES)
    )


def _tears_in_log(made: Original, dice: random.Random) -> Damage:
    size = dice.choice([SECTOR_BYTES, PAGE_BYTES])
    at = dice.randrange(_used(made.directory / LOG) // size) * size
    noise = dice.choice([bytes(size), dice.randbytes(size)])
    return f"log: {size} bytes at {at} are noise", partial(_overwrite, LOG, at, noise)


def _cuts(made: Original, dice: random.Random) -> Damage:
    size = dice.randrange((made.directory / FILE).stat().st_size)
    return f"file: cut to {size} bytes", partial(_cut, FILE, size)


def _cuts_of_log(made: Original, dice: random.Random) -> Damage:
    size = dice.randrange(_used(made.directory / LOG) + 1)
    return f"log: cut to {size} bytes", partial(_cut, LOG, size)


def _rows(made: Original, dice: random.Random) -> Damage:
    one, other = dice.sample(range(1, made.head + 1), 2)
    columns = "at, uptime_ms, kind, version, cause, body, digest"
    more = made.head + 1
    doings = (
        (f"entry {one} removed", [f"DELETE FROM entry WHERE seq = {one}"]),
        (
            f"entry {one} once more at the end",
            [f"INSERT INTO entry SELECT {more}, {columns} FROM entry WHERE seq = {one}"],
        ),
        (
            f"entries {one} and {other} swapped",
            swapping(one, other),
        ),
        (f"entry {one} says something else", [f"UPDATE entry SET body = '{{}}' WHERE seq = {one}"]),
    )
    name, statements = dice.choice(doings)
    return name, partial(mistreat, statements)


def swapping(one: int, other: int) -> list[str]:
    return [
        f"UPDATE entry SET seq = -1 WHERE seq = {one}",
        f"UPDATE entry SET seq = {one} WHERE seq = {other}",
        f"UPDATE entry SET seq = {other} WHERE seq = -1",
    ]


def _used(log: Path) -> int:
    return len(log.read_bytes().rstrip(b"\0"))


def _flip(name: str, at: int, bit: int, place: Path) -> None:
    data = bytearray((place / name).read_bytes())
    data[at] ^= 1 << bit
    (place / name).write_bytes(data)


def _overwrite(name: str, at: int, noise: bytes, place: Path) -> None:
    data = bytearray((place / name).read_bytes())
    data[at : at + len(noise)] = noise
    (place / name).write_bytes(data)


def _unreadable(name: str, numbers: list[int], place: Path) -> None:
    mended()  # what a file that is gone had is no other's
    spoil(place / name, *numbers)


def _cut(name: str, size: int, place: Path) -> None:
    (place / name).write_bytes((place / name).read_bytes()[:size])


def mistreat(statements: list[str], place: Path) -> None:
    """What somebody with a tool would do, and hide."""
    with closing(sqlite3.connect(place / FILE)) as connection:
        guards = connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
        ).fetchall()
        for name, _ in guards:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        for _, guard in guards:
            connection.execute(guard)
        connection.commit()


# --- What must hold ------------------------------------------------------------------------------


def broken(made: Original, damage: Damage, scratch: Path) -> list[str]:
    """Damage a copy, let a station live on it, and say what did not hold."""
    _, do = damage
    place = scratch / "damaged"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name in NAMES:
        if (made.directory / name).exists():
            shutil.copyfile(made.directory / name, place / name)
    do(place)
    before, left = _rows_of(made.directory / FILE), _rows_of(place / FILE)
    same = {seq for seq, row in before.items() if left.get(seq) == row}
    harmed = set(before) - same
    differs = list(_different(before, place))
    aftermath = after(place)
    unsaid = [] if aftermath.complaints else differs  # damage that verify is silent of must be none
    return [*unsaid, *_not_done(made, harmed, aftermath)]


def _rows_of(path: Path) -> dict[int, Row]:
    """Entries that stand whole, wherever they stand."""
    with Salvage(path) as found:
        rows: dict[int, Row] = {}
        for row in found.rows():
            rows.setdefault(row.seq, row)
        last = rows[max(rows)] if rows else None
        begin = (last.seq, last.digest) if last is not None else found.begin
        return rows | {row.seq: row for row in found.rows_behind(*begin)}


def _different(before: dict[int, Row], place: Path) -> Iterator[str]:
    try:
        with Reader.open(place / FILE, Registry(())) as reader:
            rows = {row.seq: row for row in reader.rows()}
    except JournalFailed as failure:
        yield f"verify is silent, but: {failure}"
        return
    changed = sorted(seq for seq in rows if seq in before and rows[seq] != before[seq])
    if changed:
        yield f"verify is silent, but entries {changed} differ"


def _not_done(made: Original, harmed: set[int], aftermath: Aftermath) -> Iterator[str]:
    if not charged(aftermath):
        yield "nobody could charge"
    if len(aftermath.state.outbox):
        yield f"{len(aftermath.state.outbox)} messages still wait"
    for seq, transaction_id, seq_no in made.waits:
        heard = seq_no in aftermath.accounts.get(transaction_id, ())
        if seq not in harmed and not heard:
            yield f"entry {seq} is not harmed: seqNo {seq_no} of {transaction_id} did not arrive"
    if aftermath.state.condition.stumbles or aftermath.state.condition.failed:
        yield f"the judgement stumbled: {aftermath.state.condition}"
    lost = aftermath.state.condition.damages
    if lost and "TamperDetectionActivated" not in aftermath.told:
        yield "the CSMS was not told"
    if harmed and not lost and not aftermath.complaints:
        yield f"entries {sorted(harmed)} are harmed and nobody says so"
