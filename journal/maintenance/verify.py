"""Verification of a journal against damage and tampering, from the first entry to the last.

Finds every changed, removed, inserted or swapped entry, with its number. A tail that was cut off
shows in no chain: for that, give a head that was witnessed outside. Nothing is written.

How a change is located: each row is hashed after every digest that the row before it may have had
(`_possible_digests`). Usually that is one, the stored digest. If a row does not match, it is
reported, and both its stored and its computed digest are possible: either the body or the digest
was changed, and the next row decides which. After a missing row none is known; the next row is
accepted and the chain continues from it. The order of the checks is schema, id and anchor, archive,
rows, witnessed head, log, personal values, pages: the chain needs the id and the anchor, and a
fault of pages is located at an entry only if no entry was reported.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
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

WitnessedHead = tuple[int, bytes]  # seq and digest of an entry, as recorded outside

_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_DIGEST_BYTES = 32
_SCHEMA = "SELECT name, type, tbl_name, sql FROM sqlite_schema"


class Problem(NamedTuple):
    """A finding."""

    seq: int | None  # the first damaged or missing entry; None: not about an entry
    text: str

    def __str__(self) -> str:
        return self.text if self.seq is None else f"entry {self.seq}: {self.text}"


def parse_witnessed_head(text: str) -> WitnessedHead:
    """Parse SEQ:DIGEST, the digest in hex.

    Raises:
        ValueError: it does not have that form.
    """
    seq, _, digest = text.partition(":")
    if not re.fullmatch(r"\d+:[0-9a-fA-F]{64}", text, re.ASCII):
        raise ValueError(f"a head is SEQ:DIGEST with 64 hex digits, not {text!r}")
    return int(seq), bytes.fromhex(digest)


def verify(path: Path, head: WitnessedHead | None = None) -> Iterator[Problem]:
    """Find the problems of the journal at `path`; none if it is as it was written.

    Args:
        path: a journal in use, a closed one, or a copy with its `-wal` beside it.
        head: number and digest of an entry, as recorded outside.
    """
    try:
        with Reader.open(path, Registry(())) as journal:
            yield from _Verifier(path, journal, head).find_problems()
    except (JournalFailed, *READ_ERRORS) as error:
        yield Problem(None, _one_line(str(error) or f"{path}: unreadable"))


class _Verifier:
    """One pass over one journal."""

    def __init__(self, path: Path, journal: Reader, head: WitnessedHead | None) -> None:
        self._path = path
        self._journal = journal
        self._witnessed_head = head
        self._damage: list[EntryDamage] = []
        self._first_seq = 1  # the number that the file should begin with
        self._journal_id = ""
        self._expected_seq = 1  # the number that should come next
        self._possible_digests: tuple[bytes, ...] = ()  # of the entry before; empty: unknown
        self._uptime_ms = 0  # of the entry before
        self._witness_checked = False
        self._entry_reported = False  # whether a problem had an entry number

    def find_problems(self) -> Iterator[Problem]:
        """All problems, those of entries first."""
        if not self._journal.connection.execute(_SCHEMA).fetchall():
            yield Problem(None, "no entries")
            return
        for problem in self._check_content():
            self._entry_reported |= problem.seq is not None
            yield problem
        yield from self._check_pages()

    def _check_content(self) -> Iterator[Problem]:
        yield from self._check_schema()
        yield from self._check_identity()
        yield from self._check_entries()
        yield from self._check_witnessed_head()
        yield from self._check_log()
        yield from self._check_tokens()

    def _check_schema(self) -> Iterator[Problem]:
        scripts, unknown = self._applied_migrations()
        if unknown:
            yield Problem(None, f"{self._path}: migration {unknown[0]} is not of this release")
        expected = _expected_schema(scripts)
        present = {
            row[0]: row
            for row in self._journal.connection.execute(_SCHEMA)
            if "_sqlite_migrations" not in str(row[0]) and row[3] is not None
        }
        for name in sorted(expected.keys() | present.keys(), key=str):
            _, type, table, _ = expected.get(name) or present[name]
            if name not in present:
                yield Problem(None, f"{type} {name} of {table} is missing")
            elif name not in expected:
                yield Problem(None, f"{type} {name} of {table} is not the station's")
            elif present[name] != expected[name]:
                yield Problem(None, f"{type} {name} of {table} was altered")

    def _applied_migrations(self) -> tuple[list[str], list[str]]:
        """The scripts that this file records as run, and recorded names without a script."""
        known = _migration_scripts()
        try:
            recorded = [
                str(name)
                for (name,) in self._journal.connection.execute(
                    "SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY name",
                    (MIGRATION_SET,),
                )
            ]
        except READ_ERRORS as error:
            return list(known.values()), [f"(unreadable: {error})"]
        return [script for name, script in known.items() if name in recorded], [
            name for name in recorded if name not in known
        ]

    def _check_identity(self) -> Iterator[Problem]:
        """Check id and format, which begin the chain, and the anchor, which continues it."""
        yield from self._check_meta()
        try:
            anchors = self._journal.connection.execute("SELECT * FROM anchor").fetchall()
        except READ_ERRORS as error:
            yield Problem(None, f"anchor: {_one_line(str(error))}")
            self._possible_digests = ()
        else:
            yield from self._check_anchor(anchors) if anchors else self._check_missing_anchor()

    def _check_meta(self) -> Iterator[Problem]:
        try:
            meta = self._journal.connection.execute("SELECT format, journal_id FROM meta")
            [(format, journal_id)] = meta.fetchall()
            UUID(journal_id)
            self._possible_digests, self._journal_id = (origin_digest(journal_id),), journal_id
        except READ_ERRORS as error:
            yield Problem(None, f"meta: {_one_line(str(error))}")
        except (ValueError, TypeError, AttributeError):
            yield Problem(None, "meta: the journal's id is missing or was changed")
        else:
            if format != JOURNAL_FORMAT:
                yield Problem(None, f"meta: format {format}; this release reads {JOURNAL_FORMAT}")

    def _check_anchor(self, anchors: list[Any]) -> Iterator[Problem]:
        """Check the anchor with the archive before it; the file continues after it."""
        seq, digest, origin = max(anchors)
        is_ours = len(anchors) == 1 and origin in self._possible_digests
        if not is_ours or not isinstance(digest, bytes):
            yield Problem(None, "anchor: was changed, or belongs to another journal")
        yield from self._check_archive(seq)
        if self._possible_digests and digest not in self._possible_digests:
            yield Problem(None, "anchor: is not the end of the archive")
        elif not self._possible_digests and self._contradicts_witness(seq, digest):
            yield Problem(None, "anchor: was changed, or belongs to another journal")
        self._first_seq = self._expected_seq = seq + 1
        if digest not in self._possible_digests:
            self._possible_digests = (digest,) if isinstance(digest, bytes) else ()

    def _check_missing_anchor(self) -> Iterator[Problem]:
        """Without an anchor, nothing should be archived and the file should begin with entry 1."""
        try:
            if not Archive(self._path, self._journal_id).last_seq():
                return
            (first,) = self._journal.connection.execute("SELECT min(seq) FROM entry").fetchone()
        except (OSError, *READ_ERRORS):
            return  # reported with the entries
        if (first or 1) > 1:
            yield Problem(None, f"anchor: missing, but the entries begin with {first}")

    # --- The archive -----------------------------------------------------------------------------

    def _check_archive(self, last: int) -> Iterator[Problem]:
        """Entries 1 to `last`, which have left the file."""
        archive = Archive(self._path, self._journal_id)
        try:
            for block in archive.iter_blocks(1, last):
                if isinstance(block, MissingRange):
                    yield from self._check_missing_segment(block.first_seq)
                    yield Problem(block.first_seq, f"{block.reason} (to {block.last_seq})")
                    self._expected_seq, self._possible_digests = block.last_seq + 1, ()
                else:
                    yield from self._check_missing_segment(block.link.seq + 1)
                    yield from self._check_block(block, last)
        except OSError as error:
            yield Problem(self._expected_seq, f"the archive cannot be read: {error.strerror}")
            self._expected_seq, self._possible_digests = last + 1, ()
        yield from self._check_missing_segment(last + 1)

    def _check_missing_segment(self, seq: int) -> Iterator[Problem]:
        """Report archived entries before `seq` that no segment has."""
        if self._expected_seq < seq:
            reason = f"the segment with entry {self._expected_seq} is missing (to {seq - 1})"
            yield Problem(self._expected_seq, reason)
            self._expected_seq, self._possible_digests = seq, ()

    def _check_block(self, block: Block, last: int) -> Iterator[Problem]:
        """Check a block by its own link, which names the entry before it."""
        before = bytes.fromhex(block.link.digest)
        if block.link.seq + 1 == self._expected_seq and before not in self._possible_digests:
            if self._possible_digests:
                yield Problem(block.first_seq, "does not follow the entry before, in the archive")
            else:
                self._uptime_ms = 0  # the entry before is unknown
            self._possible_digests = (before,)
        for row in block.iter_rows():
            if not self._expected_seq <= row.seq <= last:
                continue  # two segments may contain it
            yield from self._check_gap(row.seq)
            yield from self._check_row(row)
            if len(row.digest) != _DIGEST_BYTES:  # changed; the rest is chained to the original
                self._expected_seq, self._possible_digests = min(last, block.last_seq) + 1, ()
                return

    # --- The file --------------------------------------------------------------------------------

    def _check_entries(self) -> Iterator[Problem]:
        for row in self._journal.iter_rows(self._first_seq, on_damage=self._damage.append):
            yield from self._check_gap(row.seq)
            yield from self._check_row(row)
        if self._damage:
            reason = _one_line(self._damage[0].reason)
            yield Problem(self._expected_seq, f"{reason}; nothing after it can be read")
        if self._expected_seq == self._first_seq == 1 and not self._damage:
            yield Problem(None, "no entries")

    def _check_gap(self, seq: int) -> Iterator[Problem]:
        """Report entries before `seq` that are unreadable or missing."""
        if seq < self._expected_seq:
            yield Problem(seq, f"follows number {self._expected_seq - 1}, out of order")
        if seq <= self._expected_seq:
            return
        first, last = self._expected_seq, seq - 1
        reasons = (damage.reason for damage in self._damage if first <= damage.seq <= last)
        reason = next(reasons, "missing")
        self._damage.clear()  # all of it is before `seq`, which could be read
        span = "" if first == last else f" (to {last})"
        yield Problem(first, f"{_one_line(reason)}{span}")
        self._expected_seq, self._possible_digests = seq, ()

    def _check_row(self, row: EntryRow) -> Iterator[Problem]:
        self._expected_seq = max(self._expected_seq, row.seq + 1)
        if not all(isinstance(value, type) for value, type in zip(row, COLUMN_TYPES, strict=True)):
            self._possible_digests = (row.digest,) if isinstance(row.digest, bytes) else ()
            yield Problem(row.seq, "a column has another type than it was written with")
            return
        implausible = self._implausible_reason(row)
        computed = [entry_digest(previous, *row[:-1]) for previous in self._possible_digests]
        if computed and row.digest not in computed:
            yield Problem(row.seq, "does not match its digest")
            self._possible_digests = (row.digest, *computed)  # either may be the original
        else:
            self._possible_digests = (row.digest,)
            if implausible:
                yield Problem(row.seq, implausible)
        self._uptime_ms = row.uptime_ms
        if self._contradicts_witness(row.seq, row.digest):
            yield Problem(row.seq, "is not the entry that was recorded outside")

    def _implausible_reason(self, row: EntryRow) -> str | None:
        """Why no station writes such a row, even if the digest matches; None: plausible."""
        if not _AT.fullmatch(row.at) or not row.kind.isidentifier():
            return "has no readable time or kind"
        if row.cause is not None and not 1 <= row.cause < row.seq:
            return f"has entry {row.cause} as its cause"
        if row.cause is not None and row.uptime_ms < self._uptime_ms and self._possible_digests:
            return f"uptime {row.uptime_ms} ms is before its cause's {self._uptime_ms} ms"
        if row.uptime_ms < 0 or row.version < 1:
            return f"uptime {row.uptime_ms} ms, version {row.version}"
        return None

    def _contradicts_witness(self, seq: int, digest: bytes) -> bool:
        """Whether the witnessed head has this number and another digest."""
        if self._witnessed_head is None or self._witnessed_head[0] != seq:
            return False
        self._witness_checked = True
        return self._witnessed_head[1] != digest

    def _check_witnessed_head(self) -> Iterator[Problem]:
        if self._witnessed_head is None or self._witness_checked:
            return
        seq = self._witnessed_head[0]
        if seq >= self._expected_seq:
            yield Problem(self._expected_seq, f"missing: entry {seq} was recorded outside")
        elif seq < self._first_seq:
            yield Problem(None, f"entry {seq} is archived elsewhere and cannot be compared")

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
                        f"{token.ref}: the value does not match its reference",
                    )
        except READ_ERRORS as error:
            yield Problem(None, f"id_token: {_one_line(str(error))}")

    def _first_use_seq(self, token: TokenRow) -> int | None:
        refs = {str(token.ref)}
        if isinstance(token.value, str) and isinstance(token.salt, bytes):
            refs.add(derive_reference(str(token.type), token.value, token.salt))
        for row in self._journal.iter_rows(on_damage=lambda _: None):  # reported already
            if any(ref in str(row.body) for ref in refs):
                return row.seq
        return None

    def _check_pages(self) -> Iterator[Problem]:
        """Report the first structural fault by SQLite: it may make entries impossible to find."""
        try:
            results = self._journal.connection.execute("PRAGMA integrity_check").fetchall()
        except READ_ERRORS as error:
            results = [(str(error),)]
        faults = [_one_line(str(text)) for (text,) in results if text != "ok"]
        if faults:
            seq = None if self._entry_reported else self._first_unindexed_seq()
            yield Problem(seq, f"{self._path}: {faults[0]}")

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
    """Whether the value was erased in a journal that had been set aside: zeros everywhere."""
    return not (any(token.salt) or str(token.value).strip("\0") or str(token.folded).strip("\0"))


@cache
def _migration_scripts() -> dict[str, str]:
    """This release's migrations, in order: name to SQL."""
    files = sorted(MIGRATIONS.glob("[0-9]*.sql"))
    return {file.stem: file.read_text(encoding="utf-8") for file in files}


def _expected_schema(scripts: list[str]) -> dict[str, tuple[str, str, str, str]]:
    """The schema as this release's migrations make it, by name."""
    connection = sqlite3.connect(":memory:")
    try:
        for script in scripts:
            connection.executescript(script)
        rows = connection.execute(f"{_SCHEMA} WHERE sql IS NOT NULL").fetchall()
    finally:
        connection.close()
    return {row[0]: row for row in rows}


def _one_line(text: str) -> str:
    return " ".join(text.split())
