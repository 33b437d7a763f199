"""Bus traces for the operators' page: which there are, and their files for a download.

The journal names a trace, its faults and its files (`BusTraceWritten`); the directory of traces has
the files of the newest ones. Nothing in a request is part of a path: it has the number of an entry,
and a file is opened only under a name of that entry, if it is one that the station gives. No link
is followed, and only regular files are read. All of this blocks: it runs in a thread.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from journal.codec import format_time
from journal.events import Entry
from journal.observations import BusTraceWritten, DeviceFaulted
from journal.projections.bus_traces import WAITING_MAX as FAULTS_MAX
from journal.storage.errors import JournalFailed
from journal.storage.reader import Reader
from station.runtime.jobs.trace_directories import TRACE_NAME, TRACES_DIRECTORY, find_traces

FILE_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}\.(asc|txt)", re.ASCII)
FILES_MAX: Final = 16  # of a trace: one per bus, and about.txt
FILE_BYTES_MAX: Final = 256 << 20  # the largest ring that can be set gives about a third of it
SEARCHED_ENTRIES_MAX: Final = 20_000  # from a fault to its trace, half an hour later at most
KNOWN_MAX: Final = 500  # traces whose entries are kept
CHUNK_BYTES: Final = 64 << 10

DELETED: Final = "deleted: newer traces took its place"
NOT_OF_A_TRACE: Final = "the entry names no directory of a trace"


class TracedFault(msgspec.Struct, frozen=True):
    """A fault of a trace, by its entry; only the number, if the entry cannot be read."""

    seq: int
    at: str | None = None
    evse_id: int | None = None
    device: str = ""
    fault: str = ""


class NamedTrace(msgspec.Struct, frozen=True):
    """What the journal has about a trace.

    Attributes:
        directory: empty: it has none.
        files: in the directory.
        reason: why there is no directory.
    """

    seq: int
    at: str
    faults: tuple[TracedFault, ...]
    directory: str
    files: tuple[str, ...]
    reason: str


class ListedFile(msgspec.Struct, frozen=True):
    """A file of a trace; `size_bytes` None: it is not there any more."""

    name: str
    size_bytes: int | None


class ListedTrace(msgspec.Struct, frozen=True):
    """A trace as the page shows it; `unavailable`: why none of its files can be read."""

    seq: int
    at: str
    faults: tuple[TracedFault, ...]
    directory: str
    files: tuple[ListedFile, ...] = ()
    unavailable: str = ""


class TraceUnavailable(Exception):
    """There is no such file of a trace; the text says why.

    Attributes:
        is_deleted: there was one.
    """

    def __init__(self, text: str, *, is_deleted: bool = False) -> None:
        super().__init__(text)
        self.is_deleted = is_deleted


class OpenedFile(NamedTuple):
    """A file that is open, with its size and its time then."""

    name: str
    file: BufferedReader
    size: int
    modified_at: float

    def read_chunks(self) -> Iterator[bytes]:
        """The content, as long as the file was when it was opened.

        Raises:
            OSError: it cannot be read, or has become shorter.
        """
        left = self.size
        while left:
            chunk = self.file.read(min(left, CHUNK_BYTES))
            if not chunk:
                raise OSError(errno.EIO, f"{self.name} has become shorter")
            left -= len(chunk)
            yield chunk


class TraceFiles:
    """The traces of a data directory. One thread at a time."""

    def __init__(self, data_directory: Path) -> None:
        """Read nothing yet."""
        self._directory = data_directory / TRACES_DIRECTORY
        self._journal_id = ""
        self._known: dict[int, NamedTrace] = {}  # by the entry that names it
        self._entry_by_directory: dict[str, int | None] = {}  # None: no entry names it

    # --- Which there are -------------------------------------------------------------------------

    def list_traces(self, reader: Reader, newest_seqs: Iterable[int]) -> list[ListedTrace]:
        """The traces whose files are there and those of `newest_seqs`; the newest first.

        Raises:
            JournalFailed: the journal cannot be read.
        """
        self._begin(reader)
        seqs = {*newest_seqs, *self._find_entries(reader)}
        traces = [self._find(reader, seq) for seq in sorted(seqs, reverse=True)]
        return [self._look_at(trace) for trace in traces if trace is not None]

    def _begin(self, reader: Reader) -> None:
        """Keep nothing of another journal, and not too much of this one."""
        if reader.journal_id != self._journal_id or len(self._known) > KNOWN_MAX:
            self._journal_id = reader.journal_id
            self._known, self._entry_by_directory = {}, {}

    def _find_entries(self, reader: Reader) -> Iterator[int]:
        """The entries that name the directories that are there.

        They can be years old, so they are searched for only after the fault in the name.
        """
        head_seq = reader.read_head().seq
        for directory in find_traces(self._directory):
            name = directory.path.name
            if name not in self._entry_by_directory and directory.seq <= head_seq:
                self._entry_by_directory[name] = self._search(reader, name, directory.seq)
            seq = self._entry_by_directory.get(name)
            if seq is not None:
                yield seq

    def _search(self, reader: Reader, directory: str, fault_seq: int) -> int | None:
        last = fault_seq + SEARCHED_ENTRIES_MAX
        for row in reader.iter_rows(fault_seq + 1, last, on_damage=lambda _: None):
            if row.kind == BusTraceWritten.__name__:
                trace = self._find(reader, row.seq)
                if trace is not None and trace.directory == directory:
                    return row.seq
        return None

    def _find(self, reader: Reader, seq: int) -> NamedTrace | None:
        """The trace of an entry; None: the entry names none, or cannot be read."""
        if seq not in self._known:
            entry = _read_entry(reader, seq)
            if entry is None or not isinstance(entry.event, BusTraceWritten):
                return None
            written = entry.event
            self._known[seq] = NamedTrace(
                seq,
                format_time(entry.at),
                tuple(
                    _describe_fault(reader, fault_seq)
                    for fault_seq in written.fault_seqs[:FAULTS_MAX]
                ),
                written.directory,
                written.files[:FILES_MAX],
                written.reason,
            )
        return self._known[seq]

    def _look_at(self, trace: NamedTrace) -> ListedTrace:
        """What is on the disk of a trace."""
        shown = ListedTrace(trace.seq, trace.at, trace.faults, trace.directory)
        try:
            directory = self._open_directory(trace)
        except TraceUnavailable as error:
            return msgspec.structs.replace(shown, unavailable=str(error))
        try:
            files = tuple(
                ListedFile(name, _regular_size(name, directory))
                for name in filter(FILE_NAME.fullmatch, trace.files)
            )
        finally:
            os.close(directory)
        return msgspec.structs.replace(shown, files=files)

    # --- Their files -----------------------------------------------------------------------------

    def open_files(self, reader: Reader, seq: int, name: str = "") -> tuple[str, list[OpenedFile]]:
        """Open a file of the trace that an entry names; without a name, all of them.

        Returns:
            The directory of the trace, and the files, which the caller closes.

        Raises:
            TraceUnavailable: there is none.
            JournalFailed: the journal cannot be read.
        """
        self._begin(reader)
        trace = self._find(reader, seq)
        if trace is None:
            raise TraceUnavailable(f"entry {seq} names no bus trace")
        if name and (name not in trace.files or not FILE_NAME.fullmatch(name)):
            raise TraceUnavailable(f"entry {seq} names no such file")
        names = [name] if name else list(filter(FILE_NAME.fullmatch, trace.files))
        directory = self._open_directory(trace)
        try:
            opened = [_open_regular(each, directory) for each in names]
        finally:
            os.close(directory)
        files = [file for file in opened if file is not None]
        if not files:
            raise TraceUnavailable(DELETED, is_deleted=True)
        return trace.directory, files

    def _open_directory(self, trace: NamedTrace) -> int:
        """A descriptor of the directory of a trace.

        Raises:
            TraceUnavailable: it has none, or none any more.
        """
        if not trace.directory:
            raise TraceUnavailable(f"not written: {trace.reason}")
        if not TRACE_NAME.fullmatch(trace.directory):
            raise TraceUnavailable(NOT_OF_A_TRACE)
        try:
            parent = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
                return os.open(trace.directory, flags, dir_fd=parent)
            finally:
                os.close(parent)
        except FileNotFoundError:
            raise TraceUnavailable(DELETED, is_deleted=True) from None
        except OSError as error:
            raise TraceUnavailable(f"cannot be read: {error.strerror}") from error


def _read_entry(reader: Reader, seq: int) -> Entry | None:
    """An entry; None: there is none that can be read."""
    try:
        return reader.read_entry(seq)
    except (LookupError, JournalFailed):
        return None


def _describe_fault(reader: Reader, seq: int) -> TracedFault:
    entry = _read_entry(reader, seq)
    if entry is None or not isinstance(entry.event, DeviceFaulted):
        return TracedFault(seq)
    fault = entry.event
    return TracedFault(seq, format_time(entry.at), fault.evse_id, fault.device, fault.fault)


def _regular_size(name: str, directory: int) -> int | None:
    """The size of a file that may be sent; None: there is none."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return None
    return status.st_size if _may_be_sent(status) else None


