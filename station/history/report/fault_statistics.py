"""Faults of a range by kind: how often, how long, and the mean time between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from station.history.report.evse_condition import FaultKey, FaultPeriod

KINDS_MAX: Final = 300  # a product has about fifty; a forged journal can have more
RECENT_MAX: Final = 3  # latest occurrences that are listed with their entries


class Occurrence(NamedTuple):
    """One occurrence of a fault, in corrected times."""

    began_ms: int
    began_seq: int
    ended_ms: int | None  # None: still active
    ended_seq: int | None


@dataclass
class FaultKind:
    """All occurrences of one fault at one location."""

    evse_id: int  # 0: the station
    device: str
    fault: str
    blocks: bool = False
    count: int = 0
    total_ms: int = 0  # within the range
    longest_ms: int = 0
    recent: deque[Occurrence] = field(default_factory=lambda: deque(maxlen=RECENT_MAX))
    _last_duration_ms: int = 0

    @property
    def is_active(self) -> bool:
        return bool(self.recent) and self.recent[-1].ended_ms is None

    def mean_between_ms(self, range_ms: int) -> int | None:
        """The time without the fault, divided by the number of occurrences.

        None: it occurred less than twice, so there is nothing between occurrences.
        """
        return (range_ms - self.total_ms) // self.count if self.count > 1 else None

    def add_occurrence(self, period: FaultPeriod, duration_ms: int) -> None:
        """Add an occurrence, or extend the last one if it continued after a restart."""
        fault = period.fault
        occurrence = Occurrence(fault.began_ms, fault.seq, period.ended_ms, period.ended_seq)
        continues = bool(self.recent) and self.recent[-1].began_seq == occurrence.began_seq
        if continues:
            self.recent[-1] = occurrence
        else:
            self.recent.append(occurrence)
        self.blocks = self.blocks or period.fault.event.blocks_charging
        self.count += not continues
        self.total_ms += duration_ms - (self._last_duration_ms if continues else 0)
        self.longest_ms = max(self.longest_ms, duration_ms)
        self._last_duration_ms = duration_ms


class FaultStatistics:
    """The faults of a range, by kind."""

    def __init__(self, since_ms: int, until_ms: int) -> None:
        self._since_ms = since_ms
        self._until_ms = until_ms
        self._kind_by_key: dict[FaultKey, FaultKind] = {}
        self.left_out_count = 0  # occurrences of kinds beyond KINDS_MAX

    def add_period(self, period: FaultPeriod) -> None:
        """Add a fault that has ended, or that is still active at the end of the range."""
        began, ended = (
            period.fault.began_ms,
            self._until_ms if period.ended_ms is None else period.ended_ms,
        )
        if ended < self._since_ms or began >= self._until_ms:
            return
        event = period.fault.event
        key = (event.evse_id, event.device, event.fault)
        kind = self._kind_by_key.get(key)
        if kind is None:
            if len(self._kind_by_key) >= KINDS_MAX:
                self.left_out_count += 1
                return
            kind = self._kind_by_key[key] = FaultKind(*key)
        kind.add_occurrence(period, max(0, min(ended, self._until_ms) - max(began, self._since_ms)))

    def __iter__(self) -> Iterator[FaultKind]:
        """Kinds that block charging first, then by total duration."""
        kinds = sorted(
            self._kind_by_key.values(),
            key=lambda kind: (
                not kind.blocks,
                -kind.total_ms,
                kind.evse_id,
                kind.device,
                kind.fault,
            ),
        )
        return iter(kinds)

    def __len__(self) -> int:
        return sum(kind.count for kind in self._kind_by_key.values()) + self.left_out_count
