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

from journal.codec import Registry
from journal.format.hash_chain import (
    COLUMN_TYPES,
    JOURNAL_FORMAT,
    EntryRow,
    entry_digest,
    origin_digest,
)
from journal.format.id_tokens import TokenRow, derive_reference, fold_case
from journal.format.segments import Block, MissingRange
from journal.format.wal import find_lost_commits
from journal.storage.archive import Archive
from journal.storage.errors import READ_ERRORS, JournalFailed
from journal.storage.reader import EntryDamage, Reader
from journal.storage.schema import MIGRATION_SET, MIGRATIONS

WitnessedHead = tuple[int, bytes]  # seq and digest of an entry, as seen outside

_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_DIGEST_BYTES = 32
_SCHEMA = "SELECT name, type, tbl_name, sql FROM sqlite_schema"


class Problem(NamedTuple):
    """One thing that is wrong."""

    seq: int | None  # the first damaged or missing number; None: not about an entry
    text: str

    def __str__(self) -> str:
        return self.text if self.seq is None else f"entry {self.seq}: {self.text}"


def parse_witnessed_head(text: str) -> WitnessedHead:
    """Read SEQ:DIGEST, the digest in hex.

    Raises:
        ValueError: it is not of that form.
    """
    seq, _, digest = text.partition(":")
    if not re.fullmatch(r"\d+:[0-9a-fA-F]{64}", text, re.ASCII):
        raise ValueError(f"a head is SEQ:DIGEST with 64 hex digits, not {text!r}")
    return int(seq), bytes.fromhex(digest)


def verify(path: Path, head: WitnessedHead | None = None) -> Iterator[Problem]:
    """Say what is wrong with the journal at `path`; nothing, if it is as it was written.

    Args:
        path: a journal in use, a closed one, or a copy with its `-wal` beside it.
        head: number and digest of an entry as seen outside.
    """
    try:
        with Reader.open(path, Registry(())) as journal:
            yield from _Verifier(path, journal, head).find_problems()
    except (JournalFailed, *READ_ERRORS) as error:
        yield Problem(None, _one_line(str(error) or f"{path}: unreadable"))


class _Verifier:
    """One walk over one file."""

    def __init__(self, path: Path, journal: Reader, head: WitnessedHead | None) -> None:
        self._path = path
        self._journal = journal
        self._witnessed_head = head
        self._damage: list[EntryDamage] = []
        self._first_seq = 1  # the number the file should begin with
        self._journal_id = ""
        self._expected_seq = 1  # the number that should come
        self._possible_digests: tuple[
            bytes, ...
        ] = ()  # what the digest before may be; none: unknown
        self._uptime_ms = 0
        self._witness_checked = False  # of the witness
        self._entry_reported = False  # a complaint that names an entry

    def find_problems(self) -> Iterator[Problem]:
        """Everything there is to say, entries first."""
        if not self._journal.connection.execute(_SCHEMA).fetchall():
            yield Problem(None, "no entries")
            return
        for complaint in self._check_content():
            self._entry_reported |= complaint.seq is not None
            yield complaint
        yield from self._check_pages()

    def _check_content(self) -> Iterator[Problem]:
        yield from self._check_schema()
        yield from self._check_identity()
        yield from self._check_entries()
        yield from self._check_witnessed_head()
        yield from self._check_log()
        yield from self._check_tokens()

    def _check_schema(self) -> Iterator[Problem]:
        done, unknown = self._applied_migrations()
        if unknown:
            yield Problem(None, f"{self._path}: migration {unknown[0]} is of no known release")
        expected = _expected_schema(done)
        found = {
            row[0]: row
            for row in self._journal.connection.execute(_SCHEMA)
            if "_sqlite_migrations" not in str(row[0]) and row[3] is not None
        }
        for name in sorted(expected.keys() | found.keys(), key=str):
            _, type, table, _ = expected.get(name) or found[name]
            if name not in found:
                yield Problem(None, f"{type} {name} of {table} is missing")
            elif name not in expected:
                yield Problem(None, f"{type} {name} of {table} is not the station's")
            elif found[name] != expected[name]:
                yield Problem(None, f"{type} {name} of {table} was altered")

    def _applied_migrations(self) -> tuple[list[str], list[str]]:
        """The scripts that made this file, and what else it says it went through."""
        known = _migration_scripts()
        try:
            found = [
                str(name)
                for (name,) in self._journal.connection.execute(
                    "SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY name",
                    (MIGRATION_SET,),
                )
            ]
        except READ_ERRORS as error:
            return list(known.values()), [f"(unreadable: {error})"]
        return [script for name, script in known.items() if name in found], [
            name for name in found if name not in known
        ]

    def _check_identity(self) -> Iterator[Problem]:
        """The journal's id and format begin the chain; the anchor stands for what was archived."""
        try:
            named = self._journal.connection.execute("SELECT format, journal_id FROM meta")
            [(format, journal_id)] = named.fetchall()
            UUID(journal_id)
            self._possible_digests, self._journal_id = (origin_digest(journal_id),), journal_id
        except READ_ERRORS as error:
            yield Problem(None, f"meta: {_one_line(str(error))}")
        except (ValueError, TypeError, AttributeError):
            yield Problem(None, "meta: the journal's name is gone or was changed")
        else:
            if format != JOURNAL_FORMAT:
                yield Problem(None, f"meta: format {format}; this release knows {JOURNAL_FORMAT}")
        try:
            anchors = self._journal.connection.execute("SELECT * FROM anchor").fetchall()
        except READ_ERRORS as error:
            yield Problem(None, f"anchor: {_one_line(str(error))}")
            self._possible_digests = ()
            return
        if not anchors:
            yield from self._check_missing_anchor()
        else:
            seq, digest, begun = max(anchors)
            if (
                len(anchors) > 1
                or begun not in self._possible_digests
                or not isinstance(digest, bytes)
            ):
                yield Problem(None, "anchor: was changed, or is another journal's")
            yield from self._check_archive(seq)
            if self._possible_digests and digest not in self._possible_digests:
                yield Problem(None, "anchor: is not the end of the archive")
            elif not self._possible_digests and self._contradicts_witness(seq, digest):
                yield Problem(None, "anchor: was changed, or is another journal's")
            self._first_seq = self._expected_seq = seq + 1
            if digest not in self._possible_digests:
                self._possible_digests = (digest,) if isinstance(digest, bytes) else ()

    def _check_missing_anchor(self) -> Iterator[Problem]:
        """Nothing has left the file, says the file; the archive may have what it lacks."""
        try:
            if not Archive(self._path, self._journal_id).last_seq():
                return
            (first,) = self._journal.connection.execute("SELECT min(seq) FROM entry").fetchone()
        except (OSError, *READ_ERRORS):
            return  # told with the entries
        if (first or 1) > 1:
            yield Problem(None, f"anchor: missing, though the entries begin with {first}")

    # --- The archive -----------------------------------------------------------------------------

    def _check_archive(self, last: int) -> Iterator[Problem]:
        """Entries 1 to `last`, which have left the file."""
        archive = Archive(self._path, self._journal_id)
        try:
            for found in archive.iter_blocks(1, last):
                if isinstance(found, MissingRange):
                    yield from self._check_missing_segment(found.first_seq)
                    yield Problem(found.first_seq, f"{found.reason} (to {found.last_seq})")
                    self._expected_seq, self._possible_digests = found.last_seq + 1, ()
                else:
                    yield from self._check_missing_segment(found.link.seq + 1)
                    yield from self._check_block(found, last)
        except OSError as error:
            yield Problem(self._expected_seq, f"the archive cannot be read: {error.strerror}")
            self._expected_seq, self._possible_digests = last + 1, ()
        yield from self._check_missing_segment(last + 1)

    def _check_missing_segment(self, seq: int) -> Iterator[Problem]:
        """Archived entries before `seq` that no segment here has."""
        if self._expected_seq < seq:
            why = f"the segment with entry {self._expected_seq} is missing (to {seq - 1})"
            yield Problem(self._expected_seq, why)
            self._expected_seq, self._possible_digests = seq, ()

    def _check_block(self, block: Block, last: int) -> Iterator[Problem]:
        """A block by itself, for it begins with what it follows."""
        before = bytes.fromhex(block.link.digest)
        if block.link.seq + 1 == self._expected_seq and before not in self._possible_digests:
            if self._possible_digests:
                yield Problem(block.first_seq, "does not follow the entry before, in the archive")
            else:
                self._uptime_ms = 0  # what it was before is not known
            self._possible_digests = (before,)
        for row in block.iter_rows():
            if not self._expected_seq <= row.seq <= last:
                continue  # two segments may hold it
            yield from self._check_gap(row.seq)
            yield from self._check_row(row)
            if len(row.digest) != _DIGEST_BYTES:  # changed; the rest follows from what it was
                self._expected_seq, self._possible_digests = min(last, block.last_seq) + 1, ()
                return

    # --- The file --------------------------------------------------------------------------------

    def _check_entries(self) -> Iterator[Problem]:
        for row in self._journal.iter_rows(self._first_seq, on_damage=self._damage.append):
            yield from self._check_gap(row.seq)
            yield from self._check_row(row)
        if self._damage:
            why = _one_line(self._damage[0].reason)
            yield Problem(self._expected_seq, f"{why}; nothing behind it can be read")
        if self._expected_seq == self._first_seq == 1 and not self._damage:
            yield Problem(None, "no entries")

    def _check_gap(self, seq: int) -> Iterator[Problem]:
        """Entries that should stand before `seq` and do not: unreadable or missing."""
        if seq < self._expected_seq:
            yield Problem(seq, f"stands behind number {self._expected_seq - 1}")
        if seq <= self._expected_seq:
            return
        first, last = self._expected_seq, seq - 1
        why = next((each.reason for each in self._damage if first <= each.seq <= last), "missing")
        self._damage.clear()  # all of it lies before `seq`, which could be read
        span = "" if first == last else f" (to {last})"
        yield Problem(first, f"{_one_line(why)}{span}")
        self._expected_seq, self._possible_digests = seq, ()

    def _check_row(self, row: EntryRow) -> Iterator[Problem]:
        self._expected_seq = max(self._expected_seq, row.seq + 1)
        if not all(isinstance(value, type) for value, type in zip(row, COLUMN_TYPES, strict=True)):
            self._possible_digests = (row.digest,) if isinstance(row.digest, bytes) else ()
            yield Problem(row.seq, "a column has another type than it was written with")
            return
        wrong = self._implausible_reason(row)
        made = [entry_digest(link, *row[:-1]) for link in self._possible_digests]
        if made and row.digest not in made:
            yield Problem(row.seq, "does not match its digest")
            self._possible_digests = (row.digest, *made)  # either may have been the true one
        else:
            self._possible_digests = (row.digest,)
            if wrong:
                yield Problem(row.seq, wrong)
        self._uptime_ms = row.uptime_ms
        if self._contradicts_witness(row.seq, row.digest):
            yield Problem(row.seq, "is not the entry that was seen outside")

    def _implausible_reason(self, row: EntryRow) -> str | None:
        """What no station writes, even where the digest fits."""
        if not _AT.fullmatch(row.at) or not row.kind.isidentifier():
            return "has no readable time or kind"
        if row.cause is not None and not 1 <= row.cause < row.seq:
            return f"names entry {row.cause} as its cause"
        if row.cause is not None and row.uptime_ms < self._uptime_ms and self._possible_digests:
            return f"uptime {row.uptime_ms} ms is before its cause's {self._uptime_ms} ms"
        if row.uptime_ms < 0 or row.version < 1:
            return f"uptime {row.uptime_ms} ms, version {row.version}"
        return None

    def _contradicts_witness(self, seq: int, digest: bytes) -> bool:
        """Whether the witness saw this number, and something else there."""
        if self._witnessed_head is None or self._witnessed_head[0] != seq:
            return False
        self._witness_checked = True
        return self._witnessed_head[1] != digest

    def _check_witnessed_head(self) -> Iterator[Problem]:
        if self._witnessed_head is None or self._witness_checked:
            return
        seq = self._witnessed_head[0]
        if seq >= self._expected_seq:
            yield Problem(self._expected_seq, f"missing: entry {seq} was seen outside")
        elif seq < self._first_seq:
            yield Problem(None, f"entry {seq} is archived, and not to be compared from here")

    def _check_log(self) -> Iterator[Problem]:
        lost = find_lost_commits(self._path)
        if lost:
            yield Problem(self._expected_seq, f"missing: {lost}")

    def _check_tokens(self) -> Iterator[Problem]:
        query = "SELECT ref, type, value, folded, salt FROM id_token ORDER BY rowid"
        try:
            for row in self._journal.connection.execute(query):
                token = TokenRow._make(row)
                if not (_is_consistent(token) or _is_erased_in_quarantine(token)):
                    yield Problem(
                        self._first_use_seq(token),
                        f"{token.ref}: the value is not the one referred to",
                    )
        except READ_ERRORS as error:
            yield Problem(None, f"id_token: {_one_line(str(error))}")

    def _first_use_seq(self, token: TokenRow) -> int | None:
        refs = {str(token.ref)}
        if isinstance(token.value, str) and isinstance(token.salt, bytes):
            refs.add(derive_reference(str(token.type), token.value, token.salt))
        for row in self._journal.iter_rows(on_damage=lambda _: None):  # told already
            if any(ref in str(row.body) for ref in refs):
                return row.seq
        return None

    def _check_pages(self) -> Iterator[Problem]:
        """What SQLite finds wrong with its structure: an entry may be there and not be found."""
        try:
            found = self._journal.connection.execute("PRAGMA integrity_check").fetchall()
        except READ_ERRORS as error:
            found = [(str(error),)]
        wrong = [_one_line(str(text)) for (text,) in found if text != "ok"]
        if wrong:
            seq = None if self._entry_reported else self._first_unindexed_seq()
            yield Problem(seq, f"{self._path}: {wrong[0]}")

    def _first_unindexed_seq(self) -> int | None:
        for seq in range(self._first_seq, self._expected_seq):
            try:
                if not list(self._journal.iter_rows(seq, seq)):
                    return seq
            except JournalFailed:
                return seq
        return None


def _is_consistent(token: TokenRow) -> bool:
    if list(map(type, token)) != [str, str, str, str, bytes]:
        return False
    return (
        token.ref == derive_reference(token.type, token.value, token.salt)
        and fold_case(token.type, token.value) == token.folded
    )


def _is_erased_in_quarantine(token: TokenRow) -> bool:
    """Somebody was forgotten in a journal that had been set aside."""
    return not (any(token.salt) or str(token.value).strip("\0") or str(token.folded).strip("\0"))


@cache
def _migration_scripts() -> dict[str, str]:
    """This release's migrations, in order: name to SQL."""
    steps = sorted(MIGRATIONS.glob("[0-9]*.sql"))
    return {step.stem: step.read_text(encoding="utf-8") for step in steps}


def _expected_schema(scripts: list[str]) -> dict[str, tuple[str, str, str, str]]:
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
