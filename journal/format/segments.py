"""Segments of the archive: files of gzip members, each a block of entries checkable alone.

A block begins with its link, the number and digest of the entry before it, so that it can be
checked without the other blocks, and the entries after a damaged block are found and chained again.
Digests are not stored but recomputed: they cannot be compressed, and would be two thirds of the
file. Only where an entry does not follow from the one before it, because either was damaged or
missing already, its digest is stored whole: so a segment shows the same damage as the file did.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from journal.format.hash_chain import JOURNAL_FORMAT, EntryRow, entry_digest
from journal.format.sectors import read_file_with_filler

BLOCK_ENTRIES: Final = 512  # more compress hardly better; a damaged byte costs a block
BLOCK_BYTES: Final = 256 << 10  # of text; a longer entry is a block of its own
BLOCK_TEXT_BYTES_MAX: Final = 8 << 20  # a longer text was not written by a station
SEGMENT_TEXT_BYTES_MAX: Final = 32 << 20  # neither was this much in one segment, packed or not
NAME_DIGITS: Final = 8  # of the journal's id, in the names of its segments
MARK_DIGITS: Final = 4  # of an entry's digest, to locate a changed entry
DIGEST_DIGITS: Final = 64  # all of a digest, where it cannot be recomputed

# gzip, RFC 1952: magic, deflate, a comment follows, no time, slowest, unknown system; the comment.
# No text contains these bytes, so a member is found even after a damaged one.
_MEMBER_HEADER: Final = (
    b"\x1f\x8b\x08\x10\0\0\0\0\x02\xff" + f"ocpp-station journal {JOURNAL_FORMAT}\0".encode()
)
_GZIP_WBITS: Final = 16 + zlib.MAX_WBITS

# A row, with the mark of its digest or the whole digest.
_Record = tuple[int, str, int, str, int, int | None, str, str]
_encoder = msgspec.json.Encoder()
_record_decoder = msgspec.json.Decoder(_Record)


class BlockLink(msgspec.Struct, frozen=True):
    """The entry before a block."""

    journal: str  # id of the journal
    seq: int
    digest: str  # hex


_link_decoder = msgspec.json.Decoder(BlockLink)


class MissingRange(NamedTuple):
    """Entries that are missing in a segment or between segments."""

    first_seq: int
    last_seq: int
    reason: str


class Block(NamedTuple):
    """Entries of a segment in order. A missing number had no entry in the file."""

    link: BlockLink
    records: list[_Record]

    @property
    def first_seq(self) -> int:
        return self.records[0][0]

    @property
    def last_seq(self) -> int:
        return self.records[-1][0]

    def iter_rows(self) -> Iterator[EntryRow]:
        """The entries with their digests.

        An entry that was changed here has its mark in place of the digest, which matches nothing.
        The entries after it are chained to the changed text, because its true digest is lost.
        """
        digest, changed = bytes.fromhex(self.link.digest), False
        for seq, at, uptime_ms, kind, version, cause, body, mark in self.records:
            digest = entry_digest(digest, seq, at, uptime_ms, kind, version, cause, body)
            if len(mark) == DIGEST_DIGITS:
                digest, changed = bytes.fromhex(mark), False
            elif not changed and mark != _digest_mark(digest):
                digest, changed = mark.encode(), True
            yield EntryRow(seq, at, uptime_ms, kind, version, cause, body, digest)

    def records_within(self, first: int, last: int) -> list[_Record]:
        """The records with these numbers."""
        if first <= self.first_seq and self.last_seq <= last:
            return self.records
        return [record for record in self.records if first <= record[0] <= last]


class Segment(NamedTuple):
    """A file of the archive; by its name it holds entries `first_seq` to `last_seq`."""

    path: Path
    first_seq: int
    last_seq: int

    def iter_blocks(self, journal_id: str) -> Iterator[Block | MissingRange]:
        """Its blocks in order, and the ranges that are missing between them.

        What a station would not have written is missing too: a few bytes may unpack to gigabytes.

        Raises:
            OSError: it cannot be read.
        """
        expected = self.first_seq
        for block in self._readable_blocks(journal_id):
            if block.link.seq + 1 < expected or block.last_seq > self.last_seq:
                continue  # not written by a station
            if block.link.seq + 1 > expected:
                yield MissingRange(expected, block.link.seq, self._damage_reason(expected))
            yield block
            expected = block.last_seq + 1
        if expected <= self.last_seq:
            yield MissingRange(expected, self.last_seq, self._damage_reason(expected))

    def digest_before_first(self, journal_id: str) -> bytes | None:
        """The digest before its first entry; None if that cannot be read."""
        for block in self._readable_blocks(journal_id):
            return (
                bytes.fromhex(block.link.digest) if block.link.seq + 1 == self.first_seq else None
            )
        return None

    def last_digest(self, journal_id: str) -> bytes | None:
        """The digest of its last entry; None if the segment is not as it was written."""
        digest = None
        for block in self.iter_blocks(journal_id):
            if isinstance(block, MissingRange) or digest not in (
                None,
                bytes.fromhex(block.link.digest),
            ):
                return None
            for row in block.iter_rows():
                digest = row.digest
                if len(digest) != DIGEST_DIGITS // 2:
                    return None
        return digest

    def _readable_blocks(self, journal_id: str) -> Iterator[Block]:
        content = read_file_with_filler(self.path, SEGMENT_TEXT_BYTES_MAX)
        bytes_left = SEGMENT_TEXT_BYTES_MAX
        at = content.find(_MEMBER_HEADER)
        while at >= 0 and bytes_left > 0:
            end = content.find(_MEMBER_HEADER, at + 1)
            text = _unpack_member(content[at : end if end >= 0 else None])
            bytes_left -= len(text)
            block = _parse_block(text)
            if block is not None and block.link.journal == journal_id:
                yield block
            at = end

    def _damage_reason(self, first_seq: int) -> str:
        return f"entries from {first_seq} on are damaged in {self.path.name}"


def find_segments(journal: Path, journal_id: str) -> list[Segment]:
    """The segments of the journal at this path, by their numbers, without unfinished ones.

    The directory may also hold segments of another journal that this one replaced.

    Raises:
        OSError: the directory cannot be read.
    """
    stem = re.escape(f"{journal.stem}.{journal_id[:NAME_DIGITS]}.")
    name = re.compile(rf"{stem}(\d{{12,18}})-(\d{{12,18}})\.gz", re.ASCII)
    directory = journal.parent
    with os.scandir(directory) as files:
        matches = [
            match for file in files if (match := name.fullmatch(file.name)) and file.is_file()
        ]
    segments = [Segment(directory / match[0], int(match[1]), int(match[2])) for match in matches]
    return sorted(
        (segment for segment in segments if 0 < segment.first_seq <= segment.last_seq),
        key=lambda segment: segment.first_seq,
    )


def segment_path(journal: Path, journal_id: str, first: int, last: int) -> Path:
    """Path of a segment: `journal.5f0c7c6e.000000000001-000000008192.gz` beside `journal.db`."""
    name = f"{journal.stem}.{journal_id[:NAME_DIGITS]}.{first:012}-{last:012}.gz"
    return journal.with_name(name)


def pack_blocks(
    journal_id: str, seq: int, digest: bytes, rows: Iterable[EntryRow]
) -> Iterator[bytes]:
    """The blocks of a segment, given number and digest of the entry before its rows.

    Rows may be changed and numbers missing; the columns must have their types.
    """
    link, lines, size = BlockLink(journal_id, seq, digest.hex()), list[bytes](), 0
    for row in rows:
        follows = entry_digest(digest, *row[:-1]) == row.digest
        line = _encoder.encode(
            (*row[:-1], _digest_mark(row.digest) if follows else row.digest.hex())
        )
        if lines and (len(lines) == BLOCK_ENTRIES or size + len(line) > BLOCK_BYTES):
            yield _pack_member(link, lines)
            link, lines, size = BlockLink(journal_id, seq, digest.hex()), [], 0
        lines.append(line)
        size += len(line)
        seq, digest = row.seq, row.digest
    if lines:
        yield _pack_member(link, lines)


def remove_unfinished_segments(journal: Path, journal_id: str) -> None:
    """Remove segments that a power cut left under their temporary name.

    Raises:
        OSError: the directory cannot be written.
    """
    prefix = f"{journal.stem}.{journal_id[:NAME_DIGITS]}."
    for name in os.listdir(journal.parent):
        if name.startswith(prefix) and name.endswith(".gz.new"):
            (journal.parent / name).unlink()


def drop_page_cache(path: Path) -> None:
    """Make the next read of a file come from the disk and not from the page cache."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)


