"""Entries that have left the journal's file: the segments beside it, for reading.

The directory is listed at each access, because a running station adds segments.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from journal.format.hash_chain import origin_digest
from journal.format.segments import DIGEST_DIGITS, Block, MissingRange, Segment, find_segments


class Archive:
    """The segments of one journal.

    Every method raises OSError if the directory or a segment cannot be read.
    """

    def __init__(self, journal: Path, journal_id: str) -> None:
        self._journal = journal
        self._journal_id = journal_id
        self._latest_block: Block | None = None  # the next entry read is usually near the last

    def position_before_first(self, anchor: int, digest: bytes) -> tuple[int, bytes]:
        """Number and digest before the first entry, in a segment or after the anchor.

        The digest is empty if the segment with it is damaged.
        """
        first = next(iter(self._segment_parts(anchor)), None)
        if first is None:
            return anchor, digest
        if first.segment.first_seq == 1:
            return 0, origin_digest(self._journal_id)
        return first.segment.first_seq - 1, first.segment.digest_before_first(
            self._journal_id
        ) or b""

    def last_seq(self) -> int:
        """The last entry that is in a segment; it may still be in the journal's file too."""
        segments = find_segments(self._journal, self._journal_id)
        return max((segment.last_seq for segment in segments), default=0)

    def iter_blocks(self, first: int, last: int) -> Iterator[Block | MissingRange]:
        """Blocks with entries `first` to `last`, in order, and the ranges missing between them.

        The first and the last block may hold more. Entries before the first segment do not count
        as missing: their segments were moved elsewhere.
        """
        parts = self._segment_parts(last)
        if not parts:
            return
        expected = max(first, parts[0].segment.first_seq)
        for part in parts:
            if part.last_seq < expected:
                continue
            if part.segment.first_seq > expected:
                yield _missing_range(expected, part.segment.first_seq - 1)
                expected = part.segment.first_seq
            for block in part.segment.iter_blocks(self._journal_id):
                clipped = _clip_to_range(block, expected, part.last_seq)
                if clipped is not None:
                    yield clipped
            expected = part.last_seq + 1
        if expected <= last:
            yield _missing_range(expected, last)

    def iter_blocks_backwards(self, last: int) -> Iterator[Block]:
        """Blocks with entries up to `last`, the newest first; one segment in memory at a time."""
        for part in reversed(self._segment_parts(last)):
            blocks = list(part.segment.iter_blocks(self._journal_id))
            for block in reversed(blocks):
                if isinstance(block, Block) and block.link.seq < part.last_seq:
                    yield block

    def find_block(self, seq: int) -> Block | MissingRange | None:
        """The block with this entry, or the missing range; None if no segment covers it."""
        latest = self._latest_block
        if latest is None or not latest.link.seq < seq <= latest.last_seq:
            block = next(self.iter_blocks(seq, seq), None)
            if not isinstance(block, Block):
                return block
            latest = self._latest_block = block
        return latest

    def digest_at(self, seq: int) -> bytes | None:
        """The digest of an entry; None if no segment has the entry as it was written."""
        block = self.find_block(seq)
        rows = block.iter_rows() if isinstance(block, Block) else ()
        digest = next((row.digest for row in rows if row.seq == seq), b"")
        return digest if len(digest) == DIGEST_DIGITS // 2 else None

    def _segment_parts(self, last: int) -> list[_SegmentPart]:
        """The segments up to entry `last`, each up to the beginning of the next one.

        Two hold the same entries if archiving stopped after the older one, or it is damaged.
        """
        every_segment = find_segments(self._journal, self._journal_id)
        segments = [segment for segment in every_segment if segment.first_seq <= last]
        ends = [*(segment.first_seq - 1 for segment in segments[1:]), last]
        parts = [
            _SegmentPart(segment, min(segment.last_seq, end))
            for segment, end in zip(segments, ends, strict=False)  # no segments: one end too many
        ]
        return [part for part in parts if part.segment.first_seq <= part.last_seq]


class _SegmentPart(NamedTuple):
    """A segment, and the last of its entries that is not in a newer one."""

    segment: Segment
    last_seq: int


def _missing_range(first: int, last: int) -> MissingRange:
    return MissingRange(first, last, f"the segment with entry {first} is missing")


def _clip_to_range(
    block: Block | MissingRange, first: int, last: int
) -> Block | MissingRange | None:
    """The part within `first` to `last`; blocks stay whole, for their digests."""
    if isinstance(block, Block):
        return block if block.link.seq < last and block.last_seq >= first else None
    missing = block._replace(
        first_seq=max(block.first_seq, first), last_seq=min(block.last_seq, last)
    )
    return missing if missing.first_seq <= missing.last_seq else None
