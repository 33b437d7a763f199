"""Reading what is whole in a journal that SQLite cannot use any more.

The pages of the file and of its log are read without SQLite: every row that is whole on a page is
found, however damaged the pages are that lead there. A page that the disk cannot read counts as
damaged. Nothing is written.

Source: SQLite, "Database File Format", sections 1.5 to 2.1 (pages, cells, records) and 4 (log).
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self
from uuid import UUID

from journal.format.hash_chain import JOURNAL_FORMAT, EntryRow, entry_digest, origin_digest
from journal.format.id_tokens import TokenRow
from journal.format.sectors import FILLER, PIECE_BYTES, FileContent
from journal.format.sqlite_pages import PAGE_BYTES, PagedFile, PageView, iter_leaf_records
from journal.format.wal import LogContent, LoggedPage, split_frames

DIGEST_BYTES = 32
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)


class Anchor(NamedTuple):
    """A row of table `anchor`."""

    seq: int
    digest: bytes
    origin: bytes


class Salvage:
    """Everything that is whole in the file at a path and in its log. A context manager.

    Attributes:
        journal_id: None if it is lost.
        anchor: None if there is none, or it is lost.
        tokens: the side table.
    """

    def __init__(self, path: Path) -> None:
        """Read everything except the entries.

        Raises:
            OSError: there is a file, but nothing of it or of its log can be read.
        """
        self.journal_id: str | None = None
        self.anchor: Anchor | None = None
        self._tokens: dict[str, TokenRow] = {}
        with ExitStack() as files:
            file, log = PagedFile(path, files), _open_log(path, files)
            seen, self._hidden_pages = (LoggedPages(log, pages) for pages in split_frames(log))
            self._pages = PageView(file, seen)
            for number, columns in self._iter_records(self._pages):
                self._sort_record(number, columns)
            for number, columns in self._iter_hidden_records():
                self._sort_record(number, columns)
            if (
                (file.page_count or log)
                and len(file.unreadable_pages) == file.page_count
                and _is_filler(log)
            ):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self._files = files.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    @property
    def tokens(self) -> list[TokenRow]:
        return list(self._tokens.values())

    @property
    def position_before_first(self) -> tuple[int, bytes]:
        """Number and digest before the first entry that is not archived; b"" if that is lost."""
        if self.anchor is not None:
            return self.anchor.seq, self.anchor.digest
        return 0, origin_digest(self.journal_id) if self.journal_id is not None else b""

    def iter_rows(self) -> Iterator[EntryRow]:
        """Entries that are not archived, by pages. Of two with one number the first counts."""
        archived = self.anchor.seq if self.anchor else 0
        # The file too: pages of a log that was cut may be older than the file's
        for pages in (self._pages, self._pages.without_log):
            for number, columns in self._iter_records(pages):
                row = _parse_entry_row(number, columns)
                if row is not None and row.seq > archived:
                    yield row

    def iter_hidden_rows(self, seq: int, digest: bytes) -> Iterator[EntryRow]:
        """Entries of commits that a damaged log hides, as far as they are chained to `seq`."""
        hidden: dict[int, EntryRow] = {}
        for number, columns in self._iter_hidden_records():
            row = _parse_entry_row(number, columns)
            if row is not None:
                hidden[number] = row
        while (row := hidden.get(seq + 1)) is not None:
            if entry_digest(digest, *row[:-1]) != row.digest:
                return
            yield row
            seq, digest = row.seq, row.digest

    def _iter_records(self, pages: PageView) -> Iterator[tuple[int, list[Any]]]:
        for number in pages.page_numbers:
            yield from iter_leaf_records(pages, number)

    def _iter_hidden_records(self) -> Iterator[tuple[int, list[Any]]]:
        pages = self._pages.overlaid_with(self._hidden_pages)
        for number in sorted(self._hidden_pages):
            yield from iter_leaf_records(pages, number)

    def _sort_record(self, number: int, columns: list[Any]) -> None:
        match columns:
            case [str() as ref, str(), str(), str(), bytes()] if ref.startswith("#"):
                self._tokens[ref] = TokenRow._make(columns)
            case [int() as format, str() as name] if format == JOURNAL_FORMAT and _is_uuid(name):
                self.journal_id = self.journal_id or name
            case [_, bytes() as digest, bytes() as origin] if len(digest) == DIGEST_BYTES:
                anchor = Anchor(number, digest, origin)
                self.anchor = max(self.anchor or anchor, anchor)


def _parse_entry_row(number: int, columns: list[Any]) -> EntryRow | None:
    match columns:
        case [_, str(), int(), str(), int(), None | int(), str(), bytes()]:
            row = EntryRow(number, *columns[1:])
            return row if _is_entry_row(row) else None
        case _:
            return None


def _is_entry_row(row: EntryRow) -> bool:
    return bool(
        row.seq > 0
        and len(row.digest) == DIGEST_BYTES
        and _AT.fullmatch(row.at)
        and row.kind.isidentifier()
    )


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _open_log(path: Path, files: ExitStack) -> LogContent:
    try:
        return FileContent(Path(f"{path}-wal"), files)
    except FileNotFoundError:
        return b""


def _is_filler(log: LogContent) -> bool:
    """Whether nothing of the log can be read."""
    starts = range(0, len(log), PIECE_BYTES)
    return all(not log[start : start + PIECE_BYTES].strip(FILLER) for start in starts)


class LoggedPages(Mapping[int, bytes]):
    """The newest image of each page in a log, read when it is needed."""

    def __init__(self, log: LogContent, pages: Iterable[LoggedPage]) -> None:
        self._log = log
        self._spans = {
            page: slice(start, stop)
            for page, start, stop in pages
            if page and stop - start == PAGE_BYTES
        }

    def __getitem__(self, page: int) -> bytes:
        return self._log[self._spans[page]]

    def __contains__(self, page: object) -> bool:
        return page in self._spans

    def __iter__(self) -> Iterator[int]:
        return iter(self._spans)

    def __len__(self) -> int:
        return len(self._spans)