def _digest_mark(digest: bytes) -> str:
    return digest.hex()[:MARK_DIGITS]


def _pack_member(link: BlockLink, lines: list[bytes]) -> bytes:
    text = b"\n".join((_encoder.encode(link), *lines, b""))
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    content = deflate.compress(text) + deflate.flush()
    check = zlib.crc32(text).to_bytes(4, "little") + len(text).to_bytes(4, "little")
    return _MEMBER_HEADER + content + check


def _unpack_member(member: bytes) -> bytes:
    """The text in a gzip member; empty if it is damaged, or longer than a station writes."""
    inflate = zlib.decompressobj(_GZIP_WBITS)
    try:
        text = inflate.decompress(member, BLOCK_TEXT_BYTES_MAX)
    except zlib.error:
        return b""
    return text if inflate.eof and not inflate.unused_data else b""


def _parse_block(text: bytes) -> Block | None:
    """The block with this text; None if it is damaged or none."""
    if text.count(b"\n") > BLOCK_ENTRIES + 1:
        return None
    try:
        first, *lines = text.splitlines()  # a body's line breaks are escaped, as JSON has it
        link = _link_decoder.decode(first)
        records = [_record_decoder.decode(line) for line in lines]
        digests = (record[-1] for record in records if len(record[-1]) == DIGEST_DIGITS)
        for digest in (link.digest, *digests):
            bytes.fromhex(digest)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None
    numbers = [link.seq, *(record[0] for record in records)]
    ascending = numbers == sorted(set(numbers))
    return Block(link, records) if records and link.seq >= 0 and ascending else None