def _open_regular(name: str, directory: int) -> OpenedFile | None:
    """Open a file that may be sent; None: there is none."""
    try:
        # O_NONBLOCK: the open of a FIFO does not wait.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        file = os.fdopen(os.open(name, flags, dir_fd=directory), "rb")
    except OSError:
        return None
    status = os.fstat(file.fileno())
    if not _may_be_sent(status):
        file.close()
        return None
    return OpenedFile(name, file, status.st_size, status.st_mtime)


def _may_be_sent(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_size <= FILE_BYTES_MAX


def archive_chunks(directory: str, files: list[OpenedFile]) -> Iterator[bytes]:
    """A `.tar.gz` of files in `traces/DIRECTORY`, as GetLog delivers them, piece by piece.

    Raises:
        OSError: a file cannot be read.
    """
    gzip = zlib.compressobj(wbits=31)
    for chunk in _tar_chunks(f"{TRACES_DIRECTORY}/{directory}", files):
        compressed = gzip.compress(chunk)
        if compressed:
            yield compressed
    yield gzip.flush()


def _tar_chunks(directory: str, files: list[OpenedFile]) -> Iterator[bytes]:
    import tarfile  # only for an archive

    for file in files:
        header = tarfile.TarInfo(f"{directory}/{file.name}")
        header.size, header.mtime, header.mode = file.size, int(file.modified_at), 0o600
        yield header.tobuf(tarfile.GNU_FORMAT)
        yield from file.read_chunks()
        yield bytes(-file.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)
