"""Writing a journal: the one writer appends entries, erases values and drops archived entries.

A commit is one overwrite in the write-ahead log and one fdatasync: the log is grown in advance and
kept, and moving it into the file (`checkpoint`) happens beside the commits.

Every method raises `JournalFailed` if the disk or the file fails.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Self
from uuid import UUID

from journal.codec import Registry, format_time, parse_time
from journal.events import Entry, IdToken
from journal.format.hash_chain import EntryRow, entry_digest, origin_digest
from journal.format.id_tokens import SALT_BYTES, TokenRow, fold_case, make_token_row
from journal.format.wal import find_lost_commits
from journal.storage.connection import PAGE_BYTES, StoreSettings, connect_writable, open_connection
from journal.storage.errors import (
    JournalDamaged,
    JournalFailed,
    translate_errors,
)
from journal.storage.lock import WriterLock
from journal.storage.quarantine import (
    copy_log_to_quarantine,
    remove_half_made,
)
from journal.storage.reader import Head, Reader
from journal.storage.schema import INSERT_ENTRY, INSERT_TOKEN, prepare_schema

log = logging.getLogger("station")

LOCK_ATTEMPTS_MAX = 60  # of BUSY_TIMEOUT_MS each: five minutes, then the program ends
_LAST_ROW_UP_TO = "SELECT seq, digest FROM entry WHERE seq <= ? ORDER BY seq DESC LIMIT 1"
_DELETE_TOKEN = "DELETE FROM id_token WHERE ref = ?"
_ZEROS = bytes(PAGE_BYTES)
_DROPPED_PAGES = 16  # of the log per drop: the schema, the anchor, inner and free-list pages


class Store:
    """The journal, open for writing. A context manager.

    `append`, `write_rows`, `erase` and `drop_archived` may run in any thread, one at a time.
    `checkpoint` and `reference_for` may run in other threads at the same time. Everything else
    belongs to the loop's thread. Nothing in the loop waits for a commit. Commits, checkpoints, the
    loop and references each have a connection of their own, so that none waits for another.

    Attributes:
        lost_commits: description of commits that a damaged log hid at the start; None: no damage.
    """

    def __init__(
        self,
        path: Path,
        registry: Registry,
        settings: StoreSettings,
        entropy: Callable[[int], bytes],
        lock: WriterLock,
    ) -> None:
        """Use `Store.open`."""
        self.lost_commits: str | None = None
        self._path = path
        self._registry = registry
        self._settings = settings
        self._entropy = entropy
        self._lock = lock
        self._log_size_recorded = False  # in the lock's file
        self._commit_mutex = threading.Lock()
        self._new_tokens: dict[str, TokenRow] = {}
        self._new_refs: dict[tuple[str, str], str] = {}
        self._refs_being_erased: set[str] = set()
        self._reference_mutex = threading.Lock()  # one value never gets two references
        self._log_pages = 0
        with ExitStack() as connections:
            self._write_connection = connections.enter_context(
                closing(connect_writable(path, settings))
            )
            if settings.is_one_thread:
                self._checkpoint_connection = reading = referring = self._write_connection
            else:
                self._checkpoint_connection = connections.enter_context(
                    closing(connect_writable(path, settings))
                )
                reading = connections.enter_context(closing(open_connection(path, mode="ro")))
                referring = connections.enter_context(closing(open_connection(path, mode="ro")))
            self.reader = Reader(path, reading, registry, is_rebuildable=True)
            self._token_reader = Reader(path, referring, registry, is_rebuildable=True)
            self.journal_id = _checked_uuid(path, self.reader.journal_id)
            self._head = self.reader.read_head()
            self._grow_log()
            self._connections = connections.pop_all()

    @classmethod
    def open(
        cls,
        path: Path,
        registry: Registry,
        *,
        journal_id_if_new: str,
        settings: StoreSettings = StoreSettings(),  # noqa: B008  # frozen
        entropy: Callable[[int], bytes] = os.urandom,
        strict: bool = False,
    ) -> Self:
        """Open or create the journal, as its only writer.

        If a damaged log hides commits, the journal continues without them: `lost_commits` describes
        them, and a copy of the log is kept, because the log itself is going to be overwritten.

        Args:
            path: the file.
            registry: the kinds of event.
            journal_id_if_new: UUID of a journal that is created.
            settings: of the file.
            entropy: returns a number of random bytes, for the salts of personal values.
            strict: raise JournalDamaged instead of continuing, because `rebuild` saves more.

        Raises:
            JournalDamaged: the file is not as it was written; `rebuild` saves what is whole.
            JournalFailed: another process has it, a newer release wrote it, or the disk is
                at fault.
        """
        lock = WriterLock(path)
        try:
            with translate_errors(path):
                remove_half_made(path)
                lost = find_lost_commits(path) or lock.find_missing_log()
                if lost is not None and strict:
                    raise JournalDamaged(f"{path}: {lost}")
                if lost is not None and Path(f"{path}-wal").exists():
                    copy_log_to_quarantine(path)
                if lock.log_bytes_min:  # SQLite is going to remove the old log
                    lock.record_log_size(0)
                prepare_schema(path, journal_id_if_new, settings)
                store = cls(path, registry, settings, entropy, lock)
                store.lost_commits = lost
                return store
        except BaseException:
            lock.close()
            raise

    def close(self) -> None:
        """Move the log into the file and close it. The file alone is then the journal."""
        try:
            with translate_errors(self._path):
                self._lock.record_log_size(0)  # first: from now on the log may be missing
                self._connections.close()
        finally:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def head(self) -> Head:
        """The end of the committed chain."""
        return self._head

    @property
    def is_checkpoint_due(self) -> bool:
        """Whether the log has about `checkpoint_pages` pages that are not in the file."""
        return self._log_pages >= self._settings.checkpoint_pages

    def append(self, entries: Sequence[Entry]) -> None:
        """Commit `entries` together, with the personal values referenced since the last commit.

        On return they are on disk. On JournalFailed none of them is, and `head` is unchanged.

        Raises:
            JournalFailed: they cannot be written.
            ValueError: their numbers do not follow the head's, or a time is finer than 1 ms.
            UnknownKind: the class of an event is not registered.
        """
        if entries:
            self.write_rows(self.chain_rows(entries))

    def chain_rows(self, entries: Sequence[Entry]) -> list[EntryRow]:
        """The rows of entries that follow the head, for `write_rows`.

        `append` is both. A thread that has just been woken takes several times as long for this as
        the loop, so the loop does it.

        Raises:
            ValueError: their numbers do not follow the head's, or a time is finer than 1 ms.
            UnknownKind: the class of an event is not registered.
        """
        return list(self._iter_chained_rows(entries))

    def write_rows(self, rows: Sequence[EntryRow]) -> None:
        """Commit the rows that `chain_rows` returned, one or more, as `append` does.

        Raises:
            JournalFailed: they cannot be written.
        """
        with self._commit_mutex:
            fresh = list(self._new_tokens.values())
            with self._commit_transaction() as connection:
                if fresh:
                    # Or a value would have two rows
                    being_erased = [(ref,) for ref in tuple(self._refs_being_erased)]
                    connection.executemany(_DELETE_TOKEN, being_erased)
                    connection.executemany(INSERT_TOKEN, fresh)
                connection.executemany(INSERT_ENTRY, rows)
            if not self._log_size_recorded:  # now the log's name is on disk too
                self._log_size_recorded = True
                size = Path(f"{self._path}-wal").stat().st_size
                kept_size = min(size, self._settings.grow_bytes)  # SQLite cuts the log to this
                self._lock.record_log_size(kept_size)
            last = rows[-1]
            self._head = Head(last.seq, last.digest, parse_time(last.at), last.uptime_ms)
            for token in fresh:
                self._drop_new_token(token.ref)
            self._log_pages += 2 + sum(len(row.body) + 128 for row in rows) // PAGE_BYTES

    def read_entry(self, seq: int) -> Entry:
        """One committed entry by its number.

        Raises:
            LookupError: there is none.
            JournalFailed: it cannot be read.
        """
        return self.reader.read_entry(seq)

    def iter_entries(self, first: int = 1, last: int | None = None) -> Iterator[Entry]:
        """Committed entries, in order. For damaged journals see `Reader.iter_entries`."""
        return self.reader.iter_entries(first, last)

    def reference_for(self, type: str, value: str) -> IdToken:
        """The reference of a personal value. A new one is stored with the next commit.

        In any thread: a received frame with many values is filtered beside the loop.
        """
        with self._reference_mutex:
            ref = self._new_refs.get((type, fold_case(type, value)))
            if ref is not None:
                return IdToken(ref, type)
            id_token = self._token_reader.find_reference(type, value)
            if id_token is not None and id_token.ref not in self._refs_being_erased:
                return id_token
            return self._new_reference(type, value)

    def value_of(self, ref: str) -> str | None:
        """The personal value of a reference; None if it was erased or never existed."""
        row = self._new_tokens.get(ref)
        return row.value if row else self.reader.value_of(ref)

    def mark_for_erasure(self, refs: Collection[str]) -> None:
        """Announce `erase`: from now on these values get other references.

        Otherwise a token presented at that moment would get a reference without a value.
        """
        self._refs_being_erased.update(refs)

    def erase(self, ref: str) -> bool:
        """Erase a personal value. The entries keep the reference, which has no value then.

        On return its bytes are overwritten in the file and its log.

        Returns:
            Whether there was such a value.

        Raises:
            JournalFailed: the file cannot be written, or another program reads an old state of
                it; call again.
        """
        with self._commit_mutex:
            was_fresh = ref in self._new_tokens
            self._drop_new_token(ref)
            with self._commit_transaction() as connection:
                erased = connection.execute(_DELETE_TOKEN, (ref,)).rowcount
            self._refs_being_erased.discard(ref)
            with translate_errors(self._path):
                self._lock.record_log_size(0)
                self._log_size_recorded = False
                busy, _, _ = self._write_connection.execute(
                    "PRAGMA wal_checkpoint(TRUNCATE)"
                ).fetchone()
                self._sync_log()  # or a power cut may leave the old log, partly overwritten
                self._grow_log()
            if busy:
                raise JournalFailed(
                    f"{self._path}: erased, but another program still reads the state before. "
                    "Close it and erase again."
                )
            return bool(erased) or was_fresh

    def drop_archived(self, last_seq: int) -> int:
        """Remove entries up to `last_seq` from the file; an anchor keeps the last one's digest.

        Only for the archive, after it has written them to a segment and synced that. Their pages
        are reused and not overwritten, because no entry holds a personal value: overwriting would
        take as many writes as the entries took.

        Returns:
            The number of entries removed; 0: the anchor is unchanged.

        Raises:
            JournalFailed: the file cannot be written.
        """
        with self._commit_mutex, translate_errors(self._path):
            self._write_connection.execute("PRAGMA secure_delete = FAST").fetchall()
            try:
                return self._delete_archived(last_seq)
            finally:
                self._write_connection.execute("PRAGMA secure_delete = ON").fetchall()

    def _delete_archived(self, last_seq: int) -> int:
        with self._commit_transaction() as connection:
            last_row = connection.execute(_LAST_ROW_UP_TO, (last_seq,)).fetchone()
            if last_row is None:
                return 0
            guards = connection.execute(
                "SELECT name, sql FROM sqlite_schema "
                "WHERE name IN ('entry_not_deleted', 'anchor_not_deleted')"
            ).fetchall()
            for name, _ in guards:
                connection.execute(f"DROP TRIGGER {name}")
            connection.execute("DELETE FROM anchor")
            anchor = (*last_row, origin_digest(self.journal_id))
            connection.execute("INSERT INTO anchor VALUES (?, ?, ?)", anchor)
            count = connection.execute("DELETE FROM entry WHERE seq <= ?", (last_seq,)).rowcount
            for _, guard in guards:
                connection.execute(guard)
        self._log_pages += _DROPPED_PAGES
        return count

    def checkpoint(self) -> bool:
        """Move the log into the file, so that it can be overwritten from its beginning.

        Commits continue meanwhile, and a second pass moves what they add; they wait only during a
        third pass, if they were still faster.

        Returns:
            Whether all of it was moved. False: another program reads an old state.

        Raises:
            JournalFailed: the file cannot be written.
        """
        self._log_pages = 0
        if self._run_checkpoint() or self._run_checkpoint():
            return True
        with self._commit_mutex:
            return self._run_checkpoint()

    def _run_checkpoint(self) -> bool:
        with translate_errors(self._path):
            busy, pages, moved = self._checkpoint_connection.execute(
                "PRAGMA wal_checkpoint(PASSIVE)"
            ).fetchone()
        return not busy and pages == moved

    def _iter_chained_rows(self, entries: Sequence[Entry]) -> Iterator[EntryRow]:
        seq, digest, last_at, at = self._head.seq, self._head.digest, None, ""
        for entry in entries:
            if entry.seq != seq + 1:
                raise ValueError(f"entry {entry.seq} does not follow entry {seq}")
            kind, version, body = self._registry.encode(entry.event)
            if entry.at is not last_at:  # decisions share the object with their observation
                last_at, at = entry.at, format_time(entry.at)
            seq = entry.seq
            columns = (seq, at, entry.uptime_ms, kind, version, entry.cause, body)
            digest = entry_digest(digest, *columns)
            yield EntryRow(*columns, digest)

    @contextmanager
    def _commit_transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._write_connection
        with translate_errors(self._path):
            self._begin_transaction(connection)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # rolled back already: the first error counts
                    connection.execute("ROLLBACK")
                raise

    def _begin_transaction(self, connection: sqlite3.Connection) -> None:
        """Begin once no other program holds the write lock: until then the commit takes long.

        Raises:
            sqlite3.OperationalError: another program held it all the time.
        """
        for attempt in range(1, LOCK_ATTEMPTS_MAX + 1):
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not is_busy or attempt == LOCK_ATTEMPTS_MAX:
                    raise
                if attempt == 1:
                    log.warning(
                        "journal: another program holds the write lock; commits wait for it. "
                        "Close that program."
                    )
            else:
                if attempt > 1:
                    log.warning("journal: the write lock is free again; commits continue")
                return

    def _new_reference(self, type: str, value: str) -> IdToken:
        row = make_token_row(type, value, self._entropy(SALT_BYTES))
        while self._is_used(row.ref):  # 64 bits do collide, very rarely
            row = make_token_row(type, value, self._entropy(SALT_BYTES))
        self._new_refs[row.type, row.folded] = row.ref  # first: a commit drops it with the row
        self._new_tokens[row.ref] = row
        return IdToken(row.ref, type)

    def _is_used(self, ref: str) -> bool:
        return ref in self._new_tokens or self._token_reader.value_of(ref) is not None

    def _drop_new_token(self, ref: str) -> None:
        row = self._new_tokens.pop(ref, None)
        if row is not None:
            self._new_refs.pop((row.type, row.folded), None)

    def _sync_log(self) -> None:
        log = os.open(f"{self._path}-wal", os.O_WRONLY)
        try:
            os.fdatasync(log)
        finally:
            os.close(log)

    def _grow_log(self) -> None:
        """Write zeros after the log's end, so that commits overwrite and never extend.

        Zeros are no frames: recovery of the log stops before them. Page by page, because the kernel
        keeps a large write as one large folio and then counts (and on some file systems writes) all
        of it for every commit into it. Whole pages, from the first boundary after the end: a disk
        that harms the bytes next to those it writes must not harm the last frame. A full disk only
        makes commits slower, as long as there is space for them.
        """
        log = os.open(f"{self._path}-wal", os.O_WRONLY)
        try:
            end = -(-os.lseek(log, 0, os.SEEK_END) // PAGE_BYTES) * PAGE_BYTES
            for at in range(end, self._settings.grow_bytes, PAGE_BYTES):
                os.pwrite(log, _ZEROS, at)
            os.fdatasync(log)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
        finally:
            os.close(log)


def _checked_uuid(path: Path, text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise JournalDamaged(
            f"{path}: the journal's id was changed. Run `station verify`."
        ) from None
