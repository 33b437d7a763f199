"""What limited each EVSE: followed entry by entry through a journal, or found at an entry of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from journal.events import Entry, Event
from journal.observations import PowerLimiterReported, StationStarted
from journal.projections.power_limiters import LimitingCause, PowerLimiters, find_limiting_cause
from journal.projections.power_limits import PowerLimits, PowerLimitsDecided

CAUSE_EVENTS: Final[tuple[type[Event], ...]] = (
    PowerLimitsDecided, PowerLimiterReported, StationStarted,
)  # fmt: skip


class LimitingCauses:
    """The causes after the last entry of CAUSE_EVENTS that was applied."""

    def __init__(self) -> None:
        self._limits = PowerLimits()
        self._limiters = PowerLimiters()

    def apply(self, entry: Entry) -> None:
        """Apply an entry; those of other events change nothing."""
        if isinstance(entry.event, PowerLimitsDecided):
            self._limits = PowerLimits(entry.event.limits)
        elif isinstance(entry.event, CAUSE_EVENTS):
            self._limiters = self._limiters.apply(entry)

    def on_evse(self, evse_id: int) -> LimitingCause | None:
        return find_limiting_cause(self._limits, self._limiters, evse_id)


class LimitEntries:
    """The numbers of the entries of CAUSE_EVENTS, to find what limited an EVSE at any entry."""

    def __init__(self) -> None:
        self._decisions: list[int] = []
        self._reports: dict[int, list[int]] = {}  # by EVSE
        self._starts: list[int] = []

    def apply(self, entry: Entry) -> None:
        """Apply an entry, in order."""
        match entry.event:
            case PowerLimitsDecided():
                self._decisions.append(entry.seq)
            case PowerLimiterReported(evse_id=evse_id):
                self._reports.setdefault(evse_id, []).append(entry.seq)
            case StationStarted():
                self._starts.append(entry.seq)

    def forget_before(self, first_seq: int) -> None:
        """Drop entries that no entry from this one on needs."""
        for seqs in (self._decisions, self._starts, *self._reports.values()):
            del seqs[: max(bisect_right(seqs, first_seq) - 1, 0)]

    def find_at(self, evse_id: int, seq: int) -> list[int]:
        """The entries that LimitingCauses needs for an EVSE at an entry: at most two, in order."""
        decision = _last_until(self._decisions, seq)
        report = _last_until(self._reports.get(evse_id, ()), seq)
        if report < _last_until(self._starts, seq):
            report = 0
        return sorted(filter(None, (decision, report)))

    def find_between(self, evse_id: int, first_seq: int, last_seq: int) -> list[int]:
        """The entries after the first until the last that may change what limits an EVSE."""
        lists = (self._decisions, self._reports.get(evse_id, ()), self._starts)
        return sorted(
            seq
            for seqs in lists
            for seq in seqs[bisect_right(seqs, first_seq) : bisect_right(seqs, last_seq)]
        )


def _last_until(seqs: Sequence[int], seq: int) -> int:
    """The last of these numbers up to this one; 0: none."""
    count = bisect_right(seqs, seq)
    return seqs[count - 1] if count else 0
