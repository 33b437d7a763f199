"""The numbers of the entries in the table, without a search by number.

A search by number goes from page to page by the numbers that the pages hold. A damaged page may
lead it past entries that are whole, without an error. A scan reads the pages one after the other as
they are linked, so it still has those entries. `Reader` compares both wherever a number was not
found: it is missing, as after a rebuild, only if the scan does not have it either.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

from journal.storage.errors import READ_ERRORS

_FORWARDS: Final = "SELECT seq FROM entry LIMIT ?"
_BACKWARDS: Final = "SELECT seq FROM entry ORDER BY seq DESC LIMIT ?"  # what is after a bad page

_SEQ_MAX: Final = 2**63 - 1

_Range = tuple[int, int]  # first and last number


class TableScan:
    """One scan: it takes as long as reading the whole table, so it is made only after a gap."""

    def __init__(self, connection: sqlite3.Connection, rows_max: int) -> None:
        """Scan the table; at most `rows_max` rows, because damaged pages may lead in a circle."""
        ranges, is_whole = _scan_ranges(connection, _FORWARDS, 1, rows_max)
        self._unread: _Range | None = None
        if not is_whole:
            later_ranges, _ = _scan_ranges(connection, _BACKWARDS, -1, rows_max)
            last = max((end for _, end in ranges), default=0)
            resumed = min((begin for begin, _ in later_ranges if begin > last), default=_SEQ_MAX)
            self._unread = (last + 1, resumed - 1)
            ranges += later_ranges
        self._ranges = _merge_ranges(ranges)

    def iter_seqs(self, first: int, last: int) -> Iterator[int]:
        """The numbers in the table from `first` to `last`, in ascending order."""
        at = bisect_right(self._ranges, (first, first)) - 1
        for begin, end in self._ranges[max(at, 0) :]:
            if begin > last:
                return
            yield from range(max(begin, first), min(end, last) + 1)

    def first_unread(self, first: int, last: int) -> int | None:
        """The first number from `first` to `last` that may be on a page that cannot be read."""
        begin, end = self._unread or (1, 0)
        seq = max(begin, first)
        return seq if seq <= min(end, last) else None


def _scan_ranges(
    connection: sqlite3.Connection, query: str, step: int, rows_max: int
) -> tuple[list[_Range], bool]:
    """The numbers as ranges, and whether every row could be read."""
    ranges = list[_Range]()
    first: int | None = None  # of the range being read, in the direction of the scan
    last = 0
    is_whole = False
    try:
        for (seq,) in connection.execute(query, (rows_max,)):
            if first is not None and seq != last + step:
                ranges.append((min(first, last), max(first, last)))
                first = None
            first, last = seq if first is None else first, seq
        is_whole = True
    except READ_ERRORS:
        pass  # a damaged page ends a scan
    if first is not None:
        ranges.append((min(first, last), max(first, last)))
    return ranges, is_whole


def _merge_ranges(ranges: list[_Range]) -> list[_Range]:
    """The same numbers in ascending ranges that do not overlap."""
    merged = list[_Range]()
    for begin, end in sorted(ranges):
        if merged and begin <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged
