"""Is the journal what the station wrote, from the first entry to the last?

Finds every changed, removed, inserted or swapped entry, and says at which number. A tail that was
cut off shows in no chain: for that give the head somebody outside has seen. Nothing is written.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from journal.archive import Archive
from journal.chain import FORMAT, ROW_TYPES, Row, digest_of, origin
from journal.codec import Registry
from journal.log import lost_commits
from journal.reader import UNREADABLE, Damage, JournalFailed, Reader
from journal.segments import Block, Hole
from journal.store import MIGRATION_SET, MIGRATIONS
from journal.tokens import TokenRow, folded, ref_of

Witness = tuple[int, bytes]  # seq and digest of an entry, as seen outside

_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_DIGEST_BYTES = 32
_SCHEMA = "SELECT name, type, tbl_name, sql FROM sqlite_schema"


class Complaint(NamedTuple):
    """One thing that is wrong."""

    entry: int | None  # the first damaged or missing number; None: not about an entry
    text: str

    def __str__(self) -> str:
        return self.text if self.entry is None else f"entry {self.entry}: {self.text}"


def witness_of(text: str) -> Witness:
    """Read SEQ:DIGEST, the digest in hex.

    Raises:
        ValueError: it is not of that form.
    """
    seq, _, digest = text.partition(":")
    if not re.fullmatch(r"\d+:[0-9a-fA-F]{64}", text, re.ASCII):
        raise ValueError(f"a head is SEQ:DIGEST with 64 hex digits, not {text!r}")
    return int(seq), bytes.fromhex(digest)


def verify(path: Path, head: Witness | None = None) -> Iterator[Complaint]:
    """Say what is wrong with the journal at `path`; nothing, if it is as it was written.

    Args:
        path: a journal in use, a closed one, or a copy with its `-wal` beside it.
        head: number and digest of an entry as seen outside.
    """
    try:
        with Reader.open(path, Registry(())) as journal:
            yield from _Verification(path, journal, head).complaints()
    except (JournalFailed, *UNREADABLE) as error:
        yield Complaint(None, _one_line(str(error) or f"{path}: unreadable"))


class _Verification:
    """One walk over one file."""

    def __init__(self, path: Path, journal: Reader, head: Witness | None) -> None:
        self._path = path
        self._journal = journal
        self._witness = head
        self._damage: list[Damage] = []
        self._first = 1  # the number the file should begin with
        self._journal_id = ""
        self._next = 1  # the number that should come
        self._links: tuple[bytes, ...] = ()  # what the digest before may be; none: unknown
        self._uptime_ms = 0
        self._seen = False  # of the witness
        self._told = False  # a complaint that names an entry

    def complaints(self) -> Iterator[Complaint]:
        """Everything there is to say, entries first."""
        if not self._journal.connection.execute(_SCHEMA).fetchall():
            yield Complaint(None, "no entries")
            return
        for complaint in self._about_content():
            self._told |= complaint.entry is not None
            yield complaint
        yield from self._about_pages()

    def _about_content(self) -> Iterator[Complaint]:
        yield from self._about_schema()
        yield from self._about_name()
        yield from self._about_entries()
        yield from self._about_head()
        yield from self._about_log()
        yield from self._about_tokens()

    def _about_schema(self) -> Iterator[Complaint]:
        done, unknown = self._migrations()
        if unknown:
            yield Complaint(None, f"{self._path}: migration {unknown[0]} is of no known release")
        expected = _schema_after(done)
        found = {
            row[0]: row
            for row in self._journal.connection.execute(_SCHEMA)
            if "_sqlite_migrations" not in str(row[0]) and row[3] is not None
        }
        for name in sorted(expected.keys() | found.keys(), key=str):
            _, type, table, _ = expected.get(name) or found[name]
            if name not in found:
                yield Complaint(None, f"{type} {name} of {table} is missing")
            elif name not in expected:
                yield Complaint(None, f"{type} {name} of {table} is not the station's")
            elif found[name] != expected[name]:
                yield Complaint(None, f"{type} {name} of {table} was altered")

    def _migrations(self) -> tuple[list[str], list[str]]:
        """The scripts that made this file, and what else it says it went through."""
        known = _scripts()
        try:
            found = [
                str(name)
                for (name,) in self._journal.connection.execute(
                    "SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY name",
                    (MIGRATION_SET,),
                )
            ]
        except UNREADABLE as error:
            return list(known.values()), [f"(unreadable: {error})"]
        return [script for name, script in known.items() if name in found], [
            name for name in found if name not in known
        ]

    def _about_name(self) -> Iterator[Complaint]:
        """The journal's id and format begin the chain; the anchor stands for what was archived."""
        try:
            named = self._journal.connection.execute("SELECT format, journal_id FROM meta")
            [(format, journal_id)] = named.fetchall()
            UUID(journal_id)
            self._links, self._journal_id = (origin(journal_id),), journal_id
        except UNREADABLE as error:
            yield Complaint(None, f"meta: {_one_line(str(error))}")
        except (ValueError, TypeError, AttributeError):
            yield Complaint(None, "meta: the journal's name is gone or was changed")
        else:
            if format != FORMAT:
                yield Complaint(None, f"meta: format {format}; this release knows {FORMAT}")
        try:
            anchors = self._journal.connection.execute("SELECT * FROM anchor").fetchall()
        except UNREADABLE as error:
            yield Complaint(None, f"anchor: {_one_line(str(error))}")
            self._links = ()
            return
        if not anchors:
            yield from self._about_no_anchor()
        else:
            seq, digest, begun = max(anchors)
            if len(anchors) > 1 or begun not in self._links or not isinstance(digest, bytes):
                yield Complaint(None, "anchor: was changed, or is another journal's")
            yield from self._about_archive(seq)
            if self._links and digest not in self._links:
                yield Complaint(None, "anchor: is not the end of the archive")
            elif not self._links and self._seen_by_witness(seq, digest):
                yield Complaint(None, "anchor: was changed, or is another journal's")
            self._first = self._next = seq + 1
            if digest not in self._links:
                self._links = (digest,) if isinstance(digest, bytes) else ()

    def _about_no_anchor(self) -> Iterator[Complaint]:
        """Nothing has left the file, says the file; the archive may have what it lacks."""
        try:
            if not Archive(self._path, self._journal_id).last():
                return
            (first,) = self._journal.connection.execute("SELECT min(seq) FROM entry").fetchone()
        except (OSError, *UNREADABLE):
            return  # told with the entries
        if (first or 1) > 1:
            yield Complaint(None, f"anchor: missing, though the entries begin with {first}")

    # --- The archive -----------------------------------------------------------------------------

    def _about_archive(self, last: int) -> Iterator[Complaint]:
        """Entries 1 to `last`, which have left the file."""
        archive = Archive(self._path, self._journal_id)
        try:
            for found in archive.blocks(1, last):
                if isinstance(found, Hole):
                    yield from self._about_missing(found.first)
                    yield Complaint(found.first, f"{found.why} (to {found.last})")
                    self._next, self._links = found.last + 1, ()
                else:
                    yield from self._about_missing(found.link.seq + 1)
                    yield from self._about_block(found, last)
        except OSError as error:
            yield Complaint(self._next, f"the archive cannot be read: {error.strerror}")
            self._next, self._links = last + 1, ()
        yield from self._about_missing(last + 1)

    def _about_missing(self, seq: int) -> Iterator[Complaint]:
        """Archived entries before `seq` that no segment here has."""
        if self._next < seq:
            why = f"the segment with entry {self._next} is missing (to {seq - 1})"
            yield Complaint(self._next, why)
            self._next, self._links = seq, ()

    def _about_block(self, block: Block, last: int) -> Iterator[Complaint]:
        """A block by itself, for it begins with what it follows."""
        before = bytes.fromhex(block.link.digest)
        if block.link.seq + 1 == self._next and before not in self._links:
            if self._links:
                yield Complaint(block.first, "does not follow the entry before, in the archive")
            else:
                self._uptime_ms = 0  # what it was before is not known
            self._links = (before,)
        for row in block.rows():
            if not self._next <= row.seq <= last:
                continue  # two segments may hold it
            yield from self._about_gap(row.seq)
            yield from self._about_row(row)
            if len(row.digest) != _DIGEST_BYTES:  # changed; the rest follows from what it was
                self._next, self._links = min(last, block.last) + 1, ()
                return

    # --- The file --------------------------------------------------------------------------------

    def _about_entries(self) -> Iterator[Complaint]:
        for row in self._journal.rows(self._first, damaged=self._damage.append):
            yield from self._about_gap(row.seq)
            yield from self._about_row(row)
        if self._damage:
            why = _one_line(self._damage[0].why)
            yield Complaint(self._next, f"{why}; nothing behind it can be read")
        if self._next == self._first == 1 and not self._damage:
            yield Complaint(None, "no entries")

    def _about_gap(self, seq: int) -> Iterator[Complaint]:
        """Entries that should stand before `seq` and do not: unreadable or missing."""
        if seq < self._next:
            yield Complaint(seq, f"stands behind number {self._next - 1}")
        if seq <= self._next:
            return
        first, last = self._next, seq - 1
        why = next((each.why for each in self._damage if first <= each.seq <= last), "missing")
        self._damage.clear()  # all of it lies before `seq`, which could be read
        span = "" if first == last else f" (to {last})"
        yield Complaint(first, f"{_one_line(why)}{span}")
        self._next, self._links = seq, ()

    def _about_row(self, row: Row) -> Iterator[Complaint]:
        self._next = max(self._next, row.seq + 1)
        if not all(isinstance(value, type) for value, type in zip(row, ROW_TYPES, strict=True)):
            self._links = (row.digest,) if isinstance(row.digest, bytes) else ()
            yield Complaint(row.seq, "a column has another type than it was written with")
            return
        wrong = self._wrong(row)
        made = [digest_of(link, *row[:-1]) for link in self._links]
        if made and row.digest not in made:
            yield Complaint(row.seq, "does not match its digest")
            self._links = (row.digest, *made)  # either may have been the true one
        else:
            self._links = (row.digest,)
            if wrong:
                yield Complaint(row.seq, wrong)
        self._uptime_ms = row.uptime_ms
        if self._seen_by_witness(row.seq, row.digest):
            yield Complaint(row.seq, "is not the entry that was seen outside")

    def _wrong(self, row: Row) -> str | None:
        """What no station writes, even where the digest fits."""
        if not _AT.fullmatch(row.at) or not row.kind.isidentifier():
            return "has no readable time or kind"
        if row.cause is not None and not 1 <= row.cause < row.seq:
            return f"names entry {row.cause} as its cause"
        if row.cause is not None and row.uptime_ms < self._uptime_ms and self._links:
            return f"uptime {row.uptime_ms} ms is before its cause's {self._uptime_ms} ms"
        if row.uptime_ms < 0 or row.version < 1:
            return f"uptime {row.uptime_ms} ms, version {row.version}"
        return None

    def _seen_by_witness(self, seq: int, digest: bytes) -> bool:
        """Whether the witness saw this number, and something else there."""
        if self._witness is None or self._witness[0] != seq:
            return False
        self._seen = True
        return self._witness[1] != digest

    def _about_head(self) -> Iterator[Complaint]:
        if self._witness is None or self._seen:
            return
        seq = self._witness[0]
        if seq >= self._next:
            yield Complaint(self._next, f"missing: entry {seq} was seen outside")
        elif seq < self._first:
            yield Complaint(None, f"entry {seq} is archived, and not to be compared from here")

    def _about_log(self) -> Iterator[Complaint]:
        lost = lost_commits(self._path)
        if lost:
            yield Complaint(self._next, f"missing: {lost}")

    def _about_tokens(self) -> Iterator[Complaint]:
        query = "SELECT ref, type, value, folded, salt FROM id_token ORDER BY rowid"
        try:
            for row in self._journal.connection.execute(query):
                token = TokenRow._make(row)
                if not (_consistent(token) or _erased_aside(token)):
                    yield Complaint(
                        self._first_use(token), f"{token.ref}: the value is not the one referred to"
                    )
        except UNREADABLE as error:
            yield Complaint(None, f"id_token: {_one_line(str(error))}")

    def _first_use(self, token: TokenRow) -> int | None:
        refs = {str(token.ref)}
        if isinstance(token.value, str) and isinstance(token.salt, bytes):
            refs.add(ref_of(str(token.type), token.value, token.salt))
        for row in self._journal.rows(damaged=lambda _: None):  # told already
            if any(ref in str(row.body) for ref in refs):
                return row.seq
        return None

    def _about_pages(self) -> Iterator[Complaint]:
        """What SQLite finds wrong with its structure: an entry may be there and not be found."""
        try:
            found = self._journal.connection.execute("PRAGMA integrity_check").fetchall()
        except UNREADABLE as error:
            found = [(str(error),)]
        wrong = [_one_line(str(text)) for (text,) in found if text != "ok"]
        if wrong:
            seq = None if self._told else self._first_not_found()
            yield Complaint(seq, f"{self._path}: {wrong[0]}")

    def _first_not_found(self) -> int | None:
        for seq in range(self._first, self._next):
            try:
                if not list(self._journal.rows(seq, seq)):
                    return seq
            except JournalFailed:
                return seq
        return None


def _consistent(token: TokenRow) -> bool:
    if list(map(type, token)) != [str, str, str, str, bytes]:
        return False
    return (
        token.ref == ref_of(token.type, token.value, token.salt)
        and folded(token.type, token.value) == token.folded
    )


def _erased_aside(token: TokenRow) -> bool:
    """Somebody was forgotten in a journal that had been set aside."""
    return not (any(token.salt) or str(token.value).strip("\0") or str(token.folded).strip("\0"))


@cache
def _scripts() -> dict[str, str]:
    """This release's migrations, in order: name to SQL."""
    steps = sorted(MIGRATIONS.glob("[0-9]*.sql"))
    return {step.stem: step.read_text(encoding="utf-8") for step in steps}


def _schema_after(scripts: list[str]) -> dict[str, tuple[str, str, str, str]]:
    """The schema as this release's migrations make it, by name."""
    connection = sqlite3.connect(":memory:")
    try:
        for script in scripts:
            connection.executescript(script)
        found = connection.execute(f"{_SCHEMA} WHERE sql IS NOT NULL").fetchall()
    finally:
        connection.close()
    return {row[0]: row for row in found}


def _one_line(text: str) -> str:
    return " ".join(text.split())
