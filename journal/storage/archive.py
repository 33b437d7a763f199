"""Where are the entries that are no longer in the journal's file?

In segments beside it, up to the anchor. Which segments there are is asked of the directory each
time: a running station adds to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from journal.format.hash_chain import origin_digest
from journal.format.segments import DIGEST_DIGITS, Block, MissingRange, Segment, find_segments


class Archive:
    """The segments of one journal, for reading.

    Raises OSError where the directory or a segment cannot be read.
    """

    def __init__(self, journal: Path, journal_id: str) -> None:
        self._journal = journal
        self._journal_id = journal_id
        self._latest_block: Block | None = (
            None  # whoever asks for one entry asks for its neighbours
        )

    def position_before_first(self, anchor: int, digest: bytes) -> tuple[int, bytes]:
        """Number and digest before the first entry there is, in a segment or behind the anchor.

        The digest is empty where a damaged segment does not tell it.
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
        return max(
            (one.last_seq for one in find_segments(self._journal, self._journal_id)), default=0
        )

    def iter_blocks(self, first: int, last: int) -> Iterator[Block | MissingRange]:
        """Blocks with entries `first` to `last`, in order, and what is missing between them.

        The first and the last block may hold more. What lies before the first segment is not
        missed: it was never here, or was put elsewhere as a whole.
        """
        parts = self._segment_parts(last)
        if not parts:
            return
        due = max(first, parts[0].segment.first_seq)
        for part in parts:
            if part.last_seq < due:
                continue
            if part.segment.first_seq > due:
                yield _missing_range(due, part.segment.first_seq - 1)
                due = part.segment.first_seq
            for block in part.segment.iter_blocks(self._journal_id):
                here = _clip_to_range(block, due, part.last_seq)
                if here is not None:
                    yield here
            due = part.last_seq + 1
        if due <= last:
            yield _missing_range(due, last)

    def iter_blocks_backwards(self, last: int) -> Iterator[Block]:
        """Blocks with entries up to `last`, the newest first; a segment in memory at a time."""
        for part in reversed(self._segment_parts(last)):
            blocks = list(part.segment.iter_blocks(self._journal_id))
            for block in reversed(blocks):
                if isinstance(block, Block) and block.link.seq < part.last_seq:
                    yield block

    def find_block(self, seq: int) -> Block | MissingRange | None:
        """The block with this entry; a hole where it is damaged; None if no segment is its."""
        latest = self._latest_block
        if latest is None or not latest.link.seq < seq <= latest.last_seq:
            found = next(self.iter_blocks(seq, seq), None)
            if not isinstance(found, Block):
                return found
            latest = self._latest_block = found
        return latest

    def digest_at(self, seq: int) -> bytes | None:
        """The digest of an entry; None where no segment has it as it was written."""
        block = self.find_block(seq)
        rows = block.iter_rows() if isinstance(block, Block) else ()
        digest = next((row.digest for row in rows if row.seq == seq), b"")
        return digest if len(digest) == DIGEST_DIGITS // 2 else None

    def _segment_parts(self, last: int) -> list[_SegmentPart]:
        """The segments up to entry `last`, each up to where the next one begins.

        Two hold the same entries where the older one was left unfinished, or is damaged.
        """
        found = [
            one for one in find_segments(self._journal, self._journal_id) if one.first_seq <= last
        ]
        ends = [*(one.first_seq - 1 for one in found[1:]), last]  # one too many where none is found
        parts = [
            _SegmentPart(one, min(one.last_seq, end)) for one, end in zip(found, ends, strict=False)
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
    """What of it lies in this stretch; blocks stay whole, for their digests."""
    if isinstance(block, Block):
        return block if block.link.seq < last and block.last_seq >= first else None
    hole = block._replace(first_seq=max(block.first_seq, first), last_seq=min(block.last_seq, last))
    return hole if hole.first_seq <= hole.last_seq else None
