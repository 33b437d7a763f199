"""Where are the entries that are no longer in the journal's file?

In segments beside it, up to the anchor. Which segments there are is asked of the directory each
time: a running station adds to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from journal.chain import origin
from journal.segments import DIGEST_DIGITS, Block, Hole, Segment, segments_beside


class Archive:
    """The segments of one journal, for reading.

    Raises OSError where the directory or a segment cannot be read.
    """

    def __init__(self, journal: Path, journal_id: str) -> None:
        self._journal = journal
        self._journal_id = journal_id
        self._latest: Block | None = None  # whoever asks for one entry asks for its neighbours

    def begin(self, anchor: int, digest: bytes) -> tuple[int, bytes]:
        """Number and digest before the first entry there is, in a segment or behind the anchor.

        The digest is empty where a damaged segment does not tell it.
        """
        first = next(iter(self._parts(anchor)), None)
        if first is None:
            return anchor, digest
        if first.segment.first == 1:
            return 0, origin(self._journal_id)
        return first.segment.first - 1, first.segment.begin(self._journal_id) or b""

    def last(self) -> int:
        """The last entry that is in a segment; it may still be in the journal's file too."""
        return max(
            (one.last for one in segments_beside(self._journal, self._journal_id)), default=0
        )

    def blocks(self, first: int, last: int) -> Iterator[Block | Hole]:
        """Blocks with entries `first` to `last`, in order, and what is missing between them.

        The first and the last block may hold more. What lies before the first segment is not
        missed: it was never here, or was put elsewhere as a whole.
        """
        parts = self._parts(last)
        if not parts:
            return
        due = max(first, parts[0].segment.first)
        for part in parts:
            if part.last < due:
                continue
            if part.segment.first > due:
                yield _missing(due, part.segment.first - 1)
                due = part.segment.first
            for block in part.segment.blocks(self._journal_id):
                here = _within(block, due, part.last)
                if here is not None:
                    yield here
            due = part.last + 1
        if due <= last:
            yield _missing(due, last)

    def backwards(self, last: int) -> Iterator[Block]:
        """Blocks with entries up to `last`, the newest first; a segment in memory at a time."""
        for part in reversed(self._parts(last)):
            blocks = list(part.segment.blocks(self._journal_id))
            for block in reversed(blocks):
                if isinstance(block, Block) and block.link.seq < part.last:
                    yield block

    def block(self, seq: int) -> Block | Hole | None:
        """The block with this entry; a hole where it is damaged; None if no segment is its."""
        latest = self._latest
        if latest is None or not latest.link.seq < seq <= latest.last:
            found = next(self.blocks(seq, seq), None)
            if not isinstance(found, Block):
                return found
            latest = self._latest = found
        return latest

    def digest_at(self, seq: int) -> bytes | None:
        """The digest of an entry; None where no segment has it as it was written."""
        block = self.block(seq)
        rows = block.rows() if isinstance(block, Block) else ()
        digest = next((row.digest for row in rows if row.seq == seq), b"")
        return digest if len(digest) == DIGEST_DIGITS // 2 else None

    def _parts(self, last: int) -> list[_Part]:
        """The segments up to entry `last`, each up to where the next one begins.

        Two hold the same entries where the older one was left unfinished, or is damaged.
        """
        found = [
            one for one in segments_beside(self._journal, self._journal_id) if one.first <= last
        ]
        ends = [*(one.first - 1 for one in found[1:]), last]  # one too many where none is found
        parts = [_Part(one, min(one.last, end)) for one, end in zip(found, ends, strict=False)]
        return [part for part in parts if part.segment.first <= part.last]


class _Part(NamedTuple):
    """A segment, and the last of its entries that is not in a newer one."""

    segment: Segment
    last: int


def _missing(first: int, last: int) -> Hole:
    return Hole(first, last, f"the segment with entry {first} is missing")


def _within(block: Block | Hole, first: int, last: int) -> Block | Hole | None:
    """What of it lies in this stretch; blocks stay whole, for their digests."""
    if isinstance(block, Block):
        return block if block.link.seq < last and block.last >= first else None
    hole = block._replace(first=max(block.first, first), last=min(block.last, last))
    return hole if hole.first <= hole.last else None
